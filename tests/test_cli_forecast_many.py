"""``nonparam forecast`` of many series: how they are found, what is printed and written, what fails."""

import json
import re
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib import image
from typer.testing import CliRunner, Result

from nonparam.cli.app import app
from nonparam.cli.forecast_request import ForecastColumns
from nonparam.cli.panels import find_series
from nonparam.errors import InputError

MONTHS = [f"{year}-{month:02d}" for year in (2022, 2023, 2024) for month in range(1, 13)]
NASTY = ["north <b>", "süd $x$", "_west"]


def sales(names=NASTY, n: int = 24) -> pd.DataFrame:
    """A long table, its rows in disorder."""
    rng = np.random.default_rng(0)
    blocks = [
        pd.DataFrame({"shop": name, "month": MONTHS[:n], "sales": 100.0 + rng.standard_normal(n).cumsum()})
        for name in names
    ]
    return pd.concat(blocks).sample(frac=1.0, random_state=0)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["forecast", *arguments], prog_name="nonparam")


def columns(time=None, value=None, id=None, wide=False) -> ForecastColumns:
    return ForecastColumns(time, value, id, wide)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


# what is a series -------------------------------------------------------------------------------


def test_texts_that_repeat_with_the_times_tell_series_apart():
    found = find_series(sales().reset_index(drop=True), columns())
    assert found.name == "shop" and sorted(found.series) == sorted(NASTY) and found.failures == {}
    assert found.notes == ["column 'shop' tells 3 series apart"]
    for name, y in found.series.items():
        assert y.name == name and len(y) == 24 and y.index.freqstr == "M" and y.index.is_monotonic_increasing


def test_one_series_is_not_many():
    table = sales(["a"]).reset_index(drop=True)
    assert find_series(table, columns()) is None
    weekdays = pd.DataFrame(
        {"day": pd.date_range("2024", periods=14), "name": ["Mon", "Tue"] * 7, "y": range(14)}
    )
    assert find_series(weekdays, columns()) is None


def test_numbers_tell_series_apart_where_that_is_said():
    table = sales(["7", "8"]).astype({"shop": int}).reset_index(drop=True)
    found = find_series(table, columns(id="shop"))
    assert sorted(found.series) == ["7", "8"] and found.notes == []
    with pytest.raises(InputError, match=r"--id: there is no column 'shops'; did you mean 'shop'"):
        find_series(table, columns(id="shops"))


def test_columns_that_both_tell_series_apart_are_for_the_user_to_choose():
    table = sales().assign(town=lambda rows: rows["shop"].str.upper()).reset_index(drop=True)
    with pytest.raises(InputError, match=r"choose one with --id \(shop, town\)"):
        find_series(table, columns())
    assert len(find_series(table, columns(id="town")).series) == 3


def test_rows_without_a_name_are_refused():
    table = sales().reset_index(drop=True)
    table.loc[4, "shop"] = None
    with pytest.raises(InputError, match="column 'shop' is empty in 1 of 72 rows, the first of them row 5"):
        find_series(table, columns(id="shop"))


def test_wide_tables_have_a_series_in_each_column():
    table = pd.DataFrame(
        {"month": MONTHS[:6], "b": [np.nan, 2, 3, np.nan, 5, np.nan], "a": range(6), "note": "x"}
    )
    found = find_series(table, columns(wide=True))
    assert list(found.series) == ["b", "a"] and found.name == "series"
    np.testing.assert_equal(found.series["b"].tolist(), [2.0, 3.0, np.nan, 5.0])
    with pytest.raises(InputError, match="--wide takes every column of numbers: leave --id and --value out"):
        find_series(table, columns(wide=True, value="b"))
    with pytest.raises(InputError, match="--wide: there is no column of numbers"):
        find_series(table[["month", "note"]], columns(wide=True))


def test_a_series_that_cannot_be_read_hinders_no_other():
    table = sales().reset_index(drop=True)
    first = table.index[table["shop"] == "_west"]
    table.loc[first[:2], "month"] = ["2030-01", "2030-01"]
    found = find_series(table, columns(id="shop"))
    assert sorted(found.series) == sorted(NASTY[:2])
    assert "more than one row for 2030-01" in found.failures["_west"]


def test_a_single_row_is_a_month_where_the_others_are():
    table = pd.concat([sales(["a"]), sales(["b"], 1)]).reset_index(drop=True)
    found = find_series(table, columns())
    assert found.series["b"].index.freqstr == "M"


def test_series_may_have_steps_of_their_own():
    quarters = pd.DataFrame({"shop": "q", "month": MONTHS[::3], "sales": np.arange(12.0)})
    found = find_series(pd.concat([sales(["m"]), quarters]).reset_index(drop=True), columns())
    assert [y.index.freqstr for y in found.series.values()] == ["M", "Q-DEC"]


# what comes of it -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Result, Path]:
    """All files of three shops, and of one without any number."""
    folder = tmp_path_factory.mktemp("many")
    table = pd.concat([sales(), sales(["empty"]).assign(sales=np.nan)])
    table.to_csv(folder / "sales.csv", index=False)
    files = {"csv": "f.csv", "html": "page.html", "plot": "f.png"}
    options = [text for kind, name in files.items() for text in (f"--{kind}", str(folder / name))]
    return run(str(folder / "sales.csv"), "--horizon", "2", "--season", "none", *options), folder


def test_an_overview_is_printed(made):
    result, folder = made
    assert result.exit_code == 0
    facts, table, *saved = result.stdout.rstrip().split("\n\n")
    assert re.split(r"  +", facts.splitlines()[0]) == ["series", "4, 1 without a forecast"]
    header, *rows = table.splitlines()
    assert re.split(r"  +", header) == [
        *("shop", "seen", "until", "model", "forecast for", "median", "80% low", "80% high")
    ]
    assert sorted(row.split("  ")[0].strip() for row in rows) == sorted(NASTY)
    assert all(re.search(r" 24 +2023-12 +no season, \w+ +2024-02 ", row) for row in rows)
    assert saved == [
        f"The {what} is saved as {folder / name}"
        for what, name in (("plot", "f.png"), ("forecast", "f.csv"), ("page", "page.html"))
    ]
    assert "Note: 'empty' has no forecast: y has no observation" in result.stderr


def test_the_table_has_every_series(made):
    _, folder = made
    saved = pd.read_csv(folder / "f.csv")
    assert saved.columns.tolist() == [
        "shop",
        "time",
        "lower_95",
        "lower_80",
        "median",
        "upper_80",
        "upper_95",
    ]
    assert sorted(saved["shop"]) == sorted(NASTY * 2) and set(saved["time"]) == {"2024-01", "2024-02"}
    levels = saved[["lower_95", "lower_80", "median", "upper_80", "upper_95"]].to_numpy()
    assert (np.diff(levels) > 0.0).all()


def test_the_picture_has_a_panel_for_each(made):
    _, folder = made
    pixels = image.imread(folder / "f.png")[..., :3]
    assert pixels.shape[1] > 1500 and 0.01 < (pixels.min(axis=2) < 0.9).mean() < 0.5
    thirds = np.array_split(pixels, 3, axis=1)
    assert all((third.min(axis=2) < 0.9).mean() > 0.01 for third in thirds)


def test_the_document_has_every_series_and_failure(folder: Path):
    table = pd.concat([sales(["a", "b"]), sales(["empty"]).assign(sales=np.nan)])
    table.to_csv("sales.csv", index=False)
    result = run("sales.csv", "--json", "--horizon", "2", "--season", "none", "--transform", "identity")
    document = json.loads(result.stdout, parse_constant=pytest.fail)
    assert result.exit_code == 0 and not list(folder.glob("*forecast*"))
    assert sorted(one["series"] for one in document["series"]) == ["a", "b"]
    assert list(document["failures"]) == ["empty"]
    assert [len(one["forecast"]) for one in document["series"]] == [2, 2]
    assert document["plot"] is None and document["html"] is None


def test_forecasts_are_those_of_single_files(folder: Path):
    sales().to_csv("sales.csv", index=False)
    options = ["--horizon", "3", "--season", "none", "--json"]
    many = {one["series"]: one for one in json.loads(run("sales.csv", *options).stdout)["series"]}
    alone = sales()[lambda rows: rows["shop"] == "_west"].drop(columns="shop").sort_values("month")
    alone.to_csv("west.csv", index=False)
    assert json.loads(run("west.csv", *options).stdout)["forecast"] == [
        {k: v if k == "time" else pytest.approx(v, rel=1e-9) for k, v in row.items()}
        for row in many["_west"]["forecast"]
    ]


def test_parquet_is_the_same_as_text(folder: Path):
    pytest.importorskip("pyarrow")
    table = sales(["a", "b"], 12).round({"sales": 0})  # text of more digits is read to the last bit but one
    table.to_csv("sales.csv", index=False)
    table.to_parquet("sales.parquet")
    options = ["--horizon", "1", "--season", "none", "--csv", "-"]
    text, parquet = run("sales.csv", *options), run("sales.parquet", *options)
    assert text.exit_code == 0 and text.stdout == parquet.stdout
    assert text.stdout.startswith("shop,time,lower_95")


def test_parquet_without_pyarrow_says_what_to_install(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "fastparquet", None)
    Path("sales.parquet").write_bytes(b"PAR1")
    result = run("sales.parquet")
    assert result.exit_code == 1
    assert "needs pyarrow: pip install 'nonparam[parquet]', or save the table as CSV" in result.stderr


def test_long_lists_are_cut(folder: Path):
    names = [f"s{i:02d}" for i in range(23)]
    table = pd.concat([sales(names, 3), *(sales([f"lost {i}"], 2).assign(sales=np.nan) for i in range(7))])
    table.to_csv("sales.csv", index=False)
    result = run("sales.csv", "--horizon", "1", "--no-plot", "--season", "none", "--transform", "identity")
    assert result.exit_code == 0
    assert "3 more series: --csv, --json and --html have all" in result.stdout
    assert result.stderr.count("has no forecast") == 5 and "2 more have none either" in result.stderr


def test_a_column_named_like_a_result_is_called_series(folder: Path):
    sales(["a", "b"], 3).rename(columns={"shop": "median"}).to_csv("sales.csv", index=False)
    result = run("sales.csv", "--horizon", "1", "--season", "none", "--csv", "-")
    assert result.stdout.startswith("series,time,lower_95")


FAILURES = [
    (["--wide", "--id", "shop"], "--wide takes every column of numbers"),
    (["--id", "shops"], "--id: there is no column 'shops'; did you mean 'shop'"),
    (["--horizon", "5000"], "none of the 2 series can be forecast; the first is .*--horizon 5000 is too far"),
    (["--value", "shop"], "--value: there is no column 'shop' .the columns are month, sales"),
    (["--jobs", "0"], "n_jobs must not be 0"),
    (["--html", "none/a.html"], "cannot write 'none/a.html': there is no folder 'none'"),
    (["--html", "-"], "only --csv writes to standard output"),
]


@pytest.mark.parametrize(("options", "message"), FAILURES)
def test_failure_is_one_line(options, message, folder: Path):
    sales(["a", "b"], 3).to_csv("sales.csv", index=False)
    result = run("sales.csv", *options)
    assert result.exit_code == 1 and result.stdout == ""
    last = result.stderr.strip().splitlines()[-1]
    assert re.match(f"Error: .*{message}", last), result.stderr
    assert [path.name for path in folder.iterdir()] == ["sales.csv"]


def test_several_columns_of_numbers_name_both_ways(folder: Path):
    pd.DataFrame({"month": MONTHS[:3], "a": [1, 2, 4], "b": [3, 1, 2]}).to_csv("wide.csv", index=False)
    result = run("wide.csv")
    assert result.exit_code == 1
    assert "choose one with --value (a, b), or take each as a series with --wide" in result.stderr
    assert run("wide.csv", "--wide", "--no-plot", "--horizon", "1").exit_code == 0
