r"""Spectral mixtures: kernels whose spectral density is a mixture of Gaussians.

Every stationary kernel is the Fourier transform of a spectral density (Bochner); mixtures of enough Gaussians
come as near to any density as one likes. A component is one Gaussian with its mirror image:

.. math::

    k(\tau) = \exp\Big(-2 \pi^2 \sum_j b_j^2 \tau_j^2\Big) \prod_j \cos(2 \pi f_j \tau_j)
    \quad\text{or}\quad
    k(\tau) = \exp\Big(-2 \pi^2 \sum_j b_j^2 \tau_j^2\Big) \cos\Big(2 \pi \sum_j f_j \tau_j\Big) .

Frequencies :math:`f` are in cycles per unit of ``X``; bandwidths :math:`b` are standard deviations in the
same unit. With several columns the first form, that of the paper, has a Gaussian in every orthant, the
second, a plane wave, only one and its mirror image. With one column they are the same.

Source: Wilson and Adams (2013), Gaussian process kernels for pattern discovery and extrapolation, ICML,
equation 12; plane waves: Wilson (2014), Covariance kernels for fast automatic pattern discovery and
extrapolation with Gaussian processes, section 2.4.
"""

from collections.abc import Sequence
from numbers import Integral
from typing import Any, ClassVar

import torch
from torch import Tensor

from nonparam.errors import InputError
from nonparam.kernels.base import Hyperparameter, Value
from nonparam.kernels.composition import Product, Scale, Sum
from nonparam.kernels.flag import Flag
from nonparam.kernels.radial import SquaredExponential, centre_of, radial
from nonparam.kernels.stationary import Stationary

__all__ = ["Spectral", "separable_spectral_mixture", "spectral_mixture"]

MOST_COMPONENTS = 1000


class Spectral(Stationary):
    r"""One component of a spectral mixture: waves of about one frequency, which keep in step for a while.

    .. math::

        k(x, x') = \exp\Big(-2 \pi^2 \sum_j b_j^2 \tau_j^2\Big) \prod_j \cos(2 \pi f_j \tau_j),
        \quad \tau = x - x'

    Args:
        frequency: :math:`f`, in cycles per unit of ``X``, for each column; ``None`` to look for it in the
            data.
        bandwidth: :math:`b`, the standard deviation of the frequency, in the same unit; ``None`` to start
            from the data.
        plane: whether the waves of several columns are plane ones, ``cos(2 pi f' tau)``: the sign of a
            frequency matters then.
        active_dims: the columns it looks at; all by default.
        fixed: names of hyperparameters that are not learnt.

    Raises:
        InputError: a bandwidth that is not positive, or a frequency that is not finite.

    Source: Wilson and Adams (2013), equation 12.

    Examples:
        >>> k = Spectral(0.5, 0.01)
        >>> k
        spectral(frequency=0.5, bandwidth=0.01)
        >>> x = torch.tensor([[0.0], [1.0], [2.0]], dtype=torch.float64)
        >>> k.matrix(x)[0].detach()
        tensor([ 1.0000, -0.9980,  0.9921], dtype=torch.float64)
    """

    keyword = "spectral"
    options: ClassVar[dict[str, Any]] = {"plane": False}
    plane = Flag()
    frequency = Hyperparameter("1/X", per_column=True, positive=False)
    bandwidth = Hyperparameter("1/X", per_column=True)

    def __init__(
        self,
        frequency: Value = None,
        bandwidth: Value = None,
        *,
        plane: bool = False,
        active_dims: Sequence[int] | None = None,
        fixed: Sequence[str] = (),
    ) -> None:
        super().__init__({"frequency": frequency, "bandwidth": bandwidth}, active_dims, fixed)
        self.plane = plane

    def phases(self, x: Tensor, centre: Tensor) -> Tensor:
        """Return the phases at the rows of ``x (n, d)``, in radians: ``(*batch, n, d)``, or their sum."""
        phases: Tensor = 2.0 * torch.pi * self.frequency * (x - centre)
        return phases.sum(-1, keepdim=True) if self.plane else phases

    def matrix(self, x1: Tensor, x2: Tensor | None = None) -> Tensor:
        """Return the product of the Gaussian and the cosines."""
        centre = centre_of(x1)
        left = self.phases(x1, centre)
        right = left if x2 is None else self.phases(x2, centre)
        waves = _cosines(left, right)
        wide = 1.0 / (2.0 * torch.pi * self.bandwidth)
        product: Tensor = radial(x1, x2, SquaredExponential(), wide) * waves
        return product


def _cosines(left: Tensor, right: Tensor) -> Tensor:
    """Return the product over columns of the cosines of the differences, ``cos a cos b + sin a sin b``."""
    waves = None
    for a, b in zip(left.split(1, -1), right.split(1, -1), strict=True):
        wave = torch.cat([a.cos(), a.sin()], -1) @ torch.cat([b.cos(), b.sin()], -1).mT
        waves = wave if waves is None else waves * wave
    assert waves is not None
    return waves


def spectral_mixture(
    num_components: int, *, plane: bool = False, active_dims: Sequence[int] | None = None
) -> Sum:
    r"""Return a spectral mixture kernel, all of whose hyperparameters wait for the data.

    .. math:: k(\tau) = \sum_q w_q \, k_q(\tau)

    with components `Spectral`. It is a sum like any other: its terms can be looked at, exchanged and added
    to. An estimator looks for peaks in the spectrum of its data and starts from these.

    Args:
        num_components: how many.
        plane: whether the waves of several columns are plane ones.
        active_dims: the columns it looks at; all by default.

    Raises:
        InputError: a number of components that is not from 1 to 1000.

    Source: Wilson and Adams (2013), Gaussian process kernels for pattern discovery and extrapolation, ICML.

    Examples:
        >>> spectral_mixture(2)
        spectral + spectral
    """
    if isinstance(num_components, bool) or not isinstance(num_components, Integral):
        raise InputError(f"num_components must be a whole number, got {num_components!r}")
    if not 1 <= num_components <= MOST_COMPONENTS:
        raise InputError(f"num_components must be from 1 to {MOST_COMPONENTS:,}, got {num_components}")
    return Sum(*(Scale(Spectral(plane=plane, active_dims=active_dims)) for _ in range(num_components)))


def separable_spectral_mixture(num_components: int, columns: int) -> Product:
    r"""Return the product over columns of spectral mixtures of one column each.

    .. math:: k(\tau) = \prod_j \sum_q w_{jq} \, k_{jq}(\tau_j)

    On a grid its matrix is a Kronecker product. It has ``num_components ** columns`` Gaussians, which share
    their weights: another kernel than `spectral_mixture`.

    Args:
        num_components: of each column.
        columns: of ``X``.

    Raises:
        InputError: a number of components or of columns that is not a count.

    Source: Wilson, Gilboa, Nehorai and Cunningham (2014), Fast kernel learning for multidimensional pattern
    extrapolation, NeurIPS, equation 4.
    """
    if isinstance(columns, bool) or not isinstance(columns, Integral) or columns < 1:
        raise InputError(f"columns must be a whole number of at least 1, got {columns!r}")
    return Product(*(spectral_mixture(num_components, active_dims=[j]) for j in range(columns)))
