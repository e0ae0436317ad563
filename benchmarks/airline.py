"""Forecast the airline passengers with the last 24 and the last 29 months held out, beside the classics.

Prints, for each method: the joint negative log density of the held-out months in nats per month, the mean
absolute error of the median in thousands of passengers, the same relative to the seasonal naive within the
training months (MASE), the share of months within the central 80 and 95 %, and seconds for fit and forecast
on one thread (the median of three).

Run with ``python benchmarks/airline.py``; needs statsmodels.
"""

import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version

import numpy as np
import pandas as pd
from scipy.special import ndtri
from scipy.stats import multivariate_normal
from statsmodels.tsa.statespace.sarimax import SARIMAX
from threadpoolctl import threadpool_limits

from nonparam.datasets import load_airline
from nonparam.forecasting import GPForecaster

SEASON = 12
HELD_OUT = (24, 29)
COVERAGES = (0.8, 0.95)
REPEATS = 3


@dataclass(frozen=True)
class Forecast:
    """Median ``(h,)`` and intervals ``(h, 2)`` of each month, and the joint log density of what came."""

    median: np.ndarray
    intervals: dict[float, np.ndarray]
    log_density: float


def gaussian(mean: np.ndarray, covariance: np.ndarray, test: np.ndarray) -> Forecast:
    sd = np.sqrt(np.diag(covariance))
    intervals = {
        c: np.stack([mean - z * sd, mean + z * sd], 1) for c in COVERAGES for z in [ndtri(0.5 + c / 2)]
    }
    return Forecast(mean, intervals, float(multivariate_normal(mean, covariance).logpdf(test)))


def gp(train: pd.Series, test: pd.Series) -> Forecast:
    """The package, with its defaults."""
    forecaster = GPForecaster().fit(train)
    table = forecaster.predict_interval(len(test), list(COVERAGES))
    intervals = {c: table[c].to_numpy() for c in COVERAGES}
    median = forecaster.predict(len(test)).to_numpy()
    return Forecast(median, intervals, forecaster.log_predictive_density(test))


def seasonal_naive(train: pd.Series, test: pd.Series) -> Forecast:
    """The same month last year; yearly changes are independent and Gaussian, and add up over the years."""
    y, h = train.to_numpy(), len(test)
    variance = float(np.mean((y[SEASON:] - y[:-SEASON]) ** 2))
    steps = np.arange(h)
    mean = y[-SEASON:][steps % SEASON]
    years = steps // SEASON + 1
    same_month = steps[:, None] % SEASON == steps[None, :] % SEASON
    covariance = variance * same_month * np.minimum(years[:, None], years[None, :])
    return gaussian(mean, covariance, test.to_numpy())


def box_jenkins(train: pd.Series, test: pd.Series) -> Forecast:
    """The model (0,1,1)(0,1,1)12 of the logarithm, by maximum likelihood."""
    h, log_test = len(test), np.log(test.to_numpy())
    model = SARIMAX(np.log(train.to_numpy()), order=(0, 1, 1), seasonal_order=(0, 1, 1, SEASON))
    fitted = model.fit(method="nm", disp=False, maxiter=1000)
    ahead = fitted.get_forecast(h)
    extended = fitted.append(log_test, refit=False)  # the joint density is that of the one-step errors
    log_density = float(extended.llf_obs[-h:].sum()) - float(log_test.sum())
    intervals = {c: np.exp(ahead.conf_int(alpha=1.0 - c)) for c in COVERAGES}
    return Forecast(np.exp(ahead.predicted_mean), intervals, log_density)


METHODS: dict[str, Callable[[pd.Series, pd.Series], Forecast]] = {
    "GPForecaster": gp,
    "seasonal naive": seasonal_naive,
    "Box-Jenkins on logs": box_jenkins,
}


def row(name: str, train: pd.Series, test: pd.Series) -> str:
    seconds = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        forecast = METHODS[name](train, test)
        seconds.append(time.perf_counter() - began)
    y, truth = train.to_numpy(), test.to_numpy()
    error = float(np.mean(np.abs(forecast.median - truth)))
    scale = float(np.mean(np.abs(y[SEASON:] - y[:-SEASON])))
    covered = [np.mean((i[:, 0] <= truth) & (truth <= i[:, 1])) for i in forecast.intervals.values()]
    figures = [-forecast.log_density / len(truth), error, error / scale, *covered, float(np.median(seconds))]
    return f"{name:20}" + "".join(
        f"{figure:{width}}" for figure, width in zip(figures, COLUMNS.values(), strict=True)
    )


COLUMNS = {"NLL/month": "10.3f", "MAE": "8.2f", "MASE": "7.3f", "80 %": "7.2f", "95 %": "7.2f", "s": "8.3f"}


def main() -> None:
    y = load_airline()
    names = ("nonparam", "torch", "numpy", "scipy", "statsmodels", "pandas")
    print(", ".join([f"python {platform.python_version()}", *(f"{name} {version(name)}" for name in names)]))
    with threadpool_limits(1):
        compare(y)


def compare(y: pd.Series) -> None:
    for h in HELD_OUT:
        print(f"\ntrained on {len(y) - h} months, {h} held out")
        heads = (f"{head:>{width.split('.')[0]}}" for head, width in COLUMNS.items())
        print(" " * 20 + "".join(heads))
        for name in METHODS:
            print(row(name, y[:-h], y[-h:]))


if __name__ == "__main__":
    main()
