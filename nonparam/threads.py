"""How many threads a computation uses, chosen inside and restored after."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Any

import torch
from threadpoolctl import ThreadpoolController

__all__ = ["threads_for"]

ONE_THREAD_ROWS = 1000  # below it two threads are slower than one; benchmarks/small_n.py


class _OneThread:
    """Holds the BLAS libraries at one thread while anybody asks for it; the last to leave restores them.

    Their number of threads belongs to the process. Were every fit to restore what it found, one that began
    while another was running would leave a single thread behind for good.
    """

    def __init__(self) -> None:
        self._lock, self._users = Lock(), 0
        self._controller: ThreadpoolController | None = None
        self._limit: Any = None
        self._torch = 1

    def __enter__(self) -> None:
        with self._lock:
            if self._users == 0:
                self._torch = torch.get_num_threads()  # first: limiting its OpenMP limits torch
                if self._controller is None:  # finding the loaded libraries takes two milliseconds
                    self._controller = ThreadpoolController()
                self._limit = self._controller.limit(limits=1)
            torch.set_num_threads(1)
            self._users += 1

    def __exit__(self, *error: object) -> None:
        with self._lock:
            self._users -= 1
            if self._users == 0:
                self._limit.restore_original_limits()
                torch.set_num_threads(self._torch)


_one_thread = _OneThread()


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
    with _one_thread:
        yield
