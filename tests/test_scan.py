"""Scans for waves and steps, against regressions that are done one by one."""

import math

import numpy as np
import pytest
import torch

from nonparam.model_selection.scan import MULTIPLES, OVERSAMPLED, scan

N = 37


def made(seed, n=N, t=1, regular=False):
    """Return times, outputs and a covariance of coloured noise."""
    rng = np.random.default_rng(seed)
    x = np.arange(float(n)) if regular else np.sort(rng.uniform(0.0, 20.0, n))
    a = np.exp(-0.5 * (x[:, None] - x) ** 2) + 0.3 * np.eye(n)
    y = np.linalg.cholesky(a) @ rng.standard_normal((n, t)) + 0.2 * x[:, None]
    return x, y, a


def scanned(x, y, a):
    return scan(*(torch.from_numpy(np.array(table)) for table in (x, y, a)))


def unexplained(x, y, a, functions):
    """Return the squares that a line and some functions leave, by whitened least squares."""
    root = np.linalg.inv(np.linalg.cholesky(a))
    design = root @ np.column_stack([np.ones_like(x), x, *functions])
    target = root @ y
    return float(((target - design @ np.linalg.lstsq(design, target, rcond=None)[0]) ** 2).sum())


@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("seed", range(3))
def test_a_wave_gains_what_a_regression_says(seed, outputs):
    x, y, a = made(seed, t=outputs)
    single = [wave for wave in scanned(x, y, a).waves(50, longest=10.0) if wave.multiples == 1]
    found = single[seed]
    phase = 2 * np.pi * x / found.period
    left = unexplained(x, y, a, [np.cos(phase), np.sin(phase)]) / unexplained(x, y, a, [])
    gain = -0.5 * N * outputs * math.log(left) - outputs * math.log(N)
    assert found.gain == pytest.approx(gain, rel=1e-9)


def test_the_best_wave_of_all_is_found():
    x, y, a = made(1)
    span = np.ptp(x)
    highest = min(0.5 / np.diff(x).min(), 8.0 * 0.5 * (N - 1) / span)
    last = round(OVERSAMPLED * span * highest)

    def left_by(number):
        phase = 2 * np.pi * x * number / (OVERSAMPLED * span)
        return unexplained(x, y, a, [np.cos(phase), np.sin(phase)])

    best = min(range(OVERSAMPLED, last + 1), key=left_by)
    single = [wave for wave in scanned(x, y, a).waves(50, longest=span) if wave.multiples == 1]
    assert single[0].period == pytest.approx(OVERSAMPLED * span / best)


def test_what_repeats_is_found_though_most_of_it_is_twice_as_fast():
    t = np.arange(120.0)
    y = 0.4 * np.sin(2 * np.pi * t / 24.0) + np.cos(2 * np.pi * t / 12.0) + 0.7 * np.sin(2 * np.pi * t / 8.0)
    noise = 0.1 * np.random.default_rng(0).standard_normal((120, 1))
    first, *_ = scanned(t, y[:, None] + noise, np.eye(120)).waves(3, longest=60.0)
    assert first.period == pytest.approx(24.0, rel=0.01)
    assert first.multiples == 3 <= MULTIPLES


def test_irregular_rows_show_what_regular_ones_of_their_number_cannot():
    """Every fifth day or so, a weekly wave: evenly, five days apart, it would pass for one of 17.5 days."""
    rng = np.random.default_rng(0)
    day = np.sort(rng.choice(1000, 200, replace=False)).astype(float)
    y = np.sin(2 * np.pi * day / 7.0) + 0.5 * rng.standard_normal(200)
    (found,) = scanned(day, y[:, None], np.eye(200)).waves(1, longest=500.0)
    assert found.period == pytest.approx(7.0, rel=0.002)


def test_coloured_noise_is_no_wave_but_a_wave_beside_it_is():
    x, y, a = made(3, n=150, regular=True)
    wave = 1.6 * np.sin(2 * np.pi * x / 9.0)[:, None]
    assert scanned(x, y, a).waves(1, longest=75.0)[0].gain < 5.0
    found = scanned(x, y + wave, a).waves(1, longest=75.0)[0]
    assert found.period == pytest.approx(9.0, rel=0.01)
    assert found.gain > 20.0


@pytest.mark.parametrize("seed", range(4))
def test_the_best_step_is_found(seed):
    x, y, a = made(seed)
    y = y + 2.0 * (x > x[20])[:, None]
    places = 0.5 * (x[1:] + x[:-1])
    best = min(places, key=lambda place: unexplained(x, y, a, [(x > place).astype(float)]))
    assert scanned(x, y, a).step() == pytest.approx(best)


def test_rows_may_come_in_any_order_and_twice():
    x, y, a = made(5)
    x[3], x[10] = x[4], x[11]
    order = np.random.default_rng(0).permutation(N)
    one, other = scanned(x, y, a), scanned(x[order], y[order], a[order][:, order])
    assert other.step() == pytest.approx(one.step())
    periods = [[wave.period for wave in found.waves(3, longest=9.0)] for found in (one, other)]
    assert periods[0] == pytest.approx(periods[1])
    assert one.step() not in (x[3], x[10])


def test_too_little_to_look_at():
    assert scanned(np.ones(5), np.zeros((5, 1)), np.eye(5)) is None
    two = scanned(np.array([0.0, 1.0]), np.array([[1.0], [2.0]]), np.eye(2))
    assert two.waves(2, longest=0.5) == []
    assert two.step() == 0.5 or two.step() == 0.0


def test_a_perfect_line_leaves_nothing_and_no_nan():
    t = np.arange(30.0)
    found = scanned(t, 2.0 * t[:, None], np.eye(30))
    assert np.isfinite([wave.gain for wave in found.waves(4, longest=15.0)]).all()
    assert 0.0 <= found.step() <= 29.0
