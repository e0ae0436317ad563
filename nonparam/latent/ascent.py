"""Where a search for the mode of functions stands, and how far it goes along a step."""

from dataclasses import dataclass

from torch import Tensor

from nonparam.latent.approximation import Observations

__all__ = ["Point"]

HALVINGS = 20
ROUNDING = 1e-13  # of a log density


@dataclass(frozen=True)
class Point:
    """Functions at the rows, ``F = K alpha``, and the log joint density there without its constant.

    Attributes:
        alpha: ``(n, c)``.
        f: ``(n, c)``.
        height: in nats.
    """

    alpha: Tensor
    f: Tensor
    height: float

    @classmethod
    def of(cls, alpha: Tensor, f: Tensor, seen: Observations) -> "Point":
        """Return where functions ``f (n, c)`` with ``alpha (n, c)`` stand."""
        return cls(alpha, f, float(seen.log_density(f).detach()) - 0.5 * float((alpha * f).sum()))

    def along(self, alpha: Tensor, f: Tensor, seen: Observations) -> "Point":
        """Go the share of a step that does not descend, but for rounding.

        Args:
            alpha: ``(n, c)``, the step.
            f: ``K alpha``, ``(n, c)``.
            seen: the observations.
        """
        share, least = 1.0, self.height - ROUNDING * abs(self.height)
        for _ in range(HALVINGS):
            reached = Point.of(self.alpha + share * alpha, self.f + share * f, seen)
            if reached.height >= least:
                return reached
            share *= 0.5
        return self
