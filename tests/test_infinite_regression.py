"""Regression with infinitely wide networks: what it is, where a user meets it, and what it refuses."""

import math
import pickle

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.utils.estimator_checks import parametrize_with_checks

from nonparam import GPRegressor, InfiniteNetworkRegressor
from nonparam.errors import InputError
from nonparam.kernels.infinite import InfiniteNetwork
from nonparam.networks import Dense, Erf, Sequential, gradient_flow
from nonparam.networks.gradient_flow import Krylov, TrainedEnsemble

RNG = np.random.default_rng(3)
X = RNG.uniform(-2.0, 2.0, (60, 2))
Y = np.sin(2.0 * X[:, 0]) + 0.5 * X[:, 1] + 0.1 * RNG.standard_normal(60)
NEW = RNG.uniform(-2.0, 2.0, (9, 2))


@pytest.fixture(scope="module")
def ensemble():
    return InfiniteNetworkRegressor("erf-1", kernel="ntk", train_time=40.0).fit(X, Y)


@parametrize_with_checks(
    [InfiniteNetworkRegressor("relu-2"), InfiniteNetworkRegressor("erf-1", kernel="ntk", train_time=10.0)]
)
def test_scikit_learn_checks(estimator, check):
    check(estimator)


@pytest.mark.parametrize("kind", ["nngp", "ntk"])
@pytest.mark.parametrize("objective", ["lml", "clml", "loo"])
def test_it_is_a_gaussian_process_with_that_kernel(kind, objective):
    model = InfiniteNetworkRegressor("erf-1", kernel=kind, objective=objective, random_state=0).fit(X, Y)
    same = GPRegressor(InfiniteNetwork("erf-1", kind), objective=objective, random_state=0).fit(X, Y)
    for one, other in zip(
        model.predict(NEW, return_std=True), same.predict(NEW, return_std=True), strict=True
    ):
        np.testing.assert_array_equal(one, other)
    assert model.score(X, Y) > 0.9
    with torch.no_grad():
        k = model.kernel_.matrix(torch.from_numpy(X)).numpy() + model.noise_ * np.eye(60)
        cross = model.kernel_.matrix(torch.from_numpy(NEW), torch.from_numpy(X)).numpy()
    solved = np.linalg.solve(k, np.column_stack([Y, np.ones(60)]))
    level = solved[:, 0].sum() / solved[:, 1].sum()
    np.testing.assert_allclose(
        model.predict(NEW), level + cross @ (solved[:, 0] - level * solved[:, 1]), rtol=1e-7
    )


def test_an_ensemble_has_the_hyperparameters_of_the_tangent_kernels_process(ensemble):
    plain = InfiniteNetworkRegressor("erf-1", kernel="ntk").fit(X, Y)
    np.testing.assert_array_equal(ensemble.theta_, plain.theta_)
    assert ensemble.log_marginal_likelihood_ == plain.log_marginal_likelihood_
    assert np.abs(ensemble.predict(NEW) - plain.predict(NEW)).max() > 1e-3
    assert isinstance(ensemble.posterior_, TrainedEnsemble)


def test_the_ensemble_is_the_closed_form_in_units_of_y(ensemble):
    x, new = torch.from_numpy(X), torch.from_numpy(NEW)
    with torch.no_grad():
        t, cross = ensemble.kernel_.matrix(x).numpy(), ensemble.kernel_.matrix(new, x).numpy()
    level = float(ensemble.posterior_.mean.coefficients) + ensemble.y_mean_
    values, vectors = np.linalg.eigh(t)
    gains = -np.expm1(-values * 40.0 / (60 * Y.var())) / values
    expected = level + cross @ (vectors * gains) @ vectors.T @ (Y - level)
    np.testing.assert_allclose(ensemble.predict(NEW), expected, rtol=1e-6)


def test_units_of_y_change_no_time(ensemble):
    scaled = clone(ensemble).fit(X, 1000.0 * Y - 7.0)
    for one, other in zip(
        scaled.predict(NEW, return_std=True), ensemble.predict(NEW, return_std=True), strict=True
    ):
        shift = 7.0 if one is not None and np.allclose(one, scaled.predict(NEW)) else 0.0
        np.testing.assert_allclose(one + shift, 1000.0 * other, rtol=1e-3, atol=1.0)


def test_noise_is_added_to_the_spread_of_the_ensemble(ensemble):
    spread, whole = (ensemble.predict(NEW, return_std=True, include_noise=f)[1] for f in (False, True))
    np.testing.assert_allclose(whole**2 - spread**2, ensemble.noise_, rtol=1e-9)
    covariance = ensemble.predict(NEW, return_cov=True, include_noise=False)[1]
    np.testing.assert_allclose(np.sqrt(np.diag(covariance)), spread, rtol=1e-8)
    draws = ensemble.sample_y(NEW, 4000, random_state=0)
    np.testing.assert_allclose(draws.std(1), whole, rtol=0.1)
    quantiles = ensemble.predict_quantiles(NEW, [0.05, 0.95])
    assert (quantiles[:, 0] < ensemble.predict(NEW)).all() and (quantiles[:, 1] > ensemble.predict(NEW)).all()


def test_longer_training_fits_the_rows_better():
    errors = []
    for time in (0.1, 10.0, 1e4, math.inf):
        model = InfiniteNetworkRegressor("erf-1", kernel="ntk", train_time=time, noise=0.01).fit(X, Y)
        errors.append(np.sqrt(np.mean((model.predict(X) - Y) ** 2)))
    assert errors == sorted(errors, reverse=True) and errors[-1] < 0.02 * errors[0]


def test_several_outputs_weights_and_rows_that_occur_twice():
    y = np.column_stack([Y, 100.0 * X[:, 1]])
    model = InfiniteNetworkRegressor("erf-1", kernel="ntk", train_time=20.0).fit(X, y)
    mean, sd = model.predict(NEW, return_std=True)
    assert mean.shape == sd.shape == (9, 2) and (sd[:, 1] > 10.0 * sd[:, 0]).all()
    times = np.tile([1, 2, 3], 10)
    few, outputs = X[:30], Y[:30]
    weighted = clone(model).fit(few, outputs, times)
    again = clone(model).fit(np.repeat(few, times, 0), np.repeat(outputs, times))
    np.testing.assert_allclose(weighted.predict(NEW), again.predict(NEW), rtol=1e-3)


def test_many_rows_are_trained_on_by_lanczos(ensemble, monkeypatch):
    monkeypatch.setattr(gradient_flow, "SEARCHED", 59)
    model = clone(ensemble).fit(X, Y)
    assert isinstance(model.posterior_.filter, Krylov)
    for one, other in zip(
        model.predict(NEW, return_std=True), ensemble.predict(NEW, return_std=True), strict=True
    ):
        np.testing.assert_allclose(one, other, rtol=1e-5)


@pytest.mark.parametrize("time", [None, 40.0])
def test_files_pickles_and_updates(tmp_path, time):
    kind = "nngp" if time is None else "ntk"
    model = InfiniteNetworkRegressor("erf-1", kernel=kind, train_time=time, noise=0.01).fit(X[:50], Y[:50])
    model.save(tmp_path / "model")
    again = InfiniteNetworkRegressor.load(tmp_path / "model")
    assert again.get_params() == model.get_params()
    for other in (again, pickle.loads(pickle.dumps(model))):
        for one, two in zip(
            other.predict(NEW, return_std=True), model.predict(NEW, return_std=True), strict=True
        ):
            np.testing.assert_allclose(one, two, rtol=1e-12)
    more = again.update(X[50:], Y[50:])
    assert more.posterior_.data.x.shape == (60, 2) and type(more.posterior_) is type(model.posterior_)
    with torch.no_grad():
        k = more.kernel_.matrix(torch.from_numpy(X)).numpy()
    assert np.sqrt(np.mean((more.predict(X) - Y) ** 2)) < 0.5 and np.isfinite(k).all()


@pytest.mark.parametrize("time", [40.0, math.inf])
def test_a_time_that_is_set_after_the_fit_changes_no_model(tmp_path, time):
    model = InfiniteNetworkRegressor("erf-1", kernel="ntk", train_time=time, noise=0.01).fit(X, Y)
    expected = model.predict(NEW)
    model.set_params(train_time=None).save(tmp_path / "model")
    again = InfiniteNetworkRegressor.load(tmp_path / "model")
    np.testing.assert_allclose(again.predict(NEW), expected, rtol=1e-12)
    assert again.train_time_ == time and again.train_time is None
    with pytest.raises(InputError, match=f"trained for train_time={time}: fit with train_time=None"):
        again.decompose()
    with pytest.raises(NotFittedError, match="not fitted yet"):
        InfiniteNetworkRegressor(kernel="ntk", train_time=time).decompose()


def test_a_checkpoint_is_taken_and_left_behind_by_none(tmp_path):
    path = tmp_path / "fit"
    InfiniteNetworkRegressor("erf-1", checkpoint=path).fit(X, Y)
    assert list(tmp_path.iterdir()) == []


def test_layers_grids_and_clones():
    arch = Sequential(Dense(), Erf(), Dense())
    model = InfiniteNetworkRegressor(arch).fit(X, Y)
    np.testing.assert_allclose(model.predict(NEW), InfiniteNetworkRegressor("erf-1").fit(X, Y).predict(NEW))
    grid = {"arch": ["relu-1", "erf-1"], "kernel": ["nngp", "ntk"]}
    assert len(GridSearchCV(InfiniteNetworkRegressor(), grid, cv=2).fit(X, Y).cv_results_["params"]) == 4


@pytest.mark.parametrize("method", ["decompose", "sample_functions", "joint_density"])
def test_what_belongs_to_a_posterior_is_refused_to_an_ensemble(ensemble, method):
    with pytest.raises(InputError, match=r"trained for train_time=40\.0: fit with train_time=None"):
        getattr(ensemble, method)()
    assert InfiniteNetworkRegressor("erf-1", noise=0.01).fit(X, Y).decompose().names[0] == "mean"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"kernel": "rbf"}, r"kernel must be one of \('nngp', 'ntk'\), got 'rbf'"),
        ({"kernel": None}, "kernel must be one of"),
        ({"arch": "relu"}, "architecture must be an activation and the number of hidden layers"),
        ({"arch": 3}, "architecture must be a text such as 'relu-3'"),
        ({"arch": Sequential(Erf())}, "a Sequential of nonparam.networks with a Dense layer"),
        (
            {"kernel": "ntk", "train_time": 0.0},
            "train_time must be None, a positive number or math.inf, got 0.0",
        ),
        ({"kernel": "ntk", "train_time": -1}, "train_time must be"),
        ({"kernel": "ntk", "train_time": math.nan}, "train_time must be"),
        ({"kernel": "ntk", "train_time": True}, "train_time must be"),
        ({"kernel": "ntk", "train_time": "long"}, "train_time must be"),
        ({"train_time": 1.0}, "train_time=1.0 is of gradient descent, got kernel='nngp': take kernel='ntk'"),
        ({"solver": "ski"}, "ski|stationary"),
        ({"objective": "mse"}, "objective must be one of"),
    ],
)
def test_arguments_that_make_no_model(arguments, said):
    with pytest.raises(InputError, match=said):
        InfiniteNetworkRegressor(**arguments).fit(X, Y)


@pytest.mark.parametrize("time", [None, 5.0, math.inf])
def test_a_constant_y_one_row_and_constant_columns(time):
    model = InfiniteNetworkRegressor("relu-1", kernel="ntk", train_time=time)
    flat = clone(model).fit(X, np.full(60, 3.0))
    np.testing.assert_allclose(flat.predict(NEW), 3.0, atol=1e-3)
    assert np.isfinite(flat.predict(NEW, return_std=True)[1]).all()
    single = clone(model).fit(X[:1], Y[:1])
    assert np.isfinite(single.predict(NEW, return_std=True)).all()
    constant = clone(model).fit(np.column_stack([X, np.ones(60)]), Y)
    assert np.isfinite(constant.predict(np.column_stack([NEW, np.zeros(9)]))).all()


def test_intervals_cover_what_they_should():
    """Functions of another process, so that coverage is not that of the right model."""
    inside = []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        d = 1 + seed % 3
        x = rng.uniform(-2.0, 2.0, (300, d))
        squared = ((x[:, None] - x) ** 2).sum(2)
        f = np.linalg.cholesky(np.exp(-0.5 * squared / d) + 1e-8 * np.eye(300)) @ rng.standard_normal(300)
        y = f + 0.2 * rng.standard_normal(300)
        model = InfiniteNetworkRegressor("erf-1").fit(x[:200], y[:200])
        low, high = model.predict_quantiles(x[200:], [0.05, 0.95]).T
        inside.append(np.mean((low <= y[200:]) & (y[200:] <= high)))
    assert 0.87 < np.mean(inside) < 0.93
