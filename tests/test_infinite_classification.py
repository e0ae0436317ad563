"""Classification with infinitely wide networks: right, calibrated, and clear where it cannot be."""

import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import cross_val_score
from sklearn.utils.estimator_checks import parametrize_with_checks

from nonparam import InfiniteNetworkClassifier
from nonparam.errors import InputError, InsufficientMemoryError
from nonparam.kernels import InfiniteNetwork, with_amplitude
from nonparam.latent import class_posterior
from nonparam.latent.dirichlet import DirichletObjective, LogNormal, class_data
from nonparam.model_selection.held_out import HeldOutRows
from nonparam.networks import Dense, Relu, Sequential, infinite_classification
from nonparam.theta import Theta

RNG = np.random.default_rng(1)
X = RNG.normal(size=(90, 2))
CODES = (X[:, 0] > 0.3).astype(int) + (X[:, 1] > 0.0)
NEW = RNG.normal(size=(11, 2))


@pytest.fixture(scope="module")
def model():
    return InfiniteNetworkClassifier("erf-1", random_state=0).fit(X, CODES)


@parametrize_with_checks([InfiniteNetworkClassifier("relu-1", random_state=0)])
def test_scikit_learn_checks(estimator, check):
    check(estimator)


def test_probabilities_are_such_and_labels_the_most_likely(model):
    shares = model.predict_proba(NEW)
    assert shares.shape == (11, 3) and (shares > 0.0).all()
    np.testing.assert_allclose(shares.sum(1), 1.0, rtol=1e-12)
    np.testing.assert_array_equal(model.predict(NEW), shares.argmax(1))
    np.testing.assert_array_equal(model.predict_log_proba(NEW), np.log(shares))
    np.testing.assert_allclose(model.predict_proba(NEW[:1]), shares[:1], atol=1e-5)
    assert model.score(X, CODES) > 0.9


@pytest.mark.parametrize(
    "names",
    [
        np.array(["ape", "bee", "cat"]),
        np.array(["ape", "bee", "cat"], dtype=object),
        np.array([-7, 0, 3]),
        np.array([0.0, 1.0, 5.0]),
    ],
)
def test_labels_of_any_type(model, names):
    named = clone(model).fit(X, names[CODES])
    np.testing.assert_array_equal(named.classes_, names)
    np.testing.assert_array_equal(named.predict(NEW), names[model.predict(NEW)])


def test_frames_tensors_and_orders_of_rows(model):
    shares = model.predict_proba(NEW)
    frame = clone(model).fit(pd.DataFrame(X, columns=["a", "b"]), pd.Series(CODES, dtype="category"))
    assert list(frame.feature_names_in_) == ["a", "b"]
    np.testing.assert_array_equal(frame.predict_proba(pd.DataFrame(NEW, columns=["a", "b"])), shares)
    tensor = clone(model).fit(torch.from_numpy(X), torch.from_numpy(CODES))
    np.testing.assert_array_equal(tensor.predict_proba(torch.from_numpy(NEW)), shares)
    order = RNG.permutation(90)
    np.testing.assert_allclose(clone(model).fit(X[order], CODES[order]).predict_proba(NEW), shares, atol=0.02)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(model)).predict_proba(NEW), shares)
    np.testing.assert_array_equal(clone(model).fit(X, CODES).predict_proba(NEW), shares)


def test_units_of_columns_change_nothing(model):
    scaled = clone(model).fit(X * [1e3, 1e-3] + 5.0, CODES)
    np.testing.assert_allclose(
        scaled.predict_proba(NEW * [1e3, 1e-3] + 5.0), model.predict_proba(NEW), atol=1e-3
    )


@pytest.mark.parametrize("kind", ["nngp", "ntk"])
def test_digits_are_told_apart_and_probabilities_are_calibrated(kind):
    x, y = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(x))
    train, test = order[:400], order[400:1200]
    model = InfiniteNetworkClassifier("relu-2", kernel=kind, random_state=0).fit(x[train], y[train])
    shares = model.predict_proba(x[test])
    loss = -np.log(shares[np.arange(800), y[test]]).mean()
    right = shares.argmax(1) == y[test]
    assert right.mean() > 0.95 and loss < 0.2
    assert abs(right.mean() - shares.max(1).mean()) < 0.02
    assert loss == pytest.approx(model.calibration_.log_loss, abs=0.06)


@pytest.mark.parametrize("seed", range(3))
def test_labels_that_nothing_tells_have_their_shares(seed):
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(200, 3)), (rng.uniform(size=200) < 0.25).astype(int)
    model = InfiniteNetworkClassifier("erf-1", random_state=0).fit(x, y)
    shares = model.predict_proba(rng.normal(size=(200, 3)))[:, 1]
    assert abs(shares.mean() - y.mean()) < 0.03 and shares.std() < 0.05


def test_more_rows_than_hyperparameters_are_learnt_by(model, monkeypatch):
    monkeypatch.setattr(infinite_classification, "SEARCHED", 40)
    some = clone(model).fit(X, CODES)
    assert some.fit_report_.objective > model.fit_report_.objective  # a sum over fewer rows
    assert (some.predict(X) == CODES).mean() > 0.9
    rare = np.where(np.arange(90) == 17, 2, CODES > 0)
    assert clone(model).set_params(random_state=1).fit(X, rare).predict_proba(NEW).shape == (11, 3)


def test_hyperparameters_are_learnt_by_rows_of_rare_classes_too():
    """Four rows of 2,000, of which a random half has too few with this seed."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2000, 2)), np.repeat([0, 1], [1996, 4])
    x[1996:] = 3.0 + 0.2 * rng.normal(size=(4, 2))
    near = 3.0 + 0.2 * rng.normal(size=(100, 2))
    model = InfiniteNetworkClassifier("relu-1", random_state=1).fit(x, y)
    assert (model.predict(near) == 1).mean() > 0.8


def test_some_rows_of_every_class_are_searched_with():
    rng = np.random.RandomState(0)
    codes = np.repeat([0, 1, 2], [3, 40, 5000])
    rows = infinite_classification._some(codes, rng)
    assert len(rows) == 1000 and (np.diff(rows) > 0).all()
    assert (np.bincount(codes[rows]) >= [3, 10, 900]).all()
    np.testing.assert_array_equal(infinite_classification._some(codes[:50], rng), np.arange(50))
    pairs = np.bincount(infinite_classification._some(np.arange(2000) // 2, rng) // 2)
    assert 200 < (pairs == 2).sum() < 300  # classes beyond count: any rows, so that some have a like


def test_a_thousand_classes():
    x = RNG.normal(size=(1000, 2))
    model = InfiniteNetworkClassifier("relu-1", temperature=1.0, random_state=0)
    with pytest.warns(UserWarning, match="unique classes is greater than 50% of the number of samples"):
        model.fit(x, np.arange(1000))
    shares = model.predict_proba(x[:5])
    assert shares.shape == (5, 1000)
    assert (shares[np.arange(5), np.arange(5)] > 1e-3).all()


def test_layers_a_known_temperature_and_rows_far_away():
    arch = Sequential(Dense(), Relu(), Dense())
    model = InfiniteNetworkClassifier(arch, temperature=2.0, n_restarts=1, priors=None, random_state=0)
    found = model.fit(X, CODES)
    assert found.calibration_.temperature == 2.0 and np.isnan(found.calibration_.log_loss)
    assert np.isfinite(found.predict_proba(1e6 * NEW)).all()
    assert cross_val_score(model, X, CODES, cv=3).mean() > 0.7


def test_columns_that_hardly_vary_do_not_rule():
    """A column that one row alone has something in is no reason to doubt rows that have more in it."""
    x = np.column_stack([X, np.zeros(90)])
    x[0, 2] = 1.0
    fitted = InfiniteNetworkClassifier("relu-1", random_state=0).fit(x, CODES)
    assert fitted.kernel_.kernel.value("spread")[2] == pytest.approx(0.25)
    constant = InfiniteNetworkClassifier("relu-1", random_state=0).fit(x[1:], CODES[1:])
    assert constant.kernel_.kernel.value("spread")[2] == 1.0


@pytest.mark.parametrize("objective", ["loo", "clml"])
def test_held_out_targets_are_maximised(model, objective):
    found = clone(model).set_params(objective=objective).fit(X, CODES)
    assert found.score(X, CODES) > 0.9
    assert found.fit_report_.objective != model.fit_report_.objective
    assert abs(found.calibration_.log_loss - model.calibration_.log_loss) < 0.1
    two = clone(found).fit(X[:4], [0, 1, 0, 1]).predict_proba(NEW)
    assert np.isfinite(two).all()


@pytest.mark.parametrize("objective", ["loo", "clml"])
def test_held_out_targets_are_those_of_a_regression_for_each_class(objective):
    """The value, and its gradient by finite differences."""
    sizes, seen = [30, 35, 25], LogNormal.of(0.01)
    x = torch.from_numpy(X)
    data = class_data(x, seen, sizes)
    kernel = with_amplitude(InfiniteNetwork("erf-1", "nngp", center=0.0, spread=1.0)).double()
    theta = Theta(kernel, {}, None)
    held_out = HeldOutRows.of(objective, 90, np.random.RandomState(0))
    found = DirichletObjective(data, theta, False, held_out=held_out, seen=seen, sizes=sizes)
    value, slope = found.evaluate(theta.start, gradient=True)
    naive, own = 0.0, np.repeat(np.arange(3), sizes)
    for c in range(3):
        noise = torch.from_numpy(np.where(own == c, seen.inside_noise, seen.outside_noise))
        a = kernel(x).to_dense().detach() + noise.diag()
        for rows in held_out.sets(90):
            naive += left_out_density(a, data.y[:, c], rows) / held_out.sets(90).shape[0]
    scale = 90 / held_out.sets(90).shape[1]
    assert value == pytest.approx(scale * naive, rel=1e-8)
    for i, step in enumerate(1e-5 * np.eye(len(slope))):
        up, down = (found.evaluate(theta.start + s, gradient=False)[0] for s in (step, -step))
        assert slope[i] == pytest.approx((up - down) / 2e-5, rel=1e-5, abs=1e-5)


def left_out_density(a, y, rows):
    """The log density of some rows given all others, with a constant that these determine."""
    kept = torch.tensor([i for i in range(len(y)) if i not in rows.tolist()])
    inverse = torch.linalg.inv(a[kept][:, kept])
    weights = inverse.sum(0)
    constant = weights @ y[kept] / weights.sum()
    cross = a[kept][:, rows]
    mean = constant + cross.mT @ inverse @ (y[kept] - constant)
    left = 1.0 - cross.mT @ weights
    covariance = a[rows][:, rows] - cross.mT @ inverse @ cross + torch.outer(left, left) / weights.sum()
    return float(torch.distributions.MultivariateNormal(mean, covariance).log_prob(y[rows]))


@pytest.mark.parametrize("time", [1.0, 30.0, np.inf])
def test_networks_trained_for_some_time(time):
    trained = InfiniteNetworkClassifier("erf-1", kernel="ntk", train_time=time, random_state=0).fit(X, CODES)
    shares = trained.predict_proba(NEW)
    np.testing.assert_allclose(shares.sum(1), 1.0, rtol=1e-12)
    assert (shares > 0.0).all() and np.isfinite(trained.calibration_.log_loss)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(trained)).predict_proba(NEW), shares)
    np.testing.assert_array_equal(clone(trained).fit(X, CODES).predict_proba(NEW), shares)
    if time >= 30.0:
        assert trained.score(X, CODES) > 0.85 and trained.calibration_.log_loss < 0.6


def test_trained_networks_tell_digits_apart():
    x, y = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(x))
    train, test = order[:300], order[300:900]
    trained = InfiniteNetworkClassifier("relu-2", kernel="ntk", train_time=1e4, random_state=0)
    shares = trained.fit(x[train], y[train]).predict_proba(x[test])
    right = shares.argmax(1) == y[test]
    assert right.mean() > 0.95 and abs(right.mean() - shares.max(1).mean()) < 0.03


@pytest.mark.parametrize("y", [np.zeros(5), np.full(5, "a")])
def test_one_class(y):
    with pytest.raises(
        InputError, match="a classifier needs 2 classes or more; the data contain one class only"
    ):
        InfiniteNetworkClassifier().fit(X[:5], y)


@pytest.mark.parametrize("x", [X[:2], np.ones((2, 2)), 1e40 * X[:2]])
def test_two_rows(x):
    assert np.isfinite(InfiniteNetworkClassifier("relu-1").fit(x, [0, 1]).predict_proba(x)).all()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"kernel": "rbf"}, r"kernel must be one of \('nngp', 'ntk'\), got 'rbf'"),
        ({"arch": "relu"}, "architecture must be an activation"),
        ({"alpha_epsilon": 0.0}, "alpha_epsilon must be 'learn', or lie between 0 and 1; got 0.0"),
        ({"alpha_epsilon": 1.0}, "or lie between 0 and 1; got 1.0"),
        ({"alpha_epsilon": "small"}, "alpha_epsilon must be a number"),
        ({"alpha_epsilon": [0.1, 0.2]}, "or lie between 0 and 1"),
        ({"temperature": "hot"}, "temperature must be 'learn' or a positive number, got 'hot'"),
        ({"temperature": 0.0}, "temperature must be 'learn' or a positive number, got 0.0"),
        ({"temperature": np.inf}, "temperature must be 'learn' or a positive number"),
        ({"objective": "bic"}, r"objective must be one of \('lml', 'loo', 'clml'\), got 'bic'"),
        ({"train_time": 5.0}, "train_time=5.0 is of gradient descent, got kernel='nngp'"),
        ({"kernel": "ntk", "train_time": 0.0}, "train_time must be None, a positive number or math.inf"),
        ({"priors": "flat"}, "priors must be one of"),
        ({"n_restarts": -1}, "n_restarts must be an integer"),
        ({"verbose": "loud"}, "verbose must be an integer"),
        ({"device": "tpu"}, "device must be"),
        ({"random_state": "seed"}, "random_state must be"),
    ],
)
def test_arguments_that_make_no_model(arguments, said):
    with pytest.raises(InputError, match=said):
        InfiniteNetworkClassifier(**arguments).fit(X, CODES)


def test_data_that_make_no_model(model):
    with pytest.raises(InputError, match="contains NaN in column 0"):
        clone(model).fit(np.full((3, 2), np.nan), [0, 1, 0])
    with pytest.raises(InputError, match="inconsistent lengths"):
        clone(model).fit(X, CODES[:-1])
    with pytest.raises(ValueError, match="Unknown label type"):
        clone(model).fit(X, X[:, 0])
    with pytest.raises(ValueError, match=r"X has 1 features, but .* is expecting 2 features"):
        model.predict(NEW[:, :1])
    with pytest.raises(NotFittedError, match="not fitted yet"):
        InfiniteNetworkClassifier().predict_proba(NEW)


def test_too_many_rows_are_refused_before_anything_is_allocated(monkeypatch):
    monkeypatch.setattr(class_posterior, "MATRICES", 1e14)
    with pytest.raises(InsufficientMemoryError, match="train on a random subset of the rows"):
        InfiniteNetworkClassifier().fit(X, CODES)


def test_what_is_printed(capsys):
    InfiniteNetworkClassifier("relu-1", verbose=1, random_state=0).fit(X[:30], CODES[:30])
    said = capsys.readouterr().out
    assert "n=30: float64 Cholesky" in said and "objective" in said
