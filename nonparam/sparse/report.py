"""What a sparse fit did, and what the approximation may have lost."""

import math
from dataclasses import dataclass

from nonparam.training import FitReport

__all__ = ["SparseReport"]


@dataclass(frozen=True)
class SparseReport(FitReport):
    """A fit's report, with bounds of the log evidence at the fitted hyperparameters.

    Attributes:
        rows: that were learnt from.
        points: inducing points.
        lower: a lower bound of the log evidence, in nats; an estimate of one where the last pass over all
            rows was not made: after `partial_fit`, or where a fit was cut short.
        upper: an upper bound, likewise.

    Examples:
        >>> from dataclasses import asdict
        >>> done = FitReport("by hand", 0.1, True, "flat", 3, 4, -1.5, (-1.5,), 0.0, 0.0)
        >>> print(SparseReport(**asdict(done), rows=9, points=3, lower=-2.0, upper=-1.1))
        by hand
        converged: flat, after 3 steps and 4 evaluations from 1 start(s), in 0.1 s
        objective -1.5 nats, largest gradient 0.0e+00, jitter 0
        3 inducing points for 9 rows, log evidence from -2 to -1.1: at most 0.9 nats (0.1 a row) are lost
    """

    rows: int = 0
    points: int = 0
    lower: float = -math.inf
    upper: float = math.inf

    @property
    def gap(self) -> float:
        """The most that the lower bound may be below the log evidence, in nats."""
        return self.upper - self.lower

    def __str__(self) -> str:
        """Return the report as a few lines."""
        return (
            f"{super().__str__()}\n{self.points:,} inducing points for {self.rows:,} rows, log evidence from "
            f"{self.lower:.6g} to {self.upper:.6g}: at most {self.gap:.3g} nats "
            f"({self.gap / max(self.rows, 1):.2g} a row) are lost"
        )
