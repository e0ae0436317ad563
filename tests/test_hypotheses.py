"""Hypotheses given as distributions, and Bayes factors between them."""

import math

import numpy as np
import pytest
from scipy import stats

from nonparam.errors import InputError
from nonparam.model_selection import BayesFactor, Hypothesis, bayes_factor, kass_raftery, sensitivity

Y = np.array([1.2, 0.4, 2.1, 1.7])
ZERO = Hypothesis("zero", stats.norm(0.0, 1.0))


def mean_of_width(width):
    return Hypothesis("free", lambda a: stats.norm(a, 1.0), prior=stats.norm(0.0, width))


def exact(y, width):
    """Log density of outputs that share a mean of unknown value."""
    return stats.multivariate_normal(np.zeros(len(y)), np.eye(len(y)) + width**2).logpdf(y)


def test_one_distribution_for_each_datum_or_for_all():
    each = Hypothesis("each", stats.norm([0.0, 1.0, 2.0, 3.0], [1.0, 2.0, 1.0, 2.0]))
    both = Hypothesis("both", stats.multivariate_normal([0.0, 1.0, 2.0, 3.0], np.diag([1.0, 4.0, 1.0, 4.0])))
    assert each.log_evidence(Y) == pytest.approx(both.log_evidence(Y), abs=1e-12)
    assert ZERO.log_evidence(Y) == pytest.approx(stats.norm.logpdf(Y).sum())
    assert ZERO.log_evidence(1.5) == pytest.approx(stats.norm.logpdf(1.5))
    counts = Hypothesis("counts", stats.poisson(3.0))
    assert counts.log_evidence([2, 3]) == pytest.approx(stats.poisson(3.0).logpmf([2, 3]).sum())


@pytest.mark.parametrize("width", [0.01, 1.0, 1e4])
def test_a_free_parameter_is_averaged_over_its_prior(width):
    assert mean_of_width(width).log_evidence(Y) == pytest.approx(exact(Y, width), abs=1e-7)


def test_a_free_parameter_of_a_multivariate_distribution():
    shared = Hypothesis(
        "shared", lambda a: stats.multivariate_normal(np.full(4, a), np.eye(4)), prior=stats.norm(0.0, 2.0)
    )
    assert shared.log_evidence(Y) == pytest.approx(exact(Y, 2.0), abs=1e-7)


def test_bayes_factors_are_antisymmetric_and_multiply():
    a, b, c = mean_of_width(0.5), mean_of_width(3.0), ZERO
    factor = bayes_factor(a, b, Y)
    assert factor.log == -bayes_factor(b, a, Y).log
    assert factor.log + bayes_factor(b, c, Y).log == pytest.approx(bayes_factor(a, c, Y).log)
    assert factor.value == pytest.approx(np.exp(exact(Y, 0.5) - exact(Y, 3.0)), rel=1e-6)
    assert BayesFactor(1e4, "a", "b").value == math.inf and BayesFactor(-1e4, "a", "b").value == 0.0


def test_factor_that_no_float_holds_is_a_power_of_ten():
    assert str(BayesFactor(-2000.0, "a", "b")) == "10^868.6 to 1 for b against a: very strong"


def test_data_that_one_hypothesis_rules_out():
    half = Hypothesis("half", stats.uniform(0.0, 1.0))
    factor = bayes_factor(ZERO, half, Y)
    assert factor.log == math.inf and factor.words == "very strong" and factor.favours == "zero"
    assert str(factor) == "inf to 1 for zero against half: very strong"
    with pytest.raises(InputError, match="both 'half' and 'half' rule these data out"):
        bayes_factor(half, half, Y)


@pytest.mark.parametrize(
    ("twice", "words"),
    [
        (0.0, "not worth more than a bare mention"),
        (1.99, "not worth more than a bare mention"),
        (2.01, "positive"),
        (5.99, "positive"),
        (6.01, "strong"),
        (9.99, "strong"),
        (10.01, "very strong"),
        (math.inf, "very strong"),
    ],
)
def test_words_are_those_of_kass_and_raftery(twice, words):
    assert kass_raftery(twice / 2.0) == kass_raftery(-twice / 2.0) == words


def test_words_for_no_number_are_refused():
    with pytest.raises(InputError, match="must be a number, got nan"):
        kass_raftery(math.nan)


def test_sensitivity_is_a_table_of_bayes_factors():
    widths = [0.1, 1.0, 10.0, 1000.0]
    table = sensitivity(mean_of_width, ZERO, Y, widths)
    assert list(table.columns) == ["width", "log_bayes_factor", "favours", "words"]
    expected = [exact(Y, width) - exact(Y, 0.0) for width in widths]
    np.testing.assert_allclose(table["log_bayes_factor"], expected, atol=2e-7)
    assert list(table["favours"]) == ["free" if value > 0.0 else "zero" for value in expected]
    assert list(table["words"]) == [kass_raftery(value) for value in expected]


@pytest.mark.parametrize(
    ("widths", "message"),
    [
        ([1.0, np.inf], "a prior of infinite width is improper: an improper prior is defined up to a factor"),
        ([0.0], "widths must be positive numbers"),
        ([-1.0, 2.0], "widths must be positive numbers"),
        ([np.nan], "widths must be positive numbers"),
        ("wide", "widths must be a number or an array of numbers"),
    ],
)
def test_widths_that_are_none_are_refused(widths, message):
    with pytest.raises(InputError, match=message):
        sensitivity(mean_of_width, ZERO, Y, widths)


@pytest.mark.parametrize(
    ("hypothesis", "message"),
    [
        (mean_of_width(np.inf), "the prior of 'free' has the quartiles .* is not proper: an improper prior"),
        (Hypothesis("flat", stats.norm(0.0, np.inf)), "'flat' is spread over infinity: an improper prior is"),
        (Hypothesis("flat", stats.norm(0.0, [1.0, 1.0, np.inf, 1.0])), "'flat' is spread over infinity"),
        (Hypothesis("not frozen", stats.t), "expected a frozen distribution of scipy.stats"),
        (Hypothesis("number", 3.0), "expected a frozen distribution of scipy.stats"),
        (Hypothesis("free", lambda a: stats.norm(a)), "a function of a parameter needs a prior for that"),
        (Hypothesis("none", stats.norm(), prior=stats.norm()), "'none' has a prior and no parameter"),
        (Hypothesis("short", stats.norm([0.0, 1.0])), "the density of 'short' is none of these 4 data"),
        (
            Hypothesis("five", stats.multivariate_normal(np.zeros(5))),
            "the density of 'five' is none of these",
        ),
        (Hypothesis("few", stats.multivariate_normal(np.zeros(2))), "the density of 'few' is none of these"),
        (Hypothesis("wrong", stats.norm(0.0, -1.0)), "is spread over infinity|is nan: check its parameters"),
        (Hypothesis("wrong", lambda a: stats.norm(a, -1.0), stats.norm()), "the log likelihood is nan at"),
    ],
    ids=lambda value: value.name if isinstance(value, Hypothesis) else "",
)
def test_what_is_no_hypothesis_about_the_data_is_refused(hypothesis, message):
    with pytest.raises(InputError, match=message):
        hypothesis.log_evidence(Y)


def test_one_datum_is_not_counted_as_often_as_there_are_parameters():
    with pytest.raises(InputError, match=r"has values of shape \(4,\) for 1 data"):
        Hypothesis("many", stats.norm([0.0, 1.0, 2.0, 3.0])).log_evidence(1.0)


@pytest.mark.parametrize("y", [[], [[1.0, 2.0]], [np.nan], [1.0, np.inf], ["a"], None])
def test_data_that_are_none_are_refused(y):
    with pytest.raises(InputError, match="y must be"):
        ZERO.log_evidence(y)
