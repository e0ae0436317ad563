"""A user's series as numbers with times, or one clear error."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from nonparam.errors import InputError
from nonparam.forecasting.calendars import YEAR
from nonparam.forecasting.timeline import MOST_STEPS, Timeline, timeline
from nonparam.validation import check_numbers, check_probabilities

__all__ = [
    "LAST_YEAR",
    "Observed",
    "as_numbers",
    "as_series",
    "central_levels",
    "first_strange",
    "read_horizon",
    "read_levels",
    "read_series",
]

Array = NDArray[np.float64]

EMPTY = "y has no observation: expected at least one number that is not missing"
SMALLEST, LARGEST = 1e-100, 1e100  # sizes whose squares and cubes fit a float
LAST_YEAR = 9999  # that dates are written and drawn with


@dataclass(frozen=True)
class Observed:
    """A series as it was given, in the order of time.

    Attributes:
        y: with the user's index and name; missing values are NaN.
        line: its times.
        given: the index in the order in which the rows came.
        positions: of the observations that are not missing, ``(n,)``.
        values: these observations, ``(n,)``.
    """

    y: pd.Series
    line: Timeline
    given: pd.Index
    positions: Array
    values: Array


def read_series(y: Any) -> Observed:
    """Check a series and bring it in the order of time.

    Args:
        y: Series, table of one column, list or array.

    Returns:
        The series and its times.

    Raises:
        InputError: no numbers, infinite numbers, none at all, or two with the same time.
    """
    series = as_series(y)
    numbers = as_numbers(series)
    if np.isinf(numbers).any():
        where = series.index[int(np.flatnonzero(np.isinf(numbers))[0])]
        raise InputError(f"y is infinite at {where}; expected numbers, with NaN where one is missing")
    if not np.isfinite(numbers).any():
        raise InputError(EMPTY)
    size = float(np.nanmax(np.abs(numbers)))
    if size and not SMALLEST < size < LARGEST:
        raise InputError(
            f"y has values of size {size:.1g}, expected {SMALLEST:g} to {LARGEST:g}; use another unit for y"
        )
    ordered = _sorted(pd.Series(numbers, index=_checked(series.index), name=series.name))
    ordered.attrs = dict(series.attrs)
    line = timeline(ordered.index)
    seen = ordered.notna().to_numpy()
    return Observed(ordered, line, series.index, line.locate(ordered.index)[seen], ordered.to_numpy()[seen])


def as_numbers(series: pd.Series) -> Array:
    """Return the numbers of a series, NaN where one is missing; raise `InputError` for anything else."""
    if pd.api.types.is_bool_dtype(series.dtype) or not pd.api.types.is_any_real_numeric_dtype(series.dtype):
        known = series.dropna()
        if not len(known):
            raise InputError(EMPTY)
        advice = "; y.astype(float) reads numbers" if series.dtype == object else ""
        raise InputError(f"y must be numbers, got {series.dtype} such as {first_strange(known)!r}{advice}")
    numbers: Array = series.to_numpy(dtype=np.float64, na_value=np.nan)
    return numbers


def first_strange(known: pd.Series) -> Any:
    """Return the first entry of a column that is no number, or else the first one.

    Args:
        known: at least one entry, none of them missing.

    Examples:
        >>> first_strange(pd.Series([1.0, "two"]))
        'two'
    """
    return next((entry for entry in known if not isinstance(entry, int | float)), known.iloc[0])


def as_series(y: Any) -> pd.Series:
    """Return what a user gave as one series; raise `InputError` where it is none."""
    if isinstance(y, pd.Series):
        return y
    if isinstance(y, pd.DataFrame):
        if y.shape[1] != 1:
            raise InputError(
                f"y must be one series, got a table with the columns {list(y.columns)}; choose one"
            )
        return y.iloc[:, 0]
    try:
        array = np.asarray(y)
        if array.ndim == 2 and array.shape[1] == 1:
            return pd.Series(array[:, 0])
        if array.ndim == 1:
            return pd.Series(y if array.dtype == object else array)
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(f"y cannot be read as a series: {error}") from error
    raise InputError(f"y must be one series of numbers, got {type(y).__name__} of shape {array.shape}")


def _checked(index: pd.Index) -> pd.Index:
    if isinstance(index, pd.MultiIndex):
        raise InputError(
            f"y must be one series, got the levels {list(index.names)} in its index; choose one series"
        )
    if index.hasnans:
        raise InputError(f"the index of y has {int(np.sum(index.isna()))} missing time(s); drop these rows")
    if _is_infinite(index):
        raise InputError(f"the index of y must be finite, got {index!r}; drop the rows of infinite times")
    if not index.is_unique:
        twice = index[index.duplicated()].unique()
        names = ", ".join(str(time) for time in twice[:3]) + (", ..." if len(twice) > 3 else "")
        raise InputError(
            f"y has several values at {names}: expected one at each time; "
            "y.groupby(level=0).mean() or .sum() makes it so"
        )
    return index


def _sorted(series: pd.Series) -> pd.Series:
    try:
        return series.sort_index()
    except TypeError as error:  # times of several kinds
        raise InputError(
            f"the index of y must be dates, periods or numbers, all of one kind, got {series.index!r}"
        ) from error


def _is_infinite(index: pd.Index) -> bool:
    return pd.api.types.is_float_dtype(index.dtype) and bool(np.isinf(index.to_numpy(np.float64)).any())


def read_horizon(fh: Any, line: Timeline) -> tuple[Array, pd.Index]:
    """Return the positions and the index that a forecast is wanted for.

    Args:
        fh: a number of steps; a list of steps, 1 being the first after the series; or an index of times.
        line: of the series.

    Returns:
        Positions ``(m,)``, all positive, and the index.

    Raises:
        InputError: anything else, times that are not after the series, too many of them, or times beyond
            what a calendar can tell.
    """
    if isinstance(fh, pd.Index):
        return _read_times(fh, line), fh
    steps = np.asarray(fh)
    if steps.dtype.kind not in "iu" or steps.ndim > 1 or not steps.size or steps.min() < 1:
        raise InputError(
            "fh must be a number of steps (1 or more), a list of steps, or an index of future times, "
            f"got {fh!r}"
        )
    if max(int(steps.max()), steps.size) > MOST_STEPS:
        raise InputError(
            f"fh must be at most {MOST_STEPS:,} steps, got {max(int(steps.max()), steps.size):,}; to look "
            "further ahead, sum the series over longer periods, as in y.resample('MS').sum()"
        )
    steps = np.arange(1, int(steps) + 1) if steps.ndim == 0 else steps.astype(np.int64)
    if _year_after(int(steps.max()), line) > LAST_YEAR:
        raise _too_far(fh, line)
    with _calendar(fh, line):
        return steps.astype(np.float64), line.future(steps)


def _read_times(fh: pd.Index, line: Timeline) -> Array:
    if not 0 < len(fh) <= MOST_STEPS:
        raise InputError(f"fh must have 1 to {MOST_STEPS:,} times, got {len(fh):,}")
    if not isinstance(fh, pd.MultiIndex) and (fh.hasnans or _is_infinite(fh)):
        raise InputError(f"fh has missing or infinite times, got {fh!r}; leave them out")
    with _calendar(fh, line):
        positions = line.locate(fh)
    if not (positions > 0.0).all():
        raise InputError(f"expected times after the end of the series, {line.index[-1]}, got {fh!r}")
    return positions


def _year_after(steps: int, line: Timeline) -> int:
    """Return about the year of a time so many steps after the series; 0 where times have no years."""
    if not isinstance(line.index, pd.DatetimeIndex | pd.PeriodIndex) or line.seconds is None:
        return 0
    last = line.index[-1]
    return int(last.year + last.day_of_year / 367.0 + steps * line.seconds / YEAR)


@contextmanager
def _calendar(fh: Any, line: Timeline) -> Iterator[None]:
    """Say in one way what pandas says in many: that its times end somewhere."""
    try:
        yield
    except InputError:
        raise
    except (OverflowError, ValueError) as error:
        raise _too_far(fh, line) from error


def _too_far(fh: Any, line: Timeline) -> InputError:
    return InputError(
        f"fh must end within the times that {line.index.dtype} can tell: dates in nanoseconds end in the "
        f"year {pd.Timestamp.max.year}, others in {LAST_YEAR}; got {fh!r} after {line.index[-1]}, ask for "
        "less"
    )


def read_levels(name: str, levels: Any) -> Array:
    """Return at least one probability, as an array ``(l,)``; raise `InputError` for anything else."""
    check_numbers(levels, name)
    array = check_probabilities(levels, name)
    if not array.size:
        raise InputError(f"{name} must be one probability or several, got {levels!r}")
    return array


def central_levels(coverage: Array) -> Array:
    """Return the levels ``(c, 2)`` of the quantiles that bound central intervals of ``coverage (c,)``.

    Examples:
        >>> central_levels(np.array([0.5, 0.75]))
        array([[0.25 , 0.75 ],
               [0.125, 0.875]])
    """
    return np.stack([0.5 - 0.5 * coverage, 0.5 + 0.5 * coverage], 1)
