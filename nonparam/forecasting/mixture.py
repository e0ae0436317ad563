r"""A weighted mixture of Gaussians, each pushed through the inverse of its own transform.

.. math::

    F(y) = \sum_k w_k \Phi\Big(\frac{z_k(y) - \mu_k}{\sigma_k}\Big), \quad
    p(y) = \sum_k w_k\, N\big(z_k(y) \mid \mu_k, \Sigma_k\big) \prod_i z_k'(y_i)
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve_triangular
from scipy.special import logsumexp, ndtr, ndtri

from nonparam.errors import InsufficientMemoryError
from nonparam.forecasting.transforms import Standardised
from nonparam.gaussian_mixture import invert_cdf
from nonparam.solvers.plan import BYTES, CPU, free_memory, readable

__all__ = ["JointMixture", "Mixture", "check_joint"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Mixture:
    """Distributions of ``m`` numbers, each by itself.

    Attributes:
        weights: ``(k,)``, which sum to 1.
        transforms: of the ``k`` members.
        mean: ``(k, m)``, of the transformed numbers.
        sd: ``(k, m)``, positive.

    Examples:
        >>> from nonparam.forecasting.transforms import IDENTITY
        >>> plain = Standardised(IDENTITY, 0.0, 1.0)
        >>> two = Mixture(np.array([0.5, 0.5]), (plain, plain), np.array([[-3.0], [3.0]]), np.ones((2, 1)))
        >>> two.cdf(np.array([0.0])), two.quantile(np.array([0.25])).round(6)
        (array([0.5]), array([[-3.]]))
    """

    weights: Array
    transforms: tuple[Standardised, ...]
    mean: Array
    sd: Array

    def cdf(self, y: Array) -> Array:
        """Return the probability below ``y (m, ...)``, of the same shape."""
        total = np.zeros_like(y)
        for transform in dict.fromkeys(self.transforms):
            own = [i for i, other in enumerate(self.transforms) if other == transform]
            ones = (1,) * (y.ndim - 1)
            mean, sd = (v[own].reshape(len(own), len(y), *ones) for v in (self.mean, self.sd))
            weights = self.weights[own].reshape(-1, 1, *ones)
            total += (weights * ndtr((transform.forward(y) - mean) / sd)).sum(0)
        return total

    def quantile(self, levels: Array) -> Array:
        """Return the quantiles ``(m, l)`` at ``levels (l,)`` between 0 and 1.

        A quantile of a mixture lies between those of its members, and is right to the last bit.
        """
        members = np.stack(
            [
                transform.inverse(mean[:, None] + sd[:, None] * ndtri(levels))
                for transform, mean, sd in zip(self.transforms, self.mean, self.sd, strict=True)
            ]
        )
        return invert_cdf(self.cdf, levels, members.min(0), members.max(0))

    def moments(self) -> tuple[Array, Array]:
        """Return means ``(m,)`` and variances ``(m,)`` of the numbers."""
        pairs = [
            transform.moments(np.stack([mean, mean]), np.stack([sd, sd]) ** 2, sd**2)
            for transform, mean, sd in zip(self.transforms, self.mean, self.sd, strict=True)
        ]
        return _mixed_moments(self.weights, pairs)


@dataclass(frozen=True)
class JointMixture:
    """The joint distribution of ``m`` numbers.

    Attributes:
        weights: ``(k,)``, which sum to 1.
        transforms: of the ``k`` members.
        mean: ``(k, m)``, of the transformed numbers.
        covariance: ``(k, m, m)``, positive definite.

    Examples:
        >>> from nonparam.forecasting.transforms import IDENTITY
        >>> plain = Standardised(IDENTITY, 0.0, 1.0)
        >>> one = JointMixture(np.ones(1), (plain,), np.zeros((1, 2)), np.eye(2)[None])
        >>> round(one.log_density(np.zeros(2)), 4)  # of two standard normal numbers
        -1.8379
    """

    weights: Array
    transforms: tuple[Standardised, ...]
    mean: Array
    covariance: Array

    def sample(self, n: int, rng: np.random.RandomState) -> Array:
        """Return ``(n, m)`` draws."""
        roots = np.linalg.cholesky(self.covariance)
        chosen = rng.choice(len(self.weights), size=n, p=self.weights)
        normal = rng.standard_normal((n, self.mean.shape[1]))
        draws = np.empty_like(normal)
        for k, (transform, mean, root) in enumerate(zip(self.transforms, self.mean, roots, strict=True)):
            draws[chosen == k] = transform.inverse(mean + normal[chosen == k] @ root.T)
        return draws

    def moments(self) -> tuple[Array, Array]:
        """Return means ``(m, m)``, the same in each column, and covariances ``(m, m)`` of the numbers."""
        pairs = []
        for transform, mean, covariance in zip(self.transforms, self.mean, self.covariance, strict=True):
            means, variances = (
                np.stack(np.broadcast_arrays(v[:, None], v)) for v in (mean, np.diagonal(covariance))
            )
            pairs.append(transform.moments(means, variances, covariance))
        return _mixed_moments(self.weights, pairs)

    def log_density(self, y: Array) -> float:
        """Return the log density in nats at ``y (m,)``."""
        return float(logsumexp(self.log_densities(y) + np.log(self.weights)))

    def log_densities(self, y: Array) -> Array:
        """Return the log density of each member in nats at ``y (m,)``: ``(k,)``."""
        terms = [
            _log_normal(transform.forward(y) - mean, covariance) + transform.log_slope(y).sum()
            if np.isfinite(transform.forward(y)).all()
            else -np.inf
            for transform, mean, covariance in zip(self.transforms, self.mean, self.covariance, strict=True)
        ]
        return np.array(terms)


def check_joint(m: int, n: int, k: int, *, available: int | None = None) -> None:
    """Raise `InsufficientMemoryError` where a `JointMixture` does not fit.

    Args:
        m: times of the forecast.
        n: observations.
        k: members, each with a covariance and its root, besides what it takes to make one of them.
        available: bytes of memory; by default what is free.

    Examples:
        >>> check_joint(1000, 100, 4, available=10**9)
    """
    available = free_memory(CPU) if available is None else available
    memory = BYTES * ((2 * k + 4) * m * m + 3 * m * n)
    if memory > available:
        raise InsufficientMemoryError(
            f"the joint distribution of {m:,} times needs about {readable(memory)}, and "
            f"{readable(available)} are free: ask for fewer times, or for predict_quantiles, which needs none"
        )


def _mixed_moments(weights: Array, pairs: list[tuple[Array, Array]]) -> tuple[Array, Array]:
    """Return the first means and the covariances of pairs of numbers from those of the members."""
    mean = sum(weight * means for weight, (means, _) in zip(weights, pairs, strict=True))
    apart = [(means - mean).prod(0) for means, _ in pairs]
    covariance = sum(
        weight * (own + between) for weight, (_, own), between in zip(weights, pairs, apart, strict=True)
    )
    return np.asarray(mean)[0], np.asarray(covariance)


def _log_normal(residual: Array, covariance: Array) -> float:
    root = np.linalg.cholesky(covariance)
    white = solve_triangular(root, residual, lower=True)
    log_determinant = 2.0 * float(np.log(np.diag(root)).sum())
    return -0.5 * float(white @ white + log_determinant + len(white) * np.log(2.0 * np.pi))
