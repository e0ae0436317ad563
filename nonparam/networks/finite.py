r"""Networks of finite width, whose functions tend to those of `nonparam.kernels.infinite` as they grow wider.

A dense layer with ``n`` inputs computes, with weights and biases that are standard normal at the start,

.. math:: z = a\, (s W) x + \sqrt b\, \beta.

* ``"ntk"``: :math:`a = \sqrt{w / n}` and :math:`s = 1`. Trained by gradient descent, wide networks follow the
  tangent kernel.
* ``"standard"``: :math:`a = 1` and :math:`s = \sqrt{w / n}` is part of the weights, as in most code. At the
  start the functions are those of ``"ntk"``.
* ``"mup"``: as ``"standard"``, but in the first layer :math:`a = \sqrt m` and :math:`s = \sqrt{w / (n m)}`,
  and in the last one :math:`a = 1 / \sqrt m`, with the width :math:`m`. Networks learn features at any width;
  at the start their functions vanish as they grow wider.

Sources: Jacot, Gabriel and Hongler (2018), Neural tangent kernel, NeurIPS; Yang and Hu (2021), Tensor
programs IV: feature learning in infinite-width neural networks, ICML, table 1.
"""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from nonparam.errors import InputError
from nonparam.kernels.infinite import InfiniteNetwork
from nonparam.kernels.layers import Apply, Dense, Layer, LayerNorm, Residual, Sequential

__all__ = ["PARAMETERIZATIONS", "FiniteNetwork"]

PARAMETERIZATIONS = ("ntk", "standard", "mup")


class FiniteNetwork(torch.nn.Module):
    r"""A network with so many units in each layer, with random weights.

    Its rows are scaled by the kernel's ``center`` and ``spread``, if these are known, and no more: a kernel
    that was fitted brings them along.

    Args:
        kernel: its architecture, and its variances of weights and biases.
        inputs: the number of columns.
        width: units of each hidden layer.
        outputs: numbers that it returns for each row.
        parameterization: ``"ntk"``, ``"standard"`` or ``"mup"``; see above.
        seed: of the weights.

    Raises:
        InputError: numbers that are no positive whole ones, or another parameterization.

    Source: as above.

    Examples:
        >>> kernel = InfiniteNetwork("relu-2", center=0.0, spread=1.0)
        >>> network = FiniteNetwork(kernel, inputs=3, width=64)
        >>> network(torch.ones(5, 3, dtype=torch.float64)).shape
        torch.Size([5, 1])
        >>> sum(parameter.numel() for parameter in network.parameters())
        4481
    """

    def __init__(
        self,
        kernel: InfiniteNetwork,
        inputs: int,
        width: int,
        *,
        outputs: int = 1,
        parameterization: str = "ntk",
        seed: int = 0,
    ) -> None:
        super().__init__()
        for name, value in {"inputs": inputs, "width": width, "outputs": outputs}.items():
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise InputError(f"{name} must be a whole number from 1, got {value!r}")
        if parameterization not in PARAMETERIZATIONS:
            raise InputError(
                f"parameterization must be one of {list(PARAMETERIZATIONS)}, got {parameterization!r}"
            )
        self.architecture = kernel.layers
        for name, usual in (("center", 0.0), ("spread", 1.0)):
            scale = kernel.value(name)
            known = usual if scale is None else scale
            self.register_buffer(name, torch.tensor(known, dtype=torch.float64))
        generator = torch.Generator().manual_seed(seed)
        sizes = list(_sizes(self.architecture, inputs, width, outputs))
        variances = [(w.item(), b.item()) for w, b in kernel.variances()]
        self.weights, self.biases = torch.nn.ParameterList(), torch.nn.ParameterList()
        self.factors: list[tuple[float, float]] = []
        for i, ((before, after), (w, b)) in enumerate(zip(sizes, variances, strict=True)):
            ends = (i == 0, i == len(sizes) - 1) if len(sizes) > 1 else (False, False)
            factor, spread = _scaling(parameterization, w, before, width, ends)
            draw = torch.randn(before + 1, after, dtype=torch.float64, generator=generator)
            own = math.sqrt(b) if parameterization == "ntk" else 1.0
            self.weights.append(torch.nn.Parameter(spread * draw[:-1]))
            self.biases.append(torch.nn.Parameter(draw[-1] * (math.sqrt(b) / own)))
            self.factors.append((factor, own))

    def forward(self, x: Tensor) -> Tensor:
        """Return the outputs of rows ``(n, inputs)``: ``(n, outputs)``."""
        center, spread = self.get_buffer("center"), self.get_buffer("spread")
        parameters = iter(zip(self.weights, self.biases, self.factors, strict=True))
        return _run(self.architecture, (x - center) / spread, parameters)


def _scaling(
    parameterization: str, w: float, before: int, width: int, ends: tuple[bool, bool]
) -> tuple[float, float]:
    """Return the factor of a layer, which may be the first or the last, and the spread of its weights."""
    size = math.sqrt(w / before)
    if parameterization == "ntk":
        return size, 1.0
    if parameterization == "standard":
        return 1.0, size
    is_first, is_last = ends
    if is_first:
        return math.sqrt(width), size / math.sqrt(width)
    return (1.0 / math.sqrt(width) if is_last else 1.0), size


def _sizes(layer: Layer, before: int, width: int, after: int) -> Iterator[tuple[int, int]]:
    """Yield inputs and outputs of each dense layer within one, of which the last one has ``after``."""
    if isinstance(layer, Dense):
        yield before, after
    elif isinstance(layer, Residual):
        yield from _sizes(layer.branch, before, width, before)
    elif isinstance(layer, Sequential):
        last = max((i for i, each in enumerate(layer.layers) if each.dense), default=-1)
        for i, each in enumerate(layer.layers):
            yield from _sizes(each, before, width, after if i == last else width)
            if each.dense and not isinstance(each, Residual):
                before = after if i == last else width


def _run(layer: Layer, x: Tensor, parameters: Iterator[tuple[Tensor, Tensor, tuple[float, float]]]) -> Tensor:
    if isinstance(layer, Sequential):
        for each in layer.layers:
            x = _run(each, x, parameters)
        return x
    if isinstance(layer, Residual):
        return x + _run(layer.branch, x, parameters)
    if isinstance(layer, Apply):
        return layer.activation.function(x)
    if isinstance(layer, LayerNorm):
        return x / x.square().mean(-1, keepdim=True).sqrt()
    weight, bias, (factor, own) = next(parameters)
    found: Tensor = factor * (x @ weight) + own * bias
    return found
