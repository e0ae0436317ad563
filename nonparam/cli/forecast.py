"""``nonparam forecast``: one series or many, their forecasts with intervals, what was chosen and why."""

import numpy as np
import pandas as pd
import typer

from nonparam.cli.forecast_many import forecast_many
from nonparam.cli.forecast_page import page
from nonparam.cli.forecast_request import ForecastRequest
from nonparam.cli.output import (
    STDOUT,
    draw,
    heard,
    note,
    print_facts,
    print_json,
    print_table,
    progress,
    save_page,
    save_table,
)
from nonparam.cli.panels import find_series
from nonparam.cli.reading import read
from nonparam.cli.series import series_from_table
from nonparam.cli.series_forecast import SHOWN, SeriesForecast, check_horizon
from nonparam.forecasting import GPForecaster

__all__ = ["forecast"]

MANY = 1000  # observations, from which on a forecast takes minutes


def forecast(request: ForecastRequest) -> None:
    """Forecast what a file holds, print the table, save what was asked for."""
    forecaster = GPForecaster(_season(request.season), transform=request.transform, n_jobs=request.jobs)
    request.files.check()
    table = read(request.source)
    found = find_series(table, request.columns)
    if found is not None:
        forecast_many(request, forecaster, found)
        return
    y, notes = series_from_table(table, request.columns.time, request.columns.value)
    for text in notes:
        note(text)
    _forecast_one(request, forecaster, y)


def _forecast_one(request: ForecastRequest, forecaster: GPForecaster, y: pd.Series) -> None:
    check_horizon(request.horizon, y)
    if len(y) > MANY:
        note(f"{len(y):,} observations take minutes: the time grows with the cube of their number")
    with progress(f"Fitting {len(y):,} observations of {y.name}"):
        with heard() as remarks:
            forecaster.fit(y)
        one = SeriesForecast(y, forecaster, request.horizon)
        if request.files.plot is not None:
            draw(one.draw, request.files.plot)
        if request.files.html is not None:
            save_page(page([one], {}, remarks), request.files.html)
    for remark in remarks:
        note(remark)
    if request.files.csv is not None:
        save_table(one.table, request.files.csv)
    if request.files.as_json:
        print_json(one.document | request.files.saved)
    elif request.files.csv != STDOUT:
        _print(request, one)


def _season(text: str) -> str | float | None:
    if text in ("auto", "none"):
        return None if text == "none" else text
    try:
        season = float(text)
    except ValueError:
        season = np.nan
    if not 2.0 <= season < np.inf:
        raise typer.BadParameter(
            f"{text!r} is not auto, none, or a number of at least 2", param_hint="'--season'"
        )
    return season


def _print(request: ForecastRequest, one: SeriesForecast) -> None:
    print_facts(one.facts)
    typer.echo()
    print_table([one.step, *SHOWN.values()], one.cells)
    request.files.tell()
