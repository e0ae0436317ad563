"""Files of models that are found again from what they learnt: what is read predicts as what was written."""

import warnings

import gpytorch
import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.exceptions import NotFittedError

from nonparam import (
    GPClassifier,
    GPRegressor,
    InfiniteNetworkClassifier,
    NearestNeighbourGPRegressor,
    SparseGPRegressor,
)
from nonparam.errors import FileFormatError, InputError
from nonparam.likelihoods import Censored, StudentT
from nonparam.networks import Dense, Elementwise, Sequential

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 2))
CODES = (X[:, 0] > 0.3).astype(int) + (X[:, 1] > 0.0)
NEW = RNG.normal(size=(9, 2))
MODELS = {
    "two classes": lambda: GPClassifier("rbf").fit(X, CODES > 0, 1.0 + (X[:, 0] > 0.0)),
    "variational": lambda: GPClassifier("rbf", inference="variational").fit(X, CODES > 0),
    "softmax": lambda: GPClassifier("rbf", inference="laplace", mean="linear").fit(X, CODES),
    "targets": lambda: GPClassifier("rbf", temperature=2.0, priors=None, random_state=0).fit(X, CODES),
    "network": lambda: InfiniteNetworkClassifier("erf-1", random_state=0).fit(X, CODES),
    "tangent": lambda: InfiniteNetworkClassifier("relu-1", kernel="ntk", train_time=50.0).fit(X, CODES),
    "learnt": lambda: InfiniteNetworkClassifier("relu-1", alpha_epsilon="learn").fit(X, CODES),
}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.safetensors"


@pytest.mark.parametrize("name", MODELS)
def test_a_loaded_model_is_the_saved_one_to_the_last_bit(name, path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = MODELS[name]()
    model.save(path)
    loaded = type(model).load(path)
    assert vars(loaded).keys() == vars(model).keys()
    assert repr(loaded) == repr(model) and repr(loaded.kernel_) == repr(model.kernel_)
    np.testing.assert_array_equal(loaded.predict_proba(NEW), model.predict_proba(NEW))
    np.testing.assert_array_equal(loaded.predict(NEW), model.predict(NEW))
    assert str(loaded.fit_report_) == str(model.fit_report_)
    if isinstance(model, GPClassifier):
        assert loaded.log_marginal_likelihood_ == model.log_marginal_likelihood_
        assert loaded.log_marginal_likelihood(model.theta_ + 0.1) == model.log_marginal_likelihood(
            model.theta_ + 0.1
        )
        if model.priors is not None:
            assert loaded.log_evidence() == model.log_evidence()


@pytest.mark.parametrize(
    "names",
    [
        np.array(["ape", "bee", "größe"]),
        np.array(["ape", "bee", "cat"], dtype=object),
        np.array([-7, 0, 3], dtype=np.int8),
        np.array([0.0, 1.0, 5.0]),
    ],
)
def test_labels_and_columns_keep_their_names_and_types(names, path):
    frame = pd.DataFrame(X, columns=["a", "größe"])
    model = InfiniteNetworkClassifier("erf-1").fit(frame, names[CODES])
    model.save(path)
    loaded = InfiniteNetworkClassifier.load(path)
    assert loaded.classes_.dtype == model.classes_.dtype
    np.testing.assert_array_equal(loaded.classes_, names)
    np.testing.assert_array_equal(loaded.feature_names_in_, ["a", "größe"])
    new = pd.DataFrame(NEW, columns=frame.columns)
    np.testing.assert_array_equal(loaded.predict(new), model.predict(new))


def test_gpytorch_kernels_come_back_through_a_template(path):
    model = GPClassifier(gpytorch.kernels.RBFKernel()).fit(X, CODES > 0)
    model.save(path)
    with pytest.raises(InputError, match="kernel"):
        GPClassifier.load(path)
    loaded = GPClassifier.load(path, gpytorch.kernels.RBFKernel())
    np.testing.assert_allclose(loaded.predict_proba(NEW), model.predict_proba(NEW), rtol=1e-9)


def test_what_files_do_not_hold(path):
    with pytest.raises(NotFittedError, match="not fitted yet"):
        GPClassifier().save(path)
    mine = Sequential(Dense(), Elementwise(lambda x: torch.tanh(2.0 * x)), Dense())
    with pytest.raises(InputError, match="files hold no code"):
        InfiniteNetworkClassifier(mine).fit(X, CODES).save(path)
    MODELS["network"]().save(path)
    with pytest.raises(InputError, match="holds a InfiniteNetworkClassifier, not a GPClassifier"):
        GPClassifier.load(path)
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)
    with pytest.raises(FileFormatError, match="was changed after it was saved"):
        InfiniteNetworkClassifier.load(path)


F = np.sin(X[:, 0])
COUNTS = RNG.poisson(np.exp(F))
REGRESSORS = {
    "counts": lambda: GPRegressor("rbf", likelihood="poisson").fit(X, np.c_[COUNTS, 2.0 * np.ones(60)]),
    "solves": lambda: GPRegressor("rbf", likelihood="poisson", solver="cg").fit(X, COUNTS),
    "outliers": lambda: GPRegressor("rbf", likelihood=StudentT(df=4.0, fixed=("df",))).fit(
        X, F, 1.0 + COUNTS
    ),
    "limits": lambda: GPRegressor("rbf", likelihood=Censored(lower=0.0)).fit(X, np.maximum(F, 0.0)),
    "two functions": lambda: GPRegressor("rbf", likelihood="heteroscedastic", mean="linear").fit(
        X, F + 0.1 * COUNTS
    ),
    "neighbours": lambda: NearestNeighbourGPRegressor(num_neighbours=8).fit(X, np.c_[F, 3.0 * F]),
    "points": lambda: SparseGPRegressor(m=15, random_state=0).fit(X, F),
    "batches": lambda: SparseGPRegressor(m=15, method="stochastic", noise=0.1).fit(X, F),
}


@pytest.mark.parametrize("name", REGRESSORS)
def test_a_loaded_regressor_is_the_saved_one_to_the_last_bit(name, path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = REGRESSORS[name]()
    model.save(path)
    loaded = type(model).load(path)
    assert repr(loaded) == repr(model) and repr(loaded.kernel_) == repr(model.kernel_)
    assert str(loaded.fit_report_) == str(model.fit_report_)
    np.testing.assert_array_equal(loaded.theta_, model.theta_)
    assert list(loaded.theta_names_) == list(model.theta_names_)
    for found, expected in zip(loaded.predict(NEW, True), model.predict(NEW, True), strict=True):
        np.testing.assert_array_equal(found, expected)
    quantiles = model.predict_quantiles(NEW, [0.1, 0.9])
    np.testing.assert_array_equal(loaded.predict_quantiles(NEW, [0.1, 0.9]), quantiles)


@pytest.mark.parametrize("name", ["counts", "outliers"])
def test_evidence_of_a_loaded_regressor(name, path):
    model = REGRESSORS[name]()
    model.save(path)
    loaded = GPRegressor.load(path)
    assert loaded.log_marginal_likelihood_ == model.log_marginal_likelihood_
    assert loaded.log_marginal_likelihood(model.theta_ + 0.1) == pytest.approx(
        model.log_marginal_likelihood(model.theta_ + 0.1), rel=1e-12
    )
    assert loaded.log_evidence() == pytest.approx(model.log_evidence(), rel=1e-12)
    assert repr(loaded.likelihood_) == repr(model.likelihood_)


def test_a_loaded_sparse_model_goes_on_with_batches(path):
    model = SparseGPRegressor(m=15, random_state=0).fit(X[:50], F[:50])
    model.save(path)
    loaded = SparseGPRegressor.load(path).partial_fit(X[50:], F[50:])
    assert loaded.fit_report_.rows == 60
    np.testing.assert_array_equal(loaded.predict(X), model.partial_fit(X[50:], F[50:]).predict(X))
    with pytest.raises(ValueError, match="expecting 2 features"):
        SparseGPRegressor.load(path).partial_fit(X[:, :1], F)


def test_likelihoods_of_ones_own_are_pickled(path):
    class Mine(StudentT):
        pass

    with pytest.raises(InputError, match="a likelihood of your own is code; pickle the model instead"):
        GPRegressor("rbf", likelihood=Mine()).fit(X, F + 0.3 * COUNTS).save(path)
    REGRESSORS["points"]().save(path)
    with pytest.raises(InputError, match="holds a SparseGPRegressor, not a NearestNeighbourGPRegressor"):
        NearestNeighbourGPRegressor.load(path)
