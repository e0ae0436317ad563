"""Spectral mixtures: nonparam beside GPyTorch's kernel with both of its own initialisations.

Sections of ``python benchmarks/spectral.py SECTION``:

* ``frequencies``: sums of 1 to 4 incommensurate sinusoids in noise of 0.1 to 0.5 of their standard
  deviation, at regular and at irregular times; how often is every true frequency within 1 % of a component's?
* ``series``: airline, CO2, sunspots and lynx; the log marginal likelihood of one call of ours, by maximum
  likelihood as GPyTorch's, beside the best of ten runs of GPyTorch (five from each initialisation), and the
  seconds of each. What our priors cost is shown too.
* ``co2``: trained on the first 200 months, the next 301 predicted; mean squared error and coverage.

GPyTorch trains as its example does: Adam at 0.1 for 100 steps, a constant mean; here in float64. Both have as
many components. Seconds are those of the processor, which other work on the machine does not lengthen; give
both one thread (``OMP_NUM_THREADS=1``). Airline and CO2 come with the package; lynx and sunspots are read
from the folder that ``NONPARAM_DATA`` names.
"""

import argparse
import os
import platform
import time
import warnings
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import gpytorch
import numpy as np
import pandas as pd
import torch
from tables import header, row

from nonparam import SpectralMixtureRegressor, datasets

STEPS, RATE = 100, 0.1  # of Adam, as in GPyTorch's example
RESTARTS = 10
COMPONENTS = 10  # of the real series
ROWS = (100, 150, 200)
HIGHEST = 0.45  # cycles for each row: below Nyquist's 0.5
WITHIN = 0.01
warnings.simplefilter("ignore")


class Model(gpytorch.models.ExactGP):
    def __init__(self, x: torch.Tensor, y: torch.Tensor, count: int) -> None:
        super().__init__(x, y, gpytorch.likelihoods.GaussianLikelihood())
        self.mean_module = gpytorch.means.ConstantMean()
        self.covar_module = gpytorch.kernels.SpectralMixtureKernel(num_mixtures=count)

    def forward(self, x: torch.Tensor) -> gpytorch.distributions.MultivariateNormal:
        return gpytorch.distributions.MultivariateNormal(self.mean_module(x), self.covar_module(x))


def fit_gpytorch(
    x: np.ndarray, y: np.ndarray, count: int, *, empirical: bool, seed: int
) -> tuple[Model, float]:
    """Return the trained model and its log marginal likelihood; minus infinity where training failed."""
    torch.manual_seed(seed)
    np.random.seed(seed)  # GPyTorch's initialisation draws from it
    rows, targets = torch.tensor(x).flatten(), torch.tensor(y)
    model = Model(rows, targets, count).double()
    if empirical:
        model.covar_module.initialize_from_data_empspect(rows, targets)
    else:
        model.covar_module.initialize_from_data(rows, targets)
    evidence = gpytorch.mlls.ExactMarginalLogLikelihood(model.likelihood, model)
    optimiser = torch.optim.Adam(model.parameters(), lr=RATE)
    value = -np.inf
    try:
        for _ in range(STEPS + 1):
            optimiser.zero_grad()
            loss = -evidence(model(rows), targets)
            loss.backward()
            value = -float(loss.detach()) * len(y)
            optimiser.step()
    except Exception as error:
        print(f"<!-- GPyTorch: {type(error).__name__} -->")
    return model, value


def of_gpytorch(model: Model) -> np.ndarray:
    return model.covar_module.mixture_means.detach().numpy().ravel()


# frequencies ----------------------------------------------------------------------------------


def draw(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return times ``(n, 1)``, the series and its true frequencies, which the span can tell apart."""
    n, count = int(rng.choice(ROWS)), int(rng.integers(1, 5))
    irregular = bool(rng.integers(2))
    t = np.sort(rng.uniform(0.0, n, n)) if irregular else np.arange(float(n))
    while True:
        frequencies = np.sort(rng.uniform(4.0 / n, HIGHEST, count))
        if count == 1 or np.diff(frequencies).min() > 3.0 / n:
            break
    waves = rng.uniform(0.5, 1.5, count) * np.sin(
        2.0 * np.pi * np.outer(t, frequencies) + rng.uniform(0.0, 2.0 * np.pi, count)
    )
    y = waves.sum(1)
    return t[:, None], y + rng.uniform(0.1, 0.5) * y.std() * rng.standard_normal(n), frequencies


def recovered(found: np.ndarray, true: np.ndarray) -> bool:
    return all(np.abs(found / f - 1.0).min() < WITHIN for f in true)


def frequencies(draws: int, peer_draws: int, seeds: list[int]) -> None:
    header("seed", "contestant", "draws", "all within 1 %", "seconds for each draw, median")
    for seed in seeds:
        ways: dict[str, Callable[[np.ndarray, np.ndarray, int], np.ndarray]] = {
            "nonparam": lambda x, y, q: np.asarray(
                SpectralMixtureRegressor(q, random_state=0).fit(x, y).components()["frequency"]
            ),
            "GPyTorch, initialize_from_data": lambda x, y, q: of_gpytorch(
                fit_gpytorch(x, y, q, empirical=False, seed=0)[0]
            ),
            "GPyTorch, initialize_from_data_empspect": lambda x, y, q: of_gpytorch(
                fit_gpytorch(x, y, q, empirical=True, seed=0)[0]
            ),
        }
        hits, seconds = dict.fromkeys(ways, 0), {key: list[float]() for key in ways}
        rng = np.random.default_rng(seed)
        for i in range(draws):
            x, y, true = draw(rng)
            for key, way in ways.items():
                if i >= peer_draws and key != "nonparam":
                    continue
                began = time.process_time()
                found = way(x, y, len(true))
                seconds[key].append(time.process_time() - began)
                hits[key] += recovered(found, true)
        for key, count in hits.items():
            row(seed, key, len(seconds[key]), count, float(np.median(seconds[key])))


# series ---------------------------------------------------------------------------------------


def load(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return times in years ``(n, 1)``, and the series, standardised."""
    if name == "airline":
        values = np.log(datasets.load_airline().to_numpy(dtype=float))
        t = np.arange(len(values)) / 12.0
    elif name == "co2":
        t, values = months_of_co2()
    else:
        folder = Path(os.environ["NONPARAM_DATA"]) / "series" / "singles"
        file = {"sunspots": "sunspots_yearly.csv", "lynx": "lynx.csv"}[name]
        values = pd.read_csv(folder / file)["value"].to_numpy(dtype=float)
        values = np.log10(values) if name == "lynx" else values
        t = np.arange(float(len(values)))
    return t[:, None], (values - values.mean()) / values.std()


def months_of_co2() -> tuple[np.ndarray, np.ndarray]:
    series = datasets.load_co2().resample("MS").mean().dropna()
    t = np.asarray((series.index - series.index[0]).days) / 365.25
    return t, series.to_numpy(dtype=float)


def series(names: list[str], seeds: list[int]) -> None:
    header("series", "n", "seed", "contestant", "log marginal likelihood", "seconds", "times ours")
    for name in names:
        x, y = load(name)
        for seed in seeds:
            for priors in ("default", None):
                began = time.process_time()
                model = SpectralMixtureRegressor(COMPONENTS, priors=priors, random_state=seed).fit(x, y)
                ours = time.process_time() - began
                key = "nonparam, one call" + (", with its priors" if priors else "")
                row(name, len(y), seed, key, model.log_marginal_likelihood_, ours, "")
            began, values = time.process_time(), {True: list[float](), False: list[float]()}
            for run in range(RESTARTS):
                way = run % 2 == 0
                values[way].append(
                    fit_gpytorch(x, y, COMPONENTS, empirical=way, seed=RESTARTS * seed + run)[1]
                )
            spent = time.process_time() - began
            best = max(max(some) for some in values.values())
            row(name, len(y), seed, f"GPyTorch, best of {RESTARTS}", best, spent, spent / ours)
            print(f"<!-- empspect {values[True]}, data {values[False]} -->")


def co2(seeds: list[int]) -> None:
    t, values = months_of_co2()
    header("seed", "contestant", "mean squared error, ppm^2", "coverage of 95 %", "width, ppm", "seconds")
    x, y = t[:200, None], values[:200]
    new, truth = t[200:501, None], values[200:501]
    for seed in seeds:
        for form in ("constant", "linear"):
            began = time.process_time()
            model = SpectralMixtureRegressor(mean=form, random_state=seed).fit(x, y)
            mean, sd = model.predict(new, return_std=True)
            sd = np.sqrt(sd**2 + model.noise_)
            key = f"nonparam, {form} mean, {model.num_components_} components"
            report(seed, key, truth, mean, sd, began)
        scale, centre = y.std(), y.mean()
        for empirical in (True, False):
            began = time.process_time()
            peer, _ = fit_gpytorch(x, (y - centre) / scale, COMPONENTS, empirical=empirical, seed=seed)
            peer.eval()
            with torch.no_grad():
                found = peer.likelihood.eval()(peer(torch.tensor(new).flatten()))
            mean, sd = found.mean.numpy() * scale + centre, found.stddev.numpy() * scale
            name = "GPyTorch, initialize_from_data" + ("_empspect" if empirical else "")
            report(seed, name, truth, mean, sd, began)


def report(seed: int, name: str, truth: np.ndarray, mean: np.ndarray, sd: np.ndarray, began: float) -> None:
    inside = float(np.mean(np.abs(truth - mean) < 1.96 * sd))
    error = float(np.mean((truth - mean) ** 2))
    row(seed, name, error, inside, float(np.mean(2 * 1.96 * sd)), time.process_time() - began)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("section", choices=["frequencies", "series", "co2"])
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--draws", type=int, default=100)
    parser.add_argument("--peer-draws", type=int, default=100, help="of these, how many GPyTorch sees")
    parser.add_argument("--series", nargs="*", default=["airline", "co2", "sunspots", "lynx"])
    options = parser.parse_args()
    packages = ", ".join(f"{p} {version(p)}" for p in ("nonparam", "gpytorch", "torch", "numpy"))
    print(f"Python {platform.python_version()}, {packages}; {torch.get_num_threads()} threads\n")
    if options.section == "frequencies":
        frequencies(options.draws, options.peer_draws, options.seeds)
    elif options.section == "series":
        series(options.series, options.seeds)
    else:
        co2(options.seeds)


if __name__ == "__main__":
    main()
