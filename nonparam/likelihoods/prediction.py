r"""What is predicted of observations, given Gaussian functions: averages over the functions.

.. math:: E y = E\, E[y \mid f], \quad
          \mathrm{var}\, y = E\, \mathrm{var}[y \mid f] + \mathrm{var}\, E[y \mid f],

.. math:: P(y \le q) = E\, P(y \le q \mid f), \quad p(y) = E\, p(y \mid f)

by the trapezoid rule, see `nonparam.likelihoods.base`.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nonparam.likelihoods.base import ResponseLikelihood
from nonparam.likelihoods.chandrupatla import rising_roots

__all__ = ["Predictive"]

Array = NDArray[np.float64]

DOUBLINGS = 1100  # from one end of what a float holds to the other
RELATIVE = 1e-10  # width of the bracket of a quantile
LEAST = 1e-12  # of a spread, relative to the mean: nearly all may be at one limit
ROWS = 256  # at a time


@dataclass(frozen=True)
class Predictive:
    """The distribution of new observations.

    Attributes:
        likelihood: at fitted parameters.
        mean: of the functions, ``(m, latents)``.
        variance: of the functions, ``(m, latents)``.
        exposure: ``(m, 1)``, or ``None`` for one unit.

    Examples:
        >>> from nonparam.likelihoods import Poisson
        >>> one = torch.ones(1, 1, dtype=torch.float64)
        >>> found = Predictive(Poisson(), 0.0 * one, 1e-12 * one, 10.0 * one)
        >>> found.moments()[0].round(decimals=4), found.quantiles(np.array([0.5])).ravel()
        (tensor([10.], dtype=torch.float64), array([10.]))
    """

    likelihood: ResponseLikelihood
    mean: Tensor
    variance: Tensor
    exposure: Tensor | None = None

    @cached_property
    def _places(self) -> tuple[Tensor, Tensor]:
        return self.likelihood.places(self.mean, self.variance, self.exposure)

    def _parts(self) -> "list[Predictive]":
        """Return the distributions of some rows at a time, which the memory holds with all functions."""
        rows = torch.arange(len(self.mean), device=self.mean.device).split(ROWS)
        exposure = [None if self.exposure is None else self.exposure[i] for i in rows]
        return [
            Predictive(self.likelihood, self.mean[i], self.variance[i], own)
            for i, own in zip(rows, exposure, strict=True)
        ]

    def moments(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return mean and variance of an observation, and the variance of its mean given the functions."""
        found = [part._moments() for part in self._parts()]
        mean, variance, doubt = (torch.cat(each) for each in zip(*found, strict=True))
        return mean, variance, doubt

    def _moments(self) -> tuple[Tensor, Tensor, Tensor]:
        return self.likelihood.moments(self.mean, self.variance, self.exposure)

    def log_density(self, y: Tensor) -> Tensor:
        """Return the log density of observations ``y (m, k)``, ``(m,)``, in nats."""
        found = []
        for part, seen in zip(self._parts(), y.split(ROWS), strict=True):
            exposure = seen[:, 1:] if seen.shape[1] > 1 else None
            f, weights = self.likelihood.places(part.mean, part.variance, exposure)
            found.append(torch.logsumexp(self.likelihood.log_density(seen, f) + weights.log(), 1))
        return torch.cat(found)

    def distribution(self, y: Tensor) -> Tensor:
        """Return the probability of at most ``y (m, 1)``, ``(m,)``."""
        pairs = zip(self._parts(), y.split(ROWS), strict=True)
        return torch.cat([part._distribution(seen) for part, seen in pairs])

    def _distribution(self, y: Tensor) -> Tensor:
        f, weights = self._places
        return self.likelihood.distribution(y, f, self.exposure) @ weights

    def quantiles(self, q: Array) -> Array:
        """Return the smallest numbers whose probability reaches each of ``q (k,)``: ``(m, k)``."""
        return np.concatenate([part._quantiles(q) for part in self._parts()])

    def _quantiles(self, q: Array) -> Array:
        mean, variance, _ = self._moments()
        spread = torch.where(variance.isfinite(), variance, mean.square() + 1.0).sqrt()
        spread = torch.maximum(spread, LEAST * (mean.abs() + LEAST))
        found = [self._quantile(float(each), mean[:, None], spread[:, None]) for each in q]
        return np.stack([each[:, 0].cpu().numpy() for each in found], 1)

    def _quantile(self, q: float, centre: Tensor, spread: Tensor) -> Tensor:
        low, high = self._bracket(q, centre, spread)
        if self.likelihood.is_discrete:
            return self._whole(q, low, high)
        high = rising_roots(
            lambda y: self._distribution(y[:, None]) - q, low[:, 0], high[:, 0], RELATIVE * spread[:, 0]
        )[:, None]
        lowest = torch.full_like(high, self.likelihood.lowest)
        is_lowest = (self._distribution(lowest) >= q)[:, None]  # it has a probability of its own
        return torch.where(is_lowest, lowest, high).clamp_max(self.likelihood.highest)

    def _whole(self, q: float, low: Tensor, high: Tensor) -> Tensor:
        """Return the smallest whole numbers that reach ``q``, by halving brackets."""
        while bool((high - low > 1.0).any()):
            middle = (0.5 * (low + high)).floor()
            reached = (self._distribution(middle) >= q)[:, None]
            high, low = torch.where(reached, middle, high), torch.where(reached, low, middle)
        return high

    def _bracket(self, q: float, centre: Tensor, spread: Tensor) -> tuple[Tensor, Tensor]:
        """Return a number whose probability does not reach ``q``, and one whose does."""
        if self.likelihood.is_discrete:
            centre, spread = centre.floor(), spread.ceil().clamp_min(1.0)
        ends = []
        for sign, is_beyond in ((-1.0, torch.lt), (1.0, torch.ge)):
            reach = spread.clone()
            for _ in range(DOUBLINGS):
                short = ~is_beyond(self._distribution(centre + sign * reach), q)[:, None]
                if not bool(short.any()):
                    break
                reach = torch.where(short, 2.0 * reach, reach)
            ends.append(centre + sign * reach)
        return ends[0], ends[1]

    def sample(self, n_samples: int, generator: torch.Generator) -> Tensor:
        """Draw ``(m, n_samples)`` observations, each row on its own."""
        shape = (len(self.mean), n_samples, self.mean.shape[1])
        z = torch.randn(shape, generator=generator, dtype=self.mean.dtype, device=self.mean.device)
        f = self.mean[:, None] + self.variance.sqrt()[:, None] * z
        return self.likelihood.sample(f[..., 0] if shape[2] == 1 else f, generator, self.exposure)
