"""Averages over hyperparameters against quadrature with the model written out."""

import pickle

import gpytorch
import numpy as np
import pandas as pd
import pytest
from brute_force import BruteForce, model_with, rows
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.linear_model import BayesianRidge

from nonparam import DeepKernelRegressor, GPRegressor, HyperparameterAverage, InfiniteNetworkRegressor
from nonparam import averaging as module
from nonparam.errors import InputError, InsufficientMemoryError
from nonparam.kernels import RBF, Scale

LEVELS = np.array([0.025, 0.5, 0.975])
NEW = np.array([1.5, 3.3, 7.0, 9.0])  # between the rows and beyond them


@pytest.fixture(scope="module", params=["zero", "constant"])
def few(request):
    """Ten rows, the posterior by quadrature, and a fitted model."""
    X, y = rows(10, seed=4)
    model = model_with(3, request.param).fit(X, y)
    return X, y, model, BruteForce(model, X, y, points=41)


# what the mean, deviation and probabilities may be off by, relative to the deviation where it has a unit
@pytest.mark.parametrize(("way", "error"), [("grid", 0.02), ("laplace", 0.07)])
def test_predictions_are_those_of_quadrature(few, way, error):
    X, y, model, exact = few
    average = HyperparameterAverage(model, way, n_draws=512).fit(X, y)
    mean, sd = average.predict(NEW[:, None], return_std=True)
    quantiles = average.predict_quantiles(NEW[:, None], LEVELS)
    for i, new in enumerate(NEW):
        centre, spread = exact.predict(new)
        assert mean[i] == pytest.approx(centre, abs=error * spread)
        assert sd[i] == pytest.approx(spread, rel=error)
        below = [exact.cdf(new, quantile) for quantile in quantiles[i]]
        np.testing.assert_allclose(below, LEVELS, atol=0.5 * error)
        values = centre + spread * np.array([-1.5, 0.0, 1.5])
        found = average.log_predictive_density(np.full((3, 1), new), values)
        np.testing.assert_allclose(found, [exact.log_density(new, v) for v in values], atol=2.0 * error)


@pytest.mark.parametrize("n", [8, 11, 15])
def test_it_is_nearer_to_quadrature_than_the_most_probable_hyperparameters(n):
    X, y = rows(n, seed=n)
    plug_in = model_with(3, "constant").fit(X, y)
    exact = BruteForce(plug_in, X, y, points=31)
    truth = np.sin(NEW)
    densities = np.array([exact.log_density(*pair) for pair in zip(NEW, truth, strict=True)])
    for way in ("grid", "laplace"):
        average = HyperparameterAverage(plug_in, way).fit(X, y)
        misses, gaps = [], []
        for model in (average, plug_in):
            edges = model.predict_quantiles(NEW[:, None], [0.025, 0.975])
            covered = [exact.cdf(new, b) - exact.cdf(new, a) for new, (a, b) in zip(NEW, edges, strict=True)]
            misses.append(np.abs(np.array(covered) - 0.95).max())
            gaps.append(np.abs(model.log_predictive_density(NEW[:, None], truth) - densities).max())
        assert misses[0] < 0.02 and misses[0] < 0.5 * misses[1]
        assert gaps[0] < 0.5 * gaps[1]


def test_the_nodes_posterior_moments_are_those_of_quadrature(few):
    X, y, model, exact = few
    average = HyperparameterAverage(model, "grid").fit(X, y)
    assert list(average.nodes_.columns) == model.theta_names_
    assert average.weights_.sum() == pytest.approx(1.0, abs=1e-12)
    np.testing.assert_allclose(
        average.weights_ @ average.nodes_.to_numpy(), exact.weights @ exact.theta, atol=0.02
    )


def test_every_node_is_the_model_at_its_hyperparameters():
    X, y = rows(9)
    average = HyperparameterAverage(GPRegressor("matern32"), n_draws=8).fit(X, y)
    theta = average.nodes_.to_numpy()
    for point, node in zip(theta, average.models_, strict=True):
        expected = average.estimator_.log_marginal_likelihood(point)
        assert node.log_marginal_likelihood_ == pytest.approx(expected, abs=1e-8)
        assert node.noise_ == pytest.approx(np.exp(point[-1]))
        held = Scale(RBF(1.0), 1.0)
        assert type(node.kernel_) is type(held)
        np.testing.assert_allclose(node.kernel_.outputscale.item(), np.exp(point[0]))
    again = average.estimator_.predict(X)  # the fitted clone itself stays where it was
    np.testing.assert_array_equal(again, clone(average.estimator).fit(X, y).predict(X))


def test_the_mixture_is_that_of_the_nodes():
    X, y = rows(9)
    average = HyperparameterAverage(GPRegressor("rbf"), n_draws=32).fit(X, y)
    x = NEW[:, None]
    means, sds = (
        np.array(each) for each in zip(*(m.predict(x, return_std=True) for m in average.models_), strict=True)
    )
    mean, sd = average.predict(x, return_std=True)
    np.testing.assert_allclose(mean, average.weights_ @ means, rtol=1e-12)
    np.testing.assert_allclose(sd**2, average.weights_ @ (sds**2 + means**2) - mean**2, rtol=1e-9)
    assert (average.predict(x, return_std=True, include_noise=False)[1] < sd).all()


def test_draws_follow_the_mixture():
    X, y = rows(9)
    average = HyperparameterAverage(GPRegressor("rbf"), n_draws=32).fit(X, y)
    draws = average.sample_y(NEW[:, None], 4000, random_state=1)
    assert draws.shape == (4, 4000)
    for level in (0.1, 0.5, 0.9):
        below = (draws <= average.predict_quantiles(NEW[:, None], level)).mean(1)
        assert (np.abs(below - level) < 4.0 * np.sqrt(level * (1 - level) / 4000)).all()
    np.testing.assert_array_equal(draws[:, :0].shape, (4, 0))
    np.testing.assert_array_equal(draws, average.sample_y(NEW[:, None], 4000, random_state=1))


@pytest.mark.parametrize("outputs", [1, 2])
def test_pickles_clones_and_several_outputs(outputs):
    X, y = rows(12)
    Y = np.column_stack([y, y**2])[:, :outputs].squeeze()
    average = HyperparameterAverage(GPRegressor("rbf"), n_draws=16).fit(X, Y)
    x = NEW[:, None]
    other, again = pickle.loads(pickle.dumps(average)), clone(average).fit(X, Y)
    for copy in (other, again):
        np.testing.assert_array_equal(copy.predict(x), average.predict(x))
    shape = (4,) if outputs == 1 else (4, 2)
    assert average.predict(x).shape == average.log_predictive_density(x, average.predict(x)).shape == shape
    assert average.predict_quantiles(x, LEVELS).shape == (*shape, 3)
    assert average.sample_y(x, 5).shape == (*shape, 5)


def test_seeds_choose_the_draws_and_the_lattice_has_none():
    X, y = rows(9)
    one, two, other = (
        HyperparameterAverage(GPRegressor("rbf"), n_draws=16, random_state=seed).fit(X, y)
        for seed in (1, 1, 2)
    )
    pd.testing.assert_frame_equal(one.nodes_, two.nodes_)
    assert not np.allclose(one.nodes_.iloc[0], other.nodes_.iloc[0])


def test_nothing_to_learn_leaves_one_node():
    kernel = Scale(RBF(1.0, fixed=("lengthscale",)), 1.0, fixed=("outputscale",))
    X, y = rows(9)
    model = GPRegressor(kernel, noise=0.1).fit(X, y)
    for way in ("laplace", "grid", "nuts"):
        average = HyperparameterAverage(model, way).fit(X, y)
        assert average.weights_.tolist() == [1.0] and average.nodes_.shape == (1, 0)
        assert average.log_evidence() == pytest.approx(model.log_evidence(), abs=1e-12)
        np.testing.assert_allclose(average.predict(X), model.predict(X), rtol=1e-12)


def test_structure_and_weights_give_what_dense_rows_do():
    X = np.arange(40.0)[:, None]
    y = np.sin(0.5 * X[:, 0]) + 0.1 * np.cos(9.0 * X[:, 0])
    averages = [
        HyperparameterAverage(GPRegressor("matern32", solver=solver), n_draws=32).fit(X, y)
        for solver in ("state_space", "cholesky")
    ]
    for a, b in zip(*(m.predict(X + 0.5, return_std=True) for m in averages), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    twice = HyperparameterAverage(GPRegressor("matern32", solver="cholesky"), n_draws=32)
    weighted = clone(twice).fit(X[:12], y[:12], np.where(np.arange(12) < 3, 2.0, 1.0))
    repeated = twice.fit(np.r_[X[:12], X[:3]], np.r_[y[:12], y[:3]])
    assert weighted.log_evidence() == pytest.approx(repeated.log_evidence(), abs=1e-5)
    np.testing.assert_allclose(weighted.predict(X), repeated.predict(X), atol=1e-6)


def test_known_noise_row_by_row_is_never_added():
    X, y = rows(9)
    average = HyperparameterAverage(GPRegressor("rbf", noise=np.full(9, 0.04)), n_draws=16).fit(X, y)
    with_noise, without = (average.predict(X, return_std=True, include_noise=i)[1] for i in (True, False))
    np.testing.assert_array_equal(with_noise, without)
    with pytest.raises(InputError, match="the noise of new rows is not known"):
        average.log_predictive_density(X, y)


# refusals ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("average", "said"),
    [
        (HyperparameterAverage(GPRegressor("rbf"), "mcmc"), "marginalise must be one of"),
        (HyperparameterAverage(GPRegressor("rbf"), n_draws=3), "n_draws must be an integer, at least 4"),
        (HyperparameterAverage(GPRegressor("rbf"), random_state=-1), "random_state must be"),
        (HyperparameterAverage(BayesianRidge()), "estimator must be a GPRegressor.*BayesianRidge"),
        (HyperparameterAverage(DeepKernelRegressor()), "estimator must be a GPRegressor.*DeepKernel"),
        (
            HyperparameterAverage(InfiniteNetworkRegressor("erf-1", kernel="ntk", train_time=5.0)),
            "networks that are trained for train_time=5.0 have none: take train_time=None",
        ),
        (HyperparameterAverage(GPRegressor(objective="loo")), "posterior with objective='lml' only"),
        (HyperparameterAverage(GPRegressor("rbf", priors=None)), "priors=None leaves the 3 hyperparameters"),
        (HyperparameterAverage(GPRegressor("rbf + matern32"), "grid"), "up to 4 .* and the model has 5"),
        (
            HyperparameterAverage(GPRegressor(gpytorch.kernels.RBFKernel())),
            "needs a prior of every hyperparameter, and 1 have none",
        ),
    ],
    ids=lambda case: case[:20] if isinstance(case, str) else "",
)
def test_what_cannot_be_averaged_is_refused(average, said):
    with pytest.raises(InputError, match=said):
        average.fit(*rows(12))


def test_predictions_before_a_fit_are_refused():
    with pytest.raises(NotFittedError):
        HyperparameterAverage(GPRegressor()).predict([[1.0]])


@pytest.mark.parametrize("way", ["laplace", "grid"])
def test_too_little_memory_is_said_before_it_is_used(monkeypatch, way):
    monkeypatch.setattr(module, "free_memory", lambda device: 10_000)
    with pytest.raises(InsufficientMemoryError, match=r"nodes with a factor of 12 rows each need about"):
        HyperparameterAverage(GPRegressor("rbf"), way).fit(*rows(12))


def test_few_effective_draws_are_said(monkeypatch):
    monkeypatch.setattr(module, "POOR", 1.0)
    with pytest.warns(
        ConvergenceWarning, match=r"16 draws of the hyperparameters are worth \d+\.\d independent"
    ):
        HyperparameterAverage(GPRegressor("rbf"), n_draws=16).fit(*rows(8))


def test_a_lesser_maximum_is_said():
    rng = np.random.default_rng(3)
    X = np.sort(rng.uniform(0.0, 60.0, 70))[:, None]
    y = np.sin(X[:, 0]) + 0.2 * rng.standard_normal(70)  # the search takes the wave for noise
    with pytest.warns(ConvergenceWarning, match=r"nats above the fitted hyperparameters.*n_restarts"):
        HyperparameterAverage(model_with(3, "zero"), "grid").fit(X, y)
