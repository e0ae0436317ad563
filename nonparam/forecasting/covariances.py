r"""Covariances of a series under many hyperparameters at once, from functions of the lag and fixed matrices.

Each part of a structure is either a function of the lag (trend, season, memory) or a fixed matrix times its
variance (base, drift, level, regressors):

.. math:: K_{ij} = k(|t_i - t_j|) + \sum_r v_r M^{(r)}_{ij}.

A regular grid of ``n`` times has only ``n`` lags, so that kernels are evaluated at ``n`` places, not at
``n^2``, and the derivative in them needs the sums along the diagonals of :math:`\partial L / \partial K`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray
from torch import Tensor

from nonparam.forecasting.structure import Part, Structure
from nonparam.kernels import Kernel, Sum
from nonparam.kernels.evaluate import covariance
from nonparam.solvers.plan import CPU
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
        >>> lags.values, lags.spread(np.array([3.0, 2.0, 1.0]))[2]
        (array([0., 1., 2.]), array([1., 2., 3.]))
        >>> lags.gathered(np.triu(np.ones((3, 3))))
        array([3., 4., 2.])
    """

    values: Array
    places: NDArray[np.intp] | None
    n: int

    @classmethod
    def of(cls, times: Array) -> "Lags":
        """Return the lags of increasing times ``(n,)``."""
        n = len(times)
        distances: Array = np.abs(times[:, None] - times).round(SAME)
        if np.array_equal(distances[0][np.abs(np.subtract.outer(np.arange(n), np.arange(n)))], distances):
            return cls(np.abs(times - times[0]), None, n)
        values, places = np.unique(distances, return_inverse=True)
        return cls(values, places.reshape(n, n), n)

    @property
    def numbers(self) -> NDArray[np.intp]:
        """The number of each distance, ``(n, n)``."""
        steps = np.arange(self.n)
        return np.abs(np.subtract.outer(steps, steps)) if self.places is None else self.places

    def spread(self, k: Array) -> Array:
        """Return the matrix ``(n, n)``, not to be written to, of values of a function of the lag ``(m,)``."""
        if self.places is not None:
            return k[self.places]
        both = np.concatenate([k[::-1], k[1:]])
        step = both.itemsize
        return as_strided(both[self.n - 1 :], (self.n, self.n), (-step, step), writeable=False)

    def gathered(self, upper: Array) -> Array:
        """Return the sums ``(m,)`` at each lag of the entries of a symmetric matrix.

        Args:
            upper: ``(n, n)``, its upper triangle, and zeros below.
        """
        n = self.n
        if self.places is None:  # in rows that are longer by one, entry i, j stands in column j - i
            rows = np.concatenate([upper.reshape(-1), np.zeros(n)]).reshape(n, n + 1)
            once = rows[:, :n].sum(0)
        else:
            once = np.bincount(self.places.reshape(-1), upper.reshape(-1), len(self.values))
        sums: Array = 2.0 * once
        sums[0] -= np.trace(upper)
        return sums


@dataclass(frozen=True)
class Covariances:
    """The covariance of a structure at given times, at any hyperparameters.

    Attributes:
        structure: its parts.
        x: ``(n, c)``, the times, and beside them the regressors.
        device: where functions of the lag are computed.

    Examples:
        >>> from nonparam.forecasting.structure import build_structure
        >>> structure = build_structure(-2.0)
        >>> covariances = Covariances(structure, np.array([[-2.0], [-1.0], [0.0]]))
        >>> points = structure.theta().start[None]
        >>> [matrix.shape for matrix in covariances.matrices(points, covariances.functions(points))]
        [(3, 3)]
    """

    structure: Structure
    x: Array
    device: torch.device = CPU

    @cached_property
    def lags(self) -> Lags:
        """The distances of the times."""
        return Lags.of(self.x[:, 0])

    @cached_property
    def fixed(self) -> Array:
        """The matrices of the parts that are no functions of the lag, at variance 1: ``(r, n n)``."""
        x = torch.from_numpy(self.x)
        units = [_unit_matrix(part.kernel, x) for part in self._parts(stationary=False)]
        return np.array(units).reshape(len(units), len(x) ** 2)

    @cached_property
    def _stationary(self) -> Theta | None:
        kernels = [part.kernel.__sklearn_clone__() for part in self._parts(stationary=True)]
        return Theta(Sum(*kernels).to(self.device), {}, None) if kernels else None

    @cached_property
    def entries(self) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """The entries of `Structure.theta` that belong to functions of the lag, and to fixed matrices."""
        names = {part.name for part in self._parts(stationary=True)}
        ours = self.structure.entries(names)
        others = ~ours
        others[-1] = False  # the noise
        return np.flatnonzero(ours), np.flatnonzero(others)

    def _parts(self, *, stationary: bool) -> list[Part]:
        return [part for part in self.structure.parts if part.kernel.is_stationary == stationary]

    def functions(self, points: Array, *, gradient: bool = False) -> Tensor | None:
        """Return the functions of the lag ``(b, m)``; ``None`` where the structure has none.

        Args:
            points: ``(b, p)``, values of `Structure.theta`.
            gradient: whether `slopes` is to follow.
        """
        if self._stationary is None:
            return None
        self._stationary.assign(points[:, self.entries[0]])
        with torch.set_grad_enabled(gradient):
            x = torch.from_numpy(self.lags.values).to(self.device)[:, None]
            k: Tensor = self._stationary.kernel.matrix(x[:1], x).reshape(len(points), -1)
        return k

    def matrices(self, points: Array, k: Tensor | None) -> Iterator[Array]:
        """Yield the covariance ``(n, n)`` without noise of each of ``points (b, p)``.

        One is made after the other, for a matrix that lies in the cache is worked on much faster.

        Args:
            points: as for `functions`.
            k: its result.
        """
        n = len(self.x)
        variances = np.exp(points[:, self.entries[1]])
        for i in range(len(points)):
            total = (variances[i] @ self.fixed).reshape(n, n)
            if k is not None:
                total += self.lags.spread(k[i].detach().numpy())
            yield total

    def sums(self, upper: Array) -> tuple[Array, Array]:
        """Return what `slopes` needs of a symmetric matrix: sums at each lag ``(m,)``, and products ``(r,)``.

        Args:
            upper: ``(n, n)``, its upper triangle, and zeros below.
        """
        diagonals = self.fixed[:, :: len(self.x) + 1]
        products = 2.0 * (self.fixed @ upper.reshape(-1)) - diagonals @ np.diagonal(upper)
        return self.lags.gathered(upper), products

    def slopes(self, points: Array, k: Tensor | None, at_lags: Array, products: Array) -> Array:
        """Return the derivatives ``(b, p)`` of what has known derivatives in the covariances.

        Args:
            points: as for `functions`.
            k: its result.
            at_lags: ``(b, m)``, the first of the `sums` of these derivatives.
            products: ``(b, r)``, the second. The last entry of the result, that of the noise, is 0.
        """
        lagged, others = self.entries
        slopes = np.zeros(points.shape)
        slopes[:, others] = np.exp(points[:, others]) * products
        if self._stationary is not None and k is not None:
            gradients = torch.autograd.grad(k, self._stationary.parameters, torch.from_numpy(at_lags).to(k))
            slopes[:, lagged] = self._stationary.gather(list(gradients), np.empty(0), len(points))
        return slopes


def _unit_matrix(kernel: Kernel, x: Tensor) -> Array:
    """Return the matrix of a kernel whose only free hyperparameter is its variance, at variance 1."""
    matrix: Array = (covariance(kernel, x) / kernel.variance).detach().numpy()
    return matrix
