"""Every solver of a panel against Kronecker products written out, and their derivatives by differences."""

import numpy as np
import pytest
import torch
from multioutput_cases import (
    matrix_of,
    naive_basis,
    naive_covariance,
    naive_log_density,
    panel_of,
    random_parts,
    series,
)

from nonparam.errors import InputError, NotPositiveDefiniteError
from nonparam.kernels import RBF, Matern, covariance, with_amplitude
from nonparam.multioutput.coregionalisation import PanelTheta
from nonparam.multioutput.fitting import plan_panel
from nonparam.multioutput.kronecker_panel import KroneckerPanel, kronecker_evidence
from nonparam.multioutput.latent_kronecker import MaskedKronecker, SolvedPanel, latent_solver
from nonparam.multioutput.masked_cholesky import masked_covariance, masked_evidence
from nonparam.multioutput.objective import PanelObjective
from nonparam.scales import initialise, measure
from nonparam.solvers.operator import Dense

N, T = 15, 3
X, COMPLETE, GAPPY = series(N, T, gaps=0.3)
B, NOISE = random_parts(T)
K = torch.from_numpy(matrix_of(1.3 * RBF([1.0, 2.0]), X))
TABLES = {"complete": COMPLETE, "gappy": GAPPY}


def theta_of(x, table, kernel, rank=2):
    scales = measure(x, np.nan_to_num(table), np.ones(len(x)), normalize_y=False)
    kernel = with_amplitude(kernel).double()
    initialise(kernel, scales)
    return PanelTheta(kernel, scales, np.eye(table.shape[1]), rank, None, informative=True)


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_the_covariance_is_that_of_the_entries_that_are_left(table):
    found = masked_covariance(panel_of(X, table), B, NOISE, K)
    np.testing.assert_allclose(found.numpy(), naive_covariance(B, NOISE, K, table)[0], rtol=1e-13)


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_the_operator_of_a_panel_multiplies_as_its_matrix(table):
    panel = panel_of(X, table)
    a = naive_covariance(B, torch.zeros(T), K, table)[0]
    operator = MaskedKronecker(panel, B, Dense(K))
    v = np.random.default_rng(0).standard_normal((len(a), 4))
    np.testing.assert_allclose((operator @ torch.from_numpy(v)).numpy(), a @ v, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(operator.diagonal().numpy(), np.diag(a), rtol=1e-13)
    index = torch.tensor([0, len(a) - 1, 3, 3])
    np.testing.assert_allclose(operator.rows(index).numpy(), a[index], rtol=1e-13)


@pytest.mark.parametrize(
    ("evidence", "table"),
    [(masked_evidence, COMPLETE), (masked_evidence, GAPPY), (kronecker_evidence, COMPLETE)],
    ids=["cholesky", "cholesky, gappy", "kronecker"],
)
def test_the_evidence_and_its_derivatives(evidence, table):
    panel = panel_of(X, table)
    found = evidence(panel, B, NOISE, K)

    def value(b, noise, k):
        a, y, _ = naive_covariance(b, noise, k, table)
        return naive_log_density(a, y, naive_basis(table))

    assert found.value == pytest.approx(value(B, NOISE, K), abs=1e-9)
    rng, h, (b, noise, k) = np.random.default_rng(1), 1e-5, (part.numpy() for part in (B, NOISE, K))
    for _ in range(3):  # along random symmetric directions
        db, dk = (part + part.T for part in (rng.standard_normal((T, T)), 0.1 * rng.standard_normal((N, N))))
        dn = 0.01 * rng.standard_normal(T)
        ahead, behind = (value(b + s * db, noise + s * dn, k + s * dk) for s in (h, -h))
        slope = (found.b.numpy() * db).sum() + (found.noise.numpy() * dn).sum()
        slope += (found.k.triu().numpy() * dk).sum()
        assert slope == pytest.approx((ahead - behind) / (2.0 * h), rel=1e-5, abs=1e-5)


def test_the_factor_of_a_complete_panel_answers_as_the_inverse():
    a, _, _ = naive_covariance(B, NOISE, K, COMPLETE)
    factor = KroneckerPanel.of(B, NOISE, K)
    b = np.random.default_rng(0).standard_normal((N * T, 4))
    solved = np.linalg.solve(a, b)
    np.testing.assert_allclose(factor.solve(torch.from_numpy(b)).numpy(), solved, atol=1e-9)
    np.testing.assert_allclose(factor.gram(torch.from_numpy(b)).numpy(), b.T @ solved, atol=1e-9)
    assert factor.log_determinant() == pytest.approx(np.linalg.slogdet(a)[1], abs=1e-10)
    cross = torch.from_numpy(matrix_of(RBF([1.0, 2.0]), np.r_[X, X + 0.3])[:N, N:])
    wide = np.kron(B, cross)
    naive = np.diag(wide.T @ np.linalg.solve(a, wide)).reshape(T, -1).T
    np.testing.assert_allclose(factor.explained(B, cross).numpy(), naive, atol=1e-9)


def test_noises_that_differ_by_ten_decades():
    noise = torch.tensor([1e-7, 1.0, 1e3], dtype=torch.float64)
    one, other = (
        kronecker_evidence(panel_of(X, COMPLETE), B, noise, K),
        masked_evidence(panel_of(X, COMPLETE), B, noise, K),
    )
    assert one.value == pytest.approx(other.value, rel=1e-7)
    np.testing.assert_allclose(one.noise, other.noise, rtol=1e-5)


def test_a_matrix_that_is_no_covariance_is_refused():
    with pytest.raises(NotPositiveDefiniteError, match="has the eigenvalue"):
        KroneckerPanel.of(B, NOISE, K - 2.0 * torch.eye(N, dtype=torch.float64))
    with pytest.raises(NotPositiveDefiniteError, match="not finite"):
        KroneckerPanel.of(B * float("nan"), NOISE, K)


@pytest.mark.parametrize("solver", ["cholesky", "kronecker"])
def test_the_gradient_in_the_hyperparameters(solver):
    theta = theta_of(X, COMPLETE, Matern(nu=2.5))
    table = COMPLETE if solver == "kronecker" else GAPPY
    objective = PanelObjective(panel_of(X, table, "linear"), theta, True, solver)
    point = theta.start + 0.1 * np.random.default_rng(2).standard_normal(theta.size)
    _, gradient = objective.negative(point[None], np.zeros(1, dtype=int))
    steps = 1e-5 * np.eye(theta.size)
    which = np.zeros(theta.size, dtype=int)
    ahead, behind = (objective.negative(point + s * steps, which)[0] for s in (1.0, -1.0))
    np.testing.assert_allclose(gradient[0], (ahead - behind) / 2e-5, rtol=1e-5, atol=1e-5)


def test_hyperparameters_beyond_floats_are_nowhere():
    theta = theta_of(X, COMPLETE, RBF())
    objective = PanelObjective(panel_of(X, GAPPY), theta, False, "cholesky")
    for far in (2000.0, -2000.0):
        value, gradient = objective.log_marginal_likelihood(np.full(theta.size, far))
        assert value == -np.inf and not gradient.any()


def test_solves_and_their_determinant_are_certified():
    panel, kernel = panel_of(X, GAPPY), 1.3 * RBF([1.0, 2.0])
    a, y, _ = naive_covariance(B, NOISE, K, GAPPY)
    solver = latent_solver(panel, kernel, B, NOISE, dtype=torch.float64, tolerance=1e-9, rank=5, seed=0)
    np.testing.assert_allclose(solver.solve(panel.y)[:, 0].numpy(), np.linalg.solve(a, y), rtol=1e-6)
    found = solver.measured().measured_determinant()
    assert abs(found.value - np.linalg.slogdet(a)[1]) < 4.0 * found.standard_error


def test_the_gradient_by_solves_has_the_exact_one_for_its_mean():
    x, _, gappy = series(60, T, gaps=0.3, seed=4)
    theta = theta_of(x, gappy, RBF())
    panel = panel_of(x, gappy)
    exact = PanelObjective(panel, theta, True, "cholesky").negative(theta.start[None], np.zeros(1, dtype=int))
    drawn = []
    for seed in range(40):
        evidence = SolvedPanel.of(
            panel,
            theta,
            with_prior=True,
            dtype=torch.float64,
            tolerance=1e-8,
            num_probes=8,
            rank=10,
            seed=seed,
        )
        drawn.append(evidence.slope(theta.start).gradient)
    error = np.std(drawn, 0, ddof=1) / np.sqrt(len(drawn))
    deviation = np.mean(drawn, 0) + exact[1][0]
    assert (np.abs(deviation) < 4.5 * error + 1e-6).all()
    assert (error < 0.2 * np.abs(exact[1]).max()).all()


def test_pairs_of_vectors_pull_the_covariance_back_to_the_hyperparameters():
    theta = theta_of(X, GAPPY, RBF())
    panel = panel_of(X, GAPPY)
    evidence = SolvedPanel.of(
        panel,
        theta,
        with_prior=False,
        dtype=torch.float64,
        tolerance=1e-8,
        num_probes=1,
        rank=5,
        seed=0,
    )
    rng = np.random.default_rng(0)
    u, v = (torch.from_numpy(rng.standard_normal((panel.count, 2))) for _ in range(2))

    def form(point):
        b, noise = theta.tensors(point, panel.x)
        with torch.no_grad():
            k = covariance(theta.kernel, panel.x)
        return float((u * (masked_covariance(panel, b, noise, k) @ v)).sum())

    point, steps = theta.start, 1e-6 * np.eye(theta.size)
    differences = [(form(point + step) - form(point - step)) / 2e-6 for step in steps]
    slope = evidence._gather(evidence.solver(point), u, v, point)
    np.testing.assert_allclose(slope, differences, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("solver", "table", "expected"),
    [
        ("auto", COMPLETE, "kronecker"),
        ("auto", GAPPY, "cholesky"),
        ("auto", COMPLETE[:, :1], "cholesky"),
        ("kronecker", COMPLETE[:, :1], "kronecker"),
        ("cholesky", COMPLETE, "cholesky"),
        ("cg", GAPPY, "cg"),
    ],
)
def test_the_plan(solver, table, expected):
    plan = plan_panel(solver, panel_of(X, table))
    assert plan.solver == expected and plan.n == np.isfinite(table).sum()


def test_many_entries_with_gaps_are_solved_for():
    rng = np.random.default_rng(0)
    x, table = rng.standard_normal((1500, 1)), rng.standard_normal((1500, 3))
    table[0, 0] = np.nan
    plan = plan_panel("auto", panel_of(x, table))
    assert plan.solver == "cg" and plan.otherwise.solver == "cholesky"
    assert plan_panel("auto", panel_of(x[1:], table[1:])).solver == "kronecker"


def test_gaps_have_no_kronecker_product():
    with pytest.raises(InputError, match="needs a kernel and rows of that structure"):
        plan_panel("kronecker", panel_of(X, GAPPY))


def test_rows_of_a_panel_are_a_panel():
    panel = panel_of(X, GAPPY)
    index = torch.tensor([4, 0, 7])
    some = panel.rows(index)
    np.testing.assert_array_equal(some.table.numpy(), GAPPY[index])
    full = some.scattered(some.y)
    np.testing.assert_array_equal(full[..., 0].T.numpy(), np.nan_to_num(GAPPY[index]))
    np.testing.assert_array_equal(some.gathered(full).numpy(), some.y.numpy())
    assert covariance(RBF(1.0), some.x).shape == (3, 3)
