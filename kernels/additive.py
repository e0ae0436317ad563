r"""Additive kernels: functions that are sums of functions of single inputs, of pairs, and so on.

With kernels :math:`z_j = \tilde k_j(x_j, x'_j)` of single columns the kernel of all functions of :math:`q`
columns together is the elementary symmetric polynomial

.. math:: e_q(z_1, \dots, z_d) = \sum_{j_1 < \dots < j_q} z_{j_1} \cdots z_{j_q} .

Newton and Girard's recursion finds it without the :math:`\binom dq` products, from power sums
:math:`p_k = \sum_j z_j^k`:

.. math:: e_q = \frac1q \sum_{k=1}^q (-1)^{k-1} \, e_{q-k} \, p_k, \quad e_0 = 1 .

Source: Duvenaud, Nickisch and Rasmussen (2011), Additive Gaussian processes, NeurIPS, equations 5 to 8.
"""

import math
from collections.abc import Iterable, Sequence
from itertools import chain, combinations
from numbers import Integral
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from nonparam.errors import InputError
from nonparam.kernels.base import Hyperparameter, Kernel, Value
from nonparam.kernels.composition import Scale, on_columns
from nonparam.kernels.orthogonal import Orthogonal, OrthogonalRBF, by_column, column_matrix

__all__ = ["Additive"]

MOST_DEGREES = 20  # beyond it alternating signs cost the recursion its digits


class Additive(Orthogonal):
    r"""A sum of functions of single inputs, of pairs, ..., of ``degree`` inputs.

    .. math:: k(x, x') = \sum_{q=1}^Q v_q \binom dq^{-1} e_q(z_1, \dots, z_d)

    with the kernels :math:`z_j` of `OrthogonalRBF`: no function has an average, along any of its columns, so
    that each effect is found in one part only. Every function of a degree has the same share of its variance;
    a column that does not matter gets a long lengthscale, and with that functions near 0.

    Args:
        degree: :math:`Q`, the most inputs that interact.
        lengthscale: of each column, in its unit; a number for all, ``None`` to start from the data.
        variance: :math:`v_q`, of all functions of each degree together, in units of ``y`` squared: a sequence
            of ``degree`` numbers, or one for all; ``None`` to start from the data.
        center: mean of the density under which functions average to 0; that of the data by default. It is not
            learnt.
        spread: standard deviation of that density; that of the data by default. It is not learnt.
        active_dims: the columns it looks at; all by default.
        fixed: names of hyperparameters that are not learnt.

    Raises:
        InputError: a degree that is no number from 1 to 20, or above the number of columns; another number of
            variances; a value that is not positive.

    Source: Duvenaud, Nickisch and Rasmussen (2011), Additive Gaussian processes, NeurIPS; Lu, Boukouvalas and
    Hensman (2022), Additive Gaussian processes revisited, ICML.

    Examples:
        >>> k = Additive(2, lengthscale=1.0, variance=[3.0, 0.5], center=0.0, spread=1.0)
        >>> k
        additive(lengthscale=1, center=0, spread=1, variance=[3, 0.5])
        >>> [part.kernel.active_dims.tolist() for part in k.parts(3)]
        [[0], [1], [2], [0, 1], [0, 2], [1, 2]]
    """

    keyword = "additive"
    options: ClassVar[dict[str, Any]] = {"degree": 2}
    variance = Hyperparameter("y^2", per_degree=True)

    def __init__(
        self,
        degree: int = 2,
        *,
        lengthscale: Value = None,
        variance: Value = None,
        center: Value = None,
        spread: Value = None,
        active_dims: Sequence[int] | None = None,
        fixed: Sequence[str] = (),
    ) -> None:
        values = {"lengthscale": lengthscale, "center": center, "spread": spread, "variance": variance}
        super().__init__(values, active_dims, fixed)
        self.degree = degree

    @property
    def degree(self) -> int:
        """The most inputs that interact."""
        return self._degree

    @degree.setter
    def degree(self, value: int) -> None:
        whole = isinstance(value, Integral) and not isinstance(value, bool)
        if not whole or not 1 <= value <= MOST_DEGREES:
            raise InputError(
                f"Additive: degree must be a whole number from 1 to {MOST_DEGREES}, got {value!r}; "
                "1 is for functions of single inputs, 2 for pairs too"
            )
        self._degree = int(value)

    def check_columns(self, columns: int) -> None:
        """Raise `InputError` unless there are columns for the degree, and hyperparameters for both."""
        super().check_columns(columns)
        if self.degree > columns:
            raise InputError(
                f"Additive: degree is {self.degree}, but X has only {columns} columns to look at: "
                f"take degree={columns} or less"
            )
        given = self.raw_variance.shape[-1]
        if given not in (1, self.degree):
            raise InputError(
                f"Additive: variance has {given} values, but degree is {self.degree}; give one value, or one "
                "for each degree"
            )

    def matrix(self, x1: Tensor, x2: Tensor | None = None) -> Tensor:
        """Return the weighted sum of the elementary symmetric polynomials."""
        sums = _PowerSums.apply(*self._pair(x1, x2), self.degree)
        return self._sum(sums, self._weights(x1.shape[-1]))

    def diagonal(self, x: Tensor) -> Tensor:
        """Return the weighted sum of the polynomials of the columns' variances."""
        sums = power_sums(self._variances(x), self.degree)
        return self._sum(sums, [weight.squeeze(-1) for weight in self._weights(x.shape[-1])])

    def _sum(self, sums: Sequence[Tensor], weights: Sequence[Tensor]) -> Tensor:
        first, *rest = (w * e for w, e in zip(weights, newton_girard(sums), strict=True))
        for term in rest:
            first = first + term
        return first

    def _weights(self, columns: int) -> list[Tensor]:
        """Return what multiplies the polynomial of each degree, ``(*batch, 1, 1)``."""
        variances = self.variance.expand(*self.variance.shape[:-1], self.degree).split(1, -1)
        return [v / math.comb(columns, q) for q, v in enumerate(variances, 1)]

    def parts(self, columns: int) -> Sequence[Kernel]:
        """Return the kernels of single inputs, of pairs, ..., in this order."""
        seen = columns if self.active_dims is None else len(self.active_dims)
        fields = self.lengthscale, self.center, self.spread
        values = [[v.item() for v in value] for value in by_column(*fields, columns=seen)]
        weights = [weight.item() for weight in self._weights(seen)]
        groups = chain.from_iterable(combinations(range(seen), q) for q in range(1, self.degree + 1))
        return on_columns(
            self, (Scale(_product([values[j] for j in g], g), weights[len(g) - 1]) for g in groups)
        )


def _product(values: Sequence[Sequence[float]], group: tuple[int, ...]) -> OrthogonalRBF:
    lengthscale, center, spread = (list(column) for column in zip(*values, strict=True))
    return OrthogonalRBF(lengthscale, center=center, spread=spread, active_dims=group)


def power_sums(values: Iterable[Tensor], degree: int) -> list[Tensor]:
    """Return the sums of the values, of their squares, ..., entry by entry."""
    first, *rest = (_powers(value, degree) for value in values)
    for powers in rest:
        first = [total + power for total, power in zip(first, powers, strict=True)]
    return first


def _powers(value: Tensor, degree: int) -> list[Tensor]:
    powers = [value]
    for _ in range(1, degree):
        powers.append(powers[-1] * value)
    return powers


def newton_girard(sums: Sequence[Tensor]) -> list[Tensor]:
    """Return the elementary symmetric polynomials of degrees 1, 2, ..., entry by entry.

    Args:
        sums: of the powers 1, 2, ... of at least as many values.

    Source: Duvenaud, Nickisch and Rasmussen (2011), equations 7 and 8.

    Examples:
        >>> values = torch.tensor([2.0, 3.0, 5.0])
        >>> newton_girard([values.sum(), values.square().sum()])
        [tensor(10.), tensor(31.)]
    """
    found = [torch.ones_like(sums[0])]
    for q in range(1, len(sums) + 1):
        total = found[q - 1] * sums[0]
        for k in range(2, q + 1):
            total = total + (-1) ** (k - 1) * found[q - k] * sums[k - 1]
        found.append(total / q)
    return found[1:]


class _PowerSums(torch.autograd.Function):
    r"""Power sums of the columns' matrices, one column at a time: no graph holds a matrix for each.

    With :math:`W = \sum_k k G_k \circ z^{k-1}` for gradients :math:`G_k`, and
    :math:`V = W \circ (a - b^\top) \circ e^{-(a - b^\top)^2 / 2}`, the gradients of a column are
    :math:`-V 1` in :math:`a`, :math:`V^\top 1` in :math:`b`, :math:`-W (1 + r)` in :math:`l` and
    :math:`-W^\top (1 + l)` in :math:`r`.
    """

    @staticmethod
    def forward(
        ctx: Any, a: Tensor, b: Tensor, left: Tensor, right: Tensor, degree: int
    ) -> tuple[Tensor, ...]:
        ctx.save_for_backward(a, b, left, right)
        columns = by_column(a, b, left, right)
        sums = _powers(column_matrix(*next(columns)), degree)
        for column in columns:
            for total, power in zip(sums, _powers(column_matrix(*column), degree), strict=True):
                total.add_(power)
        return tuple(sums)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        slopes = [_column_slopes(gradients, *column) for column in by_column(*ctx.saved_tensors)]
        whole = (torch.cat(columns, -1) for columns in zip(*slopes, strict=True))
        found = (s.sum_to_size(t.shape) for s, t in zip(whole, ctx.saved_tensors, strict=True))
        return (*found, None)


def _column_slopes(
    gradients: Sequence[Tensor], a: Tensor, b: Tensor, left: Tensor, right: Tensor
) -> tuple[Tensor, ...]:
    z, difference = column_matrix(a, b, left, right), a - b.mT
    weight = len(gradients) * gradients[-1]
    for k in range(len(gradients) - 1, 0, -1):  # Horner
        weight = weight.mul_(z).add_(gradients[k - 1], alpha=k)
    of_left, of_right = weight @ (1.0 + right), weight.mT @ (1.0 + left)
    pulled = weight.mul_(difference).mul_(difference.square_().mul_(-0.5).exp_())
    return -pulled.sum(-1, keepdim=True), pulled.sum(-2).unsqueeze(-1), -of_left, -of_right
