"""Regression with networks of finite width, their uncertainty split into what is known and what is not."""

import math
from dataclasses import replace
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize_scalar
from scipy.stats import norm
from sklearn.base import RegressorMixin
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from nonparam.errors import InputError
from nonparam.networks.finite_estimator import PRECISIONS, FiniteNetworkEstimator, draw_seeds
from nonparam.networks.trained import Trained
from nonparam.progress import Tally
from nonparam.scales import CONSTANT, NOISE_FLOOR
from nonparam.threads import threads_for
from nonparam.validation import (
    check_device,
    check_outputs,
    check_probabilities,
    check_scale,
    check_seed,
    check_table,
)

__all__ = ["FiniteNetworkRegressor"]

Array = NDArray[np.float64]

PAIR = 2  # networks that are trained without each part: they tell what networks disagree on
WIDEST = 100.0  # the largest noise, in units of the variance of y


class FiniteNetworkRegressor(RegressorMixin, FiniteNetworkEstimator):  # type: ignore[misc]  # sklearn is untyped
    r"""Regression with networks of finite width, alone, as an ensemble, or with Gaussians over weights.

    .. math::

        p(y \mid x) \approx N\!\left(\bar f(x), s^2(x) + \sigma^2\right), \quad
        \bar f = \frac1S \sum_s f_s, \quad s^2 = \frac1S \sum_s (f_s - \bar f)^2

    over the networks of an ensemble, the draws of SWAG, or both. With Laplace's approximation its variances
    are added to :math:`s^2`, for the prior under which held-out rows are most likely. A single network
    without an average has :math:`s^2 = 0`.

    The noise variance :math:`\sigma^2` is the one under which rows are most likely that networks like these
    were not trained on, one for each output: the rows are held out in five parts, or in as many as make a
    thousand rows, and two networks of an ensemble, which tell how much more will agree, or the only one are
    trained on all others. It holds what the networks get wrong together
    beside the noise of observations, so that intervals cover new observations as often as they say.

    Columns of ``X`` and ``y`` are centred and scaled to unit variance inside.

    Args:
        hidden: the widths of the hidden layers.
        activation: a name of `nonparam.kernels.activations.ACTIVATIONS`, or an activation.
        parameterization: ``"ntk"``, ``"standard"`` or ``"mup"``; see `nonparam.networks.FiniteNetwork`.
        ensemble: how many networks are averaged; by default 5 with ``average="multiswag"``, else 1.
        average: of the weights of each network: ``"swa"``, their mean over the last part of training;
            ``"swag"``, a Gaussian around it; ``"multiswag"``, the same for an ensemble; ``"laplace"``, a
            Gaussian around the weights where training ended; or ``None`` for these alone.
        batch_size: rows of a step, or ``"full"`` for all of them.
        optimizer: ``"sgd"``, with momentum 0.9, or ``"adam"``.
        lr: the learning rate of the first half of the epochs, or ``"auto"`` for one that the curvature of the
            loss allows. Where the loss explodes, training starts again at a quarter of it.
        epochs: passes over the rows, or ``"auto"`` for as many as make 1,500 steps, but 30 or more.
        weight_decay: half of it, times the sum of squared weights, is added to the mean loss of the rows.
        device: ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ...
        random_state: of the weights, the order of the rows, and which of them are held out.
        verbose: whether progress is shown.

    Attributes:
        noise_: the noise variance, in units of ``y`` squared; one for each output.
        fit_report_: what training did.
        networks_: the trained networks.
        n_features_in_: the number of columns of ``X``.
        feature_names_in_: their names, where ``X`` had some.

    Raises:
        InputError: data or arguments that no network can be trained with.
        InsufficientMemoryError: networks, or a Gaussian over their weights, that do not fit.

    Source: Lakshminarayanan, Pritzel and Blundell (2017), Simple and scalable predictive uncertainty
    estimation using deep ensembles, NeurIPS; the averages: `nonparam.networks.swa`, `nonparam.networks.swag`
    and `nonparam.networks.finite_laplace`.

    Examples:
        >>> X = np.linspace(-2.0, 2.0, 60)[:, None]
        >>> model = FiniteNetworkRegressor((32,), ensemble=3, random_state=0).fit(X, X[:, 0] ** 2)
        >>> model.predict([[-1.0], [1.0]]).round(1)
        array([1., 1.])
    """

    def fit(self, X: Any, y: Any) -> Self:
        """Train the networks, and learn the noise from rows that are held out.

        Args:
            X: ``(n, d)``.
            y: ``(n,)`` or ``(n, t)``.

        Returns:
            The estimator.
        """
        self._check_arguments()
        x = check_table(self, X, reset=True)
        outputs = check_outputs(y, len(x))
        self._one_output = outputs.ndim == 1
        outputs = outputs.reshape(len(x), -1)
        check_scale(x, outputs)
        if len(x) < 2:
            raise InputError("1 sample tells nothing of the noise: expected 2 or more")
        self._device = check_device(self.device, len(x))
        self._scale(x)
        self._y_mean, spread = outputs.mean(0), outputs.std(0)
        self._y_scale = np.where(spread > CONSTANT * np.abs(outputs).max(0), spread, 1.0)
        targets = torch.from_numpy((outputs - self._y_mean) / self._y_scale).float().to(self._device)
        with threads_for(len(x)), Tally(bool(self.verbose), 2 * self._epochs(len(x)), "epochs") as tally:
            self._learn(self._rows(x), targets, check_seed(self.random_state), tally)
        return self

    def _learn(self, x: Tensor, y: Tensor, rng: np.random.RandomState, tally: Tally) -> None:
        n, t, count = len(x), y.shape[1], self._count
        seeds, pair = draw_seeds(rng, count), min(count, PAIR)
        left, held, kept = self._left_out(x, y, t, pair, rng, tally)
        trained = self._train(x, y, torch.arange(n).expand(count, n), t, seeds, tally)
        mean, within, between = _moments(left, x[held], pair)
        square = (y[held[::pair]].double() - mean).square() - between * (1.0 / pair - 1.0 / count)
        known = (within + between * (1.0 - 1.0 / count))[None]
        if self.average == "laplace":
            root = torch.diag(square.mean((0, 1)).clamp(min=NOISE_FLOOR) ** -0.5)
            left = left.with_laplace(x[kept], root.expand(*kept.shape, t, t))
            trained = trained.with_laplace(x.expand(count, *x.shape), root.expand(count, n, t, t))
            own = left.variances(x[held], PRECISIONS)
            known = known + own.unflatten(1, (-1, pair)).mean(2)
        best, noise = _most_likely(square.cpu().numpy(), known.cpu().numpy())
        self.networks_, self.fit_report_ = replace(trained, precision=PRECISIONS[best]), trained.report
        variances = noise * self._y_scale**2
        self.noise_ = float(variances[0]) if self._one_output else variances

    @staticmethod
    def _loss(outputs: Tensor, targets: Tensor) -> Tensor:
        """Return half of the mean squared error, summed over outputs: ``(m,)``."""
        return 0.5 * (outputs - targets).square().sum(-1).mean(-1)

    def predict(self, X: Any, return_std: bool = False, *, include_noise: bool = True) -> Any:
        """Return the mean of the networks' functions, and on request the standard deviation.

        Args:
            X: ``(m, d)``.
            return_std: whether to return the standard deviations as well.
            include_noise: whether they are those of new observations, or of the function without noise.

        Returns:
            ``(m,)`` or ``(m, t)`` means; with ``return_std`` also deviations of the same shape.
        """
        mean, variance = self._predicted(X)
        if not return_std:
            return mean
        return mean, np.sqrt(variance + self.noise_ * include_noise)

    def predict_std_parts(self, X: Any) -> tuple[Array, Array]:
        """Return the parts of the standard deviations of new observations, whose squares add up.

        Args:
            X: ``(m, d)``.

        Returns:
            The epistemic part, how much the networks' functions differ, and the aleatoric part, that of the
            noise: ``(m,)`` or ``(m, t)`` each.
        """
        mean, variance = self._predicted(X)
        return np.sqrt(variance), np.sqrt(np.broadcast_to(self.noise_, mean.shape))

    def predict_quantiles(self, X: Any, q: ArrayLike, *, include_noise: bool = True) -> Array:
        """Return quantiles of the predictive distribution.

        Args:
            X: ``(m, d)``.
            q: probabilities strictly between 0 and 1.
            include_noise: as in `predict`.

        Returns:
            ``(m, len(q))``, or ``(m, t, len(q))`` for several outputs.

        Raises:
            InputError: a probability outside (0, 1).
        """
        probabilities = check_probabilities(q)
        mean, sd = self.predict(X, return_std=True, include_noise=include_noise)
        return np.asarray(mean[..., None] + sd[..., None] * norm.ppf(probabilities))

    def log_predictive_density(self, X: Any, y: Any) -> Array:
        """Return the log density of each new observation on its own.

        Args:
            X: ``(m, d)``.
            y: ``(m,)`` or ``(m, t)``.

        Returns:
            ``(m,)`` or ``(m, t)``, in nats.

        Raises:
            InputError: outputs of another shape.
        """
        mean, sd = self.predict(X, return_std=True)
        outputs = check_outputs(y, len(mean))
        if outputs.size != mean.size:
            raise InputError(f"y must have shape {mean.shape}, got {outputs.shape}")
        return np.asarray(norm.logpdf(outputs.reshape(mean.shape), mean, sd))

    def _predicted(self, X: Any) -> tuple[Array, Array]:
        """Return means and variances of the function, in the shape and units of ``y``."""
        check_is_fitted(self)
        x = self._new_rows(X)
        with threads_for(len(x)):
            mean, within, between = _moments(self.networks_, x, self._count)
        variance = (within + between * (1.0 - 1.0 / self._count))[0].cpu().numpy() * self._y_scale**2
        centre = mean[0].cpu().numpy() * self._y_scale + self._y_mean
        return (centre[:, 0], variance[:, 0]) if self._one_output else (centre, variance)

    def __sklearn_tags__(self) -> Any:
        """Return what scikit-learn's checks need to know."""
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags


def _moments(trained: Trained, x: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return what groups of ``count`` networks say of their outputs, ``(k, n, t)`` each.

    Returns:
        The means; the variances of one network's functions, on average; and, without bias, the variance from
        network to network.
    """
    means, variances = (each.unflatten(1, (-1, count)) for each in trained.functions(x))
    within = means.var(0, correction=0).mean(1) + variances.mean((0, 2))
    each = means.mean(0)
    between = each.var(1) if count > 1 else torch.zeros_like(within)
    return each.mean(1), within, between


def _most_likely(squares: Array, known: Array) -> tuple[int, Array]:
    """Return under which variances errors of held-out rows are most likely, together with which noise.

    Args:
        squares: of the errors, ``(k, h, t)``.
        known: several choices of the variances that they have beside the noise, ``(g, k, h, t)``.

    Returns:
        The number of the choice, and the noise variances, ``(t,)``.
    """
    outputs = range(squares.shape[-1])
    fits = [[_noise(squares[..., j], choice[..., j]) for j in outputs] for choice in known]
    best = int(np.argmin([sum(value for _, value in fit) for fit in fits]))
    return best, np.array([noise for noise, _ in fits[best]])


def _noise(squares: Array, known: Array) -> tuple[float, float]:
    """Return the noise variance under which errors of one output are most likely, and how likely they are."""

    def negative(log_noise: float) -> float:
        total = known + math.exp(log_noise)
        return float(np.sum(np.log(total) + squares / total))

    bounds = (math.log(NOISE_FLOOR), math.log(WIDEST))
    found = minimize_scalar(negative, bounds=bounds, method="bounded")
    return math.exp(float(found.x)), float(found.fun)
