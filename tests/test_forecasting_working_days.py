"""Working days of months: counted, found in series that know them, and not in others."""

import calendar
import warnings

import numpy as np
import pandas as pd
import pytest

from nonparam import GPForecaster
from nonparam.forecasting.timeline import timeline
from nonparam.forecasting.working_days import has_working_days, working_days

PARTS = ["base", "drift", "trend", "level", "season", "memory"]


def counted(index):
    return working_days(timeline(index), index).ravel()


def naive(year, month):
    days = [day for day in calendar.Calendar().itermonthdays2(year, month) if day[0]]
    return sum(weekday < 5 for _, weekday in days) - 5.0 / 7.0 * len(days)


def test_months_are_counted_day_by_day():
    months = pd.period_range("1999-01", "2004-12", freq="M")
    np.testing.assert_allclose(counted(months), [naive(m.year, m.month) for m in months], atol=1e-12)


@pytest.mark.parametrize("freq", ["MS", "ME", "BMS", "BME"])
def test_stamps_stand_for_their_month(freq):
    stamps = pd.date_range("2001-01-01", periods=24, freq=freq)
    periods = stamps.to_period("M")
    np.testing.assert_array_equal(counted(stamps), counted(periods))
    np.testing.assert_array_equal(counted(stamps.tz_localize("Asia/Tokyo")), counted(periods))


@pytest.mark.parametrize("first", ["0001-01", "1582-10", "9990-01"])
def test_years_far_away_are_counted(first):
    months = pd.period_range(first, periods=28 * 12, freq="M")
    column = counted(months)
    assert np.abs(column).max() <= 10.0 / 7.0 + 1e-12
    assert abs(column.sum()) < 2.0  # weeks go on: no drift


def test_stamps_beyond_nanoseconds_are_counted():
    stamps = pd.date_range("1500-01-01", periods=24, freq="MS", unit="s")
    np.testing.assert_array_equal(counted(stamps), counted(stamps.to_period("M")))


@pytest.mark.parametrize(
    "index",
    [
        pd.date_range(end="2262-04-01", periods=24, freq="MS", unit="ns"),  # the next is out of bounds
        pd.date_range("1677-09-30", periods=24, freq="ME", unit="ns"),  # and so is the one before
        pd.date_range(end="9999-12-01", periods=24, freq="MS", unit="s"),
        pd.date_range("1066-01-31", periods=24, freq="ME", unit="s"),
        pd.date_range("2001-01-31", periods=24, freq="ME") + pd.Timedelta("23:59:59.999999999"),
    ],
)
def test_stamps_at_the_ends_of_time_are_counted(index):
    months = pd.period_range(f"{index[0]:%Y-%m}", periods=len(index), freq="M")
    np.testing.assert_array_equal(counted(index), counted(months))


@pytest.mark.parametrize(
    "index",
    [
        pd.date_range("2020", periods=40),
        pd.date_range("2020", periods=40, freq="W"),
        pd.date_range("2020", periods=40, freq="4W"),
        pd.date_range("2020", periods=40, freq="30D"),
        pd.period_range("2020", periods=40, freq="Y"),
        pd.period_range("2020", periods=40, freq="Q"),
        pd.period_range("2020", periods=40, freq="2M"),
        pd.date_range("2020", periods=40, freq="h"),
        pd.RangeIndex(40),
        pd.to_timedelta(30.0 * np.arange(40), unit="D"),
        pd.to_datetime(["2020-01-01", "2020-02-03", "2020-02-29", "2020-04-20", "2020-04-22"]),
    ],
)
def test_other_steps_have_none(index):
    assert not has_working_days(timeline(index))
    y = pd.Series(np.arange(float(len(index))), index)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of the irregular dates
        assert GPForecaster(None).read(y, None)[1].groups == {}


def sold(effect, n=96, seed=0):
    rng = np.random.default_rng(seed)
    months = pd.period_range("2000-01", periods=n, freq="M")
    season = 5.0 * np.sin(2.0 * np.pi * np.arange(n) / 12.0)
    y = 100.0 + season + effect * counted(months) + rng.normal(0.0, 1.0, n)
    return pd.Series(y, months, name="sold")


def test_what_a_working_day_brings_is_found_and_foreseen():
    y = sold(3.0, n=120)
    forecaster = GPForecaster(transform="identity").fit(y[:108])
    told = [
        line for line in forecaster.summary().splitlines() if line.startswith("Effect of a working day: +")
    ]
    assert len(told) == 1
    mean = float(told[0].split("+")[1].split()[0])
    assert mean == pytest.approx(3.0, abs=0.5)  # the standard deviation is 1 / (.77 sqrt(108)), about .13
    blind = GPForecaster(transform="identity", components=PARTS).fit(y[:108])
    errors = [np.abs(f.predict(12) - y[108:]).mean() for f in (forecaster, blind)]
    assert errors[0] < 0.6 * errors[1]
    part = forecaster.decompose(12)["working days"]["mean"]
    np.testing.assert_allclose(part, mean * counted(y.index), atol=0.1)  # of the digits that are told


@pytest.mark.parametrize("seed", range(3))
def test_a_series_that_knows_no_working_days_is_told_of_none(seed):
    y = sold(0.0, seed=seed)
    forecaster, blind = GPForecaster().fit(y), GPForecaster(components=PARTS).fit(y)
    assert "working day" not in forecaster.summary()
    difference = np.abs(forecaster.predict(12) - blind.predict(12)).max()
    assert difference < 0.25  # a quarter of the noise
    gain = forecaster.report_.members[0].log_evidence - blind.report_.members[0].log_evidence
    assert -3.0 < gain < 1.0


def test_components_leave_them_out_and_compare_weighs_them():
    y = sold(3.0)
    assert "working days" not in GPForecaster(components=PARTS).fit(y).decompose().columns.unique("part")
    forecaster = GPForecaster(components=[*PARTS, "working days"]).fit(y)
    pd.testing.assert_series_equal(forecaster.predict(3), GPForecaster().fit(y).predict(3))
    assert "no working days" in str(forecaster.compare(["season", "no working days"]))


def test_regressors_and_holidays_stand_beside_them():
    y = sold(3.0)
    X = pd.DataFrame({"price": np.arange(108.0) % 5.0}, pd.period_range("2000-01", periods=108, freq="M"))
    y = y + 2.0 * X["price"][:96]
    forecaster = GPForecaster(holidays={"may": ["2001-05-01", "2007-05-01"]}).fit(y, X)
    assert forecaster._beside.groups == {"working days": (1,), "regressors": (2,), "holidays": (3,)}
    summary = forecaster.summary()
    assert "Effect of a working day" in summary and "Effect of price" in summary


def test_updates_files_and_panels_know_them(tmp_path):
    y = sold(3.0)
    whole = GPForecaster().fit(y[:84])
    steps = GPForecaster().fit(y[:84]).update(y[84:90]).update(y[90:])
    at_once = GPForecaster().fit(y[:84]).update(y[84:])
    pd.testing.assert_series_equal(steps.predict(6), at_once.predict(6), rtol=1e-6)  # light members were left
    whole.save(tmp_path / "sold.safetensors")
    loaded = GPForecaster.load(tmp_path / "sold.safetensors")
    pd.testing.assert_frame_equal(loaded.predict_quantiles(6), whole.predict_quantiles(6))
    panel = GPForecaster().fit_panel({"a": y[:84], "b": sold(0.0)[:84]}, fh=6)
    np.testing.assert_allclose(panel.predict()["y"][:6], whole.predict(6), rtol=1e-6)


def test_long_series_know_them():
    y = sold(3.0, n=480)
    forecaster = GPForecaster(transform="identity").fit(y)
    assert "Effect of a working day: +" in forecaster.summary()
    part = forecaster.decompose(6)["working days"]["mean"]
    np.testing.assert_allclose(part, 3.0 * counted(part.index), atol=0.4)
