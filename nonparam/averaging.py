"""A Gaussian process whose hyperparameters are averaged over."""

import copy
import warnings
from dataclasses import replace
from functools import partial
from typing import Any, Literal, Self

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, MultiOutputMixin, RegressorMixin, clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.validation import check_is_fitted

from nonparam.deep import DeepKernelRegressor
from nonparam.errors import InputError, InsufficientMemoryError
from nonparam.hyperparameter_nodes import (
    LATTICE_DIMENSIONS,
    Evaluate,
    Node,
    Nodes,
    lattice,
    lattice_size,
    student_draws,
    weighted,
)
from nonparam.laplace import Laplace
from nonparam.mixture_prediction import MixturePredictionMixin
from nonparam.model_selection.evidence_integral import log_joint
from nonparam.model_selection.joint import log_volume
from nonparam.networks.infinite_regression import InfiniteNetworkRegressor
from nonparam.nuts import nuts
from nonparam.posterior import condition
from nonparam.regression import GPRegressor
from nonparam.solvers.cholesky import CholeskyFactor
from nonparam.solvers.plan import BYTES, free_memory, readable
from nonparam.structured import structured_factor
from nonparam.threads import threads_for
from nonparam.validation import check_choice, check_count, check_outputs, check_seed, check_table

__all__ = ["HyperparameterAverage"]

Array = NDArray[np.float64]

WAYS = ("laplace", "grid", "nuts")
FEWEST = 4  # draws: with fewer a chain tells nothing of its own precision
HIGHER = 3.0  # nats above the mode: more than the mean's coefficients account for
POOR = 0.1  # effective draws for each draw: below it the Gaussian is far from the posterior
KEPT = 0.5  # of the free memory


class HyperparameterAverage(MixturePredictionMixin, RegressorMixin, MultiOutputMixin, BaseEstimator):  # type: ignore[misc]  # sklearn is untyped
    r"""A `GPRegressor` that averages over its hyperparameters in place of taking the most probable ones.

    .. math:: p(y_* \mid y) = \int p(y_* \mid y, \theta) \, p(\theta \mid y) \, d\theta
              \approx \sum_k w_k \, p(y_* \mid y, \theta_k)

    With few rows the most probable hyperparameters are one guess among many, and predictions that trust them
    are too sure of themselves. The average is a mixture of Gaussians, wider and with heavier tails. Weights
    follow the exact posterior of the hyperparameters under the priors of `GPRegressor`, coefficients of the
    mean integrated out.

    Args:
        estimator: a `GPRegressor` with priors, fitted by a factor; a clone of it is fitted.
        marginalise: ``"laplace"``, draws round the mode, each weighted by the posterior; ``"grid"``, a
            lattice along the axes of the curvature, for up to 4 hyperparameters; or ``"nuts"``, a chain of
            the No-U-Turn sampler, for which ``pip install 'nonparam[nuts]'`` is needed.
        n_draws: of ``"laplace"`` and ``"nuts"``; the lattice takes as many nodes as it needs.
        random_state: seed of the draws.

    Attributes:
        estimator_: the fitted clone, at the most probable hyperparameters.
        nodes_: a data frame of hyperparameters, a row for each node, logarithms of the positive ones as in
            ``theta_``.
        weights_: ``(k,)``, of the nodes.
        effective_sample_size_: of how many nodes of one weight an average is as precise; of ``"nuts"``, of
            how many independent draws.
        models_: the models at the nodes, each conditioned on the data.
        n_features_in_: the number of columns of ``X``.
        feature_names_in_: their names, where ``X`` had some.

    Raises:
        InputError: an estimator whose hyperparameters have no proper posterior, or too many of them for a
            lattice.
        InsufficientMemoryError: more nodes, each with a factor of the rows, than the memory holds.
        ConvergenceError: no node has a density.

    Source: Rue, Martino and Chopin (2009), JRSS B 71, section 3; Lalchand and Rasmussen (2020), Approximate
    inference for fully Bayesian Gaussian process regression, AABI.

    Examples:
        >>> from nonparam import GPRegressor
        >>> X = np.linspace(0.0, 6.0, 8)[:, None]
        >>> average = HyperparameterAverage(GPRegressor("rbf"), "grid").fit(X, np.sin(X[:, 0]))
        >>> sure, unsure = (m.predict([[9.0]], return_std=True)[1] for m in (average.estimator_, average))
        >>> bool(unsure[0] > sure[0])
        True
    """

    def __init__(
        self,
        estimator: GPRegressor,
        marginalise: Literal["laplace", "grid", "nuts"] = "laplace",
        *,
        n_draws: int = 256,
        random_state: int | np.random.RandomState | None = 0,
    ) -> None:
        self.estimator = estimator
        self.marginalise = marginalise
        self.n_draws = n_draws
        self.random_state = random_state

    def fit(self, X: Any, y: Any, sample_weight: ArrayLike | None = None) -> Self:
        """Fit a clone of the estimator, and condition it on the data at every node.

        Args:
            X: ``(n, d)``.
            y: ``(n,)``, or ``(n, t)`` for several outputs that share the kernel.
            sample_weight: ``(n,)``, as in `GPRegressor.fit`.

        Returns:
            The estimator. A ``ConvergenceWarning`` says that few nodes carry the weight.
        """
        check_choice(self.marginalise, "marginalise", WAYS)
        check_count(self.n_draws, "n_draws", least=FEWEST)
        _check_estimator(self.estimator)
        seed = int(check_seed(self.random_state).randint(2**31 - 1))
        x = check_table(self, X, reset=True)
        model = clone(self.estimator).fit(x, check_outputs(y, len(x)), sample_weight)
        _check_fitted(model, self.marginalise)
        self.estimator_ = model
        with threads_for(len(x)):
            at = _at_mode(model)
            found = self._nodes(model, at, seed)
        self.weights_, self.effective_sample_size_ = found.weights, found.effective_sample_size
        self.models_ = [node.model for node in found.nodes]
        table = np.stack([node.point for node in found.nodes])
        self.nodes_ = pd.DataFrame(table, columns=model.theta_names_)
        self._log_evidence = found.log_evidence
        self._warn(max(node.log_joint for node in found.nodes) - at.log_joint)
        return self

    def _nodes(self, model: GPRegressor, at: Laplace, seed: int) -> Nodes[GPRegressor]:
        """Return the nodes; their evidence is relative to what Laplace's approximation finds."""
        evaluate, p = partial(_node, model), len(at.mode)
        if p == 0:
            return weighted([Node(at.mode, at.log_joint, model)], np.zeros(1), 0.0)
        if self.marginalise == "nuts":
            return _chain(model, evaluate, at, self.n_draws, seed)
        _check_memory(model, lattice_size(p) if self.marginalise == "grid" else self.n_draws)
        if self.marginalise == "grid":
            found = lattice(evaluate, at)
        else:
            found = student_draws(evaluate, at, self.n_draws, seed)
        return replace(found, log_evidence=(found.log_evidence or 0.0) - at.log_evidence)

    def _warn(self, higher: float) -> None:
        if higher > HIGHER:
            warnings.warn(
                f"a node is {higher:.1f} nats above the fitted hyperparameters, a lesser maximum: fit "
                "with n_restarts",
                ConvergenceWarning,
                stacklevel=3,
            )
        drawn = self.marginalise != "grid" and self.nodes_.shape[1] > 0
        if drawn and self.effective_sample_size_ < POOR * self.n_draws:
            warnings.warn(
                f"{self.n_draws} draws of the hyperparameters are worth {self.effective_sample_size_:.1f} "
                "independent ones: take more, or another marginalise ('grid' for few hyperparameters, "
                "'nuts' for many)",
                ConvergenceWarning,
                stacklevel=3,
            )

    def log_evidence(self) -> float:
        r"""Return the log evidence :math:`\log p(y)`, hyperparameters averaged over by the nodes, in nats.

        What `GPRegressor.log_evidence` says of the fitted clone, corrected by what Laplace's approximation
        misses.

        Raises:
            InputError: a chain, whose draws do not tell how large the integral is.
        """
        check_is_fitted(self)
        if self._log_evidence is None:
            raise InputError(
                "draws of a chain do not tell the evidence: take marginalise='laplace' or 'grid'"
            )
        return float(self.estimator_.log_evidence()) + self._log_evidence


def _node(model: GPRegressor, point: Array) -> Node[GPRegressor] | None:
    """Return a fitted model at other hyperparameters, or ``None`` where they have no density."""
    other, data = copy.copy(model), model.posterior_.data
    other.kernel_ = copy.deepcopy(model.kernel_)
    theta = other._theta(other.kernel_, model._scales, data)
    theta.prior_mean = model._prior_mean
    theta.assign(point)
    with np.errstate(over="ignore"):
        noise = float(np.exp(point[-1])) if theta.learns_noise else model.posterior_.noise
    structure = model.posterior_.structure(data)
    try:
        factor = None if structure is None else structured_factor(structure, other.kernel_, data, noise)
        posterior = condition(other.kernel_, data, noise, factor)
    except (ArithmeticError, InputError):  # far out an algorithm may refuse its own numbers
        return None
    value = posterior.log_marginal_likelihood() + log_volume(posterior.mean, data.y.shape[1])
    if not np.isfinite(value):
        return None
    other.posterior_, other.theta_ = posterior, point
    other.noise_ = noise if theta.learns_noise else model.noise_
    other._likelihood()
    return Node(point, value + float(theta.log_priors(point[None])[0][0]), other)


def _at_mode(model: GPRegressor) -> Laplace:
    """Return the Gaussian at the fitted hyperparameters, the mean's coefficients integrated out there."""
    at, posterior = model._laplace(), model.posterior_
    volume = log_volume(posterior.mean, posterior.data.y.shape[1])
    return replace(at, log_joint=at.log_joint + volume, log_evidence=at.log_evidence + volume)


def _chain(
    model: GPRegressor, evaluate: Evaluate[GPRegressor], at: Laplace, n_draws: int, seed: int
) -> Nodes[GPRegressor]:
    """Return draws of a chain, weighted by what integrating over the mean's coefficients adds.

    The chain follows the gradient of training, in which these coefficients are at their maximum.
    """
    _check_memory(model, n_draws)
    objective = model._own_objective()
    points, size = nuts(partial(log_joint, objective), at, n_draws, seed)
    densities = log_joint(objective, points)[0]
    pairs = [(evaluate(point), density) for point, density in zip(points, densities, strict=True)]
    nodes = [(node, node.log_joint - density) for node, density in pairs if node is not None]
    found = weighted([node for node, _ in nodes], np.array([weight for _, weight in nodes]), None)
    return replace(found, effective_sample_size=found.effective_sample_size * size / n_draws)


def _check_estimator(estimator: Any) -> None:
    if not isinstance(estimator, GPRegressor) or isinstance(estimator, DeepKernelRegressor):
        raise InputError(
            "estimator must be a GPRegressor, or a SpectralMixtureRegressor: of another model the posterior "
            f"of the hyperparameters is not known, or not of all that was learnt; got {estimator!r}"
        )
    if isinstance(estimator, InfiniteNetworkRegressor) and estimator.train_time is not None:
        raise InputError(
            "posteriors are averaged, and networks that are trained for "
            f"train_time={estimator.train_time!r} have none: take train_time=None"
        )
    if estimator.objective != "lml":
        raise InputError(
            "hyperparameters have a posterior with objective='lml' only, got "
            f"objective={estimator.objective!r}: the others are no likelihoods"
        )


def _check_fitted(model: GPRegressor, marginalise: str) -> None:
    """Raise `InputError` where hyperparameters have no proper posterior, or a lattice would be too large."""
    p, solver = len(model.theta_), model.posterior_.solver
    if p and model.priors is None:
        raise InputError(
            f"priors=None leaves the {p} hyperparameters without a proper posterior to average over: fit "
            "with priors='default'"
        )
    if solver in ("cg", "ski"):
        raise InputError(
            f"the rows were fitted by solver={solver!r}, which keeps no factor for each node: take "
            "solver='cholesky', or a subset of the rows; so many leave little to average over"
        )
    if marginalise == "grid" and p > LATTICE_DIMENSIONS:
        raise InputError(
            f"marginalise='grid' takes up to {LATTICE_DIMENSIONS} hyperparameters, and the model has {p}: "
            f"{model.theta_names_}; take 'laplace', or 'nuts', or hold some with fixed="
        )


def _check_memory(model: GPRegressor, count: int) -> None:
    """Raise `InsufficientMemoryError` where a factor for each of ``count`` nodes does not fit."""
    n = len(model.posterior_.data.x)
    needed = BYTES * count * n * n if isinstance(model.posterior_.factor, CholeskyFactor) else 0
    available = free_memory(model.posterior_.data.x.device)
    if needed > KEPT * available:
        raise InsufficientMemoryError(
            f"{count} nodes with a factor of {n:,} rows each need about {readable(needed)}, and "
            f"{readable(available)} are free: take marginalise='laplace' with fewer n_draws, or a subset of "
            "the rows"
        )
