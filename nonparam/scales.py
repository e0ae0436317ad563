"""How large the data are: where training starts, and what the default priors are centred on."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import gpytorch
import numpy as np
import torch
from numpy.typing import NDArray

from nonparam.errors import InputError
from nonparam.kernels import Additive, DeepKernel, Scale, variance
from nonparam.kernels.base import Hyperparameter, Kernel
from nonparam.kernels.matrix_free import MatrixFree
from nonparam.spectrum import nyquist, periodogram
from nonparam.theta import Prior

__all__ = ["Scales", "default_priors", "initialise", "measure", "variance_of", "waits_for_period"]

Array = NDArray[np.float64]
Columns = NDArray[np.intp]

CONSTANT = 1e-13  # a spread smaller than this, relative to the size, is rounding
NOISE_FRACTION = 0.2  # of the variance of y: the prior median of the noise, and where it starts
LENGTHSCALE_SD = math.sqrt(3.0)  # of the logarithm; Hvarfner, Hellsten and Nardi (2024)
VARIANCE_SD = 2.0  # of the logarithm: the middle 95 % span a factor of 3000
SHAPE_SD = 1.0  # of the logarithm of numbers without a unit
PERIOD_SD = 0.1  # of the logarithm: a period is known, or found in the data, to about 10 %
LENGTHSCALE_REACH = math.log(1e4)  # further out a column is constant, or its values are unrelated
PERIOD_REACH = 1.5  # how far the logarithm of a period may move
NOISE_FLOOR = 1e-6  # of the variance of y: below it rounding in the evidence outweighs what it says
WIDEST = math.log(1e8)  # bounds around the prior median, on the logarithm
BREAKING = 1e-4  # of a symmetry, b^2 / a^2: the prior median, half-way from none (1) to what no data show
BREAKING_SD = math.log(100.0)  # of its logarithm: the middle 95 % from 1e-8 to 1
COHERENT = 1e-3  # the smallest bandwidth, in units of what the span can tell apart
NARROW = 0.03  # a peak as narrow as data can show, in the same units


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
        nyquist: the highest frequency that the rows can tell from lower ones along each column, ``(d,)``.
    """

    x_mean: Array
    x_sd: Array
    x_low: Array
    x_high: Array
    y_variance: float
    period: Array
    nyquist: Array


def measure(x: Array, y: Array, weights: Array, *, normalize_y: bool, find_periods: bool = True) -> Scales:
    """Measure location and spread.

    Args:
        x: ``(n, d)``.
        y: ``(n, t)``.
        weights: ``(n,)``, positive.
        normalize_y: whether the variance of ``y`` sets the scale of the variances.
        find_periods: whether to look for cycles, which takes longer than all the rest; without it a quarter
            of the span stands for the period.

    Returns:
        The scales.
    """
    mean = np.average(x, axis=0, weights=weights)
    sd = np.sqrt(np.average((x - mean) ** 2, axis=0, weights=weights))
    low, high = x.min(0), x.max(0)
    constant = high - low <= 1e-12 * np.maximum(np.abs(low), np.abs(high))
    sd = np.where(constant, 1.0, sd)
    variance = variance_of(y, weights) if normalize_y else 1.0
    period = np.where(constant, 1.0, (high - low) / 4.0)
    if find_periods and len(x) <= 5000:
        for j in np.flatnonzero(~constant):
            period[j] = _strongest_period(x[:, j], y, weights)
    highest = np.array([1.0 if constant[j] else nyquist(x[:, j]) for j in range(x.shape[1])])
    return Scales(mean, sd, low, high, variance, period, highest)


def variance_of(y: Array, weights: Array) -> float:
    """Return the variance of outputs ``(n, t)``; of constant ones the square of their size, or 1."""
    mean = np.average(y, axis=0, weights=weights)
    variance = float(np.average((y - mean) ** 2, axis=0, weights=weights).mean())
    size = float(np.abs(mean).max())
    if variance > (CONSTANT * size) ** 2:
        return variance
    return size**2 if size > 0.0 else 1.0  # a constant y has no spread: take its size


def _strongest_period(x: Array, y: Array, weights: Array) -> float:
    """Return the period of the largest peak, over all detrended outputs, along one column ``(n,)``."""
    span, places = float(np.ptp(x)), len(np.unique(x))
    share = weights / weights.sum()
    time = (x - share @ x) / span
    residual = y - share @ y
    residual -= np.outer(time, (share * time) @ residual / (share @ time**2))
    residual = residual[:, np.abs(residual).max(0) > 1e-12 * np.abs(y).max(0)]
    if places < 6 or residual.shape[1] == 0:
        return span / 4.0
    cycles = np.linspace(1.0, places / 2.2, min(4 * places, 4000))
    return span / float(cycles[int(np.argmax(periodogram(time, residual, share, cycles)))])


def waits_for_period(kernel: gpytorch.kernels.Kernel) -> bool:
    """Return whether a period of ``kernel`` is to be found in the data."""
    return any("period" in part.unset for part in kernel.modules() if isinstance(part, Kernel))


def _parts(
    module: torch.nn.Module, scales: Scales, columns: Columns, path: str = ""
) -> Iterator[tuple[str, Kernel, Scales, Columns]]:
    """Yield every kernel of ours, its qualified name, and the columns that it sees with their scales."""
    if isinstance(module, DeepKernel):
        scales = _of_features(module, scales)
        columns = np.arange(len(scales.x_sd))
    if isinstance(module, Kernel):
        if module.active_dims is not None:
            columns = _chosen(columns, module.active_dims.tolist())
        own = scales
        if isinstance(module, Scale) and isinstance(module.kernel, MatrixFree):
            own = replace(scales, y_variance=scales.y_variance / _size(module.kernel, scales, columns))
        yield path, module, own, columns
    for name, child in module.named_children():
        yield from _parts(child, scales, columns, f"{path}.{name}" if path else name)


def _size(kernel: MatrixFree, scales: Scales, columns: Columns) -> float:
    """Return the variance of a kernel that has none of its own to learn, at rows like those of the data."""
    rows = np.stack([scales.x_mean - scales.x_sd, scales.x_mean + scales.x_sd])[:, columns]
    device = next(kernel.parameters()).device
    size = float(variance(kernel, torch.tensor(rows, device=device)).mean())
    return size if size > 0.0 else 1.0


def _of_features(kernel: DeepKernel, scales: Scales) -> Scales:
    """Return the scales of features of order 1, as many as the network returns."""
    row = torch.from_numpy(scales.x_mean)[None]
    if kernel.active_dims is not None:
        row = row[:, kernel.active_dims]
    ones = np.ones(kernel.features(row).shape[1])
    return replace(
        scales, x_mean=0.0 * ones, x_sd=ones, x_low=-ones, x_high=ones, period=ones, nyquist=2.0 * ones
    )


def _chosen(columns: Columns, wanted: list[int]) -> Columns:
    if max(wanted) >= len(columns):
        raise InputError(f"active_dims are {wanted}, but X has only {len(columns)} columns")
    return columns[wanted]


def initialise(kernel: gpytorch.kernels.Kernel, scales: Scales) -> None:
    """Set every hyperparameter of ``kernel`` that waits for the data, in place.

    Args:
        kernel: its own copy; hyperparameters given as ``None`` are set.
        scales: of the data that it will see.
    """
    for _, part, own, columns in _parts(kernel, scales, np.arange(len(scales.x_sd))):
        for declared in part.declared():
            if declared.name in part.unset:
                value = _typical(declared, own, _columns(part, columns))
                if declared.per_column and getattr(part, "ard", True) is False and declared.learnt:
                    value = np.array([np.exp(np.mean(np.log(value)))])
                if isinstance(part, Additive) and declared.per_degree:
                    value = np.resize(value, part.degree)
                setattr(part, declared.name, value if declared.listed else float(value[0]))


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
    for path, part, own, columns in _parts(kernel, scales, np.arange(len(scales.x_sd))):
        for declared in part.declared():
            name = f"{path}.{declared.raw_name}" if path else declared.raw_name
            priors[name] = _prior(part, declared, own, _columns(part, columns))
    if informative:
        return priors
    return {name: replace(prior, sd=np.inf) for name, prior in priors.items()}


def _prior(kernel: Kernel, declared: Hyperparameter, scales: Scales, columns: Columns) -> Prior:
    raw = kernel._parameters[declared.raw_name].detach().cpu().numpy().reshape(-1)
    if declared.name == "period":  # known, or found in the data: the prior stands where the search starts
        span = np.maximum((scales.x_high - scales.x_low)[columns], np.exp(raw))
        radian = np.exp(raw) / (2.0 * np.pi * span)  # of phase, over the data
        return Prior(raw, PERIOD_SD, raw - PERIOD_REACH, raw + PERIOD_REACH, np.resize(radian, raw.shape))
    if declared.unit == "1/X":
        return _spectral_prior(declared, scales, columns, raw.size)
    typical = _typical(declared, scales, columns)
    if not declared.positive:
        spread = float(scales.x_sd[columns].mean())
        return Prior(typical[0], spread, typical[0] - 3.0 * spread, typical[0] + 3.0 * spread, 0.1 * spread)
    centre = np.log(typical)
    if raw.size != centre.size:
        centre = np.full(raw.size, centre.mean())
    sd = {"X": LENGTHSCALE_SD, "1": SHAPE_SD}.get(declared.unit, VARIANCE_SD)
    if declared.name == "breaking":  # of any size: most symmetries are exact or absent
        sd = BREAKING_SD
    reach = LENGTHSCALE_REACH if declared.unit == "X" else WIDEST
    return Prior(centre, sd, centre - reach, centre + reach)


def _spectral_prior(declared: Hyperparameter, scales: Scales, columns: Columns, size: int) -> Prior:
    """Return the prior of frequencies or of bandwidths: waves beyond Nyquist's are others in disguise."""
    highest, span = scales.nyquist[columns], _span(scales, columns)
    if size != len(columns):
        highest, span = highest.max(keepdims=True), span.max(keepdims=True)
    if declared.name == "frequency":
        return Prior(0.0, 0.5 * highest, -highest, highest, 1.0 / (2.0 * np.pi * span))  # a radian of phase
    centre = np.log(_bandwidth(highest, span))
    sd = np.log(highest) - centre  # so both ends of what is possible are one standard deviation away
    return Prior(centre, sd, np.log(COHERENT / span), np.log(2.0 * highest))


def _bandwidth(highest: Array, span: Array) -> Array:
    """Return the middle, on the logarithm, of waves that never lose step and noise of all frequencies."""
    middle: Array = np.sqrt(highest * NARROW / span)
    return middle


def _span(scales: Scales, columns: Columns) -> Array:
    sd, span = scales.x_sd[columns], (scales.x_high - scales.x_low)[columns]
    return np.where(span > 1e-12 * sd, span, sd)  # a constant column has none


def _columns(kernel: Kernel, seen: Columns) -> Columns:
    """Return those of the columns that ``kernel`` sees which its own hyperparameters are about."""
    kernel.check_columns(len(seen))
    return seen[list(kernel.own_columns(len(seen)))]


def _typical(declared: Hyperparameter, scales: Scales, columns: Columns) -> Array:
    """Return the value that the scale of the data suggests, one for each column it acts on."""
    sd, d, span = scales.x_sd[columns], len(columns), _span(scales, columns)
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
        case "spread":
            return sd
        case "breaking":
            return np.array([BREAKING])
        case "frequency":
            return 1.0 / span
        case "bandwidth":
            return _bandwidth(scales.nyquist[columns], span)
    match declared.unit:
        case "X":
            return sd if declared.alone else sd * math.sqrt(d)
        case "y^2":
            return np.array([scales.y_variance])
        case "y^2/X":
            return scales.y_variance / span
        case "y^2/X^2":
            return scales.y_variance / (sd**2 * d)
        case "y^2/X^3":
            return scales.y_variance / span**3
        case _:
            return np.ones(d if declared.per_column else 1)


def output_scales(y: Array, weights: Array) -> Array:
    """Return 1 for a single output, which stays in its units; else each output's standard deviation."""
    if y.shape[1] == 1:
        return np.ones(1)
    mean = np.average(y, axis=0, weights=weights)
    sd = np.sqrt(np.average((y - mean) ** 2, axis=0, weights=weights))
    return np.where(sd > CONSTANT * np.abs(mean), sd, 1.0)
