r"""Architectures of networks, and what each layer does to covariances where it is infinitely wide.

A dense layer with variances :math:`w` of its weights and :math:`b` of its biases, and an activation
:math:`\phi`, take the covariance :math:`K` of a layer's numbers and the tangent kernel :math:`T` to

.. math::

    K \leftarrow w K + b, \; T \leftarrow w T + K \quad \text{(dense)}, \qquad
    K \leftarrow E[\phi(u) \phi(v)], \; T \leftarrow T \, E[\phi'(u) \phi'(v)] \quad \text{(activation)}.

Sources: Lee, Bahri, Novak, Schoenholz, Pennington and Sohl-Dickstein (2018), Deep neural networks as Gaussian
processes, ICLR, equations 5 and 6; Jacot, Gabriel and Hongler (2018), Neural tangent kernel, NeurIPS,
theorem 1.
"""

import math
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from numbers import Integral
from typing import Any

import torch
from torch import Tensor

from nonparam.errors import InputError
from nonparam.kernels.activations import ACTIVATIONS, Activation
from nonparam.kernels.signals import Field, Shape, Signal, apart, combine, spread

__all__ = [
    "Apply",
    "Dense",
    "Flatten",
    "Layer",
    "LayerNorm",
    "Product",
    "Residual",
    "Sequential",
    "Weights",
    "Widths",
    "as_activation",
    "mlp",
    "weighted",
]

DEEPEST = 100  # hidden layers
NAME = re.compile(r"([a-z_]+)-(\d+)")

Weights = Iterator[tuple[Tensor, Tensor, float, float]]  # weights, biases, and what multiplies them


@dataclass
class Widths:
    """How many units the layers with weights have, and how many numbers each of these is a sum of.

    Attributes:
        hidden: yields the units of one layer with weights after the other, but the last.
        fans: inputs and units of the layers so far, and whether they have biases.
    """

    hidden: Iterator[int]
    fans: list[tuple[int, int, bool]] = field(default_factory=list)

    def units(self, inputs: int, last: int | None, *, has_bias: bool) -> int:
        """Return the units of one more layer, ``last`` where that is given, and note its inputs."""
        units = next(self.hidden) if last is None else last
        self.fans.append((inputs, units, has_bias))
        return units


class Layer(ABC):
    """What a layer does to a signal, and to numbers."""

    dense: int = 0  # how many layers with weights there are in it
    is_weighted: bool = False  # whether its numbers are sums with weights of its own
    bias: bool = False  # whether biases are added to these
    mixes: bool = False  # whether it needs the covariances between different places

    @abstractmethod
    def shape(self, before: Shape, widths: Widths, last: int | None = None) -> Shape:
        """Return what the numbers after the layer are.

        Args:
            before: what they are before.
            widths: the units of the layers with weights, which note their inputs there.
            last: units of the last layer with weights within it, where they are known.

        Raises:
            InputError: numbers that it cannot take.
        """

    @abstractmethod
    def __call__(self, signal: Signal, variances: Iterator[tuple[Tensor, Tensor]]) -> Signal:
        """Return the signal after the layer.

        Args:
            signal: before it.
            variances: of weights and biases, ``(*batch,)`` each, of the layers with weights from here on.
        """

    @abstractmethod
    def run(self, x: Tensor, weights: Weights) -> Tensor:
        """Return the numbers of a finite network after the layer: ``(n, units, *places)``.

        Args:
            x: those before it.
            weights: of the layers from here on.
        """


@dataclass(frozen=True, repr=False)
class Dense(Layer):
    """Every number is a weighted sum of all before, and a bias.

    Attributes:
        bias: whether there is one; without, its variance does nothing.
    """

    bias: bool = True

    dense = 1
    is_weighted = True

    def __post_init__(self) -> None:
        """Refuse a width, which is no property of the architecture."""
        check_bias(self.bias)

    def shape(self, before: Shape, widths: Widths, last: int | None = None) -> Shape:
        """Return new units, which are Gaussian; refuse images."""
        if before.places:
            raise InputError(
                f"Dense() takes columns, got an image with {before.places} places: put Flatten() or "
                "GlobalAvgPool() before it"
            )
        units = widths.units(before.units, last, has_bias=self.bias)
        return Shape(units, (), is_gaussian=True)

    def __call__(self, signal: Signal, variances: Iterator[tuple[Tensor, Tensor]]) -> Signal:
        """Return scaled covariances and a constant, which are also what its own weights contribute."""
        return weighted(signal, next(variances), has_bias=self.bias)

    def run(self, x: Tensor, weights: Weights) -> Tensor:
        """Return the weighted sums."""
        weight, bias, factor, own = next(weights)
        return factor * (x @ weight) + own * bias

    def __repr__(self) -> str:
        """Return the layer as it is written."""
        return "Dense()" if self.bias else "Dense(bias=False)"


def check_bias(bias: object) -> None:
    """Raise `InputError` unless it says whether there is one."""
    if not isinstance(bias, bool):
        raise InputError(
            f"bias must be True or False, got {bias!r}: the width of a layer is no property of the "
            "architecture, give it to finite(width)"
        )


def weighted(signal: Signal, variances: tuple[Tensor, Tensor], *, has_bias: bool) -> Signal:
    """Return what random weights and biases make of a signal that is the mean over their inputs."""
    weight, bias = (spread(each, signal.grid) for each in variances)
    covariance = combine(lambda k, w, b: w * k + b * has_bias, signal.covariance, weight, bias)
    if signal.tangent is None:
        return replace(signal, covariance=covariance)
    tangent = combine(lambda t, w, k: w * t + k, signal.tangent, weight, covariance)
    return replace(signal, covariance=covariance, tangent=tangent)


@dataclass(frozen=True, repr=False)
class Apply(Layer):
    """An activation, of each number by itself.

    Attributes:
        activation: the function, or its name.
    """

    activation: Activation

    def __post_init__(self) -> None:
        """Take a name for the activation of that name."""
        object.__setattr__(self, "activation", as_activation(self.activation))

    def shape(self, before: Shape, widths: Widths, last: int | None = None) -> Shape:
        """Return the same units; refuse numbers that are not Gaussian."""
        if not before.is_gaussian:
            raise InputError(
                f"{self.activation} is applied to numbers that are not Gaussian, so that its covariances "
                "have no known form: put a layer with weights, such as Dense(), before it, and Flatten() "
                "only after it"
            )
        return replace(before, is_gaussian=False)

    def __call__(self, signal: Signal, variances: Iterator[tuple[Tensor, Tensor]]) -> Signal:
        """Return the moments of the function."""
        first, second = apart(signal)
        found = [
            None if c is None or q1 is None or q2 is None else self.activation.moments(c, q1, q2)
            for c, q1, q2 in zip(signal.covariance, first, second, strict=True)
        ]
        values, slopes = (tuple(None if each is None else each[i] for each in found) for i in (0, 1))
        tangent = None if signal.tangent is None else combine(torch.mul, signal.tangent, _triple(slopes))
        return replace(signal, covariance=_triple(values), tangent=tangent)

    def run(self, x: Tensor, weights: Weights) -> Tensor:
        """Return the function of each number."""
        return self.activation.function(x)

    def __repr__(self) -> str:
        """Return the layer by its activation's name."""
        return f"Apply({self.activation})"


@dataclass(frozen=True)
class LayerNorm(Layer):
    """The numbers of each row, at each place, are divided by their root mean square."""

    def shape(self, before: Shape, widths: Widths, last: int | None = None) -> Shape:
        """Return the same."""
        return before

    def __call__(self, signal: Signal, variances: Iterator[tuple[Tensor, Tensor]]) -> Signal:
        """Return correlations."""
        first, second = apart(signal)
        if any(bool((q <= 0.0).any()) for q in (first[1], second[1])):
            raise InputError(
                "LayerNorm has a row whose numbers are all 0: put a layer with biases, such as Dense(), "
                "before"
            )
        scales = combine(lambda q1, q2: (q1 * q2).sqrt(), first, second)
        fields = (
            combine(torch.div, each, scales) if each else None for each in (signal.covariance, signal.tangent)
        )
        covariance, tangent = fields
        assert covariance is not None
        return replace(signal, covariance=covariance, tangent=tangent)

    def run(self, x: Tensor, weights: Weights) -> Tensor:
        """Return the normed numbers."""
        return x / x.square().mean(1, keepdim=True).sqrt()


@dataclass(frozen=True)
class Flatten(Layer):
    """The numbers at all places become columns."""

    def shape(self, before: Shape, widths: Widths, last: int | None = None) -> Shape:
        """Return a unit for each place and unit; with several places they have variances of their own."""
        places = math.prod(before.places)
        alike = before.is_gaussian and places == 1
        return replace(before, units=before.units * places, places=(), is_gaussian=alike)

    def __call__(self, signal: Signal, variances: Iterator[tuple[Tensor, Tensor]]) -> Signal:
        """Return means over the places, each with itself."""
        if not signal.dims:
            return signal
        dims = signal.dims

        def mean(entries: Tensor) -> Tensor:
            if signal.is_paired:
                for dim in range(dims):
                    entries = entries.diagonal(dim1=-2 * dims + dim, dim2=-2 * dims + dim + 1)
            return entries.mean(tuple(range(-dims, 0)))

        return signal.map(mean, 0, is_paired=False)

    def run(self, x: Tensor, weights: Weights) -> Tensor:
        """Return ``(n, columns)``."""
        return x.flatten(1)


@dataclass(frozen=True)
class Residual(Layer):
    """What comes in, and beside it what a branch makes of it, summed; the branch ends with weights.

    Attributes:
        branch: the layers.
    """

    branch: "Sequential"

    def __post_init__(self) -> None:
        """Refuse branches whose numbers depend on those that they are added to."""
        _check_branch(self, self.branch)

    @property
    def dense(self) -> int:  # type: ignore[override]  # a property here
        """How many layers with weights there are in it."""
        return self.branch.dense

    @property
    def mixes(self) -> bool:  # type: ignore[override]  # a property here
        """Whether its branch needs the covariances between different places."""
        return self.branch.mixes

    def shape(self, before: Shape, widths: Widths, last: int | None = None) -> Shape:
        """Return the same; refuse a branch that ends with another one."""
        after = self.branch.shape(before, widths, before.units)
        if after.places != before.places:
            raise InputError(
                f"Residual: its branch takes images with {before.places} places to {after.places}, which "
                "cannot be added: give its convolutions a padding and no stride"
            )
        return before

    def __call__(self, signal: Signal, variances: Iterator[tuple[Tensor, Tensor]]) -> Signal:
        """Return the sums."""
        other = self.branch(signal, variances)
        tangent = None
        if signal.tangent is not None and other.tangent is not None:
            tangent = combine(torch.add, signal.tangent, other.tangent)
        return replace(
            signal, covariance=combine(torch.add, signal.covariance, other.covariance), tangent=tangent
        )

    def run(self, x: Tensor, weights: Weights) -> Tensor:
        """Return the sums."""
        return x + self.branch.run(x, weights)


@dataclass(frozen=True)
class Product(Layer):
    r"""What two branches make of the same numbers, multiplied; each ends with weights.

    .. math:: K = K_1 K_2, \quad T = T_1 K_2 + K_1 T_2.

    Attributes:
        left: the layers of one.
        right: those of the other.
    """

    left: "Sequential"
    right: "Sequential"

    def __post_init__(self) -> None:
        """Refuse branches whose numbers are not independent."""
        _check_branch(self, self.left)
        _check_branch(self, self.right)

    @property
    def dense(self) -> int:  # type: ignore[override]  # a property here
        """How many layers with weights there are in it."""
        return self.left.dense + self.right.dense

    @property
    def mixes(self) -> bool:  # type: ignore[override]  # a property here
        """Whether a branch needs the covariances between different places."""
        return self.left.mixes or self.right.mixes

    def shape(self, before: Shape, widths: Widths, last: int | None = None) -> Shape:
        """Return products, which are not Gaussian; refuse branches that end with other images."""
        left = self.left.shape(before, widths, last)
        right = self.right.shape(before, widths, left.units)
        if left.places != right.places:
            raise InputError(
                f"Product: its branches end with images of {left.places} and of {right.places} places: let "
                "both have the same strides and paddings"
            )
        return replace(left, is_gaussian=False)

    def __call__(self, signal: Signal, variances: Iterator[tuple[Tensor, Tensor]]) -> Signal:
        """Return the products."""
        one, two = self.left(signal, variances), self.right(signal, variances)
        tangent = None
        if one.tangent is not None and two.tangent is not None:
            tangent = combine(
                lambda t1, k2, k1, t2: t1 * k2 + k1 * t2,
                one.tangent,
                two.covariance,
                one.covariance,
                two.tangent,
            )
        return replace(one, covariance=combine(torch.mul, one.covariance, two.covariance), tangent=tangent)

    def run(self, x: Tensor, weights: Weights) -> Tensor:
        """Return the products."""
        return self.left.run(x, weights) * self.right.run(x, weights)


@dataclass(frozen=True, init=False, repr=False)
class Sequential(Layer):
    """Layers, one after the other.

    Attributes:
        layers: the first one first.

    Examples:
        >>> Sequential(Dense(), Apply(ACTIVATIONS["relu"]), Dense()).dense
        2
    """

    layers: tuple[Layer, ...]

    def __init__(self, *layers: Layer) -> None:
        wrong = [layer for layer in layers if not isinstance(layer, Layer)]
        if wrong:
            raise InputError(
                f"Sequential takes layers such as Dense(), Relu() or Residual(...), got {wrong[0]!r}"
            )
        object.__setattr__(self, "layers", layers)

    @property
    def dense(self) -> int:  # type: ignore[override]  # a property here
        """How many layers with weights there are in it."""
        return sum(layer.dense for layer in self.layers)

    @property
    def mixes(self) -> bool:  # type: ignore[override]  # a property here
        """Whether a layer needs the covariances between different places."""
        return any(layer.mixes for layer in self.layers)

    def shape(self, before: Shape, widths: Widths, last: int | None = None) -> Shape:
        """Return what the numbers after the last layer are."""
        final = max((i for i, each in enumerate(self.layers) if each.dense), default=-1)
        for i, each in enumerate(self.layers):
            before = each.shape(before, widths, last if i == final else None)
        return before

    def __call__(self, signal: Signal, variances: Iterator[tuple[Tensor, Tensor]]) -> Signal:
        """Return the signal after the last layer."""
        for layer in self.layers:
            signal = layer(signal, variances)
        return signal

    def run(self, x: Tensor, weights: Weights) -> Tensor:
        """Return the numbers after the last layer."""
        for layer in self.layers:
            x = layer.run(x, weights)
        return x

    def __repr__(self) -> str:
        """Return the layers as they are written."""
        return f"Sequential({', '.join(map(repr, self.layers))})"


def mlp(activation: str | Activation, depth: int) -> Sequential:
    """Return a network of ``depth`` hidden layers, each with an activation, between dense layers.

    Args:
        activation: a name of `nonparam.kernels.activations.ACTIVATIONS`, or an activation.
        depth: from 1 to 100.

    Raises:
        InputError: an unknown name, or another depth.

    Examples:
        >>> mlp("erf", 1)
        Sequential(Dense(), Apply(erf), Dense())
    """
    one = as_activation(activation)
    if isinstance(depth, bool) or not isinstance(depth, Integral) or not 1 <= depth <= DEEPEST:
        raise InputError(f"depth must be a whole number from 1 to {DEEPEST}, got {depth!r}")
    hidden: list[Layer] = [Dense(), Apply(one)] * int(depth)
    return Sequential(*hidden, Dense())


def as_activation(activation: str | Activation) -> Activation:
    """Return an activation from its name, or itself.

    Raises:
        InputError: an unknown name, or something else.

    Examples:
        >>> as_activation("relu")
        relu
    """
    if isinstance(activation, Activation):
        return activation
    if not isinstance(activation, str) or activation not in ACTIVATIONS:
        raise InputError(
            f"activation must be one of {sorted(ACTIVATIONS)}, got {activation!r}: a function of your own "
            "becomes one by nonparam.kernels.activations.elementwise"
        )
    return ACTIVATIONS[activation]


def _check_branch(owner: Layer, branch: Any) -> None:
    """Refuse what is no branch, or one that does not end with weights of its own."""
    layers = branch.layers if isinstance(branch, Sequential) else ()
    if not layers or not layers[-1].is_weighted:
        raise InputError(
            f"a branch of {type(owner).__name__} must be a Sequential that ends with Dense() or a "
            f"convolution, so that its numbers are independent of others, got {branch!r}"
        )


def _triple(entries: tuple[Tensor | None, ...]) -> Field:
    cross, left, right = entries
    assert left is not None
    return cross, left, right
