"""The eight series of LLMTime, last fifth held out, and the published scores beside ours.

For each series: the mean absolute error of the median, divided by the mean of the absolute held-out values,
and the joint negative log density of all of them, in nats per value. Published are those of Gruver et al.
(2023), "Large language models are zero-shot time series forecasters", from the files of their repository: a
spectral mixture (SM-GP), ARIMA, and language models, which score digits and may have read these series. Their
SM-GP and ARIMA are joint densities too.

The airline passengers (115 and 29 months) are the first of them; the last table has their absolute error in
thousands of passengers, with Box and Jenkins' model of ``benchmarks/airline.py`` beside it.

Run with ``python benchmarks/llmtime.py``; data are read as in `m3_data`.
"""

import time
import warnings
from typing import Any

import numpy as np
import pandas as pd
from m3_data import folder
from tables import header, row, versions

from nonparam import GPForecaster

TRAINING = 0.8  # of each series
# file, how many of its rows, every which one, and the calendar of its times (none: rows count)
SERIES: dict[str, tuple[str, int, int, str | None]] = {
    "AirPassengers": ("air_passengers", 144, 1, "M"),
    "MonthlyMilk": ("monthly_milk", 168, 1, "M"),
    "AusBeer": ("ausbeer", 211, 1, "Q"),  # to 2008Q3, where theirs ends
    "Wine": ("wineind", 176, 1, "M"),
    "Wooly": ("woolyrnq", 119, 1, "Q"),
    "Sunspots": ("sunspots_monthly", 2820, 4, "4M"),
    "GasRateCO2": ("gasrate_co2", 296, 1, None),
    "HeartRate": ("heart_rate", 1800, 2, None),
}
METHODS = ("SM-GP", "ARIMA", "GPT-3", "LLaMA-2-70B")
PUBLISHED = {
    "AirPassengers": ((0.0787, 5.90), (0.0546, 5.25), (0.0781, 4.76), (0.0436, 4.60)),
    "MonthlyMilk": ((0.0354, 4.38), (0.0434, 3.60), (0.0113, 3.79), (0.0310, 3.61)),
    "AusBeer": ((0.2375, 4.29), (0.0399, 4.14), (0.0375, 3.40), (0.0300, 4.09)),
    "Wine": ((0.1739, 9.55), (0.0881, 9.33), (0.0599, 9.40), (0.1521, 9.46)),
    "Wooly": ((0.1327, 7.45), (0.1202, 7.58), (0.1651, 7.55), (0.1734, 7.84)),
    "Sunspots": ((0.678, 5.93), (0.550, 4.74), (0.598, 4.60), (0.601, 4.50)),
    "GasRateCO2": ((0.0414, 0.83), (0.0432, 0.80), (0.0637, -1.69), (0.0457, -0.67)),
    "HeartRate": ((0.0605, 3.40), (0.0596, 2.51), (0.0665, 2.27), (0.0655, 2.09)),
}
RIVALS = 2  # of these methods are to be beaten in both scores
# method, joint negative log density per month, absolute error in thousands of passengers
AIRLINE = (
    ("SM-GP (published)", 5.905, 34.7),
    ("ARIMA (published)", 5.251, 24.0),
    ("GPT-3 (published)", 4.764, 34.4),
    ("Box-Jenkins on logs (benchmarks/airline.py)", 4.166, 12.6),
)


def load(name: str) -> pd.Series:
    file, length, every, calendar = SERIES[name]
    table = pd.read_csv(folder() / "singles" / f"{file}.csv").iloc[:length:every]
    y = pd.Series(table["value"].to_numpy(dtype=float), name=name)
    if calendar is not None:
        y.index = pd.period_range(str(table["time"].iloc[0]), periods=len(y), freq=calendar)
    return y


def scores(y: pd.Series) -> dict[str, Any]:
    n, began = int(len(y) * TRAINING), time.perf_counter()
    train, test = y[:n], y[n:]
    forecaster = GPForecaster().fit(train)
    error = float(np.mean(np.abs(forecaster.predict(len(test)).to_numpy() - test.to_numpy())))
    nll = -forecaster.log_predictive_density(test) / len(test)
    return {
        "n": n,
        "h": len(test),
        "error": error,
        "relative": error / float(np.mean(np.abs(test))),
        "nll": nll,
        "seconds": time.perf_counter() - began,
    }


def main() -> None:
    warnings.simplefilter("ignore")
    print(f"{versions('nonparam', 'torch', 'numpy', 'scipy', 'pandas')}\n")
    header("series", "training", "held out", "GPForecaster", *METHODS, "beats both GP and ARIMA", "seconds")
    found = {}
    for name in SERIES:
        ours = found[name] = scores(load(name))
        beaten = all(
            ours["relative"] < error and ours["nll"] < nll for error, nll in PUBLISHED[name][:RIVALS]
        )
        pairs = ((ours["relative"], ours["nll"]), *PUBLISHED[name])
        cells = [f"{error:.4f} / {nll:.2f}" for error, nll in pairs]
        row(name, ours["n"], ours["h"], *cells, "yes" if beaten else "no", ours["seconds"])
    print("\nAirline passengers, 29 months held out\n")
    header("method", "NLL/month", "MAE")
    airline = found["AirPassengers"]
    for method, nll, error in (("GPForecaster", airline["nll"], airline["error"]), *AIRLINE):
        row(method, f"{nll:.3f}", f"{error:.1f}")


if __name__ == "__main__":
    main()
