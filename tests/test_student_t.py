"""Student's likelihood: the bound of its expectation, its Gaussian limit, and outliers."""

import numpy as np
import pytest
import torch
from dense_gaussian import exact
from scipy.integrate import quad
from scipy.stats import norm, t

from nonparam import GPRegressor
from nonparam.kernels import RBF
from nonparam.kernels.evaluate import covariance
from nonparam.latent.approximation import Observations
from nonparam.latent.variational import variational
from nonparam.likelihoods import StudentT
from nonparam.likelihoods.student_t import robust_scale


def column(*values):
    return torch.tensor(values, dtype=torch.float64)[:, None]


@pytest.mark.parametrize("variance", [1e-8, 0.04, 1.0])
@pytest.mark.parametrize("df", [2.1, 5.0, 1e9])
def test_the_expected_log_density_is_bounded_from_below(df, variance):
    likelihood, places = StudentT(df, 0.5), (-4.0, 0.1, 1.0)
    y, mean = column(*places), column(0.3, 0.3, 0.3)
    found = likelihood.expected_log_density(y, mean, torch.full_like(mean, variance)).detach()
    for value, place in zip(found.tolist(), places, strict=True):

        def integrand(z, place=place):
            return t.logpdf(place, df, 0.3 + variance**0.5 * z, 0.5) * norm.pdf(z)

        expected = quad(integrand, -10.0, 10.0, limit=200)[0]
        gap = expected - value
        # Jensen's inequality loses no more than half the variance of the logarithm, roughly
        assert -1e-7 * abs(expected) <= gap <= 0.25 * (df + 1.0) * (variance / (0.25 * df)) ** 0.5 + 1e-6
        if variance == 1e-8 or df == 1e9:
            assert gap < 1e-4


def test_with_many_degrees_of_freedom_it_is_gaussian():
    rng = np.random.default_rng(0)
    x = torch.from_numpy(rng.normal(size=(25, 1)))
    y = torch.from_numpy(np.sin(2.0 * x[:, 0].numpy()) + 0.3 * rng.normal(size=25))
    k = covariance(2.0 * RBF(0.7), x).detach()
    ones, zero = torch.ones(25, dtype=x.dtype), torch.zeros(1, dtype=x.dtype)
    found = variational([k], Observations(y[:, None], ones, StudentT(1e9, 0.3), zero), gradient=False)
    value, mean, variance = exact(k, y, 0.09)
    assert found.value == pytest.approx(value, abs=1e-5)
    torch.testing.assert_close(found.posterior.mean[:, 0], mean, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(found.posterior.variance[:, 0], variance, rtol=1e-6, atol=1e-6)


def test_the_bound_is_below_the_evidence():
    one, zero = torch.ones(1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    for y in (0.2, 3.0):
        seen = Observations(column(y), one, StudentT(3.0, 0.5), zero)
        bound = variational([1.5 * one[:, None]], seen, gradient=False).value
        density = quad(lambda f, y=y: t.pdf(y, 3.0, f, 0.5) * norm.pdf(f, 0.0, 1.5**0.5), -20.0, 20.0)[0]
        assert np.log(density) - 0.4 < bound < np.log(density)


def test_deviations_are_infinite_with_two_degrees_of_freedom():
    _, variance = StudentT(2.0, 1.0).response(column(0.0))
    assert torch.isinf(variance).all()


def test_a_scale_that_outliers_do_not_move():
    rng = np.random.default_rng(1)
    y = rng.normal(3.0, 2.0, 5000)
    assert robust_scale(y, np.ones(len(y))) == pytest.approx(2.0, rel=0.05)
    y[:1000] = 1e12
    assert robust_scale(y, np.ones(len(y))) < 4.0
    ones = np.ones(5)
    assert robust_scale(np.full(5, 7.0), ones) == 7.0 and robust_scale(np.zeros(5), ones) == 1.0
    assert robust_scale(np.array([0.0, 0.0, 0.0, 0.0, 10.0]), ones) == 2.0


@pytest.mark.parametrize("seed", range(4))
def test_outliers_hardly_move_the_function(seed):
    rng = np.random.default_rng(seed)
    x = np.sort(rng.uniform(0.0, 10.0, 100))[:, None]
    truth = np.sin(x[:, 0])
    y = truth + 0.2 * rng.normal(size=100)
    moved = y.copy()
    moved[rng.permutation(100)[:10]] += rng.choice([-3.0, 3.0, 30.0], 10)
    clean, plain = GPRegressor("rbf").fit(x, y), GPRegressor("rbf").fit(x, moved)
    robust = GPRegressor("rbf", likelihood="student_t").fit(x, moved)
    errors = [np.sqrt(np.mean((model.predict(x) - truth) ** 2)) for model in (clean, plain, robust)]
    assert errors[2] < 1.7 * errors[0] and errors[2] < 0.35 * errors[1]
    assert robust.likelihood_.df.item() < 4.0 and 0.1 < robust.likelihood_.scale.item() < 0.3


def test_without_outliers_little_is_lost():
    rng = np.random.default_rng(5)
    x = np.sort(rng.uniform(0.0, 10.0, 150))[:, None]
    y = np.sin(x[:, 0]) + 0.2 * rng.normal(size=150)
    plain, robust = (GPRegressor("rbf", likelihood=name).fit(x, y) for name in ("gaussian", "student_t"))
    np.testing.assert_allclose(robust.predict(x), plain.predict(x), atol=0.05)
    assert robust.likelihood_.df.item() > 10.0
    assert robust.log_evidence() < plain.log_marginal_likelihood_
