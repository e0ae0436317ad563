"""Forecasts of thousands of series beside those of the classics: the M3 competition and samples of M4.

``python benchmarks/m3.py COLLECTION`` with one of

* ``monthly``: 1428 series, 18 steps; AutoETS, AutoTheta, AutoCES, AutoARIMA, seasonal naive and (on 60
  series) Prophet are stored, and so are the forecasts of the competition's entrants. GPForecaster is given
  the months (without ``--undated``), and so knows how many working days each has; the others do not ask;
* ``shifted``: 300 of them without the last 12 points of the training, so that another origin is judged;
* ``quarterly``, ``yearly``, ``other`` (8, 6 and 8 steps): the classics are run here, once, and kept;
* ``hourly``, ``weekly`` (48 and 13 steps): 60 series each of M4.

Scores are those of `nonparam.forecasting.metrics`, of each series, averaged over series. The CRPS is that of
100 quantiles; of others, who give two intervals, it is that of a Gaussian with the width of their 95 %
interval. A forecast that fails is scored as the seasonal naive one, and counted. The scale of errors is that
of the season (52 steps for weekly series; ``--lag 1`` is what the M4 competition did). Scores of each series
are written to ``--folder`` as they come: a run that was killed goes on where it was.

Another forecaster, ``--forecaster module:function``, is called with a `m3_data.Record` and returns a
`m3_data.Forecast` with quantiles at `nonparam.forecasting.backtest.LEVELS`. Data are read as in `m3_data`.
"""

import argparse
import importlib
import shlex
import sys
import time
import warnings
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from m3_classics import classics, naive
from m3_data import (
    FILES,
    MEAN_OF,
    STORED,
    Forecast,
    Record,
    mean_forecast,
    published,
    records,
    stored,
)
from m3_scores import frame, losses_table, paired_table, score_all, scores_table
from tables import versions

from nonparam import GPForecaster
from nonparam.forecasting.backtest import LEVELS

MEAN = f"mean of {', '.join(name.removeprefix('Auto') for name in MEAN_OF)}"
OURS = "GPForecaster"
CALENDARS, FIRST = {24: "h", 52: "W"}, "2000-01-03"  # by the season of the collection; dates are not known
ENTRANTS = 5  # of the competition that are shown, the best in MASE
warnings.simplefilter("ignore")


def gp(record: Record, average: bool = True, dated: bool = True) -> Forecast:
    """Forecast with the defaults, as months, hours or weeks, or else with the season of the collection."""
    began = time.process_time()
    y, season = pd.Series(record.train), record.m if record.m > 1 else None
    if record.start and dated:
        y.index, season = pd.period_range(record.start, periods=len(y), freq="M"), "auto"
    elif record.m in CALENDARS:  # days and weeks of hours, years of weeks
        y.index, season = pd.period_range(FIRST, periods=len(y), freq=CALENDARS[record.m]), "auto"
    forecaster = GPForecaster(season, average=average).fit(y)
    quantiles = forecaster.predict_quantiles(len(record.test), LEVELS).to_numpy()
    seconds = time.process_time() - began
    return Forecast(quantiles[:, np.searchsorted(LEVELS, 0.5)], quantiles, seconds)


def guarded(forecaster, record: Record) -> Forecast:
    """Return the forecast, or why there is none with the naive one in its place."""
    try:
        found = forecaster(record)
        if not (np.isfinite(found.quantiles).all() and (np.diff(found.quantiles) >= 0.0).all()):
            raise ArithmeticError("quantiles that are not finite, or out of order")
    except Exception as error:
        return naive(record, f"{type(error).__name__}: {error}")
    return found


def others(
    collection: str, series: list[Record], folder: Path, limit: int, lag: int | None
) -> dict[str, pd.DataFrame]:
    """Return the scores of the classics, of the mean of four of them, and of the best entrants."""
    if collection in ("monthly", "shifted"):
        forecasts = stored(collection)
    else:
        forecasts = {m: classics(m, series, folder / f"{collection}_{m}.csv", limit) for m in STORED}
    if all(name in forecasts for name in MEAN_OF):
        names = [record.name for record in series]
        forecasts[MEAN] = {n: mean_forecast([forecasts[member][n] for member in MEAN_OF]) for n in names}
    found = {name: frame(series, known, lag) for name, known in forecasts.items()}
    found = {name: table for name, table in found.items() if len(table)}
    entrants = {name: frame(series, known, lag) for name, known in published(collection).items()}
    best = sorted(entrants, key=lambda name: entrants[name]["mase"].mean())[:ENTRANTS]
    return found | {name: entrants[name] for name in best}


def report(methods: dict[str, pd.DataFrame], name: str, losses: int) -> None:
    scores_table("all series", methods)
    if name in methods:
        paired_table(name, methods)
    untuned = {key: table[table["tuned"] == 0] for key, table in methods.items()}
    if any(len(untuned[key]) < len(methods[key]) for key in methods):
        scores_table("series on which no prior was tuned", untuned)
        if name in methods:
            paired_table(name, untuned)
    if name in methods and losses:
        losses_table(name, MEAN if MEAN in methods else "AutoETS", methods, losses)


def chosen(collection: str, rows: str, every: int) -> list[Record]:
    wanted = {"all": (True, False), "tuned": (True,), "untuned": (False,)}[rows]
    return [record for record in records(collection) if record.tuned in wanted][::every]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("collection", choices=list(FILES))
    parser.add_argument("--folder", type=Path, default=Path("m3_scores"), help="where scores are kept")
    parser.add_argument("--forecaster", default="", help="module:function, instead of GPForecaster")
    parser.add_argument("--rows", choices=["all", "tuned", "untuned"], default="all")
    parser.add_argument("--every", type=int, default=1, help="take each k-th series only")
    parser.add_argument("--lag", type=int, default=None, help="steps of the differences that scale errors")
    parser.add_argument("--limit", type=int, default=30, help="processor seconds for a classic on one series")
    parser.add_argument("--losses", type=int, default=10, help="series shown")
    parser.add_argument("--undated", action="store_true", help="GPForecaster is not given the months")
    parser.add_argument("--classics-only", action="store_true")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    series = chosen(options.collection, options.rows, options.every)
    name, methods = options.forecaster or OURS, {}
    if not options.classics_only:
        forecaster = partial(gp, dated=not options.undated)
        if options.forecaster:
            module, _, function = options.forecaster.partition(":")
            forecaster = getattr(importlib.import_module(module), function)
        end = f"_lag{options.lag}" if options.lag else ""
        end += "_undated" if options.undated else ""
        path = options.folder / f"{options.collection}_{name.replace(':', '.')}{end}_scores.csv"
        methods[name] = score_all(series, lambda record: guarded(forecaster, record), path, options.lag)
    methods |= others(options.collection, series, options.folder, options.limit, options.lag)
    packages = versions("nonparam", "torch", "numpy", "scipy", "statsforecast")
    print(f"{datetime.now(UTC):%Y-%m-%d}, {packages}")
    print(f"`{shlex.join(['python', *sys.argv])}`; seconds are those of one processor")
    report(methods, name, options.losses)


if __name__ == "__main__":
    main()
