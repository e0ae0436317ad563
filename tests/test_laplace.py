"""Laplace's approximation against integrals that are known or can be computed."""

import gpytorch
import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.stats import multivariate_normal

from nonparam import GPRegressor
from nonparam.errors import InputError
from nonparam.kernels import RBF, DeepKernel
from nonparam.laplace import from_stencil, laplace, stencil


def gaussian_model(n: int, p: int, seed: int):
    """A linear model with a standard normal prior: its log joint, its mode, and the exact log evidence."""
    rng = np.random.RandomState(seed)
    design, y, noise = rng.standard_normal((n, p)), rng.standard_normal(n), 0.3
    precision = np.eye(p) + design.T @ design / noise
    mode = np.linalg.solve(precision, design.T @ y / noise)

    def log_joint(theta):
        residual = y - theta @ design.T
        values = -0.5 * (residual**2).sum(1) / noise - 0.5 * n * np.log(2 * np.pi * noise)
        values -= 0.5 * (theta**2).sum(1) + 0.5 * p * np.log(2 * np.pi)
        return values, residual @ design / noise - theta

    exact = multivariate_normal(np.zeros(n), design @ design.T + noise * np.eye(n)).logpdf(y)
    return log_joint, mode, np.linalg.inv(precision), exact


@pytest.mark.parametrize("p", [1, 3, 8])
def test_it_is_exact_for_gaussians(p):
    log_joint, mode, covariance, exact = gaussian_model(12, p, seed=p)
    found = laplace(log_joint, mode, np.ones(p))
    assert found.log_evidence == pytest.approx(exact, abs=1e-7)
    np.testing.assert_allclose(found.root @ found.root.T, covariance, rtol=1e-6, atol=1e-9)
    assert found.floored == 0


@pytest.mark.parametrize("p", [1, 3, 8])
def test_steps_one_way_are_exact_for_gaussians_too(p):
    log_joint, mode, covariance, exact = gaussian_model(12, p, seed=p)
    ones = np.ones(p)
    points = stencil(mode, ones, central=False)
    assert points.shape == (1 + p, p)
    found = from_stencil(mode, *log_joint(points), ones, step=ones)
    assert found.log_evidence == pytest.approx(exact, abs=1e-7)
    np.testing.assert_allclose(found.root @ found.root.T, covariance, rtol=1e-6, atol=1e-9)


def test_steps_one_way_are_off_by_about_a_thousandth_elsewhere():
    def log_joint(x):  # of a gamma density's logarithm, with a third derivative
        return 5.0 * x[:, 0] - np.exp(x[:, 0]), 5.0 - np.exp(x)

    mode, one = np.log([5.0]), np.ones(1)
    both = laplace(log_joint, mode, one)
    found = from_stencil(mode, *log_joint(stencil(mode, one, central=False)), one, step=one)
    assert both.root[0, 0] ** -2 == pytest.approx(5.0, rel=1e-6)
    assert 1e-4 < found.root[0, 0] ** -2 / 5.0 - 1.0 < 1e-3
    assert found.log_evidence == pytest.approx(both.log_evidence, abs=1e-3)


def test_the_scale_only_chooses_the_steps_and_the_unit_of_the_floor():
    log_joint, mode, _, exact = gaussian_model(12, 3, seed=0)
    for scale in ([1.0, 1.0, 1.0], [0.3, 1.0, 2.0]):
        found = laplace(log_joint, mode, np.array(scale), floor=0.0)
        assert found.log_evidence == pytest.approx(exact, abs=1e-6)


def test_it_is_close_to_quadrature_where_the_posterior_is_nearly_gaussian():
    counts = np.array([7.0, 9.0, 12.0, 10.0])  # a Poisson rate with a normal prior of its logarithm

    def log_joint(theta):
        values = (counts * theta - np.exp(theta)).sum(1) - 0.5 * theta[:, 0] ** 2 - 0.5 * np.log(2 * np.pi)
        return values, counts.sum() - len(counts) * np.exp(theta) - theta

    mode = np.array([2.2])
    for _ in range(50):
        mode = mode + log_joint(mode[None])[1][0] / (len(counts) * np.exp(mode) + 1.0)
    peak = log_joint(mode[None])[0][0]
    area, _ = quad(lambda t: np.exp(log_joint(np.array([[t]]))[0][0] - peak), mode[0] - 2, mode[0] + 2)
    found = laplace(log_joint, mode, np.ones(1))
    assert found.log_evidence == pytest.approx(peak + np.log(area), abs=0.01)


def test_a_flat_direction_counts_as_no_wider_than_the_floor_allows():
    def log_joint(theta):  # nothing depends on the second coordinate, the third has a saddle
        values = -0.5 * theta[:, 0] ** 2 + 0.5 * theta[:, 2] ** 2
        return values, np.stack([-theta[:, 0], 0.0 * theta[:, 1], theta[:, 2]], 1)

    scale, floor = np.array([1.0, 2.0, 1.0]), 0.3
    found = laplace(log_joint, np.zeros(3), scale, floor=floor)
    widths = np.sort(np.sqrt(np.diag(found.root @ found.root.T)))
    np.testing.assert_allclose(widths, [1.0, 1.0 / np.sqrt(floor), 2.0 / np.sqrt(floor)], rtol=1e-6)
    assert found.floored == 2


def test_the_root_is_that_of_the_covariance():
    log_joint, mode, covariance, _ = gaussian_model(12, 3, seed=1)
    found = laplace(log_joint, mode, np.ones(3))
    np.testing.assert_array_equal(found.mode, mode)
    np.testing.assert_allclose(found.root @ found.root.T, covariance, rtol=1e-6)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (
            lambda: gpytorch.kernels.ScaleKernel(gpytorch.kernels.RBFKernel()),
            "2 have none: outputscale,",
        ),
        (lambda: DeepKernel(torch.nn.Linear(1, 4), RBF()), r"8 have none: .*weight\[0\].*, \.\.\.; compare"),
    ],
    ids=["gpytorch", "network"],
)
@pytest.mark.filterwarnings("ignore:the search for hyperparameters")
def test_there_is_no_evidence_without_priors(make, said):
    x = np.linspace(-2.0, 2.0, 20)[:, None]
    torch.manual_seed(0)
    with pytest.raises(InputError, match=f"needs a prior of every hyperparameter, and {said}"):
        GPRegressor(make()).fit(x, np.sin(x[:, 0])).log_evidence()
    assert np.isfinite(GPRegressor(make(), priors=None).fit(x, np.sin(x[:, 0])).log_evidence())
