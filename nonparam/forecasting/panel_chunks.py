"""The work of one process on a few series of a panel: fit each, and forecast it where that is asked for."""

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from sklearn.base import clone

from nonparam.forecasting.beside import Beside
from nonparam.forecasting.fitting import Problem, fit_problems
from nonparam.forecasting.panel_reading import Entry, Failure, failure_of
from nonparam.forecasting.predicting import Predicting, quantiles_together
from nonparam.forecasting.remarks import remarks
from nonparam.forecasting.validation import Observed
from nonparam.solvers.plan import CPU
from nonparam.threads import threads_for

if TYPE_CHECKING:
    from nonparam.forecasting.forecaster import GPForecaster

__all__ = [
    "Asked",
    "Chunk",
    "Fit",
    "Outcome",
    "Result",
    "are_fitted_together",
    "fit_chunk",
    "forecast_all",
    "work",
]

Array = NDArray[np.float64]

ALONE = 1  # row: `threads_for` then takes a single thread, as long as a series may be


@dataclass(frozen=True)
class Asked:
    """The forecast that is wanted of every series.

    Attributes:
        fh: as for `GPForecaster.predict`.
        levels: of the quantiles, ``(l,)``.
    """

    fh: Any
    levels: Array


@dataclass(frozen=True)
class Fit:
    """A fitted series.

    Attributes:
        forecaster: fitted.
        remarks: what the fit warned of.
    """

    forecaster: "GPForecaster"
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Result:
    """What is known of a series that was fitted.

    Attributes:
        row: of the report.
        forecaster: fitted; ``None`` where a forecast was asked for, which then is all that is kept.
        quantiles: of the forecast, as `GPForecaster.predict_quantiles` returns them; ``None`` where none was
            asked for.
    """

    row: dict[str, Any]
    forecaster: "GPForecaster | None" = None
    quantiles: pd.DataFrame | None = None


@dataclass(frozen=True)
class _Read:
    """A series that is ready to be fitted."""

    forecaster: "GPForecaster"
    observed: Observed
    beside: Beside
    problem: Problem
    remarks: tuple[str, ...]


Outcome = Result | Failure


@dataclass(frozen=True)
class Chunk:
    """A few series that are sent to a process together.

    Attributes:
        number: of the chunk.
        places: of the series in the panel.
        entries: the series, or why they cannot be read.
        futures: regressors at the times of the forecast, for each.
    """

    number: int
    places: Sequence[int]
    entries: Sequence[Entry | Failure]
    futures: Sequence[pd.DataFrame | None]


def fit_chunk(
    forecaster: "GPForecaster", entries: Sequence[Entry], device: torch.device = CPU
) -> list[Fit | Failure]:
    """Fit a copy of a forecaster to each of a few series, together where they are seen at the same times.

    Args:
        forecaster: not fitted; it stays as it is.
        entries: the series.
        device: where they are fitted together; one by one they are fitted on the processor.

    Returns:
        As many; a failure for each series that cannot be fitted.

    Examples:
        >>> from nonparam.forecasting import GPForecaster
        >>> good, bad = Entry(pd.Series([1.0, 2.0, 4.0])), Entry(pd.Series([float("nan")]))
        >>> fit, failure = fit_chunk(GPForecaster(), [good, bad])
        >>> fit.forecaster.report_.observations, failure.error
        (3, 'InputError')
    """
    if are_fitted_together(forecaster):
        with suppress(Exception):  # by one of the series: by themselves, only that one fails
            return _fit_together(forecaster, entries, device)
    return [_fit(clone(forecaster), entry) for entry in entries]


def are_fitted_together(forecaster: Any) -> bool:
    """Whether `fit` is ours, and has no limit that counts for each series.

    Examples:
        >>> from nonparam.forecasting import GPForecaster
        >>> are_fitted_together(GPForecaster()), are_fitted_together(GPForecaster(time_limit=1.0))
        (True, False)
    """
    from nonparam.forecasting.forecaster import GPForecaster  # which imports this module

    return type(forecaster).fit is GPForecaster.fit and forecaster.time_limit is None


def _fit_together(
    forecaster: "GPForecaster", entries: Sequence[Entry], device: torch.device
) -> list[Fit | Failure]:
    """Fit as `GPForecaster.fit` does; those that are seen at the same times share their computations."""
    began = time.monotonic()
    read = [_read(clone(forecaster), entry) for entry in entries]
    good = [each for each in read if isinstance(each, _Read)]
    fits = fit_problems([each.problem for each in good], average=forecaster.average, device=device)
    seconds = (time.monotonic() - began) / len(entries)
    for each, fit in zip(good, fits, strict=True):
        each.forecaster.take(each.observed, each.beside, fit, seconds)
    return [Fit(each.forecaster, each.remarks) if isinstance(each, _Read) else each for each in read]


def _read(forecaster: "GPForecaster", entry: Entry) -> "_Read | Failure":
    try:
        with remarks() as texts:
            observed, beside = forecaster.read(entry.y, entry.X)
            problem = forecaster.problem(observed, beside)
    except Exception as error:  # one series that fails must not stop the others
        return failure_of(error)
    return _Read(forecaster, observed, beside, problem, tuple(texts))


def _fit(forecaster: Any, entry: Entry) -> Fit | Failure:
    try:
        with remarks() as texts:
            forecaster.fit(entry.y) if entry.X is None else forecaster.fit(entry.y, entry.X)
    except Exception as error:  # one series that fails must not stop the others
        return failure_of(error)
    return Fit(forecaster, tuple(texts))


def forecast_all(
    forecasters: Sequence["GPForecaster"], asked: Asked, futures: Sequence[pd.DataFrame | None]
) -> list[pd.DataFrame | Failure]:
    """Return the quantiles of forecasts, a row for each time; those that were fitted together share the work.

    Args:
        forecasters: fitted.
        asked: the forecast.
        futures: regressors at its times, or ``None``, for each.

    Returns:
        As many; a failure for each series that cannot be forecast.
    """
    if all(type(each).predict_quantiles is Predicting.predict_quantiles for each in forecasters):
        with suppress(Exception):  # by one of the series: by themselves, only that one fails
            return list(quantiles_together(forecasters, asked.fh, asked.levels, futures))
    return [_quantiles(each, asked, X) for each, X in zip(forecasters, futures, strict=True)]


def _quantiles(forecaster: Any, asked: Asked, X: pd.DataFrame | None) -> pd.DataFrame | Failure:
    try:
        if X is None:
            table: pd.DataFrame = forecaster.predict_quantiles(asked.fh, asked.levels)
            return table
        table = forecaster.predict_quantiles(asked.fh, asked.levels, X=X)
    except Exception as error:  # one series that fails must not stop the others
        return failure_of(error)
    return table


def work(
    forecaster: "GPForecaster", chunk: Chunk, asked: Asked | None, deadline: float, device: torch.device
) -> tuple[int, list[Outcome] | None]:
    """Fit the series of a chunk, and forecast them where that is asked for.

    Every series is fitted in one thread: the processes that share a panel do not fight for the cores, and
    the numbers do not depend on how many they are.

    Args:
        forecaster: not fitted.
        chunk: the series.
        asked: the forecast, or ``None`` to keep the fitted forecasters.
        deadline: seconds since the epoch; the work does not begin after it.
        device: where series are fitted and forecast together.

    Returns:
        The number of the chunk, and what became of each of its series; ``None`` after the deadline.
    """
    if time.time() > deadline:
        return chunk.number, None
    with threads_for(ALONE):
        entries = [entry for entry in chunk.entries if isinstance(entry, Entry)]
        fits = iter(fit_chunk(forecaster, entries, device))
        found = [entry if isinstance(entry, Failure) else next(fits) for entry in chunk.entries]
        return chunk.number, _outcomes(found, chunk.futures, asked)


def _outcomes(
    found: Sequence[Fit | Failure], futures: Sequence[pd.DataFrame | None], asked: Asked | None
) -> list[Outcome]:
    if asked is None:
        return [each if isinstance(each, Failure) else Result(_row(each), each.forecaster) for each in found]
    fitted = [(each, X) for each, X in zip(found, futures, strict=True) if isinstance(each, Fit)]
    tables = iter(forecast_all([each.forecaster for each, _ in fitted], asked, [X for _, X in fitted]))
    return [each if isinstance(each, Failure) else _forecast(each, next(tables)) for each in found]


def _forecast(fit: Fit, table: pd.DataFrame | Failure) -> Outcome:
    return table if isinstance(table, Failure) else Result(_row(fit), quantiles=table)


def _row(fit: Fit) -> dict[str, Any]:
    report = fit.forecaster.report_
    heaviest = report.members[0]
    return {
        "observations": int(report.observations),
        "missing": int(report.missing),
        "structure": heaviest.name,
        "weight": float(heaviest.weight),
        "structures": len(report.members),
        "converged": bool(report.converged),
        "seconds": float(report.seconds),
        "remarks": "; ".join(fit.remarks),
    }
