"""A forecast as an average of Gaussian processes with different hyperparameters and transforms."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from nonparam.forecasting.dense import Dense
from nonparam.forecasting.mixture import JointMixture, Mixture
from nonparam.forecasting.structure import Structure
from nonparam.forecasting.transforms import Standardised

__all__ = ["Engine", "Ensemble"]

Array = NDArray[np.float64]

BLOCK = 256  # rows whose joint covariance is made where only variances are wanted


class Engine(Protocol):
    """Series under a structure: the likelihood of hyperparameters, and what they say of other times."""

    def __call__(self, points: Array, outputs: NDArray[np.intp]) -> tuple[Array, Array]:
        """Return log likelihoods ``(b,)`` and gradients ``(b, p)`` at ``points (b, p)``."""
        ...

    def predict(self, points: Array, outputs: NDArray[np.intp], new: Array) -> tuple[Array, Array]:
        """Return means ``(b, m)`` and covariances ``(b, m, m)`` of the functions at ``new (m, c)``."""
        ...

    def part(self, name: str, point: Array, output: int, new: Array) -> tuple[Array, Array]:
        """Return mean ``(m,)`` and variance ``(m,)`` of a part at ``new (m, c)``."""
        ...


@dataclass(frozen=True)
class Ensemble:
    """Gaussian processes of a series, each given its transform.

    Attributes:
        structure: all parts; the ones that a member lacks have a variance of nothing.
        x: ``(n, c)``, times and regressors of the observations.
        z: ``(n, t)``, the observations, transformed.
        transforms: ``t`` of them.
        points: ``(k, p)``, hyperparameters of the members; the first is the most evident one.
        outputs: ``(k,)``, the transform of each.
        weights: ``(k,)``, which sum to 1.

    Examples:
        >>> from nonparam.forecasting.structure import build_structure
        >>> from nonparam.forecasting.transforms import IDENTITY, standardise
        >>> y = np.array([1.0, 2.0, 3.0])
        >>> plain, structure = standardise(IDENTITY, y), build_structure(-2.0)
        >>> x, point = np.array([[-2.0], [-1.0], [0.0]]), structure.theta().start[None]
        >>> one = Ensemble(
        ...     structure, x, plain.forward(y)[:, None], (plain,), point, np.zeros(1, int), np.ones(1)
        ... )
        >>> one.marginals(np.array([[1.0]])).quantile(np.array([0.5])).round(2)
        array([[3.21]])
    """

    structure: Structure
    x: Array
    z: Array
    transforms: tuple[Standardised, ...]
    points: Array
    outputs: NDArray[np.intp]
    weights: Array

    @property
    def engine(self) -> Engine:
        """The way in which the members are computed."""
        return Dense(self.structure, self.x, self.z)

    def marginals(self, new: Array) -> Mixture:
        """Return the distributions of new observations, each by itself, at rows ``new (m, c)``."""
        means, sds = [], []
        for start in range(0, len(new), BLOCK):
            mean, covariance = self.engine.predict(self.points, self.outputs, new[start : start + BLOCK])
            variance = np.maximum(np.diagonal(covariance, axis1=1, axis2=2), 0.0)
            means.append(mean)
            sds.append(np.sqrt(variance + np.exp(self.points[:, -1:])))
        return Mixture(
            self.weights, self._member_transforms(), np.concatenate(means, 1), np.concatenate(sds, 1)
        )

    def joint(self, new: Array) -> JointMixture:
        """Return the joint distribution of new observations at rows ``new (m, c)``."""
        mean, covariance = self.engine.predict(self.points, self.outputs, new)
        noise = np.exp(self.points[:, -1])[:, None, None] * np.eye(len(new))
        return JointMixture(self.weights, self._member_transforms(), mean, covariance + noise)

    def parts(self, new: Array) -> dict[str, tuple[Array, Array]]:
        """Return mean and standard deviation ``(m,)`` of each part of the first member's ``g(y)``.

        The base contains the transform's centre. Parts that the member lacks are left out.
        """
        output, point = int(self.outputs[0]), self.points[0]
        transform, found = self.transforms[output], {}
        for part in self.structure.without(self.structure.switched_off_in(point)).parts:
            mean, variance = self.engine.part(part.name, point, output, new)
            centre = transform.centre if part.name == "base" else 0.0
            found[part.name] = (
                centre + transform.scale * mean,
                transform.scale * np.sqrt(np.maximum(variance, 0.0)),
            )
        return found

    def _member_transforms(self) -> tuple[Standardised, ...]:
        return tuple(self.transforms[output] for output in self.outputs)
