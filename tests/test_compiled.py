"""Compiled loops over the entries of a covariance matrix in either precision, beside tiles in float64."""

import importlib.util
import threading

import pytest
import torch
from fused_cases import FUSED
from kernel_checks import rows
from torch import Tensor

from nonparam.kernels import RBF, Kernel, Linear, Matern, WhiteNoise, covariance
from nonparam.kernels.engine import COMPILED_ROWS, tiles_for
from nonparam.kernels.tiles import Tiles, deal, strips_of

pytest.importorskip("numba")

from nonparam.kernels.compiled import BLOCK
from nonparam.kernels.compiled_tiles import CompiledTiles, from_blocks, in_blocks, is_compilable

COMPILED = {name: make for name, make in FUSED.items() if "cosine" not in name and "spectral" not in name}
COMPILED.pop("product_of_sums")
SIZES = (1, BLOCK, 2 * BLOCK + 77)
PRECISIONS = {torch.float32: (2e-6, 1e-4), torch.float64: (1e-14, 1e-13)}  # of products, and of derivatives


def vectors(n: int, k: int, seed: int = 1) -> Tensor:
    return torch.randn(n, k, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def relative(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize("dtype", PRECISIONS, ids=str)
@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("name", COMPILED)
def test_products_are_those_of_tiles(name: str, n: int, keep: bool, dtype: torch.dtype):
    kernel, x, v = COMPILED[name](), rows(n, 2), vectors(n, 3)
    found = CompiledTiles(kernel, x.to(dtype), keep=keep).product(v.mT.to(dtype))
    expected = Tiles(kernel, x).product(v.mT)
    assert relative(found, expected) < PRECISIONS[dtype][0]


@pytest.mark.parametrize("dtype", PRECISIONS, ids=str)
@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("name", COMPILED)
def test_gradients_are_those_of_tiles(name: str, n: int, dtype: torch.dtype):
    kernel, x, left, right = COMPILED[name](), rows(n, 2), vectors(n, 3), vectors(n, 3, seed=2)
    parameters = list(kernel.parameters())
    tiles = CompiledTiles(kernel, x.to(dtype))
    found = tiles.gradient(left.to(dtype), right.to(dtype), parameters)
    again = tiles.gradient(left.to(dtype), right.to(dtype), parameters)
    expected = Tiles(kernel, x).gradient(left, right, parameters)
    scale = max(float(slope.abs().max()) for slope in expected)
    for ours, same, theirs in zip(found, again, expected, strict=True):
        assert float((ours - theirs).abs().max()) <= PRECISIONS[dtype][1] * scale
        assert torch.equal(ours, same)


@pytest.mark.parametrize("dtype", PRECISIONS, ids=str)
@pytest.mark.parametrize("name", COMPILED)
def test_the_dense_matrix_is_that_of_tiles(name: str, dtype: torch.dtype):
    kernel, x = COMPILED[name](), rows(BLOCK + 50, 2)
    found = CompiledTiles(kernel, x.to(dtype), keep=True).dense()
    assert found.dtype == dtype
    assert relative(found.double(), Tiles(kernel, x).dense()) < PRECISIONS[dtype][0]
    assert torch.equal(found, found.mT)


def test_workers_add_up_to_the_whole():
    kernel, x, v = 1.5 * Matern([0.5, 1.0], nu=1.5), rows(5 * BLOCK - 3, 2).float(), vectors(5 * BLOCK - 3, 2)
    hands = deal(strips_of(len(x), BLOCK), 2)
    parts = [CompiledTiles(kernel, x, strips=hand, keep=True) for hand in hands]
    whole = CompiledTiles(kernel, x)
    across = v.mT.float()
    assert relative(sum(part.product(across) for part in parts), whole.product(across)) < 1e-12
    own = list(kernel.parameters())
    sums = [sum(s) for s in zip(*(part.gradient(v.float(), v.float(), own) for part in parts), strict=True)]
    for found, expected in zip(sums, whole.gradient(v.float(), v.float(), own), strict=True):
        assert relative(found, expected) < 1e-6  # float32 before and after


@pytest.mark.parametrize("dtype", PRECISIONS, ids=str)
def test_rows_that_coincide_and_rows_far_apart(dtype: torch.dtype):
    x = torch.tensor([[0.0], [0.0], [1e-4], [30.0], [500.0], [1e6], [-1e30]], dtype=dtype)
    ones = torch.ones(len(x), 1, dtype=dtype)
    for kernel in (RBF(1.0), *(Matern(1.0, nu=nu) for nu in (0.5, 1.5, 2.5))):
        dense = CompiledTiles(kernel, x).dense()
        expected = covariance(kernel, x.double(), x.double().clone()).detach()
        assert float((dense - expected).abs().max()) < PRECISIONS[dtype][0]
        slope = CompiledTiles(kernel, x).gradient(ones, ones, list(kernel.parameters()))
        assert torch.isfinite(slope[0]).all()


def test_small_entries_have_all_digits():
    x = torch.arange(3.0 * BLOCK, dtype=torch.float64)[:700, None]  # distances without a rounding error
    expected = torch.exp(-(x - x.mT).abs())
    error = float((CompiledTiles(Matern(1.0, nu=0.5), x).dense() / expected - 1.0).abs().max())
    assert error < 4.0 * torch.finfo(torch.float64).eps


def test_rows_that_are_not_finite_show_in_the_product():
    x = torch.tensor([[0.0], [torch.nan], [1.0]])
    product = CompiledTiles(2.0 * RBF(1.0), x).product(torch.ones(1, 3))
    assert not torch.isfinite(product).all()


@pytest.mark.parametrize(
    ("kernel", "known"),
    [
        (2.0 * RBF(1.0), True),
        (RBF(1.0) + 0.5 * Matern(1.0, nu=2.5) + WhiteNoise(0.1), True),
        (WhiteNoise(0.1), False),
        (RBF(1.0) + Linear(1.0), False),
        (FUSED["cosine"](), False),
    ],
    ids=str,
)
def test_which_kernels_are_compiled(kernel: Kernel, known: bool):
    x = rows(COMPILED_ROWS, 2).float()
    assert is_compilable(kernel, x) is known
    assert type(tiles_for(kernel, x)) is (CompiledTiles if known else Tiles)


def test_what_is_left_to_tiles(monkeypatch):
    kernel, x = 2.0 * RBF(1.0), rows(COMPILED_ROWS, 2)
    assert type(tiles_for(kernel, x)) is CompiledTiles
    assert type(tiles_for(kernel, x[1:])) is Tiles  # few rows
    assert type(tiles_for(kernel, x.float(), strips=strips_of(len(x), 100))) is Tiles
    batch = RBF(1.0)
    batch.lengthscale = torch.ones(3, 1, 1)
    assert not is_compilable(batch, x.float())
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert type(tiles_for(kernel, x.float())) is Tiles  # Numba is not installed


def test_blocks_and_back():
    x = torch.arange(2.0 * (BLOCK + 3)).view(-1, 2)
    assert torch.equal(torch.from_numpy(from_blocks(in_blocks(x).astype(float), len(x))).float(), x)
    assert in_blocks(x)[1, :, 3:].any() == False  # noqa: E712  # a NumPy bool


def test_two_threads_of_python_do_not_disturb_each_other():
    kernel, x, v = 2.0 * RBF(1.0), rows(BLOCK * 3, 2).float(), vectors(BLOCK * 3, 2).float().mT
    tiles = CompiledTiles(kernel, x, keep=True)
    expected, found = tiles.product(v), []
    threads = [threading.Thread(target=lambda: found.append(tiles.product(v))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4 and all(torch.equal(expected, each) for each in found)
