"""The algebra of kernels: sums, products, scales, and terms without an amplitude."""

import copy

import gpytorch
import numpy as np
import pytest
import torch
from kernel_checks import assert_equal, grid, rows

from nonparam.kernels import (
    RBF,
    ChangePoint,
    Constant,
    Cosine,
    Kernel,
    Linear,
    Periodic,
    Product,
    Scale,
    Sum,
    WhiteNoise,
    Wiener,
    covariance,
    parse,
    variance,
    with_amplitude,
)


@pytest.mark.parametrize(
    ("kernel", "formula"),
    [
        (2 * RBF(1.0), "2 * rbf(lengthscale=1)"),
        (RBF(1.0) * np.float32(2), "2 * rbf(lengthscale=1)"),
        (2 * (3 * RBF(1.0)), "6 * rbf(lengthscale=1)"),
        ((3 * RBF(1.0)) * np.int64(2), "6 * rbf(lengthscale=1)"),
        ((2 * RBF()) * Linear(), "2 * rbf * linear"),
        (RBF() + 2, "rbf + constant(variance=2)"),
        (2.0 + RBF(), "constant(variance=2) + rbf"),
        ((RBF() + Linear()) + (WhiteNoise() + Cosine()), "rbf + linear + white + cosine"),
        ((RBF() * Linear()) * (WhiteNoise() * Cosine()), "rbf * linear * white * cosine"),
        ((RBF() + Linear()) * (WhiteNoise() + Cosine()), "(rbf + linear) * (white + cosine)"),
        (2 * (RBF() + Linear()), "2 * (rbf + linear)"),
        (Scale(RBF() + Linear()), "(rbf + linear)"),
        (
            3 * Scale(RBF(), 2.0, fixed=("outputscale",)),
            "3 * scale(rbf, outputscale=2, fixed=('outputscale',))",
        ),
        (
            Product(RBF(), Sum(RBF(), Linear(), active_dims=[1])),
            "rbf * sum(rbf, linear, active_dims=(1,))",
        ),
        (RBF(123456.0), "rbf(lengthscale=123456)"),
        (RBF(ard=False), "rbf(ard=False)"),
        (Linear(center=[-1.5, 0.0]), "linear(center=[-1.5, 0])"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_operators_and_formula(kernel: Kernel, formula: str):
    assert repr(kernel) == formula
    assert repr(parse(formula)) in (formula, formula.strip("()"))


def test_scale_among_the_factors_is_read_back_in_front():
    kernel = RBF() * (2 * Linear())
    assert repr(kernel) == "rbf * 2 * linear"
    assert repr(parse(repr(kernel))) == "2 * rbf * linear"


def test_sum_with_active_dims_is_not_taken_apart():
    part = Sum(RBF(1.0), Linear(1.0), active_dims=(1,))
    assert len((part + RBF(2.0)).kernels) == 2
    assert len((part + RBF(2.0) + Cosine(1.0)).kernels) == 3


def test_batched_outputscale_is_scaled():
    kernel = Scale(RBF(1.0))
    kernel.outputscale = torch.tensor([1.0, 2.0])
    expected = torch.tensor([[3.0, 3.0], [6.0, 6.0]], dtype=torch.float64)
    for product in (3 * kernel, kernel * 3, kernel * Constant(3.0), Constant(3.0) * kernel):
        assert_equal(variance(product, rows(2, 1)), expected)


def test_kernel_used_twice_shares_its_parameters():
    kernel = RBF(0.5)
    twice = copy.deepcopy(kernel + kernel)
    twice.set_params(k1__lengthscale=2.0)
    assert twice.get_params()["k2__lengthscale"] == pytest.approx(2.0)
    assert_equal(covariance(twice, grid()), 2.0 * covariance(RBF(2.0), grid()))


@pytest.mark.parametrize(
    ("kernel", "expected"),
    [
        (RBF(), False),
        (RBF() * Periodic(), False),
        (Scale(RBF()), True),
        (Linear(), True),
        (WhiteNoise(), True),
        (Constant(), True),
        (Wiener(), True),
        (RBF() * Linear(), True),
        (RBF() + Linear(), False),
        (2 * RBF() + Linear(), True),
        (ChangePoint(RBF(), Linear()), False),
        (ChangePoint(2 * RBF(), Linear()), True),
        (Product(gpytorch.kernels.ScaleKernel(gpytorch.kernels.RBFKernel()), RBF()), True),
    ],
    ids=lambda value: str(value) if isinstance(value, bool) else type(value).__name__,
)
def test_amplitude_is_recognised(kernel: Kernel, expected: bool):
    assert (with_amplitude(kernel) is kernel) == expected or isinstance(kernel, Sum)
    completed = with_amplitude(kernel)
    terms = completed.kernels if isinstance(completed, Sum) else [completed]
    assert len(list(kernel.parameters())) + (not expected) == len(list(completed.parameters()))
    assert all(with_amplitude(term) is term for term in terms)


def test_amplitude_for_other_peoples_kernels():
    kernel = gpytorch.kernels.RBFKernel()
    assert isinstance(with_amplitude(kernel), Scale)
    assert with_amplitude(gpytorch.kernels.ScaleKernel(kernel)).base_kernel is kernel
