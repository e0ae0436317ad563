"""A fitted function taken apart: the mean function, and each term of the kernel."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import gpytorch
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nonparam.kernels import ChangePoint, Constant, OrthogonalRBF, Product, Scale, Sum, WhiteNoise
from nonparam.kernels.base import Composable
from nonparam.kernels.composition import parts_of
from nonparam.posterior import Posterior

__all__ = ["Decomposition", "Part", "moments", "named_parts", "numbered", "shares"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Part:
    """One term of a function.

    Attributes:
        name: of the columns that an additive kernel's part looks at, else of the kernel.
        columns: the numbers of the columns of ``X`` that it depends on.
        kernel: its prior covariance; ``None`` for the mean function.
    """

    name: str
    columns: tuple[int, ...]
    kernel: gpytorch.kernels.Kernel | None


@dataclass(frozen=True)
class Decomposition:
    """The parts of a fitted function at some rows, in the units of ``y``.

    Attributes:
        names: of the ``k`` parts; the mean function, where there is one, is the first, ``"mean"``.
        columns: the numbers of the columns of ``X`` that each depends on.
        mean: ``(m, k)``, or ``(m, t, k)`` for several outputs: posterior means, which add up to `predict`.
        sd: of the same shape: the standard deviations of the functions.
        share: ``(k,)``: the variance of each part's posterior mean over the training rows, divided by the sum
            of those variances. They add up to 1, or are all 0 where nothing varies.

    Examples:
        >>> found = Decomposition(("mean", "x0"), ((), (0,)), np.ones((3, 2)), np.ones((3, 2)), np.eye(2)[1])
        >>> print(found)
        mean      0.0 %
        x0      100.0 %
    """

    names: tuple[str, ...]
    columns: tuple[tuple[int, ...], ...]
    mean: Array
    sd: Array
    share: Array

    def __str__(self) -> str:
        """Return a line for each part: its name and its share."""
        width = max(len(name) for name in self.names)
        lines = (f"{name:{width}} {100 * v:8.1f} %" for name, v in zip(self.names, self.share, strict=True))
        return "\n".join(lines)


def named_parts(posterior: Posterior, names: Sequence[str]) -> list[Part]:
    """Return the mean function, where there is one, and the terms of the kernel.

    Args:
        posterior: of the whole function.
        names: of the columns of ``X``.
    """
    d = len(names)
    functions = posterior.data.basis.shape[1]
    found = [Part("mean", tuple(range(d)) if functions > 1 else (), None)] if functions else []
    for kernel in parts_of(posterior.kernel, d):
        columns = tuple(sorted(_columns(kernel, tuple(range(d)))))
        found.append(Part(_name(kernel, columns, names), columns, kernel.to(posterior.data.x)))
    told_apart = numbered([part.name for part in found])
    return [replace(part, name=name) for part, name in zip(found, told_apart, strict=True)]


def numbered(names: Sequence[str]) -> list[str]:
    """Return names of which none occurs twice: the second of two alike has a number.

    Examples:
        >>> numbered(["rbf", "linear", "rbf", "rbf"])
        ['rbf', 'linear', 'rbf (2)', 'rbf (3)']
    """
    met, found = Counter[str](), []
    for name in names:
        met[name] += 1
        found.append(f"{name} ({met[name]})" if met[name] > 1 else name)
    return found


def _columns(kernel: gpytorch.kernels.Kernel, seen: tuple[int, ...]) -> set[int]:
    """Return which of the columns that a kernel is given its values depend on."""
    if kernel.active_dims is not None:
        seen = tuple(seen[i] for i in kernel.active_dims.tolist())
    if isinstance(kernel, Constant | WhiteNoise):
        return set()
    own = {seen[kernel.column]} if isinstance(kernel, ChangePoint) else set()
    if isinstance(kernel, Scale | Sum | Product | ChangePoint):
        return own.union(*(_columns(part, seen) for part in kernel.components().values()))
    return set(seen)


def _name(kernel: gpytorch.kernels.Kernel, columns: tuple[int, ...], names: Sequence[str]) -> str:
    inner = _without_scale(kernel)
    if isinstance(inner, OrthogonalRBF):
        return " * ".join(names[column] for column in columns)
    some = ", ".join(names[column] for column in columns) if len(columns) < len(names) else ""
    return f"{_word(inner)}({some})" if some else _word(inner)


def _without_scale(kernel: gpytorch.kernels.Kernel) -> gpytorch.kernels.Kernel:
    while isinstance(kernel, Scale) or (isinstance(kernel, Sum) and len(kernel.kernels) == 1):
        kernel = kernel.kernel if isinstance(kernel, Scale) else kernel.kernels[0]
    return kernel


def _word(kernel: gpytorch.kernels.Kernel) -> str:
    """Return a kernel's formula without numbers."""
    kernel = _without_scale(kernel)
    if isinstance(kernel, Product | Sum):
        join = " * " if isinstance(kernel, Product) else " + "
        words = [f"({_word(p)})" if isinstance(_without_scale(p), Sum) else _word(p) for p in kernel.kernels]
        return join.join(words)
    return kernel.keyword if isinstance(kernel, Composable) else type(kernel).__name__


def moments(posterior: Posterior, parts: Sequence[Part], x: Tensor, basis: Tensor) -> tuple[Tensor, Tensor]:
    """Return the posterior means ``(m, t, k)`` and variances ``(m, k)`` of the parts.

    Args:
        posterior: of the whole function.
        parts: of it.
        x: ``(m, d)``.
        basis: ``(m, q)``, the basis functions of the mean.
    """
    found = [
        posterior.mean_component(basis) if part.kernel is None else posterior.component(part.kernel, x)
        for part in parts
    ]
    means, variances = zip(*found, strict=True)
    return torch.stack(means, -1), torch.stack(variances, -1)


def shares(posterior: Posterior, parts: Sequence[Part]) -> Array:
    r"""Return the share of each part in the variance over the training rows, ``(k,)``.

    .. math:: S_u = \frac{\mathrm{Var}_i \, m_u(x_i)}{\sum_v \mathrm{Var}_i \, m_v(x_i)}

    Rows count with their weights; several outputs, each in units of its standard deviation, are added up.
    Where columns are independent and the parts of an additive kernel orthogonal, these are Sobol indices.

    Source: Sobol (1993), Sensitivity estimates for nonlinear mathematical models, Mathematical Modelling and
    Computational Experiments 1(4), of posterior means as in Lu, Boukouvalas and Hensman (2022), section 4.
    """
    weights = posterior.data.weights / posterior.data.weights.sum()
    spreads = []
    for mean in _means(posterior, parts):
        centred = mean - weights @ mean
        spreads.append(float((weights @ centred.square()).sum()))
    total = sum(spreads)
    return np.array(spreads) / total if total > 0.0 else np.zeros(len(parts))


def _means(posterior: Posterior, parts: Sequence[Part]) -> Iterator[Tensor]:
    """Yield the posterior mean of each part at the training rows, ``(n, t)``."""
    for part in parts:
        if part.kernel is None:
            yield posterior.mean_component(posterior.data.basis)[0]
        else:
            yield posterior.component_mean(part.kernel, posterior.data.x)
