r"""Covariance functions as sums of terms, which loops over entries can evaluate without knowing the kernel.

Many kernels are sums of terms, each a profile of a squared distance between mapped rows, times a cosine:

.. math:: k(x, x') = \sum_t s_t \, g_t(|z_t - z'_t|^2) \cos(p_t - p'_t).

Scaled columns are such a map, and so are the circles of a periodic kernel; a product of squared exponentials
has the columns of all. With :math:`W = U V^\top + V U^\top` the derivative in a mapped row is

.. math::

    \partial \sum_s u_s^\top K v_s / \partial z_i
        = 2 s \sum_j W_{ij} \, g'(|z_i - z_j|^2) \cos(p_i - p_j) (z_i - z_j),

and autograd carries it on from there: nothing of size n x n is stored.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain

import gpytorch
import torch
from torch import Tensor

from nonparam.kernels.base import Kernel
from nonparam.kernels.composition import Product, Scale, Sum
from nonparam.kernels.deep import DeepKernel
from nonparam.kernels.linear import WhiteNoise
from nonparam.kernels.radial import centre_of
from nonparam.kernels.spectral import Spectral
from nonparam.kernels.stationary import RBF, Cosine, Matern, Periodic

__all__ = ["Term", "pulled_back", "terms_of"]

PLAIN = "rbf"  # the profile of products, and of none: 1 at a distance of 0


@dataclass(frozen=True)
class Term:
    """A profile of the distance between mapped rows, times a cosine and a scale.

    Attributes:
        profile: ``"rbf"``, ``"matern12"``, ``"matern32"`` or ``"matern52"``.
        scale: ``()``, with its graph.
        z: ``(n, c)``, the mapped rows, with their graph.
        phase: ``(n,)``, in radians, with its graph; zeros where there is no cosine.
        turns: whether there is one.
    """

    profile: str
    scale: Tensor
    z: Tensor
    phase: Tensor
    turns: bool = False


def terms_of(kernel: gpytorch.kernels.Kernel, x: Tensor) -> list[Term] | None:
    """Return the terms that make up a kernel between different rows, ``None`` where it has other parts.

    Args:
        kernel: at one value of its hyperparameters, in the precision of ``x``.
        x: ``(n, d)``.

    Examples:
        >>> x = torch.zeros(5, 1)
        >>> kernel = 2.0 * RBF(1.0) * Periodic(12.0, 1.0) + Matern(1.0, nu=1.5) + WhiteNoise(0.1)
        >>> [(term.profile, term.z.shape[1]) for term in terms_of(kernel.float(), x)]
        [('rbf', 3), ('matern32', 1)]
    """
    if isinstance(kernel, Kernel | DeepKernel) and kernel.active_dims is not None:
        x = x.index_select(-1, kernel.active_dims)
    if type(kernel) is WhiteNoise:
        return []
    if type(kernel) is DeepKernel:
        return terms_of(kernel.base_kernel, kernel.features(x))
    if type(kernel) is Scale:
        inner = terms_of(kernel.kernel, x)
        return inner and [replace(term, scale=kernel.outputscale * term.scale) for term in inner]
    if type(kernel) in (Sum, Product):
        parts = [terms_of(part, x) for part in kernel.kernels]
        known = [part for part in parts if part is not None]
        if len(known) < len(parts):
            return None
        return list(chain(*known)) if type(kernel) is Sum else _multiplied(known)
    return _leaf(kernel, x)


def _leaf(kernel: gpytorch.kernels.Kernel, x: Tensor) -> list[Term] | None:
    one, still, centred = x.new_ones(()), x.new_zeros(len(x)), x - centre_of(x)
    if type(kernel) in (RBF, Matern):
        return [Term(kernel.keyword, one, centred / kernel.lengthscale, still)]
    if type(kernel) is Periodic and not kernel.zero_mean:
        return [Term(PLAIN, one, kernel.circle(x, centre_of(x)), still)]
    if type(kernel) is Cosine:
        phase = (centred * (2.0 * torch.pi / kernel.period)).sum(-1)
        return [Term(PLAIN, one, x[:, :0], phase, turns=True)]
    if type(kernel) is Spectral and (kernel.plane or x.shape[1] == 1):
        wide = 2.0 * torch.pi * kernel.bandwidth
        return [Term(PLAIN, one, centred * wide, kernel.phases(x, centre_of(x)).sum(-1), turns=True)]
    return None


def _multiplied(factors: Sequence[list[Term]]) -> list[Term] | None:
    """Return the terms of a product of sums; ``None`` where two profiles or cosines cannot be joined."""
    first, *rest = factors
    for factor in rest:
        pairs = [_joined(left, right) for left in first for right in factor]
        first = [pair for pair in pairs if pair is not None]
        if len(first) < len(pairs):
            return None
    return first


def _joined(left: Term, right: Term) -> Term | None:
    moving = [term for term in (left, right) if term.z.shape[1]]
    one_alone = len(moving) < 2 or moving[0].profile == moving[1].profile == PLAIN
    if not one_alone or (left.turns and right.turns):
        return None
    return Term(
        moving[0].profile if moving else PLAIN,
        left.scale * right.scale,
        torch.cat([left.z, right.z], 1),
        left.phase + right.phase,
        left.turns or right.turns,
    )


def pulled_back(ends: Sequence[Tensor], weights: Sequence[Tensor], own: Sequence[Tensor]) -> list[Tensor]:
    """Return derivatives in parameters, in float64, from those in what depends on them.

    Args:
        ends: what depends on the parameters, with its graph.
        weights: the derivatives in it.
        own: the parameters.
    """
    pairs = [(end, weight) for end, weight in zip(ends, weights, strict=True) if end.requires_grad]
    if not (own and pairs):
        return [torch.zeros_like(parameter, dtype=torch.float64) for parameter in own]
    found = torch.autograd.grad(
        [end for end, _ in pairs], own, [weight for _, weight in pairs], materialize_grads=True
    )
    return [slope.double() for slope in found]
