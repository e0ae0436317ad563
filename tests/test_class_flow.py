"""Networks trained on labels: against the regression of each class, trained by the package's own flow."""

import math

import numpy as np
import pytest
import torch

from nonparam.kernels import InfiniteNetwork
from nonparam.latent.dirichlet import LogNormal
from nonparam.networks.class_flow import train_classes
from nonparam.networks.gradient_flow import train
from nonparam.objective import Data
from nonparam.posterior import condition

SIZES = [4, 9, 7]
N = sum(SIZES)
RNG = np.random.default_rng(0)
X = torch.from_numpy(RNG.normal(np.repeat(np.arange(3), SIZES)[:, None] * [1.0, -0.5], 1.0))
NEW = torch.from_numpy(RNG.normal(size=(6, 2)))
SEEN = LogNormal.of(0.01)
KERNEL = InfiniteNetwork("erf-1", "ntk", center=0.0, spread=1.0).double()
ONES = torch.ones(N, 1, dtype=torch.float64)


def one_class(c, rows, time):
    """The flow of one class alone on some of the rows."""
    y = SEEN.targets(SIZES, X)[rows, c : c + 1]
    data = Data(X[rows], y, ONES[rows], ONES[rows, 0], SEEN.outside_noise * ONES[rows, 0])
    return train(condition(KERNEL, data, 0.0), time, (0.5 * SEEN.gap) ** 2)


@pytest.mark.parametrize("time", [0.5, 20.0, math.inf])
def test_moments_are_those_of_a_flow_for_each_class(time):
    mean, variance = train_classes(KERNEL, X, SEEN, SIZES, time, 0).moments(NEW)
    for c in range(3):
        alone = one_class(c, torch.arange(N), time)
        np.testing.assert_allclose(mean[:, c], alone.predict_mean(NEW, ONES[:6])[:, 0], rtol=1e-9)
        np.testing.assert_allclose(variance[:, c], alone.predict_variance(NEW, ONES[:6]), rtol=1e-9)


def test_networks_did_not_see_the_rows_that_they_are_judged_by():
    found = train_classes(KERNEL, X, SEEN, SIZES, 5.0, 3)
    rows, mean, variance = found.left_out()
    assert sorted(rows.tolist()) == list(range(N))
    part = rows[:4]  # a fifth
    kept = torch.tensor([i for i in range(N) if i not in part.tolist()])
    for c in range(3):
        alone = one_class(c, kept, 5.0)
        np.testing.assert_allclose(mean[:4, c], alone.predict_mean(X[part], ONES[:4])[:, 0], rtol=1e-9)
        np.testing.assert_allclose(variance[:4, c], alone.predict_variance(X[part], ONES[:4]), rtol=1e-9)


def test_without_training_the_functions_are_draws_of_networks():
    mean, variance = train_classes(KERNEL, X, SEEN, SIZES, 1e-12, 0).moments(NEW)
    before = InfiniteNetwork("erf-1", "nngp", center=0.0, spread=1.0).double()
    np.testing.assert_allclose(mean, mean[:1].expand_as(mean), atol=1e-8)
    diagonal = torch.diagonal(before(NEW).to_dense()).detach()
    np.testing.assert_allclose(variance, diagonal[:, None].expand(6, 3), rtol=1e-8)
