"""Features of a table from columns, functions and transformers."""

import numpy as np
import pytest
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

from nonparam.errors import InputError
from nonparam.feature_maps import features_at, fit_features

X = np.array([[1.0, 2.0], [3.0, 2.0], [1.0, 5.0]])


def test_columns_functions_and_transformers():
    assert features_at(fit_features(None, X), X) is X
    np.testing.assert_array_equal(features_at(fit_features(np.square, X), X), X**2)
    np.testing.assert_array_equal(features_at(fit_features(lambda x: x.tolist(), X), X), X)
    halved = FunctionTransformer(lambda x: 0.5 * x)
    np.testing.assert_array_equal(features_at(fit_features(halved, X), X), 0.5 * X)


def test_a_transformer_remembers_the_rows_that_it_was_fitted_to():
    scale = fit_features(StandardScaler(), X)
    np.testing.assert_allclose(features_at(scale, X[:1]), (X[:1] - X.mean(0)) / X.std(0))


def test_sparse_features_become_a_table():
    found = features_at(fit_features(OneHotEncoder(), X), X)
    np.testing.assert_array_equal(found, [[1, 0, 1, 0], [0, 1, 1, 0], [1, 0, 0, 1]])


@pytest.mark.parametrize("features", ["rbf", 3, StandardScaler, {"fit": 1}])
def test_what_makes_no_features_is_refused(features):
    with pytest.raises(InputError, match=r"features must be None, a function of an .* or a scikit-learn"):
        fit_features(features, X)
