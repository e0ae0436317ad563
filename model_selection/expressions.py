"""Kernel expressions: sums, products and change points of base kernels, in a canonical form.

An expression is a tree that can be compared and hashed: two that are equal stand for the same family of
covariance functions. Hyperparameters ride along at the leaves and do not count in a comparison. A variance
belongs to each term of a sum; only products of variances are seen, so one factor of a product holds it.

Source: Duvenaud et al. (2013), Structure discovery in nonparametric regression through compositional kernel
search, ICML; Lloyd et al. (2014), Automatic construction and natural-language description of nonparametric
regression models, AAAI.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from math import prod
from typing import TypeAlias

__all__ = [
    "CYCLES",
    "VARIANCE",
    "Base",
    "Change",
    "Expression",
    "Product",
    "Sum",
    "expanded",
    "is_amplitude",
    "leaves",
    "simplified",
    "terms",
    "with_leaves",
]

VARIANCE = "outputscale"
CYCLES = ("periodic", "cosine")
IDEMPOTENT_SUM = ("constant", "linear", "white")  # v1 k + v2 k is v k
IDEMPOTENT_PRODUCT = ("rbf", "white")  # a product of two is another one


@dataclass(frozen=True)
class Base:
    """A base kernel on one column.

    Attributes:
        name: in a formula, such as ``"rbf"``.
        column: of ``X``; ``None`` where there is only one.
        values: hyperparameters by name, and its variance; those that are missing wait for the data.

    Examples:
        >>> Base("rbf"), Base("rbf", values={"lengthscale": 2.0}) == Base("rbf")
        (rbf, True)
    """

    name: str
    column: int | None = None
    values: Mapping[str, float] = field(default_factory=dict, compare=False)

    def __repr__(self) -> str:
        """Return its name, and its column if there are several."""
        return self.name if self.column is None else f"{self.name}(active_dims=({self.column},))"


@dataclass(frozen=True)
class Sum:
    """A sum of expressions; without any it is zero."""

    parts: tuple["Expression", ...]

    def __repr__(self) -> str:
        """Return the terms joined by ``+``."""
        return " + ".join(map(repr, self.parts))


@dataclass(frozen=True)
class Product:
    """A product of expressions; without any it is one."""

    parts: tuple["Expression", ...]

    def __repr__(self) -> str:
        """Return the factors joined by ``*``, sums in brackets."""
        return " * ".join(f"({part!r})" if isinstance(part, Sum) else repr(part) for part in self.parts)


@dataclass(frozen=True)
class Change:
    """One expression before a place along a column, another one after it."""

    before: "Expression"
    after: "Expression"
    column: int | None = None
    values: Mapping[str, float] = field(default_factory=dict, compare=False)

    def __repr__(self) -> str:
        """Return the call of a formula."""
        column = f", column={self.column}" if self.column else ""
        return f"changepoint({self.before!r}, {self.after!r}{column})"


Expression: TypeAlias = Base | Sum | Product | Change


def simplified(expression: Expression, absorbed: Sequence[str] = ()) -> Expression:
    """Return the canonical form: flat, in a fixed order, without what changes nothing.

    A constant factor is a variance, which every term has anyway; two squared exponentials multiply to one;
    two constants or lines add up to one.

    Args:
        expression: any.
        absorbed: names of base kernels that the mean function makes superfluous as terms.

    Examples:
        >>> rbf, line, one = Base("rbf"), Base("linear"), Base("constant")
        >>> simplified(Sum((Product((rbf, one, rbf)), Sum((line, line)), one)))
        constant + linear + rbf
        >>> simplified(Sum((rbf, one)), absorbed=("constant",))
        rbf
    """
    found = _simplified(expression)
    if not absorbed:
        return found
    terms = found.parts if isinstance(found, Sum) else (found,)
    kept = tuple(t for t in terms if not (isinstance(t, Base) and t.name in absorbed))
    return _joined(Sum, kept) if kept else Base("constant")


def _simplified(expression: Expression) -> Expression:
    match expression:
        case Sum(parts):
            return _joined(Sum, _once(_flat(Sum, parts), _added))
        case Product(parts):
            return _joined(Product, _once(_without_constants(_flat(Product, parts)), _multiplied))
        case Change():
            before, after = _simplified(expression.before), _simplified(expression.after)
            return replace(expression, before=before, after=after)
        case _:
            return expression


def _joined(kind: type[Sum] | type[Product], parts: Sequence[Expression]) -> Expression:
    return parts[0] if len(parts) == 1 else kind(tuple(sorted(parts, key=repr)))


def _flat(kind: type[Sum] | type[Product], parts: Sequence[Expression]) -> list[Expression]:
    simple = [_simplified(part) for part in parts]
    return [inner for part in simple for inner in (part.parts if isinstance(part, kind) else (part,))]


def _once(parts: Sequence[Expression], joined: Callable[[Base, Base], Base | None]) -> list[Expression]:
    """Join base kernels that need not stand twice."""
    kept: list[Expression] = []
    for part in parts:
        alike = next((k for k in kept if isinstance(k, Base) and k == part), None)
        both = joined(alike, part) if alike is not None and isinstance(part, Base) else None
        if both is None:
            kept.append(part)
        else:
            kept[kept.index(part)] = both
    return kept


def _added(one: Base, other: Base) -> Base | None:
    """Return the base kernel that the sum of two is: their variances add up."""
    if one.name not in IDEMPOTENT_SUM:
        return None
    known = [base.values[VARIANCE] for base in (one, other) if VARIANCE in base.values]
    return replace(one, values={**one.values, VARIANCE: sum(known)}) if known else one


def _multiplied(one: Base, other: Base) -> Base | None:
    """Return the base kernel that the product of two is: inverse squared lengthscales add up."""
    if one.name not in IDEMPOTENT_PRODUCT:
        return None
    values: dict[str, float] = {}
    if VARIANCE in one.values or VARIANCE in other.values:
        values[VARIANCE] = one.values.get(VARIANCE, 1.0) * other.values.get(VARIANCE, 1.0)
    lengths = [base.values["lengthscale"] for base in (one, other) if "lengthscale" in base.values]
    if lengths:
        values["lengthscale"] = sum(length**-2.0 for length in lengths) ** -0.5
    return replace(one, values=values)


def _without_constants(parts: Sequence[Expression]) -> list[Expression]:
    """Leave out constant factors; another base kernel takes over what variance they hold."""
    constants = [p for p in parts if isinstance(p, Base) and p.name == "constant"]
    others = [p for p in parts if p not in constants]
    if not others:
        return list(constants[:1])
    held = [p.values[VARIANCE] for p in constants if VARIANCE in p.values]
    first = next((i for i, part in enumerate(others) if isinstance(part, Base)), None)
    if held and first is not None:
        part = others[first]
        assert isinstance(part, Base)
        variance = prod(held) * part.values.get(VARIANCE, 1.0)
        others[first] = replace(part, values={**part.values, VARIANCE: variance})
    return others


def expanded(expression: Expression) -> tuple[Expression, ...]:
    """Return the terms that remain when products are distributed over all sums.

    Examples:
        >>> season = Product((Base("periodic"), Sum((Base("constant"), Base("linear")))))
        >>> expanded(Sum((season, Base("rbf"))))
        (periodic, linear * periodic, rbf)
    """
    return _distributed(expression, lambda factor: False)


def terms(expression: Expression) -> tuple[Expression, ...]:
    """Return the terms that have a meaning of their own: what an amplitude multiplies stays one term.

    Examples:
        >>> season = Product((Base("periodic"), Sum((Base("constant"), Base("linear")))))
        >>> terms(Product((Base("rbf"), Sum((season, Base("rq"))))))
        ((constant + linear) * periodic * rbf, rbf * rq)
    """
    return _distributed(expression, is_amplitude)


def is_amplitude(factor: Expression) -> bool:
    """Return whether a factor is a constant and one base kernel, but no wave: an amplitude that varies.

    Examples:
        >>> is_amplitude(Sum((Base("constant"), Base("linear")))), is_amplitude(Base("linear"))
        (True, False)
    """
    if not (isinstance(factor, Sum) and len(factor.parts) == 2):
        return False
    names = [part.name for part in factor.parts if isinstance(part, Base)]
    return len(names) == 2 and "constant" in names and not set(names) & set(CYCLES)


def _distributed(expression: Expression, keep: Callable[[Expression], bool]) -> tuple[Expression, ...]:
    match expression:
        case Sum(parts):
            return tuple(term for part in parts for term in _distributed(part, keep))
        case Product(parts):
            choices = [(part,) if keep(part) else _distributed(part, keep) for part in parts]
            return tuple(_simplified(Product(factors)) for factors in product(*choices))
        case _:
            return (expression,)


def leaves(expression: Expression) -> Iterator[Base | Change]:
    """Yield what has hyperparameters, in the order in which it is written."""
    if isinstance(expression, Base | Change):
        yield expression
    parts = expression.parts if isinstance(expression, Sum | Product) else ()
    if isinstance(expression, Change):
        parts = (expression.before, expression.after)
    for part in parts:
        yield from leaves(part)


def with_leaves(expression: Expression, values: Callable[[], Mapping[str, float]]) -> Expression:
    """Return the expression with other hyperparameters, asked for in the order of `leaves`."""
    match expression:
        case Base():
            return replace(expression, values=values())
        case Change():
            own = values()
            before, after = with_leaves(expression.before, values), with_leaves(expression.after, values)
            return replace(expression, before=before, after=after, values=own)
        case _:
            return type(expression)(tuple(with_leaves(part, values) for part in expression.parts))
