"""Tables, outputs and weights that no model can be fitted to: one clear error, which names the column."""

import numpy as np
import pandas as pd
import pytest
import torch

from nonparam import GPRegressor
from nonparam.errors import InputError

RNG = np.random.default_rng(11)
X = RNG.standard_normal((20, 2))
Y = np.sin(X[:, 0]) + 0.1 * X[:, 1]
NEW = RNG.standard_normal((6, 2))


@pytest.fixture(scope="module")
def model():
    return GPRegressor("rbf").fit(X, Y)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (np.nan, r"Input X contains NaN in column {} \(1 of 20 rows, first in row 3\)"),
        (np.inf, r"Input X contains infinity \(inf\) in column {} \(1 of 20 rows, first in row 3\)"),
        (-np.inf, r"Input X contains infinity \(inf\) in column {}"),
        (1e61, r"column {} of X has values beyond 1e\+60: rescale it"),
    ],
)
def test_bad_numbers_in_x_name_their_column(value, said):
    x = X.copy()
    x[3, 1] = value
    with pytest.raises(InputError, match=said.format("1")):
        GPRegressor().fit(x, Y)
    with pytest.raises(InputError, match=said.format("'width'")):
        GPRegressor().fit(pd.DataFrame(x, columns=["depth", "width"]), Y)
    fitted = GPRegressor().fit(X, Y)
    for ask in (fitted.predict, lambda t: fitted.update(t, Y), fitted.sample_y):
        with pytest.raises(InputError, match=said.format("1")):
            ask(x)


def test_missing_values_of_a_nullable_column_name_it():
    table = pd.DataFrame({"a": pd.array([1, None] * 10, dtype="Int64"), "b": X[:, 0]})
    with pytest.raises(InputError, match=r"NaN in column 'a' \(10 of 20 rows, first in row 1\)"):
        GPRegressor().fit(table, Y)


@pytest.mark.parametrize(
    ("column", "said"),
    [
        (["red", "blue"] * 10, "column 'a' of X holds .* values such as 'red', which are not numbers"),
        (pd.Categorical(["u", "v"] * 10), "column 'a' of X holds category values such as 'u'"),
        (pd.date_range("2020", periods=20), "column 'a' of X holds datetime64.*divide by a unit"),
        (pd.timedelta_range("1D", periods=20), "column 'a' of X holds timedelta64"),
        (Y + 1j, "column 'a' of X holds complex128 numbers; pass real and imaginary parts"),
        (np.array([{}] * 20, dtype=object), "column 'a' of X holds object values such as {}"),
    ],
    ids=["text", "categories", "dates", "durations", "complex", "objects"],
)
def test_columns_without_numbers_are_named(column, said):
    with pytest.raises(InputError, match=said):
        GPRegressor().fit(pd.DataFrame({"b": X[:, 0], "a": column}), Y)


@pytest.mark.parametrize("dtype", [object, str])
def test_text_in_an_array_names_its_column(dtype):
    table = np.array([[1.0, "red"], [2.0, "blue"]], dtype=dtype)
    with pytest.raises(InputError, match=r"column 1 of X holds text such as '?.*red.*drop the column"):
        GPRegressor().fit(table, Y[:2])


def test_columns_too_small_to_square():
    with pytest.raises(InputError, match=r"column 1 of X has no value beyond .*e-\d+, below 1e-60: rescale"):
        GPRegressor().fit(X * [1.0, 1e-70], Y)
    with pytest.raises(InputError, match=r"column 0 of y has no value beyond .*: rescale it"):
        GPRegressor().fit(X, Y * 1e-70)


@pytest.mark.parametrize(
    ("x", "said"),
    [
        (X[:0], r"Found array with 0 sample\(s\)"),
        (X[:, :0], r"0 feature\(s\)"),
        (X[:, 0], r"Expected 2D array, got 1D array instead: X has shape \(20,\). Reshape your data"),
        (pd.Series(X[:, 0]), r"Expected 2D array, got 1D array instead: X has shape \(20,\)"),
        (X[None], "Found array with dim 3"),
        ([[1.0], [1.0, 2.0]], "X has rows of different lengths"),
        (np.zeros((20, 1), dtype=[("a", float)]), r"X has named fields \('a',\): expected a plain array"),
    ],
)
def test_tables_of_another_shape(x, said):
    with pytest.raises(ValueError, match=said):
        GPRegressor().fit(x, Y[: len(x)])


@pytest.mark.parametrize(
    ("y", "said"),
    [
        (np.r_[Y[:-1], np.nan], r"Input y contains NaN \(1 values, first in row 19\).*every output"),
        (np.r_[np.inf, Y[1:]], r"Input y contains infinity \(inf\) \(1 values, first in row 0\)"),
        (1e61 * Y / Y.max(), r"y has values beyond 1e\+60: rescale it"),
        (Y[:5], "inconsistent lengths: 20 rows of X, 5 of y"),
        (None, "requires y to be passed, but the target y is None"),
        (Y[:, None, None], "Found array with dim 3"),
        (np.zeros((20, 0)), r"0 feature\(s\)"),
        (3.0, "one number for each of the 20 rows of X; got 3.0"),
        ([[1.0], [1.0, 2.0]] * 10, "y has rows of different lengths"),
    ],
)
def test_bad_outputs(y, said):
    with pytest.raises(ValueError, match=said):
        GPRegressor().fit(X, y)


DATES = np.arange(20).astype("datetime64[D]")
NOT_NUMBERS = [
    (Y + 1j, "Complex data not supported: {} holds complex128 numbers; pass real and imaginary parts"),
    ((Y + 1j).astype(object), "{} holds complex values such as .*: pass real and imaginary parts"),
    (DATES, r"{} holds datetime64\[D\] values, which are not numbers: subtract the first and divide"),
    (DATES - DATES[0], r"{} holds timedelta64\[D\] values, which are not numbers: subtract the first"),
    (list(DATES), r"{} holds datetime64\[D\] values, which are not numbers"),
    (DATES.tolist(), r"{} holds date values such as datetime.date\(1970, 1, 1\).*: subtract the first"),
    (["1"] * 19 + ["red"], r"{} holds text such as '?(np.str_\()?'red'.*could not convert to float"),
    ([b"red"] * 20, "{} holds text such as b'red'"),
]
KINDS = ["complex", "complex objects", "dates", "durations", "list of dates", "date objects", "text", "bytes"]


@pytest.mark.parametrize(("values", "said"), NOT_NUMBERS, ids=KINDS)
def test_outputs_that_are_no_numbers(model, values, said):
    for ask in (GPRegressor().fit, model.update, model.log_predictive_density):
        with pytest.raises(InputError, match=said.format("y")) as caught:
            ask(X, values)
        assert len(str(caught.value)) < 200


@pytest.mark.parametrize(("values", "said"), NOT_NUMBERS, ids=KINDS)
def test_inputs_that_are_no_numbers(model, values, said):
    table = [[v, v] for v in values] if isinstance(values, list) else np.c_[values, values]
    for ask in (lambda x: GPRegressor().fit(x, Y), model.predict, model.sample_y):
        with pytest.raises(InputError, match=said.format("X")) as caught:
            ask(table)
        assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("y", "said"),
    [
        (pd.Series(DATES), r"^y holds datetime64\[.*\] values, which are not numbers"),
        (pd.Series(DATES).dt.tz_localize("UTC"), r"^y holds datetime64\[.*, UTC\] values"),
        (pd.period_range("2020", periods=20, freq="M"), r"^y holds period\[M\] values"),
        (
            pd.Series(["red"] * 20),
            "^y holds text such as 'red'.*a regressor needs numbers, a classifier labels",
        ),
        (pd.DataFrame({"a": Y, "b": ["red"] * 20}), "column 'b' of y holds .* values such as 'red'"),
        (pd.DataFrame({"a": Y, "b": DATES}), r"column 'b' of y holds datetime64.*subtract the first"),
    ],
    ids=["dates", "dates with a zone", "periods", "text", "a text column", "a date column"],
)
def test_outputs_of_pandas_that_are_no_numbers(y, said):
    with pytest.raises(InputError, match=said):
        GPRegressor().fit(X, y)


def test_numbers_written_as_text_are_numbers():
    text = [str(v) for v in Y]
    np.testing.assert_array_equal(
        GPRegressor().fit(X, text).predict(NEW), GPRegressor().fit(X, Y).predict(NEW)
    )


@pytest.mark.parametrize(
    ("weight", "said"),
    [
        (np.r_[1.0, -1.0, np.ones(18)], "sample_weight must not be negative, got -1 in row 1"),
        (np.zeros(20), "at least one non-zero number"),
        (np.full(20, np.nan), "sample_weight contains NaN"),
        (np.full(20, np.inf), "sample_weight contains infinity"),
        (np.ones(19), r"sample_weight.shape == \(19,\), expected \(20,\)"),
        (np.ones((20, 1)), "Sample weights must be 1D"),
        (["a"] * 20, "sample_weight must be a number or an array of numbers, got .'a'"),
        (np.ones(20) + 1j, "sample_weight must be a number or an array of numbers, got array"),
        (DATES, "sample_weight must be a number or an array of numbers, got array"),
        (np.full(20, 1e61), r"sample_weight has values beyond 1e\+60 or below 1e-60: rescale"),
        (np.r_[1e-61, np.ones(19)], "sample_weight has values beyond"),
    ],
)
def test_bad_weights(weight, said):
    with pytest.raises(ValueError, match=said):
        GPRegressor().fit(X, Y, sample_weight=weight)
    with pytest.raises(ValueError, match=said):
        GPRegressor().fit(X, Y).update(X, Y, sample_weight=weight)


# tensors -------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.int64])
def test_tensors_count_as_their_numbers(dtype):
    x, y = torch.tensor(4.0 * X).to(dtype), torch.tensor(9.0 * Y).to(dtype)
    weights = torch.linspace(1.0, 3.0, 20).to(dtype)
    plain = [t.double().numpy() for t in (x, y, weights)]
    expected = GPRegressor("rbf").fit(plain[0], plain[1], sample_weight=plain[2])
    if dtype.is_floating_point:
        x, y = x.requires_grad_(), y.requires_grad_()
    found = GPRegressor("rbf").fit(x, y, sample_weight=weights)
    np.testing.assert_array_equal(found.predict(x), expected.predict(plain[0]))
    np.testing.assert_array_equal(
        found.update(x, y).predict(x), expected.update(*plain[:2]).predict(plain[0])
    )


def test_a_tensor_of_noise():
    noise = torch.full((20,), 0.1, requires_grad=True)
    expected = GPRegressor("rbf", noise=noise.tolist()).fit(X, Y)
    np.testing.assert_array_equal(
        GPRegressor("rbf", noise=noise).fit(X, Y).predict(NEW), expected.predict(NEW)
    )


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_tensors_on_a_gpu():
    expected = GPRegressor("rbf").fit(X, Y).predict(NEW)
    x, y, new = (torch.tensor(table, device="cuda") for table in (X, Y, NEW))
    np.testing.assert_array_equal(GPRegressor("rbf").fit(x, y).predict(new), expected)


@pytest.mark.parametrize(
    ("tensor", "said"),
    [
        (
            torch.tensor(X).to_sparse(),
            r"X must be a dense tensor of numbers, got .*sparse_coo.*try to_dense\(\)",
        ),
        (torch.empty(20, 2, device="meta"), "X must be a dense tensor of numbers, got .* on meta"),
        (torch.tensor(X) + 1j, "Complex data not supported: X holds complex128 numbers"),
        (torch.full((20, 2), torch.nan), r"Input X contains NaN in column 0 \(20 of 20 rows"),
        (torch.tensor(X[0]), r"Expected 2D array, got 1D array instead: X has shape \(2,\)"),
    ],
    ids=["sparse", "meta", "complex", "nan", "one row"],
)
def test_tensors_that_are_no_table(tensor, said):
    with pytest.raises(InputError, match=said):
        GPRegressor().fit(tensor, Y)
