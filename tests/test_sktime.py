"""The adapter to sktime: its own checks, and the forecasts that it hands on."""

import importlib
import sys

import numpy as np
import pandas as pd
import pytest
from adversarial_series import seasonal

from nonparam.datasets import load_airline
from nonparam.errors import InputError
from nonparam.forecasting import GPForecaster

pytest.importorskip("sktime")

from sktime.forecasting.base import ForecastingHorizon
from sktime.forecasting.model_selection import ForecastingGridSearchCV
from sktime.split import ExpandingWindowSplitter
from sktime.utils.estimator_checks import check_estimator

from nonparam.integrations.sktime import NonparamForecaster

MONTHS = pd.period_range("2018-01", periods=60, freq="M")


def sales(n: int = 36) -> pd.Series:
    return pd.Series(seasonal(n, 12.0), index=MONTHS[:n], name="sales")


def simple() -> GPForecaster:
    return GPForecaster(season=None, transform="identity")


@pytest.mark.filterwarnings("default")  # sktime's checks warn of sktime
def test_the_checks_of_sktime_pass():
    quick = NonparamForecaster(**NonparamForecaster.get_test_params()[0])
    results = check_estimator(quick, verbose=False)
    assert {name: result for name, result in results.items() if result != "PASSED"} == {}
    assert len(results) > 300


def test_forecasts_are_those_of_the_forecaster():
    y, plain = sales(), GPForecaster(season=12).fit(sales())
    model = NonparamForecaster(GPForecaster(season=12)).fit(y)
    pd.testing.assert_series_equal(model.predict(fh=[1, 5]), plain.predict([1, 5]))
    got = model.predict_quantiles(fh=[1, 5], alpha=[0.1, 0.9])
    np.testing.assert_array_equal(got, plain.predict_quantiles([1, 5], [0.1, 0.9]))
    assert list(got.columns) == [("sales", 0.1), ("sales", 0.9)]
    interval = model.predict_interval(fh=[1, 5], coverage=[0.8])
    np.testing.assert_allclose(interval, got, rtol=1e-12)


def test_absolute_horizons_and_missing_values():
    y = sales()
    y.iloc[[4, 5, -1]] = np.nan
    model = NonparamForecaster().fit(y)
    fh = ForecastingHorizon(MONTHS[[36, 40]], is_relative=False)
    forecast = model.predict(fh)
    assert list(forecast.index) == list(MONTHS[[36, 40]]) and np.isfinite(forecast).all()
    pd.testing.assert_series_equal(forecast, model.predict([1, 5]))


def test_times_within_the_series_get_the_smoothed_fit():
    y = load_airline()[:60]
    model = NonparamForecaster(GPForecaster(season=12, transform="log")).fit(y)
    fit = model.predict(fh=[-59, -30, 0, 1])
    assert list(fit.index) == [*y.index[[0, 29, 59]], y.index[59] + 1]
    np.testing.assert_allclose(fit.iloc[:3], y.iloc[[0, 29, 59]], rtol=0.05)
    with pytest.raises(InputError, match="expected times of the series or after it, got PeriodIndex"):
        model.predict(fh=[-60, 1])
    with pytest.raises(NotImplementedError, match="in-sample"):
        model.predict_interval(fh=[0, 1])


def test_an_update_fits_all_that_was_seen():
    y, model = sales(), NonparamForecaster(simple())
    model.fit(y[:30]).update(y[28:])
    pd.testing.assert_series_equal(model.predict([1, 2]), NonparamForecaster(simple()).fit(y).predict([1, 2]))
    assert model.cutoff[0] == y.index[-1]


def test_an_update_without_parameters_is_that_of_the_forecaster():
    y, model = sales(), NonparamForecaster(simple()).fit(sales()[:30])
    model.update(y[28:34], update_params=False)  # two months are known already
    expected = simple().fit(y[:30]).update(y[30:34])
    pd.testing.assert_series_equal(model.predict([1, 2]), expected.predict(2))
    model.update(y[30:34], update_params=False)  # nothing new
    pd.testing.assert_series_equal(model.predict([1, 2]), expected.predict(2))
    model.update(y[34:])  # and now everything
    pd.testing.assert_series_equal(model.predict([1, 2]), NonparamForecaster(simple()).fit(y).predict([1, 2]))


# regressors ------------------------------------------------------------------------------------


def promoted(n: int = 48) -> tuple[pd.Series, pd.DataFrame]:
    rng = np.random.RandomState(3)
    X = pd.DataFrame({"price": rng.standard_normal(n), "promotion": rng.rand(n) < 0.3}, index=MONTHS[:n])
    y = 20.0 + 4.0 * X["price"] + 3.0 * X["promotion"] + 0.1 * rng.standard_normal(n)
    return y.rename("sales"), X


def test_regressors_are_handed_on():
    y, X = promoted()
    model, plain = NonparamForecaster(simple()).fit(y[:40], X=X[:40]), simple().fit(y[:40], X[:40])
    ahead, fh = X[40:], [1, 2, 8]
    forecast = model.predict(fh, X=ahead)
    pd.testing.assert_series_equal(forecast, plain.predict(fh, ahead))
    np.testing.assert_allclose(forecast, y.iloc[[40, 41, 47]], atol=0.5)
    quantiles = model.predict_quantiles(fh, X=ahead, alpha=[0.05, 0.95])
    np.testing.assert_array_equal(quantiles, plain.predict_quantiles(fh, [0.05, 0.95], ahead))
    np.testing.assert_allclose(model.predict_interval(fh, X=ahead, coverage=0.9), quantiles, rtol=1e-12)
    np.testing.assert_array_equal(model.predict_var(fh, X=ahead), plain.predict_var(fh, X=ahead))
    pd.testing.assert_series_equal(model.predict([-3, 0, 1], X=ahead)[2:], forecast[:1])  # with the sample


def test_forecasts_without_the_regressors_of_the_fit_say_what_is_missing():
    y, X = promoted()
    model = NonparamForecaster(simple()).fit(y[:40], X=X[:40])
    with pytest.raises(InputError, match=r"fitted with X \('price', 'promotion'\), so .* needs X at 2021-05"):
        model.predict([1])
    with pytest.raises(InputError, match="X lacks the column 'promotion' of the fit"):
        model.predict([1], X=X[["price"]][40:])
    with pytest.raises(InputError, match="X lacks a number at 2021-06"):
        model.predict([1, 2], X=X[40:41])


@pytest.mark.parametrize("update_params", [True, False])
def test_updates_take_regressors(update_params):
    y, X = promoted()
    model = NonparamForecaster(simple()).fit(y[:40], X=X[:40])
    model.update(y[40:44], X=X[40:44], update_params=update_params)
    plain = simple().fit(y[:40], X[:40]).update(y[40:44], X[40:44], refit=update_params)
    pd.testing.assert_series_equal(model.predict([1, 4], X=X[44:]), plain.predict([1, 4], X[44:]))


def test_variances_and_covariances_are_those_of_the_average():
    y = sales()
    model, plain = NonparamForecaster(simple()).fit(y), simple().fit(y)
    np.testing.assert_array_equal(model.predict_var([1, 3]), plain.predict_var([1, 3]))
    assert list(model.predict_var([1, 3]).columns) == ["sales"]
    covariance = model.predict_var([1, 3], cov=True)
    np.testing.assert_array_equal(covariance, plain.predict_var([1, 3], cov=True))
    assert list(covariance.columns) == [("sales", MONTHS[36]), ("sales", MONTHS[38])]


def test_all_parameters_of_the_forecaster_are_reached():
    given = {"holidays": {"launch": "2019-05-01"}, "components": ["base", "level"], "support": "real"}
    priors = {"level variance": (0.5, 1.0)}
    model = NonparamForecaster(simple()).set_params(
        forecaster__priors=priors, **{f"forecaster__{name}": value for name, value in given.items()}
    )
    plain = simple().set_params(priors=priors, **given)
    np.testing.assert_array_equal(model.fit(sales()).predict([1, 2]), plain.fit(sales()).predict(2))
    assert "launch" in model.forecaster_.summary()


def test_a_table_is_fitted_column_by_column():
    y = pd.DataFrame({"a": seasonal(24), "b": -seasonal(24, seed=1)}, index=MONTHS[:24])
    table = NonparamForecaster(simple()).fit(y).predict([1, 2])
    for name in y:
        expected = simple().fit(y[name]).predict(2)
        np.testing.assert_allclose(table[name], expected, rtol=1e-12)


@pytest.mark.filterwarnings("ignore:The default of config ``remember_data``:FutureWarning")  # of the search
def test_searches_reach_the_parameters():
    search = ForecastingGridSearchCV(
        NonparamForecaster(simple()),
        ExpandingWindowSplitter(fh=[1, 2, 3], initial_window=34, step_length=3),
        {"forecaster__season": [None, 12]},
        error_score="raise",
        backend="None",
    )
    assert search.fit(sales(40)).best_params_ == {"forecaster__season": 12}
    given = simple()
    NonparamForecaster(given).fit(sales())
    assert not hasattr(given, "report_")  # the user's object stays as it was


def test_without_sktime_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "sktime.forecasting.base", None)
    monkeypatch.delitem(sys.modules, "nonparam.integrations.sktime")
    with pytest.raises(ImportError, match=r"needs sktime: python -m pip install 'nonparam\[sktime\]'"):
        importlib.import_module("nonparam.integrations.sktime")
