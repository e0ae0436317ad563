"""Forecasts of statsforecast's classics for series that have none stored, kept in files as they come."""

import csv
import signal
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from m3_data import Forecast, Record, gaussian, read_intervals

COLUMNS = ("series_id", "mean", "lo95", "hi95", "lo80", "hi80", "seconds", "failed")
LONGEST_SEASON = 24  # for ARIMA, which takes minutes for one series with a season of 52
EXACT_SEASON = 12  # beyond it, orders are compared by approximate likelihoods, which is R's default there
RESULTS = ("mean", "lo-95", "hi-95", "lo-80", "hi-80")  # as statsforecast names them


def model(method: str, m: int) -> Any:
    from statsforecast import models

    if method != "AutoARIMA":
        return getattr(models, method)(season_length=m)
    season = m if m <= LONGEST_SEASON else 1
    return models.AutoARIMA(season_length=season, approximation=season > EXACT_SEASON)


@contextmanager
def limited(seconds: int) -> Iterator[None]:
    """Raise `TimeoutError` after so many seconds of the processor."""

    def stop(number: int, frame: object) -> None:
        raise TimeoutError(f"more than {seconds} s")

    previous = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, previous)


def forecast(method: str, record: Record, limit: int) -> tuple[list[np.ndarray], float, str]:
    """Return means and ends of intervals, processor seconds, and why it failed.

    A method that fails, or takes longer than ``limit`` seconds, is given the seasonal naive forecast.
    """
    h, began = len(record.test), time.process_time()
    try:
        with warnings.catch_warnings(), limited(limit):
            warnings.simplefilter("ignore")
            found = model(method, record.m).forecast(y=record.train, h=h, level=[80, 95])
        values = [np.asarray(found[name], dtype=float) for name in RESULTS]
        if not np.isfinite(values).all():
            raise ArithmeticError("forecasts that are not finite")
    except Exception as error:
        if method == "SeasonalNaive":
            raise
        values, _, _ = forecast("SeasonalNaive", record, limit)
        return values, time.process_time() - began, f"{type(error).__name__}: {error}"
    return values, time.process_time() - began, ""


def naive(record: Record, failed: str) -> Forecast:
    """Return the seasonal naive forecast in place of one that failed."""
    mean, *ends = forecast("SeasonalNaive", record, 60)[0]
    return Forecast(mean, gaussian(mean, np.stack([ends[0], ends[2], ends[3], ends[1]], 1)), np.nan, failed)


def classics(method: str, series: list[Record], path: Path, limit: int) -> dict[str, Forecast]:
    """Return the forecasts of a method, made where the file does not have them yet."""
    known = read_intervals(path) if path.exists() else {}
    missing = [record for record in series if record.name not in known]
    if missing:
        forecast(method, missing[0], limit)  # compiles
    with path.open("a", newline="") as stream:
        writer = csv.writer(stream)
        if not known:
            writer.writerow(COLUMNS)
        for record in missing:
            values, seconds, failed = forecast(method, record, limit)
            cells = [";".join(f"{v:.9g}" for v in value) for value in values]
            writer.writerow([record.name, *cells, f"{seconds:.6g}", failed])
            stream.flush()
    return read_intervals(path)
