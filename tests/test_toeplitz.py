"""Toeplitz products and solves against dense matrices."""

import numpy as np
import pytest
import torch
from scipy.linalg import toeplitz

from nonparam.errors import ConvergenceError, InputError, NotPositiveDefiniteError
from nonparam.solvers.operator import SymmetricOperator
from nonparam.solvers.toeplitz import ToeplitzOperator, inverse_diagonal_sums, levinson


def matern12(n, *, noise=0.1, lengthscale=5.0):
    row = np.exp(-np.arange(n) / lengthscale)
    row[0] += noise
    return torch.tensor(row)


def rbf(n, *, noise, lengthscale):
    row = np.exp(-0.5 * (np.arange(n) / lengthscale) ** 2)
    row[0] += noise
    return torch.tensor(row)


def vectors(n, k, seed=1):
    return torch.tensor(np.random.default_rng(seed).standard_normal((n, k)))


SIZES = [1, 2, 3, 7, 64, 101]
REFUSED = [[-1.0], [0.0, 0.0], [1.0, 1.0], [1.0, 2.0, 0.0], [1.0, np.nan], [np.inf, 1.0]]


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("k", [1, 5])
def test_product_is_the_dense_one(n, k):
    row = torch.tensor(np.random.default_rng(n).standard_normal(n))
    operator = ToeplitzOperator(row)
    np.testing.assert_allclose(operator @ vectors(n, k), toeplitz(row) @ vectors(n, k).numpy(), atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("n", SIZES)
def test_rows_and_diagonal(n, dtype):
    operator = ToeplitzOperator(matern12(n).to(dtype))
    assert isinstance(operator, SymmetricOperator)
    assert operator.shape == (n, n) and operator.dtype == dtype and operator.device.type == "cpu"
    index = torch.tensor([n - 1, 0])
    dense = toeplitz(operator.first_row)
    np.testing.assert_array_equal(operator.rows(index), dense[index])
    np.testing.assert_array_equal(operator.diagonal(), np.diag(dense))
    product = operator @ torch.eye(n, dtype=dtype)
    assert product.dtype == dtype
    np.testing.assert_allclose(product, dense, atol=10 * torch.finfo(dtype).eps)


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("k", [1, 3])
def test_levinson_is_the_dense_solve(n, k):
    row, b = matern12(n), vectors(n, k)
    dense = toeplitz(row)
    solve = levinson(row, b, 1e-12).certified()
    np.testing.assert_allclose(solve.solution, np.linalg.solve(dense, b), rtol=1e-10, atol=1e-12)
    assert solve.log_determinant == pytest.approx(np.linalg.slogdet(dense)[1], rel=1e-10, abs=1e-12)
    np.testing.assert_allclose(solve.inverse_column, np.linalg.inv(dense)[:, 0], rtol=1e-10, atol=1e-12)


def test_the_inverse_column_gives_the_sums_of_the_diagonals():
    row = matern12(30)
    inverse = np.linalg.inv(toeplitz(row))
    sums = inverse_diagonal_sums(levinson(row, vectors(30, 1), 1e-10).inverse_column.numpy())
    np.testing.assert_allclose(sums, [np.trace(inverse, k) for k in range(30)], rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize(("noise", "lengthscale"), [(1e-2, 20.0), (1e-4, 1e3), (1e-6, 10.0), (1e-8, 1e3)])
def test_ill_conditioned(noise, lengthscale):
    row, b = rbf(300, noise=noise, lengthscale=lengthscale), vectors(300, 2)
    dense = toeplitz(row)
    rounding = 1e-15 * np.linalg.cond(dense)
    solve = levinson(row, b, rounding).certified()
    residuals = np.linalg.norm(b.numpy() - dense @ solve.solution.numpy(), axis=0) / np.linalg.norm(b, axis=0)
    np.testing.assert_allclose(residuals, solve.residuals, rtol=0.5, atol=1e-14)
    assert solve.log_determinant == pytest.approx(np.linalg.slogdet(dense)[1], abs=300 * rounding)


def test_columns_of_very_different_size_and_of_zeros():
    scale = torch.tensor([1e-100, 1.0, 1e100, 0.0], dtype=torch.float64)
    row, b = matern12(50), vectors(50, 4)
    solve = levinson(row, b * scale, 1e-12).certified()
    expected = torch.linalg.solve(torch.tensor(toeplitz(row)), b)
    torch.testing.assert_close(solve.solution[:, :3] / scale[:3], expected[:, :3], rtol=1e-9, atol=1e-12)
    assert not solve.solution[:, 3].any() and solve.residuals[3] == 0.0


def test_single_precision_is_solved_in_double():
    row, b = matern12(20).float(), vectors(20, 1).float()
    solve = levinson(row, b, 1e-12).certified()
    assert solve.solution.dtype == torch.float64


def test_a_tolerance_out_of_reach_raises():
    row = rbf(200, noise=1e-8, lengthscale=20.0)
    with pytest.raises(ConvergenceError, match=r"Levinson recursion: 1 of 1 right-hand sides missed"):
        levinson(row, vectors(200, 1), 1e-16).certified()


@pytest.mark.parametrize("row", REFUSED)
def test_a_row_that_is_not_positive_definite_is_refused(row):
    with pytest.raises(NotPositiveDefiniteError, match=r"not positive definite: from \d rows.*larger noise"):
        levinson(torch.tensor(row, dtype=torch.float64), vectors(len(row), 1), 1e-8)


@pytest.mark.parametrize(("row", "b"), [((3,), (4, 1)), ((3,), (3,)), ((3, 3), (3, 1))])
def test_shapes_that_do_not_fit_are_refused(row, b):
    with pytest.raises(InputError, match=r"expected \(n,\) and \(n, k\)"):
        levinson(torch.ones(row), torch.ones(b), 1e-8)
