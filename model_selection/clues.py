"""Where training of a candidate starts: at its parent's hyperparameters, and at what the data suggest.

A period, a lengthscale and the place of a change have several good values in most series; the evidence is
flat between them. So each candidate starts from more than one.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nonparam.model_selection.candidates import (
    LONGEST_PERIOD,
    Candidate,
    Problem,
    Start,
    kernel_of,
)
from nonparam.model_selection.expressions import Base, Change, Expression, leaves, with_leaves
from nonparam.posterior import condition
from nonparam.spectrum import find_peaks

__all__ = ["Clues", "clues_of", "starts_of"]

Array = NDArray[np.float64]

MOST_STARTS = 4
PEAKS = 2  # of the spectrum of the series; one more of what the parent leaves
WIDTH = 0.03  # of a peak, in units of what the span can tell apart
ALIKE = 0.05  # periods that differ by less, relatively, are one
LENGTHSCALES = (1.0, 0.1, 3.0)  # of the spread of a column: the last one hardly changes what it multiplies
LEAST = 1e-4  # of the variance of the outputs: with less, a new term would not move


@dataclass(frozen=True)
class Clues:
    """Values to start from, the most likely one first.

    Attributes:
        options: by column and name of the hyperparameter.
        noise: variance of the parent's noise; ``None`` where it is known.
        unexplained: mean square of what the parent leaves, with its noise: what a new term may explain.
    """

    options: Mapping[tuple[int, str], Sequence[float]]
    noise: float | None
    unexplained: float


def clues_of(problem: Problem, parent: Candidate) -> Clues:
    """Return what the rows, and what a parent leaves of them, suggest."""
    data, noise = problem.data, parent.noise or 0.0
    kernel = kernel_of(problem, parent.expression)
    posterior = condition(kernel.requires_grad_(False), data, noise)
    left = (data.y - posterior.predict_mean(data.x, data.basis)).cpu().numpy()
    x, y, weights = data.x.cpu().numpy(), data.y.cpu().numpy(), data.weights.cpu().numpy()
    options: dict[tuple[int, str], Sequence[float]] = {}
    for j, sd in enumerate(problem.scales.x_sd):
        options[j, "period"] = _periods(x[:, j], y, left, weights) or [float(problem.scales.period[j])]
        options[j, "lengthscale"] = [share * float(sd) for share in LENGTHSCALES]
        options[j, "location"] = [_change(x[:, j], left), _change(x[:, j], left**2)]
    unexplained = float(np.mean(left**2)) + float(data.noise_variances(noise).mean())
    return Clues(options, parent.noise, max(unexplained, LEAST * problem.scales.y_variance))


def _periods(x: Array, y: Array, left: Array, weights: Array) -> list[float]:
    peaks = [find_peaks(x, y, weights, PEAKS + 1, width=WIDTH), find_peaks(x, left, weights, 1, width=WIDTH)]
    slowest = 1.0 / (LONGEST_PERIOD * float(np.ptp(x)) or 1.0)
    of_series, of_rest = [1.0 / found.frequency[found.frequency > slowest] for found in peaks]
    periods: list[float] = []
    for period in [*of_series[:1], *of_rest, *of_series[1:PEAKS]]:
        if all(abs(period / other - 1.0) > ALIKE for other in periods):
            periods.append(float(period))
    return periods


def _change(x: Array, values: Array) -> float:
    """Return the place before and after which the means of ``values (n, 1)`` differ most significantly."""
    order = np.argsort(x, kind="stable")
    places, n = x[order], len(x)
    sums = np.cumsum(values[order, 0] - values.mean())[:-1]
    count = np.arange(1, n)
    if n < 2:
        return float(places[0])
    best = int(np.argmax(sums**2 / (count * (n - count))))
    return float(0.5 * (places[best] + places[best + 1]))


def starts_of(ways: Sequence[Expression], clues: Clues) -> list[Start]:
    """Return the starts of an expression: from the parent in each way, and from the data alone.

    Args:
        ways: the expression with its parent's hyperparameters.
        clues: for those that are missing.
    """
    first, *others = ways
    fresh = with_leaves(first, dict)
    starts = [
        *(Start(filled, clues.noise) for filled in _filled(first, clues)),
        *(Start(_filled(way, clues)[0], clues.noise) for way in others),
        *(Start(filled) for filled in _filled(fresh, clues)),
    ]
    return starts[:MOST_STARTS]


def _filled(expression: Expression, clues: Clues) -> list[Expression]:
    """Return the expression with what is missing set in different ways, as many as it has options."""
    return [_set(expression, clues, turn) for turn in range(_turns(expression, clues))]


def _turns(expression: Expression, clues: Clues) -> int:
    return max(
        (len(found) for leaf in leaves(expression) for found in _missing(leaf, clues).values()), default=1
    )


def _missing(leaf: Base | Change, clues: Clues) -> dict[str, Sequence[float]]:
    """Return the options of the hyperparameters that a leaf lacks."""
    known = {"periodic": ["period"], "cosine": ["period"], "rbf": ["lengthscale"], "rq": ["lengthscale"]}
    names = ["location"] if isinstance(leaf, Change) else known.get(leaf.name, [])
    wanted = [name for name in names if name not in leaf.values]
    return {name: clues.options[leaf.column or 0, name] for name in wanted}


def _set(expression: Expression, clues: Clues, turn: int) -> Expression:
    """Set each missing hyperparameter to an option; the next leaf of the same kind takes the next one."""
    met: Counter[tuple[int | None, str]] = Counter()
    waiting = leaves(expression)

    def values() -> dict[str, float]:
        leaf = next(waiting)
        chosen = dict(leaf.values)
        for name, options in _missing(leaf, clues).items():
            chosen[name] = options[(turn + met[leaf.column, name]) % len(options)]
            met[leaf.column, name] += 1
        return chosen

    return with_leaves(expression, values)
