r"""Hypotheses that are given as distributions, and how strongly data speak for one against another.

.. math:: B_{12} = \frac{p(y \mid H_1)}{p(y \mid H_2)}

A free parameter is averaged over its prior. The wider that is, the less it says of the data, and the smaller
the evidence becomes: a Bayes factor stands beside its dependence on the width, or it says little.

Source: Jeffreys (1961), Theory of probability, chapter 5; Kass and Raftery (1995), Bayes factors, Journal of
the American Statistical Association 90, 773-795.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from nonparam.errors import InputError
from nonparam.model_selection.adaptive_quadrature import IMPROPER, check_proper, quadrature_evidence
from nonparam.validation import check_numbers

__all__ = ["BayesFactor", "Hypothesis", "bayes_factor", "kass_raftery", "sensitivity"]

Array = NDArray[np.float64]

GRADES = (  # of twice the natural logarithm of a Bayes factor; Kass and Raftery (1995), section 3.2
    (2.0, "not worth more than a bare mention"),
    (6.0, "positive"),
    (10.0, "strong"),
    (math.inf, "very strong"),
)
EXPECTED = "expected a frozen distribution of scipy.stats such as norm(0.0, 1.0)"


@dataclass(frozen=True)
class Hypothesis:
    """What a hypothesis says of the data, as a distribution.

    Attributes:
        name: of the hypothesis.
        density: a frozen distribution of ``scipy.stats``: a multivariate one for all data together, or a
            univariate one for each datum, with parameters that are numbers or one for each. With a prior,
            a function from the free parameter to such a distribution.
        prior: of the free parameter, a frozen continuous distribution.

    Raises:
        InputError: a prior that is no proper distribution, when the evidence is asked for.

    Examples:
        >>> from scipy.stats import norm
        >>> fair = Hypothesis("no drift", norm(0.0, 1.0))
        >>> drift = Hypothesis("drift", lambda a: norm(a, 1.0), prior=norm(0.0, 2.0))
        >>> print(bayes_factor(drift, fair, [1.1, 2.0, 1.6, 0.9]))
        9.71 to 1 for drift against no drift: positive
    """

    name: str
    density: Any
    prior: Any = None

    def log_evidence(self, y: ArrayLike) -> float:
        """Return the log density of the data in nats, a free parameter averaged over its prior.

        Args:
            y: ``(n,)``, or one number.

        Returns:
            The log evidence; minus infinity for data that are impossible.

        Raises:
            InputError: data that are not finite numbers, or a distribution of other data than these.
        """
        data = np.atleast_1d(check_numbers(y, "y"))
        if data.ndim != 1 or not len(data) or not np.isfinite(data).all():
            raise InputError(f"y must be finite numbers in one dimension, got {y!r}")
        if self.prior is None:
            if hasattr(self.density, "ppf") and not callable(self.density):
                _check_spread(self.density, self.name)
            found = self._log_density(self.density, data)
            if math.isnan(found):
                raise InputError(f"the log density of {self.name!r} is nan: check its parameters")
            return found
        check_proper(self.prior, f"the prior of {self.name!r}")
        if not callable(self.density):
            raise InputError(
                f"{self.name!r} has a prior and no parameter: its density must be a function from one number "
                f"to a frozen distribution, got {self.density!r}"
            )
        return quadrature_evidence(lambda theta: self._log_density(self.density(theta), data), self.prior)

    def _log_density(self, density: Any, y: Array) -> float:
        logarithm = getattr(density, "logpdf", None) or getattr(density, "logpmf", None)
        if logarithm is None or callable(density):  # distributions can be called until they are frozen
            raise InputError(
                f"{EXPECTED} as the density of {self.name!r}, got {density!r}; a function of a parameter "
                "needs a prior for that"
            )
        try:
            values = np.asarray(logarithm(y))
        except (TypeError, ValueError) as error:
            raise InputError(
                f"the density of {self.name!r} is none of these {len(y)} data: {error}"
            ) from error
        if values.shape not in ((), (len(y),)):
            raise InputError(
                f"the density of {self.name!r} has values of shape {values.shape} for {len(y)} data: "
                "expected one for all together, or one for each"
            )
        return float(values.sum())


def _check_spread(density: Any, name: str) -> None:
    """Raise `InputError` for a density of each datum with an infinite or a missing scale."""
    quartiles = np.asarray(density.ppf(0.25)), np.asarray(density.ppf(0.75))
    if not all(np.isfinite(quartile).all() for quartile in quartiles):
        raise InputError(f"the density of {name!r} is spread over infinity: {IMPROPER}")


@dataclass(frozen=True)
class BayesFactor:
    """How strongly data speak for one hypothesis against another.

    Attributes:
        log: the natural logarithm; above 0 for the first, below for the second.
        first: name of the first.
        second: name of the second.

    Examples:
        >>> print(BayesFactor(-2.0, "tide", "noise"))
        7.39 to 1 for noise against tide: positive
    """

    log: float
    first: str
    second: str

    @property
    def value(self) -> float:
        """The factor; infinite where a float does not hold it."""
        return math.exp(self.log) if self.log < 709.0 else math.inf

    @property
    def words(self) -> str:
        """How strong it is."""
        return kass_raftery(self.log)

    @property
    def favours(self) -> str:
        """The name of the hypothesis that it speaks for."""
        return self.first if self.log >= 0.0 else self.second

    def __str__(self) -> str:
        """Say it in a sentence."""
        winner, loser = (self.first, self.second) if self.log >= 0.0 else (self.second, self.first)
        odds = factor_in_digits(abs(self.log))
        return f"{odds} to 1 for {winner} against {loser}: {self.words}"


def factor_in_digits(log_factor: float) -> str:
    """Return a factor as text, of whatever size.

    Examples:
        >>> factor_in_digits(2.0), factor_in_digits(1000.0)
        ('7.39', '10^434.3')
    """
    if math.log(1e4) <= log_factor < math.inf:
        return f"10^{log_factor / math.log(10.0):.1f}"
    return f"{math.exp(log_factor):.3g}"


def kass_raftery(log_bayes_factor: float) -> str:
    r"""Return in words how strong evidence is, whichever hypothesis it is for.

    By :math:`2 |\ln B|`: up to 2, 6 and 10, and beyond.

    Args:
        log_bayes_factor: natural logarithm.

    Raises:
        InputError: what is not a number.

    Source: Kass and Raftery (1995), section 3.2.

    Examples:
        >>> kass_raftery(3.4)
        'strong'
    """
    twice = 2.0 * abs(float(log_bayes_factor))
    if math.isnan(twice):
        raise InputError("a log Bayes factor must be a number, got nan")
    return next(words for limit, words in GRADES if twice < limit or limit == math.inf)


def bayes_factor(a: Hypothesis, b: Hypothesis, y: ArrayLike) -> BayesFactor:
    """Return how strongly the data speak for one hypothesis against another.

    Args:
        a: the first.
        b: the second.
        y: ``(n,)``, the data.

    Raises:
        InputError: an improper prior, or data that both hypotheses rule out.
    """
    first, second = a.log_evidence(y), b.log_evidence(y)
    if first == second == -math.inf:
        raise InputError(f"both {a.name!r} and {b.name!r} rule these data out: one must allow them")
    return BayesFactor(first - second, a.name, b.name)


def sensitivity(
    hypothesis_of_width: Callable[[float], Hypothesis],
    against: Hypothesis,
    y: ArrayLike,
    widths: ArrayLike,
) -> pd.DataFrame:
    """Return how a Bayes factor depends on the width of a prior.

    Args:
        hypothesis_of_width: makes a hypothesis with a prior of a given width.
        against: the other one.
        y: ``(n,)``, the data.
        widths: positive numbers.

    Returns:
        One row for each width, with the columns ``width``, ``log_bayes_factor`` for the first hypothesis
        (in nats), ``favours`` and ``words``.

    Raises:
        InputError: a width that is infinite, or not positive.

    Examples:
        >>> from scipy.stats import norm
        >>> drift = lambda width: Hypothesis("drift", norm(0.0, np.hypot(1.0, width)))
        >>> sensitivity(drift, Hypothesis("none", norm(0.0, 1.0)), 2.5, [1.0, 100.0]).round(2)
           width  log_bayes_factor favours     words
        0    1.0              1.22   drift  positive
        1  100.0             -1.48    none  positive
    """
    values = np.atleast_1d(check_numbers(widths, "widths"))
    if values.ndim != 1 or not (values > 0.0).all():
        raise InputError(f"widths must be positive numbers, got {widths!r}")
    if np.isinf(values).any():
        raise InputError(f"a prior of infinite width is improper: {IMPROPER}")
    factors = [bayes_factor(hypothesis_of_width(float(width)), against, y) for width in values]
    return pd.DataFrame(
        {
            "width": values,
            "log_bayes_factor": [factor.log for factor in factors],
            "favours": [factor.favours for factor in factors],
            "words": [factor.words for factor in factors],
        }
    )
