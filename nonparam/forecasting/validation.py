"""A user's series as numbers with times, or one clear error."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from nonparam.errors import InputError
from nonparam.forecasting.timeline import Timeline, timeline
from nonparam.validation import check_numbers, check_probabilities

__all__ = ["Observed", "read_horizon", "read_levels", "read_series"]

Array = NDArray[np.float64]

EMPTY = "y has no observation: expected at least one number that is not missing"
SMALLEST, LARGEST = 1e-100, 1e100  # sizes whose squares and cubes fit a float


@dataclass(frozen=True)
class Observed:
    """A series as it was given, in the order of time.

    Attributes:
        y: with the user's index and name; missing values are NaN.
        line: its times.
        positions: of the observations that are not missing, ``(n,)``.
        values: these observations, ``(n,)``.
    """

    y: pd.Series
    line: Timeline
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
    series = _as_series(y)
    if pd.api.types.is_bool_dtype(series.dtype) or not pd.api.types.is_any_real_numeric_dtype(series.dtype):
        raise InputError(
            f"y must be numbers, got {series.dtype} such as {series.iloc[0]!r}" if len(series) else EMPTY
        )
    numbers = series.to_numpy(dtype=np.float64, na_value=np.nan)
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
    ordered = pd.Series(numbers, index=_checked(series.index), name=series.name).sort_index()
    ordered.attrs = dict(series.attrs)
    line = timeline(ordered.index)
    seen = ordered.notna().to_numpy()
    return Observed(ordered, line, line.locate(ordered.index)[seen], ordered.to_numpy()[seen])


def _as_series(y: Any) -> pd.Series:
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
    except (TypeError, ValueError) as error:
        raise InputError(f"y cannot be read as a series: {error}") from error
    raise InputError(f"y must be one series of numbers, got {type(y).__name__} of shape {array.shape}")


def _checked(index: pd.Index) -> pd.Index:
    if isinstance(index, pd.MultiIndex):
        raise InputError(
            f"y must be one series, got the levels {list(index.names)} in its index; choose one series"
        )
    if index.hasnans:
        raise InputError(f"the index of y has {int(np.sum(index.isna()))} missing time(s); drop these rows")
    if not index.is_unique:
        twice = index[index.duplicated()].unique()
        names = ", ".join(str(time) for time in twice[:3]) + (", ..." if len(twice) > 3 else "")
        raise InputError(
            f"y has several values at {names}: expected one at each time; "
            "y.groupby(level=0).mean() or .sum() makes it so"
        )
    return index


def read_horizon(h: Any, line: Timeline) -> tuple[Array, pd.Index]:
    """Return the positions and the index that a forecast is wanted for.

    Args:
        h: a number of steps; a list of steps, 1 being the first after the series; or an index of times.
        line: of the series.

    Returns:
        Positions ``(m,)``, all positive, and the index.

    Raises:
        InputError: anything else, or times that are not after the series.
    """
    if isinstance(h, pd.Index):
        positions = line.locate(h)
        if not len(h) or not (positions > 0.0).all():
            raise InputError(f"expected times after the end of the series, {line.index[-1]}, got {h!r}")
        return positions, h
    steps = np.asarray(h)
    if steps.dtype.kind not in "iu" or steps.ndim > 1 or not steps.size or steps.min() < 1:
        raise InputError(
            "h must be a number of steps (1 or more), a list of steps, or an index of future times, "
            f"got {h!r}"
        )
    steps = np.arange(1, int(steps) + 1) if steps.ndim == 0 else steps.astype(np.int64)
    return steps.astype(np.float64), line.future(steps)


def read_levels(name: str, levels: Any) -> Array:
    """Return at least one probability, as an array ``(l,)``; raise `InputError` for anything else."""
    check_numbers(levels, name)
    array = check_probabilities(levels)
    if not array.size:
        raise InputError(f"{name} must be one probability or several, got {levels!r}")
    return array
