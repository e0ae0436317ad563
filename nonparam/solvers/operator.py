"""What a solver knows of a matrix: how to multiply by it, its diagonal, and some of its rows."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

__all__ = ["Dense", "Inverse", "Sandwich", "Shifted", "SymmetricOperator"]


@runtime_checkable
class SymmetricOperator(Protocol):
    """A real symmetric ``n x n`` matrix that need not be in memory."""

    @property
    def shape(self) -> torch.Size:
        """Return ``(n, n)``."""

    @property
    def dtype(self) -> torch.dtype:
        """The precision of its products."""

    @property
    def device(self) -> torch.device:
        """Where its products are computed."""

    def __matmul__(self, v: Tensor) -> Tensor:
        """Return the product with ``v (n, k)``: ``(n, k)``."""

    def diagonal(self) -> Tensor:
        """Return the diagonal, ``(n,)``."""

    def rows(self, index: Tensor) -> Tensor:
        """Return the rows with these numbers, ``(b, n)`` for ``index (b,)``."""


class Inverse(Protocol):
    """What can solve with a symmetric positive definite matrix ``A``."""

    def solve(self, b: Tensor) -> Tensor:
        """Return ``A^-1 b`` for ``b (n, k)``."""

    def log_determinant(self) -> float:
        """Return ``log |A|``."""


@dataclass(frozen=True)
class Dense:
    """A symmetric matrix in memory.

    Attributes:
        matrix: ``(n, n)``.

    Examples:
        >>> a = Dense(torch.tensor([[2.0, 1.0], [1.0, 3.0]]))
        >>> a @ torch.ones(2, 1), a.rows(torch.tensor([1]))
        (tensor([[3.],
                [4.]]), tensor([[1., 3.]]))
    """

    matrix: Tensor

    @property
    def shape(self) -> torch.Size:
        """Return ``(n, n)``."""
        return self.matrix.shape

    @property
    def dtype(self) -> torch.dtype:
        """The precision of the matrix."""
        return self.matrix.dtype

    @property
    def device(self) -> torch.device:
        """Where the matrix is."""
        return self.matrix.device

    def __matmul__(self, v: Tensor) -> Tensor:
        """Return the product with ``v (n, k)``."""
        return self.matrix @ v

    def diagonal(self) -> Tensor:
        """Return the diagonal, ``(n,)``."""
        return torch.diagonal(self.matrix)

    def rows(self, index: Tensor) -> Tensor:
        """Return the rows with these numbers, ``(b, n)``."""
        return self.matrix.index_select(0, index)


@dataclass(frozen=True)
class Shifted:
    """A symmetric operator plus a diagonal: a covariance of functions with the variances of the noise.

    Attributes:
        operator: ``K``.
        shift: ``(n,)``, added to its diagonal.

    Examples:
        >>> a = Shifted(Dense(torch.eye(2)), torch.tensor([1.0, 2.0]))
        >>> a.diagonal(), a.rows(torch.tensor([1]))
        (tensor([2., 3.]), tensor([[0., 3.]]))
    """

    operator: SymmetricOperator
    shift: Tensor

    @property
    def shape(self) -> torch.Size:
        """Return ``(n, n)``."""
        return self.operator.shape

    @property
    def dtype(self) -> torch.dtype:
        """The precision of its products."""
        return self.operator.dtype

    @property
    def device(self) -> torch.device:
        """Where its products are computed."""
        return self.operator.device

    def __matmul__(self, v: Tensor) -> Tensor:
        """Return the product with ``v (n, k)``."""
        return (self.operator @ v).addcmul_(self.shift.to(v)[:, None], v)

    def diagonal(self) -> Tensor:
        """Return the diagonal, ``(n,)``."""
        return self.operator.diagonal() + self.shift.to(self.dtype)

    def rows(self, index: Tensor) -> Tensor:
        """Return the rows with these numbers, ``(b, n)``."""
        found = self.operator.rows(index).clone()
        found[torch.arange(len(index), device=found.device), index] += self.shift.to(found)[index]
        return found


@dataclass(frozen=True)
class Sandwich:
    r"""A covariance of functions at rows between two symmetric matrices of small blocks, one for each row.

    .. math:: S = L \, (K \otimes I_c) \, L, \quad L = \mathrm{diag}(L_1, \dots, L_n)

    Of ``c`` independent functions with the same covariance; those of a row stand side by side.

    Attributes:
        operator: ``K``, ``n x n``.
        blocks: ``L``, ``(n, c, c)``.

    Examples:
        >>> s = Sandwich(Dense(torch.tensor([[2.0, 1.0], [1.0, 3.0]])), torch.tensor([[[1.0]], [[2.0]]]))
        >>> s @ torch.eye(2), s.diagonal(), s.rows(torch.tensor([1]))
        (tensor([[ 2.,  2.],
                [ 2., 12.]]), tensor([ 2., 12.]), tensor([[ 2., 12.]]))
    """

    operator: SymmetricOperator
    blocks: Tensor

    @property
    def shape(self) -> torch.Size:
        """Return ``(n c, n c)``."""
        n, c, _ = self.blocks.shape
        return torch.Size((n * c, n * c))

    @property
    def dtype(self) -> torch.dtype:
        """The precision of its products."""
        return self.operator.dtype

    @property
    def device(self) -> torch.device:
        """Where its products are computed."""
        return self.operator.device

    def scale(self, v: Tensor) -> Tensor:
        """Return ``L v`` for ``v (n c, k)``."""
        n, c, _ = self.blocks.shape
        return torch.einsum("nab,nbk->nak", self.blocks, v.reshape(n, c, -1)).reshape(n * c, -1)

    def __matmul__(self, v: Tensor) -> Tensor:
        """Return the product with ``v (n c, k)``."""
        moved = self.operator @ self.scale(v).reshape(len(self.blocks), -1)
        return self.scale(moved.reshape(v.shape))

    def diagonal(self) -> Tensor:
        """Return the diagonal, ``(n c,)``."""
        return (self.operator.diagonal()[:, None] * self.blocks.square().sum(2)).reshape(-1)

    def rows(self, index: Tensor) -> Tensor:
        """Return the rows with these numbers, ``(b, n c)``."""
        c = self.blocks.shape[1]
        row, function = index // c, index % c
        found = torch.einsum(
            "be,bj,jef->bjf", self.blocks[row, function], self.operator.rows(row), self.blocks
        )
        return found.reshape(len(index), -1)
