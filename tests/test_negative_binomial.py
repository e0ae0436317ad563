"""Overdispersed counts: small and large dispersions, and Poisson's limit."""

import mpmath
import numpy as np
import pytest
import torch

from nonparam import GPRegressor
from nonparam.kernels import RBF
from nonparam.kernels.evaluate import covariance
from nonparam.latent.approximation import Observations
from nonparam.latent.laplace import laplace_mode
from nonparam.latent.variational import variational
from nonparam.likelihoods import NegativeBinomial, Poisson

COUNTS = torch.tensor([[0.0, 1.0], [1.0, 2.0], [30.0, 0.5], [4000.0, 100.0]], dtype=torch.float64)
F = torch.tensor([[-3.0, 0.0, 4.0]], dtype=torch.float64).expand(4, 3)


@pytest.mark.parametrize("a", [1e-12, 1e-6, 9.99e-3, 1e-2, 0.5, 300.0])
def test_all_digits_of_the_log_density_are_right(a):
    found = NegativeBinomial(a).log_density(COUNTS, F).detach()
    with mpmath.workdps(60):
        r = 1 / mpmath.mpf(a)
        for i, (y, e) in enumerate(COUNTS.tolist()):
            for j, f in enumerate(F[0].tolist()):
                mean = e * mpmath.exp(f)
                expected = mpmath.loggamma(y + r) - mpmath.loggamma(r) - mpmath.loggamma(y + 1)
                expected += y * mpmath.log(mean / r) - (y + r) * mpmath.log(1 + mean / r)
                assert float(found[i, j]) == pytest.approx(float(expected), rel=1e-9, abs=1e-9)


def test_without_dispersion_counts_are_poissons():
    ours, limit = NegativeBinomial(1e-13), Poisson()
    torch.testing.assert_close(ours.log_density(COUNTS, F).detach(), limit.log_density(COUNTS, F))
    for one, other in zip(ours.derivatives(COUNTS, F), limit.derivatives(COUNTS, F), strict=True):
        torch.testing.assert_close(one.detach(), other, rtol=1e-8, atol=1e-8)
    for one, other in zip(ours.response(F), limit.response(F), strict=True):
        torch.testing.assert_close(one.detach(), other)
    x = torch.linspace(0.0, 3.0, 20, dtype=torch.float64)[:, None]
    k, zero = covariance(RBF(0.8), x).detach(), torch.zeros(1, dtype=torch.float64)
    y = torch.from_numpy(np.random.default_rng(0).poisson(2.0, (20, 1)).astype(float))
    for infer in (laplace_mode, variational):
        pair = [
            infer([k], Observations(y, torch.ones_like(x[:, 0]), each, zero), gradient=False).value
            for each in (ours, limit)
        ]
        assert pair[0] == pytest.approx(pair[1], abs=1e-6)


def test_the_dispersion_is_learnt_and_poissons_counts_have_little():
    rng = np.random.default_rng(0)
    x = np.sort(rng.uniform(0.0, 10.0, 300))[:, None]
    mean = np.exp(1.5 + np.sin(x[:, 0]))
    spread, even = rng.poisson(mean * rng.gamma(2.0, 0.5, 300)), rng.poisson(mean)
    wide, narrow = (GPRegressor("rbf", likelihood="negative_binomial").fit(x, y) for y in (spread, even))
    assert 0.35 < wide.likelihood_.dispersion.item() < 0.7
    assert narrow.likelihood_.dispersion.item() < 0.05
    poisson = GPRegressor("rbf", likelihood="poisson").fit(x, spread)
    assert wide.log_marginal_likelihood_ > poisson.log_marginal_likelihood_ + 30.0
    np.testing.assert_allclose(wide.predict(x), mean, rtol=0.6)
