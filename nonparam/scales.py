"""How large the data are: where training starts, and what the default priors are centred on."""

import math
from dataclasses import dataclass, replace

import gpytorch
import numpy as np
from numpy.typing import NDArray

from nonparam.kernels.base import Hyperparameter, Kernel, unset_leaves
from nonparam.theta import Prior

__all__ = ["Scales", "default_priors", "initialise", "measure"]

Array = NDArray[np.float64]

NOISE_FRACTION = 0.05  # of the variance of y: the prior median of the noise
LENGTHSCALE_SD = math.sqrt(3.0)  # of the logarithm; Hvarfner, Hellsten and Nardi (2024)
VARIANCE_SD = 2.0  # of the logarithm: the middle 95 % span a factor of 3000
SHAPE_SD = 1.0  # of the logarithm of numbers without a unit
PERIOD_SD = 0.1  # of the logarithm: a period is known, or found in the data, to about 10 %
LENGTHSCALE_REACH = math.log(1e4)  # further out a column is constant, or its values are unrelated
PERIOD_REACH = 1.5  # how far the logarithm of a period may move
NOISE_FLOOR = 1e-8  # of the variance of y: below it rounding is larger than the noise
WIDEST = math.log(1e8)  # bounds around the prior median, on the logarithm


@dataclass(frozen=True)
class Scales:
    """Location and spread of the data, in the user's units.

    Attributes:
        x_mean: ``(d,)``.
        x_sd: ``(d,)``, 1 for a constant column.
        x_low: ``(d,)``.
        x_high: ``(d,)``.
        y_variance: of the outputs; 1 where they are not to be normalised.
        period: of the strongest cycle along each column, ``(d,)``.
    """

    x_mean: Array
    x_sd: Array
    x_low: Array
    x_high: Array
    y_variance: float
    period: Array


def measure(x: Array, y: Array, weights: Array, *, normalize_y: bool) -> Scales:
    """Measure location and spread.

    Args:
        x: ``(n, d)``.
        y: ``(n, t)``.
        weights: ``(n,)``, positive.
        normalize_y: whether the variance of ``y`` sets the scale of the variances.

    Returns:
        The scales.
    """
    mean = np.average(x, axis=0, weights=weights)
    sd = np.sqrt(np.average((x - mean) ** 2, axis=0, weights=weights))
    low, high = x.min(0), x.max(0)
    constant = high - low <= 1e-12 * np.maximum(np.abs(low), np.abs(high))
    sd = np.where(constant, 1.0, sd)
    variance = _variance(y, weights) if normalize_y else 1.0
    periods = [_strongest_period(x[:, j], y[:, 0], bool(constant[j])) for j in range(x.shape[1])]
    return Scales(mean, sd, low, high, variance, np.array(periods))


def _variance(y: Array, weights: Array) -> float:
    mean = np.average(y, axis=0, weights=weights)
    variance = float(np.average((y - mean) ** 2, axis=0, weights=weights).mean())
    size = float(np.abs(mean).max())
    if variance > (1e-13 * size) ** 2:
        return variance
    return size**2 if size > 0.0 else 1.0  # a constant y has no spread: take its size


def _strongest_period(x: Array, y: Array, constant: bool) -> float:
    """Return the period of the largest Lomb-Scargle peak of the detrended output along one column."""
    if constant or len(x) < 6 or len(x) > 5000:
        return 1.0 if constant else float(np.ptp(x)) / 4.0
    from scipy.signal import lombscargle

    span = float(np.ptp(x))
    time = (x - x.mean()) / span
    residual = y - np.polynomial.Polynomial.fit(time, y, 1)(time)
    if not np.any(np.abs(residual) > 1e-12 * np.abs(y).max(initial=1e-300)):
        return span / 4.0
    cycles = np.linspace(1.0, max(len(np.unique(x)) / 2.2, 2.0), min(4 * len(x), 4000))
    power = lombscargle(time, residual / residual.std(), 2.0 * np.pi * cycles)
    return span / float(cycles[int(np.argmax(power))])


def initialise(kernel: gpytorch.kernels.Kernel, scales: Scales) -> None:
    """Set every hyperparameter of ``kernel`` that waits for the data, in place.

    Args:
        kernel: its own copy; hyperparameters given as ``None`` are set.
        scales: of the data that it will see.
    """
    for part, declared in list(unset_leaves(kernel)):
        columns = _columns(part, len(scales.x_sd))
        value = _typical(part, declared, scales, columns)
        if declared.per_column and getattr(part, "ard", True) is False and declared.learnt:
            value = np.array([np.exp(np.mean(np.log(value)))])
        setattr(part, declared.name, value if declared.per_column else float(value[0]))


def default_priors(kernel: gpytorch.kernels.Kernel, scales: Scales, *, informative: bool) -> dict[str, Prior]:
    """Return weakly informative priors of a kernel's hyperparameters and of the noise.

    Args:
        kernel: ours get a prior for each hyperparameter; a GPyTorch kernel's parameters get none.
        scales: of the data.
        informative: ``False`` keeps the bounds and drops the densities.

    Returns:
        By the names of `free_parameters`, and ``"noise"``.
    """
    noise = math.log(NOISE_FRACTION * scales.y_variance)
    floor = math.log(NOISE_FLOOR * scales.y_variance)
    priors = {"noise": Prior(noise, VARIANCE_SD, floor, noise + WIDEST)}
    for path, part in kernel.named_modules():
        if isinstance(part, Kernel):
            for declared in part.declared():
                name = f"{path}.{declared.raw_name}" if path else declared.raw_name
                priors[name] = _prior(part, declared, scales)
    if informative:
        return priors
    return {name: replace(prior, sd=np.inf) for name, prior in priors.items()}


def _prior(kernel: Kernel, declared: Hyperparameter, scales: Scales) -> Prior:
    raw = kernel._parameters[declared.raw_name].detach().cpu().numpy().reshape(-1)
    columns = _columns(kernel, len(scales.x_sd))
    if declared.name == "period":  # known, or found in the data: the prior stands where the search starts
        return Prior(raw, PERIOD_SD, raw - PERIOD_REACH, raw + PERIOD_REACH)
    typical = _typical(kernel, declared, scales, columns)
    if not declared.positive:
        spread = float(scales.x_sd[columns].mean())
        return Prior(typical[0], spread, typical[0] - 3.0 * spread, typical[0] + 3.0 * spread)
    centre = np.log(typical)
    if raw.size != centre.size:
        centre = np.full(raw.size, centre.mean())
    sd = {"X": LENGTHSCALE_SD, "1": SHAPE_SD}.get(declared.unit, VARIANCE_SD)
    reach = LENGTHSCALE_REACH if declared.unit == "X" else WIDEST
    return Prior(centre, sd, centre - reach, centre + reach)


def _columns(kernel: Kernel, d: int) -> NDArray[np.intp]:
    if kernel.active_dims is not None:
        return np.asarray(kernel.active_dims.tolist(), dtype=np.intp)
    if kernel.keyword == "changepoint":
        return np.array([kernel.column], dtype=np.intp)
    if kernel.keyword == "wiener":
        return np.array([0], dtype=np.intp)
    return np.arange(d, dtype=np.intp)


def _typical(kernel: Kernel, declared: Hyperparameter, scales: Scales, columns: NDArray[np.intp]) -> Array:
    """Return the value that the scale of the data suggests, one for each column it acts on."""
    sd, d = scales.x_sd[columns], len(columns)
    span = (scales.x_high - scales.x_low)[columns]
    span = np.where(span > 1e-12 * sd, span, sd)  # a constant column has none
    match declared.name:
        case "center":
            return scales.x_mean[columns]
        case "location":
            return 0.5 * (scales.x_low + scales.x_high)[columns]
        case "origin":
            return scales.x_low[columns]
        case "period":
            return scales.period[columns]
        case "width":
            return 0.1 * sd
    match declared.unit:
        case "X":
            return sd * math.sqrt(d)
        case "y^2":
            return np.array([scales.y_variance])
        case "y^2/X":
            return scales.y_variance / span
        case "y^2/X^2":
            return scales.y_variance / (sd**2 * d)
        case _:
            return np.ones(d if declared.per_column else 1)
