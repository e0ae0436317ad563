r"""Alternating projections: the equations of one block of rows after another are solved exactly.

.. math:: d = A_{BB}^{-1} r_B, \qquad x_B \leftarrow x_B + d, \qquad r \leftarrow r - A_{\cdot B} \, d

Each step projects the error, in the norm of :math:`A`, and so never makes it larger. There is no step size.

Which block comes next decides how many steps it takes. With a fixed partition the errors that are left
arrange themselves with the blocks; a block drawn anew breaks them up, and needs a small part of the products
at the noise levels of regression. Half of it are rows with large residuals; were it all, the rows just solved
would stay away, and the partition would be back. Its factor is not kept: it is cheap beside a strip.

Source: Wu, Wenger, Jones, Pleiss and Gardner (2024), Large-scale Gaussian processes via alternating
projection, AISTATS, algorithm 1 (a fixed partition); Tu et al. (2017), Breaking locality accelerates block
Gauss-Seidel, ICML (blocks drawn anew); De Loera, Haddock and Needell (2017), A sampling Kaczmarz-Motzkin
algorithm, SIAM J. Sci. Comput. 39(5) (the largest residuals of a sample).
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from nonparam.errors import InputError
from nonparam.solvers.cholesky import CholeskyFactor, cholesky
from nonparam.solvers.operator import SymmetricOperator
from nonparam.solvers.result import Solve
from nonparam.solvers.strips import StripSystem, permutation

__all__ = ["alternating_projections"]

CANDIDATES = 3  # rows drawn for each one that is taken for its residual


def alternating_projections(
    a: SymmetricOperator,
    b: Tensor,
    *,
    generator: torch.Generator,
    tolerance: float = 0.01,
    max_steps: int = 200,
    block_size: int = 1000,
    start: Tensor | None = None,
    order: Tensor | None = None,
) -> Solve:
    r"""Solve ``A x = b`` for several right-hand sides by projections on blocks of rows.

    .. math:: x_B \leftarrow x_B + A_{BB}^{-1} (b - A x)_B

    Half of a block are rows drawn at random, the other half those with the largest residuals of three times
    as many; residuals are summed over the right-hand sides, relative to their sizes. With ``order`` a block
    is one of a fixed partition, that of the largest residual (Gauss-Southwell), and the factors of the blocks
    are kept: ``8 n block_size`` bytes.

    Args:
        a: symmetric positive definite, ``n x n``.
        b: ``(n, k)``, in the precision and on the device of ``a``.
        generator: what the blocks are drawn with.
        tolerance: of the largest relative residual.
        max_steps: the most products with the whole matrix.
        block_size: rows of a block; it is factorised in float64.
        start: ``(n, k)``, an approximate solution; zeros by default.
        order: ``(n,)``, a permutation of the rows; blocks are contiguous in it. By default they are drawn.

    Returns:
        The solution, with its residuals.

    Raises:
        InputError: shapes or precisions that do not fit; an ``order`` that is no permutation.
        ConvergenceError: a product is not finite.
        NotPositiveDefiniteError: a block is not positive definite.

    Examples:
        >>> from nonparam.solvers.operator import Dense
        >>> a = Dense(torch.tensor([[4.0, 1.0], [1.0, 3.0]]))
        >>> seeded = torch.Generator().manual_seed(0)
        >>> alternating_projections(a, torch.tensor([[1.0], [2.0]]), generator=seeded).solution.mT
        tensor([[0.0909, 0.6364]])
    """
    system = StripSystem(a, b, tolerance, max_steps)
    size = system.block(block_size)
    blocks = _Drawn(system, size, generator) if order is None else _Fixed(system, _partition(order, size, b))
    kind = "drawn" if order is None else "fixed"
    return system.solve(start, blocks.rounds, f"alternating projections, {kind} blocks of {size} rows")


@dataclass
class _Drawn:
    """Random rows, and the rows with the largest residuals of a random sample, half and half."""

    system: StripSystem
    size: int
    generator: torch.Generator

    def rounds(self, iterate: Tensor) -> Iterator[Tensor]:
        while True:
            rows = self._draw(iterate[1])
            strip = self.system.strip(rows)
            yield _project(self.system, iterate, rows, strip, _factor(self.system, strip, rows))

    def _draw(self, residual: Tensor) -> Tensor:
        drawn = permutation(self.system.n, self.generator, residual.device)
        greedy = self.size // 2
        taken, left = drawn[: self.size - greedy], drawn[self.size - greedy :][: CANDIDATES * greedy]
        return torch.cat([taken, left[self.system.scores(residual[left]).topk(greedy).indices]])


@dataclass
class _Fixed:
    """The block with the largest residual of a partition, and the factors of those met so far."""

    system: StripSystem
    blocks: tuple[Tensor, ...]
    factors: dict[int, CholeskyFactor] = field(default_factory=dict)

    def rounds(self, iterate: Tensor) -> Iterator[Tensor]:
        while True:
            scores = self.system.scores(iterate[1])
            chosen = int(torch.stack([scores[rows].sum() for rows in self.blocks]).argmax())
            rows = self.blocks[chosen]
            strip = self.system.strip(rows)
            if chosen not in self.factors:  # its strip is at hand: the factor needs no product of its own
                self.factors[chosen] = _factor(self.system, strip, rows)
            yield _project(self.system, iterate, rows, strip, self.factors[chosen])


def _factor(system: StripSystem, strip: Tensor, rows: Tensor) -> CholeskyFactor:
    return cholesky(system.finite(strip.index_select(1, rows)).double())


def _project(
    system: StripSystem, iterate: Tensor, rows: Tensor, strip: Tensor, factor: CholeskyFactor
) -> Tensor:
    """Solve the equations of a block in place, for the iterate and its residual."""
    d = factor.solve(iterate[1][rows].double()).to(iterate)
    iterate[0].index_add_(0, rows, d)
    iterate[1].add_(system.change(strip, d))
    return iterate


def _partition(order: Tensor, size: int, b: Tensor) -> tuple[Tensor, ...]:
    if not torch.equal(order.sort().values.cpu(), torch.arange(len(b))):
        raise InputError(f"order must be a permutation of the {len(b)} rows")
    return torch.split(order.to(b.device), size)
