"""The latent functions of classes: against one Gaussian process a class, and rows really left out."""

import itertools
import math

import numpy as np
import pytest
import torch

from nonparam.errors import InsufficientMemoryError
from nonparam.kernels import RBF
from nonparam.latent import calibration, class_posterior
from nonparam.latent.calibration import Calibration, calibrate
from nonparam.latent.class_posterior import condition_classes, plan_classes
from nonparam.latent.dirichlet import LogNormal
from nonparam.objective import Data
from nonparam.posterior import condition

SIZES = [4, 9, 7]
N = sum(SIZES)
LOG_SHARES = torch.tensor(SIZES, dtype=torch.float64).div(N).log()
CODES = np.repeat(np.arange(3), SIZES)
RNG = np.random.default_rng(0)
X = torch.from_numpy(RNG.normal(CODES[:, None] * [1.0, -0.5], 1.0))
NEW = torch.from_numpy(RNG.normal(size=(6, 2)))
KERNEL, SEEN = 5.0 * RBF(1.5), LogNormal.of(0.01)


def posterior():
    return condition_classes(KERNEL, X, SEEN, SIZES)


def one_class(c, rows):
    """The regression of one class on its targets, by the package's dense posterior."""
    own = torch.from_numpy(CODES == c)[rows]
    y, noise = (
        torch.where(own, torch.tensor(a, dtype=torch.float64), torch.tensor(b, dtype=torch.float64))
        for a, b in ((SEEN.inside, SEEN.outside), (SEEN.inside_noise, SEEN.outside_noise))
    )
    ones = torch.ones(len(y), 1, dtype=torch.float64)
    return condition(KERNEL, Data(X[rows], y[:, None], ones, ones[:, 0], noise), 0.0)


def test_moments_are_those_of_a_regression_for_each_class(monkeypatch):
    monkeypatch.setattr(class_posterior, "BLOCK", 4)
    mean, variance = posterior().moments(NEW)
    ones = torch.ones(len(NEW), 1, dtype=torch.float64)
    for c in range(3):
        alone = one_class(c, torch.arange(N))
        np.testing.assert_allclose(mean[:, c], alone.predict_mean(NEW, ones)[:, 0], rtol=1e-9, atol=1e-10)
        np.testing.assert_allclose(variance[:, c], alone.predict_variance(NEW, ones), rtol=1e-9)


def test_moments_of_rows_left_out_are_those_without_them():
    rows, mean, variance = posterior().left_out()
    np.testing.assert_array_equal(rows, np.arange(N))
    one = torch.ones(1, 1, dtype=torch.float64)
    for i in (0, 5, N - 1):
        rows = torch.tensor([j for j in range(N) if j != i])
        for c in range(3):
            without = one_class(c, rows)
            assert float(mean[i, c]) == pytest.approx(
                float(without.predict_mean(X[i : i + 1], one)), rel=1e-8
            )
            assert float(variance[i, c]) == pytest.approx(
                float(without.predict_variance(X[i : i + 1], one)), rel=1e-8
            )


def log_loss(calibration, found):
    shares = calibration.probabilities(*found.left_out()[1:], LOG_SHARES)
    return -float(shares[torch.arange(N), torch.from_numpy(CODES)].log().mean())


def test_the_calibration_has_the_smallest_log_loss_of_rows_left_out():
    found = posterior()
    best = calibrate(
        *found.left_out()[1:], found.targets.argmax(1), LOG_SHARES, torch.Generator().manual_seed(0)
    )
    assert best.log_loss == pytest.approx(log_loss(best, found), rel=1e-9)
    for point in itertools.product((0.3, 0.8, 1.0, 2.0, 5.0, 20.0, 50.0), (0.1, 0.5, 1.0), (0.0, 0.5, 1.0)):
        assert best.log_loss <= log_loss(Calibration(*point, math.nan), found) + 2e-3


@pytest.mark.parametrize("seed", range(5))
def test_labels_that_nothing_tells_cost_no_more_than_their_shares_do(seed):
    """Probabilities of the shares alone have a log loss that is the entropy of the labels."""
    rng, sizes = np.random.default_rng(seed), [60, 25, 15]
    x = torch.from_numpy(rng.normal(size=(100, 2)))
    posterior = condition_classes(KERNEL, x, SEEN, sizes)
    own = posterior.targets.argmax(1)
    generator = torch.Generator().manual_seed(0)
    shares = np.array(sizes) / 100.0
    found = calibrate(*posterior.left_out()[1:], own, torch.from_numpy(np.log(shares)), generator)
    assert found.log_loss < -(shares @ np.log(shares)) + 0.02


def test_the_search_starts_at_the_one_minimum_without_spread():
    mean, own = torch.from_numpy(RNG.normal(size=(40, 3))), torch.from_numpy(RNG.integers(3, size=(40, 1)))
    mean.scatter_add_(1, own, torch.ones(40, 1, dtype=torch.float64))
    log_shares = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64).log()

    def loss(temperature, share):
        scores = mean / temperature + share * log_shares
        return -float(scores.log_softmax(1).gather(1, own).mean())

    log_temperature, _, share = calibration._without_spread(mean, own, log_shares)
    least = min(loss(t, r) for t in np.geomspace(0.1, 50.0, 80) for r in np.linspace(0.0, 1.0, 41))
    assert loss(math.exp(log_temperature), share) <= least + 1e-6


def test_memory_is_asked_for_before_it_is_taken(monkeypatch):
    monkeypatch.setattr(class_posterior, "MATRICES", 1e15)
    with pytest.raises(InsufficientMemoryError, match="train on a random subset of the rows"):
        posterior()


@pytest.mark.parametrize(("classes", "size"), [(2, "32.0 MB"), (125, "32.0 MB"), (1000, "88.0 MB")])
def test_tables_of_many_classes_count_too(classes, size):
    assert str(plan_classes(1000, classes, torch.device("cpu"))).endswith(size)
