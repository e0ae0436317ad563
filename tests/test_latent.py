"""Inference of functions through a likelihood: against dense formulas, against differences, and exactly."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from sklearn.gaussian_process import GaussianProcessClassifier
from sklearn.gaussian_process.kernels import RBF as SklearnRBF
from sklearn.gaussian_process.kernels import ConstantKernel

from nonparam.kernels import RBF
from nonparam.kernels.evaluate import covariance
from nonparam.latent.approximation import Independent, Observations
from nonparam.latent.laplace import laplace_mode
from nonparam.latent.sites import SitePosterior, Sites
from nonparam.latent.softmax_laplace import decorrelated, softmax_laplace
from nonparam.latent.variational import variational
from nonparam.likelihoods import Bernoulli, Softmax

RNG = np.random.default_rng(0)
N = 30
X = torch.from_numpy(RNG.normal(size=(N, 2)))
TWO = (X[:, :1] + 0.3 * torch.from_numpy(RNG.normal(size=(N, 1))) > 0.0).double()
THREE = TWO + (X[:, 1:] > 0.3)
WEIGHTS = torch.from_numpy(RNG.uniform(0.5, 2.5, N))
THETA = np.array([1.0, 0.2])  # logarithms of the variance and of the lengthscale


def matrix(theta=THETA):
    variance, lengthscale = np.exp(theta)
    return covariance(float(variance) * RBF(float(lengthscale)), X).detach()


def seen(classes=2, weights=WEIGHTS):
    level = torch.tensor([0.3] if classes == 2 else [0.1, -0.4, 0.2], dtype=torch.float64)
    likelihood = Bernoulli() if classes == 2 else Softmax(3)
    return Observations(TWO if classes == 2 else THREE, weights, likelihood, level)


CASES = [(laplace_mode, 2), (variational, 2), (softmax_laplace, 3)]


@pytest.mark.parametrize(("infer", "classes"), CASES)
def test_slopes_in_the_covariance_are_those_of_differences(infer, classes):
    (slope,) = infer([matrix()], seen(classes)).slopes
    torch.testing.assert_close(slope, slope.mT)
    for step in 1e-5 * np.eye(2):
        ahead, behind = matrix(THETA + step), matrix(THETA - step)
        values = [infer([k], seen(classes), gradient=False).value for k in (ahead, behind)]
        expected = (values[0] - values[1]) / 2e-5
        assert float((slope * (ahead - behind)).sum()) / 2e-5 == pytest.approx(expected, rel=2e-5)


@pytest.mark.parametrize(("infer", "classes"), CASES)
def test_an_earlier_result_is_only_a_start(infer, classes):
    cold = infer([matrix()], seen(classes))
    elsewhere = infer([matrix(THETA + np.array([2.0, -1.0]))], seen(classes))
    warm = infer([matrix()], seen(classes), elsewhere)
    assert warm.value == pytest.approx(cold.value, rel=1e-8)
    torch.testing.assert_close(warm.posterior.alpha, cold.posterior.alpha, atol=1e-4, rtol=0.0)


def test_laplace_is_scikit_learns():
    theirs = GaussianProcessClassifier(ConstantKernel(np.e) * SklearnRBF(np.exp(0.2)), optimizer=None)
    theirs.fit(X.numpy(), TWO[:, 0].numpy())
    ones = torch.ones_like(WEIGHTS)
    ours = laplace_mode([matrix()], Observations(TWO, ones, Bernoulli(), torch.zeros(1, dtype=X.dtype)))
    assert ours.value == pytest.approx(theirs.log_marginal_likelihood_value_, abs=1e-8)


def test_softmax_laplace_is_the_dense_formula():
    k, observed = matrix(), seen(3)
    big = torch.kron(torch.eye(3, dtype=k.dtype), k)

    def log_joint(a):
        f = big @ a
        density = observed.log_density(f.reshape(3, N).mT)
        return density - 0.5 * a @ f

    def negative(a):
        at = torch.from_numpy(a).requires_grad_()
        value = -log_joint(at)
        return float(value.detach()), torch.autograd.grad(value, at)[0].numpy()

    a = torch.from_numpy(minimize(negative, np.zeros(3 * N), jac=True, tol=1e-14).x)
    f = big @ a
    hessian = -torch.autograd.functional.hessian(lambda v: observed.log_density(v.reshape(3, N).mT), f)
    eye = torch.eye(3 * N, dtype=k.dtype)
    value = float(log_joint(a)) - 0.5 * float(torch.linalg.slogdet(eye + big @ hessian)[1])
    found = softmax_laplace([k], observed)
    assert found.value == pytest.approx(value, rel=1e-6)
    joint = big - big @ torch.linalg.solve(eye + hessian @ big, hessian @ big)
    blocks = found.posterior.covariances(k, torch.diagonal(k))
    rows = torch.arange(3) * N
    for i in (0, 7, 29):
        torch.testing.assert_close(blocks[i], joint[rows + i][:, rows + i], atol=1e-5, rtol=1e-5)


def test_a_softmax_of_two_classes_is_the_logistic_function_of_twice_the_variance():
    k, zero = matrix(), torch.zeros(1, dtype=X.dtype)
    one = laplace_mode([2.0 * k], Observations(TWO, WEIGHTS, Bernoulli(), zero))
    two = softmax_laplace([k], Observations(TWO, WEIGHTS, Softmax(2), torch.zeros(2, dtype=X.dtype)))
    assert two.value == pytest.approx(one.value, abs=1e-8)
    mean, variance = two.posterior.moments([k], [torch.diagonal(k)])
    single = one.posterior.moments([2.0 * k], [2.0 * torch.diagonal(k)])
    torch.testing.assert_close(mean[:, 1:] - mean[:, :1], single[0], atol=1e-6, rtol=0.0)
    torch.testing.assert_close(variance.sum(1, keepdim=True), single[1], atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("infer", [laplace_mode, variational])
def test_a_row_left_out_is_a_row_without_its_site(infer):
    k = matrix()
    posterior = infer([k], seen()).posterior
    assert isinstance(posterior, Independent)
    (whole,) = posterior.posteriors
    _, mean, variance = posterior.left_out()
    for i in (0, 11):
        linear, precision = whole.sites.linear.clone(), whole.sites.precision.clone()
        linear[i] = precision[i] = 0.0
        without = SitePosterior.of(k, Sites(linear, precision))
        assert float(mean[i, 0]) == pytest.approx(float(without.mean[i]), rel=1e-8)
        assert float(variance[i, 0]) == pytest.approx(float(without.variance[i]), rel=1e-8)


def test_a_row_of_a_softmax_left_out_is_nearly_a_row_never_seen():
    k, observed = matrix(), seen(3)
    found = softmax_laplace([k], observed)
    _, mean, variance = found.posterior.left_out()
    for i in (3, 17):
        others = torch.arange(N) != i
        fewer = Observations(THREE[others], WEIGHTS[others], Softmax(3), observed.level)
        without = softmax_laplace([k[others][:, others]], fewer)
        exact = without.posterior.moments([k[others][:, i : i + 1]], [k[i, i][None]])
        torch.testing.assert_close(mean[i], exact[0][0], atol=0.15, rtol=0.1)
        torch.testing.assert_close(variance[i], exact[1][0], atol=0.15, rtol=0.1)


def test_the_bound_is_below_the_evidence_and_sharp_for_few_rows():
    few = slice(0, 2)
    k = matrix()[few, few]
    ones, zero = torch.ones(2, dtype=X.dtype), torch.zeros(1, dtype=X.dtype)
    y = torch.tensor([[1.0], [0.0]], dtype=X.dtype)
    bound = variational([k], Observations(y, ones, Bernoulli(), zero)).value
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    z = np.stack(np.meshgrid(nodes, nodes), -1).reshape(-1, 2) @ np.linalg.cholesky(k.numpy()).T
    mass = np.outer(weights, weights).ravel() / (2.0 * np.pi)
    exact = np.log(mass @ (1.0 / (1.0 + np.exp(-z[:, 0])) / (1.0 + np.exp(z[:, 1]))))
    assert exact - 0.05 < bound < exact


def test_a_weight_of_two_is_the_row_given_twice():
    k = matrix()
    twice = torch.cat([torch.arange(N), torch.tensor([4])])
    weights = torch.ones(N, dtype=X.dtype)
    weights[4] = 2.0
    for infer, classes in CASES:
        y = TWO if classes == 2 else THREE
        level, likelihood = seen(classes).level, seen(classes).likelihood
        weighted = infer([k], Observations(y, weights, likelihood, level))
        ones = torch.ones(N + 1, dtype=X.dtype)
        doubled = infer([k[twice][:, twice]], Observations(y[twice], ones, likelihood, level))
        assert weighted.value == pytest.approx(doubled.value, abs=1e-4)


def test_differences_of_numbers_keep_their_variances():
    root = torch.from_numpy(RNG.normal(size=(5, 3, 3)))
    full = root @ root.mT
    found = decorrelated(full)
    for i, j in ((0, 1), (0, 2), (1, 2)):
        apart = full[:, i, i] + full[:, j, j] - 2.0 * full[:, i, j]
        if bool((found > 0.0).all()):
            torch.testing.assert_close(found[:, i] + found[:, j], apart)
    shift = torch.from_numpy(RNG.normal(size=(5, 4)))
    own = torch.rand(5, 4, dtype=X.dtype)
    shifted = torch.diag_embed(own) + shift[:, :, None] + shift[:, None, :]
    torch.testing.assert_close(decorrelated(shifted), own)


@pytest.mark.parametrize("scale", [1e-12, 1e12])
def test_extreme_variances_are_survived(scale):
    for infer, classes in CASES[::2]:
        found = infer([scale * matrix()], seen(classes))
        assert np.isfinite(found.value) and torch.isfinite(found.slopes[0]).all()
