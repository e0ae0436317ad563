r"""Laplace's approximation: a Gaussian at the mode of a posterior, and the evidence that it implies.

With the log joint density :math:`\log p(y, \theta)`, its mode :math:`\hat\theta` and
:math:`H = -\nabla\nabla \log p(y, \hat\theta)`,

.. math::

    p(\theta \mid y) \approx N(\hat\theta, H^{-1}), \quad
    \log p(y) \approx \log p(y, \hat\theta) + \tfrac p2 \log 2\pi - \tfrac12 \log |H|.

Source: MacKay (2003), Information theory, inference, and learning algorithms, chapter 27.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Laplace", "from_stencil", "laplace", "stencil"]

Array = NDArray[np.float64]
LogDensity = Callable[[Array], tuple[Array, Array]]

STEP = 1e-3  # of the differences, in units of the scale of each coordinate
FLOOR = 0.3  # of the curvature in units of the scale: where a prior alone has 1, data took away most of it


@dataclass(frozen=True)
class Laplace:
    r"""A Gaussian approximation of a posterior.

    Attributes:
        mode: ``(p,)``.
        log_joint: at the mode, in nats.
        root: ``(p, p)``, with covariance :math:`H^{-1} = R R^\top`.
        log_evidence: in nats.
        floored: how many directions had less curvature than the floor.

    Examples:
        >>> def normal(x):  # of standard deviation 2
        ...     return -x[:, 0] ** 2 / 8.0, -x / 4.0
        >>> found = laplace(normal, np.zeros(1), np.ones(1), floor=0.0)
        >>> (found.root @ found.root.T).round(6), found.floored  # the variance
        (array([[4.]]), 0)
    """

    mode: Array
    log_joint: float
    root: Array
    log_evidence: float
    floored: int


def laplace(
    log_joint: LogDensity, mode: Array, scale: Array, *, step: Array | None = None, floor: float = FLOOR
) -> Laplace:
    """Approximate a posterior by the Gaussian of equal curvature at its mode.

    The Hessian comes from central differences of the gradient, all in one call. In units of ``scale`` its
    eigenvalues are kept above ``floor``, so that a flat or a saddle-like direction counts as about as
    wide as the prior and no wider.

    Args:
        log_joint: takes ``(b, p)`` points; returns ``(b,)`` log joint densities in nats and ``(b, p)``
            gradients.
        mode: ``(p,)``, a maximum of ``log_joint``.
        scale: ``(p,)``, a typical distance in each coordinate: the standard deviation of its prior.
        step: ``(p,)``, over a thousandth of which the density is about quadratic; by default ``scale``.
        floor: the least curvature in units of ``scale``.

    Returns:
        The approximation.

    Source: MacKay (2003), equation 27.8.

    Examples:
        >>> def normal(x):  # standard deviation 2, and an integral of 10
        ...     return np.log(10.0 / np.sqrt(8.0 * np.pi)) - x[:, 0] ** 2 / 8.0, -x / 4.0
        >>> round(np.exp(laplace(normal, np.zeros(1), np.ones(1), floor=0.0).log_evidence), 6)
        np.float64(10.0)
    """
    step = scale if step is None else step
    return from_stencil(mode, *log_joint(stencil(mode, step)), scale, step=step, floor=floor)


def stencil(mode: Array, step: Array, *, central: bool = True) -> Array:
    """Return the points that `from_stencil` needs a density at: ``(1 + 2 p, p)``, or ``(1 + p, p)``.

    Args:
        mode: ``(p,)``.
        step: ``(p,)``.
        central: whether steps are taken both ways; one way takes half of the time, and has an error of about
            a thousandth.

    Examples:
        >>> stencil(np.zeros(1), np.ones(1)).tolist()
        [[0.0], [0.001], [-0.001]]
    """
    steps = STEP * np.diag(step)
    points: Array = np.concatenate([mode[None], mode + steps, *([mode - steps] if central else [])])
    return points


def from_stencil(
    mode: Array, values: Array, gradients: Array, scale: Array, *, step: Array, floor: float = FLOOR
) -> Laplace:
    """Approximate a posterior, as `laplace` does, by what the log density is at the points of `stencil`.

    Args:
        mode: ``(p,)``.
        values: ``(1 + 2 p,)``, or ``(1 + p,)`` where steps were taken one way.
        gradients: of as many points, ``(..., p)``.
        scale: ``(p,)``.
        step: ``(p,)``, as for the stencil.
        floor: the least curvature in units of ``scale``.

    Examples:
        >>> points = stencil(np.zeros(1), np.ones(1))
        >>> from_stencil(np.zeros(1), -points[:, 0] ** 2, -2.0 * points, np.ones(1), step=np.ones(1)).root
        array([[0.70710678]])
    """
    p = len(mode)
    ahead, behind = gradients[1 : 1 + p], gradients[1 + p :]
    changes = (behind - ahead) / (2.0 * STEP) if len(behind) else (gradients[0] - ahead) / STEP
    hessian = changes * scale * (scale / step)[:, None]
    curvatures, directions = np.linalg.eigh(0.5 * (hessian + hessian.T))
    kept = np.maximum(curvatures, floor)
    root = scale[:, None] * directions / np.sqrt(kept)
    log_volume = 0.5 * p * np.log(2.0 * np.pi) + float(np.log(scale).sum()) - 0.5 * float(np.log(kept).sum())
    value = float(values[0])
    return Laplace(mode, value, root, value + log_volume, int((curvatures < floor).sum()))
