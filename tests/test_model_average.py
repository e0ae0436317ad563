"""Averages of models: exact weights, stacking, mixtures, and what cannot be weighed."""

import pickle

import numpy as np
import pytest
from brute_force import rows
from scipy.stats import multivariate_normal, norm
from sklearn.base import clone
from sklearn.linear_model import BayesianRidge

from nonparam import BayesianLinearRegressor, GPRegressor, HyperparameterAverage, ModelAverage
from nonparam.errors import InputError
from nonparam.kernels import RBF, Linear, Scale
from nonparam.model_selection import loo, stacking_weights

NEW = np.array([[1.5], [7.0]])


def fixed(lengthscale, mean="zero", noise=0.1):
    """A conjugate model: nothing to learn."""
    kernel = Scale(RBF(lengthscale, fixed=("lengthscale",)), 1.5, fixed=("outputscale",))
    return GPRegressor(kernel, noise=noise, mean=mean)


def by_hand(X, y, lengthscale):
    a = 1.5 * np.exp(-0.5 * (X - X.T) ** 2 / lengthscale**2) + 0.1 * np.eye(len(X))
    return multivariate_normal(np.zeros(len(X)), a).logpdf(y)


@pytest.mark.parametrize("odds", [None, [1.0, 2.0, 5.0], [1e-6, 1.0, 1e6]])
def test_weights_of_conjugate_models_are_exact(odds):
    X, y = rows(12)
    scales = (0.5, 1.0, 3.0)
    average = ModelAverage([fixed(scale) for scale in scales], prior_odds=odds).fit(X, y)
    logs = np.array([by_hand(X, y, scale) for scale in scales])
    products = np.exp(logs - logs.max()) * (1.0 if odds is None else np.array(odds))
    np.testing.assert_allclose(average.weights_, products / products.sum(), rtol=1e-8)
    np.testing.assert_allclose(average.log_evidences_, logs, atol=1e-9)
    prior = np.full(3, 1.0 / 3.0) if odds is None else np.array(odds) / np.sum(odds)
    assert average.log_evidence() == pytest.approx(np.log(np.exp(logs) @ prior), abs=1e-8)


def test_weights_with_a_fitted_mean_count_its_coefficient():
    X, y = rows(12)
    average = ModelAverage([fixed(0.7, "constant"), fixed(2.0, "constant")]).fit(X, y)
    logs = []
    for scale in (0.7, 2.0):  # a wide normal prior of the constant, whose width cancels
        a = 1.5 * np.exp(-0.5 * (X - X.T) ** 2 / scale**2) + 0.1 * np.eye(12) + 1e6
        logs.append(multivariate_normal(np.zeros(12), a).logpdf(y))
    assert np.log(average.weights_[0] / average.weights_[1]) == pytest.approx(logs[0] - logs[1], abs=1e-4)


def test_the_order_of_the_models_only_orders_the_weights():
    X, y = rows(12)
    one = ModelAverage([fixed(0.5), fixed(2.0)]).fit(X, y)
    other = ModelAverage([fixed(2.0), fixed(0.5)]).fit(X, y)
    np.testing.assert_allclose(one.weights_, other.weights_[::-1], rtol=1e-12)
    np.testing.assert_allclose(one.predict(NEW), other.predict(NEW), rtol=1e-12)


def test_far_apart_evidences_do_not_overflow():
    X, y = rows(60)
    average = ModelAverage([fixed(1.0), fixed(1.0, noise=1e-6)]).fit(X, 30.0 * y)
    assert average.weights_.tolist() == [1.0, 0.0]
    assert np.isfinite(average.log_predictive_density(NEW, [0.0, 0.0])).all()


def test_predictions_are_those_of_the_mixture():
    X, y = rows(10)
    average = ModelAverage([fixed(0.5), fixed(3.0)], prior_odds=[1.0, 50.0]).fit(X, y)
    parts = [model.predict(NEW, return_std=True) for model in average.models_]
    mean, sd = average.predict(NEW, return_std=True)
    w = average.weights_
    np.testing.assert_allclose(mean, sum(a * m for a, (m, _) in zip(w, parts, strict=True)), rtol=1e-12)
    second = sum(a * (s**2 + m**2) for a, (m, s) in zip(w, parts, strict=True))
    np.testing.assert_allclose(sd, np.sqrt(second - mean**2), rtol=1e-9)
    levels = np.array([0.05, 0.5, 0.95])
    quantiles = average.predict_quantiles(NEW, levels)
    cdf = sum(a * norm(m[:, None], s[:, None]).cdf(quantiles) for a, (m, s) in zip(w, parts, strict=True))
    np.testing.assert_allclose(cdf, np.broadcast_to(levels, (2, 3)), rtol=1e-12)
    density = sum(a * norm(m, s).pdf(0.3) for a, (m, s) in zip(w, parts, strict=True))
    np.testing.assert_allclose(average.log_predictive_density(NEW, [0.3, 0.3]), np.log(density), rtol=1e-12)
    draws = average.sample_y(NEW, 4000, random_state=0)
    below = (draws[:, None] <= quantiles[..., None]).mean(-1)
    assert (np.abs(below - levels) < 4.0 * np.sqrt(levels * (1.0 - levels) / 4000)).all()


def test_stacking_weighs_by_rows_that_are_held_out():
    X, y = rows(15)
    models = [fixed(0.5, "constant"), fixed(3.0, "constant"), fixed(1.0, "zero")]
    average = ModelAverage(models, weights="stacking").fit(X, y)
    for k, model in enumerate(models):
        for i in (0, 7):
            left = np.arange(15) != i
            held = clone(model).fit(X[left], y[left]).log_predictive_density(X[[i]], y[[i]])
            assert average.log_densities_[i, k] == pytest.approx(held[0], abs=1e-9)
    np.testing.assert_array_equal(average.weights_, stacking_weights(average.log_densities_))
    mixed = np.log(np.exp(average.log_densities_) @ average.weights_).mean()
    assert mixed >= max(loo(model).value for model in average.models_) - 1e-9


def test_an_average_of_averages_is_one():
    X, y = rows(9)
    inner = HyperparameterAverage(GPRegressor("rbf"), n_draws=16)
    average = ModelAverage([("plug-in", GPRegressor("matern32")), ("averaged", inner)]).fit(X, y)
    mixture = average.predictive_mixture(NEW)
    assert len(mixture.weights) == 1 + len(average.models_[1].weights_)
    assert mixture.weights.sum() == pytest.approx(1.0, abs=1e-12)
    assert average.log_evidences_[1] == average.models_[1].log_evidence()
    outer = ModelAverage([average, GPRegressor("linear")]).fit(X, y)
    assert outer.log_evidences_[0] == pytest.approx(average.log_evidence(), abs=1e-9)
    assert np.isfinite(outer.predict_quantiles(NEW, [0.1, 0.9])).all()


def test_several_outputs_and_pickles():
    X, y = rows(12)
    for weights in ("evidence", "stacking"):
        average = ModelAverage([GPRegressor("rbf"), GPRegressor("linear")], weights=weights)
        average.fit(X, np.column_stack([y, y**2]))
        assert average.predict(NEW).shape == (2, 2) and average.sample_y(NEW, 3).shape == (2, 2, 3)
        other = pickle.loads(pickle.dumps(average))
        np.testing.assert_array_equal(other.predict(NEW), average.predict(NEW))


def test_parameters_reach_into_the_models():
    average = ModelAverage([GPRegressor("rbf"), ("line", GPRegressor(Linear())), GPRegressor("rbf")])
    assert {"gpregressor", "line", "gpregressor (2)", "line__noise"} <= set(average.get_params())
    average.set_params(line__noise=0.3, gpregressor__mean="zero")
    assert average.models[1][1].noise == 0.3 and average.models[0].mean == "zero"
    average.set_params(line=GPRegressor("matern32"), weights="stacking")
    assert average.models[1][0] == "line" and average.models[1][1].kernel == "matern32"
    copy = clone(average)
    assert copy.get_params(deep=False)["weights"] == "stacking" and copy.models[0] is not average.models[0]
    with pytest.raises(ValueError, match="Invalid parameter 'nothing'"):
        average.set_params(nothing=1)


@pytest.mark.parametrize(
    ("average", "said"),
    [
        (ModelAverage([]), "models must be a list of regressors"),
        (ModelAverage(GPRegressor()), "models must be a list of regressors"),
        (ModelAverage([GPRegressor(), "rbf"]), "each of models must be a regressor .* got 'rbf'"),
        (ModelAverage([("a__b", GPRegressor())]), "'a__b' cannot name a model"),
        (ModelAverage([("weights", GPRegressor())]), "'weights' cannot name a model"),
        (ModelAverage([GPRegressor()], weights="bic"), "weights must be one of"),
        (ModelAverage([GPRegressor()], prior_odds=[1.0, 2.0]), "prior_odds must be 1 positive numbers"),
        (ModelAverage([GPRegressor()], prior_odds=[0.0]), "prior_odds must be 1 positive numbers"),
        (
            ModelAverage([GPRegressor()], weights="stacking", prior_odds=[1.0]),
            "of use with weights='evidence'",
        ),
        (ModelAverage([GPRegressor(), GPRegressor(priors=None)]), "flat prior .* is improper"),
        (
            ModelAverage([("a", GPRegressor(mean="zero")), ("b", GPRegressor(mean="linear"))]),
            r"a and b have means of other basis functions \(0 and 2\).*arbitrary constant",
        ),
        (
            ModelAverage([GPRegressor(), HyperparameterAverage(GPRegressor(mean="zero"), n_draws=8)]),
            "means of other basis functions",
        ),
        (ModelAverage([BayesianRidge()], weights="stacking"), "bayesianridge .* has no joint_density"),
        (
            ModelAverage([HyperparameterAverage(GPRegressor(), n_draws=8)], weights="stacking"),
            "has no joint_density",
        ),
    ],
    ids=lambda case: case[:25] if isinstance(case, str) else "",
)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_what_cannot_be_weighed_is_refused(average, said):
    with pytest.raises(InputError, match=said):
        average.fit(*rows(10))


def test_means_of_other_basis_functions_can_be_stacked():
    models = [GPRegressor("rbf", mean="zero"), GPRegressor("rbf", mean="linear")]
    average = ModelAverage(models, weights="stacking").fit(*rows(10))
    with pytest.raises(InputError, match="no probabilities of models"):
        average.log_evidence()


@pytest.mark.parametrize("intercept", [True, False])
def test_linear_models_are_weighed_beside_processes(intercept):
    """With an intercept both have a constant under a flat prior; its factor cancels."""
    X, y = rows(12)
    line = BayesianLinearRegressor(prior_variance=2.0, noise=0.1, intercept=intercept)
    linear = Scale(Linear(1.0, center=0.0, fixed=("variance", "center")), 2.0, fixed=("outputscale",))
    same = GPRegressor(linear, noise=0.1, mean="constant" if intercept else "zero")
    smooth = fixed(1.0, mean=same.mean)
    weights = ModelAverage([line, smooth]).fit(X, y).weights_
    np.testing.assert_allclose(weights, ModelAverage([same, smooth]).fit(X, y).weights_, rtol=1e-7)
    with pytest.raises(InputError, match="have means of other basis functions"):
        ModelAverage([line, fixed(1.0, mean="zero" if intercept else "constant")]).fit(X, y)


def test_linear_models_that_learn_without_a_prior_have_no_weight():
    X, y = rows(12)
    with pytest.raises(
        InputError, match="prior_variance, noise of BayesianLinearRegressor were learnt without a"
    ):
        ModelAverage([BayesianLinearRegressor(), fixed(1.0, mean="constant")]).fit(X, y)
