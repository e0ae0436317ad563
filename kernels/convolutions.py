r"""Layers of images and sequences: convolutions and means over places.

With the covariance :math:`K(p, p')` between places of two images, a convolution over windows of :math:`m`
places :math:`\delta`, and the mean over windows, take it to

.. math::

    K(p, p') \leftarrow \frac w m \sum_\delta K(s p + \delta, s p' + \delta) + b, \qquad
    K(p, p') \leftarrow \frac 1 {m^2} \sum_{\delta, \delta'} K(s p + \delta, s p' + \delta').

Only means ask for :math:`p \ne p'`: without them a place of one image meets the same place of the other.

Sources: Novak, Xiao, Lee, Bahri, Yang, Hron, Abolafia, Pennington and Sohl-Dickstein (2019), Bayesian deep
convolutional networks with many channels are Gaussian processes, ICLR, equations 8 and 17; Arora, Du, Hu, Li,
Salakhutdinov and Wang (2019), On exact computation with an infinitely wide neural net, NeurIPS, section 4.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from numbers import Integral

import torch
from torch import Tensor

from nonparam.errors import InputError
from nonparam.kernels.layers import Layer, Weights, Widths, check_bias, weighted
from nonparam.kernels.signals import Shape, Signal

__all__ = ["AvgPool", "Conv1d", "Conv2d", "GlobalAvgPool", "Unflatten"]

PADDINGS = ("zeros", "circular")


@dataclass(frozen=True, init=False, repr=False)
class Unflatten(Layer):
    """The columns of a row as an image of channels, height and width, or a sequence of channels and length.

    The columns are in the order of `numpy.ravel`: channel by channel, row by row.

    Attributes:
        image: channels, and one or two numbers of places.

    Examples:
        >>> Unflatten(1, 8, 8)
        Unflatten(1, 8, 8)
    """

    image: tuple[int, ...]

    def __init__(self, *image: int) -> None:
        if len(image) not in (2, 3) or not all(_is_count(size) for size in image):
            raise InputError(
                "Unflatten takes channels, height and width of an image, or channels and length of a "
                f"sequence, such as Unflatten(1, 8, 8), got {image}"
            )
        object.__setattr__(self, "image", image)

    def shape(self, before: Shape, widths: Widths, last: int | None = None) -> Shape:
        """Return the image; refuse another number of columns, and what comes after weights."""
        if widths.fans:
            raise InputError(f"{self!r} must be the first layer: it tells how the columns of X are images")
        if before.places:
            raise InputError(f"{self!r} takes columns, got an image with {before.places} places")
        if before.units != math.prod(self.image):
            raise InputError(
                f"{self!r} needs {math.prod(self.image)} columns, got {before.units}: give the channels, "
                "height and width of your images, or choose their columns with active_dims"
            )
        channels, *places = self.image
        return replace(before, units=channels, places=tuple(places))

    def __call__(self, signal: Signal, variances: Iterator[tuple[Tensor, Tensor]]) -> Signal:
        """Return the same: an infinite network's first signal is of images already."""
        return signal

    def run(self, x: Tensor, weights: Weights) -> Tensor:
        """Return ``(n, channels, *places)``."""
        return x.reshape(len(x), *self.image)

    def __repr__(self) -> str:
        """Return the layer as it is written."""
        return f"Unflatten{self.image}"


@dataclass(frozen=True, repr=False)
class _Convolution(Layer):
    """Every number is a weighted sum of those in a window, of all channels, and a bias.

    Attributes:
        kernel_size: places of the window, along each side.
        stride: places between windows.
        padding: places that are added at either end of each side, or ``"same"`` for as many places as before.
        padding_mode: what is there: ``"zeros"``, or with ``"circular"`` the other end.
        bias: whether there is one.
    """

    kernel_size: int
    stride: int = 1
    padding: int | str = 0
    padding_mode: str = "zeros"
    bias: bool = True

    dense = 1
    is_weighted = True
    dims = 0  # of images that it takes

    def __post_init__(self) -> None:
        """Refuse numbers that are no sizes."""
        check_bias(self.bias)
        _check_window(self, self.kernel_size, self.stride)
        if not (self.padding == "same" or self.padding == 0 or _is_count(self.padding)):
            raise InputError(f"{self!r}: padding must be a whole number from 0, or 'same'")
        if self.padding == "same" and self.stride != 1:
            raise InputError(f"{self!r}: padding='same' needs stride=1")
        if self.padding_mode not in PADDINGS:
            raise InputError(f"{self!r}: padding_mode must be one of {list(PADDINGS)}")

    @property
    def ends(self) -> tuple[int, int]:
        """How many places are added before and after each side."""
        if self.padding == "same":
            return (self.kernel_size - 1) // 2, self.kernel_size // 2
        return int(self.padding), int(self.padding)

    def shape(self, before: Shape, widths: Widths, last: int | None = None) -> Shape:
        """Return new channels, which are Gaussian; refuse columns, and images that are too small."""
        if len(before.places) != self.dims:
            kind = {
                1: "sequences, such as those of Unflatten(1, 100)",
                2: "images, such as those of Unflatten(1, 8, 8)",
            }
            got = f"{len(before.places)} dimensions" if before.places else "columns"
            raise InputError(
                f"{type(self).__name__} takes {kind[self.dims]}, got {got}: put that layer before it"
            )
        if self.padding_mode == "circular" and max(self.ends) > min(before.places):
            raise InputError(
                f"{self!r}: a circular padding goes round images of {before.places} more than once"
            )
        places = self.places(before.places)
        units = widths.units(before.units * self.kernel_size**self.dims, last, has_bias=self.bias)
        return Shape(units, places, is_gaussian=True)

    def places(self, before: tuple[int, ...]) -> tuple[int, ...]:
        """Return how many windows there are along each side; refuse images that are too small."""
        return _windows(self, tuple(size + sum(self.ends) for size in before), self.kernel_size, self.stride)

    def __call__(self, signal: Signal, variances: Iterator[tuple[Tensor, Tensor]]) -> Signal:
        """Return means over windows of both images that move together, scaled, and a constant."""

        def mean(entries: Tensor) -> Tensor:
            for side in range(self.dims):
                sides = _sides(signal, side)
                entries = _pad(entries, sides, self.ends, self.padding_mode)
                entries = _mean(entries, sides, self.kernel_size, self.stride)
            return entries

        return weighted(signal.map(mean, signal.dims, signal.is_paired), next(variances), has_bias=self.bias)

    def run(self, x: Tensor, weights: Weights) -> Tensor:
        """Return the weighted sums."""
        weight, bias, factor, own = next(weights)
        sides = tuple(range(-self.dims, 0))
        for side in sides:
            x = _pad(x, (side,), self.ends, self.padding_mode)
        window = weight.mT.reshape(weight.shape[1], x.shape[1], *[self.kernel_size] * self.dims)
        convolve = torch.nn.functional.conv1d if self.dims == 1 else torch.nn.functional.conv2d
        shift = (own * bias).reshape(-1, *[1] * self.dims)
        return factor * convolve(x, window, stride=self.stride) + shift

    def __repr__(self) -> str:
        """Return the layer as it is written, without what is usual."""
        usual = {each.name: each.default for each in fields(self)}
        given = [f"{name}={getattr(self, name)!r}" for name in usual if getattr(self, name) != usual[name]]
        return f"{type(self).__name__}({', '.join(given)})"


@dataclass(frozen=True, repr=False)
class Conv1d(_Convolution):
    """A convolution of sequences; see `Conv2d`."""

    dims = 1


@dataclass(frozen=True, repr=False)
class Conv2d(_Convolution):
    """A convolution of images: every number is a weighted sum of those in a window, and a bias.

    Examples:
        >>> Conv2d(3, padding="same")
        Conv2d(kernel_size=3, padding='same')
    """

    dims = 2


@dataclass(frozen=True)
class AvgPool(Layer):
    """Means over windows.

    Attributes:
        kernel_size: places of the window, along each side.
        stride: places between windows; as many as the window has by default.
    """

    kernel_size: int
    stride: int | None = None

    mixes = True

    def __post_init__(self) -> None:
        """Refuse numbers that are no sizes."""
        _check_window(self, self.kernel_size, self.step)

    @property
    def step(self) -> int:
        """Places between windows."""
        return self.kernel_size if self.stride is None else self.stride

    def shape(self, before: Shape, widths: Widths, last: int | None = None) -> Shape:
        """Return smaller images; refuse columns, and images that are too small."""
        _check_image(self, before)
        return replace(before, places=_windows(self, before.places, self.kernel_size, self.step))

    def __call__(self, signal: Signal, variances: Iterator[tuple[Tensor, Tensor]]) -> Signal:
        """Return means over windows of both images."""

        def mean(entries: Tensor) -> Tensor:
            for side in range(-signal.grid, 0):
                entries = _mean(entries, (side,), self.kernel_size, self.step)
            return entries

        return signal.map(mean, signal.dims, signal.is_paired)

    def run(self, x: Tensor, weights: Weights) -> Tensor:
        """Return the means."""
        for side in range(2 - x.ndim, 0):
            x = _mean(x, (side,), self.kernel_size, self.step)
        return x


@dataclass(frozen=True)
class GlobalAvgPool(Layer):
    """The mean over all places."""

    mixes = True

    def shape(self, before: Shape, widths: Widths, last: int | None = None) -> Shape:
        """Return columns; refuse those."""
        _check_image(self, before)
        return replace(before, places=())

    def __call__(self, signal: Signal, variances: Iterator[tuple[Tensor, Tensor]]) -> Signal:
        """Return the mean over every two places."""
        return signal.map(lambda entries: entries.mean(tuple(range(-signal.grid, 0))), 0, is_paired=False)

    def run(self, x: Tensor, weights: Weights) -> Tensor:
        """Return the means: ``(n, units)``."""
        return x.flatten(2).mean(-1)


def _sides(signal: Signal, side: int) -> tuple[int, ...]:
    """Return the dimensions of a side of the images, one for each image where there are two."""
    if not signal.is_paired:
        return (side - signal.dims,)
    return 2 * (side - signal.dims), 2 * (side - signal.dims) + 1


def _pad(x: Tensor, sides: Sequence[int], ends: tuple[int, int], mode: str) -> Tensor:
    """Add places at both ends of some sides: zeros, or with ``"circular"`` the other end."""
    before, after = ends
    for side in sides if before + after else ():
        size = x.shape[side]
        if mode == "circular":
            head, tail = x.narrow(side, size - before, before), x.narrow(side, 0, after)
        else:
            head, tail = (
                x.new_zeros(*x.shape[: x.ndim + side], count, *x.shape[x.ndim + side + 1 :]) for count in ends
            )
        x = torch.cat([head, x, tail], side)
    return x


def _mean(x: Tensor, sides: Sequence[int], size: int, stride: int) -> Tensor:
    """Return the mean over windows that move along all sides at once."""
    windows = (x.shape[sides[0]] - size) // stride + 1
    total: Tensor | None = None
    for start in range(size):
        part = x
        for side in sides:
            stop = start + stride * (windows - 1) + 1
            part = part.transpose(0, side)[start:stop:stride].transpose(0, side)
        total = part if total is None else total + part
    assert total is not None
    return total / size


def _windows(layer: Layer, places: tuple[int, ...], size: int, stride: int) -> tuple[int, ...]:
    """Return how many windows fit along each side."""
    if min(places) < size:
        raise InputError(
            f"{layer!r}: a window of {size} does not fit images with {places} places, padding included"
        )
    return tuple((side - size) // stride + 1 for side in places)


def _check_window(layer: Layer, size: int, stride: int) -> None:
    for name, value in {"kernel_size": size, "stride": stride}.items():
        if not _is_count(value):
            raise InputError(f"{layer!r}: {name} must be a whole number from 1")
        if getattr(layer, name) is not None:  # NumPy's numbers print otherwise
            object.__setattr__(layer, name, int(value))


def _check_image(layer: Layer, before: Shape) -> None:
    if not before.places:
        raise InputError(
            f"{layer!r} takes images, got columns: put a layer such as Unflatten(1, 8, 8) before it"
        )


def _is_count(value: object) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool) and int(value) >= 1
