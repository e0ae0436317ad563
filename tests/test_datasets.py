"""Bundled data against their sources, and the catalogue against the loaders."""

import subprocess
import sys
from importlib import resources
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from nonparam import datasets
from nonparam.datasets.bundled import BUNDLED
from nonparam.datasets.uci_sets import UCI_SETS

SHARED = Path(__file__).parents[2] / "shared" / "data"
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="the benchmark data are not here")

# ---------------------------------------------------------------------------- bundled


def load_table(name):
    """Inputs and targets beside each other, as the catalogue counts them."""
    loaded = getattr(datasets, f"load_{name}")()
    return pd.concat(loaded if isinstance(loaded, tuple) else [loaded], axis=1)


SERIES = {
    "airline": (datasets.load_airline, "passengers", "1949-01", "1960-12"),
    "co2": (datasets.load_co2, "co2", "1958-03-29", "2001-12-29"),
    "elnino": (datasets.load_elnino, "sst", "1950-01", "2010-12"),
}


@pytest.mark.parametrize("name", SERIES)
def test_series_has_name_index_units_and_source(name):
    load, column, first, last = SERIES[name]
    y = load()
    info = BUNDLED[name]
    assert isinstance(y, pd.Series) and y.name == column and y.dtype == np.float64
    assert y.index.freq is not None and y.index.is_monotonic_increasing and y.index.is_unique
    assert [str(y.index[i])[: len(first)] for i in (0, -1)] == [first, last]
    assert len(y) == info.rows
    assert y.attrs == {"units": info.units, "source": info.source}


@pytest.mark.parametrize("name", ["airline", "elnino"])
def test_monthly_series_has_a_month_for_each_row(name):
    index = SERIES[name][0]().index
    assert isinstance(index, pd.PeriodIndex) and index.freqstr == "M" and index.name == "month"
    assert index.equals(pd.period_range(index[0], index[-1], freq="M"))


def test_airline_values():
    y = datasets.load_airline()
    assert y.sum() == 40363  # of the 144 numbers of Series G
    assert y.loc["1949"].tolist() == [112, 118, 132, 129, 121, 135, 148, 148, 136, 119, 104, 118]
    assert (y.idxmax(), y.max()) == (pd.Period("1960-07", "M"), 622)


def test_co2_keeps_its_gaps():
    y = datasets.load_co2()
    assert isinstance(y.index, pd.DatetimeIndex) and y.index.freqstr == "W-SAT"
    assert y.isna().sum() == 59
    assert y.loc["1958-05-10":"1958-06-07"].isna().tolist() == [True, False, False, True, True]
    assert 313 <= y.min() and y.max() <= 374


def test_elnino_values():
    y = datasets.load_elnino()
    assert y.notna().all() and 18 < y.min() and y.max() < 30
    assert y.groupby(y.index.month).mean().idxmax() == 3  # warmest in March, south of the equator


def test_us_macro_is_quarterly_with_units_by_column():
    table = datasets.load_us_macro()
    assert table.index.equals(pd.period_range("1959Q1", "2009Q3", freq="Q"))
    assert table.index.name == "quarter"
    assert list(table.attrs["units"]) == list(table.columns)
    assert table.attrs["source"] == BUNDLED["us_macro"].source
    assert table.notna().all(axis=None)
    inflation = 400 * np.log(table["cpi"]).diff()  # the definition that the source gives
    assert abs(inflation - table["infl"]).iloc[1:].max() < 0.01


def test_diabetes_is_in_original_units():
    X, y = datasets.load_diabetes()
    assert X.shape == (442, 10) and len(y) == 442 and y.name == "progression"
    assert list(X.attrs["units"]) == list(X.columns)
    assert X.attrs["source"] == y.attrs["source"] == BUNDLED["diabetes"].source
    assert X["age"].between(19, 79).all() and set(X["sex"]) == {1, 2}
    assert (y.min(), y.max()) == (25, 346)


def test_a_loaded_set_may_be_changed_without_harm():
    table, y = datasets.load_us_macro(), datasets.load_airline()
    table.attrs["units"]["cpi"] = "changed"
    y.iloc[:] = 0
    assert datasets.load_us_macro().attrs["units"]["cpi"] == "index, 1982-84 = 100"
    assert datasets.load_airline().min() == 104


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("airline", "air_passengers"),
        ("co2", "co2_mauna_loa_weekly"),
        ("elnino", "elnino_sst"),
        ("us_macro", "us_macro_quarterly"),
    ],
)
@needs_shared
def test_bundled_values_equal_an_independent_copy(name, file):
    copy = pd.read_csv(SHARED / "series" / "singles" / f"{file}.csv")
    table = load_table(name)
    time = table.index.astype(str).str[:10]
    assert time.tolist() == copy["time"].tolist()
    columns = [c for c in copy.columns[2:] if c in table] if name == "us_macro" else []
    np.testing.assert_array_equal(table.iloc[:, 0], copy["value"])
    np.testing.assert_array_equal(table[columns], copy[columns])
    assert len(columns) == (6 if name == "us_macro" else 0)


# -------------------------------------------------------------------------- catalogue


def test_catalogue_lists_every_loader_once():
    table = datasets.list_datasets()
    columns = ["name", "kind", "rows", "columns", "units", "licence", "source"]
    assert list(table.columns) == columns
    assert table["name"].is_unique and not (table == "").any(axis=None)
    loaders = {name.removeprefix("load_") for name in datasets.__all__ if name.startswith("load_")}
    assert set(table.loc[table["kind"] != "download", "name"]) == loaders
    assert set(table.loc[table["kind"] == "download", "name"]) == set(UCI_SETS)


@pytest.mark.parametrize("name", BUNDLED)
def test_catalogue_gives_the_true_size(name):
    info, table = BUNDLED[name], load_table(name)
    assert table.shape == (info.rows, info.columns)
    assert info.kind == ("series" if info.columns == 1 else "table")


def test_every_data_file_has_a_line_in_sources():
    folder = resources.files("nonparam.datasets.data")
    files = sorted(file.name for file in folder.iterdir() if file.name.endswith(".csv"))
    text = (folder / "SOURCES.md").read_text(encoding="utf-8")
    lines = sorted(line.split("`")[1] for line in text.splitlines() if line.startswith("* "))
    assert files == lines and len(files) == 4


def test_loading_opens_no_connection():
    script = (
        "import socket\n"
        "def refuse(*args): raise AssertionError('opened a connection')\n"
        "socket.socket.connect = refuse\n"
        "from nonparam import datasets\n"
        "[getattr(datasets, name)() for name in datasets.__all__ if name.startswith('load_')]\n"
        "print(len(datasets.list_datasets()))\n"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (run.returncode, run.stdout.strip()) == (0, "16"), run.stderr
