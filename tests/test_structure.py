"""Structure: each algorithm against dense Cholesky, where it is found, and what is said where it is not."""

import numpy as np
import pytest
import torch

from nonparam import GPRegressor
from nonparam.errors import ConvergenceError, InputError, InsufficientMemoryError
from nonparam.kernels import RBF, Linear, Matern, Periodic, Scale, WhiteNoise
from nonparam.kernels.grammar import parse
from nonparam.objective import Data, Objective
from nonparam.solvers.plan import FASTER_FROM, Plan, choose
from nonparam.structure import structure_for, structure_of
from nonparam.structured import structured_factor, with_structure
from nonparam.theta import Theta

GRID = np.stack(np.meshgrid([0.0, 0.5, 0.7, 1.9], [3.0, 4.0, 4.5, 6.0, 8.0], indexing="ij"), -1).reshape(
    -1, 2
)
CUBE = np.stack(np.meshgrid([0.0, 0.4, 1.1], [1.0, 2.0], [0.0, 3.0, 3.5], indexing="ij"), -1).reshape(-1, 3)


def squares(rows: int, columns: int) -> np.ndarray:
    return np.stack(np.meshgrid(np.arange(1.0 * rows), np.arange(1.0 * columns)), -1).reshape(-1, 2)


def shuffled(x: np.ndarray) -> np.ndarray:
    return np.random.default_rng(5).permutation(x)


def irregular(n: int, columns: int = 1) -> np.ndarray:
    x = np.random.default_rng(2).uniform(0.0, 10.0, (n, columns))
    x[n // 2 :: 7, 0] = x[0, 0]  # repeated places
    return x


def even(n: int) -> np.ndarray:
    return np.linspace(-1.0, 4.0, n)[:, None]


CASES = {
    "one term": ("state_space", 2.0 * Matern(3.0, nu=1.5), irregular(60)),
    "three terms": (
        "state_space",
        2.0 * (0.3 * Matern(3.0, nu=2.5) + Matern(0.4, nu=0.5))
        + 0.5 * Matern(1.0, nu=1.5, fixed=("lengthscale",)),
        irregular(60),
    ),
    "one active column": (
        "state_space",
        2.0 * Matern(3.0, nu=2.5, active_dims=(1,)) + Matern(1.0, nu=0.5, active_dims=(1,)),
        irregular(50, 3)[:, [1, 0, 2]],
    ),
    "grid": ("toeplitz", 2.0 * RBF(0.6), even(61)),
    "shuffled grid": ("toeplitz", 2.0 * Matern(0.6) + 0.7 * Periodic(1.3, 0.8), shuffled(even(50))),
    "three points": ("toeplitz", 2.0 * RBF(0.6), even(3)),
    "product grid": ("kronecker", 2.0 * RBF([0.6, 2.0]), GRID),
    "shuffled product grid": ("kronecker", parse("3 * rbf(1.1) * periodic(2.0, 0.9)"), shuffled(GRID)),
    "groups": (
        "kronecker",
        2.0 * (Matern([0.6, 2.0], active_dims=(0, 2)) + 0.1) * Linear(0.5, center=1.0, active_dims=(1,)),
        shuffled(CUBE),
    ),
}
EVERY = pytest.mark.parametrize("name", CASES)


def problem(
    name: str, *, outputs: int = 2, functions: int = 2, weight: float = 1.0
) -> tuple[str, Data, Theta]:
    solver, kernel, x = CASES[name]
    rng = np.random.default_rng(1)
    y = np.sin(x[:, :1]) + 0.3 * rng.standard_normal((len(x), outputs))
    basis = np.c_[np.ones(len(x)), x][:, :functions]
    parts = (torch.tensor(part) for part in (x, y, basis, np.full(len(x), weight)))
    return solver, Data(*parts, noise=None), Theta(kernel, {}, 0.2)


@EVERY
@pytest.mark.parametrize(("outputs", "functions", "weight"), [(1, 0, 1.0), (3, 2, 2.5)])
def test_evidence_and_gradient_are_those_of_cholesky(name, outputs, functions, weight):
    solver, data, theta = problem(name, outputs=outputs, functions=functions, weight=weight)
    dense = Objective(data, theta, with_prior=False)
    found = with_structure(dense, solver)
    assert type(found) is not Objective
    for point in (theta.start, theta.start + 0.3):
        expected, slopes, _ = dense.log_marginal_likelihood(point[None])
        value, gradient, jitter = found.log_marginal_likelihood(point[None])
        np.testing.assert_allclose(value, expected, rtol=1e-8)
        np.testing.assert_allclose(gradient, slopes, rtol=1e-8, atol=1e-8 * np.abs(slopes).max())
        assert jitter == 0.0
        assert found.log_marginal_likelihood(point[None], gradient=False)[0] == value


@EVERY
def test_predictions_are_those_of_cholesky(name):
    solver, kernel, x = CASES[name]
    rng = np.random.default_rng(3)
    y = np.sin(x[:, :1]) + 0.3 * rng.standard_normal((len(x), 2))
    settings = {"mean": "linear", "noise": 0.2, "random_state": 0}
    for parameter in kernel.parameters():
        parameter.requires_grad_(False)
    model, dense = (GPRegressor(kernel, solver=s, **settings).fit(x, y) for s in (solver, "cholesky"))
    assert model.posterior_.solver == solver
    new = np.concatenate([x[:4], x[:3] + 0.1, x[-2:] - 40.0])
    for ask in ("return_std", "return_cov"):
        found, expected = (m.predict(new, include_noise=False, **{ask: True}) for m in (model, dense))
        for part, truth in zip(found, expected, strict=True):
            np.testing.assert_allclose(part, truth, rtol=1e-8, atol=1e-8 * np.abs(truth).max())
    np.testing.assert_allclose(model.log_marginal_likelihood_, dense.log_marginal_likelihood_, rtol=1e-8)


def test_rows_may_have_a_noise_each_in_a_state_space():
    x, rng = irregular(40), np.random.default_rng(4)
    y, noise, weights = np.sin(x[:, 0]), rng.uniform(0.1, 1.0, 40), rng.uniform(0.5, 2.0, 40)
    weights[::5] = 0.0
    model, dense = (
        GPRegressor("matern32 + matern12", solver=s, noise=noise).fit(x, y, weights)
        for s in ("state_space", "cholesky")
    )
    np.testing.assert_allclose(model.theta_, dense.theta_, atol=1e-5)
    np.testing.assert_allclose(model.predict(x), dense.predict(x), atol=1e-6)


@pytest.mark.parametrize("name", ["one term", "grid", "product grid"])
def test_search_finds_the_optimum_of_cholesky(name):
    solver, _, x = CASES[name]
    y = np.sin(2.0 * x[:, 0]) + 0.2 * np.random.default_rng(0).standard_normal(len(x))
    model, dense = (
        GPRegressor("matern32" if name == "one term" else "rbf", solver=s).fit(x, y)
        for s in (solver, "cholesky")
    )
    np.testing.assert_allclose(model.log_marginal_likelihood_, dense.log_marginal_likelihood_, rtol=1e-8)
    value, gradient = model.log_marginal_likelihood(dense.theta_, eval_gradient=True)
    expected, slopes = dense.log_marginal_likelihood(eval_gradient=True)
    np.testing.assert_allclose(value, expected, rtol=1e-8)
    np.testing.assert_allclose(gradient, slopes, atol=1e-6)
    beyond = np.where(np.array(model.theta_names_) == "noise", 0.0, 800.0)  # what a float holds
    assert model.log_marginal_likelihood(beyond) == -np.inf


@pytest.mark.parametrize("name", ["one term", "grid", "product grid"])
def test_saved_models_predict_the_same(name, tmp_path):
    solver, _, x = CASES[name]
    model = GPRegressor("matern32" if name == "one term" else "rbf", solver=solver).fit(x, np.sin(x[:, 0]))
    model.save(tmp_path / "model")
    again = GPRegressor.load(tmp_path / "model")
    assert again.posterior_.solver == solver
    for found, expected in zip(
        again.predict(x, return_std=True), model.predict(x, return_std=True), strict=True
    ):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("name", "more", "left"),
    [
        ("one term", [[3.3], [12.0]], "state_space"),
        ("grid", [[4.0 + 5.0 / 60.0], [4.0 + 10.0 / 60.0]], "toeplitz"),
        ("grid", [[9.0]], "cholesky"),
        ("product grid", [[0.1, 0.1]], "cholesky"),
    ],
)
def test_update_conditions_anew(name, more, left):
    solver, _, x = CASES[name]
    kernel = "matern32" if name == "one term" else "rbf"
    model = GPRegressor(kernel, solver=solver).fit(x, np.sin(x[:, 0]))
    dense = GPRegressor(model.kernel_, solver="cholesky", noise=model.noise_, mean="constant")
    for parameter in dense.kernel.parameters():
        parameter.requires_grad_(False)
    model.update(more, np.ones(len(more)))
    assert model.posterior_.solver == left
    assert {"cholesky": "Cholesky", "toeplitz": "Levinson", "state_space": "Kalman"}[
        left
    ] in model.fit_report_.plan
    dense.fit(np.concatenate([x, more]), np.append(np.sin(x[:, 0]), np.ones(len(more))))
    for found, expected in zip(
        model.predict(x, return_std=True), dense.predict(x, return_std=True), strict=True
    ):
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-8)


# what is found ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("formula", "x", "solver"),
    [
        ("matern32 + matern12", irregular(30), "state_space"),
        ("2 * (matern52 + 3 * matern12)", even(30), "state_space"),
        ("rbf", even(30), "toeplitz"),
        ("rbf + periodic(1.0)", even(30), "toeplitz"),
        (
            "rbf * periodic(1.0)",
            squares(8, 9),
            "kronecker",
        ),
        ("rbf", irregular(30), None),
        ("matern32 + white", irregular(30), None),
        ("matern32 * matern12", irregular(30), None),
        ("matern32(active_dims=(0,)) + matern12(active_dims=(1,))", irregular(30, 2), None),
        ("matern32", irregular(30, 2), None),
        ("rbf + linear", even(30), None),
        ("rbf", squares(2, 30), None),
        ("rbf + 1", squares(8, 9), None),
        ("matern32", squares(8, 9), None),
    ],
)
def test_structure_of(formula, x, solver):
    ones = torch.ones(len(x), dtype=torch.float64)
    found = structure_of(parse(formula).double(), torch.tensor(shuffled(x)), ones)
    assert (None if found is None else found.solver) == solver


def test_no_structure_without_noise_or_for_kernels_of_others():
    import gpytorch

    x, ones = torch.tensor(even(30)), torch.ones(30, dtype=torch.float64)
    assert structure_of(gpytorch.kernels.RBFKernel(), x, ones) is None
    assert structure_of(RBF(), x, 0.0 * ones) is None
    assert structure_of(RBF(), x, ones + x[:, 0] ** 2) is None
    assert structure_for("cholesky", RBF(), x, ones) is None


@pytest.mark.parametrize(
    ("solver", "kernel", "x", "variances", "said"),
    [
        ("state_space", RBF(), even(5), 1.0, "needs a sum of terms matern12, matern32 and matern52, got rbf"),
        ("state_space", Matern(), irregular(9, 2), 1.0, r"one and the same column, got \[\(0, 1\)\]"),
        ("state_space", Matern(active_dims=(3,)), even(5), 1.0, r"active_dims are \[3\].*only 1 columns"),
        ("state_space", Matern(), even(5), 0.0, "needs a noise above 0 in every row, got 0"),
        ("toeplitz", RBF(), irregular(9), 1.0, "needs regularly spaced rows of one column"),
        ("toeplitz", RBF(), GRID, 1.0, "needs regularly spaced rows of one column"),
        ("toeplitz", Linear(), even(5), 1.0, "needs a stationary kernel of this package, got linear"),
        ("toeplitz", RBF(), even(5), [1.0, 1.0, 2.0, 1.0, 1.0], "the same noise variance and weight"),
        ("kronecker", RBF(), even(5), 1.0, r"two groups of columns at least, got the groups \[\(0,\)\]"),
        ("kronecker", Matern(), GRID, 1.0, r"two groups of columns at least, got the groups \[\(0, 1\)\]"),
        ("kronecker", RBF(), GRID[1:], 1.0, "needs each of 4 x 5 combinations of places once, got 19 rows"),
        ("kronecker", RBF(), np.r_[GRID[1:], GRID[-1:]], 1.0, "combinations of places once, got 20 rows"),
        ("kronecker", RBF() + WhiteNoise(), GRID, 1.0, "none of them white noise"),
        ("kronecker", RBF(), GRID, np.arange(1.0, 21.0), "the same noise variance and weight"),
    ],
)
def test_what_is_missing(solver, kernel, x, variances, said):
    with pytest.raises(InputError, match=said):
        structure_for(solver, kernel, torch.tensor(x), torch.tensor(variances).double().expand(len(x)))


def test_a_named_solver_is_refused_by_fit():
    with pytest.raises(InputError, match="solver='kronecker' needs a kernel that is a product"):
        GPRegressor("rbf", solver="kronecker").fit(even(5), even(5)[:, 0])


@pytest.mark.parametrize("size", [350.0, 600.0, -600.0])
@EVERY
def test_numbers_beyond_a_float_are_minus_infinity(name, size):
    solver, data, theta = problem(name)
    objective = with_structure(Objective(data, theta, with_prior=False), solver)
    points = [size * row for row in np.eye(len(theta.start))] + [np.full(len(theta.start), size)]
    for point in points:
        value, gradient = objective.evaluate(point, gradient=True)
        assert np.isfinite(gradient).all()
        assert np.isfinite(value) or (value == -np.inf and not gradient.any())


@pytest.mark.parametrize("error", [InputError("not finite"), FloatingPointError("overflow")], ids=repr)
def test_numbers_that_an_algorithm_refuses_are_minus_infinity(error, monkeypatch):
    def refuse(*arguments, **named):
        raise error

    solver, data, theta = problem("one term")
    objective = with_structure(Objective(data, theta, with_prior=False), solver)
    monkeypatch.setattr("nonparam.structured.fit_mean", refuse)
    value, gradient = objective.evaluate(theta.start, gradient=True)
    assert value == -np.inf and not gradient.any()


def test_a_smoother_that_misses_its_tolerance_names_no_preconditioner(monkeypatch):
    monkeypatch.setattr("nonparam.solvers.structured.TOLERANCE", 0.0)
    solver, data, theta = problem("one term")
    structure = structure_for(solver, theta.kernel, data.x, data.noise_variances(1.0))
    factor = structured_factor(structure, theta.kernel, data, 0.1)
    with pytest.raises(ConvergenceError, match=r"Kalman.*: try a larger noise, or solver='cholesky'$"):
        factor.solve(data.y)


# the plan ---------------------------------------------------------------------------------------


def test_auto_takes_a_structure_where_it_is_faster():
    for solver, least in FASTER_FROM.items():
        structure = Plan(solver, least, 10**6)
        assert choose("auto", least, 5, structure=structure) == structure
        few = Plan(solver, least - 1, 10**6)
        assert choose("auto", least - 1, 5, structure=few).solver == "cholesky"
        assert choose(solver, least - 1, 5, structure=few) == few
        assert choose("cholesky", least, 5, structure=structure).solver == "cholesky"
        assert choose("auto", 20, 5, structure=Plan(solver, 20, 10**6)).solver == "cholesky"


def test_a_structure_asks_for_memory_too():
    with pytest.raises(
        InsufficientMemoryError, match=r"Kalman filter and smoother on 9,999 rows need about 2.0 MB"
    ):
        choose("auto", 9999, 5, available=10**6, structure=Plan("state_space", 9999, 2 * 10**6))
    with pytest.raises(InputError, match="solver='toeplitz' needs a kernel and rows of that structure"):
        choose("toeplitz", 10, 5)
    structure = Plan("toeplitz", 20, 100)  # small, and Cholesky does not fit
    assert choose("auto", 20, 5, available=10**4, structure=structure) == structure


@pytest.mark.parametrize(
    ("kernel", "x"),
    [
        (Matern(1.0, nu=1.5, fixed=("lengthscale",)), irregular(FASTER_FROM["state_space"])),
        (RBF(0.5, fixed=("lengthscale",)), even(FASTER_FROM["toeplitz"])),
        (RBF(2.0, fixed=("lengthscale",)), shuffled(squares(20, 20))),
    ],
)
def test_both_sides_of_the_threshold_agree(kernel, x):
    y = np.sin(x.sum(1)) + 0.3 * np.random.default_rng(0).standard_normal(len(x))
    kernel = Scale(kernel, 1.0, fixed=("outputscale",))
    structured, dense = (GPRegressor(kernel, solver=s, noise=0.1).fit(x, y) for s in ("auto", "cholesky"))
    assert structured.posterior_.solver in FASTER_FROM
    np.testing.assert_allclose(structured.log_marginal_likelihood_, dense.log_marginal_likelihood_, rtol=1e-6)
    found, expected = (model.predict(x[:9] + 0.1, return_std=True) for model in (structured, dense))
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)


# hard cases -------------------------------------------------------------------------------------


def test_a_tiny_noise_keeps_its_digits():
    """At 1e8 times the noise a smoother that runs one way only loses all digits of the variance."""
    x = np.sort(np.random.default_rng(0).uniform(0.0, 100.0, 300))[:, None]
    kernel = Scale(Matern(20.0, fixed=("lengthscale",)), 1.0, fixed=("outputscale",))
    new = np.linspace(-1.0, 101.0, 52)[:, None]
    found, expected = (
        GPRegressor(kernel, solver=s, noise=1e-8).fit(x, np.sin(x[:, 0])).predict(new, return_std=True)
        for s in ("state_space", "cholesky")
    )
    np.testing.assert_allclose(found[0], expected[0], atol=1e-7)
    np.testing.assert_allclose(found[1], expected[1], rtol=1e-4)


def test_an_indefinite_matrix_reports_its_jitter():
    kernel = Scale(RBF(3.0, fixed=("lengthscale",)), 1.0, fixed=("outputscale",))
    model = GPRegressor(kernel, solver="toeplitz", noise=1e-17).fit(even(60), even(60)[:, 0])
    assert 0.0 < model.fit_report_.jitter <= 1e-6
    np.testing.assert_allclose(model.predict(even(60)), even(60)[:, 0], atol=1e-3)


def test_a_long_series_is_fitted_and_predicted():
    rng = np.random.default_rng(0)
    x = rng.uniform(0.0, 100.0, (20_000, 1))
    y = np.sin(x[:, 0]) + 0.3 * rng.standard_normal(len(x))
    model = GPRegressor("matern32").fit(x, y)
    new = np.linspace(1.0, 99.0, 500)[:, None]
    mean, sd = model.predict(new, return_std=True, include_noise=False)
    assert abs(model.noise_ - 0.09) < 0.003
    assert (np.abs(mean - np.sin(new[:, 0])) < 5.0 * sd).all() and sd.max() < 0.1
