"""Classification with networks of finite width."""

import math
from dataclasses import replace
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import ClassifierMixin
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from nonparam.labels import check_labels
from nonparam.networks.finite_estimator import PRECISIONS, FiniteNetworkEstimator, draw_seeds
from nonparam.progress import Tally
from nonparam.threads import threads_for
from nonparam.validation import check_device, check_scale, check_seed, check_table

__all__ = ["FiniteNetworkClassifier"]

Array = NDArray[np.float64]


class FiniteNetworkClassifier(ClassifierMixin, FiniteNetworkEstimator):  # type: ignore[misc]  # sklearn is untyped
    r"""Classification with networks of finite width, alone, as an ensemble, or with Gaussians over weights.

    .. math:: p(y = c \mid x) = \frac1S \sum_s \mathrm{softmax}_c\!\left(
        \frac{f_s(x)}{\sqrt{1 + \tfrac\pi8 v_s(x)}}\right)

    over the networks of an ensemble, the draws of SWAG, or both. The variances :math:`v` of the outputs come
    from Laplace's approximation, whose prior is the one under which rows are most likely that networks were
    not trained on; without it they are 0. Columns of ``X`` are centred and scaled to unit variance inside.
    Probabilities are not rescaled afterwards.

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
        random_state: of the weights and the order of the rows.
        verbose: whether progress is shown.

    Attributes:
        classes_: the labels, in order.
        fit_report_: what training did.
        networks_: the trained networks.
        n_features_in_: the number of columns of ``X``.
        feature_names_in_: their names, where ``X`` had some.

    Raises:
        InputError: data or arguments that no network can be trained with, such as a single class.
        InsufficientMemoryError: networks, or a Gaussian over their weights, that do not fit.

    Source: Lakshminarayanan, Pritzel and Blundell (2017), Simple and scalable predictive uncertainty
    estimation using deep ensembles, NeurIPS; the root: MacKay (1992), The evidence framework applied to
    classification networks, Neural Computation 4, 720-736, equation 10.

    Examples:
        >>> X = np.linspace(-1.0, 1.0, 40)[:, None]
        >>> model = FiniteNetworkClassifier((16,), random_state=0).fit(X, np.abs(X[:, 0]) > 0.5)
        >>> model.predict([[0.0], [0.9]])
        array([False,  True])
    """

    def fit(self, X: Any, y: Any) -> Self:
        """Train the networks.

        Args:
            X: ``(n, d)``.
            y: ``(n,)`` labels.

        Returns:
            The estimator.
        """
        self._check_arguments()
        x = check_table(self, X, reset=True)
        self.classes_, numbers = check_labels(y, len(x))
        self._device = check_device(self.device, len(x))
        check_scale(x, x)
        self._scale(x)
        n, t, count = len(x), len(self.classes_), self._count
        rows, labels = self._rows(x), torch.from_numpy(numbers).to(self._device)
        rng, stages = check_seed(self.random_state), 2 if self.average == "laplace" else 1
        seeds = draw_seeds(rng, count)
        with threads_for(n), Tally(bool(self.verbose), stages * self._epochs(n), "epochs") as tally:
            trained = self._train(rows, labels, torch.arange(n).expand(count, n), t, seeds, tally)
            if self.average == "laplace":
                roots = _curvature_roots(trained.members.outputs(rows))
                precision = self._precision(rows, labels, t, rng, tally)
                trained = trained.with_laplace(rows.expand(count, *rows.shape), roots)
                trained = replace(trained, precision=precision)
        self.networks_, self.fit_report_ = trained, trained.report
        return self

    def _precision(
        self, x: Tensor, y: Tensor, outputs: int, rng: np.random.RandomState, tally: Tally
    ) -> float:
        """Return the precision of the prior under which rows are most likely that networks did not see."""
        left, held, kept = self._left_out(x, y, outputs, 1, rng, tally)
        left = left.with_laplace(x[kept], _curvature_roots(left.members.outputs(x[kept])))
        shrunk = _shrunk(left.members.outputs(x[held]), left.variances(x[held], PRECISIONS))
        losses = [float(self._loss(each, y[held]).mean()) for each in shrunk]
        return float(PRECISIONS[int(np.argmin(losses))])

    @staticmethod
    def _loss(outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the mean of minus the log probability of the labels, in nats: ``(m,)``."""
        return -outputs.log_softmax(-1).gather(-1, targets[..., None])[..., 0].mean(-1)

    def predict_proba(self, X: Any) -> Array:
        """Return the probabilities of the classes, in the order of ``classes_``.

        Args:
            X: ``(m, d)``.

        Returns:
            ``(m, c)``.
        """
        check_is_fitted(self)
        x = self._new_rows(X)
        with threads_for(len(x)):
            shrunk = _shrunk(*self.networks_.functions(x))
        return np.asarray(shrunk.softmax(-1).mean((0, 1)).cpu().numpy())

    def predict(self, X: Any) -> NDArray[Any]:
        """Return the most probable class of each row of ``X (m, d)``: ``(m,)``."""
        numbers = self.predict_proba(X).argmax(1)
        return np.asarray(self.classes_[numbers])


def _shrunk(means: Tensor, variances: Tensor) -> Tensor:
    """Return outputs whose softmax is about the mean of the softmax of outputs with these variances."""
    return means / (1.0 + math.pi / 8.0 * variances).sqrt()


def _curvature_roots(outputs: Tensor) -> Tensor:
    """Return ``R`` with ``R R' = diag(p) - p p'``, the curvature of a row's loss: ``(*, t, t)``.

    Examples:
        >>> root = _curvature_roots(torch.zeros(2))
        >>> root @ root.mT
        tensor([[ 0.2500, -0.2500],
                [-0.2500,  0.2500]])
    """
    p = outputs.softmax(-1)
    return torch.diag_embed(p.sqrt()) - p[..., :, None] * p.sqrt()[..., None, :]
