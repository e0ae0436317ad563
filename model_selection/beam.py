"""Beam search over kernel expressions: breadth first, the best few of each depth carried on."""

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import joblib

from nonparam.model_selection.candidates import Candidate, Problem, Start, train
from nonparam.model_selection.clues import Clues, clues_of, faster, starts_of
from nonparam.model_selection.expressions import Base, Expression, leaves
from nonparam.model_selection.moves import neighbours

__all__ = ["Beam", "Node"]

SCREENING_ROUNDS = 12  # of evaluations: enough to see which candidates are clearly worse
TRAINING_ROUNDS = 200
CLEARLY_WORSE = 5.0  # nats of BIC below the best so far, after the first rounds
WORTH_A_MENTION = 1.0  # nats that a depth must gain for the next one to be tried; Kass and Raftery (1995)
KEPT = 3  # times the width: candidates of a depth that are trained to the end
CHUNK = 4  # candidates for each worker between two looks at the clock
NOTHING = Base("constant")


class _TimeIsUp(Exception):
    """The budget is spent."""


@dataclass(frozen=True)
class Node:
    """A candidate, and what the search knows of it.

    Attributes:
        candidate: as it was trained last.
        depth: at which it was met.
        judged: whether it was trained to the end, on all rows of the problem.
        screened: its BIC on the rows of the screening, in nats.
    """

    candidate: Candidate
    depth: int
    judged: bool
    screened: float


@dataclass
class Beam:
    """The state of a search.

    Attributes:
        problem: what candidates are fitted to.
        rough: the same with fewer rows, on which candidates are screened.
        bases: the base kernels.
        changes: the columns along which change points may stand.
        width: how many expressions of each depth are carried on.
        deadline: of `time.monotonic`.
        n_jobs: as joblib's.
        nodes: by expression, all that were fitted.
        depth: that was reached.
        out_of_time: whether the deadline ended the search.
    """

    problem: Problem
    rough: Problem
    bases: Sequence[Base]
    changes: Sequence[int | None]
    width: int
    deadline: float
    n_jobs: int | None
    nodes: dict[Expression, Node] = field(default_factory=dict)
    depth: int = 0
    out_of_time: bool = False
    _carried: set[Expression] = field(default_factory=set)
    _alone: Clues | None = None

    def run(self, max_depth: int) -> Iterator[Node]:
        """Yield the best node after each depth, until one brings nothing worth mentioning.

        Raises:
            KeyboardInterrupt: on Ctrl-C; ``nodes`` holds what was found before.
        """
        self._screen({NOTHING: [Start(NOTHING)]})
        self._judge([NOTHING])
        while self.depth < max_depth:
            self.depth += 1
            before = self.score(self.best())
            try:
                self._deepen()
            except _TimeIsUp:
                self.out_of_time = True
                return
            yield self.best()
            if not self.score(self.best()) > before + WORTH_A_MENTION:
                return

    def best(self) -> Node:
        """Return the best node so far: by the screening while nothing but the start was judged."""
        nodes = list(self.nodes.values())
        if any(node.judged and node.depth for node in nodes):
            return max(nodes, key=self.score)
        return max(nodes, key=lambda node: node.screened)

    def score(self, node: Node) -> float:
        """Return the criterion, minus infinity for a candidate that was only screened."""
        return node.candidate.score if node.judged else -math.inf

    def _deepen(self) -> None:
        waiting = [e for e, node in self.nodes.items() if node.judged and e not in self._carried]
        waiting.sort(key=lambda e: -self.nodes[e].candidate.score)
        tasks: dict[Expression, list[Start]] = {}
        for expression in waiting[: self.width]:
            self._carried.add(expression)
            parent = self.nodes[expression].candidate
            for new, starts in self._steps(parent):
                if new not in self.nodes or self._left_behind(new, parent):
                    tasks.setdefault(new, starts)
        self._screen(tasks)
        promising = sorted(tasks, key=lambda e: -self.nodes[e].screened)[: KEPT * self.width]
        self._judge([e for e in promising if self._waits(self.nodes[e])])

    def _waits(self, node: Node) -> bool:
        return not node.judged and math.isfinite(node.screened)

    def _left_behind(self, known: Expression, parent: Candidate) -> bool:
        """Return whether a known expression is simpler and worse: its parent may show it a better optimum."""
        simpler = len(list(leaves(known))) < len(list(leaves(parent.expression)))
        return simpler and self.nodes[known].candidate.bic < parent.bic

    def _steps(self, parent: Candidate) -> Iterator[tuple[Expression, list[Start]]]:
        clues = clues_of(self.problem, parent)
        self._alone = clues if self._alone is None else self._alone  # the first parent is nothing
        ways = neighbours(
            parent.expression, self.bases, self.changes, self.problem.absorbed, clues.unexplained
        )
        for expression, some in ways.items():
            yield expression, starts_of(some, clues, self._alone)

    def _screen(self, tasks: Mapping[Expression, Sequence[Start]]) -> None:
        hurdle = max((node.screened for node in self.nodes.values()), default=-math.inf) - CLEARLY_WORSE
        trained = self._trained(self.rough, tasks, SCREENING_ROUNDS, screening=True, hurdle=hurdle)
        for expression, candidate in trained:
            known = self.nodes.get(expression)
            if known is None or candidate.bic > known.screened + WORTH_A_MENTION:
                self.nodes[expression] = Node(candidate, self.depth, judged=False, screened=candidate.bic)

    def _judge(self, promising: Sequence[Expression]) -> None:
        found = {e: self.nodes[e].candidate for e in promising}
        tasks = {
            e: [Start(way, c.noise) for way in (c.expression, *faster(c.expression))]
            for e, c in found.items()
        }
        for expression, candidate in self._trained(self.problem, tasks, TRAINING_ROUNDS, screening=False):
            known = self.nodes[expression]
            screened = candidate.bic if self.rough is self.problem else known.screened
            self.nodes[expression] = replace(known, candidate=candidate, judged=True, screened=screened)

    def _trained(
        self,
        problem: Problem,
        tasks: Mapping[Expression, Sequence[Start]],
        rounds: int,
        *,
        screening: bool,
        hurdle: float = -math.inf,
    ) -> Iterator[tuple[Expression, Candidate]]:
        workers = joblib.effective_n_jobs(self.n_jobs)
        size = 1 if workers == 1 else CHUNK * workers
        names = list(tasks)
        with joblib.Parallel(n_jobs=self.n_jobs) as parallel:
            for i in range(0, len(names), size):
                if self.depth and time.monotonic() > self.deadline:
                    raise _TimeIsUp
                some = names[i : i + size]
                jobs = (
                    joblib.delayed(train)(problem, tasks[e], rounds, screening=screening, hurdle=hurdle)
                    for e in some
                )
                yield from zip(some, parallel(jobs), strict=True)
