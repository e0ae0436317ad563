"""How many threads a computation uses, chosen inside and restored after."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import torch
from threadpoolctl import ThreadpoolController

__all__ = ["threads_for"]

ONE_THREAD_ROWS = 1000  # below it two threads are slower than one; benchmarks/small_n.py


@cache
def _controller() -> ThreadpoolController:
    return ThreadpoolController()  # finds the loaded BLAS libraries, which takes two milliseconds


@contextmanager
def threads_for(n: int) -> Iterator[None]:
    """Use one thread while a problem of ``n`` rows is small, and leave everything as it was after.

    Args:
        n: the number of rows.

    Examples:
        >>> before = torch.get_num_threads()
        >>> with threads_for(100):
        ...     torch.get_num_threads()
        1
        >>> torch.get_num_threads() == before
        True
    """
    if n > ONE_THREAD_ROWS:
        yield
        return
    before = torch.get_num_threads()
    with _controller().limit(limits=1):
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(before)
