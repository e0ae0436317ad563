"""Errors of kernels say what was expected, and a refused change changes nothing."""

import gpytorch
import pytest
from kernel_checks import rows

from nonparam.errors import InputError
from nonparam.kernels import (
    RBF,
    ChangePoint,
    Constant,
    Kernel,
    Linear,
    Matern,
    Polynomial,
    Product,
    RationalQuadratic,
    Scale,
    Sum,
    covariance,
    variance,
)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RBF(0.0), r"RBF: lengthscale must be positive and finite, got 0\.0"),
        (lambda: RBF([1.0, -2.0]), "lengthscale must be positive and finite"),
        (lambda: RBF(float("nan")), "lengthscale must be positive and finite, got nan"),
        (lambda: RBF(float("inf")), "lengthscale must be positive and finite, got inf"),
        (lambda: RBF("long"), "RBF: lengthscale must be a number, got 'long'"),
        (lambda: RBF(10**400), "RBF: lengthscale must be a number, got 1000"),
        (lambda: RBF([]), r"lengthscale must be a number, or one for each column, got \[\]"),
        (lambda: RBF([[1.0], [2.0]]), "lengthscale must be a number, or one for each column"),
        (lambda: RationalQuadratic(1.0, [1.0, 2.0]), r"alpha must be one number, got \[1\.0, 2\.0\]"),
        (lambda: Linear(1.0, center=float("inf")), "Linear: center must be finite, got inf"),
        (
            lambda: RBF(fixed=("scale",)),
            r"fixed must list .* \['lengthscale'\], such as \('lengthscale',\); got \('scale',\)",
        ),
        (lambda: RBF(fixed="lengthscale"), r"RBF: fixed must list .* got 'lengthscale'"),
        (lambda: RBF(fixed=3), r"RBF: fixed must list .* got 3"),
        (lambda: RBF(True), "RBF: lengthscale must be a number, got True"),
        (lambda: RBF(active_dims=(True,)), r"active_dims must be different column numbers .* got \(True,\)"),
        (lambda: RBF(active_dims=(0, 0)), r"active_dims must be different column numbers .* got \(0, 0\)"),
        (lambda: RBF(active_dims=[10**30]), r"active_dims must be different column numbers .* got \[1000"),
        (
            lambda: RBF(active_dims=0),
            r"active_dims must be different column numbers from 0, such as \(0, 2\), got 0",
        ),
        (lambda: RBF(active_dims="x"), "RBF: active_dims must be different column numbers .* got 'x'"),
        (lambda: RBF(active_dims=(0.5,)), r"active_dims must be different column numbers .* got \(0\.5,\)"),
        (lambda: RBF(active_dims=(-1,)), r"active_dims must be different column numbers .* got \(-1,\)"),
        (lambda: RBF(active_dims=()), r"active_dims must be different column numbers .* got \(\)"),
        (lambda: Matern(nu=2.0), "nu must be 0.5, 1.5 or 2.5, got 2.0"),
        (lambda: Matern().set_params(nu=1), "nu must be 0.5, 1.5 or 2.5, got 1"),
        (lambda: Polynomial(0), "power must be a positive integer.* got 0"),
        (lambda: Polynomial(1.5), "power must be a positive integer.* got 1.5"),
        (lambda: Polynomial("two"), "power must be a positive integer.* got 'two'"),
        (lambda: Polynomial(float("nan")), "power must be a positive integer.* got nan"),
        (lambda: Polynomial(float("inf")), "power must be a positive integer.* got inf"),
        (lambda: Polynomial().set_params(power=-1), "power must be a positive integer.* got -1"),
        (lambda: Sum(), r"Sum takes kernels, got \(\)"),
        (lambda: Product(RBF(), 2.0), "Product takes kernels, got"),
        (lambda: Scale(2.0, 3.0), r"Scale takes a kernel, got 2\.0"),
        (lambda: Scale(RBF(), -3.0), "Scale: outputscale must be positive and finite, got -3.0"),
        (lambda: ChangePoint(RBF(), "rbf"), "ChangePoint takes two kernels, got 'rbf'"),
        (lambda: RBF() + "rbf", "kernels combine with kernels and numbers, got 'rbf'"),
        (lambda: [1.0] * RBF(), r"kernels combine with kernels and numbers, got \[1\.0\]"),
        (lambda: -1.0 * RBF(), "outputscale must be positive and finite, got -1.0"),
        (lambda: 0 + RBF(), "Constant: variance must be positive and finite, got 0.0"),
        (lambda: RBF().set_params(period=1.0), r"RBF has no parameter 'period'; it has \['active_dims'"),
        (lambda: Constant().set_params(active_dims=(0,)), "Constant has no parameter 'active_dims'"),
        (lambda: RBF().set_params(k1__lengthscale=1.0), "RBF has no parameter 'k1__lengthscale'"),
        (lambda: (RBF() + RBF()).set_params(k1__period=1.0), "Sum has no parameter 'k1__period'"),
        (lambda: (RBF() + RBF()).set_params(k1=Linear()), "build a new Sum to exchange its component 'k1'"),
        (lambda: covariance(RBF([1.0, 2.0]), rows(3, 1)), "lengthscale has 2 values, but X has 1 columns"),
        (lambda: variance(Linear([1.0, 2.0]), rows(3, 3)), "variance has 2 values, but X has 3 columns"),
        (lambda: RBF([1.0, 2.0])(rows(3, 1)).to_dense(), "lengthscale has 2 values"),
        (lambda: covariance(RBF(active_dims=(0, 3)), rows(3, 2)), r"active_dims are \[0, 3\], .* only 2 col"),
        (lambda: variance(RBF(active_dims=(2,)), rows(3, 2)), r"active_dims are \[2\], but X has only 2"),
        (
            lambda: RBF().forward(rows(3, 2), rows(3, 2), last_dim_is_batch=True),
            "write a sum over active_dims instead",
        ),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else "",
)
def test_errors_say_what_was_expected(make, message: str):
    with pytest.raises(InputError, match=message):
        make()


def test_refused_change_leaves_the_kernel_as_it_was():
    kernel = Polynomial(2, offset=1.0, fixed=("offset",), active_dims=(0,))
    before = repr(kernel)
    for change, message in (
        ({"fixed": ("no",)}, r"fixed must list .* got \('no',\)"),
        ({"active_dims": 1}, "active_dims must be different column numbers"),
        ({"power": 0.5}, "power must be a positive integer"),
        ({"offset": -1.0}, "offset must be positive"),
    ):
        with pytest.raises(InputError, match=message):
            kernel.set_params(**change)
    assert repr(kernel) == before
    assert not kernel.raw_offset.requires_grad


def test_abstract_kernel_says_what_is_missing():
    class Empty(Kernel):
        pass

    with pytest.raises(NotImplementedError, match="Empty implements no matrix"):
        covariance(Empty({}), rows(2, 1))
    with pytest.raises(NotImplementedError, match="Empty implements no diagonal"):
        variance(Empty({}), rows(2, 1))


@pytest.mark.parametrize("column", ["a", 1.5, -1, True])
def test_changepoint_refuses_what_is_no_column(column):
    with pytest.raises(InputError, match="column must be a column number from 0"):
        ChangePoint(RBF(1.0), RBF(2.0), location=0.0, width=1.0, column=column)


def test_gpytorch_kernels_print_in_a_line_inside_ours():
    inner = gpytorch.kernels.ScaleKernel(gpytorch.kernels.RBFKernel() + gpytorch.kernels.LinearKernel())
    text = repr(RBF(1.0) + inner)
    assert text.startswith("rbf(lengthscale=1) + ScaleKernel(AdditiveKernel(RBFKernel(lengthscale=0.6931)")
    assert "\n" not in text
