"""The collapsed bound of data in memory as a function of hyperparameters and inducing points."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from nonparam.errors import NotPositiveDefiniteError
from nonparam.sparse.bound import Seen, Slopes, Summary, added, pull_points
from nonparam.sparse.parameters import Parameters
from nonparam.sparse.projection import BLOCK, project, statistics

__all__ = ["CollapsedObjective"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class CollapsedObjective:
    """The lower bound of the log evidence, plus the log density of the prior.

    Rows pass in blocks, twice where a gradient is asked for: memory does not grow with them.

    Attributes:
        x: ``(n, d)``.
        y: ``(n, t)``.
        parameters: what it is a function of.
        with_prior: whether the prior is added.
    """

    x: Tensor
    y: Tensor
    parameters: Parameters
    with_prior: bool

    def blocks(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the rows, some at a time."""
        return zip(self.x.split(BLOCK), self.y.split(BLOCK), strict=True)

    def evaluate(self, vector: Array, *, gradient: bool = True) -> tuple[float, Array]:
        """Return the lower bound in nats, without the prior, and its gradient ``(p,)``.

        Raises:
            NotPositiveDefiniteError: a covariance without a factor.
        """
        points, noise = self.parameters.assign(vector)
        projection = project(self.parameters.theta.kernel, points)
        sums = statistics(projection, self.blocks(), self.y.shape[1])
        summary = Summary(sums, noise)
        if not gradient:
            return summary.lower(), np.zeros_like(vector)
        slopes, into = Slopes(projection, summary), self.parameters.into(points)
        found = pull_points(slopes, points, sums, into)
        for x, y in self.blocks():
            found = added(found, Seen.of(projection, points, x).pull(slopes, y, into))
        return summary.lower(), self.parameters.gathered(found, summary.noise_slope(sums))

    def negative(self, vectors: Array, which: NDArray[np.intp]) -> tuple[Array, Array]:
        """Return minus the objective and its gradient, as `nonparam.lbfgs.minimise` asks for them."""
        values, slopes = np.full(len(vectors), -np.inf), np.zeros_like(vectors)
        for i, vector in enumerate(vectors):
            try:
                value, slope = self.evaluate(vector)
            except NotPositiveDefiniteError:
                continue
            if self.with_prior:
                density, pull_of_prior = self.parameters.log_prior(vector)
                value, slope = value + density, slope + pull_of_prior
            if math.isfinite(value) and np.isfinite(slope).all():
                values[i], slopes[i] = value, slope
        return -values, -slopes
