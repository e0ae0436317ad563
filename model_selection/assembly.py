"""Kernels from expressions, and the hyperparameters of a fitted kernel back into its expression."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod

from nonparam import kernels
from nonparam.kernels.grammar import NAMES
from nonparam.model_selection.expressions import (
    VARIANCE,
    Base,
    Change,
    Expression,
    Product,
    Sum,
    with_leaves,
)

__all__ = ["BASES", "to_kernel", "with_values_of"]

SMOOTH = ("rbf", "rq", "matern12", "matern32", "matern52")
BASES = ("linear", "constant", *SMOOTH, "periodic", "cosine", "white")
HOLDERS = {"linear": "variance", "constant": "variance", "white": "variance"}  # have a variance of their own


@dataclass
class _Part:
    """What a leaf became: its kernel, what holds its variance, and the factor between both."""

    kernel: kernels.Kernel
    holder: kernels.Kernel | None
    factor: float = 1.0

    def values(self) -> dict[str, float]:
        """Return the hyperparameters, and the variance where the leaf holds one."""
        names = [declared.name for declared in self.kernel.declared() if declared.learnt]
        read = {name: getattr(self.kernel, name).item() for name in names if name != "variance"}
        if self.holder is None:
            return read
        name = "outputscale" if isinstance(self.holder, kernels.Scale) else "variance"
        return read | {VARIANCE: getattr(self.holder, name).item() * self.factor}


class _Assembly:
    """Builds kernels, and keeps in ``parts`` what became of each leaf, in the order of `leaves`."""

    def __init__(self, widths: Sequence[float]) -> None:
        self.widths = widths
        self.parts: list[_Part] = []

    def build(self, expression: Expression, inherited: float | None, free: bool) -> kernels.Kernel:
        """Return a kernel; its variances are free, or its first one is 1, as in a product with others."""
        match expression:
            case Base():
                return self._base(expression, inherited, free)
            case Change():
                return self._change(expression, inherited, free)
            case Sum(parts):
                first, *rest = parts
                built = [self.build(first, inherited, free)]
                return kernels.Sum(*built, *(self.build(part, inherited, True) for part in rest))
            case _:
                return self._product(expression, inherited, free)

    def _base(self, base: Base, inherited: float | None, free: bool) -> kernels.Kernel:
        variance = _variance(base.values, inherited) if free else 1.0
        width = self.widths[base.column or 0]
        factor = width**2 if base.name == "linear" else 1.0
        own: dict[str, object] = {name: value for name, value in base.values.items() if name != VARIANCE}
        options: dict[str, object] = {} if base.column is None else {"active_dims": (base.column,)}
        if base.name in HOLDERS:
            fixed = () if free else ("variance",)
            options = {} if base.name in ("constant", "white") else options
            level = None if variance is None else variance / factor
            kernel = _named(base.name, {**own, **options, "variance": level, "fixed": fixed})
            self.parts.append(_Part(kernel, kernel if free else None, factor))
            return kernel
        options |= {"zero_mean": True} if base.name == "periodic" else {}
        kernel = _named(base.name, {**own, **options})
        whole = kernels.Scale(kernel, variance) if free else kernel
        self.parts.append(_Part(kernel, whole if free else None))
        return whole

    def _change(self, change: Change, inherited: float | None, free: bool) -> kernels.Kernel:
        place = len(self.parts)
        before = self.build(change.before, inherited, free)
        after = self.build(change.after, inherited, True)
        location, width = (change.values.get(name) for name in ("location", "width"))
        kernel = kernels.ChangePoint(before, after, location, width, column=change.column or 0)
        self.parts.insert(place, _Part(kernel, None))
        return kernel

    def _product(self, expression: Product, inherited: float | None, free: bool) -> kernels.Kernel:
        holder, place = _holder(expression.parts) if free else None, len(self.parts)
        levels = [_level(part) for part in expression.parts]
        if holder is not None and isinstance(expression.parts[holder], Sum | Change):
            levels[holder] = None  # its terms keep their own
        known = [level for level in levels if level is not None]
        variance = _variance({VARIANCE: prod(known)} if known else {}, inherited)
        factors = [
            self.build(_divided(part, level), variance if i == holder else None, i == holder)
            for i, (part, level) in enumerate(zip(expression.parts, levels, strict=True))
        ]
        whole: kernels.Kernel = kernels.Product(*factors)
        if free and holder is None:
            whole = kernels.Scale(whole, variance)
            self.parts[place].holder = whole
        return whole


def _named(name: str, arguments: Mapping[str, object]) -> kernels.Kernel:
    kernel = NAMES[name](**arguments)
    assert isinstance(kernel, kernels.Kernel)
    return kernel


def _variance(values: Mapping[str, float], inherited: float | None) -> float | None:
    if VARIANCE not in values:
        return inherited
    return values[VARIANCE] * (1.0 if inherited is None else inherited)


def _holder(factors: Sequence[Expression]) -> int | None:
    """Return which factor holds the variance of a product: sums have several, lines their own."""
    composite = [i for i, part in enumerate(factors) if isinstance(part, Sum | Change)]
    lines = [i for i, part in enumerate(factors) if isinstance(part, Base) and part.name in HOLDERS]
    return next(iter(composite + lines), None)


def _level(expression: Expression) -> float | None:
    """Return the variance of the first term, ``None`` where none is known."""
    match expression:
        case Base():
            return expression.values.get(VARIANCE)
        case Change():
            return _level(expression.before)
        case Sum(parts):
            return _level(parts[0])
        case _:
            known = [level for level in map(_level, expression.parts) if level is not None]
            return prod(known) if known else None


def _divided(expression: Expression, level: float | None) -> Expression:
    """Return the expression with its variances divided by that of its first term."""
    if level is None:
        return expression
    match expression:
        case Base():
            rest = {name: value for name, value in expression.values.items() if name != VARIANCE}
            known = expression.values.get(VARIANCE)
            return replace(expression, values=rest if known is None else {**rest, VARIANCE: known / level})
        case Change():
            before, after = _divided(expression.before, level), _divided(expression.after, level)
            return replace(expression, before=before, after=after)
        case Sum(parts):
            return Sum(tuple(_divided(part, level) for part in parts))
        case _:
            first = next((i for i, part in enumerate(expression.parts) if _level(part) is not None), None)
            divisors = [level if i == first else None for i in range(len(expression.parts))]
            return Product(tuple(map(_divided, expression.parts, divisors)))


def to_kernel(expression: Expression, widths: Sequence[float]) -> kernels.Kernel:
    """Return the kernel that an expression stands for.

    Args:
        expression: hyperparameters that it lacks are left to the data.
        widths: ``(d,)``, the spread of each column of ``X``, for which the variance of a line counts.

    Examples:
        >>> season = Product((Base("periodic", values={"period": 12.0}), Base("linear")))
        >>> to_kernel(Sum((season, Base("rbf"))), [1.0])
        periodic(zero_mean=True, period=12) * linear + rbf
    """
    return _Assembly(widths).build(expression, None, True)


def with_values_of(expression: Expression, kernel: kernels.Kernel, widths: Sequence[float]) -> Expression:
    """Return the expression with the hyperparameters of a kernel that was built from it.

    Args:
        expression: whatever its own hyperparameters.
        kernel: what `to_kernel` made of it, or a fitted copy.
        widths: as in `to_kernel`.

    Examples:
        >>> line = Base("linear", values={"outputscale": 8.0})
        >>> found = with_values_of(Base("linear"), to_kernel(line, [2.0]), [2.0])
        >>> round(found.values["outputscale"], 6)
        8.0
    """
    assembly = _Assembly(widths)  # of the same modules as the kernel
    assembly.build(expression, None, True).load_state_dict(kernel.state_dict())
    parts = iter(assembly.parts)
    return with_leaves(expression, lambda: next(parts).values())
