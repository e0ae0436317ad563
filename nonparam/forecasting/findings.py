"""What a fitted ensemble tells of its series: changes, sizes, effects, and what to distrust."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from nonparam.forecasting.beside import Beside
from nonparam.forecasting.calendars import DAY, YEAR, time_name
from nonparam.forecasting.ensemble import Ensemble
from nonparam.forecasting.fitting import Setting
from nonparam.forecasting.report import ForecastReport
from nonparam.forecasting.structure import WORKING_DAYS
from nonparam.forecasting.validation import Observed
from nonparam.forecasting.words import Estimate, Findings, Reading

__all__ = ["Fitted", "find", "step_name"]

Array = NDArray[np.float64]

PERIODS = {"Y": "year", "Q": "quarter", "M": "month", "W": "week", "D": "day", "B": "day", "h": "hour"}
SPANS = {7.0 * DAY: "week", DAY: "day", 3600.0: "hour", 60.0: "minute", 1.0: "second"}
STEPS = {YEAR: "year", YEAR / 4.0: "quarter", YEAR / 12.0: "month", **SPANS}
NEAR = 0.03  # of its length: months differ
LONGER = {YEAR: "year", **SPANS}  # what a trend is counted over, the longest first
TREND = ("drift", "trend", "level", "slope")
MOST_EFFECTS = 12  # that are told
FEW_CYCLES = 3.0
FEW_OBSERVATIONS = 10
MUCH_MISSING = 0.2  # of the series
JUMP = 8.0  # times the usual change from one observation to the next
LARGE = 0.5  # standard deviations of the series, that a jump has
WIDER = "intervals are wider for "
MOST_NAMED = 3  # observations far from the rest
FAR = 5.0  # standard deviations of the noise, that hardly an observation is away
HEAVY = 0.1  # the weight from which on a member counts
APART = 0.5  # of the width of the 80 % interval, between members that disagree
NORMAL_80 = 1.2815515655446004


@dataclass(frozen=True)
class Fitted:
    """A series, and what was fitted to it.

    Attributes:
        observed: the series.
        beside: its regressors and holidays.
        setting: how it is read.
        ensemble: the forecast.
        report: of the fit.
    """

    observed: Observed
    beside: Beside
    setting: Setting
    ensemble: Ensemble
    report: ForecastReport

    def rows(self, positions: Array) -> Array:
        """Return rows of the ensemble at positions ``(m,)``, without regressors: ``(m, c)``."""
        return self.setting.rows(positions, np.zeros((len(positions), self.ensemble.x.shape[1] - 1)))

    @property
    def end(self) -> float:
        """The position of the last observation; the setting's origin stays where it was at the fit."""
        return float(self.observed.positions[-1])

    @property
    def present(self) -> tuple[str, ...]:
        """The parts that the most evident member has."""
        return self.ensemble.present

    @property
    def seasons(self) -> tuple[str, ...]:
        """The seasons that the most evident member has."""
        return tuple(name for name in self.ensemble.structure.seasons if name in self.present)

    @property
    def g(self) -> Array:
        """The observations on the scale of the most evident member."""
        return self.ensemble.first_transform.link.forward(self.observed.values)

    @property
    def noise(self) -> float:
        """The standard deviation of the noise on that scale."""
        return float(self.ensemble.first_transform.scale * np.exp(0.5 * self.ensemble.points[0, -1]))


def find(fitted: Fitted, horizon: int) -> Findings:
    """Return what is to be told of a fit.

    Args:
        fitted: the series and its forecast.
        horizon: steps ahead at which members are compared.
    """
    y, report = fitted.observed.y, fitted.report
    values = fitted.observed.values
    span, steps = _span(fitted)
    swing, share = _season(fitted)
    return Findings(
        name=str("series" if y.name is None else y.name),
        step=step_name(y.index),
        first=time_name(y.index[0]),
        last=time_name(y.index[-1]),
        observations=report.observations,
        missing=report.missing,
        reading=Reading(
            fitted.ensemble.first_transform.link, float(np.median(values)), str(y.attrs.get("units", ""))
        ),
        transforms=_best(report, lambda member: member.transform),
        seasons=_best(report, lambda member: member.seasons),
        swing=swing,
        share=share,
        trend=_trend(fitted, steps),
        span=span,
        noise=fitted.noise,
        effects=_effects(fitted),
        cautions=tuple(_cautions(fitted, horizon)),
    )


def step_name(index: pd.Index) -> str:
    """Return what a step of an index is called.

    Examples:
        >>> step_name(pd.period_range("2020", periods=3, freq="Q")), step_name(pd.RangeIndex(3))
        ('quarter', 'step')
    """
    if isinstance(index, pd.PeriodIndex):
        return PERIODS.get(index.freqstr.split("-")[0], "step")
    if isinstance(index, pd.DatetimeIndex) and len(index) > 1:
        seconds = (index[1:] - index[:-1]).to_series().median().total_seconds()
        return next((name for length, name in STEPS.items() if abs(seconds - length) < NEAR * length), "step")
    return "step"


def _best(report: ForecastReport, key: Any) -> dict[Any, float]:
    """Return the evidence of the best member of each kind."""
    found: dict[Any, float] = {}
    for member in report.members:
        found[key(member)] = max(member.log_evidence, found.get(key(member), -np.inf))
    return found


def _span(fitted: Fitted) -> tuple[str, float]:
    """Return what a trend is counted over, and how many steps that is."""
    line, seen = fitted.observed.line, float(np.ptp(fitted.observed.positions))
    if line.seconds is not None:
        for length, name in LONGER.items():
            if line.seconds < length <= seen * line.seconds * 1.1:
                return name, min(length / line.seconds, seen)
    steps = min(seen, float(round(fitted.setting.cycle.unit)))
    name = step_name(fitted.observed.y.index)
    return name if steps == 1.0 else f"{steps:g} {name}s", steps


def _trend(fitted: Fitted, steps: float) -> Estimate | None:
    """Return the change of the parts that do not repeat, with the errors at both ends as independent."""
    names = [name for name in TREND if name in fitted.present]
    if not names or steps == 0.0:
        return None
    rows = fitted.rows(fitted.end - np.array([steps, 0.0]))
    ((mean, sd),) = fitted.ensemble.parts(rows, {"smooth": ["base", *names]}).values()
    return Estimate(float(mean[1] - mean[0]), float(np.hypot(sd[0], sd[1])))


def _season(fitted: Fitted) -> tuple[tuple[float, float] | None, float]:
    """Return the range of the last cycle of the seasons, and their share of the variance without outliers."""
    if not fitted.seasons:
        return None, 0.0
    cycle = fitted.end - np.arange(float(math.ceil(max(fitted.setting.cycle.periods))))
    ((last, _),) = fitted.ensemble.parts(fitted.rows(cycle), {"seasons": fitted.seasons}).values()
    ((mean, _),) = fitted.ensemble.parts(fitted.ensemble.x, {"seasons": fitted.seasons}).values()
    ensemble = fitted.ensemble
    total = float(np.var(ensemble.first_transform.scale * ensemble.z[:, ensemble.outputs[0]]))
    return (float(last.min()), float(last.max())), min(float(np.var(mean)) / total, 1.0) if total else 0.0


def _effects(fitted: Fitted) -> dict[str, Estimate]:
    """Return the effect of one unit of each column that was not 0 throughout; if many, of the surest.

    Nobody asked for working days: they are told of where their effect is none by chance.
    """
    x = fitted.ensemble.x
    columns = {
        k: v for k, v in fitted.beside.effects().items() if v[0] in fitted.present and x[:, v[1]].any()
    }
    rows = fitted.rows(np.full(len(columns), fitted.setting.origin))
    for row, (_, column, amount) in zip(rows, columns.values(), strict=True):
        row[column] = amount
    groups = {group for group, _, _ in columns.values()}
    sums = fitted.ensemble.parts(rows, {group: [group] for group in groups})
    found = {
        name: Estimate(float(sums[group][0][i]), float(sums[group][1][i]))
        for i, (name, (group, _, _)) in enumerate(columns.items())
    }
    found = {
        name: effect
        for name, effect in found.items()
        if columns[name][0] != WORKING_DAYS or effect.interval[0] * effect.interval[1] > 0.0
    }
    surest = sorted(found, key=lambda name: -abs(found[name].mean) / max(found[name].sd, 1e-300))[
        :MOST_EFFECTS
    ]
    return {name: estimate for name, estimate in found.items() if name in surest}


def _cautions(fitted: Fitted, horizon: int) -> Iterator[str]:
    report, cycle = fitted.report, fitted.setting.cycle
    if report.observations < FEW_OBSERVATIONS:
        yield f"with {report.observations} observations the priors say more than the series."
    cycles = (float(np.ptp(fitted.observed.positions)) + 1.0) / max(cycle.periods, default=np.inf)
    if fitted.seasons and cycles < FEW_CYCLES:
        yield f"only {cycles:.2g} cycles of the longest season were seen."
    share = report.missing / (report.missing + report.observations)
    if share > MUCH_MISSING:
        yield f"{100.0 * share:.2g} % of the series is missing."
    yield from _breaks(fitted)
    yield from _disagreement(fitted, horizon)
    if not all(member.converged for member in report.members if member.weight > HEAVY):
        yield "not every search for hyperparameters converged."


def _breaks(fitted: Fitted) -> Iterator[str]:
    """Yield what a series does that the noise or the level hardly ever do."""
    if len(fitted.g) < FEW_OBSERVATIONS:
        return
    smooth = [name for name in fitted.present if name in (*TREND, "memory")]
    groups = {"level": smooth, "fit": ["base", *fitted.present]}
    (level, _), (fit, _) = fitted.ensemble.parts(fitted.ensemble.x, groups).values()
    times = fitted.observed.y.index[np.flatnonzero(fitted.observed.y.notna())]
    changes = np.abs(np.diff(level) - np.median(np.diff(level)))
    jump = int(changes.argmax())
    if changes[jump] > max(JUMP * 1.4826 * np.median(changes), LARGE * fitted.g.std()):
        yield (
            f"the level jumps between {time_name(times[jump])} and {time_name(times[jump + 1])}; intervals "
            "allow for such jumps to come."
        )
    far = np.abs(fitted.g - fit) / fitted.noise
    rows = np.argsort(-far, kind="stable")[: int((far > FAR).sum())]
    if len(rows):
        yield _far_off(times, far, rows, _is_tamed(fitted)[rows])


def _far_off(times: pd.Index, far: Array, rows: NDArray[np.intp], tamed: NDArray[np.bool_]) -> str:
    """Say which observations ``rows``, the furthest first, are far from the rest, and what follows."""
    names = [time_name(times[row]) + " (the last)" * int(row == len(times) - 1) for row in rows[:MOST_NAMED]]
    if len(rows) > MOST_NAMED:
        names.append(f"{len(rows) - MOST_NAMED} more")
    size = f"{far[rows[0]]:.2g} standard deviations of the noise away from the rest"
    if len(rows) == 1:
        taken = "it is taken for an outlier, which the forecast hardly follows"
        return f"the observation at {names[0]} is {size}; {taken if tamed[0] else WIDER + 'it'}."
    taken = "they are taken for outliers, which the forecast hardly follows"
    follows = taken if tamed.all() else f"{WIDER}{'some of ' * bool(tamed.any())}them"
    return f"the observations at {', '.join(names[:-1])} and {names[-1]} are up to {size}; {follows}."


def _is_tamed(fitted: Fitted) -> NDArray[np.bool_]:
    """Return which observations were brought nearer, ``(n,)``."""
    ensemble = fitted.ensemble
    seen = ensemble.first_transform.forward(fitted.observed.values)
    tamed: NDArray[np.bool_] = ~np.isclose(seen, ensemble.z[:, ensemble.outputs[0]], rtol=1e-9, atol=1e-9)
    return tamed


def _disagreement(fitted: Fitted, horizon: int) -> Iterator[str]:
    ensemble = fitted.ensemble
    kinds = [
        (int(o), tuple(ensemble.structure.switched_off_in(p)))
        for o, p in zip(ensemble.outputs, ensemble.points, strict=True)
    ]
    weights = {kind: float(ensemble.weights[[k == kind for k in kinds]].sum()) for kind in kinds}
    heavy = [kinds.index(kind) for kind, weight in weights.items() if weight > HEAVY]
    mixture = ensemble.marginals(fitted.rows(np.array([float(horizon)])))
    medians = [float(mixture.transforms[i].inverse(mixture.mean[i])[0]) for i in heavy]
    low, high = mixture.quantile(np.array([0.1, 0.9]))[0]
    if len(medians) > 1 and max(medians) - min(medians) > APART * (high - low):
        yield f"models of similar weight disagree on the series in {horizon} steps."
