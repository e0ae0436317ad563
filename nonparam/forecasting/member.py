"""One structure on one transform of a series: the evidence for it, and its Gaussian forecast."""

from collections.abc import Sequence
from dataclasses import dataclass

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
VALUE_TOLERANCE = 1e-9  # of the objective, relative, in one step


@dataclass(frozen=True)
class Candidate:
    """A structure fitted to a transform of a series.

    Attributes:
        structure: its parts.
        transform: of the series.
        search: of the most probable hyperparameters.
        laplace: their uncertainty.
        log_evidence: log density of the observations as they are, in nats.
        objective: what was maximised; the series is among its outputs.
        output: which of them it is.
    """

    structure: Structure
    transform: Standardised
    search: Minimum
    laplace: Laplace
    log_evidence: float
    objective: Objective
    output: int

    def hyperparameters(self, unit: float) -> dict[str, float]:
        """Return the hyperparameters with time in steps, of which ``unit`` are counted as 1."""
        return self.structure.natural(self.search.theta, unit, self.transform.scale)

    def conditioned(self) -> "Member":
        """Return the member of a forecast, at the most probable hyperparameters."""
        theta = self.objective.theta
        theta.assign(self.search.theta)
        kernel, noise = theta.kernel.__sklearn_clone__(), float(np.exp(self.search.theta[-1]))
        data = self.objective.data.output(self.output)
        return Member(self.structure.names, self.transform, condition(kernel, data, noise))


@dataclass(frozen=True)
class Member:
    """A Gaussian process of a transformed series, given the series.

    Attributes:
        names: of the terms of its kernel.
        transform: of the series.
        posterior: of the transformed series.
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
    structure: Structure, times: Array, y: Array, transforms: Sequence[Standardised]
) -> list[Candidate]:
    """Fit a structure to several transforms of a series at once.

    Args:
        structure: the parts and their priors.
        times: ``(n,)``, increasing.
        y: ``(n,)``, finite.
        transforms: of ``y``.

    Returns:
        One candidate for each transform.
    """
    x, z = _column(times), torch.from_numpy(np.stack([t.forward(y) for t in transforms], 1))
    theta = structure.theta()
    data = Data(x, z, x[:, :0], torch.ones_like(x[:, 0]), None)
    objective = Objective(data, theta, with_prior=True, outputs=np.arange(len(transforms)))
    found = minimise(
        objective.negative,
        np.tile(theta.prior_mean, (len(transforms), 1)),
        theta.lower,
        theta.upper,
        gradient_tolerance=GRADIENT_TOLERANCE,
        value_tolerance=VALUE_TOLERANCE,
    )
    candidates = []
    for output, (transform, search) in enumerate(zip(transforms, found, strict=True)):
        approximation = _approximate(objective, output, search.theta)
        evidence = approximation.log_evidence + float(transform.log_slope(y).sum())
        candidates.append(Candidate(structure, transform, search, approximation, evidence, objective, output))
    return candidates


def _approximate(objective: Objective, output: int, mode: Array) -> Laplace:
    def log_joint(points: Array) -> tuple[Array, Array]:
        values, gradients = objective.negative(points, np.full(len(points), output))
        return -values, -gradients

    return laplace(log_joint, mode, objective.theta.prior_precision**-0.5)


def _column(times: Array) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(times, dtype=np.float64))[:, None]


def _numpy(values: Tensor) -> Array:
    array: Array = values.detach().numpy()
    return array
