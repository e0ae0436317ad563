"""Hyperparameters of kernels by scikit-learn's protocol: copied, printed, read back, set, fixed, unset."""

import copy
import pickle

import numpy as np
import pytest
import sklearn.base
import torch
from cases import CASES, Case
from kernel_checks import assert_equal, crossed, raw_values, rows, rows_with_twins, store

from nonparam.kernels import (
    RBF,
    Additive,
    ChangePoint,
    Constant,
    Cosine,
    Invariant,
    Kernel,
    Linear,
    Matern,
    OrthogonalRBF,
    Periodic,
    Polynomial,
    RationalQuadratic,
    Scale,
    SoftInvariant,
    Sum,
    WhiteNoise,
    Wiener,
    covariance,
    parse,
    variance,
    with_amplitude,
)


@pytest.mark.parametrize(
    "copied",
    [sklearn.base.clone, copy.deepcopy, lambda kernel: pickle.loads(pickle.dumps(kernel))],
    ids=["clone", "deepcopy", "pickle"],
)
@crossed(CASES)
def test_copies_are_equal_and_independent(case: Case, copied):
    kernel, x = case.make(), rows_with_twins(case.columns)
    other, before = copied(kernel), covariance(kernel, x).detach()
    assert torch.equal(covariance(other, x), before)
    assert repr(other) == repr(kernel) and list(other.get_params()) == list(kernel.get_params())
    store(other, [raw + 0.1 for raw in raw_values(other)])
    assert torch.equal(covariance(kernel, x), before)


@crossed(CASES)
def test_formula_is_read_back(case: Case):
    kernel, x = case.make(), rows_with_twins(case.columns)
    again = parse(repr(kernel))
    assert_equal(covariance(again, x), covariance(kernel, x))
    assert_equal(covariance(parse(str(again)), x), covariance(kernel, x))
    assert [p.requires_grad for p in again.parameters()] == [p.requires_grad for p in kernel.parameters()]


@crossed(CASES)
def test_every_parameter_can_be_set_to_itself(case: Case):
    kernel, x = case.make(), rows_with_twins(case.columns)
    before = covariance(kernel, x).detach()
    for key, value in kernel.get_params(deep=True).items():
        if not isinstance(value, Kernel):
            kernel.set_params(**{key: value})
    assert_equal(covariance(kernel, x), before)
    assert repr(kernel) == repr(case.make())


@pytest.mark.parametrize(
    "kernel",
    [
        RBF([0.5, 2.0], ard=False, active_dims=(0, 1), fixed=("lengthscale",)),
        Matern(0.5, nu=1.5),
        RationalQuadratic(),
        Periodic(12.0, zero_mean=True),
        Cosine(2.0),
        Constant(2.0, fixed=("variance",)),
        WhiteNoise(),
        Linear(2.0, center=1.0),
        Polynomial(3, offset=2.0),
        Wiener(1.0, origin=2.0),
        Scale(RBF(), 2.0),
        ChangePoint(RBF(), Linear(), 3.0, column=1),
        OrthogonalRBF(2.0, spread=1.0),
        Additive(3, variance=[1.0, 2.0, 3.0], active_dims=(0, 1, 2), fixed=("variance",)),
        Invariant(RBF(), "c4", columns=(0, 2), center=[1.0, 2.0, 3.0]),
        SoftInvariant(RBF(), "reflection", variance=2.0, center=None),
    ],
    ids=str,
)
def test_shallow_parameters_build_the_kernel_again(kernel: Kernel):
    params = kernel.get_params(deep=False)
    again = type(kernel)(**params)
    assert repr(again) == repr(kernel)
    assert again.get_params(deep=False) == params


def test_nested_parameters():
    kernel = 2.0 * (RBF(0.5) + Linear([1.0, 2.0]) * Periodic(3.0))
    params = kernel.get_params()
    assert params["outputscale"] == pytest.approx(2.0)
    assert params["kernel__k1__lengthscale"] == pytest.approx(0.5)
    assert params["kernel__k2__k1__variance"] == pytest.approx([1.0, 2.0])
    assert params["kernel__k2__k2__lengthscale"] is None
    assert "kernel__k1__lengthscale" not in kernel.get_params(deep=False)
    changed = kernel.set_params(outputscale=3.0, kernel__k1__lengthscale=[1.0, 4.0], kernel__k2__k2__period=5)
    assert changed is kernel
    assert repr(kernel) == ("3 * (rbf(lengthscale=[1, 4]) + linear(variance=[1, 2]) * periodic(period=5))")


def test_parameters_of_every_kind_can_be_set():
    kernel = Sum(Matern(1.0), Periodic(1.0), ChangePoint(RBF(1.0), Polynomial(2)), active_dims=(0,))
    kernel.set_params(
        k1__nu=0.5, k1__active_dims=(0,), k1__fixed=("lengthscale",), k2__zero_mean=True, k2__period=None
    )
    kernel.set_params(k3__before__lengthscale=2.0, k3__after__power=3.0, k3__location=-1.5, active_dims=None)
    assert repr(kernel) == (
        "matern12(lengthscale=1, active_dims=(0,), fixed=('lengthscale',)) + periodic(zero_mean=True) + "
        "changepoint(rbf(lengthscale=2), polynomial(power=3), location=-1.5)"
    )


def test_numpy_numbers_and_tensors_are_values():
    kernel = RBF(np.array([0.5, 2.0]))
    assert kernel.value("lengthscale") == pytest.approx([0.5, 2.0])
    kernel.lengthscale = torch.tensor([[1.0, 4.0]])
    assert kernel.lengthscale.shape == (1, 2) and kernel.raw_lengthscale.dtype == torch.float64
    kernel.lengthscale = torch.ones(3, 1, 2)
    assert variance(kernel, rows(5, 2)).shape == (3, 5)
    kernel.initialize(lengthscale=0.25)
    assert kernel.value("lengthscale") == pytest.approx(0.25)
    assert RBF(np.float32(2.0)).value("lengthscale") == pytest.approx(2.0)


def test_fixed_hyperparameters_are_not_learnt():
    def learnt(kernel: Kernel) -> set[str]:
        return {name for name, p in kernel.named_parameters() if p.requires_grad}

    assert learnt(Periodic(1.0, 2.0, fixed=("period",))) == {"raw_lengthscale"}
    assert learnt(Linear(1.0, center=0.0)) == {"raw_variance"}  # a center never is
    kernel = RBF(1.0, fixed=("lengthscale",))
    kernel.lengthscale = 3.0
    assert learnt(kernel) == set()
    assert learnt(kernel.set_params(fixed=())) == {"raw_lengthscale"}
    assert learnt(Scale(kernel, 2.0, fixed=("outputscale",))) == {"kernel.raw_lengthscale"}


def waiting(kernel):
    return [
        (type(part).__name__, sorted(part.unset)) for part in kernel.modules() if getattr(part, "unset", None)
    ]


def test_unset_hyperparameters_wait_for_the_data():
    kernel = with_amplitude(RBF() + Linear(2.0))
    assert waiting(kernel) == [("Scale", ["outputscale"]), ("RBF", ["lengthscale"]), ("Linear", ["center"])]
    assert kernel.get_params()["k1__kernel__lengthscale"] is None
    assert repr(kernel) == "rbf + linear(variance=2)"
    kernel.set_params(k1__kernel__lengthscale=3.0, k1__outputscale=2.0, k2__center=0.0)
    assert waiting(kernel) == []
    kernel.set_params(k1__kernel__lengthscale=None)
    assert waiting(kernel) == waiting(pickle.loads(pickle.dumps(kernel))) == [("RBF", ["lengthscale"])]
    assert covariance(kernel, rows(3, 2)).isfinite().all()
