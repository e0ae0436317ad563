"""Censored numbers: no limit is the Gaussian process, tails keep their digits, limits hold."""

import mpmath
import numpy as np
import pytest
import torch
from dense_gaussian import exact
from scipy.integrate import quad
from scipy.stats import norm

from nonparam import GPRegressor
from nonparam.errors import InputError
from nonparam.kernels import RBF
from nonparam.kernels.evaluate import covariance
from nonparam.latent.approximation import Observations
from nonparam.latent.laplace import laplace_mode
from nonparam.latent.variational import variational
from nonparam.likelihoods import Censored

RNG = np.random.default_rng(0)
X = np.sort(RNG.uniform(0.0, 6.0, 60))[:, None]
LATENT = np.sin(X[:, 0]) + 0.2 * RNG.normal(size=60)


def column(*values):
    return torch.tensor(values, dtype=torch.float64)[:, None]


@pytest.mark.parametrize("infer", [laplace_mode, variational])
def test_without_limits_it_is_the_exact_gaussian_process(infer):
    x, y = torch.from_numpy(X), torch.from_numpy(LATENT)
    k = covariance(1.3 * RBF(0.8), x).detach()
    likelihood = Censored(-np.inf, np.inf, noise=0.04)
    weights = torch.from_numpy(RNG.uniform(0.5, 2.0, 60))
    ones = torch.ones_like(weights)
    zero = torch.zeros(1, dtype=x.dtype)
    found = infer([k], Observations(y[:, None], ones, likelihood, zero))
    value, mean, variance = exact(k, y, 0.04)
    assert found.value == pytest.approx(value, abs=1e-6)
    torch.testing.assert_close(found.posterior.mean[:, 0], mean, rtol=1e-7, atol=1e-8)
    torch.testing.assert_close(found.posterior.variance[:, 0], variance, rtol=1e-7, atol=1e-8)
    weighted = infer([k], Observations(y[:, None], weights, likelihood, zero))
    torch.testing.assert_close(
        weighted.posterior.mean[:, 0], exact(k, y, 0.04 / weights)[1], rtol=1e-7, atol=1e-8
    )


@pytest.mark.parametrize("inference", ["laplace", "variational"])
def test_an_estimator_without_limits_is_a_gaussian_one(inference):
    model = GPRegressor("rbf", likelihood=Censored(-np.inf, np.inf), inference=inference).fit(X, LATENT)
    k = covariance(model.kernel_, torch.from_numpy(X)).detach()
    noise = model.likelihood_.noise.item()
    y = torch.from_numpy(LATENT)
    value, mean, variance = exact(k, y - y.mean(), noise)
    assert model.log_marginal_likelihood_ == pytest.approx(value, abs=1e-6)
    found, deviation = model.predict(X, return_std=True)
    np.testing.assert_allclose(found, (mean + y.mean()).numpy(), rtol=1e-6)
    np.testing.assert_allclose(deviation, np.sqrt(variance.numpy() + noise), rtol=1e-6)
    np.testing.assert_allclose(
        model.predict_quantiles(X, [0.9])[:, 0], found + norm.ppf(0.9) * deviation, rtol=1e-6
    )
    density = norm.logpdf(LATENT, found, deviation)
    np.testing.assert_allclose(model.log_predictive_density(X, LATENT), density, rtol=1e-6)
    plain = GPRegressor("rbf").fit(X, LATENT)
    np.testing.assert_allclose(found, plain.predict(X), atol=0.02)


@pytest.mark.parametrize("z", [3.0, 0.0, -5.0, -37.0, -99.0, -101.0, -1e5, -1e9])
def test_log_probabilities_and_their_derivatives_keep_their_digits_in_the_tail(z):
    likelihood, y, f = Censored(lower=0.0, noise=0.25), column(0.0), column(-0.5 * z)
    first, second, third = (float(each.detach()) for each in likelihood.derivatives(y, f))
    with mpmath.workdps(80):
        at = mpmath.mpf(z)
        tail = mpmath.erfc(-at / mpmath.sqrt(2)) / 2
        h = mpmath.exp(-(at**2) / 2) / mpmath.sqrt(2 * mpmath.pi) / tail
        value, curve = mpmath.log(tail), -h * (at + h)
        change = h * ((at + h) * (at + 2 * h) - 1)
    assert float(likelihood.log_density(y, f).detach()) == pytest.approx(float(value), rel=1e-9)
    assert first == pytest.approx(-2.0 * float(h), rel=1e-9)
    assert second == pytest.approx(4.0 * float(curve), rel=1e-6)
    assert third == pytest.approx(-8.0 * float(change), rel=1e-3, abs=0.0)


@pytest.mark.parametrize("limits", [(-0.5, 1.0), (-0.5, None), (None, 0.2), (-np.inf, np.inf), (30.0, 31.0)])
@pytest.mark.parametrize("f", [-60.0, -2.0, 0.1, 3.0, 60.0])
def test_responses_are_integrals(limits, f):
    likelihood = Censored(*limits, noise=0.49)
    low, high = likelihood.lowest, likelihood.highest
    mean, variance = (float(each.detach()) for each in likelihood.response(column(f)))

    def moment(power, centre):
        ends = [(np.clip(end, f - 9.0, f + 9.0)) for end in (low, high)]
        inside = quad(lambda y: (y - centre) ** power * norm.pdf(y, f, 0.7), *ends, epsabs=1e-13)[0]
        left = 0.0 if low == -np.inf else (low - centre) ** power * norm.cdf(low, f, 0.7)
        right = 0.0 if high == np.inf else (high - centre) ** power * norm.sf(high, f, 0.7)
        return inside + left + right

    assert mean == pytest.approx(moment(1, 0.0), rel=1e-8, abs=1e-10)
    assert variance == pytest.approx(moment(2, mean), rel=1e-6, abs=1e-10)


def test_the_distribution_has_the_probabilities_of_the_limits():
    likelihood, f = Censored(-0.5, 1.0, noise=0.49), column(0.1)
    found = [
        float(likelihood.distribution(column(y), f).detach()) for y in (-0.6, -0.5, 0.3, 0.999, 1.0, 2.0)
    ]
    z = (np.array([-0.5, 0.3, 0.999]) - 0.1) / 0.7
    np.testing.assert_allclose(found, [0.0, *norm.cdf(z), 1.0, 1.0], rtol=1e-12)


@pytest.mark.parametrize("limits", [(0.0, None), (None, 0.5), (-0.4, 0.6)])
def test_the_function_beyond_the_limits_is_found(limits):
    model = GPRegressor("rbf", likelihood=Censored(*limits))
    low, high = model.likelihood.lowest, model.likelihood.highest
    y = np.clip(LATENT, low, high)
    model.fit(X, y)
    naive = GPRegressor("rbf").fit(X, y)
    function = model._response.moments(torch.from_numpy(X))[0][:, 0].numpy()
    seen = model.predict(X)
    assert ((seen >= low) & (seen <= high)).all()
    quantiles = model.predict_quantiles(X, [0.01, 0.5, 0.99])
    assert ((quantiles >= low) & (quantiles <= high)).all()
    draws = model.sample_y(X, 50)
    assert draws.min() >= low and draws.max() <= high and (np.isin(draws, (low, high))).mean() > 0.1
    truth = np.sin(X[:, 0])
    assert np.mean((function - truth) ** 2) < 0.5 * np.mean((naive.predict(X) - truth) ** 2)
    assert 0.02 < model.likelihood_.noise.item() < 0.08


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"lower": 1.0, "upper": 0.0}, "lower must be less than upper, got 1 and 0"),
        ({"lower": 1.0, "upper": 1.0}, "lower must be less than upper"),
        ({"lower": "zero"}, "lower must be a number, got 'zero'"),
        ({"upper": np.nan}, "upper must be a number, got nan"),
        ({"upper": True}, "upper must be a number, got True"),
        ({"noise": -1.0}, "noise must be positive"),
    ],
)
def test_bad_limits_are_refused(arguments, said):
    with pytest.raises(InputError, match=f"Censored: {said}"):
        Censored(**arguments)


def test_observations_beyond_a_limit_are_refused_and_limits_are_needed():
    y = np.array([[0.0], [-0.1], [2.0]])
    with pytest.raises(InputError, match=r"y\[1\]=-0.1 is below the lower limit 0 \(1 such rows\)"):
        Censored(lower=0.0).check(y)
    with pytest.raises(InputError, match=r"y\[2\]=2 is above the upper limit 1 "):
        Censored(lower=-1.0, upper=1.0).check(y)
    with pytest.raises(InputError, match=r"needs its limits: give likelihood=Censored\(lower=0.0\)"):
        GPRegressor("rbf", likelihood="censored").fit(X, LATENT)


def test_it_is_shown_with_its_limits():
    assert repr(Censored(lower=0.0)) == "Censored(lower=0)"
    assert repr(Censored(-1.0, 2.5, noise=0.5)) == "Censored(lower=-1, upper=2.5, noise=0.5)"
