"""Which way a series is computed: by factors of its covariance, alone or in a batch, or as a chain."""

from collections.abc import Collection, Sequence
from importlib.util import find_spec
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from nonparam.forecasting.batched import Batched
from nonparam.forecasting.chains import Chains
from nonparam.forecasting.dense import Dense
from nonparam.forecasting.structure import Structure
from nonparam.solvers.plan import CPU

__all__ = ["Engine", "engine_for"]

Array = NDArray[np.float64]

LONG, LONG_UNCOMPILED = 400, 2000  # rows from which chains are faster, with Numba and without


class Engine(Protocol):
    """Series under a structure: the likelihood of hyperparameters, and what they say of other times."""

    def __call__(self, points: Array, outputs: NDArray[np.intp]) -> tuple[Array, Array]:
        """Return log likelihoods ``(b,)`` and gradients ``(b, p)`` at ``points (b, p)``."""
        ...

    def predict(self, points: Array, outputs: NDArray[np.intp], new: Array) -> tuple[Array, Array]:
        """Return means ``(b, m)`` and covariances ``(b, m, m)`` of the functions at ``new (m, c)``."""
        ...

    def marginals(self, points: Array, outputs: NDArray[np.intp], new: Array) -> tuple[Array, Array]:
        """Return means and variances ``(b, m)`` at ``new (m, c)``."""
        ...

    def smoothed(self, points: Array, y: Array) -> tuple[Array, Array]:
        """Return means and variances ``(b, n)`` of the functions at the rows of series ``y (n, b)``."""
        ...

    def sums(
        self, groups: Sequence[Collection[str]], point: Array, output: int, new: Array
    ) -> list[tuple[Array, Array]]:
        """Return mean ``(m,)`` and variance ``(m,)`` of sums of parts at ``new (m, c)``."""
        ...


def engine_for(structure: Structure, x: Array, y: Array, device: torch.device = CPU) -> Engine:
    """Return the faster engine for series of this length; chains have no part whose slope wanders.

    Args:
        structure: the parts.
        x: ``(n, c)``.
        y: ``(n, t)``.
        device: where batches of matrices are; chains are on the processor.

    Examples:
        >>> from nonparam.forecasting.structure import build_structure
        >>> x = np.arange(-99.0, 1.0)[:, None]
        >>> type(engine_for(build_structure(-99.0), x, np.sin(x))).__name__
        'Dense'
    """
    long = LONG if find_spec("numba") else LONG_UNCOMPILED
    if len(x) > long and not structure.has_slope:
        return Chains(structure, x, y)
    return Dense(structure, x, y) if device.type == "cpu" else Batched(structure, x, y, device)
