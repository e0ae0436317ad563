"""What a kernel is composed of: terms of a state-space model, or a product over groups of columns."""

from collections.abc import Iterable
from dataclasses import dataclass

import gpytorch
import torch
from torch import Tensor

from nonparam.errors import InputError
from nonparam.kernels import RBF, Constant, Matern, Periodic, Product, Scale, Sum, WhiteNoise
from nonparam.kernels.base import Kernel

__all__ = ["Columns", "Term", "matern_terms", "one_column", "product_groups"]

Columns = tuple[int, ...]


@dataclass(frozen=True)
class Term:
    """A Matérn kernel: its smoothness, and the logarithms of its variance and lengthscale."""

    nu: float
    log_variance: Tensor
    log_length: Tensor


def matern_terms(kernel: gpytorch.kernels.Kernel, columns: Columns) -> list[tuple[Term, Columns]]:
    """Return the terms of a sum of half-integer Matérn kernels, each with the columns that it looks at."""
    columns = _seen(kernel, columns)
    if isinstance(kernel, Matern):
        length = kernel.raw_lengthscale.reshape(-1)[0]
        return [(Term(kernel.nu, torch.zeros_like(length), length), columns)]
    if isinstance(kernel, Sum):
        return [term for part in kernel.kernels for term in matern_terms(part, columns)]
    if isinstance(kernel, Scale):
        inner = matern_terms(kernel.kernel, columns)
        factor = kernel.raw_outputscale
        return [(Term(t.nu, t.log_variance + factor, t.log_length), seen) for t, seen in inner]
    raise InputError(
        f"solver='state_space' needs a sum of terms matern12, matern32 and matern52, got {kernel!r}: take "
        "solver='auto' or solver='cholesky'"
    )


def one_column(kernel: gpytorch.kernels.Kernel, d: int) -> tuple[int, tuple[float, ...]]:
    """Return the column that all terms look at, and the smoothness of each."""
    terms = matern_terms(kernel, tuple(range(d)))
    columns = {columns for _, columns in terms}
    if len(columns) != 1 or len(next(iter(columns))) != 1:
        raise InputError(
            f"solver='state_space' needs terms that all look at one and the same column, got "
            f"{sorted(columns)}: give the kernels active_dims, or take solver='cholesky'"
        )
    return terms[0][1][0], tuple(term.nu for term, _ in terms)


def _seen(kernel: gpytorch.kernels.Kernel, columns: Columns) -> Columns:
    if kernel.active_dims is None:
        return columns
    chosen = kernel.active_dims.tolist()
    if max(chosen) >= len(columns):
        raise InputError(f"active_dims are {chosen}, but there are only {len(columns)} columns")
    return tuple(columns[i] for i in chosen)


def product_groups(kernel: gpytorch.kernels.Kernel, columns: Columns) -> list[Columns]:
    """Return groups of columns over which the kernel is a product."""
    known = [kernel, *kernel.sub_kernels()]
    if any(not isinstance(part, Kernel) or isinstance(part, WhiteNoise) for part in known):
        raise InputError(
            f"solver='kronecker' needs kernels of this package, none of them white noise, got {kernel!r}: "
            "take solver='auto' or solver='cholesky'"
        )
    return _merged(_coupled(kernel, columns))


def _coupled(kernel: gpytorch.kernels.Kernel, columns: Columns) -> list[Columns]:
    columns = _seen(kernel, columns)
    if isinstance(kernel, Constant):
        return []
    if isinstance(kernel, RBF) or (isinstance(kernel, Periodic) and not kernel.zero_mean):
        return [(column,) for column in columns]
    if isinstance(kernel, Scale):
        return _coupled(kernel.kernel, columns)
    if isinstance(kernel, Product):
        return [group for part in kernel.kernels for group in _coupled(part, columns)]
    if isinstance(kernel, Sum):
        return [tuple(c for part in kernel.kernels for group in _coupled(part, columns) for c in group)]
    return [columns]


def _merged(groups: Iterable[Columns]) -> list[Columns]:
    """Return the smallest groups that are disjoint, in the order of their columns."""
    disjoint: list[set[int]] = []
    for group in map(set, groups):
        touching = [other for other in disjoint if other & group]
        disjoint = [other for other in disjoint if not other & group] + [group.union(*touching)]
    return sorted(tuple(sorted(group)) for group in disjoint if group)
