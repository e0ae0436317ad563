"""The picture of a forecast."""

from typing import Any

import numpy as np
import pandas as pd

__all__ = ["COVERAGES", "draw_forecast"]

COVERAGES = (0.5, 0.8, 0.95)


def draw_forecast(y: pd.Series, quantiles: pd.DataFrame, ax: Any = None) -> Any:
    """Draw a series, the median of its forecast and bands around it.

    Args:
        y: the series.
        quantiles: of the forecast, at `nonparam.plotting.band_probabilities` of the coverages.
        ax: matplotlib axes; new ones by default.

    Returns:
        The axes.
    """
    from nonparam.plotting import POINT_COLOR, draw_bands, draw_legend, new_axes

    if ax is None:
        ax = new_axes()
    ax.plot(places(y.index), y.to_numpy(), color=POINT_COLOR, linewidth=1.0, label=_label(y.name))
    alone = y.notna() & y.shift(1).isna() & y.shift(-1).isna()  # a line does not show them
    draw_bands(ax, places(quantiles.index), quantiles.to_numpy(), COVERAGES, label="median")
    if alone.any():
        ax.plot(
            places(y.index)[alone.to_numpy()], y[alone].to_numpy(), ".", color=POINT_COLOR, markersize=3.0
        )
    dated = isinstance(y.index, pd.DatetimeIndex | pd.PeriodIndex)
    ax.set_xlabel(str(y.index.name or ("time" if dated else "step")), parse_math=False)
    ax.set_ylabel(str(y.attrs.get("units", y.name or "y")), parse_math=False)
    ax.margins(x=0.01)
    draw_legend(ax)
    return ax


def _label(name: Any) -> str:
    """Return a name as a legend shows it: no formula, and not hidden by its first letter."""
    text = "series" if name is None or name == "" else str(name).replace("$", r"\$")
    return f" {text}" if text.startswith("_") else text


def places(index: pd.Index) -> Any:
    """Return an index as matplotlib draws it: periods at their beginnings, durations in days."""
    if isinstance(index, pd.PeriodIndex):
        days = index.asfreq("D", how="S") if isinstance(index.freq, pd.offsets.BDay) else index
        return days.to_timestamp().to_numpy()  # pandas warns of periods of business days
    if isinstance(index, pd.TimedeltaIndex):
        return (index / pd.Timedelta(1, "D")).to_numpy()
    return np.asarray(index)
