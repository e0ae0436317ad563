"""Regression on tables: learnt and fixed variances, finite networks and a Matern kernel, on the same rows."""

from collections.abc import Callable

import numpy as np
from networks_scores import regression_scores, run, spread
from sklearn.base import RegressorMixin
from tables import header, row, versions
from uci_rows import table

from nonparam import FiniteNetworkRegressor, GPRegressor, InfiniteNetworkRegressor
from nonparam.networks import MLP

SETS = ("yacht", "housing", "energy", "concrete", "wine", "elevators", "kin40k", "protein")
ROWS, SEEDS = 1000, 3
ASKED = 6
DEPTH, BIAS = 3, 0.05
INFINITE = {"NNGP relu-3": ("relu", "nngp"), "NNGP erf-3": ("erf", "nngp"), "NTK relu-3": ("relu", "ntk")}


def learnt(activation: str, kind: str) -> Callable[[int], RegressorMixin]:
    return lambda seed: InfiniteNetworkRegressor(f"{activation}-{DEPTH}", kernel=kind, random_state=seed)


def fixed(activation: str, kind: str) -> Callable[[int], RegressorMixin]:
    """Learn an amplitude and the noise only: weights are critical, which is He's 2 for rectifiers."""
    names = ("weight_variance", "bias_variance")
    arch = MLP(DEPTH, activation)
    kernel = arch.kernel(kind, weight_variance="critical", bias_variance=BIAS, fixed=names)
    return lambda seed: GPRegressor(kernel, random_state=seed)


def finite(**arguments: object) -> Callable[[int], RegressorMixin]:
    return lambda seed: FiniteNetworkRegressor(random_state=seed, **arguments)


CONTESTANTS: dict[str, Callable[[int], RegressorMixin]] = {
    **{name: learnt(*of) for name, of in INFINITE.items()},
    **{f"{name}, fixed": fixed(*of) for name, of in INFINITE.items()},
    "Matern-5/2 ARD": lambda seed: GPRegressor("matern52", random_state=seed),
    "finite, single": finite(),
    "finite, ensemble of 5": finite(ensemble=5),
    "finite, SWA": finite(average="swa"),
    "finite, SWAG": finite(average="swag"),
}


def uci(sets: list[str] | None, only: list[str] | None, seeds: int | None) -> None:
    """Print a row for each set and contestant, and on how many sets learnt variances beat fixed ones."""
    seeds = seeds or SEEDS
    print(f"{versions('nonparam', 'torch', 'numpy', 'scikit-learn')}; seeds 0 to {seeds - 1}, one fold each.")
    print(f"Fixed biases have variance {BIAS}. NLL in nats per row of the standardised output; mean ± its")
    print("standard error over seeds.\n")
    header("set", "rows", "estimator", "RMSE", "NLL", "90 % cover", "seconds")
    losses = {name: compare(name, only or list(CONTESTANTS), seeds) for name in sets or SETS}
    print()
    for name in INFINITE:
        if all({name, f"{name}, fixed"} <= found.keys() for found in losses.values()):
            won = [data for data, found in losses.items() if found[name] < found[f"{name}, fixed"]]
            print(
                f"{name}: learnt variances have the lower mean NLL on {len(won)} of {len(losses)} sets "
                f"({', '.join(won) or 'none'}); asked are {ASKED} of {len(SETS)}."
            )


def compare(name: str, contestants: list[str], seeds: int) -> dict[str, float]:
    """Print the rows of a set, and return the mean NLL of each contestant."""
    tables = [table(name, seed, ROWS, seed) for seed in range(seeds)]
    found = {}
    for contestant in contestants:
        runs = [one(contestant, seed, *rows) for seed, rows in enumerate(tables)]
        rmse, nll, cover, seconds = np.transpose(runs)
        row(name, len(tables[0][0]), contestant, spread(rmse), spread(nll), spread(cover), seconds.mean())
        found[contestant] = float(nll.mean())
    return found


def one(contestant: str, seed: int, *rows: np.ndarray) -> tuple[float, ...]:
    x, y, new, new_y = rows

    def test(model: RegressorMixin) -> tuple[float, ...]:
        return regression_scores(new_y, *model.fit(x, y).predict(new, return_std=True))

    return run(contestant, CONTESTANTS[contestant], seed, test)
