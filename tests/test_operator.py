"""Kernel operators: equal to the dense matrix and its gradients, in tiles whose memory does not grow."""

import gpytorch.kernels as gp
import numpy as np
import pytest
import torch
from cases import CASES, Case
from kernel_checks import assert_equal, crossed, rows
from linear_operator import LinearOperator
from linear_operator.operators import DiagLinearOperator
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from nonparam.errors import InputError
from nonparam.kernels import RBF, Linear, Matern, Periodic, WhiteNoise, covariance, variance
from nonparam.kernels.operator import KernelOperator, cross_product
from nonparam.solvers.operator import Shifted, SymmetricOperator

TILE = (7, 16)  # 41 rows: neither divides them
FOREIGN = [case for case in CASES if case.gpytorch is not None]


def data(columns: int, n: int = 41) -> Tensor:
    """Rows of which the last three repeat the first."""
    x = rows(n, columns)
    x[-3:] = x[:3]
    return x


def vectors(n: int, k: int, seed: int = 5) -> Tensor:
    """Columns of very different size."""
    sizes = np.logspace(-6, 6, k) if k > 1 else 1.0
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(n, k)) * sizes)


def dense_gradient(kernel: gp.Kernel, x: Tensor, u: Tensor, v: Tensor) -> list[Tensor]:
    value = (u * (covariance(kernel, x) @ v)).sum()
    return list(torch.autograd.grad(value, list(kernel.parameters()), materialize_grads=True))


def assert_products_equal(actual: Tensor, expected: Tensor, dense: Tensor, v: Tensor) -> None:
    """To the rounding of the sums of absolute values."""
    assert ((actual - expected).abs() <= 1e-12 * (dense.abs() @ v.abs())).all()


def assert_operates(kernel: gp.Kernel, x: Tensor, keep: bool) -> None:
    k, dense = KernelOperator(kernel, x, tile=TILE, keep=keep), covariance(kernel, x).detach().clone()
    dense.diagonal().copy_(variance(kernel, x).detach())  # GPyTorch's Matern-1/2 has 3e-8 less in its matrix
    v, index = vectors(len(x), 4), torch.tensor([3, 40, 3, 0, *range(10, 20)])
    assert k.shape == (len(x), len(x)) and k.dtype == x.dtype and k.device == x.device
    assert_products_equal(k @ v, dense @ v, dense, v)
    assert_equal(k.diagonal(), dense.diagonal())
    assert_equal(k.rows(index), dense[index])
    assert_equal(k.to_dense(), dense)


def assert_gradients(kernel: gp.Kernel, x: Tensor) -> None:
    for parameter in kernel.parameters():
        parameter.requires_grad_()  # those that are not learnt, too
    u, v = rows(len(x), 5, seed=3) - 0.4, rows(len(x), 5, seed=4) - 0.6
    scale = float((u @ v.mT).abs().sum())
    k = KernelOperator(kernel, x, tile=TILE)
    found = k.gradient(u, v, list(kernel.parameters()))
    for actual, expected in zip(found, dense_gradient(kernel, x, u, v), strict=True):
        torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-13 * scale)


# equal to the dense matrix -------------------------------------------------------------------


@pytest.mark.parametrize("keep", [False, True])
@crossed(CASES)
def test_products_rows_and_diagonal(case: Case, keep: bool):
    assert_operates(case.make(), data(case.columns), keep)


@pytest.mark.parametrize("keep", [False, True])
@crossed(FOREIGN)
def test_gpytorch_kernels(case: Case, keep: bool):
    """Without repeated rows: what GPyTorch makes of those depends on the rows evaluated with them."""
    assert_operates(case.gpytorch(), rows(41, case.columns), keep)


@crossed(CASES)
def test_gradients(case: Case):
    assert_gradients(case.make(), data(case.columns))


@crossed(FOREIGN)
def test_gradients_of_gpytorch_kernels(case: Case):
    assert_gradients(case.gpytorch(), rows(41, case.columns))


@pytest.mark.parametrize("n", [1, 6, 7, 8, 17])
@pytest.mark.parametrize("tile", [(1, 1), (7, 16), (16, 4), (64, 64), None])
def test_any_number_of_rows_in_any_tile(n: int, tile: tuple[int, int] | None):
    kernel, x = Matern([0.4, 1.1], nu=1.5) * 2.0 + WhiteNoise(0.3), rows(n, 2)
    k, dense, v = KernelOperator(kernel, x, tile=tile), covariance(kernel, x).detach(), vectors(n, 3)
    assert_products_equal(k @ v, dense @ v, dense, v)
    assert_equal(k.rows(torch.arange(n)), dense)
    for actual, expected in zip(
        k.gradient(v, v, list(kernel.parameters())), dense_gradient(kernel, x, v, v), strict=True
    ):
        torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-9)


def test_default_tiles_of_many_rows():
    kernel, x, v = Matern([1.0 + 0.2 * c for c in range(5)], nu=1.5), rows(4500, 5), vectors(4500, 2)
    k = KernelOperator(kernel, x)
    some = torch.tensor([0, 255, 256, 4095, 4096, 4499])
    expected = covariance(kernel, x[some], x).detach()
    assert_products_equal((k @ v)[some], expected @ v, expected, v)
    assert_equal(k.rows(some), expected)


def test_derivatives_are_those_of_differences():
    kernel, x = 1.7 * Matern([0.4, 1.1], nu=2.5) + Linear(0.3, center=0.1), data(2)
    u, v = vectors(41, 3) * 1e-6, vectors(41, 3, seed=6) * 1e-6
    parameters = [p for p in kernel.parameters() if p.requires_grad]
    found = KernelOperator(kernel, x, tile=TILE).gradient(u, v, parameters)
    for parameter, slopes in zip(parameters, found, strict=True):
        for entry, slope in zip(parameter.data.view(-1), slopes.view(-1), strict=True):
            values = []
            for step in (1e-5, -2e-5):
                entry += step
                values.append((u * (KernelOperator(kernel, x) @ v)).sum())
            entry += 1e-5
            torch.testing.assert_close(slope, (values[0] - values[1]) / 2e-5, rtol=1e-6, atol=1e-9)


def test_gradient_of_some_parameters_only():
    kernel, x, v = RBF(0.5) + 2.0 * Periodic(1.1, 0.7), data(1), vectors(41, 2)
    every, k = list(kernel.parameters()), KernelOperator(kernel, x, tile=TILE)
    assert_equal(k.gradient(v, v, every[2:1:-1])[0], k.gradient(v, v, every)[2])
    assert k.gradient(v, v, []) == []


# what it promises ----------------------------------------------------------------------------


@pytest.mark.parametrize("keep", [False, True])
def test_it_is_an_operator_for_solvers_and_for_linear_operator(keep: bool):
    kernel, x = RBF([0.5, 1.0]) * 2.0 + WhiteNoise(0.1), data(2)
    k, dense = KernelOperator(kernel, x, tile=TILE, keep=keep), covariance(kernel, x).detach()
    noise, v = torch.linspace(0.1, 1.0, 41, dtype=torch.float64), rows(41, 3)
    assert isinstance(k, LinearOperator) and isinstance(k, SymmetricOperator)
    assert_equal(Shifted(k, noise) @ v, (dense + noise.diag()) @ v)
    assert_equal((k + DiagLinearOperator(noise)) @ v, (dense + noise.diag()) @ v)
    assert_equal(k @ v[:, 0], dense @ v[:, 0])
    assert_equal(k @ torch.stack([v, 2.0 * v]), torch.stack([dense @ v, 2.0 * dense @ v]))
    assert_equal(k.mT @ v, dense @ v)
    assert_equal((3.0 * k).to_dense(), 3.0 * dense)


def test_products_are_differentiable_in_the_vectors():
    k = KernelOperator(RBF(0.5), data(1), tile=TILE)
    v = rows(41, 2).requires_grad_()
    (slope,) = torch.autograd.grad((k @ v).square().sum(), v)
    assert_equal(slope, 2.0 * k.to_dense() @ (k.to_dense() @ v))


def test_it_stands_for_the_hyperparameters_of_its_making():
    kernel, x, v = RBF(0.5), data(1), vectors(41, 2)
    k = KernelOperator(kernel, x, tile=TILE)
    before = k @ v
    kernel.lengthscale = 2.0
    assert_equal(k @ v, before)


class Sizes(TorchDispatchMode):
    """Notes how many numbers each tensor has that is made meanwhile."""

    def __init__(self) -> None:
        super().__init__()
        self.largest = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        found = result if isinstance(result, tuple | list) else [result]
        self.largest = max([self.largest, *(part.numel() for part in found if isinstance(part, Tensor))])
        return result


@pytest.mark.parametrize("columns", [2, 5])
def test_memory_is_that_of_a_tile(columns: int):
    n, tile = 400, (40, 40)
    kernel = 2.0 * Matern([0.7] * columns, nu=1.5) + WhiteNoise(0.1)
    x, v = rows(n, columns), rows(n, 3)
    with Sizes() as sizes:
        k = KernelOperator(kernel, x, tile=tile)
        assert (k @ v).shape == v.shape
        assert len(k.gradient(v, v, list(kernel.parameters()))) == 3
        assert cross_product(kernel, x + 0.1, x, v, tile=tile).shape == v.shape
    table = n * max(2 * v.shape[1], columns)
    assert max(tile[0] * tile[1], n) <= sizes.largest <= max(tile[0] * tile[1], table) < n * n / 50
    with Sizes() as sizes:
        assert k.rows(torch.arange(8)).shape == (8, n)
    assert sizes.largest <= 8 * n


@pytest.mark.parametrize("tile", [(7, 16), (16, 16), (64, 64)])
def test_a_product_evaluates_half_of_the_matrix(tile: tuple[int, int]):
    seen: list[int] = []

    class Recorded(RBF):
        def matrix(self, x1: Tensor, x2: Tensor | None = None) -> Tensor:
            found = super().matrix(x1, x2)
            seen.append(found.numel())
            return found

    kernel, x, v = Recorded(0.7), rows(320, 2), rows(320, 3)
    k = KernelOperator(kernel, x, tile=tile)
    for use in (lambda: k @ v, lambda: k.gradient(v, v, list(kernel.parameters())), k.to_dense):
        seen.clear()
        use()
        assert 0.5 * 320 * 320 < sum(seen) <= 0.5 * 320 * (320 + tile[0])


def test_the_kept_matrix_is_evaluated_once(monkeypatch):
    kernel, x, v = RBF(0.5), data(1), vectors(41, 2)
    k = KernelOperator(kernel, x, tile=TILE, keep=True)
    monkeypatch.setattr(RBF, "matrix", None)  # whatever evaluates it again fails
    assert (k @ v).shape == (41, 2) and (k + DiagLinearOperator(v[:, 0])) @ v is not None
    assert k.to_dense().shape == (41, 41)


@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("make", [lambda: 2.0 * Matern([0.7] * 5, nu=1.5), lambda: gp.MaternKernel(nu=1.5)])
def test_float32_far_from_the_origin(make, keep: bool):
    x = (rows(300, 5) + 1e3).float()
    k, exact = KernelOperator(make(), x, tile=TILE, keep=keep), KernelOperator(make(), x.double())
    v = rows(300, 3).float()
    assert (k @ v).dtype == k.rows(torch.tensor([5])).dtype == k.diagonal().dtype == torch.float32
    torch.testing.assert_close((k @ v).double(), exact @ v.double(), rtol=2e-5, atol=1e-4)
    torch.testing.assert_close(k.to_dense().double(), exact.to_dense(), rtol=0.0, atol=1e-5)


def test_gradients_in_float32():
    kernel, x = 2.0 * Matern([0.7, 1.0, 0.4, 0.9], nu=1.5), rows(300, 4)
    parameters, v = list(kernel.parameters()), rows(300, 2)
    single = KernelOperator(kernel, x.float()).gradient(v.float(), v.float(), parameters)
    double = KernelOperator(kernel, x).gradient(v, v, parameters)
    for actual, expected in zip(single, double, strict=True):
        assert actual.dtype == torch.float64
        torch.testing.assert_close(actual, expected, rtol=1e-5, atol=0.0)


# between different observations --------------------------------------------------------------


@pytest.mark.parametrize("tile", [TILE, (64, 64), None])
@crossed(CASES)
def test_cross_product(case: Case, tile: tuple[int, int] | None):
    kernel, x1, x2, v = case.make(), rows(23, case.columns, seed=8), data(case.columns), rows(41, 4)
    assert_equal(cross_product(kernel, x1, x2, v, tile=tile), covariance(kernel, x1, x2) @ v, 1e-11)
    assert_equal(cross_product(kernel, x2, x2, v, tile=tile), covariance(kernel, x2, x2) @ v, 1e-11)
    assert_equal(cross_product(kernel, x1[:1], x2, v, tile=tile), covariance(kernel, x1[:1], x2) @ v, 1e-11)


def test_cross_product_without_new_rows():
    assert cross_product(RBF(1.0), rows(5, 1)[:0], rows(5, 1), rows(5, 2)).shape == (0, 2)


# errors --------------------------------------------------------------------------------------


@pytest.mark.parametrize("tile", [(0, 5), (5, 0)])
def test_tile_without_entries(tile: tuple[int, int]):
    with pytest.raises(InputError, match="at least one row and one column"):
        KernelOperator(RBF(1.0), rows(5, 1), tile=tile)
    with pytest.raises(InputError, match="at least one row and one column"):
        cross_product(RBF(1.0), rows(5, 1), rows(5, 1), rows(5, 1), tile=tile)


def test_hyperparameters_of_several_models():
    kernel = RBF(1.0)
    kernel.lengthscale = torch.ones(3, 1, 1)
    with pytest.raises(InputError, match="batch of models"):
        KernelOperator(kernel, rows(5, 1))


def test_columns_that_do_not_suit_the_kernel():
    with pytest.raises(InputError, match="lengthscale has 2 values"):
        KernelOperator(RBF([1.0, 2.0]), rows(5, 3))


def test_a_parameter_of_another_kernel():
    k = KernelOperator(RBF(1.0), rows(5, 1))
    with pytest.raises(InputError, match="no parameter of the kernel"):
        k.gradient(rows(5, 1), rows(5, 1), [RBF(1.0).raw_lengthscale])
