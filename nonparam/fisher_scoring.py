r"""Fisher scoring: Newton's steps with the expected curvature in place of the observed one.

.. math:: \theta \leftarrow \theta + (I(\theta) + P)^{-1} \, \partial (\log p(y, \theta))

with the information :math:`I` and the precision :math:`P` of the prior. The expected curvature is never
negative, so that steps lead upwards from anywhere. Where the model is right, few are needed near the optimum;
where it is not, the curvature is another one, and what the last gradients tell of it corrects it (BFGS).

Source: Guinness (2021), Gaussian process learning via Fisher scoring of Vecchia's approximation, Statistics
and Computing 31, section 4; the correction: Nocedal and Wright (2006), Numerical optimization, section 7.2.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from nonparam.errors import ConvergenceError, NotPositiveDefiniteError
from nonparam.newton import hessian_root, highest, updated
from nonparam.vecchia import Evaluation, VecchiaEvidence

__all__ = ["FLAT", "TOO_FEW", "Ascent", "ascend"]

Array = NDArray[np.float64]

LONGEST = 1.0  # of a step in any coordinate
HALVINGS = 8  # of a step that does not raise the objective
MAX_STEPS = 50
RIDGE = 1e-10  # of the curvature: rounding must not make it singular
REMEMBERED = 8  # steps, whose gradients correct the curvature
FLAT = "a further step promises next to nothing"
STUCK = "no step raises the objective"
TOO_FEW = f"{MAX_STEPS} steps were not enough"


@dataclass(frozen=True)
class Ascent:
    """Where a search ended.

    Attributes:
        point: ``(p,)``.
        found: the likelihood there.
        value: the objective, prior included, in nats.
        gradient: ``(p,)``, of the objective.
        steps: taken.
        evaluations: of the objective.
        message: why it ended.
        changes: of the point and of the downhill gradient in the last steps, pairs of ``(p,)``.
    """

    point: Array
    found: Evaluation
    value: float
    gradient: Array
    steps: int
    evaluations: int
    message: str
    changes: tuple[tuple[Array, Array], ...] = ()


def ascend(
    evidence: VecchiaEvidence,
    start: Array,
    *,
    with_prior: bool,
    tolerance: float,
    on_step: Callable[[int, float], None],
) -> Ascent:
    """Maximise the likelihood, times the prior where asked for.

    Args:
        evidence: of rows with their neighbours.
        start: ``(p,)``.
        with_prior: whether the prior is added.
        tolerance: nats that a step must promise.
        on_step: is told the number of each step and the nats that it promises.

    Raises:
        ConvergenceError: the objective or its gradient is not finite at the start.
        NotPositiveDefiniteError: a covariance that no admissible jitter repairs, at the start.
    """
    at = _at(evidence, start, with_prior, steps=0, evaluations=1)
    if not (np.isfinite(at.value) and np.isfinite(at.gradient).all()):
        raise ConvergenceError(
            f"the log evidence is {at.value} with the gradient {at.gradient}, expected finite numbers: try a "
            "kernel that is finite for all hyperparameters, other starting values, or a larger noise"
        )
    for _ in range(MAX_STEPS):
        moved, promised = _step(evidence, at, with_prior)
        on_step(at.steps + 1, promised)
        if promised < tolerance:
            return _ended(at, FLAT)
        better = _higher(evidence, at, moved, with_prior)
        if better is None:
            return _ended(at, STUCK)
        change = better.point - at.point, at.gradient - better.gradient
        at = replace(better, changes=(*at.changes, change)[-REMEMBERED:])
    return _ended(at, TOO_FEW)


def _at(evidence: VecchiaEvidence, point: Array, with_prior: bool, steps: int, evaluations: int) -> Ascent:
    found = evidence.evaluate(point)
    value, gradient = found.value, found.gradient
    if with_prior:
        density, slope = evidence.theta.log_priors(point[None])
        value, gradient = value + float(density[0]), gradient + slope[0]
    return Ascent(point, found, value, gradient, steps, evaluations, "")


def _ended(at: Ascent, message: str) -> Ascent:
    return replace(at, message=message)


def _step(evidence: VecchiaEvidence, at: Ascent, with_prior: bool) -> tuple[Array, float]:
    """Return the best step within the bounds, and the nats that it promises."""
    theta, curvature = evidence.theta, at.found.information
    if with_prior:
        curvature = curvature + np.diag(theta.prior_precision)
    unit = np.sqrt(np.maximum(np.diag(curvature), 1e-12))  # what does not matter moves to its bound
    correlation = curvature / np.outer(unit, unit) + RIDGE * np.eye(len(unit))
    inverse = np.linalg.inv(correlation) / np.outer(unit, unit)
    for change, fall in at.changes:
        inverse = updated(inverse, change, fall)
    root = hessian_root(inverse)
    below, above = theta.lower - at.point, theta.upper - at.point
    _, promised = highest(at.gradient, root, below, above)
    moved, _ = highest(at.gradient, root, np.maximum(below, -LONGEST), np.minimum(above, LONGEST))
    return moved, promised


def _higher(evidence: VecchiaEvidence, at: Ascent, moved: Array, with_prior: bool) -> Ascent | None:
    """Return where a step leads, halved until the objective does not fall; ``None`` if it always does."""
    theta = evidence.theta
    for trial in range(1, HALVINGS + 2):
        point = np.clip(at.point + moved, theta.lower, theta.upper)
        try:
            new = _at(evidence, point, with_prior, at.steps + 1, at.evaluations + trial)
        except NotPositiveDefiniteError:
            new = None
        if new is not None and new.value >= at.value and np.isfinite(new.gradient).all():
            return new
        moved = 0.5 * moved
    return None
