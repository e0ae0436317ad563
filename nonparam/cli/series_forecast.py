"""The forecast of one series, as the commands tell it: numbers, facts, words and a document."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

from nonparam.cli.output import format_for
from nonparam.errors import InputError
from nonparam.forecasting import GPForecaster, MemberReport
from nonparam.forecasting.calendars import YEAR, time_name
from nonparam.forecasting.findings import step_name
from nonparam.forecasting.timeline import timeline
from nonparam.forecasting.validation import LAST_YEAR
from nonparam.forecasting.words import REASONS

__all__ = ["LEVELS", "OVERVIEW", "SHOWN", "SeriesForecast", "check_horizon"]

LEVELS = {"lower_95": 0.025, "lower_80": 0.1, "median": 0.5, "upper_80": 0.9, "upper_95": 0.975}
SHOWN = {
    "median": "median",
    "lower_80": "80% low",
    "upper_80": "80% high",
    "lower_95": "95% low",
    "upper_95": "95% high",
}
OVERVIEW = ("seen", "until", "model", "forecast for", "median", "80% low", "80% high")
LONGEST_DEFAULT = 104  # steps
FARTHEST = 10  # times the length of the series, at most
ALWAYS = 1000  # steps, allowed for a short series too
MOST_DATES = 7  # below a picture
SURE = 0.9  # the weight above which a reason is given


@dataclass(frozen=True)
class SeriesForecast:
    """A series, a forecaster fitted to it, and how far it is to look.

    Attributes:
        y: the series.
        forecaster: fitted.
        horizon: in steps; ``None`` for two seasons.
    """

    y: pd.Series
    forecaster: GPForecaster
    horizon: int | None

    @cached_property
    def steps(self) -> int:
        """How far the forecast goes."""
        return self.horizon or min(self.forecaster.default_horizon(), LONGEST_DEFAULT)

    @cached_property
    def quantiles(self) -> pd.DataFrame:
        """The forecast, with its times as index and a column for each of `LEVELS`."""
        levels = list(LEVELS.values())
        return self.forecaster.predict_quantiles(self.steps, levels).set_axis(list(LEVELS), axis=1)

    @cached_property
    def table(self) -> pd.DataFrame:
        """The forecast, with a column of times as text."""
        times = pd.Series([time_name(time) for time in self.quantiles.index], name="time")
        return pd.concat([times, self.quantiles.reset_index(drop=True)], axis=1)

    @property
    def step(self) -> str:
        """What a step of the index is called."""
        return step_name(self.y.index)

    @property
    def cells(self) -> list[list[str]]:
        """The forecast as text: a row for each time, which comes first, and then those of `SHOWN`."""
        numbers = self.table[list(SHOWN)]
        rows = zip(self.table["time"], numbers.to_numpy(), strict=True)
        return [[time, *(format(entry, self.number) for entry in row)] for time, row in rows]

    @property
    def number(self) -> str:
        """The format of its numbers."""
        numbers = self.table[list(SHOWN)]
        width = float((numbers["upper_80"] - numbers["lower_80"]).min())
        return format_for(width, float(np.abs(numbers).max(axis=None)))

    @property
    def season(self) -> str:
        """The season that weighs most, and what speaks for it."""
        return _chosen([(_season_name(m, self.step), m) for m in self.forecaster.report_.members])

    @property
    def transform(self) -> str:
        """The transform that weighs most, and what speaks for it."""
        return _chosen([(m.transform, m) for m in self.forecaster.report_.members])

    @property
    def seen(self) -> str:
        """What was observed, and when."""
        report = self.forecaster.report_
        missing = f", {report.missing} missing" if report.missing else ""
        count = f"{report.observations:,} observation{'s' * (report.observations != 1)}{missing}"
        return f"{count}, {time_name(self.y.index.min())} to {time_name(self.y.index.max())}"

    @property
    def facts(self) -> dict[str, str]:
        """What was seen and what was chosen."""
        report = self.forecaster.report_
        units = f" ({self.y.attrs['units']})" if "units" in self.y.attrs else ""
        converged = "" if report.converged else "; not every search converged"
        facts = {"series": f"{self.y.name}{units}", "seen": self.seen}
        facts |= {"season": self.season, "transform": self.transform}
        models = f"{len(report.members)}, weighted by how probable each makes the series{converged}"
        return facts | {"models": models} if len(report.members) > 1 else facts

    @property
    def words(self) -> str:
        """What was seen and what was chosen, in sentences."""
        heaviest = self.forecaster.report_.members[0]
        season = f"a season of {_season_name(heaviest, self.step)}" if heaviest.seasons else "no season"
        scale = "takes logarithms" if heaviest.transform == "log" else "takes the values as they are"
        reason = f": {REASONS[heaviest.transform]}" if heaviest.weight > SURE else ""
        chosen = f"The most probable model, with a weight of {heaviest.weight:.0%}, has {season} and {scale}"
        return f"{self.seen}, were seen. {chosen}{reason}."

    @property
    def outlook(self) -> str:
        """The forecast in a sentence."""
        last = self.quantiles.iloc[-1].map(lambda value: format(value, self.number))
        return (
            f"By {self.table['time'].iloc[-1]} the median is {last['median']}; with 80 % probability it will "
            f"lie between {last['lower_80']} and {last['upper_80']}, with 95 % between {last['lower_95']} "
            f"and {last['upper_95']}."
        )

    @property
    def overview(self) -> list[str]:
        """The series in a line, for the columns of `OVERVIEW`."""
        report, last = self.forecaster.report_, self.cells[-1]
        heaviest = report.members[0]
        return [f"{report.observations:,}", time_name(self.y.index.max()), heaviest.name, *last[:4]]

    def draw(self, ax: Any) -> None:
        """Draw the series and its forecast, with as few dates as a small picture has room for."""
        self.forecaster.plot(self.steps, ax=ax)
        if isinstance(ax.xaxis.get_major_locator(), AutoDateLocator):
            dates = AutoDateLocator(minticks=3, maxticks=MOST_DATES)
            ax.xaxis.set_major_locator(dates)
            ax.xaxis.set_major_formatter(ConciseDateFormatter(dates))

    @property
    def document(self) -> dict[str, object]:
        """All of it, for programs."""
        report = self.forecaster.report_
        return {
            "series": str(self.y.name),
            "units": self.y.attrs.get("units"),
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
            "horizon": len(self.table),
            "forecast": self.table.to_dict("records"),
        }


def check_horizon(horizon: int | None, y: pd.Series) -> None:
    """Raise `InputError` for a forecast far beyond what the series can tell, or beyond the calendar."""
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
