"""Classification of digits: infinitely wide networks, and finite ones alone, averaged and as ensembles."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
from networks_scores import class_scores, run, spread
from sklearn.base import ClassifierMixin
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from tables import header, row, versions

from nonparam import FiniteNetworkClassifier, InfiniteNetworkClassifier
from nonparam.networks import Conv2d, Dense, Flatten, Relu, Sequential, Unflatten

Rows = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]

SEEDS = {"digits": 5, "mnist-1000": 3, "mnist-5000": 3}
TEST_ROWS = 2000
BRIGHTEST = {"digits": 16.0, "mnist": 255.0}
SINGLE = "finite, single"
ASKED = ("finite, ensemble of 5", "finite, SWA")  # below the single network's NLL


def convolutional(seed: int) -> ClassifierMixin:
    layers = (Unflatten(1, 8, 8), Conv2d(3, stride=2), Relu(), Conv2d(3), Relu(), Flatten(), Dense())
    arch = Sequential(*layers)
    return InfiniteNetworkClassifier(arch, random_state=seed)


CONTESTANTS: dict[str, Callable[[int], ClassifierMixin]] = {
    "NNGP relu-3": lambda seed: InfiniteNetworkClassifier("relu-3", random_state=seed),
    "NTK relu-3": lambda seed: InfiniteNetworkClassifier("relu-3", kernel="ntk", random_state=seed),
    "NNGP convolutional": convolutional,
    SINGLE: lambda seed: FiniteNetworkClassifier(random_state=seed),
    "finite, SWA": lambda seed: FiniteNetworkClassifier(average="swa", random_state=seed),
    "finite, ensemble of 5": lambda seed: FiniteNetworkClassifier(ensemble=5, random_state=seed),
    "finite, MultiSWAG": lambda seed: FiniteNetworkClassifier(average="multiswag", random_state=seed),
}
ONLY_SMALL = ("NNGP convolutional",)  # of images of 8 x 8


def images(sets: list[str] | None, only: list[str] | None, seeds: int | None) -> None:
    """Print a row for each set and contestant, and the differences that were asked for."""
    print(f"{versions('nonparam', 'torch', 'numpy', 'scikit-learn')}; mean ± its standard error over seeds,")
    print("which draw the rows and the networks. NLL in nats per row; calibration error of 15 bins.\n")
    header("set", "rows", "estimator", "seeds", "accuracy", "NLL", "calibration error", "seconds")
    losses = {}
    for name in sets or SEEDS:
        if name != "digits" and not mnist_file().exists():
            print(f"<!-- {name} is left out: there is no {mnist_file()} -->")
            continue
        names = [one for one in only or CONTESTANTS if name == "digits" or one not in ONLY_SMALL]
        losses[name] = compare(name, names, seeds or SEEDS[name])
    print()
    for name, found in losses.items():
        for contestant in ASKED:
            if {contestant, SINGLE} <= found.keys():
                less = found[contestant] - found[SINGLE]
                print(
                    f"{name}: NLL of {contestant} less that of {SINGLE}: {spread(less, 4)}, below 0 in "
                    f"{np.sum(less < 0.0)} of {len(less)} seeds; asked is below 0.\n"
                )


def compare(name: str, contestants: list[str], seeds: int) -> dict[str, np.ndarray]:
    """Print the rows of a set, and return each contestant's NLL for each seed."""
    rows = [split(name, seed) for seed in range(seeds)]
    found = {}
    for contestant in contestants:
        runs = [one(contestant, seed, *each) for seed, each in enumerate(rows)]
        right, nll, error, seconds = np.transpose(runs)
        shown = (spread(right, 4), spread(nll, 4), spread(error, 4), seconds.mean())
        row(name, len(rows[0][0]), contestant, seeds, *shown)
        found[contestant] = nll
    return found


def one(contestant: str, seed: int, *rows: np.ndarray) -> tuple[float, ...]:
    x, y, new, new_y = rows

    def test(model: ClassifierMixin) -> tuple[float, ...]:
        return class_scores(new_y, model.fit(x, y).predict_proba(new))

    return run(contestant, CONTESTANTS[contestant], seed, test)


def split(name: str, seed: int) -> Rows:
    """Return pixels from 0 to 1 and digits: half of scikit-learn's, or some of MNIST's."""
    if name == "digits":
        pixels, digit = load_digits(return_X_y=True)
        x, new, y, new_y = train_test_split(
            pixels / BRIGHTEST["digits"], digit, test_size=0.5, stratify=digit, random_state=seed
        )
        return x, y, new, new_y
    rng, n = np.random.default_rng(seed), int(name.removeprefix("mnist-"))
    with np.load(mnist_file()) as stored:
        return (
            *chosen(stored["X_train"], stored["y_train"], n, rng),
            *chosen(stored["X_test"], stored["y_test"], TEST_ROWS, rng),
        )


def chosen(x: np.ndarray, y: np.ndarray, n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    some = rng.choice(len(x), n, replace=False)
    return x[some].reshape(n, -1) / BRIGHTEST["mnist"], y[some].astype(int)


def mnist_file() -> Path:
    return Path(os.environ.get("NONPARAM_DATA", "~/nonparam_data")).expanduser() / "images" / "mnist_full.npz"
