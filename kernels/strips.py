"""Covariance matrices in strips of rows that stay in cache, and the way back to the hyperparameters."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import gpytorch
import torch
from torch import Tensor

from nonparam.kernels.evaluate import covariance, is_grid, variance

__all__ = ["WHOLE", "Assembled", "assemble"]

STRIP = 256  # rows
WHOLE = 512  # up to here a matrix fits the cache as it is


@dataclass(frozen=True)
class Assembled:
    """A covariance matrix, and the graphs by which its entries depend on the hyperparameters.

    Attributes:
        matrix: ``(n, n)``, in memory of its own, without a graph.
        pieces: rectangles of it with their graphs, which cover its upper triangle; none without gradients.
        starts: the row at which each piece begins.
        diagonal: ``(n,)``, its graph; ``None`` where a single piece holds all.
    """

    matrix: Tensor
    pieces: Sequence[Tensor]
    starts: Sequence[int]
    diagonal: Tensor | None

    def pull(self, parameters: Sequence[Tensor], gradient: Tensor) -> list[Tensor]:
        r"""Return the derivative of a function of the matrix in parameters of the kernel.

        .. math:: \partial L / \partial \theta = \sum_{i \le j} G_{ij} \, \partial k_{ij} / \partial \theta

        Args:
            parameters: of the kernel.
            gradient: ``(n, n)``, gathered on the upper triangle, as `evidence` returns it; overwritten.

        Returns:
            A derivative for each parameter.
        """
        if self.diagonal is None and self.pieces[0].requires_grad:
            whole = gradient.triu_()
            return list(torch.autograd.grad(self.pieces[0], parameters, whole, materialize_grads=True))
        sums = [torch.zeros_like(parameter) for parameter in parameters]
        for values, weights in self._weighted(gradient):
            if values.requires_grad:
                slopes = torch.autograd.grad(values, parameters, weights, allow_unused=True)
                for total, slope in zip(sums, slopes, strict=True):
                    if slope is not None:
                        total.add_(slope)
        return sums

    def _weighted(self, gradient: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        if self.diagonal is None:
            return
        yield self.diagonal, torch.diagonal(gradient).clone()
        for start, piece in zip(self.starts, self.pieces, strict=True):
            weights = gradient[start : start + len(piece), start:]
            weights[:, : len(piece)].triu_(1)
            yield piece, weights


def assemble(kernel: gpytorch.kernels.Kernel, x: Tensor, out: Tensor | None = None) -> Assembled:
    """Evaluate the covariance matrix of the rows with themselves, in pieces that fit the cache.

    Args:
        kernel: at one value of its hyperparameters.
        x: ``(n, d)``.
        out: ``(n, n)``, the memory to write the matrix to; its own by default.

    Returns:
        The matrix; its graphs are kept where gradients are enabled.

    Examples:
        >>> from nonparam.kernels import RBF
        >>> k = 2.0 * RBF(1.0)
        >>> found = assemble(k, torch.zeros(2, 1, dtype=torch.float64))
        >>> found.matrix
        tensor([[2., 2.],
                [2., 2.]], dtype=torch.float64)
        >>> found.pull([k.raw_outputscale], torch.eye(2, dtype=torch.float64))
        [tensor(4., dtype=torch.float64)]
    """
    n = len(x)
    matrix = x.new_empty(n, n) if out is None else out
    if n <= WHOLE or is_grid(x):
        whole = covariance(kernel, x)
        return Assembled(matrix.copy_(whole.detach()), [whole], [0], None)
    pieces, starts = [], []
    for start in range(0, n, STRIP):
        stop = min(start + STRIP, n)
        piece = covariance(kernel, x[start:stop], x[start:])
        matrix[start:stop, start:] = piece.detach()
        matrix[stop:, start:stop] = piece.detach()[:, stop - start :].mT
        if piece.requires_grad:
            pieces.append(piece)
            starts.append(start)
    diagonal = variance(kernel, x)
    torch.diagonal(matrix).copy_(diagonal.detach())
    return Assembled(matrix, pieces, starts, diagonal)
