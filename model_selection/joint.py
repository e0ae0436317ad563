"""The joint density of the outputs that a model was fitted to, and what it says of some given the others."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import ndtr
from torch import Tensor

from nonparam.errors import InputError
from nonparam.model_selection.evidence import LOG_2PI, MeanFit, fit_mean, log_density
from nonparam.model_selection.held_out import Conditional, Precision, conditional, precision_of
from nonparam.model_selection.innovations import increments
from nonparam.solvers.cholesky import cholesky
from nonparam.solvers.operator import Inverse
from nonparam.threads import threads_for

__all__ = [
    "GaussianJoint",
    "HeldOut",
    "JointDensity",
    "SolvedJoint",
    "Units",
    "checked_order",
    "log_volume",
]

Array = NDArray[np.float64]
Rows = NDArray[np.intp]

MOST_SOLVED = 2000  # columns of the inverse: minutes of solves with 20,000 rows


@dataclass(frozen=True)
class HeldOut:
    """What a model says of rows that are held out together, given all the others.

    Attributes:
        rows: ``(k,)``, their numbers.
        log_joint: the log density of all of them together, in nats, summed over outputs.
        log_densities: ``(k, t)``, of each by itself, in nats.
        mean: ``(k, t)``, in units of ``y``.
        sd: ``(k, t)``, of new observations, in units of ``y``.
        cdf: ``(k, t)``, the probability below what was observed.
        residual: ``(k, t)``, what was observed minus the mean, in units of ``y``.
    """

    rows: Rows
    log_joint: float
    log_densities: Array
    mean: Array
    sd: Array
    cdf: Array
    residual: Array

    @property
    def gap(self) -> float:
        """By how much the joint density is above the product of the rows' own, in nats.

        It is what the model knows of the rows' dependence: where it is 0, the conditional marginal likelihood
        is the log loss of a validation set.
        """
        return self.log_joint - float(self.log_densities.sum())


class JointDensity(Protocol):
    """The joint density of the outputs that a model was fitted to, at its fitted hyperparameters."""

    @property
    def n(self) -> int:
        """The number of rows."""

    def log_density(self) -> float:
        """Return the log density of all outputs, in nats; coefficients of the mean have a flat prior."""

    def increments(self, order: Rows) -> Array:
        """Return the log density of each row given those before it in an order ``(n,)``, in nats.

        Summed over outputs; without the first rows, which only determine the mean's coefficients.
        """

    def held_out(self, sets: Sequence[Rows]) -> list[HeldOut]:
        """Return what is said of each set of rows given all rows outside of it."""

    def effective_parameters(self) -> float:
        """Return the trace of the matrix that makes fitted values of the outputs."""


@dataclass(frozen=True)
class Units:
    """What outputs of mean 0 and variance of about 1 are in the units of the data.

    Attributes:
        y: ``(n, t)``, the outputs in units of the data.
        scale: ``(t,)``, what they were divided by.
    """

    y: Array
    scale: Array

    @property
    def log_scale(self) -> float:
        """The sum of the logarithms of the scales: what a row's log density loses in units of the data."""
        return float(np.log(self.scale).sum())

    def held_out(self, found: Conditional) -> list[HeldOut]:
        """Return what is said of sets of rows, in units of the data."""
        rows, error = found.rows.cpu().numpy(), found.error.cpu().numpy() * self.scale
        sd = found.variance.sqrt().cpu().numpy()[..., None] * self.scale
        log_densities = found.log_densities.cpu().numpy() - np.log(self.scale)
        log_joint = found.log_joint.sum(1).cpu().numpy() - rows.shape[1] * self.log_scale
        mean, cdf = self.y[rows] - error, ndtr(error / sd)
        parts = zip(rows, log_joint.tolist(), log_densities, mean, sd, cdf, error, strict=True)
        return [HeldOut(*each) for each in parts]


@dataclass(frozen=True)
class GaussianJoint:
    r"""A Gaussian joint density, all of it from one factorisation.

    .. math:: y \sim N(H \beta, A), \quad p(\beta) = 1

    Attributes:
        covariance: ``A (n, n)``, of the observations, noise included.
        noise: ``(n,)``, the variance of each row's noise, a part of the diagonal of ``A``.
        y: ``(n, t)``, the outputs, independent given the covariance.
        basis: ``H (n, q)``, the basis functions of the mean.
        units: those of the data.

    Raises:
        NotPositiveDefiniteError: when it is asked for something, a matrix that is no covariance, or rows that
            do not determine the mean.

    Source: Rasmussen and Williams (2006), equation 2.45, for the flat prior.

    Examples:
        >>> eye, zeros = torch.eye(3, dtype=torch.float64), torch.zeros(3, 1, dtype=torch.float64)
        >>> joint = GaussianJoint(eye, eye[0], zeros, zeros[:, :0], Units(zeros.numpy(), np.ones(1)))
        >>> round(joint.log_density(), 4), round(joint.held_out([np.array([0, 2])])[0].log_joint, 4)
        (-2.7568, -1.8379)
    """

    covariance: Tensor
    noise: Tensor
    y: Tensor
    basis: Tensor
    units: Units

    @property
    def n(self) -> int:
        """The number of rows."""
        return len(self.y)

    @cached_property
    def _precision(self) -> Precision:
        with threads_for(self.n):
            return precision_of(self.covariance.clone(), self.y, self.basis)

    def log_density(self) -> float:
        """Return the log density of all outputs, in nats, coefficients of the mean integrated out.

        Their flat prior has density 1 for a unit of a basis function and of ``y``.
        """
        with threads_for(self.n):
            factor = cholesky(self.covariance.clone())
            return _log_density(fit_mean(factor, self.y, self.basis), factor, self.units)

    def increments(self, order: Rows) -> Array:
        """Return the log density of each row given those before it in an order ``(n,)``, in nats.

        ``(n - m,)``, summed over outputs: the first ``m`` rows determine the mean's coefficients, of which
        there are as many unless rows repeat each other.

        Raises:
            InputError: an order that does not name every row once.
        """
        index = torch.from_numpy(checked_order(order, self.n)).to(self.y.device)
        with threads_for(self.n):
            a = self.covariance[index][:, index].contiguous()
            found: Array = increments(a, self.y[index], self.basis[index]).sum(1).cpu().numpy()
        return found - self.units.log_scale

    def held_out(self, sets: Sequence[Rows]) -> list[HeldOut]:
        """Return what is said of each set of rows given all rows outside of it.

        Raises:
            NotPositiveDefiniteError: a set without which the other rows do not determine the mean.
        """
        return _held_out(sets, self.units, self._precision.conditional)

    def effective_parameters(self) -> float:
        r"""Return :math:`\mathrm{tr}\, (I - N P)`, the trace of what makes fitted values of the outputs.

        With a mean of zero this is :math:`\mathrm{tr}\, K (K + N)^{-1}`.
        """
        return self.n - float(self.noise @ self._precision.diagonal)


@dataclass(frozen=True)
class SolvedJoint:
    """A Gaussian joint density of more rows than a matrix is kept of: solves answer for some sets of rows.

    A column of the inverse is solved for for each row that is held out; no log-determinants are subtracted.

    Attributes:
        factor: solves with the covariance of the observations.
        mean: the fit of the mean function.
        basis: ``(n, q)``.
        units: those of the data.
    """

    factor: Inverse
    mean: MeanFit
    basis: Tensor
    units: Units

    @property
    def n(self) -> int:
        """The number of rows."""
        return len(self.basis)

    def log_density(self) -> float:
        """Return the log density of all outputs, in nats, as exactly as the solver knows it."""
        return _log_density(self.mean, self.factor, self.units)

    def increments(self, order: Rows) -> Array:
        """Raise `InputError`: increments need a factor."""
        raise InputError(self._refusal("increments of the log marginal likelihood"))

    def effective_parameters(self) -> float:
        """Raise `InputError`: the trace needs an inverse."""
        raise InputError(self._refusal("the effective number of parameters"))

    def _refusal(self, what: str) -> str:
        return (
            f"{what} need a matrix of {self.n:,} x {self.n:,} numbers, and this model was fitted by a solver "
            "that keeps none: fit a random subset of the rows, or take solver='cholesky'; the conditional "
            "marginal likelihood of some rows is there"
        )

    def held_out(self, sets: Sequence[Rows]) -> list[HeldOut]:
        """Return what is said of each set of rows given all rows outside of it.

        Raises:
            InputError: more than 2,000 rows in all: each asks for a solve with all rows.
            NotPositiveDefiniteError: a set without which the other rows do not determine the mean.
        """
        count = sum(len(rows) for rows in sets)
        if count > MOST_SOLVED:
            raise InputError(
                f"{len(sets):,} set(s) of {count:,} held-out rows in all need as many solves with {self.n:,} "
                f"rows, and at most {MOST_SOLVED:,} are made: hold out fewer, as in "
                f"clml(model, n_orderings=1, fraction={1.0 - 500.0 / self.n:.3f}), or fit a random subset"
            )
        return _held_out(sets, self.units, self._conditional)

    def _conditional(self, sets: Tensor) -> Conditional:
        blocks, full = zip(*map(self._block, sets.to(self.basis.device)), strict=True)
        return conditional(torch.stack(blocks), torch.stack(full), self.mean.alpha[sets], sets)

    def _block(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return ``P_TT`` and the diagonal of ``A^-1`` there."""
        unit = self.basis.new_zeros(self.n, len(rows))
        unit[rows, torch.arange(len(rows), device=rows.device)] = 1.0
        block = self.factor.solve(unit)[rows]
        block = 0.5 * (block + block.mT)
        full = torch.diagonal(block).clone()
        if self.basis.shape[1]:
            weighted = self.mean.weighted_basis[rows]
            block = block - weighted @ torch.linalg.solve(self.mean.information, weighted.mT)
        return block, full


def log_volume(mean: MeanFit, t: int) -> float:
    r"""Return what integrating over the coefficients of the mean adds to a log density at their maximum.

    .. math:: \log \int p(y \mid \beta) \, d\beta - \log p(y \mid \hat\beta)
              = \tfrac{tq}{2} \log 2 \pi - \tfrac t2 \log |H^\top A^{-1} H|

    Args:
        mean: the fit, with ``q`` coefficients for each output.
        t: the number of outputs.

    Source: Rasmussen and Williams (2006), equation 2.45.
    """
    q = len(mean.information)
    return 0.5 * t * (q * LOG_2PI - float(torch.logdet(mean.information))) if q else 0.0


def _log_density(mean: MeanFit, factor: Inverse, units: Units) -> float:
    (n, t), q = units.y.shape, len(mean.information)
    value: float = log_density(mean, factor, n, t) + log_volume(mean, t) - (n - q) * units.log_scale
    return value


def _held_out(sets: Sequence[Rows], units: Units, answer: Callable[[Tensor], Conditional]) -> list[HeldOut]:
    """Ask for sets of one size together, and return the answers in the order of the sets."""
    sizes = np.array([len(rows) for rows in sets])
    found: dict[int, HeldOut] = {}
    for size in np.unique(sizes):
        which = np.flatnonzero(sizes == size)
        table = torch.from_numpy(np.stack([np.asarray(sets[i], dtype=np.intp) for i in which.tolist()]))
        with threads_for(len(units.y)):
            found |= dict(zip(which.tolist(), units.held_out(answer(table)), strict=True))
    return [found[i] for i in range(len(sets))]


def checked_order(order: Rows, n: int) -> Rows:
    """Return an order of ``n`` rows; raise `InputError` where it does not name each of them once."""
    found = np.asarray(order)
    if found.shape != (n,) or not (np.sort(found) == np.arange(n)).all():
        raise InputError(
            f"order must name each of the {n} rows once, got {np.array2string(found, threshold=5)}"
        )
    return found.astype(np.intp)
