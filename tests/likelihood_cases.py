"""Likelihoods, observations and SciPy's distributions for the tests."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy import stats

from nonparam.likelihoods import (
    Bernoulli,
    Beta,
    Binomial,
    Censored,
    Heteroscedastic,
    NegativeBinomial,
    Poisson,
    ResponseLikelihood,
    StudentT,
)

A, DF, SCALE, PRECISION, NOISE = 0.6, 3.5, 0.4, 7.0, 0.3
LOWER, UPPER = -0.5, 1.2


def sigmoid(f):
    return 1.0 / (1.0 + np.exp(-f))


@dataclass(frozen=True)
class Case:
    """A likelihood, observations ``(n, k)`` that it allows, and the distribution of one given functions."""

    likelihood: ResponseLikelihood
    y: torch.Tensor
    law: Callable

    @property
    def f(self):
        """Functions at the rows, ``(n, q)``, or ``(n, q, latents)``."""
        n, latents = len(self.y), self.likelihood.latents
        shape = (n, 3) if latents == 1 else (n, 3, latents)
        return torch.from_numpy(np.random.default_rng(3).normal(0.2, 0.7, shape))

    def at(self, i, j):
        """Return SciPy's distribution of row ``i`` given the functions in column ``j``."""
        exposure = float(self.y[i, 1]) if self.y.shape[1] > 1 else 1.0
        return self.law(self.f[i, j].numpy(), exposure)

    @property
    def exposure(self):
        return self.y[:, 1:] if self.y.shape[1] > 1 else None


def table(*rows):
    return torch.tensor(rows, dtype=torch.float64)


def negative_binomial(f, exposure):
    mean = exposure * math.exp(f)
    return stats.nbinom(1.0 / A, 1.0 / (1.0 + A * mean))


CASES = {
    "bernoulli": Case(Bernoulli(), table([0], [1]), lambda f, e: stats.bernoulli(sigmoid(f))),
    "binomial": Case(Binomial(), table([0, 4], [4, 4], [2, 9]), lambda f, e: stats.binom(int(e), sigmoid(f))),
    "poisson": Case(Poisson(), table([0, 1], [3, 2.5], [11, 4]), lambda f, e: stats.poisson(e * math.exp(f))),
    "negative_binomial": Case(NegativeBinomial(A), table([0, 1], [3, 2.5], [19, 4]), negative_binomial),
    "beta": Case(
        Beta(PRECISION),
        table([1e-4], [0.3], [0.97]),
        lambda f, e: stats.beta(PRECISION * sigmoid(f), PRECISION * sigmoid(-f)),
    ),
    "student_t": Case(StudentT(DF, SCALE), table([-3], [0.2], [9]), lambda f, e: stats.t(DF, f, SCALE)),
    "heteroscedastic": Case(
        Heteroscedastic(), table([-1], [0.2], [2]), lambda f, e: stats.norm(f[0], math.exp(f[1]))
    ),
}
DISCRETE = ("bernoulli", "binomial", "poisson", "negative_binomial")
CENSORED = Censored(LOWER, UPPER, noise=NOISE)
CENSORED_Y = table([LOWER], [0.3], [UPPER])
