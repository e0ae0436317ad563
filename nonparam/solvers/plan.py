"""Which solver a problem gets, and what memory it needs, said before anything is allocated."""

from dataclasses import dataclass, replace

import psutil
import torch

from nonparam.errors import InputError, InsufficientMemoryError

__all__ = [
    "BYTES",
    "INSTEAD",
    "SOLVERS",
    "Plan",
    "check_covariance",
    "choose",
    "duration",
    "factorises",
    "fits",
    "free_memory",
]

METHODS = {
    "cholesky": "float64 Cholesky",
    "cg": "certified conjugate gradients",
    "ski": "certified conjugate gradients with the kernel interpolated from a grid",
    "state_space": "Kalman filter and smoother",
    "toeplitz": "Levinson recursion and fast Fourier transforms",
    "kronecker": "eigenvectors of the factors of a Kronecker product",
}
SOLVERS = ("auto", *METHODS)
LOST = {
    "cg": "not exact: predictions to the residual of solves, evidence to a standard error",
    "ski": (
        "not exact: predictions to the residual of solves and the error of the interpolation, evidence to a "
        "standard error"
    ),
}
FASTER_FROM = {"state_space": 1000, "toeplitz": 1200, "kronecker": 400}  # rows, measured on one core
BYTES = 8  # of a float64
KEPT = 0.5  # of the free memory, that the tiles of a matrix may fill
FACTORISED = (
    1.2  # n x n matrices that one factorisation in place needs, with what predictions add: 1.07 to 1.3
)
VECTORS = 12_000  # float32 columns of n rows that conjugate gradients keep: preconditioners, blocks of solves
WIDEST = 4  # the same in units of n: a rank is at most that
INSTEAD = (
    "train on a random subset of the rows, use a machine with more memory, or for regression on any number "
    "of rows an approximation: NearestNeighbourGPRegressor or SparseGPRegressor"
)
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Plan:
    """A solver, and the memory it is expected to need.

    Attributes:
        solver: one of `SOLVERS`, not ``"auto"``.
        n: rows.
        memory: bytes at the peak.
        d: columns, where they are known.
        fit_seconds: predicted time of the fit, where it is asked for.
        predict_seconds: that of predicting means and standard deviations at 1,000 rows.
        otherwise: the plan that a fit turns to where this one runs out of memory, or conjugate gradients
            cannot be certified; ``None`` where the solver was named.
    """

    solver: str
    n: int
    memory: int
    d: int | None = None
    fit_seconds: float | None = None
    predict_seconds: float | None = None
    otherwise: "Plan | None" = None

    def __str__(self) -> str:
        """Return the plan in a line, with what is lost where it is not exact."""
        columns = "" if self.d is None else f", d={self.d}"
        lost = f"; {LOST[self.solver]}" if self.solver in LOST else ""
        return f"n={self.n:,}{columns}: {METHODS[self.solver]}, {readable(self.memory)}{self._times()}{lost}"

    def _times(self) -> str:
        if self.fit_seconds is None or self.predict_seconds is None:
            return ""
        fit, predict = duration(self.fit_seconds), duration(self.predict_seconds)
        return f", about {fit} to fit, {predict} to predict 1,000 rows (measured on this machine)"


def choose(
    solver: str,
    n: int,
    matrices: float,
    device: torch.device = CPU,
    *,
    available: int | None = None,
    structure: Plan | None = None,
    quicker: str = "cholesky",
    functions: int = 1,
) -> Plan:
    """Choose a solver for ``n`` rows, or say why there is none.

    Args:
        solver: one of `SOLVERS`.
        n: rows.
        matrices: how many ``n x n`` matrices are alive at the peak.
        device: where they are.
        available: bytes of memory; by default what the device has free.
        structure: of the solver that the structure of the matrix allows, where it has one.
        quicker: ``"cholesky"`` or ``"cg"``, which ``"auto"`` takes where both fit.
        functions: numbers at each row that conjugate gradients solve for together.

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
    memory = int(BYTES * matrices * n * n)
    if structure is not None:
        pays = n >= FASTER_FROM[structure.solver] or memory > available
        if solver == structure.solver or (solver == "auto" and pays):
            return _checked(structure, available, device)
    if solver in FASTER_FROM:
        raise InputError(f"solver={solver!r} needs a kernel and rows of that structure: take solver='auto'")
    if solver == "ski":
        return _checked(Plan("ski", n, _vectors(n)), available, device)
    iterations = _iterations(n, available, functions)
    exact = Plan("cholesky", n, memory)
    if solver == "auto" and memory <= available:
        pair = (
            (iterations, exact) if quicker == "cg" and iterations.memory <= available else (exact, iterations)
        )
        return replace(pair[0], otherwise=pair[1])
    if solver in ("cg", "auto"):
        return _checked(iterations, available, device)
    if memory > available:
        largest = int((available / (BYTES * matrices)) ** 0.5)
        raise InsufficientMemoryError(
            f"an exact Gaussian process on {n:,} rows needs about {readable(memory)} ({matrices} matrices of "
            f"{n:,} x {n:,} numbers), and {readable(available)} are free{_on(device)}: at most about "
            f"{largest:,} rows fit; {INSTEAD}"
        )
    return exact


def _iterations(n: int, available: int, functions: int) -> Plan:
    """Return the plan of conjugate gradients: where the tiles do not fit, each product evaluates them."""
    memory, matrix = _vectors(n * functions), int(FACTORISED * BYTES * n * n)
    if fits(n, BYTES, available):
        memory += BYTES * n * n // 2
        if factorises(n, available - memory):  # the preconditioner where the noise is small
            return Plan("cg", n, memory + matrix)
    if factorises(n, available):  # after training
        memory = max(memory, matrix)
    return Plan("cg", n, memory)


def _vectors(n: int) -> int:
    return BYTES // 2 * n * min(VECTORS, WIDEST * n)


def _checked(plan: Plan, available: int, device: torch.device) -> Plan:
    if plan.memory > available:
        raise InsufficientMemoryError(
            f"{METHODS[plan.solver]} on {plan.n:,} rows need about {readable(plan.memory)}, and "
            f"{readable(available)} are free{_on(device)}: {INSTEAD}"
        )
    return plan


def fits(n: int, size: int, available: int) -> bool:
    """Return whether conjugate gradients keep half of an ``n x n`` matrix of numbers of ``size`` bytes.

    Examples:
        >>> fits(10_000, 8, 10**9), fits(20_000, 8, 10**9)
        (True, False)
    """
    return 0.5 * size * n * n <= KEPT * available


def factorises(n: int, available: int, size: int = BYTES) -> bool:
    """Return whether one factorisation of numbers of ``size`` bytes fits.

    Examples:
        >>> factorises(10_000, 2 * 10**9), factorises(20_000, 2 * 10**9)
        (True, False)
    """
    return FACTORISED * size * n * n <= available


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


def duration(seconds: float) -> str:
    """Write a time roughly.

    Examples:
        >>> duration(0.0314), duration(42.0), duration(300.0), duration(9000.0)
        ('0.031 s', '42 s', '5 min', '2.5 h')
    """
    if seconds < 99.5:
        return f"{seconds:.2g} s"
    return f"{seconds / 60.0:.0f} min" if seconds < 6000.0 else f"{seconds / 3600.0:.1f} h"


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
