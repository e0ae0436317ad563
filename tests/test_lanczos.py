"""Lanczos relations, ends of spectra and functions of matrices against numpy's eigenvalues."""

import numpy as np
import pytest
import torch

from nonparam.errors import ConvergenceError, InputError
from nonparam.solvers.lanczos import apply_function, extreme_eigenvalues, lanczos, longer
from nonparam.solvers.operator import Dense, Shifted

FUNCTIONS = {"sqrt": torch.sqrt, "rsqrt": torch.rsqrt, "log": torch.log, "exp": lambda x: torch.exp(-x)}


class Counted:
    """A matrix that only multiplies, and counts the columns."""

    def __init__(self, matrix):
        self.matrix, self.columns = matrix, 0

    def __matmul__(self, v):
        self.columns += v.shape[1]
        return self.matrix @ v


def normal(n, k, seed=0):
    return torch.tensor(np.random.default_rng(seed).standard_normal((n, k)))


def kernel(n=150, noise=1e-2, lengthscale=1.0, rows=None):
    x = normal(n, 2, seed=5) if rows is None else rows
    distance = 3.0**0.5 * torch.cdist(x, x) / lengthscale
    return (1.0 + distance) * torch.exp(-distance) + noise * torch.eye(len(x))


def with_spectrum(eigenvalues, seed=3):
    q = torch.linalg.qr(normal(len(eigenvalues), len(eigenvalues), seed))[0]
    a = (q * torch.tensor(eigenvalues, dtype=torch.float64)) @ q.mT
    return (a + a.mT) / 2.0


def function_of(f, a, b):
    values, vectors = np.linalg.eigh(a.double().numpy())
    f_of = f(torch.tensor(values.clip(min=0.0))).numpy()
    return torch.tensor(vectors * f_of @ (vectors.T @ b.double().numpy()))


def worst(found, expected):
    size = torch.linalg.vector_norm(expected, dim=0)
    return float((torch.linalg.vector_norm(found.double() - expected, dim=0) / size).max())


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
@pytest.mark.parametrize("steps", [1, 2, 40])
def test_the_relation_holds(dtype, tolerance, steps):
    a = kernel().to(dtype)
    found = lanczos(Dense(a), normal(150, 3).to(dtype), steps)
    basis, off = found.basis.double(), found.beta.double()
    bordered = torch.cat([found.matrices(), torch.zeros(3, 1, steps)], dim=1).to(torch.float64)
    bordered[:, -1, -1] = off[:, -1]
    assert found.steps == steps and found.alpha.dtype == dtype
    scale = float(torch.linalg.matrix_norm(a, 2))
    assert float((a.double() @ basis[:, :-1].mT - basis.mT @ bordered).abs().max()) < tolerance * scale
    gram = basis @ basis.mT - torch.eye(steps + 1)
    assert float(gram.abs().max()) < tolerance
    assert float(found.defect.max()) < tolerance * scale


def test_all_steps_give_the_spectrum():
    a = kernel(60, noise=1e-8)
    values, _ = lanczos(Dense(a), normal(60, 2), 1000).ritz()
    expected = np.linalg.eigvalsh(a.numpy())
    np.testing.assert_allclose(values[0], expected, rtol=0, atol=1e-11)
    np.testing.assert_allclose(values[1], expected, rtol=0, atol=1e-11)


def test_starts_do_not_see_one_another_and_steps_can_be_added():
    a, start = Dense(kernel()), normal(150, 3) * torch.tensor([1e-200, 1.0, 1e150], dtype=torch.float64)
    whole = lanczos(a, start, 10)
    alone = lanczos(a, start[:, 1:2], 10)
    np.testing.assert_allclose(whole.alpha[1:2], alone.alpha, rtol=1e-9)
    added = longer(a, lanczos(a, start, 2), 10)
    np.testing.assert_allclose(added.alpha, whole.alpha, rtol=1e-9)
    np.testing.assert_allclose(added.beta, whole.beta, rtol=1e-9)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_breakdowns(dtype):
    a = torch.diag(torch.tensor([1.0] * 5 + [2.0] * 5 + [7.0] * 5, dtype=dtype))
    vectors = torch.eye(15, dtype=dtype)
    start = torch.stack([vectors[:, 0], vectors[:, 2] + vectors[:, 7], vectors.sum(1)], dim=1)
    found = lanczos(Dense(a), start, 8)
    assert found.invariant.all() and not found.beta[0].any() and not found.basis[0, 1:].any()
    assert [int((row > 0).sum()) for row in found.beta] == [0, 1, 2]
    tolerance = 1e-12 if dtype == torch.float64 else 1e-4
    values = found.ritz()[0]
    assert float((values[0] - 1.0).abs().max()) < tolerance
    assert float(values.min()) > 1.0 - tolerance and float(values.max()) < 7.0 + tolerance


@pytest.mark.parametrize(
    "a", [torch.eye(20), torch.zeros(20, 20), with_spectrum([0.0] * 15 + [1, 2, 3, 4, 5]), torch.ones(1, 1)]
)
def test_extremes_of_small_spaces_are_exact(a):
    a = a.double()
    found = extreme_eigenvalues(Dense(a), normal(len(a), 2)).certified()
    expected = np.linalg.eigvalsh(a.numpy())
    assert found.smallest == pytest.approx(expected[0], abs=1e-12)
    assert found.largest == pytest.approx(expected[-1], abs=1e-12)
    assert found.steps <= 8 and max(found.errors) < 1e-12


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("noise", [1e-2, 1e-8])
@pytest.mark.parametrize("lengthscale", [0.1, 1.0, 1e3])
def test_extremes_lie_within_their_bounds(dtype, noise, lengthscale):
    a = kernel(noise=noise, lengthscale=lengthscale).to(dtype)
    expected = np.linalg.eigvalsh(a.double().numpy())
    found = extreme_eigenvalues(Dense(a), normal(150, 1).to(dtype), tolerance=1e-4).certified()
    oracle = 1e-13 * expected[-1]
    assert abs(found.smallest - expected[0]) <= found.errors[0] + oracle
    assert abs(found.largest - expected[-1]) <= found.errors[1] + oracle


def test_extremes_of_an_indefinite_matrix():
    a = with_spectrum(np.linspace(-3.0, 1.0, 80))
    found = extreme_eigenvalues(Dense(a), normal(80, 2), tolerance=1e-6).certified()
    assert found.smallest == pytest.approx(-3.0, abs=1e-5) and found.largest == pytest.approx(1.0, abs=1e-5)


def test_extremes_that_were_not_found_are_refused():
    with pytest.raises(ConvergenceError, match="after 4 steps: expected a relative error of 1e-09"):
        extreme_eigenvalues(Dense(kernel()), normal(150, 1), tolerance=1e-9, max_steps=4).certified()


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("noise", [1e-1, 1e-3, 1e-6])
@pytest.mark.parametrize("lengthscale", [0.3, 1e3])
def test_functions(name, noise, lengthscale):
    a, b = kernel(noise=noise, lengthscale=lengthscale), normal(150, 3) * torch.tensor([1e-9, 1.0, 1e9])
    found = apply_function(Dense(a), FUNCTIONS[name], b, tolerance=1e-5).certified()
    error = worst(found.product, function_of(FUNCTIONS[name], a, b))
    assert error < 1e-5 and error < 10.0 * float(found.errors.max()) + 1e-9


def test_identities():
    a, b = Dense(kernel(noise=1e-1)), normal(150, 2)
    once = apply_function(a, torch.sqrt, b, tolerance=1e-10).product
    twice = apply_function(a, torch.sqrt, once, tolerance=1e-10).product
    torch.testing.assert_close(twice, a @ b, rtol=1e-7, atol=1e-7)
    back = apply_function(a, torch.rsqrt, once, tolerance=1e-10).product
    torch.testing.assert_close(back, b, rtol=1e-7, atol=1e-7)


def test_columns_stop_one_by_one():
    a = Counted(kernel(noise=1e-4))
    values, vectors = torch.linalg.eigh(a.matrix)
    b = torch.cat([vectors[:, -3:], normal(150, 1)], dim=1)
    found = apply_function(a, torch.log, b, tolerance=1e-8).certified()
    assert found.steps > 60 and a.columns == 4 * 8 + found.steps - 8
    torch.testing.assert_close(found.product[:, :3], vectors[:, -3:] * values[-3:].log(), rtol=0, atol=1e-11)


def test_zeros_and_ones():
    b = torch.zeros(30, 3, dtype=torch.float64)
    found = apply_function(Dense(torch.eye(30).double()), torch.log, b).certified()
    assert not found.product.any() and not found.errors.any() and found.steps == 0
    b[:, 1] = 1e-300
    found = apply_function(Dense(4.0 * torch.eye(30).double()), torch.sqrt, b).certified()
    torch.testing.assert_close(found.product, 2.0 * b, rtol=1e-14, atol=0)
    nothing = apply_function(Dense(torch.eye(30).double()), torch.log, b)
    assert float(nothing.product.abs().max()) < 1e-314 and nothing.steps <= 8


def test_roots_of_singular_matrices():
    a, b = with_spectrum([0.0] * 60 + list(range(1, 21))), normal(80, 2)
    found = apply_function(Dense(a), torch.sqrt, b, tolerance=1e-6).certified()
    assert worst(found.product, function_of(torch.sqrt, a, b)) < 1e-6


def test_duplicated_rows():
    rows = normal(40, 2)
    a, b = kernel(noise=1e-6, rows=torch.cat([rows, rows, rows])), normal(120, 2)
    found = apply_function(Dense(a), torch.rsqrt, b, tolerance=1e-5).certified()
    assert worst(found.product, function_of(torch.rsqrt, a, b)) < 1e-5


def test_float32_says_what_rounding_does():
    a, b = kernel(noise=1e-3).float(), normal(150, 2).float()
    found = apply_function(Dense(a), torch.rsqrt, b, tolerance=1e-2)
    error = worst(found.product, function_of(torch.rsqrt, a, b))
    assert found.product.dtype == torch.float32 and error <= float(found.errors.max())
    with pytest.raises(ConvergenceError, match="missed the tolerance 1e-08"):
        apply_function(Dense(a), torch.rsqrt, b, tolerance=1e-8).certified()


def test_too_few_steps_are_refused():
    with pytest.raises(ConvergenceError, match=r"2 of 2 columns .* after 12 steps"):
        apply_function(Dense(kernel(noise=1e-6)), torch.log, normal(150, 2), max_steps=12).certified()


def test_functions_that_are_not_finite_are_refused():
    with pytest.raises(ConvergenceError, match="not finite at an eigenvalue between"):
        apply_function(Dense(with_spectrum([-2.0, -1.0, 1.0, 2.0])), torch.log, normal(4, 1))


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_entries_that_are_not_finite_are_refused(bad):
    a, b = kernel(40), normal(40, 2)
    shifted = Shifted(Dense(a), torch.full((40,), bad))
    with pytest.raises(ConvergenceError, match="a product with the matrix is not finite"):
        apply_function(shifted, torch.sqrt, b)
    b[3, 1] = bad
    with pytest.raises(ConvergenceError, match="a product with the matrix is not finite"):
        lanczos(Dense(a), b, 5)


def test_a_start_of_zeros_is_refused():
    with pytest.raises(InputError, match="a start is a column of zeros"):
        lanczos(Dense(torch.eye(4)), torch.tensor([[1.0, 0.0]] * 4), 2)
