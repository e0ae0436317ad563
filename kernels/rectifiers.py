"""Networks whose every activation is a rectifier, of a kind: their kernels by compiled loops."""

import importlib.util
import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nonparam.kernels.activations import leaky_slope
from nonparam.kernels.layers import Apply, Dense, Sequential

__all__ = ["COMPILED_ENTRIES", "Variances", "is_compilable", "needs_no_gradient", "rectifier_kernels"]

STRIP = 1024  # rows whose products are taken at once
COMPILED_ENTRIES = 2**20  # from here on compiled loops repay the second that it takes to load them

Variances = Sequence[tuple[Tensor, Tensor]]  # of weights and biases of each layer, ``(*batch,)``


def is_compilable(layers: Sequential, variances: Variances, a: Tensor, b: Tensor) -> bool:
    """Return whether compiled loops know the network, and no gradient is wanted."""
    if importlib.util.find_spec("numba") is None or _slopes(layers) is None:
        return False
    return a.numel() > 0 and needs_no_gradient(variances, a, b)


def needs_no_gradient(variances: Variances, a: Tensor, b: Tensor) -> bool:
    """Return whether the variances are one number each, on the processor, and no gradient is wanted."""
    numbers = [number for pair in variances for number in pair]
    wanted = torch.is_grad_enabled() and any(each.requires_grad for each in (a, b, *numbers))
    return not wanted and a.device.type == "cpu" and all(number.ndim == 0 for number in numbers)


def rectifier_kernels(
    layers: Sequential, variances: Variances, a: Tensor, b: Tensor, *, own: bool
) -> tuple[Tensor, Tensor]:
    """Return the covariance and the tangent kernel between rows and others.

    Args:
        layers: dense ones, with rectifiers between them.
        variances: of weights and biases of each dense layer, one number each.
        a: ``(n, d)``, as the network takes them.
        b: ``(m, d)``.
        own: whether ``b`` is ``a``.

    Returns:
        Two of ``(n, m)``, without gradients.
    """
    from nonparam.kernels import compiled_rectifiers
    from nonparam.kernels.compiled_threads import threads_of_torch

    with torch.no_grad():
        numbers = _numbers(layers, variances)
        covariance = _products(a, b, own).numpy()
        tangent = np.empty_like(covariance)
        (left, diagonals), (right, _) = (_roots(rows, numbers) for rows in (a, b))
        settings = numbers.astype(covariance.dtype)
        with threads_of_torch():
            if own:
                compiled_rectifiers.among(covariance, tangent, left, settings)
            else:
                compiled_rectifiers.across(covariance, tangent, left, right, settings)
    if own:  # exactly
        np.fill_diagonal(covariance, diagonals[0])
        np.fill_diagonal(tangent, diagonals[1])
    return torch.from_numpy(covariance), torch.from_numpy(tangent)


def _products(a: Tensor, b: Tensor, own: bool) -> Tensor:
    """Return the mean products of inputs, of rows with themselves from the diagonal on."""
    found, scaled = a.new_empty(len(a), len(b)), a / a.shape[-1]
    for start in range(0, len(a), STRIP):
        rows, left = slice(start, start + STRIP), start if own else 0
        torch.mm(scaled[rows], b[left:].mT, out=found[rows, left:])
    return found


def _slopes(layers: Sequential) -> list[float] | None:
    """Return the slope of each rectifier left of 0; ``None`` for other networks."""
    dense, between = layers.layers[::2], layers.layers[1::2]
    if len(layers.layers) % 2 == 0 or not all(isinstance(each, Dense) and each.bias for each in dense):
        return None
    slopes = [leaky_slope(each.activation) if isinstance(each, Apply) else None for each in between]
    return None if None in slopes else [slope for slope in slopes if slope is not None]


def _numbers(layers: Sequential, variances: Variances) -> NDArray[np.float64]:
    """Return for each dense layer its variances, and two numbers of the rectifier before it."""
    found = np.zeros((len(variances), 4))
    for i, (weight, bias) in enumerate(variances):
        found[i, :2] = weight.item(), bias.item()
    for i, slope in enumerate(_slopes(layers) or ()):
        found[i + 1, 2:] = (1.0 - slope) ** 2 / (2.0 * math.pi), 0.5 * (1.0 + slope**2)
    return found


def _roots(rows: Tensor, numbers: NDArray[np.float64]) -> tuple[NDArray[np.floating], tuple[Tensor, Tensor]]:
    """Return the roots of variances before each rectifier, one over them, and these; and both diagonals."""
    q = numbers[0, 0] * (rows.square().sum(-1) / rows.shape[-1]) + numbers[0, 1]
    t, roots = q, np.zeros((len(numbers) - 1, 3, len(rows)), q.numpy().dtype)
    for layer, (weight, bias, _, half) in enumerate(numbers[1:].tolist()):
        root = q.sqrt().numpy()
        roots[layer, 0], roots[layer, 2] = root, q.numpy()
        np.divide(1.0, root, out=roots[layer, 1], where=root > 0.0)
        q = weight * (q * half) + bias
        t = weight * (t * half) + q
    return roots, (q, t)
