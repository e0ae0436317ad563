r"""The evidence of a linear model as a function of its variances, from one singular value decomposition.

.. math:: y = b + \Phi \beta + \varepsilon, \quad \beta \sim N(m_0, \gamma \sigma^2 L L^\top), \quad
          \varepsilon \sim N(0, \sigma^2 I), \quad p(b) = 1

A flat prior on the intercept leaves the deviations from means. Let :math:`r` be those of
:math:`y - \Phi m_0`, and :math:`U S W^\top` those of :math:`\Phi L`. With :math:`u = U^\top r` and
:math:`\nu = n - 1`, or :math:`n` without an intercept, the logarithm of the evidence is

.. math::

    -\tfrac12 \Big( \nu \log 2 \pi \sigma^2 + \sum_i \log (1 + \gamma s_i^2) + Q / \sigma^2 + \log n \Big),
    \quad Q = |r|^2 - |u|^2 + \sum_i \frac{u_i^2}{1 + \gamma s_i^2},

without :math:`\log n` where there is no intercept. An inverse gamma prior of :math:`\sigma^2` with shape
:math:`a` and rate :math:`b` turns it into a multivariate Student-t density,

.. math::

    -\tfrac12 \Big( \nu \log 2 \pi + \sum_i \log (1 + \gamma s_i^2) + \log n \Big) + \log \frac
    {b^a \, \Gamma(a + \nu / 2)}{\Gamma(a) \, (b + Q / 2)^{a + \nu / 2}}.

Source: Bishop (2006), Pattern recognition and machine learning, sections 3.5.1 and 3.5.2; O'Hagan and Forster
(2004), Kendall's advanced theory of statistics, volume 2B, chapter 11, for the inverse gamma prior.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import svd
from scipy.optimize import minimize_scalar
from scipy.special import gammaln

from nonparam.model_selection.evidence import LOG_2PI
from nonparam.scales import CONSTANT, NOISE_FLOOR

__all__ = ["LinearEvidence", "maximise", "rotate"]

Array = NDArray[np.float64]

POINTS = 400  # of a grid over the logarithm of a variance: the evidence may have more than one maximum
REACH = 1e8  # times the smallest and the largest prior variance that data can tell from 0 and from infinity
RANK = 1e-7  # of the largest singular value: a smaller one says nothing of the prior's variance
PRECISION = 1e-10  # of the logarithm of a learnt variance


@dataclass(frozen=True)
class LinearEvidence:
    """A linear model and its data, rotated so that every direction stands by itself.

    Attributes:
        left: ``U (n, k)``.
        singular: ``s (k,)``, falling.
        right: ``W (p, k)``.
        scores: ``u (k,)``.
        rest: ``|r|^2 - |u|^2``, what no coefficient explains.
        spread: ``|r|^2``.
        size: of ``y``, the largest absolute value.
        intercept: whether there is one.

    Examples:
        >>> model = rotate(np.eye(2), np.zeros(2), intercept=False)
        >>> model.log_density(1.0, 0.5).round(4)  # two normal numbers of variance 1
        np.float64(-1.8379)
    """

    left: Array
    singular: Array
    right: Array
    scores: Array
    rest: float
    spread: float
    size: float
    intercept: bool

    @property
    def n(self) -> int:
        """The number of rows."""
        return len(self.left)

    @property
    def free(self) -> int:
        """How many rows there are beyond those that a flat prior takes."""
        return self.n - self.intercept

    def shrinkage(self, ratio: float | Array) -> Array:
        """Return what the data leave of the prior variance along each direction, a share: ``(..., k)``."""
        return np.asarray(1.0 / (1.0 + np.multiply.outer(ratio, self.singular**2)))

    def quadratic(self, ratio: float | Array) -> Array:
        """Return ``Q`` for ratios ``(...)`` of the prior variance to that of the noise."""
        return np.asarray(self.rest + self.shrinkage(ratio) @ self.scores**2)

    def _log_volume(self, ratio: float | Array) -> Array:
        log_determinant = np.log1p(np.multiply.outer(ratio, self.singular**2)).sum(-1)
        return np.asarray(0.5 * (self.free * LOG_2PI + log_determinant + self.intercept * np.log(self.n)))

    def log_density(self, ratio: float | Array, noise: float | Array) -> Array:
        """Return the log evidence in nats for ratios and noise variances, both ``(...)``."""
        exponent = self.free * np.log(noise) + self.quadratic(ratio) / noise
        return np.asarray(-self._log_volume(ratio) - 0.5 * exponent)

    def log_density_student(self, ratio: float | Array, shape: float, rate: float) -> Array:
        """Return the log evidence in nats, the noise variance averaged over an inverse gamma prior."""
        after = shape + 0.5 * self.free
        gammas = gammaln(after) - gammaln(shape)
        powers = shape * np.log(rate) - after * np.log(rate + 0.5 * self.quadratic(ratio))
        return np.asarray(gammas + powers - self._log_volume(ratio))

    def best(self, learn_prior: bool, noise: float | None) -> tuple[float, float]:
        """Return the ratio and the noise variance of largest evidence.

        Args:
            learn_prior: whether the prior variance is learnt; else it is 1.
            noise: its variance where it is known.
        """
        if learn_prior:
            noises = self._best_noise if noise is None else lambda ratio: np.full_like(ratio, noise)
            ratio = maximise(lambda ratio: self.log_density(ratio, noises(ratio)), *self._ratios)
            return ratio, float(noises(np.array(ratio)))
        if noise is None:
            floor = self._noise_floor
            noise = maximise(
                lambda noise: self.log_density(1.0 / noise, noise), floor, max(self.spread, floor)
            )
        return 1.0 / noise, noise

    def best_ratio_student(self, shape: float, rate: float) -> float:
        """Return the ratio of largest evidence, the noise variance averaged over."""
        return maximise(lambda ratio: self.log_density_student(ratio, shape, rate), *self._ratios)

    @property
    def _noise_floor(self) -> float:
        """The least noise variance that is looked for: in exact data the evidence grows for ever below it."""
        varies = self.spread > self.n * (CONSTANT * self.size) ** 2
        return NOISE_FLOOR * (self.spread / self.n if varies else self.size**2 or 1.0)

    def _best_noise(self, ratio: Array) -> Array:
        return np.asarray(np.maximum(self.quadratic(ratio) / self.free, self._noise_floor))

    @property
    def _ratios(self) -> tuple[float, float]:
        """The range of ratios in which the data can tell prior variances apart."""
        squares = self.singular[self.singular > RANK * self.singular.max()] ** 2
        return float(1.0 / REACH / squares.max()), float(REACH / squares.min())


def rotate(design: Array, residual: Array, *, intercept: bool) -> LinearEvidence:
    """Take a linear model apart into independent directions, in ``O(n p min(n, p))``.

    Args:
        design: ``Phi L (n, p)``, features times a root of the shape of the prior covariance.
        residual: ``y - Phi m_0 (n,)``.
        intercept: whether a constant with a flat prior is added.
    """
    size = float(np.abs(residual).max())
    if intercept:
        constant = np.ptp(design, 0) == 0.0
        design = np.where(constant, 0.0, design - design.mean(0))  # a mean rounds, a constant must not
        residual = residual - residual.mean()
    left, singular, right = svd(design, full_matrices=False)
    scores = left.T @ residual
    rest = float(np.square(residual - left @ scores).sum())
    return LinearEvidence(
        left, singular, right.T, scores, rest, float(np.square(residual).sum()), size, intercept
    )


def maximise(objective: Callable[[Array], Array], lower: float, upper: float) -> float:
    """Return where a function of a positive number is largest: on a grid of logarithms, then between.

    Args:
        objective: takes ``(b,)`` numbers, and returns as many values.
        lower: positive.
        upper: at least ``lower``.

    Examples:
        >>> round(maximise(lambda x: -(np.log(x) ** 2), 0.01, 10.0), 6)
        1.0
    """
    grid = np.linspace(np.log(lower), np.log(upper), POINTS)
    best = int(np.argmax(objective(np.exp(grid))))
    low, high = grid[max(best - 1, 0)], grid[min(best + 1, POINTS - 1)]
    options = {"xatol": PRECISION}
    found = minimize_scalar(
        lambda x: -float(objective(np.exp([x]))[0]), bounds=(low, high), method="bounded", options=options
    )
    return float(np.exp(found.x))
