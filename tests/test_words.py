"""Expressions in plain words: every base kernel, in the user's units, with the numbers it was given."""

import matplotlib.pyplot as plt
import numpy as np
import pytest

from nonparam import GPRegressor, KernelSearch
from nonparam.errors import InputError
from nonparam.model_selection.expressions import Base, Change, Product, Sum
from nonparam.model_selection.words import Component, phrase, sentence
from nonparam.plotting import plot_components

X = np.linspace(0.0, 100.0, 51)[:, None]
LINE, ONE, WHITE = Base("linear"), Base("constant"), Base("white")
WAVE = Base("periodic", values={"period": 12.0, "lengthscale": 1.0})
SLOW = Base("rbf", values={"lengthscale": 80.0})
FAST = Base("rbf", values={"lengthscale": 8.0})
MIXED = Base("rq", values={"lengthscale": 8.0, "alpha": 1.0})


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        (ONE, "a constant"),
        (LINE, "a linear trend"),
        (Product((LINE, LINE)), "a quadratic trend"),
        (Product((LINE,) * 4), "a degree 4 polynomial trend"),
        (WAVE, "a wave with period 12 d"),
        (Base("cosine", values={"period": 7.125}), "a cosine wave with period 7.125 d"),
        (FAST, "a smooth function that changes over 8 d"),
        (SLOW, "a smooth trend that changes over 80 d"),
        (MIXED, "a function that changes over several scales around 8 d"),
        (Base("matern12", values={"lengthscale": 8.0}), "a rough function that changes over 8 d"),
        (WHITE, "independent noise"),
        (Product((WAVE, SLOW)), "a wave with period 12 d that changes its shape over 80 d"),
        (Product((LINE, FAST)), "a linear trend, times a smooth function that changes over 8 d"),
        (Product((WAVE, Sum((ONE, LINE)))), "a linear trend, times a wave with period 12 d"),
        (
            Product((WAVE, Sum((ONE, FAST)))),
            "a wave with period 12 d, times an amplitude that changes over 8 d",
        ),
        (
            Change(LINE, Sum((ONE, WAVE)), values={"location": 40.0, "width": 1.5}),
            "up to 40 d: a linear trend; beyond it: a constant, plus a wave with period 12 d "
            "(the change takes about 3 d)",
        ),
        (Base("periodic", 1, {"period": 3.0, "lengthscale": 1.0}), "a wave with period 3 d of column 1"),
    ],
    ids=repr,
)
def test_a_term_in_words(expression, words):
    assert phrase(expression, X, "d") == words


@pytest.mark.parametrize(
    ("x", "place", "words"),
    [
        (np.linspace(1990.0, 2005.0, 50), 2003.0417, "up to 2003.04 s:"),
        (np.linspace(1.6e9, 1.7e9, 50), 1.65432109e9, "up to 1654321090 s:"),
        (np.linspace(0.0, 1e-6, 50), 2.34567e-7, "up to 2.35e-07 s:"),
    ],
)
def test_places_have_the_digits_that_the_span_asks_for(x, place, words):
    change = Change(ONE, ONE, values={"location": place, "width": 1.0})
    assert phrase(change, x[:, None], "s").startswith(words)


def test_all_of_the_variance_is_100_percent():
    said = sentence([Component(LINE, X[:, 0], 0.9999)], 0.1, X, "", "")
    assert "(100 % of the variance)" in said


def test_units_may_be_missing():
    assert phrase(WAVE, X, "") == "a wave with period 12"


def test_the_largest_part_comes_first_and_slopes_have_units():
    falling = Component(LINE, -0.25 * X[:, 0], 0.1)
    wave = Component(WAVE, np.sin(X[:, 0]), 0.85)
    assert sentence([falling, wave, Component(ONE, X[:, 0], 0.0)], 0.5, X, "d", "kg").splitlines() == [
        "y is",
        "- a wave with period 12 d (85 % of the variance),",
        "- plus a linear trend, falling by 25 kg in 100 d (10 % of the variance),",
        "- plus noise with standard deviation 0.5 kg",
    ]


def test_noise_that_was_given_row_by_row():
    assert sentence([], None, X, "", "").splitlines() == [
        "y is",
        "- a constant,",
        "- plus noise whose variance was given",
    ]


@pytest.fixture(scope="module")
def found():
    rng = np.random.default_rng(0)
    y = 2.0 * X[:, 0] + 30.0 * np.sin(2 * np.pi * X[:, 0] / 12.5) + rng.standard_normal(len(X))
    estimator = GPRegressor(noise=1.0)
    return KernelSearch(estimator, base_kernels=["linear", "periodic"], max_depth=2, beam=1).fit(X, y)


def test_what_a_search_found_in_words(found):
    lines = found.describe("days", "kg").splitlines()
    assert len(lines) == 4
    rise, _, _, span = lines[1].split("rising by ")[1].split()[:4]
    slope = float(rise) / float(span)
    period = float(lines[2].split("period ")[1].split()[0])
    assert slope == pytest.approx(2.0, rel=0.02) and period == pytest.approx(12.5, rel=0.01)
    assert "days (" in lines[1] and lines[3] == "- plus noise with standard deviation 1 kg"


def test_the_picture_shows_the_fit_and_each_term(found):
    plt.switch_backend("Agg")
    axes = found.plot()
    assert [ax.get_title(loc="left") for ax in axes[1:]] == ["linear", "periodic"]
    line, wave = (ax.lines[0] for ax in axes[1:])
    for curve, name in ((line, "linear"), (wave, "periodic")):
        x, y = curve.get_data()
        np.testing.assert_allclose(y, found.components(x[:, None])[name][0])
    band = axes[2].collections[-1].get_paths()[0].vertices
    mean, sd = found.components(X)["periodic"]
    assert band[:, 1].max() == pytest.approx((mean + 1.96 * sd).max(), rel=0.05)
    plt.close(axes[0].figure)


def test_axes_must_be_as_many_as_parts(found):
    _, axes = plt.subplots(2)
    with pytest.raises(InputError, match="axes must be 3, one for the fit and one for each term; got 2"):
        plot_components(found, axes)
    plt.close("all")
