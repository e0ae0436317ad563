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

import torch
from torch import Tensor

from nonparam.errors import ConvergenceError
from nonparam.latent.approximation import Approximation, Independent, Observations
from nonparam.latent.ascent import Point
from nonparam.latent.sites import SitePosterior, Sites

__all__ = ["laplace_mode"]

MAX_STEPS = 100
SHRINKING = 0.3  # of what the step before promised: as long as that falls so, its curvature serves
TOLERANCE = 1e-13  # nats a row that a step promises


def laplace_mode(
    covariances: Sequence[Tensor],
    seen: Observations,
    previous: Approximation | None = None,
    *,
    gradient: bool = True,
) -> Approximation:
    """Find the mode of a function by Newton's steps, and the Gaussian there.

    Args:
        covariances: that of the function at the rows, ``(n, n)``.
        seen: the observations, through a log-concave likelihood.
        previous: to begin from; by default a function that is zero.
        gradient: whether to return the derivatives.

    Raises:
        ConvergenceError: the mode was not found.

    Source: Rasmussen and Williams (2006), algorithms 3.1 and 5.1.
    """
    (k,) = covariances
    zero = torch.zeros_like(seen.weights)[:, None]
    at = Point.of(zero, zero, seen)
    if previous is not None:
        before = previous.posterior.alpha
        at = max(at, Point.of(before, k @ before, seen), key=lambda point: point.height)
    near, mode, posterior = _mode(k, at, seen)
    implicit = 0.5 * posterior.variance * seen.derivatives(near.f[:, 0])[2]
    moved = float(implicit @ (mode.f - near.f)[:, 0])  # by the last step, which the determinant knows not of
    value = mode.height - 0.5 * posterior.factor.log_determinant() + moved
    if not gradient:
        return Approximation(value, Independent([posterior]), [], [])
    r, alpha = posterior.shrinkage(), mode.alpha[:, 0]
    u = implicit - r @ (k @ implicit)
    own = _parameter_slopes(posterior.variance, k @ u, mode.f[:, 0], seen)
    moves = 0.5 * (u + 0.5 * alpha)
    slope = r.mul_(-0.5).addr_(moves, alpha).addr_(alpha, moves)
    return Approximation(value, Independent([posterior]), [slope], own)


def _mode(k: Tensor, at: Point, seen: Observations) -> tuple[Point, Point, SitePosterior]:
    """Take Newton's steps until one gains nothing (algorithm 3.1).

    As long as steps promise ever less, the curvature of an earlier one serves, without a factorisation; the
    last step is Newton's own, which squares what is left of the distance.

    Returns:
        Where the last step began and where it led, and the Gaussian process of the curvature where it began.
    """
    posterior, before = None, 0.0
    for _ in range(MAX_STEPS):
        f = at.f[:, 0]
        slope, curvature, _ = seen.derivatives(f)
        is_fresh = posterior is None
        if posterior is None:
            precision = (-curvature).clamp_min(0.0)
            posterior = SitePosterior.of(k, Sites(slope + precision * f, precision))  # lines 4 to 7
        apart = slope[:, None] - at.alpha
        step = apart - posterior.shrink(k @ apart)  # (I + W K)^-1 (slope - alpha)
        moved = k @ step
        promised = 0.5 * float((apart * moved).sum())
        following = at.along(step, moved, seen)
        if is_fresh and promised <= TOLERANCE * len(at.f):
            return at, following, posterior
        if not (is_fresh or TOLERANCE * len(at.f) < promised < SHRINKING * before):
            posterior = None
        at, before = following, promised
    raise ConvergenceError(
        f"Newton's steps did not find the mode of the posterior in {MAX_STEPS} steps: expected a kernel "
        "whose variance suits the data; try other starting values, or inference='variational'"
    )


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
        value = seen.log_density(at[:, None])
        (slope,) = torch.autograd.grad(value, at, create_graph=True)
        (curvature,) = torch.autograd.grad(slope.sum(), at, create_graph=True)
        total = value + 0.5 * variance @ curvature + moved @ slope
        return list(torch.autograd.grad(total, seen.parameters, materialize_grads=True))
