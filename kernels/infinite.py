r"""Kernels of infinitely wide networks: the prior of their functions, and that of gradient descent.

With independent Gaussian weights the function of a network tends to a Gaussian process as its layers grow
wider, with the covariance :math:`K` ("nngp"). Trained by gradient descent from there, it moves as kernel
regression with the tangent kernel :math:`T` ("ntk"), the expected product of its gradients.

Sources: as in `nonparam.kernels.layers`.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import repeat
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from nonparam.errors import InputError
from nonparam.kernels.architectures import parse_architecture
from nonparam.kernels.base import Hyperparameter, Kernel, Value
from nonparam.kernels.layers import Apply, Layer, LayerNorm, Product, Residual, Sequential, Widths
from nonparam.kernels.propagation import Pair, diagonals, image_of, kernels
from nonparam.kernels.signals import Shape

__all__ = ["InfiniteNetwork"]

KINDS = ("nngp", "ntk")
FIRST, BIAS = 1.0, 0.05  # variances of the first layer's weights, and of biases, for inputs of order 1


class InfiniteNetwork(Kernel):
    r"""The kernel of a network whose layers are infinitely wide.

    .. math:: K_0(x, x') = \frac1d \sum_j \frac{(x_j - c_j)(x'_j - c_j)}{s_j^2},

    and then as the layers of its architecture say. The variances of weights and biases are hyperparameters,
    one of each for every dense layer. By default weights start where gradients keep their size from layer
    to layer, :math:`w = 1 / E[\phi'(u)^2]`, which for rectifiers is 2.

    Args:
        architecture: such as ``"relu-3"``, three hidden layers of rectifiers, or a
            `nonparam.kernels.layers.Sequential`.
        kind: ``"nngp"`` or ``"ntk"``.
        weight_variance: :math:`w`, a number for all dense layers, or one for each.
        bias_variance: :math:`b`, likewise.
        center: :math:`c`, in the units of ``X``; the mean of the data by default. It is not learnt.
        spread: :math:`s`; the standard deviation of the data by default. It is not learnt.
        active_dims: the columns it looks at; all by default.
        fixed: names of hyperparameters that are not learnt.

    Raises:
        InputError: an architecture that cannot be read, or another number of variances than of dense layers.

    Source: Lee et al. (2018), Deep neural networks as Gaussian processes, ICLR; Jacot, Gabriel and Hongler
    (2018), Neural tangent kernel, NeurIPS.

    Examples:
        >>> k = InfiniteNetwork("relu-1", center=0.0, spread=1.0, bias_variance=0.1)
        >>> k.matrix(torch.tensor([[1.0], [-1.0]], dtype=torch.float64)).detach()
        tensor([[1.2000, 0.1258],
                [0.1258, 1.2000]], dtype=torch.float64)
    """

    keyword = "infinite_network"
    options: ClassVar[dict[str, Any]] = {"architecture": "relu-3", "kind": "nngp"}
    weight_variance = Hyperparameter("1", per_layer=True)
    bias_variance = Hyperparameter("1", per_layer=True)
    center = Hyperparameter("X", per_column=True, positive=False, learnt=False)
    spread = Hyperparameter("X", per_column=True, learnt=False)

    def __init__(
        self,
        architecture: str | Sequential = "relu-3",
        kind: Literal["nngp", "ntk"] = "nngp",
        *,
        weight_variance: Value = None,
        bias_variance: Value = None,
        center: Value = None,
        spread: Value = None,
        active_dims: Sequence[int] | None = None,
        fixed: Sequence[str] = (),
    ) -> None:
        layers = read_architecture(architecture)
        values = {
            "weight_variance": _usual(layers) if weight_variance is None else weight_variance,
            "bias_variance": [BIAS] * layers.dense if bias_variance is None else bias_variance,
            "center": center,
            "spread": spread,
        }
        super().__init__(values, active_dims, fixed)
        self._architecture, self._layers = architecture, layers
        self.kind = kind
        for name, given in self._given().items():
            if given not in (1, layers.dense):
                raise InputError(
                    f"InfiniteNetwork: {name} has {given} values, and the architecture {layers.dense} dense "
                    "layers; give one value, or one for each"
                )

    @property
    def architecture(self) -> str | Sequential:
        """The layers, or a text for them; with another one variances that do not fit start anew."""
        return self._architecture

    @architecture.setter
    def architecture(self, value: str | Sequential) -> None:
        self._architecture, self._layers = value, read_architecture(value)
        if any(given not in (1, self._layers.dense) for given in self._given().values()):
            self.weight_variance = _usual(self._layers)
            self.bias_variance = [BIAS] * self._layers.dense

    def _given(self) -> dict[str, int]:
        """Return how many variances there are of weights and of biases."""
        names = ("weight_variance", "bias_variance")
        return {name: self._parameters[f"raw_{name}"].shape[-1] for name in names}

    @property
    def kind(self) -> str:
        """Which of the two kernels it is."""
        return self._kind

    @kind.setter
    def kind(self, value: str) -> None:
        if value not in KINDS:
            raise InputError(f"InfiniteNetwork: kind must be 'nngp' or 'ntk', got {value!r}")
        self._kind = value

    def matrix(self, x1: Tensor, x2: Tensor | None = None) -> Tensor:
        """Return the covariances of the network's output."""
        return self._chosen(kernels, self.scaled(x1), None if x2 is None else self.scaled(x2))

    def both(self, x1: Tensor, x2: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the matrices of both kinds, ``"nngp"`` and ``"ntk"``, which share most of the work.

        Args:
            x1: ``(n, d)``, the active columns.
            x2: ``(m, d)``, or ``None`` for the same observations as ``x1``.

        Returns:
            Two of ``(*batch, n, m)``.
        """
        others = None if x2 is None else self.scaled(x2)
        covariance, tangent = kernels(self._layers, self.variances(), self.scaled(x1), others, tangent=True)
        assert tangent is not None
        return covariance, tangent

    def diagonal(self, x: Tensor) -> Tensor:
        """Return the variances of the network's output."""
        return self._chosen(diagonals, self.scaled(x))

    def _chosen(self, function: Callable[..., Pair], *rows: Tensor | None) -> Tensor:
        covariance, tangent = function(self._layers, self.variances(), *rows, tangent=self.kind == "ntk")
        return covariance if tangent is None else tangent

    def scaled(self, x: Tensor) -> Tensor:
        """Return the active columns as the layers take them: centred and scaled, images by one number each.

        Args:
            x: ``(n, d)``.
        """
        center, spread = self.center, self.spread
        if image_of(self._layers) is not None:
            center, spread = center.mean(-1, keepdim=True), spread.mean(-1, keepdim=True)
        scaled: Tensor = (x - center) / spread
        return scaled

    def arguments(self) -> Iterator[tuple[str, Any]]:
        """Yield the arguments that the formula shows, the architecture as text."""
        for name, value in super().arguments():
            yield name, repr(value) if isinstance(value, Sequential) else value

    def check_columns(self, columns: int) -> None:
        """Raise `InputError` unless its hyperparameters and its architecture fit ``columns`` of ``X``."""
        super().check_columns(columns)
        self._layers.shape(Shape(columns), Widths(repeat(1)))

    @property
    def layers(self) -> Sequential:
        """The layers of the architecture."""
        return self._layers

    def variances(self) -> list[tuple[Tensor, Tensor]]:
        """Return the variances of weights and of biases of each layer that has some, ``(*batch,)``."""
        pairs = (
            each[..., 0, :].expand(*each.shape[:-2], self._layers.dense)
            for each in (self.weight_variance, self.bias_variance)
        )
        return list(zip(*(each.unbind(-1) for each in pairs), strict=True))


def read_architecture(architecture: str | Sequential) -> Sequential:
    """Return the layers of an architecture, which a text such as ``"relu-3"`` may name.

    Raises:
        InputError: text that cannot be read, or layers that end with no dense one.

    Examples:
        >>> read_architecture("erf-2").dense
        3
    """
    if isinstance(architecture, str):
        architecture = parse_architecture(architecture)
    if not isinstance(architecture, Sequential) or not architecture.dense:
        raise InputError(
            "architecture must be a text such as 'relu-3', or a Sequential of nonparam.networks with a Dense "
            f"layer (from_torch makes one of torch's), got {architecture!r}"
        )
    columns = math.prod(image_of(architecture) or (1,))
    after = architecture.shape(Shape(columns), Widths(repeat(1)))
    if after.places or not after.is_gaussian or isinstance(architecture.layers[-1], LayerNorm):
        raise InputError(
            f"{architecture!r} ends with numbers that are no Gaussian process: let it end with Dense(), "
            "behind Flatten() or GlobalAvgPool() where they are of images"
        )
    return architecture


def _usual(layers: Sequential) -> list[float]:
    """Return variances of weights for which gradients keep their size, where the numbers before have 1."""
    found: list[float] = []
    _gather(layers, FIRST, found)
    return found


def _gather(layer: Layer, usual: float, found: list[float]) -> float:
    """Append what suits each dense layer within one, and return what suits the next."""
    one = torch.ones((), dtype=torch.float64)
    if isinstance(layer, Sequential):
        for each in layer.layers:
            usual = _gather(each, usual, found)
        return usual
    if isinstance(layer, Residual):
        _gather(layer.branch, 1.0, found)
        return 1.0
    if isinstance(layer, Product):
        for branch in (layer.left, layer.right):
            _gather(branch, usual, found)
        return 1.0
    if isinstance(layer, Apply):
        slope = float(layer.activation.moments(one, one, one)[1])
        return 1.0 / slope if slope > 0.0 else 1.0 / float(layer.activation.moments(one, one, one)[0])
    if layer.is_weighted:
        found.append(usual)
        return 1.0
    return 1.0 if isinstance(layer, LayerNorm) else usual
