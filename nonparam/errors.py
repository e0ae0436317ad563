"""Every error of the package: what was expected, what came, what to try."""

__all__ = [
    "ConvergenceError",
    "DownloadError",
    "FileFormatError",
    "InputError",
    "InsufficientMemoryError",
    "NonparamError",
    "NotPositiveDefiniteError",
    "WorkerLostError",
]


class NonparamError(Exception):
    """Base class of the errors raised by this package."""


class InputError(NonparamError, ValueError):
    """An argument or a table that no model can be fitted to as it stands."""


class NotPositiveDefiniteError(NonparamError, ArithmeticError):
    """A covariance matrix that no admissible jitter makes positive definite."""


class ConvergenceError(NonparamError, ArithmeticError):
    """A solve or an optimisation whose result could not be certified."""


class InsufficientMemoryError(NonparamError, MemoryError):
    """A computation whose estimated memory exceeds what the machine has."""


class FileFormatError(NonparamError, ValueError):
    """A file that is damaged, foreign, or of another version."""


class DownloadError(NonparamError, OSError):
    """A file that could not be fetched, or fetched only in part."""


class WorkerLostError(NonparamError, RuntimeError):
    """A process or a device that shares a computation has ended, hangs, or went another way."""
