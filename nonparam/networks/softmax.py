r"""The expected softmax of independent Gaussian numbers, by a rule that draws nothing.

With :math:`1 / s = \int_0^\infty e^{-s r} dr` and :math:`r = e^{-u}` the expectation of a ratio becomes one
of products, and these factorise:

.. math::

    E \frac{e^{f_c}}{\sum_j e^{f_j}} = \int_{-\infty}^\infty \phi_c(u) \prod_{j \ne c} \psi_j(u) \, du, \quad
    \psi_j(u) = E e^{-e^{f_j - u}}, \quad \phi_j(u) = E e^{f_j - u} e^{-e^{f_j - u}} .

All integrands are analytic and decay at both ends, so that the trapezoid rule converges exponentially. Where
a standard deviation is beyond 8, all numbers of the row are divided so that it is 8: the largest number wins
then as before, and where the deviations of a row are alike a probability changes by less than 0.004.

Source: Trefethen and Weideman (2014), The exponentially convergent trapezoidal rule, SIAM Review 56(3).
"""

import math

import torch
from torch import Tensor

__all__ = ["expected_softmax"]

STEP = 0.7  # of u and of f: the error of the rule is about exp(-pi^2 / STEP), 1e-6
FEWEST = 16  # points of a grid
TAIL = 5.0  # standard deviations of f
BELOW, ABOVE = 3.0, 14.0  # of u: what is beyond weighs exp(-exp(BELOW)) and exp(-ABOVE)
LARGEST = 700.0  # a number whose exponential a float holds
WIDEST = 8.0  # standard deviation
ROWS = 64  # at a time


def expected_softmax(mean: Tensor, variance: Tensor) -> Tensor:
    """Return the expected softmax of independent Gaussian numbers.

    Args:
        mean: ``(m, c)``.
        variance: ``(m, c)``, not negative.

    Returns:
        ``(m, c)`` probabilities; each row sums to 1.

    Examples:
        >>> mean = torch.tensor([[0.0, math.log(3.0)]], dtype=torch.float64)
        >>> expected_softmax(mean, 0.0 * mean).round(decimals=6)
        tensor([[0.2500, 0.7500]], dtype=torch.float64)
        >>> expected_softmax(mean, 0.0 * mean + 100.0).round(decimals=3)  # who knows
        tensor([[0.4690, 0.5310]], dtype=torch.float64)
    """
    sd = variance.sqrt()
    shrink = (sd.amax(1, keepdim=True) / WIDEST).clamp_min(1.0)
    mean, sd = mean / shrink, sd / shrink
    found = torch.empty_like(mean)
    for rows in sd.amax(1).argsort().split(ROWS):  # of like deviations
        found[rows] = _block(mean[rows], sd[rows])
    return found


def _nodes(width: float) -> int:
    """Return how many points a grid of so much width has, enough for a Gaussian density."""
    return max(math.ceil(width / STEP) + 1, FEWEST)


def _block(mean: Tensor, sd: Tensor) -> Tensor:
    low = (mean - TAIL * sd).amax(1) - BELOW
    high = (mean + TAIL * sd).amax(1) + ABOVE
    share = torch.linspace(0.0, 1.0, _nodes(float((high - low).max())), dtype=mean.dtype, device=mean.device)
    u = low[:, None] + (high - low)[:, None] * share
    z = torch.linspace(
        -TAIL, TAIL, _nodes(2.0 * TAIL * float(sd.max())), dtype=mean.dtype, device=mean.device
    )
    weights = torch.softmax(-0.5 * z.square(), 0)
    log_psi, ratios = [], []
    for center, width in zip(mean.mT, sd.mT, strict=True):
        numbers = (center[:, None] + width[:, None] * z)[:, None] - u[:, :, None]  # (m, u, z)
        e = numbers.clamp_(max=LARGEST).exp_()
        kept = (-e).exp_()
        psi = (kept @ weights).clamp_min_(torch.finfo(mean.dtype).tiny)
        log_psi.append(psi.log())
        ratios.append((kept.mul_(e) @ weights) / psi)
    joint = torch.stack(log_psi).sum(0)
    density = (joint - joint.amax(1, keepdim=True)).exp_()
    found = torch.stack([(ratio * density).sum(1) for ratio in ratios], 1)
    return found / found.sum(1, keepdim=True)
