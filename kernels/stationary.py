"""Stationary kernels of the scaled distance ``r = |x - x'| / lengthscale``."""

from collections.abc import Sequence
from numbers import Real
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from nonparam.errors import InputError
from nonparam.kernels.base import Hyperparameter, Kernel, Value
from nonparam.kernels.flag import Flag
from nonparam.kernels.radial import (
    Exponential,
    Identity,
    Matern32Profile,
    Matern52Profile,
    Profile,
    SquaredExponential,
    centre_of,
    one_row,
    radial,
)

__all__ = ["RBF", "Cosine", "Matern", "Periodic", "RationalQuadratic", "Stationary"]


class Stationary(Kernel):
    """A kernel of differences with unit variance."""

    @property
    def is_stationary(self) -> bool:
        """Whether it depends on the difference of its inputs only."""
        return True

    def diagonal(self, x: Tensor) -> Tensor:
        """Return ones."""
        batches = [raw.shape[:-2] if raw.ndim >= 2 else raw.shape for raw in self._parameters.values()]
        return x.new_ones((*np.broadcast_shapes(x.shape[:-2], *batches), x.shape[-2]))


class _Scaled(Stationary):
    """A kernel of the distance, with one lengthscale, or one per column."""

    options: ClassVar[dict[str, Any]] = {"ard": True}
    ard = Flag()
    lengthscale = Hyperparameter("X", per_column=True)

    def __init__(
        self, values: dict[str, Value], ard: bool, active_dims: Sequence[int] | None, fixed: Sequence[str]
    ) -> None:
        super().__init__(values, active_dims, fixed)
        self.ard = ard


class _Radial(_Scaled):
    """A kernel that is a profile of the distance, without other hyperparameters."""

    def __init__(
        self,
        lengthscale: Value = None,
        *,
        ard: bool = True,
        active_dims: Sequence[int] | None = None,
        fixed: Sequence[str] = (),
    ) -> None:
        super().__init__({"lengthscale": lengthscale}, ard, active_dims, fixed)

    def profile(self) -> Profile:
        """Return the function of the squared scaled distance."""
        raise NotImplementedError(f"{type(self).__name__} has no profile")

    def matrix(self, x1: Tensor, x2: Tensor | None = None) -> Tensor:
        """Return the profile of the scaled distances."""
        return radial(x1, x2, self.profile(), self.lengthscale)


class RBF(_Radial):
    r"""The squared exponential kernel of infinitely smooth functions.

    .. math:: k(x, x') = \exp(-r^2 / 2), \quad r^2 = \sum_j (x_j - x'_j)^2 / \ell_j^2

    Source: Rasmussen and Williams (2006), equation 4.9.

    Args:
        lengthscale: in the units of ``X``; a number for one lengthscale, a sequence for one per column,
            ``None`` to start from the data.
        ard: whether ``None`` stands for one lengthscale per column, or for a single one.
        active_dims: the columns it looks at; all by default.
        fixed: names of hyperparameters that are not learnt.

    Raises:
        InputError: a lengthscale that is not positive.

    Examples:
        >>> RBF([0.5, 2.0])
        rbf(lengthscale=[0.5, 2])
    """

    keyword = "rbf"

    def profile(self) -> Profile:
        """Return ``exp(-r2 / 2)``."""
        return SquaredExponential()


class Matern(_Radial):
    r"""The Matern kernel of functions with ``nu - 1/2`` derivatives.

    .. math::

        \nu = 1/2 &: \exp(-r) \\
        \nu = 3/2 &: (1 + \sqrt3 r) \exp(-\sqrt3 r) \\
        \nu = 5/2 &: (1 + \sqrt5 r + 5 r^2 / 3) \exp(-\sqrt5 r)

    Source: Rasmussen and Williams (2006), equation 4.17.

    Args:
        lengthscale: in the units of ``X``; a number for one lengthscale, a sequence for one per column,
            ``None`` to start from the data.
        nu: 0.5, 1.5 or 2.5.
        ard: whether ``None`` stands for one lengthscale per column, or for a single one.
        active_dims: the columns it looks at; all by default.
        fixed: names of hyperparameters that are not learnt.

    Raises:
        InputError: another ``nu``, or a lengthscale that is not positive.

    Examples:
        >>> Matern(0.5, nu=1.5)
        matern32(lengthscale=0.5)
    """

    _nu: float
    PROFILES: ClassVar[dict[float, tuple[str, type[Profile]]]] = {
        0.5: ("matern12", Exponential),
        1.5: ("matern32", Matern32Profile),
        2.5: ("matern52", Matern52Profile),
    }

    def __init__(
        self,
        lengthscale: Value = None,
        *,
        nu: float = 2.5,
        ard: bool = True,
        active_dims: Sequence[int] | None = None,
        fixed: Sequence[str] = (),
    ) -> None:
        super().__init__(lengthscale, ard=ard, active_dims=active_dims, fixed=fixed)
        self.nu = nu

    @property
    def nu(self) -> float:
        """The smoothness."""
        return self._nu

    @nu.setter
    def nu(self, value: float) -> None:
        if not isinstance(value, Real) or value not in self.PROFILES:
            raise InputError(f"Matern: nu must be 0.5, 1.5 or 2.5, got {value!r}")
        self._nu = float(value)

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return super().get_params(deep) | {"nu": self.nu}

    @property
    def keyword(self) -> str:  # type: ignore[override]  # the name in a formula says the smoothness
        """Return ``matern12``, ``matern32`` or ``matern52``."""
        return self.PROFILES[self.nu][0]

    def profile(self) -> Profile:
        """Return the profile of this smoothness."""
        return self.PROFILES[self.nu][1]()


class RationalQuadratic(_Scaled):
    r"""A mixture of RBF kernels over gamma-distributed inverse squared lengthscales.

    .. math:: k(x, x') = (1 + r^2 / (2 \alpha))^{-\alpha}

    Source: Rasmussen and Williams (2006), equation 4.19.

    Args:
        lengthscale: in the units of ``X``; a number for one lengthscale, a sequence for one per column,
            ``None`` to start from the data.
        alpha: the weight of the short scales; large values approach the RBF.
        ard: whether ``None`` stands for one lengthscale per column, or for a single one.
        active_dims: the columns it looks at; all by default.
        fixed: names of hyperparameters that are not learnt.

    Raises:
        InputError: a value that is not positive.

    Examples:
        >>> RationalQuadratic(2.0, 0.5)
        rq(lengthscale=2, alpha=0.5)
    """

    keyword = "rq"
    alpha = Hyperparameter("1")

    def __init__(
        self,
        lengthscale: Value = None,
        alpha: Value = None,
        *,
        ard: bool = True,
        active_dims: Sequence[int] | None = None,
        fixed: Sequence[str] = (),
    ) -> None:
        super().__init__({"lengthscale": lengthscale, "alpha": alpha}, ard, active_dims, fixed)

    def matrix(self, x1: Tensor, x2: Tensor | None = None) -> Tensor:
        """Return the mixture at the scaled distances."""
        r2 = radial(x1, x2, Identity(), self.lengthscale)
        alpha = self.alpha[..., None, None]
        return torch.exp(-alpha * torch.log1p(r2 / (2.0 * alpha)))


class Periodic(Stationary):
    r"""The kernel of periodic functions: an RBF on a circle of each column.

    .. math:: k(x, x') = \exp\Big(-2 \sum_j \sin^2(\pi (x_j - x'_j) / p_j) / \ell_j^2\Big)

    With ``zero_mean=True`` its average over a period is removed and the variance restored to 1, so that a
    season competes neither with a level nor with a trend: :math:`(k - \bar k) / (1 - \bar k)` with
    :math:`\bar k = \prod_j e^{-1/\ell_j^2} I_0(1/\ell_j^2)`.

    Source: MacKay (1998), Introduction to Gaussian processes, equation 47.

    Args:
        period: in the units of ``X``; ``None`` to look for it in the data.
        lengthscale: of the motion round the circle (no unit); small values for many harmonics.
        zero_mean: whether functions average to 0 over a period.
        active_dims: the columns it looks at; all by default.
        fixed: names of hyperparameters that are not learnt.

    Raises:
        InputError: a value that is not positive.

    Examples:
        >>> Periodic(12.0, fixed=("period",))
        periodic(period=12, fixed=('period',))
    """

    keyword = "periodic"
    options: ClassVar[dict[str, Any]] = {"zero_mean": False}
    zero_mean = Flag()
    period = Hyperparameter("X", per_column=True)
    lengthscale = Hyperparameter("1", per_column=True)

    def __init__(
        self,
        period: Value = None,
        lengthscale: Value = None,
        *,
        zero_mean: bool = False,
        active_dims: Sequence[int] | None = None,
        fixed: Sequence[str] = (),
    ) -> None:
        super().__init__({"period": period, "lengthscale": lengthscale}, active_dims, fixed)
        self.zero_mean = zero_mean

    def circle(self, x: Tensor, centre: Tensor) -> Tensor:
        """Return points whose distances are those of the RBF, two coordinates for each column of ``x``."""
        phase = (x - centre) * (2.0 * torch.pi / self.period)
        return torch.stack([phase.cos(), phase.sin()], -2).div(self.lengthscale.unsqueeze(-2)).flatten(-2)

    def _on_circles(self, x1: Tensor, x2: Tensor | None, profile: Profile) -> Tensor:
        """Return the profile at the distances between points on the circles."""
        if x2 is not None and x1.shape[-2] == 1:
            chord = torch.sin((x2 - x1) * torch.pi / self.period) / (0.5 * self.lengthscale)
            return one_row(chord, profile)
        centre = centre_of(x1)
        return radial(self.circle(x1, centre), None if x2 is None else self.circle(x2, centre), profile)

    def matrix(self, x1: Tensor, x2: Tensor | None = None) -> Tensor:
        """Return the RBF of the points on the circles."""
        if not self.zero_mean:
            return self._on_circles(x1, x2, SquaredExponential())
        q = self.lengthscale.expand(*self.lengthscale.shape[:-1], x1.shape[-1]) ** -2.0
        log_mean = _log_mean(q).sum(-1, keepdim=True)
        return 1.0 - torch.expm1(-0.5 * self._on_circles(x1, x2, Identity())) / torch.expm1(log_mean)


def _log_mean(q: Tensor) -> Tensor:
    """Return ``log(exp(-q) I_0(q))``; its series, where ``q`` is small, keeps the digits that 1 - k needs."""
    s = q.clamp_max(0.01)
    series = s * (s * (0.25 - s * s * (1.0 / 64.0 - s * s / 576.0)) - 1.0)
    return torch.where(q < 0.01, series, torch.special.i0e(q).log())


class Cosine(Stationary):
    r"""The kernel of pure cosines of one frequency, in any phase.

    .. math:: k(x, x') = \cos\Big(2 \pi \sum_j (x_j - x'_j) / p_j\Big)

    Args:
        period: in the units of ``X``; ``None`` to look for it in the data.
        active_dims: the columns it looks at; all by default.
        fixed: names of hyperparameters that are not learnt.

    Raises:
        InputError: a period that is not positive.

    Examples:
        >>> Cosine(11.0)
        cosine(period=11)
    """

    keyword = "cosine"
    period = Hyperparameter("X", per_column=True)

    def __init__(
        self,
        period: Value = None,
        *,
        active_dims: Sequence[int] | None = None,
        fixed: Sequence[str] = (),
    ) -> None:
        super().__init__({"period": period}, active_dims, fixed)

    def matrix(self, x1: Tensor, x2: Tensor | None = None) -> Tensor:
        """Return ``cos a cos a' + sin a sin a'``."""
        centre = centre_of(x1)
        phase1 = ((x1 - centre) * (2.0 * torch.pi / self.period)).sum(-1, keepdim=True)
        other = x1 if x2 is None else x2
        phase2 = ((other - centre) * (2.0 * torch.pi / self.period)).sum(-1, keepdim=True)
        cosine: Tensor = phase1.cos() @ phase2.cos().mT + phase1.sin() @ phase2.sin().mT
        return cosine
