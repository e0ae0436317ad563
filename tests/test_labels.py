"""Labels: of any type, or one clear error."""

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.exceptions import DataConversionWarning

from nonparam.errors import InputError
from nonparam.labels import check_labels


@pytest.mark.parametrize(
    "y",
    [
        [2, 0, 2],
        np.array(["b", "a", "b"]),
        np.array(["b", "a", "b"], dtype=object),
        [True, False, True],
        torch.tensor([5, -1, 5]),
        torch.tensor([1.0, 0.0, 1.0], dtype=torch.bfloat16).double(),
        pd.Series(["b", "a", "b"], dtype="category"),
        pd.Series([7, 3, 7], index=[5, 6, 7]),
        np.array([1.0, 0.0, 1.0]),
        np.array([9, 4, 9], dtype=object),
        pd.Series([True, False, True], dtype=object),
    ],
    ids=lambda y: f"{type(y).__name__}-{getattr(y, 'dtype', '')}",
)
def test_classes_are_sorted_and_numbered(y):
    classes, codes = check_labels(y, 3)
    assert codes.tolist() == [1, 0, 1] and len(classes) == 2 and classes[0] < classes[1]


def test_a_column_is_taken_with_a_warning():
    with pytest.warns(DataConversionWarning, match="column-vector"):
        assert check_labels(np.array([[1], [0]]), 2)[1].tolist() == [1, 0]


@pytest.mark.parametrize(
    ("y", "said"),
    [
        (None, "requires y to be passed, but the target y is None"),
        ([0, 1, 0], "inconsistent lengths: 2 rows of X, 3 of y"),
        ([0.0, np.nan], "contains NaN or None .1 labels, first in row 1."),
        ([0.0, -np.inf], "contains infinity, which is no label"),
        (np.array([pd.NA, "a"], dtype=object), "contains NaN or None .1 labels, first in row 0."),
        (np.array(["a", None], dtype=object), "contains NaN or None .1 labels, first in row 1."),
        (np.array(["a", 1], dtype=object), "all of one type: convert the labels to text"),
        (np.array([1, "a"], dtype=object), "all of one type: convert the labels to text"),
        (np.array([b"a", b"b"]), "convert the labels to text .*represented as bytes"),
        (["x", "x"], "a classifier needs 2 classes or more; the data contain one class only: .*'x'"),
        ([0.5, 1.5], "Unknown label type: continuous"),
        ([[0, 1], [1, 0]], "1d array"),
    ],
)
def test_what_is_no_label(y, said):
    with pytest.raises(ValueError, match=said) as caught:
        check_labels(y, 2)
    assert isinstance(caught.value, InputError) or "1d" in said
