r"""What structure a kernel and the places of the rows give the covariance matrix.

Each structure names the few numbers that the matrix is built from, its *parts*: the scales of the terms of a
state-space model, the lags of a Toeplitz matrix, the factors of a Kronecker product. The algorithm gives the
derivative of the evidence in the parts; from there to the hyperparameters it is the kernel's own gradient.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import gpytorch
import numpy as np
import torch
from torch import Tensor

from nonparam.composition import Columns, matern_terms, one_column, product_groups
from nonparam.errors import InputError, NotPositiveDefiniteError
from nonparam.kernels import variance
from nonparam.kernels.base import Kernel
from nonparam.kernels.evaluate import covariance, is_grid
from nonparam.model_selection.evidence import slope_in_lags
from nonparam.solvers.gohberg_semencul import ToeplitzInverse
from nonparam.solvers.kronecker import KroneckerFactor, kronecker_eigen
from nonparam.solvers.plan import BYTES, Plan
from nonparam.solvers.state_space import MaternSum, MaternTerm, log_marginal_likelihood
from nonparam.solvers.structured import StateSpaceFactor, StructuredFactor

__all__ = [
    "Kronecker",
    "StateSpace",
    "Structure",
    "Toeplitz",
    "plan_assumed",
    "structure_for",
    "structure_of",
]

WORTHWHILE = 0.25  # of the rows: the largest factor of a product grid whose eigenvectors are cheap
PER_ROW = 2400  # numbers that a solve for 256 right-hand sides keeps: predictions have that many at a time


@dataclass(frozen=True)
class Structure(ABC):
    """A structure of the covariance matrix of the rows.

    Attributes:
        solver: the name of its algorithm.
        is_quadratic: whether an evaluation takes time that grows with the square of the rows: a search on all
            of many is as slow then as one without structure on a few.
    """

    solver: ClassVar[str]
    is_quadratic: ClassVar[bool] = False

    @classmethod
    @abstractmethod
    def of(cls, kernel: gpytorch.kernels.Kernel, x: Tensor, variances: Tensor) -> "Structure":
        """Return the structure; raise `InputError` that says what is missing.

        Args:
            kernel: the covariance function, at any values.
            x: ``(n, d)``.
            variances: ``(n,)``, of the noise, up to a common factor.
        """

    @classmethod
    @abstractmethod
    def assumed(cls, kernel: gpytorch.kernels.Kernel, n: int, d: int) -> Plan:
        """Return the plan for rows that are taken to have the structure; allocate none.

        Args:
            kernel: the covariance function, at any values.
            n: rows.
            d: columns.

        Raises:
            InputError: the kernel or the columns do not allow it; the message says what is missing.
        """

    @property
    @abstractmethod
    def plan(self) -> Plan:
        """The solver and its memory."""

    @abstractmethod
    def parts(self, kernel: gpytorch.kernels.Kernel) -> list[Tensor]:
        """Return what the matrix is built from, as a function of the hyperparameters."""

    @abstractmethod
    def factor(self, parts: Sequence[Tensor], variances: Tensor) -> StructuredFactor:
        """Return the inverse of the matrix with the variances ``(n,)`` of the noise on its diagonal.

        Raises:
            NotPositiveDefiniteError: parts that are beyond what a float holds, or no covariance.
        """

    @abstractmethod
    def slopes(
        self, factor: StructuredFactor, alpha: Tensor, residual: Tensor, variances: Tensor
    ) -> tuple[Sequence[Tensor], float]:
        """Return the derivatives of the log evidence in the parts, and in a common log noise.

        Args:
            factor: of the matrix.
            alpha: ``(n, t)``, the solve of the residual.
            residual: ``(n, t)``, the outputs less their mean.
            variances: ``(n,)``, of the noise.
        """


@dataclass(frozen=True)
class StateSpace(Structure):
    """A sum of half-integer Matérn kernels of one column: a Markov process.

    Attributes:
        x: ``(n, d)``, sorted by the column.
        order: ``(n,)``, the number of the row at each place.
        column: the one that all terms look at.
        nus: the smoothness of each term.
    """

    solver = "state_space"
    x: Tensor
    order: Tensor
    column: int
    nus: tuple[float, ...]

    @classmethod
    def of(cls, kernel: gpytorch.kernels.Kernel, x: Tensor, variances: Tensor) -> "StateSpace":
        """Return the structure, whatever the spacing and the noise of the rows."""
        column, nus = one_column(kernel, x.shape[1])
        order = torch.argsort(x[:, column], stable=True)
        return cls(x[order], order, column, nus)

    @classmethod
    def assumed(cls, kernel: gpytorch.kernels.Kernel, n: int, d: int) -> Plan:
        """Return the plan for rows anywhere, whose memory grows with the square of the states."""
        return cls._planned(one_column(kernel, d)[1], n)

    @classmethod
    def _planned(cls, nus: tuple[float, ...], n: int) -> Plan:
        states = sum(round(nu + 0.5) for nu in nus)
        return Plan(cls.solver, n, BYTES * (40 + 4 * states**2) * n)

    @property
    def plan(self) -> Plan:
        """The solver and its memory."""
        return self._planned(self.nus, len(self.x))

    def parts(self, kernel: gpytorch.kernels.Kernel) -> list[Tensor]:
        """Return the log variances and the log lengthscales, ``(t,)`` each."""
        terms = [term for term, _ in matern_terms(kernel, tuple(range(self.x.shape[1])))]
        return [torch.stack([t.log_variance for t in terms]), torch.stack([t.log_length for t in terms])]

    def factor(self, parts: Sequence[Tensor], variances: Tensor) -> StateSpaceFactor:
        """Return the inverse by Kalman filter and smoother, on the CPU."""
        scales = torch.stack(list(parts)).exp().cpu()
        if not bool(((scales > 0.0) & torch.isfinite(scales)).all()):
            raise NotPositiveDefiniteError(
                f"the scales of the Matérn terms are {scales.tolist()}: expected numbers that a float holds"
            )
        terms = [MaternTerm(nu, *pair) for nu, pair in zip(self.nus, scales.T.tolist(), strict=True)]
        places = self.x[:, self.column].cpu().double().numpy()
        rows = MaternSum(terms, places, variances[self.order].cpu().double().numpy())
        return StateSpaceFactor(self.solver, rows, rows, self.order, column=self.column)

    def slopes(
        self, factor: StructuredFactor, alpha: Tensor, residual: Tensor, variances: Tensor
    ) -> tuple[Sequence[Tensor], float]:
        """Return the score of the disturbance smoother, summed over outputs."""
        rows = factor.matrix
        assert isinstance(rows, MaternSum)
        totals, noise = residual.new_zeros(2, len(self.nus)), 0.0
        for y in residual[self.order].mT.cpu().numpy():
            score = log_marginal_likelihood(rows.terms, rows.x, y, rows.noise).gradient
            assert score is not None
            totals += torch.from_numpy(np.stack([score.outputscale, score.lengthscale])).to(totals)
            noise += float(score.noise.sum())
        return list(totals), noise


@dataclass(frozen=True)
class Toeplitz(Structure):
    """A stationary kernel on a regular grid of one column.

    Attributes:
        x: ``(n, 1)``, in the order of the grid.
        order: ``(n,)``, the number of the row at each place.
    """

    solver = "toeplitz"
    is_quadratic = True
    x: Tensor
    order: Tensor

    @classmethod
    def of(cls, kernel: gpytorch.kernels.Kernel, x: Tensor, variances: Tensor) -> "Toeplitz":
        """Return the structure; the rows may stand in any order."""
        order = torch.argsort(x[:, 0], stable=True)
        _check_lags(kernel, is_grid(x[order]))
        _check_noise(cls.solver, variances)
        return cls(x[order], order)

    @classmethod
    def assumed(cls, kernel: gpytorch.kernels.Kernel, n: int, d: int) -> Plan:
        """Return the plan for rows that are taken to be a regular grid."""
        _check_lags(kernel, n >= 3 and d == 1)
        return Plan(cls.solver, n, BYTES * PER_ROW * n)

    @property
    def plan(self) -> Plan:
        """The solver and its memory."""
        return Plan(self.solver, len(self.x), BYTES * PER_ROW * len(self.x))

    def parts(self, kernel: gpytorch.kernels.Kernel) -> list[Tensor]:
        """Return the covariances at the lags, ``(1, n)``."""
        return [covariance(kernel, self.x[:1], self.x)]

    def factor(self, parts: Sequence[Tensor], variances: Tensor) -> StructuredFactor:
        """Return the inverse by the Levinson recursion and the formula of Gohberg and Semencul."""
        row = parts[0][0].double().clone()
        row[0] += variances[0]
        inverse = ToeplitzInverse.of(row)
        return StructuredFactor(self.solver, inverse.operator, inverse, self.order, inverse.jitter)

    def slopes(
        self, factor: StructuredFactor, alpha: Tensor, residual: Tensor, variances: Tensor
    ) -> tuple[Sequence[Tensor], float]:
        """Return the sums along the diagonals of the derivative in the matrix."""
        inverse = factor.inverse
        assert isinstance(inverse, ToeplitzInverse)
        slope = slope_in_lags(inverse.column, alpha[self.order])
        return [slope[None]], float(slope[0] * variances[0])


@dataclass(frozen=True)
class Kronecker(Structure):
    r"""A product of kernels over groups of columns, on a complete product of the groups' places.

    With any row :math:`c` and :math:`K_i` the covariance of the places of group :math:`i`, all other columns
    held as in :math:`c`, the matrix is :math:`k(c, c) \bigotimes_i K_i / k(c, c)`.

    Attributes:
        x: ``(n, d)``, in the order of the grid, the last group varying fastest.
        order: ``(n,)``, the number of the row at each place.
        groups: the columns of each group.
        places: ``(n_i, d_i)``, those of each group.
    """

    solver = "kronecker"
    x: Tensor
    order: Tensor
    groups: tuple[Columns, ...]
    places: tuple[Tensor, ...]

    @classmethod
    def of(cls, kernel: gpytorch.kernels.Kernel, x: Tensor, variances: Tensor) -> "Kronecker":
        """Return the structure; the rows may stand in any order."""
        groups = product_groups(kernel, tuple(range(x.shape[1])))
        _check_several(groups, len(groups))  # before the sort of all rows
        found = [torch.unique(x[:, list(group)], dim=0, return_inverse=True) for group in groups]
        wide = [(group, *pair) for group, pair in zip(groups, found, strict=True) if len(pair[0]) > 1]
        _check_several(groups, len(wide))
        sizes = [len(places) for _, places, _ in wide]
        number = torch.zeros(len(x), dtype=torch.long, device=x.device)
        for size, (_, _, index) in zip(sizes, wide, strict=True):
            number = number * size + index
        order = torch.argsort(number)
        if len(x) != math.prod(sizes) or not torch.equal(number[order], torch.arange(len(x)).to(number)):
            raise InputError(
                f"solver='kronecker' needs each of {' x '.join(map(str, sizes))} combinations of places "
                f"once, got {len(x)} rows: take solver='auto' or solver='cholesky'"
            )
        _check_noise(cls.solver, variances)
        names, places, _ = zip(*wide, strict=True)
        return cls(x[order], order, names, places)

    @classmethod
    def assumed(cls, kernel: gpytorch.kernels.Kernel, n: int, d: int) -> Plan:
        """Return the plan for rows that are taken to be a product of as many places in each group."""
        groups = product_groups(kernel, tuple(range(d)))
        _check_several(groups, len(groups))
        return cls._planned([math.ceil(n ** (1.0 / len(groups)))] * len(groups), n)

    @classmethod
    def _planned(cls, sizes: Sequence[int], n: int) -> Plan:
        return Plan(cls.solver, n, BYTES * (8 * sum(size**2 for size in sizes) + PER_ROW * n))

    @property
    def largest(self) -> int:
        """The rows of the largest factor."""
        return max(len(places) for places in self.places)

    @property
    def plan(self) -> Plan:
        """The solver and its memory."""
        return self._planned([len(places) for places in self.places], len(self.x))

    def parts(self, kernel: gpytorch.kernels.Kernel) -> list[Tensor]:
        """Return the factors; the first one has the variance."""
        with torch.no_grad():
            centre = self.x[int(variance(kernel, self.x).argmax())]
        scale = variance(kernel, centre[None])
        lines: list[Tensor] = []
        for group, places in zip(self.groups, self.places, strict=True):
            line = centre.repeat(len(places), 1)
            line[:, list(group)] = places
            lines.append(covariance(kernel, line) / (scale if lines else 1.0))
        return lines

    def factor(self, parts: Sequence[Tensor], variances: Tensor) -> StructuredFactor:
        """Return the inverse by the eigenvectors of the factors."""
        inverse = kronecker_eigen([part.double() for part in parts], float(variances[0]))
        return StructuredFactor(self.solver, inverse.whole, inverse, self.order)

    def slopes(
        self, factor: StructuredFactor, alpha: Tensor, residual: Tensor, variances: Tensor
    ) -> tuple[Sequence[Tensor], float]:
        """Return the derivatives in the factors."""
        inverse = factor.inverse
        assert isinstance(inverse, KroneckerFactor)
        trace = alpha.square().sum() - alpha.shape[1] * inverse.eigenvalues.reciprocal().sum()
        return inverse.slopes(alpha[self.order]), 0.5 * float(trace * variances[0])


STRUCTURES: tuple[type[Structure], ...] = (StateSpace, Toeplitz, Kronecker)


def structure_of(kernel: gpytorch.kernels.Kernel, x: Tensor, variances: Tensor) -> Structure | None:
    """Return the structure that pays most, or ``None``.

    Args:
        kernel: the covariance function, at any values.
        x: ``(n, d)``.
        variances: ``(n,)``, of the noise, up to a common factor.

    Examples:
        >>> from nonparam.kernels import RBF, Matern, Periodic
        >>> x, ones = torch.arange(6.0, dtype=torch.float64)[:, None], torch.ones(6, dtype=torch.float64)
        >>> structure_of(RBF() + Periodic(), x, ones).solver, structure_of(3.0 * Matern(), x**2, ones).solver
        ('toeplitz', 'state_space')
    """
    if not bool((variances > 0.0).all()):
        return None
    for structure in STRUCTURES:
        try:
            found = structure.of(kernel, x, variances)
        except InputError:
            continue
        if not isinstance(found, Kronecker) or found.largest <= WORTHWHILE * len(x):
            return found
    return None


def structure_for(
    solver: str, kernel: gpytorch.kernels.Kernel, x: Tensor, variances: Tensor
) -> Structure | None:
    """Return the structure that a solver asks for; with ``"auto"`` the one that pays, if there is one.

    Args:
        solver: one of `nonparam.solvers.plan.SOLVERS`.
        kernel: the covariance function, at any values.
        x: ``(n, d)``.
        variances: ``(n,)``, of the noise, up to a common factor.

    Raises:
        InputError: the solver is named, and its structure is absent; the message says what is missing.

    Examples:
        >>> from nonparam.kernels import RBF
        >>> x = torch.tensor([[0.0], [1.0], [3.0]], dtype=torch.float64)
        >>> structure_for("toeplitz", RBF(), x, x[:, 0] + 1.0)  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        nonparam.errors.InputError: solver='toeplitz' needs regularly spaced rows of one column, ...
    """
    if solver == "auto":
        return structure_of(kernel, x, variances)
    named = {structure.solver: structure for structure in STRUCTURES}
    if solver not in named:
        return None
    if not bool((variances > 0.0).all()):
        raise InputError(
            f"solver={solver!r} needs a noise above 0 in every row, got {float(variances.min()):g}: give a "
            "small noise, or take solver='cholesky'"
        )
    return named[solver].of(kernel, x, variances)


def plan_assumed(solver: str, kernel: gpytorch.kernels.Kernel, n: int, d: int) -> Plan | None:
    """Return the plan of the structure that a solver names, which the rows are taken to have.

    Args:
        solver: one of `nonparam.solvers.plan.SOLVERS`; ``"auto"`` counts on no place of a row.
        kernel: the covariance function, at any values.
        n: rows.
        d: columns.

    Raises:
        InputError: the kernel or the columns do not allow the structure; the message says what is missing.

    Examples:
        >>> from nonparam.kernels import RBF
        >>> plan_assumed("toeplitz", RBF(), 1000, 1).solver, plan_assumed("auto", RBF(), 1000, 1)
        ('toeplitz', None)
    """
    if solver == "auto":
        try:
            return StateSpace.assumed(kernel, n, d)
        except InputError:
            return None
    named = {structure.solver: structure for structure in STRUCTURES}
    return named[solver].assumed(kernel, n, d) if solver in named else None


def _check_several(groups: list[Columns], wide: int) -> None:
    if wide < 2:
        raise InputError(
            "solver='kronecker' needs a kernel that is a product over two groups of columns at least, "
            f"got the groups {groups}: take solver='auto' or solver='cholesky'"
        )


def _check_lags(kernel: gpytorch.kernels.Kernel, regular: bool) -> None:
    if not regular:
        raise InputError(
            "solver='toeplitz' needs regularly spaced rows of one column, three at least: take "
            "solver='auto' or solver='cholesky'"
        )
    if not isinstance(kernel, Kernel) or not kernel.is_stationary:
        raise InputError(
            f"solver='toeplitz' needs a stationary kernel of this package, got {kernel!r}: take "
            "solver='auto' or solver='cholesky'"
        )


def _check_noise(solver: str, variances: Tensor) -> None:
    if not bool((variances == variances[0]).all()):
        raise InputError(
            f"solver={solver!r} needs the same noise variance and weight in every row: take solver='auto' or "
            "solver='cholesky'"
        )
