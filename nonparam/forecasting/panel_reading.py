"""A user's many series, in a long table, a wide one or a dict, each as one series under its name."""

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from nonparam.errors import InputError
from nonparam.forecasting.panel_times import read_times
from nonparam.forecasting.validation import as_series

__all__ = [
    "Entry",
    "Failure",
    "Names",
    "Panel",
    "failure_of",
    "read_futures",
    "read_panel",
    "refuse_missing_ids",
]

Rows = NDArray[np.intp]


@dataclass(frozen=True)
class Names:
    """What the columns of long tables are called.

    Attributes:
        id: the column that names the series.
        time: the column of times.
        target: the column of values.

    Raises:
        InputError: no names, or not three different ones.
    """

    id: str
    time: str
    target: str

    def __post_init__(self) -> None:
        """Refuse what cannot name three columns."""
        names = [name for name in (self.id, self.time, self.target) if isinstance(name, Hashable)]
        if len(set(names) - {None}) < 3:
            raise InputError(
                "id_col=, time_col= and target_col= must be the names of three columns, got "
                f"{self.id!r}, {self.time!r} and {self.target!r}"
            )


@dataclass(frozen=True)
class Entry:
    """One series of a panel.

    Attributes:
        y: with its times as index, called like the series.
        X: regressors at these times; ``None`` without any.
    """

    y: pd.Series
    X: pd.DataFrame | None = None


@dataclass(frozen=True)
class Failure:
    """Why a series has no forecast.

    Attributes:
        error: the class of the error.
        message: of the error.
    """

    error: str
    message: str


@dataclass(frozen=True)
class Panel:
    """Many series.

    Attributes:
        ids: one for each series, in the order in which they were given.
        entries: as many; a failure stands for a series that cannot be read.
        names: of the columns of long tables.
        regressors: names of the columns beside them.
    """

    ids: pd.Index
    entries: Sequence[Entry | Failure]
    names: Names
    regressors: tuple[str, ...] = ()


def failure_of(error: Exception) -> Failure:
    """Return an error as a failure.

    Examples:
        >>> failure_of(InputError("y has no observation"))
        Failure(error='InputError', message='y has no observation')
    """
    return Failure(type(error).__name__, str(error))


def read_panel(data: Any, names: Names) -> Panel:
    """Read many series.

    Args:
        data: a long table, whose columns ``names`` tells; a wide one, with the times as index and a series in
            each column; or a dict of series.
        names: of the columns of a long table.

    Returns:
        The series. One that cannot be read is a `Failure` there, and hinders none of the others.

    Raises:
        InputError: no such table, rows or columns without an id, or none at all.

    Examples:
        >>> wide = pd.DataFrame({"a": [1.0, 2.0, None], "b": [None, 5.0, 6.0]})
        >>> panel = read_panel(wide, Names("unique_id", "ds", "y"))
        >>> [entry.y.tolist() for entry in panel.entries]  # outside its first and last value is no data
        [[1.0, 2.0], [5.0, 6.0]]
    """
    if isinstance(data, Mapping):
        return _from_dict(data, names)
    if not isinstance(data, pd.DataFrame):
        raise InputError(
            f"expected a table with the columns {names.id!r}, {names.time!r} and {names.target!r}, a table "
            f"with one column for each series, or a dict of series, got {type(data).__name__}"
        )
    data = _without_index(data, names)
    return _from_long(data, names) if names.id in data.columns else _from_wide(data, names)


def _without_index(data: pd.DataFrame, names: Names) -> pd.DataFrame:
    """Return a table whose index held ids or times with these as columns."""
    levels = [name for name in data.index.names if name in (names.id, names.time)]
    long = names.id in data.columns or names.id in levels
    return data.reset_index(level=levels) if long and levels else data


# long tables -----------------------------------------------------------------------------------


def _from_long(data: pd.DataFrame, names: Names) -> Panel:
    _check_columns(data, [names.id, names.time, names.target], names)
    regressors = tuple(name for name in data.columns if name not in (names.id, names.time, names.target))
    _check_regressors(data, regressors)
    ids, rows = _groups(data[names.id])
    entries = [_entry(data.take(some), name, names, regressors) for name, some in zip(ids, rows, strict=True)]
    return Panel(ids, entries, names, regressors)


def _check_columns(data: pd.DataFrame, wanted: Sequence[str], names: Names) -> None:
    absent = [name for name in wanted if name not in data.columns]
    if absent or not data.columns.is_unique:
        raise InputError(
            f"expected a column for each of {', '.join(map(repr, wanted))}, got {list(data.columns)}; "
            "name yours by id_col=, time_col= and target_col="
        )
    if not len(data):
        raise InputError(f"the table has no rows: expected some with {names.id!r}, {names.time!r}")


def _check_regressors(data: pd.DataFrame, regressors: Sequence[str]) -> None:
    for name in regressors:
        kind = data[name].dtype
        if not pd.api.types.is_any_real_numeric_dtype(kind) and not pd.api.types.is_bool_dtype(kind):
            raise InputError(
                f"column {name!r} is {kind}, and further columns are regressors, which must be "
                f"numbers: leave it out, as in df.drop(columns={name!r}), or write it as numbers"
            )


def _groups(column: pd.Series) -> tuple[pd.Index, list[Rows]]:
    """Return the different ids in order of appearance, and the rows of each."""
    refuse_missing_ids(column)
    try:
        codes, ids = pd.factorize(column)
    except TypeError as error:
        raise InputError(
            f"column {column.name!r} cannot tell the series apart ({error}): expected texts, numbers, "
            "dates or tuples"
        ) from error
    order = np.argsort(codes, kind="stable")
    bounds = np.flatnonzero(np.diff(codes[order])) + 1
    return _flat(ids).rename(column.name), np.split(order, bounds)


def refuse_missing_ids(column: pd.Series) -> None:
    """Raise `InputError` where rows do not tell which series they belong to.

    Args:
        column: the name of a series for each row.

    Examples:
        >>> refuse_missing_ids(pd.Series(["a", "b"], name="shop"))
    """
    missing = np.flatnonzero(column.isna())
    if len(missing):
        raise InputError(
            f"column {column.name!r} is empty in {len(missing)} of {len(column)} rows, the first of them row "
            f"{missing[0] + 1}: fill in which series they belong to, or drop these rows"
        )


def _flat(ids: Any) -> pd.Index:
    """Return ids as an index of one level: tuples are no levels."""
    values = ids.to_flat_index() if isinstance(ids, pd.MultiIndex) else ids
    return values if isinstance(values, pd.Index) else pd.Index(values, tupleize_cols=False)


def _entry(rows: pd.DataFrame, name: Any, names: Names, regressors: Sequence[str]) -> Entry | Failure:
    try:
        times = read_times(rows[names.time])
        y = _called(name, rows[names.target].infer_objects().set_axis(times))
        return Entry(y, rows[list(regressors)].set_axis(times) if regressors else None)
    except Exception as error:  # whatever pandas makes of one series hinders no other
        return failure_of(error)


def _called(name: Any, y: pd.Series) -> pd.Series:
    """Return a series that is called by its id; ``y.rename`` would call one that is callable."""
    y = y.copy(deep=False)
    y.name = name.item() if isinstance(name, np.generic) else name
    return y


# wide tables and dicts -------------------------------------------------------------------------


def _from_wide(data: pd.DataFrame, names: Names) -> Panel:
    if names.time in data.columns:
        raise InputError(
            f"there is no column {names.id!r} that tells the series: got {list(data.columns)}; name it by "
            f"id_col=, or, in a table with one column for each series, make the times its index, as in "
            f"df.set_index({names.time!r})"
        )
    ids = _checked(_flat(data.columns).rename(names.id))
    ordered = data.set_axis(_times(data.index, names)).sort_index()
    columns = (ordered.iloc[:, i] for i in range(data.shape[1]))
    return Panel(ids, [_column(y, name) for y, name in zip(columns, ids, strict=True)], names)


def _times(index: pd.Index, names: Names) -> pd.Index:
    """Return the times of a wide table, with a name; those of a known kind keep their frequency."""
    name = index.name or names.time
    if index.dtype != object and not isinstance(index.dtype, pd.StringDtype):
        return index.rename(name)
    return read_times(index.to_series(name=name))


def _column(y: pd.Series, name: Any) -> Entry | Failure:
    try:
        seen = np.flatnonzero(y.notna())
        inside = slice(seen[0], seen[-1] + 1) if len(seen) else slice(0, 0)
        return Entry(_called(name, y.infer_objects().iloc[inside]))
    except Exception as error:  # whatever pandas makes of one series hinders no other
        return failure_of(error)


def _from_dict(data: Mapping[Any, Any], names: Names) -> Panel:
    ids = _checked(_flat(list(data)).rename(names.id))
    return Panel(ids, [_value(y, name) for name, y in data.items()], names)


def _value(y: Any, name: Any) -> Entry | Failure:
    try:
        return Entry(_called(name, as_series(y)))
    except Exception as error:  # whatever pandas makes of one series hinders no other
        return failure_of(error)


def _checked(ids: pd.Index) -> pd.Index:
    if not len(ids):
        raise InputError("there is no series: expected at least one")
    if ids.hasnans:
        raise InputError(f"a series has no name: got {list(ids)[:10]}; name each column or key")
    if not ids.is_unique:
        twice = list(ids[ids.duplicated()].unique())
        raise InputError(f"several series are called {twice[0]!r}: give each a name of its own")
    return ids


# the future ------------------------------------------------------------------------------------


def read_futures(X: Any, panel: Panel) -> list[pd.DataFrame | None]:
    """Return the regressors at the times of a forecast, for each series.

    Args:
        X: a long table with the columns of ids and times, and all regressors of the panel; ``None`` without.
        panel: the series.

    Returns:
        A table for each series, with its times as index; ``None`` where there are no rows for it.

    Raises:
        InputError: no such table, or one where there are no regressors.
    """
    nothing: list[pd.DataFrame | None] = [None] * len(panel.ids)
    if X is None:
        return nothing
    names, columns = panel.names, list(panel.regressors)
    if not columns:
        raise InputError("X holds regressors, and the series were fitted without any: leave it out")
    if not isinstance(X, pd.DataFrame):
        raise InputError(f"X must be a table with the columns {names.id!r}, {names.time!r} and {columns}")
    X = _without_index(X, names)
    _check_columns(X, [names.id, names.time, *columns], names)
    _check_regressors(X, columns)
    return list(_futures(X, panel, columns))


def _futures(X: pd.DataFrame, panel: Panel, columns: list[str]) -> Iterator[pd.DataFrame | None]:
    ids, rows = _groups(X[panel.names.id])
    of = dict(zip(ids, rows, strict=True))
    for name in panel.ids:
        if name not in of:
            yield None
            continue
        times = read_times(X[panel.names.time].take(of[name]))
        yield X[columns].take(of[name]).set_axis(times)
