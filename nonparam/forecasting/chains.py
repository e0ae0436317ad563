"""Long series under many hyperparameters: each in time that grows with the length, one after the other."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from nonparam.forecasting.chain import Chain, Term
from nonparam.forecasting.structure import Part, Structure

__all__ = ["Chains"]

Array = NDArray[np.float64]

HARMONICS = 40  # of a season: with 24 the evidence of a week in hours is some nats off


@dataclass(frozen=True)
class Chains:
    """Series that are seen at the same times, as chains; see `nonparam.forecasting.chain`.

    Attributes:
        structure: what the series are thought to be made of.
        x: ``(n, c)``, the times, increasing, and beside them the regressors.
        y: ``(n, t)``, transformed series.

    Examples:
        >>> from nonparam.forecasting.dense import Dense
        >>> from nonparam.forecasting.structure import build_structure
        >>> structure, x = build_structure(-2.0), np.array([[-2.0], [-1.0], [0.0]])
        >>> y, point, first = np.array([[1.0], [0.0], [-1.0]]), structure.theta().start[None], np.array([0])
        >>> chains, dense = Chains(structure, x, y), Dense(structure, x, y)
        >>> np.allclose(chains(point, first)[0], dense(point, first)[0], rtol=1e-6)
        True
    """

    structure: Structure
    x: Array
    y: Array

    @cached_property
    def _chains(self) -> list[Chain]:
        terms = [_term(part) for part in self.structure.parts]
        features = self.x[:, self._columns]
        return [Chain.of(terms, self.x[:, 0], y, features) for y in self.y.T]

    @property
    def _columns(self) -> list[int]:
        return [column for part in self.structure.parts for column in part.columns]

    def __call__(self, points: Array, outputs: NDArray[np.intp]) -> tuple[Array, Array]:
        """Return log likelihoods ``(b,)`` and gradients ``(b, p)``, as `Dense` does."""
        found = [
            self._chains[output].log_likelihood(p[None]) for p, output in zip(points, outputs, strict=True)
        ]
        values, gradients = zip(*found, strict=True)
        return np.concatenate(values), np.concatenate(gradients)

    def predict(self, points: Array, outputs: NDArray[np.intp], new: Array) -> tuple[Array, Array]:
        """Return means ``(b, m)`` and covariances ``(b, m, m)`` after the series, without noise."""
        times, rows, places = np.unique(new[:, 0], return_index=True, return_inverse=True)
        found = [
            self._chains[output].forecast(point, times, new[rows][:, self._columns])
            for point, output in zip(points, outputs, strict=True)
        ]
        means, covariances = zip(*found, strict=True)
        return np.stack(means)[:, places], np.stack(covariances)[:, places][:, :, places]

    def marginals(self, points: Array, outputs: NDArray[np.intp], new: Array) -> tuple[Array, Array]:
        """Return means and variances ``(b, m)`` at any times, without noise."""
        found = [
            self._chains[output].marginals(point, new[:, 0], new[:, self._columns])
            for point, output in zip(points, outputs, strict=True)
        ]
        means, variances = zip(*found, strict=True)
        return np.stack(means), np.stack(variances)

    def smoothed(self, points: Array, y: Array) -> tuple[Array, Array]:
        """Return means and variances ``(b, n)`` at the rows of series ``y (n, b)``, without noise."""
        return replace(self, y=y).marginals(points, np.arange(len(points)), self.x)

    def sums(
        self, groups: Sequence[Collection[str]], point: Array, output: int, new: Array
    ) -> list[tuple[Array, Array]]:
        """Return mean ``(m,)`` and variance ``(m,)`` of sums of parts at ``new (m, c)``."""
        return self._chains[output].sums(point, groups, new[:, 0], new[:, self._columns])


def _term(part: Part) -> Term:
    nu = part.kernel.kernel.nu if part.kind == "trend" else 1.5
    return Term(
        part.name,
        part.kind,
        period=part.period,
        harmonics=HARMONICS,
        nu=nu,
        columns=max(1, len(part.columns)),
    )
