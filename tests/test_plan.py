"""The plan on a GPU asks the GPU for its free memory, not the host; a counterfeit GPU stands for one."""

import pytest
import torch

from nonparam.errors import InsufficientMemoryError
from nonparam.solvers.plan import check_covariance, choose, free_memory

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
    assert (plan.solver, str(plan)) == ("cg", "n=1,001: certified conjugate gradients, 24.0 MB")
    assert choose("cg", 10, 5).solver == "cg"
    with pytest.raises(
        InsufficientMemoryError, match=r"conjugate gradients on 1,000,000 rows need about 16.0 GB"
    ):
        choose("auto", 10**6, 5, available=10**10)


def test_a_joint_covariance_asks_the_device():
    check_covariance(1000, 300, GPU)
    with pytest.raises(InsufficientMemoryError, match=r"40.0 MB are free on cuda:1.*ask for fewer rows"):
        check_covariance(1000, 400, GPU)
    check_covariance(1000, 400)
