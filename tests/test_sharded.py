"""The kernel matrix shared among devices and processes: equal to one process, and clear when one is lost."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from kernel_checks import assert_equal
from sharded_worker import TILE, N, fitted, parts
from torch import distributed

from nonparam import solves
from nonparam.errors import InputError
from nonparam.kernels import RBF
from nonparam.kernels.operator import KernelOperator
from nonparam.kernels.sharded import ShardedOperator, local_devices, num_processes
from nonparam.kernels.tiles import deal, strips_of
from nonparam.solvers.operator import SymmetricOperator

WORKER = Path(__file__).with_name("sharded_worker.py")
gloo = pytest.mark.skipif(
    not (distributed.is_available() and distributed.is_gloo_available() and hasattr(signal, "SIGKILL")),
    reason="needs gloo and signals",
)


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory) -> dict:
    folder = tmp_path_factory.mktemp("gloo")
    command = [sys.executable, "-W", "ignore", str(WORKER)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    workers = [
        subprocess.Popen([*command, str(rank), str(folder)], env=environment, stderr=subprocess.PIPE)
        for rank in range(2)
    ]
    said = [worker.communicate(timeout=240)[1].decode() for worker in workers]
    assert workers[0].returncode == 0, said[0]
    assert workers[1].returncode == -signal.SIGKILL, said[1]
    return torch.load(folder / "found.pt", weights_only=False)


@gloo
@pytest.mark.parametrize("name", ["kept", "tiles"])
def test_two_processes_multiply_and_differentiate_as_one(two_processes, name):
    kernel, x, v = parts()
    one = KernelOperator(kernel, x)
    product, gradient, rows = two_processes[name]
    assert_equal(product, one @ v, 1e-11)
    assert_equal(rows, one.rows(torch.arange(5)))
    expected = one.gradient(v, v.flip(1), list(kernel.parameters()))
    for actual, slope in zip(gradient, expected, strict=True):
        torch.testing.assert_close(actual, slope, rtol=1e-10, atol=1e-10)


@gloo
def test_two_processes_of_two_devices_in_float32(two_processes):
    kernel, x, v = parts()
    assert two_processes["float32"].dtype == torch.float32
    torch.testing.assert_close(
        two_processes["float32"].double(), KernelOperator(kernel, x) @ v, rtol=1e-4, atol=1e-4
    )
    assert_equal(two_processes["diagonal"], KernelOperator(kernel, x.float()).diagonal())


@gloo
def test_two_processes_fit_as_one(two_processes):
    for name, expected in fitted().items():
        np.testing.assert_allclose(two_processes["fit"][name], expected, rtol=1e-10, err_msg=name)


@gloo
@pytest.mark.parametrize(
    ("fault", "said", "seconds"),
    [
        ("drift", "given other vectors than the 1 others", 10.0),
        ("hang", "hangs longer than the timeout", 10.0),
        ("killed", "could not sum over the 2 processes: one of them has ended", 20.0),
    ],
)
def test_a_lost_process_ends_the_other_with_a_clear_error(two_processes, fault, said, seconds):
    message, took = two_processes[fault]
    assert said in message and took < seconds


@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("places", [1, 2, 3, 30])
def test_several_devices_of_one_process(places: int, keep: bool):
    kernel, x, v = parts()
    one, k = KernelOperator(kernel, x), ShardedOperator(kernel, x, devices=["cpu"] * places, keep=keep)
    assert isinstance(k, SymmetricOperator) and k.shape == one.shape
    assert_equal(k @ v, one @ v, 1e-11)
    assert_equal(k.diagonal(), one.diagonal())
    parameters = list(kernel.parameters())
    for actual, slope in zip(k.gradient(v, v, parameters), one.gradient(v, v, parameters), strict=True):
        torch.testing.assert_close(actual, slope, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("workers", [1, 2, 5, 16])
def test_strips_are_dealt_evenly(workers: int):
    n, height = 100_003, 256
    hands = deal(strips_of(n, height), workers)
    work = [sum((strip.stop - strip.start) * (n - strip.start) for strip in hand) for hand in hands]
    assert sorted(strip.start for hand in hands for strip in hand) == list(range(0, n, height))
    assert max(work) < 1.03 * sum(work) / workers


def test_one_process_has_all_devices_only_where_none_is_named(monkeypatch):
    assert num_processes() == 1 and local_devices(torch.device("cpu")) == [torch.device("cpu")]
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    first, *others = local_devices(torch.device("cuda", 1))
    assert first.index == 1 and [other.index for other in others] == [0, 2]
    assert local_devices(torch.device("cuda", 2)) == [torch.device("cuda", 2)]


@pytest.mark.parametrize(("places", "expected"), [(1, KernelOperator), (2, ShardedOperator)])
def test_solvers_get_the_shared_matrix_where_there_are_several_devices(monkeypatch, places, expected):
    monkeypatch.setattr(solves, "local_devices", lambda device: [device] * places)
    kernel, x, _ = parts()
    assert type(solves.operator_for(kernel, x, keep=True)) is expected


def test_a_parameter_of_another_kernel():
    k = ShardedOperator(RBF(1.0), torch.zeros(N, 1), tile=TILE, devices=["cpu", "cpu"])
    with pytest.raises(InputError, match="no parameter of the kernel"):
        k.gradient(torch.ones(N, 1), torch.ones(N, 1), [RBF(1.0).raw_lengthscale])
