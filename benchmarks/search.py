"""Search over kernels: forecasts of 13 series beside published ones, known structures, and the airline.

Sections of ``python benchmarks/search.py SECTION``:

* ``extrapolation``: the 13 series of Lloyd et al. (2014), first 90 % for training; root mean squared error on
  the last 10 % divided by that of the best of their nine methods (or by ours, where that is smaller, so that
  the best has 1). Their table has ratios only; the unit of each row is recovered from its entry for linear
  regression, which is run here on the same split. Their medians are printed beside ours.
* ``recovery``: series drawn from known structures at a signal-to-noise ratio of 10 (of variances): how often
  does the search find the structure, up to equivalence?
* ``airline``: the search on the airline passengers, its description and its seconds.

The 13 series are read from the folder that ``NONPARAM_DATA`` names, or from ``../shared/data``.
"""

import argparse
import os
import platform
import time
import warnings
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from tables import header, row

from nonparam import GPRegressor, KernelSearch, SpectralMixtureRegressor, datasets
from nonparam.kernels import covariance, parse
from nonparam.model_selection.expressions import Base, Change, Expression, Product, Sum, simplified

# Lloyd et al. (2014), table 2 of the appendix: extrapolation RMSE divided by the smallest of the row.
METHODS = (
    "ABCD-accuracy",
    "ABCD-interpretability",
    "spectral kernels",
    "trend-cyclical-irregular",
    "MKL",
    "Eureqa",
)
METHODS = (*METHODS, "changepoints", "squared exponential", "linear regression")
PUBLISHED = {
    "airline": (1.14, 2.10, 1.00, 1.44, 4.73, 3.24, 4.80, 32.21, 4.94),
    "solar": (1.00, 1.26, 1.21, 1.03, 1.00, 2.64, 1.03, 1.61, 1.07),
    "mauna": (1.40, 1.00, 1.32, 1.29, 1.74, 2.54, 1.74, 1.85, 3.19),
    "wheat": (1.07, 1.18, 3.00, 3.00, 3.00, 1.31, 1.00, 3.03, 1.02),
    "temperature": (1.00, 1.00, 1.03, 1.00, 1.35, 1.28, 1.35, 2.72, 1.51),
    "internet": (1.00, 2.03, 3.38, 2.14, 4.09, 6.26, 4.17, 4.13, 4.93),
    "call_centre": (2.98, 1.00, 11.04, 1.80, 1.80, 493.30, 3.54, 22.63, 28.76),
    "radio": (3.10, 1.88, 1.00, 2.31, 3.13, 1.41, 3.13, 8.46, 4.31),
    "gas_production": (1.00, 2.05, 1.61, 1.52, 2.90, 2.73, 3.14, 2.85, 2.64),
    "sulphuric": (1.00, 1.45, 1.43, 1.80, 1.61, 1.97, 2.25, 1.08, 3.52),
    "unemployment": (2.16, 2.03, 3.57, 2.23, 1.71, 2.23, 1.66, 1.89, 1.00),
    "births_quebec": (1.06, 1.00, 1.54, 1.56, 1.85, 1.93, 1.84, 1.66, 1.96),
    "wages": (3.03, 4.00, 3.63, 3.12, 3.16, 1.00, 5.83, 5.35, 4.25),
}
SNR = 10.0  # of variances
ROWS = (100, 150, 200)
LINE, ONE, SMOOTH, WAVE = (Base(name) for name in ("linear", "constant", "rbf", "periodic"))
STRUCTURES: tuple[Expression, ...] = (
    LINE,
    SMOOTH,
    WAVE,
    Sum((LINE, SMOOTH)),
    Sum((LINE, WAVE)),
    Sum((WAVE, SMOOTH)),
    Product((WAVE, SMOOTH)),
    Product((LINE, WAVE)),
    Sum((LINE, Product((WAVE, SMOOTH)))),
    Change(ONE, ONE),
)
warnings.simplefilter("ignore")


# extrapolation --------------------------------------------------------------------------------


def folder() -> Path:
    default = Path(__file__).resolve().parents[1] / ".." / "shared" / "data"
    return Path(os.environ.get("NONPARAM_DATA", default))


def load() -> dict[str, list[np.ndarray]]:
    """Return times and values of training and test for each series."""
    table = pd.read_csv(folder() / "series" / "dev" / "abcd13_9010.csv.gz", dtype=str)
    names = ("x_train", "y_train", "x_test", "y_test")
    return {
        record["series_id"]: [np.array(record[name].split(";"), dtype=float) for name in names]
        for record in table.to_dict("records")
    }


def error_of(model: object, series: list[np.ndarray]) -> float:
    x, y, new, truth = series
    predicted = model.fit(x[:, None], y).predict(new[:, None])
    return float(np.sqrt(np.mean((predicted - truth) ** 2)))


def line_error(series: list[np.ndarray]) -> float:
    x, y, new, truth = series
    centre = x.mean()
    return float(np.sqrt(np.mean((np.polyval(np.polyfit(x - centre, y, 1), new - centre) - truth) ** 2)))


def extrapolation(
    names: list[str], criteria: list[str], n_jobs: int, budget: float | None, max_rows: int, others: bool
) -> None:
    columns = ("series", "n", "contestant", "RMSE", "standardised RMSE", "seconds", "structure")
    header(*columns)
    ratios: dict[str, list[float]] = {}
    for name, series in load().items():
        if names and name not in names:
            continue
        best = line_error(series) / PUBLISHED[name][-1]
        contestants: dict[str, object] = {
            f"KernelSearch({criterion!r})": KernelSearch(
                criterion=criterion,
                n_jobs=n_jobs,
                budget_seconds=budget,
                max_rows=max_rows,
                random_state=0,
            )
            for criterion in criteria
        }
        if others:
            contestants["squared exponential"] = GPRegressor("rbf")
            contestants["SpectralMixtureRegressor"] = SpectralMixtureRegressor(random_state=0)
        for key, model in contestants.items():
            began = time.perf_counter()
            error = error_of(model, series)
            spent, ratio = time.perf_counter() - began, max(1.0, error / best)
            ratios.setdefault(key, []).append(ratio)
            row(name, len(series[0]), key, error, ratio, spent, getattr(model, "best_expression_", ""))
    chosen = [PUBLISHED[name] for name in PUBLISHED if not names or name in names]
    print()
    header("contestant", "median standardised RMSE", "quartiles")
    for key, values in [
        *ratios.items(),
        *((f"{m} (published)", v) for m, *v in zip(METHODS, *chosen, strict=True)),
    ]:
        low, middle, high = np.quantile(values, [0.25, 0.5, 0.75])
        row(key, float(middle), f"{low:.2f}-{high:.2f}")


# recovery -------------------------------------------------------------------------------------


def draw(structure: Expression, n: int, rng: np.random.Generator) -> np.ndarray:
    """Return a series of ``n`` rows: each term of the structure with variance 1, and noise."""
    terms = structure.parts if isinstance(structure, Sum) else (structure,)
    signal = sum(standardised(draw_term(term, n, rng)) for term in terms)
    return signal + rng.standard_normal(n) * signal.std() / np.sqrt(SNR)


def draw_term(term: Expression, n: int, rng: np.random.Generator) -> np.ndarray:
    t = np.arange(n) - (n - 1) / 2.0
    if isinstance(term, Change):
        return np.where(t < n * rng.uniform(-0.3, 0.3), 0.0, 1.0)
    factors = term.parts if isinstance(term, Product) else (term,)
    slow = rng.uniform(0.3, 0.6) if len(factors) > 1 else rng.uniform(0.015, 0.04)  # of the rows
    formulas = {
        "linear": "linear(variance=1, center=0)",
        "rbf": f"rbf({slow * n})",
        "periodic": f"periodic({n / rng.uniform(5.0, 15.0)}, {rng.uniform(0.5, 1.5)}, zero_mean=True)",
    }
    kernel = parse(" * ".join(formulas[factor.name] for factor in factors))
    with torch.no_grad():
        k = covariance(kernel, torch.from_numpy(t)[:, None]).numpy()
    values, vectors = np.linalg.eigh(k)
    return vectors @ (np.sqrt(np.maximum(values, 0.0)) * rng.standard_normal(n))


def standardised(y: np.ndarray) -> np.ndarray:
    return (y - y.mean()) / y.std()


def recovery(draws: int, seeds: list[int], criteria: list[str], n_jobs: int, structures: list[str]) -> None:
    header("seed", "criterion", "structure", "draws", "recovered", "seconds", "found instead")
    for seed in seeds:
        for criterion in criteria:
            total = 0
            for i, structure in enumerate(STRUCTURES):
                if structures and repr(structure) not in structures:
                    continue
                began, missed, hits = time.perf_counter(), [], 0
                true = repr(simplified(structure, ("constant",)))
                for k in range(draws):
                    rng = np.random.default_rng([seed, i, k])
                    y = draw(structure, int(rng.choice(ROWS)), rng)
                    search = KernelSearch(criterion=criterion, n_jobs=n_jobs, random_state=0)
                    found = search.fit(np.arange(float(len(y)))[:, None], y).best_expression_
                    hits += found == true
                    missed += [found] if found != true else []
                total += hits
                row(seed, criterion, true, draws, hits, time.perf_counter() - began, "; ".join(missed))
            row(seed, criterion, "all", draws * len(structures or STRUCTURES), total, "", "")


# airline --------------------------------------------------------------------------------------


def airline(criteria: list[str], n_jobs: int) -> None:
    y = datasets.load_airline().to_numpy(dtype=float)
    months = np.arange(float(len(y)))[:, None]
    for criterion in criteria:
        began, used = time.perf_counter(), time.process_time()
        search = KernelSearch(criterion=criterion, n_jobs=n_jobs, random_state=0).fit(months, y)
        seconds, used = time.perf_counter() - began, time.process_time() - used
        print(
            f"{criterion}: {seconds:.1f} s with {n_jobs} jobs; this process used {used:.1f} s of a processor"
        )
        print(f"{len(search.results_)} expressions")
        print(f"{search.best_kernel_}\n{search.describe('months', 'thousands')}\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("section", choices=["extrapolation", "recovery", "airline"])
    parser.add_argument("--series", nargs="*", default=[])
    parser.add_argument("--criteria", nargs="*", default=["bic"])
    parser.add_argument("--seeds", type=int, nargs="*", default=[0])
    parser.add_argument("--draws", type=int, default=10, help="of each structure")
    parser.add_argument("--structures", nargs="*", default=[], help="as they are printed")
    parser.add_argument("--n-jobs", type=int, default=2)
    parser.add_argument("--budget", type=float, default=None, help="seconds for each series")
    parser.add_argument("--max-rows", type=int, default=1000, help="on which candidates are compared")
    parser.add_argument("--others", action="store_true", help="run other models on the series too")
    options = parser.parse_args()
    packages = ", ".join(f"{p} {version(p)}" for p in ("nonparam", "torch", "numpy", "scipy", "joblib"))
    print(f"Python {platform.python_version()}, {packages}; {options.n_jobs} jobs\n")
    if options.section == "extrapolation":
        extrapolation(
            options.series,
            options.criteria,
            options.n_jobs,
            options.budget,
            options.max_rows,
            options.others,
        )
    elif options.section == "recovery":
        recovery(options.draws, options.seeds, options.criteria, options.n_jobs, options.structures)
    else:
        airline(options.criteria, options.n_jobs)


if __name__ == "__main__":
    main()
