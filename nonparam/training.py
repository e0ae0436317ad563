"""Training: the best of several searches for hyperparameters, and a report of what was done."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from nonparam.errors import ConvergenceError
from nonparam.lbfgs import Minimum, descend

__all__ = ["INTERRUPTED", "FitReport", "maximise"]

Array = NDArray[np.float64]

INTERRUPTED = "interrupted: these are the hyperparameters of the best step so far"


@dataclass(frozen=True)
class FitReport:
    """What a fit did.

    Attributes:
        plan: the solver, its size and the memory it was expected to need.
        seconds: wall-clock time of the whole fit.
        converged: whether the best search met a tolerance.
        message: why the best search ended.
        steps: iterations of the best search.
        evaluations: of the objective, over all searches; by solves, products with the matrix of all rows.
        objective: the maximum that was reached, prior included, in nats.
        starts: the maximum that each search reached, in nats.
        gradient: the largest entry of the gradient where the best search ended, in nats.
        jitter: added to the diagonal of the covariance, in units of ``y`` squared.
        residual: the largest relative residual of the last solves; 0 where the matrix was factorised.
        standard_error: of the log marginal likelihood, in nats; 0 where it is exact.

    Examples:
        >>> print(FitReport("n=2: by hand", 0.01, True, "no slope", 3, 4, -1.5, (-1.5,), 1e-9, 0.0))
        n=2: by hand
        converged: no slope, after 3 steps and 4 evaluations from 1 start(s), in 0.01 s
        objective -1.5 nats, largest gradient 1.0e-09, jitter 0
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
    residual: float = 0.0
    standard_error: float = 0.0

    @property
    def interrupted(self) -> bool:
        """Whether Ctrl-C ended the search."""
        return self.message == INTERRUPTED

    def __str__(self) -> str:
        """Return the report as a few lines."""
        ending = "converged" if self.converged else "NOT CONVERGED"
        return (
            f"{self.plan}\n"
            f"{ending}: {self.message}, after {self.steps} steps and {self.evaluations} evaluations "
            f"from {len(self.starts)} start(s), in {self.seconds:.3g} s\n"
            f"objective {self.objective:.6g} nats, largest gradient {self.gradient:.1e}, "
            f"jitter {self.jitter:g}"
        ) + self._certificate()

    def _certificate(self) -> str:
        if self.residual == 0.0:
            return ""
        return (
            f"\nlargest relative residual {self.residual:.1e}, standard error of the log marginal likelihood "
            f"{self.standard_error:.2g} nats"
        )


def maximise(
    negative: Callable[[Array, NDArray[np.intp]], tuple[Array, Array]],
    starts: Array,
    lower: Array,
    upper: Array,
    *,
    scale: Array,
    plan: str,
    tolerance: float,
    on_step: Callable[[list[Minimum]], None] | None = None,
    max_steps: int = 200,
) -> tuple[Array, FitReport]:
    """Maximise an objective from every start at once, and keep the best.

    Args:
        negative: minus the objective and its gradient, as `nonparam.lbfgs.minimise` asks for them.
        starts: ``(b, p)``.
        lower: ``(p,)``.
        upper: ``(p,)``.
        scale: ``(p,)``, changes of the hyperparameters that matter.
        plan: what the solver was expected to do; goes into the report.
        tolerance: of the objective, in nats gained in the last steps.
        on_step: is told where every search stands, after each round of evaluations.
        max_steps: iterations of each search.

    Returns:
        The best point ``(p,)``, and the report. An interrupt (Ctrl-C) ends the searches where they are.

    Raises:
        ConvergenceError: the objective is finite at no start.

    Examples:
        >>> def negative(x, which):  # two hills; a search climbs one of them
        ...     height = np.array([1.0, 3.0])[which]
        ...     return (x[:, 0] - height) ** 2 - height, 2.0 * (x - height[:, None])
        >>> wide, one = np.full(1, 9.0), np.ones(1)
        >>> point, report = maximise(
        ...     negative, np.zeros((2, 1)), -wide, wide, scale=one, plan="two hills", tolerance=1e-10
        ... )
        >>> point.round(6), round(report.objective, 6)
        (array([3.]), 3.0)
    """
    began = time.perf_counter()
    found: list[Minimum] = []
    try:
        for found in descend(
            negative, starts, lower, upper, scale=scale, max_steps=max_steps, value_tolerance=tolerance
        ):
            if on_step is not None:
                on_step(found)
    except KeyboardInterrupt:
        if not found:
            raise
        found = [replace(minimum, converged=False, message=INTERRUPTED) for minimum in found]
    best = min(found, key=lambda minimum: minimum.value)
    if not np.isfinite(best.value):
        raise ConvergenceError(
            "the covariance matrix is not positive definite at any start: expected a kernel and noise for "
            "which it is; try a larger noise, other starting values, or noise='learn'"
        )
    return best.theta, FitReport(
        plan=plan,
        seconds=time.perf_counter() - began,
        converged=best.converged,
        message=best.message,
        steps=best.steps,
        evaluations=sum(minimum.evaluations for minimum in found),
        objective=-best.value,
        starts=tuple(-minimum.value for minimum in found),
        gradient=float(np.abs(best.gradient).max(initial=0.0)),
        jitter=0.0,
    )
