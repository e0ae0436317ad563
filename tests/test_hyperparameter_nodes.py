"""Nodes and weights on densities whose integrals are known."""

import numpy as np
import pytest
from scipy.special import gammaln

from nonparam.errors import ConvergenceError
from nonparam.hyperparameter_nodes import Node, lattice, lattice_size, student_draws, weighted
from nonparam.laplace import Laplace

SCALE = np.array([[2.0, 0.0, 0.0], [0.5, 0.3, 0.0], [-1.0, 0.2, 1.5]])


def gaussian_at(p, off=1.0):
    """A Gaussian of integral 1, and a Laplace approximation that is off by a factor of its width."""
    mode, root = np.arange(p, dtype=float), SCALE[:p, :p]
    constant = -0.5 * p * np.log(2.0 * np.pi) - np.linalg.slogdet(root)[1]

    def evaluate(point):
        white = np.linalg.solve(root, point - mode)
        return Node(point, float(constant - 0.5 * white @ white), None)

    return evaluate, Laplace(mode, float(constant), off * root, 0.0, 0)


@pytest.mark.parametrize("p", [1, 2, 3])
@pytest.mark.parametrize("off", [0.7, 1.0])
def test_a_lattice_integrates_a_gaussian(p, off):
    evaluate, at = gaussian_at(p, off)
    found = lattice(evaluate, at)
    points = np.array([node.point for node in found.nodes])
    assert found.log_evidence == pytest.approx(0.0, abs=0.005)
    mean = found.weights @ points
    np.testing.assert_allclose(mean, at.mode, atol=1e-9)
    covariance = (points - mean).T @ (found.weights[:, None] * (points - mean))
    np.testing.assert_allclose(covariance, SCALE[:p, :p] @ SCALE[:p, :p].T, rtol=0.02, atol=0.01)
    assert len(found.nodes) <= lattice_size(p) / off**p


@pytest.mark.parametrize("p", [1, 3])
@pytest.mark.parametrize("off", [0.8, 1.0, 1.5])
def test_draws_integrate_a_gaussian(p, off):
    evaluate, at = gaussian_at(p, off)
    found = student_draws(evaluate, at, 2000, seed=0)
    points = np.array([node.point for node in found.nodes])
    assert found.log_evidence == pytest.approx(0.0, abs=0.02)
    mean = found.weights @ points
    covariance = (points - mean).T @ (found.weights[:, None] * (points - mean))
    np.testing.assert_allclose(covariance, SCALE[:p, :p] @ SCALE[:p, :p].T, rtol=0.1, atol=0.1)
    assert 500.0 < found.effective_sample_size <= 2000.0


def test_draws_from_the_density_itself_weigh_the_same():
    p, freedom, wide = 2, 5.0, 1.4
    at = Laplace(np.zeros(p), 0.0, np.eye(p), 0.0, 0)

    def evaluate(point):  # Student's t, written out
        constant = gammaln(0.5 * (freedom + p)) - gammaln(0.5 * freedom)
        constant -= 0.5 * p * np.log(freedom * np.pi) + p * np.log(wide)
        value = constant - 0.5 * (freedom + p) * np.log1p(point @ point / wide**2 / freedom)
        return Node(point, float(value), None)

    found = student_draws(evaluate, at, 100, seed=0)
    np.testing.assert_allclose(found.weights, 0.01, rtol=1e-10)
    assert found.effective_sample_size == pytest.approx(100.0) and abs(found.log_evidence) < 1e-12


def test_a_lattice_follows_a_bend_and_stops_at_what_has_no_density():
    def banana(point):  # integral 2 pi
        x, y = point
        return Node(point, float(-0.5 * x**2 - 0.5 * (y - x**2) ** 2), None)

    def half(point):  # half of a standard normal
        return Node(point, -0.5 * float(point @ point), None) if point[0] <= 0.0 else None

    flat = Laplace(np.zeros(2), 0.0, np.eye(2), 0.0, 0)
    assert lattice(banana, flat).log_evidence == pytest.approx(np.log(2.0 * np.pi), abs=0.01)
    found = lattice(half, Laplace(np.zeros(1), 0.0, np.eye(1), 0.0, 0))
    assert max(node.point[0] for node in found.nodes) == 0.0


def test_without_any_density_there_are_no_nodes():
    at = Laplace(np.zeros(1), 0.0, np.eye(1), 0.0, 0)
    for found in (lambda: lattice(lambda _: None, at), lambda: student_draws(lambda _: None, at, 8, seed=0)):
        with pytest.raises(ConvergenceError, match="no hyperparameters round the fitted ones"):
            found()


def test_weights_far_below_the_range_of_floats_are_weights():
    nodes = [Node(np.zeros(1), value, None) for value in (-5000.0, -5001.0)]
    found = weighted(nodes, np.array([-5000.0, -5001.0]), 0.0)
    np.testing.assert_allclose(found.weights, [1 / (1 + np.exp(-1)), 1 / (1 + np.exp(1))], rtol=1e-12)
