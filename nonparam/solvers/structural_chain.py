r"""Kalman filter and its adjoint for a sum of independent processes that modulate known waves.

Each row observes what ``s`` smooth states and some Ornstein-Uhlenbeck or Wiener processes add up to,

.. math::

    y_t = h_t^\top z_t + e_t, \qquad z_{t+1} = A_t z_t + q_t, \qquad
    A_t = \mathrm{diag}(a_t) \begin{pmatrix} T_t & \\ & I \end{pmatrix}.

A season is no rotation of its states here: in the frame that turns with it, the states only decay and the
loadings :math:`h_t` are its cosines and sines. So a step scales the covariance entry by entry and takes a
matrix of rank one away, in :math:`O(D^2)` whatever the gaps; nothing but the few rows of the smooth states
needs a matrix :math:`T_t`.

Several columns, ``y`` and features, are filtered with the same gains (de Jong 1991). The adjoint goes back
over the rows with the derivatives :math:`\lambda` in the states' mean and :math:`G / 2` in their
covariance. It finds the filter's covariances again from copies that were kept once every few rows, so that
memory stays small.

The steps stand here twice: in NumPy, and as loops, which `structural_chain_compiled` has Numba compile in
their place. All of it is in one file, by which Numba knows what it compiled before.

Sources: de Jong (1991), The diffuse Kalman filter, Annals of Statistics 19; Koopman and Shephard (1992),
Exact score for time series models in state space form, Biometrika 79.
"""

import numpy as np

__all__ = ["HELPERS", "LOOPS", "adjoint_pass", "filter_pass"]

# Numba infers the types; arrays that a step writes to come last or are named in its first line.


def filter_pass(y, noise, loadings, prior, gap, decay, diffusion, taylor, corner, every):  # type: ignore[no-untyped-def]
    r"""Filter all columns with the gains of one model.

    .. math:: v_t = y_t - h_t^\top m_t, \quad f_t = h_t^\top P_t h_t + r_t, \quad
        m_t^+ = m_t + P_t h_t v_t / f_t, \quad P_t^+ = P_t - P_t h_t h_t^\top P_t / f_t

    Args:
        y: ``(n, r)``.
        noise: ``r_t (n,)``; infinite where nothing was observed.
        loadings: ``h_t (n, D)``, the smooth states first.
        prior: ``(D, D)``, the covariance of the states at the first row.
        gap: ``(n,)``, which of the ``k`` transitions follows each row; the last entry is not read.
        decay: ``a (k, D)``.
        diffusion: ``(k, D)``, the variances of ``q_t``; 0 for the smooth states.
        taylor: ``T (k, s, s)``, upper triangles.
        corner: ``(k, s, s)``, the covariances of ``q_t`` of the smooth states.
        every: rows between two copies that are kept.

    Returns:
        The gains ``P h / sqrt(f)``, ``(n, D)``; the innovations ``v / sqrt(f)``, ``(n, r)``; ``1 / sqrt(f)``,
        ``(n,)``, 0 where nothing was observed; the covariances ``(c, D, D)`` and means ``(c, r, D)`` before
        each ``every``-th row; both before the last row.
    """
    n, states = loadings.shape
    columns = y.shape[1]
    copies = (n - 1) // every + 1
    gains, innovations, roots = np.empty((n, states)), np.empty((n, columns)), np.empty(n)
    covariances, means = np.empty((copies, states, states)), np.empty((copies, columns, states))
    covariance, mean = prior.copy(), np.zeros((columns, states))
    for t in range(n):
        if t > 0:
            k = gap[t - 1]
            step(
                covariance,
                mean,
                gains[t - 1],
                innovations[t - 1],
                decay[k],
                diffusion[k],
                taylor[k],
                corner[k],
            )
        if t % every == 0:
            covariances[t // every], means[t // every] = covariance, mean
        multiply(covariance, loadings[t], gains[t])
        roots[t] = innovate(mean, y[t], noise[t], loadings[t], gains[t], innovations[t])
    return gains, innovations, roots, covariances, means, covariance, mean


def adjoint_pass(  # type: ignore[no-untyped-def]
    gains,
    innovations,
    roots,
    covariances,
    means,
    loadings,
    groups,
    gap,
    decay,
    diffusion,
    taylor,
    corner,
    every,
):
    r"""Differentiate the log density of the filtered columns, and smooth what groups of states add up to.

    With :math:`u = P h / \sqrt f`, :math:`g = h / \sqrt f`, :math:`\epsilon = v / \sqrt f` and the sum
    over the columns in :math:`G = \sum \lambda \lambda^\top - \Lambda`, a row changes the adjoint to

    .. math::

        \lambda \leftarrow \lambda + g (\epsilon - u^\top \lambda), \quad
        G \leftarrow G - g b^\top - b g^\top, \quad
        b = G u - \lambda^\top \epsilon
            + g \big(\epsilon^\top \lambda u - \tfrac12 (u^\top G u + \epsilon^\top \epsilon - 1)\big).

    The first five arguments are what `filter_pass` returned; its columns may have been mixed since. The last
    six are its own.

    Args:
        gains: ``(n, D)``.
        innovations: ``(n, r)``.
        roots: ``(n,)``.
        covariances: ``(c, D, D)``.
        means: ``(c, r, D)``.
        loadings: ``(n, D)``.
        groups: ``(b, D)``, ones for the states that belong to a group.
        gap: as in the filter.
        decay: as in the filter.
        diffusion: as in the filter.
        taylor: as in the filter.
        corner: as in the filter.
        every: as in the filter.

    Returns:
        The derivative in a common noise variance, doubled. ``G`` before the first row, ``(D, D)``. For each
        of the ``k`` transitions sums over the rows behind it: of the diagonal of ``G``, ``(k, D)``; of the
        diagonal of ``lambda m' + G P``, ``(k, D)``; of the smooth states' part of ``G``, ``(k, s, s)``; of
        the entries just above the diagonal in their part of ``lambda m' + G P``, ``(k,)``. For each row and
        group the mean of each column ``(n, b, r)``, and the variance ``(n, b)``.
    """
    n, states = loadings.shape
    columns, kinds, smooth = innovations.shape[1], len(decay), taylor.shape[1]
    diagonals, pairs = np.zeros((kinds, states)), np.zeros((kinds, states))
    corners, shifts = np.zeros((kinds, smooth, smooth)), np.zeros(kinds)
    smoothed, variances = np.empty((n, len(groups), columns)), np.empty((n, len(groups)))
    covariance, mean = np.empty((every, states, states)), np.empty((every, columns, states))
    adjoint, slope, pulled = np.zeros((states, states)), np.zeros((columns, states)), np.zeros(states)
    pair, by_noise = np.empty(states), 0.0
    for c in range(len(covariances) - 1, -1, -1):
        first, last = c * every, min(n, (c + 1) * every) - 1
        covariance[0], mean[0] = covariances[c], means[c]
        for t in range(first, last):
            i, k = t - first, gap[t]
            covariance[i + 1], mean[i + 1] = covariance[i], mean[i]
            p, m = covariance[i + 1], mean[i + 1]
            step(p, m, gains[t], innovations[t], decay[k], diffusion[k], taylor[k], corner[k])
        for t in range(last, first - 1, -1):
            p, m = covariance[t - first], mean[t - first]
            multiply(adjoint, gains[t], pulled)
            by_noise += unlearn(
                gains[t], innovations[t], roots[t], loadings[t], p, m, adjoint, slope, pulled, pair
            )
            for b in range(len(groups)):
                variances[t, b] = expect(groups[b] * loadings[t], p, m, adjoint, slope, smoothed[t, b])
            if t > 0:
                k = gap[t - 1]
                for i in range(states):
                    diagonals[k, i] += adjoint[i, i]
                pairs[k] += pair
                corners[k] += adjoint[:smooth, :smooth]
                for i in range(smooth - 1):
                    shifts[k] += np.sum(adjoint[i] * p[i + 1]) + np.sum(slope[:, i] * m[:, i + 1])
                retreat(decay[k], taylor[k], adjoint, slope)
    return by_noise, adjoint, diagonals, pairs, corners, shifts, smoothed, variances


def multiply(matrix, vector, product):  # type: ignore[no-untyped-def]
    """Set ``product`` to that of a matrix and a vector."""
    np.matmul(matrix, vector, out=product)


def innovate(mean, y, noise, loading, gain, innovation):  # type: ignore[no-untyped-def]
    """Scale ``gain = P h`` and set ``innovation``; return ``1 / sqrt(f)``."""
    root = 1.0 / np.sqrt(max(gain @ loading, 0.0) + noise)
    gain *= root
    innovation[:] = root * (y - mean @ loading)
    return root


def step(covariance, mean, gain, innovation, decay, diffusion, taylor, corner):  # type: ignore[no-untyped-def]
    """Set ``covariance`` and ``mean`` before a row to those before the next."""
    s = len(taylor)
    covariance -= np.outer(gain, gain)
    mean += np.outer(innovation, gain)
    covariance[:s] = taylor @ covariance[:s]
    covariance[:, :s] = covariance[:, :s] @ taylor.T
    mean[:, :s] = mean[:, :s] @ taylor.T
    covariance *= np.outer(decay, decay)
    mean *= decay
    covariance[:s, :s] += corner
    np.einsum("ii->i", covariance)[:] += diffusion


def unlearn(gain, innovation, root, loading, covariance, mean, adjoint, slope, pulled, pair):  # type: ignore[no-untyped-def]
    """Take ``adjoint`` and ``slope`` from behind a row to before it; set ``pair``; ``pulled`` is spent.

    It returns twice the derivative in the noise of the row. ``pair`` is the diagonal of ``lambda m' + G P``.
    """
    g, along = root * loading, slope @ gain
    known = pulled @ gain + innovation @ innovation - 1.0
    pulled -= innovation @ slope
    pulled += (innovation @ along - 0.5 * known) * g
    slope += np.outer(innovation - along, g)
    adjoint -= np.outer(g, pulled)
    adjoint -= np.outer(pulled, g)
    pair[:] = np.einsum("ij,ij->i", adjoint, covariance) + np.einsum("ij,ij->j", slope, mean)
    return root * root * (known - 2.0 * (innovation @ along))


def retreat(decay, taylor, adjoint, slope):  # type: ignore[no-untyped-def]
    """Take ``adjoint`` and ``slope`` from before a row to behind the row before."""
    s = len(taylor)
    adjoint *= np.outer(decay, decay)
    slope *= decay
    adjoint[:s] = taylor.T @ adjoint[:s]
    adjoint[:, :s] = adjoint[:, :s] @ taylor
    slope[:, :s] = slope[:, :s] @ taylor


def expect(loading, covariance, mean, adjoint, slope, value):  # type: ignore[no-untyped-def]
    """Set ``value`` to the mean of ``h' z`` given all rows, and return its variance."""
    reach = covariance @ loading
    along = slope @ reach
    value[:] = mean @ loading + along
    return reach @ loading + reach @ (adjoint @ reach) - along @ along


def _multiply(matrix, vector, product):  # type: ignore[no-untyped-def]
    for i in range(len(matrix)):
        total, row = 0.0, matrix[i]
        for j in range(len(row)):
            total += row[j] * vector[j]
        product[i] = total


def _innovate(mean, y, noise, loading, gain, innovation):  # type: ignore[no-untyped-def]
    variance = 0.0
    for i in range(len(gain)):
        variance += gain[i] * loading[i]
    root = 1.0 / np.sqrt(max(variance, 0.0) + noise)
    for i in range(len(gain)):
        gain[i] *= root
    for c in range(len(mean)):
        expected, row = 0.0, mean[c]
        for i in range(len(row)):
            expected += row[i] * loading[i]
        innovation[c] = root * (y[c] - expected)
    return root


def _step(covariance, mean, gain, innovation, decay, diffusion, taylor, corner):  # type: ignore[no-untyped-def]
    s, states = len(taylor), len(gain)
    for c in range(len(mean)):
        row, factor = mean[c], innovation[c]
        for i in range(states):
            row[i] += factor * gain[i]
        shear(taylor, row)
        for i in range(states):
            row[i] *= decay[i]
    sheared = gain.copy()
    shear(taylor, sheared)
    for i in range(s):
        for k in range(i + 1, s):
            for j in range(states):
                covariance[i, j] += taylor[i, k] * covariance[k, j]
    for i in range(states):
        row, a, u = covariance[i], decay[i], sheared[i]
        shear(taylor, row)
        for j in range(states):
            row[j] = (a * decay[j]) * (row[j] - u * sheared[j])
        row[i] += diffusion[i]
    for i in range(s):
        for j in range(s):
            covariance[i, j] += corner[i, j]


def shear(taylor, row):  # type: ignore[no-untyped-def]
    """Multiply the smooth states of a row by an upper triangle with a diagonal of ones."""
    for i in range(len(taylor)):
        for k in range(i + 1, len(taylor)):
            row[i] += taylor[i, k] * row[k]


def _unlearn(gain, innovation, root, loading, covariance, mean, adjoint, slope, pulled, pair):  # type: ignore[no-untyped-def]
    states, known, both = len(gain), -1.0, 0.0
    for i in range(states):
        known += pulled[i] * gain[i]
        pair[i] = 0.0
    for c in range(len(slope)):
        along, row, factor = 0.0, slope[c], innovation[c]
        for i in range(states):
            along += row[i] * gain[i]
        known += factor * factor
        both += factor * along
        change = (factor - along) * root
        for i in range(states):
            pulled[i] -= factor * row[i]
            row[i] += change * loading[i]
            pair[i] += row[i] * mean[c, i]
    shift = (both - 0.5 * known) * root
    for i in range(states):
        pulled[i] += shift * loading[i]
    for i in range(states):
        row, other, g, b, total = adjoint[i], covariance[i], root * loading[i], root * pulled[i], 0.0
        for j in range(states):
            row[j] -= g * pulled[j] + b * loading[j]
            total += row[j] * other[j]
        pair[i] += total
    return root * root * (known - 2.0 * both)


def _retreat(decay, taylor, adjoint, slope):  # type: ignore[no-untyped-def]
    s = len(taylor)
    for i in range(len(adjoint)):
        row, a = adjoint[i], decay[i]
        for j in range(len(row)):
            row[j] *= a * decay[j]
        unshear(taylor, row)
    for i in range(s - 1, -1, -1):
        for k in range(i):
            for j in range(len(adjoint)):
                adjoint[i, j] += taylor[k, i] * adjoint[k, j]
    for c in range(len(slope)):
        row = slope[c]
        for j in range(len(row)):
            row[j] *= decay[j]
        unshear(taylor, row)


def unshear(taylor, row):  # type: ignore[no-untyped-def]
    """Multiply the smooth states of a row by the transpose of an upper triangle with a diagonal of ones."""
    for i in range(len(taylor) - 1, -1, -1):
        for k in range(i):
            row[i] += taylor[k, i] * row[k]


def _expect(loading, covariance, mean, adjoint, slope, value):  # type: ignore[no-untyped-def]
    states, variance = len(loading), 0.0
    reach, moved = np.empty(states), np.empty(states)
    _multiply(covariance, loading, reach)
    _multiply(adjoint, reach, moved)
    for i in range(states):
        variance += reach[i] * (loading[i] + moved[i])
    for c in range(len(mean)):
        along, expected = 0.0, 0.0
        for i in range(states):
            along += slope[c, i] * reach[i]
            expected += mean[c, i] * loading[i]
        value[c] = expected + along
        variance -= along * along
    return variance


LOOPS = {
    multiply: _multiply,
    innovate: _innovate,
    step: _step,
    unlearn: _unlearn,
    retreat: _retreat,
    expect: _expect,
}
HELPERS = (shear, unshear, _multiply)  # that loops call
