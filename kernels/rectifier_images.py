"""Convolutional networks of rectifiers with a mean over all places: their kernels by compiled loops."""

import importlib.util
import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nonparam.kernels.activations import leaky_slope
from nonparam.kernels.convolutions import Conv1d, Conv2d, GlobalAvgPool, Unflatten
from nonparam.kernels.layers import Apply, Layer, Sequential
from nonparam.kernels.rectifiers import Variances
from nonparam.kernels.signals import Signal

__all__ = ["image_means", "split"]

Convolution = Conv1d | Conv2d


def split(layers: Sequential) -> tuple[Sequential, Sequential] | None:
    """Return the layers up to the mean over all places, which compiled loops know, and those behind it."""
    if importlib.util.find_spec("numba") is None:
        return None
    ends = [i for i, each in enumerate(layers.layers) if isinstance(each, GlobalAvgPool)]
    if not ends or not isinstance(layers.layers[0], Unflatten):
        return None
    head = layers.layers[1 : ends[0]]
    if not all(isinstance(each, Convolution) or _is_rectifier(each) for each in head):
        return None
    return Sequential(*layers.layers[: ends[0] + 1]), Sequential(*layers.layers[ends[0] + 1 :])


def image_means(
    head: Sequential, variances: Variances, a: Tensor, b: Tensor, *, own: bool
) -> tuple[Tensor, Tensor]:
    """Return the covariance and the tangent kernel behind the mean over all places.

    Args:
        head: the layers up to there.
        variances: of weights and biases of its convolutions, one number each.
        a: ``(n, d)``, as the network takes them.
        b: ``(m, d)``.
        own: whether ``b`` is ``a``.

    Returns:
        Two of ``(n, m)``, without gradients.
    """
    from nonparam.kernels import compiled_images
    from nonparam.kernels.compiled_threads import threads_of_torch

    first = head.layers[0]
    assert isinstance(first, Unflatten)
    with torch.no_grad():
        steps, numbers = _steps(head, variances)
        one, two = (rows.reshape(len(rows), first.image[0], -1).numpy() for rows in (a, b))
        covariance = np.empty((len(a), len(b)), one.dtype)
        tangent = np.empty_like(covariance)
        roots = [_roots(head, variances, rows) for rows in (a, b)]
        with threads_of_torch():
            settings = numbers.astype(one.dtype)
            compiled_images.means(one, two, roots[0], roots[1], steps, settings, own, covariance, tangent)
    return torch.from_numpy(covariance), torch.from_numpy(tangent)


def _is_rectifier(layer: Layer) -> bool:
    return isinstance(layer, Apply) and leaky_slope(layer.activation) is not None


def _steps(head: Sequential, variances: Variances) -> tuple[NDArray[np.void], NDArray[np.float64]]:
    """Return what compiled loops do, and the numbers that they take; see `compiled_images.means`."""
    from nonparam.kernels.compiled_images import CONVOLUTION, RECTIFIER, STEP

    first, *middle = head.layers[:-1]
    assert isinstance(first, Unflatten)
    places = first.image[1:]
    steps, numbers = np.zeros(len(middle), STEP), np.zeros((len(middle), 2))
    pairs = iter(variances)
    for i, layer in enumerate(middle):
        if isinstance(layer, Apply):
            slope = leaky_slope(layer.activation) or 0.0
            steps[i]["kind"] = RECTIFIER
            numbers[i] = (1.0 - slope) ** 2 / (2.0 * math.pi), 0.5 * (1.0 + slope**2)
            continue
        assert isinstance(layer, Convolution)
        size, after, (weight, bias) = layer.kernel_size, layer.places(places), next(pairs)
        (height, width), (tall, wide) = _two(places), _two(after)
        high, above = (size, layer.ends[0]) if layer.dims == 2 else (1, 0)  # a sequence is one row
        steps[i] = (
            *(CONVOLUTION, high, size, layer.stride, layer.padding_mode == "circular"),
            *(above, layer.ends[0], height, width, tall, wide),
        )
        numbers[i] = weight.item() / size**layer.dims, bias.item() * layer.bias
        places = after
    return steps, numbers


def _two(places: tuple[int, ...]) -> tuple[int, ...]:
    return (1,) * (2 - len(places)) + places


def _roots(head: Sequential, variances: Variances, rows: Tensor) -> NDArray[np.floating]:
    """Return the roots of the variances at each place before each rectifier, one over them, and these."""
    first, *middle = head.layers[:-1]
    assert isinstance(first, Unflatten)
    channels, *places = first.image
    start = rows.reshape(len(rows), channels, *places).square().mean(1)
    signal, pairs, found = Signal((None, start, None), None, len(places)), iter(variances), []
    for layer in middle:
        if isinstance(layer, Apply):
            found.append(signal.covariance[1].flatten(1))
        signal = layer(signal, pairs)
    most = max((each.shape[1] for each in found), default=1)
    roots = np.zeros((len(rows), len(found), 3, most), start.numpy().dtype)
    for i, each in enumerate(found):
        root, some = each.sqrt().numpy(), slice(each.shape[1])
        roots[:, i, 0, some], roots[:, i, 2, some] = root, each.numpy()
        np.divide(1.0, root, out=roots[:, i, 1, some], where=root > 0.0)
    return roots
