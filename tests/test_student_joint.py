"""A multivariate Student-t density against SciPy's, its conditionals by division, and Gaussian limits."""

import numpy as np
import pytest
import torch
from scipy.integrate import cumulative_trapezoid
from scipy.stats import multivariate_t, t

from nonparam.errors import InputError
from nonparam.model_selection import GaussianJoint, StudentJoint
from nonparam.model_selection.joint import Units

RNG = np.random.default_rng(9)
N, SHAPE, RATE = 8, 1.7, 0.6
ROOT = RNG.standard_normal((N, N))
A = ROOT @ ROOT.T + np.eye(N)
Y = 3.0 + RNG.standard_normal((N, 1))


def joint_of(y=Y, a=A, constant=False, shape=SHAPE, rate=RATE):
    basis = torch.ones(len(y), int(constant), dtype=torch.float64)
    return StudentJoint(torch.tensor(a), torch.tensor(y), basis, Units(y, np.ones(1)), shape, rate)


def density(rows, y=Y):
    """By SciPy, of some of the rows."""
    a = A[np.ix_(rows, rows)]
    return multivariate_t(np.zeros(len(rows)), RATE / SHAPE * a, df=2.0 * SHAPE).logpdf(y[rows, 0])


def test_the_density_is_that_of_scipy():
    assert joint_of().log_density() == pytest.approx(density(np.arange(N)), abs=1e-11)


@pytest.mark.parametrize("rows", [[3], [5, 1], [0, 2, 4, 6], [7, 6, 5, 4, 3, 2, 1]])
def test_what_is_held_out_is_a_quotient_of_densities(rows):
    held = joint_of().held_out([np.array(rows)])[0]
    others = np.setdiff1d(np.arange(N), rows)
    assert held.log_joint == pytest.approx(density(np.arange(N)) - density(others), abs=1e-10)
    for k, row in enumerate(rows):
        with_row = np.r_[others, row]
        expected = density(with_row) - density(others)
        assert held.log_densities[k, 0] == pytest.approx(expected, abs=1e-10)
    assert held.residual[:, 0] == pytest.approx(Y[rows, 0] - held.mean[:, 0])


@pytest.mark.parametrize("constant", [False, True])
def test_moments_and_probabilities_of_a_row_are_integrals_of_its_density(constant):
    held = joint_of(constant=constant).held_out([np.array([2])])[0]
    grid = held.mean[0, 0] + held.sd[0, 0] * np.linspace(-80.0, 80.0, 2001)
    values = []
    for value in grid:
        y = Y.copy()
        y[2] = value
        values.append(np.exp(joint_of(y, constant=constant).held_out([np.array([2])])[0].log_densities[0, 0]))
    values = np.array(values)
    assert np.trapezoid(values, grid) == pytest.approx(1.0, abs=1e-6)
    assert np.trapezoid(values * grid, grid) == pytest.approx(held.mean[0, 0], abs=1e-6)
    spread = np.trapezoid(values * (grid - held.mean[0, 0]) ** 2, grid)
    assert spread == pytest.approx(held.sd[0, 0] ** 2, rel=1e-4)
    below = np.interp(Y[2, 0], grid, cumulative_trapezoid(values, grid, initial=0.0))
    assert below == pytest.approx(held.cdf[0, 0], abs=1e-3)


def test_a_flat_constant_is_the_integral_over_it():
    levels = np.linspace(-300.0, 300.0, 6001)
    values = [np.exp(density(np.arange(N), Y - level)) for level in levels]
    total = np.log(np.trapezoid(values, levels))
    assert joint_of(constant=True).log_density() == pytest.approx(total, abs=1e-6)


@pytest.mark.parametrize("constant", [False, True])
def test_increments_add_up_in_every_order(constant):
    joint = joint_of(constant=constant)
    for seed in range(3):
        found = joint.increments(np.random.default_rng(seed).permutation(N))
        assert len(found) == N - constant
        assert found.sum() == pytest.approx(joint.log_density(), abs=1e-10)


def test_the_last_increment_is_the_row_left_out():
    joint = joint_of(constant=True)
    order = np.array([4, 1, 0, 7, 3, 6, 5, 2])
    left_out = joint.held_out([np.array([2])])[0]
    assert joint.increments(order)[-1] == pytest.approx(left_out.log_joint, abs=1e-10)
    assert left_out.gap == pytest.approx(0.0, abs=1e-12)


def test_a_certain_noise_variance_makes_it_gaussian():
    certain = joint_of(constant=True, shape=1e7, rate=0.4e7)
    noise = torch.full((N,), 0.4, dtype=torch.float64)
    basis = torch.ones(N, 1, dtype=torch.float64)
    gaussian = GaussianJoint(0.4 * torch.tensor(A), noise, torch.tensor(Y), basis, Units(Y, np.ones(1)))
    assert certain.log_density() == pytest.approx(gaussian.log_density(), abs=1e-5)
    rows = [np.array([1, 5, 6])]
    for name in ("log_joint", "log_densities", "mean", "sd", "cdf"):
        found, expected = (getattr(joint.held_out(rows)[0], name) for joint in (certain, gaussian))
        np.testing.assert_allclose(found, expected, atol=1e-5)
    assert certain.effective_parameters() == pytest.approx(gaussian.effective_parameters())


def test_a_row_that_two_degrees_of_freedom_are_left_for_has_no_deviation():
    joint = joint_of(Y[:3], A[:3, :3], shape=0.25)
    held = joint.held_out([np.array([0, 1])])[0]
    assert np.isinf(held.sd).all() and np.isfinite(held.log_densities).all()
    freedom, scale = 1.5, np.sqrt((2 * RATE + Y[2, 0] ** 2 / A[2, 2]) / 1.5)
    conditional = A[0, 0] - A[0, 2] ** 2 / A[2, 2]
    expected = t(freedom, A[0, 2] / A[2, 2] * Y[2, 0], scale * np.sqrt(conditional)).logpdf(Y[0, 0])
    assert held.log_densities[0, 0] == pytest.approx(expected, abs=1e-12)


def test_an_order_that_is_none_is_refused():
    with pytest.raises(InputError, match="order must name each of the 8 rows once"):
        joint_of().increments(np.zeros(N, dtype=int))
