"""The calendar that dates keep to, recognised from the dates alone."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeGuard

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas.tseries.offsets import BaseOffset

__all__ = [
    "DAY",
    "MOST_GAPS",
    "YEAR",
    "Hours",
    "days_a_week",
    "duration",
    "find_hours",
    "find_offset",
    "grid",
    "is_fixed",
    "localised",
    "time_name",
    "usual_clock",
    "wall_times",
]

DAY = 86_400.0  # seconds
YEAR = 365.25 * DAY
PER_YEAR = {  # of calendar offsets, by the beginning of their names; the others have a fixed length
    **dict.fromkeys(("Y", "YE", "YS", "BYE", "BYS"), 1.0),
    **dict.fromkeys(("Q", "QE", "QS", "BQE", "BQS"), 4.0),
    **dict.fromkeys(("M", "ME", "MS", "BME", "BMS", "CBME", "CBMS", "WOM", "LWOM"), 12.0),
    **dict.fromkeys(("SME", "SMS"), 24.0),
    "B": 365.25 * 5.0 / 7.0,
    "W": 365.25 / 7.0,
    "D": 365.25,
}
MONTHS = 48  # which hold one leap day: so many steps of months or years have their average length
UNITS = ("s", "ms", "us", "ns")  # of stamps, which reach the less far the finer they are
MOST_GAPS = 3.0  # a grid is no grid where the median distance is more than so many steps
SURE = 4.0  # bits of evidence beyond those of a pattern's description: odds of 16 to 1
ALL_WEEK = "Mon Tue Wed Thu Fri Sat Sun"
HALF_MONTH = (12.9, 16.1)  # days between the 1st or the last and the 15th


@dataclass(frozen=True)
class Hours:
    """The same times of day on some days.

    Attributes:
        days: the offset from one of the days to the next.
        clock: the times of day, ``(k,)``, ascending.

    Examples:
        >>> hours = Hours(pd.offsets.Day(), pd.to_timedelta(["8h", "20h"]))
        >>> hours.on(pd.date_range("2020-01-01", periods=2), None).strftime("%d %H").tolist()
        ['01 08', '01 20', '02 08', '02 20']
    """

    days: BaseOffset
    clock: pd.TimedeltaIndex

    def on(self, days: pd.DatetimeIndex, zone: Any) -> pd.DatetimeIndex:
        """Return the stamps of a time zone, or ``None``, on some days, which are given without it."""
        local = days.to_numpy()[:, None] + self.clock.to_numpy()
        return pd.DatetimeIndex(localised(pd.DatetimeIndex(local.ravel()), zone).unique())


def time_name(time: Any) -> str:
    """Return a time as short as it can be said.

    Examples:
        >>> time_name(pd.Timestamp("2020-01-01")), time_name(0.1 + 0.2)
        ('2020-01-01', '0.3')
    """
    if isinstance(time, pd.Timestamp) and time == time.normalize():
        return time.strftime("%Y-%m-%d")
    return format(time, ".8g") if isinstance(time, float) else str(time)


def localised(local: pd.DatetimeIndex, zone: Any) -> pd.DatetimeIndex:
    """Return the stamps at which clocks on the wall show some times.

    Args:
        local: times without a zone.
        zone: ``None`` for none.

    Returns:
        Stamps of that zone. A time that clocks set forward leave out is the first one after; of two times
        that clocks set back show, it is the first. Without either, the frequency is kept.

    Examples:
        >>> localised(pd.DatetimeIndex(["2024-03-30", "2024-03-31"]), "Asia/Beirut").hour.tolist()
        [0, 1]
    """
    if zone is None:
        return local
    stamps = local.tz_localize(zone, ambiguous="NaT", nonexistent="NaT")
    if not stamps.hasnans:
        return stamps if local.freq is None else pd.DatetimeIndex(stamps, freq=local.freq)
    first_of_two = np.ones(len(local), dtype=bool)
    return local.tz_localize(zone, ambiguous=first_of_two, nonexistent="shift_forward")


def usual_clock(index: pd.DatetimeIndex) -> pd.Timedelta:
    """Return the most frequent time of day.

    Examples:
        >>> usual_clock(pd.DatetimeIndex(["2024-03-29 02:30", "2024-03-30 02:30", "2024-03-31 03:00"]))
        Timedelta('0 days 02:30:00')
    """
    local = index.tz_localize(None)
    return pd.Series(local - local.normalize()).mode()[0]


def wall_times(index: pd.DatetimeIndex, clock: pd.Timedelta) -> pd.DatetimeIndex:
    """Return the times on the wall that stamps stand for, without their zone.

    Args:
        index: the stamps.
        clock: the time of day of those that clocks set forward have moved.

    Returns:
        What `localised` makes these stamps of.

    Examples:
        >>> moved = pd.DatetimeIndex(["2024-03-30 02:30", "2024-03-31 03:00"], tz="Europe/Berlin")
        >>> wall_times(moved, pd.Timedelta("2h 30min")).strftime("%H:%M").tolist()
        ['02:30', '02:30']
    """
    local = index.tz_localize(None)
    if index.tz is None:
        return local
    usual = local.normalize() + clock
    return local.where(localised(usual, index.tz) != index, usual)


def find_offset(index: pd.DatetimeIndex) -> BaseOffset | None:
    """Return the offset from each date to the next, gaps allowed.

    Args:
        index: increasing and without duplicates.

    Returns:
        The first that fits of: what pandas infers; months, on their first or last days, on the same day, or
        on the same weekday; half months; the weekdays that occur; days, hours, ... . ``None`` if none does.

    Examples:
        >>> find_offset(pd.to_datetime(["2021-01-30", "2021-02-28", "2021-03-30"]))
        <DateOffset: day=30, months=1>
    """
    local = wall_times(index, usual_clock(index))
    candidates = _candidates(index, local)
    return next((o for o in candidates if _keeps_to(index if is_fixed(o) else local, o)), None)


def find_hours(index: pd.DatetimeIndex) -> Hours | None:
    """Return the times of day that dates keep to, where these are not just all times at some distance.

    Args:
        index: increasing and without duplicates.

    Returns:
        The hours, or ``None``.

    Examples:
        >>> weeks = pd.date_range("2020-01-06", "2020-01-19", freq="2h")
        >>> opened = weeks[weeks.day_of_week.isin(range(5)) & weeks.hour.isin(range(10, 18))]
        >>> hours = find_hours(opened)
        >>> hours.days, hours.clock.components["hours"].tolist()
        (<BusinessDay>, [10, 12, 14, 16])
    """
    local = index.tz_localize(None)
    days, clock = local.normalize().unique(), (local - local.normalize()).unique().sort_values()
    if len(days) < 3 or not 2 <= len(clock) <= MOST_GAPS * len(index) / len(days):
        return None
    if len(days) == len(index):  # one time a day that clocks of another zone move, or that is a bit off
        return None
    offset = find_offset(days)
    if offset is None:
        return None
    hours = Hours(offset, clock)
    possible = _times_a_day(clock)
    absent = (possible - len(clock)) * len(days)
    kept = hours.on(grid(days[0], days[-1], offset), index.tz)
    return hours if _is_convincing(index, kept, absent, possible) else None


def grid(first: pd.Timestamp, last: pd.Timestamp, offset: BaseOffset) -> pd.DatetimeIndex:
    """Return the stamps from the first, which is one of them, up to one that is not before the last.

    Examples:
        >>> friday, sunday = pd.to_datetime(["2020-01-03", "2020-01-05"])
        >>> grid(friday, sunday, pd.offsets.BDay()).strftime("%a %d").tolist()
        ['Fri 03', 'Mon 06']
    """
    finer = max(first.unit, last.unit, key=UNITS.index)
    stamps = pd.date_range(first, last, freq=offset, unit=finer)
    if stamps[-1] >= last:
        return stamps
    return pd.DatetimeIndex(stamps.append(pd.date_range(stamps[-1], periods=2, freq=offset, unit=finer)[1:]))


def is_fixed(offset: BaseOffset) -> TypeGuard[pd.tseries.offsets.Tick]:
    """Whether all steps have the same length: a day may have 23 or 25 hours.

    Examples:
        >>> is_fixed(pd.offsets.Hour(24)), is_fixed(pd.offsets.Day())
        (True, False)
    """
    return isinstance(offset, pd.tseries.offsets.Tick) and not isinstance(offset, pd.tseries.offsets.Day)


def duration(offset: BaseOffset) -> float | None:
    """Return the average length of a step in seconds, ``None`` where it is not known.

    Steps between business hours count as shares of a day, so that the next day is a day later.

    Examples:
        >>> DAY / duration(pd.offsets.BusinessHour()), round(7.0 * DAY / duration(pd.offsets.BDay()), 9)
        (8.0, 5.0)
    """
    if type(offset) is pd.DateOffset:  # which has no name
        start = pd.Timestamp("2001-01-01") + offset
        return (start + MONTHS * offset - start).total_seconds() / MONTHS
    if isinstance(offset, pd.offsets.CustomBusinessDay):
        return float(offset.n) * 7.0 * DAY / float(np.sum(offset.calendar.weekmask))
    if isinstance(offset, pd.offsets.BusinessHour):
        month = pd.date_range("2001-01-01", "2001-01-31", freq=offset)
        return DAY / float(month.normalize().value_counts().max())
    if isinstance(offset, pd.offsets.Easter):  # which has no name either
        return float(offset.n) * YEAR
    per_year = PER_YEAR.get(offset.rule_code.split("-")[0])
    if per_year is not None:
        return float(offset.n) * YEAR / per_year
    return pd.Timedelta(offset).total_seconds() if isinstance(offset, pd.tseries.offsets.Tick) else None


def days_a_week(offset: BaseOffset) -> float:
    """Return how many days of a week have steps, where steps count as shares of such a day.

    Examples:
        >>> days_a_week(pd.offsets.BusinessHour()), days_a_week(pd.offsets.Hour())
        (5.0, 7.0)
    """
    if isinstance(offset, pd.offsets.CustomBusinessHour):
        mask = offset.calendar.weekmask  # type: ignore[attr-defined]  # the stubs lack it
        return float(np.sum(mask))
    return 5.0 if isinstance(offset, pd.offsets.BusinessHour) else 7.0


def _candidates(index: pd.DatetimeIndex, local: pd.DatetimeIndex) -> Iterator[BaseOffset]:
    """Yield what pandas infers, then offsets about as long as the shortest distance of neighbours."""
    if len(index) < 2:
        yield pd.offsets.Day()
        return
    daily = (local[1:] - local[:-1]).min() >= pd.Timedelta(1, "D")
    times = local if daily else index
    inferred = pd.DatetimeIndex(times, freq="infer").freq
    if inferred is not None and len(grid(times[0], times[-1], inferred)) == len(index):
        yield inferred  # pandas takes every third month for every month
    distances = times[1:] - times[:-1]
    shortest = distances.min()
    days = shortest / pd.Timedelta(1, "D")
    yield from _months(local, days)
    if (local.normalize() - local).nunique() == 1:
        yield from _weekdays(local)
    if pd.Series(distances).median() > MOST_GAPS * shortest:
        return
    if days == 1.0 and local.day_of_week.max() < 5 and local[-1] - local[0] > pd.Timedelta(4, "D"):
        yield pd.offsets.BDay()
    yield pd.offsets.Day(int(days)) if days.is_integer() else pd.tseries.frequencies.to_offset(shortest)


def _months(index: pd.DatetimeIndex, days: float) -> Iterator[BaseOffset]:
    """Yield offsets of months that are about so many days."""
    offsets: Any = pd.offsets
    week, weekday = (index[0].day - 1) // 7, index[0].weekday()
    for months in (1, 2, 3, 4, 6, 12):
        if 0.9 < days * DAY / (months * YEAR / 12.0) < 1.1:
            for ends in (offsets.MonthBegin, offsets.MonthEnd, offsets.BMonthBegin, offsets.BMonthEnd):
                yield ends(months)
            yield pd.DateOffset(months=months, day=int(index.day.max()))  # or the month's last day
            yield offsets.LastWeekOfMonth(months, weekday=weekday)
            if week < 4:
                yield offsets.WeekOfMonth(months, week=week, weekday=weekday)
    if HALF_MONTH[0] < days < HALF_MONTH[1]:
        yield from (offsets.SemiMonthBegin(), offsets.SemiMonthEnd())


def _weekdays(index: pd.DatetimeIndex) -> Iterator[BaseOffset]:
    """Yield the weekdays that occur, where the others are too often absent for a chance."""
    occurring = sorted(set(index.day_of_week))
    possible = 5 if occurring[-1] < 5 else 7
    if not 2 <= len(occurring) < possible:
        return
    names = ALL_WEEK.split()
    offset = pd.offsets.CustomBusinessDay(weekmask=" ".join(names[day] for day in occurring))
    kept = grid(index[0], index[-1], offset)
    all_days = pd.date_range(index[0], index[-1], freq="B" if possible == 5 else "D", unit=index.unit)
    if _is_convincing(index, kept, len(all_days) - len(kept), possible):
        yield offset


def _is_convincing(index: pd.DatetimeIndex, kept: pd.DatetimeIndex, absent: int, possible: int) -> bool:
    r"""Whether dates keep to a pattern rather than miss by chance all that is not in it.

    A share :math:`f` of the pattern's stamps is there. That the :math:`m` others are absent by chance takes
    :math:`-m \log_2 (1 - f)` bits to tell; the pattern, one bit for each time that may be in it.

    Args:
        index: of the series.
        kept: the stamps of the pattern.
        absent: the number of possible stamps that are not in the pattern.
        possible: the number of times, of a week or a day, that may be in it.
    """
    places: NDArray[np.intp] = kept.get_indexer(index)
    if (places < 0).any() or np.median(np.diff(places)) > MOST_GAPS:
        return False
    share = len(index) / (len(kept) + 1.0)
    return bool(-absent * np.log2(1.0 - share) > possible + SURE)


def _times_a_day(clock: pd.TimedeltaIndex) -> int:
    """Return how many times a day has at the greatest distance that all of these are multiples of."""
    ticks = clock.to_numpy().astype("timedelta64[ns]").astype(np.int64)
    day = int(DAY * 1e9)
    return day // int(np.gcd.reduce([day, *np.diff(ticks)]))


def _keeps_to(index: pd.DatetimeIndex, offset: BaseOffset) -> bool:
    if is_fixed(offset):
        ratios = np.asarray((index - index[0]) / pd.Timedelta(offset), dtype=np.float64)
        return bool((ratios == np.round(ratios)).all())
    return bool(index.isin(pd.date_range(index[0], index[-1], freq=offset, unit=index.unit)).all())
