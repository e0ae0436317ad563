"""Seconds, memory and scores of one long series: the hourly demand for electricity in Victoria.

``python benchmarks/long_series.py`` fits 26,000 hours with seasons of a day, a week and a year, forecasts a
week, and prints one row for each origin. The error is scaled by that of the seasonal naive
forecast over the training, with the lag of a week. Data are read as in `m3_data`.
"""

import argparse
import resource
import time
import warnings

import pandas as pd
from m3_data import folder
from tables import header, row, versions

from nonparam import GPForecaster
from nonparam.forecasting.metrics import coverage, mase

SEASONS = [24.0, 168.0, 8766.0]
WEEK = 168
GIB = 2**20  # KiB
FILE = "vic_elec_hourly_exog.csv.gz"
COLUMNS = ("MASE", "of seasonal naive", "80 %", "95 %")


def demand() -> pd.Series:
    table = pd.read_csv(folder() / "singles" / FILE, parse_dates=["time"], index_col="time")
    return table["value"].asfreq("h")


def forecast_week(y: pd.Series, weeks: int) -> None:
    """Print the row of a forecast that begins so many weeks before the end."""
    end = len(y) - WEEK * weeks
    train, test = y[:end], y[end : end + WEEK]
    began = time.monotonic()
    forecaster = GPForecaster(SEASONS).fit(train)
    median = forecaster.predict(WEEK)
    bounds = [forecaster.predict_interval(WEEK, c).to_numpy() for c in (0.8, 0.95)]
    seconds = time.monotonic() - began
    gib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / GIB
    errors = [mase(test, point, train, WEEK) for point in (median, train[-WEEK:].to_numpy())]
    held = [coverage(test, *ends.T) for ends in bounds]
    row(test.index[0].date(), len(train), seconds, gib, *errors, *held, forecaster.report_.converged)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--weeks", type=int, nargs="*", default=[1, 9, 17], help="origins, weeks before the end"
    )
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    y = demand()
    print(f"{versions('nonparam', 'numpy', 'scipy', 'numba')}\n", flush=True)
    header("week begins", "rows", "seconds", "GiB", *COLUMNS, "all searches ended")
    for weeks in options.weeks:
        forecast_week(y, weeks)


if __name__ == "__main__":
    main()
