r"""The evidence of a hypothesis with one free parameter, by quadrature.

.. math:: \log p(y) = \log \int p(y \mid \theta) \, p(\theta) \, d\theta
                    = \log \int p(y \mid F^{-1}(\Phi(z))) \, \phi(z) \, dz

In the coordinate :math:`z` every prior, with distribution function :math:`F`, is a standard normal density:
there are no infinite densities and no heavy tails, however wide or skew it is.
"""

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.integrate import quad
from scipy.optimize import brentq, minimize_scalar
from scipy.special import ndtr

from nonparam.errors import ConvergenceError, InputError
from nonparam.model_selection.evidence import LOG_2PI

__all__ = ["IMPROPER", "check_proper", "quadrature_evidence"]

Array = NDArray[np.float64]

IMPROPER = (
    "an improper prior is defined up to a factor only, and so would be the evidence and every Bayes factor: "
    "give a proper one, and say how much the answer depends on its width"
)
REACH = 35.0  # standard deviations of the prior: beyond it lies less of it than a float can tell from 0
POINTS = 281  # over which a maximum is looked for
NEGLIGIBLE = 50.0  # nats below the maximum
TOLERANCE = 1e-7  # relative error of the integral


def check_proper(prior: Any, name: str) -> None:
    """Raise `InputError` for what is no proper continuous distribution of one number.

    Args:
        prior: a frozen distribution of ``scipy.stats``.
        name: what to call it in messages.

    Examples:
        >>> from scipy.stats import norm
        >>> check_proper(norm(0.0, 50.0), "the prior")
    """
    if callable(prior) or not all(hasattr(prior, method) for method in ("ppf", "isf", "logpdf")):
        raise InputError(
            f"{name} must be a frozen distribution of scipy.stats such as norm(0.0, 1.0), got {prior!r}"
        )
    with np.errstate(all="ignore"):
        quartiles = np.asarray(prior.ppf([0.25, 0.5, 0.75]))
    if not (np.isfinite(quartiles).all() and quartiles[0] < quartiles[2]):
        raise InputError(f"{name} has the quartiles {quartiles}, and is not proper: {IMPROPER}")


def quadrature_evidence(log_likelihood: Callable[[float], float], prior: Any) -> float:
    """Return the logarithm of a likelihood's average over a prior, to a ten-millionth of a nat.

    Args:
        log_likelihood: of one parameter, in nats; with one maximum, or several that are not much narrower
            than the prior.
        prior: a frozen continuous distribution of ``scipy.stats``, proper.

    Raises:
        InputError: a prior that is improper, or a likelihood that is not a number.
        ConvergenceError: an integral that could not be certified.

    Examples:
        >>> from scipy.stats import norm
        >>> found = quadrature_evidence(lambda a: norm(a, 3.0).logpdf(10.0), norm(0.0, 4.0))
        >>> bool(np.isclose(found, norm(0.0, 5.0).logpdf(10.0), rtol=1e-8))
        True
    """
    check_proper(prior, "the prior")

    def log_joint(z: float) -> float:
        with np.errstate(all="ignore"):  # 35 deviations out a parameter may be beyond what a float holds
            theta = float(prior.ppf(ndtr(z)) if z < 0.0 else prior.isf(ndtr(-z)))
            if not math.isfinite(theta):
                return -math.inf
            value = float(log_likelihood(theta))
        if math.isnan(value) or value == math.inf:
            raise InputError(f"the log likelihood is {value} at {theta:g}: expected finite numbers")
        return value - 0.5 * (z * z + LOG_2PI)

    mode, peak, low, high = _where_it_counts(log_joint)
    if peak == -math.inf:
        return -math.inf

    def density(z: float) -> float:
        return math.exp(log_joint(z) - peak)

    value = error = 0.0
    for start, end in pairwise(_edges(log_joint, mode, peak, low, high)):
        part = quad(density, start, end, epsabs=0.0, epsrel=0.1 * TOLERANCE, limit=20, full_output=1)
        value, error = value + part[0], error + part[1]
    if not error <= TOLERANCE * value:
        raise ConvergenceError(
            f"the integral over the parameter is known to {error / value:.0e} only: expected a likelihood "
            "that is smooth in it, and a prior at most some hundred million times as wide"
        )
    return peak + math.log(value)


def _where_it_counts(log_joint: Callable[[float], float]) -> tuple[float, float, float, float]:
    """Return the mode, its value, and the ends of the range outside of which all is negligible."""
    grid = np.linspace(-REACH, REACH, POINTS)
    values = np.array([log_joint(float(z)) for z in grid])
    best = int(np.argmax(values))
    if values[best] == -np.inf:
        return 0.0, -math.inf, 0.0, 0.0
    around = (grid[max(best - 1, 0)], grid[min(best + 1, POINTS - 1)])
    found = minimize_scalar(
        lambda z: -log_joint(z), bounds=around, method="bounded", options={"xatol": 1e-12}
    )
    mode, peak = (found.x, -found.fun) if -found.fun > values[best] else (grid[best], values[best])
    counts = np.flatnonzero(values > peak - NEGLIGIBLE)
    first, last = (counts[0], counts[-1]) if len(counts) else (best, best)
    low, high = grid[max(first - 1, 0)], grid[min(last + 1, POINTS - 1)]
    return float(mode), float(peak), float(min(low, around[0])), float(max(high, around[1]))


def _edges(
    log_joint: Callable[[float], float], mode: float, peak: float, low: float, high: float
) -> list[float]:
    """Return the ends of panels that double in width away from the mode, and are narrow where it is."""
    edges = {low, mode, high}
    for end in (low, high):
        reach = abs(end - mode)
        if reach > 0.0:
            fall = lambda share, end=end: log_joint(mode + share * (end - mode)) - peak + 1.0  # noqa: E731
            share = float(brentq(fall, 0.0, 1.0, xtol=1e-14)) if fall(1.0) < 0.0 else 1.0
            while share < 1.0:
                edges.add(mode + share * (end - mode))
                share *= 2.0
    return sorted(edges)
