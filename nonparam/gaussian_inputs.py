r"""A Gaussian for rows that are missing in part, or measured with noise: fitted by expectation-maximisation.

.. math:: t_i \sim N(\mu, \Sigma), \quad z_{ij} = t_{ij} + N(0, s_j) \text{ where it was seen.}

With the observed entries :math:`o` of a row, :math:`G = \Sigma_{\cdot o} (\Sigma_{oo} + S_o)^{-1}` and

.. math:: m_i = \mu + G (z_{io} - \mu_o), \quad C_i = \Sigma - G\, \Sigma_{o \cdot}

a step of the algorithm is

.. math:: \mu \leftarrow \overline{m_i}, \quad
          \Sigma \leftarrow \frac{\sum_i (m_i - \mu)(m_i - \mu)^\top + C_i + D}{n + 1} ,

where :math:`D`, the variances of the columns, is a prior that is worth a row.

Source: Little and Rubin (2019), Statistical analysis with missing data, 3rd edition, section 11.2.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve

__all__ = ["GaussianRows", "fit_rows"]

Array = NDArray[np.float64]
Rows = NDArray[np.intp]

MAX_STEPS = 500
STILL = 1e-7  # of the standard deviations, from one step to the next


@dataclass(frozen=True)
class GaussianRows:
    """A Gaussian for rows of which some entries are seen, with noise.

    Attributes:
        mean: ``(p,)``.
        covariance: ``(p, p)``.
        noise: ``(p,)``, the variances of what is seen.
    """

    mean: Array
    covariance: Array
    noise: Array

    def given(self, z: Array) -> tuple[Array, Array]:
        """Return means ``(n, p)`` and covariances ``(n, p, p)`` of true rows given ``z (n, p)`` with NaN.

        Examples:
            >>> rows = GaussianRows(np.zeros(2), np.array([[1.0, 0.5], [0.5, 1.0]]), np.zeros(2))
            >>> mean, covariance = rows.given(np.array([[2.0, np.nan]]))
            >>> mean, covariance[0].round(2)
            (array([[2., 1.]]), array([[0.  , 0.  ],
                   [0.  , 0.75]]))
        """
        means, covariances = np.empty(z.shape), np.empty((*z.shape, z.shape[1]))
        for rows, mean, covariance in self._patterns(z):
            means[rows], covariances[rows] = mean, covariance
        return means, covariances

    def draw(self, z: Array, count: int, rng: np.random.RandomState) -> Array:
        """Draw true rows given ``z (n, p)`` with NaN: ``(count, n, p)``."""
        drawn = np.empty((count, *z.shape))
        for rows, mean, covariance in self._patterns(z):
            values, vectors = np.linalg.eigh(covariance)
            root = vectors * np.sqrt(np.maximum(values, 0.0))
            drawn[:, rows] = mean + rng.standard_normal((count, len(rows), len(root))) @ root.T
        exact = np.isfinite(z) & (self.noise == 0.0)
        return np.where(exact, z, drawn)  # to the last bit

    def _patterns(self, z: Array) -> Iterator[tuple[Rows, Array, Array]]:
        """Yield rows of which the same entries are seen, their means, and the covariance that they share."""
        seen = np.isfinite(z)
        patterns, own = np.unique(seen, axis=0, return_inverse=True)
        for number, some in enumerate(patterns):
            rows = np.flatnonzero(own.ravel() == number)
            if not some.any():
                yield rows, np.tile(self.mean, (len(rows), 1)), self.covariance
                continue
            inner = self.covariance[np.ix_(some, some)] + np.diag(self.noise[some])
            gain = cho_solve(cho_factor(inner), self.covariance[some]).T
            mean = self.mean + (z[np.ix_(rows, some)] - self.mean[some]) @ gain.T
            left = self.covariance - gain @ self.covariance[some]
            yield rows, mean, 0.5 * (left + left.T)


def fit_rows(z: Array, noise: Array) -> GaussianRows:
    """Fit a Gaussian to rows.

    Args:
        z: ``(n, p)``, NaN where an entry was not seen; each column has one that was.
        noise: ``(p,)``, the variances of what is seen.

    Examples:
        >>> z = np.array([[0.0, 1.0], [2.0, np.nan], [4.0, 5.0], [6.0, 7.0]])
        >>> fit_rows(z, np.zeros(2)).given(z[1:2])[0].round(1)
        array([[2. , 3.3]])
    """
    mean, variance = np.nanmean(z, 0), np.nanvar(z, 0)
    variance = np.where(variance > 0.0, variance, 1.0)
    found = GaussianRows(mean, np.diag(variance), noise)
    for _ in range(MAX_STEPS):
        centre, covariances = found.given(z)
        mean = centre.mean(0)
        centred = centre - mean
        total = centred.T @ centred + covariances.sum(0) + np.diag(variance)
        following = GaussianRows(mean, total / (len(z) + 1.0), noise)
        change = np.abs(following.covariance - found.covariance) / np.sqrt(np.outer(variance, variance))
        found = following
        if change.max() < STILL:
            break
    return found
