"""Two classes, by the logistic function."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nonparam.errors import InputError
from nonparam.likelihoods.base import ResponseLikelihood

__all__ = ["Bernoulli"]


class Bernoulli(ResponseLikelihood):
    r"""An event that happens or not.

    .. math:: p(y = 1 \mid f) = 1 / (1 + e^{-f})

    Source: Rasmussen and Williams (2006), Gaussian processes for machine learning, section 3.3.

    Examples:
        >>> y, f = torch.ones(1, 1), torch.zeros(1, 1)
        >>> Bernoulli().log_density(y, f).exp()
        tensor([[0.5000]])
    """

    keyword = "bernoulli"
    is_log_concave = True
    is_discrete = True

    def check(self, y: NDArray[Any]) -> None:
        """Raise `InputError` unless all observations are 0 or 1."""
        wrong = ~np.isin(y[:, 0], (0.0, 1.0))
        if wrong.any():
            i = int(wrong.argmax())
            raise InputError(
                f"likelihood='bernoulli' is of events that happen (1) or not (0), got y[{i}]={y[i, 0]:g} "
                f"({int(wrong.sum())} such rows): for labels of any type take GPClassifier"
            )

    def typical(self, y: NDArray[Any], weights: NDArray[np.float64]) -> Sequence[tuple[float, float]]:
        """Return the logit of the share of events, and the variance of a logistic variable."""
        share = (float(weights @ y[:, 0]) + 0.5) / (weights.sum() + 1.0)
        return [(math.log(share / (1.0 - share)), math.pi**2 / 3.0)]

    def log_density(self, y: Tensor, f: Tensor) -> Tensor:
        """Return ``log p(y | f)``, without overflow for any ``f``."""
        return torch.nn.functional.logsigmoid((2.0 * y[:, :1] - 1.0) * f)

    def derivatives(self, y: Tensor, f: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the first three derivatives in ``f``, in closed form.

        Source: Rasmussen and Williams (2006), equation 3.15.
        """
        p, none = torch.sigmoid(f), torch.sigmoid(-f)
        return y[:, :1] - p, -p * none, p * none * (p - none)

    def response(self, f: Tensor, exposure: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the probability of an event, and the variance of its indicator."""
        p = torch.sigmoid(f)
        return p, p * torch.sigmoid(-f)

    def distribution(self, y: Tensor, f: Tensor, exposure: Tensor | None = None) -> Tensor:
        """Return the probability of an indicator of at most ``y``."""
        none = torch.sigmoid(-f)
        return torch.where(y < 0.0, 0.0 * none, torch.where(y < 1.0, none, torch.ones_like(none)))

    def sample(self, f: Tensor, generator: torch.Generator, exposure: Tensor | None = None) -> Tensor:
        """Draw indicators of events."""
        return torch.bernoulli(torch.sigmoid(f), generator=generator)
