"""Brownian motion, a level that wanders, and its integral, a level whose slope wanders."""

from collections.abc import Sequence

import torch
from torch import Tensor

from nonparam.errors import InputError
from nonparam.kernels.base import Hyperparameter, Kernel, Value

__all__ = ["IntegratedWiener", "Wiener"]


class _Motion(Kernel):
    """A process of one column that starts from 0 at its ``origin``."""

    def __init__(
        self,
        variance: Value = None,
        *,
        origin: Value = None,
        active_dims: Sequence[int] | None = None,
        fixed: Sequence[str] = (),
    ) -> None:
        super().__init__({"variance": variance, "origin": origin}, active_dims, fixed)

    @classmethod
    def _columns(cls, active_dims: Sequence[int] | None) -> tuple[int, ...] | None:
        columns = super()._columns(active_dims)
        if columns is not None and len(columns) > 1:
            raise InputError(
                f"{cls.__name__}: active_dims must name one column, got {active_dims!r}: "
                "multiply or add one kernel for each"
            )
        return columns

    def own_columns(self, columns: int) -> Sequence[int]:
        """Return the one column it looks at."""
        return (0,)

    def _time(self, x: Tensor) -> Tensor:
        time: Tensor = (x[..., 0] - self.origin[..., None]).clamp_min(0.0)
        return time


class Wiener(_Motion):
    r"""The kernel of Brownian motion that starts at ``origin``: a local level.

    .. math:: k(x, x') = v \max(0, \min(x, x') - o)

    Source: Rasmussen and Williams (2006), section 6.3.1 (the case of one integration less).

    Args:
        variance: gained per unit of ``X``, in units of ``y`` squared; ``None`` to start from the data.
        origin: where it starts from 0, in the units of ``X``; the first observation by default. It is not
            learnt.
        active_dims: the one column it looks at; the first by default.
        fixed: ``("variance",)`` holds it.

    Raises:
        InputError: a variance that is not positive, or several columns in ``active_dims``.

    Examples:
        >>> Wiener(0.5, origin=0.0)
        wiener(variance=0.5, origin=0)
    """

    keyword = "wiener"
    variance = Hyperparameter("y^2/X")
    origin = Hyperparameter("X", positive=False, learnt=False)

    def matrix(self, x1: Tensor, x2: Tensor | None = None) -> Tensor:
        """Return the variance times the earlier of both times."""
        left = self._time(x1)
        right = left if x2 is None else self._time(x2)
        earlier = torch.minimum(left[..., :, None], right[..., None, :])
        matrix: Tensor = self.variance[..., None, None] * earlier
        return matrix

    def diagonal(self, x: Tensor) -> Tensor:
        """Return the variance times the time since the origin."""
        diagonal: Tensor = self.variance[..., None] * self._time(x)
        return diagonal


class IntegratedWiener(_Motion):
    r"""The kernel of the integral of Brownian motion from ``origin`` on: a trend whose slope wanders.

    .. math:: k(x, x') = \frac{v}{6} s^2 (3 t - s), \quad s = \min(u, u'), \; t = \max(u, u'), \;
              u = \max(0, x - o)

    Source: Rasmussen and Williams (2006), equation 6.28 with :math:`o = 0`; its posterior mean is a cubic
    spline.

    Args:
        variance: that the slope gains per unit of ``X``; ``None`` to start from the data.
        origin: where it starts from 0 with a slope of 0, in the units of ``X``; the first observation by
            default. It is not learnt.
        active_dims: the one column it looks at; the first by default.
        fixed: ``("variance",)`` holds it.

    Raises:
        InputError: a variance that is not positive, or several columns in ``active_dims``.

    Examples:
        >>> IntegratedWiener(0.5, origin=0.0)
        integrated_wiener(variance=0.5, origin=0)
    """

    keyword = "integrated_wiener"
    variance = Hyperparameter("y^2/X^3")
    origin = Hyperparameter("X", positive=False, learnt=False)

    def matrix(self, x1: Tensor, x2: Tensor | None = None) -> Tensor:
        """Return the covariances of the integrals up to both times."""
        left = self._time(x1)
        right = left if x2 is None else self._time(x2)
        s = torch.minimum(left[..., :, None], right[..., None, :])
        t = torch.maximum(left[..., :, None], right[..., None, :])
        matrix: Tensor = self.variance[..., None, None] * s.square() * (3.0 * t - s) / 6.0
        return matrix

    def diagonal(self, x: Tensor) -> Tensor:
        """Return a third of the variance times the cube of the time since the origin."""
        diagonal: Tensor = self.variance[..., None] * self._time(x) ** 3 / 3.0
        return diagonal
