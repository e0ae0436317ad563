"""Scores of a model by its joint density: identities, and models that never saw the rows."""

import math

import dense
import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import norm
from sklearn.linear_model import BayesianRidge

from nonparam import DeepKernelRegressor, GPRegressor, SpectralMixtureRegressor, fitting, kernels, scoring
from nonparam.errors import InputError, InsufficientMemoryError
from nonparam.model_selection import (
    aic,
    bic,
    clml,
    effective_parameters,
    k_fold,
    lml,
    loo,
    prequential,
)
from nonparam.model_selection import joint as joint_module
from nonparam.model_selection.evidence import fit_mean
from nonparam.model_selection.held_out import HeldOutRows, precision_of
from nonparam.solvers.cholesky import cholesky

RNG = np.random.default_rng(5)
N = 24
X = np.sort(RNG.uniform(0.0, 6.0, (N, 1)), 0)
Y = 50.0 + 7.0 * np.sin(X[:, 0]) + RNG.standard_normal(N)
TWO = np.c_[Y, 0.01 * np.cos(X[:, 0]) + 0.002 * RNG.standard_normal(N)]
MEANS = ("zero", "constant", "linear")
MODELS = {
    "gp": GPRegressor("rbf"),
    "linear": GPRegressor("linear + periodic(3)", mean="zero"),
    "known noise": GPRegressor("matern32", noise=1.0, mean="linear"),
    "two": GPRegressor("rbf"),
    "spectral": SpectralMixtureRegressor(1),
}
FITTED = {name: model.fit(X, TWO if name == "two" else Y) for name, model in MODELS.items()}


@pytest.fixture(params=FITTED.values(), ids=FITTED)
def model(request):
    return request.param


def covariance(model):
    data = model.posterior_.data
    k = model.kernel_.matrix(data.x).detach().numpy()
    return (k + np.diag(data.noise_variances(model.posterior_.noise).numpy())) * model.y_scale_[0] ** 2


# identities -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kernel", ["rbf", "matern12 + linear", "periodic(2)"])
def test_increments_add_up_to_the_marginal_likelihood(kernel):
    model = GPRegressor(kernel, mean="zero").fit(X, Y)
    for order in (None, RNG.permutation(N), np.arange(N)[::-1]):
        assert prequential(model, order=order).sum() == pytest.approx(lml(model), rel=1e-10)


def test_with_a_mean_they_add_up_to_the_density_without_its_coefficient(model):
    if model.mean != "constant":
        pytest.skip("the coefficients of a line have another unit than the first rows")
    joint = model.joint_density()
    for order in (np.arange(N), RNG.permutation(N)):
        found = joint.increments(order)
        assert found.shape == (N - 1,)
        assert found.sum() == pytest.approx(lml(model), rel=1e-10)


def test_without_coefficients_the_fitted_attribute_is_the_marginal_likelihood(model):
    data, joint = model.posterior_.data, model.joint_density()
    found = joint.log_density()
    if data.basis.shape[1] == 0:
        assert found == pytest.approx(model.log_marginal_likelihood_, rel=1e-10)
    else:
        assert found < model.log_marginal_likelihood_ + 10.0 * data.basis.shape[1]
        assert found != pytest.approx(model.log_marginal_likelihood_, abs=1e-3)


@pytest.mark.parametrize("mean", MEANS)
def test_increments_are_densities_given_the_rows_before(mean):
    model = GPRegressor("rbf", mean=mean).fit(X, Y)
    A, order = covariance(model), RNG.permutation(N)
    H = dense.basis(mean, X)
    q = H.shape[1]
    expected = []
    for i in range(q, N):
        old, new = order[:i], order[[i]]
        m, v = dense.posterior(
            A[np.ix_(old, old)], A[np.ix_(old, new)], A[np.ix_(new, new)], Y[old], H[old], H[new]
        )
        expected.append(dense.log_normal(Y[new], m, v))
    np.testing.assert_allclose(prequential(model, order=order), expected, atol=1e-7)


def test_rows_that_repeat_each_other_determine_a_line_later():
    x = np.array([[1.0], [1.0], [1.0], [2.0], [3.0], [4.0]])
    model = GPRegressor("rbf", mean="linear", noise=0.1).fit(x, np.arange(6.0))
    assert prequential(model).shape == (2,)  # three equal rows and another one: no line before the fourth
    assert prequential(model, order=np.arange(6)[::-1]).shape == (4,)


def test_the_mean_of_last_increments_over_orders_is_leave_one_out():
    """By the closed form, and by 4,000 random orders."""
    model = GPRegressor("rbf").fit(X[::2], Y[::2])
    joint, closed = model.joint_density(), loo(model)
    rng = np.random.default_rng(0)
    last = np.array([joint.increments(rng.permutation(12))[-1] for _ in range(4000)])
    assert abs(last.mean() - closed.value) < 3.0 * last.std(ddof=1) / math.sqrt(4000)


def test_conditioning_on_nothing_is_the_marginal_likelihood():
    for name in ("rbf", "linear"):
        joint = GPRegressor(name, mean="zero").fit(X, Y).joint_density()
        held = joint.held_out([np.arange(N)])[0]
        assert held.log_joint == pytest.approx(joint.log_density(), rel=1e-10)


def test_all_orders_of_three_rows_average_to_the_marginal_likelihood():
    """The marginal likelihood is the sum over sizes of leave-some-out scores (Fong and Holmes, 2020)."""
    model = GPRegressor("rbf", mean="zero", noise=1.0).fit(X[:3], Y[:3])
    joint = model.joint_density()
    given = {0: [], 1: [], 2: []}
    for order in ((0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)):
        for i, value in enumerate(joint.increments(np.array(order))):
            given[i].append(value)
    assert sum(np.mean(values) for values in given.values()) == pytest.approx(lml(model), rel=1e-10)


def test_the_gap_is_what_the_rows_know_of_each_other():
    model = GPRegressor("rbf(1e-3)", mean="zero").set_params(kernel__fixed=("lengthscale",)).fit(X, Y - 50.0)
    assert abs(clml(model).gap) < 1e-8  # rows without correlation
    joint = clml(FITTED["gp"])
    for held in joint.held_out:
        assert held.gap == pytest.approx(held.log_joint - held.log_densities.sum())
    assert joint.gap != pytest.approx(0.0, abs=1e-3)


@pytest.mark.parametrize("refitted", [False, True])
def test_the_seed_alone_decides_which_rows(refitted):
    model = GPRegressor("linear")
    found = [clml(model, X, Y, n_orderings=3, refitted=refitted, random_state=s) for s in (0, 0, 1)]
    assert found[0].value == found[1].value != found[2].value
    np.testing.assert_array_equal(found[0].held_out[1].rows, HeldOutRows("clml", 0.9, 3, 0).sets(N)[1])


# against models that never saw the rows ---------------------------------------------------------


def blind(model, rows):
    """The same hyperparameters, conditioned on the other rows only."""
    old = np.setdiff1d(np.arange(N), rows)
    y = model.posterior_.data.y.numpy() * model.y_scale_ + model.y_mean_
    H = model.posterior_.data.basis.numpy()
    A = covariance(model)
    return dense.posterior(
        A[np.ix_(old, old)], A[np.ix_(old, rows)], A[np.ix_(rows, rows)], y[old, 0], H[old], H[rows]
    ), y[rows, 0]


def test_what_is_said_of_held_out_rows(model):
    if model.posterior_.data.y.shape[1] == 2:
        pytest.skip("see the test of several outputs")
    for held in model.joint_density().held_out([np.array([3]), np.array([1, 8, 20]), np.arange(5)]):
        (m, v), y = blind(model, held.rows)
        sd = np.sqrt(np.diag(v))
        np.testing.assert_allclose(held.mean[:, 0], m, rtol=1e-6)
        np.testing.assert_allclose(held.sd[:, 0], sd, rtol=1e-6)
        np.testing.assert_allclose(held.residual[:, 0], y - m, atol=1e-5)
        np.testing.assert_allclose(held.cdf[:, 0], norm.cdf(y, m, sd), atol=1e-6)
        np.testing.assert_allclose(held.log_densities[:, 0], norm.logpdf(y, m, sd), atol=1e-6)
        assert held.log_joint == pytest.approx(dense.log_normal(y, m, v), abs=1e-6)


def test_outputs_add_up_in_their_own_units():
    both = FITTED["two"]
    joint, change = both.joint_density(), np.log(both.y_scale_)
    assert both.y_scale_[0] > 100.0 * both.y_scale_[1]
    data = both.posterior_.data
    kernel = both.kernel_.__sklearn_clone__().set_params(
        fixed=("outputscale",), kernel__fixed=("lengthscale",)
    )
    rows = np.array([2, 9])
    held = joint.held_out([rows])[0]
    total = 0.0
    for j in range(2):
        alone = GPRegressor(kernel, noise=both.noise_).fit(X, data.y[:, j].numpy()).joint_density()
        total += alone.held_out([rows])[0].log_joint - 2 * change[j]
        np.testing.assert_allclose(
            held.sd[:, j], alone.held_out([rows])[0].sd[:, 0] * both.y_scale_[j], rtol=1e-9
        )
    assert held.log_joint == pytest.approx(total, abs=1e-8)
    assert held.log_densities.shape == held.cdf.shape == (2, 2)
    assert prequential(both).sum() == pytest.approx(joint.log_density(), rel=1e-9)


def test_refitted_scores_are_those_of_models_without_the_rows():
    model = GPRegressor("rbf")
    found = k_fold(model, X, Y, cv=4, refitted=True)
    for held in found.held_out:
        old = np.setdiff1d(np.arange(N), held.rows)
        other = GPRegressor("rbf").fit(X[old], Y[old])
        np.testing.assert_allclose(
            held.log_densities[:, 0], other.log_predictive_density(X[held.rows], Y[held.rows]), atol=1e-9
        )
        m, v = other.predict(X[held.rows], return_cov=True)
        assert held.log_joint == pytest.approx(dense.log_normal(Y[held.rows], m, v), abs=1e-7)
    assert found.value != k_fold(model, X, Y, cv=4).value
    assert np.sort(np.concatenate([held.rows for held in found.held_out])).tolist() == list(range(N))


@pytest.mark.parametrize("order", [None, RNG.permutation(N)])
def test_refitted_increments_are_forecasts_of_models_of_the_rows_before(order):
    found = prequential(GPRegressor("rbf"), X, Y, order=order, refitted=True, start=20)
    rows = np.arange(N) if order is None else order
    expected = []
    for i in range(20, N):
        model = GPRegressor("rbf").fit(X[rows[:i]], Y[rows[:i]])
        expected.append(model.log_predictive_density(X[rows[[i]]], Y[rows[[i]]]).item())
    np.testing.assert_allclose(found, expected, atol=1e-8)


@pytest.mark.parametrize("start", [1, N, 2.5, True])
def test_a_start_that_leaves_no_row(start):
    with pytest.raises(InputError, match=f"start must be a whole number from 2 to 23, one .* got {start!r}"):
        prequential(GPRegressor("rbf"), X, Y, refitted=True, start=start)


def test_refitted_leave_one_out_and_tables_with_names():
    table = pd.DataFrame({"t": X[:8, 0]})
    series = pd.Series(Y[:8], index=list("abcdefgh"))
    found = loo(GPRegressor("linear", noise=1.0), table, series, refitted=True)
    assert found.by_row("sd").shape == (8, 1) and np.isfinite(found.value)
    assert clml(GPRegressor("linear"), table, series, fraction=0.5, n_orderings=2, refitted=True).value < 0.0


def test_scores_are_means_in_nats_per_row(model):
    each = loo(model).by_row("log_densities").sum(1)
    assert loo(model).value == pytest.approx(each.mean())
    assert loo(model).standard_error == pytest.approx(each.std(ddof=1) / math.sqrt(N))
    found = clml(model, n_orderings=7)
    values = [held.log_joint / len(held.rows) for held in found.held_out]
    assert found.value == pytest.approx(np.mean(values)) and len(values) == 7
    assert found.standard_error == pytest.approx(np.std(values, ddof=1) / math.sqrt(7))
    assert clml(model, n_orderings=1).standard_error == math.inf


def test_effective_parameters_are_the_trace_of_the_smoother():
    model = GPRegressor("rbf", mean="zero").fit(X, Y)
    A = covariance(model)
    K = A - model.noise_ * np.eye(N)
    assert effective_parameters(model) == pytest.approx(np.trace(K @ np.linalg.inv(A)), rel=1e-8)
    line = GPRegressor("linear", mean="linear", noise=1.0).fit(X, Y)
    assert effective_parameters(line) == pytest.approx(2.0, abs=1e-6)  # the mean has it already


@pytest.mark.parametrize("mean", MEANS)
def test_effective_parameters_are_the_slopes_of_the_fitted_values(mean):
    model = GPRegressor("rbf", mean=mean).fit(X, Y)
    frozen = model.kernel_.__sklearn_clone__().set_params(
        fixed=("outputscale",), kernel__fixed=("lengthscale",)
    )
    total = 0.0
    for i in range(N):
        up, down = (
            GPRegressor(frozen, mean=mean, noise=model.noise_).fit(X, Y + sign * 0.5 * (np.arange(N) == i))
            for sign in (1.0, -1.0)
        )
        total += up.predict(X[[i]])[0] - down.predict(X[[i]])[0]
    assert effective_parameters(model) == pytest.approx(total, rel=1e-7)


def test_bic_and_aic_count_hyperparameters_and_coefficients():
    model = FITTED["gp"]
    assert model.num_parameters_ == 4  # variance, lengthscale, noise and the mean
    assert bic(model) == pytest.approx(model.log_marginal_likelihood_ - 2.0 * math.log(N))
    assert aic(model) == pytest.approx(model.log_marginal_likelihood_ - 4.0)
    assert FITTED["two"].num_parameters_ == 5
    assert FITTED["known noise"].num_parameters_ == 4


def test_deep_kernels_have_scores():
    model = DeepKernelRegressor((8, 1), max_steps=20, random_state=0).fit(X, Y)
    assert clml(model).value == pytest.approx(loo(model).value, abs=1.0)


# by solves --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("solver", "tolerance"), [("cg", 1e-4), ("toeplitz", 1e-8), ("state_space", 1e-8)])
def test_by_solves_it_is_the_form_with_a_factor(solver, tolerance, monkeypatch):
    """Blocks of the precision by solves; conjugate gradients are certified to 1e-6 only."""
    x = np.linspace(0.0, 9.0, 90)[:, None]
    y = 3.0 * np.sin(x[:, 0]) + 0.3 * RNG.standard_normal(90)
    monkeypatch.setattr(fitting, "factorises", lambda n, free: False)
    model = GPRegressor("matern32", solver=solver).fit(x, y)
    exact = model.joint_density()
    monkeypatch.setattr(scoring, "SEARCHED", 50)
    solved = model.joint_density()
    assert type(solved) is not type(exact)
    sets = [np.arange(80, 90), np.array([4, 40, 80])]
    for ours, theirs in zip(solved.held_out(sets), exact.held_out(sets), strict=True):
        assert ours.log_joint == pytest.approx(theirs.log_joint, rel=tolerance)
        np.testing.assert_allclose(ours.sd, theirs.sd, rtol=tolerance)
        np.testing.assert_allclose(ours.mean, theirs.mean, rtol=tolerance, atol=tolerance)
    if solver != "cg":  # its log-determinant is an estimate
        assert solved.log_density() == pytest.approx(exact.log_density(), rel=1e-8)
    with pytest.raises(
        InputError, match="increments of the log marginal likelihood need a matrix of 90 x 90"
    ):
        solved.increments(np.arange(90))
    with pytest.raises(InputError, match="the effective number of parameters need a matrix of"):
        solved.effective_parameters()
    monkeypatch.setattr(joint_module, "MOST_SOLVED", 12)
    assert len(clml(model, n_orderings=1).held_out) == 1
    with pytest.raises(
        InputError, match=r"2 set\(s\) of 18 held-out rows in all need as many solves with 90 rows"
    ):
        clml(model, n_orderings=2)
    with pytest.raises(
        InputError, match=r"at most 12 are made: hold out fewer, as in clml\(model, n_orderings=1"
    ):
        loo(model)


@pytest.mark.parametrize("size", [1.0, 1e-3, 1e4])
@pytest.mark.parametrize("outputs", [1, 2])
def test_the_evidence_integrates_the_coefficient_of_the_mean(outputs, size):
    """Nothing is learnt here but the mean: against quadrature, in the units of the data."""
    y = size * (2.0 + np.c_[np.sin(X[:8, 0]), np.cos(X[:8, 0])][:, :outputs])
    kernel = kernels.Scale(kernels.RBF(1.0, fixed=("lengthscale",)), 0.8 * size**2, fixed=("outputscale",))
    model = GPRegressor(kernel, noise=0.05 * size**2).fit(X[:8], y[:, 0] if outputs == 1 else y)
    A = size**2 * (dense.rbf(X[:8], X[:8], 1.0, 0.8) + 0.05 * np.eye(8))
    total = 0.0
    for column in y.T:
        mean, width = column.mean(), 3.0 * size
        places = np.linspace(mean - 5.0 * width, mean + 5.0 * width, 4001)
        heights = np.exp([dense.log_normal(column - place, np.zeros(8), A) for place in places])
        total += math.log(np.trapezoid(heights, places))
    assert model.log_evidence() == pytest.approx(total, abs=1e-6)
    assert model.joint_density().log_density() == pytest.approx(total, abs=1e-6)


def test_the_prior_of_a_period_stays_where_the_search_began(tmp_path):
    """Its logarithm has a standard deviation of 0.1: what a start that is 8 % off costs is known."""
    x = np.arange(60.0)[:, None]
    y = np.sin(2.0 * np.pi * x[:, 0] / 12.0) + 0.1 * RNG.standard_normal(60)
    near, far = (GPRegressor(f"periodic({p})").fit(x, y) for p in (12.0, 13.0))
    assert far.theta_[1:] == pytest.approx(near.theta_[1:], abs=0.02)
    cost = 0.5 * (np.log(13.0 / 12.0) / 0.1) ** 2
    assert near.log_evidence() - far.log_evidence() == pytest.approx(cost, abs=0.02)
    far.save(tmp_path / "far")
    assert GPRegressor.load(tmp_path / "far").log_evidence() == far.log_evidence()


def test_units_change_the_evidence_as_those_of_a_density():
    """With one coefficient of the mean integrated out, n - 1 rows lose the logarithm of the scale."""
    both = [GPRegressor("rbf").fit(X, scale * TWO) for scale in (1.0, 100.0)]
    change = both[0].log_evidence() - both[1].log_evidence()
    assert change == pytest.approx(2 * (N - 1) * math.log(100.0), abs=1e-6)


def test_blocks_of_the_precision_are_the_schur_complement_of_the_other_rows():
    """To 1e-8, through solves with the rows that are conditioned on and a factor of the rest."""
    A, order = covariance(FITTED["known noise"]), RNG.permutation(N)
    y, H = Y - Y.mean(), np.ones((N, 1))
    old, new = order[:15], order[15:]
    a, values, basis = (torch.tensor(table) for table in (A[np.ix_(old, old)], y[old, None], H[old]))
    factor = cholesky(a)
    solved = factor.solve(torch.tensor(A[np.ix_(old, new)]))
    mean = fit_mean(factor, values, basis)
    left = torch.tensor(H[new]) - solved.mT @ basis
    schur = torch.tensor(A[np.ix_(new, new)] - A[np.ix_(new, old)] @ solved.numpy())
    schur += left @ torch.linalg.solve(mean.information, left.mT)
    error = y[new] - (A[np.ix_(new, old)] @ mean.alpha.numpy() + H[new] @ mean.coefficients.numpy())[:, 0]
    expected = dense.log_normal(error, np.zeros(9), schur.numpy())
    found = precision_of(torch.tensor(A), torch.tensor(y)[:, None], torch.tensor(H))
    assert found.conditional(torch.tensor(new)[None]).log_joint.item() == pytest.approx(expected, abs=1e-8)


# bad input --------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", [np.arange(N - 1), np.zeros(N, int), np.arange(N) + 1, np.arange(N) + 0.5])
def test_an_order_that_is_none(order):
    with pytest.raises(InputError, match=f"order must name each of the {N} rows once"):
        prequential(FITTED["gp"], order=order)


@pytest.mark.parametrize("cv", [1, 0, N + 1, 2.5, True, "5"])
def test_parts_that_cannot_be(cv):
    with pytest.raises(InputError, match=f"cv must be a whole number from 2 to the {N} rows, got {cv!r}"):
        k_fold(FITTED["gp"], cv=cv)


def test_a_fraction_that_leaves_one_row():
    with pytest.raises(InputError, match=r"fraction=0.99 of 24 rows leaves 0 to predict from 24"):
        clml(FITTED["gp"], fraction=0.99)


def test_refitting_needs_the_data():
    with pytest.raises(InputError, match="refitted=True needs the data: give X and y as well"):
        clml(FITTED["gp"], refitted=True)
    with pytest.raises(InputError, match="refitted=True needs the data"):
        prequential(FITTED["gp"], refitted=True)


def test_a_model_that_is_not_fitted():
    with pytest.raises(ValueError, match="not fitted yet"):
        loo(GPRegressor())


def test_a_matrix_that_does_not_fit(monkeypatch):
    def refuse(*_):
        raise InsufficientMemoryError("too many rows")

    monkeypatch.setattr(scoring, "choose", refuse)
    with pytest.raises(InsufficientMemoryError, match="too many rows"):
        loo(FITTED["gp"])


@pytest.mark.parametrize("score", [lml, prequential, clml, loo, k_fold, effective_parameters, bic, aic])
@pytest.mark.parametrize("model", [BayesianRidge().fit(np.eye(4), np.arange(4.0)), "rbf", GPRegressor])
def test_other_models_are_refused_with_advice(score, model):
    with pytest.raises(InputError, match=r"expected a regressor of ours.*nonparam\.compare takes kernels"):
        score(model)


def test_a_score_is_printed_without_its_rows():
    X = np.arange(12.0)[:, None]
    assert "HeldOut" not in repr(loo(GPRegressor("rbf").fit(X, np.sin(X[:, 0]))))
