"""The spectrum of periodic kernels against the kernels themselves."""

import mpmath
import numpy as np
import pytest
import torch

from nonparam.forecasting.harmonics import grid_weights, kept, waves, weights
from nonparam.kernels import Periodic

SMOOTHNESS = [0.05, 0.3, 0.9, 1.4, 3.0, 1e2, 1e4]
STEPS = [2, 3, 4, 7, 12, 24]


@pytest.mark.parametrize("smoothness", SMOOTHNESS)
@pytest.mark.parametrize("p", STEPS)
def test_waves_on_a_grid_add_up_to_the_kernel(p, smoothness):
    share, _ = grid_weights(smoothness, p)
    harmonics, times = np.arange(p // 2 + 1), np.arange(3.0 * p)
    h = waves(times / p, harmonics, p)
    assert h.shape[1] == p
    kernel = Periodic(float(p), smoothness, zero_mean=True).matrix(torch.from_numpy(times)[:, None])
    covariance = h * np.repeat(share, 2)[kept(harmonics, p)] @ h.T
    assert covariance == pytest.approx(kernel.detach().numpy(), abs=1e-13)


@pytest.mark.parametrize("smoothness", SMOOTHNESS[1:])
def test_waves_add_up_to_the_kernel_anywhere(smoothness):
    share, _ = weights(smoothness, 60)
    times = np.random.default_rng(0).uniform(-1e3, 1e3, 40)
    h = waves(times / 3.7, np.arange(1, 61), None)
    kernel = Periodic(3.7, smoothness, zero_mean=True).matrix(torch.from_numpy(times)[:, None])
    assert h * np.repeat(share, 2) @ h.T == pytest.approx(kernel.detach().numpy(), abs=1e-11)


@pytest.mark.parametrize("smoothness", [1e-3, *SMOOTHNESS])
def test_shares_are_those_of_many_digits(smoothness):
    share, _ = weights(smoothness, 24)
    with mpmath.workdps(60):
        q = mpmath.mpf(smoothness) ** -2
        exact = [mpmath.besseli(j, q) for j in range(1, 25)]
        exact = np.array([float(value / mpmath.fsum(exact)) for value in exact])
    assert share == pytest.approx(exact, rel=1e-9, abs=1e-280)


@pytest.mark.parametrize(
    "shares", [lambda s: weights(s, 8), lambda s: grid_weights(s, 7), lambda s: grid_weights(s, 12)]
)
@pytest.mark.parametrize("smoothness", SMOOTHNESS)
def test_slopes_are_those_of_differences(smoothness, shares):
    h = 1e-4
    ends = [shares(smoothness * np.exp(side * h))[0] for side in (1.0, -1.0)]
    assert shares(smoothness)[1] == pytest.approx((ends[0] - ends[1]) / (2.0 * h), abs=1e-7)


@pytest.mark.parametrize("smoothness", [1e-300, 1e-30, 1e-7, 1e7, 1e30, 1e300])
def test_extremes_are_shares_still(smoothness):
    for share, slope in (weights(smoothness, 5), grid_weights(smoothness, 12), grid_weights(smoothness, 1)):
        assert share.sum() == pytest.approx(1.0) and (share >= 0.0).all()
        assert np.isfinite(slope).all()


def test_a_grid_of_one_step_shows_a_constant_only():
    share, slope = grid_weights(0.5, 1)
    assert share == pytest.approx([1.0]) and slope == pytest.approx([0.0])
    assert waves(np.arange(3.0), np.arange(1), 1) == pytest.approx(np.ones((3, 1)))
