r"""Rows projected on inducing points, and the sums over rows that all else follows from.

With :math:`L L^\top = K_{ZZ}` the inducing variables are whitened, :math:`u = L v`, :math:`v \sim N(0, I)`,
and row :math:`i` sees them through :math:`a_i = L^{-1} k_Z(x_i)`:

.. math:: f(x_i) = a_i^\top v + \text{rest}, \quad \mathrm{var}\,\text{rest} = k(x_i, x_i) - a_i^\top a_i .
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import gpytorch
import torch
from scipy.linalg import blas
from torch import Tensor

from nonparam.errors import NotPositiveDefiniteError
from nonparam.kernels.evaluate import covariance, variance
from nonparam.solvers.cholesky import JITTERS, CholeskyFactor, cholesky

__all__ = ["BLOCK", "Projection", "Statistics", "project", "reliable", "statistics"]

BLOCK = 1024  # rows that are worked on at a time
RELIABLE = 1e-11  # a squared pivot below it, relative to the diagonal, has lost five digits of its row


@dataclass(frozen=True)
class Projection:
    """Inducing points at one value of the hyperparameters.

    Attributes:
        kernel: at that value.
        z: ``(m, d)``, the points.
        factor: of their covariance.
    """

    kernel: gpytorch.kernels.Kernel
    z: Tensor
    factor: CholeskyFactor

    def features(self, x: Tensor) -> Tensor:
        """Return ``a`` of rows ``x (b, d)``: ``(m, b)``."""
        with torch.no_grad():
            return self.whitened(covariance(self.kernel, x, self.z))

    def whitened(self, cross: Tensor) -> Tensor:
        """Return the features ``(m, b)`` of rows with these covariances ``(b, m)`` with the points."""
        return self.factor.half_solve(cross.detach().mT)

    def pulled(self, slopes: Tensor) -> Tensor:
        """Return ``L^-T G``: slopes in covariances with the points for slopes ``G (m, b)`` in features."""
        found: Tensor = torch.linalg.solve_triangular(self.factor.upper, slopes, upper=True)
        return found

    def pulled_square(self, slopes: Tensor) -> Tensor:
        r"""Return slopes in the points' own covariance, through ``L``.

        .. math:: -\mathrm{sym}\big(L^{-\top} \, \mathrm{low}(C) \, L^{-1}\big), \quad C = \sum_i g_i a_i^\top

        where ``low`` halves the diagonal of the lower triangle, and :math:`g_i` is the slope in :math:`a_i`.

        Args:
            slopes: ``C``, ``(m, m)``.

        Source: Murray (2016), Differentiation of the Cholesky decomposition, arXiv:1602.07527.
        """
        low = slopes.tril()
        torch.diagonal(low).mul_(0.5)
        half = self.pulled(self.pulled(low).mT)
        return half.add(half.mT).mul_(-0.5)


@dataclass(frozen=True)
class Statistics:
    r"""Sums over rows; all that a Gaussian likelihood lets the data say of the inducing variables.

    Attributes:
        gram: :math:`\sum_i a_i a_i^\top`, ``(m, m)``.
        moment: :math:`\sum_i a_i y_i^\top`, ``(m, t)``.
        squares: :math:`\sum_i |y_i|^2`.
        rest: :math:`\sum_i k(x_i, x_i) - a_i^\top a_i`, what the points do not explain.
        n: the number of rows.
    """

    gram: Tensor
    moment: Tensor
    squares: float
    rest: float
    n: float

    @classmethod
    def none(cls, z: Tensor, outputs: int) -> "Statistics":
        """Return the sums over no row."""
        m = len(z)
        return cls(z.new_zeros(m, m), z.new_zeros(m, outputs), 0.0, 0.0, 0.0)

    def plus(self, features: Tensor, y: Tensor, prior: float) -> "Statistics":
        """Return the sums with more rows; those of these are lost.

        Args:
            features: ``(m, b)``.
            y: ``(b, t)``.
            prior: the sum of the rows' variances.
        """
        explained = float(torch.linalg.vector_norm(features)) ** 2
        blas.dsyrk(1.0, features.numpy(), beta=1.0, c=self.gram.numpy().T, lower=1, overwrite_c=1)
        return Statistics(
            self.gram.copy_(self.gram.triu() + self.gram.triu(1).mT),
            self.moment.addmm_(features, y),
            self.squares + float(y.square().sum()),
            self.rest + max(prior - explained, 0.0),
            self.n + len(y),
        )

    def mixed(self, other: "Statistics", share: float) -> "Statistics":
        """Return ``(1 - share)`` of these sums and ``share`` of others, which are lost."""
        keep = 1.0 - share
        return Statistics(
            other.gram.mul_(share).add_(self.gram, alpha=keep),
            other.moment.mul_(share).add_(self.moment, alpha=keep),
            keep * self.squares + share * other.squares,
            keep * self.rest + share * other.rest,
            keep * self.n + share * other.n,
        )

    def scaled(self, factor: float) -> "Statistics":
        """Return as many times the sums."""
        return replace(
            self,
            gram=self.gram * factor,
            moment=self.moment * factor,
            squares=factor * self.squares,
            rest=factor * self.rest,
            n=factor * self.n,
        )


def reliable(matrix: Tensor) -> CholeskyFactor:
    """Factorise the covariance of inducing points; a jitter is added where digits of a pivot are lost.

    Args:
        matrix: ``(m, m)``; left as it is.

    Returns:
        The factor, and the smallest jitter with which all pivots have digits.

    Raises:
        NotPositiveDefiniteError: an entry is not finite.
    """
    scale = float(torch.diagonal(matrix).mean())
    for relative in JITTERS:
        shifted = matrix.clone()
        torch.diagonal(shifted).add_(relative * scale)
        found = cholesky(shifted, scale)
        if float(torch.diagonal(found.upper).square().min()) > RELIABLE * scale:
            return CholeskyFactor(found.upper, found.jitter + relative * scale)
    raise NotPositiveDefiniteError(
        "the covariance of the inducing points has no factor with reliable digits: expected points that "
        "differ and a kernel with a positive variance; try fewer points (m), or another kernel"
    )


def project(kernel: gpytorch.kernels.Kernel, z: Tensor) -> Projection:
    """Factorise the covariance of inducing points ``z (m, d)``; white noise of the kernel is not theirs.

    Examples:
        >>> from nonparam.kernels import RBF
        >>> z = torch.tensor([[0.0], [1.0]], dtype=torch.float64)
        >>> project(RBF(1.0), z).features(z).round(decimals=3)
        tensor([[1.0000, 0.6070],
                [0.0000, 0.7950]], dtype=torch.float64)
    """
    return Projection(kernel, z.detach(), reliable(covariance(kernel, z, z).detach()))


@torch.no_grad()
def statistics(projection: Projection, blocks: Iterable[tuple[Tensor, Tensor]], outputs: int) -> Statistics:
    """Sum over rows, some at a time.

    Args:
        projection: the inducing points.
        blocks: rows ``(b, d)`` with their outputs ``(b, t)``.
        outputs: ``t``.
    """
    found = Statistics.none(projection.z, outputs)
    for x, y in blocks:
        found = found.plus(projection.features(x), y, float(variance(projection.kernel, x).sum()))
    return found
