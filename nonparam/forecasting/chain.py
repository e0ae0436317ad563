r"""The sum of a structure's parts as a Markov chain: exact inference in :math:`O(n D^2)` for long series.

.. math:: y_t = \sum_k x_{tk} c_k + \sum_i h_i(t) z_i(t) + e_t, \qquad c_k \sim N(0, v_k)

Trend, level, memory and the waves of the seasons are states :math:`z` of a filter; see `structural_chain`.
What is linear in unknown coefficients (base, drift, features) is no state: the filter takes its columns
along, and a regression on their innovations does the rest; see `innovations`.

Sources: Hartikainen and Särkkä (2010), Kalman filtering and smoothing solutions to temporal Gaussian process
regression models, MLSP; Solin and Särkkä (2014), Explicit link between periodic covariance functions and
state space models, AISTATS; de Jong (1991), The diffuse Kalman filter, Annals of Statistics 19.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nonparam.errors import InputError
from nonparam.forecasting.chain_space import Filtered, Space, transitions
from nonparam.forecasting.chain_terms import Term, Timing, columns, loadings
from nonparam.solvers.structural_chain import step

__all__ = ["Chain", "Term"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Chain:
    """A series and the parts that it is the sum of; hyperparameters are given with each question.

    They come as logarithms: for each part those that `Term` names, in the order of the parts, and at last the
    variance of the noise.

    Attributes:
        terms: the parts.
        timing: when the rows are.
        columns: ``(n, 1 + q)``, ``y`` and the columns of the linear parts.
        origin: where the level starts.
        periods: for each part the steps in its period, where a grid makes its season a finite sum of waves.
        waves: for each part ``(n, d)``.

    Examples:
        >>> times = np.arange(-23.0, 1.0)
        >>> parts = [Term("base", "base"), Term("year", "season", period=12.0), Term("level", "level")]
        >>> chain = Chain.of(parts, times, np.sin(times / 12.0 * 2.0 * np.pi))
        >>> values, gradients = chain.log_likelihood(np.log([[1.0, 1.0, 2.0, 60.0, 0.01, 0.01]]))
        >>> values.round(3), gradients.shape
        (array([-0.438]), (1, 6))
    """

    terms: tuple[Term, ...]
    timing: Timing
    columns: Array
    origin: float
    periods: tuple[int | None, ...]
    waves: tuple[Array, ...]

    @classmethod
    def of(
        cls,
        terms: Sequence[Term],
        times: ArrayLike,
        y: ArrayLike,
        features: ArrayLike | None = None,
        origin: float | None = None,
    ) -> "Chain":
        """Prepare a series.

        Args:
            terms: the parts, with names that differ; one trend at most.
            times: ``(n,)``, increasing; where nothing was observed there is no row.
            y: ``(n,)``, of mean about 0.
            features: ``(n, f)``, for the parts of kind ``features``, in their order.
            origin: where the level starts; the first time by default.

        Raises:
            InputError: shapes that do not fit, entries that are not finite, times that do not increase.
        """
        t, series = np.asarray(times, dtype=np.float64), np.asarray(y, dtype=np.float64)
        if t.ndim != 1 or len(t) == 0 or series.shape != t.shape:
            raise InputError(
                f"times and y: expected two vectors of one length, got {t.shape} and {series.shape}"
            )
        _require_increasing(t, "times")
        if not np.isfinite(series).all():
            raise InputError("y: expected finite numbers; leave the rows out where nothing was observed")
        _require_parts(terms)
        start = float(t[0]) if origin is None else float(origin)
        if start > t[0]:
            raise InputError(f"origin: expected the first time {t[0]} or an earlier one, got {start}")
        timing, parts = Timing.of(t), tuple(terms)
        periods = tuple(timing.steps(term) for term in parts)
        waves = tuple(loadings(term, p, t) for term, p in zip(parts, periods, strict=True))
        rows = np.column_stack([series, columns(parts, t, _features(features, t))])
        return cls(parts, timing, rows, start, periods, waves)

    @property
    def hyperparameters(self) -> int:
        """The number of hyperparameters, ``p``."""
        return sum(term.hyperparameters for term in self.terms) + 1

    def log_likelihood(self, points: ArrayLike) -> tuple[Array, Array]:
        """Return the log density of the series and its gradient at each of some points.

        Args:
            points: ``(b, p)``, logarithms of hyperparameters.

        Returns:
            ``(b,)`` values in nats, and ``(b, p)`` gradients. Where the covariance leaves the range of
            numbers the value is minus infinity and the gradient 0.
        """
        rows = np.atleast_2d(np.asarray(points, dtype=np.float64))
        found = [self._log_likelihood(self._checked(row)) for row in rows]
        return np.array([value for value, _ in found]), np.stack([gradient for _, gradient in found])

    def forecast(
        self, point: ArrayLike, times: ArrayLike, features: ArrayLike | None = None
    ) -> tuple[Array, Array]:
        """Return mean ``(m,)`` and covariance ``(m, m)`` of the parts' sum after the series, without noise.

        Args:
            point: ``(p,)``.
            times: ``(m,)``, increasing, all after the last observation.
            features: ``(m, f)``, at these times.

        Raises:
            InputError: times or features that do not fit.
        """
        t, values = np.asarray(times, dtype=np.float64), self._checked(point)
        _require_increasing(t, "times")
        if len(t) and t[0] <= self.timing.times[-1]:
            raise InputError(
                f"times: expected later ones than {self.timing.times[-1]}, got {t[0]}; see `parts`"
            )
        space = self._space(values, self.timing, self.waves)
        filtered = self._filtered_rows(space)
        mixed = filtered.regression.mixed(
            np.insert(columns(self.terms, t, _features(features, t)), 0, 0.0, axis=1)
        )
        state, covariance = _extrapolated(space, filtered, self._loadings(space, t), t)
        directions = mixed[:, 1:] - state[:, 1:]
        return state[:, 0] - mixed[:, 0], covariance + directions @ directions.T

    def parts(
        self, point: ArrayLike, times: ArrayLike, features: ArrayLike | None = None
    ) -> dict[str, tuple[Array, Array]]:
        """Return the mean and variance of each part at any times, given the whole series.

        Args:
            point: ``(p,)``.
            times: ``(m,)``, in any order; with a level none before the origin.
            features: ``(m, f)``, at these times.

        Returns:
            By the names of the parts ``(m,)`` means and ``(m,)`` variances. The means add up to the sum's.

        Raises:
            InputError: times or features that do not fit.
        """
        names = [term.name for term in self.terms]
        return dict(zip(names, self.sums(point, [[name] for name in names], times, features), strict=True))

    def marginals(
        self, point: ArrayLike, times: ArrayLike, features: ArrayLike | None = None
    ) -> tuple[Array, Array]:
        """Return the mean and variance of the parts' sum at any times, given the whole series, without noise.

        Args:
            point: ``(p,)``.
            times: ``(m,)``, in any order; with a level none before the origin.
            features: ``(m, f)``, at these times.

        Returns:
            ``(m,)`` means and ``(m,)`` variances. After the series they are those of `forecast`, in time and
            memory that grow with ``m`` and not with its square.

        Raises:
            InputError: times or features that do not fit.
        """
        (found,) = self.sums(point, [[term.name for term in self.terms]], times, features)
        return found

    def sums(
        self,
        point: ArrayLike,
        groups: Sequence[Collection[str]],
        times: ArrayLike,
        features: ArrayLike | None = None,
    ) -> list[tuple[Array, Array]]:
        """Return the mean and variance of sums of some parts at any times, given the whole series.

        Args:
            point: ``(p,)``.
            groups: the names of the parts of each sum.
            times: ``(m,)``, in any order; with a level none before the origin.
            features: ``(m, f)``, at these times.

        Returns:
            ``(m,)`` means and ``(m,)`` variances of each sum.

        Raises:
            InputError: times or features that do not fit.
        """
        t = self._anywhen(times)
        x = columns(self.terms, t, _features(features, t))
        filtered, means, variances = self._smoothed(point, t, groups)
        owners = np.array([term.name for term in self.terms if term.is_linear for _ in range(term.columns)])
        found = []
        for i, names in enumerate(groups):
            own = np.where(np.isin(owners, list(names)), x, 0.0)
            directions = own @ filtered.regression.root - means[:, i, 1:]
            mean = own @ filtered.regression.mean + means[:, i, 0]
            found.append((mean, variances[:, i] + (directions**2).sum(1)))
        return found

    def _anywhen(self, times: ArrayLike) -> Array:
        t = np.asarray(times, dtype=np.float64)
        if t.ndim != 1 or not np.isfinite(t).all():
            raise InputError(f"times: expected a vector of finite numbers, got shape {t.shape}")
        if len(t) and t.min() < self.origin and any(term.kind == "level" for term in self.terms):
            raise InputError(f"times: the level starts at {self.origin}, got {t.min()}")
        return t

    def _smoothed(
        self, point: ArrayLike, times: Array, names: Sequence[Collection[str]]
    ) -> tuple[Filtered, Array, Array]:
        """Smooth the states of groups of parts, given by their names, at ``times (m,)``.

        Returns:
            The filter; what each group makes of the mixed columns, ``(m, b, 1 + q)``; the groups' variances
            ``(m, b)`` with the coefficients held.
        """
        every = np.union1d(self.timing.times, times)
        waves = [loadings(term, p, every) for term, p in zip(self.terms, self.periods, strict=True)]
        space = self._space(self._checked(point), Timing.of(every), waves)
        filtered = self._filtered_among(space)
        groups = np.zeros((len(names), space.loadings.shape[1]))
        for block in space.blocks:
            groups[[self.terms[block.part].name in group for group in names], block.states] = 1.0
        smoothed, rows = space.adjoint(filtered, groups), np.searchsorted(every, times)
        return filtered, smoothed.means[rows], np.maximum(smoothed.variances[rows], 0.0)

    def _log_likelihood(self, point: Array) -> tuple[float, Array]:
        nothing = -np.inf, np.zeros_like(point)
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            scales = np.exp(point)
            if not (np.isfinite(scales).all() and (scales > 0.0).all()):
                return nothing
            space = self._space(point, self.timing, self.waves)
            filtered = self._filtered_rows(space)
            value = filtered.regression.log_density
            if not np.isfinite(value):
                return nothing
            adjoint = space.adjoint(filtered, np.zeros((0, space.loadings.shape[1])))
            gradient = space.slopes(adjoint, filtered.regression)
        return (value, gradient) if np.isfinite(gradient).all() else nothing

    def _space(self, point: Array, timing: Timing, waves: Sequence[Array]) -> Space:
        origin = min(self.origin, timing.times[0])  # earlier only where nothing starts there
        return Space.at(self.terms, self.periods, point, origin, timing, waves)

    def _filtered_rows(self, space: Space) -> Filtered:
        return self._filtered(space, self.columns, np.full(len(self.columns), space.noise))

    def _filtered_among(self, space: Space) -> Filtered:
        """Filter where there are times between the rows, at which nothing was observed."""
        is_seen = np.isin(space.timing.times, self.timing.times, assume_unique=True)
        y = np.zeros((len(is_seen), self.columns.shape[1]))
        y[is_seen] = self.columns
        return self._filtered(space, y, np.where(is_seen, space.noise, np.inf))

    def _filtered(self, space: Space, y: Array, noise: Array) -> Filtered:
        linear = [
            np.repeat(v, term.columns)
            for v, term in zip(space.values, self.terms, strict=True)
            if term.is_linear
        ]
        return space.filtered(y, noise, np.concatenate([np.empty(0), *linear]))

    def _loadings(self, space: Space, times: Array) -> Array:
        found = [np.empty((len(times), 0))]
        for block in space.blocks:
            found.append(loadings(self.terms[block.part], self.periods[block.part], times)[:, block.wanted])
        return np.concatenate(found, axis=1)

    def _checked(self, point: ArrayLike) -> Array:
        values = np.asarray(point, dtype=np.float64)
        if values.shape != (self.hyperparameters,):
            raise InputError(
                f"point: expected {self.hyperparameters} hyperparameters, got shape {values.shape}"
            )
        return values


def _extrapolated(space: Space, filtered: Filtered, h: Array, times: Array) -> tuple[Array, Array]:
    """Return the states' part of each column, ``(m, 1 + q)``, and of the covariance, ``(m, m)``, later on."""
    m, r = len(times), len(filtered.mean)
    means, covariance = np.empty((m, r)), np.zeros((m, m))
    timing = Timing.of(np.append(space.timing.times[-1], times))
    over = transitions(space.blocks, timing.gaps)
    states, nothing = filtered.covariance.copy(), np.zeros(h.shape[1])
    carried = np.zeros((r + m, h.shape[1]))  # the means, then the covariances with what came before
    carried[:r] = filtered.mean
    for t in range(m):
        step(states, carried[: r + t], nothing, np.zeros(r + t), *(each[timing.gap[t]] for each in over))
        means[t] = carried[:r] @ h[t]
        covariance[t, :t] = covariance[:t, t] = carried[r : r + t] @ h[t]
        carried[r + t] = states @ h[t]
        covariance[t, t] = max(carried[r + t] @ h[t], 0.0)
    return means, covariance


def _features(features: ArrayLike | None, times: Array) -> Array:
    return np.empty((len(times), 0)) if features is None else np.asarray(features, dtype=np.float64)


def _require_increasing(times: Array, name: str) -> None:
    if times.ndim != 1 or not np.isfinite(times).all() or not (np.diff(times) > 0.0).all():
        raise InputError(f"{name}: expected a vector of finite numbers that increase")


def _require_parts(terms: Sequence[Term]) -> None:
    names = [term.name for term in terms]
    if len(set(names)) < len(names):
        raise InputError(f"terms: expected names that differ, got {names}")
    if sum(term.kind == "trend" for term in terms) > 1:
        raise InputError("terms: expected one trend at most; a level or a memory may stand beside it")
