"""What the tables of kernel cases consist of."""

from collections.abc import Callable
from dataclasses import dataclass

import gpytorch.kernels as gp
import oracles as o
import sklearn.gaussian_process.kernels as sk

from nonparam.kernels import Kernel

__all__ = ["Case"]


@dataclass(frozen=True)
class Case:
    """A kernel at explicit hyperparameters, its textbook form, and the same kernel in other libraries."""

    name: str
    make: Callable[[], Kernel]
    oracle: o.Entry
    columns: int = 1
    stationary: bool = True
    sklearn: Callable[[], sk.Kernel] | None = None
    gpytorch: Callable[[], gp.Kernel] | None = None
