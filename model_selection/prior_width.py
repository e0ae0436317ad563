"""The evidence of a Gaussian process under priors of another width."""

import math

import numpy as np
import torch
from numpy.typing import NDArray

from nonparam.kernels.strips import assemble
from nonparam.lbfgs import minimise
from nonparam.model_selection.evidence import fit_mean
from nonparam.model_selection.evidence_integral import laplace_at
from nonparam.model_selection.joint import log_volume
from nonparam.objective import Objective
from nonparam.solvers.cholesky import cholesky

__all__ = ["evidence_of_width"]

Array = NDArray[np.float64]

TOLERANCE = 1e-6  # nats gained in the last steps of the search for another mode


def evidence_of_width(objective: Objective, start: Array, width: float) -> float:
    """Return the log evidence with other widths of the priors, the coefficients of the mean integrated out.

    Args:
        objective: its own copy of kernel and priors, which are changed.
        start: ``(p,)``, the mode with the priors as they are.
        width: by which the standard deviations of the priors are multiplied; the mode is found again.

    Returns:
        In nats and in the units of the objective, by Laplace's approximation.
    """
    theta = objective.theta
    theta.prior_precision = theta.prior_precision / width**2
    found = minimise(
        objective.negative, start[None], theta.lower, theta.upper, scale=theta.step, value_tolerance=TOLERANCE
    )[0]
    return laplace_at(objective, found.theta).log_evidence + _volume_at(objective, found.theta)


def _volume_at(objective: Objective, point: Array) -> float:
    """Return what integrating over the coefficients of the mean adds at some hyperparameters."""
    data, theta = objective.data, objective.theta
    theta.assign(point)
    with torch.no_grad():
        a = assemble(theta.kernel, data.x).matrix
    torch.diagonal(a).add_(data.noise_variances(math.exp(point[-1]) if theta.learns_noise else 0.0))
    return log_volume(fit_mean(cholesky(a), data.y, data.basis), data.y.shape[1])
