"""The expected softmax of Gaussian numbers: against nested quadrature, limits and symmetries."""

import itertools

import numpy as np
import pytest
import torch
from scipy.special import softmax as plain
from scipy.stats import norm

from nonparam.likelihoods.softmax import expected_softmax

RNG = np.random.default_rng(0)


def nested(mean, variance, nodes=40):
    """Gauss and Hermite's rule in every dimension."""
    z, w = np.polynomial.hermite_e.hermegauss(nodes)
    w = w / w.sum()
    total = np.zeros(len(mean))
    for index in itertools.product(range(nodes), repeat=len(mean)):
        total += np.prod(w[list(index)]) * plain(mean + np.sqrt(variance) * z[list(index)])
    return total


@pytest.mark.parametrize("case", range(4))
def test_it_is_the_integral(case):
    rng = np.random.default_rng(case)
    mean, variance = rng.normal(0.0, 2.0, 3), rng.uniform(0.0, 1.5, 3)
    found = expected_softmax(torch.from_numpy(mean)[None], torch.from_numpy(variance)[None])[0]
    np.testing.assert_allclose(found, nested(mean, variance), atol=3e-6)


def test_small_probabilities_keep_their_digits():
    mean = np.array([0.0, -12.0, -25.0])
    found = expected_softmax(torch.from_numpy(mean)[None], torch.full((1, 3), 0.5, dtype=torch.float64))[0]
    np.testing.assert_allclose(found, nested(mean, np.full(3, 0.5)), rtol=1e-4)


def test_without_variance_it_is_the_softmax():
    mean = torch.from_numpy(RNG.normal(0.0, 5.0, (100, 7)))
    np.testing.assert_allclose(expected_softmax(mean, torch.zeros_like(mean)), mean.softmax(1), rtol=1e-6)


def test_a_row_is_worked_on_alone_and_shifts_and_orders_do_nothing():
    mean, variance = (torch.from_numpy(RNG.uniform(0.0, 4.0, (150, 5))) for _ in range(2))
    variance[::7] *= 30.0
    found, order = expected_softmax(mean, variance), torch.tensor([3, 0, 4, 1, 2])
    np.testing.assert_allclose(found.sum(1), 1.0, rtol=1e-12)
    np.testing.assert_allclose(expected_softmax(mean[20:22], variance[20:22]), found[20:22], atol=3e-6)
    np.testing.assert_allclose(expected_softmax(mean + 1e4, variance), found, atol=1e-6)
    np.testing.assert_allclose(
        expected_softmax(mean[:, order], variance[:, order]), found[:, order], atol=1e-9
    )


@pytest.mark.parametrize("sd", [5.0, 20.0, 1e3, 1e8])
def test_the_largest_wins_where_deviations_are_large(sd):
    mean = torch.tensor([[0.7 * sd, 0.0]], dtype=torch.float64)
    found = float(expected_softmax(mean, torch.full((1, 2), sd**2, dtype=torch.float64))[0, 0])
    expected = norm.cdf(0.7 / np.sqrt(2.0 + np.pi**2 / 3.0 / sd**2))
    assert found == pytest.approx(expected, abs=0.005)


def test_a_thousand_classes():
    mean = torch.from_numpy(RNG.normal(size=(3, 1000)))
    found = expected_softmax(mean, torch.full_like(mean, 0.01))
    assert bool((found > 0.0).all())
    np.testing.assert_allclose(found, mean.softmax(1), rtol=0.05)
