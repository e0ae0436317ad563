"""Regression with finite networks: noise, parts of the uncertainty, contract and bad input."""

import copy
import pickle
import re

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import norm
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

from nonparam import FiniteNetworkRegressor
from nonparam.errors import ConvergenceError, InputError, InsufficientMemoryError
from nonparam.kernels.activations import elementwise
from nonparam.networks import memory
from nonparam.networks.finite_regression import _most_likely
from nonparam.networks.folds import folds, others

RNG = np.random.default_rng(0)
X = RNG.uniform(-2.0, 2.0, (120, 2))
F = np.sin(2.0 * X[:, 0]) + X[:, 1]
NOISE = 0.3
Y = F + NOISE * RNG.standard_normal(120)
NEW = RNG.uniform(-2.0, 2.0, (400, 2))
AVERAGES = [None, "swa", "swag", "multiswag", "laplace"]
SMALL = {"hidden": (16,), "epochs": 60, "batch_size": 20, "random_state": 0}


def fitted(X=X, y=Y, **options):
    return FiniteNetworkRegressor(**{**SMALL, **options}).fit(X, y)


@pytest.mark.parametrize("parameterization", ["ntk", "standard", "mup"])
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_every_parameterization_learns_with_the_rate_it_chooses(parameterization, optimizer):
    epochs = 500 if parameterization == "mup" and optimizer == "sgd" else 120
    model = fitted(hidden=(32,), parameterization=parameterization, optimizer=optimizer, epochs=epochs)
    truth = np.sin(2.0 * NEW[:, 0]) + NEW[:, 1]
    assert np.sqrt(np.mean((model.predict(NEW) - truth) ** 2)) < 0.35 * truth.std()


@pytest.mark.parametrize("average", AVERAGES)
def test_intervals_cover_and_parts_add_up(average):
    model = fitted(average=average, epochs=200, ensemble=3 if average is None else None)
    y = np.sin(2.0 * NEW[:, 0]) + NEW[:, 1] + NOISE * np.random.default_rng(1).standard_normal(400)
    mean, sd = model.predict(NEW, return_std=True)
    epistemic, aleatoric = model.predict_std_parts(NEW)
    np.testing.assert_allclose(sd**2, epistemic**2 + aleatoric**2)
    np.testing.assert_allclose(aleatoric**2, model.noise_)
    np.testing.assert_allclose(model.predict(NEW, True, include_noise=False)[1], epistemic)
    assert 0.83 < np.mean(np.abs(y - mean) < norm.ppf(0.95) * sd) < 0.96
    assert (epistemic > 0.0).all() == (average != "swa")
    assert 0.6 * NOISE**2 < model.noise_ < 2.0 * NOISE**2


def test_one_network_alone_has_no_epistemic_part():
    assert fitted().predict_std_parts(NEW)[0].max() == 0.0


def test_ensemble_differs_more_where_there_are_no_rows():
    epistemic = fitted(ensemble=5, hidden=(64, 64)).predict_std_parts
    assert epistemic(X)[0].mean() < 0.3 * epistemic(X + 20.0)[0].mean()


def test_mean_and_spread_are_those_of_the_networks():
    model = fitted(ensemble=3)
    inside = torch.from_numpy((NEW - X.mean(0)) / X.std(0)).float()
    each = model.networks_.members(inside).detach().double()[..., 0].numpy() * Y.std() + Y.mean()
    mean, sd = model.predict(NEW, return_std=True, include_noise=False)
    np.testing.assert_allclose(mean, each.mean(0), atol=1e-5)
    np.testing.assert_allclose(sd, each.std(0), rtol=1e-3)


def test_quantiles_and_densities_are_normal():
    model = fitted(ensemble=2)
    mean, sd = model.predict(NEW, return_std=True)
    q = model.predict_quantiles(NEW, [0.1, 0.5])
    np.testing.assert_allclose(q, np.column_stack([mean + norm.ppf(0.1) * sd, mean]), atol=1e-9)
    np.testing.assert_allclose(model.log_predictive_density(NEW, mean + sd), norm.logpdf(1.0) - np.log(sd))


def test_units_change_nothing_but_the_units():
    a, b = fitted(ensemble=2), fitted(1e6 * X - 3e6, 1e-6 * Y + 5.0, ensemble=2)
    mean, sd = a.predict(NEW, return_std=True)
    other, other_sd = b.predict(1e6 * NEW - 3e6, return_std=True)
    np.testing.assert_allclose((other - 5.0) * 1e6, mean, atol=2e-3)
    np.testing.assert_allclose(other_sd * 1e6, sd, rtol=1e-3)


def test_noise_is_the_most_likely_one():
    """Against a fine grid of noises for each choice of the known variances."""
    rng = np.random.default_rng(2)
    known = rng.gamma(2.0, 0.05, (3, 4, 50, 2))
    squares = rng.standard_normal((4, 50, 2)) ** 2 * (known[1] + np.array([0.2, 0.7]))
    grid = np.geomspace(1e-6, 100.0, 2001)
    total = known[..., None] + grid
    values = (np.log(total) + squares[..., None] / total).sum((1, 2))
    choice, noise = _most_likely(squares, known)
    assert choice == values.min(-1).sum(-1).argmin()
    np.testing.assert_allclose(noise, grid[values[choice].argmin(-1)], rtol=0.02)


@pytest.mark.parametrize("shape", [(120,), (120, 1), (120, 3)])
@pytest.mark.parametrize("average", [None, "laplace"])
def test_predictions_have_the_shape_of_y(shape, average):
    y = np.broadcast_to(Y.reshape(120, -1)[:, :1], (120, np.prod(shape[1:], dtype=int))).reshape(shape)
    model = fitted(y=y * np.arange(1.0, 1.0 + y[0].size), average=average, epochs=10)
    mean, sd = model.predict(NEW, return_std=True)
    assert mean.shape == sd.shape == (400, *shape[1:]) and mean.dtype == sd.dtype == np.float64
    assert np.ndim(model.noise_) == len(shape) - 1
    assert model.predict_quantiles(NEW, [0.1, 0.9]).shape == (*mean.shape, 2)


def test_several_outputs_have_a_noise_each():
    y = np.column_stack([F, F]) + RNG.standard_normal((120, 2)) * [0.05, 1.0]
    noise = fitted(y=y, epochs=150, hidden=(64,)).noise_
    assert noise[0] < 0.2 < 0.5 < noise[1] < 2.0


def test_seed_decides_everything():
    a, b, c = (fitted(ensemble=2, average="swag", random_state=seed).predict(NEW) for seed in (0, 0, 1))
    np.testing.assert_array_equal(a, b)
    assert np.abs(a - c).max() > 1e-3


@pytest.mark.parametrize("average", AVERAGES)
def test_pickle_and_repeated_predictions(average):
    model = fitted(average=average, epochs=10)
    found = model.predict(NEW, return_std=True)
    for other in (model, pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        np.testing.assert_array_equal(other.predict(NEW, return_std=True), found)
    assert clone(model).get_params() == model.get_params()


def test_tables_of_any_kind():
    expected = fitted(epochs=5).predict(NEW)
    for x, y in ((pd.DataFrame(X), pd.Series(Y)), (torch.from_numpy(X), torch.from_numpy(Y))):
        np.testing.assert_array_equal(fitted(x, y, epochs=5).predict(NEW), expected)


@pytest.mark.parametrize("average", AVERAGES)
def test_nasty_data(average):
    """Constant columns, equal rows, a constant output, one unit, two rows."""
    x = np.column_stack([X, np.full(120, 7.0)])
    x[60:] = x[:60]
    for rows, y in ((x, Y), (x, np.full(120, 4.0)), (x[:2], Y[:2]), (x[:7], Y[:7])):
        mean, sd = fitted(rows, y, average=average, hidden=(1,), epochs=5).predict(x, return_std=True)
        assert np.isfinite(mean).all() and (sd > 0.0).all()
    assert np.abs(fitted(x, np.full(120, 4.0), epochs=100).predict(x) - 4.0).max() < 0.5


@pytest.mark.parametrize(
    ("n", "parts", "size"), [(2, 2, 1), (7, 5, 1), (999, 5, 199), (2500, 2, 500), (10**4, 1, 2000)]
)
def test_rows_that_are_held_out(n, parts, size):
    found = folds(n, np.random.RandomState(0))
    assert found.shape == (parts, size) and len(found.unique()) == parts * size
    assert sorted([*others(found[0], n).tolist(), *found[0].tolist()]) == list(range(n))


def test_length_of_training():
    assert FiniteNetworkRegressor(batch_size=20)._epochs(120) == 250  # of 6 steps
    assert FiniteNetworkRegressor(batch_size=1)._epochs(120) == 30
    assert FiniteNetworkRegressor(batch_size="full")._epochs(10**6) == 1500
    assert fitted(X[:20], Y[:20], epochs="auto", batch_size=10).fit_report_.epochs == 750


def test_more_than_one_seed_of_multiswag():
    assert fitted(average="multiswag", epochs=10).fit_report_.members == 5
    assert fitted(average="multiswag", ensemble=2, epochs=10).fit_report_.members == 2


def test_exploding_training_is_caught_and_reported():
    with pytest.warns(ConvergenceWarning, match=r"at lr=1e\+06: it was lowered .* take lr='auto'"):
        model = fitted(lr=1e6)
    assert model.fit_report_.retries > 5 and model.fit_report_.lr < 10.0
    assert np.mean((model.predict(X) - Y) ** 2) < 0.5 * Y.var()


def test_progress(capsys):
    fitted(verbose=1, epochs=10)
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1].startswith("20 of 20 epochs, loss ")


def nan_beyond(x):
    return torch.where(x > 0.5, torch.nan, x)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hidden": ()}, "hidden must be the widths of one or more layers, got ()"),
        ({"hidden": 64}, "hidden must be the widths of one or more layers, got 64"),
        ({"hidden": "64"}, "hidden must be the widths"),
        ({"hidden": (8, 0)}, "each width in hidden must be an integer, at least 1; got 0"),
        ({"hidden": (8.5,)}, "each width in hidden must be an integer"),
        ({"activation": "swish"}, "activation must be one of"),
        ({"parameterization": "pytorch"}, "parameterization must be one of ('ntk', 'standard', 'mup')"),
        ({"ensemble": 0}, "ensemble must be an integer, at least 1; got 0"),
        ({"ensemble": True}, "ensemble must be an integer"),
        ({"average": "ema"}, "average must be one of (None, 'swa'"),
        ({"average": "swag", "epochs": 4}, "average='swag' needs 5 epochs or more"),
        ({"batch_size": 0}, "batch_size (or 'full') must be an integer, at least 1; got 0"),
        ({"batch_size": "all"}, "batch_size (or 'full') must be an integer"),
        ({"optimizer": "lbfgs"}, "optimizer must be one of ('sgd', 'adam'), got 'lbfgs'"),
        ({"lr": 0.0}, "lr must be a number"),
        ({"lr": "fast"}, "lr must be a number"),
        ({"lr": np.nan}, "lr must be a number"),
        ({"epochs": 0}, "epochs (or 'auto') must be an integer, at least 1; got 0"),
        ({"epochs": 1.5}, "epochs (or 'auto') must be an integer"),
        ({"weight_decay": -1.0}, "weight_decay must be a number, at least 0; got -1.0"),
        ({"device": "tpu"}, "device must be 'auto', 'cpu' or 'cuda'"),
        ({"random_state": "x"}, "random_state must be None, an integer"),
        ({"verbose": -1}, "verbose must be an integer"),
        ({"activation": "exp", "hidden": (8,) * 6}, "not finite before its training"),
    ],
)
def test_bad_arguments(options, message):
    with pytest.raises(InputError, match=re.escape(message)):
        fitted(**options)


def test_activation_of_the_user_that_gives_no_numbers():
    with pytest.raises(InputError, match="not finite"):
        fitted(activation=elementwise(nan_beyond))


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (X[:1], Y[:1], "1 sample tells nothing of the noise"),
        (X, Y[:-1], "inconsistent lengths"),
        (X, np.where(Y > 0.0, Y, np.nan), "y contains NaN"),
        (X, None, "y is None"),
        (np.where(X > 0.0, X, np.inf), Y, "infinity"),
        (X, np.full(120, 1e80), "beyond 1e"),
    ],
)
def test_bad_tables(x, y, message):
    with pytest.raises(InputError, match=message):
        fitted(x, y)


def test_densities_of_another_shape():
    with pytest.raises(InputError, match=r"y must have shape \(120, 2\), got \(120,\)"):
        fitted(y=np.column_stack([Y, Y]), epochs=2).log_predictive_density(X, Y)


def test_quantiles_outside():
    with pytest.raises(InputError, match="strictly between 0 and 1"):
        fitted(epochs=2).predict_quantiles(X, 1.0)


def test_memory_is_estimated_before(monkeypatch):
    monkeypatch.setattr(memory, "free_memory", lambda device: 10**9)
    message = r"training 10 network\(s\) of 40,064,001 weights .* needs about .* GB, and 1.0 GB are free"
    with pytest.raises(InsufficientMemoryError, match=message):
        fitted(hidden=(20000, 2000), ensemble=5)


def test_loss_that_explodes_at_any_rate(monkeypatch):
    monkeypatch.setattr("nonparam.networks.training.EXPLODED", -1.0)
    with pytest.raises(ConvergenceError, match="explodes also at a learning rate"):
        fitted(epochs=1)
