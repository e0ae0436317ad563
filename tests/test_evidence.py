"""The log marginal likelihood of a covariance, against dense formulas and automatic differentiation."""

import dense
import numpy as np
import pytest
import scipy.linalg
import torch
from torch import Tensor

from nonparam.errors import NotPositiveDefiniteError
from nonparam.kernels.evaluate import spread
from nonparam.model_selection.evidence import evidence, fit_mean
from nonparam.solvers.cholesky import cholesky
from nonparam.solvers.toeplitz import inverse_diagonal_sums

N = 7


def problem(outputs: int, functions: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    rng = np.random.default_rng(seed)
    root = rng.standard_normal((N, N))
    A = root @ root.T + 0.5 * np.eye(N)
    H = np.vander(np.linspace(-1, 1, N), functions)
    return tuple(torch.tensor(part) for part in (A, rng.standard_normal((N, outputs)), H))


def naive(A: Tensor, y: Tensor, H: Tensor) -> Tensor:
    """The same number from torch's own solves, which it can differentiate."""
    precision = torch.linalg.inv(A)
    beta = torch.linalg.solve(H.T @ precision @ H, H.T @ precision @ y)
    residual = y - H @ beta
    quadratic = (residual * (precision @ residual)).sum()
    return -0.5 * (quadratic + y.shape[1] * (torch.logdet(A) + len(A) * dense.LOG_2PI))


@pytest.mark.parametrize("functions", [0, 1, 3])
@pytest.mark.parametrize("outputs", [1, 4])
def test_value_is_the_sum_of_dense_normal_densities(outputs, functions):
    A, y, H = problem(outputs, functions)
    expected = sum(dense.log_marginal_likelihood(A.numpy(), column, H.numpy()) for column in y.numpy().T)
    found = evidence(A.clone(), y, H)
    assert found.value == pytest.approx(expected, rel=1e-12)
    assert found.gradient is None and found.jitter == 0.0


@pytest.mark.parametrize("functions", [0, 1, 3])
@pytest.mark.parametrize("outputs", [1, 4])
def test_gradient_is_that_of_automatic_differentiation(outputs, functions):
    A, y, H = problem(outputs, functions)
    leaf = A.clone().requires_grad_()
    (slope,) = torch.autograd.grad(naive(leaf, y, H), leaf)
    expected = torch.triu(slope + slope.T, 1) + torch.diag(torch.diagonal(slope))
    found = evidence(A.clone(), y, H, gradient=True)
    torch.testing.assert_close(found.gradient.triu(), expected, rtol=1e-9, atol=1e-11)


def test_gradient_predicts_the_change_in_any_symmetric_direction():
    A, y, H = problem(2, 2)
    step = torch.tensor(np.random.default_rng(1).standard_normal((N, N)))
    step = step + step.T
    h = 1e-5
    rise = evidence(A + h * step, y, H).value - evidence(A - h * step, y, H).value
    gradient = evidence(A.clone(), y, H, gradient=True).gradient
    assert float((gradient.triu() * step).sum()) == pytest.approx(rise / (2 * h), rel=1e-7)


def test_units_of_y_shift_the_value_by_n_log_c():
    A, y, H = problem(1, 1)
    c = 1e3
    before, after = evidence(A.clone(), y, H), evidence(c**2 * A, c * y, H)
    assert after.value == pytest.approx(before.value - N * np.log(c), rel=1e-12)


def test_coefficients_are_generalised_least_squares():
    A, y, H = problem(2, 2)
    fit = fit_mean(cholesky(A.clone()), y, H)
    expected = dense.coefficients(A.numpy(), y.numpy(), H.numpy())
    np.testing.assert_allclose(fit.coefficients, expected, rtol=1e-10)
    np.testing.assert_allclose(H.T @ fit.alpha, 0.0, atol=1e-12)
    np.testing.assert_allclose(
        fit.alpha, np.linalg.inv(A.numpy()) @ (y.numpy() - H.numpy() @ expected), rtol=1e-9
    )


def test_coefficients_are_the_limit_of_a_broad_gaussian_prior():
    A, y, H = problem(1, 2)
    fit = fit_mean(cholesky(A.clone()), y, H)
    precision, b = np.linalg.inv(A.numpy()), 1e9
    covariance = np.linalg.inv(H.numpy().T @ precision @ H.numpy() + np.eye(2) / b)
    np.testing.assert_allclose(fit.coefficients, covariance @ H.numpy().T @ precision @ y.numpy(), rtol=1e-7)
    np.testing.assert_allclose(np.linalg.inv(fit.information), covariance, rtol=1e-7)


def test_likelihood_with_a_mean_is_the_largest_over_its_coefficients():
    A, y, H = problem(1, 2)
    best = evidence(A.clone(), y, H).value
    fit = fit_mean(cholesky(A.clone()), y, H)
    for move in torch.tensor([[0.0, 0.0], [0.1, 0.0], [0.0, -0.1]], dtype=torch.float64):
        shifted = y - H @ (fit.coefficients + move[:, None])
        value = evidence(A.clone(), shifted, H[:, :0]).value
        assert value == pytest.approx(best, rel=1e-12) if not move.any() else value < best


def test_one_row():
    one = torch.ones(1, 1, dtype=torch.float64)
    found = evidence(4.0 * one, 2.0 * one, one[:, :0], gradient=True)
    assert found.value == pytest.approx(-0.5 * (1.0 + np.log(4.0) + dense.LOG_2PI))
    assert float(found.gradient) == pytest.approx(0.5 * (0.25 - 0.25))


def test_jitter_is_reported():
    ones = torch.ones(3, 3, dtype=torch.float64)
    found = evidence(ones.clone(), ones[:, :1], ones[:, :0])
    assert 0.0 < found.jitter <= 1e-6
    expected = dense.log_normal(np.ones(3), np.zeros(3), np.ones((3, 3)) + found.jitter * np.eye(3))
    # rounding of the matrix is 1e-4 of so small a jitter, so the two determinants differ by as much
    assert found.value == pytest.approx(expected, rel=2e-5)


def test_indefinite_covariance_is_refused():
    A, y, H = problem(1, 1)
    with pytest.raises(NotPositiveDefiniteError, match=r"not positive definite.*try a larger noise"):
        evidence(-A, y, H)


def test_a_mean_that_the_rows_do_not_determine_is_refused():
    A, y, H = problem(1, 1)
    with pytest.raises(
        NotPositiveDefiniteError, match=r"the 2 weights of the mean cannot be told apart.*try"
    ):
        fit_mean(cholesky(A), y, torch.cat([H, 0.0 * H], 1))


@pytest.mark.parametrize("functions", [0, 2])
@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("noise", [1.0, 1e-3, 1e-6])
def test_gradient_in_the_lags_is_the_dense_one_summed_along_diagonals(outputs, functions, noise):
    n = 150
    _, y, H = problem(outputs, functions)
    y, H = y.repeat(n // N + 1, 1)[:n], H.repeat(n // N + 1, 1)[:n] * torch.linspace(1, 2, n)[:, None]
    place = torch.arange(n, dtype=torch.float64)
    lags = torch.exp(-0.5 * (place / 6.0) ** 2) + 0.5 * torch.cos(place / 2.0)
    lags[0] += noise
    A = spread(lags)
    dense_way = evidence(A.clone(), y, H, gradient=True)
    found = evidence(A.clone(), y, H, gradient=True, is_toeplitz=True)
    upper = dense_way.gradient.triu()
    expected = torch.stack([torch.diagonal(upper, k).sum() for k in range(n)])
    assert found.value == dense_way.value
    torch.testing.assert_close(found.gradient, expected, rtol=0.0, atol=1e-8 * float(expected.abs().max()))


def test_sums_along_the_diagonals_of_an_inverse_by_hand():
    first = np.linalg.inv(scipy.linalg.toeplitz([3.0, 1.0, -0.5, 0.25]))
    expected = [np.trace(first, k) for k in range(4)]
    np.testing.assert_allclose(inverse_diagonal_sums(first[:, 0]), expected, rtol=1e-13)
