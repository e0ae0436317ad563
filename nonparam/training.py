"""Training: the best of several searches for hyperparameters, and a report of what was done."""

import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nonparam.errors import ConvergenceError
from nonparam.lbfgs import Minimum, minimise
from nonparam.objective import Objective

__all__ = ["FitReport", "maximise", "starting_points"]

Array = NDArray[np.float64]

TOLERANCE = 1e-8  # nats gained in the last steps
RIDGE_TOLERANCE = 1e-4  # without priors a useless column's lengthscale creeps to infinity for ever


@dataclass(frozen=True)
class FitReport:
    """What a fit did.

    Attributes:
        plan: the solver, its size and the memory it was expected to need.
        seconds: wall-clock time.
        converged: whether the best search met a tolerance.
        message: why the best search ended.
        steps: iterations of the best search.
        evaluations: of the objective, over all searches.
        objective: the maximum that was reached, prior included, in nats.
        starts: the maximum that each search reached, in nats.
        gradient: the largest entry of the gradient where the best search ended, in nats.
        jitter: added to the diagonal of the covariance, in units of ``y`` squared.
    """

    plan: str
    seconds: float
    converged: bool
    message: str
    steps: int
    evaluations: int
    objective: float
    starts: tuple[float, ...]
    gradient: float
    jitter: float

    def __str__(self) -> str:
        """Return the report as a few lines."""
        return (
            f"{self.plan}\n"
            f"{self.message}, after {self.steps} steps and {self.evaluations} evaluations "
            f"from {len(self.starts)} start(s), in {self.seconds:.3g} s\n"
            f"objective {self.objective:.6g} nats, largest gradient {self.gradient:.1e}, "
            f"jitter {self.jitter:g}"
        )


def starting_points(objective: Objective, n_restarts: int, rng: np.random.RandomState) -> Array:
    """Return the present hyperparameters, and ``n_restarts`` draws around them, as ``(1 + r, p)``."""
    theta = objective.theta
    spread = np.where(
        theta.prior_precision > 0.0, 1.0 / np.sqrt(np.maximum(theta.prior_precision, 1e-300)), 1.0
    )
    draws = theta.start + np.minimum(spread, 2.0) * rng.standard_normal((n_restarts, theta.size))
    return np.clip(np.concatenate([theta.start[None], draws]), theta.lower, theta.upper)


def maximise(objective: Objective, starts: Array, plan: str) -> tuple[Array, FitReport]:
    """Maximise an objective from every start at once, and keep the best.

    Args:
        objective: the log marginal likelihood, or with priors the log posterior.
        starts: ``(b, p)``.
        plan: what the solver was expected to do; goes into the report.

    Returns:
        The best point ``(p,)``, and the report.

    Raises:
        ConvergenceError: the objective is finite at no start.
    """
    began = time.perf_counter()
    theta = objective.theta
    tolerance = TOLERANCE if objective.with_prior else RIDGE_TOLERANCE
    if theta.size:
        found = minimise(objective.negative, starts, theta.lower, theta.upper, value_tolerance=tolerance)
    else:
        found = [_fixed(objective)]
    best = min(found, key=lambda minimum: minimum.value)
    if not np.isfinite(best.value):
        raise ConvergenceError(
            "the covariance matrix is not positive definite at any start: expected a kernel and noise for "
            "which it is; try a larger noise, other starting values, or noise='learn'"
        )
    _, _, jitter = objective.log_marginal_likelihood(best.theta[None], gradient=False)
    report = FitReport(
        plan=plan,
        seconds=time.perf_counter() - began,
        converged=best.converged,
        message=best.message,
        steps=best.steps,
        evaluations=sum(minimum.evaluations for minimum in found),
        objective=-best.value,
        starts=tuple(-minimum.value for minimum in found),
        gradient=float(np.abs(best.gradient).max(initial=0.0)),
        jitter=jitter,
    )
    return best.theta, report


def _fixed(objective: Objective) -> Minimum:
    """Return the only point there is, where nothing is to be learnt."""
    values, _, _ = objective.log_marginal_likelihood(np.zeros((1, 0)), gradient=False)
    message = "converged: every hyperparameter is fixed"
    return Minimum(np.zeros(0), -float(values[0]), np.zeros(0), 0, 1, True, message)
