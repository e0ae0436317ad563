"""Refined solves against numpy in float64, where float32 alone is wrong, and where it fails."""

import sys

import numpy as np
import pytest
import torch

from nonparam.errors import ConvergenceError, InputError, NotPositiveDefiniteError
from nonparam.solvers import refinement
from nonparam.solvers.cholesky import cholesky, factorise_strips, mirror
from nonparam.solvers.operator import Dense, Shifted
from nonparam.solvers.refinement import mixed_precision_solve, refined_solve, single_cholesky


def covariance(n, *, noise=0.1, lengthscale=1.0, seed=0):
    x = np.random.default_rng(seed).uniform(-2.0, 2.0, (n, 2))
    square = ((x[:, None] - x[None]) ** 2).sum(-1)
    return torch.tensor(np.exp(-0.5 * square / lengthscale**2) + noise * np.eye(n))


def vectors(n, k, seed=1):
    return torch.tensor(np.random.default_rng(seed).standard_normal((n, k)))


def relative_error(x, expected):
    return float((x - expected).abs().max() / expected.abs().max())


def true_residuals(a, x, b):
    return np.linalg.norm(b.numpy() - a.numpy() @ x.numpy(), axis=0) / np.linalg.norm(b, axis=0)


# the factor ------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 2, 9, 70])
def test_factor_is_that_of_numpy_in_the_memory_of_the_matrix(n):
    a = covariance(n)
    single = a.float()
    factor = single_cholesky(single)
    assert factor.upper.data_ptr() == single.data_ptr() and factor.jitter == 0.0
    np.testing.assert_allclose(factor.upper.triu(), np.linalg.cholesky(a).T, atol=1e-5)
    assert factor.log_determinant() == pytest.approx(np.linalg.slogdet(a)[1], abs=1e-4)
    np.testing.assert_allclose(factor.solve(vectors(n, 3)), np.linalg.solve(a, vectors(n, 3)), atol=1e-3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("n", "width"), [(1, 4), (4, 4), (9, 4), (70, 16)])
def test_factor_in_strips(dtype, n, width):
    a = covariance(n).to(dtype)
    factor = a.clone()
    assert factorise_strips(factor, width)
    np.testing.assert_allclose(factor.triu(), np.linalg.cholesky(a.double()).T, atol=1e-5)
    torch.testing.assert_close(factor.tril(-1), a.tril(-1), rtol=0, atol=0)


def test_factor_in_strips_says_where_it_fails():
    a = covariance(9)
    a[7, 7] = -1.0
    assert not factorise_strips(a.clone(), 4)


@pytest.mark.parametrize("n", [1, 5, 13])
def test_the_matrix_is_restored_from_below_the_diagonal(n, monkeypatch):
    monkeypatch.setattr(refinement, "STRIP", 4)
    a = covariance(n)
    spoilt = a.tril() + 9.0 * torch.ones(n, n).triu(1)
    mirror(spoilt)
    torch.testing.assert_close(spoilt, a, rtol=0, atol=0)


def test_repeated_rows_get_a_jitter_that_is_reported_and_starts_from_the_matrix():
    a = torch.ones(6, 6) + torch.diag(torch.tensor([1.0, 1.0, 0.0, 0.0, 0.0, 0.0]))
    factor = single_cholesky(a.clone())
    assert factor.jitter in refinement.JITTERS[1:]
    root = factor.upper.triu()
    expected = a + factor.jitter * torch.diag(torch.diagonal(a))
    torch.testing.assert_close(root.mT @ root, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -1.0])
def test_a_matrix_that_has_no_factor_is_refused(bad):
    a = covariance(5).float()
    a[2, 2] = bad
    with pytest.raises(NotPositiveDefiniteError, match=r"5 rows.*float32.*try float64"):
        single_cholesky(a)


def test_factor_of_another_precision_or_layout_is_refused():
    with pytest.raises(InputError, match=r"contiguous matrix of float32, got torch.float64"):
        single_cholesky(covariance(3))
    with pytest.raises(InputError, match="contiguous"):
        single_cholesky(torch.eye(6)[::2, ::2])


# refinement ------------------------------------------------------------------------------------


@pytest.mark.parametrize("noise", [1e-1, 1e-4, 1e-6])
@pytest.mark.parametrize("lengthscale", [0.3, 1.0, 1e3])
def test_residuals_reach_the_tolerance(noise, lengthscale):
    a, b = covariance(150, noise=noise, lengthscale=lengthscale), vectors(150, 4)
    solve = refined_solve(Dense(a), single_cholesky(a.float()), b, 1e-8).certified()
    np.testing.assert_allclose(true_residuals(a, solve.solution, b), solve.residuals, atol=2e-9)


@pytest.mark.parametrize("lengthscale", [1.0, 1e3])
def test_a_noise_below_the_rounding_of_float32(lengthscale):
    """A solution of float64 numbers has a residual of the rounding times the condition, here some 1e-6."""
    a, b = covariance(150, noise=1e-8, lengthscale=lengthscale), vectors(150, 4)
    tolerance = 1e-16 * float(np.linalg.cond(a))
    solve = mixed_precision_solve(Dense(a), b, max(tolerance, 1e-6))
    assert solve.converged and solve.fell_back == (lengthscale == 1.0)
    np.testing.assert_allclose(true_residuals(a, solve.solution, b), solve.residuals, rtol=0.5)


def test_float64_accuracy_from_a_float32_factor():
    a, b = covariance(200, noise=1e-3), vectors(200, 2)
    factor = single_cholesky(a.float())
    expected = torch.linalg.solve(a, b)
    solve = refined_solve(Dense(a), factor, b, 1e-11).certified()
    assert relative_error(factor.solve(b), expected) > 1e-6  # float32 alone is not enough
    assert relative_error(solve.solution, expected) < 1e-10
    assert solve.steps <= 10


def test_columns_of_very_different_size_and_of_zeros():
    a = covariance(80)
    b = vectors(80, 4) * torch.tensor([1e-60, 1.0, 1e60, 0.0], dtype=torch.float64)
    solve = refined_solve(Dense(a), single_cholesky(a.float()), b, 1e-11).certified()
    expected = torch.linalg.solve(a, b)
    for column in range(3):
        assert relative_error(solve.solution[:, column], expected[:, column]) < 1e-9
    assert not solve.solution[:, 3].any() and solve.residuals[3] == 0.0


def test_only_zeros_need_no_step():
    a = covariance(5)
    solve = refined_solve(Dense(a), single_cholesky(a.float()), torch.zeros(5, 2).double(), 1e-12)
    assert solve.steps == 0 and not solve.solution.any() and solve.converged


def test_repeated_rows_with_little_noise():
    """A jitter far above the noise: plain refinement would need thousands of steps."""
    a = covariance(60, noise=0.0)
    a = a.repeat(2, 2) + 1e-7 * torch.eye(120, dtype=torch.float64)
    factor = single_cholesky(a.float())
    assert factor.jitter > 1e-7
    solve = refined_solve(Dense(a), factor, vectors(120, 3), 1e-7).certified()
    assert (true_residuals(a, solve.solution, vectors(120, 3)) < 2e-7).all()


def test_any_operator():
    a, b = covariance(40, noise=0.0), vectors(40, 2)
    noise = torch.linspace(0.1, 1.0, 40, dtype=torch.float64)
    solve = refined_solve(Shifted(Dense(a), noise), single_cholesky((a + noise.diag()).float()), b, 1e-12)
    np.testing.assert_allclose(solve.certified().solution, np.linalg.solve(a + noise.diag(), b), rtol=1e-8)


def test_a_foreign_factor_stalls_and_says_so():
    class Nothing:
        def solve(self, b):
            return torch.zeros_like(b)

    solve = refined_solve(Dense(covariance(20)), Nothing(), vectors(20, 2), 1e-10)
    assert not solve.converged and solve.steps < 5
    np.testing.assert_allclose(solve.residuals, 1.0)
    with pytest.raises(ConvergenceError, match=r"refinement with Nothing: 2 of 2 right-hand sides missed"):
        solve.certified()


def test_few_steps_leave_the_best_iterate_with_its_residual():
    a, b = covariance(100, noise=1e-6), vectors(100, 2)
    solve = refined_solve(Dense(a), single_cholesky(a.float()), b, 1e-14, max_steps=3)
    assert solve.steps <= 3 and not solve.converged
    np.testing.assert_allclose(true_residuals(a, solve.solution, b), solve.residuals, rtol=1e-3)
    assert (solve.residuals < 1.0).all()


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_an_operator_that_is_not_finite_raises(bad):
    a = covariance(5)
    factor = single_cholesky(a.float())
    a[1, 2] = bad
    with pytest.raises(ConvergenceError, match="entries that are not finite"):
        refined_solve(Dense(a), factor, vectors(5, 1), 1e-8)


def test_single_precision_residuals_are_refused():
    a = covariance(4)
    factor = single_cholesky(a.float())
    with pytest.raises(InputError, match=r"residuals need float64, got a matrix of torch.float32"):
        refined_solve(Dense(a.float()), factor, vectors(4, 1), 1e-8)
    with pytest.raises(InputError, match=r"right side of torch.float32"):
        mixed_precision_solve(Dense(a), vectors(4, 1).float(), 1e-8)


# both together -----------------------------------------------------------------------------------


@pytest.mark.parametrize("strip", [7, 2048])
def test_mixed_precision(strip, monkeypatch):
    monkeypatch.setattr(refinement, "STRIP", strip)
    a, b = covariance(50), vectors(50, 2)
    solve = mixed_precision_solve(Dense(a), b, 1e-11)
    assert solve.converged and not solve.fell_back
    np.testing.assert_allclose(solve.solution, np.linalg.solve(a, b), rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("scale", [1e-50, 1e50])
def test_a_matrix_out_of_the_range_of_float32_falls_back_and_says_so(scale):
    a, b = scale * covariance(30), vectors(30, 2)
    solve = mixed_precision_solve(Dense(a), b, 1e-11)
    assert solve.fell_back and solve.converged and solve.method.endswith("after float32 failed")
    np.testing.assert_allclose(solve.solution * scale, np.linalg.solve(covariance(30), b), rtol=1e-8)


def test_a_refinement_that_stalls_falls_back_and_counts_its_steps(monkeypatch):
    monkeypatch.setattr(refinement.SingleFactor, "solve", lambda self, b: torch.zeros_like(b))
    a, b = covariance(30), vectors(30, 2)
    solve = mixed_precision_solve(Dense(a), b, 1e-11)
    assert solve.fell_back and solve.converged and solve.steps > 2


def test_what_no_precision_solves_raises():
    singular = torch.ones(8, 8, dtype=torch.float64)
    with pytest.raises(ConvergenceError, match="missed the tolerance"):
        mixed_precision_solve(Dense(singular), vectors(8, 1), 1e-8)
    with pytest.raises(NotPositiveDefiniteError, match="not positive definite"):
        mixed_precision_solve(Dense(-singular), vectors(8, 1), 1e-8)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_beyond_the_rows_that_lapack_bears_a_factor_is_made_in_strips(dtype, monkeypatch):
    called = []
    for module in ("nonparam.solvers.cholesky", "nonparam.solvers.refinement"):
        monkeypatch.setattr(sys.modules[module], "LARGEST", 100)
        monkeypatch.setattr(
            sys.modules[module], "factorise_strips", lambda a, _: called.append(1) or factorise_strips(a, 64)
        )
    a = torch.from_numpy(np.cov(np.random.default_rng(0).standard_normal((150, 400)))).contiguous()
    made = single_cholesky(a.float()) if dtype == torch.float32 else cholesky(a.clone())
    expected = torch.linalg.cholesky(a, upper=True).to(dtype)
    torch.testing.assert_close(
        made.upper.triu(), expected, rtol=0, atol=1e-4 if dtype == torch.float32 else 1e-12
    )
    assert called
