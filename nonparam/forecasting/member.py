"""One structure on one transform of a series: the evidence for it, and its Gaussian forecast."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nonparam.forecasting.structure import Structure
from nonparam.forecasting.transforms import Standardised
from nonparam.laplace import Laplace, laplace
from nonparam.lbfgs import Minimum, minimise
from nonparam.objective import Data, Objective
from nonparam.posterior import Posterior, condition

__all__ = ["Candidate", "Member", "fit_candidates"]

Array = NDArray[np.float64]

GRADIENT_TOLERANCE = 1e-3  # nats per unit of the logarithm of a hyperparameter
VALUE_TOLERANCE = 1e-6  # nats gained in the last steps


@dataclass(frozen=True)
class Candidate:
    """A structure fitted to a transform of a series.

    Attributes:
        structure: its parts.
        transform: of the series.
        search: of the most probable hyperparameters.
        laplace: their uncertainty.
        log_evidence: log density of the observations as they are, in nats.
        data: the transformed series.

    Examples:
        >>> from nonparam.forecasting.structure import build_structure
        >>> from nonparam.forecasting.transforms import IDENTITY, standardise
        >>> times, y = np.linspace(-2.0, 0.0, 12), np.sin(np.arange(12.0))
        >>> plain = standardise(IDENTITY, y)
        >>> (found,) = fit_candidates(build_structure(-2.0), [["season"]], times, y, [plain])
        >>> [part.name for part in found.structure.parts]
        ['base', 'drift', 'trend', 'level', 'memory']
    """

    structure: Structure
    transform: Standardised
    search: Minimum
    laplace: Laplace
    log_evidence: float
    data: Data

    def hyperparameters(self, unit: float) -> dict[str, float]:
        """Return the hyperparameters with time in steps, of which ``unit`` are counted as 1."""
        return self.structure.natural(self.laplace.mode, unit, self.transform.scale)

    def conditioned(self) -> "Member":
        """Return the member of a forecast, at the most probable hyperparameters."""
        theta = self.structure.theta()
        theta.assign(self.laplace.mode)
        kernel, noise = theta.kernel.__sklearn_clone__(), float(np.exp(self.laplace.mode[-1]))
        names = tuple(part.name for part in self.structure.parts)
        return Member(names, self.transform, condition(kernel, self.data, noise))


@dataclass(frozen=True)
class Member:
    """A Gaussian process of a transformed series, given the series.

    Attributes:
        names: of the terms of its kernel.
        transform: of the series.
        posterior: of the transformed series.

    Examples:
        >>> from nonparam.forecasting.structure import build_structure
        >>> from nonparam.forecasting.transforms import IDENTITY, standardise
        >>> times, y = np.linspace(-2.0, 0.0, 12), np.sin(np.arange(12.0))
        >>> plain = standardise(IDENTITY, y)
        >>> (found,) = fit_candidates(build_structure(-2.0), [["season"]], times, y, [plain])
        >>> member = found.conditioned()
        >>> parts = member.parts(times)
        >>> np.allclose(sum(parts.values()), plain.inverse(member.mean(times)))
        True
    """

    names: tuple[str, ...]
    transform: Standardised
    posterior: Posterior

    def mean(self, times: Array) -> Array:
        """Return the mean of the transformed series at ``times (m,)``."""
        x = _column(times)
        return _numpy(self.posterior.predict_mean(x, x[:, :0])[:, 0])

    def sd(self, times: Array) -> Array:
        """Return the standard deviation of a new observation, transformed, at each of ``times (m,)``."""
        x = _column(times)
        return _numpy((self.posterior.predict_variance(x, x[:, :0]) + self.posterior.noise).sqrt())

    def covariance(self, times: Array) -> Array:
        """Return the covariance of new observations, transformed, at ``times (m,)``: ``(m, m)``."""
        x = _column(times)
        return _numpy(self.posterior.predict_covariance(x, x[:, :0])) + self.posterior.noise * np.eye(len(x))

    def parts(self, times: Array) -> dict[str, Array]:
        """Return the mean of each part of ``g(y)`` at ``times (m,)``; the base contains the centre."""
        x, scale = _column(times), self.transform.scale
        terms = zip(self.names, self.posterior.kernel.kernels, strict=True)
        parts = {name: scale * _numpy(self.posterior.component(term, x)[0][:, 0]) for name, term in terms}
        return parts | {"base": parts["base"] + self.transform.centre}


def fit_candidates(
    structure: Structure,
    omissions: Sequence[Collection[str]],
    times: Array,
    y: Array,
    transforms: Sequence[Standardised],
) -> list[Candidate]:
    """Fit a structure, and some without a few of its parts, to transforms of a series, all at once.

    Args:
        structure: the parts and their priors.
        omissions: the names of the parts that each variant leaves out.
        times: ``(n,)``, increasing.
        y: ``(n,)``, finite.
        transforms: of ``y``.

    Returns:
        One candidate for each omission and each transform.

    Examples:
        >>> from nonparam.forecasting.structure import build_structure
        >>> from nonparam.forecasting.transforms import IDENTITY, standardise
        >>> times, y = np.linspace(-2.0, 0.0, 12), np.sin(np.arange(12.0))
        >>> plain = standardise(IDENTITY, y)
        >>> (found,) = fit_candidates(build_structure(-2.0), [["season"]], times, y, [plain])
        >>> found.search.converged, found.data.y.shape
        (True, torch.Size([12, 1]))
    """
    x, z = _column(times), torch.from_numpy(np.stack([t.forward(y) for t in transforms], 1))
    data = Data(x, z, x[:, :0], torch.ones_like(x[:, 0]), None)
    kinds = list(product(omissions, range(len(transforms))))
    objective = Objective(data, structure.theta(), with_prior=True, outputs=np.array([o for _, o in kinds]))
    starts = np.stack([structure.switched_off(names) for names, _ in kinds])
    held = np.stack([structure.entries(names) for names, _ in kinds])
    found = minimise(
        objective.negative,
        starts,
        np.where(held, starts, objective.theta.lower),
        np.where(held, starts, objective.theta.upper),
        gradient_tolerance=GRADIENT_TOLERANCE,
        value_tolerance=VALUE_TOLERANCE,
    )
    approximations = [_approximate(objective, i, ~held[i], found[i].theta) for i in range(len(kinds))]
    objective.theta.assign(starts[0])  # one point again, where the search left a batch of them
    return [
        Candidate(
            structure.without(names),
            transforms[output],
            search,
            approximation,
            approximation.log_evidence + float(transforms[output].log_slope(y).sum()),
            data.output(output),
        )
        for (names, output), search, approximation in zip(kinds, found, approximations, strict=True)
    ]


def _approximate(objective: Objective, search: int, free: NDArray[np.bool_], mode: Array) -> Laplace:
    """Approximate the posterior of the ``free`` hyperparameters; the prior of the others does not count."""
    held_density = objective.theta.log_prior(mode, ~free)[0]

    def log_joint(points: Array) -> tuple[Array, Array]:
        full = np.tile(mode, (len(points), 1))
        full[:, free] = points
        values, gradients = objective.negative(full, np.full(len(points), search))
        return -values - held_density, -gradients[:, free]

    return laplace(log_joint, mode[free], objective.theta.prior_precision[free] ** -0.5)


def _column(times: Array) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(times, dtype=np.float64))[:, None]


def _numpy(values: Tensor) -> Array:
    array: Array = values.detach().numpy()
    return array
