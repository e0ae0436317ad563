"""Conjugate gradients against dense solves: every right-hand side certified, and never NaN."""

from dataclasses import dataclass, field

import numpy as np
import pytest
import torch

from nonparam.errors import ConvergenceError, InputError
from nonparam.solvers.conjugate_gradients import CHECK, conjugate_gradients
from nonparam.solvers.operator import Dense, Shifted
from nonparam.solvers.preconditioner import Diagonal, LowRank
from nonparam.solvers.randomly_pivoted_cholesky import randomly_pivoted_cholesky
from nonparam.solvers.result import relative_residuals

N = 150


def normal(*shape, seed=0):
    return torch.tensor(np.random.default_rng(seed).standard_normal(shape))


def kernel(lengthscale=0.5, repeats=1):
    x = torch.tensor(np.random.default_rng(0).uniform(-1.0, 1.0, (N // repeats, 2))).repeat(repeats, 1)
    return Dense(10.0 * torch.exp(-0.5 * (x[:, None] - x).square().sum(-1) / lengthscale**2))


def noisy(k, noise, dtype=torch.float64):
    return Shifted(Dense(k.matrix.to(dtype)), torch.full((N,), noise, dtype=dtype))


def low_rank(a, rank=40):
    factor = randomly_pivoted_cholesky(a.operator, rank, torch.Generator().manual_seed(0)).factor
    return LowRank.of(factor, a.shift)


def dense(a):
    return a.operator.matrix + torch.diag(a.shift)


@dataclass
class Recorded:
    """An operator that counts its products and the columns in each, and may spoil them."""

    inner: Dense
    columns: list[int] = field(default_factory=list)
    spoil_after: int = 10**9
    value: float = float("nan")

    def __getattr__(self, name):
        return getattr(self.inner, name)

    def __matmul__(self, v):
        self.columns.append(v.shape[1])
        return self.inner @ v * (self.value if len(self.columns) > self.spoil_after else 1.0)


@pytest.mark.parametrize("columns", [1, 3])
@pytest.mark.parametrize("steps", [1, 2, 5])
@pytest.mark.parametrize("preconditioned", [False, True])
def test_iterates_are_the_best_in_the_krylov_space(columns, steps, preconditioned):
    """The error is the smallest in the norm of ``A``, over the span of ``(P^-1 A)^j P^-1 B``."""
    a, b = noisy(kernel(0.1), 30.0), normal(N, columns)
    p = low_rank(a, 5) if preconditioned else Diagonal(torch.ones(N, dtype=torch.float64))
    basis = [p.solve(b)]
    for _ in range(steps - 1):
        basis.append(p.solve(a @ torch.linalg.qr(basis[-1]).Q))
    space = torch.linalg.qr(torch.cat(basis, 1)).Q
    expected = space @ torch.linalg.solve(space.mT @ dense(a) @ space, space.mT @ b)
    found = conjugate_gradients(a, b, preconditioner=p, tolerance=1e-12, max_steps=steps)
    assert float(relative_residuals(a, expected, b).max()) < 1.0 and found.steps == steps + 1
    torch.testing.assert_close(found.solution, expected, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("preconditioned", [False, True])
@pytest.mark.parametrize("tolerance", [1e-2, 1e-9])
def test_solves_columns_of_very_different_size(preconditioned, tolerance):
    a = noisy(kernel(), 0.1)
    b = normal(N, 5) * torch.tensor([1.0, 1e-30, 1e25, 0.0, 1.0], dtype=torch.float64)
    found = conjugate_gradients(
        a, b, preconditioner=low_rank(a) if preconditioned else None, tolerance=tolerance
    )
    found.certified()
    torch.testing.assert_close(
        found.residuals, relative_residuals(a, found.solution, b), rtol=1e-3, atol=1e-14
    )
    assert (
        torch.equal(found.solution[:, 3], torch.zeros(N, dtype=torch.float64)) and found.residuals[3] == 0.0
    )
    error = torch.linalg.vector_norm(found.solution - torch.linalg.solve(dense(a), b), dim=0)
    assert bool((error <= tolerance / 0.1 * torch.linalg.vector_norm(b, dim=0)).all())


def test_float32_with_tiny_and_huge_columns():
    a = noisy(kernel(), 0.1, torch.float32)
    b = (normal(N, 3) * torch.tensor([1.0, 1e-30, 1e30], dtype=torch.float64)).float()
    found = conjugate_gradients(a, b, preconditioner=low_rank(a), tolerance=1e-3).certified()
    assert found.solution.dtype == torch.float32 and bool(torch.isfinite(found.solution).all())


def test_a_good_preconditioner_saves_steps():
    a, b = noisy(kernel(), 0.1), normal(N, 3)
    plain = conjugate_gradients(a, b, tolerance=1e-6)
    better = conjugate_gradients(a, b, tolerance=1e-6, preconditioner=low_rank(a, 60))
    assert better.steps < plain.steps / 3
    exact = conjugate_gradients(a, b, tolerance=1e-6, preconditioner=low_rank(a, N))
    assert exact.steps <= 3


def test_an_exact_start_takes_no_iteration():
    a, b = noisy(kernel(), 0.1), normal(N, 2)
    called = []
    x = torch.linalg.solve(dense(a), b)
    found = conjugate_gradients(a, b, initial=x, tolerance=1e-8, on_step=lambda *at: called.append(at))
    assert found.steps == 1 and not called  # the product that certifies it
    torch.testing.assert_close(found.solution, x)


def test_a_warm_start_saves_steps_and_a_bad_one_is_dropped():
    a, b = noisy(kernel(), 0.1), normal(N, 2)
    cold = conjugate_gradients(a, b, tolerance=1e-8)
    x = torch.linalg.solve(dense(a), b)
    warm = conjugate_gradients(a, b, initial=x * (1.0 + 1e-7), tolerance=1e-8).certified()
    assert warm.steps < cold.steps / 2
    bad = conjugate_gradients(a, b, initial=1e6 * normal(N, 2, seed=1), tolerance=1e-8)
    assert bad.steps == cold.steps + 1
    torch.testing.assert_close(bad.solution, cold.solution)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dependent_right_hand_sides_cost_nothing(dtype):
    a = Recorded(noisy(kernel(), 1.0, dtype))
    b = normal(N, 2).to(dtype)
    b = torch.cat([b, b[:, :1], b.sum(1, keepdim=True), 0.0 * b[:, :1]], 1)
    found = conjugate_gradients(a, b, tolerance=1e-4).certified()
    assert set(a.columns[:-1]) == {2} and found.steps == len(a.columns)
    torch.testing.assert_close(found.solution[:, 2], found.solution[:, 0], rtol=1e-2, atol=1e-3)


def test_more_right_hand_sides_take_fewer_steps():
    a, b = noisy(kernel(), 0.01), normal(N, 20)
    steps = [conjugate_gradients(a, b[:, :k], tolerance=1e-6).certified().steps for k in (1, 5, 20)]
    assert steps[0] > steps[1] > steps[2]


def test_right_hand_sides_of_zeros():
    a = Recorded(noisy(kernel(), 0.1))
    found = conjugate_gradients(a, torch.zeros(N, 2, dtype=torch.float64)).certified()
    assert (
        found.steps == 0
        and float(found.solution.abs().max()) == 0.0
        and found.residuals.tolist() == [0.0, 0.0]
    )


def test_no_right_hand_side():
    assert conjugate_gradients(noisy(kernel(), 0.1), normal(N, 0)).solution.shape == (N, 0)


def test_on_step_sees_products_and_the_largest_residual():
    a, b, seen = noisy(kernel(), 0.1), normal(N, 2), []
    conjugate_gradients(a, b, tolerance=1e-6, on_step=lambda *at: seen.append(at))
    steps, sizes = zip(*seen, strict=True)
    assert steps[:3] == (1, 2, 3) and sizes[-1] <= 1e-6 < sizes[0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("lengthscale", "repeats", "noise"), [(0.5, 1, 1e-8), (0.5, 3, 1e-8), (1e3, 1, 1e-8), (1e3, 1, 1e-3)]
)
@pytest.mark.parametrize("rank", [0, 40])
def test_ill_conditioned_matrices_leave_an_honest_record(dtype, lengthscale, repeats, noise, rank):
    a = noisy(kernel(lengthscale, repeats), noise, dtype)
    b = normal(N, 3).to(dtype)
    p = low_rank(a, rank) if rank else None
    found = conjugate_gradients(a, b, preconditioner=p, tolerance=1e-6, max_steps=300)
    assert bool(torch.isfinite(found.solution).all()) and float(found.residuals.max()) < 1.001
    again = relative_residuals(a, found.solution, b).double()
    slack = 50 * torch.finfo(dtype).eps * 10.0 * N * torch.linalg.vector_norm(found.solution, dim=0)
    assert bool(((again - found.residuals).abs() <= 1e-6 + slack / torch.linalg.vector_norm(b, dim=0)).all())
    if not found.converged:
        with pytest.raises(ConvergenceError, match="of 3 right-hand sides missed the tolerance"):
            found.certified()


def test_float32_stops_where_rounding_leaves_no_gain():
    a = noisy(kernel(), 1e-4, torch.float32)
    found = conjugate_gradients(
        a, normal(N, 2).float(), preconditioner=low_rank(a), tolerance=1e-9, max_steps=5000
    )
    assert not found.converged and found.steps < 20 * CHECK


def test_restarts_from_true_residuals_reach_what_the_recursion_alone_does_not():
    a, b = noisy(kernel(), 1e-3), normal(N, 2)
    conjugate_gradients(a, b, preconditioner=low_rank(a), tolerance=1e-10).certified()


def test_an_indefinite_matrix_is_given_up():
    found = conjugate_gradients(Dense(-torch.eye(N, dtype=torch.float64)), normal(N, 2))
    assert found.residuals.tolist() == pytest.approx([1.0, 1.0]) and found.steps <= 2


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("spoil_after", [0, 3, 2 * CHECK])
def test_products_that_are_not_finite_are_an_error(value, spoil_after):
    a = Recorded(noisy(kernel(), 1e-6), spoil_after=spoil_after, value=value)
    with pytest.raises(ConvergenceError, match="not finite"):
        conjugate_gradients(a, normal(N, 2), tolerance=1e-13)


def test_a_preconditioner_that_is_not_finite_is_an_error():
    p = Diagonal(torch.zeros(N, dtype=torch.float64))
    with pytest.raises(ConvergenceError, match="preconditioner times a residual is not finite"):
        conjugate_gradients(noisy(kernel(), 0.1), normal(N, 2), preconditioner=p)


def test_wrong_right_hand_sides_are_refused():
    a = noisy(kernel(), 0.1)
    with pytest.raises(InputError, match=r"b must have shape \(150, k\), got \(150,\)"):
        conjugate_gradients(a, normal(N))
    with pytest.raises(InputError, match=r"initial must have shape \(150, 2\), got \(150, 3\)"):
        conjugate_gradients(a, normal(N, 2), initial=normal(N, 3))
    with pytest.raises(InputError, match="b must be finite"):
        conjugate_gradients(a, normal(N, 2) * torch.inf)
    with pytest.raises(InputError, match="tolerance"):
        conjugate_gradients(a, normal(N, 2), tolerance=float("nan"))


def test_method_names_the_preconditioner():
    a, b = noisy(kernel(), 0.1), normal(N, 1)
    assert conjugate_gradients(a, b).method == "conjugate gradients"
    found = conjugate_gradients(a, b, preconditioner=low_rank(a))
    assert found.method == "conjugate gradients, preconditioner of rank 40 plus diagonal"
