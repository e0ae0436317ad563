r"""The moments of a rectifier and their derivatives by compiled loops, each entry read and written once.

With :math:`r = \sqrt{q_1 q_2 - c^2}` and the formula of `nonparam.kernels.compiled_rectifiers`,

.. math::

    \frac{\partial \kappa}{\partial c} = \dot\kappa, \quad
    \frac{\partial \kappa}{\partial q_1} = \frac{h r}{2 q_1}, \quad
    \frac{\partial \dot\kappa}{\partial c} = \frac h r, \quad
    \frac{\partial \dot\kappa}{\partial q_1} = -\frac{h c}{2 q_1 r} .
"""

# mypy: disable-error-code="untyped-decorator, no-untyped-def"

import numpy as np
from numba import njit, prange

from nonparam.kernels.compiled_rectifiers import FAST, rectified, rounding

__all__ = ["backward", "forward"]


@njit(parallel=True, fastmath=FAST, error_model="numpy", cache=True)
def forward(c, left, right, h, half, values, slopes):
    """Set both moments.

    Args:
        c: covariances, ``(n, m)``.
        left: the roots of the rows' variances, one over them, and these, ``(3, n)``.
        right: those of the others, ``(3, m)``.
        h: see `nonparam.kernels.compiled_rectifiers`.
        half: likewise.
        values: ``(n, m)``, set here.
        slopes: ``(n, m)``, set here.
    """
    for i in prange(len(c)):
        root, inverse, q = left[0, i], left[1, i], left[2, i]
        entries, value, slope = c[i], values[i], slopes[i]
        column, upside, variance = right[0], right[1], right[2]
        for j in range(len(entries)):
            value[j], slope[j] = rectified(
                entries[j], root * column[j], inverse * upside[j], q * variance[j], h, half
            )


@njit(parallel=True, fastmath=FAST, error_model="numpy", cache=True)
def backward(c, left, right, h, slopes, by_value, by_slope, by_c, by_left, by_right):
    """Take derivatives in the moments back to the covariances and variances.

    Where both numbers are the same, slopes have no derivative; there it counts as 0.

    Args:
        c: as for `forward`, as the next three.
        left: see there.
        right: see there.
        h: see there.
        slopes: ``(n, m)``, as `forward` set them.
        by_value: derivatives in the values, ``(n, m)``.
        by_slope: in the slopes.
        by_c: those in the covariances, set here.
        by_left: ``(n,)``, those in the rows' variances, set here.
        by_right: ``(parts, m)``, parts of those in the others', added here.
    """
    parts, zero, half = len(by_right), c.dtype.type(0.0), c.dtype.type(0.5)
    for part in prange(parts):
        total = by_right[part]
        for i in range(part, len(c), parts):
            inverse, q = left[1, i], left[2, i]
            entries, slope, out = c[i], slopes[i], by_c[i]
            values, others = by_value[i], by_slope[i]
            mine = zero
            for j in range(len(entries)):
                product = q * right[2, j]
                square = product - entries[j] * entries[j]
                apart = square > rounding(square) * product
                r = np.sqrt(square) if apart else zero
                steep = h / r if apart else zero
                out[j] = values[j] * slope[j] + others[j] * steep
                change = half * (values[j] * h * r - others[j] * steep * entries[j])
                mine += change
                total[j] += change
            by_left[i] = mine * inverse * inverse
    for part in range(parts):
        for j in range(c.shape[1]):
            by_right[part, j] *= right[1, j] * right[1, j]
