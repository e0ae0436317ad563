r"""Kernels of networks of rectifiers by compiled loops: all layers of a few entries while they are in cache.

With :math:`\rho = c / \sqrt{q_1 q_2}`, :math:`y = 1 - |\rho|` and the angle :math:`\theta = \arccos \rho`, a
layer of ``max(x, 0) + a min(x, 0)`` takes a covariance :math:`c` to

.. math::

    \kappa = h \sqrt{q_1 q_2} \sqrt{1 - \rho^2} + c\, \dot\kappa, \quad
    \dot\kappa = \tfrac12 (1 + a^2) - h \theta, \quad h = \frac{(1 - a)^2}{2 \pi} .

The formula is that of `nonparam.kernels.activations`; the angle is a polynomial in :math:`y`, times its root.
"""

# mypy: disable-error-code="untyped-decorator, no-untyped-def"

import numpy as np
from numba import njit, prange, types
from numba.extending import overload
from numpy.polynomial import chebyshev

__all__ = ["TILE", "across", "among", "rectified", "rounding"]

TILE = 64  # rows and columns: a tile of both kernels fits the first cache
FAST = {"reassoc", "contract", "nsz"}  # infinities and NaN keep their meaning


def _polynomial(degree: int) -> list[float]:
    """Return the coefficients of ``arccos(1 - y) / sqrt(y)`` in ``2 y - 1``, the highest first."""

    def ratio(u):
        t = np.sqrt(0.25 * (u + 1.0))  # sqrt(y / 2): the angle is 2 arcsin(t)
        return np.sqrt(2.0) * np.arcsin(t) / t

    found: list[float] = chebyshev.cheb2poly(chebyshev.chebinterpolate(ratio, degree))[::-1].tolist()
    return found


EVEN, ODD = tuple(_polynomial(21)[1::2]), tuple(_polynomial(21)[::2])  # apart: loops of 22 are not unrolled
SINGLE = tuple(np.float32(c) for c in _polynomial(8))
F = np.float32
ROUNDING, SINGLE_ROUNDING = 8.0 * float(np.finfo(np.float64).eps), F(8.0 * np.finfo(np.float32).eps)


def _angle(y):
    """Return ``arccos(1 - y) / sqrt(y)``."""


@overload(_angle, inline="always")
def _angle_of(y):
    return _angle32 if y == types.float32 else _angle64


def _angle32(y):
    u, total = F(2.0) * y - F(1.0), F(0.0)
    for c in SINGLE:
        total = total * u + c
    return total


def _angle64(y):
    u, even, odd = 2.0 * y - 1.0, 0.0, 0.0
    square = u * u
    for c in EVEN:
        even = even * square + c
    for c in ODD:
        odd = odd * square + c
    return even + u * odd


def _right_angle(c):
    """Return half of pi, in the precision of ``c``."""


@overload(_right_angle, inline="always")
def _right_angle_of(c):
    return (lambda c: F(0.5 * np.pi)) if c == types.float32 else (lambda c: 0.5 * np.pi)


def rounding(c):
    """Return up to where, relative to both variances, the difference of two numbers' is rounding."""


@overload(rounding, inline="always")
def _rounding_of(c):
    return (lambda c: SINGLE_ROUNDING) if c == types.float32 else (lambda c: ROUNDING)


@njit(fastmath=FAST, error_model="numpy", inline="always")
def rectified(c, root, inverse, product, h, half):
    """Return the moment of a rectifier, and of its slope.

    Args:
        c: the covariance.
        root: of the product of both variances.
        inverse: one over that.
        product: itself: numbers that are the same up to rounding have an angle of exactly 0.
        h: see above.
        half: the first summand of the slope.
    """
    rho = c * inverse
    one = F(1.0)
    y = max(one - abs(rho), F(0.0)) if product - c * c > rounding(c) * product else F(0.0)
    near = np.sqrt(y)
    acute = near * _angle(y)
    quarter = _right_angle(c)
    theta = acute if rho >= F(0.0) else quarter + quarter - acute
    slope = half - h * theta
    return h * root * near * np.sqrt(F(2.0) - y) + c * slope, slope


@njit(fastmath=FAST, error_model="numpy")
def _layers(c, t, roots, others, i, start, numbers):
    """Take a line of covariances and of tangent kernels through all layers, in place.

    Args:
        c: ``(l,)``, mean products of inputs.
        t: ``(l,)``, set here.
        roots: ``(layers, 3, n)``, of the rows' variances before each activation, one over them, and these.
        others: ``(layers, 3, m)``, those of the columns.
        i: the row.
        start: the first column of the line.
        numbers: ``(layers + 1, 4)``: variances of weights and biases, and behind the first ones ``h`` and the
            first summand of the slope.
    """
    w, b = numbers[0, 0], numbers[0, 1]
    for j in range(len(c)):
        c[j] = w * c[j] + b
        t[j] = c[j]
    for layer in range(len(roots)):
        w, b, h, half = (
            numbers[layer + 1, 0],
            numbers[layer + 1, 1],
            numbers[layer + 1, 2],
            numbers[layer + 1, 3],
        )
        root, inverse, q = roots[layer, 0, i], roots[layer, 1, i], roots[layer, 2, i]
        column, upside = others[layer, 0, start : start + len(c)], others[layer, 1, start : start + len(c)]
        variance = others[layer, 2, start : start + len(c)]
        for j in range(len(c)):
            moment, slope = rectified(c[j], root * column[j], inverse * upside[j], q * variance[j], h, half)
            c[j] = w * moment + b
            t[j] = w * (t[j] * slope) + c[j]


@njit(parallel=True, fastmath=FAST, error_model="numpy", cache=True)
def across(covariance, tangent, roots, others, numbers):
    """Set the kernels between rows and others, from their mean products, in place.

    Args:
        covariance: ``(n, m)``, mean products of the inputs; here the covariances.
        tangent: ``(n, m)``, set here.
        roots: ``(layers, 3, n)``, of the rows' variances before each activation, see `_layers`.
        others: ``(layers, 3, m)``, of the others'.
        numbers: see `_layers`.
    """
    n, m = covariance.shape
    for i in prange(n):
        for start in range(0, m, 4 * TILE):
            stop = min(start + 4 * TILE, m)
            _layers(covariance[i, start:stop], tangent[i, start:stop], roots, others, i, start, numbers)


@njit(parallel=True, fastmath=FAST, error_model="numpy", cache=True)
def among(covariance, tangent, roots, numbers):
    """Set the kernels of rows with themselves, of which only those from the diagonal on are evaluated.

    Args:
        covariance: ``(n, n)``, mean products of the inputs from the diagonal on; here the covariances.
        tangent: ``(n, n)``, set here.
        roots: as for `across`.
        numbers: see `_layers`.
    """
    n = len(covariance)
    tiles = (n + TILE - 1) // TILE
    for turn in prange(tiles):  # from both ends, so that threads have even work
        top = TILE * (turn // 2 if turn % 2 == 0 else tiles - 1 - turn // 2)
        bottom = min(top + TILE, n)
        for left in range(top, n, TILE):
            right = min(left + TILE, n)
            for i in range(top, bottom):
                _layers(covariance[i, left:right], tangent[i, left:right], roots, roots, i, left, numbers)
            for j in range(left, right):
                for i in range(top, min(bottom, j)):
                    covariance[j, i] = covariance[i, j]
                    tangent[j, i] = tangent[i, j]
