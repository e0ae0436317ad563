"""Predictive distributions of observations: inverses, integrals, and functions that are hardly known."""

import numpy as np
import pytest
import torch
from likelihood_cases import CASES, CENSORED
from scipy.integrate import quad
from scipy.stats import binom, norm, poisson

from nonparam.likelihoods import Binomial, Poisson, StudentT
from nonparam.likelihoods.prediction import Predictive

Q = np.array([0.001, 0.1, 0.5, 0.9, 0.999])
LIKELIHOODS = {name: case.likelihood for name, case in CASES.items()} | {"censored": CENSORED}
DISCRETE = [name for name, likelihood in LIKELIHOODS.items() if likelihood.is_discrete]


def predictive(likelihood, variance=0.5, rows=3, exposure=None):
    rng = np.random.default_rng(0)
    mean = torch.from_numpy(rng.normal(size=(rows, likelihood.latents)))
    found = None if exposure is None else torch.full((rows, 1), exposure, dtype=torch.float64)
    return Predictive(likelihood, mean, torch.full_like(mean, variance), found)


@pytest.mark.parametrize("variance", [1e-10, 0.5, 4.0])
@pytest.mark.parametrize("name", LIKELIHOODS)
@torch.no_grad()
def test_quantiles_are_inverses_of_the_distribution(name, variance):
    found = predictive(LIKELIHOODS[name], variance)
    quantiles = torch.from_numpy(found.quantiles(Q))
    assert (quantiles.diff(dim=1) >= 0.0).all()
    for q, column in zip(Q, quantiles.T, strict=True):
        if name in DISCRETE:
            at = found.distribution(column[:, None])
            below = found.distribution(column[:, None] - 1.0)
            assert (at >= q).all() and (below < q).all()
        else:
            below = found.distribution(column[:, None] - 1e-8)
            assert (found.distribution(column[:, None] + 1e-8) >= q).all() and (below <= q).all()


@pytest.mark.parametrize("name", [name for name in LIKELIHOODS if name != "heteroscedastic"])
@torch.no_grad()
def test_moments_are_integrals_over_the_function(name):
    likelihood, found = LIKELIHOODS[name], predictive(LIKELIHOODS[name])
    mean, variance, doubt = found.moments()
    nodes, weights = np.polynomial.hermite_e.hermegauss(120)
    weights = torch.from_numpy(weights / weights.sum())
    f = found.mean + found.variance.sqrt() * torch.from_numpy(nodes)
    given, spread = likelihood.response(f)
    torch.testing.assert_close(mean, given @ weights, rtol=1e-6, atol=1e-9)
    expected = given.square() @ weights - (given @ weights).square()
    torch.testing.assert_close(doubt, expected, rtol=1e-5, atol=1e-9)
    torch.testing.assert_close(variance, spread @ weights + expected, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("name", LIKELIHOODS)
@torch.no_grad()
def test_draws_follow_the_distribution(name):
    found = predictive(LIKELIHOODS[name])
    draws = found.sample(40_000, torch.Generator().manual_seed(0))
    for value in (-0.4, 0.0, 0.6, 1.0, 3.0):
        y = torch.full((3, 1), value, dtype=torch.float64)
        share = (draws <= value).double().mean(1)
        expected = found.distribution(y)
        error = (expected * (1.0 - expected) / 40_000).sqrt()
        assert ((share - expected).abs() <= 4.5 * error + 1e-9).all()


@pytest.mark.parametrize("name", DISCRETE)
@torch.no_grad()
def test_probabilities_add_up_to_the_distribution(name):
    found, total = predictive(LIKELIHOODS[name]), torch.zeros(3, dtype=torch.float64)
    for count in range(2 if name in ("bernoulli", "binomial") else 6):
        y = torch.full((3, 1), float(count), dtype=torch.float64)
        total += found.log_density(y).exp()
        torch.testing.assert_close(found.distribution(y), total, rtol=1e-8, atol=0.0)


@pytest.mark.parametrize("y", [30.0, 80.0, 120.0])
@torch.no_grad()
def test_large_counts_of_a_rate_that_is_hardly_known(y):
    """Between two of the usual places the count changes by more than it varies at either."""
    one, exposure = torch.ones(1, 1, dtype=torch.float64), 1e5
    found = Predictive(Poisson(), -7.0 * one, 0.25 * one, exposure * one)
    at = y * one

    def density(z, function):
        return norm.pdf(z) * function(exposure * np.exp(-7.0 + 0.5 * z))

    below = quad(density, -9.0, 9.0, (lambda rate: poisson.cdf(y, rate),), limit=400, epsabs=1e-12)[0]
    equal = quad(density, -9.0, 9.0, (lambda rate: poisson.pmf(y, rate),), limit=400, epsabs=1e-12)[0]
    assert float(found.distribution(at)) == pytest.approx(below, abs=1e-8)
    observed = torch.cat([at, exposure * one], 1)
    assert float(found.log_density(observed).exp()) == pytest.approx(equal, rel=1e-6)


@torch.no_grad()
def test_little_noise_around_a_function_that_is_hardly_known_leaves_no_steps():
    one = torch.ones(1, 1, dtype=torch.float64)
    found = Predictive(StudentT(5.0, 0.03), 0.0 * one, one)
    for y in (-1.234, 0.05, 0.777):
        assert float(found.distribution(y * one)) == pytest.approx(norm.cdf(y), abs=1e-3)
        assert float(found.log_density(y * one)) == pytest.approx(norm.logpdf(y), abs=5e-3)


@torch.no_grad()
def test_all_that_is_seen_may_be_a_limit():
    one = torch.ones(2, 1, dtype=torch.float64)
    found = Predictive(CENSORED, 90.0 * torch.tensor([[-1.0], [1.0]], dtype=torch.float64), 1e-4 * one)
    np.testing.assert_allclose(found.quantiles(Q), [[CENSORED.lowest] * 5, [CENSORED.highest] * 5], rtol=1e-9)


@torch.no_grad()
def test_an_exposure_is_a_number_of_trials():
    found = predictive(Binomial(), 1e-12, exposure=12.0)
    p = torch.sigmoid(found.mean[:, 0]).numpy()
    np.testing.assert_allclose(found.moments()[0], 12.0 * p, rtol=1e-6)
    np.testing.assert_array_equal(found.quantiles(Q), [binom.ppf(Q, 12, each) for each in p])


@pytest.mark.parametrize("name", ["poisson", "censored", "heteroscedastic"])
@torch.no_grad()
def test_many_rows_are_as_each_on_its_own(name):
    many = predictive(LIKELIHOODS[name], 0.4, rows=600)
    y = torch.zeros(600, 1, dtype=torch.float64)
    quantiles = many.quantiles(Q)
    for i in (0, 255, 256, 599):
        one = Predictive(many.likelihood, many.mean[[i]], many.variance[[i]])
        assert float(one.distribution(y[:1])) == pytest.approx(float(many.distribution(y)[i]), rel=1e-9)
        assert float(one.log_density(y[:1])) == pytest.approx(float(many.log_density(y)[i]), rel=1e-9)
        np.testing.assert_allclose(one.quantiles(Q)[0], quantiles[i], rtol=1e-6, atol=1e-6)
