"""Forecasters in files: what comes back forecasts the same bits, whatever the index and the parameters."""

import json
import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from nonparam import GPRegressor
from nonparam.errors import FileFormatError, InputError
from nonparam.forecasting import GPForecaster
from nonparam.persistence import read_file, write_file

N, H = 30, 4
VALUES = 20.0 + 3.0 * np.sin(np.arange(N) * np.pi / 2) + np.random.RandomState(0).standard_normal(N)
INDEXES = {
    "months": pd.period_range("2020-01", periods=N, freq="M", name="month"),
    "days of Berlin": pd.date_range("2021-03-20", periods=N, tz="Europe/Berlin"),
    "month ends with gaps": pd.date_range("2020-01-31", periods=N + 9, freq="ME")[np.r_[0:10, 19 : N + 9]],
    "weekdays of one's own": pd.bdate_range("2020-01-01", periods=N, freq="C", weekmask="Mon Wed"),
    "numbers": pd.Index(1950.0 + np.arange(N) / 4),
    "rows": pd.RangeIndex(3, 3 + 2 * N, 2),
    "durations": pd.timedelta_range("1h", periods=N, freq="h"),
}


def kept(forecaster, path):
    forecaster.save(path)
    return GPForecaster.load(path)


@pytest.mark.parametrize("name", INDEXES)
def test_the_forecast_is_the_same_to_the_last_bit(name, tmp_path):
    y = pd.Series(VALUES.copy(), index=INDEXES[name], name="sales")
    y.attrs["units"] = "pieces"
    y.iloc[7] = np.nan
    forecaster = GPForecaster(4, random_state=0).fit(y)
    again = kept(forecaster, tmp_path / "model.safetensors")
    for method in ("predict_quantiles", "predict_interval", "sample", "decompose"):
        expected, found = (getattr(model, method)(H) for model in (forecaster, again))
        pd.testing.assert_frame_equal(found, expected, rtol=0.0, atol=0.0)
    pd.testing.assert_series_equal(again.predict(H), forecaster.predict(H), rtol=0.0, atol=0.0)
    later = pd.Series(VALUES[:H], index=forecaster.predict(H).index)
    assert again.log_predictive_density(later) == forecaster.log_predictive_density(later)
    assert again.summary() == forecaster.summary()
    assert again.report_ == forecaster.report_
    assert again.plot(H).get_ylabel() == "pieces"


def test_parameters_come_back_and_so_do_further_saves(tmp_path):
    options = {
        "season": [4, 8.5],
        "transform": "log",
        "components": ["base", "season", "level"],
        "average": False,
        "priors": {"level variance": (0.1, 1.0)},
        "support": "positive",
        "time_limit": 100.0,
        "random_state": 3,
    }
    forecaster = GPForecaster(**options).fit(VALUES)
    again = kept(forecaster, tmp_path / "one")
    assert again.get_params() == forecaster.get_params()
    once_more = kept(again, tmp_path / "two")
    (one, arrays), (two, same) = (read_file(tmp_path / name, "GPForecaster") for name in ("one", "two"))
    assert one == two and all(torch.equal(array, same[name]) for name, array in arrays.items())
    pd.testing.assert_series_equal(once_more.predict(H), forecaster.predict(H), rtol=0.0, atol=0.0)
    refitted = clone(again).fit(VALUES)
    pd.testing.assert_series_equal(refitted.predict(H), forecaster.predict(H), rtol=0.0, atol=0.0)


DAYS = pd.date_range("2021-12-01", periods=N + H)
X = pd.DataFrame({"price": np.cos(np.arange(N + H)) + 5.0, 7: np.arange(N + H) % 5 == 0}, index=DAYS)
HOLIDAYS = {
    "mapping": {"christmas": ["2021-12-25", pd.Timestamp("2022-12-25")], "new year": "2022-01-01"},
    "table": pd.DataFrame(
        {"holiday": ["a", "b"], "ds": ["2021-12-25", "2022-01-01"], "upper_window": [1, 2]}
    ),
    "table of dates": pd.DataFrame({"holiday": ["a"], "ds": pd.to_datetime(["2021-12-25"])}),
    "country": "DE",
}


@pytest.mark.parametrize("name", HOLIDAYS)
@pytest.mark.parametrize("by_row", [False, True])
def test_regressors_and_holidays_come_back(name, by_row, tmp_path):
    if name == "country":
        pytest.importorskip("holidays")
    y = pd.Series(VALUES, index=DAYS[:N])
    table = X.to_numpy(dtype=float) if by_row else X
    seen, later = (table[:N], table[N:]) if by_row else (table, table)
    forecaster = GPForecaster(None, holidays=HOLIDAYS[name]).fit(y, seen)
    again = kept(forecaster, tmp_path / "model")
    pd.testing.assert_frame_equal(
        again.predict_quantiles(H, X=later), forecaster.predict_quantiles(H, X=later), rtol=0.0, atol=0.0
    )
    assert again.summary() == forecaster.summary()
    refitted = clone(again).fit(y, seen)
    np.testing.assert_array_equal(refitted.predict(H, later), forecaster.predict(H, later))
    with pytest.raises(InputError, match="the forecast needs X at 2021-12-31"):
        again.predict(H)


def test_pickles_and_clones_know_regressors_too():
    y = pd.Series(VALUES, index=DAYS[:N])
    forecaster = GPForecaster(None, holidays=HOLIDAYS["mapping"]).fit(y, X)
    copy = pickle.loads(pickle.dumps(forecaster))
    np.testing.assert_array_equal(copy.predict(H, X), forecaster.predict(H, X))
    assert clone(forecaster).get_params()["holidays"] == HOLIDAYS["mapping"]


def test_what_no_file_holds_gets_a_clear_error(tmp_path):
    forecaster = GPForecaster(None).fit(VALUES).set_params(random_state=np.random.default_rng(0))
    with pytest.raises(InputError, match=r"cannot save params\.random_state="):
        forecaster.save(tmp_path / "model")
    assert not list(tmp_path.iterdir())


def test_names_that_no_file_holds_get_a_clear_error(tmp_path):
    odd = pd.Series(VALUES, name=object())
    with pytest.raises(InputError, match=r"cannot save series\.name=<object"):
        GPForecaster(None).fit(odd).save(tmp_path / "model")


def test_files_of_others_and_no_files_get_a_clear_error(tmp_path):
    with pytest.raises(NotFittedError):
        GPForecaster().save(tmp_path / "model")
    with pytest.raises(InputError, match="there is no such file"):
        GPForecaster.load(tmp_path / "nothing")
    x = np.arange(4.0)[:, None]
    GPRegressor("rbf(1.0)", noise=0.1).fit(x, x[:, 0]).save(tmp_path / "regressor")
    with pytest.raises(InputError, match=r"holds a GPRegressor, not a GPForecaster: use GPRegressor.load"):
        GPForecaster.load(tmp_path / "regressor")


def test_a_file_that_was_changed_is_refused(tmp_path):
    path = tmp_path / "model"
    GPForecaster(None).fit(VALUES).save(path)
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)
    with pytest.raises(FileFormatError, match="was changed after it was saved"):
        GPForecaster.load(path)


def changed(path, change):
    document, tensors = read_file(path, "GPForecaster")
    change(document, tensors)
    write_file(path, "GPForecaster", document, tensors)


CHANGES = {
    "no fit": (lambda d, t: d.pop("fit"), "lacks a part of the model"),
    "no points": (lambda d, t: d["fit"]["dict"].pop("points"), "lacks a part of the model"),
    "no report": (
        lambda d, t: d["fit"]["dict"]["report"]["dict"].pop("seconds"),
        "lacks a part of the model",
    ),
    "another parameter": (lambda d, t: d["params"]["dict"].update(speed=3), "lacks a part of the model"),
    "a NaN": (lambda d, t: t["fit.points"].fill_(torch.nan), "that no fit leaves behind"),
    "weights": (lambda d, t: t["fit.weights"].mul_(2.0), "that no fit leaves behind"),
    "a transform": (lambda d, t: t["fit.outputs"].add_(7), "that no fit leaves behind"),
    "another link": (
        lambda d, t: d["fit"]["dict"]["transforms"][0].__setitem__(0, "cube"),
        "lacks a part of the model, or has one of a wrong kind",
    ),
    "another size": (
        lambda d, t: t.update({"fit.points": t["fit.points"][:, 1:]}),
        "that no fit leaves behind",
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_file_with_a_right_digest_and_wrong_content_is_refused(name, tmp_path):
    path, (change, message) = tmp_path / "model", CHANGES[name]
    GPForecaster(None).fit(VALUES).save(path)
    changed(path, change)
    with pytest.raises(FileFormatError, match=message):
        GPForecaster.load(path)


def test_the_document_is_plain_json(tmp_path):
    path = tmp_path / "model"
    GPForecaster(None).fit(VALUES).save(path)
    document, _ = read_file(path, "GPForecaster")
    assert set(document) == {"params", "series", "regressors", "holidays", "fit"}
    assert json.loads(json.dumps(document, allow_nan=False)) == document
