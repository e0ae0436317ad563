"""How many new observations 90 % intervals hold, on data that Gaussian processes made."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from clml_models import draw
from networks_scores import LEVEL, regression_scores, run, spread
from sklearn.base import BaseEstimator, RegressorMixin
from tables import header, row, versions

from nonparam import FiniteNetworkRegressor, InfiniteNetworkRegressor
from nonparam.kernels import RBF, Kernel, Matern

TRAIN_ROWS, TEST_ROWS, SEEDS = 200, 500, 20
ASKED = (0.87, 0.93)
LENGTHSCALE = 0.3  # of inputs from 0 to 1, times the root of their number


@dataclass(frozen=True)
class Setting:
    """A process of variance 1, the number of its inputs, and the standard deviation of the noise."""

    kernel: type[Kernel]
    columns: int
    noise: float

    def rows(self, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Return inputs ``(n, d)`` and noisy outputs ``(n,)``, those to train on first."""
        rng = np.random.default_rng(seed)
        x = rng.random((TRAIN_ROWS + TEST_ROWS, self.columns))
        kernel = self.kernel(LENGTHSCALE * self.columns**0.5, ard=False)
        with torch.no_grad():
            signal = draw(kernel.matrix(torch.from_numpy(x)).numpy(), rng)
        return x, signal + self.noise * rng.standard_normal(len(x))


SETTINGS = {
    f"{name}, d={columns}, noise {noise}": Setting(kernel, columns, noise)
    for name, kernel in (("Matern-5/2", Matern), ("RBF", RBF))
    for columns in (1, 2, 3)
    for noise in (0.1, 0.3)
}


class Stopped(RegressorMixin, BaseEstimator):
    """Networks trained until all that is as large as the noise has been learnt, as the evidence finds it."""

    def __init__(self, arch: str = "relu-3", random_state: int | None = None) -> None:
        self.arch = arch
        self.random_state = random_state

    def fit(self, X: np.ndarray, y: np.ndarray) -> "Stopped":
        networks = InfiniteNetworkRegressor(self.arch, kernel="ntk", random_state=self.random_state)
        time = len(X) * float(np.var(y) / networks.fit(X, y).noise_)
        self.networks_ = networks.set_params(train_time=time).fit(X, y)
        return self

    def predict(self, X: np.ndarray, return_std: bool = False) -> np.ndarray | tuple[np.ndarray, np.ndarray]:
        return self.networks_.predict(X, return_std=return_std)


CONTESTANTS: dict[str, Callable[[int], RegressorMixin]] = {
    "NNGP relu-3": lambda seed: InfiniteNetworkRegressor("relu-3", random_state=seed),
    "NTK relu-3": lambda seed: InfiniteNetworkRegressor("relu-3", kernel="ntk", random_state=seed),
    "NTK relu-3, trained for a time": lambda seed: Stopped(random_state=seed),
    "finite, ensemble of 5": lambda seed: FiniteNetworkRegressor((64, 64), ensemble=5, random_state=seed),
}


def coverage(sets: list[str] | None, only: list[str] | None, seeds: int | None) -> None:
    """Print a row for each setting and contestant, and one for each contestant over all settings."""
    seeds, names = seeds or SEEDS, only or list(CONTESTANTS)
    print(
        f"{versions('nonparam', 'torch', 'numpy', 'scikit-learn')}; seeds 0 to {seeds - 1} draw functions and"
    )
    print(f"rows, {TRAIN_ROWS} to train on and {TEST_ROWS} new ones; mean ± its standard error over seeds.\n")
    header("data", "estimator", "90 % cover", "RMSE", "NLL", "seconds")
    tables = {name: compare(name, names, seeds) for name in sets or SETTINGS}
    for contestant in names:
        shares = np.mean([table[contestant] for table in tables.values()], 0)
        within = ASKED[0] <= shares.mean() <= ASKED[1]
        row("all", contestant, spread(shares), "", "", "")
        print(
            f"<!-- {LEVEL:.0%} intervals of {contestant}: {'within' if within else 'NOT within'} {ASKED} -->"
        )


def compare(name: str, contestants: list[str], seeds: int) -> dict[str, np.ndarray]:
    """Print the rows of a setting, and return the share of new rows in the intervals, for each seed."""
    data = [SETTINGS[name].rows(seed) for seed in range(seeds)]
    found = {}
    for contestant in contestants:
        runs = [one(contestant, seed, *rows) for seed, rows in enumerate(data)]
        rmse, nll, cover, seconds = np.transpose(runs)
        row(name, contestant, spread(cover), spread(rmse), spread(nll), seconds.mean())
        found[contestant] = cover
    return found


def one(contestant: str, seed: int, x: np.ndarray, y: np.ndarray) -> tuple[float, ...]:
    old, new = slice(TRAIN_ROWS), slice(TRAIN_ROWS, None)

    def test(model: RegressorMixin) -> tuple[float, ...]:
        return regression_scores(y[new], *model.fit(x[old], y[old]).predict(x[new], return_std=True))

    return run(contestant, CONTESTANTS[contestant], seed, test)
