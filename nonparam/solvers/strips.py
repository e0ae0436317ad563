r"""What the solvers by strips of rows share: iterates that carry their residuals, and the certificate.

When the rows :math:`B` of an iterate move by :math:`d`, one strip of the matrix tells every residual:

.. math:: x_B \leftarrow x_B + d, \qquad r \leftarrow r - A_{B \cdot}^\top d, \qquad r = b - A x.

An iterate is a tensor ``(2, n, k)``, :math:`x` before :math:`r`: a combination of iterates whose weights sum
to 1 has the combination of their residuals, so that momentum and averages never need another product.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from nonparam.errors import ConvergenceError, InputError
from nonparam.solvers.operator import SymmetricOperator
from nonparam.solvers.result import Solve

__all__ = ["StripSystem", "permutation"]

DIVERGED = 1e4  # times the best residual: no iteration comes back from there
STALLED = 0.95  # a round that leaves more than this of the residual is the last: rounding has the upper hand


@dataclass
class StripSystem:
    """Linear equations with several right-hand sides, and the count of the work done on them.

    Attributes:
        a: the matrix, ``n x n``.
        b: ``(n, k)``, in the precision and on the device of the matrix.
        tolerance: of the largest relative residual.
        max_steps: the most products with the whole matrix, the one for the certificate included.
        work: products with the whole matrix so far; a strip of ``m`` rows is ``m / n`` of one.

    Examples:
        >>> from nonparam.solvers.operator import Dense
        >>> system = StripSystem(Dense(2.0 * torch.eye(4)), torch.ones(4, 1), 0.01, 10)
        >>> strip = system.strip(torch.tensor([0]))
        >>> system.change(strip, torch.tensor([[0.5]])).sum(), system.work
        (tensor(-1.), 0.25)
    """

    a: SymmetricOperator
    b: Tensor
    tolerance: float
    max_steps: int
    work: float = 0.0

    def __post_init__(self) -> None:
        """Check the right-hand sides, and measure them."""
        if self.b.ndim != 2 or len(self.b) != self.n:
            raise InputError(f"b must have the shape ({self.n}, k), got {tuple(self.b.shape)}")
        if self.b.dtype != self.a.dtype:
            raise InputError(f"b must have the dtype of the matrix, {self.a.dtype}, got {self.b.dtype}")
        size = torch.linalg.vector_norm(self.b, dim=0)
        self.size = torch.where(size == 0.0, 1.0, size)

    @property
    def n(self) -> int:
        """The number of rows."""
        return self.a.shape[0]

    def at(self, x: Tensor) -> Tensor:
        """Return the iterate at ``x (n, k)``, its residual by a product with the whole matrix."""
        self.work += 1.0
        return torch.stack([x, self.b - self.finite(self.a @ x)])

    def strip(self, index: Tensor) -> Tensor:
        """Return the rows of the matrix with these numbers: ``(m, n)``."""
        self.work += len(index) / self.n
        return self.a.rows(index)

    def change(self, strip: Tensor, d: Tensor) -> Tensor:
        """Return the change of the residuals, ``(n, k)``, when the rows of a strip move by ``d (m, k)``."""
        change: Tensor = (-d.mT @ strip).mT  # twice as fast as the product of the transposed strip
        return self.finite(change)

    def mean_diagonal(self) -> float:
        """Return the mean of the diagonal, the scale of the matrix."""
        return float(self.finite(self.a.diagonal()).mean())

    def block(self, size: int) -> int:
        """Return the rows of a block, at most all; raise `InputError` where there are none."""
        if size < 1:
            raise InputError(f"a block must have at least one row, got {size}")
        return min(size, self.n)

    def scores(self, residual: Tensor) -> Tensor:
        """Return the squares of residuals ``(m, k)``, each over its right-hand side, summed: ``(m,)``."""
        relative: Tensor = residual / self.size
        return relative.square_().sum(1)

    def finite(self, values: Tensor) -> Tensor:
        """Return the values; raise `ConvergenceError` where one is NaN or infinite."""
        if not bool(torch.isfinite(values.sum())):
            raise ConvergenceError(
                f"products with the matrix of {self.n:,} rows are not finite after {self.work:.1f} "
                "steps: expected a kernel that is finite at every pair of rows; try lengthscales and "
                "variances nearer to the scale of the data, or float64"
            )
        return values

    def errors(self, iterate: Tensor) -> Tensor:
        """Return the relative residual of every right-hand side, ``(k,)``."""
        left: Tensor = torch.linalg.vector_norm(iterate[1], dim=0)
        return left.div_(self.size)

    def worst(self, iterate: Tensor) -> float:
        """Return the largest relative residual."""
        return float(self.errors(iterate).max())

    def better(self, first: Tensor, second: Tensor) -> Tensor:
        """Return the better of two iterates, for each right-hand side."""
        return torch.where(self.errors(second) < self.errors(first), second, first)

    @torch.no_grad()
    def solve(self, start: Tensor | None, rounds: Callable[[Tensor], Iterator[Tensor]], method: str) -> Solve:
        """Follow an iteration to the tolerance, or to the end of the work allowed.

        The residuals of an iteration are sums of many changes, and drift: at the end of a round they are
        computed anew from the best solution, and if it missed the tolerance another round begins there, which
        aims at half of what the last one aimed at.

        Args:
            start: ``(n, k)``, an approximate solution; zeros by default.
            rounds: from an iterate, which it may overwrite, the iterates that follow.
            method: the name of the algorithm, with its settings.

        Returns:
            The best solution of each right-hand side, its residuals computed from it.
        """
        best = self._begin(start)
        before, target = math.inf, self.tolerance
        while self.tolerance < self.worst(best) <= STALLED * before and self._may_go_on():
            before = self.worst(best)
            found = self._follow(best, rounds, target)
            best = self.better(best, self.at(found[0]))
            target /= 2.0
        return Solve(best[0], self.errors(best), math.ceil(self.work), self.tolerance, method)

    def _begin(self, start: Tensor | None) -> Tensor:
        """Return the iterate to start from: zeros for the columns that would be better off with them."""
        zeros = torch.stack([torch.zeros_like(self.b), self.finite(self.b)])
        return zeros if start is None else self.better(zeros, self.at(start.to(self.b)))

    def _may_go_on(self) -> bool:
        return math.ceil(self.work) + 1 < self.max_steps

    def _follow(self, best: Tensor, rounds: Callable[[Tensor], Iterator[Tensor]], target: float) -> Tensor:
        for iterate in rounds(best.clone()):
            best = self.better(best, iterate)
            worst = self.worst(best)
            if worst <= target or self.worst(iterate) > DIVERGED * worst or not self._may_go_on():
                break
        return best


def permutation(n: int, generator: torch.Generator, device: torch.device) -> Tensor:
    """Return the numbers from 0 to ``n - 1`` in random order, on ``device``: ``(n,)``."""
    return torch.randperm(n, generator=generator, device=generator.device).to(device)
