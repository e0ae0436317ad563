"""Functions drawn from the posterior: against the dense posterior, and Matheron's rule as an identity."""

import pickle

import dense
import numpy as np
import pandas as pd
import pytest
import torch

from nonparam import GPRegressor, fitting, pathwise
from nonparam.errors import InputError, InsufficientMemoryError
from nonparam.kernels import Matern, Scale, WhiteNoise, covariance
from nonparam.kernels.operator import KernelOperator
from nonparam.means import Mean
from nonparam.model_selection.evidence import fit_mean
from nonparam.objective import Data
from nonparam.pathwise import sample_functions
from nonparam.posterior import condition
from nonparam.solvers.certified import CertifiedSolver

RNG = np.random.default_rng(2)
N = 25
X, NEW = RNG.uniform(-2.0, 2.0, (N, 1)), np.linspace(-4.0, 4.0, 9)[:, None]
Y = np.c_[np.sin(2.0 * X[:, 0]) + 3.0 + X[:, 0], X[:, 0] ** 2]
DRAWS, MANY = 1000, 8192  # the features' bias is a tenth of the Monte Carlo error
WEIGHTS = RNG.uniform(0.5, 3.0, N)


def mean_of(name):
    return Mean(name, torch.zeros(1, dtype=torch.float64), torch.ones(1, dtype=torch.float64))


def posterior_of(mean="linear", kernel=None):
    x = torch.tensor(X)
    data = Data(x, torch.tensor(Y[:, :1]), mean_of(mean).basis(x), torch.tensor(WEIGHTS), noise=None)
    return condition(kernel or Scale(Matern(1.0, nu=1.5), 2.0), data, 0.05)


def distance_from(mean, joint, values):
    """The largest errors of the draws' mean and covariance, in their Monte Carlo standard errors."""
    sd = np.sqrt(np.diagonal(joint))
    of_mean = np.abs(values.mean(1) - mean) / sd * np.sqrt(values.shape[1])
    spread = np.sqrt((joint**2 + np.outer(sd, sd) ** 2) / values.shape[1])
    return of_mean.max(), (np.abs(np.cov(values) - joint) / spread).max()


@pytest.mark.parametrize("mean", ["zero", "constant", "linear"])
def test_draws_have_the_moments_of_the_posterior(mean):
    posterior = posterior_of(mean)
    functions = sample_functions(posterior, mean_of(mean), DRAWS, np.random.RandomState(0), MANY)
    new = torch.tensor(NEW)
    expected = posterior.predict_mean(new, mean_of(mean).basis(new))[:, 0].numpy()
    joint = posterior.predict_covariance(new, mean_of(mean).basis(new)).numpy()
    of_mean, of_covariance = distance_from(expected, joint, functions(NEW)[:, 0])
    assert of_mean < 4.0 and of_covariance < 4.5  # 9 and 45 numbers


def test_the_uncertainty_of_the_mean_is_in_the_draws():
    """Far away the variance is the prior's and that of the line; forgetting the latter shows."""
    posterior, far = posterior_of("linear"), np.array([[300.0]])
    values = sample_functions(posterior, mean_of("linear"), DRAWS, np.random.RandomState(1))(far)[0, 0]
    h = np.array([1.0, 300.0])
    expected = 2.0 + h @ np.linalg.solve(posterior.mean.information.numpy(), h)
    assert expected > 1000.0
    assert np.var(values) == pytest.approx(expected, rel=4.0 * np.sqrt(2.0 / DRAWS))


def test_matherons_rule_with_exact_prior_draws_has_exactly_the_covariance_of_universal_kriging():
    """The map from joint normal draws to a function, applied to unit vectors, squares to the posterior."""
    posterior, new = posterior_of("linear"), torch.tensor(NEW)
    rows = torch.cat([posterior.data.x, new])
    with torch.no_grad():
        prior = covariance(posterior.kernel, rows) + 1e-13 * torch.eye(len(rows), dtype=torch.float64)
        cross = covariance(posterior.kernel, new, posterior.data.x)
    root = torch.linalg.cholesky(prior)
    noise = torch.diag(posterior.data.noise_variances(posterior.noise).sqrt())
    draws = torch.cat([root, torch.zeros(len(rows), N, dtype=torch.float64)], 1)
    seen = torch.cat([root[:N], noise], 1)
    update = fit_mean(posterior.factor, -seen, posterior.data.basis)
    basis = mean_of("linear").basis(new)
    change = draws[N:] + cross @ update.alpha + basis @ update.coefficients
    A = prior[:N, :N].numpy() + noise.numpy() ** 2
    H, H_new = dense.basis("linear", X), dense.basis("linear", NEW)
    expected = dense.posterior(A, cross.mT.numpy(), prior[N:, N:].numpy(), Y[:, 0], H, H_new)[1]
    np.testing.assert_allclose((change @ change.mT).numpy(), expected, rtol=1e-7, atol=1e-9)


def covariance_of_all_draws(posterior, seed, num):
    """What these features can make, without Monte Carlo error."""
    new = torch.tensor(NEW)
    prior = sample_functions(posterior, mean_of("constant"), 1, np.random.RandomState(seed), num).prior
    old = prior(posterior.data.x)
    noise = torch.diag(posterior.data.noise_variances(posterior.noise).sqrt())
    update = fit_mean(posterior.factor, -torch.cat([old, noise], 1), posterior.data.basis)
    with torch.no_grad():
        change = covariance(posterior.kernel, new, posterior.data.x) @ update.alpha
    change += mean_of("constant").basis(new) @ update.coefficients
    change[:, : old.shape[1]] += prior(new)
    return (change @ change.mT).numpy()


@pytest.mark.parametrize("nu", [0.5, 2.5])
def test_more_frequencies_bring_the_covariance_nearer(nu):
    posterior, new = posterior_of("constant", Scale(Matern(1.0, nu=nu), 2.0)), torch.tensor(NEW)
    expected = posterior.predict_covariance(new, mean_of("constant").basis(new)).numpy()
    errors = [
        np.mean([np.abs(covariance_of_all_draws(posterior, s, num) - expected).max() for s in range(4)])
        for num in (64, 512, 4096)
    ]
    assert errors[1] < errors[0] / 2.8 and errors[2] < errors[1] / 2.8  # 8^(1/2), as independent ones would
    assert errors[2] < 0.01 * 2.0  # of the prior variance


def test_values_do_not_depend_on_the_other_rows():
    functions = GPRegressor("matern32").fit(X, Y[:, 0]).sample_functions(3, random_state=1)
    rows = np.linspace(-5.0, 5.0, 2100)[:, None]
    together = functions(rows)
    apart = np.concatenate([functions(part) for part in np.array_split(rows, 7)])
    np.testing.assert_allclose(apart, together, rtol=1e-10, atol=1e-10)
    np.testing.assert_array_equal(functions(rows), together)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(functions))(rows), together)
    singles = list(functions)
    assert len(functions) == len(singles) == 3 and {len(f) for f in singles} == {1}
    np.testing.assert_allclose(np.hstack([f(rows) for f in singles]), together, rtol=1e-10, atol=1e-10)


def test_units_outputs_and_seeds():
    model = GPRegressor("rbf + linear", mean="linear", noise=2e4).fit(X, 1000.0 * Y + 5e4)
    functions = model.sample_functions(500, random_state=5)
    values = functions(NEW)
    assert values.shape == (9, 2, 500)
    mean, sd = model.predict(NEW, return_std=True, include_noise=False)
    assert (np.abs(values.mean(-1) - mean) < 5.0 * sd / np.sqrt(500)).all()
    np.testing.assert_allclose(values.std(-1), sd, rtol=4.0 * np.sqrt(0.5 / 500))
    assert abs(np.corrcoef(values[4])[0, 1]) < 0.2  # outputs are independent given the kernel
    np.testing.assert_array_equal(model.sample_functions(500, random_state=5)(NEW), values)
    assert np.abs(model.sample_functions(500, random_state=6)(NEW) - values).max() > 0.0


def test_white_noise_in_the_kernel_belongs_to_the_observations():
    posterior = posterior_of("zero", kernel=Scale(Matern(1.0, nu=1.5), 2.0) + WhiteNoise(0.3))
    values = sample_functions(posterior, mean_of("zero"), DRAWS, np.random.RandomState(0), MANY)(NEW)[:, 0]
    new = torch.tensor(NEW)
    expected = posterior.predict_mean(new, new[:, :0])[:, 0].numpy()
    joint = posterior.predict_covariance(new, new[:, :0]).numpy() - 0.3 * np.eye(len(NEW))
    of_mean, of_covariance = distance_from(expected, joint, values)
    assert of_mean < 4.0 and of_covariance < 4.5


def test_a_model_by_conjugate_gradients_gives_the_same_functions(monkeypatch):
    posterior = posterior_of("constant")
    variances = posterior.data.noise_variances(posterior.noise)
    solver = CertifiedSolver.of(
        KernelOperator(posterior.kernel, posterior.data.x), variances, tolerance=1e-10, seed=0, rank=5
    )
    other = condition(posterior.kernel, posterior.data, posterior.noise, solver)
    drawn = (
        sample_functions(p, mean_of("constant"), 4, np.random.RandomState(0)) for p in (posterior, other)
    )
    first, second = (functions(NEW) for functions in drawn)
    np.testing.assert_allclose(second, first, rtol=0.0, atol=1e-6)
    monkeypatch.setattr(fitting, "free_memory", lambda device: 0)
    model = GPRegressor("rbf", solver="cg", random_state=0).fit(X, Y[:, 0])
    assert isinstance(model.posterior_.factor, CertifiedSolver)
    np.testing.assert_allclose(model.sample_functions(400)(X).mean(1), model.predict(X), atol=0.05)


def test_functions_of_an_interpolated_kernel_have_its_moments():
    rng = np.random.default_rng(3)
    x = np.sort(rng.uniform(0.0, 10.0, (1000, 1)), 0)
    model = GPRegressor("rbf", solver="ski", noise=1e-4, random_state=0).fit(x, np.sin(3.0 * x[:, 0]))
    assert model.posterior_.solver == "ski"
    new = np.linspace(0.0, 10.0, 200)[:, None]
    mean, sd = model.predict(new, return_std=True, include_noise=False)
    functions = model.sample_functions(400, random_state=0)
    values = functions(new)
    assert np.abs((values.mean(1) - mean) / sd).max() < 4.0 / np.sqrt(400)
    np.testing.assert_allclose(values.std(1), sd, rtol=4.0 * np.sqrt(0.5 / 400))
    np.testing.assert_allclose(pickle.loads(pickle.dumps(functions))(new), values, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ([0.0, 1.0], "Expected 2D array"),
        ([[1.0, 2.0]], "X has 2 features"),
        ([[np.nan]], "contains NaN in column 0"),
        ([["a"]], "column 0 of X holds text"),
        ([[1e61]], "values beyond 1e"),
    ],
)
def test_rows_are_refused_as_predict_refuses_them(table, message):
    model = GPRegressor("rbf").fit(X, Y[:, 0])
    for refuses in (model.predict, model.sample_functions()):
        with pytest.raises(ValueError, match=message):
            refuses(table)


def test_rows_and_columns_in_another_order_of_the_memory():
    frame = pd.DataFrame({"b": X[:, 0], "a": Y[:, 1]})[["a", "b"]]
    functions = GPRegressor("rbf").fit(frame, Y[:, 0]).sample_functions(2)
    values = functions(frame)
    np.testing.assert_allclose(functions(frame[::-1]), values[::-1], rtol=1e-10, atol=1e-10)
    with pytest.raises(ValueError, match="feature names should match"):
        functions(frame[["b", "a"]])
    plain = GPRegressor("rbf").fit(X, Y[:, 0]).sample_functions(2)
    np.testing.assert_allclose(plain(NEW[::-1]), plain(NEW)[::-1], rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("count", [10**9, np.int64(10**18)])
def test_more_functions_than_the_memory_holds(count, monkeypatch):
    monkeypatch.setattr(pathwise, "free_memory", lambda device: 10**9)
    with pytest.raises(InsufficientMemoryError, match=r"at most about 10,\d{3} fit; draw fewer"):
        GPRegressor("rbf").fit(X, Y[:, 0]).sample_functions(count)


@pytest.mark.parametrize("count", [0, -1, 1.5, True])
def test_numbers_of_functions(count):
    with pytest.raises(InputError, match="n_samples must be"):
        GPRegressor("rbf").fit(X, Y[:, 0]).sample_functions(count)


def test_a_kernel_without_features_is_pointed_to_sample_y():
    model = GPRegressor("wiener").fit(X, Y[:, 0])
    with pytest.raises(InputError, match=r"wiener\(.*has no random features: .*sample_y"):
        model.sample_functions()
    assert model.sample_y(NEW).shape == (9, 1)
