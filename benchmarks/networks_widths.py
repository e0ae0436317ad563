"""How networks of finite width tend to their limit: kernels at the start, and training."""

import copy
import math
import time

import numpy as np
import torch
from tables import header, row, versions

from nonparam.datasets import fetch_uci
from nonparam.kernels import InfiniteNetwork
from nonparam.networks import EmpiricalNTK, FiniteNetwork
from nonparam.networks.gradient_flow import Eigenvectors, gain
from nonparam.networks.members import Members
from nonparam.networks.width_report import DRAWS

WIDTHS, ROWS = (32, 64, 128, 256, 512, 1024), 25
ARCHITECTURES = ("relu-2", "relu-3", "erf-2", "gelu-2")
TRAINED, NEW, WIDTH = 200, 200, 512
SETS, TIMES = ("housing", "energy"), (30.0, 100.0, 300.0)


def slopes(seeds: int) -> None:
    """Print the relative errors of both kernels, and the powers of the width with which they fall."""
    print(f"{versions('nonparam', 'torch')}; {seeds} networks of each width, {ROWS} rows of concrete\n")
    x = torch.from_numpy(fetch_uci("concrete").X[:ROWS])
    header(
        "network", "kernel", *(f"width {width}" for width in WIDTHS), "slope", "95 % over seeds", "seconds"
    )
    for name in ARCHITECTURES:
        began, kernel = time.perf_counter(), of_rows(name, x)
        expected = kernel.both(x)
        found = [[errors(kernel, x, expected, width, seed) for seed in range(seeds)] for width in WIDTHS]
        both = np.array(found)  # (widths, seeds, kernels)
        for i, kind in enumerate(("NNGP", "NTK")):
            slope, low, high = slope_of(both[..., i])
            means = (f"{error:.3f}" for error in both[..., i].mean(1))
            row(name, kind, *means, f"{slope:.2f}", f"{low:.2f} to {high:.2f}", time.perf_counter() - began)


@torch.no_grad()
def errors(
    kernel: InfiniteNetwork, x: torch.Tensor, expected: tuple, width: int, seed: int
) -> tuple[float, float]:
    outputs = FiniteNetwork(kernel, x.shape[1], width, outputs=width, seed=seed)(x)
    tangent = EmpiricalNTK(FiniteNetwork(kernel, x.shape[1], width, seed=seed)).matrix(x)
    pairs = ((outputs @ outputs.mT / width, expected[0]), (tangent, expected[1]))
    return tuple(float((one - other).norm() / other.norm()) for one, other in pairs)


def slope_of(values: np.ndarray) -> tuple[float, float, float]:
    """Return the slope of the logarithm of the mean error, and an interval by drawing seeds anew."""
    rng = np.random.default_rng(0)
    drawn = [[line[rng.integers(len(line), size=len(line))].mean() for line in values] for _ in range(DRAWS)]
    logs = np.log(np.stack([values.mean(1), *np.array(drawn)], 1))
    found = np.polyfit(np.log(WIDTHS), logs, 1)[0]
    return found[0], *np.quantile(found[1:], [0.025, 0.975])


def flow(seeds: int) -> None:
    """Print how far networks that gradient descent has trained are from gradient flow's closed form."""
    print(
        f"{versions('nonparam', 'torch')}; {seeds} networks, {WIDTH} wide, {TRAINED} rows; root mean square"
    )
    print("over new rows, in standard deviations of the target; time in units of the steepest direction's\n")
    header("data", "network", "time", "one, its start taken off", "mean of all", "one at the start")
    for name in SETS:
        for arch in ("relu-2", "erf-2"):
            for times in TIMES:
                row(name, arch, times, *(f"{value:.3g}" for value in distances(name, arch, seeds, times)))


def distances(name: str, arch: str, seeds: int, times: float) -> tuple[float, float, float]:
    data = fetch_uci(name)
    order = np.random.default_rng(0).permutation(len(data.X))[: TRAINED + NEW]
    x, y = (torch.from_numpy(np.asarray(each)[order]) for each in (data.X, data.y))
    kernel = of_rows(arch, x[:TRAINED])
    y = (y - y[:TRAINED].mean()) / y[:TRAINED].std()
    with torch.no_grad():
        tangent, across = kernel.matrix(x[:TRAINED]), kernel.matrix(x[:TRAINED], x[TRAINED:])
    largest = float(torch.linalg.eigvalsh(tangent)[-1])
    rate = times / largest  # time over rows: so many times that of the steepest direction
    mean = (Eigenvectors.of(tangent, gain(rate)) @ across).mT @ y[:TRAINED]
    steps = math.ceil(4.0 * times)
    networks = [FiniteNetwork(kernel, x.shape[1], WIDTH, seed=seed).float() for seed in range(seeds)]
    start = Members([copy.deepcopy(each) for each in networks]).outputs(x)[..., 0]
    centred = descend(networks, x, y[:TRAINED] + start[:, :TRAINED], rate * TRAINED / steps, steps) - start
    plain = descend(networks, x, y[:TRAINED].expand(seeds, -1), rate * TRAINED / steps, steps)
    new = slice(TRAINED, None)
    return root(centred[:, new] - mean), root(plain.mean(0)[new] - mean), root(start[:, new])


def descend(
    networks: list[FiniteNetwork], x: torch.Tensor, targets: torch.Tensor, step: float, steps: int
) -> torch.Tensor:
    """Return what networks say of all rows after steps of gradient descent on the first ones."""
    members = Members([copy.deepcopy(each) for each in networks])
    rows, aims = x[:TRAINED].float(), targets.float()
    optimizer = torch.optim.SGD(members.stacked, lr=step)
    for _ in range(steps):
        optimizer.zero_grad()
        ((members(rows)[..., 0] - aims).square().mean(1) / 2.0).sum().backward()
        optimizer.step()
    return members.outputs(x)[..., 0]


def root(values: torch.Tensor) -> float:
    return float(values.square().mean().sqrt())


def of_rows(arch: str, x: torch.Tensor) -> InfiniteNetwork:
    """Return the tangent kernel with usual variances, of rows that are centred and scaled."""
    spread = x.std(0)
    scales = {"center": x.mean(0).tolist(), "spread": torch.where(spread > 0.0, spread, 1.0).tolist()}
    return InfiniteNetwork(arch, "ntk", **scales).requires_grad_(False)
