"""Covariance matrices in strips of rows that stay in cache, and their gradients without a graph of n x n.

What a strip needs is recomputed for the gradient: evaluating a kernel twice in cache is faster than writing
and reading every intermediate matrix once.
"""

from collections.abc import Iterator, Sequence

import gpytorch
import torch
from torch import Tensor

from nonparam.kernels.evaluate import covariance, is_grid, variance

__all__ = ["WHOLE", "fill", "pull"]

STRIP = 256  # rows
WHOLE = 512  # up to here a matrix fits the cache as it is


def _strips(n: int) -> Iterator[slice]:
    return (slice(start, min(start + STRIP, n)) for start in range(0, n, STRIP))


@torch.no_grad()
def fill(kernel: gpytorch.kernels.Kernel, x: Tensor) -> Tensor:
    """Return the covariance matrix of the rows with themselves, in memory of its own.

    Args:
        kernel: at one value of its hyperparameters.
        x: ``(n, d)``.

    Returns:
        ``(n, n)``, contiguous.

    Examples:
        >>> from nonparam.kernels import RBF
        >>> fill(RBF(1.0), torch.zeros(2, 1, dtype=torch.float64))
        tensor([[1., 1.],
                [1., 1.]], dtype=torch.float64)
    """
    n = len(x)
    if n <= WHOLE or is_grid(x):
        return covariance(kernel, x).clone(memory_format=torch.contiguous_format)
    matrix = x.new_empty(n, n)
    for rows in _strips(n):
        strip = covariance(kernel, x[rows], x[rows.start :])
        matrix[rows, rows.start :] = strip
        matrix[rows.stop :, rows] = strip[:, rows.stop - rows.start :].mT
    torch.diagonal(matrix).copy_(variance(kernel, x))
    return matrix


def pull(
    kernel: gpytorch.kernels.Kernel, x: Tensor, parameters: Sequence[Tensor], gradient: Tensor
) -> list[Tensor]:
    r"""Return the derivative of a function of the covariance matrix in the kernel's parameters.

    .. math:: \partial L / \partial \theta = \sum_{i \le j} G_{ij} \, \partial k(x_i, x_j) / \partial \theta

    Args:
        kernel: at one value of its hyperparameters.
        x: ``(n, d)``.
        parameters: of the kernel.
        gradient: ``(n, n)``, gathered on the upper triangle, as `evidence` returns it; 0 below.

    Returns:
        A derivative for each parameter.

    Examples:
        >>> from nonparam.kernels import RBF
        >>> k = 2.0 * RBF(1.0)
        >>> pull(k, torch.zeros(1, 1, dtype=torch.float64), [k.raw_outputscale], torch.ones(1, 1).double())
        [tensor(2., dtype=torch.float64)]
    """
    sums = [torch.zeros_like(parameter) for parameter in parameters]
    with torch.enable_grad():
        if is_grid(x):
            _add(sums, covariance(kernel, x), parameters, gradient)
            return sums
        _add(sums, variance(kernel, x), parameters, torch.diagonal(gradient))
        for rows in _strips(len(x)):
            strip = covariance(kernel, x[rows], x[rows.start :])
            weights = gradient[rows, rows.start :].clone()
            torch.diagonal(weights).zero_()
            _add(sums, strip, parameters, weights)
    return sums


def _add(sums: list[Tensor], values: Tensor, parameters: Sequence[Tensor], weights: Tensor) -> None:
    if not values.requires_grad:
        return
    slopes = torch.autograd.grad(values, parameters, weights, allow_unused=True)
    for total, slope in zip(sums, slopes, strict=True):
        if slope is not None:
            total.add_(slope)
