"""Sparse processes on many rows by mini-batches, beside GPyTorch's SVGP with as many inducing points; memory.

Quality: kin40k (36,000 rows to train on, the published fold 0 held out) and houseelectric (1.8 million; the
folds are our own, drawn at random, fold 0 held out), standardised. Matern-5/2 with a lengthscale for each
column, 512 inducing points that are learnt, batches of 1,024. GPyTorch: natural gradients of 0.1 (`NGD`)
for the variational distribution, Adam at 0.01 for all else and at 0.001 in the last quarter, float32,
points that begin at random rows, 30 passes over kin40k and one over houseelectric. Ours: the defaults of
``SparseGPRegressor(method="stochastic")``, from arrays. The table has the mean negative log density of the
held-out rows (NLL, nats, standardised), their RMSE, and the processor's seconds of the whole fit, for
GPyTorch those of its loop: with one thread that is the time on an idle machine. Runs are interleaved.

Memory: the largest resident set of a process that fits rows of a file, which an iterator reads in pieces:
100,000, 500,000 and 2,000,000 of them, 128 points.

Run it with ``OMP_NUM_THREADS=1 python benchmarks/likelihoods_sparse.py``; ``quality`` or ``memory`` for one
part, ``--sets kin40k``, ``--runs 3`` by default. NONPARAM_DATA names the folder of the data, in which
houseelectric has to be uci/houseelectric_raw.npz (``X``, ``y``, ``fold``).
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import gpytorch
import numpy as np
import torch
from tables import header, row, versions

from nonparam import SparseGPRegressor
from nonparam.datasets import fetch_uci

Split = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
POINTS, BATCH = 512, 1024
PASSES = {"kin40k": 30, "houseelectric": 1}
COLUMNS, PIECE = 11, 50_000
ROWS = (100_000, 500_000, 2_000_000)


def load(name: str) -> Split:
    """Return standardised rows to train and to test on."""
    if name == "houseelectric":
        held = np.load(Path(os.environ["NONPARAM_DATA"], "uci", "houseelectric_raw.npz"))
        test = held["fold"] == 0
        x, y = held["X"].astype(float), held["y"].astype(float)
        x, y, new, new_y = x[~test], y[~test], x[test], y[test]
    else:
        x, y, new, new_y = fetch_uci(name).split(0)
    centre, width, middle, spread = x.mean(0), x.std(0), y.mean(), y.std()
    return (x - centre) / width, (y - middle) / spread, (new - centre) / width, (new_y - middle) / spread


class SVGP(gpytorch.models.ApproximateGP):
    def __init__(self, z: torch.Tensor) -> None:
        distribution = gpytorch.variational.NaturalVariationalDistribution(len(z))
        super().__init__(gpytorch.variational.VariationalStrategy(self, z, distribution))
        self.mean_module = gpytorch.means.ConstantMean()
        base = gpytorch.kernels.MaternKernel(2.5, ard_num_dims=z.shape[1])
        self.covar_module = gpytorch.kernels.ScaleKernel(base)
        self.likelihood = gpytorch.likelihoods.GaussianLikelihood()

    def forward(self, x: torch.Tensor) -> gpytorch.distributions.MultivariateNormal:
        return gpytorch.distributions.MultivariateNormal(self.mean_module(x), self.covar_module(x))


def fit_svgp(split: Split, passes: int, seed: int) -> tuple[float, np.ndarray, np.ndarray]:
    """Return the seconds of training, and means and deviations of the rows to test on."""
    torch.manual_seed(seed)
    x, y, new = (torch.tensor(part, dtype=torch.float32) for part in split[:3])
    began = time.process_time()
    model = SVGP(x[torch.randperm(len(x))[:POINTS]].clone())
    bound = gpytorch.mlls.VariationalELBO(model.likelihood, model, num_data=len(x))
    natural = gpytorch.optim.NGD(model.variational_parameters(), num_data=len(x), lr=0.1)
    adam = torch.optim.Adam(model.hyperparameters(), lr=0.01)
    batches = [batch for _ in range(passes) for batch in torch.randperm(len(x)).split(BATCH)]
    for step, batch in enumerate(batches):
        adam.param_groups[0]["lr"] = 0.01 if step < 0.75 * len(batches) else 0.001
        natural.zero_grad()
        adam.zero_grad()
        (-bound(model(x[batch]), y[batch])).backward()
        natural.step()
        adam.step()
    seconds = time.process_time() - began
    model.eval()
    with torch.no_grad():
        found = [model.likelihood(model(part)) for part in new.split(10_000)]
    mean, sd = (
        torch.cat([getattr(each, name) for each in found]).double().numpy() for name in ("mean", "stddev")
    )
    return seconds, mean, sd


def fit_ours(split: Split, passes: int, seed: int) -> tuple[float, np.ndarray, np.ndarray]:
    """Return the seconds of the fit, and means and deviations of the rows to test on."""
    x, y, new, _ = split
    began = time.process_time()
    model = SparseGPRegressor(m=POINTS, method="stochastic", batch_size=BATCH, random_state=seed).fit(x, y)
    seconds = time.process_time() - began
    return seconds, *model.predict(new, return_std=True)


def quality(names: list[str], runs: int) -> None:
    print(
        f"{versions('nonparam', 'gpytorch', 'torch', 'numpy')}, {torch.get_num_threads()} thread(s), "
        f"{runs} run(s)\n"
    )
    header(
        "set",
        "rows",
        "package",
        "NLL",
        "min-max",
        "RMSE",
        "seconds",
        "min-max",
        "share of GPyTorch's seconds",
    )
    for name in names:
        split, found = load(name), {}
        for seed in range(runs):
            for package, fit in (("nonparam", fit_ours), ("GPyTorch SVGP", fit_svgp)):
                seconds, mean, sd = fit(split, PASSES[name], seed)
                error = split[3] - mean
                nll = float(np.mean(0.5 * (error / sd) ** 2 + np.log(sd) + 0.5 * np.log(2.0 * np.pi)))
                found.setdefault(package, []).append((nll, float(np.sqrt(np.mean(error**2))), seconds))
                print(
                    f"{name} run {seed}: {package}: NLL {nll:.4f}, {seconds:.1f} s",
                    file=sys.stderr,
                    flush=True,
                )
        middle = {
            package: [statistics.median(column) for column in zip(*rows, strict=True)]
            for package, rows in found.items()
        }
        for package, rows in found.items():
            nlls, _, times = zip(*rows, strict=True)
            nll, rmse, seconds = middle[package]
            share = f"{seconds / middle['GPyTorch SVGP'][2]:.2f}"
            spread = [f"{min(values):.4g} to {max(values):.4g}" for values in (nlls, times)]
            row(name, f"{len(split[0]):,}", package, nll, spread[0], rmse, seconds, spread[1], share)


# memory -------------------------------------------------------------------------------------


def written(path: str, n: int) -> None:
    """Write rows and outputs, drawn a piece at a time, as raw numbers."""
    rng, weights = np.random.default_rng(0), np.linspace(0.5, 2.0, COLUMNS)
    with open(path, "wb") as file:
        for _ in range(n // PIECE):
            x = rng.standard_normal((PIECE, COLUMNS))
            y = np.sin(x @ weights) + 0.1 * rng.standard_normal(PIECE)
            np.c_[x, y].tofile(file)


def read(path: str) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    with open(path, "rb") as file:
        while len(piece := np.fromfile(file, count=PIECE * (COLUMNS + 1))):
            table = piece.reshape(-1, COLUMNS + 1)
            yield table[:, :-1], table[:, -1]


def worker(path: str) -> None:
    """Fit the rows of a file; print seconds, the resident set before the fit, and the largest."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0
    began = time.perf_counter()
    SparseGPRegressor(m=128, random_state=0).fit_batches(lambda: read(path))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0
    print(f"{time.perf_counter() - began:.1f} {before:.0f} {peak:.0f}")


def memory() -> None:
    header("rows", "file, MB", "seconds", "resident before the fit, MB", "largest, MB")
    for n in ROWS:
        with tempfile.TemporaryDirectory() as folder:
            path = str(Path(folder, "rows.bin"))
            written(path, n)
            command = [sys.executable, __file__, "worker", "--path", path]
            found = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
            row(f"{n:,}", f"{os.path.getsize(path) / 1e6:.0f}", *found)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("part", nargs="?", choices=("all", "quality", "memory", "worker"), default="all")
    parser.add_argument("--sets", nargs="*", default=list(PASSES), choices=list(PASSES))
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--path", help="of the rows of a worker")
    given = parser.parse_args()
    if given.part == "worker":
        worker(given.path)
        return
    if given.part != "memory":
        quality(given.sets, given.runs)
    if given.part != "quality":
        memory()


if __name__ == "__main__":
    main()
