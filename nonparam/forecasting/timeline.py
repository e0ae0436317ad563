"""The index of a series as positions on a line, and back."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from nonparam.errors import InputError
from nonparam.forecasting.calendars import (
    DAY,
    MOST_GAPS,
    Hours,
    duration,
    find_hours,
    find_offset,
    grid,
    is_fixed,
)

__all__ = ["Timeline", "irregularity", "timeline"]

Array = NDArray[np.float64]
Steps = NDArray[np.int64]

SNAP = 1e-6  # of a step: a position so close to a whole number is that number


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
            raise InputError(f"expected {self.index.dtype}, as in the series, got {index!r}")
        positions: Array = (index.asi8 - self.index.asi8[-1]) / self.freq.n
        return positions

    def future(self, steps: Steps) -> pd.Index:
        """Count on."""
        later: pd.Index = self.index[-1:].repeat(len(steps)) + steps
        return later

    @property
    def seconds(self) -> float | None:
        """The average length of a period."""
        return duration(self.freq)


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
        _check_dates(index)
        if is_fixed(self.freq):
            return _snapped(_differences(index, self.index[-1]) / pd.Timedelta(self.freq))
        last = max(self.index[-1], index.max())
        return _interpolated(index, grid(self.index[0], last, self.freq), self.index[-1])

    def future(self, steps: Steps) -> pd.Index:
        """Take stamps of the grid."""
        start = self.index[-1]
        later = pd.date_range(start, periods=int(steps.max()) + 1, freq=self.freq, name=self.index.name)
        return later[1:] if np.array_equal(steps, np.arange(1, len(later))) else later.take(steps)

    @property
    def seconds(self) -> float | None:
        """The average length of a step."""
        return duration(self.freq)


@dataclass(frozen=True)
class Sessions(Timeline):
    """Dates at the same times of day, some of which may be missing.

    Attributes:
        index: of the series.
        hours: the days and the times of day.
    """

    index: pd.DatetimeIndex
    hours: Hours

    def locate(self, index: pd.Index) -> Array:
        """Count sessions; between two of them, in proportion."""
        _check_dates(index)
        last = max(self.index[-1], index.max()) + pd.offsets.Day()
        days = grid(self.index[0].normalize(), last.normalize(), self.hours.days)
        return _interpolated(index, self.hours.on(days), self.index[-1])

    def future(self, steps: Steps) -> pd.Index:
        """Take sessions."""
        last, enough = self.index[-1], int(steps.max()) // len(self.hours.clock) + 2
        stamps = self.hours.on(pd.date_range(last.normalize(), periods=enough, freq=self.hours.days))
        return stamps[stamps > last].take(steps - 1).rename(self.index.name)

    @property
    def seconds(self) -> float | None:
        """A share of the day."""
        return DAY / len(self.hours.clock)


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
        return _dated(index)
    if isinstance(index, pd.RangeIndex):
        return Numbers(index, index.step)
    if isinstance(index, pd.TimedeltaIndex) or pd.api.types.is_any_real_numeric_dtype(index.dtype):
        return Numbers(index, _numeric_step(index))
    raise InputError(
        f"the index of y must be dates, periods or numbers, got {index.inferred_type} such as {index[0]!r}; "
        "pandas.to_datetime reads dates from text, and y.reset_index(drop=True) counts the rows"
    )


def _dated(index: pd.DatetimeIndex) -> Timeline:
    if index.freq is not None:
        return Stamps(index, index.freq)
    offset = find_offset(index)
    hours = find_hours(index) if offset is None or is_fixed(offset) else None
    if hours is not None:
        return Sessions(index, hours)
    return Numbers(index, _median_step(index)) if offset is None else Stamps(index, offset)


def _check_dates(index: pd.Index) -> None:
    if not isinstance(index, pd.DatetimeIndex):
        raise InputError(f"expected dates, as in the series, got {index!r}")


def _interpolated(index: pd.Index, stamps: pd.DatetimeIndex, origin: pd.Timestamp) -> Array:
    """Return positions among stamps, counted from one of them."""
    places, knots = (_differences(x, origin).total_seconds() for x in (index, stamps))
    return np.asarray(np.interp(places, knots, np.arange(len(stamps)) - float(np.searchsorted(knots, 0.0))))


def irregularity(line: Timeline) -> str | None:
    """Return what to tell users whose dates keep to no calendar; ``None`` for all other times.

    Args:
        line: of the series.

    Returns:
        What was found, what it is taken for, and what to do.

    Examples:
        >>> dates = pd.to_datetime(["2020-01-01", "2020-01-03", "2020-01-12", "2020-01-13", "2020-02-20"])
        >>> print(irregularity(timeline(dates)))  # doctest: +ELLIPSIS
        the dates of y keep to no calendar that is recognised: neighbours are 1 days 00:00:00 to 38 days ...
    """
    if not isinstance(line, Numbers) or not isinstance(line.index, pd.DatetimeIndex):
        return None
    distances = _neighbours(line.index)
    return (
        "the dates of y keep to no calendar that is recognised: neighbours are "
        f"{distances.min()} to {distances.max()} apart. They are taken as irregular, each at its true time, "
        f"and a step of the forecast is their median distance, {line.step}. If they do keep to a calendar, "
        "give its frequency, as in y.asfreq('B'); if not, forecast at dates of your own, as in "
        "predict(pd.DatetimeIndex(['2030-01-01']))"
    )


def _snapped(positions: Any) -> Array:
    exact = np.asarray(positions, dtype=np.float64)
    whole = np.round(exact)
    return np.where(np.abs(exact - whole) <= SNAP, whole, exact)


def _both_numeric(a: pd.Index, b: pd.Index) -> bool:
    return all(pd.api.types.is_any_real_numeric_dtype(index.dtype) for index in (a, b))


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
