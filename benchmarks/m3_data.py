"""The series of ``benchmarks/m3.py``, and the forecasts of others that are stored beside them.

They are read from the folder that ``NONPARAM_DATA`` names, or from ``../shared/data``.
"""

import os
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import ndtri

from nonparam.forecasting.backtest import LEVELS

FILES = {
    "monthly": "m3_monthly",
    "shifted": "m3_monthly",
    "quarterly": "m3_quarterly",
    "yearly": "m3_yearly",
    "other": "m3_other",
    "hourly": "m4_hourly_sample60",
    "weekly": "m4_weekly_sample60",
}
STORED = ("AutoETS", "AutoTheta", "AutoCES", "AutoARIMA", "SeasonalNaive")  # by other packages, on all series
MEAN_OF = STORED[:4]
UNKNOWN = "0001-12"  # the year 1 stands for a start that is not known
BOUNDS = np.array([0.025, 0.1, 0.9, 0.975])  # of the intervals


@dataclass(frozen=True)
class Record:
    """A series: what is known, what came, its season, whether priors may be tuned on it, its first month."""

    name: str
    m: int
    train: np.ndarray
    test: np.ndarray
    tuned: bool
    start: str = ""  # where it is not known


@dataclass(frozen=True)
class Forecast:
    """Median ``(h,)``, quantiles ``(h, l)`` at `LEVELS` (none where only a point is known), and seconds."""

    median: np.ndarray
    quantiles: np.ndarray | None = None
    seconds: float = np.nan
    failed: str = ""


def folder() -> Path:
    default = Path(__file__).resolve().parents[1] / ".." / "shared" / "data"
    return Path(os.environ.get("NONPARAM_DATA", default)) / "series"


def numbers(text: str) -> np.ndarray:
    return np.array([float(value) if value else np.nan for value in text.split(";")])


def records(collection: str) -> list[Record]:
    """Return the series of a collection; those whose training is cut have the same length of test."""
    path = folder() / "dev" / f"{FILES[collection]}.csv.gz"
    table = pd.read_csv(path, dtype=str, keep_default_na=False).to_dict("records")
    found = [
        Record(
            r["series_id"],
            int(r["m"]),
            *map(numbers, (r["train"], r["test"])),
            r.get("prior_fit") == "1",
            r["start"] if r["freq"] == "monthly" and r["start"] > UNKNOWN else "",
        )
        for r in table
    ]
    if collection != "shifted":
        return found
    chosen = set((folder() / "baselines" / "ids_shift300.txt").read_text().split())
    return [shifted(record) for record in found if record.name in chosen]


def shifted(record: Record) -> Record:
    """Return the series with its origin a season earlier."""
    y, n, h = np.concatenate([record.train, record.test]), len(record.train) - record.m, len(record.test)
    return replace(record, train=y[:n], test=y[n : n + h])


def gaussian(mean: np.ndarray, bounds: np.ndarray) -> np.ndarray:
    """Return quantiles at `LEVELS` of a forecast known by its mean and by bounds ``(h, 4)`` at `BOUNDS`.

    Between the bounds, which are kept, they are those of a Gaussian with the width of the 95 % interval.
    """
    sd = (bounds[:, 3] - bounds[:, 0]) / (ndtri(BOUNDS[3]) - ndtri(BOUNDS[0]))
    quantiles = mean[:, None] + sd[:, None] * ndtri(LEVELS)
    quantiles[:, np.searchsorted(LEVELS, BOUNDS)] = bounds
    return quantiles


def read_intervals(path: Path) -> dict[str, Forecast]:
    """Read forecasts with columns of the mean and of the ends of the 80 and 95 % intervals."""
    found = {}
    for r in pd.read_csv(path, dtype=str, keep_default_na=False).to_dict("records"):
        bounds = np.stack([numbers(r[name]) for name in ("lo95", "lo80", "hi80", "hi95")], 1)
        mean, seconds = numbers(r["mean"]), float(r.get("seconds") or np.nan)
        found[r["series_id"]] = Forecast(mean, gaussian(mean, bounds), seconds, r.get("failed", ""))
    return found


def stored(collection: str) -> dict[str, dict[str, Forecast]]:
    """Return the stored forecasts of other packages for the monthly series, by method and series."""
    suffix = "_shift12" if collection == "shifted" else ""
    found = {}
    for method in (*STORED, "Prophet"):
        start = f"m3_monthly_{method}{suffix}"
        path = folder() / "baselines" / f"{start}_forecasts.csv.gz"
        if path.exists():
            seconds = pd.read_csv(path.with_name(f"{start}.csv.gz"), index_col="series_id")["seconds"]
            found[method] = {
                name: Forecast(f.median, f.quantiles, float(seconds[name]), f.failed)
                for name, f in read_intervals(path).items()
            }
    return found


def mean_forecast(members: list[Forecast]) -> Forecast:
    """Average means and ends of intervals."""
    at = np.searchsorted(LEVELS, BOUNDS)
    mean = np.mean([member.median for member in members], axis=0)
    bounds = np.mean([member.quantiles[:, at] for member in members], axis=0)
    return Forecast(mean, gaussian(mean, bounds), float(np.sum([member.seconds for member in members])))


def published(collection: str) -> dict[str, dict[str, Forecast]]:
    """Return the point forecasts of the competition's entrants, by entrant and series."""
    if collection not in ("monthly", "quarterly", "yearly", "other"):
        return {}
    name = "m3_monthly" if collection == "monthly" else "m3_other_freqs"
    table = pd.read_csv(folder() / "dev" / f"{name}_published_forecasts.csv.gz", dtype=str)
    table = table[table.freq == collection]
    return {
        f"{method} (published)": {
            r.series_id: Forecast(numbers(r.forecast)) for r in rows.itertuples(index=False)
        }
        for method, rows in table.groupby("method", sort=False)
    }
