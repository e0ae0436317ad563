"""A yes-or-no argument of a kernel."""

from typing import Any

import numpy as np

from nonparam.errors import InputError

__all__ = ["Flag"]


class Flag:
    """An attribute of a kernel that is ``True`` or ``False``, and nothing else.

    Declared in the body of a kernel, as a `Hyperparameter` is.

    Raises:
        InputError: when anything but a bool is assigned.

    Examples:
        >>> from nonparam.kernels import RBF
        >>> RBF(ard=False).ard
        False
    """

    def __set_name__(self, owner: type, name: str) -> None:
        """Remember the name under which the class body declares it."""
        self.name = name

    def __get__(self, kernel: Any, owner: type | None = None) -> Any:
        """Return the value."""
        return self if kernel is None else vars(kernel)[self.name]

    def __set__(self, kernel: Any, value: bool) -> None:
        """Store the value."""
        if not isinstance(value, bool | np.bool_):
            raise InputError(f"{type(kernel).__name__}: {self.name} must be True or False, got {value!r}")
        vars(kernel)[self.name] = bool(value)
