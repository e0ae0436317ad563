r"""A half-integer Matérn process as a Markov chain: its transitions between any two places.

In the units :math:`\tau = \sqrt{2 \nu} \, x / \ell` of its input, a Matérn process :math:`f` of
:math:`\nu = s - 1/2` is white noise under :math:`(1 + d/d\tau)^s`, so that the states
:math:`z_i = (1 + d/d\tau)^i f`, :math:`i < s`, are Markov:

.. math::

    dz = (S - I) z \, d\tau + e_s \, d\beta, \qquad A(\tau) = e^{-\tau} e^{S \tau}, \qquad
    Q(\tau) = q \int_0^\tau e^{-2u} \, a(u) a(u)^\top du, \quad a_i(u) = \frac{u^{s-1-i}}{(s-1-i)!},

with the shift :math:`S e_{i+1} = e_i`. The stationary covariance is :math:`P = Q(\infty)`. Every entry of
:math:`Q` is one incomplete gamma integral, of full relative precision however near the places.

Source: Hartikainen and Särkkä (2010), Kalman filtering and smoothing solutions to temporal Gaussian process
regression models, MLSP.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.polynomial import polynomial
from numpy.typing import NDArray
from scipy.linalg import block_diag

from nonparam.errors import InputError
from nonparam.solvers.associative_scan import Array
from nonparam.solvers.kalman import Chain

__all__ = ["MaternTerm", "Series"]

ORDERS = (0.5, 1.5, 2.5)
FARTHEST = 350.0  # exp(-tau) is no covariance any more there, and its square still a normal number
STRIP = 16384  # numbers that stay in cache
CHUNKS = 3.3  # powers of two beyond the square root of the rows; benchmarked at 1e3 to 1e6 rows
NEAR = 1.0  # below it the integrals are summed as series, without cancellation


@dataclass(frozen=True)
class MaternTerm:
    r"""One Matérn kernel of a sum.

    .. math:: k(x, x') = \sigma^2 \, \frac{2^{1-\nu}}{\Gamma(\nu)} \tau^\nu K_\nu(\tau),
        \qquad \tau = \sqrt{2 \nu} \, |x - x'| / \ell

    Attributes:
        nu: 0.5, 1.5 or 2.5.
        outputscale: :math:`\sigma^2`, the variance.
        lengthscale: :math:`\ell`, in the units of the input.

    Raises:
        InputError: another ``nu``, or a scale that is not positive and finite.

    Examples:
        >>> MaternTerm(1.5, 2.0, 1.0).covariance(np.array([0.0, 1.0])).round(4)
        array([2.    , 0.9667])
    """

    nu: float
    outputscale: float
    lengthscale: float

    def __post_init__(self) -> None:
        """Refuse what is no Matérn kernel, or none that has a chain."""
        if self.nu not in ORDERS:
            raise InputError(f"nu is {self.nu}: expected one of {ORDERS}; the chain exists for these only")
        for name in ("outputscale", "lengthscale"):
            if not 0.0 < getattr(self, name) < math.inf:
                raise InputError(f"{name} is {getattr(self, name)}: expected a positive, finite number")

    @property
    def states(self) -> int:
        """The process and its derivatives."""
        return round(self.nu + 0.5)

    @property
    def rate(self) -> float:
        """What the input is multiplied by to become ``tau``."""
        return math.sqrt(2.0 * self.nu) / self.lengthscale

    @property
    def density(self) -> float:
        """``q``, the diffusion of the last state."""
        power = 2 * self.states - 1
        return self.outputscale * 2.0**power / math.comb(power - 1, self.states - 1)

    @property
    def stationary(self) -> Array:
        """``P``, ``(s, s)``, the covariance of the states."""
        whole = [np.full((1, 1), math.factorial(k) / 2.0 ** (k + 1)) for k in range(2 * self.states - 1)]
        products = np.empty((1, self.states, self.states, 1))
        self._write_products(whole, products)
        return products[0, :, :, 0]

    def covariance(self, distance: Array) -> Array:
        """Return the covariance of the process at places this far apart, of any shape."""
        tau = self.rate * distance
        weights = self.stationary[0] / [math.factorial(k) for k in range(self.states)]
        return np.asarray(np.exp(-tau) * polynomial.polyval(tau, weights))

    def scaled(self, gaps: Array) -> Array:
        """Return ``tau``; beyond `FARTHEST` the places are independent, and so they are there."""
        return np.minimum(self.rate * gaps, FARTHEST)

    def write_step(self, tau: Array, out: Array) -> None:
        """Write what a transition is made of.

        Args:
            tau: ``(L, m)``.
            out: ``(L, 1 + s, s, m)``: first ``exp(-tau)`` and ``tau^k / k!`` for ``k = 1, ..., s - 1``, the
                parts of ``A``; then ``Q``.
        """
        np.exp(-tau, out=out[:, 0, 0])
        power = np.ones_like(tau)
        for k in range(1, self.states):
            power *= tau / k
            out[:, 0, k] = power
        self._write_products(_incomplete_gammas(tau, out[:, 0, 0], 2 * self.states - 2), out[:, 1:])

    def _write_products(self, integrals: Sequence[Array], out: Array) -> None:
        """Write ``q`` times the integrals of ``a a'``, ``(L, s, s, m)``, from those of powers of ``u``."""
        powers = range(self.states - 1, -1, -1)
        for i, a in enumerate(powers):
            for j, b in enumerate(powers):
                factor = self.density / (math.factorial(a) * math.factorial(b))
                np.multiply(integrals[a + b], factor, out=out[:, i, j])


@dataclass(frozen=True)
class Series:
    """Rows in the order of their places, folded into ``m`` chunks of ``L``, and the chain of a sum of terms.

    Attributes:
        terms: the kernels of the sum.
        rows: ``n``.
        order: ``(L, m)``, the row that stands at each place; ``n`` in what is left over.
        gaps: ``(L, m)``, from each row to the next; 0 after the last.
        chain: of the sum.

    Examples:
        >>> series = Series.of([MaternTerm(0.5, 1.0, 1.0)], np.array([2.0, 0.0, 1.0]), np.ones(3))
        >>> series.unfold(series.fold(np.eye(3)[:, :1])).ravel(), series.gaps.sum()
        (array([1., 0., 0.]), np.float64(2.0))
    """

    terms: Sequence[MaternTerm]
    rows: int
    order: NDArray[np.intp]
    gaps: Array
    chain: Chain

    @classmethod
    def of(cls, terms: Sequence[MaternTerm], x: Array, noise: Array) -> "Series":
        """Sort the rows at ``x (n,)``, with the variances ``noise (n,)``, and build the chain.

        Raises:
            InputError: there are no terms.
        """
        if not terms:
            raise InputError("there are no terms: expected at least one Matérn kernel")
        order = _folded_order(x)
        place = np.append(x, x.max())[order]
        gaps = np.concatenate([place[1:], [np.append(place[0, 1:], place[-1, -1])]])
        gaps -= place
        steps = _steps(terms, gaps)
        ends = np.cumsum([term.states for term in terms])
        chain = Chain(
            prior=block_diag(*[term.stationary for term in terms]),
            blocks=[slice(end - term.states, end) for end, term in zip(ends, terms, strict=True)],
            taylor=[step[:, 0] for step in steps],
            diffusion=[step[:, 1:] for step in steps],
            noise=np.append(noise, math.inf)[order],
        )
        return cls(terms, len(x), order, gaps, chain)

    def fold(self, values: Array) -> Array:
        """Return ``values (n, k)`` as ``(L, k, m)``, 0 in what is left over."""
        padded = np.zeros((values.shape[1], len(values) + 1))
        padded[:, :-1] = values.T
        return padded[:, self.order].swapaxes(0, 1)

    def unfold(self, values: Array) -> Array:
        """Return ``values (L, k, m)`` as ``(n, k)``, in the order of the rows."""
        found = np.empty((self.rows + 1, values.shape[1]))
        found[self.order] = values.swapaxes(1, 2)
        return found[:-1]


def _folded_order(x: Array) -> NDArray[np.intp]:
    n = len(x)
    chunks = 1 << round(0.5 * math.log2(n) + CHUNKS)
    length = -(-n // chunks)
    order = np.full(chunks * length, n)
    order[:n] = np.argsort(x, kind="stable")
    return np.ascontiguousarray(order.reshape(chunks, length).T)


def _steps(terms: Sequence[MaternTerm], gaps: Array) -> list[Array]:
    """Return the steps of each term, ``(L, 1 + s, s, m)``, in one piece of memory."""
    length, chunks = gaps.shape
    sizes = [(1 + term.states) * term.states for term in terms]
    room = np.empty((length, sum(sizes), chunks))
    parts = np.split(room, np.cumsum(sizes)[:-1], axis=1)
    steps = [part.reshape(length, -1, term.states, chunks) for part, term in zip(parts, terms, strict=True)]
    strip = max(1, STRIP // chunks)
    for t in range(0, length, strip):
        for term, step in zip(terms, steps, strict=True):
            term.write_step(term.scaled(gaps[t : t + strip]), step[t : t + strip])
    return steps


def _incomplete_gammas(tau: Array, decay: Array, highest: int) -> list[Array]:
    r"""Return :math:`\int_0^\tau u^k e^{-2u} du` for ``k = 0, ..., highest``, from ``decay = exp(-tau)``.

    The highest comes from its series or, at large ``tau``, from its closed form; the recursion downwards,
    :math:`\gamma_{k-1} = (2 \gamma_k + \tau^k e^{-2 \tau}) / k`, adds positive numbers only.

    Source: DLMF, equations 8.7.1, 8.8.1 and 8.4.7.
    """
    weighted = [decay * decay]  # tau^k exp(-2 tau)
    for _ in range(highest + 1):
        weighted.append(weighted[-1] * tau)
    gammas = [_highest_gamma(tau, weighted)]
    for k in range(highest, 0, -1):
        gammas.append((2.0 * gammas[-1] + weighted[k]) / k)
    return gammas[::-1]


def _highest_gamma(tau: Array, weighted: Sequence[Array]) -> Array:
    r"""Return the integral of ``k = a - 1``; its series is :math:`\sum_j (2 \tau)^j a! / (a + j)!`."""
    a = len(weighted) - 1
    x = 2.0 * np.minimum(tau, NEAR)
    coefficients = _series(float(x.max()), a)
    total = np.full_like(x, coefficients[-1] / a)
    for coefficient in coefficients[-2::-1]:
        total *= x
        total += coefficient / a
    total *= weighted[-1]
    if (tau > NEAR).any():
        head = sum(2.0**k / math.factorial(k) * weighted[k] for k in range(a))
        total = np.where(tau > NEAR, math.factorial(a - 1) / 2.0**a * (1.0 - head), total)
    return total


def _series(x: float, a: int) -> list[float]:
    """Return ``a! / (a + j)!`` for as many ``j`` as are not lost beside 1 at ``x``."""
    coefficients = [1.0]
    while coefficients[-1] * x ** (len(coefficients) - 1) > np.finfo(np.float64).eps / 4.0:
        coefficients.append(coefficients[-1] / (a + len(coefficients)))
    return coefficients
