r"""Loops over the conditional densities of rows given their neighbours, compiled for the processor.

A row and its :math:`m` neighbours have the covariance :math:`A = s \, g(|z_i - z_j|^2) + D`, the row last,
:math:`A = L L^\top`. With :math:`w = L^{-\top} e_{m+1}` and :math:`\alpha = A^{-1} b` the last entry of
:math:`L^{-1} b` is the white residual of the column :math:`b`, and a change of the covariance moves

.. math::

    d \log v = w^\top dA \, w, \qquad
    d \epsilon = - w^\top dA \, \alpha + \tfrac12 \epsilon \, w^\top dA \, w

where :math:`v` is the conditional variance. The information of a row about hyperparameters :math:`a, b` is
:math:`q_a^\top q_b` less half the product of their last entries, :math:`q_a = L^{-1} \partial_a A \, w`.

`LANES` rows are worked on side by side: every loop runs along numbers that lie next to each other, whatever
the number of neighbours.

Source: Guinness (2021), Gaussian process learning via Fisher scoring of Vecchia's approximation, Statistics
and Computing 31, equations 4 to 7.
"""

import numpy as np
from numba import njit, prange

from nonparam.kernels.compiled import FAST, profile, profile_and_slope

__all__ = ["slopes", "whiten"]

LANES = 16  # rows side by side: what 31 of them need for their factors fits the second cache
CHUNKS = 64  # pieces of work, each with sums of its own: their number decides the rounding, not the threads


@njit(fastmath=FAST, error_model="numpy")
def _take_products(x, y, count, out):  # type: ignore[no-untyped-def]
    """Subtract the sum of ``x_i y_i`` over ``count`` lines from ``out``; all lines have `LANES` numbers."""
    fours = count // 4 * 4
    for i in range(0, fours, 4):
        for t in range(LANES):
            pair = x[i, t] * y[i, t] + x[i + 1, t] * y[i + 1, t]
            out[t] -= pair + (x[i + 2, t] * y[i + 2, t] + x[i + 3, t] * y[i + 3, t])
    for i in range(fours, count):
        for t in range(LANES):
            out[t] -= x[i, t] * y[i, t]


@njit(fastmath=FAST, error_model="numpy")
def _gather(first, targets, target_table, z, table, neighbours, zs, rows, known):  # type: ignore[no-untyped-def]
    """Copy the rows from ``first`` on and their neighbours, the row itself last.

    Sets ``zs (s, c, LANES)``, ``rows (k, s, LANES)`` and ``known (s, LANES)``, which is 0 for a neighbour that
    is missing, and for a row after the last one.
    """
    last = len(zs) - 1
    for t in range(LANES):
        i = min(first + t, len(targets) - 1)
        for k in range(last):
            j = max(neighbours[i, k], 0)
            known[k, t] = 1.0 if neighbours[i, k] >= 0 else 0.0
            for c in range(zs.shape[1]):
                zs[k, c, t] = z[j, c]
            for c in range(len(rows)):
                rows[c, k, t] = known[k, t] * table[j, c]
        known[last, t] = 1.0
        for c in range(zs.shape[1]):
            zs[last, c, t] = targets[i, c]
        for c in range(len(rows)):
            rows[c, last, t] = target_table[i, c]


@njit(fastmath=FAST, error_model="numpy")
def _distances(zs, k, u):  # type: ignore[no-untyped-def]
    """Set the first ``k`` lines of ``u`` to the squared distances between row ``k`` and those before."""
    for j in range(k):
        line = u[j]
        for t in range(LANES):
            line[t] = 0.0
        for c in range(zs.shape[1]):
            a, b = zs[k, c], zs[j, c]
            for t in range(LANES):
                line[t] += (a[t] - b[t]) * (a[t] - b[t])


@njit(fastmath=FAST, error_model="numpy")
def _scale_known(known, k, scale, a):  # type: ignore[no-untyped-def]
    """Multiply the first ``k`` lines of ``a`` by ``scale``, or by 0 where one of the two rows is missing."""
    for j in range(k):
        for t in range(LANES):
            a[j, t] *= scale * known[k, t] * known[j, t]


@njit(fastmath=FAST, error_model="numpy")
def _factorise(a, roots):  # type: ignore[no-untyped-def]
    """Replace the lower triangles of ``a (s, s, LANES)`` by Cholesky's factors; ``roots``: ``1 / L_kk``."""
    for k in range(len(a)):
        for j in range(k):
            _take_products(a[k], a[j], j, a[k, j])
            for t in range(LANES):
                a[k, j, t] *= roots[j, t]
        _take_products(a[k], a[k], k, a[k, k])
        for t in range(LANES):
            roots[k, t] = 1.0 / np.sqrt(a[k, k, t])  # NaN where the matrix is not positive definite


@njit(fastmath=FAST, error_model="numpy")
def _forward(a, roots, x):  # type: ignore[no-untyped-def]
    """Replace ``x (s, LANES)`` by ``L^-1 x``."""
    for k in range(len(x)):
        _take_products(a[k], x, k, x[k])
        for t in range(LANES):
            x[k, t] *= roots[k, t]


@njit(fastmath=FAST, error_model="numpy")
def _backward(a, roots, x):  # type: ignore[no-untyped-def]
    """Replace ``x (s, LANES)`` by ``L^-T x``."""
    for k in range(len(x) - 1, -1, -1):
        for t in range(LANES):
            x[k, t] *= roots[k, t]
        for j in range(k):
            for t in range(LANES):
                x[j, t] -= a[k, j, t] * x[k, t]


@njit(fastmath=FAST, error_model="numpy")
def _covariance(kind, scale, diagonal, own, zs, known, a):  # type: ignore[no-untyped-def]
    """Set the lower triangles of ``a`` to the covariances of the gathered rows."""
    last = len(a) - 1
    for k in range(last + 1):
        _distances(zs, k, a[k])
        profile(kind, a[k, :k].reshape(k * LANES))
        _scale_known(known, k, scale, a[k])
        for t in range(LANES):
            added = diagonal if k < last else own
            a[k, k, t] = scale + added if known[k, t] > 0.0 else 1.0


@njit(fastmath=FAST, error_model="numpy")
def _covariance_and_slope(kind, scale, diagonal, zs, known, a, p):  # type: ignore[no-untyped-def]
    """Set ``a`` as `_covariance` does, and ``p`` to minus twice the derivatives in the squared distances."""
    for k in range(len(a)):
        _distances(zs, k, a[k])
        profile_and_slope(kind, a[k, :k].reshape(k * LANES), p[k, :k].reshape(k * LANES))
        _scale_known(known, k, scale, a[k])
        _scale_known(known, k, scale, p[k])
        for t in range(LANES):
            a[k, k, t] = scale + diagonal if known[k, t] > 0.0 else 1.0


@njit(parallel=True, fastmath=FAST, error_model="numpy", cache=True)
def whiten(kind, scale, diagonal, own, z, table, targets, target_table, neighbours, roots, white):  # type: ignore[no-untyped-def]
    """Set conditional standard deviations and white residuals of rows given their neighbours.

    Args:
        kind: of the profile.
        scale: the variance of the function.
        diagonal: what is added to it at a neighbour.
        own: what is added to it at the row itself.
        z: ``(n, c)``, the rows that neighbours are taken from.
        table: ``(n, k)``, their columns.
        targets: ``(r, c)``, the rows.
        target_table: ``(r, k)``.
        neighbours: ``(r, m)``, rows of ``z``, or -1 for none.
        roots: ``(r,)``, set to the standard deviations; NaN where a covariance is not positive definite.
        white: ``(r, k)``, set to the residuals of the columns, divided by them.
    """
    s, width = neighbours.shape[1] + 1, table.shape[1]
    blocks = -(-len(targets) // LANES)
    each = -(-blocks // CHUNKS)
    for chunk in prange(CHUNKS):
        zs, known = np.empty((s, z.shape[1], LANES)), np.empty((s, LANES))
        rows, a, inverse = np.empty((width, s, LANES)), np.empty((s, s, LANES)), np.empty((s, LANES))
        for block in range(chunk * each, min((chunk + 1) * each, blocks)):
            first = block * LANES
            _gather(first, targets, target_table, z, table, neighbours, zs, rows, known)
            _covariance(kind, scale, diagonal, own, zs, known, a)
            _factorise(a, inverse)
            for c in range(width):
                _forward(a, inverse, rows[c])
            for t in range(min(LANES, len(targets) - first)):
                roots[first + t] = 1.0 / inverse[s - 1, t]
                for c in range(width):
                    white[first + t, c] = rows[c, s - 1, t]


@njit(fastmath=FAST, error_model="numpy")
def _pull(zs, p, w, u):  # type: ignore[no-untyped-def]
    """Set ``u (c, s, LANES)`` to the products of ``w`` with the derivatives in the log lengthscales."""
    u[:] = 0.0
    for k in range(len(zs)):
        for j in range(k):
            slope, here, there = p[k, j], w[k], w[j]
            for c in range(zs.shape[1]):
                a, b, left, right = zs[k, c], zs[j, c], u[c, k], u[c, j]
                for t in range(LANES):
                    change = slope[t] * (a[t] - b[t]) * (a[t] - b[t])
                    left[t] += change * there[t]
                    right[t] += change * here[t]


@njit(fastmath=FAST, error_model="numpy")
def _add_products(x, y, live, s):  # type: ignore[no-untyped-def]
    """Return the sum of ``x y`` over ``s`` lines and the lanes that are ``live``."""
    total = 0.0
    for k in range(s):
        for t in range(LANES):
            total += live[t] * x[k, t] * y[k, t]
    return total


@njit(fastmath=FAST, error_model="numpy")
def _add_block(rows, alpha, u, a, inverse, w, live, sums):  # type: ignore[no-untyped-def]
    """Add what the rows of a block give to the sums; ``u`` are overwritten by ``q``."""
    logs, gram, log_slopes, gram_slopes, information = sums
    s, width = len(w), len(rows)
    pulled = np.empty((width, LANES))
    for t in range(LANES):
        logs[0] -= 2.0 * live[t] * np.log(inverse[s - 1, t])
    for b in range(width):
        for c in range(width):
            gram[b, c] += _add_products(rows[b, s - 1 :], rows[c, s - 1 :], live, 1)
    for j in range(len(u)):
        for c in range(width):
            for t in range(LANES):
                pulled[c, t] = 0.0
            _take_products(alpha[c], u[j], s, pulled[c])
        _forward(a, inverse, u[j])
        own = u[j, s - 1]  # the last entry of q is w' dA w
        for t in range(LANES):
            log_slopes[j] += live[t] * own[t]
        for b in range(width):
            for c in range(width):
                for t in range(LANES):
                    x, y = rows[b, s - 1, t], rows[c, s - 1, t]
                    gram_slopes[j, b, c] += live[t] * (x * pulled[c, t] + y * pulled[b, t] + x * y * own[t])
    for j in range(len(u)):
        for i in range(j + 1):
            total = _add_products(u[j], u[i], live, s)
            information[j, i] += total - 0.5 * _add_products(u[j, s - 1 :], u[i, s - 1 :], live, 1)


@njit(parallel=True, fastmath=FAST, error_model="numpy", cache=True)
def slopes(kind, scale, noise, jitter, z, table, neighbours):  # type: ignore[no-untyped-def]
    r"""Return sums over the rows, their derivatives, and the information.

    The hyperparameters are the logarithms of the lengthscales of the columns of ``z``, of ``scale`` and of
    ``noise``, in this order, ``p`` of them.

    Args:
        kind: of the profile.
        scale: the variance of the function.
        noise: of the observations.
        jitter: what else is on the diagonal.
        z: ``(n, c)``, divided by the lengthscales.
        table: ``(n, k)``.
        neighbours: ``(n, m)``, earlier rows, or -1 for none.

    Returns:
        :math:`\sum \log v`, ``(1,)``; :math:`\sum \epsilon \epsilon^\top`, ``(k, k)``; their derivatives,
        ``(p,)`` and ``(p, k, k)``; and the information of one column, ``(p, p)``, its lower triangle.
    """
    s, columns, width = neighbours.shape[1] + 1, z.shape[1], table.shape[1]
    p = columns + 2
    blocks = -(-len(z) // LANES)
    each = -(-blocks // CHUNKS)
    logs, gram, log_slopes = np.zeros((CHUNKS, 1)), np.zeros((CHUNKS, width, width)), np.zeros((CHUNKS, p))
    gram_slopes, information = np.zeros((CHUNKS, p, width, width)), np.zeros((CHUNKS, p, p))
    for chunk in prange(CHUNKS):
        zs, known, rows = np.empty((s, columns, LANES)), np.empty((s, LANES)), np.empty((width, s, LANES))
        a, slope = np.empty((s, s, LANES)), np.empty((s, s, LANES))
        inverse, w, alpha, u = (
            np.empty((s, LANES)),
            np.empty((s, LANES)),
            np.empty_like(rows),
            np.empty((p, s, LANES)),
        )
        live = np.ones(LANES)
        sums = logs[chunk], gram[chunk], log_slopes[chunk], gram_slopes[chunk], information[chunk]
        for block in range(chunk * each, min((chunk + 1) * each, blocks)):
            first = block * LANES
            for t in range(LANES):
                live[t] = 1.0 if first + t < len(z) else 0.0
            _gather(first, z, table, z, table, neighbours, zs, rows, known)
            _covariance_and_slope(kind, scale, noise + jitter, zs, known, a, slope)
            _factorise(a, inverse)
            for c in range(width):
                _forward(a, inverse, rows[c])
                alpha[c] = rows[c]
                _backward(a, inverse, alpha[c])
            w[:] = 0.0
            w[s - 1] = 1.0
            _backward(a, inverse, w)
            _pull(zs, slope, w, u[:columns])
            u[columns + 1] = noise * w
            u[columns] = -(noise + jitter) * w  # K w = A w less the diagonal's, and A w = L e
            for t in range(LANES):
                u[columns, s - 1, t] += 1.0 / inverse[s - 1, t]
            _add_block(rows, alpha, u, a, inverse, w, live, sums)
    return logs.sum(0), gram.sum(0), log_slopes.sum(0), gram_slopes.sum(0), information.sum(0)
