"""Finite networks: their functions at the start, against the kernels that they tend to."""

import math

import numpy as np
import pytest
import torch

from nonparam import GPRegressor
from nonparam.errors import InputError
from nonparam.kernels import InfiniteNetwork, covariance
from nonparam.kernels.activations import ACTIVATIONS
from nonparam.kernels.layers import Apply, Dense, LayerNorm, Residual, Sequential
from nonparam.networks.finite import PARAMETERIZATIONS, FiniteNetwork

X = torch.from_numpy(np.random.default_rng(0).standard_normal((6, 3)))
RELU = Apply(ACTIVATIONS["relu"])
ARCHITECTURES = {
    "relu-2": "relu-2",
    "erf-1": "erf-1",
    "residual": Sequential(Dense(), Residual(Sequential(RELU, Dense(), RELU, Dense())), RELU, Dense()),
    "norm": Sequential(Dense(), LayerNorm(), RELU, Dense()),
}


def kernel(name, kind="nngp", **options):
    return InfiniteNetwork(ARCHITECTURES[name], kind, center=0.0, spread=1.0, bias_variance=0.2, **options)


def jacobian(network):
    rows = [
        torch.cat(
            [g.reshape(-1) for g in torch.autograd.grad(y, list(network.parameters()), retain_graph=True)]
        )
        for y in network(X)[:, 0]
    ]
    return torch.stack(rows).detach()


@pytest.mark.parametrize("parameterization", ["ntk", "standard"])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_many_networks_have_the_covariance_of_the_kernel(name, parameterization):
    """Their outputs are draws of a function each."""
    k, draws = kernel(name), []
    for seed in range(30):
        network = FiniteNetwork(k, 3, 200, outputs=200, parameterization=parameterization, seed=seed)
        with torch.no_grad():
            draws.append(network(X))
    y = torch.cat(draws, 1)
    expected = covariance(k, X).detach()
    assert float((y @ y.T / y.shape[1] - expected).norm() / expected.norm()) < 0.06
    assert float(y.mean().abs()) < 0.05


@pytest.mark.parametrize("name", ["relu-2", "erf-1", "residual", "norm"])
def test_gradients_tend_to_the_tangent_kernel_as_the_root_of_the_width(name):
    expected = covariance(kernel(name, "ntk"), X).detach()
    widths, errors = (32, 128, 512), []
    for width in widths:
        found = [jacobian(FiniteNetwork(kernel(name), 3, width, seed=seed)) for seed in range(12)]
        errors.append(np.mean([float((j @ j.T - expected).norm() / expected.norm()) for j in found]))
    slope = np.polyfit(np.log(widths), np.log(errors), 1)[0]
    assert -0.75 < slope < -0.3
    assert errors[-1] < 0.25


def test_standard_networks_are_those_of_ntk_with_the_scale_in_the_weights():
    one, other = (FiniteNetwork(kernel("relu-2"), 3, 50, parameterization=p) for p in ("ntk", "standard"))
    torch.testing.assert_close(one(X), other(X))
    assert float(other.weights[1].detach().std()) == pytest.approx(math.sqrt(2.0 / 50.0), rel=0.1)
    assert float(one.weights[1].detach().std()) == pytest.approx(1.0, rel=0.1)


def size_of_outputs(width):
    many = FiniteNetwork(kernel("relu-2"), 3, width, outputs=300, parameterization="mup", seed=2)
    with torch.no_grad():
        return float((many(X) - many.biases[-1]).square().mean().sqrt())


def movement_of_features(width, parameterization):
    """How far one step of gradient descent moves what the second layer sees, for errors of a given size."""
    found = []
    for seed in range(10):
        network = FiniteNetwork(kernel("relu-2"), 3, width, parameterization=parameterization, seed=seed)
        network(X).sum().backward()
        (first, own), bias = network.factors[0], network.biases[0].detach()
        with torch.no_grad():
            features = torch.relu(first * (X @ network.weights[0]) + own * bias)
            step = network.weights[1].grad
            found.append(float((network.factors[1][0] * features @ step).square().mean().sqrt()))
    return np.mean(found)


def test_outputs_of_mup_vanish_and_its_features_move_at_any_width():
    sizes = [size_of_outputs(width) for width in (64, 256, 1024)]
    np.testing.assert_allclose(np.divide(sizes[1:], sizes[:-1]), 0.5, rtol=0.2)  # as the root of the width
    moved = {p: [movement_of_features(width, p) for width in (64, 1024)] for p in PARAMETERIZATIONS}
    assert moved["mup"][1] == pytest.approx(moved["mup"][0], rel=0.2)
    assert moved["ntk"][1] < 0.4 * moved["ntk"][0]


def test_seeds_repeat_and_differ():
    same, again, other = (FiniteNetwork(kernel("erf-1"), 3, 20, seed=seed) for seed in (3, 3, 4))
    torch.testing.assert_close(same(X), again(X), rtol=0.0, atol=0.0)
    assert not torch.allclose(same(X), other(X))


def test_a_fitted_kernel_brings_its_scales_and_variances():
    rng = np.random.default_rng(0)
    rows = 100.0 + 10.0 * rng.standard_normal((40, 3))
    fitted = GPRegressor(InfiniteNetwork("erf-1")).fit(rows, np.sin(rows[:, 0] / 10.0)).kernel_
    inner = next(part for part in fitted.modules() if isinstance(part, InfiniteNetwork))
    network = FiniteNetwork(inner, 3, 2000, outputs=2000)
    with torch.no_grad():
        y = network(torch.from_numpy(rows[:5]))
    expected = covariance(inner, torch.from_numpy(rows[:5])).detach()
    assert float((y @ y.T / 2000.0 - expected).norm() / expected.norm()) < 0.15


def test_what_cannot_be_is_refused():
    for name in ("inputs", "width", "outputs"):
        for wrong in (0, 2.0, True):
            with pytest.raises(InputError, match=f"{name} must be an integer, at least 1; got {wrong!r}"):
                FiniteNetwork(kernel("erf-1"), **{"inputs": 3, "width": 4, name: wrong})
    with pytest.raises(InputError, match=r"parameterization must be one of \['ntk', 'standard', 'mup'\]"):
        FiniteNetwork(kernel("erf-1"), 3, 4, parameterization="torch")
    for seed in ("a", None, -1):
        with pytest.raises(InputError, match="seed must be an integer, at least 0"):
            FiniteNetwork(kernel("erf-1"), 3, 4, seed=seed)
    numbers = FiniteNetwork(kernel("relu-2"), np.int64(3), np.array([4, 5]), seed=np.int64(1))
    assert [tuple(weight.shape) for weight in numbers.weights] == [(3, 4), (4, 5), (5, 1)]
    assert PARAMETERIZATIONS == ("ntk", "standard", "mup")
    narrow = FiniteNetwork(kernel("relu-2"), 3, 1)  # a width of one is a network
    assert torch.isfinite(narrow(X)).all()
