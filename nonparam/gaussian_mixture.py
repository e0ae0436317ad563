r"""A weighted mixture of Gaussians, of one number at each place.

.. math::

    F(y) = \sum_k w_k \Phi\Big(\frac{y - \mu_k}{\sigma_k}\Big), \quad
    \mu = \sum_k w_k \mu_k, \quad \sigma^2 = \sum_k w_k \big(\sigma_k^2 + (\mu_k - \mu)^2\big)
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

__all__ = ["GaussianMixture", "invert_cdf", "join"]

Array = NDArray[np.float64]

SECANTS = 8  # after which most quantiles are right to a few of the last bits
REACHES = (2**5, 2**15, 2**25)  # floats on either side of them
MOST_SCORE = 40.0  # standard deviations beyond which no probability is told from 0


@dataclass(frozen=True)
class GaussianMixture:
    """Distributions of numbers in a table of any shape, each number by itself.

    Attributes:
        weights: ``(k,)``, which sum to 1.
        means: ``(k, ...)``, of the components.
        sds: ``(k, ...)``, not negative.

    Examples:
        >>> two = GaussianMixture(np.array([0.5, 0.5]), np.array([[-3.0], [3.0]]), np.ones((2, 1)))
        >>> two.mean, two.sd.round(4), two.quantile(np.array([0.25, 0.975])).round(4)
        (array([0.]), array([3.1623]), array([[-3.    ,  4.6449]]))
    """

    weights: Array
    means: Array
    sds: Array

    @property
    def mean(self) -> Array:
        """The expectation of each number."""
        found: Array = np.tensordot(self.weights, self.means, 1)
        return found

    @property
    def sd(self) -> Array:
        """The standard deviation of each number, with that of the components' means."""
        spread = self.sds**2 + (self.means - self.mean) ** 2
        return np.asarray(np.sqrt(np.tensordot(self.weights, spread, 1)))

    def cdf(self, y: Array) -> Array:
        """Return the probability of no more than ``y (..., l)``, of the same shape."""
        total = np.zeros_like(y)
        tiny = np.finfo(np.float64).tiny  # a component without spread is a step
        with np.errstate(over="ignore"):
            for weight, mean, sd in zip(self.weights, self.means, self.sds, strict=True):
                total += weight * ndtr((y - mean[..., None]) / np.maximum(sd, tiny)[..., None])
        return total

    def quantile(self, levels: Array) -> Array:
        """Return the quantiles ``(..., l)`` at ``levels (l,)`` between 0 and 1, to the last bit."""
        members = self.means[..., None] + self.sds[..., None] * ndtri(levels)
        return invert_cdf(self.cdf, levels, members.min(0), members.max(0))


def join(weights: Array, mixtures: Sequence[GaussianMixture]) -> GaussianMixture:
    """Return the mixture of mixtures.

    Examples:
        >>> one = GaussianMixture(np.ones(1), np.zeros((1, 2)), np.ones((1, 2)))
        >>> join(np.array([0.25, 0.75]), [one, one]).weights
        array([0.25, 0.75])
    """
    return GaussianMixture(
        np.concatenate([weight * part.weights for weight, part in zip(weights, mixtures, strict=True)]),
        np.concatenate([part.means for part in mixtures]),
        np.concatenate([part.sds for part in mixtures]),
    )


def invert_cdf(cdf: Callable[[Array], Array], levels: Array, low: Array, high: Array) -> Array:
    """Return the first floats at which distribution functions reach given levels.

    A few secants come near them. The rest of the interval is halved in the order of floating-point numbers,
    so that the last bit is right whatever its width.

    Args:
        cdf: of ``(..., l)`` numbers, of the same shape.
        levels: ``(l,)``, between 0 and 1.
        low: ``(..., l)``, no more than what is sought: a quantile of a mixture lies between its members'.
        high: ``(..., l)``, no less than it.

    Examples:
        >>> invert_cdf(ndtr, np.array([0.9, 0.975]), np.full(2, -9.0), np.full(2, 9.0)).round(4)
        array([1.2816, 1.96  ])
    """
    first, last = _ordered(low), _ordered(high)

    def narrow(probe: NDArray[np.int64]) -> None:
        nonlocal first, last
        below = cdf(_float(probe)) < levels
        first, last = np.where(below, np.minimum(probe + 1, last), first), np.where(below, last, probe)

    near = _ordered(_near(cdf, levels, low, high))
    for reach in REACHES:
        narrow(np.clip(near - reach, first, last))
        narrow(np.clip(near + reach, first, last))
        if (last - reach <= first + reach).all():
            break
    while (first < last).any():
        narrow((first >> 1) + (last >> 1) + (first & last & 1))
    return _float(last)


def _near(cdf: Callable[[Array], Array], levels: Array, low: Array, high: Array) -> Array:
    """Return numbers near those that `invert_cdf` seeks, if the functions are smooth.

    The Illinois algorithm (Dowell and Jarratt 1971) on normal scores, which are about straight lines.
    """

    def excess(y: Array) -> Array:
        score: Array = np.clip(ndtri(cdf(y)), -MOST_SCORE, MOST_SCORE) - ndtri(levels)
        return score

    a, b, at_a, at_b = low, high, excess(low), excess(high)
    came_from_below: NDArray[np.bool_] | None = None
    y = low
    for _ in range(SECANTS):
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            y = b - at_b * ((b - a) / (at_b - at_a))
        y = np.where((y >= a) & (y <= b), y, 0.5 * a + 0.5 * b)
        found = excess(y)
        below = found < 0.0
        again = np.zeros_like(below) if came_from_below is None else below == came_from_below
        damped = np.where(again, 0.5, 1.0)  # an end that stays counts for less, so that it moves, too
        a, at_a, b, at_b = (
            np.where(below, y, a),
            np.where(below, found, damped * at_a),
            np.where(below, b, y),
            np.where(below, damped * at_b, found),
        )
        came_from_below = below
    return y


def _ordered(y: Array) -> NDArray[np.int64]:
    """Map floats to integers in the same order."""
    bits = (y + 0.0).view(np.int64)
    ordered: NDArray[np.int64] = np.where(bits < 0, np.iinfo(np.int64).min - bits, bits)
    return ordered


def _float(ordered: NDArray[np.int64]) -> Array:
    """Undo `_ordered`."""
    bits = np.where(ordered < 0, np.iinfo(np.int64).min - ordered, ordered)
    floats: Array = bits.astype(np.int64).view(np.float64)
    return floats
