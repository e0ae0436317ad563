r"""Radial functions :math:`k(r^2)` of scaled inputs, and their gradients without an n x n x d tensor.

For :math:`r_{ij}^2 = \sum_c (x_{ic} - x_{jc})^2 / \ell_c^2` and an upstream gradient
:math:`G = \partial L/\partial K`, put :math:`W = G \circ k'(r^2)`. Then

.. math::

    \partial L / \partial \ell_c = -2 \ell_c^{-3} \sum_{ij} W_{ij} (x_{ic} - x_{jc})^2, \quad
    \partial L / \partial x_{ic} = 2 \ell_c^{-2} \sum_j (W_{ij} + W_{ji}) (x_{ic} - x_{jc}).

Squares multiplied out, row sums and one matrix product :math:`W X` give them all.
"""

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
    "radial",
    "squared_distance",
]

DIRECT_COLUMNS = 3  # up to here differences are as fast as a matrix product, and exact
CANCELLATION = 1e-7  # a squared distance this small, relative to the norms, has lost half its digits


class Profile(ABC):
    """A function of the squared distance and its derivative."""

    @abstractmethod
    def fill(self, r2: Tensor, value: Tensor, slope: Tensor) -> None:
        """Write ``k(r2)`` into ``value`` and ``dk/dr2`` into ``slope``; ``r2`` is overwritten."""


class Identity(Profile):
    """The squared distance itself, for kernels with parameters beyond the lengthscale."""

    def fill(self, r2: Tensor, value: Tensor, slope: Tensor) -> None:
        """Write the squared distance and ones."""
        value.copy_(r2)
        slope.fill_(1.0)


class SquaredExponential(Profile):
    """``exp(-r2 / 2)``."""

    def fill(self, r2: Tensor, value: Tensor, slope: Tensor) -> None:
        """Write the profile and its derivative."""
        torch.exp(r2.mul_(-0.5), out=value)
        torch.mul(value, -0.5, out=slope)


class Exponential(Profile):
    """``exp(-r)``; the slope at ``r = 0`` is set to 0, since it only ever multiplies a difference of 0."""

    def fill(self, r2: Tensor, value: Tensor, slope: Tensor) -> None:
        """Write the profile and its derivative."""
        r = r2.sqrt_()
        torch.exp(torch.neg(r, out=value), out=value)
        torch.div(value, r, out=slope).mul_(-0.5).masked_fill_(r == 0, 0.0)


class Matern32Profile(Profile):
    """``(1 + s) exp(-s)`` with ``s = sqrt(3) r``."""

    def fill(self, r2: Tensor, value: Tensor, slope: Tensor) -> None:
        """Write the profile and its derivative."""
        s = r2.mul_(3.0).sqrt_()
        decay = torch.exp(torch.neg(s, out=slope), out=slope)
        torch.addcmul(decay, s, decay, out=value)
        slope.mul_(-1.5)


class Matern52Profile(Profile):
    """``(1 + s + s^2 / 3) exp(-s)`` with ``s = sqrt(5) r``."""

    def fill(self, r2: Tensor, value: Tensor, slope: Tensor) -> None:
        """Write the profile and its derivative."""
        s = torch.sqrt(r2.mul_(5.0), out=slope)
        decay = torch.exp(torch.neg(s, out=value), out=value)
        torch.addcmul(decay, s, decay, out=slope)  # (1 + s) exp(-s)
        torch.addcmul(slope, r2, decay, value=1.0 / 3.0, out=value)
        slope.mul_(-5.0 / 6.0)


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
        scaled1 = (x1 - centre) / lengthscale
        scaled2 = None if x2 is None else (x2 - centre) / lengthscale
        own = 0 if x2 is None or _begins_with(x2, x1) else None
        value, slope = _value_and_slope(scaled1, scaled1 if scaled2 is None else scaled2, own, profile)
        if any(ctx.needs_input_grad):
            ctx.save_for_backward(scaled1, scaled2, lengthscale, slope)
            ctx.shapes = (x1.shape, None if x2 is None else x2.shape)
        return value

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x1, x2, lengthscale, slope = ctx.saved_tensors
        weight = gradient * slope
        other = x1 if x2 is None else x2
        rows = _weighted_sums(weight, other)
        slopes: list[Tensor | None] = [None, None, None, None]
        if ctx.needs_input_grad[0] or ctx.needs_input_grad[1]:
            first = _pull(rows, x1).div_(lengthscale)
            second = _pull(_weighted_sums(weight.mT, x1), other).div_(lengthscale)
            if x2 is None:
                slopes[0] = first.add_(second).sum_to_size(ctx.shapes[0])
            else:
                slopes[:2] = first.sum_to_size(ctx.shapes[0]), second.sum_to_size(ctx.shapes[1])
        if ctx.needs_input_grad[2]:
            squares = _weighted_squares(rows, weight.sum(-2).unsqueeze(-1), x1, other)
            slopes[2] = squares.mul_(-2.0).div(lengthscale).sum_to_size(lengthscale.shape)
        return tuple(slopes)


def _weighted_sums(weight: Tensor, x: Tensor) -> Tensor:
    """Return ``sum_j W_ij x_j`` and, as a last column, ``sum_j W_ij``: one matrix product."""
    return weight @ torch.cat([x, torch.ones_like(x[..., :1])], -1)


def _pull(sums: Tensor, x: Tensor) -> Tensor:
    """Return ``2 sum_j W_ij (x_i - x_j)`` from the weighted sums."""
    return (sums[..., -1:] * x).sub_(sums[..., :-1]).mul_(2.0)


def _weighted_squares(sums: Tensor, columns: Tensor, x1: Tensor, x2: Tensor) -> Tensor:
    """Return ``sum_ij W_ij (x1_i - x2_j)^2`` for each column, from sums over rows and over columns."""
    both = x1 * (sums[..., -1:] * x1 - 2.0 * sums[..., :-1])
    return both.sum(-2, keepdim=True) + (columns * x2.square()).sum(-2, keepdim=True)


def _begins_with(x2: Tensor, x1: Tensor) -> bool:
    """Return whether the first rows of ``x2`` are those of ``x1``, in the same memory."""
    return x1.data_ptr() == x2.data_ptr() and x1.stride() == x2.stride() and len(x1) <= len(x2)


def _value_and_slope(x1: Tensor, x2: Tensor, own: int | None, profile: Profile) -> tuple[Tensor, Tensor]:
    r2 = squared_distance(x1, x2, own)
    value, slope = torch.empty_like(r2), torch.empty_like(r2)
    profile.fill(r2, value, slope)
    return value, slope


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
        return _one_row(x1, x2, profile, scale)
    value: Tensor = _Radial.apply(x1, x2, scale, profile)
    return value


def _one_row(x1: Tensor, x2: Tensor, profile: Profile, lengthscale: Tensor) -> Tensor:
    """Return a matrix of one row: for so few numbers elementary operations cost less than a function."""
    r2 = ((x2 - x1) / lengthscale).square().sum(-1).unsqueeze(-2)
    at = r2.detach()
    value, slope = torch.empty_like(at), torch.empty_like(at)
    profile.fill(at.clone(), value, slope)
    return torch.addcmul(value, slope, r2 - at)  # the value, with the slope of its tangent


def centre_of(x: Tensor) -> Tensor:
    """Return the first row: subtracting it keeps the digits of inputs far from 0.

    Args:
        x: ``(..., n, d)``.

    Returns:
        ``(..., 1, d)``, detached.
    """
    return x[..., :1, :].detach()
