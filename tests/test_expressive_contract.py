"""Regressors that compose their kernels keep scikit-learn's contract."""

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from nonparam import DeepKernelRegressor, SpectralMixtureRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@parametrize_with_checks(
    [
        SpectralMixtureRegressor(1, plane=True),
        DeepKernelRegressor((4, 1), base="linear", noise=0.1, max_steps=1),
    ]
)
def test_scikit_learn_checks(estimator, check):
    check(estimator)
