"""The adapter to statsforecast: alone, and among other models in a StatsForecast."""

import importlib
import sys

import numpy as np
import pandas as pd
import pytest
from adversarial_series import seasonal
from scipy.stats import norm
from sklearn.exceptions import NotFittedError

from nonparam.errors import InputError
from nonparam.forecasting import GPForecaster

pytest.importorskip("statsforecast")

from statsforecast import StatsForecast
from statsforecast.models import Naive
from statsforecast.utils import ConformalIntervals

from nonparam.integrations.statsforecast import AutoGP

N, H = 36, 4


@pytest.fixture(scope="module")
def panel() -> pd.DataFrame:
    months = pd.date_range("2020-01-01", periods=N, freq="MS")
    series = [pd.DataFrame({"unique_id": f"s{i}", "ds": months, "y": seasonal(N, 4.0, i)}) for i in range(3)]
    return pd.concat(series, ignore_index=True)


def direct(y: np.ndarray, season: object = 4) -> GPForecaster:
    return GPForecaster(season=season).fit(y)


def test_the_forecast_is_that_of_the_forecaster():
    y = seasonal(N)
    model, plain = AutoGP(season_length=4).fit(y), direct(y)
    found = model.predict(H, level=[95, 80])
    assert list(found) == ["mean", "lo-80", "lo-95", "hi-80", "hi-95"]
    np.testing.assert_array_equal(found["mean"], plain.predict(H))
    for level in (80, 95):
        interval = plain.predict_interval(H, level / 100.0)
        np.testing.assert_allclose(found[f"lo-{level}"], interval["lower"], rtol=1e-9)
        np.testing.assert_allclose(found[f"hi-{level}"], interval["upper"], rtol=1e-9)
    assert list(model.predict(H)) == list(model.predict(H, level=[])) == ["mean"]
    forecast = AutoGP(season_length=4).forecast(y, H, level=[80, 95])
    assert list(forecast) == list(found)
    for name, values in found.items():
        np.testing.assert_array_equal(forecast[name], values)


@pytest.mark.parametrize(("length", "season"), [("auto", "auto"), (1, None), (4, 4), (7.5, 7.5)])
def test_the_season_is_handed_on(length, season):
    y = seasonal(N)
    np.testing.assert_array_equal(AutoGP(length).fit(y).predict(H)["mean"], direct(y, season).predict(H))
    given = GPForecaster(season=12, transform="identity")
    assert AutoGP(length, given).fit(y).forecaster_.season == season
    assert AutoGP(None, given).fit(y).forecaster_.season == given.season == 12
    assert not hasattr(given, "report_")  # the user's object stays as it was


def test_the_fit_in_the_sample_has_bands_of_the_residuals():
    y = np.where(np.arange(N) == 9, np.nan, seasonal(N))
    found = AutoGP(4, GPForecaster(transform="identity")).fit(y).predict_in_sample(level=[90])
    assert list(found) == ["fitted", "fitted-lo-90", "fitted-hi-90"]
    residuals = y - found["fitted"]
    width = norm.ppf(0.95) * np.sqrt(np.nanmean(residuals**2))
    np.testing.assert_allclose(found["fitted-hi-90"] - found["fitted"], width, rtol=1e-9)
    np.testing.assert_allclose(found["fitted"] - found["fitted-lo-90"], width, rtol=1e-9)
    assert np.nanstd(residuals) < 0.5 * np.nanstd(y)
    logged = AutoGP(4, GPForecaster(transform="log")).fit(np.exp(seasonal(N) - 20.0))
    assert (logged.predict_in_sample(level=[99])["fitted-lo-99"] > 0.0).all()


@pytest.mark.parametrize("level", [80, [0], [100], [-5.0], ["high"], [np.nan]])
def test_levels_are_percents(level):
    model = AutoGP(1).fit(seasonal(12))
    for method in (lambda: model.predict(H, level=level), lambda: model.predict_in_sample(level=level)):
        with pytest.raises(InputError, match="level must be"):
            method()


def test_a_forecast_needs_a_fit():
    model, y = AutoGP(4), seasonal(N)
    for method in (
        lambda: model.predict(H),
        lambda: model.predict_in_sample(),
        lambda: model.forward(y, H),
        lambda: model.simulate(H, 2),
    ):
        with pytest.raises(NotFittedError, match="this AutoGP is not fitted yet"):
            method()


def test_a_panel_beside_another_model(panel):
    models = [AutoGP(4), AutoGP(1, alias="flat"), Naive()]
    forecast = StatsForecast(models=models, freq="MS").forecast(df=panel, h=H, level=[80, 95], fitted=True)
    names = [
        f"{name}-{bound}" for name in ("AutoGP", "flat") for bound in ("lo-80", "lo-95", "hi-80", "hi-95")
    ]
    assert {"AutoGP", "flat", "Naive", *names} <= set(forecast.columns)
    for i in range(3):
        expected = direct(seasonal(N, 4.0, i)).predict(H)
        np.testing.assert_allclose(forecast["AutoGP"][H * i : H * (i + 1)], expected, rtol=1e-9)
    columns = forecast[["AutoGP-lo-95", "AutoGP-lo-80", "AutoGP", "AutoGP-hi-80", "AutoGP-hi-95"]]
    assert (np.diff(columns.to_numpy(), axis=1) > 0.0).all()


def test_fitted_values_of_a_panel(panel):
    forecaster = StatsForecast(models=[AutoGP(4)], freq="MS")
    forecaster.forecast(df=panel, h=H, level=[80], fitted=True)
    fitted = forecaster.forecast_fitted_values()
    assert list(fitted.columns) == ["unique_id", "ds", "y", "AutoGP", "AutoGP-lo-80", "AutoGP-hi-80"]
    assert fitted.notna().all(axis=None)
    forecaster.fit(panel)
    predicted = forecaster.predict(h=H, level=[80])
    assert predicted.notna().all(axis=None) and len(predicted) == 3 * H


def test_two_processes_give_the_same(panel):
    one, two = (
        StatsForecast(models=[AutoGP(4)], freq="MS", n_jobs=jobs).forecast(df=panel, h=H, level=[90])
        for jobs in (1, 2)
    )
    pd.testing.assert_frame_equal(one, two)


@pytest.mark.parametrize("refit", [True, False])
def test_cross_validation(panel, refit):
    table = StatsForecast(models=[AutoGP(4)], freq="MS").cross_validation(
        df=panel, h=H, n_windows=2, step_size=H, level=[80], refit=refit
    )
    assert len(table) == 3 * 2 * H and table.notna().all(axis=None)
    first = panel.query("unique_id == 's0'")["y"].to_numpy()[: N - 2 * H]
    np.testing.assert_allclose(table["AutoGP"][:H], direct(first).predict(H), rtol=1e-9)


def test_conformal_intervals_replace_those_of_the_model(panel):
    conformal = ConformalIntervals(h=H, n_windows=2)
    y = panel.query("unique_id == 's0'")["y"].to_numpy()
    model = AutoGP(4, prediction_intervals=conformal)
    stored, at_once = model.fit(y).predict(H, level=[80]), model.forecast(y, H, level=[80])
    own = AutoGP(4).forecast(y, H, level=[80])
    np.testing.assert_array_equal(stored["lo-80"], at_once["lo-80"])
    np.testing.assert_array_equal(stored["mean"], own["mean"])
    assert (stored["lo-80"] != own["lo-80"]).all()


def test_draws_have_the_quantiles_of_the_forecast(panel):
    y = panel.query("unique_id == 's0'")["y"].to_numpy()
    model = AutoGP(4).fit(y)
    paths = model.simulate(H, 4000, seed=0)
    assert paths.shape == (4000, H)
    np.testing.assert_array_equal(paths, AutoGP(4).simulate(H, 4000, y=y, seed=0))
    ranks = (paths < model.predict(H, level=[80])["hi-80"]).mean(axis=0)
    np.testing.assert_allclose(ranks, 0.9, atol=5.0 * np.sqrt(0.09 / 4000))
    with pytest.raises(InputError, match="expected error_distribution='normal' and error_params=None"):
        model.simulate(H, 10, error_distribution="t")


def test_copies_and_names():
    model = AutoGP(12, alias="mine")
    copy = model.new().fit(seasonal(N))
    assert repr(model) == repr(copy) == "mine"
    assert not hasattr(model, "forecaster_")


def test_forward_keeps_the_hyperparameters():
    y = seasonal(N + H)
    model, plain = AutoGP(4).fit(y[:N]), direct(y[:N])
    before = model.predict(H)["mean"]
    forward = model.forward(y, H, level=[80], fitted=True)
    assert list(forward) == ["mean", "lo-80", "hi-80", "fitted", "fitted-lo-80", "fitted-hi-80"]
    assert len(forward["fitted"]) == N + H
    np.testing.assert_array_equal(forward["mean"], plain.update(y[N:]).predict(H))
    np.testing.assert_array_equal(model.forward(y[:N], H)["mean"], before)
    np.testing.assert_array_equal(model.predict(H)["mean"], before)  # the model stays as it was
    np.testing.assert_array_equal(model.forward(y[5:], H)["mean"], direct(y[5:]).predict(H))  # a window


# regressors ------------------------------------------------------------------------------------


def promoted(n: int = N + H, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.RandomState(seed)
    X = np.column_stack([rng.standard_normal(n), rng.rand(n) < 0.5]).astype(float)
    return 20.0 + X @ [4.0, 3.0] + 0.1 * rng.standard_normal(n), X


@pytest.fixture(scope="module")
def promotions() -> pd.DataFrame:
    months = pd.date_range("2020-01-01", periods=N + H, freq="MS")
    tables = []
    for i in range(2):
        y, X = promoted(seed=i)
        columns = {"unique_id": f"s{i}", "ds": months, "y": y, "price": X[:, 0], "sale": X[:, 1]}
        tables.append(pd.DataFrame(columns))
    return pd.concat(tables, ignore_index=True)


def test_regressors_are_handed_on():
    y, X = promoted()
    model, plain = AutoGP(1).fit(y[:N], X[:N]), GPForecaster(None).fit(y[:N], X[:N])
    found = model.predict(H, X[N:], level=[90])
    np.testing.assert_array_equal(found["mean"], plain.predict(H, X[N:]))
    np.testing.assert_array_equal(found["lo-90"], plain.predict_interval(H, 0.9, X[N:])["lower"])
    np.testing.assert_allclose(found["mean"], y[N:], atol=0.5)
    at_once = AutoGP(1).forecast(y[:N], H, X[:N], X[N:], level=[90], fitted=True)
    np.testing.assert_array_equal(at_once["hi-90"], found["hi-90"])
    np.testing.assert_allclose(at_once["fitted"], y[:N], atol=0.5)
    paths = model.simulate(H, 50, X_future=X[N:], seed=0)
    np.testing.assert_array_equal(paths, AutoGP(1).simulate(H, 50, y[:N], X[:N], X[N:], seed=0))
    with pytest.raises(InputError, match=r"fitted with X \(0, 1\), so the forecast needs X"):
        model.predict(H)
    with pytest.raises(InputError, match="X has 2 rows for 4 times"):
        model.predict(H, X[-2:])
    with pytest.raises(InputError, match="the forecaster was fitted without X"):
        AutoGP(1).fit(y).predict(H, X[N:])


def test_forward_takes_regressors():
    y, X = promoted()
    model = AutoGP(1).fit(y[: N - H], X[: N - H])
    forward = model.forward(y[:N], H, X[:N], X[N:], level=[80])
    plain = GPForecaster(None).fit(y[: N - H], X[: N - H]).update(y[N - H : N], X[N - H : N])
    np.testing.assert_array_equal(forward["mean"], plain.predict(H, X[N:]))
    with pytest.raises(InputError, match="the forecast needs X at"):
        model.forward(y[:N], H)


def test_regressors_of_a_panel(promotions):
    past = promotions.groupby("unique_id").head(N)
    ahead = promotions.groupby("unique_id").tail(H).drop(columns="y")
    forecaster = StatsForecast(models=[AutoGP(1)], freq="MS")
    forecast = forecaster.forecast(df=past, h=H, X_df=ahead, level=[80], fitted=True)
    for i in range(2):
        y, X = promoted(seed=i)
        expected = GPForecaster(None).fit(y[:N], X[:N]).predict(H, X[N:])
        np.testing.assert_allclose(forecast["AutoGP"][H * i : H * (i + 1)], expected, rtol=1e-9)
    np.testing.assert_allclose(forecaster.forecast_fitted_values()["AutoGP"], past["y"], atol=0.5)
    stored = forecaster.fit(past).predict(h=H, X_df=ahead, level=[80])
    pd.testing.assert_frame_equal(stored, forecast)


@pytest.mark.parametrize("refit", [True, False])
def test_cross_validation_with_regressors(promotions, refit):
    table = StatsForecast(models=[AutoGP(1), Naive()], freq="MS").cross_validation(
        df=promotions, h=H, n_windows=2, step_size=H, level=[80], refit=refit
    )
    assert len(table) == 2 * 2 * H and table.notna().all(axis=None)
    assert np.abs(table["AutoGP"] - table["y"]).max() < 0.5 < np.abs(table["Naive"] - table["y"]).max()


def test_conformal_intervals_with_regressors():
    y, X = promoted()
    conformal = ConformalIntervals(h=H, n_windows=2)
    found = AutoGP(1, prediction_intervals=conformal).fit(y[:N], X[:N]).predict(H, X[N:], level=[80])
    assert (found["hi-80"] - found["lo-80"] < 2.0).all()
    assert (found["lo-80"] < found["mean"]).all() and (found["mean"] < found["hi-80"]).all()


def test_without_statsforecast_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "statsforecast.models", None)
    monkeypatch.delitem(sys.modules, "nonparam.integrations.statsforecast")
    with pytest.raises(ImportError, match=r"python -m pip install 'nonparam\[statsforecast\]'"):
        importlib.import_module("nonparam.integrations.statsforecast")
