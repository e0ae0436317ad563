"""Indexes as positions and back, and what they tell of seasons."""

import warnings

import numpy as np
import pandas as pd
import pytest

from nonparam.errors import InputError
from nonparam.forecasting.calendars import YEAR, duration
from nonparam.forecasting.plot import places
from nonparam.forecasting.season import Cycle, cycles
from nonparam.forecasting.timeline import irregularity, timeline

N = 30
REGULAR = {  # an index, and how many steps make its natural cycle; None where it tells of none
    "months": (pd.period_range("2020-01", periods=N, freq="M"), 12),
    "quarters": (pd.period_range("2010Q1", periods=N, freq="Q"), 4),
    "years": (pd.period_range("1980", periods=N, freq="Y"), None),
    "weeks as periods": (pd.period_range("2020-01-06", periods=110, freq="W"), 365.25 / 7),
    "every second month": (pd.period_range("2020-01", periods=N, freq="2M"), 6),
    "month starts": (pd.date_range("2020-01-01", periods=N, freq="MS", name="when"), 12),
    "month ends": (pd.date_range("2020-01-31", periods=N, freq="ME"), 12),
    "last business days": (pd.date_range("2020-01-31", periods=N, freq="BME"), 12),
    "quarter ends": (pd.date_range("2020-03-31", periods=N, freq="QE"), 4),
    "year starts": (pd.date_range("1980", periods=N, freq="YS"), None),
    "days": (pd.date_range("2020-01-01", periods=N, freq="D"), 7),
    "days in a zone with summer time": (
        pd.date_range("2020-03-20", periods=N, freq="D", tz="Europe/Berlin"),
        7,
    ),
    "business days": (pd.date_range("2020-01-01", periods=N, freq="B"), 5),
    "weeks": (pd.date_range("2020-01-05", periods=110, freq="W"), 365.25 / 7),
    "hours": (pd.date_range("2020-01-01", periods=100, freq="h"), 24),
    "half hours": (pd.date_range("2020-01-01", periods=100, freq="30min"), 48),
    "minutes of three hours": (pd.date_range("2020-01-01", periods=180, freq="min"), 60),
    "rows": (pd.RangeIndex(N), None),
    "rows from 5 by 3": (pd.RangeIndex(5, 5 + 3 * N, 3, name="row"), None),
    "integers": (pd.Index(np.arange(1900, 1900 + N)), None),
    "floats": (pd.Index(0.1 * np.arange(N)), None),
    "durations": (pd.timedelta_range("0s", periods=100, freq="h"), 24),
}
cases = pytest.mark.parametrize("name", REGULAR)


def weekly(days: str, periods: int = N) -> pd.DatetimeIndex:
    return pd.date_range("2020-01-07", periods=periods, freq=pd.offsets.CustomBusinessDay(weekmask=days))


def monthly(first: str, months: int = 1) -> pd.DatetimeIndex:
    return pd.DatetimeIndex([pd.Timestamp(first) + pd.DateOffset(months=months * k) for k in range(40)])


def opened(hours: list[float], days: range = range(7), tz: str | None = None) -> pd.DatetimeIndex:
    """Some hours of the weekdays that are counted, in four weeks around a change to summer time."""
    stamps = pd.date_range("2020-03-16", periods=28 * 48, freq="30min", tz=tz)
    return stamps[stamps.day_of_week.isin(days) & (stamps.hour + stamps.minute / 60).isin(hours)]


CALENDARS = {  # dates at unequal distances that follow a rule, and how many of them make a cycle
    "Monday, Wednesday, Friday": (weekly("Mon Wed Fri"), 3),
    "Tuesday and Thursday": (weekly("Tue Thu"), 2),
    "Monday and Tuesday": (weekly("Mon Tue"), 2),
    "weekends": (weekly("Sat Sun"), 2),
    "all but Sundays": (weekly("Mon Tue Wed Thu Fri Sat", 60), 6),
    "Sunday to Thursday": (weekly("Sun Mon Tue Wed Thu"), 5),
    "third Fridays": (pd.date_range("2020-01-01", periods=N, freq="WOM-3FRI"), 12),
    "last Wednesdays": (
        pd.date_range("2020-01-01", periods=N, freq=pd.offsets.LastWeekOfMonth(weekday=2)),
        12,
    ),
    "third Fridays of quarters": (pd.date_range("2020-03-01", periods=N, freq="3WOM-3FRI"), 4),
    "30th of the month": (monthly("2020-01-30"), 12),
    "29th of the month": (monthly("2021-01-29"), 12),
    "31st of the month": (monthly("2020-01-31"), 12),
    "30th of every third month": (monthly("2020-11-30", 3), 4),
    "15th at half past nine in a zone": (monthly("2020-01-15 09:30").tz_localize("Europe/Berlin"), 12),
    "1st and 15th": (pd.date_range("2020-01-01", periods=60, freq="SMS"), 24),
    "15th and last": (pd.date_range("2020-01-01", periods=60, freq="SME"), 24),
    "business hours of pandas": (pd.date_range("2020-01-06", periods=80, freq="bh"), 8),
    "9 to 17 on business days": (opened(list(range(9, 18)), range(5)), 9),
    "half hours on business days": (opened(list(np.arange(9.5, 16.0, 0.5)), range(5)), 13),
    "8 to 18 but on Sundays": (opened(list(range(8, 19)), range(6)), 11),
    "8, 12 and 20 o'clock in a zone": (opened([8, 12, 20], tz="Europe/Berlin"), 3),
    "nights in a zone": (opened([0, 1, 2, 3, 4], tz="Europe/Berlin"), 5),
}
WEEKS = {  # of those with several steps a day: free days do not count
    "business hours of pandas": 40.0,
    "9 to 17 on business days": 45.0,
    "half hours on business days": 65.0,
    "8 to 18 but on Sundays": 66.0,
    "8, 12 and 20 o'clock in a zone": 21.0,
    "nights in a zone": 35.0,
}
calendars = pytest.mark.parametrize("name", CALENDARS)


def season_of(index: pd.Index) -> Cycle:
    line, rng = timeline(index), np.random.RandomState(0)
    return cycles("auto", line, line.locate(index), rng.standard_normal(len(index)))[0]


@cases
def test_positions_count_the_steps(name):
    index, _ = REGULAR[name]
    np.testing.assert_array_equal(timeline(index).locate(index), np.arange(1 - len(index), 1))


@cases
def test_the_future_continues_the_index(name):
    index, _ = REGULAR[name]
    line = timeline(index[:-4])
    later = line.future(np.arange(1, 5))
    assert type(later) is type(index)
    assert (later.dtype, later.name) == (index.dtype, index.name)
    assert getattr(later, "freq", None) == getattr(index, "freq", None)
    np.testing.assert_array_equal(line.locate(later), [1, 2, 3, 4])
    same = np.allclose if name == "floats" else np.array_equal
    assert same(later, index[-4:])
    assert same(line.future(np.array([2, 4])), index[[-3, -1]])


INTEGERS = [f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)]
COUNTS = np.delete(np.arange(60, 127), [3, 17, 40])


@pytest.mark.parametrize("dtype", [*INTEGERS, "Int8", "UInt32"])
def test_integers_of_every_width_are_the_same_times(dtype):
    index = pd.Index(COUNTS, dtype=dtype, name="row")
    line = timeline(index)
    np.testing.assert_array_equal(line.locate(index), COUNTS - 126)
    np.testing.assert_array_equal(line.locate(pd.Index([128, 200], dtype="uint8")), [2, 74])
    later = line.future(np.array([1, 2, 3]))
    assert later.tolist() == [127, 128, 129] and later.name == "row"
    assert later.dtype == ("int64" if dtype.lower() == "int8" else dtype)  # 128 needs more than 8 bits


@pytest.mark.parametrize("dtype", INTEGERS)
def test_irregular_integers_of_every_width_are_the_same_times(dtype):
    counts = np.array([1, 2, 50, 57, 100, 127])
    index = pd.Index(counts, dtype=dtype)
    np.testing.assert_allclose(timeline(index).locate(index), (counts - 127) / timeline(index).step)
    assert timeline(index).step == timeline(pd.Index(counts)).step > 1
    reverse = pd.Index(counts[::-1], dtype=dtype).sort_values()
    assert timeline(reverse).future(np.array([1]))[0] == 127 + timeline(index).step


def test_single_precision_stays_single():
    index = pd.Index(np.arange(9.0), dtype="float32")
    assert timeline(index[:6]).future(np.array([1, 2, 3])).equals(index[6:])
    assert timeline(index[:6]).future(np.array([1])).dtype == "float32"


def test_integers_whose_differences_need_more_than_64_bits_are_refused():
    for index in (pd.Index([0, 2**63], dtype="uint64"), pd.Index([-(2**63), 0])):
        with pytest.raises(
            InputError, match=r"integers from -2\*\*62 to 2\*\*62, got .*; subtract the first"
        ):
            timeline(index)


SUMMER = {  # the start and zone of days of which one has no such time, that day, and what it has instead
    "midnight": ("2024-03-10", "Asia/Beirut", "2024-03-31", "01:00"),
    "half past two": ("2024-03-10 02:30", "Europe/Berlin", "2024-03-31", "03:00"),
    "half past two, in autumn": ("2024-10-06 02:30", "Europe/Berlin", "2024-10-27", "02:30"),
}


@pytest.mark.parametrize("told", [False, True])
@pytest.mark.parametrize("freq", ["D", "7D", "W-SUN"])
@pytest.mark.parametrize("name", SUMMER)
def test_days_pass_over_a_change_of_the_clocks(name, freq, told):
    start, zone, changed, instead = SUMMER[name]
    index = pd.date_range(start, periods=18 if freq == "D" else 3, freq=freq, tz=zone)
    line = timeline(index if told else pd.DatetimeIndex(list(index)))
    later = line.future(np.arange(1, 15))
    expected = pd.date_range(start, periods=len(index) + 14, freq=freq)[len(index) :]
    days = later.tz_localize(None).normalize()
    assert list(days) == list(expected.normalize()) and later.tz == index.tz
    clock = pd.Series(later.strftime("%H:%M"), index=days)
    assert clock.pop(changed) == instead and set(clock) == {index[0].strftime("%H:%M")}
    np.testing.assert_array_equal(line.locate(later), np.arange(1, 15))
    np.testing.assert_array_equal(line.locate(later[[2, 5]]), [3, 6])
    if later.freq is not None:
        assert later.freq == index.freq


@pytest.mark.parametrize("end", [-1, -14, -11])  # after the change, before it, on it
@pytest.mark.parametrize("name", SUMMER)
def test_days_may_hold_a_change_of_the_clocks(name, end):
    start, zone, _, _ = SUMMER[name]
    days = timeline(pd.date_range(start, periods=5, tz=zone))
    index = days.index.append(days.future(np.arange(1, 28)))
    line = timeline(pd.DatetimeIndex(list(index[:end])))
    assert irregularity(line) is None
    np.testing.assert_array_equal(line.locate(index), np.arange(32) - (31 + end))
    assert list(line.future(np.arange(1, -end + 1))) == list(index[end:])


@pytest.mark.parametrize("freq", ["h", "2h"])
def test_hours_pass_over_a_midnight_that_is_none(freq):
    index = pd.date_range("2024-03-29", periods=80, freq=freq, tz="Asia/Beirut")
    for n in (10, 30, 60):
        line = timeline(pd.DatetimeIndex(list(index[:n])))
        assert list(line.future(np.arange(1, 81 - n))) == list(index[n:])
        np.testing.assert_array_equal(line.locate(index), np.arange(1 - n, 81 - n))


def test_sessions_pass_over_a_midnight_that_is_none():
    hours = pd.date_range("2024-03-18", periods=16 * 24, freq="h", tz="Asia/Beirut")
    index = pd.DatetimeIndex(list(hours[hours.hour.isin([0, 7, 15])]))
    for n in (30, 44):
        line = timeline(index[:n])
        stamps = line.future(np.arange(1, 11))
        assert len(stamps) == 10 and {stamp.hour for stamp in stamps} <= {0, 1, 7, 15}
        np.testing.assert_array_equal(line.locate(stamps), np.arange(1, 11))


def test_sessions_last_for_years_although_clocks_set_forward_drop_one():
    hours = pd.date_range("2024-01-01", periods=20 * 24, freq="h", tz="Europe/Berlin")
    line = timeline(pd.DatetimeIndex(list(hours[hours.hour.isin([2, 3])])))
    assert len(line.future(np.arange(1, 20_001))) == 20_000


@cases
def test_a_frequency_need_not_be_told(name):
    index, _ = REGULAR[name]
    if isinstance(index, pd.DatetimeIndex):
        untold = pd.DatetimeIndex(list(index[:-4]))
        assert untold.freq is None
        line = timeline(untold)
        assert list(line.future(np.arange(1, 5))) == list(index[-4:])
        assert line.seconds == pytest.approx(timeline(index).seconds)


@cases
def test_gaps_keep_their_places(name):
    index, _ = REGULAR[name]
    kept = index.delete([3, 4, 10])
    np.testing.assert_array_equal(
        timeline(kept).locate(kept), np.delete(np.arange(1 - len(index), 1), [3, 4, 10])
    )


@cases
def test_the_season_comes_from_the_frequency(name):
    index, season = REGULAR[name]
    cycle = season_of(index)
    assert bool(cycle.periods) is (season is not None)
    if season is not None:
        assert cycle.unit == cycle.periods[0] == pytest.approx(season, abs=1e-6)


def test_less_than_two_cycles_show_no_season_but_keep_the_unit():
    assert season_of(pd.period_range("2020-01", periods=20, freq="M")) == Cycle(12.0, ())
    assert season_of(pd.period_range("2020-01", periods=24, freq="M")) == Cycle(12.0, (12.0,))


@calendars
def test_a_calendar_is_continued_on_its_dates(name):
    index, season = CALENDARS[name]
    untold = pd.DatetimeIndex(list(index), name="when")
    line = timeline(untold[:-6])
    assert irregularity(line) is None
    later = line.future(np.arange(1, 7))
    assert list(later) == list(index[-6:])
    assert list(line.future(np.array([2, 5]))) == list(index[[-5, -2]])
    assert (later.dtype, later.name) == (untold.dtype, "when")
    np.testing.assert_allclose(line.locate(untold), np.arange(7 - len(index), 7), atol=1e-9)
    cycle = season_of(untold)
    assert cycle.unit == cycle.periods[0] == pytest.approx(season, abs=1e-6)
    assert cycle.periods[1:] == ((WEEKS[name],) if name in WEEKS else ())


@calendars
def test_a_calendar_may_have_gaps(name):
    index, _ = CALENDARS[name]
    kept = pd.DatetimeIndex(list(index[:-6].delete([3, 4, 10])))
    line = timeline(kept)
    assert list(line.future(np.arange(1, 7))) == list(index[-6:])
    np.testing.assert_array_equal(line.locate(kept), np.delete(np.arange(7.0 - len(index), 1), [3, 4, 10]))


@pytest.mark.parametrize("share", [0.5, 0.7, 0.9])
def test_missing_days_and_hours_are_no_calendar(share):
    rng = np.random.RandomState(0)
    for freq in ("D", "h"):
        for periods in (40, 100):
            index = pd.date_range("2020-01-01", periods=periods, freq=freq)
            seen = rng.uniform(size=periods) < share
            seen[[0, 1, -1]] = True
            line = timeline(pd.DatetimeIndex(list(index[seen])))
            assert list(line.future(np.array([1, 2]))) == [index[-1] + k * index.freq for k in (1, 2)]


def test_a_frequency_that_is_told_is_kept():
    holidays = pd.offsets.CustomBusinessDay(holidays=["2020-12-24", "2020-12-25", "2021-01-01"])
    for freq, season in ((holidays, 5), (pd.offsets.BusinessHour(start="10:00", end="16:00"), 6)):
        index = pd.date_range("2020-11-23", periods=40, freq=freq)
        line = timeline(index[:20])
        pd.testing.assert_index_equal(line.future(np.arange(1, 21)), index[20:])
        np.testing.assert_array_equal(line.locate(index), np.arange(-19, 21))
        assert season_of(index).unit == pytest.approx(season)


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/New_York", "Asia/Tokyo"])
@pytest.mark.parametrize("freq", ["MS", "ME", "D"])
def test_midnights_of_another_zone_are_no_sessions(freq, zone):
    local = pd.date_range("2020-01-31", periods=30 if freq != "D" else 400, freq=freq, tz=zone)
    for kept in (True, False):  # the frequency, which pandas does not drop
        index = local.tz_convert("UTC")
        index = index if kept else pd.DatetimeIndex(list(index))
        line = timeline(index[:-3])
        distances = np.diff(line.locate(index))
        assert 0.9 < distances.min() <= distances.max() < 1.1  # months differ, and so do days of 23 hours
        days = np.abs((line.future(np.arange(1, 4)) - index[-3:]).total_seconds()) / 86_400.0
        assert days.max() < (0.1 if freq == "D" else 4.0)
        remark = irregularity(line)
        assert remark is None or "y.tz_convert(" in remark


def test_a_close_that_is_early_on_some_days_is_no_second_session():
    days = pd.bdate_range("2020-01-01", periods=100)
    index = days + pd.to_timedelta(np.where(np.arange(100) % 11 == 5, 13, 16), unit="h")
    assert list(timeline(index).future(np.array([1]))) == [index[-1] + pd.Timedelta(1, "D")]


def test_a_time_between_two_sessions_is_placed_in_proportion():
    line = timeline(opened([8, 12, 20]))
    between = pd.DatetimeIndex(["2020-04-13 08:00", "2020-04-13 09:00", "2020-04-14 02:00"])
    np.testing.assert_allclose(line.locate(between), [1.0, 1.25, 3.5])
    with pytest.raises(InputError, match="expected dates, as in the series"):
        line.locate(pd.RangeIndex(3))


def business_periods(periods: int) -> pd.PeriodIndex:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # pandas warns whoever makes them
        return pd.period_range("2020-01-01", periods=periods, freq="B", name="day")


def test_periods_of_business_days_raise_no_warning():
    index = business_periods(30)
    line = timeline(index[:24])
    later = line.future(np.arange(1, 7))
    assert later.equals(index[24:]) and (later.dtype, later.name) == (index.dtype, "day")
    np.testing.assert_array_equal(line.locate(index), np.arange(-23, 7))
    assert season_of(index) == Cycle(5.0, (5.0,))
    assert list(places(index[:4])) == list(pd.date_range("2020-01-01", periods=4, freq="B"))
    with pytest.raises(InputError, match=r"expected period\[B\], as in the series"):
        line.locate(pd.RangeIndex(3))


def test_business_days_with_holidays_are_business_days():
    index = pd.bdate_range("2020-01-01", periods=60).delete([5, 17, 18])
    assert index.freq is None
    line = timeline(index)
    assert line.future(np.array([1]))[0] == index[-1] + pd.offsets.BDay()
    assert line.locate(index)[0] == -59


def test_months_on_the_same_day_are_months():
    index = pd.to_datetime(["2020-01-15", "2020-02-15", "2020-04-15", "2020-05-15"])
    line = timeline(index)
    np.testing.assert_array_equal(line.locate(index), [-4, -3, -1, 0])
    assert line.future(np.array([1, 2])).strftime("%m-%d").tolist() == ["06-15", "07-15"]


def test_irregular_times_are_measured_in_their_median_distance():
    stamps = pd.DatetimeIndex(
        ["2020-01-01", "2020-01-02 07:00", "2020-01-04", "2020-01-05 01:30", "2020-01-05 13:37"]
    )
    line, hours = (
        timeline(stamps),
        np.array([108 + 1.6166666667, 78.6166666667, 37.6166666667, 12.1166666667, 0.0]),
    )
    step = np.median(-np.diff(hours))
    np.testing.assert_allclose(line.locate(stamps), -hours / step, rtol=1e-8)
    assert line.future(np.array([2]))[0] - stamps[-1] == pytest.approx(
        2 * pd.Timedelta(hours=step), abs=pd.Timedelta("1s")
    )
    assert "at its true time" in irregularity(line)
    numbers = pd.Index([0.0, 0.31, 1.1, 1.7, 2.9])
    np.testing.assert_allclose(
        timeline(numbers).locate(numbers), (numbers.to_numpy() - 2.9) / 0.695, rtol=1e-12
    )


def test_a_stamp_between_two_others_is_placed_in_proportion():
    months = pd.date_range("2020-01-01", periods=12, freq="MS")
    at = timeline(months).locate(pd.DatetimeIndex(["2021-01-16 12:00", "2020-12-01"]))
    np.testing.assert_allclose(at, [1.5, 0.0])


@pytest.mark.parametrize(
    ("index", "step"),
    [
        (pd.Index([7]), 1),
        (pd.Index([7.5]), 1.0),
        (pd.RangeIndex(1), 1),
        (pd.DatetimeIndex(["2020-05-17"]), pd.Timedelta(1, "D")),
        (pd.TimedeltaIndex(["3h"]), pd.Timedelta(1, "D")),
        (pd.PeriodIndex(["2020-05"], freq="M"), pd.offsets.MonthEnd()),
    ],
)
def test_one_time_is_enough(index, step):
    line = timeline(index)
    assert list(line.locate(index)) == [0.0]
    assert line.future(np.array([1]))[0] == index[0] + step


@pytest.mark.parametrize("period", [5, 12, 24, 31])
@pytest.mark.parametrize("growing", [False, True])
def test_a_season_is_found_in_the_numbers(period, growing):
    rng, t = np.random.RandomState(period), np.arange(8.0 * period)
    y = (
        20.0
        + 3.0 * rng.standard_normal(period)[t.astype(int) % period]
        + 0.05 * t
        + rng.standard_normal(len(t))
    )
    y = np.exp(0.05 * y) if growing else y
    found = cycles("auto", timeline(pd.RangeIndex(len(t))), t - t[-1], y)
    assert period in [cycle.unit for cycle in found]
    assert len(found) <= 2


def test_noise_suggests_a_season_seldom():
    found = 0
    for seed in range(40):
        y = np.random.RandomState(seed).standard_normal(100)
        found += cycles("auto", timeline(pd.RangeIndex(100)), np.arange(-99.0, 1.0), y)[0].periods != ()
    assert found < 30  # the evidence decides about what is suggested


@pytest.mark.parametrize("season", [0, -3, 1.5, True, "yearly", np.nan, np.inf, [[12]], [1, 12]])
def test_a_season_that_is_none_is_refused(season):
    line = timeline(pd.RangeIndex(10))
    with pytest.raises(
        InputError, match="season must be 'auto', None or 1 for none, or the number of observations"
    ):
        cycles(season, line, np.arange(-9.0, 1.0), np.arange(10.0))


def test_a_season_need_not_be_whole():
    line = timeline(pd.RangeIndex(10))
    assert cycles(52.18, line, np.arange(-9.0, 1.0), np.arange(10.0)) == [Cycle(52.18, (52.18,))]
    assert cycles(np.int64(4), line, np.arange(-9.0, 1.0), np.arange(10.0)) == [Cycle(4.0, (4.0,))]


def test_an_index_of_text_is_refused():
    with pytest.raises(InputError, match=r"must be dates, periods or numbers, got string such as '2020-01'"):
        timeline(pd.Index(["2020-01", "2020-02"]))


@pytest.mark.parametrize(
    ("index", "other"),
    [
        (pd.period_range("2020-01", periods=3, freq="M"), pd.period_range("2020Q3", periods=3, freq="Q")),
        (pd.date_range("2020-01-01", periods=3), pd.RangeIndex(3)),
        (pd.RangeIndex(3), pd.date_range("2020-01-01", periods=3)),
    ],
)
def test_times_of_another_kind_are_refused(index, other):
    with pytest.raises(InputError, match=r"expected .*, as in the series, got"):
        timeline(index).locate(other)


IRREGULAR = pd.DatetimeIndex(["2020-01-01", "2020-01-02 07:13", "2020-01-04 05:00", "2020-01-09"])


@pytest.mark.parametrize(
    "index",
    [pd.date_range("2020-01-01", periods=9, freq=f) for f in ("h", "D", "MS")] + [opened([8, 12]), IRREGULAR],
)
def test_dates_with_and_without_a_time_zone_do_not_mix(index):
    other = pd.date_range("2021-01-01", periods=3)
    with pytest.raises(InputError, match=r"without a time zone.*, UTC\]; index.tz_localize\(None\) makes"):
        timeline(index).locate(other.tz_localize("UTC"))
    berlin = timeline(index.tz_localize("Europe/Berlin"))
    with pytest.raises(InputError, match=r"with a time zone.*index.tz_localize\('Europe/Berlin'\) makes"):
        berlin.locate(other)
    same = other.tz_localize("Europe/Berlin")
    np.testing.assert_array_equal(berlin.locate(same), berlin.locate(same.tz_convert("UTC")))


@pytest.mark.parametrize(
    ("offset", "months"),
    [
        (pd.DateOffset(months=1), 1),
        (2 * pd.DateOffset(months=1), 2),
        (pd.DateOffset(months=3, day=31), 3),
        (pd.DateOffset(years=4), 48),
        (pd.DateOffset(years=1, months=6), 18),
    ],
)
def test_offsets_without_a_name_have_a_duration(offset, months):
    assert duration(offset) == pytest.approx(months * YEAR / 12.0, rel=2e-5)  # 2100 has no leap day
    index = pd.date_range("2001-01-01", periods=20, freq=offset)
    assert list(timeline(index).locate(index)) == list(range(-19, 1))


def test_durations_keep_their_frequency():
    index = pd.timedelta_range("1h", periods=20, freq="6h")
    assert timeline(index).future(np.array([1, 2, 3])).freq == index.freq
    assert list(timeline(index).future(np.array([2, 5]))) == [index[-1] + index.freq * k for k in (2, 5)]


def test_dates_before_nanoseconds_are_recognised():
    months = np.arange("1500-01", "1503-01", dtype="datetime64[M]").astype("datetime64[s]")
    line = timeline(pd.DatetimeIndex(months))
    assert str(line.future(np.array([1]))[0]) == "1503-01-01 00:00:00"
