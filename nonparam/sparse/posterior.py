r"""What inducing variables tell of new rows.

.. math:: m(x) = a(x)^\top \alpha, \quad
          v(x) = \big(k(x, x) - a(x)^\top a(x)\big) + a(x)^\top M^{-1} a(x)

Source: Titsias (2009), equation 6.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from nonparam.kernels.evaluate import covariance, variance
from nonparam.sparse.bound import Summary
from nonparam.sparse.projection import BLOCK, Projection

__all__ = ["SparsePosterior"]


@dataclass(frozen=True)
class SparsePosterior:
    """A Gaussian process given what its rows say of inducing variables, outputs centred and scaled.

    Attributes:
        projection: the inducing points.
        summary: of the rows.
    """

    projection: Projection
    summary: Summary

    @torch.no_grad()
    def predict_mean(self, x: Tensor) -> Tensor:
        """Return means at rows ``x (q, d)``: ``(q, t)``."""
        return torch.cat([self.projection.features(rows).mT @ self.summary.mean for rows in x.split(BLOCK)])

    @torch.no_grad()
    def predict_variance(self, x: Tensor) -> Tensor:
        """Return variances at rows ``x (q, d)``, without noise: ``(q,)``."""
        return torch.cat([self._variance(rows) for rows in x.split(BLOCK)])

    def _variance(self, x: Tensor) -> Tensor:
        features = self.projection.features(x)
        prior = variance(self.projection.kernel, x)
        rest = (prior - features.square().sum(0)).clamp_min(0.0)
        return rest + self.summary.factor.quadratic(features)

    @torch.no_grad()
    def predict_covariance(self, x: Tensor) -> Tensor:
        """Return the covariance of rows ``x (q, d)``, without noise: ``(q, q)``."""
        features = self.projection.features(x)
        rest = covariance(self.projection.kernel, x) - features.mT @ features
        return rest + self.summary.factor.gram(features)
