"""How fast this machine is at what solvers do, measured once and kept in the user's cache folder.

A file belongs to a processor, a number of threads, the versions of torch and Numba, and a device. One that is
damaged or of another machine is measured anew; where none can be written, the next process measures again.
"""

import hashlib
import json
import math
import os
import platform
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import psutil
import torch

from nonparam.kernels import Matern, Scale
from nonparam.kernels.operator import KernelOperator
from nonparam.kernels.strips import assemble
from nonparam.model_selection.evidence import evidence
from nonparam.processes import least

__all__ = ["COLUMNS", "Rates", "cache_folder", "fingerprint", "measure", "rates_of"]

VERSION = 2
ROWS = 2048  # large enough for the compiled loops, and for the threads to pay
COLUMNS = 8  # of the rows that kernels are timed on
VECTORS = 16  # of a product
COPIED = 1 << 23  # float64 numbers: beyond every cache
REPEATS = 3  # the fastest counts: other work on the machine only ever slows
PATIENCE = 0.2  # seconds, after which a task is not repeated
BUSY = 1.5  # processes for each processor: what is measured then is used, and not kept


@dataclass(frozen=True)
class Rates:
    """What the machine does in a second, at its best.

    Attributes:
        cholesky: floating-point operations of a float64 factor with its inverse.
        gemm64: those of a product in float64.
        gemm32: those of a product with float32 tiles that are kept.
        tiles64: entries of a float64 kernel matrix of 8 columns, with their derivatives.
        tiles32: the same in float32.
        bandwidth: bytes read and written.
    """

    cholesky: float
    gemm64: float
    gemm32: float
    tiles64: float
    tiles32: float
    bandwidth: float

    def __post_init__(self) -> None:
        """Raise ``ValueError`` for what no machine does."""
        for name, value in asdict(self).items():
            if not isinstance(value, float) or not 0.0 < value < math.inf:
                raise ValueError(f"{name} must be a positive number, got {value!r}")


def rates_of(device: torch.device) -> Rates:
    """Return the rates of this machine from the cache folder, or measure them and keep them there.

    Where processes share the work, all call it, and all get those of the slowest.
    """
    path = _path(device)
    rates = _read(path, device)
    if rates is None:
        rates = measure(device)
        if not is_busy():
            _write(path, device, rates)
    return Rates(*least(list(asdict(rates).values()), device))


def is_busy() -> bool:
    """Return whether so much else is going on that rates come out too low."""
    return bool(psutil.getloadavg()[0] > BUSY * (psutil.cpu_count() or 1))


def cache_folder() -> Path:
    """Return the folder of this user for what can be measured again."""
    home = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(home).expanduser() / "nonparam"


def fingerprint(device: torch.device) -> dict[str, str]:
    """Return what the rates depend on."""
    is_gpu = device.type == "cuda"
    return {
        "processor": _processor(),
        "threads": str(torch.get_num_threads()),
        "torch": torch.__version__,
        "numba": version("numba") if find_spec("numba") else "none",
        "device": torch.cuda.get_device_name(device) if is_gpu else device.type,
    }


def _processor() -> str:
    """Return the name of the processor, as well as the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return f"{platform.machine()} {platform.processor()}"
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")


def _path(device: torch.device) -> Path:
    written = json.dumps(fingerprint(device), sort_keys=True)
    return cache_folder() / f"rates-{hashlib.sha256(written.encode()).hexdigest()[:16]}.json"


def _read(path: Path, device: torch.device) -> Rates | None:
    """Return the rates that a file holds; ``None`` where there is none, or not one of this machine."""
    try:
        found = json.loads(path.read_text())
        if (found["version"], found["machine"]) != (VERSION, fingerprint(device)):
            return None
        return Rates(**{field.name: found["rates"][field.name] for field in fields(Rates)})
    except (OSError, ValueError, KeyError, TypeError, RecursionError):  # damaged: measured anew
        return None


def _write(path: Path, device: torch.device, rates: Rates) -> None:
    """Keep the rates; a folder that cannot be written to is no error."""
    content = {"version": VERSION, "machine": fingerprint(device), "rates": asdict(rates)}
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(json.dumps(content, indent=1))
        os.replace(part, path)
    except OSError:
        pass


def measure(device: torch.device) -> Rates:
    """Time what the solvers do, on a problem of 2048 rows: less than two seconds on two free cores.

    Args:
        device: where.
    """
    x = torch.rand(ROWS, COLUMNS, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(device)
    y, half = x[:, :1], 0.5 * ROWS**2
    vectors = x.new_ones(ROWS, VECTORS)
    kernel = Scale(Matern([1.0] * COLUMNS), 1.0)
    parameters = list(kernel.to(device).parameters())
    operator = KernelOperator(kernel, x.float(), keep=True)
    matrix = assemble(kernel, x).matrix.add_(torch.eye(ROWS, dtype=x.dtype, device=device))
    space, weights = matrix.clone(), torch.ones_like(matrix)  # new memory is slow
    long = torch.zeros(2, COPIED, dtype=torch.float64, device=device)

    def entries() -> None:
        assemble(kernel, x, space).pull(parameters, weights)

    def entries32() -> None:
        tiles = KernelOperator(kernel, x.float(), keep=True)
        tiles.gradient(vectors.float(), vectors.float(), parameters)

    def factor() -> None:
        evidence(space.copy_(matrix), y, y[:, :0], gradient=True)

    return Rates(
        cholesky=ROWS**3 / _seconds(factor, device),
        gemm64=2.0 * ROWS**3 / _seconds(lambda: torch.mm(matrix, weights, out=space), device),
        gemm32=4.0 * half * VECTORS / _seconds(lambda: operator @ vectors.float(), device),
        tiles64=half / _seconds(entries, device),
        tiles32=half / _seconds(entries32, device),
        bandwidth=long.nbytes / _seconds(lambda: long[0].copy_(long[1]), device),
    )


def _seconds(task: Callable[[], object], device: torch.device) -> float:
    """Return the time of the fastest run of a few, less what other processes took away."""
    task()  # compiles, loads and touches what it needs for the first time
    times: list[float] = []
    while len(times) < REPEATS and sum(times) < PATIENCE:
        began, waited = time.perf_counter(), _waited()
        task()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        spent = time.perf_counter() - began
        times.append(max(spent - (_waited() - waited), 0.1 * spent))
    return min(times)


def _waited() -> float:
    """Return for how many seconds this thread was ready to run and was not; 0 where that is not told."""
    try:
        return 1e-9 * int(Path("/proc/thread-self/schedstat").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return 0.0
