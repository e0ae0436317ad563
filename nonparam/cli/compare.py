"""``nonparam compare``: several kernels on one table."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import typer

from nonparam.cli.columns import inputs_and_target
from nonparam.cli.fit import check_formula
from nonparam.cli.output import check_writable, heard, note, print_json, print_table, progress, writing
from nonparam.cli.reading import read
from nonparam.comparison import ComparisonReport
from nonparam.comparison import compare as compare_models
from nonparam.comparison.columns import SHOWN, UNITS

__all__ = ["CompareRequest", "compare"]


@dataclass(frozen=True)
class CompareRequest:
    """What ``nonparam compare`` was asked for."""

    file: str
    target: str
    drop: Sequence[str]
    models: Sequence[str]
    orderings: int
    cv: int
    jobs: int
    html: Path | None
    as_json: bool


def compare(request: CompareRequest) -> None:
    """Fit each kernel to a table, and say which one the data support and which one predicts best."""
    for formula in request.models:
        check_formula(formula, "--models")
    check_writable(request.html)
    X, y, notes = inputs_and_target(read(request.file), request.target, request.drop)
    for text in notes:
        note(text)
    with progress(f"Comparing {len(request.models)} models of {len(X):,} rows"), heard() as remarks:
        report = compare_models(
            request.models, X, y, orderings=request.orderings, cv=request.cv, n_jobs=request.jobs
        )
    for remark in remarks:
        note(remark)
    if request.html is not None:
        with writing(request.html):
            report.to_html(request.html)
    if request.as_json:
        saved = None if request.html is None else str(request.html)
        print_json(json.loads(report.to_json()) | {"html": saved})
    else:
        _print(report, request.html)


def _print(report: ComparisonReport, html: Path | None) -> None:
    cells = report.cells(SHOWN)
    rows = [[str(name), *row] for name, row in zip(cells.index, cells.to_numpy().tolist(), strict=True)]
    print_table(["model", *cells.columns], rows)
    typer.echo(f"\n{UNITS}")
    for question, sentences in report.verdicts.items():
        typer.echo(f"\n{question}")
        for sentence in sentences:
            typer.echo(f"  {sentence}")
    for models, columns, text in report.remarks:
        note(f"{models}; {columns}: {text}")
    if html is not None:
        typer.echo(f"\nThe page is saved as {html}")
