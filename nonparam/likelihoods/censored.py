"""Numbers that are seen between limits only (Tobit)."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nonparam.errors import InputError
from nonparam.kernels.base import Hyperparameter
from nonparam.likelihoods.base import expectation
from nonparam.likelihoods.parametric import ParametricLikelihood
from nonparam.scales import variance_of
from nonparam.theta import Prior

__all__ = ["Censored"]

NOISE = 0.2  # of the variance of y: the prior median
FAR = 40.0  # standard deviations, beyond which a float holds no probability
TAIL = -100.0  # standard deviations, beyond which derivatives of log probabilities take their series
LOG_ROOT = 0.5 * math.log(2.0 * math.pi)


class Censored(ParametricLikelihood):
    r"""A number with Gaussian noise of which only a limit is seen where it is beyond that.

    .. math::

        y = \min(\max(f + \varepsilon, l), u), \quad \varepsilon \sim N(0, \sigma^2), \quad
        p(y \mid f) = \begin{cases}
            \Phi((l - f) / \sigma) & y = l \\
            N(y \mid f, \sigma^2) & l < y < u \\
            \Phi((f - u) / \sigma) & y = u \end{cases}

    An observation at a limit counts as censored. Predictions are of observations: they have the limits'
    probabilities too, and no quantile is beyond a limit. Those of ``Censored(-inf, inf)`` are uncensored.

    Args:
        lower: the limit :math:`l`; none by default.
        upper: the limit :math:`u`; none by default. One of them is needed.
        noise: the variance :math:`\sigma^2`.
        fixed: ``("noise",)`` where it is not learnt.

    Raises:
        InputError: limits that are no numbers, or the wrong way round; a variance that is not positive and
            finite; another name in ``fixed``.

    Source: Tobin (1958), Estimation of relationships for limited dependent variables, Econometrica 26(1).

    Examples:
        >>> y, f = torch.tensor([[0.0]]), torch.zeros(1, 1)
        >>> Censored(lower=0.0, noise=1.0).log_density(y, f).exp().detach()
        tensor([[0.5000]])
    """

    keyword = "censored"
    is_log_concave = True
    noise = Hyperparameter("y^2")

    def __init__(
        self,
        lower: float | None = None,
        upper: float | None = None,
        noise: float | None = None,
        fixed: Sequence[str] = (),
    ) -> None:
        super().__init__({"noise": noise}, fixed)
        self.lowest, self.highest = _limit(lower, "lower", -math.inf), _limit(upper, "upper", math.inf)
        self.is_limited = lower is not None or upper is not None
        if self.lowest >= self.highest:
            raise InputError(
                f"Censored: lower must be less than upper, got {self.lowest:g} and {self.highest:g}"
            )

    def arguments(self) -> dict[str, Any]:
        """Return the arguments that make it anew, but for the noise, whose stored value says more."""
        limits = {"lower": self.lowest, "upper": self.highest}
        finite = {name: limit for name, limit in limits.items() if math.isfinite(limit)}
        return super().arguments() | finite

    def check(self, y: NDArray[Any]) -> None:
        """Raise `InputError` where a limit is not known, or an observation beyond it."""
        if not self.is_limited:
            raise InputError(
                "likelihood='censored' needs its limits: give likelihood=Censored(lower=0.0), with the "
                "smallest number that can be seen, or the largest as upper, or both"
            )
        for beyond, side, limit in (
            (y[:, 0] < self.lowest, "below the lower", self.lowest),
            (y[:, 0] > self.highest, "above the upper", self.highest),
        ):
            if beyond.any():
                i = int(beyond.argmax())
                raise InputError(
                    f"y[{i}]={y[i, 0]:g} is {side} limit {limit:g} ({int(beyond.sum())} such rows): what is "
                    "censored is given as the limit itself"
                )

    def suggested(self, y: NDArray[Any], weights: NDArray[np.float64]) -> Mapping[str, Prior]:
        """Return a broad prior of the logarithm of the noise: a part of the variance of the data."""
        centre = math.log(NOISE * self.typical(y, weights)[0][1])
        return {"noise": Prior(centre, 2.0, centre - math.log(1e5), centre + math.log(1e5))}

    def typical(self, y: NDArray[Any], weights: NDArray[np.float64]) -> Sequence[tuple[float, float]]:
        """Return mean and variance of the observations."""
        mean, variance = float(np.average(y[:, 0], weights=weights)), variance_of(y[:, :1], weights)
        return [(mean, variance)]

    def log_density(self, y: Tensor, f: Tensor) -> Tensor:
        """Return ``log p(y | f)``, of observations at a limit the log probability."""
        side, z = self._standardised(y, f)
        inside = -0.5 * z.square() - 0.5 * self.noise.log() - LOG_ROOT
        return torch.where(side == 0.0, inside, torch.special.log_ndtr(side * z))

    def _standardised(self, y: Tensor, f: Tensor) -> tuple[Tensor, Tensor]:
        """Return -1 for observations at the lower limit and 1 at the upper one; and errors, standardised."""
        seen = y[:, :1]
        side = (seen >= self.highest).to(seen) - (seen <= self.lowest).to(seen)
        return side, (f - seen) / self.noise.sqrt()

    def derivatives(self, y: Tensor, f: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the first three derivatives in ``f``, in closed form."""
        side, z = self._standardised(y, f)
        first, second, third = _log_ndtr_derivatives(side * z)
        none, one = torch.zeros_like(z), torch.ones_like(z)
        at_limit, root = side != 0.0, self.noise.sqrt()
        return (
            torch.where(at_limit, side * first, -z) / root,
            torch.where(at_limit, second, -one) / root**2,
            torch.where(at_limit, side * third, none) / root**3,
        )

    def expected_log_density(self, y: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
        """Return its mean over Gaussian functions: in closed form where nothing is censored."""
        side, z = self._standardised(y, mean)
        noise: Tensor = self.noise
        inside = -0.5 * (z.square() + variance / noise) - 0.5 * noise.log() - LOG_ROOT
        at = (side != 0.0)[:, 0]
        found = inside[:, 0]
        if bool(at.any()):
            limit = expectation(torch.special.log_ndtr, (side * z)[at, 0], (variance / noise)[at, 0])
            found = found.masked_scatter(at, limit)
        return found

    def response(self, f: Tensor, exposure: Tensor | None = None) -> tuple[Tensor, Tensor]:
        r"""Return mean and variance of what is seen.

        With standardised limits :math:`a` and :math:`b`, and moments around the number :math:`c` between them
        that is nearest to 0, so that nothing cancels where nearly all is beyond a limit.
        """
        root = self.noise.sqrt()
        a, b = ((self.lowest - f) / root).clamp_min(-FAR), ((self.highest - f) / root).clamp_max(FAR)
        c = torch.maximum(torch.minimum(torch.zeros_like(f), b), a)
        at_a, at_b = torch.special.ndtr(a), torch.special.ndtr(-b)
        between = torch.where(a > 0.0, torch.special.ndtr(-a) - at_b, torch.special.ndtr(b) - at_a)
        phi_a, phi_b = (-0.5 * a.square() - LOG_ROOT).exp(), (-0.5 * b.square() - LOG_ROOT).exp()
        first = (a - c) * at_a + (b - c) * at_b + phi_a - phi_b - c * between
        inner = (1.0 + c.square()) * between + (a - 2.0 * c) * phi_a - (b - 2.0 * c) * phi_b
        second = (a - c).square() * at_a + (b - c).square() * at_b + inner
        return f + root * (c + first), self.noise * (second - first.square()).clamp_min(0.0)

    def distribution(self, y: Tensor, f: Tensor, exposure: Tensor | None = None) -> Tensor:
        """Return the probability of an observation of at most ``y``."""
        below = torch.special.ndtr((y - f) / self.noise.sqrt())
        zero, one = torch.zeros_like(below), torch.ones_like(below)
        return torch.where(y < self.lowest, zero, torch.where(y >= self.highest, one, below))

    def sample(self, f: Tensor, generator: torch.Generator, exposure: Tensor | None = None) -> Tensor:
        """Draw observations."""
        root: Tensor = self.noise.sqrt()
        drawn = torch.randn(f.shape, generator=generator, dtype=f.dtype, device=f.device)
        return (f + root * drawn).clamp(self.lowest, self.highest)

    def __repr__(self) -> str:
        """Return the constructor's call with the present values."""
        limits = {"lower": self.lowest, "upper": self.highest}
        said = [f"{name}={limit:g}" for name, limit in limits.items() if math.isfinite(limit)]
        own = super().__repr__().removeprefix("Censored(").removesuffix(")")
        return f"Censored({', '.join([*said, own] if own else said)})"


def _limit(value: Any, name: str, default: float) -> float:
    if value is None:
        return default
    try:
        limit = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        limit = math.nan
    if math.isnan(limit):
        raise InputError(f"Censored: {name} must be a number, got {value!r}")
    return limit


def _log_ndtr_derivatives(z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    r"""Return three derivatives of :math:`\log \Phi(z)`, far in the tail by their series in ``1 / z``.

    With :math:`h = \varphi(z) / \Phi(z)` they are :math:`h`, :math:`-h (z + h)` and
    :math:`h ((z + h) (z + 2 h) - 1)`.
    """
    near, t = z.clamp_min(TAIL), -z.clamp_max(TAIL)
    h = math.sqrt(2.0 / math.pi) / torch.special.erfcx(-near / math.sqrt(2.0))
    excess = near + h
    second, third = -h * excess, h * (excess * (excess + h) - 1.0)
    is_far = z < TAIL
    return (
        torch.where(is_far, t + 1.0 / t - 2.0 / t**3 + 10.0 / t**5, h),
        torch.where(is_far, -1.0 + 1.0 / t**2 - 6.0 / t**4, second),
        torch.where(is_far, 2.0 / t**3 - 24.0 / t**5, third),
    )
