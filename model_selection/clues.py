"""Where training of a candidate starts: at its parent's hyperparameters, and at what the data suggest.

A period, a lengthscale and the place of a change have several good values in most series; the evidence is
flat between them. So each candidate starts from more than one.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from nonparam.kernels import covariance
from nonparam.model_selection.assembly import SMOOTH
from nonparam.model_selection.candidates import (
    LONGEST_PERIOD,
    Candidate,
    Problem,
    Start,
    kernel_of,
)
from nonparam.model_selection.expressions import CYCLES, Base, Change, Expression, leaves, with_leaves
from nonparam.model_selection.scan import Scan, scan
from nonparam.posterior import condition

__all__ = ["Clues", "clues_of", "faster", "starts_of"]

Array = NDArray[np.float64]
Values = Mapping[str, float]

MOST_STARTS = 8
LIKELY = 4  # waves
SINUSOID = 2.0  # the lengthscale of a periodic kernel that has little beyond its first wave
DIVISORS = (2, 3, 4)  # of a period: what repeats after a while repeats after twice the while too
LENGTHSCALES = (1.0, 0.1, 3.0)  # of the spread of a column: the last one hardly changes what it multiplies
ABRUPT = 0.5  # of the distance of two rows: the width of a change between them
PLACES = (0.5, 0.25, 0.75)  # of the rows: where a change may be that is none of the level
LEAST = 1e-4  # of the variance of the outputs: with less, a new term would not move


@dataclass(frozen=True)
class Clues:
    """Values to start from, the most likely ones first.

    Attributes:
        options: by column and kind of leaf, hyperparameters that go together.
        noise: variance of the parent's noise; ``None`` where it is known.
        unexplained: mean square of what the parent leaves, with its noise: what a new term may explain.
    """

    options: Mapping[tuple[int, str], Sequence[Values]]
    noise: float | None
    unexplained: float


def clues_of(problem: Problem, parent: Candidate) -> Clues:
    """Return what the rows, and what a parent leaves of them, suggest."""
    data, noise = problem.data, parent.noise or 0.0
    kernel = kernel_of(problem, parent.expression).requires_grad_(False)
    posterior = condition(kernel, data, noise)
    left = data.y - posterior.predict_mean(data.x, data.basis)
    of_rows = data.noise_variances(noise)
    options: dict[tuple[int, str], Sequence[Values]] = {}
    for j, sd in enumerate(problem.scales.x_sd):
        a = covariance(kernel, data.x) + torch.diag(of_rows)
        found = scan(data.x[:, j], data.y, a)
        options[j, "smooth"] = [{"lengthscale": share * float(sd)} for share in LENGTHSCALES]
        options[j, "wave"] = _waves(found, float(problem.scales.period[j]))
        options[j, "change"] = _changes(found, data.x[:, j].cpu().numpy(), left.cpu().numpy())
    unexplained = float(left.square().mean()) + float(of_rows.mean())
    return Clues(options, parent.noise, max(unexplained, LEAST * problem.scales.y_variance))


def _waves(found: Scan | None, strongest: float) -> list[Values]:
    waves = [] if found is None else found.waves(LIKELY, LONGEST_PERIOD * float(np.ptp(found.x)))
    likely: list[Values] = [
        {"period": wave.period, "lengthscale": SINUSOID / wave.multiples} for wave in waves
    ]
    return likely or [{"period": strongest, "lengthscale": SINUSOID}]


def _changes(found: Scan | None, x: Array, left: Array) -> list[Values]:
    """Return places: of the largest step, abrupt or not, of the largest change of spread, and some others."""
    gradual: list[Values] = [
        {"location": float(place)} for place in (_change_of_spread(x, left), *np.quantile(x, PLACES))
    ]
    if found is None:
        return gradual
    step = {"location": found.step()}
    return [{**step, "width": ABRUPT * float(np.ptp(x)) / (len(x) - 1)}, step, *gradual]


def _change_of_spread(x: Array, left: Array) -> float:
    """Return the place before and after which the squares of ``left (n, t)`` differ most significantly."""
    order = np.argsort(x, kind="stable")
    places, squares, n = x[order], (left[order] ** 2).sum(1), len(x)
    if n < 2:
        return float(places[0])
    sums, count = np.cumsum(squares - squares.mean())[:-1], np.arange(1, n)
    best = int(np.argmax(sums**2 / (count * (n - count))))
    return float(0.5 * (places[best] + places[best + 1]))


def starts_of(ways: Sequence[Expression], clues: Clues, alone: Clues) -> list[Start]:
    """Return the starts of an expression: from the parent in each way, and from the data alone.

    Args:
        ways: the expression with its parent's hyperparameters.
        clues: for those that are missing.
        alone: the clues of the data when nothing is known of them.
    """
    first, *others = ways
    fresh = with_leaves(first, dict)
    starts = [
        *(Start(filled, clues.noise) for filled in _filled(first, clues)),
        *(Start(_filled(way, clues)[0], clues.noise) for way in others),
        *(Start(filled) for filled in _filled(fresh, alone)),
    ]
    return starts[:MOST_STARTS]


def faster(expression: Expression) -> list[Expression]:
    """Return the expression with one of its periods divided, in all ways; each wave keeps its shape.

    Examples:
        >>> wave = Base("periodic", values={"period": 24.0, "lengthscale": 0.5})
        >>> [each.values["period"] for each in faster(wave)]
        [12.0, 8.0, 6.0]
    """
    places = [
        i for i, leaf in enumerate(leaves(expression)) if isinstance(leaf, Base) and leaf.name in CYCLES
    ]
    return [_divided(expression, i, divisor) for i in places for divisor in DIVISORS]


def _divided(expression: Expression, place: int, divisor: int) -> Expression:
    known = [dict(leaf.values) for leaf in leaves(expression)]
    known[place]["period"] /= divisor
    if "lengthscale" in known[place]:
        known[place]["lengthscale"] *= divisor
    values = iter(known)
    return with_leaves(expression, lambda: next(values))


def _filled(expression: Expression, clues: Clues) -> list[Expression]:
    """Return the expression with what is missing set in different ways, as many as it has options."""
    turns = max((len(_options(leaf, clues)) for leaf in leaves(expression)), default=1)
    return [_set(expression, clues, turn) for turn in range(turns)]


def _kind(leaf: Base | Change) -> str:
    if isinstance(leaf, Change):
        return "change"
    return "smooth" if leaf.name in SMOOTH else "wave" if leaf.name in CYCLES else leaf.name


def _options(leaf: Base | Change, clues: Clues) -> Sequence[Values]:
    """Return what a leaf may start with, where its parent does not say it."""
    options = clues.options.get((leaf.column or 0, _kind(leaf)), [{}])
    return [{}] if set(options[-1]) & set(leaf.values) else options


def _set(expression: Expression, clues: Clues, turn: int) -> Expression:
    """Set each missing hyperparameter to an option; the next leaf of the same kind takes the next one."""
    met: Counter[tuple[int | None, str]] = Counter()
    waiting = leaves(expression)

    def values() -> dict[str, float]:
        leaf = next(waiting)
        options, key = _options(leaf, clues), (leaf.column, _kind(leaf))
        option = options[(turn + met[key]) % len(options)]
        met[key] += int(len(options) > 1)
        known = ("period",) if isinstance(leaf, Base) and leaf.name == "cosine" else tuple(option)
        return {**{name: option[name] for name in known if name in option}, **leaf.values}

    return with_leaves(expression, values)
