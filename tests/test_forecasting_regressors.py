"""Tables beside the series: matched by time, brought to scale, and refused by name."""

import numpy as np
import pandas as pd
import pytest

from nonparam.errors import InputError
from nonparam.forecasting.regressors import named, read_regressors

MONTHS = pd.period_range("2020-01", periods=12, freq="M")
LATER = pd.period_range("2021-01", periods=4, freq="M")
ALL = MONTHS.append(LATER)
Y = pd.Series(np.arange(12.0), index=MONTHS)
RNG = np.random.RandomState(0)
X = pd.DataFrame({"price": RNG.standard_normal(16) * 3 + 5, "promotion": RNG.rand(16) < 0.4}, index=ALL)


def read(table, y=Y):
    return read_regressors(table, y, y.index)


def test_numbers_are_standardised_and_zeros_and_ones_stay():
    known = read(X)
    price = X["price"][:12]
    np.testing.assert_allclose(known.seen()[:, 0], (price - price.mean()) / price.std(), rtol=1e-13)
    np.testing.assert_array_equal(known.seen()[:, 1], X["promotion"][:12])
    assert known.names == ("price", "promotion")
    later = known.ahead(X, LATER)
    np.testing.assert_allclose(later[:, 0], (X["price"][12:] - price.mean()) / price.std(), rtol=1e-13)
    np.testing.assert_array_equal(later[:, 1], X["promotion"][12:])


@pytest.mark.parametrize("factor", [1e-60, 1e-3, 1e60])
def test_another_unit_changes_nothing(factor):
    other = read(X[["price"]] * factor)
    np.testing.assert_allclose(other.seen(), read(X[["price"]]).seen(), rtol=1e-12)
    np.testing.assert_allclose(other.ahead(X[["price"]] * factor, LATER), read(X[["price"]]).ahead(X, LATER))


@pytest.mark.parametrize(
    "convert",
    [
        lambda table: table.sample(frac=1.0, random_state=1),
        lambda table: table[["promotion", "price"]],
        lambda table: table.astype({"promotion": int}),
        lambda table: table.astype({"price": "Float64", "promotion": "boolean"}),
        lambda table: table.astype(object),
    ],
)
def test_the_table_may_come_in_any_order_and_type(convert):
    known = read(convert(X))
    columns = [known.names.index(name) for name in X.columns]
    np.testing.assert_array_equal(known.seen()[:, columns], read(X).seen())
    np.testing.assert_array_equal(read(X).ahead(convert(X), LATER), read(X).ahead(X, LATER))


def test_arrays_go_by_their_rows_in_the_order_in_which_the_series_came():
    shuffled = Y.sample(frac=1.0, random_state=0)
    array = X.loc[shuffled.index].to_numpy(dtype=float)
    known = read_regressors(array, shuffled.sort_index(), shuffled.index)
    np.testing.assert_array_equal(known.seen(), read(X).seen())
    assert known.by_row and not read(X).by_row
    np.testing.assert_array_equal(
        known.ahead(X.loc[LATER].to_numpy(dtype=float), LATER), read(X).ahead(X, LATER)
    )


def test_a_series_and_a_list_are_one_column():
    known = read(X["price"])
    np.testing.assert_array_equal(known.seen(), read(X[["price"]]).seen())
    unnamed = read(list(X["price"][:12]))
    assert unnamed.names == (0,)
    np.testing.assert_array_equal(unnamed.seen(), known.seen())
    np.testing.assert_array_equal(unnamed.ahead(list(X["price"][12:]), LATER), known.ahead(X, LATER))
    np.testing.assert_array_equal(unnamed.ahead(X["price"].rename(None), LATER), known.ahead(X, LATER))


@pytest.mark.parametrize(
    ("zone", "unit"), [(None, "s"), ("Europe/Berlin", "ns"), ("Australia/Melbourne", "us")]
)
def test_times_match_across_units_and_time_zones(zone, unit):
    days = pd.date_range("2020-03-20", periods=12, tz=zone)
    y = pd.Series(np.arange(12.0), index=days)
    x = pd.DataFrame({"a": np.arange(12.0) ** 2}, index=days.as_unit(unit))
    expected = read(x.to_numpy(), y).seen()
    np.testing.assert_array_equal(read(x, y).seen(), expected)
    if zone is not None:
        np.testing.assert_array_equal(read(x.tz_convert("UTC"), y).seen(), expected)


def test_rows_may_be_missing_where_the_series_is():
    y = Y.copy()
    y.iloc[[2, 5]] = np.nan
    table = X[["price"]].drop(MONTHS[2])
    table.loc[MONTHS[5]] = np.nan
    known = read(table, y)
    assert np.flatnonzero(np.isnan(known.seen()[:, 0])).tolist() == [2, 5]
    price = X["price"][:12].drop(MONTHS[[2, 5]])
    assert (known.centre[0], known.scale[0]) == pytest.approx((price.mean(), price.std()), rel=1e-13)


def test_a_promotion_that_never_was_is_kept_for_the_future():
    table = pd.DataFrame({"promotion": np.r_[np.zeros(12), 1.0, 0.0, 1.0, 0.0]}, index=ALL)
    known = read(table)
    assert (known.seen() == 0.0).all()
    assert known.ahead(table, LATER).ravel().tolist() == [1.0, 0.0, 1.0, 0.0]


def test_more_columns_than_at_the_fit_are_left_alone():
    np.testing.assert_array_equal(read(X).ahead(X.assign(weather="fine"), LATER), read(X).ahead(X, LATER))


FITS = {
    "text": (
        X.assign(shop="north"),
        r"column 'shop' of X must be numbers or booleans, got object such as 'north'",
    ),
    "a word": (X.assign(shop=[1.0] * 15 + ["north"]), "got object such as 'north'"),
    "dates": (X.assign(day=pd.Timestamp("2020")), r"column 'day' of X must be numbers .* got datetime64"),
    "category": (
        X.assign(kind=pd.Categorical(["a"] * 16)),
        "column 'kind' .* got category such as 'a'; pandas.get_d",
    ),
    "complex": (X.assign(z=1j), "column 'z' of X must be numbers or booleans, got complex128"),
    "infinite": (X.assign(a=np.inf), "column 'a' of X has infinite or huge values, such as inf"),
    "huge": (X.assign(a=1e200), r"column 'a' of X has infinite or huge values, such as 1e\+200"),
    "constant": (X.assign(a=5.0), "column 'a' of X is 5 wherever y is observed, .* leave it out"),
    "almost constant": (
        X.assign(a=5.0 + 1e-15 * np.arange(16)),
        "column 'a' of X is 5 wherever y is observed",
    ),
    "gone": (
        X.drop(MONTHS[3:8]),
        r"X lacks a number at 2020-04, 2020-05, 2020-06, ... \(5 in all\), in columns 'price', 'pr",
    ),
    "nan": (
        X.assign(price=X["price"].where(ALL != MONTHS[1])),
        r"X lacks a number at 2020-02, in column 'price': exp",
    ),
    "other times": (
        X.set_axis(ALL.to_timestamp(), axis=0),
        r"the index of X holds datetime64\[ns\] such as Timestamp",
    ),
    "elsewhere": (
        X.set_axis(ALL + 100, axis=0),
        r"X lacks a number at 2020-01, 2020-02, 2020-03, ... \(12 in all\)",
    ),
    "twice": (X.iloc[[0, *range(12)]], "X has several rows 2020-01: expected one of each"),
    "named twice": (X.set_axis(["a", "a"], axis=1), "X has several columns 'a': expected one of each"),
    "no column": (X[[]], "X has no column: expected at least one, or X=None"),
    "levels": (pd.concat([X], keys=["shop"]), "X must have one level of columns and one of rows"),
    "too short": (
        X.to_numpy(dtype=float)[:5],
        r"X has 5 rows for 12 times, 2020-01, .* expected one for each",
    ),
    "a number": (3.0, r"X must be a table of numbers, got float of shape \(\)"),
    "a cube": (np.zeros((12, 1, 1)), r"X must be a table of numbers, got ndarray of shape \(12, 1, 1\)"),
    "ragged": ([[1.0], [1.0, 2.0]], "X has rows of different lengths"),
}


@pytest.mark.parametrize("name", FITS)
def test_a_table_that_cannot_be_used_gets_a_clear_error(name):
    table, message = FITS[name]
    with pytest.raises(InputError, match=message):
        read(table)


FORECASTS = {
    "nothing": (None, r"with X \('price', 'promotion'\), so the forecast needs X at 2021-01, .* \(4 in"),
    "too short": (X[:-1], "X lacks a number at 2021-04, in columns 'price', 'promotion': expected one"),
    "of the past": (X[:12], r"X lacks a number at 2021-01, 2021-02, 2021-03, ... \(4 in all\)"),
    "nan": (X.assign(price=np.nan), r"X lacks a number at 2021-01, .* in column 'price'"),
    "a column less": (X[["price"]], "X lacks the column 'promotion' of the fit, it has 'price'"),
    "other names": (X.set_axis(["a", "b"], axis=1), "X lacks the columns 'price', 'promotion' .* 'a', 'b'"),
    "text": (X.assign(price="dear"), "column 'price' of X must be .* got object such as 'dear'"),
    "rows": (np.ones((3, 2)), "X has 3 rows for 4 times, 2021-01, "),
    "columns": (np.ones((4, 3)), r"X must be 2 columns \('price', 'promotion'\), got ndarray of"),
}  # fmt: skip


@pytest.mark.parametrize("name", FORECASTS)
def test_a_future_that_is_not_known_gets_a_clear_error(name):
    table, message = FORECASTS[name]
    with pytest.raises(InputError, match=message):
        read(X).ahead(table, LATER)


def test_neither_table_nor_series_is_changed():
    table, y = X.copy(), Y.copy()
    read(table, y).ahead(table, LATER)
    pd.testing.assert_frame_equal(table, X)
    pd.testing.assert_series_equal(y, Y)


def test_short_lists_are_named_in_full():
    assert named([1, 2, 3]) == "1, 2, 3"
    assert named(pd.Index(["a", "b", "c", "d"])) == "'a', 'b', 'c', ... (4 in all)"
