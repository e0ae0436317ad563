"""Tables from delimited text: separator, comments and decimal commas are found, not asked for."""

import io
import re
import warnings
from collections.abc import Sequence

import pandas as pd

from nonparam.cli.output import note
from nonparam.errors import FileFormatError, InputError

__all__ = ["parse_text"]

NUMBER_OR_DATE = re.compile(r"[-+]?\d[-+\d.,:/ TZe]*")
SEPARATORS = ("\t", ";", "|", ",")  # in a tie the first: a comma may be part of a name or a number
SPACES = r"\s+"
SAMPLE = 50  # lines from which the separator is told
QUOTED = re.compile(r'"[^"]*"')
GROUPS = r"[1-9]\d{0,2}(?:[.'\s]\d{3})+"  # 1.234.567
COMMA_NUMBER = re.compile(rf"[-+]?(?:{GROUPS}|\d+)(?:,\d+)?(?:[eE][-+]?\d+)?")
THOUSANDS = re.compile(r"[-+]?[1-9]\d{0,2}(?:,\d{3})+")  # elsewhere 1,234 is more than a thousand


def parse_text(name: str, content: bytes) -> pd.DataFrame:
    """Read a table from text in which a line names the columns.

    Columns are separated by commas, semicolons, tabs, bars or spaces, and lines that start with ``#`` are
    comments. Where the separator is no comma, a comma may be the decimal mark.

    Args:
        name: of the source, for messages.
        content: text in UTF-8.

    Returns:
        The table, perhaps without rows.

    Raises:
        InputError: no text.
        FileFormatError: text that is not such a table.

    Examples:
        >>> parse_text("sales.csv", b"# in millions\\nmonth;sales\\n2020-01;1.234,5\\n2020-02;7\\n")
             month   sales
        0  2020-01  1234.5
        1  2020-02     7.0
    """
    lines = _without_comments(_decode(name, content).split("\n"))
    sample = [line for line in lines if line.strip()][:SAMPLE]
    if not sample:
        raise InputError(f"{name!r} is empty: expected a header line and one row for each observation")
    separator = _separator([QUOTED.sub("", line) for line in sample])
    text = "\n".join(lines)
    table = _read(name, text, separator)
    _refuse_missing_header(name, table)
    if not any(_has_decimal_commas(table[column], separator) for column in table):
        return table
    written = _read(name, text, separator, str)
    return pd.DataFrame({column: _comma_numbers(written[column], table[column]) for column in table})


def _decode(name: str, content: bytes) -> str:
    if b"\0" in content:
        raise FileFormatError(
            f"{name!r} is a binary file: expected text (CSV in UTF-8); a spreadsheet can be saved as CSV"
        )
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise FileFormatError(
            f"{name!r} is not UTF-8 text (byte {content[error.start]:#04x} in line {line}): save it as CSV "
            "in UTF-8"
        ) from error


def _without_comments(lines: Sequence[str]) -> list[str]:
    """Empty the lines of comments, so that the numbers of the others stay; tell of those among the rows."""
    kept = ["" if line.startswith("#") else line for line in lines]
    header = next((i for i, line in enumerate(kept) if line.strip()), len(kept))
    skipped = sum(line.startswith("#") for line in lines[header:])
    if skipped:
        note(f"left out as comments: {skipped} line{'s' * (skipped > 1)} below the header that start with #")
    return kept


def _separator(lines: Sequence[str]) -> str:
    """Return what occurs most often in every line, or blanks where all lines have as many words."""
    best = max(SEPARATORS, key=lambda mark: (min(line.count(mark) for line in lines), lines[0].count(mark)))
    words = {len(line.split()) for line in lines}
    return SPACES if best not in lines[0] and len(words) == 1 and words != {1} else best


def _read(name: str, text: str, separator: str, dtype: type[str] | None = None) -> pd.DataFrame:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            return pd.read_csv(
                io.StringIO(text), sep=separator, dtype=dtype, index_col=False, low_memory=False
            )
    except (pd.errors.ParserError, pd.errors.ParserWarning) as error:
        more = isinstance(error, pd.errors.ParserWarning)
        reason = "all have more entries than the header" if more else str(error).partition("C error: ")[2]
        advice = "; where commas are decimal marks, separate columns by semicolons" * (separator == ",")
        raise FileFormatError(
            f"{name!r} is not a table, its lines differ in length: {reason.strip()}{advice}"
        ) from error


def _refuse_missing_header(name: str, table: pd.DataFrame) -> None:
    if all(NUMBER_OR_DATE.fullmatch(column.strip()) for column in table.columns):
        raise FileFormatError(
            f"{name!r} starts with {', '.join(table.columns[:3])}, which looks like data: expected a line "
            "with the names of the columns first, and without a # before it"
        )


def _has_decimal_commas(column: pd.Series, separator: str) -> bool:
    """Whether all entries are numbers, and a comma in them can be nothing but the decimal mark."""
    if separator == "," or pd.api.types.is_numeric_dtype(column):
        return False
    entries = _stripped(column)
    with_comma = entries[entries.str.contains(",")]
    doubtful = separator != ";" and with_comma.str.fullmatch(THOUSANDS).all()
    return not with_comma.empty and not doubtful and bool(entries.str.fullmatch(COMMA_NUMBER).all())


def _comma_numbers(written: pd.Series, column: pd.Series) -> pd.Series:
    """Return the numbers that a column holds as written with decimal commas, or else the column."""
    entries = _stripped(written)
    if entries.empty or not entries.str.fullmatch(COMMA_NUMBER).all():
        return column
    plain = entries.str.replace(r"[.'\s]", "", regex=True).str.replace(",", ".")
    return pd.to_numeric(plain.astype(object)).reindex(column.index)


def _stripped(column: pd.Series) -> "pd.Series[str]":
    return column.dropna().astype("string").str.strip()
