"""The verdict that ``benchmarks/small_n.py`` prints, and whether it fails."""

import importlib.util
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "small_n.py"


@pytest.fixture(scope="module")
def small_n():
    spec = importlib.util.spec_from_file_location("small_n", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("ours", "theirs", "ratio", "asked", "expected"),
    [
        (-10.0, -11.0, 5.0, 4, (True, "likelihood met; speed met")),
        (-10.005, -10.0, 3.9, 4, (True, "likelihood met; speed missed")),
        (-10.02, -10.0, 5.0, 4, (False, "likelihood SHORT by 0.020; speed met")),
        (-10.0, -10.0, 1.0, None, (True, "likelihood met")),
        (float("nan"), -10.0, 1.0, None, (False, "likelihood SHORT by nan")),
    ],
)
def test_verdict(small_n, ours, theirs, ratio, asked, expected):
    assert small_n.verdict(ours, theirs, ratio, asked) == expected


class Contestant:
    """Answers as a worker does, without fitting anything."""

    def __init__(self, nats: float) -> None:
        self.nats = nats

    def fit(self, case: str) -> tuple[float, float]:
        return 1.0, self.nats


@pytest.mark.parametrize(("ours", "reached"), [(-10.0, True), (-10.1, False)])
def test_a_likelier_peer_fails_the_case(small_n, ours, reached):
    workers = {(peer, 1): Contestant(ours if peer == "nonparam" else -10.0) for peer in small_n.PEERS}
    found, rows = small_n.compare("concrete n=927", 1, workers)
    assert found == reached
    assert [row.count("|") for row in rows] == [10] * 3
    assert ("likelihood SHORT by 0.100; speed missed" in rows[1]) == (not reached)
