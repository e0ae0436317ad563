"""Fourier sums at irregular places, beside the sums one by one."""

import numpy as np
import pytest

from nonparam.nonuniform_fft import fourier_sums


def one_by_one(x, values, count):
    return np.exp(1j * np.outer(np.arange(count), x)) @ values


@pytest.mark.parametrize(("n", "count"), [(1, 1), (2, 3), (5, 64), (300, 31), (40, 1000)])
@pytest.mark.parametrize("reach", [0.1, 3.0, 200.0], ids=lambda reach: f"within {reach}")
def test_the_sums_are_those_one_by_one(n, count, reach):
    rng = np.random.default_rng(n)
    x, values = rng.uniform(-reach, reach, n), rng.standard_normal((n, 2)) * [1.0, 1e6]
    error = np.abs(fourier_sums(x, values, count) - one_by_one(x, values, count)).max(0)
    rounded = np.finfo(float).eps * count * reach  # phases of either
    assert (error < (2e-13 + rounded) * np.abs(values).sum(0)).all()


def test_on_a_regular_grid_they_are_a_fourier_transform():
    values = np.random.default_rng(0).standard_normal((64, 1))
    found = fourier_sums(2.0 * np.pi * np.arange(64) / 64, values, 33)
    np.testing.assert_allclose(found.conj(), np.fft.rfft(values, axis=0), atol=1e-10)


def test_a_place_on_the_edge_of_the_fine_grid():
    x, values = np.array([0.0, 2.0 * np.pi, -2.0 * np.pi, np.nextafter(2.0 * np.pi, 0.0)]), np.ones((4, 1))
    np.testing.assert_allclose(fourier_sums(x, values, 20), np.full((20, 1), 4.0), atol=1e-11)
