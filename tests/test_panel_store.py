"""Results in a folder: a run that was killed goes on where it was, and no two runs are mixed."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from panel_cases import Deadly, Naive, Slow

from nonparam.errors import FileFormatError, InputError

INDEXES = {
    "months": pd.period_range("2020-01", periods=12, freq="M"),
    "days": pd.date_range("2020-01-01", periods=12),
    "zone": pd.date_range("2020-03-20", periods=12, tz="Europe/Berlin"),
    "numbers": pd.RangeIndex(12),
    "irregular": pd.Index([0.0, 0.5, 0.7, 1.9, 2.0, 3.1, 3.3, 4.0, 5.0, 6.5, 6.6, 7.0]),
    "durations": pd.timedelta_range("1h", periods=12, freq="h"),
}


def walks(count: int = 20, index: pd.Index = INDEXES["months"]) -> pd.DataFrame:
    steps = np.random.default_rng(0).standard_normal((12, count))
    return pd.DataFrame(steps.cumsum(0), index=index, columns=[f"s{i}" for i in range(count)])


def assert_same(one, other):
    pd.testing.assert_frame_equal(one.predict_quantiles(), other.predict_quantiles(), rtol=0, atol=0)
    pd.testing.assert_frame_equal(one.failures, other.failures)
    pd.testing.assert_frame_equal(one.report.drop(columns="seconds"), other.report.drop(columns="seconds"))


def stamps(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}


@pytest.mark.parametrize("kind", INDEXES)
def test_a_second_run_reads_what_the_first_wrote(kind, tmp_path):
    wide, folder = walks(5, INDEXES[kind]).assign(empty=np.nan), tmp_path / "store"
    with pytest.warns(UserWarning, match="1 of 6 series failed"):
        first = Naive().fit_panel(wide, [1, 3], alpha=[0.2], store=folder)
    written = stamps(folder)
    with pytest.warns(UserWarning, match="1 of 6 series failed"):
        second = Naive(n_jobs=2).fit_panel(wide, [1, 3], alpha=[0.2], store=str(folder))
    assert stamps(folder) == written and len(written) == 7
    pd.testing.assert_frame_equal(
        first.predict_quantiles(alpha=[0.2, 0.5]), second.predict_quantiles(alpha=[0.2, 0.5])
    )
    pd.testing.assert_frame_equal(first.report, second.report)
    pd.testing.assert_frame_equal(first.failures, second.failures)
    assert second["s3"].predict(1).iloc[0] == pytest.approx(wide["s3"].iloc[-1])


RUN = """
import os, signal, sys
from test_panel_store import walks
from panel_cases import Slow
if sys.argv[2] == "write":  # dies in the midst of a chunk's file
    sync, calls = os.fsync, []
    def fsync(file):
        calls.append(file)
        if len(calls) == 4:
            os.truncate(file, 100)
            os.kill(os.getpid(), signal.SIGKILL)
        sync(file)
    os.fsync = fsync
Slow().fit_panel(walks(), 2, store=sys.argv[1])
"""


def start(folder: Path, how: str) -> subprocess.Popen:
    here = Path(__file__).parent
    path = os.pathsep.join([str(here), str(here.parent), os.environ.get("PYTHONPATH", "")])
    return subprocess.Popen(
        [sys.executable, "-c", RUN, str(folder), how], env=os.environ | {"PYTHONPATH": path}
    )


@pytest.mark.parametrize("how", ["fit", "write"])
def test_a_killed_run_goes_on_where_it_was(how, tmp_path):
    process = start(tmp_path / "store", how)
    deadline = time.monotonic() + 60.0
    while how == "fit" and len(list(tmp_path.glob("store/chunk*"))) < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    if how == "fit":
        process.kill()
    assert process.wait(60) == -signal.SIGKILL
    before = stamps(tmp_path / "store")
    done = {name: stamp for name, stamp in before.items() if name.startswith("chunk")}
    assert (3 if how == "fit" else 2) <= len(done) < 20
    assert any(name.endswith(".tmp") for name in before) or how == "fit"
    resumed = Slow().fit_panel(walks(), 2, store=tmp_path / "store")
    after = stamps(tmp_path / "store")
    assert {name: after[name] for name in done} == done and len(after) == 11
    assert not any(name.endswith(".tmp") for name in after)
    assert_same(resumed, Naive().fit_panel(walks(), 2))


def test_what_the_time_did_not_suffice_for_comes_with_the_next_call(tmp_path):
    with pytest.warns(UserWarning, match="not reached"):
        some = Slow().fit_panel(walks(8), 1, store=tmp_path, time_limit=0.25)
    assert 1 <= len(some) < 8
    assert_same(Slow().fit_panel(walks(8), 1, store=tmp_path), Naive().fit_panel(walks(8), 1))


CHANGES = {
    "series": dict(data=walks(4).mul(1.0 + 1e-15)),
    "series by name": dict(data=walks(4).rename(columns={"s0": "other"})),
    "series by order": dict(data=walks(4)[["s1", "s0", "s2", "s3"]]),
    "series by times": dict(data=walks(4).shift(1, freq="M")),
    "series by number": dict(data=walks(5)),
    "parameters": dict(forecaster=Naive(transform="log")),
    "forecast": dict(fh=3),
    "forecast by levels": dict(alpha=[0.2]),
}


@pytest.mark.parametrize("what", CHANGES)
def test_results_of_another_run_are_refused(what, tmp_path):
    Naive().fit_panel(walks(4), 2, store=tmp_path)
    before = stamps(tmp_path)
    change = dict(CHANGES[what])
    data, fh = change.pop("data", walks(4)), change.pop("fh", 2)
    forecaster = change.pop("forecaster", Naive())
    part = what.split(" by ")[0]
    with pytest.raises(
        InputError, match=f"results of another run, which differs in the .*{part}: give another"
    ):
        forecaster.fit_panel(data, fh, store=tmp_path, **change)
    assert stamps(tmp_path) == before


def test_the_kind_of_the_forecaster_counts_as_well(tmp_path):
    Naive().fit_panel(walks(4), 2, store=tmp_path)
    with pytest.raises(InputError, match="which differs in the parameters"):
        Deadly().fit_panel(walks(4), 2, store=tmp_path)


class Holidays(Naive):
    """Has a table among its parameters."""

    def __init__(self, holidays=None):
        super().__init__()
        self.holidays = holidays


def test_equal_parameters_are_equal_however_they_lie_in_memory(tmp_path):
    days = pd.DataFrame({"ds": pd.date_range("2020", periods=3), "name": ["a", "b", "c"]})
    first = Holidays(days).fit_panel(walks(4), 2, store=tmp_path)
    again = pd.DataFrame({"name": list("abc"), "ds": days["ds"]})[["ds", "name"]]
    assert_same(first, Holidays(again).fit_panel(walks(4), 2, store=tmp_path))
    with pytest.raises(InputError, match="which differs in the parameters"):
        Holidays(days.assign(name=["a", "b", "d"])).fit_panel(walks(4), 2, store=tmp_path)


def test_the_number_of_jobs_does_not_count_and_a_generator_does(tmp_path):
    seeded = Naive(random_state=np.random.RandomState(3))
    first = seeded.fit_panel(walks(4), 2, store=tmp_path)
    again = Naive(random_state=np.random.RandomState(3), n_jobs=1)
    assert_same(first, again.fit_panel(walks(4), 2, store=tmp_path))
    with pytest.raises(InputError, match="which differs in the parameters"):
        Naive(random_state=np.random.RandomState(4)).fit_panel(walks(4), 2, store=tmp_path)


def test_regressors_count_as_well(tmp_path):
    data = (
        walks(2)
        .rename_axis("ds")
        .melt(ignore_index=False, var_name="unique_id", value_name="y")
        .reset_index()
    )
    X = pd.DataFrame({"unique_id": ["s0", "s1"], "ds": [pd.Period("2021-01", "M")] * 2, "price": [1.0, 2.0]})
    Naive().fit_panel(data.assign(price=1.0), 1, X=X, store=tmp_path)
    with pytest.raises(InputError, match="which differs in the series"):
        Naive().fit_panel(data.assign(price=2.0), 1, X=X, store=tmp_path)
    with pytest.raises(InputError, match="which differs in the forecast"):
        Naive().fit_panel(data.assign(price=1.0), 1, X=X.assign(price=3.0), store=tmp_path)


def test_a_damaged_file_is_named(tmp_path):
    first = Naive().fit_panel(walks(4), 2, store=tmp_path)
    chunk = tmp_path / "chunk-00002.safetensors"
    content = chunk.read_bytes()
    for damaged in (content[:-8], content[:-8] + b"\0" * 8, b""):
        chunk.write_bytes(damaged)
        with pytest.raises(FileFormatError, match=r"chunk-00002.safetensors' is damaged .*remove this file"):
            Naive().fit_panel(walks(4), 2, store=tmp_path)
    chunk.unlink()
    assert_same(Naive().fit_panel(walks(4), 2, store=tmp_path), first)


def test_folders_that_cannot_be_are_refused(tmp_path):
    (tmp_path / "file").write_text("")
    for store, message in [
        (tmp_path / "file", "is a file: expected a folder"),
        (tmp_path / "none" / "store", "no folder to make it in"),
        (tmp_path, "holds other files, and no results"),
        (3, "store must be the path of a folder, got 3"),
    ]:
        with pytest.raises(InputError, match=message):
            Deadly().fit_panel(walks(2), 1, store=store)


def test_files_of_others_stay(tmp_path):
    kept = [tmp_path / name for name in (".0123456789abcdef.tmp", ".mine.tmp", "other")]
    for file in kept:
        file.write_text("")
    with pytest.raises(InputError, match="holds other files, and no results"):
        Naive().fit_panel(walks(2), 1, store=tmp_path)
    assert all(file.exists() for file in kept)


def test_a_run_that_was_killed_before_its_first_file_goes_on(tmp_path):
    leftover = tmp_path / ".0123456789abcdef.tmp"
    leftover.write_text("")
    assert_same(Naive().fit_panel(walks(2), 1, store=tmp_path), Naive().fit_panel(walks(2), 1))
    assert not leftover.exists()


def test_the_frequency_of_a_single_time_counts_as_well(tmp_path):
    of_a_month, of_a_day = (
        pd.DataFrame({"s": [1.0]}, index=pd.date_range("2020-01-01", periods=1, freq=freq))
        for freq in ("MS", "D")
    )
    Naive().fit_panel(of_a_month, 1, store=tmp_path)
    with pytest.raises(InputError, match="which differs in the series"):
        Naive().fit_panel(of_a_day, 1, store=tmp_path)
