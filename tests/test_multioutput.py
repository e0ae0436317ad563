"""Several outputs that share information, against densities written out, other models, and hostile data."""

import numpy as np
import pytest
import torch
from multioutput_cases import (
    matrix_of,
    naive_basis,
    naive_covariance,
    naive_log_density,
    naive_prediction,
    series,
)
from scipy.stats import norm
from sklearn.exceptions import ConvergenceWarning, NotFittedError

from nonparam import GPRegressor, MultiOutputGPRegressor
from nonparam.errors import InputError
from nonparam.kernels import RBF, WhiteNoise
from nonparam.multioutput import fitting

N, T = 40, 3
X, COMPLETE, GAPPY = series(N, T, gaps=0.3)
NEW = np.random.default_rng(9).uniform(-2.0, 2.0, (7, 2))
TABLES = {"complete": COMPLETE, "gappy": GAPPY}


@pytest.fixture(scope="module", params=["complete", "gappy"])
def fitted(request):
    """A model of either table, and the table."""
    table = TABLES[request.param]
    return MultiOutputGPRegressor("rbf", rank=2).fit(X, table), table


def parts(model):
    return model.kernel_, model.coregionalisation_, model.noise_


# against the density written out --------------------------------------------------------------


def test_the_likelihood_is_the_density_of_the_observed_entries(fitted):
    model, table = fitted
    a, y, _ = naive_covariance(*parts(model)[1:], matrix_of(model.kernel_, X), table)
    assert model.log_marginal_likelihood_ == pytest.approx(
        naive_log_density(a, y, naive_basis(table)), abs=1e-7
    )
    value, gradient = model.log_marginal_likelihood(model.theta_, eval_gradient=True)
    assert value == pytest.approx(model.log_marginal_likelihood_, abs=1e-9)
    assert gradient.shape == model.theta_.shape == (len(model.theta_names_),)


def test_predictions_are_the_conditional_gaussian(fitted):
    model, table = fitted
    kernel, b, noise = parts(model)
    mean, covariance = naive_prediction(kernel, b, noise, X, table, NEW)
    found, sd = model.predict(NEW, return_std=True, include_noise=False)
    np.testing.assert_allclose(found, mean.reshape(T, -1).T, atol=1e-8)
    np.testing.assert_allclose(sd**2, np.diag(covariance).reshape(T, -1).T, atol=1e-8)
    np.testing.assert_allclose(model.predict(NEW), found, atol=1e-12)
    noisy = model.predict(NEW, return_std=True)[1]
    np.testing.assert_allclose(noisy**2, sd**2 + noise, atol=1e-10)
    _, joint = model.predict(NEW, return_cov=True)
    for o in range(T):
        some = slice(o * len(NEW), (o + 1) * len(NEW))
        expected = covariance[some, some] + noise[o] * np.eye(len(NEW))
        np.testing.assert_allclose(joint[..., o], expected, atol=1e-8)


def test_draws_have_the_joint_moments_of_rows_and_outputs(fitted):
    model, table = fitted
    mean, covariance = naive_prediction(*parts(model), X, table, NEW[:2])
    draws = model.sample_y(NEW[:2], 20_000, include_noise=False)
    flat = draws.transpose(1, 0, 2).reshape(2 * T, -1)
    spread = np.sqrt(np.diag(covariance))
    np.testing.assert_allclose(flat.mean(1), mean, atol=0.05 * spread.max())
    np.testing.assert_allclose(np.cov(flat), covariance, atol=0.05 * spread.max() ** 2)
    noisy = model.sample_y(NEW[:2], 20_000).transpose(1, 0, 2).reshape(2 * T, -1)
    np.testing.assert_allclose(noisy.var(1), np.diag(covariance) + np.repeat(model.noise_, 2), rtol=0.05)


def test_missing_entries_are_predicted_from_all_others():
    model = MultiOutputGPRegressor("rbf", rank=2).fit(X, GAPPY)
    filled, sd = model.impute(return_std=True)
    seen = np.isfinite(GAPPY)
    np.testing.assert_array_equal(filled[seen], GAPPY[seen])
    assert (sd[seen] == 0.0).all() and (sd[~seen] > 0.0).all()
    mean, covariance = naive_prediction(*parts(model), X, GAPPY, X)
    naive_sd = np.sqrt(np.diag(covariance).reshape(T, -1).T + model.noise_)
    np.testing.assert_allclose(filled[~seen], mean.reshape(T, -1).T[~seen], atol=1e-8)
    np.testing.assert_allclose(sd[~seen], naive_sd[~seen], atol=1e-8)
    without = model.impute(return_std=True, include_noise=False)[1]
    np.testing.assert_allclose(
        sd[~seen] ** 2 - without[~seen] ** 2, np.broadcast_to(model.noise_, (N, T))[~seen]
    )
    np.testing.assert_array_equal(model.impute(), filled)
    assert np.isnan(GAPPY).any()  # what was given is not filled in


def test_a_gap_is_filled_from_the_white_noise_that_outputs_share():
    """A term of the kernel that a row has one draw of ties its outputs; a new row has a draw of its own."""
    table = GAPPY.copy()
    kernel = RBF([1.0, 1.0], fixed=("lengthscale",)) + WhiteNoise(1.0, fixed=("variance",))
    model = MultiOutputGPRegressor(kernel, rank=2, priors=None, noise=0.01).fit(X, table)
    seen = np.isfinite(table)
    b, noise = model.coregionalisation_, model.noise_
    k = matrix_of(model.kernel_, X)
    a, y, where = naive_covariance(b, noise, k, table)
    h = naive_basis(table)
    weighted = np.linalg.solve(a, h)
    coefficients = np.linalg.solve(h.T @ weighted, weighted.T @ y)
    pulled = np.kron(b, k)[:, where] @ np.linalg.solve(a, y - h @ coefficients)
    expected = (np.repeat(coefficients, N) + pulled).reshape(T, N).T
    np.testing.assert_allclose(model.impute()[~seen], expected[~seen], atol=1e-7)
    assert np.abs(model.predict(X) - expected)[~seen].max() > 0.05


def test_quantiles_and_densities_are_those_of_gaussians(fitted):
    model, _ = fitted
    mean, sd = model.predict(NEW, return_std=True)
    quantiles = model.predict_quantiles(NEW, [0.1, 0.5])
    np.testing.assert_allclose(quantiles[..., 0], norm.ppf(0.1, mean, sd))
    np.testing.assert_allclose(quantiles[..., 1], mean)
    y = mean + 0.3
    y[0, 0] = np.nan
    found = model.log_predictive_density(NEW, y)
    assert np.isnan(found[0, 0])
    np.testing.assert_allclose(found[1:], norm.logpdf(y, mean, sd)[1:])


# solvers and special cases --------------------------------------------------------------------


def test_kronecker_and_cholesky_find_the_same_model():
    one, other = (MultiOutputGPRegressor(rank=2, solver=s).fit(X, COMPLETE) for s in ("auto", "cholesky"))
    assert "Kronecker" in one.fit_report_.plan and "Cholesky" in other.fit_report_.plan
    assert one.log_marginal_likelihood_ == pytest.approx(other.log_marginal_likelihood_, abs=1e-6)
    np.testing.assert_allclose(one.coregionalisation_, other.coregionalisation_, rtol=1e-3, atol=1e-4)
    for a, b in zip(one.predict(NEW, return_std=True), other.predict(NEW, return_std=True), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_conjugate_gradients_find_the_same_model(monkeypatch):
    monkeypatch.setattr(fitting, "factorises", lambda *_: False)
    x, _, gappy = series(80, T, gaps=0.3, seed=2)
    exact = MultiOutputGPRegressor(rank=2, solver="cholesky").fit(x, gappy)
    solved = MultiOutputGPRegressor(rank=2, solver="cg", random_state=0).fit(x, gappy)
    assert "conjugate gradients" in solved.fit_report_.plan and 0.0 < solved.fit_report_.residual < 1e-3
    assert exact.log_marginal_likelihood(solved.theta_) > exact.log_marginal_likelihood_ - 1.0
    error = solved.fit_report_.standard_error
    at = exact.log_marginal_likelihood(solved.theta_)
    assert error > 0.0 and abs(solved.log_marginal_likelihood_ - at) < 4.0 * error
    known = fitting.factorised(solved._objective, solved.theta_)
    new = torch.from_numpy(NEW)
    for a, b in zip(solved.posterior_.predict(new), known.predict(new), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
    np.testing.assert_allclose(
        solved.posterior_.predict_covariance(new, range(T)),
        known.predict_covariance(new, range(T)),
        atol=1e-5,
    )
    for a, b in zip(solved.impute(return_std=True), exact.impute(return_std=True), strict=True):
        np.testing.assert_allclose(a, b, atol=0.1)


@pytest.mark.parametrize("solver", ["kronecker", "cholesky"])
def test_a_search_of_many_rows_begins_with_some(monkeypatch, solver):
    x, complete, gappy = series(80, T, gaps=0.3, seed=2)
    table = complete if solver == "kronecker" else gappy
    whole = MultiOutputGPRegressor("rbf", solver=solver).fit(x, table)
    for name, value in {"SUBSET": 60, "SUBSET_ROWS": 30, "WHOLE_ROWS": 50, "SEARCHED": 100}.items():
        monkeypatch.setattr(fitting, name, value)
    begun = MultiOutputGPRegressor("rbf", solver=solver, random_state=0).fit(x, table)
    assert "promises next to nothing" in begun.fit_report_.message
    shortfall = whole.fit_report_.objective - begun.fit_report_.objective
    assert -1e-4 < shortfall < 0.1  # a step must promise 0.05 nats, by a curvature that is about right
    assert begun.fit_report_.evaluations < 0.5 * whole.fit_report_.evaluations


def test_solves_that_cannot_be_certified_give_way_to_a_factor(monkeypatch):
    def fail(*_):
        raise fitting.UNCERTIFIED[0]("no certificate")

    monkeypatch.setattr(fitting, "_by_solves", fail)
    monkeypatch.setattr(fitting, "SEARCHED", 50)
    model = MultiOutputGPRegressor("rbf", random_state=0).fit(X, GAPPY)
    assert "Cholesky" in model.fit_report_.plan and "were not certified" in model.fit_report_.plan
    with pytest.raises(fitting.UNCERTIFIED[0], match="no certificate"):
        MultiOutputGPRegressor("rbf", solver="cg").fit(X, GAPPY)


@pytest.mark.parametrize("mean", ["zero", "constant", "linear"])
@pytest.mark.parametrize("scale", [1.0, 1e6])
def test_one_output_is_a_gaussian_process_regression(mean, scale):
    y = scale * COMPLETE[:, 0] + scale
    alone = GPRegressor(mean=mean).fit(X, y)
    for shape in (y, y[:, None]):
        model = MultiOutputGPRegressor(mean=mean).fit(X, shape)
        assert model.log_marginal_likelihood_ == pytest.approx(alone.log_marginal_likelihood_, abs=1e-6)
        np.testing.assert_allclose(model.theta_, alone.theta_, atol=1e-5)
        assert model.predict(NEW).shape == ((7,) if shape.ndim == 1 else (7, 1))
        for a, b in zip(
            model.predict(NEW, return_std=True), alone.predict(NEW, return_std=True), strict=True
        ):
            np.testing.assert_allclose(a.reshape(-1), b, rtol=1e-6)
        a, b = model.predict(NEW, return_cov=True)[1], alone.predict(NEW, return_cov=True)[1]
        np.testing.assert_allclose(a.reshape(7, 7), b, rtol=1e-5, atol=1e-9 * scale**2)
        assert model.coregionalisation_ == [[1.0]] and model.correlation_ == [[1.0]]
    kronecker = MultiOutputGPRegressor(mean=mean, solver="kronecker").fit(X, y)
    assert kronecker.log_marginal_likelihood_ == pytest.approx(alone.log_marginal_likelihood_, abs=1e-6)


def test_outputs_that_share_nothing_are_regressions_of_their_own():
    model = MultiOutputGPRegressor("rbf", rank="full").fit(X, GAPPY)
    theta = model.theta_.copy()
    names = np.array(model.theta_names_)
    theta[[name.startswith("loadings") for name in names]] = 0.0
    theta[[name.startswith("own") for name in names]] = 0.7  # any: they are relative
    alone = 0.0
    for o, column in enumerate(GAPPY.T):
        seen, scale = np.isfinite(column), model.y_scale_[o]
        variance, *lengthscales = np.exp(theta[:3])
        kernel = variance * scale**2 * RBF(lengthscales, fixed=("lengthscale",))
        kernel.raw_outputscale.requires_grad_(False)
        noise = np.exp(theta[names == f"noise[{o}]"][0]) * scale**2
        alone += GPRegressor(kernel, noise=noise).fit(X[seen], column[seen]).log_marginal_likelihood_
    assert model.log_marginal_likelihood(theta) == pytest.approx(alone, abs=1e-8)


def test_outputs_in_another_order_are_the_same_model():
    order = [2, 0, 1]
    for table in TABLES.values():
        one, other = (MultiOutputGPRegressor("rbf").fit(X, y) for y in (table, table[:, order]))
        assert other.log_marginal_likelihood_ == pytest.approx(one.log_marginal_likelihood_, abs=1e-6)
        np.testing.assert_allclose(other.correlation_, one.correlation_[np.ix_(order, order)], atol=1e-4)
        np.testing.assert_allclose(other.predict(NEW), one.predict(NEW)[:, order], atol=1e-5)


def test_units_of_outputs_do_not_matter():
    units, shift = np.array([1e-9, 1.0, 1e12]), np.array([1e-9, 5.0, -1e12])
    one = MultiOutputGPRegressor("rbf").fit(X, GAPPY)
    other = MultiOutputGPRegressor("rbf").fit(X, GAPPY * units + shift)
    seen = np.isfinite(GAPPY).sum(0)
    change = seen @ np.log(units)
    assert other.log_marginal_likelihood_ == pytest.approx(one.log_marginal_likelihood_ - change, rel=1e-6)
    for a, b, moved in zip(
        one.predict(NEW, return_std=True), other.predict(NEW, return_std=True), (shift, 0.0), strict=True
    ):
        np.testing.assert_allclose((b - moved) / units, a, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(other.noise_ / units**2, one.noise_, rtol=1e-3)


def test_an_output_that_was_rarely_seen_is_known_from_the_others():
    x, y, _ = series(60, 2, seed=3)
    y[:, 1] = -2.0 * y[:, 0] + 3.0
    rare = y.copy()
    rare[8:, 1] = np.nan
    shared = MultiOutputGPRegressor("rbf").fit(x, rare)
    alone = GPRegressor("rbf").fit(x[:8], rare[:8, 1])
    errors = [
        np.sqrt(np.mean((found - y[8:, 1]) ** 2)) for found in (shared.impute()[8:, 1], alone.predict(x[8:]))
    ]
    assert errors[0] < 0.2 * errors[1]
    assert shared.correlation_[0, 1] < -0.95


def test_known_noise_is_kept():
    model = MultiOutputGPRegressor("rbf", noise=[0.1, 0.2, 0.3]).fit(X, GAPPY)
    np.testing.assert_array_equal(model.noise_, [0.1, 0.2, 0.3])
    a, y, _ = naive_covariance(model.coregionalisation_, model.noise_, matrix_of(model.kernel_, X), GAPPY)
    assert model.log_marginal_likelihood_ == pytest.approx(
        naive_log_density(a, y, naive_basis(GAPPY)), abs=1e-7
    )
    np.testing.assert_array_equal(
        MultiOutputGPRegressor("rbf", noise=0.1).fit(X, GAPPY).noise_, np.full(3, 0.1)
    )


def test_restarts_find_no_less_and_a_seed_repeats_itself():
    one = MultiOutputGPRegressor("rbf").fit(X, GAPPY)
    more, again = (
        MultiOutputGPRegressor("rbf", n_restarts=2, random_state=1).fit(X, GAPPY) for _ in range(2)
    )
    assert len(more.fit_report_.starts) == 3
    assert more.fit_report_.objective >= one.fit_report_.objective - 1e-6
    np.testing.assert_array_equal(more.theta_, again.theta_)


# nasty data -----------------------------------------------------------------------------------


def test_rows_without_any_observation_teach_nothing():
    table = GAPPY.copy()
    table[[0, 5]] = np.nan
    model = MultiOutputGPRegressor("rbf").fit(X, table)
    kept = np.isfinite(table).any(1)
    alone = MultiOutputGPRegressor("rbf").fit(X[kept], table[kept])
    np.testing.assert_allclose(model.predict(NEW), alone.predict(NEW), atol=1e-8)
    filled, sd = model.impute(return_std=True)
    expected = model.predict(X[[0, 5]], return_std=True)
    np.testing.assert_allclose(filled[[0, 5]], expected[0])
    np.testing.assert_allclose(sd[[0, 5]], expected[1])
    complete = COMPLETE.copy()
    complete[3] = np.nan
    assert "Kronecker" in MultiOutputGPRegressor("rbf").fit(X, complete).fit_report_.plan


def test_an_output_with_one_observation():
    table = COMPLETE.copy()
    table[1:, 2] = np.nan
    for mean in ("zero", "constant", "linear"):
        model = MultiOutputGPRegressor("rbf", mean=mean).fit(X, table)
        mean_, sd = model.predict(NEW, return_std=True)
        assert np.isfinite(mean_).all() and (sd > 0.0).all()


def test_outputs_that_no_row_has_together():
    table = COMPLETE[:, :2].copy()
    table[::2, 0], table[1::2, 1] = np.nan, np.nan
    model = MultiOutputGPRegressor("rbf").fit(X, table)
    assert np.isfinite(model.impute()).all() and np.isfinite(model.correlation_).all()


def test_rows_that_repeat_and_columns_that_are_constant():
    x, table = np.repeat(X, 2, 0), np.repeat(GAPPY, 2, 0)
    table[:, 1] = 4.0
    x = np.c_[x, np.ones(len(x))]
    model = MultiOutputGPRegressor("rbf", mean="linear").fit(x, table)
    mean, sd = model.predict(np.c_[NEW, np.ones(7)], return_std=True)
    np.testing.assert_allclose(mean[:, 1], 4.0, atol=0.05)
    assert np.isfinite(mean).all() and np.isfinite(sd).all()


def test_equal_outputs_correlate_perfectly():
    table = np.c_[COMPLETE[:, 0], COMPLETE[:, 0], -COMPLETE[:, 0]]
    model = MultiOutputGPRegressor("rbf").fit(X, table)
    np.testing.assert_allclose(model.correlation_, np.outer([1, 1, -1], [1, 1, -1]), atol=0.05)


@pytest.mark.parametrize("kind", ["one row", "two rows"])
def test_next_to_no_rows(kind):
    n = 1 if kind == "one row" else 2
    model = MultiOutputGPRegressor("rbf").fit(X[:n], COMPLETE[:n])
    mean, sd = model.predict(NEW, return_std=True)
    assert np.isfinite(mean).all() and np.isfinite(sd).all()


INFINITE, EMPTY = COMPLETE.copy(), COMPLETE.copy()
INFINITE[4, 1], EMPTY[:, 2] = np.inf, np.nan
BAD = [
    (
        {},
        INFINITE,
        r"Input y contains infinity \(inf\) \(1 values, first in row 4\).*NaN where it is missing",
    ),
    ({}, EMPTY, "NaN in every row of output 2 .*leave that column out"),
    ({}, np.full((N, 2), np.nan), "NaN in every row of output 0"),
    ({}, 1e70 * COMPLETE, "beyond 1e\\+60"),
    ({}, COMPLETE[:-1], "inconsistent lengths"),
    ({}, COMPLETE[..., None], "dim 3|1d array"),
    ({}, np.full((N, 2), "a"), "could not convert|regressor needs numbers"),
    ({"rank": 4}, COMPLETE, r"rank must be at most the number of outputs \(3\)"),
    ({"rank": 0}, COMPLETE, "rank must be an integer, at least 1"),
    ({"rank": 1.5}, COMPLETE, "rank must be an integer"),
    ({"rank": "half"}, COMPLETE, "rank must be one of"),
    ({"solver": "toeplitz"}, COMPLETE, "solver must be one of"),
    ({"solver": "kronecker"}, GAPPY, "needs a kernel and rows of that structure"),
    ({"noise": 0.0}, COMPLETE, "finite and positive"),
    ({"noise": [0.1, 0.2]}, COMPLETE, r"one for each output \(3\)"),
    ({"noise": "none"}, COMPLETE, "noise must be one of"),
    ({"priors": "flat"}, COMPLETE, "priors must be one of"),
    ({"mean": "quadratic"}, COMPLETE, "mean must be one of"),
    ({"n_restarts": -1}, COMPLETE, "n_restarts must be an integer"),
    ({"normalize_y": 2}, COMPLETE, "normalize_y must be one of"),
    ({"verbose": -1}, COMPLETE, "verbose must be an integer"),
    ({"device": "tpu"}, COMPLETE, "device must be"),
    ({"random_state": "x"}, COMPLETE, "random_state must be"),
]


@pytest.mark.parametrize(("arguments", "y", "words"), BAD)
def test_what_cannot_be_fitted_is_refused(arguments, y, words):
    with pytest.raises((InputError, ValueError), match=words):
        MultiOutputGPRegressor("rbf", **arguments).fit(X, y)


def test_what_cannot_be_answered_is_refused(fitted):
    model, _ = fitted
    with pytest.raises(InputError, match="not for both"):
        model.predict(NEW, return_std=True, return_cov=True)
    with pytest.raises(InputError, match=r"y must have shape \(7, 3\)"):
        model.log_predictive_density(NEW, NEW)
    with pytest.raises(InputError, match="theta must have"):
        model.log_marginal_likelihood([1.0])
    with pytest.raises(InputError, match="theta must be finite"):
        model.log_marginal_likelihood(np.full(len(model.theta_), np.nan))
    with pytest.raises(InputError, match="strictly between"):
        model.predict_quantiles(NEW, 1.0)
    with pytest.raises(InputError, match="n_samples"):
        model.sample_y(NEW, -1)
    with pytest.raises(ValueError, match="3 features"):
        model.predict(np.ones((2, 3)))
    for ask in (MultiOutputGPRegressor().impute, lambda: MultiOutputGPRegressor().predict(X)):
        with pytest.raises(NotFittedError):
            ask()
    assert model.log_marginal_likelihood(np.full(len(model.theta_), 1e4)) == -np.inf


def test_a_search_that_is_interrupted_says_so(monkeypatch):
    calls = 0
    own = fitting.PanelObjective.negative

    def interrupted(self, points, which):
        nonlocal calls
        calls += 1
        if calls == 3:
            raise KeyboardInterrupt
        return own(self, points, which)

    monkeypatch.setattr(fitting.PanelObjective, "negative", interrupted)
    with pytest.warns(ConvergenceWarning, match="interrupted"):
        model = MultiOutputGPRegressor("rbf").fit(X, GAPPY)
    assert np.isfinite(model.predict(NEW)).all()
