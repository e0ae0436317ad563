"""Memory that runs out in mid-fit: fewer kept tiles, then the next solver, then an error that names both."""

import numpy as np
import pytest
import torch

from nonparam import GPRegressor, fitting, planning, solves
from nonparam.errors import ConvergenceError, InsufficientMemoryError
from nonparam.kernels.operator import KernelOperator
from nonparam.objective import Objective
from nonparam.shortage import is_out_of_memory, sparing
from nonparam.solvers.certified import CertifiedSolver
from nonparam.solvers.cholesky import CholeskyFactor
from nonparam.solvers.plan import choose
from nonparam.solves import SolvedEvidence

rng = np.random.default_rng(3)
X = rng.uniform(-2.0, 2.0, (150, 2))
Y = np.sin(2.0 * X[:, 0]) * np.cos(X[:, 1]) + 0.2 * rng.standard_normal(150)

SHORTAGES = [
    MemoryError(),
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 12.00 GiB"),
    RuntimeError(
        "[enforce fail at alloc_cpu.cpp:127] . DefaultCPUAllocator: can't allocate memory: you tried"
    ),
    RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 800 bytes."),
]


def model(solver="auto"):
    return GPRegressor("matern32", solver=solver, random_state=0)


def raising(error):
    def task(*arguments, **named):
        raise error

    return task


@pytest.fixture
def no_room_to_keep(monkeypatch):
    """Tiles that are kept do not fit, although the plan thought so; records what was asked for."""
    asked = []

    class Short(KernelOperator):
        def __init__(self, kernel, x, *, tile=None, keep=False):
            asked.append(keep)
            if keep:
                raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
            super().__init__(kernel, x, tile=tile)

    monkeypatch.setattr(solves, "KernelOperator", Short)
    return asked


@pytest.fixture
def cg_first(monkeypatch):
    """As if the rows were so many that ``"auto"`` takes conjugate gradients."""

    def quicker(*arguments, **named):
        return choose(*arguments, **(named | {"quicker": "cg"}))

    monkeypatch.setattr(planning, "choose", quicker)


@pytest.mark.parametrize("error", SHORTAGES)
def test_shortages_are_known_by_their_errors(error):
    assert is_out_of_memory(error)


@pytest.mark.parametrize("error", [RuntimeError("shape"), ValueError(), InsufficientMemoryError("planned")])
def test_other_errors_are_no_shortage(error):
    assert not is_out_of_memory(error)
    with pytest.raises(type(error)):
        sparing(raising(error))


@pytest.mark.parametrize("error", SHORTAGES)
def test_auto_turns_from_cholesky_to_conjugate_gradients(monkeypatch, error):
    expected = model("cg").fit(X, Y)
    whole = Objective.negative

    def short(self, points, which):
        if len(self.data.x) == len(X) and Objective.tries == 0:
            Objective.tries += 1
            raise error
        return whole(self, points, which)

    monkeypatch.setattr(Objective, "tries", 0, raising=False)
    monkeypatch.setattr(Objective, "negative", short)
    found = model().fit(X, Y)
    assert "certified conjugate gradients" in found.fit_report_.plan
    assert found.fit_report_.plan.endswith("; float64 Cholesky ran out of memory")
    assert found.log_marginal_likelihood_ == pytest.approx(expected.log_marginal_likelihood_, abs=0.5)


def test_a_solver_that_was_named_is_not_left(monkeypatch):
    monkeypatch.setattr(Objective, "negative", raising(MemoryError()))
    with pytest.raises(
        InsufficientMemoryError, match=r"150 rows are more .*; float64 Cholesky ran out of memory:"
    ):
        model("cholesky").fit(X, Y)


def test_tiles_are_not_kept_where_they_do_not_fit(no_room_to_keep, monkeypatch):
    monkeypatch.setattr(fitting, "free_memory", lambda device: 0)  # predictions by solves too
    found = model("cg").fit(X, Y)
    assert True in no_room_to_keep and no_room_to_keep[-1] is False
    assert isinstance(found.posterior_.factor, CertifiedSolver)
    with monkeypatch.context() as patch:
        patch.setattr(solves, "KernelOperator", KernelOperator)
        expected = model("cg").fit(X, Y)
    np.testing.assert_allclose(found.predict(X), expected.predict(X), rtol=0.0, atol=1e-3)


def test_predictions_by_solves_where_the_last_factor_does_not_fit(monkeypatch):
    by_factor = fitting.condition

    def short(kernel, data, noise, solver=None):
        if solver is None:
            raise MemoryError
        return by_factor(kernel, data, noise, solver)

    monkeypatch.setattr(fitting, "condition", short)
    found = model("cg").fit(X, Y)
    assert isinstance(found.posterior_.factor, CertifiedSolver)
    assert found.fit_report_.standard_error > 0.0


def test_the_error_names_all_that_was_tried(monkeypatch):
    monkeypatch.setattr(Objective, "negative", raising(MemoryError()))
    said = "; float64 Cholesky ran out of memory; certified conjugate gradients, without kept tiles too, ran"
    with pytest.raises(InsufficientMemoryError, match=said):
        model().fit(X, Y)


def test_auto_turns_to_cholesky_where_solves_cannot_be_certified(cg_first, monkeypatch):
    monkeypatch.setattr(SolvedEvidence, "slope", raising(ConvergenceError("missed the tolerance")))
    found = model().fit(X, Y)
    assert isinstance(found.posterior_.factor, CholeskyFactor)
    assert found.fit_report_.plan.endswith("; certified conjugate gradients were not certified")
    assert found.log_marginal_likelihood_ == model("cholesky").fit(X, Y).log_marginal_likelihood_
    with pytest.raises(ConvergenceError, match="missed the tolerance"):
        model("cg").fit(X, Y)


def test_other_errors_are_passed_on(monkeypatch):
    monkeypatch.setattr(Objective, "negative", raising(RuntimeError("something else")))
    with pytest.raises(RuntimeError, match="something else"):
        model().fit(X, Y)
