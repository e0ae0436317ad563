"""Series that break forecasters, each with what is owed to its user: a forecast, or one clear error."""

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd

__all__ = ["CASES", "LONG_GAP", "Case", "seasonal"]

LONG_GAP = 20


@dataclass(frozen=True)
class Case:
    """One series.

    Attributes:
        build: makes it, so that one that raises or warns spoils its own test only.
        error: what the error says; ``None`` where a forecast is owed.
        warns: what a warning says that must come; ``None`` where none may.
        season: of the forecaster.
        far: the longest horizon asked for.
        reach: how many times the range of the series the median of 18 steps may leave it.
        positive: also forecast its logarithm, which no quantile at 0 or below may come from.
    """

    build: Callable[[], Any]
    error: str | None = None
    warns: str | None = None
    season: Any = "auto"
    far: int = 400
    reach: float = 3.0
    positive: bool = False


def seasonal(n: int = 36, period: float = 4.0, seed: int = 0) -> np.ndarray:
    """A positive series with a trend, a season and noise."""
    rng, t = np.random.RandomState(seed), np.arange(n)
    return 20.0 + 0.1 * t + 3.0 * np.sin(2.0 * np.pi * t / period) + rng.standard_normal(n)


def noise(n: int = 30, seed: int = 1) -> np.ndarray:
    return np.random.RandomState(seed).standard_normal(n)


def changed(y: np.ndarray, where: Any, value: Any) -> np.ndarray:
    """A copy with other values at some places."""
    other = y.copy()
    other[where] = value
    return other


def at(index: Any, y: np.ndarray | None = None, name: str | None = "sales") -> pd.Series:
    """A seasonal series, or another one, with this index."""
    return pd.Series(seasonal(len(index)) if y is None else y, index=index, name=name)


def dated(y: np.ndarray) -> pd.Series:
    return at(pd.date_range("2015-01-01", periods=len(y), freq="MS"), y)


t = np.arange(30.0)

SHORT = {
    "one point": Case(lambda: [3.0], reach=100.0),
    "one point, zero": Case(lambda: [0.0]),
    "one point, dated": Case(lambda: at(pd.DatetimeIndex(["2020-02-29"])), reach=100.0),
    "one period": Case(lambda: at(pd.period_range("2020", periods=1, freq="Y")), reach=100.0),
    "one point among the missing": Case(lambda: changed(np.full(20, np.nan), 7, 5.0), reach=100.0),
    "two points": Case(lambda: [1.0, 2.0], reach=30.0),
    "two equal points": Case(lambda: [2.0, 2.0]),
    "two points of opposite sign": Case(lambda: [-1.0, 1.0], reach=30.0),
    "two points a gap apart": Case(lambda: changed(np.full(30, np.nan), [0, 29], [1.0, 2.0])),
    "three points": Case(lambda: [1.0, 4.0, 2.0], reach=30.0),
    "four points": Case(lambda: [5.0, 3.0, 8.0, 1.0], reach=10.0),
    "five months": Case(lambda: dated(np.array([5.0, 3.0, 8.0, 1.0, 4.0])), reach=10.0, positive=True),
    "six points": Case(lambda: [1.0, 2.0, 4.0, 8.0, 16.0, 32.0], reach=1e6, positive=True),
    "shorter than its season": Case(lambda: seasonal(6), season=12, reach=10.0),
    "as long as its season": Case(lambda: seasonal(12), season=12, reach=10.0),
    "a season of two": Case(lambda: seasonal(30, period=2.0) + 3.0 * (-1.0) ** t, season=2),
    "a season far beyond the series": Case(lambda: seasonal(), season=1000),
}

FLAT = {
    "constant": Case(lambda: np.full(30, 7.3)),
    "constant, negative": Case(lambda: np.full(30, -7.3)),
    "constant months": Case(lambda: dated(np.full(30, 0.1))),
    "constant, logged": Case(lambda: np.full(30, 7.3), positive=True),
    "all zeros": Case(lambda: np.zeros(30)),
    "all zeros, dated": Case(lambda: dated(np.zeros(30))),
    "negative zeros": Case(lambda: np.full(30, -0.0)),
    "constant but for the last bit": Case(lambda: 1.0 + np.spacing(1.0) * (np.arange(30) % 2), reach=10.0),
    "constant but for one point": Case(lambda: changed(np.full(30, 5.0), 15, 5.0 + 1e-9)),
    "constant but for the last point": Case(lambda: changed(np.full(30, 5.0), 29, 6.0)),
    "constant but for the first point": Case(lambda: changed(np.full(30, 5.0), 0, 4.0)),
    "one value, half missing": Case(lambda: changed(np.full(30, 5.0), slice(None, None, 2), np.nan)),
}

EXACT = {
    "line": Case(lambda: 3.0 + 0.5 * t),
    "falling line": Case(lambda: 3.0 - 0.5 * t),
    "line of months": Case(lambda: dated(100.0 + t)),
    "line in logarithms": Case(lambda: dated(np.exp(0.1 * t)), reach=20.0, positive=True),
    "falling line in logarithms": Case(lambda: np.exp(-0.1 * t), positive=True),
    "parabola": Case(lambda: t**2, reach=5.0),
    "cubic": Case(lambda: (t - 15.0) ** 3, reach=10.0),
    "sine": Case(lambda: np.sin(2.0 * np.pi * t / 6.0), season=6),
    "sine times growth": Case(lambda: np.exp(0.05 * t + np.sin(t)), positive=True, reach=10.0),
    "exact season": Case(lambda: np.tile([1.0, 5.0, 2.0, 9.0], 9), season=4, positive=True),
    "alternating": Case(lambda: (-1.0) ** np.arange(31)),
    "alternating, seasoned": Case(lambda: (-1.0) ** np.arange(31), season=2),
    "Fibonacci": Case(lambda: np.round(1.618**t), reach=1e5),
    "growth by half": Case(lambda: dated(1.5**t), reach=2e3, positive=True),
    "growth to 1e30": Case(lambda: 10.0**t, reach=1e40),
    "growth to 1e30, logged": Case(lambda: 10.0 ** (t + 1.0), reach=1e40, positive=True),
    "decay to 1e-30": Case(lambda: 10.0**-t, positive=True),
    "double exponential": Case(lambda: np.exp(np.exp(t / 8.0)), reach=1e40),
    "harmonic": Case(lambda: 1.0 / (1.0 + t)),
}

SPIKES = {
    "one-hot, first": Case(lambda: np.eye(30)[0]),
    "one-hot, middle": Case(lambda: np.eye(30)[15]),
    "one-hot, last": Case(lambda: np.eye(30)[29]),
    "zeros, then spikes": Case(lambda: np.r_[np.zeros(20), noise(10) ** 2 * 50.0]),
    "intermittent": Case(lambda: np.random.RandomState(2).poisson(0.2, 40) * 5.0),
    "intermittent months": Case(lambda: dated(np.random.RandomState(3).poisson(0.3, 48) * 1.0)),
    "zero tail": Case(lambda: np.r_[seasonal(20), np.zeros(16)]),
    "zero head": Case(lambda: np.r_[np.zeros(16), seasonal(20)]),
    "zeros and ones": Case(lambda: np.random.RandomState(4).randint(0, 2, 40)),
    "outlier of 50 sigma, first": Case(lambda: changed(noise(), 0, 50.0)),
    "outlier of 50 sigma, middle": Case(lambda: changed(noise(), 14, 50.0)),
    "outlier of 50 sigma, last": Case(lambda: changed(noise(), -1, 50.0)),
    "outlier of -50 sigma, last but one": Case(lambda: changed(noise(), -2, -50.0)),
    "outlier of 1e6 sigma": Case(lambda: changed(noise(), 14, 1e6)),
    "outlier of 1e15 sigma": Case(lambda: changed(noise(), 14, 1e15)),
    "positive with an outlier": Case(lambda: changed(seasonal(), 20, 1e5), positive=True),
    "two outliers that cancel": Case(lambda: changed(noise(), [10, 11], [80.0, -80.0])),
    "Cauchy": Case(lambda: np.random.RandomState(5).standard_cauchy(40)),
    "log-normal, wide": Case(lambda: np.exp(3.0 * noise(40)), positive=True, reach=10.0),
}

BREAKS = {
    "level shift": Case(lambda: np.r_[noise(18), 20.0 + noise(18, 2)]),
    "level shift at the end": Case(lambda: np.r_[noise(34), [30.0, 30.5]]),
    "variance shift": Case(lambda: np.r_[0.01 * noise(18), 10.0 * noise(18, 2)]),
    "variance dies": Case(lambda: np.r_[10.0 * noise(18, 2), np.zeros(18)]),
    "step": Case(lambda: np.r_[np.zeros(18), np.ones(18)]),
    "stairs": Case(lambda: np.floor(t / 7.0)),
    "trend turns": Case(lambda: np.abs(t - 20.0)),
    "season appears": Case(lambda: np.r_[np.zeros(20), np.sin(np.arange(20) * np.pi / 2.0)], season=4),
    "season changes its period": Case(lambda: np.r_[np.sin(t), np.sin(2.0 * t)]),
    "chirp": Case(lambda: np.sin(0.02 * t**2)),
    "sawtooth of 7.3": Case(lambda: np.mod(np.arange(50) / 7.3, 1.0), season=7.3),
    "sawtooth, season to be found": Case(lambda: np.mod(np.arange(50) / 7.3, 1.0)),
    "quantised": Case(lambda: np.round(seasonal())),
    "quantised to one step": Case(lambda: np.round(0.3 * noise(40))),
    "random walk": Case(lambda: np.cumsum(noise(40))),
    "random walk, integrated twice": Case(lambda: np.cumsum(np.cumsum(noise(40))), reach=5.0),
    "white noise": Case(lambda: noise(40)),
    "half-hours over a week": Case(
        lambda: at(
            pd.date_range("2024-01-01", periods=336, freq="30min"),
            np.sin(np.arange(336) * np.pi / 24.0) + 0.1 * noise(336),
        )
    ),
    "five minutes, m = 288": Case(
        lambda: np.sin(np.arange(300) * np.pi / 144.0) + 0.1 * noise(300), season=288
    ),
    "five minutes over a day": Case(
        lambda: at(pd.date_range("2024-01-01", periods=300, freq="5min"), np.cumsum(noise(300)))
    ),
}

MISSING = {
    "30 % missing": Case(lambda: changed(seasonal(), np.random.RandomState(6).rand(36) < 0.3, np.nan)),
    "30 % missing months": Case(
        lambda: changed(dated(seasonal()), np.random.RandomState(6).rand(36) < 0.3, np.nan)
    ),
    "30 % of the rows left out": Case(lambda: dated(seasonal())[np.random.RandomState(6).rand(36) > 0.3]),
    "long gap": Case(lambda: changed(seasonal(44), slice(12, 12 + LONG_GAP), np.nan), season=4),
    "rows of a long gap left out": Case(lambda: dated(seasonal(44)).drop(dated(seasonal(44)).index[12:32])),
    "missing at both ends": Case(lambda: changed(seasonal(), [0, 1, 2, -2, -1], np.nan)),
    "missing for a year at the end": Case(lambda: dated(changed(seasonal(), slice(-12, None), np.nan))),
    "every other one missing": Case(lambda: changed(seasonal(), slice(1, None, 2), np.nan)),
    "all but three missing": Case(
        lambda: changed(np.full(40, np.nan), [3, 20, 31], [1.0, 5.0, 2.0]), reach=10.0
    ),
    "none of one month": Case(lambda: dated(changed(seasonal(48, 12.0), slice(4, None, 12), np.nan))),
}

SCALES = {
    f"scale of {scale:g}": Case(lambda scale=scale: scale * seasonal(), season=4, positive=True)
    for scale in (1e-98, 1e-50, 1e-12, 1e-6, 1e6, 1e12, 1e50, 1e97)
} | {
    "offset of 1e9": Case(lambda: 1e9 + 1e-3 * noise()),
    "offset of -1e9": Case(lambda: -1e9 + 1e-3 * noise()),
    "offset of 1e15": Case(lambda: 1e15 + np.round(4.0 * noise()), reach=10.0),
    "offset of 1e9 on a line": Case(lambda: 1e9 + 1e-3 * t),
    "nearly constant": Case(lambda: 1.0 + 1e-12 * noise()),
    "tiny beside its mean, dated": Case(lambda: dated(1e6 + 1e-6 * noise())),
    "both signs, wide": Case(lambda: noise() * 10.0 ** np.linspace(-8.0, 8.0, 30)),
    "negative": Case(lambda: -seasonal(), season=4),
    "positive but for one": Case(lambda: changed(seasonal(), 9, -1e-3)),
    "positive but for a zero": Case(lambda: changed(seasonal(), 9, 0.0)),
    "one tiny among the positive": Case(lambda: changed(seasonal(), 9, 1e-99)),
}

TYPES = {
    kind: Case(lambda kind=kind: np.round(seasonal()).astype(kind), season=4)
    for kind in ("int8", "uint8", "int16", "uint64", "float16", "float32", "longdouble")
} | {
    "Int64 with missing": Case(lambda: pd.Series([*range(20, 50), pd.NA, 3], dtype="Int64")),
    "Float64 with missing": Case(lambda: pd.Series([*seasonal(), pd.NA], dtype="Float64")),
    "list of integers": Case(lambda: [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 9]),
    "tuple": Case(lambda: tuple(seasonal())),
    "column": Case(lambda: seasonal()[:, None]),
    "table of one column": Case(lambda: dated(seasonal()).to_frame()),
    "read-only": Case(lambda: np.broadcast_to(seasonal(), (36,))),
    "every other element of an array": Case(lambda: seasonal(72, 8.0)[::2]),
    "uint8 that would wrap": Case(lambda: np.array([250, 255, 0, 5] * 8, dtype=np.uint8)),
    "objects": Case(lambda: pd.Series([1.0, 2, 3], dtype=object), error="must be numbers, got object"),
    "decimals": Case(lambda: [Decimal("1.5")] * 5, error=r"must be numbers, got object such as Decimal"),
    "bool": Case(lambda: np.ones(9, dtype=bool), error="must be numbers, got bool"),
    "nullable bool": Case(
        lambda: pd.Series([True, None], dtype="boolean"), error="must be numbers, got bool"
    ),
    "text": Case(lambda: ["1", "2"], error="must be numbers, got (str|object)"),
    "categories": Case(lambda: pd.Series([1, 2, 1], dtype="category"), error="must be numbers, got category"),
    "complex": Case(lambda: np.ones(4) * 1j, error="must be numbers, got complex"),
    "dates": Case(lambda: pd.Series(pd.date_range("2020", periods=4)), error="must be numbers, got datetime"),
    "durations": Case(lambda: pd.Series(pd.timedelta_range("1h", periods=4)), error="must be numbers, got"),
    "dictionary": Case(lambda: {"a": 1.0}, error="must be one series of numbers, got dict"),
    "nothing at all": Case(lambda: None, error="must be one series of numbers, got NoneType"),
    "matrix": Case(lambda: np.ones((4, 2)), error="must be one series of numbers, got ndarray of shape"),
    "table of two columns": Case(
        lambda: pd.DataFrame({"a": [1.0], "b": [2.0]}), error=r"a table with the columns \['a', 'b'\]"
    ),
}

REFUSED = {
    "empty": Case(lambda: [], error="no observation: expected at least one number"),
    "empty, dated": Case(lambda: dated(np.empty(0)), error="no observation"),
    "all missing": Case(lambda: np.full(9, np.nan), error="no observation"),
    "infinite": Case(lambda: changed(noise(), 3, np.inf), error="infinite at 3; expected numbers"),
    "minus infinite": Case(lambda: changed(noise(), 3, -np.inf), error="infinite at 3"),
    "infinite among missing": Case(lambda: [np.nan, np.inf, np.nan], error="infinite at 1"),
    "beyond 1e100": Case(lambda: 1e150 * noise(), error="values of size .*use another unit"),
    "below 1e-100": Case(lambda: 1e-150 * noise(), error="values of size .*use another unit"),
    "duplicate times": Case(
        lambda: at(pd.DatetimeIndex(["2020-01-01", "2020-01-02", "2020-01-02"])),
        error="several values at 2020-01-02 00:00:00",
    ),
    "duplicate rows": Case(lambda: at([0, 1, 1, 2]), error="several values at 1: expected one at each time"),
    "missing time": Case(lambda: at(pd.DatetimeIndex(["2020-01-01", None])), error=r"1 missing time\(s\)"),
    "infinite time": Case(lambda: at([0.0, 1.0, np.inf]), error="index of y must be finite"),
    "text for times": Case(lambda: at(["a", "b"]), error="must be dates, periods or numbers"),
    "truth for times": Case(lambda: at([True, False]), error="must be dates, periods or numbers"),
    "two levels": Case(
        lambda: at(pd.MultiIndex.from_product([["a"], [0, 1]], names=["id", "t"])),
        error=r"the levels \['id', 't'\]",
    ),
    "intervals for times": Case(
        lambda: at(pd.interval_range(0, 5)), error="must be dates, periods or numbers"
    ),
    "dates among numbers": Case(
        lambda: at(pd.Index([pd.Timestamp("2020"), 3], dtype=object)),
        error="must be dates, periods or numbers",
    ),
}

PERIODS = (
    "Y",
    "Y-MAR",
    "Q",
    "Q-FEB",
    "M",
    "2M",
    "W",
    "W-WED",
    "D",
    "3D",
    "h",
    "6h",
    "min",
    "15min",
    "s",
    "ms",
)
STAMPS = (
    "YS",
    "YE-JUN",
    "QS",
    "QE",
    "MS",
    "ME",
    "BMS",
    "BME",
    "SMS",
    "W-WED",
    "2W",
    "D",
    "B",
    "h",
    "30min",
    "s",
)


def irregular(kind: str = "datetime64[ns]") -> pd.Index:
    days = np.cumsum(np.random.RandomState(7).gamma(2.0, 4.0, 30))
    return pd.Index((np.datetime64("2020-01-01") + (days * 86400).astype("timedelta64[s]")).astype(kind))


CLOCK_CHANGES = {  # the day before
    "Europe/Berlin": "2024-03-30",
    "Asia/Beirut": "2024-03-30",  # at midnight, which there is none of
    "America/New_York": "2024-11-02",  # an hour comes twice
    "UTC": "2024-03-30",
}


def wall(start: Any, freq: str, zone: str) -> pd.DatetimeIndex:
    """Stamps at the same time on the wall; hours go on by the hour."""
    if freq == "h":
        return pd.date_range(pd.Timestamp(start, tz=zone), periods=36, freq="h")
    return pd.date_range(start, periods=36, freq=freq).tz_localize(zone, nonexistent="shift_forward")


INDEXES = (
    {
        f"periods of {freq}": Case(lambda freq=freq: at(pd.period_range("1990-01-01", periods=36, freq=freq)))
        for freq in PERIODS
    }
    | {
        f"stamps of {freq}": Case(
            lambda freq=freq: at(pd.date_range("1990-01-01", periods=36, freq=freq)), far=200
        )
        for freq in STAMPS
    }
    | {
        f"stamps of {freq}, frequency to be found": Case(
            lambda freq=freq: at(
                pd.DatetimeIndex(pd.date_range("1990-01-01", periods=36, freq=freq), freq=None)
            ),
            far=200,
        )
        for freq in STAMPS
    }
    | {
        f"{freq} over a clock change, {zone}": Case(
            lambda freq=freq, zone=zone, start=start: at(wall(start, freq, zone))
        )
        for freq in ("D", "h", "W")
        for zone, start in CLOCK_CHANGES.items()
    }
    | {
        f"{freq} before a clock change, {zone}": Case(
            lambda freq=freq, zone=zone, start=start, days=days: at(
                wall(pd.Timestamp(start) - pd.Timedelta(days, "D"), freq, zone)
            )
        )
        for freq, days in (("D", 40), ("h", 1.5))
        for zone, start in CLOCK_CHANGES.items()
    }
    | {
        "range": Case(lambda: at(pd.RangeIndex(36))),
        "range in steps of 5": Case(lambda: at(pd.RangeIndex(10, 190, 5))),
        "negative range": Case(lambda: at(pd.RangeIndex(-50, -14))),
        "falling range": Case(lambda: at(pd.RangeIndex(36, 0, -1))),
        "years": Case(lambda: at(pd.Index(np.arange(1970, 2006)))),
        "numbers with gaps": Case(lambda: at(pd.Index(np.delete(np.arange(60), [3, 4, 5, 20, 44, 45])))),
        "floats": Case(lambda: at(pd.Index(0.25 * np.arange(36)))),
        "floats of 0.1": Case(lambda: at(pd.Index(0.1 * np.arange(36)))),
        "irregular floats": Case(lambda: at(pd.Index(np.sort(np.random.RandomState(8).rand(30))))),
        "unsigned": Case(lambda: at(pd.Index(np.arange(36), dtype="uint8"))),
        "unsigned that would wrap": Case(lambda: at(pd.Index(np.arange(219, 255), dtype="uint8"))),
        "int8 that would wrap": Case(lambda: at(pd.Index(np.arange(-36, 0), dtype="int8"))),
        "huge integers": Case(lambda: at(pd.Index(2**60 + np.arange(36)))),
        "nullable integers": Case(lambda: at(pd.Index(np.arange(36), dtype="Int64"))),
        "durations of 6 h": Case(lambda: at(pd.timedelta_range("1h", periods=36, freq="6h"))),
        "irregular durations": Case(lambda: at(pd.Index(irregular() - irregular()[0]))),
        "descending dates": Case(lambda: dated(seasonal())[::-1]),
        "shuffled dates": Case(lambda: dated(seasonal()).sample(frac=1.0, random_state=0)),
        "shuffled integers": Case(lambda: at(pd.RangeIndex(36)).sample(frac=1.0, random_state=0)),
        "stamps in seconds": Case(
            lambda: at(
                pd.DatetimeIndex(
                    np.arange("1500-01", "1503-01", dtype="datetime64[M]").astype("datetime64[s]")
                )
            )
        ),
        "dates before 1970": Case(lambda: at(pd.date_range("1870-01-01", periods=36, freq="D"))),
        "irregular dates": Case(lambda: at(irregular()), warns="keep to no calendar that is recognised"),
        "irregular dates in seconds": Case(
            lambda: at(irregular("datetime64[s]")), warns="keep to no calendar that is recognised"
        ),
        "irregular dates in a zone": Case(
            lambda: at(irregular().tz_localize("UTC")), warns="keep to no calendar that is recognised"
        ),
        "leap days": Case(
            lambda: at(pd.date_range("1904-02-29", periods=20, freq=pd.DateOffset(years=4))), far=50
        ),
        "thirtieths": Case(
            lambda: at(
                pd.DatetimeIndex([pd.Timestamp("2015-01-30") + pd.DateOffset(months=k) for k in range(36)])
            ),
            far=200,
        ),
        "shop hours": Case(
            lambda: at(
                pd.DatetimeIndex(
                    [s for s in pd.date_range("2024-01-01", periods=120, freq="h") if 9 <= s.hour < 17]
                )
            )
        ),
        "name that is a number": Case(lambda: at(pd.RangeIndex(36), name=7)),
        "name that is a tuple": Case(lambda: at(pd.RangeIndex(36), name=("a", "b"))),
        "index with a name": Case(lambda: dated(seasonal()).rename_axis("month")),
    }
)

CASES = SHORT | FLAT | EXACT | SPIKES | BREAKS | MISSING | SCALES | TYPES | REFUSED | INDEXES
