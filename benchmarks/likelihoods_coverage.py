"""How many observations central predictive intervals hold, for every likelihood on data drawn from it.

Functions are drawn from a Gaussian process (RBF, variance 1, lengthscale 1, rows uniform in (0, 10)), and
observations from the likelihood. From half of 400 rows all parameters are learnt; intervals of 50, 80 and
95 % are looked at in the other half. Counts, events and limits have probabilities of their own, which no
interval splits: there an observation is placed at random within its step of the distribution function (the
randomised probability integral transform), so that exact intervals hold exactly their
share. Asked are 3 points.

Run it with ``OMP_NUM_THREADS=1 python benchmarks/likelihoods_coverage.py``, ``--seeds 20`` by default; names
of likelihoods for some of them only.
"""

import argparse
from collections.abc import Callable

import numpy as np
from tables import header, row, versions

from nonparam import GPRegressor
from nonparam.likelihoods import Censored

Array = np.ndarray
Draw = Callable[[Array, Array, np.random.Generator], Array]
ROWS = 400
LEVELS = np.array([0.5, 0.8, 0.95])
ASKED = 0.03
LIMITS = (-0.5, 1.5)
DISCRETE = {"bernoulli", "binomial", "poisson", "negative_binomial"}


def share(f: Array) -> Array:
    """Return the logistic function."""
    return 1.0 / (1.0 + np.exp(-f))


def counted(f: Array, g: Array, rng: np.random.Generator) -> Array:
    exposure = rng.uniform(0.5, 5.0, len(f))
    return np.c_[rng.poisson(exposure * np.exp(0.5 + f)), exposure]


def dispersed(f: Array, g: Array, rng: np.random.Generator) -> Array:
    exposure = rng.uniform(0.5, 5.0, len(f))
    return np.c_[rng.poisson(exposure * np.exp(0.5 + f) * rng.gamma(2.0, 0.5, len(f))), exposure]


def successes(f: Array, g: Array, rng: np.random.Generator) -> Array:
    trials = rng.integers(1, 20, len(f))
    return np.c_[rng.binomial(trials, share(f)), trials]


DRAWS: dict[str, Draw] = {
    "bernoulli": lambda f, g, rng: rng.binomial(1, share(2.0 * f)),
    "binomial": successes,
    "beta": lambda f, g, rng: np.clip(rng.beta(8.0 * share(f), 8.0 * share(-f)), 1e-12, 1.0 - 1e-12),
    "poisson": counted,
    "negative_binomial": dispersed,
    "student_t": lambda f, g, rng: f + 0.3 * rng.standard_t(4.0, len(f)),
    "heteroscedastic": lambda f, g, rng: f + np.exp(0.7 * g - 1.2) * rng.standard_normal(len(f)),
    "censored": lambda f, g, rng: np.clip(f + 0.3 * rng.standard_normal(len(f)), *LIMITS),
}


def simulated(name: str, seed: int) -> tuple[Array, Array, np.random.Generator]:
    """Return rows ``(n, 1)``, their observations, and the generator that drew them."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(0.0, 10.0, (ROWS, 1))
    covariance = np.exp(-0.5 * (x - x.T) ** 2) + 1e-9 * np.eye(ROWS)
    f, g = (np.linalg.cholesky(covariance) @ rng.standard_normal((ROWS, 2))).T
    return x, DRAWS[name](f, g, rng), rng


def masses(model: GPRegressor, x: Array, y: Array) -> Array:
    """Return the probability ``(m, k)`` of each count up to the largest, with the exposures of ``y``."""
    table = y.reshape(len(y), -1)
    counts = np.arange(int(table[:, 0].max()) + 1)
    found = np.zeros((len(y), len(counts)))
    most = table[:, 1] if model.likelihood == "binomial" else np.full(len(y), np.inf)
    for count in counts:
        rows = count <= most
        y_of_count = np.c_[np.full(rows.sum(), count), table[rows, 1:]]
        found[rows, count] = np.exp(model.log_predictive_density(x[rows], y_of_count))
    return found


def is_within(name: str, model: GPRegressor, x: Array, y: Array, rng: np.random.Generator) -> Array:
    """Return whether each observation is within its central intervals, ``(m, levels)``."""
    if name in DISCRETE:
        table, seen = masses(model, x, y), y.reshape(len(y), -1)[:, 0].astype(int)
        own = np.take_along_axis(table, seen[:, None], 1)[:, 0]
        below = np.take_along_axis(table.cumsum(1), seen[:, None], 1)[:, 0] - own
        place = below + rng.random(len(y)) * own
        return np.abs(place - 0.5)[:, None] <= 0.5 * LEVELS
    tails = np.concatenate([0.5 - 0.5 * LEVELS, 0.5 + 0.5 * LEVELS])
    low, high = np.split(model.predict_quantiles(x, tails), 2, axis=1)
    inside = (low <= y[:, None]) & (y[:, None] <= high)
    if name != "censored":
        return inside
    for limit, side in zip(LIMITS, (0.0, 1.0), strict=True):
        rows = y == limit
        mass = np.exp(model.log_predictive_density(x[rows], y[rows])) if rows.any() else np.zeros(0)
        place = np.abs(side - rng.random(len(mass)) * mass)
        inside[rows] = np.abs(place - 0.5)[:, None] <= 0.5 * LEVELS
    return inside


def coverage(name: str, seed: int) -> Array:
    """Return which shares of the held-out observations the intervals of the three levels hold."""
    x, y, rng = simulated(name, seed)
    seen, new = slice(0, ROWS // 2), slice(ROWS // 2, None)
    model = GPRegressor("rbf", likelihood=Censored(*LIMITS) if name == "censored" else name)
    model.fit(x[seen], y[seen])
    return is_within(name, model, x[new], y[new], rng).mean(0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", default=list(DRAWS))
    parser.add_argument("--seeds", type=int, default=20)
    arguments = parser.parse_args()
    print(versions("nonparam", "torch", "numpy", "scipy"))
    print(f"{arguments.seeds} seeds, {ROWS // 2} rows learnt from, as many held out\n")
    header("likelihood", "50 %", "80 %", "95 %", "asked: within 3 points")
    for name in arguments.names:
        held = np.mean([coverage(name, seed) for seed in range(arguments.seeds)], axis=0)
        is_met = bool((np.abs(held - LEVELS) <= ASKED).all())
        row(name, *(f"{100.0 * share:.1f}" for share in held), "met" if is_met else "MISSED")


if __name__ == "__main__":
    main()
