"""Nearest rows: both trees against all distances."""

import numpy as np
import pytest
from scipy.spatial import cKDTree

from nonparam.solvers import neighbours
from nonparam.solvers.neighbours import SciPyTree, nearest_before, tree_of

RNG = np.random.default_rng(0)


def by_all_distances(z, targets, m, limits):
    found = np.full((len(targets), m), -1)
    for i, (target, limit) in enumerate(zip(targets, limits, strict=True)):
        near = np.argsort(np.square(z[:limit] - target).sum(1), kind="stable")[:m]
        found[i, : len(near)] = near
    return found


def distances(z, targets, found):
    gaps = np.square(z[np.maximum(found, 0)] - targets[:, None]).sum(2)
    return np.where(found >= 0, gaps, np.inf)


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize(
    ("n", "columns", "m"), [(1, 1, 3), (5, 2, 8), (200, 3, 7), (3000, 2, 5), (700, 9, 20)]
)
def test_each_row_has_the_nearest_before_it(n, columns, m, compiled, monkeypatch):
    if compiled:
        pytest.importorskip("numba")
    monkeypatch.setattr(neighbours, "FIRST", 64)
    if not compiled:
        monkeypatch.setattr(neighbours, "tree_of", lambda z: SciPyTree(cKDTree(z)))
    z = RNG.standard_normal((n, columns))
    z[n // 2 :: 7] = z[0]  # repeated rows
    found = nearest_before(z, m)
    expected = by_all_distances(z, z, m, np.arange(n))
    np.testing.assert_allclose(distances(z, z, found), distances(z, z, expected), rtol=1e-9, atol=1e-12)
    assert found.dtype == np.int32 and ((found < np.arange(n)[:, None]) | (found < 0)).all()
    kept = [row[row >= 0] for row in found]
    assert all(len(set(row)) == min(m, i) for i, row in enumerate(kept))


def test_new_rows_among_given_ones():
    z, targets = RNG.standard_normal((500, 4)), RNG.standard_normal((40, 4))
    asked = np.arange(40, dtype=np.int32)
    found = tree_of(z).nearest(targets, 6, np.full(40, 500, dtype=np.int32), asked)
    np.testing.assert_array_equal(found, by_all_distances(z, targets, 6, [500] * 40))


def test_a_column_that_does_not_matter():
    z = np.column_stack([RNG.standard_normal(100), np.zeros(100)])
    np.testing.assert_array_equal(nearest_before(z, 4), nearest_before(z[:, :1].copy(), 4))
