"""Many fitted series, and their forecasts as long tables."""

import warnings
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from nonparam.errors import InputError
from nonparam.forecasting.panel_chunks import Asked, Fit, Outcome, Result, fit_chunk, forecast_all
from nonparam.forecasting.panel_reading import Failure, Panel, read_futures
from nonparam.forecasting.regressors import named
from nonparam.forecasting.validation import central_levels, read_levels

if TYPE_CHECKING:
    from nonparam.forecasting.forecaster import GPForecaster

__all__ = ["FittedPanel", "tell_failures"]

SAME_LEVEL = 1e-9
NAMED = 5  # series that failed, in a warning
REPORT = ("observations", "missing", "structure", "weight", "structures", "converged", "seconds", "remarks")


class FittedPanel:
    """Many fitted series and their forecasts, as long tables.

    Made by `GPForecaster.fit_panel`. ``panel[id]`` is the fitted forecaster of one series, ``len(panel)`` the
    number of series that could be fitted, and iteration goes over their ids.

    Attributes:
        ids: of all series, in the order in which they were given.
        failures: a row for each series without a forecast: its id, the class of the ``error`` and its
            ``message``.
        report: a row for each series that was fitted: its id, ``observations``, ``missing``, the most
            evident ``structure`` and its ``weight``, the number of ``structures``, whether all searches
            ``converged``, ``seconds`` (of series that were fitted together, an equal share), and ``remarks``,
            which a single fit would warn of.

    Examples:
        >>> from nonparam import GPForecaster
        >>> wide = pd.DataFrame({"a": [1.0, 3.0, 2.0, 4.0], "b": [5.0, 4.0, 4.0, 3.0]})
        >>> panel = GPForecaster().fit_panel(wide)
        >>> panel.predict(2)[["unique_id", "ds"]]
          unique_id  ds
        0         a   4
        1         a   5
        2         b   4
        3         b   5
        >>> panel["b"].predict(1).name
        'b'
    """

    def __init__(
        self, forecaster: "GPForecaster", panel: Panel, outcomes: Sequence[Outcome], asked: Asked | None
    ) -> None:
        self._forecaster, self._panel, self._outcomes, self._asked = forecaster, panel, outcomes, asked
        self.ids = panel.ids
        lost = [(i, o) for i, o in enumerate(outcomes) if isinstance(o, Failure)]
        self._fitted = [(i, o) for i, o in enumerate(outcomes) if isinstance(o, Result)]
        rows = [(failure.error, failure.message) for _, failure in lost]
        self.failures = self._named([i for i, _ in lost], pd.DataFrame(rows, columns=["error", "message"]))
        report = pd.DataFrame([result.row for _, result in self._fitted], columns=list(REPORT))
        self.report = self._named([i for i, _ in self._fitted], report)

    def _named(self, positions: Any, table: pd.DataFrame) -> pd.DataFrame:
        """Return a table with a first column of ids, in their own type."""
        table.insert(0, self._panel.names.id, self.ids.take(np.asarray(positions, dtype=np.intp)))
        return table

    def __len__(self) -> int:
        """Return how many series could be fitted."""
        return len(self._fitted)

    def __iter__(self) -> Iterator[Any]:
        """Go over the ids of the series that could be fitted."""
        return iter(self.report[self._panel.names.id])

    def __contains__(self, name: object) -> bool:
        """Return whether a series of that name could be fitted."""
        position = self._position(name)
        return position is not None and isinstance(self._outcomes[position], Result)

    def __repr__(self) -> str:
        """Return the numbers of series."""
        failed = f", {len(self.failures):,} failed" if len(self.failures) else ""
        return f"FittedPanel({len(self):,} series fitted{failed})"

    def __getitem__(self, name: Any) -> "GPForecaster":
        """Return the fitted forecaster of one series, which is fitted again where only its forecast was kept.

        Raises:
            InputError: there is no such series, or it failed.
        """
        position = self._position(name)
        if position is None:
            raise InputError(f"there is no series {name!r}: expected one of {named(self.ids)}")
        outcome, entry = self._outcomes[position], self._panel.entries[position]
        if isinstance(outcome, Result) and outcome.forecaster is not None:
            return outcome.forecaster
        again: Fit | Outcome = outcome
        if isinstance(outcome, Result) and not isinstance(entry, Failure):
            (again,) = fit_chunk(self._forecaster, [entry])
        if isinstance(again, Fit):
            return again.forecaster
        raise InputError(f"the series {name!r} failed, with {_told(again)}")

    def _position(self, name: Any) -> int | None:
        try:
            position = self.ids.get_loc(name)
        except (KeyError, TypeError, pd.errors.InvalidIndexError):
            return None
        return position if isinstance(position, int) else None

    def predict(self, fh: Any = None, X: Any = None) -> pd.DataFrame:
        """Return the median of each series' forecast.

        Args:
            fh: as for `GPForecaster.predict`, from the end of each series; ``None`` for the horizon that the
                panel was fitted with.
            X: regressors, where the series have some: a long table with the ids, the times of the forecast
                and a column for each.

        Returns:
            Columns of ids, of times, and of values, which are called as in the long table (``"y"``).

        Raises:
            InputError: a horizon that suits no series, or is not the one that forecasts were kept for.

        Warns:
            UserWarning: series that this horizon does not suit; they are left out.
        """
        table = self._table(Asked(fh, np.array([0.5])), X)
        return table.set_axis([*table.columns[:2], self._panel.names.target], axis=1)

    def predict_quantiles(self, fh: Any = None, alpha: Any = (0.1, 0.5, 0.9), X: Any = None) -> pd.DataFrame:
        """Return quantiles of the forecast of each observation, noise included.

        Args:
            fh: as for `predict`.
            alpha: one or several levels between 0 and 1; where forecasts were made by `fit_panel`, some of
                those that were asked for there.
            X: as for `predict`.

        Returns:
            Columns of ids and of times, and one, named by the level, for each of ``alpha``.
        """
        return self._table(Asked(fh, read_levels("alpha", alpha)), X)

    def predict_interval(self, fh: Any = None, coverage: Any = 0.9, X: Any = None) -> pd.DataFrame:
        """Return central intervals, between the quantiles ``(1 - coverage) / 2`` and ``(1 + coverage) / 2``.

        Args:
            fh: as for `predict`.
            coverage: one or several probabilities.
            X: as for `predict`.

        Returns:
            Columns of ids and of times, ``"lower"`` and ``"upper"``; for a list of coverages, the last two
            below a first level that has the coverage.
        """
        wanted = read_levels("coverage", coverage)
        table = self._table(Asked(fh, central_levels(wanted).ravel()), X)
        if np.ndim(coverage) == 0:
            return table.set_axis([*table.columns[:2], "lower", "upper"], axis=1)
        bounds = [(level, bound) for level in wanted for bound in ("lower", "upper")]
        names = [(name, "") for name in table.columns[:2]]
        return table.set_axis(pd.MultiIndex.from_tuples([*names, *bounds]), axis=1)

    def _table(self, asked: Asked, X: Any) -> pd.DataFrame:
        """Return quantiles of all series, a long table."""
        tables = self._predicted(asked, X) if self._asked is None else self._kept(asked, self._asked, X)
        positions = np.repeat([i for i, _ in tables], [len(table) for _, table in tables])
        times = tables[0][1].index.append([table.index for _, table in tables[1:]])
        values = np.concatenate([table.to_numpy() for _, table in tables])
        long = pd.DataFrame(values, columns=pd.Index(asked.levels.tolist(), dtype=object))
        long.insert(0, self._panel.names.time, times)
        return self._named(positions, long)

    def _kept(self, asked: Asked, known: Asked, X: Any) -> list[tuple[int, pd.DataFrame]]:
        """Return the forecasts that were made when the series were fitted."""
        if X is not None or not (asked.fh is None or _same(asked.fh, known.fh)):
            raise InputError(
                f"forecasts were kept for fh={known.fh!r} and its regressors, got {asked.fh!r}: fit_panel "
                "without fh keeps the fitted forecasters, and panel[id].predict(fh) fits one series again"
            )
        distance = np.abs(asked.levels[:, None] - known.levels)
        if distance.min(1).max() > SAME_LEVEL:
            raise InputError(
                f"quantiles were kept at {known.levels.tolist()}, got {asked.levels.tolist()}: choose among "
                "them, or give yours to fit_panel, as in alpha=[0.2, 0.8]"
            )
        tables = [(i, result.quantiles) for i, result in self._fitted]
        return [(i, table.iloc[:, distance.argmin(1)]) for i, table in tables if table is not None]

    def _predicted(self, asked: Asked, X: Any) -> list[tuple[int, pd.DataFrame]]:
        """Return the forecasts of the fitted forecasters."""
        if asked.fh is None:
            raise InputError("fh must be given, as in predict(12): fit_panel was called without it")
        futures = read_futures(X, self._panel)
        forecasters = [result.forecaster for _, result in self._fitted if result.forecaster is not None]
        tables = forecast_all(forecasters, asked, [futures[i] for i, _ in self._fitted])
        if any(isinstance(table, Failure) for table in tables):
            tell_failures(tables, list(self), stacklevel=5)
        pairs = zip(self._fitted, tables, strict=True)
        return [(i, table) for (i, _), table in pairs if not isinstance(table, Failure)]


def tell_failures(outcomes: Sequence[Any], ids: Sequence[Any], *, stacklevel: int) -> None:
    """Warn of the series that failed; raise where none is left.

    Args:
        outcomes: of all series; some are a `Failure`.
        ids: as many.
        stacklevel: of the warning.

    Raises:
        InputError: every series failed.
    """
    pairs = zip(ids, outcomes, strict=True)
    texts = [f"{name!r} ({_told(outcome)})" for name, outcome in pairs if isinstance(outcome, Failure)]
    if len(texts) == len(outcomes):
        raise InputError(f"none of the {len(outcomes):,} series could be forecast; the first is {texts[0]}")
    if texts:
        some = "; ".join(texts[:NAMED]) + "; ..." * (len(texts) > NAMED)
        warnings.warn(
            f"{len(texts):,} of {len(outcomes):,} series failed and are left out: {some}",
            UserWarning,
            stacklevel=stacklevel,
        )


def _told(failure: Any) -> str:
    return f"{failure.error}: {failure.message}"


def _same(fh: Any, other: Any) -> bool:
    """Return whether two horizons are the same."""
    if isinstance(fh, pd.Index) or isinstance(other, pd.Index):
        return isinstance(fh, pd.Index) and fh.equals(other)
    return bool(np.array_equal(fh, other))
