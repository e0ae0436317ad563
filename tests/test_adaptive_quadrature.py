"""Integrals over one parameter that are known, and priors that are none."""

import numpy as np
import pytest
from scipy import stats

from nonparam.errors import ConvergenceError, InputError
from nonparam.model_selection import quadrature_evidence


@pytest.mark.parametrize("width", [1e-6, 1.0, 50.0, 1e7])
@pytest.mark.parametrize("datum", [0.0, 3.0, -41.6])
def test_normal_prior_of_a_normal_mean(width, datum):
    found = quadrature_evidence(lambda a: stats.norm(a, 2.0).logpdf(datum), stats.norm(0.0, width))
    assert found == pytest.approx(stats.norm(0.0, np.hypot(2.0, width)).logpdf(datum), abs=1e-7)


def test_a_prior_too_wide_for_the_digits_of_a_float_is_not_certified():
    with pytest.raises(ConvergenceError, match="a prior at most some hundred million times as wide"):
        quadrature_evidence(lambda a: stats.norm(a, 2.0).logpdf(3.0), stats.norm(0.0, 1e14))


def test_a_needle_of_a_likelihood_in_a_haystack():
    found = quadrature_evidence(lambda a: stats.norm(a, 1e-4).logpdf(123.4567), stats.uniform(0.0, 1000.0))
    assert found == pytest.approx(-np.log(1000.0), abs=1e-7)


@pytest.mark.parametrize(("a", "b"), [(0.5, 0.5), (0.01, 2.0), (1.0, 1.0), (30.0, 3.0)])
@pytest.mark.parametrize("heads", [0, 7, 20])
def test_beta_binomial_with_infinite_densities_at_the_ends(a, b, heads):
    def likelihood(p):
        return stats.binom(20, p).logpmf(heads)

    exact = stats.betabinom(20, a, b).logpmf(heads)
    assert quadrature_evidence(likelihood, stats.beta(a, b)) == pytest.approx(exact, abs=1e-7)


def test_poisson_rate_with_a_gamma_prior():
    counts = np.array([3, 9, 4])
    prior = stats.gamma(2.5, scale=1.0 / 0.4)
    first = stats.nbinom(2.5, 0.4 / 1.4).logpmf(3)
    second = stats.nbinom(2.5 + 3, 1.4 / 2.4).logpmf(9)
    third = stats.nbinom(2.5 + 12, 2.4 / 3.4).logpmf(4)
    found = quadrature_evidence(lambda rate: stats.poisson(rate).logpmf(counts).sum(), prior)
    assert found == pytest.approx(first + second + third, abs=1e-7)


def test_two_maxima_are_both_counted():
    found = quadrature_evidence(lambda a: stats.norm(abs(a), 0.3).logpdf(1.5), stats.norm(0.0, 1.0))
    grid = np.linspace(-8.0, 8.0, 400_001)
    values = stats.norm.pdf(1.5, np.abs(grid), 0.3) * stats.norm.pdf(grid)
    assert found == pytest.approx(np.log(np.trapezoid(values, grid)), abs=1e-7)


def test_heavy_tails():
    found = quadrature_evidence(lambda a: stats.norm(a, 1.0).logpdf(1e4), stats.cauchy())
    grid = np.linspace(1e4 - 40.0, 1e4 + 40.0, 200_001)
    values = stats.norm.pdf(1e4, grid, 1.0) * stats.cauchy.pdf(grid)
    assert found == pytest.approx(np.log(np.trapezoid(values, grid)), abs=1e-7)


def test_data_that_are_impossible_have_no_evidence():
    assert quadrature_evidence(lambda a: -np.inf, stats.norm()) == -np.inf


@pytest.mark.parametrize(
    "prior",
    [stats.norm(0.0, np.inf), stats.uniform(0.0, np.inf), stats.norm(0.0, np.nan), stats.norm(0.0, 0.0)],
)
def test_improper_priors_are_refused_with_the_reason(prior):
    with pytest.raises(InputError, match="is not proper: an improper prior is defined up to a factor only"):
        quadrature_evidence(lambda a: 0.0, prior)


@pytest.mark.parametrize("prior", [None, 1.0, stats.poisson(3.0), lambda a: a])
def test_what_is_no_continuous_distribution_is_refused(prior):
    with pytest.raises(InputError, match=r"must be a frozen distribution of scipy\.stats such as norm"):
        quadrature_evidence(lambda a: 0.0, prior)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_likelihood_that_is_no_number_is_refused(value):
    with pytest.raises(InputError, match=f"the log likelihood is {value} at"):
        quadrature_evidence(lambda a: value, stats.norm())


def test_a_likelihood_that_is_not_smooth_is_not_certified():
    def rough(a):
        return float(np.sin(1e7 * a) > 0.0)

    with pytest.raises(ConvergenceError, match="expected a likelihood that is smooth in it"):
        quadrature_evidence(rough, stats.norm())
