"""Tables from files: a data frame, or one line that says what is wrong with the file."""

import difflib
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import pandas as pd

from nonparam.cli.delimited import parse_text
from nonparam.datasets import list_datasets, load_airline, load_co2, load_diabetes, load_elnino, load_us_macro
from nonparam.errors import FileFormatError, InputError

__all__ = ["check_column", "did_you_mean", "first_text", "numbers", "read", "read_table"]

SERIES: dict[str, Callable[[], pd.Series]] = {
    "airline": load_airline,
    "co2": load_co2,
    "elnino": load_elnino,
}
STDIN = "-"


def read(source: str) -> pd.DataFrame:
    """Return a bundled series or table by its name, or else the table in a file.

    Args:
        source: a name, or the path of a file; ``./airline`` is a file called like a bundled series, and
            ``-`` is standard input.

    Returns:
        The table; that of a bundled series has its times as index, and ``attrs`` holds the units.

    Raises:
        InputError: no such file, or one without rows.
        FileFormatError: a file that is not a table.

    Examples:
        >>> read("airline").shape
        (144, 1)
    """
    if source in SERIES:
        y = SERIES[source]()
        return _with_units(y.to_frame(), {str(y.name): y.attrs["units"]})
    if source == "us_macro":
        table = load_us_macro()
        return _with_units(table, table.attrs["units"])
    if source == "diabetes":
        X, y = load_diabetes()
        return _with_units(X.assign(**{str(y.name): y}), {**X.attrs["units"], str(y.name): y.attrs["units"]})
    if source == STDIN:
        return _with_rows("standard input", parse_text("standard input", sys.stdin.buffer.read()))
    return read_table(Path(source))


def _with_units(table: pd.DataFrame, units: dict[str, str]) -> pd.DataFrame:
    table.attrs = {"units": units}
    return table


def read_table(path: Path) -> pd.DataFrame:
    """Read a table from a file of text (see `parse_text`) or of Parquet.

    Args:
        path: of the file; its first line names the columns.

    Returns:
        The table, with at least one row.

    Raises:
        InputError: no such file, or one without rows.
        FileFormatError: a file that is not such a table.
    """
    if path.is_dir():
        raise InputError(f"{str(path)!r} is a folder: expected a file, such as a CSV")
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"there is no file {str(path)!r}{_elsewhere(path)}") from None
    except OSError as error:
        raise InputError(f"cannot read {str(path)!r}: {error.strerror}") from error
    parquet = path.suffix in (".parquet", ".pq")
    return _with_rows(str(path), _parse_parquet(path) if parquet else parse_text(str(path), content))


def _with_rows(name: str, table: pd.DataFrame) -> pd.DataFrame:
    if table.empty:
        raise InputError(f"{name!r} has a header but no rows: expected one row for each observation")
    return table.rename(columns=str)


def _elsewhere(path: Path) -> str:
    names = list_datasets()
    bundled = names["name"][names["kind"] != "download"]
    if path.name in set(names["name"]) - set(bundled):
        return f" (a data set to download: in Python, nonparam.datasets.fetch_uci({path.name!r}))"
    try:
        beside = [file.name for file in path.parent.iterdir()]
    except OSError:
        beside = []
    return did_you_mean(path.name, [*bundled, *beside])


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return a hint at the known names closest to one, or nothing.

    Examples:
        >>> did_you_mean("prise", ["price", "area"])
        "; did you mean 'price'?"
        >>> did_you_mean("prise", ["area"])
        ''
    """
    lower = {other.lower(): other for other in known}
    close = difflib.get_close_matches(name.lower(), lower, n=2, cutoff=0.65)
    return f"; did you mean {' or '.join(repr(lower[match]) for match in close)}?" if close else ""


def _parse_parquet(path: Path) -> pd.DataFrame:
    try:
        return pd.read_parquet(path)
    except ImportError as error:
        raise InputError(
            f"reading {str(path)!r} needs pyarrow: pip install 'nonparam[parquet]', or save the table as CSV"
        ) from error
    except Exception as error:  # each Parquet engine has errors of its own
        raise FileFormatError(f"{str(path)!r} cannot be read as Parquet: {error}") from error


def check_column(table: pd.DataFrame, name: str, option: str) -> str:
    """Return the name of a column, or raise `InputError` with close names if there is none.

    Examples:
        >>> check_column(pd.DataFrame({"price": [1.0], "area": [2.0]}), "area", "--target")
        'area'
    """
    if name in table.columns:
        return name
    columns = [str(column) for column in table.columns]
    listed = ", ".join(columns[:20]) + (", ..." if len(columns) > 20 else "")
    hint = did_you_mean(name, columns)
    raise InputError(f"{option}: there is no column {name!r}{hint} (the columns are {listed})")


def first_text(column: pd.Series) -> tuple[int, object] | None:
    """Return the row (counted from 1) and value of the first entry that is not a number, if any.

    Examples:
        >>> first_text(pd.Series(["1", "2", "?"]))
        (3, '?')
    """
    bad = column.notna() & pd.to_numeric(column, errors="coerce").isna()
    if not bad.any():
        return None
    row = int(bad.to_numpy().argmax())
    return row + 1, column.iloc[row]


def numbers(column: pd.Series, what: str = "column", advice: str = "") -> pd.Series:
    """Return a column as float64, or raise `InputError` if an entry is not a number.

    Args:
        column: ``(n,)``; missing entries stay missing.
        what: the column is, for the message.
        advice: what else to do about it.

    Examples:
        >>> numbers(pd.Series(["1", None, "2.5"])).tolist()
        [1.0, nan, 2.5]
    """
    text = first_text(column)
    if text is not None:
        raise InputError(
            f"{what} {column.name!r} is not numbers: row {text[0]} holds {text[1]!r}; write them as "
            f"1234.5{advice}"
        )
    return pd.to_numeric(column, errors="coerce").astype(float)  # which also reads integers beyond 64 bits
