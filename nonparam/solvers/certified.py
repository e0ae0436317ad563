r"""Solves with a covariance matrix too large to factorise, none of which is handed on unverified.

A `CertifiedSolver` answers what a `CholeskyFactor` answers, by preconditioned conjugate gradients. A solve
that misses its tolerance climbs a ladder: a preconditioner of four times the rank, then alternating
projections, each from the best solution so far; at its end stands an error, not a loose result. In float32
the first rung is the last: what it misses is a matter of digits, and the caller turns to float64. So it is
with a Cholesky factor as the preconditioner: where that is too far away, only a new one is better.

For a quadratic form the residual :math:`r = b - A x` of a solve pays twice,

.. math:: b^\top A^{-1} b = b^\top x + x^\top r + r^\top A^{-1} r,

so that what is left out is at most :math:`|r|^2 / \min_i \sigma_i^2`. Forms are solved so far that this is a
millionth of the smallest noise variance: a predictive variance is a small difference of large numbers.
"""

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from nonparam.errors import InputError
from nonparam.solvers.alternating_projections import alternating_projections
from nonparam.solvers.conjugate_gradients import conjugate_gradients
from nonparam.solvers.factored import Factored
from nonparam.solvers.operator import Shifted, SymmetricOperator
from nonparam.solvers.pivoted_cholesky import PartialFactor, cholesky_at
from nonparam.solvers.preconditioner import LowRank
from nonparam.solvers.quadrature import LogDeterminant, log_determinant
from nonparam.solvers.randomly_pivoted_cholesky import randomly_pivoted_cholesky
from nonparam.solvers.result import Solve

__all__ = ["CertifiedSolver"]

RANK = 500  # of the preconditioner: benchmarks/scale.py
MORE_RANK = 4  # times, on the second rung
CG_STEPS = 200  # beyond it a better preconditioner is cheaper
FACTOR_STEPS = 50  # the same for a factor of the whole matrix: a new one is
LAST_STEPS = 1000  # products on the last rung
NUM_PROBES = 16  # of the log-determinant
FORM_ERROR = 1e-6  # of a quadratic form, in units of the smallest noise variance
COLUMNS = 256  # solved for at a time


@dataclass(frozen=True)
class CertifiedSolver:
    """The inverse of ``A = K + D`` by iterations, each result with its certificate.

    Attributes:
        matrix: ``K``, without the noise.
        shift: ``(n,)``, the diagonal of ``D``: the variances of the noise.
        preconditioner: near ``A``.
        pivots: the rows that it was built from; none for a Cholesky factor.
        tolerance: of the relative residual of every right-hand side.
        rank: of the preconditioner, at most.
        seed: of the pivots and the probes.
        estimate: of ``log |A|``, once `measured`.
        jitter: 0: nothing is ever added to the diagonal.
    """

    matrix: SymmetricOperator
    shift: Tensor
    preconditioner: LowRank | Factored
    pivots: Tensor
    tolerance: float
    rank: int
    seed: int
    estimate: LogDeterminant | None = None
    jitter: float = 0.0

    @classmethod
    def of(
        cls,
        matrix: SymmetricOperator,
        shift: Tensor,
        *,
        tolerance: float,
        seed: int,
        rank: int = RANK,
        pivots: Tensor | None = None,
        factor: Factored | None = None,
    ) -> "CertifiedSolver":
        """Build the preconditioner, and the solver with it.

        Args:
            matrix: ``K``, ``n x n``.
            shift: ``(n,)``, positive.
            tolerance: of the relative residual of every right-hand side.
            seed: of the pivots and the probes.
            rank: of the preconditioner, at most.
            pivots: its rows; drawn by default. With given ones it is a smooth function of the matrix.
            factor: a preconditioner at hand, in place of one of low rank.

        Raises:
            InputError: a row without noise, which no certificate can be given for.

        Examples:
            >>> from nonparam.solvers.operator import Dense
            >>> solver = CertifiedSolver.of(Dense(torch.eye(2)), torch.ones(2), tolerance=1e-6, seed=0)
            >>> solver.solve(torch.tensor([[2.0], [4.0]])).T
            tensor([[1., 2.]])
        """
        if not bool((shift > 0.0).all()):
            raise InputError(
                f"conjugate gradients need a noise above 0 in every row, got {float(shift.min()):g}: give a "
                "small noise, or take solver='cholesky'"
            )
        if factor is not None:
            none = torch.zeros(0, dtype=torch.long, device=matrix.device)
            return cls(matrix, shift, factor, none, tolerance, rank, seed)
        partial = _partial(matrix, rank, seed) if pivots is None else cholesky_at(matrix, pivots)
        preconditioner = LowRank.of(partial.factor, shift)
        return cls(matrix, shift, preconditioner, partial.pivots, tolerance, rank, seed)

    @property
    def operator(self) -> Shifted:
        """``A``."""
        return Shifted(self.matrix, self.shift)

    @property
    def n(self) -> int:
        """The number of rows."""
        return self.matrix.shape[0]

    def left_out(self) -> float:
        r"""Return how much of the matrix the preconditioner leaves to the iterations.

        .. math:: \frac1n \sum_i \frac{(K - F F^\top)_{ii}}{\sigma_i^2}

        for one of low rank: 0.2 where 6 products suffice (elevators), 20 to 3,000 where 20 to 1,000 do.
        """
        if isinstance(self.preconditioner, Factored):
            return 0.0
        whole = self.matrix.diagonal().double() / self.shift.double()
        left = whole - self.preconditioner.whitened.square().sum(1)
        return float(left.clamp_min(0.0).mean())

    def certificate(self, b: Tensor, initial: Tensor | None = None, tolerance: float | None = None) -> Solve:
        """Solve for ``b (n, k)`` and show the residuals.

        Args:
            b: the right-hand sides.
            initial: ``(n, k)``, where to start.
            tolerance: of the residuals; by default that of the solver.

        Raises:
            ConvergenceError: no rung of the ladder reached the tolerance.
        """
        tolerance = self.tolerance if tolerance is None else tolerance
        factored = isinstance(self.preconditioner, Factored)
        found = conjugate_gradients(
            self.operator,
            b,
            preconditioner=self.preconditioner,
            initial=initial,
            tolerance=tolerance,
            max_steps=FACTOR_STEPS if factored else CG_STEPS,
        )
        if found.converged or factored or self.matrix.dtype != torch.float64:
            return found.certified()
        more = LowRank.of(_partial(self.matrix, MORE_RANK * self.rank, self.seed).factor, self.shift)
        again = conjugate_gradients(
            self.operator,
            b,
            preconditioner=more,
            initial=found.solution,
            tolerance=tolerance,
            max_steps=CG_STEPS,
        )
        if again.converged:
            return replace(again, steps=found.steps + again.steps)
        last = alternating_projections(
            self.operator,
            b,
            start=again.solution,
            tolerance=tolerance,
            max_steps=LAST_STEPS,
            generator=self._generator(),
        )
        return replace(last, steps=found.steps + again.steps + last.steps).certified()

    def solve(self, b: Tensor) -> Tensor:
        """Return ``A^-1 b`` for ``b (n, k)``, in the precision of ``b``."""
        parts = [self.certificate(part).solution.to(b) for part in b.split(COLUMNS, 1)]
        return torch.cat(parts, 1)

    def gram(self, b: Tensor) -> Tensor:
        """Return ``b' A^-1 b``, ``(k, k)``, for ``b (n, k)``."""
        return self._forms(b[None])[0]

    def quadratic(self, b: Tensor) -> Tensor:
        """Return the diagonal of ``b' A^-1 b``, ``(k,)``."""
        return self.grams(b.mT[:, :, None])[:, 0, 0]

    def grams(self, b: Tensor) -> Tensor:
        """Return ``b_j' A^-1 b_j`` of ``m`` matrices, ``(m, k, k)``, for ``b (m, n, k)``."""
        together = max(1, COLUMNS // b.shape[2])
        return torch.cat([self._forms(part) for part in b.split(together)])

    def _forms(self, b: Tensor) -> Tensor:
        m, n, k = b.shape
        x, residual = (
            found.reshape(n, m, k).transpose(0, 1)
            for found in self._for_forms(b.transpose(0, 1).reshape(n, -1))
        )
        form = b.mT @ x + x.mT @ residual
        return 0.5 * (form + form.mT)

    def _for_forms(self, b: Tensor) -> tuple[Tensor, Tensor]:
        """Return ``A^-1 b`` and its residuals, so small that quadratic forms are right."""
        least, size = float(self.shift.min()), float(torch.linalg.vector_norm(b, dim=0).max())
        tolerance = min(self.tolerance, math.sqrt(FORM_ERROR) * least / max(size, least))
        x = self.certificate(b, tolerance=tolerance).solution
        return x.to(b), b - (self.operator @ x).to(b)

    def measured(self) -> "CertifiedSolver":
        """Return the same solver with an estimate of ``log |A|``."""
        found = log_determinant(
            self.operator,
            generator=self._generator(),
            num_probes=NUM_PROBES,
            preconditioner=self.preconditioner,
            smallest=1.0,
        )
        return replace(self, estimate=found)

    def measured_determinant(self) -> LogDeterminant:
        """Return the estimate of ``log |A|`` with its standard error, of a solver that is `measured`."""
        known = self.estimate if self.estimate is not None else self.measured().estimate
        assert known is not None
        return known

    def log_determinant(self) -> float:
        """Return ``log |A|``, estimated."""
        return self.measured_determinant().value

    def _generator(self) -> torch.Generator:
        return torch.Generator(self.matrix.device).manual_seed(self.seed)


def _partial(matrix: SymmetricOperator, rank: int, seed: int) -> PartialFactor:
    generator = torch.Generator(matrix.device).manual_seed(seed)
    return randomly_pivoted_cholesky(matrix, min(rank, matrix.shape[0]), generator)
