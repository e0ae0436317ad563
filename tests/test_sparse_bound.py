"""The collapsed bound against naive formulas, the exact evidence, and differences."""

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal

from nonparam import GPRegressor
from nonparam.errors import NotPositiveDefiniteError
from nonparam.kernels import RBF, Linear, Matern, Scale, WhiteNoise, covariance, variance
from nonparam.scales import default_priors, measure
from nonparam.sparse.bound import Summary
from nonparam.sparse.collapsed import CollapsedObjective
from nonparam.sparse.inducing import choose_points
from nonparam.sparse.parameters import Parameters
from nonparam.sparse.posterior import SparsePosterior
from nonparam.sparse.projection import project, reliable, statistics
from nonparam.theta import Theta

RNG = np.random.default_rng(0)
X = RNG.uniform(-2.0, 2.0, (60, 2))
Y = np.c_[np.sin(2.0 * X[:, 0]) + X[:, 1], RNG.standard_normal(60)]
Z = RNG.uniform(-2.0, 2.0, (9, 2))
NEW = RNG.uniform(-2.0, 2.0, (5, 2))
NOISE = 0.3
KERNELS = {
    "rbf": lambda: 1.3 * RBF([1.0, 2.0]),
    "sum": lambda: 1.3 * Matern([1.0, 2.0]) + Linear(0.5),
    "white": lambda: 2.0 * RBF(1.0) + WhiteNoise(0.2),
}


def tensors(*arrays):
    return [torch.from_numpy(array) for array in arrays]


def matrices(kernel, z):
    with torch.no_grad():
        zz, xz = (covariance(kernel, *tensors(rows, z)).numpy() for rows in (z, X))
        return zz, xz, variance(kernel, torch.from_numpy(X)).numpy()


def naive(kernel, z, noise, y=Y):
    """Titsias (2009), equation 9, as it stands."""
    zz, xz, prior = matrices(kernel, z)
    q = xz @ np.linalg.solve(zz, xz.T)
    density = multivariate_normal(np.zeros(len(X)), q + noise * np.eye(len(X)))
    return (
        sum(density.logpdf(column) for column in y.T)
        - 0.5 * y.shape[1] * np.sum(prior - np.diagonal(q)) / noise
    )


def summary_of(kernel, z, noise=NOISE, y=Y):
    x, outputs, points = tensors(X, y, z)
    blocks = zip(x.split(17), outputs.split(17), strict=True)
    projection = project(kernel, points)
    return projection, Summary(statistics(projection, blocks, y.shape[1]), noise)


def objective(kernel, z, *, moves, noise=NOISE):
    scales = measure(X, Y, np.ones(len(X)), normalize_y=True, find_periods=False)
    theta = Theta(kernel, default_priors(kernel, scales, informative=True), noise)
    parameters = Parameters(theta, noise, z, scales, moves)
    return CollapsedObjective(*tensors(X, Y), parameters, True), parameters.joined(theta.start, z)


@pytest.mark.parametrize("name", KERNELS)
def test_the_bound_is_the_published_formula(name):
    kernel = KERNELS[name]()
    _, found = summary_of(kernel, Z)
    np.testing.assert_allclose(found.lower(), naive(kernel, Z, NOISE), rtol=1e-11)
    np.testing.assert_allclose(found.bound_of(found.sums), found.lower(), rtol=1e-11)


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("noise", [1e-3, 0.3, 10.0])
def test_the_evidence_lies_between_the_bounds(name, noise):
    kernel = KERNELS[name]()
    with torch.no_grad():
        joint = covariance(kernel, torch.from_numpy(X)).numpy() + noise * np.eye(len(X))
    evidence = sum(multivariate_normal(np.zeros(len(X)), joint).logpdf(column) for column in Y.T)
    for z in (Z[:1], Z, X[:30]):
        _, found = summary_of(kernel, z, noise)
        assert found.lower() < evidence < found.upper()


def test_more_points_never_lower_the_bound():
    bounds = [summary_of(KERNELS["rbf"](), X[:m])[1].lower() for m in (1, 5, 20, 60)]
    assert bounds == sorted(bounds)


def test_points_at_all_rows_are_the_exact_process():
    kernel = Scale(Matern(0.7, fixed=("lengthscale",)), 1.3, fixed=("outputscale",))
    exact = GPRegressor(kernel, mean="zero", noise=NOISE, priors=None).fit(X, Y[:, 0])
    projection, found = summary_of(kernel, X, y=Y[:, :1])
    evidence = exact.log_marginal_likelihood_
    np.testing.assert_allclose([found.lower(), found.upper()], evidence, rtol=0.0, atol=1e-6)
    posterior, new = SparsePosterior(projection, found), torch.from_numpy(NEW)
    mean, joint = exact.predict(NEW, return_cov=True, include_noise=False)
    np.testing.assert_allclose(posterior.predict_mean(new)[:, 0].numpy(), mean, atol=1e-6)
    np.testing.assert_allclose(posterior.predict_covariance(new).numpy(), joint, atol=1e-6)
    np.testing.assert_allclose(posterior.predict_variance(new).numpy(), np.diagonal(joint), atol=1e-6)


def test_predictions_are_the_published_formulas():
    kernel = KERNELS["rbf"]()
    zz, xz, _ = matrices(kernel, Z)
    with torch.no_grad():
        nz = covariance(kernel, *tensors(NEW, Z)).numpy()
        prior = covariance(kernel, torch.from_numpy(NEW)).numpy()
    inner = np.linalg.inv(zz + xz.T @ xz / NOISE)  # Titsias (2009), equation 6
    mean = nz @ inner @ xz.T @ Y / NOISE
    joint = prior - nz @ np.linalg.solve(zz, nz.T) + nz @ inner @ nz.T
    posterior, new = SparsePosterior(*summary_of(kernel, Z)), torch.from_numpy(NEW)
    np.testing.assert_allclose(posterior.predict_mean(new).numpy(), mean, rtol=1e-9)
    np.testing.assert_allclose(posterior.predict_covariance(new).numpy(), joint, atol=1e-10)
    np.testing.assert_allclose(posterior.predict_variance(new).numpy(), np.diagonal(joint), atol=1e-10)


@pytest.mark.parametrize("moves", [True, False])
@pytest.mark.parametrize("name", KERNELS)
def test_gradients_are_those_of_differences(name, moves):
    found, vector = objective(KERNELS[name](), Z, moves=moves)
    value, slope = found.evaluate(vector)
    assert value == pytest.approx(found.evaluate(vector, gradient=False)[0], rel=1e-14)
    for i in range(len(vector)):
        ends = [vector + sign * 1e-5 * (np.arange(len(vector)) == i) for sign in (1.0, -1.0)]
        high, low = (found.evaluate(end, gradient=False)[0] for end in ends)
        assert slope[i] == pytest.approx((high - low) / 2e-5, rel=2e-6, abs=2e-6)


def test_points_on_a_grid_have_gradients_too():
    """A regular column is evaluated by its lags elsewhere, through which points have no derivative."""
    kernel, z = 1.3 * RBF(1.0), np.linspace(-2.0, 2.0, 5)[:, None]
    x, y = torch.from_numpy(X[:, :1].copy()), torch.from_numpy(Y)
    scales = measure(x.numpy(), Y, np.ones(60), normalize_y=True, find_periods=False)
    theta = Theta(kernel, default_priors(kernel, scales, informative=True), NOISE)
    parameters = Parameters(theta, NOISE, z, scales, True)
    found, vector = CollapsedObjective(x, y, parameters, False), parameters.joined(theta.start, z)
    slope = found.evaluate(vector)[1]
    for i in range(len(vector) - 5, len(vector)):
        ends = [vector + sign * 1e-5 * (np.arange(len(vector)) == i) for sign in (1.0, -1.0)]
        high, low = (found.evaluate(end, gradient=False)[0] for end in ends)
        assert slope[i] == pytest.approx((high - low) / 2e-5, rel=1e-5)


def test_blocks_change_nothing(monkeypatch):
    found, vector = objective(KERNELS["sum"](), Z, moves=True)
    value, slope = found.evaluate(vector)
    monkeypatch.setattr("nonparam.sparse.collapsed.BLOCK", 7)
    other, pieces = found.evaluate(vector)
    assert other == pytest.approx(value, rel=1e-13)
    np.testing.assert_allclose(pieces, slope, rtol=1e-9, atol=1e-10)


def test_a_jitter_is_added_only_where_digits_are_lost():
    kernel, twice = 2.0 * RBF(1.0), np.concatenate([Z, Z])
    assert project(kernel, torch.from_numpy(Z)).factor.jitter == 0.0
    projection, found = summary_of(kernel, twice)
    assert 0.0 < projection.factor.jitter <= 1e-6
    assert found.lower() == pytest.approx(naive(kernel, Z, NOISE), rel=1e-6)
    with pytest.raises(NotPositiveDefiniteError, match="not finite"):
        reliable(torch.full((3, 3), torch.nan, dtype=torch.float64))


def test_points_are_the_pivots_of_a_naive_factorisation():
    kernel = 1.3 * Matern([1.0, 2.0]) + Linear(0.5)
    with torch.no_grad():
        left = covariance(kernel, torch.from_numpy(X)).numpy().copy()
    pivots = []
    for _ in range(12):
        j = int(np.argmax(np.diagonal(left)))
        pivots.append(j)
        left -= np.outer(left[j], left[j]) / left[j, j]
    chosen = choose_points(kernel, torch.from_numpy(X), 12).numpy()
    first = [int(np.flatnonzero((X == row).all(1))[0]) for row in chosen]
    assert first == pivots
    some = np.concatenate([X[:5]] * 20)
    assert len(choose_points(kernel, torch.from_numpy(some), 50)) == 5
