"""The noise where a search on all rows begins: raised only where rows that were not fitted ask for it."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from nonparam import newton, unseen_noise
from nonparam.checkpoint import State, checkpoint_at
from nonparam.kernels import RBF, Scale
from nonparam.objective import Data, Objective
from nonparam.progress import Progress
from nonparam.theta import Theta
from nonparam.unseen_noise import raise_noise

RNG = np.random.default_rng(0)
X = RNG.uniform(-2.0, 2.0, (60, 1))
CLEAN = np.sin(3.0 * X[:, 0])
AGAIN = np.concatenate([X, X + 1e-4])  # the same places once more
NOISY = np.concatenate([CLEAN, CLEAN]) + 0.3 * RNG.standard_normal(120)


def objective(y, noise=1e-6, known=None):
    """Fitted to the first 60 rows as if these had no noise."""
    kernel = Scale(RBF(0.5), 1.0)
    x = torch.from_numpy(AGAIN)
    data = Data(x, torch.from_numpy(y)[:, None], x[:, :0], torch.ones(len(x), dtype=torch.float64), known)
    found = Objective(data, Theta(kernel, {}, 0.2 if known is None else None), with_prior=False)
    point = found.theta.start.copy()
    if known is None:
        point[-1] = np.log(noise)
    return found, point


def density(of, point, log_noise):
    """Of the rows that were not fitted, one at a time, by numpy."""
    x = AGAIN[:, 0]
    k = np.exp(-0.5 * ((x[:, None] - x) / 0.5) ** 2)
    noise, y = np.exp(log_noise), of.data.y[:, 0].numpy()
    weights = np.linalg.solve(k[:60, :60] + noise * np.eye(60), k[:60, 60:])
    mean, variance = weights.T @ y[:60], 1.0 - (weights * k[:60, 60:]).sum(0) + noise
    return np.mean(-0.5 * np.log(2 * np.pi * variance) - 0.5 * (y[60:] - mean) ** 2 / variance)


def test_it_is_the_noise_that_predicts_best():
    of, point = objective(NOISY)
    found = raise_noise(of, point, torch.arange(120), 60)
    np.testing.assert_array_equal(found[:-1], point[:-1])
    grid = np.linspace(point[-1] + 1.0, np.log(0.2), 200)
    best = grid[np.argmax([density(of, point, log_noise) for log_noise in grid])]
    assert found[-1] == pytest.approx(best, abs=2.0 * unseen_noise.CLOSE)
    assert 0.02 < np.exp(found[-1]) < 0.2


@pytest.mark.parametrize("noise", [1e-6, 1e-2])
def test_rows_that_agree_leave_it_as_it_is(noise):
    of, point = objective(np.concatenate([CLEAN, np.sin(3.0 * AGAIN[60:, 0])]), noise)
    assert raise_noise(of, point, torch.arange(120), 60) is point


def test_it_is_left_alone_where_nothing_can_be_said():
    of, point = objective(NOISY)
    assert raise_noise(of, point, torch.arange(120), 120) is point  # no other rows
    known, point = objective(NOISY, known=torch.full((120,), 1e-6, dtype=torch.float64))
    assert raise_noise(known, point, torch.arange(120), 60) is point


def test_a_search_goes_on_from_there(monkeypatch):
    """No two of the rows that the search begins with contradict each other."""
    monkeypatch.setattr(newton, "SUBSETS", (60,))
    order = np.random.RandomState(5).permutation(120)
    whole, _ = objective(np.concatenate([CLEAN, NOISY[60:]]))
    shuffled = replace(whole, data=whole.data.rows(torch.from_numpy(np.argsort(order))))
    state = State(whole.theta.start[None], seed=5)
    with checkpoint_at(None, 5.0, {}) as checkpoint, Progress(False) as progress:
        state, _ = newton.climb(shuffled, state, newton.Watch(checkpoint, progress), "")
    assert np.exp(state.points[0][-1]) < 1e-3
    assert 0.02 < np.exp(state.newton.point[-1]) < 0.2
