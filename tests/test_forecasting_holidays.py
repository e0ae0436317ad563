"""Holidays: from tables, mappings and countries, counted on days, weeks and months."""

import datetime
import sys

import numpy as np
import pandas as pd
import pytest

from nonparam.errors import InputError
from nonparam.forecasting.holidays import read_holidays
from nonparam.forecasting.timeline import timeline

CHRISTMAS = ["2019-12-25", "2020-12-25", "2021-12-25"]


def counted(holidays, index, wanted=None):
    line = timeline(index)
    wanted = index if wanted is None else wanted
    read = read_holidays(holidays, line)
    return pd.DataFrame(read.columns(line, wanted), index=wanted, columns=list(read.names))


def test_a_day_is_marked_and_no_other():
    days = pd.date_range("2020-12-01", "2021-12-31")
    table = counted({"christmas": CHRISTMAS, "leap": "2020-02-29"}, days)
    assert list(table.columns) == ["christmas", "leap"]
    assert list(table.index[table["christmas"] == 1.0].astype(str)) == ["2020-12-25", "2021-12-25"]
    assert table.to_numpy().sum() == 2.0


@pytest.mark.parametrize(
    "date",
    [
        "2020-12-25",
        pd.Timestamp("2020-12-25 18:00"),
        datetime.date(2020, 12, 25),
        np.datetime64("2020-12-25"),
    ],
)
def test_dates_come_in_many_types(date):
    days = pd.date_range("2020-12-20", periods=10)
    for dates in (date, [date], [date, date], pd.Series([date])):
        assert counted({"c": dates}, days)["c"].tolist() == [0.0] * 5 + [1.0] + [0.0] * 4


def test_hours_of_the_day_are_marked_on_the_clocks_of_the_zone():
    hours = pd.date_range("2020-12-24", periods=72, freq="h", tz="Australia/Melbourne")
    marked = counted({"christmas": CHRISTMAS}, hours)["christmas"]
    assert marked.index[marked == 1.0].day.unique().tolist() == [25]
    assert marked.sum() == 24.0
    same = counted({"christmas": CHRISTMAS}, hours, hours.tz_convert("UTC"))["christmas"]
    np.testing.assert_array_equal(same, marked)
    periods = pd.period_range("2020-12-24", periods=72, freq="h")
    np.testing.assert_array_equal(counted({"christmas": CHRISTMAS}, periods)["christmas"], marked)


def naive(days, first, last):
    """Counts one by one, of half-open spans."""
    stamps = pd.to_datetime(days)
    return [float(sum(a <= day < b for day in stamps)) for a, b in zip(first, last, strict=True)]


EDGES = ["2020-01-01", "2020-01-31", "2020-02-01", "2020-02-29", "2020-03-31", "2020-04-01", "2020-06-30"]
SPANS = {
    "months by their first days": (pd.date_range("2020-01-01", periods=6, freq="MS"), "begin"),
    "months by their last days": (pd.date_range("2020-01-31", periods=6, freq="ME"), "end"),
    "quarters by their first days": (pd.date_range("2020-01-01", periods=4, freq="QS"), "begin"),
    "quarters by their last days": (pd.date_range("2020-03-31", periods=4, freq="QE"), "end"),
    "years": (pd.date_range("2019-01-01", periods=4, freq="YS"), "begin"),
    "weeks that end on Sundays": (pd.date_range("2020-01-05", periods=30, freq="W-SUN"), "end"),
    "ten days": (pd.date_range("2020-01-01", periods=20, freq="10D"), "begin"),
}


@pytest.mark.parametrize("name", SPANS)
def test_days_within_longer_steps_are_counted(name):
    index, side = SPANS[name]
    step = index.freq
    first, last = (
        (index, [t + step for t in index]) if side == "begin" else ([t - step for t in index], index)
    )
    if side == "end":
        first, last = ([t + pd.Timedelta("1D") for t in times] for times in (first, last))
    counts = counted({"a": EDGES}, index)["a"]
    assert counts.tolist() == naive(EDGES, first, last)
    assert counts.sum() >= 5.0
    bare = pd.DatetimeIndex(np.delete(index.to_numpy(), 2)) if len(index) > 6 else index
    np.testing.assert_array_equal(counted({"a": EDGES}, bare)["a"], counts[bare])


@pytest.mark.parametrize("freq", ["M", "Q-NOV", "Y", "W-WED", "3M", "D", "B"])
@pytest.mark.filterwarnings("ignore:Period with BDay freq:FutureWarning", "ignore:PeriodDtype:FutureWarning")
def test_days_within_periods_are_counted(freq):
    index = pd.period_range("2019-06-03", "2020-12-31", freq=freq)
    days = index.to_timestamp() if freq != "B" else index.asfreq("D", "S").to_timestamp()
    ends = index.asfreq("D", "E").to_timestamp() + pd.Timedelta("1D")
    assert counted({"a": EDGES}, index)["a"].tolist() == naive(EDGES, days, ends)


def test_trading_days_and_irregular_dates_are_days():
    monday_and_friday = pd.bdate_range("2020-01-01", periods=40, freq="C", weekmask="Mon Fri")
    irregular = pd.to_datetime(["2020-01-01", "2020-01-03", "2020-01-12", "2020-01-31", "2020-02-29"])
    for index in (monday_and_friday, pd.DatetimeIndex(monday_and_friday, freq=None), irregular):
        counts = counted({"a": EDGES}, index)["a"]
        assert counts.tolist() == [float(str(day.date()) in EDGES) for day in index]


def test_a_table_has_windows_with_columns_of_their_own():
    table = pd.DataFrame(
        {
            "holiday": ["easter", "cup", "easter"],
            "ds": ["2020-04-12", "2020-03-01", "2021-04-04"],
            "lower_window": [-2, 0, np.nan],
            "upper_window": [1, 0, 1],
        }
    )
    days = pd.date_range("2020-01-01", "2021-12-31")
    marked = counted(table, days)
    found = {name: [str(day.date()) for day in days[marked[name] == 1.0]] for name in marked}
    assert found == {
        "cup": ["2020-03-01"],
        "easter": ["2020-04-12", "2021-04-04"],
        "easter +1": ["2020-04-13", "2021-04-05"],
        "easter -1": ["2020-04-11"],
        "easter -2": ["2020-04-10"],
    }
    bare = counted(table[["ds", "holiday"]].sample(frac=1.0, random_state=0), days)
    pd.testing.assert_frame_equal(bare, marked[["cup", "easter"]])


def test_the_future_of_a_table_is_used():
    days = pd.date_range("2019-12-20", periods=30)
    later = pd.date_range("2020-12-24", periods=3)
    assert counted({"christmas": CHRISTMAS}, days, later)["christmas"].tolist() == [0.0, 1.0, 0.0]


# countries -------------------------------------------------------------------------------------


def test_a_country_knows_its_holidays_in_any_year():
    pytest.importorskip("holidays")
    days = pd.date_range("2019-01-01", "2020-12-31")
    marked = counted("AU", days)
    assert marked.index[marked["Christmas Day"] == 1.0].strftime("%m-%d").tolist() == ["12-25"] * 2
    assert marked.index[marked["Easter Monday"] == 1.0].strftime("%F").tolist() == [
        "2019-04-22",
        "2020-04-13",
    ]
    later = counted("AU", days, pd.date_range("2045-01-01", "2045-12-31"))
    assert later.columns.equals(marked.columns)
    assert later.index[later["Easter Monday"] == 1.0].strftime("%F").tolist() == ["2045-04-10"]


def test_a_part_of_a_country_has_more_and_two_on_one_day_count_both():
    pytest.importorskip("holidays")
    days = pd.date_range("2011-01-01", "2011-12-31")
    marked = counted("au-vic", days)
    assert "Melbourne Cup Day" in marked and "Melbourne Cup Day" not in counted("AU", days)
    assert marked.loc["2011-04-25", ["ANZAC Day", "Easter Monday"]].tolist() == [1.0, 1.0]


def test_months_count_the_holidays_of_a_country():
    pytest.importorskip("holidays")
    months = pd.period_range("2019-01", periods=24, freq="M")
    counts = counted("US", months)
    assert counts["Christmas Day"].tolist() == ([0.0] * 11 + [1.0]) * 2
    assert counts["Thanksgiving Day"].sum() == 2.0


@pytest.mark.parametrize("code", ["XX", "Australia", "", "AU-ZZ", "A"])
def test_an_unknown_country_gets_a_clear_error(code):
    pytest.importorskip("holidays")
    with pytest.raises(
        InputError, match=r"code of a country such as 'AU' or 'AU-VIC', got '.*', which the package"
    ):
        counted(code, pd.date_range("2020-01-01", periods=5))


def test_the_package_is_asked_for_where_it_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "holidays", None)
    with pytest.raises(ImportError, match=r"pip install 'nonparam\[holidays\]'"):
        counted("AU", pd.date_range("2020-01-01", periods=5))
    assert counted({"c": CHRISTMAS}, pd.date_range("2020-12-25", periods=2))["c"].tolist() == [1.0, 0.0]


# errors ----------------------------------------------------------------------------------------

TABLE = pd.DataFrame({"holiday": ["a", "b"], "ds": ["2020-01-01", "2020-02-01"]})
BAD = {
    "a list": (["2020-01-01"], "holidays must be a table with the columns 'holiday' and 'ds', .* got list"),
    "a number": (5, "a mapping of names to dates, or the code of a country .* got int"),
    "an empty mapping": ({}, "holidays is empty: expected at least one, or holidays=None"),
    "an empty table": (TABLE[:0], "holidays is empty"),
    "an empty table without types": (pd.DataFrame({"holiday": [], "ds": []}), "holidays is empty"),
    "a column twice": (TABLE.set_axis(["ds", "ds"], axis=1).assign(holiday="a"), "are optional, and it has"),
    "no dates": (TABLE[["holiday"]], "are optional, and it has 'holiday'"),
    "more columns": (
        TABLE.assign(prior_scale=10.0),
        "are optional, and it has 'holiday', 'ds', 'prior_scale'",
    ),
    "no name": (TABLE.assign(holiday=["a", None]), r"column 'holiday' has no name in 1 row\(s\)"),
    "no date": (TABLE.assign(ds=["2020-01-01", None]), r"column 'ds' of holidays has 1 missing date\(s\)"),
    "text": ({"a": ["soon"]}, r"holiday 'a' must be dates, such as '2024-12-25', got \['soon'\]"),
    "numbers": ({"a": [20200101]}, r"holiday 'a' must be dates, .* they are numbers"),
    "missing": ({"a": [pd.NaT]}, r"holiday 'a' has 1 missing date\(s\)"),
    "after before": (
        TABLE.assign(lower_window=1),
        "'lower_window' of holidays must be whole .* -60 to 0, got 1",
    ),
    "before after": (
        TABLE.assign(upper_window=-1),
        "'upper_window' of holidays must be whole .* 0 to 60, got -1",
    ),
    "half a day": (TABLE.assign(upper_window=0.5), "must be whole numbers of days from 0 to 60, got 0.5"),
    "a word": (TABLE.assign(upper_window="two"), "must be whole numbers of days from 0 to 60, got 'two'"),
    "a long window": (
        TABLE.assign(upper_window=1000),
        "must be whole numbers of days from 0 to 60, got 1000",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_holidays_that_cannot_be_read_get_a_clear_error(name):
    holidays, message = BAD[name]
    with pytest.raises(InputError, match=message):
        counted(holidays, pd.date_range("2020-01-01", periods=5))


@pytest.mark.parametrize("index", [pd.RangeIndex(5), pd.Index([0.0, 1.5]), pd.to_timedelta([0, 1], unit="D")])
def test_holidays_need_dates(index):
    with pytest.raises(InputError, match="holidays need an index of dates or periods, that of y is"):
        counted({"a": EDGES}, index)


@pytest.mark.parametrize("freq", ["BME", "BMS"])
def test_business_days_at_the_ends_of_months_stand_for_the_whole_month(freq):
    index = pd.date_range("2009-12-31" if freq == "BME" else "2009-12-01", periods=3, freq=freq)
    days = {"weekend": ["2010-01-30", "2010-01-31"], "new year": ["2010-01-01"]}
    table = counted(days, index)
    assert table["weekend"].tolist() == [0.0, 2.0, 0.0]
    assert table["new year"].tolist() == [0.0, 1.0, 0.0]
