"""What fits warn of, kept apart for each thread."""

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["remarks"]


class _Listener:
    """Takes over how warnings are shown while anybody listens; the last to leave gives it back.

    ``warnings.catch_warnings`` belongs to the process. Were every thread to use its own, one that began
    while another was listening would restore what that one had set.
    """

    def __init__(self) -> None:
        self._lock, self._users = threading.Lock(), 0
        self._heard = threading.local()
        self._catcher: Any = None

    def enter(self) -> list[str]:
        """Begin a list for this thread."""
        with self._lock:
            if self._users == 0:
                self._catcher = warnings.catch_warnings()
                self._catcher.__enter__()
                warnings.simplefilter("always", UserWarning)
                self._others = warnings.showwarning
                warnings.showwarning = self._show
            self._users += 1
        texts: list[str] = []
        self._heard.texts = texts
        return texts

    def leave(self) -> None:
        """End the list of this thread."""
        self._heard.texts = None
        with self._lock:
            self._users -= 1
            if self._users == 0:
                self._catcher.__exit__(None, None, None)

    def _show(
        self, message: Any, category: Any, filename: Any, lineno: Any, file: Any = None, line: Any = None
    ) -> None:
        texts = getattr(self._heard, "texts", None)
        if texts is not None and issubclass(category, UserWarning):
            texts.append(str(message))
        else:
            self._others(message, category, filename, lineno, file, line)


_listener = _Listener()


@contextmanager
def remarks() -> Iterator[list[str]]:
    """Keep the `UserWarning` of what runs inside, in this thread, as a list of texts; others go their way.

    Examples:
        >>> with remarks() as texts:
        ...     warnings.warn("the dates keep to no calendar", stacklevel=1)
        >>> texts
        ['the dates keep to no calendar']
    """
    texts = _listener.enter()
    try:
        yield texts
    finally:
        _listener.leave()
