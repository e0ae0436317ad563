r"""RBF kernels of functions that average to 0 along each column, under a Gaussian density of the inputs.

With :math:`s \sim N(\mu, \delta^2)` a function drawn from a kernel is freed from its average by conditioning
on an average of 0:

.. math::

    \tilde k(x, x') = k(x, x') - \frac{E_s[k(x, s)] \, E_s[k(s, x')]}{E_{s s'}[k(s, s')]} .

For the RBF kernel with lengthscale :math:`\ell` that is, with :math:`\lambda^2 = \ell^2 + \delta^2`,

.. math::

    \tilde k(x, x') = e^{-(x - x')^2 / 2 \ell^2}
        - \frac{\ell \sqrt{\ell^2 + 2 \delta^2}}{\lambda^2} \,
          e^{-((x - \mu)^2 + (x' - \mu)^2) / 2 \lambda^2} .

Source: Lu, Boukouvalas and Hensman (2022), Additive Gaussian processes revisited, ICML, section 3.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from nonparam.kernels.base import Hyperparameter, Kernel, Value
from nonparam.kernels.radial import centre_of

__all__ = ["Orthogonal", "OrthogonalRBF", "by_column", "column_matrix"]


class Orthogonal(Kernel):
    """A kernel made of RBF kernels of single columns, each orthogonal to the constant."""

    lengthscale = Hyperparameter("X", per_column=True, alone=True)
    center = Hyperparameter("X", per_column=True, positive=False, learnt=False)
    spread = Hyperparameter("X", per_column=True, learnt=False)

    def _mapped(self, x: Tensor, shift: Tensor) -> tuple[Tensor, Tensor]:
        """Return rows divided by the lengthscales, and ``g - 1``, both ``(*batch, n, d)``.

        ``g(x) g(x')`` is what conditioning on the average takes away.
        """
        return (x - shift) / self.lengthscale, torch.expm1(-self._log_average(x))

    def _log_average(self, x: Tensor) -> Tensor:
        """Return ``-log g(x)``, ``(*batch, n, d)``, accurate at any lengthscale."""
        length, spread = self.lengthscale, self.spread
        t = (spread / length).square()
        log_ratio = torch.log1p(t / (1.0 + t)) - torch.log1p(t)  # of l^2 (l^2 + 2 s^2) to (l^2 + s^2)^2
        log_average: Tensor = (x - self.center).square() / (length.square() + spread.square())
        return 0.5 * log_average - 0.25 * log_ratio

    def _pair(self, x1: Tensor, x2: Tensor | None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return what `column_matrix` takes, for all columns."""
        shift = centre_of(x1)
        a, left = self._mapped(x1, shift)
        b, right = (a, left) if x2 is None else self._mapped(x2, shift)
        return a, b, left, right

    def _variances(self, x: Tensor) -> Iterator[Tensor]:
        """Yield the variance of each column's function at the rows of ``x``, ``(*batch, n)``."""
        yield from (-torch.expm1(-2.0 * self._log_average(x))).unbind(-1)


def column_matrix(a: Tensor, b: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """Return the matrix of one column, ``(*batch, n, m)``, from columns ``(*batch, n or m, 1)``.

    Both of its terms are reduced by 1: no digits cancel where a lengthscale is long.

    Args:
        a: rows divided by the lengthscale.
        b: other rows.
        left: ``g - 1`` at the rows.
        right: ``g - 1`` at the others.
    """
    taken = torch.cat([left, torch.ones_like(left)], -1) @ torch.cat([1.0 + right, right], -1).mT
    return torch.expm1(-0.5 * (a - b.mT).square()) - taken


def by_column(*tables: Tensor, columns: int | None = None) -> Iterator[tuple[Tensor, ...]]:
    """Yield the columns of tables ``(*batch, n, d)``, each ``(*batch, n, 1)``; one may stand for all."""
    d = tables[0].shape[-1] if columns is None else columns
    yield from zip(*(table.expand(*table.shape[:-1], d).split(1, -1) for table in tables), strict=True)


class OrthogonalRBF(Orthogonal):
    r"""The RBF kernel of functions that average to 0 along each column, whatever the others are.

    .. math:: k(x, x') = \prod_j \tilde k_j(x_j, x'_j)

    with the kernels :math:`\tilde k_j` above. A function of it has neither a level nor, with several columns,
    effects of fewer of them: in a sum with kernels of these, every part has its own share.

    Args:
        lengthscale: in the units of ``X``; a number for one lengthscale, a sequence for one per column,
            ``None`` to start from the data.
        center: the mean :math:`\mu` of the density; that of the data by default. It is not learnt.
        spread: the standard deviation :math:`\delta` of the density; that of the data by default. It is not
            learnt.
        active_dims: the columns it looks at; all by default.
        fixed: names of hyperparameters that are not learnt.

    Raises:
        InputError: a lengthscale or a spread that is not positive.

    Source: Lu, Boukouvalas and Hensman (2022), Additive Gaussian processes revisited, ICML, section 3.

    Examples:
        >>> k = OrthogonalRBF(1.0, center=0.0, spread=1.0)
        >>> k
        orthogonal_rbf(lengthscale=1, center=0, spread=1)
        >>> k.diagonal(torch.tensor([[0.0], [100.0]], dtype=torch.float64)).detach()  # far away an RBF
        tensor([0.1340, 1.0000], dtype=torch.float64)
    """

    keyword = "orthogonal_rbf"

    def __init__(
        self,
        lengthscale: Value = None,
        *,
        center: Value = None,
        spread: Value = None,
        active_dims: Sequence[int] | None = None,
        fixed: Sequence[str] = (),
    ) -> None:
        values = {"lengthscale": lengthscale, "center": center, "spread": spread}
        super().__init__(values, active_dims, fixed)

    def matrix(self, x1: Tensor, x2: Tensor | None = None) -> Tensor:
        """Return the product over the columns."""
        first, *rest = (column_matrix(*column) for column in by_column(*self._pair(x1, x2)))
        for factor in rest:
            first = first * factor
        return first

    def diagonal(self, x: Tensor) -> Tensor:
        """Return the product of the columns' variances."""
        first, *rest = self._variances(x)
        for factor in rest:
            first = first * factor
        return first
