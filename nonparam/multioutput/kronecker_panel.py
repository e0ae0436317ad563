r"""A complete panel: one eigen-decomposition of the rows and one of the outputs.

With noise :math:`D = \mathrm{diag}(\sigma_1^2, \dots, \sigma_t^2)` and
:math:`\tilde B = D^{-1/2} B D^{-1/2} = V S V^\top`, :math:`K = Q \Lambda Q^\top`,

.. math::

    B \otimes K + D \otimes I = (D^{1/2} \otimes I) \, (\tilde B \otimes K + I) \, (D^{1/2} \otimes I), \qquad
    \tilde B \otimes K + I = (V \otimes Q) (S \otimes \Lambda + I) (V \otimes Q)^\top:

:math:`O(n^3 + t^3)` in place of :math:`O(n^3 t^3)`. The derivatives of the log marginal likelihood in
:math:`\tilde B` and :math:`K` follow from the same eigenvectors, and with
:math:`\alpha = A^{-1} (y - H \hat\beta)`

.. math:: \frac{\partial \log p}{\partial \sigma_o^2} = \tfrac12 \sum_i \alpha_{oi}^2
          - \tfrac12 \, \sigma_o^{-2} \sum_{j,i} \frac{V_{oj}^2}{S_j \Lambda_i + 1}.

Source: Rakitsch, Lippert, Borgwardt and Stegle (2013), It is all in the noise: efficient multi-task Gaussian
process inference with structured residuals, NIPS 26, section 2.2, for noise that is independent of the rows.
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from nonparam.model_selection.evidence import fit_mean, log_density
from nonparam.multioutput.panel import Panel
from nonparam.multioutput.slope import PanelEvidence, on_upper
from nonparam.solvers.kronecker import KroneckerFactor, KroneckerOperator, kronecker_eigen
from nonparam.solvers.structured import StructuredFactor

__all__ = ["KroneckerPanel", "kronecker_evidence"]


@dataclass(frozen=True)
class KroneckerPanel:
    """The inverse of ``A = B x K + D x I`` (Kronecker products), entries output after output.

    Attributes:
        eigen: of ``D^-1/2 B D^-1/2 x K + I``.
        noise: ``(t,)``, the diagonal of ``D``.
        jitter: 0: nothing is added to the diagonal.

    Examples:
        >>> b = torch.tensor([[2.0, 1.0], [1.0, 2.0]], dtype=torch.float64)
        >>> noise = torch.tensor([0.5, 2.0], dtype=torch.float64)
        >>> factor = KroneckerPanel.of(b, noise, b)
        >>> a = torch.kron(b, b) + torch.diag(noise.repeat_interleave(2))
        >>> torch.allclose(a @ factor.solve(a), a), round(factor.log_determinant() - float(a.logdet()), 9)
        (True, 0.0)
    """

    eigen: KroneckerFactor
    noise: Tensor
    jitter: float = 0.0

    @classmethod
    def of(cls, b: Tensor, noise: Tensor, k: Tensor) -> "KroneckerPanel":
        """Decompose.

        Args:
            b: ``(t, t)``, the covariance of the outputs.
            noise: ``(t,)``, positive variances.
            k: ``(n, n)``, the covariance of the rows.

        Raises:
            NotPositiveDefiniteError: a covariance with a negative eigenvalue beyond rounding, or an entry
                that is not finite.
        """
        root = noise.sqrt()
        return cls(kronecker_eigen((b / root / root[:, None], k), 1.0), noise)

    @cached_property
    def _scale(self) -> Tensor:
        """``(t n, 1)``: the standard deviation of the noise of every entry."""
        return self.noise.sqrt().repeat_interleave(len(self.eigen.vectors[1]))[:, None]

    @cached_property
    def _inverse(self) -> StructuredFactor:
        """What solves with the scaled matrix, each solve certified."""
        order = torch.arange(len(self._scale), device=self.noise.device)
        return StructuredFactor("kronecker", self.eigen.whole, self.eigen, order)

    def solve(self, b: Tensor) -> Tensor:
        """Return ``A^-1 b`` for ``b (t n, k)``."""
        return self._inverse.solve(b / self._scale) / self._scale

    def gram(self, b: Tensor) -> Tensor:
        """Return ``b' A^-1 b``, ``(k, k)``, for ``b (t n, k)``."""
        turned = KroneckerOperator(tuple(q.mT for q in self.eigen.vectors)) @ (b / self._scale)
        half = turned / self.eigen.eigenvalues.sqrt()[:, None]
        return half.mT @ half

    def log_determinant(self) -> float:
        """Return ``log |A|``."""
        n = len(self.eigen.vectors[1])
        return self.eigen.log_determinant() + n * float(self.noise.log().sum())

    def explained(self, b: Tensor, k: Tensor) -> Tensor:
        r"""Return how much the observations lower the variance at new rows, ``(m, t)``.

        .. math:: \sum_{j,i} \frac{c_{jo}^2 \, u_i(x)^2}{S_j \Lambda_i + 1}, \quad
                  c = V^\top D^{-1/2} B, \quad u(x) = Q^\top k(x)

        Args:
            b: ``(t, t)``.
            k: ``(n, m)``, the covariance of the rows with the new ones.
        """
        c = self.eigen.vectors[0].mT @ (b / self.noise.sqrt()[:, None])
        u = self.eigen.vectors[1].mT @ k
        return ((1.0 / self._grid) @ u.square()).mT @ c.square()

    def noise_slope(self, alpha: Tensor) -> Tensor:
        """Return the derivative of the log marginal likelihood in the noise, for ``alpha (t n, 1)``."""
        shares = self.eigen.vectors[0].square() @ (1.0 / self._grid).sum(1)
        return 0.5 * (alpha.reshape(len(self.noise), -1).square().sum(1) - shares / self.noise)

    @property
    def _grid(self) -> Tensor:
        """``(t, n)``: the eigenvalues of the scaled matrix."""
        return self.eigen.eigenvalues.reshape(len(self.noise), -1)


def kronecker_evidence(panel: Panel, b: Tensor, noise: Tensor, k: Tensor) -> PanelEvidence:
    """Return the log marginal likelihood of a complete panel and its derivatives.

    Args:
        panel: without a gap.
        b: ``(t, t)``.
        noise: ``(t,)``.
        k: ``(n, n)``.

    Raises:
        NotPositiveDefiniteError: see `KroneckerPanel.of`.
        ConvergenceError: a solve that rounding leaves inexact.
    """
    factor = KroneckerPanel.of(b, noise, k)
    mean = fit_mean(factor, panel.y, panel.basis)
    value = log_density(mean, factor, panel.count, 1)
    in_scaled, in_k = factor.eigen.slopes(mean.alpha * factor._scale)
    root = noise.sqrt()
    in_b = in_scaled / root / root[:, None]
    return PanelEvidence(value, on_upper(in_k), in_b, factor.noise_slope(mean.alpha), 0.0)
