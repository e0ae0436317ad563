"""Inputs and target from a table, column by column: numbers, or one line that says what to do."""

import shlex
from collections.abc import Sequence

import numpy as np
import pandas as pd

from nonparam.cli.reading import check_column, did_you_mean, numbers
from nonparam.errors import InputError

__all__ = ["inputs_and_target", "inputs_like"]


def inputs_and_target(
    table: pd.DataFrame, target: str, drop: Sequence[str]
) -> tuple[pd.DataFrame, pd.Series, list[str]]:
    """Split a table for a regression.

    Args:
        table: at least one row.
        target: the column to predict.
        drop: columns to leave out; all others are inputs.

    Returns:
        The inputs ``(n, d)``, the target ``(n,)``, and notes for the user.

    Raises:
        InputError: a column that is absent, is text, or has gaps.
    """
    check_column(table, target, "--target")
    for name in drop:
        check_column(table, name, "--drop")
    if target in drop:
        raise InputError(f"column {target!r} is the target: it cannot be dropped")
    inputs = table.drop(columns=[target, *drop])
    if inputs.columns.empty:
        raise InputError(f"no column is left beside the target {target!r}: expected at least one input")
    y = _complete(table[target], "the target")
    columns = {
        name: _complete(inputs[name], advice=f", or leave it out with {_drop(name)}")
        for name in inputs.columns
    }
    return pd.DataFrame(columns), y, [text for name in columns for text in _doubts(columns[name])]


def inputs_like(table: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """Return the columns of a table that a model was fitted to, ``(m, d)``.

    Args:
        table: the columns in any order, others beside them.
        names: of the inputs of the model.

    Returns:
        The inputs in the model's order.

    Raises:
        InputError: a column that is absent, is text, or has gaps.
    """
    absent = [name for name in names if name not in table.columns]
    if absent:
        others = [str(name) for name in table.columns if name not in names]
        hint = did_you_mean(absent[0], others)
        raise InputError(
            f"there is no column {', '.join(map(repr, absent))}{hint} (the model needs {', '.join(names)})"
        )
    return pd.DataFrame({name: _complete(table[name]) for name in names})


def _complete(column: pd.Series, what: str = "column", advice: str = "") -> pd.Series:
    values = numbers(column, what, advice)
    if values.isna().any():
        raise InputError(f"{what} {column.name!r} {_gaps(column)}: fill them in or remove these rows{advice}")
    return values


def _gaps(column: pd.Series) -> str:
    gaps = np.flatnonzero(column.isna())
    return f"has no value in {len(gaps)} of {len(column)} rows, the first of them row {gaps[0] + 1}"


def _drop(name: object) -> str:
    return f"--drop {shlex.quote(str(name))}"


def _doubts(column: pd.Series) -> list[str]:
    """Columns that are legal, and seldom meant."""
    option = f"{_drop(column.name)} leaves it out"
    if column.nunique() == 1 and len(column) > 1:
        return [f"column {column.name!r} is constant, so that nothing is learnt from it; {option}"]
    if len(column) > 2 and (column.diff().iloc[1:] == 1.0).all():
        return [f"column {column.name!r} counts the rows; if it is no measurement, {option}"]
    return []
