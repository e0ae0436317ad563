"""Several outputs at the same rows, some entries missing: what is observed, in the order of the solvers."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nonparam.means import Mean

__all__ = ["Panel"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Panel:
    """Outputs ``(n, t)`` with missing entries. The observed ones are a vector of ``N``, output after output.

    Attributes:
        x: ``(n, d)``, rows of which each has an observed entry.
        table: ``(n, t)``, outputs about 0 and of size 1; NaN where missing.
        mean: the mean function, before what the rows of an output leave undetermined is taken out.

    Examples:
        >>> x = torch.zeros(2, 1, dtype=torch.float64)
        >>> panel = Panel(x, torch.tensor([[1.0, 2.0], [3.0, float("nan")]]), Mean("zero", x[0], x[0]))
        >>> panel.y.T, panel.row, panel.output, panel.is_complete
        (tensor([[1., 3., 2.]]), tensor([0, 1, 0]), tensor([0, 0, 1]), False)
    """

    x: Tensor
    table: Tensor
    mean: Mean

    @property
    def n(self) -> int:
        """The number of rows."""
        return len(self.table)

    @property
    def t(self) -> int:
        """The number of outputs."""
        return self.table.shape[1]

    @property
    def count(self) -> int:
        """``N``, the number of observed entries."""
        return len(self.place)

    @property
    def is_complete(self) -> bool:
        """Whether no entry is missing."""
        return self.count == self.table.numel()

    @cached_property
    def place(self) -> Tensor:
        """``(N,)``: where the observed entries are among all ``t n``."""
        return torch.nonzero(torch.isfinite(self.table.mT).reshape(-1))[:, 0]

    @cached_property
    def row(self) -> Tensor:
        """``(N,)``: their rows."""
        return self.place % self.n

    @cached_property
    def output(self) -> Tensor:
        """``(N,)``: their outputs."""
        return torch.div(self.place, self.n, rounding_mode="floor")

    @cached_property
    def parts(self) -> list[slice]:
        """The entries of each output."""
        counts = torch.bincount(self.output, minlength=self.t)
        ends = counts.cumsum(0).tolist()
        return [slice(end - int(count), end) for end, count in zip(ends, counts, strict=True)]

    @cached_property
    def y(self) -> Tensor:
        """``(N, 1)``: the observed entries."""
        return self.table.mT.reshape(-1, 1)[self.place]

    @cached_property
    def means(self) -> Sequence[Mean]:
        """The mean function of each output, with the columns that its rows determine."""
        rows = [self.x[self.row[part]] for part in self.parts]
        return [self.mean.identified(x) if len(x) else self.mean for x in rows]

    @cached_property
    def basis(self) -> Tensor:
        """``(N, Q)``: the basis functions of all outputs, each 0 outside of its own."""
        seen = [mean.basis(self.x[self.row[part]]) for mean, part in zip(self.means, self.parts, strict=True)]
        basis: Tensor = torch.block_diag(*(h if len(h) else h[:, :0] for h in seen))
        return basis

    def basis_at(self, x: Tensor) -> list[Tensor]:
        """Return the basis functions at new rows ``(m, d)``, ``(m, Q)`` for each output."""
        seen = [mean.basis(x) for mean in self.means]
        total, found, first = sum(h.shape[1] for h in seen), [], 0
        for h in seen:
            wide = h.new_zeros(len(x), total)
            wide[:, first : first + h.shape[1]] = h
            first += h.shape[1]
            found.append(wide)
        return found

    def scattered(self, v: Tensor) -> Tensor:
        """Return ``(t, n, k)`` with the numbers ``v (N, k)`` where entries are observed, and 0 elsewhere."""
        full = v.new_zeros(self.t * self.n, v.shape[1])
        full[self.place] = v
        return full.reshape(self.t, self.n, -1)

    def gathered(self, full: Tensor) -> Tensor:
        """Return ``(N, k)``, the numbers of ``full (t, n, k)`` where entries are observed."""
        return full.reshape(self.t * self.n, -1)[self.place]

    def rows(self, index: Tensor) -> "Panel":
        """Return some of the rows, by their numbers ``(m,)``."""
        return Panel(self.x[index], self.table[index], self.mean)
