"""Batches of covariances give what one matrix after the other gives."""

import numpy as np
import pandas as pd
import pytest
import torch

from nonparam import GPForecaster
from nonparam.errors import InputError
from nonparam.forecasting import batched, engine
from nonparam.forecasting.batched import Batched
from nonparam.forecasting.chains import Chains
from nonparam.forecasting.dense import Dense
from nonparam.forecasting.engine import engine_for
from nonparam.forecasting.structure import build_structure

CPU = torch.device("cpu")
N = 30
REGULAR = np.arange(1.0 - N, 1.0) / 12.0
GAPS = np.delete(np.arange(-1.0 - N, 1.0), [3, 17]) / 16.0
CASES = {
    "regular": (REGULAR, {}),
    "gaps": (GAPS, {}),
    "slope": (REGULAR, {"has_slope": True}),
    "regressors": (REGULAR, {"regressors": {"price": [1, 2], "working days": [3]}}),
    "fixed matrices": (REGULAR, {"seasons": {}, "only": ["base", "drift", "level"]}),
    "functions of the lag": (REGULAR, {"only": ["trend", "season", "memory"]}),
}


@pytest.fixture(params=CASES)
def pair(request):
    times, options = CASES[request.param]
    rng = np.random.default_rng(1)
    x = np.column_stack([times, rng.standard_normal((N, 3))])
    only = options.get("only", ())
    structure = build_structure(
        float(times[0]), **{key: value for key, value in options.items() if key != "only"}
    )
    if only:
        structure = structure.without([part.name for part in structure.parts if part.name not in only])
    y = rng.standard_normal((N, 2)).cumsum(0) / 4.0
    points = structure.theta().start + 0.3 * rng.standard_normal((5, structure.theta().size))
    return Dense(structure, x, y), Batched(structure, x, y, CPU), points, np.array([0, 1, 0, 1, 1])


@pytest.fixture(params=[2**26, 2 * N * N], ids=["at once", "in pieces"], autouse=True)
def size(request, monkeypatch):
    monkeypatch.setattr(batched, "ENTRIES", request.param)


def test_likelihoods_and_gradients_are_the_same(pair):
    dense, ours, points, outputs = pair
    for found, expected in zip(ours(points, outputs), dense(points, outputs), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-8)


def test_predictions_are_the_same(pair):
    dense, ours, points, outputs = pair
    new = np.column_stack([np.arange(1.0, 8.0) / 12.0, np.ones((7, 3))])
    for name in ("predict", "marginals"):
        found, expected = (getattr(each, name)(points, outputs, new) for each in (ours, dense))
        np.testing.assert_allclose(found[0], expected[0], rtol=1e-7, atol=1e-9)
        np.testing.assert_allclose(found[1], expected[1], rtol=1e-7, atol=1e-9)


def test_smoothed_functions_and_sums_of_parts_are_the_same(pair):
    dense, ours, points, outputs = pair
    y = dense.y[:, outputs]
    for found, expected in zip(ours.smoothed(points, y), dense.smoothed(points, y), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-9)
    names = [[part.name] for part in dense.structure.parts]
    found, expected = (each.sums(names, points[0], 1, dense.x) for each in (ours, dense))
    np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-12)


def test_a_covariance_that_is_not_positive_definite_has_no_likelihood():
    structure = build_structure(float(REGULAR[0])).without(["level", "memory"])
    ours = Batched(structure, REGULAR[:, None], np.ones((N, 1)), CPU)
    points = np.tile(structure.theta().start, (2, 1))
    points[1, 0], points[1, -1] = 80.0, -80.0  # the base swallows all digits of the others
    values, gradients = ours(points, np.zeros(2, dtype=int))
    assert np.isfinite(values[0]) and values[1] == -np.inf
    assert np.isfinite(gradients).all() and not gradients[1].any()
    for each in (ours, Dense(structure, REGULAR[:, None], np.ones((N, 1)))):
        with pytest.raises(np.linalg.LinAlgError, match="not positive definite"):
            each.smoothed(points, np.ones((N, 2)))
        with pytest.raises(np.linalg.LinAlgError, match="not positive definite"):
            each.marginals(points, np.zeros(2, dtype=int), np.ones((1, 1)))


def test_panels_are_the_same(monkeypatch):
    rng = np.random.default_rng(0)
    index = pd.period_range("2010-01", periods=72, freq="M")
    wave = 10.0 + np.sin(2.0 * np.pi * np.arange(72) / 12.0)[:, None]
    wide = pd.DataFrame(wave + 0.3 * rng.standard_normal((72, 3)).cumsum(0), index, columns=list("abc"))
    wide.iloc[40, 0] += 9.0  # an outlier
    expected = GPForecaster().fit_panel(wide, fh=6).predict()
    calls = []
    monkeypatch.setattr(engine, "Dense", lambda *args: calls.append(args) or Batched(*args, CPU))
    found = GPForecaster().fit_panel(wide, fh=6).predict()
    assert calls
    np.testing.assert_allclose(found["y"], expected["y"], rtol=1e-4)


def test_the_device_chooses_the_engine():
    structure, x = build_structure(-40.0), np.arange(-499.0, 1.0)[:, None]
    gpu = torch.device("cuda:0")
    assert type(engine_for(structure, x[-99:], np.sin(x[-99:]))) is Dense
    assert type(engine_for(structure, x[-99:], np.sin(x[-99:]), gpu)) is Batched
    assert type(engine_for(structure, np.repeat(x, 5)[:, None], np.zeros((2500, 1)), gpu)) is Chains


def test_devices_that_cannot_be_are_refused(monkeypatch):
    data = {"a": np.arange(9.0)}
    with pytest.raises(InputError, match="device must be 'auto', 'cpu' or 'cuda', got 'gpu'"):
        GPForecaster().fit_panel(data, device="gpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(InputError, match="a time_limit of its own are fitted one by one: give the limit to"):
        GPForecaster(time_limit=9.0).fit_panel(data, device="cuda")
    auto = GPForecaster(time_limit=9.0).fit_panel({str(i): np.arange(99.0) for i in range(21)}, device="auto")
    assert auto.failures.empty  # on the processor


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_gives_the_same_panel():
    index = pd.period_range("2010-01", periods=72, freq="M")
    noise = 0.3 * np.random.default_rng(0).standard_normal((72, 40)).cumsum(0)
    wide = pd.DataFrame(10.0 + noise, index, columns=[str(i) for i in range(40)])
    expected, found = (
        GPForecaster().fit_panel(wide, fh=6, device=device).predict() for device in ("cpu", "cuda")
    )
    np.testing.assert_allclose(found["y"], expected["y"], rtol=1e-4)
