"""Progress of a search: a bar on a terminal, plain lines elsewhere."""

import math
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Self

from nonparam.solvers.plan import duration

if TYPE_CHECKING:
    import rich.progress

__all__ = ["Progress", "Tally", "steps_left"]

TENTHS = 10  # lines of a `Tally` that has no terminal
RECENT = 5  # steps that the time left is judged by


class Progress:
    """Shows what a fit is doing, to those who asked for it; a context manager.

    Args:
        shown: whether anything is shown at all.

    Examples:
        >>> with Progress(True) as progress:
        ...     progress.stage("all 5,000 rows", target=0.5)
        ...     progress.step(1, 12.0, 3e-4)
        step 1: 12 nats ahead, largest relative residual 3.0e-04
    """

    def __init__(self, shown: bool) -> None:
        self._shown = shown
        self._bar: rich.progress.Progress | None = None
        self._began, self._target, self._ahead = time.perf_counter(), 0.0, list[float]()

    def __enter__(self) -> Self:
        """Put up the bar."""
        if self._shown and sys.stderr.isatty():
            self._bar = _bar()
            self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        """Take it down."""
        if self._bar is not None:
            self._bar.stop()

    def stage(self, name: str, target: float = 0.0) -> None:
        """Begin a stage.

        Args:
            name: what it works on.
            target: it ends when so many nats are ahead; 0 where that is not known.
        """
        self._began, self._target, self._ahead = time.perf_counter(), target, []
        if self._bar is None:
            return
        for task in self._bar.task_ids:
            self._bar.remove_task(task)
        self._bar.add_task(name, total=None, facts="", left="")

    def step(self, step: int, ahead: float, residual: float | None = None) -> None:
        """Tell of a step.

        Args:
            step: its number.
            ahead: nats that it promises, or that it gained.
            residual: the largest relative one of its solves; ``None`` where a factor solved.
        """
        if not self._shown:
            return
        self._ahead.append(ahead)
        solved = "" if residual is None else f", largest relative residual {residual:.1e}"
        if self._bar is not None:
            self._show(self._bar, f"step {step}: {ahead:.2g} nats{solved}")
        elif residual is not None:  # the many quick steps on subsets would fill pages
            print(f"step {step}: {ahead:.2g} nats ahead{solved}", flush=True)

    def _show(self, bar: "rich.progress.Progress", facts: str) -> None:
        elapsed, steps = time.perf_counter() - self._began, steps_left(self._ahead, self._target)
        (task,) = bar.task_ids
        if math.isinf(steps):
            bar.update(task, facts=facts, left="")
            return
        left = steps * elapsed / len(self._ahead)
        text = f"about {duration(left)} left in this stage"
        bar.update(task, facts=facts, left=text, total=elapsed + left, completed=elapsed)


class Tally:
    """Shows how many of a known number of things are done, to those who asked for it; a context manager.

    Args:
        shown: whether anything is shown at all.
        total: how many there are.
        what: they are.

    Examples:
        >>> with Tally(True, 4, "series") as tally:
        ...     tally.add(2)
        ...     tally.add(2, "1 failed")
        2 of 4 series
        4 of 4 series, 1 failed
    """

    def __init__(self, shown: bool, total: int, what: str) -> None:
        self._shown, self._total, self._what = shown, total, what
        self._bar: rich.progress.Progress | None = None
        self._began, self._done = time.perf_counter(), 0

    def __enter__(self) -> Self:
        """Put up the bar."""
        if self._shown and sys.stderr.isatty():
            self._bar = _bar()
            self._bar.add_task(self._what, total=self._total, facts="", left="")
            self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        """Take it down."""
        if self._bar is not None:
            self._bar.stop()

    def add(self, count: int, facts: str = "") -> None:
        """Tell that more are done.

        Args:
            count: how many more.
            facts: worth knowing.
        """
        if not count:
            return
        before, self._done = self._done, self._done + count
        if self._bar is not None:
            (task,) = self._bar.task_ids
            left = (time.perf_counter() - self._began) * (self._total / self._done - 1.0)
            text = f"{self._done:,} of {self._total:,}" + f", {facts}" * bool(facts)
            self._bar.update(task, completed=self._done, facts=text, left=f"about {duration(left)} left")
        elif self._shown and self._done * TENTHS // self._total > before * TENTHS // self._total:
            facts = f", {facts}" * bool(facts)
            print(f"{self._done:,} of {self._total:,} {self._what}{facts}", flush=True)


def _bar() -> "rich.progress.Progress":
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        TextColumn("{task.fields[facts]}"),
        TimeElapsedColumn(),
        TextColumn("{task.fields[left]}"),
        console=Console(stderr=True),
        transient=True,
        redirect_stdout=False,  # which may be a file or a pipe
    )


def steps_left(ahead: Sequence[float], target: float) -> float:
    """Return how many steps are left if what lies ahead goes on shrinking by the same factor.

    Args:
        ahead: nats ahead at each step so far.
        target: where the search ends.

    Returns:
        The number of steps; infinite where nothing can be said.

    Examples:
        >>> round(steps_left([8.0, 4.0], 0.5), 6), steps_left([4.0, 8.0], 0.5)
        (3.0, inf)
    """
    recent = ahead[-RECENT:]
    if len(recent) < 2 or not all(0.0 < nats < math.inf for nats in (*recent, target)):
        return math.inf
    shrinks = math.log(recent[0] / recent[-1]) / (len(recent) - 1)
    if shrinks <= 0.0:
        return math.inf
    return max(math.log(recent[-1] / target) / shrinks, 0.0)
