r"""Named structures of one series, side by side: evidence, effective parameters, density of what came later.

A name such as ``"no season, log"`` leaves the rest open; it stands for the most evident of the structures
that it allows. The effective number of parameters is

.. math:: \operatorname{tr} K (K + \sigma^2 I)^{-1} = \sum_i \operatorname{var}(f_i \mid y) / \sigma^2 .

Source: MacKay (2003), Information theory, inference, and learning algorithms, section 28.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import softmax

from nonparam.errors import InputError
from nonparam.forecasting.beside import Beside, read_beside
from nonparam.forecasting.ensemble import Ensemble
from nonparam.forecasting.fitting import Candidate, Problem, Setting, fit_problems
from nonparam.forecasting.season import Cycle
from nonparam.forecasting.structure import WORKING_DAYS, Structure
from nonparam.forecasting.transforms import LINKS, Standardised, standardise
from nonparam.forecasting.validation import Observed, read_horizon, read_series
from nonparam.validation import check_count

__all__ = ["compare_structures"]

Array = NDArray[np.float64]

WITHOUT = {  # parts that a name leaves out
    "no trend": ("drift", "trend", "slope"),
    **{f"no {name}": (name,) for name in ("drift", "level", "slope", "memory")},
    **{f"no {name}": (name,) for name in (WORKING_DAYS, "regressors", "holidays")},
}
SEASONS = ("season", "no season")
LEVEL_ONLY = "level only"
KNOWN = (*SEASONS, *LINKS, *WITHOUT, LEVEL_ONLY)


@dataclass(frozen=True)
class _Series:
    """A series or its beginning, how it is read, and the scales that it is fitted on."""

    observed: Observed
    beside: Beside
    setting: Setting
    transforms: tuple[Standardised, ...]


@dataclass(frozen=True)
class _Choice:
    """What a name allows: names of transforms, and lists of parts that are left out."""

    links: tuple[str, ...]
    omissions: tuple[tuple[str, ...], ...]

    def allows(self, candidate: Candidate) -> bool:
        return candidate.transform.link.name in self.links and candidate.fitted.omitted in self.omissions


def compare_structures(
    forecaster: Any, fitted: Any, structures: Sequence[str] | None, fh: int | None, origins: int
) -> pd.DataFrame:
    """Fit structures to the series of a fitted forecaster; see `GPForecaster.compare`.

    Args:
        forecaster: with its parameters.
        fitted: its series and how it is read.
        structures: names.
        fh: how many steps of the end of the series are predicted, or ``None``.
        origins: from how many origins, ``fh`` steps apart.

    Raises:
        InputError: a name that is unknown or asks for what the series cannot have.
    """
    values, cycle = fitted.observed.values, fitted.setting.cycle
    structure = forecaster.setting(cycle, fitted.observed, fitted.beside).structure
    tried = tuple(link.name for link in forecaster.links(values))
    names = _names(structures, structure, tried)
    choices = {name: _choice(name, structure, tried) for name in names}
    if "log" not in tried and any("log" in choice.links for choice in choices.values()) and values.min() <= 0:
        raise InputError(f"the structure 'log' needs positive observations, got {values.min():g}")
    series = _read(forecaster, fitted.observed, fitted.beside, cycle, choices)
    best = _best(series, choices)
    evidences = np.array([candidate.log_evidence for candidate in best.values()])
    table = pd.DataFrame(
        {
            "log_evidence": evidences,
            "weight": _weights(list(best.values())),
            "effective_parameters": [_effective(series, candidate) for candidate in best.values()],
            "transform": [candidate.transform.link.name for candidate in best.values()],
            "parts": [" + ".join(_present(structure, candidate)) for candidate in best.values()],
        },
        index=pd.Index(names, name="structure"),
    )
    if fh is not None:
        table.insert(1, "log_density", _held_out(forecaster, fitted, choices, fh, origins))
    return table.sort_values("log_evidence", ascending=False, kind="stable")


def _weights(candidates: Sequence[Candidate]) -> list[float]:
    """Return the probability of each, if one of them is true; what stands in several rows counts once."""
    evidence = {_what(candidate): candidate.log_evidence for candidate in candidates}
    weights = dict(zip(evidence, softmax(np.array(list(evidence.values()))), strict=True))
    return [float(weights[_what(candidate)]) for candidate in candidates]


def _what(candidate: Candidate) -> tuple[str, tuple[str, ...]]:
    return candidate.transform.link.name, candidate.fitted.omitted


def _names(structures: Sequence[str] | None, structure: Structure, tried: tuple[str, ...]) -> list[str]:
    if structures is None:
        parts = [part.name for part in structure.parts]
        removable = [name for name, out in WITHOUT.items() if set(out) & set(parts)]
        return [
            *(SEASONS if structure.seasons else ()),
            *(tried if len(tried) > 1 else ()),
            *removable,
            LEVEL_ONLY,
        ]
    if isinstance(structures, str) or not all(isinstance(name, str) for name in structures):
        raise InputError(f"structures must be a list of names, got {structures!r}; {_advice()}")
    names = list(dict.fromkeys(structures))
    if not names:
        raise InputError(f"structures is empty: expected at least one name; {_advice()}")
    return names


def _advice() -> str:
    return f"names are {', '.join(repr(name) for name in KNOWN)}, or several of them, as in 'no season, log'"


def _choice(name: str, structure: Structure, tried: tuple[str, ...]) -> _Choice:
    terms = [term.strip() for term in name.split(",")]
    unknown = [term for term in terms if term not in KNOWN]
    links = [term for term in terms if term in LINKS]
    if unknown or len(links) > 1 or set(SEASONS) <= set(terms):
        what = repr(unknown[0]) if unknown else f"{name!r}, which contradicts itself"
        raise InputError(f"structures has {what}; {_advice()}")
    if "season" in terms and not structure.seasons:
        raise InputError(f"structures has {name!r}, and the forecaster has no season: set season=")
    out = {part for term in terms for part in WITHOUT.get(term, ())}
    if LEVEL_ONLY in terms:
        out |= {part.name for part in structure.parts} - {"base", "level"}
    seasons = structure.seasons
    ways = [seasons[i:] for i in range(len(seasons) + 1)] if seasons else structure.trends
    if seasons and "season" in terms:
        ways = [()]
    elif seasons and "no season" in terms:
        ways = [seasons]
    options = [{*way, *out} for way in ways]
    ordered = (tuple(part.name for part in structure.parts if part.name in option) for option in options)
    return _Choice(tuple(links) or tried, tuple(dict.fromkeys(ordered)))


def _read(
    forecaster: Any, observed: Observed, beside: Beside, cycle: Cycle, choices: dict[str, _Choice]
) -> _Series:
    """Return a series with all that the choices need."""
    omissions = dict.fromkeys(o for choice in choices.values() for o in choice.omissions)
    links = dict.fromkeys(link for choice in choices.values() for link in choice.links)
    setting = replace(forecaster.setting(cycle, observed, beside), omissions=tuple(omissions))
    transforms = tuple(standardise(LINKS[link], observed.values) for link in links)
    return _Series(observed, beside, setting, transforms)


def _best(series: _Series, choices: dict[str, _Choice]) -> dict[str, Candidate]:
    """Fit everything at once, and return the most evident candidate of each choice."""
    problem = Problem(series.observed.values, series.transforms, (series.setting,))
    (fit,) = fit_problems([problem], average=False)
    return {name: next(c for c in fit.candidates if choice.allows(c)) for name, choice in choices.items()}


def _ensemble(series: _Series, candidate: Candidate) -> Ensemble:
    """Return the candidate given the series, of which outliers are brought nearer as for a forecast."""
    setting, values = series.setting, series.observed.values
    point, first = candidate.fitted.search.theta[None], np.zeros(1, dtype=np.intp)
    return Ensemble.given(
        setting.structure, setting.x, values, (candidate.transform,), point, first, np.ones(1)
    )


def _effective(series: _Series, candidate: Candidate) -> float:
    ensemble = _ensemble(series, candidate)
    _, variance = ensemble.engine.smoothed(ensemble.points, ensemble.z)
    return float(variance.sum() / np.exp(ensemble.points[0, -1]))


def _present(structure: Structure, candidate: Candidate) -> list[str]:
    return [part.name for part in structure.without(candidate.fitted.omitted).parts]


def _held_out(
    forecaster: Any, fitted: Any, choices: dict[str, _Choice], fh: int, origins: int
) -> list[float]:
    """Return the joint log density of the next ``fh`` steps after some origins, per observation."""
    check_count(fh, "fh", 1)
    check_count(origins, "origins", 1)
    y, table = fitted.observed.y, fitted.beside.regressors
    X = None if table is None else table.table
    cuts = [len(y) - fh * (i + 1) for i in range(origins)]
    if cuts[-1] < 2 or y.iloc[: cuts[-1]].notna().sum() < 2:
        raise InputError(f"expected a series longer than {origins} times {fh} steps, got {len(y)} rows")
    totals, count = dict.fromkeys(choices, 0.0), 0
    for cut in cuts:
        observed = read_series(y.iloc[:cut])
        beside = read_beside(X, forecaster.holidays, observed)
        series = _read(forecaster, observed, beside, fitted.setting.cycle, choices)
        later = y.iloc[cut : cut + fh].dropna()
        if not len(later):
            continue
        positions, index = read_horizon(later.index, observed.line)
        rows = series.setting.rows(positions, beside.ahead(X, index))
        for name, candidate in _best(series, choices).items():
            totals[name] += _ensemble(series, candidate).joint(rows).log_density(later.to_numpy())
        count += len(later)
    return [total / count if count else np.nan for total in totals.values()]
