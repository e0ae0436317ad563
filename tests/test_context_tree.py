"""Context-tree weighting: the evidence is the sum over all trees, and it predicts what it says."""

import itertools
import math

import numpy as np
import pytest
from scipy.special import gammaln

from nonparam.errors import InputError
from nonparam.model_selection import ContextTree

RNG = np.random.default_rng(3)


def log_dirichlet(counts):
    counts = np.asarray(counts, dtype=float)
    a, n = len(counts), counts.sum()
    return gammaln(a / 2) - gammaln(n + a / 2) + gammaln(counts + 0.5).sum() - a * gammaln(0.5)


def trees(context, depth, symbols):
    """All suffix trees below a context: their leaves, and the log of their prior."""
    if len(context) == depth:
        yield [context], 0.0
        return
    yield [context], math.log(0.5)
    branches = [list(trees((symbol, *context), depth, symbols)) for symbol in symbols]
    for chosen in itertools.product(*branches):
        leaves = [leaf for part, _ in chosen for leaf in part]
        yield leaves, math.log(0.5) + sum(prior for _, prior in chosen)


def naive(sequence, alphabet, depth):
    """The evidence written out: over all trees, each leaf with the counts of what followed it."""
    padded = [alphabet] * depth + list(sequence)
    totals = []
    for leaves, prior in trees((), depth, range(alphabet + 1)):
        counts = {leaf: np.zeros(alphabet) for leaf in leaves}
        for i, symbol in enumerate(sequence):
            past = tuple(padded[i : i + depth])
            (leaf,) = [each for each in leaves if past[depth - len(each) :] == each]
            counts[leaf][symbol] += 1
        totals.append(prior + sum(log_dirichlet(each) for each in counts.values()))
    return np.logaddexp.reduce(totals)


@pytest.mark.parametrize(("alphabet", "depth"), [(2, 0), (2, 1), (2, 2), (3, 1)])
def test_the_evidence_is_the_sum_over_all_trees(alphabet, depth):
    sequence = RNG.integers(0, alphabet, 14).tolist()
    tree = ContextTree(alphabet, depth).extended(sequence)
    assert tree.log_evidence == pytest.approx(naive(sequence, alphabet, depth), abs=1e-10)
    assert tree.bits == pytest.approx(-tree.log_evidence / math.log(2.0))


@pytest.mark.parametrize("depth", [0, 1, 4])
def test_probabilities_are_how_the_evidence_goes_on(depth):
    sequence = RNG.integers(0, 3, 40).tolist()
    tree = ContextTree(3, depth)
    for symbol in sequence:
        before, shares = tree.log_evidence, tree.probabilities()
        assert shares.sum() == pytest.approx(1.0) and (shares > 0.0).all()
        tree.extended([symbol])
        assert tree.log_evidence - before == pytest.approx(math.log(shares[symbol]), abs=1e-10)


def test_a_source_with_memory_is_found_out():
    symbols = [0, 1]
    for _ in range(3000):  # the last but one symbol, with one in ten wrong
        symbols.append(symbols[-2] ^ int(RNG.random() < 0.1))
    rates = [ContextTree(2, depth).extended(symbols).bits / len(symbols) for depth in (0, 1, 2, 6)]
    wrong = np.mean(np.array(symbols[2:]) != np.array(symbols[:-2]))
    entropy = -wrong * math.log2(wrong) - (1.0 - wrong) * math.log2(1.0 - wrong)
    assert rates[0] > 0.95 and rates[1] > 0.95
    assert entropy - 0.01 < rates[2] < entropy + 0.02 and rates[3] < rates[2] + 0.01


def test_deep_trees_of_long_sequences_are_finite():
    tree = ContextTree(2, 40).extended(RNG.integers(0, 2, 3000).tolist())
    assert 0.99 < tree.bits / 3000 < 1.05 and np.isfinite(tree.probabilities()).all()


@pytest.mark.parametrize(("alphabet", "depth"), [(1, 2), (2, -1), (True, 2), (2.5, 1)])
def test_sizes_that_cannot_be_are_refused(alphabet, depth):
    with pytest.raises(InputError, match="must be an integer, at least"):
        ContextTree(alphabet, depth)


@pytest.mark.parametrize("symbol", [-1, 2, 0.5])
def test_symbols_outside_the_alphabet_are_refused(symbol):
    with pytest.raises(InputError, match="symbols must be numbers from 0 to 1"):
        ContextTree(2, 2).extended([0, symbol])
