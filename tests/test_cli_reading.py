"""The command line between other programs: CSV of every make, standard input and output, far horizons."""

import io
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner, Result

from nonparam.cli.app import app
from nonparam.cli.delimited import parse_text
from nonparam.cli.reading import numbers
from nonparam.cli.series import parse_times, series_from_table
from nonparam.errors import FileFormatError, InputError

DONE, FAILED, WRONG_USAGE = 0, 1, 2
MONTHS = ["2020-01", "2020-02", "2020-03"]
SALES = b"month,sales\n2020-01,1.5\n2020-02,2.5\n2020-03,3.0\n2020-04,3.1\n"
CURVE = pd.DataFrame({"x": np.arange(20) / 4.0, "y": np.sin(np.arange(20) / 4.0)})


def run(*arguments: str, given: bytes = b"") -> Result:
    return CliRunner().invoke(app, arguments, input=given, prog_name="nonparam")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


# text of every make ---------------------------------------------------------------------------------

WRITTEN = {
    "comma": ("month,sales\n{},1.5\n{},2000\n{},-3\n", [1.5, 2000.0, -3.0]),
    "semicolon, decimal points": ("month;sales\n{};1.5\n{};2.25\n{};1e3\n", [1.5, 2.25, 1000.0]),
    "semicolon, decimal commas": ("month;sales\n{};1,5\n{};-2,250\n{};1,5E2\n", [1.5, -2.25, 150.0]),
    "semicolon, thousandths": ("month;sales\n{};1,500\n{};2,250\n{};3,111\n", [1.5, 2.25, 3.111]),
    "semicolon, groups": ("month;sales\n{};1.234,5\n{};2\n{};1.234.567\n", [1234.5, 2.0, 1234567.0]),
    "semicolon, spaced groups": ("month;sales\n{};1 234,5\n{};2\n{};3\n", [1234.5, 2.0, 3.0]),
    "semicolon, quoted": ('"month";"sales"\n"{}";"1,5"\n"{}";"2"\n"{}";"3"\n', [1.5, 2.0, 3.0]),
    "semicolon, a gap": ("month;sales\n{};1,5\n{};\n{};NA\n", [1.5, np.nan, np.nan]),
    "semicolon, comma in a name": ("month;sales, net\n{};1,5\n{};2,5\n{};3\n", [1.5, 2.5, 3.0]),
    "tab": ("month\tsales\n{}\t1.5\n{}\t2\n{}\t3\n", [1.5, 2.0, 3.0]),
    "tab, decimal commas": ("month\tsales\n{}\t1,5\n{}\t2,250\n{}\t3\n", [1.5, 2.25, 3.0]),
    "bar": ("month|sales\n{}|1.5\n{}|2\n{}|3\n", [1.5, 2.0, 3.0]),
    "spaces": ("month  sales\n{}   1.5\n{}  20\n{}  3\n", [1.5, 20.0, 3.0]),
    "quoted separators": ('month,"sales; net; all"\n{},1\n{},2\n{},3\n', [1.0, 2.0, 3.0]),
    "comments": ("# from a shop; a;b;c\n\n# in EUR\nmonth,sales\n{},1\n{},2\n{},3\n", [1.0, 2.0, 3.0]),
    "line ends and mark of Windows": ("\ufeffmonth;sales\r\n{};1,5\r\n{};2\r\n{};3\r\n", [1.5, 2.0, 3.0]),
}


@pytest.mark.parametrize(("text", "sales"), WRITTEN.values(), ids=WRITTEN)
def test_text_is_read(text: str, sales: list[float], capsys: pytest.CaptureFixture[str]):
    table = parse_text("file", text.format(*MONTHS).encode())
    assert table.iloc[:, 0].tolist() == MONTHS and table.columns[0] == "month"
    np.testing.assert_array_equal(table.iloc[:, 1].to_numpy(dtype=float), sales)
    assert capsys.readouterr().err == ""


def test_decimal_commas_change_only_numbers():
    text = b"day;shop;sales;visitors;share\n01.02.2024;a,b;1,5;1.234;0.125\n02.02.2024;c;2,5;12;0.25\n"
    table = parse_text("file", text)
    assert table["day"].tolist() == ["01.02.2024", "02.02.2024"] and table["shop"].tolist() == ["a,b", "c"]
    assert table["sales"].tolist() == [1.5, 2.5] and table["visitors"].tolist() == [1234, 12]
    assert table["share"].tolist() == [0.125, 0.25]


def test_comments_among_the_rows_are_told(capsys: pytest.CaptureFixture[str]):
    table = parse_text("file", b"# head\na,b\n1,2\n#3,4\n# 5\n6,7\n")
    assert table.to_numpy().tolist() == [[1, 2], [6, 7]]
    told = "Note: left out as comments: 2 lines below the header that start with #\n"
    assert capsys.readouterr().err == told


REFUSED = [
    (b"# only\n", InputError, "'file' is empty"),
    (b"month,sales\n2020-01,1,5\n2020-02,2,5\n", FileFormatError, "separate columns by semicolons$"),
    (b"# a\nm,s\n1,2\n1,2,3\n", FileFormatError, "Expected 2 fields in line 4, saw 3; where commas are"),
    (b"#month,sales\n2020-01,1\n2020-02,2\n", FileFormatError, "starts with 2020-01, 1,.*without a #"),
]


@pytest.mark.parametrize(("content", "error", "message"), REFUSED)
def test_text_that_is_no_table(content: bytes, error: type[Exception], message: str):
    with pytest.raises(error, match=message):
        parse_text("file", content)


@pytest.mark.parametrize(
    "content",
    [b"month\tsales\n2020-01\t1,500\n2020-02\t2,250\n", b'month,sales\n2020-01,"1,500"\n2020-02,"2,250"\n'],
    ids=["tab", "comma"],
)
def test_commas_that_may_be_thousands_are_refused(content: bytes):
    result = run("forecast", "-", given=content)
    assert (result.exit_code, result.stdout) == (FAILED, "")
    assert re.fullmatch("Error: .*'sales' holds '1,500' in row 1; write numbers as 1234.5\n", result.stderr)


# times ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["{y}Q{q}", "{y}-Q{q}", "{y} q{q}", "Q{q} {y}", "Q{q}/{y}"])
@pytest.mark.parametrize("name", ["q", "quarter", "when"])
def test_quarters_are_found(form: str, name: str):
    quarters = [form.format(y=1960 + k // 4, q=k % 4 + 1) for k in range(6)]
    table = pd.DataFrame({"v": np.arange(6.0), name: quarters})
    y, notes = series_from_table(table, None, None)
    assert y.index.equals(pd.period_range("1960Q1", periods=6, freq="Q")) and notes == []
    assert (y.name, y.index.name) == ("v", name)


def test_entry_among_quarters_is_named():
    with pytest.raises(InputError, match="column 'q' holds 'soon' in row 3"):
        series_from_table(pd.DataFrame({"q": ["1960Q1", "1960Q2", "soon"], "v": [1, 2, 3]}), None, None)


def test_the_last_of_many_dates_is_named_in_no_time():
    dates = [*pd.date_range("1900-01-01", periods=40_000).strftime("%Y-%m-%d"), None, "soon"]
    with pytest.raises(InputError, match="column 'day' holds 'soon' in row 40002"):
        parse_times(pd.Series(dates, name="day"))


def test_a_date_that_has_two_readings_is_named():
    with pytest.raises(
        InputError, match=r"'03/02/2020' in row 3, which may be 2020-03-02 or 2020-02-03, and"
    ):
        parse_times(pd.Series([None, "02/02/2020", "03/02/2020", "04/02/2020"], name="day"))
    alike = parse_times(pd.Series(["01/01/2020", "02/02/2020", "03/03/2020"]))
    assert alike.strftime("%m-%d").tolist() == ["01-01", "02-02", "03-03"]


def test_integers_of_any_length_are_numbers():
    assert numbers(pd.Series(["123456789012345678901", None])).fillna(0.0).tolist() == [
        123456789012345678901.0,
        0.0,
    ]


@pytest.mark.parametrize("offset", ["+0{}:00", "+0{}00", "+0{}"])
def test_offsets_across_a_clock_change_become_utc(offset: str):
    clock = [("00", 2), ("01", 2), ("02", 2), ("02", 1), ("03", 1)]
    stamps = [f"2024-10-27T{hour}:00:00{offset.format(k)}" for hour, k in clock]
    y, notes = series_from_table(pd.DataFrame({"time": stamps, "v": np.arange(5.0)}), None, None)
    assert y.index.tolist() == list(pd.date_range("2024-10-26 22:00", periods=5, freq="h", tz="UTC"))
    assert y.tolist() == list(range(5))
    both = ", ".join(offset.format(k) for k in (2, 1))
    assert notes == [f"column 'time' has times of several offsets ({both}): they are put into UTC"]


@pytest.mark.parametrize("offset", ["Z", "+05:30", ""])
def test_one_offset_stays(offset: str):
    stamps = [f"2024-01-0{day}T00:00:00{offset}" for day in (1, 2, 3)]
    y, notes = series_from_table(pd.DataFrame({"time": stamps, "v": [1, 2, 3]}), None, None)
    assert y.index.tolist() == [pd.Timestamp(stamp) for stamp in stamps] and notes == []


def test_zoned_times_of_a_frame_stay():
    times = pd.date_range("2024-10-26", periods=3, tz="Europe/Paris")  # of two offsets
    y, notes = series_from_table(pd.DataFrame({"time": times, "v": [1, 2, 3]}), None, None)
    assert y.index.tolist() == times.tolist() and notes == []


def test_year_comes_before_month():
    days = [f"2024-01-{day:02d}T00:00" for day in range(1, 13)]
    assert parse_times(pd.Series(days)).tolist() == list(pd.date_range("2024-01-01", periods=12))


# standard input and output --------------------------------------------------------------------------


def test_forecast_reads_and_writes_the_standard_streams(folder: Path):
    result = run("forecast", "-", "--csv", "-", "--horizon", "2", given=SALES)
    assert (result.exit_code, result.stderr) == (DONE, "")
    table = pd.read_csv(io.StringIO(result.stdout))
    assert list(table) == ["time", "lower_95", "lower_80", "median", "upper_80", "upper_95"]
    assert table["time"].tolist() == ["2020-05", "2020-06"] and len(result.stdout.splitlines()) == 3
    assert list(folder.iterdir()) == []
    document = json.loads(run("forecast", "-", "--json", "--horizon", "2", given=SALES).stdout)
    assert [row["median"] for row in document["forecast"]] == pytest.approx(table["median"].tolist())


def test_plot_of_standard_input_has_a_name(folder: Path):
    result = run("forecast", "-", "--horizon", "2", given=SALES)
    assert result.exit_code == DONE and result.stdout.endswith("\nThe plot is saved as forecast.png\n")
    assert [path.name for path in folder.iterdir()] == ["forecast.png"]


def test_fit_and_predict_read_and_write_the_standard_streams(folder: Path):
    given = CURVE.to_csv(index=False).encode()
    fitted = run("fit", "-", "--target", "y", "--kernel", "rbf", "--save", "m", "--json", given=given)
    assert (fitted.exit_code, fitted.stderr) == (DONE, "") and json.loads(fitted.stdout)["rows"] == 20
    given = CURVE[["x"]].assign(place="Zürich").to_csv(index=False).encode()
    result = run("predict", "m", "-", "--csv", "-", given=given)
    assert (result.exit_code, result.stderr) == (DONE, "")
    table = pd.read_csv(io.BytesIO(result.stdout_bytes))
    assert list(table) == ["x", "place", "mean", "sd", "lower_95", "upper_95"]
    assert set(table["place"]) == {"Zürich"}
    np.testing.assert_allclose(table["mean"], CURVE["y"], atol=0.01)
    assert [path.name for path in folder.iterdir()] == ["m"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "'standard input' is empty"),
        (b"a,b\n", "'standard input' has a header but no rows"),
        (b"\x00\x01", "'standard input' is a binary file"),
        ("größe,b\n1,2\n".encode("latin-1"), "'standard input' is not UTF-8 text"),
    ],
)
def test_standard_input_that_is_no_table(content: bytes, message: str):
    result = run("forecast", "-", given=content)
    assert (result.exit_code, result.stdout) == (FAILED, "")
    assert re.fullmatch(f"Error: {message}[^\n]*\n", result.stderr)


@pytest.mark.parametrize("command", ["forecast airline", "predict m x.csv"])
def test_two_documents_on_standard_output_are_refused(command: str):
    result = run(*command.split(), "--csv", "-", "--json")
    assert (result.exit_code, result.stdout) == (WRONG_USAGE, "")
    assert "'--csv -': cannot be used with --json: both print" in result.stderr


def test_only_tables_go_to_standard_output(folder: Path):
    CURVE.to_csv("curve.csv", index=False)
    saved = run("fit", "curve.csv", "--target", "y", "--save", "-")
    assert (saved.exit_code, saved.stdout) == (FAILED, "")
    assert saved.stderr == "Error: cannot write '-': only --csv writes to standard output; name a file\n"
    drawn = run("fit", "curve.csv", "--target", "y", "--plot", "-")
    assert (drawn.exit_code, drawn.stdout) == (WRONG_USAGE, "")
    assert "'-' must end in .png" in drawn.stderr
    assert [path.name for path in folder.iterdir()] == ["curve.csv"]


def test_reader_of_the_csv_may_leave():
    command = [sys.executable, "-m", "nonparam.cli", "forecast", "-", "--csv", "-", "--horizon", "2"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdin is not None and process.stdout is not None and process.stderr is not None
        process.stdout.close()
        process.stdin.write(SALES)
        process.stdin.close()
        assert not re.search(b"Traceback|cannot write", process.stderr.read())


# far horizons ---------------------------------------------------------------------------------------


def test_horizon_far_beyond_the_series_is_refused(folder: Path):
    result = run("forecast", "airline", "--horizon", "100000")
    assert (result.exit_code, result.stdout) == (FAILED, "")
    assert result.stderr == (
        "Error: --horizon 100000 is too far for 144 observations: expected at most 1440 steps "
        "(10 times their number or 1000, and none after the year 9999)\n"
    )
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("days", [False, True])
def test_horizon_beyond_the_calendar_is_refused(days: bool):
    nanoseconds = pd.to_datetime(["2020-01-02"]).unit == "ns"
    if nanoseconds and not days:
        pytest.skip("the dates of this pandas end before its periods do")
    last = 2261 if nanoseconds else 9999
    years = [f"{year}-01-0{2 if days else 1}" for year in range(last - 19, last - 8)]  # stamps, or periods
    given = pd.DataFrame({"day": years, "v": range(11)}).to_csv(index=False).encode()
    refused = run("forecast", "-", "--horizon", "10", "--no-plot", given=given)
    assert refused.exit_code == FAILED and "expected at most 9 steps" in refused.stderr
    assert run("forecast", "-", "--horizon", "9", "--plot", "last.png", given=given).exit_code == DONE


def test_longest_horizon_is_forecast_and_drawn(folder: Path):
    result = run("forecast", "-", "--horizon", "1000", "--plot", "far.png", "--csv", "far.csv", given=SALES)
    assert (result.exit_code, result.stderr) == (DONE, "")
    assert (folder / "far.png").stat().st_size > 10_000
    table = pd.read_csv("far.csv")
    assert len(table) == 1000 and np.isfinite(table.drop(columns="time").to_numpy()).all()


def test_dates_that_keep_to_no_calendar_are_named_in_a_line():
    days = pd.Timestamp("2020-01-01") + pd.to_timedelta(np.cumsum([1, 2, 5, 3, 9, 4, 1, 7, 6, 2, 8, 3]), "D")
    lines = [f"{day:%Y-%m-%d},{10 + i}" for i, day in enumerate(days)]
    result = run("forecast", "-", "--horizon", "2", "--json", given="\n".join(["day,level", *lines]).encode())
    assert result.exit_code == DONE
    assert len(json.loads(result.stdout)["forecast"]) == 2
    assert "Warning" not in result.stderr and "calendar" in result.stderr
