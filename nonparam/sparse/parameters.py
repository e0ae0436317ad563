"""What training moves: hyperparameters and inducing points, as one vector."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nonparam.scales import Scales
from nonparam.theta import Theta

__all__ = ["Parameters"]

Array = NDArray[np.float64]

REACH = 1.0  # spans of a column by which a point may leave it


@dataclass(frozen=True)
class Parameters:
    """Hyperparameters, and the points where they are learnt, as a vector ``(p,)``.

    Attributes:
        theta: the hyperparameters.
        noise: the noise variance where it is known.
        points: ``(m, d)``, where the inducing points begin.
        scales: of the data.
        moves: whether the points are learnt.
    """

    theta: Theta
    noise: float
    points: Array
    scales: Scales
    moves: bool

    @property
    def bounds(self) -> tuple[Array, Array]:
        """The least and the largest vector."""
        span = REACH * (self.scales.x_high - self.scales.x_low)
        ones = np.ones_like(self.points)
        low, high = (self.scales.x_low - span) * ones, (self.scales.x_high + span) * ones
        lower = self.joined(self.theta.lower, np.minimum(low, self.points))
        return lower, self.joined(self.theta.upper, np.maximum(high, self.points))

    @property
    def step(self) -> Array:
        """Changes that matter: of a point, a standard deviation of the column."""
        return self.joined(self.theta.step, self.scales.x_sd * np.ones_like(self.points))

    def joined(self, theta: Array, points: Array) -> Array:
        """Return hyperparameters and points, where they are learnt, as a vector."""
        return np.concatenate([theta, points.reshape(-1)]) if self.moves else theta.copy()

    def assign(self, vector: Array) -> tuple[Tensor, float]:
        """Write a vector into the kernel; return the points, with a graph where they move, and the noise."""
        theta = vector[: self.theta.size]
        self.theta.assign(theta)
        given = vector[self.theta.size :].reshape(self.points.shape) if self.moves else self.points
        points = torch.tensor(given).requires_grad_(self.moves)
        return points, float(np.exp(theta[-1])) if self.theta.learns_noise else self.noise

    def into(self, points: Tensor) -> list[Tensor]:
        """Return what derivatives are taken in."""
        return [*self.theta.parameters, points]

    def gathered(self, slopes: list[Tensor], noise: float) -> Array:
        """Return derivatives as a vector, that of the logarithm of the noise among them."""
        theta = self.theta.gather(slopes[:-1], np.array([noise]), 1)[0]
        return self.joined(theta, slopes[-1].numpy())

    def log_prior(self, vector: Array) -> tuple[float, Array]:
        """Return the log density of the hyperparameters' priors, and its gradient."""
        values, slopes = self.theta.log_priors(vector[None, : self.theta.size])
        return float(values[0]), self.joined(slopes[0], np.zeros_like(self.points))
