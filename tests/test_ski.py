"""Interpolated kernels: against dense matrices, against the kernel itself, and inside a fit."""

import numpy as np
import pytest
import torch

from nonparam import GPRegressor, interpolation
from nonparam.errors import ConvergenceError, InputError, InsufficientMemoryError
from nonparam.interpolation import InterpolatedKernel, InterpolatedOperator
from nonparam.kernels import RBF, Cosine, Matern, Periodic, RationalQuadratic, WhiteNoise, covariance
from nonparam.posterior import condition
from nonparam.solvers.operator import SymmetricOperator
from nonparam.solvers.plan import choose
from nonparam.solvers.ski import Lattice, keys_weights

KERNELS = [
    2.0 * RBF([1.0, 2.0]),
    Matern([1.5, 0.7], nu=1.5),
    RBF(1.0, active_dims=[1]) + 0.5 * Matern(3.0, nu=2.5),
    RationalQuadratic(1.0) * Periodic(4.0, 1.5),
    Cosine([3.0, 5.0]) * RBF(2.0),
]


def rows(n, d, seed=0):
    return torch.tensor(np.random.default_rng(seed).uniform(-2.0, 3.0, (n, d)))


def vectors(n, k, seed=1):
    return torch.tensor(np.random.default_rng(seed).standard_normal((n, k)))


def made(kernel, x, spacing, dtype=torch.float64):
    """An operator on a lattice whose first point is at no row."""
    lattice = Lattice(x.amin(0) - 0.37 * spacing, torch.full((x.shape[1],), spacing, dtype=x.dtype))
    return InterpolatedKernel(kernel, lattice).operator(x, dtype)


def dense(kernel, x, spacing):
    """W and K of the grid, one row and one point after the other."""
    origin = (x.amin(0) - 0.37 * spacing).numpy()
    place = (x.numpy() - origin) / spacing
    low, high = np.floor(place).min(0) - 1, np.floor(place).max(0) + 2
    axes = [np.arange(a, b + 1) for a, b in zip(low, high, strict=True)]
    points = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, x.shape[1])
    w = np.vectorize(cubic)(place[:, None] - points).prod(-1)
    return w, covariance(kernel, torch.tensor(points * spacing)).detach().numpy()


def cubic(s):
    """Keys (1981), equation 15."""
    s = abs(s)
    if s < 1.0:
        return 1.5 * s**3 - 2.5 * s**2 + 1.0
    return -0.5 * s**3 + 2.5 * s**2 - 4.0 * s + 2.0 if s < 2.0 else 0.0


@pytest.mark.parametrize("power", [0, 1, 2])
def test_quadratics_are_reproduced_exactly(power):
    t = torch.linspace(0.0, 1.0, 11, dtype=torch.float64)
    points = torch.arange(-1.0, 3.0, dtype=torch.float64)
    np.testing.assert_allclose(keys_weights(t) @ points**power, t**power, atol=1e-14)


def test_cubics_are_not():
    half = torch.tensor(0.25, dtype=torch.float64)
    assert abs(float(keys_weights(half) @ torch.arange(-1.0, 3.0).double() ** 3 - half**3)) > 0.01


def test_rows_at_points_are_those_points():
    x = torch.cartesian_prod(torch.arange(4.0), torch.arange(3.0)).double()
    lattice = Lattice(torch.zeros(2).double(), torch.ones(2).double())
    found = InterpolatedKernel(KERNELS[0], lattice).covariance(x)
    np.testing.assert_allclose(found, covariance(KERNELS[0], x).detach(), atol=1e-13)


@pytest.mark.parametrize("kernel", KERNELS, ids=str)
def test_operator_is_the_dense_one(kernel):
    x = rows(40, 2)
    operator, (w, k) = made(kernel, x, 0.4), dense(kernel, x, 0.4)
    expected, v = w @ k @ w.T, vectors(40, 3)
    assert isinstance(operator, SymmetricOperator) and operator.shape == (40, 40)
    np.testing.assert_allclose(operator @ v, expected @ v.numpy(), atol=1e-11)
    np.testing.assert_allclose(operator.diagonal(), expected.diagonal(), atol=1e-12)
    np.testing.assert_allclose(operator.rows(torch.tensor([39, 0, 7])), expected[[39, 0, 7]], atol=1e-12)
    assert np.linalg.eigvalsh(expected).min() > -1e-12


@pytest.mark.parametrize("d", [1, 2, 3])
@pytest.mark.parametrize("n", [1, 30])
def test_operator_in_each_dimension(d, n):
    kernel, x = Matern(1.0, nu=2.5), rows(n, d)
    w, k = dense(kernel, x, 0.9)
    operator, single = made(kernel, x, 0.9), made(kernel, x, 0.9, torch.float32)
    np.testing.assert_allclose(operator @ vectors(n, 1), w @ k @ w.T @ vectors(n, 1).numpy(), atol=1e-12)
    assert single.dtype == (single @ vectors(n, 1).float()).dtype == torch.float32
    np.testing.assert_allclose(single.rows(torch.arange(n)), w @ k @ w.T, atol=1e-5)


def test_many_columns_are_multiplied_in_parts(monkeypatch):
    operator, v = made(KERNELS[0], rows(30, 2), 0.4), vectors(30, 7)
    whole = operator @ v, operator.rows(torch.arange(30)), operator.slopes(v, v)
    monkeypatch.setattr("nonparam.solvers.ski.BUFFER", 3 * operator.grid.lags.numel())
    parts = operator @ v, operator.rows(torch.arange(30)), operator.slopes(v, v)
    for one, other in zip(whole, parts, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-11)


@pytest.mark.parametrize(("kernel", "order"), [(RBF(1.0), 3.0), (Matern(1.0, nu=1.5), 2.0)], ids=str)
def test_deviation_falls_with_the_spacing(kernel, order):
    x = rows(60, 2)
    exact = covariance(kernel, x).detach()
    error = [float((made(kernel, x, h).rows(torch.arange(60)) - exact).abs().max()) for h in (0.3, 0.15)]
    assert order - 0.5 < np.log2(error[0] / error[1]) < order + 1.2


@pytest.mark.parametrize("kernel", KERNELS, ids=str)
def test_gradient_is_that_of_the_dense_matrix(kernel, monkeypatch):
    monkeypatch.setattr(interpolation, "DEVIATION", 0.02)  # a grid small enough for a dense matrix
    x, left, right = rows(30, 2), vectors(30, 3, 2), vectors(30, 3, 3)
    operator = InterpolatedOperator(kernel, x, noise=9.0, dtype=torch.float64, seed=0)
    parameters = list(kernel.parameters())
    lattice = operator.kernel.lattice
    (low, high), place = lattice.box(x), (x - lattice.origin) / lattice.spacing
    axes = [torch.arange(a, b + 1) for a, b in zip(low.tolist(), high.tolist(), strict=True)]
    points = torch.cartesian_prod(*axes).double()
    w = torch.tensor(np.vectorize(cubic)((place[:, None] - points).numpy()).prod(-1))
    form = ((w.mT @ left) * (covariance(kernel, points * lattice.spacing) @ (w.mT @ right))).sum()
    expected = torch.autograd.grad(form, parameters)
    for found, slope in zip(operator.gradient(left, right, parameters), expected, strict=True):
        np.testing.assert_allclose(found, slope, rtol=1e-9, atol=1e-9)
    assert operator.gradient(left, right, []) == []


SMOOTH = [*KERNELS[2:], RBF([1.0, 2.0]), Periodic(2.0, 1.0), Matern(1.5, nu=1.5)]


@pytest.mark.parametrize("kernel", SMOOTH, ids=str)
@pytest.mark.parametrize("noise", [1.0, 3e-3])
def test_deviation_is_what_was_aimed_at(kernel, noise):
    x = rows(100, 2)
    exact = covariance(kernel, x).detach()
    operator = InterpolatedOperator(kernel, x, noise=noise, dtype=torch.float64, seed=0)
    whole = float((operator.rows(torch.arange(100)) - exact).abs().max() / exact[0, 0])
    assert 0.3 * whole <= operator.deviation <= whole + 1e-12
    assert whole < 1.5 * min(1e-4, 1e-2 * noise / float(exact[0, 0]))


def test_later_changes_of_the_kernel_do_not_count():
    kernel, x, v = RBF(1.0), rows(20, 1), vectors(20, 1)
    operator = InterpolatedOperator(kernel, x, noise=0.1, dtype=torch.float64, seed=0)
    before = operator.gradient(v, v, list(kernel.parameters()))
    kernel.lengthscale = 9.0
    parameters = list(kernel.parameters())
    assert operator.kernel.kernel.lengthscale.item() == 1.0
    with pytest.raises(InputError, match="no parameter of the kernel"):
        operator.gradient(v, v, parameters)
    assert torch.isfinite(before[0]).all()


def test_other_rows_far_beyond_the_data():
    x, far = rows(50, 2), torch.tensor([[5.0, -4.0], [0.0, 12.0]], dtype=torch.float64)
    interpolated = InterpolatedKernel.of(RBF([1.0, 2.0]), x)
    for one, other in ((far, x), (x, far), (far, None)):
        exact = covariance(RBF([1.0, 2.0]), one, one if other is None else other).detach()
        np.testing.assert_allclose(interpolated.covariance(one, other), exact, atol=2e-4)
    product = interpolated.product(far, x, vectors(50, 2))
    np.testing.assert_allclose(product, interpolated.covariance(far, x) @ vectors(50, 2), atol=1e-12)
    np.testing.assert_allclose(
        interpolated.variance(far), interpolated.covariance(far).diagonal(), atol=1e-12
    )


@pytest.mark.parametrize("shift", [0.0, 1e7])
def test_nasty_columns(shift):
    x = rows(40, 3) * torch.tensor([1e-8, 0.0, 1e5]) + shift * torch.tensor([0.0, 1.0, 1e5])
    x[1] = x[0]
    kernel = RBF([1e-8, 1.0, 1e5])
    operator = InterpolatedOperator(kernel, x, noise=0.01, dtype=torch.float64, seed=0)
    np.testing.assert_allclose(operator.rows(torch.arange(40)), covariance(kernel, x).detach(), atol=2e-4)


# what is refused -------------------------------------------------------------------------------


def test_kernel_that_is_too_rough():
    x = rows(500, 3)
    with pytest.raises(ConvergenceError, match=r"needs a grid of .* points and about .*take solver='cg'"):
        InterpolatedOperator(Matern(0.1, nu=0.5), x, noise=0.1, dtype=torch.float64, seed=0)


def test_deviation_that_is_too_large(monkeypatch):
    monkeypatch.setattr(interpolation, "REFUSED", 1e-3)
    with pytest.raises(
        ConvergenceError, match=r"kernel to within .* of its variance, expected at most 1e-07"
    ):
        InterpolatedOperator(RBF(1.0), rows(50, 1), noise=1.0, dtype=torch.float64, seed=0)


def test_noise_below_the_deviation():
    with pytest.raises(
        ConvergenceError,
        match=r"at most 1e-08: the noise, 1e-08 of the variance, is too small.*'cg' or solver='cholesky'",
    ):
        InterpolatedOperator(RBF(1.0), rows(50, 1), noise=1e-8, dtype=torch.float64, seed=0)


def test_rows_out_of_reach():
    interpolated = InterpolatedKernel.of(RBF(1.0), rows(50, 2))
    far = torch.tensor([[1e9, 1e9]], dtype=torch.float64)
    with pytest.raises(InsufficientMemoryError, match=r"rows nearer to those of the training data"):
        interpolated.covariance(far, rows(50, 2))


@pytest.mark.parametrize(
    ("kernel", "columns", "message"),
    [
        ("rbf", 4, "at most 3 columns.*got 4: take solver='cg'"),
        ("linear + rbf", 2, "needs a stationary kernel"),
        (RBF(1.0) + WhiteNoise(0.1), 2, "without white noise of its own"),
    ],
    ids=str,
)
def test_model_that_has_no_grid(kernel, columns, message):
    x = rows(20, columns).numpy()
    with pytest.raises(InputError, match=message):
        GPRegressor(kernel, solver="ski").fit(x, x[:, 0])


def test_a_known_noise_of_zero():
    x = rows(20, 1).numpy()
    with pytest.raises(
        InputError, match=r"needs a noise above 0 in every row, got 0: take solver='cholesky'"
    ):
        GPRegressor("rbf", solver="ski", noise=0.0).fit(x, x[:, 0])


# inside a fit ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def fitted():
    """A model by interpolation, and the data."""
    x = rows(400, 2).numpy()
    y = np.sin(2.0 * x[:, 0]) * np.cos(x[:, 1]) + 0.1 * np.random.default_rng(3).standard_normal(400)
    return GPRegressor("matern52", solver="ski", random_state=0).fit(x, y), x, y


def test_fit_is_near_that_by_cholesky(fitted):
    model, x, y = fitted
    exact = GPRegressor("matern52", solver="cholesky", random_state=0).fit(x, y)
    new = rows(100, 2, seed=9).numpy() * 1.1
    (mean, sd), (expected, exact_sd) = (m.predict(new, return_std=True) for m in (model, exact))
    assert model.fit_report_.converged
    assert abs(model.log_marginal_likelihood_ - exact.log_marginal_likelihood_) < 0.6
    assert np.abs((mean - expected) / exact_sd).max() < 0.05
    np.testing.assert_allclose(sd, exact_sd, rtol=0.05)


def test_posterior_is_that_of_the_kernel(fitted):
    model = fitted[0]
    posterior = model.posterior_
    exact = condition(posterior.kernel, posterior.data, posterior.noise)
    new = rows(100, 2, seed=9) * 1.1
    basis = torch.ones(100, 1, dtype=torch.float64)
    variance = exact.predict_variance(new, basis)
    error = (posterior.predict_mean(new, basis) - exact.predict_mean(new, basis))[:, 0] / variance.sqrt()
    assert error.abs().max() < 0.05
    np.testing.assert_allclose(posterior.predict_variance(new, basis), variance, rtol=0.05)
    joint = posterior.predict_covariance(new, basis)
    np.testing.assert_allclose(joint, exact.predict_covariance(new, basis), atol=0.05 * float(variance.max()))
    np.testing.assert_allclose(joint.diagonal(), posterior.predict_variance(new, basis), rtol=1e-4)
    assert abs(posterior.log_marginal_likelihood() - exact.log_marginal_likelihood()) < 0.1


def test_report_states_the_deviation(fitted):
    model = fitted[0]
    matrix = model.posterior_.factor.matrix
    assert isinstance(matrix, InterpolatedOperator) and matrix.dtype == torch.float64
    sizes = " x ".join(map(str, matrix.matrix.grid.sizes))
    stated = f"; grid of {sizes} points, kernel to within {matrix.deviation:.1g} of its variance"
    assert model.fit_report_.plan.startswith("n=400") and model.fit_report_.plan.endswith(stated)


def test_saved_and_updated_models_interpolate(fitted, tmp_path):
    model, x, y = fitted
    model.save(tmp_path / "model")
    loaded = GPRegressor.load(tmp_path / "model")
    assert loaded.posterior_.solver == model.posterior_.solver == "ski"
    np.testing.assert_allclose(loaded.predict(x[:9]), model.predict(x[:9]), rtol=1e-12)
    loaded.update(x[:20] + 0.01, y[:20])
    assert loaded.posterior_.solver == "ski" and len(loaded.posterior_.data.x) == 420


def test_auto_never_interpolates():
    assert choose("auto", 10**6, 5, available=10**11).solver == "cg"
    assert choose("ski", 1000, 5).solver == "ski"
