"""A kernel expression in plain words, with periods, slopes and lengths in the user's units."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nonparam.model_selection.expressions import (
    CYCLES,
    Base,
    Change,
    Expression,
    Product,
    Sum,
    expanded,
    is_amplitude,
)

__all__ = ["Component", "phrase", "sentence"]

Array = NDArray[np.float64]

LONG = 0.5  # of the span: what changes over more is a trend
POWERS = {1: "linear", 2: "quadratic", 3: "cubic"}
LINES = ("linear",)
CHANGES = {"rq": "over several scales around", "white": "from row to row,"}
KINDS = {"matern12": "rough ", "matern32": "rather rough ", "matern52": "rather smooth ", "rbf": "smooth "}


@dataclass(frozen=True)
class Component:
    """A term of a fitted kernel.

    Attributes:
        expression: with its hyperparameters.
        mean: ``(n,)``, its posterior mean at the rows.
        share: of the variance of the outputs.
    """

    expression: Expression
    mean: Array
    share: float


def sentence(components: Sequence[Component], noise: float | None, x: Array, x_unit: str, y_unit: str) -> str:
    """Describe a sum of components, the largest one first.

    Args:
        components: of the function.
        noise: the standard deviation of the noise; ``None`` where it was given row by row.
        x: ``(n, d)``.
        x_unit: of the columns, such as ``"months"``; may be empty.
        y_unit: of the outputs; may be empty.

    Examples:
        >>> line = Component(Base("linear"), np.array([0.0, 3.0]), 0.9)
        >>> print(sentence([line], 0.5, np.array([[0.0], [2.0]]), "s", "m"))
        y is
        - a linear trend, rising by 3 m in 2 s (90 % of the variance),
        - plus noise with standard deviation 0.5 m
    """
    ordered = sorted(components, key=lambda component: -component.share)
    lines = [
        f"{_whole(c, x, x_unit, y_unit)} ({_percent(c.share)} % of the variance),"
        for c in ordered
        if c.expression != Base("constant")
    ]
    lines = lines or ["a constant,"]
    end = (
        "noise whose variance was given"
        if noise is None
        else f"noise with standard deviation {_show(noise, y_unit)}"
    )
    return "\n".join(
        ["y is", *(f"- {'plus ' if i else ''}{line}" for i, line in enumerate(lines)), f"- plus {end}"]
    )


def _whole(component: Component, x: Array, x_unit: str, y_unit: str) -> str:
    said, expression = phrase(component.expression, x, x_unit), component.expression
    if isinstance(expression, Base) and expression.name == "linear":
        column = x[:, expression.column or 0]
        slope = np.polyfit(column - column.mean(), component.mean, 1)[0] if np.ptp(column) else 0.0
        verb = "rising" if slope >= 0.0 else "falling"
        span = float(np.ptp(column))
        return f"{said}, {verb} by {_show(abs(slope) * span, y_unit)} in {_show(span, x_unit)}"
    return said


def phrase(expression: Expression, x: Array, x_unit: str) -> str:
    """Describe one term.

    Args:
        expression: with its hyperparameters; no sum, unless of a constant and one more.
        x: ``(n, d)``, whose span says what is long.
        x_unit: of the columns.

    Examples:
        >>> wave = Base("periodic", values={"period": 12.0, "lengthscale": 1.0})
        >>> slow = Base("rbf", values={"lengthscale": 80.0})
        >>> phrase(Product((Base("linear"), wave, slow)), np.array([[0.0], [100.0]]), "months")
        'a linear trend, times a wave with period 12 months that changes its shape over 80 months'
    """
    factors = expression.parts if isinstance(expression, Product) else (expression,)
    plain = [f for f in factors if isinstance(f, Base)]
    amplitudes = [_amplitude(f) for f in factors if is_amplitude(f)]
    lines = [f for f in [*plain, *amplitudes] if f.name == "linear"]
    waves = [f for f in plain if f.name in CYCLES]
    others = [f for f in plain if f.name not in (*CYCLES, *LINES, "constant")]
    said = [_trend(lines, x)] if lines else []
    if waves:
        first, *rest = [_wave(wave, x_unit) for wave in waves]
        shape = "".join(f" that changes its shape {_over(f, x_unit)}" for f in others)
        said += [first + shape, *rest]
    else:
        said += [_smooth(f, x, x_unit) for f in others]
    said += [f"an amplitude that changes {_over(f, x_unit)}" for f in amplitudes if f.name not in LINES]
    said += [_change(f, x, x_unit) for f in factors if isinstance(f, Change)]
    return ", times ".join(said) if said else "a constant"


def _amplitude(factor: Expression) -> Base:
    assert isinstance(factor, Sum)
    (varying,) = [p for p in factor.parts if isinstance(p, Base) and p.name != "constant"] or [
        Base("constant")
    ]
    return varying


def _trend(lines: Sequence[Base], x: Array) -> str:
    name = POWERS.get(len(lines), f"degree {len(lines)} polynomial")
    return f"a {name} trend{_of_columns(lines, x)}"


def _wave(wave: Base, x_unit: str) -> str:
    shape = "a cosine wave" if wave.name == "cosine" else "a wave"
    return f"{shape} with period {_show(wave.values['period'], x_unit)}{_of_column(wave)}"


def _smooth(base: Base, x: Array, x_unit: str) -> str:
    if base.name == "white":
        return "independent noise"
    long = base.values["lengthscale"] > LONG * float(np.ptp(x[:, base.column or 0]))
    kind = f"{KINDS.get(base.name, '')}{'trend' if long else 'function'}"
    return f"a {kind}{_of_column(base)} that changes {_over(base, x_unit)}"


def _over(base: Base, x_unit: str) -> str:
    if base.name == "white":
        return "from row to row"
    return f"{CHANGES.get(base.name, 'over')} {_show(base.values['lengthscale'], x_unit)}"


def _change(change: Change, x: Array, x_unit: str) -> str:
    before, after = (_all(part, x, x_unit) for part in (change.before, change.after))
    where = "" if change.column is None else f" of column {change.column}"
    place, width = change.values["location"], 2.0 * change.values["width"]
    at = _place(place, float(np.ptp(x[:, change.column or 0])), x_unit)
    return f"up to {at}{where}: {before}; beyond it: {after} (the change takes about {_show(width, x_unit)})"


def _all(expression: Expression, x: Array, x_unit: str) -> str:
    return ", plus ".join(phrase(term, x, x_unit) for term in expanded(expression))


def _of_column(base: Base) -> str:
    return "" if base.column is None else f" of column {base.column}"


def _of_columns(lines: Sequence[Base], x: Array) -> str:
    columns = sorted({line.column or 0 for line in lines})
    return (
        ""
        if x.shape[1] == 1
        else f" of column{'s' if len(columns) > 1 else ''} {', '.join(map(str, columns))}"
    )


def _percent(share: float) -> str:
    """Return two digits of a share, in percent; three where they are all of it."""
    return f"{100.0 * share:.{2 if share < 0.995 else 3}g}"


def _place(value: float, span: float, unit: str) -> str:
    """Return a place with as many decimals as tell apart a thousandth of the span."""
    decimals = 3 - math.floor(math.log10(span)) if span > 0.0 else 0
    return f"{round(value, max(decimals, 0)):.15g} {unit}".rstrip()


def _show(value: float, unit: str) -> str:
    return f"{value:.4g} {unit}".rstrip()
