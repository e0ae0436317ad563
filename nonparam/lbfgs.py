r"""Limited-memory BFGS within bounds, for many problems at once.

Each row of a batch is a problem of its own: it has its own history, its own line search, and stops by
itself; only those still running are evaluated. The direction is the two-loop recursion (Nocedal and Wright
2006, algorithm 7.4) on the variables that are not held at a bound; the step satisfies the weak Wolfe
conditions, found by bisection and expansion (Lewis and Overton 2013, algorithm 2.6), with the minimiser of a
cubic tried before the middle.
"""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["UNFINISHED", "Minimum", "descend", "minimise"]

Array = NDArray[np.float64]
Flags = NDArray[np.bool_]

MEMORY = 40  # pairs kept: more than most models have hyperparameters, and cheap beside an evaluation
PATIENCE = 5  # steps over which the progress is judged
SUFFICIENT, CURVATURE = 1e-4, 0.9  # the constants of the Wolfe conditions (Nocedal and Wright, p. 33)
LONGEST_STEP = 3.0  # of any coordinate; on logarithms that is a factor of 20
MAX_TRIALS = 25
PREDICTED = 0.1  # of the tolerance: a quadratic model that promises less than this is believed
NOT_FLAT = 0.1  # no search that ends at a gradient as large as this has converged
UNFINISHED = "still searching"  # the message of a search that could go on
ROUNDING = 1e-11  # relative error of the objective, which a search near the optimum must not chase


@dataclass(frozen=True)
class Minimum:
    """Where the search of one problem ended.

    Attributes:
        theta: ``(p,)``.
        value: of the objective.
        gradient: ``(p,)``, projected on the bounds, in the changes that matter.
        steps: iterations taken.
        evaluations: of the objective.
        converged: whether a tolerance was met.
        message: why the search ended.
    """

    theta: Array
    value: float
    gradient: Array
    steps: int
    evaluations: int
    converged: bool
    message: str


class _Problem:
    """The state of one search; `propose` and `receive` alternate."""

    def __init__(self, theta: Array, lower: Array, upper: Array) -> None:
        self.lower, self.upper = lower, upper
        self.theta = np.clip(theta, lower, upper)
        self.value, self.gradient = np.inf, np.zeros_like(theta)
        self.pairs: list[tuple[Array, Array, float]] = []
        self.past: list[float] = []
        self.steps = self.evaluations = 0
        self.message = ""

    def start(self, value: float, gradient: Array) -> None:
        self.value, self.gradient = value, gradient
        self.evaluations = 1
        if not np.isfinite(value):
            self.message = "the objective is not finite at the start"
            return
        if self.theta.size == 0:
            self.message = "every hyperparameter is fixed"
            return
        self._aim()

    def projected_gradient(self) -> Array:
        projected: Array = self.theta - np.clip(self.theta - self.gradient, self.lower, self.upper)
        return projected

    def _free(self) -> Flags:
        at_lower = (self.theta <= self.lower) & (self.gradient > 0)
        at_upper = (self.theta >= self.upper) & (self.gradient < 0)
        free: Flags = ~(at_lower | at_upper)
        return free

    def _aim(self) -> None:
        """Choose a direction and the first step along it."""
        free = self._free()
        self.direction = np.where(free, -self._two_loop(np.where(free, self.gradient, 0.0)), 0.0)
        self.slope = float(self.direction @ self.gradient)
        if not self.slope < 0.0:  # uphill, or not finite
            self.pairs.clear()
            self.direction = np.where(free, -self.gradient, 0.0)
            self.slope = float(self.direction @ self.gradient)
        first = 1.0 if self.pairs else 1.0 / max(float(np.linalg.norm(self.direction)), 1e-300)
        longest = float(np.abs(self.direction).max(initial=0.0))
        self.step = min(first, LONGEST_STEP / max(longest, 1e-300))
        self.low, self.high, self.trials = (0.0, self.value, self.slope), np.inf, 0

    def _two_loop(self, q: Array) -> Array:
        """Return the inverse Hessian's approximation times ``q`` (algorithm 7.4)."""
        weights = []
        for s, d, rho in reversed(self.pairs):
            weights.append(rho * (s @ q))
            q = q - weights[-1] * d
        if self.pairs:
            s, d, rho = self.pairs[-1]
            q = q / (rho * (d @ d))
        for (s, d, rho), weight in zip(self.pairs, reversed(weights), strict=True):
            q = q + s * (weight - rho * (d @ q))
        return q

    def propose(self) -> Array:
        trial: Array = np.clip(self.theta + self.step * self.direction, self.lower, self.upper)
        return trial

    def receive(self, trial: Array, value: float, gradient: Array, tolerances: tuple[float, float]) -> None:
        """Take the step, or shorten or lengthen it."""
        self.evaluations += 1
        self.trials += 1
        moved = trial - self.theta
        slope = float(gradient @ self.direction)
        allowed = (
            self.value + SUFFICIENT * float(self.gradient @ moved) + ROUNDING * max(abs(self.value), 1.0)
        )
        if not value <= allowed:
            self.high = self.step
            self.step = self._shorter(value, slope)
        elif slope < CURVATURE * self.slope and self._may_lengthen(trial):
            self.low = (self.step, value, slope)
            self.best = (trial, value, gradient)
            self.step = 4.0 * self.step if np.isinf(self.high) else 0.5 * (self.step + self.high)
        else:
            self._accept(trial, value, gradient, tolerances)
            return
        if self.trials >= MAX_TRIALS or self.step * float(np.abs(self.direction).max()) < 1e-14:
            self._give_up(tolerances)

    def _may_lengthen(self, trial: Array) -> bool:
        longest = self.step * float(np.abs(self.direction).max()) >= LONGEST_STEP
        at_bound = bool(((trial <= self.lower) | (trial >= self.upper))[self.direction != 0].any())
        return not longest and not at_bound

    def _shorter(self, value: float, slope: float) -> float:
        """Return the minimiser of the cubic through both ends, kept off the ends (N&W equation 3.59)."""
        start, start_value, start_slope = self.low
        width = self.high - start
        middle = start + 0.5 * width
        if not (width > 0.0 and np.isfinite(value) and np.isfinite(slope)):
            return start + 0.1 * width
        d1 = start_slope + slope - 3.0 * (value - start_value) / width
        root = d1 * d1 - start_slope * slope
        if not 0.0 <= root < np.inf:
            return middle
        d2 = np.sqrt(root)
        denominator = slope - start_slope + 2.0 * d2
        if denominator == 0.0:
            return middle
        cubic = self.high - width * (slope + d2 - d1) / denominator
        return (
            float(np.clip(cubic, start + 0.1 * width, start + 0.7 * width)) if np.isfinite(cubic) else middle
        )

    def _accept(self, trial: Array, value: float, gradient: Array, tolerances: tuple[float, float]) -> None:
        s, d = trial - self.theta, gradient - self.gradient
        curvature = float(s @ d)
        if curvature > 1e-12 * float(d @ d):
            self.pairs = [*self.pairs[-MEMORY + 1 :], (s, d, 1.0 / curvature)]
        self.past = [*self.past[-PATIENCE + 1 :], self.value]
        self.theta, self.value, self.gradient = trial, value, gradient
        self.steps += 1
        gradient_tolerance, value_tolerance = tolerances
        if float(np.abs(self.projected_gradient()).max(initial=0.0)) <= gradient_tolerance:
            self.message = "the gradient vanishes"
        elif len(self.past) == PATIENCE and self.past[0] - value <= value_tolerance:
            self.message = "the objective no longer changes"
        else:
            self._aim()
            if self.past[-1] - value <= value_tolerance and -0.5 * self.slope <= PREDICTED * value_tolerance:
                self.message = "the objective would no longer change"

    def _give_up(self, tolerances: tuple[float, float]) -> None:
        if self.low[0] > 0.0:  # an earlier trial of this search was a decrease: take it
            self._accept(*self.best, tolerances)
        elif self.pairs:  # the curvature model may be at fault: once more down the gradient
            self.pairs.clear()
            self._aim()
        else:
            self.message = "the line search found no decrease"

    def minimum(self, max_steps: int, scale: Array | float) -> Minimum:
        enough = self.steps < max_steps
        message = self.message or (UNFINISHED if enough else f"{max_steps} steps were not enough")
        projected = self.projected_gradient()
        flat = float(np.abs(projected).max(initial=0.0)) < NOT_FLAT
        converged = bool(self.message) and flat and bool(np.isfinite(self.value))
        theta = self.theta * scale
        return Minimum(theta, self.value, projected, self.steps, self.evaluations, converged, message)


def minimise(
    objective: Callable[[Array, NDArray[np.intp]], tuple[Array, Array]],
    starts: Array,
    lower: Array,
    upper: Array,
    *,
    scale: Array | float = 1.0,
    max_steps: int = 200,
    gradient_tolerance: float = 1e-7,
    value_tolerance: float = 1e-10,
) -> list[Minimum]:
    r"""Minimise ``b`` smooth functions of ``p`` bounded variables, each from its own start.

    Args:
        objective: takes ``(k, p)`` points and the ``(k,)`` indices of the problems that they belong to;
            returns ``(k,)`` values, infinite where undefined, and ``(k, p)`` gradients.
        starts: ``(b, p)``.
        lower: ``(p,)`` or ``(b, p)``.
        upper: ``(p,)`` or ``(b, p)``.
        scale: ``(p,)``, changes of the variables that matter; steps and gradients are measured in them.
        max_steps: iterations of each problem.
        gradient_tolerance: on the largest entry of the projected gradient.
        value_tolerance: on the decrease in five steps; a search ends sooner where the last step gained no
            more and the model of its curvature, half of ``g' H g``, promises a tenth of it.

    Returns:
        One `Minimum` for each row of ``starts``.

    Examples:
        >>> def bowl(x, which):
        ...     return (x**2).sum(1), 2.0 * x
        >>> found = minimise(bowl, np.array([[3.0, 1.0]]), np.array([1.0, -5.0]), np.array([9.0, 9.0]))
        >>> found[0].theta, found[0].converged
        (array([1., 0.]), True)
    """
    iterations = descend(
        objective,
        starts,
        lower,
        upper,
        scale=scale,
        max_steps=max_steps,
        gradient_tolerance=gradient_tolerance,
        value_tolerance=value_tolerance,
    )
    return deque(iterations, maxlen=1).pop()


def descend(
    objective: Callable[[Array, NDArray[np.intp]], tuple[Array, Array]],
    starts: Array,
    lower: Array,
    upper: Array,
    *,
    scale: Array | float = 1.0,
    max_steps: int = 200,
    gradient_tolerance: float = 1e-7,
    value_tolerance: float = 1e-10,
) -> Iterator[list[Minimum]]:
    """Minimise as `minimise` does, and yield where every search stands, after each round of evaluations.

    Examples:
        >>> def bowl(x, which):
        ...     return (x**2).sum(1), 2.0 * x
        >>> wide = np.full(1, 9.0)
        >>> [found[0].theta.item() for found in descend(bowl, np.array([[3.0]]), -wide, wide)]
        [3.0, 2.0, 0.0]
    """
    bounds = [np.broadcast_to(bound, starts.shape) / scale for bound in (lower, upper)]
    problems = [_Problem(*row) for row in zip(starts / scale, *bounds, strict=True)]
    everyone = np.arange(len(problems))

    def scaled(points: list[Array], which: NDArray[np.intp]) -> tuple[Array, Array]:
        values, gradients = objective(np.stack(points) * scale, which)
        return values, gradients * scale

    values, gradients = scaled([problem.theta for problem in problems], everyone)
    with np.errstate(over="ignore", invalid="ignore"):  # a search that meets infinity steps back
        for problem, value, gradient in zip(problems, values, gradients, strict=True):
            problem.start(float(value), gradient)
    minima = [problem.minimum(max_steps, scale) for problem in problems]
    while True:
        yield list(minima)
        running = [i for i in everyone if not problems[i].message and problems[i].steps < max_steps]
        if not running:
            return
        trials = [problems[i].propose() for i in running]
        values, gradients = scaled(trials, np.array(running))
        with np.errstate(over="ignore", invalid="ignore"):
            for i, trial, value, gradient in zip(running, trials, values, gradients, strict=True):
                problems[i].receive(trial, float(value), gradient, (gradient_tolerance, value_tolerance))
                minima[i] = problems[i].minimum(max_steps, scale)
