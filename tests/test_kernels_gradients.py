"""Gradients of every kernel, and batches of hyperparameters evaluated at once."""

from collections.abc import Callable, Sequence

import torch
from cases import CASES, Case
from kernel_checks import (
    ONE_COLUMN,
    SHIFTS,
    assert_equal,
    crossed,
    gradients,
    grid,
    raw_values,
    rows,
    rows_with_twins,
    store,
)
from torch import Tensor

from nonparam.kernels import Kernel, covariance, variance


def gradients_agree(function: Callable[..., Tensor], inputs: Sequence[Tensor]) -> bool:
    """Autograd against central differences, whose rounding error is about 1e-9."""
    return torch.autograd.gradcheck(function, inputs, atol=3e-8, rtol=1e-7)


@crossed(CASES)
def test_gradient_in_every_hyperparameter(case: Case):
    kernel, x, z = case.make(), rows(4, case.columns), rows(2, case.columns, seed=3)
    raws = [raw.requires_grad_() for raw in raw_values(kernel)]

    def cross_matrix(*raws: Tensor) -> Tensor:
        matrix = covariance(store(kernel, list(raws)), x, z)
        return matrix + 0.0 * raws[0].sum()  # of white noise it depends on nothing

    assert gradients_agree(lambda *raws: covariance(store(kernel, list(raws)), x), raws)
    assert gradients_agree(cross_matrix, raws)


@crossed(CASES)
def test_gradient_in_the_inputs(case: Case):
    kernel = store(case.make(), raw_values(case.make()))
    x = rows(4, case.columns).requires_grad_()
    z = rows(2, case.columns, seed=3).requires_grad_()
    assert gradients_agree(lambda x: covariance(kernel, x) + 0.0 * x.sum(), (x,))
    assert gradients_agree(lambda x, z: covariance(kernel, x, z) + 0.0 * x.sum(), (x, z))


@crossed(ONE_COLUMN)
def test_gradient_in_the_inputs_of_a_regular_grid(case: Case):
    kernel = store(case.make(), raw_values(case.make()))
    x = (grid(5) * 3.0 + 0.11).requires_grad_()
    assert gradients_agree(lambda x: covariance(kernel, x) + 0.0 * x.sum(), (x,))


@crossed(CASES)
def test_gradients_are_finite_at_coincident_rows(case: Case):
    kernel = case.make()
    x = rows(3, case.columns).repeat(2, 1).requires_grad_()
    raws = [raw.requires_grad_() for raw in raw_values(kernel)]
    store(kernel, raws)
    for matrix in (covariance(kernel, x), covariance(kernel, x, x.detach()[:3])):
        assert all(g.isfinite().all() for g in gradients(matrix + 0.0 * raws[0].sum(), [*raws, x]))


# batches of hyperparameters ------------------------------------------------------------------


@crossed(CASES)
def test_batch_of_hyperparameters_equals_the_loop(case: Case):
    x = rows_with_twins(case.columns)
    assert_batch_equals_loop(case.make(), x, None)
    assert_batch_equals_loop(case.make(), x, rows(4, case.columns, seed=3))


@crossed(ONE_COLUMN)
def test_batch_of_hyperparameters_equals_the_loop_on_a_grid(case: Case):
    assert_batch_equals_loop(case.make(), grid(), None)


def assert_batch_equals_loop(kernel: Kernel, x: Tensor, z: Tensor | None) -> None:
    raws = raw_values(kernel)

    def evaluated(raws: list[Tensor]) -> tuple[Tensor, Tensor, list[Tensor]]:
        store(kernel, [raw.requires_grad_() for raw in raws])
        matrix = covariance(kernel, x, z)
        slopes = gradients(matrix + 0.0 * raws[0].sum(), raws)
        return matrix, variance(kernel, x), slopes

    matrices, variances, slopes = evaluated([torch.stack([raw + s for s in SHIFTS]) for raw in raws])
    assert matrices.shape[:-2] == variances.shape[:-1] == (len(SHIFTS),)
    for i, shift in enumerate(SHIFTS):
        matrix, diagonal, slope = evaluated([raw + shift for raw in raws])
        assert_equal(matrices[i], matrix)
        assert_equal(variances[i], diagonal)
        for of_batch, alone in zip(slopes, slope, strict=True):
            assert_equal(of_batch[i], alone, 1e-11)


@crossed(CASES)
def test_batch_in_one_hyperparameter_only(case: Case):
    kernel, x = case.make(), rows(5, case.columns)
    raws = raw_values(kernel)
    for i, raw in enumerate(raws):
        batched = torch.stack([raw + s for s in SHIFTS])
        store(kernel, [*raws[:i], batched, *raws[i + 1 :]])
        matrix, diagonal = covariance(kernel, x), variance(kernel, x)
        assert_equal(diagonal.expand(3, 5), matrix.expand(3, 5, 5).diagonal(dim1=-2, dim2=-1))
