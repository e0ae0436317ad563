r"""Architectures with three views: the kernel of infinite width, networks of finite width, and their phase.

The layers are those of `nonparam.kernels.layers` and `nonparam.kernels.convolutions`; activations have names
as in torch.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal

from nonparam.errors import InputError
from nonparam.kernels import layers
from nonparam.kernels.activations import ACTIVATIONS, Activation, elementwise, leaky_relu
from nonparam.kernels.base import Value
from nonparam.kernels.convolutions import AvgPool, Conv1d, Conv2d, GlobalAvgPool, Unflatten
from nonparam.kernels.infinite import InfiniteNetwork
from nonparam.kernels.layers import Apply, Dense, Flatten, LayerNorm, Product, Residual
from nonparam.kernels.phase import Phase, critical_factor, phase_of_cycle
from nonparam.kernels.propagation import image_of
from nonparam.networks.finite import FiniteNetwork

__all__ = [
    "MLP",
    "Abs",
    "Apply",
    "AvgPool",
    "Conv1d",
    "Conv2d",
    "Cos",
    "Dense",
    "Elementwise",
    "Elu",
    "Erf",
    "Exp",
    "Flatten",
    "Gaussian",
    "Gelu",
    "GlobalAvgPool",
    "LayerNorm",
    "LeakyRelu",
    "Product",
    "Relu",
    "Residual",
    "Sequential",
    "Sigmoid",
    "Sign",
    "Silu",
    "Sin",
    "Softplus",
    "Step",
    "Tanh",
    "Unflatten",
]

PLAIN = (AvgPool, Flatten, GlobalAvgPool, Unflatten)  # layers that leave the phase to others

Variances = Value | Literal["critical"]

Relu, Abs, Sign, Step = (partial(Apply, ACTIVATIONS[name]) for name in ("relu", "abs", "sign", "step"))
Erf, Gelu, Sin, Cos = (partial(Apply, ACTIVATIONS[name]) for name in ("erf", "gelu", "sin", "cos"))
Exp, Gaussian, Tanh = (partial(Apply, ACTIVATIONS[name]) for name in ("exp", "gaussian", "tanh"))
Sigmoid, Silu, Softplus = (partial(Apply, ACTIVATIONS[name]) for name in ("sigmoid", "silu", "softplus"))
Elu = partial(Apply, ACTIVATIONS["elu"])


def LeakyRelu(slope: float = 0.01) -> Apply:
    """Return the layer of ``max(x, 0) + slope min(x, 0)``."""
    return Apply(leaky_relu(slope))


def Elementwise(function: Callable[..., object]) -> Apply:
    """Return the layer of any function of a tensor, elementwise; see `kernels.activations.elementwise`."""
    return Apply(elementwise(function))  # type: ignore[arg-type]  # of tensors


class Sequential(layers.Sequential):
    r"""Layers, one after the other, of which a network of any width can be made.

    Args:
        layers: such as ``Dense()``, ``Relu()``, ``Conv2d(3)`` or ``Residual(Sequential(...))``.

    Raises:
        InputError: what is no layer.

    Examples:
        >>> arch = Sequential(Dense(), Relu(), Dense(), Erf(), Dense())
        >>> arch.kernel("ntk").kind
        'ntk'
        >>> arch.finite(width=16, inputs=3).weights[1].shape
        torch.Size([16, 16])
        >>> arch.phase(weight_variance="critical").regime
        'critical'
    """

    def kernel(
        self,
        kind: Literal["nngp", "ntk"] = "nngp",
        *,
        weight_variance: Variances = None,
        bias_variance: Value = None,
        center: Value = None,
        spread: Value = None,
        active_dims: Sequence[int] | None = None,
        fixed: Sequence[str] = (),
    ) -> InfiniteNetwork:
        """Return the kernel of the network with infinitely wide layers; see `InfiniteNetwork`.

        Args:
            kind: ``"nngp"``, the covariance of random networks, or ``"ntk"``, the tangent kernel.
            weight_variance: as there; or ``"critical"``, see `critical_weight_variances`.
            bias_variance: as there.
            center: as there.
            spread: as there.
            active_dims: as there.
            fixed: as there.
        """
        return InfiniteNetwork(
            self,
            kind,
            weight_variance=self._weights(weight_variance, bias_variance),
            bias_variance=bias_variance,
            center=center,
            spread=spread,
            active_dims=active_dims,
            fixed=fixed,
        )

    def finite(
        self,
        width: int | Sequence[int],
        *,
        inputs: int | None = None,
        outputs: int = 1,
        parameterization: str = "ntk",
        seed: int = 0,
        weight_variance: Variances = None,
        bias_variance: Value = None,
    ) -> FiniteNetwork:
        """Return a network with so many units in each layer, with random weights; see `FiniteNetwork`.

        Args:
            width: units, or channels, of each hidden layer; a number, or one for each.
            inputs: columns; known where the first layer is ``Unflatten``.
            outputs: numbers that it returns for each row.
            parameterization: ``"ntk"``, ``"standard"`` or ``"mup"``.
            seed: of the weights.
            weight_variance: as for `kernel`.
            bias_variance: as for `kernel`.

        Raises:
            InputError: no number of columns, or what `FiniteNetwork` refuses.
        """
        columns = self._columns() if inputs is None else inputs
        if columns is None:
            raise InputError("inputs must be given: how many columns do the rows have?")
        kernel = self.kernel(
            weight_variance=weight_variance, bias_variance=bias_variance, center=0.0, spread=1.0
        )
        return FiniteNetwork(
            kernel, columns, width, outputs=outputs, parameterization=parameterization, seed=seed
        )

    def phase(self, weight_variance: Variances = None, bias_variance: Value = None) -> Phase:
        """Return how signals travel where the hidden layers are repeated many times; see `Phase`.

        Args:
            weight_variance: as for `kernel`.
            bias_variance: as for `kernel`.

        Raises:
            InputError: layers besides dense ones, convolutions, activations and means over places, after
                which variances have no fixed point of this kind; or no activation.
        """
        return phase_of_cycle(self._cycle(weight_variance, bias_variance))

    def critical_weight_variances(self, bias_variance: Value = None) -> list[float]:
        r"""Return variances of weights for which :math:`\chi = 1`: the usual ones times a factor.

        Args:
            bias_variance: as for `kernel`.

        Raises:
            InputError: as `phase` does, and an activation without such a variance.
        """
        cycle = self._cycle(None, bias_variance)
        factor, usual = critical_factor(cycle), self.kernel(bias_variance=bias_variance).variances()
        behind, follows = [], False  # which layers with weights follow an activation
        for layer in self.layers:
            if layer.is_weighted:
                behind.append(follows)
            follows = isinstance(layer, Apply) or (follows and not layer.is_weighted)
        return [
            (factor if activated else 1.0) * weight.item()
            for activated, (weight, _) in zip(behind, usual, strict=True)
        ]

    def _columns(self) -> int | None:
        image = image_of(self)
        return None if image is None else math.prod(image)

    def _weights(self, weight_variance: Variances, bias_variance: Value) -> Value:
        if not isinstance(weight_variance, str):
            return weight_variance
        if weight_variance != "critical":
            raise InputError(f"weight_variance must be numbers, None or 'critical', got {weight_variance!r}")
        return self.critical_weight_variances(bias_variance)

    def _cycle(
        self, weight_variance: Variances, bias_variance: Value
    ) -> list[tuple[Activation, float, float]]:
        """Return the activations, and the variances of weights and biases behind each."""
        kernel = self.kernel(weight_variance=weight_variance, bias_variance=bias_variance)
        pairs, found, last = iter(kernel.variances()), [], None
        for layer in self.layers:
            if layer.is_weighted:
                weight, bias = next(pairs)
                if last is not None:
                    found.append((last, weight.item(), bias.item() * layer.bias))
                last = None
            elif isinstance(layer, Apply):
                last = layer.activation
            elif not isinstance(layer, PLAIN):
                raise InputError(f"a network with {layer!r} has no phase of this kind: leave that layer out")
        if not found:
            raise InputError(f"{self!r} has no activation, and so no phase")
        return found


def MLP(depth: int, activation: str | Activation = "relu") -> Sequential:
    """Return a network of ``depth`` hidden layers, each with an activation, between dense layers.

    Args:
        depth: from 1 to 100.
        activation: a name such as ``"relu"``, or an activation.

    Raises:
        InputError: an unknown name, or another depth.

    Examples:
        >>> MLP(1, "erf")
        Sequential(Dense(), Apply(erf), Dense())
    """
    return Sequential(*layers.mlp(activation, depth).layers)
