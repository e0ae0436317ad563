"""Beam search over kernel expressions: breadth first, the best few of each depth carried on."""

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import joblib

from nonparam.model_selection.candidates import Candidate, Problem, Start, train
from nonparam.model_selection.clues import clues_of, starts_of
from nonparam.model_selection.expressions import Base, Expression
from nonparam.model_selection.moves import neighbours

__all__ = ["Beam", "Node"]

SCREENING_ROUNDS = 12  # of evaluations: enough to see which candidates are clearly worse
TRAINING_ROUNDS = 200
CLEARLY_WORSE = 5.0  # nats of BIC below the best so far, after the first rounds
KEPT = 3  # times the width: candidates of a depth that are trained to the end
CHUNK = 4  # candidates for each worker between two looks at the clock
NOTHING = Base("constant")


class _TimeIsUp(Exception):
    """The budget is spent."""


@dataclass(frozen=True)
class Node:
    """A candidate, the depth at which it was met, and whether it was trained to the end and judged."""

    candidate: Candidate
    depth: int
    judged: bool


@dataclass
class Beam:
    """The state of a search.

    Attributes:
        problem: what candidates are fitted to.
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
    bases: Sequence[Base]
    changes: Sequence[int | None]
    width: int
    deadline: float
    n_jobs: int | None
    nodes: dict[Expression, Node] = field(default_factory=dict)
    depth: int = 0
    out_of_time: bool = False
    _carried: set[Expression] = field(default_factory=set)

    def run(self, max_depth: int) -> Iterator[Node]:
        """Yield the best node after each depth, until one brings nothing better.

        Raises:
            KeyboardInterrupt: on Ctrl-C; ``nodes`` holds what was found before.
        """
        self._judge({NOTHING: [Start(NOTHING)]})
        while self.depth < max_depth:
            self.depth += 1
            before = self.score(self.best())
            try:
                self._deepen()
            except _TimeIsUp:
                self.out_of_time = True
                return
            yield self.best()
            if not self.score(self.best()) > before:
                return

    def best(self) -> Node:
        """Return the best node so far: by BIC while nothing but the start was judged."""
        nodes = list(self.nodes.values())
        if any(node.judged and node.depth for node in nodes):
            return max(nodes, key=self.score)
        return max(nodes, key=lambda node: node.candidate.bic)

    def score(self, node: Node) -> float:
        """Return the criterion; a candidate that was only screened has none but BIC."""
        known = node.judged or self.problem.criterion == "bic"
        return node.candidate.score if known else -math.inf

    def _deepen(self) -> None:
        waiting = [e for e, node in self.nodes.items() if node.judged and e not in self._carried]
        waiting.sort(key=lambda e: -self.nodes[e].candidate.score)
        tasks: dict[Expression, list[Start]] = {}
        for expression in waiting[: self.width]:
            self._carried.add(expression)
            for new, starts in self._steps(self.nodes[expression].candidate):
                if new not in self.nodes:
                    tasks.setdefault(new, starts)
        self._screen(tasks)
        promising = sorted(tasks, key=lambda e: -self.nodes[e].candidate.bic)[: KEPT * self.width]
        found = {e: self.nodes[e].candidate for e in promising}
        self._judge({e: [Start(c.expression, c.noise)] for e, c in found.items() if math.isfinite(c.bic)})

    def _steps(self, parent: Candidate) -> Iterator[tuple[Expression, list[Start]]]:
        clues = clues_of(self.problem, parent)
        ways = neighbours(parent.expression, self.bases, self.changes, self.problem.absorbed)
        for expression, some in ways.items():
            yield expression, starts_of(some, clues)

    def _screen(self, tasks: Mapping[Expression, Sequence[Start]]) -> None:
        hurdle = max(node.candidate.bic for node in self.nodes.values()) - CLEARLY_WORSE
        for expression, candidate in self._trained(tasks, SCREENING_ROUNDS, screening=True, hurdle=hurdle):
            self.nodes[expression] = Node(candidate, self.depth, judged=False)

    def _judge(self, tasks: Mapping[Expression, Sequence[Start]]) -> None:
        for expression, candidate in self._trained(tasks, TRAINING_ROUNDS, screening=False):
            self.nodes[expression] = Node(candidate, self.depth, judged=True)

    def _trained(
        self,
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
                if self.nodes and time.monotonic() > self.deadline:
                    raise _TimeIsUp
                some = names[i : i + size]
                jobs = (
                    joblib.delayed(train)(self.problem, tasks[e], rounds, screening=screening, hurdle=hurdle)
                    for e in some
                )
                yield from zip(some, parallel(jobs), strict=True)
