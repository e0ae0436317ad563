"""Observations far from what all others say of them."""

import numpy as np
import pandas as pd
import pytest

from nonparam.forecasting import GPForecaster, fitting
from nonparam.forecasting.covariances import Covariances
from nonparam.forecasting.dense import Dense
from nonparam.forecasting.engine import engine_for
from nonparam.forecasting.fitting import Problem, fit_problems
from nonparam.forecasting.outliers import LIMIT, left_out, tamed
from nonparam.forecasting.structure import build_structure
from nonparam.forecasting.transforms import IDENTITY, standardise

N = 48
X = ((np.arange(N) - N + 1.0) / 12.0)[:, None]
STRUCTURE = build_structure(X[0, 0])
START = STRUCTURE.theta().start
WAVE = np.sin(2.0 * np.pi * X[:, 0]) + 0.3 * X[:, 0]
NOISE = np.random.RandomState(0).uniform(-0.3, 0.3, N)


def near(y, points=None):
    return tamed(STRUCTURE, X, y[:, None], {0: START} if points is None else points)[:, 0]


def dense(structure, x, point):
    covariances = Covariances(structure, x)
    (matrix,) = covariances.matrices(point[None], covariances.functions(point[None]))
    return matrix.copy()


def moments(structure, x, y, theta):
    engine = engine_for(structure, x, y[:, None])
    mean, sd = left_out(engine, theta[None], y[:, None])
    return mean[0], sd[0]


def covariance(rows):
    matrix = dense(STRUCTURE, X[rows], START)
    return matrix + np.exp(START[-1]) * np.eye(len(rows))


@pytest.mark.parametrize("i", [0, 7, N - 1])
def test_each_is_told_by_all_others(i):
    """The conditional normal distribution, written out."""
    y = WAVE + NOISE
    mean, sd = moments(STRUCTURE, X, y, START)
    a = covariance(np.arange(N))
    others = np.delete(np.arange(N), i)
    gain = np.linalg.solve(a[np.ix_(others, others)], a[others, i])
    assert mean[i] == pytest.approx(gain @ y[others], rel=1e-7)
    assert sd[i] == pytest.approx(np.sqrt(a[i, i] - gain @ a[others, i]), rel=1e-7)


def test_long_series_are_told_the_same():
    """Above 400 rows the moments come from a chain; they are those of the inverse of the covariance."""
    n = 450
    x = ((np.arange(n) - n + 1.0) / 12.0)[:, None]
    structure = build_structure(x[0, 0])
    theta = structure.theta().start
    y = np.sin(2.0 * np.pi * x[:, 0]) + np.random.RandomState(1).standard_normal(n)
    a = dense(structure, x, theta) + np.exp(theta[-1]) * np.eye(n)
    inverse = np.linalg.inv(a)
    mean, sd = moments(structure, x, y, theta)
    np.testing.assert_allclose(mean, y - inverse @ y / np.diag(inverse), atol=2e-3)
    np.testing.assert_allclose(sd, np.diag(inverse) ** -0.5, rtol=2e-3)


@pytest.mark.parametrize("i", [0, 20, N - 2, N - 1])
@pytest.mark.parametrize("size", [-8.0, 8.0, 1e6])
def test_a_spike_is_brought_to_the_limit_and_nothing_else_is(i, size):
    y = WAVE + NOISE
    y[i] += size
    mean, sd = moments(STRUCTURE, X, y, START)
    changed = np.flatnonzero(near(y) != y)
    assert changed.tolist() == [i]
    assert near(y)[i] == pytest.approx(mean[i] + np.sign(size) * LIMIT * sd[i])


def test_what_is_usual_stays_to_the_last_bit():
    np.testing.assert_array_equal(near(WAVE + NOISE), WAVE + NOISE)


@pytest.mark.parametrize("size", [-6.0, 3.0, 6.0])
@pytest.mark.parametrize("at", [5, 24, 40])
def test_a_step_of_the_level_stays(at, size):
    y = WAVE + NOISE + size * (np.arange(N) >= at)
    np.testing.assert_array_equal(near(y), y)


@pytest.mark.parametrize("size", [-30.0, 500.0])
def test_a_large_step_stays_where_the_level_is_fitted(size):
    y = 10.0 * WAVE + 3.0 * NOISE + size * (np.arange(N) >= 24)
    ensemble = GPForecaster(12, transform="identity").fit(y).ensemble_
    np.testing.assert_array_equal(ensemble.z[22:26, 0], ensemble.transforms[0].forward(y)[22:26])


def test_where_spikes_are_usual_they_stay():
    y = WAVE + NOISE
    y[::6] += 8.0
    assert (near(y) != y).sum() <= 0.05 * N + 1


@pytest.mark.parametrize("sold", [[40], [10, 33, 51]])
def test_rare_sales_are_no_outliers(sold):
    y = np.zeros(72)
    y[sold] = 7.0
    upper = GPForecaster(12).fit(y).predict_quantiles(3, [0.995]).to_numpy()
    assert (upper > 1.0).all()


@pytest.mark.parametrize("size", [60.0, 1e6])
def test_summary_tells_of_an_outlier(size):
    y = 10.0 * WAVE + 3.0 * NOISE
    assert "away from the rest" not in GPForecaster(12).fit(y).summary()
    y[20] += size
    (caution,) = [line for line in GPForecaster(12).fit(y).summary().splitlines() if "Caution" in line]
    assert "observation at 20 is" in caution
    assert caution.endswith(
        "away from the rest; it is taken for an outlier, which the forecast hardly follows."
    )


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ([20, 30], "the observations at 30 and 20 are up to"),
        ([20, 30, 191], "the observations at 191 (the last), 30 and 20 are up to"),
        ([10, 20, 30, 40], "the observations at 40, 30, 20 and 1 more are up to"),
    ],
)
def test_summary_names_three_outliers_and_counts_the_others(rows, told):
    n = 192  # of which one in twenty may be an outlier
    y = 10.0 * np.sin(2.0 * np.pi * np.arange(n) / 12.0) + np.random.default_rng(2).standard_normal(n)
    y[rows] += 40.0 + np.array(rows) / 2.0
    (caution,) = [line for line in GPForecaster(12).fit(y).summary().splitlines() if "Caution" in line]
    assert told in caution
    assert "they are taken for outliers, which the forecast hardly follows." in caution
    assert "98 % of its variance" in GPForecaster(12).fit(y).summary()  # as without them


def test_summary_tells_that_what_stays_widens_the_intervals():
    y = np.zeros(72)
    y[40] = 7.0
    assert "away from the rest; intervals are wider for it." in GPForecaster(12).fit(y).summary()


def test_other_columns_and_short_series_stay():
    y = np.column_stack([WAVE, WAVE])
    y[20] = 50.0
    found = tamed(STRUCTURE, X, y, {1: START})
    assert found[20, 0] == 50.0 and found[20, 1] < 50.0
    assert y[20, 1] == 50.0  # what was given is left alone
    np.testing.assert_array_equal(tamed(STRUCTURE, X[:9], y[:9] * 100.0, {0: START}), y[:9] * 100.0)
    np.testing.assert_array_equal(tamed(STRUCTURE, X, y, {}), y)


def test_without_noise_nothing_is_said():
    point = START.copy()
    point[-1] = -60.0
    y = WAVE.copy()
    y[20] += 5.0
    np.testing.assert_array_equal(near(y, {0: point}), y)


def test_the_evidence_is_that_of_the_series_as_it_is():
    y = 10.0 * WAVE + 3.0 * NOISE
    y[20] += 5.0
    (fit,) = fit_problems([problem(y)])
    best = fit.candidates[0]
    theta, output = best.fitted.search.theta[None], np.array([0])
    z = best.transform.forward(y)[:, None]
    value, _ = Dense(fit.setting.structure, fit.setting.x, z)(theta, output)
    structure = fit.setting.structure
    penalised = value + structure.theta().log_prior(theta)[0]
    assert -best.fitted.search.value == pytest.approx(penalised[0], abs=1e-6)
    assert fit.ensemble.z[20, 0] < z[20, 0]


def problem(y):
    observed = pd.Series(y, index=pd.period_range("2010-01", periods=len(y), freq="M"))
    forecaster = GPForecaster(12, transform="identity").fit(observed)
    return Problem(y, (standardise(IDENTITY, y),), (forecaster._fit.setting,))


@pytest.mark.parametrize("place", [0, 30, 58, 59])
def test_a_slip_of_the_pen_does_not_ruin_a_forecast(place):
    t = np.arange(72.0)
    y = 50.0 + 0.2 * t + 5.0 * np.sin(2.0 * np.pi * t / 12.0) + np.random.RandomState(3).standard_normal(72)
    slipped = y[:60].copy()
    slipped[place] *= 10.0
    clean = GPForecaster(12, transform="identity").fit(y[:60]).predict_interval(12, 0.9)
    found = GPForecaster(12, transform="identity").fit(slipped).predict_interval(12, 0.9)
    middle, width = clean.mean(1).to_numpy(), (clean["upper"] - clean["lower"]).to_numpy()
    assert (np.abs(found.mean(1).to_numpy() - middle) < width).all()
    assert ((found["upper"] - found["lower"]).to_numpy() < 6.0 * width).all()


@pytest.mark.parametrize(("place", "slip"), [(59, 1e9), (59, -1e12), (30, 1e15)])
def test_however_large_a_slip_of_the_pen_is_the_forecast_stays(place, slip):
    y = np.abs(np.random.RandomState(1).normal(2.0, 1.0, 60)) + 0.01
    y[place] = slip
    found = GPForecaster(1).fit(y).predict_quantiles(6, [0.025, 0.975]).to_numpy()
    assert (found > -2.0).all() and (found < 8.0).all()


def test_saved_updated_and_fitted_at_once_agree(tmp_path):
    y = 10.0 * WAVE + 3.0 * NOISE
    y[20] += 60.0
    forecaster = GPForecaster(12).fit(y)
    forecaster.save(tmp_path / "f.nonparam")
    loaded = GPForecaster.load(tmp_path / "f.nonparam")
    np.testing.assert_array_equal(loaded.ensemble_.z, forecaster.ensemble_.z)
    before = forecaster.predict_quantiles(3)
    after = forecaster.update([np.nan]).predict_quantiles(2)
    np.testing.assert_allclose(after, before[1:], rtol=1e-6)


def test_a_peak_of_each_year_stays():
    index = pd.date_range("2019-01-06", periods=160, freq="W")
    y = 50.0 + np.random.RandomState(0).normal(0.0, 2.0, 160)
    y[index.isocalendar().week.to_numpy() == 51] *= 6.0
    ahead = GPForecaster().fit(pd.Series(y, index=index)).predict_quantiles(52, [0.5, 0.995])
    assert ahead[0.5].max() > 100.0 and ahead[0.995].max() > 200.0


@pytest.mark.parametrize("sizes", [(400.0, -200.0), (-100.0, 100.0), (30.0, -30.0)])
def test_what_is_booked_wrongly_and_corrected_is_no_step(sizes):
    t = np.arange(84)
    y = (
        100.0
        + 0.5 * t
        + 10.0 * np.sin(2.0 * np.pi * t / 12.0)
        + np.random.RandomState(0).normal(0.0, 2.0, 84)
    )
    booked = y[:72].copy()
    booked[[35, 36]] += sizes
    clean, found = (GPForecaster(12).fit(one).predict_interval(12, 0.95) for one in (y[:72], booked))
    assert ((found["upper"] - found["lower"]) < 2.0 * (clean["upper"] - clean["lower"])).all()
    assert (np.abs(found.mean(axis=1) - clean.mean(axis=1)) < 6.0).all()


def test_no_fit_begins_after_the_limit_of_time(monkeypatch):
    y = 10.0 * WAVE + 3.0 * NOISE
    y[20] += 1e6
    spoiled, begun = problem(y), []
    fit_all = fitting._fit_all
    monkeypatch.setattr(fitting, "_fit_all", lambda *given: begun.append(given) or fit_all(*given))
    (fit,) = fit_problems([spoiled], deadline=0.0)
    assert len(begun) == 1 and np.isfinite(fit.ensemble.points).all()
    fit_problems([spoiled])
    assert len(begun) > 2
