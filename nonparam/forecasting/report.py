"""What a forecaster did, in the user's units."""

from collections.abc import Mapping
from dataclasses import dataclass

from nonparam.forecasting.search import TIME_OVER

__all__ = ["ForecastReport", "MemberReport"]


@dataclass(frozen=True)
class MemberReport:
    """One structure on one transform.

    Attributes:
        seasons: observations in each cycle; empty without a season.
        transform: ``"identity"`` or ``"log"``.
        weight: its share of the forecast.
        log_evidence: log density of the observations in nats, hyperparameters integrated out.
        hyperparameters: by names such as ``"trend lengthscale"``: lengthscales and lifetimes in steps of the
            index, variances in squared units of the transformed series (per step for the level, per squared
            step for the drift), smoothness without a unit.
        steps: of the search for them.
        evaluations: of the log posterior during the search.
        converged: whether the search met a tolerance.
        message: why it ended.
        parts: that it has, beside noise.

    Examples:
        >>> MemberReport((12.0,), "log", 1.0, -469.0, {}, 20, 30, True, "the gradient vanishes").name
        'season of 12, log'
    """

    seasons: tuple[float, ...]
    transform: str
    weight: float
    log_evidence: float
    hyperparameters: Mapping[str, float]
    steps: int
    evaluations: int
    converged: bool
    message: str
    parts: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """A short description."""
        lengths = " and ".join(f"{length:g}" for length in self.seasons)
        return f"{f'season of {lengths}' if lengths else 'no season'}, {self.transform}"


@dataclass(frozen=True)
class ForecastReport:
    """What a fit did.

    Attributes:
        members: the most evident first, which need not be the heaviest.
        observations: how many numbers were seen.
        missing: how many were missing.
        seconds: wall-clock time.

    Examples:
        >>> log = MemberReport((12.0,), "log", 1.0, -469.0, {}, 20, 30, True, "the gradient vanishes")
        >>> print(ForecastReport((log,), observations=144, missing=0, seconds=0.5))
        144 observations, fitted in 0.5 s, converged
          100.0%     -469.00 nats  season of 12, log
    """

    members: tuple[MemberReport, ...]
    observations: int
    missing: int
    seconds: float

    @property
    def names(self) -> list[str]:
        """What tells the members apart: their names, and their parts where several share a name."""
        names = [member.name for member in self.members]
        return [
            f"{name}: {' + '.join(member.parts)}" if names.count(name) > 1 else name
            for name, member in zip(names, self.members, strict=True)
        ]

    @property
    def converged(self) -> bool:
        """Whether every search met a tolerance."""
        return all(member.converged for member in self.members)

    @property
    def timed_out(self) -> bool:
        """Whether ``time_limit`` ended a search."""
        return any(member.message == TIME_OVER for member in self.members)

    def __str__(self) -> str:
        """Return a table of the members."""
        missing = f" ({self.missing} missing)" if self.missing else ""
        state = "converged" if self.converged else "not all searches converged"
        state += ": time_limit ended some" if self.timed_out else ""
        lines = [f"{self.observations} observations{missing}, fitted in {self.seconds:.2g} s, {state}"]
        lines += [
            f"  {member.weight:6.1%}  {member.log_evidence:10.2f} nats  {name}"
            for name, member in zip(self.names, self.members, strict=True)
        ]
        return "\n".join(lines)
