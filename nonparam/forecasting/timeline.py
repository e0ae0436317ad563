"""The index of a series as positions on a line, and back."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeGuard

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from nonparam.errors import InputError

__all__ = ["DAY", "YEAR", "Timeline", "timeline"]

Array = NDArray[np.float64]
Steps = NDArray[np.int64]

DAY = 86_400.0  # seconds
YEAR = 365.25 * DAY
PER_YEAR = {  # of calendar offsets, by the beginning of their names; the others have a fixed length
    **dict.fromkeys(("Y", "YE", "YS", "BYE", "BYS"), 1.0),
    **dict.fromkeys(("Q", "QE", "QS", "BQE", "BQS"), 4.0),
    **dict.fromkeys(("M", "ME", "MS", "BME", "BMS", "CBME", "CBMS", "WOM", "LWOM"), 12.0),
    **dict.fromkeys(("SME", "SMS"), 24.0),
    **dict.fromkeys(("B", "C"), 365.25 * 5.0 / 7.0),
    "W": 365.25 / 7.0,
    "D": 365.25,
}
SNAP = 1e-6  # of a step: a position so close to a whole number is that number
MOST_GAPS = 3.0  # a grid is no grid where the median distance is more than so many steps


class Timeline(ABC):
    """The times of a series. Its last one has position 0; neighbours on a regular grid differ by 1."""

    index: pd.Index

    @abstractmethod
    def locate(self, index: pd.Index) -> Array:
        """Return the positions of times of the same kind, ``(m,)``."""

    @abstractmethod
    def future(self, steps: Steps) -> pd.Index:
        """Return the times so many steps (1 or more) after the last one."""

    @property
    @abstractmethod
    def seconds(self) -> float | None:
        """The duration of a step on average; ``None`` where the index are numbers."""


@dataclass(frozen=True)
class Periods(Timeline):
    """Months, quarters, weeks, ...

    Attributes:
        index: of the series.
    """

    index: pd.PeriodIndex

    @property
    def freq(self) -> Any:
        """The offset from one period to the next."""
        return self.index.freq

    def locate(self, index: pd.Index) -> Array:
        """Count periods."""
        if not isinstance(index, pd.PeriodIndex) or index.freq != self.freq:
            raise InputError(f"expected periods of frequency {self.index.freqstr!r}, got {index!r}")
        positions: Array = (index.asi8 - self.index.asi8[-1]) / self.freq.n
        return positions

    def future(self, steps: Steps) -> pd.Index:
        """Count on."""
        last = self.index[-1]
        return pd.PeriodIndex([last + int(k) for k in steps], freq=self.freq, name=self.index.name)

    @property
    def seconds(self) -> float | None:
        """The average length of a period."""
        return _duration(self.freq)


@dataclass(frozen=True)
class Stamps(Timeline):
    """Dates and times on a grid, some of which may be missing.

    Attributes:
        index: of the series.
        freq: the offset from one stamp of the grid to the next.
    """

    index: pd.DatetimeIndex
    freq: pd.tseries.offsets.BaseOffset

    def locate(self, index: pd.Index) -> Array:
        """Count stamps of the grid; between two of them, in proportion."""
        if not isinstance(index, pd.DatetimeIndex):
            raise InputError(f"expected dates, as in the series, got {index!r}")
        if _is_fixed(self.freq):
            return _snapped(_differences(index, self.index[-1]) / pd.Timedelta(self.freq))
        known = pd.date_range(self.index[0], self.index[-1], freq=self.freq)
        last = max(index.max(), self.index[-1])
        grid = known.append(_until(self.index[-1], last, self.freq))
        places, knots = (_differences(x, self.index[0]).total_seconds() for x in (index, grid))
        positions: Array = np.interp(places, knots, np.arange(len(grid)) - (len(known) - 1.0))
        return positions

    def future(self, steps: Steps) -> pd.Index:
        """Take stamps of the grid."""
        start = self.index[-1]
        grid = pd.date_range(start, periods=int(steps.max()) + 1, freq=self.freq, name=self.index.name)
        return grid[1:] if np.array_equal(steps, np.arange(1, len(grid))) else grid.take(steps)

    @property
    def seconds(self) -> float | None:
        """The average length of a step."""
        return _duration(self.freq)


@dataclass(frozen=True)
class Numbers(Timeline):
    """Integers, floats or durations; also stamps that keep to no grid.

    Attributes:
        index: of the series.
        step: the distance of neighbours, in units of the index.
    """

    index: pd.Index
    step: Any

    def locate(self, index: pd.Index) -> Array:
        """Divide differences by the step."""
        if index.inferred_type != self.index.inferred_type and not _both_numeric(index, self.index):
            raise InputError(
                f"expected an index of type {self.index.inferred_type}, as in the series, got {index!r}"
            )
        return _snapped(_differences(index, self.index[-1]) / self.step)

    def future(self, steps: Steps) -> pd.Index:
        """Add steps."""
        last, step, name = self.index[-1], self.step, self.index.name
        if isinstance(self.index, pd.RangeIndex) and np.array_equal(steps, np.arange(1, len(steps) + 1)):
            return pd.RangeIndex(last + step, last + step * (len(steps) + 1), step, name=name)
        later: pd.Index = pd.Index([last + int(k) * step for k in steps], name=name)
        return later

    @property
    def seconds(self) -> float | None:
        """The length of a step of durations and stamps."""
        return float(self.step.total_seconds()) if isinstance(self.step, pd.Timedelta) else None


def timeline(index: pd.Index) -> Timeline:
    """Read an index.

    Args:
        index: of a series, increasing and without duplicates.

    Returns:
        Its timeline. Dates without a frequency get the one that they keep to, gaps allowed; if there is
        none, they count as irregular, with their median distance as a step.

    Raises:
        InputError: an index that is neither of dates, of periods nor of numbers.

    Examples:
        >>> months = pd.to_datetime(["2020-01-31", "2020-02-29", "2020-05-31"])
        >>> line = timeline(months)
        >>> line.locate(months), line.future(np.array([1])).strftime("%d %B").tolist()
        (array([-4., -3.,  0.]), ['30 June'])
    """
    if isinstance(index, pd.PeriodIndex):
        return Periods(index)
    if isinstance(index, pd.DatetimeIndex):
        freq = _frequency(index)
        return Numbers(index, _median_step(index)) if freq is None else Stamps(index, freq)
    if isinstance(index, pd.RangeIndex):
        return Numbers(index, index.step)
    if isinstance(index, pd.TimedeltaIndex) or pd.api.types.is_any_real_numeric_dtype(index.dtype):
        return Numbers(index, _numeric_step(index))
    raise InputError(
        f"the index of y must be dates, periods or numbers, got {index.inferred_type} such as {index[0]!r}; "
        "pandas.to_datetime reads dates from text, and y.reset_index(drop=True) counts the rows"
    )


def _snapped(positions: Any) -> Array:
    exact = np.asarray(positions, dtype=np.float64)
    whole = np.round(exact)
    return np.where(np.abs(exact - whole) <= SNAP, whole, exact)


def _both_numeric(a: pd.Index, b: pd.Index) -> bool:
    return all(pd.api.types.is_any_real_numeric_dtype(index.dtype) for index in (a, b))


def _until(start: pd.Timestamp, last: pd.Timestamp, freq: pd.tseries.offsets.BaseOffset) -> pd.DatetimeIndex:
    """Return the stamps of the grid after ``start``, up to the first that is not before ``last``."""
    grid = pd.date_range(start, last, freq=freq)
    return pd.date_range(grid[-1], periods=2, freq=freq)[1:].union(grid[1:])


def _median_step(index: pd.Index) -> Any:
    if len(index) == 1:
        return pd.Timedelta(1, "D") if index.inferred_type in ("datetime64", "timedelta64") else 1
    return pd.Series(_neighbours(index)).median()


def _differences(index: Any, origin: Any) -> Any:
    return index - origin


def _neighbours(index: Any) -> Any:
    """Return the distances of neighbours."""
    return index[1:] - index[:-1]


def _numeric_step(index: pd.Index) -> Any:
    """Return the distance that all others are multiples of, or else the median one."""
    median = _median_step(index)
    if len(index) > 1:
        distances = _neighbours(index)
        ratios = np.asarray(distances / distances.min(), dtype=np.float64)
        if np.abs(ratios - np.round(ratios)).max() <= SNAP and np.median(ratios) <= MOST_GAPS:
            return distances.min()
    integral = isinstance(median, float) and median.is_integer() and index.inferred_type == "integer"
    return int(median) if integral else median


def _frequency(index: pd.DatetimeIndex) -> pd.tseries.offsets.BaseOffset | None:
    if index.freq is not None:
        return index.freq
    return next((freq for freq in _candidates(index) if _keeps_to(index, freq)), None)


def _candidates(index: pd.DatetimeIndex) -> Iterator[pd.tseries.offsets.BaseOffset]:
    """Yield offsets about as long as the shortest distance of neighbours."""
    if len(index) < 2:
        yield pd.tseries.offsets.Day()
        return
    on_the_clock = _neighbours(index.tz_localize(None))
    distances = on_the_clock if on_the_clock.min() >= pd.Timedelta(1, "D") else _neighbours(index)
    shortest = distances.min()
    for months in (1, 2, 3, 4, 6, 12):
        if 0.9 < shortest.total_seconds() / (months * YEAR / 12.0) < 1.1:
            for offset in ("MonthBegin", "MonthEnd", "BMonthBegin", "BMonthEnd"):
                yield getattr(pd.tseries.offsets, offset)(months)
            yield pd.DateOffset(months=months)
    if _median_step(index) > MOST_GAPS * shortest:
        return
    days = shortest / pd.Timedelta(1, "D")
    if days == 1.0 and index.day_of_week.max() < 5 and index[-1] - index[0] > pd.Timedelta(4, "D"):
        yield pd.tseries.offsets.BDay()
    yield (
        pd.tseries.offsets.Day(int(days)) if days.is_integer() else pd.tseries.frequencies.to_offset(shortest)
    )


def _is_fixed(freq: pd.tseries.offsets.BaseOffset) -> TypeGuard[pd.tseries.offsets.Tick]:
    """Whether all steps have the same length: a day may have 23 or 25 hours."""
    return isinstance(freq, pd.tseries.offsets.Tick) and not isinstance(freq, pd.tseries.offsets.Day)


def _keeps_to(index: pd.DatetimeIndex, freq: pd.tseries.offsets.BaseOffset) -> bool:
    if _is_fixed(freq):
        ratios = np.asarray(_differences(index, index[0]) / pd.Timedelta(freq), dtype=np.float64)
        return bool((ratios == np.round(ratios)).all())
    return bool(index.isin(pd.date_range(index[0], index[-1], freq=freq)).all())


def _duration(freq: pd.tseries.offsets.BaseOffset) -> float | None:
    months = freq.kwds.get("months")
    if months is not None:
        return float(months) * YEAR / 12.0
    per_year = PER_YEAR.get(freq.rule_code.split("-")[0])
    if per_year is not None:
        return float(freq.n) * YEAR / per_year
    return pd.Timedelta(freq).total_seconds() if isinstance(freq, pd.tseries.offsets.Tick) else None
