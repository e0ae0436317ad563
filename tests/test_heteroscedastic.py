"""Noise that is a second function: closed forms, even noise, and noise that changes."""

import numpy as np
import pytest
import torch
from dense_gaussian import exact
from scipy.stats import norm

from nonparam import GPRegressor
from nonparam.errors import InputError
from nonparam.kernels import RBF
from nonparam.kernels.evaluate import covariance
from nonparam.latent.approximation import Observations
from nonparam.latent.variational import variational
from nonparam.likelihoods import Heteroscedastic
from nonparam.likelihoods.prediction import Predictive

MEAN = torch.tensor([[0.4, -0.8]], dtype=torch.float64)
VARIANCE = torch.tensor([[0.3, 0.15]], dtype=torch.float64)


def integral(function):
    """The average over both functions, by Gauss and Hermite's rule."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(90)
    weights = weights / weights.sum()
    f, g = (m + sd * nodes for m, sd in zip(MEAN[0].tolist(), VARIANCE[0].sqrt().tolist(), strict=True))
    return weights @ function(f[:, None], g[None] + 0.0 * f[:, None]) @ weights


def test_expected_log_densities_are_integrals():
    found = Heteroscedastic().expected_log_density(torch.tensor([[1.1]], dtype=torch.float64), MEAN, VARIANCE)
    assert float(found) == pytest.approx(integral(lambda f, g: norm.logpdf(1.1, f, np.exp(g))), rel=1e-7)


def test_predictions_are_integrals():
    found, y = Predictive(Heteroscedastic(), MEAN, VARIANCE), torch.tensor([[1.1]], dtype=torch.float64)
    mean, variance, doubt = (float(each) for each in found.moments())
    assert (mean, doubt) == pytest.approx((0.4, 0.3))
    assert variance == pytest.approx(0.3 + integral(lambda f, g: np.exp(2.0 * g)), rel=1e-7)
    assert float(found.log_density(y).exp()) == pytest.approx(
        integral(lambda f, g: norm.pdf(1.1, f, np.exp(g))), rel=1e-7
    )
    assert float(found.distribution(y)) == pytest.approx(
        integral(lambda f, g: norm.cdf(1.1, f, np.exp(g))), rel=1e-7
    )
    draws = found.sample(200_000, torch.Generator().manual_seed(0))
    assert float(draws.mean()) == pytest.approx(mean, abs=0.01)
    assert float(draws.var()) == pytest.approx(variance, rel=0.03)


def test_noise_that_cannot_change_is_the_gaussian_process():
    rng = np.random.default_rng(0)
    x = torch.from_numpy(np.sort(rng.uniform(0.0, 5.0, 30))[:, None])
    y = torch.from_numpy(np.sin(x[:, 0].numpy()) + 0.3 * rng.normal(size=30))
    k = covariance(RBF(1.0), x).detach()
    level = torch.tensor([0.0, np.log(0.3)], dtype=x.dtype)
    seen = Observations(y[:, None], torch.ones(30, dtype=x.dtype), Heteroscedastic(), level)
    found = variational([k, 1e-9 * k], seen, gradient=False)
    value, mean, variance = exact(k, y, 0.09)
    assert found.value == pytest.approx(value, abs=1e-5)
    torch.testing.assert_close(found.posterior.mean[:, 0], mean, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(found.posterior.variance[:, 0], variance, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("seed", range(3))
def test_even_noise_is_found_even(seed):
    rng = np.random.default_rng(seed)
    x = np.sort(rng.uniform(0.0, 8.0, 120))[:, None]
    y = np.sin(x[:, 0]) + 0.3 * rng.normal(size=120)
    plain, model = (GPRegressor("rbf", likelihood=name).fit(x, y) for name in ("gaussian", "heteroscedastic"))
    ours, theirs = (each.predict(x, return_std=True) for each in (model, plain))
    np.testing.assert_allclose(ours[0], theirs[0], atol=0.08)
    assert np.abs(np.log(ours[1] / theirs[1])).mean() < 0.2
    assert model.log_marginal_likelihood_ == pytest.approx(plain.log_marginal_likelihood_, abs=6.0)


@pytest.mark.parametrize("seed", range(4))
def test_changing_noise_is_found(seed):
    rng = np.random.default_rng(seed)
    x = np.sort(rng.uniform(0.0, 8.0, 150))[:, None]
    noise = 0.05 + 0.6 * (x[:, 0] / 8.0) ** 2
    y = np.sin(x[:, 0]) + noise * rng.normal(size=150)
    model = GPRegressor("rbf", likelihood="heteroscedastic").fit(x, y)
    plain = GPRegressor("rbf").fit(x, y)
    assert model.log_marginal_likelihood_ > plain.log_marginal_likelihood_ + 10.0
    inside = slice(10, -10)
    _, deviation = model.predict(x, return_std=True)
    assert np.abs(np.log(deviation / noise))[inside].mean() < 0.35
    _, doubt = model.predict(x, return_std=True, include_noise=False)
    assert (doubt < deviation).all()


def test_units_of_the_data_do_not_matter():
    rng = np.random.default_rng(0)
    x = np.sort(rng.uniform(0.0, 8.0, 60))[:, None]
    y = np.sin(x[:, 0]) + (0.05 + 0.05 * x[:, 0]) * rng.normal(size=60)
    model = GPRegressor("rbf", likelihood="heteroscedastic").fit(x, y)
    for unit in (1e-6, 1e6):
        other = GPRegressor("rbf", likelihood="heteroscedastic").fit(x, unit * (y + 5.0))
        np.testing.assert_allclose(other.predict(x) / unit - 5.0, model.predict(x), atol=2e-3)
        moved = model.log_marginal_likelihood_ - 60.0 * np.log(unit)
        assert other.log_marginal_likelihood_ == pytest.approx(moved, abs=0.02)


def test_observations_that_are_alike_are_refused():
    with pytest.raises(InputError, match="all observations are 3: take likelihood='gaussian'"):
        GPRegressor("rbf", likelihood="heteroscedastic").fit([[0.0], [1.0]], [3.0, 3.0])
