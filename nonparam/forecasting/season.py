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

CYCLES = (60.0, 3600.0, DAY, 7.0 * DAY, YEAR)  # seconds
PREFERRED = {DAY: 0.5 * DAY, 7.0 * DAY: 3.5 * DAY, YEAR: 0.5 * YEAR}  # the longest step of each cycle
TYPICAL_UNITS = 8.0  # how many units of time a series has that the priors were made for
SHORTEST_UNIT = 4.0  # steps, where neither the index nor the user tells of a cycle
CANDIDATES = 2  # cycles found in the numbers, between which the evidence decides


@dataclass(frozen=True)
class Cycle:
    """A unit of time, and whether a season may repeat with it.

    Attributes:
        length: in steps, at least 1.
        seasonal: whether a season is to be tried.

    Examples:
        >>> Cycle(12.0, seasonal=True)
        Cycle(length=12.0, seasonal=True)
    """

    length: float
    seasonal: bool


def cycles(season: object, line: Timeline, positions: Array, y: Array) -> list[Cycle]:
    """Return the cycles worth a try.

    Args:
        season: ``"auto"``, ``None``, or the number of observations in a cycle.
        line: the times of the series.
        positions: of the observations, ``(n,)``.
        y: ``(n,)``.

    Returns:
        One cycle, or where the index says nothing a few that the numbers suggest.

    Raises:
        InputError: a season that is no number of at least 2.

    Examples:
        >>> import pandas as pd
        >>> from nonparam.forecasting.timeline import timeline
        >>> months, steps = timeline(pd.period_range("2020-01", periods=36, freq="M")), np.arange(36.0)
        >>> cycles("auto", months, steps, np.sin(steps))  # months: a season is a year
        [Cycle(length=12.0, seasonal=True)]
    """
    span = float(positions[-1] - positions[0])
    known = _natural(line.seconds, span)
    unit = known.length if known is not None else max(SHORTEST_UNIT, span / TYPICAL_UNITS)
    if season is None:
        return [Cycle(unit, seasonal=False)]
    if isinstance(season, str) and season == "auto":
        if known is not None:
            return [known]
        return [Cycle(m, seasonal=True) for m in _suggested(positions, y)] or [Cycle(unit, seasonal=False)]
    if (
        isinstance(season, bool)
        or not isinstance(season, int | float | np.number)
        or not 2 <= season < np.inf
    ):
        raise InputError(
            "season must be 'auto', None, or the number of observations in a cycle (2 or more), "
            f"got {season!r}"
        )
    return [Cycle(float(season), seasonal=True)]


def _natural(seconds: float | None, span: float) -> Cycle | None:
    """Return the cycle that people live by: days, weeks or years; hours and minutes in short records."""
    if seconds is None:
        return None
    preferred = next((cycle for cycle, longest in PREFERRED.items() if seconds <= longest), None)
    if preferred is None:
        return Cycle(1.0, seasonal=False)
    fitting = [c for c in CYCLES if 4.0 * seconds <= c <= preferred or c == preferred]
    seen = [c for c in fitting if span * seconds >= 2.0 * c - seconds]
    return Cycle(round(max(seen, default=preferred) / seconds, 9), seasonal=bool(seen))


def _suggested(positions: Array, y: Array) -> list[int]:
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
    r = np.array([changes[lag:] @ changes[:-lag] for lag in lags]) / power
    peaks = [i for i in range(1, len(r) - 1) if r[i] > max(r[i - 1], r[i + 1], 2.0 / np.sqrt(n))]
    return [int(lags[i]) for i in sorted(peaks, key=lambda i: -r[i])[:CANDIDATES]]
