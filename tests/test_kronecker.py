"""Kronecker products and their eigen-decompositions against dense matrices."""

from functools import reduce

import numpy as np
import pytest
import torch

from nonparam.errors import ConvergenceError, InputError, NotPositiveDefiniteError
from nonparam.solvers.kronecker import KroneckerOperator, kronecker_eigen
from nonparam.solvers.operator import SymmetricOperator

SIZES = [(1,), (5,), (3, 4), (4, 1, 3), (2, 3, 4, 2)]


def covariance(n, lengthscale=1.0):
    x = np.arange(n) / lengthscale
    return torch.tensor(np.exp(-0.5 * (x[:, None] - x[None]) ** 2))


def random_factors(sizes, seed=0):
    rng = np.random.default_rng(seed)
    roots = [torch.tensor(rng.standard_normal((n, n))) for n in sizes]
    return tuple(root + root.mT for root in roots)


def dense(factors):
    return reduce(np.kron, [np.asarray(factor) for factor in factors])


def vectors(n, k, seed=1):
    return torch.tensor(np.random.default_rng(seed).standard_normal((n, k)))


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("k", [1, 3])
def test_product_is_the_dense_one(sizes, k):
    operator = KroneckerOperator(random_factors(sizes))
    v = vectors(operator.shape[0], k)
    np.testing.assert_allclose(operator @ v, dense(operator.factors) @ v.numpy(), rtol=1e-10, atol=1e-10)
    columns = v.mT.contiguous().mT
    torch.testing.assert_close(operator @ columns, operator @ v, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("sizes", SIZES)
def test_rows_and_diagonal(sizes, dtype):
    operator = KroneckerOperator(tuple(factor.to(dtype) for factor in random_factors(sizes)))
    whole = dense(operator.factors)
    assert isinstance(operator, SymmetricOperator)
    assert operator.shape == whole.shape and operator.dtype == dtype and operator.device.type == "cpu"
    index = torch.tensor([len(whole) - 1, 0, len(whole) // 2])
    np.testing.assert_allclose(operator.rows(index), whole[index], rtol=1e-5)
    np.testing.assert_allclose(operator.diagonal(), np.diag(whole), rtol=1e-5)
    assert (operator @ torch.ones(len(whole), 1, dtype=dtype)).dtype == dtype


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("noise", [1e-2, 1.0])
def test_solve_and_determinant_are_the_dense_ones(sizes, noise):
    factors = [covariance(n) for n in sizes]
    whole = dense(factors) + noise * np.eye(np.prod(sizes))
    b = vectors(len(whole), 3)
    factor = kronecker_eigen(factors, noise)
    solve = factor.solve(b, 1e-11).certified()
    np.testing.assert_allclose(solve.solution, np.linalg.solve(whole, b), rtol=1e-9, atol=1e-10)
    assert factor.log_determinant() == pytest.approx(np.linalg.slogdet(whole)[1], rel=1e-9, abs=1e-10)


@pytest.mark.parametrize("lengthscale", [1.0, 1e3])
def test_ill_conditioned(lengthscale):
    """The condition is 1e10: a backward stable solve leaves a residual of the rounding times that."""
    factors, noise = [covariance(12, lengthscale), covariance(10, lengthscale)], 1e-8
    whole = dense(factors) + noise * np.eye(120)
    b = vectors(120, 2)
    factor = kronecker_eigen(factors, noise)
    solve = factor.solve(b, 1e-15 * np.linalg.cond(whole)).certified()
    residuals = np.linalg.norm(b.numpy() - whole @ solve.solution.numpy(), axis=0) / np.linalg.norm(b, axis=0)
    np.testing.assert_allclose(residuals, solve.residuals, rtol=0.5, atol=1e-8)
    assert factor.log_determinant() == pytest.approx(np.linalg.slogdet(whole)[1], rel=1e-7)


def test_repeated_rows_of_the_grid():
    factors = [torch.ones(3, 3, dtype=torch.float64), covariance(4)]
    b = vectors(12, 2)
    solve = kronecker_eigen(factors, 0.1).solve(b, 1e-11).certified()
    whole = dense(factors) + 0.1 * np.eye(12)
    np.testing.assert_allclose(solve.solution, np.linalg.solve(whole, b), rtol=1e-9)
    with pytest.raises(NotPositiveDefiniteError, match=r"noise of 0 is singular.*larger noise"):
        kronecker_eigen(factors, 0.0)


def test_columns_of_very_different_size_and_of_zeros():
    scale = torch.tensor([1e-100, 1.0, 1e100, 0.0], dtype=torch.float64)
    b = vectors(12, 4)
    factor = kronecker_eigen([covariance(3), covariance(4)], 0.1)
    solve = factor.solve(b * scale, 1e-12).certified()
    expected = factor.solve(b, 1e-12).solution
    torch.testing.assert_close(solve.solution[:, :3] / scale[:3], expected[:, :3], rtol=1e-10, atol=1e-13)
    assert not solve.solution[:, 3].any() and solve.residuals[3] == 0.0


def test_single_precision_is_certified_as_such():
    factor = kronecker_eigen([covariance(6).float(), covariance(7).float()], 0.1)
    solve = factor.solve(vectors(42, 2).float(), 1e-4).certified()
    assert solve.solution.dtype == torch.float32
    with pytest.raises(ConvergenceError, match="Kronecker eigen-decomposition: 2 of 2"):
        factor.solve(vectors(42, 2).float(), 1e-12).certified()


def test_factors_that_are_no_covariances_are_refused():
    indefinite = torch.tensor([[1.0, 2.0], [2.0, 1.0]], dtype=torch.float64)
    with pytest.raises(NotPositiveDefiniteError, match=r"2 rows\) has the eigenvalue -1"):
        kronecker_eigen([covariance(3), indefinite], 10.0)
    for bad in (torch.nan, torch.inf):
        with pytest.raises(NotPositiveDefiniteError, match="not finite"):
            kronecker_eigen([torch.full((2, 2), bad)], 1.0)


@pytest.mark.parametrize("factors", [[], [torch.ones(2, 3)], [torch.ones(2)]])
def test_shapes_that_do_not_fit_are_refused(factors):
    with pytest.raises(InputError, match="expected square matrices, got"):
        kronecker_eigen(factors, 1.0)
