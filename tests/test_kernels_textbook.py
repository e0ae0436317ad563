"""Every kernel of the table of cases against its textbook form, and what a covariance has to be."""

import math

import oracles
import pytest
import torch
from cases import CASES, Case
from kernel_checks import assert_equal, crossed, rows, rows_with_twins

from nonparam.kernels import RBF, Cosine, Kernel, Matern, Periodic, RationalQuadratic, covariance, variance
from nonparam.kernels.stationary import _log_mean


@crossed(CASES)
def test_matrix_equals_the_textbook(case: Case):
    x = rows_with_twins(case.columns)
    assert_equal(covariance(case.make(), x), oracles.gram(case.oracle, x.numpy()))


@crossed(CASES)
def test_cross_matrix_equals_the_textbook(case: Case):
    x, z = rows_with_twins(case.columns), rows(4, case.columns, seed=3)
    z = torch.cat([z, x[:2]])
    assert_equal(covariance(case.make(), x, z), oracles.gram(case.oracle, x.numpy(), z.numpy()))


@crossed(CASES)
def test_single_row(case: Case):
    x = rows(1, case.columns)
    assert_equal(covariance(case.make(), x), oracles.gram(case.oracle, x.numpy()))
    assert_equal(variance(case.make(), x), oracles.gram(case.oracle, x.numpy())[0])


@crossed([case for case in CASES if case.stationary])
def test_inputs_far_from_zero_lose_no_digits(case: Case):
    x = 1e6 + rows_with_twins(case.columns)
    matrix = covariance(case.make(), x)
    assert_equal(matrix, oracles.gram(case.oracle, x.numpy()))
    assert_equal(covariance(case.make(), x, x[3:6]), matrix[:, 3:6])


@crossed(CASES)
def test_matrix_is_symmetric_and_positive(case: Case):
    matrix = covariance(case.make(), rows_with_twins(case.columns)).detach()
    assert_equal(matrix, matrix.mT, 1e-15)
    spectrum = torch.linalg.eigvalsh(matrix)
    assert spectrum[0] >= -1e-10 * spectrum[-1]


@crossed(CASES)
def test_same_rows_given_twice_differ_by_white_noise_only(case: Case):
    kernel, x = case.make(), rows_with_twins(case.columns)
    other = covariance(kernel, x, x.clone())
    assert_equal(other, oracles.gram(case.oracle, x.numpy(), x.numpy()))
    apart = ~torch.eye(len(x), dtype=torch.bool)
    assert_equal(covariance(kernel, x)[apart], other[apart])
    if "white" not in repr(kernel):
        assert_equal(covariance(kernel, x), other)


@crossed(CASES)
def test_variance_is_the_diagonal(case: Case):
    kernel, x = case.make(), rows_with_twins(case.columns)
    assert_equal(variance(kernel, x), covariance(kernel, x).diagonal())


@crossed(CASES)
def test_kernel_knows_whether_it_is_stationary(case: Case):
    assert case.make().is_stationary == case.stationary


@pytest.mark.parametrize("offset", [0.0, 1e6])
@pytest.mark.parametrize("columns", [1, 3, 4, 16])
@pytest.mark.parametrize(
    "kernel",
    [
        RBF(0.01),
        Matern(0.01, nu=0.5),
        Matern(0.01, nu=1.5),
        Matern(0.01),
        RationalQuadratic(0.01, 0.5),
        Periodic(1.0, 0.01),
        Periodic(1.0, 0.01, zero_mean=True),
    ],
    ids=str,
)
def test_coincident_rows_have_exactly_unit_covariance(kernel: Kernel, columns: int, offset: float):
    x = rows(7, columns) + offset
    x = torch.cat([x, x])
    first, second = range(7), range(7, 14)
    assert (covariance(kernel, x)[first, second] == 1.0).all()
    assert (covariance(kernel, x).diagonal() == 1.0).all()
    assert (covariance(kernel, x[:7], x)[first, second] == 1.0).all()


@pytest.mark.parametrize("place", [0, 10, 20])
def test_one_far_row_spoils_no_other(place: int):
    x = rows(21, 6)
    x[place] = 1e5
    matrix = covariance(RBF(1.0), x)
    assert_equal(matrix, oracles.gram(oracles.rbf(1.0), x.numpy()), 1e-9)
    assert torch.linalg.eigvalsh(matrix.detach())[0] > -1e-9


@pytest.mark.parametrize("lengthscale", [1e-3, 0.05, 1.0, 9.99, 10.01, 1e3, 1e6, 1e9])
def test_zero_mean_season_stays_a_covariance_at_every_lengthscale(lengthscale: float):
    x = rows(15, 1)
    matrix = covariance(Periodic(1.2, lengthscale, zero_mean=True), x).detach()
    assert (matrix.diagonal() == 1.0).all()
    assert torch.linalg.eigvalsh(matrix)[0] > -1e-13
    if lengthscale >= 1e6:  # in the limit it is a single harmonic
        assert_equal(matrix, covariance(Cosine(1.2), x), 1e-11)


@pytest.mark.parametrize("q", [1e-18, 1e-6, 0.0099999, 0.0100001, 0.5])
def test_mean_of_a_season_keeps_its_digits(q: float):
    series = sum((0.25 * q * q) ** k / math.factorial(k) ** 2 for k in range(1, 12))  # I_0(q) - 1
    actual = _log_mean(torch.tensor(q, dtype=torch.float64))
    torch.testing.assert_close(actual.item(), math.log1p(series) - q, rtol=1e-13, atol=0.0)


def test_zero_mean_season_averages_to_zero():
    x = torch.arange(64, dtype=torch.float64)[:, None] / 64.0 * 1.2
    plain, centred = Periodic(1.2, 0.7), Periodic(1.2, 0.7, zero_mean=True)
    assert covariance(plain, x).mean() > 0.1
    assert abs(float(covariance(centred, x).detach().mean())) < 1e-14
