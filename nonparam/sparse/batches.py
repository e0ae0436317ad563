"""Rows in batches, from memory, from a file that is mapped, or from whatever yields them, each checked."""

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from nonparam.errors import InputError

__all__ = ["BatchRows", "Batches", "MappedRows", "Rows", "TableRows"]

Array = NDArray[np.float64]
Pair = tuple[Array, Array]
Read = Callable[[Any, Any], Pair]
Batches = Callable[[], Iterable[Any]] | Iterable[Any]

RUN = 64  # rows of a mapped file that are read in one piece: a page or more
LARGE = 16_384  # rows that are passed on at once where their order is of no matter


class Rows(Protocol):
    """Rows that can be read again and again."""

    def epoch(self, size: int, rng: np.random.RandomState) -> Iterator[Pair]:
        """Yield all rows once, in batches of at most ``size``, in random order as far as possible."""

    def in_order(self) -> Iterator[Pair]:
        """Yield all rows once."""

    def sample(self, size: int, rng: np.random.RandomState) -> tuple[Array, Array, int]:
        """Return at most ``size`` random rows in random order, and how many there are in all."""


@dataclass(frozen=True)
class TableRows:
    """Rows in memory that are checked already.

    Attributes:
        x: ``(n, d)``.
        y: ``(n, t)``.
    """

    x: Array
    y: Array

    def epoch(self, size: int, rng: np.random.RandomState) -> Iterator[Pair]:
        """Yield all rows once in random order."""
        yield from _pieces(self.x, self.y, size, rng)

    def in_order(self) -> Iterator[Pair]:
        """Yield all rows once."""
        yield self.x, self.y

    def sample(self, size: int, rng: np.random.RandomState) -> tuple[Array, Array, int]:
        """Return random rows, and how many there are in all."""
        some = rng.permutation(len(self.x))[:size]
        return self.x[some], self.y[some], len(self.x)


@dataclass(frozen=True)
class MappedRows:
    """Rows of files that are mapped into memory (`numpy.memmap`), in short runs from random places.

    Attributes:
        x: ``(n, d)``.
        y: ``(n,)`` or ``(n, t)``.
        read: checks a batch.
    """

    x: Any
    y: Any
    read: Read

    def epoch(self, size: int, rng: np.random.RandomState) -> Iterator[Pair]:
        """Yield all rows once, in runs that lie side by side in the file."""
        starts = rng.permutation(np.arange(0, len(self.x), RUN))
        for some in np.array_split(starts, -(-len(starts) // max(size // RUN, 1))):
            runs = [slice(start, start + RUN) for start in np.sort(some)]
            yield self._read(np.concatenate([np.r_[run] for run in runs]))

    def in_order(self) -> Iterator[Pair]:
        """Yield all rows once."""
        for start in range(0, len(self.x), LARGE):
            yield self._read(slice(start, start + LARGE))

    def sample(self, size: int, rng: np.random.RandomState) -> tuple[Array, Array, int]:
        """Return random rows, and how many there are in all."""
        some = rng.choice(len(self.x), min(size, len(self.x)), replace=False)
        x, y = self._read(np.sort(some))
        order = rng.permutation(len(x))
        return x[order], y[order], len(self.x)

    def _read(self, index: Any) -> Pair:
        if isinstance(index, np.ndarray):
            index = index[index < len(self.x)]
        for name, mapped in (("X", self.x), ("y", self.y)):
            check_whole(mapped, name)
        return self.read(self.x[index], self.y[index])


def check_whole(mapped: Any, name: str) -> None:
    """Raise `InputError` for a mapped file that is too short: reading beyond its end kills the process."""
    file = getattr(mapped, "filename", None)
    if not isinstance(mapped, np.memmap) or file is None:
        return
    needed, found = mapped.offset + mapped.nbytes, os.path.getsize(file) if os.path.exists(file) else 0
    if found < needed:
        raise InputError(
            f"the file {str(file)!r} that {name} is mapped to was truncated: expected {needed:,} bytes, got "
            f"{found:,}; write it anew, or map the rows that are there"
        )


@dataclass(frozen=True)
class BatchRows:
    """Rows from a callable that returns a fresh iterator, or from anything that can be iterated again.

    Attributes:
        batches: yields pairs of rows ``(b, d)`` and outputs ``(b,)`` or ``(b, t)``.
        read: checks a pair.
    """

    batches: Batches
    read: Read

    def __post_init__(self) -> None:
        """Refuse what can be read once only."""
        if callable(self.batches):
            return
        if isinstance(self.batches, Iterator) or not isinstance(self.batches, Iterable):
            raise InputError(
                f"batches must be a callable that returns a fresh iterator, or a list of pairs (X, y), got a "
                f"{type(self.batches).__name__}, which cannot be read more than once: pass a function "
                "that makes it, or call partial_fit for each batch"
            )

    def _pairs(self) -> Iterator[Pair]:
        given = self.batches() if callable(self.batches) else self.batches
        for number, pair in enumerate(given, 1):
            if not isinstance(pair, tuple | list) or len(pair) != 2:
                raise InputError(
                    f"batch {number}: expected a pair (X, y), got a {type(pair).__name__}: yield tuples of "
                    "rows and their outputs"
                )
            try:
                yield self.read(*pair)
            except ValueError as error:
                raise InputError(f"batch {number}: {error}") from error

    def _guarded(self) -> Iterator[Pair]:
        try:
            yield from self._pairs()
        except InputError:
            raise
        except Exception as error:
            raise InputError(
                f"the batches could not be read before training ({type(error).__name__}: {error}): nothing "
                "was learnt; mend what yields them, and fit again"
            ) from error

    def epoch(self, size: int, rng: np.random.RandomState) -> Iterator[Pair]:
        """Yield all rows once: batches as they come, the rows of each in random order."""
        for x, y in self._pairs():
            yield from _pieces(x, y, size, rng)

    def in_order(self) -> Iterator[Pair]:
        """Yield all rows once."""
        return self._pairs()

    def sample(self, size: int, rng: np.random.RandomState) -> tuple[Array, Array, int]:
        """Return random rows, and how many there are in all: everything is read, and checked.

        Source: Vitter (1985), Random sampling with a reservoir, algorithm R, for a batch at a time.
        """
        kept: Pair | None = None
        keys, n = np.zeros(0), 0
        for x, y in self._guarded():
            n += len(x)
            both = (x, y) if kept is None else (np.concatenate([kept[0], x]), np.concatenate([kept[1], y]))
            keys = np.concatenate([keys, rng.random_sample(len(x))])
            best = np.argsort(keys)[:size]
            kept, keys = (both[0][best], both[1][best]), keys[best]
        if kept is None:
            raise InputError("batches yielded nothing: expected at least one pair (X, y) with rows")
        return *kept, n


def _pieces(x: Array, y: Array, size: int, rng: np.random.RandomState) -> Iterator[Pair]:
    """Yield the rows in random order, in pieces of equal size, up to one row."""
    order = rng.permutation(len(x))
    for some in np.array_split(order, -(-len(x) // size)):
        yield x[some], y[some]
