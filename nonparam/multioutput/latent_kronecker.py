r"""A large panel with gaps: conjugate gradients whose products use the structure of the complete one.

.. math:: A = P \, (B \otimes K) \, P^\top + \Sigma, \qquad
          A v = P \, \mathrm{vec}(K \, \mathrm{mat}(P^\top v) \, B) + \Sigma v

:math:`P` picks the observed entries: a product costs :math:`O(n^2 t + n t^2)` and no memory beyond that of
:math:`K`. Solves, probes and certificates are those of `nonparam.solves`. With the pairs
:math:`u_s, v_s` of the trace and :math:`U_s, V_s` of :math:`n \times t`, 0 in the gaps,

.. math::

    \sum_s u_s^\top \, \partial A \, v_s = \sum_s \mathrm{tr}(U_s^\top \, \partial K \, V_s B)
        + \sum_s \mathrm{tr}(\partial B \, U_s^\top K V_s) + \sum_s u_s^\top \, \partial\Sigma \, v_s.

Source: Lin, Ament, Balandat, Eriksson, Hernández-Lobato and Bakshy (2025), Scalable Gaussian processes with
latent Kronecker structure, ICML, section 3.
"""

from dataclasses import dataclass

import gpytorch
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nonparam.kernels import variance
from nonparam.kernels.operator import KernelOperator
from nonparam.multioutput.coregionalisation import PanelTheta
from nonparam.multioutput.masked_cholesky import masked_covariance
from nonparam.multioutput.panel import Panel
from nonparam.objective import Data
from nonparam.processes import free_memory
from nonparam.solvers.certified import CertifiedSolver
from nonparam.solvers.factored import Factored
from nonparam.solvers.operator import SymmetricOperator
from nonparam.solvers.plan import fits
from nonparam.solves import ROUNDED, SolvedEvidence

__all__ = ["MaskedKronecker", "SolvedPanel", "latent_solver"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class MaskedKronecker:
    """``P (B x K) P'`` (a Kronecker product) for the observed entries of a panel.

    Attributes:
        panel: what is observed.
        b: ``(t, t)``, in the precision of ``k``.
        k: ``(n, n)``, the covariance of the rows.

    Examples:
        >>> from nonparam.means import Mean
        >>> from nonparam.solvers.operator import Dense
        >>> x, nan = torch.zeros(2, 1), float("nan")
        >>> panel = Panel(x, torch.tensor([[1.0, 2.0], [3.0, nan]]), Mean("zero", x[0], x[0]))
        >>> b = torch.tensor([[1.0, 0.5], [0.5, 1.0]])
        >>> a = MaskedKronecker(panel, b, Dense(torch.tensor([[2.0, 1.0], [1.0, 2.0]])))
        >>> (a @ torch.ones(3, 1)).T, a.diagonal(), a.rows(torch.tensor([2]))
        (tensor([[4.0000, 3.5000, 3.5000]]), tensor([2., 2., 2.]), tensor([[1.0000, 0.5000, 2.0000]]))
    """

    panel: Panel
    b: Tensor
    k: SymmetricOperator

    @property
    def shape(self) -> torch.Size:
        """Return ``(N, N)``."""
        return torch.Size((self.panel.count, self.panel.count))

    @property
    def dtype(self) -> torch.dtype:
        """The precision of its products."""
        return self.b.dtype

    @property
    def device(self) -> torch.device:
        """Where its products are computed."""
        return self.b.device

    def __matmul__(self, v: Tensor) -> Tensor:
        """Return the product with ``v (N, k)``."""
        rows = self.multiplied(self.panel.scattered(v))
        return self.panel.gathered((self.b @ rows.flatten(1)).reshape(rows.shape))

    def multiplied(self, full: Tensor) -> Tensor:
        """Return ``K`` times every output of ``full (t, n, k)``."""
        t, n, count = full.shape
        wide = full.permute(1, 0, 2).reshape(n, t * count)
        return (self.k @ wide).reshape(n, t, count).permute(1, 0, 2)

    def diagonal(self) -> Tensor:
        """Return the diagonal, ``(N,)``."""
        own = torch.diagonal(self.b)[self.panel.output]
        return own * self.k.diagonal().to(own)[self.panel.row]

    def rows(self, index: Tensor) -> Tensor:
        """Return the rows with these numbers, ``(b, N)``."""
        k = self.k.rows(self.panel.row[index])[:, self.panel.row]
        return self.b[self.panel.output[index]][:, self.panel.output] * k


def latent_solver(
    panel: Panel,
    kernel: gpytorch.kernels.Kernel,
    b: Tensor,
    noise: Tensor,
    *,
    dtype: torch.dtype,
    tolerance: float,
    rank: int,
    seed: int,
    pivots: Tensor | None = None,
    factor: Factored | None = None,
) -> CertifiedSolver:
    """Return the inverse of the covariance of the observed entries, by certified solves.

    Args:
        panel: what is observed.
        kernel: of the rows, at one value of its hyperparameters.
        b: ``(t, t)``.
        noise: ``(t,)``, positive.
        dtype: of the products.
        tolerance: of the relative residual of every right-hand side.
        rank: of the preconditioner, at most.
        seed: of the pivots and the probes.
        pivots: of the preconditioner; drawn by default.
        factor: a preconditioner at hand, in place of one of low rank.
    """
    x = panel.x.to(dtype)
    keep = fits(len(x), x.element_size(), free_memory(x.device))
    matrix = MaskedKronecker(panel, b.to(dtype), KernelOperator(kernel, x, keep=keep))
    return CertifiedSolver.of(
        matrix,
        noise.to(dtype)[panel.output],
        tolerance=tolerance,
        seed=seed,
        rank=rank,
        pivots=pivots,
        factor=factor,
    )


@dataclass(frozen=True)
class SolvedPanel(SolvedEvidence):
    """The log evidence of hyperparameters given a panel with gaps, and its gradient by certified solves.

    Attributes:
        panel: what is observed; ``data`` has it entry by entry.
    """

    panel: Panel | None = None

    @classmethod
    def of(
        cls,
        panel: Panel,
        theta: PanelTheta,
        *,
        with_prior: bool,
        dtype: torch.dtype,
        tolerance: float,
        num_probes: int,
        rank: int,
        seed: int,
    ) -> "SolvedPanel":
        """Return the evidence of a panel; arguments as of `SolvedEvidence`."""
        ones = torch.ones_like(panel.y[:, 0])
        data = Data(panel.x[panel.row], panel.y, panel.basis, ones, None)
        return cls(data, theta, with_prior, dtype, tolerance, num_probes, rank, seed, panel=panel)

    def solver(
        self, point: Array, pivots: Tensor | None = None, factor: Factored | None = None
    ) -> CertifiedSolver:
        """Return the inverse of the covariance at ``point (p,)``, with given pivots or a factor at hand."""
        panel, theta = self._whole
        return latent_solver(
            panel,
            theta.kernel,
            *theta.tensors(point, panel.x),
            dtype=self.dtype,
            tolerance=self.tolerance,
            rank=self.rank,
            seed=self.seed,
            pivots=pivots,
            factor=factor,
        )

    def exceeds_float32(self, point: Array) -> bool:
        """Return whether rounding to float32 is likely to leave residuals; see `SolvedEvidence`."""
        panel, theta = self._whole
        b, noise = theta.tensors(point, panel.x)
        with torch.no_grad():
            trace = float((torch.diagonal(b)[panel.output] * variance(theta.kernel, self.data.x)).sum())
        return trace * torch.finfo(torch.float32).eps > ROUNDED * float(noise.min())

    @property
    def _whole(self) -> tuple[Panel, PanelTheta]:
        assert self.panel is not None and isinstance(self.theta, PanelTheta)
        return self.panel, self.theta

    def _covariance(self, point: Array, dtype: torch.dtype) -> Tensor:
        panel, theta = self._whole
        b, noise = theta.tensors(point, panel.x)
        k = KernelOperator(theta.kernel, panel.x.to(dtype)).to_dense()
        return masked_covariance(panel, b.to(dtype), noise.to(dtype), k)

    def _gather(self, solver: CertifiedSolver, left: Tensor, right: Tensor, point: Array) -> Array:
        panel, theta = self._whole
        matrix, u, v = solver.matrix, panel.scattered(left), panel.scattered(right)
        assert isinstance(matrix, MaskedKronecker)
        k = matrix.k
        assert isinstance(k, KernelOperator)
        mixed = (matrix.b @ v.flatten(1)).reshape(v.shape)
        columns = [full.permute(1, 0, 2).flatten(1) for full in (u, mixed)]
        kernel = k.gradient(columns[0], columns[1], theta.parameters)
        in_b = u.flatten(1).double() @ matrix.multiplied(v).flatten(1).mT.double()
        per_entry = (left * right).sum(1).double()
        noise = torch.zeros(panel.t, dtype=torch.float64, device=per_entry.device)
        noise.index_add_(0, panel.output, per_entry)
        in_b = 0.5 * (in_b + in_b.mT)
        gradient = theta.collect(point, kernel, in_b.cpu().numpy(), noise.cpu().numpy())
        if self.with_prior:
            gradient = gradient + theta.log_priors(point[None])[1][0]
        return gradient
