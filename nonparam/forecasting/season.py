"""How many observations make a season's cycle, and in what unit of time the priors are to be read."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nonparam.errors import InputError
from nonparam.forecasting.calendars import DAY, YEAR
from nonparam.forecasting.timeline import Timeline
from nonparam.forecasting.transforms import IDENTITY, LOG

__all__ = ["Cycle", "cycles"]

Array = NDArray[np.float64]

SHORT_CYCLES = (60.0, 3600.0, DAY)  # seconds
WEEK = 7.0 * DAY
PREFERRED = {DAY: 0.5 * DAY, WEEK: 0.5 * WEEK, YEAR: 0.5 * YEAR}  # the longest step of each cycle
TYPICAL_UNITS = 8.0  # how many units of time a series has that the priors were made for
CANDIDATES = 2  # cycles found in the numbers, between which the evidence decides


@dataclass(frozen=True)
class Cycle:
    """A unit of time, and the seasons that may repeat.

    Attributes:
        unit: in steps, at least 1.
        periods: of the seasons to be tried, in steps, increasing.

    Examples:
        >>> Cycle(24.0, (24.0, 168.0)).names
        {'season 24': 24.0, 'season 168': 168.0}
    """

    unit: float
    periods: tuple[float, ...]

    @property
    def names(self) -> dict[str, float]:
        """The periods by the names of the parts that have them."""
        if len(self.periods) == 1:
            return {"season": self.periods[0]}
        return {f"season {period:g}": period for period in self.periods}


def cycles(season: object, line: Timeline, positions: Array, y: Array) -> list[Cycle]:
    """Return the cycles worth a try.

    Args:
        season: ``"auto"``, ``None`` or 1 for none, the number of observations in a cycle, or several of them.
        line: the times of the series.
        positions: of the observations, ``(n,)``.
        y: ``(n,)``.

    Returns:
        One cycle, or where the index says nothing a few that the numbers suggest.

    Raises:
        InputError: a season that is no number of at least 2, or the same season twice.

    Examples:
        >>> import pandas as pd
        >>> from nonparam.forecasting.timeline import timeline
        >>> months, steps = timeline(pd.period_range("2020-01", periods=36, freq="M")), np.arange(36.0)
        >>> cycles("auto", months, steps, np.sin(steps))  # months: a season is a year
        [Cycle(unit=12.0, periods=(12.0,))]
    """
    span = float(positions[-1] - positions[0])
    known = _natural(line, span)
    unit = known.unit if known is not None and known.periods else _typical(span)
    if season is None or (_is_number(season) and season == 1):
        return [Cycle(unit, ())]
    if isinstance(season, str) and season == "auto":
        if known is not None:
            return [known]
        return [Cycle(m, (m,)) for m in _suggested(positions, y)] or [Cycle(unit, ())]
    periods = sorted(_checked(one) for one in (season if isinstance(season, list | tuple) else [season]))
    if not periods or len(set(periods)) < len(periods):
        raise InputError(f"season must name each cycle once, got {season!r}")
    return [Cycle(periods[0], tuple(periods))]


def _typical(span: float) -> float:
    """Return the unit of time of a series without a season."""
    return max(1.0, span / TYPICAL_UNITS)


def _is_number(season: object) -> bool:
    return isinstance(season, int | float | np.number) and not isinstance(season, bool)


def _checked(season: object) -> float:
    if not _is_number(season) or not 2 <= float(season) < np.inf:  # type: ignore[arg-type]  # it is a number
        raise InputError(
            "season must be 'auto', None or 1 for none, or the number of observations in a cycle (2 or more) "
            f"or a list of such numbers, got {season!r}"
        )
    return float(season)  # type: ignore[arg-type]


def _natural(line: Timeline, span: float) -> Cycle | None:
    """Return the cycles that people live by: days, weeks and years; hours and minutes in short records."""
    seconds = line.seconds
    if seconds is None:
        return None
    preferred = next((cycle for cycle, longest in PREFERRED.items() if seconds <= longest), None)
    if preferred is None:
        return Cycle(_typical(span), ())
    present = line.days_a_week / 7.0  # other days have no steps
    steps = {c: c / seconds for c in SHORT_CYCLES} | {c: present * c / seconds for c in (WEEK, YEAR)}
    fitting = [c for c in steps if 4.0 * seconds <= c <= preferred or c == preferred]
    seen = [c for c in steps if c >= fitting[0] and span >= 2.0 * steps[c] - 1.0]
    first = max((c for c in seen if c in fitting), default=preferred)
    return Cycle(round(steps[first], 9), tuple(round(steps[c], 9) for c in seen if c >= first))


def _suggested(positions: Array, y: Array) -> list[float]:
    """Return the lags at which the changes of the series resemble themselves most.

    Source: Box, Jenkins and Reinsel (2008), Time series analysis, section 9.2 (differencing before the
    autocorrelations are read).
    """
    n = int(positions[-1] - positions[0]) + 1
    if len(y) < 8 or not np.array_equal(positions, np.round(positions)) or n > 4 * len(y):
        return []
    g = LOG.forward(y) if LOG.suits(y) else IDENTITY.forward(y)
    changes = np.diff(np.interp(np.arange(n) + positions[0], positions, g))
    changes = changes - changes.mean()
    power = float(changes @ changes)
    if power <= 0.0:
        return []
    lags = np.arange(1, n // 3 + 2)
    spectrum = np.abs(np.fft.rfft(changes, 2 * n)) ** 2
    r = np.fft.irfft(spectrum, 2 * n)[lags] / power
    peaks = [i for i in range(1, len(r) - 1) if r[i] > max(r[i - 1], r[i + 1], 2.0 / np.sqrt(n))]
    return [float(lags[i]) for i in sorted(peaks, key=lambda i: -r[i])[:CANDIDATES]]
