"""Order and chaos: fixed points by hand, and what kernels of deep networks do."""

import math

import numpy as np
import pytest
import torch

from nonparam.errors import InputError
from nonparam.kernels import InfiniteNetwork, covariance
from nonparam.kernels.activations import rectified_power
from nonparam.kernels.phase import critical_weight_variance, phase


def test_rectifiers_by_hand():
    for w, b in ((1.0, 0.3), (1.5, 0.1)):
        found = phase("relu", w, b)
        assert found.variance == pytest.approx(b / (1.0 - w / 2.0), rel=1e-9)
        assert found.chi == pytest.approx(w / 2.0)
        assert (found.regime, found.depth_scale) == ("ordered", pytest.approx(-1.0 / math.log(w / 2.0)))
    edge = phase("relu", 2.0, 0.0)
    assert (edge.regime, edge.depth_scale, edge.variance) == ("critical", math.inf, 1.0)
    wild = phase("relu", 3.0, 0.1)
    assert (wild.regime, wild.variance) == ("chaotic", math.inf)
    assert critical_weight_variance("relu", 0.0) == pytest.approx(2.0)


def test_erf_by_hand():
    """E erf(u)^2 = 2/pi asin(2q / (1 + 2q)) and E erf'(u)^2 = 4/pi / sqrt(1 + 4q)."""
    for w, b in ((0.7, 0.2), (3.0, 0.05)):
        found = phase("erf", w, b)
        q = found.variance
        assert q == pytest.approx(w * 2.0 / math.pi * math.asin(2.0 * q / (1.0 + 2.0 * q)) + b)
        assert found.chi == pytest.approx(w * 4.0 / math.pi / math.sqrt(1.0 + 4.0 * q))


@pytest.mark.parametrize("name", ["erf", "tanh", "relu"])
@pytest.mark.parametrize("bias", [0.01, 0.3])
def test_critical_networks_have_chi_one(name, bias):
    weight = critical_weight_variance(name, bias)
    assert phase(name, weight, bias).chi == pytest.approx(1.0, abs=1e-7)
    assert phase(name, weight, bias).regime == "critical"
    assert phase(name, 0.8 * weight, bias).regime == "ordered"
    assert phase(name, 1.25 * weight, bias).regime == "chaotic"


def correlations(weight, bias, depth):
    k = InfiniteNetwork(f"erf-{depth}", weight_variance=weight, bias_variance=bias, center=0.0, spread=1.0)
    rows = torch.tensor([[1.0, 0.5], [0.8, 0.9], [-1.0, 0.2]], dtype=torch.float64)
    matrix = covariance(k, rows).detach()
    return (matrix / matrix.diagonal().outer(matrix.diagonal()).sqrt()).numpy()


def test_kernels_of_deep_networks_are_in_these_phases():
    assert correlations(0.8, 0.1, 60).min() > 1.0 - 1e-6  # all rows are the same
    assert phase("erf", 0.8, 0.1).regime == "ordered"
    assert correlations(8.0, 0.1, 60)[0, 1] < 0.5  # near rows have parted
    assert phase("erf", 8.0, 0.1).regime == "chaotic"


def test_distances_fall_at_the_depth_scale():
    weight, bias = 1.0, 0.3
    depths = np.array([10, 14, 18])
    distances = [1.0 - correlations(weight, bias, int(depth))[0, 1] for depth in depths]
    rate = -np.polyfit(depths, np.log(distances), 1)[0]
    assert 1.0 / rate == pytest.approx(phase("erf", weight, bias).depth_scale, rel=0.02)


def test_what_cannot_be_is_refused():
    for weight in (0.0, -1.0, math.nan, True, "2"):
        with pytest.raises(InputError, match="weight_variance must be a positive number, got"):
            phase("relu", weight, 0.1)
    for bias in (-0.1, math.inf, None):
        with pytest.raises(InputError, match="bias_variance must be a number from 0, got"):
            critical_weight_variance("relu", bias)
    with pytest.raises(InputError, match=r"activation must be one of .*, got 'softmax'"):
        phase("softmax", 1.0, 0.1)
    with pytest.raises(InputError, match=r"sign has no critical weight_variance from 0\.01 to 30"):
        critical_weight_variance("sign", 0.1)
    assert phase(rectified_power(1), 2.0, 0.0).chi == pytest.approx(1.0)


@pytest.mark.parametrize("name", ["silu", "softplus"])
def test_variances_that_grow_without_end(name):
    found = phase(name, 4.0, 0.05)
    assert found.variance == np.inf and found.regime == "chaotic"
