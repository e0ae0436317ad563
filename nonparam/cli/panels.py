"""Many series from a table: which column tells them apart, or which columns they are."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import pandas as pd

from nonparam.cli.forecast_request import ForecastColumns
from nonparam.cli.reading import check_column, first_text
from nonparam.cli.series import find_time, find_value, series_from_table, value_columns
from nonparam.errors import InputError
from nonparam.forecasting.panel_reading import refuse_missing_ids

__all__ = ["ManySeries", "find_series"]


@dataclass(frozen=True)
class ManySeries:
    """Several series of a table.

    Attributes:
        name: of the column that tells them apart; ``"series"`` where each is a column.
        series: by their names.
        failures: why others cannot be read, by their names.
        notes: for the user.
    """

    name: str
    series: dict[str, pd.Series]
    failures: dict[str, str]
    notes: list[str]


def find_series(table: pd.DataFrame, columns: ForecastColumns) -> ManySeries | None:
    """Find several series in a table.

    Args:
        table: at least one row.
        columns: that are known; by default texts that repeat tell series apart, where times repeat too.

    Returns:
        The series; ``None`` where there seems to be one only.

    Raises:
        InputError: columns that are absent or ambiguous, or options that exclude each other.
    """
    if columns.wide:
        if columns.id is not None or columns.value is not None:
            raise InputError("--wide takes every column of numbers: leave --id and --value out")
        return _from_columns(table, columns.time)
    if columns.id is not None:
        check_column(table, columns.id, "--id")
        return _from_rows(table, columns, columns.id, [])
    name = _names_of_series(table, columns.time)
    if name is None:
        return None
    return _from_rows(table, columns, name, [f"column {name!r} tells {table[name].nunique():,} series apart"])


def _names_of_series(table: pd.DataFrame, time: str | None) -> str | None:
    """Return the column of texts within whose entries no time repeats, where times do."""
    time = find_time(table) if time is None else check_column(table, time, "--time")
    if time is None or table[time].is_unique:
        return None
    others = [name for name in table.columns if name != time]
    texts = [name for name in others if first_text(table[name]) is not None and table[name].notna().all()]
    found = [name for name in texts if not table.duplicated([name, time]).any()]
    if len(found) > 1:
        raise InputError(
            f"more than one column may tell the series apart: choose one with --id ({', '.join(found)})"
        )
    return found[0] if found else None


def _from_rows(table: pd.DataFrame, known: ForecastColumns, name: str, notes: list[str]) -> ManySeries:
    """Take the rows with the same entry in a column as a series."""
    refuse_missing_ids(table[name])
    rest = table.drop(columns=name)
    time = find_time(rest, known.value) if known.time is None else check_column(rest, known.time, "--time")
    value = find_value(rest, time) if known.value is None else check_column(rest, known.value, "--value")
    columns = [value] if time is None else [time, value]
    groups = rest[columns].groupby(table[name].astype(str), sort=False)
    parts = ((str(key), rows.reset_index(drop=True)) for key, rows in groups)
    return _gathered(ManySeries(name, {}, {}, notes), parts, time, value)


def _from_columns(table: pd.DataFrame, time: str | None) -> ManySeries:
    """Take each column of numbers as a series."""
    if isinstance(table.index, pd.RangeIndex):
        time = find_time(table) if time is None else check_column(table, time, "--time")
    values = value_columns(table, time)
    if not values:
        raise InputError("--wide: there is no column of numbers beside that of times")
    columns = ((name, table[[name] if time is None else [time, name]]) for name in values)
    return _gathered(ManySeries("series", {}, {}, []), columns, time, None)


def _gathered(
    many: ManySeries, parts: Iterable[tuple[str, pd.DataFrame]], time: str | None, value: str | None
) -> ManySeries:
    """Read each series, from its first to its last value; one that cannot be read hinders no other."""
    for name, rows in parts:
        try:
            y, notes = series_from_table(rows, time, name if value is None else value)
        except InputError as error:
            many.failures[name] = str(error)
            continue
        many.series[name] = y.loc[y.first_valid_index() : y.last_valid_index()].rename(name)
        many.notes.extend(text for text in notes if text not in many.notes)
    return replace(many, series=_alike(many.series))


def _alike(series: dict[str, pd.Series]) -> dict[str, pd.Series]:
    """Take the only time of a short series for a month, say, where all the others have months."""
    indexes = [y.index for y in series.values() if isinstance(y.index, pd.PeriodIndex)]
    if len({index.freqstr for index in indexes}) != 1:
        return series
    for name, y in series.items():
        if len(y) == 1 and isinstance(y.index, pd.DatetimeIndex) and y.index.tz is None:
            series[name] = y.set_axis(y.index.to_period(indexes[0].freqstr))
    return series
