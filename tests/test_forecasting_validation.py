"""Series and parameters that no forecaster can be fitted to."""

import numpy as np
import pandas as pd
import pytest

from nonparam.errors import InputError, InsufficientMemoryError
from nonparam.forecasting import GPForecaster, mixture
from nonparam.forecasting.mixture import check_joint
from nonparam.forecasting.timeline import timeline
from nonparam.forecasting.validation import read_horizon

TWICE = pd.Series([1.0, 2.0, 3.0], index=pd.to_datetime(["2020-01-01", "2020-01-02", "2020-01-02"]))
BAD = {
    "nothing": ([], "no observation"),
    "an empty series": (pd.Series([], dtype=float), "no observation"),
    "only missing": ([np.nan, np.nan], "no observation"),
    "infinite": ([1.0, np.inf], "infinite at 1; expected numbers, with NaN where one is missing"),
    "truth values": ([True, False], "must be numbers, got bool"),
    "text": (["1", "2"], "must be numbers, got (str|object)"),
    "objects": (
        pd.Series([1.0, "two"], dtype=object),
        r"object such as 'two'; y.astype\(float\) reads numbers",
    ),
    "integers without bound": ([10**400], "cannot be read as a series: int too large"),
    "objects that are missing": (pd.Series([None, None], dtype=object), "y has no observation"),
    "complex": (np.array([1j, 2.0]), "must be numbers, got complex"),
    "dates": (pd.date_range("2020", periods=3).to_series(), "must be numbers, got datetime"),
    "a table": (pd.DataFrame({"a": [1.0], "b": [2.0]}), r"a table with the columns \['a', 'b'\]"),
    "a matrix": (np.ones((3, 2)), "must be one series of numbers, got ndarray of shape"),
    "ragged": ([[1.0], [1.0, 2.0]], "cannot be read as a series"),
    "a number": (3.0, "must be one series of numbers, got float"),
    "times twice": (TWICE, "several values at 2020-01-02 00:00:00: expected one at each time"),
    "times missing": (pd.Series([1.0, 2.0], index=pd.to_datetime(["2020", None])), r"1 missing time\(s\)"),
    "text for times": (pd.Series([1.0, 2.0], index=["a", "b"]), "must be dates, periods or numbers"),
    "infinite times": (pd.Series([1.0, 2.0, 3.0], index=[1, 2, np.inf]), r"must be finite, got .*inf\]"),
    "two levels": (
        pd.Series([1.0], index=pd.MultiIndex.from_tuples([("a", 1)], names=["id", "t"])),
        r"the levels \['id', 't'\]",
    ),
    "too large": ([1e200, 2e200], "values of size 2e"),
    "too long": (np.arange(200_001.0), "at most 200,000 observations, got 200,001"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_series_gets_a_clear_error(name):
    y, message = BAD[name]
    with pytest.raises(InputError, match=message):
        GPForecaster().fit(y)


DAYS = pd.date_range("2020-01-01", periods=20)
KINDS = {
    "rows": pd.RangeIndex(20),
    "floats": pd.Index(np.arange(20.0)),
    "days": DAYS,
    "days in a zone": DAYS.tz_localize("Asia/Beirut"),
    "months": pd.date_range("2020-01-01", periods=20, freq="MS"),
    "periods": pd.period_range("2020-01", periods=20, freq="M"),
    "Mondays and Wednesdays": pd.date_range(
        "2020-01-01", periods=20, freq=pd.offsets.CustomBusinessDay(weekmask="Mon Wed")
    ),
    "thirtieth days": pd.DatetimeIndex([DAYS[-1] + pd.DateOffset(months=k, day=30) for k in range(20)]),
    "Easter days": pd.date_range("1980-01-01", periods=20, freq=pd.offsets.Easter()),
    "years": pd.date_range("1980-01-01", periods=20, freq="YS"),
    "durations": pd.timedelta_range("0s", periods=20, freq="h"),
}


@pytest.mark.parametrize("h", [10**5 + 1, 10**7, 10**9, 10**18, [10**18], [1] * (10**5 + 1)])
@pytest.mark.parametrize("kind", KINDS)
def test_a_horizon_beyond_reason_is_refused_at_once(kind, h):
    with pytest.raises(InputError, match=r"fh must be at most 100,000 steps, got [0-9,]+; to look further"):
        read_horizon(h, timeline(KINDS[kind]))


@pytest.mark.parametrize("kind", ["months", "periods", "thirtieth days", "Easter days", "years"])
def test_a_horizon_beyond_the_calendar_is_refused(kind):
    with pytest.raises(InputError, match=r"fh must end within the times that .* can tell: dates in nanosec"):
        read_horizon([100_000], timeline(KINDS[kind]))


def test_dates_in_nanoseconds_end_earlier():
    line = timeline(KINDS["Mondays and Wednesdays"].as_unit("ns"))
    assert read_horizon([20_000], line)[1][0].year == 2211
    with pytest.raises(InputError, match=r"dates in nanoseconds end in the year 2262, others in 9999"):
        read_horizon([30_000], line)


def test_the_longest_horizon_is_continued():
    for kind in ("rows", "floats", "durations"):
        positions, index = read_horizon(100_000, timeline(KINDS[kind]))
        assert positions[-1] == len(index) == 100_000 and index.is_unique
    with pytest.raises(InputError, match=r"fh must end within the times that int64 can tell"):
        read_horizon(100, timeline(pd.RangeIndex(0, 2**61, 2**57)))


def test_given_times_beyond_reason_are_refused():
    with pytest.raises(InputError, match="fh must have 1 to 100,000 times, got 999,999,900"):
        read_horizon(pd.RangeIndex(100, 10**9), timeline(pd.RangeIndex(20)))
    for bad in (pd.Index([30.0, np.inf]), pd.Index([30.0, np.nan])):
        with pytest.raises(InputError, match=r"h has missing or infinite times, got .*; leave them out"):
            read_horizon(bad, timeline(pd.RangeIndex(20)))
    with pytest.raises(InputError, match="h has missing or infinite times"):
        read_horizon(pd.PeriodIndex(["2030-01", None], freq="M"), timeline(KINDS["periods"]))
    for kind in ("days", "Mondays and Wednesdays"):
        far = pd.DatetimeIndex(np.array(["9000-01-01"], "datetime64[s]"))
        with pytest.raises(
            InputError, match=r"at most 100,000 steps after .*, got 9000-01-01|fh must end within"
        ):
            read_horizon(far, timeline(KINDS[kind]))


def test_joint_forecasts_that_do_not_fit_into_memory_are_refused():
    check_joint(100, 50, 2, available=8 * (8 * 100**2 + 3 * 100 * 50))
    with pytest.raises(
        InsufficientMemoryError, match=r"joint distribution of 100 times needs about 760.0 kB,"
    ):
        check_joint(100, 50, 2, available=8 * (8 * 100**2 + 3 * 100 * 50) - 1)


def test_a_sample_is_checked_before_it_is_drawn(monkeypatch):
    monkeypatch.setattr(mixture, "free_memory", lambda device: 10**4)
    forecaster = GPForecaster(None).fit(np.arange(10.0) % 3)
    assert len(forecaster.predict(30)) == 30
    for refused in (lambda: forecaster.sample(30), lambda: forecaster.log_predictive_density(np.ones(30))):
        with pytest.raises(InsufficientMemoryError, match="ask for fewer times, or for predict_quantiles"):
            refused()


def test_bad_parameters_get_a_clear_error():
    with pytest.raises(
        InputError, match=r"transform must be 'auto' or one of \['identity', 'log'\], got 'sqrt'"
    ):
        GPForecaster(transform="sqrt").fit([1.0, 2.0])
    with pytest.raises(InputError, match="transform='log' needs positive observations, got -1"):
        GPForecaster(transform="log").fit([1.0, -1.0])
    with pytest.raises(InputError, match="season must be 'auto', None or 1 for none, or the number"):
        GPForecaster(season="monthly").fit([1.0, 2.0])
