"""The passes over a chain's rows: NumPy against the loops, and both against a dense Gaussian."""

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from nonparam.solvers import structural_chain

SIZES = [(6, 1, 0), (30, 7, 3), (30, 8, 2), (1, 4, 3), (20, 3, 0)]


def chain(n, states, smooth, seed=0):
    """Two columns, two kinds of gap, a row in the middle that was not observed, and an even chain."""
    rng = np.random.default_rng(seed)
    y, loadings, noise = rng.standard_normal((n, 2)), rng.standard_normal((n, states)), np.full(n, 0.3)
    if n > 2:
        noise[n // 2], y[n // 2] = np.inf, 0.0
    decay, diffusion = rng.uniform(0.7, 1.0, (2, states)), rng.uniform(0.0, 0.3, (2, states))
    decay[:, :smooth], diffusion[:, :smooth] = 0.8, 0.0
    taylor = np.triu(rng.uniform(0.0, 0.5, (2, smooth, smooth)), 1) + np.eye(smooth)
    root = rng.standard_normal((2, smooth, smooth))
    prior = np.diag(rng.uniform(0.1, 1.0, states))
    corner = root @ root.swapaxes(1, 2)
    return y, noise, loadings, prior, rng.integers(0, 2, n), decay, diffusion, taylor, corner


def dense(y, noise, loadings, prior, gap, decay, diffusion, taylor, corner):
    """The covariance of the rows that were observed, from the transitions written out."""
    n = len(loadings)
    smooth, p, reached = taylor.shape[1], prior, []
    covariance = np.zeros((n, n))
    for t in range(n):
        reached = [*reached, p]
        covariance[t, : t + 1] = covariance[: t + 1, t] = [
            loadings[t] @ reach @ loadings[s] for s, reach in enumerate(reached)
        ]
        a = np.diag(decay[gap[t]])
        a[:smooth, :smooth] = a[:smooth, :smooth] @ taylor[gap[t]]
        reached = [a @ reach for reach in reached]
        p = a @ p @ a.T + np.diag(diffusion[gap[t]])
        p[:smooth, :smooth] += corner[gap[t]]
    seen = np.isfinite(noise)
    return seen, covariance[np.ix_(seen, seen)] + np.diag(noise[seen])


def log_density(arguments):
    seen, covariance = dense(*arguments)
    gaussian = multivariate_normal(cov=covariance)
    return sum(gaussian.logpdf(column) for column in arguments[0][seen].T)


def passes(module, arguments, groups, every):
    found = module.filter_pass(*arguments, every)
    return found, module.adjoint_pass(*found[:5], arguments[2], groups, *arguments[4:], every)


def slopes(arguments, every=4):
    """Derivatives of the columns' densities; each column has a determinant of its own here."""
    totals = []
    for c in range(2):
        one = (np.ascontiguousarray(arguments[0][:, c : c + 1]), *arguments[1:])
        totals.append(passes(structural_chain, one, np.empty((0, arguments[2].shape[1])), every)[1])
    return [first + second for first, second in zip(*totals, strict=True)]


@pytest.mark.parametrize("every", [1, 4, 30])
@pytest.mark.parametrize("size", SIZES)
def test_loops_are_the_steps(size, every):
    compiled = pytest.importorskip("nonparam.solvers.structural_chain_compiled")
    arguments = chain(*size)
    groups = np.random.default_rng(1).integers(0, 2, (2, size[1])).astype(float)
    plain, fast = (passes(module, arguments, groups, every) for module in (structural_chain, compiled))
    for one, other in zip((*plain[0], *plain[1]), (*fast[0], *fast[1]), strict=True):
        assert np.asarray(other) == pytest.approx(np.asarray(one), rel=1e-10, abs=1e-10)


@pytest.mark.parametrize("size", SIZES)
def test_innovations_have_the_density_of_the_rows(size):
    arguments = chain(*size)
    _, innovations, roots, *_ = structural_chain.filter_pass(*arguments, 5)
    seen = roots > 0.0
    value = (
        (2.0 * np.log(roots[seen])).sum() - 0.5 * (innovations**2).sum() - seen.sum() * np.log(2.0 * np.pi)
    )
    assert value == pytest.approx(log_density(arguments), rel=1e-10)


@pytest.mark.parametrize("size", SIZES)
def test_adjoint_is_that_of_differences(size):
    arguments, h = chain(*size), 1e-5
    by_noise, first, diagonals, _, corners, *_ = slopes(arguments)

    def difference(k, index, direction):
        ends = []
        for side in (h, -h):
            moved = [array.copy() for array in arguments]
            moved[k][index] += side * direction
            ends.append(log_density(moved))
        return (ends[0] - ends[1]) / (2.0 * h)

    assert 0.5 * by_noise == pytest.approx(difference(1, slice(None), 1.0), rel=1e-6, abs=1e-6)
    for i in range(size[1]):
        assert 0.5 * first[i, i] == pytest.approx(difference(3, (i, i), 1.0), rel=1e-6, abs=1e-6)
        for k in range(2):
            assert 0.5 * diagonals[k, i] == pytest.approx(difference(6, (k, i), 1.0), rel=1e-6, abs=1e-6)
    for k in range(2):
        for i in range(size[2]):
            assert 0.5 * corners[k, i, i] == pytest.approx(difference(8, (k, i, i), 1.0), rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("size", [(30, 5, 0)])
def test_pairs_are_the_derivatives_in_the_decay_at_a_fixed_spread(size):
    """With ``q = p (1 - a^2)`` the derivative is that of pairs less ``p`` diagonals."""
    arguments, h = chain(*size), 1e-5
    stationary = np.diag(arguments[3])

    def at(logarithm):
        decay = arguments[5] * np.exp(logarithm)
        return (*arguments[:5], decay, stationary * (1.0 - decay**2), *arguments[7:])

    _, _, diagonals, pairs, *_ = slopes(at(0.0))
    found = (pairs - stationary * diagonals).sum()
    assert found == pytest.approx((log_density(at(h)) - log_density(at(-h))) / (2.0 * h), rel=1e-6)
