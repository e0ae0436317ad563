"""Classification with Gaussian processes: right, calibrated, and clear where it cannot be."""

import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_digits, load_iris
from sklearn.exceptions import NotFittedError
from sklearn.gaussian_process import GaussianProcessClassifier
from sklearn.gaussian_process.kernels import RBF as SklearnRBF
from sklearn.gaussian_process.kernels import ConstantKernel
from sklearn.metrics import log_loss
from sklearn.preprocessing import scale
from sklearn.utils.estimator_checks import parametrize_with_checks

from nonparam import GPClassifier, classification
from nonparam.errors import InputError, InsufficientMemoryError
from nonparam.kernels import RBF, Scale
from nonparam.latent import plan
from nonparam.latent.concentration import CONCENTRATIONS
from nonparam.latent.dirichlet import LogNormal
from nonparam.objective import Data
from nonparam.posterior import condition

RNG = np.random.default_rng(1)
X = RNG.normal(size=(80, 2))
CODES = (X[:, 0] > 0.3).astype(int) + (X[:, 1] > 0.0)
TWO = (X[:, 0] + 0.3 * RNG.normal(size=80) > 0.0).astype(int)
NEW = RNG.normal(size=(11, 2))
ONE_SCALE = "rbf(ard=False)"


@pytest.fixture(scope="module")
def model():
    return GPClassifier(ONE_SCALE, random_state=0).fit(X, CODES)


@pytest.fixture(scope="module")
def pair():
    return GPClassifier(ONE_SCALE, random_state=0).fit(X, TWO)


def weights_that_are_no_repetitions(estimator):
    """A row that is given twice is left out once: its twin tells of it."""
    if estimator.temperature == "learn":
        return {"check_sample_weight_equivalence_on_dense_data": "calibration leaves out one row at a time"}
    return {}


@parametrize_with_checks(
    [
        GPClassifier(ONE_SCALE, random_state=0),
        GPClassifier(ONE_SCALE, inference="laplace", temperature=1.0, random_state=0),
        GPClassifier(ONE_SCALE, likelihood="softmax", inference="laplace", temperature=1.0, random_state=0),
        GPClassifier(ONE_SCALE, inference="dirichlet", alpha_epsilon=0.01, temperature=1.0, random_state=0),
    ],
    expected_failed_checks=weights_that_are_no_repetitions,
)
def test_scikit_learn_checks(estimator, check):
    check(estimator)


@pytest.mark.parametrize("fixture", ["model", "pair"])
def test_probabilities_are_such_and_labels_the_most_likely(fixture, request):
    fitted = request.getfixturevalue(fixture)
    shares = fitted.predict_proba(NEW)
    assert shares.shape == (11, len(fitted.classes_)) and (shares > 0.0).all()
    np.testing.assert_allclose(shares.sum(1), 1.0, rtol=1e-12)
    np.testing.assert_array_equal(fitted.predict(NEW), fitted.classes_[shares.argmax(1)])
    np.testing.assert_array_equal(fitted.predict_log_proba(NEW), np.log(shares))
    np.testing.assert_allclose(fitted.predict_proba(NEW[:1]), shares[:1], atol=1e-5)


@pytest.mark.parametrize(
    "names",
    [
        np.array(["ape", "bee", "cat"]),
        np.array(["ape", "bee", "cat"], dtype=object),
        np.array([-7, 0, 3]),
        np.array([0.0, 1.0, 5.0]),
    ],
)
def test_labels_of_any_type(model, names):
    named = clone(model).fit(X, names[CODES])
    np.testing.assert_array_equal(named.classes_, names)
    np.testing.assert_array_equal(named.predict(NEW), names[model.predict(NEW)])


def test_booleans_frames_tensors_and_pickles(pair):
    shares = pair.predict_proba(NEW)
    assert clone(pair).fit(X, TWO.astype(bool)).predict(NEW).dtype == bool
    frame = clone(pair).fit(pd.DataFrame(X, columns=["a", "b"]), pd.Series(TWO, dtype="category"))
    assert list(frame.feature_names_in_) == ["a", "b"]
    np.testing.assert_array_equal(frame.predict_proba(pd.DataFrame(NEW, columns=["a", "b"])), shares)
    tensor = clone(pair).fit(torch.from_numpy(X), torch.from_numpy(TWO))
    np.testing.assert_array_equal(tensor.predict_proba(torch.from_numpy(NEW)), shares)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(pair)).predict_proba(NEW), shares)


def test_the_order_of_rows_and_the_units_of_columns_change_nothing(pair):
    shares, order = pair.predict_proba(NEW), RNG.permutation(80)
    np.testing.assert_allclose(clone(pair).fit(X[order], TWO[order]).predict_proba(NEW), shares, atol=1e-3)
    wide = clone(pair).set_params(kernel="rbf").fit(X, TWO)
    scaled = clone(wide).fit(X * [1e6, 1e-6] + 5.0, TWO)
    new = NEW * [1e6, 1e-6] + 5.0
    np.testing.assert_allclose(scaled.predict_proba(new), wide.predict_proba(NEW), atol=1e-3)


def test_swapped_classes_are_swapped_probabilities(pair):
    swapped = clone(pair).fit(X, 1 - TWO)
    assert swapped.log_marginal_likelihood_ == pytest.approx(pair.log_marginal_likelihood_, abs=1e-3)
    np.testing.assert_allclose(swapped.predict_proba(NEW)[:, ::-1], pair.predict_proba(NEW), atol=2e-3)


def test_a_weight_of_two_is_the_row_given_twice(pair):
    weights = np.ones(80)
    weights[:5] = 2.0
    kernel = (3.0 * RBF(1.0)).double()
    arguments = {"kernel": kernel, "temperature": 1.0}
    weighted = clone(pair).set_params(**arguments).fit(X, TWO, weights)
    doubled = clone(pair).set_params(**arguments).fit(np.r_[X, X[:5]], np.r_[TWO, TWO[:5]])
    given, same = weighted.log_marginal_likelihood_, doubled.log_marginal_likelihood_
    assert given == pytest.approx(same, abs=0.05)
    np.testing.assert_allclose(weighted.predict_proba(NEW), doubled.predict_proba(NEW), atol=5e-3)
    spared = clone(pair).fit(X, TWO, np.r_[np.zeros(10), np.ones(70)])
    np.testing.assert_allclose(
        spared.predict_proba(NEW), clone(pair).fit(X[10:], TWO[10:]).predict_proba(NEW), atol=1e-6
    )


def test_hyperparameters_and_probabilities_are_scikit_learns():
    ours = GPClassifier(ONE_SCALE, mean="zero", priors=None, temperature=1.0).fit(X, TWO)
    theirs = GaussianProcessClassifier(ConstantKernel(3.0, (1e-6, 1e6)) * SklearnRBF(1.0)).fit(X, TWO)
    assert ours.log_marginal_likelihood_ == pytest.approx(theirs.log_marginal_likelihood_value_, abs=2e-3)
    at = ours.log_marginal_likelihood(theirs.kernel_.theta[[1, 0]])
    found = ours.log_marginal_likelihood(theirs.kernel_.theta)
    assert max(at, found) == pytest.approx(theirs.log_marginal_likelihood_value_, abs=1e-6)
    np.testing.assert_allclose(ours.predict_proba(NEW), theirs.predict_proba(NEW), atol=5e-3)


def test_the_evidence_of_hyperparameters_has_its_gradient(model, pair):
    for fitted in (model, pair):
        point = fitted.theta_ + 0.1
        value, slope = fitted.log_marginal_likelihood(point, eval_gradient=True)
        assert np.isfinite(value)
        for i, step in enumerate(1e-5 * np.eye(len(point))):
            ahead, behind = (fitted.log_marginal_likelihood(point + sign * step) for sign in (1.0, -1.0))
            assert slope[i] == pytest.approx((ahead - behind) / 2e-5, rel=1e-3, abs=1e-5)
        assert fitted.log_marginal_likelihood() == pytest.approx(fitted.log_marginal_likelihood_, abs=1e-6)


def test_the_evidence_prefers_the_kernel_that_the_labels_come_from():
    x = np.linspace(0.0, 10.0, 120)[:, None]
    y = np.sin(2.0 * x[:, 0]) > 0.0
    waves, line = (GPClassifier(kernel, random_state=0).fit(x, y) for kernel in ("rbf", "linear"))
    assert waves.log_evidence() > line.log_evidence() + 5.0
    assert waves.conditional_log_marginal_likelihood() > line.conditional_log_marginal_likelihood() + 0.1
    assert waves.conditional_log_marginal_likelihood() == waves.conditional_log_marginal_likelihood()


def test_the_conditional_evidence_is_a_difference(pair):
    found = pair.conditional_log_marginal_likelihood(fraction=0.5, n_orderings=1, random_state=3)
    first = np.sort(np.random.RandomState(3).permutation(80)[:40])
    fixed = clone(pair).fit(X, TWO)
    value = fixed._objective.rows(torch.from_numpy(first)).evaluate(fixed.theta_, gradient=False)[0]
    assert found == pytest.approx((pair.log_marginal_likelihood_ - value) / 40.0, rel=1e-8)


@pytest.mark.parametrize(("load", "best"), [(load_breast_cancer, 0.11), (load_iris, 0.2)])
def test_real_labels_are_told_apart_better_than_by_scikit_learn(load, best):
    x, y = load(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(x))
    train, test = order[: len(x) // 2], order[len(x) // 2 :]
    x = scale(x)
    ours = GPClassifier(ONE_SCALE, random_state=0).fit(x[train], y[train])
    theirs = GaussianProcessClassifier(ConstantKernel(3.0) * SklearnRBF(x.shape[1] ** 0.5))
    theirs.fit(x[train], y[train])
    loss = log_loss(y[test], ours.predict_proba(x[test]))
    assert loss < best and loss < log_loss(y[test], theirs.predict_proba(x[test]))


def test_ten_digits_are_calibrated():
    x, y = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(x))
    train, test = order[:250], order[250:1250]
    fitted = GPClassifier(ONE_SCALE, random_state=0).fit(x[train] / 16.0, y[train])
    shares = fitted.predict_proba(x[test] / 16.0)
    right = shares.argmax(1) == y[test]
    assert log_loss(y[test], shares) < 0.22 and right.mean() > 0.93
    assert abs(right.mean() - shares.max(1).mean()) < 0.02


def test_variational_inference_agrees_with_laplace_on_which_class(pair):
    other = clone(pair).set_params(inference="variational").fit(X, TWO)
    np.testing.assert_allclose(other.predict_proba(NEW), pair.predict_proba(NEW), atol=0.06)


@pytest.mark.parametrize("y", [CODES, TWO])
def test_log_normal_targets_are_those_of_one_regression_for_each_class(y):
    """Predictions and evidence with fixed hyperparameters, beside the posterior of each class alone."""
    given = Scale(RBF(1.0, fixed=("lengthscale",)), 20.0, fixed=("outputscale",))
    model = GPClassifier(given, inference="dirichlet", alpha_epsilon=0.001, temperature=1.0).fit(X, y)
    seen, evidence = LogNormal.of(0.001), 0.0
    means, variances = model.latent_mean_and_variance(NEW)
    x, ones = torch.from_numpy(X), torch.ones(80, 1, dtype=torch.float64)
    for c in np.unique(y):
        own = y == c
        targets = torch.from_numpy(np.where(own, seen.inside, seen.outside))[:, None]
        noise = torch.from_numpy(np.where(own, seen.inside_noise, seen.outside_noise))
        alone = condition(model.kernel_, Data(x, targets, ones, ones[:, 0], noise), 0.0)
        new = torch.from_numpy(NEW)
        np.testing.assert_allclose(means[:, c], alone.predict_mean(new, ones[:11])[:, 0], rtol=1e-8)
        np.testing.assert_allclose(variances[:, c], alone.predict_variance(new, ones[:11]), rtol=1e-8)
        evidence += alone.log_marginal_likelihood()
    assert model.log_marginal_likelihood_ == pytest.approx(evidence, rel=1e-10)
    assert model.log_marginal_likelihood() == pytest.approx(evidence, rel=1e-10)


def test_evidence_and_conditional_evidence_of_log_normal_targets():
    x = np.linspace(0.0, 10.0, 120)[:, None]
    y = np.sin(2.0 * x[:, 0]) > 0.0
    waves, line = (
        GPClassifier(k, inference="dirichlet", random_state=0).fit(x, y) for k in ("rbf", "linear")
    )
    assert waves.log_evidence() > line.log_evidence() + 5.0
    assert waves.conditional_log_marginal_likelihood() > line.conditional_log_marginal_likelihood() + 0.1
    value, slope = waves.log_marginal_likelihood(waves.theta_ + 0.1, eval_gradient=True)
    for i, step in enumerate(1e-5 * np.eye(len(slope))):
        up, down = (waves.log_marginal_likelihood(waves.theta_ + 0.1 + s) for s in (step, -step))
        assert slope[i] == pytest.approx((up - down) / 2e-5, rel=1e-5, abs=1e-5)
    assert value < waves.log_marginal_likelihood_ + 5.0


def test_several_classes_are_regressed_on(model, pair):
    assert model.inference_ == "dirichlet" and pair.inference_ == "laplace"
    assert GPClassifier(ONE_SCALE, mean="zero", random_state=0).fit(X, CODES).inference_ == "laplace"


def test_doubtful_labels_have_a_larger_concentration():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 2))
    clear = (x[:, 0] > 0.0).astype(int) + (x[:, 1] > 0.0)
    doubtful = np.where(rng.random(300) < 0.4, rng.integers(3, size=300), clear)
    model = GPClassifier(ONE_SCALE, random_state=0)
    first, second = (clone(model).fit(x, y).alpha_epsilon_ for y in (clear, doubtful))
    assert first < 0.1 <= second
    best = clone(model).fit(x, doubtful).calibration_.log_loss
    for value in CONCENTRATIONS:
        one = clone(model).set_params(alpha_epsilon=value).fit(x, doubtful)
        assert one.alpha_epsilon_ == value and one.calibration_.log_loss >= best - 1e-3


def test_a_weight_of_two_is_the_row_given_twice_with_log_normal_targets():
    weights = np.where(X[:, 0] > 0.0, 2.0, 1.0)
    twice = np.repeat(np.arange(80), weights.astype(int))
    model = GPClassifier("rbf(1.0)", inference="dirichlet", alpha_epsilon=0.01, temperature=1.0)
    weighted, repeated = clone(model).fit(X, CODES, weights), clone(model).fit(X[twice], CODES[twice])
    at = weighted.theta_
    assert weighted.log_marginal_likelihood(at) == pytest.approx(
        repeated.log_marginal_likelihood(at), rel=1e-9
    )
    np.testing.assert_allclose(repeated.theta_, at, atol=1e-3)
    np.testing.assert_allclose(weighted.predict_proba(NEW), repeated.predict_proba(NEW), atol=1e-4)
    learnt = GPClassifier(ONE_SCALE, random_state=0).fit(X, CODES, weights)
    assert learnt.inference_ == "dirichlet" and learnt.score(X, CODES) > 0.9


def test_what_log_normal_targets_do_not_take():
    model = GPClassifier(ONE_SCALE, inference="dirichlet", random_state=0)
    with pytest.raises(InputError, match="fits a constant for each class, got mean='zero'"):
        clone(model).set_params(mean="zero").fit(X, CODES)
    assert clone(model).set_params(mean="linear").fit(X, CODES).score(X, CODES) > 0.9


def test_a_rare_class_is_not_forgotten():
    x = RNG.normal(size=(300, 1))
    y = np.zeros(300, dtype=int)
    rare = np.argsort(x[:, 0])[-9:]
    y[rare] = 1
    fitted = GPClassifier("rbf", random_state=0).fit(x, y)
    assert fitted.predict_proba([[x.max()]])[0, 1] > 0.5 > fitted.predict_proba([[0.0]])[0, 1]
    assert abs(fitted.predict_proba(x)[:, 1].mean() - 0.03) < 0.01


def test_many_rows_learn_by_a_part_of_them_and_say_so(monkeypatch):
    monkeypatch.setattr(classification, "FEWEST", 60)
    monkeypatch.setattr(classification, "SEARCHED", 60)
    fitted = GPClassifier(ONE_SCALE, random_state=0).fit(X, TWO)
    assert "hyperparameters by 60 rows" in fitted.fit_report_.plan
    assert len(fitted._latent.x) == 80


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"likelihood": "probit"}, r"likelihood must be one of"),
        ({"likelihood": "bernoulli"}, r"two classes, got 3: take 'softmax'"),
        ({"inference": "mcmc"}, r"inference must be one of"),
        ({"mean": "cubic"}, r"mean must be one of"),
        ({"priors": "flat"}, r"priors must be one of"),
        ({"n_restarts": -1}, r"n_restarts"),
        ({"temperature": 0.0}, r"temperature must be 'learn' or a positive number"),
        ({"temperature": "hot"}, r"temperature must be 'learn' or a positive number"),
    ],
)
def test_arguments_that_cannot_be(arguments, said):
    with pytest.raises(InputError, match=said):
        GPClassifier(**arguments).fit(X, CODES)


@pytest.mark.parametrize(
    ("y", "said"),
    [
        (np.zeros(80), r"one class only"),
        (np.where(TWO, np.nan, 1.0), r"contains NaN"),
        (RNG.normal(size=80), r"[Uu]nknown label type|whole numbers"),
        (TWO[:-1], r"inconsistent lengths"),
    ],
)
def test_labels_that_cannot_be(y, said):
    with pytest.raises(ValueError, match=said):
        GPClassifier().fit(X, y)


def test_what_cannot_be_asked(pair):
    with pytest.raises(NotFittedError):
        GPClassifier().predict(X)
    with pytest.raises(InputError, match="have a weight of 0"):
        GPClassifier().fit(X, TWO, 1.0 - TWO)
    with pytest.raises(InputError, match="theta must be 2 finite numbers"):
        pair.log_marginal_likelihood([0.0])
    with pytest.raises(InputError, match="rows on both sides"):
        pair.conditional_log_marginal_likelihood(fraction=1.0)
    with pytest.raises(InputError, match="averages over a prior"):
        clone(pair).set_params(priors=None).fit(X, TWO).log_evidence()


def test_memory_is_asked_for_before_it_is_taken(monkeypatch):
    monkeypatch.setattr(plan, "MATRICES", 1e15)
    with pytest.raises(InsufficientMemoryError, match="rows"):
        GPClassifier(solver="cholesky").fit(X, TWO)
    assert GPClassifier(ONE_SCALE).fit(X, TWO).fit_report_.residual > 0.0


def test_the_plan_and_the_report_are_printed(capsys):
    GPClassifier(ONE_SCALE, verbose=1).fit(X, TWO)
    said = capsys.readouterr().out
    assert said.startswith("n=80: float64 Cholesky") and "converged" in said
