"""Several outputs at once: seconds on a complete panel, and held-out entries of gaps, beside GPyTorch.

Complete: 500 rows, 5 outputs of two shared functions, Matern-5/2 with a lengthscale for each column, rank 2,
maximum likelihood without priors on standardised outputs. GPyTorch's `MultitaskKernel` has its Kronecker
structure too; its exact marginal likelihood is driven by SciPy's L-BFGS-B, as BoTorch drives it. The
likelihood of either is computed anew from a dense matrix.

Gaps: `MultiOutputGPRegressor` with its priors, GPyTorch's Hadamard form (`IndexKernel`, one noise for each
output) fitted the same way as above, and one `GPRegressor` for each output. The table has the mean negative
log density of the held-out entries in nats, and their RMSE, in standard deviations of the outputs. Sets:
simulated outputs with random gaps; the logarithms of three monthly counts of British road casualties, each
without a year or two of its own (NONPARAM_DATA names the folder).

Coverage: outputs drawn from the model itself (80 rows, 4 outputs, rank 1, noise of each output its own), two
in five entries missing; which share of these the central intervals hold, 20 seeds. Asked are 3 points.

Seconds are the processor's: with one thread those of an idle machine. Run it with ``OMP_NUM_THREADS=1 python
benchmarks/likelihoods_outputs.py``; ``complete``, ``gaps`` or ``coverage`` for one part alone, ``--runs 3``
by default.
"""

import argparse
import os
import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import gpytorch
import numpy as np
import pandas as pd
import torch
from scipy.optimize import minimize
from scipy.stats import multivariate_normal, norm
from tables import header, row, versions

from nonparam import GPRegressor, MultiOutputGPRegressor

Panel = tuple[np.ndarray, np.ndarray]
Predicted = tuple[np.ndarray, np.ndarray]
RANK = 2
LEAST_NOISE = 1e-6


def simulated(n: int, t: int, seed: int) -> Panel:
    """Return rows, and outputs that mix two functions of them; each column has a standard deviation of 1."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(-2.0, 2.0, (n, 2))
    shared = np.c_[np.sin(3.0 * x[:, 0]) + 0.5 * x[:, 1], np.cos(3.0 * x[:, 1]) * x[:, 0]]
    y = shared @ rng.standard_normal((2, t)) + rng.uniform(0.1, 0.5, t) * rng.standard_normal((n, t))
    return x, (y - y.mean(0)) / y.std(0)


def casualties() -> Panel:
    """Return months (years and the season's phase) and logarithms of drivers, front and rear passengers."""
    folder = Path(os.environ["NONPARAM_DATA"], "series", "singles")
    table = pd.read_csv(folder / "seatbelts_exog.csv")
    months, y = np.arange(len(table)), np.log(table[["value", "front", "rear"]].to_numpy())
    phase = 2.0 * np.pi * months / 12.0
    return np.c_[months / 12.0, np.cos(phase), np.sin(phase)], (y - y.mean(0)) / y.std(0)


def without(y: np.ndarray, seed: int, block: int) -> np.ndarray:
    """Return the outputs with gaps: two in five entries at random, or a block in each output."""
    rng, gappy = np.random.default_rng(seed), y.copy()
    if block == 0:
        return np.where(rng.random(y.shape) < 0.4, np.nan, y)
    for o in range(y.shape[1]):
        start = rng.integers(0, len(y) - block)
        gappy[start : start + block, o] = np.nan
    return gappy


# peers --------------------------------------------------------------------------------------


class Multitask(gpytorch.models.ExactGP):
    def __init__(self, x: torch.Tensor, y: torch.Tensor) -> None:
        t = y.shape[1]
        noise = gpytorch.constraints.GreaterThan(LEAST_NOISE)
        likelihood = gpytorch.likelihoods.MultitaskGaussianLikelihood(
            num_tasks=t, has_global_noise=False, noise_constraint=noise
        )
        super().__init__(x, y, likelihood)
        self.mean_module = gpytorch.means.MultitaskMean(gpytorch.means.ConstantMean(), num_tasks=t)
        base = gpytorch.kernels.MaternKernel(2.5, ard_num_dims=x.shape[1])
        self.covar_module = gpytorch.kernels.MultitaskKernel(base, num_tasks=t, rank=RANK)

    def forward(self, x: torch.Tensor) -> gpytorch.distributions.MultitaskMultivariateNormal:
        return gpytorch.distributions.MultitaskMultivariateNormal(self.mean_module(x), self.covar_module(x))


class Hadamard(gpytorch.models.ExactGP):
    def __init__(self, x: torch.Tensor, output: torch.Tensor, y: torch.Tensor, t: int) -> None:
        noise = gpytorch.constraints.GreaterThan(LEAST_NOISE)
        likelihood = gpytorch.likelihoods.HadamardGaussianLikelihood(
            num_tasks=t, noise_constraint=noise, task_feature_index=-1
        )
        super().__init__(torch.cat([x, output.to(x)], 1), y, likelihood)
        self.means = torch.nn.Parameter(torch.zeros(t, dtype=x.dtype))
        self.covar_module = gpytorch.kernels.MaternKernel(2.5, ard_num_dims=x.shape[1])
        self.outputs = gpytorch.kernels.IndexKernel(num_tasks=t, rank=RANK)

    def forward(self, x: torch.Tensor) -> gpytorch.distributions.MultivariateNormal:
        output = x[:, -1:].long()
        covariance = self.covar_module(x[:, :-1]).mul(self.outputs(output))
        return gpytorch.distributions.MultivariateNormal(self.means[output[:, 0]], covariance)


def maximise(model: gpytorch.models.ExactGP, inputs: list[torch.Tensor], y: torch.Tensor) -> float:
    """Maximise the exact marginal likelihood by L-BFGS-B; return the best value in nats."""
    model.train()
    evidence = gpytorch.mlls.ExactMarginalLogLikelihood(model.likelihood, model)
    parameters = [p for p in model.parameters() if p.requires_grad]

    def negative(point: np.ndarray) -> tuple[float, np.ndarray]:
        torch.nn.utils.vector_to_parameters(torch.from_numpy(point), parameters)
        model.zero_grad()
        loss = -evidence(model(*inputs), y, *inputs) * y.numel()
        loss.backward()
        slopes = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        return float(loss.detach()), torch.nn.utils.parameters_to_vector(slopes).numpy()

    start = torch.nn.utils.parameters_to_vector(parameters).detach().numpy().copy()
    found = minimize(negative, start, jac=True, method="L-BFGS-B", options={"maxiter": 300})
    torch.nn.utils.vector_to_parameters(torch.from_numpy(found.x), parameters)
    return -float(found.fun)


def multitask(x: np.ndarray, y: np.ndarray) -> float:
    """Fit GPyTorch's model of a complete panel; return its log marginal likelihood from a dense matrix."""
    rows, outputs = torch.from_numpy(x), torch.from_numpy(y)
    torch.manual_seed(0)
    model = Multitask(rows, outputs).double()
    maximise(model, [rows], outputs)
    with torch.no_grad():
        joint = model.likelihood(model(rows))
        dense, mean = joint.covariance_matrix.numpy(), joint.mean.reshape(-1).numpy()
    return float(multivariate_normal(mean, dense).logpdf(y.reshape(-1)))


def hadamard(x: np.ndarray, y: np.ndarray) -> Predicted:
    """Fit GPyTorch's model of single entries, and predict all of them."""
    place = np.argwhere(np.isfinite(y))
    rows, output = torch.from_numpy(x[place[:, 0]]), torch.from_numpy(place[:, 1:])
    seen = torch.from_numpy(y[np.isfinite(y)])
    torch.manual_seed(0)
    model = Hadamard(rows, output, seen, y.shape[1]).double()
    inputs = torch.cat([rows, output.to(rows)], 1)
    maximise(model, [inputs], seen)
    model.eval()
    every = np.argwhere(np.ones_like(y))
    new = torch.from_numpy(np.c_[x[every[:, 0]], every[:, 1]])
    with torch.no_grad():
        found = model.likelihood(model(new), new)
        return found.mean.numpy().reshape(y.shape), found.variance.sqrt().numpy().reshape(y.shape)


def shared(x: np.ndarray, y: np.ndarray) -> Predicted:
    found: Predicted = MultiOutputGPRegressor("matern52", rank=RANK).fit(x, y).impute(return_std=True)
    return found


def alone(x: np.ndarray, y: np.ndarray) -> Predicted:
    parts = []
    for column in y.T:
        seen = np.isfinite(column)
        parts.append(GPRegressor("matern52").fit(x[seen], column[seen]).predict(x, return_std=True))
    means, sds = zip(*parts, strict=True)
    return np.stack(means, 1), np.stack(sds, 1)


# tables -------------------------------------------------------------------------------------


def complete(runs: int) -> None:
    """Print seconds and likelihoods of a complete panel."""
    x, y = simulated(500, 5, seed=0)
    seconds: dict[str, list[float]] = {"nonparam": [], "gpytorch": []}
    nats: dict[str, float] = {}
    for _ in range(runs):
        began = time.process_time()
        model = MultiOutputGPRegressor("matern52", rank=RANK, priors=None).fit(x, y)
        seconds["nonparam"].append(time.process_time() - began)
        nats["nonparam"] = model.log_marginal_likelihood_
        began = time.process_time()
        nats["gpytorch"] = multitask(x, y)
        seconds["gpytorch"].append(time.process_time() - began)
    header("500 x 5, no gap", "log marginal likelihood", "seconds", "times faster")
    ours = statistics.median(seconds["nonparam"])
    for name, spent in seconds.items():
        median = statistics.median(spent)
        row(name, f"{nats[name]:.3f}", median, median / ours)


def gaps() -> None:
    """Print the scores of held-out entries."""
    sets: dict[str, tuple[Callable[[int], Panel], int]] = {
        "simulated 200 x 5": (lambda seed: simulated(200, 5, seed), 0)
    }
    if "NONPARAM_DATA" in os.environ:
        sets["casualties 192 x 3"] = (lambda seed: casualties(), 24)
    header("set", "model", "NLL", "RMSE", "seconds")
    for name, (load, block) in sets.items():
        for label, model in {"nonparam": shared, "gpytorch": hadamard, "GPRegressor": alone}.items():
            scores = []
            for seed in range(3):
                x, y = load(seed)
                gappy = without(y, seed, block)
                began = time.process_time()
                mean, sd = model(x, gappy)
                spent, held = time.process_time() - began, np.isnan(gappy)
                loss = -norm.logpdf(y, mean, sd)[held].mean()
                scores.append((loss, np.sqrt(np.mean((y - mean)[held] ** 2)), spent))
            row(name, label, *np.mean(scores, 0))


def drawn(n: int, t: int, seed: int) -> Panel:
    """Return rows, and outputs drawn from the model with a Matern-5/2 kernel."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(-2.0, 2.0, (n, 2))
    k = gpytorch.kernels.MaternKernel(2.5).double()
    k.lengthscale = 1.0
    with torch.no_grad():
        dense = k(torch.from_numpy(x)).to_dense().numpy()
    w = rng.standard_normal(t)
    root = np.kron(
        np.linalg.cholesky(np.outer(w, w) + 0.2 * np.eye(t)), np.linalg.cholesky(dense + 1e-9 * np.eye(n))
    )
    y = (root @ rng.standard_normal(n * t)).reshape(t, n).T
    return x, y + rng.uniform(0.1, 0.5, t) * rng.standard_normal((n, t))


def coverage() -> None:
    """Print how many missing entries central intervals hold."""
    header("model", "50 %", "80 %", "95 %")
    for label, model in {"nonparam": shared, "GPRegressor": alone}.items():
        inside = []
        for seed in range(20):
            x, y = drawn(80, 4, seed)
            gappy = without(y, seed, 0)
            mean, sd = model(x, gappy)
            score = np.abs((y - mean) / sd)[np.isnan(gappy)]
            inside.append([(score < norm.ppf(0.5 + level / 200.0)).mean() for level in (50, 80, 95)])
        row(label, *(f"{share:.1%}" for share in np.mean(inside, 0)))


PARTS: dict[str, Callable[[int], None]] = {
    "complete": complete,
    "gaps": lambda runs: gaps(),
    "coverage": lambda runs: coverage(),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("part", nargs="?", choices=PARTS)
    parser.add_argument("--runs", type=int, default=3)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_default_dtype(torch.float64)
    print(f"{versions('nonparam', 'gpytorch', 'torch', 'numpy')}; {torch.get_num_threads()} thread(s)")
    for name, part in PARTS.items():
        if arguments.part in (None, name):
            print()
            part(arguments.runs)


if __name__ == "__main__":
    main()
