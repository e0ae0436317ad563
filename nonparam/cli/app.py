"""The command ``nonparam``: its options, its help, and how it ends.

What a command needs is imported when it runs, so that the help and the version appear at once.
"""

import io
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from nonparam.errors import NonparamError

__all__ = ["app", "main"]

EXPECTED = (NonparamError, ValueError, ArithmeticError, MemoryError, OSError)  # ours, scikit-learn's, pandas'


class Commands(TyperGroup):
    """Commands whose failures are one line on standard error and exit code 1."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was asked for."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise
        except EXPECTED as error:
            typer.echo(f"Error: {_in_one_line(error)}", err=True)
            raise typer.Exit(1) from error


def _in_one_line(error: Exception) -> str:
    text = str(error)
    if isinstance(error, OSError) and error.filename is not None:
        text = f"{error.strerror}: {error.filename!r}"
    return " ".join(text.split()) or type(error).__name__


app = typer.Typer(
    name="nonparam",
    cls=Commands,
    help="Gaussian processes: forecast a series, fit a table, compare models, predict.",
    epilog="Exit codes: 0 done; 1 the data or the model failed, with one line that says why; 2 wrong usage.",
    invoke_without_command=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(asked: bool) -> None:
    if asked:
        from nonparam import __version__

        typer.echo(f"nonparam {__version__}")
        raise typer.Exit


class Transform(StrEnum):
    """What may be done to the values of a series before a model of it."""

    auto = "auto"
    identity = "identity"
    log = "log"


Table = Annotated[
    str,
    typer.Argument(metavar="FILE", help="A CSV file (or Parquet), a bundled table, or - for standard input."),
]
Csv = Annotated[
    Path | None,
    typer.Option("--csv", metavar="PATH", help="Save the result as CSV; - prints it and nothing else."),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]


@app.callback()
def options(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Print the help if there is no command."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command("forecast")
def forecast_command(
    source: Annotated[
        str,
        typer.Argument(
            metavar="FILE|NAME",
            help="A CSV or Parquet file, a bundled series such as airline, or - for standard input.",
        ),
    ],
    horizon: Annotated[
        int | None, typer.Option(min=1, help="Steps to forecast; by default two seasons.")
    ] = None,
    season: Annotated[str, typer.Option(help="Steps in a season: a number, auto or none.")] = "auto",
    transform: Annotated[Transform, typer.Option(help="Of the values.")] = Transform.auto,
    time: Annotated[str | None, typer.Option(metavar="COLUMN", help="The column of times.")] = None,
    value: Annotated[str | None, typer.Option(metavar="COLUMN", help="The column to forecast.")] = None,
    id: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="The column that tells several series apart.")
    ] = None,
    wide: Annotated[bool, typer.Option("--wide", help="Take every column of numbers as a series.")] = False,
    jobs: Annotated[int, typer.Option(help="Series at once; -1 for one on each core.")] = 1,
    plot: Annotated[
        Path | None,
        typer.Option(metavar="PATH", help="Save the plot there; by default as NAME-forecast.png."),
    ] = None,
    no_plot: Annotated[
        bool, typer.Option("--no-plot", help="Save no plot; nor do --json and --csv - without --plot.")
    ] = False,
    html: Annotated[Path | None, typer.Option(metavar="PATH", help="Save a page with pictures.")] = None,
    csv: Csv = None,
    as_json: Json = False,
) -> None:
    """Forecast a series, or many, with intervals and a plot.

    The columns of times and values are found if there is one of each. An empty value is a missing one. Where
    times repeat, a column of texts tells several series apart.
    """
    from nonparam.cli.forecast import forecast
    from nonparam.cli.forecast_request import ForecastColumns, ForecastFiles, ForecastRequest

    if no_plot and plot is not None:
        raise typer.BadParameter("cannot be used with --plot", param_hint="'--no-plot'")
    prints_document = _prints_document(csv, as_json)
    if plot is None and not (no_plot or prints_document):
        plot = Path("forecast.png" if source == "-" else f"{Path(source).stem}-forecast.png")
    columns = ForecastColumns(time, value, id, wide)
    files = ForecastFiles(plot, html, csv, as_json)
    forecast(ForecastRequest(source, horizon, season, transform.value, jobs, columns, files))


def _prints_document(csv: Path | None, as_json: bool) -> bool:
    """Whether standard output is for a program; it cannot be CSV and JSON."""
    from nonparam.cli.output import STDOUT

    if as_json and csv == STDOUT:
        raise typer.BadParameter("cannot be used with --json: both print", param_hint="'--csv -'")
    return as_json or csv == STDOUT


@app.command("fit")
def fit_command(
    file: Table,
    target: Annotated[str, typer.Option(metavar="COLUMN", help="The column to predict from the others.")],
    drop: Annotated[
        list[str] | None, typer.Option(metavar="COLUMN", help="Leave a column out; may be repeated.")
    ] = None,
    kernel: Annotated[str, typer.Option(metavar="FORMULA", help='Such as "linear + rbf".')] = "matern52",
    plot: Annotated[Path | None, typer.Option(metavar="PATH", help="Save a plot; for one input.")] = None,
    save: Annotated[Path | None, typer.Option(metavar="PATH", help="Save the model, for predict.")] = None,
    as_json: Json = False,
) -> None:
    """Fit a Gaussian process to a table.

    All columns but the target and those dropped are inputs, and must be numbers.
    """
    from nonparam.cli.fit import FitRequest, fit

    fit(FitRequest(file, target, drop or [], kernel, plot, save, as_json))


@app.command("compare")
def compare_command(
    file: Table,
    models: Annotated[
        list[str], typer.Option(metavar="FORMULA...", help='Two kernels or more, such as "linear" "rbf".')
    ],
    target: Annotated[str, typer.Option(metavar="COLUMN", help="The column to predict from the others.")],
    more: Annotated[
        list[str] | None, typer.Argument(metavar="FORMULA", help="What follows the first of --models.")
    ] = None,
    drop: Annotated[
        list[str] | None, typer.Option(metavar="COLUMN", help="Leave a column out; may be repeated.")
    ] = None,
    orderings: Annotated[int, typer.Option(min=2, help="Random orders of the rows.")] = 20,
    cv: Annotated[int, typer.Option(min=2, help="Folds of the cross-validation.")] = 5,
    jobs: Annotated[int, typer.Option(help="Models at once; -1 for one on each core.")] = 1,
    html: Annotated[Path | None, typer.Option(metavar="PATH", help="Save a page with pictures.")] = None,
    as_json: Json = False,
) -> None:
    """Compare kernels on a table: which one the data support, which one predicts best.

    All columns but the target and those dropped are inputs, and must be numbers.

    Example: nonparam compare sales.csv --target sales --models "linear" "linear + periodic(12)"
    """
    from nonparam.cli.compare import CompareRequest, compare

    formulas = [*models, *(more or [])]
    compare(CompareRequest(file, target, drop or [], formulas, orderings, cv, jobs, html, as_json))


@app.command("widths")
def widths_command(
    file: Table,
    target: Annotated[str, typer.Option(metavar="COLUMN", help="The column to predict from the others.")],
    drop: Annotated[
        list[str] | None, typer.Option(metavar="COLUMN", help="Leave a column out; may be repeated.")
    ] = None,
    arch: Annotated[str, typer.Option(metavar="NAME-DEPTH", help="Such as erf-2.")] = "relu-2",
    widths: Annotated[
        str, typer.Option(metavar="N,N...", help="Units of the hidden layers.")
    ] = "32,64,128,256",
    seeds: Annotated[int, typer.Option(min=2, help="Networks of each width.")] = 10,
    steps: Annotated[int, typer.Option(min=1, help="Of gradient descent.")] = 500,
    plot: Annotated[Path | None, typer.Option(metavar="PATH", help="Save a plot.")] = None,
    as_json: Json = False,
) -> None:
    """Compare networks of several widths with their infinitely wide limit.

    All columns but the target and those dropped are inputs, and must be numbers.
    """
    from nonparam.cli.widths import WidthsRequest, widths_of_networks

    widths_of_networks(
        WidthsRequest(file, target, drop or [], arch, _numbers(widths), seeds, steps, plot, as_json)
    )


def _numbers(text: str) -> list[int]:
    """Read whole numbers that commas separate."""
    try:
        return [int(part) for part in text.split(",")]
    except ValueError as error:
        raise typer.BadParameter(f"expected numbers such as 32,128, got {text!r}") from error


@app.command("predict")
def predict_command(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A file that fit --save wrote.")],
    file: Table,
    csv: Csv = None,
    as_json: Json = False,
) -> None:
    """Predict the rows of a table with a saved model.

    Adds the columns mean, sd, lower_95 and upper_95: of new observations, noise included.
    """
    from nonparam.cli.predict import PredictRequest, predict

    _prints_document(csv, as_json)
    predict(PredictRequest(model, file, csv, as_json))


@app.command("datasets")
def datasets_command(as_json: Json = False) -> None:
    """List the data sets that come with the package or can be fetched."""
    from nonparam.cli.output import print_json, print_table
    from nonparam.datasets import list_datasets

    table = list_datasets().drop(columns="source")
    if as_json:
        print_json({"datasets": table.to_dict("records")})
    else:
        print_table(list(map(str, table.columns)), table.astype(str).to_numpy().tolist())


def main(arguments: list[str] | None = None) -> None:
    """Run the command line, and leave Python with its exit code.

    Args:
        arguments: by default those of the process.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a console that lacks a letter shows a question mark
    app(arguments, prog_name="nonparam")
