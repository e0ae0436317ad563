"""Mean functions: a few basis functions whose weights are fitted with the covariance."""

from dataclasses import dataclass

import numpy as np
import torch
from scipy.linalg import qr
from torch import Tensor

from nonparam.errors import InputError
from nonparam.scales import Scales

__all__ = ["MEANS", "Mean"]

MEANS = ("zero", "constant", "linear")
DEPENDENT = 1e-6  # of a column's spread: less than this that the other columns do not explain is rounding


@dataclass(frozen=True)
class Mean:
    r"""A mean function :math:`h(x)^\top \beta`.

    Attributes:
        name: ``"zero"``, ``"constant"``, or ``"linear"`` (a constant and every column that varies and is
            no linear combination of others).
        centre: ``(d,)``, subtracted from the columns.
        spread: ``(d,)``, by which the columns are divided; 0 for a column that is left out.

    Examples:
        >>> zero, one = torch.zeros(1, dtype=torch.float64), torch.ones(1, dtype=torch.float64)
        >>> [Mean(name, zero, one).basis(one[:, None]).shape[1] for name in MEANS]  # weights to be fitted
        [0, 1, 2]
    """

    name: str
    centre: Tensor
    spread: Tensor

    @classmethod
    def from_scales(cls, name: str, scales: Scales) -> "Mean":
        """Build a mean for data of these scales; raise `InputError` for an unknown name."""
        if name not in MEANS:
            raise InputError(f"mean must be one of {MEANS}, got {name!r}")
        varies = scales.x_high > scales.x_low
        spread = torch.from_numpy(scales.x_sd * varies)
        return cls(name, torch.from_numpy(scales.x_mean), spread)

    def to(self, device: torch.device) -> "Mean":
        """Return the mean with its numbers on a device."""
        return Mean(self.name, self.centre.to(device), self.spread.to(device))

    def identified(self, x: Tensor) -> "Mean":
        """Return the mean without the columns whose weights the rows ``x (n, d)`` leave undetermined.

        A column that repeats others adds no function; with fewer rows than columns some must go as well.

        Source: Golub and Van Loan (2013), Matrix computations, section 5.4.2.

        Examples:
            >>> x = torch.tensor([[1.0, 2.0], [2.0, 4.0], [3.0, 6.0]], dtype=torch.float64)
            >>> Mean("linear", x.mean(0), torch.ones(2, dtype=torch.float64)).identified(x).spread
            tensor([0., 1.], dtype=torch.float64)
        """
        kept = torch.nonzero(self.spread > 0)[:, 0]
        if self.name != "linear" or not len(kept):
            return self
        columns = (x[:, kept] - x[:, kept].mean(0)) / self.spread[kept]
        triangle, order = qr(columns.cpu().numpy(), mode="r", pivoting=True)
        diagonal = np.zeros(len(kept))
        diagonal[: min(triangle.shape)] = np.abs(np.diagonal(triangle))
        dropped = kept[order[diagonal <= DEPENDENT * diagonal[0]]]
        return Mean(self.name, self.centre, self.spread.index_fill(0, dropped, 0.0))

    def basis(self, x: Tensor) -> Tensor:
        """Return the basis functions at ``x (n, d)``: ``(n, q)``.

        Examples:
            >>> one = torch.ones(1, dtype=torch.float64)
            >>> Mean("linear", 0 * one, 2 * one).basis(torch.tensor([[4.0], [6.0]], dtype=torch.float64))
            tensor([[1., 2.],
                    [1., 3.]], dtype=torch.float64)
        """
        constant = x.new_ones(len(x), 1)
        if self.name == "zero":
            return constant[:, :0]
        if self.name == "constant":
            return constant
        kept = self.spread > 0
        return torch.cat([constant, (x - self.centre)[:, kept] / self.spread[kept]], -1)
