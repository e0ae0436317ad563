r"""Exact inference for series that are seen at the same times, under many hyperparameters at once.

.. math::

    \log N(y; 0, A) = -\tfrac12 (y^\top A^{-1} y + \log |A| + n \log 2 \pi), \quad
    \frac{\partial}{\partial A} = \tfrac12 (\alpha \alpha^\top - A^{-1}), \quad \alpha = A^{-1} y.

Given the series, new functions :math:`f_*` have the mean :math:`K_* \alpha` and the covariance
:math:`K_{**} - K_* A^{-1} K_*^\top`.

Source: Rasmussen and Williams (2006), equations 2.23, 2.24, 5.8 and 5.9.
"""

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cholesky, solve_triangular
from scipy.linalg.blas import dsymv, dsyr
from scipy.linalg.lapack import dpotrf, dpotri
from torch import Tensor

from nonparam.forecasting.covariances import Covariances
from nonparam.forecasting.structure import Structure

__all__ = ["Dense"]

Array = NDArray[np.float64]

BLOCK = 256  # rows whose joint covariance is made where only variances are wanted
VALUES = 2**16  # values of functions of the lag that are made at once


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

    @property
    def together(self) -> int:
        """How many points are evaluated at once."""
        return max(1, VALUES // len(self._covariances.lags.values))

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
        size = self.together
        starts = range(0, len(points), size)
        pieces = [self._evaluate(points[i : i + size], outputs[i : i + size]) for i in starts]
        values, gradients = zip(*pieces, strict=True)
        return np.concatenate(values), np.concatenate(gradients)

    def predict(self, points: Array, outputs: NDArray[np.intp], new: Array) -> tuple[Array, Array]:
        """Return what is known of the functions, without noise, at other rows.

        Args:
            points: as above.
            outputs: as above.
            new: ``(m, c)``.

        Returns:
            Means ``(b, m)`` and covariances ``(b, m, m)``.
        """
        found = [
            (mean, own - white.T @ white) for mean, white, own in self._conditionals(points, outputs, new)
        ]
        means, covariances = zip(*found, strict=True)
        return np.stack(means), np.stack(covariances)

    def marginals(self, points: Array, outputs: NDArray[np.intp], new: Array) -> tuple[Array, Array]:
        """Return means and variances ``(b, m)`` at other rows, some rows after others."""
        blocks = [
            [_marginal(*found) for found in self._conditionals(points, outputs, new[i : i + BLOCK])]
            for i in range(0, len(new), BLOCK)
        ]
        moments = np.concatenate([np.array(block) for block in blocks], 2)
        return moments[:, 0], moments[:, 1]

    def smoothed(self, points: Array, y: Array) -> tuple[Array, Array]:
        r"""Return what is known of the functions at the rows of series, one for each of the points.

        .. math:: m = y - \sigma^2 \alpha, \quad v_i = \sigma^2 - \sigma^4 (A^{-1})_{ii}.

        Args:
            points: ``(b, p)``.
            y: ``(n, b)``.

        Returns:
            Means and variances ``(b, n)``.
        """
        found = []
        for a, point, own in zip(_matrices(self._covariances, points), points, y.T, strict=True):
            root, noise = _factor(a, point), np.exp(point[-1])
            inverse, _ = dpotri(root, lower=True)
            alpha = dsymv(1.0, inverse, own, lower=True)
            found.append((own - noise * alpha, noise - noise**2 * np.diagonal(inverse)))
        means, variances = zip(*found, strict=True)
        return np.stack(means), np.stack(variances)

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
        (a,) = _matrices(self._covariances, point[None])
        root = _factor(a, point)
        y = _whitened(root, self.y[:, output])
        return [self._sum(names, point, root, y, new) for names in groups]

    def _sum(
        self, names: Collection[str], point: Array, root: Array, y: Array, new: Array
    ) -> tuple[Array, Array]:
        some = self.structure.without([part.name for part in self.structure.parts if part.name not in names])
        own = np.append(point[self.structure.entries(names)], point[-1])
        found = []
        for i in range(0, len(new), BLOCK):
            rows = np.concatenate([self.x, new[i : i + BLOCK]])
            (wanted,) = _matrices(Covariances(some, rows), own[None])
            found.append(_marginal(*_conditional(root, y, wanted)))
        means, variances = zip(*found, strict=True)
        return np.concatenate(means), np.concatenate(variances)

    def _conditionals(
        self, points: Array, outputs: NDArray[np.intp], new: Array
    ) -> Iterator[tuple[Array, Array, Array]]:
        """Yield what `_conditional` returns for all parts, for each of the points."""
        n = len(self.x)
        joints = _matrices(Covariances(self.structure, np.concatenate([self.x, new])), points)
        for joint, point, output in zip(joints, points, outputs, strict=True):
            root = _factor(joint[:n, :n].copy(), point)
            yield _conditional(root, _whitened(root, self.y[:, output]), joint)

    def _evaluate(self, points: Array, outputs: NDArray[np.intp]) -> tuple[Array, Array]:
        covariances = self._covariances
        k = covariances.functions(points, gradient=True)
        values, at_lags, products, traces = self._densities(points, outputs, k)
        gradients = covariances.slopes(points, k, at_lags, products)
        gradients[:, -1] = np.exp(points[:, -1]) * traces
        gradients *= -0.5
        usable = np.isfinite(values) & np.isfinite(gradients).all(1)
        return np.where(usable, values, -np.inf), np.where(usable[:, None], gradients, 0.0)

    def _densities(
        self, points: Array, outputs: NDArray[np.intp], k: Tensor | None
    ) -> tuple[Array, Array, Array, Array]:
        """Return log densities ``(b,)``, and of minus twice their derivatives in the covariance the sums.

        Args:
            points: ``(b, p)``.
            outputs: ``(b,)``.
            k: functions of the lag, ``(b, m)``.

        Returns:
            Besides the densities the sums at each lag ``(b, m)``, the products with the fixed matrices
            ``(b, r)``, and the traces ``(b,)``.
        """
        covariances, noise = self._covariances, np.exp(points[:, -1])
        found = []
        for i, a in enumerate(covariances.matrices(points, k)):
            a.reshape(-1)[:: len(a) + 1] += noise[i]
            value, w = _log_normal(a, self.y[:, outputs[i]])
            found.append((value, *covariances.sums(w), np.trace(w)))
        values, at_lags, products, traces = (np.array(each) for each in zip(*found, strict=True))
        return values, at_lags, products, traces


def _matrices(covariances: Covariances, points: Array) -> Iterator[Array]:
    return covariances.matrices(points, covariances.functions(points))


def _factor(a: Array, point: Array) -> Array:
    """Return the factor of the covariance ``a``, which is lost, with noise."""
    a.reshape(-1)[:: len(a) + 1] += np.exp(point[-1])
    root: Array = cholesky(a.T, lower=True, overwrite_a=True, check_finite=False)
    return root


def _whitened(root: Array, wanted: Array) -> Array:
    white: Array = solve_triangular(root, wanted, lower=True, check_finite=False)
    return white


def _log_normal(a: Array, y: Array) -> tuple[float, Array]:
    """Return the log density of ``y (n,)``, and minus twice its derivative in the covariance.

    Args:
        a: ``(n, n)``, the covariance, which is lost.
        y: ``(n,)``.

    Returns:
        Minus infinity and zeros where ``a`` is not positive definite; of the derivative, the upper triangle,
        and zeros below.
    """
    root, info = dpotrf(a.T, lower=True, overwrite_a=True)  # by columns, so that nothing is copied
    if info != 0:
        return -np.inf, np.zeros_like(a)
    log_determinant = 2.0 * float(np.log(np.diagonal(root)).sum())
    inverse, _ = dpotri(root, lower=True, overwrite_c=True)
    alpha = dsymv(1.0, inverse, y, lower=True)
    value = -0.5 * (float(y @ alpha) + log_determinant + len(y) * math.log(2.0 * math.pi))
    return value, dsyr(-1.0, alpha, lower=True, a=inverse, overwrite_a=True).T


def _conditional(root: Array, y: Array, wanted: Array) -> tuple[Array, Array, Array]:
    """Condition functions, whose covariance ``wanted`` has the series' rows first, on the series.

    Returns:
        Mean ``(m,)``, and covariance ``(m, m)`` as the difference of the third and the square of the second.
    """
    n = len(root)
    white = _whitened(root, wanted[:n, n:])
    return white.T @ y, white, wanted[n:, n:]


def _marginal(mean: Array, white: Array, own: Array) -> tuple[Array, Array]:
    return mean, np.diagonal(own) - (white**2).sum(0)
