"""The log-determinant by quadrature against numpy's, and the honesty of its standard error."""

import numpy as np
import pytest
import torch

from nonparam.errors import ConvergenceError, InputError, NotPositiveDefiniteError
from nonparam.solvers.operator import Dense, Shifted
from nonparam.solvers.quadrature import log_determinant

N = 300
SEEDS = range(100, 200)


class DenseRoot:
    """A preconditioner from a dense matrix, by its Cholesky factor."""

    def __init__(self, matrix):
        self.root = torch.linalg.cholesky(matrix)

    def solve(self, v):
        return torch.cholesky_solve(v, self.root)

    def half_solve(self, v):
        return torch.linalg.solve_triangular(self.root, v, upper=False)

    def half_solve_transposed(self, v):
        return torch.linalg.solve_triangular(self.root.mT, v, upper=True)

    def multiply(self, z):
        return self.root @ z

    def log_determinant(self):
        return 2.0 * float(self.root.diagonal().log().sum())

    def sample(self, generator, k):
        return self.root @ torch.randn(len(self.root), k, generator=generator, dtype=self.root.dtype)


def inputs(n=N, d=2):
    return torch.tensor(np.random.default_rng(5).standard_normal((n, d)))


def matern(x, noise, lengthscale=1.0):
    distance = 3.0**0.5 * torch.cdist(x, x) / lengthscale
    return (1.0 + distance) * torch.exp(-distance) + noise * torch.eye(len(x))


def gaussian(x, noise, lengthscale=1.0):
    return torch.exp(-0.5 * (torch.cdist(x, x) / lengthscale).square()) + noise * torch.eye(len(x))


def leading(a, noise, rank):
    """Return the preconditioner of the leading eigenvectors of ``a``, which stays below ``a``."""
    values, vectors = torch.linalg.eigh(a)
    factor = vectors[:, -rank:] * (values[-rank:] - noise).clamp(min=0.0).sqrt()
    return DenseRoot(factor @ factor.mT + noise * torch.eye(len(a)))


def exact(a):
    sign, value = np.linalg.slogdet(a.double().numpy())
    assert sign == 1.0
    return value


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def assert_honest(a, **options):
    """Assert that 95 of 100 are within 3 standard errors, and that those are not larger than they need be."""
    truth = exact(a)
    found = [log_determinant(Dense(a), generator=seeded(seed), **options) for seed in SEEDS]
    scores = np.array([(each.value - truth) / each.standard_error for each in found])
    assert np.mean(np.abs(scores) <= 3.0) >= 0.95
    assert 0.5 < np.sqrt(np.mean(scores.clip(-4.0, 4.0) ** 2)) < 1.5


@pytest.mark.parametrize("kernel", [matern, gaussian])
@pytest.mark.parametrize("noise", [1e-2])
def test_kernels_without_a_preconditioner(kernel, noise):
    assert_honest(kernel(inputs(), noise, 3.0), num_probes=2, smallest=noise)


@pytest.mark.parametrize("kernel", [matern, gaussian])
@pytest.mark.parametrize("noise", [1e-2, 1e-6])
def test_kernels_with_a_preconditioner(kernel, noise):
    a = kernel(inputs(), noise, 3.0)
    rank = 140 if kernel is matern else 20
    assert_honest(a, num_probes=2, preconditioner=leading(a, noise, rank), smallest=1.0)


@pytest.mark.parametrize(("lengthscale", "noise", "k"), [(0.02, 1e-6, 2), (1e3, 1e-3, 8)])
def test_kernels_that_are_almost_diagonal_or_constant(lengthscale, noise, k):
    a = matern(inputs(), noise, lengthscale)
    assert_honest(a, num_probes=k)
    assert_honest(a, num_probes=k, preconditioner=DenseRoot(torch.diag(torch.linspace(1.0, 1.5, N).to(a))))


@pytest.mark.parametrize(
    "spectrum", [np.linspace(1.0, 2.0, N), np.geomspace(1e-1, 1.0, N), np.r_[np.ones(N - 1), 1e6]]
)
def test_spectra(spectrum):
    assert_honest(torch.diag(torch.tensor(spectrum)), num_probes=4)


def test_float32():
    a = gaussian(inputs(), 1e-2, 3.0)
    assert_honest(a.float(), num_probes=4)
    root = leading(a, 1e-2, 10).root
    assert_honest(a.float(), num_probes=2, preconditioner=DenseRoot((root @ root.mT).float()))


@pytest.mark.parametrize("n", [1, 2, 3])
def test_small_matrices(n):
    a = matern(inputs(n), 0.3)
    found = [log_determinant(Dense(a), generator=seeded(seed), num_probes=2) for seed in range(100)]
    values = np.array([each.value for each in found])
    variance = np.mean([each.sampling_error**2 for each in found])
    assert np.mean(values) == pytest.approx(exact(a), abs=4.0 * np.sqrt(variance / 100) + 1e-12)
    assert variance == pytest.approx(np.var(values), rel=0.6, abs=1e-20)
    assert max(each.quadrature_error for each in found) < 1e-12


@pytest.mark.parametrize("steps", [8, 16, 24, 40])
@pytest.mark.parametrize("smallest", [0.0, 1e-4])
def test_quadratures_are_upper_bounds_within_their_error(steps, smallest):
    a, probes = matern(inputs(), 1e-4), torch.tensor(np.random.default_rng(1).standard_normal((N, 5)))
    values, vectors = np.linalg.eigh(a.numpy())
    weights = np.square(vectors.T @ probes.numpy())
    integrals = N * np.log(values) @ (weights / weights.sum(0)).mean(1)
    found = log_determinant(Dense(a), probes=probes, max_steps=steps, tolerance=0.0, smallest=smallest)
    assert 0.0 <= found.value - integrals <= found.quadrature_error
    assert found.steps == steps and found.standard_error > found.quadrature_error


def test_a_lower_bound_of_the_spectrum_saves_steps():
    a, g = gaussian(inputs(), 1e-3), dict(num_probes=3, tolerance=1e-3)
    free = log_determinant(Dense(a), generator=seeded(1), **g)
    told = log_determinant(Dense(a), generator=seeded(1), smallest=1e-3, **g)
    assert told.steps <= free.steps
    assert told.value == pytest.approx(free.value, abs=2.0 * free.standard_error)
    assert log_determinant(Dense(a), generator=seeded(1), smallest=99.0, **g).quadrature_error >= 0.0


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("scale", [1.0, 1e-6, 40.0])
def test_multiples_of_the_identity_are_exact(dtype, scale):
    a = scale * torch.eye(50, dtype=dtype)
    found = log_determinant(Dense(a), generator=seeded(0), num_probes=1)
    assert found.value == pytest.approx(
        50 * np.log(float(a[0, 0])), abs=1e-4 if dtype == torch.float32 else 1e-10
    )
    assert found.standard_error < 1e-4 and found.steps <= 8 and found.probes == 1


def test_a_perfect_preconditioner_is_exact():
    a = matern(inputs(), 1e-6)
    found = log_determinant(Dense(a), generator=seeded(0), num_probes=2, preconditioner=DenseRoot(a))
    assert found.value == pytest.approx(exact(a), abs=1e-4)
    assert abs(found.value - exact(a)) <= 3.0 * found.standard_error + 1e-6 and found.steps <= 8


def test_a_preconditioner_lowers_error_and_steps():
    a = gaussian(inputs(), 1e-2)
    plain = log_determinant(Dense(a), generator=seeded(1), num_probes=4)
    helped = log_determinant(Dense(a), generator=seeded(1), num_probes=4, preconditioner=leading(a, 1e-2, 60))
    assert helped.standard_error < 0.05 * plain.standard_error and helped.steps < plain.steps


def test_probes_are_those_of_the_preconditioner():
    a = gaussian(inputs(), 1e-2)
    preconditioner = leading(a, 1e-2, 20)
    options = dict(preconditioner=preconditioner)
    given = log_determinant(Dense(a), probes=preconditioner.sample(seeded(8), 4), **options)
    drawn = log_determinant(Dense(a), generator=seeded(8), num_probes=4, **options)
    scaled = log_determinant(Dense(a), probes=1e6 * preconditioner.sample(seeded(8), 4), **options)
    assert given.value == pytest.approx(drawn.value, rel=1e-9) == pytest.approx(scaled.value, rel=1e-9)
    assert given.standard_error == pytest.approx(drawn.standard_error, rel=1e-6)


def test_duplicated_rows():
    x = inputs(100)
    a = gaussian(torch.cat([x, x, x]), 1e-6)
    assert_honest(a, num_probes=2, preconditioner=leading(a, 1e-6, 60))


def test_singular_and_indefinite_matrices_are_refused():
    root = inputs(60, 20)
    with pytest.raises(NotPositiveDefiniteError, match="positive definite to the working precision"):
        log_determinant(Dense(root @ root.mT), generator=seeded(0))
    with pytest.raises(NotPositiveDefiniteError, match="eigenvalues of -1 and 2"):
        log_determinant(Dense(torch.diag(torch.tensor([-1.0, 2.0, 1.0]))), generator=seeded(0))


def test_bad_arguments_are_refused():
    a = Dense(torch.eye(3))
    with pytest.raises(InputError, match="probes or a generator, and not both"):
        log_determinant(a)
    with pytest.raises(InputError, match="probes or a generator, and not both"):
        log_determinant(a, probes=torch.ones(3, 1), generator=seeded(0))
    with pytest.raises(InputError, match="a start is a column of zeros"):
        log_determinant(a, probes=torch.zeros(3, 1))


def test_entries_that_are_not_finite_are_refused():
    a = Shifted(Dense(torch.eye(3)), torch.tensor([0.0, float("nan"), 0.0]))
    with pytest.raises(ConvergenceError, match="a product with the matrix is not finite"):
        log_determinant(a, generator=seeded(0))
