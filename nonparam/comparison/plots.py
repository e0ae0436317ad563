"""The pictures of a comparison: the evidence as rows come in, calibration, and the widths of the priors."""

from collections.abc import Callable, Sequence
from textwrap import shorten
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nonparam.comparison.hypothesis import HypothesisVerdict
from nonparam.comparison.measures import Measures

__all__ = [
    "PANELS",
    "PANEL_SIZE",
    "draw_calibration",
    "draw_evidence",
    "draw_increments",
    "draw_sensitivity",
    "new_panels",
]

Array = NDArray[np.float64]
Curve = tuple[Array, Array]

PANEL_SIZE = (5.0, 3.8)  # inches
NAME_WIDTH = 32  # characters in a legend
WINDOW = 0.05  # of the rows, over which the densities of next rows are averaged
SKIPPED = 0.05  # of the rows, at the left: their densities are those of the prior, and hide all others
DASHES = ("-", "--", ":", "-.")


def draw_evidence(models: Sequence[Measures], ax: Any) -> None:
    """Draw the log density of the first rows, per row, against their number; a mean over orderings.

    Args:
        models: those without such densities are left out.
        ax: matplotlib axes.
    """
    _draw(models, ax, lambda m: _cumulated(m.increments))
    _name_axes(ax, "Evidence as rows come in", "rows seen", "log evidence, nats per row")


def draw_increments(models: Sequence[Measures], ax: Any) -> None:
    """Draw the log density of the next row, a mean over orderings and neighbours, against the rows before it.

    Args:
        models: those without such densities are left out.
        ax: matplotlib axes.
    """
    _draw(models, ax, lambda m: _smoothed(m.increments))
    _name_axes(ax, "What each row adds", "rows seen", "log density of the next, nats")


def draw_calibration(models: Sequence[Measures], ax: Any) -> None:
    """Draw how often an observation lay below each quantile that the other rows predicted.

    Args:
        models: those without leave-one-out predictions are left out.
        ax: matplotlib axes.
    """
    from nonparam.plotting import POINT_COLOR

    ax.plot([0.0, 1.0], [0.0, 1.0], color=POINT_COLOR, linewidth=0.8, label="_")
    _draw(models, ax, lambda m: _quantiles(m.pit))
    _name_axes(ax, "Calibration, leave one out", "predicted probability", "share of rows below")
    ax.set(xlim=(0.0, 1.0), ylim=(0.0, 1.0))


def draw_sensitivity(verdict: HypothesisVerdict, models: Sequence[Measures], ax: Any) -> None:
    """Draw the log Bayes factor of each model against the best, against the width of all priors.

    Args:
        verdict: on hypotheses.
        models: all models, for each to have the colour that it has in the other panels.
        ax: matplotlib axes.
    """
    from nonparam.plotting import draw_legend

    behind = verdict.sensitivity - verdict.sensitivity.loc[verdict.best]
    widths = behind.columns.to_numpy(dtype=np.float64)
    for i, model in enumerate(models):
        if model.name in behind.index:
            ax.plot(widths, behind.T[model.name], marker="o", markersize=4.0, **_line(i, model.name))
    ax.set_xscale("log", base=2)
    ax.set_xticks(widths, [f"{width:g}" for width in widths])
    _name_axes(ax, "Widths of the priors", "factor of all widths", "log Bayes factor, nats")
    draw_legend(ax)


def new_panels(count: int) -> Any:
    """Return axes of a new figure, side by side."""
    import matplotlib.pyplot as plt  # chooses a backend: only where a figure is to be made

    size = (PANEL_SIZE[0] * count, PANEL_SIZE[1])
    return plt.subplots(1, count, figsize=size, layout="constrained", squeeze=False)[1][0]


def _draw(models: Sequence[Measures], ax: Any, curve: Callable[[Measures], Curve | None]) -> None:
    """Draw a curve for every model that has one, in the same colour in every panel."""
    from nonparam.plotting import draw_legend

    drawn = 0
    for i, model in enumerate(models):
        found = curve(model)
        if found is not None:
            ax.plot(*found, **_line(i, model.name))
            drawn += 1
    if drawn:
        draw_legend(ax)
    else:
        ax.text(0.5, 0.5, "no model has this", transform=ax.transAxes, ha="center", va="center")


def _line(i: int, name: str) -> dict[str, Any]:
    from nonparam.plotting import COLORS

    shown = shorten(name, NAME_WIDTH, placeholder=" ...") if " " in name else name[:NAME_WIDTH]
    shown = shown.replace("$", r"\$")  # no formula
    return {
        "color": COLORS[i % len(COLORS)],
        "linestyle": DASHES[i // len(COLORS) % len(DASHES)],
        "linewidth": 1.5,
        "label": f" {shown}" if shown.startswith("_") else shown,  # which would hide it from the legend
    }


def _name_axes(ax: Any, title: str, x: str, y: str) -> None:
    ax.set_title(title, fontsize="medium", loc="left")
    ax.set(xlabel=x, ylabel=y)
    ax.grid(alpha=0.25)
    ax.spines[["top", "right"]].set_visible(False)


def _cumulated(increments: Array) -> Curve | None:
    """Return row counts and mean cumulative densities per row that has one."""
    if not len(increments):
        return None
    counts = np.isfinite(increments[0]).cumsum()
    mean = np.nancumsum(increments, 1).mean(0) / np.maximum(counts, 1)
    return _without_first(mean, counts)


def _smoothed(increments: Array) -> Curve | None:
    if not len(increments):
        return None
    counts = np.isfinite(increments[0]).cumsum()
    mean = np.nan_to_num(increments.mean(0))
    width = max(1, round(WINDOW * len(mean)))
    box = np.ones(width)
    share = np.convolve(np.ones_like(mean), box, mode="same")  # fewer neighbours at the ends
    return _without_first(np.convolve(mean, box, mode="same") / share, counts)


def _without_first(values: Array, counts: NDArray[np.intp]) -> Curve:
    rows = np.arange(1, len(values) + 1, dtype=np.float64)
    kept = (rows > SKIPPED * len(rows)) & (counts > 0)
    return rows[kept], values[kept]


def _quantiles(pit: Array) -> Curve | None:
    if not pit.size:
        return None
    return np.sort(pit), (np.arange(len(pit)) + 0.5) / len(pit)


PANELS = {
    draw_evidence: "log evidence of the first rows, per row, against their number; a mean over orderings",
    draw_increments: "log density of the next row against the rows before it; smoothed",
    draw_calibration: "share of rows below each quantile that the others predict: ideally the diagonal",
}
