"""``nonparam predict``: a saved model on the rows of a table."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from nonparam.cli.columns import inputs_like
from nonparam.cli.output import (
    STDOUT,
    check_writable,
    format_for,
    note,
    print_json,
    print_table,
    progress,
    save_table,
)
from nonparam.cli.reading import read
from nonparam.errors import InputError
from nonparam.regression import GPRegressor

__all__ = ["PredictRequest", "predict"]

LEVELS = (0.025, 0.975)
PREDICTED = ("mean", "sd", "lower_95", "upper_95")
MOST_COLUMNS = 8  # that are printed beside each other
MOST_ROWS = 20  # that are printed on a terminal


@dataclass(frozen=True)
class PredictRequest:
    """What ``nonparam predict`` was asked for."""

    model: Path
    file: str
    csv: Path | None
    as_json: bool


def predict(request: PredictRequest) -> None:
    """Predict every row of a table with a saved model."""
    check_writable(request.csv, table=True)
    with progress("Reading the model"):
        model = GPRegressor.load(request.model)
    table = read(request.file).reset_index(drop=True)
    for name in PREDICTED:
        if name in table.columns:
            raise InputError(
                f"{request.file!r} has a column {name!r}, as the prediction will be called: rename it"
            )
    predicted = _predictions(model, table)
    result = pd.concat([table, predicted], axis=1)
    if request.csv is not None:
        save_table(result, request.csv)
    if request.as_json:
        rows = result.to_dict("records")
        print_json({"model": str(request.model), "rows": len(rows), "predictions": rows})
    elif request.csv != STDOUT:
        _print(result, predicted)
        if request.csv is not None:
            note(f"{len(result):,} rows with all columns saved as {request.csv}")


def _predictions(model: GPRegressor, table: pd.DataFrame) -> pd.DataFrame:
    X = inputs_like(table, _inputs(model, table))
    mean, sd = model.predict(X, return_std=True)
    if mean.ndim > 1:
        raise InputError(
            f"the model has {mean.shape[1]} targets, and this command predicts one: use it in Python"
        )
    lower, upper = model.predict_quantiles(X, LEVELS).T
    return pd.DataFrame(dict(zip(PREDICTED, (mean, sd, lower, upper), strict=True)))


def _inputs(model: GPRegressor, table: pd.DataFrame) -> Sequence[str]:
    names = getattr(model, "feature_names_in_", None)
    if names is not None:
        return list(names)
    if len(table.columns) != model.n_features_in_:
        raise InputError(
            f"the model was fitted to {model.n_features_in_} columns without names, and the file has "
            f"{len(table.columns)}: leave only the inputs in it, in the same order"
        )
    return list(table.columns)


def _print(result: pd.DataFrame, predicted: pd.DataFrame) -> None:
    shown = result if len(result.columns) <= MOST_COLUMNS else predicted
    rows = min(len(shown), MOST_ROWS) if sys.stdout.isatty() else len(shown)
    number = format_for(float(predicted["sd"].min()), float(np.abs(predicted.to_numpy()).max()))
    columns = [
        [_cell(entry, number if name in PREDICTED else ".6g") for entry in shown[name][:rows]]
        for name in shown
    ]
    cells = zip([str(row + 1) for row in range(rows)], *columns, strict=True)
    print_table(["row", *map(str, shown)], list(cells))
    if rows < len(shown):
        note(f"{len(shown) - rows:,} more rows: --csv PATH saves them all")


def _cell(entry: object, number: str) -> str:
    return format(entry, number) if isinstance(entry, float) else str(entry)
