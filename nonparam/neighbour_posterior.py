"""The Gaussian process given the nearest observations of each new row."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import gpytorch
import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve
from torch import Tensor

from nonparam.kernels.evaluate import covariance
from nonparam.objective import Data
from nonparam.solvers.neighbours import Tree, tree_of
from nonparam.solvers.vecchia import conditionals, with_diagonal
from nonparam.vecchia import batches, compiled_threads, radial_term

__all__ = ["NeighbourPosterior"]

Array = NDArray[np.float64]
Rows = NDArray[np.int32]

BLOCK = 2**16  # new rows worked on at a time


@dataclass(frozen=True)
class NeighbourPosterior:
    r"""The process at new rows, each given its :math:`m` nearest observations.

    .. math::

        m(x) = h(x)^\top \hat\beta + k^\top A^{-1} (y_N - H_N \hat\beta), \quad
        v(x) = k(x, x) - k^\top A^{-1} k + r^\top P^{-1} r, \quad r = h(x) - H_N^\top A^{-1} k

    with the weights of the mean and their precision :math:`P` from all observations.

    Attributes:
        kernel: at its fitted hyperparameters.
        data: the observations in their order.
        noise: the noise variance.
        jitter: what else is on the diagonal.
        num_neighbours: of a new row.
        divisors: ``(d,)``, by which columns are divided to find what is near.
        coefficients: ``(q, t)``, the weights of the mean.
        precision: ``(q, q)``, theirs.
    """

    kernel: gpytorch.kernels.Kernel
    data: Data
    noise: float
    jitter: float
    num_neighbours: int
    divisors: Array
    coefficients: Array
    precision: Array

    @torch.no_grad()
    def predict(self, x: Tensor, basis: Tensor) -> tuple[Array, Array]:
        """Return means and variances of the function without noise.

        Args:
            x: ``(r, d)``.
            basis: ``(r, q)``.

        Returns:
            ``(r, t)`` and ``(r,)``, never negative.
        """
        t = self.data.y.shape[1]
        parts = [self._given(*block) for block in zip(x.split(BLOCK), basis.split(BLOCK), strict=True)]
        variances, residuals = (np.concatenate(part) for part in zip(*parts, strict=True))
        left = residuals[:, t:]  # of the basis functions
        mean = left @ self.coefficients - residuals[:, :t]  # outputs of new rows count as 0
        variance = np.maximum(variances, 0.0)  # rounding may leave -1e-16
        if len(self.precision):
            variance = variance + (left * cho_solve(cho_factor(self.precision), left.T).T).sum(1)
        return mean, variance

    @cached_property
    def _tree(self) -> Tree:
        with compiled_threads():
            return tree_of(self._divided(self.data.x))

    @cached_property
    def _table(self) -> Array:
        return np.ascontiguousarray(torch.cat([self.data.y, self.data.basis], 1).cpu().numpy())

    def _divided(self, x: Tensor) -> Array:
        return np.ascontiguousarray(x.cpu().numpy() / self.divisors)

    def _given(self, x: Tensor, basis: Tensor) -> tuple[Array, Array]:
        """Return variances ``(r,)`` and residuals of outputs, as if they were 0, and of basis functions."""
        rows, n = np.arange(len(x), dtype=np.int32), len(self.data.x)
        tree, divided = self._tree, self._divided(x)
        with compiled_threads():
            near = tree.nearest(divided, self.num_neighbours, np.full(len(x), n, dtype=np.int32), rows)
        table = np.concatenate([np.zeros((len(x), self.data.y.shape[1])), basis.cpu().numpy()], 1)
        if radial_term(self.kernel, x[:1]) is not None:
            return self._by_loops(x, table, near)
        found = list(self._by_blocks(x, torch.from_numpy(table).to(x), near))
        variances, residuals = (torch.cat(part).cpu().numpy() for part in zip(*found, strict=True))
        return variances, residuals

    def _by_loops(self, x: Tensor, table: Array, near: Rows) -> tuple[Array, Array]:
        from nonparam.kernels.compiled import PROFILES
        from nonparam.kernels.compiled_vecchia import conditionals as compiled_conditionals

        variances, residuals = np.empty(len(x)), np.empty_like(table)
        term = radial_term(self.kernel, torch.cat([x, self.data.x]))
        assert term is not None
        z, scale = term.z.numpy(), float(term.scale)
        with compiled_threads():
            compiled_conditionals(
                PROFILES[term.profile],
                scale,
                self.noise + self.jitter,
                0.0,
                z[len(x) :],
                self._table,
                z[: len(x)],
                table,
                near,
                variances,
                residuals,
            )
        return variances, residuals

    def _by_blocks(self, x: Tensor, table: Tensor, near: Rows) -> Iterator[tuple[Tensor, Tensor]]:
        known_table = torch.from_numpy(self._table).to(x)
        for some in batches(np.arange(len(x)), near.shape[1] + 1):
            sets = torch.from_numpy(near[some].astype(np.int64)).to(x.device)
            known, sets = sets >= 0, sets.clamp_min(0)
            rows = torch.cat([self.data.x[sets], x[some][:, None]], 1)
            columns = torch.where(known[..., None], known_table[sets], 0.0)
            known = torch.nn.functional.pad(known, (0, 1), value=True)
            a = with_diagonal(covariance(self.kernel, rows), known, self.noise + self.jitter, 0.0)
            yield conditionals(a, torch.cat([columns, table[some][:, None]], 1))
