"""Criteria by which one of several trends may be chosen, computed for many series at once.

The trends are the parts of a forecast that are not the season, all of them or without some. A series is
fitted with each of them, with and without its season, on the series and on its logarithm: 16 candidates. The
hyperparameters are the most probable ones of the whole training; the criteria that leave out its end keep
them, but for the one that says it refits. All criteria are the larger the better; only those of candidates
that share season and transform are compared, so that they may be read on the standardised series.
"""

import time
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
from m3_data import Forecast, Record
from scipy.special import ndtr, ndtri
from scipy.stats import multivariate_normal, norm

from nonparam import GPForecaster
from nonparam.forecasting.backtest import LEVELS
from nonparam.forecasting.beside import read_beside
from nonparam.forecasting.dense import Dense
from nonparam.forecasting.fitting import Candidate, Fit, Problem, Setting, fit_problems
from nonparam.forecasting.mixture import Mixture
from nonparam.forecasting.transforms import Link, standardise
from nonparam.forecasting.validation import read_series

TRENDS = {
    "all parts": (),
    "no drift": ("drift",),
    "drift and level": ("trend", "memory"),
    "level": ("drift", "trend", "memory"),
}
DEFAULT = "all parts"
SEASONS = ((), ("season",))  # what is left out
ORIGINS = 3  # from which the end of the training is forecast
POWER = 0.5  # of the evidence in the weights of season and transform
NATS = (0.1, 0.5, np.inf)  # factors of criteria that are log densities
ERRORS = (4.0, 16.0, np.inf)  # of those that are logarithms of mean errors
FAVOUR = np.log(10.0)  # nats that the default trend has before the others where it is favoured
Key = tuple[str, bool, str]


@dataclass(frozen=True)
class Comparison:
    """What is known of the candidates of a series, ``k`` of them.

    Attributes:
        record: the series.
        keys: transform, whether there is a season, and trend of each.
        forecast: of what came, with equal weights.
        criteria: ``(k,)`` each, by their names.
        seconds: of a processor, by what they were spent on.
    """

    record: Record
    keys: list[Key]
    forecast: Mixture
    criteria: dict[str, np.ndarray]
    seconds: dict[str, float] = field(default_factory=dict)


def problem_of(record: Record, links: list[Link] | None = None) -> Problem:
    """Return the series with all the candidates, on these transforms or on those worth a try."""
    observed = read_series(pd.Series(record.train))
    problem = GPForecaster(record.m).problem(observed, read_beside(None, None, observed))
    (setting,) = problem.settings
    omissions = tuple((*season, *trend) for trend in TRENDS.values() for season in SEASONS)
    known = [transform.link for transform in problem.transforms] if links is None else dict.fromkeys(links)
    transforms = tuple(standardise(link, problem.values) for link in known)
    return replace(problem, transforms=transforms, settings=(replace(setting, omissions=omissions),))


def compare_alike(records: list[Record], *, refit: bool) -> list[Comparison]:
    """Return the comparisons of series of equal length."""
    problems = [problem_of(record) for record in records]
    fits, seconds = timed(lambda: fit_problems(problems))
    found, spent = timed(lambda: [compared(*each) for each in zip(records, fits, strict=True)])
    costs = {"fits": seconds, "criteria": spent}
    if refit:
        _, costs["refits"] = timed(lambda: add_refitted(found))
    shares = {name: cost / len(records) for name, cost in costs.items()}
    return [replace(comparison, seconds=shares) for comparison in found]


def timed(call):
    began = time.process_time()
    return call(), time.process_time() - began


def compared(record: Record, fit: Fit, *, with_criteria: bool = True) -> Comparison:
    """Return the comparison of the candidates of a fitted series."""
    setting, candidates, h = fit.setting, fit.candidates, len(record.test)
    transforms = tuple(candidate.transform for candidate in candidates)
    columns = list(dict.fromkeys(transforms))
    z = np.stack([transform.forward(record.train) for transform in columns], 1)
    points = np.stack([candidate.fitted.search.theta for candidate in candidates])
    outputs = np.array([columns.index(transform) for transform in transforms])
    mean, covariance = Dense(setting.structure, setting.x, z).predict(points, outputs, ahead(setting, h))
    equal = np.full(len(points), 1.0 / len(points))
    forecast = Mixture(equal, transforms, mean, spread(covariance, points))
    criteria = {"evidence": np.array([candidate.log_evidence for candidate in candidates])}
    if with_criteria:
        criteria |= held_out(setting, z, points, outputs, h, record.m)
    return Comparison(record, [key_of(candidate) for candidate in candidates], forecast, criteria)


def key_of(candidate: Candidate) -> Key:
    left_out = candidate.fitted.omitted
    trend = next(n for n, parts in TRENDS.items() if set(parts) == set(left_out) - {"season"})
    return candidate.transform.link.name, "season" not in left_out, trend


def ahead(setting: Setting, h: int) -> np.ndarray:
    return np.arange(1.0, h + 1.0)[:, None] / setting.cycle.unit


def spread(covariance: np.ndarray, points: np.ndarray) -> np.ndarray:
    variance = np.maximum(np.diagonal(covariance, axis1=1, axis2=2), 0.0)
    return np.sqrt(variance + np.exp(points[:, -1:]))


def cuts(n: int, h: int, m: int) -> list[int]:
    """Return how many observations are known at each origin, half a season apart; at least a season."""
    return [n - h - i * m // 2 for i in range(ORIGINS) if n - h - i * m // 2 >= m]


def held_out(
    setting: Setting, z: np.ndarray, points: np.ndarray, outputs: np.ndarray, h: int, m: int
) -> dict[str, np.ndarray]:
    """Return the criteria that forecast the end of the training, all with the same hyperparameters."""
    block, found = np.zeros(len(points)), []
    for i, n in enumerate(cuts(len(z), h, m)):
        past = Dense(setting.structure, setting.x[:n], z[:n])
        mean, covariance = past.predict(points, outputs, setting.x[n : n + h])
        y = z[n : n + h, outputs].T
        if i == 0:
            noise = np.exp(points[:, -1])[:, None, None] * np.eye(h)
            block = np.array(
                [
                    multivariate_normal.logpdf(*each, allow_singular=True)
                    for each in zip(y, mean, covariance + noise, strict=True)
                ]
            )
        found.append(scores(y, mean, spread(covariance, points)))
    return {"block": block, **summed(found, len(points))}


def scores(y: np.ndarray, mean: np.ndarray, sd: np.ndarray) -> np.ndarray:
    """Return log density, CRPS and absolute error of Gaussians, each summed: ``(3, k)``."""
    r = (y - mean) / sd
    crps = sd * (r * (2.0 * ndtr(r) - 1.0) + 2.0 * norm.pdf(r) - 1.0 / np.sqrt(np.pi))
    return np.stack([norm.logpdf(r) - np.log(sd), crps, np.abs(y - mean)]).sum(2)


def summed(found: list[np.ndarray], k: int) -> dict[str, np.ndarray]:
    """Return the criteria of several origins: nats, and logarithms of errors, whose unit is no matter."""
    density, crps, error = np.sum(found, 0) if found else np.ones((3, k))
    return {"horizons": density, "crps": -np.log(crps), "error": -np.log(error)}


def add_refitted(comparisons: list[Comparison]) -> None:
    """Add the criteria whose hyperparameters have not seen what is forecast."""
    first = comparisons[0].record
    found: list[list[np.ndarray]] = [[] for _ in comparisons]
    for n in cuts(len(first.train), len(first.test), first.m):
        records = [replace(c.record, train=c.record.train[:n]) for c in comparisons]
        links = [[transform.link for transform in c.forecast.transforms] for c in comparisons]
        problems = [problem_of(*each) for each in zip(records, links, strict=True)]
        for i, (record, fit) in enumerate(zip(records, fit_problems(problems), strict=True)):
            known = comparisons[i]
            found[i].append(refitted_scores(known, compared(record, fit, with_criteria=False), n))
    for comparison, each in zip(comparisons, found, strict=True):
        named = summed(each, len(comparison.keys))
        comparison.criteria.update({f"{name}, refitted": values for name, values in named.items()})


def refitted_scores(known: Comparison, part: Comparison, n: int) -> np.ndarray:
    """Return the scores ``(3, k)`` of the forecast from an earlier origin, in the order of the candidates."""
    forecast = part.forecast
    y = known.record.train[n : n + forecast.mean.shape[1]]
    z = np.stack([transform.forward(y) for transform in forecast.transforms])
    return scores(z, forecast.mean, forecast.sd)[:, [part.keys.index(key) for key in known.keys]]


# weights --------------------------------------------------------------------------------------


def within(comparison: Comparison, criterion: np.ndarray, eta: float) -> np.ndarray:
    """Return weights that are those of the default structure between season and transform, and a criterion's
    ``exp(eta c)`` among trends; the best trend has all where ``eta`` is infinite.
    """
    evidence = comparison.criteria["evidence"]
    outer = np.array([trend == DEFAULT for *_, trend in comparison.keys])
    groups = [comparison.keys.index((*key[:2], DEFAULT)) for key in comparison.keys]
    log_outer = POWER * (evidence[groups] - evidence[outer].max())
    weights = np.zeros(len(groups))
    for group in set(groups):
        ours = np.array(groups) == group
        c = criterion[ours] - criterion[ours].max()
        inner = np.exp(eta * c) if np.isfinite(eta) else (np.arange(len(c)) == c.argmax()).astype(float)
        weights[ours] = np.exp(log_outer[ours]) * inner / inner.sum()
    return weights / weights.sum()


def fixed(comparison: Comparison, trend: str) -> np.ndarray:
    return within(comparison, np.array([float(key[2] == trend) for key in comparison.keys]), np.inf)


def weightings(comparison: Comparison) -> dict[str, np.ndarray]:
    """Return the weights of every way to choose."""
    k, criteria = len(comparison.keys), comparison.criteria
    found = {trend: fixed(comparison, trend) for trend in TRENDS}
    found["equal weights"] = within(comparison, np.zeros(k), 1.0)
    favour = FAVOUR * np.array([trend == DEFAULT for *_, trend in comparison.keys])
    for name, criterion in criteria.items():
        in_nats = name.startswith(("evidence", "block", "horizons"))
        for eta in NATS if in_nats else ERRORS:
            shown = "best" if np.isinf(eta) else f"x {eta:g}"
            found[f"{name}, {shown}"] = within(comparison, criterion, eta)
        middle = (NATS if in_nats else ERRORS)[1]
        favoured = within(comparison, middle * criterion + favour, 1.0)
        found[f"{name}, x {middle:g}, default favoured"] = favoured
    return found


def forecasts_of(comparison: Comparison) -> dict[str, Forecast]:
    """Return the forecast of every way to choose; that of a positive series is positive.

    They are mixtures of the same members, whose distribution functions are computed once, at the quantiles
    of all; between these the mixture's is taken for linear.
    """
    members = comparison.forecast
    each = list(zip(members.transforms, members.mean[:, :, None], members.sd[:, :, None], strict=True))
    grid = np.sort(np.concatenate([t.inverse(mean + sd * ndtri(LEVELS)) for t, mean, sd in each], 1), 1)
    below = np.stack([ndtr((t.forward(grid) - mean) / sd) for t, mean, sd in each])
    lowest = 0.0 if comparison.record.train.min() >= 0.0 else -np.inf
    found = {}
    for name, weights in weightings(comparison).items():
        cdf = np.tensordot(weights, below, 1)
        quantiles = np.stack([np.interp(LEVELS, *step) for step in zip(cdf, grid, strict=True)])
        quantiles = np.maximum(quantiles, lowest)
        found[name] = Forecast(quantiles[:, np.searchsorted(LEVELS, 0.5)], quantiles)
    return found
