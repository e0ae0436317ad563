"""GPRegressor against dense formulas, scikit-learn, GPyTorch, a float64 reference on data, and itself."""

import json
import runpy
from pathlib import Path

import dense
import gpytorch
import numpy as np
import pytest
import torch
from cases import CASES
from scipy.stats import norm
from sklearn.base import clone
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.model_selection import GridSearchCV

from nonparam import GPRegressor
from nonparam.errors import InputError
from nonparam.kernels import RBF, Matern, RationalQuadratic, Scale, WhiteNoise
from nonparam.training import FitReport

RNG = np.random.default_rng(5)
X, NEW = RNG.uniform(-2, 2, (14, 2)), RNG.uniform(-2.5, 2.5, (6, 2))
Y = np.sin(2 * X[:, 0]) + 0.5 * X[:, 1] + 0.1 * RNG.standard_normal(14)
MEANS = ["zero", "constant", "linear"]
REFERENCE = Path(__file__).parents[2] / "shared" / "data"


def frozen(kernel):
    """The kernel at its present values: nothing of it is learnt."""
    whole = Scale(kernel, 1.0)
    whole.requires_grad_(False)
    return whole


def fixed(kernel, noise=0.05, mean="zero", **options):
    return GPRegressor(frozen(kernel), noise=noise, mean=mean, **options)


def kernel_matrices(oracle_lengthscale=1.2, outputscale=1.5):
    pairs = ((X, X), (X, NEW), (NEW, NEW))
    return [dense.rbf(a, b, oracle_lengthscale, outputscale) for a, b in pairs]


# fixed hyperparameters: every number has a formula --------------------------------------------


@pytest.mark.parametrize("mean", MEANS)
@pytest.mark.parametrize("noise", [0.05, np.linspace(0.01, 0.3, 14)], ids=["one", "per row"])
def test_posterior_and_likelihood_are_those_of_the_dense_formulas(mean, noise):
    model = fixed(Scale(RBF(1.2), 1.5), noise, mean).fit(X, Y)
    K, cross, prior = kernel_matrices()
    A = K + np.diag(np.broadcast_to(noise, 14))
    H, H_new = dense.basis(mean, X), dense.basis(mean, NEW)
    expected, joint = dense.posterior(A, cross, prior, Y, H, H_new)
    found, covariance = model.predict(NEW, return_cov=True, include_noise=False)
    _, sd = model.predict(NEW, return_std=True, include_noise=False)
    np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(covariance, joint, rtol=1e-7, atol=1e-10)
    np.testing.assert_allclose(sd, np.sqrt(np.diag(joint)), rtol=1e-7)
    lml = dense.log_marginal_likelihood(A, Y, H)
    assert model.log_marginal_likelihood_ == pytest.approx(lml, rel=1e-10)
    assert model.log_marginal_likelihood() == pytest.approx(lml, rel=1e-10)
    assert model.theta_.size == 0 and model.fit_report_.converged


def test_noise_is_included_on_request():
    model = fixed(RBF(1.2)).fit(X, Y)
    for option in ("return_std", "return_cov"):
        _, noisy = model.predict(NEW, **{option: True})
        _, clean = model.predict(NEW, **{option: True}, include_noise=False)
        if option == "return_std":
            np.testing.assert_allclose(noisy**2, clean**2 + 0.05)
        else:
            np.testing.assert_allclose(noisy, clean + 0.05 * np.eye(6), atol=1e-15)


def test_white_noise_in_the_kernel_is_noise_by_another_name():
    inside = GPRegressor(frozen(RBF(1.2) + WhiteNoise(0.03)), noise=0.02, mean="zero").fit(X, Y)
    outside = fixed(RBF(1.2)).fit(X, Y)
    assert inside.log_marginal_likelihood_ == pytest.approx(outside.log_marginal_likelihood_)
    for a, b in zip(inside.predict(X, return_std=True), outside.predict(X, return_std=True), strict=True):
        np.testing.assert_allclose(a, b)


@pytest.mark.parametrize("mean", MEANS)
def test_a_whole_weight_is_the_row_repeated(mean):
    weights = RNG.integers(0, 4, 14)
    weighted = fixed(RBF(1.2), mean=mean).fit(X, Y, sample_weight=weights)
    repeated = fixed(RBF(1.2), mean=mean).fit(np.repeat(X, weights, 0), np.repeat(Y, weights))
    assert weighted.log_marginal_likelihood_ == pytest.approx(repeated.log_marginal_likelihood_, rel=1e-9)
    for a, b in zip(
        weighted.predict(NEW, return_cov=True), repeated.predict(NEW, return_cov=True), strict=True
    ):
        np.testing.assert_allclose(a, b, rtol=1e-7, atol=1e-10)


def test_whole_weights_train_to_the_same_hyperparameters_as_repeated_rows():
    weights = RNG.integers(0, 3, 14)
    weighted = GPRegressor().fit(X, Y, sample_weight=weights)
    repeated = GPRegressor().fit(np.repeat(X, weights, 0), np.repeat(Y, weights))
    np.testing.assert_allclose(weighted.theta_, repeated.theta_, atol=1e-3)
    assert weighted.log_marginal_likelihood_ == pytest.approx(repeated.log_marginal_likelihood_, abs=1e-4)


def test_a_weight_does_not_divide_white_noise_in_the_kernel():
    weights = RNG.integers(1, 4, 14)
    kernel = frozen(RBF(1.2) + WhiteNoise(0.1))
    weighted = GPRegressor(kernel, noise=0.05, mean="zero").fit(X, Y, sample_weight=weights)
    A = dense.rbf(X, X, 1.2, 1.0) + np.diag(0.1 + 0.05 / weights)
    cross, prior = dense.rbf(X, NEW, 1.2, 1.0), dense.rbf(NEW, NEW, 1.2, 1.0)
    none = np.zeros((14, 0)), np.zeros((6, 0))
    np.testing.assert_allclose(weighted.predict(NEW), dense.posterior(A, cross, prior, Y, *none)[0])
    repeated = GPRegressor(kernel, noise=0.05, mean="zero")
    repeated.fit(np.repeat(X, weights, 0), np.repeat(Y, weights))
    averaged = A - np.diag(0.1 - 0.1 / weights)  # each repetition has a draw of its own
    np.testing.assert_allclose(repeated.predict(NEW), dense.posterior(averaged, cross, prior, Y, *none)[0])


def test_weights_and_noise_per_row_of_rows_that_count():
    noise, weights = np.linspace(0.01, 0.2, 14), np.r_[np.zeros(4), np.ones(10)]
    model = fixed(RBF(1.2), noise).fit(X, Y, sample_weight=weights)
    alone = fixed(RBF(1.2), noise[4:]).fit(X[4:], Y[4:])
    np.testing.assert_allclose(model.predict(NEW), alone.predict(NEW))
    assert model.log_marginal_likelihood_ == pytest.approx(alone.log_marginal_likelihood_)


@pytest.mark.parametrize("mean", ["zero", "constant"])
def test_several_outputs_are_each_the_model_of_their_own(mean):
    outputs = np.c_[Y, 1e3 * X[:, 0] ** 2, np.cos(X[:, 1])]
    together = fixed(RBF(1.2), mean=mean, normalize_y=False).fit(X, outputs)
    means, sd = together.predict(NEW, return_std=True)
    _, covariance = together.predict(NEW, return_cov=True)
    quantiles = together.predict_quantiles(NEW, [0.1, 0.9])
    density = together.log_predictive_density(NEW, np.zeros((6, 3)))
    assert means.shape == sd.shape == density.shape == (6, 3)
    assert covariance.shape == (6, 6, 3) and quantiles.shape == (6, 3, 2)
    total = 0.0
    for j, y in enumerate(outputs.T):
        alone = fixed(RBF(1.2), mean=mean, normalize_y=False).fit(X, y)
        total += alone.log_marginal_likelihood_
        np.testing.assert_allclose(means[:, j], alone.predict(NEW), rtol=1e-9)
        np.testing.assert_allclose(sd[:, j], alone.predict(NEW, return_std=True)[1])
        np.testing.assert_allclose(covariance[..., j], alone.predict(NEW, return_cov=True)[1])
        np.testing.assert_allclose(quantiles[:, j], alone.predict_quantiles(NEW, [0.1, 0.9]), rtol=1e-9)
        np.testing.assert_allclose(density[:, j], alone.log_predictive_density(NEW, np.zeros(6)), rtol=1e-7)
    assert together.log_marginal_likelihood_ == pytest.approx(total)


def test_several_outputs_keep_their_own_units():
    outputs = np.c_[Y, np.cos(X[:, 1])]
    plain = GPRegressor("rbf").fit(X, outputs)
    scaled = GPRegressor("rbf").fit(X, outputs * [1e6, 1e-6])
    np.testing.assert_allclose(scaled.predict(NEW), plain.predict(NEW) * [1e6, 1e-6], rtol=1e-5)
    np.testing.assert_allclose(
        scaled.predict(NEW, return_std=True)[1],
        plain.predict(NEW, return_std=True)[1] * [1e6, 1e-6],
        rtol=1e-5,
    )
    assert scaled.log_marginal_likelihood_ == pytest.approx(plain.log_marginal_likelihood_, abs=1e-4)


@pytest.mark.parametrize("mean", MEANS)
@pytest.mark.parametrize("noise", ["learn", 0.05, 0.0])
@pytest.mark.parametrize("outputs", [1, 2])
def test_update_is_conditioning_on_all_rows_at_the_same_hyperparameters(mean, noise, outputs):
    y = np.c_[Y, Y**2][:, :outputs].squeeze()
    model = GPRegressor("rbf", mean=mean, noise=noise, priors="default").fit(X[:9], y[:9])
    before = model.theta_.copy()
    model.update(X[9:11], y[9:11]).update(X[11:], y[11:])
    np.testing.assert_array_equal(model.theta_, before)
    kernel = model.kernel_
    kernel.requires_grad_(False)
    scale = model.y_scale_ if outputs == 2 else 1.0
    whole = GPRegressor(kernel, mean=mean, noise=model.noise_, normalize_y=False).fit(X, y / scale)
    np.testing.assert_allclose(model.predict(NEW), whole.predict(NEW) * scale, rtol=1e-8, atol=1e-8)
    sd = whole.predict(NEW, return_std=True)[1] * scale
    np.testing.assert_allclose(model.predict(NEW, return_std=True)[1], sd, rtol=1e-6, atol=1e-8)
    lml = whole.log_marginal_likelihood_ - 14 * np.log(scale).sum()
    assert model.log_marginal_likelihood_ == pytest.approx(lml, rel=1e-8)
    assert model.log_marginal_likelihood() == pytest.approx(lml, rel=1e-8)


def test_update_counts_weights():
    weights = np.r_[2, 0, 3, 1, 1]
    a = fixed(RBF(1.2)).fit(X[:9], Y[:9]).update(X[9:], Y[9:], sample_weight=weights)
    b = fixed(RBF(1.2)).fit(
        np.r_[X[:9], np.repeat(X[9:], weights, 0)], np.r_[Y[:9], np.repeat(Y[9:], weights)]
    )
    np.testing.assert_allclose(a.predict(NEW, return_std=True), b.predict(NEW, return_std=True), rtol=1e-7)
    assert a.log_marginal_likelihood_ == pytest.approx(b.log_marginal_likelihood_)


def test_update_with_rows_that_are_there_already_needs_no_noise():
    model = GPRegressor("rbf", noise=0.0).fit(X, Y).update(X, Y)
    np.testing.assert_allclose(model.predict(X), Y, atol=1e-3)
    assert np.isfinite(model.log_marginal_likelihood_)


def test_update_where_the_noise_of_new_rows_is_not_known():
    model = fixed(RBF(1.2), np.full(14, 0.1)).fit(X, Y)
    with pytest.raises(InputError, match="update needs the noise of the new rows"):
        model.update(NEW, np.zeros(6))


def test_quantiles_and_densities_are_those_of_the_normal_distribution():
    model = fixed(RBF(1.2), mean="constant").fit(X, Y)
    mean, sd = model.predict(NEW, return_std=True)
    q = [0.025, 0.5, 0.975]
    np.testing.assert_allclose(model.predict_quantiles(NEW, q), norm.ppf(q, mean[:, None], sd[:, None]))
    np.testing.assert_allclose(model.log_predictive_density(NEW, mean + sd), norm.logpdf(1.0) - np.log(sd))
    clean = model.predict(NEW, return_std=True, include_noise=False)[1]
    found = model.predict_quantiles(NEW, 0.975, include_noise=False)
    np.testing.assert_allclose(found[:, 0], norm.ppf(0.975, mean, clean))


@pytest.mark.parametrize("include_noise", [True, False])
def test_samples_have_the_moments_of_the_posterior(include_noise):
    model = fixed(RBF(1.2), mean="linear").fit(X, Y)
    draws, S = model.sample_y(NEW, 40_000, random_state=0, include_noise=include_noise), 40_000
    mean, covariance = model.predict(NEW, return_cov=True, include_noise=include_noise)
    sd = np.sqrt(np.diag(covariance))
    assert draws.shape == (6, S)
    np.testing.assert_array_less(np.abs(draws.mean(1) - mean), 4.5 * sd / np.sqrt(S))
    error = np.abs(np.cov(draws) - covariance) / np.outer(sd, sd)
    np.testing.assert_array_less(error, 4.5 * np.sqrt(2 / S))


def test_samples_follow_their_seed():
    model = fixed(RBF(1.2)).fit(X, Y)
    np.testing.assert_array_equal(model.sample_y(NEW, 3, 1), model.sample_y(NEW, 3, 1))
    assert not np.array_equal(model.sample_y(NEW, 3, 1), model.sample_y(NEW, 3, 2))
    several = fixed(RBF(1.2)).fit(X, np.c_[Y, Y**2]).sample_y(NEW, 3)
    assert several.shape == (6, 2, 3)


# likelihood and gradient ---------------------------------------------------------------------


def differences(model, theta, h=1e-5):
    def value(step):
        return model.log_marginal_likelihood(theta + step)

    return np.array([(value(row) - value(-row)) / (2 * h) for row in h * np.eye(len(theta))])


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_gradient_of_the_likelihood_is_that_of_finite_differences(case):
    x = RNG.uniform(0.0, 1.0, (10, case.columns))
    y = np.sin(5 * x[:, 0]) + 0.1 * RNG.standard_normal(10)
    model = GPRegressor(case.make(), noise="learn")
    model.fit(x, y)
    theta = model.theta_ * 0.0 + np.clip(model.theta_, -1.5, 1.5)
    value, gradient = model.log_marginal_likelihood(theta, eval_gradient=True)
    assert value == pytest.approx(model.log_marginal_likelihood(theta), rel=1e-12)
    expected = differences(model, theta)
    np.testing.assert_allclose(
        gradient, expected, rtol=2e-4, atol=2e-4 * max(1.0, np.abs(expected).max() / 100)
    )


@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("mean", MEANS)
def test_gradient_with_weights_outputs_and_means(outputs, mean):
    y = np.c_[Y, 100 * Y**2, X[:, 1]][:, :outputs].squeeze()
    model = GPRegressor("rbf", mean=mean).fit(X, y, sample_weight=RNG.uniform(0.3, 3.0, 14))
    theta = model.theta_ + 0.3
    _, gradient = model.log_marginal_likelihood(theta, eval_gradient=True)
    np.testing.assert_allclose(gradient, differences(model, theta), rtol=1e-5, atol=1e-4)


def test_gradient_of_a_gpytorch_kernel():
    kernel = gpytorch.kernels.ScaleKernel(gpytorch.kernels.MaternKernel(nu=1.5, ard_num_dims=2))
    model = GPRegressor(kernel).fit(X, Y)
    theta = model.theta_ + 0.2
    _, gradient = model.log_marginal_likelihood(theta, eval_gradient=True)
    np.testing.assert_allclose(gradient, differences(model, theta), rtol=1e-5, atol=1e-5)


def test_evaluating_the_likelihood_elsewhere_changes_nothing():
    model = GPRegressor("rbf").fit(X, Y)
    before = model.predict(NEW), str(model.kernel_), model.log_marginal_likelihood_
    model.log_marginal_likelihood(model.theta_ + 1.0, eval_gradient=True)
    np.testing.assert_array_equal(model.predict(NEW), before[0])
    assert (str(model.kernel_), model.log_marginal_likelihood_) == before[1:]
    assert model.log_marginal_likelihood() == pytest.approx(before[2], rel=1e-10)


@pytest.mark.parametrize("c", [1e-9, 3.0, 1e9])
@pytest.mark.parametrize("outputs", [1, 2])
def test_units_of_y_shift_the_likelihood_by_n_log_c(c, outputs):
    y = np.c_[Y, Y**3][:, :outputs].squeeze()
    plain, scaled = GPRegressor("rbf").fit(X, y), GPRegressor("rbf").fit(X, c * y)
    shift = 14 * outputs * np.log(c)
    assert scaled.log_marginal_likelihood_ == pytest.approx(plain.log_marginal_likelihood_ - shift, abs=1e-5)


def test_training_ends_where_the_gradient_of_the_likelihood_vanishes():
    model = GPRegressor("rbf", priors=None).fit(X, Y)
    _, gradient = model.log_marginal_likelihood(eval_gradient=True)
    np.testing.assert_allclose(gradient, 0.0, atol=1e-2)
    for step in 0.1 * np.vstack([np.eye(4), -np.eye(4)]):
        assert model.log_marginal_likelihood(model.theta_ + step) < model.log_marginal_likelihood_


def test_priors_move_the_optimum_and_lower_the_likelihood():
    with_priors, without = GPRegressor("rbf").fit(X, Y), GPRegressor("rbf", priors=None).fit(X, Y)
    assert with_priors.log_marginal_likelihood_ <= without.log_marginal_likelihood_ + 1e-6
    assert with_priors.fit_report_.objective != pytest.approx(with_priors.log_marginal_likelihood_)
    assert without.fit_report_.objective == pytest.approx(without.log_marginal_likelihood_, rel=1e-8)


def test_restarts_keep_the_best_and_follow_their_seed():
    one = GPRegressor("periodic + rbf").fit(X, Y)
    several = GPRegressor("periodic + rbf", n_restarts=3, random_state=0).fit(X, Y)
    again = GPRegressor("periodic + rbf", n_restarts=3, random_state=0).fit(X, Y)
    assert len(several.fit_report_.starts) == 4
    assert several.fit_report_.objective == max(several.fit_report_.starts)
    assert several.fit_report_.objective >= one.fit_report_.objective - 1e-6
    np.testing.assert_array_equal(several.theta_, again.theta_)


@pytest.mark.parametrize("x", [X, np.linspace(0.0, 1.0, 14)[:, None]], ids=["rows", "grid"])
@pytest.mark.parametrize("noise", ["learn", 0.1])
def test_restarts_where_the_kernel_has_nothing_to_learn(x, noise):
    def model(restarts):
        kernel = Scale(RBF(1.0, fixed=("lengthscale",)), 2.0, fixed=("outputscale",))
        return GPRegressor(kernel, noise=noise, n_restarts=restarts, random_state=0).fit(x, Y)

    one, several = model(0), model(3)
    assert len(several.fit_report_.starts) == 4
    assert several.log_marginal_likelihood_ == pytest.approx(one.log_marginal_likelihood_, rel=1e-9)
    np.testing.assert_allclose(several.predict(x), one.predict(x), rtol=1e-5)


# peers ---------------------------------------------------------------------------------------


SHARED = [case for case in CASES if case.sklearn is not None]


@pytest.mark.parametrize("case", SHARED, ids=lambda case: case.name)
def test_parity_with_scikit_learn(case):
    x, new = RNG.uniform(0, 1, (12, case.columns)), RNG.uniform(0, 1, (5, case.columns))
    y = np.sin(5 * x[:, 0])
    peer = GaussianProcessRegressor(case.sklearn(), alpha=0.05, optimizer=None).fit(x, y)
    model = fixed(case.make(), 0.05, normalize_y=False).fit(x, y)
    assert model.log_marginal_likelihood_ == pytest.approx(peer.log_marginal_likelihood_value_, rel=1e-9)
    mean, covariance = model.predict(new, return_cov=True, include_noise=False)
    expected_mean, expected = peer.predict(new, return_cov=True)
    np.testing.assert_allclose(mean, expected_mean, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(covariance, expected, rtol=1e-6, atol=1e-9)


class ExactGP(gpytorch.models.ExactGP):
    def __init__(self, x, y, likelihood, kernel):
        super().__init__(x, y, likelihood)
        self.mean_module, self.covar_module = gpytorch.means.ZeroMean(), kernel

    def forward(self, x):
        return gpytorch.distributions.MultivariateNormal(self.mean_module(x), self.covar_module(x))


@pytest.mark.parametrize(
    "case", [case for case in CASES if case.gpytorch is not None], ids=lambda case: case.name
)
def test_parity_with_gpytorch(case):
    x, new = RNG.uniform(0, 1, (12, case.columns)), RNG.uniform(0, 1, (5, case.columns))
    y = np.sin(5 * x[:, 0])
    likelihood = gpytorch.likelihoods.GaussianLikelihood().double()
    likelihood.noise = torch.tensor(0.05, dtype=torch.float64)
    peer = ExactGP(torch.tensor(x), torch.tensor(y), likelihood, case.gpytorch())
    exact = gpytorch.settings.fast_computations(False, False, False)
    with exact, torch.no_grad(), gpytorch.settings.fast_pred_var(False):
        peer.train(), likelihood.train()
        lml = 12 * gpytorch.mlls.ExactMarginalLogLikelihood(likelihood, peer)(
            peer(peer.train_inputs[0]), peer.train_targets
        )
        peer.eval(), likelihood.eval()
        there = peer(torch.tensor(new))
    foreign = GPRegressor(case.gpytorch().requires_grad_(False), noise=0.05, mean="zero", priors=None)
    foreign.kernel = gpytorch.kernels.ScaleKernel(foreign.kernel).double().requires_grad_(False)
    foreign.kernel.initialize(outputscale=torch.tensor(1.0, dtype=torch.float64))
    for model in (fixed(case.make(), 0.05), foreign):
        model.fit(x, y)
        assert model.log_marginal_likelihood_ == pytest.approx(float(lml), rel=1e-8)
        mean, covariance = model.predict(new, return_cov=True, include_noise=False)
        np.testing.assert_allclose(mean, there.mean, rtol=1e-6, atol=1e-8)
        np.testing.assert_allclose(covariance, there.covariance_matrix, rtol=1e-5, atol=1e-8)


# real data -----------------------------------------------------------------------------------


def reference_rows():
    path = REFERENCE / "evidence" / "gp_exact_reference.json"
    return json.loads(path.read_text())["rows"] if path.exists() else []


MAKE = {
    "rbf": RBF,
    "matern12": lambda scale: Matern(scale, nu=0.5),
    "matern32": lambda scale: Matern(scale, nu=1.5),
    "matern52": lambda scale: Matern(scale, nu=2.5),
    "rq1": lambda scale: RationalQuadratic(scale, 1.0),
}


@pytest.mark.skipif(not reference_rows(), reason="the reference data are not beside the checkout")
@pytest.mark.parametrize("dataset", sorted({row["dataset"] for row in reference_rows()}))
def test_reference_on_real_data(dataset):
    loader = runpy.run_path(str(REFERENCE / "uci" / "load_data.py"))
    rows = [row for row in reference_rows() if row["dataset"] == dataset and row["n"] <= 1500]
    assert rows
    for row in rows:
        *tables, y_sd = loader["standardise"](*loader["split"](dataset, row["split"]))
        x, y, x_new, y_new = tables
        d = x.shape[1]
        assert (len(x), d) == (row["n"], row["d"])
        scale = np.sqrt(d) * (np.linspace(0.8, 1.6, d) if row["lengthscale"] == "ard_lin" else np.ones(d))
        kernel = Scale(MAKE[row["kernel"]](list(scale)), row["outputscale"])
        model = fixed(kernel, row["noise"], normalize_y=False).fit(x, y)
        found = {
            "lml": model.log_marginal_likelihood_,
            "rmse_std": np.sqrt(np.mean((model.predict(x_new) - y_new) ** 2)),
            "nll_std": -model.log_predictive_density(x_new, y_new).mean(),
            "y_sd": y_sd,
        }
        assert found == pytest.approx({key: row[key] for key in found}, rel=1e-6), row


# the rest ------------------------------------------------------------------------------------


def test_report_says_what_was_done(capsys):
    model = GPRegressor("rbf", verbose=1).fit(X, Y)
    report = model.fit_report_
    assert isinstance(report, FitReport)
    assert report.plan.startswith("n=14, d=2: float64 Cholesky")
    assert report.converged and report.steps > 0 and report.evaluations >= report.steps
    assert report.jitter == 0.0 and report.seconds > 0.0
    assert str(report) in capsys.readouterr().out


def test_jitter_is_reported_where_noise_cannot_help():
    report = fixed(RBF(1.2), noise=0.0).fit(np.r_[X, X], np.r_[Y, Y]).fit_report_
    assert report.jitter > 0.0 and f"jitter {report.jitter:g}" in str(report)


def test_fitted_attributes():
    model = GPRegressor("rbf").fit(X, Y)
    assert model.theta_names_ == ["outputscale", "kernel.lengthscale[0]", "kernel.lengthscale[1]", "noise"]
    np.testing.assert_allclose(np.exp(model.theta_[-1]), model.noise_)
    np.testing.assert_allclose(np.exp(model.theta_[1:3]), model.kernel_.kernel.value("lengthscale"))
    assert "rbf(lengthscale=[" in str(model.kernel_)
    assert model.n_features_in_ == 2


def test_the_kernel_that_was_given_is_not_touched():
    kernel = 2.0 * RBF()
    model = GPRegressor(kernel)
    model.fit(X, Y)
    assert kernel.kernel.value("lengthscale") is None and kernel.value("outputscale") == 2.0
    assert model.kernel is kernel and model.kernel_ is not kernel
    assert clone(model).kernel.get_params()["kernel__lengthscale"] is None


def test_a_search_reaches_into_the_kernel_that_a_formula_means():
    grid = {"kernel__lengthscale": [0.5, 5.0], "kernel__fixed": [("lengthscale",)]}
    by_formula, by_kernel = (GridSearchCV(GPRegressor(k), grid, cv=2).fit(X, Y) for k in ("rbf", RBF()))
    scores = [search.cv_results_["mean_test_score"] for search in (by_formula, by_kernel)]
    np.testing.assert_array_equal(*scores)
    assert scores[0][0] != scores[0][1]
    model = GPRegressor(RBF()).set_params(kernel="rbf + linear", kernel__k2__variance=3.0, noise=0.1)
    assert str(model.kernel) == "rbf + linear(variance=3)" and model.noise == 0.1
    assert clone(model).get_params()["kernel__k2__variance"] == pytest.approx(3.0)
    assert GPRegressor("rbf").set_params(mean="zero").kernel == "rbf"  # a formula stays one


def test_fitting_again_forgets_the_first_fit():
    used = GPRegressor("rbf").fit(5.0 * X[:, :1], np.exp(Y)).fit(X, Y)
    np.testing.assert_array_equal(used.predict(NEW), GPRegressor("rbf").fit(X, Y).predict(NEW))


def test_the_input_is_not_changed():
    x, y, w = X.copy(), Y.copy(), np.ones(14)
    model = GPRegressor("linear + rbf", mean="linear").fit(x, y, sample_weight=w)
    model.predict(x, return_cov=True), model.sample_y(x), model.update(x, y)
    for now, before in ((x, X), (y, Y), (w, np.ones(14))):
        np.testing.assert_array_equal(now, before)


def test_read_only_and_strided_arrays():
    x, y = np.asfortranarray(X)[::1], Y.copy()
    x.flags.writeable = y.flags.writeable = False
    expected = GPRegressor("rbf").fit(X, Y).predict(NEW)
    np.testing.assert_array_equal(GPRegressor("rbf").fit(x, y).predict(NEW), expected)
    doubled = np.repeat(X, 2, 0)[::2]
    np.testing.assert_array_equal(GPRegressor("rbf").fit(doubled, Y).predict(NEW), expected)


def test_threads_are_as_they_were():
    before = torch.get_num_threads()
    GPRegressor("rbf").fit(X, Y).predict(X)
    with pytest.raises(InputError):
        GPRegressor("rbf", mean="cubic").fit(X, Y)
    assert torch.get_num_threads() == before


def test_a_default_fit_is_calibrated_on_a_known_function():
    rng = np.random.default_rng(0)
    x = rng.uniform(0, 6, (80, 1))
    y = np.sin(x[:, 0]) + 0.1 * rng.standard_normal(80)
    new = rng.uniform(0, 6, (400, 1))
    truth = np.sin(new[:, 0]) + 0.1 * rng.standard_normal(400)
    model = GPRegressor().fit(x, y)
    low, high = model.predict_quantiles(new, [0.05, 0.95]).T
    assert 0.85 <= np.mean((low < truth) & (truth < high)) <= 0.95
    assert model.noise_ == pytest.approx(0.01, rel=0.4)
    assert model.score(new, truth) > 0.97


def test_a_linear_mean_with_columns_left_out_survives_saving(tmp_path):
    x = np.c_[X, X[:, 0] - X[:, 1]]
    model = GPRegressor("rbf", mean="linear").fit(x, Y)
    model.save(tmp_path / "model")
    new = np.c_[NEW, NEW[:, 0]]
    np.testing.assert_array_equal(GPRegressor.load(tmp_path / "model").predict(new), model.predict(new))


# what an audit found ---------------------------------------------------------------------------


@pytest.mark.parametrize("constant", [0.0, 0.1, 0.7, 3.0, 1e9 + 0.1])
def test_a_constant_output_spoils_no_other(constant):
    x = np.linspace(0.0, 6.0, 40)[:, None]
    wave = np.sin(x[:, 0])
    mean, sd = (
        GPRegressor("rbf").fit(x, np.stack([wave, np.full(40, constant)], 1)).predict(x, return_std=True)
    )
    np.testing.assert_allclose(mean[:, 0], wave, atol=1e-3)
    np.testing.assert_allclose(mean[:, 1], constant, rtol=1e-6, atol=1e-6)
    assert (sd[:, 0] < 0.1).all()


def test_the_prior_of_a_gpytorch_kernel_counts():
    x = np.linspace(0.0, 6.0, 40)[:, None]
    fits = {}
    for name, prior in (("none", None), ("long", gpytorch.priors.LogNormalPrior(3.0, 0.01))):
        kernel = gpytorch.kernels.ScaleKernel(gpytorch.kernels.RBFKernel(lengthscale_prior=prior))
        fits[name] = float(
            GPRegressor(kernel).fit(x, np.sin(x[:, 0])).kernel_.base_kernel.lengthscale.detach()
        )
    assert fits["none"] < 3.0 and fits["long"] == pytest.approx(np.exp(3.0), rel=0.05)


def test_an_update_reports_its_jitter_and_a_fit_its_whole_time():
    x = np.linspace(0.0, 1.0, 10)[:, None]
    model = fixed(RBF(1.0), noise=0.0).fit(x, x[:, 0])
    model.update(x[:3], x[:3, 0])
    assert model.fit_report_.jitter == model.posterior_.factor.jitter > 0.0
    assert model.fit_report_.seconds > 0.0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"objective": np.array(["lml"])}, "objective must be one of"),
        ({"priors": np.ones(2)}, "priors must be one of"),
        ({"normalize_y": "no"}, "normalize_y must be one of"),
    ],
)
def test_an_argument_of_another_kind_is_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        GPRegressor(**arguments).fit([[0.0], [1.0]], [0.0, 1.0])


@pytest.mark.parametrize("noise", [25.0, "rows"])
def test_known_noise_of_several_outputs_is_in_the_units_of_y(noise):
    rng = np.random.default_rng(0)
    X = rng.uniform(0.0, 10.0, (40, 1))
    y = 100.0 * np.sin(X[:, 0]) + 5.0 * rng.standard_normal(40)
    noise = np.linspace(20.0, 30.0, 40) if noise == "rows" else noise
    one = GPRegressor(noise=noise).fit(X, y)
    two = GPRegressor(noise=noise).fit(X, np.c_[y, y])
    assert two.log_marginal_likelihood_ == pytest.approx(2.0 * one.log_marginal_likelihood_, abs=0.5)
    mean, sd = two.predict([[5.0]], return_std=True)
    expected, expected_sd = one.predict([[5.0]], return_std=True)
    np.testing.assert_allclose(mean, [[expected[0]] * 2], rtol=0.02)
    np.testing.assert_allclose(sd, [[expected_sd[0]] * 2], rtol=0.1)
