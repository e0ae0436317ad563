"""Progress: a bar on a terminal, lines elsewhere, silence where nobody asked."""

import io
import math
import re
import sys

import numpy as np
import pytest
from fits import X, Y, regressor, shrink

from nonparam import progress
from nonparam.progress import Progress, Tally, steps_left


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def terminal_as_stderr(monkeypatch):
    screen = Terminal()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(sys, "stderr", screen)
    return screen


def plain(screen):
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen.getvalue())


def test_the_bar_shows_stage_step_nats_residual_elapsed_and_time_left(capsys, monkeypatch):
    terminal = terminal_as_stderr(monkeypatch)
    now = [0.0]
    monkeypatch.setattr(progress.time, "perf_counter", lambda: now[0])
    with Progress(True) as shown:
        shown.stage("1,000 rows, exactly", 1e-3)
        shown.step(1, math.inf)
        shown.stage("5,000 rows, by solves", 0.5)
        for step, ahead in enumerate((8.0, 4.0, 2.0), 1):
            now[0] += 60.0
            shown.step(step, ahead, 3e-4)
        shown._bar.refresh()
    said = plain(terminal)
    assert "5,000 rows, by solves" in said
    assert "step 3: 2 nats, largest relative residual 3.0e-04" in said
    assert "about 2 min left in this stage" in said  # from 2 to 0.5 nats, a minute for each halving
    assert re.search(r"\d:\d\d:\d\d", said)
    assert capsys.readouterr().out == ""


def test_a_fit_on_a_terminal(capsys, monkeypatch):
    terminal = terminal_as_stderr(monkeypatch)
    shrink(monkeypatch)
    model = regressor(None, verbose=1).fit(X, Y)
    said, printed = plain(terminal), capsys.readouterr().out
    assert "what predictions need" in said
    assert printed.startswith("n=300, d=2: certified conjugate gradients") and "nats ahead" not in printed
    assert str(model.fit_report_) in printed


def test_a_fit_elsewhere_prints_a_line_for_each_step_on_all_rows(capsys, monkeypatch):
    shrink(monkeypatch)
    steps = regressor(None, verbose=1).fit(X, Y).fit_report_.steps
    said = capsys.readouterr()
    lines = [line for line in said.out.splitlines() if line.startswith("step ")]
    assert len(lines) == steps and said.err == ""
    pattern = r"step \d+: [\d.e-]+ nats ahead, largest relative residual \d\.\de-\d\d"
    assert all(re.fullmatch(pattern, line) for line in lines)


@pytest.mark.parametrize("solver", ["cg", "cholesky"])
def test_nothing_is_shown_unasked(solver, capsys, monkeypatch):
    terminal = terminal_as_stderr(monkeypatch)
    shrink(monkeypatch)
    regressor(None, solver).fit(X, Y)
    assert terminal.getvalue() == "" and capsys.readouterr().out == ""


def test_the_bar_is_taken_down_when_a_fit_fails(monkeypatch):
    terminal = terminal_as_stderr(monkeypatch)
    with pytest.raises(RuntimeError, match="stop"), Progress(True) as shown:
        shown.stage("5,000 rows", 0.5)
        raise RuntimeError("stop")
    assert not shown._bar.live.is_started
    assert terminal.getvalue().rfind("\x1b[?25h") > terminal.getvalue().rfind("\x1b[?25l")  # the cursor


def test_steps_left_of_a_geometric_sequence():
    ahead = 100.0 * 0.3 ** np.arange(8)
    expected = math.log(ahead[-1] / 1e-5) / -math.log(0.3)
    assert steps_left(ahead, 1e-5) == pytest.approx(expected)
    assert steps_left([8.0, 4.0, 0.25], 0.5) == 0.0


@pytest.mark.parametrize(
    ("ahead", "target"),
    [
        ([], 1.0),
        ([3.0], 1.0),
        ([3.0, 3.0], 1.0),
        ([math.inf, 3.0], 1.0),
        ([3.0, 0.0], 1.0),
        ([3.0, 2.0], 0.0),
    ],
)
def test_steps_left_where_nothing_can_be_said(ahead, target):
    assert steps_left(ahead, target) == math.inf


def test_a_nan_does_not_end_up_on_the_bar():
    assert steps_left([math.nan, 1.0], 0.5) == steps_left([2.0, math.nan], 0.5) == math.inf


# a count ----------------------------------------------------------------------------------------


def test_a_tally_is_a_bar_on_a_terminal(monkeypatch, capsys):
    screen = terminal_as_stderr(monkeypatch)
    with Tally(True, 1428, "series") as tally:
        tally.add(0)
        tally.add(714, "3 failed")
        assert tally._bar is not None
        tally._bar.refresh()
    seen = plain(screen)
    assert "714 of 1,428, 3 failed" in seen and "series" in seen and "left" in seen
    assert capsys.readouterr().out == ""


def test_a_tally_writes_a_line_for_every_tenth_elsewhere(capsys):
    with Tally(True, 1000, "series") as tally:
        for _ in range(1000):
            tally.add(1)
    assert capsys.readouterr().out.splitlines() == [f"{i:,} of 1,000 series" for i in range(100, 1001, 100)]


def test_a_tally_is_silent_when_nobody_asked(monkeypatch, capsys):
    screen = terminal_as_stderr(monkeypatch)
    with Tally(False, 2, "series") as tally:
        tally.add(2)
    assert screen.getvalue() == "" and capsys.readouterr().out == ""
