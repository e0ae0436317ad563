r"""Covariances of a series under many hyperparameters at once, from functions of the lag and fixed matrices.

Each part of a structure is either a function of the lag (trend, season, memory) or a fixed matrix times its
variance (base, drift, level, regressors):

.. math:: K_{ij} = k(|t_i - t_j|) + \sum_r v_r M^{(r)}_{ij}.

A regular grid of ``n`` times has only ``n`` lags, so that kernels are evaluated at ``n`` places, not at
``n^2``, and the derivative in them needs the sums along the diagonals of :math:`\partial L / \partial K`.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nonparam.forecasting.structure import Part, Structure
from nonparam.kernels import Kernel, Sum
from nonparam.kernels.evaluate import covariance
from nonparam.theta import Theta

__all__ = ["Covariances", "Lags"]

Array = NDArray[np.float64]

SAME = 9  # decimals of a time unit up to which lags count as equal


@dataclass(frozen=True)
class Lags:
    """The different distances of some times, and where they stand in the matrix of all distances.

    Attributes:
        values: ``(m,)``, the first is 0.
        places: ``(n, n)``, the number of each distance; ``None`` where entry ``i, j`` has number ``|i - j|``.
        n: how many times.

    Examples:
        >>> lags = Lags.of(np.array([0.0, 1.0, 2.0]))
        >>> lags.values, lags.spread(torch.tensor([[3.0, 2.0, 1.0]]))[0, 2]
        (array([0., 1., 2.]), tensor([1., 2., 3.]))
        >>> lags.gathered(torch.ones(1, 3, 3))
        tensor([[3., 4., 2.]])
    """

    values: Array
    places: Tensor | None
    n: int

    @classmethod
    def of(cls, times: Array) -> "Lags":
        """Return the lags of increasing times ``(n,)``."""
        n = len(times)
        distances: Array = np.abs(times[:, None] - times).round(SAME)
        if np.array_equal(distances[0][np.abs(np.subtract.outer(np.arange(n), np.arange(n)))], distances):
            return cls(np.abs(times - times[0]), None, n)
        values, places = np.unique(distances, return_inverse=True)
        return cls(values, torch.from_numpy(places.reshape(n, n)), n)

    def spread(self, k: Tensor) -> Tensor:
        """Return the matrices ``(b, n, n)`` whose entries are values of functions of the lag ``(b, m)``."""
        if self.places is not None:
            return k[:, self.places.reshape(-1)].reshape(-1, self.n, self.n)
        both = torch.cat([k.flip(-1), k[:, 1:]], -1)  # row i begins at entry n - 1 - i
        rows = both.unfold(-1, self.n, 1)
        return rows.flip(-2)

    def gathered(self, w: Tensor) -> Tensor:
        """Return the sums ``(b, m)`` of the entries of symmetric matrices ``(b, n, n)`` at each lag."""
        if self.places is not None:
            sums = w.new_zeros(len(w), len(self.values))
            return sums.index_add_(1, self.places.reshape(-1), w.reshape(len(w), -1))
        n = self.n
        padded = torch.nn.functional.pad(w.triu().reshape(len(w), n * n), (0, n))
        sums = padded.reshape(len(w), n, n + 1)[:, :, :n].sum(1)  # entry i, j stands in column j - i
        sums[:, 1:] *= 2.0
        return sums


@dataclass(frozen=True)
class Covariances:
    """The covariance of a structure at given times, at any hyperparameters.

    Attributes:
        structure: its parts.
        x: ``(n, c)``, the times, and beside them the regressors.

    Examples:
        >>> from nonparam.forecasting.structure import build_structure
        >>> structure = build_structure(-2.0)
        >>> covariances = Covariances(structure, np.array([[-2.0], [-1.0], [0.0]]))
        >>> covariances.matrices(structure.theta().start[None])[0].shape
        torch.Size([1, 3, 3])
    """

    structure: Structure
    x: Array

    @cached_property
    def lags(self) -> Lags:
        """The distances of the times."""
        return Lags.of(self.x[:, 0])

    @cached_property
    def fixed(self) -> Tensor:
        """The matrices of the parts that are no functions of the lag, at variance 1: ``(r, n n)``."""
        x = torch.from_numpy(self.x)
        units = [_unit_matrix(part.kernel, x) for part in self._parts(stationary=False)]
        return torch.stack(units).reshape(-1, len(x) ** 2) if units else x.new_zeros(0, len(x) ** 2)

    @cached_property
    def _stationary(self) -> Theta | None:
        kernels = [part.kernel.__sklearn_clone__() for part in self._parts(stationary=True)]
        return Theta(Sum(*kernels), {}, None) if kernels else None

    @cached_property
    def _entries(self) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """The entries of `Structure.theta` that belong to functions of the lag, and to fixed matrices."""
        names = {part.name for part in self._parts(stationary=True)}
        ours = self.structure.entries(names)
        others = ~ours
        others[-1] = False  # the noise
        return np.flatnonzero(ours), np.flatnonzero(others)

    def _parts(self, *, stationary: bool) -> list[Part]:
        return [part for part in self.structure.parts if part.kernel.is_stationary == stationary]

    def matrices(self, points: Array, *, gradient: bool = False) -> tuple[Tensor, Tensor | None]:
        """Return the covariances ``(b, n, n)`` without noise, and the functions of the lag behind them.

        Args:
            points: ``(b, p)``, values of `Structure.theta`.
            gradient: whether `slopes` is to follow.
        """
        lagged, others = self._entries
        n, k = len(self.x), None
        variances = torch.from_numpy(np.exp(points[:, others]))
        total = (variances @ self.fixed).reshape(-1, n, n)
        if self._stationary is not None:
            self._stationary.assign(points[:, lagged])
            with torch.set_grad_enabled(gradient):
                x = torch.from_numpy(self.lags.values)[:, None]
                k = self._stationary.kernel.matrix(x[:1], x).reshape(len(points), -1)
            total += self.lags.spread(k.detach())
        return total, k

    def slopes(self, points: Array, k: Tensor | None, w: Tensor) -> Array:
        """Return the derivatives ``(b, p)`` of what has the derivatives ``w (b, n, n)`` in the covariances.

        Args:
            points: as for `matrices`.
            k: its second result.
            w: symmetric. The last entry, that of the log noise, is left at its trace.
        """
        lagged, others = self._entries
        slopes = np.empty(points.shape)
        slopes[:, others] = np.exp(points[:, others]) * (w.reshape(len(w), -1) @ self.fixed.T).numpy()
        slopes[:, -1] = torch.diagonal(w, dim1=1, dim2=2).sum(1).numpy()
        if self._stationary is not None and k is not None:
            gradients = torch.autograd.grad(k, self._stationary.parameters, self.lags.gathered(w))
            slopes[:, lagged] = self._stationary.gather(list(gradients), np.empty(0), len(w))
        return slopes


def _unit_matrix(kernel: Kernel, x: Tensor) -> Tensor:
    """Return the matrix of a kernel whose only free hyperparameter is its variance, at variance 1."""
    matrix: Tensor = (covariance(kernel, x) / kernel.variance).detach()
    return matrix
