"""Partial Cholesky factors: rows of a matrix, some at a time, until what is left of its diagonal is small."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from nonparam.errors import ConvergenceError
from nonparam.solvers.cholesky import cholesky
from nonparam.solvers.operator import SymmetricOperator

__all__ = ["Growing", "PartialFactor", "cholesky_at", "eliminate", "pivoted_cholesky"]

BLOCK = 32  # candidates at a time
ROUNDING = 10.0  # residuals below so many units of rounding of the diagonal are noise


@dataclass(frozen=True)
class PartialFactor:
    """An approximation ``F F'`` of a positive semidefinite matrix from below.

    Attributes:
        factor: ``F``, ``(n, k)``.
        residual: the diagonal of ``K - F F'``, ``(n,)``, float64, not negative; its sum bounds every norm of
            the error.
        pivots: the rows it was built from, ``(k,)``; without any where it is no Cholesky factor.
    """

    factor: Tensor
    residual: Tensor
    pivots: Tensor

    @property
    def rank(self) -> int:
        """The number of columns."""
        return self.factor.shape[1]


@dataclass
class Growing:
    """A partial Cholesky factor under construction, its rows contiguous: ``F'`` of ``(rank, n)``.

    Attributes:
        k: the matrix.
        rows: ``F'``, of which the first `rank` rows are filled.
        residual: the diagonal of ``K - F F'``, ``(n,)``, float64.
        least: the residual at an entry below which it is rounding.
        pivots: the rows taken so far.
    """

    k: SymmetricOperator
    rows: Tensor
    residual: Tensor
    least: Tensor
    pivots: list[int] = field(default_factory=list)

    @classmethod
    def start(cls, k: SymmetricOperator, rank: int) -> "Growing":
        """Return the factor of rank 0 with room for ``rank`` rows."""
        diagonal = k.diagonal().double().clone()
        check_finite(diagonal, "the diagonal")
        rows = torch.empty(min(rank, len(diagonal)), len(diagonal), dtype=k.dtype, device=k.device)
        least = ROUNDING * torch.finfo(k.dtype).eps * diagonal
        return cls(k, rows, diagonal, least)

    @property
    def live(self) -> Tensor:
        """The residuals that are more than rounding; the others are 0."""
        return torch.where(self.residual > self.least, self.residual, 0.0)

    @property
    def room(self) -> int:
        """How many rows more it may take."""
        return len(self.rows) - len(self.pivots)

    def is_done(self, trace: float) -> bool:
        """Return whether it is full, or what is left has a trace of at most ``trace``, or is rounding."""
        return self.room == 0 or float(self.residual.sum()) <= trace or not bool(self.live.any())

    def candidates(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Return the rows ``K_S (b, n)`` of these candidates, and ``(K - F F')_SS (b, b)`` in float64."""
        rows = self.k.rows(index)
        check_finite(rows.sum(1), "a row")
        filled = self.rows[: len(self.pivots), index].double()
        schur = rows[:, index].double() - filled.mT @ filled
        self.residual[index] = torch.diagonal(schur).clamp_min(0.0)
        return rows, schur.cpu()  # of a few numbers each: eliminated one by one

    def take(self, index: Tensor, rows: Tensor, columns: dict[int, Tensor]) -> None:
        """Append the rows ``L^-1 (K - F F')_T`` and lower the residuals.

        Args:
            index: the candidates, ``(b,)``.
            rows: ``K_S``, ``(b, n)``.
            columns: the positions of the accepted ones ``T`` among them, each with its column of the Cholesky
                factor of ``(K - F F')_SS``.
        """
        if not columns:
            return
        order = torch.tensor(list(columns))
        lower = torch.stack(list(columns.values()), 1)[order].to(rows)
        order = order.to(index.device)
        start, stop = len(self.pivots), len(self.pivots) + len(order)
        filled, pivots = self.rows[:start], index[order]
        left = torch.addmm(rows[order], filled[:, pivots].mT, filled, alpha=-1.0)
        new = torch.linalg.solve_triangular(lower, left, upper=False)
        self.rows[start:stop] = new
        self.residual.sub_(new.square().sum(0, dtype=torch.float64)).clamp_min_(0.0)
        self.residual[pivots] = 0.0
        self.pivots.extend(pivots.tolist())

    def finished(self) -> PartialFactor:
        """Return the factor as far as it was built."""
        pivots = torch.tensor(self.pivots, dtype=torch.long, device=self.k.device)
        return PartialFactor(self.rows[: len(pivots)].mT, self.residual, pivots)


def pivoted_cholesky(
    k: SymmetricOperator, rank: int, *, tolerance: float = 0.0, residual_trace: float = 0.0
) -> PartialFactor:
    r"""Factorise partially, each pivot the largest entry that is left of the diagonal.

    .. math:: K \approx F F^\top, \quad \mathrm{tr}(K - F F^\top) \le \epsilon \, \mathrm{tr}(K)

    The candidates of a block are the largest residuals; since residuals only fall, one of them is the largest
    of all as long as it exceeds those outside the block.

    Args:
        k: ``n x n``, positive semidefinite, without the noise.
        rank: at most so many columns; fewer where the residual is rounding.
        tolerance: of the trace of the residual, relative to that of ``k``.
        residual_trace: the same in the units of ``k``: below about ``n * noise`` columns gain little.

    Returns:
        The factor, its residuals and its pivots.

    Source: Harbrecht, Peters and Schneider (2012), Appl. Numer. Math. 62, 428-440, algorithm 1.

    Examples:
        >>> from nonparam.solvers.operator import Dense
        >>> found = pivoted_cholesky(Dense(torch.diag(torch.tensor([1.0, 4.0, 9.0]))), 2)
        >>> found.pivots, found.residual
        (tensor([2, 1]), tensor([1., 0., 0.], dtype=torch.float64))
    """
    growing = Growing.start(k, rank)
    stop = max(tolerance * float(growing.residual.sum()), residual_trace)
    size = min(BLOCK, len(growing.residual) - 1)
    while not growing.is_done(stop):
        largest, index = growing.live.topk(size + 1)
        rows, schur = growing.candidates(index)
        bound, least = float(largest[size]), growing.least[index].cpu()
        growing.take(index, rows, _greedy(schur, least, bound, growing.room))
    return growing.finished()


def cholesky_at(k: SymmetricOperator, pivots: Tensor) -> PartialFactor:
    r"""Factorise partially with given pivots ``S``: :math:`K \approx K_{\cdot S} K_{SS}^{-1} K_{S \cdot}`.

    A smooth function of the matrix, where drawn pivots jump.

    Args:
        k: ``n x n``, positive semidefinite, without the noise.
        pivots: ``(r,)``, numbers of rows.

    Raises:
        NotPositiveDefiniteError: pivots that repeat each other.

    Examples:
        >>> from nonparam.solvers.operator import Dense
        >>> found = cholesky_at(Dense(torch.diag(torch.tensor([1.0, 4.0]))), torch.tensor([1]))
        >>> found.factor.T.round(decimals=4), found.residual
        (tensor([[0., 2.]]), tensor([1., 0.], dtype=torch.float64))
    """
    rows, diagonal = k.rows(pivots), k.diagonal().double()
    square = rows[:, pivots].double()
    rounding = ROUNDING * torch.finfo(k.dtype).eps * diagonal[pivots]
    upper = cholesky((square + torch.diag(rounding)).contiguous()).upper.triu()
    inverse = torch.linalg.solve_triangular(upper, torch.eye(len(upper)).to(upper), upper=True)
    factor = inverse.mT.to(rows) @ rows  # a product is twice as fast as a solve with so many columns
    norms = torch.linalg.vector_norm(factor, dim=0, dtype=torch.float64)
    left = (diagonal - norms.square()).clamp_min(0.0)
    left[pivots] = 0.0
    return PartialFactor(factor.mT, left, pivots)


def check_finite(values: Tensor, what: str) -> None:
    """Raise `ConvergenceError` where a value is not finite."""
    if not bool(torch.isfinite(values).all()):
        raise ConvergenceError(f"partial Cholesky: {what} of the matrix is not finite")


def eliminate(schur: Tensor, j: int) -> Tensor:
    """Return column ``j`` of the Cholesky factor, and take its square off ``schur`` in place."""
    column = schur[:, j] / schur[j, j].sqrt()
    schur.addr_(column, column, alpha=-1.0)
    return column


def _greedy(schur: Tensor, least: Tensor, bound: float, room: int) -> dict[int, Tensor]:
    """Eliminate the largest candidate while none outside the block can be larger than it."""
    columns: dict[int, Tensor] = {}
    while len(columns) < min(room, len(schur)):
        largest, j = torch.where(torch.diagonal(schur) > least, torch.diagonal(schur), 0.0).max(0)
        if float(largest) == 0.0 or (columns and float(largest) < bound):
            break
        columns[int(j)] = eliminate(schur, int(j))
    return columns
