"""Shares: extreme ones, shares that surprise, and percentages."""

import numpy as np
import pytest
import torch
from scipy.stats import beta

from nonparam import GPRegressor
from nonparam.errors import InputError
from nonparam.likelihoods import Beta


def sigmoid(f):
    return 1.0 / (1.0 + np.exp(-f))


@pytest.mark.parametrize("precision", [1e-3, 1.0, 1e6])
@pytest.mark.parametrize("share", [1e-300, 1e-9, 0.5, 1.0 - 1e-12])
def test_extreme_shares_have_scipys_density(precision, share):
    f = torch.tensor([[-20.0, -1.0, 0.0, 3.0]], dtype=torch.float64)
    y = torch.tensor([[share]], dtype=torch.float64)
    found = Beta(precision).log_density(y, f).detach()[0].numpy()
    a, b = precision * sigmoid(f[0].numpy()), precision * sigmoid(-f[0].numpy())
    np.testing.assert_allclose(found, beta.logpdf(share, a, b), rtol=1e-8, atol=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_the_precision_is_learnt(seed):
    rng = np.random.default_rng(seed)
    x = np.sort(rng.uniform(0.0, 8.0, 150))[:, None]
    mean = sigmoid(1.5 * np.sin(x[:, 0]))
    model = GPRegressor("rbf", likelihood="beta").fit(x, rng.beta(12.0 * mean, 12.0 * (1.0 - mean)))
    assert 8.0 < model.likelihood_.precision.item() < 18.0
    np.testing.assert_allclose(model.predict(x), mean, atol=0.1)


@pytest.mark.parametrize("seed", range(3))
def test_shares_that_surprise_leave_gradients_close_and_precisions_positive(seed):
    """There the density is not log-concave, and the best Gaussian factor would have a negative precision."""
    rng = np.random.default_rng(seed)
    x = np.sort(rng.uniform(0.0, 10.0, 80))[:, None]
    mean = sigmoid(2.0 * np.sin(x[:, 0]))
    y = np.clip(rng.beta(30.0 * mean, 30.0 * (1.0 - mean)), 1e-9, 1.0 - 1e-9)
    moved = rng.permutation(80)[:5]
    y[moved] = 1.0 - y[moved]
    model = GPRegressor("rbf", likelihood="beta").fit(x, y)
    (sites,) = (each.sites for each in model._response.approximation.posterior.posteriors)
    assert (sites.precision >= 0.0).all() and (sites.precision == 0.0).any()
    theta = model.theta_ + 0.3
    _, slope = model.log_marginal_likelihood(theta, eval_gradient=True)
    for i, step in enumerate(1e-3 * np.eye(len(theta))):
        ends = [model.log_marginal_likelihood(theta + sign * step) for sign in (1.0, -1.0)]
        assert slope[i] == pytest.approx((ends[0] - ends[1]) / 2e-3, rel=0.01, abs=0.02)
    near = np.abs(np.log(model.predict(x) / mean))
    assert near.mean() < 0.3


def test_percentages_are_told_from_shares():
    with pytest.raises(InputError, match="divide percentages by 100"):
        GPRegressor("rbf", likelihood="beta").fit([[0.0], [1.0]], [35.0, 40.0])
