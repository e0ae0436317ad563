r"""Roots of many functions at once, each in a bracket of its own: inverse quadratic steps, or halves.

Source: Chandrupatla (1997), A new hybrid quadratic/bisection algorithm for finding the zero of a nonlinear
function without using derivatives, Advances in Engineering Software 28(3).
"""

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["rising_roots"]

MAX_STEPS = 200


def rising_roots(function: Callable[[Tensor], Tensor], low: Tensor, high: Tensor, width: Tensor) -> Tensor:
    """Return numbers at which functions that do not fall are no longer negative, each to its width.

    Args:
        function: takes ``(m,)`` numbers and returns as many values.
        low: ``(m,)``, where they are negative.
        high: ``(m,)``, where they are not.
        width: ``(m,)``, of the brackets that suffice.

    Returns:
        ``(m,)``, the upper ends of the last brackets. A function may jump over 0.

    Examples:
        >>> zero = torch.zeros(2, dtype=torch.float64)
        >>> found = rising_roots(lambda x: x**3 - torch.tensor([2.0, 5.0]), zero, zero + 2.0, zero + 1e-12)
        >>> found.round(decimals=6)
        tensor([1.2599, 1.7100], dtype=torch.float64)
    """
    a, b, at_a, at_b = low, high, function(low), function(high)
    share = torch.full_like(a, 0.5)
    for _ in range(MAX_STEPS):
        new = a + share * (b - a)
        at_new = function(new)
        is_same = (at_new >= 0.0) == (at_a >= 0.0)
        c, at_c = torch.where(is_same, a, b), torch.where(is_same, at_a, at_b)
        b, at_b = torch.where(is_same, b, a), torch.where(is_same, at_b, at_a)
        a, at_a = new, at_new
        short = width / (b - a).abs()
        if bool((short >= 1.0).all()):
            break
        share = _share(a, b, c, at_a, at_b, at_c)
        share = torch.maximum(torch.minimum(share, 1.0 - 0.5 * short), 0.5 * short).clamp(0.0, 1.0)
    return torch.where(at_a >= 0.0, a, b)


def _share(a: Tensor, b: Tensor, c: Tensor, at_a: Tensor, at_b: Tensor, at_c: Tensor) -> Tensor:
    """Return how far from ``a`` to ``b`` to go: by the inverse parabola, where that can be trusted."""
    xi, phi = (a - b) / (c - b), (at_a - at_b) / (at_c - at_b)
    is_smooth = (phi.square() < xi) & ((1.0 - phi).square() < 1.0 - xi)
    first = at_a / (at_b - at_a) * at_c / (at_b - at_c)
    second = (c - a) / (b - a) * at_a / (at_c - at_a) * at_b / (at_c - at_b)
    found = first + second
    return torch.where(is_smooth & found.isfinite(), found, 0.5)
