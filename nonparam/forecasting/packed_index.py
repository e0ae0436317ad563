"""The index of a series as JSON with named tensors, and back, to the last bit and with its frequency."""

import datetime
from collections.abc import Mapping
from typing import Any, cast
from zoneinfo import ZoneInfo

import pandas as pd
from pandas.tseries.frequencies import to_offset
from pandas.tseries.offsets import BaseOffset
from torch import Tensor

from nonparam.errors import FileFormatError, InputError
from nonparam.packing import Packer, Unpacker

__all__ = ["pack_index", "unpack_index"]

Json = Any

OFFSETS = {
    name: offset
    for name, offset in vars(pd.offsets).items()
    if isinstance(offset, type) and issubclass(offset, BaseOffset) and offset is not BaseOffset
}
NOTHING: tuple[Any, ...] = (datetime.timedelta(0), ())  # what an offset's argument is where it was not given


def pack_index(index: pd.Index, name: str, packer: Packer) -> Json:
    """Return JSON for an index.

    Args:
        index: of dates, periods, durations or numbers.
        name: the beginning of the names of its tensors.
        packer: takes the tensors.

    Raises:
        InputError: an index, a frequency or a time zone that a file cannot hold.

    Examples:
        >>> packer = Packer()
        >>> months = pd.period_range("2020-01", periods=2, freq="M", name="month")
        >>> packed = pack_index(months, "index", packer)
        >>> packed["kind"], list(packer.tensors)
        ('periods', ['index'])
        >>> unpack_index(packed, packer.tensors)
        PeriodIndex(['2020-01', '2020-02'], dtype='period[M]', name='month')
    """
    packed = {"name": packer.pack(index.name, f"{name}.name"), **_described(index, name, packer)}
    if not _comes_back(index, packed, packer.tensors):
        raise InputError(
            f"cannot save the index {index!r}: a file would give back another one; its times may not keep to "
            "its frequency, so try y.set_axis(pd.DatetimeIndex(y.index, freq=None))"
        )
    return packed


def _comes_back(index: pd.Index, packed: Json, tensors: Mapping[str, Tensor]) -> bool:
    try:
        return unpack_index(packed, tensors).identical(index)
    except ValueError:  # a frequency that its dates do not keep to
        return False


def _described(index: pd.Index, name: str, packer: Packer) -> dict[str, Json]:
    if isinstance(index, pd.RangeIndex):
        return {"kind": "range", "range": [index.start, index.stop, index.step]}
    if isinstance(index, pd.PeriodIndex):
        return {"kind": "periods", "values": packer.pack(index.asi8, name), "freq": _packed_freq(index.freq)}
    if isinstance(index, pd.DatetimeIndex):
        return {"kind": "dates", "zone": _packed_zone(index.tz), **_spaced(index, name, packer)}
    if isinstance(index, pd.TimedeltaIndex):
        return {"kind": "durations", **_spaced(index, name, packer)}
    if pd.api.types.is_any_real_numeric_dtype(index.dtype):
        plain: Any = getattr(index.dtype, "numpy_dtype", index.dtype)
        values = packer.pack(index.to_numpy(dtype=plain), name)
        return {"kind": "numbers", "values": values, "dtype": str(index.dtype)}
    raise InputError(f"cannot save an index of {index.dtype}: expected dates, periods, durations or numbers")


def _spaced(index: Any, name: str, packer: Packer) -> dict[str, Json]:
    freq = None if index.freq is None else _packed_freq(index.freq)
    return {"values": packer.pack(index.asi8, name), "unit": index.unit, "freq": freq}


def _packed_zone(zone: Any) -> Json:
    """Return the name of a time zone, and whether it is of the standard library or pandas' own choice."""
    if zone is None:
        return None
    packed = {"name": str(zone), "standard": isinstance(zone, ZoneInfo)}
    try:
        _zone(packed)
    except (KeyError, ValueError) as error:
        raise InputError(
            f"cannot save the time zone {zone!r}: expected one with a name, such as y.tz_convert('UTC') has"
        ) from error
    return packed


def _zone(packed: Json) -> Any:
    if packed is None:
        return None
    name = packed["name"]
    return ZoneInfo(name) if packed["standard"] else pd.DatetimeIndex([], tz=name).tz


def _packed_freq(freq: Any) -> Json:
    """Return a frequency as text, or where that does not say all, as its class and its arguments."""
    if _reads(freq.freqstr, freq):
        return {"text": freq.freqstr}
    given = {key: value for key, value in freq.kwds.items() if key != "calendar" and value not in NOTHING}
    if "holidays" in given:
        given["holidays"] = [str(day) for day in given["holidays"]]
    packed = {"class": type(freq).__name__, "n": freq.n, "normalize": freq.normalize, "arguments": given}
    plain = all(isinstance(value, int | str | list) for value in given.values())
    if not plain or packed["class"] not in OFFSETS or _freq(packed) != freq:
        raise InputError(
            f"cannot save the frequency {freq!r}: leave it out, as in "
            "y.set_axis(pd.DatetimeIndex(y.index, freq=None))"
        )
    return packed


def _reads(text: str, freq: BaseOffset) -> bool:
    try:
        return bool(to_offset(text) == freq)
    except ValueError:
        return False


def _freq(packed: Json) -> Any:
    match packed:
        case {"text": text}:
            return to_offset(text)
        case {"class": name, "n": n, "normalize": normalize, "arguments": arguments} if name in OFFSETS:
            return OFFSETS[name](n, normalize, **arguments)
        case None:
            return None
    raise FileFormatError(f"the file has a frequency {packed!r} that this version does not know")


def unpack_index(packed: Json, tensors: Mapping[str, Tensor]) -> pd.Index:
    """Return the index that `pack_index` described.

    Args:
        packed: what it returned.
        tensors: by name.

    Raises:
        FileFormatError: a kind of index or of frequency that this version does not know.
    """
    unpacker, kinds = Unpacker(tensors), cast(Any, pd)  # whose stubs lack some of what is used
    name = unpacker.unpack(packed["name"])
    kind, values = packed["kind"], unpacker.unpack(packed.get("values"))
    match kind:
        case "range":
            start, stop, step = packed["range"]
            return pd.RangeIndex(start, stop, step, name=name)
        case "periods":
            periods: pd.Index = kinds.PeriodIndex.from_ordinals(values, freq=_freq(packed["freq"]), name=name)
            return periods
        case "dates":
            return _dates(packed, values).rename(name)
        case "durations":
            durations = values.view(f"m8[{packed['unit']}]")
            return pd.TimedeltaIndex(durations, freq=_freq(packed["freq"]), name=name)
        case "numbers":
            numbers: pd.Index = pd.Index(values, dtype=packed["dtype"], name=name)
            return numbers
    raise FileFormatError(f"the file has an index of {kind!r} that this version does not know")


def _dates(packed: Json, values: Any) -> pd.DatetimeIndex:
    stamps, zone = pd.DatetimeIndex(values.view(f"M8[{packed['unit']}]")), _zone(packed["zone"])
    stamps = stamps if zone is None else stamps.tz_localize("UTC").tz_convert(zone)
    return pd.DatetimeIndex(stamps, freq=_freq(packed["freq"]))
