"""The one place where a covariance function meets rows of data."""

from functools import reduce
from typing import Any

import gpytorch
import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from nonparam.errors import InputError
from nonparam.kernels.base import Kernel

__all__ = ["covariance", "is_grid", "spread", "variance"]

_Composite = gpytorch.kernels.AdditiveKernel | gpytorch.kernels.ProductKernel | gpytorch.kernels.ScaleKernel
SPACING_TOLERANCE = 1e-10  # of a place, relative to the span: below it a grid is regular


def covariance(kernel: gpytorch.kernels.Kernel, x1: Tensor, x2: Tensor | None = None) -> Tensor:
    """Return the covariance matrix of a kernel, ours or GPyTorch's, as a dense tensor.

    On one regularly spaced column the stationary terms are functions of the lag: they are evaluated at
    ``n`` lags and spread along the diagonals.

    Args:
        kernel: the covariance function.
        x1: ``(n, d)``.
        x2: ``(m, d)``; ``None`` means the same observations as ``x1``, white noise included.

    Returns:
        ``(*batch, n, m)``.

    Raises:
        InputError: ``active_dims`` that ``X`` lacks, or a hyperparameter of another number of columns.

    Examples:
        >>> from nonparam.kernels import RBF
        >>> x = torch.tensor([[0.0], [1.0]], dtype=torch.float64)
        >>> covariance(RBF(1.0), x).detach()
        tensor([[1.0000, 0.6065],
                [0.6065, 1.0000]], dtype=torch.float64)
    """
    if not isinstance(kernel, Kernel):
        return _foreign(kernel, x1, x1 if x2 is None else x2, diag=False)
    x1, x2 = _active(kernel, x1), None if x2 is None else _active(kernel, x2)
    if x2 is None and is_grid(x1):
        return _on_grid(kernel, x1)
    return kernel.matrix(x1, x2)


def variance(kernel: gpytorch.kernels.Kernel, x: Tensor) -> Tensor:
    """Return the variance at each row, the diagonal of `covariance`.

    Args:
        kernel: the covariance function.
        x: ``(n, d)``.

    Returns:
        ``(*batch, n)``.

    Examples:
        >>> from nonparam.kernels import RBF
        >>> variance(2.0 * RBF(1.0), torch.zeros(3, 1, dtype=torch.float64)).detach()
        tensor([2., 2., 2.], dtype=torch.float64)
    """
    if not isinstance(kernel, Kernel):
        return _foreign(kernel, x, x, diag=True)
    return kernel.diagonal(_active(kernel, x))


def _active(kernel: Kernel, x: Tensor) -> Tensor:
    if kernel.active_dims is not None:
        if int(kernel.active_dims.amax()) >= x.shape[-1]:
            wanted = kernel.active_dims.tolist()
            raise InputError(f"active_dims are {wanted}, but X has only {x.shape[-1]} columns")
        x = x.index_select(-1, kernel.active_dims)
    kernel.check_columns(x.shape[-1])
    return x


def _foreign(kernel: gpytorch.kernels.Kernel, x1: Tensor, x2: Tensor, diag: bool) -> Tensor:
    """Evaluate a kernel of GPyTorch; what is composed part by part, since its lazy sums factorise terms."""
    if not isinstance(kernel, _Composite):
        result = kernel(x1, x2, diag=diag)
        dense: Tensor = result if isinstance(result, Tensor) else result.to_dense()
        return dense
    if isinstance(kernel, gpytorch.kernels.ScaleKernel):  # its active_dims are those of what it scales
        scale = kernel.outputscale[..., None] if diag else kernel.outputscale[..., None, None]
        scaled: Tensor = scale * _foreign(kernel.base_kernel, x1, x2, diag)
        return scaled
    if kernel.active_dims is not None:
        x1, x2 = x1.index_select(-1, kernel.active_dims), x2.index_select(-1, kernel.active_dims)
    combine = torch.add if isinstance(kernel, gpytorch.kernels.AdditiveKernel) else torch.mul
    return reduce(combine, (_foreign(part, x1, x2, diag) for part in kernel.kernels))


def is_grid(x: Tensor) -> bool:
    """Return whether the rows are one regularly spaced column, without a gradient of its own."""
    if x.ndim != 2 or x.shape[1] != 1 or len(x) < 3 or x.requires_grad:
        return False  # lags do not carry the gradient in every row
    column = x[:, 0].cpu().numpy()
    span = column[-1] - column[0]
    even = np.linspace(column[0], column[-1], len(column))
    return bool(span > 0.0 and np.abs(column - even).max() <= SPACING_TOLERANCE * span)


def _on_grid(kernel: Kernel, x: Tensor) -> Tensor:
    """Sum the stationary terms' lag functions first, then spread them once."""
    terms = kernel.terms()
    lagged = [k for k in terms if isinstance(k, Kernel) and k.is_stationary]
    if not lagged:
        return kernel.matrix(x)
    column = sum(
        term.matrix(x[:1], x) if term is kernel else covariance(term, x[:1], x)  # x has the kernel's columns
        for term in lagged
    )
    total: Tensor = _Toeplitz.apply(column)
    for term in terms:
        if not any(term is k for k in lagged):
            total = total + covariance(term, x)
    return total


def spread(lags: Tensor) -> Tensor:
    """Return the symmetric Toeplitz matrices whose first rows are ``lags (..., n)``: ``(..., n, n)``.

    Examples:
        >>> spread(torch.tensor([3.0, 2.0, 1.0]))
        tensor([[3., 2., 1.],
                [2., 3., 2.],
                [1., 2., 3.]])
    """
    both = torch.cat([lags.flip(-1), lags[..., 1:]], -1)
    windows = both.unfold(-1, lags.shape[-1], 1)  # row i holds lags n-1-i, ...: upside down
    return windows.flip(-2)


class _Toeplitz(torch.autograd.Function):
    """Spread ``(..., 1, n)`` lags over a symmetric ``(..., n, n)`` matrix."""

    @staticmethod
    def forward(ctx: Any, lags: Tensor) -> Tensor:
        return spread(lags.squeeze(-2))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        n, batch = gradient.shape[-1], gradient.shape[:-2]
        skewed = gradient.new_zeros((*batch, n, 2 * n - 1))
        strides = (*skewed.stride()[:-2], 2 * n - 2, 1)  # each row one to the left: diagonals stand upright
        skewed.as_strided(gradient.shape, strides, n - 1).copy_(gradient)
        diagonals = skewed.sum(-2)  # of lags -(n-1), ..., n-1
        lags = diagonals[..., n - 1 :].clone()
        lags[..., 1:] += diagonals[..., : n - 1].flip(-1)
        return lags.unsqueeze(-2)
