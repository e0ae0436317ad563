"""Brownian motion: a level that wanders."""

from collections.abc import Sequence

import torch
from torch import Tensor

from nonparam.errors import InputError
from nonparam.kernels.base import Hyperparameter, Kernel, Value

__all__ = ["Wiener"]


class Wiener(Kernel):
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
