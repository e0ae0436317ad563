r"""What a series is thought to be made of: named parts, each with a kernel and priors.

Time is counted in units of about a season's cycle and is 0 at the last observation; the series has mean 0 and
variance 1. The priors say what is typical of a series in these units, and each part can be shrunk to nothing
by its variance.

.. math::

    k(t, t') = \underbrace{v_b}_\text{base} + \underbrace{v_d\, t t'}_\text{drift}
        + \underbrace{v_t\, k_{5/2}(t, t')}_\text{trend}
        + \underbrace{v_l \min(t - t_1, t' - t_1)}_\text{level}
        + \underbrace{v_s\, k_\text{per}(t, t')\, e^{-|t - t'| / L}}_\text{season}
        + \underbrace{v_m\, e^{-|t - t'| / \ell}}_\text{memory}

The form follows Corani, Benavoli and Zaffalon (2021), Time series forecasting with Gaussian processes needs
priors; the level, the memory and the season that may change are additions.
"""

import math
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nonparam.kernels import Constant, Kernel, Linear, Matern, Periodic, Product, Scale, Sum, Wiener
from nonparam.theta import Prior, Theta

__all__ = ["Structure", "build_structure"]

Array = NDArray[np.float64]

REACH = 8.0  # standard deviations of its prior that a search may move a hyperparameter
SERIES_NOISE_FLOOR = 1e-8  # of the variance; `scales.NOISE_FLOOR` would widen forecasts of noiseless series
OFF = -80.0  # logarithm of the variance of a part that is switched off: it leaves no trace in 16 digits


@dataclass(frozen=True)
class LogNormal:
    """A prior of a positive hyperparameter: mean and standard deviation of its logarithm."""

    label: str
    mu: float
    sd: float

    @property
    def median(self) -> float:
        """The value that half of the probability lies below."""
        return math.exp(self.mu)

    @property
    def prior(self) -> Prior:
        """The normal density of the logarithm, and its bounds."""
        return Prior(self.mu, self.sd, self.mu - REACH * self.sd, self.mu + REACH * self.sd)


BASE = LogNormal("variance", 0.0, 1.0)
DRIFT = LogNormal("variance", -2.0, 1.5)
TREND = LogNormal("variance", -1.5, 1.5)
TREND_LENGTH = LogNormal("lengthscale", 1.6, 1.0)
LEVEL = LogNormal("variance", -1.0, 1.5)
SEASON = LogNormal("variance", -1.5, 1.5)
SEASON_SHAPE = LogNormal("smoothness", 0.2 + math.log(2.0), 1.0)
SEASON_LIFE = LogNormal("lifetime", 3.0, 1.0)
MEMORY = LogNormal("variance", -2.5, 1.5)
MEMORY_LENGTH = LogNormal("lengthscale", -1.0, 1.0)
NOISE = LogNormal("variance", -3.0, 2.0)


@dataclass(frozen=True)
class Part:
    """A named term of the covariance.

    Attributes:
        name: as it is shown to users.
        kernel: at the medians of its priors.
        priors: by the names of the kernel's free parameters, in their order.
    """

    name: str
    kernel: Kernel
    priors: dict[str, LogNormal]


@dataclass(frozen=True)
class Structure:
    """The parts that a series is the sum of, and what is known of their hyperparameters beforehand.

    Attributes:
        parts: in the order in which they are shown.

    Examples:
        >>> plain = build_structure(-2.0).without(["season", "level"])
        >>> [part.name for part in plain.parts]
        ['base', 'drift', 'trend', 'memory']
        >>> plain.theta().size
        7
    """

    parts: tuple[Part, ...]

    def without(self, names: Collection[str]) -> "Structure":
        """Return the structure of the other parts."""
        return Structure(tuple(part for part in self.parts if part.name not in names))

    def entries(self, names: Collection[str]) -> NDArray[np.bool_]:
        """Return which entries of `theta` belong to the parts of these names, ``(p,)``."""
        owners = [part.name for part in self.parts for _ in part.priors]
        return np.array([*(owner in names for owner in owners), False])

    def switched_off(self, names: Collection[str]) -> Array:
        """Return `theta` at the medians of its priors, but for parts whose variance is nothing, ``(p,)``."""
        priors = [(part.name, prior) for part in self.parts for prior in part.priors.values()]
        off = [name in names and prior.label == "variance" for name, prior in priors]
        values = [OFF if is_off else prior.mu for is_off, (_, prior) in zip(off, priors, strict=True)]
        return np.array([*values, NOISE.mu])

    def theta(self) -> Theta:
        """Return the hyperparameters as a vector, with the kernel that it is written into."""
        kernel = Sum(*(part.kernel for part in self.parts))
        priors = {
            f"kernels.{i}.{name}": p.prior
            for i, part in enumerate(self.parts)
            for name, p in part.priors.items()
        }
        noise = NOISE.prior
        priors["noise"] = Prior(noise.mean, noise.sd, math.log(SERIES_NOISE_FLOOR), noise.upper)
        return Theta(kernel, priors, NOISE.median)

    def natural(self, point: Array, unit: float, scale: float) -> dict[str, float]:
        """Return hyperparameters in units of observations in time, and of the transformed series.

        Args:
            point: ``(p,)``, a value of `theta`.
            unit: the number of steps between observations that is counted as time 1.
            scale: the standard deviation that the transformed series was divided by.

        Returns:
            Values by names such as ``"trend lengthscale"``.
        """
        factors = {
            "1": 1.0,
            "X": unit,
            "y^2": scale**2,
            "y^2/X": scale**2 / unit,
            "y^2/X^2": (scale / unit) ** 2,
        }
        values = iter(np.exp(point))
        natural = {}
        for part in self.parts:
            for name, prior in part.priors.items():
                factor = factors[_unit(part.kernel, name.replace("raw_", ""))]
                natural[f"{part.name} {prior.label}"] = float(factor * next(values))
        return natural | {f"noise {NOISE.label}": float(scale**2 * next(values))}


def _unit(kernel: Kernel, name: str) -> str:
    path, _, last = name.rpartition(".")
    owner = kernel.get_submodule(path)
    return str(getattr(type(owner), last).unit)


def build_structure(first: float) -> Structure:
    """Return all the parts that a series may have; its season has the period 1.

    Args:
        first: the time of the first observation, where the level starts.

    Returns:
        The structure.

    Examples:
        >>> [part.name for part in build_structure(-2.0).parts]
        ['base', 'drift', 'trend', 'level', 'season', 'memory']
    """
    cycle = Periodic(1.0, SEASON_SHAPE.median, zero_mean=True, fixed=("period",))
    parts = (
        Part("base", Constant(BASE.median), {"raw_variance": BASE}),
        Part("drift", Linear(DRIFT.median, center=0.0), {"raw_variance": DRIFT}),
        Part(
            "trend",
            Scale(Matern(TREND_LENGTH.median), TREND.median),
            {"raw_outputscale": TREND, "kernel.raw_lengthscale": TREND_LENGTH},
        ),
        Part("level", Wiener(LEVEL.median, origin=first), {"raw_variance": LEVEL}),
        Part(
            "season",
            Scale(Product(cycle, Matern(SEASON_LIFE.median, nu=0.5)), SEASON.median),
            {
                "raw_outputscale": SEASON,
                "kernel.kernels.0.raw_lengthscale": SEASON_SHAPE,
                "kernel.kernels.1.raw_lengthscale": SEASON_LIFE,
            },
        ),
        Part(
            "memory",
            Scale(Matern(MEMORY_LENGTH.median, nu=0.5), MEMORY.median),
            {"raw_outputscale": MEMORY, "kernel.raw_lengthscale": MEMORY_LENGTH},
        ),
    )
    return Structure(parts)
