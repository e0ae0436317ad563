"""Gradient flow of infinitely wide networks: against steps, matrix functions and trained linear models."""

import math

import numpy as np
import pytest
import torch
from scipy.linalg import expm

from nonparam.errors import ConvergenceError, InsufficientMemoryError
from nonparam.kernels import Scale
from nonparam.kernels.infinite import InfiniteNetwork
from nonparam.networks import gradient_flow
from nonparam.networks.gradient_flow import Eigenvectors, Krylov, gain, train
from nonparam.objective import Data
from nonparam.posterior import condition
from nonparam.solvers.operator import Dense

RNG = np.random.default_rng(0)
N, M = 25, 4
X, NEW = (torch.from_numpy(RNG.uniform(-2.0, 2.0, (n, 2))) for n in (N, M))
Y = torch.stack([torch.sin(2.0 * X[:, 0]), X[:, 1] ** 2], 1)
TANGENT = Scale(InfiniteNetwork("erf-1", "ntk", center=0.0, spread=1.0), 0.7)
COVARIANCE = Scale(InfiniteNetwork("erf-1", "nngp", center=0.0, spread=1.0), 0.7)
NONE, NONE_NEW = X[:, :0], NEW[:, :0]


def matrices(x1, x2=None):
    with torch.no_grad():
        return tuple(k.matrix(x1, x2).numpy() for k in (TANGENT, COVARIANCE))


def observed(x=X, y=Y, weights=None, basis=None):
    ones = torch.ones(len(x), dtype=torch.float64)
    return Data(x, y, x[:, :0] if basis is None else basis, ones if weights is None else weights, None)


def trained(time, data=None, unit=1.0):
    return train(condition(TANGENT, observed() if data is None else data, 0.1), time, unit)


def operator(time):
    """``A`` by the exponential of a matrix."""
    (t, _), (cross, _) = matrices(X), matrices(NEW, X)
    return cross @ np.linalg.solve(t, np.eye(N) - expm(-time * t / N))


@pytest.mark.parametrize("time", [0.01, 1.0, 300.0])
def test_the_mean_and_the_covariance_are_those_of_the_paper(time):
    a, model = operator(time), trained(time)
    np.testing.assert_allclose(model.predict_mean(NEW, NONE_NEW), a @ Y.numpy(), rtol=1e-7, atol=1e-10)
    k, cross, own = matrices(X)[1], matrices(X, NEW)[1], matrices(NEW)[1]
    expected = own + a @ k @ a.T - a @ cross - cross.T @ a.T
    found = model.predict_covariance(NEW, NONE_NEW)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-9)
    np.testing.assert_array_equal(found, found.mT)
    np.testing.assert_allclose(model.predict_variance(NEW, NONE_NEW), torch.diagonal(found), rtol=1e-10)


def test_small_steps_of_gradient_descent_lead_there():
    t, cross = matrices(X)[0], matrices(NEW, X)[0]
    time, steps = 20.0, 20_000
    f, new, y = np.zeros_like(Y), np.zeros((M, 2)), Y.numpy()
    for _ in range(steps):
        rate = (y - f) * (time / steps / N)
        f, new = f + t @ rate, new + cross @ rate
    np.testing.assert_allclose(trained(time).predict_mean(NEW, NONE_NEW), new, atol=2e-4)


def test_the_spread_is_that_of_linear_models_trained_from_random_weights():
    """Features that have the two kernels: ``phi phi' = K`` starts, ``psi psi' = T`` learns."""
    everything = torch.cat([X, NEW])
    t, k = matrices(everything)
    psi = np.linalg.cholesky(t + 1e-10 * np.eye(N + M))
    start = np.linalg.cholesky(k + 1e-10 * np.eye(N + M)) @ RNG.standard_normal((N + M, 20_000))
    time, steps = 5.0, 400
    weights, y = np.zeros_like(start), Y.numpy()[:, :1]
    for _ in range(steps):
        left = y - (start + psi @ weights)[:N]
        weights += (time / steps / N) * psi[:N].T @ left
    found = (start + psi @ weights)[N:]
    model = trained(time)
    np.testing.assert_allclose(found.mean(1), model.predict_mean(NEW, NONE_NEW)[:, 0], atol=0.02)
    np.testing.assert_allclose(np.cov(found), model.predict_covariance(NEW, NONE_NEW), atol=0.02)


def test_at_first_it_is_the_prior_and_at_last_it_interpolates():
    early, late = trained(1e-12), trained(math.inf)
    assert float(early.predict_mean(NEW, NONE_NEW).abs().max()) < 1e-9
    np.testing.assert_allclose(early.predict_covariance(NEW, NONE_NEW), matrices(NEW)[1], atol=1e-9)
    few = X[:6]
    late = trained(math.inf, observed(few, Y[:6]))
    expected = matrices(NEW, few)[0] @ np.linalg.solve(matrices(few)[0], Y[:6].numpy())
    np.testing.assert_allclose(late.predict_mean(NEW, NONE_NEW), expected, rtol=1e-5)
    np.testing.assert_allclose(late.predict_mean(few, NONE[:6]), Y[:6], atol=1e-7)
    np.testing.assert_allclose(late.predict_variance(few, NONE[:6]), 0.0, atol=1e-7)


@pytest.mark.parametrize("time", [3.0, 1e6, math.inf])
def test_rows_given_twice_count_as_weights(time):
    times = torch.tensor([1, 2, 3, 1, 2, 1])
    few, y = X[:6], Y[:6]
    again = trained(time, observed(few.repeat_interleave(times, 0), y.repeat_interleave(times, 0)))
    weighted = trained(time, observed(few, y, times.double()))
    for one, other in zip(
        (again.predict_mean(NEW, NONE_NEW), again.predict_covariance(NEW, NONE_NEW)),
        (weighted.predict_mean(NEW, NONE_NEW), weighted.predict_covariance(NEW, NONE_NEW)),
        strict=True,
    ):
        assert bool(one.isfinite().all())
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-7)


def test_rows_that_disagree_are_averaged_at_last():
    x, y = torch.cat([X[:3], X[:1]]), torch.cat([Y[:3], Y[:1] + 2.0])
    found = trained(math.inf, observed(x, y)).predict_mean(X[:1], NONE[:1])
    np.testing.assert_allclose(found, Y[:1] + 1.0, atol=1e-7)


def test_lanczos_agrees_with_eigenvectors(monkeypatch):
    data = observed(weights=torch.linspace(0.5, 2.0, N, dtype=torch.float64))
    exact = trained(30.0, data)
    monkeypatch.setattr(gradient_flow, "SEARCHED", N - 1)
    monkeypatch.setattr(gradient_flow, "COLUMNS", 3)
    found = trained(30.0, data)
    assert isinstance(exact.filter, Eigenvectors) and isinstance(found.filter, Krylov)
    for name in ("predict_mean", "predict_variance", "predict_covariance"):
        one, other = (getattr(model, name)(NEW, NONE_NEW) for model in (exact, found))
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


def test_lanczos_says_when_it_is_not_certified(monkeypatch):
    monkeypatch.setattr(gradient_flow, "SEARCHED", 1)
    monkeypatch.setattr(gradient_flow, "MAX_STEPS", 3)
    with pytest.raises(
        ConvergenceError, match=r"Lanczos process does not resolve .* take a shorter train_time"
    ):
        trained(1e6)


def test_the_unit_of_the_loss_divides_the_time_and_the_mean_function_stays():
    slow = trained(8.0, unit=4.0).predict_mean(NEW, NONE_NEW)
    np.testing.assert_allclose(slow, trained(2.0).predict_mean(NEW, NONE_NEW), rtol=1e-12)
    ones = torch.ones(N, 1, dtype=torch.float64)
    prior = condition(TANGENT, observed(basis=ones), 0.1)
    level = prior.mean.coefficients
    found = train(prior, 2.0).predict_mean(NEW, ones[:M])
    left = trained(2.0, observed(y=Y - level)).predict_mean(NEW, NONE_NEW)
    np.testing.assert_allclose(found, left + level, rtol=1e-10)


def test_more_rows_are_trained_on_as_if_they_had_been_there():
    first, all_rows = trained(5.0, observed(X[:20], Y[:20])), trained(5.0)
    again = first.extended(observed(), 5)
    np.testing.assert_allclose(
        again.predict_mean(NEW, NONE_NEW), all_rows.predict_mean(NEW, NONE_NEW), rtol=1e-9
    )
    assert again.time == 5.0


@pytest.mark.parametrize("rate", [0.0, 0.3, 1e5])
def test_the_gain_is_accurate_at_every_eigenvalue(rate):
    values = torch.tensor([0.0, 1e-300, 1e-12, 0.3, 1e9], dtype=torch.float64)
    expected = [rate] + [-math.expm1(-rate * v) / v for v in values[1:].tolist()]
    np.testing.assert_allclose(gain(rate)(values), expected, rtol=1e-14)
    infinite = gain(math.inf)(values[2:])
    np.testing.assert_allclose(infinite, 1.0 / values[2:])


def test_eigenvectors_make_a_pseudo_inverse():
    root = torch.from_numpy(RNG.standard_normal((8, 3)))
    found = Eigenvectors.of(root @ root.mT, gain(math.inf)) @ torch.eye(8, dtype=torch.float64)
    np.testing.assert_allclose(found, np.linalg.pinv((root @ root.mT).numpy(), rcond=1e-10), atol=1e-10)


def test_a_function_by_lanczos_is_that_by_eigenvectors():
    root = torch.from_numpy(RNG.standard_normal((12, 12)))
    matrix, b = root @ root.mT, torch.from_numpy(RNG.standard_normal((12, 20)))
    np.testing.assert_allclose(
        Krylov(Dense(matrix), gain(0.2)) @ b, Eigenvectors.of(matrix, gain(0.2)) @ b, atol=1e-5
    )


def test_memory_is_asked_for_before_it_is_taken(monkeypatch):
    monkeypatch.setattr(gradient_flow, "MATRICES", 1e12)
    with pytest.raises(InsufficientMemoryError, match="train on a random subset of the rows"):
        trained(1.0)
