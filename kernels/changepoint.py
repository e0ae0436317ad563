"""A change of regime at a learnt place."""

import operator
from collections.abc import Sequence
from typing import Any, ClassVar

import gpytorch
import torch
from torch import Tensor

from nonparam.errors import InputError
from nonparam.kernels.base import Hyperparameter, Kernel, Value, formula, show
from nonparam.kernels.evaluate import covariance, variance

__all__ = ["ChangePoint"]


class ChangePoint(Kernel):
    r"""One function before a place, another one after it.

    .. math::

        k(x, x') = (1 - s(x))\, k_1(x, x')\, (1 - s(x')) + s(x)\, k_2(x, x')\, s(x'),
        \quad s(x) = \frac{1}{1 + \exp(-(x_c - \tau) / w)}

    Source: Lloyd et al. (2014), Automatic construction and natural-language description of nonparametric
    regression models, section 2.

    Args:
        before: the kernel ``k1`` of the function that fades out.
        after: the kernel ``k2`` of the function that fades in.
        location: where the change is, in the units of ``X``; ``None`` to start in the middle.
        width: how gradual it is, in the units of ``X``; ``None`` to start from the data.
        column: the column ``c`` of ``X`` along which it happens.
        fixed: names of hyperparameters that are not learnt.

    Raises:
        InputError: regimes that are no kernels, or a width that is not positive.

    Examples:
        >>> from nonparam.kernels import RBF, Linear
        >>> ChangePoint(RBF(1.0), Linear(2.0, center=0.0), location=3.0, width=0.1)
        changepoint(rbf(lengthscale=1), linear(variance=2, center=0), location=3, width=0.1)
    """

    keyword = "changepoint"
    options: ClassVar[dict[str, Any]] = {"column": 0}
    location = Hyperparameter("X", positive=False)
    width = Hyperparameter("X")

    def __init__(
        self,
        before: gpytorch.kernels.Kernel,
        after: gpytorch.kernels.Kernel,
        location: Value = None,
        width: Value = None,
        *,
        column: int = 0,
        fixed: Sequence[str] = (),
    ) -> None:
        super().__init__({"location": location, "width": width}, None, fixed)
        for regime in (before, after):
            if not isinstance(regime, gpytorch.kernels.Kernel):
                raise InputError(f"ChangePoint takes two kernels, got {regime!r}")
        self.before = before
        self.after = after
        self.column = column

    @property
    def column(self) -> int:
        """The column along which the change happens."""
        return self._column

    @column.setter
    def column(self, value: int) -> None:
        try:
            column = -1 if isinstance(value, bool) else operator.index(value)
        except TypeError:
            column = -1
        if column < 0:
            raise InputError(f"ChangePoint: column must be a column number from 0, got {value!r}")
        self._column = column

    def check_columns(self, columns: int) -> None:
        """Raise `InputError` unless ``columns`` of ``X`` include the one along which the change happens."""
        super().check_columns(columns)
        if self.column >= columns:
            raise InputError(
                f"ChangePoint: column is {self.column}, but X has only {columns} columns to look at"
            )

    def own_columns(self, columns: int) -> Sequence[int]:
        """Return the column along which the change happens."""
        return (self.column,)

    def components(self) -> dict[str, gpytorch.kernels.Kernel]:
        """Return the kernels of both regimes."""
        return {"before": self.before, "after": self.after}

    @property
    def has_amplitude(self) -> bool:
        """Whether both regimes have a variance of their own."""
        return all(isinstance(k, Kernel) and k.has_amplitude for k in self.components().values())

    def _weight(self, x: Tensor) -> Tensor:
        step = (x[..., self.column] - self.location[..., None]) / self.width[..., None]
        return torch.sigmoid(step)

    def matrix(self, x1: Tensor, x2: Tensor | None = None) -> Tensor:
        """Return the faded sum of both matrices."""
        left = self._weight(x1)[..., :, None]
        right = (left if x2 is None else self._weight(x2)[..., :, None]).mT
        before, after = covariance(self.before, x1, x2), covariance(self.after, x1, x2)
        return (1.0 - left) * before * (1.0 - right) + left * after * right

    def diagonal(self, x: Tensor) -> Tensor:
        """Return the faded sum of both variances."""
        weight = self._weight(x)
        before, after = variance(self.before, x), variance(self.after, x)
        return (1.0 - weight).square() * before + weight.square() * after

    def __repr__(self) -> str:
        """Return the formula."""
        arguments = [formula(self.before), formula(self.after)]
        arguments += [f"{name}={show(value)}" for name, value in self.arguments()]
        return f"{self.keyword}({', '.join(arguments)})"
