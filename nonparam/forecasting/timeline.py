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
    days_a_week,
    duration,
    find_hours,
    find_offset,
    grid,
    is_fixed,
    localised,
    usual_clock,
    wall_times,
)

__all__ = ["MOST_STEPS", "Timeline", "irregularity", "timeline"]

Array = NDArray[np.float64]
Steps = NDArray[np.int64]

MOST_STEPS = 100_000  # that a calendar is followed, which takes seconds
SNAP = 1e-6  # of a step: a position so close to a whole number is that number
SPARE = 1.05  # days for sessions that clocks set forward make one
WIDEST = 2**62  # differences of integers up to this size fit 64 bits


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

    @property
    def days_a_week(self) -> float:
        """How many days of a week have steps, where a step is a share of such a day."""
        return 7.0


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
        dates = _dates_like(index, self.index)
        if is_fixed(self.freq):
            return _snapped(_differences(dates, self.index[-1]) / pd.Timedelta(self.freq))
        _check_reach(dates, self)
        series, places = self._on_the_wall(self.index), self._on_the_wall(dates)
        return _interpolated(places, grid(series[0], max(series[-1], places.max()), self.freq), series[-1])

    def future(self, steps: Steps) -> pd.Index:
        """Take stamps of the grid, which is one of times on the wall where days may have 23 hours."""
        fixed, last = is_fixed(self.freq), self.index[-1:]
        later = pd.date_range(
            (last if fixed else self._on_the_wall(last))[0],
            periods=int(steps.max()) + 1,
            freq=self.freq,
            name=self.index.name,
            unit=self.index.unit,
        )
        later = later if fixed else localised(later, self.index.tz)
        return later[1:] if np.array_equal(steps, np.arange(1, len(later))) else later.take(steps)

    def _on_the_wall(self, dates: pd.DatetimeIndex) -> pd.DatetimeIndex:
        return wall_times(dates, usual_clock(self.index))

    @property
    def seconds(self) -> float | None:
        """The average length of a step."""
        return duration(self.freq)

    @property
    def days_a_week(self) -> float:
        """Of the frequency."""
        return days_a_week(self.freq)


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
        dates = _dates_like(index, self.index)
        _check_reach(dates, self)
        first, last = (
            day.tz_localize(None).normalize() for day in (self.index[0], max(self.index[-1], dates.max()))
        )
        days = grid(first, last + pd.Timedelta(1, "D"), self.hours.days)
        return _interpolated(dates, self.hours.on(days, self.index.tz), self.index[-1])

    def future(self, steps: Steps) -> pd.Index:
        """Take sessions."""
        last, enough = self.index[-1], int(SPARE * steps.max() / len(self.hours.clock)) + 3
        today = last.tz_localize(None).normalize()
        days = pd.date_range(today, periods=enough, freq=self.hours.days, unit=self.index.unit)
        stamps = self.hours.on(days, self.index.tz)
        return stamps[stamps > last].take(steps - 1).rename(self.index.name)

    @property
    def seconds(self) -> float | None:
        """A share of the day."""
        return DAY / len(self.hours.clock)

    @property
    def days_a_week(self) -> float:
        """Those that have sessions."""
        return 7.0 * DAY / (duration(self.hours.days) or DAY)


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
        if isinstance(self.index, pd.DatetimeIndex):
            index = _dates_like(index, self.index)
        elif index.inferred_type != self.index.inferred_type and not _both_numeric(index, self.index):
            raise InputError(
                f"expected an index of type {self.index.inferred_type}, as in the series, got {index!r}"
            )
        return _snapped(_differences(_wide(index), _wide(self.index[-1:])[0]) / self.step)

    def future(self, steps: Steps) -> pd.Index:
        """Add steps."""
        step, name, (last,) = self.step, self.index.name, _wide(self.index[-1:]).tolist()
        if isinstance(last, int) and abs(last + int(steps.max()) * step) > WIDEST:
            raise OverflowError("the index leaves 64-bit integers")
        consecutive = np.array_equal(steps, np.arange(1, len(steps) + 1))
        if isinstance(self.index, pd.RangeIndex) and consecutive:
            return pd.RangeIndex(last + step, last + step * (len(steps) + 1), step, name=name)
        later = pd.Index([last + int(k) * step for k in steps], name=name)
        if isinstance(self.index, pd.TimedeltaIndex) and self.index.freq is not None and consecutive:
            return pd.TimedeltaIndex(later, freq=self.index.freq)
        continued: pd.Index = _narrow(later, self.index.dtype)
        return continued

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
    if index.freq is not None and _keep_to(index[[0, -1]], index.freq):
        return Stamps(index, index.freq)
    offset = find_offset(index)
    hours = find_hours(index) if offset is None or is_fixed(offset) else None
    if hours is not None:
        return Sessions(index, hours)
    return Numbers(index, _median_step(index)) if offset is None else Stamps(index, offset)


def _keep_to(dates: pd.DatetimeIndex, freq: Any) -> bool:
    """Whether dates are of their frequency, which pandas keeps where another zone moves them."""
    return all(freq.is_on_offset(date) for date in dates.tz_localize(None))


def _dates_like(index: pd.Index, series: pd.DatetimeIndex) -> pd.DatetimeIndex:
    """Return dates in the time zone of the series."""
    if not isinstance(index, pd.DatetimeIndex):
        raise InputError(f"expected dates, as in the series, got {index!r}")
    if (index.tz is None) != (series.tz is None):
        kind, zone = ("without a", None) if series.tz is None else ("with a", str(series.tz))
        raise InputError(
            f"expected dates {kind} time zone, as in the series, got {index.dtype}; "
            f"index.tz_localize({zone!r}) makes them so"
        )
    return index if series.tz is None else index.tz_convert(series.tz)


def _check_reach(dates: pd.DatetimeIndex, line: Timeline) -> None:
    """Refuse dates that are too many steps of a calendar away."""
    ahead = (dates.max() - line.index[-1]).total_seconds()
    if line.seconds is not None and ahead > MOST_STEPS * line.seconds:
        raise InputError(
            f"expected dates at most {MOST_STEPS:,} steps after the end of the series, {line.index[-1]}, "
            f"got {dates.max()}; sum the series over longer periods, as in y.resample('MS').sum()"
        )


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
    zone = "" if line.index.tz is None else ", or see them in their own zone, y.tz_convert('Europe/Berlin')"
    return (
        "the dates of y keep to no calendar that is recognised: neighbours are "
        f"{distances.min()} to {distances.max()} apart. They are taken as irregular, each at its true time, "
        f"and a step of the forecast is their median distance, {line.step}. If they do keep to a calendar, "
        f"give its frequency, as in y.asfreq('B'){zone}; if not, forecast at dates of your own, as in "
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


def _wide(index: pd.Index) -> pd.Index:
    """Return numbers in 64 bits: differences of unsigned or of narrow integers wrap."""
    if pd.api.types.is_float_dtype(index.dtype):
        return index.astype(np.float64)
    if not pd.api.types.is_integer_dtype(index.dtype):
        return index
    if max(-int(index.min()), int(index.max())) > WIDEST:
        raise InputError(
            f"expected an index of integers from -2**62 to 2**62, got {index.min()} to {index.max()}; "
            "subtract the first of them"
        )
    return index.astype(np.int64)


def _narrow(later: Any, dtype: Any) -> Any:
    """Return numbers in the type of the series, if it can hold them."""
    if pd.api.types.is_float_dtype(dtype):
        return later.astype(dtype)
    if not (pd.api.types.is_integer_dtype(dtype) and pd.api.types.is_integer_dtype(later.dtype)):
        return later
    limits = np.iinfo(getattr(dtype, "numpy_dtype", dtype))
    fits = limits.min <= int(later.min()) and int(later.max()) <= limits.max
    return later.astype(dtype) if fits else later


def _neighbours(index: Any) -> Any:
    """Return the distances of neighbours."""
    return index[1:] - index[:-1]


def _numeric_step(index: pd.Index) -> Any:
    """Return the distance that all others are multiples of, or else the median one."""
    index = _wide(index)
    step = _median_step(index)
    if len(index) > 1:
        distances = _neighbours(index)
        ratios = np.asarray(distances / distances.min(), dtype=np.float64)
        if np.abs(ratios - np.round(ratios)).max() <= SNAP and np.median(ratios) <= MOST_GAPS:
            step = distances.min()
    return int(step) if index.inferred_type == "integer" and step == int(step) else step
