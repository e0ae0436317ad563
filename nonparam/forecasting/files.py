"""Fitted forecasters in files of numbers and JSON: series, hyperparameters and weights, no code."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, TypeVar, cast

import numpy as np
import pandas as pd
from torch import Tensor

from nonparam.errors import FileFormatError
from nonparam.forecasting.beside import Beside
from nonparam.forecasting.ensemble import Ensemble
from nonparam.forecasting.findings import Fitted
from nonparam.forecasting.fitting import Fit, Setting
from nonparam.forecasting.holidays import Holidays
from nonparam.forecasting.packed_index import pack_index, unpack_index
from nonparam.forecasting.regressors import Regressors
from nonparam.forecasting.report import ForecastReport, MemberReport
from nonparam.forecasting.season import Cycle
from nonparam.forecasting.transforms import LINKS, Standardised
from nonparam.forecasting.validation import Observed, read_series
from nonparam.packing import Packer, Unpacker
from nonparam.persistence import Location, complete, read_file, write_file

__all__ = ["load_forecaster", "save_forecaster"]

Json = Any
Forecaster = TypeVar("Forecaster")


def save_forecaster(forecaster: Any, fitted: Fitted, path: Location) -> None:
    """Write a fitted `GPForecaster`.

    The covariances of the series are not stored: they follow from what is, by the same steps.

    Args:
        forecaster: a fitted one.
        fitted: what it has.
        path: of the file.

    Raises:
        InputError: a parameter, an index or a name that a file cannot hold, or no such folder.
    """
    packer = Packer()
    params = forecaster.get_params(deep=False)
    params["holidays"] = _plain_holidays(params["holidays"])
    document = {
        "params": packer.pack(params, "params"),
        "series": _packed_series(fitted.observed.y, packer),
        "regressors": _packed_regressors(fitted.beside.regressors, packer),
        "holidays": packer.pack(_holidays(fitted.beside.holidays), "holidays"),
        "fit": packer.pack(_state(fitted), "fit"),
    }
    write_file(path, type(forecaster).__name__, document, packer.tensors)


def _plain_holidays(holidays: Any) -> Any:
    """Return holidays, whatever they were given as, in what JSON can hold."""
    if isinstance(holidays, pd.DataFrame):
        table = holidays.reset_index(drop=True)
        return {"table": {str(name): [_plain(value) for value in table[name]] for name in table.columns}}
    if isinstance(holidays, Mapping):
        days = {
            str(name): [dates] if np.ndim(dates) == 0 else list(dates) for name, dates in holidays.items()
        }
        return {"days": {name: [_plain(date) for date in dates] for name, dates in days.items()}}
    return holidays


def _plain(value: Any) -> Any:
    if isinstance(value, int | float | np.number):
        return float(value)
    return value if isinstance(value, str) else str(pd.Timestamp(value))


def _given_holidays(plain: Any) -> Any:
    match plain:
        case {"table": columns}:
            return pd.DataFrame(columns)
        case {"days": days}:
            return days
    return plain


def _packed_series(y: pd.Series, packer: Packer) -> Json:
    return {
        "index": pack_index(y.index, "series.index", packer),
        "values": packer.pack(y.to_numpy(), "series.values"),
        "name": packer.pack(y.name, "series.name"),
        "attrs": packer.pack(dict(y.attrs), "series.attrs"),
    }


def _series(packed: Json, tensors: Mapping[str, Tensor]) -> pd.Series:
    unpacker = Unpacker(tensors)
    values, name = unpacker.unpack(packed["values"]), unpacker.unpack(packed["name"])
    y = pd.Series(values, index=unpack_index(packed["index"], tensors), name=name)
    y.attrs = unpacker.unpack(packed["attrs"])
    return y


def _packed_regressors(regressors: Regressors | None, packer: Packer) -> Json:
    if regressors is None:
        return None
    state = {
        "columns": list(regressors.names),
        "table": regressors.table.to_numpy(),
        "centre": regressors.centre,
        "scale": regressors.scale,
        "by_row": regressors.by_row,
    }
    return packer.pack(state, "regressors")


def _holidays(holidays: Holidays | None) -> Any:
    return None if holidays is None else {**asdict(holidays), "days": dict(holidays.days)}


def _state(fitted: Fitted) -> dict[str, Any]:
    ensemble, report = fitted.ensemble, fitted.report
    return {
        "cycle": asdict(fitted.setting.cycle),
        "origin": fitted.setting.origin,
        "has_slope": fitted.setting.structure.has_slope,
        "transforms": [[t.link.name, t.centre, t.scale] for t in ensemble.transforms],
        "points": ensemble.points,
        "outputs": ensemble.outputs,
        "weights": ensemble.weights,
        "report": {**asdict(report), "members": [asdict(member) for member in report.members]},
    }


def load_forecaster(cls: type[Forecaster], path: Location) -> Forecaster:
    """Read what `save_forecaster` wrote.

    Args:
        cls: the class of the forecaster.
        path: of the file.

    Returns:
        The fitted forecaster.

    Raises:
        InputError: no such file, or one of another class.
        FileFormatError: the file is damaged, was changed, is of another program or version, or holds numbers
            that no fit leaves behind.
    """
    document, tensors = read_file(path, cls.__name__)
    with complete(path):
        unpacker = Unpacker(tensors)
        params = unpacker.unpack(document["params"])
        forecaster: Any = cls(**{**params, "holidays": _given_holidays(params["holidays"])})
        observed = read_series(_series(document["series"], tensors))
        beside = _beside(observed, document, unpacker)
        state = unpacker.unpack(document["fit"])
        reading = {"origin": state["origin"], "has_slope": state["has_slope"]}
        setting = forecaster.setting(Cycle(**state["cycle"]), observed, beside, **reading)
        _check(path, state, setting.structure.theta().size)
        members = tuple(MemberReport(**member) for member in state["report"].pop("members"))
        fit = Fit(setting, (), _ensemble(setting, observed, state))
        forecaster.accept(observed, beside, fit, ForecastReport(members, **state["report"]))
    return cast(Forecaster, forecaster)


def _ensemble(setting: Setting, observed: Observed, state: dict[str, Any]) -> Ensemble:
    transforms = tuple(Standardised(LINKS[name], c, s) for name, c, s in state["transforms"])
    points, outputs, weights = state["points"], state["outputs"], state["weights"]
    return Ensemble.given(setting.structure, setting.x, observed.values, transforms, points, outputs, weights)


def _beside(observed: Observed, document: Json, unpacker: Unpacker) -> Beside:
    regressors, holidays = unpacker.unpack(document["regressors"]), unpacker.unpack(document["holidays"])
    if regressors is not None:
        columns = regressors.pop("columns")
        table = pd.DataFrame(regressors.pop("table"), index=observed.y.index, columns=columns)
        regressors = Regressors(table, **regressors)
    return Beside(observed.line, regressors, None if holidays is None else Holidays(**holidays))


def _check(path: Location, state: dict[str, Any], size: int) -> None:
    """Raise `FileFormatError` for numbers that no fit could have made."""
    points, outputs, weights = state["points"], state["outputs"], state["weights"]
    k, t = len(weights), len(state["transforms"])
    right = (
        points.shape == (k, size)
        and outputs.shape == (k,)
        and k > 0
        and bool(np.isfinite(points).all() and (weights > 0.0).all() and abs(weights.sum() - 1.0) < 1e-9)
        and bool(((outputs >= 0) & (outputs < t)).all())
        and all(np.isfinite(c) and 0.0 < s < np.inf for _, c, s in state["transforms"])
    )
    if not right:
        raise FileFormatError(f"{str(path)!r} has weights or hyperparameters that no fit leaves behind")
