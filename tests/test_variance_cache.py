"""Quadratic forms from a cache: bounds against dense inverses, and what the bounds refuse is solved for."""

import numpy as np
import pytest
import torch

from nonparam import GPRegressor, fitting
from nonparam.errors import InputError
from nonparam.kernels import Matern, Scale, covariance
from nonparam.solvers.certified import CertifiedSolver
from nonparam.solvers.operator import Dense
from nonparam.solvers.variance_cache import VarianceCache

N = 150


def problem(rank, noise=0.05, columns=2, seed=0):
    rng = np.random.default_rng(seed)
    x, new = (torch.tensor(rng.uniform(-2.0, 2.0, (m, columns))) for m in (N, 40))
    shift = torch.tensor(noise * rng.uniform(0.5, 2.0, N))
    kernel = Scale(Matern(1.0, nu=1.5), 2.0)
    with torch.no_grad():
        K, b = covariance(kernel, x), covariance(kernel, x, new)
    exact = np.sum(b.numpy() * np.linalg.solve(K.numpy() + np.diag(shift.numpy()), b.numpy()), 0)
    solver = CertifiedSolver.of(Dense(K), shift, tolerance=1e-8, seed=0, rank=rank)
    return solver, b, exact


@pytest.mark.parametrize("columns", [1, 2, 6])
@pytest.mark.parametrize("noise", [1e-6, 0.05, 5.0])
@pytest.mark.parametrize("rank", [5, 40, N])
def test_the_form_lies_between_both_bounds(rank, noise, columns):
    solver, b, exact = problem(rank, noise, columns)
    value, error = (part.numpy() for part in VarianceCache.of(solver).bounded(b))
    rounding = 1e-9 * exact.max()
    assert (value <= exact + rounding).all() and (exact <= value + error + rounding).all()


def test_more_rank_lowers_the_bound_to_nothing():
    errors = []
    for rank in (10, 40, 100, N):
        solver, b, _ = problem(rank)
        errors.append(float(VarianceCache.of(solver).bounded(b)[1].max()))
    assert errors == sorted(errors, reverse=True)
    assert errors[0] > 0.1 and errors[-1] < 1e-12


def test_the_bound_is_of_the_size_of_the_error():
    solver, b, exact = problem(60)
    value, error = (part.numpy() for part in VarianceCache.of(solver).bounded(b))
    assert np.median(error / (exact - value)) < 10.0


def test_the_space_is_orthonormal_in_the_matrix():
    solver, _, _ = problem(30)
    cache = VarianceCache.of(solver)
    eye = torch.eye(30, dtype=torch.float64)
    torch.testing.assert_close(cache.basis.mT @ cache.image, eye, rtol=0.0, atol=1e-10)


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_columns_that_miss_the_tolerance_are_solved_for_and_only_these(share, monkeypatch):
    solver, b, exact = problem(40)
    cache = VarianceCache.of(solver)
    value, error = cache.bounded(b)
    tolerance = torch.full_like(error, float(error.quantile(share)) * (1.0 + 1e-12))
    asked, quadratic = [], CertifiedSolver.quadratic

    def counted(self, columns):
        asked.append(columns.shape[1])
        return quadratic(self, columns)

    monkeypatch.setattr(CertifiedSolver, "quadratic", counted)
    found = cache.quadratic(b, tolerance)
    missed = error > tolerance
    assert sum(asked) == int(missed.sum()) == {0.0: 39, 0.5: 20, 1.0: 0}[share]
    np.testing.assert_allclose(found[missed], exact[missed.numpy()], rtol=1e-9)
    torch.testing.assert_close(found[~missed], value[~missed], rtol=0.0, atol=0.0)
    assert (np.abs(found.numpy() - exact) <= tolerance.numpy() + 1e-9).all()


def test_a_bound_that_is_no_number_is_refused():
    solver, b, exact = problem(40)
    cache = VarianceCache.of(solver)
    cache.image[0] = torch.nan
    found = cache.quadratic(b, torch.full((b.shape[1],), 10.0, dtype=torch.float64))
    np.testing.assert_allclose(found, exact, rtol=1e-9)


def table():
    rng = np.random.default_rng(1)
    X = rng.uniform(-3.0, 3.0, (300, 2))
    return X, np.sin(X.sum(1)) + 0.3 * rng.standard_normal(300)


@pytest.fixture(scope="module")
def model():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fitting, "free_memory", lambda device: 0)
        patch.setattr(fitting, "RANK", 60)
        return GPRegressor("matern32", solver="cg", random_state=0).fit(*table())


@pytest.mark.parametrize("tolerance", [1e-6, 1e-2, 10.0])
def test_predicted_variances_keep_the_tolerance_and_err_on_the_wide_side(model, tolerance):
    new = np.random.default_rng(2).uniform(-4.0, 4.0, (200, 2))
    mean, exact = model.predict(new, return_std=True, include_noise=False)
    again, found = model.predict(new, return_std=True, include_noise=False, variance_tolerance=tolerance)
    np.testing.assert_array_equal(again, mean)
    prior = model.kernel_.value("outputscale") * model.y_scale_[0] ** 2
    excess = found**2 - exact**2
    assert (excess > -1e-7 * prior).all() and (excess <= (tolerance + 1e-7) * prior).all()
    assert (excess.max() > 1e-5 * prior) == (tolerance > 1e-6)


def test_a_factorised_model_is_exact_with_or_without_a_tolerance():
    exact = GPRegressor("matern32").fit(*table())
    new = table()[0][:5]
    expected = exact.predict(new, return_std=True)[1]
    np.testing.assert_array_equal(exact.predict(new, return_std=True, variance_tolerance=0.5)[1], expected)
    assert exact.posterior_.variance_cache is None


@pytest.mark.parametrize("tolerance", [0.0, -1.0, np.nan, True, np.True_, "small", [0.1, 0.2]])
def test_tolerances_that_are_none(model, tolerance):
    with pytest.raises(InputError, match="variance_tolerance must be a"):
        model.predict(table()[0][:2], return_std=True, variance_tolerance=tolerance)


@pytest.mark.parametrize("return_cov", [False, True])
def test_a_tolerance_where_no_deviations_are_asked_for(model, return_cov):
    with pytest.raises(InputError, match=r"variance_tolerance=0.1 is of use with return_std=True only"):
        model.predict(table()[0][:2], return_cov=return_cov, variance_tolerance=0.1)
