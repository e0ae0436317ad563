r"""Radial functions :math:`k(r^2)` of scaled inputs, and their gradients without an n x n x d tensor.

For :math:`r_{ij}^2 = \sum_c (x_{ic} - x_{jc})^2 / \ell_c^2` and an upstream gradient
:math:`G = \partial L/\partial K`, put :math:`W = G \circ k'(r^2)`. Then

.. math::

    \partial L / \partial \ell_c = -2 \ell_c^{-3} \sum_{ij} W_{ij} (x_{ic} - x_{jc})^2, \quad
    \partial L / \partial x_{ic} = 2 \ell_c^{-2} \sum_j (W_{ij} + W_{ji}) (x_{ic} - x_{jc}).

Squares multiplied out, row sums and one matrix product :math:`W X` give them all.
"""

import math
from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

__all__ = [
    "Exponential",
    "Identity",
    "Matern32Profile",
    "Matern52Profile",
    "Profile",
    "SquaredExponential",
    "centre_of",
    "one_row",
    "radial",
    "squared_distance",
]

DIRECT_COLUMNS = 3  # up to here differences are as fast as a matrix product, and exact
CANCELLATION = 1e-7  # a squared distance this small, relative to the norms, has lost half its digits


class Profile(ABC):
    """A function of the squared distance and its derivative.

    Attributes:
        stretch: it is written as a function of ``u = stretch * r2``.
        factor: the derivative in ``u`` is this number times what `evaluate` returns.
    """

    stretch = 1.0
    factor = 1.0

    @abstractmethod
    def evaluate(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """Return the value, and the derivative over `factor`; ``u`` is overwritten."""

    def of(self, r2: Tensor) -> Tensor:
        """Return ``k(r2)``, differentiable once also at 0: the value, with the slope of its tangent."""
        u = self.stretch * r2
        at = u.detach()
        value, slope = self.evaluate(at.clone())
        return torch.addcmul(value, slope, u - at, value=self.factor)


class Identity(Profile):
    """The squared distance itself, for kernels with parameters beyond the lengthscale."""

    def evaluate(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """Return the squared distance and one."""
        return u, u.new_ones(())

    def of(self, r2: Tensor) -> Tensor:
        """Return the squared distance."""
        return r2


class SquaredExponential(Profile):
    """``exp(-u)`` with ``u = r2 / 2``."""

    stretch = 0.5
    factor = -1.0

    def evaluate(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """Return the profile twice: it is its own derivative."""
        value = torch.exp(u.neg_(), out=u)
        return value, value

    def of(self, r2: Tensor) -> Tensor:
        """Return the profile: smooth at 0 as it is."""
        return torch.exp(-0.5 * r2)


class Exponential(Profile):
    """``exp(-r)``; the slope at ``r = 0`` is set to 0, since it only ever multiplies a difference of 0."""

    factor = -0.5

    def evaluate(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """Return ``exp(-r)`` and ``exp(-r) / r``."""
        r = u.sqrt_()
        value = torch.neg(r).exp_()
        return value, torch.div(value, r).masked_fill_(r == 0, 0.0)


class Matern32Profile(Profile):
    """``(1 + s) exp(-s)`` with ``s^2 = u = 3 r2``."""

    stretch = 3.0
    factor = -0.5

    def evaluate(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """Return the profile and ``exp(-s)``."""
        s = u.sqrt_()
        decay = torch.neg(s).exp_()
        return torch.addcmul(decay, s, decay, out=s), decay


class Matern52Profile(Profile):
    """``(1 + s + s^2 / 3) exp(-s)`` with ``s^2 = u = 5 r2``."""

    stretch = 5.0
    factor = -1.0 / 6.0

    def evaluate(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """Return the profile and ``(1 + s) exp(-s)``."""
        s = u.sqrt()
        decay = torch.neg(s).exp_()
        slope = torch.addcmul(decay, s, decay, out=s)
        return torch.addcmul(slope, u, decay, value=1.0 / 3.0, out=u), slope


def squared_distance(x1: Tensor, x2: Tensor, own: int | None = None) -> Tensor:
    """Return ``|x1_i - x2_j|^2``, exactly zero for coincident rows.

    Args:
        x1: ``(..., n, d)``, scaled inputs, best centred.
        x2: ``(..., m, d)``.
        own: where given, row ``i`` of ``x1`` is row ``own + i`` of ``x2``.

    Returns:
        ``(..., n, m)``, non-negative.

    A matrix product does the bulk; the few pairs whose digits cancel in it are recomputed from their
    differences.
    """
    if x1.shape[-1] <= DIRECT_COLUMNS:
        r2 = (x1[..., :, None, 0] - x2[..., None, :, 0]).square_()
        for column in range(1, x1.shape[-1]):
            r2.add_((x1[..., :, None, column] - x2[..., None, :, column]).square_())
        return r2
    norm1 = x1.square().sum(-1, keepdim=True)
    norm2 = x2.square().sum(-1, keepdim=True)
    left = torch.cat([x1 * -2.0, norm1, torch.ones_like(norm1)], -1)
    right = torch.cat([x2, torch.ones_like(norm2), norm2], -1)
    r2 = left @ right.mT
    threshold = CANCELLATION * float(norm1.amax() + norm2.amax())
    diagonal = r2[..., :0, 0] if own is None else torch.diagonal(r2, own, -2, -1)
    diagonal.fill_(torch.inf)  # known to be 0: no need to find it
    suspects = torch.nonzero(r2.amin(-1) <= threshold, as_tuple=True)  # rows first: they are few
    if len(suspects[0]):
        _recompute(r2, x1, x2, suspects, threshold)
    diagonal.zero_()
    return r2


def _recompute(r2: Tensor, x1: Tensor, x2: Tensor, rows: tuple[Tensor, ...], threshold: float) -> None:
    row, j = torch.nonzero(r2[rows] <= threshold, as_tuple=True)
    *batch, i = (index[row] for index in rows)
    x1 = x1.expand(*r2.shape[:-2], *x1.shape[-2:])
    x2 = x2.expand(*r2.shape[:-2], *x2.shape[-2:])
    r2[(*batch, i, j)] = (x1[(*batch, i)] - x2[(*batch, j)]).square_().sum(-1)


class _Radial(torch.autograd.Function):
    """``k(|x1_i - x2_j|^2 / lengthscale^2)`` with the gradients of the module's docstring."""

    @staticmethod
    def forward(ctx: Any, x1: Tensor, x2: Tensor | None, lengthscale: Tensor, profile: Profile) -> Tensor:
        centre = centre_of(x1)
        unit = lengthscale / math.sqrt(profile.stretch)
        scaled1 = (x1 - centre) / unit
        scaled2 = None if x2 is None else (x2 - centre) / unit
        own = 0 if x2 is None or _begins_with(x2, x1) else None
        u = squared_distance(scaled1, scaled1 if scaled2 is None else scaled2, own)
        value, slope = profile.evaluate(u)
        if any(ctx.needs_input_grad):
            ctx.save_for_backward(scaled1, scaled2, lengthscale, slope)
            ctx.shapes = (x1.shape, None if x2 is None else x2.shape)
            ctx.profile = profile
        return value

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x1, x2, lengthscale, slope = ctx.saved_tensors
        weight = gradient * slope
        other = x1 if x2 is None else x2
        rows = _weighted_sums(weight, other)
        slopes: list[Tensor | None] = [None, None, None, None]
        factor = 2.0 * ctx.profile.factor
        if ctx.needs_input_grad[0] or ctx.needs_input_grad[1]:
            unit = lengthscale / (factor * math.sqrt(ctx.profile.stretch))
            first = _pull(rows, x1).div_(unit)
            second = _pull(_weighted_sums(weight.mT, x1), other).div_(unit)
            if x2 is None:
                slopes[0] = first.add_(second).sum_to_size(ctx.shapes[0])
            else:
                slopes[:2] = first.sum_to_size(ctx.shapes[0]), second.sum_to_size(ctx.shapes[1])
        if ctx.needs_input_grad[2]:
            squares = _weighted_squares(rows, weight.sum(-2).unsqueeze(-1), x1, other)
            slopes[2] = squares.mul_(-factor).div(lengthscale).sum_to_size(lengthscale.shape)
        return tuple(slopes)


def _weighted_sums(weight: Tensor, x: Tensor) -> Tensor:
    """Return ``sum_j W_ij x_j`` and, as a last column, ``sum_j W_ij``: one matrix product.

    It is taken transposed: BLAS is up to twice as fast with few long rows as with few long columns.
    """
    columns = torch.cat([x.mT, torch.ones_like(x[..., :1].mT)], -2)
    return (columns @ weight.mT).mT


def _pull(sums: Tensor, x: Tensor) -> Tensor:
    """Return ``sum_j W_ij (x_i - x_j)`` from the weighted sums."""
    return (sums[..., -1:] * x).sub_(sums[..., :-1])


def _weighted_squares(sums: Tensor, columns: Tensor, x1: Tensor, x2: Tensor) -> Tensor:
    """Return ``sum_ij W_ij (x1_i - x2_j)^2`` for each column, from sums over rows and over columns."""
    both = x1 * (sums[..., -1:] * x1 - 2.0 * sums[..., :-1])
    return both.sum(-2, keepdim=True) + (columns * x2.square()).sum(-2, keepdim=True)


def _begins_with(x2: Tensor, x1: Tensor) -> bool:
    """Return whether the first rows of ``x2`` are those of ``x1``, in the same memory."""
    return x1.data_ptr() == x2.data_ptr() and x1.stride() == x2.stride() and len(x1) <= len(x2)


def radial(x1: Tensor, x2: Tensor | None, profile: Profile, lengthscale: Tensor | None = None) -> Tensor:
    r"""Return the matrix :math:`k(\|(x_i - x'_j) / \ell\|^2)`, differentiable once in inputs and lengthscale.

    Args:
        x1: ``(..., n, d)``.
        x2: ``(..., m, d)``, or ``None`` for the symmetric matrix of ``x1`` with itself.
        profile: the radial function.
        lengthscale: ``(..., 1, d)`` or ``(..., 1, 1)``; 1 by default.

    Returns:
        ``(..., n, m)``.

    Examples:
        >>> x = torch.tensor([[0.0], [1.0]], dtype=torch.float64)
        >>> radial(x, None, SquaredExponential())
        tensor([[1.0000, 0.6065],
                [0.6065, 1.0000]], dtype=torch.float64)
    """
    scale = x1.new_ones(1, 1) if lengthscale is None else lengthscale
    if x1.shape[-2] == 1 and x2 is not None:
        return one_row((x2 - x1) / scale, profile)
    value: Tensor = _Radial.apply(x1, x2, scale, profile)
    return value


def one_row(difference: Tensor, profile: Profile) -> Tensor:
    """Return the covariance of one row with others, from elementary operations: the cheapest for so few.

    Args:
        difference: ``(..., m, d)``, scaled.
        profile: the radial function.

    Returns:
        ``(..., 1, m)``.

    Examples:
        >>> one_row(torch.tensor([[0.0], [1.0]]), SquaredExponential())
        tensor([[1.0000, 0.6065]])
    """
    return profile.of(difference.mT.square().sum(-2, keepdim=True))


def centre_of(x: Tensor) -> Tensor:
    """Return the mean of the rows: subtracting it keeps the digits of inputs far from 0.

    Args:
        x: ``(..., n, d)``.

    Returns:
        ``(..., 1, d)``, detached.
    """
    return x.detach().mean(-2, keepdim=True)
