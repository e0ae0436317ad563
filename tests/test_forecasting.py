"""The forecaster: what it promises of any series, and its figures on the airline passengers."""

import pickle
import warnings

import matplotlib

matplotlib.use("Agg")

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from scipy.stats import norm
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from nonparam.datasets import load_airline
from nonparam.errors import InputError
from nonparam.forecasting import GPForecaster
from nonparam.forecasting.structure import build_structure
from nonparam.plotting import FIGURE_SIZE
from nonparam.theta import free_parameters

H = 6
LEVELS = [0.01, 0.1, 0.5, 0.9, 0.99]


def seasonal(n: int = 40, period: int = 4, seed: int = 0) -> np.ndarray:
    """A positive series with a trend, a season and noise."""
    rng, t = np.random.RandomState(seed), np.arange(n)
    return 20.0 + 0.2 * t + 3.0 * np.sin(2 * np.pi * t / period) + rng.standard_normal(n)


@pytest.fixture(scope="module")
def airline() -> pd.Series:
    return load_airline()


@pytest.fixture(scope="module")
def fitted(airline) -> GPForecaster:
    return GPForecaster(random_state=0).fit(airline[:-29])


# the airline passengers ------------------------------------------------------------------------


def test_the_airline_forecast_is_as_good_as_box_and_jenkins(fitted, airline):
    test = airline[-29:]
    assert -fitted.log_predictive_density(test) / 29 <= 4.3  # theirs is 4.166
    assert np.abs(fitted.predict(29) - test).mean() <= 15.0  # theirs is 12.6
    inside = fitted.predict_interval(29, [0.8, 0.95])
    for coverage in (0.8, 0.95):
        covered = (inside[coverage]["lower"] <= test) & (test <= inside[coverage]["upper"])
        assert covered.mean() >= coverage - 0.1


def test_evidence_prefers_the_logarithm_and_the_season(fitted):
    evidence = {(m.seasons, m.transform): m.log_evidence for m in fitted.report_.members}
    assert evidence[(12.0,), "log"] - evidence[(12.0,), "identity"] >= 10.0
    assert evidence[(12.0,), "log"] - evidence[(), "log"] >= 20.0
    assert fitted.report_.members[0].name == "season of 12, log"
    assert sum(m.weight for m in fitted.report_.members) == pytest.approx(1.0)


def test_the_report_is_in_the_units_of_the_series(fitted, airline):
    found = fitted.report_.members[0].hyperparameters
    assert set(name.rsplit(" ", 1)[0] for name in found) == {
        *("base", "drift", "trend", "level", "season", "memory", "working days", "noise")
    }
    assert 30.0 < found["trend lengthscale"] < 300.0  # months
    assert 1e-5 < found["noise variance"] < 1e-2  # of the logarithm
    assert found["drift variance"] ** 0.5 == pytest.approx(0.01, rel=0.5)  # a growth of 1 % a month
    assert fitted.report_.converged
    assert (fitted.report_.observations, fitted.report_.missing) == (115, 0)
    assert "season of 12, log" in str(fitted.report_)


# any series ------------------------------------------------------------------------------------

EVERYWHERE = ["base", "drift", "trend", "level", "season", "memory"]  # but for the working days of months
INDEXES = {
    "months": pd.period_range("2015-01", periods=46, freq="M", name="month"),
    "quarter starts": pd.date_range("2012-01-01", periods=46, freq="QS"),
    "days in a zone": pd.date_range("2020-03-20", periods=46, freq="D", tz="America/New_York"),
    "rows": pd.RangeIndex(46),
    "integers": pd.Index(np.arange(1970, 2016), name="year"),
    "floats": pd.Index(0.25 * np.arange(46)),
    "durations": pd.timedelta_range("1h", periods=46, freq="6h"),
}


@pytest.mark.parametrize("name", INDEXES)
def test_any_index_comes_back_continued(name):
    index, y = INDEXES[name], seasonal(40)
    y = pd.Series(y, index=index[:40], name="sales")
    forecaster = GPForecaster(season=4, components=EVERYWHERE).fit(y)
    median = forecaster.predict(H)
    assert type(median.index) is type(index)
    assert list(median.index) == list(index[40:])
    assert (median.index.name, median.name) == (index.name, "sales")
    for h in (index[[41, 44]], [2, 5]):
        np.testing.assert_allclose(forecaster.predict(h), median.iloc[[1, 4]], rtol=1e-9)
        assert list(forecaster.predict(h).index) == list(index[[41, 44]])
    plain = GPForecaster(season=4, components=EVERYWHERE).fit(y.to_numpy()).predict(H)
    np.testing.assert_allclose(median, plain, rtol=1e-9)


@pytest.mark.parametrize("dtype", [f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32)])
def test_integers_of_every_width_give_the_same_forecast(dtype):
    y, counts = seasonal(30), np.arange(97, 127)
    narrow = GPForecaster(4).fit(pd.Series(y, index=pd.Index(counts, dtype=dtype))).predict(3)
    wide = GPForecaster(4).fit(pd.Series(y, index=counts)).predict(3)
    assert list(narrow.index) == [127, 128, 129]
    np.testing.assert_array_equal(narrow, wide)


def test_a_forecast_passes_over_a_midnight_that_is_none():
    y = pd.Series(seasonal(18), index=pd.date_range("2024-03-10", periods=18, tz="Asia/Beirut"))
    forecast = GPForecaster(7).fit(y).predict(14)
    assert forecast.index[3] == pd.Timestamp("2024-03-31 01:00", tz="Asia/Beirut")
    plain = GPForecaster(7).fit(y.tz_localize(None)).predict(14)
    np.testing.assert_allclose(forecast, plain, rtol=1e-9)


def test_lists_arrays_and_tables_of_one_column_are_the_same_series():
    y = seasonal(24)
    expected = GPForecaster(4).fit(y).predict(3)
    others = [list(y), y[:, None], pd.Series(y), pd.DataFrame({"y": y}), pd.Series(y, dtype="Float64")]
    for other in others:
        np.testing.assert_array_equal(GPForecaster(4).fit(other).predict(3), expected)


def test_integers_and_single_precision_are_numbers():
    y = np.round(10 * seasonal(24))
    expected = GPForecaster(4).fit(y).predict(3)
    for dtype in (np.int64, np.int32, np.uint16, np.float32, "Int64"):
        np.testing.assert_array_equal(GPForecaster(4).fit(pd.Series(y).astype(dtype)).predict(3), expected)


def test_missing_values_are_the_same_as_missing_rows():
    y = pd.Series(seasonal(40), index=pd.date_range("2015-01-01", periods=40, freq="MS"))
    y.iloc[[3, 4, 17, 30]] = np.nan
    with_nan, dropped = GPForecaster().fit(y), GPForecaster().fit(y.dropna())
    quantiles = with_nan.predict_quantiles(H, LEVELS)
    pd.testing.assert_frame_equal(quantiles, dropped.predict_quantiles(H, LEVELS), check_freq=False)
    assert np.isfinite(quantiles.to_numpy()).all()
    assert (with_nan.report_.observations, with_nan.report_.missing) == (36, 4)


def test_missing_values_at_the_end_are_steps_all_the_same():
    y = pd.Series(seasonal(40), index=pd.RangeIndex(40))
    ended = GPForecaster(4).fit(y[:36])
    y.iloc[36:] = np.nan
    still = GPForecaster(4).fit(y)
    assert still.predict(2).index[0] == 40
    np.testing.assert_allclose(still.predict(2), ended.predict(6)[-2:], rtol=1e-9)


def test_a_missing_row_changes_little_where_the_series_is_smooth():
    y = pd.Series(seasonal(60), index=pd.period_range("2010-01", periods=60, freq="M"))
    whole, gap = GPForecaster(4).fit(y), GPForecaster(4).fit(y.drop(y.index[20]))
    difference = np.abs(whole.predict(H) - gap.predict(H))
    assert difference.max() < 0.3  # the noise has a standard deviation of 1


def test_irregular_times_are_forecast_like_regular_ones():
    t = np.arange(40.0)
    moved = t + 1e-4 * np.random.RandomState(0).standard_normal(40)  # no longer on a grid
    moved[-1] = t[-1]
    regular, irregular = (GPForecaster(4).fit(pd.Series(seasonal(40), index=i)) for i in (t, moved))
    at = pd.Index(40.0 + t[:H])
    np.testing.assert_allclose(irregular.predict(at), regular.predict(at), rtol=1e-3)


def test_dates_of_no_calendar_are_forecast_with_a_warning():
    rng = np.random.RandomState(0)
    dates = pd.Timestamp("2020-01-01") + pd.to_timedelta(np.cumsum(rng.randint(1, 9, 40)), unit="D")
    y = pd.Series(seasonal(40), index=dates)
    found = r"keep to no calendar .* 1 days 00:00:00 to 8 days 00:00:00 apart. .* median distance, . days"
    with pytest.warns(UserWarning, match=found) as caught:
        forecaster = GPForecaster(season=None).fit(y)
    assert [warning.filename for warning in caught] == [__file__]
    median = forecaster.predict(2)  # the one warning is enough
    assert list(median.index - dates[-1]) == [np.median(np.diff(dates)), 2 * np.median(np.diff(dates))]
    own = forecaster.predict(median.index)
    np.testing.assert_allclose(own, median, rtol=1e-9)
    assert np.isfinite(forecaster.log_predictive_density(pd.Series([20.0], index=median.index[:1])))


def test_dates_of_a_calendar_are_as_good_as_rows():
    opened = pd.date_range(
        "2020-01-06", periods=46, freq=pd.offsets.CustomBusinessDay(weekmask="Mon Wed Fri")
    )
    dates = pd.DatetimeIndex(list(opened))
    y = seasonal(40, period=3)
    dated = GPForecaster().fit(pd.Series(y, index=dates[:40]))
    assert {member.seasons for member in dated.report_.members} == {(3.0,), ()}
    assert list(dated.predict(H).index) == list(dates[40:])
    np.testing.assert_allclose(dated.predict(H), GPForecaster(3).fit(y).predict(H), rtol=1e-9)


def test_periods_of_business_days_are_forecast_and_drawn_without_a_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # pandas warns whoever makes them
        index = pd.period_range("2020-01-01", periods=46, freq="B")
    y = pd.Series(seasonal(40, period=5), index=index[:40])
    forecaster = GPForecaster().fit(y)
    assert forecaster.report_.members[0].seasons == (5.0,)
    assert forecaster.predict(H).index.equals(index[40:])
    assert np.isfinite(forecaster.log_predictive_density(pd.Series([25.0], index=index[40:41])))
    assert len(forecaster.decompose(H)) == 46
    assert forecaster.plot(H, ax=Figure().add_subplot()).get_lines()


def test_the_order_of_the_rows_does_not_matter():
    y = pd.Series(seasonal(30), index=pd.date_range("2020-01-01", periods=30))
    shuffled = y.sample(frac=1.0, random_state=0)
    pd.testing.assert_series_equal(GPForecaster().fit(shuffled).predict(H), GPForecaster().fit(y).predict(H))


@pytest.mark.parametrize("factor", [1e-9, 1e9])
@pytest.mark.parametrize("transform", ["auto", "identity", "log"])
def test_another_unit_changes_nothing_else(factor, transform):
    y = seasonal(40)
    one = GPForecaster(4, transform=transform).fit(y).predict_quantiles(H, LEVELS)
    other = GPForecaster(4, transform=transform).fit(factor * y).predict_quantiles(H, LEVELS)
    np.testing.assert_allclose(other / factor, one, rtol=1e-6)


@pytest.mark.parametrize("shift", [-1e6, 1e6])
def test_another_origin_moves_the_forecast_with_it(shift):
    y = seasonal(40)
    one = GPForecaster(4, transform="identity").fit(y).predict_quantiles(H, LEVELS)
    other = GPForecaster(4, transform="identity").fit(y + shift).predict_quantiles(H, LEVELS)
    np.testing.assert_allclose(other - shift, one, atol=1e-5)


NASTY = {
    "one": [5.0],
    "two": [5.0, 6.0],
    "three": [1.0, 2.0, 4.0],
    "two equal": [3.0, 3.0],
    "constant": [3.3] * 30,
    "zeros": [0.0] * 24,
    "one zero": [0.0],
    "a line": np.arange(40.0),
    "a line far away": 1e9 + np.arange(40.0),
    "growth of 65 % a step": np.exp(0.5 * np.arange(40.0)),
    "an outlier": np.r_[seasonal(20), 1e4, seasonal(20)],
    "a zero tail": np.r_[seasonal(20), np.zeros(20)],
    "a shift": np.r_[seasonal(20), 1e3 + seasonal(20)],
    "exactly periodic": np.tile([1.0, 2.0, 4.0], 12),
    "alternating sizes": [1e-8, 1e8] * 10,
    "rounding noise": 0.1 + 1e-17 * np.arange(20.0) + np.tile([0.0, 1e-17], 10),
    "mostly missing": np.where(np.arange(40) % 5 == 0, seasonal(40), np.nan),
    "one seen": np.r_[np.full(10, np.nan), 2.0, np.full(5, np.nan)],
}


@pytest.mark.parametrize("season", ["auto", 3, None])
@pytest.mark.parametrize("name", NASTY)
def test_no_series_is_too_nasty(name, season):
    y = NASTY[name]
    forecaster = GPForecaster(season, random_state=0).fit(y)
    quantiles = forecaster.predict_quantiles(H, LEVELS).to_numpy()
    assert np.isfinite(quantiles).all()
    assert (np.diff(quantiles, axis=1) >= 0).all()
    low, high = np.nanmin(y), np.nanmax(y)
    reach = 3.0 * (high - low) + 2.0 * max(abs(low), abs(high)) + 1e-12
    growing = name in ("three", "growth of 65 % a step")
    assert (np.abs(quantiles[:, 2]) <= (30.0 if growing else 1.0) * reach).all()
    assert np.isfinite(forecaster.sample(3, 2).to_numpy()).all()
    assert np.isfinite(forecaster.decompose(3).to_numpy()).all()


def test_a_line_is_continued_and_a_constant_stays():
    line = GPForecaster().fit(np.arange(40.0))
    np.testing.assert_allclose(line.predict(H), 40.0 + np.arange(H), atol=0.05)
    constant = GPForecaster().fit(np.full(30, 7.0))
    np.testing.assert_allclose(constant.predict(H), 7.0, rtol=1e-9)
    assert (constant.predict_interval(H)["upper"] < 7.1).all()


# what a forecast is ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def mixed() -> GPForecaster:
    """A series on which several members have a say."""
    rng = np.random.RandomState(2)
    y = 5.0 + rng.standard_normal(30) + 0.4 * np.sin(np.arange(30) * np.pi / 2)
    forecaster = GPForecaster(4, random_state=0).fit(y)
    assert all(member.weight > 0.1 for member in forecaster.report_.members)
    assert len(forecaster.report_.members) == 4
    return forecaster


def test_the_median_is_the_middle_of_every_interval(mixed):
    median = mixed.predict(H)
    np.testing.assert_array_equal(median, mixed.predict_quantiles(H, 0.5)[0.5])
    inner, outer = mixed.predict_interval(H, 0.5), mixed.predict_interval(H, 0.95)
    assert list(inner.columns) == ["lower", "upper"]
    for table in (inner, outer):
        assert ((table["lower"] < median) & (median < table["upper"])).all()
    assert ((outer["lower"] < inner["lower"]) & (inner["upper"] < outer["upper"])).all()


def test_several_coverages_come_as_a_first_level(mixed):
    table = mixed.predict_interval(H, [0.5, 0.95])
    assert list(table.columns) == [(0.5, "lower"), (0.5, "upper"), (0.95, "lower"), (0.95, "upper")]
    pd.testing.assert_frame_equal(table[0.95], mixed.predict_interval(H, 0.95), check_names=False)
    quantiles = mixed.predict_quantiles(H, [0.025, 0.25, 0.75, 0.975])
    np.testing.assert_allclose(
        quantiles, table[[(0.95, "lower"), (0.5, "lower"), (0.5, "upper"), (0.95, "upper")]]
    )


def test_the_density_of_one_observation_is_the_slope_of_its_distribution(mixed):
    levels = np.linspace(0.02, 0.98, 25)
    points = mixed.predict_quantiles(1, levels).to_numpy()[0]
    density = [np.exp(mixed.log_predictive_density([y])) for y in points]
    step = 1e-5
    for y, p, level in zip(points, density, levels, strict=True):
        apart = mixed.predict_quantiles(1, [level - step, level + step]).to_numpy()[0]
        assert p == pytest.approx(2 * step / (apart[1] - apart[0]), rel=1e-3), y


def test_the_joint_density_is_no_product(fitted, airline):
    test = airline[-29:]
    alone = 0.0
    for k in range(1, 30):
        alone += fitted.log_predictive_density(test.iloc[k - 1 : k])
    assert abs(fitted.log_predictive_density(test) - alone) > 1.0


def test_later_observations_may_be_missing(fitted, airline):
    test = airline[-29:].copy()
    test.iloc[3:] = np.nan
    expected = fitted.log_predictive_density(airline[-29:-26])
    assert fitted.log_predictive_density(test) == pytest.approx(expected, abs=1e-9)
    assert fitted.log_predictive_density(test.to_numpy()) == pytest.approx(expected, abs=1e-9)


def test_draws_have_the_quantiles_and_remember_their_path(mixed):
    draws = mixed.sample(H, 4000)
    assert draws.shape == (H, 4000)
    for level in (0.1, 0.5, 0.9):
        below = draws.le(mixed.predict_quantiles(H, level)[level], axis=0).mean(axis=1)
        assert (np.abs(below - level) < 4 * np.sqrt(level * (1 - level) / 4000)).all()
    pd.testing.assert_frame_equal(draws, mixed.sample(H, 4000))
    again = clone(mixed).set_params(random_state=1).fit(np.arange(9.0)).sample(H, 4)
    assert not again.T.duplicated().any()


def test_positive_series_on_a_log_scale_have_positive_bounds():
    y = np.exp(np.random.RandomState(0).standard_normal(30))
    quantiles = GPForecaster(transform="log").fit(y).predict_quantiles(20, [1e-9, 0.5])
    assert (quantiles > 0.0).all().all()


def test_small_observations_forbid_the_logarithm_unless_asked_for():
    y = np.r_[seasonal(30), 0.01]
    assert {m.transform for m in GPForecaster(4).fit(y).report_.members} == {"identity"}
    assert {m.transform for m in GPForecaster(4, transform="log").fit(y).report_.members} == {"log"}


@pytest.mark.parametrize(("h", "transform"), [(None, "log"), (24, "log"), (24, "identity")])
def test_the_parts_add_up_to_the_fit(airline, h, transform):
    forecaster = GPForecaster(transform=transform).fit(airline[-60:])
    table = forecaster.decompose(h)
    means = table.xs("mean", axis=1, level="bound")
    parts = ["base", "drift", "trend", "level", "season", "memory", "working days"]
    assert list(means.columns) == [*parts, "fit"]
    np.testing.assert_allclose(means.drop(columns="fit").sum(axis=1), means["fit"], rtol=1e-9)
    assert table.attrs["transform"] == transform
    assert len(table) == 60 + (h or 0)
    assert type(table.index) is pd.PeriodIndex
    g = np.log(airline[-60:]) if transform == "log" else airline[-60:]
    assert np.abs(means["fit"][:60] - g).max() < 0.3 * g.std()


def test_the_fit_of_the_parts_is_the_median_of_the_forecast(airline):
    forecaster = GPForecaster(transform="log", average=False).fit(airline[-60:])
    assert forecaster.ensemble_.weights.tolist() == [1.0]
    np.testing.assert_allclose(
        np.exp(forecaster.decompose(12)["fit", "mean"][-12:]), forecaster.predict(12), rtol=1e-5
    )


def test_intervals_cover_what_they_say_on_simulated_series():
    hits, trials = 0, 0
    for seed in range(12):
        y = seasonal(54, seed=seed)
        inside = GPForecaster(4).fit(y[:48]).predict_interval(H, 0.8)
        hits += int(((inside["lower"] <= y[48:]) & (y[48:] <= inside["upper"])).sum())
        trials += H
    assert 0.7 < hits / trials < 0.93  # 72 correlated trials


# the estimator ---------------------------------------------------------------------------------


def test_it_is_an_estimator_of_scikit_learn(fitted):
    forecaster = GPForecaster(season=4, transform="log", random_state=3)
    chosen = {"season": 4, "transform": "log", "random_state": 3}
    assert forecaster.get_params() == GPForecaster().get_params() | chosen
    copy = clone(forecaster)
    assert copy.get_params() == forecaster.get_params()
    assert repr(GPForecaster()) == "GPForecaster()"
    with pytest.raises(NotFittedError, match="This GPForecaster instance is not fitted yet"):
        clone(fitted).predict(2)


@pytest.mark.parametrize("method", ["predict", "predict_quantiles", "predict_interval", "sample", "plot"])
def test_nothing_is_forecast_before_the_fit(method):
    arguments = (2, 0.5) if method == "predict_quantiles" else (2,)
    with pytest.raises(NotFittedError, match="This GPForecaster instance is not fitted yet"):
        getattr(GPForecaster(), method)(*arguments)


def test_a_pickle_forecasts_the_same_bits(mixed):
    copy = pickle.loads(pickle.dumps(mixed))
    pd.testing.assert_frame_equal(
        copy.predict_quantiles(H, LEVELS), mixed.predict_quantiles(H, LEVELS), rtol=0, atol=0
    )


def test_fitting_twice_gives_the_same_bits(mixed):
    y = seasonal(30)
    one, two = (GPForecaster(4).fit(y).predict(H) for _ in range(2))
    np.testing.assert_array_equal(one, two)


def test_fitting_changes_neither_parameters_nor_data():
    y = pd.Series(seasonal(20), index=pd.date_range("2020", periods=20))
    before, forecaster = y.copy(), GPForecaster()
    forecaster.fit(y)
    pd.testing.assert_series_equal(y, before)
    assert forecaster.get_params() == GPForecaster().get_params()


@pytest.mark.parametrize("omitted", [[], ["season"], ["base", "memory"]])
def test_the_priors_stand_in_the_order_of_the_parameters(omitted):
    structure = build_structure(-3.0).without(omitted)
    for part in structure.parts:
        assert list(part.priors) == list(free_parameters(part.kernel))
    theta = structure.theta()
    np.testing.assert_allclose(theta.start, theta.prior_mean)
    np.testing.assert_allclose(structure.switched_off([]), theta.prior_mean)
    assert len(structure.natural(theta.start, 12.0, 2.0)) == theta.size


def test_hyperparameters_in_natural_units_scale_as_they_should():
    structure = build_structure(-3.0)
    start = structure.theta().start
    one, other = structure.natural(start, 1.0, 1.0), structure.natural(start, 12.0, 10.0)
    ratio = {name: other[name] / one[name] for name in one}
    assert ratio["trend lengthscale"] == ratio["season lifetime"] == pytest.approx(12.0)
    assert ratio["season smoothness"] == pytest.approx(1.0)
    assert ratio["noise variance"] == ratio["base variance"] == pytest.approx(100.0)
    assert ratio["level variance"] == pytest.approx(100.0 / 12.0)
    assert ratio["drift variance"] == pytest.approx(100.0 / 144.0)


# pictures --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", INDEXES)
def test_the_picture_shows_series_median_and_bands(name):
    index = INDEXES[name]
    y = pd.Series(seasonal(40), index=index[:40], name="sales")
    y.attrs["units"] = "pieces"
    ax = GPForecaster(4).fit(y).plot(H, ax=Figure().add_subplot())
    assert [text.get_text() for text in ax.get_legend().get_texts()] == [
        "sales",
        "median",
        "50 %",
        "80 %",
        "95 %",
    ]
    assert ax.get_ylabel() == "pieces"
    assert ax.get_xlabel()
    series, median = ax.get_lines()
    assert len(series.get_xdata()) == 40
    assert len(median.get_xdata()) == H
    assert min(median.get_xdata()) > max(series.get_xdata())


@pytest.mark.parametrize("size", [(8.0, 4.5), (3.0, 2.0), (1.8, 1.5)])
def test_the_legend_keeps_within_the_axes_and_hides_nothing(fitted, size):
    ax = fitted.plot(24, ax=Figure(size).add_subplot())
    ax.figure.canvas.draw()
    legend = ax.get_legend()
    box, inside = legend.get_window_extent(), ax.get_window_extent().padded(1e-6)
    assert inside.x0 <= box.x0 and box.x1 <= inside.x1 and box.y1 <= inside.y1
    assert legend.get_frame().get_alpha() < 0.5


def test_the_picture_needs_no_arguments():
    ax = GPForecaster(4).fit(seasonal(20)).plot()
    assert tuple(ax.figure.get_size_inches()) == FIGURE_SIZE
    assert len(ax.get_lines()[1].get_xdata()) == 8
    ax = GPForecaster(1).fit(seasonal(20)).plot()
    assert len(ax.get_lines()[1].get_xdata()) == 5
    matplotlib.pyplot.close("all")


# errors ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("h", [0, -1, 1.5, "6", None, True, [], [0, 1], [[1]], [1.5], [True]])
def test_a_horizon_that_is_none_gets_a_clear_error(mixed, h):
    with pytest.raises(InputError, match=r"fh must be a number of steps \(1 or more\), a list of steps"):
        mixed.predict(h)


def test_times_that_are_not_after_the_series_get_a_clear_error(fitted, airline):
    with pytest.raises(InputError, match="expected times after the end of the series, 1958-07"):
        fitted.predict(airline.index[100:120])
    with pytest.raises(InputError, match=r"expected period\[M\], as in the series, got"):
        fitted.predict(pd.period_range("1961Q1", periods=2, freq="Q"))


@pytest.mark.parametrize(
    ("levels", "message"),
    [
        *(
            (bad, "{name} must lie strictly between 0 and 1, got")
            for bad in (0.0, 1.0, -0.1, [0.5, 1.5], np.nan)
        ),
        ([[0.5]], "{name} must lie strictly between 0 and 1, got"),
        ([], "{name} must be one probability or several, got"),
        ("half", "{name} must be a number or an array of numbers, got 'half'"),
    ],
)
def test_levels_outside_of_0_and_1_get_a_clear_error(mixed, levels, message):
    with pytest.raises(InputError, match=message.format(name="alpha")):
        mixed.predict_quantiles(1, levels)
    with pytest.raises(InputError, match=message.format(name="coverage")):
        mixed.predict_interval(1, levels)


def test_one_observation_has_the_prior_around_it():
    quantiles = GPForecaster(None).fit([5.0]).predict_quantiles(1, list(norm.cdf([-1.0, 0.0, 1.0])))
    assert quantiles.iloc[0, 1] == pytest.approx(5.0)
    assert 0.05 < (quantiles.iloc[0, 2] - 5.0) / 5.0 < 1.5


def test_the_picture_shows_observations_between_missing_ones():
    y = np.where(np.arange(40) % 2 == 0, seasonal(40), np.nan)
    ax = GPForecaster(None).fit(y).plot(H, ax=Figure().add_subplot())
    dots = ax.get_lines()[-1]
    assert dots.get_marker() == "." and len(dots.get_xdata()) == 20


@pytest.mark.parametrize("season", [1, 1.0, np.int64(1)])
def test_a_season_of_one_is_none(season):
    y = pd.Series(seasonal(30), index=pd.period_range("2010-01", periods=30, freq="M"))
    one, none = GPForecaster(season).fit(y), GPForecaster(None).fit(y)
    pd.testing.assert_frame_equal(one.predict_quantiles(H), none.predict_quantiles(H))
    assert {member.seasons for member in one.report_.members} == {()}
