"""What a Cholesky factor answers, from a matrix whose structure makes it cheap; each solve is certified."""

from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from nonparam.solvers.operator import SymmetricOperator
from nonparam.solvers.result import Solve, relative_residuals
from nonparam.solvers.state_space import MaternSum, smooth

__all__ = ["StateSpaceFactor", "StructuredFactor"]

TOLERANCE = 1e-6  # of the relative residual of every right-hand side, at worst
COLUMNS = 256  # solved for at a time
REMEDY = "a larger noise, or solver='cholesky'"  # a structure has no preconditioner and no float32


class StructuredInverse(Protocol):
    """What the algorithm of a structure offers."""

    def solve(self, b: Tensor, tolerance: float) -> Solve:
        """Solve for ``b (n, k)``, with the residuals."""

    def log_determinant(self) -> float:
        """Return ``log |A|``."""


@dataclass(frozen=True)
class StructuredFactor:
    """The inverse of a covariance matrix with structure, for rows in any order.

    Attributes:
        solver: the name of the algorithm, one of `nonparam.solvers.plan.SOLVERS`.
        matrix: ``A``, its rows in the order of the structure.
        inverse: solves with it.
        order: ``(n,)``, the number of the row that stands at each place of the structure.
        jitter: what was added to the diagonal.

    Raises:
        ConvergenceError: a solve with a relative residual above `TOLERANCE`.

    Examples:
        >>> from nonparam.solvers.gohberg_semencul import ToeplitzInverse
        >>> inverse = ToeplitzInverse.of(torch.tensor([2.0, 1.0], dtype=torch.float64))
        >>> factor = StructuredFactor("toeplitz", inverse.operator, inverse, torch.tensor([1, 0]))
        >>> b = torch.tensor([[3.0], [3.0]], dtype=torch.float64)
        >>> factor.solve(b).T.round(decimals=9), factor.quadratic(b).round(decimals=9)
        (tensor([[1., 1.]], dtype=torch.float64), tensor([6.], dtype=torch.float64))
    """

    solver: str
    matrix: SymmetricOperator
    inverse: StructuredInverse
    order: Tensor
    jitter: float = 0.0

    @property
    def n(self) -> int:
        """The number of rows."""
        return len(self.order)

    def log_determinant(self) -> float:
        """Return ``log |A|``."""
        return self.inverse.log_determinant()

    def solve(self, b: Tensor) -> Tensor:
        """Return ``A^-1 b`` for ``b (n, k)``."""
        found = torch.empty_like(b)
        found[self.order] = self._solved(self._ordered(b)).to(b)
        return found

    def gram(self, b: Tensor) -> Tensor:
        """Return ``b' A^-1 b``, ``(k, k)``, for ``b (n, k)``."""
        inner = self._ordered(b)
        x = torch.cat([self._solved(part) for part in inner.split(COLUMNS, 1)], 1)
        form = inner.mT @ x + x.mT @ self._residual(inner, x)
        return (0.5 * (form + form.mT)).to(b)

    def quadratic(self, b: Tensor) -> Tensor:
        """Return the diagonal of ``b' A^-1 b``, ``(k,)``."""
        return torch.cat([self._form(self._ordered(part)) for part in b.split(COLUMNS, 1)]).to(b)

    def _form(self, b: Tensor) -> Tensor:
        x = self._solved(b)
        return (x * (b + self._residual(b, x))).sum(0)  # the error is of second order in the residual

    def _residual(self, b: Tensor, x: Tensor) -> Tensor:
        return b - self.matrix @ x

    def _ordered(self, b: Tensor) -> Tensor:
        return b[self.order].to(self.matrix.device)

    def _solved(self, b: Tensor) -> Tensor:
        """Solve, and once more for what is left where a tiny noise costs too many digits."""
        found = self.inverse.solve(b, TOLERANCE)
        if not found.converged:
            x = found.solution + self.inverse.solve(self._residual(b, found.solution), TOLERANCE).solution
            found = replace(found, solution=x, residuals=relative_residuals(self.matrix, x, b), steps=2)
        return replace(found, remedy=REMEDY).certified().solution


@dataclass(frozen=True)
class StateSpaceFactor(StructuredFactor):
    """The same for a sum of half-integer Matérn kernels of one column, which also predicts in ``O(n + m)``.

    Attributes:
        column: of the table of inputs.
    """

    column: int = 0

    def smooth(self, x: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        """Return ``k(x)' A^-1 b`` and the variance that the rows leave, at new rows.

        Args:
            x: ``(m, d)``.
            b: ``(n, k)``.

        Returns:
            ``(m, k)`` and ``(m,)``, by one pass of the filter and one of the smoother over all places.
        """
        assert isinstance(self.matrix, MaternSum)
        places = x[:, self.column].cpu().numpy()
        rows = self.matrix
        found, left = smooth(rows.terms, rows.x, self._ordered(b).numpy(), rows.noise, places)
        return torch.from_numpy(found).to(b), torch.from_numpy(left).to(b)
