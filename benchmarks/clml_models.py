"""Data and models of ``benchmarks/clml.py``; the tests look at them too.

Settings are those of Lotfi, Izmailov, Benton, Goldblum and Wilson (2022), Bayesian model selection, the
marginal likelihood, and generalization, ICML, and of the code beside it, where a function says nothing else.
"""

from dataclasses import dataclass

import numpy as np
import torch
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.datasets import load_digits

from nonparam import GPRegressor
from nonparam.datasets import load_airline
from nonparam.kernels import RBF, Constant, Kernel, Linear, RationalQuadratic
from nonparam.kernels.random_features import random_features
from nonparam.model_selection import JointDensity

Array = np.ndarray

NOISE = 0.1  # standard deviation of the noise of the waves
DEGREE = 9  # of the function that the waves are rows of
DEGREES = {"d = 3": 3, "d = 9": 9, "d = 9, corrected": 9}

ONE_YEAR = 12
FREQUENCIES = 5000  # each is two features


def known(kernel: Kernel, noise: float, x: Array, y: Array) -> GPRegressor:
    """Return a process with mean zero of which nothing is learnt."""
    return GPRegressor(kernel, mean="zero", noise=noise, priors=None).fit(x, y)


# Density


@dataclass(frozen=True)
class Location:
    """Numbers of variance 1 round a location, which has a normal prior: a process of constant functions."""

    mean: float
    variance: float

    def fit(self, z: Array) -> GPRegressor:
        return known(
            Constant(self.variance, fixed=("variance",)), 1.0, np.arange(len(z))[:, None], z - self.mean
        )

    def log_densities(self, fitted: GPRegressor, new: Array) -> Array:
        return fitted.log_predictive_density(np.zeros((len(new), 1)), new - self.mean)


LOCATIONS = {"wide": Location(1.0, 1e6), "narrow": Location(-0.4, 0.07)}


# Waves


def waves(x: Array, d: int) -> Array:
    """Return ``sin k x`` and ``cos k x`` for k from 1 to d, ``(n, 2 d)``."""
    phase = np.outer(x, np.arange(1, d + 1))
    return np.concatenate([np.sin(phase), np.cos(phase)], 1)


def wave_rows(seed: int, n: int) -> tuple[Array, Array]:
    """Return places from 0 to 10 and noisy values there of the published function."""
    weights = np.random.RandomState(15).randn(2, DEGREE) / np.arange(1, DEGREE + 1) ** 2
    rng = np.random.default_rng(seed)
    x = rng.uniform(0.0, 10.0, n)
    return x, waves(x, DEGREE) @ weights.ravel() + NOISE * rng.standard_normal(n)


def wave_model(name: str, x: Array, y: Array) -> GPRegressor:
    """Return the linear model of the waves: all weights have variance 1, or ``1 / k^2`` where corrected."""
    d = DEGREES[name]
    sd = np.tile(1.0 / np.arange(1, d + 1), 2) if "corrected" in name else np.ones(2 * d)
    kernel = Linear(1.0, center=0.0, ard=False, fixed=("variance",))
    return known(kernel, NOISE**2, waves(x, d) * sd, y)


def first_above(curve: Array) -> int:
    """Return how many rows it takes for a curve of one value per row to be above 0 from there on."""
    below = np.flatnonzero(curve <= 0.0)
    return int(below[-1]) + 2 if len(below) else 1


# Rational quadratic


def quadratic(alpha: float) -> Kernel:
    fixed = ("lengthscale", "alpha")
    return Constant(1.0, fixed=("variance",)) * RationalQuadratic(0.3, alpha, fixed=fixed)


def quadratic_rows(seed: int, noise: float, alpha: float) -> tuple[Array, Array]:
    """Return 200 places from 0 to 1 in random order, and a noisy draw there."""
    rng = np.random.default_rng(seed)
    x = rng.permutation(np.linspace(0.0, 1.0, 200))[:, None]
    covariance = (1.0 + (x - x.T) ** 2 / (2.0 * alpha * 0.3**2)) ** -alpha
    return x, draw(covariance, rng) + noise * rng.standard_normal(200)


def draw(covariance: Array, rng: np.random.Generator) -> Array:
    root = np.linalg.cholesky(covariance + 1e-8 * np.eye(len(covariance)))
    return root @ rng.standard_normal(len(covariance))


def smooth_rows(x: Array, lengthscale: float, noise: float, rng: np.random.Generator) -> Array:
    """Return a noisy draw with an RBF kernel of variance 1 at places ``(n,)``; ``noise`` is a variance."""
    covariance = np.exp(-0.5 * ((x[:, None] - x) / lengthscale) ** 2)
    return draw(covariance, rng) + np.sqrt(noise) * rng.standard_normal(len(x))


# Neural mean


class NeuralMean(BaseEstimator):
    """A process with an RBF kernel whose mean is a perceptron of 50 and 50 units, all of it by LML.

    Adam from the customary starts: 500 steps of 0.01, kernel and noise variance at log 2.
    """

    def __init__(self, steps: int = 500, rate: float = 0.01, seed: int = 0) -> None:
        self.steps = steps
        self.rate = rate
        self.seed = seed

    def fit(self, X: Array, y: Array) -> "NeuralMean":
        torch.manual_seed(self.seed)
        x, outputs = torch.tensor(X).float(), torch.tensor(y).double()
        parts = [torch.nn.Linear(1, 50), torch.nn.ReLU(), torch.nn.Linear(50, 50), torch.nn.ReLU()]
        self.net_ = torch.nn.Sequential(*parts, torch.nn.Linear(50, 1))
        raw = torch.zeros(3, dtype=torch.float64, requires_grad=True)
        optimiser = torch.optim.Adam([*self.net_.parameters(), raw], lr=self.rate)
        r2 = (x - x.mT).double().square()
        for _ in range(self.steps):
            lengthscale, variance, noise = torch.nn.functional.softplus(raw)
            a = variance * torch.exp(-0.5 * r2 / lengthscale**2) + (noise + 1e-6) * torch.eye(len(x))
            loss = -torch.distributions.MultivariateNormal(self.net_(x)[:, 0].double(), a).log_prob(outputs)
            optimiser.zero_grad()
            (loss / len(x)).backward()
            optimiser.step()
        lengthscale, variance, self.noise_ = torch.nn.functional.softplus(raw.detach()).tolist()
        fixed = Constant(variance, fixed=("variance",)) * RBF(lengthscale, fixed=("lengthscale",))
        self.process_ = known(fixed, self.noise_, X, self._without_mean(X, y))
        self.lengthscale_ = lengthscale
        return self

    def _without_mean(self, X: Array, y: Array) -> Array:
        with torch.no_grad():
            return y - self.net_(torch.tensor(X).float())[:, 0].double().numpy()

    def update(self, X: Array, y: Array) -> "NeuralMean":
        self.process_.update(X, self._without_mean(X, y))
        return self

    def joint_density(self) -> JointDensity:
        return self.process_.joint_density()

    def log_predictive_density(self, X: Array, y: Array) -> Array:
        return self.process_.log_predictive_density(X, self._without_mean(X, y))


# Airline


@dataclass(frozen=True)
class Features:
    """A model of features of all months: their kernel and noise, and the evidence of the prior.

    It has a weight for each feature and a constant, unless ``weights`` says another number.
    """

    table: Array
    kernel: Kernel
    noise: float | str = "learn"
    log_evidence: float | None = None
    weights: str = ""

    def fit(self, y: Array, n: int) -> GPRegressor:
        """Return the model of the first n months."""
        return GPRegressor(self.kernel, noise=self.noise).fit(self.table[:n], y[:n])


def airline() -> tuple[Array, Array]:
    """Return months ``(144, 1)`` and logarithms of the passengers."""
    y = np.log(load_airline().to_numpy(dtype=float))
    return np.arange(len(y), dtype=float)[:, None], y


def line(t: Array, y: Array, n: int) -> Features:
    return Features(t, Linear())


def ten(t: Array, y: Array, n: int) -> Features:
    """A cubic and three harmonics of the year; with the constant 10 weights."""
    u = 2.0 * t / (n - 1) - 1.0
    season = cycles(t, np.arange(1, 4) / ONE_YEAR)
    trend = Linear(center=0.0, ard=False, active_dims=range(3))
    return Features(
        np.hstack([u, u**2, u**3, season]),
        trend + Linear(center=0.0, ard=False, active_dims=range(3, 9)),
    )


def cycles(t: Array, frequencies: Array) -> Array:
    phase = 2.0 * np.pi * t * frequencies
    return np.hstack([np.cos(phase), np.sin(phase)])


def naive(t: Array, y: Array, n: int) -> Features:
    """Waves of all frequencies up to that of two months; every weight has the same variance, learnt."""
    grid = 0.5 * np.arange(1, FREQUENCIES + 1) / FREQUENCIES
    return Features(cycles(t, grid), Linear(center=0.0, ard=False))


def sampled(formula: str, terms: int, t: Array, y: Array, n: int, seed: int = 0) -> Features:
    """Random features of a kernel whose hyperparameters were learnt from the first n months."""
    prior = GPRegressor(formula).fit(t[:n], y[:n])
    features = random_features(prior.kernel_, torch.tensor(t[:n]), FREQUENCIES // terms, seed)
    equal = Linear(1.0, center=0.0, ard=False, fixed=("variance",))
    table = features(torch.tensor(t)).numpy()
    return Features(table, equal, float(prior.noise_), prior.log_evidence())


def structured(t: Array, y: Array, n: int, seed: int = 0) -> Features:
    """A line, a yearly pattern that changes slowly, and a rough rest."""
    return sampled("linear + periodic(12) * rbf + matern32", 2, t, y, n, seed)


def smooth(t: Array, y: Array, n: int, seed: int = 0) -> Features:
    """No more than that the function is smooth."""
    return sampled("rbf", 1, t, y, n, seed)


AIRLINE = {
    "straight line": line,
    "cubic and 12 months": ten,
    "10,000 features, structured": structured,
    "10,000 features, smooth": smooth,
    "10,000 features, naive": naive,
}


# Labels


def digit_labels(corrupted: float, seed: int, n: int = 250) -> tuple[Array, Array, Array, Array]:
    """Return n rows and labels of digits 3 (1) and 5 (-1), a share of them tosses of a coin, and the rest."""
    x, digit = load_digits(return_X_y=True)
    which = np.isin(digit, (3, 5))
    x, y = x[which] / 16.0, np.where(digit[which] == 3, 1.0, -1.0)
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(x))
    chosen, coin = rng.random(n) < corrupted, rng.choice([-1.0, 1.0], n)
    old, new = order[:n], order[n:]
    return x[old], np.where(chosen, coin, y[old]), x[new], y[new]


def label_model(x: Array, y: Array, noise: float | str = 0.01, kernel: Kernel | None = None) -> GPRegressor:
    return GPRegressor(RBF(ard=False) if kernel is None else kernel, mean="zero", noise=noise).fit(x, y)


def accuracy(model: RegressorMixin, x: Array, y: Array) -> float:
    return float(np.mean(np.sign(model.predict(x)) == y))
