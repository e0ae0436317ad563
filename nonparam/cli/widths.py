"""``nonparam widths``: finite networks of several widths beside their limit."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import typer

from nonparam.cli.columns import inputs_and_target
from nonparam.cli.output import check_writable, note, print_json, progress, writing
from nonparam.cli.reading import read
from nonparam.networks.widths import compare_widths

__all__ = ["WidthsRequest", "widths_of_networks"]


@dataclass(frozen=True)
class WidthsRequest:
    """What ``nonparam widths`` was asked for."""

    file: str
    target: str
    drop: Sequence[str]
    arch: str
    widths: Sequence[int]
    seeds: int
    steps: int
    plot: Path | None
    as_json: bool


def widths_of_networks(request: WidthsRequest) -> None:
    """Compare networks of several widths, print the table, and save the plot."""
    check_writable(request.plot, picture=True)
    X, y, notes = inputs_and_target(read(request.file), request.target, request.drop)
    for text in notes:
        note(text)
    with progress(f"Training {request.seeds} networks of each of {len(request.widths)} widths"):
        report = compare_widths(
            request.arch, X, y, request.widths, request.seeds, steps=request.steps, verbose=0
        )
    if request.plot is not None:
        with writing(request.plot):
            report.plot().savefig(request.plot)
    saved = None if request.plot is None else str(request.plot)
    if request.as_json:
        print_json(report.to_dict() | {"plot": saved})
        return
    typer.echo(str(report))
    if saved is not None:
        typer.echo(f"The plot is saved as {saved}")
