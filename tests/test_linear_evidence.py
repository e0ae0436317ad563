"""Directions of a linear model, and the search along a single logarithm."""

import numpy as np
import pytest
from scipy.stats import multivariate_normal, norm

from nonparam.linear_evidence import maximise, rotate

RNG = np.random.default_rng(4)


@pytest.mark.parametrize(("n", "p"), [(7, 3), (3, 7), (5, 5)])
def test_many_variances_at_once_are_each_by_itself(n, p):
    design, y = RNG.standard_normal((n, p)), RNG.standard_normal(n)
    model = rotate(design, y, intercept=False)
    ratios, noises = np.array([0.0, 0.3, 20.0]), np.array([0.5, 0.1, 2.0])
    found = model.log_density(ratios, noises)
    for value, ratio, noise in zip(found, ratios, noises, strict=True):
        a = noise * (ratio * design @ design.T + np.eye(n))
        assert value == pytest.approx(multivariate_normal(np.zeros(n), a).logpdf(y), abs=1e-10)


def test_the_prior_of_widely_different_directions_keeps_the_small_ones():
    design = np.diag([1e8, 1.0, 1e-8])
    y = np.array([1.0, 2.0, 3.0])
    model = rotate(design, y, intercept=False)
    exact = norm(0.0, np.sqrt([1e16 + 1.0, 2.0, 1.0 + 1e-16])).logpdf(y).sum()
    assert model.log_density(1.0, 1.0) == pytest.approx(exact, rel=1e-12)


def test_a_constant_column_is_nothing_beside_an_intercept():
    design = np.c_[RNG.standard_normal(6), np.full(6, 0.1)]
    assert rotate(design, np.ones(6), intercept=True).singular[1] == 0.0


def test_two_maxima_are_told_apart():
    hills = lambda x: np.exp(-((np.log(x) - 2.0) ** 2)) + 1.1 * np.exp(-((np.log(x) + 3.0) ** 2))  # noqa: E731
    assert np.log(maximise(hills, 1e-4, 1e4)) == pytest.approx(-3.0, abs=1e-6)


def test_a_maximum_at_an_end_is_found():
    assert maximise(np.log, 0.1, 50.0) == pytest.approx(50.0, rel=1e-6)
    assert maximise(lambda x: -x, 0.1, 50.0) == pytest.approx(0.1, rel=1e-6)
    assert maximise(lambda x: -x, 2.0, 2.0) == pytest.approx(2.0)


def test_the_best_noise_of_exact_data_stays_above_the_floor():
    design = RNG.standard_normal((9, 2))
    ratio, noise = rotate(design, design @ [1.0, 2.0], intercept=False).best(True, None)
    assert noise == pytest.approx(1e-6 * np.mean((design @ [1.0, 2.0]) ** 2)) and ratio > 0.0
