"""The picture of a forecast."""

from typing import Any

import numpy as np
import pandas as pd

__all__ = ["draw_forecast"]

COLOUR = "tab:blue"
BANDS = ((0.025, 0.975, "95 %", 0.15), (0.1, 0.9, "80 %", 0.2), (0.25, 0.75, "50 %", 0.3))


def draw_forecast(y: pd.Series, quantiles: pd.DataFrame, ax: Any = None) -> Any:
    """Draw a series, the median of its forecast and bands around it.

    Args:
        y: the series.
        quantiles: of the forecast, columns named by level.
        ax: matplotlib axes; new ones by default.

    Returns:
        The axes.
    """
    if ax is None:
        from matplotlib import pyplot

        _, ax = pyplot.subplots(figsize=(9.0, 4.5), layout="constrained")
    later = _places(quantiles.index)
    ax.plot(_places(y.index), y.to_numpy(), color="black", linewidth=1.0, label=str(y.name or "observed"))
    for low, high, label, alpha in BANDS:
        ax.fill_between(
            later, quantiles[low], quantiles[high], color=COLOUR, alpha=alpha, linewidth=0.0, label=label
        )
    ax.plot(later, quantiles[0.5].to_numpy(), color=COLOUR, linewidth=1.5, label="median")
    ax.set_xlabel(str(y.index.name or ("time" if hasattr(y.index, "freq") else "step")))
    ax.set_ylabel(str(y.attrs.get("units") or y.name or "y"))
    ax.legend(loc="upper left", frameon=False)
    ax.margins(x=0.01)
    return ax


def _places(index: pd.Index) -> Any:
    """Return what matplotlib can draw: the beginnings of periods, durations in days."""
    if isinstance(index, pd.PeriodIndex):
        return index.to_timestamp().to_numpy()
    if isinstance(index, pd.TimedeltaIndex):
        return index / pd.Timedelta(1, "D")
    return np.asarray(index)
