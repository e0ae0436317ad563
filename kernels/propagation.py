"""Rows of data through the layers of an infinitely wide network."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from nonparam.kernels.convolutions import Unflatten
from nonparam.kernels.layers import Sequential
from nonparam.kernels.rectifier_images import image_means, split
from nonparam.kernels.rectifiers import (
    COMPILED_ENTRIES,
    Variances,
    is_compilable,
    needs_no_gradient,
    rectifier_kernels,
)
from nonparam.kernels.signals import Field, Signal, combine

__all__ = ["Pair", "diagonals", "image_of", "kernels"]

Pair = tuple[Tensor, Tensor | None]  # the covariance, and the tangent kernel where it is wanted

BLOCK = 2**22  # entries between places of images that are held at a time, a few times over


def kernels(layers: Sequential, variances: Variances, a: Tensor, b: Tensor | None, *, tangent: bool) -> Pair:
    """Return the kernels of a network between two sets of rows.

    Images are taken a few at a time, since there are entries for their places; with gradients these are
    evaluated twice, and not kept.

    Args:
        layers: of the network.
        variances: of its weights and biases.
        a: ``(n, d)``.
        b: ``(m, d)``; ``None`` for the same rows.
        tangent: whether the tangent kernel is wanted.

    Returns:
        Two of ``(*batch, n, m)``.
    """
    others = a if b is None else b
    if image_of(layers) is None:
        if len(a) * len(others) >= COMPILED_ENTRIES and is_compilable(layers, variances, a, others):
            both = rectifier_kernels(layers, variances, a, others, own=b is None)
            return both if tangent else (both[0], None)
        return _crossing(layers, variances, a, others, tangent, own=b is None)
    entries, parts = len(a) * len(others) * _grid_size(layers), split(layers)
    if parts is not None and entries >= COMPILED_ENTRIES and needs_no_gradient(variances, a, others):
        return _behind(*parts, variances, a, others, tangent, own=b is None)
    height = max(1, BLOCK // (_grid_size(layers) * len(others)))
    blocks: list[Pair] = []
    for start in range(0, len(a), height):
        rows = a[start : start + height]
        some = others if b is not None else a[start:]  # what is before is known from its transpose
        arguments = (layers, variances, rows, some, tangent, b is None)
        if torch.is_grad_enabled():
            blocks.append(checkpoint(_crossing, *arguments, use_reentrant=False))
        else:
            blocks.append(_crossing(*arguments))
    join = _mirrored if b is None else _stacked
    return join([k for k, _ in blocks]), join([t for _, t in blocks if t is not None]) if tangent else None


def _behind(
    head: Sequential,
    tail: Sequential,
    variances: Variances,
    a: Tensor,
    b: Tensor,
    tangent: bool,
    own: bool,
) -> Pair:
    """Return the kernels of an image network whose layers up to a mean over all places loops evaluate."""
    means = image_means(head, variances, a, b, own=own)
    ends = [diagonals(head, variances, rows, tangent=True) for rows in ((a,) if own else (a, b))]
    fields = []
    for i, cross in enumerate(means):
        left, right = ends[0][i], None if own else ends[1][i]
        assert left is not None
        fields.append((cross.fill_diagonal_(0.0) + left.diag() if own else cross, left, right))
    signal = Signal(fields[0], fields[1] if tangent else None)
    after = tail(signal, iter(variances[head.dense :]))
    covariance = after.covariance[0]
    assert covariance is not None
    return covariance, None if after.tangent is None else after.tangent[0]


def diagonals(layers: Sequential, variances: Variances, a: Tensor, *, tangent: bool) -> Pair:
    """Return the diagonals of the kernels of rows ``a (n, d)`` with themselves: two of ``(*batch, n)``."""
    height = len(a) if image_of(layers) is None else max(1, BLOCK // _grid_size(layers))
    blocks = []
    for start in range(0, max(len(a), 1), max(height, 1)):
        rows = a[start : start + height]
        signal = _through(layers, variances, (None, _own(layers, rows), None), tangent)
        blocks.append((signal.covariance[1], None if signal.tangent is None else signal.tangent[1]))
    found = torch.cat([k for k, _ in blocks], -1)
    return found, torch.cat([t for _, t in blocks if t is not None], -1) if tangent else None


def image_of(layers: Sequential) -> tuple[int, ...] | None:
    """Return channels and places of the images that a network takes; ``None`` where it takes columns."""
    first = layers.layers[0]
    return first.image if isinstance(first, Unflatten) else None


def _grid_size(layers: Sequential) -> int:
    """Return how many entries two images have."""
    _, *places = image_of(layers) or (1,)
    return math.prod(places) ** (2 if layers.mixes else 1)


def _crossing(
    layers: Sequential, variances: Variances, a: Tensor, b: Tensor, tangent: bool, own: bool
) -> Pair:
    """Return the kernels between rows and others; ``own`` where the others begin with the rows."""
    cross, left = _between(layers, a, b), _own(layers, a)
    if own:  # equal to the last digit
        cross = torch.diagonal_scatter(cross, left.movedim(0, -1), dim1=0, dim2=1)
    right = None if a is b else _own(layers, b)
    signal = _through(layers, variances, (cross, left, right), tangent)
    covariance = signal.covariance[0]
    assert covariance is not None
    return covariance, None if signal.tangent is None else signal.tangent[0]


def _through(layers: Sequential, variances: Variances, field: Field, tangent: bool) -> Signal:
    start = combine(torch.zeros_like, field) if tangent else None  # the inputs have no weights
    dims = len(image_of(layers) or (1,)) - 1
    return layers(Signal(field, start, dims, layers.mixes), iter(variances))


def _between(layers: Sequential, a: Tensor, b: Tensor) -> Tensor:
    """Return the mean products of rows and others, ``(n, m, *grid)``."""
    image = image_of(layers)
    if image is None:
        return a @ b.mT / a.shape[-1]
    one, two = (rows.reshape(len(rows), image[0], -1) for rows in (a, b))
    if not layers.mixes:
        same: Tensor = torch.einsum("icp,jcp->ijp", one, two) / image[0]
        return same.reshape(*same.shape[:-1], *image[1:])
    return _by_sides(torch.einsum("icp,jcq->ijpq", one, two) / image[0], image[1:])


def _own(layers: Sequential, a: Tensor) -> Tensor:
    """Return the mean products of each row with itself, ``(n, *grid)``."""
    image = image_of(layers)
    if image is None:
        return a.square().sum(-1) / a.shape[-1]
    one = a.reshape(len(a), image[0], -1)
    if not layers.mixes:
        variances = one.square().mean(1)
        return variances.reshape(len(a), *image[1:])
    return _by_sides(torch.einsum("icp,icq->ipq", one, one) / image[0], image[1:])


def _by_sides(products: Tensor, places: Sequence[int]) -> Tensor:
    """Return ``(..., p, q)`` as ``(..., h, h, w, w)``."""
    both = products.reshape(*products.shape[:-2], *places, *places)
    return both if len(places) == 1 else both.transpose(-3, -2)


def _stacked(blocks: Sequence[Tensor]) -> Tensor:
    return torch.cat(list(blocks), -2)


def _mirrored(blocks: Sequence[Tensor]) -> Tensor:
    """Return the symmetric matrix whose rows from the diagonal on are given, block by block."""
    n = blocks[0].shape[-1]
    rows = []
    for block in blocks:
        start = n - block.shape[-1]
        height = block.shape[-2]
        before = [each[..., start - (n - each.shape[-1]) :][..., :height].mT for each in blocks]
        earlier = [each for each, other in zip(before, blocks, strict=True) if n - other.shape[-1] < start]
        rows.append(torch.cat([*earlier, block], -1))
    return torch.cat(rows, -2)
