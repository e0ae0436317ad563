"""What a forecaster found, in short sentences for someone who knows statistics."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from nonparam.forecasting.transforms import Link

__all__ = ["REASONS", "Estimate", "Findings", "Reading", "describe", "odds", "rounded"]

NORMAL_95 = 1.959963984540054  # standard deviations on either side
SURE = 0.999  # a probability that is called certain
LIKELY = 0.9  # a probability that is believed
FEW = 1000.0  # odds that are said as a number, beyond them as a power of ten
EVEN = 1.05  # odds that decide nothing
LOGARITHM = "log"
CALLED = {"identity": "the series as it is", LOGARITHM: "the logarithm"}
REASONS = {LOGARITHM: "its swings grow with its level", "identity": "its swings do not grow with its level"}


@dataclass(frozen=True)
class Estimate:
    """A number that is known with an error.

    Attributes:
        mean: of what is believed.
        sd: its standard deviation.

    Examples:
        >>> tuple(round(end, 3) for end in Estimate(1.0, 0.5).interval)
        (0.02, 1.98)
    """

    mean: float
    sd: float

    @property
    def interval(self) -> tuple[float, float]:
        """The central 95 %."""
        return self.mean - NORMAL_95 * self.sd, self.mean + NORMAL_95 * self.sd


@dataclass(frozen=True)
class Reading:
    r"""Tells changes of :math:`g(y)` in units of ``y`` at some level, in percent if ``g`` is the logarithm.

    Attributes:
        link: ``g``.
        level: of ``y``, from which the changes are counted.
        units: of ``y``; ``""`` where they are not known.

    Examples:
        >>> from nonparam.forecasting.transforms import IDENTITY, LOG
        >>> Reading(LOG, 300.0, "people").words(-0.105), Reading(IDENTITY, 300.0, "people").words(12.3456)
        ('-10 %', '+12 people')
    """

    link: Link
    level: float
    units: str

    def change(self, step: float) -> float:
        """Return what a step on the scale of ``g`` does to ``y``: its difference, or percent."""
        at = self.link.forward(np.array([self.level]))
        moved = float(self.link.inverse(at + step)[0])
        return 100.0 * (moved / self.level - 1.0) if self.relative else moved - self.level

    @property
    def relative(self) -> bool:
        """Whether changes are told in percent."""
        return self.link.name == LOGARITHM

    @property
    def unit(self) -> str:
        """What stands behind a number."""
        return " %" if self.relative else f" {self.units}".rstrip()

    def words(self, step: float, *, sign: bool = True) -> str:
        """Return a step in two digits and its unit."""
        return rounded(self.change(step), sign=sign) + self.unit

    def estimate(self, steps: Estimate) -> str:
        """Return a step with its central 95 %."""
        low, high = (rounded(self.change(end), sign=True) for end in steps.interval)
        return f"{self.words(steps.mean)} (95 %: {low} to {high})"


@dataclass(frozen=True)
class Findings:
    """What is to be told. Changes and sizes are those of ``g(y)``.

    Attributes:
        name: of the series.
        step: what a step of its index is called.
        first: its first time.
        last: its last time.
        observations: how many numbers were seen.
        missing: how many were missing.
        reading: of the most evident member's scale.
        transforms: log evidence by transform, in nats.
        seasons: log evidence by the lengths of the seasons in steps, ``()`` for none.
        swing: the lowest and the highest value of the season's last cycle; ``None`` without a season.
        share: of the variance of ``g(y)`` that the season makes.
        trend: the change of the trend over the last ``span``; ``None`` where there is no trend.
        span: what the trend's change is counted over, such as ``"year"`` or ``"3 steps"``.
        noise: standard deviation of the noise.
        effects: of one unit of each regressor, or of a day of each holiday.
        cautions: what to distrust, as sentences.
    """

    name: str
    step: str
    first: str
    last: str
    observations: int
    missing: int
    reading: Reading
    transforms: Mapping[str, float]
    seasons: Mapping[tuple[float, ...], float]
    swing: tuple[float, float] | None
    share: float
    trend: Estimate | None
    span: str
    noise: float
    effects: Mapping[str, Estimate]
    cautions: tuple[str, ...]


def describe(findings: Findings) -> str:
    """Return what was found, in a line for each of series, scale, season, trend, noise, effects, doubts."""
    lines = [_seen(findings), _transform(findings), _season(findings)]
    if findings.trend is not None:
        change = findings.reading.estimate(findings.trend)
        lines.append(f"Trend: {change} over the last {findings.span}.")
    size = findings.reading.words(findings.noise, sign=False)
    lines.append(f"Noise: {size}, the standard deviation of one observation around the rest.")
    lines += [f"Effect of {name}: {findings.reading.estimate(e)}." for name, e in findings.effects.items()]
    return "\n".join([*lines, *(f"Caution: {caution}" for caution in findings.cautions)])


def _seen(findings: Findings) -> str:
    n, lost = findings.observations, findings.missing
    share = 100.0 * lost / (n + lost)
    missing = f"{lost:,} more missing ({rounded(share)} %)" if lost else "none missing"
    plural = "s" if n != 1 else ""
    return (
        f"{findings.name}: {n:,} observation{plural}, a step is one {findings.step}, {findings.first} to "
        f"{findings.last}, {missing}."
    )


def _transform(findings: Findings) -> str:
    best, *others = sorted(findings.transforms, key=lambda name: -findings.transforms[name])
    if not others:
        return f"Scale: {CALLED.get(best, best)}; no other was tried."
    gain = findings.transforms[best] - findings.transforms[others[0]]
    reason = f": {REASONS[best]}" if best in REASONS and gain > math.log(LIKELY / (1.0 - LIKELY)) else ""
    told = f"{odds(gain)} as probable as {CALLED.get(others[0], others[0])}"
    return f"Scale: {CALLED.get(best, best)}, {told}{reason}."


def _season(findings: Findings) -> str:
    lengths = {names: value for names, value in findings.seasons.items() if names}
    if not lengths:
        return "Season: none was looked for."
    best = max(lengths, key=lambda names: lengths[names])
    cycle = f"{' and '.join(f'{length:g}' for length in best)} {findings.step}s"
    if () not in findings.seasons:
        return f"Season: {cycle}{_size(findings)}; a series without it was not tried."
    gain = lengths[best] - findings.seasons[()]
    probability = 1.0 / (1.0 + math.exp(-max(gain, -700.0)))
    if gain < 0.0:
        return (
            f"Season: probably none (probability of one of {cycle}: {_percent(probability)}); a series "
            f"without it is {odds(-gain)} as probable."
        )
    sure = "certain" if probability > SURE else f"probability {_percent(probability)}"
    return f"Season: {cycle}, {sure}, {odds(gain)} as probable as none{_size(findings)}."


def _size(findings: Findings) -> str:
    if findings.swing is None:
        return ""
    low, high = (findings.reading.words(end) for end in findings.swing)
    return f"; it moves the series from {low} to {high} and makes {_percent(findings.share)} of its variance"


def odds(nats: float) -> str:
    """Return a difference of log evidences as words.

    Args:
        nats: 0 or more.

    Examples:
        >>> odds(0.0), odds(1.0), odds(5.0), odds(25.8)
        ('equally', '2.7 times', '150 times', '10^11 times')
    """
    if nats <= math.log(EVEN):
        return "equally"
    if nats < math.log(FEW):
        return f"{rounded(math.exp(nats))} times"
    return f"10^{round(nats / math.log(10.0))} times"


def rounded(value: float, *, digits: int = 2, sign: bool = False) -> str:
    """Return a number with a few significant digits, plain where it is of a usual size.

    Examples:
        >>> rounded(0.034567), rounded(1234567.0), rounded(2.5e-7), rounded(9.96, sign=True)
        ('0.035', '1,200,000', '2.5e-07', '+10')
    """
    flag = "+" if sign and value != 0.0 else ""
    if value == 0.0 or not math.isfinite(value):
        return f"{value:{flag}g}".replace("-0", "0")
    shown = float(f"{value:.{digits - 1}e}")
    exponent = math.floor(math.log10(abs(shown)))
    if not -5 < exponent < 9:
        return f"{shown:{flag}.{digits - 1}e}"
    return f"{shown:{flag},.{max(digits - 1 - exponent, 0)}f}"


def _percent(share: float) -> str:
    """Return a share as percent that are never rounded to none or to all."""
    if share > SURE:
        return "above 99.9 %" if share < 1.0 else "100 %"
    if 0.0 < share < 1.0 - SURE:
        return "below 0.1 %"
    return f"{rounded(100.0 * share)} %"
