r"""How far a sequence can be compressed: by a dictionary, by phrases, by a mixture over suffix trees.

All are upper bounds of its Kolmogorov complexity, up to a constant, and of different machines.
"""

import math
import zlib
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from nonparam.errors import InputError
from nonparam.model_selection.context_tree import ContextTree

__all__ = ["complexity", "lz76", "zlib_rate"]

Codes = NDArray[np.intp]

MEASURES = ("zlib", "lz76", "context-tree")


def complexity(
    values: Any, measure: Literal["zlib", "lz76", "context-tree"] = "lz76", *, depth: int = 8
) -> float:
    r"""Return the bits that a sequence takes for each of its symbols.

    * ``"zlib"``: eight times the bytes that zlib's best compression takes, over the number of symbols;
    * ``"lz76"``: :math:`c \log_2 n / n` for :math:`c` phrases, which tends to the entropy rate of a
      stationary source;
    * ``"context-tree"``: minus the log evidence under all suffix trees, over the number of symbols.

    Args:
        values: a sequence of numbers, symbols or text, or an array, which is read row by row.
        measure: what to count.
        depth: of the longest context, with ``"context-tree"``.

    Raises:
        InputError: an unknown measure, or nothing to measure.

    Source: Lempel and Ziv (1976), On the complexity of finite sequences, IEEE Transactions on Information
    Theory 22(1); Willems, Shtarkov and Tjalkens (1995), The context-tree weighting method.

    Examples:
        >>> rng = np.random.default_rng(0)
        >>> coin, clock = rng.integers(0, 2, 2000), np.arange(2000) % 2
        >>> [round(complexity(each, "context-tree"), 2) for each in (coin, clock)]
        [1.0, 0.01]
        >>> [round(complexity(each, "lz76"), 2) for each in (coin, clock)]
        [1.03, 0.02]
    """
    if measure not in MEASURES:
        raise InputError(f"measure must be one of {MEASURES}, got {measure!r}")
    codes = _codes(values)
    n = len(codes)
    if measure == "zlib":
        return zlib_rate(codes)
    if measure == "lz76":
        return lz76(codes) * max(math.log2(n), 1.0) / n
    return ContextTree(max(int(codes.max()) + 1, 2), depth).extended(codes.tolist()).bits / n


def zlib_rate(values: Any) -> float:
    """Return the bits for each symbol of what zlib compresses a sequence to.

    Raises:
        InputError: nothing to measure, or more than 256 different symbols.
    """
    codes = _codes(values)
    if codes.max() > 255:
        raise InputError(f"zlib compresses bytes: expected at most 256 symbols, got {int(codes.max()) + 1}")
    return 8.0 * len(zlib.compress(codes.astype(np.uint8).tobytes(), 9)) / len(codes)


def lz76(values: Any) -> int:
    """Return the number of phrases of a sequence: each is the shortest that did not come before.

    Raises:
        InputError: nothing to measure.

    Source: Kaspar and Schuster (1987), Easily calculable measure for the complexity of spatiotemporal
    patterns, Physical Review A 36(2), 842-848, for the count.

    Examples:
        >>> lz76("0001101001000101")
        6
    """
    text = "".join(chr(code + 1) for code in _codes(values).tolist())
    phrases, start, n = 0, 0, len(text)
    while start < n:
        end = start + 1
        while end <= n and text.find(text[start:end], 0, end - 1) >= 0:  # it may overlap what it copies
            end += 1
        phrases, start = phrases + 1, end
    return phrases


def _codes(values: Any) -> Codes:
    """Return the numbers of the symbols of a sequence, in their order."""
    symbols = np.asarray(list(values) if isinstance(values, str) else values).reshape(-1)
    if len(symbols) == 0:
        raise InputError("a sequence needs a symbol to be measured, got none")
    return np.asarray(np.unique(symbols, return_inverse=True)[1])
