"""Kernel expressions: their canonical form, the steps of a search, and the kernels that they stand for."""

import numpy as np
import pytest
import torch

from nonparam.kernels import covariance, parse
from nonparam.model_selection.assembly import to_kernel, with_values_of
from nonparam.model_selection.expressions import (
    Base,
    Change,
    Product,
    Sum,
    expanded,
    leaves,
    simplified,
    terms,
    with_leaves,
)
from nonparam.model_selection.moves import FAINT, neighbours
from nonparam.scales import initialise, measure

LINE, ONE, RBF, WAVE, RQ = (Base(name) for name in ("linear", "constant", "rbf", "periodic", "rq"))
X = np.linspace(-3.0, 7.0, 12)[:, None]
SCALES = measure(X, np.sin(X), np.ones(12), normalize_y=True)
NESTED = Sum(
    (
        Product((WAVE, Sum((ONE, LINE)), Sum((RBF, RQ)))),
        Change(Sum((LINE, ONE)), Product((RBF, Sum((WAVE, Product((LINE, RBF))))))),
        Product((LINE, LINE, RQ)),
        Product((RBF, WAVE)),
    )
)


def drawn(expression, seed=0):
    """The expression with random hyperparameters, read from the kernel that was built with them."""
    kernel = to_kernel(expression, SCALES.x_sd)
    initialise(kernel, SCALES)
    rng = np.random.default_rng(seed)
    for parameter in kernel.parameters():
        if parameter.requires_grad:
            parameter.data += torch.tensor(0.5 * rng.standard_normal(parameter.shape))
    return with_values_of(expression, kernel, SCALES.x_sd), kernel


def matrix(kernel):
    with torch.no_grad():
        return covariance(kernel, torch.from_numpy(X)).numpy()


def rebuilt(expression):
    kernel = to_kernel(expression, SCALES.x_sd)
    initialise(kernel, SCALES)
    return kernel


# canonical form -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (Sum((RBF, LINE)), Sum((LINE, RBF))),
        (Product((WAVE, RBF)), Product((RBF, WAVE))),
        (Sum((Sum((RBF, WAVE)), LINE)), Sum((RBF, Sum((WAVE, LINE))))),
        (Product((Product((RBF, WAVE)), LINE)), Product((RBF, Product((LINE, WAVE))))),
        (Product((RBF, ONE)), RBF),
        (Product((RBF, RBF)), RBF),
        (Product((ONE, ONE)), ONE),
        (Sum((ONE, ONE)), ONE),
        (Sum((LINE, RBF, LINE)), Sum((LINE, RBF))),
        (Sum((RBF,)), RBF),
        (Product((Sum((ONE, ONE)), RBF)), RBF),
        (Change(Sum((RBF,)), ONE), Change(RBF, ONE)),
    ],
    ids=repr,
)
def test_what_is_equivalent_is_equal(one, other):
    assert simplified(one) == simplified(other)
    assert hash(simplified(one)) == hash(simplified(other))
    assert simplified(simplified(one)) == simplified(one)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (Sum((RBF, RBF)), RBF),
        (Product((LINE, LINE)), LINE),
        (Product((WAVE, WAVE)), WAVE),
        (Product((RQ, RQ)), RQ),
        (Product((RBF, Sum((ONE, LINE)))), Product((RBF, LINE))),
        (Change(RBF, ONE), Change(ONE, RBF)),
        (Change(RBF, ONE, 0), Change(RBF, ONE, 1)),
        (Base("rbf", 0), Base("rbf", 1)),
        (Product((Base("rbf", 0), Base("rbf", 1))), Base("rbf", 0)),
    ],
    ids=repr,
)
def test_what_is_not_equivalent_stays_apart(one, other):
    assert simplified(one) != simplified(other)


def test_the_mean_function_absorbs_terms_but_not_factors():
    season = Product((WAVE, Sum((LINE, ONE))))
    whole = Sum((season, ONE, LINE))
    assert simplified(whole, ("constant",)) == simplified(Sum((season, LINE)))
    assert simplified(whole, ("constant", "linear")) == simplified(season)
    assert simplified(ONE, ("constant",)) == ONE
    assert simplified(LINE, ("constant", "linear")) == ONE


def test_an_expression_is_written_as_its_kernels_formula():
    formula = repr(simplified(NESTED))
    again = parse(formula)
    assert repr(again) == formula
    columns = Sum((Base("rbf", 0), Change(Base("linear", 1), Base("periodic", 0), 1)))
    assert repr(parse(repr(columns))) == repr(columns)


# kernels --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "expression",
    [
        ONE,
        LINE,
        RBF,
        Product((LINE, WAVE)),
        Product((RBF, WAVE)),
        Product((LINE, LINE)),
        Product((WAVE, Sum((ONE, LINE)))),
        Product((Sum((ONE, RBF)), Sum((LINE, ONE)), RQ)),
        Product((Change(RBF, LINE), WAVE)),
        Change(ONE, Change(RBF, ONE)),
        NESTED,
    ],
    ids=repr,
)
def test_hyperparameters_go_into_an_expression_and_back(expression):
    expression = simplified(expression)
    valued, kernel = drawn(expression)
    assert valued == expression
    np.testing.assert_allclose(matrix(rebuilt(valued)), matrix(kernel), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("divide", [expanded, terms])
def test_the_terms_add_up_to_the_kernel(divide):
    whole = simplified(Sum((NESTED, Product((RBF, Sum((RBF, WAVE)))))))
    valued, kernel = drawn(whole, seed=1)
    parts = divide(valued)
    assert len(parts) == {expanded: 9, terms: 7}[divide]
    np.testing.assert_allclose(
        sum(matrix(rebuilt(part)) for part in parts), matrix(kernel), rtol=1e-9, atol=1e-12
    )


@pytest.mark.parametrize(
    ("expression", "free"),
    [
        (LINE, 1),
        (RBF, 2),
        (WAVE, 3),
        (Product((LINE, LINE)), 1),
        (Product((RBF, WAVE)), 4),
        (Product((WAVE, Sum((ONE, LINE)))), 4),
        (Product((Sum((ONE, RBF)), Sum((LINE, ONE)))), 4),
        (Change(LINE, LINE), 4),
    ],
    ids=repr,
)
def test_no_variance_stands_twice(expression, free):
    kernel = to_kernel(simplified(expression), [1.0])
    assert sum(p.numel() for p in kernel.parameters() if p.requires_grad) == free


def test_a_constant_factor_leaves_its_variance_to_the_others():
    product = Product(
        (Base("constant", values={"outputscale": 3.0}), Base("rbf", values={"outputscale": 2.0}))
    )
    assert simplified(product).values == {"outputscale": 6.0}


def test_leaves_are_read_and_set_in_one_order():
    count = len(list(leaves(NESTED)))
    numbers = iter(range(count))
    marked = with_leaves(NESTED, lambda: {"mark": next(numbers)})
    assert [leaf.values["mark"] for leaf in leaves(marked)] == list(range(count))


# steps ----------------------------------------------------------------------------------------


def test_steps_from_a_line():
    found = neighbours(LINE, [LINE, RBF], [None], ("constant",), 1.0)
    assert [repr(e) for e in found] == [
        "linear * linear",
        "(constant + linear) * linear",
        "linear + rbf",
        "linear * rbf",
        "(constant + rbf) * linear",
        "rbf",
        "changepoint(linear, linear)",
        "changepoint(linear, constant)",
        "changepoint(constant, linear)",
    ]


def test_a_term_may_leave_its_bracket():
    """Without this step a trend that was thought to be multiplied would never be a trend again."""
    whole = simplified(Product((Sum((LINE, WAVE)), RBF)))
    found = neighbours(whole, [], [], (), 1.0)
    for expected in (Sum((LINE, Product((WAVE, RBF)))), Sum((WAVE, Product((LINE, RBF))))):
        assert simplified(expected) in found


def test_steps_go_back_too_and_into_every_part():
    whole = simplified(Sum((LINE, Product((RBF, WAVE)))))
    found = neighbours(whole, [RQ], [], (), 1.0)
    for expected in (
        LINE,
        Product((RBF, WAVE)),
        Sum((LINE, RBF)),
        Sum((LINE, WAVE)),
        Sum((RQ, Product((RBF, WAVE)))),
        Sum((LINE, Product((RQ, WAVE)))),
        Sum((Product((LINE, RQ)), Product((RBF, WAVE)))),
        Product((whole, RQ)),
    ):
        assert simplified(expected) in found


def test_a_rational_quadratic_comes_in_place_of_its_limit():
    found = neighbours(RBF, [RBF, RQ], [], ("constant",), 1.0)
    assert RQ in found and Sum((RBF, RBF)) in found and simplified(Sum((RBF, RQ))) not in found
    assert simplified(Sum((RBF, RQ))) in neighbours(RBF, [RQ], [], (), 1.0)


def test_steps_keep_what_was_learnt():
    parent = Base("rbf", values={"lengthscale": 2.0, "outputscale": 5.0})
    (way,) = neighbours(parent, [WAVE], [], (), 1.0)[simplified(Product((RBF, WAVE)))]
    assert [dict(leaf.values) for leaf in leaves(way)] == [{}, {"lengthscale": 2.0, "outputscale": 5.0}]


def valued(expression, rng):
    """The expression with a variance at every leaf, and other hyperparameters that fit the data."""
    return with_leaves(expression, lambda: {"outputscale": float(np.exp(rng.standard_normal()))})


def naive(expression):
    if isinstance(expression, Base):
        return matrix(rebuilt(expression))
    parts = np.stack([naive(part) for part in expression.parts])
    return parts.sum(0) if isinstance(expression, Sum) else parts.prod(0)


@pytest.mark.parametrize(
    "expression",
    [
        Product((WAVE, RBF)),
        Product((LINE, LINE, RQ)),
        Product((Sum((ONE, LINE)), Sum((RBF, RQ)))),
        Product((Sum((ONE, RBF)), Sum((LINE, Product((WAVE, RBF)))), RQ)),
        Sum((LINE, Product((RQ, Sum((Product((WAVE, Sum((ONE, LINE)), LINE)), RBF)), Sum((RBF, ONE)))))),
    ],
    ids=repr,
)
def test_variances_anywhere_in_products_of_sums_are_kept(expression):
    expression = valued(expression, np.random.default_rng(1))
    np.testing.assert_allclose(matrix(rebuilt(expression)), naive(expression), rtol=1e-10)


def test_a_new_term_starts_with_the_variance_that_it_is_given():
    found = neighbours(Base("linear", values={"outputscale": 9.0}), [WAVE], [], [], variance=2.0)
    (grown,) = found[simplified(Sum((LINE, WAVE)))]
    assert [leaf.values["outputscale"] for leaf in leaves(grown)] == [9.0, 2.0]
    (amplitude,) = found[simplified(Product((LINE, Sum((ONE, WAVE)))))]
    held = {leaf.name: leaf.values["outputscale"] for leaf in leaves(amplitude)}
    assert held == {"constant": 1.0, "linear": 9.0, "periodic": FAINT}
