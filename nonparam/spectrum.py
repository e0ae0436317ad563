r"""The empirical spectrum of a series, and the mixture of peaks that stands in it.

The frequencies of a spectral mixture are the part of a Gaussian process that is hardest to learn: away from
a peak the evidence is flat. They are therefore read off the data. Times may be irregular: the power of a wave
is what least squares says it explains (Lomb). Peaks are taken one by one, the highest first; all that are
known are fitted together and taken off before the next is looked for, so that the side lobes of a large peak
do not hide a small one. On a grid of frequencies all sums come from one nonuniform FFT.

Source: Lomb (1976), Least-squares frequency analysis of unequally spaced data, Astrophysics and Space Science
39, 447-462; one by one: Hogbom (1974), Aperture synthesis with a non-regular distribution of interferometer
baselines, Astron. Astrophys. Suppl. 15, 417-426 (CLEAN); with joint fits, as in orthogonal matching pursuit.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from nonparam.nonuniform_fft import fourier_sums

__all__ = [
    "Peaks",
    "find_peaks",
    "mixture_of",
    "nyquist",
    "periodogram",
    "periodogram_on_grid",
    "without_line",
]

Array = NDArray[np.float64]
Complex = NDArray[np.complex128]

BLOCK = 2**20  # entries of a table of waves, to bound its memory
OVERSAMPLED = 4  # frequencies looked at for each independent one
TREND = 0.02  # of the variance that a line explains: more is a trend
SMALLEST = 1e-12  # of the variance: what is left is rounding
REFINED = 5  # steps of Gauss and Newton
EM_STEPS = 200


@dataclass(frozen=True)
class Peaks:
    """Components of a spectral density, as standard deviations round frequencies.

    Attributes:
        frequency: ``(q,)``, in cycles per unit of time.
        bandwidth: ``(q,)``, in the same unit.
        weight: ``(q,)``, in units of ``y`` squared; they add up to the variance of ``y``.
    """

    frequency: Array
    bandwidth: Array
    weight: Array


def nyquist(x: Array) -> float:
    """Return the highest frequency that times ``x (n,)`` can tell from lower ones, on average.

    Examples:
        >>> nyquist(np.arange(10.0))
        0.5
    """
    places = np.unique(x)
    return float(0.5 * (len(places) - 1) / np.ptp(places)) if len(places) > 1 else 1.0


def periodogram(x: Array, y: Array, weights: Array, frequencies: Array) -> Array:
    r"""Return the fraction of the squares of ``y`` that a wave of each frequency explains.

    .. math:: P(f) = 2 \frac{|p|^2 - \mathrm{Re}(\bar d p^2)}{(1 - |d|^2) \sum_i w_i y_i^2}, \quad
              p = \sum_i w_i e^{2 \pi i f t_i} y_i, \quad d = \sum_i w_i e^{4 \pi i f t_i}

    Args:
        x: ``(n,)``, the times.
        y: ``(n, t)``, without a mean; what is explained is added over the outputs.
        weights: ``(n,)``, positive.
        frequencies: ``(k,)``, in cycles per unit of ``x``.

    Returns:
        ``(k,)``, each between 0 and ``t``.

    Source: Lomb (1976), Least-squares frequency analysis of unequally spaced data; here with weights ``w``
    that add up to 1.

    Examples:
        >>> t = np.arange(20.0)
        >>> periodogram(t, np.sin(0.5 * np.pi * t)[:, None], np.ones(20), np.array([0.1, 0.25])).round(6)
        array([0., 1.])
    """
    share = weights / weights.sum()
    time = x - share @ x
    blocks = np.array_split(frequencies, 1 + frequencies.size * x.size // BLOCK)
    explained = np.concatenate([_explained(*_sums(time, y, share, block)) for block in blocks])
    power: Array = (explained / (share @ y**2)).sum(1)
    return power


def periodogram_on_grid(x: Array, y: Array, weights: Array, step: float, count: int) -> Array:
    """Return the fraction of the squares of all outputs together that each wave of a grid explains.

    Args:
        x: ``(n,)``, the times.
        y: ``(n, t)``, without a mean.
        weights: ``(n,)``, positive.
        step: the frequencies are ``step``, ``2 step``, ..., ``count step``.
        count: of the frequencies.

    Returns:
        ``(count,)``, each between 0 and 1, in time that grows as that of a fast Fourier transform.

    Examples:
        >>> t = np.arange(20.0)
        >>> periodogram_on_grid(t, np.sin(0.5 * np.pi * t)[:, None], np.ones(20), 0.05, 6).round(6) + 0.0
        array([0., 0., 0., 0., 1., 0.])
    """
    share = weights / weights.sum()
    return _power(x - share @ x, y, share, step, count)


def _sums(time: Array, y: Array, share: Array, frequencies: Array) -> tuple[Complex, Complex]:
    """Return ``p (k, t)`` and ``d (k,)``, one by one."""
    wave = np.exp(2j * np.pi * np.outer(frequencies, time))
    return wave @ (share[:, None] * y), wave**2 @ share


def _sums_on_grid(time: Array, y: Array, share: Array, step: float, count: int) -> tuple[Complex, Complex]:
    """Return the same at the frequencies ``step``, ``2 step``, ..., ``count step``."""
    columns = np.column_stack([share[:, None] * y, share])
    sums = fourier_sums(2.0 * np.pi * step * time, columns, 2 * count + 1)
    return sums[1 : count + 1, :-1], sums[2::2, -1]


def _explained(p: Complex, d: Complex) -> Array:
    """Return the squares of each output that each wave explains, ``(k, t)``."""
    left = (1.0 - np.abs(d) ** 2)[:, None]
    one_phase = left < 1e-9  # the rows see a single function of this wave, not two
    both = 2.0 * (np.abs(p) ** 2 - (d.conj()[:, None] * p**2).real) / np.where(one_phase, 1.0, left)
    explained: Array = np.where(one_phase, np.abs(p) ** 2, both)
    return explained


def without_line(x: Array, y: Array, weights: Array) -> Array:
    """Return what a line fitted by least squares leaves of ``y (n, t)`` at times ``x (n,)``.

    Examples:
        >>> without_line(np.arange(3.0), np.array([[1.0], [2.0], [3.0]]), np.ones(3)).round(9).T + 0.0
        array([[0., 0., 0.]])
    """
    share = weights / weights.sum()
    time, _ = _in_spans(x, share)
    return _without(np.stack([np.ones_like(time), time], 1), y, share)


def _in_spans(x: Array, share: Array) -> tuple[Array, float]:
    """Return times from their mean in units of their span, whatever the unit of ``x``, and the span."""
    span = float(np.ptp(x))
    return (x - share @ x) / (span or 1.0), span


def find_peaks(x: Array, y: Array, weights: Array, count: int, *, width: float) -> Peaks:
    """Take the highest peaks off the spectrum of a series, one by one; a trend may be one of them.

    Args:
        x: ``(n,)``, the times, in any order and spacing.
        y: ``(n, t)``; the outputs share the peaks.
        weights: ``(n,)``, positive.
        count: how many at most; fewer where nothing is left to explain.
        width: of each peak, in units of the distance of two frequencies that the span can tell apart.

    Returns:
        The peaks in the order in which they were taken; weights are the mean over the outputs.

    Examples:
        >>> t = np.linspace(0.0, 10.0, 101)
        >>> y = np.sin(2 * np.pi * 1.3 * t) + 2 * np.cos(2 * np.pi * 3.1 * t)
        >>> found = find_peaks(t, y[:, None], np.ones(101), 2, width=0.1)
        >>> found.frequency.round(4), found.weight.round(1)
        (array([3.1, 1.3]), array([2. , 0.5]))
    """
    share = weights / weights.sum()
    (time, span), centred = _in_spans(x, share), y - share @ y
    if span == 0.0:
        return Peaks(np.zeros(0), np.zeros(0), np.zeros(0))
    highest, step = span * nyquist(x), 1.0 / OVERSAMPLED  # in cycles per span, as all that follow
    size = _grid_size(OVERSAMPLED * highest)
    design = np.stack([np.ones_like(time), time], 1)
    residual, total = _without(design, centred, share), _squares(centred, share)
    frequencies, explained = list[float](), list[float]()
    by_line = total - _squares(residual, share)
    by_waves = _power(time, centred, share, step, size)[OVERSAMPLED - 1 :].max(initial=0.0)
    if by_line > total * max(TREND, by_waves):
        frequencies, explained = [0.0], [by_line]
    while len(frequencies) < count and _squares(residual, share) > SMALLEST * total:
        f = _highest(time, residual, share, step, size)
        phase = 2.0 * np.pi * f * time
        design = np.column_stack([design, np.cos(phase), np.sin(phase)])
        before, residual = residual, _without(design, centred, share)
        frequencies.append(f)
        explained.append(max(_squares(before, share) - _squares(residual, share), SMALLEST * total))
    weight = np.array(explained) * (total / max(sum(explained), np.finfo(float).tiny))
    known = _together(time, centred, share, np.array(frequencies), highest)
    return Peaks(known / span, np.full(len(known), width / span), weight)


def _together(time: Array, y: Array, share: Array, frequencies: Array, highest: float) -> Array:
    """Return frequencies fitted all at once, by Gauss and Newton's steps; a trend (0) stays.

    Times are in spans. An output ``A cos + B sin`` changes with its frequency by ``2 pi t (B cos - A sin)``.
    """
    moving = np.flatnonzero(frequencies > 0.0)
    line = [np.ones_like(time), time][: 1 + int(len(moving) < len(frequencies))]
    for _ in range(REFINED if len(moving) else 0):
        turns = 2.0 * np.pi * np.outer(time, frequencies[moving])
        cos, sin = np.cos(turns), np.sin(turns)
        design = np.column_stack([*line, cos, sin])
        both = _coefficients(design, y, share)[len(line) :]
        a, b = both[: len(moving), None], both[len(moving) :, None]  # (q, 1, t)
        slopes = 2.0 * np.pi * time[:, None] * (b * cos.T[:, :, None] - a * sin.T[:, :, None])  # (q, n, t)
        left, root = y - design @ _coefficients(design, y, share), np.sqrt(share)[:, None]
        flat = slopes.transpose(1, 2, 0).reshape(len(time), -1)  # (n, t q)
        columns = (root * _without(design, flat, share)).reshape(-1, len(moving))
        step = np.linalg.lstsq(columns, (root * left).ravel(), rcond=1e-8)[0]
        moved = frequencies[moving] + np.clip(step, -0.25, 0.25)
        frequencies = frequencies.copy()
        frequencies[moving] = np.clip(moved, 0.0, highest)
    return frequencies


def _squares(y: Array, share: Array) -> float:
    """Return the weighted mean of the squares of ``y (n, t)``, over the outputs too."""
    return float((share @ y**2).mean())


def _without(design: Array, y: Array, share: Array) -> Array:
    """Return what least squares on the columns of the design leave of ``y``."""
    residual: Array = y - design @ _coefficients(design, y, share)
    return residual


def _coefficients(design: Array, y: Array, share: Array) -> Array:
    root = np.sqrt(share)[:, None]
    return np.asarray(np.linalg.lstsq(root * design, root * y, rcond=1e-10)[0], dtype=np.float64)


def _grid_size(cycles: float) -> int:
    """Return how many frequencies there are up to the highest, a whole or half number of cycles."""
    return max(1, math.ceil(cycles - 1e-9))


def _power(time: Array, y: Array, share: Array, step: float, count: int) -> Array:
    """Return the fraction of the squares of all outputs that the waves of a grid explain, ``(count,)``."""
    explained = _explained(*_sums_on_grid(time, y, share, step, count)).sum(1)
    power: Array = explained / max(float((share @ y**2).sum()), np.finfo(float).tiny)
    return power


def _highest(time: Array, y: Array, share: Array, step: float, count: int) -> float:
    """Return the frequency that explains most: the best of the grid, then between its neighbours."""
    best = step * (1.0 + float(np.argmax(_power(time, y, share, step, count))))
    low, high = max(best - step, 0.5 * step), min(best + step, step * count)
    if not low < high:
        return best

    def missed(f: float) -> float:
        return -float(_explained(*_sums(time, y, share, np.array([f]))).sum())

    return float(
        minimize_scalar(missed, bounds=(low, high), method="bounded", options={"xatol": 1e-6 * step}).x
    )


def mixture_of(x: Array, y: Array, weights: Array, count: int) -> Peaks:
    """Fit a mixture of Gaussians to the spectrum of a series without its trend.

    Args:
        x: ``(n,)``, the times.
        y: ``(n, t)``.
        weights: ``(n,)``, positive.
        count: of Gaussians.

    Returns:
        Gaussians by their standard deviations, and the variance of ``y`` shared out among them.

    Source: Wilson and Adams (2013), section 4: the empirical spectral density; EM: Dempster, Laird and Rubin
    (1977), with weights.
    """
    share = weights / weights.sum()
    (time, span), centred = _in_spans(x, share), y - share @ y
    residual = without_line(x, y, weights)
    step, size = 0.5, _grid_size(2.0 * span * nyquist(x))  # in cycles per span
    grid, power = step * np.arange(1.0, size + 1.0), _power(time, residual, share, step, size) + SMALLEST
    means, sds, parts = _em(grid, power / power.sum(), count, 0.25)
    return Peaks(means / span, sds / span, parts * _squares(centred, share))


def _em(grid: Array, mass: Array, count: int, narrowest: float) -> tuple[Array, Array, Array]:
    """Return means, standard deviations and shares of Gaussians; they start at quantiles of the mass."""
    cumulative = np.cumsum(mass)
    means = np.interp((np.arange(count) + 0.5) / count, cumulative, grid)
    sds = np.full(count, max(float(np.ptp(grid)) / (2.0 * count), narrowest))
    parts = np.full(count, 1.0 / count)
    for _ in range(EM_STEPS):
        log_density = -0.5 * ((grid[:, None] - means) / sds) ** 2 - np.log(sds) + np.log(parts)
        responsibility = np.exp(log_density - log_density.max(1, keepdims=True))
        responsibility *= (mass / responsibility.sum(1))[:, None]
        parts = np.maximum(responsibility.sum(0), 1e-12)
        means = (grid @ responsibility) / parts
        variance = ((grid[:, None] - means) ** 2 * responsibility).sum(0) / parts
        sds = np.maximum(np.sqrt(variance), narrowest)
        parts = parts / parts.sum()
    return means, sds, parts
