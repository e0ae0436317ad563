"""Training of sparse processes: by L-BFGS on all rows at once, or a batch at a time."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from nonparam.errors import ConvergenceError, InputError
from nonparam.lbfgs import Minimum
from nonparam.progress import Progress, Tally
from nonparam.sparse.collapsed import CollapsedObjective
from nonparam.sparse.start import Start
from nonparam.sparse.stochastic import Ascent
from nonparam.training import INTERRUPTED, FitReport, maximise

__all__ = ["Schedule", "ascend_batches", "maximise_collapsed"]

Array = NDArray[np.float64]
Epoch = Callable[[], Iterable[tuple[Tensor, Tensor]]]

GAINED = 1e-6  # nats a row in the last steps of L-BFGS
MAX_STEPS = 300
WARM = 20  # steps in which Adam's rate rises
FIRST_LENGTH, LENGTH, LAST_LENGTH = 0.5, 0.1, 0.01  # of steps of natural gradient
COOLING = 0.5  # share of the steps in which both come down
WINDOW = 100  # steps over which the bound is averaged


@dataclass(frozen=True)
class Schedule:
    """How long stochastic training lasts.

    Attributes:
        steps: at most.
        rate: of Adam.
        tolerance: nats a row; when the mean bound of a window rises by less, the rates come down.
    """

    steps: int
    rate: float
    tolerance: float

    def rates(self, step: int, cooled_from: int, last: int) -> tuple[float, float]:
        """Return the length of the natural step and Adam's rate at a step, from 0.

        Examples:
            >>> Schedule(100, 0.03, 0.0).rates(99, 50, 100)
            (0.01, 0.0006)
        """
        left = 1.0 if step < cooled_from else (last - step) / (last - cooled_from)
        warm = min(1.0, (step + 1) / WARM)
        length = max(LENGTH, 1.0 / (step + 1.0 / FIRST_LENGTH))
        return max(length * left, LAST_LENGTH), self.rate * warm * left


def maximise_collapsed(
    objective: CollapsedObjective, start: Start, plan: str, progress: Progress
) -> tuple[Array, FitReport]:
    """Maximise the collapsed bound by L-BFGS.

    Args:
        objective: of all rows.
        start: where to begin.
        plan: goes into the report.
        progress: is told of every step.

    Raises:
        ConvergenceError: the bound is finite nowhere.
    """
    best, n = np.inf, len(objective.x)
    progress.stage(f"{n:,} rows", GAINED * n)

    def tell(found: list[Minimum]) -> None:
        nonlocal best
        progress.step(found[0].steps, best - found[0].value)
        best = found[0].value

    lower, upper = objective.parameters.bounds
    vector, report = maximise(
        objective.negative,
        start.vector[None],
        lower,
        upper,
        scale=objective.parameters.step,
        plan=plan,
        tolerance=GAINED * n,
        on_step=tell,
        max_steps=MAX_STEPS,
    )
    stands = report.message.startswith("the objective")  # many points leave some direction that is not flat
    return vector, replace(report, converged=report.converged or stands)


@dataclass
class _Course:
    """What stochastic training has seen so far."""

    ascent: Ascent
    schedule: Schedule
    n: int
    bounds: list[float] = field(default_factory=list)
    seen: int = 0
    cooled_from: int = 0
    last: int = 0

    def __post_init__(self) -> None:
        self.last = self.schedule.steps
        self.cooled_from = int((1.0 - COOLING) * self.last)

    @property
    def done(self) -> bool:
        return len(self.bounds) >= self.last

    def step(self, x: Tensor, y: Tensor) -> None:
        length, rate = self.schedule.rates(len(self.bounds), self.cooled_from, self.last)
        self.bounds.append(self.ascent.step(x, y, self.n, length=length, rate=rate))
        self.seen += len(x)
        self._cool()

    def _cool(self) -> None:
        """Begin to lower the rates where the bound no longer rises."""
        now = len(self.bounds)
        if now % WINDOW or now < 3 * WINDOW or now >= self.cooled_from:
            return
        if self.gain < self.schedule.tolerance:
            self.cooled_from, self.last = now, min(self.last, 2 * now)

    @property
    def gain(self) -> float:
        """Nats a row that the last window has above the one before."""
        size = min(WINDOW, len(self.bounds) // 2)
        if size == 0:
            return 0.0
        return float(np.mean(self.bounds[-size:]) - np.mean(self.bounds[-2 * size : -size]))

    def settle(self) -> None:
        """Let the sums stand for the rows that were seen: more may follow."""
        seen = min(max(self.seen, 1), self.n)
        self.ascent.sums = self.ascent.sums.scaled(seen / self.ascent.sums.n)

    def report(self, plan: str, seconds: float, message: str) -> FitReport:
        """Return what was done; the objective is the mean of the last window."""
        steps = len(self.bounds)
        value = self.n * float(np.mean(self.bounds[-WINDOW:])) if steps else -np.inf
        converged = message != INTERRUPTED
        if converged:
            message += f", {self.gain:+.2g} nats a row in the last {min(WINDOW, steps // 2)} steps"
        return FitReport(plan, seconds, converged, message, steps, steps, value, (value,), 0.0, 0.0)


def ascend_batches(
    ascent: Ascent, epoch: Epoch, n: int, schedule: Schedule, plan: str, *, shown: bool
) -> FitReport:
    """Train by batches; the ascent stands where the last one left it, whatever happens.

    Args:
        ascent: where to begin.
        epoch: yields all rows once, in batches ``(b, d)`` with outputs ``(b, t)``.
        n: how many rows there are.
        schedule: of the steps.
        plan: goes into the report.
        shown: whether a bar is shown.

    Raises:
        InputError: an epoch with another number of rows, or a batch that could not be read.
        ConvergenceError: a batch that could not be learnt from.
    """
    began, course = time.perf_counter(), _Course(ascent, schedule, n)
    message = "the rates have come down"
    with Tally(shown, schedule.steps, "steps") as tally:
        try:
            while not course.done:
                _pass(course, epoch(), tally)
        except KeyboardInterrupt:
            message = INTERRUPTED
        except Exception as error:
            course.settle()
            kind = ConvergenceError if isinstance(error, ArithmeticError) else InputError
            raise kind(_failed(course, error)) from error
    return course.report(plan, time.perf_counter() - began, message)


def _pass(course: _Course, batches: Iterable[tuple[Tensor, Tensor]], tally: Tally) -> None:
    before = course.seen
    for x, y in batches:
        course.step(x, y)
        tally.add(1, f"bound {np.mean(course.bounds[-WINDOW:]):.4f} nats a row")
        if course.done:
            return
    if course.seen - before != course.n:
        raise InputError(
            f"the batches ended after {course.seen - before:,} rows where {course.n:,} were read before: "
            "they must be the same rows each time"
        )


def _failed(course: _Course, error: Exception) -> str:
    epochs, rows = divmod(course.seen, course.n)
    return (
        f"training stopped in epoch {epochs + 1}, after {rows:,} of {course.n:,} rows "
        f"({type(error).__name__}: {error}). What was learnt before is kept: predict works, partial_fit goes "
        "on with further batches, and another fit begins anew"
    )
