"""L-BFGS within bounds: known minima, SciPy's, bad functions, and a batch against its problems one by one.

A search stops at a slope of 1e-7: that far from its minimum, divided by the curvature there.
"""

import numpy as np
import pytest
from scipy import optimize

from nonparam.lbfgs import minimise

WIDE = 1e3


def rosenbrock(x, which):
    values = np.array([optimize.rosen(row) for row in x])
    return values, np.array([optimize.rosen_der(row) for row in x])


def quadratic(hessian, centre):
    def function(x, which):
        moved = x - centre
        return 0.5 * np.einsum("bi,ij,bj->b", moved, hessian, moved), moved @ hessian

    return function


def random_hessian(p, seed, condition=1e3):
    rng = np.random.default_rng(seed)
    q, _ = np.linalg.qr(rng.standard_normal((p, p)))
    return (q * np.geomspace(1.0, condition, p)) @ q.T


@pytest.mark.parametrize("p", [2, 5])
def test_rosenbrock(p):
    wide = np.full(p, WIDE)
    (found,) = minimise(rosenbrock, np.full((1, p), -1.2), -wide, wide, value_tolerance=0.0)
    np.testing.assert_allclose(found.theta, 1.0, rtol=5e-7)  # the least curvature is 0.4
    assert found.converged and found.message == "the gradient vanishes"
    assert found.evaluations <= 300
    assert found.value == pytest.approx(optimize.rosen(found.theta))


@pytest.mark.parametrize("tolerance", [1e-10, 1e-6, 1e-3])
def test_a_search_ends_once_little_is_left_to_gain(tolerance):
    wide, starts = np.full(4, WIDE), np.full((1, 4), -1.2)
    (found,) = minimise(rosenbrock, starts, -wide, wide, value_tolerance=tolerance)
    (longer,) = minimise(rosenbrock, starts, -wide, wide, value_tolerance=0.0)
    assert found.converged and found.message == "the objective would no longer change"
    assert found.evaluations < longer.evaluations
    assert 0.0 <= found.value - longer.value <= tolerance


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("bound", [0.3, WIDE])
def test_quadratics_reach_the_minimum_of_scipy(seed, bound):
    p = 6
    rng = np.random.default_rng(seed)
    function = quadratic(random_hessian(p, seed), rng.standard_normal(p))
    lower, upper = np.full(p, -bound), np.full(p, bound)
    start = rng.uniform(-0.3, 0.3, p)
    (found,) = minimise(function, start[None], lower, upper)
    peer = optimize.minimize(
        lambda x: function(x[None], None)[0][0],
        start,
        jac=lambda x: function(x[None], None)[1][0],
        method="L-BFGS-B",
        bounds=list(zip(lower, upper, strict=True)),
        options={"ftol": 1e-15, "gtol": 1e-9, "maxiter": 2000},
    )
    assert found.converged
    assert found.value <= peer.fun + 1e-10 * max(1.0, abs(peer.fun))
    assert ((lower <= found.theta) & (found.theta <= upper)).all()


def test_an_active_bound_has_no_projected_gradient():
    function = quadratic(np.diag([1.0, 4.0]), np.array([-5.0, 2.0]))
    (found,) = minimise(function, np.array([[3.0, 3.0]]), np.array([1.0, -9.0]), np.array([9.0, 9.0]))
    np.testing.assert_allclose(found.theta, [1.0, 2.0], rtol=0.0, atol=1e-7)
    np.testing.assert_allclose(found.gradient, 0.0, atol=1e-7)
    assert found.converged


def test_no_point_outside_the_bounds_is_ever_evaluated():
    seen = []

    def function(x, which):
        seen.extend(x)
        return rosenbrock(x, which)

    lower, upper = np.array([-0.5, -0.5]), np.array([0.7, 2.0])
    (found,) = minimise(function, np.array([[9.0, -9.0]]), lower, upper)
    points = np.array(seen)
    assert (points >= lower).all() and (points <= upper).all()
    np.testing.assert_allclose(found.theta, [0.7, 0.49], rtol=0.0, atol=1e-9)


def test_a_variable_without_room_stays():
    (found,) = minimise(rosenbrock, np.array([[0.5, 3.0]]), np.array([0.5, -9.0]), np.array([0.5, 9.0]))
    np.testing.assert_allclose(found.theta, [0.5, 0.25], rtol=0.0, atol=3e-7)
    assert found.converged


def test_a_batch_takes_the_steps_of_its_problems_one_by_one():
    starts = np.array([[-1.2, 1.0], [3.0, -2.0], [0.0, 0.0], [1.0, 1.0]])
    lower, upper = np.full(2, -5.0), np.full(2, 5.0)
    together = minimise(rosenbrock, starts, lower, upper)
    for start, found in zip(starts, together, strict=True):
        (alone,) = minimise(rosenbrock, start[None], lower, upper)
        np.testing.assert_array_equal(found.theta, alone.theta)
        assert (found.value, found.steps, found.message) == (alone.value, alone.steps, alone.message)
        assert found.evaluations == alone.evaluations


def test_each_problem_of_a_batch_has_its_own_function_and_bounds():
    centres = np.array([[1.0, 2.0], [-3.0, 0.5], [4.0, 4.0]])

    def function(x, which):
        moved = x - centres[which]
        return (moved**2).sum(1), 2.0 * moved

    upper = np.array([[9.0, 9.0], [9.0, 9.0], [2.0, 9.0]])
    found = minimise(function, np.zeros((3, 2)), np.full((3, 2), -9.0), upper)
    points = np.array([minimum.theta for minimum in found])
    np.testing.assert_allclose(points, np.minimum(centres, upper), rtol=0.0, atol=1e-7)


def test_walls_of_infinity_are_stepped_back_from():
    def function(x, which):
        inside = x[:, 0] < 2.0
        with np.errstate(all="ignore"):
            value = np.where(inside, -np.log(2.0 - x[:, 0]) - 3.0 * x[:, 0], np.inf)
            slope = np.where(inside, 1.0 / (2.0 - x[:, 0]) - 3.0, np.nan)
        return value, slope[:, None]

    (found,) = minimise(function, np.array([[-4.0]]), np.array([-WIDE]), np.array([WIDE]))
    assert found.theta[0] == pytest.approx(5.0 / 3.0, abs=1e-7)
    assert found.converged


@pytest.mark.parametrize("bad", [np.inf, np.nan])
def test_a_start_that_is_not_finite_is_reported_and_spoils_no_other(bad):
    def function(x, which):
        value = np.where(which == 0, bad, (x**2).sum(1))
        return value, np.where((which == 0)[:, None], np.nan, 2.0 * x)

    poor, good = minimise(function, np.ones((2, 2)), np.full(2, -9.0), np.full(2, 9.0))
    assert not poor.converged and poor.message == "the objective is not finite at the start"
    assert good.converged
    np.testing.assert_allclose(good.theta, 0.0, atol=1e-7)


def test_a_flat_function_ends_at_once_where_it_started():
    def function(x, which):
        return np.zeros(len(x)), np.zeros_like(x)

    (found,) = minimise(function, np.array([[0.3, -0.2]]), np.full(2, -9.0), np.full(2, 9.0))
    np.testing.assert_array_equal(found.theta, [0.3, -0.2])
    assert found.converged and found.evaluations <= 3


def test_a_start_at_the_minimum_stays():
    (found,) = minimise(rosenbrock, np.ones((1, 2)), np.full(2, -9.0), np.full(2, 9.0))
    np.testing.assert_array_equal(found.theta, 1.0)
    assert found.converged and found.evaluations <= 3


def test_a_function_without_a_minimum_ends_at_its_bound():
    def function(x, which):
        return x.sum(1), np.ones_like(x)

    (found,) = minimise(function, np.full((1, 2), 5.0), np.full(2, -7.0), np.full(2, 9.0))
    np.testing.assert_array_equal(found.theta, -7.0)
    assert found.converged


def test_a_wrong_gradient_ends_without_an_error():
    def function(x, which):
        return (x**2).sum(1), -2.0 * x

    (found,) = minimise(function, np.ones((1, 2)), np.full(2, -9.0), np.full(2, 9.0))
    assert found.value == pytest.approx(2.0, abs=1e-9) and found.evaluations < 1000
    np.testing.assert_allclose(found.theta, 1.0, rtol=0.0, atol=1e-9)


def test_too_few_steps_are_reported():
    (found,) = minimise(rosenbrock, np.array([[-1.2, 1.0]]), np.full(2, -9.0), np.full(2, 9.0), max_steps=3)
    assert not found.converged and found.steps == 3
    assert found.message == "3 steps were not enough"


def test_the_value_never_rises_from_step_to_step():
    best = []
    for steps in range(1, 30):
        (found,) = minimise(
            rosenbrock, np.array([[-1.2, 1.0]]), np.full(2, -9.0), np.full(2, 9.0), max_steps=steps
        )
        best.append(found.value)
    assert (np.diff(best) <= 0.0).all() and best[-1] < best[0]


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_badly_scaled_quadratics(scale):
    function = quadratic(np.diag([scale, 1.0]), np.array([1.0, -1.0]))
    (found,) = minimise(function, np.zeros((1, 2)), np.full(2, -9.0), np.full(2, 9.0))
    assert found.value <= 1e-12


def test_values_whose_squares_overflow_end_without_a_warning():
    def function(x, which):
        return 1e150 * (np.cosh(x).sum(1) - 2.0), 1e150 * np.sinh(x)

    (found,) = minimise(function, np.array([[3.0, -2.0]]), np.full(2, -9.0), np.full(2, 9.0))
    assert np.isfinite(found.value) and np.isfinite(found.theta).all()
