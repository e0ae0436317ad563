"""Transforms, and mixtures of Gaussians behind them."""

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import lognorm, multivariate_normal, norm

from nonparam.forecasting.mixture import JointMixture, Mixture
from nonparam.forecasting.transforms import IDENTITY, LOG, Standardised, standardise

LEVELS = np.array([0.001, 0.025, 0.3, 0.5, 0.9, 0.975, 0.9999])
PLAIN = Standardised(IDENTITY, 3.0, 2.0)
LOGGED = Standardised(LOG, 1.0, 0.5)


def mixture(weights=(0.3, 0.7), m=4):
    rng = np.random.RandomState(0)
    mean, sd = rng.standard_normal((2, m)), 0.2 + rng.random_sample((2, m))
    return Mixture(np.array(weights), (PLAIN, LOGGED), mean, sd)


def test_the_distribution_function_is_the_weighted_sum_of_normal_and_lognormal_ones():
    mixed, y = mixture(), np.array([0.5, 2.0, 3.0, 9.0])
    plain = norm(3.0 + 2.0 * mixed.mean[0], 2.0 * mixed.sd[0]).cdf(y)
    logged = lognorm(s=0.5 * mixed.sd[1], scale=np.exp(1.0 + 0.5 * mixed.mean[1])).cdf(y)
    np.testing.assert_allclose(mixed.cdf(y), 0.3 * plain + 0.7 * logged, rtol=1e-12)


@pytest.mark.parametrize("weights", [(0.3, 0.7), (1.0, 0.0), (0.0, 1.0), (1e-9, 1.0 - 1e-9)])
def test_quantiles_invert_the_distribution_function(weights):
    mixed = mixture(weights)
    quantiles = mixed.quantile(LEVELS)
    assert quantiles.shape == (4, len(LEVELS))
    assert (np.diff(quantiles, axis=1) > 0).all()
    np.testing.assert_allclose(mixed.cdf(quantiles), np.broadcast_to(LEVELS, quantiles.shape), rtol=1e-12)


def test_the_quantile_is_the_first_float_that_reaches_the_level():
    mixed = mixture()
    quantiles = mixed.quantile(LEVELS)
    assert (mixed.cdf(quantiles) >= LEVELS).all()
    assert (mixed.cdf(np.nextafter(quantiles, -np.inf)) < LEVELS).all()


@pytest.mark.parametrize("scale", [1e-90, 1e-9, 1e9, 1e90])
def test_quantiles_are_as_exact_at_any_scale(scale):
    one = Mixture(np.ones(1), (Standardised(IDENTITY, 0.0, scale),), np.zeros((1, 1)), np.ones((1, 1)))
    np.testing.assert_allclose(
        one.quantile(LEVELS)[0], scale * norm.ppf(LEVELS), rtol=1e-9, atol=1e-9 * scale
    )


def test_members_far_apart_are_no_trouble():
    wide = Mixture(
        np.array([0.5, 0.5]), (PLAIN, LOGGED), np.array([[0.0], [1300.0]]), np.array([[1.0], [200.0]])
    )
    quantiles = wide.quantile(LEVELS)
    assert np.isfinite(quantiles).all()
    assert (np.diff(quantiles) >= 0).all()
    assert quantiles[0, 2] < 20.0 < 1e100 < quantiles[0, 4]


def test_the_joint_density_integrates_to_one_and_matches_its_parts():
    one = JointMixture(np.array([0.4, 0.6]), (PLAIN, LOGGED), np.zeros((2, 1)), np.full((2, 1, 1), 0.5))
    total, _ = quad(lambda y: np.exp(one.log_density(np.array([y]))), -20, 60, points=[0.0], limit=500)
    assert total == pytest.approx(1.0, abs=1e-6)


def test_the_joint_density_is_that_of_correlated_normals_with_the_jacobian():
    mean, covariance = (
        np.array([[0.1, -0.3], [0.2, 0.4]]),
        np.array([[[1.0, 0.6], [0.6, 2.0]], [[0.5, 0.2], [0.2, 0.3]]]),
    )
    y = np.array([2.5, 4.0])
    plain = multivariate_normal(3.0 + 2.0 * mean[0], 4.0 * covariance[0]).pdf(y)
    logged = multivariate_normal(1.0 + 0.5 * mean[1], 0.25 * covariance[1]).pdf(np.log(y)) / y.prod()
    found = JointMixture(np.array([0.4, 0.6]), (PLAIN, LOGGED), mean, covariance).log_density(y)
    assert found == pytest.approx(np.log(0.4 * plain + 0.6 * logged), abs=1e-12)


def test_a_negative_number_is_impossible_for_the_logarithm_only():
    covariance = np.full((2, 1, 1), 0.5)
    both = JointMixture(np.array([0.4, 0.6]), (PLAIN, LOGGED), np.zeros((2, 1)), covariance)
    plain = np.log(0.4) + norm(3.0, 2.0 * np.sqrt(0.5)).logpdf(-1.0)
    assert both.log_density(np.array([-1.0])) == pytest.approx(plain, abs=1e-12)
    logged = JointMixture(np.ones(1), (LOGGED,), np.zeros((1, 1)), covariance[:1])
    assert logged.log_density(np.array([-1.0])) == -np.inf


def test_draws_follow_the_mixture():
    mean, covariance = np.array([[0.0, 1.0], [2.0, -1.0]]), np.array([np.eye(2), [[0.5, 0.4], [0.4, 0.5]]])
    joint = JointMixture(np.array([0.3, 0.7]), (PLAIN, LOGGED), mean, covariance)
    draws = joint.sample(20_000, np.random.RandomState(1))
    marginal = Mixture(
        joint.weights, joint.transforms, mean, np.sqrt(np.stack([np.diag(c) for c in covariance]))
    )
    for level in (0.1, 0.5, 0.9):
        below = (draws <= marginal.quantile(np.array([level]))[:, 0]).mean(0)
        assert (np.abs(below - level) < 4 * np.sqrt(level * (1 - level) / len(draws))).all()


@pytest.mark.parametrize("link", [IDENTITY, LOG])
def test_transforms_go_back_and_forth_and_standardise(link):
    y = np.array([3.0, 5.0, 4.0, 9.0, 2.5])
    transform = standardise(link, y)
    z = transform.forward(y)
    np.testing.assert_allclose(transform.inverse(z), y, rtol=1e-14)
    assert z.mean() == pytest.approx(0.0, abs=1e-14)
    assert z.std(ddof=1) == pytest.approx(1.0, abs=1e-14)
    step = 1e-6
    slope = (transform.forward(y + step) - transform.forward(y - step)) / (2 * step)
    np.testing.assert_allclose(transform.log_slope(y), np.log(slope), atol=1e-8)


def test_a_small_spread_on_a_large_level_keeps_its_digits():
    y = 1e12 + np.array([0.0, 1.0, 2.0, 3.0])
    np.testing.assert_allclose(
        standardise(IDENTITY, y).forward(y), standardise(IDENTITY, y - 1e12).forward(y - 1e12)
    )


@pytest.mark.parametrize(("y", "scale"), [([4.0, 4.0], 4.0), ([-3.0], 3.0), ([0.0, 0.0, 0.0], 1.0)])
def test_a_series_without_spread_is_scaled_by_its_size(y, scale):
    assert standardise(IDENTITY, np.array(y)).scale == scale


@pytest.mark.parametrize(
    ("y", "suits"),
    [
        ([1.0, 2.0], True),
        ([0.0, 2.0], False),
        ([-1.0, 2.0], False),
        ([0.01, 2.0, 3.0], False),
        ([2.0, 2.0], False),
        ([0.01, 2.0], False),
        (np.exp(0.5 * np.arange(30)), True),
        (np.exp(-0.5 * np.arange(30)), True),
        (np.exp(0.5 * np.arange(30) + 0.8 * np.random.RandomState(0).standard_normal(30)), True),
        (np.r_[1e-3, np.linspace(2.0, 4.0, 29)], False),
        (np.r_[np.linspace(2.0, 4.0, 14), 1e-3, np.linspace(4.0, 6.0, 14)], False),
        (np.exp(0.5 * np.arange(30) + 4.0 * (np.arange(30) == 0)), True),
        (np.exp(3.0 * np.sin(np.arange(60) / 6.0)), False),
        (np.r_[np.full(15, 0.01), np.linspace(2.0, 4.0, 16)], False),
    ],
)
def test_the_logarithm_is_tried_where_it_is_safe(y, suits):
    assert LOG.suits(np.array(y)) is suits
