"""The most probable hyperparameters of structures, and the evidence for each, many at once."""

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.stats import qmc

from nonparam.forecasting.structure import Structure
from nonparam.laplace import Laplace, from_stencil, stencil
from nonparam.lbfgs import UNFINISHED, Minimum, descend
from nonparam.theta import Theta

__all__ = ["TIME_OVER", "Fitted", "search"]

Array = NDArray[np.float64]
LogLikelihood = Callable[[Array, NDArray[np.intp]], tuple[Array, Array]]

GRADIENT_TOLERANCE = 1e-2  # nats per unit of the logarithm of a hyperparameter
VALUE_TOLERANCE = 1e-3  # nats gained in the last steps
LEFT = 0.1  # nats that a step of Newton's method promises: of a search that has converged, no more
TIME_OVER = "time_limit ended the search"


@dataclass(frozen=True)
class Fitted:
    """A structure with hyperparameters that suit a series.

    Attributes:
        omitted: names of the parts that are switched off.
        output: the number of the series.
        search: for the most probable hyperparameters.
        laplace: of those that are not switched off.
        bounds: ``(2, p)``, of the hyperparameters.
    """

    omitted: tuple[str, ...]
    output: int
    search: Minimum
    laplace: Laplace
    bounds: Array

    def draws(self, structure: Structure, num: int) -> Array:
        """Return hyperparameters as uncertain as Laplace's approximation says, ``(num, p)``.

        They are the same at each call: quasi-random normal numbers (Owen 1997, scrambled nets).
        """
        free = ~structure.entries(self.omitted)
        normal = qmc.MultivariateNormalQMC(np.zeros(int(free.sum())), seed=0, inv_transform=True).random(num)
        points = np.tile(self.search.theta, (num, 1))
        # a triangular root, for that of eigenvectors turns with the rounding where curvatures are equal
        root = np.linalg.cholesky(self.laplace.root @ self.laplace.root.T)
        drawn = self.laplace.mode + normal @ root.T
        points[:, free] = np.clip(drawn, *self.bounds[:, free])
        return points


def search(
    structure: Structure,
    log_likelihood: LogLikelihood,
    kinds: Sequence[tuple[int, Collection[str]]],
    *,
    starts: Array | None = None,
    value_tolerance: float = VALUE_TOLERANCE,
    deadline: float = np.inf,
) -> list[Fitted]:
    """Find the most probable hyperparameters of a structure, and of some without a few of its parts.

    Args:
        structure: the parts and their priors.
        log_likelihood: takes points ``(b, p)`` and the numbers of their series ``(b,)``; returns values and
            gradients.
        kinds: numbers of series, and the names of the parts that are left out.
        starts: ``(k, p)``, where to begin; by default at the medians of the priors.
        value_tolerance: a search ends where its last steps gained no more nats.
        deadline: of `time.monotonic`, at which the search stops where it is.

    Returns:
        One for each of ``kinds``.
    """
    theta = structure.theta()
    outputs = np.array([output for output, _ in kinds])
    if starts is None:
        starts = np.stack([structure.switched_off(names) for _, names in kinds])
    held = np.stack([structure.entries(names) for _, names in kinds])

    def negative(points: Array, which: NDArray[np.intp]) -> tuple[Array, Array]:
        values, gradients = log_likelihood(points, outputs[which])
        densities, slopes = theta.log_prior(points)
        return -values - densities, -gradients - slopes

    iterations = descend(
        negative,
        starts,
        np.where(held, starts, theta.lower),
        np.where(held, starts, theta.upper),
        gradient_tolerance=GRADIENT_TOLERANCE,
        value_tolerance=value_tolerance,
    )
    for found in iterations:
        if time.monotonic() > deadline:
            found = [replace(m, message=TIME_OVER) if m.message == UNFINISHED else m for m in found]
            break
    return _approximated(theta, negative, kinds, held, found)


def _approximated(
    theta: Theta,
    negative: LogLikelihood,
    kinds: Sequence[tuple[int, Collection[str]]],
    held: NDArray[np.bool_],
    found: Sequence[Minimum],
) -> list[Fitted]:
    """Return Laplace's approximations where searches ended, and whether these converged.

    Args:
        theta: of the structure.
        negative: minus the log density, and its gradient.
        kinds: as for `search`.
        held: ``(k, p)``, the hyperparameters of parts that are left out.
        found: the ends.
    """
    scale = theta.prior_precision**-0.5
    stencils = [
        _full(each.theta, ~h, stencil(each.theta[~h], scale[~h], central=False))
        for each, h in zip(found, held, strict=True)
    ]
    which = np.repeat(np.arange(len(kinds)), [len(points) for points in stencils])
    values, gradients = negative(np.concatenate(stencils), which)
    fitted, bounds = [], np.stack([theta.lower, theta.upper])
    for i, (output, names) in enumerate(kinds):
        free, ours = ~held[i], which == i
        constant = theta.log_prior(found[i].theta[None], ~free)[0][0]
        slopes = -gradients[ours][:, free]
        approximation = from_stencil(
            found[i].theta[free], -values[ours] - constant, slopes, scale[free], step=scale[free]
        )
        left = _left(approximation, slopes[0], bounds[:, free])
        judged = replace(found[i], converged=bool(left <= LEFT))
        fitted.append(Fitted(tuple(names), output, judged, approximation, bounds))
    return fitted


def _left(laplace: Laplace, gradient: Array, bounds: Array) -> float:
    r"""Return half of Newton's decrement, :math:`\tfrac12 g^\top H^{-1} g`: the nats that are left to gain.

    Unlike the gradient, it does not grow with the length of a series. Entries that point out of the bounds
    do not count.

    Source: Boyd and Vandenberghe (2004), section 9.5.1.
    """
    lower, upper = bounds
    outward = ((laplace.mode <= lower) & (gradient < 0.0)) | ((laplace.mode >= upper) & (gradient > 0.0))
    white = laplace.root.T @ np.where(outward, 0.0, gradient)
    return 0.5 * float(white @ white)


def _full(mode: Array, free: NDArray[np.bool_], points: Array) -> Array:
    full = np.tile(mode, (len(points), 1))
    full[:, free] = points
    return full
