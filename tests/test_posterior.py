"""The conditioned process against dense formulas: means, variances, covariances, components, more rows."""

import dense
import numpy as np
import pytest
import torch

from nonparam.kernels import RBF, Matern, Scale, Sum, covariance
from nonparam.objective import Data
from nonparam.posterior import condition, correlate

RNG = np.random.default_rng(3)
X, NEW = RNG.uniform(-2, 2, (12, 2)), RNG.uniform(-3, 3, (5, 2))
Y = np.c_[np.sin(X).sum(1), X[:, 0] ** 2 - 1.0]
NOISE = 0.05
MEANS = ["zero", "constant", "linear"]
KERNELS = {
    "rbf": lambda: Scale(RBF([1.3, 0.8]), 2.0),
    "sum": lambda: Sum(Scale(RBF(1.0), 1.5), Scale(Matern(2.0), 0.7)),
}


def data(mean="constant", weights=None, noise=None, rows=slice(None)):
    weights = np.ones(len(X)) if weights is None else weights
    return Data(
        x=torch.tensor(X[rows]),
        y=torch.tensor(Y[rows]),
        basis=torch.tensor(dense.basis(mean, X[rows])),
        weights=torch.tensor(weights[rows]),
        noise=None if noise is None else torch.tensor(noise[rows]),
    )


def matrices(kernel, noise):
    x, new = torch.tensor(X), torch.tensor(NEW)
    with torch.no_grad():
        K, cross, prior = covariance(kernel, x), covariance(kernel, x, new), covariance(kernel, new)
    return K.numpy() + np.diag(noise), cross.numpy(), prior.numpy()


def predictions(posterior, mean):
    new, basis = torch.tensor(NEW), torch.tensor(dense.basis(mean, NEW))
    return (
        posterior.predict_mean(new, basis).numpy(),
        posterior.predict_variance(new, basis).numpy(),
        posterior.predict_covariance(new, basis).numpy(),
    )


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("mean", MEANS)
@pytest.mark.parametrize("kind", ["learnt", "weights", "per row"])
def test_predictions_and_likelihood_are_those_of_the_dense_formulas(kernel, mean, kind):
    kernel = KERNELS[kernel]()
    weights = RNG.uniform(0.5, 3.0, 12) if kind == "weights" else np.ones(12)
    known = RNG.uniform(0.01, 0.3, 12) if kind == "per row" else None
    noise = known if kind == "per row" else NOISE / weights
    posterior = condition(kernel, data(mean, weights, known), 0.0 if kind == "per row" else NOISE)
    found_mean, variance, joint = predictions(posterior, mean)
    A, cross, prior = matrices(kernel, noise)
    H, H_new = dense.basis(mean, X), dense.basis(mean, NEW)
    for j, y in enumerate(Y.T):
        expected, expected_joint = dense.posterior(A, cross, prior, y, H, H_new)
        np.testing.assert_allclose(found_mean[:, j], expected, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(joint, expected_joint, rtol=1e-7, atol=1e-10)
    np.testing.assert_allclose(variance, np.diag(expected_joint), rtol=1e-7, atol=1e-10)
    if kind != "weights":
        lml = sum(dense.log_marginal_likelihood(A, y, H) for y in Y.T)
        assert posterior.log_marginal_likelihood() == pytest.approx(lml, rel=1e-10)


@pytest.mark.parametrize("mean", ["constant", "linear"])
def test_the_mean_is_the_limit_of_a_broad_gaussian_prior_on_its_weights(mean):
    """Rasmussen and Williams, equation 2.42: the kernel b H H' with b to infinity."""
    kernel, b = KERNELS["rbf"](), 1e4
    found_mean, variance, joint = predictions(condition(kernel, data(mean), NOISE), mean)
    A, cross, prior = matrices(kernel, np.full(12, NOISE))
    H, H_new = dense.basis(mean, X), dense.basis(mean, NEW)
    none = dense.basis("zero", X), dense.basis("zero", NEW)
    broad = A + b * H @ H.T, cross + b * H @ H_new.T, prior + b * H_new @ H_new.T
    expected, expected_joint = dense.posterior(*broad, Y[:, 0], *none)
    # the limit is 1 / b away, and a larger b costs the oracle its digits
    np.testing.assert_allclose(found_mean[:, 0], expected, rtol=0.0, atol=3e-4)
    np.testing.assert_allclose(joint, expected_joint, rtol=0.0, atol=4e-4)
    _, without, _ = predictions(condition(kernel, data("zero"), NOISE), "zero")
    assert (variance > without).all()


def test_far_away_the_prior_returns_and_the_mean_is_as_uncertain_as_its_weights():
    kernel = KERNELS["rbf"]()
    posterior = condition(kernel, data("constant"), NOISE)
    far, one = torch.full((1, 2), 1e3, dtype=torch.float64), torch.ones(1, 1, dtype=torch.float64)
    A, _, _ = matrices(kernel, np.full(12, NOISE))
    of_mean = 1.0 / (np.ones(12) @ np.linalg.inv(A) @ np.ones(12))
    assert float(posterior.predict_variance(far, one)) == pytest.approx(2.0 + of_mean)
    beta = dense.coefficients(A, Y, np.ones((12, 1)))
    np.testing.assert_allclose(posterior.predict_mean(far, one), beta)


def test_variance_at_an_observation_without_noise_is_zero_and_never_negative():
    posterior = condition(KERNELS["rbf"](), data("constant"), 0.0)
    x, ones = torch.tensor(X), torch.ones(12, 1, dtype=torch.float64)
    variance = posterior.predict_variance(x, ones)
    assert (variance >= 0).all() and float(variance.max()) < 1e-14
    np.testing.assert_allclose(posterior.predict_mean(x, ones), Y, rtol=0.0, atol=1e-12)


@pytest.mark.parametrize("mean", MEANS)
@pytest.mark.parametrize("new", [1, 5, 11])
def test_extending_is_conditioning_on_all_rows(mean, new):
    kernel = KERNELS["rbf"]()
    whole = condition(kernel, data(mean), NOISE)
    if mean == "linear" and new == 11:
        pytest.skip("one row does not determine a linear mean")
    part = condition(kernel, data(mean, rows=slice(0, 12 - new)), NOISE).extended(data(mean), new)
    for found, expected in zip(predictions(part, mean), predictions(whole, mean), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-10)
    assert part.log_marginal_likelihood() == pytest.approx(whole.log_marginal_likelihood(), rel=1e-10)


def test_components_add_up_to_the_whole():
    kernel = KERNELS["sum"]()
    posterior = condition(kernel, data("zero"), NOISE)
    new = torch.tensor(NEW)
    parts = [posterior.component(part, new) for part in kernel.kernels]
    total = posterior.predict_mean(new, new[:, :0])
    torch.testing.assert_close(parts[0][0] + parts[1][0], total, rtol=1e-9, atol=1e-11)
    A, _, _ = matrices(kernel, np.full(12, NOISE))
    x = torch.tensor(X)
    for part, (mean, variance) in zip(kernel.kernels, parts, strict=True):
        with torch.no_grad():
            cross, prior = covariance(part, x, new).numpy(), covariance(part, new).numpy()
        H = dense.basis("zero", X), dense.basis("zero", NEW)
        expected, joint = dense.posterior(A, cross, prior, Y[:, 0], *H)
        np.testing.assert_allclose(mean[:, 0], expected, rtol=1e-8, atol=1e-10)
        np.testing.assert_allclose(variance, np.diag(joint), rtol=1e-7, atol=1e-10)


def test_more_new_rows_than_a_block():
    posterior = condition(KERNELS["rbf"](), data("constant"), NOISE)
    new = torch.linspace(-3, 3, 9000, dtype=torch.float64).reshape(-1, 2)
    ones = torch.ones(len(new), 1, dtype=torch.float64)
    mean, variance = posterior.predict_mean(new, ones), posterior.predict_variance(new, ones)
    some = [0, 2047, 2048, 4499]
    torch.testing.assert_close(
        mean[some], posterior.predict_mean(new[some], ones[some]), rtol=1e-12, atol=1e-12
    )
    at = posterior.predict_variance(new[some], ones[some])
    torch.testing.assert_close(variance[some], at, rtol=1e-10, atol=1e-12)


def test_draws_of_a_singular_covariance_whose_variances_differ_by_decades():
    root = torch.tensor(np.random.default_rng(0).standard_normal((6, 2)))
    sd = torch.tensor([1e-120, 1e-30, 0.0, 1.0, 1e30, 1e120], dtype=torch.float64)[:, None]
    correlation = root @ root.mT
    joint = sd * correlation * sd.mT - torch.diag(1e-9 * sd[:, 0] ** 2)  # indefinite by rounding
    z = torch.tensor(np.random.default_rng(1).standard_normal((6, 20_000)))
    draws = correlate(joint, z, 1e-300)  # of no use as a jitter
    assert draws.isfinite().all() and (draws[2] == 0.0).all()
    kept = [0, 1, 3, 4, 5]
    found = torch.cov(draws[kept] / sd[kept])
    torch.testing.assert_close(found, correlation[kept][:, kept], rtol=0.0, atol=0.1)
