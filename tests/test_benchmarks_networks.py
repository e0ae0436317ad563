"""``benchmarks/networks.py``: scores, the rows that are drawn, and what is said of them in the end."""

import math
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.base import BaseEstimator

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
SHARED = Path(os.environ.get("NONPARAM_DATA", BENCHMARKS / ".." / ".." / "shared" / "data"))
needs_tables = pytest.mark.skipif(not (SHARED / "uci" / "kin40k.npz").exists(), reason="no tables here")
needs_images = pytest.mark.skipif(
    not (SHARED / "images" / "mnist_full.npz").exists(), reason="no images here"
)

sys.path.insert(0, str(BENCHMARKS))
try:
    import networks_coverage
    import networks_images
    import networks_scores
    import networks_uci
    import uci_rows
finally:
    sys.path.remove(str(BENCHMARKS))


class Known(BaseEstimator):
    """Predicts zeros, and a known deviation or known probabilities."""

    def __init__(self, sd=1.0, proba=None):
        self.sd = sd
        self.proba = proba

    def fit(self, X, y):
        return self

    def predict(self, X, return_std=True):
        return np.zeros(len(X)), np.full(len(X), self.sd)

    def predict_proba(self, X):
        return np.tile(self.proba, (len(X), 1))


class Failing(Known):
    def fit(self, X, y):
        raise ValueError("on purpose")


def test_regression_scores_are_those_of_normal_densities():
    y, mean, sd = np.array([0.0, 3.28, 1.65]), np.zeros(3), np.array([1.0, 2.0, 1.0])
    nll = [0.5 * math.log(2.0 * math.pi * s**2) + 0.5 * (v / s) ** 2 for v, s in zip(y, sd, strict=True)]
    rmse, loss, cover = networks_scores.regression_scores(y, mean, sd)
    assert rmse == pytest.approx(math.sqrt((3.28**2 + 1.65**2) / 3), rel=1e-12)
    assert loss == pytest.approx(sum(nll) / 3, rel=1e-12)
    assert cover == pytest.approx(2 / 3)  # the bound is 1.645 deviations


def test_calibration_error_is_the_mean_gap_of_bins():
    rng = np.random.default_rng(0)
    proba = rng.dirichlet(np.full(4, 0.3), 500)
    y = rng.integers(4, size=500)
    confidence, right = proba.max(1), proba.argmax(1) == y
    expected = 0.0
    for k in range(15):
        inside = (confidence > k / 15) & (confidence <= (k + 1) / 15)
        if inside.any():
            expected += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    assert networks_scores.calibration_error(y, proba) == pytest.approx(expected, rel=1e-12)


def test_calibration_error_of_the_certain_and_of_the_well_calibrated():
    certain = np.tile([1.0, 0.0], (4, 1))
    assert networks_scores.calibration_error(np.array([0, 0, 0, 1]), certain) == pytest.approx(0.25)
    honest = np.tile([0.75, 0.25], (4, 1))
    assert networks_scores.calibration_error(np.array([0, 0, 0, 1]), honest) == pytest.approx(0.0, abs=1e-15)


def test_class_scores():
    proba = np.array([[0.5, 0.5, 0.0], [0.1, 0.2, 0.7], [0.25, 0.5, 0.25]])
    right, nll, _ = networks_scores.class_scores(np.array([0, 2, 0]), proba)
    assert right == pytest.approx(2 / 3)
    assert nll == pytest.approx(-(math.log(0.5) + math.log(0.7) + math.log(0.25)) / 3, rel=1e-12)
    assert networks_scores.class_scores(np.array([2, 2, 0]), proba)[1] == math.inf


def test_spread_is_the_standard_error_of_the_mean():
    assert networks_scores.spread([1.0, 3.0]) == "2.000 ± 1.000"
    assert networks_scores.spread([1.25], 1) == "1.2"


def test_an_estimator_that_fails_is_a_result(capsys):
    found = networks_scores.run("broken", lambda seed: Failing(), 7, lambda model: model.fit(None, None))
    assert np.isnan(found[:3]).all() and found[3] >= 0.0
    assert "broken, seed 7: ValueError: on purpose" in capsys.readouterr().out


@needs_tables
def test_rows_of_a_table(monkeypatch):
    monkeypatch.setenv("NONPARAM_DATA", str(SHARED))
    x, y, new, new_y = uci_rows.table("kin40k", 0, 300, seed=0)
    assert x.shape == (300, 8) and new.shape == (2000, 8) and new_y.shape == (2000,)
    np.testing.assert_allclose(y.mean(), 0.0, atol=1e-12)
    np.testing.assert_allclose(y.std(), 1.0)
    assert not {tuple(each) for each in x.round(9)} & {tuple(each) for each in new.round(9)}
    assert not np.array_equal(uci_rows.table("kin40k", 0, 300, seed=1)[1], y)


def test_draws_differ_by_their_noise_alone():
    quiet, loud = (
        networks_coverage.SETTINGS[f"RBF, d=2, noise {noise}"].rows(seed=3) for noise in (0.1, 0.3)
    )
    np.testing.assert_array_equal(quiet[0], loud[0])
    assert quiet[0].shape == (networks_coverage.TRAIN_ROWS + networks_coverage.TEST_ROWS, 2)
    noise = (loud[1] - quiet[1]) / 0.2
    assert abs(noise.mean()) < 4.0 / math.sqrt(len(noise))
    assert abs(noise.std() - 1.0) < 4.0 / math.sqrt(2.0 * len(noise))


def test_signals_have_the_covariance_of_their_kernel():
    setting = networks_coverage.SETTINGS["Matern-5/2, d=1, noise 0.1"]
    products = []
    for seed in range(60):
        x, y = setting.rows(seed)
        order = np.argsort(x[:, 0])
        some = np.interp([0.2, 0.5], x[order, 0], y[order])
        products.append([some[0] ** 2, some[0] * some[1]])
    root = math.sqrt(5.0) * 0.3 / 0.3  # the distance of the two is one lengthscale
    at_distance = (1.0 + root + root**2 / 3.0) * math.exp(-root)
    mean, error = np.mean(products, 0), np.std(products, 0) / math.sqrt(60)
    assert np.all(np.abs(mean - [1.0, at_distance]) < 3.0 * error)


def test_coverage_says_who_is_within(monkeypatch, capsys):
    contestants = {"good": lambda seed: Known(1.05), "bad": lambda seed: Known(0.1)}
    monkeypatch.setattr(networks_coverage, "CONTESTANTS", contestants)
    networks_coverage.coverage(["RBF, d=3, noise 0.3"], None, 8)
    said = capsys.readouterr().out
    assert "intervals of good: within" in said and "intervals of bad: NOT within" in said
    assert sum(line.startswith("| all |") for line in said.splitlines()) == 2


def test_tables_count_where_learnt_variances_win(monkeypatch, capsys):
    rows = np.zeros((4, 1)), np.zeros(4), np.zeros((5, 1)), np.ones(5)
    monkeypatch.setattr(networks_uci, "table", lambda *of: rows)
    name = next(iter(networks_uci.INFINITE))
    contestants = {name: lambda seed: Known(1.0), f"{name}, fixed": lambda seed: Known(3.0)}
    monkeypatch.setattr(networks_uci, "CONTESTANTS", contestants)
    networks_uci.uci(["yacht", "wine"], None, 2)
    said = capsys.readouterr().out
    assert f"{name}: learnt variances have the lower mean NLL on 2 of 2 sets (yacht, wine)" in said
    contestants[name] = lambda seed: Failing()
    networks_uci.uci(["yacht"], None, 1)
    assert "on 0 of 1 sets (none)" in capsys.readouterr().out


def test_images_are_compared_with_the_single_network(monkeypatch, capsys):
    sharp, flat = np.full(10, 0.1), np.r_[0.91, np.full(9, 0.01)]
    contestants = {
        networks_images.SINGLE: lambda seed: Known(proba=flat),
        "finite, SWA": lambda seed: Known(proba=sharp),
    }
    monkeypatch.setattr(networks_images, "CONTESTANTS", contestants)
    networks_images.images(["digits"], None, 3)
    said = capsys.readouterr().out
    assert "NLL of finite, SWA less that of finite, single" in said and "below 0 in 3 of 3 seeds" in said
    assert "ensemble" not in said


def test_absent_images_are_left_out(monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("NONPARAM_DATA", str(tmp_path))
    networks_images.images(["mnist-1000"], None, 1)
    assert "mnist-1000 is left out" in capsys.readouterr().out


@needs_images
def test_rows_of_images(monkeypatch):
    monkeypatch.setenv("NONPARAM_DATA", str(SHARED))
    x, y, new, new_y = networks_images.split("mnist-1000", 0)
    assert x.shape == (1000, 784) and new.shape == (2000, 784) and len(y) == 1000
    assert x.max() == 1.0 and x.min() == 0.0 and set(new_y) == set(range(10))


def test_half_of_the_digits_are_held_out():
    x, y, new, new_y = networks_images.split("digits", 0)
    assert (x.shape, new.shape, len(y), len(new_y)) == ((898, 64), (899, 64), 898, 899)
    assert x.max() == 1.0 and not np.array_equal(networks_images.split("digits", 1)[1], y)
