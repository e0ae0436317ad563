"""The evidence of a model, its hyperparameters averaged over by Laplace's approximation."""

import numpy as np
from numpy.typing import NDArray

from nonparam.errors import InputError
from nonparam.laplace import laplace
from nonparam.objective import Objective

__all__ = ["laplace_evidence"]

Array = NDArray[np.float64]

MOST_NAMED = 5


def laplace_evidence(objective: Objective, mode: Array) -> float:
    r"""Return :math:`\log \int p(y \mid \theta) \, p(\theta) \, d\theta`, in nats.

    Args:
        objective: with a prior on every hyperparameter.
        mode: ``(p,)``, its maximum.

    Raises:
        InputError: a hyperparameter without a prior, such as a network's weight: the integral is not defined.

    Source: MacKay (2003), Information theory, inference, and learning algorithms, equation 27.8.
    """
    theta = objective.theta
    if improper := [name for name, p in zip(theta.names, theta.prior_precision, strict=True) if p == 0.0]:
        few = ", ".join(improper[:MOST_NAMED]) + (", ..." if len(improper) > MOST_NAMED else "")
        raise InputError(
            f"the evidence needs a prior of every hyperparameter, and {len(improper)} have none: {few}; "
            "compare log_marginal_likelihood_, or fit with priors=None, for which log_evidence() is BIC"
        )

    def log_joint(points: Array) -> tuple[Array, Array]:
        values, gradients = objective.negative(points, np.zeros(len(points), dtype=np.intp))
        return -values, -gradients

    found = laplace(log_joint, mode, theta.prior_precision**-0.5, step=theta.step)
    theta.assign(mode)
    return found.log_evidence
