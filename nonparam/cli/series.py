"""A time series from a table: which column is time, which is the value, and what the steps are."""

import re
import warnings

import numpy as np
import pandas as pd
from pandas.tseries.api import guess_datetime_format

from nonparam.cli.reading import check_column, first_text, numbers
from nonparam.errors import InputError
from nonparam.forecasting.panel_times import OFFSET

__all__ = ["find_time", "find_value", "parse_times", "series_from_table", "value_columns"]

TIME_NAMES = re.compile(r"time|date|ds|t|year|quarter|month|week|day|hour|period|timestamp|datetime", re.I)
ROW_NAMES = re.compile(r"|index|id|no|nr|row|rownames|unnamed: 0", re.I)
QUARTER = re.compile(r"(\d{4})[-/ ]?Q([1-4])|Q([1-4])[-/ ]?(\d{4})", re.I)
YEAR_FIRST = re.compile(r"\d{4}\D")  # and then the month
MONTH_FORMATS = ("%b %Y", "%b-%Y", "%B %Y", "%Y %b", "%Y/%m", "%m/%Y", "%YM%m")  # pandas cannot tell these
DIGITS = ("%Y%m%d", "%Y%m")  # 19490131, 194901
STEPS_A_YEAR = {1: "Y", 4: "Q", 12: "M"}
FIRST_YEAR, LAST_YEAR = 1000.0, 3000.0
UNEVEN = 1.2  # times the shortest step is the longest of a regular series: 31 days to 28
ROUNDING = 0.002  # years: decimal years are often written with two or three decimals


def series_from_table(
    table: pd.DataFrame, time: str | None, value: str | None
) -> tuple[pd.Series, list[str]]:
    """Find the series in a table.

    Args:
        table: at least one row.
        time: the column of times; by default the first one that holds dates or is called like time.
        value: the column of values; by default the only other column of numbers.

    Returns:
        The series in the order of time, without a column of times that of the rows; and notes for the user.

    Raises:
        InputError: columns that are absent, ambiguous, or not what they should be.
    """
    given = time is None and not isinstance(table.index, pd.RangeIndex)
    if time is not None:
        check_column(table, time, "--time")
    elif not given:
        time = find_time(table, value)
    value = find_value(table, time) if value is None else check_column(table, value, "--value")
    y = numbers(table[value])
    y.attrs = {"units": table.attrs["units"][value]} if "units" in table.attrs else {}
    if given:
        return _sorted(y), []
    if time is None:
        _refuse_labels(table.drop(columns=value))
        steps = f"no column of times: the rows are taken as equal steps, 0 to {len(y) - 1}"
        return y.reset_index(drop=True), [steps]
    times = _complete(parse_times(table[time]))
    offsets = _offsets(table[time])
    in_utc = f"column {time!r} has times of several offsets ({', '.join(offsets)}): they are put into UTC"
    return _sorted(y.set_axis(times.rename(time))), [in_utc] if len(offsets) > 1 else []


def _refuse_labels(others: pd.DataFrame) -> None:
    """Refuse to count rows where a column of labels was perhaps meant to be the time."""
    for name in others.columns:
        if first_text(others[name]) is not None and others[name].is_unique:
            raise InputError(_unreadable(others[name].astype("string")))


def _complete(times: pd.Index) -> pd.Index:
    if times.hasnans:
        row = int(np.flatnonzero(times.isna())[0]) + 1
        raise InputError(f"the column of times is empty in row {row}: fill it in or remove the row")
    return times


def find_time(table: pd.DataFrame, value: str | None = None) -> str | None:
    """Return the first column that holds dates or is called like time, and is not ``value``; or ``None``."""
    names = [name for name in table.columns if name != value]
    return next((name for name in names if _holds_dates(table[name])), None) or next(
        (name for name in names if TIME_NAMES.fullmatch(str(name)) and len(table.columns) > 1), None
    )


def _holds_dates(column: pd.Series) -> bool:
    if pd.api.types.is_datetime64_any_dtype(column):
        return True
    entries = column.dropna()
    if pd.api.types.is_numeric_dtype(column) or entries.empty:
        return False
    return _is_time(entries.astype("string").iloc[:1])


def value_columns(table: pd.DataFrame, time: str | None) -> list[str]:
    """Return the columns of numbers but that of times; one that counts the rows only where it is alone."""
    numbers = [name for name in table.columns if name != time and first_text(table[name]) is None]
    return [name for name in numbers if not _counts_rows(table[name])] or numbers


def find_value(table: pd.DataFrame, time: str | None) -> str:
    """Return the only column of values, or raise `InputError` where there is none or more than one."""
    values = value_columns(table, time)
    if len(values) == 1:
        return str(values[0])
    if values:
        raise InputError(
            f"more than one column of values: choose one with --value ({', '.join(values)}), or take each as "
            "a series with --wide"
        )
    others = [name for name in table.columns if name != time]
    if not others:
        raise InputError(f"expected a column of values beside the times {time!r}, and there is none")
    row, entry = first_text(table[others[0]]) or (1, "")
    raise InputError(
        f"no column of numbers to forecast: column {others[0]!r} holds {entry!r} in row {row}; write numbers "
        "as 1234.5"
    )


def _counts_rows(column: pd.Series) -> bool:
    if not ROW_NAMES.fullmatch(str(column.name)):
        return False
    return bool((pd.to_numeric(column).diff().iloc[1:] == 1).all())


def parse_times(column: pd.Series) -> pd.Index:
    """Read times: dates in text, quarters, years, decimal years, or plain numbers.

    Args:
        column: ``(n,)``.

    Returns:
        An index of the same length: periods for months, quarters and years, else time stamps or numbers.

    Raises:
        InputError: an entry that is not a time; the message gives its row.

    Examples:
        >>> parse_times(pd.Series(["1959Q1", "1959Q2"]))
        PeriodIndex(['1959Q1', '1959Q2'], dtype='period[Q-DEC]')
        >>> parse_times(pd.Series([1949.0, 1949.0833, 1949.1667])).strftime("%Y-%m").tolist()
        ['1949-01', '1949-02', '1949-03']
    """
    if pd.api.types.is_datetime64_any_dtype(column):
        return _named_periods(pd.DatetimeIndex(column))
    if pd.api.types.is_numeric_dtype(column):
        return _numeric_times(column)
    text = column.astype("string").str.strip()
    if _are_quarters(text):
        return pd.PeriodIndex(text.str.replace(QUARTER, r"\1\4Q\2\3", regex=True), freq="Q")
    dates = _readings(text)
    if not dates:
        raise InputError(_unreadable(text))
    regular = [reading for reading in dates if _is_regular(reading)]
    for other in regular[1:]:
        if not other.equals(regular[0]):
            raise InputError(_ambiguous(text, regular[0], other))
    return _named_periods((regular or dates)[0])


def _are_quarters(text: "pd.Series[str]") -> bool:
    return bool(text.str.fullmatch(QUARTER).fillna(True).all())


def _is_time(text: "pd.Series[str]") -> bool:
    return _are_quarters(text) or bool(_readings(text))


def _ambiguous(text: "pd.Series[str]", first: pd.DatetimeIndex, second: pd.DatetimeIndex) -> str:
    row = int(((first != second) & first.notna()).argmax())
    return (
        f"column {text.name!r} holds {text.iloc[row]!r} in row {row + 1}, which may be "
        f"{first[row]:%Y-%m-%d} or {second[row]:%Y-%m-%d}, and both give a regular series: write dates as "
        "1949-01-31"
    )


def _readings(text: "pd.Series[str]") -> list[pd.DatetimeIndex]:
    """Return what dates that are written alike may mean: 01/02/1949 is in January or in February."""
    readings = [_dates(text, pattern) for pattern in _patterns(text)]
    return [dates for dates in readings if dates is not None]


def _patterns(text: "pd.Series[str]") -> list[str]:
    return list(dict.fromkeys([*_guesses(str(text.dropna().iloc[0])), *MONTH_FORMATS]))


def _guesses(entry: str) -> list[str]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that the day may come first, which is tried
        orders = (False,) if YEAR_FIRST.match(entry) else (False, True)
        guesses = [guess_datetime_format(entry, dayfirst=day_first) for day_first in orders]
    return [guess for guess in guesses if guess is not None]


def _offsets(column: pd.Series) -> list[str]:
    """Return the different offsets from UTC that times in text are written with."""
    if pd.api.types.is_datetime64_any_dtype(column):
        return []
    return list(column.astype("string").str.strip().str.extract(OFFSET)[0].dropna().unique())


def _dates(text: "pd.Series[str]", pattern: str) -> pd.DatetimeIndex | None:
    try:
        return pd.DatetimeIndex(pd.to_datetime(text, format=pattern, utc=len(_offsets(text)) > 1))
    except (ValueError, OverflowError):
        return None


def _is_regular(index: pd.DatetimeIndex) -> bool:
    """Whether all steps are about equal, as those of months are."""
    steps = index.sort_values().to_series().diff().iloc[1:]
    return (
        len(steps) > 1 and bool(steps.min() > pd.Timedelta(0)) and bool(steps.max() <= UNEVEN * steps.min())
    )


def _unreadable(text: "pd.Series[str]") -> str:
    row = _first_unlike(text)
    return (
        f"column {text.name!r} holds {text.iloc[row]!r} in row {row + 1}, which cannot be read as a time "
        "like the others: write dates as 1949-01-31, months as 1949-01, quarters as 1949Q1, all in one form"
    )


def _first_unlike(text: "pd.Series[str]") -> int:
    """Return the row of the first entry that no reading of the first one fits, or else the first row."""
    entries = text.dropna()
    first = entries.iloc[:1]
    quarters = entries.str.fullmatch(QUARTER).to_numpy(dtype=bool)
    unlike = ~quarters if quarters[0] else np.ones(len(entries), dtype=bool)
    utc = len(_offsets(entries)) > 1
    for pattern in _patterns(text):
        if _dates(first, pattern) is not None:
            unlike &= pd.to_datetime(entries, format=pattern, errors="coerce", utc=utc).isna().to_numpy()
    return int(np.flatnonzero(text.notna())[unlike.argmax()])


def _numeric_times(column: pd.Series) -> pd.Index:
    numbers = column.to_numpy(dtype=float)
    whole = bool((numbers == np.round(numbers)).all())
    dates = [_dates(column.astype(str), pattern) for pattern in DIGITS] if whole else []
    written = next((date for date in dates if date is not None), None)
    if written is not None:
        return _named_periods(written)
    plain: pd.Index = pd.Index(column)
    if not ((numbers >= FIRST_YEAR) & (numbers < LAST_YEAR)).all():
        return plain
    for steps, frequency in STEPS_A_YEAR.items():
        count = numbers * steps
        if np.abs(count - np.round(count)).max() <= ROUNDING * steps:
            first = pd.Period(year=int(numbers[0]), month=1, freq=frequency)
            return pd.PeriodIndex([first + int(k) for k in np.round(count - steps * int(numbers[0]))])
    return plain


def _sorted(y: pd.Series) -> pd.Series:
    y = y.sort_index()
    if not y.index.is_unique:
        twice = y.index[y.index.duplicated()][0]
        raise InputError(
            f"column {y.index.name!r} has more than one row for {twice}: expected one row for each time; add "
            "up or average the rows, or tell several series apart by a column, with --id"
        )
    return y


def _named_periods(stamps: pd.DatetimeIndex) -> pd.Index:
    """Return months, quarters or years where stamps are the first or last days of months."""
    days = stamps.normalize()
    ends = days.is_month_start.all() or days.is_month_end.all()
    if len(stamps) < 2 or stamps.tz is not None or not ends or not (days == stamps).all():
        return stamps
    months = np.diff(np.unique(days.year * 12 + days.month))
    index: pd.Index = stamps.to_period({12: "Y", 3: "Q"}.get(int(np.gcd.reduce(months)), "M"))
    return index
