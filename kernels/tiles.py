r"""Tiles of a symmetric covariance matrix that stay in cache, each used for its transpose too.

With the rows in blocks :math:`I_1, I_2, \dots`, only tiles :math:`K_{IJ}` with :math:`I \le J` are evaluated;
each serves twice, in a product and in a derivative:

.. math::

    (K V)_I \mathrel{+}= K_{IJ} V_J, \quad (K V)_J \mathrel{+}= K_{IJ}^\top V_I, \qquad
    \partial_\theta \sum_s u_s^\top K v_s
        \mathrel{+}= \langle U_I V_J^\top + V_I U_J^\top, \; \partial_\theta K_{IJ} \rangle .
"""

import copy
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import gpytorch
import torch
from torch import Tensor

from nonparam.errors import InputError
from nonparam.kernels.evaluate import covariance, variance

__all__ = ["Place", "Tile", "Tiles", "checked", "deal", "frozen", "grid", "own_parameter", "strips_of"]

Tile = tuple[int, int]
TILES: dict[str, Tile] = {
    "cpu": (256, 4096),  # the fastest or nearly so of 128 to 1024 rows, 512 to n columns, either precision
    "cuda": (8192, 8192),  # by memory only: 256 MB in float32
}


class Place(NamedTuple):
    """Rows and columns of a tile, and those columns whose transposes are not evaluated."""

    rows: slice
    columns: slice
    beyond: slice

    def transposed(self, values: Tensor) -> Tensor:
        """Return the columns beyond of the tile's values, or of their weights."""
        return values[:, self.beyond.start - self.columns.start :]

    @property
    def is_first(self) -> bool:
        """Whether the tile begins with the square of its own rows."""
        return bool(self.rows.start == self.columns.start)


class Tiles:
    r"""The strips of a covariance matrix of ``x`` with itself that one worker has, from the diagonal on.

    The matrix is the sum of what all workers have, with its transpose; products and derivatives add up.

    Args:
        kernel: ours or GPyTorch's, at one value of its hyperparameters; later changes do not reach a tile.
        x: ``(n, d)``, all rows.
        tile: rows and columns of the pieces in which the matrix is evaluated, at least as wide as high; a
            product needs the memory of a few. By default what suits the device.
        strips: rows that this worker has, each at most as high as a tile; all by default.
        keep: whether the tiles are stored, half the matrix.

    Raises:
        InputError: hyperparameters of a batch of models, a tile without rows or columns, or columns that
            do not suit the kernel.

    Examples:
        >>> from nonparam.kernels import RBF
        >>> x, ones = torch.tensor([[0.0], [1.0], [2.0]]), torch.ones(1, 3)
        >>> Tiles(2.0 * RBF(1.0), x).product(ones)
        tensor([[3.4837, 4.4261, 3.4837]], dtype=torch.float64)
        >>> some = [Tiles(2.0 * RBF(1.0), x, tile=(1, 3), strips=[slice(i, i + 1)]) for i in range(3)]
        >>> sum(part.product(ones) for part in some)
        tensor([[3.4837, 4.4261, 3.4837]], dtype=torch.float64)
    """

    def __init__(
        self,
        kernel: gpytorch.kernels.Kernel,
        x: Tensor,
        *,
        tile: Tile | None = None,
        strips: Sequence[slice] | None = None,
        keep: bool = False,
    ) -> None:
        self.x = x.detach()
        self.tile = checked(tile, x)
        self.strips = strips_of(len(x), self.tile[0]) if strips is None else strips
        self._kernel = frozen(kernel, x)
        self._parameters: list[tuple[Tensor, Tensor]] = list(
            zip(kernel.parameters(), self._kernel.parameters(), strict=True)
        )
        with torch.no_grad():
            self.variance = variance(self._kernel, self.x)
            if self.variance.ndim != 1:
                raise InputError(
                    f"the kernel has hyperparameters of a batch of models, {self.variance.shape[:-1]}: "
                    "an operator takes one model; try one operator for each"
                )
            self._kept = list(self._evaluated()) if keep else None

    @torch.no_grad()
    def product(self, across: Tensor) -> Tensor:
        """Return what these strips add to a product with the matrix, in float64.

        Args:
            across: ``(..., k, n)``: BLAS is two to four times as fast with a few long rows as with columns.
        """
        product = torch.zeros_like(across, dtype=torch.float64)  # a long sum in float32 loses four digits
        for place, values in self._values():
            product[..., place.rows] += across[..., place.columns] @ values.mT
            product[..., place.beyond] += across[..., place.rows] @ place.transposed(values)
        return product

    @torch.no_grad()
    def rows(self, index: Tensor) -> Tensor:
        """Return rows of the matrix, of any worker, evaluated anew: ``(b, n)`` for ``index (b,)``."""
        found = self.x.new_empty(len(index), len(self.x))
        for some, columns in grid(len(index), len(self.x), self.tile):
            found[some, columns] = covariance(self._kernel, self.x[index[some]], self.x[columns])
        found.scatter_(1, index[:, None], self.variance[index, None])
        return found

    @torch.no_grad()
    def dense(self) -> Tensor:
        """Return the matrix, ``(n, n)``, of a worker that has all strips."""
        matrix = self.x.new_empty(len(self.x), len(self.x))
        for place, values in self._values():
            matrix[place.rows, place.columns] = values
            matrix[place.beyond, place.rows] = place.transposed(values).mT
        return matrix

    def gradient(self, left: Tensor, right: Tensor, parameters: Sequence[Tensor]) -> list[Tensor]:
        r"""Return what these strips add to the derivative of :math:`\sum_s u_s^\top K v_s`, in float64.

        Args:
            left: ``u``, ``(n, s)``.
            right: ``v``, ``(n, s)``.
            parameters: of the kernel that was given.

        Raises:
            InputError: something that is no parameter of the kernel.
        """
        own = [own_parameter(self._parameters, parameter) for parameter in parameters]
        sums = [torch.zeros_like(parameter, dtype=torch.float64) for parameter in own]
        with torch.enable_grad():
            for values, weights in self._weighted(left, right) if own else ():
                if values.requires_grad:
                    slopes = torch.autograd.grad(values, own, weights, materialize_grads=True)
                    for total, slope in zip(sums, slopes, strict=True):
                        total.add_(slope)
        return sums

    def _places(self) -> Iterator[Place]:
        """Yield the places that cover the strips from the diagonal on."""
        n, width = len(self.x), max(self.tile)
        for rows in self.strips:
            for left in range(rows.start, n, width):
                columns = slice(left, min(left + width, n))
                yield Place(rows, columns, slice(max(left, rows.stop), columns.stop))

    def _evaluated(self) -> Iterator[tuple[Place, Tensor]]:
        """Yield each tile, with the variances on the diagonal of the matrix."""
        for place in self._places():
            values = covariance(self._kernel, self.x[place.rows], self.x[place.columns]).contiguous()
            if place.is_first:
                torch.diagonal(values).copy_(self.variance[place.rows])
            yield place, values

    def _values(self) -> Iterator[tuple[Place, Tensor]]:
        return self._evaluated() if self._kept is None else iter(self._kept)

    def _weighted(self, left: Tensor, right: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield graphs of the variances and of each tile, with the weights of their entries."""
        mine = torch.cat([torch.arange(0), *(torch.arange(rows.start, rows.stop) for rows in self.strips)])
        mine = mine.to(self.x.device)
        yield variance(self._kernel, self.x[mine]), (left[mine] * right[mine]).sum(-1)
        tall, wide = torch.cat([left, right], -1), torch.cat([right, left], -1)
        for place in self._places():
            weights = tall[place.rows] @ wide[place.columns].mT
            if place.is_first:
                square = weights[:, : place.beyond.start - place.columns.start]
                torch.diagonal(square.mul_(0.5)).zero_()
            yield covariance(self._kernel, self.x[place.rows], self.x[place.columns]), weights


def own_parameter(pairs: Sequence[tuple[Tensor, Tensor]], parameter: Tensor) -> Tensor:
    """Return the copy of a parameter that an operator was made at.

    Args:
        pairs: parameters that were given, each with its copy.
        parameter: one of those given.

    Raises:
        InputError: something that is no parameter of the kernel.
    """
    for given, own in pairs:
        if given is parameter:
            return own
    raise InputError(
        f"got a tensor of shape {tuple(parameter.shape)} that is no parameter of the kernel: expected "
        "some of those that it had when the operator was made"
    )


def frozen(kernel: gpytorch.kernels.Kernel, x: Tensor) -> gpytorch.kernels.Kernel:
    """Return a copy of the kernel in the precision of ``x``, on its device."""
    return copy.deepcopy(kernel).to(x).requires_grad_(True)


def checked(tile: Tile | None, x: Tensor) -> Tile:
    """Return the tile, by default what suits the device of ``x``; raise `InputError` for an empty one."""
    if tile is None:
        return TILES["cuda" if x.is_cuda else "cpu"]
    if min(tile) < 1:
        raise InputError(f"a tile must have at least one row and one column, got {tile!r}")
    return tile


def strips_of(n: int, height: int) -> list[slice]:
    """Return the strips of at most ``height`` rows that make up ``n`` rows.

    Examples:
        >>> strips_of(5, 2)
        [slice(0, 2, None), slice(2, 4, None), slice(4, 5, None)]
    """
    return [slice(start, min(start + height, n)) for start in range(0, n, height)]


def deal(strips: Sequence[slice], workers: int) -> list[list[slice]]:
    """Deal strips out to and fro: the first ones are the longest, and all workers get even work.

    Args:
        strips: in the order of the rows, from the diagonal on.
        workers: how many share them.

    Returns:
        The strips of each worker.

    Examples:
        >>> [[strip.start for strip in hand] for hand in deal(strips_of(8, 1), 2)]
        [[0, 3, 4, 7], [1, 2, 5, 6]]
    """
    hands: list[list[slice]] = [[] for _ in range(workers)]
    order = [*range(workers), *reversed(range(workers))]
    for i, strip in enumerate(strips):
        hands[order[i % len(order)]].append(strip)
    return hands


def grid(m: int, n: int, tile: Tile) -> Iterator[tuple[slice, slice]]:
    """Yield the rows and columns of tiles that cover an ``m x n`` matrix, wider where it has few rows."""
    height = min(tile[0], max(m, 1))
    width = tile[0] * tile[1] // height
    for start in range(0, m, height):
        for left in range(0, n, width):
            yield slice(start, min(start + height, m)), slice(left, min(left + width, n))
