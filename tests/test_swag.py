"""Moments of weights against plain sums, and draws against the published covariance."""

import math

import numpy as np
import pytest
import torch

from nonparam.errors import InputError
from nonparam.networks.members import Members
from nonparam.networks.swag import WeightMoments


def collected(path, rank=20):
    """Moments of weights that pass through ``path (k, m, p)``."""
    moments = WeightMoments(rank)
    members = Members([torch.nn.Linear(path.shape[2], 1, bias=False) for _ in range(path.shape[1])])
    for weights in path:
        moments.collect(members.assign(torch.from_numpy(weights).float()))
    return moments


def path_of(k, m, p, seed=0, centre=0.0):
    draws = centre + np.random.default_rng(seed).standard_normal((k, m, p))
    return draws.astype(np.float32).astype(np.float64)


def covariance(path, rank):
    """The covariance of algorithm 1 and equation 1, written out for one network ``(k, p)``."""
    mean, square = path.mean(0), (path**2).mean(0)
    running = [path[: i + 1].mean(0) for i in range(len(path))]
    columns = np.array([theta - mean for theta, mean in zip(path, running, strict=True)])[-rank:]
    return mean, 0.5 * np.diag(square - mean**2) + columns.T @ columns / (2.0 * (len(columns) - 1))


@pytest.mark.parametrize(("k", "rank"), [(2, 20), (7, 20), (7, 3), (30, 20)])
def test_moments_are_those_of_plain_sums(k, rank):
    path = path_of(k, 2, 5)
    moments = collected(path, rank)
    np.testing.assert_allclose(moments.mean, path.mean(0), atol=1e-12)
    np.testing.assert_allclose(moments.variance, path.var(0), atol=1e-12)
    assert moments.deviations.shape == (2, min(k, rank), 5) and moments.collected == k


@pytest.mark.parametrize(("k", "rank"), [(4, 20), (8, 3)])
def test_draws_have_the_published_covariance(k, rank):
    """With fewer iterates than columns at most, the factor is that of the columns that there are."""
    path = path_of(k, 2, 3)
    moments, generator = collected(path, rank), torch.Generator().manual_seed(0)
    draws = torch.stack([moments.draw(generator) for _ in range(40_000)]).numpy()
    for i in range(2):
        mean, expected = covariance(path[:, i], rank)
        np.testing.assert_allclose(draws[:, i].mean(0), mean, atol=0.03)
        np.testing.assert_allclose(np.cov(draws[:, i].T), expected, atol=0.03 * np.abs(expected).max())
    across = np.corrcoef(draws[:, 0, 0], draws[:, 1, 0])[0, 1]
    assert abs(across) < 0.02  # networks are independent


def test_small_moves_of_large_weights_keep_their_variance():
    """In single precision the difference of squares would be rounding, or negative."""
    path = 1000.0 + 1e-3 * np.round(path_of(20, 1, 4))
    path = path.astype(np.float32).astype(np.float64)
    np.testing.assert_allclose(collected(path).variance, path.var(0), rtol=1e-3, atol=1e-12)


def test_weights_that_stand_still_are_drawn_as_they_are():
    path = np.ones((5, 1, 3))
    moments = collected(path)
    assert float(moments.variance.max()) == 0.0
    np.testing.assert_array_equal(moments.draw(torch.Generator().manual_seed(0)), path[0])


def test_draws_repeat_with_the_seed_only():
    moments = collected(path_of(5, 1, 3))
    a, b, c = (moments.draw(torch.Generator().manual_seed(seed)) for seed in (0, 0, 1))
    assert torch.equal(a, b) and not torch.equal(a, c)


@pytest.mark.parametrize("k", [0, 1])
def test_too_few_epochs(k):
    with pytest.raises(InputError, match=f"weights of 2 epochs or more.*got {k}"):
        collected(path_of(k, 1, 2)).draw(torch.Generator())


def test_factor_of_the_low_rank_part():
    """Half of the unbiased covariance: twice the scale that the reference code takes for 1."""
    path = path_of(400, 1, 2, seed=1)
    moments, generator = collected(path, rank=400), torch.Generator().manual_seed(0)
    draws = torch.stack([moments.draw(generator) for _ in range(20_000)])[:, 0]
    # both halves estimate the variance of the iterates, which is 1
    assert float(draws.var(0).mean()) == pytest.approx(1.0, abs=0.15)
    assert math.isfinite(float(draws.mean()))
