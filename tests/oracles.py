"""Textbook covariance functions of two rows, one number at a time, from the equations of the docstrings.

Each function returns an entry ``k(x, z, same)``: the covariance at the rows ``x`` and ``z`` (sequences of
floats), where ``same`` says whether they are one and the same observation.
"""

import math
from collections.abc import Callable, Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

Row = Sequence[float]
Entry = Callable[[Row, Row, bool], float]
Matrix = NDArray[np.float64]


def gram(entry: Entry, X: Matrix, Z: Matrix | None = None) -> Matrix:
    """The matrix of an entry, by two loops; without ``Z`` the observations are the same."""
    return np.array(
        [
            [entry(x, z, Z is None and i == j) for j, z in enumerate(X if Z is None else Z)]
            for i, x in enumerate(X)
        ]
    )


def per_column(value: float | Sequence[float], columns: int) -> list[float]:
    return list(value) if isinstance(value, Sequence) else [value] * columns


def distance(x: Row, z: Row, lengthscale: float | Sequence[float]) -> float:
    total = 0.0
    for a, b, scale in zip(x, z, per_column(lengthscale, len(x)), strict=True):
        total += ((a - b) / scale) ** 2
    return math.sqrt(total)


def rbf(lengthscale: float | Sequence[float]) -> Entry:
    return lambda x, z, same: math.exp(-0.5 * distance(x, z, lengthscale) ** 2)


def matern12(lengthscale: float | Sequence[float]) -> Entry:
    return lambda x, z, same: math.exp(-distance(x, z, lengthscale))


def matern32(lengthscale: float | Sequence[float]) -> Entry:
    def entry(x: Row, z: Row, same: bool) -> float:
        r = distance(x, z, lengthscale)
        return (1 + math.sqrt(3) * r) * math.exp(-math.sqrt(3) * r)

    return entry


def matern52(lengthscale: float | Sequence[float]) -> Entry:
    def entry(x: Row, z: Row, same: bool) -> float:
        r = distance(x, z, lengthscale)
        return (1 + math.sqrt(5) * r + 5 * r**2 / 3) * math.exp(-math.sqrt(5) * r)

    return entry


def rational_quadratic(lengthscale: float | Sequence[float], alpha: float) -> Entry:
    return lambda x, z, same: (1 + distance(x, z, lengthscale) ** 2 / (2 * alpha)) ** -alpha


def periodic(period: float | Sequence[float], lengthscale: float | Sequence[float]) -> Entry:
    def entry(x: Row, z: Row, same: bool) -> float:
        periods, scales = per_column(period, len(x)), per_column(lengthscale, len(x))
        exponent = 0.0
        for a, b, p, scale in zip(x, z, periods, scales, strict=True):
            exponent += math.sin(math.pi * (a - b) / p) ** 2 / scale**2
        return math.exp(-2 * exponent)

    return entry


def zero_mean_periodic(period: Sequence[float], lengthscale: Sequence[float]) -> Entry:
    """The average over a period by the trapezium rule, which converges geometrically here."""
    k = periodic(period, lengthscale)
    mean = 1.0
    for p, scale in zip(period, lengthscale, strict=True):
        column = periodic(p, scale)
        mean *= sum(column([p * i / 512], [0.0], False) for i in range(512)) / 512
    return lambda x, z, same: (k(x, z, same) - mean) / (1 - mean)


def cosine(period: float | Sequence[float]) -> Entry:
    def entry(x: Row, z: Row, same: bool) -> float:
        turns = sum((a - b) / p for a, b, p in zip(x, z, per_column(period, len(x)), strict=True))
        return math.cos(2 * math.pi * turns)

    return entry


def spectral(
    frequency: float | Sequence[float], bandwidth: float | Sequence[float], plane: bool = False
) -> Entry:
    def entry(x: Row, z: Row, same: bool) -> float:
        lags = [a - b for a, b in zip(x, z, strict=True)]
        f, b = per_column(frequency, len(x)), per_column(bandwidth, len(x))
        decay = math.exp(-2 * math.pi**2 * sum((v * lag) ** 2 for v, lag in zip(b, lags, strict=True)))
        phases = [2 * math.pi * m * lag for m, lag in zip(f, lags, strict=True)]
        return decay * (math.cos(sum(phases)) if plane else math.prod(math.cos(p) for p in phases))

    return entry


def inner(x: Row, z: Row, weight: float | Sequence[float], center: float | Sequence[float]) -> float:
    weights, centers = per_column(weight, len(x)), per_column(center, len(x))
    return sum(w * (a - c) * (b - c) for a, b, w, c in zip(x, z, weights, centers, strict=True))


def linear(variance: float | Sequence[float], center: float | Sequence[float]) -> Entry:
    return lambda x, z, same: inner(x, z, variance, center)


def polynomial(
    power: int, offset: float, lengthscale: Sequence[float], center: float | Sequence[float]
) -> Entry:
    weights = [1 / scale**2 for scale in lengthscale]
    return lambda x, z, same: (offset + inner(x, z, weights, center)) ** power


def constant(variance: float) -> Entry:
    return lambda x, z, same: variance


def white(variance: float) -> Entry:
    return lambda x, z, same: variance if same else 0.0


def wiener(variance: float, origin: float) -> Entry:
    return lambda x, z, same: variance * max(0.0, min(x[0], z[0]) - origin)


def integrated_wiener(variance: float, origin: float) -> Entry:
    def entry(x: Row, z: Row, same: bool) -> float:
        s, t = sorted(max(0.0, row[0] - origin) for row in (x, z))
        return variance * (s * s * t / 2 - s**3 / 6)  # the integral of (s - u) (t - u) over u from 0 to s

    return entry


def changepoint(before: Entry, after: Entry, location: float, width: float, column: int = 0) -> Entry:
    def entry(x: Row, z: Row, same: bool) -> float:
        s, t = (1 / (1 + math.exp(-(row[column] - location) / width)) for row in (x, z))
        return (1 - s) * before(x, z, same) * (1 - t) + s * after(x, z, same) * t

    return entry


def total(*terms: Entry) -> Entry:
    return lambda x, z, same: sum(term(x, z, same) for term in terms)


def product(*factors: Entry) -> Entry:
    return lambda x, z, same: math.prod(factor(x, z, same) for factor in factors)


def scaled(outputscale: float, entry: Entry) -> Entry:
    return lambda x, z, same: outputscale * entry(x, z, same)


def on_columns(columns: Sequence[int], entry: Entry) -> Entry:
    return lambda x, z, same: entry([x[c] for c in columns], [z[c] for c in columns], same)


NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(80)


def orthogonal_rbf(lengthscale: Sequence[float], center: Sequence[float], spread: Sequence[float]) -> Entry:
    """The averages over the density of each column by quadrature."""
    columns = [_orthogonal_column(*values) for values in zip(lengthscale, center, spread, strict=True)]
    return lambda x, z, same: math.prod(k(a, b) for k, a, b in zip(columns, x, z, strict=True))


def _orthogonal_column(scale: float, center: float, spread: float) -> Callable[[float, float], float]:
    places, share = center + spread * NODES, WEIGHTS / WEIGHTS.sum()

    def average(a: float) -> float:
        return float(share @ np.exp(-0.5 * ((a - places) / scale) ** 2))

    both = sum(weight * average(place) for weight, place in zip(share, places, strict=True))
    return lambda a, b: rbf(scale)([a], [b], False) - average(a) * average(b) / both


def additive(
    variance: Sequence[float],
    lengthscale: Sequence[float],
    center: Sequence[float],
    spread: Sequence[float],
) -> Entry:
    """A sum over all groups of columns, one by one."""
    d = len(lengthscale)
    columns = [orthogonal_rbf(lengthscale[j : j + 1], center[j : j + 1], spread[j : j + 1]) for j in range(d)]

    def entry(x: Row, z: Row, same: bool) -> float:
        values = [k([a], [b], same) for k, a, b in zip(columns, x, z, strict=True)]
        total = 0.0
        for q, v in enumerate(variance, 1):
            groups = list(combinations(range(d), q))
            total += v / len(groups) * sum(math.prod(values[j] for j in group) for group in groups)
        return total

    return entry


Map = Callable[[Row], Row]


def averaged(entry: Entry, maps: Sequence[Map]) -> Entry:
    """The average over all pairs of maps; white noise is the same where both images are."""

    def average(x: Row, z: Row, same: bool) -> float:
        pairs = [entry(g(x), h(z), same and i == j) for i, g in enumerate(maps) for j, h in enumerate(maps)]
        return sum(pairs) / len(pairs)

    return average
