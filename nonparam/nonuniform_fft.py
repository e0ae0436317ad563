r"""Fourier sums of values at irregular places, at all frequencies of a grid at once.

.. math:: F_k = \sum_j v_j e^{i k x_j}, \quad k = 0, \dots, m - 1

One by one they cost ``n m``. Each value is spread over a fine regular grid by a Gaussian instead, the grid is
transformed by one FFT, and what the Gaussian did to the coefficients is undone: ``O(n + m log m)``.

Source: Greengard and Lee (2004), Accelerating the nonuniform fast Fourier transform, SIAM Review 46, 443-454.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.fft import next_fast_len, rfft

__all__ = ["fourier_sums"]

Array = NDArray[np.float64]

OVERSAMPLED = 2  # points of the fine grid for each coefficient, R in the paper
REACH = 14  # points to each side that a value is spread over, M_sp: errors of 1e-13


def fourier_sums(x: Array, values: Array, count: int) -> NDArray[np.complex128]:
    """Return the sums for whole numbers below ``count``, to about 1e-13 of the sum of the values' sizes.

    Args:
        x: ``(n,)``, in radians.
        values: ``(n, c)``.
        count: of the frequencies 0, 1, ...

    Returns:
        ``(count, c)``.

    Source: Greengard and Lee (2004), equations 3 to 9 and, for the width of the Gaussian, section 3.

    Examples:
        >>> fourier_sums(np.array([0.5, 2.0]), np.array([[1.0], [3.0]]), 3)[:, 0].round(6)
        array([ 4.      +0.j      , -0.370858+3.207318j, -1.420629-1.428937j])
    """
    modes = 2 * count  # the paper's M: -count, ..., count - 1
    size = next_fast_len(OVERSAMPLED * modes, real=True)  # M_r
    ratio = size / modes
    width = np.pi * REACH / (modes**2 * ratio * (ratio - 0.5))  # tau
    step = 2.0 * np.pi / size
    nearest = np.floor(x / step)
    fine = np.zeros((size, values.shape[1]))
    for offset in range(1 - REACH, REACH + 1):
        point = nearest + offset
        spread = np.exp(-((x - step * point) ** 2) / (4.0 * width))
        place = np.mod(point, size).astype(np.intp)
        for column, value in zip(fine.T, values.T, strict=True):
            column += np.bincount(place, spread * value, size)
    undone = step * np.exp(width * np.arange(count) ** 2) / np.sqrt(4.0 * np.pi * width)
    found: NDArray[np.complex128] = undone[:, None] * rfft(fine, axis=0)[:count].conj()
    return found
