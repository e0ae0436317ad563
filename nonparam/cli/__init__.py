"""The command line: ``nonparam forecast``, ``fit``, ``predict`` and ``datasets``."""

from nonparam.cli.app import main

__all__ = ["main"]
