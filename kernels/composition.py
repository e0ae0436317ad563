"""Sums, products and scaled kernels, written with ``+`` and ``*``."""

from collections.abc import Iterable, Sequence
from itertools import product
from numbers import Real
from typing import Any, TypeAlias

import gpytorch
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from nonparam.errors import InputError
from nonparam.kernels.base import Hyperparameter, Kernel, Value, formula, show
from nonparam.kernels.evaluate import covariance, variance
from nonparam.kernels.linear import Constant
from nonparam.kernels.stationary import Cosine, Periodic

__all__ = ["Product", "Scale", "Sum", "parts_of", "with_amplitude"]

AnyKernel: TypeAlias = gpytorch.kernels.Kernel


class _Composite(Kernel):
    """A kernel made of others, called ``k1``, ``k2``, ... by nested parameters."""

    def __init__(self, *kernels: AnyKernel, active_dims: Sequence[int] | None = None) -> None:
        super().__init__({}, active_dims)
        if not kernels or not all(isinstance(kernel, gpytorch.kernels.Kernel) for kernel in kernels):
            raise InputError(f"{type(self).__name__} takes kernels, got {kernels!r}")
        self.kernels = torch.nn.ModuleList(kernels)

    def components(self) -> dict[str, AnyKernel]:
        """Return the parts as ``k1``, ``k2``, ..."""
        return {f"k{i}": kernel for i, kernel in enumerate(self.kernels, 1)}

    @property
    def is_stationary(self) -> bool:
        """Whether all parts are."""
        return all(isinstance(k, Kernel) and k.is_stationary for k in self.kernels)

    def _call(self) -> str:
        if self.active_dims is None:
            return ""
        arguments = [formula(kernel) for kernel in self.kernels]
        arguments += [f"{name}={show(value)}" for name, value in self.arguments()]
        return f"{self.keyword}({', '.join(arguments)})"


class Sum(_Composite):
    """The covariance of a sum of independent functions: ``k1 + k2 + ...``.

    Args:
        kernels: the terms.
        active_dims: the columns of ``X`` that the terms see; all of them by default.

    Examples:
        >>> from nonparam.kernels import RBF, Linear
        >>> RBF(2.0) + Linear(0.5)
        rbf(lengthscale=2) + linear(variance=0.5)
    """

    keyword = "sum"

    def matrix(self, x1: Tensor, x2: Tensor | None = None) -> Tensor:
        """Return the sum of the terms' matrices."""
        first, *rest = (covariance(kernel, x1, x2) for kernel in self.kernels)
        for term in rest:
            first = first + term
        return first

    def diagonal(self, x: Tensor) -> Tensor:
        """Return the sum of the terms' variances."""
        first, *rest = (variance(kernel, x) for kernel in self.kernels)
        for term in rest:
            first = first + term
        return first

    def terms(self) -> Sequence[AnyKernel]:
        """Return the terms."""
        return tuple(self.kernels)

    def parts(self, columns: int) -> Sequence[AnyKernel]:
        """Return the parts of the terms."""
        seen = columns if self.active_dims is None else len(self.active_dims)
        return on_columns(self, (part for kernel in self.kernels for part in parts_of(kernel, seen)))

    @property
    def has_amplitude(self) -> bool:
        """Whether every term has."""
        return all(_has_amplitude(kernel) for kernel in self.kernels)

    def __repr__(self) -> str:
        """Return the terms joined by ``+``; a sum that looks at some columns only is written as a call."""
        return self._call() or " + ".join(formula(kernel) for kernel in self.kernels)


class Product(_Composite):
    """The covariance of a product of independent functions: ``k1 * k2 * ...``.

    Args:
        kernels: the factors.
        active_dims: the columns of ``X`` that the factors see; all of them by default.

    Examples:
        >>> from nonparam.kernels import RBF, Periodic
        >>> RBF(2.0) * Periodic(lengthscale=1.0, period=12.0)
        rbf(lengthscale=2) * periodic(period=12, lengthscale=1)
    """

    keyword = "product"

    def matrix(self, x1: Tensor, x2: Tensor | None = None) -> Tensor:
        """Return the elementwise product of the factors' matrices."""
        first, *rest = (covariance(kernel, x1, x2) for kernel in self.kernels)
        for factor in rest:
            first = first * factor
        return first

    def diagonal(self, x: Tensor) -> Tensor:
        """Return the product of the factors' variances."""
        first, *rest = (variance(kernel, x) for kernel in self.kernels)
        for factor in rest:
            first = first * factor
        return first

    def parts(self, columns: int) -> Sequence[AnyKernel]:
        """Return the products of the factors' parts; an amplitude, ``constant + k``, stays one factor."""
        seen = columns if self.active_dims is None else len(self.active_dims)
        choices = [(k,) if _is_amplitude(k) else parts_of(k, seen) for k in self.kernels]
        if all(len(choice) == 1 for choice in choices):
            return (self,)
        return on_columns(self, (Product(*factors) for factors in product(*choices)))

    @property
    def has_amplitude(self) -> bool:
        """Whether one of the factors has."""
        return any(_has_amplitude(kernel) for kernel in self.kernels)

    def __repr__(self) -> str:
        """Return the factors joined by ``*``, sums in brackets, or a call where there are `active_dims`."""
        return self._call() or " * ".join(_bracketed(kernel) for kernel in self.kernels)


class Scale(Kernel):
    """A kernel times a variance: ``outputscale * k``.

    Args:
        kernel: the kernel that is scaled.
        outputscale: the variance, in units of ``y`` squared.
        fixed: ``("outputscale",)`` holds it.

    Raises:
        InputError: something that is no kernel, or an outputscale that is not positive.

    Examples:
        >>> from nonparam.kernels import RBF
        >>> 3.0 * RBF(2.0)
        3 * rbf(lengthscale=2)
    """

    keyword = "scale"
    outputscale = Hyperparameter("y^2")

    def __init__(self, kernel: AnyKernel, outputscale: Value = None, *, fixed: Sequence[str] = ()) -> None:
        super().__init__({"outputscale": outputscale}, None, fixed)
        if not isinstance(kernel, gpytorch.kernels.Kernel):
            raise InputError(f"Scale takes a kernel, got {kernel!r}")
        self.kernel = kernel

    def components(self) -> dict[str, AnyKernel]:
        """Return the scaled kernel."""
        return {"kernel": self.kernel}

    @property
    def is_stationary(self) -> bool:
        """Whether the scaled kernel is."""
        return isinstance(self.kernel, Kernel) and self.kernel.is_stationary

    def parts(self, columns: int) -> Sequence[AnyKernel]:
        """Return the scaled parts of the kernel."""
        inner = parts_of(self.kernel, columns)
        return (self,) if len(inner) == 1 else [Scale(part, self.outputscale.item()) for part in inner]

    def matrix(self, x1: Tensor, x2: Tensor | None = None) -> Tensor:
        """Return the scaled matrix."""
        outputscale, matrix = self.outputscale, covariance(self.kernel, x1, x2)
        factor = outputscale if outputscale.ndim == 0 else outputscale[..., None, None]
        scaled: Tensor = factor * matrix if matrix.shape[-2] == 1 else _Scaled.apply(factor, matrix)
        return scaled

    def diagonal(self, x: Tensor) -> Tensor:
        """Return the scaled variances."""
        scaled: Tensor = self.outputscale[..., None] * variance(self.kernel, x)
        return scaled

    def __repr__(self) -> str:
        """Return ``outputscale * kernel``."""
        inner = _bracketed(self.kernel)
        if self.fixed:
            value = self.value("outputscale")
            return f"scale({formula(self.kernel)}, outputscale={show(value)}, fixed={self.fixed!r})"
        value = self.value("outputscale")
        return inner if value is None else f"{show(value)} * {inner}"


class _Scaled(torch.autograd.Function):
    """``factor * matrix``; its gradient reads the product, which is kept anyway, and not the matrix."""

    @staticmethod
    def forward(ctx: Any, factor: Tensor, matrix: Tensor) -> Tensor:
        scaled = factor * matrix
        ctx.save_for_backward(factor, scaled)
        return scaled

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None]:
        factor, scaled = ctx.saved_tensors
        total, matrix = None, None
        if ctx.needs_input_grad[0]:
            sums = torch.einsum("...ij,...ij->...", gradient, scaled)[..., None, None]
            total = sums.sum_to_size(factor.shape) / factor
        if ctx.needs_input_grad[1]:
            matrix = factor * gradient
        return total, matrix


def _bracketed(kernel: AnyKernel) -> str:
    return f"({kernel!r})" if isinstance(kernel, Sum) and kernel.active_dims is None else formula(kernel)


def _is_amplitude(kernel: AnyKernel) -> bool:
    """Return whether a kernel is a constant and one more, but no wave: what varies around a level."""
    if not (isinstance(kernel, Sum) and len(kernel.kernels) == 2):
        return False
    plain = [term.kernel if isinstance(term, Scale) else term for term in kernel.kernels]
    waves = any(isinstance(term, Periodic | Cosine) for term in plain)
    return sum(isinstance(term, Constant) for term in plain) == 1 and not waves


def _has_amplitude(kernel: AnyKernel) -> bool:
    return isinstance(kernel, gpytorch.kernels.ScaleKernel) or bool(getattr(kernel, "has_amplitude", False))


def with_amplitude(kernel: AnyKernel) -> Kernel | AnyKernel:
    """Give each term of a sum a variance of its own, where it has none.

    Args:
        kernel: any kernel; it is not changed.

    Returns:
        A kernel whose every term can be as large as the data ask.

    Examples:
        >>> from nonparam.kernels import RBF, Linear
        >>> with_amplitude(RBF() + Linear()).get_params(deep=False)["k1"].outputscale
        tensor(1., dtype=torch.float64, grad_fn=<ExpBackward0>)
    """
    if isinstance(kernel, Sum) and kernel.active_dims is None:
        return Sum(*(with_amplitude(term) for term in kernel.kernels))
    return kernel if _has_amplitude(kernel) else Scale(kernel)


def parts_of(kernel: AnyKernel, columns: int) -> Sequence[AnyKernel]:
    """Return the kernels that any kernel is known to be the sum of; a GPyTorch kernel is one part.

    Args:
        kernel: at one value of its hyperparameters.
        columns: how many columns it is given.

    Examples:
        >>> from nonparam.kernels import RBF, Linear
        >>> parts_of(2.0 * (RBF(1.0) + 3.0 * Linear(1.0, center=0.0)), columns=1)
        [2 * rbf(lengthscale=1), 2 * 3 * linear(variance=1, center=0)]
        >>> parts_of(RBF(1.0) * (RBF(2.0) + Linear(1.0, center=0.0)), columns=1)
        [rbf(lengthscale=1) * rbf(lengthscale=2), rbf(lengthscale=1) * linear(variance=1, center=0)]
    """
    return kernel.parts(columns) if isinstance(kernel, Kernel) else (kernel,)


def on_columns(whole: Kernel, parts: Iterable[AnyKernel]) -> list[AnyKernel]:
    """Return the parts of a kernel, each looking at the columns that the kernel chooses."""
    if whole.active_dims is None:
        return list(parts)
    return [Sum(part, active_dims=whole.active_dims.tolist()) for part in parts]


def add(left: Any, right: Any) -> Kernel:
    """Return ``left + right``; a number stands for a constant kernel."""
    return Sum(*_flat(left, Sum), *_flat(right, Sum))


def multiply(left: Any, right: Any) -> Kernel:
    """Return ``left * right``; a number becomes an outputscale."""
    if isinstance(left, Real):
        return _scale(right, left)
    if isinstance(right, Real):
        return _scale(left, right)
    if _absorbs_factors(left) and isinstance(right, Kernel):
        return Scale(multiply(left.kernel, right), left.value("outputscale"))
    return Product(*_flat(left, Product), *_flat(right, Product))


def _absorbs_factors(kernel: Any) -> bool:
    return isinstance(kernel, Scale) and not kernel.fixed and kernel.outputscale.ndim == 0


def _scale(kernel: AnyKernel, factor: Any) -> Kernel:
    outputscale = kernel.value("outputscale") if _absorbs_factors(kernel) else None
    if outputscale is None:
        return Scale(kernel, factor)
    return Scale(kernel.kernel, outputscale * factor)


def _flat(kernel: Any, kind: type[_Composite]) -> list[AnyKernel]:
    if isinstance(kernel, Real) and kind is Sum:
        return [Constant(float(kernel))]
    if not isinstance(kernel, gpytorch.kernels.Kernel):
        raise InputError(f"kernels combine with kernels and numbers, got {kernel!r}")
    if isinstance(kernel, kind) and kernel.active_dims is None:
        return list(kernel.kernels)
    return [kernel]
