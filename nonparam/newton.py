r"""Training on many rows: exactly on subsets of growing size, then Newton's steps on all.

The curvature at the maximum on :math:`m` of :math:`n` rows, times :math:`n / m`, is near that on all rows, so
that few gradients on all rows are needed:

.. math:: \theta \leftarrow \theta + \tfrac{m}{n} H_m^{-1} \, \partial \log p(y, \theta).

What the gradients tell of the curvature corrects it (BFGS). A step is kept short, and the search ends when
one promises less than a tolerance in nats.

Source: Nocedal and Wright (2006), Numerical optimization, section 6.1.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from nonparam.errors import ConvergenceError
from nonparam.laplace import laplace
from nonparam.objective import Objective
from nonparam.solves import Slope, SolvedEvidence
from nonparam.theta import Theta
from nonparam.threads import threads_for
from nonparam.training import FitReport, maximise

__all__ = ["Curvature", "ascend", "climb", "updated"]

Array = NDArray[np.float64]

SUBSETS = (1000, 3000)  # rows
SUBSET_TOLERANCE = 1e-3  # nats
CURVATURE_ROWS = 1000
WIDEST = 2.0  # standard deviation of a coordinate without a prior
LONGEST = 0.5  # of a step in any coordinate
FLAT = 0.5  # nats that a step must promise: the probes blur the optimum by more
MAX_STEPS = 20


@dataclass(frozen=True)
class Curvature:
    """Where a search on a subset ended, and how the log posterior bends there.

    Attributes:
        point: ``(p,)``.
        inverse: ``(p, p)``, of minus the Hessian on all rows.
    """

    point: Array
    inverse: Array


def climb(objective: Objective, starts: Array, rng: np.random.RandomState, plan: str) -> Curvature:
    """Maximise on random subsets of growing size, each from where the one before ended.

    Args:
        objective: of all rows.
        starts: ``(b, p)``, of the search on the smallest subset.
        rng: chooses the rows.
        plan: what the solver is expected to do; goes into the report.

    Raises:
        ConvergenceError: the objective is finite at no start.
    """
    n, theta = len(objective.data.x), objective.theta
    order = torch.from_numpy(rng.permutation(n)).to(objective.data.x.device)
    sizes = [m for m in SUBSETS if m < n] or [n]
    for m in sizes:
        subset = replace(objective, data=objective.data.rows(order[:m]))
        with threads_for(m):
            point, _ = maximise(
                subset.negative,
                starts,
                theta.lower,
                theta.upper,
                scale=theta.step,
                plan=plan,
                tolerance=SUBSET_TOLERANCE,
            )
        starts = point[None]
    m = min(CURVATURE_ROWS, n)
    subset = replace(objective, data=objective.data.rows(order[:m]))

    def log_joint(points: Array) -> tuple[Array, Array]:
        values, gradients = subset.negative(points, np.zeros(len(points), dtype=np.intp))
        return -values, -gradients

    with np.errstate(divide="ignore"), threads_for(m):
        scale = np.minimum(theta.prior_precision**-0.5, WIDEST)
        found = laplace(log_joint, point, scale)
    return Curvature(point, found.root @ found.root.T * (m / n))


def ascend(
    evidence: SolvedEvidence,
    start: Curvature,
    *,
    on_step: Callable[[int, float, float], None] | None = None,
) -> tuple[Array, FitReport]:
    """Take Newton's steps on all rows until one promises next to nothing.

    Args:
        evidence: of all rows.
        start: where to begin, and the curvature to trust.
        on_step: called at each step with its number, the nats it promises, and the largest residual.

    Returns:
        The point ``(p,)``, and the report without the objective's value. An interrupt (Ctrl-C) ends the
        search where it is.

    Raises:
        ConvergenceError: a solve that could not be certified.
    """
    began, theta, point, inverse = time.perf_counter(), evidence.theta, start.point, start.inverse
    message, promised, step, products = f"{MAX_STEPS} steps were not enough", np.inf, 0, 0
    slope: Slope | None = None
    moved = np.zeros_like(point)
    try:
        for step in range(1, MAX_STEPS + 1):
            before = slope
            slope, evidence = _certified(evidence, point, slope)
            products += slope.steps
            if before is not None:
                inverse = updated(inverse, moved, before.gradient - slope.gradient)
            gradient = np.where(_free(point, slope.gradient, theta), slope.gradient, 0.0)
            direction = np.where(gradient != 0.0, inverse @ gradient, 0.0)
            promised = 0.5 * float(direction @ gradient)
            if on_step is not None:
                on_step(step, promised, slope.residual)
            if promised < FLAT:
                message = "a further step promises next to nothing"
                break
            trial = point + direction * min(1.0, LONGEST / float(np.abs(direction).max()))
            trial = np.clip(trial, theta.lower, theta.upper)
            moved, point = trial - point, trial
    except KeyboardInterrupt:
        message = "interrupted: these are the hyperparameters of the last step"
    return point, FitReport(
        plan="",
        seconds=time.perf_counter() - began,
        converged=promised < FLAT,
        message=message,
        steps=step,
        evaluations=products,
        objective=np.nan,
        starts=(),
        gradient=float(np.abs(slope.gradient).max(initial=0.0)) if slope is not None else np.nan,
        jitter=0.0,
        residual=np.nan if slope is None else slope.residual,
    )


def updated(inverse: Array, s: Array, y: Array) -> Array:
    """Return the inverse Hessian after a step ``s`` that changed the downhill gradient by ``y``.

    Where the curvature along the step is not positive, it stays as it is.

    Source: Nocedal and Wright (2006), Numerical optimization, equation 6.17.

    Examples:
        >>> updated(np.eye(2), np.array([1.0, 0.0]), np.array([4.0, 0.0]))
        array([[0.25, 0.  ],
               [0.  , 1.  ]])
    """
    curvature = float(s @ y)
    if not curvature > 0.0:
        return inverse
    left = np.eye(len(s)) - np.outer(s, y) / curvature
    changed: Array = left @ inverse @ left.T + np.outer(s, s) / curvature
    return changed


def _certified(evidence: SolvedEvidence, point: Array, near: Slope | None) -> tuple[Slope, SolvedEvidence]:
    """Return the gradient, and the evidence in the precision that certified it: float64 where it must be."""
    try:
        return evidence.slope(point, near), evidence
    except ConvergenceError:
        if evidence.dtype == torch.float64:
            raise
    finer = replace(evidence, dtype=torch.float64)
    return finer.slope(point, near), finer


def _free(point: Array, gradient: Array, theta: Theta) -> NDArray[np.bool_]:
    held = ((point <= theta.lower) & (gradient < 0.0)) | ((point >= theta.upper) & (gradient > 0.0))
    free: NDArray[np.bool_] = ~held
    return free
