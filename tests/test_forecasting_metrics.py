"""Scores of forecasts: numbers worked by hand, other definitions of the same, and nasty input."""

import importlib.util
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.integrate import quad
from scipy.stats import norm

from nonparam.errors import InputError
from nonparam.forecasting.metrics import (
    coverage,
    crps_quantiles,
    crps_sample,
    interval_score,
    mase,
    msis,
    scaled_crps,
    seasonal_scale,
    smape,
)

NAN = float("nan")
TRAINING = [1.0, 5.0, 2.0, 7.0]  # differences at lag 2 are 1 and 2; at lag 1 they are 4, 3 and 5
SHARED = Path(os.environ.get("NONPARAM_DATA", Path(__file__).parents[1] / ".." / "shared" / "data"))
SCORE = SHARED / "series" / "score.py"
MIDPOINTS = (np.arange(100) + 0.5) / 100.0


# by hand --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("training", "m", "expected"),
    [
        (TRAINING, 2, 1.5),
        (TRAINING, 1, 4.0),
        (TRAINING, 3, 6.0),
        (TRAINING, 4, 4.0),  # no pair at lag 4: neighbours
        (TRAINING, 12, 4.0),
        ([1.0, NAN, 2.0, 7.0], 2, 1.0),  # the pair with NaN is left out
        ([1.0, NAN, 2.0], 1, NAN),
        ([3.0, 3.0, 3.0], 1, NAN),
        ([3.0], 1, NAN),
        ([], 1, NAN),
    ],
)
def test_scale(training, m, expected):
    np.testing.assert_equal(seasonal_scale(np.array(training), m), expected)


def test_smape():
    # 200 * (10 / 210, 0, 1, 0 of nothing) / 4
    value = smape([100.0, 50.0, 5.0, 0.0], [110.0, 50.0, 0.0, 0.0])
    assert value == pytest.approx((2000.0 / 210.0 + 200.0) / 4.0, rel=1e-15)


def test_interval_score_penalises_either_side():
    score = interval_score([5.0, -1.0, 12.0, 10.0], [0.0] * 4, [10.0] * 4, coverage=0.8)
    np.testing.assert_allclose(score, [10.0, 20.0, 30.0, 10.0], rtol=1e-14)


def test_scaled_scores():
    assert mase([8.0, 4.0], [7.0, 7.0], TRAINING, 2) == 2.0 / 1.5
    assert msis([8.0, 4.0], [7.0, 5.0], [9.0, 9.0], TRAINING, 2) == pytest.approx((2 + 4 + 40) / 2 / 1.5)
    assert scaled_crps([8.0], [[7.0]], [0.5], TRAINING, 2) == 1.0 / 1.5
    # levels 1/4 and 3/4, errors 3 and -1: 2 * (3/4 + 1/4) / 2
    assert scaled_crps([8.0], [[5.0, 9.0]], [0.25, 0.75], TRAINING, 1) == 1.0 / 4.0


def test_ends_of_an_interval_are_inside():
    assert coverage([0.0, 1.0, 2.0, 3.0], [0.0] * 4, [2.0] * 4) == 0.75


# other definitions ----------------------------------------------------------------------------


@pytest.mark.parametrize("y", [-4.0, -0.3, 0.0, 2.5])
def test_quantiles_give_the_integral(y):
    mu, sd = 0.4, 1.7
    below = quad(lambda x: norm.cdf(x, mu, sd) ** 2, -np.inf, y)[0]
    above = quad(lambda x: norm.sf(x, mu, sd) ** 2, y, np.inf)[0]
    for k, tolerance in ((100, 2e-3), (1000, 2e-4)):
        levels = (np.arange(k) + 0.5) / k
        score = crps_quantiles([y], norm.ppf(levels, mu, sd)[None], levels)
        assert score[0] == pytest.approx(below + above, rel=tolerance)


def test_levels_that_leave_out_the_ends_overstate():
    levels = np.arange(1, 40) / 40.0
    exact = 2.0 / np.sqrt(2.0 * np.pi) - 1.0 / np.sqrt(np.pi)  # of a standard normal forecast at its mean
    assert crps_quantiles([0.0], norm.ppf(levels)[None], levels)[0] > 1.015 * exact
    assert crps_quantiles([0.0], norm.ppf(MIDPOINTS)[None], MIDPOINTS)[0] == pytest.approx(exact, rel=2e-3)


def test_draws_by_all_pairs():
    rng = np.random.default_rng(0)
    y, draws = rng.normal(size=5), rng.normal(size=(5, 40))
    pairs = np.abs(draws[:, :, None] - draws[:, None, :]).mean((1, 2))
    np.testing.assert_allclose(
        crps_sample(y, draws), np.abs(draws - y[:, None]).mean(1) - 0.5 * pairs, rtol=1e-12
    )


def test_sorted_draws_are_quantiles_at_midpoints():
    rng = np.random.default_rng(1)
    y, draws = rng.normal(size=6), rng.normal(size=(6, 100))
    np.testing.assert_allclose(
        crps_sample(y, draws), crps_quantiles(y, np.sort(draws, axis=1), MIDPOINTS), rtol=1e-12
    )


@pytest.mark.skipif(not SCORE.exists(), reason="the scoring script is not here")
@pytest.mark.parametrize("m", [1, 4, 60])
def test_agrees_with_the_scoring_script(m):
    spec = importlib.util.spec_from_file_location("score", SCORE)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    rng = np.random.default_rng(m)
    training, y, centre = rng.normal(10.0, 3.0, 50), rng.normal(10.0, 3.0, 18), rng.normal(10.0, 1.0, 18)
    table, q = norm.ppf(MIDPOINTS) * 2.0 + centre[:, None], norm.ppf([0.025, 0.1, 0.9, 0.975])
    ends = centre[:, None] + 2.0 * q
    expected = script.all_metrics(
        training, y, centre, *ends[:, [0, 3]].T, m, *ends[:, [1, 2]].T, q=table, levels=MIDPOINTS
    )
    found = {
        "smape": smape(y, centre),
        "mase": mase(y, centre, training, m),
        "msis": msis(y, ends[:, 0], ends[:, 3], training, m),
        "cov80": coverage(y, ends[:, 1], ends[:, 2]),
        "cov95": coverage(y, ends[:, 0], ends[:, 3]),
        "scrps": scaled_crps(y, table, MIDPOINTS, training, m),
    }
    for name, value in found.items():
        assert value == pytest.approx(expected[name], rel=1e-12), name
    assert seasonal_scale(training, m) == pytest.approx(script.scale(training, m), rel=1e-14)


# nasty data -----------------------------------------------------------------------------------


def scores(y, training=TRAINING, m=2):
    y = np.array(y)
    h = len(y)
    low, middle, high = np.zeros(h), np.arange(1.0, h + 1.0), np.full(h, 9.0)
    table = np.stack([low, middle, high], 1)
    return {
        "smape": smape(y, middle),
        "mase": mase(y, middle, training, m),
        "msis": msis(y, low, high, training, m),
        "coverage": coverage(y, low, high),
        "crps": scaled_crps(y, table, [1 / 6, 3 / 6, 5 / 6], training, m),
    }


def test_missing_observations_are_skipped():
    whole = scores([4.0, 12.0])
    table = np.array([[0.0, 1.0, 9.0], [0.0, 2.0, 9.0]])
    for at in range(3):
        y, points = np.insert([4.0, 12.0], at, NAN), np.insert([1.0, 2.0], at, 77.0)
        assert mase(y, points, TRAINING, 2) == whole["mase"]
        assert smape(y, points) == whole["smape"]
        assert msis(y, np.zeros(3), np.full(3, 9.0), TRAINING, 2) == whole["msis"]
        assert coverage(y, np.zeros(3), np.full(3, 9.0)) == whole["coverage"]
        padded = np.insert(table, at, 5.0, axis=0)
        assert scaled_crps(y, padded, [1 / 6, 3 / 6, 5 / 6], TRAINING, 2) == whole["crps"]


def test_nothing_to_score_is_nan():
    assert np.isnan(list(scores([NAN, NAN]).values())).all()
    assert np.isnan(list(scores([]).values())).all()


def test_constant_training_scales_nothing():
    found = scores([1.0, 2.0], training=[4.0] * 9)
    assert all(np.isnan(found[name]) for name in ("mase", "msis", "crps"))
    assert found["smape"] == 0.0 and found["coverage"] == 1.0


def test_units_do_not_matter():
    y, middle, low = np.array([4.0, 6.0]), np.array([5.0, 5.0]), np.array([1.0, 2.0])
    for unit in (1e-60, 1e60):
        assert mase(y * unit, middle * unit, np.multiply(TRAINING, unit), 2) == pytest.approx(
            mase(y, middle, TRAINING, 2), rel=1e-14
        )
        assert smape(y * unit, middle * unit) == pytest.approx(smape(y, middle), rel=1e-14)
        assert msis(y * unit, low * unit, middle * unit, np.multiply(TRAINING, unit), 2) == pytest.approx(
            msis(y, low, middle, TRAINING, 2), rel=1e-14
        )


def test_series_are_taken_by_place():
    y = pd.Series([1.0, 2.0], index=[7, 8])
    assert mase(y, pd.Series([2.0, 2.0], index=[1, 2]), pd.Series(TRAINING), 1) == 0.5 / 4.0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: smape([1.0, 2.0], [1.0]), r"forecast must have the shape \(2\), as y has, got \(1,\)"),
        (lambda: smape([1.0], [NAN]), "forecast must be finite, got 1 that are not"),
        (lambda: smape([[1.0]], [1.0]), "y must be a vector of finite numbers"),
        (lambda: smape(1.0, [1.0]), "y must be a vector"),
        (lambda: smape([np.inf], [1.0]), "y must be a vector of finite numbers, NaN where one is missing"),
        (lambda: smape(["a"], [1.0]), "y must be a number or an array of numbers"),
        (lambda: mase([1.0], [1.0], TRAINING, 0), "m must be an integer, at least 1; got 0"),
        (lambda: mase([1.0], [1.0], TRAINING, 2.5), "m must be an integer"),
        (lambda: mase([1.0], [1.0], [1.0, np.inf]), "training must be a vector of finite numbers"),
        (lambda: coverage([1.0], [2.0], [1.0]), "lower must be at most upper, got 2 and 1 at entry 0"),
        (lambda: coverage([1.0], [NAN], [1.0]), "lower must be finite"),
        (lambda: interval_score([1.0], [0.0], [1.0], coverage=95), "strictly between 0 and 1"),
        (lambda: interval_score([1.0], [0.0], [1.0], coverage=[0.8, 0.95]), "must be one probability"),
        (lambda: crps_quantiles([1.0], [[1.0, 2.0]], [0.2, 0.9]), "levels must be equally spaced"),
        (lambda: crps_quantiles([1.0], [[1.0, 2.0]], [0.75, 0.25]), "levels must be equally spaced"),
        (lambda: crps_quantiles([1.0], [[]], []), "levels must be equally spaced"),
        (lambda: crps_quantiles([1.0], [[1.0]], [0.25, 0.75]), r"quantiles must have the shape \(1, 2\)"),
        (lambda: crps_sample([1.0], [[]]), r"draws must have the shape \(1, any\)"),
        (lambda: crps_sample([1.0], [[NAN]]), "draws must be finite"),
    ],
)
def test_one_clear_error(call, message):
    with pytest.raises(InputError, match=message):
        call()
