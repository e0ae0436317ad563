"""Pictures of fitted models: data, mean and bands of new observations, spectra, and parts of functions."""

import re
import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from numpy.typing import ArrayLike, NDArray
from scipy.stats import norm
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from nonparam.decomposition import Part, shares
from nonparam.errors import InputError
from nonparam.kernels.base import formula
from nonparam.model_selection.search import KernelSearch
from nonparam.regression import GPRegressor
from nonparam.spectral_mixture import SpectralMixtureRegressor
from nonparam.spectrum import nyquist, periodogram_on_grid, without_line
from nonparam.validation import check_count

__all__ = [
    "COLORS",
    "COVERAGES",
    "band_probabilities",
    "draw_bands",
    "draw_legend",
    "draw_points",
    "plot_components",
    "plot_parts",
    "plot_regression",
    "plot_spectrum",
]

Array = NDArray[np.float64]

COVERAGES = (0.5, 0.95)
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")  # Okabe and Ito (2008)
POINT_COLOR = "#333333"
FIGURE_SIZE = (8.0, 4.5)  # inches
PANEL = 2.0  # inches: the height of a component
BAR = 6.0  # points: the width of a band of one row
BELOW_FRAME = 2.4  # above lines, which are at 2, and below the frame of the axes, at 2.5
GRID = 600  # places at which the curves are evaluated, besides the data
MARGIN = 0.06  # of the span of the data, drawn on either side
TITLE_WIDTH = 90  # characters
LEGEND_COLUMNS = 5  # where there is room for them
RASTER = 5000  # points from which vector files hold them as pixels
WINDOW = 0.4  # standard deviation of the frequencies that a window of length 1 mixes
FREQUENCIES = 2000  # at which a density is drawn
CLEAR = 3.0  # times the noise: lower peaks have no label
MOST_LABELS = 8
MOST_PARTS = 6
PANELS = 3  # in a row
PANEL_SIZE = (3.6, 3.0)  # inches
LINE, MAP = 200, 40  # places along each column at which parts are evaluated
EDGE = 0.04  # of the axis: a label there would be cut off


def band_probabilities(coverages: Sequence[float] = COVERAGES) -> Array:
    """Return the probabilities of the quantiles that `draw_bands` draws.

    Args:
        coverages: of the central bands, each between 0 and 1.

    Returns:
        ``(2 k + 1,)``, ascending, with 0.5 in the middle.

    Examples:
        >>> band_probabilities([0.5, 0.9]).round(3)
        array([0.05, 0.25, 0.5 , 0.75, 0.95])
    """
    tails = np.sort(0.5 - 0.5 * np.asarray(coverages, dtype=np.float64))
    return np.concatenate([tails, [0.5], 1.0 - tails[::-1]])


def draw_bands(
    ax: Axes,
    x: Any,
    quantiles: ArrayLike,
    coverages: Sequence[float] = COVERAGES,
    *,
    color: str = COLORS[0],
    label: str = "mean",
    name_bands: bool = True,
) -> None:
    """Draw a line with nested bands around it; a dot with nested bars where there is one row.

    Args:
        ax: where to draw.
        x: ``(m,)``, ascending numbers or dates.
        quantiles: ``(m, 2 k + 1)`` at `band_probabilities`.
        coverages: of the ``k`` bands.
        color: of the line; the bands are lighter, the wider the fainter.
        label: of the line in the legend.
        name_bands: whether the legend names the bands as well.

    Raises:
        InputError: another number of quantiles than the coverages ask for.

    Examples:
        >>> from matplotlib.figure import Figure
        >>> ax = Figure().add_subplot()
        >>> draw_bands(ax, [0.0, 1.0], [[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0]], [0.9])
        >>> [text.get_text() for text in ax.legend().get_texts()]
        ['mean', '90 %']
    """
    table = np.asarray(quantiles, dtype=np.float64)
    k = len(coverages)
    if table.ndim != 2 or table.shape[1] != 2 * k + 1:
        raise InputError(
            f"quantiles must have {2 * k + 1} columns, two for each of {k} coverages and the middle; got an "
            f"array of shape {table.shape}"
        )
    single = len(table) == 1  # a line and an area of no length would not be seen
    dot = "o" if single else None
    ax.plot(x, table[:, k], color=color, marker=dot, linewidth=1.5, zorder=3, label=label)
    for i, coverage in enumerate(sorted(coverages)):
        name = f"{100.0 * coverage:g} %" if name_bands else "_"
        alpha = 0.15 + 0.25 * (k - 1 - i) / k
        low, high = table[:, k - 1 - i], table[:, k + 1 + i]
        if single:
            ax.vlines(x, low, high, color=color, alpha=alpha, linewidth=BAR, label=name)
        else:
            ax.fill_between(x, low, high, color=color, alpha=alpha, linewidth=0.0, label=name)


def draw_points(ax: Axes, x: Any, y: ArrayLike, *, color: str = POINT_COLOR, label: str = "data") -> None:
    """Draw observations as dots, smaller and fainter the more there are.

    Args:
        ax: where to draw.
        x: ``(n,)`` numbers or dates.
        y: ``(n,)``.
        color: of the dots.
        label: in the legend.
    """
    n = np.size(y)
    size = float(np.clip(7.0 - np.log2(max(n, 1)) / 2.0, 2.5, 5.0))
    alpha = float(np.clip((1000.0 / max(n, 1)) ** 0.5, 0.2, 0.85))
    ax.plot(
        x,
        y,
        "o",
        color=color,
        markersize=size,
        markeredgewidth=0.0,
        alpha=alpha,
        zorder=2,
        label=label,
        rasterized=n > RASTER,
    )


def draw_legend(ax: Axes, title: str | None = None) -> None:
    """Draw a legend no wider than the axes, where it covers least; what it covers shines through.

    Args:
        ax: with all that is to be named.
        title: above the names.

    Examples:
        >>> from matplotlib.figure import Figure
        >>> ax = Figure((2.0, 2.0)).add_subplot()
        >>> for name in ("one", "two", "three", "four"):
        ...     draw_points(ax, [0.0], [0.0], label=name)
        >>> draw_legend(ax)
        >>> bool(ax.get_legend().get_window_extent().width <= ax.get_window_extent().width)
        True
    """
    for ncols in range(LEGEND_COLUMNS, 0, -1):
        legend = ax.legend(
            title=title,
            ncols=ncols,
            fontsize="small",
            title_fontsize="small",
            handlelength=1.2,
            columnspacing=1.0,
            borderaxespad=0.0,
            framealpha=0.4,
            edgecolor="none",
        )
        legend.set_zorder(BELOW_FRAME)
        if legend.get_window_extent().width <= ax.get_window_extent().width:
            return


def plot_regression(model: GPRegressor, ax: Axes | None = None) -> Axes:
    """Draw the data, the mean and the bands of a fitted model with one input.

    The bands are those of new observations, of an exposure of 1 where they have one; where every row has a
    noise variance of its own, that of new rows is not known, and they are those of the function. Several
    outputs share the axes.

    Args:
        model: a fitted model with one column of ``X``.
        ax: where to draw; a new figure by default.

    Returns:
        The axes. Nothing is shown: call ``matplotlib.pyplot.show``, or save ``ax.figure``.

    Raises:
        NotFittedError: the model is not fitted.
        InputError: the model has more than one input.

    Examples:
        >>> from matplotlib.figure import Figure
        >>> x = np.linspace(0.0, 6.0, 20)
        >>> model = GPRegressor("rbf").fit(x[:, None], np.sin(x))
        >>> ax = plot_regression(model, Figure().add_subplot())
        >>> [text.get_text() for text in ax.get_legend().get_texts()]
        ['data', 'mean', '50 %', '95 %']
    """
    check_is_fitted(model)
    if model.n_features_in_ != 1:
        raise InputError(
            f"plot draws models with one input, and this one has {model.n_features_in_}: make rows in which "
            "one column varies, and give their predict_quantiles to nonparam.plotting.draw_bands"
        )
    ax = new_axes() if ax is None else ax
    x, y = model.observed()
    grid = _grid(x[:, 0])
    quantiles = _quantiles(model, grid).reshape(len(grid), y.shape[1], -1)
    if y.shape[1] == 1:
        draw_points(ax, x[:, 0], y[:, 0])
        draw_bands(ax, grid, quantiles[:, 0])
    else:
        _draw_outputs(ax, x[:, 0], y, grid, quantiles)
    _describe(ax, model)
    return ax


def new_axes() -> Axes:
    """Return axes of a new figure."""
    import matplotlib.pyplot as plt  # chooses a backend: only where a figure is to be made

    return plt.subplots(figsize=FIGURE_SIZE, layout="constrained")[1]


def _grid(x: Array) -> Array:
    """Return places over the range of the data and a little more; the data are among them, unless many."""
    low, high = float(x.min()), float(x.max())
    margin = MARGIN * (high - low) or max(1.0, 0.1 * abs(high))
    even = np.linspace(low - margin, high + margin, GRID)
    places = np.unique(x)
    return even if len(places) > GRID else np.union1d(even, places)


def _quantiles(model: GPRegressor, grid: Array) -> Array:
    """Return quantiles of new observations, the mean in place of the median: ``(m, q)`` or ``(m, t, q)``."""
    places = _table(model, grid)
    found: Array = model.predict_quantiles(places, band_probabilities())
    found[..., found.shape[-1] // 2] = model.predict(places)
    return found


def _table(model: GPRegressor, grid: Array) -> Any:
    """Return places as a table with the column's name, where it has one."""
    names = getattr(model, "feature_names_in_", None)
    if names is None:
        return grid[:, None]
    import pandas as pd

    return pd.DataFrame({names[0]: grid})


def _draw_outputs(ax: Axes, x: Array, y: Array, grid: Array, quantiles: Array) -> None:
    last = y.shape[1] - 1
    for j in range(y.shape[1]):
        color = COLORS[j % len(COLORS)]
        draw_points(ax, x, y[:, j], color=color, label="_")
        draw_bands(ax, grid, quantiles[:, j], color=color, label=f"output {j}", name_bands=j == last)


def plot_components(search: KernelSearch, axes: Sequence[Axes] | None = None) -> Sequence[Axes]:
    """Draw the data with the fit of a kernel search, and below them each additive term with its band.

    Args:
        search: fitted, with one column of ``X``.
        axes: one for the fit and one for each term; those of a new figure by default.

    Returns:
        The axes.

    Raises:
        InputError: several columns, or another number of axes.
    """
    check_is_fitted(search)
    model = search.best_estimator_
    if model.n_features_in_ != 1:
        raise InputError(f"plot draws searches with one input, and this one has {model.n_features_in_}")
    grid = _grid(model.posterior_.data.x[:, 0].cpu().numpy())
    parts = search.components(_table(model, grid))
    heights = [FIGURE_SIZE[1], *[PANEL] * len(parts)]
    axes = stacked_axes(heights) if axes is None else list(np.ravel(np.asarray(axes, dtype=object)))
    if len(axes) != 1 + len(parts):
        raise InputError(
            f"axes must be {1 + len(parts)}, one for the fit and one for each term; got {len(axes)}"
        )
    plot_regression(model, axes[0])
    probabilities = norm.ppf(band_probabilities())
    for i, (ax, (name, (mean, sd))) in enumerate(zip(axes[1:], parts.items(), strict=True), 1):
        draw_bands(ax, grid, mean[:, None] + sd[:, None] * probabilities, color=COLORS[i % len(COLORS)])
        ax.set_title(_wrapped(name), loc="left", fontsize="small", parse_math=False)
        ax.spines[["top", "right"]].set_visible(False)
        ax.margins(x=0.0)
    return axes


def stacked_axes(heights: Sequence[float]) -> list[Axes]:
    """Return axes of a new figure, one below the other, of these heights in inches."""
    import matplotlib.pyplot as plt

    size = (FIGURE_SIZE[0], sum(heights))
    _, axes = plt.subplots(
        len(heights), figsize=size, layout="constrained", squeeze=False, height_ratios=heights
    )
    return list(axes[:, 0])


def _describe(ax: Axes, model: GPRegressor) -> None:
    ax.set_xlabel(_name(model, "x"), parse_math=False)  # a name may hold a dollar sign
    ax.set_ylabel("y")
    ax.set_title(_wrapped(formula(model.kernel_)), loc="left", fontsize="small", parse_math=False)
    title = "bands without noise" if isinstance(getattr(model, "noise_", None), np.ndarray) else None
    ax.spines[["top", "right"]].set_visible(False)
    ax.margins(x=0.0)
    draw_legend(ax, title)


def _name(model: GPRegressor, otherwise: str) -> str:
    """Return the name of the first column."""
    return str(getattr(model, "feature_names_in_", [otherwise])[0])


def _wrapped(formula: str) -> str:
    """Break a formula into lines, only in front of ``+``, or of ``*`` where no number is before it.

    Examples:
        >>> print(_wrapped(" + ".join(["2 * linear(variance=1, center=0)"] * 3)))
        2 * linear(variance=1, center=0) + 2 * linear(variance=1, center=0)
        + 2 * linear(variance=1, center=0)
    """
    glued = re.sub(r"(?<=[,+*]) |(?<=\d) (?=\*)", "\N{NO-BREAK SPACE}", formula)
    lines = textwrap.wrap(glued, TITLE_WIDTH, break_long_words=False, break_on_hyphens=False)
    return "\n".join(lines).replace("\N{NO-BREAK SPACE}", " ")


def plot_spectrum(model: SpectralMixtureRegressor, ax: Axes | None = None) -> Axes:
    """Draw the learned spectral density over the periodogram of the data.

    Args:
        model: fitted, with one column and one output.
        ax: where to draw; a new figure by default.

    Returns:
        The axes.

    Raises:
        InputError: a model with several columns or outputs.
    """
    check_is_fitted(model)
    data = model.posterior_.data
    if data.x.shape[1] != 1 or data.y.shape[1] != 1:
        raise InputError(
            f"a spectrum is drawn of one column and one output, got {data.x.shape[1]} and {data.y.shape[1]}"
        )
    x, y = data.x[:, 0].cpu().numpy(), data.y.cpu().numpy()
    weights, span = data.weights.cpu().numpy(), float(np.ptp(data.x.cpu().numpy()))
    y = without_line(x, y, weights)  # whose side lobes would hide the rest
    at = np.arange(1.0, 2.0 * span * nyquist(x) + 1.0) / (2.0 * span)
    explained = periodogram_on_grid(x, y, weights, float(at[0]), len(at))
    power = explained * float(weights @ y[:, 0] ** 2 / weights.sum()) * span
    fine = np.linspace(at[0], at[-1], FREQUENCIES)
    waves = model.components()
    learned = _density(waves, fine, WINDOW / span)
    noise = float(np.mean(model.noise_)) / nyquist(x)
    ax = new_axes() if ax is None else ax
    ax.semilogy(at, power, ".", color=POINT_COLOR, markersize=3, label="periodogram, without its line")
    ax.semilogy(fine, learned + noise, color=COLORS[0], label="learned density")
    if noise > 0.0:  # there is no zero on a logarithmic axis
        ax.axhline(noise, color=COLORS[1], linestyle="--", linewidth=1.0, label="noise")
    lowest = float(np.quantile(power[power > 0.0], 0.05))
    ax.set_xlabel(f"frequency, cycles per unit of {_name(model, 'X')}", parse_math=False)
    ax.set(ylabel="density", xlim=(0.0, float(at[-1])))
    _label(ax, waves, WINDOW / span, noise)
    ax.set_ylim(0.3 * min(noise or lowest, lowest), 8.0 * float(max(power.max(), (learned + noise).max())))
    ax.legend(frameon=False, loc="upper right")
    return ax


def _density(waves: dict[str, Array], at: Array, window: float) -> Array:
    """Return the one-sided density at frequencies ``(k,)``, as a window sees it."""
    sd = np.hypot(waves["bandwidth"], window)
    sides = [np.exp(-0.5 * ((at[:, None] - sign * waves["frequency"]) / sd) ** 2) for sign in (1.0, -1.0)]
    density: Array = sum(sides) @ (waves["weight"] / (np.sqrt(2.0 * np.pi) * sd))
    return density


def _label(ax: Axes, waves: dict[str, Array], window: float, noise: float) -> None:
    """Write the period at each large peak."""
    heights = _density(waves, waves["frequency"], window) + noise
    shown = [i for i in np.argsort(-heights) if np.isfinite(waves["period"][i])][:MOST_LABELS]
    for i in shown:
        if heights[i] > CLEAR * noise:
            place = (float(waves["frequency"][i]), float(heights[i]))
            side = "left" if place[0] < EDGE * ax.get_xlim()[1] else "center"
            period = f"{waves['period'][i]:.4g}"
            ax.annotate(period, place, (0, 4), textcoords="offset points", ha=side, fontsize=9)


def plot_parts(model: GPRegressor, most: int = MOST_PARTS) -> list[Axes]:
    """Draw the largest parts of a fitted function that depend on one or two columns.

    A part of one column is a line with bands, without noise; ticks are the training rows. A part of two is a
    map of its posterior mean.

    Args:
        model: fitted, with one output.
        most: how many parts to draw.

    Returns:
        The axes, the part with the largest share first.

    Raises:
        InputError: several outputs, or no part that can be drawn.

    Examples:
        >>> x = np.random.default_rng(0).uniform(size=(40, 2))
        >>> model = GPRegressor("additive").fit(x, np.sin(6.0 * x[:, 0]))
        >>> [ax.get_title(loc="left") for ax in plot_parts(model, 1)]
        ['x0: 100 %']
    """
    import matplotlib.pyplot as plt

    check_is_fitted(model)
    check_count(most, "most", least=1)
    if model.posterior_.data.y.shape[1] != 1:
        raise InputError("plot_parts draws models with one output: fit one for each")
    parts = model._parts()
    share = shares(model.posterior_, parts)
    drawn = [i for i in np.argsort(-share, kind="stable") if len(parts[i].columns) in (1, 2)][:most]
    if not drawn:
        names = [part.name for part in parts]
        raise InputError(f"no part of one or two columns to draw among {names}: take kernel='additive'")
    columns = min(len(drawn), PANELS)
    lines = -(-len(drawn) // columns)
    size = (PANEL_SIZE[0] * columns, PANEL_SIZE[1] * lines)
    axes = plt.subplots(lines, columns, figsize=size, layout="constrained", squeeze=False)[1]
    for ax in axes.flat[len(drawn) :]:
        ax.remove()
    for ax, i in zip(axes.flat, drawn, strict=False):
        draw = _draw_line if len(parts[i].columns) == 1 else _draw_map
        draw(ax, model, parts[i])
        ax.set_title(f"{parts[i].name}: {100.0 * share[i]:.0f} %", loc="left", parse_math=False)
    return list(axes.flat[: len(drawn)])


def _draw_line(ax: Axes, model: GPRegressor, part: Part) -> None:
    (j,) = part.columns
    x, at = _varied(model, part.columns, LINE)
    mean, sd = (table[:, 0, 0] for table in model._moments([part], x, model._mean.basis(x)))
    quantiles = mean[:, None] + sd[:, None] * norm.ppf(band_probabilities())
    draw_bands(ax, at[0], quantiles)
    rug = model.posterior_.data.x[:, j].cpu().numpy()
    ax.plot(rug, np.zeros_like(rug), "|", transform=ax.get_xaxis_transform(), color=POINT_COLOR, alpha=0.3)
    ax.set_xlabel(model._column_names()[j], parse_math=False)
    ax.spines[["top", "right"]].set_visible(False)


def _draw_map(ax: Axes, model: GPRegressor, part: Part) -> None:
    x, (across, up) = _varied(model, part.columns, MAP)
    mean = model._moments([part], x, model._mean.basis(x))[0][:, 0, 0].reshape(MAP, MAP)
    size = float(np.abs(mean).max())
    image = ax.pcolormesh(across, up, mean.T, cmap="RdBu_r", vmin=-size, vmax=size, shading="gouraud")
    ax.figure.colorbar(image, ax=ax)
    rows = model.posterior_.data.x[:, list(part.columns)].cpu().numpy()
    ax.plot(*rows.T, ".", color=POINT_COLOR, markersize=2, alpha=0.5)
    names = model._column_names()
    ax.set_xlabel(names[part.columns[0]], parse_math=False)
    ax.set_ylabel(names[part.columns[1]], parse_math=False)


def _varied(model: GPRegressor, columns: tuple[int, ...], count: int) -> tuple[Tensor, list[Array]]:
    """Return rows in which some columns run over the training rows' range, and the places of each."""
    data = model.posterior_.data.x
    at = [torch.linspace(float(data[:, j].min()), float(data[:, j].max()), count).to(data) for j in columns]
    x = data.mean(0).repeat(count ** len(columns), 1)
    x[:, list(columns)] = torch.cartesian_prod(*at).reshape(len(x), -1)
    return x, [places.cpu().numpy() for places in at]
