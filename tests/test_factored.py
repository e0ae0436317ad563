"""A Cholesky factor as a preconditioner: oracles, its own matrix and one nearby, and training with it."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from nonparam import GPRegressor, solves
from nonparam.errors import ConvergenceError, InputError, NotPositiveDefiniteError
from nonparam.kernels import RBF, Matern, Scale
from nonparam.newton import certified_slope, hessian_root, highest, updated
from nonparam.objective import Data, Objective
from nonparam.solvers.certified import CertifiedSolver
from nonparam.solvers.conjugate_gradients import conjugate_gradients
from nonparam.solvers.factored import Factored
from nonparam.solvers.operator import Dense
from nonparam.solvers.refinement import single_cholesky
from nonparam.solvers.variance_cache import VarianceCache
from nonparam.solves import SolvedEvidence
from nonparam.theta import Prior, Theta

N = 300
DTYPES = [torch.float32, torch.float64]


def covariance(lengthscale: float = 0.5, noise: float = 1e-5) -> torch.Tensor:
    x = torch.from_numpy(np.random.default_rng(0).uniform(size=(N, 2)))
    with torch.no_grad():
        return Matern(lengthscale, nu=1.5)(x).to_dense() + noise * torch.eye(N, dtype=torch.float64)


def factored(a: torch.Tensor, dtype: torch.dtype = torch.float64) -> Factored:
    upper = torch.linalg.cholesky(a, upper=True).to(dtype)
    never_read = torch.full((N, N), torch.nan, dtype=dtype).tril(-1)
    return Factored.of(torch.where(never_read.isnan(), never_read, upper).contiguous())


def vectors(k: int = 3) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(1).standard_normal((N, k)))


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_form_is_that_of_the_dense_factor(dtype):
    a = covariance(noise=0.1)
    p, v, near = factored(a, dtype), vectors(), {"rtol": 0, "atol": 1e-3 if dtype == torch.float32 else 1e-10}
    upper = torch.linalg.cholesky(a, upper=True)
    kept = v.clone()
    torch.testing.assert_close(p.solve(v), torch.linalg.solve(a, v), **near)
    torch.testing.assert_close(p.half_solve(v), torch.linalg.solve(upper.mT, v), **near)
    torch.testing.assert_close(p.half_solve_transposed(v), torch.linalg.solve(upper, v), **near)
    torch.testing.assert_close(p.multiply(v), upper.mT @ v, **near)
    assert p.log_determinant() == pytest.approx(float(torch.logdet(a)), abs=near["atol"])
    assert torch.equal(v, kept) and p.solve(v.to(dtype)).dtype == dtype
    draws = p.sample(torch.Generator().manual_seed(0), 4000).double()
    assert (draws @ draws.mT / 4000 - a).abs().max() < 0.15
    assert str(p) == f"a Cholesky factor of {'float32' if dtype == torch.float32 else 'float64'}"


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_factor_nearby_serves_however_small_the_noise(dtype):
    a, noise = covariance(0.6, 1e-6), torch.full((N,), 1e-6, dtype=torch.float64)
    preconditioner = factored(covariance(0.5, 2e-6), dtype)
    solve = conjugate_gradients(Dense(a), vectors(), preconditioner=preconditioner, tolerance=1e-6)
    assert solve.converged and solve.steps < 25
    torch.testing.assert_close(a @ solve.solution, vectors(), rtol=0, atol=1e-4)
    low_rank = CertifiedSolver.of(Dense(a - noise.diag()), noise, tolerance=1e-6, seed=0, rank=50)
    without = conjugate_gradients(
        Dense(a), vectors(), preconditioner=low_rank.preconditioner, tolerance=1e-6, max_steps=60
    )
    assert not without.converged  # the problem is hard


def test_what_a_low_rank_leaves_out_is_the_mean_diagonal_of_the_remainder():
    a, noise = covariance(0.2, 0.0), torch.full((N,), 1e-2, dtype=torch.float64)
    solver = CertifiedSolver.of(Dense(a), noise, tolerance=1e-6, seed=0, rank=20)
    f = solver.preconditioner.whitened * 0.1
    assert solver.left_out() == pytest.approx(float(torch.diagonal(a - f @ f.mT).mean()) / 1e-2)
    assert replace(solver, preconditioner=factored(a + noise.diag())).left_out() == 0.0


def test_a_factor_too_far_away_is_refused():
    a, noise = covariance(0.01, 0.0), torch.full((N,), 1e-6, dtype=torch.float64)
    far = factored(covariance(30.0, 1e-6))
    solver = CertifiedSolver.of(Dense(a), noise, tolerance=1e-8, seed=0, factor=far)
    with pytest.raises(ConvergenceError, match=r"a Cholesky factor of float64.*missed the tolerance"):
        solver.certificate(vectors(1))
    with pytest.raises(InputError, match="those of a preconditioner of low rank, got a Cholesky factor"):
        VarianceCache.of(solver)


def test_without_a_jitter_float32_says_so():
    with pytest.raises(NotPositiveDefiniteError, match=r"not positive definite in float32, even with.* of 0"):
        single_cholesky(covariance(50.0, 1e-9).float(), jitters=(0.0,))


# training -------------------------------------------------------------------------------------


def hard(noise: float = 1e-4) -> tuple[Data, Theta]:
    rng = np.random.default_rng(2)
    x = rng.uniform(-2.0, 2.0, (N, 2))
    y = np.sin(3.0 * x.sum(1))[:, None] + np.sqrt(noise) * rng.standard_normal((N, 1))
    data = Data(*(torch.tensor(part) for part in (x, y, np.ones((N, 1)), np.ones(N))), noise=None)
    kernel = Scale(Matern([0.7, 0.7], nu=1.5), 2.0)
    return data, Theta(kernel, {"noise": Prior(np.log(noise), 1.0, -25.0, 9.0)}, noise)


def evidence(data: Data, theta: Theta, **changes) -> SolvedEvidence:
    settings = {"dtype": torch.float32, "tolerance": 1e-2, "num_probes": 8, "rank": 10, "seed": 0}
    return SolvedEvidence(data, theta, with_prior=False, **(settings | changes))


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_slope_of_a_hard_problem_takes_a_factor_and_is_unbiased(dtype):
    data, theta = hard()
    exact = Objective(data, theta, with_prior=False).log_marginal_likelihood(theta.start[None])[1][0]
    some = [evidence(data, theta, dtype=dtype, seed=seed).slope(theta.start) for seed in range(30)]
    assert all(slope.factor.upper.dtype == torch.float32 and slope.steps <= 6 for slope in some)
    gradients = np.stack([slope.gradient for slope in some])
    error = gradients.std(0) / np.sqrt(len(some))
    assert (np.abs(gradients.mean(0) - exact) < 4.0 * error + 1e-2 * np.abs(exact)).all()


def test_the_factor_is_used_again_nearby_and_made_anew_where_it_is_stale(monkeypatch):
    data, theta = hard()
    made = []
    factor = SolvedEvidence.factor
    monkeypatch.setattr(
        SolvedEvidence, "factor", lambda self, point: (made.append(point.copy()), factor(self, point))[1]
    )
    model, nearby = evidence(data, theta, dtype=torch.float64), theta.start + 0.2
    first = model.slope(theta.start)
    second = model.slope(nearby, first)
    assert second.factor is first.factor and len(made) == 1
    np.testing.assert_array_equal(second.anchor, theta.start)
    resumed = model.slope(nearby, replace(first, factor=None))  # as a checkpoint remembers it
    np.testing.assert_allclose(resumed.gradient, second.gradient, rtol=1e-10)
    np.testing.assert_array_equal(made[1], theta.start)
    monkeypatch.setattr(solves, "STALE", 1)
    assert model.slope(nearby, first).anchor is None  # the next one makes its own
    third = model.slope(theta.start + 0.3, model.slope(nearby, first))
    np.testing.assert_array_equal(made[-1], theta.start + 0.3)
    assert third.residual <= 1e-2


def test_a_far_factor_gives_way_to_a_new_one_in_float64():
    data, theta = hard(1e-6)
    model = evidence(data, theta, dtype=torch.float64, tolerance=1e-6)
    far = theta.start + np.array([3.0, -5.0, -5.0, 9.0])
    first = model.slope(far, replace(model.slope(theta.start), anchor=far, factor=None))
    with pytest.raises(ConvergenceError, match="Cholesky factor"):
        model._slope(theta.start, first)
    again = model.slope(theta.start, first)
    assert again.residual <= 1e-6
    np.testing.assert_array_equal(again.anchor, theta.start)


def test_a_far_factor_gives_way_to_a_new_one_in_float32_too():
    data, theta = hard()
    model = evidence(data, theta)
    far = theta.start + np.array([0.0, -5.0, -5.0, 5.0])
    again, kept = certified_slope(model, theta.start, model.slope(far))
    np.testing.assert_array_equal(again.anchor, theta.start)
    assert kept.dtype == torch.float32 and again.residual <= 1e-2


def test_what_a_checkpoint_remembers_of_a_factor_is_not_made_where_it_does_not_fit(monkeypatch):
    data, theta = hard(1e-2)
    model = evidence(data, theta, dtype=torch.float64, rank=150)
    monkeypatch.setattr(solves, "HARD", 0.0)
    remembered = replace(model.slope(theta.start), factor=None)
    assert remembered.anchor is not None
    monkeypatch.setattr(SolvedEvidence, "factor", lambda self, point: pytest.fail("a factor was made"))
    monkeypatch.setattr(solves, "free_memory", lambda device: 4 * N * N)
    assert model.slope(theta.start, remembered).anchor is None
    assert replace(model, keep=False).slope(theta.start, remembered).anchor is None


def test_a_factor_is_of_float64_where_float32_makes_the_matrix_indefinite():
    data, _ = hard(1e-9)
    smooth = Theta(Scale(RBF([0.7, 0.7]), 2.0), {"noise": Prior(-20.0, 1.0, -25.0, 9.0)}, 1e-9)
    found = evidence(data, smooth, dtype=torch.float64).factor(smooth.start)
    assert found.upper.dtype == torch.float64
    upper, dense = found.upper.triu(), evidence(data, smooth)._covariance(smooth.start, torch.float64)
    assert float((upper.mT @ upper - dense).abs().max()) < 1e-11
    with pytest.raises(NotPositiveDefiniteError, match="not positive definite in float32"):
        evidence(data, smooth).factor(smooth.start)


def test_both_precisions_have_the_same_probes():
    data, theta = hard(1e-2)
    gradients = [evidence(data, theta, dtype=dtype, tolerance=1e-4).slope(theta.start) for dtype in DTYPES]
    single, double = (slope.gradient for slope in gradients)
    spread = np.abs(evidence(data, theta, seed=1).slope(theta.start).gradient - double).max()
    assert np.abs(single - double).max() < 0.01 * spread


def test_an_easy_problem_keeps_its_low_rank_and_one_without_memory_too(monkeypatch):
    easy = evidence(*hard(0.5), rank=60).slope(hard(0.5)[1].start)
    assert easy.anchor is None and easy.factor is None
    data, theta = hard()
    assert evidence(data, theta, keep=False, dtype=torch.float64).slope(theta.start).anchor is None
    monkeypatch.setattr(solves, "free_memory", lambda device: 4 * N * N)
    assert evidence(data, theta, dtype=torch.float64).slope(theta.start).anchor is None


def test_a_fit_with_a_factor_ends_where_factorising_does(monkeypatch):
    rng = np.random.default_rng(0)
    X = rng.uniform(-2.0, 2.0, (1500, 2))
    y = np.sin(2.0 * X.sum(1)) + 0.01 * rng.standard_normal(1500)
    made = []
    factor = SolvedEvidence.factor
    monkeypatch.setattr(solves.SolvedEvidence, "factor", lambda *a: (made.append(1), factor(*a))[1])
    monkeypatch.setattr("nonparam.fitting.RANK", 20)
    by_solves = GPRegressor("matern32", solver="cg", random_state=0).fit(X, y)
    exact = GPRegressor("matern32", solver="cholesky").fit(X, y)
    assert made
    assert exact.log_marginal_likelihood_ - by_solves.log_marginal_likelihood_ < 1.0
    grid = rng.uniform(-2.0, 2.0, (50, 2))
    for ours, theirs in zip(
        by_solves.predict(grid, return_std=True), exact.predict(grid, return_std=True), strict=True
    ):
        np.testing.assert_allclose(ours, theirs, atol=3e-3)


# the step of a search -------------------------------------------------------------------------


def test_a_step_is_the_best_of_the_quadratic_model_in_a_box():
    rng = np.random.default_rng(0)
    for _ in range(20):
        root = np.tril(rng.standard_normal((4, 4)), -1) + 2.0 * np.eye(4)
        gradient, below, above = rng.standard_normal(4) * 5.0, -rng.uniform(0, 1, 4), rng.uniform(0, 1, 4)
        below[0] = above[1] = 0.0  # at a bound
        step, value = highest(gradient, root, below, above)
        assert (step >= below - 1e-8).all() and (step <= above + 1e-8).all()
        trials = rng.uniform(below, above, (2000, 4))
        assert value >= (trials @ gradient - 0.5 * ((trials @ root) ** 2).sum(1)).max() - 1e-8
    newton, value = highest(gradient, root, np.full(4, -1e3), np.full(4, 1e3))
    np.testing.assert_allclose(newton, np.linalg.solve(root @ root.T, gradient))
    assert value == pytest.approx(0.5 * gradient @ newton)
    step, value = highest(gradient, root, np.zeros(4), np.zeros(4))
    assert (step == 0.0).all() and value == 0.0


def test_the_inverse_hessian_stays_positive_definite_whatever_the_gradients_tell():
    """Steps at right angles to the change of the gradient, many in a row: products of rounding."""
    rng = np.random.default_rng(1)
    for _ in range(50):
        inverse = np.eye(10)
        for _ in range(30):
            s, across = rng.standard_normal((2, 10))
            across -= s * (across @ s) / (s @ s)
            y = across * np.linalg.norm(s) / np.linalg.norm(across) + rng.uniform(-1e-3, 1e-3) * s
            inverse = updated(inverse, s, 10.0 ** rng.uniform(-3.0, 3.0) * y)
        root = hessian_root(inverse)
        step, value = highest(rng.standard_normal(10), root, np.full(10, -1.0), np.full(10, 1.0))
        assert np.isfinite(step).all() and value > 0.0


def test_a_square_root_of_a_hessian_whose_inverse_rounding_made_indefinite():
    root = hessian_root(np.diag([1.0, 1e-3, -1e-20]))
    assert np.isfinite(root).all() and root @ root.T @ np.array([1.0, 0.0, 0.0]) == pytest.approx([1.0, 0, 0])
