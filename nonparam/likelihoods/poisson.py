"""Counts whose rate is the exponential of a function."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nonparam.errors import InputError
from nonparam.likelihoods.base import ResponseLikelihood

__all__ = ["Poisson", "check_counts", "typical_log_rate"]


class Poisson(ResponseLikelihood):
    r"""Counts of events that happen independently, at the rate of a function.

    .. math:: p(y \mid f) = (e\, e^f)^y \exp(-e\, e^f) / y!

    with the exposure :math:`e`: the time, the area or the number of things at risk; 1 by default.

    Source: McCullagh and Nelder (1989), Generalized linear models, chapter 6.

    Examples:
        >>> y, f = torch.tensor([[2.0, 10.0]]), torch.zeros(1, 1)  # two events in ten units of time
        >>> Poisson().log_density(y, f).exp().round(decimals=5)
        tensor([[0.0023]])
    """

    keyword = "poisson"
    is_log_concave = True
    is_discrete = True
    takes_exposure = True

    def check(self, y: NDArray[Any]) -> None:
        """Raise `InputError` unless all observations are counts, and all exposures positive."""
        check_counts(y, self.keyword)

    def typical(self, y: NDArray[Any], weights: NDArray[np.float64]) -> Sequence[tuple[float, float]]:
        """Return the logarithm of the mean rate, and the variance of logarithms of rates."""
        return [typical_log_rate(y, weights)]

    def log_density(self, y: Tensor, f: Tensor) -> Tensor:
        """Return ``log p(y | f)``."""
        log_rate = f + _log_exposure(y)
        return y[:, :1] * log_rate - log_rate.exp() - torch.lgamma(y[:, :1] + 1.0)

    def expected_log_density(self, y: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
        """Return its mean over Gaussian functions, in closed form."""
        log_rate = mean + _log_exposure(y)
        rate = (log_rate + 0.5 * variance).exp()
        return (y[:, :1] * log_rate - rate - torch.lgamma(y[:, :1] + 1.0))[:, 0]

    def response(self, f: Tensor, exposure: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the expected count, which is its variance too."""
        rate = f.exp() if exposure is None else exposure * f.exp()
        return rate, rate

    def distribution(self, y: Tensor, f: Tensor, exposure: Tensor | None = None) -> Tensor:
        """Return the probability of a count of at most ``y``."""
        rate = self.response(f, exposure)[0]
        at_most = torch.special.gammaincc(y.floor().clamp_min(0.0).expand_as(rate) + 1.0, rate)
        return torch.where(y < 0.0, torch.zeros_like(rate), at_most)

    def sample(self, f: Tensor, generator: torch.Generator, exposure: Tensor | None = None) -> Tensor:
        """Draw counts."""
        return torch.poisson(self.response(f, exposure)[0], generator=generator)


def _log_exposure(y: Tensor) -> Tensor | float:
    return y[:, 1:].log() if y.shape[1] > 1 else 0.0


def check_counts(y: NDArray[Any], keyword: str) -> None:
    """Raise `InputError` unless ``y (n, 1)`` holds counts, or ``(n, 2)`` counts and positive exposures."""
    wrong = (y[:, 0] < 0.0) | (y[:, 0] != np.floor(y[:, 0]))
    if wrong.any():
        i = int(wrong.argmax())
        raise InputError(
            f"likelihood={keyword!r} is of counts 0, 1, 2, ..., got y[{i}]={y[i, 0]:g} "
            f"({int(wrong.sum())} such rows): for shares take 'beta' or 'binomial', for other numbers "
            "'gaussian' or 'student_t'"
        )
    if y.shape[1] > 1 and not (y[:, 1] > 0.0).all():
        i = int((y[:, 1] <= 0.0).argmax())
        raise InputError(
            f"the second column of y is the exposure, a positive number; got {y[i, 1]:g} in row {i}: "
            "leave out rows in which nothing could be seen"
        )


def typical_log_rate(y: NDArray[Any], weights: NDArray[np.float64]) -> tuple[float, float]:
    """Return the logarithm of the mean rate, and about the variance of the logarithms of the rates.

    Half an event is added everywhere, without which a rate of 0 has no logarithm.
    """
    exposure = y[:, 1] if y.shape[1] > 1 else np.ones(len(y))
    rate = float((weights @ y[:, 0] + 0.5) / (weights @ exposure))
    logs = np.log((y[:, 0] + 0.5) / (exposure * rate + 0.5))
    spread = float(np.average((logs - np.average(logs, weights=weights)) ** 2, weights=weights))
    return math.log(rate), max(spread, 0.1)
