"""The rates of the machine: measured once, kept, and measured anew where the file cannot be trusted."""

import json
from dataclasses import asdict, replace

import pytest
import torch

from nonparam import calibration
from nonparam.calibration import Rates, cache_folder, fingerprint, measure, rates_of

CPU = torch.device("cpu")
KNOWN = Rates(4e10, 4e10, 2e10, 1e7, 5e7, 1e10)


@pytest.fixture
def measured(monkeypatch, tmp_path):
    """A quiet machine with known rates and an empty cache; counts how often it is measured."""
    calls = []

    def counted(device):
        calls.append(device)
        return KNOWN

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(calibration, "measure", counted)
    monkeypatch.setattr(calibration, "is_busy", lambda: False)
    return calls


def the_file():
    (path,) = cache_folder().iterdir()
    return path


def test_rates_are_measured_once_and_kept(measured):
    assert [rates_of(CPU) for _ in range(3)] == 3 * [KNOWN]
    assert measured == [CPU]
    assert json.loads(the_file().read_text())["machine"] == fingerprint(CPU)


def spoilt(content):
    """What may stand in the file instead."""
    rates = content["rates"]
    return {
        "empty": "",
        "cut short": json.dumps(content)[:-30],
        "no object": "[1, 2]",
        "deep": "[" * 100_000,
        "another machine": json.dumps(content | {"machine": content["machine"] | {"processor": "other"}}),
        "another version": json.dumps(content | {"version": 0}),
        "a rate is absent": json.dumps(content | {"rates": {"cholesky": 1.0}}),
        "a rate is 0": json.dumps(content | {"rates": rates | {"gemm64": 0.0}}),
        "a rate is not finite": json.dumps(content | {"rates": rates | {"gemm64": float("inf")}}),
        "a rate is text": json.dumps(content | {"rates": rates | {"gemm64": "fast"}}),
    }


@pytest.mark.parametrize("how", spoilt({"rates": {}, "machine": {}}))
def test_a_file_that_cannot_be_trusted_is_measured_anew(measured, how):
    rates_of(CPU)
    path = the_file()
    path.write_text(spoilt(json.loads(path.read_text()))[how])
    assert rates_of(CPU) == KNOWN and len(measured) == 2
    assert rates_of(CPU) == KNOWN and len(measured) == 2  # and replaced


def test_bytes_that_are_no_text_are_measured_anew(measured):
    rates_of(CPU)
    the_file().write_bytes(b"\xff\xfe\x00")
    assert rates_of(CPU) == KNOWN and len(measured) == 2


def test_other_threads_are_another_machine(measured, monkeypatch):
    rates_of(CPU)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 64)
    rates_of(CPU)
    assert len(measured) == len(list(cache_folder().iterdir())) == 2


def test_a_folder_that_cannot_be_written_to_is_no_error(measured, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert [rates_of(CPU) for _ in range(2)] == 2 * [KNOWN]
    assert len(measured) == 2


def test_rates_of_a_busy_machine_are_not_kept(measured, monkeypatch):
    monkeypatch.setattr(calibration, "is_busy", lambda: True)
    assert rates_of(CPU) == KNOWN
    assert not cache_folder().exists()


def test_processes_that_share_the_work_take_the_slowest(measured, monkeypatch):
    monkeypatch.setattr(calibration, "least", lambda values, device: [value / 2.0 for value in values])
    assert rates_of(CPU) == Rates(*(rate / 2.0 for rate in asdict(KNOWN).values()))


@pytest.mark.parametrize("rate", [0.0, -1.0, float("nan"), float("inf"), 3, "fast"])
def test_no_machine_has_such_a_rate(rate):
    with pytest.raises(ValueError, match=r"gemm32 must be a positive number, got"):
        replace(KNOWN, gemm32=rate)


def test_measured_rates_are_those_of_a_computer(monkeypatch):
    monkeypatch.setattr(calibration, "ROWS", 256)
    monkeypatch.setattr(calibration, "COPIED", 1 << 16)
    rates = measure(CPU)
    assert all(1e5 < rate < 1e15 for rate in asdict(rates).values())


def test_time_that_other_processes_took_does_not_count(monkeypatch):
    clock, waited = iter([0.0, 10.0]), iter([3.0, 8.0])
    monkeypatch.setattr(calibration.time, "perf_counter", lambda: next(clock))
    monkeypatch.setattr(calibration, "_waited", lambda: next(waited))
    assert calibration._seconds(lambda: None, CPU) == 5.0
