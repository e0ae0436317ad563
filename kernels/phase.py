r"""How signals travel through deep networks: in order, at the edge, or in chaos.

Layers of one kind, repeated, take the variance of their numbers and the correlation of two rows to fixed
points:

.. math:: q^* = w\, E[\phi(\sqrt{q^*} z)^2] + b, \qquad \chi = w\, E[\phi'(\sqrt{q^*} z)^2].

With :math:`\chi < 1` all rows become the same and gradients vanish, with :math:`\chi > 1` near rows part and
gradients explode, both within a few times :math:`\xi = 1 / |\log \chi|` layers. Networks that are to be deep
start at :math:`\chi = 1`.

Sources: Poole, Lahiri, Raghu, Sohl-Dickstein and Ganguli (2016), Exponential expressivity in deep neural
networks through transient chaos, NeurIPS, equations 3 and 6; Schoenholz, Gilmer, Ganguli and Sohl-Dickstein
(2017), Deep information propagation, ICLR, equation 12.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from scipy.optimize import brentq

from nonparam.errors import InputError
from nonparam.kernels.activations import Activation
from nonparam.kernels.layers import as_activation

__all__ = ["Phase", "critical_factor", "critical_weight_variance", "phase", "phase_of_cycle"]

LAYERS = 1000  # after which a variance that still moves is said to have no fixed point
ENDLESS = 1e12  # a variance beyond it grows without end
STILL = 1e-10  # relative, of a variance from one layer to the next
EDGE = 1e-6  # of chi from 1
SMALLEST_WEIGHT, LARGEST_WEIGHT = 0.01, 30.0


@dataclass(frozen=True)
class Phase:
    """How signals travel through layers of one kind.

    Attributes:
        variance: the fixed point of the numbers' variance; infinite where it grows without end.
        chi: the factor of squared gradients, and of small distances between rows, from layer to layer.

    Examples:
        >>> phase("erf", 1.0, 0.1).regime, phase("erf", 4.0, 0.1).regime
        ('ordered', 'chaotic')
    """

    variance: float
    chi: float

    @property
    def regime(self) -> str:
        """Whether distances fall, ``"ordered"``, stay, ``"critical"``, or grow, ``"chaotic"``."""
        if abs(self.chi - 1.0) <= EDGE:
            return "critical"
        return "ordered" if self.chi < 1.0 else "chaotic"

    @property
    def depth_scale(self) -> float:
        """The number of layers over which distances change by a factor of e; infinite at the edge."""
        if self.regime == "critical":
            return math.inf
        return 1.0 / abs(math.log(self.chi)) if self.chi > 0.0 else 0.0


def phase(activation: str | Activation, weight_variance: float, bias_variance: float) -> Phase:
    """Return how signals travel through many layers with an activation.

    Args:
        activation: its name, or an activation.
        weight_variance: of a dense layer, times its number of inputs; positive.
        bias_variance: of its biases, at least 0.

    Raises:
        InputError: variances that are none, or an unknown activation.

    Examples:
        >>> phase("relu", 2.0, 0.0)
        Phase(variance=1.0, chi=1.0)
    """
    return phase_of_cycle([(as_activation(activation), weight_variance, bias_variance)])


def phase_of_cycle(cycle: Sequence[tuple[Activation, float, float]]) -> Phase:
    r"""Return how signals travel through some layers that are repeated many times.

    Args:
        cycle: activations, and the variances of the weights and of the biases that follow each.

    Returns:
        With the variance at the end of the cycle, and the geometric mean of its layers' :math:`\chi`.

    Raises:
        InputError: variances that are none.

    Examples:
        >>> phase_of_cycle([(as_activation("relu"), 2.0, 0.0), (as_activation("abs"), 1.0, 0.0)]).chi
        1.0
    """
    for _, w, b in cycle:
        _checked("weight_variance", w, 0.0)
        _checked("bias_variance", b, None)
    q = 1.0
    for _ in range(LAYERS):
        before, growth = q, 1.0
        for one, w, b in cycle:
            value, slope = _moments(one, q)
            q, growth = w * value + b, growth * w * slope
        if abs(q - before) <= STILL * max(q, 1.0) or not q < ENDLESS:
            break
    rests = abs(q - before) <= math.sqrt(STILL) * max(q, 1.0)
    return Phase(q if rests else math.inf, growth ** (1.0 / len(cycle)))


def critical_weight_variance(activation: str | Activation, bias_variance: float) -> float:
    r"""Return the variance of weights at which :math:`\chi = 1`.

    Args:
        activation: its name, or an activation.
        bias_variance: at least 0.

    Raises:
        InputError: a variance that is none, or an activation for which there is none from 0.01 to 30.

    Examples:
        >>> round(critical_weight_variance("erf", 0.1), 3)
        1.552
    """
    return critical_factor([(as_activation(activation), 1.0, bias_variance)])


def critical_factor(cycle: Sequence[tuple[Activation, float, float]]) -> float:
    r"""Return what multiplies all variances of weights so that :math:`\chi = 1`.

    Args:
        cycle: as for `phase_of_cycle`.

    Raises:
        InputError: variances that are none, or no such factor from 0.01 to 30.

    Examples:
        >>> round(critical_factor([(as_activation("relu"), 1.0, 0.0)]), 6)
        2.0
    """

    def excess(log_factor: float) -> float:
        return phase_of_cycle([(one, math.exp(log_factor) * w, b) for one, w, b in cycle]).chi - 1.0

    low, high = math.log(SMALLEST_WEIGHT), math.log(LARGEST_WEIGHT)
    crosses = excess(low) < 0.0 < excess(high)
    found = _root(excess, low, high) if crosses else math.nan
    if not crosses or abs(excess(found)) > EDGE:  # chi may jump over 1, from one fixed point to another
        raise InputError(
            f"{', '.join(one.name for one, _, _ in cycle)} has no critical weight_variance from "
            f"{SMALLEST_WEIGHT} to {LARGEST_WEIGHT:g} with bias_variance={cycle[0][2]:g}: give "
            "weight_variance yourself"
        )
    return math.exp(found)


def _root(function: Callable[[float], float], low: float, high: float) -> float:
    found: float = brentq(function, low, high, xtol=1e-10)
    return found


def _moments(activation: Activation, q: float) -> tuple[float, float]:
    variance = torch.tensor(q, dtype=torch.float64)
    values, slopes = activation.moments(variance, variance, variance)
    return float(values), float(slopes)


def _checked(name: str, value: float, above: float | None) -> float:
    number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not number or value < 0.0 or (above is not None and value <= above):
        kind = "a positive number" if above is not None else "a number from 0"
        raise InputError(f"{name} must be {kind}, got {value!r}")
    return float(value)
