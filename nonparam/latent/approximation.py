"""What inference of functions starts from, and what it finds."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from nonparam.latent.sites import SitePosterior
from nonparam.likelihoods.base import Likelihood

__all__ = ["Approximation", "Independent", "LatentPosterior", "Observations"]


@dataclass(frozen=True)
class Observations:
    """What was seen of functions.

    Attributes:
        y: ``(n, k)``.
        weights: ``(n,)``, powers of the rows' likelihoods.
        likelihood: at fixed parameters.
        level: ``(latents,)``, added to the functions: around which they vary.
    """

    y: Tensor
    weights: Tensor
    likelihood: Likelihood
    level: Tensor

    @property
    def parameters(self) -> list[torch.nn.Parameter]:
        """Those of the likelihood that are learnt."""
        return [p for p in self.likelihood.parameters() if p.requires_grad]

    def log_density(self, f: Tensor) -> Tensor:
        """Return ``log p(y | f)`` in nats of functions ``(n, latents)``, summed over the rows."""
        values = f + self.level if self.likelihood.latents == 1 else (f + self.level)[:, None]
        return self.weights @ self.likelihood.log_density(self.y, values)[:, 0]

    def derivatives(self, f: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return three derivatives of the rows' log densities in a single function, ``(n,)`` each."""
        found = self.likelihood.derivatives(self.y, (f + self.level)[:, None])
        slope, curvature, third = (self.weights * each.detach()[:, 0] for each in found)
        return slope, curvature, third

    def expected_log_density(self, mean: Tensor, variance: Tensor) -> Tensor:
        """Return its mean over Gaussian functions with moments ``(n, latents)``."""
        return self.weights @ self.likelihood.expected_log_density(self.y, mean + self.level, variance)


class LatentPosterior(Protocol):
    """A Gaussian approximation of the posterior of all functions."""

    @property
    def alpha(self) -> Tensor:
        """Inverse covariances times means, ``(n, latents)``."""
        ...

    def moments(self, crosses: Sequence[Tensor], priors: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Return means and variances at new rows, without their level: two of ``(m, latents)``.

        Args:
            crosses: covariances of the rows with the new ones, ``(n, m)``, one for each function, or for all.
            priors: variances of the new ones, ``(m,)``.
        """
        ...

    def left_out(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return numbers of rows, and means and variances at each given all others, as `moments` does."""
        ...


@dataclass(frozen=True)
class Independent:
    """Functions that are independent given the data.

    Attributes:
        posteriors: one for each.
    """

    posteriors: Sequence[SitePosterior]

    @property
    def alpha(self) -> Tensor:
        """Inverse covariances times means, ``(n, latents)``."""
        return torch.stack([posterior.alpha for posterior in self.posteriors], 1)

    @property
    def mean(self) -> Tensor:
        """At the rows, ``(n, latents)``."""
        return torch.stack([posterior.mean for posterior in self.posteriors], 1)

    @property
    def variance(self) -> Tensor:
        """At the rows, ``(n, latents)``."""
        return torch.stack([posterior.variance for posterior in self.posteriors], 1)

    def moments(self, crosses: Sequence[Tensor], priors: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Return means and variances at new rows, as `LatentPosterior` says."""
        shared = len(self.posteriors) if len(crosses) == 1 else 1
        found = [
            posterior.moments(cross, prior)
            for posterior, cross, prior in zip(
                self.posteriors, list(crosses) * shared, list(priors) * shared, strict=True
            )
        ]
        return _columns(found)

    def left_out(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return the rows, and means and variances at each given all others, as `moments` does."""
        mean, variance = _columns([posterior.left_out() for posterior in self.posteriors])
        return torch.arange(len(mean), device=mean.device), mean, variance


def _columns(pairs: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    means, variances = zip(*pairs, strict=True)
    return torch.stack(means, 1), torch.stack(variances, 1)


@dataclass(frozen=True)
class Approximation:
    """A Gaussian approximation of the posterior of functions.

    Attributes:
        value: the log marginal likelihood that it implies, or a bound of it, in nats.
        posterior: of the functions.
        slopes: derivatives of the value in the covariances, ``(n, n)`` and symmetric; one where the functions
            share theirs; none where they were not asked for.
        own: derivatives in the parameters of the likelihood.
        standard_error: of the value, in nats; 0 where it is no estimate.
        residual: the largest relative residual of the last solve; 0 where matrices were factorised.
    """

    value: float
    posterior: LatentPosterior
    slopes: Sequence[Tensor]
    own: Sequence[Tensor]
    standard_error: float = 0.0
    residual: float = 0.0
