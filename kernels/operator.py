r"""The covariance matrix of many rows as an operator: products and gradients in tiles that stay in cache.

With the rows in blocks :math:`I_1, I_2, \dots`, only tiles :math:`K_{IJ}` with :math:`I \le J` are evaluated;
each serves twice, in a product and in a derivative:

.. math::

    (K V)_I \mathrel{+}= K_{IJ} V_J, \quad (K V)_J \mathrel{+}= K_{IJ}^\top V_I, \qquad
    \partial_\theta \sum_s u_s^\top K v_s
        \mathrel{+}= \langle U_I V_J^\top + V_I U_J^\top, \; \partial_\theta K_{IJ} \rangle .
"""

import copy
from collections.abc import Callable, Iterator, Sequence

import gpytorch
import torch
from linear_operator import LinearOperator
from torch import Tensor

from nonparam.errors import InputError
from nonparam.kernels.evaluate import covariance, variance

__all__ = ["KernelOperator", "cross_product"]

Tile = tuple[int, int]
SUMMED = 512  # terms of a sum in the precision of the rows; what is longer is summed in float64
TILES: dict[str, Tile] = {
    "cpu": (256, 4096),  # the fastest or nearly so of 128 to 1024 rows, 512 to n columns, either precision
    "cuda": (8192, 8192),  # by memory only: 256 MB in float32
}


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
        keep: whether the matrix is stored, ``n^2`` numbers, so that a product is one matrix multiplication.

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
        self._kernel = _frozen(kernel, x)
        self._parameters: list[tuple[Tensor, Tensor]] = list(
            zip(kernel.parameters(), self._kernel.parameters(), strict=True)
        )
        self._tile = _checked(tile, x)
        with torch.no_grad():
            self._variance = variance(self._kernel, self.x)
            if self._variance.ndim != 1:
                raise InputError(
                    f"the kernel has hyperparameters of a batch of models, {self._variance.shape[:-1]}: "
                    "an operator takes one model; try one operator for each"
                )
            self._matrix = self._assembled() if keep else None

    # the protocol of a symmetric operator ----------------------------------------------------

    @property
    def dtype(self) -> torch.dtype:
        """The precision of its products, that of ``x``."""
        return self.x.dtype

    @property
    def device(self) -> torch.device:
        """Where its products are computed."""
        return self.x.device

    @torch.no_grad()
    def rows(self, index: Tensor) -> Tensor:
        """Return the rows with these numbers, ``(b, n)`` for ``index (b,)``."""
        if self._matrix is not None:
            return self._matrix[index]
        found = self.x.new_empty(len(index), len(self.x))
        for some, columns in _grid(len(index), len(self.x), self._tile):
            found[some, columns] = covariance(self._kernel, self.x[index[some]], self.x[columns])
        found.scatter_(1, index[:, None], self._variance[index, None])
        return found

    @torch.no_grad()
    def to_dense(self) -> Tensor:
        """Return the matrix, ``(n, n)``: the one that is kept, or a new one."""
        return self._assembled() if self._matrix is None else self._matrix

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
        own = [self._own(parameter) for parameter in parameters]
        sums = [torch.zeros_like(parameter, dtype=torch.float64) for parameter in own]
        with torch.enable_grad():
            for values, weights in self._weighted(left, right) if own else ():
                if values.requires_grad:
                    slopes = torch.autograd.grad(values, own, weights, materialize_grads=True)
                    for total, slope in zip(sums, slopes, strict=True):
                        total.add_(slope)
        return [total.to(parameter) for total, parameter in zip(sums, parameters, strict=True)]

    # in tiles --------------------------------------------------------------------------------

    def _own(self, parameter: Tensor) -> Tensor:
        """Return the copy of a parameter that the tiles are evaluated at."""
        for given, own in self._parameters:
            if given is parameter:
                return own
        raise InputError(
            f"got a tensor of shape {tuple(parameter.shape)} that is no parameter of the kernel: expected "
            "some of those that it had when the operator was made"
        )

    def _places(self) -> Iterator[tuple[slice, slice, slice]]:
        """Yield the rows and columns of each tile that covers the upper triangle, and the columns beyond.

        The first tile of a strip begins with the square of its own rows; the columns beyond that are
        those whose transposes are not evaluated.
        """
        n, (height, width) = len(self.x), self._tile
        for start in range(0, n, height):
            rows = slice(start, min(start + height, n))
            for left in range(start, n, max(width, height)):
                columns = slice(left, min(left + max(width, height), n))
                yield rows, columns, slice(max(left, rows.stop), columns.stop)

    def _values(self, rows: slice, columns: slice) -> Tensor:
        """Return a tile, the variances on its diagonal where it holds some of that of the matrix."""
        values = covariance(self._kernel, self.x[rows], self.x[columns]).contiguous()
        if rows.start == columns.start:
            torch.diagonal(values).copy_(self._variance[rows])
        return values

    def _assembled(self) -> Tensor:
        matrix = self.x.new_empty(self.shape)
        for rows, columns, beyond in self._places():
            values = self._values(rows, columns)
            matrix[rows, columns] = values
            matrix[beyond, rows] = values[:, beyond.start - columns.start :].mT
        return matrix

    def _weighted(self, left: Tensor, right: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield graphs of the variances and of each tile, with the weights of their entries."""
        yield variance(self._kernel, self.x), (left * right).sum(-1)
        tall, wide = torch.cat([left, right], -1), torch.cat([right, left], -1)
        for rows, columns, beyond in self._places():
            weights = tall[rows] @ wide[columns].mT
            if rows.start == columns.start:
                square = weights[:, : beyond.start - columns.start]
                torch.diagonal(square.mul_(0.5)).zero_()
            yield covariance(self._kernel, self.x[rows], self.x[columns]), weights

    # what linear_operator asks for -----------------------------------------------------------

    def _matmul(self, rhs: Tensor) -> Tensor:
        across = rhs.mT.contiguous()  # BLAS is two to four times as fast with a few long rows
        product = torch.zeros_like(across, dtype=torch.float64)  # a long sum in float32 loses four digits
        if self._matrix is not None:
            for strip in _strips(len(self.x)):
                product += across[..., strip] @ self._matrix[strip]
            return product.mT.to(rhs)
        for rows, columns, beyond in self._places():
            values = self._values(rows, columns)
            product[..., rows] += across[..., columns] @ values.mT
            product[..., beyond] += across[..., rows] @ values[:, beyond.start - columns.start :]
        return product.mT.to(rhs)

    def _size(self) -> torch.Size:
        return torch.Size((len(self.x), len(self.x)))

    def _transpose_nonbatch(self) -> "KernelOperator":
        return self

    def _diagonal(self) -> Tensor:
        return self._variance.clone()

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
    own = _frozen(kernel, x2)
    product = v.new_zeros(len(x1), v.shape[-1])
    for rows, columns in _grid(len(x1), len(x2), _checked(tile, x2)):
        product[rows] += covariance(own, x1[rows], x2[columns]) @ v[columns]
    return product


def _frozen(kernel: gpytorch.kernels.Kernel, x: Tensor) -> gpytorch.kernels.Kernel:
    """Return a copy of the kernel in the precision of ``x``, on its device."""
    return copy.deepcopy(kernel).to(x).requires_grad_(True)


def _checked(tile: Tile | None, x: Tensor) -> Tile:
    if tile is None:
        return TILES["cuda" if x.is_cuda else "cpu"]
    if min(tile) < 1:
        raise InputError(f"a tile must have at least one row and one column, got {tile!r}")
    return tile


def _strips(n: int) -> Iterator[slice]:
    for start in range(0, n, SUMMED):
        yield slice(start, start + SUMMED)


def _grid(m: int, n: int, tile: Tile) -> Iterator[tuple[slice, slice]]:
    """Yield the rows and columns of tiles that cover an ``m x n`` matrix, wider where it has few rows."""
    height = min(tile[0], max(m, 1))
    width = tile[0] * tile[1] // height
    for start in range(0, m, height):
        for left in range(0, n, width):
            yield slice(start, min(start + height, m)), slice(left, min(left + width, n))
