"""Weights of stacking: a concave problem with known optima."""

import numpy as np
import pytest
from scipy.optimize import minimize
from sklearn.exceptions import ConvergenceWarning

from nonparam.errors import InputError
from nonparam.model_selection import stacking_weights


def score(weights, log_densities):
    return np.log(np.exp(log_densities) @ weights).mean()


@pytest.mark.parametrize("seed", range(5))
def test_no_other_optimiser_finds_better_weights(seed):
    table = np.random.default_rng(seed).normal([0.0, 0.2, 0.0, -3.0], size=(40, 4))
    found = stacking_weights(table)
    best = minimize(
        lambda w: -score(w, table),
        np.full(4, 0.25),
        method="SLSQP",
        bounds=[(0.0, 1.0)] * 4,
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1.0},
        options={"ftol": 1e-14},
    )
    assert found.sum() == pytest.approx(1.0, abs=1e-12) and (found >= 0.0).all()
    assert score(found, table) >= -best.fun - 2e-9
    np.testing.assert_allclose(found, best.x, atol=2e-3)


def test_two_models_right_in_turn_have_the_closed_form():
    p, share = 0.9, 0.7  # right with density p in 70 of 100 rows, wrong with 1 - p in the others
    table = np.log(np.where(np.arange(100)[:, None] < 70, [p, 1 - p], [1 - p, p]))
    expected = (share - (1 - p)) / (2 * p - 1)  # where the derivative of the score is 0
    np.testing.assert_allclose(stacking_weights(table), [expected, 1 - expected], atol=1e-4)


def test_a_model_that_is_better_everywhere_takes_all():
    table = np.random.default_rng(0).normal(size=(30, 1)) - [0.0, 1.0, 2.0]
    np.testing.assert_allclose(stacking_weights(table), [1.0, 0.0, 0.0], atol=1e-8)


def test_equal_models_share_and_levels_do_not_matter():
    table = np.random.default_rng(0).normal(size=(30, 1)).repeat(3, 1)
    np.testing.assert_array_equal(stacking_weights(table), np.full(3, 1.0 / 3.0))
    two = np.random.default_rng(1).normal(size=(30, 2))
    np.testing.assert_allclose(stacking_weights(two - 2000.0), stacking_weights(two), atol=1e-9)


def test_a_row_that_one_model_rules_out_keeps_the_other():
    weights = stacking_weights([[0.0, -1.0], [-np.inf, 0.0], [0.0, -1.0]])
    assert weights[1] > 0.3
    assert np.isfinite(score(weights, np.array([[0.0, -1.0], [-1e9, 0.0]])))


@pytest.mark.parametrize("bad", [[1.0, 2.0], [[np.nan, 0.0]], [[np.inf, 0.0]], np.zeros((0, 2))])
def test_what_is_no_table_is_refused(bad):
    with pytest.raises(InputError, match="stacking needs a log density of each row by each model"):
        stacking_weights(bad)


def test_a_row_without_density_is_named():
    with pytest.raises(InputError, match="row 1 has no density by any of the models"):
        stacking_weights([[0.0, 0.0], [-np.inf, -np.inf]])


def test_too_few_steps_are_said(monkeypatch):
    monkeypatch.setattr("nonparam.model_selection.stacking.MOST_STEPS", 2)
    with pytest.warns(ConvergenceWarning, match=r"may still gain .* nats a row"):
        stacking_weights(np.random.default_rng(0).normal(size=(40, 3)))
