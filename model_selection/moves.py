"""The steps of a search over kernel expressions: what can be made of one by a single change.

With :math:`S` any subexpression and :math:`B` any base kernel:

.. math::

    S \\to S + B, \\quad S \\to S \\times B, \\quad S \\to S \\times (B + C), \\quad B \\to B', \\quad
    S \\to CP(S, S), \\quad S \\to CP(S, C), \\quad S \\to CP(C, S), \\quad S + S' \\to S, \\quad
    S \\times S' \\to S, \\quad (S + S') \\times S'' \\to S + S' \\times S''.

A base kernel that another one is a limit of comes in its place only, so that each step adds one thing.

Source: Lloyd et al. (2014), appendix B.2; change points are added at the root only.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from nonparam.model_selection.expressions import VARIANCE, Base, Change, Expression, Product, Sum, simplified

__all__ = ["neighbours"]

ONE = Base("constant")
FAINT = 0.1  # of a level: the variance with which an amplitude starts to vary around it
LIMITS = {"rq": "rbf"}  # of the first, with one hyperparameter more, the second is a limit


def neighbours(
    expression: Expression,
    bases: Sequence[Base],
    changes: Sequence[int | None],
    absorbed: Sequence[str],
    variance: float,
) -> dict[Expression, list[Expression]]:
    """Return the expressions one step away, in a fixed order.

    Args:
        expression: with its hyperparameters, which are kept where they can be.
        bases: the base kernels.
        changes: the columns along which change points may stand.
        absorbed: names of base kernels that the mean function makes superfluous as terms.
        variance: that a new term starts with.

    Returns:
        For each, in canonical form, the ways that lead there: they differ in the hyperparameters.

    Examples:
        >>> line, rbf = Base("linear"), Base("rbf")
        >>> list(neighbours(rbf, [line], [], ["constant"], variance=1.0))
        [linear + rbf, linear * rbf, (constant + linear) * rbf, linear]
    """
    found: dict[Expression, list[Expression]] = {}
    simple_bases = [b for b in bases if replace(b, name=LIMITS.get(b.name, "")) not in bases]
    rewritten = _rewritten(expression, lambda part: _grown(part, bases, simple_bases, variance))
    ways = [*rewritten, *_changed(expression, changes)]
    for way in ways:
        simple = simplified(way, absorbed)
        if simple != expression:
            found.setdefault(simple, []).append(simple)
    return found


def _rewritten(
    expression: Expression, rule: Callable[[Expression], Iterator[Expression]]
) -> Iterator[Expression]:
    """Yield the expression with each of its subexpressions rewritten by the rule."""
    yield from rule(expression)
    if isinstance(expression, Change):
        for before in _rewritten(expression.before, rule):
            yield Change(before, expression.after, expression.column, expression.values)
        for after in _rewritten(expression.after, rule):
            yield Change(expression.before, after, expression.column, expression.values)
    elif isinstance(expression, Sum | Product):
        for i, part in enumerate(expression.parts):
            before_it, after_it = expression.parts[:i], expression.parts[i + 1 :]
            for new in _rewritten(part, rule):
                yield type(expression)((*before_it, new, *after_it))


def _grown(
    part: Expression, bases: Sequence[Base], simple_bases: Sequence[Base], variance: float
) -> Iterator[Expression]:
    for base in simple_bases:
        yield Sum((part, _starting(base, variance)))
        yield Product((part, base))
        yield Product((part, Sum((_starting(base, FAINT), _starting(ONE, 1.0)))))
    if isinstance(part, Base):
        yield from bases
    if isinstance(part, Sum | Product):
        for i in range(len(part.parts)):
            yield type(part)(part.parts[:i] + part.parts[i + 1 :])
    if isinstance(part, Product):
        yield from _taken_out(part)


def _taken_out(product: Product) -> Iterator[Expression]:
    """Yield the product with one term of a factor outside of it."""
    for i, factor in enumerate(product.parts):
        terms = factor.parts if isinstance(factor, Sum) else ()
        for k, term in enumerate(terms):
            rest = Sum(terms[:k] + terms[k + 1 :])
            yield Sum((term, Product((*product.parts[:i], rest, *product.parts[i + 1 :]))))


def _starting(base: Base, variance: float) -> Base:
    return replace(base, values={VARIANCE: variance})


def _changed(expression: Expression, columns: Sequence[int | None]) -> Iterator[Expression]:
    for column in columns:
        yield Change(expression, expression, column)
        yield Change(expression, ONE, column)
        yield Change(ONE, expression, column)
