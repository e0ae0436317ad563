r"""The waves that a periodic process is the sum of, and how its variance is spread over them.

.. math:: \frac{e^{q \cos \phi} - I_0(q)}{e^q - I_0(q)} = \sum_{j \ge 1} w_j \cos j \phi, \qquad
    w_j = \frac{2 I_j(q)}{e^q - I_0(q)}, \qquad q = 1 / \ell^2

with the modified Bessel functions :math:`I_j`. On a grid with a whole number ``p`` of steps in a period
harmonics coincide with each other, and ``p`` waves, with the Fourier transform of ``p`` covariances for
weights, are the process.

Source: Solin and Särkkä (2014), Explicit link between periodic covariance functions and state space models,
AISTATS; DLMF, equations 10.35.2 and 10.29.2.
"""

import math

import numpy as np
from numpy.typing import NDArray
from scipy.special import ive

__all__ = ["grid_weights", "kept", "waves", "weights"]

Array = NDArray[np.float64]

SHARPEST = 1e-4  # l: Bessel functions of its inverse square have their digits still
SMOOTHEST = 1e8  # l: one wave has all the digits of the variance
SMALL = 0.5  # q: from here down so many harmonics as below have the whole variance
SOME = np.arange(1.0, 16.0)


def waves(phase: Array, harmonics: NDArray[np.intp], p: int | None) -> Array:
    """Return cosines and sines, without the sines that vanish on a grid.

    Args:
        phase: ``(n,)``, times in periods.
        harmonics: ``(J,)``, their frequencies, in cycles a period.
        p: steps of the grid in a period; ``None`` where there is no grid.

    Returns:
        ``(n, d)``: for each harmonic its cosine, then its sine.

    Examples:
        >>> waves(np.array([0.0, 0.25]), np.array([0, 1, 2]), 4).round(6)
        array([[ 1.,  1.,  0.,  1.],
               [ 1.,  0.,  1., -1.]])
    """
    turns = 2.0 * math.pi * np.remainder(phase[:, None] * harmonics, 1.0)
    both = np.stack([np.cos(turns), np.sin(turns)], axis=2)
    return both.reshape(len(phase), -1)[:, kept(harmonics, p)]


def kept(harmonics: NDArray[np.intp], p: int | None) -> NDArray[np.bool_]:
    """Return which of the cosines and sines are waves on the grid, ``(2 J,)``."""
    is_wave = np.ones((len(harmonics), 2), dtype=np.bool_)
    if p is not None:
        is_wave[:, 1] = 2 * harmonics % p != 0
    return is_wave.ravel()


def weights(smoothness: float, harmonics: int) -> tuple[Array, Array]:
    r"""Return the shares of the variance of harmonics 1 to ``J``, and their slopes in :math:`\log \ell`.

    What belongs to higher harmonics is spread over these in proportion.

    Args:
        smoothness: ``l``, no unit.
        harmonics: ``J``.

    Returns:
        Two arrays ``(J,)``; the first sums to 1.

    Examples:
        >>> share, slope = weights(1.0, 12)
        >>> share[:3].round(4), round(share.sum(), 12)
        (array([0.7783, 0.187 , 0.0305]), np.float64(1.0))
    """
    j, q = np.arange(1.0, harmonics + 2.0), _concentration(smoothness)
    bessel = ive(j, q)
    slopes = q * bessel[1:] + j[:-1] * bessel[:-1]  # in log q, but for a factor that all share
    total = bessel[:-1].sum()
    share = bessel[:-1] / total
    return share, -2.0 * (slopes - share * slopes.sum()) / total


def grid_weights(smoothness: float, p: int) -> tuple[Array, Array]:
    r"""Return the shares of the variance of harmonics 0 to ``p // 2`` of a grid, and their slopes.

    Args:
        smoothness: ``l``, no unit.
        p: steps in a period.

    Returns:
        Two arrays ``(p // 2 + 1,)``, the second with derivatives in :math:`\log \ell`. Harmonic 0 is what
        multiples of ``p`` coincide with.

    Examples:
        >>> share, slope = grid_weights(1.0, 12)
        >>> share[:3].round(4), round(share.sum(), 12)
        (array([0.    , 0.7783, 0.187 ]), np.float64(1.0))
    """
    q = _concentration(smoothness)
    exponent = -2.0 * q * np.sin(np.arange(p) * (math.pi / p)) ** 2
    share = _spectrum(-np.expm1(exponent))
    slope = _spectrum(-exponent * np.exp(exponent))
    total = 2.0 * ive(SOME, q).sum() if q < SMALL else 1.0 - ive(0, q)
    total_slope = q * (ive(0, q) - ive(1, q))
    share[0] += total
    slope[0] += total_slope
    slope = (slope - share * (total_slope / total)) / total
    is_seen = share > 0.0  # the others are 0 but for rounding
    return np.where(is_seen, share / total, 0.0), np.where(is_seen, -2.0 * slope, 0.0)


def _concentration(smoothness: float) -> float:
    return 1.0 / min(max(float(smoothness), SHARPEST), SMOOTHEST) ** 2


def _spectrum(missing: Array) -> Array:
    """Return the variances of the waves whose covariances are a constant less ``missing (p,)``."""
    p = len(missing)
    spectrum: Array = -np.fft.rfft(missing).real / p
    twice = np.full(len(spectrum), 2.0)
    twice[0] = 1.0
    if p % 2 == 0:
        twice[-1] = 1.0
    spectrum *= twice
    return spectrum
