"""A Gaussian for rows with gaps and noise: closed forms, likelihood, and what it was drawn from."""

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from nonparam.gaussian_inputs import GaussianRows, fit_rows

RNG = np.random.default_rng(0)
ROOT = np.array([[1.0, 0.0, 0.0], [0.8, 0.6, 0.0], [-0.5, 0.3, 0.4]])
FULL = RNG.standard_normal((400, 3)) @ ROOT.T + [1.0, -2.0, 0.5]
NONE = np.zeros(3)


def gappy(share, seed=0):
    z = FULL.copy()
    z[np.random.default_rng(seed).random(z.shape) < share] = np.nan
    return z


def log_likelihood(rows, z):
    total = 0.0
    for row in z:
        some = np.isfinite(row)
        if some.any():
            inner = rows.covariance[np.ix_(some, some)] + np.diag(rows.noise[some])
            total += multivariate_normal(rows.mean[some], inner).logpdf(row[some])
    return total


def test_rows_without_gaps_have_their_own_moments():
    found = fit_rows(FULL, NONE)
    np.testing.assert_allclose(found.mean, FULL.mean(0))
    expected = (400.0 * np.cov(FULL.T, bias=True) + np.diag(FULL.var(0))) / 401.0  # the prior is worth a row
    np.testing.assert_allclose(found.covariance, expected, rtol=1e-10)


def test_gaps_are_filled_by_regression_on_what_was_seen():
    rows = GaussianRows(np.array([1.0, -2.0, 0.5]), ROOT @ ROOT.T, np.array([0.0, 0.3, 0.0]))
    z = np.array([[2.0, -1.0, np.nan], [np.nan, np.nan, np.nan], [0.0, 0.0, 0.0]])
    means, covariances = rows.given(z)
    k = rows.covariance
    inner = k[:2, :2] + np.diag([0.0, 0.3])
    gain = k[:, :2] @ np.linalg.inv(inner)
    np.testing.assert_allclose(means[0], rows.mean + gain @ (z[0, :2] - rows.mean[:2]))
    np.testing.assert_allclose(covariances[0], k - gain @ k[:2], atol=1e-12)
    np.testing.assert_allclose(means[1], rows.mean)
    np.testing.assert_allclose(covariances[1], k)
    np.testing.assert_allclose(means[2][[0, 2]], 0.0, atol=1e-9)  # without noise


@pytest.mark.parametrize("noise", [NONE, np.array([0.2, 0.0, 0.1])])
def test_no_other_gaussian_is_more_likely(noise):
    """Beside small changes; the prior, worth one row of 400, moves the maximum by little."""
    z = gappy(0.3) + np.sqrt(noise) * RNG.standard_normal(FULL.shape)
    found = fit_rows(z, noise)
    best = log_likelihood(found, z)
    for _ in range(20):
        mean = found.mean + 0.1 * RNG.standard_normal(3)
        root = np.linalg.cholesky(found.covariance) @ (np.eye(3) + 0.1 * np.tril(RNG.standard_normal((3, 3))))
        assert log_likelihood(GaussianRows(mean, root @ root.T, noise), z) < best + 0.5


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_the_truth_is_found(share):
    noise = np.array([0.1, 0.1, 0.0])
    z = gappy(share) + np.sqrt(noise) * np.random.default_rng(1).standard_normal(FULL.shape)
    found = fit_rows(z, noise)
    np.testing.assert_allclose(found.mean, [1.0, -2.0, 0.5], atol=0.2)
    np.testing.assert_allclose(found.covariance, ROOT @ ROOT.T, atol=0.25)


def test_draws_have_the_moments_and_keep_what_was_seen():
    rows = fit_rows(gappy(0.3), np.array([0.0, 0.2, 0.0]))
    z = np.array([[2.0, -1.0, np.nan], [np.nan, 0.0, np.nan]])
    drawn = rows.draw(z, 20_000, np.random.RandomState(0))
    means, covariances = rows.given(z)
    np.testing.assert_array_equal(drawn[:, 0, 0], 2.0)
    np.testing.assert_allclose(drawn.mean(0), means, atol=0.03)
    for i in range(2):
        np.testing.assert_allclose(np.cov(drawn[:, i].T), covariances[i], atol=0.03)


def test_columns_that_do_not_vary_or_repeat_another():
    z = np.column_stack([FULL[:50, 0], np.full(50, 3.0), 2.0 * FULL[:50, 0]])
    z[::5, 2] = np.nan
    means, covariances = fit_rows(z, NONE).given(z)
    assert np.isfinite(means).all() and (np.diagonal(covariances, axis1=1, axis2=2) > -1e-9).all()
    np.testing.assert_allclose(means[::5, 2], 2.0 * z[::5, 0], atol=0.3)
