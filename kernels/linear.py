"""Kernels of finite-dimensional function spaces: constants, lines, polynomials; and white noise."""

from collections.abc import Sequence
from numbers import Real
from typing import Any, ClassVar

import torch
from torch import Tensor

from nonparam.errors import InputError
from nonparam.kernels.base import Hyperparameter, Kernel, Value
from nonparam.kernels.flag import Flag

__all__ = ["Constant", "Linear", "Polynomial", "WhiteNoise"]

LARGEST_POWER = 100  # beyond it the values overflow a few lengthscales from the centre


class Constant(Kernel):
    r"""The kernel of constant functions.

    .. math:: k(x, x') = v

    Args:
        variance: of the constant, in units of ``y`` squared; ``None`` to start from the data.
        fixed: ``("variance",)`` holds it.

    Raises:
        InputError: a variance that is not positive.

    Examples:
        >>> Constant(2.0)
        constant(variance=2)
    """

    keyword = "constant"
    variance = Hyperparameter("y^2")

    def __init__(self, variance: Value = None, *, fixed: Sequence[str] = ()) -> None:
        super().__init__({"variance": variance}, None, fixed)

    @property
    def is_stationary(self) -> bool:
        """Whether it depends on the difference of its inputs only."""
        return True

    def matrix(self, x1: Tensor, x2: Tensor | None = None) -> Tensor:
        """Return the variance everywhere."""
        columns = (x1 if x2 is None else x2).shape[-2]
        matrix: Tensor = self.variance[..., None, None] * x1.new_ones(*x1.shape[:-1], columns)
        return matrix

    def diagonal(self, x: Tensor) -> Tensor:
        """Return the variance at every row."""
        diagonal: Tensor = self.variance[..., None] * x.new_ones(x.shape[:-1])
        return diagonal


class WhiteNoise(Kernel):
    r"""Independent noise at every observation.

    .. math:: k(x_i, x_j) = v \, \delta_{ij}

    Two different observations are independent even at the same ``x``. A regressor has its own ``noise``;
    this kernel is for noise inside a composition. A ``sample_weight`` does not divide it: a row has one such
    number however much it weighs, and the row given twice has two.

    Args:
        variance: in units of ``y`` squared; ``None`` to start from the data.
        fixed: ``("variance",)`` holds it.

    Raises:
        InputError: a variance that is not positive.

    Examples:
        >>> WhiteNoise(0.1)
        white(variance=0.1)
    """

    keyword = "white"
    variance = Hyperparameter("y^2")

    def __init__(self, variance: Value = None, *, fixed: Sequence[str] = ()) -> None:
        super().__init__({"variance": variance}, None, fixed)

    def matrix(self, x1: Tensor, x2: Tensor | None = None) -> Tensor:
        """Return a diagonal matrix, or zeros between different observations."""
        variance = self.variance[..., None, None]
        if x2 is not None:
            pattern = x1.new_zeros(*x1.shape[:-1], x2.shape[-2])
        else:
            pattern = torch.eye(x1.shape[-2], dtype=x1.dtype, device=x1.device).expand(*x1.shape[:-1], -1)
        matrix: Tensor = variance * pattern
        return matrix

    def diagonal(self, x: Tensor) -> Tensor:
        """Return the variance at every row."""
        diagonal: Tensor = self.variance[..., None] * x.new_ones(x.shape[:-1])
        return diagonal


class Linear(Kernel):
    r"""The kernel of linear functions that vanish at ``center``.

    .. math:: k(x, x') = \sum_j v_j (x_j - c_j)(x'_j - c_j)

    Source: Rasmussen and Williams (2006), section 4.2.2.

    Args:
        variance: of the slopes, in units of ``y`` squared over ``X`` squared; a number for all columns, a
            sequence for one each, ``None`` to start from the data.
        center: where the functions are 0; the mean of the data by default. It is not learnt.
        ard: whether ``None`` stands for one variance per column, or for a single one.
        active_dims: the columns it looks at; all by default.
        fixed: ``("variance",)`` holds it.

    Raises:
        InputError: a variance that is not positive.

    Examples:
        >>> Linear(0.5, center=0.0)
        linear(variance=0.5, center=0)
    """

    keyword = "linear"
    options: ClassVar[dict[str, Any]] = {"ard": True}
    ard = Flag()
    variance = Hyperparameter("y^2/X^2", per_column=True)
    center = Hyperparameter("X", per_column=True, positive=False, learnt=False)

    def __init__(
        self,
        variance: Value = None,
        *,
        center: Value = None,
        ard: bool = True,
        active_dims: Sequence[int] | None = None,
        fixed: Sequence[str] = (),
    ) -> None:
        super().__init__({"variance": variance, "center": center}, active_dims, fixed)
        self.ard = ard

    def matrix(self, x1: Tensor, x2: Tensor | None = None) -> Tensor:
        """Return the weighted inner products."""
        left = x1 - self.center
        right = left if x2 is None else x2 - self.center
        product: Tensor = (left * self.variance) @ right.mT
        return product

    def diagonal(self, x: Tensor) -> Tensor:
        """Return the weighted squared norms."""
        norms: Tensor = ((x - self.center).square() * self.variance).sum(-1)
        return norms


class Polynomial(Kernel):
    r"""The kernel of polynomials of a degree.

    .. math:: k(x, x') = \Big(c_0 + \sum_j (x_j - c_j)(x'_j - c_j) / \ell_j^2\Big)^p

    Source: Rasmussen and Williams (2006), section 4.2.2.

    Args:
        power: the degree ``p``, a positive integer.
        offset: ``c_0``, the weight of the lower degrees.
        lengthscale: in the units of ``X``; a number for all columns, a sequence for one each, ``None`` to
            start from the data.
        center: the origin; the mean of the data by default. It is not learnt.
        ard: whether ``None`` stands for one lengthscale per column, or for a single one.
        active_dims: the columns it looks at; all by default.
        fixed: names of hyperparameters that are not learnt.

    Raises:
        InputError: a power that is no positive integer, or a value that is not positive.

    Examples:
        >>> Polynomial(2, offset=1.0)
        polynomial(power=2, offset=1)
    """

    keyword = "polynomial"
    _power: int
    options: ClassVar[dict[str, Any]] = {"power": None, "ard": True}
    ard = Flag()
    offset = Hyperparameter("1")
    lengthscale = Hyperparameter("X", per_column=True)
    center = Hyperparameter("X", per_column=True, positive=False, learnt=False)

    def __init__(
        self,
        power: int = 2,
        *,
        offset: Value = None,
        lengthscale: Value = None,
        center: Value = None,
        ard: bool = True,
        active_dims: Sequence[int] | None = None,
        fixed: Sequence[str] = (),
    ) -> None:
        values = {"offset": offset, "lengthscale": lengthscale, "center": center}
        super().__init__(values, active_dims, fixed)
        self.power = power
        self.ard = ard

    @property
    def power(self) -> int:
        """The degree."""
        return self._power

    @power.setter
    def power(self, value: int) -> None:
        number = value if isinstance(value, Real) and not isinstance(value, bool) else 0
        if not 1 <= number <= LARGEST_POWER or number % 1:
            raise InputError(
                f"Polynomial: power must be a positive integer, at most {LARGEST_POWER}; got {value!r}"
            )
        self._power = int(value)

    def matrix(self, x1: Tensor, x2: Tensor | None = None) -> Tensor:
        """Return the powers of the shifted inner products."""
        left = (x1 - self.center) / self.lengthscale
        right = left if x2 is None else (x2 - self.center) / self.lengthscale
        powers: Tensor = (left @ right.mT + self.offset[..., None, None]) ** self.power
        return powers

    def diagonal(self, x: Tensor) -> Tensor:
        """Return the powers of the shifted squared norms."""
        norms = ((x - self.center) / self.lengthscale).square().sum(-1)
        powers: Tensor = (norms + self.offset[..., None]) ** self.power
        return powers
