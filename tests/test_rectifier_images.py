"""Compiled loops of convolutional rectifier networks against the layers evaluated one after the other."""

import numpy as np
import pytest
import torch

from nonparam.kernels import InfiniteNetwork, covariance, propagation, variance
from nonparam.kernels.activations import ACTIVATIONS, leaky_relu
from nonparam.kernels.convolutions import AvgPool, Conv1d, Conv2d, GlobalAvgPool, Unflatten
from nonparam.kernels.layers import Apply, Dense, Flatten, Sequential
from nonparam.kernels.rectifier_images import split

pytest.importorskip("numba")

RELU, LEAKY, ERF = Apply(leaky_relu(0.0)), Apply(leaky_relu(0.3)), Apply(ACTIVATIONS["erf"])
IMAGE, TAIL = Unflatten(2, 5, 4), (GlobalAvgPool(), Dense())
ARCHITECTURES = {
    "plain": Sequential(IMAGE, Conv2d(3), RELU, *TAIL),
    "same": Sequential(IMAGE, Conv2d(3, padding="same"), RELU, Conv2d(2, padding="same"), LEAKY, *TAIL),
    "strides": Sequential(IMAGE, Conv2d(2, stride=2, padding=2), RELU, Conv2d(3, stride=3, padding=2), *TAIL),
    "circular": Sequential(
        *(IMAGE, Conv2d(3, stride=2, padding=1, padding_mode="circular"), RELU, Conv2d(1), LEAKY, *TAIL)
    ),
    "linear": Sequential(IMAGE, Conv2d(2), Conv2d(2, padding=1, bias=False), RELU, *TAIL),
    "tail": Sequential(IMAGE, Conv2d(3), RELU, GlobalAvgPool(), Dense(), Apply(leaky_relu(-1.0)), Dense()),
    "sequence": Sequential(Unflatten(4, 10), Conv1d(3, padding=1), RELU, Conv1d(2, stride=2), LEAKY, *TAIL),
}
ROWS = torch.from_numpy(np.random.default_rng(0).standard_normal((9, 40)))
OTHERS = torch.from_numpy(np.random.default_rng(1).standard_normal((4, 40)))


def network(name, kind="nngp"):
    layers = ARCHITECTURES[name]
    weights, biases = ([first, 1.3, 0.7, 2.0][: layers.dense] for first in (1.1, 0.2))
    scales = {"weight_variance": weights, "bias_variance": biases, "center": 0.0, "spread": 1.0}
    return InfiniteNetwork(layers, kind, **scales).requires_grad_(False)


def both_ways(monkeypatch, evaluate):
    found = []
    for entries in (1, 10**12):
        monkeypatch.setattr(propagation, "COMPILED_ENTRIES", entries)
        found.append(evaluate())
    return found


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-11), (torch.float32, 1e-5)])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_entries_are_those_of_the_layers(name, dtype, tolerance, monkeypatch):
    k, rows, others = network(name).to(dtype), ROWS.to(dtype), OTHERS.to(dtype)
    for arguments in ((rows,), (rows, others)):
        loops, layers = both_ways(monkeypatch, lambda arguments=arguments: k.both(*arguments))
        for one, other in zip(loops, layers, strict=True):
            assert one.dtype == dtype
            torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("kind", ["nngp", "ntk"])
def test_matrices_are_symmetric_and_have_exact_diagonals(kind, monkeypatch):
    monkeypatch.setattr(propagation, "COMPILED_ENTRIES", 1)
    rows = torch.cat([ROWS, ROWS[:2], torch.zeros(1, 40).double(), 1e4 * ROWS[:1]])
    k = network("tail", kind)
    matrix = covariance(k, rows)
    assert bool((matrix == matrix.mT).all())
    torch.testing.assert_close(matrix.diagonal(), variance(k, rows), rtol=1e-14, atol=0.0)
    scale = matrix.diagonal().rsqrt()
    assert float(torch.linalg.eigvalsh(scale[:, None] * matrix * scale)[0]) > -1e-6


def test_gradients_take_the_other_way(monkeypatch):
    monkeypatch.setattr(propagation, "COMPILED_ENTRIES", 1)
    k = network("same")
    without = covariance(k, ROWS)
    k.requires_grad_(True)
    matrix = covariance(k, ROWS)
    torch.testing.assert_close(matrix.detach(), without)
    matrix.sum().backward()
    assert bool((k.raw_weight_variance.grad != 0.0).all())


def test_what_loops_do_not_know_is_left_to_torch():
    assert all(split(layers) is not None for layers in ARCHITECTURES.values())
    head, tail = split(ARCHITECTURES["tail"])
    assert (head.dense, tail.dense) == (1, 2)
    for layers in (
        Sequential(IMAGE, Conv2d(3), RELU, Flatten(), Dense()),
        Sequential(IMAGE, Conv2d(2), RELU, AvgPool(2), *TAIL),
        Sequential(IMAGE, Conv2d(3), ERF, *TAIL),
        Sequential(Dense(), RELU, Dense()),
    ):
        assert split(layers) is None
