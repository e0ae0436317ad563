"""Symmetries, exact, broken and absent: what the evidence makes of them, and what they do for predictions.

Sections of ``python benchmarks/invariance.py SECTION``:

* ``breaking``: functions of two columns with a symmetry of a group, exact or broken by 10 % in three senses:
  b^2 is a tenth of a^2 in the process that they are drawn from, or the part without the symmetry has 10 % of
  the function's variance, or of its standard deviation. `SoftInvariant` is beside the hard constraint and the
  kernel without one: the ratio b^2 / a^2 that it learns, and errors on new rows relative to the better of
  both.
* ``groups``: functions with exactly the symmetry of no group, of the reflection through the origin, of
  quarter turns, or of all rotations and reflections of a square (``d4``); which of the four hard constraints
  has the largest evidence, by Laplace's approximation? Each group contains those before it.

A function is a draw from a Gaussian process with an isotropic RBF kernel (4096 random waves), averaged over
the group; its parts are scaled to their variances over the square from -1 to 1. Rows are uniform there;
noise has a tenth of the function's standard deviation unless ``--noise`` says otherwise. New rows have none.
"""

import argparse
import platform
from importlib.metadata import version

import numpy as np
import torch
from tables import header, row

from nonparam import GPRegressor
from nonparam.kernels import RBF, Invariant, Kernel, SoftInvariant
from nonparam.kernels.groups import Group

N, NEW, WAVES = 200, 2000, 4096
LENGTHSCALE = 0.6
BREAKINGS = ("exact", "b^2 = a^2 / 10", "10 % of the variance", "10 % of the sd")
CONSTRAINTS = ("none", "reflection", "c4", "d4")


class Wave:
    """A draw from a process with an RBF kernel."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.frequency = rng.standard_normal((WAVES, 2)) / LENGTHSCALE
        self.phase = rng.uniform(0.0, 2.0 * np.pi, WAVES)
        self.weight = np.sqrt(2.0 / WAVES) * rng.standard_normal(WAVES)

    def __call__(self, x: np.ndarray) -> np.ndarray:
        return np.cos(x @ self.frequency.T + self.phase) @ self.weight


def images(x: np.ndarray, group: str) -> list[np.ndarray]:
    maps = () if group == "none" else Group.of(group, (0, 1), 2).maps
    return [x, *(g(torch.from_numpy(x)).numpy() for g in maps)]


class Truth:
    """A function whose part without the symmetry has a given share of its variance over the square."""

    def __init__(self, group: str, share: float, rng: np.random.Generator) -> None:
        self.group, self.share, self.wave = group, share, Wave(rng)
        square = np.stack(np.meshgrid(*[np.linspace(-1.0, 1.0, 41)] * 2), -1).reshape(-1, 2)
        self.level, self.sizes = 0.0, (1.0, 1.0)
        parts = self._parts(square)
        self.level = float(parts[0].mean())
        self.sizes = tuple(float(part.std()) or 1.0 for part in parts)

    def _parts(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        own = self.wave(x)
        average = np.mean([self.wave(image) for image in images(x, self.group)], 0)
        return (average - self.level) / self.sizes[0], (own - average) / self.sizes[1]

    def __call__(self, x: np.ndarray) -> np.ndarray:
        symmetric, rest = self._parts(x)
        return np.sqrt(1.0 - self.share) * symmetric + np.sqrt(self.share) * rest


def rows(truth: Truth, noise: float, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    x, new = rng.uniform(-1.0, 1.0, (N, 2)), rng.uniform(-1.0, 1.0, (NEW, 2))
    return x, truth(x) + noise * rng.standard_normal(N), new, truth(new)


def constrained(group: str) -> Kernel:
    base = RBF(ard=False)
    return base if group == "none" else Invariant(base, group)


def error(model: GPRegressor, new: np.ndarray, truth: np.ndarray) -> float:
    return float(np.sqrt(np.mean((model.predict(new) - truth) ** 2)))


def breaking(seeds: list[int], noise: float) -> None:
    header("group", "symmetry", "seed", "b^2/a^2", "RMSE soft", "hard", "without", "soft to the better")
    for group in CONSTRAINTS[1:]:
        for name in BREAKINGS:
            ratios, errors = [], []
            for seed in seeds:
                rng = np.random.default_rng([seed, CONSTRAINTS.index(group)])
                x, y, new, truth = rows(Truth(group, share_of(name, group), rng), noise, rng)
                soft = GPRegressor(SoftInvariant(RBF(ard=False), group)).fit(x, y)
                others = [GPRegressor(constrained(g)).fit(x, y) for g in (group, "none")]
                found = [error(model, new, truth) for model in (soft, *others)]
                ratios.append(soft.kernel_.value("breaking"))
                errors.append([*found, found[0] / min(found[1:])])
                row(group, name, seed, ratios[-1], *errors[-1])
            summarise(group, name, np.array(ratios), np.array(errors))


def share_of(name: str, group: str) -> float:
    """Return the share of the part without the symmetry in a function's variance.

    Far from fixed points the kernel averaged over m maps has a variance of 1 / m.
    """
    order = 1 + len(Group.of(group, (0, 1), 2).maps)
    unlike, like = 0.1 * (1.0 - 1.0 / order), 1.1 / order
    shares = (0.0, unlike / (unlike + like), 0.1, 0.01)
    return dict(zip(BREAKINGS, shares, strict=True))[name]


def summarise(group: str, name: str, ratios: np.ndarray, errors: np.ndarray) -> None:
    met = np.sum(ratios < 1e-3 if name == "exact" else ratios > 1e-2)
    asked = "below 1e-3" if name == "exact" else "above 1e-2"
    mean = errors.mean(0)
    together = mean[0] / min(mean[1:3])
    print(
        f"<!-- {group}, {name}: b^2/a^2 {asked} in {met} of {len(ratios)}, median {np.median(ratios):.2g}; "
        f"mean RMSE soft to the better {together:.3f}, worst seed {errors[:, 3].max():.3f}, "
        f"within 5 % in {np.sum(errors[:, 3] <= 1.05)} -->",
        flush=True,
    )


def groups(seeds: list[int], noise: float) -> None:
    header("truth", "seed", *(f"evidence, {c}" for c in CONSTRAINTS), "named", "by nats")
    for group in CONSTRAINTS:
        right = 0
        for seed in seeds:
            rng = np.random.default_rng([seed, 10 + CONSTRAINTS.index(group)])
            x, y, _, _ = rows(Truth(group, 0.0, rng), noise, rng)
            found = [GPRegressor(constrained(c)).fit(x, y).log_evidence() for c in CONSTRAINTS]
            order = np.argsort(found)[::-1]
            right += CONSTRAINTS[order[0]] == group
            row(group, seed, *found, CONSTRAINTS[order[0]], found[order[0]] - found[order[1]])
        print(f"<!-- {group}: named in {right} of {len(seeds)} -->", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("section", choices=["breaking", "groups"])
    parser.add_argument("--seeds", type=int, nargs="*", default=list(range(10)))
    parser.add_argument("--noise", type=float, default=0.1)
    options = parser.parse_args()
    packages = ", ".join(f"{p} {version(p)}" for p in ("nonparam", "gpytorch", "torch", "numpy"))
    print(f"Python {platform.python_version()}, {packages}; {torch.get_num_threads()} threads\n")
    (breaking if options.section == "breaking" else groups)(options.seeds, options.noise)


if __name__ == "__main__":
    main()
