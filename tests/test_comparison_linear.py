"""Comparisons of Bayesian linear models and of hypotheses as distributions."""

import numpy as np
import pytest
from comparison_cases import DRAWS, NormalMean, sine
from scipy.stats import multivariate_normal, norm
from sklearn.linear_model import BayesianRidge

from nonparam import BayesianLinearRegressor, GPRegressor, compare
from nonparam.errors import InputError
from nonparam.model_selection import Hypothesis

X, Y = sine()


def waves(x):
    return np.column_stack([np.ones(len(x)), np.sin(x[:, 0]), np.cos(x[:, 0])])


def known(features, variance: float = 1.0, **options) -> BayesianLinearRegressor:
    return BayesianLinearRegressor(features, intercept=False, prior_variance=variance, **options)


def test_evidence_is_exact_and_its_prior_is_widened():
    models = {"waves": known(waves, noise=0.04), "line": known(None, noise=0.04)}
    report = compare(models, X, Y, orderings=4)
    for width in (0.5, 1.0, 2.0, 4.0):
        phi = waves(X)
        exact = multivariate_normal(cov=width**2 * phi @ phi.T + 0.04 * np.eye(40)).logpdf(Y)
        assert report.hypothesis.sensitivity[width]["waves"] == pytest.approx(exact, rel=1e-8)
    assert report.hypothesis.best == "waves" and report.generalisation.disagreement is None


def test_student_densities_of_an_unknown_noise():
    noise = {"noise": "marginalise", "noise_shape": 2.0, "noise_rate": 0.1}
    models = {"waves": known(waves, **noise), "line": known(None, **noise)}
    report = compare(models, X, Y, orderings=4)
    assert report.table.notna().all(axis=None)
    increments = report.models[0].increments
    np.testing.assert_allclose(increments.sum(1), report.table.lml["waves"], rtol=1e-9)
    densities = []
    for i in range(40):
        rest = np.delete(np.arange(40), i)
        fitted = known(waves, **noise).fit(X[rest], Y[rest])
        densities.append(fitted.log_predictive_density(X[i : i + 1], Y[i : i + 1])[0])
    np.testing.assert_allclose(report.models[0].loo, densities, rtol=1e-7)


def test_linear_model_and_gaussian_process_of_the_same_mean():
    models = {"linear": BayesianLinearRegressor(prior_variance=1.0, noise=0.5), "rbf": GPRegressor("rbf")}
    report = compare(models, X, Y, orderings=4)
    assert report.hypothesis.left_out == {}
    other = {"linear": known(None, noise=0.5), "rbf": GPRegressor("rbf")}
    with pytest.raises(InputError, match=r"no Bayes factor.*an improper prior: its mean has"):
        _ = compare(other, X, Y, orderings=4).hypothesis


def test_learnt_variances_have_no_prior():
    models = {"learnt": BayesianLinearRegressor(), "ridge": BayesianRidge(), "given": known(None, noise=0.5)}
    report = compare(models, X, Y, orderings=4)
    with pytest.raises(InputError, match="'learnt': no prior of what was learnt"):
        _ = report.hypothesis
    assert np.isfinite(report.table.loc["learnt", ["clml", "loo", "bic", "parameters"]].astype(float)).all()


def test_hypotheses_as_distributions():
    y = DRAWS[:12]
    models = [
        Hypothesis("none", norm(0.0, 1.0)),
        Hypothesis("some", lambda mean: norm(mean, 1.0), prior=norm(0.0, 1.0)),
    ]
    report = compare(models, None, y, orderings=4)
    assert list(report.table.index) == ["none", "some"]
    exact = NormalMean(0.0, 1.0).joint_density(y)
    assert report.table.log_evidence["some"] == pytest.approx(exact.log_density(), abs=1e-6)
    assert report.table.log_evidence["none"] == pytest.approx(norm.logpdf(y).sum(), rel=1e-12)
    singles = [held.log_joint for held in exact.held_out([np.array([i]) for i in range(12)])]
    assert report.table.loo["some"] == pytest.approx(np.mean(singles), abs=1e-6)
    wide = NormalMean(0.0, 16.0).joint_density(y).log_density()
    assert report.hypothesis.sensitivity[4.0].to_dict() == pytest.approx(
        {"none": norm.logpdf(y).sum(), "some": wide}, abs=1e-6
    )
