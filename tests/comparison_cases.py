"""Models and data for the tests of comparisons."""

from dataclasses import dataclass

import numpy as np
import torch

from nonparam.model_selection import GaussianJoint
from nonparam.model_selection.joint import Units

# Forty draws of a normal distribution with mean and variance 1: RandomState(2).normal(1, 1, 1000)[:40]
DRAWS = np.random.RandomState(2).normal(1.0, 1.0, 1000)


@dataclass(frozen=True)
class NormalMean:
    """A hypothesis: draws of variance 1 around a mean that is normal itself."""

    centre: float
    variance: float

    def widened(self, factor: float) -> "NormalMean":
        return NormalMean(self.centre, self.variance * factor**2)

    def joint_density(self, y: np.ndarray) -> GaussianJoint:
        n = len(y)
        eye, rest = torch.eye(n, dtype=torch.float64), torch.from_numpy(y - self.centre)[:, None]
        return GaussianJoint(
            eye + self.variance, torch.ones(n).double(), rest, rest[:, :0], Units(y[:, None], np.ones(1))
        )


def sine(n: int = 40, noise: float = 0.2) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    x = np.sort(rng.uniform(0.0, 10.0, n))
    return x[:, None], np.sin(x) + noise * rng.normal(size=n)
