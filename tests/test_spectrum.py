"""Peaks of the spectrum of a series, in regular and in irregular times."""

import numpy as np
import pytest
from scipy.signal import lombscargle

from nonparam.spectrum import find_peaks, mixture_of, nyquist, periodogram, periodogram_on_grid

RNG = np.random.default_rng(0)


def waves(t, frequencies, amplitudes, noise=0.0, seed=0):
    rng = np.random.default_rng(seed)
    phases = rng.uniform(0.0, 6.0, len(frequencies))
    y = sum(
        a * np.sin(2 * np.pi * f * t + p) for a, f, p in zip(amplitudes, frequencies, phases, strict=True)
    )
    return (y + noise * np.std(y) * rng.standard_normal(len(t)))[:, None]


def times(n, irregular):
    return np.sort(np.random.default_rng(7).uniform(0.0, n, n)) if irregular else np.arange(float(n))


def test_the_periodogram_is_that_of_scipy():
    t, y, weights = RNG.uniform(0.0, 3.0, 50), RNG.standard_normal((50, 2)), RNG.uniform(0.1, 3.0, 50)
    at = np.linspace(0.1, 9.0, 77)
    power = [lombscargle(t, column, 2 * np.pi * at, weights=weights, normalize=True) for column in y.T]
    np.testing.assert_allclose(periodogram(t, y, weights, at), np.sum(power, 0), rtol=1e-7)


@pytest.mark.parametrize("irregular", [False, True])
def test_the_periodogram_on_a_grid_is_that_one_by_one(irregular):
    t, weights = times(60, irregular), RNG.uniform(0.1, 3.0, 60)
    y = RNG.standard_normal((60, 1))
    one_by_one = periodogram(t, y, weights, 0.004 * np.arange(1.0, 121.0))
    np.testing.assert_allclose(periodogram_on_grid(t, y, weights, 0.004, 120), one_by_one, atol=1e-10)


def test_many_times_take_no_table_of_waves():
    """20,000 times by 80,000 frequencies, two peaks: minutes one by one."""
    t = times(20_000, True)
    found = find_peaks(t, waves(t, [0.01234, 0.4321], [1.0, 0.3], noise=0.5), np.ones(20_000), 2, width=0.1)
    np.testing.assert_allclose(found.frequency, [0.01234, 0.4321], atol=3e-6)


@pytest.mark.parametrize("irregular", [False, True])
@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_sinusoids_without_noise_are_found_to_many_digits(count, irregular):
    frequencies = np.array([0.031, 0.0983, 0.2217, 0.3761])[:count]
    t = times(200, irregular)
    found = find_peaks(t, waves(t, frequencies, [1.0, 0.8, 0.6, 0.9][:count]), np.ones(200), count, width=0.1)
    np.testing.assert_allclose(np.sort(found.frequency), frequencies, rtol=1e-6)


@pytest.mark.parametrize("irregular", [False, True])
def test_a_small_peak_beside_a_large_one_is_found(irregular):
    t = times(200, irregular)
    y = waves(t, [0.1, 0.115], [10.0, 0.5], noise=0.005)
    found = find_peaks(t, y, np.ones(200), 2, width=0.1)
    np.testing.assert_allclose(found.frequency, [0.1, 0.115], rtol=0.01)
    assert found.weight.sum() == pytest.approx(y.var())
    assert found.weight[0] > 100.0 * found.weight[1]


def test_units_of_time_and_of_the_outputs():
    t = times(150, True)
    y = waves(t, [0.11, 0.31], [1.0, 0.5], noise=0.1)
    plain = find_peaks(t, y, np.ones(150), 3, width=0.1)
    scaled = find_peaks(1000.0 + 0.01 * t, 1e6 + 50.0 * y, np.ones(150), 3, width=0.1)
    np.testing.assert_allclose(scaled.frequency, 100.0 * plain.frequency, rtol=1e-4)
    np.testing.assert_allclose(scaled.bandwidth, 100.0 * plain.bandwidth, rtol=1e-4)
    np.testing.assert_allclose(scaled.weight, 2500.0 * plain.weight, rtol=1e-3)


@pytest.mark.parametrize(
    ("unit", "origin"), [(1e-12, 0.0), (1e9, 0.0), (8.64e13, 0.0), (1.0, 1.7e9)], ids=str
)
def test_times_may_be_in_any_unit_and_from_any_origin(unit, origin):
    t, weights = times(150, True), np.ones(150)
    y = 0.02 * t[:, None] + waves(t, [0.11, 0.31], [1.0, 0.5], noise=0.1)
    ways = [lambda x: find_peaks(x, y, weights, 3, width=0.1), lambda x: mixture_of(x, y, weights, 3)]
    for plain, moved in ((way(t), way(origin + unit * t)) for way in ways):
        np.testing.assert_allclose(moved.frequency * unit, plain.frequency, rtol=1e-5)
        np.testing.assert_allclose(moved.bandwidth * unit, plain.bandwidth, rtol=1e-5)
        np.testing.assert_allclose(moved.weight, plain.weight, rtol=1e-5)
    np.testing.assert_allclose(ways[0](t).frequency, [0.0, 0.11, 0.31], rtol=0.01)


def test_a_trend_comes_first_and_hides_nothing():
    t = times(144, False)
    found = find_peaks(t, 0.1 * t[:, None] + waves(t, [1.0 / 12.0], [1.0], 0.1), np.ones(144), 2, width=0.1)
    assert found.frequency[0] == 0.0
    assert found.frequency[1] == pytest.approx(1.0 / 12.0, rel=0.01)
    slow = find_peaks(t, waves(t, [0.012], [1.0], 0.1), np.ones(144), 1, width=0.1)
    assert slow.frequency[0] == pytest.approx(0.012, rel=0.03)  # a slow wave is no trend


def test_weights_stand_for_repeated_rows():
    t = times(60, True)
    y, weights = waves(t, [0.21], [1.0], 0.3), RNG.integers(1, 4, 60)
    weighted = find_peaks(t, y, weights.astype(float), 2, width=0.1)
    repeated = find_peaks(
        np.repeat(t, weights), np.repeat(y, weights, 0), np.ones(weights.sum()), 2, width=0.1
    )
    np.testing.assert_allclose(weighted.frequency, repeated.frequency, rtol=1e-5)
    np.testing.assert_allclose(weighted.weight, repeated.weight, rtol=1e-5)


def test_outputs_share_their_peaks():
    t = times(120, False)
    y = np.c_[waves(t, [0.1], [2.0], 0.1), waves(t, [0.33], [1.0], 0.1, seed=1)]
    found = find_peaks(t, y, np.ones(120), 2, width=0.1)
    np.testing.assert_allclose(found.frequency, [0.1, 0.33], rtol=0.01)


@pytest.mark.parametrize(
    "y", [np.zeros(30), np.full(30, 7.0), np.arange(30.0)], ids=["zeros", "constant", "line"]
)
def test_series_without_waves(y):
    found = find_peaks(np.arange(30.0), y[:, None], np.ones(30), 3, width=0.1)
    assert np.isfinite(found.frequency).all() and len(found.frequency) <= 1
    assert found.weight.sum() == pytest.approx(y.var())
    fitted = mixture_of(np.arange(30.0), y[:, None], np.ones(30), 2)
    assert all(np.isfinite(part).all() for part in (fitted.frequency, fitted.bandwidth, fitted.weight))


@pytest.mark.parametrize("t", [[0.0, 1.0], [0.0, 0.0, 1.0], [3.0, 1.0, 2.0, 2.0]], ids=str)
def test_few_and_repeated_times(t):
    t = np.array(t)
    found = find_peaks(t, RNG.standard_normal((len(t), 1)), np.ones(len(t)), 5, width=0.1)
    assert np.isfinite(found.frequency).all() and (found.frequency <= nyquist(t) + 1e-9).all()


def test_the_mixture_has_the_moments_of_a_smooth_spectrum():
    """White noise through a resonance: one broad peak, whose centre and width the mixture finds."""
    rng = np.random.default_rng(3)
    y, t = np.zeros(3000), np.arange(3000.0)
    for i in range(2, 3000):
        y[i] = 1.8 * np.cos(2 * np.pi * 0.1) * y[i - 1] - 0.81 * y[i - 2] + rng.standard_normal()
    found = mixture_of(t, y[:, None], np.ones(3000), 2)
    largest = int(np.argmax(found.weight))
    assert found.frequency[largest] == pytest.approx(0.1, rel=0.1)
    assert 0.005 < found.bandwidth[largest] < 0.05
    assert found.weight.sum() == pytest.approx(y.var())


def test_nyquist_counts_places():
    assert nyquist(np.array([0.0, 1.0, 2.0, 3.0])) == 0.5
    assert nyquist(np.array([0.0, 1.0, 1.0, 2.0, 3.0])) == 0.5
    assert nyquist(np.array([5.0, 5.0])) == 1.0
