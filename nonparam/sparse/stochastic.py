r"""Stochastic variational inference: natural gradients for the inducing variables, Adam for all else.

A batch of :math:`b` of :math:`n` rows estimates the sums over all rows by :math:`n / b` times its own. The
natural parameters of the best :math:`q(v)` are linear in these sums (over :math:`\sigma^2`), so that a step
of natural gradient of length :math:`\rho` mixes them,

.. math:: \Phi \leftarrow (1 - \rho)\, \Phi + \rho\, \tfrac nb \sum_{i \in B} a_i a_i^\top, \quad
          b \leftarrow (1 - \rho)\, b + \rho\, \tfrac nb \sum_{i \in B} a_i y_i^\top ,

and one step of length 1 with all rows is the optimum of the collapsed bound. The gradient for the
hyperparameters and the points is taken at the ``q`` before the batch was seen: its mean is that of the bound.

Source: Hensman, Fusi and Lawrence (2013), Gaussian processes for big data, UAI, section 3; Adam, Chang, Khan
and Solin (2021), Dual parameterization of sparse variational Gaussian processes, NeurIPS.
"""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nonparam.errors import ConvergenceError
from nonparam.sparse.bound import Seen, Slopes, Summary, added, pull_points
from nonparam.sparse.parameters import Parameters
from nonparam.sparse.projection import Projection, Statistics, project

__all__ = ["Ascent"]

Array = NDArray[np.float64]

BETAS = (0.9, 0.99)  # of Adam: the steep slopes of the first steps are forgotten within a hundred


class Ascent:
    """Where stochastic training stands.

    Args:
        parameters: what is learnt besides ``q``.
        vector: ``(p,)``, where it begins.
        sums: estimates of the sums over all rows there.
        with_prior: whether the prior is added.

    Attributes:
        sums: estimates of the sums over all rows.
    """

    def __init__(self, parameters: Parameters, vector: Array, sums: Statistics, with_prior: bool) -> None:
        self.parameters, self.sums, self.with_prior = parameters, sums, with_prior
        self._scale, (self._lower, self._upper) = parameters.step, parameters.bounds
        self._position = torch.tensor(vector / self._scale)
        self._adam = torch.optim.Adam([self._position], betas=BETAS, maximize=True)

    @property
    def vector(self) -> Array:
        """The present hyperparameters and points."""
        return np.clip(self._position.numpy() * self._scale, self._lower, self._upper)

    def present(self) -> tuple[Projection, Summary]:
        """Return the inducing points and what is known of them."""
        points, noise = self.parameters.assign(self.vector)
        return project(self.parameters.theta.kernel, points), Summary(self.sums, noise)

    def step(self, x: Tensor, y: Tensor, n: float, *, length: float, rate: float) -> float:
        """Learn from a batch.

        Args:
            x: ``(b, d)``.
            y: ``(b, t)``.
            n: rows that the batch stands for.
            length: of the step of natural gradient.
            rate: of Adam, in changes that matter.

        Returns:
            The batch's estimate of the bound before it was learnt from, in nats for each row.
        """
        vector, weight = self.vector, n / len(x)
        points, noise = self.parameters.assign(vector)
        projection = project(self.parameters.theta.kernel, points)
        summary = Summary(self.sums, noise)
        seen = Seen.of(projection, points, x)
        batch = (
            Statistics.none(points, y.shape[1])
            .plus(seen.features, y, float(seen.prior.detach().sum()))
            .scaled(weight)
        )
        slopes, into = Slopes(projection, summary, weight), self.parameters.into(points)
        found = added(pull_points(slopes, points, batch, into), seen.pull(slopes, y, into))
        gradient = self.parameters.gathered(found, summary.noise_slope(batch))
        value = summary.bound_of(batch)
        if not (math.isfinite(value) and np.isfinite(gradient).all()):
            raise ConvergenceError(
                f"the bound is {value} at noise {noise:.3g}: expected hyperparameters that suit the data; "
                "try a smaller learning_rate"
            )
        self.sums = self.sums.mixed(batch, length)
        self._climb(vector, gradient, rate)
        return value / n

    def add(self, x: Tensor, y: Tensor, *, rate: float) -> float:
        """Learn from rows that were not counted before: the sums become those of the old rows and of these.

        Args:
            x: ``(b, d)``.
            y: ``(b, t)``.
            rate: of Adam.
        """
        before, n = self.sums, self.sums.n + len(x)
        self.sums = before.scaled(n / before.n)
        try:
            return self.step(x, y, n, length=len(x) / n, rate=rate)
        except ArithmeticError:
            self.sums = before
            raise

    def _climb(self, vector: Array, gradient: Array, rate: float) -> None:
        if self.with_prior:
            gradient = gradient + self.parameters.log_prior(vector)[1]
        self._position.grad = torch.from_numpy(gradient * self._scale)
        self._adam.param_groups[0]["lr"] = rate
        self._adam.step()
        self._position.copy_(torch.from_numpy(self.vector / self._scale))
