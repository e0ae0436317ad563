"""Comparisons: every column against what it says it is, the same rows for all, and bad input."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from comparison_cases import DRAWS, NormalMean, sine
from scipy.stats import multivariate_normal, norm, uniform
from sklearn.base import BaseEstimator, RegressorMixin, clone
from sklearn.ensemble import RandomForestRegressor
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, WhiteKernel
from sklearn.linear_model import BayesianRidge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import nonparam
from nonparam import GPForecaster, GPRegressor, KernelSearch, compare
from nonparam.comparison import measures
from nonparam.errors import InputError, InsufficientMemoryError
from nonparam.model_selection import (
    Hypothesis,
    aic,
    bic,
    clml,
    effective_parameters,
    k_fold,
    lml,
    loo,
    prequential,
)

X, Y = sine()
KERNELS = ["linear", "rbf"]


@pytest.fixture(scope="module")
def report():
    return compare([*KERNELS, ("ridge", BayesianRidge())], X, Y, orderings=6, cv=4, random_state=3)


def model_of(kernel: str) -> GPRegressor:
    """What a formula stands for."""
    return GPRegressor(kernel, n_restarts=3, random_state=0)


def test_is_public():
    assert nonparam.compare is nonparam.model_selection.compare is compare


# columns ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kernel", KERNELS)
def test_columns_are_what_they_say(report, kernel: str):
    model, row = model_of(kernel).fit(X, Y), report.table.loc[kernel]
    assert row.lml == pytest.approx(lml(model), rel=1e-9)
    assert row.log_evidence == pytest.approx(model.log_evidence(), rel=1e-9)
    ordered = clml(model, n_orderings=6, random_state=3)
    assert row.clml == pytest.approx(ordered.value, rel=1e-9)
    assert row.clml_se == pytest.approx(ordered.standard_error, rel=1e-9)
    assert row.tc_gap == pytest.approx(ordered.gap, rel=1e-6)
    assert row.loo == pytest.approx(loo(model).value, rel=1e-9)
    assert row.effective_parameters == pytest.approx(effective_parameters(model), rel=1e-9)
    assert row.parameters == model.num_parameters_
    assert (row.bic, row.aic) == (pytest.approx(bic(model)), pytest.approx(aic(model)))
    assert row.fit_seconds > 0.0 and row.hyperparameters == "fixed"


@pytest.mark.parametrize("kernel", KERNELS)
def test_folds_are_refitted(report, kernel: str):
    row = report.table.loc[kernel]
    refitted = k_fold(model_of(kernel), X, Y, cv=4, refitted=True, random_state=3)
    assert row.k_fold_log_loss == pytest.approx(-refitted.value, rel=1e-6)
    assert row.k_fold_rmse == pytest.approx(np.sqrt(np.mean(refitted.by_row("residual") ** 2)), rel=1e-6)
    fixed = k_fold(model_of(kernel), X, Y, cv=4, random_state=3)
    assert abs(row.k_fold_log_loss + fixed.value) > 1e-4


def test_increments_are_those_of_the_orderings(report):
    model, found = model_of("rbf").fit(X, Y), report.models[1].increments
    rng = np.random.RandomState(3)
    for row in found:
        np.testing.assert_allclose(row[1:], prequential(model, order=rng.permutation(len(Y))), rtol=1e-8)
    assert np.isnan(found[:, 0]).all()  # the first row determines the constant


def test_calibration_is_that_of_leave_one_out(report):
    np.testing.assert_allclose(
        report.models[1].pit, loo(model_of("rbf").fit(X, Y)).by_row("cdf")[:, 0], rtol=1e-9
    )


# models that only predict ------------------------------------------------------------------------------


def ridge_density(train: np.ndarray, test: np.ndarray) -> np.ndarray:
    mean, sd = BayesianRidge().fit(X[train], Y[train]).predict(X[test], return_std=True)
    return norm.logpdf(Y[test], mean, sd)


def test_scikit_learn_model_is_refitted_row_by_row(report):
    row, everything = report.table.loc["ridge"], np.arange(len(Y))
    singles = [ridge_density(np.delete(everything, i), np.array([i]))[0] for i in everything]
    assert row.loo == pytest.approx(np.mean(singles), rel=1e-9)
    rng, chained, alone = np.random.RandomState(3), [], []
    for _ in range(6):
        order = rng.permutation(len(Y))
        chained.append(np.mean([ridge_density(order[:i], order[i : i + 1]) for i in range(36, 40)]))
        alone.append(ridge_density(order[:36], order[36:]).mean())
    assert row.clml == pytest.approx(np.mean(chained), rel=1e-9)
    assert row.tc_gap == pytest.approx(np.mean(chained) - np.mean(alone), rel=1e-6)
    assert row.hyperparameters == "refitted"


def test_what_a_model_cannot_have_is_missing_with_the_reason(report):
    columns = ["lml", "log_evidence", "effective_parameters", "parameters", "bic", "aic"]
    assert report.table.loc["ridge", columns].isna().all()
    assert all(report.notes["ridge"][column] for column in columns)
    assert report.table.loc[KERNELS].drop(columns="hyperparameters").notna().all(axis=None)
    assert "ridge" in report.hypothesis.left_out and "ridge" in report.generalisation.table.index


def test_scikit_learn_gaussian_process_keeps_its_kernel():
    kernel = RBF() + WhiteKernel()
    found = compare({"a": GaussianProcessRegressor(kernel), "b": BayesianRidge()}, X, Y, orderings=4)
    learnt = GaussianProcessRegressor(kernel).fit(X, Y).kernel_
    a = learnt(X)
    precision = np.linalg.inv(a + 1e-10 * np.eye(len(Y)))
    variance = 1.0 / np.diag(precision)
    expected = norm.logpdf(precision @ Y * variance, 0.0, np.sqrt(variance)).mean()
    assert found.table.loc["a", "loo"] == pytest.approx(expected, rel=1e-6)
    densities, rng = [], np.random.RandomState(0)
    for _ in range(4):
        order = rng.permutation(len(Y))
        seen, new = order[:36], order[36:]
        weights = np.linalg.solve(a[np.ix_(seen, seen)], a[np.ix_(seen, new)])
        covariance = a[np.ix_(new, new)] - a[np.ix_(new, seen)] @ weights
        densities.append(multivariate_normal(weights.T @ Y[seen], covariance).logpdf(Y[new]) / 4)
    assert found.table.loc["a", "clml"] == pytest.approx(np.mean(densities), rel=1e-6)
    assert found.table.loc["a", "hyperparameters"] == "fixed"


@pytest.mark.parametrize("wrap", [lambda model: model, lambda model: make_pipeline(StandardScaler(), model)])
def test_scikit_learn_gaussian_process_leaves_alpha_out(wrap):
    noisy = wrap(GaussianProcessRegressor(RBF(), alpha=0.04, optimizer=None))
    bare = GaussianProcessRegressor(RBF() + WhiteKernel(0.04), optimizer=None)
    found = compare({"alpha": noisy, "white": bare}, X, Y, orderings=2)
    assert "without the noise alpha" in found.notes["alpha"]["sd"] and "sd" not in found.notes["white"]
    assert "alpha; standard deviation: that of the function" in str(found)
    assert found.table.loo["alpha"] < found.table.loo["white"]


def test_pipelines_and_frames():
    frame = pd.DataFrame({"when": X[:, 0], "size": X[:, 0] ** 2})
    models = {"scaled": make_pipeline(StandardScaler(), BayesianRidge()), "plain": "linear"}
    found = compare(models, frame, pd.Series(Y), orderings=2)
    assert np.isfinite(found.table.loo).all() and "2 inputs" in found.description


# what all models share ---------------------------------------------------------------------------------


def test_jobs_and_order_change_nothing():
    one = compare({"a": "linear", "b": "rbf"}, X, Y, orderings=3)
    two = compare({"b": "rbf", "a": "linear"}, X, Y, orderings=3, n_jobs=2)
    columns = one.table.columns.drop("fit_seconds")
    pd.testing.assert_frame_equal(one.table[columns], two.table.loc[["a", "b"], columns])


def test_seed_decides():
    frames = [compare(KERNELS, X, Y, orderings=2, random_state=seed).table.clml for seed in (1, 1, 2)]
    pd.testing.assert_series_equal(frames[0], frames[1])
    assert not np.allclose(frames[0], frames[2])
    rng = np.random.RandomState(5), np.random.RandomState(5)
    first, second = (compare(KERNELS, X, Y, orderings=2, random_state=r).table.clml for r in rng)
    pd.testing.assert_series_equal(first, second)


def test_models_are_not_changed():
    model = GPRegressor("rbf")
    compare({"a": model, "b": "linear"}, X, Y, orderings=2)
    assert not hasattr(model, "posterior_")


def test_fitted_model_keeps_its_hyperparameters():
    fitted = GPRegressor("rbf").fit(X, Y)
    before = fitted.theta_.copy()
    found = compare({"a": fitted, "b": "linear"}, X, Y, orderings=2)
    assert np.isnan(found.table.loc["a", "fit_seconds"])
    assert found.table.loc["a", "lml"] == lml(fitted)
    np.testing.assert_array_equal(fitted.theta_, before)


def test_noise_of_every_row_fixes_the_folds():
    noise = np.full(len(Y), 0.04)
    found = compare({"rows": GPRegressor("rbf", noise=noise), "learnt": "rbf"}, X, Y, orderings=2)
    model = GPRegressor("rbf", noise=noise).fit(X, Y)
    assert found.table.loc["rows", "k_fold_log_loss"] == pytest.approx(-k_fold(model).value, rel=1e-9)
    assert "known row by row" in found.notes["rows"]["k_fold"]


def test_few_rows_hold_out_two():
    found = compare({"a": NormalMean(0.0, 1.0), "b": NormalMean(1.0, 1.0)}, None, DRAWS[:4], cv=2)
    y, densities, rng = DRAWS[:4], [], np.random.RandomState(0)
    for _ in range(20):
        order = rng.permutation(4)
        whole, part = (multivariate_normal(np.zeros(k), np.eye(k) + 1.0) for k in (4, 2))
        densities.append((whole.logpdf(y) - part.logpdf(y[order[:2]])) / 2)
    assert found.table.loc["a", "clml"] == pytest.approx(np.mean(densities), rel=1e-9)
    assert found.table.loc["a", "hyperparameters"] == "none"


def test_too_many_rows_for_the_exact_form(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("nonparam.comparison.contestants.EXACT_ROWS", 30)
    found = compare(KERNELS, X, Y, orderings=2)
    assert found.table[["clml", "loo", "effective_parameters"]].isna().all(axis=None)
    assert "40 rows are too many for the exact form" in found.notes["rbf"]["clml"]
    assert found.table.k_fold_log_loss.notna().all() and found.generalisation.best == {"k_fold": "rbf"}
    assert "too many for the exact form" in str(found) and len(found.to_html()) > 1000
    json.loads(found.to_json(), parse_constant=pytest.fail)


def test_memory_that_is_too_small_leaves_cross_validation(monkeypatch: pytest.MonkeyPatch):
    def refuse(self):
        raise InsufficientMemoryError("a matrix of 40 x 40 numbers is too large")

    monkeypatch.setattr(GPRegressor, "joint_density", refuse)
    found = compare(KERNELS, X, Y, orderings=2)
    assert found.notes["rbf"]["loo"] == "a matrix of 40 x 40 numbers is too large"
    assert found.table.loo.isna().all() and found.table.k_fold_log_loss.notna().all()


def test_long_curves_are_of_one_ordering(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(measures, "CURVES", 30)
    assert compare(KERNELS, X, Y, orderings=3).models[0].increments.shape == (1, 40)


# bad input ---------------------------------------------------------------------------------------------


class Certain(RegressorMixin, BaseEstimator):
    """Predicts with a standard deviation that is no positive number."""

    def __init__(self, sd: float = 0.0) -> None:
        self.sd = sd

    def fit(self, X, y):
        self.mean_ = np.mean(y)
        return self

    def predict(self, X, return_std: bool = False):
        mean = np.full(len(X), self.mean_)
        return (mean, np.full(len(X), self.sd)) if return_std else mean


class Exact:
    """A hypothesis that leaves no room for what is held out."""

    def joint_density(self, y):
        return self

    def held_out(self, sets):
        joint = NormalMean(0.0, 1.0).joint_density(DRAWS[:10])
        return [replace(held, sd=0.0 * held.sd) for held in joint.held_out(sets)]

    def log_density(self):
        return 0.0


FITTED = GPRegressor("rbf").fit(X, Y)
BAD = [
    ([], {}, "at least two models, got 0"),
    (["rbf"], {}, "at least two models, got 1"),
    ("rbf", {}, "models must be a list or a mapping of at least two, got 'rbf'"),
    (5, {}, "models must be a list or a mapping"),
    (["rbf", "rbf"], {}, "more than one model is called 'rbf': give a mapping"),
    ([("a", "rbf"), ("a", "linear")], {}, "more than one model is called 'a'"),
    ({"": "rbf", "b": "linear"}, {}, "name of a model must be text, got ''"),
    ({1: "rbf", 2: "linear"}, {}, "name of a model must be text, got 1"),
    (["rbf", "rbff"], {}, "'rbff'.*did you mean 'rbf'"),
    (["rbf", 3.0], {}, "'3.0' is no model that can be compared"),
    (
        {"a": BayesianRidge, "b": "rbf"},
        {},
        r"'a' is a class: expected an instance, such as BayesianRidge\(\)",
    ),
    ({"found": KernelSearch(), "b": "rbf"}, {}, "'found' is a search.*fit it, and pass its best_estimator_"),
    ({"scaled": make_pipeline(StandardScaler(), KernelSearch()), "b": "rbf"}, {}, "'scaled' is a search"),
    ({"grid": GridSearchCV(BayesianRidge(), {"tol": [1e-3]}), "b": "rbf"}, {}, "'grid' is a search"),
    ({"series": GPForecaster(), "b": "rbf"}, {}, "'series' is no model that can be compared"),
    (
        {"out": Hypothesis("out", uniform(50.0, 1.0)), "b": "rbf"},
        {},
        "'out': it rules these data out: their log density is -inf",
    ),
    ({"forest": RandomForestRegressor(2), "b": "rbf"}, {}, "'forest' has no predictive standard deviation"),
    (
        {"zero": Certain(0.0), "b": "rbf"},
        {},
        "'zero' has a degenerate predictive variance: .* is 0 in 40 of 40",
    ),
    ({"nan": Certain(np.nan), "b": "rbf"}, {}, "'nan' has a degenerate predictive variance: .* is nan"),
    (KERNELS, {"n_jobs": 0}, "n_jobs must not be 0"),
    (KERNELS, {"cv": 41}, "cv must be a whole number from 2 to the 40 rows, got 41"),
    (KERNELS, {"cv": 1}, "cv must be a whole number from 2"),
    (KERNELS, {"orderings": 1}, "orderings must be an integer, at least 2; got 1"),
    (KERNELS, {"orderings": 2.5}, "orderings must be an integer"),
    (KERNELS, {"random_state": "a"}, "random_state must be"),
    (KERNELS, {"prior_odds": [1.0]}, "prior_odds must be one number for each of 2 models"),
    (KERNELS, {"prior_odds": [1.0, 0.0]}, "prior_odds must be positive and finite"),
    (KERNELS, {"prior_odds": [1.0, np.nan]}, "prior_odds must be positive and finite"),
    (KERNELS, {"prior_odds": {"rbf": 2.0}}, "prior_odds must name every model"),
    (KERNELS, {"prior_odds": "even"}, "prior_odds must be a number"),
]


@pytest.mark.parametrize(("models", "options", "message"), BAD, ids=lambda value: repr(value)[:40])
def test_bad_input_is_one_clear_error(models, options, message: str):
    with pytest.raises(InputError, match=message):
        compare(models, X, Y, **options)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda x, y: (x, np.log(y + 3.0)),
            "'fitted' was fitted to other values of y, or y on another scale",
        ),
        (lambda x, y: (x, 2.0 * y), "'fitted' was fitted to other values of y, or y on another scale"),
        (lambda x, y: (2.0 * x, y), "'fitted' was fitted to other values of X"),
        (lambda x, y: (x[:-1], y[:-1]), r"'fitted' was fitted to an X of shape \(40, 1\)"),
        (lambda x, y: (np.c_[x, x], y), r"'fitted' was fitted to an X of shape \(40, 1\)"),
    ],
)
def test_model_fitted_to_other_data_is_refused(change, message: str):
    with pytest.raises(InputError, match=message):
        compare({"fitted": FITTED, "b": "linear"}, *change(X, Y), orderings=2)


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (X, np.where(np.arange(40) == 3, np.nan, Y), r"Input y contains NaN \(1 values, first in row 3\)"),
        (np.where(np.arange(40)[:, None] == 3, np.nan, X), Y, "'linear': Input X contains NaN"),
        (X, Y[:-1], "inconsistent|length"),
        (X, np.c_[Y, Y], r"y should be a 1d array, as there is one output; got an array of shape \(40, 2\)"),
        (X, 3.0, "y should be a 1d array"),
        (X[:3], Y[:3], "3 rows are too few to hold some out"),
        (None, Y, "'linear' needs inputs, and X is None"),
    ],
)
def test_bad_data_are_one_clear_error(x, y, message: str):
    with pytest.raises(InputError, match=message):
        compare(KERNELS, x, y, orderings=2, cv=2)


def test_hypothesis_that_gives_a_row_no_density():
    with pytest.raises(InputError, match="'exact' has a degenerate predictive variance"):
        compare({"exact": Exact(), "b": NormalMean(0.0, 1.0)}, None, DRAWS[:10])


def test_error_of_a_fit_names_the_model():
    class Broken(Certain):
        def fit(self, X, y):
            raise ValueError("out of order")

    with pytest.raises(InputError, match="'broken': out of order"):
        compare({"broken": Broken(), "b": "rbf"}, X, Y)


def test_clone_of_a_fitted_model_is_fitted_here():
    found = compare({"a": clone(FITTED), "b": "linear"}, X, 2.0 * Y, orderings=2)
    assert found.table.loc["a", "fit_seconds"] > 0.0


def test_torch_leaves_no_gradients():
    found = compare(KERNELS, torch.from_numpy(X), torch.from_numpy(Y), orderings=2)
    assert np.isfinite(found.table.lml).all()


def test_a_formula_is_fitted_from_several_starts():
    """From the scale of these data alone a smooth kernel takes the wave for noise."""
    x = np.arange(48.0)[:, None]
    y = np.sin(2.0 * np.pi * x[:, 0] / 12.0) + 0.1 * np.random.default_rng(0).standard_normal(48)
    assert GPRegressor("rbf").fit(x, y).noise_ > 0.4
    report = compare(["linear", "rbf"], x, y, orderings=2, cv=2)
    assert report.hypothesis.best == "rbf"
    assert report.table.loc["rbf", "lml"] > 0.0
