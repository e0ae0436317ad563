"""The evidence by certified solves: against dense formulas with the same probes, and against Cholesky."""

import pickle

import numpy as np
import pytest
import torch
from sklearn.exceptions import ConvergenceWarning

from nonparam import GPRegressor, fitting, solves
from nonparam.errors import ConvergenceError, InputError
from nonparam.fitting import TRAINING_TOLERANCE
from nonparam.kernels import RBF, Matern, Scale, covariance
from nonparam.objective import Data, Objective
from nonparam.solvers.certified import CertifiedSolver
from nonparam.solvers.cholesky import CholeskyFactor
from nonparam.solvers.operator import Dense
from nonparam.solves import SolvedEvidence
from nonparam.theta import Prior, Theta

N, PROBES, NOISE = 80, 6, 0.1


def problem(outputs: int = 1, functions: int = 1) -> tuple[Data, Theta]:
    rng = np.random.default_rng(0)
    x = rng.uniform(-2.0, 2.0, (N, 2))
    y = np.sin(x.sum(1))[:, None] * np.arange(1, outputs + 1) + 0.3 * rng.standard_normal((N, outputs))
    basis = np.c_[np.ones(N), x][:, :functions]
    data = Data(*(torch.tensor(part) for part in (x, y, basis, rng.uniform(0.5, 2.0, N))), noise=None)
    kernel = Scale(Matern([1.0, 0.7], nu=1.5), 2.0)
    return data, Theta(kernel, {"noise": Prior(-2.0, 1.0, -9.0, 9.0)}, NOISE)


def evidence(data: Data, theta: Theta, **changes) -> SolvedEvidence:
    settings = {"dtype": torch.float64, "tolerance": 1e-12, "num_probes": PROBES, "rank": 20, "seed": 3}
    return SolvedEvidence(data, theta, with_prior=False, **(settings | changes))


def dense_covariance(theta: Theta, point: np.ndarray, data: Data) -> np.ndarray:
    theta.assign(point)
    with torch.no_grad():
        K = covariance(theta.kernel, data.x).numpy()
    return K + np.diag(np.exp(point[-1]) / data.weights.numpy())


@pytest.mark.parametrize("hard", [1e-3, np.inf])  # a Cholesky factor, a preconditioner of low rank
@pytest.mark.parametrize("functions", [0, 1, 3])
@pytest.mark.parametrize("outputs", [1, 2])
def test_slope_is_the_dense_estimate_with_the_same_probes(outputs, functions, hard, monkeypatch):
    monkeypatch.setattr(solves, "HARD", hard)
    data, theta = problem(outputs, functions)
    found = evidence(data, theta).slope(theta.start)
    preconditioner = found.factor or evidence(data, theta).solver(theta.start).preconditioner
    R = preconditioner.multiply(torch.eye(N, dtype=torch.float64)).numpy()
    w = torch.randn(N, PROBES, generator=torch.Generator().manual_seed(3), dtype=torch.float64).numpy()
    A, H, Y, z = dense_covariance(theta, theta.start, data), data.basis.numpy(), data.y.numpy(), R @ w
    precision = np.linalg.inv(A)
    beta = np.linalg.solve(H.T @ precision @ H, H.T @ precision @ Y) if functions else np.zeros((0, outputs))
    alpha, u, v = precision @ (Y - H @ beta), precision @ z, np.linalg.solve(R @ R.T, z)
    expected, h = [], 1e-5
    for step in h * np.eye(theta.size):
        dA = dense_covariance(theta, theta.start + step, data) - dense_covariance(
            theta, theta.start - step, data
        )
        dA /= 2.0 * h
        trace = np.mean(np.sum(u * (dA @ v), 0))
        expected.append(0.5 * np.sum(alpha * (dA @ alpha)) - 0.5 * outputs * trace)
    expected[-1] += data.weight_terms(NOISE)[1]
    np.testing.assert_allclose(found.gradient, expected, rtol=1e-6, atol=1e-7)
    assert found.residual <= 1e-12 and (found.factor is None) == (hard == np.inf)


def test_slope_is_unbiased():
    data, theta = problem()
    exact = Objective(data, theta, with_prior=False).log_marginal_likelihood(theta.start[None])[1][0]
    slopes = [evidence(data, theta, seed=seed).slope(theta.start).gradient for seed in range(120)]
    error = np.std(slopes, 0) / np.sqrt(len(slopes))
    assert (np.abs(np.mean(slopes, 0) - exact) < 4.0 * error).all()
    assert (error < 0.05 * np.abs(exact).max()).all()


@pytest.mark.parametrize("outputs", [1, 2])
def test_pathwise_slope_is_unbiased_and_smooth(outputs):
    data, theta = problem(outputs, functions=1)
    exact = Objective(data, theta, with_prior=False).log_marginal_likelihood(theta.start[None])[1][0]
    each = [evidence(data, theta, seed=seed, estimator="pathwise") for seed in range(60)]
    slopes = [at.slope(theta.start).gradient for at in each]
    error = np.std(slopes, 0) / np.sqrt(len(slopes))
    assert (np.abs(np.mean(slopes, 0) - exact) < 4.0 * error).all()
    assert (error < 0.05 * np.abs(exact).max()).all()
    first = each[0].slope(theta.start)
    moved = [each[0].slope(theta.start + h, first).gradient - slopes[0] for h in (1e-3, 1e-4)]
    np.testing.assert_allclose(moved[0] / 1e-3, moved[1] / 1e-4, rtol=0.02, atol=0.02)


def test_slope_near_another_one_is_smooth():
    data, theta = problem()
    at = evidence(data, theta)
    first = at.slope(theta.start)
    steps = [1e-3, 1e-4]
    moved = [at.slope(theta.start + step, first).gradient - first.gradient for step in steps]
    np.testing.assert_allclose(moved[0] / steps[0], moved[1] / steps[1], rtol=0.02, atol=0.02)


def test_solver_answers_as_a_factor_does():
    rng = np.random.default_rng(1)
    root = rng.standard_normal((50, 50))
    K, D, b = root @ root.T, rng.uniform(0.5, 1.0, 50), rng.standard_normal((50, 300))
    solver = CertifiedSolver.of(
        Dense(torch.tensor(K)), torch.tensor(D), tolerance=1e-9, seed=0, rank=10
    ).measured()
    expected = np.linalg.solve(K + np.diag(D), b)
    right = torch.tensor(b)
    np.testing.assert_allclose(solver.solve(right), expected, rtol=0.0, atol=1e-7)
    np.testing.assert_allclose(solver.gram(right), b.T @ expected, rtol=0.0, atol=1e-9)
    np.testing.assert_allclose(solver.quadratic(right), np.sum(b * expected, 0), rtol=1e-12)
    found = solver.measured_determinant()
    assert abs(found.value - np.linalg.slogdet(K + np.diag(D))[1]) < 3.0 * found.standard_error


def test_a_quadratic_form_is_right_to_a_millionth_of_the_noise_however_loose_the_tolerance():
    rng = np.random.default_rng(1)
    root = rng.standard_normal((60, 60))
    K, b = root @ root.T, rng.standard_normal((60, 5))
    shift = torch.full((60,), 0.5, dtype=torch.float64)
    solver = CertifiedSolver.of(Dense(torch.tensor(K)), shift, tolerance=1e-2, seed=0, rank=5)
    expected = np.sum(b * np.linalg.solve(K + 0.5 * np.eye(60), b), 0)
    error = expected - solver.quadratic(torch.tensor(b)).numpy()
    assert (error >= -1e-10).all() and (error <= 1e-6 * 0.5).all()  # from below, within the certificate


def test_a_solve_that_cannot_be_certified_raises():
    K = torch.full((40, 40), 1e8) + torch.eye(40)
    b = torch.randn(40, 3, generator=torch.Generator().manual_seed(0))
    solver = CertifiedSolver.of(Dense(K), torch.full((40,), 1e-6), tolerance=1e-7, seed=0, rank=1)
    with pytest.raises(ConvergenceError, match=r"missed the tolerance 1e-07 .* largest relative residual"):
        solver.solve(b)


def test_without_noise_there_is_no_certificate():
    x = np.linspace(0.0, 1.0, 20)[:, None]
    with pytest.raises(InputError, match=r"need a noise above 0 in every row, got 0: .* solver='cholesky'"):
        GPRegressor("rbf", solver="cg", noise=0.0).fit(x, x[:, 0])


@pytest.fixture(scope="module")
def table():
    rng = np.random.default_rng(5)
    X = rng.uniform(-3.0, 3.0, (1300, 2))
    return X, np.sin(2.0 * X[:, 0]) + 0.5 * X[:, 1] + 0.2 * rng.standard_normal(1300)


@pytest.fixture(scope="module")
def models(table):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fitting, "free_memory", lambda device: 0)  # not even one factorisation fits
        return _models(table)


def _models(table):
    return [
        GPRegressor("matern32", solver=solver, random_state=0).fit(*table) for solver in ("cholesky", "cg")
    ]


def test_training_by_solves_ends_where_factorising_does(models):
    exact, solved = models
    assert solved.fit_report_.converged and solved.fit_report_.residual <= TRAINING_TOLERANCE
    at = exact.log_marginal_likelihood(solved.theta_)
    assert exact.log_marginal_likelihood_ - at < 1.0
    assert abs(solved.log_marginal_likelihood_ - at) < 3.0 * solved.fit_report_.standard_error
    assert "largest relative residual" in str(solved.fit_report_)


def test_rounding_does_not_decide_where_a_search_ends(table, models):
    """Two threads add in another order than one."""
    kept = torch.get_num_threads()
    found = []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            found.append(GPRegressor("matern32", solver="cg", random_state=0).fit(*table))
    finally:
        torch.set_num_threads(kept)
    np.testing.assert_allclose(found[0].theta_, found[1].theta_, atol=1e-3)


def test_predictions_by_solves_are_those_of_the_factor_at_the_same_hyperparameters(table, models):
    X, y = table
    solved = models[1]
    twin = GPRegressor(solved.kernel_, noise=solved.noise_, priors=None)
    for name in [name for name, _ in twin.kernel.named_parameters()]:
        part, _, leaf = name.rpartition(".")
        twin.kernel.get_submodule(part).fixed = (leaf.removeprefix("raw_"),)
        twin.kernel.get_submodule(part)._freeze()
    twin.fit(X, y)
    new = np.random.default_rng(6).uniform(-4.0, 4.0, (50, 2))
    for include_noise in (True, False):
        mean, sd = solved.predict(new, return_std=True, include_noise=include_noise)
        expected, expected_sd = twin.predict(new, return_std=True, include_noise=include_noise)
        np.testing.assert_allclose(mean, expected, rtol=0.0, atol=5e-6)  # residuals of 1e-6
        np.testing.assert_allclose(sd**2, expected_sd**2, rtol=1e-9, atol=2e-6 * solved.noise_)
    joint = solved.predict(new[:5], return_cov=True)[1]
    np.testing.assert_allclose(joint, twin.predict(new[:5], return_cov=True)[1], rtol=0.0, atol=1e-7)


def test_one_factorisation_for_the_predictions_where_it_fits(table, models):
    model = GPRegressor("matern32", solver="cg", random_state=0).fit(*table)
    assert isinstance(model.posterior_.factor, CholeskyFactor)
    np.testing.assert_array_equal(model.theta_, models[1].theta_)
    exact = models[0].log_marginal_likelihood(model.theta_)
    assert model.log_marginal_likelihood_ == pytest.approx(exact, rel=1e-9)
    assert model.fit_report_.standard_error == 0.0 < model.fit_report_.residual


def test_more_rows(table, monkeypatch):
    X, y = table
    monkeypatch.setattr(fitting, "free_memory", lambda device: 0)
    some = GPRegressor("rbf(1.0)", solver="cg", random_state=0).fit(X[:400], y[:400])
    some.update(X[400:500], y[400:500])
    mean, sd = some.predict(X[:20], return_std=True)
    assert np.abs(mean - y[:20]).mean() < 0.3 and (sd > 0.0).all()
    assert some.posterior_.factor.n == 500


def test_saved_and_pickled_models_predict_the_same(table, models, tmp_path):
    new = table[0][:30] + 0.1
    expected = models[1].predict(new, return_std=True)
    models[1].save(tmp_path / "model.gp")
    again = GPRegressor.load(tmp_path / "model.gp")
    for copy in (again, pickle.loads(pickle.dumps(models[1]))):
        for found, before in zip(copy.predict(new, return_std=True), expected, strict=True):
            np.testing.assert_array_equal(found, before)
    assert again.log_marginal_likelihood_ == models[1].log_marginal_likelihood_
    assert again.fit_report_ == models[1].fit_report_


def test_an_interrupt_leaves_the_best_so_far(table, monkeypatch):
    slope, calls = SolvedEvidence.slope, []

    def interrupted(self, point, near=None):
        calls.append(point)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return slope(self, point, near)

    monkeypatch.setattr(SolvedEvidence, "slope", interrupted)
    monkeypatch.setattr("nonparam.newton.FLAT", 0.0)
    with pytest.warns(ConvergenceWarning, match="interrupted: these are the hyperparameters"):
        model = GPRegressor("matern32", solver="cg", random_state=0).fit(*table)
    np.testing.assert_array_equal(model.theta_, calls[0])  # the last whose gradient is certified
    assert not model.fit_report_.converged and np.isfinite(model.predict(table[0][:3])).all()


def test_outputs_of_tiny_units_are_solved_in_float64():
    rng = np.random.default_rng(0)
    X = rng.uniform(0.0, 5.0, (60, 1))
    y = np.sin(X[:, 0]) + 0.1 * rng.standard_normal(60)
    tiny = GPRegressor(solver="cg", random_state=0).fit(X, 1e-22 * y)
    expected = GPRegressor(solver="cg", random_state=0).fit(X, y)
    np.testing.assert_allclose(1e22 * tiny.predict(X), expected.predict(X), atol=0.02)


def test_nothing_is_left_to_learn(table):
    """Known noise and a kernel whose every hyperparameter is fixed: one certified solve."""
    kernel = Scale(RBF(0.5, fixed=("lengthscale",)), 1.0, fixed=("outputscale",))
    exact, solved = (
        GPRegressor(kernel, noise=0.01, solver=s, random_state=0).fit(*table) for s in ("cholesky", "cg")
    )
    assert len(solved.theta_) == 0 and solved.fit_report_.converged
    np.testing.assert_allclose(solved.predict(table[0]), exact.predict(table[0]), atol=1e-6)
