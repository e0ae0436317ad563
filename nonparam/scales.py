"""How large the data are: where training starts, and what the default priors are centred on."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import gpytorch
import numpy as np
import torch
from numpy.typing import NDArray

from nonparam.errors import InputError
from nonparam.kernels.base import Hyperparameter, Kernel
from nonparam.theta import Prior

__all__ = ["Scales", "default_priors", "initialise", "measure", "waits_for_period"]

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
BLOCK = 2**20  # entries of a table of waves, to bound its memory


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
    variance = _variance(y, weights) if normalize_y else 1.0
    period = np.where(constant, 1.0, (high - low) / 4.0)
    if find_periods and len(x) <= 5000:
        for j in np.flatnonzero(~constant):
            period[j] = _strongest_period(x[:, j], y, weights)
    return Scales(mean, sd, low, high, variance, period)


def _variance(y: Array, weights: Array) -> float:
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
    blocks = np.array_split(cycles, int(np.ceil(cycles.size * x.size / BLOCK)))
    power = np.concatenate([_periodogram(time, residual, share, block) for block in blocks])
    return span / float(cycles[int(np.argmax(power))])


def _periodogram(time: Array, y: Array, share: Array, frequencies: Array) -> Array:
    r"""Return the fraction of the squares of ``y (n, t)`` that each wave explains, added over the outputs.

    .. math:: P(f) = 2 \frac{|p|^2 - \mathrm{Re}(\bar d p^2)}{(1 - |d|^2) \sum_i w_i y_i^2}, \quad
              p = \sum_i w_i e^{2 \pi i f t_i} y_i, \quad d = \sum_i w_i e^{4 \pi i f t_i}

    Source: Lomb (1976), Least-squares frequency analysis of unequally spaced data; here with weights ``w``
    that add up to 1.
    """
    wave = np.exp(2j * np.pi * np.outer(frequencies, time))
    p, d = wave @ (share[:, None] * y), (wave**2 @ share)[:, None]
    left = 1.0 - np.abs(d) ** 2
    one_phase = left < 1e-9  # the rows see a single function of this wave, not two
    both = 2.0 * (np.abs(p) ** 2 - (d.conj() * p**2).real) / np.where(one_phase, 1.0, left)
    explained = np.where(one_phase, np.abs(p) ** 2, both)
    power: Array = (explained / (share @ y**2)).sum(1)
    return power


def waits_for_period(kernel: gpytorch.kernels.Kernel) -> bool:
    """Return whether a period of ``kernel`` is to be found in the data."""
    return any("period" in part.unset for part in kernel.modules() if isinstance(part, Kernel))


def _parts(
    module: torch.nn.Module, columns: Columns, path: str = ""
) -> Iterator[tuple[str, Kernel, Columns]]:
    """Yield every kernel of ours in ``module``, its qualified name, and the columns of ``X`` that it sees."""
    if isinstance(module, Kernel):
        if module.active_dims is not None:
            columns = _chosen(columns, module.active_dims.tolist())
        yield path, module, columns
    for name, child in module.named_children():
        yield from _parts(child, columns, f"{path}.{name}" if path else name)


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
    for _, part, columns in _parts(kernel, np.arange(len(scales.x_sd))):
        for declared in part.declared():
            if declared.name in part.unset:
                value = _typical(declared, scales, _columns(part, columns))
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
    for path, part, columns in _parts(kernel, np.arange(len(scales.x_sd))):
        for declared in part.declared():
            name = f"{path}.{declared.raw_name}" if path else declared.raw_name
            priors[name] = _prior(part, declared, scales, _columns(part, columns))
    if informative:
        return priors
    return {name: replace(prior, sd=np.inf) for name, prior in priors.items()}


def _prior(kernel: Kernel, declared: Hyperparameter, scales: Scales, columns: Columns) -> Prior:
    raw = kernel._parameters[declared.raw_name].detach().cpu().numpy().reshape(-1)
    if declared.name == "period":  # known, or found in the data: the prior stands where the search starts
        span = np.maximum((scales.x_high - scales.x_low)[columns], np.exp(raw))
        radian = np.exp(raw) / (2.0 * np.pi * span)  # of phase, over the data
        return Prior(raw, PERIOD_SD, raw - PERIOD_REACH, raw + PERIOD_REACH, np.resize(radian, raw.shape))
    typical = _typical(declared, scales, columns)
    if not declared.positive:
        spread = float(scales.x_sd[columns].mean())
        return Prior(typical[0], spread, typical[0] - 3.0 * spread, typical[0] + 3.0 * spread, 0.1 * spread)
    centre = np.log(typical)
    if raw.size != centre.size:
        centre = np.full(raw.size, centre.mean())
    sd = {"X": LENGTHSCALE_SD, "1": SHAPE_SD}.get(declared.unit, VARIANCE_SD)
    reach = LENGTHSCALE_REACH if declared.unit == "X" else WIDEST
    return Prior(centre, sd, centre - reach, centre + reach)


def _columns(kernel: Kernel, seen: Columns) -> Columns:
    """Return those of the columns that ``kernel`` sees which its own hyperparameters are about."""
    kernel.check_columns(len(seen))
    return seen[list(kernel.own_columns(len(seen)))]


def _typical(declared: Hyperparameter, scales: Scales, columns: Columns) -> Array:
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


def output_scales(y: Array, weights: Array) -> Array:
    """Return 1 for a single output, which stays in its units; else each output's standard deviation."""
    if y.shape[1] == 1:
        return np.ones(1)
    mean = np.average(y, axis=0, weights=weights)
    sd = np.sqrt(np.average((y - mean) ** 2, axis=0, weights=weights))
    return np.where(sd > CONSTANT * np.abs(mean), sd, 1.0)
