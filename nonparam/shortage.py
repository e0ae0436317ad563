"""When memory runs out: the same with less, then another solver, then an error that says what was tried."""

from collections.abc import Callable
from typing import TypeVar

import torch

from nonparam.errors import NonparamError

__all__ = ["is_out_of_memory", "sparing"]

SAID = ("out of memory", "not enough memory", "can't allocate memory")  # by torch, on one system or another

T = TypeVar("T")


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that an allocation failed, one that nobody has spoken of yet.

    Examples:
        >>> is_out_of_memory(MemoryError()), is_out_of_memory(RuntimeError("no such device"))
        (True, False)
    """
    if isinstance(error, NonparamError):
        return False
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in SAID)


def sparing(task: Callable[[bool], T]) -> T:
    """Return what a task gives when it may keep tiles, or if memory runs out then, when it may not.

    Args:
        task: called with whether to keep tiles.

    Examples:
        >>> def task(keep):
        ...     if keep:
        ...         raise MemoryError
        ...     return "tiles evaluated anew"
        >>> sparing(task)
        'tiles evaluated anew'
    """
    try:
        return task(True)
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
    return task(False)  # outside: the error holds what the first attempt allocated
