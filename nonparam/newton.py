r"""Training on many rows: exactly on subsets of growing size, then Newton's steps on all.

The curvature at the maximum on :math:`m` of :math:`n` rows, times :math:`n / m`, is near that on all rows, so
that few gradients on a larger subset, and on all rows, are needed:

.. math:: \theta \leftarrow \theta + \tfrac{m}{n} H_m^{-1} \, \partial \log p(y, \theta).

What the gradients tell of the curvature corrects it (BFGS). A step maximises the quadratic model within the
bounds and a box around the point, and the search ends when the model promises less than a tolerance in nats.

Source: Nocedal and Wright (2006), Numerical optimization, sections 4.1 (the box as a trust region) and 6.1.
"""

import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import lsq_linear

from nonparam.checkpoint import Checkpoint, NewtonState, State
from nonparam.errors import ConvergenceError, NotPositiveDefiniteError
from nonparam.laplace import laplace
from nonparam.lbfgs import Minimum
from nonparam.objective import Objective
from nonparam.progress import Progress
from nonparam.solves import Slope, SolvedEvidence
from nonparam.theta import Theta
from nonparam.threads import threads_for
from nonparam.training import INTERRUPTED, FitReport, maximise
from nonparam.unseen_noise import raise_noise

__all__ = [
    "SEARCHED",
    "SUBSETS",
    "UNCERTIFIED",
    "Exact",
    "Watch",
    "ascend",
    "ascend_exactly",
    "certified_slope",
    "climb",
    "hessian_root",
    "highest",
    "inverse_hessian",
    "maximise_watched",
    "updated",
]

Array = NDArray[np.float64]

SUBSETS = (1000, 3000)  # rows
SEARCHED = 4000  # rows up to which an exact search looks at all of them from the beginning
SUBSET_TOLERANCE = 1e-3  # nats
WIDEST = 2.0  # standard deviation of a coordinate without a prior
LONGEST = 1.0  # of a step in any coordinate
FLAT = 0.5  # nats that a step must promise: the probes blur the optimum by more
FLAT_ON_SUBSET = 0.5  # nats
FLAT_EXACTLY = 0.05  # nats: far below what the data tell
MAX_STEPS = 20
SMALLEST = 1e-9  # of a move: at a bound
HALVINGS = 3  # of a step to where no gradient can be certified
EXACT_HALVINGS = 8  # of one that does not raise an exact objective
STRAIGHT = 0.01  # of the expected curvature: with less along a step, what it tells is mostly rounding
TOO_FEW = f"{MAX_STEPS} steps were not enough"
UNCERTIFIED = (ConvergenceError, NotPositiveDefiniteError)


class Exact(Protocol):
    """What is maximised, evaluated without the noise of probes."""

    @property
    def theta(self) -> Theta:
        """The vector of free hyperparameters."""

    @property
    def n(self) -> int:
        """The number of observations."""

    def negative(self, points: Array, which: NDArray[np.intp]) -> tuple[Array, Array]:
        """Return minus the objective and its gradient, as `nonparam.lbfgs.minimise` asks for them."""


@dataclass(frozen=True)
class Watch:
    """Who is told of every step of a search.

    Attributes:
        checkpoint: the file from which a killed search goes on.
        progress: what the user sees.
    """

    checkpoint: Checkpoint
    progress: Progress


def maximise_watched(
    objective: Exact, state: State, watch: Watch, *, plan: str, tolerance: float, max_steps: int = 200
) -> tuple[Array, FitReport]:
    """Maximise an objective from all points of a state at once, telling of each step.

    Args:
        objective: of all rows or of a subset.
        state: where to begin.
        watch: is told.
        plan: what the solver is expected to do; goes into the report.
        tolerance: nats gained in the last steps.
        max_steps: iterations of each search.

    Returns:
        The best point ``(p,)``, and the report.

    Raises:
        ConvergenceError: the objective is finite at no start.
    """
    theta, best = objective.theta, np.inf
    watch.progress.stage(f"{objective.n:,} rows, exactly", tolerance)

    def tell(found: list[Minimum]) -> None:
        nonlocal best
        value = min(minimum.value for minimum in found)
        watch.progress.step(max(minimum.steps for minimum in found), best - value)
        watch.checkpoint.offer(replace(state, points=np.stack([minimum.theta for minimum in found])))
        best = value

    return maximise(
        objective.negative,
        state.points,
        theta.lower,
        theta.upper,
        scale=theta.step,
        plan=plan,
        tolerance=tolerance,
        on_step=tell,
        max_steps=max_steps,
    )


def climb(objective: Objective, state: State, watch: Watch, plan: str) -> tuple[State, FitReport]:
    """Maximise on random subsets of growing size, each from where the one before ended.

    Args:
        objective: of all rows.
        state: where to begin on the smallest subset.
        watch: is told of every step.
        plan: what the solver is expected to do; goes into the report.

    Returns:
        The state from which `ascend` goes on, and the report of the smallest subset. After an interrupt
        (Ctrl-C) the state has the best point, and no Newton's steps to go on with.

    Raises:
        ConvergenceError: the objective is finite at no start.
    """
    n = len(objective.data.x)
    order = torch.from_numpy(np.random.RandomState(state.seed).permutation(n)).to(objective.data.x.device)
    first, *larger = [m for m in SUBSETS if m < n] or [n]
    subset = replace(objective, data=objective.data.rows(order[:first]))
    watch.checkpoint.write(state)
    with threads_for(first):
        point, report = maximise_watched(subset, state, watch, plan=plan, tolerance=SUBSET_TOLERANCE)
    state = replace(state, points=point[None])
    if report.interrupted:
        return state, report
    watch.checkpoint.write(state)
    try:
        at = NewtonState(point, inverse_hessian(subset, point))
        for before, m in pairwise([first, *larger, n]):
            at = NewtonState(at.point, at.inverse * (before / m))
            if m < n:
                watch.progress.stage(f"{m:,} rows, exactly", FLAT_ON_SUBSET)
                part = replace(objective, data=objective.data.rows(order[:m]))
                for step in _exact_steps(part, at):
                    at = step.at
                    watch.progress.step(at.step, step.promised)
                    if step.promised < FLAT_ON_SUBSET:
                        break
        at = replace(at, point=raise_noise(objective, at.point, order, larger[-1] if larger else first))
    except KeyboardInterrupt:
        return state, replace(report, converged=False, message=INTERRUPTED)
    return replace(state, newton=at), report


def inverse_hessian(objective: Exact, point: Array) -> Array:
    """Return the inverse of minus the Hessian, as far as a prior holds it.

    Args:
        objective: of all rows or of a subset.
        point: ``(p,)``, near its maximum.

    Returns:
        ``(p, p)``.
    """

    def log_joint(points: Array) -> tuple[Array, Array]:
        values, gradients = objective.negative(points, np.zeros(len(points), dtype=np.intp))
        return -values, -gradients

    with np.errstate(divide="ignore"), threads_for(objective.n):
        scale = np.minimum(objective.theta.prior_precision**-0.5, WIDEST)
        found = laplace(log_joint, point, scale, step=objective.theta.step)
    inverse: Array = found.root @ found.root.T
    return inverse


def ascend_exactly(objective: Exact, state: State, watch: Watch) -> tuple[Array, FitReport]:
    """Take Newton's steps with exact gradients until one promises next to nothing.

    Args:
        objective: of all rows.
        state: with Newton's steps, from the first or from a later one on.
        watch: is told of every step.

    Returns:
        The point ``(p,)``, and the report. An interrupt (Ctrl-C) ends the search with the last point.
    """
    at = state.newton
    assert at is not None
    began, message = time.perf_counter(), "no step raises the objective"
    step = _ExactStep(at, -np.inf, np.full_like(at.point, np.nan), np.inf, 0)
    watch.progress.stage(f"{objective.n:,} rows, exactly", FLAT_EXACTLY)
    watch.checkpoint.write(state)
    try:
        for step in _exact_steps(objective, at):
            watch.checkpoint.offer(replace(state, newton=step.at))
            watch.progress.step(step.at.step, step.promised)
            if step.promised < FLAT_EXACTLY:
                message = "a further step promises next to nothing"
                break
            if step.at.step - at.step == MAX_STEPS:
                message = TOO_FEW
    except KeyboardInterrupt:
        message = INTERRUPTED
    return step.at.point, FitReport(
        plan="",
        seconds=time.perf_counter() - began,
        converged=step.promised < FLAT_EXACTLY,
        message=message,
        steps=step.at.step,
        evaluations=step.evaluations,
        objective=step.value,
        starts=(step.value,),
        gradient=float(np.abs(step.gradient).max(initial=0.0)),
        jitter=0.0,
    )


class _ExactStep(NamedTuple):
    """Where a step led, the objective and its gradient there, and the nats that the next one promises."""

    at: NewtonState
    value: float
    gradient: Array
    promised: float
    evaluations: int


def _exact_steps(objective: Exact, at: NewtonState) -> Iterator[_ExactStep]:
    """Yield Newton's steps, each halved until the objective does not fall.

    Raises:
        ConvergenceError: an objective or a gradient that is not finite where the search begins.
    """
    highest, gradient = _value(objective, at.point)
    evaluations = 1
    if not np.isfinite(highest) or not np.isfinite(gradient).all():
        raise _not_finite(f"log evidence {highest} with the gradient {gradient}")
    for last in [False] * MAX_STEPS + [True]:
        following, promised = _following(at, gradient, objective.theta)
        at = replace(at, inverse=following.inverse, moved=None)
        yield _ExactStep(at, highest, gradient, promised, evaluations)
        if last:
            return
        for _ in range(EXACT_HALVINGS):
            value, slope = _value(objective, following.point)
            evaluations += 1
            if value >= highest and np.isfinite(slope).all():
                break
            assert following.moved is not None
            half = 0.5 * following.moved
            following = replace(following, point=following.point - half, moved=half)
        else:
            return
        highest, gradient, at = value, slope, following


def _value(objective: Exact, point: Array) -> tuple[float, Array]:
    values, gradients = objective.negative(point[None], np.zeros(1, dtype=np.intp))
    return -float(values[0]), -gradients[0]


def ascend(evidence: SolvedEvidence, state: State, watch: Watch) -> tuple[Array, FitReport]:
    """Take Newton's steps on all rows until one promises next to nothing.

    Args:
        evidence: of all rows.
        state: with Newton's steps, from the first or from a later one on.
        watch: is told of every step.

    Returns:
        The point ``(p,)``, and the report without the objective's value. An interrupt (Ctrl-C) ends the
        search with the last point whose gradient is certified.

    Raises:
        ConvergenceError: a solve that could not be certified.
        NotPositiveDefiniteError: a covariance that is not finite, even nearer to where the step began.
    """
    at = state.newton
    assert at is not None
    began, point, slope = time.perf_counter(), at.point, _remembered(evidence, at)
    evidence = _in_precision(evidence, at)
    message, promised, products = TOO_FEW, np.inf, 0
    if at.moved is not None and slope is not None:
        point = at.point - at.moved  # what a checkpoint holds beyond it is a trial
    watch.progress.stage(f"{len(evidence.data.x):,} rows, by solves", FLAT)
    watch.checkpoint.write(state)
    try:
        while at.step <= MAX_STEPS:
            watch.checkpoint.offer(replace(state, newton=at))
            slope, evidence, at = _certified(evidence, at, slope)
            point, products = at.point, products + slope.steps
            following, promised = _following(at, slope.gradient, evidence.theta)
            following = replace(
                following,
                pivots=slope.pivots.cpu().numpy(),
                double=evidence.dtype == torch.float64,
                anchor=slope.anchor,
            )
            watch.progress.step(at.step, promised, slope.residual)
            if promised < FLAT:
                message = "a further step promises next to nothing"
                break
            at = following
    except KeyboardInterrupt:
        message = INTERRUPTED
    return point, FitReport(
        plan="",
        seconds=time.perf_counter() - began,
        converged=promised < FLAT and message != INTERRUPTED,
        message=message,
        steps=min(at.step, MAX_STEPS),
        evaluations=products,
        objective=np.nan,
        starts=(),
        gradient=float(np.abs(slope.gradient).max(initial=0.0)) if slope is not None else np.nan,
        jitter=0.0,
        residual=0.0 if slope is None else slope.residual,
    )


def _in_precision(evidence: SolvedEvidence, at: NewtonState) -> SolvedEvidence:
    """Return the evidence in the precision that the step before needed."""
    return replace(evidence, dtype=torch.float64) if at.double else evidence


def _following(at: NewtonState, gradient: Array, theta: Theta) -> tuple[NewtonState, float]:
    """Return where Newton's step leads from a point whose gradient is known, and the nats it promises."""
    inverse = at.inverse
    if at.moved is not None and at.gradient is not None:
        inverse = updated(inverse, at.moved, at.gradient - gradient)
    root = hessian_root(inverse)
    below, above = theta.lower - at.point, theta.upper - at.point
    _, promised = highest(gradient, root, below, above)
    moved, _ = highest(gradient, root, np.maximum(below, -LONGEST), np.minimum(above, LONGEST))
    trial = np.clip(at.point + moved, theta.lower, theta.upper)
    following = NewtonState(
        point=trial, inverse=inverse, step=at.step + 1, moved=trial - at.point, gradient=gradient
    )
    return following, promised


def hessian_root(inverse: Array) -> Array:
    """Return a square root of a Hessian from its inverse, which rounding may have made indefinite.

    In units in which its diagonal is 1: frequencies are known to ``1e-7`` where logarithms are to 1.

    Args:
        inverse: ``(p, p)``.

    Returns:
        ``R``, ``(p, p)``, with ``R R'`` the Hessian.

    Examples:
        >>> root = hessian_root(np.diag([0.25, 1.0]))
        >>> (root @ root.T).round(12)
        array([[4., 0.],
               [0., 1.]])
    """
    eps, diagonal = np.finfo(float).eps, np.diag(inverse)
    unit = np.sqrt(np.maximum(diagonal, eps**2 * diagonal.max(initial=0.0)))
    values, vectors = np.linalg.eigh(0.5 * (inverse + inverse.T) / np.outer(unit, unit))
    kept = np.maximum(values, eps * values.max(initial=0.0))
    root: Array = vectors / (unit[:, None] * np.sqrt(kept))
    return root


def highest(gradient: Array, root: Array, below: Array, above: Array) -> tuple[Array, float]:
    """Return where in a box ``g' s - |R' s|^2 / 2`` is largest, and its value there.

    Source: Stark and Parker (1995), Bounded-variable least squares, Computational Statistics 10, 129-141.
    """
    step = np.zeros_like(gradient)
    free = (below < -SMALLEST) | (above > SMALLEST)
    if free.any():
        target = np.linalg.solve(root, gradient)
        box = np.minimum(below[free], -SMALLEST), np.maximum(above[free], SMALLEST)
        step[free] = lsq_linear(root.T[:, free], target, box, method="bvls").x
    return step, float(gradient @ step - 0.5 * np.square(root.T @ step).sum())


def _remembered(evidence: SolvedEvidence, at: NewtonState) -> Slope | None:
    """Return what a checkpoint tells of the gradient before; its solutions are not kept, and start from 0."""
    if at.gradient is None or at.pivots is None:
        return None
    data = evidence.data
    columns = data.y.shape[1] + data.basis.shape[1] + evidence.num_probes
    dtype = torch.float64 if at.double else evidence.dtype
    solution = torch.zeros(len(data.x), columns, dtype=dtype, device=data.x.device)
    pivots = torch.from_numpy(at.pivots).to(data.x.device)
    return Slope(at.gradient, solution, pivots, evidence.tolerance, 0, at.anchor)


def updated(inverse: Array, s: Array, y: Array) -> Array:
    """Return the inverse Hessian after a step ``s`` that changed the downhill gradient by ``y``.

    Where the curvature along the step is not positive, or next to nothing, it stays as it is.

    Source: Nocedal and Wright (2006), Numerical optimization, equation 6.17.

    Examples:
        >>> updated(np.eye(2), np.array([1.0, 0.0]), np.array([4.0, 0.0]))
        array([[0.25, 0.  ],
               [0.  , 1.  ]])
    """
    curvature = float(s @ y)
    if not curvature > STRAIGHT * float(np.square(hessian_root(inverse).T @ s).sum()):
        return inverse
    left = np.eye(len(s)) - np.outer(s, y) / curvature
    changed: Array = left @ inverse @ left.T + np.outer(s, s) / curvature
    return changed


def _certified(
    evidence: SolvedEvidence, at: NewtonState, near: Slope | None
) -> tuple[Slope, SolvedEvidence, NewtonState]:
    """Return the gradient, the evidence that certified it, and where: a step that leads too far is halved."""
    for _ in range(HALVINGS):
        try:
            return *certified_slope(evidence, at.point, near), at
        except UNCERTIFIED:
            if at.moved is None:
                raise
        half = 0.5 * at.moved
        at = replace(at, point=at.point - half, moved=half)
    return *certified_slope(evidence, at.point, near), at


def certified_slope(
    evidence: SolvedEvidence, point: Array, near: Slope | None
) -> tuple[Slope, SolvedEvidence]:
    """Return the gradient, and the evidence in the precision that certified it: float64 where it must be.

    Args:
        evidence: in float32 or float64.
        point: ``(p,)``.
        near: the gradient at a point nearby.

    Raises:
        ConvergenceError: a solve that could not be certified, or a gradient that is not finite.
        NotPositiveDefiniteError: a covariance that is not finite.
    """
    if evidence.dtype == torch.float32 and not evidence.exceeds_float32(point):
        with suppress(*UNCERTIFIED):
            return _finite(evidence.slope(point, near)), evidence
    finer = replace(evidence, dtype=torch.float64)
    return _finite(finer.slope(point, near)), finer


def _finite(slope: Slope) -> Slope:
    if not np.isfinite(slope.gradient).all():
        raise _not_finite(f"the gradient of the evidence is {slope.gradient}")
    return slope


def _not_finite(what: str) -> ConvergenceError:
    return ConvergenceError(
        f"{what}, expected finite numbers: try a kernel that is finite for all hyperparameters, or "
        "priors='default'"
    )
