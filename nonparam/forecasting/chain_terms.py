r"""Named parts of a series as processes that a chain can filter.

Every part but a smooth trend is a sum of known waves with amplitudes that wander independently,

.. math:: f(t) = \sum_i h_i(t) z_i(t), \qquad
    \mathrm{cov}(z_i(t), z_i(t')) = s_i e^{-|t - t'| / L} \text{ or } s_i \min(t - o, t' - o),

with Ornstein-Uhlenbeck or Wiener processes for amplitudes: a season has cosines and sines of one period, a
memory and a level have the one wave that is 1.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nonparam.errors import InputError
from nonparam.forecasting.harmonics import grid_weights, kept, waves, weights
from nonparam.forecasting.structure import Kind

__all__ = ["Amplitudes", "Term", "Timing", "columns", "loadings"]

Array = NDArray[np.float64]

HYPERPARAMETERS = {"base": 1, "drift": 1, "features": 1, "trend": 2, "level": 1, "season": 3, "memory": 2}
LINEAR = ("base", "drift", "features")
MOST_HARMONICS = 24  # all of a day in hours; of a week those that shape its days differently
ON_GRID = 1e-6  # steps: times this near to a grid lie on it
FARTHEST = 350.0  # exp(-x) is nothing any more there, and its square still a normal number


@dataclass(frozen=True)
class Term:
    """A named part of a series; what its hyperparameters are follows from its kind.

    ============ =========================================================
    kind         hyperparameters, in this order
    ============ =========================================================
    ``base``     variance of a constant
    ``drift``    variance of the slope of a line that is 0 at time 0
    ``features`` variance of the coefficients of columns that a user gives
    ``trend``    variance and lengthscale of a Matérn process
    ``level``    variance that Brownian motion gains in a unit of time
    ``season``   variance, smoothness (no unit), lifetime
    ``memory``   variance and lengthscale
    ============ =========================================================

    Attributes:
        name: as it is shown to users.
        kind: see the table.
        period: of a season, in units of time.
        harmonics: of a season, the most that are used.
        nu: of a trend, 1.5 or 2.5.
        columns: of features, how many there are.

    Raises:
        InputError: an unknown kind, a season without a period, or a number that makes no sense.

    Examples:
        >>> Term("year", "season", period=12.0).hyperparameters
        3
    """

    name: str
    kind: Kind
    period: float | None = None
    harmonics: int = MOST_HARMONICS
    nu: float = 2.5
    columns: int = 1

    def __post_init__(self) -> None:
        """Refuse what is no part."""
        if self.kind not in HYPERPARAMETERS:
            raise InputError(f"{self.name}: kind is {self.kind!r}: expected one of {[*HYPERPARAMETERS]}")
        if self.kind == "season" and not (self.period is not None and 0.0 < self.period < np.inf):
            raise InputError(f"{self.name}: period is {self.period}: expected a positive number")
        if self.harmonics < 1 or self.columns < 1:
            raise InputError(f"{self.name}: expected at least one harmonic and one column")
        if self.nu not in (1.5, 2.5):
            raise InputError(f"{self.name}: nu is {self.nu}: expected 1.5 or 2.5; a memory has 0.5")

    @property
    def hyperparameters(self) -> int:
        """How many the part has."""
        return HYPERPARAMETERS[self.kind]

    @property
    def is_linear(self) -> bool:
        """Whether the part is made of columns with unknown coefficients."""
        return self.kind in LINEAR


@dataclass(frozen=True)
class Timing:
    """When the rows are, and which gaps between them are alike.

    Attributes:
        times: ``(n,)``, increasing.
        gaps: ``(k,)``, all that differ; 0 where there is one row only.
        gap: ``(n,)``, which of them follows each row; 0 after the last.
        step: of the grid that the times lie on; ``None`` where they do not.

    Examples:
        >>> timing = Timing.of(np.array([0.0, 0.5, 1.0, 2.0]))
        >>> timing.step, timing.gaps, timing.gap
        (0.5, array([0.5, 1. ]), array([0, 0, 1, 0]))
    """

    times: Array
    gaps: Array
    gap: NDArray[np.intp]
    step: float | None

    @classmethod
    def of(cls, times: Array) -> "Timing":
        """Compare the gaps between ``times (n,)``."""
        gaps, step = np.diff(times), None
        if len(times) == 1:
            gaps = np.zeros(1)
        else:
            span = times[-1] - times[0]
            step = float(span / np.rint(span / gaps.min()))
            places = (times - times[0]) / step
            whole = np.rint(places)
            if np.abs(places - whole).max() < ON_GRID:
                gaps = np.diff(whole)
            else:
                step = None
        kinds, gap = np.unique(gaps, return_inverse=True)
        following = np.append(gap, 0)[: len(times)]
        return cls(times, kinds if step is None else kinds * step, following, step)

    def steps(self, term: Term) -> int | None:
        """Return the steps in the period of a season, where its waves on the grid are all that it is."""
        if self.step is None or term.period is None:
            return None
        steps = term.period / self.step
        p = round(steps)
        return p if p >= 1 and abs(steps - p) < ON_GRID and p <= 2 * term.harmonics + 1 else None


@dataclass(frozen=True)
class Amplitudes:
    """Independent processes, each of which multiplies a wave of its own.

    Attributes:
        variance: ``(d,)``, of the stationary processes; gained per unit of time, where they are Wiener's.
        slopes: ``(p, d)``, its derivatives in the logarithms of the part's hyperparameters.
        rate: ``1 / L``; 0 for Wiener processes.

    Examples:
        >>> Amplitudes.of(Term("memory", "memory"), None, np.array([2.0, 4.0]))
        Amplitudes(variance=array([2.]), slopes=array([[2.],
               [0.]]), rate=np.float64(0.25))
    """

    variance: Array
    slopes: Array
    rate: float

    @classmethod
    def of(cls, term: Term, p: int | None, values: Array) -> "Amplitudes":
        """Return those of a part.

        Args:
            term: a level, memory or season.
            p: what `Timing.steps` says.
            values: the part's hyperparameters.
        """
        if term.kind == "level":
            return cls(values, values[None], 0.0)
        if term.kind == "memory":
            return cls(values[:1], np.array([values[:1], [0.0]]), 1.0 / values[1])
        share, slope = grid_weights(values[1], p) if p is not None else weights(values[1], term.harmonics)
        wave = kept(_harmonics(term, p), p)
        share, slope = values[0] * np.repeat(share, 2)[wave], values[0] * np.repeat(slope, 2)[wave]
        return cls(share, np.stack([share, slope, np.zeros_like(share)]), 1.0 / values[2])

    def some(self, flags: NDArray[np.bool_]) -> "Amplitudes":
        """Return those that are flagged."""
        return Amplitudes(self.variance[flags], self.slopes[:, flags], self.rate)

    def scaled(self, gaps: Array) -> Array:
        """Return gaps in units of `L`; 0 for Wiener processes."""
        return np.minimum(self.rate * gaps, FARTHEST)

    def decay(self, gaps: Array) -> Array:
        """Return what is left after each gap, ``(k,)``."""
        return np.asarray(np.exp(-self.scaled(gaps)))

    def spread(self, gaps: Array) -> Array:
        """Return the variance gained in each gap, in units of `variance`, ``(k,)``."""
        return gaps if self.rate == 0.0 else -np.expm1(-2.0 * self.scaled(gaps))


def _harmonics(term: Term, p: int | None) -> NDArray[np.intp]:
    """Return the harmonics of a season."""
    return np.arange(1, term.harmonics + 1) if p is None else np.arange(p // 2 + 1)


def loadings(term: Term, p: int | None, times: Array) -> Array:
    """Return the waves of a part at ``times (n,)``, ``(n, d)``; for a trend the place of its value."""
    if term.is_linear:
        return np.empty((len(times), 0))
    if term.kind == "season":
        assert term.period is not None
        return waves(times / term.period, _harmonics(term, p), p)
    if term.kind == "trend":
        return np.tile(np.eye(1, round(term.nu + 0.5)), (len(times), 1))
    return np.ones((len(times), 1))


def columns(terms: tuple[Term, ...], times: Array, features: Array) -> Array:
    """Return the columns of all linear parts at ``times (n,)``, ``(n, q)``.

    Args:
        terms: all parts.
        times: ``(n,)``.
        features: ``(n, f)``, of the parts of kind ``features``, in their order.

    Raises:
        InputError: features that do not fit the parts.
    """
    wanted = sum(term.columns for term in terms if term.kind == "features")
    if features.shape != (len(times), wanted):
        raise InputError(f"features: expected shape ({len(times)}, {wanted}), got {features.shape}")
    found, used = [np.empty((len(times), 0))], 0
    for term in terms:
        if term.kind == "features":
            found.append(features[:, used : used + term.columns])
            used += term.columns
        elif term.is_linear:
            found.append((np.ones_like(times) if term.kind == "base" else times)[:, None])
    return np.concatenate(found, axis=1)
