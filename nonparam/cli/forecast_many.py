"""``nonparam forecast`` of many series: a line for each, and all of them in files."""

import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pandas as pd
import typer

from nonparam.cli.forecast_page import page
from nonparam.cli.forecast_request import ForecastRequest
from nonparam.cli.output import (
    STDOUT,
    draw_grid,
    heard,
    note,
    print_facts,
    print_json,
    print_table,
    progress,
    save_page,
    save_table,
)
from nonparam.cli.panels import ManySeries
from nonparam.cli.series_forecast import OVERVIEW, SeriesForecast, check_horizon
from nonparam.errors import InputError
from nonparam.forecasting import GPForecaster

__all__ = ["forecast_many"]

LISTED = 20  # series that are printed
NOTED = 5  # failures and remarks that are
DRAWN = 12  # series in a picture


def forecast_many(request: ForecastRequest, forecaster: GPForecaster, found: ManySeries) -> None:
    """Forecast the series of a table, print an overview, save what was asked for.

    Args:
        request: what is wanted.
        forecaster: with the parameters that were asked for.
        found: the series.

    Raises:
        InputError: no series could be forecast.
    """
    for text in found.notes:
        note(text)
    done, failures, remarks = _forecasts(request, forecaster, found)
    files = request.files
    with progress(f"Writing the forecasts of {len(done):,} series"):
        if files.plot is not None:
            draw_grid([_small(one) for one in done[:DRAWN]], files.plot)
        if files.html is not None:
            save_page(page(done, failures, remarks), files.html)
    _note_some([f"{name!r} has no forecast: {text}" for name, text in failures.items()], "have none either")
    _note_some(remarks, "have remarks too")
    if files.csv is not None:
        table = pd.concat({one.y.name: one.table for one in done}).reset_index(level=0)
        name = "series" if found.name in table.columns else found.name
        save_table(table.rename(columns={table.columns[0]: name}), files.csv)
    if files.as_json:
        print_json({"series": [one.document for one in done], "failures": failures} | files.saved)
    elif files.csv != STDOUT:
        _print(found.name, done, failures)
        files.tell()


def _forecasts(
    request: ForecastRequest, forecaster: GPForecaster, found: ManySeries
) -> tuple[list[SeriesForecast], dict[str, str], list[str]]:
    """Return the forecasts, why others failed, and remarks."""
    series, failures = dict[str, pd.Series](), dict(found.failures)
    for name, y in found.series.items():
        if _succeeds(partial(check_horizon, request.horizon, y), name, failures):
            series[name] = y
    if not series:
        name, text = next(iter(failures.items()))
        raise InputError(
            f"none of the {len(failures):,} series can be forecast; the first is {name!r} ({text})"
        )
    with heard():  # of failures, which are told one by one
        panel = forecaster.fit_panel(series, verbose=sys.stderr.isatty())
    failures |= dict(zip(panel.failures["unique_id"], panel.failures["message"], strict=True))
    every = [SeriesForecast(series[name], panel[name], request.horizon) for name in panel]
    done = [one for one in every if _succeeds(partial(getattr, one, "table"), str(one.y.name), failures)]
    told = zip(panel.report["unique_id"], panel.report["remarks"], strict=True)
    return done, failures, [f"{name!r}: {text}" for name, text in told if text]


def _succeeds(step: Callable[[], object], name: str, failures: dict[str, str]) -> bool:
    """Return whether a step of one series succeeds; note its failure if not."""
    try:
        step()
    except InputError as error:
        failures[name] = str(error)
    return name not in failures


def _note_some(texts: Sequence[str], others: str) -> None:
    for text in texts[:NOTED]:
        note(text)
    if len(texts) > NOTED:
        note(f"{len(texts) - NOTED:,} more {others}; --json and --html tell all")


def _small(one: SeriesForecast) -> Callable[[Any], object]:
    """Return what draws a forecast with its name above and without a legend."""

    def draw(ax: Any) -> None:
        one.draw(ax)
        ax.get_legend().remove()
        ax.set_title(str(one.y.name), fontsize="medium", loc="left", parse_math=False)
        ax.set(xlabel="", ylabel="")

    return draw


def _print(name: str, done: Sequence[SeriesForecast], failures: dict[str, str]) -> None:
    observations = sum(one.forecaster.report_.observations for one in done)
    failed = f", {len(failures):,} without a forecast" if failures else ""
    print_facts(
        {"series": f"{len(done) + len(failures):,}{failed}", "seen": f"{observations:,} observations"}
    )
    typer.echo()
    print_table([name, *OVERVIEW], [[str(one.y.name), *one.overview] for one in done[:LISTED]])
    if len(done) > LISTED:
        typer.echo(f"\n{len(done) - LISTED:,} more series: --csv, --json and --html have all")
