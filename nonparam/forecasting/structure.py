r"""What a series is thought to be made of: named parts, each with a kernel and priors.

Time is counted in units of about a season's cycle and is 0 at the last observation; the series has mean 0 and
variance 1. The priors say what is typical of a series in these units, and each part can be shrunk to nothing
by its variance.

.. math::

    k(t, t') = \underbrace{v_b}_\text{base} + \underbrace{v_d\, t t'}_\text{drift}
        + \underbrace{v_t\, k_{3/2}(t, t')}_\text{trend}
        + \underbrace{v_l \min(t - t_1, t' - t_1)}_\text{level}
        + \underbrace{v_w \textstyle\int\!\!\int \min}_\text{slope}
        + \underbrace{v_s\, k_\text{per}(t, t')\, e^{-|t - t'| / L}}_\text{season}
        + \underbrace{v_m\, e^{-|t - t'| / \ell}}_\text{memory}

Regressors add :math:`v_r x x'^\top` with their standardised columns :math:`x`, and so do working days and
holidays; there may be several seasons.

The form follows Corani, Benavoli and Zaffalon (2021), Time series forecasting with Gaussian processes needs
priors; the level, the memory and the season that may change are additions.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from nonparam.errors import InputError
from nonparam.forecasting.parameters import check_priors
from nonparam.kernels import (
    Constant,
    IntegratedWiener,
    Kernel,
    Linear,
    Matern,
    Periodic,
    Product,
    Scale,
    Sum,
    Wiener,
)
from nonparam.theta import Prior, Theta

__all__ = ["WORKING_DAYS", "Kind", "Part", "Structure", "build_structure"]

Array = NDArray[np.float64]
Kind = Literal["base", "drift", "trend", "level", "slope", "season", "memory", "features"]

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
SLOPE = LogNormal("variance", -3.0, 1.5)
SEASON = LogNormal("variance", -1.5, 1.5)
SEASON_SHAPE = LogNormal("smoothness", -0.2 + math.log(2.0), 1.0)
SEASON_LIFE = LogNormal("lifetime", 3.0, 1.0)
MEMORY = LogNormal("variance", -2.5, 1.5)
MEMORY_LENGTH = LogNormal("lengthscale", -1.9, 1.0)
NOISE = LogNormal("variance", -3.0, 2.0)
REGRESSORS = LogNormal("variance", -2.0, 1.5)
EFFECT_OF_A_DAY = LogNormal("variance", -5.0, 1.0)  # most series know no working days

WITHOUT = (  # what trends of series without a season may lack
    ("slope",),
    ("slope", "drift"),
    ("trend", "memory"),
    ("slope", "trend", "memory"),
)
WORKING_DAYS = "working days"
ONE_SEASON: Mapping[str, float] = MappingProxyType({"season": 1.0})
NOTHING: Mapping[str, Sequence[int]] = MappingProxyType({})


@dataclass(frozen=True)
class Part:
    """A named term of the covariance.

    Attributes:
        name: as it is shown to users.
        kernel: at the medians of its priors.
        priors: by the names of the kernel's free parameters, in their order.
        kind: what it does in the series.
        period: of a season, in units of time.
        columns: of features, where they stand beside the time.
    """

    name: str
    kernel: Kernel
    priors: dict[str, LogNormal]
    kind: Kind
    period: float | None = None
    columns: tuple[int, ...] = ()


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

    @property
    def seasons(self) -> tuple[str, ...]:
        """The names of the parts that repeat."""
        return tuple(part.name for part in self.parts if part.kind == "season")

    @property
    def has_slope(self) -> bool:
        """Whether there is a part whose slope wanders."""
        return any(part.kind == "slope" for part in self.parts)

    def without(self, names: Collection[str]) -> "Structure":
        """Return the structure of the other parts."""
        return Structure(tuple(part for part in self.parts if part.name not in names))

    def chosen(self, components: object, priors: Any) -> "Structure":
        """Return the structure with some parts only, and with other priors.

        Args:
            components: ``"auto"`` for all, or names; ``"season"`` names every season.
            priors: ``"default"``, or a dictionary from names such as ``"trend lengthscale"`` to the median
                and the standard deviation of the logarithm.

        Raises:
            InputError: a name that is unknown, or a prior that is none.
        """
        check_priors(priors)
        parts = self.parts
        if not (isinstance(components, str) and components == "auto"):
            parts = tuple(part for part in self.parts if _is_chosen(part, self._checked(components)))
        if isinstance(priors, str) and priors == "default":
            return Structure(parts)
        known = [f"{part.name} {prior.label}" for part in self.parts for prior in part.priors.values()]
        unknown = [name for name in priors if name not in known]
        if unknown:
            raise InputError(f"priors has no {unknown[0]!r}: expected some of {known}")
        return Structure(tuple(_with_priors(part, priors) for part in parts))

    def _checked(self, components: object) -> list[str]:
        names = list(components) if isinstance(components, list | tuple | set) else None
        known = [*(part.name for part in self.parts if part.kind != "season"), "season"]
        unknown = [name for name in names or () if name not in known]
        if not names or unknown:
            raise InputError(f"components must be 'auto' or a list of some of {known}, got {components!r}")
        return names

    @property
    def trends(self) -> list[tuple[str, ...]]:
        """What is left out by turns in series without a season: four ways in which trends go on."""
        present = {part.name for part in self.parts}
        choices = [tuple(name for name in names if name in present) for names in WITHOUT]
        return list(dict.fromkeys(choices))

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

    def switched_off_in(self, point: Array) -> list[str]:
        """Return the names of the parts that have no variance in a value of `theta`."""
        owners = [(part.name, prior.label) for part in self.parts for prior in part.priors.values()]
        return [
            name
            for (name, label), value in zip(owners, point, strict=False)
            if label == "variance" and value == OFF
        ]

    def is_like(self, other: "Structure") -> bool:
        """Whether both have the same parts with the same priors."""
        mine, yours = ([(p.name, p.priors, repr(p.kernel)) for p in s.parts] for s in (self, other))
        return mine == yours

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
            "y^2/X^3": scale**2 / unit**3,
        }
        values = iter(np.exp(point))
        natural = {}
        for part in self.parts:
            for name, prior in part.priors.items():
                kind = _unit(part.kernel, name.replace("raw_", ""))
                factor = factors["y^2" if part.kind == "features" else kind]
                natural[f"{part.name} {prior.label}"] = float(factor * next(values))
        return natural | {f"noise {NOISE.label}": float(scale**2 * next(values))}


def _is_chosen(part: Part, names: Collection[str]) -> bool:
    of_user = part.kind == "features" and part.name != WORKING_DAYS
    return part.name in names or of_user or (part.kind == "season" and "season" in names)


def _with_priors(part: Part, priors: Mapping[str, tuple[float, float]]) -> Part:
    changed = {}
    for key, prior in part.priors.items():
        given = priors.get(f"{part.name} {prior.label}")
        changed[key] = prior if given is None else LogNormal(prior.label, math.log(given[0]), float(given[1]))
    return replace(part, priors=changed)


def _unit(kernel: Kernel, name: str) -> str:
    path, _, last = name.rpartition(".")
    owner = kernel.get_submodule(path)
    return str(getattr(type(owner), last).unit)


def build_structure(
    first: float,
    seasons: Mapping[str, float] = ONE_SEASON,
    regressors: Mapping[str, Sequence[int]] = NOTHING,
    *,
    has_slope: bool = False,
) -> Structure:
    """Return all the parts that a series may have.

    Args:
        first: the time of the first observation, where the level starts.
        seasons: the periods of the parts that repeat, by their names, in units of time.
        regressors: which columns belong to each group of regressors, by its name; column 0 is the time.
        has_slope: whether there is a trend with a wandering slope besides.

    Returns:
        The structure.

    Examples:
        >>> [part.name for part in build_structure(-2.0).parts]
        ['base', 'drift', 'trend', 'level', 'season', 'memory']
    """
    parts = (
        Part("base", Constant(BASE.median), {"raw_variance": BASE}, "base"),
        Part("drift", Linear(DRIFT.median, center=0.0, active_dims=(0,)), {"raw_variance": DRIFT}, "drift"),
        Part(
            "trend",
            Scale(Matern(TREND_LENGTH.median, nu=1.5), TREND.median),
            {"raw_outputscale": TREND, "kernel.raw_lengthscale": TREND_LENGTH},
            "trend",
        ),
        Part("level", Wiener(LEVEL.median, origin=first, active_dims=(0,)), {"raw_variance": LEVEL}, "level"),
        *([_slope(first)] if has_slope else []),
        *(_season(name, period) for name, period in seasons.items()),
        Part(
            "memory",
            Scale(Matern(MEMORY_LENGTH.median, nu=0.5), MEMORY.median),
            {"raw_outputscale": MEMORY, "kernel.raw_lengthscale": MEMORY_LENGTH},
            "memory",
        ),
        *(_group(name, columns) for name, columns in regressors.items()),
    )
    return Structure(parts)


def _slope(first: float) -> Part:
    kernel = IntegratedWiener(SLOPE.median, origin=first, active_dims=(0,))
    return Part("slope", kernel, {"raw_variance": SLOPE}, "slope")


def _season(name: str, period: float) -> Part:
    cycle = Periodic(period, SEASON_SHAPE.median, zero_mean=True, fixed=("period",))
    return Part(
        name,
        Scale(Product(cycle, Matern(SEASON_LIFE.median, nu=0.5)), SEASON.median),
        {
            "raw_outputscale": SEASON,
            "kernel.kernels.0.raw_lengthscale": SEASON_SHAPE,
            "kernel.kernels.1.raw_lengthscale": SEASON_LIFE,
        },
        "season",
        period=period,
    )


def _group(name: str, columns: Sequence[int]) -> Part:
    prior = EFFECT_OF_A_DAY if name == WORKING_DAYS else REGRESSORS
    kernel = Linear(prior.median, center=0.0, active_dims=tuple(columns))
    return Part(name, kernel, {"raw_variance": prior}, "features", columns=tuple(columns))
