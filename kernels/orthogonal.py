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

__all__ = ["Orthogonal", "OrthogonalRBF"]


class Orthogonal(Kernel):
    """A kernel made of RBF kernels of single columns, each orthogonal to the constant."""

    lengthscale = Hyperparameter("X", per_column=True, alone=True)
    center = Hyperparameter("X", per_column=True, positive=False, learnt=False)
    spread = Hyperparameter("X", per_column=True, learnt=False)

    def _column_by_column(self, x1: Tensor, x2: Tensor | None) -> Iterator[Tensor]:
        """Yield the matrix of each column, ``(*batch, n, m)``.

        With ``k - 1`` and the other term ``- 1`` no digits cancel where a lengthscale is long.
        """
        other = x1 if x2 is None else x2
        for j, (length, center, spread) in enumerate(self._values(x1.shape[-1])):
            a, b = x1[..., j : j + 1], other[..., j : j + 1]
            near = torch.expm1(-0.5 * ((a - b.mT) / length).square())
            left = torch.expm1(-_log_average(a, length, center, spread))
            right = left.mT if x2 is None else torch.expm1(-_log_average(b, length, center, spread)).mT
            yield near - ((left + right) + left * right)

    def _variances(self, x: Tensor) -> Iterator[Tensor]:
        """Yield the variance of each column's function at the rows of ``x``, ``(*batch, n)``."""
        for j, value in enumerate(self._values(x.shape[-1])):
            yield -torch.expm1(-2.0 * _log_average(x[..., j : j + 1], *value)).squeeze(-1)

    def _values(self, columns: int) -> Iterator[tuple[Tensor, ...]]:
        """Yield lengthscale, centre and spread of each column, ``(*batch, 1, 1)``."""
        values = (self.lengthscale, self.center, self.spread)
        yield from zip(*(v.expand(*v.shape[:-1], columns).split(1, -1) for v in values), strict=True)


def _log_average(x: Tensor, length: Tensor, center: Tensor, spread: Tensor) -> Tensor:
    """Return ``-log g(x)``, where ``g(x) g(x')`` is what the average takes away; accurate at any length."""
    t = (spread / length).square()
    log_ratio = torch.log1p(t / (1.0 + t)) - torch.log1p(t)  # of l^2 (l^2 + 2 s^2) to (l^2 + s^2)^2
    return 0.5 * (x - center).square() / (length.square() + spread.square()) - 0.25 * log_ratio


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
        first, *rest = self._column_by_column(x1, x2)
        for factor in rest:
            first = first * factor
        return first

    def diagonal(self, x: Tensor) -> Tensor:
        """Return the product of the columns' variances."""
        first, *rest = self._variances(x)
        for factor in rest:
            first = first * factor
        return first
