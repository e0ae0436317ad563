"""The days that each time of a series stands for."""

from typing import Any, cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from nonparam.forecasting.calendars import DAY
from nonparam.forecasting.timeline import Periods, Stamps, Timeline

__all__ = ["Days", "days_of", "numbered"]

Days = NDArray[np.int64]  # since 1970-01-01


def numbered(stamps: pd.DatetimeIndex) -> Days:
    """Return the days of stamps without a zone.

    Examples:
        >>> numbered(pd.DatetimeIndex(["1970-01-02 12:00"]))
        array([1])
    """
    days: Days = stamps.to_numpy().astype("datetime64[D]").astype(np.int64)
    return days


def days_of(line: Timeline, index: pd.Index) -> tuple[Days, Days]:
    """Return the first and the last day of each time, days where the clocks of its zone say so.

    Stamps of weeks, and of the ends of months and the like, end the period that they stand for, as those of
    ``resample("W")`` do; stamps of other steps longer than a day begin it. The first and the last business
    days of months stand for whole months.

    Args:
        line: of the series.
        index: ``m`` times of the same kind.

    Examples:
        >>> from nonparam.forecasting.timeline import timeline
        >>> months = pd.date_range("2020-01-31", periods=2, freq="ME")
        >>> [days.astype("datetime64[D]").tolist()[1].day for days in days_of(timeline(months), months)]
        [1, 29]
    """
    if isinstance(line, Periods):
        periods: Any = index
        return periods.asfreq("D", "S").asi8, periods.asfreq("D", "E").asi8
    stamps: Any = index if cast(pd.DatetimeIndex, line.index).tz is None else _in_zone(line, index)
    days = numbered(stamps)
    freq = line.freq if isinstance(line, Stamps) and not _is_daily(line) else None
    if freq is None:
        return days, days
    if "BusinessMonth" in type(freq).__name__ and freq.n == 1:
        months = stamps.tz_localize(None).to_period("M")
        return days_of(Periods(months), months)
    if _is_weekly(freq) or "End" in type(freq).__name__:
        return _shifted(stamps, -freq) + 1, days
    return days, _shifted(stamps, freq) - 1


def _in_zone(line: Timeline, index: Any) -> pd.DatetimeIndex:
    local: pd.DatetimeIndex = index.tz_convert(cast(pd.DatetimeIndex, line.index).tz).tz_localize(None)
    return local


def _is_daily(line: Stamps) -> bool:
    """Whether stamps are a day or less apart, but for days that are left out."""
    return isinstance(line.freq, pd.offsets.CustomBusinessDay) or (line.seconds or 0.0) <= 1.5 * DAY


def _is_weekly(freq: Any) -> bool:
    return isinstance(freq, pd.offsets.Week) or (isinstance(freq, pd.offsets.Day) and freq.n % 7 == 0)


def _shifted(stamps: pd.DatetimeIndex, freq: Any) -> Days:
    """Return the days of stamps that are moved, in seconds, which no year is out of the bounds of."""
    moved = [(stamp + freq).to_datetime64() for stamp in stamps.as_unit("s")]  # at once pandas may warn
    return np.array(moved, dtype="datetime64[D]").astype(np.int64)
