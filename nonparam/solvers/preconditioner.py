r"""Preconditioners: matrices near :math:`K + \Sigma` whose inverse, root and determinant are cheap."""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

__all__ = ["Diagonal", "LowRank", "Preconditioner"]

STRIP = 128  # columns of a Gram matrix at a time: what is above its diagonal is not computed


class Preconditioner(Protocol):
    """A symmetric positive definite ``n x n`` matrix ``P``."""

    def solve(self, v: Tensor) -> Tensor:
        """Return ``P^-1 v`` for ``v (n, k)``."""

    def half_solve(self, v: Tensor) -> Tensor:
        """Return ``R^-1 v`` for ``v (n, k)``, where ``P = R R'``."""

    def half_solve_transposed(self, v: Tensor) -> Tensor:
        """Return ``R^-T v`` for ``v (n, k)``."""

    def multiply(self, z: Tensor) -> Tensor:
        """Return ``R z`` for ``z (n, k)``: draws from ``N(0, P)`` where ``z`` is standard normal."""

    def log_determinant(self) -> float:
        """Return ``log |P|``."""

    def sample(self, generator: torch.Generator, k: int) -> Tensor:
        """Return ``k`` draws from ``N(0, P)``, ``(n, k)``."""


@dataclass(frozen=True)
class Diagonal:
    """A diagonal matrix; of ones, the identity.

    Attributes:
        diagonal: ``(n,)``, positive.

    Examples:
        >>> p = Diagonal(torch.tensor([4.0, 1.0]))
        >>> p.solve(torch.ones(2, 1)).T, round(p.log_determinant(), 4)
        (tensor([[0.2500, 1.0000]]), 1.3863)
    """

    diagonal: Tensor

    def __str__(self) -> str:
        """Return its name."""
        return "diagonal"

    def solve(self, v: Tensor) -> Tensor:
        """Return ``P^-1 v`` for ``v (n, k)``."""
        return v / self.diagonal[:, None]

    def half_solve(self, v: Tensor) -> Tensor:
        """Return ``P^-1/2 v`` for ``v (n, k)``."""
        return v / self.diagonal.sqrt()[:, None]

    def half_solve_transposed(self, v: Tensor) -> Tensor:
        """Return ``P^-1/2 v``: the root is symmetric."""
        return self.half_solve(v)

    def multiply(self, z: Tensor) -> Tensor:
        """Return ``P^1/2 z`` for ``z (n, k)``."""
        return z * self.diagonal.sqrt()[:, None]

    def log_determinant(self) -> float:
        """Return ``log |P|``."""
        return float(self.diagonal.double().log().sum())

    def sample(self, generator: torch.Generator, k: int) -> Tensor:
        """Return ``k`` draws from ``N(0, P)``, ``(n, k)``."""
        return self.multiply(_normal(self.diagonal, k, generator))


@dataclass(frozen=True)
class LowRank:
    r"""A matrix of low rank plus a diagonal, in a form that gives all its powers.

    With :math:`P = F F^\top + D` and :math:`G = D^{-1/2} F`,
    :math:`G^\top G = V \Lambda V^\top` of ``k x k`` numbers,

    .. math::

        P = D^{1/2} (I + G G^\top) D^{1/2}, \quad
        (I + G G^\top)^p = I + G V \, \frac{(1 + \Lambda)^p - 1}{\Lambda} \, V^\top G^\top:

    ``p = -1`` is Woodbury's formula, ``p = -1/2`` and ``1/2`` are its roots. All is computed in float64, also
    for vectors of float32: ``1 + Lambda`` reaches to ``n * outputscale / noise``, and what the subtraction
    leaves of the first directions has lost as many digits.

    Attributes:
        whitened: ``G``, ``(n, k)``, float64.
        eigenvalues: the diagonal of ``Lambda``, ``(k,)``, float64.
        eigenvectors: ``V``, ``(k, k)``, float64.
        shift: the diagonal of ``D``, ``(n,)``, float64.

    Source: Golub and Van Loan (2013), Matrix computations, section 2.1.4; Higham (2008), Functions of
    matrices, theorem 1.35.
    """

    whitened: Tensor
    eigenvalues: Tensor
    eigenvectors: Tensor
    shift: Tensor

    @classmethod
    def of(cls, factor: Tensor, shift: Tensor) -> "LowRank":
        """Return the preconditioner ``F F' + D`` in ``O(n k^2)``.

        Args:
            factor: ``F``, ``(n, k)``.
            shift: the diagonal of ``D``, ``(n,)``, positive: the variances of the noise.

        Examples:
            >>> p = LowRank.of(torch.ones(2, 1), torch.ones(2))
            >>> p.solve(torch.ones(2, 1)).T, round(p.log_determinant(), 4)
            (tensor([[0.3333, 0.3333]]), 1.0986)
        """
        shift = shift.double()
        whitened = factor / shift.sqrt()[:, None]
        eigenvalues, eigenvectors = torch.linalg.eigh(_gram(whitened))
        return cls(whitened, eigenvalues.clamp_min_(0.0), eigenvectors, shift)

    def __str__(self) -> str:
        """Return its name and its rank."""
        return f"rank {self.rank} plus diagonal"

    @property
    def rank(self) -> int:
        """The number of columns of the factor."""
        return self.whitened.shape[1]

    def solve(self, v: Tensor) -> Tensor:
        """Return ``P^-1 v`` for ``v (n, k)``."""
        root = self.shift.sqrt()[:, None]
        return self._power(-1.0, v / root).div_(root).to(v)

    def half_solve(self, v: Tensor) -> Tensor:
        """Return ``R^-1 v`` for ``v (n, k)``, where ``R = D^1/2 (I + G G')^1/2``."""
        return self._power(-0.5, v / self.shift.sqrt()[:, None]).to(v)

    def half_solve_transposed(self, v: Tensor) -> Tensor:
        """Return ``R^-T v`` for ``v (n, k)``."""
        return self._power(-0.5, v.double()).div_(self.shift.sqrt()[:, None]).to(v)

    def multiply(self, z: Tensor) -> Tensor:
        """Return ``R z`` for ``z (n, k)``: draws from ``N(0, P)`` where ``z`` is standard normal."""
        return self._power(0.5, z.double()).mul_(self.shift.sqrt()[:, None]).to(z)

    def log_determinant(self) -> float:
        """Return ``log |P|``."""
        return float(self.eigenvalues.log1p().sum() + self.shift.log().sum())

    def sample(self, generator: torch.Generator, k: int) -> Tensor:
        """Return ``k`` draws from ``N(0, P)``, ``(n, k)``, float64."""
        return self.multiply(_normal(self.shift, k, generator))

    def _power(self, p: float, v: Tensor) -> Tensor:
        """Return ``(I + G G')^p v`` in memory of its own."""
        change = torch.expm1(p * self.eigenvalues.log1p()) / self.eigenvalues
        change = torch.where(self.eigenvalues > 0.0, change, p)
        inner = v.mT.contiguous() @ self.whitened  # BLAS is twice as fast with a few long rows
        turned = (inner @ self.eigenvectors * change) @ self.eigenvectors.mT
        return torch.addmm(v, self.whitened, turned.mT)


def _gram(g: Tensor) -> Tensor:
    """Return ``G' G``, its upper triangle in strips; `torch.linalg.eigh` reads the lower one."""
    product = g.new_empty(g.shape[1], g.shape[1])
    for start in range(0, len(product), STRIP):
        strip = slice(start, start + STRIP)
        product[start:, strip] = g[:, start:].mT @ g[:, strip]
    return product


def _normal(like: Tensor, k: int, generator: torch.Generator) -> Tensor:
    return torch.randn(len(like), k, generator=generator, dtype=like.dtype, device=like.device)
