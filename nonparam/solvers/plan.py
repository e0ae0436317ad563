"""Which solver a problem gets, and what memory it needs, said before anything is allocated."""

from dataclasses import dataclass

import psutil
import torch

from nonparam.errors import InputError, InsufficientMemoryError

__all__ = ["BYTES", "SOLVERS", "Plan", "check_covariance", "choose", "fits", "free_memory"]

METHODS = {
    "cholesky": "float64 Cholesky",
    "cg": "certified conjugate gradients",
    "state_space": "Kalman filter and smoother",
    "toeplitz": "Levinson recursion and fast Fourier transforms",
    "kronecker": "eigenvectors of the factors of a Kronecker product",
}
SOLVERS = ("auto", *METHODS)
FASTER_FROM = {"state_space": 1000, "toeplitz": 1200, "kronecker": 400}  # rows, measured on one core
BYTES = 8  # of a float64
KEPT = 0.5  # of the free memory, that a matrix may fill
VECTORS = 4000  # float32 columns of n rows that conjugate gradients keep: a preconditioner of rank 2000
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Plan:
    """A solver, and the memory it is expected to need.

    Attributes:
        solver: one of `SOLVERS`, not ``"auto"``.
        n: rows.
        memory: bytes at the peak.
    """

    solver: str
    n: int
    memory: int

    def __str__(self) -> str:
        """Return the plan in a line."""
        return f"n={self.n:,}: {METHODS[self.solver]}, {readable(self.memory)}"


def choose(
    solver: str,
    n: int,
    matrices: int,
    device: torch.device = CPU,
    *,
    available: int | None = None,
    structure: Plan | None = None,
) -> Plan:
    """Choose a solver for ``n`` rows, or say why there is none.

    Args:
        solver: one of `SOLVERS`.
        n: rows.
        matrices: how many ``n x n`` matrices are alive at the peak.
        device: where they are.
        available: bytes of memory; by default what the device has free.
        structure: of the solver that the structure of the matrix allows, where it has one.

    Returns:
        The plan.

    Raises:
        InputError: an unknown solver, or one that needs a structure without it.
        InsufficientMemoryError: the matrices do not fit; the message names the limit.

    Examples:
        >>> print(choose("auto", 1000, 5))
        n=1,000: float64 Cholesky, 40.0 MB
    """
    if not isinstance(solver, str) or solver not in SOLVERS:
        raise InputError(f"solver must be one of {SOLVERS}, got {solver!r}")
    available = free_memory(device) if available is None else available
    memory = BYTES * matrices * n * n
    if structure is not None and solver in _taken(structure, memory):
        return _checked(structure, available, device)
    if solver in FASTER_FROM:
        raise InputError(f"solver={solver!r} needs a kernel and rows of that structure: take solver='auto'")
    if solver == "cg" or (solver == "auto" and memory > available):
        return _iterations(n, available, device)
    if memory > available:
        largest = int((available / (BYTES * matrices)) ** 0.5)
        raise InsufficientMemoryError(
            f"an exact Gaussian process on {n:,} rows needs about {readable(memory)} ({matrices} matrices of "
            f"{n:,} x {n:,} numbers), and {readable(available)} are free{_on(device)}: at most about "
            f"{largest:,} rows fit; train on a random subset of the rows, or use a machine with more memory"
        )
    return Plan("cholesky", n, memory)


def _iterations(n: int, available: int, device: torch.device) -> Plan:
    """Return the plan of conjugate gradients: where the matrix does not fit, it is evaluated in tiles."""
    memory = BYTES // 2 * VECTORS * n
    if fits(n, BYTES, available):
        memory += BYTES * n * n
    return _checked(Plan("cg", n, memory), available, device)


def _taken(structure: Plan, memory: int) -> tuple[str, ...]:
    """Return the names that stand for a structured solver, where Cholesky needs ``memory`` bytes."""
    pays = structure.n >= FASTER_FROM[structure.solver] and structure.memory < memory
    return (structure.solver, "auto") if pays else (structure.solver,)


def _checked(plan: Plan, available: int, device: torch.device) -> Plan:
    if plan.memory > available:
        raise InsufficientMemoryError(
            f"{METHODS[plan.solver]} on {plan.n:,} rows need about {readable(plan.memory)}, and "
            f"{readable(available)} are free{_on(device)}: train on a random subset of the rows, or use a "
            "machine with more memory"
        )
    return plan


def fits(n: int, size: int, available: int) -> bool:
    """Return whether conjugate gradients keep an ``n x n`` matrix of numbers of ``size`` bytes.

    Examples:
        >>> fits(10_000, 8, 2 * 10**9), fits(20_000, 8, 2 * 10**9)
        (True, False)
    """
    return size * n * n <= KEPT * available


def check_covariance(m: int, n: int, device: torch.device = CPU, *, available: int | None = None) -> None:
    """Raise `InsufficientMemoryError` where the joint covariance of new rows does not fit.

    Args:
        m: new rows.
        n: rows of the training data.
        device: where they are.
        available: bytes of memory; by default what the device has free.
    """
    available = free_memory(device) if available is None else available
    memory = BYTES * (4 * m * m + 3 * m * n)
    if memory > available:
        raise InsufficientMemoryError(
            f"the joint covariance of {m:,} rows needs about {readable(memory)}, and {readable(available)} "
            f"are free{_on(device)}: ask for fewer rows at a time, or for return_std"
        )


def free_memory(device: torch.device) -> int:
    """Return the bytes that are free on ``device``: on a GPU with those that torch keeps for later.

    Examples:
        >>> free_memory(CPU) > 0
        True
    """
    if device.type != "cuda":
        return int(psutil.virtual_memory().available)
    kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return int(torch.cuda.mem_get_info(device)[0] + kept)


def _on(device: torch.device) -> str:
    return f" on {device}, and device='cpu' may have more" if device.type == "cuda" else ""


def readable(count: float) -> str:
    """Write a number of bytes with a unit.

    Examples:
        >>> readable(40e6)
        '40.0 MB'
    """
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000.0:
            return f"{count:.1f} {unit}"
        count /= 1000.0
    return f"{count:.1f} TB"
