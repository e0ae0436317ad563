"""Monotone transforms of a series, after which a Gaussian is a fair description of it."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["IDENTITY", "LINKS", "LOG", "Link", "Standardised", "standardise"]

Array = NDArray[np.float64]

LOG_GUARD = 0.05  # of the median: a log series with smaller values is ruled by its few smallest, unless
STRAIGHT = 0.95  # of its variance is that of a line in time: then it grows, or falls, by the same factor
LARGEST_EXPONENT = 700.0  # exp of more is infinite
LEAST_RANGE = 1e-4  # of the smallest observation: below it the logarithm is a straight line


class Link(ABC):
    """An increasing function ``g`` of the observations.

    Examples:
        >>> y = np.array([0.1, 10.0, 100.0])
        >>> LINKS["log"].inverse(LINKS["log"].forward(y)).round(6), LINKS["log"].suits(y)
        (array([  0.1,  10. , 100. ]), False)
    """

    name: str

    @abstractmethod
    def forward(self, y: Array) -> Array:
        """Return ``g(y)``; minus infinity below the domain."""

    @abstractmethod
    def inverse(self, g: Array) -> Array:
        """Return the ``y`` with this ``g(y)``."""

    @abstractmethod
    def log_slope(self, y: Array) -> Array:
        """Return ``log g'(y)``."""

    @abstractmethod
    def moments(self, mean: Array, variance: Array, covariance: Array) -> tuple[Array, Array]:
        """Return what means and covariances become where ``g(y)`` is Gaussian.

        Args:
            mean: ``(2, ...)``, of the two numbers of each pair.
            variance: ``(2, ...)``, of these.
            covariance: ``(...)``, of each pair.

        Returns:
            The means ``(2, ...)`` and covariances ``(...)`` of the pairs of ``y``.
        """

    @abstractmethod
    def suits(self, y: Array) -> bool:
        """Whether the function is worth a try on these observations, ``(n,)``."""

    @abstractmethod
    def size(self, y: Array) -> float:
        """Return a typical spread of ``g(y)`` for observations that have none."""


class Identity(Link):
    """The observations as they are."""

    name = "identity"

    def forward(self, y: Array) -> Array:
        """Return ``y``."""
        return y

    def inverse(self, g: Array) -> Array:
        """Return ``g``."""
        return g

    def log_slope(self, y: Array) -> Array:
        """Return zeros."""
        return np.zeros_like(y)

    def moments(self, mean: Array, variance: Array, covariance: Array) -> tuple[Array, Array]:
        """Return the same."""
        return mean, covariance

    def suits(self, y: Array) -> bool:
        """Always."""
        return True

    def size(self, y: Array) -> float:
        """Return the size of the observations; 1 if they are all 0."""
        return float(np.abs(y).max()) or 1.0


class Log(Link):
    """The logarithm, for positive observations whose movements grow with their level."""

    name = "log"

    def forward(self, y: Array) -> Array:
        """Return the logarithm."""
        positive = y > 0.0
        logarithm: Array = np.where(positive, np.log(np.where(positive, y, 1.0)), -np.inf)
        return logarithm

    def inverse(self, g: Array) -> Array:
        """Return the exponential, kept finite."""
        exponential: Array = np.exp(np.clip(g, -LARGEST_EXPONENT, LARGEST_EXPONENT))
        return exponential

    def log_slope(self, y: Array) -> Array:
        """Return ``-log y``."""
        return -self.forward(y)

    def moments(self, mean: Array, variance: Array, covariance: Array) -> tuple[Array, Array]:
        """Return those of log-normal numbers, kept finite."""
        log_mean = np.minimum(mean + 0.5 * variance, 0.4 * LARGEST_EXPONENT)
        relative = np.expm1(np.minimum(covariance, 0.2 * LARGEST_EXPONENT))
        return np.exp(log_mean), np.exp(log_mean.sum(0)) * relative

    def suits(self, y: Array) -> bool:
        """Whether all are positive, none is tiny but by steady growth, and they are not almost equal."""
        lowest = float(y.min())
        if lowest <= 0.0 or float(np.ptp(y)) <= LEAST_RANGE * lowest:
            return False
        return lowest > LOG_GUARD * float(np.median(y)) or _straightness(np.log(y)) > STRAIGHT

    def size(self, y: Array) -> float:
        """Return 1, a factor of e."""
        return 1.0


def _straightness(g: Array) -> float:
    """Return the share of the variance of ``g (n,)`` that a line explains, adjusted for its two numbers."""
    n = len(g)
    if n < 3:
        return 0.0
    correlation = float(np.corrcoef(np.arange(n), g)[0, 1])
    return 1.0 - (1.0 - correlation**2) * (n - 1) / (n - 2)


IDENTITY, LOG = Identity(), Log()
LINKS: dict[str, Link] = {link.name: link for link in (IDENTITY, LOG)}


@dataclass(frozen=True)
class Standardised:
    r"""A link followed by centring and scaling: :math:`z = (g(y) - c) / s`.

    Attributes:
        link: the function ``g``.
        centre: ``c``.
        scale: ``s``, positive.

    Examples:
        >>> z = Standardised(LOG, 0.0, 2.0)
        >>> z.forward(np.exp([0.0, 4.0])), z.inverse(np.array([2.0])).round(4)
        (array([0., 2.]), array([54.5982]))
    """

    link: Link
    centre: float
    scale: float

    def forward(self, y: Array) -> Array:
        """Return ``z`` for ``y`` of any shape."""
        z: Array = (self.link.forward(y) - self.centre) / self.scale
        return z

    def inverse(self, z: Array) -> Array:
        """Return ``y`` for ``z`` of any shape."""
        return self.link.inverse(self.centre + self.scale * z)

    def moments(self, mean: Array, variance: Array, covariance: Array) -> tuple[Array, Array]:
        """Return what `Link.moments` does, for pairs of Gaussian ``z``."""
        scale = self.scale
        return self.link.moments(self.centre + scale * mean, scale**2 * variance, scale**2 * covariance)

    def log_slope(self, y: Array) -> Array:
        r"""Return :math:`\log dz/dy`, by which a density of ``z`` becomes one of ``y``."""
        slope: Array = self.link.log_slope(y) - np.log(self.scale)
        return slope


def standardise(link: Link, y: Array) -> Standardised:
    """Centre and scale ``g(y)`` by its mean and standard deviation (with ``n - 1``).

    Args:
        link: the function ``g``.
        y: ``(n,)``, at least one, within the domain of ``g``.

    Returns:
        The transform; a series without spread is scaled by its size.

    Examples:
        >>> standardise(IDENTITY, np.array([1.0, 3.0])).forward(np.array([2.0, 4.0])).round(3)
        array([0.   , 1.414])
    """
    g = link.forward(y)
    moved = g - g[0]  # exact where g varies little
    spread = float(np.std(moved, ddof=1)) if len(g) > 1 else 0.0
    return Standardised(link, float(g[0] + moved.mean()), spread or link.size(y))
