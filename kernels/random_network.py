r"""Features of a network with random weights, whose products tend to the covariance of its infinite width.

With the numbers :math:`h(x)` of the last hidden layer, of ``m`` units,

.. math:: K(x, x') \approx \phi(x)^\top \phi(x'), \quad \phi(x) = [\sqrt{w / m}\, h(x), \sqrt b].

With one hidden layer of rectifiers these are the arc-cosine features. The error falls as :math:`m^{-1/2}`.

Source: Cho and Saul (2009), Kernel methods for deep learning, NeurIPS; Rahimi and Recht (2008), Weighted sums
of random kitchen sinks, NeurIPS.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import repeat

import torch
from torch import Tensor

from nonparam.errors import InputError
from nonparam.kernels.infinite import InfiniteNetwork
from nonparam.kernels.layers import Dense, Sequential, Widths
from nonparam.kernels.signals import Shape

__all__ = ["NetworkFeatures", "network_features"]


@dataclass(frozen=True)
class NetworkFeatures:
    """The numbers of a random network's last hidden layer.

    Attributes:
        kernel: whose columns, centre and spread the rows are given by.
        layers: but the last one.
        weights: weights and biases of these, scaled.
        last: the standard deviations of the last layer's weights, over the root of their number, and biases.
        count: features.
    """

    kernel: InfiniteNetwork
    layers: Sequential
    weights: Sequence[tuple[Tensor, Tensor]]
    last: tuple[float, float]
    count: int

    def __call__(self, x: Tensor) -> Tensor:
        """Return the features of the active columns of rows, ``(n, d)``: ``(n, count)``."""
        weights = ((weight, bias, 1.0, 1.0) for weight, bias in self.weights)
        hidden = self.layers.run(self.kernel.scaled(x), weights)
        weight, bias = self.last
        return torch.cat([weight * hidden, torch.full_like(hidden[:, :1], bias)], -1)


@torch.no_grad()
def network_features(kernel: InfiniteNetwork, like: Tensor, num: int, seed: int) -> NetworkFeatures:
    """Draw the weights of a network with layers of ``num`` units.

    Args:
        kernel: of kind ``"nngp"``.
        like: ``(n, d)``, active columns in the precision that the features are to have, on their device.
        num: units of each hidden layer.
        seed: of the weights.

    Raises:
        InputError: the tangent kernel, or an architecture that does not end with a dense layer.

    Examples:
        >>> kernel = InfiniteNetwork("relu-1", center=0.0, spread=1.0)
        >>> x = torch.tensor([[1.0], [-1.0]], dtype=torch.float64)
        >>> phi = network_features(kernel, x, 100_000, seed=0)(x)
        >>> (phi @ phi.mT - kernel.matrix(x)).abs().max().item() < 0.02
        True
    """
    *hidden, final = kernel.layers.layers
    if kernel.kind != "nngp" or not isinstance(final, Dense):
        raise InputError(
            "only networks of kind='nngp' that end with Dense() have random features: draws at given rows, "
            "as sample_y makes them, take any kernel"
        )
    layers, widths = Sequential(*hidden), Widths(repeat(num))
    after = layers.shape(Shape(like.shape[1]), widths)
    generator = torch.Generator().manual_seed(seed)
    *inner, (weight, bias) = kernel.variances()
    drawn = list(_weights(widths, inner, generator))
    return NetworkFeatures(
        kernel,
        layers,
        [(w.to(like), b.to(like)) for w, b in drawn],
        (math.sqrt(weight.item() / after.units), math.sqrt(bias.item()) * final.bias),
        after.units + 1,
    )


def _weights(
    widths: Widths, variances: Sequence[tuple[Tensor, Tensor]], generator: torch.Generator
) -> Iterator[tuple[Tensor, Tensor]]:
    for (before, units, has_bias), (weight, bias) in zip(widths.fans, variances, strict=True):
        draw = torch.randn(before + 1, units, dtype=torch.float64, generator=generator)
        yield draw[:-1] * math.sqrt(weight.item() / before), draw[-1] * math.sqrt(bias.item()) * has_bias
