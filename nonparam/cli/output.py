"""What the commands print and write: tables, notes and progress for people, JSON for programs."""

import json
import math
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from nonparam.errors import InputError

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

__all__ = [
    "STDOUT",
    "check_writable",
    "draw",
    "draw_grid",
    "format_for",
    "heard",
    "note",
    "print_facts",
    "print_json",
    "print_table",
    "progress",
    "save_page",
    "save_table",
    "tell_saved",
    "writing",
]

STDOUT = Path("-")
PICTURES = (".png", ".pdf", ".svg")
PICTURE_DPI = 150
GRID_COLUMNS = 3
GRID_SIZE = (4.5, 3.0)  # inches
MOST_DECIMALS = 8
LARGEST = 1e9  # beyond it numbers are written with an exponent


@contextmanager
def heard() -> Iterator[list[str]]:
    """Keep the warnings of what runs inside as a list of texts, to be noted after it."""
    texts: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        yield texts
    texts.extend(str(warning.message) for warning in caught)


def note(text: str) -> None:
    """Tell the user something beside the results, on standard error."""
    typer.echo(f"Note: {text}", err=True)


def print_json(document: dict[str, Any]) -> None:
    """Print one JSON document; numbers that JSON does not know become null."""
    typer.echo(json.dumps(_known_to_json(document), indent=2, allow_nan=False))


def _known_to_json(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _known_to_json(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_known_to_json(entry) for entry in value]
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, bool | int | float | str | None) else str(value)


def print_facts(facts: dict[str, str]) -> None:
    """Print names and what they are, a line each.

    Examples:
        >>> print_facts({"rows": "144", "season": "12"})
        rows    144
        season  12
    """
    width = max(len(name) for name in facts)
    for name, fact in facts.items():
        first, *more = fact.splitlines() or [""]
        typer.echo(f"{name:<{width}}  {first}")
        for line in more:
            typer.echo(f"{'':<{width}}  {line}")


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table: a ruled one on a terminal, else lines of aligned columns.

    Args:
        header: the names of the columns; the first is aligned left, the others right.
        rows: as many cells each.

    Examples:
        >>> print_table(["month", "median"], [["1961-01", "447.1"], ["1961-02", "8.0"]])
        month    median
        1961-01   447.1
        1961-02     8.0
    """
    cells = [[_printable(cell) for cell in row] for row in (header, *rows)]
    if sys.stdout.isatty():
        _print_ruled(cells[0], cells[1:])
        return
    widths = [max(len(row[j]) for row in cells) for j in range(len(header))]
    for row in cells:
        right = [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        typer.echo("  ".join([row[0].ljust(widths[0]), *right]).rstrip())


def _printable(cell: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in cell)


def _print_ruled(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for j, name in enumerate(header):
        table.add_column(Text(name), justify="left" if j == 0 else "right", overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    Console().print(table)


@contextmanager
def progress(text: str) -> Iterator[None]:
    """Show that something is being done while the block runs, on a terminal only."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(text):
        yield


def format_for(resolution: float, largest: float) -> str:
    """Return the format of numbers of which ``resolution`` is to be told from zero by three digits.

    Examples:
        >>> format(447.123, format_for(30.0, 600.0)), format(2e12, format_for(1e9, 3e12))
        ('447.1', '2.0000e+12')
    """
    if not (math.isfinite(resolution) and resolution > 0.0 and largest < LARGEST):
        return ".6g" if largest < LARGEST else ".4e"
    decimals = 2 - math.floor(math.log10(resolution))
    return f".{max(decimals, 0)}f" if decimals <= MOST_DECIMALS else ".6g"


def check_writable(path: Path | None, *, table: bool = False, picture: bool = False) -> None:
    """Refuse a path that nothing can be written to, before a long computation.

    Args:
        path: of the file, if one is wanted.
        table: is to be written, for which ``-`` is standard output.
        picture: is to be written, by which the name must end.

    Raises:
        BadParameter: a picture of another kind.
        InputError: a path that cannot be written.
    """
    if path is None or (table and path == STDOUT):
        return
    if picture and path.suffix.lower() not in PICTURES:
        raise typer.BadParameter(f"{str(path)!r} must end in {', '.join(PICTURES)}", param_hint="'--plot'")
    if path == STDOUT:
        raise InputError("cannot write '-': only --csv writes to standard output; name a file")
    if path.is_dir():
        raise InputError(f"cannot write {str(path)!r}: it is a folder; name a file in it")
    if not path.parent.is_dir():
        raise InputError(f"cannot write {str(path)!r}: there is no folder {str(path.parent)!r}")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise InputError(f"cannot write {str(path)!r}: permission denied")


def save_table(table: "pd.DataFrame", path: Path) -> None:
    """Write a table as CSV in UTF-8, without its index, to a file or to standard output."""
    if path == STDOUT:
        typer.echo(table.to_csv(index=False, lineterminator="\n").encode(), nl=False)
        return
    with writing(path):
        table.to_csv(path, index=False)


def draw(plot: "Callable[[Axes], object]", path: Path) -> None:
    """Let ``plot`` draw on new axes and write the figure; needs no display."""
    from matplotlib.figure import Figure

    from nonparam.plotting import FIGURE_SIZE

    figure = Figure(figsize=FIGURE_SIZE, layout="constrained")
    plot(figure.subplots())
    with writing(path):
        figure.savefig(path, dpi=PICTURE_DPI)


def draw_grid(plots: "Sequence[Callable[[Axes], object]]", path: Path) -> None:
    """Let each of ``plots`` draw on axes of its own and write the figure; needs no display."""
    from matplotlib.figure import Figure

    columns = min(len(plots), GRID_COLUMNS)
    rows = math.ceil(len(plots) / columns)
    size = (GRID_SIZE[0] * columns, GRID_SIZE[1] * rows)
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for plot, ax in zip(plots, axes, strict=False):
        plot(ax)
    for ax in axes[len(plots) :]:
        ax.set_axis_off()
    with writing(path):
        figure.savefig(path, dpi=PICTURE_DPI)


def save_page(page: str, path: Path) -> None:
    """Write a page, to be opened in a browser."""
    with writing(path):
        path.write_text(page, encoding="utf-8")


def tell_saved(paths: dict[str, Path | None]) -> None:
    """Print which files were written, by what they hold."""
    for what, path in paths.items():
        if path is not None:
            typer.echo(f"\nThe {what} is saved as {path}")


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Say in one line why a file could not be written, where that is so."""
    try:
        yield
    except OSError as error:
        raise InputError(f"cannot write {str(path)!r}: {error.strerror}") from error
