"""What the tests of kernels share: inputs, hyperparameters as a list, gradients, a strict comparison."""

import gpytorch
import numpy as np
import pytest
import torch
from cases import CASES, Case
from torch import Tensor

from nonparam.kernels import Kernel, covariance

ONE_COLUMN = [case for case in CASES if case.columns == 1]
SHIFTS = (0.0, 0.2, -0.3)  # of the raw hyperparameters of a batch


def crossed(cases: list[Case]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", cases, ids=lambda case: case.name)


def rows(n: int, columns: int, seed: int = 0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).uniform(0.0, 2.0, (n, columns)))


def rows_with_twins(columns: int) -> Tensor:
    """Eleven rows, two of them copies of others."""
    x = rows(9, columns)
    return torch.cat([x, x[2:3], x[7:8]])


def grid(n: int = 24) -> Tensor:
    return (torch.arange(n, dtype=torch.float64) / 12.0)[:, None]


def dense(kernel: Kernel, x: Tensor) -> Tensor:
    """The covariance at the same observations in a mixed order, where no regular grid can be seen."""
    order = torch.from_numpy(np.random.default_rng(1).permutation(len(x)))
    back = torch.argsort(order)
    return covariance(kernel, x[order])[..., back, :][..., back]


def leaves(kernel: gpytorch.kernels.Kernel) -> list[tuple[torch.nn.Module, str]]:
    return [(part, name) for part in kernel.modules() for name in part._parameters]


def raw_values(kernel: gpytorch.kernels.Kernel) -> list[Tensor]:
    return [part._parameters[name].detach().clone() for part, name in leaves(kernel)]


def store(kernel: gpytorch.kernels.Kernel, raws: list[Tensor]) -> gpytorch.kernels.Kernel:
    for (part, name), raw in zip(leaves(kernel), raws, strict=True):
        part._parameters[name] = raw
    return kernel


def gradients(matrix: Tensor, raws: list[Tensor]) -> list[Tensor]:
    """Of a sum with fixed uneven weights; zeros where nothing depends on a raw value."""
    weights = rows(matrix.shape[-2], matrix.shape[-1], seed=2) - 0.7
    return list(torch.autograd.grad((matrix * weights).sum(), raws, materialize_grads=True))


def assert_equal(actual: Tensor, expected: object, tolerance: float = 1e-12) -> None:
    torch.testing.assert_close(
        actual.detach(), torch.as_tensor(expected).detach(), rtol=tolerance, atol=tolerance
    )
