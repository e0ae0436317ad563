"""Numbers whose noise changes from row to row: its logarithm is a second function."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nonparam.errors import InputError
from nonparam.likelihoods.base import ResponseLikelihood, nodes
from nonparam.scales import variance_of

__all__ = ["Heteroscedastic"]

NOISE = 0.2  # of the variance of y: the level of the noise
SPREAD = 0.5  # variance of the logarithm of its standard deviation
LOG_ROOT = 0.5 * math.log(2.0 * math.pi)


class Heteroscedastic(ResponseLikelihood):
    r"""A number around one function, with noise whose standard deviation is the exponential of another.

    .. math:: p(y \mid f, g) = N(y \mid f, e^{2 g})

    The two functions have a kernel each, of the same form, with hyperparameters of their own. Expectations
    are known in closed form:

    .. math:: E \log p(y \mid f, g) = -\tfrac12 \log 2 \pi - m_g
              - \tfrac12 ((y - m_f)^2 + v_f)\, e^{2 v_g - 2 m_g} .

    Source: Goldberg, Williams and Bishop (1998), Regression with input-dependent noise: a Gaussian process
    treatment, NeurIPS; Lazaro-Gredilla and Titsias (2011), Variational heteroscedastic Gaussian process
    regression, ICML.

    Examples:
        >>> y, f = torch.zeros(1, 1), torch.zeros(1, 1, 2)  # a function of 0, and noise with a deviation of 1
        >>> Heteroscedastic().log_density(y, f)
        tensor([[-0.9189]])
    """

    keyword = "heteroscedastic"
    latents = 2

    def check(self, y: NDArray[Any]) -> None:
        """Raise `InputError` unless there are observations that differ."""
        if (y[:, 0] == y[0, 0]).all():
            raise InputError(
                "likelihood='heteroscedastic' learns how the noise changes, and all observations are "
                f"{y[0, 0]:g}: take likelihood='gaussian'"
            )

    def typical(self, y: NDArray[Any], weights: NDArray[np.float64]) -> Sequence[tuple[float, float]]:
        """Return mean and variance of the data; the logarithm of a part of their deviation, its variance."""
        mean, variance = float(np.average(y[:, 0], weights=weights)), variance_of(y[:, :1], weights)
        return [(mean, variance), (0.5 * math.log(NOISE * variance), SPREAD)]

    def log_density(self, y: Tensor, f: Tensor) -> Tensor:
        """Return ``log p(y | f)``: ``(n, q)`` for ``y (n, 1)`` and ``f (n, q, 2)``."""
        z = (y[:, :1] - f[..., 0]) * (-f[..., 1]).exp()
        return -LOG_ROOT - f[..., 1] - 0.5 * z.square()

    def expected_log_density(self, y: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
        """Return its mean over independent Gaussian functions, in closed form."""
        square = (y[:, 0] - mean[:, 0]).square() + variance[:, 0]
        return -LOG_ROOT - mean[:, 1] - 0.5 * square * (2.0 * (variance[:, 1] - mean[:, 1])).exp()

    def places(self, mean: Tensor, variance: Tensor, exposure: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return functions over which observations mix; the uncertainty of the first one counts as noise."""
        z, weights = nodes(mean)
        g = mean[:, 1:] + variance[:, 1:].sqrt() * z
        total = 0.5 * (variance[:, :1] + (2.0 * g).exp()).log()
        return torch.stack([mean[:, :1].expand_as(total), total], -1), weights

    def moments(
        self, mean: Tensor, variance: Tensor, exposure: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return mean and variance of an observation, and the variance of the function, in closed form."""
        noise = (2.0 * (mean[:, 1] + variance[:, 1])).exp()
        return mean[:, 0], variance[:, 0] + noise, variance[:, 0]

    def response(self, f: Tensor, exposure: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the first function, and the variance of the noise."""
        return f[..., 0], (2.0 * f[..., 1]).exp()

    def distribution(self, y: Tensor, f: Tensor, exposure: Tensor | None = None) -> Tensor:
        """Return the probability of an observation of at most ``y``."""
        z: Tensor = (y - f[..., 0]) * (-f[..., 1]).exp()
        return 0.5 * torch.erfc(-z / math.sqrt(2.0))

    def sample(self, f: Tensor, generator: torch.Generator, exposure: Tensor | None = None) -> Tensor:
        """Draw observations."""
        drawn = torch.randn(f.shape[:-1], generator=generator, dtype=f.dtype, device=f.device)
        return f[..., 0] + f[..., 1].exp() * drawn
