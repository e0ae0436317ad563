"""Moments of rectifiers of many entries, with gradients, by compiled loops."""

import importlib.util
import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.function import once_differentiable

__all__ = ["fast_moments", "is_fast"]

FAST_ENTRIES = 2**16  # from here on compiled loops repay what it takes to load them
PARTS = 16  # of the rows, whose sums over columns are added up apart


def is_fast(c: Tensor, q1: Tensor, q2: Tensor) -> bool:
    """Return whether compiled loops take the entries: of a matrix on the processor, of real numbers."""
    if c.ndim != 2 or c.numel() < FAST_ENTRIES or c.device.type != "cpu" or not c.is_floating_point():
        return False
    shapes = q1.shape == (len(c), 1) and q2.shape == (1, c.shape[1])
    return shapes and c.element_size() >= 4 and importlib.util.find_spec("numba") is not None


def fast_moments(slope: float, c: Tensor, q1: Tensor, q2: Tensor) -> tuple[Tensor, Tensor]:
    """Return both moments of ``max(x, 0) + slope min(x, 0)``.

    Args:
        slope: of the function left of 0.
        c: covariances, ``(n, m)``.
        q1: the rows' variances, ``(n, 1)``.
        q2: the others', ``(1, m)``.
    """
    found: tuple[Tensor, Tensor] = _Moments.apply(slope, c, q1, q2)
    return found


class _Moments(torch.autograd.Function):
    """The moments, whose derivatives have loops of their own."""

    @staticmethod
    def forward(ctx: Any, slope: float, c: Tensor, q1: Tensor, q2: Tensor) -> tuple[Tensor, Tensor]:
        from nonparam.kernels import compiled_moments
        from nonparam.kernels.compiled_threads import threads_of_torch

        entries = c.detach().contiguous()
        left, right = (_roots(q.detach().reshape(-1)) for q in (q1, q2))
        values, slopes = torch.empty_like(entries), torch.empty_like(entries)
        h, half = _settings(slope, left.dtype)
        with threads_of_torch():
            compiled_moments.forward(entries.numpy(), left, right, h, half, values.numpy(), slopes.numpy())
        ctx.slope, ctx.roots = slope, (left, right)
        ctx.save_for_backward(entries, slopes)
        return values, slopes

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, by_value: Tensor, by_slope: Tensor) -> tuple[None, Tensor, Tensor, Tensor]:
        from nonparam.kernels import compiled_moments
        from nonparam.kernels.compiled_threads import threads_of_torch

        entries, slopes = ctx.saved_tensors
        left, right = ctx.roots
        by_c, by_left = torch.empty_like(entries), entries.new_zeros(len(entries))
        by_right = entries.new_zeros(PARTS, entries.shape[1])
        h, _ = _settings(ctx.slope, left.dtype)
        by_entries = [each.contiguous().numpy() for each in (by_value, by_slope)]
        sums = [each.numpy() for each in (by_c, by_left, by_right)]
        with threads_of_torch():
            compiled_moments.backward(entries.numpy(), left, right, h, slopes.numpy(), *by_entries, *sums)
        return None, by_c, by_left[:, None], by_right.sum(0)[None]


def _settings(slope: float, dtype: np.dtype[Any]) -> NDArray[np.floating]:
    return np.array([(1.0 - slope) ** 2 / (2.0 * math.pi), 0.5 * (1.0 + slope**2)], dtype)


def _roots(q: Tensor) -> NDArray[np.floating]:
    """Return the roots of variances, one over them, or 0 where they are 0, and these: ``(3, n)``."""
    root = q.sqrt()
    return torch.stack([root, torch.where(root > 0.0, 1.0 / root, 0.0), q]).numpy()
