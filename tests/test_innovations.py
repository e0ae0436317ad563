"""Regression on innovations against the dense Gaussian with features in its covariance."""

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from nonparam.solvers.innovations import regress


def problem(n=15, q=3, seed=0):
    rng = np.random.default_rng(seed)
    covariance = np.cov(rng.standard_normal((n, 3 * n))) + 0.1 * np.eye(n)
    return rng.standard_normal(n), rng.standard_normal((n, q)), covariance, rng.uniform(0.1, 3.0, q)


def whitened(y, features, covariance):
    """What a filter returns: its roots multiply to the inverse square root of the determinant."""
    factor = np.linalg.cholesky(covariance)
    return np.linalg.solve(factor, np.column_stack([y, features])), 1.0 / np.diag(factor)


@pytest.mark.parametrize("q", [0, 1, 3])
def test_density_and_coefficients_are_the_dense_ones(q):
    y, features, covariance, variances = problem(q=q)
    found = regress(*whitened(y, features, covariance), variances)
    whole = covariance + features * variances @ features.T
    assert found.log_density == pytest.approx(multivariate_normal(cov=whole).logpdf(y), rel=1e-12)
    gain = np.linalg.solve(whole, features * variances)
    assert found.mean == pytest.approx(gain.T @ y)
    posterior = np.diag(variances) - (features * variances).T @ gain
    assert found.root @ found.root.T == pytest.approx(posterior)


def test_slopes_are_those_of_differences():
    y, features, covariance, variances = problem()
    rows = whitened(y, features, covariance)
    for i, slope in enumerate(regress(*rows, variances).slopes):
        ends = [regress(*rows, variances * np.exp(s * np.eye(3)[i])).log_density for s in (1e-5, -1e-5)]
        assert slope == pytest.approx((ends[0] - ends[1]) / 2e-5, rel=1e-6)


def test_rows_that_were_not_observed_do_not_count():
    y, features, covariance, variances = problem()
    innovations, roots = whitened(y, features, covariance)
    padded = regress(np.insert(innovations, 4, 0.0, axis=0), np.insert(roots, 4, 0.0), variances)
    assert padded.log_density == pytest.approx(regress(innovations, roots, variances).log_density, rel=1e-14)


def test_mixed_columns_are_the_rest_and_the_directions():
    y, features, covariance, variances = problem()
    found = regress(*whitened(y, features, covariance), variances)
    mixed = found.mixed(np.column_stack([y, features]))
    assert mixed[:, 0] == pytest.approx(y - features @ found.mean)
    assert mixed[:, 1:] == pytest.approx(features @ found.root)


@pytest.mark.parametrize("scale", [1e-40, 1e40])
def test_extreme_variances_and_the_same_feature_twice(scale):
    y, features, covariance, _ = problem()
    twice = np.column_stack([features, features])
    found = regress(*whitened(y, twice, covariance), np.full(6, scale))
    assert np.isfinite(found.log_density) and np.isfinite(found.slopes).all()
    if scale < 1.0:
        assert found.log_density == pytest.approx(multivariate_normal(cov=covariance).logpdf(y), rel=1e-12)
