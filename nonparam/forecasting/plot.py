"""The picture of a forecast."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import ndtri

from nonparam.errors import InputError
from nonparam.forecasting.transforms import Link

__all__ = ["COVERAGES", "draw_forecast", "draw_parts", "panels"]

Array = NDArray[np.float64]

COVERAGES = (0.5, 0.8, 0.95)
SMOOTH = ("base", "drift", "trend", "level", "slope")  # each is known less well than their sum


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
    ax.set_xlabel(_time_label(y.index), parse_math=False)
    ax.set_ylabel(str(y.attrs.get("units", y.name or "y")), parse_math=False)
    ax.spines[["top", "right"]].set_visible(False)
    ax.margins(x=0.01)
    draw_legend(ax)
    return ax


def _label(name: Any) -> str:
    """Return a name as a legend shows it: no formula, and not hidden by its first letter."""
    text = "series" if name is None or name == "" else str(name).replace("$", r"\$")
    return f" {text}" if text.startswith("_") else text


def panels(names: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Return which parts share a panel, by its title.

    Examples:
        >>> panels(["base", "level", "season"])
        {'base + level': ('base', 'level'), 'season': ('season',)}
    """
    together = tuple(name for name in names if name in SMOOTH)
    alone = [name for name in names if name not in SMOOTH]
    return {**({" + ".join(together): together} if together else {}), **{name: (name,) for name in alone}}


def draw_parts(
    y: pd.Series, parts: Mapping[str, tuple[Array, Array]], index: pd.Index, link: Link, axes: Any = None
) -> list[Any]:
    """Draw parts of ``g(y)`` with their bands, each in a panel.

    Args:
        y: the series.
        parts: means and standard deviations ``(m,)`` by their titles.
        index: the ``m`` times, of the series and after.
        link: ``g``.
        axes: matplotlib axes, one for each part; those of a new figure by default.

    Returns:
        The axes.
    """
    from nonparam.plotting import COLORS, PANEL, POINT_COLOR, band_probabilities, draw_bands, stacked_axes

    axes = (
        stacked_axes([PANEL] * len(parts)) if axes is None else list(np.ravel(np.asarray(axes, dtype=object)))
    )
    if len(axes) != len(parts):
        raise InputError(f"axes must be {len(parts)}, one for each of {list(parts)}; got {len(axes)}")
    at, end = places(index), places(y.index[-1:])[0]
    levels = ndtri(band_probabilities(COVERAGES))
    name = str(y.name or "y")
    scale = name if link.name == "identity" else f"{link.name} {name}"
    for i, (ax, (title, (mean, sd))) in enumerate(zip(axes, parts.items(), strict=True)):
        quantiles = mean[:, None] + sd[:, None] * levels
        draw_bands(ax, at, quantiles, COVERAGES, color=COLORS[i % len(COLORS)])
        ax.axvline(end, color=POINT_COLOR, linewidth=0.8, linestyle=":")
        ax.set_title(title, loc="left", fontsize="small", parse_math=False)
        ax.set_ylabel(scale, fontsize="small", parse_math=False)
        ax.spines[["top", "right"]].set_visible(False)
        ax.margins(x=0.01)
    axes[-1].set_xlabel(_time_label(y.index), parse_math=False)
    return list(axes)


def _time_label(index: pd.Index) -> str:
    dated = isinstance(index, pd.DatetimeIndex | pd.PeriodIndex)
    return str(index.name or ("time" if dated else "step"))


def places(index: pd.Index) -> Any:
    """Return an index as matplotlib draws it: periods at their beginnings, durations in days."""
    if isinstance(index, pd.PeriodIndex):
        days = index.asfreq("D", how="S") if isinstance(index.freq, pd.offsets.BDay) else index
        return days.to_timestamp().to_numpy()  # pandas warns of periods of business days
    if isinstance(index, pd.TimedeltaIndex):
        return (index / pd.Timedelta(1, "D")).to_numpy()
    return np.asarray(index)
