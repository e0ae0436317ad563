"""Mixtures of Gaussians in tables of any shape."""

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm

from nonparam.gaussian_mixture import GaussianMixture, invert_cdf, join

LEVELS = np.array([1e-9, 0.025, 0.3, 0.5, 0.975, 0.9999])


def mixture(shape=(4,), k=3, seed=0):
    rng = np.random.RandomState(seed)
    weights = rng.dirichlet(np.ones(k))
    return GaussianMixture(
        weights, 3.0 * rng.standard_normal((k, *shape)), 0.1 + rng.random_sample((k, *shape))
    )


@pytest.mark.parametrize("shape", [(1,), (4,), (3, 2)])
def test_moments_and_distribution_are_those_of_the_density(shape):
    mixed = mixture(shape)
    assert mixed.mean.shape == mixed.sd.shape == shape
    place = (0,) * len(shape)
    pairs = list(zip(mixed.weights, mixed.means[:, *place], mixed.sds[:, *place], strict=True))

    def density(y):
        return sum(w * norm(m, s).pdf(y) for w, m, s in pairs)

    mean = quad(lambda y: y * density(y), -20, 20, limit=200)[0]
    second = quad(lambda y: (y - mean) ** 2 * density(y), -20, 20, limit=200)[0]
    assert mixed.mean[place] == pytest.approx(mean, abs=1e-8)
    assert mixed.sd[place] == pytest.approx(np.sqrt(second), rel=1e-8)
    below = quad(density, -20, 0.7, limit=200)[0]
    assert mixed.cdf(np.full((*shape, 1), 0.7))[(*place, 0)] == pytest.approx(below, abs=1e-9)


@pytest.mark.parametrize("shape", [(1,), (3, 2)])
def test_the_quantile_is_the_first_float_that_reaches_the_level(shape):
    mixed = mixture(shape)
    quantiles = mixed.quantile(LEVELS)
    assert quantiles.shape == (*shape, len(LEVELS))
    assert (mixed.cdf(quantiles) >= LEVELS).all()
    assert (mixed.cdf(np.nextafter(quantiles, -np.inf)) < LEVELS).all()


def test_one_component_is_a_normal_distribution():
    one = GaussianMixture(np.ones(1), np.array([[2.0]]), np.array([[3.0]]))
    np.testing.assert_allclose(one.quantile(LEVELS)[0], norm(2.0, 3.0).ppf(LEVELS), rtol=1e-12)


def test_components_without_spread_are_steps():
    steps = GaussianMixture(np.array([0.25, 0.75]), np.array([[-1.0], [5.0]]), np.zeros((2, 1)))
    np.testing.assert_allclose(steps.quantile(np.array([0.2, 0.3, 0.9])), [[-1.0, 5.0, 5.0]], rtol=1e-15)
    assert steps.mean[0] == 3.5 and steps.sd[0] == pytest.approx(np.sqrt(0.25 * 0.75) * 6.0)


def test_a_mixture_of_mixtures_is_one():
    a, b = mixture(k=2, seed=1), mixture(k=3, seed=2)
    both = join(np.array([0.2, 0.8]), [a, b])
    y = np.linspace(-3.0, 3.0, 4)[:, None]
    assert both.weights.sum() == pytest.approx(1.0, abs=1e-15)
    np.testing.assert_allclose(both.cdf(y), 0.2 * a.cdf(y) + 0.8 * b.cdf(y), rtol=1e-13)


def test_inversion_takes_few_evaluations_where_the_function_is_smooth():
    apart, calls = mixture((50,)), []
    mixed = GaussianMixture(apart.weights, 0.1 * apart.means, 1.0 + apart.sds)
    members = mixed.means[..., None] + mixed.sds[..., None] * norm.ppf(LEVELS)

    def cdf(y):
        calls.append(y)
        return mixed.cdf(y)

    found = invert_cdf(cdf, LEVELS, members.min(0), members.max(0))
    np.testing.assert_array_equal(found, mixed.quantile(LEVELS))
    assert len(calls) < 35  # halving alone takes 64


@pytest.mark.parametrize("scale", [1e-300, 1e-9, 1e200])
def test_inversion_is_as_exact_at_any_scale(scale):
    found = invert_cdf(
        lambda y: norm.cdf(y / scale), LEVELS, np.full(6, -9.0 * scale), np.full(6, 9.0 * scale)
    )
    np.testing.assert_allclose(found, scale * norm.ppf(LEVELS), rtol=1e-9, atol=1e-15 * scale)
