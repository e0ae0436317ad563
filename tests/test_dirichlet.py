"""Log-normal targets for classes: against GPyTorch's, and the inverses of all classes against one by one."""

import math

import numpy as np
import pytest
import torch
from gpytorch.likelihoods import DirichletClassificationLikelihood

from nonparam.errors import NotPositiveDefiniteError
from nonparam.latent.dirichlet import ClassInverses, LogNormal, class_evidence, fit_means

SIZES = [3, 7, 1, 5]
N = sum(SIZES)
CODES = np.repeat(np.arange(len(SIZES)), SIZES)
ROOT = torch.from_numpy(np.random.default_rng(0).standard_normal((N, 6)))
ONES = torch.ones(N, dtype=torch.float64)
K = ROOT @ ROOT.mT
SEEN = LogNormal.of(0.01)


def covariances(k=K, seen=SEEN):
    """The covariance of the targets of each class, written out."""
    own = torch.from_numpy(CODES)
    inside, outside = (torch.tensor(v, dtype=torch.float64) for v in (seen.inside_noise, seen.outside_noise))
    return [k + torch.diag(torch.where(own == c, inside, outside)) for c in range(len(SIZES))]


def inverses(k=K, seen=SEEN):
    return ClassInverses.of(k + seen.outside_noise * torch.diag(ONES), seen.spared * ONES, SIZES)


@pytest.mark.parametrize("alpha", [1e-4, 0.01, 0.5])
def test_targets_and_noise_are_gpytorchs(alpha):
    seen = LogNormal.of(alpha)
    theirs = DirichletClassificationLikelihood(
        torch.from_numpy(CODES), alpha_epsilon=alpha, dtype=torch.float64
    )
    np.testing.assert_allclose(seen.targets(SIZES, K), theirs.transformed_targets.mT, rtol=1e-6)
    noise = theirs.noise_covar.noise.mT
    found = np.where(CODES[:, None] == np.arange(4), seen.inside_noise, seen.outside_noise)
    np.testing.assert_allclose(found, noise, rtol=1e-6)


@pytest.mark.parametrize("alpha", [1e-3, 0.2])
def test_the_log_normal_has_the_moments_of_the_gamma(alpha):
    seen = LogNormal.of(alpha)
    for mean, noise, a in (
        (seen.inside, seen.inside_noise, 1.0 + alpha),
        (seen.outside, seen.outside_noise, alpha),
    ):
        assert math.exp(mean + 0.5 * noise) == pytest.approx(a)
        assert math.expm1(noise) * math.exp(2.0 * mean + noise) == pytest.approx(a)


def test_one_inverse_serves_all_classes():
    found, cross = inverses(), torch.from_numpy(np.random.default_rng(1).standard_normal((N, 5)))
    v = torch.from_numpy(np.random.default_rng(2).standard_normal((N, 4)))
    solved, quadratic, diagonals = found.solve(v), found.quadratic(cross), found.diagonals()
    for c, a in enumerate(covariances()):
        inverse = torch.linalg.inv(a)
        np.testing.assert_allclose(solved[:, c], inverse @ v[:, c], rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(quadratic[:, c], torch.diagonal(cross.mT @ inverse @ cross), rtol=1e-9)
        np.testing.assert_allclose(diagonals[:, c], torch.diagonal(inverse), rtol=1e-9)
        assert float(found.log_determinants[c]) == pytest.approx(float(torch.logdet(a)), rel=1e-10)


def test_the_mean_of_each_class_is_generalised_least_squares():
    y, ones = SEEN.targets(SIZES, K), torch.ones(N, dtype=torch.float64)
    fit = fit_means(inverses(), y)
    for c, a in enumerate(covariances()):
        weighted = torch.linalg.solve(a, ones)
        level = (weighted @ y[:, c]) / weighted.sum()
        assert float(fit.coefficients[c]) == pytest.approx(float(level))
        np.testing.assert_allclose(
            fit.alpha[:, c], torch.linalg.solve(a, y[:, c] - level), rtol=1e-8, atol=1e-12
        )
        assert float(fit.information[c]) == pytest.approx(float(weighted.sum()))


def naive(k):
    total = k.new_zeros(())
    y, ones = SEEN.targets(SIZES, K), torch.ones(N, dtype=torch.float64)
    for c, a in enumerate(covariances(k)):
        weighted = torch.linalg.solve(a, ones)
        left = y[:, c] - (weighted @ y[:, c]) / weighted.sum()
        total = total - 0.5 * (
            left @ torch.linalg.solve(a, left) + torch.logdet(a) + N * math.log(2.0 * math.pi)
        )
    return total


def test_the_evidence_and_its_gradient():
    k = K.clone().requires_grad_()
    value = naive(k)
    value.backward()
    b = K + SEEN.outside_noise * torch.eye(N, dtype=torch.float64)
    found = class_evidence(b.clone(), SEEN, SIZES, ONES, gradient=True)
    assert found.value == pytest.approx(value.item(), rel=1e-12)
    assert class_evidence(b.clone(), SEEN, SIZES, ONES, gradient=False).gradient is None
    upper = 2.0 * k.grad.triu(1) + torch.diag(torch.diagonal(k.grad))
    np.testing.assert_allclose(found.gradient.triu(), upper, rtol=1e-8, atol=1e-11)


def test_many_classes_of_one_row_each():
    found = ClassInverses.of(K + 2.0 * torch.eye(N, dtype=torch.float64), 1.5 * ONES, [1] * N)
    for c in (0, N - 1):
        a = K + 2.0 * torch.eye(N, dtype=torch.float64)
        a[c, c] -= 1.5
        np.testing.assert_allclose(found.diagonals()[:, c], torch.diagonal(torch.linalg.inv(a)), rtol=1e-9)


def test_a_matrix_that_is_no_covariance():
    with pytest.raises(NotPositiveDefiniteError, match="not positive definite"):
        class_evidence(-torch.eye(N, dtype=torch.float64), SEEN, SIZES, ONES, gradient=True)
