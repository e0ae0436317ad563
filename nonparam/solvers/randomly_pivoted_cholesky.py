"""Randomly pivoted Cholesky: pivots drawn from what is left of the diagonal, a block at a time."""

import torch
from torch import Tensor

from nonparam.solvers.operator import SymmetricOperator
from nonparam.solvers.pivoted_cholesky import Growing, PartialFactor, eliminate

__all__ = ["randomly_pivoted_cholesky"]

BLOCK = 64  # candidates at a time, at most
BLOCKS = 8  # at least


def randomly_pivoted_cholesky(
    k: SymmetricOperator,
    rank: int,
    generator: torch.Generator,
    *,
    tolerance: float = 0.0,
    residual_trace: float = 0.0,
) -> PartialFactor:
    r"""Factorise partially, each pivot drawn with the probabilities of the diagonal that is left.

    .. math:: \Pr(s = i) = \frac{(K - F F^\top)_{ii}}{\mathrm{tr}(K - F F^\top)}

    Candidates are drawn a block at a time and accepted with the ratio of their residual given those accepted
    before them to the one they were drawn with: the pivots have the distribution of drawing one by one.

    Args:
        k: ``n x n``, positive semidefinite, without the noise.
        rank: at most so many columns; fewer where the residual is rounding.
        generator: on the device of ``k``.
        tolerance: of the trace of the residual, relative to that of ``k``.
        residual_trace: the same in the units of ``k``: below about ``n * noise`` columns gain little.

    Returns:
        The factor, its residuals and its pivots.

    Source: Epperly, Tropp and Webber (2024), Embrace rejection, arXiv:2410.03969, algorithms 2.1 and 2.2.

    Examples:
        >>> from nonparam.solvers.operator import Dense
        >>> a = torch.tensor([[2.0, 0.0], [0.0, 0.0]])
        >>> found = randomly_pivoted_cholesky(Dense(a), 2, torch.Generator().manual_seed(0))
        >>> found.pivots, found.residual
        (tensor([0]), tensor([0., 0.], dtype=torch.float64))
    """
    growing = Growing.start(k, rank)
    stop = max(tolerance * float(growing.residual.sum()), residual_trace)
    block = max(1, min(BLOCK, rank // BLOCKS))
    while not growing.is_done(stop):
        index = torch.multinomial(growing.live, block, replacement=True, generator=generator)
        uniform = torch.rand(block, generator=generator, dtype=torch.float64, device=index.device)
        rows, schur = growing.candidates(index)
        needed = torch.maximum(uniform * growing.residual[index], growing.least[index])
        growing.take(index, rows, _accepted(schur, needed.tolist(), growing.room))
    return growing.finished()


def _accepted(schur: Tensor, needed: list[float], room: int) -> dict[int, Tensor]:
    """Eliminate the candidates in turn whose residual, given those before, exceeds what is needed."""
    columns: dict[int, Tensor] = {}
    for j, least in enumerate(needed):
        if len(columns) < room and float(schur[j, j]) > least:
            columns[j] = eliminate(schur, j)
    return columns
