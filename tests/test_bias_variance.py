"""The split of an error into bias and variance, against what is known of simple estimators."""

import numpy as np
import pytest
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.ensemble import BaggingRegressor
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeRegressor

from nonparam.errors import InputError
from nonparam.networks import BiasVariance, bias_variance

RNG = np.random.default_rng(0)
X = RNG.standard_normal((1200, 3))
Y = X[:, 0] + 0.5 * RNG.standard_normal(1200)


def test_least_squares_has_the_variance_that_theory_says():
    found = bias_variance(LinearRegression(), X, Y, resamples=200, train_size=0.1, random_state=1)
    drawn = 1.0 - 120 / 900  # of a finite number of rows, without repetition
    expected = drawn * 0.25 * (3 / (120 - 5) + 1 / 120)  # noise times p / (n - p - 2), and that of the mean
    assert found.variance == pytest.approx(expected, rel=0.2)
    assert found.bias == pytest.approx(0.25, abs=3.0 * found.bias_error)
    assert found.error == found.bias + found.variance and found.rows == 120


def test_a_constant_is_all_bias():
    found = bias_variance(DummyRegressor(strategy="constant", constant=0.0), X, Y)
    assert found.variance == 0.0 and found.variance_error == 0.0
    assert found.bias == pytest.approx(1.25, abs=4.0 * found.bias_error)


def test_averages_vary_less():
    tree = DecisionTreeRegressor()
    alone, bagged = (bias_variance(each, X, Y) for each in (tree, BaggingRegressor(tree, 20)))
    assert bagged.variance < 0.5 * alone.variance


def test_probabilities_of_classes_add_up_to_the_brier_score():
    labels = np.array(["no", "yes"])[(Y > 0.0).astype(int)]
    constant = bias_variance(DummyClassifier(strategy="prior"), X, labels)
    assert constant.error == pytest.approx(0.5, abs=0.02)
    found = bias_variance(make_pipeline(StandardScaler(), LogisticRegression()), X, labels)
    assert found.error < 0.3 and found.variance < 0.01


def test_training_sets_may_lack_a_class_and_outputs_may_be_several():
    rare = np.where(np.arange(1200) < 3, 2, (Y > 0.0).astype(int))
    assert np.isfinite(bias_variance(LogisticRegression(), X, rare, train_size=0.05).error)
    two = bias_variance(LinearRegression(), X, np.column_stack([Y, 2.0 * Y]))
    one = bias_variance(LinearRegression(), X, Y)
    assert two.error == pytest.approx(5.0 * one.error)


def test_seeds_are_drawn_and_results_repeat():
    first, again = (bias_variance(DecisionTreeRegressor(), X, Y, 4, random_state=2) for _ in range(2))
    assert first == again and isinstance(first, BiasVariance)
    assert str(first).startswith("error ") and "4 training sets of 600 rows" in str(first)


@pytest.mark.parametrize(
    "sizes",
    [{"train_size": 0.9}, {"train_size": 0.0}, {"test_size": 0.0}, {"test_size": 1.0}],
)
def test_parts_without_rows_are_refused(sizes):
    with pytest.raises(InputError, match="train_size and test_size must leave rows on both sides"):
        bias_variance(LinearRegression(), X, Y, **sizes)


def test_one_training_set_is_refused():
    with pytest.raises(InputError, match="resamples must be an integer, at least 2; got 1"):
        bias_variance(LinearRegression(), X, Y, 1)
