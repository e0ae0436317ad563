"""Labels from users: classes of any type, or one clear error."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.utils import column_or_1d
from sklearn.utils.multiclass import check_classification_targets

from nonparam.errors import InputError

__all__ = ["check_labels"]


def check_labels(y: Any, n: int) -> tuple[NDArray[Any], NDArray[np.intp]]:
    """Return the classes in ascending order, and the number of the class of each row, ``(n,)``.

    Args:
        y: an array, a tensor, a series or a list of labels: numbers, text, booleans.
        n: the number of rows of ``X``.

    Raises:
        InputError: a missing ``y``, another number of rows, labels that are missing, of different types or no
            classes, or a single class.

    Examples:
        >>> classes, codes = check_labels(["b", "a", "b"], 3)
        >>> classes.tolist(), codes
        (['a', 'b'], array([1, 0, 1]))
    """
    if y is None:
        raise InputError("requires y to be passed, but the target y is None")
    labels = column_or_1d(y.numpy(force=True) if isinstance(y, torch.Tensor) else y, warn=True)
    if len(labels) != n:
        raise InputError(f"X and y have inconsistent lengths: {n} rows of X, {len(labels)} of y")
    missing = np.array([label is None or label != label for label in labels])
    if missing.any():
        raise InputError(
            f"Input y contains NaN or None ({missing.sum()} labels, first in row {missing.argmax()}): drop "
            "those rows; a classifier needs every label"
        )
    check_classification_targets(labels)
    try:
        classes, codes = np.unique(labels, return_inverse=True)
    except TypeError as error:
        raise InputError(f"y holds labels of different types ({error}): make them all text, or all numbers") from None
    if len(classes) < 2:
        raise InputError(
            f"y holds 1 class, {classes[0]!r}, in all of its {n} sample(s): a classifier needs two or more"
        )
    return classes, codes
