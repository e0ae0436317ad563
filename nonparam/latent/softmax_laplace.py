r"""Laplace's approximation for several classes: one function for each, the softmax of their values.

With the probabilities :math:`\pi_c` of the classes at the mode, :math:`D_c = \mathrm{diag}(\pi_c)`,

.. math::

    E_c = (K + D_c^{-1})^{-1}, \quad M = \sum_c E_c, \quad R_{cc'} = \delta_{cc'} E_c - E_c M^{-1} E_{c'},

.. math:: \log q(y) = -\tfrac12 \sum_c \alpha_c^\top f_c + \log p(y \mid f)
          - \tfrac12 \Big(\sum_c \log |I + D_c^{1/2} K D_c^{1/2}| + \log |M|\Big).

Its derivative in ``K`` is that of the case of two classes (`nonparam.latent.laplace`) summed over the
functions, where :math:`s = \nabla_f\big(-\tfrac12 \sum_i \mathrm{tr}\, V_i W_i(f)\big)` with the covariance
:math:`V_i` of the functions at a row.

Source: Rasmussen and Williams (2006), Gaussian processes for machine learning, algorithms 3.3 and 3.4. The
determinant of ``M`` is missing there.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from nonparam.errors import ConvergenceError
from nonparam.latent.approximation import Approximation, Observations
from nonparam.latent.ascent import Point
from nonparam.solvers.cholesky import CholeskyFactor, cholesky, mirror

__all__ = [
    "SoftmaxPosterior",
    "curvature",
    "decorrelated",
    "left_out_by_slopes",
    "slope_and_shares",
    "softmax_laplace",
]

MAX_STEPS = 100
TOLERANCE = 1e-9  # nats a row that a step gains: the next would gain about the square
SMALLEST = 1e-12  # of the curvature in one function, which must not vanish


@dataclass(frozen=True)
class SoftmaxPosterior:
    """Functions of all classes near their mode.

    Attributes:
        covariance: ``K``, ``(n, n)``, of each function.
        alpha: ``K^-1 f``, ``(n, c)``.
        blocks: ``E_c``, ``(c, n, n)``.
        factor: of ``M``.
        log_determinant: of ``I + K W``.
        own: ``W``, the blocks of the rows, ``(n, c, c)``.
    """

    covariance: Tensor
    alpha: Tensor
    blocks: Tensor
    factor: CholeskyFactor
    log_determinant: float
    own: Tensor

    @classmethod
    def of(cls, covariance: Tensor, alpha: Tensor, share: Tensor, weights: Tensor) -> "SoftmaxPosterior":
        """Factorise what probabilities ``(n, c)`` of the classes lead to (algorithm 3.3, lines 5 to 9)."""
        blocks, logs = [], -float(weights.log().sum())
        for d in _in_one(share, weights).mT:
            root = d.sqrt()
            b = root[:, None] * covariance * root
            torch.diagonal(b).add_(1.0)
            factor = cholesky(b)
            logs += factor.log_determinant()
            inverse = factor.inverse_in_place()
            mirror(inverse.mT)
            blocks.append(inverse.mul_(root[:, None]).mul_(root))
        stacked = torch.stack(blocks)
        factor = cholesky(stacked.sum(0))
        return cls(
            covariance, alpha, stacked, factor, logs + factor.log_determinant(), curvature(share, weights)
        )

    def shrink(self, v: Tensor) -> Tensor:
        """Return ``R v``, ``(n, c)``, for a column ``v (n, c)`` of each function."""
        own = torch.einsum("cij,jc->ic", self.blocks, v)
        return own - torch.einsum("cij,j->ic", self.blocks, self.factor.solve(own.sum(1, keepdim=True))[:, 0])

    @cached_property
    def halves(self) -> Tensor:
        """``U^-T E_c`` with ``M = U' U``, ``(c, n, n)``."""
        return torch.stack([self.factor.half_solve(block) for block in self.blocks])

    def covariances(self, cross: Tensor, prior: Tensor) -> Tensor:
        """Return the covariance of the functions at each of ``m`` rows, ``(m, c, c)`` (algorithm 3.4).

        Args:
            cross: ``(n, m)``, covariances with the rows.
            prior: ``(m,)``, variances.
        """
        own = torch.stack([((block @ cross) * cross).sum(0) for block in self.blocks], 1)
        shared = self.halves @ cross
        return torch.einsum("cnm,knm->mck", shared, shared) + torch.diag_embed(prior[:, None] - own)

    def moments(self, crosses: Sequence[Tensor], priors: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Return means and variances of independent functions with about the same softmax: two of ``(m, c)``.

        What is added to all functions of a row is no part of the softmax, so that covariances which such an
        addition explains, ``a_j + a_k``, can be left out: for three classes that is all of them.
        """
        (cross,), (prior,) = crosses, priors
        return cross.mT @ self.alpha, decorrelated(self.covariances(cross, prior))

    def left_out(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return the rows, and means and variances at each given all others, as `moments` does."""
        inside = self.covariances(self.covariance, torch.diagonal(self.covariance))
        mean, variance = left_out_by_slopes(self.covariance @ self.alpha, inside, self.alpha, self.own)
        return torch.arange(len(mean), device=mean.device), mean, variance


def left_out_by_slopes(mean: Tensor, inside: Tensor, alpha: Tensor, own: Tensor) -> tuple[Tensor, Tensor]:
    r"""Return means and variances of functions at rows without the site of each: two of ``(m, c)``.

    With the slope of the site at the mode, which is :math:`\alpha`,

    .. math:: V_- = (I - V W)^{-1} V, \quad m_- = f - V_- \alpha .

    Args:
        mean: ``f``, ``(m, c)``.
        inside: ``V``, their covariances given all rows, ``(m, c, c)``.
        alpha: ``(m, c)``.
        own: ``W``, ``(m, c, c)``.

    Source: Vehtari et al. (2016), Bayesian leave-one-out cross-validation approximations for Gaussian latent
    variable models, JMLR 17(103), section 3.1, for one function.
    """
    eye = torch.eye(inside.shape[-1], dtype=inside.dtype, device=inside.device)
    left = torch.linalg.solve(eye - inside @ own, inside)
    return mean - (left @ alpha[:, :, None])[:, :, 0], decorrelated(0.5 * (left + left.mT))


def decorrelated(covariance: Tensor) -> Tensor:
    r"""Return variances of independent numbers whose differences vary as those of dependent ones.

    The variance of :math:`f_j - f_k` is that of independent numbers with the variances :math:`v`,
    :math:`v_j + v_k`, for all pairs where there are three numbers or fewer, and by least squares for more.

    Args:
        covariance: ``(m, c, c)``.

    Returns:
        ``(m, c)``, not negative.

    Examples:
        >>> covariance = torch.diag(torch.tensor([1.0, 2.0, 3.0])) + 5.0
        >>> decorrelated(covariance[None])
        tensor([[1., 2., 3.]])
    """
    c = covariance.shape[-1]
    own = torch.diagonal(covariance, dim1=1, dim2=2)
    apart = own[:, :, None] + own[:, None, :] - 2.0 * covariance  # of differences; 0 on the diagonal
    if c == 1:
        return own
    if c == 2:
        return 0.5 * apart.sum(2)
    sums = apart.sum(2)  # the normal equations: (c - 2) v_j + sum v = sum of row j
    total = sums.sum(1, keepdim=True) / (2.0 * (c - 1))
    return ((sums - total) / (c - 2)).clamp_min(0.0)


def softmax_laplace(
    covariances: Sequence[Tensor],
    seen: Observations,
    previous: Approximation | None = None,
    *,
    gradient: bool = True,
) -> Approximation:
    """Find the mode of the functions of all classes by Newton's steps, and the Gaussian there.

    Args:
        covariances: that of each function at the rows, ``(n, n)``, the same for all.
        seen: the observations, through `Softmax`.
        previous: to begin from; by default functions that are zero.
        gradient: whether to return the derivatives.

    Raises:
        ConvergenceError: the mode was not found.
    """
    (k,) = covariances
    zero = torch.zeros(len(k), seen.likelihood.latents, dtype=k.dtype, device=k.device)
    at = Point.of(zero, zero, seen)
    if previous is not None:
        before = previous.posterior.alpha
        at = max(at, Point.of(before, k @ before, seen), key=lambda point: point.height)
    at = _mode(k, at, seen)
    slope, share = slope_and_shares(at.f, seen)
    posterior = SoftmaxPosterior.of(k, at.alpha, share, seen.weights)
    value = at.height - 0.5 * posterior.log_determinant
    slopes = [_derivative(posterior, slope, at.f, seen)] if gradient else []
    return Approximation(value, posterior, slopes, [])


def _mode(k: Tensor, at: Point, seen: Observations) -> Point:
    for _ in range(MAX_STEPS):
        slope, share = slope_and_shares(at.f, seen)
        posterior = SoftmaxPosterior.of(k, at.alpha, share, seen.weights)
        b = (posterior.own @ at.f[:, :, None])[:, :, 0] + slope  # line 10
        step = b - posterior.shrink(k @ b) - at.alpha  # lines 11 and 12
        following = at.along(step, k @ step, seen)
        gained, at = following.height - at.height, following
        if gained <= TOLERANCE * len(k):
            return at
    raise ConvergenceError(
        f"Newton's steps did not find the mode of the posterior in {MAX_STEPS} steps: expected a kernel "
        "whose variance suits the data; try other starting values, or inference='variational'"
    )


def slope_and_shares(f: Tensor, seen: Observations) -> tuple[Tensor, Tensor]:
    """Return the slopes of the log density and the probabilities of the classes, two of ``(n, c)``."""
    share = torch.softmax(f + seen.level, 1)
    own = torch.nn.functional.one_hot(seen.y[:, 0].long(), f.shape[1])
    return seen.weights[:, None] * (own - share), share


def curvature(share: Tensor, weights: Tensor) -> Tensor:
    """Return ``W``, the blocks of the rows ``(n, c, c)``, for probabilities ``(n, c)`` of the classes."""
    return torch.diag_embed(_in_one(share, weights)) - torch.einsum("n,nc,nk->nck", weights, share, share)


def _in_one(share: Tensor, weights: Tensor) -> Tensor:
    """Return the first part of the curvature, in one function, ``(n, c)``."""
    return weights[:, None] * share.clamp_min(SMALLEST)


def _derivative(posterior: SoftmaxPosterior, slope: Tensor, f: Tensor, seen: Observations) -> Tensor:
    """Return the derivative of the log evidence in the covariance, ``(n, n)``, symmetric."""
    k = posterior.covariance
    at = f.detach().clone().requires_grad_()
    spread = posterior.covariances(k, torch.diagonal(k))
    with torch.enable_grad():
        share = torch.softmax(at + seen.level, 1)
        traces = (torch.diagonal(spread, dim1=1, dim2=2) * share).sum(1)
        traces = traces - torch.einsum("nck,nc,nk->n", spread, share, share)
        (implicit,) = torch.autograd.grad(-0.5 * (seen.weights @ traces), at)
    u = implicit - posterior.shrink(k @ implicit)
    outer = (u + 0.5 * slope) @ slope.mT
    taken = posterior.blocks.sum(0)
    for half in posterior.halves:
        taken = torch.addmm(taken, half.mT, half, alpha=-1.0)
    return 0.5 * (outer + outer.mT - taken)
