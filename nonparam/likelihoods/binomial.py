"""Successes out of trials, by the logistic function."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nonparam.errors import InputError
from nonparam.likelihoods.base import ResponseLikelihood
from nonparam.likelihoods.special import betainc, from_numpy, numpy_generator

__all__ = ["Binomial"]


class Binomial(ResponseLikelihood):
    r"""Successes out of trials that are independent given the function.

    .. math:: p(y \mid f) = \binom{e}{y} p^y (1 - p)^{e - y}, \quad p = 1 / (1 + e^{-f})

    with ``e`` trials, the second column of ``y``; without it each row is one trial.

    Source: McCullagh and Nelder (1989), Generalized linear models, chapter 4.

    Examples:
        >>> y, f = torch.tensor([[1.0, 2.0]]), torch.zeros(1, 1)  # one of two
        >>> Binomial().log_density(y, f).exp()
        tensor([[0.5000]])
    """

    keyword = "binomial"
    is_log_concave = True
    is_discrete = True
    takes_exposure = True
    counts_exposure = True

    def check(self, y: NDArray[Any]) -> None:
        """Raise `InputError` unless all are whole numbers of successes, of no more than the trials."""
        wrong = (y[:, 0] < 0.0) | (y[:, 0] != np.floor(y[:, 0]))
        if wrong.any():
            i = int(wrong.argmax())
            raise InputError(
                f"likelihood='binomial' is of numbers of successes 0, 1, 2, ..., got y[{i}]={y[i, 0]:g} "
                f"({int(wrong.sum())} such rows): for shares without a number of trials take 'beta'"
            )
        trials = _trials(y)
        wrong = (trials < 1.0) | (trials != np.floor(trials))
        if wrong.any():
            i = int(wrong.argmax())
            raise InputError(
                f"the second column of y is the number of trials, 1, 2, ...; got {trials[i]:g} in row {i}: "
                "leave out rows without trials"
            )
        wrong = y[:, 0] > trials
        if wrong.any():
            i = int(wrong.argmax())
            raise InputError(
                f"row {i} has more successes than trials, {y[i, 0]:g} of {trials[i]:g} ({int(wrong.sum())} "
                "such rows): give y as two columns, the successes and the number of trials"
            )

    def typical(self, y: NDArray[Any], weights: NDArray[np.float64]) -> Sequence[tuple[float, float]]:
        """Return the logit of the share of successes, and the variance of a logistic variable."""
        share = (float(weights @ y[:, 0]) + 0.5) / (float(weights @ _trials(y)) + 1.0)
        return [(math.log(share / (1.0 - share)), math.pi**2 / 3.0)]

    def log_density(self, y: Tensor, f: Tensor) -> Tensor:
        """Return ``log p(y | f)``, without overflow for any ``f``."""
        successes, failures = _counts(y)
        ways = torch.lgamma(successes + failures + 1.0) - torch.lgamma(successes + 1.0)
        log_sigmoid = torch.nn.functional.logsigmoid
        return ways - torch.lgamma(failures + 1.0) + successes * log_sigmoid(f) + failures * log_sigmoid(-f)

    def derivatives(self, y: Tensor, f: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the first three derivatives in ``f``, in closed form."""
        successes, failures = _counts(y)
        p, none = torch.sigmoid(f), torch.sigmoid(-f)
        curve = (successes + failures) * p * none
        return successes * none - failures * p, -curve, curve * (p - none)

    def response(self, f: Tensor, exposure: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the expected number of successes, and its variance."""
        p = torch.sigmoid(f)
        mean = p if exposure is None else exposure * p
        return mean, mean * torch.sigmoid(-f)

    def distribution(self, y: Tensor, f: Tensor, exposure: Tensor | None = None) -> Tensor:
        """Return the probability of at most ``y`` successes."""
        none = torch.sigmoid(-f)
        trials = torch.ones_like(none) if exposure is None else exposure.expand_as(none)
        most = y.floor().expand_as(none)
        within = torch.minimum(most.clamp_min(0.0), trials - 1.0)
        at_most = torch.where(
            most >= trials, torch.ones_like(none), betainc(trials - within, within + 1.0, none)
        )
        return torch.where(y < 0.0, torch.zeros_like(none), at_most)

    def sample(self, f: Tensor, generator: torch.Generator, exposure: Tensor | None = None) -> Tensor:
        """Draw numbers of successes."""
        p = torch.sigmoid(f).cpu().numpy()
        trials = 1 if exposure is None else exposure.long().cpu().numpy()
        return from_numpy(numpy_generator(generator).binomial(trials, p), f)


def _trials(y: NDArray[Any]) -> NDArray[Any]:
    return y[:, 1] if y.shape[1] > 1 else np.ones(len(y))


def _counts(y: Tensor) -> tuple[Tensor, Tensor]:
    trials = y[:, 1:] if y.shape[1] > 1 else torch.ones_like(y)
    return y[:, :1], trials - y[:, :1]
