"""The search over kernels keeps scikit-learn's contract."""

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from nonparam import KernelSearch

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@parametrize_with_checks([KernelSearch(base_kernels=("linear",), max_depth=1, beam=1)])
def test_scikit_learn_checks(estimator, check):
    check(estimator)
