r"""Loops over the entries of a covariance matrix, compiled for the processor that they run on.

An entry is a profile of the squared distance between two mapped rows,

.. math:: k_{ij} = g(|z_i - z_j|^2).

Rows come in blocks, the last one padded: ``(m, c, BLOCK)`` with a line for each column, so that a loop runs
along numbers that lie side by side. All is in the precision of the rows, float32 or float64; what is summed
over more than a block is float64. Constants that float32 holds exactly serve both; the others, and the
exponential, depend on the precision. Differences are taken before they are squared: nothing cancels where
rows lie close.
"""

import math

import numpy as np
from llvmlite import ir
from numba import njit, prange, types
from numba.extending import intrinsic, overload

__all__ = ["BLOCK", "FAST", "PROFILES", "product", "profile", "profile_and_slope", "slopes", "values"]

PROFILES = {"rbf": 0, "matern12": 1, "matern32": 2, "matern52": 3}
BLOCK = 256  # rows: a few lines of them fit the first cache
FAST = {"reassoc", "contract", "nsz"}  # infinities and NaN keep their meaning

F = np.float32
ZERO, HALF, ONE, TWO, THREE, FIVE = F(0.0), F(0.5), F(1.0), F(2.0), F(3.0), F(5.0)
FARTHEST32, FARTHEST64 = F(87.0), 708.0  # exp of minus that is the smallest normal number
LOG2E32, LN2_HIGH32, LN2_LOW32 = F(1.4426950408889634), F(0.693359375), F(-2.12194440e-4)
P0, P1, P2 = F(1.9875691500e-4), F(1.3981999507e-3), F(8.3334519073e-3)
P3, P4, P5 = F(4.1665795894e-2), F(1.6666665459e-1), F(5.0000001201e-1)
LOG2E, LN2_HIGH, LN2_LOW = 1.4426950408889634, 6.93145751953125e-1, 1.42860682030941723212e-6
C2, C3, C4, C5, C6, C7, C8, C9, C10, C11, C12, C13 = (1.0 / math.factorial(k) for k in range(2, 14))


@intrinsic
def _as_float(typing_context, bits):  # type: ignore[no-untyped-def]
    """Return the number of floating point that has these 32 or 64 bits."""
    is_single = bits == types.int32

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return builder.bitcast(arguments[0], ir.FloatType() if is_single else ir.DoubleType())

    return (types.float32 if is_single else types.float64)(bits), generate


def _near(s):  # type: ignore[no-untyped-def]
    """Return the distance ``s >= 0``, or that from which on the exponential is no normal number."""


@overload(_near, inline="always")
def _near_of(s):  # type: ignore[no-untyped-def]
    if s == types.float32:
        return lambda s: min(s, FARTHEST32)
    return lambda s: min(s, FARTHEST64)


def _decay(s):  # type: ignore[no-untyped-def]
    """Return ``exp(-s)`` for an ``s`` that is `_near`, to a rounding error.

    Source: Moshier, Methods and programs for mathematical functions (1989): the splitting of the argument,
    and for float32 the polynomial; for float64 it is Taylor's.
    """


@overload(_decay, jit_options={"fastmath": FAST - {"reassoc"}, "error_model": "numpy"})  # two parts of log 2
def _decay_of(s):  # type: ignore[no-untyped-def]
    return _decay32 if s == types.float32 else _decay64


def _decay32(s):  # type: ignore[no-untyped-def]
    k = np.int32(-s * LOG2E32 - HALF)
    whole = F(k)
    r = -s - whole * LN2_HIGH32 - whole * LN2_LOW32
    p = ((((P0 * r + P1) * r + P2) * r + P3) * r + P4) * r + P5
    return (p * r * r + r + ONE) * _as_float(np.int32((k + np.int32(127)) << np.int32(23)))  # type: ignore[call-arg]


def _decay64(s):  # type: ignore[no-untyped-def]
    k = np.int32(-s * LOG2E - 0.5)  # the processor has no quick way to 64 bits
    whole = np.float64(k)
    r = -s - whole * LN2_HIGH - whole * LN2_LOW
    p = ((((C13 * r + C12) * r + C11) * r + C10) * r + C9) * r + C8
    p = (((((p * r + C7) * r + C6) * r + C5) * r + C4) * r + C3) * r + C2
    return (p * r * r + r + 1.0) * _as_float((np.int64(k) + np.int64(1023)) << np.int64(52))  # type: ignore[call-arg]


@njit(fastmath=FAST, error_model="numpy")
def _distances(zi, z, u):  # type: ignore[no-untyped-def]
    """Set ``u (l,)`` to the squared distances of a row ``zi (c,)`` to the rows of ``z (c, l)``."""
    for j in range(len(u)):
        u[j] = ZERO
    fours = len(z) // 4 * 4
    for c in range(0, fours, 4):  # so that a sum stays in its register for four columns
        a0, a1, a2, a3 = zi[c], zi[c + 1], zi[c + 2], zi[c + 3]
        b0, b1, b2, b3 = z[c], z[c + 1], z[c + 2], z[c + 3]
        for j in range(len(u)):
            d0, d1, d2, d3 = a0 - b0[j], a1 - b1[j], a2 - b2[j], a3 - b3[j]
            u[j] += (d0 * d0 + d1 * d1) + (d2 * d2 + d3 * d3)
    for c in range(fours, len(z)):
        a, b = zi[c], z[c]
        for j in range(len(u)):
            d = a - b[j]
            u[j] += d * d


@njit(fastmath=FAST, error_model="numpy")
def _products(a, b, w):  # type: ignore[no-untyped-def]
    """Set ``w (l,)`` to the products of ``a (k,)`` with the columns of ``b (k, l)``."""
    for j in range(len(w)):
        w[j] = ZERO
    fours = len(a) // 4 * 4
    for k in range(0, fours, 4):
        a0, a1, a2, a3 = a[k], a[k + 1], a[k + 2], a[k + 3]
        b0, b1, b2, b3 = b[k], b[k + 1], b[k + 2], b[k + 3]
        for j in range(len(w)):
            w[j] += (a0 * b0[j] + a1 * b1[j]) + (a2 * b2[j] + a3 * b3[j])
    for k in range(fours, len(a)):
        factor, line = a[k], b[k]
        for j in range(len(w)):
            w[j] += factor * line[j]


@njit(fastmath=FAST, error_model="numpy")
def _pull(zi, z, w, here, there):  # type: ignore[no-untyped-def]
    """Set ``here (4, c)`` to ``w_j (z_i - z_j)`` of four rows summed, and take it off ``there (c, l)``."""
    w0, w1, w2, w3 = w[0], w[1], w[2], w[3]
    for c in range(len(z)):
        a0, a1, a2, a3, line, column = zi[0, c], zi[1, c], zi[2, c], zi[3, c], z[c], there[c]
        t0, t1, t2, t3 = ZERO, ZERO, ZERO, ZERO
        for j in range(len(w0)):
            b = line[j]
            p0, p1, p2, p3 = w0[j] * (a0 - b), w1[j] * (a1 - b), w2[j] * (a2 - b), w3[j] * (a3 - b)
            t0 += p0
            t1 += p1
            t2 += p2
            t3 += p3
            column[j] -= (p0 + p1) + (p2 + p3)
        here[0, c], here[1, c], here[2, c], here[3, c] = t0, t1, t2, t3


@njit(fastmath=FAST, error_model="numpy")
def _multiply(entries, vi, v, here, there):  # type: ignore[no-untyped-def]
    """Set ``here (4, k)`` to ``sum_j k_ij v_j`` of four rows, and add ``k_ij v_i`` to ``there (k, l)``."""
    e0, e1, e2, e3 = entries[0], entries[1], entries[2], entries[3]
    for k in range(0, len(v), 2):  # two at a time: an entry is loaded half as often
        a0, a1, a2, a3, a, left = vi[0, k], vi[1, k], vi[2, k], vi[3, k], v[k], there[k]
        b0, b1, b2, b3, b, right = (
            vi[0, k + 1],
            vi[1, k + 1],
            vi[2, k + 1],
            vi[3, k + 1],
            v[k + 1],
            there[k + 1],
        )
        s0, s1, s2, s3, t0, t1, t2, t3 = ZERO, ZERO, ZERO, ZERO, ZERO, ZERO, ZERO, ZERO
        for j in range(len(e0)):
            x0, x1, x2, x3 = e0[j], e1[j], e2[j], e3[j]
            s0 += x0 * a[j]
            s1 += x1 * a[j]
            s2 += x2 * a[j]
            s3 += x3 * a[j]
            t0 += x0 * b[j]
            t1 += x1 * b[j]
            t2 += x2 * b[j]
            t3 += x3 * b[j]
            left[j] += (x0 * a0 + x1 * a1) + (x2 * a2 + x3 * a3)
            right[j] += (x0 * b0 + x1 * b1) + (x2 * b2 + x3 * b3)
        here[0, k], here[1, k], here[2, k], here[3, k] = s0, s1, s2, s3
        here[0, k + 1], here[1, k + 1], here[2, k + 1], here[3, k + 1] = t0, t1, t2, t3


@njit(fastmath=FAST, error_model="numpy")
def profile(kind, u):  # type: ignore[no-untyped-def]
    """Set ``u`` to the profile, one of `PROFILES`, at the squared distances ``u``."""
    if kind == 0:
        for j in range(len(u)):
            u[j] = _decay(_near(HALF * u[j]))
    elif kind == 1:
        for j in range(len(u)):
            u[j] = _decay(_near(np.sqrt(u[j])))
    elif kind == 2:
        for j in range(len(u)):
            s = _near(np.sqrt(THREE * u[j]))
            u[j] = (ONE + s) * _decay(s)
    else:
        for j in range(len(u)):
            s = _near(np.sqrt(FIVE * u[j]))
            u[j] = (ONE + s + s * s / THREE) * _decay(s)


@njit(fastmath=FAST, error_model="numpy")
def profile_and_slope(kind, u, w):  # type: ignore[no-untyped-def]
    """Set ``w`` to minus twice the derivative of the profile at ``u``, and ``u`` to the profile."""
    if kind == 0:
        for j in range(len(u)):
            u[j] = _decay(_near(HALF * u[j]))
            w[j] = u[j]
    elif kind == 1:
        for j in range(len(u)):
            s = _near(np.sqrt(u[j]))
            u[j] = _decay(s)
            w[j] = u[j] / s if s > ZERO else ZERO
    elif kind == 2:
        for j in range(len(u)):
            s = _near(np.sqrt(THREE * u[j]))
            decay = _decay(s)
            u[j] = (ONE + s) * decay
            w[j] = THREE * decay
    else:
        for j in range(len(u)):
            s = _near(np.sqrt(FIVE * u[j]))
            decay = _decay(s)
            u[j] = (ONE + s + s * s / THREE) * decay
            w[j] = FIVE * (ONE + s) * decay / THREE


@njit(fastmath=FAST, error_model="numpy")
def _weigh(kind, u, w):  # type: ignore[no-untyped-def]
    """Multiply ``w`` by twice the derivative of the profile; return the sum of ``w`` times the profile."""
    total = ZERO
    if kind == 0:
        for j in range(len(u)):
            value = _decay(_near(HALF * u[j]))
            total += w[j] * value
            w[j] *= -value
    elif kind == 1:
        for j in range(len(u)):
            s = _near(np.sqrt(u[j]))
            value = _decay(s)
            total += w[j] * value
            w[j] *= -value / s if s > ZERO else ZERO
    elif kind == 2:
        for j in range(len(u)):
            s = _near(np.sqrt(THREE * u[j]))
            decay = _decay(s)
            total += w[j] * (ONE + s) * decay
            w[j] *= -THREE * decay
    else:
        for j in range(len(u)):
            s = _near(np.sqrt(FIVE * u[j]))
            decay = _decay(s)
            total += w[j] * (ONE + s + s * s / THREE) * decay
            w[j] *= -FIVE * (ONE + s) * decay / THREE
    return total


@njit(parallel=True, fastmath=FAST, error_model="numpy", cache=True)
def values(kind, scale, i, z, out):  # type: ignore[no-untyped-def]
    """Add ``scale * k`` between the rows of block ``i`` and those of the blocks from there on.

    Args:
        kind: of the profile.
        scale: a factor.
        i: the number of a block.
        z: ``(m, c, BLOCK)``.
        out: ``(m - i, BLOCK, BLOCK)``.
    """
    rows = z[i].T.copy()
    for b in prange(len(z) - i):
        u = np.empty(BLOCK, z.dtype)
        for row in range(BLOCK):
            _distances(rows[row], z[i + b], u)
            profile(kind, u)
            line = out[b, row]
            for j in range(BLOCK):
                line[j] += scale * u[j]


@njit(parallel=True, fastmath=FAST, error_model="numpy", cache=True)
def slopes(kind, i, z, tall, wide, pulled):  # type: ignore[no-untyped-def]
    r"""Differentiate :math:`\sum w_{ij} k_{ij}` over the pairs of a row of block ``i`` with a later row.

    With :math:`w_{ij} = a_i \cdot b_j = w_{ji}`.

    Args:
        kind: of the profile.
        i: the number of a block.
        z: ``(m, c, BLOCK)``.
        tall: ``a``, ``(m, k, BLOCK)``, zeros where a block is padded.
        wide: ``b``, ``(m, k, BLOCK)``.
        pulled: ``(m, c, BLOCK)``, float64: the derivatives in ``z`` are added here.

    Returns:
        The sum itself.
    """
    rows, weights = z[i].T.copy(), tall[i].T.copy()
    here = np.zeros((len(z) - i, BLOCK, z.shape[1]), z.dtype)
    totals = np.zeros(len(z) - i)
    for b in prange(len(z) - i):
        u, w = np.empty(BLOCK, z.dtype), np.empty((4, BLOCK), z.dtype)
        there = np.zeros((z.shape[1], BLOCK), z.dtype)
        for row in range(0, BLOCK, 4):
            for k in range(4):
                _distances(rows[row + k], z[i + b], u)
                _products(weights[row + k], wide[i + b], w[k])
                if b == 0:  # every pair of the block's own rows comes twice
                    w[k] *= HALF
                    w[k, row + k] = ZERO
                totals[b] += _weigh(kind, u, w[k])
            _pull(rows[row : row + 4], z[i + b], w, here[b, row : row + 4], there)
        pulled[i + b] += there
    for b in range(len(here)):
        pulled[i] += here[b].T
    return totals.sum()


@njit(parallel=True, fastmath=FAST, error_model="numpy", cache=True)
def product(kept, i, v, out):  # type: ignore[no-untyped-def]
    """Add what the entries of the rows of block ``i`` with all later ones give to a product.

    Args:
        kept: ``(m - i, BLOCK, BLOCK)``, as `values` sets it.
        i: the number of a block.
        v: ``(m, k, BLOCK)``, ``k`` even, zeros where a block is padded.
        out: ``(m, k, BLOCK)``, float64: the product is added here.
    """
    factors = v[i].T.copy()
    here = np.zeros((len(kept), BLOCK, v.shape[1]), v.dtype)
    for b in prange(len(kept)):
        there = np.zeros((v.shape[1], BLOCK), v.dtype)
        for row in range(0, BLOCK, 4):
            four = slice(row, row + 4)
            _multiply(kept[b, four], factors[four], v[i + b], here[b, four], there)
        if b > 0:
            out[i + b] += there
    for b in range(len(here)):
        out[i] += here[b].T
