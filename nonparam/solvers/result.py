"""The record that every solver hands back, with the residuals that certify it."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from nonparam.errors import ConvergenceError
from nonparam.solvers.operator import SymmetricOperator

__all__ = ["Solve", "relative_residuals"]

ITERATE = "a larger rank of the preconditioner, float64, a larger noise, or solver='cholesky'"


@dataclass(frozen=True)
class Solve:
    """The solution of a linear system with several right-hand sides.

    Attributes:
        solution: ``(n, k)``, the best iterate of each column.
        residuals: ``(k,)``, ``|b - A x| / |b|`` of each column, computed anew from the solution; 0 for a
            right-hand side of zeros.
        steps: products with the whole matrix, the last one for the residuals included.
        tolerance: what the largest residual was asked to reach.
        method: the name of the algorithm, with its settings.
        remedy: what to try where the tolerance is missed.
    """

    solution: Tensor
    residuals: Tensor
    steps: int
    tolerance: float
    method: str
    remedy: str = field(default=ITERATE, kw_only=True)

    @property
    def converged(self) -> bool:
        """Whether every right-hand side reached the tolerance."""
        return bool((self.residuals <= self.tolerance).all())

    def certified(self) -> "Solve":
        """Return the record itself; raise `ConvergenceError` where a right-hand side missed the tolerance."""
        if self.converged:
            return self
        missed = int((~(self.residuals <= self.tolerance)).sum())
        raise ConvergenceError(
            f"{self.method}: {missed} of {len(self.residuals)} right-hand sides missed the tolerance "
            f"{self.tolerance:g} after {self.steps} steps; the largest relative residual is "
            f"{float(self.residuals.max()):.2g}: try {self.remedy}"
        )


@torch.no_grad()
def relative_residuals(a: SymmetricOperator, solution: Tensor, b: Tensor) -> Tensor:
    """Return ``|b - A x| / |b|`` for each column: ``(k,)``, 0 where ``b`` is 0 and its solution too.

    Examples:
        >>> from nonparam.solvers.operator import Dense
        >>> relative_residuals(Dense(2.0 * torch.eye(2)), torch.ones(2, 1), torch.tensor([[2.0], [4.0]]))
        tensor([0.4472])
    """
    size = torch.linalg.vector_norm(b, dim=0)
    left = torch.linalg.vector_norm(b - a @ solution, dim=0)
    return torch.where(left == 0.0, left, left / size)
