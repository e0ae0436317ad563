"""Labels of classes, of any type."""

from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from sklearn.utils import column_or_1d
from sklearn.utils.multiclass import check_classification_targets

from nonparam.errors import InputError

__all__ = ["check_labels"]


def check_labels(y: Any, n: int) -> tuple[NDArray[Any], NDArray[np.intp]]:
    """Return the classes, in order, and the number of the class of each row.

    Args:
        y: ``(n,)`` labels: numbers, text, booleans.
        n: the number of rows of ``X``.

    Raises:
        InputError: no labels, another number of them, missing or infinite ones, several types, or one class.

    Examples:
        >>> check_labels(["no", "yes", "no"], 3)
        (array(['no', 'yes'], dtype='<U3'), array([0, 1, 0]))
    """
    if y is None:
        raise InputError("requires y to be passed, but the target y is None")
    values = column_or_1d(y.numpy(force=True) if isinstance(y, torch.Tensor) else y, warn=True)
    if len(values) != n:
        raise InputError(f"X and y have inconsistent lengths: {n} rows of X, {len(values)} of y")
    missing = np.array([values.dtype.kind in "fO" and _is_missing(value) for value in values])
    if missing.any():
        raise InputError(
            f"Input y contains NaN or None ({int(missing.sum())} labels, first in row "
            f"{int(missing.argmax())}): drop those rows"
        )
    if values.dtype.kind == "f" and np.isinf(values).any():
        raise InputError("Input y contains infinity, which is no label: drop those rows")
    if values.dtype == object:  # numbers in a column of objects have a type all the same
        values = pd.Series(values).infer_objects().to_numpy()
    try:
        check_classification_targets(values)
        classes, numbers = np.unique(values, return_inverse=True)
    except (TypeError, ValueError) as error:
        raise InputError(
            "y must hold whole numbers, booleans or text, all of one type: convert the labels to text "
            f"({error})"
        ) from error
    if len(classes) < 2:
        raise InputError(
            f"a classifier needs 2 classes or more; the data contain one class only: {classes[0].item()!r}"
        )
    return classes, numbers


def _is_missing(value: Any) -> bool:
    try:
        return value is None or bool(value != value)
    except TypeError:  # pandas.NA
        return True
