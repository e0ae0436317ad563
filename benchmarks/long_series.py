"""Seconds, memory and scores of one long series: the hourly demand for electricity in Victoria.

``python benchmarks/long_series.py`` fits 26,000 hours with seasons of a day, a week and a year, forecasts a
week, and prints one row for each origin. The error is scaled by that of the seasonal naive
forecast over the training, with the lag of a week.
"""

import argparse
import os
import platform
import resource
import time
import warnings
from importlib.metadata import version
from pathlib import Path

import pandas as pd
from tables import header, row

from nonparam import GPForecaster
from nonparam.forecasting.metrics import coverage, mase

SEASONS = [24.0, 168.0, 8766.0]
WEEK = 168
GIB = 2**20  # KiB
FILE = "vic_elec_hourly_exog.csv.gz"


def demand() -> pd.Series:
    default = Path(__file__).resolve().parents[1] / ".." / "shared" / "data"
    path = Path(os.environ.get("NONPARAM_DATA", default)) / "series" / "singles" / FILE
    table = pd.read_csv(path, parse_dates=["time"], index_col="time")
    return table["value"].asfreq("h")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--weeks", type=int, nargs="*", default=[1, 9, 17], help="origins, weeks before the end"
    )
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    y = demand()
    packages = ", ".join(f"{p} {version(p)}" for p in ("nonparam", "numpy", "scipy", "numba"))
    print(f"Python {platform.python_version()}, {packages}\n", flush=True)
    header(
        "week begins",
        "rows",
        "seconds",
        "GiB",
        "MASE",
        "of seasonal naive",
        "80 %",
        "95 %",
        "all searches ended",
    )
    for weeks in options.weeks:
        end = len(y) - WEEK * weeks
        train, test = y[:end], y[end : end + WEEK]
        began = time.monotonic()
        forecaster = GPForecaster(SEASONS).fit(train)
        median = forecaster.predict(WEEK)
        inner, outer = (forecaster.predict_interval(WEEK, c).to_numpy() for c in (0.8, 0.95))
        seconds = time.monotonic() - began
        row(
            test.index[0].date(),
            len(train),
            seconds,
            resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / GIB,
            mase(test, median, train, WEEK),
            mase(test, train[-WEEK:].to_numpy(), train, WEEK),
            coverage(test, inner[:, 0], inner[:, 1]),
            coverage(test, outer[:, 0], outer[:, 1]),
            forecaster.report_.converged,
        )


if __name__ == "__main__":
    main()
