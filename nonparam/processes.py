"""What processes that share one computation have to agree on: they must all take the same way."""

from collections.abc import Sequence

import torch
from torch import distributed

from nonparam.errors import WorkerLostError
from nonparam.kernels.sharded import num_processes
from nonparam.solvers import plan

__all__ = ["free_memory", "is_first_process", "least"]


def is_first_process() -> bool:
    """Return whether this process is the one that prints.

    Examples:
        >>> is_first_process()
        True
    """
    return num_processes() == 1 or distributed.get_rank() == 0


def least(values: Sequence[float], device: torch.device) -> list[float]:
    """Return the smallest of each number over all processes, which all call it.

    Args:
        values: of this process.
        device: of the computation: NCCL exchanges numbers of GPUs only.

    Raises:
        WorkerLostError: another process has ended, or hangs.

    Examples:
        >>> least([3.0, 4.0], torch.device("cpu"))
        [3.0, 4.0]
    """
    if num_processes() == 1:
        return list(values)
    sent = torch.tensor(values, dtype=torch.float64, device=device)
    try:
        distributed.all_reduce(sent, distributed.ReduceOp.MIN)
    except RuntimeError as error:
        raise WorkerLostError(
            f"process {distributed.get_rank()} could not agree on a plan with the {num_processes() - 1} "
            "others: one of them has ended, hangs longer than the timeout of the process group, or runs "
            f"another program; look at its output, then start all again ({error})"
        ) from error
    smallest: list[float] = sent.tolist()
    return smallest


def free_memory(device: torch.device) -> int:
    """Return the bytes that are free on ``device`` in every process: what depends on it comes out alike.

    Raises:
        WorkerLostError: another process has ended, or hangs.
    """
    return int(least([plan.free_memory(device)], device)[0])
