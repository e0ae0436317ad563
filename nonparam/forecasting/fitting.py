r"""Fits of all structures and transforms to many series at once.

A candidate is a structure, on a transform of the series, at its most probable hyperparameters. With its
evidence :math:`p(y \mid k)` in Laplace's approximation, the transform's slope included, its weight is

.. math:: w_k \propto p(y \mid k)^{1/2}:

the evidence scores predictions one step ahead, many of them, and is surer of itself than forecasts of many
steps ahead bear out. Of trends it says even less: where they differ, in series without a season, the power
between them is 1/10.

The evidence is that of the series as it is. Forecasts are made from the series with its outliers brought
nearer, and from hyperparameters that are fitted to it again; see `outliers`. Only where outliers are larger
than all other changes together they are brought nearer first, and the evidence is that of what remains.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import logsumexp

from nonparam.forecasting.engine import engine_for
from nonparam.forecasting.ensemble import Ensemble
from nonparam.forecasting.outliers import tamed
from nonparam.forecasting.search import VALUE_TOLERANCE, Fitted, search
from nonparam.forecasting.season import Cycle
from nonparam.forecasting.structure import Structure
from nonparam.forecasting.transforms import LOG, Standardised, standardise
from nonparam.solvers.plan import CPU

__all__ = ["Candidate", "Fit", "Problem", "Setting", "fit_problems"]

Array = NDArray[np.float64]
Kind = tuple[int, tuple[str, ...]]

POWER = 0.5  # of the evidence in the weights of transforms and seasons
TREND_POWER = 0.1  # in those of trends, of which it says even less
VERY_LONG, END = 5000, 2000  # rows, and how many of the last ones are looked at before all of them
HOPELESS = 20.0  # nats behind the best at the end of a very long series
TOLERANCE_PER_ROW = 2e-6  # nats
NEGLIGIBLE = 1e-4  # the weight below which a candidate is left out of the forecast
GROSS = 1.0  # standard deviations of the series that an outlier was brought nearer
ROUNDS = 20  # of fits without outliers
NUM_DRAWS = 8  # of the hyperparameters of each candidate
FEW = 30.0  # over the number of observations, squared: the share of the draws in the forecast
MOST_DRAWN = 0.9  # of the forecast
MANY = 1000  # observations: their hyperparameters are known well enough


@dataclass(frozen=True)
class Setting:
    """How a series is read with one choice of its seasons.

    Attributes:
        cycle: the seasons and the unit of time.
        origin: the position that has the time 0: that of the last observation that was seen.
        structure: all parts.
        x: ``(n, c)``, times in this unit and regressors.
        omissions: the parts that each variant leaves out.
        device: where fits are computed.
    """

    cycle: Cycle
    origin: float
    structure: Structure
    x: Array
    omissions: tuple[tuple[str, ...], ...]
    device: torch.device = CPU

    def rows(self, positions: Array, beside: Array) -> Array:
        """Return what the structure is a function of, ``(m, c)``.

        Args:
            positions: ``(m,)``, of the timeline.
            beside: ``(m, k)``, regressors and holidays there.
        """
        return np.column_stack([(positions - self.origin) / self.cycle.unit, beside])

    def is_like(self, other: "Setting") -> bool:
        """Whether both can be fitted together."""
        return (
            self.cycle == other.cycle
            and self.omissions == other.omissions
            and np.array_equal(self.x, other.x)
            and self.structure.is_like(other.structure)
        )


@dataclass(frozen=True)
class Problem:
    """A series to be fitted.

    Attributes:
        values: ``(n,)``, the observations.
        transforms: worth a try.
        settings: choices of seasons, between which the evidence decides.
    """

    values: Array
    transforms: tuple[Standardised, ...]
    settings: tuple[Setting, ...]


@dataclass(frozen=True)
class Candidate:
    """A structure fitted to a transform of a series.

    Attributes:
        transform: of the series.
        fitted: the hyperparameters.
        log_evidence: log density of the observations as they are, in nats.
        weight: in the forecast.
    """

    transform: Standardised
    fitted: Fitted
    log_evidence: float
    weight: float


@dataclass(frozen=True)
class Fit:
    """A fitted series.

    Attributes:
        setting: the choice of seasons.
        candidates: for the series as it is, the most evident first.
        ensemble: the forecast.
    """

    setting: Setting
    candidates: tuple[Candidate, ...]
    ensemble: Ensemble


def fit_problems(
    problems: Sequence[Problem],
    *,
    average: bool = True,
    deadline: float = np.inf,
    device: torch.device = CPU,
) -> list[Fit]:
    """Fit many series; those that are seen at the same times share their computations.

    A series whose outliers are as large as all its other changes together is fitted again without them: they
    would be taken for noise, and the rest for nothing.

    Args:
        problems: the series.
        average: whether the forecast averages over candidates and hyperparameters, or takes the best only.
        deadline: of `time.monotonic`, at which searches stop where they are.
        device: where batches are computed.

    Returns:
        One fit for each.
    """
    problems = [_on(device, problem) for problem in problems]
    fits = _fit_all(problems, average, deadline)
    tried = list(problems)
    for _ in range(ROUNDS):
        spoiled = [i for i, fit in enumerate(fits) if _is_spoiled(tried[i], fit)]
        if not spoiled or time.monotonic() > deadline:
            break
        for i in spoiled:
            tried[i] = _cleaned(tried[i], fits[i])
        again = _fit_all([tried[i] for i in spoiled], average, deadline)
        for i, fit in zip(spoiled, again, strict=True):
            fits[i] = fit
    return [
        fit if used is problem else replace(fit, ensemble=fit.ensemble.regiven(problem.values))
        for fit, used, problem in zip(fits, tried, problems, strict=True)
    ]


def _on(device: torch.device, problem: Problem) -> Problem:
    settings = tuple(replace(setting, device=device) for setting in problem.settings)
    return replace(problem, settings=settings)


def _is_spoiled(problem: Problem, fit: Fit) -> bool:
    first = fit.ensemble.first_transform
    moved = first.forward(problem.values) - fit.ensemble.z[:, fit.ensemble.outputs[0]]
    return bool(np.abs(moved).max() > GROSS)


def _cleaned(problem: Problem, fit: Fit) -> Problem:
    """Return the series with its outliers brought nearer, measured anew; none passes the lowest of all.

    So every transform of the series remains one of what is left of it.
    """
    values = fit.ensemble.first_transform.inverse(fit.ensemble.z[:, fit.ensemble.outputs[0]])
    values = np.maximum(values, problem.values.min())
    transforms = tuple(standardise(transform.link, values) for transform in problem.transforms)
    return replace(problem, values=values, transforms=transforms)


def _fit_all(problems: Sequence[Problem], average: bool, deadline: float) -> list[Fit]:
    tasks = [(i, setting) for i, problem in enumerate(problems) for setting in problem.settings]
    groups: list[list[tuple[int, Setting]]] = []
    for task in tasks:
        alike = next((group for group in groups if group[0][1].is_like(task[1])), None)
        groups.append([task]) if alike is None else alike.append(task)
    found: list[list[Fit]] = [[] for _ in problems]
    for group in groups:
        members = [problems[i] for i, _ in group]
        for (i, _), fit in zip(group, _fit_alike(members, group[0][1], average, deadline), strict=True):
            found[i].append(fit)
    return [max(fits, key=lambda fit: fit.candidates[0].log_evidence) for fits in found]


def _fit_alike(problems: Sequence[Problem], setting: Setting, average: bool, deadline: float) -> list[Fit]:
    """Fit series that have the same times."""
    owners = [(i, transform) for i, problem in enumerate(problems) for transform in problem.transforms]
    z = np.stack([transform.forward(problems[i].values) for i, transform in owners], 1)
    kinds = [
        (output, names)
        for output, (_, transform) in enumerate(owners)
        for names in setting.omissions
        if not _explodes(setting.structure, names, transform)
    ]
    slopes = np.stack([transform.log_slope(problems[i].values) for i, transform in owners], 1)
    found = _found(setting, z, slopes, kinds, deadline)
    chosen = []
    for i, problem in enumerate(problems):
        own = [(owners[fitted.output][1], fitted) for fitted in found if owners[fitted.output][0] == i]
        chosen.append(_weighed(problem.values, own, set(setting.structure.seasons), average))
    calm = _calmed(setting, z, chosen, deadline)
    return [
        Fit(setting, candidates, _ensemble(setting, problem.values, calmed, average))
        for problem, candidates, calmed in zip(problems, chosen, calm, strict=True)
    ]


def _found(setting: Setting, z: Array, log_slopes: Array, kinds: list[Kind], deadline: float) -> list[Fitted]:
    """Search; in very long series their end tells first where to begin, and which candidates are hopeless."""
    structure, n = setting.structure, len(z)
    if n <= VERY_LONG:
        return _searched(setting, z, kinds, None, deadline)
    end = engine_for(structure, setting.x[-END:], z[-END:], setting.device)
    sketch = search(structure, end, kinds, deadline=deadline)
    evidences = np.array(
        [each.laplace.log_evidence + log_slopes[-END:, each.output].sum() for each in sketch]
    )
    hopeful = [sketch[i] for i in np.flatnonzero(evidences >= evidences.max() - HOPELESS)]
    return _searched(setting, z, _kinds(hopeful), hopeful, deadline)


def _kinds(fitted: Sequence[Fitted]) -> list[Kind]:
    return [(each.output, each.omitted) for each in fitted]


def _searched(
    setting: Setting, z: Array, kinds: list[Kind], near: Sequence[Fitted] | None, deadline: float
) -> list[Fitted]:
    """Search, from where others were found if they are given."""
    return search(
        setting.structure,
        engine_for(setting.structure, setting.x, z, setting.device),
        kinds,
        starts=None if near is None else np.stack([each.search.theta for each in near]),
        value_tolerance=max(VALUE_TOLERANCE, len(z) * TOLERANCE_PER_ROW),
        deadline=deadline,
    )


def _calmed(
    setting: Setting, z: Array, chosen: list[tuple[Candidate, ...]], deadline: float
) -> list[tuple[Candidate, ...]]:
    """Fit candidates again, if they count and their series, of ``z (n, t)``, has outliers: brought nearer."""
    near = tamed(setting.structure, setting.x, z, _first_points(chosen), setting.device)
    changed = set(np.flatnonzero((near != z).any(0)))
    again = [c for own in chosen for c in own if c.weight > NEGLIGIBLE and c.fitted.output in changed]
    if not again:
        return chosen
    before = [candidate.fitted for candidate in again]
    fitted = dict(
        zip(map(id, again), _searched(setting, near, _kinds(before), before, deadline), strict=True)
    )
    return [tuple(replace(c, fitted=fitted.get(id(c), c.fitted)) for c in own) for own in chosen]


def _first_points(chosen: list[tuple[Candidate, ...]]) -> dict[int, Array]:
    """Return the hyperparameters of the most evident candidate that counts, by the columns of the series."""
    counting = [c.fitted for own in chosen for c in reversed(own) if c.weight > NEGLIGIBLE]
    return {fitted.output: fitted.search.theta for fitted in counting}


def _explodes(structure: Structure, omitted: Sequence[str], transform: Standardised) -> bool:
    """Whether a slope wanders on a logarithm, which soon forecasts anything."""
    return structure.without(omitted).has_slope and transform.link is LOG


def _weights(evidences: Array, trends: Sequence[frozenset[str]]) -> Array:
    """Return weights that sum to 1: powers of the evidence among trends, and within each of them."""
    log_weights = np.empty(len(evidences))
    for trend in set(trends):
        own = np.array([other == trend for other in trends])
        within = POWER * evidences[own]
        log_weights[own] = TREND_POWER * logsumexp(evidences[own]) + within - logsumexp(within)
    weights: Array = np.exp(log_weights - logsumexp(log_weights))
    return weights


def _weighed(
    values: Array, fitted: list[tuple[Standardised, Fitted]], seasons: set[str], average: bool
) -> tuple[Candidate, ...]:
    evidences = np.array(
        [each.laplace.log_evidence + float(transform.log_slope(values).sum()) for transform, each in fitted]
    )
    weights = _weights(evidences, [frozenset(each.omitted) - seasons for _, each in fitted])
    if not average:
        weights = (np.arange(len(weights)) == weights.argmax()).astype(float)
    candidates = [
        Candidate(transform, each, float(evidence), float(weight))
        for (transform, each), evidence, weight in zip(fitted, evidences, weights, strict=True)
    ]
    return tuple(sorted(candidates, key=lambda candidate: -candidate.log_evidence))


def _ensemble(setting: Setting, values: Array, candidates: tuple[Candidate, ...], average: bool) -> Ensemble:
    """Gather the members of a forecast: the most evident mode first, and for short series also draws."""
    kept = [c for c in candidates if c.weight > NEGLIGIBLE]
    transforms = list(dict.fromkeys(c.transform for c in kept))
    drawn = min(MOST_DRAWN, (FEW / len(values)) ** 2) if average and len(values) < MANY else 0.0
    points, outputs, weights = [], [], []
    for candidate in kept:
        draws = candidate.fitted.draws(setting.structure, NUM_DRAWS if drawn > 0.0 else 0)
        points += [candidate.fitted.search.theta[None], draws]
        outputs += [transforms.index(candidate.transform)] * (1 + len(draws))
        weights += [candidate.weight * (1.0 - drawn), *[candidate.weight * drawn / NUM_DRAWS] * len(draws)]
    total = np.array(weights)
    return Ensemble.given(
        setting.structure,
        setting.x,
        values,
        tuple(transforms),
        np.concatenate(points),
        np.array(outputs),
        total / total.sum(),
        setting.device,
    )
