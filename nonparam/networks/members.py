"""Several networks of one architecture, side by side in every operation."""

from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor
from torch.func import functional_call, stack_module_state, vmap

__all__ = ["Members"]

CHUNK = 2**24  # numbers in a layer at once, of all members, where nothing is differentiated


class Members(torch.nn.Module):
    """Networks whose parameters are stacked: one batched product serves all of them.

    Args:
        networks: of one architecture, one device and one precision.

    Attributes:
        names: of the parameters, as in each network.
        stacked: the parameters, each with the members first.

    Examples:
        >>> pair = Members([torch.nn.Linear(3, 1), torch.nn.Linear(3, 1)])
        >>> pair(torch.ones(5, 3)).shape, pair.flat().shape
        (torch.Size([2, 5, 1]), torch.Size([2, 4]))
    """

    def __init__(self, networks: Sequence[torch.nn.Module]) -> None:
        super().__init__()
        values, _ = stack_module_state(list(networks))
        self.names = tuple(values)
        self.stacked = torch.nn.ParameterList(values.values())
        self._form = [networks[0]]  # in a list: its own weights are no parameters of this module

    @property
    def count(self) -> int:
        """How many networks there are."""
        return len(self.stacked[0])

    @property
    def size(self) -> int:
        """How many parameters each of them has."""
        return sum(value[0].numel() for value in self.stacked)

    def forward(self, x: Tensor) -> Tensor:
        """Return the outputs ``(m, n, t)`` of rows ``(n, d)``, or of rows for each member, ``(m, n, d)``."""
        return self._run(list(self.stacked), x)

    def at(self, flat: Tensor, x: Tensor) -> Tensor:
        """Return the outputs ``(m, n, t)`` of rows ``(n, d)`` with other weights ``(m, p)``."""
        return self._run(self._split(flat), x)

    def one(self, flat: Tensor, x: Tensor) -> Tensor:
        """Return the outputs ``(n, t)`` of a network with weights ``(p,)``."""
        values = (value[0] for value in self._split(flat[None]))
        found: Tensor = functional_call(self._form[0], dict(zip(self.names, values, strict=True)), (x,))
        return found

    def flat(self) -> Tensor:
        """Return the weights, ``(m, p)``: a copy."""
        return torch.cat([value.detach().reshape(self.count, -1) for value in self.stacked], 1)

    @torch.no_grad()
    def assign(self, flat: Tensor) -> Self:
        """Take over weights ``(m, p)``."""
        for value, other in zip(self.stacked, self._split(flat), strict=True):
            value.copy_(other)
        return self

    @torch.no_grad()
    def outputs(self, x: Tensor, flat: Tensor | None = None) -> Tensor:
        """Return the outputs of rows ``(n, d)`` in float64, a few thousand rows at a time: ``(m, n, t)``.

        Args:
            x: ``(n, d)``.
            flat: other weights, ``(m, p)``.
        """
        values = list(self.stacked) if flat is None else self._split(flat)
        widest = max(max(value.shape[1:]) for value in values) * self.count
        rows = x.to(values[0]).split(max(CHUNK // widest, 1))
        return torch.cat([self._run(values, part).double() for part in rows], 1)

    def _run(self, values: list[Tensor], x: Tensor) -> Tensor:
        def run(values: dict[str, Tensor], x: Tensor) -> Tensor:
            found: Tensor = functional_call(self._form[0], values, (x,))
            return found

        named = dict(zip(self.names, values, strict=True))
        found: Tensor = vmap(run, in_dims=(0, 0 if x.ndim == 3 else None))(named, x)
        return found

    def _split(self, flat: Tensor) -> list[Tensor]:
        sizes = [value[0].numel() for value in self.stacked]
        parts = flat.to(self.stacked[0]).split(sizes, 1)
        return [part.reshape(-1, *value.shape[1:]) for part, value in zip(parts, self.stacked, strict=True)]
