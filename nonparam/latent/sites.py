r"""A Gaussian process times Gaussian sites, one for each row: its moments, and how far it is from the prior.

With a prior :math:`N(0, K)` and sites :math:`\exp(\lambda_i f_i - \tfrac12 w_i f_i^2)`, :math:`w_i \ge 0`,

.. math::

    B = I + W^{1/2} K W^{1/2}, \quad R = W^{1/2} B^{-1} W^{1/2}, \quad
    V = (K^{-1} + W)^{-1} = K - K R K, \quad m = V \lambda = K \alpha, \quad \alpha = \lambda - R K \lambda,

.. math:: KL = \tfrac12 (\mathrm{tr}\, B^{-1} - n + \alpha^\top m + \log |B|) .

``B`` has no eigenvalue below 1, whatever ``K`` is: no jitter is needed.

Source: Rasmussen and Williams (2006), Gaussian processes for machine learning, equations 3.26 to 3.28.
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from nonparam.solvers.cholesky import CholeskyFactor, cholesky, mirror

__all__ = ["SitePosterior", "Sites"]

BLUNT = 1e-5  # precision times prior variance: eleven digits are left of the rest


@dataclass(frozen=True)
class Sites:
    """What the observations say of one function, as Gaussian factors in natural parameters.

    Attributes:
        linear: ``(n,)``.
        precision: ``(n,)``, not negative.
    """

    linear: Tensor
    precision: Tensor

    def towards(self, other: "Sites", share: float) -> "Sites":
        """Return sites a share of the way to others."""
        return Sites(
            torch.lerp(self.linear, other.linear, share), torch.lerp(self.precision, other.precision, share)
        )


@dataclass(frozen=True)
class SitePosterior:
    """A Gaussian process given sites.

    Attributes:
        covariance: ``K``, ``(n, n)``.
        sites: of the rows.
        factor: of ``B``.

    Examples:
        >>> one = torch.ones(1, dtype=torch.float64)
        >>> posterior = SitePosterior.of(torch.eye(1, dtype=torch.float64), Sites(one, one))
        >>> round(posterior.mean.item(), 6), round(posterior.variance.item(), 6)
        (0.5, 0.5)
    """

    covariance: Tensor
    sites: Sites
    factor: CholeskyFactor

    @classmethod
    def of(cls, covariance: Tensor, sites: Sites) -> "SitePosterior":
        """Factorise ``B``."""
        root = sites.precision.sqrt()
        b = root[:, None] * covariance * root
        torch.diagonal(b).add_(1.0)
        return cls(covariance, sites, cholesky(b))

    @cached_property
    def root(self) -> Tensor:
        """The roots of the precisions, ``(n,)``."""
        return self.sites.precision.sqrt()

    def shrink(self, v: Tensor) -> Tensor:
        """Return ``R v`` for ``v (n, k)``."""
        return self.root[:, None] * self.factor.solve(self.root[:, None] * v)

    @cached_property
    def alpha(self) -> Tensor:
        r"""``K^-1 m``, ``(n,)``.

        A site with :math:`\lambda = w z` contributes :math:`R z`, in which nothing cancels; blunt ones go by
        the formula above.
        """
        sites, prior = self.sites, torch.diagonal(self.covariance)
        is_sharp = sites.precision * prior > BLUNT
        place = torch.where(is_sharp, sites.linear / sites.precision, 0.0)
        rest = torch.where(is_sharp, 0.0, sites.linear)
        return rest + self.shrink((place - self.covariance @ rest)[:, None])[:, 0]

    @cached_property
    def mean(self) -> Tensor:
        """``(n,)``."""
        return self.covariance @ self.alpha

    @cached_property
    def inverse(self) -> Tensor:
        """``B^-1``, ``(n, n)``."""
        found = CholeskyFactor(self.factor.upper.clone(), 0.0).inverse_in_place()
        mirror(found.mT)
        return found

    @cached_property
    def variance(self) -> Tensor:
        """``(1 - [B^-1]_ii) / w_i``, and by a solve where little is left of that: ``(n,)``, positive."""
        prior, precision = torch.diagonal(self.covariance), self.sites.precision
        found = (1.0 - torch.diagonal(self.inverse)) / precision
        blunt = (precision * prior < BLUNT).nonzero()[:, 0]
        if len(blunt):
            half = self.factor.half_solve(self.root[:, None] * self.covariance[:, blunt])
            found[blunt] = prior[blunt] - half.square().sum(0)
        return found.clamp_min(torch.finfo(found.dtype).tiny)

    @property
    def divergence(self) -> float:
        """From the prior, in nats."""
        kept = float((torch.diagonal(self.inverse) - 1.0).sum())
        return 0.5 * (kept + float(self.alpha @ self.mean) + self.factor.log_determinant())

    def shrinkage(self) -> Tensor:
        """Return ``R``, ``(n, n)``, symmetric."""
        return (self.root[:, None] * self.inverse).mul_(self.root)

    def left_out(self) -> tuple[Tensor, Tensor]:
        r"""Return means and variances at each row without its own site, two of ``(n,)``.

        .. math:: v_{-i} = v_i / (1 - w_i v_i), \quad m_{-i} = (m_i - \lambda_i v_i) / (1 - w_i v_i)

        Source: Rasmussen and Williams (2006), equation 3.56.
        """
        left = torch.diagonal(self.inverse)  # 1 - w v
        return (self.mean - self.sites.linear * self.variance) / left, self.variance / left

    def moments(self, cross: Tensor, prior: Tensor) -> tuple[Tensor, Tensor]:
        """Return means and variances of the function at new rows, two of ``(m,)``.

        Args:
            cross: ``(n, m)``, covariances with the rows.
            prior: ``(m,)``, variances.

        Source: Rasmussen and Williams (2006), algorithm 3.2.
        """
        half = self.factor.half_solve(self.root[:, None] * cross)
        left = (prior - half.square().sum(0)).clamp_min(torch.finfo(prior.dtype).tiny)
        return cross.mT @ self.alpha, left
