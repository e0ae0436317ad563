r"""Linear regression on the innovations of a Kalman filter: features beside a process.

With ``y ~ N(F c, K)`` and ``c ~ N(0, V)``, a filter of the process alone turns ``y`` and the columns of ``F``
into innovations :math:`\epsilon` and :math:`E`, for which the covariance is the identity. So

.. math::

    \log N(y; 0, K + F V F^\top) = -\tfrac12 \big( |\epsilon - E V^{1/2} b|^2 + |b|^2 + \log |K|
        + \log |B| + n \log 2 \pi \big), \quad
    B = I + V^{1/2} E^\top E V^{1/2} = R^\top R, \quad b = B^{-1} V^{1/2} E^\top \epsilon,

and all of it stands in one QR factor, where nothing cancels.

Sources: de Jong (1991), The diffuse Kalman filter, Annals of Statistics 19; Rasmussen and Williams (2006),
section 2.7.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg.lapack import dtrtri

__all__ = ["Regression", "regress"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Regression:
    """The coefficients of the features given all rows.

    Attributes:
        mean: ``(q,)``.
        root: ``C (q, q)``, their covariance is ``C C'``.
        log_density: of the rows, in nats.
        slopes: ``(q,)``, its derivatives in the logarithms of the prior variances, the process held.
    """

    mean: Array
    root: Array
    log_density: float
    slopes: Array

    def mixed(self, columns: Array) -> Array:
        """Return what is left of ``y``, and the directions of the coefficients' uncertainty.

        Args:
            columns: ``(..., 1 + q)``, what a linear map made of ``y`` and of each feature.

        Returns:
            What it makes of ``y - F mean`` and of ``F C``, ``(..., 1 + q)``.
        """
        features = columns[..., 1:]
        rest = columns[..., :1] - (features @ self.mean)[..., None]
        return np.concatenate([rest, features @ self.root], axis=-1)


def regress(innovations: Array, roots: Array, variances: Array) -> Regression:
    """Regress the innovations of ``y`` on those of the features.

    Args:
        innovations: ``(n, 1 + q)``, of ``y`` and of each feature, divided by their standard deviation.
        roots: ``(n,)``, one over that standard deviation; 0 where nothing was observed.
        variances: ``(q,)``, of the coefficients beforehand.

    Returns:
        The regression.

    Examples:
        >>> found = regress(np.array([[1.0, 1.0], [3.0, 1.0]]), np.ones(2), np.array([1e9]))
        >>> found.mean.round(6), round((found.root**2).item(), 6)
        (array([2.]), 0.5)
    """
    q, scales = len(variances), np.sqrt(variances)
    rows = np.concatenate([innovations[:, 1:] * scales, innovations[:, :1]], axis=1)
    r = np.asarray(np.linalg.qr(np.concatenate([rows, np.eye(q, q + 1)]), mode="r"))
    inverse = dtrtri(r[:q, :q])[0] if q else np.empty((0, 0))  # B >= I, so R has one
    b = inverse @ r[:q, q]
    seen = roots[roots > 0.0]
    log_volume = float(np.log(np.abs(np.diag(r)[:q])).sum() - np.log(seen).sum())
    return Regression(
        mean=scales * b,
        root=scales[:, None] * inverse,
        log_density=-0.5 * float(r[q, q]) ** 2 - log_volume - 0.5 * len(seen) * math.log(2.0 * math.pi),
        slopes=0.5 * (b**2 - 1.0 + (inverse**2).sum(1)),
    )
