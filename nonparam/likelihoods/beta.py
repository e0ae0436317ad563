"""Shares strictly between 0 and 1, by the logistic function."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nonparam.errors import InputError
from nonparam.kernels.base import Hyperparameter
from nonparam.likelihoods.parametric import ParametricLikelihood
from nonparam.likelihoods.special import betainc, from_numpy, numpy_generator
from nonparam.theta import Prior

__all__ = ["Beta"]

PRECISION = 5.0  # the prior median, times that of shares whose mean does not change
PRECISION_SD = 2.0  # of its logarithm: the middle 95 % span a factor of 3000
REACH = math.log(1e8)
LEAST = 1e-300  # of a parameter of the distribution, whose log gamma a float holds


class Beta(ParametricLikelihood):
    r"""A share whose mean is the logistic function of a function.

    .. math:: y \mid f \sim \mathrm{Beta}(\mu \phi, (1 - \mu) \phi), \quad \mu = 1 / (1 + e^{-f}), \quad
              \mathrm{var}[y \mid f] = \mu (1 - \mu) / (1 + \phi)

    Shares of 0 and 1 have no density that is positive and finite, and are refused: what they mean, the data
    alone do not say. It is not log-concave in the function.

    Args:
        precision: :math:`\phi`.
        fixed: ``("precision",)`` where it is not learnt.

    Raises:
        InputError: a number that is not positive and finite, or another name in ``fixed``.

    Source: Ferrari and Cribari-Neto (2004), Beta regression for modelling rates and proportions, Journal of
    Applied Statistics 31(7).

    Examples:
        >>> y, f = torch.tensor([[0.3]]), torch.zeros(1, 1)
        >>> Beta(precision=2.0).log_density(y, f).exp().detach()  # of the uniform distribution
        tensor([[1.]])
    """

    keyword = "beta"
    lowest = 0.0
    highest = 1.0
    precision = Hyperparameter("1")

    def __init__(self, precision: float | None = None, fixed: Sequence[str] = ()) -> None:
        super().__init__({"precision": precision}, fixed)

    def check(self, y: NDArray[Any]) -> None:
        """Raise `InputError` unless all observations are strictly between 0 and 1."""
        share = y[:, 0]
        outside = (share < 0.0) | (share > 1.0)
        if outside.any():
            i = int(outside.argmax())
            raise InputError(
                f"likelihood='beta' is of shares between 0 and 1, got y[{i}]={share[i]:g} "
                f"({int(outside.sum())} such rows): divide percentages by 100; for other numbers take "
                "'gaussian' or 'student_t'"
            )
        edge = (share == 0.0) | (share == 1.0)
        if edge.any():
            i = int(edge.argmax())
            raise InputError(
                f"likelihood='beta' gives no density to shares of exactly 0 or 1, got y[{i}]={share[i]:g} "
                f"({int(edge.sum())} such rows): with numbers of trials take 'binomial'; shares that were "
                "cut off there are for Censored(0.0, 1.0); if they were rounded, move them inside, as by "
                "(y * (n - 1) + 0.5) / n"
            )

    def suggested(self, y: NDArray[Any], weights: NDArray[np.float64]) -> Mapping[str, Prior]:
        """Return a broad prior of the logarithm of the precision."""
        mean, variance = _moments(y[:, 0], weights)
        alike = mean * (1.0 - mean) / max(variance, 1e-6) - 1.0  # of shares around a constant mean
        centre = math.log(PRECISION * max(alike, 0.1))
        return {"precision": Prior(centre, PRECISION_SD, centre - REACH, centre + REACH)}

    def typical(self, y: NDArray[Any], weights: NDArray[np.float64]) -> Sequence[tuple[float, float]]:
        """Return the logit of the mean share, and the variance of logits."""
        share = _moments(y[:, 0], weights)[0]
        spread = _moments(np.log(y[:, 0]) - np.log1p(-y[:, 0]), weights)[1]
        return [(math.log(share / (1.0 - share)), max(spread, 0.1))]

    def log_density(self, y: Tensor, f: Tensor) -> Tensor:
        """Return ``log p(y | f)``."""
        share, (a, b) = y[:, :1], self._shapes(f)
        constant = torch.lgamma(self.precision) - torch.lgamma(a) - torch.lgamma(b)
        return constant + (a - 1.0) * share.log() + (b - 1.0) * (-share).log1p()

    def _shapes(self, f: Tensor) -> tuple[Tensor, Tensor]:
        a, b = self.precision * torch.sigmoid(f), self.precision * torch.sigmoid(-f)
        return a.clamp_min(LEAST), b.clamp_min(LEAST)

    def response(self, f: Tensor, exposure: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the expected share, and its variance."""
        mean = torch.sigmoid(f)
        return mean, mean * torch.sigmoid(-f) / (1.0 + self.precision)

    def distribution(self, y: Tensor, f: Tensor, exposure: Tensor | None = None) -> Tensor:
        """Return the probability of a share of at most ``y``."""
        a, b = self._shapes(f)
        return betainc(a, b, y.clamp(0.0, 1.0).expand_as(f))

    def sample(self, f: Tensor, generator: torch.Generator, exposure: Tensor | None = None) -> Tensor:
        """Draw shares."""
        a, b = (each.detach().cpu().numpy() for each in self._shapes(f))
        return from_numpy(numpy_generator(generator).beta(a, b), f)


def _moments(values: NDArray[Any], weights: NDArray[np.float64]) -> tuple[float, float]:
    mean = np.average(values, weights=weights)
    return float(mean), float(np.average((values - mean) ** 2, weights=weights))
