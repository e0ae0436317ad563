"""Functions taken apart: parts beside dense formulas, what they add up to, names, shares and pictures."""

import dense
import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch

from nonparam import GPRegressor
from nonparam.errors import InputError
from nonparam.kernels import (
    RBF,
    Additive,
    Constant,
    Kernel,
    Linear,
    Matern,
    OrthogonalRBF,
    Scale,
    SoftInvariant,
    Sum,
    WhiteNoise,
    covariance,
)
from nonparam.objective import Data
from nonparam.plotting import plot_parts
from nonparam.posterior import condition

rng = np.random.default_rng(0)
X = rng.uniform(size=(60, 3))
Y = 5.0 + np.sin(6.0 * X[:, 0]) + X[:, 0] * X[:, 1] + 0.1 * rng.normal(size=60)
NEW = rng.uniform(-0.2, 1.2, size=(9, 3))
KERNELS = [
    "additive",
    "additive(1) + linear(active_dims=[2])",
    "rbf(active_dims=[0]) + 2 * (linear + matern32) + white",
    "soft_invariant(rbf(ard=False), 'permutation', columns=(0, 1))",
    "rbf",
]


@pytest.fixture(autouse=True)
def headless():
    backend = matplotlib.get_backend()
    plt.switch_backend("Agg")
    yield
    plt.close("all")
    plt.switch_backend(backend)


@pytest.mark.parametrize("mean", ["zero", "constant", "linear"])
@pytest.mark.parametrize("kernel", KERNELS)
def test_parts_add_up_to_the_whole_mean(kernel: str, mean: str):
    model = GPRegressor(kernel, mean=mean).fit(X, Y)
    for rows in (X, NEW):
        found = model.decompose(rows)
        assert found.mean.shape == found.sd.shape == (len(rows), len(found.names))
        np.testing.assert_allclose(found.mean.sum(-1), model.predict(rows), rtol=0.0, atol=1e-8)
        assert (found.sd >= 0.0).all()
    assert found.share.sum() == pytest.approx(1.0) and (found.share >= 0.0).all()
    assert (found.names[0] == "mean") is (mean != "zero")


def test_parts_of_several_outputs_add_up_too():
    table = np.column_stack([Y, 1e3 * X[:, 2] ** 2])
    model = GPRegressor("additive").fit(X, table)
    found = model.decompose(NEW)
    assert found.mean.shape == (9, 2, len(found.names))
    np.testing.assert_allclose(found.mean.sum(-1), model.predict(NEW), rtol=1e-9)


@pytest.mark.parametrize("mean", ["zero", "constant", "linear"])
def test_moments_are_those_of_the_joint_process(mean: str):
    """A part, the mean function and the data have a joint normal density, the mean's weights being vague."""
    vague, x, new = 1e5, torch.tensor(X[:20]), torch.tensor(NEW)
    kernel = Scale(RBF(0.4), 2.0) + 1.5 * Linear(1.0, center=0.3)
    H, H_new = dense.basis(mean, X[:20]), dense.basis(mean, NEW)
    data = Data(x, torch.tensor(Y[:20, None]), torch.tensor(H), torch.ones(20).double(), None)
    posterior = condition(kernel, data, 0.1)
    with torch.no_grad():
        A = covariance(kernel, x).numpy() + 0.1 * np.eye(20) + vague * H @ H.T
        for part in kernel.kernels:
            cross, prior = covariance(part, x, new).numpy(), covariance(part, new).numpy()
            found_mean, found_variance = posterior.component(part, new)
            np.testing.assert_allclose(found_mean[:, 0], cross.T @ np.linalg.solve(A, Y[:20]), atol=2e-3)
            expected = np.diag(prior - cross.T @ np.linalg.solve(A, cross))
            np.testing.assert_allclose(found_variance, expected, atol=1e-4)
        if mean != "zero":
            cross, prior = vague * H @ H_new.T, vague * H_new @ H_new.T
            found_mean, found_variance = posterior.mean_component(torch.tensor(H_new))
            np.testing.assert_allclose(found_mean[:, 0], cross.T @ np.linalg.solve(A, Y[:20]), atol=2e-3)
            expected = np.diag(prior - cross.T @ np.linalg.solve(A, cross))
            np.testing.assert_allclose(found_variance, expected, rtol=2e-3, atol=2e-3)


def test_known_parts_are_found_with_their_shares():
    x = np.random.default_rng(1).uniform(size=(300, 4))
    parts = [np.sin(2 * np.pi * x[:, 0]), 2.0 * (x[:, 1] - 0.5), 6.0 * (x[:, 0] - 0.5) * (x[:, 2] - 0.5)]
    noise = 0.05 * np.random.default_rng(2).normal(size=300)
    model = GPRegressor("additive").fit(x, 3.0 + sum(parts) + noise)
    found = model.decompose()
    table = pd.DataFrame(found.mean, columns=found.names)
    for name, truth in zip(["x0", "x1", "x0 * x2"], parts, strict=True):
        assert np.std(table[name] - (truth - truth.mean())) < 0.1 * np.std(truth)
        share = np.var(truth) / sum(np.var(part) for part in parts)
        assert found.share[found.names.index(name)] == pytest.approx(share, abs=0.03)
    others = [s for n, s in zip(found.names, found.share, strict=True) if n not in ("x0", "x1", "x0 * x2")]
    assert max(others) < 0.01


def test_shares_are_variances_over_the_training_rows():
    weights = np.random.default_rng(3).integers(1, 4, 60)
    model = GPRegressor("additive", mean="linear").fit(X, Y, sample_weight=weights)
    found = model.decompose()
    variances = np.array([np.cov(part, aweights=weights, ddof=0) for part in found.mean.T])
    np.testing.assert_allclose(found.share, variances / variances.sum(), rtol=1e-8, atol=1e-12)


def test_a_constant_has_no_shares():
    found = GPRegressor("linear + rbf").fit(X[:5], np.zeros(5)).decompose()
    assert (found.share == 0.0).all() and np.isfinite(found.mean).all()


@pytest.mark.parametrize(
    ("kernel", "names", "columns"),
    [
        (
            Additive(),
            ("a", "b", "c", "a * b", "a * c", "b * c"),
            ((0,), (1,), (2,), (0, 1), (0, 2), (1, 2)),
        ),
        (Additive(active_dims=(2, 0)), ("c", "a", "a * c"), ((2,), (0,), (0, 2))),
        (OrthogonalRBF(active_dims=[1]) + RBF(), ("b", "rbf"), ((1,), (0, 1, 2))),
        (RBF(active_dims=[1]) * Linear(active_dims=[0]), ("rbf * linear(a, b)",), ((0, 1),)),
        (
            Sum(RBF(active_dims=[1]), Matern(), active_dims=(2, 0)),
            ("rbf(a)", "matern52(a, c)"),
            ((0,), (0, 2)),
        ),
        (RBF() + RBF() + Constant() + WhiteNoise(), ("rbf", "rbf (2)", "constant()", "white()"), None),
        ((RBF() + Linear()) * Matern(), ("rbf * matern52", "linear * matern52"), ((0, 1, 2),) * 2),
        ((Constant() + Linear()) * RBF(), ("(constant + linear) * rbf",), ((0, 1, 2),)),
        (SoftInvariant(RBF(), "reflection"), ("invariant", "rbf"), ((0, 1, 2),) * 2),
    ],
    ids=str,
)
def test_names_and_columns(kernel: Kernel, names: tuple[str, ...], columns):
    table = pd.DataFrame(X, columns=["a", "b", "c"])
    found = GPRegressor(kernel, mean="zero").fit(table, Y).decompose(table.iloc[:2])
    assert found.names == tuple(name.replace("()", "") for name in names)
    assert columns is None or found.columns == columns


def test_solvers_with_structure_have_parts_too():
    t = np.linspace(0.0, 5.0, 80)[:, None]
    y = np.sin(t[:, 0]) + 0.1 * np.random.default_rng(4).normal(size=80)
    for solver in ("state_space", "toeplitz", "cg"):
        kernel = "matern32(1, fixed=('lengthscale',)) + matern52(0.2, fixed=('lengthscale',))"
        model = GPRegressor(kernel, solver=solver, random_state=0).fit(t, y)
        found = model.decompose(t + 0.01)
        np.testing.assert_allclose(found.mean.sum(-1), model.predict(t + 0.01), rtol=0.0, atol=1e-6)


def test_more_rows_than_a_block():
    model = GPRegressor("linear + rbf").fit(X, Y)
    many = np.random.default_rng(5).uniform(size=(2100, 3))
    found, last = model.decompose(many), model.decompose(many[-3:])
    np.testing.assert_allclose(found.mean[-3:], last.mean)
    np.testing.assert_allclose(found.sd[-3:], last.sd)


# pictures ---------------------------------------------------------------------------------------


def test_largest_parts_are_drawn_first():
    table = pd.DataFrame(X, columns=["a", "$b", "c"])
    model = GPRegressor("additive").fit(table, Y)
    axes = plot_parts(model, 4)
    found = model.decompose()
    order = [i for i in np.argsort(-found.share, kind="stable") if found.names[i] != "mean"][:4]
    assert [ax.get_title(loc="left") for ax in axes] == [
        f"{found.names[i]}: {100 * found.share[i]:.0f} %" for i in order
    ]
    line = axes[0].lines[0].get_xydata()
    at = pd.DataFrame(0.5, index=range(len(line)), columns=table.columns)
    at[axes[0].get_xlabel()] = line[:, 0]
    np.testing.assert_allclose(line[:, 1], model.decompose(at).mean[:, order[0]], atol=1e-9)
    axes[0].figure.canvas.draw()


def test_a_map_is_the_part_at_each_place():
    model = GPRegressor("orthogonal_rbf(active_dims=[2, 0])", mean="zero").fit(X, Y - Y.mean())
    (ax,) = model.plot_parts()
    mesh = ax.collections[0]
    places, values = mesh.get_coordinates().reshape(-1, 2), np.asarray(mesh.get_array()).ravel()
    rows = np.column_stack([places[:, 0], np.zeros(len(places)), places[:, 1]])
    np.testing.assert_allclose(values, model.decompose(rows).mean[:, 0], atol=1e-9)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("x0", "x2")


def test_pictures_that_cannot_be_drawn():
    with pytest.raises(InputError, match=r"no part of one or two columns to draw among \['mean', 'rbf'\]"):
        plot_parts(GPRegressor("rbf").fit(X, Y))
    with pytest.raises(InputError, match="plot_parts draws models with one output"):
        plot_parts(GPRegressor("additive").fit(X, np.column_stack([Y, Y])))
    with pytest.raises(InputError, match="most must be"):
        plot_parts(GPRegressor("additive").fit(X, Y), 0)
