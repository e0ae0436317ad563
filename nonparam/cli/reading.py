"""Tables from files: a data frame, or one line that says what is wrong with the file."""

import difflib
import io
import re
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path

import pandas as pd

from nonparam.datasets import list_datasets, load_airline, load_co2, load_diabetes, load_elnino, load_us_macro
from nonparam.errors import FileFormatError, InputError

__all__ = ["check_column", "did_you_mean", "first_text", "read", "read_table"]

SERIES: dict[str, Callable[[], pd.Series]] = {
    "airline": load_airline,
    "co2": load_co2,
    "elnino": load_elnino,
}
NUMBER_OR_DATE = re.compile(r"[-+]?\d[-+\d.,:/ TZe]*")
SEPARATORS = (",", ";", "\t")


def read(source: str) -> pd.DataFrame:
    """Return a bundled series or table by its name, or else the table in a file.

    Args:
        source: a name, or the path of a file; ``./airline`` is a file called like a bundled series.

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
    return read_table(Path(source))


def _with_units(table: pd.DataFrame, units: dict[str, str]) -> pd.DataFrame:
    table.attrs = {"units": units}
    return table


def read_table(path: Path) -> pd.DataFrame:
    """Read a table from a file of comma, semicolon or tab separated text, or of Parquet.

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
    table = _parse_parquet(path) if path.suffix in (".parquet", ".pq") else _parse_text(path, content)
    table.columns = table.columns.map(str)
    if table.empty:
        raise InputError(f"{str(path)!r} has a header but no rows: expected one row for each observation")
    return table


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
            f"reading {str(path)!r} needs pyarrow: install it, or save the table as CSV"
        ) from error
    except Exception as error:  # each Parquet engine has errors of its own
        raise FileFormatError(f"{str(path)!r} cannot be read as Parquet: {error}") from error


def _parse_text(path: Path, content: bytes) -> pd.DataFrame:
    text = _decode(path, content)
    if not text.strip():
        raise InputError(f"{str(path)!r} is empty: expected a header line and one row for each observation")
    header = text.lstrip().split("\n", 1)[0]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            table = pd.read_csv(
                io.StringIO(text), sep=max(SEPARATORS, key=header.count), index_col=False, low_memory=False
            )
    except (pd.errors.ParserError, pd.errors.ParserWarning) as error:
        more = isinstance(error, pd.errors.ParserWarning)
        reason = "all have more entries than the header" if more else str(error).partition("C error: ")[2]
        raise FileFormatError(
            f"{str(path)!r} is not a table, its lines differ in length: {reason}"
        ) from error
    _refuse_missing_header(path, table)
    return table


def _decode(path: Path, content: bytes) -> str:
    if b"\0" in content:
        raise FileFormatError(
            f"{str(path)!r} is a binary file: expected text (CSV in UTF-8); a spreadsheet can be saved as CSV"
        )
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise FileFormatError(
            f"{str(path)!r} is not UTF-8 text (byte {content[error.start]:#04x} in line {line}): save it as "
            "CSV in UTF-8"
        ) from error


def _refuse_missing_header(path: Path, table: pd.DataFrame) -> None:
    if all(_is_value(name) for name in table.columns):
        raise FileFormatError(
            f"{str(path)!r} starts with {', '.join(table.columns[:3])}, which looks like data: expected a "
            "line with the names of the columns first"
        )


def _is_value(name: str) -> bool:
    return NUMBER_OR_DATE.fullmatch(name.strip()) is not None


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
