"""Deep kernels: nonparam beside its own ARD kernel and GPyTorch's documented recipe.

Sections of ``python benchmarks/deep.py SECTION``:

* ``large``: energy, concrete, elevators, and 10,000 rows of kin40k and protein; each seed has another fold
  and other rows. Test NLL and RMSE of a Matern-5/2 kernel with a lengthscale per column, of
  `DeepKernelRegressor`, and of GPyTorch's example of deep kernels with KISS-GP.
* ``whole``: all rows of kin40k, by mini-batches, and then all of them.
* ``small``: 100 to 700 rows of six sets, the conditional objective beside the marginal one.

GPyTorch's example: a perceptron of 1000, 500, 50 and 2 units, its outputs scaled to the interval of a grid by
the extremes of the batch, an RBF kernel interpolated from a grid of 100 x 100, and Adam at 0.01 for 60 steps.
Inputs and outputs are standardised for all. Sets are fetched, or read from the folder ``NONPARAM_DATA``.
"""

import argparse
import platform
import time
import warnings
from collections.abc import Callable
from importlib.metadata import version

import gpytorch
import numpy as np
import torch
from tables import header, row
from uci_rows import table

from nonparam import DeepKernelRegressor, GPRegressor

LARGE = {"energy": 0, "concrete": 0, "elevators": 0, "kin40k": 10_000, "protein": 10_000}
SMALL = ("yacht", "housing", "energy", "concrete", "wine", "pol")
ROWS = (100, 200, 400, 700)
STEPS, RATE, GRID = 60, 0.01, 100  # of GPyTorch's example
warnings.simplefilter("ignore")


class Extractor(torch.nn.Sequential):
    """The network of GPyTorch's example."""

    def __init__(self, d: int) -> None:
        super().__init__()
        self.add_module("linear1", torch.nn.Linear(d, 1000))
        self.add_module("relu1", torch.nn.ReLU())
        self.add_module("linear2", torch.nn.Linear(1000, 500))
        self.add_module("relu2", torch.nn.ReLU())
        self.add_module("linear3", torch.nn.Linear(500, 50))
        self.add_module("relu3", torch.nn.ReLU())
        self.add_module("linear4", torch.nn.Linear(50, 2))


class Model(gpytorch.models.ExactGP):
    def __init__(self, x: torch.Tensor, y: torch.Tensor) -> None:
        super().__init__(x, y, gpytorch.likelihoods.GaussianLikelihood())
        self.mean_module = gpytorch.means.ConstantMean()
        scaled = gpytorch.kernels.ScaleKernel(gpytorch.kernels.RBFKernel(ard_num_dims=2))
        self.covar_module = gpytorch.kernels.GridInterpolationKernel(scaled, num_dims=2, grid_size=GRID)
        self.feature_extractor = Extractor(x.shape[1])
        self.scale_to_bounds = gpytorch.utils.grid.ScaleToBounds(-1.0, 1.0)

    def forward(self, x: torch.Tensor) -> gpytorch.distributions.MultivariateNormal:
        z = self.scale_to_bounds(self.feature_extractor(x))
        return gpytorch.distributions.MultivariateNormal(self.mean_module(z), self.covar_module(z))


def gpytorch_recipe(
    x: np.ndarray, y: np.ndarray, new: np.ndarray, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return means and variances of new rows by GPyTorch's example."""
    torch.manual_seed(seed)
    rows, targets = torch.tensor(x).float(), torch.tensor(y).float()
    model = Model(rows, targets)
    parts = (model.feature_extractor, model.covar_module, model.mean_module, model.likelihood)
    optimiser = torch.optim.Adam([{"params": part.parameters()} for part in parts], lr=RATE)
    evidence = gpytorch.mlls.ExactMarginalLogLikelihood(model.likelihood, model)
    for _ in range(STEPS):
        optimiser.zero_grad()
        loss = -evidence(model(rows), targets)
        loss.backward()
        optimiser.step()
    model.eval()
    model.likelihood.eval()
    with torch.no_grad(), gpytorch.settings.use_toeplitz(False), gpytorch.settings.fast_pred_var():
        found = model.likelihood(model(torch.tensor(new).float()))
        return found.mean.double().numpy(), found.variance.double().numpy()


def ours(model: GPRegressor, x: np.ndarray, y: np.ndarray, new: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    mean, sd = model.fit(x, y).predict(new, return_std=True)
    return mean, sd**2


def scores(y: np.ndarray, mean: np.ndarray, variance: np.ndarray) -> tuple[float, float]:
    """Return the mean negative log density and the root mean squared error; infinite where there is none."""
    safe = np.where(variance > 0.0, variance, np.nan)
    nll = 0.5 * np.mean(np.log(2 * np.pi * safe) + (y - mean) ** 2 / safe)
    return float(np.nan_to_num(nll, nan=np.inf)), float(np.sqrt(np.mean((y - mean) ** 2)))


Contestants = dict[str, Callable[[np.ndarray, np.ndarray, np.ndarray, int], tuple[np.ndarray, np.ndarray]]]
CONTESTANTS: Contestants = {
    "ARD Matern-5/2": lambda x, y, new, seed: ours(GPRegressor("matern52", random_state=seed), x, y, new),
    "deep": lambda x, y, new, seed: ours(DeepKernelRegressor(random_state=seed), x, y, new),
    "GPyTorch": gpytorch_recipe,
}
OBJECTIVES: Contestants = {
    objective: lambda x, y, new, seed, objective=objective: ours(  # type: ignore[misc]
        DeepKernelRegressor(objective=objective, random_state=seed), x, y, new
    )
    for objective in ("lml", "clml")
}
OBJECTIVES["no network"] = CONTESTANTS["ARD Matern-5/2"]


def compare(names: list[str], rows: list[int], seeds: list[int], contestants: Contestants) -> None:
    """Print a row for each set, number of rows and contestant: means over seeds, and the single runs."""
    header("set", "n", "contestant", "NLL", "RMSE", "seconds", "NLL of each seed")
    for name in names:
        for n in rows or [LARGE[name]]:
            found: dict[str, list[tuple[float, float, float]]] = {key: [] for key in contestants}
            for seed in seeds:
                x, y, new, new_y = table(name, seed, n, seed)
                for key, contestant in contestants.items():
                    found[key].append(one(contestant, x, y, new, new_y, seed))
                    run = " ".join(f"{value:.4g}" for value in found[key][-1])
                    print(f"<!-- {name} {len(x)} seed {seed} {key}: {run} -->", flush=True)
            for key, runs in found.items():
                nll, rmse, seconds = np.mean(runs, 0)
                singles = " ".join(f"{run[0]:.3f}" for run in runs)
                row(name, len(x), key, f"{nll:.4f}", f"{rmse:.4f}", seconds, singles)


def one(contestant, x, y, new, new_y, seed) -> tuple[float, float, float]:  # type: ignore[no-untyped-def]
    began = time.perf_counter()
    try:
        found = scores(new_y, *contestant(x, y, new, seed))
    except Exception as error:  # a peer that fails is a result
        print(f"<!-- {type(error).__name__}: {str(error)[:200]} -->", flush=True)
        found = np.inf, np.inf
    return *found, time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("section", choices=("large", "whole", "small"))
    parser.add_argument("--sets", nargs="+")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--only", nargs="+", help="contestants")
    parser.add_argument("--rows", type=int, nargs="+", default=list(ROWS))
    chosen = parser.parse_args()
    packages = ("nonparam", "gpytorch", "torch", "numpy")
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    threads = f"{torch.get_num_threads()} threads, seeds {chosen.seeds}"
    print(f"Python {platform.python_version()}, {versions}; {threads}\n", flush=True)
    among = OBJECTIVES if chosen.section == "small" else CONTESTANTS
    contestants = {key: among[key] for key in chosen.only or among}
    sets, rows = {
        "large": (list(LARGE), []),
        "whole": (["kin40k"], [10**9]),
        "small": (list(SMALL), chosen.rows),
    }[chosen.section]
    compare(chosen.sets or sets, rows, chosen.seeds, contestants)


if __name__ == "__main__":
    main()
