"""scikit-learn's checks of `MultiOutputGPRegressor`, and the places where people use it."""

import pickle

import numpy as np
import pandas as pd
import torch
from multioutput_cases import series
from sklearn.base import clone
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from nonparam import MultiOutputGPRegressor

X, COMPLETE, GAPPY = series(40, 3, gaps=0.3)
NEW = np.random.default_rng(9).uniform(-2.0, 2.0, (7, 2))


@parametrize_with_checks([MultiOutputGPRegressor()])
def test_scikit_learn_checks(estimator, check):
    check(estimator)


def test_tables_of_other_libraries():
    names = ["first", "second"]
    frame = pd.DataFrame(GAPPY, columns=["a", "b", "c"])
    model = MultiOutputGPRegressor("rbf").fit(pd.DataFrame(X, columns=names), frame)
    assert list(model.feature_names_in_) == names
    plain = MultiOutputGPRegressor("rbf").fit(torch.from_numpy(X), torch.from_numpy(GAPPY))
    np.testing.assert_array_equal(plain.predict(NEW), model.predict(pd.DataFrame(NEW, columns=names)))
    nullable = MultiOutputGPRegressor("rbf").fit(X, frame.astype("Float64"))
    np.testing.assert_array_equal(nullable.predict(NEW), plain.predict(NEW))
    whole = MultiOutputGPRegressor("rbf").fit(X, COMPLETE.round().astype(int))
    assert np.isfinite(whole.predict(NEW)).all()


def test_copies_are_the_same_model():
    model = MultiOutputGPRegressor("rbf", rank=2).fit(X, GAPPY)
    assert "_memory" not in vars(model._objective)  # of the search
    copy = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(copy.predict(NEW), model.predict(NEW))
    assert copy.log_marginal_likelihood(copy.theta_) == model.log_marginal_likelihood(model.theta_)
    assert clone(model).get_params()["rank"] == 2
    before = model.predict(NEW)
    model.log_marginal_likelihood(model.theta_ + 0.5)
    np.testing.assert_array_equal(model.predict(NEW), before)


def test_pipelines_and_scores():
    pipeline = make_pipeline(StandardScaler(), MultiOutputGPRegressor("rbf"))
    assert np.isfinite(cross_val_score(pipeline, X, COMPLETE, cv=2)).all()
    assert pipeline.fit(X, COMPLETE).score(X, COMPLETE) > 0.9


def test_the_plan_and_the_report_are_printed(capsys):
    MultiOutputGPRegressor("rbf", verbose=1).fit(X, GAPPY)
    printed = capsys.readouterr().out
    assert printed.startswith(f"n={np.isfinite(GAPPY).sum()}: float64 Cholesky") and "converged" in printed
