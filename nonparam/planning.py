"""The plan of a fit: which solver, how much memory, how long, said beforehand."""

from dataclasses import dataclass, replace

import gpytorch
import torch
from torch import Tensor

from nonparam.calibration import Rates, rates_of
from nonparam.costs import Seconds, cg_seconds, cholesky_seconds
from nonparam.errors import InputError
from nonparam.interpolation import check_interpolable, check_noisy
from nonparam.kernels import with_amplitude
from nonparam.kernels.grammar import as_kernel
from nonparam.kernels.sharded import local_devices, num_processes
from nonparam.newton import SEARCHED
from nonparam.objective import MATRICES, matrices_needed
from nonparam.processes import free_memory
from nonparam.solvers.plan import FACTORISED, SOLVERS, Plan, choose, factorises, fits
from nonparam.structure import plan_assumed, structure_for
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
        n: rows, anywhere; with a solver that uses structure they are taken to have it. None is allocated.
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
    n, d = int(n), int(d)  # numpy's would overflow
    check_choice(solver, "solver", SOLVERS)
    full = with_amplitude(as_kernel(kernel)).double()
    if solver == "ski":
        check_interpolable(full, torch.empty(0, d))
    problem = _Problem(n, d, check_device(device, n), plan_assumed(solver, full, n, d), task=task)
    return problem.planned(solver)


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
    if solver == "ski":
        check_interpolable(kernel, x)
        check_noisy(float(variances.min()))
    structure = structure_for(solver, kernel, x, variances)
    problem = _Problem(
        n,
        d,
        device,
        None if structure is None else structure.plan,
        matrices=matrices_needed(kernel, x),
        noisy=bool((variances > 0.0).all()),
        task=task,
        searches=searches,
    )
    return problem.planned(solver, timed=timed)


@dataclass(frozen=True)
class _Problem:
    """What a plan depends on: sizes, without the rows.

    Attributes:
        n: rows.
        d: columns.
        device: of the computation.
        structure: the plan of the structure, where there is one.
        matrices: of ``n x n`` that training keeps.
        noisy: whether every row has noise, without which no solve is certified.
        task: one of `TASKS`.
        searches: from how many starts.
    """

    n: int
    d: int
    device: torch.device
    structure: Plan | None
    matrices: int = MATRICES
    noisy: bool = True
    task: str = "fit"
    searches: int = 1

    def planned(self, solver: str, *, timed: bool = True) -> Plan:
        """Return the plan for a solver, with its times where they are wanted or decide."""
        n, d, device, train = self.n, self.d, self.device, self.task == "fit"
        matrices = self.matrices if train else FACTORISED
        available = free_memory(device)
        chosen = choose(solver, n, matrices, device, available=available, structure=self.structure)
        if chosen.otherwise is not None and not self.noisy:
            chosen = replace(chosen, otherwise=None)
        decides = chosen.otherwise is not None and n > SEARCHED and train
        if chosen.solver not in ("cholesky", "cg") or not (timed or decides):
            return replace(chosen, d=d)
        seconds = _seconds(n, d, rates_of(device), available, device, self.searches, train=train)
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
