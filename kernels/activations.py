r"""Moments of activations under Gaussians: what a layer of infinite width makes of a covariance.

For an activation :math:`\phi` and two jointly Gaussian numbers with variances :math:`q_1, q_2` and covariance
:math:`c`,

.. math:: \kappa = E[\phi(u)\, \phi(v)], \quad \dot\kappa = E[\phi'(u)\, \phi'(v)]
    = \frac{\partial \kappa}{\partial c}.

With :math:`r = \sqrt{q_1 q_2 - c^2}` and the angle :math:`\theta = \operatorname{atan2}(r, c)` the forms
below are exact and have finite gradients where both numbers are the same, :math:`r = 0`.

Sources: Cho and Saul (2009), Kernel methods for deep learning, NeurIPS (rectified powers); Williams (1997),
Computing with infinite networks, NeurIPS (erf); Tsuchida, Pearce, van der Heide, Roosta and Gallagher (2021),
Avoiding kernel fixed points, AAAI (GELU); Daniely, Frostig and Singer (2016), Toward deeper understanding of
neural networks, NeurIPS, section 5 (expansions in Hermite polynomials).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from numbers import Integral

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nonparam.errors import InputError
from nonparam.kernels.rectifier_moments import fast_moments, is_fast

__all__ = [
    "ACTIVATIONS",
    "FACTORIES",
    "Activation",
    "elementwise",
    "exponential",
    "gaussian",
    "hermite",
    "leaky_relu",
    "leaky_slope",
    "polynomial",
    "rectified_power",
    "sinusoid",
]

Moments = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]

NODES, ORDER = 600, 60  # of expansions: nodes of the quadrature, and the highest polynomial
FARTHEST = 12.0  # standard deviations, where the quadrature ends
NEAREST = 0.01  # standard deviations, below which its nodes are not graded
MOST_POWERS = 3
HIGHEST = 20  # degree of a Hermite polynomial: beyond it, coefficients cancel


@dataclass(frozen=True)
class Activation:
    """A function that a network applies to each number, and its moments.

    Attributes:
        name: as in formulas; one with numbers of its own is written as the function that makes it.
        function: of a tensor, elementwise.
        moments: takes covariances and two variances, which broadcast; returns :math:`\\kappa` and
            :math:`\\dot\\kappa`.

    Examples:
        >>> one = torch.ones((), dtype=torch.float64)
        >>> [value.item() for value in ACTIVATIONS["relu"].moments(one, one, one)]  # E relu(u)^2
        [0.5, 0.5]
    """

    name: str
    function: Callable[[Tensor], Tensor]
    moments: Moments

    def __repr__(self) -> str:
        """Return the name."""
        return self.name


# piecewise linear functions, and powers of rectified ones ----------------------------------------


def leaky_relu(slope: float = 0.01) -> Activation:
    """Return ``max(x, 0) + slope min(x, 0)``; 0 is the rectifier, -1 the absolute value.

    Examples:
        >>> leaky_relu(0.0).function(torch.tensor([-1.0, 2.0]))
        tensor([0., 2.])
    """
    return Activation(f"leaky_relu({slope!r})", partial(_leaky, slope), partial(_leaky_moments, slope))


def _leaky(slope: float, x: Tensor) -> Tensor:
    return x.clamp(min=0.0) + slope * x.clamp(max=0.0)


def _leaky_moments(slope: float, c: Tensor, q1: Tensor, q2: Tensor) -> tuple[Tensor, Tensor]:
    if is_fast(c, q1, q2):
        return fast_moments(slope, c, q1, q2)
    r, theta = _angle(c, q1 * q2)
    bend = (1.0 - slope) ** 2 / (2.0 * math.pi)
    slopes = 0.5 * (1.0 + slope**2) - bend * theta
    return bend * r + c * slopes, slopes


def rectified_power(power: int) -> Activation:
    """Return ``max(x, 0) ** power``; 0 is the unit step.

    Examples:
        >>> rectified_power(2).function(torch.tensor([-1.0, 3.0]))
        tensor([0., 9.])
    """
    if power not in range(MOST_POWERS + 1):
        raise InputError(f"power must be a whole number from 0 to {MOST_POWERS}, got {power!r}")

    return Activation(f"rectified_power({power})", partial(_power, power), partial(_power_moments, power))


def _power(power: int, x: Tensor) -> Tensor:
    return (x > 0.0) * x**power


def _power_moments(power: int, c: Tensor, q1: Tensor, q2: Tensor) -> tuple[Tensor, Tensor]:
    s2 = q1 * q2
    r, theta = _angle(c, s2)
    slopes = power**2 * _rectified(power - 1, c, s2, r, theta) if power else torch.zeros_like(theta)
    return _rectified(power, c, s2, r, theta), slopes


def _rectified(power: int, c: Tensor, s2: Tensor, r: Tensor, theta: Tensor) -> Tensor:
    """Return the arc-cosine kernel of a degree, Cho and Saul (2009), equation 3, without divisions."""
    rest = math.pi - theta
    values = (
        lambda: rest,
        lambda: r + rest * c,
        lambda: 3.0 * r * c + rest * (s2 + 2.0 * c**2),
        lambda: r * (15.0 * s2 - 11.0 * r**2) + rest * c * (9.0 * s2 + 6.0 * c**2),
    )
    return values[power]() / (2.0 * math.pi)


def _sign(c: Tensor, q1: Tensor, q2: Tensor) -> tuple[Tensor, Tensor]:
    _, theta = _angle(c, q1 * q2)
    return 1.0 - theta * (2.0 / math.pi), torch.zeros_like(theta)


def _angle(c: Tensor, s2: Tensor) -> tuple[Tensor, Tensor]:
    """Return ``sqrt(s2 - c^2)`` and the angle, without gradients where they have none."""
    square = s2 - c**2
    r = _root(torch.where(square > 8.0 * torch.finfo(c.dtype).eps * s2, square, 0.0))  # else it is rounding
    known = s2 > 0.0
    return r, torch.where(known, torch.atan2(r, torch.where(known, c, 1.0)), 0.5 * math.pi)


def _root(square: Tensor) -> Tensor:
    positive = square > 0.0
    return torch.where(positive, torch.where(positive, square, 1.0).sqrt(), 0.0)


def leaky_slope(activation: Activation) -> float | None:
    """Return the slope left of 0 of a rectifier that `leaky_relu` made; ``None`` for other activations.

    Examples:
        >>> leaky_slope(ACTIVATIONS["abs"])
        -1.0
    """
    moments = activation.moments
    return moments.args[0] if isinstance(moments, partial) and moments.func is _leaky_moments else None


# smooth functions --------------------------------------------------------------------------------


def _erf(c: Tensor, q1: Tensor, q2: Tensor) -> tuple[Tensor, Tensor]:
    d = _shifted(2.0 * c, 2.0 * q1, 2.0 * q2).sqrt()
    return (2.0 / math.pi) * torch.atan2(2.0 * c, d), (4.0 / math.pi) / d


def _gelu(c: Tensor, q1: Tensor, q2: Tensor) -> tuple[Tensor, Tensor]:
    product = (1.0 + q1) * (1.0 + q2)
    d2 = _shifted(c, q1, q2)
    d = d2.sqrt()
    angle = torch.atan2(c, d)
    ratio = q1 / (1.0 + q1) * (q2 / (1.0 + q2))
    values = 0.25 * c + (c / product * (c / d) + ratio * d + c * angle) / (2.0 * math.pi)
    turn = c / (2.0 * math.pi * d) * (1.0 / d2 + 1.0 / product - ratio + 1.0)
    return values, 0.25 + angle / (2.0 * math.pi) + turn


def _shifted(c: Tensor, q1: Tensor, q2: Tensor) -> Tensor:
    """Return ``(1 + q1)(1 + q2) - c^2``, at least ``1 + q1 + q2`` also where its large terms cancel."""
    return 1.0 + q1 + q2 + (q1 * q2 - c**2).clamp(min=0.0)


def sinusoid(frequency: float = 1.0, phase: float = 0.0) -> Activation:
    """Return ``sin(frequency x + phase)``.

    Examples:
        >>> sinusoid(2.0, math.pi / 2.0).function(torch.zeros(1))
        tensor([1.])
    """
    return Activation(
        f"sinusoid({frequency!r}, {phase!r})",
        partial(_wave, frequency, phase),
        partial(_wave_moments, frequency, phase),
    )


def _wave(frequency: float, phase: float, x: Tensor) -> Tensor:
    return torch.sin(frequency * x + phase)


def _wave_moments(frequency: float, phase: float, c: Tensor, q1: Tensor, q2: Tensor) -> tuple[Tensor, Tensor]:
    half, b2 = 0.5 * (q1 + q2), frequency**2
    apart = torch.exp(b2 * (c - half))
    together = math.cos(2.0 * phase) * torch.exp(-b2 * (c + half))
    return 0.5 * (apart - together), 0.5 * b2 * (apart + together)


def exponential(rate: float = 1.0) -> Activation:
    """Return ``exp(rate x)``.

    Examples:
        >>> exponential().function(torch.zeros(1))
        tensor([1.])
    """
    return Activation(f"exponential({rate!r})", partial(_growth, rate), partial(_growth_moments, rate))


def _growth(rate: float, x: Tensor) -> Tensor:
    return torch.exp(rate * x)


def _growth_moments(rate: float, c: Tensor, q1: Tensor, q2: Tensor) -> tuple[Tensor, Tensor]:
    values = torch.exp(rate**2 * (0.5 * (q1 + q2) + c))
    return values, rate**2 * values


def gaussian(rate: float = 1.0) -> Activation:
    """Return ``exp(-rate x^2)``.

    Examples:
        >>> gaussian().function(torch.zeros(1))
        tensor([1.])
    """
    if not rate > 0.0:
        raise InputError(f"rate must be positive, got {rate!r}")

    return Activation(f"gaussian({rate!r})", partial(_bump, rate), partial(_bump_moments, rate))


def _bump(rate: float, x: Tensor) -> Tensor:
    return torch.exp(-rate * x**2)


def _bump_moments(rate: float, c: Tensor, q1: Tensor, q2: Tensor) -> tuple[Tensor, Tensor]:
    d = _shifted(2.0 * rate * c, 2.0 * rate * q1, 2.0 * rate * q2)
    return d**-0.5, 4.0 * rate**2 * c * d**-1.5


# expansions in Hermite polynomials ---------------------------------------------------------------


def polynomial(coefficients: Sequence[float]) -> Activation:
    """Return ``coefficients[0] + coefficients[1] x + ...``; the moments are exact.

    Examples:
        >>> polynomial([0.0, 0.0, 1.0]).function(torch.tensor([3.0]))
        tensor([9.])
    """
    numbers = [float(value) for value in coefficients]
    if not numbers or not np.isfinite(numbers).all():
        raise InputError(f"coefficients must be finite numbers, at least one, got {coefficients!r}")

    degree = len(numbers) - 1
    function = partial(_horner, numbers)
    return Activation(f"polynomial({numbers!r})", function, _Expansion(function, degree, is_polynomial=True))


def _horner(coefficients: Sequence[float], x: Tensor) -> Tensor:
    total = torch.zeros_like(x)
    for value in reversed(coefficients):
        total = total * x + value
    return total


def hermite(degree: int) -> Activation:
    r"""Return a Hermite polynomial of variance one: :math:`\kappa = c^n` where the variances are 1.

    Examples:
        >>> hermite(2).function(torch.tensor([1.0, math.sqrt(3.0)])).round(decimals=4)
        tensor([0.0000, 1.4142])
    """
    if isinstance(degree, bool) or not isinstance(degree, Integral) or not 0 <= degree <= HIGHEST:
        raise InputError(f"degree must be a whole number from 0 to {HIGHEST}, got {degree!r}")
    one = np.polynomial.hermite_e.herme2poly([0.0] * int(degree) + [1.0]) / math.sqrt(math.factorial(degree))
    return replace(polynomial(one.tolist()), name=f"hermite({degree})")


def elementwise(function: Callable[[Tensor], Tensor]) -> Activation:
    r"""Return any function as an activation, with moments by expansion in Hermite polynomials.

    .. math:: \kappa = \sum_l a_l(q_1)\, a_l(q_2)\, \rho^l, \quad a_l(q) = E[\phi(\sqrt q z)\, h_l(z)],
        \quad \rho = c / \sqrt{q_1 q_2}.

    Expectations are integrals over either side of 0, where the function may have a kink, with nodes that are
    the denser the nearer to 0: they serve variances up to a million. What lies beyond the last polynomial is
    added with its power of :math:`\rho`, of the even and of the odd part of the function, so that variances
    are exact and the result is positive definite. The larger the variances, the more lies there: of a
    function that is nearly a step, covariances of numbers with correlations above 0.9 are known to a few per
    cent.

    Args:
        function: of a tensor, elementwise; `torch` must be able to differentiate it.

    Raises:
        InputError: no function; on evaluation, values that are not finite, or not as many as places.

    Examples:
        >>> one = torch.ones(1, dtype=torch.float64)
        >>> elementwise(torch.tanh).moments(0.5 * one, one, one)[0]
        tensor([0.1863], dtype=torch.float64)
    """
    if not callable(function):
        raise InputError(
            f"an activation must be a function of a tensor, such as torch.tanh, got {function!r}"
        )
    return Activation("elementwise", function, _Expansion(function, ORDER))


@dataclass(frozen=True)
class _Expansion:
    """The moments of a function by its expansion in Hermite polynomials."""

    function: Callable[[Tensor], Tensor]
    order: int
    is_polynomial: bool = False

    def __call__(self, c: Tensor, q1: Tensor, q2: Tensor) -> tuple[Tensor, Tensor]:
        scale = _root(q1) * _root(q2)
        rho = torch.where(scale > 0.0, c / torch.where(scale > 0.0, scale, 1.0), 0.0)
        found = []
        for one in (self.function, partial(_slope, self.function)):
            left, right = (self._coefficients(one, q) for q in (q1, q2))
            total = torch.zeros_like(rho)
            for a, b in zip(reversed(left), reversed(right), strict=True):  # Horner's rule
                total = total * rho + a * b
            found.append(total)
        return found[0], found[1]

    @cached_property
    def _rule(self) -> tuple[Tensor, Tensor, Tensor]:
        """Nodes and weights ``(nodes,)``, and the normalised polynomials there, ``(order + 1, nodes)``."""
        exact = self.is_polynomial
        places, weights = np.polynomial.hermite_e.hermegauss(self.order + 1) if exact else _graded()
        z = torch.from_numpy(places)
        basis = [torch.ones_like(z), z]
        for degree in range(1, self.order):  # by their recursion
            ahead = z * basis[-1] - math.sqrt(degree) * basis[-2]
            basis.append(ahead / math.sqrt(degree + 1.0))
        return z, torch.from_numpy(weights / weights.sum()), torch.stack(basis[: self.order + 1])

    def _coefficients(self, function: Callable[[Tensor], Tensor], q: Tensor) -> list[Tensor]:
        """Return ``a_0(q), ..., a_order(q)``, and two coefficients of what is left, each as ``q`` is."""
        z, w, table = (each.to(q) for each in self._rule)
        places = _root(q)[..., None] * z
        values = function(places)
        if not isinstance(values, Tensor) or values.shape != places.shape:
            came = tuple(values.shape) if isinstance(values, Tensor) else type(values).__name__
            raise InputError(
                f"an activation takes a tensor to one of the same shape, number by number: expected "
                f"{tuple(places.shape)}, got {came}; write it with torch functions"
            )
        if not bool(torch.isfinite(values).all()):
            raise InputError(
                "the activation is not finite where the network needs it: expected a function that is finite "
                f"for numbers up to about {float(q.detach().max().sqrt()) * float(z.max()):.3g}"
            )
        coefficients = list(((values * w) @ table.mT).unbind(-1))
        mirrored = values.flip(-1)  # nodes are symmetric
        beyond = []
        for parity in ((self.order + 1) % 2, self.order % 2):
            part = 0.5 * (values + mirrored * (-1.0) ** parity)
            power = (part**2 * w).sum(-1) - sum(a**2 for a in coefficients[parity::2])
            beyond.append(_root(power))
        return [*coefficients, *beyond]


def _graded() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return symmetric nodes and weights of a Gaussian, half of them on either side of 0.

    They are Gauss and Legendre's in ``asinh(z / NEAREST)``: singularities of a function of ``sqrt(q) z`` are
    then far from all of them, whatever ``q`` is, if they are far from 0.
    """
    places, weights = np.polynomial.legendre.leggauss(NODES // 2)
    reach = np.arcsinh(FARTHEST / NEAREST)
    at = 0.5 * reach * (places + 1.0)
    right, mass = NEAREST * np.sinh(at), weights * np.cosh(at)
    mass = mass * np.exp(-0.5 * right**2)
    return np.concatenate([-right[::-1], right]), np.concatenate([mass[::-1], mass])


def _slope(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    try:
        slope: Tensor = torch.func.jvp(function, (x,), (torch.ones_like(x),))[1]
    except (RuntimeError, TypeError) as error:
        raise InputError(
            f"torch cannot differentiate the activation ({error}): write it with torch functions, such as "
            "torch.tanh"
        ) from error
    return slope


ACTIVATIONS: dict[str, Activation] = {
    "relu": replace(leaky_relu(0.0), name="relu"),
    "leaky_relu": replace(leaky_relu(), name="leaky_relu"),
    "abs": replace(leaky_relu(-1.0), name="abs"),
    "sign": Activation("sign", torch.sign, _sign),
    "step": replace(rectified_power(0), name="step"),
    "erf": Activation("erf", torch.erf, _erf),
    "gelu": Activation("gelu", torch.nn.functional.gelu, _gelu),
    "sin": replace(sinusoid(), name="sin"),
    "cos": replace(sinusoid(1.0, 0.5 * math.pi), name="cos"),
    "exp": replace(exponential(), name="exp"),
    "gaussian": replace(gaussian(), name="gaussian"),
    "tanh": replace(elementwise(torch.tanh), name="tanh"),
    "sigmoid": replace(elementwise(torch.sigmoid), name="sigmoid"),
    "silu": replace(elementwise(torch.nn.functional.silu), name="silu"),
    "softplus": replace(elementwise(torch.nn.functional.softplus), name="softplus"),
    "elu": replace(elementwise(torch.nn.functional.elu), name="elu"),
}

FACTORIES: dict[str, Callable[..., Activation]] = {
    "leaky_relu": leaky_relu,
    "rectified_power": rectified_power,
    "sinusoid": sinusoid,
    "exponential": exponential,
    "gaussian": gaussian,
    "polynomial": polynomial,
    "hermite": hermite,
}
