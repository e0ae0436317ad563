"""Rows from memory, mapped files and iterators: each once in an epoch, and errors that say what to do."""

import os

import numpy as np
import pandas as pd
import pytest

from nonparam import SparseGPRegressor
from nonparam.errors import InputError
from nonparam.sparse.batches import BatchRows, MappedRows, TableRows

RNG = np.random.default_rng(2)
N = 1000
X = RNG.uniform(-2.0, 2.0, (N, 2))
Y = np.sin(2.0 * X[:, 0]) + X[:, 1] + 0.1 * RNG.standard_normal(N)
NEW = RNG.uniform(-2.0, 2.0, (200, 2))
TRUTH = np.sin(2.0 * NEW[:, 0]) + NEW[:, 1]


def model(**arguments):
    given = {"m": 30, "n_epochs": 15, "batch_size": 100, "random_state": 0} | arguments
    return SparseGPRegressor("rbf", method="stochastic", **given)


def pairs(size=100, n=N):
    return [(X[i : i + size], Y[i : i + size]) for i in range(0, n, size)]


def mapped(folder):
    files = []
    for name, values in (("x", X), ("y", Y)):
        file = np.memmap(folder / name, np.float64, "w+", shape=values.shape)
        file[:] = values
        file.flush()
        files.append(np.memmap(folder / name, np.float64, "r", shape=values.shape))
    return files


def failing(after, error, epochs=1):
    """Batches that fail in an epoch: once all were read before training, and once for each epoch before."""
    calls = []

    def batches():
        calls.append(1)
        for i, pair in enumerate(pairs()):
            if len(calls) > epochs and i == after:
                raise error
            yield pair

    return batches


def sources(folder):
    def read(x, y):
        return np.asarray(x), np.asarray(y).reshape(len(x), -1)

    table = TableRows(X, Y[:, None])
    return table, MappedRows(*mapped(folder), read), BatchRows(pairs(130), read)


@pytest.mark.parametrize("which", range(3))
@pytest.mark.parametrize("size", [1, 7, 64, 100, 5000])
def test_every_row_comes_once(which, size, tmp_path):
    source = sources(tmp_path)[which]
    for _ in range(2):
        batches = list(source.epoch(size, np.random.RandomState(0)))
        assert max(len(x) for x, _ in batches) <= max(size, 64 if which == 1 else 1)
        together = np.concatenate([np.c_[x, y] for x, y in batches])
        np.testing.assert_array_equal(np.sort(together[:, 0]), np.sort(X[:, 0]))
        order = np.argsort(together[:, 0])
        np.testing.assert_array_equal(together[order], np.c_[X, Y][np.argsort(X[:, 0])])
    np.testing.assert_array_equal(np.concatenate([y for _, y in source.in_order()])[:, 0], Y)


@pytest.mark.parametrize("which", range(3))
def test_samples_are_of_all_rows(which, tmp_path):
    source, counts = sources(tmp_path)[which], np.zeros(N)
    for seed in range(200):
        x, y, n = source.sample(100, np.random.RandomState(seed))
        places = np.searchsorted(np.sort(X[:, 0]), x[:, 0])
        assert n == N and len(set(places)) == 100 and len(y) == 100
        counts[places] += 1.0
    assert 3.0 < counts.min() and counts.max() < 45.0  # 20 expected, deviation 4
    assert len(source.sample(5000, np.random.RandomState(0))[0]) == N


def test_files_iterators_and_arrays_give_models_as_good(tmp_path):
    x, y = mapped(tmp_path)
    frames = [(pd.DataFrame(rows, columns=["a", "b"]), pd.Series(values)) for rows, values in pairs()]
    fits = {
        "array": model().fit(X, Y),
        "memmap": model().fit(x, y),
        "memmap and series": model().fit(x, pd.Series(Y, index=np.arange(N)[::-1])),
        "list": model().fit_batches(pairs()),
        "callable": model().fit_batches(lambda: iter(pairs(333))),
        "frames": model().fit_batches(frames),
    }
    assert list(fits["frames"].feature_names_in_) == ["a", "b"]
    for name, found in fits.items():
        new = pd.DataFrame(NEW, columns=["a", "b"]) if name == "frames" else NEW
        assert np.sqrt(np.mean((found.predict(new) - TRUTH) ** 2)) < 0.05, name
        assert found.fit_report_.rows == N and 0.08 < np.sqrt(found.noise_) < 0.12, name
        assert found.lower_bound_ < found.upper_bound_


def test_partial_fit_learns_from_a_stream():
    found, errors = model(m=25), []
    for x, y in pairs(50):
        found.partial_fit(x, y)
        errors.append(np.sqrt(np.mean((found.predict(NEW) - TRUTH) ** 2)))
    assert found.fit_report_.rows == N and "20 batches" not in found.fit_report_.message
    assert errors[-1] < 0.06 and errors[-1] < 0.5 * errors[0]


def test_partial_fit_adds_to_a_fit():
    found = model().fit(X[:800], Y[:800])
    before = np.sqrt(np.mean((found.predict(NEW) - TRUTH) ** 2))
    found.partial_fit(X[800:], Y[800:])
    assert found.fit_report_.rows == N
    assert np.sqrt(np.mean((found.predict(NEW) - TRUTH) ** 2)) < before + 0.01


# bad input ---------------------------------------------------------------------------------------


def test_an_iterator_that_can_be_read_once_is_refused():
    with pytest.raises(InputError, match="cannot be read more than once: pass a function"):
        model().fit_batches(iter(pairs()))
    with pytest.raises(InputError, match="got a int, which cannot be read"):
        model().fit_batches(3)
    with pytest.raises(InputError, match="batches yielded nothing"):
        model().fit_batches([])
    with pytest.raises(InputError, match="batch 1: expected a pair"):
        model().fit_batches([X])
    with pytest.raises(InputError, match="method='collapsed' is of rows in memory"):
        SparseGPRegressor(method="collapsed").fit_batches(pairs())


def test_an_iterator_that_ends_early():
    calls = []

    def batches():
        calls.append(1)
        return iter(pairs() if len(calls) < 3 else pairs()[:4])

    found = model()
    with pytest.raises(InputError, match=r"epoch 2, after 400 of 1,000 .* ended after 400 rows where 1,000"):
        found.fit_batches(batches)
    assert np.sqrt(np.mean((found.predict(NEW) - TRUTH) ** 2)) < 0.2


@pytest.mark.parametrize(
    "error", [OSError("the disk is gone"), ValueError("not a number: 'x'"), KeyError("z")]
)
def test_an_iterator_that_fails_in_mid_epoch_keeps_what_was_learnt(error):
    found = model()
    with pytest.raises(
        InputError, match=r"stopped in epoch 1, after 300 of 1,000 rows .*partial_fit goes on"
    ) as raised:
        found.fit_batches(failing(3, error))
    assert raised.value.__cause__ is error
    assert found.fit_report_.rows == 300 and not found.fit_report_.converged
    before = np.sqrt(np.mean((found.predict(NEW) - TRUTH) ** 2))
    for x, y in pairs()[3:]:
        found.partial_fit(x, y)
    assert found.fit_report_.rows == N
    assert np.sqrt(np.mean((found.predict(NEW) - TRUTH) ** 2)) < min(before + 0.01, 0.1)


def test_a_failure_of_the_last_pass_keeps_what_was_learnt():
    found, error = model(n_epochs=2), OSError("the disk is gone")
    with pytest.raises(InputError, match=r"the last pass over the rows failed \(OSError: the disk is gone\)"):
        found.fit_batches(failing(3, error, epochs=3))
    assert found.fit_report_.rows == N and np.sqrt(np.mean((found.predict(NEW) - TRUTH) ** 2)) < 0.1
    calls = []

    def batches():
        calls.append(1)
        return pairs() if len(calls) < 4 else pairs()[:5]

    with pytest.raises(InputError, match="the batches ended after 500 rows where 1,000"):
        model(n_epochs=2).fit_batches(batches)


def test_a_failure_before_training_leaves_nothing():
    found = model()
    with pytest.raises(InputError, match=r"could not be read before training \(OSError: the disk is gone\)"):
        found.fit_batches(failing(3, OSError("the disk is gone"), epochs=0))
    assert not hasattr(found, "posterior_")


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ((np.full((5, 2), np.nan), np.zeros(5)), r"batch 11: Input X contains NaN in column 0"),
        (
            (np.zeros((5, 2)), np.full(5, np.nan)),
            r"batch 11: Input y contains NaN \(5 values, first in row 0",
        ),
        ((np.zeros((5, 3)), np.zeros(5)), r"batch 11: X has 3 features, but .* expecting 2"),
        (
            (np.zeros((5, 2)), np.zeros((5, 2))),
            r"batch 11: y must have 1 outputs as in the first batch, got 2",
        ),
        ((np.zeros((5, 2)), np.zeros(4)), r"batch 11: X and y have inconsistent lengths: 5 rows of X, 4"),
    ],
)
def test_a_bad_batch_is_named(bad, message):
    with pytest.raises(InputError, match=message):
        model().fit_batches([*pairs(), bad])
    found = model().fit(X, Y)
    before = found.predict(NEW)
    with pytest.raises(ValueError, match=message.removeprefix("batch 11: ")):
        found.partial_fit(*bad)
    np.testing.assert_array_equal(found.predict(NEW), before)


def test_other_columns_are_named():
    frame = pd.DataFrame(X, columns=["a", "b"])
    found = model().fit(frame, Y)
    with pytest.raises(ValueError, match="feature names should match"):
        found.partial_fit(frame.rename(columns={"a": "c"}), Y)


def test_a_truncated_file(tmp_path):
    x, y = mapped(tmp_path)
    os.truncate(tmp_path / "x", 8000)
    with pytest.raises(InputError, match=r"was truncated: expected 16,000 bytes, got 8,000; write it anew"):
        model().fit(x, y)


def test_a_file_that_is_truncated_in_mid_training(tmp_path, monkeypatch):
    x, y = mapped(tmp_path)
    found, epochs = model(), []
    original = MappedRows.epoch

    def epoch(rows, size, rng):
        for i, pair in enumerate(original(rows, size, rng)):
            if i == 4 and epochs:
                os.truncate(tmp_path / "y", 800)
            yield pair
        epochs.append(1)

    monkeypatch.setattr(MappedRows, "epoch", epoch)
    with pytest.raises(InputError, match=r"stopped in epoch 2, .* that y is mapped to was truncated"):
        found.fit(x, y)
    assert np.isfinite(found.predict(NEW)).all()


def test_nan_in_a_mapped_file(tmp_path):
    x, y = mapped(tmp_path)
    writable = np.memmap(tmp_path / "x", np.float64, "r+", shape=X.shape)
    writable[777, 1] = np.nan
    writable.flush()
    with pytest.raises(InputError, match="NaN in column 1"):
        model().fit(x, y)
    with pytest.raises(InputError, match="inconsistent lengths: 1000 rows of X, y of shape"):
        model().fit(x, y[:10])
