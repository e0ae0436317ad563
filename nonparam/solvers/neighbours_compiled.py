"""A tree of boxes that finds nearest rows among the earlier ones, compiled for the processor it runs on.

The tree is complete: node ``i`` has the children ``2 i + 1`` and ``2 i + 2``, and its rows lie next to each
other, split at the median of the longest side. A node knows its smallest row number: what holds no earlier
row is not visited.

Source: Friedman, Bentley and Finkel (1977), An algorithm for finding best matches in logarithmic expected
time, ACM Transactions on Mathematical Software 3, 209-226.
"""

import numpy as np
from numba import njit, prange

__all__ = ["LEAF", "build", "search"]

LEAF = 32  # rows of a leaf at most: their distances are found side by side
CHUNKS = 256  # pieces that a search is cut into
FAST = {"reassoc", "contract", "nsz"}  # infinities keep their meaning
DEEPEST = 64  # levels of a tree: more than memory holds


@njit(parallel=True, error_model="numpy", cache=True)
def build(z, depth, order, bounds, boxes, first):  # type: ignore[no-untyped-def]
    """Sort rows into a tree with ``depth`` levels below its root.

    Args:
        z: ``(n, c)``.
        depth: such that no leaf has more than `LEAF` rows.
        order: ``(n,)``, the numbers of the rows, sorted in place.
        bounds: ``(nodes + 1, 2)``, set to where in ``order`` each node begins and ends.
        boxes: ``(nodes, 2, c)``, set to the lower and the upper corners.
        first: ``(nodes,)``, set to the smallest row numbers.
    """
    bounds[0, 0], bounds[0, 1] = 0, len(z)
    for level in range(depth + 1):
        for k in prange(2**level):
            _split(z, 2**level - 1 + k, level < depth, order, bounds, boxes, first)


@njit(error_model="numpy")
def _split(z, node, has_children, order, bounds, boxes, first):  # type: ignore[no-untyped-def]
    """Describe a node, and part its rows between its children."""
    start, stop = bounds[node]
    rows = order[start:stop]
    first[node] = rows.min()
    widest, longest = 0, -1.0
    for c in range(z.shape[1]):
        low, high = np.inf, -np.inf
        for i in rows:
            low, high = min(low, z[i, c]), max(high, z[i, c])
        boxes[node, 0, c], boxes[node, 1, c] = low, high
        if high - low > longest:
            widest, longest = c, high - low
    if has_children:
        column = np.empty(len(rows))
        for i in range(len(rows)):
            column[i] = z[rows[i], widest]
        order[start:stop] = rows[np.argsort(column)]
        middle = (start + stop) // 2
        bounds[2 * node + 1, 0], bounds[2 * node + 1, 1] = start, middle
        bounds[2 * node + 2, 0], bounds[2 * node + 2, 1] = middle, stop


@njit(fastmath=FAST, error_model="numpy")
def _box_distance(x, box):  # type: ignore[no-untyped-def]
    """Return the squared distance of ``x (c,)`` to a box ``(2, c)``."""
    total = 0.0
    for c in range(len(x)):
        d = max(max(box[0, c] - x[c], x[c] - box[1, c]), 0.0)
        total += d * d
    return total


@njit(fastmath=FAST, error_model="numpy")
def _leaf_distances(x, leaf, u):  # type: ignore[no-untyped-def]
    """Set ``u (LEAF,)`` to the squared distances of ``x (c,)`` to the rows of a leaf ``(c, LEAF)``."""
    for t in range(LEAF):
        u[t] = 0.0
    for c in range(len(x)):
        a, line = x[c], leaf[c]
        for t in range(LEAF):
            u[t] += (a - line[t]) * (a - line[t])


@njit(error_model="numpy")
def _take(distance, row, near, found):  # type: ignore[no-untyped-def]
    """Insert a row into a list that is sorted by distance; the farthest one falls out."""
    k = len(near) - 1
    while k > 0 and near[k - 1] > distance:
        near[k], found[k] = near[k - 1], found[k - 1]
        k -= 1
    near[k], found[k] = distance, row


@njit(error_model="numpy")
def _search_one(x, limit, tree, leaves, numbers, stack, waiting, u, near, found):  # type: ignore[no-untyped-def]
    """Set ``found (m,)`` to the nearest of the rows before ``limit``, sorted, and ``near`` to how far."""
    boxes, first = tree
    inner = len(first) - len(leaves)
    near[:], found[:] = np.inf, -1
    stack[0], waiting[0], size = 0, 0.0, 1
    while size > 0:
        size -= 1
        node, distance = stack[size], waiting[size]
        if distance >= near[-1] or first[node] >= limit:
            continue
        while node < inner:
            left, right = 2 * node + 1, 2 * node + 2
            to_left, to_right = _box_distance(x, boxes[left]), _box_distance(x, boxes[right])
            if to_right < to_left:
                left, right, to_left, to_right = right, left, to_right, to_left
            if to_right < near[-1] and first[right] < limit:
                stack[size], waiting[size] = right, to_right
                size += 1
            node = left
            if to_left >= near[-1] or first[left] >= limit:
                break
        else:
            rows = numbers[node - inner]
            _leaf_distances(x, leaves[node - inner], u)
            for t in range(LEAF):
                if u[t] < near[-1] and rows[t] < limit:
                    _take(u[t], rows[t], near, found)


@njit(parallel=True, error_model="numpy", cache=True)
def search(targets, rows, limits, boxes, first, leaves, numbers, found):  # type: ignore[no-untyped-def]
    """Set the nearest rows of each target among those with smaller numbers than its limit.

    Args:
        targets: ``(r, c)``.
        rows: ``(k,)``, which of the targets are asked about; neighbours in this order share what is cached.
        limits: ``(r,)``.
        boxes: ``(nodes, 2, c)``.
        first: ``(nodes,)``, the smallest row numbers.
        leaves: ``(l, c, LEAF)``, the rows of the leaves, infinite where a leaf has fewer.
        numbers: ``(l, LEAF)``, their numbers.
        found: ``(k, m)``, set to row numbers sorted by distance, -1 where there are fewer.
    """
    each = -(-len(rows) // CHUNKS)
    for chunk in prange(CHUNKS):
        stack, waiting, u = np.empty(DEEPEST, np.int64), np.empty(DEEPEST), np.empty(LEAF)
        near = np.empty(found.shape[1])
        for k in range(chunk * each, min((chunk + 1) * each, len(rows))):
            i = rows[k]
            tree = boxes, first
            _search_one(targets[i], limits[i], tree, leaves, numbers, stack, waiting, u, near, found[k])
