"""Sums of Matérn kernels in O(n) against the dense Gaussian; in many digits where it is ill-conditioned."""

import math
from types import SimpleNamespace

import mpmath
import numpy as np
import pytest
import torch

from nonparam.errors import ConvergenceError, InputError
from nonparam.solvers import matern_process
from nonparam.solvers.associative_scan import before, combine, empty, start
from nonparam.solvers.operator import SymmetricOperator
from nonparam.solvers.state_space import MaternSum, MaternTerm, log_marginal_likelihood, smooth

TERMS = {
    "matern12": [MaternTerm(0.5, 2.0, 1.3)],
    "matern32": [MaternTerm(1.5, 0.7, 0.8)],
    "matern52": [MaternTerm(2.5, 1.5, 2.0)],
    "alike": [MaternTerm(1.5, 1.0, 1.0), MaternTerm(1.5, 2.0, 9.0)],
    "sum": [MaternTerm(0.5, 1.0, 0.3), MaternTerm(1.5, 2.0, 1.0), MaternTerm(2.5, 3.0, 5.0)],
}


@pytest.fixture(params=TERMS)
def terms(request):
    return TERMS[request.param]


def rows(n, seed=0, width=20.0):
    """Unsorted places, targets, and a variance for each."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(0.0, width, n)
    return x, np.sin(x) + 0.3 * rng.standard_normal(n), rng.uniform(0.05, 0.2, n)


def repeated(n, seed=0):
    """Places that come three times, the last time a little aside."""
    x, y, noise = rows(n, seed)
    return np.concatenate([x, x, x + 1e-9]), np.concatenate([y, y + 0.1, y - 0.2]), np.tile(noise, 3)


def spread(n, seed=0):
    """Gaps from 1e-9 to 1e3 lengthscales."""
    rng = np.random.default_rng(seed)
    return np.cumsum(10.0 ** rng.uniform(-9.0, 3.0, n)), rng.standard_normal(n), np.full(n, 0.1)


def dense(terms, x, z, log_scales=None):
    """The textbook formulas; the scales may be ``(2, t)`` logarithms with a graph."""
    distance = (torch.as_tensor(x)[:, None] - torch.as_tensor(z)).abs()
    total = torch.zeros_like(distance)
    for j, term in enumerate(terms):
        outputscale = term.outputscale if log_scales is None else log_scales[0, j].exp()
        lengthscale = term.lengthscale if log_scales is None else log_scales[1, j].exp()
        r = math.sqrt(2.0 * term.nu) * distance / lengthscale
        polynomial = {0.5: 1.0, 1.5: 1.0 + r, 2.5: 1.0 + r + r**2 / 3.0}[term.nu]
        total = total + outputscale * polynomial * torch.exp(-r)
    return total


def dense_evidence(terms, x, y, noise):
    """The value, and its derivatives in log scales ``(2, t)`` and log noise ``(n,)``."""
    scales = [[term.outputscale for term in terms], [term.lengthscale for term in terms]]
    scales = torch.tensor(scales, dtype=torch.float64).log().requires_grad_()
    log_noise = torch.tensor(np.log(noise)).requires_grad_()
    matrix = dense(terms, x, x, scales) + torch.diag(log_noise.exp())
    zero = torch.zeros(len(x), dtype=torch.float64)
    value = torch.distributions.MultivariateNormal(zero, matrix).log_prob(torch.tensor(y))
    return value.item(), *[g.numpy() for g in torch.autograd.grad(value, [scales, log_noise])]


def exact_evidence(terms, x, y, noise):
    """The value in the digits of mpmath's context."""
    n, matrix = len(x), mpmath.diag([mpmath.mpf(r) for r in noise])
    for i in range(n):
        for j in range(n):
            for term in terms:
                r = mpmath.sqrt(2 * term.nu) * abs(mpmath.mpf(x[i]) - mpmath.mpf(x[j])) / term.lengthscale
                polynomial = {0.5: 1, 1.5: 1 + r, 2.5: 1 + r + r**2 / 3}[term.nu]
                matrix[i, j] += term.outputscale * polynomial * mpmath.exp(-r)
    lower = mpmath.cholesky(matrix)
    half = mpmath.lu_solve(lower, mpmath.matrix(y))
    logs = sum(2 * mpmath.log(lower[i, i]) + mpmath.log(2 * mpmath.pi) for i in range(n))
    return -(sum(h * h for h in half) + logs) / 2


def exact_slope(terms, x, y, noise, name, j):
    """The derivative in the logarithm of one scale."""
    values = []
    for step in (mpmath.mpf("1e-20"), mpmath.mpf("-1e-20")):
        moved = [SimpleNamespace(**vars(term)) for term in terms]
        setattr(moved[j], name, mpmath.mpf(getattr(moved[j], name)) * mpmath.exp(step))
        values.append(exact_evidence(moved, x, y, noise))
    return float((values[0] - values[1]) / mpmath.mpf("2e-20"))


def largest(found, expected):
    return np.abs(np.asarray(found) - np.asarray(expected)).max() / np.abs(np.asarray(expected)).max()


@pytest.mark.parametrize("case", [rows, repeated, spread])
@pytest.mark.parametrize("n", [1, 2, 3, 20, 133])
def test_evidence_and_gradient_are_those_of_the_dense_gaussian(terms, case, n):
    x, y, noise = case(n)
    value, scales, log_noise = dense_evidence(terms, x, y, noise)
    found = log_marginal_likelihood(terms, x, y, noise)
    assert found.value == pytest.approx(value, rel=1e-10)
    expected = np.concatenate([scales.ravel(), log_noise])
    ours = np.concatenate([found.gradient.outputscale, found.gradient.lengthscale, found.gradient.noise])
    assert largest(ours, expected) < 1e-9


@pytest.mark.parametrize("name", ["matern12", "matern32", "matern52", "sum"])
def test_small_noise_at_repeated_places_keeps_digits(name):
    terms, (x, y, _) = TERMS[name], repeated(4)
    noise = np.full(len(x), 1e-8)
    found = log_marginal_likelihood(terms, x, y, noise)
    with mpmath.workdps(60):
        assert found.value == pytest.approx(float(exact_evidence(terms, x, y, noise)), rel=1e-7)
        for j in range(len(terms)):
            for scale in ("outputscale", "lengthscale"):
                exact = exact_slope(terms, x, y, noise, scale, j)
                assert getattr(found.gradient, scale)[j] == pytest.approx(exact, rel=1e-5)


@pytest.mark.parametrize("lengthscale", [1e-3, 1e3])
def test_extreme_lengthscales(lengthscale):
    terms, (x, y, noise) = [MaternTerm(2.5, 1.0, lengthscale)], rows(60)
    value, scales, log_noise = dense_evidence(terms, x, y, noise)
    found = log_marginal_likelihood(terms, x, y, noise)
    assert found.value == pytest.approx(value, rel=1e-10)
    np.testing.assert_allclose(found.gradient.lengthscale, scales[1], rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(found.gradient.noise, log_noise, rtol=1e-9, atol=1e-11)


def test_one_variance_stands_for_all_rows(terms):
    x, y, _ = rows(20)
    alone = log_marginal_likelihood(terms, x, y, 0.1)
    each = log_marginal_likelihood(terms, x, y, np.full(20, 0.1))
    assert alone.value == each.value
    np.testing.assert_array_equal(alone.gradient.noise, each.gradient.noise)
    assert log_marginal_likelihood(terms, x, y, 0.1, gradient=False).gradient is None


def test_order_of_the_rows_does_not_matter(terms):
    x, y, noise = rows(50)
    order = np.argsort(x)
    found, sorted_ = (log_marginal_likelihood(terms, x[i], y[i], noise[i]) for i in (slice(None), order))
    assert found.value == pytest.approx(sorted_.value, rel=1e-13)
    np.testing.assert_allclose(found.gradient.noise[order], sorted_.gradient.noise, rtol=1e-12)


def test_number_of_chunks_does_not_matter(terms, monkeypatch):
    x, y, noise = rows(200)
    values = []
    for chunks in (-3.0, 0.0, 2.0, 4.0):
        monkeypatch.setattr(matern_process, "CHUNKS", chunks)
        found = log_marginal_likelihood(terms, x, y, noise)
        values.append([found.value, *found.gradient.outputscale, *found.gradient.lengthscale])
    np.testing.assert_allclose(values, values[:1] * 4, rtol=1e-10)


@pytest.mark.parametrize("case", [rows, repeated, spread])
def test_posterior_is_that_of_the_dense_gaussian(terms, case):
    x, y, noise = case(40)
    x_new = np.concatenate([x[:5], np.linspace(x.min() - 1.0, x.max() + 1.0, 30)])
    mean, variance = smooth(terms, x, y, noise, x_new)
    matrix = dense(terms, x, x) + torch.diag(torch.tensor(noise))
    cross = dense(terms, x_new, x)
    weights = torch.linalg.solve(matrix, cross.T)
    expected = dense(terms, x_new, x_new).diagonal() - (weights * cross.T).sum(0)
    np.testing.assert_allclose(mean, weights.T @ torch.tensor(y), rtol=1e-8, atol=1e-9)
    np.testing.assert_allclose(variance, expected, rtol=1e-8, atol=1e-9)


def test_posterior_of_several_series_at_once(terms):
    x, y, noise = rows(30)
    both, _ = smooth(terms, x, np.stack([y, 1e6 * y[::-1]], 1), noise, x)
    np.testing.assert_allclose(both[:, 0], smooth(terms, x, y, noise, x)[0], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(both[:, 1], 1e6 * smooth(terms, x, y[::-1], noise, x)[0], rtol=1e-9, atol=1e-6)


def test_variance_is_never_negative():
    x, y, _ = repeated(30)
    _, variance = smooth(TERMS["sum"], x, y, 1e-8, np.concatenate([x, x + 1e-7]))
    assert (variance >= 0.0).all() and (variance < 1e-5).all()


@pytest.mark.parametrize("case", [rows, repeated, spread])
def test_operator_is_the_dense_matrix(terms, case):
    x, _, noise = case(40)
    operator = MaternSum(terms, x, noise)
    matrix = dense(terms, x, x) + torch.diag(torch.tensor(noise))
    assert isinstance(operator, SymmetricOperator)
    n, index = len(x), torch.tensor([3, 0])
    assert (operator.shape, operator.dtype, operator.device.type) == (matrix.shape, torch.float64, "cpu")
    torch.testing.assert_close(operator @ torch.eye(n, dtype=torch.float64), matrix, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(operator.rows(index), matrix[index], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(operator.diagonal(), matrix.diagonal(), rtol=1e-12, atol=0.0)


@pytest.mark.parametrize("case", [rows, repeated, spread])
def test_solves_right_hand_sides_of_any_size(terms, case):
    x, y, noise = case(40)
    b = torch.tensor(np.stack([y, 1e8 * np.cos(x), 1e-8 * y[::-1], np.zeros_like(y)], 1))
    found = MaternSum(terms, x, noise).solve(b).certified()
    expected = torch.linalg.solve(dense(terms, x, x) + torch.diag(torch.tensor(noise)), b)
    for column in range(3):
        assert largest(found.solution[:, column], expected[:, column]) < 1e-8
    assert not found.solution[:, 3].any() and found.residuals[3] == 0.0 and found.residuals.max() < 1e-10


@pytest.mark.parametrize("name", ["matern12", "matern32", "matern52"])
def test_residuals_stay_small_with_little_noise(name):
    x, y, _ = repeated(100)
    found = MaternSum(TERMS[name], x, np.full(len(x), 1e-8)).solve(torch.tensor(y)[:, None], tolerance=1e-4)
    assert found.certified().residuals.max() < 1e-4


def test_a_missed_tolerance_is_told():
    x, y, _ = repeated(100)
    found = MaternSum(TERMS["sum"], x, np.full(len(x), 1e-8)).solve(torch.tensor(y)[:, None], tolerance=1e-16)
    with pytest.raises(ConvergenceError, match="1 of 1 right-hand sides missed the tolerance 1e-16"):
        found.certified()


@pytest.mark.parametrize("nu", [0.5, 1.5, 2.5])
@pytest.mark.parametrize("tau", [1e-9, 1e-3, 0.3, 0.999, 1.001, 3.0, 40.0, 1e3])
def test_diffusion_has_full_relative_precision(nu, tau):
    term = MaternTerm(nu, 2.0, 1.0)
    s = term.states
    out = np.empty((1, 1 + s, s, 1))
    term.write_step(term.scaled(np.array([[tau / term.rate]])), out)
    with mpmath.workdps(40):
        for i in range(s):
            for j in range(s):
                a, b = s - 1 - i, s - 1 - j
                integral = mpmath.gammainc(a + b + 1, 0, 2 * mpmath.mpf(tau)) / mpmath.mpf(2) ** (a + b + 1)
                exact = term.density * integral / (math.factorial(a) * math.factorial(b))
                assert out[0, 1 + i, j, 0] == pytest.approx(float(exact), rel=2e-14)


def test_stationary_variance_is_the_outputscale(terms):
    for term in terms:
        assert term.stationary[0, 0] == pytest.approx(term.outputscale, rel=1e-15)
        shift = np.eye(term.states, k=1) - np.eye(term.states)
        left = shift @ term.stationary + term.stationary @ shift.T
        left[-1, -1] += term.density
        np.testing.assert_allclose(left, 0.0, atol=1e-13)


def random_element(s, k, m, seed):
    rng = np.random.default_rng(seed)
    root = rng.standard_normal((2, m, s, s))
    c, j = np.moveaxis(root @ root.swapaxes(-1, -2), 1, -1)
    found = empty(s, k, m)
    found.moments[:, :s], found.information[:, k:] = c, j
    found.moments[:, s:] = rng.standard_normal((s, k + s, m))
    found.information[:, :k] = rng.standard_normal((s, k, m))
    return found


def test_combination_is_associative():
    a, b, c = (random_element(3, 2, 5, seed) for seed in range(3))
    for left, right in zip(combine(combine(a, b), c), combine(a, combine(b, c)), strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-9, atol=1e-9)


def test_nothing_changes_an_element():
    a, nothing = random_element(2, 1, 4, 0), empty(2, 1, 4)
    for found in (combine(a, nothing), combine(nothing, a)):
        for ours, expected in zip(found, a, strict=True):
            np.testing.assert_allclose(ours, expected, rtol=1e-12, atol=1e-14)


def test_scan_is_the_loop():
    elements, first = random_element(2, 1, 8, 0), start(np.eye(2), 1)
    scanned = before(elements, first)
    for i in range(8):
        np.testing.assert_allclose(scanned.moments[..., i : i + 1], first.moments, rtol=1e-8, atol=1e-10)
        first = combine(first, type(elements)(*[part[..., i : i + 1] for part in elements]))


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: MaternTerm(2.0, 1.0, 1.0), "nu is 2.0"),
        (lambda: MaternTerm(1.5, 0.0, 1.0), "outputscale is 0.0"),
        (lambda: MaternTerm(1.5, 1.0, math.inf), "lengthscale is inf"),
        (lambda: log_marginal_likelihood([], [0.0], [0.0], 0.1), "no terms"),
        (lambda: log_marginal_likelihood(TERMS["sum"], [], [], 0.1), "x has the shape"),
        (lambda: log_marginal_likelihood(TERMS["sum"], [0.0, 1.0], [1.0], 0.1), "y has the shape"),
        (lambda: log_marginal_likelihood(TERMS["sum"], [0.0], [math.nan], 0.1), "y has entries"),
        (lambda: log_marginal_likelihood(TERMS["sum"], [math.inf], [0.0], 0.1), "x has entries"),
        (lambda: log_marginal_likelihood(TERMS["sum"], [0.0], [0.0], 0.0), "positive variances"),
        (lambda: log_marginal_likelihood(TERMS["sum"], [0.0], [0.0], [0.1, 0.1]), "noise of the shape"),
        (lambda: smooth(TERMS["sum"], [0.0], [[[0.0]]], 0.1, [0.0]), "y has the shape"),
        (lambda: MaternSum(TERMS["sum"], np.zeros(2), np.full(2, math.nan)), "positive variances"),
        (lambda: MaternSum(TERMS["sum"], np.zeros(2), np.ones(2)).solve(torch.ones(3, 1)), "b has the shape"),
    ],
)
def test_bad_input_is_named(make, match):
    with pytest.raises(InputError, match=match):
        make()


def test_overflow_is_told():
    with pytest.raises(ConvergenceError, match="the evidence is"):
        log_marginal_likelihood(TERMS["sum"], np.arange(3.0), np.full(3, 1e300), 0.1)
