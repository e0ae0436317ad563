"""Laplace's approximation by conjugate gradients is that by factorisations, and says how sure it is."""

import numpy as np
import pytest
import torch

from nonparam import GPClassifier, GPRegressor
from nonparam.errors import ConvergenceError, InputError, InsufficientMemoryError
from nonparam.kernels import RBF
from nonparam.latent import plan, solved_laplace
from nonparam.latent.approximation import Observations
from nonparam.latent.laplace import laplace_mode
from nonparam.latent.softmax_laplace import softmax_laplace
from nonparam.likelihoods import Bernoulli, Softmax
from nonparam.likelihoods.poisson import Poisson
from nonparam.solvers.certified import CertifiedSolver
from nonparam.solvers.operator import Dense, Sandwich

RNG = np.random.default_rng(4)
N = 150
X = torch.tensor(RNG.normal(size=(N, 2)))
NEW = torch.tensor(RNG.normal(size=(9, 2)))
KERNEL = (4.0 * RBF(1.0)).double()
WEIGHTS = torch.tensor(RNG.uniform(0.5, 2.0, N))
LATENT = 2.0 * X[:, 0] - X[:, 1]


def covariances():
    with torch.no_grad():
        return tuple(KERNEL(a, b).to_dense() for a, b in ((X, X), (X, NEW), (NEW, NEW)))


def observations(name):
    if name == "softmax":
        codes = (LATENT > -1.0).double() + (LATENT > 1.0)
        return Observations(codes[:, None], WEIGHTS, Softmax(3), torch.tensor([0.2, -0.3, 0.1]).double())
    level = torch.tensor([0.3]).double()
    if name == "bernoulli":
        return Observations((LATENT > 0.0).double()[:, None], WEIGHTS, Bernoulli(), level)
    counts = torch.tensor(RNG.poisson(np.exp(0.5 * LATENT.numpy())))[:, None]
    return Observations(counts.double(), WEIGHTS, Poisson(), level)


@pytest.mark.parametrize("name", ["bernoulli", "poisson", "softmax"])
def test_solves_and_factorisations_agree(name, monkeypatch):
    monkeypatch.setattr(solved_laplace, "RANK", 20)  # so that there is something left to estimate
    seen = observations(name)
    k, cross, prior = covariances()
    exact = (softmax_laplace if name == "softmax" else laplace_mode)([k], seen, gradient=False)
    found = solved_laplace.solved_laplace(Dense(k), seen, seed=0)
    assert 1e-4 < found.standard_error < 1.0 and 0.0 < found.residual <= solved_laplace.RESIDUAL
    assert abs(found.value - exact.value) < 4.0 * found.standard_error
    new = [cross], [torch.diagonal(prior)]
    for ours, theirs in zip(found.posterior.moments(*new), exact.posterior.moments(*new), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    rows, mean, variance = found.posterior.left_out()
    _, means, variances = exact.posterior.left_out()
    assert sorted(rows.tolist()) == list(range(N))
    torch.testing.assert_close(mean, means[rows], rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(variance, variances[rows], rtol=1e-3, atol=1e-4)


def test_a_sandwich_is_the_product_that_it_stands_for():
    k, _, _ = covariances()
    roots = torch.tensor(RNG.normal(size=(N, 3, 3)))
    roots = roots + roots.mT
    left = torch.block_diag(*roots)
    dense = left @ torch.kron(k, torch.eye(3).double()) @ left
    sandwich = Sandwich(Dense(k), roots)
    v = torch.tensor(RNG.normal(size=(3 * N, 4)))
    torch.testing.assert_close(sandwich @ v, dense @ v)
    torch.testing.assert_close(sandwich.diagonal(), torch.diagonal(dense))
    index = torch.tensor([0, 7, 3 * N - 1])
    torch.testing.assert_close(sandwich.rows(index), dense[index])
    assert sandwich.shape == dense.shape and sandwich.dtype == torch.float64


def test_forms_of_several_matrices():
    k, _, _ = covariances()
    solver = CertifiedSolver.of(Dense(k), torch.ones(N).double(), tolerance=1e-6, seed=0)
    b = torch.tensor(RNG.normal(size=(5, N, 3)))
    expected = b.mT @ torch.linalg.solve(k + torch.eye(N).double(), b)
    torch.testing.assert_close(solver.grams(b), expected, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(solver.gram(b[0]), expected[0], rtol=1e-6, atol=1e-6)
    quadratic = torch.diagonal(expected[0])
    torch.testing.assert_close(solver.quadratic(b[0]), quadratic, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("classes", [2, 3])
def test_a_classifier_by_solves_is_that_by_factorisations(classes):
    y = (LATENT > 0.0).long() if classes == 2 else (LATENT > -1.0).long() + (LATENT > 1.0)
    arguments = {"inference": "laplace", "random_state": 0}
    exact = GPClassifier("rbf", **arguments).fit(X, y)
    found = GPClassifier("rbf", solver="cg", **arguments).fit(X, y)
    np.testing.assert_array_equal(found.theta_, exact.theta_)
    np.testing.assert_allclose(found.predict_proba(NEW), exact.predict_proba(NEW), atol=2e-3)
    error = found.fit_report_.standard_error
    assert error < 0.1
    assert found.log_marginal_likelihood_ == pytest.approx(
        exact.log_marginal_likelihood_, abs=1e-5 + 4.0 * error
    )
    assert "conjugate gradients" in str(found.fit_report_) and "standard error" in str(found.fit_report_)
    assert found.log_marginal_likelihood() == pytest.approx(found.log_marginal_likelihood_, abs=1e-9)
    theirs = exact.conditional_log_marginal_likelihood()
    assert found.conditional_log_marginal_likelihood() == pytest.approx(theirs, abs=0.05)
    with pytest.raises(InputError, match="derivatives of the evidence are known where matrices are factor"):
        found.log_marginal_likelihood(found.theta_, eval_gradient=True)


def test_counts_by_solves_are_those_by_factorisations():
    y = RNG.poisson(np.exp(0.5 * LATENT.numpy()))
    arguments = {"likelihood": "poisson", "inference": "laplace", "random_state": 0}
    exact = GPRegressor("rbf", **arguments).fit(X, y)
    found = GPRegressor("rbf", solver="cg", **arguments).fit(X, y)
    for ours, theirs in zip(found.predict(NEW, True), exact.predict(NEW, True), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4)
    assert found.fit_report_.residual > 0.0
    assert GPRegressor("rbf", solver="cg", likelihood="poisson").fit(X, y).fit_report_.residual > 0.0


def test_what_solves_do_not_serve_is_refused():
    y = (LATENT > 0.0).long()
    for inference in ("variational", "dirichlet"):
        with pytest.raises(InputError, match=f"solver='cg' is of Laplace's approximation.*{inference!r}"):
            GPClassifier(solver="cg", inference=inference).fit(X, y)
    with pytest.raises(InputError, match="solver='cg' is of Laplace's approximation"):
        GPRegressor(solver="cg", likelihood="student_t").fit(X, LATENT)
    with pytest.raises(InputError, match=r"solver must be one of \('auto', 'cholesky', 'cg'\), got 'ski'"):
        GPClassifier(solver="ski").fit(X, y)
    with pytest.raises(InputError, match="solver must be one of"):
        GPRegressor(solver="ski", likelihood="poisson").fit(X, y)


def test_where_matrices_do_not_fit_solves_take_over(monkeypatch):
    def short(solver, n, matrices, device, **arguments):
        return choose(solver, n, matrices, device, available=10**9, **arguments)

    choose = plan.choose
    monkeypatch.setattr(plan, "choose", short)
    cpu = torch.device("cpu")
    assert plan.plan_labels("auto", "auto", 1000, 1, "constant", cpu)[1].solver == "cholesky"
    inference, planned = plan.plan_labels("auto", "auto", 10_000, 1, "constant", cpu)
    assert (inference, planned.solver) == ("laplace", "cg")
    with pytest.raises(InsufficientMemoryError, match="at most about"):
        plan.plan_labels("variational", "auto", 10_000, 1, "constant", cpu)
    assert plan.plan_functions("auto", "auto", 10_000, 1, True, cpu)[0] == "laplace"
    assert plan.plan_functions("auto", "auto", 1000, 1, True, cpu)[0] == "variational"
    with pytest.raises(InsufficientMemoryError, match="at most about"):
        plan.plan_functions("auto", "auto", 10_000, 2, False, cpu)


def test_a_mode_that_is_not_found_is_an_error(monkeypatch):
    monkeypatch.setattr(solved_laplace, "MAX_STEPS", 1)
    with pytest.raises(ConvergenceError, match="did not find the mode of the posterior in 1 steps"):
        solved_laplace.solved_laplace(Dense(covariances()[0]), observations("bernoulli"), seed=0)
