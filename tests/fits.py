"""A small problem with every stage of a long fit, and ways to stop it on the way."""

import os

import numpy as np
import pytest

from nonparam import GPRegressor, newton

rng = np.random.default_rng(5)
X = rng.uniform(-3.0, 3.0, (300, 2))
Y = np.sin(3.0 * X[:, 0]) * np.cos(2.0 * X[:, 1]) + 0.3 * rng.standard_normal(300)


def shrink(monkeypatch):
    """Two subsets and several of Newton's steps, one gradient each, on few rows."""
    monkeypatch.setattr(newton, "SUBSETS", (60, 120))
    monkeypatch.setattr(newton, "FLAT", 1e-4)


def regressor(path, solver="cg", **changes):
    """A model with a checkpoint that is written at every step."""
    arguments = {"random_state": 0, "checkpoint": path, "checkpoint_minutes": 0.0}
    return GPRegressor("matern32", solver=solver, **(arguments | changes))


def undisturbed():
    """Models that were fitted in one go, by solver."""
    with pytest.MonkeyPatch.context() as patch:
        shrink(patch)
        return {solver: regressor(None, solver).fit(X, Y) for solver in ("cg", "cholesky")}


def stopped_at(monkeypatch, target, name, call, error):
    """Raise ``error`` when a method is called for the ``call``-th time."""
    method, calls = getattr(target, name), []

    def counted(*args, **keywords):
        calls.append(args)
        if len(calls) == call:
            raise error
        return method(*args, **keywords)

    monkeypatch.setattr(target, name, counted)
    return calls


def assert_empty(folder):
    """Nothing is left there."""
    assert sorted(os.listdir(folder)) == []
