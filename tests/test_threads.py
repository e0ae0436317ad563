"""The number of threads, put back after a small problem."""

import subprocess
import sys

import pytest
import torch

from nonparam import threads

SCRIPT = """
import torch
torch.set_num_threads(2)
from threadpoolctl import threadpool_info
from nonparam.threads import threads_for
import numpy, scipy.linalg
before = [(info["filepath"], info["num_threads"]) for info in threadpool_info()]
for _ in range(3):
    with threads_for(100), threads_for(200):
        assert torch.get_num_threads() == 1
        torch.ones(10, 10) @ torch.ones(10, 10)
    assert torch.get_num_threads() == 2, torch.get_num_threads()
    assert before == [(info["filepath"], info["num_threads"]) for info in threadpool_info()]
"""


def test_all_libraries_have_as_many_threads_as_before():
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("n", [10, threads.ONE_THREAD_ROWS + 1])
def test_torch_gets_back_what_it_had(n):
    kept = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with threads.threads_for(n):
            assert torch.get_num_threads() == (1 if n == 10 else 2)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(kept)
