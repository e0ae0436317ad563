"""The evidence of rows given earlier neighbours: naive formulas, exact limits, differences."""

import itertools

import gpytorch
import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal

from nonparam import vecchia
from nonparam.errors import NotPositiveDefiniteError
from nonparam.kernels import RBF, Matern, Periodic, Scale
from nonparam.kernels.evaluate import covariance
from nonparam.objective import Data, Objective
from nonparam.solvers.vecchia import adjoint, conditionals, information, maximin, with_diagonal
from nonparam.theta import Theta
from nonparam.vecchia import VecchiaEvidence, columns_of, neighbours_before

RNG = np.random.default_rng(0)
N, M = 60, 6
X = torch.from_numpy(RNG.uniform(0.0, 3.0, (N, 2)))
Y = torch.from_numpy(RNG.standard_normal((N, 2)))
ONES = torch.ones(N, dtype=torch.float64)
KERNELS = {
    "matern12": lambda: Scale(Matern([0.7, 1.5], nu=0.5), 1.3),
    "matern32": lambda: Scale(Matern([0.7, 1.5], nu=1.5), 1.3),
    "matern52": lambda: Scale(Matern([0.7, 1.5], nu=2.5), 1.3),
    "rbf": lambda: Scale(RBF(0.9), 1.3),
    "fixed": lambda: Scale(RBF([0.9, 0.4], fixed=("lengthscale",)), 1.3),
    "periodic": lambda: Scale(Periodic(1.1, 2.0), 0.8) + Scale(RBF(0.5), 0.3),
}


def data(basis=1, outputs=2):
    columns = [ONES[:, None], X][: 1 if basis == 1 else 2] if basis else [X[:, :0]]
    return Data(X, Y[:, :outputs], torch.cat(columns, 1), ONES, None)


def evidence(name, m=M, basis=1, known=None, outputs=2):
    kernel = KERNELS[name]().double()
    theta = Theta(kernel, {}, 0.2 if known is None else None)
    near = neighbours_before(X, np.array([0.7, 1.5]), m)
    return VecchiaEvidence(data(basis, outputs), near, theta, known or 0.0)


def naive(found, point, coefficients):
    """The sum of the log densities of rows given their neighbours, one by one, with a known mean."""
    found.theta.assign(point)
    noise = float(np.exp(point[-1])) if found.theta.learns_noise else found.noise
    a = covariance(found.theta.kernel, X).detach().numpy() + noise * np.eye(N)
    left = (found.data.y - found.data.basis @ torch.from_numpy(coefficients)).numpy()
    total = 0.0
    for i, row in enumerate(found.neighbours):
        near = row[row >= 0]
        weights = np.linalg.solve(a[np.ix_(near, near)], a[near, i])
        variance = a[i, i] - a[near, i] @ weights
        residual = left[i] - weights @ left[near]
        total += float(-0.5 * (residual**2 / variance + np.log(2.0 * np.pi * variance)).sum())
    return total


@pytest.mark.parametrize(("name", "basis"), list(itertools.product(KERNELS, (0, 1, 2))))
def test_the_value_is_the_sum_over_the_rows(name, basis):
    found = evidence(name, basis=basis)
    at = found.evaluate(found.theta.start)
    assert at.value == pytest.approx(naive(found, found.theta.start, at.coefficients), rel=1e-9)
    for nudge in 1e-3 * np.eye(at.coefficients.size):  # no other coefficients are more likely
        other = at.coefficients + nudge.reshape(at.coefficients.shape)
        assert naive(found, found.theta.start, other) <= at.value


@pytest.mark.parametrize("name", KERNELS)
def test_the_gradient_is_the_slope(name):
    found = evidence(name)
    point = found.theta.start + 0.1
    at = found.evaluate(point)
    for i, step in enumerate(1e-5 * np.eye(len(point))):
        above, below = (found.evaluate(point + each).value for each in (step, -step))
        assert at.gradient[i] == pytest.approx((above - below) / 2e-5, rel=2e-5, abs=2e-5)


@pytest.mark.parametrize("name", KERNELS)
def test_all_earlier_rows_as_neighbours_are_the_exact_evidence(name):
    found = evidence(name, m=N - 1)
    at = found.evaluate(found.theta.start)
    kernel = KERNELS[name]().double()
    exact = Objective(data(), Theta(kernel, {}, 0.2), with_prior=False)
    values, slopes, _ = exact.log_marginal_likelihood(found.theta.start[None])
    assert at.value == pytest.approx(values[0], rel=1e-9)
    np.testing.assert_allclose(at.gradient, slopes[0], rtol=1e-6, atol=1e-7)
    a = covariance(kernel, X).detach().numpy() + 0.2 * np.eye(N)
    left = (Y - torch.ones(N, 1, dtype=torch.float64) @ torch.from_numpy(at.coefficients)).numpy()
    whole = sum(multivariate_normal(np.zeros(N), a).logpdf(column) for column in left.T)
    assert at.value == pytest.approx(whole, rel=1e-9)
    inverse = np.linalg.inv(a)
    weighted = inverse.sum(0)
    np.testing.assert_allclose(at.coefficients, [weighted @ Y.numpy() / weighted.sum()], rtol=1e-8)
    np.testing.assert_allclose(at.precision, [[weighted.sum()]], rtol=1e-8)


@pytest.mark.parametrize("name", ["matern12", "matern32", "matern52", "rbf", "fixed"])
def test_loops_and_blocks_agree(name, monkeypatch):
    pytest.importorskip("numba")
    found = evidence(name, basis=2)
    by_loops = found.evaluate(found.theta.start)
    monkeypatch.setattr(vecchia, "radial_term", lambda kernel, x: None)
    monkeypatch.setattr(vecchia, "INFORMED", 10**6)
    monkeypatch.setattr(vecchia, "ENTRIES", 500)
    by_blocks = found.evaluate(found.theta.start)
    assert by_loops.value == pytest.approx(by_blocks.value, rel=1e-10)
    np.testing.assert_allclose(by_loops.gradient, by_blocks.gradient, rtol=1e-7, atol=1e-8)
    np.testing.assert_allclose(by_loops.coefficients, by_blocks.coefficients, rtol=1e-8)
    np.testing.assert_allclose(by_loops.information, by_blocks.information, rtol=1e-5, atol=1e-6)


def test_the_information_is_the_expected_curvature():
    """The mean over data of the model of the products of their slopes."""
    found, slopes = evidence("matern52", basis=0, outputs=1), []
    found.theta.assign(found.theta.start)
    root = torch.linalg.cholesky(covariance(found.theta.kernel, X).detach() + 0.2 * torch.diag(ONES))
    exact = evidence("matern52", m=N - 1, basis=0, outputs=1)
    for _ in range(800):
        y = root @ torch.from_numpy(RNG.standard_normal((N, 1)))
        drawn = VecchiaEvidence(Data(X, y, X[:, :0], ONES, None), exact.neighbours, exact.theta, exact.noise)
        slopes.append(drawn.evaluate(exact.theta.start).gradient)
    np.testing.assert_allclose(np.mean(slopes, 0), 0.0, atol=0.5)
    expected = exact.evaluate(exact.theta.start).information
    np.testing.assert_allclose(np.cov(np.transpose(slopes)), expected, rtol=0.3, atol=1.5)


def test_a_known_noise_is_no_hyperparameter():
    found = evidence("rbf", known=0.3)
    assert found.theta.names[-1] != "noise" and found.evaluate(found.theta.start).gradient.shape == (2,)
    learnt = evidence("rbf")
    point = np.append(found.theta.start, np.log(0.3))
    assert found.evaluate(found.theta.start).value == pytest.approx(learnt.evaluate(point).value, rel=1e-12)


def test_rows_that_repeat_others_need_a_jitter_without_noise():
    x = X[:10].repeat(3, 1)
    kernel = Scale(RBF(1.0), 1.0).double()
    twice = Data(x, Y[:10, :1].repeat(3, 1), torch.ones(30, 1, dtype=torch.float64), ONES[:30], None)
    found = VecchiaEvidence(twice, neighbours_before(x, np.ones(2), 8), Theta(kernel, {}, None), 0.0)
    at = found.evaluate(found.theta.start)
    assert np.isfinite(at.value) and at.jitter > 0.0


def test_a_kernel_that_is_none_is_told():
    class Odd(gpytorch.kernels.RBFKernel):
        def forward(self, x1, x2, **params):
            return -2.0 * super().forward(x1, x2, **params)

    found = VecchiaEvidence(data(), neighbours_before(X, np.ones(2), 5), Theta(Odd().double(), {}, 0.1), 0.0)
    with pytest.raises(NotPositiveDefiniteError, match="not positive definite, even with a relative jitter"):
        found.evaluate(found.theta.start)


def test_columns_are_divided_by_lengthscales_or_by_what_changes():
    np.testing.assert_allclose(columns_of(KERNELS["matern52"](), X, np.ones(2)), [0.7, 1.5])
    np.testing.assert_allclose(columns_of(KERNELS["rbf"](), X, np.ones(2)), [0.9, 0.9])
    only = Scale(RBF(0.5, active_dims=(1,)), 2.0).double()
    divisors = columns_of(only, X, np.ones(2))
    assert divisors[0] == np.inf and np.isfinite(divisors[1])


def test_maximin_is_far_from_all_before():
    z = RNG.standard_normal((40, 2))
    order = maximin(z)
    assert sorted(order) == list(range(40))
    for i in range(1, 40):
        distances = np.linalg.norm(z[:, None] - z[order[:i]], axis=2).min(1)
        assert distances[order[i]] == pytest.approx(distances.max())


def test_algebra_of_small_matrices_by_autograd():
    """Conditionals, their adjoint and the information, by differentiation of the definition."""
    b, s, k = 4, 5, 3
    root = torch.from_numpy(RNG.standard_normal((b, s, s)))
    a = (root @ root.mT + 0.5 * torch.eye(s)).requires_grad_()
    table = torch.from_numpy(RNG.standard_normal((b, s, k)))
    weight = torch.from_numpy(RNG.standard_normal((k, k)))
    weight = weight + weight.T

    def total(a):
        inverse = torch.linalg.inv(a[:, :-1, :-1])
        gain = (a[:, -1:, :-1] @ inverse)[:, 0]
        variance = a[:, -1, -1] - (gain * a[:, :-1, -1]).sum(1)
        white = (table[:, -1] - (gain[..., None] * table[:, :-1]).sum(1)) / variance.sqrt()[:, None]
        return 0.7 * variance.log().sum() + torch.einsum("bk,kl,bl->", white, weight, white)

    (slope,) = torch.autograd.grad(total(a), a)
    found = adjoint(a.detach(), table, 0.7, weight)
    torch.testing.assert_close(found, 0.5 * (slope + slope.mT))
    variances, residuals = conditionals(a.detach(), table)
    inverse = torch.linalg.inv(a.detach())
    torch.testing.assert_close(variances, 1.0 / inverse[:, -1, -1])
    torch.testing.assert_close(residuals, (inverse[:, -1:] @ table)[:, 0] * variances[:, None])
    changes = torch.from_numpy(RNG.standard_normal((2, b, s, s)))
    changes = changes + changes.mT
    expected = torch.zeros(2, 2, dtype=torch.float64)
    for j in range(b):  # what all rows tell, less what the first of them do
        for rows, sign in ((s, 1.0), (s - 1, -1.0)):
            part = torch.linalg.inv(a.detach()[j, :rows, :rows])
            for p, q in itertools.product(range(2), range(2)):
                product = part @ changes[p, j, :rows, :rows] @ part @ changes[q, j, :rows, :rows]
                expected[p, q] += sign * 0.5 * torch.trace(product)
    torch.testing.assert_close(information(a.detach(), changes), expected)


def test_missing_neighbours_change_nothing():
    a = torch.from_numpy(RNG.standard_normal((1, 4, 4)))
    a = a @ a.mT
    known = torch.tensor([[False, True, True, True]])
    table = torch.from_numpy(RNG.standard_normal((1, 4, 2)))
    table[:, 0] = 0.0
    padded = conditionals(with_diagonal(a, known, 0.1, 0.2), table)
    short = conditionals(with_diagonal(a[:, 1:, 1:], known[:, 1:], 0.1, 0.2), table[:, 1:])
    for left, right in zip(padded, short, strict=True):
        torch.testing.assert_close(left, right)
