"""Kernels evaluated by lags on a regular grid and by strips of rows: the same matrix and gradients."""

import oracles
import pytest
import torch
from cases import CASES, Case
from kernel_checks import (
    ONE_COLUMN,
    SHIFTS,
    assert_equal,
    crossed,
    dense,
    gradients,
    grid,
    raw_values,
    rows,
    store,
)
from torch import Tensor

from nonparam.kernels import RBF, Kernel, Linear, Matern, RationalQuadratic, WhiteNoise, covariance
from nonparam.kernels.strips import WHOLE, assemble

# regular grids -------------------------------------------------------------------------------


@pytest.mark.parametrize("shifts", [(0.0,), SHIFTS], ids=["one", "batch"])
@crossed(ONE_COLUMN)
def test_regular_grid_equals_the_dense_matrix(case: Case, shifts: tuple[float, ...]):
    kernel, x = case.make(), grid()
    raws = [torch.stack([raw + s for s in shifts]).requires_grad_() for raw in raw_values(kernel)]
    store(kernel, raws)
    fast, plain = covariance(kernel, x), dense(kernel, x)
    assert_equal(fast, plain)
    for actual, expected in zip(gradients(fast, raws), gradients(plain, raws), strict=True):
        torch.testing.assert_close(
            actual, expected, rtol=1e-12, atol=1e-12 * float(plain.detach().abs().sum())
        )


@crossed([case for case in ONE_COLUMN if case.stationary])
def test_regular_grid_is_evaluated_by_lags(case: Case):
    x = grid() * 0.7 + 0.3  # differences of equal lag differ in their last digits
    matrix = covariance(case.make(), x).detach()
    assert all((matrix.diagonal(lag) == matrix[0, lag]).all() for lag in range(len(x)))
    assert all((matrix.diagonal(-lag) == matrix[0, lag]).all() for lag in range(len(x)))


@pytest.mark.parametrize(
    "x",
    [
        grid().index_add(0, torch.tensor([7]), torch.tensor([[1e-6]], dtype=torch.float64)),
        grid(200) + 9e-9 * grid(200) * (grid(199).amax() - grid(200)),  # steps vary slowly
        grid().flip(0),
        grid().repeat_interleave(2, 0),
        torch.zeros(5, 1, dtype=torch.float64),
        grid(2),
        torch.cat([grid(5), grid(5)[3:4]]),
    ],
    ids=["one moved", "steps vary", "descending", "repeated", "constant", "two rows", "turns back"],
)
def test_grid_that_is_not_quite_regular(x: Tensor):
    kernel = RBF(0.1) + Linear(0.5, center=0.1)
    entry = oracles.total(oracles.rbf(0.1), oracles.linear(0.5, 0.1))
    assert_equal(covariance(kernel, x[:40]), oracles.gram(entry, x[:40].numpy()))
    assert_equal(covariance(kernel, x)[:40, -40:], oracles.gram(entry, x[:40].numpy(), x[-40:].numpy()))


# more rows than one strip --------------------------------------------------------------------


def straightforward(kernel: Kernel, x: Tensor) -> Tensor:
    """The direct formula with an n x n x d tensor, differentiated by autograd."""
    r2 = ((x[:, None] - x[None]) / kernel.lengthscale[0]).square().sum(-1)
    if isinstance(kernel, RationalQuadratic):
        return (1.0 + r2 / (2.0 * kernel.alpha)) ** -kernel.alpha
    if isinstance(kernel, RBF):
        return torch.exp(-0.5 * r2)
    r = torch.where(r2 > 0, r2, 1.0).sqrt() * (r2 > 0) * (2.0 * kernel.nu) ** 0.5
    return {0.5: 1.0, 1.5: 1.0 + r, 2.5: 1.0 + r + r**2 / 3.0}[kernel.nu] * torch.exp(-r)


@pytest.mark.parametrize("columns", [2, 5])
@pytest.mark.parametrize(
    "make", [RBF, RationalQuadratic, *(lambda ls, nu=nu: Matern(ls, nu=nu) for nu in (0.5, 1.5, 2.5))]
)
def test_many_rows_equal_the_direct_formula(make, columns: int):
    kernel = make([0.5 + 0.3 * c for c in range(columns)])
    x = rows(600, columns)
    x[590:] = x[:10]
    raws = list(kernel.parameters())
    fast, plain = covariance(kernel, x), straightforward(kernel, x)
    assert_equal(fast, plain)
    for actual, expected in zip(gradients(fast, raws), gradients(plain, raws), strict=True):
        torch.testing.assert_close(actual, expected, rtol=1e-10, atol=1e-10)


@crossed(CASES)
def test_strips_of_rows_equal_the_whole_matrix(case: Case):
    kernel, x = case.make(), rows(WHOLE + 20, case.columns)
    x[-5:] = x[:5]
    raws = [raw.requires_grad_() for raw in raw_values(kernel)]
    whole = covariance(store(kernel, raws), x)
    found = assemble(kernel, x)
    assert found.matrix.is_contiguous() and not found.matrix.requires_grad
    assert_equal(found.matrix, whole)
    weights = (rows(len(x), len(x), seed=2) - 0.7).triu()
    expected = torch.autograd.grad((whole * weights).sum(), raws, materialize_grads=True)
    for actual, slope in zip(found.pull(raws, weights), expected, strict=True):
        torch.testing.assert_close(actual, slope, rtol=1e-9, atol=1e-12 * float(whole.detach().abs().sum()))


@pytest.mark.parametrize("n", [5, WHOLE + 20])
def test_strips_of_a_regular_grid(n: int):
    kernel, x = RBF(0.5) * 2.0 + Linear(0.5, center=0.2) + WhiteNoise(0.1), grid(n)
    assert_equal(assemble(kernel, x).matrix, dense(kernel, x), 1e-11)
