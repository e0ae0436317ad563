"""Holidays as columns that a linear term can use: on which days of the index, or how many in a period."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from nonparam.errors import InputError
from nonparam.forecasting.regressors import named
from nonparam.forecasting.spans import Days, days_of, numbered
from nonparam.forecasting.timeline import Timeline

__all__ = ["Holidays", "read_holidays"]

Array = NDArray[np.float64]

YEARS_AHEAD = 10  # after the series, in which a country's holidays may have names that the series never met
WIDEST_WINDOW = 60  # days before or after a holiday
COLUMNS = ("holiday", "ds", "lower_window", "upper_window")  # of a table as Prophet takes it
FORMS = (
    "holidays must be a table with the columns 'holiday' and 'ds', a mapping of names to dates, or the code "
    "of a country such as 'AU' or 'AU-VIC'"
)
INSTALL = "the holidays of a country need the package holidays: pip install 'nonparam[holidays]'"


@dataclass(frozen=True)
class Holidays:
    """Named days, each a column.

    Attributes:
        names: of the columns, in alphabetical order.
        days: the sorted days of each name, where they were given one by one.
        country: the code of a country, whose calendar knows the days of any year; ``None`` where they were
            given.

    Examples:
        >>> from nonparam.forecasting.timeline import timeline
        >>> line = timeline(pd.period_range("2020-01", periods=3, freq="M"))
        >>> cup = read_holidays({"cup": ["2020-02-03", "2020-02-07", "2020-04-01"]}, line)
        >>> cup.columns(line, line.index).ravel()
        array([0., 2., 0.])
        >>> cup.columns(line, line.index + 1).ravel()
        array([2., 0., 1.])
    """

    names: tuple[str, ...]
    days: Mapping[str, Days]
    country: str | None

    def columns(self, line: Timeline, index: pd.Index) -> Array:
        """Return how many days of each name fall on some times.

        Args:
            line: of the series.
            index: ``m`` times of the same kind.

        Returns:
            ``(m, k)``: 0 or 1 where times are days or shorter, else the number of days within the week, the
            month or whatever a step is.
        """
        first, last = days_of(line, index)
        days = self.days if self.country is None else _of_country(self.country, _years(first, last))
        none = np.zeros(0, dtype=np.int64)
        counts = [_count(days.get(name, none), first, last) for name in self.names]
        return np.stack(counts, 1)


def read_holidays(holidays: Any, line: Timeline) -> Holidays:
    """Read holidays.

    Args:
        holidays: a table with the columns ``holiday`` (names) and ``ds`` (dates), and perhaps
            ``lower_window`` (0 or less) and ``upper_window`` (0 or more), days around it that have columns of
            their own; or a mapping of names to dates; or a country's code (ISO 3166), such as ``"AU"``, or
            with one of its parts, as in ``"AU-VIC"``.
        line: of the series.

    Returns:
        The holidays. Dates after the series are used in its forecasts.

    Raises:
        InputError: something else, dates that cannot be read, a country that is not known, or a series whose
            index has no dates.
        ImportError: a country, and the package ``holidays`` is not installed.

    Examples:
        >>> from nonparam.forecasting.timeline import timeline
        >>> line = timeline(pd.date_range("2020-12-24", periods=3))
        >>> table = pd.DataFrame({"holiday": "christmas", "ds": ["2020-12-25"], "upper_window": 1})
        >>> christmas = read_holidays(table, line)
        >>> christmas.names, christmas.columns(line, line.index).tolist()
        (('christmas', 'christmas +1'), [[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    """
    if not isinstance(line.index, pd.DatetimeIndex | pd.PeriodIndex):
        raise InputError(
            f"holidays need an index of dates or periods, that of y is {line.index.dtype}, such as "
            f"{line.index[0]!r}"
        )
    if isinstance(holidays, str):
        first, last = days_of(line, line.index)
        years = _years(first, last)
        known = _of_country(holidays, range(years.start, years.stop + YEARS_AHEAD))
        return Holidays(tuple(sorted(known)), {}, holidays)
    if isinstance(holidays, Mapping):
        days = {str(name): _days(dates, f"holiday {name!r}") for name, dates in holidays.items()}
    elif isinstance(holidays, pd.DataFrame):
        days = _of_table(holidays)
    else:
        raise InputError(f"{FORMS}, got {type(holidays).__name__}")
    if not days:
        raise InputError("holidays is empty: expected at least one, or holidays=None")
    return Holidays(tuple(sorted(days)), days, None)


def _of_table(table: pd.DataFrame) -> dict[str, Days]:
    """Return the days of each name, and of each day of its window."""
    absent = [name for name in COLUMNS[:2] if name not in table.columns]
    unknown = [name for name in table.columns if name not in COLUMNS]
    if absent or unknown or not table.columns.is_unique:
        raise InputError(
            f"{FORMS}; of its columns, 'lower_window' and 'upper_window' are optional, and it has "
            f"{named(table.columns)}"
        )
    if table.empty:
        return {}
    if table["holiday"].isna().any():
        raise InputError(f"column 'holiday' has no name in {int(table['holiday'].isna().sum())} row(s)")
    dates = _days(table["ds"], "column 'ds' of holidays", keep_order=True)
    lower, upper = _windows(table, "lower_window", -1), _windows(table, "upper_window", 1)
    found: dict[str, list[int]] = {}
    for name, day, before, after in zip(table["holiday"].map(str), dates, lower, upper, strict=True):
        for offset in range(int(before), int(after) + 1):
            found.setdefault(f"{name} {offset:+d}" if offset else name, []).append(int(day) + offset)
    return {name: np.unique(days) for name, days in found.items()}


def _windows(table: pd.DataFrame, column: str, sign: int) -> Days:
    """Return how many days before (negative) or after a holiday are of its window, for each row."""
    if column not in table.columns:
        return np.zeros(len(table), dtype=np.int64)
    windows = pd.to_numeric(table[column], errors="coerce").fillna(0.0).to_numpy(np.float64)
    given = table[column].notna().to_numpy()
    readable = pd.to_numeric(table[column], errors="coerce").notna().to_numpy() | ~given
    right = (
        readable
        & (windows == np.round(windows))
        & (0.0 <= sign * windows)
        & (np.abs(windows) <= WIDEST_WINDOW)
    )
    if not right.all():
        bounds = f"-{WIDEST_WINDOW} to 0" if sign < 0 else f"0 to {WIDEST_WINDOW}"
        raise InputError(
            f"column {column!r} of holidays must be whole numbers of days from {bounds}, got "
            f"{table[column].tolist()[int(np.argmin(right))]!r}"
        )
    return windows.astype(np.int64)


def _days(dates: Any, what: str, *, keep_order: bool = False) -> Days:
    """Return dates as days since 1970, at the place where they were given."""
    listed = [dates] if np.ndim(dates) == 0 else dates
    try:
        if pd.api.types.is_any_real_numeric_dtype(pd.Index(listed).dtype):
            raise TypeError("they are numbers")
        stamps = pd.DatetimeIndex([pd.Timestamp(date).tz_localize(None) for date in listed])
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(f"{what} must be dates, such as '2024-12-25', got {dates!r}: {error}") from None
    if stamps.hasnans:
        raise InputError(f"{what} has {int(np.sum(stamps.isna()))} missing date(s); drop them")
    days = numbered(stamps)
    return days if keep_order else np.unique(days)


def _of_country(code: str, years: range) -> dict[str, Days]:
    """Return the days of each holiday of a country; two on one day count both."""
    try:
        from holidays import country_holidays
    except ImportError as error:
        raise ImportError(INSTALL) from error
    country, _, part = code.strip().upper().partition("-")
    try:
        calendar = country_holidays(country, subdiv=part or None, years=list(years))
    except (NotImplementedError, KeyError) as error:
        raise InputError(
            f"{FORMS}, got {code!r}, which the package holidays does not know: {error}"
        ) from None
    found: dict[str, list[int]] = {}
    for date, names in calendar.items():
        for name in names.split("; "):
            found.setdefault(name, []).append(int(np.datetime64(date, "D").astype(np.int64)))
    return {name: np.unique(days) for name, days in found.items()}


def _years(first: Days, last: Days) -> range:
    years = (
        np.array([first.min(), last.max()]).astype("datetime64[D]").astype("datetime64[Y]").astype(int) + 1970
    )
    return range(int(years[0]), int(years[1]) + 1)


def _count(days: Days, first: Days, last: Days) -> Array:
    inside = np.searchsorted(days, last, side="right") - np.searchsorted(days, first, side="left")
    return inside.astype(np.float64)
