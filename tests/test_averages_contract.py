"""Averages keep scikit-learn's contract."""

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from nonparam import GPRegressor, HyperparameterAverage, ModelAverage

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@parametrize_with_checks(
    [
        HyperparameterAverage(GPRegressor("rbf"), n_draws=8),
        ModelAverage([GPRegressor("linear"), ("smooth", GPRegressor("rbf"))]),
        ModelAverage([GPRegressor("linear"), GPRegressor("rbf")], weights="stacking"),
    ]
)
def test_scikit_learn_checks(estimator, check):
    check(estimator)
