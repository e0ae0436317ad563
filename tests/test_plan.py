"""The plan on a GPU asks the GPU for its free memory, not the host; a counterfeit GPU stands for one."""

import pytest
import torch

from nonparam.errors import InsufficientMemoryError
from nonparam.solvers.plan import LOST, Plan, check_covariance, choose, fits, free_memory

GPU = torch.device("cuda:1")
MATRIX = 8 * 1000**2


@pytest.fixture(autouse=True)
def gpu(monkeypatch):
    """A second GPU with 4 matrices of 1000 rows free, and another one that torch holds and can give back."""
    memory = {"memory_reserved": 3 * MATRIX, "memory_allocated": 2 * MATRIX, "mem_get_info": (4 * MATRIX, 0)}
    for name, value in memory.items():
        monkeypatch.setattr(torch.cuda, name, {GPU: value}.__getitem__)


def test_free_memory_counts_what_torch_can_give_back():
    assert free_memory(GPU) == 5 * MATRIX


def test_a_plan_asks_the_device():
    assert choose("auto", 1000, 5, GPU).memory == 5 * MATRIX
    with pytest.raises(
        InsufficientMemoryError, match=r"40.0 MB are free on cuda:1.*device='cpu'.*1,000 rows fit"
    ):
        choose("cholesky", 1001, 5, GPU)
    assert choose("cholesky", 1001, 5).n == 1001  # the host has room


def test_what_does_not_fit_is_solved_by_iterations():
    plan = choose("auto", 1001, 5, available=5 * MATRIX)
    assert (plan.solver, str(plan)) == (
        "cg",
        f"n=1,001: certified conjugate gradients, 29.7 MB; {LOST['cg']}",
    )
    assert choose("cg", 10, 5).solver == "cg"
    with pytest.raises(
        InsufficientMemoryError, match=r"conjugate gradients on 1,000,000 rows need about 48.0 GB"
    ):
        choose("auto", 10**6, 5, available=10**10)


def test_a_joint_covariance_asks_the_device():
    check_covariance(1000, 300, GPU)
    with pytest.raises(InsufficientMemoryError, match=r"40.0 MB are free on cuda:1.*ask for fewer rows"):
        check_covariance(1000, 400, GPU)
    check_covariance(1000, 400)


def test_a_plan_says_what_it_counts_on():
    plan = Plan("cg", 13_000, 2 * 10**9, d=18, fit_seconds=41.0, predict_seconds=4.7)
    assert str(plan) == (
        "n=13,000, d=18: certified conjugate gradients, 2.0 GB, about 41 s to fit, 4.7 s to predict 1,000 "
        "rows (measured on this machine); not exact: predictions to the residual of solves, evidence to a "
        "standard error"
    )


def test_half_of_the_tiles_is_kept_and_one_factorisation_counts():
    n = 10_000
    room = {"tiles": 0.5 * 8 * n * n / 0.5, "factor": 1.2 * 8 * n * n}
    assert fits(n, 8, room["tiles"]) and not fits(n, 8, room["tiles"] - 1)
    vectors, tiles = 4 * 12_000 * n, 4 * n * n
    both = vectors + tiles + room["factor"]  # while hyperparameters are learnt: the factor preconditions
    assert choose("cg", n, 5, available=int(both)).memory == both
    assert choose("cg", n, 5, available=int(both) - 1).memory == room["factor"]
    assert choose("cg", n, 5, available=int(room["factor"]) - 1).memory == vectors + tiles
    assert choose("cg", n, 5, available=int(room["tiles"]) - 1).memory == vectors


def test_auto_names_the_other_solver_too():
    exact = choose("auto", 5000, 5, available=10**10)
    assert (exact.solver, exact.otherwise.solver) == ("cholesky", "cg")
    solved = choose("auto", 5000, 5, available=10**10, quicker="cg")
    assert (solved.solver, solved.otherwise.solver) == ("cg", "cholesky")
    assert choose("auto", 5000, 5, available=5 * 10**8).otherwise is None  # Cholesky does not fit
    assert choose("cholesky", 5000, 5, available=10**10, quicker="cg").otherwise is None
    assert choose("cg", 5000, 5, available=10**10).otherwise is None


def test_the_whole_of_protein_and_kin40k_fit_24_gb():
    for n in (41_157, 36_000):
        plan = choose("auto", n, 5, available=int(21.5e9))
        assert (plan.solver, plan.memory < 21.5e9) == ("cg", True)
