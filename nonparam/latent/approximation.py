"""What inference of functions starts from, and what it finds."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from nonparam.latent.sites import SitePosterior
from nonparam.likelihoods.base import Likelihood

__all__ = ["Approximation", "Observations"]


@dataclass(frozen=True)
class Observations:
    """What was seen of functions.

    Attributes:
        y: ``(n, k)``.
        weights: ``(n,)``, powers of the rows' likelihoods.
        likelihood: at fixed parameters.
    """

    y: Tensor
    weights: Tensor
    likelihood: Likelihood

    @property
    def parameters(self) -> list[torch.nn.Parameter]:
        """Those of the likelihood that are learnt."""
        return [p for p in self.likelihood.parameters() if p.requires_grad]

    def log_density(self, f: Tensor) -> Tensor:
        """Return ``log p(y | f)`` in nats of a function ``f (n,)``, summed over the rows."""
        return self.weights @ self.likelihood.log_density(self.y, f[:, None])[:, 0]

    def expected_log_density(self, mean: Tensor, variance: Tensor) -> Tensor:
        """Return its mean over Gaussian functions with moments ``(n, latents)``."""
        return self.weights @ self.likelihood.expected_log_density(self.y, mean, variance)


@dataclass(frozen=True)
class Approximation:
    """A Gaussian approximation of the posterior of functions.

    Attributes:
        value: the log marginal likelihood that it implies, or a bound of it, in nats.
        posteriors: of each function.
        slopes: derivatives of the value in the covariances, ``(n, n)`` and symmetric; one where the functions
            share theirs; none where they were not asked for.
        own: derivatives in the parameters of the likelihood.
    """

    value: float
    posteriors: Sequence[SitePosterior]
    slopes: Sequence[Tensor]
    own: Sequence[Tensor]
