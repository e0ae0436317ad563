"""Long tables, wide ones and dicts of series, with whatever users put into them."""

import datetime

import numpy as np
import pandas as pd
import pytest

from nonparam.errors import InputError
from nonparam.forecasting.panel_reading import Failure, Names, Panel, read_futures, read_panel

NAMES = Names("unique_id", "ds", "y")
DAYS = pd.date_range("2024-01-01", periods=4)


def long(ids, per=4, times=DAYS) -> pd.DataFrame:
    """Series whose values count from 0, each in a block of rows."""
    blocks = [
        pd.DataFrame({"unique_id": [name] * per, "ds": times[:per], "y": np.arange(per) * 1.0})
        for name in ids
    ]
    return pd.concat(blocks, ignore_index=True)


def read(data, names=NAMES) -> Panel:
    return read_panel(data, names)


def values(panel: Panel) -> list:
    return [entry.y.tolist() if not isinstance(entry, Failure) else entry.message for entry in panel.entries]


# ids --------------------------------------------------------------------------------------------

IDS = {
    "texts": ["b", "a", "Ünï 🎈", "", " ", "a b", "nan", "None"],
    "integers": [3, -1, 2**62],
    "floats": [0.5, -0.0, 1e300],
    "mixed": [1, "1", 2.5, ("a", 1), None.__class__],
    "dates": list(pd.date_range("2024", periods=3)),
    "tuples": [("a", 1), ("a", 2)],
    "booleans": [True, False],
}


@pytest.mark.parametrize("kind", IDS)
def test_ids_keep_order_and_type(kind: str):
    column = pd.Series(IDS[kind], dtype=object if kind in ("mixed", "tuples") else None)
    data = long(range(len(column))).assign(unique_id=np.repeat(column.to_numpy(), 4))
    data["unique_id"] = data["unique_id"].astype(column.dtype)
    panel = read(data)
    assert list(panel.ids) == IDS[kind]
    assert panel.ids.dtype == column.dtype and panel.ids.nlevels == 1
    assert panel.ids.name == "unique_id"
    assert [entry.y.name for entry in panel.entries] == IDS[kind]


def test_categories_stay_categories():
    data = long(["b", "a"]).astype({"unique_id": pd.CategoricalDtype(["a", "b", "unused"], ordered=True)})
    panel = read(data)
    assert isinstance(panel.ids, pd.CategoricalIndex) and list(panel.ids) == ["b", "a"]
    assert panel.ids.dtype == data["unique_id"].dtype


@pytest.mark.parametrize("missing", [None, np.nan, pd.NaT, pd.NA])
def test_rows_without_an_id_are_refused(missing):
    data = long(["a", "b"]).astype({"unique_id": object})
    data.loc[[2, 5], "unique_id"] = missing
    with pytest.raises(InputError, match="'unique_id' is empty in 2 of 8 rows, the first of them row 3"):
        read(data)
    with pytest.raises(InputError, match="a series has no name"):
        read({"a": [1.0], missing: [2.0]})
    with pytest.raises(InputError, match="a series has no name"):
        read(pd.DataFrame([[1.0, 2.0]], columns=pd.Index(["a", missing], dtype=object)))


# long tables ------------------------------------------------------------------------------------


def test_rows_in_any_order_make_the_same_series():
    data = long(["b", "a", "c"])
    mixed = data.sample(frac=1.0, random_state=1)
    panel = read(mixed)
    assert list(panel.ids) == list(mixed["unique_id"].unique())
    for entry in panel.entries:
        assert entry.y.sort_index().tolist() == [0.0, 1.0, 2.0, 3.0]


def test_columns_are_called_as_the_user_says():
    data = long(["a"]).rename(columns={"unique_id": "shop", "ds": "day", "y": "sales"})
    panel = read(data, Names("shop", "day", "sales"))
    assert panel.ids.name == "shop" and panel.entries[0].y.index.name == "day"
    with pytest.raises(InputError, match=r"each of 'shop', 'ds', 'sales', got \['shop', 'day', 'sales'\]"):
        read(data, Names("shop", "ds", "sales"))
    with pytest.raises(InputError, match=r"no column 'unique_id' that tells the series.*set_index"):
        read(data.rename(columns={"day": "ds"}))


@pytest.mark.parametrize(
    "names", [("ds", "ds", "y"), ("unique_id", "ds", "ds"), (None, "ds", "y"), (["unique_id"], "ds", "y")]
)
def test_columns_must_have_three_names(names):
    with pytest.raises(InputError, match="id_col=, time_col= and target_col= must be the names of three"):
        read(long(["a"]), Names(*names))


def test_ids_that_cannot_be_compared_are_refused():
    data = long(["a", "b"])
    data["unique_id"] = [["a"]] * 4 + [["b"]] * 4
    with pytest.raises(InputError, match="column 'unique_id' cannot tell the series apart"):
        read(data)


@pytest.mark.parametrize("levels", [["unique_id"], ["ds"], ["unique_id", "ds"], ["ds", "unique_id"]])
def test_ids_and_times_may_be_the_index(levels):
    data = long(["b", "a"])
    assert values(read(data.set_index(levels))) == values(read(data))


def test_a_table_without_rows_or_with_a_column_twice_is_refused():
    with pytest.raises(InputError, match="the table has no rows"):
        read(long(["a"]).iloc[:0])
    data = long(["a"]).assign(x=1.0)
    with pytest.raises(InputError, match="expected a column for each"):
        read(data.set_axis(["unique_id", "ds", "y", "y"], axis=1))


def test_further_columns_are_regressors():
    data = long(["a", "b"]).assign(price=np.arange(8.0), open=True)
    panel = read(data)
    assert panel.regressors == ("price", "open")
    assert panel.entries[1].X["price"].tolist() == [4.0, 5.0, 6.0, 7.0]
    assert panel.entries[1].X.index.equals(panel.entries[1].y.index)
    assert read(data.astype({"open": "boolean"})).regressors == panel.regressors
    assert read(long(["a"])).entries[0].X is None
    with pytest.raises(InputError, match=r"column 'state' is object.*df.drop\(columns='state'\)"):
        read(data.assign(state="NSW"))


def test_a_word_among_the_numbers_of_one_series_is_that_series_failure():
    data = long(["a", "b"]).astype({"y": object})
    data.loc[5, "y"] = "many"
    panel = read(data)
    assert panel.entries[0].y.dtype == float
    assert panel.entries[1].y.dtype == object


# times ------------------------------------------------------------------------------------------

TIMES = {
    "stamps": (DAYS, DAYS),
    "zone": (DAYS.tz_localize("Europe/Berlin"), DAYS.tz_localize("Europe/Berlin")),
    "periods": (
        pd.period_range("2024Q1", periods=4, freq="Q"),
        pd.period_range("2024Q1", periods=4, freq="Q"),
    ),
    "integers": (pd.Index([5, 6, 7, 9]), pd.Index([5, 6, 7, 9])),
    "texts": (["2024-01-01", " 2024-01-02", "2024-01-03", "2024-01-04 "], DAYS),
    "months": (["2024-01", "2024-02", "2024-03", "2024-04"], pd.date_range("2024", periods=4, freq="MS")),
    "objects": (list(DAYS.to_pydatetime()), DAYS),
    "dates": ([datetime.date(2024, 1, day) for day in range(1, 5)], DAYS),
    "object periods": (
        list(pd.period_range("2024", periods=4, freq="W")),
        pd.period_range("2024", periods=4, freq="W"),
    ),
    "categories": (pd.Categorical(DAYS), DAYS),
    "offsets": (
        ["2024-01-01T00:00+01:00", "2024-01-02T00:00+01:00", "2024-01-03T00:00+02:00", "2024-01-04T00:00Z"],
        pd.DatetimeIndex(
            ["2023-12-31 23:00", "2024-01-01 23:00", "2024-01-02 22:00", "2024-01-04 00:00"], tz="UTC"
        ),
    ),
}


@pytest.mark.parametrize("kind", TIMES)
def test_times_are_read(kind: str):
    written, expected = TIMES[kind]
    (entry,) = read(long(["a"]).assign(ds=pd.Series(written))).entries
    pd.testing.assert_index_equal(entry.y.index, expected, check_names=False, exact="equiv")


def test_every_series_may_have_times_of_its_own():
    kinds = ["stamps", "zone", "periods", "texts", "integers"]
    data = pd.concat([long([kind]).astype({"ds": object}).assign(ds=list(TIMES[kind][0])) for kind in kinds])
    panel = read(data)
    for kind, entry in zip(kinds, panel.entries, strict=True):
        pd.testing.assert_index_equal(entry.y.index, TIMES[kind][1], check_names=False, exact="equiv")


@pytest.mark.parametrize("bad", ["soon", "31/12/2024", "12/31/2024", "2024-13-01"])
def test_text_that_is_no_date_fails_its_series_only(bad: str):
    data = long(["a", "b"]).assign(ds=[*DAYS.strftime("%Y-%m-%d")] * 2)
    data.loc[6, "ds"] = bad
    good, failure = read(data).entries
    assert good.y.index.equals(DAYS)
    assert failure.error == "InputError"
    assert f"column 'ds' holds '{bad}', which is no date with the year first: write" in failure.message


def test_dates_of_which_some_have_a_zone_are_the_failure_of_their_series():
    data = long(["a", "b"]).astype({"ds": object})
    data.loc[5, "ds"] = DAYS[1].tz_localize("UTC")
    good, failure = read(data).entries
    assert good.y.index.equals(DAYS) and failure.error == "InputError"
    assert "pd.to_datetime(df['ds'], utc=True) puts those with time zones into one" in failure.message


def test_texts_of_which_some_tell_their_distance_from_utc_are_the_failure_of_their_series():
    times = ["2024-01-01T00:00", "2024-01-02T00:00", "2024-01-03T00:00Z", "2024-01-04T00:00"]
    (failure,) = read(long(["a"]).assign(ds=times)).entries
    assert "with and without their distance from UTC, such as '2024-01-03T00:00Z' and '2024-01-01T00:00'" in (
        failure.message
    )


def test_times_of_several_kinds_in_one_series_are_its_failure():
    data = long(["a", "b"]).astype({"ds": object})
    data.loc[5, "ds"] = 3
    _, failure = read(data).entries
    assert "column 'ds' mixes times of several kinds" in failure.message


# wide tables and dicts --------------------------------------------------------------------------


def test_a_wide_table_has_a_series_in_each_column():
    nan = np.nan
    data = pd.DataFrame({3: [nan, 1.0, nan, 2.0], 1: [5.0, 6.0, nan, nan], 2: [nan] * 4}, index=DAYS)
    panel = read(data)
    assert list(panel.ids) == [3, 1, 2] and panel.ids.dtype == np.int64
    np.testing.assert_equal(values(panel), [[1.0, nan, 2.0], [5.0, 6.0], []])
    assert panel.entries[0].y.index.equals(DAYS[1:]) and panel.entries[1].y.index.equals(DAYS[:2])


def test_a_wide_table_is_sorted_before_its_ends_are_cut():
    data = pd.DataFrame({"a": [3.0, np.nan, 1.0, 2.0]}, index=DAYS[[2, 3, 0, 1]])
    assert values(read(data)) == [[1.0, 2.0, 3.0]]


def test_a_wide_table_with_texts_as_times_and_levels_as_names():
    names = pd.MultiIndex.from_tuples([("NSW", "beer"), ("VIC", "beer")])
    data = pd.DataFrame([[1.0, 2.0], [3.0, 4.0]], index=["2024-01-01", "2024-01-02"], columns=names)
    panel = read(data)
    assert list(panel.ids) == [("NSW", "beer"), ("VIC", "beer")] and panel.ids.nlevels == 1
    assert panel.entries[0].y.index.equals(DAYS[:2])


@pytest.mark.parametrize(
    ("index", "message"),
    [
        (["2024-01-01", 3], "column 'ds' mixes times of several kinds"),
        (["2024-01-01", "soon"], "column 'ds' holds 'soon', which is no date with the year first"),
        ([DAYS[0], DAYS[1].tz_localize("UTC")], "column 'ds' holds dates that cannot stand in one index"),
        (pd.MultiIndex.from_tuples([(2024, 1), (2024, 2)]), "column 'ds' mixes times of several kinds"),
    ],
)
def test_a_wide_table_without_times_is_refused(index, message):
    with pytest.raises(InputError, match=message):
        read(pd.DataFrame({"a": [1.0, 2.0], "b": [3.0, 4.0]}, index=index))


@pytest.mark.parametrize("index", [DAYS, pd.RangeIndex(4), pd.period_range("2024", periods=4, freq="M")])
def test_a_wide_table_keeps_the_kind_and_the_frequency_of_its_index(index):
    (entry,) = read(pd.DataFrame({"a": np.arange(4.0)}, index=index)).entries
    assert entry.y.index.identical(index.rename("ds"))
    assert getattr(entry.y.index, "freq", None) == getattr(index, "freq", None)


def test_a_dict_has_series_of_any_kind():
    panel = read({"a": pd.Series([1.0, 2.0], DAYS[:2]), "b": [3, 4], "c": np.ones((2, 2)), ("d", 1): ()})
    assert list(panel.ids) == ["a", "b", "c", ("d", 1)]
    assert [type(entry) is Failure for entry in panel.entries] == [False, False, True, False]
    assert panel.entries[0].y.index.equals(DAYS[:2]) and panel.entries[1].y.tolist() == [3, 4]


def test_the_series_of_a_dict_are_read_as_single_ones_are():
    one = pd.DataFrame({"sales": [1.0, 2.0]}, DAYS[:2])
    panel = read({"gap": [1, None, 3], "table": one, "ragged": [[1], [2, 3]], "none": None})
    np.testing.assert_equal(panel.entries[0].y.to_numpy(), [1.0, np.nan, 3.0])
    assert panel.entries[1].y.index.equals(DAYS[:2]) and panel.entries[1].y.name == "table"
    assert [failure.error for failure in panel.entries[2:]] == ["InputError", "InputError"]


@pytest.mark.parametrize("data", [pd.DataFrame(), {}, pd.DataFrame(index=DAYS)])
def test_nothing_is_refused(data):
    with pytest.raises(InputError, match="there is no series"):
        read(data)


def test_names_that_occur_twice_are_refused():
    with pytest.raises(InputError, match="several series are called 'a'"):
        read(pd.DataFrame([[1.0, 2.0]], columns=["a", "a"]))


@pytest.mark.parametrize("data", [None, 3, "sales.csv", np.ones((3, 3)), pd.Series([1.0]), [[1.0]]])
def test_anything_else_is_refused(data):
    with pytest.raises(InputError, match="expected a table with the columns 'unique_id', 'ds' and 'y', a"):
        read(data)


def test_reading_leaves_the_table_alone():
    data = long(["b", "a"]).sample(frac=1.0, random_state=0)
    before = data.copy()
    panel = read(data)
    panel.entries[0].y.iloc[0] = 99.0
    pd.testing.assert_frame_equal(data, before)


# the future -------------------------------------------------------------------------------------


def test_futures_belong_to_their_series():
    panel = read(long(["b", "a"]).assign(price=1.0))
    X = pd.DataFrame(
        {
            "unique_id": ["a", "b", "a"],
            "ds": ["2024-01-05", "2024-01-05", "2024-01-06"],
            "price": [1.0, 2.0, 3.0],
        }
    )
    first, second = read_futures(X, panel)
    assert first["price"].tolist() == [2.0] and second["price"].tolist() == [1.0, 3.0]
    assert second.index.equals(pd.DatetimeIndex(["2024-01-05", "2024-01-06"]))
    assert read_futures(X[X["unique_id"] == "a"], panel)[0] is None
    assert read_futures(None, panel) == [None, None]


def test_futures_that_do_not_fit_are_refused():
    panel = read(long(["b", "a"]).assign(price=1.0))
    with pytest.raises(InputError, match="expected a column for each of 'unique_id', 'ds', 'price'"):
        read_futures(long(["a", "b"]), panel)
    with pytest.raises(InputError, match="X must be a table with the columns 'unique_id', 'ds' and"):
        read_futures(np.ones((2, 1)), panel)
    with pytest.raises(InputError, match="fitted without any: leave it out"):
        read_futures(long(["a"]), read(long(["a"])))
