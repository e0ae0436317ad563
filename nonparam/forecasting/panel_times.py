"""Times as columns hold them, as an index: dates, periods and numbers, also as objects or as text."""

import numpy as np
import pandas as pd

from nonparam.errors import InputError

__all__ = ["OFFSET", "read_times"]

DATES = ("date", "datetime", "datetime64")  # what pandas calls dates that are held as objects
OFFSET = r":\d\d(?:\.\d+)?\s*(Z|[+-]\d\d(?::?\d\d)?)$"  # from UTC, after a time
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
        InputError: text that is no date with the year first, entries of several kinds, or dates some of which
            have a time zone.

    Examples:
        >>> read_times(pd.Series(["2024-01", "2024-02"]))
        DatetimeIndex(['2024-01-01', '2024-02-01'], dtype='datetime64[ns]', freq=None)
        >>> read_times(pd.Series(["31/12/2024"], name="ds"))  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        nonparam.errors.InputError: column 'ds' holds '31/12/2024', which is no date with the year first: ...
    """
    if isinstance(column.dtype, pd.CategoricalDtype):
        column = column.astype(column.cat.categories.dtype)
    kind = pd.api.types.infer_dtype(column, skipna=True)
    name = column.name
    if kind == "string":
        return _dates_in_text(column)
    if column.dtype == object and kind in DATES:
        return _dates_as_objects(column)
    if column.dtype == object and kind == "period":
        return pd.PeriodIndex(column, name=name)
    if kind.startswith("mixed"):
        raise InputError(f"column {name!r} mixes times of several kinds: " + WRITE_DATES.format(name))
    index: pd.Index = pd.Index(column.infer_objects(), name=name)
    return index


def _dates_as_objects(column: pd.Series) -> pd.DatetimeIndex:
    try:
        return pd.DatetimeIndex(column, name=column.name)
    except ValueError as error:  # several time zones, or none for some; dates beyond those of nanoseconds
        raise InputError(
            f"column {column.name!r} holds dates that cannot stand in one index ({error}); "
            f"pd.to_datetime(df[{column.name!r}], utc=True) puts those with time zones into one"
        ) from error


def _dates_in_text(column: pd.Series) -> pd.DatetimeIndex:
    """Return dates in text, year first: others have more than one reading.

    Times with their distance from UTC are put into UTC.
    """
    texts = column.astype("string").str.strip()
    known = texts.dropna()
    offsets = known.str.extract(OFFSET)[0].notna().to_numpy()
    if offsets.any() and not offsets.all():
        one, other = known.iloc[int(offsets.argmax())], known.iloc[int(offsets.argmin())]
        raise InputError(
            f"column {column.name!r} has times with and without their distance from UTC, such as {one!r} and "
            f"{other!r}: write it everywhere, or nowhere"
        )
    read = pd.to_datetime(texts, format="ISO8601", errors="coerce", utc=bool(offsets.any()))
    bad = np.flatnonzero(read.isna())
    if len(bad):
        raise InputError(
            f"column {column.name!r} holds {column.iloc[bad[0]]!r}, which is no date with the year first: "
            + WRITE_DATES.format(column.name)
        )
    return pd.DatetimeIndex(read, name=column.name)
