"""Seconds to fit a small exact Gaussian process: nonparam, scikit-learn and GPyTorch, side by side.

Same data, same kernel, same start, float64, maximum likelihood without priors, mean zero on standardised
outputs. scikit-learn runs its own L-BFGS-B; GPyTorch's exact marginal likelihood (Cholesky) is driven by
SciPy's L-BFGS-B, as BoTorch drives it. Every contestant lives in a process of its own, one for 1 thread and
one for 2; runs alternate between all of them, and each contestant is judged at its better thread count.

Run it with ``python benchmarks/small_n.py`` (elevators and concrete are fetched, or read from the folder
that ``NONPARAM_DATA`` names); ``--runs 5`` by default, ``--case`` to pick cases. The exit code is 1 if some
peer's likelihood is higher than ours by more than 0.01 nats; missed speed goals are only printed.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from importlib.metadata import version

import numpy as np

Case = tuple[np.ndarray, np.ndarray, str]
PEERS = ("nonparam", "scikit-learn", "gpytorch")
ASKED = {  # at least this many times faster than the peer
    "airline n=144": {"scikit-learn": 3, "gpytorch": 15},
    "elevators n=144": {"scikit-learn": 3, "gpytorch": 4},
    "elevators n=500": {"scikit-learn": 8, "gpytorch": 4},
    "elevators n=1000": {"scikit-learn": 6, "gpytorch": 4},
    "concrete n=927": {"scikit-learn": 6},
}
NOISE = 0.05  # where every contestant starts
SHORTFALL = 0.01  # nats that the optimum reached may be below a peer's


def standardised(table: np.ndarray) -> np.ndarray:
    spread = table.std(0)
    return (table - table.mean(0)) / np.where(spread > 1e-12, spread, 1.0)


def load(case: str) -> Case:
    """Return X, y and the kind of kernel."""
    from nonparam.datasets import fetch_uci, load_airline

    name, n = case.split(" n=")
    if name == "airline":
        y = np.log(load_airline().to_numpy())
        return np.arange(len(y))[:, None] / 12.0, standardised(y), "quasi-periodic"
    x, y, _, _ = fetch_uci(name).split(0)
    rows = np.random.default_rng(0).permutation(len(x))[: int(n)]
    x = x[rows]
    return standardised(x[:, x.std(0) > 0.0]), standardised(y[rows]), "ard"


def fit_nonparam(x: np.ndarray, y: np.ndarray, kind: str) -> float:
    from nonparam import GPRegressor
    from nonparam.kernels import RBF, Matern, Periodic, Scale

    if kind == "ard":
        kernel = Scale(Matern([np.sqrt(x.shape[1])] * x.shape[1], nu=1.5), 1.0)
    else:
        kernel = Scale(RBF(1.0), 1.0) + Scale(RBF(10.0) * Periodic(1.0, 1.0), 1.0)
    model = GPRegressor(kernel, mean="zero", priors=None).fit(x, y)
    return model.log_marginal_likelihood_


def fit_sklearn(x: np.ndarray, y: np.ndarray, kind: str) -> float:
    from sklearn.gaussian_process import GaussianProcessRegressor, kernels

    if kind == "ard":
        lengthscale = [np.sqrt(x.shape[1])] * x.shape[1]
        kernel = kernels.ConstantKernel(1.0, (1e-8, 1e8)) * kernels.Matern(lengthscale, (1e-5, 1e8), nu=1.5)
    else:
        wide = (1e-5, 1e8)
        kernel = kernels.ConstantKernel(1.0, (1e-8, 1e8)) * kernels.RBF(1.0, wide)
        season = kernels.RBF(10.0, wide) * kernels.ExpSineSquared(1.0, 1.0, wide, (0.3, 3.0))
        kernel = kernel + kernels.ConstantKernel(1.0, (1e-8, 1e8)) * season
    kernel = kernel + kernels.WhiteKernel(NOISE, (1e-8, 1e3))
    model = GaussianProcessRegressor(kernel, alpha=1e-12).fit(x, y)
    return float(model.log_marginal_likelihood_value_)


def fit_gpytorch(x: np.ndarray, y: np.ndarray, kind: str) -> float:
    import gpytorch
    import torch
    from linear_operator.utils.errors import NanError, NotPSDError
    from scipy.optimize import minimize

    class Model(gpytorch.models.ExactGP):
        def __init__(self, x: torch.Tensor, y: torch.Tensor) -> None:
            likelihood = gpytorch.likelihoods.GaussianLikelihood(
                noise_constraint=gpytorch.constraints.GreaterThan(1e-8)
            )
            super().__init__(x, y, likelihood)
            self.mean_module = gpytorch.means.ZeroMean()
            self.covar_module = gpytorch_kernel(x.shape[1], kind)

        def forward(self, x: torch.Tensor) -> gpytorch.distributions.MultivariateNormal:
            return gpytorch.distributions.MultivariateNormal(self.mean_module(x), self.covar_module(x))

    inputs, targets = torch.tensor(x), torch.tensor(y)
    model = Model(inputs, targets).double()
    model.likelihood.noise = NOISE
    evidence = gpytorch.mlls.ExactMarginalLogLikelihood(model.likelihood, model)
    parameters = list(model.parameters())

    def objective(theta: np.ndarray) -> tuple[float, np.ndarray]:
        torch.nn.utils.vector_to_parameters(torch.tensor(theta), parameters)
        model.zero_grad()
        try:
            with gpytorch.settings.max_cholesky_size(10**6):
                loss = -evidence(model(inputs), targets) * len(y)
                loss.backward()
        except (NotPSDError, NanError):  # let the line search step back, as BoTorch does
            return 1e10, np.zeros_like(theta)
        return float(loss), torch.nn.utils.parameters_to_vector([p.grad for p in parameters]).numpy()

    start = torch.nn.utils.parameters_to_vector(parameters).detach().numpy()
    return -float(minimize(objective, start, jac=True, method="L-BFGS-B", options={"maxiter": 500}).fun)


def gpytorch_kernel(d: int, kind: str):  # type: ignore[no-untyped-def]
    from gpytorch.kernels import MaternKernel, PeriodicKernel, RBFKernel, ScaleKernel

    if kind == "ard":
        kernel = ScaleKernel(MaternKernel(nu=1.5, ard_num_dims=d))
        kernel.base_kernel.lengthscale = np.sqrt(d)
        kernel.outputscale = 1.0
        return kernel
    trend, envelope, season = RBFKernel(), RBFKernel(), PeriodicKernel()
    trend.lengthscale, envelope.lengthscale, season.lengthscale, season.period_length = 1.0, 10.0, 1.0, 1.0
    trend, season = ScaleKernel(trend), ScaleKernel(envelope * season)
    trend.outputscale = season.outputscale = 1.0
    return trend + season


FITS: dict[str, Callable[[np.ndarray, np.ndarray, str], float]] = {
    "nonparam": fit_nonparam,
    "scikit-learn": fit_sklearn,
    "gpytorch": fit_gpytorch,
}


def work(peer: str) -> None:
    """Serve fits: a case's name comes in on a line, seconds and nats go out on one."""
    warnings.simplefilter("ignore")
    for line in sys.stdin:
        x, y, kind = load(line.strip())
        began = time.perf_counter()
        nats = FITS[peer](x, y, kind)
        print(json.dumps([time.perf_counter() - began, nats]), flush=True)


class Worker:
    """A contestant in a process of its own."""

    def __init__(self, peer: str, threads: int) -> None:
        names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
        command = [sys.executable, __file__, "--work", peer]
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | dict.fromkeys(names, str(threads)),
        )

    def fit(self, case: str) -> tuple[float, float]:
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(case + "\n")
        self.process.stdin.flush()
        seconds, nats = json.loads(self.process.stdout.readline())
        return seconds, nats


def verdict(ours: float, theirs: float, ratio: float, asked: float | None) -> tuple[bool, str]:
    """Return whether our likelihood is at least the peer's, but for `SHORTFALL`, and that in words."""
    reached = bool(ours >= theirs - SHORTFALL)
    words = "likelihood met" if reached else f"likelihood SHORT by {theirs - ours:.3f}"
    goal = "" if asked is None else f"; speed {'met' if ratio >= asked else 'missed'}"
    return reached, words + goal


def compare(case: str, runs: int, workers: dict[tuple[str, int], Worker]) -> tuple[bool, list[str]]:
    """Return whether no peer is likelier, and the rows of the table for one case."""
    seconds: dict[tuple[str, int], list[float]] = {key: [] for key in workers}
    nats: dict[tuple[str, int], float] = {}
    for run in range(runs + 1):
        for key, worker in workers.items():
            elapsed, nats[key] = worker.fit(case)
            if run > 0:  # the first round warms up
                seconds[key].append(elapsed)
    best = {
        peer: min((key for key in workers if key[0] == peer), key=lambda key: statistics.median(seconds[key]))
        for peer in PEERS
    }
    ours = statistics.median(seconds[best["nonparam"]])
    rows, all_reached = [], True
    for peer, key in best.items():
        ratio = statistics.median(seconds[key]) / ours
        asked = ASKED[case].get(peer)
        spread = f"{min(seconds[key]):.4f}-{max(seconds[key]):.4f}"
        reached, words = verdict(nats[best["nonparam"]], nats[key], ratio, asked)
        all_reached &= reached
        rows.append(
            f"| {case} | {peer} | {key[1]} | {statistics.median(seconds[key]):.4f} | {spread} | "
            f"{nats[key]:.3f} | {ratio:.1f} | {asked or ''} | {'' if peer == 'nonparam' else words} |"
        )
    return all_reached, rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--case", nargs="*", default=list(ASKED))
    parser.add_argument("--threads", type=int, nargs="*", default=[1, 2])
    parser.add_argument("--work", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        work(options.work)
        return 0
    packages = ("nonparam", "scikit-learn", "gpytorch", "torch", "numpy", "scipy")
    print(f"Python {platform.python_version()}, " + ", ".join(f"{p} {version(p)}" for p in packages))
    print(f"{os.cpu_count()} cores, median of {options.runs} interleaved runs after one to warm up\n")
    print("| case | package | threads | seconds | min-max | log marginal likelihood | ", end="")
    print("times ours | asked | verdict |\n|---|---|---|---|---|---|---|---|---|")
    workers = {(peer, n): Worker(peer, n) for peer in PEERS for n in options.threads}
    all_reached = True
    for case in options.case:
        reached, rows = compare(case, options.runs, workers)
        print("\n".join(rows), flush=True)
        all_reached &= reached
    for worker in workers.values():
        worker.process.terminate()
    return 0 if all_reached else 1


if __name__ == "__main__":
    sys.exit(main())
