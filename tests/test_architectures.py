"""Architectures as text: what they print as is read back, and what cannot be read is told."""

import pytest
import torch

from nonparam.errors import InputError
from nonparam.kernels import InfiniteNetwork, covariance, parse
from nonparam.kernels.activations import (
    ACTIVATIONS,
    exponential,
    gaussian,
    hermite,
    leaky_relu,
    polynomial,
    rectified_power,
    sinusoid,
)
from nonparam.kernels.architectures import parse_architecture
from nonparam.kernels.convolutions import AvgPool, Conv1d, Conv2d, GlobalAvgPool, Unflatten
from nonparam.kernels.layers import Apply, Dense, Flatten, LayerNorm, Product, Residual, Sequential, mlp

RELU = Apply(ACTIVATIONS["relu"])
FACTORED = [
    leaky_relu(0.25),
    rectified_power(2),
    sinusoid(1.5, 0.25),
    exponential(-0.5),
    gaussian(0.3),
    polynomial([0.0, 1.0, -0.5]),
    hermite(3),
]
ARCHITECTURES = [
    *(mlp(name, 1) for name in sorted(ACTIVATIONS)),
    *(mlp(activation, 1) for activation in FACTORED),
    Sequential(
        *(Unflatten(1, 4, 4), Conv2d(3, padding="same", bias=False), RELU, AvgPool(2, stride=1), Conv2d(2)),
        *(Residual(Sequential(RELU, Conv2d(1))), LayerNorm(), RELU, GlobalAvgPool(), Dense(bias=False)),
    ),
    Sequential(Unflatten(2, 8), Conv1d(2, 2, 1, "circular"), RELU, Flatten(), Dense()),
    Sequential(Dense(), Product(Sequential(RELU, Dense()), Sequential(Dense())), Dense()),
]
X = torch.randn(5, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) / 4.0


@pytest.mark.parametrize("layers", ARCHITECTURES, ids=repr)
def test_what_is_printed_is_read_back(layers):
    again = parse_architecture(repr(layers))
    assert repr(again) == repr(layers)
    one, other = (InfiniteNetwork(each, "ntk", center=0.0, spread=1.0) for each in (layers, repr(layers)))
    torch.testing.assert_close(covariance(one, X), covariance(other, X), rtol=0.0, atol=0.0)


def test_formulas_hold_architectures():
    k = 2.0 * InfiniteNetwork(ARCHITECTURES[-1], "ntk", center=0.0, spread=1.0)
    again = parse(repr(k))
    assert repr(again) == repr(k)
    torch.testing.assert_close(covariance(again, X), covariance(k, X), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("relu", "such as 'relu-3', or layers as they print"),
        ("relu-3-4", "such as 'relu-3', or layers as they print"),
        ("", "such as 'relu-3', or layers as they print"),
        ("Dense()", "such as 'relu-3', or layers as they print"),
        ("Sequential(Dense()", "such as 'relu-3', or layers as they print"),
        ("Sequential(Softmax())", "'Softmax\\(\\)' is no layer, no activation and no number: layers are"),
        ("Sequential(__import__('os'))", "is no layer, no activation and no number"),
        ("Sequential(Apply(elementwise))", "activation must be one of"),
        ("Sequential(Conv2d(size=3))", "Conv2d\\(size=3\\) cannot be read: .*size"),
        ("Sequential(Conv2d(0))", "kernel_size must be a whole number from 1"),
        ("Sequential(Apply(hermite(99)))", "degree must be a whole number from 0 to 20"),
        ("softmax-2", "activation must be one of"),
    ],
)
def test_what_cannot_be_read_is_told(text, match):
    with pytest.raises(InputError, match=match):
        parse_architecture(text)
