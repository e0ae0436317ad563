"""Randomly pivoted, pivoted and sketched approximations against the textbook, one pivot at a time."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from nonparam.errors import ConvergenceError
from nonparam.solvers.nystrom import nystrom
from nonparam.solvers.operator import Dense
from nonparam.solvers.pivoted_cholesky import pivoted_cholesky
from nonparam.solvers.randomly_pivoted_cholesky import randomly_pivoted_cholesky


def kernel(n=120, lengthscale=0.5, d=2, dtype=torch.float64, seed=0):
    x = torch.tensor(np.random.default_rng(seed).uniform(-1.0, 1.0, (n, d)))
    return (3.0 * torch.exp(-0.5 * (x[:, None] - x).square().sum(-1) / lengthscale**2)).to(dtype)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def randomly(k, rank, **settings):
    return randomly_pivoted_cholesky(k, rank, generator(), **settings)


def sketched(k, rank):
    return nystrom(k, rank, generator())


CHOLESKY = [pivoted_cholesky, randomly]


def greedy_pivots(a, rank):
    """Textbook: the largest residual, one at a time."""
    a, pivots = a.numpy().copy(), []
    for _ in range(rank):
        i = int(a.diagonal().argmax())
        pivots.append(i)
        a -= np.outer(a[:, i], a[i]) / a[i, i]
    return pivots


@pytest.mark.parametrize("rank", [1, 7, 30])
def test_greedy_pivots_are_the_largest_residuals(rank):
    a = kernel() * torch.linspace(1.0, 2.0, 120, dtype=torch.float64).outer(
        torch.linspace(1.0, 2.0, 120).double()
    )
    assert pivoted_cholesky(Dense(a), rank).pivots.tolist() == greedy_pivots(a, rank)


@pytest.mark.parametrize("algorithm", CHOLESKY)
@pytest.mark.parametrize("rank", [1, 5, 30])
def test_cholesky_is_exact_in_its_pivots_and_from_below(algorithm, rank):
    a = kernel()
    found = algorithm(Dense(a), rank)
    left = a - found.factor @ found.factor.mT
    assert found.rank == rank and len(set(found.pivots.tolist())) == rank
    torch.testing.assert_close(left[found.pivots], torch.zeros(rank, 120, dtype=a.dtype), rtol=0, atol=1e-9)
    torch.testing.assert_close(found.residual, left.diagonal(), rtol=1e-8, atol=1e-10)
    assert float(torch.linalg.eigvalsh(left).min()) > -1e-9
    columns = a[:, found.pivots]  # the Nystrom approximation of these columns
    expected = columns @ torch.linalg.solve(columns[found.pivots], columns.mT)
    torch.testing.assert_close(found.factor @ found.factor.mT, expected, rtol=1e-6, atol=1e-7)


def test_random_pivots_have_the_distribution_of_drawing_one_by_one():
    a = torch.tensor([[4.0, 1.8, 0.0], [1.8, 1.0, 0.3], [0.0, 0.3, 2.0]], dtype=torch.float64)
    expected = torch.zeros(3, 3)
    for i in range(3):
        left = a - a[:, [i]] @ a[[i]] / a[i, i]
        expected[i] = a[i, i] / a.trace() * left.diagonal().clamp_min(0.0) / left.trace()
    shared, count, trials = generator(), torch.zeros(3, 3), 1500
    for _ in range(trials):
        i, j = randomly_pivoted_cholesky(Dense(a), 2, shared).pivots.tolist()
        count[i, j] += 1
    spread = (expected * (1.0 - expected) / trials).sqrt().clamp_min(1e-12)
    assert float(((count / trials - expected).abs() / spread)[expected > 0].max()) < 4.0
    assert float(count[expected == 0].sum()) == 0.0


def test_blocks_have_the_distribution_of_drawing_one_by_one():
    """Blocks of several candidates: the mean residual trace is that of the algorithm without blocks."""
    a, draw, rank = kernel(60), np.random.default_rng(0), 24  # blocks of 3

    def one_by_one():
        left = a.numpy().copy()
        for _ in range(rank):
            weights = left.diagonal().clip(0.0)
            i = draw.choice(60, p=weights / weights.sum())
            left -= np.outer(left[:, i], left[i]) / left[i, i]
        return left.trace()

    def blocked(seed):
        return float(randomly_pivoted_cholesky(Dense(a), rank, generator(seed)).residual.sum())

    single, several = np.array([one_by_one() for _ in range(200)]), np.array([blocked(s) for s in range(200)])
    error = np.sqrt((single.var() + several.var()) / 200)
    assert abs(single.mean() - several.mean()) < 4.0 * error


def test_the_generator_decides():
    a = Dense(kernel())
    assert torch.equal(randomly(a, 9).factor, randomly(a, 9).factor)
    assert torch.equal(sketched(a, 9).factor, sketched(a, 9).factor)
    other = randomly_pivoted_cholesky(a, 9, generator(1))
    assert other.pivots.tolist() != randomly(a, 9).pivots.tolist()


@pytest.mark.parametrize("algorithm", CHOLESKY)
def test_it_stops_by_the_residual_trace(algorithm):
    a = kernel()
    for settings in ({"tolerance": 1e-3}, {"residual_trace": 1e-3 * float(a.trace())}):
        found = algorithm(Dense(a), 120, **settings)
        assert 5 < found.rank < 120
        assert float(found.residual.sum()) <= 1e-3 * float(a.trace())


@pytest.mark.parametrize("algorithm", CHOLESKY)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("case", ["duplicates", "long lengthscale", "zeros", "rank one"])
def test_where_only_rounding_is_left_the_rank_is_smaller(algorithm, dtype, case):
    a = {
        "duplicates": kernel(20, dtype=dtype).repeat(3, 3),
        "long lengthscale": kernel(60, lengthscale=1e3, dtype=dtype),
        "zeros": torch.zeros(60, 60, dtype=dtype),
        "rank one": torch.ones(60, 60, dtype=dtype),
    }[case]
    found = algorithm(Dense(a), 60)
    assert found.rank <= {"duplicates": 20, "zeros": 0, "rank one": 1}.get(case, 12)
    assert bool(torch.isfinite(found.factor).all()) and found.factor.dtype == dtype
    error = (a - found.factor @ found.factor.mT).abs().max()
    assert float(error) <= 100.0 * torch.finfo(dtype).eps * 3.0


@pytest.mark.parametrize("algorithm", [*CHOLESKY, sketched])
def test_float32_is_near_float64(algorithm):
    wide, narrow = algorithm(Dense(kernel()), 25), algorithm(Dense(kernel(dtype=torch.float32)), 25)
    left = kernel() - narrow.factor.double() @ narrow.factor.double().mT
    assert float(torch.linalg.matrix_norm(left, 2)) < 3.0 * float(wide.residual.sum()) + 1e-3


@pytest.mark.parametrize("rank", [5, 25])
def test_sketch_is_near_the_best_of_its_rank(rank):
    a = kernel()
    found, values = sketched(Dense(a), rank), torch.linalg.eigvalsh(a)
    best, best_of_half = values[: 120 - rank].sum(), values[: 120 - rank // 2].sum()
    left = a - found.factor @ found.factor.mT
    torch.testing.assert_close(found.residual, left.diagonal(), rtol=1e-6, atol=1e-8)
    assert float(torch.linalg.eigvalsh(left).min()) > -1e-9
    assert float(best) <= float(found.residual.sum()) < 2.0 * float(best_of_half)
    gram = found.factor.mT @ found.factor
    torch.testing.assert_close(gram, torch.diag(gram.diagonal()), rtol=0, atol=1e-8)
    assert bool((gram.diagonal().diff() <= 1e-12).all())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_sketch_of_a_matrix_of_lower_rank(dtype):
    a = torch.ones(30, 30, dtype=dtype)
    found = sketched(Dense(a), 10)
    torch.testing.assert_close(found.factor @ found.factor.mT, a, rtol=0, atol=1e3 * torch.finfo(dtype).eps)


@pytest.mark.parametrize("algorithm", [*CHOLESKY, sketched])
def test_what_is_not_finite_is_refused(algorithm):
    diagonal = kernel()
    diagonal[3, 3] = torch.nan
    with pytest.raises(ConvergenceError, match="not finite"):
        algorithm(Dense(diagonal), 10)
    with pytest.raises(ConvergenceError, match="not finite"):
        algorithm(InfiniteRows(kernel()), 10)


@dataclass(frozen=True)
class InfiniteRows(Dense):
    def rows(self, index):
        return super().rows(index) * torch.inf

    def __matmul__(self, v):
        return super().__matmul__(v) * torch.inf


def test_indefinite_matrix_has_no_sketch():
    with pytest.raises(ConvergenceError, match="positive semidefinite"):
        sketched(Dense(-kernel()), 10)
