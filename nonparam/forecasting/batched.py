r"""Exact inference for many short series as batches of matrices, which is what a GPU is good at.

The same quantities as in `nonparam.forecasting.dense`, where on a processor one matrix after the other is
made and used up while it lies in the cache.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nonparam.forecasting.covariances import Covariances
from nonparam.forecasting.dense import Dense

__all__ = ["Batched"]

Array = NDArray[np.float64]

ENTRIES = 2**26  # of all matrices of a batch: half a GiB, of which a few are held


@dataclass(frozen=True)
class Batched(Dense):
    """Series under a structure, by factors of batches of covariances.

    Attributes:
        device: where they are.

    Examples:
        >>> from nonparam.forecasting.structure import build_structure
        >>> structure, x = build_structure(-2.0), np.array([[-2.0], [-1.0], [0.0]])
        >>> y, point, first = np.array([[1.0], [0.0], [-1.0]]), structure.theta().start[None], np.array([0])
        >>> batched = Batched(structure, x, y, torch.device("cpu"))
        >>> np.allclose(batched(point, first)[1], Dense(structure, x, y)(point, first)[1])
        True
    """

    device: torch.device

    @property
    def together(self) -> int:
        """How many points are evaluated at once."""
        return _together(len(self.x))

    @cached_property
    def _covariances(self) -> Covariances:
        return Covariances(self.structure, self.x, self.device)

    @cached_property
    def _stack(self) -> "_Stack":
        return _Stack(self._covariances)

    def smoothed(self, points: Array, y: Array) -> tuple[Array, Array]:
        """Return means and variances ``(b, n)``, as `Dense.smoothed` does."""
        means, variances = [], []
        for i in range(0, len(points), self.together):
            some, series = points[i : i + self.together], self._put(y.T[i : i + self.together])
            noise = self._put(np.exp(some[:, -1:]))
            root = self._root(self._stack.matrices(some, self._stack.functions(some)), noise)
            inverse = torch.cholesky_inverse(root)
            alpha = (inverse @ series[..., None])[..., 0]
            means.append((series - noise * alpha).cpu().numpy())
            variances.append((noise - noise**2 * inverse.diagonal(dim1=1, dim2=2)).cpu().numpy())
        return np.concatenate(means), np.concatenate(variances)

    def _densities(
        self, points: Array, outputs: NDArray[np.intp], k: Tensor | None
    ) -> tuple[Array, Array, Array, Array]:
        y = self._put(self.y[:, outputs].T)[..., None]
        a = self._stack.matrices(points, None if k is None else k.detach())
        root, info = self._factored(a, self._put(np.exp(points[:, -1:])))
        inverse = torch.cholesky_inverse(root)
        alpha = inverse @ y
        log_determinants = 2.0 * root.diagonal(dim1=1, dim2=2).log().sum(1)
        constant = len(self.x) * math.log(2.0 * math.pi)
        values = -0.5 * ((y * alpha).sum((1, 2)) + log_determinants + constant)
        values = torch.where(info == 0, values, -torch.inf)
        w = inverse - alpha @ alpha.mT
        at_lags, products = self._stack.sums(w)
        traces = w.diagonal(dim1=1, dim2=2).sum(1)
        return tuple(each.cpu().numpy() for each in (values, at_lags, products, traces))  # type: ignore[return-value]  # four

    def _conditionals(
        self, points: Array, outputs: NDArray[np.intp], new: Array
    ) -> Iterator[tuple[Array, Array, Array]]:
        n, rows = len(self.x), np.concatenate([self.x, new])
        stack, size = _Stack(Covariances(self.structure, rows, self.device)), _together(len(rows))
        for i in range(0, len(points), size):
            some = points[i : i + size]
            joint = stack.matrices(some, stack.functions(some))
            root = self._root(joint[:, :n, :n].clone(), self._put(np.exp(some[:, -1:])))
            y = self._put(self.y[:, outputs[i : i + size]].T)[..., None]
            white = torch.linalg.solve_triangular(root, torch.cat([joint[:, :n, n:], y], 2), upper=False)
            white, y = white[..., :-1], white[..., -1:]
            found = ((white.mT @ y)[..., 0], white, joint[:, n:, n:])
            yield from zip(*(each.cpu().numpy() for each in found), strict=True)

    def _root(self, a: Tensor, noise: Tensor) -> Tensor:
        root, info = self._factored(a, noise)
        if bool(info.any()):
            raise np.linalg.LinAlgError("a covariance is not positive definite")
        return root

    def _factored(self, a: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Return the factors of ``a (b, n, n)``, which is lost, with noise ``(b, 1)``, and what failed."""
        a.diagonal(dim1=1, dim2=2).add_(noise)
        root, info = torch.linalg.cholesky_ex(a)
        return root, info

    def _put(self, values: Array) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(values)).to(self.device)


class _Stack:
    """Covariances of many points at once, and what does not depend on the points, on the device."""

    def __init__(self, covariances: Covariances) -> None:
        self.covariances, self.n = covariances, len(covariances.x)
        self.fixed = torch.from_numpy(covariances.fixed).to(covariances.device)
        self.numbers = torch.from_numpy(covariances.lags.numbers).to(covariances.device).reshape(-1)

    def functions(self, points: Array) -> Tensor | None:
        """Return the functions of the lag ``(b, m)``."""
        return self.covariances.functions(points)

    def matrices(self, points: Array, k: Tensor | None) -> Tensor:
        """Return the covariances ``(b, n, n)`` without noise."""
        variances = torch.from_numpy(np.exp(points[:, self.covariances.entries[1]])).to(self.fixed)
        total = variances @ self.fixed
        if k is not None:
            total += k[:, self.numbers]
        return total.reshape(len(points), self.n, self.n)

    def sums(self, matrices: Tensor) -> tuple[Tensor, Tensor]:
        """Return what `Covariances.sums` returns, for each of ``(b, n, n)`` symmetric matrices."""
        flat = matrices.reshape(len(matrices), -1)
        at_lags = flat.new_zeros(len(flat), len(self.covariances.lags.values))
        return at_lags.index_add_(1, self.numbers, flat), flat @ self.fixed.T


def _together(n: int) -> int:
    return max(1, ENTRIES // n**2)
