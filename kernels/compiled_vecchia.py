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

__all__ = ["CHUNKS", "conditionals", "slopes"]

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

    Sets ``zs (c, s, LANES)``, ``rows (k, s, LANES)`` and ``known (s, LANES)``, which is 0 for a neighbour
    that is missing.
    """
    last = len(known) - 1
    for t in range(LANES):
        i = min(first + t, len(targets) - 1)
        for k in range(last):
            j = max(neighbours[i, k], 0)
            known[k, t] = 1.0 if neighbours[i, k] >= 0 else 0.0
            for c in range(len(zs)):
                zs[c, k, t] = z[j, c]
            for c in range(len(rows)):
                rows[c, k, t] = known[k, t] * table[j, c]
        known[last, t] = 1.0
        for c in range(len(zs)):
            zs[c, last, t] = targets[i, c]
        for c in range(len(rows)):
            rows[c, last, t] = target_table[i, c]


@njit(fastmath=FAST, error_model="numpy")
def _distances(zs, k, u):  # type: ignore[no-untyped-def]
    """Set the first ``k`` lines of ``u`` to the squared distances between row ``k`` and those before."""
    u[:k] = 0.0
    fours = len(zs) // 4 * 4
    for c in range(0, fours, 4):
        for j in range(k):
            for t in range(LANES):
                d0, d1 = zs[c, k, t] - zs[c, j, t], zs[c + 1, k, t] - zs[c + 1, j, t]
                d2, d3 = zs[c + 2, k, t] - zs[c + 2, j, t], zs[c + 3, k, t] - zs[c + 3, j, t]
                u[j, t] += (d0 * d0 + d1 * d1) + (d2 * d2 + d3 * d3)
    for c in range(fours, len(zs)):
        for j in range(k):
            for t in range(LANES):
                d = zs[c, k, t] - zs[c, j, t]
                u[j, t] += d * d


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
def _set_diagonal(known, scale, diagonal, own, a):  # type: ignore[no-untyped-def]
    """Set the diagonals of ``a``; a neighbour that is missing has a variance of 1, unrelated to others."""
    last = len(a) - 1
    for k in range(last + 1):
        variance = scale + (diagonal if k < last else own)
        for t in range(LANES):
            a[k, k, t] = variance if known[k, t] > 0.0 else 1.0


@njit(fastmath=FAST, error_model="numpy")
def _conditionals_of_blocks(  # type: ignore[no-untyped-def]
    start, stop, kind, scale, diagonal, own, z, table, targets, target_table, neighbours, out
):
    """Do what `conditionals` does for the blocks from ``start`` on."""
    variances, residuals = out
    s, width = neighbours.shape[1] + 1, table.shape[1]
    zs, known = np.empty((z.shape[1], s, LANES)), np.empty((s, LANES))
    rows, a, inverse = np.empty((width, s, LANES)), np.empty((s, s, LANES)), np.empty((s, LANES))
    for block in range(start, stop):
        first = block * LANES
        _gather(first, targets, target_table, z, table, neighbours, zs, rows, known)
        for k in range(s):
            _distances(zs, k, a[k])
            profile(kind, a[k, :k].reshape(k * LANES))
            _scale_known(known, k, scale, a[k])
        _set_diagonal(known, scale, diagonal, own, a)
        _factorise(a, inverse)
        inverse[s - 1] = 1.0  # rounding may leave nothing of the row's own variance
        for c in range(width):
            _forward(a, inverse, rows[c])
        for t in range(min(LANES, len(targets) - first)):
            variances[first + t] = a[s - 1, s - 1, t]
            for c in range(width):
                residuals[first + t, c] = rows[c, s - 1, t]


@njit(parallel=True, fastmath=FAST, error_model="numpy", cache=True)
def conditionals(  # type: ignore[no-untyped-def]
    kind, scale, diagonal, own, z, table, targets, target_table, neighbours, variances, residuals
):
    """Set variances and residuals of rows given their neighbours.

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
        variances: ``(r,)``, set to those given the neighbours; NaN where these have no positive definite
            covariance.
        residuals: ``(r, k)``, set to the columns less their means given the neighbours.
    """
    blocks = -(-len(targets) // LANES)
    each = -(-blocks // CHUNKS)
    for chunk in prange(CHUNKS):
        start, stop = chunk * each, min((chunk + 1) * each, blocks)
        out = variances, residuals
        _conditionals_of_blocks(
            start, stop, kind, scale, diagonal, own, z, table, targets, target_table, neighbours, out
        )


@njit(fastmath=FAST, error_model="numpy")
def _pull(zs, p, w, weighted, u):  # type: ignore[no-untyped-def]
    """Set ``u (c, s, LANES)`` to the products of ``w`` with the derivatives in the log lengthscales."""
    s = len(w)
    fours = s // 4 * 4
    for k in range(s):
        for j in range(s):
            high, low = max(k, j), min(k, j)
            for t in range(LANES):
                weighted[j, t] = p[high, low, t] * w[j, t]
        for t in range(LANES):
            weighted[k, t] = 0.0
        for c in range(len(zs)):
            line, here, out = zs[c], zs[c, k], u[c, k]
            for t in range(LANES):
                out[t] = 0.0
            for j in range(0, fours, 4):
                for t in range(LANES):
                    d0, d1 = here[t] - line[j, t], here[t] - line[j + 1, t]
                    d2, d3 = here[t] - line[j + 2, t], here[t] - line[j + 3, t]
                    pair = weighted[j, t] * d0 * d0 + weighted[j + 1, t] * d1 * d1
                    out[t] += pair + (weighted[j + 2, t] * d2 * d2 + weighted[j + 3, t] * d3 * d3)
            for j in range(fours, s):
                for t in range(LANES):
                    d = here[t] - line[j, t]
                    out[t] += weighted[j, t] * d * d


@njit(fastmath=FAST, error_model="numpy")
def _sum_products(x, y, live):  # type: ignore[no-untyped-def]
    """Return the sum of ``x y`` over all lines and the lanes that are ``live``."""
    total = 0.0
    for k in range(len(x)):
        for t in range(LANES):
            total += live[t] * x[k, t] * y[k, t]
    return total


@njit(fastmath=FAST, error_model="numpy")
def _add_slopes(rows, alpha, u, a, inverse, live, log_slopes, gram_slopes):  # type: ignore[no-untyped-def]
    """Add the derivatives of a block to their sums; ``u`` are replaced by ``q``."""
    last, width = len(inverse) - 1, len(rows)
    pulled = np.empty((width, LANES))
    for j in range(len(u)):
        pulled[:] = 0.0
        for c in range(width):
            _take_products(alpha[c], u[j], last + 1, pulled[c])
        _forward(a, inverse, u[j])
        own = u[j, last]  # the last entry of q is w' dA w
        for t in range(LANES):
            log_slopes[j] += live[t] * own[t]
        for b in range(width):
            for c in range(width):
                for t in range(LANES):
                    x, y = rows[b, last, t], rows[c, last, t]
                    gram_slopes[j, b, c] += live[t] * (x * pulled[c, t] + y * pulled[b, t] + x * y * own[t])


@njit(fastmath=FAST, error_model="numpy")
def _add_information(u, live, information):  # type: ignore[no-untyped-def]
    """Add the information of a block, whose ``q`` are ``u``, to the lower triangle of its sum."""
    for j in range(len(u)):
        for i in range(j + 1):
            own = _sum_products(u[j, -1:], u[i, -1:], live)
            information[j, i] += _sum_products(u[j], u[i], live) - 0.5 * own


@njit(fastmath=FAST, error_model="numpy")
def _slopes_of_blocks(start, stop, kind, scale, noise, jitter, z, table, neighbours, sums):  # type: ignore[no-untyped-def]
    """Add what `slopes` returns for the blocks from ``start`` on."""
    logs, gram, log_slopes, gram_slopes, information = sums
    s, columns, width = neighbours.shape[1] + 1, z.shape[1], table.shape[1]
    zs, known, rows = np.empty((columns, s, LANES)), np.empty((s, LANES)), np.empty((width, s, LANES))
    a, p, u = np.empty((s, s, LANES)), np.empty((s, s, LANES)), np.empty((columns + 2, s, LANES))
    inverse, w, weighted = np.empty((s, LANES)), np.empty((s, LANES)), np.empty((s, LANES))
    alpha, live = np.empty_like(rows), np.ones(LANES)
    for block in range(start, stop):
        first = block * LANES
        for t in range(LANES):
            live[t] = 1.0 if first + t < len(z) else 0.0
        _gather(first, z, table, z, table, neighbours, zs, rows, known)
        for k in range(s):
            _distances(zs, k, a[k])
            profile_and_slope(kind, a[k, :k].reshape(k * LANES), p[k, :k].reshape(k * LANES))
            _scale_known(known, k, scale, a[k])
            _scale_known(known, k, scale, p[k])
            p[k, k] = 0.0
        _set_diagonal(known, scale, noise + jitter, noise + jitter, a)
        _factorise(a, inverse)
        for c in range(width):
            _forward(a, inverse, rows[c])
            alpha[c] = rows[c]
            _backward(a, inverse, alpha[c])
        w[:] = 0.0
        w[s - 1] = 1.0
        _backward(a, inverse, w)
        _pull(zs, p, w, weighted, u)
        for k in range(s):
            for t in range(LANES):
                u[columns, k, t] = -(noise + jitter) * w[k, t]
                u[columns + 1, k, t] = noise * w[k, t]
        for t in range(LANES):
            u[columns, s - 1, t] += 1.0 / inverse[s - 1, t]  # K w = A w - D w, and A w = L e
            logs[0] -= 2.0 * live[t] * np.log(inverse[s - 1, t])
        for b in range(width):
            for c in range(width):
                gram[b, c] += _sum_products(rows[b, s - 1 :], rows[c, s - 1 :], live)
        _add_slopes(rows, alpha, u, a, inverse, live, log_slopes, gram_slopes)
        _add_information(u, live, information)


@njit(parallel=True, fastmath=FAST, error_model="numpy", cache=True)
def slopes(  # type: ignore[no-untyped-def]
    kind, scale, noise, jitter, z, table, neighbours, logs, gram, log_slopes, gram_slopes, information
):
    r"""Add sums over the rows, their derivatives and the information, chunk by chunk.

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
        logs: ``(CHUNKS, 1)``, of :math:`\log v`.
        gram: ``(CHUNKS, k, k)``, of :math:`\epsilon \epsilon^\top`.
        log_slopes: ``(CHUNKS, p)``, the derivatives of ``logs``.
        gram_slopes: ``(CHUNKS, p, k, k)``, those of ``gram``.
        information: ``(CHUNKS, p, p)``, of one column of outputs, its lower triangle.
    """
    blocks = -(-len(z) // LANES)
    each = -(-blocks // CHUNKS)
    for chunk in prange(CHUNKS):
        sums = logs[chunk], gram[chunk], log_slopes[chunk], gram_slopes[chunk], information[chunk]
        start, stop = chunk * each, min((chunk + 1) * each, blocks)
        _slopes_of_blocks(start, stop, kind, scale, noise, jitter, z, table, neighbours, sums)
