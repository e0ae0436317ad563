r"""Likelihoods: how an observation depends on the value of one or more functions at its row.

Rows are independent given the functions. All that inference needs is the log density; expectations over a
Gaussian function follow from it by the trapezoid rule,

.. math:: E\, h(f) = \sum_k w_k\, h(m + \sqrt v\, z_k), \quad f \sim N(m, v), \quad w_k \propto e^{-z_k^2/2},

which converges exponentially for analytic ``h``: it is the more exact, the smoother ``h`` is over a spacing.

Source: Trefethen and Weideman (2014), The exponentially convergent trapezoidal rule, SIAM Review 56(3).
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nonparam.theta import Prior

__all__ = ["Likelihood", "ResponseLikelihood", "expectation", "nodes"]

REACH = 8.0  # standard deviations of f
NODES = 101
LIKELY = 4.0  # standard deviations of f, beyond which 6e-5 of the probability lies
MOST_NODES = 1601  # a hundredth of a standard deviation of f apart


class Likelihood(torch.nn.Module, ABC):
    r"""The density of observations given functions, :math:`\prod_i p(y_i \mid f_i)`.

    A likelihood may have parameters of its own, which are learnt with those of the kernel; they are stored as
    logarithms (``raw_...``), in float64.

    Observations are ``y (n, k)``: the first column is what was seen, a second one, where there is one, the
    exposure (time, area, or the number of trials).

    Attributes:
        keyword: the name by which estimators know it.
        latents: the number of functions.
        is_log_concave: in the functions, for all values of the parameters: the posterior has one mode.
        is_discrete: whether observations are whole numbers.
    """

    keyword: ClassVar[str]
    latents: int = 1
    is_log_concave: ClassVar[bool] = False
    is_discrete: ClassVar[bool] = False

    @abstractmethod
    def check(self, y: NDArray[Any]) -> None:
        """Raise `InputError` where ``y (n, k)`` holds what cannot be observed, with the first such row."""

    def initialised(self, y: NDArray[Any], weights: NDArray[np.float64]) -> Self:
        """Return a copy whose unset parameters start from the data ``y (n, k)`` with weights ``(n,)``.

        Itself where it has no parameters.
        """
        return self

    def priors(self) -> Mapping[str, Prior]:
        """Return priors of the stored parameters that are learnt, by their names, after `initialised`."""
        return {}

    @abstractmethod
    def log_density(self, y: Tensor, f: Tensor) -> Tensor:
        """Return ``log p(y | f)`` in nats, ``(n, q)``, for ``y (n, k)`` and ``f (n, q)``."""

    def derivatives(self, y: Tensor, f: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the first three derivatives of the log density in a single function, ``(n, q)`` each."""
        at = f.detach().clone().requires_grad_()
        with torch.enable_grad():
            found, last = [], self.log_density(y, at)
            for _ in range(3):
                (last,) = torch.autograd.grad(last.sum(), at, create_graph=True, materialize_grads=True)
                found.append(last.detach())
        slope, curvature, third = found
        return slope, curvature, third

    def expected_log_density(self, y: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
        """Return the mean of ``log p(y | f)`` over independent Gaussian functions, ``(n,)``.

        Args:
            y: ``(n, k)``.
            mean: ``(n, latents)``.
            variance: ``(n, latents)``.
        """
        return expectation(lambda f: self.log_density(y, f), mean[:, 0], variance[:, 0])


class ResponseLikelihood(Likelihood):
    """A likelihood of numbers: what an observation is expected to be, given functions.

    Attributes:
        takes_exposure: whether observations may have one.
        counts_exposure: whether that is a whole number.
        lowest: which observations are not below.
        highest: which they are not above.
    """

    takes_exposure: ClassVar[bool] = False
    counts_exposure: ClassVar[bool] = False
    lowest: float = -math.inf
    highest: float = math.inf

    def arguments(self) -> dict[str, Any]:
        """Return the arguments that make it anew, but for parameters, whose stored values say more."""
        return {}

    @abstractmethod
    def typical(self, y: NDArray[Any], weights: NDArray[np.float64]) -> Sequence[tuple[float, float]]:
        """Return for each function the level that fits ``y (n, k)`` best, and its variance around it.

        Args:
            y: ``(n, k)``.
            weights: ``(n,)``, of the rows.
        """

    @abstractmethod
    def response(self, f: Tensor, exposure: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return mean and variance of an observation given ``f (m, q)``: two of ``(m, q)``.

        Args:
            f: ``(m, q)``.
            exposure: ``(m, 1)``; ``None`` for one unit.
        """

    def width(self, f: Tensor, exposure: Tensor | None = None) -> Tensor:
        """Return the standard deviation of an observation given ``f (m, q)``, or what else its width is."""
        return self.response(f, exposure)[1].sqrt()

    def places(self, mean: Tensor, variance: Tensor, exposure: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return values of Gaussian functions whose weighted sums are averages over observations.

        They are so close to one another that what is expected of an observation changes by no more than its
        `width` from one to the next, where the functions are likely to be.

        Args:
            mean: ``(m, latents)``; more than one function needs a rule of its own.
            variance: ``(m, latents)``.
            exposure: ``(m, 1)``; ``None`` for one unit.

        Returns:
            ``(m, q)``, or ``(m, q, latents)``, and weights ``(q,)``.
        """
        z, _ = nodes(mean)
        f = mean + variance.sqrt() * z[z.abs() <= LIKELY]
        apart = self.response(f, exposure)[0].diff(dim=1).abs() / self.width(f, exposure)[:, 1:]
        finer = float(torch.where(apart.isfinite(), apart, 0.0).max())
        z, weights = nodes(mean, min(math.ceil(NODES * max(finer, 1.0)), MOST_NODES))
        return mean + variance.sqrt() * z, weights

    def moments(
        self, mean: Tensor, variance: Tensor, exposure: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return mean and variance of an observation, and the variance of its mean given Gaussian functions.

        Args:
            mean: ``(m, latents)``.
            variance: ``(m, latents)``.
            exposure: ``(m, 1)``; ``None`` for one unit.

        Returns:
            Three of ``(m,)``.
        """
        f, weights = self.places(mean, variance, exposure)
        given, spread = self.response(f, exposure)
        expected = given @ weights
        doubt = (given - expected[:, None]).square() @ weights
        return expected, spread @ weights + doubt, doubt

    @abstractmethod
    def distribution(self, y: Tensor, f: Tensor, exposure: Tensor | None = None) -> Tensor:
        """Return the probability of an observation of at most ``y (m, 1)`` given ``f (m, q)``: ``(m, q)``."""

    @abstractmethod
    def sample(self, f: Tensor, generator: torch.Generator, exposure: Tensor | None = None) -> Tensor:
        """Draw an observation for each entry of ``f (m, q)``."""


def nodes(like: Tensor, count: int = NODES) -> tuple[Tensor, Tensor]:
    """Return the places ``(q,)`` of the trapezoid rule, in standard deviations, and their weights."""
    z = torch.linspace(-REACH, REACH, count, dtype=like.dtype, device=like.device)
    return z, torch.softmax(-0.5 * z.square(), 0)


def expectation(function: Callable[[Tensor], Tensor], mean: Tensor, variance: Tensor) -> Tensor:
    """Return the mean of a function of Gaussian numbers, ``(n,)``.

    Args:
        function: takes ``(n, q)`` values and returns as many.
        mean: ``(n,)``.
        variance: ``(n,)``.

    Examples:
        >>> one = torch.ones(1, dtype=torch.float64)
        >>> expectation(torch.square, 2.0 * one, 3.0 * one).round(decimals=6)
        tensor([7.], dtype=torch.float64)
    """
    z, weights = nodes(mean)
    return function(mean[:, None] + variance.sqrt()[:, None] * z) @ weights
