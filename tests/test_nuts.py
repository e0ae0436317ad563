"""Draws by the No-U-Turn sampler, where Pyro is installed."""

import builtins

import numpy as np
import pytest
import torch
from brute_force import BruteForce, model_with, rows

from nonparam import HyperparameterAverage
from nonparam.errors import InputError
from nonparam.laplace import Laplace
from nonparam.nuts import nuts


@pytest.fixture
def pyro():
    return pytest.importorskip("pyro")


def gaussian(covariance):
    precision = np.linalg.inv(covariance)

    def log_joint(points):
        return -0.5 * np.einsum("bi,ij,bj->b", points, precision, points), -points @ precision

    return log_joint


def test_it_draws_from_a_gaussian(pyro):
    covariance = np.array([[4.0, 1.5], [1.5, 1.0]])
    at = Laplace(np.zeros(2), 0.0, np.diag([1.0, 2.0]), 0.0, 0)  # a curvature that is off
    draws, size = nuts(gaussian(covariance), at, 1500, seed=0)
    error = 4.0 * np.sqrt(np.diag(covariance) / size)
    assert (np.abs(draws.mean(0)) < error).all() and 200.0 < size < 3000.0
    np.testing.assert_allclose(np.cov(draws.T), covariance, atol=4.0 * 4.0 * np.sqrt(2.0 / size))


def test_seeds_repeat_and_torch_is_left_as_it_was(pyro):
    at = Laplace(np.zeros(1), 0.0, np.eye(1), 0.0, 0)
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    one, two, other = (nuts(gaussian(np.eye(1)), at, 20, seed=seed)[0] for seed in (1, 1, 2))
    assert torch.rand(1) == expected
    np.testing.assert_array_equal(one, two)
    assert not np.allclose(one, other)


def test_places_without_a_density_are_not_visited(pyro):
    def half(points):  # a standard normal that is cut off at 0
        inside = points[:, 0] < 0.0
        return np.where(inside, -0.5 * points[:, 0] ** 2, -np.inf), np.where(inside[:, None], -points, np.nan)

    draws, _ = nuts(half, Laplace(np.full(1, -0.5), 0.0, np.eye(1), 0.0, 0), 300, seed=0)
    assert (draws < 0.0).all() and draws.mean() == pytest.approx(-np.sqrt(2.0 / np.pi), abs=0.2)


@pytest.mark.parametrize("mean", ["zero", "constant"])
def test_averages_agree_with_quadrature(pyro, mean):
    X, y = rows(10, seed=4)
    model = model_with(3, mean).fit(X, y)
    exact = BruteForce(model, X, y, points=31)
    average = HyperparameterAverage(model, "nuts", n_draws=200).fit(X, y)
    assert 20.0 < average.effective_sample_size_ < 400.0
    error = 4.0 / np.sqrt(average.effective_sample_size_)
    centre = exact.weights @ exact.theta
    spread = np.sqrt(exact.weights @ (exact.theta - centre) ** 2)
    found = average.weights_ @ average.nodes_.to_numpy()
    assert (np.abs(found - centre) < error * spread).all()
    for new in (1.5, 7.0):
        mean_found, sd_found = average.predict([[new]], return_std=True)
        expected, sd = exact.predict(new)
        assert mean_found[0] == pytest.approx(expected, abs=error * sd)
        assert sd_found[0] == pytest.approx(sd, rel=error)
    with pytest.raises(InputError, match="draws of a chain do not tell the evidence"):
        average.log_evidence()


def test_what_is_missing_is_said(monkeypatch):
    whole = builtins.__import__

    def without_pyro(name, *arguments, **named):
        if name.startswith("pyro"):
            raise ImportError(name)
        return whole(name, *arguments, **named)

    monkeypatch.setattr(builtins, "__import__", without_pyro)
    with pytest.raises(ImportError, match=r"needs Pyro: pip install 'nonparam\[nuts\]'"):
        HyperparameterAverage(model_with(1, "zero"), "nuts").fit(*rows(8))
