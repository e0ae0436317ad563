"""What is said before a fit, and what `solver="auto"` takes: by memory, and from some rows on by time."""

import numpy as np
import pytest
import torch

import nonparam
from nonparam import GPRegressor, planning, processes
from nonparam.calibration import Rates
from nonparam.errors import InputError, InsufficientMemoryError, WorkerLostError
from nonparam.kernels import RBF, Matern
from nonparam.newton import SEARCHED
from nonparam.planning import TIMED_ROWS, plan_for
from nonparam.posterior import condition
from nonparam.solves import solver_for

CPU = torch.device("cpu")
CORE = Rates(3e10, 3.6e10, 2.5e10, 2e7, 1e8, 1.6e10)
SLOW_TILES = Rates(3e13, 3.6e13, 2.5e10, 2e10, 1e2, 1.6e10)  # where Cholesky wins for long


@pytest.fixture(autouse=True)
def machine(monkeypatch):
    """One core with 20 GB free, whose rates are known; records who asks for them."""
    asked = []

    def known(device):
        asked.append(device)
        return CORE

    monkeypatch.setattr(planning, "rates_of", known)
    monkeypatch.setattr(planning, "free_memory", lambda device: 20 * 10**9)
    return asked


def for_rows(n, solver="auto", noise=1.0, **changes):
    x = torch.rand(n, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return plan_for(solver, 2.0 * RBF(1.0), x, torch.full((n,), noise), CPU, **({"timed": False} | changes))


def test_it_prints_solver_memory_and_times():
    plan = nonparam.plan(13_000, 18)
    assert str(plan).startswith("n=13,000, d=18: certified conjugate gradients, 2.9 GB, about ")
    assert " to predict 1,000 rows (measured on this machine); not exact: predictions to" in str(plan)
    assert plan.fit_seconds > plan.predict_seconds > 0.0
    assert nonparam.plan(13_000, 18, task="update").fit_seconds < 0.9 * plan.fit_seconds
    assert nonparam.plan(500, 18, solver="cholesky").fit_seconds > 0.0


def test_times_follow_the_solver_that_is_named():
    exact, solved = (nonparam.plan(10_000, 8, solver=solver) for solver in ("cholesky", "cg"))
    assert (exact.solver, solved.solver) == ("cholesky", "cg")
    assert exact.fit_seconds > 2.0 * solved.fit_seconds


def test_structure_is_found_or_named():
    assert nonparam.plan(50_000, 1, "matern32").solver == "state_space"
    assert nonparam.plan(2000, 1, "rbf").solver == "cholesky"  # the rows may be anywhere
    assert nonparam.plan(2000, 1, "rbf", solver="toeplitz").solver == "toeplitz"
    assert nonparam.plan(2000, 2, "matern32").solver == "cholesky"


def test_a_named_structure_is_taken_to_be_there():
    for solver in ("state_space", "toeplitz"):
        x = torch.linspace(0.0, 1.0, 300, dtype=torch.float64)[:, None]
        given = plan_for(solver, 2.0 * Matern(1.0), x, torch.ones(300), CPU, timed=False)
        assert nonparam.plan(300, 1, "matern52", solver=solver) == given
    x = torch.cartesian_prod(*[torch.arange(30.0, dtype=torch.float64)] * 2)
    given = plan_for("kronecker", 2.0 * RBF(1.0), x, torch.ones(900), CPU, timed=False)
    assert nonparam.plan(900, 2, "rbf", solver="kronecker") == given


@pytest.mark.parametrize(("d", "solver"), [(1, "auto"), (2, "auto"), (2, "kronecker"), (2, "ski")])
def test_no_row_is_allocated(d, solver):
    kernel = "matern52" if solver == "auto" else "rbf"
    with pytest.raises(InsufficientMemoryError, match=r"on 1,000,000,000,000 rows need about"):
        nonparam.plan(np.int64(10**12), d, kernel, solver=solver)


def test_auto_is_exact_on_few_rows_whatever_the_machine():
    assert for_rows(SEARCHED, timed=True).solver == "cholesky"
    assert for_rows(15_000).solver == "cg"


def test_auto_stays_exact_where_that_is_not_slow(monkeypatch):
    monkeypatch.setattr(planning, "rates_of", lambda device: SLOW_TILES)
    assert for_rows(SEARCHED + 1).solver == "cholesky"


def test_auto_stays_exact_without_noise():
    assert for_rows(15_000, noise=0.0).solver == "cholesky"
    assert for_rows(15_000, noise=0.0).otherwise is None
    assert for_rows(15_000).otherwise.solver == "cholesky"


def test_rates_are_asked_for_only_where_they_matter(machine):
    for_rows(SEARCHED)
    for solver in ("cholesky", "cg"):
        for_rows(15_000, solver)
    x = np.linspace(0.0, 5.0, 30)[:, None]
    GPRegressor("rbf(1.0)", solver="cg").fit(x, np.sin(x[:, 0]))
    assert machine == []
    for_rows(15_000)
    assert machine == [CPU]


def test_verbose_shows_the_times_above_a_few_rows(machine, monkeypatch, capsys):
    x = np.random.default_rng(0).uniform(0.0, 5.0, (40, 2))
    model = GPRegressor("rbf(1.0)", verbose=1)
    said = str(model.fit(x, np.sin(x).sum(1)).fit_report_)
    assert capsys.readouterr().out.startswith("n=40, d=2: float64 Cholesky, 64.0 kB\n") and not machine
    assert said.startswith("n=40, d=2: float64 Cholesky, 64.0 kB\n")
    assert TIMED_ROWS == 3000
    monkeypatch.setattr("nonparam.regression.TIMED_ROWS", 39)
    model.fit(x, np.sin(x).sum(1))
    assert "about 0." in capsys.readouterr().out and machine == [CPU]


def test_other_processes_print_nothing(monkeypatch, capsys):
    monkeypatch.setattr("nonparam.regression.is_first_process", lambda: False)
    x = np.linspace(0.0, 5.0, 20)[:, None]
    GPRegressor("rbf(1.0)", verbose=1).fit(x, np.sin(x[:, 0]))
    assert capsys.readouterr() == ("", "")


def test_processes_agree_on_the_least(monkeypatch):
    others = torch.tensor([5.0, 1.0], dtype=torch.float64)

    def reduced(sent, operation):
        assert operation == torch.distributed.ReduceOp.MIN
        sent.copy_(torch.minimum(sent, others[: len(sent)]))

    monkeypatch.setattr(processes, "num_processes", lambda: 2)
    monkeypatch.setattr(processes.distributed, "get_rank", lambda: 1)
    monkeypatch.setattr(processes.distributed, "all_reduce", reduced)
    assert processes.least([3.0, 4.0], CPU) == [3.0, 1.0]
    assert processes.free_memory(CPU) == 5
    assert not processes.is_first_process()


def test_a_lost_process_ends_the_others(monkeypatch):
    def lost(sent, operation):
        raise RuntimeError("Connection closed by peer")

    monkeypatch.setattr(processes, "num_processes", lambda: 2)
    monkeypatch.setattr(processes.distributed, "get_rank", lambda: 1)
    monkeypatch.setattr(processes.distributed, "all_reduce", lost)
    with pytest.raises(WorkerLostError, match=r"process 1 could not agree on a plan.*Connection closed"):
        processes.least([3.0], CPU)


ERRORS = [
    ((0,), {}, "n must be at least 1"),
    ((10, 0), {}, "d must be at least 1"),
    ((10.5,), {}, "n must be an integer"),
    ((10,), {"task": "sample"}, "task must be"),
    ((10,), {"solver": "magic"}, "solver must be one of"),
    ((10,), {"device": "tpu"}, "device must be"),
    ((10, 2), {"solver": "state_space"}, "solver='state_space' needs"),
    ((10, 2, "matern32"), {"solver": "kronecker"}, "a product over two groups of columns"),
    ((10, 2, "rbf"), {"solver": "toeplitz"}, "regularly spaced rows of one column"),
    ((10, 5, "rbf"), {"solver": "ski"}, "at most 3 columns"),
    ((10, 1, "linear"), {"solver": "ski"}, "needs a stationary kernel"),
]


@pytest.mark.parametrize(("arguments", "named", "said"), ERRORS)
def test_what_cannot_be_planned_is_refused(arguments, named, said):
    with pytest.raises(InputError, match=said):
        nonparam.plan(*arguments, **named)


def test_what_does_not_fit_is_refused():
    with pytest.raises(InsufficientMemoryError, match=r"50,000 rows needs about 100.0 GB"):
        nonparam.plan(50_000, 3, solver="cholesky")


def test_both_sides_of_the_threshold_agree_at_the_same_hyperparameters():
    rng = np.random.default_rng(1)
    x = rng.uniform(0.0, 5.0, (600, 3))
    y = np.sin(x).sum(1) + 0.2 * rng.standard_normal(600)
    exact = GPRegressor("rbf", random_state=0).fit(x, y).posterior_
    settings = {"dtype": torch.float64, "tolerance": 1e-6, "rank": 100, "seed": 0}
    solver = solver_for(exact.kernel, exact.data, exact.noise, **settings).measured()
    solved = condition(exact.kernel, exact.data, exact.noise, solver)
    error = 0.5 * solver.measured_determinant().standard_error
    assert 0.0 < error < 1.0
    assert abs(solved.log_marginal_likelihood() - exact.log_marginal_likelihood()) < 3.0 * error
    new, basis = exact.data.x[:50] + 0.1, torch.ones(50, 1, dtype=torch.float64)
    torch.testing.assert_close(
        solved.predict_mean(new, basis), exact.predict_mean(new, basis), rtol=0, atol=1e-5
    )
    found, expected = (p.predict_variance(new, basis) for p in (solved, exact))
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-6 * exact.noise)
