r"""Several outputs given their observed entries: means, variances and covariances at new rows.

With :math:`A` the covariance of the observed entries, :math:`\alpha = A^{-1}(y - H \hat\beta)` and
:math:`c_{op}(x) = B_{op} \, k(x)` that of output :math:`o` at a new row with the entries of output :math:`p`,

.. math::

    m_o(x) = h_o(x)^\top \hat\beta + c_o(x)^\top \alpha, \quad
    v_o(x) = B_{oo} \, k(x, x) - c_o(x)^\top A^{-1} c_o(x) + r_o^\top (H^\top A^{-1} H)^{-1} r_o, \quad
    r_o = h_o(x) - H^\top A^{-1} c_o(x).

Source: Rasmussen and Williams (2006), equations 2.25, 2.26 and 2.42, with the covariance of several outputs.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import gpytorch
import torch
from torch import Tensor

from nonparam.kernels.evaluate import covariance, variance
from nonparam.model_selection.evidence import MeanFit, fit_mean, log_density
from nonparam.multioutput.kronecker_panel import KroneckerPanel
from nonparam.multioutput.panel import Panel
from nonparam.solvers.certified import CertifiedSolver
from nonparam.solvers.cholesky import CholeskyFactor

__all__ = ["PanelPosterior", "condition_panel"]

BLOCK = 512  # new rows worked on at a time

PanelFactor = CholeskyFactor | KroneckerPanel | CertifiedSolver


@dataclass(frozen=True)
class PanelPosterior:
    """Several outputs given their observed entries, in the units in which they are centred and scaled.

    Attributes:
        kernel: of the rows, at its fitted hyperparameters.
        panel: what is observed.
        b: ``(t, t)``, the covariance of the outputs.
        noise: ``(t,)``, variances.
        factor: of the covariance of the observed entries, or what solves with it.
        mean: the fit of the means, and the solve of the residual.
    """

    kernel: gpytorch.kernels.Kernel
    panel: Panel
    b: Tensor
    noise: Tensor
    factor: PanelFactor
    mean: MeanFit

    def log_marginal_likelihood(self) -> float:
        """Return the log density of the observed entries in nats."""
        return log_density(self.mean, self.factor, self.panel.count, 1)

    @torch.no_grad()
    def predict_mean(self, x: Tensor) -> Tensor:
        """Return the posterior means at ``x (m, d)``: ``(m, t)``."""
        return torch.cat(
            [self._mean(rows, covariance(self.kernel, self.panel.x, rows)) for rows in x.split(BLOCK)]
        )

    @torch.no_grad()
    def predict(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return posterior means and variances without noise at ``x (m, d)``, both ``(m, t)``."""
        parts = [self._moments(rows, covariance(self.kernel, self.panel.x, rows)) for rows in x.split(BLOCK)]
        means, variances = zip(*parts, strict=True)
        return torch.cat(means), torch.cat(variances)

    @torch.no_grad()
    def at_rows(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Return the same at the panel's own rows ``index (m,)``: white noise in the kernel is theirs too."""
        if len(index) == 0:
            return self.b.new_zeros(0, self.panel.t), self.b.new_zeros(0, self.panel.t)
        parts = [self._moments(self.panel.x[some], self._own(some)) for some in index.split(BLOCK)]
        means, variances = zip(*parts, strict=True)
        return torch.cat(means), torch.cat(variances)

    def _own(self, index: Tensor) -> Tensor:
        """Return the covariance of all rows with some of them, ``(n, m)``."""
        cross = covariance(self.kernel, self.panel.x, self.panel.x[index])
        cross[index, torch.arange(len(index), device=index.device)] = variance(
            self.kernel, self.panel.x[index]
        )
        return cross

    @torch.no_grad()
    def predict_covariance(self, x: Tensor, outputs: Sequence[int]) -> Tensor:
        """Return the posterior covariance of some outputs at ``x (m, d)``, without noise.

        Args:
            x: ``(m, d)``.
            outputs: ``s`` of them.

        Returns:
            ``(s m, s m)``, output after output.
        """
        k, chosen = covariance(self.kernel, self.panel.x, x), list(outputs)
        cross = torch.cat([self._cross(o, k) for o in chosen], 1)
        pulled, basis = self._pulled(k), self.panel.basis_at(x)
        root = torch.cat([self._uncertainty(pulled[o], basis[o]) for o in chosen], 1)
        prior = torch.kron(self.b[chosen][:, chosen].contiguous(), covariance(self.kernel, x).contiguous())
        joint = prior - self.factor.gram(cross) + root.mT @ root
        torch.diagonal(joint).clamp_(min=0.0)
        return 0.5 * (joint + joint.mT)

    def _moments(self, x: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        """Return means and variances at ``x (m, d)``, whose covariance with the panel's rows is ``k``."""
        pulled, basis = self._pulled(k), self.panel.basis_at(x)
        coefficients = [self._uncertainty(p, h).square().sum(0) for p, h in zip(pulled, basis, strict=True)]
        prior = variance(self.kernel, x)[:, None] * torch.diagonal(self.b)
        left = (prior - self._explained(k)).clamp_min(0.0)  # rounding may leave -1e-16
        return self._mean(x, k), left + torch.stack(coefficients, 1)

    def _mean(self, x: Tensor, k: Tensor) -> Tensor:
        pulled = (k.mT @ self.panel.scattered(self.mean.alpha)[..., 0].mT) @ self.b
        known = [h @ self.mean.coefficients for h in self.panel.basis_at(x)]
        return pulled + torch.cat(known, 1)

    def _cross(self, output: int, k: Tensor) -> Tensor:
        """Return the covariance of the observed entries with an output at new rows, ``(N, m)``."""
        return self.b[output, self.panel.output][:, None] * k[self.panel.row]

    def _explained(self, k: Tensor) -> Tensor:
        """Return how much the observations lower the variance, ``(m, t)``."""
        if isinstance(self.factor, KroneckerPanel):
            return self.factor.explained(self.b, k)
        parts = [self.factor.quadratic(self._cross(o, k)) for o in range(self.panel.t)]
        return torch.stack(parts, 1)

    def _pulled(self, k: Tensor) -> Tensor:
        """Return ``H' A^-1 c_o(x)`` for every output, ``(t, Q, m)``."""
        weighted = self.panel.scattered(self.mean.weighted_basis)
        rows = weighted.mT @ k
        return (self.b @ rows.flatten(1)).reshape(rows.shape)

    def _uncertainty(self, pulled: Tensor, basis: Tensor) -> Tensor:
        """Return ``(Q, m)``, whose columns' squared norms are the variance due to the coefficients."""
        root = torch.linalg.cholesky(self.mean.information)
        half: Tensor = torch.linalg.solve_triangular(root, basis.mT - pulled, upper=False)
        return half


def condition_panel(
    kernel: gpytorch.kernels.Kernel, panel: Panel, b: Tensor, noise: Tensor, factor: PanelFactor
) -> PanelPosterior:
    """Condition several outputs on the observed entries.

    Args:
        kernel: of the rows.
        panel: what is observed.
        b: ``(t, t)``.
        noise: ``(t,)``.
        factor: of the covariance of the observed entries.

    Raises:
        NotPositiveDefiniteError: weights of the means that the entries do not tell apart.
    """
    return PanelPosterior(kernel, panel, b, noise, factor, fit_mean(factor, panel.y, panel.basis))
