"""The covariance matrix of many rows as an operator: products and gradients in tiles that stay in cache."""

from collections.abc import Callable, Sequence

import gpytorch
import torch
from linear_operator import LinearOperator
from torch import Tensor

from nonparam.kernels.engine import tiles_for
from nonparam.kernels.evaluate import covariance
from nonparam.kernels.tiles import Tile, checked, frozen, grid

__all__ = ["KernelOperator", "cross_product"]


class KernelOperator(LinearOperator):  # type: ignore[misc]  # linear_operator is untyped
    r"""The covariance matrix ``K`` of the rows of ``x`` with themselves, :math:`K_{ij} = k(x_i, x_j)`.

    It stands for the kernel at the hyperparameters of this moment, in the precision of ``x`` and on its
    device; later changes of the kernel do not reach it. Products carry a graph to the vectors; the way back
    to the hyperparameters is `gradient`. White noise in the kernel counts on the diagonal only: rows are
    the same observations where their numbers are the same.

    Args:
        kernel: ours or GPyTorch's, at one value of its hyperparameters.
        x: ``(n, d)``.
        tile: rows and columns of the pieces in which the matrix is evaluated, at least as wide as high; a
            product needs the memory of a few. By default what suits the device.
        keep: whether the tiles are stored, half the matrix, so that a product evaluates nothing.

    Raises:
        InputError: hyperparameters of a batch of models, a tile without rows or columns, or columns that
            do not suit the kernel.

    Source: Wang et al. (2019), Exact Gaussian processes on a million data points, section 3, for products
    without the matrix; here each tile serves for its transpose too.

    Examples:
        >>> from nonparam.kernels import RBF
        >>> k = KernelOperator(2.0 * RBF(1.0), torch.tensor([[0.0], [1.0], [2.0]]))
        >>> k @ torch.ones(3, 1)
        tensor([[3.4837],
                [4.4261],
                [3.4837]])
        >>> k.diagonal(), k.rows(torch.tensor([2]))
        (tensor([2., 2., 2.]), tensor([[0.2707, 1.2131, 2.0000]]))
    """

    def __init__(
        self, kernel: gpytorch.kernels.Kernel, x: Tensor, *, tile: Tile | None = None, keep: bool = False
    ) -> None:
        super().__init__(kernel=kernel, x=x, tile=tile, keep=keep)
        self.x = x.detach()
        self._tiles = tiles_for(kernel, x, tile=tile, keep=keep)

    # the protocol of a symmetric operator ----------------------------------------------------

    @property
    def dtype(self) -> torch.dtype:
        """The precision of its products, that of ``x``."""
        return self.x.dtype

    @property
    def device(self) -> torch.device:
        """Where its products are computed."""
        return self.x.device

    def rows(self, index: Tensor) -> Tensor:
        """Return the rows with these numbers, ``(b, n)`` for ``index (b,)``."""
        return self._tiles.rows(index)

    def to_dense(self) -> Tensor:
        """Return the matrix, ``(n, n)``."""
        return self._tiles.dense()

    def gradient(self, left: Tensor, right: Tensor, parameters: Sequence[Tensor]) -> list[Tensor]:
        r"""Return the derivative of :math:`\sum_s u_s^\top K v_s` in parameters of the kernel.

        One pass over the tiles serves all pairs of columns; memory grows with a tile, not with ``n^2``.

        Args:
            left: ``u``, ``(n, s)``.
            right: ``v``, ``(n, s)``; a factor of a pair goes into either.
            parameters: of the kernel that the operator was made of.

        Returns:
            A derivative for each parameter, in its shape and precision.

        Raises:
            InputError: something that is no parameter of the kernel.

        Examples:
            >>> from nonparam.kernels import RBF
            >>> kernel = 2.0 * RBF(1.0)
            >>> k = KernelOperator(kernel, torch.zeros(3, 1))
            >>> k.gradient(torch.ones(3, 1), torch.ones(3, 1), [kernel.raw_outputscale])
            [tensor(18., dtype=torch.float64)]
        """
        sums = self._tiles.gradient(left, right, parameters)
        return [total.to(parameter) for total, parameter in zip(sums, parameters, strict=True)]

    # what linear_operator asks for -----------------------------------------------------------

    def _matmul(self, rhs: Tensor) -> Tensor:
        return self._tiles.product(rhs.mT.contiguous()).mT.to(rhs)

    def _size(self) -> torch.Size:
        return torch.Size((len(self.x), len(self.x)))

    def _transpose_nonbatch(self) -> "KernelOperator":
        return self

    def _diagonal(self) -> Tensor:
        return self._tiles.variance.clone()

    def representation(self) -> tuple[Tensor, ...]:
        """Return no tensors: products have no graph to the hyperparameters."""
        return ()

    def representation_tree(self) -> Callable[[], "KernelOperator"]:
        """Return what makes the operator anew from its representation: it is never copied."""
        return lambda: self


@torch.no_grad()
def cross_product(
    kernel: gpytorch.kernels.Kernel, x1: Tensor, x2: Tensor, v: Tensor, *, tile: Tile | None = None
) -> Tensor:
    """Return the covariance between the rows of ``x1`` and ``x2`` times ``v``, without storing it.

    Args:
        kernel: ours or GPyTorch's.
        x1: ``(m, d)``, where a prediction is asked for.
        x2: ``(n, d)``, other observations: white noise in the kernel does not count.
        v: ``(n, k)``, in the precision and on the device of ``x2``.
        tile: rows and columns of the pieces, as for `KernelOperator`.

    Returns:
        ``(m, k)``, in the precision of ``x2``.

    Raises:
        InputError: a tile without rows or columns, or columns that do not suit the kernel.

    Examples:
        >>> from nonparam.kernels import RBF
        >>> cross_product(RBF(1.0), torch.tensor([[1.0]]), torch.tensor([[0.0], [1.0]]), torch.eye(2))
        tensor([[0.6065, 1.0000]])
    """
    own = frozen(kernel, x2)
    product = v.new_zeros(len(x1), v.shape[-1])
    for rows, columns in grid(len(x1), len(x2), checked(tile, x2)):
        product[rows] += covariance(own, x1[rows], x2[columns]) @ v[columns]
    return product
