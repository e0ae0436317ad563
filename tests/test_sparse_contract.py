"""scikit-learn's checks of `SparseGPRegressor`, and the places where people use it."""

import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from nonparam import SparseGPRegressor

RNG = np.random.default_rng(0)
X = RNG.uniform(-2.0, 2.0, (150, 2))
Y = np.sin(2.0 * X[:, 0]) + X[:, 1] + 0.1 * RNG.standard_normal(150)
NEW = RNG.uniform(-2.0, 2.0, (7, 2))


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@parametrize_with_checks(
    [SparseGPRegressor("rbf", m=10), SparseGPRegressor("rbf", m=10, method="stochastic", n_epochs=3)]
)
def test_scikit_learn_checks(estimator, check):
    check(estimator)


@pytest.fixture(scope="module", params=["collapsed", "stochastic"])
def model(request):
    return SparseGPRegressor(m=20, method=request.param, n_epochs=50, random_state=0).fit(X, Y)


def test_tables_of_other_libraries(model):
    names = ["first", "second"]
    framed = clone(model).fit(pd.DataFrame(X, columns=names), pd.Series(Y))
    assert list(framed.feature_names_in_) == names
    np.testing.assert_array_equal(framed.predict(pd.DataFrame(NEW, columns=names)), model.predict(NEW))
    from_torch = clone(model).fit(torch.from_numpy(X), torch.from_numpy(Y))
    np.testing.assert_array_equal(from_torch.predict(torch.from_numpy(NEW)), model.predict(NEW))


def test_copies_are_the_same_model(model):
    copy = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(copy.predict(NEW), model.predict(NEW))
    copy.partial_fit(NEW, np.zeros(7))
    assert copy.fit_report_.rows == 157 and model.fit_report_.rows == 150


def test_pipelines_and_scores(model):
    pipeline = make_pipeline(StandardScaler(), clone(model))
    assert cross_val_score(pipeline, X, Y, cv=2).min() > 0.9


def test_columns_of_y(model):
    column = clone(model).fit(X, Y[:, None])
    assert column.predict(NEW).shape == (7, 1)
    np.testing.assert_allclose(column.predict(NEW)[:, 0], model.predict(NEW), rtol=1e-10)
    several = clone(model).fit(X, np.c_[Y, 100.0 * Y - 3.0])
    mean, sd = several.predict(NEW, return_std=True)
    np.testing.assert_allclose(mean[:, 1], 100.0 * mean[:, 0] - 3.0, rtol=1e-8)
    np.testing.assert_allclose(sd[:, 1], 100.0 * sd[:, 0], rtol=1e-8)
    assert several.sample_y(NEW, 3).shape == (7, 2, 3)
    assert several.predict(NEW, return_cov=True)[1].shape == (7, 7, 2)


def test_units_change_nothing_else(model):
    other = clone(model).fit(1e6 * X + 5.0, 1e-3 * Y - 7.0)
    mean, sd = model.predict(NEW, return_std=True)
    scaled_mean, scaled_sd = other.predict(1e6 * NEW + 5.0, return_std=True)
    np.testing.assert_allclose(scaled_mean, 1e-3 * mean - 7.0, atol=2e-6)
    np.testing.assert_allclose(scaled_sd, 1e-3 * sd, rtol=2e-3)


def test_the_report_is_printed(capsys):
    SparseGPRegressor("rbf", m=5, verbose=1).fit(X, Y)
    printed = capsys.readouterr().out
    assert "collapsed bound with 5 points" in printed and "nats" in printed and "are lost" in printed
    SparseGPRegressor("rbf", m=5, method="stochastic", n_epochs=20, verbose=1).fit(X, Y)
    assert "20 of 20 steps, bound" in capsys.readouterr().out
