"""Seconds for the kernels of infinite networks, beside neural-tangents, run in turn."""

import os
import subprocess
import sys
import time
import venv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from networks_cases import BIAS, COLUMNS, IMAGE, IMAGES, ROWS, WEIGHT, images, rows
from tables import header, row, versions

from nonparam.networks import MLP, Conv2d, Dense, GlobalAvgPool, Relu, Sequential, Unflatten

PEERS = ("jax==0.4.30", "jaxlib==0.4.30", "neural-tangents==0.6.5", "numpy<2", "scipy<1.13")
THREADS = 2
TILE = 2000


def speed(folder: Path, runs: int) -> None:
    """Time both kernels, NNGP and NTK; ``folder`` has, or gets, an environment with neural-tangents."""
    torch.set_num_threads(THREADS)
    print(f"{versions('nonparam', 'torch', 'numba')}; peer: {', '.join(PEERS[:3])}; {THREADS} threads\n")
    arguments = [str(python_of(folder)), str(Path(__file__).with_name("networks_peer.py"))]
    with subprocess.Popen(arguments, stdin=-1, stdout=-1, stderr=subprocess.DEVNULL, text=True) as peer:
        header("case", "nonparam, seconds", "neural-tangents", "ratio", "largest difference of two entries")
        for name, ours, times in (
            ("columns jitted", columns(), runs),
            ("columns", columns(), runs),
            ("images jitted", pictures(), min(runs, 2)),
        ):
            compare(name, ours, peer, times)
        peer.stdin.close()
    tiles()


def compare(name: str, ours: Callable, peer: subprocess.Popen, runs: int) -> None:
    """Print medians and extremes of runs that take turns, after one of each that is not counted."""
    seconds, others, difference = [], [], 0.0
    for _ in range(runs + 1):
        began = time.perf_counter()
        found = [float(kernel[0, 1]) for kernel in ours()]
        seconds.append(time.perf_counter() - began)
        answer = asked(peer, name)
        others.append(answer[0])
        difference = max(difference, *(abs(a - b) / abs(b) for a, b in zip(found, answer[1:], strict=True)))
    ratio = np.median(others[1:]) / np.median(seconds[1:])
    row(f"{name}", spread(seconds[1:]), spread(others[1:]), f"{ratio:.1f}", f"{difference:.0e}")


def asked(peer: subprocess.Popen, name: str) -> list[float]:
    print(name, file=peer.stdin, flush=True)
    for line in peer.stdout:
        if line.startswith("answer"):
            return [float(word) for word in line.split()[1:]]
    raise RuntimeError("neural-tangents ended without an answer: run networks_peer.py by itself")


def spread(seconds: list[float]) -> str:
    return f"{np.median(seconds):.3g} ({min(seconds):.3g} to {max(seconds):.3g})"


def columns() -> Callable:
    kernel = MLP(3).kernel(center=0.0, spread=1.0, weight_variance=WEIGHT, bias_variance=BIAS).float()
    x = torch.from_numpy(rows(ROWS))
    return lambda: both(kernel, x)


def pictures() -> Callable:
    convolution = Conv2d(3, padding="same")
    arch = Sequential(Unflatten(*IMAGE), convolution, Relu(), convolution, Relu(), GlobalAvgPool(), Dense())
    kernel = arch.kernel(center=0.0, spread=1.0, weight_variance=WEIGHT, bias_variance=BIAS).float()
    x = torch.from_numpy(images(IMAGES).reshape(IMAGES, -1))
    return lambda: both(kernel, x)


@torch.no_grad()
def both(kernel: object, *x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return kernel.both(*x)


def tiles() -> None:
    """All entries of 20,000 rows, a strip of tiles at a time."""
    kernel = MLP(3).kernel(center=0.0, spread=1.0, weight_variance=WEIGHT, bias_variance=BIAS).float()
    x = torch.from_numpy(rows(20_000))
    began = time.perf_counter()
    for start in range(0, len(x), TILE):
        both(kernel, x[start : start + TILE], x)
    print(f"\n20,000 rows of {COLUMNS} columns, {TILE} at a time: {time.perf_counter() - began:.3g} s")


def python_of(folder: Path) -> Path:
    """Return the Python of an environment with the peer, which is made where there is none."""
    python = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
    if not python.exists():
        venv.create(folder, with_pip=True)
        subprocess.run([str(python), "-m", "pip", "install", *PEERS], check=True, stdout=sys.stderr)
    return python
