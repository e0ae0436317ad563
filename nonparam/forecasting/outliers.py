r"""Observations far from what all others say of them, brought nearer.

With mean :math:`m_{-i}` and standard deviation :math:`s_{-i}` of observation :math:`y_i` given all others,

.. math:: y_i^* = m_{-i} + s_{-i}\, \psi_c\!\left(\frac{y_i - m_{-i}}{s_{-i}}\right), \qquad
    \psi_c(u) = \max(-c, \min(c, u)):

one strike, flood or slip of the pen no longer bends the trend, nor widens every interval. Where a series is
often far from what its neighbours say, that is how it is: one in twenty at most is an outlier. Steps of the
level stay, and so does what comes back after whole cycles, such as a peak of each year, and a series of which
most observations are one and the same, as of an article that hardly sells: its few others are all that there
is to know of their size.

Sources: Gelper, Fried and Croux (2010), Robust forecasting with exponential and Holt-Winters smoothing,
Journal of Forecasting 29, for one-step forecasts; Rasmussen and Williams (2006), Gaussian processes for
machine learning, equation 5.12, for the moments given all others.
"""

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray

from nonparam.forecasting.engine import Engine, engine_for
from nonparam.forecasting.structure import Structure
from nonparam.solvers.plan import CPU

__all__ = ["left_out", "tamed"]

Array = NDArray[np.float64]

LIMIT = 2.5  # standard deviations
FAR = 6.0  # standard deviations: an outlier that makes others look like some
ROUNDS = 10
MOST = 0.05  # of the observations that may be brought nearer
FEWEST = 10  # observations: of fewer, none is known to be far from the others
STEP = 0.75  # of an observation's distance, that a neighbour is off to the other side: a step, no outlier
NEARLY = 0.99  # steps that what comes back may be off from whole cycles, which need not be whole steps
ONE_VALUE = 0.5  # of the observations: if more are one and the same, the others are no outliers
LASTING = 0.5  # of a step, by which the level is another one after it
ALIKE = 0.5  # of an observation's distance, that another is off to the same side, cycles before or after
LEAST_FREEDOM = 1e-6  # the share of the noise that a fit leaves; below it, rounding is all that is seen


def left_out(engine: Engine, points: Array, y: Array) -> tuple[Array, Array]:
    """Return mean and standard deviation of each observation given all others.

    Args:
        engine: of series that are seen at these times.
        points: ``(b, p)``, logarithms of hyperparameters.
        y: ``(n, b)``, a series for each of them.

    Returns:
        Means and standard deviations ``(b, n)``. Where the hyperparameters leave no noise, nothing can be
        said: the mean is the observation.
    """
    mean, variance = engine.smoothed(points, y)
    noise = np.exp(points[:, -1:])
    freedom = 1.0 - variance / noise
    seen = freedom > LEAST_FREEDOM
    freedom = np.where(seen, freedom, 1.0)
    return y.T - np.where(seen, (y.T - mean) / freedom, 0.0), np.sqrt(noise / freedom)


def tamed(
    structure: Structure, x: Array, z: Array, points: Mapping[int, Array], device: torch.device = CPU
) -> Array:
    """Return the series ``(n, t)``; what is far from all else that a series says is brought nearer.

    Args:
        structure: of the series.
        x: ``(n, c)``, their rows.
        z: ``(n, t)``, the series.
        points: logarithms of hyperparameters ``(p,)`` by the columns of ``z``; the others stay as they are.
        device: as for `nonparam.forecasting.engine.engine_for`.

    Examples:
        >>> from nonparam.forecasting.structure import build_structure
        >>> x, y = np.linspace(-2.0, 0.0, 21)[:, None], np.cos(np.arange(21.0))
        >>> y[10] = 30.0
        >>> structure = build_structure(-2.0)
        >>> near = tamed(structure, x, y[:, None], {0: structure.theta().start})[:, 0]
        >>> bool(near[10] < 30.0), np.flatnonzero(near != y).tolist()
        (True, [10])
    """
    near = z.copy()
    if len(z) < FEWEST:
        return near
    engine = engine_for(structure, x, z, device)
    wanted = {output: point for output, point in points.items() if not _is_mostly_one_value(z[:, output])}
    outliers = np.zeros(z.shape, dtype=np.bool_)
    for _ in range(ROUNDS):
        if not wanted:
            break
        outputs = list(wanted)
        means, sds = left_out(engine, np.stack(list(wanted.values())), near[:, outputs])
        for output, mean, sd in zip(outputs, means, sds, strict=True):
            y = z[:, output]
            distance = (y - mean) / sd
            found = _found(structure, x[:, 0], y, distance, outliers[:, output])
            outliers[:, output] |= found
            nearest = mean + np.sign(distance) * LIMIT * sd
            near[:, output] = np.where(outliers[:, output], nearest, y)
            if np.abs(distance[found]).max(initial=0.0) <= FAR:
                del wanted[output]
    return near


def _is_mostly_one_value(y: Array) -> bool:
    _, counts = np.unique(y, return_counts=True)
    return bool(counts.max() > ONE_VALUE * len(y))


def _found(
    structure: Structure, times: Array, y: Array, distance: Array, known: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Return which are the furthest outliers, besides those that are known and while there are not too many.

    What is very far off makes others look far off, too: they are judged when it has been brought nearer.
    """
    others = np.where(known, 0.0, distance)
    size = np.abs(others) * ~(_is_step(others, y) | _recurs(structure, times, others))
    room = max(1, int(MOST * len(y))) - int(known.sum())
    worst = float(size.max())
    limit = max(LIMIT, 0.5 * worst) if worst > FAR else LIMIT
    found: NDArray[np.bool_] = np.zeros(len(y), dtype=np.bool_)
    found[np.argsort(-size, kind="stable")[: max(room, 0)]] = True
    return found & (size > limit)


def _is_step(distance: Array, y: Array) -> NDArray[np.bool_]:
    """Whether each, ``distance (n,)`` standard deviations from what all others say, is no outlier by itself.

    A spike makes its neighbours look half as far off, to the other side. At a step of the level two
    neighbours are as far off as each other, and the level is another one afterwards.
    """
    size, ends = np.abs(distance), np.concatenate([y[:1], y, y[-1:]])
    further = (size >= np.append(0.0, size[:-1])) & (size >= np.append(size[1:], 0.0))
    apart = distance[:-1] * distance[1:] < 0.0
    alike = np.minimum(size[:-1], size[1:]) >= STEP * np.maximum(size[:-1], size[1:])
    lasting = np.abs(ends[3:] - ends[:-3]) >= LASTING * np.abs(np.diff(y))
    pair = apart & alike & lasting
    step: NDArray[np.bool_] = np.append(pair, False) | np.append(False, pair) | ~further
    return step


def _recurs(structure: Structure, times: Array, distance: Array) -> NDArray[np.bool_]:
    """Whether another is as far off, to the same side, a whole number of cycles away: a peak of each year."""
    periods = [part.period for part in structure.parts if part.period is not None]
    far = np.flatnonzero(np.abs(distance) > LIMIT)
    recurs = np.zeros(len(times), dtype=np.bool_)
    gaps = np.abs(times[far] - times[far][:, None])
    ratios = distance[far] / distance[far][:, None]
    for period in periods:
        turns = np.round(gaps / period)
        near = np.abs(gaps - turns * period) < NEARLY * np.median(np.diff(times))
        recurs[far] |= (near & (ratios >= ALIKE) & (turns > 0.0)).any(1)
    return recurs
