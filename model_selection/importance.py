r"""The evidence by importance sampling: an average of weights whose error is known.

.. math:: \log p(y) = \log \int p(y, \theta) \, d\theta \approx \log \frac1k \sum_i w_i, \quad
          w_i = \frac{p(y, \theta_i)}{q(\theta_i)}, \quad \theta_i \sim q,

where :math:`q` is a multivariate Student-t density round the mode, as wide as Laplace's approximation. It has
longer tails than most posteriors, which keeps the weights bounded.

Source: Geweke (1989), Bayesian inference in econometric models using Monte Carlo integration, Econometrica
57, 1317-1339; the effective sample size: Kong (1992), A note on importance sampling using standardized
weights, University of Chicago, technical report 348.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln, logsumexp

from nonparam.errors import InputError
from nonparam.laplace import LogDensity, laplace
from nonparam.validation import check_count, check_seed

__all__ = ["ImportanceEvidence", "importance_evidence"]

Array = NDArray[np.float64]

FREEDOM = 8.0  # of the Student-t density: tails that few posteriors exceed, and little waste in the middle
BATCH = 10_000  # draws at a time
LEAST = 100.0  # effective draws: with fewer the standard error itself is not to be trusted


@dataclass(frozen=True)
class ImportanceEvidence:
    """An estimate of the evidence.

    Attributes:
        log_evidence: in nats.
        standard_error: of that, in nats.
        effective_sample_size: how many draws from the posterior itself the weighted ones are worth.
    """

    log_evidence: float
    standard_error: float
    effective_sample_size: float


def importance_evidence(
    log_joint: LogDensity,
    mode: Array,
    scale: Array,
    *,
    n_draws: int = 100_000,
    random_state: int | np.random.RandomState | None = 0,
) -> ImportanceEvidence:
    """Estimate the logarithm of an integral over parameters with one mode.

    Args:
        log_joint: takes ``(b, p)`` points; returns ``(b,)`` log joint densities in nats, constants counted,
            and ``(b, p)`` gradients.
        mode: ``(p,)``, the maximum of ``log_joint``.
        scale: ``(p,)``, a typical distance in each coordinate: the standard deviation of its prior.
        n_draws: at least 1000.
        random_state: seed.

    Returns:
        The estimate and its standard error.

    Raises:
        InputError: weights so unequal that fewer than 100 draws would have served as well: the density is
            no hill round this mode, or has more parameters than importance sampling is good for.

    Examples:
        >>> def normal(x):  # of variance 4, and an integral of 1
        ...     return -(x[:, 0] ** 2) / 8.0 - 0.5 * np.log(8.0 * np.pi), -x / 4.0
        >>> found = importance_evidence(normal, np.zeros(1), np.array([2.0]))
        >>> abs(found.log_evidence) < 4.0 * found.standard_error < 0.01
        True
    """
    check_count(n_draws, "n_draws", least=1000)
    rng = check_seed(random_state)
    root = laplace(log_joint, mode, scale).root
    sizes = [min(BATCH, n_draws - done) for done in range(0, n_draws, BATCH)]
    log_weights = np.concatenate([_log_weights(log_joint, mode, root, size, rng) for size in sizes])
    largest = float(log_weights.max())
    if not math.isfinite(largest):
        raise InputError(
            f"the largest log joint density of {n_draws:,} draws is {largest}: expected numbers, minus "
            "infinity where parameters are impossible"
        )
    weights = np.exp(log_weights - largest)
    effective = float(weights.sum() ** 2 / np.square(weights).sum())
    if effective < LEAST:
        raise InputError(
            f"{n_draws:,} draws are worth {effective:.0f}, and {LEAST:.0f} are needed: check that the mode "
            "is one and the only one; or give more draws, better coordinates or fewer parameters"
        )
    error = math.sqrt(max(1.0 / effective - 1.0 / n_draws, 0.0))
    return ImportanceEvidence(float(logsumexp(log_weights)) - math.log(n_draws), error, effective)


def _log_weights(
    log_joint: LogDensity, mode: Array, root: Array, size: int, rng: np.random.RandomState
) -> Array:
    """Return log weights of draws ``(size,)``."""
    p = len(mode)
    z = rng.standard_normal((size, p)) / np.sqrt(rng.chisquare(FREEDOM, (size, 1)) / FREEDOM)
    constant = gammaln(0.5 * (FREEDOM + p)) - gammaln(0.5 * FREEDOM) - 0.5 * p * math.log(FREEDOM * math.pi)
    log_proposed = constant - 0.5 * (FREEDOM + p) * np.log1p(np.square(z).sum(1) / FREEDOM)
    log_proposed -= np.linalg.slogdet(root)[1]
    return np.asarray(log_joint(mode + z @ root.T)[0] - log_proposed)
