r"""Titsias's collapsed bound: a lower bound of the log evidence, and an upper one.

With the sums :math:`\Phi = \sum_i a_i a_i^\top` and :math:`b = \sum_i a_i y_i` of `nonparam.sparse.projection`,
and :math:`M = I + \Phi / \sigma^2`, the best Gaussian for the whitened inducing variables is
:math:`q(v) = N(\alpha, M^{-1})`, :math:`\alpha = M^{-1} b / \sigma^2`, and

.. math::

    \log p(y) \ge \log N(y \mid 0, Q + \sigma^2 I) - \frac{\mathrm{tr}(K - Q)}{2 \sigma^2}, \quad
    \log p(y) \le -\tfrac n2 \log 2\pi - \tfrac12 \log |Q + \sigma^2 I|
        - \tfrac12 y^\top (Q + (\sigma^2 + \mathrm{tr}(K - Q)) I)^{-1} y

with :math:`Q = A^\top A`. At the best :math:`q` the gradient of the bound is that at a fixed :math:`q`, so that one
set of formulas serves this bound and the one of mini-batches.

Source: Titsias (2009), Variational learning of inducing variables in sparse Gaussian processes, AISTATS, equation
9; Titsias (2014), Variational inference for Gaussian and determinantal point processes, for the upper one.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from nonparam.kernels.evaluate import covariance, variance
from nonparam.model_selection.evidence import LOG_2PI
from nonparam.solvers.cholesky import CholeskyFactor, cholesky
from nonparam.sparse.projection import Projection, Statistics

__all__ = ["Slopes", "Summary", "pull"]


@dataclass(frozen=True)
class Summary:
    """What sums over rows say of the inducing variables at a noise variance.

    Attributes:
        sums: over the rows.
        noise: variance.
    """

    sums: Statistics
    noise: float

    @property
    def outputs(self) -> int:
        """The number of outputs."""
        return self.sums.moment.shape[1]

    @cached_property
    def factor(self) -> CholeskyFactor:
        """Of the precision ``M`` of the whitened inducing variables."""
        precision = self.sums.gram / self.noise
        torch.diagonal(precision).add_(1.0)
        return cholesky(precision.contiguous())

    @cached_property
    def mean(self) -> Tensor:
        """``alpha``, of the whitened inducing variables, ``(m, t)``."""
        return self.factor.solve(self.sums.moment / self.noise)

    @cached_property
    def covariance(self) -> Tensor:
        """``M^-1``, ``(m, m)``."""
        inverse = CholeskyFactor(self.factor.upper.clone(), 0.0).inverse_in_place()
        return inverse.triu() + inverse.triu(1).mT

    def lower(self) -> float:
        """Return the lower bound of the log evidence, in nats."""
        sums, t = self.sums, self.outputs
        quadratic = (sums.squares - float((sums.moment * self.mean).sum())) / self.noise
        return self._log_determinants() - 0.5 * quadratic - 0.5 * t * sums.rest / self.noise

    def upper(self) -> float:
        """Return the upper bound of the log evidence, in nats."""
        sums, total = self.sums, self.noise + self.sums.rest
        quadratic = (sums.squares - float(_explained(sums, total))) / total
        return self._log_determinants() - 0.5 * quadratic

    def _log_determinants(self) -> float:
        n, t = self.sums.n, self.outputs
        return -0.5 * t * (n * (LOG_2PI + math.log(self.noise)) + self.factor.log_determinant())

    def noise_slope(self) -> float:
        """Return the derivative of the lower bound in the logarithm of the noise, at a fixed ``q``."""
        sums, t, m = self.sums, self.outputs, len(self.sums.gram)
        fitted = float((self.mean * (sums.gram @ self.mean)).sum())
        misfit = sums.squares - 2.0 * float((self.mean * sums.moment).sum()) + fitted
        spread = self.noise * (m - float(torch.diagonal(self.covariance).sum()))
        return 0.5 * ((misfit + t * (sums.rest + spread)) / self.noise - t * sums.n)


def _explained(sums: Statistics, noise: float) -> Tensor:
    """Return what ``y' y`` loses by the rows' projections, at another noise."""
    return (sums.moment * Summary(sums, noise).factor.solve(sums.moment)).sum() / noise


@dataclass(frozen=True)
class Slopes:
    r"""Derivatives of the bound at a fixed ``q(v)`` in the covariances of rows with the inducing points.

    .. math:: \frac{\partial F}{\partial A} = \frac{w}{\sigma^2}
              \big( \alpha (y - A^\top \alpha)^\top + t\, (I - S) A \big), \quad S = \mathrm{cov}\, v, \quad
              \frac{\partial F}{\partial K_{Zx}} = L^{-\top} \frac{\partial F}{\partial A}

    Attributes:
        projection: the inducing points.
        summary: gives ``q``.
        weight: ``w``, with which each row counts.
    """

    projection: Projection
    summary: Summary
    weight: float = 1.0

    @cached_property
    def _unexplained(self) -> Tensor:
        """``I - S``."""
        unexplained = -self.summary.covariance
        torch.diagonal(unexplained).add_(1.0)
        return unexplained

    @cached_property
    def _pulled(self) -> tuple[Tensor, Tensor]:
        """``L^-T`` times mean and ``I - S``, by which a product per block replaces a solve."""
        pulled = self.projection.pulled
        return pulled(self.summary.mean), pulled(self._unexplained)

    def rows(self, features: Tensor, y: Tensor) -> Tensor:
        """Return the derivative in covariances ``(b, m)`` of rows with features ``(m, b)``, outputs ``(b, t)``."""
        factor = self.weight / self.summary.noise
        mean, unexplained = self._pulled
        left = y - features.mT @ self.summary.mean
        slopes = features.mT @ unexplained.mT
        return slopes.addmm_(left, mean.mT, beta=y.shape[1] * factor, alpha=factor)

    @property
    def diagonal(self) -> float:
        """The derivative in the prior variance of each row."""
        return -0.5 * self.weight * self.summary.outputs / self.summary.noise

    def points(self, sums: Statistics) -> Tensor:
        """Return the derivative in the points' own covariance, ``(m, m)``, by the sums over the same rows."""
        summary, factor = self.summary, self.weight / self.summary.noise
        left = sums.moment - sums.gram @ summary.mean
        slopes = self._unexplained @ sums.gram
        slopes.addmm_(summary.mean, left.mT, beta=summary.outputs * factor, alpha=factor)
        return self.projection.pulled_square(slopes)


def pull(
    slopes: Slopes, z: Tensor, blocks: Iterable[tuple[Tensor, Tensor]], sums: Statistics, into: Sequence[Tensor]
) -> list[Tensor]:
    """Return derivatives of the bound in parameters of the kernel, and in the points where they are among them.

    Args:
        slopes: of the bound in covariances.
        z: the points, with a graph where their derivative is asked for.
        blocks: rows ``(b, d)`` with their outputs ``(b, t)``.
        sums: over the same rows.
        into: parameters, and the points.
    """
    if not any(each.requires_grad for each in into):
        return [torch.zeros_like(each) for each in into]
    kernel = slopes.projection.kernel
    totals = _gradient(covariance(kernel, z, z), slopes.points(sums), into)
    for x, y in blocks:
        cross, prior = covariance(kernel, x, z), variance(kernel, x)
        found = _gradient(cross, slopes.rows(slopes.projection.whitened(cross), y), into)
        found += _gradient(prior, torch.full_like(prior, slopes.diagonal), into)
        for i, each in enumerate(found):
            totals[i % len(into)] = totals[i % len(into)] + each
    return totals


def _gradient(values: Tensor, weights: Tensor, into: Sequence[Tensor]) -> list[Tensor]:
    found = [torch.zeros_like(each) for each in into]
    free = [i for i, each in enumerate(into) if each.requires_grad]
    if values.requires_grad and free:
        slopes = torch.autograd.grad(values, [into[i] for i in free], weights, materialize_grads=True)
        for i, slope in zip(free, slopes, strict=True):
            found[i] = slope
    return found
