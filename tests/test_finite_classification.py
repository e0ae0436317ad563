"""Classification with finite networks: probabilities, labels of any type, contract and bad input."""

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.exceptions import DataConversionWarning

from nonparam import FiniteNetworkClassifier
from nonparam.errors import InputError, InsufficientMemoryError
from nonparam.labels import check_labels
from nonparam.networks import memory
from nonparam.networks.finite_classification import _curvature_roots, _shrunk

RNG = np.random.default_rng(0)
X = RNG.standard_normal((90, 2))
Y = (X[:, 0] > 0.0).astype(int) + (X[:, 1] > 0.5)
NEW = RNG.standard_normal((50, 2))
AVERAGES = [None, "swa", "swag", "multiswag", "laplace"]
SMALL = {"hidden": (16,), "epochs": 60, "batch_size": 20, "random_state": 0}


def fitted(X=X, y=Y, **options):
    return FiniteNetworkClassifier(**{**SMALL, **options}).fit(X, y)


def nats(model, x, y):
    """The mean of minus the log probability of the labels."""
    return -np.log(model.predict_proba(x)[np.arange(len(y)), np.searchsorted(model.classes_, y)]).mean()


@pytest.mark.parametrize("average", AVERAGES)
def test_probabilities(average):
    model = fitted(average=average)
    p = model.predict_proba(NEW)
    assert p.shape == (50, 3) and p.dtype == np.float64
    np.testing.assert_allclose(p.sum(1), 1.0)
    np.testing.assert_array_equal(model.predict(NEW), p.argmax(1))
    truth = (NEW[:, 0] > 0.0).astype(int) + (NEW[:, 1] > 0.5)
    assert np.mean(model.predict(NEW) == truth) > 0.85


def test_ensemble_is_the_mean_of_probabilities():
    model = fitted(ensemble=3)
    inside = torch.from_numpy((NEW - X.mean(0)) / X.std(0)).float()
    each = model.networks_.members(inside).double().softmax(-1)
    np.testing.assert_allclose(model.predict_proba(NEW), each.mean(0), atol=1e-6)


def test_swag_is_the_mean_over_draws():
    model = fitted(average="swag")
    inside = torch.from_numpy((NEW - X.mean(0)) / X.std(0)).float()
    means, variances = model.networks_.functions(inside)
    assert means.shape == (30, 1, 50, 3) and float(variances.max()) == 0.0
    np.testing.assert_allclose(model.predict_proba(NEW), means.softmax(-1).mean((0, 1)), atol=1e-9)
    assert float(means.std(0).mean()) > 0.01


def test_laplace_shrinks_to_what_held_out_rows_bear():
    """Random labels: networks that learnt them by heart are sure of what is a coin's toss."""
    rng = np.random.default_rng(0)
    x, new, y, labels = (
        rng.standard_normal((90, 2)),
        rng.standard_normal((500, 2)),
        rng.integers(0, 2, 90),
        rng.integers(0, 2, 500),
    )
    sure, humble = (fitted(x, y, average=average, epochs=200, hidden=(32,)) for average in (None, "laplace"))
    assert nats(humble, new, labels) < 0.75 < 0.9 < nats(sure, new, labels)


def test_shrinking_is_about_the_mean_of_the_sigmoid():
    """Against many draws, for two classes, where the root is that of the published approximation."""
    f, v = torch.tensor([1.3, 0.0], dtype=torch.float64), torch.tensor([2.0, 0.0], dtype=torch.float64)
    draws = f[0] + v[0].sqrt() * torch.randn(
        10**6, dtype=torch.float64, generator=torch.Generator().manual_seed(0)
    )
    assert float(_shrunk(f, v).softmax(-1)[0]) == pytest.approx(float(draws.sigmoid().mean()), abs=0.01)


def test_curvature_is_the_hessian_of_the_loss():
    outputs = torch.randn(4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    root = _curvature_roots(outputs)
    hessian = torch.func.hessian(lambda f: -f.log_softmax(-1)[1])(outputs)
    torch.testing.assert_close(root @ root.mT, hessian)


@pytest.mark.parametrize("average", ["swag", "laplace", None])
def test_pickle_and_seed(average):
    a, b, c = (fitted(average=average, random_state=seed, epochs=10) for seed in (0, 0, 1))
    p = a.predict_proba(NEW)
    np.testing.assert_array_equal(p, b.predict_proba(NEW))
    np.testing.assert_array_equal(p, pickle.loads(pickle.dumps(a)).predict_proba(NEW))
    assert np.abs(p - c.predict_proba(NEW)).max() > 1e-3


@pytest.mark.parametrize(
    "names",
    [
        np.array(["c", "a", "b"]),
        np.array(["c", "a", "b"], dtype=object),
        np.array([7, -3, 2]),
        np.array([1.0, 0.0, 2.0]),
    ],
)
def test_labels_of_any_type(names):
    model = fitted(y=names[Y])
    np.testing.assert_array_equal(model.classes_, np.sort(names))
    expected = names[fitted().predict(X)]
    assert np.mean(model.predict(X) == expected) > 0.9
    assert model.predict(X).dtype == names.dtype


def test_labels_in_other_containers():
    expected = fitted(epochs=5).predict_proba(NEW)
    for x, y in (
        (pd.DataFrame(X), pd.Series(Y)),
        (torch.from_numpy(X), torch.from_numpy(Y)),
        (X.tolist(), Y.tolist()),
    ):
        np.testing.assert_array_equal(fitted(x, y, epochs=5).predict_proba(NEW), expected)
    flags = fitted(y=pd.Series(Y > 0, dtype="category"))
    assert flags.classes_.tolist() == [False, True]


def test_column_of_labels_is_taken_with_a_warning():
    with pytest.warns(DataConversionWarning, match="column-vector"):
        fitted(y=Y[:, None], epochs=1)


def test_a_thousand_classes():
    y = np.arange(2000) % 1000
    x = np.column_stack([np.cos(y), np.sin(y), y / 500.0])
    model = fitted(x, y, epochs=2, batch_size=200)
    p = model.predict_proba(x[:10])
    assert p.shape == (10, 1000) and np.isfinite(p).all()
    np.testing.assert_allclose(p.sum(1), 1.0)


def test_a_thousand_classes_are_too_many_for_laplace(monkeypatch):
    y = np.arange(2000) % 1000
    x = RNG.standard_normal((2000, 3))
    monkeypatch.setattr(memory, "free_memory", lambda device: 10**10)
    with pytest.raises(
        InsufficientMemoryError, match=r"Laplace's approximation of .* 2,000,000 outputs .* GB"
    ):
        fitted(x, y, epochs=1, batch_size="full", average="laplace")


@pytest.mark.parametrize("average", AVERAGES)
def test_one_unit_and_constant_columns(average):
    x = np.column_stack([X, np.ones(90)])
    assert np.isfinite(fitted(x, average=average, hidden=(1,), epochs=5).predict_proba(x)).all()


def test_averages_are_surer_of_the_truth_on_digits():
    """The mean of the weights, and an ensemble, have less loss than one network."""
    x, y = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(x))
    train, test = order[:400], order[400:1200]
    options = {"hidden": (64, 64), "epochs": 40, "batch_size": 50}
    single, swa, ensemble = (
        nats(fitted(x[train], y[train], **options, **other), x[test], y[test])
        for other in ({}, {"average": "swa"}, {"ensemble": 5})
    )
    assert ensemble < 0.8 * single and swa < 0.98 * single and single < 0.4


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (np.zeros(90), r"2 classes or more; the data contain one class only: 0.0"),
        (["yes"] * 90, "one class only"),
        (Y[:-1], "inconsistent lengths: 90 rows of X, 89 of y"),
        (np.where(Y > 0, 1.0, np.nan), "NaN or None"),
        ([None, *Y[1:].astype(object)], "1 labels, first in row 0"),
        ([pd.NA, *Y[1:].astype(object)], "1 labels, first in row 0"),
        (np.where(Y > 0, 1.0, np.inf), "y contains infinity"),
        (X[:, 0], "Unknown label type"),
        (np.array(["a", *Y[1:].tolist()], dtype=object), "all of one type: convert the labels to text"),
        (np.column_stack([Y, Y]), "1d array"),
        (None, "y is None"),
    ],
)
def test_bad_labels(y, message):
    with warnings.catch_warnings(), pytest.raises(ValueError, match=message):
        warnings.simplefilter("ignore")
        fitted(y=y)


def test_labels_are_numbered_in_order():
    classes, numbers = check_labels(np.array(["b", "a", "b"], dtype=object), 3)
    assert classes.tolist() == ["a", "b"] and numbers.tolist() == [1, 0, 1]


def test_arguments_are_checked_as_in_regression():
    with pytest.raises(InputError, match="optimizer must be one of"):
        fitted(optimizer="rmsprop")


def test_pandas_missing_label():
    assert check_labels(pd.Series(["a", "b"], dtype="string"), 2)[0].tolist() == ["a", "b"]


def test_progress(capsys):
    fitted(verbose=1, epochs=10)
    assert capsys.readouterr().out.splitlines()[-1].startswith("10 of 10 epochs, loss ")
