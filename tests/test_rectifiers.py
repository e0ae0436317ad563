"""Compiled loops of rectifier networks against the layers evaluated one after the other."""

import numpy as np
import pytest
import torch

from nonparam import GPRegressor
from nonparam.kernels import InfiniteNetwork, covariance, propagation, rectifier_moments, variance
from nonparam.kernels.activations import leaky_relu
from nonparam.kernels.layers import Apply, Dense, Residual, Sequential
from nonparam.kernels.rectifiers import COMPILED_ENTRIES, is_compilable

pytest.importorskip("numba")

PLAIN = {"center": 0.0, "spread": 1.0, "bias_variance": 0.1}
MIXED = Sequential(Dense(), Apply(leaky_relu(0.3)), Dense(), Apply(leaky_relu(-0.5)), Dense())
ARCHITECTURES = {
    "relu-1": "relu-1",
    "relu-3": "relu-3",
    "relu-5": "relu-5",
    "abs-2": "abs-2",
    "leaky": "leaky_relu-3",
    "mixed": MIXED,
}
ROWS = torch.from_numpy(np.random.default_rng(0).standard_normal((301, 7)))  # tiles that are not full
OTHERS = torch.from_numpy(np.random.default_rng(1).standard_normal((517, 7)))


@pytest.fixture
def compiled(monkeypatch):
    monkeypatch.setattr(propagation, "COMPILED_ENTRIES", 1)


def plainly(k, x1, x2=None):
    """With a gradient, layers are evaluated by torch."""
    assert k.raw_weight_variance.requires_grad
    return [each.detach() for each in k.both(x1, x2)]


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 3e-6)])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_entries_are_those_of_the_layers(name, dtype, tolerance, compiled):
    k = InfiniteNetwork(ARCHITECTURES[name], **PLAIN)
    among, across = plainly(k, ROWS), plainly(k, ROWS, OTHERS)
    single = k.to(dtype)
    with torch.no_grad():
        for found, expected in (
            (single.both(ROWS.to(dtype)), among),
            (single.both(ROWS.to(dtype), OTHERS.to(dtype)), across),
        ):
            for kernel, other in zip(found, expected, strict=True):
                assert kernel.dtype == dtype
                scale = float(other.abs().max())
                torch.testing.assert_close(kernel.double(), other, rtol=tolerance, atol=tolerance * scale)


@pytest.mark.parametrize("kind", ["nngp", "ntk"])
def test_matrices_are_symmetric_and_have_exact_diagonals(kind, compiled):
    rows = torch.cat([ROWS[:90], ROWS[:5], 1e-9 + ROWS[:5], 1e4 * ROWS[:2], torch.zeros(1, 7).double()])
    k = InfiniteNetwork("relu-3", kind, **PLAIN).requires_grad_(False)
    matrix = covariance(k, rows)
    assert bool((matrix == matrix.mT).all())
    assert bool((matrix.diagonal() == variance(k, rows)).all())
    scale = matrix.diagonal().rsqrt()
    assert float(torch.linalg.eigvalsh(scale[:, None] * matrix * scale)[0]) > -1e-6


def test_lines_through_the_origin_have_correlations_of_one(compiled):
    """Without biases a network of ``t x`` is ``t`` times that of ``x``; ``-x`` and 0 are the edges."""
    layers = Sequential(Dense(), Apply(leaky_relu(0.0)), Dense())
    k = InfiniteNetwork(layers, center=0.0, spread=1.0, bias_variance=1e-300).requires_grad_(False)
    x = torch.tensor([[1.0], [3.0], [-2.0], [0.0]], dtype=torch.float64)
    np.testing.assert_allclose(
        k.matrix(x), [[1, 3, 0, 0], [3, 9, 0, 0], [0, 0, 4, 0], [0, 0, 0, 0]], atol=1e-12
    )


@pytest.mark.parametrize("kind", ["nngp", "ntk"])
@pytest.mark.parametrize("name", ["relu-3", "abs-2", "mixed"])
def test_gradients_are_those_of_the_layers(name, kind, monkeypatch):
    """Of variances and of rows; duplicates have slopes without a derivative."""
    rows = torch.cat([ROWS[:40], ROWS[:3], torch.zeros(1, 7).double()])
    weights = torch.randn(44, 44, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    found = []
    for entries in (1, 10**9):
        monkeypatch.setattr(rectifier_moments, "FAST_ENTRIES", entries)
        k = InfiniteNetwork(ARCHITECTURES[name], kind, **PLAIN)
        x = rows.clone().requires_grad_(True)
        matrix = k.matrix(x, x + 0.1)
        wanted = [k.raw_weight_variance, k.raw_bias_variance, x]
        found.append([matrix, *torch.autograd.grad((matrix * weights).sum(), wanted)])
        own = k.matrix(rows)
        found[-1] += [own, *torch.autograd.grad((own * weights).sum(), wanted[:2])]
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)


def test_moments_of_matrices_differentiate(monkeypatch):
    monkeypatch.setattr(rectifier_moments, "FAST_ENTRIES", 1)
    generator = torch.Generator().manual_seed(1)
    a, b = (torch.randn(n, 9, dtype=torch.float64, generator=generator) for n in (4, 5))
    c, q1, q2 = a @ b.mT, a.square().sum(1)[:, None], b.square().sum(1)[None]
    for slope in (0.0, -1.0, 0.3):
        inputs = [each.clone().requires_grad_(True) for each in (c, q1, q2)]
        moments = leaky_relu(slope).moments
        assert "_Moments" in moments(*inputs)[0].grad_fn.name()
        assert torch.autograd.gradcheck(moments, inputs)


def test_what_loops_do_not_know_is_left_to_torch():
    one = [(torch.tensor(1.0), torch.tensor(0.1))] * 3
    x = ROWS.requires_grad_(False)
    relu = InfiniteNetwork("relu-2").layers
    assert is_compilable(relu, one, x, x)
    assert not is_compilable(InfiniteNetwork("erf-2").layers, one, x, x)
    branch = Residual(Sequential(Apply(leaky_relu(0.0)), Dense()))
    assert not is_compilable(Sequential(Dense(), branch, Dense()), one, x, x)
    unbiased = Sequential(Dense(bias=False), Apply(leaky_relu(0.0)), Dense(), Apply(leaky_relu(0.0)), Dense())
    assert not is_compilable(unbiased, one, x, x)
    batch = [(torch.ones(4), torch.ones(4))] * 3
    assert not is_compilable(relu, batch, x, x)
    learnt = [(torch.tensor(1.0, requires_grad=True), torch.tensor(0.1))] * 3
    assert not is_compilable(relu, learnt, x, x)
    assert not is_compilable(relu, one, x.clone().requires_grad_(True), x)
    with torch.no_grad():
        assert is_compilable(relu, learnt, x, x)


def test_predictions_do_not_depend_on_which_loops_are_taken(monkeypatch):
    y = np.sin(ROWS[:, 0].numpy()) + ROWS[:, 1].numpy()
    model = GPRegressor(InfiniteNetwork("relu-2", "ntk")).fit(ROWS.numpy(), y)
    expected = model.predict(OTHERS.numpy(), return_std=True)
    monkeypatch.setattr(propagation, "COMPILED_ENTRIES", 1)
    found = model.predict(OTHERS.numpy(), return_std=True)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-8)
    assert COMPILED_ENTRIES > len(ROWS) * len(OTHERS)
