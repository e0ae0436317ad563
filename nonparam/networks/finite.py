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
from collections.abc import Sequence
from itertools import repeat

import numpy as np
import torch
from torch import Tensor

from nonparam.errors import InputError
from nonparam.kernels.infinite import InfiniteNetwork
from nonparam.kernels.layers import Widths
from nonparam.kernels.propagation import image_of
from nonparam.kernels.signals import Shape
from nonparam.validation import check_count

__all__ = ["PARAMETERIZATIONS", "FiniteNetwork"]

PARAMETERIZATIONS = ("ntk", "standard", "mup")


class FiniteNetwork(torch.nn.Module):
    r"""A network with so many units in each layer, with random weights.

    Its rows are scaled by the kernel's ``center`` and ``spread``, if these are known, and no more: a kernel
    that was fitted brings them along.

    Args:
        kernel: its architecture, and its variances of weights and biases.
        inputs: the number of columns.
        width: units, or channels, of each hidden layer: a number, or one for each layer with weights but the
            last one and those that end the branch of a `Residual`, which have as many as come in.
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
        width: int | Sequence[int],
        *,
        outputs: int = 1,
        parameterization: str = "ntk",
        seed: int = 0,
    ) -> None:
        super().__init__()
        for name, value in {"inputs": inputs, "outputs": outputs}.items():
            check_count(value, name, least=1)
        check_count(seed, "seed")
        if parameterization not in PARAMETERIZATIONS:
            raise InputError(
                f"parameterization must be one of {list(PARAMETERIZATIONS)}, got {parameterization!r}"
            )
        if kernel.active_dims is not None:
            raise InputError(
                "a network takes all columns, got a kernel with active_dims: leave that out, and give it the "
                "columns that count"
            )
        kernel.check_columns(inputs)
        self.architecture = kernel.layers
        for name, usual in (("center", 0.0), ("spread", 1.0)):
            scale = kernel.value(name)
            known = torch.tensor(usual if scale is None else scale, dtype=torch.float64)
            self.register_buffer(name, known if image_of(kernel.layers) is None else known.mean())
        fans = _fans(kernel, inputs, width, outputs)
        generator = torch.Generator().manual_seed(int(seed))
        self.weights, self.biases = torch.nn.ParameterList(), torch.nn.ParameterList()
        self.factors: list[tuple[float, float]] = []
        for i, ((before, after, has_bias), (w, b)) in enumerate(zip(fans, kernel.variances(), strict=True)):
            units = fans[0][1] if i == 0 else before
            ends = (i == 0, i == len(fans) - 1) if len(fans) > 1 else (False, False)
            factor, spread = _scaling(parameterization, w.item(), before, units, ends)
            draw = torch.randn(before + 1, after, dtype=torch.float64, generator=generator)
            own = math.sqrt(b.item()) if parameterization == "ntk" else 1.0
            self.weights.append(torch.nn.Parameter(spread * draw[:-1]))
            bias = draw[-1] * (math.sqrt(b.item()) / own * has_bias)
            self.biases.append(torch.nn.Parameter(bias, requires_grad=has_bias))
            self.factors.append((factor, own))

    def forward(self, x: Tensor) -> Tensor:
        """Return the outputs of rows ``(n, inputs)``: ``(n, outputs)``."""
        center, spread = self.get_buffer("center"), self.get_buffer("spread")
        parameters = zip(self.weights, self.biases, self.factors, strict=True)
        weights = ((weight, bias, *factors) for weight, bias, factors in parameters)
        return self.architecture.run((x - center) / spread, weights)


def _scaling(
    parameterization: str, w: float, before: int, units: int, ends: tuple[bool, bool]
) -> tuple[float, float]:
    """Return the factor of a layer, which may be the first or the last, and the spread of its weights."""
    size = math.sqrt(w / before)
    if parameterization == "ntk":
        return size, 1.0
    if parameterization == "standard":
        return 1.0, size
    is_first, is_last = ends
    if is_first:
        return math.sqrt(units), size / math.sqrt(units)
    return (1.0 / math.sqrt(units) if is_last else 1.0), size


def _fans(
    kernel: InfiniteNetwork, inputs: int, width: int | Sequence[int], outputs: int
) -> list[tuple[int, int, bool]]:
    """Return inputs and units of each layer with weights, and whether it has biases."""
    several = isinstance(width, Sequence | np.ndarray) and not isinstance(width, str)
    for value in width if several else (width,):  # type: ignore[union-attr]  # a sequence there
        check_count(value, "width", least=1)
    widths = Widths(iter(width) if several else repeat(width))  # type: ignore[arg-type]  # of whole numbers
    hidden = kernel.layers.dense - 1
    try:
        kernel.layers.shape(Shape(inputs), widths, outputs)
        left = several and next(widths.hidden, None) is not None
    except StopIteration:
        left = True
    if left:
        raise InputError(
            f"width must be a number, or one for each of the {hidden} hidden layers of the architecture but "
            f"those that end the branch of a Residual, got {width!r}"
        )
    return widths.fans
