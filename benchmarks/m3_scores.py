"""Scores of forecasts of many series, kept in files as they come, and the tables made of them."""

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from m3_data import BOUNDS, Forecast, Record
from tables import header, row

from nonparam.forecasting.backtest import LEVELS, MIDPOINTS
from nonparam.forecasting.metrics import coverage, mase, msis, scaled_crps, smape

RESAMPLES, SEED = 10_000, 0
AT_MIDPOINTS, AT_BOUNDS = np.searchsorted(LEVELS, MIDPOINTS), np.searchsorted(LEVELS, BOUNDS)
THIRDS = (1, 2, 3)  # of the horizon
PAIRED = ("mase", "scrps", "msis")
COLUMNS = (
    *("series_id", "tuned", "smape", "mase", "scrps", "msis", "cov80", "cov95"),
    *(f"cov{level}_t{third}" for level in (80, 95) for third in THIRDS),
    *("seconds", "failed"),
)
Forecaster = Callable[[Record], Forecast]


def score(record: Record, forecast: Forecast, lag: int | None = None) -> dict[str, object]:
    """Return the scores of one series; those of intervals only where there are any.

    Errors are scaled by differences ``lag`` steps apart, by default those of the season.
    """
    m, y = lag or record.m, record.test
    found: dict[str, object] = {"series_id": record.name, "tuned": int(record.tuned)}
    found["smape"] = smape(y, forecast.median)
    found["mase"] = mase(y, forecast.median, record.train, m)
    if forecast.quantiles is not None:
        table = forecast.quantiles
        found["scrps"] = scaled_crps(y, table[:, AT_MIDPOINTS], MIDPOINTS, record.train, m)
        lo95, lo80, hi80, hi95 = table[:, AT_BOUNDS].T
        found["msis"] = msis(y, lo95, hi95, record.train, m)
        for level, low, high in ((80, lo80, hi80), (95, lo95, hi95)):
            found[f"cov{level}"] = coverage(y, low, high)
            for third, part in zip(THIRDS, np.array_split(np.arange(len(y)), 3), strict=True):
                found[f"cov{level}_t{third}"] = coverage(y[part], low[part], high[part])
    return found | {"seconds": forecast.seconds, "failed": forecast.failed}


def frame(series: list[Record], forecasts: dict[str, Forecast], lag: int | None) -> pd.DataFrame:
    """Return the scores of those series that have a forecast, a row each."""
    rows = [score(record, forecasts[record.name], lag) for record in series if record.name in forecasts]
    return pd.DataFrame(rows, columns=COLUMNS).set_index("series_id")


def score_all(series: list[Record], forecaster: Forecaster, path: Path, lag: int | None) -> pd.DataFrame:
    """Return the scores of a forecaster, which is run on the series that the file does not have yet."""
    known = set(pd.read_csv(path, usecols=["series_id"])["series_id"]) if path.exists() else set()
    with path.open("a", newline="") as stream:
        writer = csv.DictWriter(stream, COLUMNS)
        if not known:
            writer.writeheader()
        for record in series:
            if record.name not in known:
                writer.writerow(score(record, forecaster(record), lag))
                stream.flush()
    table = pd.read_csv(path, index_col="series_id", keep_default_na=True)
    return table.loc[[record.name for record in series]]


# tables ---------------------------------------------------------------------------------------


def scores_table(title: str, methods: dict[str, pd.DataFrame]) -> None:
    print(f"\n{title}\n")
    header(
        *("method", "series", "failed", "sMAPE", "MASE", "median MASE", "scaled CRPS", "MSIS"),
        *("80 %", "95 %", "80 % by third", "95 % by third", "s/series"),
    )
    for name, table in methods.items():
        means = table.mean(numeric_only=True).reindex(COLUMNS[1:-1])
        cells = [f"{means['smape']:.2f}", f"{means['mase']:.4f}", f"{table['mase'].median():.4f}"]
        cells += [shown(means["scrps"], 4), shown(means["msis"], 3)]
        cells += [shown(means[f"cov{level}"], 3) for level in (80, 95)]
        cells += [" ".join(shown(means[f"cov{level}_t{t}"], 3) for t in THIRDS) for level in (80, 95)]
        failed = int((table["failed"].fillna("") != "").sum())
        row(name, len(table), failed, *cells, shown(means["seconds"], 3))


def shown(value: float, digits: int) -> str:
    return "" if np.isnan(value) else f"{value:.{digits}f}"


def bootstrap(differences: np.ndarray) -> tuple[float, float, float]:
    """Return the mean of ``(n,)`` differences and its 95 % interval over resampled series."""
    rng, n = np.random.default_rng(SEED), len(differences)
    means = np.concatenate(
        [differences[rng.integers(n, size=(100, n))].mean(1) for _ in range(RESAMPLES // 100)]
    )
    low, high = np.quantile(means, [0.025, 0.975])
    return float(differences.mean()), float(low), float(high)


def paired_table(ours: str, methods: dict[str, pd.DataFrame]) -> None:
    print(f"\n{ours} minus each other, with 95 % intervals ({RESAMPLES:,} resamples of the series)\n")
    header("method", "series", *PAIRED, "share of series won (MASE)")
    for name, table in methods.items():
        if name != ours:
            pair = methods[ours].join(table, how="inner", rsuffix="_other")
            cells = [interval(pair[measure] - pair[f"{measure}_other"]) for measure in PAIRED]
            won = float((pair["mase"] < pair["mase_other"]).mean())
            row(name, len(pair), *cells, f"{won:.3f}")


def interval(differences: pd.Series) -> str:
    seen = differences.dropna().to_numpy()
    if not len(seen):
        return ""
    mean, low, high = bootstrap(seen)
    return f"{mean:+.4f} ({low:+.4f} to {high:+.4f})"


def losses_table(ours: str, other: str, methods: dict[str, pd.DataFrame], count: int) -> None:
    print(f"\nwhere {ours} loses most to {other}, and which series cost it most\n")
    header("series", "MASE", "of the other", "scaled CRPS", "of the other", "MSIS", "of the other")
    pair = methods[ours].join(methods[other], how="inner", rsuffix="_other")
    loss = (pair["mase"] - pair["mase_other"]).sort_values(ascending=False).index[:count]
    worst = pair["msis"].sort_values(ascending=False).index[:count]
    for name in loss.append(worst.difference(loss, sort=False)):
        cells = [float(pair.at[name, f"{m}{end}"]) for m in PAIRED for end in ("", "_other")]
        row(name, *cells)
