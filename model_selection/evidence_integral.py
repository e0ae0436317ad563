"""The evidence of a model, its hyperparameters averaged over by Laplace's approximation."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from nonparam.errors import InputError
from nonparam.laplace import Laplace, laplace
from nonparam.objective import Objective

__all__ = ["laplace_at", "laplace_evidence", "log_joint"]

Array = NDArray[np.float64]

MOST_NAMED = 5


def laplace_evidence(model: Any) -> float:
    r"""Return the log evidence of a fitted model, its hyperparameters averaged over, in nats.

    .. math:: \log p(y) = \log \int p(y \mid \theta) \, p(\theta) \, d\theta \approx
              \log p(y \mid \hat\theta) + \log p(\hat\theta) + \tfrac p2 \log 2\pi - \tfrac12 \log |H|

    with :math:`H` the curvature of the log joint density at its mode. The coordinates are unconstrained, the
    logarithms of the positive hyperparameters, and so is the prior: a normal density of the logarithm, which
    has the Jacobian in it. Nothing is added to or taken from the maximum that training found, and the
    result is the same for a log-normal prior of the hyperparameter itself.

    How far it is from quadrature depends on how well the data determine the hyperparameters. With 80 rows
    and more that span many lengthscales it is 0.03 nats low or less with ``mean="zero"``, and up to 0.1 with
    a fitted mean, whose coefficients are integrated out at the mode only. With 6 to 15 rows it is 0.1 to 0.7
    nats low with two or three hyperparameters, and a smooth kernel on a single wave was 0.3 nats high with
    200 rows. `HyperparameterAverage.log_evidence` corrects it, with ``marginalise="grid"`` to about 0.02
    nats.

    Args:
        model: a fitted `GPRegressor`, or another regressor with ``log_evidence()`` and a proper prior.

    Raises:
        InputError: a model without priors of what it learnt, whose integral is not defined; or one fitted by
            conjugate gradients, for which BIC stands in.

    Source: MacKay (2003), Information theory, inference, and learning algorithms, equation 27.8.
    """
    check_is_fitted(model)
    if not hasattr(model, "_by_laplace") and len(getattr(model, "theta_", ())):
        raise InputError(
            f"{', '.join(model.theta_names_)} of {type(model).__name__} were learnt without a prior, which "
            "is an improper one: give them, or take weights='stacking' in an average"
        )
    if getattr(model, "_by_laplace", True):
        return float(model.log_evidence())
    if model.priors is None:
        raise InputError(
            "the evidence of a model with priors=None is not defined: a flat prior of its "
            f"{len(model.theta_)} hyperparameters is improper, and the integral has an arbitrary constant. "
            "Fit with priors='default'; log_evidence() of this model is BIC, bic(model) says the same"
        )
    raise InputError(
        f"there is no curvature of the evidence of {len(model.posterior_.data.x):,} rows after "
        f"solver={model.posterior_.solver!r}, and log_evidence() is BIC: fit with solver='cholesky', or a "
        "subset of the rows"
    )


def log_joint(objective: Objective, points: Array) -> tuple[Array, Array]:
    """Return ``(b,)`` log densities of data and hyperparameters ``(b, p)`` in nats, and gradients."""
    values, gradients = objective.negative(points, np.zeros(len(points), dtype=np.intp))
    return -values, -gradients


def laplace_at(objective: Objective, mode: Array) -> Laplace:
    """Approximate the posterior of hyperparameters by a Gaussian at its mode.

    Args:
        objective: with a prior on every hyperparameter; its kernel is left at the mode.
        mode: ``(p,)``, its maximum.

    Raises:
        InputError: a hyperparameter without a prior, such as a network's weight: the integral is not defined.

    Source: MacKay (2003), equation 27.8.
    """
    theta = objective.theta
    if improper := [name for name, p in zip(theta.names, theta.prior_precision, strict=True) if p == 0.0]:
        few = ", ".join(improper[:MOST_NAMED]) + (", ..." if len(improper) > MOST_NAMED else "")
        raise InputError(
            f"the evidence needs a prior of every hyperparameter, and {len(improper)} have none: {few}; "
            "compare log_marginal_likelihood_, or fit with priors=None, for which log_evidence() is BIC"
        )
    scale = theta.prior_precision**-0.5
    found = laplace(lambda points: log_joint(objective, points), mode, scale, step=theta.step)
    theta.assign(mode)
    return found
