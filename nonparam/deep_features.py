r"""Columns of a table, moved by a network."""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

__all__ = ["ResidualFeatures"]


class ResidualFeatures(torch.nn.Module):
    r"""Standardised columns, and what a network adds to them.

    .. math:: z(x) = \tilde x + s \circ A \tanh g_w(\tilde x), \quad \tilde x = \frac{x - \bar x}{s_x}

    With :math:`A = 0`, where training starts, a kernel of the features is that kernel of the columns. What is
    added is bounded: far from the data rows are as far apart as their columns are, whatever the network does.

    Args:
        x: ``(n, d)``, the rows that centre and scale are taken from.
        hidden: the widths of the layers, the last one the number of learnt features.
        lengths: ``s``, ``(d,)``, in standardised columns: how far a row must move to matter.
        generator: of the weights.

    Source: He, Zhang, Ren and Sun (2016), Deep residual learning for image recognition, CVPR, equation 1.

    Examples:
        >>> x = torch.tensor([[1.0, 10.0], [3.0, 20.0]], dtype=torch.float64)
        >>> ResidualFeatures(x, (8, 1), x.new_ones(2), torch.Generator().manual_seed(0))(x).detach()
        tensor([[-1., -1.],
                [ 1.,  1.]], dtype=torch.float64)
    """

    centre: Tensor
    spread: Tensor
    lengths: Tensor

    def __init__(self, x: Tensor, hidden: Sequence[int], lengths: Tensor, generator: torch.Generator) -> None:
        super().__init__()
        spread = x.std(0, correction=0)
        varies = spread > 1e-12 * x.abs().amax(0)
        self.register_buffer("centre", x.mean(0))
        self.register_buffer("spread", torch.where(varies, spread, 1.0))
        self.register_buffer("lengths", lengths)
        self.hidden = [int(width) for width in hidden]
        self.network = network([x.shape[1], *hidden], generator).to(x)
        self.added = torch.nn.Parameter(x.new_zeros(x.shape[1], hidden[-1]))

    def forward(self, x: Tensor) -> Tensor:
        """Return the features of rows ``(n, d)``: ``(n, d)``."""
        columns = (x - self.centre) / self.spread
        learnt = self.network(columns).tanh()
        moved: Tensor = columns + self.lengths * (learnt @ self.added.mT)
        return moved


def network(sizes: Sequence[int], generator: torch.Generator) -> torch.nn.Sequential:
    """Return a perceptron with smooth units, its weights drawn so small that it starts nearly linear.

    Source: LeCun, Bottou, Orr and Mueller (1998), Efficient backprop, section 4.6.

    Examples:
        >>> network([2, 8, 1], torch.Generator().manual_seed(0))(torch.zeros(3, 2)).shape
        torch.Size([3, 1])
    """
    layers: list[torch.nn.Module] = []
    for wide, narrow in pairwise(sizes):
        layer = torch.nn.utils.skip_init(torch.nn.Linear, wide, narrow)
        torch.nn.init.normal_(layer.weight, 0.0, math.sqrt(1.0 / wide), generator=generator)
        torch.nn.init.zeros_(layer.bias)
        layers += [layer, torch.nn.SiLU()]
    return torch.nn.Sequential(*layers[:-1])
