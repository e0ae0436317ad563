"""One of two processes that share a kernel matrix: started by test_sharded.py, and no test itself.

``python sharded_worker.py RANK FOLDER``: process 0 writes what it found to the folder.
"""

import os
import signal
import sys
import time
from datetime import timedelta
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor, distributed

from nonparam import GPRegressor, fitting
from nonparam.errors import WorkerLostError
from nonparam.kernels import Matern, WhiteNoise
from nonparam.kernels.sharded import ShardedOperator

N, TILE = 600, (32, 100)


def parts() -> tuple[torch.nn.Module, Tensor, Tensor]:
    """Return a kernel, rows and vectors."""
    rng = np.random.default_rng(0)
    kernel = 1.7 * Matern([0.4, 0.8, 1.1, 2.0], nu=1.5) + WhiteNoise(0.1)
    x, v = rng.uniform(-1.0, 1.0, (N, 4)), rng.normal(size=(N, 3))
    return kernel, torch.tensor(x), torch.tensor(v)


def fitted() -> dict[str, object]:
    """Fit and predict by conjugate gradients that need several steps, also for the predictions.

    They are solved to 1e-6: a preconditioner so weak that the last digit of a sum grows beyond 1e-10 would
    test the solver.
    """
    rng = np.random.default_rng(1)
    X = rng.uniform(-2.0, 2.0, (N, 2))
    y = np.sin(X.sum(1)) + 0.3 * rng.standard_normal(N)
    with patch.object(fitting, "RANK", 30), patch.object(fitting, "free_memory", lambda device: 0):
        model = GPRegressor("matern32", solver="cg", random_state=0).fit(X, y)
        mean, sd = model.predict(X[:50] + 0.01, return_std=True)
    return {"theta": model.theta_, "lml": model.log_marginal_likelihood_, "mean": mean, "sd": sd}


def raised(task) -> tuple[str, float]:
    """Return what a lost worker makes of a task, and the seconds it takes."""
    began = time.perf_counter()
    try:
        task()
    except WorkerLostError as error:
        return str(error), time.perf_counter() - began
    return "", time.perf_counter() - began


def operators() -> dict[str, object]:
    kernel, x, v = parts()
    found: dict[str, object] = {}
    for name, keep in (("kept", True), ("tiles", False)):
        k = ShardedOperator(kernel, x, tile=TILE, keep=keep)
        found[name] = (k @ v, k.gradient(v, v.flip(1), list(kernel.parameters())), k.rows(torch.arange(5)))
    single = ShardedOperator(kernel, x.float(), tile=TILE, devices=["cpu", "cpu"])
    return found | {"float32": single @ v.float(), "diagonal": single.diagonal()}


def faults(rank: int) -> dict[str, object]:
    """Give the processes different vectors; let process 1 hang, then die in the middle of a fit."""
    kernel, x, v = parts()
    other = v * (1.0 + rank)
    found: dict[str, object] = {"drift": raised(lambda: ShardedOperator(kernel, x) @ other)}
    distributed.barrier()
    hasty = distributed.new_group(timeout=timedelta(seconds=3))
    if rank == 0:
        found["hang"] = raised(lambda: ShardedOperator(kernel, x, group=hasty) @ v)
    distributed.barrier()
    if rank == 1:
        die_at_product(4)
    return found | {"killed": raised(fitted)}


def die_at_product(last: int) -> None:
    product, calls = ShardedOperator.__matmul__, []

    def fatal(self: ShardedOperator, v: Tensor) -> Tensor:
        calls.append(v)
        if len(calls) == last:
            os.kill(os.getpid(), signal.SIGKILL)
        return product(self, v)

    ShardedOperator.__matmul__ = fatal  # type: ignore[method-assign]


def main(rank: int, folder: Path) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo",
        init_method=f"file://{folder / 'meeting'}",
        rank=rank,
        world_size=2,
        timeout=timedelta(seconds=120),
    )
    found = {"fit": fitted(), **operators(), **faults(rank)}
    torch.save(found, folder / "found.pt")
    os._exit(0)  # without a farewell to the process that is gone


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
