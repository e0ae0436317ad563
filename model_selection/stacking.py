r"""Weights of models whose mixture predicts held-out rows best.

.. math::

    \max_w \; \frac1n \sum_i \log \sum_k w_k \, p_k(y_i \mid y_{-i}), \quad w_k \ge 0, \quad \sum_k w_k = 1

The problem is concave. Expectation maximisation, :math:`w_k \leftarrow w_k g_k` with the gradient
:math:`g_k = \frac1n \sum_i p_{ik} / \sum_l w_l p_{il}`, climbs in every step, and :math:`\max_k g_k - 1`
bounds what is still to be gained.
"""

import warnings

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import logsumexp
from sklearn.exceptions import ConvergenceWarning

from nonparam.errors import InputError

__all__ = ["stacking_weights"]

Array = NDArray[np.float64]

GAINED = 1e-9  # nats a row that better weights could add at most
MOST_STEPS = 50_000


def stacking_weights(log_densities: ArrayLike) -> Array:
    """Return the weights of models that maximise the mean log density of their mixture.

    Args:
        log_densities: ``(n, k)``, of each row given all others by each model, in nats.

    Returns:
        ``(k,)``, which sum to 1.

    Raises:
        InputError: no table of numbers, or a row to which no model gives a density.

    Source: Yao, Vehtari, Simpson and Gelman (2018), Using stacking to average Bayesian predictive
    distributions, Bayesian Analysis 13, section 3.

    Examples:
        >>> log_densities = np.log([[0.9, 0.1], [0.1, 0.9], [0.9, 0.1]])  # each is right at times
        >>> stacking_weights(log_densities).round(4)
        array([0.7083, 0.2917])
    """
    table = np.asarray(log_densities, dtype=np.float64)
    if table.ndim != 2 or not table.size or np.isnan(table).any() or (table == np.inf).any():
        raise InputError(
            f"stacking needs a log density of each row by each model, (n, k) numbers; got shape {table.shape}"
        )
    if (hopeless := np.flatnonzero((table == -np.inf).all(1))).size:
        raise InputError(f"row {hopeless[0]} has no density by any of the models: none can be weighed by it")
    densities = np.exp(table - logsumexp(table, axis=1, keepdims=True))
    weights = np.full(table.shape[1], 1.0 / table.shape[1])
    for _ in range(MOST_STEPS):
        slopes = (densities / (densities @ weights)[:, None]).mean(0)
        if slopes.max() - 1.0 <= GAINED:
            return np.asarray(weights / weights.sum())
        weights = weights * slopes
    said = f"stacking weights may still gain {slopes.max() - 1.0:.1e} nats a row"
    warnings.warn(said, ConvergenceWarning, stacklevel=2)
    return np.asarray(weights / weights.sum())
