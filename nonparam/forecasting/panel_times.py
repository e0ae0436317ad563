"""Times as columns hold them, as an index: dates, periods and numbers, also as objects or as text."""

import numpy as np
import pandas as pd

from nonparam.errors import InputError

__all__ = ["read_dates", "read_times"]

DATES = ("date", "datetime", "datetime64")  # what pandas calls dates that are held as objects
OFFSET = r":\d\d(?:\.\d+)?\s*(?:Z|[+-]\d\d(?::?\d\d)?)$"  # from UTC, after a time
WRITE_DATES = (
    "write dates as 2020-01-31, or read them first: df[{0!r}] = pd.to_datetime(df[{0!r}], format=...), or "
    "pd.PeriodIndex(df[{0!r}], freq='Q') for quarters"
)


def read_times(column: pd.Series) -> pd.Index:
    """Return the times of one series.

    Args:
        column: ``(n,)``.

    Returns:
        An index, of the kind that the entries have; dates for text.

    Raises:
        InputError: text that is no date with the year first, or entries of several kinds.

    Examples:
        >>> read_times(pd.Series(["2024-01", "2024-02"]))
        DatetimeIndex(['2024-01-01', '2024-02-01'], dtype='datetime64[ns]', freq=None)
    """
    if isinstance(column.dtype, pd.CategoricalDtype):
        column = column.astype(column.cat.categories.dtype)
    kind = pd.api.types.infer_dtype(column, skipna=True)
    name = column.name
    if kind == "string":
        return read_dates(column)
    if column.dtype == object and kind in DATES:
        return pd.DatetimeIndex(column, name=name)
    if column.dtype == object and kind == "period":
        return pd.PeriodIndex(column, name=name)
    if kind.startswith("mixed"):
        raise InputError(f"column {name!r} mixes times of several kinds: " + WRITE_DATES.format(name))
    index: pd.Index = pd.Index(column.infer_objects(), name=name)
    return index


def read_dates(column: pd.Series) -> pd.DatetimeIndex:
    """Return dates in text, year first: others have more than one reading.

    Args:
        column: ``(n,)``; times with their distance from UTC are put into UTC.

    Raises:
        InputError: another text, or none.

    Examples:
        >>> read_dates(pd.Series(["31/12/2024"], name="ds"))  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        nonparam.errors.InputError: column 'ds' holds '31/12/2024', which is no date with the year first: ...
    """
    texts = column.astype("string").str.strip()
    read = pd.to_datetime(texts, format="ISO8601", errors="coerce", utc=_have_offsets(texts))
    bad = np.flatnonzero(read.isna())
    if len(bad):
        raise InputError(
            f"column {column.name!r} holds {column.iloc[bad[0]]!r}, which is no date with the year first: "
            + WRITE_DATES.format(column.name)
        )
    return pd.DatetimeIndex(read, name=column.name)


def _have_offsets(texts: "pd.Series[str]") -> bool:
    """Whether times in text are written with their distance from UTC, into which they are then put."""
    return bool(texts.str.contains(OFFSET, na=False).any())
