"""Convolutional networks of rectifiers by compiled loops: two images at a time, all their places in cache.

The formulas are those of `nonparam.kernels.convolutions` and `nonparam.kernels.compiled_rectifiers`.
"""

# mypy: disable-error-code="untyped-decorator, no-untyped-def"

import numpy as np
from numba import njit, prange

from nonparam.kernels.compiled_rectifiers import FAST, rectified

__all__ = ["CONVOLUTION", "RECTIFIER", "STEP", "means"]

CONVOLUTION, RECTIFIER = 0, 1  # kinds of steps
STEP = np.dtype(
    [
        ("kind", np.int64),
        *((name, np.int64) for name in ("high", "across")),  # of a window
        *((name, np.int64) for name in ("stride", "circular")),
        *((name, np.int64) for name in ("above", "before")),  # places that are added
        *((name, np.int64) for name in ("height", "width")),  # of the image before
        *((name, np.int64) for name in ("tall", "wide")),  # of the image behind
    ]
)


@njit(fastmath=FAST, error_model="numpy")
def _products(a, b, k):
    """Set ``k (p, q)`` to the mean products of channels ``a (channels, p)`` and ``b (channels, q)``."""
    channels, places = a.shape
    share = a.dtype.type(1.0 / channels)
    for p in range(places):
        row = k[p, :places]
        row[:] = 0.0
        for channel in range(channels):
            factor, line = share * a[channel, p], b[channel]
            for q in range(places):
                row[q] += factor * line[q]


@njit(error_model="numpy", inline="always")
def _source(index, stride, offset, size, circular):
    """Return the place that a window takes at an offset, or -1 where there is none."""
    place = index * stride + offset
    if circular:
        return place % size
    return place if 0 <= place < size else -1


@njit(fastmath=FAST, error_model="numpy", inline="always")
def _add(line, summed, stride, offset, circular, weight, block):
    """Add to ``summed`` what windows take from ``line`` at an offset, in blocks of so many numbers."""
    size, windows = len(line) // block, len(summed) // block
    if stride == 1 and not circular:  # what is taken lies side by side
        first, last = max(0, -offset) * block, min(windows, size - offset) * block
        for v in range(first, last):
            summed[v] += weight * line[v + offset * block]
        return
    for window in range(windows):
        place = _source(window, stride, offset, size, circular)
        if place >= 0:
            for v in range(block):
                summed[window * block + v] += weight * line[place * block + v]


@njit(fastmath=FAST, error_model="numpy")
def _down(x, y, step):
    """Sum over windows of rows, of both images at once: ``(h, w, h, w)`` to ``(h', w, h', w)``."""
    one = x.dtype.type(1.0)
    for top in range(step.tall):
        for w in range(step.width):
            out = y[top * step.width + w, : step.tall * step.width]
            out[:] = 0.0
            for delta in range(step.high):
                offset = delta - step.above
                h = _source(top, step.stride, offset, step.height, step.circular)
                if h >= 0:
                    line = x[h * step.width + w, : step.height * step.width]
                    _add(line, out, step.stride, offset, step.circular, one, step.width)


@njit(fastmath=FAST, error_model="numpy")
def _along(x, y, step, weight, bias):
    """Sum over windows of columns, scale, and add: ``(h', w, h', w)`` to ``(h', w', h', w')``."""
    for h in range(step.tall):
        for left in range(step.wide):
            out = y[h * step.wide + left, : step.tall * step.wide]
            out[:] = bias
            for delta in range(step.across):
                offset = delta - step.before
                w = _source(left, step.stride, offset, step.width, step.circular)
                if w < 0:
                    continue
                row = x[h * step.width + w]
                for other in range(step.tall):
                    line = row[other * step.width : (other + 1) * step.width]
                    summed = out[other * step.wide : (other + 1) * step.wide]
                    _add(line, summed, step.stride, offset, step.circular, weight, 1)


@njit(fastmath=FAST, error_model="numpy")
def _rectify(k, t, roots, others, places, h, half):
    """Take covariances between all places, and tangent kernels, through a rectifier, in place."""
    column, upside, variance = others[0, :places], others[1, :places], others[2, :places]
    for p in range(places):
        root, inverse, own = roots[0, p], roots[1, p], roots[2, p]
        line, other = k[p, :places], t[p, :places]
        for q in range(places):
            line[q], slope = rectified(
                line[q], root * column[q], inverse * upside[q], own * variance[q], h, half
            )
            other[q] *= slope


@njit(fastmath=FAST, error_model="numpy")
def _mean(k, places):
    """Return the mean over all places, of which the sum of each line is exact to its own rounding."""
    total = 0.0
    for p in range(places):
        total += k[p, :places].sum()
    return total / places**2


@njit(fastmath=FAST, error_model="numpy")
def _pair(a, b, roots, others, steps, numbers, k, t, scratch):
    """Return the means over all places of both kernels of two images."""
    _products(a, b, k)
    t[:] = 0.0
    layer, places, is_first = 0, a.shape[1], True
    for s in range(len(steps)):
        step, one, two = steps[s], numbers[s, 0], numbers[s, 1]
        if step.kind == RECTIFIER:
            _rectify(k, t, roots[layer], others[layer], places, one, two)
            layer += 1
            continue
        _down(k, scratch, step)
        _along(scratch, k, step, one, two)
        if not is_first:
            _down(t, scratch, step)
            _along(scratch, t, step, one, numbers.dtype.type(0.0))
        places, is_first = step.tall * step.wide, False
        t[:places, :places] += k[:places, :places]
    return _mean(k, places), _mean(t, places)


@njit(parallel=True, fastmath=FAST, error_model="numpy", cache=True)
def means(a, b, roots, others, steps, numbers, own, covariance, tangent):
    """Set the means over all places of both kernels between images, behind the last step.

    Args:
        a: ``(n, channels, places)``.
        b: ``(m, channels, places)``.
        roots: ``(n, layers, 3, places)``, roots of variances before each rectifier, one over them, and these.
        others: ``(m, layers, 3, places)``.
        steps: of the network, see `STEP`.
        numbers: ``(steps, 2)``: variances of weights, over the places of a window, and of biases; or ``h``
            and the first summand of the slope.
        own: whether ``b`` is ``a``: then only rows from the diagonal on are evaluated.
        covariance: ``(n, m)``, set here.
        tangent: ``(n, m)``, set here.
    """
    largest = a.shape[2]
    for s in range(len(steps)):
        largest = max(largest, steps[s].tall * max(steps[s].wide, steps[s].width))
    for turn in prange(len(a)):  # from both ends, so that threads have even work
        i = turn // 2 if turn % 2 == 0 else len(a) - 1 - turn // 2
        k, t = np.empty((largest, largest), a.dtype), np.empty((largest, largest), a.dtype)
        scratch = np.empty((largest, largest), a.dtype)
        for j in range(i if own else 0, len(b)):
            covariance[i, j], tangent[i, j] = _pair(
                a[i], b[j], roots[i], others[j], steps, numbers, k, t, scratch
            )
            if own:
                covariance[j, i], tangent[j, i] = covariance[i, j], tangent[i, j]
