"""Additive kernels: the recursion, orthogonality to the constant, peers, and fits in the user's units."""

import itertools
import math
import warnings

import gpytorch
import numpy as np
import pytest
import torch

from nonparam import GPRegressor
from nonparam.errors import InputError
from nonparam.kernels import RBF, Additive, OrthogonalRBF, Scale, Sum, covariance, variance
from nonparam.kernels.additive import newton_girard, power_sums
from nonparam.kernels.operator import KernelOperator

rng = np.random.default_rng(0)
X = rng.normal(size=(60, 3))
Y = np.sin(2.0 * X[:, 0]) + X[:, 0] * X[:, 1] + 0.1 * rng.normal(size=60)


def rows(n: int, columns: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(n, columns)))


def test_the_recursion_equals_sums_over_subsets():
    values = rows(8, 5).abs().unbind()
    for degree, found in enumerate(newton_girard(power_sums(values, 8)), 1):
        expected = sum(torch.stack(some).prod(0) for some in itertools.combinations(values, degree))
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)


def test_equals_gpytorchs_kernel_far_from_the_density():
    """There an orthogonal RBF is an RBF; a weight of GPyTorch's counts for each group of columns."""
    lengthscale, weights = [0.7, 2.0, 1.0, 0.5], [0.5, 0.5, 1.0]
    base = gpytorch.kernels.RBFKernel(ard_num_dims=4).double()
    base.initialize(lengthscale=torch.tensor(lengthscale).double())
    variances = [w * math.comb(4, q) for q, w in enumerate(weights, 1)]
    ours = Additive(3, lengthscale=lengthscale, variance=variances, center=1e3, spread=1.0)
    x, z = rows(9, 4), rows(5, 4, seed=1)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore", DeprecationWarning)
        theirs = gpytorch.kernels.NewtonGirardAdditiveKernel(base, 4, 3).double()
        theirs.initialize(outputscale=torch.tensor(weights).double())
        expected = theirs(x, z).to_dense()
    torch.testing.assert_close(
        covariance(ours, x, z).detach(), expected, rtol=1e-6, atol=1e-7
    )  # float32 there


def test_functions_have_no_average_along_any_column():
    """The covariance with the average of a function along a column is 0, whatever the other columns are."""
    kernel = Additive(2, lengthscale=[1.5, 0.6], variance=[1.0, 2.0], center=[1.0, -2.0], spread=[2.0, 0.5])
    nodes, weights = np.polynomial.hermite_e.hermegauss(100)
    share = torch.from_numpy(weights / weights.sum())
    x = rows(6, 2)
    for column, (center, spread, others) in enumerate([(1.0, 2.0, [1]), (-2.0, 0.5, [0])]):
        for part in kernel.parts(2):
            inner = part.kernel
            if column not in inner.active_dims.tolist():
                continue
            along = torch.zeros(100, 2, dtype=torch.float64)
            along[:, others] = 0.3
            along[:, column] = torch.from_numpy(center + spread * nodes)
            averages = covariance(part, x, along).detach() @ share
            torch.testing.assert_close(averages, torch.zeros(6, dtype=torch.float64), rtol=0.0, atol=1e-10)


def test_parts_add_up_and_see_the_columns_of_the_whole():
    kernel = 2.0 * Additive(
        2, lengthscale=[0.5, 1.0, 2.0], variance=[1.0, 3.0], center=0.1, spread=1.0, active_dims=(3, 0, 2)
    )
    x, z = rows(7, 4), rows(5, 4, seed=1)
    parts = kernel.parts(4)
    assert len(parts) == 6
    torch.testing.assert_close(sum(covariance(p, x, z) for p in parts), covariance(kernel, x, z))
    torch.testing.assert_close(sum(variance(p, x) for p in parts), variance(kernel, x))


def test_a_long_lengthscale_keeps_its_digits():
    """The limit is linear: (x - mu)(x' - mu) / l^2 with a variance of 1 / l^2 for a spread of 1."""
    x = rows(8, 1)
    found = covariance(OrthogonalRBF(1e6, center=0.0, spread=1.0), x).detach()
    torch.testing.assert_close(1e12 * found, x @ x.mT, rtol=1e-5, atol=1e-5)
    single = covariance(OrthogonalRBF(1e3, center=0.0, spread=1.0).float(), x.float()).detach().double()
    torch.testing.assert_close(1e6 * single, x @ x.mT, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("lengthscale", [1e-9, 1e9])
def test_gradients_are_finite_at_any_lengthscale(lengthscale: float):
    kernel = Additive(2, lengthscale=lengthscale, variance=1.0, center=0.0, spread=1.0)
    (slope,) = torch.autograd.grad(covariance(kernel, rows(4, 3)).sum(), [kernel.raw_lengthscale])
    assert slope.isfinite().all()


def test_products_without_the_matrix():
    kernel = Additive(2, lengthscale=[0.5, 1.0, 2.0], variance=[1.0, 3.0], center=0.1, spread=1.0)
    x = rows(50, 3)
    operator, dense = KernelOperator(kernel, x, tile=(16, 32)), covariance(kernel, x)
    v = rows(50, 2, seed=1)
    torch.testing.assert_close(operator @ v, dense.detach() @ v)
    parameters = [kernel.raw_lengthscale, kernel.raw_variance]
    expected = torch.autograd.grad((v * (dense @ v)).sum(), parameters)
    for found, slope in zip(operator.gradient(v, v, parameters), expected, strict=True):
        torch.testing.assert_close(found, slope)


# in a regressor ---------------------------------------------------------------------------------


def test_starts_from_the_scale_of_the_data_in_any_units():
    factor, units = 1e3, np.array([1e-4, 1.0, 1e5])
    plain = GPRegressor("additive").fit(X, Y)
    scaled = GPRegressor("additive").fit(X * units, factor * Y)
    for name, expected in (("lengthscale", units), ("center", units), ("spread", units)):
        found = np.array(scaled.kernel_.value(name)) / np.array(plain.kernel_.value(name))
        np.testing.assert_allclose(found, expected, rtol=1e-3)
    np.testing.assert_allclose(
        np.array(scaled.kernel_.value("variance")) / plain.kernel_.value("variance"), factor**2, rtol=1e-3
    )
    np.testing.assert_allclose(scaled.predict(X[:5] * units), factor * plain.predict(X[:5]), rtol=1e-5)
    assert plain.theta_names_[:4] == ["lengthscale[0]", "lengthscale[1]", "lengthscale[2]", "variance[0]"]


def test_density_is_that_of_the_data_and_is_not_learnt():
    model = GPRegressor("additive").fit(X, Y)
    np.testing.assert_allclose(model.kernel_.value("center"), X.mean(0))
    np.testing.assert_allclose(model.kernel_.value("spread"), X.std(0))
    before = model.kernel_.value("center")
    model.update(X[:5] + 10.0, Y[:5])
    assert model.kernel_.value("center") == before


def test_solvers_agree():
    kernel = Additive(2, fixed=("lengthscale", "variance"), lengthscale=1.0, variance=1.0)
    solves = GPRegressor(kernel, solver="cg", random_state=0).fit(X, Y)
    assert "conjugate gradients" in solves.fit_report_.plan
    exact = GPRegressor(kernel, noise=solves.noise_, solver="cholesky").fit(X, Y)
    np.testing.assert_allclose(solves.predict(X + 0.1), exact.predict(X + 0.1), atol=1e-5)


# bad input --------------------------------------------------------------------------------------


@pytest.mark.parametrize("degree", [0, -1, 21, 1.5, "two", True])
def test_a_degree_that_is_none(degree):
    with pytest.raises(InputError, match=r"Additive: degree must be a whole number from 1 to 20, got"):
        Additive(degree)


def test_a_degree_may_be_a_number_of_numpy():
    kernel = Additive(np.int64(1))
    assert kernel.degree == 1 and type(kernel.degree) is int and repr(kernel) == repr(Additive(1))


def test_too_few_columns():
    with pytest.raises(InputError, match="degree is 2, but X has only 1 columns to look at: take degree=1"):
        covariance(Additive(lengthscale=1.0, center=0.0, spread=1.0), rows(3, 1))
    with pytest.raises(InputError, match="degree is 4, but X has only 3 columns"):
        GPRegressor(Additive(4)).fit(X, Y)


def test_another_number_of_values():
    kernel = Additive(2, lengthscale=1.0, variance=[1.0, 2.0, 3.0], center=0.0, spread=1.0)
    with pytest.raises(
        InputError, match="variance has 3 values, but degree is 2; give one value, or one for"
    ):
        covariance(kernel, rows(3, 3))
    with pytest.raises(InputError, match="lengthscale has 2 values, but X has 3 columns"):
        covariance(Additive(lengthscale=[1.0, 2.0]), rows(3, 3))
    with pytest.raises(InputError, match="variance must be a number, or one for each degree, got"):
        Additive(variance=[[1.0], [2.0]])


def test_constant_and_repeated_columns_are_legal():
    x = np.column_stack([X, X[:, :1], np.full(60, 3.0)])
    model = GPRegressor("additive").fit(x, Y)
    mean, sd = model.predict(x + 0.01, return_std=True)
    assert np.isfinite(mean).all() and np.isfinite(sd).all()


def test_a_sum_on_some_columns_passes_them_on():
    inner = Additive(1, lengthscale=1.0, variance=1.0, center=0.0, spread=1.0)
    kernel = Sum(inner, Scale(RBF(1.0), 2.0), active_dims=(2, 1))
    x = rows(5, 3)
    torch.testing.assert_close(sum(covariance(p, x) for p in kernel.parts(3)), covariance(kernel, x))
