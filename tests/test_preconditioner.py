"""Preconditioners against dense algebra: every power of low rank plus diagonal, and what rounding leaves."""

import numpy as np
import pytest
import torch

from nonparam.solvers.preconditioner import Diagonal, LowRank


def normal(*shape, seed=0):
    return torch.tensor(np.random.default_rng(seed).standard_normal(shape))


def low_rank(n, k, scale=1.0):
    factor, shift = scale * normal(n, k), torch.linspace(0.5, 2.0, n, dtype=torch.float64)
    return LowRank.of(factor, shift), factor @ factor.mT + torch.diag(shift)


def diagonal(n):
    d = torch.linspace(0.1, 3.0, n, dtype=torch.float64)
    return Diagonal(d), torch.diag(d)


@pytest.fixture(params=["low rank", "no columns", "as many columns as rows", "dependent columns", "diagonal"])
def case(request):
    if request.param == "dependent columns":
        factor, shift = normal(9, 2)[:, [0, 1, 1, 0]], torch.full((9,), 0.3, dtype=torch.float64)
        return LowRank.of(factor, shift), factor @ factor.mT + torch.diag(shift)
    columns = {"low rank": 3, "no columns": 0, "as many columns as rows": 9}
    return diagonal(9) if request.param == "diagonal" else low_rank(9, columns[request.param])


def test_powers_are_those_of_the_dense_matrix(case):
    p, dense = case
    v, eye = normal(9, 4, seed=1), torch.eye(9, dtype=torch.float64)
    torch.testing.assert_close(p.solve(v), torch.linalg.solve(dense, v))
    root = p.multiply(eye)
    torch.testing.assert_close(root @ root.mT, dense)
    torch.testing.assert_close(p.half_solve(root), eye)
    torch.testing.assert_close(p.half_solve_transposed(p.half_solve(v)), p.solve(v))
    torch.testing.assert_close(p.half_solve_transposed(eye), p.half_solve(eye).mT)
    assert p.log_determinant() == pytest.approx(float(torch.logdet(dense)), rel=1e-10)


def test_arguments_are_left_alone(case):
    p, _ = case
    v = normal(9, 2)
    for method in (p.solve, p.half_solve, p.half_solve_transposed, p.multiply):
        method(v)
    assert torch.equal(v, normal(9, 2))


def test_samples_have_its_covariance(case):
    p, dense = case
    draws = p.sample(torch.Generator().manual_seed(0), 40_000)
    error = draws @ draws.mT / 40_000 - dense
    spread = torch.sqrt((dense.square() + torch.outer(dense.diagonal(), dense.diagonal())) / 40_000)
    assert float((error / spread).abs().max()) < 4.5
    assert torch.equal(draws, p.sample(torch.Generator().manual_seed(0), 40_000))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_first_directions_keep_their_digits_where_the_noise_is_far_below_them(dtype):
    directions = torch.linalg.qr(normal(40, 3)).Q
    p = LowRank.of(1e3 * directions, torch.ones(40, dtype=dtype))
    v = directions.to(dtype)
    expected = v / (1.0 + 1e6) + (v - directions @ (directions.mT @ v.double())).to(dtype)
    torch.testing.assert_close(p.solve(v), expected, rtol=1e-5, atol=1e-12)
    assert p.solve(v).dtype == dtype and p.rank == 3


def test_it_says_what_it_is():
    assert str(low_rank(5, 2)[0]) == "rank 2 plus diagonal" and str(diagonal(3)[0]) == "diagonal"
