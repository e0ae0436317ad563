r"""Variational inference with a full Gaussian for each function, by natural gradients.

The lower bound of the log marginal likelihood

.. math:: L = \sum_i E_q \log p(y_i \mid f_i) - KL(q \,\|\, N(0, K))

is largest for a prior times Gaussian sites, one for each row. With natural parameters
:math:`(\lambda, w)` a step of natural gradient is

.. math:: w_i \leftarrow -2\, \partial_{v_i} E_q \log p(y_i \mid f_i), \quad
          \lambda_i \leftarrow \partial_{m_i} E_q \log p(y_i \mid f_i) + w_i m_i ,

damped where the bound does not rise. Where the steps end, the sites maximise the bound, so that its gradient
in hyperparameters is the partial one at fixed sites; what is left of the gradient in the sites is counted all
the same. Precisions are kept from being negative. Only likelihoods that are not log-concave ask for that, at
rows that surprise, and there the gradient is close, not exact.

Source: Khan and Lin (2017), Conjugate-computation variational inference, AISTATS; Adam, Chang, Khan and Solin
(2021), Dual parameterization of sparse variational Gaussian processes, NeurIPS, for the gradient.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from nonparam.errors import ConvergenceError
from nonparam.latent.approximation import Approximation, Independent, Observations
from nonparam.latent.sites import SitePosterior, Sites

__all__ = ["variational"]

MAX_STEPS = 1000
SMALLEST = 1.0 / 64.0  # share of a step
TOLERANCE = 1e-11  # nats a row by which the bound rises
TOGETHER = 0.75  # share of a step of several functions at once: they swing to and fro by full ones
KNOWN = 1e-8  # of the prior variance: of a function that is known
FEW = 2  # functions
ROUGH = 1e-5  # the same as TOLERANCE with more functions, whose steps wait for one another
NEGLIGIBLE = 1e-9  # of the largest slope in a variance


@dataclass(frozen=True)
class _State:
    """The posterior, the bound, and its slopes in means and variances ``(n, latents)``."""

    posterior: Independent
    bound: float
    in_mean: Tensor
    in_variance: Tensor

    @property
    def steepest(self) -> list[Sites]:
        """The sites that a full step of natural gradient leads to."""
        found = []
        for posterior, slope, curve in zip(
            self.posterior.posteriors, self.in_mean.mT, self.in_variance.mT, strict=True
        ):
            precision = (-2.0 * curve).clamp_min(0.0)
            found.append(Sites(slope + precision * posterior.mean, precision))
        return found


def variational(
    covariances: Sequence[Tensor],
    seen: Observations,
    previous: Approximation | None = None,
    *,
    gradient: bool = True,
) -> Approximation:
    """Maximise the bound over the sites.

    Args:
        covariances: of each function at the rows, ``(n, n)``; a single one is shared by all functions.
        seen: the observations.
        previous: to begin from its sites; by default from those that a first step leads to.
        gradient: whether to return the derivatives.

    Raises:
        ConvergenceError: no end of the steps that raise the bound.
    """
    latents = seen.likelihood.latents
    matrices = list(covariances) * (latents if len(covariances) == 1 else 1)
    state = _state(matrices, _first(matrices, seen), seen)
    if previous is not None and isinstance(previous.posterior, Independent):
        before = [posterior.sites for posterior in previous.posterior.posteriors]
        state = max(state, _state(matrices, before, seen), key=lambda each: each.bound)
    state = _climb(state, seen)
    if not gradient:
        return Approximation(state.bound, state.posterior, [], [])
    slopes = [_slope(state, latent) for latent in range(latents)]
    shared = [torch.stack(slopes).sum(0)] if len(covariances) == 1 else slopes
    return Approximation(state.bound, state.posterior, shared, _parameter_slopes(state, seen))


def _first(matrices: Sequence[Tensor], seen: Observations) -> list[Sites]:
    """Return the sites that a step leads to from functions that are zero and known.

    Under the prior they may vary so much that a step from it leads nowhere: exponentials have huge means.
    Precisions are such that no site alone moves its function by more than a standard deviation of the prior.
    """
    prior = torch.stack([torch.diagonal(k) for k in matrices], 1)
    sd = torch.where(prior > 0.0, prior, 1.0).sqrt()
    mean = torch.zeros_like(sd)
    in_mean, in_variance = _slopes(mean, KNOWN * sd.square(), seen)[1:]
    precision = torch.maximum(-2.0 * in_variance, in_mean.abs() / sd)
    return [Sites(slope, own) for slope, own in zip(in_mean.mT, precision.mT, strict=True)]


def _slopes(mean: Tensor, variance: Tensor, seen: Observations) -> tuple[float, Tensor, Tensor]:
    """Return the expected log density, and its slopes in the moments ``(n, latents)``."""
    mean, variance = mean.requires_grad_(), variance.requires_grad_()
    with torch.enable_grad():
        expected = seen.expected_log_density(mean, variance)
        in_mean, in_variance = torch.autograd.grad(expected, [mean, variance])
    return float(expected.detach()), in_mean, in_variance


def _climb(state: _State, seen: Observations) -> _State:
    tolerance = TOLERANCE if seen.likelihood.latents <= FEW else ROUGH
    for _ in range(MAX_STEPS):
        following = _step(state, seen)
        rise, state = following.bound - state.bound, following
        if rise <= tolerance * len(seen.y):
            return state
    raise ConvergenceError(
        f"variational inference did not converge in {MAX_STEPS} steps: expected a likelihood and a kernel "
        "whose scales suit the data; try other starting values, or fewer hyperparameters"
    )


def _step(state: _State, seen: Observations) -> _State:
    """Return where a step leads that does not lower the bound; the same state where no share of it does."""
    matrices = [posterior.covariance for posterior in state.posterior.posteriors]
    now, goal = [posterior.sites for posterior in state.posterior.posteriors], state.steepest
    share = 1.0 if len(matrices) == 1 else TOGETHER
    while share >= SMALLEST:
        sites = [one.towards(other, share) for one, other in zip(now, goal, strict=True)]
        following = _state(matrices, sites, seen)
        if following.bound >= state.bound:
            return following
        share *= 0.5
    return state


def _state(matrices: Sequence[Tensor], sites: Sequence[Sites], seen: Observations) -> _State:
    posterior = Independent([SitePosterior.of(k, one) for k, one in zip(matrices, sites, strict=True)])
    expected, in_mean, in_variance = _slopes(posterior.mean, posterior.variance, seen)
    bound = expected - sum(one.divergence for one in posterior.posteriors)
    return _State(posterior, bound, in_mean, in_variance)


def _slope(state: _State, latent: int) -> Tensor:
    r"""Return the derivative of the bound in the covariance of one function, ``(n, n)``, symmetric.

    With :math:`T = I - R K`, and what is left of the slopes of the bound in means and variances, it is

    .. math:: \tfrac12 (\alpha \alpha^\top - R) + \mathrm{sym}(T c\, \alpha^\top)
              + T\, \mathrm{diag}(d)\, T^\top .
    """
    posterior = state.posterior.posteriors[latent]
    k, alpha, r = posterior.covariance, posterior.alpha, posterior.shrinkage()
    sites = posterior.sites
    in_mean = state.in_mean[:, latent] - sites.linear + sites.precision * posterior.mean
    in_variance = state.in_variance[:, latent] + 0.5 * sites.precision
    pulled = in_mean - r @ (k @ in_mean) + 0.5 * alpha
    slope = torch.outer(pulled, alpha)
    slope = 0.5 * (slope + slope.mT - r)
    if float(in_variance.abs().max()) > NEGLIGIBLE * float(state.in_variance[:, latent].abs().max()):
        t = -(r @ k)
        torch.diagonal(t).add_(1.0)
        slope += (t * in_variance) @ t.mT
    return slope


def _parameter_slopes(state: _State, seen: Observations) -> list[Tensor]:
    """Return the derivatives of the bound in the parameters of the likelihood."""
    if not seen.parameters:
        return []
    mean = torch.stack([posterior.mean for posterior in state.posterior.posteriors], 1)
    variance = torch.stack([posterior.variance for posterior in state.posterior.posteriors], 1)
    with torch.enable_grad():
        expected = seen.expected_log_density(mean, variance)
        return list(torch.autograd.grad(expected, seen.parameters, materialize_grads=True))
