"""Likelihoods by their names."""

from typing import Any

from nonparam.errors import InputError
from nonparam.likelihoods.base import ResponseLikelihood
from nonparam.likelihoods.bernoulli import Bernoulli
from nonparam.likelihoods.beta import Beta
from nonparam.likelihoods.binomial import Binomial
from nonparam.likelihoods.censored import Censored
from nonparam.likelihoods.heteroscedastic import Heteroscedastic
from nonparam.likelihoods.negative_binomial import NegativeBinomial
from nonparam.likelihoods.poisson import Poisson
from nonparam.likelihoods.student_t import StudentT

__all__ = ["NAMED", "NAMES", "as_likelihood"]

CLASSES: tuple[type[ResponseLikelihood], ...] = (
    *(Bernoulli, Binomial, Beta),
    *(Poisson, NegativeBinomial),
    *(StudentT, Heteroscedastic, Censored),
)
NAMED = {each.keyword: each for each in CLASSES}
NAMES = ("gaussian", *NAMED)


def as_likelihood(given: Any) -> ResponseLikelihood:
    """Return a likelihood for its name, or as it is.

    Raises:
        InputError: another name, or something else.

    Examples:
        >>> as_likelihood("poisson").is_log_concave
        True
    """
    if isinstance(given, ResponseLikelihood):
        return given
    if isinstance(given, str) and given in NAMED:
        return NAMED[given]()
    raise InputError(f"likelihood must be one of {NAMES}, or one of nonparam.likelihoods; got {given!r}")
