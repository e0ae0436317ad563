"""The Cholesky factor against numpy, its updates, and the jitter that it reports."""

import numpy as np
import pytest
import torch

from nonparam.errors import InputError, InsufficientMemoryError, NotPositiveDefiniteError
from nonparam.solvers.cholesky import JITTERS, cholesky
from nonparam.solvers.plan import check_covariance, choose


def positive(n, seed=0):
    root = np.random.default_rng(seed).standard_normal((n, n))
    return torch.tensor(root @ root.T + np.eye(n))


def vectors(n, k, seed=1):
    return torch.tensor(np.random.default_rng(seed).standard_normal((n, k)))


@pytest.fixture(params=[1, 2, 9, 70])
def a(request):
    return positive(request.param)


def test_factor_is_that_of_numpy(a):
    expected = np.linalg.cholesky(a.numpy()).T
    factor = cholesky(a.clone())
    np.testing.assert_allclose(factor.upper.triu(), expected, rtol=1e-10, atol=1e-12)
    assert factor.jitter == 0.0 and factor.n == len(a)
    assert factor.log_determinant() == pytest.approx(np.linalg.slogdet(a)[1], rel=1e-12)


def test_it_works_in_the_memory_of_the_matrix(a):
    assert cholesky(a).upper.data_ptr() == a.data_ptr()


@pytest.mark.parametrize("columns", [1, 3])
def test_solves(a, columns):
    b = vectors(len(a), columns)
    factor = cholesky(a.clone())
    np.testing.assert_allclose(factor.solve(b), np.linalg.solve(a, b), rtol=1e-9, atol=1e-11)
    half = factor.half_solve(b)
    np.testing.assert_allclose(half.mT @ half, b.mT @ np.linalg.solve(a, b), rtol=1e-9, atol=1e-11)


def test_solves_leave_the_right_hand_side_alone(a):
    b = vectors(len(a), 2)
    kept = b.clone()
    factor = cholesky(a.clone())
    factor.solve(b), factor.half_solve(b), factor.solve(b.mT.contiguous().mT)
    torch.testing.assert_close(b, kept, rtol=0, atol=0)


def test_a_right_hand_side_in_any_memory_order(a):
    b = vectors(len(a), 3)
    factor = cholesky(a.clone())
    column_major = b.mT.contiguous().mT
    torch.testing.assert_close(factor.solve(column_major), factor.solve(b), rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(factor.half_solve(column_major), factor.half_solve(b), rtol=1e-12, atol=1e-14)


def test_multiply_is_a_root(a):
    factor = cholesky(a.clone())
    root = factor.multiply(torch.eye(len(a), dtype=torch.float64))
    torch.testing.assert_close(root @ root.mT, a, rtol=1e-10, atol=1e-12)


def test_inverse(a):
    inverse = cholesky(a.clone()).inverse_in_place()
    np.testing.assert_allclose(inverse.triu(), np.triu(np.linalg.inv(a)), rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("new", [1, 4, 8])
def test_extended_factor_is_that_of_the_whole(new):
    a = positive(9)
    old = len(a) - new
    factor = cholesky(a[:old, :old].clone())
    extended = factor.extended(a[:old, old:], a[old:, old:])
    whole = cholesky(a.clone())
    torch.testing.assert_close(extended.upper.triu(), whole.upper.triu(), rtol=1e-10, atol=1e-12)
    assert extended.log_determinant() == pytest.approx(whole.log_determinant(), rel=1e-12)


def test_extending_with_a_row_that_is_there_already_is_repaired():
    ones = torch.ones(4, 4, dtype=torch.float64)
    whole = cholesky(ones.clone())
    for old in (1, 2, 3):
        extended = cholesky(ones[:old, :old].clone()).extended(ones[:old, old:], ones[old:, old:])
        assert 0.0 < extended.jitter <= 3.0 * whole.jitter
        root = extended.upper.triu()
        torch.testing.assert_close(root.mT @ root, ones, atol=10.0 * whole.jitter, rtol=0)


@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e12])
def test_jitter_is_the_smallest_that_serves_and_relative(scale):
    n = 12
    hilbert = scale * torch.tensor([[1.0 / (i + j + 1) for i in range(n)] for j in range(n)]).double()
    factor = cholesky(hilbert.clone())
    mean = float(torch.diagonal(hilbert).mean())
    assert any(factor.jitter == pytest.approx(j * mean) for j in JITTERS[1:])
    root = factor.upper.triu()
    whole = hilbert + factor.jitter * torch.eye(n, dtype=torch.float64)
    torch.testing.assert_close(root.mT @ root, whole, rtol=1e-12, atol=1e-15 * scale)
    smaller = JITTERS[[round(j * mean, 30) for j in JITTERS].index(round(factor.jitter, 30)) - 1]
    if smaller:
        with pytest.raises(np.linalg.LinAlgError, match="not positive definite"):
            np.linalg.cholesky(hilbert.numpy() + smaller * mean * np.eye(n))


def test_repair_starts_again_from_the_matrix():
    """A failed attempt has overwritten part of the matrix; the next must not see that."""
    a = positive(6)
    a[5] = a[4]
    a[:, 5] = a[:, 4]
    a[5, 5] = a[4, 4]  # exactly singular, found in the last column
    factor = cholesky(a.clone())
    root = factor.upper.triu()
    np.testing.assert_allclose(root.mT @ root, a.numpy() + factor.jitter * np.eye(6), rtol=1e-9, atol=1e-12)


def test_indefinite_matrix_is_refused_with_advice():
    with pytest.raises(NotPositiveDefiniteError, match=r"2 rows.*not positive definite.*shorter lengthscale"):
        cholesky(torch.tensor([[1.0, 2.0], [2.0, 1.0]], dtype=torch.float64))


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
@pytest.mark.parametrize("entry", [(0, 0), (2, 1)])
def test_entries_that_are_not_finite_are_named_as_such(bad, entry):
    a = positive(3)
    a[entry] = a[entry[::-1]] = bad
    with pytest.raises(NotPositiveDefiniteError, match=r"entries that are not finite.*try lengthscales"):
        cholesky(a)


# the plan ------------------------------------------------------------------------------------


def test_plan_states_solver_rows_and_memory():
    plan = choose("auto", 1000, 5, available=10**9)
    assert str(plan) == "n=1,000: float64 Cholesky, 40.0 MB"
    assert plan.memory == 8 * 5 * 1000**2


def test_plan_refuses_what_does_not_fit_and_names_the_limit():
    with pytest.raises(
        InsufficientMemoryError, match=r"1,001 rows needs about 40.1 MB.*at most about 1,000 "
    ):
        choose("cholesky", 1001, 5, available=8 * 5 * 1000**2)
    assert choose("cholesky", 1000, 5, available=8 * 5 * 1000**2).n == 1000


def test_plan_names_the_solvers_that_there_are():
    with pytest.raises(InputError, match=r"solver must be one of \('auto', 'cholesky'.*got 'magic'"):
        choose("magic", 10, 5)


def test_joint_covariance_that_does_not_fit_is_refused():
    with pytest.raises(InsufficientMemoryError, match=r"joint covariance of 1,000 rows.*ask for fewer rows"):
        check_covariance(1000, 10, available=10**6)
    check_covariance(1000, 10, available=10**9)
