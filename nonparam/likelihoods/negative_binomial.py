"""Counts that vary more than independent events do."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nonparam.kernels.base import Hyperparameter
from nonparam.likelihoods.parametric import ParametricLikelihood
from nonparam.likelihoods.poisson import check_counts, typical_log_rate
from nonparam.likelihoods.special import betainc, from_numpy, log_rising, numpy_generator
from nonparam.theta import Prior

__all__ = ["NegativeBinomial"]

DISPERSION = 0.2  # the prior median: rates vary by about half their size
DISPERSION_SD = 2.0  # of its logarithm: the middle 95 % span a factor of 3000


class NegativeBinomial(ParametricLikelihood):
    r"""Counts of events whose rate varies around that of a function.

    .. math:: p(y \mid f) = \frac{\Gamma(y + r)}{\Gamma(r)\, y!} \frac{(\mu / r)^y}{(1 + \mu / r)^{y + r}},
              \quad \mu = e\, e^f, \quad r = 1 / a

    with the exposure :math:`e` (1 by default). The variance is :math:`\mu + a \mu^2`: without dispersion
    :math:`a` counts are those of `Poisson`.

    Args:
        dispersion: :math:`a`, the squared coefficient of variation of the rates.
        fixed: ``("dispersion",)`` where it is not learnt.

    Raises:
        InputError: a number that is not positive and finite, or another name in ``fixed``.

    Source: Hilbe (2011), Negative binomial regression, chapter 8 (NB2).

    Examples:
        >>> y, f = torch.zeros(1, 1), torch.zeros(1, 1)
        >>> NegativeBinomial(dispersion=1.0).distribution(y, f)  # of the geometric distribution
        tensor([[0.5000]])
    """

    keyword = "negative_binomial"
    is_log_concave = True
    is_discrete = True
    takes_exposure = True
    dispersion = Hyperparameter("1")

    def __init__(self, dispersion: float | None = None, fixed: Sequence[str] = ()) -> None:
        super().__init__({"dispersion": dispersion}, fixed)

    def check(self, y: NDArray[Any]) -> None:
        """Raise `InputError` unless all observations are counts, and all exposures positive."""
        check_counts(y, self.keyword)

    def suggested(self, y: NDArray[Any], weights: NDArray[np.float64]) -> Mapping[str, Prior]:
        """Return a broad prior of the logarithm of the dispersion."""
        return {"dispersion": Prior(math.log(DISPERSION), DISPERSION_SD, math.log(1e-6), math.log(1e3))}

    def typical(self, y: NDArray[Any], weights: NDArray[np.float64]) -> Sequence[tuple[float, float]]:
        """Return the logarithm of the mean rate, and the variance of logarithms of rates."""
        return [typical_log_rate(y, weights)]

    def log_density(self, y: Tensor, f: Tensor) -> Tensor:
        """Return ``log p(y | f)``."""
        a: Tensor = self.dispersion
        count, log_mean = y[:, :1], _log_mean(y, f)
        constant = log_rising(count, a) - torch.lgamma(count + 1.0)
        return constant + count * log_mean - (count + 1.0 / a) * _softplus(log_mean + a.log())

    def derivatives(self, y: Tensor, f: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the first three derivatives in ``f``, in closed form."""
        log_mean, a = _log_mean(y, f), self.dispersion
        share = torch.sigmoid(log_mean + a.log())  # of the mean in the mean and 1 / a
        rest = torch.sigmoid(-log_mean - a.log())
        pull = (1.0 + a * y[:, :1]) * share / a
        return y[:, :1] - pull, -pull * rest, pull * rest * (share - rest)

    def response(self, f: Tensor, exposure: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the expected count, and its variance."""
        mean = f.exp() if exposure is None else exposure * f.exp()
        return mean, mean + self.dispersion * mean.square()

    def distribution(self, y: Tensor, f: Tensor, exposure: Tensor | None = None) -> Tensor:
        """Return the probability of a count of at most ``y``."""
        mean = self.response(f, exposure)[0]
        count = y.floor().clamp_min(0.0).expand_as(mean)
        none = 1.0 / (1.0 + self.dispersion * mean)
        at_most = betainc((1.0 / self.dispersion).expand_as(mean), count + 1.0, none)
        return torch.where(y < 0.0, torch.zeros_like(mean), at_most)

    def sample(self, f: Tensor, generator: torch.Generator, exposure: Tensor | None = None) -> Tensor:
        """Draw counts: rates of a gamma distribution, and Poisson's counts."""
        mean, a = self.response(f, exposure)[0], float(self.dispersion.detach())
        rates = a * numpy_generator(generator).standard_gamma(1.0 / a, tuple(f.shape))
        return torch.poisson(mean * from_numpy(rates, mean), generator=generator)


def _log_mean(y: Tensor, f: Tensor) -> Tensor:
    return f + y[:, 1:].log() if y.shape[1] > 1 else f


def _softplus(x: Tensor) -> Tensor:
    """Return ``log(1 + e^x)`` to all digits, also of small ones."""
    return torch.clamp_min(x, 0.0) + (-x.abs()).exp().log1p()
