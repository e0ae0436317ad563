r"""Architectures of networks, as what their layers do to covariances where they are infinitely wide.

A dense layer with variances :math:`w` of its weights and :math:`b` of its biases, and an activation
:math:`\phi`, take the covariance :math:`K` of a layer's numbers and the tangent kernel :math:`T` to

.. math::

    K \leftarrow w K + b, \; T \leftarrow w T + K \quad \text{(dense)}, \qquad
    K \leftarrow E[\phi(u) \phi(v)], \; T \leftarrow T \, E[\phi'(u) \phi'(v)] \quad \text{(activation)}.

Sources: Lee, Bahri, Novak, Schoenholz, Pennington and Sohl-Dickstein (2018), Deep neural networks as Gaussian
processes, ICLR, equations 5 and 6; Jacot, Gabriel and Hongler (2018), Neural tangent kernel, NeurIPS,
theorem 1.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from nonparam.errors import InputError
from nonparam.kernels.activations import ACTIVATIONS, Activation

__all__ = ["Apply", "Dense", "Layer", "LayerNorm", "Residual", "Sequential", "Signal", "as_activation", "mlp"]

DEEPEST = 100  # hidden layers
NAME = re.compile(r"([a-z_]+)-(\d+)")

Field = tuple[Tensor | None, Tensor, Tensor | None]  # between rows and others; variances of both


@dataclass(frozen=True)
class Signal:
    """What is known of the numbers of a layer: covariances of two sets of rows, and the tangent kernel's.

    A field has the entries between rows and others ``(*batch, n, m)``, or ``None`` where only variances are
    wanted; those of the rows with themselves ``(*batch, n)``; and those of the others ``(*batch, m)``, or
    ``None`` where they are the same rows.

    Attributes:
        covariance: of the numbers.
        tangent: the tangent kernel; ``None`` where it is not wanted.
    """

    covariance: Field
    tangent: Field | None


class Layer(ABC):
    """What a layer does to a signal."""

    dense: int = 0  # how many dense layers there are in it

    @abstractmethod
    def __call__(self, signal: Signal, variances: Iterator[tuple[Tensor, Tensor]]) -> Signal:
        """Return the signal after the layer.

        Args:
            signal: before it.
            variances: of weights and biases, ``(*batch,)`` each, of the dense layers from here on.
        """


@dataclass(frozen=True)
class Dense(Layer):
    """Every number is a weighted sum of all before, and a bias."""

    dense = 1

    def __call__(self, signal: Signal, variances: Iterator[tuple[Tensor, Tensor]]) -> Signal:
        """Return scaled covariances and a constant, which are also what its own weights contribute."""
        weight, bias = map(_spread, next(variances))
        covariance = _map(lambda k, w, b: w * k + b, signal.covariance, weight, bias)
        if signal.tangent is None:
            return Signal(covariance, None)
        return Signal(covariance, _map(lambda t, w, k: w * t + k, signal.tangent, weight, covariance))


@dataclass(frozen=True)
class Apply(Layer):
    """An activation, of each number by itself.

    Attributes:
        activation: the function.
    """

    activation: Activation

    def __call__(self, signal: Signal, variances: Iterator[tuple[Tensor, Tensor]]) -> Signal:
        """Return the moments of the function."""
        cross, left, right = signal.covariance
        second = left if right is None else right
        pairs = (
            None if cross is None else (cross, left[..., :, None], second[..., None, :]),
            (left, left, left),
            None if right is None else (right, right, right),
        )
        values, slopes = _moments(self.activation, pairs)
        tangent = None if signal.tangent is None else _map(torch.mul, signal.tangent, slopes)
        return Signal(values, tangent)


@dataclass(frozen=True)
class LayerNorm(Layer):
    """The numbers of each row are divided by their root mean square."""

    def __call__(self, signal: Signal, variances: Iterator[tuple[Tensor, Tensor]]) -> Signal:
        """Return correlations."""
        _, left, right = signal.covariance
        second = left if right is None else right
        if bool((left <= 0.0).any()) or bool((second <= 0.0).any()):
            raise InputError(
                "LayerNorm has a row whose numbers are all 0: put a Dense layer with biases before"
            )
        scales = ((left[..., :, None] * second[..., None, :]).sqrt(), left, second)
        normed = [
            _map(lambda k, s: k / s, field, scales) for field in (signal.covariance, signal.tangent) if field
        ]
        return Signal(normed[0], normed[1] if len(normed) > 1 else None)


@dataclass(frozen=True)
class Residual(Layer):
    """What comes in, and beside it what a branch makes of it, summed; the branch ends with a dense layer.

    Attributes:
        branch: the layers.
    """

    branch: "Sequential"

    def __post_init__(self) -> None:
        """Refuse branches whose numbers depend on those that they are added to."""
        if not self.branch.layers or not isinstance(self.branch.layers[-1], Dense):
            raise InputError(
                "a Residual branch must end with Dense(), so that it is independent of its input"
            )

    @property
    def dense(self) -> int:  # type: ignore[override]  # a property here
        """How many dense layers there are in it."""
        return self.branch.dense

    def __call__(self, signal: Signal, variances: Iterator[tuple[Tensor, Tensor]]) -> Signal:
        """Return the sums."""
        other = self.branch(signal, variances)
        covariance = _map(torch.add, signal.covariance, other.covariance)
        if signal.tangent is None or other.tangent is None:
            return Signal(covariance, None)
        return Signal(covariance, _map(torch.add, signal.tangent, other.tangent))


@dataclass(frozen=True)
class Sequential(Layer):
    """Layers, one after the other.

    Attributes:
        layers: the first one first.

    Examples:
        >>> mlp("relu", 2).dense
        3
    """

    layers: tuple[Layer, ...]

    def __post_init__(self) -> None:
        """Refuse what is no layer."""
        wrong = [layer for layer in self.layers if not isinstance(layer, Layer)]
        if wrong:
            raise InputError(f"Sequential takes layers such as Dense() and Apply(...), got {wrong[0]!r}")

    @property
    def dense(self) -> int:  # type: ignore[override]  # a property here
        """How many dense layers there are in it."""
        return sum(layer.dense for layer in self.layers)

    def __call__(self, signal: Signal, variances: Iterator[tuple[Tensor, Tensor]]) -> Signal:
        """Return the signal after the last layer."""
        for layer in self.layers:
            signal = layer(signal, variances)
        return signal


def mlp(activation: str | Activation, depth: int) -> Sequential:
    """Return a network of ``depth`` hidden layers, each with an activation, between dense layers.

    Args:
        activation: a name of `nonparam.kernels.activations.ACTIVATIONS`, or an activation.
        depth: from 1 to 100.

    Raises:
        InputError: an unknown name, or another depth.

    Examples:
        >>> [type(layer).__name__ for layer in mlp("erf", 1).layers]
        ['Dense', 'Apply', 'Dense']
    """
    one = as_activation(activation)
    if isinstance(depth, bool) or not isinstance(depth, int) or not 1 <= depth <= DEEPEST:
        raise InputError(f"depth must be a whole number from 1 to {DEEPEST}, got {depth!r}")
    hidden: list[Layer] = [Dense(), Apply(one)] * depth
    return Sequential((*hidden, Dense()))


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
        raise InputError(f"activation must be one of {sorted(ACTIVATIONS)}, got {activation!r}")
    return ACTIVATIONS[activation]


def _map(function: Callable[..., Tensor], first: Field, *others: Field) -> Field:
    """Apply a function to the entries of fields, where they have some."""
    a, b, c = (None if each[0] is None else function(*each) for each in zip(first, *others, strict=True))
    assert b is not None
    return a, b, c


def _moments(activation: Activation, pairs: tuple[Any, Any, Any]) -> tuple[Field, Field]:
    """Return both moments of an activation for pairs of covariances and variances, where there are some."""
    found = [None if pair is None else activation.moments(*pair) for pair in pairs]
    first, second = ([None if each is None else each[i] for each in found] for i in (0, 1))
    return tuple(first), tuple(second)  # type: ignore[return-value]  # triples


def _spread(number: Tensor) -> Field:
    """Return ``(*batch,)`` numbers so that they broadcast against the entries of a field."""
    return number[..., None, None], number[..., None], number[..., None]
