"""Tables in Markdown, printed a row at a time, and what they were made with."""

import platform
from importlib.metadata import version


def versions(*packages: str) -> str:
    return ", ".join(
        [f"Python {platform.python_version()}", *(f"{name} {version(name)}" for name in packages)]
    )


def row(*cells: object) -> None:
    shown = (f"{cell:.4g}" if isinstance(cell, float) else str(cell) for cell in cells)
    print("| " + " | ".join(shown) + " |", flush=True)


def header(*names: str) -> None:
    row(*names)
    row(*("---" for _ in names))
