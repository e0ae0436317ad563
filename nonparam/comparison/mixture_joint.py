r"""The joint density of rows that are independent given one parameter, which is averaged over its prior.

.. math:: p(y_S) = \int p(\theta) \prod_{i \in S} p(y_i \mid \theta) \, d\theta

Sums over one grid serve every set of rows :math:`S`. It is even in :math:`t`, with
:math:`\theta = \hat\theta + s \sinh t` around the mode given all rows, and :math:`s` the width of their
posterior: dense where all rows put the parameter, wide enough for the prior, which few rows leave as it is.
The trapezoidal rule converges geometrically for smooth functions that vanish at both ends.

Source: Trefethen and Weideman (2014), The exponentially convergent trapezoidal rule, SIAM Review 56, 385-458.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from nonparam.errors import InputError
from nonparam.model_selection.joint import HeldOut

__all__ = ["MixtureJoint", "mixture_joint", "widened"]

Array = NDArray[np.float64]
Rows = NDArray[np.intp]

NODES = 601
FIRST = 101  # nodes that the mode is looked for with, at each of several magnifications
ZOOMS = 5
LEAST = 1e-10  # probability that is left out on either side of the prior, before
FAR = 8.0  # times the distance from the median is looked at
AGREES = 1e-4  # nats from the evidence that the hypothesis itself states


@dataclass(frozen=True)
class MixtureJoint:
    """Densities at the nodes of a grid.

    Attributes:
        log_weights: ``(m,)``, of the nodes: the prior mass that each stands for.
        log_densities: ``(m, n)``, of each row.
        mean: ``(m, n)``.
        variance: ``(m, n)``.
        cdf: ``(m, n)``, the probability below what was observed.
        y: ``(n,)``.

    Examples:
        >>> one = np.ones((1, 2))
        >>> joint = MixtureJoint(np.zeros(1), -one, 0.0 * one, one, 0.5 * one, np.zeros(2))
        >>> float(joint.log_density()), joint.increments(np.arange(2))
        (-2.0, array([-1., -1.]))
    """

    log_weights: Array
    log_densities: Array
    mean: Array
    variance: Array
    cdf: Array
    y: Array

    @property
    def n(self) -> int:
        """The number of rows."""
        return len(self.y)

    def log_density(self) -> float:
        """Return the log density of all rows, in nats."""
        return float(logsumexp(self._given(self.log_densities)))

    def increments(self, order: Rows) -> Array:
        """Return the log density of each row given those before it in an order ``(n,)``, in nats."""
        parts = np.concatenate([self.log_weights[:, None], self.log_densities[:, order]], 1)
        return np.asarray(np.diff(logsumexp(parts.cumsum(1), axis=0)))

    def held_out(self, sets: Sequence[Rows]) -> list[HeldOut]:
        """Return what is said of each set of rows given all rows outside of it."""
        return [self._held_out(np.asarray(rows)) for rows in sets]

    def effective_parameters(self) -> float:
        """Raise `InputError`: there are no fitted values that the outputs make."""
        raise InputError("a hypothesis fits no values")

    def _given(self, log_densities: Array) -> Array:
        return np.asarray(self.log_weights + log_densities.sum(1))

    def _held_out(self, rows: Rows) -> HeldOut:
        others = self._given(np.delete(self.log_densities, rows, axis=1))
        log_joint = self.log_density() - logsumexp(others)
        posterior = others - logsumexp(others)
        alone = logsumexp(posterior[:, None] + self.log_densities[:, rows], axis=0)
        weights, mean = np.exp(posterior), self.mean[:, rows]
        centre = weights @ mean
        sd = np.sqrt(weights @ (self.variance[:, rows] + (mean - centre) ** 2))
        table = (
            each[:, None] for each in (alone, centre, sd, weights @ self.cdf[:, rows], self.y[rows] - centre)
        )
        return HeldOut(rows, float(log_joint), *table)


def mixture_joint(hypothesis: Any, y: Array) -> MixtureJoint:
    """Return the joint density of a hypothesis in which rows are independent given its parameter.

    Args:
        hypothesis: with a ``density`` of `scipy.stats`, and a ``prior`` or ``None``, as
            `nonparam.model_selection.Hypothesis`.
        y: ``(n,)``.

    Raises:
        InputError: a density of all rows together, or an evidence that the grid does not find.
    """
    if hypothesis.prior is None:
        return _at([hypothesis.density], np.zeros(1), y)
    nodes, log_weights = _grid(
        lambda theta: _log_densities(hypothesis.density(theta), y).sum(), hypothesis.prior
    )
    joint = _at([hypothesis.density(node) for node in nodes], log_weights, y)
    if not abs(joint.log_density() - hypothesis.log_evidence(y)) < AGREES:
        raise InputError("its posterior has a shape that one grid does not serve")
    return joint


def widened(prior: Any, factor: float) -> Any:
    """Return a frozen distribution of `scipy.stats` stretched around its median, or away from its only end.

    Examples:
        >>> from scipy.stats import expon, norm
        >>> float(widened(norm(3.0, 2.0), 2.0).std()), float(widened(norm(3.0, 2.0), 2.0).mean())
        (4.0, 3.0)
        >>> float(widened(expon(1.0, 2.0), 3.0).mean())  # still from 1 to infinity
        7.0
    """
    low, high = prior.support()
    fixed = prior.median() if np.isfinite(low) == np.isfinite(high) else (low if np.isfinite(low) else high)
    shapes, location, scale = prior.dist._parse_args(*prior.args, **prior.kwds)
    return prior.dist(*shapes, loc=fixed + factor * (location - fixed), scale=factor * scale)


def _log_densities(density: Any, y: Array) -> Array:
    log_density = density.logpdf if hasattr(density, "logpdf") else density.logpmf
    values = np.asarray(log_density(y))
    if values.shape != y.shape:
        raise InputError("its density is that of all rows together: it does not predict some from others")
    return values


def _at(densities: Sequence[Any], log_weights: Array, y: Array) -> MixtureJoint:
    table = np.stack([_log_densities(density, y) for density in densities])
    mean, variance, cdf = (
        np.stack([np.broadcast_to(ask(density), y.shape) for density in densities])
        for ask in (lambda d: d.mean(), lambda d: d.var(), lambda d: d.cdf(y))
    )
    return MixtureJoint(log_weights, table, mean, variance, cdf, y)


def _grid(log_likelihood: Callable[[float], float], prior: Any) -> tuple[Array, Array]:
    """Return nodes and the logarithms of the prior masses that they stand for."""

    def log_joint(theta: Array) -> Array:
        values: Array = np.array([log_likelihood(point) for point in theta]) + prior.logpdf(theta)
        return values

    low, middle, high = prior.ppf([LEAST, 0.5, 1.0 - LEAST])
    bounds = prior.support()
    low = max(middle - FAR * (middle - low), bounds[0])  # data may put it where the prior has next to no mass
    high = min(middle + FAR * (high - middle), bounds[1])
    nodes = np.concatenate(
        [np.linspace(low, high, FIRST // 2), prior.ppf(np.linspace(LEAST, 1.0 - LEAST, FIRST))]
    )
    nodes = np.unique(nodes)
    for _ in range(ZOOMS):
        best = int(np.argmax(log_joint(nodes)))
        nodes = np.linspace(nodes[max(best - 1, 0)], nodes[min(best + 1, len(nodes) - 1)], FIRST)
    mode = nodes[int(np.argmax(log_joint(nodes)))]
    top, width = float(log_joint(np.array([mode]))[0]), 1e-9 * (high - low)
    while (
        width < high - low and log_joint(np.clip([mode - width, mode + width], low, high)).max() > top - 0.5
    ):
        width *= 1.5
    steps = np.linspace(np.arcsinh((low - mode) / width), np.arcsinh((high - mode) / width), NODES)
    theta = np.clip(mode + width * np.sinh(steps), low, high)
    mass = width * np.cosh(steps) * np.gradient(steps)
    mass[[0, -1]] *= 0.5
    log_weights: Array = prior.logpdf(theta) + np.log(mass)
    return theta, log_weights
