"""A forecast as an average of Gaussian processes with different hyperparameters and transforms."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from nonparam.forecasting.engine import Engine, engine_for
from nonparam.forecasting.mixture import JointMixture, Mixture
from nonparam.forecasting.outliers import tamed
from nonparam.forecasting.structure import Structure
from nonparam.forecasting.transforms import Standardised
from nonparam.solvers.plan import CPU

__all__ = ["Ensemble", "marginals"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Ensemble:
    """Gaussian processes of a series, each given its transform.

    Attributes:
        structure: all parts; the ones that a member lacks have a variance of nothing.
        x: ``(n, c)``, times and regressors of the observations.
        z: ``(n, t)``, the observations, transformed, and outliers brought nearer.
        transforms: ``t`` of them.
        points: ``(k, p)``, hyperparameters of the members; the first is the most evident one.
        outputs: ``(k,)``, the transform of each.
        weights: ``(k,)``, which sum to 1.
        device: where members are computed.

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
        array([[3.2]])
    """

    structure: Structure
    x: Array
    z: Array
    transforms: tuple[Standardised, ...]
    points: Array
    outputs: NDArray[np.intp]
    weights: Array
    device: torch.device = CPU

    @classmethod
    def given(
        cls,
        structure: Structure,
        x: Array,
        values: Array,
        transforms: tuple[Standardised, ...],
        points: Array,
        outputs: NDArray[np.intp],
        weights: Array,
        device: torch.device = CPU,
    ) -> "Ensemble":
        """Return members given the observations ``values (n,)``, of which outliers are brought nearer.

        What an outlier is, the first member of each transform says; see `outliers`. The other arguments are
        the attributes.
        """
        z = np.stack([transform.forward(values) for transform in transforms], 1)
        first = {int(output): points[np.flatnonzero(outputs == output)[0]] for output in np.unique(outputs)}
        near = tamed(structure, x, z, first, device)
        return cls(structure, x, near, transforms, points, outputs, weights, device)

    def regiven(self, values: Array) -> "Ensemble":
        """Return the members given other observations ``(n,)`` at the same rows."""
        return Ensemble.given(
            self.structure,
            self.x,
            values,
            self.transforms,
            self.points,
            self.outputs,
            self.weights,
            self.device,
        )

    @property
    def engine(self) -> Engine:
        """The way in which the members are computed."""
        return engine_for(self.structure, self.x, self.z, self.device)

    def marginals(self, new: Array) -> Mixture:
        """Return the distributions of new observations, each by itself, at rows ``new (m, c)``."""
        return marginals([self], [new])[0]

    def joint(self, new: Array) -> JointMixture:
        """Return the joint distribution of new observations at rows ``new (m, c)``."""
        mean, covariance = self.engine.predict(self.points, self.outputs, new)
        noise = np.exp(self.points[:, -1])[:, None, None] * np.eye(len(new))
        return JointMixture(self.weights, self.member_transforms, mean, covariance + noise)

    @property
    def first_transform(self) -> Standardised:
        """The transform of the first member."""
        return self.transforms[int(self.outputs[0])]

    @property
    def present(self) -> tuple[str, ...]:
        """The names of the parts that the first member has."""
        off = self.structure.switched_off_in(self.points[0])
        return tuple(part.name for part in self.structure.without(off).parts)

    def parts(self, new: Array, groups: Mapping[str, Collection[str]]) -> dict[str, tuple[Array, Array]]:
        """Return mean and standard deviation ``(m,)`` of sums of parts of the first member's ``g(y)``.

        Args:
            new: ``(m, c)``.
            groups: the names of the parts of each sum, by a name for it. The base contains the transform's
                centre, also where the structure has no base.
        """
        transform = self.first_transform
        sums = self.engine.sums(list(groups.values()), self.points[0], int(self.outputs[0]), new)
        return {
            name: (
                transform.scale * mean + transform.centre * ("base" in groups[name]),
                transform.scale * np.sqrt(np.maximum(variance, 0.0)),
            )
            for name, (mean, variance) in zip(groups, sums, strict=True)
        }

    @property
    def member_transforms(self) -> tuple[Standardised, ...]:
        """The transform of each member."""
        return tuple(self.transforms[output] for output in self.outputs)


def marginals(ensembles: Sequence[Ensemble], rows: Sequence[Array]) -> list[Mixture]:
    """Return the distributions of new observations of several series, each by itself.

    Args:
        ensembles: those that were fitted together, and so share a structure and the times, are computed
            together where their new rows are the same.
        rows: ``(m, c)`` for each.
    """
    groups: dict[tuple[int, int, bytes], list[int]] = {}
    for i, (ensemble, new) in enumerate(zip(ensembles, rows, strict=True)):
        groups.setdefault((id(ensemble.structure), id(ensemble.x), new.tobytes()), []).append(i)
    found: dict[int, Mixture] = {}
    for group in groups.values():
        found |= zip(group, _alike([ensembles[i] for i in group], rows[group[0]]), strict=True)
    return [found[i] for i in range(len(ensembles))]


def _alike(ensembles: Sequence[Ensemble], new: Array) -> list[Mixture]:
    first, z = ensembles[0], np.concatenate([each.z for each in ensembles], 1)
    before = np.cumsum([0, *(each.z.shape[1] for each in ensembles[:-1])])
    outputs = np.concatenate([each.outputs + start for each, start in zip(ensembles, before, strict=True)])
    points = np.concatenate([each.points for each in ensembles])
    mean, variance = engine_for(first.structure, first.x, z, first.device).marginals(points, outputs, new)
    sd = np.sqrt(np.maximum(variance, 0.0) + np.exp(points[:, -1:]))
    ends = np.cumsum([len(each.points) for each in ensembles])[:-1]
    return [
        Mixture(each.weights, each.member_transforms, *moments)
        for each, *moments in zip(ensembles, np.split(mean, ends), np.split(sd, ends), strict=True)
    ]
