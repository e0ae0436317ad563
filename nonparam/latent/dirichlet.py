r"""Classification by regression on log-normal targets: all classes at the price of about one.

The label of a row is a draw of probabilities with a Dirichlet prior, whose posterior has the concentrations
:math:`a_{ic} = \epsilon + [y_i = c]`. Those are normalised gamma numbers, and each is taken for a log-normal
one with the same mean and variance, so that the latent functions :math:`f_c` see

.. math::

    \tilde y_{ic} = \log a_{ic} - \tilde\sigma_{ic}^2 / 2 = f_c(x_i) + N(0, \tilde\sigma_{ic}^2), \quad
    \tilde\sigma_{ic}^2 = \log(1 + 1 / a_{ic}) .

Within a class the noise is :math:`\sigma_1^2`, outside :math:`\sigma_0^2`, whatever the class, divided by the
weight :math:`w_i` of the row. With :math:`B = K + \sigma_0^2 W^{-1}`, the columns :math:`E_c` of the unit
matrix for the :math:`n_c` rows of class :math:`c`, and for these
:math:`\Delta_c = (\sigma_0^2 - \sigma_1^2) W_c^{-1}`, the covariance of its targets has the inverse

.. math::

    A_c^{-1} = (B - E_c \Delta_c E_c^\top)^{-1} = B^{-1} + R_c R_c^\top, \quad
    R_c = B^{-1} E_c L_c^{-\top}, \quad L_c L_c^\top = \Delta_c^{-1} - E_c^\top B^{-1} E_c .

All :math:`R_c` together are one matrix of :math:`n \times n`: one inverse serves all classes, exactly. It is
as well-conditioned as the noise is large, which is why the inverse itself is kept.

Source: Milios, Camoriano, Michiardi, Rosasco and Filippone (2018), Dirichlet-based Gaussian processes for
large-scale calibrated classification, NeurIPS, equations 4 to 7; the inverse: Woodbury's formula, Golub and
Van Loan (2013), Matrix computations, section 2.1.4.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from nonparam.model_selection.evidence import LOG_2PI, Evidence
from nonparam.model_selection.held_out import held_out_evidence
from nonparam.objective import Data, Objective
from nonparam.solvers.cholesky import cholesky, mirror

__all__ = [
    "ClassInverses",
    "ClassMeans",
    "DirichletObjective",
    "LogNormal",
    "class_data",
    "class_evidence",
    "fit_means",
]


@dataclass(frozen=True)
class LogNormal:
    """What the latent function of a class sees of a row within the class, and of one outside.

    Attributes:
        inside: the target.
        outside: the target.
        inside_noise: the variance.
        outside_noise: the variance; the larger one.
    """

    inside: float
    outside: float
    inside_noise: float
    outside_noise: float

    @classmethod
    def of(cls, alpha_epsilon: float) -> "LogNormal":
        r"""Return them for a prior concentration :math:`\epsilon`.

        Examples:
            >>> seen = LogNormal.of(0.01)
            >>> round(seen.inside, 3), round(seen.outside, 3)
            (-0.334, -6.913)
            >>> round(seen.inside_noise, 3), round(seen.outside_noise, 3)
            (0.688, 4.615)
        """
        inside, outside = (math.log1p(1.0 / alpha) for alpha in (1.0 + alpha_epsilon, alpha_epsilon))
        return cls(
            math.log1p(alpha_epsilon) - 0.5 * inside, math.log(alpha_epsilon) - 0.5 * outside, inside, outside
        )

    @property
    def gap(self) -> float:
        """How far apart the targets are."""
        return self.inside - self.outside

    @property
    def spared(self) -> float:
        """The noise that a row within the class has less."""
        return self.outside_noise - self.inside_noise

    def targets(self, sizes: Sequence[int], like: Tensor) -> Tensor:
        """Return the targets of rows in order of their classes: ``(n, c)``, for classes of these sizes."""
        own = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
        table = like.new_full((len(own), len(sizes)), self.outside)
        table[torch.arange(len(own)), own] = self.inside
        return table


@dataclass(frozen=True)
class ClassInverses:
    """The inverses of the covariances of the targets of all classes, the rows in order of their classes.

    Attributes:
        inverse: ``B^-1``, ``(n, n)``.
        half: ``R``, ``(n, n)``: the columns of each class's rows are its ``R_c``.
        sizes: of the classes, ``c`` numbers that sum to ``n``.
        log_determinants: of the covariances, ``(c,)``.
        jitter: that ``B`` needed.
    """

    inverse: Tensor
    half: Tensor
    sizes: Sequence[int]
    log_determinants: Tensor
    jitter: float

    @classmethod
    def of(cls, b: Tensor, spared: Tensor, sizes: Sequence[int]) -> "ClassInverses":
        r"""Invert the covariances of all classes.

        Args:
            b: ``B``, ``(n, n)``, overwritten.
            spared: ``(n,)``, the diagonals of all :math:`\Delta_c`: less than the noise in ``B``.
            sizes: of the classes.

        Raises:
            NotPositiveDefiniteError: ``B`` cannot be factorised.

        Examples:
            >>> found = ClassInverses.of(2.0 * torch.eye(3).double(), torch.ones(3).double(), [2, 1])
            >>> found.diagonals()  # rows of variance 1 within the class, and 2 outside
            tensor([[1.0000, 0.5000],
                    [1.0000, 0.5000],
                    [0.5000, 1.0000]], dtype=torch.float64)
        """
        factor = cholesky(b)
        log_determinant = factor.log_determinant()
        inverse = factor.inverse_in_place().mT
        mirror(inverse)
        half, logs = torch.empty_like(inverse), []
        for rows in _slices(sizes):
            left = -inverse[rows, rows]
            torch.diagonal(left).add_(1.0 / spared[rows])
            root = torch.linalg.cholesky(left)
            half[:, rows] = torch.linalg.solve_triangular(root, inverse[rows], upper=False).mT
            logs.append(2.0 * torch.diagonal(root).log().sum() + spared[rows].log().sum())
        return cls(inverse, half, sizes, log_determinant + torch.stack(logs), factor.jitter)

    def solve(self, v: Tensor) -> Tensor:
        """Return the solve of each column with the covariance of its class: ``(n, c)`` for ``v (n, c)``."""
        pulled = v.new_zeros(v.shape)
        for c, rows in enumerate(_slices(self.sizes)):
            pulled[rows, c] = self.half[:, rows].mT @ v[:, c]
        return self.inverse @ v + self.half @ pulled

    def quadratic(self, cross: Tensor) -> Tensor:
        """Return ``k' A_c^-1 k`` of each column ``k`` of ``cross (n, m)`` for each class: ``(m, c)``."""
        shared = (cross * (self.inverse @ cross)).sum(0)
        return shared[:, None] + self._by_class((self.half.mT @ cross).square().mT)

    def diagonals(self) -> Tensor:
        """Return the diagonals of the inverses: ``(n, c)``."""
        return torch.diagonal(self.inverse)[:, None] + self._by_class(self.half.square())

    def _by_class(self, table: Tensor) -> Tensor:
        """Return the sums of columns ``(m, n)`` over the rows of each class: ``(m, c)``."""
        own = torch.arange(len(self.sizes)).repeat_interleave(torch.tensor(self.sizes)).to(table.device)
        return table.new_zeros(len(table), len(self.sizes)).index_add_(1, own, table)


@dataclass(frozen=True)
class ClassMeans:
    """The generalised least-squares fit of a constant mean for each class.

    Attributes:
        coefficients: ``(c,)``, the means.
        alpha: ``(n, c)``, the solves of what they leave of the targets.
        weighted: ``(n, c)``, the solves of a column of ones.
        information: ``(c,)``, the inverse variances of the means.
    """

    coefficients: Tensor
    alpha: Tensor
    weighted: Tensor
    information: Tensor


def fit_means(inverses: ClassInverses, targets: Tensor) -> ClassMeans:
    """Fit a constant mean for each class to targets ``(n, c)``.

    Source: Rasmussen and Williams (2006), section 2.7.

    Examples:
        >>> inverses = ClassInverses.of(2.0 * torch.eye(2).double(), torch.ones(2).double(), [1, 1])
        >>> y = torch.tensor([[3.0, 0.0], [0.0, 0.0]], dtype=torch.float64)
        >>> fit_means(inverses, y).coefficients  # weighted by 1 / variance
        tensor([2., 0.], dtype=torch.float64)
    """
    weighted = inverses.solve(torch.ones_like(targets))
    information = weighted.sum(0)
    coefficients = (weighted * targets).sum(0) / information
    alpha = inverses.solve(targets) - weighted * coefficients
    return ClassMeans(coefficients, alpha, weighted, information)


def class_evidence(
    b: Tensor, seen: LogNormal, sizes: Sequence[int], weights: Tensor, *, gradient: bool
) -> Evidence:
    r"""Return the log marginal likelihood of all targets, summed over the classes, in nats.

    .. math::

        \partial \log p / \partial K =
        \tfrac12 \Big(\sum_c \alpha_c \alpha_c^\top - C B^{-1} - R R^\top\Big)

    Args:
        b: ``B``, ``(n, n)``, overwritten.
        seen: the targets and their noise.
        sizes: of the classes, in whose order the rows are.
        weights: ``(n,)``, by which their noise in ``B`` is divided.
        gradient: whether to return the derivative in ``B``, as `nonparam.model_selection.evidence` does.

    Raises:
        NotPositiveDefiniteError: ``B`` cannot be factorised.

    Source: Rasmussen and Williams (2006), equations 5.8 and 5.9, for each class.

    Examples:
        >>> b, seen = 2.0 * torch.eye(2, dtype=torch.float64), LogNormal(0.0, 0.0, 1.0, 2.0)
        >>> ones = torch.ones(2, dtype=torch.float64)
        >>> round(class_evidence(b, seen, [1, 1], ones, gradient=False).value, 4)  # variances 1, 2, 1, 2
        -4.3689
    """
    inverses = ClassInverses.of(b, seen.spared / weights, sizes)
    targets = seen.targets(sizes, b)
    fit = fit_means(inverses, targets)
    quadratic = float(((targets - fit.coefficients) * fit.alpha).sum())
    value = -0.5 * (quadratic + float(inverses.log_determinants.sum()) + targets.numel() * LOG_2PI)
    if not gradient:
        return Evidence(value, None, inverses.jitter)
    slope = torch.addmm(inverses.inverse, inverses.half, inverses.half.mT, beta=-len(sizes), alpha=-1.0)
    slope.addmm_(fit.alpha, fit.alpha.mT)
    torch.diagonal(slope).mul_(0.5)
    return Evidence(value, slope, inverses.jitter)


@dataclass(frozen=True, kw_only=True)
class DirichletObjective(Objective):
    """The log evidence of hyperparameters given labels, plus the log density of their prior.

    Or, in its place, the log density of targets that are held out, which takes a factorisation for each
    class. Its data have the noise of a row outside of a class as the known one.

    Attributes:
        seen: the targets and their noise.
        sizes: of the classes, in whose order the rows are.
    """

    seen: LogNormal
    sizes: Sequence[int]

    def _found(self, a: Tensor, data: Data, gradient: bool) -> Evidence:
        if self.held_out is None:
            found = class_evidence(a, self.seen, self.sizes, data.weights, gradient=gradient)
            return replace(found, value=found.value + self._weight_term)
        sets, ones = self.held_out.sets(len(a)), torch.ones_like(data.x[:, :1])
        each = []
        for c, rows in enumerate(_slices(self.sizes)):
            own = a.clone()
            torch.diagonal(own)[rows] -= self.seen.spared / data.weights[rows]
            each.append(held_out_evidence(own, data.y[:, c : c + 1], ones, sets, gradient=gradient))
        slopes = [one.gradient for one in each if one.gradient is not None]
        slope = torch.stack(slopes).sum(0) if gradient else None
        return Evidence(sum(one.value for one in each), slope, max(one.jitter for one in each))

    @cached_property
    def _weight_term(self) -> float:
        """What is missing of `Data.weight_terms`, which takes every target for one outside of its class."""
        ratio = math.log(self.seen.inside_noise / self.seen.outside_noise)
        return 0.5 * ratio * float((1.0 - self.data.weights).sum())

    def rows(self, index: Tensor) -> "DirichletObjective":
        """Return the objective of some of the rows, by their numbers ``(m,)`` in ascending order."""
        own = self.data.y[index].argmax(1)
        sizes = torch.bincount(own, minlength=len(self.sizes)).tolist()
        return replace(self, data=self.data.rows(index), sizes=sizes)

    def _batches(self) -> bool:
        return False


def class_data(x: Tensor, seen: LogNormal, sizes: Sequence[int], weights: Tensor | None = None) -> Data:
    """Return rows in order of their classes with their targets, all with the noise outside of a class."""
    noise = x.new_full((len(x),), seen.outside_noise)
    counted = torch.ones_like(noise) if weights is None else weights
    return Data(x, seen.targets(sizes, x), x[:, :0], counted, noise)


def _slices(sizes: Sequence[int]) -> list[slice]:
    ends = torch.tensor(sizes).cumsum(0).tolist()
    return [slice(end - size, end) for size, end in zip(sizes, ends, strict=True)]
