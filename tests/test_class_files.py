"""Files of classifiers: what is read predicts as what was written, and damage is told."""

import warnings

import gpytorch
import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.exceptions import NotFittedError

from nonparam import GPClassifier, InfiniteNetworkClassifier
from nonparam.errors import FileFormatError, InputError
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
