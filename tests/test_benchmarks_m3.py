"""``benchmarks/m3.py``: scores as they are stored, runs that go on where they were, paired differences."""

import os
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

from nonparam.forecasting.backtest import LEVELS

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
SHARED = Path(os.environ.get("NONPARAM_DATA", BENCHMARKS / ".." / ".." / "shared" / "data")) / "series"
needs_data = pytest.mark.skipif(not SHARED.exists(), reason="the series are not here")

sys.path.insert(0, str(BENCHMARKS))
try:
    import m3_data
    import m3_scores
finally:
    sys.path.remove(str(BENCHMARKS))


def record(name="a", n=40, m=4):
    y = np.random.default_rng(0).normal(size=n + 6).cumsum()
    return m3_data.Record(name, m, y[:n], y[n:], tuned=False)


def forecast(sd=2.0, h=6):
    return m3_data.Forecast(np.zeros(h), np.tile(sd * norm.ppf(LEVELS), (h, 1)), 0.25)


@needs_data
@pytest.mark.parametrize("collection", ["monthly", "shifted"])
def test_scores_are_the_stored_ones(collection):
    series = m3_data.records(collection)[::60]
    suffix = "_shift12" if collection == "shifted" else ""
    for method, forecasts in m3_data.stored(collection).items():
        path = SHARED / "baselines" / f"m3_monthly_{method}{suffix}.csv.gz"
        known = pd.read_csv(path, index_col="series_id")
        found = m3_scores.frame(series, forecasts, None)
        assert len(found) >= 5 or method == "Prophet"
        for name in ("smape", "mase", "msis", "cov80", "cov95", "cov80_t2", "cov95_t3", "seconds"):
            np.testing.assert_allclose(found[name], known.loc[found.index, name], rtol=2e-4, atol=2e-5)
        # theirs is exact for the Gaussian, ours of 100 quantiles; Theta's bounds are not those of one
        np.testing.assert_allclose(found["scrps"], known.loc[found.index, "scrps"], rtol=2e-3)


@needs_data
@pytest.mark.parametrize(
    ("collection", "n", "m", "h"),
    [("quarterly", 756, 4, 8), ("yearly", 645, 1, 6), ("other", 174, 1, 8), ("hourly", 60, 24, 48)],
)
def test_collections(collection, n, m, h):
    series = m3_data.records(collection)
    assert len(series) == n and {(r.m, len(r.test)) for r in series} == {(m, h)}
    assert all(np.isfinite(r.train).all() and np.isfinite(r.test).all() for r in series)
    assert not any(r.start for r in series)


@needs_data
def test_months_are_dated_where_the_competition_did():
    series = m3_data.records("monthly")
    known = [r.start for r in series if r.start]
    assert len(series) == 1428 and len(known) == 1399
    assert min(known) > "1800" and max(known) < "1995"


@needs_data
def test_the_shifted_origin_is_twelve_points_earlier():
    whole = {r.name: r for r in m3_data.records("monthly")}
    cut = m3_data.records("shifted")
    assert len(cut) == 300
    for r in cut:
        full = whole[r.name]
        assert np.array_equal(r.train, full.train[:-12])
        assert np.array_equal(r.test, np.concatenate([full.train[-12:], full.test[:6]]))


def test_quantiles_of_bounds_keep_the_bounds():
    bounds = np.array([[-3.0, -1.0, 2.0, 5.0]])
    quantiles = m3_data.gaussian(np.array([0.5]), bounds)
    at = np.searchsorted(LEVELS, m3_data.BOUNDS)
    assert np.array_equal(quantiles[:, at], bounds)
    assert quantiles[0, np.searchsorted(LEVELS, 0.5)] == 0.5
    sd = 8.0 / (2.0 * norm.ppf(0.975))
    assert quantiles[0, np.searchsorted(LEVELS, 0.205)] == pytest.approx(0.5 + sd * norm.ppf(0.205))


def test_points_alone_have_no_scores_of_intervals():
    found = m3_scores.frame([record()], {"a": m3_data.Forecast(np.zeros(6))}, None)
    assert np.isfinite(found.loc["a", ["smape", "mase"]].astype(float)).all()
    assert found.loc["a", ["scrps", "msis", "cov80", "cov95_t3"]].isna().all()


def test_another_lag_changes_the_scale():
    r = record()
    one, four = (m3_scores.score(r, forecast(), lag) for lag in (1, None))
    ratio = np.abs(r.train[4:] - r.train[:-4]).mean() / np.abs(np.diff(r.train)).mean()
    for name in ("mase", "scrps", "msis"):
        assert one[name] / four[name] == pytest.approx(ratio, rel=1e-12)


def test_a_run_goes_on_where_it_was(tmp_path):
    series, calls = [record(name) for name in "abcd"], []

    def forecaster(r):
        calls.append(r.name)
        if r.name == "c" and calls.count("c") == 1:
            raise KeyboardInterrupt
        return forecast()

    path = tmp_path / "scores.csv"
    with pytest.raises(KeyboardInterrupt):
        m3_scores.score_all(series, forecaster, path, None)
    found = m3_scores.score_all(series, forecaster, path, None)
    assert calls == ["a", "b", "c", "c", "d"]
    direct = m3_scores.frame(series, dict.fromkeys("abcd", forecast()), None)
    assert found.index.tolist() == list("abcd")
    numeric = direct.drop(columns="failed").columns
    np.testing.assert_allclose(found[numeric].astype(float), direct[numeric].astype(float), rtol=1e-12)


def test_bootstrap_of_a_mean():
    differences = np.random.default_rng(1).normal(0.3, 1.0, size=400)
    mean, low, high = m3_scores.bootstrap(differences)
    error = 1.96 * differences.std() / 20.0
    assert mean == differences.mean()
    assert low == pytest.approx(mean - error, abs=0.006) and high == pytest.approx(mean + error, abs=0.006)
    assert m3_scores.bootstrap(np.full(5, -0.25)) == (-0.25, -0.25, -0.25)


def test_tables_print_counts_and_pairs(capsys):
    series = [record(name) for name in "ab"]
    ours = m3_scores.frame(
        series, {"a": forecast(), "b": m3_data.Forecast(np.ones(6), forecast().quantiles, 1.0, "no")}, None
    )
    other = m3_scores.frame(series[:1], {"a": forecast(4.0)}, None)
    methods = {"ours": ours, "other": other}
    m3_scores.scores_table("all", methods)
    m3_scores.paired_table("ours", methods)
    m3_scores.losses_table("ours", "other", methods, 3)
    text = capsys.readouterr().out
    assert "| ours | 2 | 1 |" in text and "| other | 1 | 0 |" in text
    assert "| other | 1 | +0.0000 (+0.0000 to +0.0000) |" in text  # the median is the same
