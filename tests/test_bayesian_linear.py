"""Bayesian linear regression against densities written out, other libraries, and hostile data."""

import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.optimize import minimize
from scipy.stats import multivariate_normal, multivariate_t, norm, t
from sklearn.base import clone
from sklearn.linear_model import BayesianRidge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from nonparam import BayesianLinearRegressor
from nonparam.errors import InputError
from nonparam.model_selection import bic, clml, k_fold, lml, loo, prequential

RNG = np.random.default_rng(2)
N = 18
X = RNG.standard_normal((N, 3)) * [1.0, 3.0, 0.5]
Y = 4.0 + X @ [1.5, -0.5, 0.0] + 0.4 * RNG.standard_normal(N)
NEW = RNG.standard_normal((5, 3))
COVARIANCE = np.array([[2.0, 0.5, 0.0], [0.5, 1.0, -0.3], [0.0, -0.3, 0.7]])
PRIORS = {
    "one": (0.0, 1.5),
    "diagonal": ([1.0, 0.0, -1.0], [2.0, 0.1, 0.0]),
    "matrix": ([1.0, 0.0, -1.0], COVARIANCE),
}
NIG = {"noise": "marginalise", "noise_shape": 2.5, "noise_rate": 0.7}
HUGE = 1e9  # the prior variance of an intercept that stands for a flat one


def with_constant(x, mean, variance):
    """Features, prior mean and covariance where the flat intercept is a coefficient of huge variance."""
    v = np.broadcast_to(variance, 3) if np.ndim(variance) < 2 else variance
    full = np.zeros((4, 4))
    full[0, 0], full[1:, 1:] = HUGE, np.diag(v) if np.ndim(v) < 2 else v
    return np.c_[np.ones(len(x)), x], np.r_[0.0, np.broadcast_to(mean, 3)], full


def marginal(x, mean, variance, intercept):
    """Mean and covariance of the function at rows."""
    phi, m0, v0 = with_constant(x, mean, variance)
    return (phi @ m0, phi @ v0 @ phi.T) if intercept else (x @ m0[1:], x @ v0[1:, 1:] @ x.T)


def given_the_rows(mean, variance, intercept, noise):
    """Mean and covariance of the function at `NEW` given `Y`, by the textbook's joint Gaussian."""
    m, k = marginal(np.r_[X, NEW], mean, variance, intercept)
    gain = np.linalg.solve(k[:N, :N] + noise * np.eye(N), k[:N, N:]).T
    return m[N:] + gain @ (Y - m[:N]), k[N:, N:] - gain @ k[:N, N:]


# the evidence -------------------------------------------------------------------------------


@pytest.mark.parametrize("intercept", [False, True])
@pytest.mark.parametrize("prior", PRIORS.values(), ids=PRIORS)
def test_the_evidence_is_the_density_of_the_outputs(prior, intercept):
    mean, variance = prior
    fixed = {"prior_mean": mean, "prior_variance": variance, "intercept": intercept}
    v = np.diag(np.broadcast_to(variance, 3)) if np.ndim(variance) < 2 else variance
    r, a = Y - X @ np.broadcast_to(mean, 3), X @ v @ X.T + 0.3 * np.eye(N)
    exact = multivariate_normal(np.zeros(N), a).logpdf(r)
    if intercept:  # the integral over b of a Gaussian in b
        weighted = np.linalg.solve(a, np.ones(N))
        exact += 0.5 * (r @ weighted) ** 2 / weighted.sum() + 0.5 * np.log(2.0 * np.pi / weighted.sum())
    gaussian = BayesianLinearRegressor(**fixed, noise=0.3).fit(X, Y)
    assert gaussian.log_marginal_likelihood_ == pytest.approx(exact, abs=1e-9)
    assert gaussian.log_evidence() == gaussian.log_marginal_likelihood_
    assert lml(gaussian) == pytest.approx(exact, abs=1e-9)


@pytest.mark.parametrize("prior", PRIORS.values(), ids=PRIORS)
def test_the_evidence_with_noise_averaged_over_is_a_student_density(prior):
    mean, variance = prior
    model = BayesianLinearRegressor(prior_mean=mean, prior_variance=variance, intercept=False, **NIG)
    m, k = marginal(X, mean, variance, False)
    exact = multivariate_t(m, 0.7 / 2.5 * (k + np.eye(N)), df=5.0).logpdf(Y)
    assert model.fit(X, Y).log_marginal_likelihood_ == pytest.approx(exact, abs=1e-9)


def test_a_flat_intercept_is_the_integral_over_it():
    model = BayesianLinearRegressor(prior_variance=1.5, **NIG).fit(X, Y)
    grid = np.linspace(-20.0, 30.0, 4001)
    alone = BayesianLinearRegressor(prior_variance=1.5, intercept=False, **NIG)
    values = [np.exp(alone.fit(X, Y - b).log_marginal_likelihood_) for b in grid]
    assert model.log_marginal_likelihood_ == pytest.approx(np.log(np.trapezoid(values, grid)), abs=1e-7)


@pytest.mark.parametrize("n", [4, 12])
def test_more_features_than_rows_and_fewer(n):
    phi = RNG.standard_normal((n, 8))
    y = RNG.standard_normal(n)
    model = BayesianLinearRegressor(prior_variance=0.7, noise=0.2, intercept=False).fit(phi, y)
    exact = multivariate_normal(np.zeros(n), 0.7 * phi @ phi.T + 0.2 * np.eye(n)).logpdf(y)
    assert model.log_marginal_likelihood_ == pytest.approx(exact, abs=1e-9)
    posterior = np.linalg.inv(np.eye(8) / 0.7 + phi.T @ phi / 0.2)
    np.testing.assert_allclose(model.coef_covariance_, posterior, atol=1e-12)
    np.testing.assert_allclose(model.coef_, posterior @ phi.T @ y / 0.2, atol=1e-12)


# what is learnt -----------------------------------------------------------------------------


def negative_evidence(log_variances, prior_variance=None, noise=None):
    tau = np.exp(log_variances[0]) if prior_variance is None else prior_variance
    noise = np.exp(log_variances[-1]) if noise is None else noise
    return -multivariate_normal(np.zeros(N), tau * X @ X.T + noise * np.eye(N)).logpdf(Y)


@pytest.mark.parametrize("known", [{}, {"prior_variance": 0.8}, {"noise": 0.3}])
def test_learnt_variances_maximise_the_evidence(known):
    model = BayesianLinearRegressor(intercept=False, **known).fit(X, Y)
    count = 2 - len(known)
    options = {"xatol": 1e-9, "fatol": 1e-13}
    found = minimize(
        negative_evidence,
        np.zeros(count),
        tuple(known.get(name) for name in ("prior_variance", "noise")),
        method="Nelder-Mead",
        options=options,
    )
    assert model.log_marginal_likelihood_ == pytest.approx(-found.fun, abs=1e-9)
    np.testing.assert_allclose(model.theta_, found.x, atol=1e-5)
    assert model.theta_names_ == [k for k in ("prior_variance", "noise") if k not in known]
    bic_of_model = model.log_marginal_likelihood_ - 0.5 * count * np.log(N)
    assert model.log_evidence() == pytest.approx(bic_of_model) == bic(model)


def test_the_prior_learnt_with_noise_averaged_over_maximises_the_student_density():
    model = BayesianLinearRegressor(intercept=False, **NIG).fit(X, Y)
    logs = np.log(model.prior_variance_) + np.linspace(-3.0, 3.0, 601)
    shapes = [0.28 * (np.exp(v) * X @ X.T + np.eye(N)) for v in logs]
    values = [multivariate_t(np.zeros(N), shape, df=5.0).logpdf(Y) for shape in shapes]
    assert np.argmax(values) == 300
    assert model.log_marginal_likelihood_ == pytest.approx(max(values), abs=1e-9)
    assert model.theta_names_ == ["prior_variance"]


def test_it_learns_what_scikit_learn_does_with_flat_priors_of_its_precisions():
    flat = dict.fromkeys(("alpha_1", "alpha_2", "lambda_1", "lambda_2"), 0.0)
    theirs = BayesianRidge(tol=1e-13, max_iter=10_000, fit_intercept=False, **flat).fit(X, Y)
    ours = BayesianLinearRegressor(intercept=False).fit(X, Y)
    assert ours.noise_ == pytest.approx(1.0 / theirs.alpha_, rel=1e-6)
    assert ours.prior_variance_ == pytest.approx(1.0 / theirs.lambda_, rel=1e-6)
    for a, b in zip(ours.predict(NEW, return_std=True), theirs.predict(NEW, return_std=True), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)


def test_ten_thousand_features_take_a_moment():
    x = np.linspace(0.0, 1.0, 60)[:, None]
    waves = lambda x: np.cos(np.pi * x * np.arange(10_000)) / (1.0 + np.arange(10_000)) ** 2  # noqa: E731
    y = np.sin(6.0 * x[:, 0])
    model = BayesianLinearRegressor(waves).fit(x, y + 0.05 * RNG.standard_normal(60))
    assert np.sqrt(np.mean((model.predict(x) - y) ** 2)) < 0.05 and model.coef_.shape == (10_000,)


def test_coefficients_without_use_vanish():
    nothing = BayesianLinearRegressor().fit(RNG.standard_normal((200, 2)), np.tile([-1.0, 1.0], 100))
    assert np.abs(nothing.coef_).max() < 0.2 and nothing.noise_ == pytest.approx(1.0, rel=0.05)


def test_units_of_the_outputs_and_of_all_features_change_nothing_else():
    plain = BayesianLinearRegressor().fit(X, Y)
    other = BayesianLinearRegressor().fit(1e8 * X, 1e-9 * Y)
    for a, b in zip(
        plain.predict(NEW, return_std=True), other.predict(1e8 * NEW, return_std=True), strict=True
    ):
        np.testing.assert_allclose(1e-9 * a, b, rtol=1e-6)
    change = (N - 1) * np.log(1e-9)  # a flat intercept has no unit to lose
    assert other.log_marginal_likelihood_ == pytest.approx(plain.log_marginal_likelihood_ - change, abs=1e-6)


# predictions --------------------------------------------------------------------------------


@pytest.mark.parametrize("intercept", [False, True])
@pytest.mark.parametrize("prior", PRIORS.values(), ids=PRIORS)
def test_predictions_are_those_of_the_joint_gaussian(prior, intercept):
    mean, variance = prior
    fixed = {"prior_mean": mean, "prior_variance": variance, "intercept": intercept}
    model = BayesianLinearRegressor(**fixed, noise=0.3).fit(X, Y)
    m, k = given_the_rows(mean, variance, intercept, 0.3)
    np.testing.assert_allclose(model.predict(NEW), m, atol=1e-5)
    found, cov = model.predict(NEW, return_cov=True)
    np.testing.assert_allclose(cov, k + 0.3 * np.eye(5), atol=1e-5)
    sd = model.predict(NEW, return_std=True, include_noise=False)[1]
    np.testing.assert_allclose(sd**2, np.diag(k), atol=1e-5)
    np.testing.assert_allclose(model.intercept_ + NEW @ model.coef_, found, atol=1e-10)
    y = np.zeros(5)
    np.testing.assert_allclose(
        model.log_predictive_density(NEW, y), norm(m, np.sqrt(np.diag(k) + 0.3)).logpdf(y), atol=1e-4
    )
    np.testing.assert_allclose(
        model.predict_quantiles(NEW, [0.1, 0.5])[:, 0],
        m - 1.2815515655 * np.sqrt(np.diag(k) + 0.3),
        atol=1e-4,
    )


def test_the_log_density_of_new_rows_is_what_they_add_to_the_evidence():
    for arguments in ({"noise": 0.3}, NIG):
        model = BayesianLinearRegressor(prior_variance=1.5, **arguments)
        before = model.fit(X[:-1], Y[:-1]).log_marginal_likelihood_
        added = model.log_predictive_density(X[-1:], Y[-1:])[0]
        assert before + added == pytest.approx(model.fit(X, Y).log_marginal_likelihood_, abs=1e-10)


def test_student_predictions_are_those_of_draws_of_the_noise():
    model = BayesianLinearRegressor(prior_variance=1.5, **NIG).fit(X, Y)
    draws = model.sample_y(NEW, 400_000, random_state=0)
    mean, sd = model.predict(NEW, return_std=True)
    np.testing.assert_allclose(draws.mean(1), mean, atol=4 * sd.max() / 400_000**0.5)
    np.testing.assert_allclose(draws.std(1), sd, rtol=0.01)
    np.testing.assert_allclose(np.cov(draws), model.predict(NEW, return_cov=True)[1], atol=0.01)
    quantiles = model.predict_quantiles(NEW, [0.01, 0.99])
    np.testing.assert_allclose((draws < quantiles[:, [0]]).mean(1), 0.01, atol=0.001)
    freedom = 5.0 + N - 1
    scale = sd * np.sqrt((freedom - 2.0) / freedom)
    np.testing.assert_allclose(quantiles[:, 1], t(freedom, mean, scale).ppf(0.99), rtol=1e-10)
    assert model.noise_ == pytest.approx(model.noise_rate_ / (model.noise_shape_ - 1.0))


def test_functions_and_observations_are_drawn_jointly():
    model = BayesianLinearRegressor(prior_variance=1.5, noise=0.3).fit(X, Y)
    for include_noise in (False, True):
        draws = model.sample_y(NEW, 200_000, include_noise=include_noise)
        expected = model.predict(NEW, return_cov=True, include_noise=include_noise)[1]
        np.testing.assert_allclose(np.cov(draws), expected, atol=0.02 * expected.max())
    np.testing.assert_array_equal(model.sample_y(NEW, 3, 7), model.sample_y(NEW, 3, 7))
    assert model.sample_y(NEW, 0).shape == (5, 0)


@pytest.mark.parametrize("arguments", [{"noise": 0.3, "prior_variance": 2.0}, {"prior_variance": 2.0, **NIG}])
def test_update_is_a_fit_to_all_rows(arguments):
    part = BayesianLinearRegressor(**arguments).fit(X[:10], Y[:10]).update(X[10:], Y[10:])
    whole = BayesianLinearRegressor(**arguments).fit(X, Y)
    assert part.log_marginal_likelihood_ == pytest.approx(whole.log_marginal_likelihood_, abs=1e-10)
    np.testing.assert_allclose(part.predict(NEW, return_std=True), whole.predict(NEW, return_std=True))


def test_arguments_that_are_set_after_the_fit_wait_for_the_next_one():
    model = BayesianLinearRegressor(prior_variance=2.0, **NIG).fit(X[:10], Y[:10])
    expected = clone(model).fit(X, Y)
    model.set_params(noise=0.1, noise_shape=None, noise_rate=None, intercept=False, prior_variance=9.0)
    model.update(X[10:], Y[10:])
    np.testing.assert_allclose(model.sample_y(NEW, 2), expected.sample_y(NEW, 2))
    found, same = (each.joint_density().log_density() for each in (model, expected))
    assert found == pytest.approx(same, abs=1e-12)


# joint densities ----------------------------------------------------------------------------


@pytest.mark.parametrize("intercept", [False, True])
@pytest.mark.parametrize("arguments", [{"noise": 0.3, "prior_variance": 2.0}, {}, NIG])
def test_every_score_is_that_of_models_that_never_saw_the_rows(arguments, intercept):
    model = BayesianLinearRegressor(prior_mean=[1.0, 0.0, 2.0], intercept=intercept, **arguments).fit(X, Y)
    joint = model.joint_density()
    assert joint.log_density() == pytest.approx(model.log_marginal_likelihood_, abs=1e-10)
    held = joint.held_out([np.array([4, 0, 9])])[0]
    others = np.setdiff1d(np.arange(N), held.rows)
    without = at_variances_of(model).fit(X[others], Y[others])
    mean, sd = without.predict(X[held.rows], return_std=True)
    np.testing.assert_allclose(np.c_[held.mean, held.sd], np.c_[mean, sd], rtol=1e-9)
    np.testing.assert_allclose(held.residual[:, 0], Y[held.rows] - mean, atol=1e-9)
    densities = without.log_predictive_density(X[held.rows], Y[held.rows])
    np.testing.assert_allclose(held.log_densities[:, 0], densities, atol=1e-9)
    together = joint.log_density() - without.log_marginal_likelihood_
    assert held.log_joint == pytest.approx(together, abs=1e-9)
    below = [np.mean(without.sample_y(X[[i]], 200_000) < Y[i]) for i in held.rows]
    np.testing.assert_allclose(held.cdf[:, 0], below, atol=0.005)


def at_variances_of(model):
    return clone(model).set_params(
        prior_variance=model.prior_variance_,
        noise=model.noise if model.noise == "marginalise" else model.noise_,
    )


@pytest.mark.parametrize("intercept", [False, True])
@pytest.mark.parametrize("arguments", [{}, NIG])
def test_increments_add_up(arguments, intercept):
    model = BayesianLinearRegressor(intercept=intercept, **arguments).fit(X, Y)
    order = RNG.permutation(N)
    found = prequential(model, order=order)
    assert len(found) == N - intercept
    assert found.sum() == pytest.approx(model.log_marginal_likelihood_, abs=1e-9)
    fixed = at_variances_of(model)
    for i in (2, 7, N - 1):
        seen = fixed.fit(X[order[:i]], Y[order[:i]])
        expected = seen.log_predictive_density(X[order[[i]]], Y[order[[i]]])[0]
        assert found[i - intercept] == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("arguments", [{}, NIG])
def test_scores_of_the_package_take_it(arguments):
    model = BayesianLinearRegressor(**arguments)
    for refitted in (False, True):
        found = loo(model, X, Y, refitted=refitted), k_fold(model, X, Y, refitted=refitted)
        assert all(np.isfinite(score.value) and score.value < 0.0 for score in found)
    fitted = model.fit(X, Y)
    assert np.isfinite(clml(fitted, n_orderings=5).value)
    hat = [at_variances_of(fitted).fit(X, unit).predict(X)[i] for i, unit in enumerate(np.eye(N))]
    assert fitted.joint_density().effective_parameters() == pytest.approx(sum(hat), abs=1e-8)


def test_a_joint_density_without_digits_is_refused():
    for variance in (1e2, 1e6, 1e8):
        model = BayesianLinearRegressor(prior_variance=variance, noise=0.5).fit(X, Y)
        found = model.joint_density().log_density()
        assert found == pytest.approx(model.log_marginal_likelihood_, abs=1e-13 * variance + 1e-9)
    model = BayesianLinearRegressor(prior_variance=1e12, noise=0.5).fit(X, Y)
    with pytest.raises(
        InputError, match=r"times that of the noise, and beyond 1e.11 a covariance of both keeps"
    ):
        model.joint_density()


# scikit-learn -------------------------------------------------------------------------------


@parametrize_with_checks([BayesianLinearRegressor(), BayesianLinearRegressor(intercept=False, **NIG)])
def test_scikit_learn_checks(estimator, check):
    check(estimator)


def test_features_are_cloned_and_fitted_without_the_outputs():
    scaler = StandardScaler()
    model = BayesianLinearRegressor(scaler).fit(1e5 * X + 7.0, Y)
    assert not hasattr(scaler, "mean_")
    expected = BayesianLinearRegressor().fit((X - X.mean(0)) / X.std(0), Y)
    np.testing.assert_allclose(
        model.predict(1e5 * NEW + 7.0), expected.predict((NEW - X.mean(0)) / X.std(0)), rtol=1e-6
    )
    grid = {"features__degree": [1, 2], "prior_variance": ["learn", 1.0]}
    search = GridSearchCV(BayesianLinearRegressor(PolynomialFeatures()), grid, cv=3).fit(X, Y)
    assert search.best_params_["features__degree"] == 1
    table = pd.DataFrame(X, columns=list("abc"))
    piped = make_pipeline(StandardScaler(), BayesianLinearRegressor()).fit(table, pd.Series(Y))
    np.testing.assert_allclose(piped.predict(table), expected.predict((X - X.mean(0)) / X.std(0)), rtol=1e-6)
    copy = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(copy.predict(NEW), model.predict(NEW))
    assert BayesianLinearRegressor().fit(torch.tensor(X), torch.tensor(Y)).n_features_in_ == 3


# hostile data -------------------------------------------------------------------------------

HOSTILE = {
    "scales": (np.c_[1e-12 * X[:, 0], 1e12 * X[:, 1]], Y),
    "offset": (X + 1e7, Y),
    "constant column": (np.c_[X, np.full(N, 3.7)], Y),
    "only constants": (np.full((N, 2), 0.1), Y),
    "equal rows": (np.repeat(X[:3], 6, 0), Y),
    "equal columns": (np.c_[X, X, X], Y),
    "wide": (np.tile(X[:6], (1, 40)) + 0.01 * RNG.standard_normal((6, 120)), Y[:6]),
    "constant y": (X, np.full(N, 5.3)),
    "zero y": (X, np.zeros(N)),
    "exact": (X, 3.0 + X[:, 0]),
    "two rows": (X[:2], Y[:2]),
    "tiny": (1e-50 * X, 1e-50 * Y),
    "huge": (1e50 * X, 1e50 * Y),
    "integers": (np.arange(N)[:, None], np.arange(N)),
}


@pytest.mark.parametrize("arguments", [{}, NIG, {"noise": 0.1}], ids=["learnt", "averaged", "known"])
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_data_give_sound_numbers(name, arguments):
    x, y = HOSTILE[name]
    for intercept in (False, True):
        model = BayesianLinearRegressor(intercept=intercept, **arguments).fit(x, y)
        mean, sd = model.predict(x, return_std=True)
        quantiles = model.predict_quantiles(x, [0.05, 0.5, 0.95])
        for numbers in (mean, sd, quantiles, model.coef_, model.log_evidence(), model.sample_y(x, 2)):
            assert np.isfinite(numbers).all()
        assert (sd > 0.0).all() and model.noise_ > 0.0 and (np.diff(quantiles) >= 0.0).all()
        assert (np.diagonal(model.predict(x, return_cov=True)[1]) > 0.0).all()


def test_a_constant_column_and_repeated_ones_change_no_prediction_where_they_should_not():
    plain = BayesianLinearRegressor(prior_variance=1.0, noise=0.3).fit(X, Y)
    more = BayesianLinearRegressor(prior_variance=1.0, noise=0.3).fit(np.c_[X, np.full(N, 0.1)], Y)
    assert more.log_marginal_likelihood_ == pytest.approx(plain.log_marginal_likelihood_, abs=1e-12)
    np.testing.assert_allclose(more.predict(np.c_[NEW, np.full(5, 0.1)]), plain.predict(NEW), atol=1e-12)
    twice = BayesianLinearRegressor(prior_variance=0.5, noise=0.3).fit(np.c_[X, X], Y)
    assert twice.log_marginal_likelihood_ == pytest.approx(plain.log_marginal_likelihood_, abs=1e-10)
    np.testing.assert_allclose(
        twice.predict(np.c_[NEW, NEW], return_std=True), plain.predict(NEW, return_std=True), atol=1e-10
    )


def test_a_model_without_features_is_a_constant():
    model = BayesianLinearRegressor(lambda x: x[:, :0]).fit(X, Y)
    np.testing.assert_allclose(model.predict(NEW), Y.mean())
    assert model.noise_ == pytest.approx(Y.var(ddof=1), rel=1e-8) and model.theta_names_ == ["noise"]
    assert model.joint_density().effective_parameters() == pytest.approx(1.0)


# bad arguments ------------------------------------------------------------------------------

BAD = [
    ({"features": "linear"}, "features must be None, a function .* or a scikit-learn transformer; got 'lin"),
    ({"features": StandardScaler}, "got the class StandardScaler: make an instance"),
    ({"features": lambda x: x[:3]}, r"array of shape \(18, p\) of 18 rows, got \(3, 3\)"),
    ({"features": lambda x: x[:, 0]}, r"got \(18,\)"),
    (
        {"features": lambda x: np.where(x == x[3, 1], np.nan, x)},
        "feature 1 is nan in row 3: expected numbers",
    ),
    ({"features": lambda x: 1e61 * x}, "expected numbers of at most 1e[+]60; rescale the columns"),
    ({"features": lambda x: [["a"] * 2] * 18}, "the table of features must be a number or an array"),
    ({"intercept": "yes"}, r"intercept must be one of \(True, False\), got 'yes'"),
    ({"prior_mean": [0.0, 1.0]}, "prior_mean must be one finite number or one for each of 3 features"),
    ({"prior_mean": np.nan}, "prior_mean must be one finite number"),
    (
        {"prior_variance": np.inf},
        "an infinite variance in prior_variance is no prior: an improper prior is defined up to",
    ),
    ({"prior_variance": [1.0, 1.0, np.inf]}, "an infinite variance in prior_variance is no prior"),
    ({"prior_variance": -1.0}, "variances in prior_variance must not be negative or NaN, got -1.0"),
    ({"prior_variance": np.nan}, "must not be negative or NaN"),
    ({"prior_variance": [1.0, 2.0]}, r"\(3,\) variances or a \(3, 3\) covariance, for 3 features; got an"),
    ({"prior_variance": "flat"}, r"prior_variance must be one of \('learn',\), got 'flat'"),
    ({"prior_variance": True}, "prior_variance must be 'learn', a number"),
    ({"prior_variance": np.triu(COVARIANCE)}, "prior_variance must be symmetric"),
    ({"prior_variance": 2.0 * np.ones((3, 3)) - 3.0 * np.eye(3)}, "must not be negative or NaN"),
    ({"prior_variance": 3.0 * np.ones((3, 3)) - 2.0 * np.eye(3)}, "has variance -2 in units of theirs"),
    ({"noise": 0.0}, "noise must be a positive number, got 0.0: or take 'learn' or 'marginalise'"),
    ({"noise": -1.0}, "noise must be a positive number"),
    ({"noise": np.inf}, "noise must be a positive number"),
    ({"noise": True}, "noise must be a positive number"),
    ({"noise": [0.1] * 18}, "noise must be a positive number"),
    ({"noise": "known"}, r"noise must be one of \('learn', 'marginalise'\), got 'known'"),
    ({"noise": "marginalise"}, "noise_shape must be a positive number, got None: without it the prior of"),
    ({**NIG, "noise_rate": 0.0}, "noise_rate must be a positive number, got 0.0: without it the prior of"),
    ({"noise_shape": 1.0}, "noise_shape is of use with noise='marginalise', got noise='learn'"),
]


@pytest.mark.filterwarnings("ignore:divide by zero", "ignore:invalid value")
@pytest.mark.parametrize(("arguments", "message"), BAD)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        BayesianLinearRegressor(**arguments).fit(X, Y)


def test_bad_tables_are_refused():
    model = BayesianLinearRegressor()
    with pytest.raises(InputError, match="1 sample determines the intercept"):
        model.fit(X[:1], Y[:1])
    with pytest.raises(InputError, match="NaN in column 1"):
        model.fit(np.where(X == X[3, 1], np.nan, X), Y)
    with pytest.raises(ValueError, match="should be a 1d array"):
        model.fit(X, np.c_[Y, Y])
    with pytest.raises(InputError, match="18 rows of X, 3 of y"):
        model.fit(X, Y[:3])
    model.fit(X, Y)
    with pytest.raises(InputError, match="ask for return_std or for return_cov"):
        model.predict(NEW, return_std=True, return_cov=True)
    with pytest.raises(ValueError, match="X has 2 features"):
        model.update(NEW[:, :2], Y[:5])
    with pytest.raises(InputError, match="n_samples must be an integer"):
        model.sample_y(NEW, 1.5)
    with pytest.raises(InputError, match="probabilities must lie strictly"):
        model.predict_quantiles(NEW, 1.0)
    grows = BayesianLinearRegressor(lambda x: x[:, : 1 + len(x) // 10]).fit(X, Y)
    with pytest.raises(InputError, match="features must make 2 columns as in fit, got 1"):
        grows.predict(NEW)


def test_a_student_density_without_a_variance_says_so():
    model = BayesianLinearRegressor(noise="marginalise", noise_shape=0.1, noise_rate=1.0).fit(X[:2], Y[:2])
    with pytest.raises(InputError, match=r"of 1\.2 degrees of freedom has no variance"):
        model.predict(NEW, return_std=True)
    with pytest.raises(InputError, match="has no variance"):
        _ = model.coef_covariance_
    assert np.isfinite(model.predict_quantiles(NEW, 0.9)).all() and model.noise_ == np.inf
