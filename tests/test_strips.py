"""The solvers by strips of rows against numpy: alternating projections and the stochastic dual ones."""

import numpy as np
import pytest
import torch

from nonparam.errors import ConvergenceError, InputError
from nonparam.solvers.alternating_projections import alternating_projections
from nonparam.solvers.operator import Dense
from nonparam.solvers.result import relative_residuals
from nonparam.solvers.stochastic_dual import Momentum, stochastic_dual
from nonparam.solvers.stochastic_dual_descent import stochastic_dual_descent


def seeded():
    return torch.Generator().manual_seed(0)


def kernel(n=100, lengthscale=1.0, noise=0.1, dtype=torch.float64):
    """A Gaussian kernel in two dimensions, with every tenth row twice."""
    x = np.random.default_rng(0).uniform(-2.0, 2.0, (n, 2))
    x[::10] = x[1::10]
    r2 = ((x[:, None] - x[None]) ** 2).sum(-1)
    return torch.tensor(np.exp(-0.5 * r2 / lengthscale**2) + noise * np.eye(n), dtype=dtype)


def right_hand_sides(n=100, dtype=torch.float64):
    """Columns of sizes 1, 1e-9 and 1e6, and one of zeros."""
    columns = np.random.default_rng(1).standard_normal((n, 4)) * [1.0, 1e-9, 1e6, 0.0]
    return torch.tensor(columns, dtype=dtype)


def projections(a, b, **settings):
    return alternating_projections(a, b, generator=seeded(), **{"block_size": 40, **settings})


def fixed(a, b, **settings):
    return projections(a, b, order=torch.arange(len(b)), **settings)


def dual(a, b, **settings):
    return stochastic_dual(a, b, noise=0.1, generator=seeded(), **{"block_size": 40, **settings})


def nystrom(a, b, **settings):
    return dual(a, b, rank=20, **settings)


def descent(a, b, **settings):
    settings = {"block_size": 40, "learning_rate": 1.0, **settings}
    return stochastic_dual_descent(a, b, generator=seeded(), **settings)


SOLVERS = [projections, fixed, dual, nystrom, descent]
PROJECTING = [projections, fixed, dual]


@pytest.fixture(params=SOLVERS, ids=lambda solver: solver.__name__)
def solver(request):
    return request.param


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_every_right_hand_side_is_solved_and_certified(solver, dtype):
    matrix, b = kernel(dtype=dtype), right_hand_sides(dtype=dtype)
    found = solver(Dense(matrix), b, tolerance=1e-3, max_steps=3000).certified()
    assert found.solution.dtype == dtype
    exact = np.linalg.solve(matrix.double(), b.double())
    error = np.linalg.norm(found.solution.double() - exact, axis=0)
    assert (error <= 0.05 * np.linalg.norm(exact, axis=0)).all()
    again = relative_residuals(Dense(matrix), found.solution, b)
    torch.testing.assert_close(found.residuals, again, rtol=1e-3, atol=0)
    assert found.residuals[3] == 0.0 and (found.solution[:, 3] == 0.0).all()


@pytest.mark.parametrize("solve", PROJECTING, ids=lambda solve: solve.__name__)
def test_tight_tolerances_are_reached(solve):
    matrix, b = kernel(), right_hand_sides()
    found = solve(Dense(matrix), b, tolerance=1e-7, max_steps=3000).certified()
    exact = torch.linalg.solve(matrix, b)
    size = torch.linalg.vector_norm(exact, dim=0).clamp(min=1.0e-300)
    torch.testing.assert_close(found.solution / size, exact / size, rtol=0, atol=1e-5)


def test_an_exact_start_costs_its_certificate_alone(solver):
    matrix, b = kernel(), right_hand_sides()
    found = solver(Dense(matrix), b, start=torch.linalg.solve(matrix, b), tolerance=1e-9)
    assert found.steps == 1 and found.converged


def test_a_good_start_saves_work_and_a_bad_one_is_dropped(solver):
    matrix, b = kernel(), right_hand_sides()
    a, exact = Dense(matrix), torch.linalg.solve(matrix, b)
    cold = solver(a, b, max_steps=3000)
    assert solver(a, b, start=1.02 * exact, max_steps=3000).steps < cold.steps
    assert solver(a, b, start=1e3 * torch.ones_like(b), max_steps=3000).steps <= cold.steps + 1


def test_the_start_and_the_right_hand_sides_are_left_alone(solver):
    matrix, b = kernel(), right_hand_sides()
    start = torch.ones_like(b)
    kept = b.clone()
    solver(Dense(matrix), b, start=start)
    assert torch.equal(b, kept) and torch.equal(start, torch.ones_like(b))


def test_zeros_cost_nothing(solver):
    found = solver(Dense(kernel()), torch.zeros(100, 2, dtype=torch.float64))
    assert found.steps == 0 and found.converged and (found.solution == 0.0).all()


def test_the_same_generator_gives_the_same_solution(solver):
    a, b = Dense(kernel()), right_hand_sides()
    assert torch.equal(solver(a, b).solution, solver(a, b).solution)


@pytest.mark.parametrize("max_steps", [1, 3, 10])
def test_the_work_stays_within_its_bound(solver, max_steps):
    found = solver(Dense(kernel(noise=1e-8)), right_hand_sides(), tolerance=1e-12, max_steps=max_steps)
    assert found.steps <= max_steps and (found.residuals <= 1.0).all()


@pytest.mark.parametrize("settings", [{"noise": 1e-8}, {"lengthscale": 1e3, "noise": 1e-6}])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_ill_conditioned_systems_end_with_honest_residuals(solver, settings, dtype):
    a, b = Dense(kernel(dtype=dtype, **settings)), right_hand_sides(dtype=dtype)
    found = solver(a, b, tolerance=1e-6, max_steps=50)
    again = relative_residuals(a, found.solution, b)
    torch.testing.assert_close(found.residuals, again, rtol=1e-3, atol=1e-6)
    assert (found.residuals <= 1.0).all()
    if not found.converged:
        with pytest.raises(ConvergenceError, match="missed the tolerance"):
            found.certified()


def test_a_tolerance_below_rounding_ends_early():
    matrix, b = kernel(noise=1e-3, dtype=torch.float32), right_hand_sides(dtype=torch.float32)
    found = projections(Dense(matrix), b, tolerance=1e-12, block_size=100, max_steps=10_000)
    assert not found.converged and found.steps < 100 and found.residuals.max() < 1e-3


def test_one_block_of_all_rows_is_a_direct_solve():
    matrix, b = kernel(), right_hand_sides()
    for solve in PROJECTING:
        found = solve(Dense(matrix), b, block_size=1000, tolerance=1e-8)
        assert found.steps == 2 and found.converged


def test_blocks_drawn_anew_need_less_work_than_a_fixed_partition():
    a = Dense(kernel(n=200, noise=0.02))
    b = right_hand_sides(200)
    assert 2 * projections(a, b, max_steps=200).steps < fixed(a, b, max_steps=200).steps


def test_projections_never_raise_the_error_in_the_norm_of_the_matrix():
    matrix, b = kernel(noise=0.01), right_hand_sides()[:, :1]
    exact = torch.linalg.solve(matrix, b)
    energies = []
    x = torch.zeros_like(b)
    for seed in range(8):
        generator = torch.Generator().manual_seed(seed)
        a = Dense(matrix)
        x = alternating_projections(
            a, b, generator=generator, start=x, block_size=20, max_steps=6, tolerance=1e-14
        ).solution
        energies.append(float((x - exact).mT @ matrix @ (x - exact)))
    assert sorted(energies, reverse=True) == energies


def test_a_learning_rate_that_diverges_leaves_the_best_iterate():
    found = descent(Dense(kernel()), right_hand_sides(), learning_rate=1e3, max_steps=200)
    assert not found.converged and (found.residuals <= 1.0).all() and found.steps < 200


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_entries_that_are_not_finite_are_reported(solver, value):
    matrix = kernel()
    matrix[:, 3] = matrix[3] = value
    with pytest.raises(ConvergenceError, match="not finite"):
        solver(Dense(matrix), right_hand_sides(), max_steps=50)


def test_momentum_obeys_the_bounds_of_its_theory():
    for floor, share in [(1e-8, 0.01), (0.3, 0.1), (5.0, 1.0)]:
        weights = Momentum.of(floor, share)
        assert 0.0 < weights.alpha <= 0.5 and 0.0 <= weights.beta < 1.0 and weights.gamma >= 1.0


def test_what_does_not_fit_is_refused(solver):
    a, b = Dense(kernel()), right_hand_sides()
    with pytest.raises(InputError, match=r"b must have the shape \(100, k\)"):
        solver(a, b[:10])
    with pytest.raises(InputError, match="b must have the dtype of the matrix"):
        solver(a, b.float())
    with pytest.raises(InputError, match="at least one row"):
        solver(a, b, block_size=0)


def test_settings_are_checked():
    a, b = Dense(kernel()), right_hand_sides()
    with pytest.raises(InputError, match="order must be a permutation of the 100 rows"):
        projections(a, b, order=torch.zeros(100, dtype=torch.long))
    with pytest.raises(InputError, match="noise must be positive"):
        stochastic_dual(a, b, noise=0.0, generator=seeded())
    with pytest.raises(InputError, match="learning_rate must be positive"):
        descent(a, b, learning_rate=0.0)
