"""Nearest rows: of new rows among given ones, and of each row among those before it."""

from dataclasses import dataclass
from importlib.util import find_spec
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

__all__ = ["Tree", "nearest_before", "tree_of"]

Array = NDArray[np.float64]
Rows = NDArray[np.int32]

FIRST = 1024  # rows of the first tree; each later one has twice as many


class Tree(Protocol):
    """What finds the nearest of some rows."""

    @property
    def order(self) -> Rows:
        """The numbers of its rows, such that those next to each other lie near, ``(n,)``."""
        ...

    def nearest(self, targets: Array, m: int, limits: Rows, rows: Rows) -> Rows:
        """Return the nearest rows of some targets among those with smaller numbers than a limit.

        Args:
            targets: ``(r, c)``.
            m: how many.
            limits: ``(r,)``.
            rows: ``(k,)``, which of the targets are asked about.

        Returns:
            ``(k, m)``, sorted by distance, -1 where there are fewer.
        """


def tree_of(z: Array) -> Tree:
    """Return what finds the nearest of the rows ``z (n, c)``: compiled where Numba is installed.

    Examples:
        >>> tree = tree_of(np.array([[0.0], [1.0], [5.0]]))
        >>> tree.nearest(np.array([[4.0]]), 2, np.array([3]), np.array([0]))
        array([[2, 1]], dtype=int32)
    """
    return CompiledTree.of(z) if find_spec("numba") else SciPyTree(cKDTree(z))


def nearest_before(z: Array, m: int) -> Rows:
    """Return the exact nearest rows of each row among those before it.

    A tree of the first rows answers for its second half, one of twice as many for the next: half of what it
    holds may be asked for at least, so the work grows like that of one tree.

    Args:
        z: ``(n, c)``.
        m: how many.

    Returns:
        ``(n, m)``, sorted by distance, -1 where there are fewer rows before.

    Examples:
        >>> nearest_before(np.array([[0.0], [10.0], [1.0], [9.0]]), 2)
        array([[-1, -1],
               [ 0, -1],
               [ 0,  1],
               [ 1,  2]], dtype=int32)
    """
    n = len(z)
    found = np.full((n, m), -1, dtype=np.int32)
    limits = np.arange(n, dtype=np.int32)
    start, stop = 0, min(FIRST, n)
    while start < n:
        tree = tree_of(z[:stop])
        asked = tree.order[tree.order >= start]
        found[asked] = tree.nearest(z, m, limits, asked)
        start, stop = stop, min(2 * stop, n)
    return found


@dataclass(frozen=True)
class CompiledTree:
    """A tree of boxes; see `nonparam.solvers.neighbours_compiled`.

    Attributes:
        boxes: ``(nodes, 2, c)``, lower and upper corners.
        first: ``(nodes,)``, the smallest row numbers.
        leaves: ``(l, c, LEAF)``, infinite where a leaf has fewer rows.
        numbers: ``(l, LEAF)``, of the rows in ``leaves``.
        order: ``(n,)``, the same without what fills the leaves.
    """

    boxes: Array
    first: Rows
    leaves: Array
    numbers: Rows
    order: Rows

    @classmethod
    def of(cls, z: Array) -> "CompiledTree":
        """Build the tree of the rows ``z (n, c)``."""
        from nonparam.solvers.neighbours_compiled import LEAF, build

        n, columns = z.shape
        depth = max(int(np.ceil(np.log2(max(n, 1) / LEAF))), 0)
        nodes = 2 ** (depth + 1) - 1
        order, bounds = np.arange(n, dtype=np.int32), np.zeros((nodes, 2), dtype=np.int64)
        boxes, first = np.empty((nodes, 2, columns)), np.empty(nodes, dtype=np.int32)
        build(z, depth, order, bounds, boxes, first)
        starts, stops = bounds[-(2**depth) :].T
        places = starts[:, None] + np.arange(LEAF)
        held = places < stops[:, None]
        numbers = np.where(held, order[np.minimum(places, n - 1)], n).astype(np.int32)
        rows = np.where(held[..., None], z[np.minimum(numbers, n - 1)], np.inf)
        return cls(boxes, first, np.ascontiguousarray(rows.transpose(0, 2, 1)), numbers, order)

    def nearest(self, targets: Array, m: int, limits: Rows, rows: Rows) -> Rows:
        """See `Tree`."""
        from nonparam.solvers.neighbours_compiled import search

        found = np.empty((len(rows), m), dtype=np.int32)
        search(targets, rows, limits, self.boxes, self.first, self.leaves, self.numbers, found)
        return found


@dataclass(frozen=True)
class SciPyTree:
    """The same by SciPy.

    Attributes:
        tree: of all rows.
    """

    tree: cKDTree

    @property
    def order(self) -> Rows:
        """The numbers of the rows, such that those next to each other lie near."""
        return np.asarray(self.tree.indices, dtype=np.int32)

    def nearest(self, targets: Array, m: int, limits: Rows, rows: Rows) -> Rows:
        """See `Tree`: more rows than asked for are looked at, until enough have small numbers."""
        found = np.full((len(rows), m), -1, dtype=np.int32)
        left, width = np.arange(len(rows)), 2 * m + 8
        while len(left):
            width = min(width, self.tree.n)
            _, near = self.tree.query(targets[rows[left]], k=np.arange(1, width + 1))
            before = near < limits[rows[left], None]
            first = np.argsort(~before, axis=1, kind="stable")[:, :m]
            kept = np.take_along_axis(before, first, 1)
            found[left, : first.shape[1]] = np.where(kept, np.take_along_axis(near, first, 1), -1)
            enough = kept.all(1) & (first.shape[1] == m)
            left = left[~enough] if width < self.tree.n else left[:0]
            width *= 2
        return found
