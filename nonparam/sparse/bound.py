r"""Titsias's collapsed bound: a lower bound of the log evidence, and an upper one.

With the sums :math:`\Phi = \sum_i a_i a_i^\top` and :math:`b = \sum_i a_i y_i` of
`nonparam.sparse.projection`, and :math:`M = I + \Phi / \sigma^2`, the best Gaussian for the whitened inducing
variables is
:math:`q(v) = N(\alpha, M^{-1})`, :math:`\alpha = M^{-1} b / \sigma^2`, and

.. math::

    \log p(y) \ge \log N(y \mid 0, Q + \sigma^2 I) - \frac{\mathrm{tr}(K - Q)}{2 \sigma^2}, \quad
    \log p(y) \le -\tfrac n2 \log 2\pi - \tfrac12 \log |Q + \sigma^2 I|
        - \tfrac12 y^\top (Q + (\sigma^2 + \mathrm{tr}(K - Q)) I)^{-1} y

with :math:`Q = A^\top A`. At the best :math:`q` the gradient of the bound is that at a fixed :math:`q`, so
that one set of formulas serves this bound and the one of mini-batches.

Source: Titsias (2009), Variational learning of inducing variables in sparse Gaussian processes, AISTATS,
equation 9; Titsias (2014), Variational inference for Gaussian and determinantal point processes, for the
upper one.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from nonparam.kernels.evaluate import covariance, variance
from nonparam.model_selection.evidence import LOG_2PI
from nonparam.solvers.cholesky import CholeskyFactor, cholesky
from nonparam.sparse.projection import Projection, Statistics

__all__ = ["Seen", "Slopes", "Summary", "added", "pull_points"]


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

    def misfit(self, sums: Statistics) -> float:
        r"""Return :math:`E_q \sum_i |y_i - f(x_i)|^2` over the rows of some sums."""
        fitted = float((self.mean * (sums.gram @ self.mean)).sum())
        spread = float((self.covariance * sums.gram).sum())
        missed = sums.squares - 2.0 * float((self.mean * sums.moment).sum()) + fitted
        return missed + self.outputs * (sums.rest + spread)

    def divergence(self) -> float:
        """Return the divergence of ``q`` from the prior, in nats."""
        m, t = self.mean.shape
        trace = float(torch.diagonal(self.covariance).sum())
        return 0.5 * (t * (trace - m + self.factor.log_determinant()) + float(self.mean.square().sum()))

    def bound_of(self, sums: Statistics) -> float:
        """Return the bound at this ``q`` of the rows of other sums, in nats."""
        expected = self.outputs * sums.n * (LOG_2PI + math.log(self.noise)) + self.misfit(sums) / self.noise
        return -0.5 * expected - self.divergence()

    def noise_slope(self, sums: Statistics) -> float:
        """Return the derivative of `bound_of` in the logarithm of the noise, at a fixed ``q``."""
        return 0.5 * (self.misfit(sums) / self.noise - self.outputs * sums.n)


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
        """Return the derivative in covariances ``(b, m)`` of rows with these features and outputs."""
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
        """Return the derivative in the points' own covariance, by sums over rows, weights included."""
        summary, factor = self.summary, 1.0 / self.summary.noise
        left = sums.moment - sums.gram @ summary.mean
        slopes = self._unexplained @ sums.gram
        slopes.addmm_(summary.mean, left.mT, beta=summary.outputs * factor, alpha=factor)
        return self.projection.pulled_square(slopes)


@dataclass(frozen=True)
class Seen:
    """Rows as the inducing points see them, with graphs to what is learnt.

    Attributes:
        cross: covariances with the points, ``(b, m)``.
        prior: variances, ``(b,)``.
        features: ``(m, b)``, without a graph.
    """

    cross: Tensor
    prior: Tensor
    features: Tensor

    @classmethod
    def of(cls, projection: Projection, z: Tensor, x: Tensor) -> "Seen":
        """Evaluate the kernel between rows ``x (b, d)`` and points, with a graph where they are learnt."""
        cross = covariance(projection.kernel, x, z)
        return cls(cross, variance(projection.kernel, x), projection.whitened(cross))

    def pull(self, slopes: Slopes, y: Tensor, into: Sequence[Tensor]) -> list[Tensor]:
        """Return what rows with outputs ``y (b, t)`` add to derivatives, but for the points' covariance."""
        ends = _gradient(self.prior, torch.full_like(self.prior, slopes.diagonal), into)
        return added(ends, _gradient(self.cross, slopes.rows(self.features, y), into))


def pull_points(slopes: Slopes, z: Tensor, sums: Statistics, into: Sequence[Tensor]) -> list[Tensor]:
    """Return derivatives of the bound through the points' own covariance.

    Args:
        slopes: of the bound in covariances.
        z: the points, with a graph where they are learnt.
        sums: over the rows that the bound is of.
        into: parameters of the kernel, and the points.
    """
    return _gradient(covariance(slopes.projection.kernel, z, z), slopes.points(sums), into)


def added(some: Sequence[Tensor], others: Sequence[Tensor]) -> list[Tensor]:
    """Return the sums of tensors with others."""
    return [one + other for one, other in zip(some, others, strict=True)]


def _gradient(values: Tensor, weights: Tensor, into: Sequence[Tensor]) -> list[Tensor]:
    found = [torch.zeros_like(each) for each in into]
    free = [i for i, each in enumerate(into) if each.requires_grad]
    if values.requires_grad and free:
        slopes = torch.autograd.grad(values, [into[i] for i in free], weights, materialize_grads=True)
        for i, slope in zip(free, slopes, strict=True):
            found[i] = slope
    return found
