"""Measures of complexity: known parses, entropy rates, and order among cellular automata."""

import numpy as np
import pytest

from nonparam.errors import InputError
from nonparam.model_selection import complexity, lz76, zlib_rate

RNG = np.random.default_rng(5)
MEASURES = ("zlib", "lz76", "context-tree")


def naive_lz76(text):
    """The parse of Lempel and Ziv as their paper tells it."""
    phrases, i = 0, 0
    while i < len(text):
        size = 1
        while i + size <= len(text) and text[i : i + size] in text[: i + size - 1]:
            size += 1
        phrases, i = phrases + 1, i + size
    return phrases


@pytest.mark.parametrize(
    ("text", "phrases"), [("0001101001000101", 6), ("0" * 50, 2), ("01" * 20, 3), ("a", 1), ("abc", 3)]
)
def test_known_parses(text, phrases):
    assert lz76(text) == naive_lz76(text) == phrases


def test_parses_of_random_sequences_are_the_naive_ones():
    for alphabet in (2, 5):
        text = "".join(map(str, RNG.integers(0, alphabet, 300)))
        assert lz76(text) == naive_lz76(text)


@pytest.mark.parametrize("measure", MEASURES)
def test_names_and_shapes_of_symbols_do_not_count(measure):
    codes = RNG.integers(0, 3, (20, 10))
    found = complexity(codes, measure)
    assert complexity(codes.ravel().tolist(), measure) == found
    assert complexity(10.0 * codes - 3.0, measure) == found
    assert complexity("".join("xyz"[code] for code in codes.ravel()), measure) == found


def test_rates_of_long_sequences_are_near_the_entropy():
    biased = (RNG.random(20_000) < 0.1).astype(int)
    entropy = -0.1 * np.log2(0.1) - 0.9 * np.log2(0.9)
    assert complexity(biased, "context-tree") == pytest.approx(entropy, abs=0.01)
    assert entropy - 0.02 < complexity(biased, "lz76") < 1.2 * entropy
    assert entropy - 0.02 < complexity(biased, "zlib") < 1.5 * entropy


@pytest.mark.parametrize("measure", MEASURES)
def test_one_symbol_and_constant_sequences(measure):
    assert np.isfinite(complexity([7], measure))
    assert complexity(np.zeros(1000), measure) < 0.2


def test_what_cannot_be_measured_is_refused():
    with pytest.raises(InputError, match="needs a symbol to be measured, got none"):
        complexity([])
    with pytest.raises(InputError, match="measure must be one of"):
        complexity([1, 2], "entropy")
    with pytest.raises(InputError, match="expected at most 256 symbols, got 300"):
        zlib_rate(np.arange(300))
