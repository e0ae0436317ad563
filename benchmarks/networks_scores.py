"""Scores of predictions, and their spread over seeds."""

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from scipy.stats import norm
from sklearn.base import BaseEstimator

Array = np.ndarray

LEVEL = 0.9  # of the intervals that are counted
BINS = 15  # of calibration errors


def regression_scores(y: Array, mean: Array, sd: Array) -> tuple[float, float, float]:
    """Return root mean squared error, nats per row, and the share of rows in the central 90 %."""
    error = y - mean
    inside = np.abs(error) <= norm.ppf(0.5 + 0.5 * LEVEL) * sd
    return float(np.sqrt(np.mean(error**2))), -float(norm.logpdf(y, mean, sd).mean()), float(inside.mean())


def class_scores(y: Array, proba: Array) -> tuple[float, float, float]:
    """Return accuracy, nats per row, and the calibration error for labels ``0 .. c-1``."""
    rows = np.arange(len(y))
    with np.errstate(divide="ignore"):
        nll = -float(np.log(proba[rows, y]).mean())
    return float(np.mean(proba.argmax(1) == y)), nll, calibration_error(y, proba)


def calibration_error(y: Array, proba: Array) -> float:
    """Return how far the accuracy is from the largest probability, a mean over bins of equal width.

    Source: Guo, Pleiss, Sun and Weinberger (2017), On calibration of modern neural networks,
    ICML, equation 3.
    """
    confidence, right = proba.max(1), proba.argmax(1) == y
    bins = np.clip(np.ceil(confidence * BINS).astype(int) - 1, 0, BINS - 1)
    gaps = np.bincount(bins, weights=right - confidence, minlength=BINS)
    return float(np.abs(gaps).sum() / len(y))


def spread(values: Sequence[float] | Array, digits: int = 3) -> str:
    """Return the mean and its standard error, which one value does not have."""
    mean = np.mean(values)
    if len(values) < 2:
        return f"{mean:.{digits}f}"
    return f"{mean:.{digits}f} ± {np.std(values, ddof=1) / np.sqrt(len(values)):.{digits}f}"


def run(
    name: str, make: Callable[[int], BaseEstimator], seed: int, test: Callable[[Any], tuple[float, ...]]
) -> tuple[float, ...]:
    """Return what ``test`` says of an estimator, and the seconds that fit and predictions take.

    One that fails gets NaN in place of three scores, and a comment in the output.
    """
    began = time.perf_counter()
    try:
        found = test(make(seed))
    except Exception as error:  # it belongs in the table
        print(f"<!-- {name}, seed {seed}: {type(error).__name__}: {str(error)[:200]} -->", flush=True)
        found = (np.nan,) * 3
    seconds = time.perf_counter() - began
    shown = " ".join(f"{value:.4g}" for value in (*found, seconds))
    print(f"<!-- {name}, seed {seed}: {shown} -->", flush=True)
    return *found, seconds
