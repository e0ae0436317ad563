"""scikit-learn's checks of an estimator, and the places where people use one."""

import pickle

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.model_selection import GridSearchCV, cross_val_predict, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks
from threadpoolctl import threadpool_info

from nonparam import GPRegressor
from nonparam.kernels import RBF, Linear, Periodic

RNG = np.random.default_rng(7)
X = RNG.uniform(-2, 2, (30, 2))
Y = np.sin(2 * X[:, 0]) + 0.5 * X[:, 1] + 0.05 * RNG.standard_normal(30)
NEW = RNG.uniform(-2, 2, (7, 2))


def library_threads():
    return sorted((info["filepath"], info["num_threads"]) for info in threadpool_info())


@parametrize_with_checks([GPRegressor()])
def test_scikit_learn_checks(estimator, check):
    check(estimator)


def test_pipeline_with_scaling_predicts_what_the_regressor_does_alone():
    scaled = make_pipeline(StandardScaler(), GPRegressor()).fit(X * [1.0, 1e3], Y)
    alone = GPRegressor().fit(X, Y)
    np.testing.assert_allclose(scaled.predict(NEW * [1.0, 1e3]), alone.predict(NEW), atol=1e-3)
    mean, sd = scaled.predict(NEW * [1.0, 1e3], return_std=True)
    assert mean.shape == sd.shape == (7,)
    weighted = make_pipeline(StandardScaler(), GPRegressor())
    weighted.fit(X, Y, gpregressor__sample_weight=np.ones(30))
    assert np.isfinite(weighted.score(X, Y))


@pytest.mark.parametrize(
    "grid",
    [
        {"kernel": ["rbf", "matern32", "linear + periodic * rbf"]},
        {"kernel__lengthscale": [0.5, 5.0]},
        {"kernel__fixed": [("lengthscale",), ()], "noise": [0.01, "learn"]},
        {"mean": ["zero", "constant", "linear"], "priors": ["default", None]},
    ],
    ids=lambda grid: "-".join(grid),
)
def test_grid_search(grid):
    search = GridSearchCV(GPRegressor(RBF()), grid, cv=2).fit(X, Y)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert search.predict(NEW).shape == (7,)


def test_grid_search_reaches_into_a_sum():
    grid = {"kernel__k1__lengthscale": [0.5, 2.0], "kernel__k2__kernel__variance": [0.1, 1.0]}
    search = GridSearchCV(GPRegressor(RBF() + 2.0 * Linear()), grid, cv=2).fit(X, Y)
    assert len(search.cv_results_["params"]) == 4
    assert set(search.best_params_) == set(grid)
    chosen = search.best_estimator_.get_params()["kernel__k1__lengthscale"]
    assert chosen == pytest.approx(search.best_params_["kernel__k1__lengthscale"])


@pytest.mark.parametrize("backend", ["loky", "threading"])
def test_grid_search_in_parallel_finds_what_it_finds_in_series(backend):
    grid = {"kernel__lengthscale": [0.5, 5.0], "kernel__fixed": [("lengthscale",)]}
    series = GridSearchCV(GPRegressor(RBF()), grid, cv=2).fit(X, Y)
    before = library_threads()
    with joblib.parallel_backend(backend, n_jobs=2):
        parallel = GridSearchCV(GPRegressor(RBF()), grid, cv=2, n_jobs=2).fit(X, Y)
        found_threads = library_threads()
    assert found_threads == before
    found, expected = (s.cv_results_["mean_test_score"] for s in (parallel, series))
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_parameters_round_trip():
    model = GPRegressor(RBF(2.0) * Periodic(3.0), noise=0.1, mean="zero", n_restarts=2, random_state=1)
    params = model.get_params()
    assert params["kernel__k1__lengthscale"] == pytest.approx(2.0)
    assert params["kernel__k2__period"] == pytest.approx(3.0)
    again = GPRegressor().set_params(**{k: v for k, v in params.items() if "__" not in k})
    assert str(again) == str(model)
    model.set_params(kernel__k1__lengthscale=4.0, noise="learn")
    assert model.kernel.get_params()["k1__lengthscale"] == pytest.approx(4.0) and model.noise == "learn"


def test_clone_of_a_fitted_model_is_unfitted_and_fits_the_same():
    model = GPRegressor(RBF() + Linear(), random_state=0, n_restarts=1).fit(X, Y)
    copy = clone(model)
    assert not hasattr(copy, "kernel_") and copy.kernel is not model.kernel
    np.testing.assert_array_equal(copy.fit(X, Y).predict(NEW), model.predict(NEW))


def test_a_clone_shares_nothing_with_the_original():
    model = GPRegressor(RBF(1.0))
    clone(model).set_params(kernel__lengthscale=9.0)
    assert model.get_params()["kernel__lengthscale"] == 1.0


@pytest.mark.parametrize("kernel", ["matern52", "rbf + linear * periodic(2)", RBF([1.0, 2.0]) + 0.5])
@pytest.mark.parametrize("outputs", [1, 2])
def test_pickle_and_joblib_predict_to_the_last_bit(kernel, outputs, tmp_path):
    model = GPRegressor(kernel, mean="linear").fit(X, np.c_[Y, Y**2][:, :outputs].squeeze())
    joblib.dump(model, tmp_path / "model.joblib")
    for other in (pickle.loads(pickle.dumps(model)), joblib.load(tmp_path / "model.joblib")):
        for a, b in zip(
            other.predict(NEW, return_std=True), model.predict(NEW, return_std=True), strict=True
        ):
            np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(other.sample_y(NEW, 2), model.sample_y(NEW, 2))
        assert other.log_marginal_likelihood() == model.log_marginal_likelihood()
        assert str(other.kernel_) == str(model.kernel_)
        other.update(NEW, model.predict(NEW))


def test_cross_validation():
    assert cross_val_score(GPRegressor(), X, Y, cv=3).mean() > 0.5
    assert cross_val_predict(GPRegressor(), X, Y, cv=3).shape == (30,)


def test_transformed_target():
    model = TransformedTargetRegressor(GPRegressor(), func=np.log, inverse_func=np.exp).fit(X, np.exp(Y))
    np.testing.assert_allclose(model.predict(NEW), np.exp(GPRegressor().fit(X, Y).predict(NEW)), rtol=1e-6)


# tables --------------------------------------------------------------------------------------


@pytest.fixture
def frame():
    return pd.DataFrame(X, columns=["depth", "width"])


def test_pandas_with_feature_names(frame):
    model = GPRegressor().fit(frame, pd.Series(Y, index=range(100, 130), name="load"))
    assert list(model.feature_names_in_) == ["depth", "width"]
    new = pd.DataFrame(NEW, columns=["depth", "width"])
    expected = GPRegressor().fit(X, Y)
    np.testing.assert_array_equal(model.predict(new), expected.predict(NEW))
    np.testing.assert_array_equal(
        model.update(new, NEW[:, 0]).predict(new), expected.update(NEW, NEW[:, 0]).predict(NEW)
    )


def test_pandas_with_other_names_or_another_order(frame):
    model = GPRegressor().fit(frame, Y)
    with pytest.raises(ValueError, match="must be in the same order"):
        model.predict(frame[["width", "depth"]])
    with pytest.raises(ValueError, match=r"Feature names unseen at fit time:\n- height"):
        model.predict(frame.rename(columns={"width": "height"}))
    with pytest.raises(ValueError, match=r"Feature names seen at fit time, yet now missing:\n- width"):
        model.predict(frame[["depth"]])
    with pytest.raises(ValueError, match="must be in the same order"):
        model.update(frame[["width", "depth"]], Y)


def test_set_output_on_a_pipeline(frame):
    pipeline = make_pipeline(StandardScaler(), GPRegressor()).set_output(transform="pandas").fit(frame, Y)
    assert list(pipeline[-1].feature_names_in_) == ["depth", "width"]
    assert isinstance(pipeline.predict(frame), np.ndarray)


def test_outputs_as_a_data_frame(frame):
    model = GPRegressor().fit(frame, pd.DataFrame({"a": Y, "b": Y**2}))
    assert model.predict(frame).shape == (30, 2)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.int64, np.int8, np.uint8, bool, object])
def test_tables_of_any_dtype_count_as_their_numbers(dtype):
    table = np.round(10 + 3 * X).astype(dtype)
    y = np.round(20 + 5 * Y).astype(dtype)
    model = GPRegressor().fit(table, y)
    expected = GPRegressor().fit(table.astype(float), y.astype(float))
    found = model.predict(table, return_std=True)
    for a, b in zip(found, expected.predict(table.astype(float), return_std=True), strict=True):
        assert a.dtype == np.float64
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    "frame_of",
    [
        lambda: pd.DataFrame({"a": pd.array(range(30), dtype="Int64"), "b": X[:, 0].astype("float32")}),
        lambda: pd.DataFrame({"a": pd.array([True, False] * 15, dtype="boolean"), "b": X[:, 1]}),
        lambda: pd.DataFrame({"a": [str(v) for v in X[:, 0]], "b": X[:, 1].astype(object)}),
        lambda: pd.DataFrame({"a": pd.Categorical([1, 2, 3] * 10), "b": X[:, 1]}),
    ],
    ids=["nullable integers", "nullable booleans", "numbers as text", "categories that are numbers"],
)
def test_data_frames_of_other_dtypes_count_as_their_numbers(frame_of):
    table = frame_of()
    expected = GPRegressor().fit(table.to_numpy(dtype=float), Y).predict(table.to_numpy(dtype=float))
    np.testing.assert_array_equal(GPRegressor().fit(table, Y).predict(table), expected)


def test_lists_are_tables():
    model = GPRegressor().fit(X.tolist(), Y.tolist())
    np.testing.assert_array_equal(model.predict(NEW.tolist()), GPRegressor().fit(X, Y).predict(NEW))
