"""Regression with every likelihood, end to end."""

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.figure import Figure
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

from nonparam import GPRegressor
from nonparam.errors import ConvergenceError, InputError
from nonparam.latent import variational as variational_module
from nonparam.likelihoods import Binomial, Censored, StudentT

N = 60
RNG = np.random.default_rng(0)
X = np.sort(RNG.uniform(0.0, 6.0, N))[:, None]
F = np.sin(X[:, 0])
SHARE = 1.0 / (1.0 + np.exp(-F))
EXPOSURE = RNG.uniform(0.5, 5.0, N)
TRIALS = RNG.integers(1, 20, N)
Y = {
    "bernoulli": RNG.binomial(1, SHARE),
    "binomial": np.c_[RNG.binomial(TRIALS, SHARE), TRIALS],
    "beta": RNG.beta(9.0 * SHARE, 9.0 * (1.0 - SHARE)),
    "poisson": np.c_[RNG.poisson(EXPOSURE * np.exp(F)), EXPOSURE],
    "negative_binomial": np.c_[RNG.poisson(EXPOSURE * np.exp(F) * RNG.gamma(2.0, 0.5, N)), EXPOSURE],
    "student_t": F + 0.2 * RNG.standard_t(4.0, N),
    "heteroscedastic": F + np.exp(-1.5 + 0.5 * np.cos(X[:, 0])) * RNG.normal(size=N),
    "censored": np.maximum(F + 0.2 * RNG.normal(size=N), -0.4),
}
NAMES = list(Y)
LOG_CONCAVE = [name for name in NAMES if name not in ("beta", "student_t", "heteroscedastic")]


def regressor(name, **arguments):
    likelihood = Censored(lower=-0.4) if name == "censored" else name
    return GPRegressor("rbf", likelihood=likelihood, **arguments)


@pytest.fixture(scope="module")
def models():
    return {name: regressor(name).fit(X, Y[name]) for name in NAMES}


@pytest.mark.parametrize("name", NAMES)
def test_slopes_of_the_evidence_are_those_of_differences(models, name):
    check_slopes(models[name], 2e-4 if name == "heteroscedastic" else 1e-5)


@pytest.mark.parametrize("name", LOG_CONCAVE)
def test_slopes_of_laplaces_evidence_are_those_of_differences(name):
    check_slopes(regressor(name, inference="laplace").fit(X, Y[name]), 1e-5)


def check_slopes(model, tolerance):
    for offset in (0.1, -0.4):
        theta = model.theta_ + offset
        value, slope = model.log_marginal_likelihood(theta, eval_gradient=True)
        assert value == pytest.approx(model.log_marginal_likelihood(theta), rel=1e-7)
        for i, step in enumerate(1e-4 * np.eye(len(theta))):
            ends = [model.log_marginal_likelihood(theta + sign * step) for sign in (1.0, -1.0)]
            assert slope[i] == pytest.approx((ends[0] - ends[1]) / 2e-4, rel=tolerance, abs=50.0 * tolerance)
    again = model.log_marginal_likelihood()
    assert again == pytest.approx(model.log_marginal_likelihood_, rel=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_predictions_have_the_shapes_and_the_order_that_they_should(models, name):
    model, new = models[name], np.linspace(-1.0, 7.0, 9)[:, None]
    mean, deviation = model.predict(new, return_std=True)
    doubt = model.predict(new, return_std=True, include_noise=False)[1]
    assert mean.shape == deviation.shape == (9,) and (0.0 < doubt).all() and (doubt < deviation).all()
    quantiles = model.predict_quantiles(new, [0.05, 0.5, 0.95])
    assert quantiles.shape == (9, 3) and (np.diff(quantiles, axis=1) >= 0.0).all()
    draws = model.sample_y(new, 4000, random_state=3)
    assert draws.shape == (9, 4000)
    np.testing.assert_array_equal(draws, model.sample_y(new, 4000, random_state=3))
    assert (np.abs(draws.mean(1) - mean) < 5.0 * deviation / np.sqrt(4000.0)).all()
    below = (draws <= quantiles[:, 2:]).mean(1)
    assert (below > 0.93).all()
    density = model.log_predictive_density(X, Y[name])
    assert density.shape == (N,) and np.isfinite(density).all()
    assert 0.0 < model.score(X, Y[name]) < 1.0
    assert model.log_evidence() < model.log_marginal_likelihood_


@pytest.mark.parametrize("name", NAMES)
def test_a_fit_is_near_the_truth_and_pandas_and_copies_make_no_difference(models, name):
    model = models[name]
    truth = {"poisson": np.exp(F), "negative_binomial": np.exp(F), "censored": np.maximum(F, -0.4)}
    expected = SHARE if name in ("bernoulli", "binomial", "beta") else truth.get(name, F)
    least = {"bernoulli": 0.8, "negative_binomial": 0.7}.get(name, 0.9)
    assert np.corrcoef(model.predict(X), expected)[0, 1] > least
    frame = pd.DataFrame(X, columns=["time"])
    y = pd.DataFrame(Y[name]) if Y[name].ndim == 2 else pd.Series(Y[name])
    other = clone(model).fit(frame, y)
    np.testing.assert_allclose(other.predict(frame), model.predict(X), rtol=1e-9)
    kept = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(kept.predict(X), model.predict(X))


@pytest.mark.parametrize("name", ["student_t", "negative_binomial", "censored", "heteroscedastic"])
def test_a_weight_of_two_is_the_row_given_twice(name):
    few, weights = slice(0, 25), np.ones(25)
    weights[7] = 2.0
    twice = np.r_[np.arange(25), 7]
    first = regressor(name).fit(X[few], Y[name][few], sample_weight=weights)
    second = regressor(name).fit(X[few], Y[name][few])
    second.fit(X[twice], Y[name][twice])
    point = first.theta_
    spread = second.log_marginal_likelihood(point) - first.log_marginal_likelihood(point)
    assert abs(spread) < 1e-5
    np.testing.assert_allclose(second.predict(X), first.predict(X), rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("name", ["poisson", "negative_binomial"])
def test_exposures_scale_counts(models, name):
    model, new = models[name], X[:4]
    rate, tenfold = model.predict(new), model.predict(new, exposure=10.0)
    np.testing.assert_allclose(tenfold, 10.0 * rate, rtol=1e-9)
    each = model.predict(new, exposure=[1.0, 2.0, 3.0, 4.0])
    np.testing.assert_allclose(each, rate * [1.0, 2.0, 3.0, 4.0], rtol=1e-9)
    many = model.predict_quantiles(new, [0.5], exposure=1e4)[:, 0]
    np.testing.assert_allclose(many / 1e4, rate, rtol=0.2)
    one = model.log_predictive_density(new, np.zeros(4))
    np.testing.assert_allclose(model.log_predictive_density(new, np.c_[np.zeros(4), np.ones(4)]), one)


def test_trials_are_counted(models):
    model, new = models["binomial"], X[:3]
    assert model.predict_quantiles(new, [0.999], exposure=7)[:, 0].max() <= 7.0
    assert model.sample_y(new, 500, exposure=7).max() == 7.0
    alone = GPRegressor("rbf", likelihood=Binomial()).fit(X, Y["bernoulli"])
    events = models["bernoulli"]
    assert alone.log_marginal_likelihood_ == pytest.approx(events.log_marginal_likelihood_, abs=1e-6)
    np.testing.assert_allclose(alone.predict(X), events.predict(X), atol=1e-6)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "heteroscedastic"])
@pytest.mark.parametrize("rows", [1, 30])
def test_one_row_and_rows_that_are_alike_are_fitted(name, rows):
    y = np.full(rows, 0.25 if name == "beta" else 1.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # parameters without an end
        model = regressor(name).fit(X[:rows], y)
    mean, deviation = model.predict(X[:2], return_std=True)
    assert np.isfinite(mean).all() and np.isfinite(deviation).all()
    np.testing.assert_allclose(mean, y[0], rtol=0.6 if rows == 1 else 0.1)
    low, high = model.predict_quantiles(X[:2], [0.01, 0.99]).T
    assert (low <= y[0] + 1e-6).all() and (y[0] - 1e-6 <= high).all()


@pytest.mark.parametrize("level", [1e-8, 1e8])
def test_any_scale_of_numbers_is_fitted(level):
    for name in ("student_t", "heteroscedastic"):
        model, plain = regressor(name).fit(X, level * Y[name]), regressor(name).fit(X, Y[name])
        np.testing.assert_allclose(model.predict(X) / level, plain.predict(X), atol=2e-3)


def test_parameters_given_and_fixed_stay():
    model = GPRegressor("rbf", likelihood=StudentT(df=4.0, fixed=("df",))).fit(X, Y["student_t"])
    assert model.likelihood_.df.item() == pytest.approx(4.0)
    assert model.theta_names_[-1] == "likelihood.scale"
    assert repr(model.likelihood) == "StudentT(df=4)"
    assert repr(model.likelihood_).startswith("StudentT(df=4, scale=0.")


def test_numbers_without_noise_end_at_the_least_scale():
    x = np.repeat([[1.0, 3.0], [2.0, 1.0], [3.0, 3.0], [4.0, 1.0]], 4, axis=0)
    y = np.repeat([1.0, 2.0, 1.0, 2.0], 4)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = regressor("student_t").fit(x, y)
    np.testing.assert_allclose(model.predict(x), y, atol=1e-2)


def test_many_rows_begin_with_some_of_them():
    rng = np.random.default_rng(0)
    x = rng.uniform(0.0, 6.0, (400, 1))
    y = np.sin(x[:, 0]) + 0.2 * rng.standard_t(3.0, 400)
    model = regressor("student_t").fit(x, y)
    assert model.fit_report_.converged
    assert model.predict(X) == pytest.approx(F, abs=0.15)


REFUSED = {
    "plots of parts": lambda model: model.plot_parts(),
    "a decomposition": lambda model: model.decompose(),
    "the joint density": lambda model: model.joint_density(),
    "functions": lambda model: model.sample_functions(),
    "return_cov": lambda model: model.predict(X, return_cov=True),
    "quantiles without noise": lambda model: model.predict_quantiles(X, [0.5], include_noise=False),
    "draws without noise": lambda model: model.sample_y(X, include_noise=False),
    "another prior_width": lambda model: model.log_evidence(2.0),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_known_of_gaussian_observations_only_is_refused(models, what):
    with pytest.raises(InputError, match=rf"{what}.* likelihood='gaussian', and this model has 'student_t'"):
        REFUSED[what](models["student_t"])


@pytest.mark.parametrize(
    ("name", "y", "said"),
    [
        ("student_t", np.c_[F, F], r"StudentT\(\) takes y of one column; got 2"),
        ("poisson", np.c_[Y["poisson"], F], "takes y of one column, or two, the second its exposure; got 3"),
        ("beta", 100.0 * SHARE, "divide percentages by 100"),
        ("negative_binomial", F, "is of counts"),
        ("binomial", np.c_[TRIALS + 1, TRIALS], "more successes than trials"),
        ("censored", F, "is below the lower limit -0.4"),
    ],
)
def test_observations_that_cannot_be_are_refused(name, y, said):
    with pytest.raises(InputError, match=said):
        regressor(name).fit(X, y)


def test_new_observations_that_cannot_be_are_refused(models):
    with pytest.raises(InputError, match="'beta' is of shares between 0 and 1"):
        models["beta"].log_predictive_density(X[:1], [1.5])


@pytest.mark.parametrize(
    ("name", "exposure", "said"),
    [
        ("student_t", 2.0, "takes no exposure: leave it out"),
        ("poisson", [1.0, 2.0], r"one number, or one per row \(3\); got shape \(2,\)"),
        ("poisson", 0.0, "must be positive and finite"),
        ("poisson", [1.0, np.nan, 1.0], "must be positive and finite"),
        ("binomial", 2.5, "must be whole numbers"),
    ],
)
def test_exposures_that_cannot_be_are_refused(models, name, exposure, said):
    with pytest.raises(InputError, match=said):
        models[name].predict(X[:3], exposure=exposure)


@pytest.mark.parametrize("name", ["beta", "student_t", "heteroscedastic"])
def test_laplaces_approximation_is_for_one_mode_only(name):
    with pytest.raises(
        InputError, match="inference='laplace' is of one function and a posterior with one mode"
    ):
        regressor(name, inference="laplace").fit(X, Y[name])


@pytest.mark.parametrize(("argument", "value"), [("solver", "ski"), ("objective", "loo"), ("noise", 0.1)])
def test_arguments_of_the_gaussian_likelihood_are_refused(argument, value):
    with pytest.raises(InputError, match=rf"with likelihood='poisson' {argument} must be one of"):
        regressor("poisson", **{argument: value}).fit(X, Y["poisson"])


def test_a_gaussian_fit_forgets_what_came_before(models):
    model = clone(models["student_t"]).fit(X, Y["student_t"])
    model.set_params(likelihood="gaussian").fit(X, Y["student_t"])
    assert not hasattr(model, "likelihood_") and model.predict(X, return_cov=True)[1].shape == (N, N)
    with pytest.raises(InputError, match="a Gaussian likelihood takes no exposure"):
        model.predict(X, exposure=2.0)
    assert torch.is_grad_enabled()


def test_an_approximation_that_ends_nowhere_says_so(monkeypatch):
    monkeypatch.setattr(variational_module, "MAX_STEPS", 1)
    with pytest.raises(ConvergenceError, match="variational inference did not converge in 1 steps"):
        regressor("student_t").fit(X, Y["student_t"])


def test_observations_without_noise_and_at_their_limit_have_an_end():
    found = GPRegressor("rbf", likelihood=Censored(lower=0.0)).fit(X, np.zeros(N))
    mean, sd = found.predict(X[:3], return_std=True)
    assert (mean >= 0.0).all() and (mean < 0.5).all() and (sd > 0.0).all()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        smooth = regressor("heteroscedastic").fit(X, np.sin(X[:, 0]))
    np.testing.assert_allclose(smooth.predict(X), np.sin(X[:, 0]), atol=0.02)


def test_plots_show_rates_and_bands_of_observations(models):
    model = models["poisson"]
    x, y = model.observed()
    np.testing.assert_array_equal(x, X)
    np.testing.assert_allclose(y[:, 0], Y["poisson"][:, 0] / EXPOSURE)
    ax = model.plot(Figure().add_subplot())
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["data", "mean", "50 %", "95 %"]
