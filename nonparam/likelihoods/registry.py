"""Likelihoods by their names."""

from typing import Any

from nonparam.errors import InputError
from nonparam.likelihoods.base import ResponseLikelihood
from nonparam.likelihoods.bernoulli import Bernoulli
from nonparam.likelihoods.poisson import Poisson

__all__ = ["NAMES", "as_likelihood"]

NAMED: dict[str, type[ResponseLikelihood]] = {each.keyword: each for each in (Bernoulli, Poisson)}
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
