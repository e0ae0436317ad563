r"""Exact inference for series that are seen at the same times, under many hyperparameters at once.

.. math::

    \log N(y; 0, A) = -\tfrac12 (y^\top A^{-1} y + \log |A| + n \log 2 \pi), \quad
    \frac{\partial}{\partial A} = \tfrac12 (\alpha \alpha^\top - A^{-1}), \quad \alpha = A^{-1} y.

Given the series, new functions :math:`f_*` have the mean :math:`K_* \alpha` and the covariance
:math:`K_{**} - K_* A^{-1} K_*^\top`.

Source: Rasmussen and Williams (2006), equations 2.23, 2.24, 5.8 and 5.9.
"""

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nonparam.forecasting.covariances import Covariances
from nonparam.forecasting.structure import Structure

__all__ = ["Dense"]

Array = NDArray[np.float64]

BLOCK = 256  # rows whose joint covariance is made where only variances are wanted
CHUNK = 2**18  # entries of the covariances that are worked on at once: more do not fit the cache


@dataclass(frozen=True)
class Dense:
    """Series under a structure, by factors of their covariances: ``O(n^3)`` for each set of hyperparameters.

    Attributes:
        structure: what the series are thought to be made of.
        x: ``(n, c)``, the times, increasing, and beside them the regressors.
        y: ``(n, t)``, transformed series.

    Examples:
        >>> from nonparam.forecasting.structure import build_structure
        >>> structure, x = build_structure(-2.0), np.array([[-2.0], [-1.0], [0.0]])
        >>> dense = Dense(structure, x, np.array([[1.0], [0.0], [-1.0]]))
        >>> point, first = structure.theta().start[None], np.array([0])
        >>> values, gradients = dense(point, first)
        >>> values.round(3), gradients.shape
        (array([-4.051]), (1, 11))
        >>> mean, covariance = dense.predict(point, first, np.array([[1.0], [2.0]]))
        >>> mean.shape, covariance.shape
        ((1, 2), (1, 2, 2))
    """

    structure: Structure
    x: Array
    y: Array

    @cached_property
    def _covariances(self) -> Covariances:
        return Covariances(self.structure, self.x)

    def __call__(self, points: Array, outputs: NDArray[np.intp]) -> tuple[Array, Array]:
        """Return the log likelihood in nats, and its gradient.

        Args:
            points: ``(b, p)``, logarithms of hyperparameters.
            outputs: ``(b,)``, the column of ``y`` of each.

        Returns:
            ``(b,)``, minus infinity where the covariance is not positive definite, and ``(b, p)``.
        """
        return _in_chunks(self._evaluate, len(self.y), points, outputs)

    def predict(self, points: Array, outputs: NDArray[np.intp], new: Array) -> tuple[Array, Array]:
        """Return what is known of the functions, without noise, at other rows.

        Args:
            points: as above.
            outputs: as above.
            new: ``(m, c)``.

        Returns:
            Means ``(b, m)`` and covariances ``(b, m, m)``.
        """
        both = Covariances(self.structure, np.concatenate([self.x, new]))

        def moments(points: Array, outputs: NDArray[np.intp]) -> tuple[Array, Array]:
            joint, _ = both.matrices(points)
            return self._conditional(*self._factor(joint, points, outputs), joint)

        return _in_chunks(moments, len(both.x), points, outputs)

    def marginals(self, points: Array, outputs: NDArray[np.intp], new: Array) -> tuple[Array, Array]:
        """Return means and variances ``(b, m)`` at other rows, some rows after others."""
        found = [self.predict(points, outputs, new[i : i + BLOCK]) for i in range(0, len(new), BLOCK)]
        means, covariances = zip(*found, strict=True)
        variances = [np.diagonal(covariance, axis1=1, axis2=2) for covariance in covariances]
        return np.concatenate(means, 1), np.concatenate(variances, 1)

    def sums(
        self, groups: Sequence[Collection[str]], point: Array, output: int, new: Array
    ) -> list[tuple[Array, Array]]:
        """Return what is known of sums of parts at rows ``new (m, c)``, old or new ones.

        Args:
            groups: the names of the parts of each sum.
            point: ``(p,)``, logarithms of hyperparameters.
            output: the column of ``y``.
            new: ``(m, c)``.

        Returns:
            Mean ``(m,)`` and variance ``(m,)`` of each sum.
        """
        root, y = self._factor(self._covariances.matrices(point[None])[0], point[None], np.array([output]))
        return [self._sum(names, point, root, y, new) for names in groups]

    def _sum(
        self, names: Collection[str], point: Array, root: Tensor, y: Tensor, new: Array
    ) -> tuple[Array, Array]:
        some = self.structure.without([part.name for part in self.structure.parts if part.name not in names])
        own = np.append(point[self.structure.entries(names)], point[-1])
        means, variances = [], []
        for i in range(0, len(new), BLOCK):
            rows = np.concatenate([self.x, new[i : i + BLOCK]])
            mean, covariance = self._conditional(root, y, Covariances(some, rows).matrices(own[None])[0])
            means.append(mean[0])
            variances.append(np.diagonal(covariance[0]))
        return np.concatenate(means), np.concatenate(variances)

    def _factor(self, joint: Tensor, points: Array, outputs: NDArray[np.intp]) -> tuple[Tensor, Tensor]:
        """Return the factors of the covariances of the series, and by them whitened series."""
        n = len(self.x)
        a = joint[:, :n, :n] + torch.from_numpy(np.exp(points[:, -1]))[:, None, None] * torch.eye(n)
        root = torch.linalg.cholesky(a)
        return root, torch.linalg.solve_triangular(root, self._chosen(outputs), upper=False)

    def _conditional(self, root: Tensor, y: Tensor, wanted: Tensor) -> tuple[Array, Array]:
        """Condition functions, whose covariances ``wanted`` have the series' rows first, on the series."""
        n = len(self.x)
        white = torch.linalg.solve_triangular(root, wanted[:, n:, :n].mT, upper=False)
        mean = (white.mT @ y)[:, :, 0]
        return mean.numpy(), (wanted[:, n:, n:] - white.mT @ white).numpy()

    def _chosen(self, outputs: NDArray[np.intp]) -> Tensor:
        return torch.from_numpy(self.y.T[outputs])[:, :, None]

    def _evaluate(self, points: Array, outputs: NDArray[np.intp]) -> tuple[Array, Array]:
        a, k = self._covariances.matrices(points, gradient=True)
        noise = np.exp(points[:, -1])
        torch.diagonal(a, dim1=1, dim2=2).add_(torch.from_numpy(noise)[:, None])
        root, info = torch.linalg.cholesky_ex(a)
        y = self._chosen(outputs)
        inverse = torch.cholesky_inverse(root)
        alpha = inverse @ y
        log_determinant = 2.0 * torch.diagonal(root, dim1=1, dim2=2).log().sum(1)
        fit = (y * alpha).sum((1, 2))
        values = (-0.5 * (fit + log_determinant + len(self.y) * math.log(2.0 * math.pi))).numpy()
        w = torch.baddbmm(inverse, alpha, alpha.mT, beta=-0.5, alpha=0.5)
        gradients = self._covariances.slopes(points, k, w)
        gradients[:, -1] *= noise
        usable = (info.numpy() == 0) & np.isfinite(values) & np.isfinite(gradients).all(1)
        return np.where(usable, values, -np.inf), np.where(usable[:, None], gradients, 0.0)


def _in_chunks(
    evaluate: Callable[[Array, NDArray[np.intp]], tuple[Array, Array]],
    n: int,
    points: Array,
    outputs: NDArray[np.intp],
) -> tuple[Array, Array]:
    """Evaluate at some points after others, as many at once as the cache has matrices ``n x n``."""
    size = max(1, CHUNK // n**2)
    starts = range(0, len(points), size)
    pieces = [evaluate(points[i : i + size], outputs[i : i + size]) for i in starts]
    first, second = zip(*pieces, strict=True)
    return np.concatenate(first), np.concatenate(second)
