"""How many threads compiled loops have."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

import numba
import torch

__all__ = ["threads_of_torch"]

_one_at_a_time = Lock()  # two callers at once end the process where Numba has neither OpenMP nor TBB


@contextmanager
def threads_of_torch() -> Iterator[None]:
    """Give the compiled loops as many threads as torch has."""
    with _one_at_a_time:
        before = numba.get_num_threads()
        most = numba.config.NUMBA_NUM_THREADS  # type: ignore[attr-defined]
        numba.set_num_threads(min(torch.get_num_threads(), most))
        try:
            yield
        finally:
            numba.set_num_threads(before)
