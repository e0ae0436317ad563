"""Checkpoints: a killed fit goes on to the same optimum, and no bad file, disk or neighbour does harm."""

import errno
import os
import signal
import socket
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from fits import X, Y, assert_empty, regressor, shrink, stopped_at, undisturbed
from safetensors.numpy import save_file

from nonparam import GPRegressor, checkpoint, newton, persistence, regression
from nonparam.checkpoint import NewtonState, State, checkpoint_at, locked
from nonparam.errors import FileFormatError, InputError
from nonparam.objective import Objective
from nonparam.persistence import read_file, write_file
from nonparam.solvers.plan import choose
from nonparam.solves import SolvedEvidence

LOCK = ".fit.checkpoint.nonparam-lock"
STATES = {
    "subset": State(np.arange(6.0).reshape(2, 3), seed=7),
    "first step": State(np.ones((1, 2)), newton=NewtonState(np.ones(2), np.eye(2))),
    "later step": State(
        np.ones((1, 2)),
        newton=NewtonState(np.ones(2), np.eye(2), 3, np.full(2, 0.1), np.zeros(2), np.array([4, 1]), True),
    ),
}


@pytest.fixture(autouse=True)
def small(monkeypatch):
    shrink(monkeypatch)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "fit.checkpoint"


def saved(path):
    return read_file(path, "Checkpoint")


@pytest.fixture
def unfinished(path, monkeypatch):
    """A checkpoint of a Cholesky fit that was stopped."""
    with monkeypatch.context() as patch:
        stopped_at(patch, Objective, "negative", 6, RuntimeError("stop"))
        with pytest.raises(RuntimeError, match="stop"):
            regressor(path, "cholesky").fit(X, Y)
    return path


# the file ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", STATES)
def test_a_state_comes_back_to_the_last_bit(name, path):
    with checkpoint_at(path, 0.0, {"data": X}) as kept:
        assert kept.resumed is None
        kept.offer(STATES[name])
    with checkpoint_at(path, 0.0, {"data": X}) as kept:
        found = kept.resumed
    left, right = (
        {**vars(state), "newton": vars(state.newton) if state.newton else {}}
        for state in (found, STATES[name])
    )
    for one, other in ((left, right), (left["newton"], right["newton"])):
        assert one.keys() == other.keys()
        for key in set(one) - {"newton"}:
            np.testing.assert_array_equal(one[key], other[key])


def test_states_are_written_every_so_often_and_at_the_end_of_a_stage(path, monkeypatch):
    now, written = [0.0], []
    monkeypatch.setattr(checkpoint.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(checkpoint, "write_file", lambda *parts: written.append(now[0]))
    with checkpoint_at(path, 5.0, {}) as kept:
        for now[0] in range(0, 700, 100):
            kept.offer(STATES["subset"])
        assert written == [300.0, 600.0]
        now[0] = 610.0
        kept.write(STATES["subset"])
        assert written == [300.0, 600.0, 610.0]
        kept.offer(STATES["subset"])
    assert written == [300.0, 600.0, 610.0, 610.0]  # what was only offered, on the way out


def test_without_a_path_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with checkpoint_at(None, 0.0, {"data": object()}) as kept:
        kept.write(STATES["subset"])
        kept.remove()
    assert_empty(tmp_path)


def test_no_entry_for_each_row_is_kept(path, monkeypatch):
    stopped_at(monkeypatch, SolvedEvidence, "slope", 2, RuntimeError("stop"))
    monkeypatch.setattr("nonparam.fitting.RANK", 150)
    with pytest.raises(RuntimeError, match="stop"):
        regressor(path).fit(X, Y)
    _, tensors = saved(path)
    assert {"Checkpoint.state.newton.pivots", "Checkpoint.state.newton.inverse"} <= tensors.keys()
    assert max(max(tensor.shape) for tensor in tensors.values()) <= 150 < len(X)


# resuming ----------------------------------------------------------------------------------------


WAITING = """
import sys, time
sys.path.insert(0, sys.argv[1])
import pytest
from fits import X, Y, regressor, shrink
from nonparam.objective import Objective
from nonparam.solvers.plan import choose
from nonparam.solves import SolvedEvidence

owner, calls = {"SolvedEvidence": SolvedEvidence, "Objective": Objective}[sys.argv[3]], []
method = getattr(owner, sys.argv[4])

def waiting(*args, **keywords):
    calls.append(0)
    if len(calls) == int(sys.argv[5]):
        print("arrived", flush=True)
        time.sleep(60)
    return method(*args, **keywords)

setattr(owner, sys.argv[4], waiting)
shrink(pytest.MonkeyPatch())
regressor(sys.argv[2]).fit(X, Y)
"""


@pytest.fixture(scope="module")
def uninterrupted():
    return undisturbed()


@pytest.mark.parametrize(
    ("place", "step"),
    [(("Objective", "negative", "5"), None), (("SolvedEvidence", "slope", "3"), 3)],
    ids=["on a subset", "at Newton's third step"],
)
def test_a_killed_fit_goes_on_to_the_same_optimum(place, step, path, uninterrupted, monkeypatch):
    command = [sys.executable, "-c", WAITING, str(Path(__file__).parent), str(path), *place]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "arrived\n"
        used = rf"fit.checkpoint' is in use by process {process.pid} on {socket.gethostname()}: wait for that"
        with pytest.raises(InputError, match=used):
            regressor(path).fit(X, Y)
        process.kill()
    assert process.returncode == -signal.SIGKILL
    assert sorted(os.listdir(path.parent)) == [LOCK, path.name]  # a lock that nobody holds
    state = saved(path)[0]["dict"]["state"]["dict"]
    assert (state["newton"] and state["newton"]["dict"]["step"]) == step
    slopes = stopped_at(monkeypatch, SolvedEvidence, "slope", -1, None)
    model, expected = regressor(path).fit(X, Y), uninterrupted["cg"]
    np.testing.assert_allclose(model.theta_, expected.theta_, rtol=0.0, atol=1e-3)
    assert model.log_marginal_likelihood_ == pytest.approx(expected.log_marginal_likelihood_, abs=1e-3)
    if step:  # those before the third were not taken again
        assert len(slopes) == expected.fit_report_.steps - 2
    assert_empty(path.parent)


def test_cholesky_goes_on_to_the_same_optimum(unfinished, uninterrupted, monkeypatch):
    evaluated = stopped_at(monkeypatch, Objective, "negative", -1, None)
    model, expected = regressor(unfinished, "cholesky").fit(X, Y), uninterrupted["cholesky"]
    assert np.abs(evaluated[0][1] - expected.theta_).max() < 1.0  # not from the beginning
    np.testing.assert_allclose(model.theta_, expected.theta_, rtol=0.0, atol=1e-4)
    assert_empty(unfinished.parent)


def test_a_resumed_fit_keeps_the_seed_of_the_file(path, uninterrupted, monkeypatch):
    with monkeypatch.context() as patch:
        stopped_at(patch, SolvedEvidence, "slope", 2, RuntimeError("stop"))
        with pytest.raises(RuntimeError, match="stop"):
            regressor(path).fit(X, Y)
    model = regressor(path, random_state=99).fit(X, Y)
    np.testing.assert_allclose(model.theta_, uninterrupted["cg"].theta_, rtol=0.0, atol=2e-3)


def test_float64_that_was_needed_is_used_again(path, uninterrupted):
    evidence = SolvedEvidence.slope
    dtypes = []

    def slope(self, point, near=None):
        dtypes.append(self.dtype)
        return evidence(self, point, near)

    model = uninterrupted["cg"]
    at = NewtonState(
        model.theta_,
        1e-3 * np.eye(4),
        step=2,
        moved=np.full(4, 1e-3),
        gradient=np.zeros(4),
        pivots=np.arange(50),
        double=True,
    )
    objective = model._objective(model._scales, model.posterior_.data)
    solved = SolvedEvidence(
        objective.data, objective.theta, True, torch.float32, tolerance=1e-3, num_probes=4, rank=50, seed=0
    )
    with pytest.MonkeyPatch.context() as patch, checkpoint_at(None, 0.0, {}) as kept:
        patch.setattr(SolvedEvidence, "slope", slope)
        watch = newton.Watch(kept, newton.Progress(False))
        newton.ascend(solved, State(model.theta_[None], newton=at), watch)
    assert set(dtypes) == {torch.float64}


@pytest.mark.parametrize("solver", ["cg", "cholesky"])
def test_a_finished_fit_deletes_its_checkpoint_and_finds_what_it_finds_without(solver, path, uninterrupted):
    model = regressor(path, solver, checkpoint_minutes=5.0).fit(X, Y)
    np.testing.assert_array_equal(model.theta_, uninterrupted[solver].theta_)
    assert_empty(path.parent)


def test_the_arguments_are_saved_with_a_model(path):
    model = GPRegressor("rbf", checkpoint=path, checkpoint_minutes=0.5).fit(X[:20], Y[:20])
    model.save(path.with_name("model"))
    loaded = GPRegressor.load(path.with_name("model"))
    assert (loaded.checkpoint, loaded.checkpoint_minutes) == (str(path), 0.5)


# bad files ---------------------------------------------------------------------------------------


REFUSED = (
    r"fit.checkpoint' is no checkpoint that a fit can be resumed from: delete the file .* another path \("
)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_a_truncated_checkpoint(share, unfinished):
    content = unfinished.read_bytes()
    unfinished.write_bytes(content[: int(share * len(content))])
    before = unfinished.read_bytes()
    with pytest.raises(FileFormatError, match=REFUSED + ".*was cut short"):
        regressor(unfinished, "cholesky").fit(X, Y)
    assert unfinished.read_bytes() == before and os.listdir(unfinished.parent) == [unfinished.name]


def test_a_changed_checkpoint(unfinished):
    content = bytearray(unfinished.read_bytes())
    content[-1] ^= 1
    unfinished.write_bytes(content)
    with pytest.raises(FileFormatError, match=REFUSED + ".*SHA-256 digest differs"):
        regressor(unfinished, "cholesky").fit(X, Y)


FOREIGN = {
    "picture": b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\1\0\0\0\1\x08\x06\0\0\0",
    "pickle": b"cos\nsystem\n(S'touch pwned'\ntR.",
    "text": b"dear diary\n" * 50,
}


@pytest.mark.parametrize("name", FOREIGN)
def test_a_file_of_another_program_is_refused_and_not_touched(name, path, monkeypatch):
    path.write_bytes(FOREIGN[name])
    monkeypatch.chdir(path.parent)
    with pytest.raises(FileFormatError, match=REFUSED):
        regressor(path).fit(X, Y)
    assert path.read_bytes() == FOREIGN[name] and os.listdir(path.parent) == [path.name]


def test_a_saved_model_or_other_tensors_are_no_checkpoint(path):
    GPRegressor("rbf").fit(X[:9], Y[:9]).save(path)
    with pytest.raises(FileFormatError, match=REFUSED + ".*holds a GPRegressor, not a Checkpoint"):
        regressor(path).fit(X, Y)
    save_file({"a": X}, path)
    with pytest.raises(FileFormatError, match=REFUSED + ".*of another program"):
        regressor(path).fit(X, Y)


def test_a_checkpoint_of_a_newer_version(unfinished, monkeypatch):
    document, tensors = saved(unfinished)
    document["dict"]["version"] = 2
    write_file(unfinished, "Checkpoint", document, tensors)
    with pytest.raises(
        FileFormatError, match=REFUSED + "it has version 2, and this nonparam reads version 1"
    ):
        regressor(unfinished, "cholesky").fit(X, Y)
    with monkeypatch.context() as patch:
        patch.setattr(persistence, "FORMAT_VERSION", "7")
        write_file(unfinished, "Checkpoint", document, tensors)
    with pytest.raises(FileFormatError, match=REFUSED + ".*format version 7"):
        regressor(unfinished, "cholesky").fit(X, Y)


def test_a_checkpoint_that_lacks_a_part(unfinished):
    document, tensors = saved(unfinished)
    del document["dict"]["state"]["dict"]["points"]
    write_file(unfinished, "Checkpoint", document, tensors)
    with pytest.raises(FileFormatError, match=REFUSED + ".*points"):
        regressor(unfinished, "cholesky").fit(X, Y)


@pytest.mark.parametrize(
    ("different", "changes", "rows"),
    [
        ("data", {}, slice(1, None)),
        ("data", {"noise": 0.1}, slice(None)),
        ("kernel", {"kernel": "rbf"}, slice(None)),
        ("kernel", {"kernel": "matern32(lengthscale=2.0)"}, slice(None)),
        ("arguments", {"mean": "linear"}, slice(None)),
        ("solver", {"solver": "cg"}, slice(None)),
        ("data and arguments", {"n_restarts": 2}, slice(5, None)),
    ],
)
def test_a_checkpoint_of_another_problem(different, changes, rows, unfinished):
    before = unfinished.read_bytes()
    model = regressor(unfinished, "cholesky").set_params(**changes)
    said = f"is the checkpoint of a fit with different {different}: fit with the same to resume it, delete"
    with pytest.raises(InputError, match=said):
        model.fit(X[rows], Y[rows])
    assert unfinished.read_bytes() == before


def test_auto_resumes_although_it_would_choose_another_solver_now(path, uninterrupted, monkeypatch):
    with monkeypatch.context() as patch:
        stopped_at(patch, SolvedEvidence, "slope", 2, RuntimeError("killed"))
        patch.setattr(regression, "plan_for", lambda *a, **k: choose("cg", len(X), 3))
        with pytest.raises(RuntimeError, match="killed"):
            regressor(path, "auto").fit(X, Y)
    monkeypatch.setattr(regression, "plan_for", lambda *a, **k: choose("cholesky", len(X), 3))
    model = regressor(path, "auto").fit(X, Y)
    assert "Cholesky" in model.fit_report_.plan
    np.testing.assert_allclose(model.theta_, uninterrupted["cholesky"].theta_, atol=2e-3)


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (5, "path must be text or a pathlib.Path, got 5"),
        ("nowhere/fit", "there is no folder '.*nowhere'; make it first"),
        (".", "it is a folder; add the name of a file"),
    ],
)
def test_a_path_that_nothing_can_be_written_to_is_refused_before_the_work(bad, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(GPRegressor, "_train", None)  # is not reached
    with pytest.raises(InputError, match=said):
        regressor(bad).fit(X, Y)


@pytest.mark.parametrize("bad", [-1.0, np.nan, np.inf, "5", True, None])
def test_bad_minutes(bad, path):
    with pytest.raises(InputError, match="checkpoint_minutes must be a number of minutes, at least 0; got"):
        regressor(path, checkpoint_minutes=bad).fit(X, Y)


# the disk and other processes --------------------------------------------------------------------


def test_a_full_disk_is_worth_one_warning_and_leaves_the_earlier_checkpoint(path, uninterrupted, monkeypatch):
    with checkpoint_at(path, 0.0, {"data": Y}) as kept:
        kept.write(STATES["subset"])
        before = path.read_bytes()
        full = OSError(errno.ENOSPC, "No space left on device")
        with monkeypatch.context() as patch:
            patch.setattr(persistence.os, "fsync", lambda descriptor: (_ for _ in ()).throw(full))
            with pytest.warns(UserWarning, match=r"fit.checkpoint' could not be written \(.*No space left"):
                kept.write(STATES["first step"])
            kept.write(STATES["later step"])  # no second warning
            assert path.read_bytes() == before and len(os.listdir(path.parent)) == 2  # it and its lock
        kept.flush()  # there is room again
        assert path.read_bytes() != before
        kept.remove()


def test_training_goes_on_when_the_disk_is_full(path, uninterrupted, monkeypatch):
    def full(target, content):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(persistence, "_replace", full)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = regressor(path).fit(X, Y)
    assert [str(w.message).split(" (")[0] for w in caught] == [
        f"the checkpoint {str(path)!r} could not be written"
    ]
    np.testing.assert_array_equal(model.theta_, uninterrupted["cg"].theta_)


def test_two_fits_of_one_process_do_not_share_a_file(path):
    with locked(path), pytest.raises(InputError, match=f"in use by process {os.getpid()} on"):
        regressor(path).fit(X, Y)
    assert_empty(path.parent)


def test_a_lock_that_was_deleted_between_opening_and_locking_is_taken_anew(path, monkeypatch):
    flock, lock = checkpoint.fcntl.flock, path.with_name(LOCK)
    calls = []

    def slow(descriptor, operation):
        calls.append(descriptor)
        if len(calls) == 1:
            lock.unlink()  # by its owner, who is done
        flock(descriptor, operation)

    monkeypatch.setattr(checkpoint.fcntl, "flock", slow)
    with locked(path):
        assert len(calls) == 2 and lock.exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_to(path):
    path.parent.chmod(0o500)
    with pytest.raises(InputError, match=r"cannot lock .*: Permission denied; give checkpoint= a path"):
        regressor(path).fit(X, Y)


def test_a_lock_that_cannot_be_made(path):
    path.with_name(LOCK).symlink_to("victim")
    with pytest.raises(InputError, match=r"cannot lock .*; give checkpoint= a path in a folder"):
        regressor(path).fit(X, Y)
    assert not Path(path.parent, "victim").exists()
