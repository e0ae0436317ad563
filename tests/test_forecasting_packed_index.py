"""Every index that a series may have comes back from a file as it was."""

import datetime
import json
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pytest
import pytz

from nonparam.errors import FileFormatError, InputError
from nonparam.forecasting.packed_index import pack_index, unpack_index
from nonparam.packing import Packer

FREQS = {
    "on a day of the month": pd.DateOffset(months=1, day=30),
    "two hours": pd.DateOffset(hours=2),
    "weekdays of one's own": pd.offsets.CustomBusinessDay(weekmask="Mon Fri"),
    "days off": pd.offsets.CustomBusinessDay(holidays=["2020-01-03", "2020-01-06"]),
    "last Thursdays": pd.offsets.LastWeekOfMonth(weekday=3),
    "second Wednesdays": pd.offsets.WeekOfMonth(week=1, weekday=2),
    "Easter": pd.offsets.Easter(),
    "business hours": pd.offsets.BusinessHour(start="09:00"),
    "weeks from anywhere": pd.offsets.Week(),
    **{text: text for text in ("MS", "QE-FEB", "W-WED", "D", "2B", "90min", "YS-APR", "SME", "BME", "7D")},
}
BERLIN = pd.date_range("2020-04-28 12:00", periods=4, freq="D", tz="Europe/Berlin")
CHANGE = pd.date_range("2020-03-28 12:00", periods=4, freq="D", tz="Europe/Berlin")
INDEXES = {
    **{name: pd.date_range("2020-01-01", periods=5, freq=freq) for name, freq in FREQS.items()},
    "months": pd.period_range("2020-01", periods=4, freq="M", name="month"),
    "quarters": pd.period_range("2020Q1", periods=4, freq="Q-NOV"),
    "weeks": pd.period_range("2020-01-06", periods=4, freq="W-SUN")[[0, 1, 3]],
    "three months": pd.period_range("2020-01", periods=4, freq="3M"),
    "hours": pd.period_range("2020-01-01", periods=4, freq="h"),
    "a zone": BERLIN,
    "clocks set forward": CHANGE,
    "a zone of the standard library": BERLIN.tz_convert(ZoneInfo("Europe/Berlin")),
    "UTC": BERLIN.tz_convert("UTC"),
    "a fixed zone": BERLIN.tz_convert(datetime.timezone(datetime.timedelta(hours=5))),
    "seconds": BERLIN.as_unit("s"),
    "gaps": pd.DatetimeIndex(["2020-01-01", "2020-01-05", "1677-12-31"], name=("a", 1)),
    "the year 9000": pd.DatetimeIndex(np.array(["9000-01-01"], dtype="M8[ms]")),
    "durations": pd.timedelta_range("1h", periods=3, freq="90min", name="after"),
    "odd durations": pd.to_timedelta([1, 5, 6], unit="s").as_unit("ms"),
    "range": pd.RangeIndex(5, 20, 3, name=0),
    "down": pd.RangeIndex(5, 0, -1),
    "integers": pd.Index([1, 5, 2**60]),
    "small integers": pd.Index(np.array([1, 200], dtype=np.uint8)),
    "floats": pd.Index([0.1, 0.1 + 0.2, 1e300]),
    "short floats": pd.Index([0.1, 3.0], dtype="float32"),
    "nullable": pd.Index([1, 4], dtype="Int64"),
}


@pytest.mark.parametrize("name", INDEXES)
def test_an_index_comes_back_as_it_was(name):
    index, packer = INDEXES[name], Packer()
    packed = json.loads(json.dumps(pack_index(index, "index", packer), allow_nan=False))
    again = unpack_index(packed, packer.tensors)
    pd.testing.assert_index_equal(again, index, exact=True)
    assert again.identical(index)
    assert getattr(again, "freq", None) == getattr(index, "freq", None)
    assert getattr(again, "tz", None) == getattr(index, "tz", None)
    assert again.name == index.name and type(again) is type(index)


@pytest.mark.filterwarnings("ignore:Period with BDay freq:FutureWarning", "ignore:PeriodDtype:FutureWarning")
def test_periods_of_business_days_come_back():
    index, packer = pd.period_range("2020-01-01", periods=5, freq="B"), Packer()
    assert unpack_index(pack_index(index, "index", packer), packer.tensors).identical(index)


BAD = {
    "text": (
        pd.Index(["a", "b"]),
        "cannot save an index of object: expected dates, periods, durations or num",
    ),
    "a zone without a name": (
        BERLIN.tz_convert(pytz.FixedOffset(90)),
        r"cannot save the time zone pytz.FixedOff",
    ),
    "a name that is a date": (
        pd.RangeIndex(2, name=datetime.date(2020, 1, 1)),
        "cannot save index.name=datetime.date",
    ),
    "a frequency not kept to": (CHANGE.tz_convert("UTC"), "may not keep to its frequency, so try y.set_axis"),
    "shifted business days": (
        pd.date_range(
            "2020", periods=3, freq=pd.offsets.CustomBusinessDay(offset=datetime.timedelta(hours=2))
        ),
        "cannot save the frequency <CustomBusinessDay.*leave it out, as in",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_an_index_that_no_file_holds_gets_a_clear_error(name):
    index, message = BAD[name]
    with pytest.raises(InputError, match=message):
        pack_index(index, "index", Packer())


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "spells"},
        {"freq": {"class": "BaseOffset", "n": 1, "normalize": False, "arguments": {}}},
        {"freq": {"class": "eval", "n": 1, "normalize": False, "arguments": {}}},
        {"freq": 3},
    ],
)
def test_a_file_of_another_version_gets_a_clear_error(change):
    packer = Packer()
    packed = pack_index(BERLIN, "index", packer) | change
    with pytest.raises(FileFormatError, match="that this version does not know"):
        unpack_index(packed, packer.tensors)
