"""Formulas: what they mean, what is refused, and what the refusal says."""

import gpytorch
import numpy as np
import pytest
import torch
from cases import CASES
from sklearn.gaussian_process import kernels as sk

from nonparam.errors import InputError
from nonparam.kernels import (
    RBF,
    Additive,
    ChangePoint,
    Constant,
    Cosine,
    InfiniteNetwork,
    IntegratedWiener,
    Invariant,
    Kernel,
    Linear,
    Matern,
    OrthogonalRBF,
    Periodic,
    Polynomial,
    Product,
    RationalQuadratic,
    Scale,
    SoftInvariant,
    Spectral,
    Sum,
    WhiteNoise,
    Wiener,
    covariance,
    parse,
)
from nonparam.kernels.grammar import NAMES, as_kernel

MEANINGS = [
    ("rbf", RBF()),
    ("  rbf\n", RBF()),
    ("rbf()", RBF()),
    ("(rbf)", RBF()),
    ("rbf(2)", RBF(2.0)),
    ("rbf(lengthscale=[1, 5.5])", RBF([1.0, 5.5])),
    ("rbf((1, 5.5), active_dims=[0, 2])", RBF([1.0, 5.5], active_dims=(0, 2))),
    ("rbf(None, ard=False)", RBF(ard=False)),
    ("rbf(2e-3)", RBF(0.002)),
    ("matern12(1)", Matern(1.0, nu=0.5)),
    ("matern32(1)", Matern(1.0, nu=1.5)),
    ("matern52(1)", Matern(1.0, nu=2.5)),
    (
        "matern32([1, 2], ard=False, active_dims=(0, 1), fixed=('lengthscale',))",
        Matern([1.0, 2.0], nu=1.5, ard=False, active_dims=(0, 1), fixed=("lengthscale",)),
    ),
    ("rq(2, 0.5)", RationalQuadratic(2.0, 0.5)),
    ("periodic(12)", Periodic(12.0)),
    ("periodic(12, 0.5, zero_mean=True)", Periodic(12.0, 0.5, zero_mean=True)),
    ("cosine(11)", Cosine(11.0)),
    ("linear(0.5, center=-1.5)", Linear(0.5, center=-1.5)),
    ("linear(center=[-1.5, 2])", Linear(center=[-1.5, 2.0])),
    ("polynomial(3, offset=0.1)", Polynomial(3, offset=0.1)),
    ("constant(2)", Constant(2.0)),
    ("white(0.1, fixed=('variance',))", WhiteNoise(0.1, fixed=("variance",))),
    ("wiener(0.5, origin=-2)", Wiener(0.5, origin=-2.0)),
    ("integrated_wiener(0.5, origin=-2)", IntegratedWiener(0.5, origin=-2.0)),
    ("scale(rbf, 2)", Scale(RBF(), 2.0)),
    ("sum(rbf, white)", Sum(RBF(), WhiteNoise())),
    ("product(rbf, white, active_dims=(1,))", Product(RBF(), WhiteNoise(), active_dims=(1,))),
    ("additive(3, variance=[1, 2, 3])", Additive(3, variance=[1.0, 2.0, 3.0])),
    ("orthogonal_rbf(2, center=0, spread=1)", OrthogonalRBF(2.0, center=0.0, spread=1.0)),
    (
        "2 * invariant(rbf, 'c4', columns=(0, 2), center=None)",
        Scale(Invariant(RBF(), "c4", columns=(0, 2), center=None), 2.0),
    ),
    ("invariant(rbf, 'd4', center=[1, 2])", Invariant(RBF(), "d4", center=[1.0, 2.0])),
    (
        "soft_invariant(rbf(ard=False), group='reflection', breaking=0.1)",
        SoftInvariant(RBF(ard=False), "reflection", breaking=0.1),
    ),
    ("rbf + linear", Sum(RBF(), Linear())),
    ("rbf+linear*white", Sum(RBF(), Product(Linear(), WhiteNoise()))),
    ("rbf * linear + white", Sum(Product(RBF(), Linear()), WhiteNoise())),
    ("(rbf + linear) * white", Product(Sum(RBF(), Linear()), WhiteNoise())),
    ("rbf * (linear + white)", Product(RBF(), Sum(Linear(), WhiteNoise()))),
    ("rbf + (linear + white)", Sum(RBF(), Linear(), WhiteNoise())),
    ("2 * rbf", Scale(RBF(), 2.0)),
    ("rbf * 2", Scale(RBF(), 2.0)),
    ("2 * 3 * rbf", Scale(RBF(), 6.0)),
    ("2 * rbf * 3", Scale(RBF(), 6.0)),
    ("(1 + 2) * rbf", Scale(RBF(), 3.0)),
    ("2 * rbf * linear", Scale(Product(RBF(), Linear()), 2.0)),
    ("2 * rbf + linear", Sum(Scale(RBF(), 2.0), Linear())),
    ("2 * (rbf + linear)", Scale(Sum(RBF(), Linear()), 2.0)),
    ("rbf + 2", Sum(RBF(), Constant(2.0))),
    ("1 + 2 + rbf", Sum(Constant(3.0), RBF())),
    ("changepoint(rbf, linear, 3, 0.1)", ChangePoint(RBF(), Linear(), 3.0, 0.1)),
    (
        "changepoint(2 * rbf + white, rbf, location=-3, column=1)",
        ChangePoint(2.0 * RBF() + WhiteNoise(), RBF(), location=-3.0, column=1),
    ),
    (
        "changepoint(rbf, changepoint(linear, white(0.5), 7), 3) * cosine",
        ChangePoint(RBF(), ChangePoint(Linear(), WhiteNoise(0.5), 7.0), 3.0) * Cosine(),
    ),
    (
        "linear + periodic(12) * rbf",
        Sum(Linear(), Product(Periodic(12.0), RBF())),
    ),
    (
        "infinite_network('erf-2', 'ntk', bias_variance=0.5)",
        InfiniteNetwork("erf-2", "ntk", bias_variance=0.5),
    ),
    ("spectral([0.5, -1], 0.1, plane=True)", Spectral([0.5, -1.0], 0.1, plane=True)),
    (
        "linear + spectral_mixture(2)",
        Sum(Linear(), Scale(Spectral()), Scale(Spectral())),
    ),
]


def structure(kernel: Kernel) -> object:
    """Types and parameters all the way down."""
    params = {key: value for key, value in kernel.get_params().items() if not isinstance(value, Kernel)}
    return [type(part).__name__ for part in kernel.modules() if isinstance(part, Kernel)], params


@pytest.mark.parametrize(("text", "expected"), MEANINGS, ids=[text for text, _ in MEANINGS])
def test_formula_means(text: str, expected: Kernel):
    kernel = parse(text)
    names, params = structure(kernel)
    expected_names, expected_params = structure(expected)
    assert names == expected_names
    assert params.keys() == expected_params.keys()
    assert all(
        value == (pytest.approx(expected_params[key]) if isinstance(value, float) else expected_params[key])
        for key, value in params.items()
    )
    assert repr(kernel) == repr(expected)


@pytest.mark.parametrize(("text", "expected"), MEANINGS, ids=[text for text, _ in MEANINGS])
def test_printed_formula_is_a_fixed_point(text: str, expected: Kernel):
    assert repr(parse(repr(expected))) == repr(expected)


def test_every_name_is_covered():
    used = {word for text, _ in MEANINGS for word in NAMES if word in text}
    assert used == set(NAMES)
    assert {type(case.make()) for case in CASES} <= {type(kernel) for _, kernel in MEANINGS}


@pytest.mark.parametrize(
    "name",
    sorted(
        set(NAMES)
        - {"changepoint", "scale", "sum", "product", "spectral_mixture"}
        - {"additive", "invariant", "soft_invariant"}
    ),
)
def test_bare_names_are_kernels_that_print_as_themselves(name: str):
    kernel = parse(name)
    assert repr(kernel).split("(")[0] == name
    x = torch.linspace(0.0, 1.0, 4, dtype=torch.float64)[:, None]
    assert covariance(kernel, x).isfinite().all()


def test_each_name_in_a_formula_is_a_new_kernel():
    kernel = parse("rbf(1) + rbf(1)")
    kernel.set_params(k1__lengthscale=2.0)
    assert repr(kernel) == "rbf(lengthscale=2) + rbf(lengthscale=1)"


REFUSED = [
    # what cannot be read at all
    ("", "kernel '' cannot be read .*: expected names joined by"),
    ("   ", "kernel '   ' cannot be read"),
    ("rbf + ", r"kernel 'rbf \+ ' cannot be read (to its end|near column 6)"),
    ("rbf +* linear", "cannot be read near column 6"),
    ("rbf linear", "cannot be read near column"),
    ("(rbf", "cannot be read near column"),
    ("rbf)", "cannot be read near column"),
    ("rbf(2", "cannot be read near column"),
    ("rbf = 2", "cannot be read near column"),
    ("rbf; linear", "cannot be read near column"),
    ("import os", "cannot be read near column"),
    ("rbf\0", "cannot be read"),
    ("(" * 300 + "rbf" + ")" * 300, "cannot be read near|nested too deeply"),
    ("+".join(["rbf"] * 5000), "too long or nested too deeply"),
    ("-" * 5000 + "1", "too long or nested too deeply"),
    # names
    ("rfb", r"no kernel is called 'rfb'; did you mean 'rbf'\? \(there are \['additive', 'changepoint'"),
    ("linear + perodic(12)", r"no kernel is called 'perodic'; did you mean 'periodic'\?"),
    ("matern", "no kernel is called 'matern'; did you mean 'matern"),
    ("RBF", r"no kernel is called 'RBF'; did you mean 'rbf'\?"),
    ("Matern52", r"no kernel is called 'Matern52'; did you mean 'matern52'\?"),
    ("linear + Periodic(12)", r"no kernel is called 'Periodic'; did you mean 'periodic'\?"),
    ("matern53", r"no kernel is called 'matern53'; did you mean 'matern[35]2'\?"),
    ("periodc", r"no kernel is called 'periodc'; did you mean 'periodic'\?"),
    ("RationalQuadratic", r"no kernel is called 'RationalQuadratic'; did you mean 'rq'\?"),
    ("WhiteNoise", r"no kernel is called 'WhiteNoise'; did you mean 'white'\?"),
    ("WhiteKernel", r"no kernel is called 'WhiteKernel'; did you mean 'white'\?"),
    ("RBFKernel", r"no kernel is called 'RBFKernel'; did you mean 'rbf'\?"),
    ("xyzzy", r"no kernel is called 'xyzzy' \(there are"),
    # not a kernel
    ("2", "kernel '2' is 2: expected at least one of"),
    ("2 * 3", r"kernel '2 \* 3' is 6: expected at least one of"),
    ("2 + 3", r"kernel '2 \+ 3' is 5: expected at least one of"),
    ("'rbf'", "is 'rbf': expected at least one of"),
    ("None", "is None: expected at least one of"),
    ("[rbf]", r"cannot read '\[rbf\]'; expected a name, a number"),
    ("[1, 2] * rbf", r"kernels combine with kernels and numbers, got \[1, 2\]"),
    ("rbf + 'rbf'", "kernels combine with kernels and numbers, got 'rbf'"),
    ("2 * 'rbf'", "Scale takes a kernel, got 'rbf'"),
    ("rbf + 1j", "kernels combine with kernels and numbers, got 1j"),
    # operators other than + and *
    ("rbf()**2", r"cannot read 'rbf\(\) \*\* 2'; expected a name, a number, \+ or \*"),
    ("rbf - linear", "cannot read 'rbf - linear'"),
    ("rbf / 2", "cannot read 'rbf / 2'"),
    ("-rbf", "cannot read '-rbf'"),
    ("rbf @ rbf", "cannot read 'rbf @ rbf'"),
    ("rbf if 1 else linear", "cannot read 'rbf if 1 else linear'"),
    ("rbf and linear", "cannot read 'rbf and linear'"),
    # code
    ("__import__('os')", "no kernel is called '__import__'"),
    ("__import__('os').system('true')", "cannot read .__import__"),
    ("rbf(__import__('os'))", "no kernel is called '__import__'"),
    ("rbf(lengthscale=open('x'))", "no kernel is called 'open'"),
    ("rbf.forward", "cannot read 'rbf.forward'"),
    ("rbf.__class__", "cannot read 'rbf.__class__'"),
    ("rbf().__class__.__mro__", "cannot read 'rbf"),
    ("rbf.matrix(1)", r"cannot read 'rbf.matrix\(1\)'"),
    ("rbf(1)(2)", r"cannot read 'rbf\(1\)\(2\)'"),
    ("NAMES['rbf']", "cannot read .NAMES"),
    ("(lambda: rbf)()", "cannot read"),
    ("[k for k in ()]", "cannot read"),
    ("(k := rbf)", "cannot read"),
    ("f'{rbf}'", "cannot read"),
    ("{[]: 1}", "cannot read"),
    ("rbf(*[1])", r"cannot read '\*\[1\]'"),
    ("rbf(**{'lengthscale': 1})", "rbf does not take these arguments"),
    # arguments
    (
        "rbf(1, 2)",
        r"takes? these arguments \(too many positional arguments\); it takes lengthscale, ard, act",
    ),
    ("rbf(lengthscale=1, lengthscale=2)", "rbf is given an argument twice"),
    ("rbf(1, lengthscale=2)", "rbf does not take these arguments .*'lengthscale'"),
    ("rbf(period=2)", "rbf does not take these arguments .*'period'"),
    ("matern32(nu=2.5)", "matern32 does not take these arguments"),
    ("matern52(nu=0.5)", "matern52 does not take these arguments"),
    ("changepoint(rbf)", "changepoint does not take these arguments .*'after'"),
    ("changepoint", "changepoint .*does not take these arguments .*'before'"),
    ("scale", "scale does not take these arguments"),
    ("sum", r"Sum takes kernels, got \(\)"),
    ("sum(rbf, 3)", "Sum takes kernels, got"),
    ("scale(3)", "Scale takes a kernel, got 3"),
    ("changepoint(rbf, 3)", "ChangePoint takes two kernels, got 3"),
    ("rbf(0)", "lengthscale must be positive and finite, got 0"),
    ("rbf(-1)", "lengthscale must be positive and finite, got -1"),
    ("rbf(1e999)", "lengthscale must be positive and finite, got inf"),
    ("rbf(1" + "0" * 400 + ")", "lengthscale must be a number"),
    ("1" + "0" * 400 + " * rbf", "outputscale must be a number"),
    ("rbf(10**400)", r"cannot read '10 \*\* 400'"),
    ("rbf(linear)", "lengthscale must be a number, got linear"),
    ("rbf('long')", "lengthscale must be a number, got 'long'"),
    ("rbf({'a': 1})", "lengthscale must be a number, got {'a': 1}"),
    ("-2 * rbf", "outputscale must be positive and finite, got -2"),
    ("rbf + -2", "variance must be positive and finite, got -2"),
    ("0 * rbf", "outputscale must be positive and finite, got 0"),
    ("polynomial(1.5)", "power must be a positive integer, at most 100; got 1.5"),
    ("polynomial('two')", "power must be a positive integer, at most 100; got 'two'"),
    ("polynomial(True)", "power must be a positive integer, at most 100; got True"),
    ("polynomial(1" + "0" * 400 + ")", "power must be a positive integer, at most 100"),
    ("rbf(ard='x')", "RBF: ard must be True or False, got 'x'"),
    ("rbf(ard=1)", "RBF: ard must be True or False, got 1"),
    ("rq(ard=None)", "RationalQuadratic: ard must be True or False, got None"),
    ("matern32(ard=0)", "Matern: ard must be True or False, got 0"),
    ("linear(ard='no')", "Linear: ard must be True or False, got 'no'"),
    ("polynomial(ard=2)", "Polynomial: ard must be True or False, got 2"),
    ("periodic(zero_mean=5)", "Periodic: zero_mean must be True or False, got 5"),
    (
        "wiener(active_dims=(0, 1))",
        r"Wiener: active_dims must name one column, got \(0, 1\): multiply or add",
    ),
    ("changepoint(rbf, rbf, column='x')", "ChangePoint: column must be a column number from 0, got 'x'"),
    ("changepoint(rbf, rbf, column=True)", "ChangePoint: column must be a column number from 0, got True"),
    ("changepoint(rbf, rbf, column=-1)", "ChangePoint: column must be a column number from 0, got -1"),
    ("rbf(active_dims=0)", "active_dims must be different column numbers"),
    ("rbf(fixed=3)", "fixed must list some of its hyperparameters"),
]


@pytest.mark.parametrize(("text", "message"), REFUSED, ids=[text[:30] or "empty" for text, _ in REFUSED])
def test_refused(text: str, message: str):
    with pytest.raises(InputError, match=message):
        parse(text)


@pytest.mark.parametrize("text", [None, 3, ["rbf"], RBF()], ids=repr)
def test_only_text_is_a_formula(text: object):
    with pytest.raises(InputError, match="a kernel's formula must be text"):
        parse(text)


@pytest.mark.parametrize("text", [text for text, _ in REFUSED if text], ids=lambda text: text[:30])
def test_no_refusal_names_what_a_user_cannot_see(text: str):
    with pytest.raises(InputError) as caught:
        parse(text)
    assert "__init__" not in str(caught.value).replace(text, "")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda: RBF().set_params(ard="x"), "ard must be True or False, got 'x'"),
        (lambda: Periodic().set_params(zero_mean=5), "zero_mean must be True or False, got 5"),
        (lambda: Wiener().set_params(active_dims=(0, 1)), "active_dims must name one column"),
        (lambda: ChangePoint(RBF(), RBF()).set_params(column="x"), "column must be a column number"),
        (lambda: Polynomial().set_params(power=0), "power must be a positive integer, at most 100; got 0"),
        (lambda: Matern().set_params(nu=[2.5]), r"nu must be 0.5, 1.5 or 2.5, got \[2.5\]"),
    ],
)
def test_parameters_are_checked_when_they_are_set_later(change, said: str):
    with pytest.raises(InputError, match=said):
        change()


def test_numbers_and_flags_may_be_of_numpy():
    assert repr(RBF(ard=np.False_)) == "rbf(ard=False)"
    assert ChangePoint(RBF(), RBF(), column=np.int64(1)).column == 1
    assert repr(Polynomial(np.int64(3))) == "polynomial(power=3)"


# what may stand for a kernel -----------------------------------------------------------------


def test_a_kernel_is_copied_and_a_formula_is_read():
    kernel, foreign = RBF(2.0), gpytorch.kernels.RBFKernel()
    assert repr(as_kernel("rbf(2)")) == repr(as_kernel(kernel)) == "rbf(lengthscale=2)"
    assert as_kernel(kernel) is not kernel
    assert type(as_kernel(foreign)) is gpytorch.kernels.RBFKernel and as_kernel(foreign) is not foreign


SKLEARN = [
    (sk.RBF(), "rbf"),
    (sk.RBF, "rbf"),
    (sk.Matern(nu=0.5), "matern12"),
    (sk.Matern(), "matern32"),
    (sk.Matern(nu=2.5), "matern52"),
    (sk.Matern(nu=np.inf), "rbf"),
    (sk.RationalQuadratic(), "rq"),
    (sk.ExpSineSquared(1.0, 12.0), "periodic(12)"),
    (sk.ExpSineSquared, "periodic"),
    (sk.WhiteKernel(), "white"),
    (sk.ConstantKernel(2.0) * sk.RBF() + sk.WhiteKernel(), "constant * rbf + white"),
    (sk.RBF() * (sk.DotProduct() + sk.RBF()), "rbf * ((constant + linear(center=0)) + rbf)"),
    (sk.DotProduct() * sk.RBF(), "(constant + linear(center=0)) * rbf"),
]


@pytest.mark.parametrize(("kernel", "formula"), SKLEARN, ids=[formula for _, formula in SKLEARN])
def test_a_kernel_of_scikit_learn_is_answered_with_its_formula(kernel: object, formula: str):
    with pytest.raises(InputError, match=r"got scikit-learn's .*: write kernel=") as caught:
        as_kernel(kernel)
    assert str(caught.value).endswith(f"write kernel={formula!r}")
    assert isinstance(parse(formula), Kernel)


@pytest.mark.parametrize("kernel", [sk.PairwiseKernel(), sk.Matern(nu=1.2), sk.RBF() ** 2, sk.Sum], ids=repr)
def test_a_kernel_of_scikit_learn_without_an_equal(kernel: object):
    with pytest.raises(
        InputError, match=r"which has no equal here: write a formula of \['additive', 'changepoint'"
    ):
        as_kernel(kernel)


@pytest.mark.parametrize("kind", [RBF, gpytorch.kernels.RBFKernel])
def test_a_class_is_no_kernel(kind: type):
    with pytest.raises(
        InputError, match=rf"got the class {kind.__name__}: call it, as in {kind.__name__}\(\)"
    ):
        as_kernel(kind)


@pytest.mark.parametrize("value", [None, 3, [RBF()], abs], ids=repr)
def test_anything_else_is_no_kernel(value: object):
    with pytest.raises(InputError, match=r"kernel must be a formula or a kernel, got .*: try 'matern52' or"):
        as_kernel(value)
