"""Kernel products and whole fits on a GPU: nonparam and GPyTorch, side by side.

Products: Matern-3/2 with one lengthscale per column, 8 columns, 16 vectors, float32 without tf32, nothing
kept. The floating point operations that are counted are those of the distances and of the vectors,
n^2 (3 d + 2 k), not those of the profile; the share is of the peak that a large float32 matrix product has on
the same card in the same run. GPyTorch multiplies with ``kernel(x) @ v``, which stores the matrix.

Fits: fold 0 of each set, standardised; Matern-3/2 with one lengthscale per column. GPyTorch takes its
defaults: Adam at 0.1 for 50 steps, float32. RMSE is of all test rows, NLL of the first 1000, standardised.

Run it with ``python benchmarks/gpu.py``, which writes benchmarks/results/gpu.md; a trial of a minute is
``--device cpu --sizes 2000 --sets protein --rows 600 --steps 2 --out trial.md``. Sets are fetched, or read
from the folder that ``NONPARAM_DATA`` names; uci/houseelectric_raw.npz (``X``, ``y``, ``fold``) has to be
there.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import gpytorch
import numpy as np
import torch

from nonparam import GPRegressor
from nonparam.datasets import fetch_uci
from nonparam.kernels import Matern
from nonparam.kernels.operator import KernelOperator

COLUMNS, VECTORS = 8, 16
SCORED = 1000  # test rows of the NLL
DENSE = 40_000  # rows up to which GPyTorch's matrix is tried
Split = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
OUT_OF_REACH = (torch.OutOfMemoryError, MemoryError, RuntimeError)


def seconds(task: Callable[[], object], device: torch.device, runs: int = 3) -> float:
    """Return the median time of a task, after a first run that compiles."""

    def once() -> float:
        began = time.perf_counter()
        task()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter() - began

    once()
    return statistics.median(once() for _ in range(runs))


def peak(device: torch.device) -> float:
    """Return the operations per second of a large matrix product."""
    n = 16_384 if device.type == "cuda" else 2048
    a = torch.randn(n, n, device=device)
    return 2.0 * n**3 / seconds(lambda: a @ a, device)


def product_row(n: int, device: torch.device, best: float) -> str:
    generator = torch.Generator(device).manual_seed(0)
    x = torch.rand(n, COLUMNS, generator=generator, device=device)
    v = torch.randn(n, VECTORS, generator=generator, device=device)
    operator = KernelOperator(2.0 * Matern([1.0] * COLUMNS, nu=1.5).to(device), x)
    ours = seconds(lambda: operator @ v, device)
    share = n**2 * (3.0 * COLUMNS + 2.0 * VECTORS) / ours / best
    return f"| {n:,} | {ours:.4g} | {share:.1%} | {dense_seconds(x, v, device)} |"


def dense_seconds(x: torch.Tensor, v: torch.Tensor, device: torch.device) -> str:
    if len(x) > DENSE:
        return "-"
    kernel = gpytorch.kernels.ScaleKernel(gpytorch.kernels.MaternKernel(nu=1.5, ard_num_dims=COLUMNS))
    kernel = kernel.to(device)
    try:
        with torch.no_grad():
            return f"{seconds(lambda: kernel(x) @ v, device):.4g}"
    except OUT_OF_REACH as error:
        return type(error).__name__


def load(name: str, rows: int | None) -> Split:
    """Return standardised training and test rows."""
    path = Path(os.environ.get("NONPARAM_DATA", ".")) / "uci" / "houseelectric_raw.npz"
    if name == "houseelectric":
        held = np.load(path)
        tested = held["fold"] == 0
        X, y = held["X"].astype(float), held["y"].astype(float)
        split = X[~tested], y[~tested], X[tested], y[tested]
    else:
        split = fetch_uci(name).split(0)
    X, y, X_test, y_test = split
    some = np.random.default_rng(0).permutation(len(X))[:rows]
    X, y = X[some], y[some]
    width = np.where(X.std(0) > 1e-12, X.std(0), 1.0)
    centre, middle, spread = X.mean(0), y.mean(), y.std()
    return (X - centre) / width, (y - middle) / spread, (X_test - centre) / width, (y_test - middle) / spread


def scores(mean: np.ndarray, sd: np.ndarray, y: np.ndarray) -> str:
    """Return RMSE of all rows and the mean NLL of the scored ones."""
    rmse = np.sqrt(np.mean((mean - y) ** 2))
    residual = (mean[:SCORED] - y[:SCORED]) / sd
    return f"{rmse:.4f} | {np.mean(0.5 * residual**2 + np.log(sd) + 0.5 * np.log(2.0 * np.pi)):.4f}"


def fit_nonparam(split: Split, device: torch.device, steps: int) -> str:
    X, y, X_test, y_test = split
    began = time.perf_counter()
    model = GPRegressor("matern32", solver="cg", device=str(device), random_state=0).fit(X, y)
    took = time.perf_counter() - began
    _, sd = model.predict(X_test[:SCORED], return_std=True)
    return f"{took:.1f} | {model.fit_report_.steps} | {scores(model.predict(X_test), sd, y_test)}"


class Peer(gpytorch.models.ExactGP):
    def __init__(self, x: torch.Tensor, y: torch.Tensor, likelihood: gpytorch.likelihoods.Likelihood) -> None:
        super().__init__(x, y, likelihood)
        self.mean_module = gpytorch.means.ConstantMean()
        base = gpytorch.kernels.MaternKernel(nu=1.5, ard_num_dims=x.shape[1])
        self.covar_module = gpytorch.kernels.ScaleKernel(base)

    def forward(self, x: torch.Tensor) -> gpytorch.distributions.MultivariateNormal:
        return gpytorch.distributions.MultivariateNormal(self.mean_module(x), self.covar_module(x))


def fit_gpytorch(split: Split, device: torch.device, steps: int) -> str:
    x, y, x_test, _ = (torch.tensor(part, dtype=torch.float32, device=device) for part in split)
    began = time.perf_counter()
    likelihood = gpytorch.likelihoods.GaussianLikelihood().to(device)
    model = Peer(x, y, likelihood).to(device)
    evidence = gpytorch.mlls.ExactMarginalLogLikelihood(likelihood, model)
    adam = torch.optim.Adam(model.parameters(), lr=0.1)
    for _ in range(steps):
        adam.zero_grad()
        loss = -evidence(model(x), y)
        loss.backward()
        adam.step()
    took = time.perf_counter() - began
    model.eval()
    with torch.no_grad():
        variance = likelihood.eval()(model(x_test[:SCORED])).variance.clamp_min(1e-10)
        mean = torch.cat([model(part).mean for part in x_test.split(SCORED)])
    return f"{took:.1f} | {steps} | {scores(mean.cpu().numpy(), variance.sqrt().cpu().numpy(), split[3])}"


def fit_rows(name: str, device: torch.device, rows: int | None, steps: int) -> list[str]:
    try:
        split = load(name, rows)
    except OSError as error:
        return [f"| {name} | not found: {type(error).__name__} | | | | | |"]
    found = []
    for peer, fit in (("nonparam", fit_nonparam), ("gpytorch", fit_gpytorch)):
        try:
            result = fit(split, device, steps)
        except OUT_OF_REACH as error:
            result = f"{type(error).__name__} | | | "
        found.append(f"| {name} | {len(split[0]):,} | {peer} | {result} |")
        print(found[-1], flush=True)
    return found


def described(device: torch.device) -> str:
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    packages = ", ".join(f"{package} {version(package)}" for package in ("nonparam", "torch", "gpytorch"))
    return f"{name}; {packages}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--sizes", type=int, nargs="*", default=[10_000, 40_000, 100_000, 500_000, 1_000_000])
    parser.add_argument("--sets", nargs="*", default=["protein", "kin40k", "houseelectric"])
    parser.add_argument("--rows", type=int, help="of each set at most")
    parser.add_argument("--steps", type=int, default=50, help="of GPyTorch's Adam")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "gpu.md")
    chosen = parser.parse_args()
    torch.backends.cuda.matmul.allow_tf32 = False
    device = torch.device(chosen.device)
    best = peak(device)
    lines = [f"# Products and fits on {described(device)}", ""]
    lines += [f"Peak of a float32 matrix product: {best / 1e12:.2f} TFLOP/s.", ""]
    lines += ["| n | nonparam, s | share of the peak | gpytorch, s |", "| --- | --- | --- | --- |"]
    for n in chosen.sizes:
        lines.append(product_row(n, device, best))
        print(lines[-1], flush=True)
    lines += [
        "",
        "| set | n | | fit, s | steps | RMSE | NLL |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name in chosen.sets:
        lines += fit_rows(name, device, chosen.rows, chosen.steps)
    chosen.out.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
