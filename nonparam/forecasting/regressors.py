"""What a user knows besides the series: a table of regressors, read as columns that a linear term can use."""

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from nonparam.errors import InputError
from nonparam.forecasting.calendars import time_name
from nonparam.forecasting.validation import first_strange

__all__ = ["Regressors", "named", "read_regressors"]

Array = NDArray[np.float64]

SHOWN = 3  # times or columns that an error names
LARGEST = 1e100  # numbers whose squares fit a float
LEAST_SPREAD = 1e-12  # of its size: a column that varies less holds rounding errors


@dataclass(frozen=True)
class Regressors:
    r"""The columns of a table, brought to a scale on which one prior suits them all.

    .. math::

        \phi_j(t) = \frac{X_{tj} - c_j}{s_j}

    with mean :math:`c_j` and standard deviation :math:`s_j` where the series is observed. A column of zeros
    and ones stays as it is (:math:`c_j = 0, s_j = 1`), so that its coefficient is the effect of a one, even
    where the series has not seen any yet.

    Attributes:
        table: ``X`` at the times of the series, as numbers; NaN where it was not given.
        centre: ``c (k,)``.
        scale: ``s (k,)``, positive.
        by_row: whether ``X`` came without an index, and its rows are those of the series.

    Examples:
        >>> y = pd.Series([1.0, 2.0, 4.0], index=pd.period_range("2020-01", periods=3, freq="M"))
        >>> months = pd.period_range("2020-01", periods=4, freq="M")
        >>> price = pd.Series([2.0, 3.0, 4.0, 6.0], months, name="price")
        >>> known = read_regressors(price, y, y.index)
        >>> known.names, known.seen().ravel()
        (('price',), array([-1.,  0.,  1.]))
        >>> known.ahead(price, months[3:])
        array([[3.]])
    """

    table: pd.DataFrame
    centre: Array
    scale: Array
    by_row: bool

    @property
    def names(self) -> tuple[Hashable, ...]:
        """The names of the columns; their numbers where ``X`` was an array."""
        return tuple(self.table.columns)

    def seen(self) -> Array:
        """Return the columns at the times of the series, ``(n, k)``; NaN where ``X`` was not given."""
        return self._scaled(self.table)

    def ahead(self, X: Any, index: pd.Index) -> Array:
        """Return the columns at other times.

        Args:
            X: as at `read_regressors`, with a row for each time or more, and at least the same columns; an
                array has one row for each time, in their order.
            index: the ``m`` times.

        Returns:
            ``(m, k)``, finite.

        Raises:
            InputError: times or columns that ``X`` lacks, named.
        """
        if X is None:
            raise InputError(
                f"the forecaster was fitted with X ({named(self.names)}), so the forecast needs X at "
                f"{named(index)}"
            )
        frame = _as_frame(X, self.names)
        absent = [name for name in self.names if name not in frame.columns]
        if absent:
            raise InputError(
                f"X lacks the column{_s(absent)} {named(absent)} of the fit, it has {named(frame.columns)}"
            )
        rows = frame if _is_indexed(X) else _by_rows(frame, index)
        wanted = _at(_numbers(rows[list(self.names)]), index)
        _refuse_missing(wanted, index)
        return self._scaled(wanted)

    def _scaled(self, table: pd.DataFrame) -> Array:
        scaled: Array = (table.to_numpy(np.float64) - self.centre) / self.scale
        return scaled


def read_regressors(X: Any, y: pd.Series, given: pd.Index) -> Regressors:
    """Read the table that goes with a series.

    Args:
        X: table, Series or array ``(n, k)`` of numbers or booleans. A table is matched with the series by its
            index and may cover more times, an array by its rows.
        y: the series in the order of time, NaN where it is missing.
        given: the index of the series in the order in which its rows were given.

    Returns:
        The columns at the times of the series.

    Raises:
        InputError: columns that are no numbers or do not vary, or times of observations that ``X`` lacks.

    Examples:
        >>> y = pd.Series([1.0, 2.0, 4.0])
        >>> read_regressors([[5.0], [5.0], [5.0]], y, y.index)
        Traceback (most recent call last):
        nonparam.errors.InputError: column 0 of X is 5 wherever y is observed, so that its effect cannot ...
    """
    frame = _as_frame(X, None)
    by_row = not _is_indexed(X)
    table = _at(_numbers(_by_rows(frame, given) if by_row else frame), y.index)
    seen = table[y.notna().to_numpy()]
    _refuse_missing(seen, seen.index)
    centre, scale = np.array([_standards(name, seen[name].to_numpy()) for name in table.columns]).T
    return Regressors(table, centre, scale, by_row)


def named(items: Any) -> str:
    """Return the first few of some times or names, and how many there are.

    Examples:
        >>> named(["price"]), named(range(9)), named(pd.date_range("2024-01-31", periods=2))
        ("'price'", '0, 1, 2, ... (9 in all)', '2024-01-31, 2024-02-01')
    """
    names = [repr(item) if isinstance(item, str) else time_name(item) for item in list(items[: SHOWN + 1])]
    return (
        ", ".join(names) if len(names) <= SHOWN else f"{', '.join(names[:SHOWN])}, ... ({len(items)} in all)"
    )


def _is_indexed(X: Any) -> bool:
    return isinstance(X, pd.DataFrame | pd.Series)


def _as_frame(X: Any, names: tuple[Hashable, ...] | None) -> pd.DataFrame:
    """Return a table; the columns of an array are called as at the fit."""
    if isinstance(X, pd.Series):
        only = names[0] if names is not None and len(names) == 1 else 0
        X = X.to_frame(only if X.name is None else X.name)
    if isinstance(X, pd.DataFrame):
        return _checked_frame(X)
    try:
        array = np.asarray(X)
    except ValueError as error:
        raise InputError(f"X has rows of different lengths: {error}") from None
    array = array[:, None] if array.ndim == 1 else array
    k = array.shape[1] if array.ndim == 2 else 0
    if k == 0 or (names is not None and k != len(names)):
        wanted = "a table of numbers" if names is None else f"{len(names)} columns ({named(names)})"
        raise InputError(f"X must be {wanted}, got {type(X).__name__} of shape {array.shape}")
    return pd.DataFrame(array, columns=None if names is None else list(names))


def _checked_frame(X: pd.DataFrame) -> pd.DataFrame:
    if X.shape[1] == 0:
        raise InputError("X has no column: expected at least one, or X=None")
    if isinstance(X.columns, pd.MultiIndex) or isinstance(X.index, pd.MultiIndex):
        raise InputError("X must have one level of columns and one of rows, got several; choose one series")
    for kind, labels in (("column", X.columns), ("row", X.index)):
        if not labels.is_unique:
            twice = labels[labels.duplicated()].unique()
            raise InputError(f"X has several {kind}s {named(twice)}: expected one of each")
    return X


def _by_rows(frame: pd.DataFrame, index: pd.Index) -> pd.DataFrame:
    if len(frame) != len(index):
        raise InputError(
            f"X has {len(frame)} rows for {len(index)} times, {named(index)}: expected one for each; an X "
            "with an index may cover more"
        )
    return frame.set_axis(index, axis=0)


def _at(frame: pd.DataFrame, index: pd.Index) -> pd.DataFrame:
    """Return the rows of these times; those of times that the table lacks are missing."""
    rows = frame.index.get_indexer(index)
    if len(frame) and (rows < 0).all() and frame.index.dtype != index.dtype:
        raise InputError(
            f"the index of X holds {frame.index.dtype} such as {frame.index[0]!r}, that of y {index.dtype} "
            f"such as {index[0]!r}: expected the same times"
        )
    return frame.reindex(index)


def _numbers(frame: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame({name: _column(frame[name]) for name in frame.columns}, index=frame.index)


def _column(column: pd.Series) -> Array:
    """Return a column as numbers, NaN where it is missing."""
    known = column[column.notna()]
    kinds = known.dtype if known.dtype != object else known.infer_objects().dtype
    if len(known) and not (
        pd.api.types.is_any_real_numeric_dtype(kinds) or pd.api.types.is_bool_dtype(kinds)
    ):
        raise InputError(
            f"column {column.name!r} of X must be numbers or booleans, got {kinds} such as "
            f"{first_strange(known)!r}; pandas.get_dummies makes columns of 0 and 1 of categories"
        )
    numbers = np.full(len(column), np.nan)
    numbers[column.notna().to_numpy()] = known.to_numpy(np.float64)
    largest = float(np.nanmax(np.abs(numbers), initial=0.0))
    if largest > LARGEST:
        raise InputError(
            f"column {named([column.name])} of X has infinite or huge values, such as {largest:g}: "
            "expected numbers, with NaN where one is missing"
        )
    return numbers


def _refuse_missing(table: pd.DataFrame, index: pd.Index) -> None:
    lacking = np.isnan(table.to_numpy(np.float64))
    if not lacking.any():
        return
    times = index[np.flatnonzero(lacking.any(1))]
    columns = table.columns[np.flatnonzero(lacking.any(0))]
    raise InputError(
        f"X lacks a number at {named(times)}, in column{_s(columns)} {named(columns)}: expected one at each "
        "time that is observed or forecast; fill them in, or leave the column out"
    )


def _standards(name: Hashable, x: Array) -> tuple[float, float]:
    """Return what is subtracted from a column, and what it is divided by."""
    if np.isin(x, (0.0, 1.0)).all():
        return 0.0, 1.0
    size = float(np.abs(x).max())
    unit = x / size  # whose squares do not vanish
    spread = float(np.std(unit, ddof=1)) if len(x) > 1 else 0.0
    if spread <= LEAST_SPREAD:
        raise InputError(
            f"column {name!r} of X is {x[0]:g} wherever y is observed, so that its effect cannot be learnt; "
            "leave it out"
        )
    return float(unit.mean()) * size, spread * size


def _s(items: Any) -> str:
    return "s" if len(items) > 1 else ""
