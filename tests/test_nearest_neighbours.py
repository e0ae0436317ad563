"""Regression given nearest neighbours: the exact model where all are, and near it where few are."""

import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.utils.estimator_checks import parametrize_with_checks

from nonparam import GPRegressor, NearestNeighbourGPRegressor, fisher_scoring, nearest_neighbours
from nonparam.errors import InputError

RNG = np.random.default_rng(0)
X = RNG.uniform(-2.0, 2.0, (150, 2))
Y = np.sin(2.0 * X[:, 0]) + 0.5 * X[:, 1] + 0.1 * RNG.standard_normal(150)
NEW = RNG.uniform(-2.0, 2.0, (20, 2))


def model(kernel="matern52", **arguments):
    return NearestNeighbourGPRegressor(kernel, **{"random_state": 0, **arguments})


@parametrize_with_checks([model("rbf", num_neighbours=8)])
def test_scikit_learn_checks(estimator, check):
    check(estimator)


@pytest.mark.parametrize("mean", ["zero", "constant", "linear"])
@pytest.mark.parametrize("kernel", ["matern52", "rbf(ard=False)", "matern32 + linear"])
def test_all_rows_as_neighbours_are_the_exact_model(kernel, mean):
    near = model(kernel, num_neighbours=59, mean=mean).fit(X[:60], Y[:60])
    exact = GPRegressor(kernel, mean=mean).fit(X[:60], Y[:60])
    assert near.fit_report_.objective == pytest.approx(exact.fit_report_.objective, abs=0.1)
    fixed = exact.log_marginal_likelihood(near.theta_)
    assert near.log_marginal_likelihood_ == pytest.approx(fixed, abs=1e-6)
    for noisy in (True, False):
        found, expected = (each.predict(NEW, True, include_noise=noisy) for each in (near, exact))
        for left, right in zip(found, expected, strict=True):
            np.testing.assert_allclose(left, right, rtol=0.05, atol=0.01)


@pytest.mark.parametrize("ordering", ["random", "maximin", "given"])
def test_a_few_neighbours_are_nearly_exact(ordering):
    near = model(num_neighbours=25, ordering=ordering).fit(X, Y)
    exact = GPRegressor("matern52").fit(X, Y)
    (mean, sd), (right, spread) = (each.predict(NEW, return_std=True) for each in (near, exact))
    assert np.abs(mean - right).max() < 0.05 and np.abs(np.log(sd / spread)).max() < 0.2
    assert near.log_marginal_likelihood_ == pytest.approx(exact.log_marginal_likelihood_, abs=5.0)


def test_predictions_given_all_observations_at_fixed_hyperparameters():
    """The posterior against its definition, with weights of the mean that are uncertain."""
    kernel = "2.0 * rbf(0.8, fixed=('lengthscale',))"
    near = model(kernel, num_neighbours=149, noise=0.05).fit(X, Y)
    exact = GPRegressor(near.kernel_, noise=0.05).fit(X, Y)
    assert near.theta_ == pytest.approx(exact.theta_, abs=0.02)
    point = near.log_marginal_likelihood_
    assert point == pytest.approx(exact.log_marginal_likelihood(near.theta_), abs=1e-7)


def test_several_outputs_share_hyperparameters():
    both = model(num_neighbours=20).fit(X, np.column_stack([Y, 100.0 * Y + 7.0]))
    mean, sd = both.predict(NEW, return_std=True)
    assert mean.shape == sd.shape == (20, 2)
    np.testing.assert_allclose(mean[:, 1], 100.0 * mean[:, 0] + 7.0, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(sd[:, 1], 100.0 * sd[:, 0], rtol=1e-6)
    assert both.score(X, np.column_stack([Y, 100.0 * Y + 7.0])) > 0.95


def test_subsets_come_first_and_neighbours_are_found_again(monkeypatch):
    monkeypatch.setattr(nearest_neighbours, "SUBSETS", (30,))
    staged = model(num_neighbours=15).fit(X, Y)
    monkeypatch.setattr(nearest_neighbours, "SUBSETS", ())
    whole = model(num_neighbours=15).fit(X, Y)
    np.testing.assert_allclose(staged.predict(NEW), whole.predict(NEW), atol=0.03)
    assert "each row given 15 before it in random order" in staged.fit_report_.plan
    long = np.column_stack([X[:, 0], 50.0 * X[:, 1]])
    assert model(num_neighbours=10).fit(long, np.sin(3.0 * X[:, 0])).fit_report_.converged


def test_tables_of_all_kinds_are_the_same_model():
    whole = model(num_neighbours=15).fit(X, Y)
    frame = clone(whole).fit(pd.DataFrame(X, columns=["a", "b"]), pd.Series(Y))
    assert list(frame.feature_names_in_) == ["a", "b"]
    np.testing.assert_array_equal(frame.predict(pd.DataFrame(NEW, columns=["a", "b"])), whole.predict(NEW))
    tensor = clone(whole).fit(torch.from_numpy(X), torch.from_numpy(Y))
    np.testing.assert_array_equal(tensor.predict(torch.from_numpy(NEW)), whole.predict(NEW))
    single = clone(whole).fit(X.astype(np.float32), Y.astype(np.float32))
    np.testing.assert_allclose(single.predict(NEW), whole.predict(NEW), atol=1e-3)
    again = pickle.loads(pickle.dumps(whole))
    np.testing.assert_array_equal(again.predict(NEW), whole.predict(NEW))


def test_units_change_nothing():
    whole = model(num_neighbours=15).fit(X, Y)
    scaled = model(num_neighbours=15).fit(1e3 * X - 7.0, 1e-4 * Y + 3.0)
    np.testing.assert_allclose((scaled.predict(1e3 * NEW - 7.0) - 3.0) / 1e-4, whole.predict(NEW), atol=1e-3)


def test_quantiles_and_densities():
    found = model(num_neighbours=15).fit(X, Y)
    mean, sd = found.predict(NEW, return_std=True)
    quantiles = found.predict_quantiles(NEW, [0.05, 0.5, 0.95])
    np.testing.assert_allclose(quantiles[:, 1], mean)
    np.testing.assert_allclose(quantiles[:, 2] - quantiles[:, 0], 2.0 * 1.6448536 * sd, rtol=1e-6)
    density = found.log_predictive_density(NEW, mean)
    np.testing.assert_allclose(density, -np.log(sd) - 0.5 * np.log(2.0 * np.pi))


def standardised(seed):
    """Held-out rows of a draw of a process, less their means, in deviations."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(0.0, 8.0, (1200, 2))
    gaps = np.sqrt(5.0) * np.linalg.norm(x[:, None] - x, axis=2)
    k = (1.0 + gaps + gaps**2 / 3.0) * np.exp(-gaps) + 0.1 * np.eye(1200)
    y = np.linalg.cholesky(k) @ rng.standard_normal(1200)
    mean, sd = model(num_neighbours=15).fit(x[:800], y[:800]).predict(x[800:], return_std=True)
    return (y[800:] - mean) / sd


def test_intervals_cover():
    z = np.concatenate([standardised(seed) for seed in range(4)])
    assert abs((np.abs(z) < 1.645).mean() - 0.9) < 0.03 and abs(z.std() - 1.0) < 0.06


@pytest.mark.parametrize(
    "x",
    [
        X[:1],
        X[:2],
        np.repeat(X[:30], 5, axis=0),
        np.column_stack([X, np.full(150, 3.0)]),
        np.zeros((150, 2)),
    ],
)
def test_nasty_rows(x):
    with np.errstate(all="raise"):
        found = model(num_neighbours=10).fit(x, Y[: len(x)])
    mean, sd = found.predict(x[:7], return_std=True)
    assert np.isfinite(mean).all() and (sd > 0.0).all()


def test_a_constant_output():
    mean, sd = model(num_neighbours=10).fit(X, np.full(150, 4.0)).predict(NEW, return_std=True)
    np.testing.assert_allclose(mean, 4.0, atol=1e-3)
    assert (sd > 0.0).all()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"num_neighbours": 0}, "num_neighbours must be an integer, at least 1; got 0"),
        ({"num_neighbours": 2.5}, "num_neighbours must be an integer"),
        ({"ordering": "sorted"}, r"ordering must be one of \('random', 'maximin', 'given'\), got 'sorted'"),
        ({"mean": "cubic"}, "mean must be one of"),
        ({"noise": -1.0}, "noise"),
        ({"noise": np.ones(150)}, "noise must be"),
        ({"priors": "flat"}, "priors must be one of"),
        ({"normalize_y": "yes"}, "normalize_y must be one of"),
        ({"device": "tpu"}, "device must be"),
        ({"random_state": "seed"}, "random_state must be"),
        ({"verbose": -1}, "verbose must be"),
        ({"kernel": 3.0}, "kernel"),
    ],
)
def test_arguments_that_make_no_model(arguments, said):
    with pytest.raises(InputError, match=said):
        model(**arguments).fit(X, Y)


def test_data_that_make_no_model(monkeypatch):
    with pytest.raises(InputError, match="contains NaN in column 1"):
        model().fit(np.where(np.arange(300).reshape(150, 2) == 5, np.nan, X), Y)
    with pytest.raises(InputError, match="inconsistent"):
        model().fit(X, Y[:-1])
    with pytest.raises(NotFittedError, match="not fitted yet"):
        model().predict(X)
    monkeypatch.setattr(nearest_neighbours, "MOST_BY_DISTANCE", 100)
    with pytest.raises(InputError, match="distances of all pairs of 150 rows, expected 100 at most"):
        model(ordering="maximin").fit(X, Y)


def test_a_search_that_does_not_end_is_told(monkeypatch):
    monkeypatch.setattr(fisher_scoring, "MAX_STEPS", 1)
    with pytest.warns(ConvergenceWarning, match="did not converge"):
        found = model(num_neighbours=5).fit(X, Y)
    assert not found.fit_report_.converged


def test_the_report_is_printed(capsys):
    model(num_neighbours=5, verbose=1).fit(X, Y)
    assert "Vecchia's approximation, each row given 5 before it" in capsys.readouterr().out
