"""What a forecaster found, in words: every sentence, every rounding."""

from dataclasses import replace

import numpy as np
import pytest

from nonparam.forecasting.transforms import IDENTITY, LOG
from nonparam.forecasting.words import Estimate, Findings, Reading, describe, odds, rounded

PASSENGERS = Findings(
    name="passengers",
    step="month",
    first="1949-01",
    last="1960-12",
    observations=144,
    missing=0,
    reading=Reading(LOG, 300.0, "thousands"),
    transforms={"identity": -490.0, "log": -465.0},
    seasons={(12.0,): -465.0, (): -580.0},
    swing=(-0.2, 0.21),
    share=0.093,
    trend=Estimate(0.1, 0.02),
    span="year",
    noise=0.021,
    effects={},
    cautions=(),
)


def line(label, **changes):
    """The sentence that begins with a label."""
    (found,) = [row for row in describe(replace(PASSENGERS, **changes)).splitlines() if row.startswith(label)]
    return found


def test_the_whole_story():
    assert describe(PASSENGERS) == "\n".join(
        [
            "passengers: 144 observations, a step is one month, 1949-01 to 1960-12, none missing.",
            "Scale: the logarithm, 10^11 times as probable as the series as it is: its swings grow with its "
            "level.",
            "Season: 12 months, certain, 10^50 times as probable as none; it moves the series from -18 % to "
            "+23 % and makes 9.3 % of its variance.",
            "Trend: +11 % (95 %: +6.3 to +15) over the last year.",
            "Noise: 2.1 %, the standard deviation of one observation around the rest.",
        ]
    )


@pytest.mark.parametrize(
    ("n", "missing", "words"),
    [
        (1, 0, "passengers: 1 observation, a step is"),
        (12345, 0, "passengers: 12,345 observations, "),
        (75, 25, ", 25 more missing (25 %)."),
        (29999, 1, ", 1 more missing (0.0033 %)."),
    ],
)
def test_what_was_seen(n, missing, words):
    assert words in line("passengers", observations=n, missing=missing)


@pytest.mark.parametrize(
    ("transforms", "words"),
    [
        ({"identity": -1.0}, "Scale: the series as it is; no other was tried."),
        ({"log": -1.0}, "Scale: the logarithm; no other was tried."),
        ({"identity": -1.0, "log": -1.01}, "it is, equally as probable as the logarithm."),
        ({"identity": -1.0, "log": -2.0}, "the series as it is, 2.7 times as probable as the logarithm."),
        ({"identity": -1.0, "log": -4.0}, "20 times as probable as the logarithm: its swings do"),
        ({"sqrt": -1.0, "log": -9.0, "identity": -3.0}, "sqrt, 7.4 times as probable as the series as"),
    ],
)  # fmt: skip
def test_which_scale_and_why(transforms, words):
    assert words in line("Scale", transforms=transforms)


@pytest.mark.parametrize(
    ("seasons", "words"),
    [
        ({(): -3.0}, "Season: none was looked for."),
        ({(7.0,): -3.0}, "Season: 7 months; it moves the series from -18 % to +23 % and"),
        ({(7.0,): -3.0, (): -4.0}, "7 months, probability 73 %, 2.7 times as probable as none; it"),
        ({(7.0,): -9.0, (6.5,): -3.0, (): -4.0}, "Season: 6.5 months, probability 73 %"),
        ({(7.0,): -4.0, (): -3.0}, "probably none (probability of one of 7 months: 27 %); a series "),
        ({(7.0,): -1000.0, (): -3.0}, "probably none (probability of one of 7 months: below 0.1 %)"),
    ],
)  # fmt: skip
def test_whether_there_is_a_season(seasons, words):
    assert words in line("Season", seasons=seasons)


def test_changes_are_told_in_units_or_in_percent():
    units = Reading(IDENTITY, 300.0, "thousands")
    assert line("Noise", reading=units, noise=12.34).startswith("Noise: 12 thousands, ")
    assert line("Noise", reading=Reading(IDENTITY, 0.0, ""), noise=0.01234).startswith("Noise: 0.012, ")
    assert "+31 thousands (95 %: +11 to +51) over the last" in line(
        "Trend", reading=units, trend=Estimate(31.0, 10.0)
    )
    effects = {"price": Estimate(-0.5, 0.1), "Easter": Estimate(0.02, 0.05)}
    assert line("Effect of price", effects=effects) == "Effect of price: -39 % (95 %: -50 to -26)."
    assert line("Effect of Easter", effects=effects) == "Effect of Easter: +2.0 % (95 %: -7.5 to +13)."


@pytest.mark.parametrize("step", [-2.0, -1e-3, 0.0, 0.5, 3.0])
def test_a_change_is_what_it_makes_of_the_level(step):
    assert Reading(LOG, 50.0, "").change(step) == pytest.approx(100.0 * np.expm1(step), abs=1e-12)
    assert Reading(IDENTITY, 50.0, "").change(step) == pytest.approx(step, abs=1e-12)


def test_cautions_come_last_and_a_series_without_a_trend_has_no_sentence_on_it():
    text = describe(replace(PASSENGERS, trend=None, cautions=("few cycles.", "much is missing.")))
    assert text.splitlines()[-2:] == ["Caution: few cycles.", "Caution: much is missing."]
    assert "Trend" not in text


@pytest.mark.parametrize(
    ("nats", "words"),
    [
        (0.0, "equally"),
        (0.04, "equally"),
        (0.06, "1.1 times"),
        (6.9, "990 times"),
        (7.0, "10^3 times"),
        (1e4, "10^4343 times"),
    ],
)
def test_odds(nats, words):
    assert odds(nats) == words


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (0.0, "0"),
        (-0.0, "0"),
        (0.99999, "1.0"),
        (-0.034567, "-0.035"),
        (99.7, "100"),
        (1234.0, "1,200"),
        (4.4e-4, "0.00044"),
        (4.4e-5, "4.4e-05"),
        (9.9e-6, "9.9e-06"),
        (1.26e9, "1.3e+09"),
        (-np.inf, "-inf"),
    ],
)
def test_rounding(value, words):
    assert rounded(value) == words
