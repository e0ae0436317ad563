r"""The joint density of outputs whose noise variance is not known: a multivariate Student-t density.

With :math:`y \mid \sigma^2 \sim N(H \beta, \sigma^2 A)`, a flat prior on the :math:`q` coefficients and
:math:`\sigma^2 \sim \mathrm{InvGamma}(a, b)`, rows :math:`S` leave the noise variance an inverse gamma
density with shape :math:`a + (|S| - q) / 2` and rate :math:`b + Q_S / 2`, where :math:`Q_S` is the squared
error of :math:`y_S` in units of :math:`A_{SS}`. What they say of other rows is the Gaussian conditional with
that density of its variance: a multivariate Student-t density again, with :math:`2 a + |S| - q` degrees of
freedom.

Source: O'Hagan and Forster (2004), Kendall's advanced theory of statistics, volume 2B, sections 11.10 to
11.14; conditionals: Ding (2016), On the conditional distribution of the multivariate t distribution, The
American Statistician 70, 293-295.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.special import gammaln
from scipy.stats import t as student
from torch import Tensor

from nonparam.model_selection.held_out import Precision, precision_of
from nonparam.model_selection.joint import GaussianJoint, HeldOut, Units
from nonparam.threads import threads_for

__all__ = ["StudentJoint"]

Array = NDArray[np.float64]
Rows = NDArray[np.intp]


@dataclass(frozen=True)
class StudentJoint:
    r"""A multivariate Student-t density of one output, all of it from one factorisation.

    .. math:: y \mid \beta, \sigma^2 \sim N(m + H \beta, \sigma^2 A), \quad p(\beta) = 1, \quad
              \sigma^2 \sim \mathrm{InvGamma}(a, b)

    Attributes:
        covariance: ``A (n, n)``, of the observations in units of the noise variance, noise included.
        y: ``(n, 1)``, the outputs minus their prior mean ``m``.
        basis: ``H (n, q)``: a constant, or nothing.
        units: the outputs as they are.
        shape: ``a`` of the prior of the noise variance.
        rate: ``b``, in units of ``y`` squared.

    Raises:
        NotPositiveDefiniteError: when it is asked for something, a matrix that is no covariance, or rows that
            do not determine the mean.

    Examples:
        >>> eye, zeros = torch.eye(3, dtype=torch.float64), torch.zeros(3, 1, dtype=torch.float64)
        >>> joint = StudentJoint(eye, zeros, zeros[:, :0], Units(zeros.numpy(), np.ones(1)), 2.0, 1.0)
        >>> round(joint.log_density(), 4), joint.increments(np.arange(3)).round(4)
        (-1.5558, array([-0.6343, -0.5105, -0.4111]))
    """

    covariance: Tensor
    y: Tensor
    basis: Tensor
    units: Units
    shape: float
    rate: float

    @property
    def n(self) -> int:
        """The number of rows."""
        return len(self.y)

    @cached_property
    def _precision(self) -> Precision:
        with threads_for(self.n):
            return precision_of(self.covariance.clone(), self.y, self.basis)

    def _unit(self, y: Tensor) -> GaussianJoint:
        """Return the density of some outputs if the noise variance were 1."""
        noise = torch.ones(self.n, dtype=y.dtype)
        return GaussianJoint(self.covariance, noise, y, self.basis, self.units)

    def log_density(self) -> float:
        """Return the log density of all outputs, in nats, coefficients of the mean integrated out."""
        squares = float((self.y * self._precision.alpha).sum())
        averaged = self._averaged(self.n - self.basis.shape[1], squares, 0.0, 0.0)
        return self._unit(0.0 * self.y).log_density() + float(averaged)

    def increments(self, order: Rows) -> Array:
        """Return the log density of each row given those before it in an order ``(n,)``, in nats.

        ``(n - q,)``: the first rows determine the mean's coefficients.

        Raises:
            InputError: an order that does not name every row once.
        """
        volumes = self._unit(0.0 * self.y).increments(order)
        squares = 2.0 * (volumes - self._unit(self.y).increments(order))
        before = np.concatenate([[0.0], np.cumsum(squares)[:-1]])
        return np.asarray(volumes + self._averaged(1.0, squares, np.arange(len(squares)), before))

    def held_out(self, sets: Sequence[Rows]) -> list[HeldOut]:
        """Return what is said of each set of rows given all rows outside of it.

        Standard deviations are infinite where two degrees of freedom, or fewer, are left.

        Raises:
            NotPositiveDefiniteError: a set without which the other rows do not determine the mean.
        """
        with threads_for(self.n):
            return [self._held_out(np.asarray(rows, dtype=np.intp)) for rows in sets]

    def _held_out(self, rows: Rows) -> HeldOut:
        found = self._precision.conditional(torch.from_numpy(rows)[None])
        alpha = self._precision.alpha
        own = float((alpha[rows] * found.error[0]).sum())
        others = max(float((self.y * alpha).sum()) - own, 0.0)
        seen = self.n - self.basis.shape[1] - len(rows)
        log_joint = float(found.log_joint) + 0.5 * own + float(self._averaged(len(rows), own, seen, others))
        freedom = 2.0 * self.shape + seen
        spread = np.sqrt((2.0 * self.rate + others) / freedom * found.variance[0].numpy())[:, None]
        error = found.error[0].numpy()
        sd = spread * np.sqrt(freedom / (freedom - 2.0)) if freedom > 2.0 else np.full_like(spread, np.inf)
        log_densities = student.logpdf(error, freedom, scale=spread)
        cdf = student.cdf(error, freedom, scale=spread)
        return HeldOut(rows, log_joint, log_densities, self.units.y[rows] - error, sd, cdf, error)

    def effective_parameters(self) -> float:
        r"""Return :math:`\mathrm{tr}\, (I - P)`, the trace of what makes fitted values of the outputs."""
        return self.n - float(self._precision.diagonal.sum())

    def _averaged(self, k: float, squares: ArrayLike, seen: ArrayLike, before: ArrayLike) -> Array:
        """Return what a log density gains where its noise variance is averaged over, at an error of 0 and 1.

        Args:
            k: rows whose density it is.
            squares: their squared error.
            seen: rows before them, those left out that determine the mean.
            before: the squared error of those.
        """
        shape, rate = self.shape + 0.5 * np.asarray(seen), self.rate + 0.5 * np.asarray(before)
        after = shape + 0.5 * k
        powers = -0.5 * k * np.log(rate) - after * np.log1p(0.5 * np.asarray(squares) / rate)
        return np.asarray(gammaln(after) - gammaln(shape) + powers)
