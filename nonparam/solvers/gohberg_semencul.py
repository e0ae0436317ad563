r"""The inverse of a symmetric positive definite Toeplitz matrix, multiplied by FFT.

The first column :math:`x` of the inverse determines it: with the lower triangular Toeplitz matrices
:math:`L` and :math:`M` whose first columns are :math:`x` and :math:`(0, x_{n-1}, \dots, x_1)`,

.. math:: A^{-1} = \frac{1}{x_0} \, (L L^\top - M M^\top).

The Levinson recursion gives the column once, in :math:`O(n^2)`; each solve then takes :math:`O(n \log n)`.

Source: Gohberg and Semencul (1972), Mat. Issled. 7(2), 201-223; Golub and Van Loan (2013), section 4.7.
"""

from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from nonparam.errors import NotPositiveDefiniteError
from nonparam.solvers.cholesky import JITTERS
from nonparam.solvers.result import Solve, relative_residuals
from nonparam.solvers.toeplitz import ToeplitzOperator, levinson

__all__ = ["ToeplitzInverse"]

REFINEMENTS = 3  # at most: each repeats the solve for what is left
GOAL = 1e-4  # of the tolerance: what the refinement aims at


@dataclass(frozen=True)
class ToeplitzInverse:
    """What the Levinson recursion leaves: all that a solve needs.

    Attributes:
        operator: the matrix, jitter included.
        column: ``(n,)``, the first column of its inverse.
        logarithm: of the determinant.
        jitter: what was added to the diagonal.
    """

    operator: ToeplitzOperator
    column: Tensor
    logarithm: float
    jitter: float

    @classmethod
    def of(cls, first_row: Tensor) -> "ToeplitzInverse":
        """Factorise, with the smallest jitter of the ladder of `cholesky` that serves.

        Args:
            first_row: ``(n,)``, the covariances at the lags, noise included.

        Raises:
            NotPositiveDefiniteError: even the largest jitter did not help, or an entry is not finite.

        Examples:
            >>> inverse = ToeplitzInverse.of(torch.tensor([2.0, 1.0, 0.5], dtype=torch.float64))
            >>> b = torch.tensor([[2.0], [1.0], [0.5]], dtype=torch.float64)
            >>> inverse.solve(b, 1e-12).solution[:, 0].round(decimals=9).abs()
            tensor([1., 0., 0.], dtype=torch.float64)
        """
        for relative in JITTERS[:-1]:
            try:
                return cls._jittered(first_row, relative)
            except NotPositiveDefiniteError:
                continue
        return cls._jittered(first_row, JITTERS[-1])

    @classmethod
    def _jittered(cls, first_row: Tensor, relative: float) -> "ToeplitzInverse":
        row, jitter = first_row.clone(), relative * float(first_row[0])
        row[0] += jitter
        found = levinson(row, torch.eye(len(row), 1).to(row), 1.0)
        return cls(ToeplitzOperator(row), found.inverse_column, found.log_determinant, jitter)

    def log_determinant(self) -> float:
        """Return ``log |A|``."""
        return self.logarithm

    @torch.no_grad()
    def solve(self, b: Tensor, tolerance: float) -> Solve:
        """Solve for several right-hand sides, and refine what is left of them.

        Args:
            b: ``(n, k)``.
            tolerance: for the relative residual of every right-hand side; `Solve.certified` raises above it.
        """
        found = Solve(torch.zeros_like(b), b.new_ones(b.shape[1]), 0, tolerance, "Gohberg-Semencul formula")
        for step in range(1, 1 + REFINEMENTS):
            left = b - self.operator @ found.solution if step > 1 else b
            x = found.solution + self._apply(left)
            residuals = relative_residuals(self.operator, x, b)
            if not bool(residuals.max() < found.residuals.max()):
                break
            found = replace(found, solution=x, residuals=residuals, steps=step)
            if float(residuals.max()) <= GOAL * tolerance:
                break
        return found

    @cached_property
    def _spectra(self) -> Tensor:
        """The transforms of the first columns of ``L`` and ``M``, ``(2, 1, f)``."""
        first = torch.zeros_like(self.column)
        first[1:] = self.column[1:].flip(0)
        spectra: Tensor = torch.fft.rfft(torch.stack([self.column, first]), n=self.operator.size)
        return spectra[:, None]

    def _apply(self, b: Tensor) -> Tensor:
        n, size = len(b), self.operator.size
        pulled = torch.fft.irfft(torch.fft.rfft(b.mT, n=size) * self._spectra.conj(), n=size)[..., :n]
        both = torch.fft.rfft(pulled, n=size) * self._spectra
        product: Tensor = torch.fft.irfft(both[0] - both[1], n=size)
        return product[:, :n].mT / self.column[0]
