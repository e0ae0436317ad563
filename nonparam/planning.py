"""The plan of a fit: which solver, how much memory, how long, said beforehand."""

from dataclasses import replace

import gpytorch
import torch
from torch import Tensor

from nonparam.calibration import Rates, rates_of
from nonparam.costs import Seconds, cg_seconds, cholesky_seconds
from nonparam.errors import InputError
from nonparam.kernels import with_amplitude
from nonparam.kernels.grammar import as_kernel
from nonparam.kernels.sharded import local_devices, num_processes
from nonparam.newton import SEARCHED
from nonparam.objective import matrices_needed
from nonparam.processes import free_memory
from nonparam.solvers.plan import FACTORISED, Plan, choose, factorises, fits
from nonparam.structure import structure_for
from nonparam.validation import check_choice, check_count, check_device

__all__ = ["TASKS", "TIMED_ROWS", "plan", "plan_for"]

TASKS = ("fit", "update")

TIMED_ROWS = 3000  # up to here a fit never asks for the rates of the machine
WORTHWHILE = 0.5  # of the time of Cholesky: for less than that nobody gives up exact hyperparameters


def plan(
    n: int,
    d: int = 1,
    kernel: str | gpytorch.kernels.Kernel = "matern52",
    device: str = "auto",
    *,
    solver: str = "auto",
    task: str = "fit",
) -> Plan:
    """Say which solver a problem gets, how much memory it needs, and about how long it takes.

    The first call on a machine measures for a second or two how fast it is, and keeps that in the user's
    cache folder. Where processes share the work, all call it.

    Args:
        n: rows, anywhere: a structure that they may have besides is not counted on.
        d: columns.
        kernel: as for `GPRegressor`.
        device: ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ...
        solver: as for `GPRegressor`.
        task: ``"fit"``, or ``"update"``, which conditions on the rows without training.

    Returns:
        The plan; it prints as a line. Times are `fit_seconds` and `predict_seconds`, ``None`` for a solver
        that uses structure, which is quick; expect them to be right to a factor of 2.

    Raises:
        InputError: numbers, a kernel, a device or a solver that do not exist or go together.
        InsufficientMemoryError: what does not fit.

    Examples:
        >>> print(plan(100_000, 1, "matern32"))
        n=100,000, d=1: Kalman filter and smoother, 44.8 MB
    """
    for count, name in ((n, "n"), (d, "d")):
        check_count(count, name)
        if count == 0:
            raise InputError(f"{name} must be at least 1, got 0")
    check_choice(task, "task", TASKS)
    rows = torch.rand(n, d, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    if solver == "toeplitz":
        rows = torch.linspace(0.0, 1.0, n, dtype=torch.float64)[:, None].expand(n, d)
    full = with_amplitude(as_kernel(kernel)).double()
    place = check_device(device, n)
    return plan_for(solver, full, rows, torch.ones(n, dtype=torch.float64), place, task=task)


def plan_for(
    solver: str,
    kernel: gpytorch.kernels.Kernel,
    x: Tensor,
    variances: Tensor,
    device: torch.device,
    *,
    timed: bool = True,
    searches: int = 1,
    task: str = "fit",
) -> Plan:
    """Return the plan of a fit to given rows.

    Args:
        solver: one of `nonparam.solvers.plan.SOLVERS`.
        kernel: the covariance function, at any values.
        x: ``(n, d)``.
        variances: ``(n,)``, of the noise, up to a common factor.
        device: of the computation.
        timed: whether times are wanted; else they are predicted where the choice depends on them.
        searches: from how many starts.
        task: one of `TASKS`.

    Raises:
        InputError: a solver that is unknown, or whose structure is absent.
        InsufficientMemoryError: what does not fit.
    """
    n, d = x.shape
    structure = structure_for(solver, kernel, x, variances)
    found = None if structure is None else structure.plan
    matrices = matrices_needed(kernel, x) if task == "fit" else FACTORISED
    available = free_memory(device)
    chosen = choose(solver, n, matrices, device, available=available, structure=found)
    certifiable = bool((variances > 0.0).all())
    if chosen.otherwise is not None and not certifiable:
        chosen = replace(chosen, otherwise=None)
    decides = chosen.otherwise is not None and n > SEARCHED and task == "fit"
    if chosen.solver not in ("cholesky", "cg") or not (timed or decides):
        return replace(chosen, d=d)
    seconds = _seconds(n, d, rates_of(device), available, device, searches, train=task == "fit")
    if decides and seconds["cg"].fit < WORTHWHILE * seconds["cholesky"].fit:
        chosen = choose(solver, n, matrices, device, available=available, quicker="cg")
    times = seconds[chosen.solver]
    return replace(chosen, d=d, fit_seconds=times.fit, predict_seconds=times.predict)


def _seconds(
    n: int, d: int, rates: Rates, available: int, device: torch.device, searches: int, *, train: bool
) -> dict[str, Seconds]:
    return {
        "cholesky": cholesky_seconds(n, d, rates, searches=searches, train=train),
        "cg": cg_seconds(
            n,
            d,
            rates,
            exact=factorises(n, available),
            kept=fits(n, 8, available),
            searches=searches,
            train=train,
            workers=num_processes() * len(local_devices(device)),
        ),
    }
