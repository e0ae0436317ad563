r"""Several classes, by the softmax of a function for each; its expectations, by a rule that draws nothing.

With :math:`1 / s = \int_0^\infty e^{-s r} dr` and :math:`r = e^{-u}` the expectation of a ratio becomes one
of products, and these factorise:

.. math::

    E \frac{e^{f_c}}{\sum_j e^{f_j}} = \int_{-\infty}^\infty \phi_c(u) \prod_{j \ne c} \psi_j(u) \, du, \quad
    \psi_j(u) = E e^{-e^{f_j - u}}, \quad \phi_j(u) = E e^{f_j - u} e^{-e^{f_j - u}} .

and with Frullani's integral

.. math:: E \log \sum_j e^{f_j} = \int_{-\infty}^\infty e^{-e^{-u}} - \prod_j \psi_j(u) \, du .

All integrands are analytic and decay at both ends, so that the trapezoid rule converges exponentially. Where
a standard deviation is beyond 8, all numbers of the row are divided so that it is 8: the largest number wins
then as before, and where the deviations of a row are alike a probability changes by less than 0.004.

Source: Trefethen and Weideman (2014), The exponentially convergent trapezoidal rule, SIAM Review 56(3).
"""

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nonparam.errors import InputError
from nonparam.likelihoods.base import Likelihood, expectation

__all__ = ["Softmax", "expected_logsumexp", "expected_softmax"]

STEP = 0.55  # of u and of f: the error of the rule is about exp(-pi^2 / STEP), 2e-8
FEWEST = 16  # points of a grid
TAIL = 5.0  # standard deviations of f
BELOW, ABOVE = 3.0, 14.0  # of u: what is beyond weighs exp(-exp(BELOW)) and exp(-ABOVE)
LARGEST = 700.0  # a number whose exponential a float holds
WIDEST = 8.0  # standard deviation
ROWS = 64  # at a time
EULER = 0.5772156649015329  # Euler's constant: the mean of a Gumbel variable


class Softmax(Likelihood):
    r"""One of several classes.

    .. math:: p(y = c \mid f) = e^{f_c} / \sum_j e^{f_j}

    Args:
        classes: how many; observations are their numbers, from 0.

    Source: Rasmussen and Williams (2006), Gaussian processes for machine learning, section 3.5.

    Examples:
        >>> y, f = torch.zeros(1, 1), torch.zeros(1, 1, 4)
        >>> Softmax(4).log_density(y, f).exp()
        tensor([[0.2500]])
    """

    keyword = "softmax"
    is_log_concave = True
    is_discrete = True

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.latents = classes

    def check(self, y: NDArray[Any]) -> None:
        """Raise `InputError` unless all observations are numbers of classes."""
        wrong = ~np.isin(y[:, 0], np.arange(self.latents))
        if wrong.any():
            i = int(wrong.argmax())
            raise InputError(
                f"expected numbers of {self.latents} classes, from 0, got y[{i}]={y[i, 0]:g} "
                f"({int(wrong.sum())} such rows): for labels of any type take GPClassifier"
            )

    def log_density(self, y: Tensor, f: Tensor) -> Tensor:
        """Return ``log p(y | f)``: ``(n, q)`` for ``y (n, 1)`` and ``f (n, q, classes)``."""
        own = y[:, :1].long()[:, None].expand(-1, f.shape[1], 1)
        return f.log_softmax(-1).gather(-1, own)[..., 0]

    def expected_log_density(self, y: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
        """Return its mean over independent Gaussian functions, ``(n,)``."""
        return mean.gather(1, y[:, :1].long())[:, 0] - expected_logsumexp(mean, variance)


def expected_logsumexp(mean: Tensor, variance: Tensor) -> Tensor:
    """Return the expected logarithm of the sum of the exponentials of independent Gaussian numbers, ``(m,)``.

    Args:
        mean: ``(m, c)``.
        variance: ``(m, c)``, positive.

    Examples:
        >>> mean = torch.tensor([[0.0, math.log(3.0)]], dtype=torch.float64)
        >>> expected_logsumexp(mean, 1e-12 + 0.0 * mean).round(decimals=5)  # of numbers that hardly vary
        tensor([1.3863], dtype=torch.float64)
    """
    found = [_log_sum(m, v.sqrt()) for m, v in zip(mean.split(ROWS), variance.split(ROWS), strict=True)]
    return torch.cat(found)


def _log_sum(mean: Tensor, sd: Tensor) -> Tensor:
    with torch.no_grad():
        u, z, weights = _grid(mean, sd)
    tiny = torch.finfo(mean.dtype).tiny
    psi = [(_kept(m, s, u, z)[1] @ weights).clamp_min(tiny) for m, s in zip(mean.mT, sd.mT, strict=True)]
    joint = torch.stack(psi).log().sum(0).exp()
    sums = joint.sum(1) - 0.5 * (joint[:, 0] + joint[:, -1])
    return u[:, -1] - EULER - sums * (u[:, 1] - u[:, 0])


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
    if mean.shape[1] == 2:  # a function of the difference
        second = expectation(torch.sigmoid, mean[:, 1] - mean[:, 0], sd.square().sum(1))
        return torch.stack([1.0 - second, second], 1)
    found = torch.empty_like(mean)
    for rows in sd.amax(1).argsort().split(ROWS):  # of like deviations
        found[rows] = _block(mean[rows], sd[rows])
    return found


def _nodes(width: float) -> int:
    """Return how many points a grid of so much width has, enough for a Gaussian density."""
    return max(math.ceil(width / STEP) + 1, FEWEST)


def _grid(mean: Tensor, sd: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return places ``u (m, k)``, and places and weights of standard normal numbers, two of ``(q,)``."""
    low = (mean - TAIL * sd).amax(1) - BELOW
    high = (mean + TAIL * sd).amax(1) + ABOVE
    share = torch.linspace(0.0, 1.0, _nodes(float((high - low).max())), dtype=mean.dtype, device=mean.device)
    u = low[:, None] + (high - low)[:, None] * share
    z = torch.linspace(
        -TAIL, TAIL, _nodes(2.0 * TAIL * float(sd.max())), dtype=mean.dtype, device=mean.device
    )
    return u, z, torch.softmax(-0.5 * z.square(), 0)


def _kept(mean: Tensor, sd: Tensor, u: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
    """Return ``e^(f - u)`` and ``exp(-e^(f - u))`` of one number of each row, two of ``(m, k, q)``."""
    e = ((mean[:, None] + sd[:, None] * z)[:, None] - u[:, :, None]).clamp(max=LARGEST).exp()
    return e, (-e).exp()


def _block(mean: Tensor, sd: Tensor) -> Tensor:
    u, z, weights = _grid(mean, sd)
    log_psi, ratios = [], []
    for center, width in zip(mean.mT, sd.mT, strict=True):
        e, kept = _kept(center, width, u, z)
        psi = (kept @ weights).clamp_min_(torch.finfo(mean.dtype).tiny)
        log_psi.append(psi.log())
        ratios.append((kept.mul_(e) @ weights) / psi)
    joint = torch.stack(log_psi).sum(0)
    density = (joint - joint.amax(1, keepdim=True)).exp_()
    found = torch.stack([(ratio * density).sum(1) for ratio in ratios], 1)
    return found / found.sum(1, keepdim=True)
