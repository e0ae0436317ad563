r"""Quadratic forms :math:`b^\top A^{-1} b` from a fixed space, with a bound on what it misses.

With :math:`A = K + D` whitened, :math:`\tilde A = D^{-1/2} A D^{-1/2} = I + \tilde K`, and an orthonormal
basis :math:`U` of the space that the preconditioner :math:`F F^\top + D` knows, :math:`D^{-1/2} F`, put
:math:`W = U L^{-\top}` where :math:`L L^\top = U^\top \tilde A U`. For :math:`\tilde b = D^{-1/2} b` and
:math:`c = W^\top \tilde b` the Galerkin projection :math:`\tilde x = W c` has the residual
:math:`r = \tilde b - \tilde A W c` and

.. math:: b^\top A^{-1} b = |c|^2 + r^\top \tilde A^{-1} r, \qquad 0 \le r^\top \tilde A^{-1} r \le |r|^2,

since no eigenvalue of :math:`\tilde A` is below 1. What is kept approximates the form from below, so that a
variance that it is taken off is too large, if anything. The preconditioner could not sharpen the bound: the
residual is orthogonal to its space.

Source: Pleiss et al. (2018), Constant-time predictive distributions for Gaussian processes, ICML, for a cache
of low rank, there without a bound; Saad (2003), Iterative methods for sparse linear systems, section 5.2.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from nonparam.errors import InputError
from nonparam.solvers.certified import CertifiedSolver
from nonparam.solvers.preconditioner import LowRank

__all__ = ["VarianceCache"]

DEPENDENT = 1e-12  # of the largest eigenvalue: directions with less are rounding


@dataclass(frozen=True)
class VarianceCache:
    """A space in which quadratic forms are known, and the solver for those that it misses.

    Attributes:
        solver: of ``A = K + D``.
        basis: ``W``, ``(n, m)``, with ``W' A W = I`` in whitened coordinates.
        image: whitened ``A W``, ``(n, m)``.
    """

    solver: CertifiedSolver
    basis: Tensor
    image: Tensor

    @classmethod
    @torch.no_grad()
    def of(cls, solver: CertifiedSolver) -> "VarianceCache":
        """Build the cache from the preconditioner of a solver, by one product with ``m`` columns.

        Raises:
            InputError: a solver whose preconditioner is not of low rank.

        Examples:
            >>> from nonparam.solvers.operator import Dense
            >>> a = Dense(torch.ones(2, 2, dtype=torch.float64))
            >>> shift = torch.ones(2, dtype=torch.float64)
            >>> cache = VarianceCache.of(CertifiedSolver.of(a, shift, tolerance=1e-6, seed=0))
            >>> value, error = cache.bounded(torch.tensor([[3.0], [3.0]], dtype=torch.float64))
            >>> round(float(value), 6), round(float(error), 6)
            (6.0, 0.0)
        """
        known = solver.preconditioner
        if not isinstance(known, LowRank):
            raise InputError(f"the directions are those of a preconditioner of low rank, got {known}")
        counted = known.eigenvalues > DEPENDENT * known.eigenvalues.amax()
        root = known.shift.sqrt()[:, None]
        scale = known.eigenvalues[counted].rsqrt()
        space = known.whitened.double() @ (known.eigenvectors[:, counted] * scale)
        image = (solver.operator @ (space / root).to(solver.matrix.dtype)).double() / root
        small = space.mT @ image
        upper = torch.linalg.cholesky(0.5 * (small + small.mT), upper=True)
        halves = (torch.linalg.solve_triangular(upper, v, upper=True, left=False) for v in (space, image))
        return cls(solver, *halves)

    @torch.no_grad()
    def bounded(self, b: Tensor) -> tuple[Tensor, Tensor]:
        """Return bounds from below of ``b' A^-1 b`` for the columns of ``b (n, k)``, and of what they miss.

        Returns:
            ``(k,)`` and ``(k,)``: the form is between the first and the sum of both.
        """
        whitened = b.double() / self.solver.shift.double().sqrt()[:, None]
        inner = self.basis.mT @ whitened
        residual = torch.addmm(whitened, self.image, inner, alpha=-1.0)
        return inner.square().sum(0), residual.square().sum(0)

    def quadratic(self, b: Tensor, tolerance: Tensor) -> Tensor:
        """Return the diagonal of ``b' A^-1 b``, each entry to within its tolerance.

        Args:
            b: ``(n, k)``.
            tolerance: ``(k,)``, absolute; a column whose bound exceeds it is solved for.

        Raises:
            ConvergenceError: a solve that could not be certified.
        """
        value, error = self.bounded(b)
        missed = ~(error <= tolerance)
        if bool(missed.any()):
            value[missed] = self.solver.quadratic(b[:, missed]).double()
        return value.to(b)
