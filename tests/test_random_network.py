"""Random features of infinitely wide networks: products against the kernel, and functions drawn with them."""

import numpy as np
import pytest
import torch

from nonparam import GPRegressor
from nonparam.errors import InputError
from nonparam.kernels import InfiniteNetwork, covariance, parse
from nonparam.kernels.random_features import random_features
from nonparam.kernels.random_network import network_features
from nonparam.networks import Conv2d, Dense, Flatten, GlobalAvgPool, Relu, Residual, Sequential, Unflatten

X = torch.from_numpy(np.random.default_rng(0).standard_normal((8, 4)))
PLAIN = {"center": 0.5, "spread": 2.0, "bias_variance": 0.3}
ARCHITECTURES = {
    "relu": "relu-1",
    "deep": "erf-3",
    "residual": Sequential(Dense(), Residual(Sequential(Relu(), Dense())), Relu(), Dense()),
    "image": Sequential(Unflatten(1, 2, 2), Conv2d(2, padding=1), Relu(), GlobalAvgPool(), Dense()),
    "flat": Sequential(Unflatten(1, 2, 2), Conv2d(2), Relu(), Flatten(), Dense(bias=False)),
}


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_products_tend_to_the_kernel_as_the_root_of_the_width(name):
    k = InfiniteNetwork(ARCHITECTURES[name], **PLAIN)
    expected, errors = covariance(k, X).detach(), []
    for width in (40, 640):
        found = []
        for seed in range(12):
            phi = network_features(k, X, width, seed)(X)
            found.append(float((phi @ phi.mT - expected).norm() / expected.norm()))
        errors.append(np.mean(found))
    assert errors[1] < 3.0 / np.sqrt(640.0)
    assert 2.6 < errors[0] / errors[1] < 6.0  # 4, but for chance


def test_sums_and_scales_have_features_on_their_columns():
    k = parse("2.5 * infinite_network(architecture='relu-1', active_dims=(1, 3)) + 0.5 * rbf(lengthscale=2)")
    inner = k.kernels[0].kernel
    inner.center, inner.spread = 0.0, 1.0
    phi = random_features(k, X, 1500, seed=3)(X)
    expected = covariance(k, X).detach()
    assert float((phi @ phi.mT - expected).norm() / expected.norm()) < 0.05
    again = random_features(k, X, 1500, seed=3)(X)
    torch.testing.assert_close(phi, again, rtol=0.0, atol=0.0)


def test_functions_drawn_from_the_posterior_have_its_moments():
    rng = np.random.default_rng(0)
    x = rng.uniform(-2.0, 2.0, (40, 1))
    model = GPRegressor(InfiniteNetwork("relu-2")).fit(x, np.abs(x[:, 0]) + 0.1 * rng.standard_normal(40))
    places = np.linspace(-3.0, 3.0, 9)[:, None]
    draws = model.sample_functions(400, random_state=0)(places)
    mean, sd = model.predict(places, return_std=True)
    draws = draws.reshape(9, -1)
    np.testing.assert_allclose(draws.mean(1), mean, atol=0.25 * sd.max())
    np.testing.assert_allclose(
        draws.std(1), np.sqrt(np.maximum(sd**2 - model.noise_, 0.0)), rtol=0.4, atol=0.02
    )


def test_kernels_without_features_are_refused():
    with pytest.raises(InputError, match="only networks of kind='nngp' that end with Dense"):
        network_features(InfiniteNetwork("relu-1", "ntk", **PLAIN), X, 8, 0)
    ends = Sequential(Dense(), Residual(Sequential(Relu(), Dense())))
    with pytest.raises(InputError, match="only networks of kind='nngp' that end with Dense"):
        network_features(InfiniteNetwork(ends, **PLAIN), X, 8, 0)
    with pytest.raises(InputError, match="a product of infinite_network and other kernels has no random"):
        random_features(parse("infinite_network * rbf(lengthscale=1)"), X, 8, 0)
