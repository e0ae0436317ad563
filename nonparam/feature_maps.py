"""Features of a table: its columns, a function of it, or what a transformer makes of it."""

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import issparse
from sklearn.base import clone

from nonparam.errors import InputError
from nonparam.validation import LARGEST, check_numbers

__all__ = ["Features", "features_at", "fit_features"]

Array = NDArray[np.float64]
Features: TypeAlias = Any  # None, a function of a table, or a transformer: scikit-learn is untyped
EXPECTED = "features must be None, a function of an (n, d) array, or a scikit-learn transformer"


def fit_features(features: Features, x: Array) -> Callable[[Array], Any] | None:
    """Return a function that makes features; a transformer is cloned and fitted to the rows, without ``y``.

    Args:
        features: ``None`` for the columns themselves, a function, or a transformer.
        x: ``(n, d)``.

    Raises:
        InputError: anything else.

    Examples:
        >>> from sklearn.preprocessing import PolynomialFeatures
        >>> cubic = fit_features(PolynomialFeatures(3), np.ones((4, 1)))
        >>> features_at(cubic, np.array([[2.0]]))
        array([[1., 2., 4., 8.]])
    """
    if features is None:
        return None
    if isinstance(features, type):
        raise InputError(f"{EXPECTED}; got the class {features.__name__}: make an instance of it")
    if hasattr(features, "fit") and hasattr(features, "transform"):
        transform: Callable[[Array], Any] = clone(features).fit(x).transform
        return transform
    if callable(features):
        function: Callable[[Array], Any] = features
        return function
    raise InputError(f"{EXPECTED}; got {features!r}")


def features_at(function: Callable[[Array], Any] | None, x: Array) -> Array:
    """Return the features of rows, ``(n, p)``.

    Args:
        function: from `fit_features`.
        x: ``(n, d)``.

    Raises:
        InputError: another shape, or features that are not finite.
    """
    if function is None:
        return x
    values = function(x)
    table = check_numbers(values.toarray() if issparse(values) else values, "the table of features")
    if table.ndim != 2 or len(table) != len(x):
        raise InputError(
            f"features must make an array of shape ({len(x)}, p) of {len(x)} rows, got {table.shape}"
        )
    sound = np.isfinite(table) & (np.abs(table) <= LARGEST)
    if not sound.all():
        row, column = np.argwhere(~sound)[0]
        raise InputError(
            f"feature {column} is {table[row, column]} in row {row}: expected numbers of at most {LARGEST:g}"
            "; rescale the columns that it is made of"
        )
    return table
