"""`SparseGPRegressor` as a user sees it: beside the exact process, and with arguments that cannot be."""

import warnings

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.exceptions import NotFittedError

from nonparam import GPRegressor, SparseGPRegressor
from nonparam.errors import InputError

RNG = np.random.default_rng(3)
X = RNG.uniform(-3.0, 3.0, (300, 1))
Y = np.sin(2.0 * X[:, 0]) + 5.0 + 0.1 * RNG.standard_normal(300)
NEW = np.linspace(-3.0, 3.0, 50)[:, None]
METHODS = ("collapsed", "stochastic")


@pytest.fixture(scope="module")
def exact():
    return GPRegressor("rbf").fit(X, Y)


@pytest.fixture(scope="module", params=METHODS)
def model(request):
    return SparseGPRegressor("rbf", m=20, method=request.param, random_state=0).fit(X, Y)


def test_enough_points_are_the_exact_process(model, exact):
    mean, sd = model.predict(NEW, return_std=True)
    exact_mean, exact_sd = exact.predict(NEW, return_std=True)
    np.testing.assert_allclose(mean, exact_mean, atol=0.02)
    np.testing.assert_allclose(sd, exact_sd, rtol=0.03)


def test_the_report_says_what_is_lost(model):
    report = model.fit_report_
    assert report.lower == model.lower_bound_ and report.upper == model.upper_bound_
    assert 0.0 <= report.gap < 0.05 and report.rows == 300
    assert report.points == len(model.inducing_) <= 20  # fewer explain all rows
    assert f"at most {report.gap:.3g} nats" in str(report)
    fitted = GPRegressor(model.kernel_, mean="zero", noise=model.noise_, priors=None)
    evidence = fitted.fit(X, Y - model.y_mean_).log_marginal_likelihood(model.theta_[:-1])
    assert model.lower_bound_ - 1e-6 < evidence < model.upper_bound_ + 1e-6
    few = SparseGPRegressor("rbf", m=3, method="collapsed", random_state=0).fit(X, Y)
    assert few.fit_report_.gap > 30.0 and few.lower_bound_ < model.lower_bound_ - 100.0
    assert few.noise_ > model.noise_  # what few points do not explain counts as noise


def test_points_that_move_are_better_than_points_that_stay():
    fits = [
        SparseGPRegressor("rbf", m=5, inducing=inducing, method="collapsed", random_state=0).fit(X, Y)
        for inducing in ("learn", "fixed")
    ]
    assert fits[0].lower_bound_ > fits[1].lower_bound_ + 1.0
    assert all((row == X).all(1).any() for row in fits[1].inducing_)
    assert not any((row == X).all(1).any() for row in fits[0].inducing_)


def test_predictions_agree_with_each_other(model):
    mean, sd = model.predict(NEW, return_std=True)
    _, joint = model.predict(NEW, return_cov=True)
    _, latent = model.predict(NEW, return_std=True, include_noise=False)
    np.testing.assert_allclose(np.sqrt(np.diagonal(joint)), sd, rtol=1e-8)
    np.testing.assert_allclose(sd**2 - latent**2, model.noise_, rtol=1e-6)
    quantiles = model.predict_quantiles(NEW, [0.1, 0.5])
    np.testing.assert_allclose(quantiles, np.c_[mean + sd * norm.ppf(0.1), mean], rtol=1e-10)
    density = model.log_predictive_density(NEW, mean + 0.1)
    np.testing.assert_allclose(density, norm.logpdf(mean + 0.1, mean, sd))
    draws = model.sample_y(NEW[::10], 20_000)
    np.testing.assert_allclose(np.cov(draws), joint[::10, ::10], atol=6e-4)
    np.testing.assert_allclose(draws.mean(1), mean[::10], atol=5e-3)
    assert model.sample_y(NEW, 0).shape == (50, 0)


def test_intervals_cover(model):
    truth = np.sin(2.0 * NEW[:, 0]) + 5.0
    mean, sd = model.predict(NEW, return_std=True, include_noise=False)
    assert np.mean(np.abs(truth - mean) < 3.0 * sd) > 0.9
    assert (sd > 0.0).all()


def test_auto_chooses_by_the_number_of_rows(monkeypatch):
    monkeypatch.setattr("nonparam.sparse.estimator.COLLAPSED_ROWS", 299)
    found = SparseGPRegressor("rbf", m=5, n_epochs=2).fit(X, Y)
    assert "stochastic bound" in found.fit_report_.plan
    assert "collapsed bound" in SparseGPRegressor("rbf", m=5).fit(X[:299], Y[:299]).fit_report_.plan


@pytest.mark.parametrize("method", METHODS)
def test_the_seed_decides(method):
    fits = [
        SparseGPRegressor("rbf", m=5, method=method, n_epochs=5, random_state=seed).fit(X, Y).predict(NEW)
        for seed in (0, 0, 1)
    ]
    np.testing.assert_array_equal(fits[0], fits[1])
    assert np.abs(fits[0] - fits[2]).max() > 0.0


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_more_points_than_rows_and_a_single_one(method):
    many = SparseGPRegressor("rbf", m=1000, method=method, n_epochs=20).fit(X[:12], Y[:12])
    assert len(many.inducing_) == 12 and many.fit_report_.points == 12
    one = SparseGPRegressor("rbf", m=1, method=method, n_epochs=20).fit(X, Y)
    mean, sd = one.predict(NEW, return_std=True)
    assert one.inducing_.shape == (1, 1) and np.isfinite(mean).all() and (sd > 0.0).all()
    single = SparseGPRegressor("rbf", method=method, n_epochs=5).fit(X[:1], Y[:1])
    assert np.isfinite(single.predict(NEW)).all()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_nasty_tables(method):
    def fitted(x, y):
        found = SparseGPRegressor("matern52", m=10, method=method, n_epochs=10, random_state=0).fit(x, y)
        mean, sd = found.predict(x, return_std=True)
        assert np.isfinite(mean).all() and (sd > 0.0).all()
        return mean

    constant = np.c_[X, np.ones(300)]
    fitted(constant, Y)
    np.testing.assert_allclose(fitted(X, np.full(300, 3.0)), 3.0, atol=0.05)
    fitted(np.repeat(X[:5], 60, 0), Y)
    fitted(X * [1e-8], Y)
    fitted(np.c_[X, 1e9 * X[::-1]], 1e7 * Y)


def test_known_noise_is_kept():
    found = SparseGPRegressor("rbf", m=10, noise=0.04, method="collapsed").fit(X, Y)
    assert found.noise_ == 0.04 and "noise" not in found.theta_names_


def test_data_drawn_from_the_model_have_their_hyperparameters_found():
    rng = np.random.default_rng(5)
    x = rng.uniform(0.0, 20.0, (2000, 1))
    gaps = np.abs(x - x.T)
    y = np.linalg.cholesky(4.0 * np.exp(-0.5 * gaps**2) + 1e-9 * np.eye(2000)) @ rng.standard_normal(2000)
    y += 0.3 * rng.standard_normal(2000)
    found = SparseGPRegressor("rbf", m=40, method="stochastic", random_state=0).fit(x, y)
    assert found.noise_ == pytest.approx(0.09, rel=0.1)
    names = dict(zip(found.theta_names_, np.exp(found.theta_), strict=True))
    assert next(v for k, v in names.items() if "lengthscale" in k) == pytest.approx(1.0, rel=0.15)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"m": 0}, "m must be an integer, at least 1; got 0"),
        ({"m": 2.5}, "m must be an integer"),
        ({"method": "sgpr"}, r"method must be one of \('auto', 'collapsed', 'stochastic'\), got 'sgpr'"),
        ({"inducing": True}, r"inducing must be one of \('learn', 'fixed'\)"),
        ({"mean": "linear"}, r"mean must be one of \('zero', 'constant'\), got 'linear'"),
        ({"noise": 0.0}, "'learn' or one positive variance, got 0.0: the bound divides by it"),
        ({"noise": np.ones(300)}, "one positive variance"),
        ({"noise": "known"}, "noise must be 'learn', a variance"),
        ({"batch_size": 0}, "batch_size must be an integer, at least 1"),
        ({"n_epochs": 0}, "n_epochs must be an integer, at least 1"),
        ({"learning_rate": -1.0}, "learning_rate must be a number, at least 0; got -1.0"),
        ({"tolerance": np.inf}, "tolerance must be a number"),
        ({"priors": "flat"}, "priors must be one of"),
        ({"kernel": "matern99"}, "matern99"),
        ({"random_state": "x"}, "random_state must be"),
        ({"verbose": -1}, "verbose must be an integer"),
    ],
)
def test_arguments_that_cannot_be(arguments, message):
    with pytest.raises(InputError, match=message):
        SparseGPRegressor(**arguments).fit(X, Y)


def test_questions_that_cannot_be(model):
    with pytest.raises(InputError, match="return_std or for return_cov, not for both"):
        model.predict(NEW, return_std=True, return_cov=True)
    with pytest.raises(InputError, match="strictly between 0 and 1"):
        model.predict_quantiles(NEW, [1.0])
    with pytest.raises(InputError, match=r"y must have shape \(50,\), got \(50, 2\)"):
        model.log_predictive_density(NEW, np.zeros((50, 2)))
    with pytest.raises(InputError, match="n_samples must be an integer"):
        model.sample_y(NEW, -1)
    with pytest.raises(ValueError, match="2 features"):
        model.predict(np.zeros((3, 2)))
    with pytest.raises(NotFittedError):
        SparseGPRegressor().predict(NEW)


def test_an_interrupt_leaves_a_model(monkeypatch):
    from nonparam.sparse.stochastic import Ascent

    steps, original = [], Ascent.step

    def step(*given, **named):
        if len(steps) == 3:
            raise KeyboardInterrupt
        steps.append(1)
        return original(*given, **named)

    monkeypatch.setattr(Ascent, "step", step)
    with pytest.warns(UserWarning, match="interrupted"):
        found = SparseGPRegressor("rbf", m=10, method="stochastic").fit(X, Y)
    assert found.fit_report_.interrupted and np.isfinite(found.predict(NEW)).all()


def test_an_interrupt_of_the_search_by_all_rows_leaves_its_bound(monkeypatch):
    from nonparam.sparse.collapsed import CollapsedObjective

    calls, original = [], CollapsedObjective.negative

    def negative(*given):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return original(*given)

    monkeypatch.setattr(CollapsedObjective, "negative", negative)
    with pytest.warns(UserWarning, match="interrupted"):
        found = SparseGPRegressor("rbf", m=4, method="collapsed", priors=None, random_state=0).fit(X, Y)
    assert found.lower_bound_ == pytest.approx(found.fit_report_.objective, rel=1e-9)


def test_fits_are_quiet(model):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.predict(NEW)
