r"""Learning hyperparameters by the approximate evidence, and functions at new rows.

A mean is part of the covariance here: a constant with a broad Gaussian prior, and for a linear mean slopes
with broad ones, around a level that the data suggest. So the evidence averages over their coefficients, and
every prediction counts their uncertainty.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import gpytorch
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nonparam.checkpoint import NewtonState, State
from nonparam.errors import ConvergenceError, InputError, NotPositiveDefiniteError
from nonparam.kernels import Constant, Linear
from nonparam.kernels.evaluate import covariance, variance
from nonparam.kernels.strips import assemble
from nonparam.latent.approximation import Approximation, Observations
from nonparam.latent.solved_laplace import solved_laplace
from nonparam.likelihoods.base import Likelihood
from nonparam.means import MEANS
from nonparam.newton import Exact, Watch, ascend_exactly, inverse_hessian, maximise_watched
from nonparam.scales import Scales, default_priors
from nonparam.shortage import sparing
from nonparam.solves import operator_for
from nonparam.theta import Prior, Theta
from nonparam.threads import threads_for
from nonparam.training import FitReport

__all__ = [
    "TOLERANCE",
    "Inference",
    "LatentFit",
    "LatentModel",
    "LatentObjective",
    "fitted",
    "log_joint",
    "search",
    "with_mean",
]

Array = NDArray[np.float64]

BROAD = 10.0  # variance of a constant or of a slope, in units of that of the function
BLOCK = 2048  # new rows worked on at a time, and fewer where
NUMBERS = 50_000_000  # covariances would be more
SEED = 0  # of pivots and probes: common ones make evidences of models comparable
TOLERANCE = 1e-3  # nats gained in the last steps of the search
ROUGHLY = 0.03  # nats gained in the last steps where a search by more rows follows
FEW = 20  # hyperparameters, up to which a curvature takes less than what it saves


class Inference(Protocol):
    """An algorithm that approximates the posterior of functions."""

    def __call__(
        self,
        covariances: Sequence[Tensor],
        seen: Observations,
        previous: Approximation | None = None,
        *,
        gradient: bool = True,
    ) -> Approximation:
        """Return the approximation at fixed hyperparameters."""
        ...


class LatentModel(gpytorch.Module):  # type: ignore[misc]  # gpytorch is untyped
    """The covariances of functions, and how they are seen.

    Attributes:
        kernels: one for each function, or one for all.
        likelihood: of the observations.
    """

    def __init__(self, kernels: Sequence[gpytorch.kernels.Kernel], likelihood: Likelihood) -> None:
        super().__init__()
        self.kernels = torch.nn.ModuleList(kernels)
        self.likelihood = likelihood

    def priors(self, scales: Sequence[Scales], *, informative: bool) -> dict[str, Prior]:
        """Return priors of all that is learnt, by the names of the parameters; one scale for each kernel."""
        found: dict[str, Prior] = {}
        for i, (kernel, own) in enumerate(zip(self.kernels, scales, strict=True)):
            priors = default_priors(kernel, own, informative=informative)
            found |= {f"kernels.{i}.{name}": prior for name, prior in priors.items() if name != "noise"}
        return found | {f"likelihood.{name}": prior for name, prior in self.likelihood.priors().items()}


def with_mean(kernel: gpytorch.kernels.Kernel, mean: str, scales: Scales) -> gpytorch.kernels.Kernel:
    """Add a mean with broad priors to a kernel.

    Args:
        kernel: initialised.
        mean: ``"zero"``, ``"constant"`` or ``"linear"``.
        scales: of the columns, and with the variance of the function.

    Raises:
        InputError: another mean.
    """
    if mean not in MEANS:
        raise InputError(f"mean must be one of {MEANS}, got {mean!r}")
    broad = BROAD * scales.y_variance
    if mean != "zero":
        kernel = kernel + Constant(broad, fixed=("variance",))
    if mean == "linear":
        slopes = (broad / scales.x_sd**2).tolist()
        kernel = kernel + Linear(slopes, center=scales.x_mean.tolist(), fixed=("variance",))
    return kernel


@dataclass(frozen=True)
class LatentObjective:
    """The approximate log evidence of hyperparameters, plus the log density of their prior.

    An evaluation begins where the last one of the same search ended, which saves steps.

    Attributes:
        x: ``(n, d)``.
        seen: the observations.
        model: the covariances and the likelihood.
        theta: the vector of free hyperparameters.
        infer: the algorithm.
        with_prior: whether the prior is added.
        solver: ``"cholesky"``, or ``"cg"`` for Laplace's approximation without derivatives.
    """

    x: Tensor
    seen: Observations
    model: LatentModel
    theta: Theta
    infer: Inference
    with_prior: bool
    solver: str = "cholesky"
    _last: dict[int, Approximation] = field(default_factory=dict, compare=False, repr=False)

    @property
    def n(self) -> int:
        """The number of rows."""
        return len(self.x)

    def evaluate(self, point: Array, *, gradient: bool) -> tuple[float, Array]:
        """Return the approximate log evidence of hyperparameters ``(p,)``, in nats, and its gradient."""
        found, slope = self.approximate(point, gradient=gradient)
        return found.value, slope

    def approximate(
        self, point: Array, previous: Approximation | None = None, *, gradient: bool = True
    ) -> tuple[Approximation, Array]:
        """Return the approximation at hyperparameters ``(p,)``, and the gradient of its evidence.

        Raises:
            ConvergenceError: the algorithm found no end.
            NotPositiveDefiniteError: numbers beyond what can be factorised.
        """
        self.theta.assign(point)
        if self.solver == "cg":
            return self._by_solves(gradient=gradient), np.zeros(self.theta.size)
        with torch.set_grad_enabled(gradient):
            assembled = [assemble(kernel, self.x) for kernel in self.model.kernels]
        found = self.infer([k.matrix for k in assembled], self.seen, previous, gradient=gradient)
        gradients: list[Tensor] = []
        for kernel, k, slope in zip(self.model.kernels, assembled, found.slopes, strict=False):
            parameters = [p for p in kernel.parameters() if p.requires_grad]
            gathered = 2.0 * slope
            torch.diagonal(gathered).mul_(0.5)
            gradients += k.pull(parameters, gathered) if parameters else []
        gradients += found.own
        return found, self.theta.gather(gradients, np.zeros(1), 1)[0]

    @torch.no_grad()
    def _by_solves(self, *, gradient: bool) -> Approximation:
        if gradient:
            raise InputError(
                "derivatives of the evidence are known where matrices are factorised, and this model was "
                "fitted by conjugate gradients: ask for values, or fit fewer rows with solver='cholesky'"
            )
        (kernel,) = self.model.kernels
        return sparing(lambda keep: solved_laplace(operator_for(kernel, self.x, keep), self.seen, seed=SEED))

    def negative(self, points: Array, which: NDArray[np.intp]) -> tuple[Array, Array]:
        """Return minus the objective and its gradient, as `nonparam.lbfgs.minimise` asks for them."""
        values, gradients = np.full(len(points), -np.inf), np.zeros_like(points)
        for i, (point, search) in enumerate(zip(points, which.tolist(), strict=True)):
            try:
                found, slope = self.approximate(point, self._last.get(search))
            except (ConvergenceError, NotPositiveDefiniteError):
                continue
            if math.isfinite(found.value) and np.isfinite(slope).all():
                values[i], gradients[i], self._last[search] = found.value, slope, found
        if self.with_prior:
            densities, slopes = self.theta.log_priors(points)
            values, gradients = values + densities, gradients + slopes
        return -values, -gradients

    def solved_by(self, solver: str) -> "LatentObjective":
        """Return the objective with another solver."""
        return replace(self, solver=solver)

    def fresh(self) -> "LatentObjective":
        """Return the objective without what a search has found."""
        return replace(self, _last={})

    def rows(self, index: Tensor) -> "LatentObjective":
        """Return the objective of some of the rows, by their numbers ``(m,)``."""
        part = replace(self.seen, y=self.seen.y[index], weights=self.seen.weights[index])
        return replace(self, x=self.x[index], seen=part, _last={})


@dataclass(frozen=True)
class LatentFit:
    """Functions given the data, at fitted hyperparameters.

    Attributes:
        x: ``(n, d)``.
        seen: the observations.
        model: the covariances and the likelihood.
        approximation: of the posterior.
        theta: ``(p,)``.
        names: of its entries.
    """

    x: Tensor
    seen: Observations
    model: LatentModel
    approximation: Approximation
    theta: Array
    names: Sequence[str]

    def left_out(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return rows, and means and variances at each given all others: ``(m,)``, two of ``(m, c)``."""
        rows, mean, variance = self.approximation.posterior.left_out()
        return rows, mean + self.seen.level, variance

    def certified(self, report: FitReport) -> FitReport:
        """Return a report with what certifies the approximation."""
        found = self.approximation
        return replace(report, residual=found.residual, standard_error=found.standard_error)

    @torch.no_grad()
    def moments(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return means and variances of the functions at ``x (m, d)``: two of ``(m, latents)``."""
        block = max(1, min(BLOCK, NUMBERS // len(self.x)))
        means, variances = zip(*(self._moments(rows) for rows in x.split(block)), strict=True)
        return torch.cat(means), torch.cat(variances)

    def _moments(self, x: Tensor) -> tuple[Tensor, Tensor]:
        crosses = [covariance(kernel, self.x, x) for kernel in self.model.kernels]
        priors = [variance(kernel, x) for kernel in self.model.kernels]
        mean, spread = self.approximation.posterior.moments(crosses, priors)
        return mean + self.seen.level, spread


def log_joint(objective: Exact) -> Callable[[Array], tuple[Array, Array]]:
    """Return the log joint density of the data and of each of ``(b, p)`` points, with its gradients."""
    if isinstance(objective, LatentObjective):
        objective = objective.fresh()  # what others have asked for must not count

    def density(points: Array) -> tuple[Array, Array]:
        values, slopes = objective.negative(points, np.zeros(len(points), dtype=np.intp))
        return -values, -slopes

    return density


def search(
    objectives: Sequence[Exact], starts: Array, watch: Watch, *, plan: str, tolerance: float = TOLERANCE
) -> tuple[Array, FitReport]:
    """Learn the hyperparameters by some rows, and from there by more, with the curvature that some rows tell.

    Args:
        objectives: of some of the rows, of more, and so on; of all, where these are not too many.
        starts: ``(s, p)``, where to begin.
        watch: is told of every step.
        plan: what the solver is expected to do; goes into the report.
        tolerance: nats gained in the last steps.

    Returns:
        Their vector ``(p,)``, and what was done in the last of the searches.

    Raises:
        ConvergenceError: the objective is finite at no start.
    """
    first, *rest = objectives
    rough = max(tolerance, ROUGHLY) if rest else tolerance
    with threads_for(first.n):
        try:
            best, report = maximise_watched(first, State(starts), watch, plan=plan, tolerance=rough)
        except ConvergenceError:
            if isinstance(first, LatentObjective):
                first.approximate(starts[0])  # its own error says why
            raise
    for before, more in zip(objectives, rest, strict=False):
        with threads_for(more.n):
            if more.theta.size > FEW:
                state = State(best[None])
                best, report = maximise_watched(more, state, watch, plan=plan, tolerance=tolerance)
                continue
            inverse = inverse_hessian(before, best) * (before.n / more.n)
            state = State(best[None], newton=NewtonState(best, inverse))
            best, report = ascend_exactly(more, state, watch)
            report = replace(report, plan=plan)
    return best, report


def fitted(objective: LatentObjective, theta: Array) -> LatentFit:
    """Approximate the posterior at hyperparameters ``theta (p,)``."""
    with threads_for(len(objective.x)):
        found, _ = objective.approximate(theta, gradient=False)
    names = objective.theta.names
    return LatentFit(objective.x, objective.seen, objective.model, found, theta, names)
