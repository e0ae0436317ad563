"""``nonparam forecast``: a series, its forecast with intervals, what was chosen and why, and a plot."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import typer

from nonparam.cli.output import (
    STDOUT,
    check_writable,
    draw,
    format_for,
    heard,
    note,
    print_facts,
    print_json,
    print_table,
    progress,
    save_table,
)
from nonparam.cli.reading import read
from nonparam.cli.series import series_from_table
from nonparam.errors import InputError
from nonparam.forecasting import GPForecaster, MemberReport
from nonparam.forecasting.calendars import YEAR
from nonparam.forecasting.timeline import timeline

__all__ = ["ForecastRequest", "forecast"]

LEVELS = {"lower_95": 0.025, "lower_80": 0.1, "median": 0.5, "upper_80": 0.9, "upper_95": 0.975}
SHOWN = {
    "median": "median",
    "lower_80": "80% low",
    "upper_80": "80% high",
    "lower_95": "95% low",
    "upper_95": "95% high",
}
PERIODS = {"Y": "year", "Q": "quarter", "M": "month", "W": "week", "D": "day", "B": "day", "h": "hour"}
SPANS = {
    pd.Timedelta(days=7): "week",
    pd.Timedelta(days=1): "day",
    pd.Timedelta(hours=1): "hour",
    pd.Timedelta(minutes=1): "minute",
}
LONGEST_DEFAULT = 104  # steps
FARTHEST = 10  # times the length of the series, at most
ALWAYS = 1000  # steps, allowed for a short series too
LAST_YEAR = 9999  # that dates are written and drawn with
MANY = 1000  # observations, from which on a forecast takes minutes
SURE = 0.9  # the weight above which a reason is given
REASONS = {"log": "its swings grow with its level", "identity": "its swings do not grow with its level"}


@dataclass(frozen=True)
class ForecastRequest:
    """What ``nonparam forecast`` was asked for."""

    source: str
    horizon: int | None
    season: str
    transform: str
    time: str | None
    value: str | None
    plot: Path | None
    csv: Path | None
    as_json: bool


def forecast(request: ForecastRequest) -> None:
    """Forecast a series, print the table, save what was asked for."""
    season = _season(request.season)
    check_writable(request.csv, table=True)
    check_writable(request.plot, picture=True)
    table = read(request.source)
    y, notes = series_from_table(table, request.time, request.value)
    for text in notes:
        note(text)
    _check_horizon(request.horizon, y)
    if len(y) > MANY:
        note(f"{len(y):,} observations take minutes: the time grows with the cube of their number")
    with progress(f"Fitting {len(y):,} observations of {y.name}"):
        with heard() as remarks:
            forecaster = GPForecaster(season, transform=request.transform).fit(y)
        horizon = request.horizon or min(forecaster.default_horizon(), LONGEST_DEFAULT)
        result = _table(forecaster, horizon)
        if request.plot is not None:
            draw(lambda ax: forecaster.plot(horizon, ax=ax), request.plot)
    for remark in remarks:
        note(remark)
    if request.csv is not None:
        save_table(result, request.csv)
    if request.as_json:
        print_json(_document(request, y, forecaster, result))
    elif request.csv != STDOUT:
        _print(request, y, forecaster, result)


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


def _check_horizon(horizon: int | None, y: pd.Series) -> None:
    """Refuse a forecast far beyond what the series can tell, or beyond the calendar."""
    longest, last = max(FARTHEST * len(y), ALWAYS), LAST_YEAR
    if getattr(y.index, "unit", None) == "ns":  # whose calendar is that of 64-bit nanoseconds
        last = pd.Timestamp.max.year - 1
    seconds = timeline(y.index).seconds if isinstance(y.index, pd.DatetimeIndex | pd.PeriodIndex) else None
    if seconds is not None:
        longest = min(longest, int((last - y.index[-1].year) * YEAR / seconds))
    if horizon is not None and horizon > longest:
        raise InputError(
            f"--horizon {horizon} is too far for {len(y)} observations: expected at most {longest} steps "
            f"({FARTHEST} times their number or {ALWAYS}, and none after the year {last})"
        )


def _table(forecaster: GPForecaster, horizon: int) -> pd.DataFrame:
    quantiles = forecaster.predict_quantiles(horizon, list(LEVELS.values())).set_axis(list(LEVELS), axis=1)
    times = [_time(time) for time in quantiles.index]
    return pd.concat([pd.Series(times, name="time"), quantiles.reset_index(drop=True)], axis=1)


def _time(time: object) -> str:
    if isinstance(time, pd.Timestamp) and time == time.normalize():
        return time.strftime("%Y-%m-%d")
    return format(time, ".8g") if isinstance(time, float) else str(time)


def _step(index: pd.Index) -> str:
    """Return what a step of an index is called."""
    if isinstance(index, pd.PeriodIndex):
        return PERIODS.get(index.freqstr.split("-")[0], "time")
    if isinstance(index, pd.DatetimeIndex):
        return SPANS.get((index[1:] - index[:-1]).to_series().median(), "time")
    return "step"


def _print(request: ForecastRequest, y: pd.Series, forecaster: GPForecaster, result: pd.DataFrame) -> None:
    print_facts(_facts(y, forecaster))
    typer.echo()
    print_table([_step(y.index), *SHOWN.values()], _cells(result))
    for what, path in (("plot", request.plot), ("forecast", request.csv)):
        if path is not None:
            typer.echo(f"\nThe {what} is saved as {path}")


def _cells(result: pd.DataFrame) -> list[list[str]]:
    numbers = result[list(SHOWN)]
    number = format_for(
        float((numbers["upper_80"] - numbers["lower_80"]).min()), float(np.abs(numbers).max(axis=None))
    )
    rows = zip(result["time"], numbers.to_numpy(), strict=True)
    return [[time, *(format(entry, number) for entry in row)] for time, row in rows]


def _facts(y: pd.Series, forecaster: GPForecaster) -> dict[str, str]:
    report = forecaster.report_
    missing = f", {report.missing} missing" if report.missing else ""
    seen = f"{report.observations:,} observation{'s' * (report.observations != 1)}{missing}"
    units = f" ({y.attrs['units']})" if "units" in y.attrs else ""
    converged = "" if report.converged else "; not every search converged"
    step, first, last = _step(y.index), _time(y.index.min()), _time(y.index.max())
    facts = {
        "series": f"{y.name}{units}",
        "seen": f"{seen}, {first} to {last}",
        "season": _chosen([(_season_name(m, step), m) for m in report.members]),
        "transform": _chosen([(m.transform, m) for m in report.members]),
    }
    models = f"{len(report.members)}, weighted by how probable each makes the series{converged}"
    return facts | {"models": models} if len(report.members) > 1 else facts


def _season_name(member: MemberReport, step: str) -> str:
    return " and ".join(f"{length:g} {step}s" for length in member.seasons) or "no season"


def _chosen(options: Sequence[tuple[str, MemberReport]]) -> str:
    """Return the option whose models weigh most, and what speaks for it."""
    weights = {name: sum(m.weight for other, m in options if other == name) for name, _ in options}
    best, *others = sorted(weights, key=lambda name: -weights[name])
    if not others:
        return best
    evidence = {name: max(m.log_evidence for other, m in options if other == name) for name in weights}
    gain = evidence[best] - evidence[others[0]]
    reason = f": {REASONS[best]}" if best in REASONS and weights[best] > SURE else ""
    return f"{best} (weight {weights[best]:.1%}, {gain:.1f} nats ahead of {others[0]}){reason}"


def _document(
    request: ForecastRequest, y: pd.Series, forecaster: GPForecaster, result: pd.DataFrame
) -> dict[str, object]:
    report = forecaster.report_
    return {
        "series": str(y.name),
        "units": y.attrs.get("units"),
        "observations": report.observations,
        "missing": report.missing,
        "models": [
            {
                "seasons": list(m.seasons),
                "transform": m.transform,
                "weight": m.weight,
                "log_evidence": m.log_evidence,
            }
            for m in report.members
        ],
        "converged": report.converged,
        "seconds": report.seconds,
        "horizon": len(result),
        "forecast": result.to_dict("records"),
        "plot": None if request.plot is None else str(request.plot),
        "csv": None if request.csv is None else str(request.csv),
    }
