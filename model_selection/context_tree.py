r"""Context-tree weighting: the exact evidence of a sequence under all suffix trees up to a depth.

A suffix tree says on which of the last symbols the next one depends; each of its leaves draws symbols from a
distribution of its own, with a Dirichlet prior of 1/2. Averaged over the distributions, a context in which
the symbols :math:`a` of an alphabet of :math:`A` came :math:`n_a` times explains them with

.. math:: P_e = \frac{\Gamma(A/2)}{\Gamma(n + A/2)} \prod_a \frac{\Gamma(n_a + 1/2)}{\Gamma(1/2)} ,

and averaged over the trees, in which each context above the greatest depth is a leaf with probability 1/2,

.. math:: P_w = \tfrac12 P_e + \tfrac12 \prod_{\text{longer contexts}} P_w .

The root's :math:`P_w` is the evidence. It is updated symbol by symbol, in a time that grows with the depth.

Source: Willems, Shtarkov and Tjalkens (1995), The context-tree weighting method: basic properties, IEEE
Transactions on Information Theory 41(3), 653-664, equations 6 and 10; larger alphabets: Tjalkens, Shtarkov
and Willems (1993), Sequential weighting algorithms for multi-alphabet sources.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Self

import numpy as np
from numpy.typing import NDArray

from nonparam.errors import InputError

__all__ = ["ContextTree"]

Array = NDArray[np.float64]

LOG_HALF = math.log(0.5)


@dataclass
class _Node:
    """A context: how often each symbol followed it, and the two evidences of what followed.

    Attributes:
        counts: ``(A,)``.
        own: ``log P_e``.
        below: the sum of ``log P_w`` over longer contexts.
        weighted: ``log P_w``.
        longer: by the symbol before the context.
    """

    counts: Array
    own: float = 0.0
    below: float = 0.0
    weighted: float = 0.0
    longer: dict[int, "_Node"] = field(default_factory=dict)


class ContextTree:
    """Predicts the next symbol of a sequence, and says how well all before were predicted.

    Args:
        alphabet: how many symbols there are; they are numbered from 0.
        depth: of the longest context, in symbols.

    Attributes:
        alphabet: how many symbols there are.
        depth: of the longest context.

    Raises:
        InputError: fewer than two symbols, or a negative depth.

    Examples:
        >>> tree = ContextTree(2, depth=3).extended([0, 1] * 20)
        >>> tree.probabilities().round(2)
        array([0.97, 0.03])
        >>> round(tree.bits, 1)
        8.5
    """

    def __init__(self, alphabet: int, depth: int) -> None:
        for value, name, least in ((alphabet, "alphabet", 2), (depth, "depth", 0)):
            if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
                raise InputError(f"{name} must be an integer, at least {least}; got {value!r}")
        self.alphabet, self.depth = int(alphabet), int(depth)
        self._root = self._node()
        self._past = [self.alphabet] * self.depth  # before the first symbol stands another one

    @property
    def log_evidence(self) -> float:
        """The log probability of the symbols so far, in nats."""
        return self._root.weighted

    @property
    def bits(self) -> float:
        """Minus the log probability of the symbols so far, in bits: their ideal code length."""
        return -self.log_evidence / math.log(2.0)

    def extended(self, symbols: Iterable[int]) -> Self:
        """Take in symbols, one after the other; return the tree.

        Raises:
            InputError: a symbol that is not in the alphabet.
        """
        for symbol in symbols:
            self._extend(symbol)
        return self

    def _extend(self, symbol: int) -> None:
        if isinstance(symbol, bool) or symbol != int(symbol) or not 0 <= symbol < self.alphabet:
            raise InputError(f"symbols must be numbers from 0 to {self.alphabet - 1}, got {symbol!r}")
        symbol, change = int(symbol), 0.0  # of log P_w, one context longer
        for length, node in reversed(list(enumerate(self._path(grow=True)))):
            node.own += math.log((node.counts[symbol] + 0.5) / (node.counts.sum() + 0.5 * self.alphabet))
            node.counts[symbol] += 1.0
            before, node.below = node.weighted, node.below + change
            mixed = LOG_HALF + float(np.logaddexp(node.own, node.below))
            node.weighted = node.own if length == self.depth else mixed
            change = node.weighted - before
        self._past = [*self._past, symbol][1:]

    def probabilities(self) -> Array:
        """Return the probabilities of the next symbol, ``(A,)``.

        Each context mixes what it says itself with what longer ones say, by their evidences so far.
        """
        found = np.full(self.alphabet, 1.0 / self.alphabet)  # of a context that never came
        for length, node in reversed(list(enumerate(self._path(grow=False)))):
            own = (node.counts + 0.5) / (node.counts.sum() + 0.5 * self.alphabet)
            share = 1.0 if length == self.depth else math.exp(node.own - np.logaddexp(node.own, node.below))
            found = share * own + (1.0 - share) * found
        return found

    def _node(self) -> _Node:
        return _Node(np.zeros(self.alphabet))

    def _path(self, *, grow: bool) -> list[_Node]:
        """Return the contexts of the next symbol, from the empty one on; those that are new only if grown."""
        path = [self._root]
        for symbol in reversed(self._past):
            longer = path[-1].longer
            if symbol not in longer:
                if not grow:
                    break
                longer[symbol] = self._node()
            path.append(longer[symbol])
        return path
