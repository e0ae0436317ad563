"""The command line: what it prints and writes, its one-line errors, its exit codes."""

import json
import os
import pty
import re
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib import image
from typer.testing import CliRunner, Result

from nonparam.cli import output
from nonparam.cli.app import app
from nonparam.cli.series import parse_times, series_from_table
from nonparam.datasets import load_airline
from nonparam.errors import InputError

DONE, FAILED, WRONG_USAGE = 0, 1, 2
COMMAND = [sys.executable, "-m", "nonparam.cli"]
ROWS = range(1, 31)
FILES = {
    "empty.csv": b"",
    "blank.csv": b" \n\n",
    "header.csv": b"a,b\n",
    "latin.csv": "t,größe\n1,2\n".encode("latin-1"),
    "binary.csv": bytes(range(256)),
    "headless.csv": b"1949-01,112\n1949-02,118\n",
    "ragged.csv": b"a,b\n1,2\n1,2,3\n",
    "wide.csv": b"a,b\n1,2,3\n4,5,6\n",
    "table.parquet": b"hello",
    "text.csv": b"size,colour,price\n1,red,2\n2,blue,3\n3,red,5\n",
    "gap.csv": b"size,width,price\n1,2,2\n2,,3\n3,4,4\n",
    "target.csv": b"size,price\n1,2\n2,\n3,4\n",
    "infinite.csv": b"size,price\n1,2\n2,3\ninf,4\n",
    "alone.csv": b"price\n1\n2\n",
    "dates.csv": b"month,sales\n1949-01,1\n1949-02,2\nsoon,3\n",
    "labels.csv": b"when,sales\nfoo,1\nbar,2\n",
    "timeless.csv": b"month,sales\n1949-01,1\n,2\n1949-03,3\n",
    "twice.csv": b"month,sales\n1949-01,1\n1949-01,2\n",
    "words.csv": b"month,sales\n1949-01,many\n1949-02,few\n",
    "missing.csv": b"month,sales\n1949-01,\n1949-02,\n",
    "columns.csv": b"month,sales,costs\n1949-01,1,2\n1949-02,2,3\n",
    "taken.csv": b"x,mean\n1,2\n",
    "other.csv": b"X,z\n1,2\n",
    "curve.csv": "".join(["x,y\n", *(f"{x / 5},{np.sin(x / 5)}\n" for x in ROWS)]).encode(),
    "house.csv": "".join(["id,size,fixed,price\n", *(f"{i},{i * i % 7},5,{i % 3}\n" for i in ROWS)]).encode(),
}
PLAIN = re.compile(r"[\n\x20-\x7e]*")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, content in FILES.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "folder.csv").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments, prog_name="nonparam")


def facts(printed: str) -> dict[str, str]:
    """The lines of names and what they are, at the top."""
    return dict(re.split(r"  +", line, maxsplit=1) for line in printed.split("\n\n")[0].splitlines())


def check_picture(path: Path) -> None:
    """A PNG of some size with a drawing in it: several colours, and neither blank nor full."""
    content = path.read_bytes()
    assert content.startswith(b"\x89PNG\r\n")
    width, height = struct.unpack(">II", content[16:24])
    assert width > 800 and height > 400
    pixels = image.imread(path)[..., :3].reshape(-1, 3)
    assert len(np.unique(pixels, axis=0)) > 20
    assert 0.01 < (pixels.min(axis=1) < 0.9).mean() < 0.5


# errors ---------------------------------------------------------------------------------------------

FAILURES = [
    ("forecast nothing.txt", "there is no file 'nothing.txt'$"),
    ("forecast airlin", "there is no file 'airlin'; did you mean 'airline'"),
    ("forecast yacht", "no file 'yacht' .*fetch_uci\\('yacht'\\)"),
    ("forecast folder.csv", "'folder.csv' is a folder"),
    ("forecast empty.csv", "'empty.csv' is empty"),
    ("forecast blank.csv", "'blank.csv' is empty"),
    ("forecast header.csv", "'header.csv' has a header but no rows"),
    (
        "forecast latin.csv",
        "'latin.csv' is not UTF-8 text \\(byte 0xf6 in line 1\\): save it as CSV in UTF-8",
    ),
    ("forecast binary.csv", "'binary.csv' is a binary file: expected text"),
    ("forecast headless.csv", "starts with 1949-01, 112, which looks like data"),
    ("forecast ragged.csv", "'ragged.csv' is not a table.*Expected 2 fields in line 3, saw 3"),
    ("forecast wide.csv", "'wide.csv' is not a table.*more entries than the header"),
    ("forecast dates.csv", "column 'month' holds 'soon' in row 3, which cannot be read as a time"),
    ("forecast labels.csv", "column 'when' holds 'foo' in row 1, which cannot be read as a time"),
    ("forecast labels.csv --time when", "column 'when' holds 'foo' in row 1, which cannot be read as a time"),
    ("forecast timeless.csv", "column of times is empty in row 2"),
    ("forecast twice.csv", "column 'month' has more than one row for 1949-01"),
    ("forecast words.csv", "no column of numbers to forecast: column 'sales' holds 'many' in row 1"),
    ("forecast words.csv --value sales", "column 'sales' is not numbers: row 1 holds 'many'"),
    ("forecast missing.csv", "no observation"),
    ("forecast columns.csv", "choose one with --value \\(sales, costs\\)"),
    ("forecast columns.csv --value cost", "--value: there is no column 'cost'; did you mean 'costs'"),
    ("forecast columns.csv --time mouth", "--time: there is no column 'mouth'; did you mean 'month'"),
    ("forecast us_macro", "choose one with --value \\(realgdp, "),
    ("forecast airline --plot none/a.png", "cannot write 'none/a.png': there is no folder 'none'"),
    ("forecast airline --csv folder.csv", "cannot write 'folder.csv': it is a folder"),
    ("forecast airline --csv locked/a.csv", "cannot write 'locked/a.csv': permission denied"),
    ("fit nothing.txt --target y", "there is no file 'nothing.txt'"),
    (
        "fit text.csv --target prise",
        "no column 'prise'; did you mean 'price'\\? \\(.* size, colour, price\\)",
    ),
    ("fit text.csv --target colour", "the target 'colour' is not numbers: row 1 holds 'red'"),
    ("fit text.csv --target price", "column 'colour' is not numbers: row 1 holds 'red'.*--drop colour$"),
    ("fit text.csv --target price --drop color", "--drop: there is no column 'color'; did you mean 'colour'"),
    ("fit text.csv --target price --drop price", "'price' is the target: it cannot be dropped"),
    ("fit alone.csv --target price", "no column is left beside the target 'price'"),
    ("fit target.csv --target price", "target 'price' has no value in 1 of 3 rows, the first of them row 2"),
    ("fit gap.csv --target price", "column 'width' has no value in 1 of 3 rows.*--drop width$"),
    ("fit infinite.csv --target price", "infinity.*'size'"),
    ("fit house.csv --target price --plot a.png", "one input, and there are 3 \\(id, size, fixed\\)"),
    ("fit curve.csv --target y --save none/m", "cannot write 'none/m': there is no folder 'none'"),
    ("compare curve.csv --target y --models rbf", "at least two models, got 1"),
    ("compare curve.csv --target y --models rbf rbf", "more than one model is called 'rbf'"),
    ("compare curve.csv --target z --models rbf linear", "no column 'z'"),
    ("compare curve.csv --target y --models rbf linear --cv 31", "cv must be .* from 2 to the 30 rows"),
    ("compare curve.csv --target y --models rbf linear --jobs 0", "n_jobs must not be 0"),
    ("compare curve.csv --target y --models rbf linear --html none/a.html", "there is no folder 'none'"),
    ("predict nothing.model curve.csv", "cannot load 'nothing.model': there is no such file"),
    ("predict curve.csv curve.csv", "'curve.csv' is no safetensors file"),
]


@pytest.mark.parametrize(("command", "message"), FAILURES, ids=lambda text: text.replace(" ", "_"))
def test_failure_is_one_line(command: str, message: str, folder: Path, monkeypatch: pytest.MonkeyPatch):
    (folder / "locked").mkdir()
    monkeypatch.setattr(output.os, "access", lambda path, mode: "locked" not in str(path))  # root may write
    before = set(folder.iterdir())
    result = run(*command.split())
    assert result.exit_code == FAILED
    assert result.stdout == ""
    assert re.fullmatch(r"Error: [^\n]+\n", result.stderr)
    assert re.search(message, result.stderr.strip())
    assert set(folder.iterdir()) == before


WRONG = [
    ("forecast", "Missing argument 'FILE|NAME'"),
    ("forecast airline --horizon 0", "'--horizon'.*(1|one)"),
    ("forecast airline --horizon soon", "'--horizon'.*(soon|integer)"),
    ("forecast airline --season 1", "'--season': '1' is not auto, none, or a number of at least 2"),
    ("forecast airline --season yearly", "'--season': 'yearly' is not"),
    ("forecast airline --transform root", "'--transform'"),
    ("forecast airline --plot a.txt", "'--plot': 'a.txt' must end in .png, .pdf, .svg"),
    ("forecast airline --plot a.png --no-plot", "'--no-plot': cannot be used with --plot"),
    ("forecast airline --colour red", "No such option"),
    ("fit curve.csv", "Missing option '--target'"),
    ("fit curve.csv --target y --kernel rbff", "'--kernel'.*no kernel is called 'rbff'; did you mean 'rbf'"),
    ("fit curve.csv --target y --kernel rbf(", "'--kernel'.*cannot be read near column"),
    ("compare curve.csv --target y", "Missing option '--models'"),
    ("compare curve.csv --target y --models rbf rbff", "'--models'.*no kernel is called 'rbff'"),
    ("compare curve.csv --target y --models rbf linear --orderings 1", "'--orderings'"),
    ("predict model", "Missing argument 'FILE'"),
    ("fitt", "No such command 'fitt'"),
]


@pytest.mark.parametrize(("command", "message"), WRONG, ids=lambda text: text.replace(" ", "_"))
def test_wrong_usage_exits_with_2(command: str, message: str, folder: Path):
    result = run(*command.split())
    assert result.exit_code == WRONG_USAGE
    assert result.stdout == ""
    assert re.search(message, result.stderr)
    assert "Usage: nonparam" in result.stderr and "Traceback" not in result.stderr


def test_parquet_needs_pyarrow_or_is_damaged(folder: Path):
    result = run("forecast", "table.parquet")
    assert result.exit_code == FAILED
    assert re.fullmatch(r"Error: .*(needs pyarrow|cannot be read as Parquet)[^\n]*\n", result.stderr)


def test_other_errors_are_not_hidden(folder: Path, monkeypatch: pytest.MonkeyPatch):
    def broken(table: pd.DataFrame, time: str | None, value: str | None) -> None:
        raise TypeError("a mistake in the program")

    monkeypatch.setattr("nonparam.cli.forecast.series_from_table", broken)
    assert isinstance(run("forecast", "airline").exception, TypeError)


# starting -------------------------------------------------------------------------------------------


def test_alone_prints_help():
    result = run()
    assert result.exit_code == DONE
    assert re.findall(r"^  (\w+)  ", result.stdout, re.MULTILINE) == [
        "forecast",
        "fit",
        "compare",
        "widths",
        "predict",
        "datasets",
    ]
    assert PLAIN.fullmatch(result.stdout)


@pytest.mark.parametrize("command", ["forecast", "fit", "compare", "widths", "predict", "datasets"])
def test_every_option_is_explained(command: str):
    result = run(command, "--help")
    assert result.exit_code == DONE
    options = re.findall(r"^  (?:-h, )?--[\w-]+ .*(?:\n {10,}.*)*", result.stdout, re.MULTILINE)
    assert len(options) > 1
    assert all(re.search(r"--[\w-]+(?: \S+)*\s{2,}[A-Z]", option) for option in options)


@pytest.mark.parametrize("option", ["--version", "--help"])
def test_starts_without_heavy_imports(option: str):
    code = (
        "import sys\nfrom nonparam.cli import main\n"
        f"try:\n    main(['{option}'])\n"
        "except SystemExit as end:\n    code = end.code\n"
        "heavy = {'torch', 'pandas', 'sklearn', 'matplotlib', 'scipy', 'rich'} & set(sys.modules)\n"
        "raise SystemExit(code or ', '.join(sorted(heavy)) or None)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (result.returncode, result.stderr) == (DONE, "")
    assert re.match(r"nonparam \d+\.\d+|Usage: nonparam", result.stdout)


# forecast -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def showcase(tmp_path_factory: pytest.TempPathFactory) -> tuple[subprocess.CompletedProcess[str], Path]:
    """``nonparam forecast airline`` in an empty folder, its output piped."""
    folder = tmp_path_factory.mktemp("showcase")
    arguments = [*COMMAND, "forecast", "airline"]
    return subprocess.run(arguments, cwd=folder, capture_output=True, text=True, timeout=120), folder


def test_showcase_prints_table_and_choices(showcase):
    result, _ = showcase
    assert (result.returncode, result.stderr) == (DONE, "")
    assert PLAIN.fullmatch(result.stdout)
    told = facts(result.stdout)
    assert told["seen"] == "144 observations, 1949-01 to 1960-12"
    assert re.match(r"12 months \(weight 100.0%, \d+\.\d nats ahead of no season\)", told["season"])
    assert re.match(r"log \(weight .*ahead of identity\): its swings grow with its level", told["transform"])
    header, *rows = result.stdout.split("\n\n")[1].splitlines()
    assert re.split(r"  +", header) == ["month", "median", "80% low", "80% high", "95% low", "95% high"]
    assert {len(row) for row in rows} == {len(header)}
    assert [row.split()[0] for row in rows] == [
        str(m) for m in pd.period_range("1961-01", periods=24, freq="M")
    ]
    numbers = np.array([row.split()[1:] for row in rows], dtype=float)
    assert (np.diff(numbers[:, [3, 1, 0, 2, 4]]) > 0.0).all()
    year_before = load_airline().to_numpy()[-12:]
    assert (abs(numbers[:12, 0] / year_before - 1.1) < 0.1).all()


def test_showcase_saves_the_plot_that_it_names(showcase):
    result, folder = showcase
    assert result.stdout.endswith("\nThe plot is saved as airline-forecast.png\n")
    assert [path.name for path in folder.iterdir()] == ["airline-forecast.png"]
    check_picture(folder / "airline-forecast.png")


def test_forecast_json_is_one_document(folder: Path):
    result = run("forecast", "airline", "--json", "--horizon", "3", "--csv", "f.csv", "--season", "12")
    assert (result.exit_code, result.stderr) == (DONE, "")
    document = json.loads(result.stdout, parse_constant=pytest.fail)
    assert document["horizon"] == 3 and document["plot"] is None and document["csv"] == "f.csv"
    assert sum(model["weight"] for model in document["models"]) == pytest.approx(1.0)
    assert {tuple(model["seasons"]) for model in document["models"]} == {(12.0,), ()}
    saved = pd.read_csv("f.csv").to_dict("records")
    assert saved == [
        {k: v if k == "time" else pytest.approx(v) for k, v in row.items()} for row in document["forecast"]
    ]
    assert list(saved[0]) == ["time", "lower_95", "lower_80", "median", "upper_80", "upper_95"]
    assert not list(folder.glob("*forecast*"))


def test_forecast_of_a_file_is_that_of_the_series(folder: Path):
    y = load_airline()
    y.to_frame().sample(frac=1.0, random_state=0).to_csv("sales.csv", sep=";")
    options = ["--horizon", "2", "--json"]
    ours, theirs = (json.loads(run("forecast", name, *options).stdout) for name in ("sales.csv", "airline"))
    assert ours["forecast"] == theirs["forecast"] and ours["series"] == "passengers"


def test_season_and_transform_as_asked(folder: Path):
    result = run(
        "forecast", "airline", "--season", "none", "--transform", "identity", "--no-plot", "--horizon", "1"
    )
    assert result.exit_code == DONE
    assert facts(result.stdout)["season"] == "no season" and facts(result.stdout)["transform"] == "identity"
    assert not list(folder.glob("*.png"))


def test_rows_without_times_are_steps(folder: Path):
    result = run("forecast", "curve.csv", "--value", "y", "--horizon", "2", "--no-plot")
    assert result.exit_code == DONE
    assert "Note: no column of times: the rows are taken as equal steps, 0 to 29\n" in result.stderr
    assert re.findall(r"^(\w+) ", result.stdout.split("\n\n")[1], re.MULTILINE) == ["step", "30", "31"]


TIMES = [
    (["1949-01", "1949-02"], ["1949-01", "1949-02"], "M"),
    (["1949-01-01", "1950-01-01", "1952-01-01"], ["1949", "1950", "1952"], "Y-DEC"),
    (["1949-03-31", "1949-06-30"], ["1949Q1", "1949Q2"], "Q-DEC"),
    (["Jan 1949", "Feb 1949"], ["1949-01", "1949-02"], "M"),
    (["1949M01", "1949M02"], ["1949-01", "1949-02"], "M"),
    (["1959Q4", "1960 q1"], ["1959Q4", "1960Q1"], "Q-DEC"),
    (
        [*(f"01/{m:02d}/2024" for m in range(1, 13)), "01/01/2025"],
        [*(f"2024-{m:02d}" for m in range(1, 13)), "2025-01"],
        "M",
    ),
    ([194911, 194912, 195001], ["1949-11", "1949-12", "1950-01"], "M"),
    ([1949, 1950], ["1949", "1950"], "Y-DEC"),
    ([1949.25, 1949.5], ["1949Q2", "1949Q3"], "Q-DEC"),
    ([1948.917, 1949.0, 1949.083], ["1948-12", "1949-01", "1949-02"], "M"),
]


@pytest.mark.parametrize(("written", "periods", "frequency"), TIMES)
def test_times_are_read(written: list[object], periods: list[str], frequency: str):
    index = parse_times(pd.Series(written))
    assert (index.astype(str).tolist(), index.freqstr) == (periods, frequency)


def test_days_and_numbers_stay_what_they_are():
    days = ["13/01/2024", "14/01/2024", "15/01/2024"]
    assert parse_times(pd.Series(days)).tolist() == list(pd.date_range("2024-01-13", periods=3))
    assert parse_times(pd.Series([1.5, 2.5])).tolist() == [1.5, 2.5]


def test_row_numbers_are_neither_time_nor_value():
    table = pd.DataFrame({"rownames": [1, 2, 3], "time": [1949.0, 1950.0, 1951.0], "value": [5.0, 6.0, 9.0]})
    y, notes = series_from_table(table, None, None)
    assert (y.name, y.tolist(), y.index.astype(str).tolist()) == (
        "value",
        [5.0, 6.0, 9.0],
        ["1949", "1950", "1951"],
    )
    assert notes == []


def test_mixed_dates_are_refused():
    with pytest.raises(InputError, match=r"'31/01/1949' in row 2.*all in one form"):
        parse_times(pd.Series(["1949-01-31", "31/01/1949"], name="day"))


# compare --------------------------------------------------------------------------------------------


def test_compare_prints_the_table_and_both_verdicts(folder: Path):
    result = run("compare", "curve.csv", "--target", "y", "--models", "linear", "rbf", "--html", "a.html")
    assert (result.exit_code, result.stderr) == (DONE, "")
    table, units, *verdicts, saved = result.stdout.rstrip().split("\n\n")
    header, *rows = table.splitlines()
    assert re.split(r"  +", header)[:3] == ["model", "LML", "log evidence"]
    assert [row.split()[0] for row in rows] == ["linear", "rbf"] and "nats" in units
    assert verdicts[0].startswith("Which hypothesis do the data support?\n  The data support 'rbf' most;")
    assert verdicts[1].startswith("Which model will predict best?\n  'rbf' predicts best")
    assert saved == "The page is saved as a.html"
    assert "<h1>Comparison of 2 models</h1>" in Path("a.html").read_text(encoding="utf-8")


def test_compare_json_is_one_document(folder: Path):
    options = ["--models", "linear", "linear + rbf", "--json", "--cv", "3", "--jobs", "1", "--orderings", "4"]
    result = run("compare", "curve.csv", "--target", "y", *options)
    assert (result.exit_code, result.stderr) == (DONE, "")
    document = json.loads(result.stdout, parse_constant=pytest.fail)
    assert list(document["models"]) == ["linear", "linear + rbf"] and document["html"] is None
    assert "4 orderings" in document["data"] and "3 folds" in document["data"]
    assert document["generalisation"]["best"]["loo"] == "linear + rbf"


def test_compare_takes_models_wherever_they_stand(folder: Path):
    options = ["--orderings", "2", "--json", "--models", "rbf", "--models", "linear", "matern12"]
    result = run("compare", "curve.csv", "--target", "y", *options)
    assert sorted(json.loads(result.stdout)["models"]) == ["linear", "matern12", "rbf"]


# fit and predict ------------------------------------------------------------------------------------


@pytest.fixture
def model(folder: Path) -> Path:
    result = run(
        "fit", "curve.csv", "--target", "y", "--kernel", "rbf", "--save", "m", "--plot", "c.png", "--json"
    )
    assert (result.exit_code, result.stderr) == (DONE, "")
    document = json.loads(result.stdout, parse_constant=pytest.fail)
    assert document["inputs"] == ["x"] and document["rows"] == 30 and document["converged"] is True
    assert re.fullmatch(r"[\d.e+-]+ \* rbf\(lengthscale=[\d.]+\)", document["kernel"])
    assert (document["model"], document["plot"]) == ("m", "c.png")
    return folder / "m"


def test_fit_draws(model: Path):
    check_picture(model.with_name("c.png"))


def test_saved_model_predicts(model: Path):
    pd.DataFrame({"place": ["a", None], "x": [1.1, 2.3]}).to_csv("new.csv", index=False)
    result = run("predict", "m", "new.csv", "--csv", "p.csv")
    assert result.exit_code == DONE
    assert result.stderr == "Note: 2 rows with all columns saved as p.csv\n"
    table = pd.read_csv("p.csv")
    assert list(table) == ["place", "x", "mean", "sd", "lower_95", "upper_95"]
    np.testing.assert_allclose(table["mean"], np.sin(table["x"]), atol=0.01)
    np.testing.assert_allclose(table["upper_95"] - table["mean"], 1.96 * table["sd"], rtol=1e-3)
    np.testing.assert_allclose(table["mean"] - table["lower_95"], 1.96 * table["sd"], rtol=1e-3)
    header, *rows = result.stdout.splitlines()
    assert re.split(r"  +", header) == ["row", *table] and len(rows) == 2
    document = json.loads(run("predict", "m", "new.csv", "--json").stdout, parse_constant=pytest.fail)
    assert [row["mean"] for row in document["predictions"]] == pytest.approx(
        table["mean"].tolist(), rel=1e-12
    )
    assert document["predictions"][1]["place"] is None


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("other.csv", r"there is no column 'x'; did you mean 'X'\? \(the model needs x\)"),
        ("taken.csv", "'taken.csv' has a column 'mean', as the prediction will be called: rename it"),
        ("dates.csv", r"there is no column 'x' \(the model needs x\)"),
        ("header.csv", "no rows"),
    ],
)
def test_table_that_the_model_cannot_use(file: str, message: str, model: Path):
    result = run("predict", "m", file)
    assert (result.exit_code, result.stdout) == (FAILED, "")
    assert re.fullmatch(f"Error: .*{message}.*\n", result.stderr)


def test_changed_model_is_refused(model: Path):
    content = bytearray(model.read_bytes())
    content[-1] ^= 1
    model.write_bytes(content)
    result = run("predict", "m", "curve.csv")
    assert result.exit_code == FAILED
    assert re.fullmatch(r"Error: 'm' was changed after it was saved[^\n]*\n", result.stderr)


def test_fit_tells_doubts_and_results(folder: Path):
    result = run("fit", "house.csv", "--target", "price")
    assert result.exit_code == DONE
    assert re.fullmatch(
        r"Note: column 'id' counts the rows[^\n]*--drop id leaves it out\n"
        r"Note: column 'fixed' is constant[^\n]*--drop fixed leaves it out\n",
        result.stderr,
    )
    told = facts(result.stdout)
    assert told["inputs"] == "id, size, fixed" and told["rows"] == "30"
    assert "matern52(lengthscale=[" in told["kernel"] and told["log likelihood"].endswith("nats (marginal)")


def test_dropped_columns_are_not_inputs(folder: Path):
    result = run("fit", "house.csv", "--target", "price", "--drop", "id", "--drop", "fixed", "--json")
    assert json.loads(result.stdout)["inputs"] == ["size"] and result.stderr == ""


# printing -------------------------------------------------------------------------------------------


def test_datasets_are_listed():
    result = run("datasets")
    assert result.exit_code == DONE and PLAIN.fullmatch(result.stdout)
    assert re.search(r"^airline +series +144 +1 +thousands of passengers", result.stdout, re.MULTILINE)
    names = [entry["name"] for entry in json.loads(run("datasets", "--json").stdout)["datasets"]]
    assert {"airline", "co2", "elnino", "us_macro", "diabetes"} < set(names)


def test_terminal_gets_a_ruled_table(tmp_path: Path):
    """Under a pseudo-terminal the table has rules and the program shows that it is at work."""
    master, slave = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    arguments = [*COMMAND, "datasets"]
    process = subprocess.Popen(arguments, stdout=slave, stderr=slave, env=environment, cwd=tmp_path)
    os.close(slave)
    shown = b""
    try:
        while chunk := os.read(master, 4096):
            shown += chunk
    except OSError:  # the terminal is closed
        pass
    os.close(master)
    assert process.wait(timeout=60) == DONE
    assert "─────" in shown.decode() and "thousands of passengers" in shown.decode()


def test_closed_pipe_is_no_traceback():
    process = subprocess.Popen([*COMMAND, "datasets"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    assert b"Traceback" not in process.stderr.read()
    process.stderr.close()
    process.wait(timeout=60)


def test_letters_that_the_console_lacks_are_replaced(folder: Path):
    Path("greek.csv").write_text("x,ψ\n1,2\n2,3\n", encoding="utf-8")
    environment = {**os.environ, "PYTHONIOENCODING": "latin-1"}
    arguments = [*COMMAND, "fit", "greek.csv", "--target", "y"]
    result = subprocess.run(arguments, capture_output=True, text=True, env=environment, timeout=60)
    assert result.returncode == FAILED
    assert re.fullmatch(r"Error: --target: there is no column 'y'.*x, \?\)\n", result.stderr)


def test_json_knows_no_nan(capsys: pytest.CaptureFixture[str]):
    output.print_json({"a": float("nan"), "b": [np.float64(1.5), np.inf], "c": pd.NaT, "d": np.int64(3)})
    printed = capsys.readouterr().out
    assert json.loads(printed, parse_constant=pytest.fail) == {
        "a": None,
        "b": [1.5, None],
        "c": "NaT",
        "d": 3,
    }


def test_table_cells_cannot_carry_escape_codes(capsys: pytest.CaptureFixture[str]):
    output.print_table(["row", "a\x1b[31m\nb"], [["1", "2"]])
    assert capsys.readouterr().out == "row  a?[31m?b\n1           2\n"
