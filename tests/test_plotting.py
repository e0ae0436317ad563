"""Pictures: what is drawn equals what the model predicts, and nothing global is touched."""

import datetime

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.exceptions import NotFittedError

from nonparam import GPRegressor
from nonparam.errors import InputError
from nonparam.plotting import COLORS, band_probabilities, draw_bands, draw_points, plot_regression

rng = np.random.default_rng(0)
TIME = np.sort(rng.uniform(0.0, 6.0, 15))
Y = np.sin(TIME) + 0.1 * rng.normal(size=15)
TABLE = pd.DataFrame({"time in $ of $": TIME})


@pytest.fixture(autouse=True)
def headless():
    backend = matplotlib.get_backend()
    plt.switch_backend("Agg")
    yield
    plt.close("all")
    plt.switch_backend(backend)


@pytest.fixture(scope="module")
def model() -> GPRegressor:
    return GPRegressor("rbf").fit(TABLE, Y)


def labels(ax: Axes) -> list[str]:
    return [text.get_text() for text in ax.get_legend().get_texts()]


def line(ax: Axes, label: str) -> np.ndarray:
    return next(item for item in ax.lines if item.get_label() == label).get_xydata()


def band(ax: Axes, label: str) -> np.ndarray:
    """The lowest and highest value of a band at each of its places, ``(m, 3)``."""
    shape = next(item for item in ax.collections if item.get_label() == label)
    corners = pd.DataFrame(shape.get_paths()[0].vertices).groupby(0)[1]
    return np.column_stack([list(corners.groups), corners.min(), corners.max()])


def test_a_band_of_one_row_is_a_dot_and_bars():
    ax = Figure().add_subplot()
    draw_bands(ax, [3.0], [[-2.0, -1.0, 0.0, 1.0, 2.0]], [0.5, 0.9])
    (line,), (inner, outer) = ax.lines, ax.collections
    assert line.get_marker() == "o" and line.get_xydata().tolist() == [[3.0, 0.0]]
    assert inner.get_segments()[0].tolist() == [[3.0, -1.0], [3.0, 1.0]]
    assert outer.get_segments()[0].tolist() == [[3.0, -2.0], [3.0, 2.0]]
    assert inner.get_alpha() > outer.get_alpha() and inner.get_linewidth()[0] > 3.0


def test_line_bands_and_dots_are_the_model_and_the_data(model):
    ax = plot_regression(model)
    dots, mean = line(ax, "data"), line(ax, "mean")
    np.testing.assert_allclose(dots, np.column_stack([TIME, Y]), rtol=1e-12)
    at = pd.DataFrame({TABLE.columns[0]: mean[:, 0]})
    expected, sd = model.predict(at, return_std=True)
    np.testing.assert_allclose(mean[:, 1], expected, rtol=1e-9)
    for label, quantile in (("50 %", 0.6744897501960817), ("95 %", 1.959963984540054)):
        drawn = band(ax, label)
        np.testing.assert_allclose(drawn[:, 0], mean[:, 0])
        np.testing.assert_allclose(drawn[:, 1], expected - quantile * sd, rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(drawn[:, 2], expected + quantile * sd, rtol=1e-9, atol=1e-9)


def test_curves_pass_through_every_row_and_reach_beyond_the_data(model):
    places = line(plot_regression(model), "mean")[:, 0]
    assert np.isin(TIME, places).all() and (np.diff(places) > 0).all()
    assert places[0] < TIME[0] and places[-1] > TIME[-1]


def test_names_and_formula_are_written_as_they_are(model):
    ax = plot_regression(model)
    assert ax.get_xlabel() == "time in $ of $" and ax.get_ylabel() == "y"
    assert ax.get_title(loc="left") == repr(model.kernel_)
    assert labels(ax) == ["data", "mean", "50 %", "95 %"]
    ax.figure.canvas.draw()  # a dollar sign must not be read as mathematics


@pytest.mark.parametrize(("size", "columns"), [((8.0, 4.5), 5), ((3.0, 2.0), 3), ((2.0, 2.0), 2)])
def test_the_legend_is_no_wider_than_the_axes_and_hides_nothing(model, size, columns):
    ax = plot_regression(model, Figure(size).add_subplot())
    ax.figure.canvas.draw()
    legend = ax.get_legend()
    box, inside = legend.get_window_extent(), ax.get_window_extent().padded(1e-6)
    assert inside.x0 <= box.x0 and box.x1 <= inside.x1
    assert inside.y0 <= box.y0 and box.y1 <= inside.y1
    assert legend._ncols == columns and legend.get_frame().get_alpha() < 0.5


def test_a_long_formula_is_broken_in_front_of_operators_only():
    kernel = "linear + periodic(2) * rbf + rq + linear * periodic(3, zero_mean=True) + white"
    model = GPRegressor(kernel).fit(TIME[:, None], Y)
    title = plot_regression(model).get_title(loc="left")
    first, *rest = title.split("\n")
    assert rest and all(part.startswith(("+ ", "* ")) for part in rest)
    assert max(map(len, [first, *rest])) <= 90 and " ".join([first, *rest]) == repr(model.kernel_)


def test_axes_that_are_given_are_used_and_no_figure_is_made(model):
    given = Figure().add_subplot()
    assert plot_regression(model, given) is given
    assert model.plot(given) is given
    assert plt.get_fignums() == []


def test_nothing_is_shown_and_no_setting_changes(model, monkeypatch):
    monkeypatch.setattr(plt, "show", lambda *_, **__: pytest.fail("shown"))
    before = dict(matplotlib.rcParams)
    assert isinstance(model.plot(), Axes)
    assert dict(matplotlib.rcParams) == before and len(plt.get_fignums()) == 1


def test_each_output_has_a_line_in_its_own_colour():
    y = np.column_stack([Y, 100.0 * Y + 5.0])
    ax = plot_regression(GPRegressor("rbf").fit(TIME[:, None], y))
    assert labels(ax) == ["output 0", "output 1", "50 %", "95 %"]
    drawn = [item for item in ax.lines if item.get_label().startswith("output")]
    assert [item.get_color() for item in drawn] == list(COLORS[:2])
    dots = [item.get_ydata() for item in ax.lines if item.get_linestyle() == "None"]
    np.testing.assert_allclose(np.column_stack(dots), y, rtol=1e-12)


def test_bands_of_a_model_with_noise_per_row_say_that_noise_is_not_in_them(model):
    ax = plot_regression(GPRegressor("rbf", noise=np.full(15, 0.01)).fit(TIME[:, None], Y))
    assert ax.get_legend().get_title().get_text() == "bands without noise"
    assert plot_regression(model).get_legend().get_title().get_text() == ""


@pytest.mark.parametrize("x", [[0.0], [3e9], [-2.0, -2.0], [1e-12, 2e-12], [1e12, 3e12]])
def test_few_rows_and_any_scale(x):
    ax = plot_regression(GPRegressor("rbf").fit(np.reshape(x, (-1, 1)), np.arange(float(len(x)))))
    low, high = ax.get_xlim()
    assert low < min(x) and high > max(x)
    assert np.isfinite(line(ax, "mean")).all()
    ax.figure.canvas.draw()


def test_more_rows_than_the_grid_has_places():
    x = np.linspace(0.0, 1.0, 700)
    model = GPRegressor("rbf(0.3, fixed=('lengthscale',))", noise=0.1).fit(x[:, None], x)
    places = line(plot_regression(model), "mean")[:, 0]
    assert len(places) == 600 and len(line(plot_regression(model), "data")) == 700


def test_many_dots_are_smaller_and_fainter():
    ax = Figure().add_subplot()
    for n in (10, 1000, 100_000):
        draw_points(ax, np.zeros(n), np.zeros(n))
    sizes = [item.get_markersize() for item in ax.lines]
    alphas = [item.get_alpha() for item in ax.lines]
    assert sizes == sorted(sizes, reverse=True) and alphas == sorted(alphas, reverse=True)
    assert sizes[0] > sizes[-1] and alphas[0] > alphas[-1]
    assert [item.get_rasterized() for item in ax.lines] == [False, False, True]


def test_bands_take_dates_and_any_number_of_coverages():
    days = [datetime.datetime(2020, 1, day) for day in (1, 2, 3)]
    ax, coverages = Figure().add_subplot(), [0.9, 0.5, 0.99]
    quantiles = np.tile(band_probabilities(coverages), (3, 1))
    draw_bands(ax, days, quantiles, coverages, label="median", color="black")
    assert [item.get_label() for item in ax.collections] == ["50 %", "90 %", "99 %"]
    assert line(ax, "median")[:, 1].tolist() == [0.5, 0.5, 0.5]
    for label, low, high in (("50 %", 0.25, 0.75), ("90 %", 0.05, 0.95), ("99 %", 0.005, 0.995)):
        np.testing.assert_allclose(band(ax, label)[:, 1:], [[low, high]] * 3)
    alphas = [item.get_alpha() for item in ax.collections]
    assert alphas == sorted(alphas, reverse=True) and len(set(alphas)) == 3


def test_another_number_of_quantiles_is_refused():
    with pytest.raises(InputError, match=r"quantiles must have 5 columns, .* got an array of shape \(2, 3\)"):
        draw_bands(Figure().add_subplot(), [0.0, 1.0], np.zeros((2, 3)))


def test_two_inputs_are_refused_with_advice():
    model = GPRegressor("rbf").fit(np.column_stack([TIME, TIME**2]), Y)
    with pytest.raises(InputError, match=r"one input, and this one has 2: make rows .*draw_bands"):
        plot_regression(model)


def test_an_unfitted_model_is_refused():
    with pytest.raises(NotFittedError, match="not fitted"):
        plot_regression(GPRegressor())
