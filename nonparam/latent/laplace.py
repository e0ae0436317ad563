r"""Laplace's approximation of the posterior of a function: a Gaussian at its mode.

With :math:`g = \nabla \log p(y \mid \hat f)`, :math:`W = -\nabla\nabla \log p(y \mid \hat f)` and the
Gaussian process of sites :math:`(g + W \hat f, W)`,

.. math:: \log q(y) = -\tfrac12 \alpha^\top \hat f + \log p(y \mid \hat f) - \tfrac12 \log |B|, \quad
          \hat f = K \alpha, \quad \alpha = g .

Its derivative in ``K`` is

.. math:: \tfrac12 (\alpha \alpha^\top - R) + \mathrm{sym}(u\, g^\top), \quad u = (I - R K)\, s, \quad
          s_i = \tfrac12 V_{ii}\, \partial^3 \log p(y_i \mid \hat f_i) / \partial \hat f_i^3 :

the last term is how the mode moves.

Source: Rasmussen and Williams (2006), Gaussian processes for machine learning, algorithms 3.1 and 5.1.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from nonparam.errors import ConvergenceError
from nonparam.latent.approximation import Approximation, Observations
from nonparam.latent.sites import SitePosterior, Sites

__all__ = ["laplace_mode"]

MAX_STEPS = 100
HALVINGS = 20
TOLERANCE = 1e-12  # nats a row that a step gains


@dataclass(frozen=True)
class _Point:
    """A function at the rows, ``f = K alpha``, and the log joint density there without its constant."""

    alpha: Tensor
    f: Tensor
    height: float

    @classmethod
    def of(cls, alpha: Tensor, f: Tensor, seen: Observations) -> "_Point":
        return cls(alpha, f, float(seen.log_density(f)) - 0.5 * float(alpha @ f))


def laplace_mode(
    covariances: Sequence[Tensor],
    seen: Observations,
    start: Sequence[Sites] | None = None,
    *,
    gradient: bool = True,
) -> Approximation:
    """Find the mode of a function by Newton's steps, and the Gaussian there.

    Args:
        covariances: that of the function at the rows, ``(n, n)``.
        seen: the observations, through a log-concave likelihood.
        start: the sites to begin from; by default at a function that is zero.
        gradient: whether to return the derivatives.

    Raises:
        ConvergenceError: the mode was not found.

    Source: Rasmussen and Williams (2006), algorithms 3.1 and 5.1.
    """
    (k,) = covariances
    alpha = torch.zeros_like(seen.weights) if start is None else SitePosterior.of(k, start[0]).alpha
    mode = _mode(k, _Point.of(alpha, k @ alpha, seen), seen)
    slope, precision, third = _derivatives(mode.f, seen)
    posterior = SitePosterior.of(k, Sites(slope + precision * mode.f, precision))
    value = mode.height - 0.5 * posterior.factor.log_determinant()
    if not gradient:
        return Approximation(value, [posterior], [], [])
    implicit = 0.5 * posterior.variance * third
    r = posterior.inverse()
    u = implicit - r @ (k @ implicit)
    outer = torch.outer(u + 0.5 * slope, slope)
    own = _parameter_slopes(posterior.variance, k @ u, mode.f, seen)
    return Approximation(value, [posterior], [0.5 * (outer + outer.mT - r)], own)


def _mode(k: Tensor, at: _Point, seen: Observations) -> _Point:
    """Take Newton's steps until one gains nothing (algorithm 3.1)."""
    for _ in range(MAX_STEPS):
        slope, precision, _ = _derivatives(at.f, seen)
        posterior = SitePosterior.of(k, Sites(slope + precision * at.f, precision))  # lines 4 to 7
        following = _towards(posterior, at, seen)
        gained, at = following.height - at.height, following
        if gained <= TOLERANCE * len(at.f):
            return at
    raise ConvergenceError(
        f"Newton's steps did not find the mode of the posterior in {MAX_STEPS} steps: expected a kernel "
        "whose variance suits the data; try other starting values, or inference='variational'"
    )


def _towards(posterior: SitePosterior, at: _Point, seen: Observations) -> _Point:
    """Take the share of Newton's step that does not descend."""
    share = 1.0
    for _ in range(HALVINGS):
        alpha, f = torch.lerp(at.alpha, posterior.alpha, share), torch.lerp(at.f, posterior.mean, share)
        reached = _Point.of(alpha, f, seen)
        if reached.height >= at.height:
            return reached
        share *= 0.5
    return at


def _derivatives(f: Tensor, seen: Observations) -> tuple[Tensor, Tensor, Tensor]:
    """Return the slope, minus the curvature and the third derivative of the log density, ``(n,)`` each."""
    at = f.detach().clone().requires_grad_()
    with torch.enable_grad():
        (slope,) = torch.autograd.grad(seen.log_density(at), at, create_graph=True)
        (curvature,) = torch.autograd.grad(slope.sum(), at, create_graph=True)
        third = torch.zeros_like(f)
        if curvature.requires_grad:
            (third,) = torch.autograd.grad(curvature.sum(), at, materialize_grads=True)
    return slope.detach(), (-curvature.detach()).clamp_min(0.0), third


def _parameter_slopes(variance: Tensor, moved: Tensor, f: Tensor, seen: Observations) -> list[Tensor]:
    """Return derivatives in the parameters of the likelihood: of its value, its curvature and the mode.

    Args:
        variance: of the function, ``(n,)``.
        moved: ``K u``, ``(n,)``: what a change of the slopes does by moving the mode.
        f: the mode, ``(n,)``.
        seen: the observations.
    """
    if not seen.parameters:
        return []
    at = f.detach().clone().requires_grad_()
    with torch.enable_grad():
        value = seen.log_density(at)
        (slope,) = torch.autograd.grad(value, at, create_graph=True)
        (curvature,) = torch.autograd.grad(slope.sum(), at, create_graph=True)
        total = value + 0.5 * variance @ curvature + moved @ slope
        return list(torch.autograd.grad(total, seen.parameters, materialize_grads=True))
