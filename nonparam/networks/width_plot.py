"""The picture of a comparison of widths."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from nonparam.networks.width_report import WidthReport

__all__ = ["plot_widths"]

PANEL = (5.0, 3.8)  # inches


def plot_widths(report: "WidthReport") -> Any:
    """Draw errors of kernels, distances of predictions, test errors and calibration against the width."""
    import matplotlib.pyplot as plt  # chooses a backend: only where a figure is to be made

    figure, axes = plt.subplots(2, 2, figsize=(2 * PANEL[0], 2 * PANEL[1]), layout="constrained")
    kernels, distances, errors, intervals = axes.flat
    _draw_kernels(report, kernels)
    frame = report.to_frame().iloc[: len(report.widths)]
    names = {
        "to linear": "trained to linearised",
        "linear to limit": "mean of linearised to limit",
        "mean to limit": "mean of trained to limit",
    }
    _draw(distances, report.widths, [(name, frame[key], "o-") for key, name in names.items()])
    distances.set(
        title="Predictions after training", ylabel="distance, standard deviations of y", yscale="log"
    )
    pairs = [("a network", frame["NLL, one"], "o-"), ("ensemble", frame["NLL, all"], "s-")]
    _draw(errors, report.widths, pairs)
    errors.axhline(report.limit.nll, color="black", ls="--", label="infinite width")
    errors.set(title="New rows", ylabel="minus log density, nats per row")
    _draw(
        intervals,
        report.widths,
        [
            ("a network", [row.single.coverage for row in report.rows], "o-"),
            ("ensemble", [row.ensemble.coverage for row in report.rows], "s-"),
        ],
    )
    intervals.axhline(report.limit.coverage, color="black", ls="--", label="infinite width")
    intervals.axhline(0.9, color="gray", lw=0.8, label="asked")
    intervals.set(title="Calibration", ylabel="part of new rows in 90 % intervals")
    for ax in (distances, errors, intervals):
        ax.legend(fontsize=8)
    figure.suptitle(f"{report.architecture}: finite networks and their limit")
    return figure


def _draw_kernels(report: "WidthReport", ax: Any) -> None:
    for name, errors, color in (("NNGP", report.nngp_errors, "C0"), ("NTK", report.ntk_errors, "C1")):
        ax.plot(report.widths, errors, ".", color=color, alpha=0.3)
        label = f"{name}, slope {report.slope(name.lower())}"
        ax.plot(report.widths, errors.mean(1), "o-", color=color, label=label)
    start = report.ntk_errors[0].mean()
    ideal = start * (np.array(report.widths) / report.widths[0]) ** -0.5
    ax.plot(report.widths, ideal, ":", color="black", label="slope -0.5")
    _name_widths(ax, report.widths)
    ax.set(yscale="log", title="Kernels at the start", ylabel="relative error")
    ax.legend(fontsize=8)


def _draw(ax: Any, widths: Sequence[int], curves: Sequence[tuple[str, Any, str]]) -> None:
    for name, values, style in curves:
        ax.plot(widths, values, style, label=name)
    _name_widths(ax, widths)


def _name_widths(ax: Any, widths: Sequence[int]) -> None:
    ax.set_xscale("log", base=2)
    ax.set_xticks(list(widths), [str(width) for width in widths])
    ax.minorticks_off()
    ax.set_xlabel("width")
