r"""Forecasts from several origins of one series, each made from what came before it, and their scores.

A forecaster is fitted to the first observations, asked for the next ones, and compared with them; then to
more of them, and so on: a rolling origin. What it was not given cannot leak into its forecast.

Source: Tashman (2000), "Out-of-sample tests of forecasting accuracy: an analysis and review".
"""

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.base import clone

from nonparam.errors import InputError
from nonparam.forecasting.calendars import time_name
from nonparam.forecasting.metrics import crps_quantiles, interval_score, seasonal_scale
from nonparam.forecasting.season import cycles
from nonparam.forecasting.validation import Observed, read_horizon, read_series
from nonparam.validation import check_choice, check_count

__all__ = ["Backtest", "backtest"]

Array = NDArray[np.float64]
Steps = NDArray[np.int64]

ORIGINS = 5  # by default
LEAST_TRAINING = 2  # steps before the first origin
MIDPOINTS = (np.arange(100) + 0.5) / 100.0  # levels that the CRPS is averaged over
BOUNDS = np.array([0.025, 0.1, 0.5, 0.9, 0.975])
LEVELS = np.unique(np.concatenate([MIDPOINTS, BOUNDS]))
SCORES = {
    "MASE": "scaled_error",
    "scaled CRPS": "scaled_crps",
    "MSIS": "scaled_interval_score",
    "coverage 80 %": "inside80",
    "coverage 95 %": "inside95",
}


@dataclass(frozen=True)
class Backtest:
    """Forecasts from several origins beside what came.

    Attributes:
        table: a row for each origin (the last time that the forecaster was given) and horizon (steps after
            it) whose observation is not missing: ``time``, ``actual``, ``median``, ``lower80``, ``upper80``,
            ``lower95``, ``upper95``; the absolute error, the CRPS and the interval score (95 %), each divided
            by the scale of that origin's training: ``scaled_error``, ``scaled_crps``,
            ``scaled_interval_score``; and whether the intervals contain it: ``inside80``, ``inside95``.
        m: steps of the season, whose differences are the scale of errors.
        origins: how many there are.
        seconds: wall-clock time.

    Examples:
        >>> from nonparam import GPForecaster
        >>> y = pd.Series(np.arange(30.0) + 0.3 * np.sin(7.0 * np.arange(30.0)))
        >>> report = backtest(GPForecaster(season=None), y, 2, initial=24, step=2)
        >>> report.origins, report.summary()["count"].tolist()
        (3, [3, 3, 6])
    """

    table: pd.DataFrame
    m: int
    origins: int
    seconds: float

    def by_horizon(self) -> pd.DataFrame:
        """Return the scores of each horizon, averaged over the origins: a row for each, with their number."""
        return _averages(self.table.groupby(level="horizon"))

    def summary(self) -> pd.DataFrame:
        """Return `by_horizon`, and below it a row ``"all"`` with the averages of all forecasts.

        A scaled score is NaN where the training was constant at each origin.
        """
        everything = _averages(self.table.groupby(np.full(len(self.table), "all")))
        return pd.concat([self.by_horizon(), everything]).rename_axis("horizon")

    def __str__(self) -> str:
        """Return the summary in words and as a table."""
        first, last = map(time_name, self.table.index.get_level_values("origin")[[0, -1]])
        apart = "1 step" if self.m == 1 else f"{self.m} steps"
        title = (
            f"{self.origins} origins from {first} to {last}, {len(self.table)} forecasts in "
            f"{self.seconds:.2g} s; errors are scaled by differences {apart} apart"
        )
        return f"{title}\n{self.summary().to_string(float_format='{:.3f}'.format)}"


def backtest(
    forecaster: Any,
    y: Any,
    fh: Any,
    initial: int | None = None,
    step: int | None = None,
    X: Any = None,
    refit: bool = True,
    *,
    m: int | None = None,
) -> Backtest:
    """Forecast a series from several origins, and score what comes out.

    Args:
        forecaster: with ``fit(y)`` and ``predict_quantiles(fh, alpha)``, where ``fh`` is an index of times;
            it is cloned, and left as it is.
        y: the series, as for `GPForecaster.fit`. Missing observations are not scored.
        fh: a number of steps, or a list of steps (1 is the first after an origin).
        initial: how many steps of the index are before the first origin; by default those that leave room for
            five origins, at most half of them for the forecasts if possible.
        step: from one origin to the next; by default the horizon, or less where the series is too short for
            five origins.
        X: table of regressors, a row for each time of ``y``, if the forecaster takes them.
        refit: whether the hyperparameters are fitted anew at each origin. If not, they stay those of the
            first origin, and the forecaster is updated: ``update(y_new, refit=False)``.
        m: steps of the season by which errors are scaled; by default the shortest of the forecaster's
            ``season``, and if it has none, or ``"auto"``, that of the index of the whole series.

    Returns:
        A report: forecasts, scores by horizon, and a table to print.

    Raises:
        InputError: a series that cannot be read or is too short for ``initial`` and ``fh``, a horizon that
            is no number of steps, nothing to score, or ``refit=False`` for a forecaster without ``update``.

    Examples:
        >>> from nonparam import GPForecaster
        >>> from nonparam.datasets import load_airline
        >>> report = backtest(GPForecaster(), load_airline(), fh=12, initial=120, step=12)
        >>> report.origins, bool(report.summary().at["all", "MASE"] < 1.0)
        (2, True)
    """
    began = time.perf_counter()
    _check(forecaster, refit)
    series = _read(y, X)
    steps = _steps(fh, series.observed)
    origins = _origins(series.length, int(steps[-1]), initial, step)
    lag = _season(forecaster, series.observed) if m is None else m
    check_count(lag, "m", 1)
    rows, model, known = [], clone(forecaster), 0
    for origin in origins:
        now = series.rows_before(origin)
        if refit or not known:
            model = clone(forecaster).fit(series.y.iloc[:now], *series.regressors(slice(now)))
        elif now > known:
            new = slice(known, now)
            model.update(series.y.iloc[new], *series.regressors(new), refit=False)
        known = now
        ahead = series.rows_at(origin + steps - 1)
        if len(ahead):
            rows.append(_rows(model, series, origin, ahead, lag))
    if not rows:
        raise InputError("all observations after the origins are missing; expected at least one to score")
    return Backtest(pd.concat(rows), lag, len(rows), time.perf_counter() - began)


@dataclass(frozen=True)
class _Series:
    """A series, its regressors, and the whole steps from its first time to each row, ``places (n,)``."""

    observed: Observed
    places: Steps
    X: pd.DataFrame | None

    @property
    def y(self) -> pd.Series:
        return self.observed.y

    @property
    def length(self) -> int:
        return int(self.places[-1]) + 1

    def rows_before(self, origin: int) -> int:
        return int(np.searchsorted(self.places, origin))

    def rows_at(self, places: Steps) -> Steps:
        """Return the rows at these places, where there is an observation."""
        wanted = np.isin(self.places, places) & self.y.notna().to_numpy()
        return np.flatnonzero(wanted)

    def regressors(self, rows: Any) -> tuple[pd.DataFrame, ...]:
        return () if self.X is None else (self.X.iloc[rows],)

    def before(self, origin: int) -> Array:
        """Return the observations before an origin, one for each step, NaN where there is none."""
        now = self.rows_before(origin)
        values = np.full(origin, np.nan)
        values[self.places[:now]] = self.y.to_numpy()[:now]
        return values


def _check(forecaster: Any, refit: bool) -> None:
    check_choice(refit, "refit", (True, False))
    if isinstance(forecaster, type):
        raise InputError(f"expected a forecaster, got the class {forecaster.__name__}: make one of it first")
    needed = ["get_params", "fit", "predict_quantiles"] + ([] if refit else ["update"])
    missing = [name for name in needed if not hasattr(forecaster, name)]
    if missing:
        raise InputError(
            f"expected a forecaster with {', '.join(needed)}, got {type(forecaster).__name__}, which has no "
            f"{', '.join(missing)}" + ("; with refit=True none needs update" if "update" in missing else "")
        )


def _read(y: Any, X: Any) -> _Series:
    observed = read_series(y)
    positions = observed.line.locate(observed.y.index)
    regular = bool((positions == np.round(positions)).all())
    places = positions - positions[0] if regular else np.arange(len(positions))
    if X is None:
        return _Series(observed, places.astype(np.int64), None)
    if not isinstance(X, pd.DataFrame):
        raise InputError(f"X must be a table with the index of y, got {type(X).__name__}")
    unknown = observed.y.index.difference(X.index)
    if len(unknown) or not X.index.is_unique:
        what = f"none for {unknown[0]}" if len(unknown) else "several for one time"
        raise InputError(f"X must have one row for each time of y, got {what}")
    return _Series(observed, places.astype(np.int64), X.loc[observed.y.index])


def _steps(fh: Any, observed: Observed) -> Steps:
    """Return the steps of a horizon, increasing."""
    if isinstance(fh, pd.Index):
        raise InputError(f"fh must be a number of steps or a list of steps, got the times {fh!r}")
    return np.unique(read_horizon(fh, observed.line)[0]).astype(np.int64)


def _origins(n: int, h: int, initial: int | None, step: int | None) -> Steps:
    """Return how many steps are before each origin, for a series of ``n`` and a horizon of ``h`` steps."""
    if initial is not None:
        check_count(initial, "initial", LEAST_TRAINING)
    if step is not None:
        check_count(step, "step", 1)
    least = LEAST_TRAINING if initial is None else initial
    if n - h < least:
        raise InputError(
            f"expected a series of at least {least + h} steps, {least} before the first origin and {h} to "
            f"forecast, got {n}; ask for a shorter horizon" + (" or initial" if initial is not None else "")
        )
    if step is None:
        room = n - h - (max(least, n // 2) if initial is None else initial)
        step = max(1, min(h, room // (ORIGINS - 1)))
    if initial is None:
        initial = n - h - min(ORIGINS - 1, (n - h - least) // step) * step
    return np.arange(initial, n - h + 1, step)


def _season(forecaster: Any, observed: Observed) -> int:
    """Return the shortest season, in steps; 1 without any."""
    season = getattr(forecaster, "season", "auto")
    if np.size(season) > 1:
        season = min(season)
    cycle = cycles(season, observed.line, observed.positions, observed.values)[0]
    return max(1, round(cycle.periods[0])) if cycle.periods else 1


def _rows(model: Any, series: _Series, origin: int, ahead: Steps, m: int) -> pd.DataFrame:
    """Return forecasts from one origin for the rows ``ahead (r,)``, and their scores."""
    times, actual = series.y.index[ahead], series.y.to_numpy()[ahead]
    quantiles = model.predict_quantiles(times, LEVELS, *series.regressors(ahead)).to_numpy()
    lower95, lower80, median, upper80, upper95 = quantiles[:, np.searchsorted(LEVELS, BOUNDS)].T
    scale = seasonal_scale(series.before(origin), m)
    crps = crps_quantiles(actual, quantiles[:, np.searchsorted(LEVELS, MIDPOINTS)], MIDPOINTS)
    last = series.y.index[[series.rows_before(origin) - 1]].repeat(len(ahead))
    index = pd.MultiIndex.from_arrays([last, series.places[ahead] - origin + 1], names=["origin", "horizon"])
    columns = {
        "time": times,
        "actual": actual,
        "median": median,
        "lower80": lower80,
        "upper80": upper80,
        "lower95": lower95,
        "upper95": upper95,
        "scaled_error": np.abs(actual - median) / scale,
        "scaled_crps": crps / scale,
        "scaled_interval_score": interval_score(actual, lower95, upper95) / scale,
        "inside80": (lower80 <= actual) & (actual <= upper80),
        "inside95": (lower95 <= actual) & (actual <= upper95),
    }
    return pd.DataFrame(columns, index=index)


def _averages(groups: Any) -> pd.DataFrame:
    """Return the number of forecasts in each group, and their average scores."""
    means: pd.DataFrame = groups[list(SCORES.values())].mean().astype(np.float64)
    means.columns = pd.Index(SCORES)
    means.insert(0, "count", groups.size())
    return means
