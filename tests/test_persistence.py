"""Saved models: bit-equal after loading, and a clear error for every file that is not one."""

import copy
import errno
import json
import os
import pickle
import re
import stat
import struct

import gpytorch.kernels as gp
import numpy as np
import pandas as pd
import pytest
import torch
from cases import CASES
from sklearn.exceptions import NotFittedError

from nonparam import GPRegressor
from nonparam.errors import InputError
from nonparam.kernels import RBF, DeepKernel, Invariant, Linear, Matern, Scale, SoftInvariant, Sum
from nonparam.packing import Packer, Unpacker
from nonparam.persistence import read_file, save_regressor, write_file

rng = np.random.default_rng(1)
N = 18
X = rng.normal(size=(N, 2))
Y = np.sin(X[:, 0]) + 0.1 * rng.normal(size=N)
NEW = rng.normal(size=(5, 2))
NOISE = np.linspace(0.01, 0.2, N)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.safetensors"


def reloaded(model, path, kernel=None):
    model.save(path)
    return type(model).load(path, kernel=kernel)


def assert_equal(left, right):
    """The same to the last bit, whatever it is made of."""
    assert type(left) is type(right)
    if isinstance(left, dict):
        assert left.keys() == right.keys()
        left, right = list(left.values()), list(right.values())
    if isinstance(left, list | tuple):
        assert len(left) == len(right)
        for one, other in zip(left, right, strict=True):
            assert_equal(one, other)
    elif isinstance(left, np.ndarray):
        assert left.dtype == right.dtype and left.shape == right.shape and (left == right).all()
    elif isinstance(left, np.random.RandomState):
        assert_equal(left.get_state(legacy=False), right.get_state(legacy=False))
    elif isinstance(left, torch.nn.Module):
        assert_equal_kernels(left, right)
    else:
        assert left == right


def assert_equal_kernels(left, right):
    assert repr(left) == repr(right)
    parameters = dict(left.named_parameters()), dict(right.named_parameters())
    assert list(parameters[0]) == list(parameters[1])
    for one, other in zip(parameters[0].values(), parameters[1].values(), strict=True):
        assert one.dtype == other.dtype and one.shape == other.shape and torch.equal(one, other)
    buffers = dict(left.named_buffers()), dict(right.named_buffers())
    assert {k: v.tolist() for k, v in buffers[0].items()} == {k: v.tolist() for k, v in buffers[1].items()}
    learnt = [[name for name, p in k.named_parameters() if p.requires_grad] for k in (left, right)]
    assert learnt[0] == learnt[1]
    assert getattr(left, "unset", None) == getattr(right, "unset", None)


def behaviour(model, new=NEW):
    return {
        "mean": model.predict(new),
        "sd": model.predict(new, return_std=True),
        "covariance": model.predict(new, return_cov=True),
        "sample": model.sample_y(new, 3, random_state=0),
        "lml": model.log_marginal_likelihood_,
        "lml and gradient": model.log_marginal_likelihood(model.theta_ + 0.1, eval_gradient=True),
        "noise": model.noise_,
        "theta": model.theta_,
        "names": model.theta_names_,
        "report": vars(model.fit_report_),
        "kernel": model.kernel_,
    }


def assert_same_model(left, right, new=NEW):
    assert vars(left).keys() == vars(right).keys()
    assert_equal(left.get_params(deep=False), right.get_params(deep=False))
    assert_equal(behaviour(left, new), behaviour(right, new))


MODELS = {
    "default": lambda: GPRegressor(),
    "formula": lambda: GPRegressor("linear + 2 * rbf(fixed=('lengthscale',))", mean="linear", n_restarts=2),
    "kernel": lambda: GPRegressor(RBF([1.0, 2.0]) + Linear(active_dims=[1]), mean="zero", priors=None),
    "known noise": lambda: GPRegressor("rbf", noise=0.03),
    "noise per row": lambda: GPRegressor("rbf", noise=NOISE),
    "noise as a list": lambda: GPRegressor("rbf", noise=NOISE.tolist()),
    "no units": lambda: GPRegressor("matern32", normalize_y=False, random_state=3),
    "random state": lambda: GPRegressor("rbf", random_state=np.random.RandomState(5), n_restarts=1),
    "numpy arguments": lambda: GPRegressor("rbf", noise=np.float64(0.1), n_restarts=np.int64(0)),
}


# round trips -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MODELS)
def test_a_loaded_model_is_the_saved_one_to_the_last_bit(name, path):
    model = MODELS[name]().fit(X, Y)
    loaded = reloaded(model, path)
    if name == "numpy arguments":  # come back as Python's numbers
        model.set_params(noise=0.1, n_restarts=0)
    assert_same_model(model, loaded)


def test_update_goes_on_from_a_loaded_model_and_an_updated_one_can_be_saved(path):
    model = GPRegressor("rbf", mean="linear").fit(X[:12], Y[:12], sample_weight=np.linspace(1.0, 2.0, 12))
    loaded = reloaded(model, path)
    assert_same_model(model.update(X[12:], Y[12:]), loaded.update(X[12:], Y[12:]))
    assert_same_model(model, reloaded(model, path))


def test_several_outputs_and_rows_without_weight(path):
    y = np.asfortranarray(np.column_stack([Y, 50.0 * np.cos(X[:, 1]), np.ones(N)]))
    model = GPRegressor("rbf").fit(X, y, sample_weight=np.arange(N) % 5)
    loaded = reloaded(model, path)
    assert_same_model(model, loaded)
    assert loaded.predict(NEW).shape == (5, 3)


def test_names_of_columns(path):
    table = pd.DataFrame(X, columns=["größe", "price \ud800 $"])
    model = GPRegressor("rbf").fit(table, Y)
    loaded = reloaded(model, path)
    assert_same_model(model, loaded, pd.DataFrame(NEW, columns=table.columns))
    assert loaded.feature_names_in_.tolist() == table.columns.tolist()
    with pytest.raises(ValueError, match="feature names"):
        loaded.predict(pd.DataFrame(NEW, columns=["a", "b"]))


@pytest.mark.parametrize("n", [1, 2])
def test_one_and_two_rows(n, path):
    model = GPRegressor("rbf").fit(X[:n], Y[:n])
    assert_same_model(model, reloaded(model, path))


def test_a_fit_after_loading_equals_a_fit_before(path):
    model = GPRegressor(Scale(Matern(nu=1.5)), n_restarts=1, random_state=0).fit(X, Y)
    again = reloaded(model, path).fit(X[:10], Y[:10])
    model.fit(X[:10], Y[:10])
    assert_equal(model.predict(NEW), again.predict(NEW))


def test_a_subclass_comes_back_as_itself(path):
    model = Careful("rbf").fit(X, Y)
    assert type(reloaded(model, path)) is Careful
    with pytest.raises(InputError, match=r"holds a Careful, not a GPRegressor: use Careful.load"):
        GPRegressor.load(path)


class Careful(GPRegressor):
    """A user's own class."""


def test_only_half_of_the_factor_is_stored(path):
    GPRegressor("rbf", noise=0.1).fit(np.linspace(0.0, 1.0, 300)[:, None], np.zeros(300)).save(path)
    assert 4 * 300**2 < path.stat().st_size < 4 * 300**2 + 40 * 300 + 8000


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_model_from_a_gpu_loads_on_the_cpu(path):
    model = GPRegressor("rbf", device="cuda").fit(X, Y)
    loaded = reloaded(model, path)
    assert loaded.posterior_.data.x.device.type == "cpu"
    np.testing.assert_allclose(loaded.predict(NEW), model.predict(NEW), rtol=1e-8)


# kernels -----------------------------------------------------------------------------------------


def packed_and_back(kernel, template=None):
    packer = Packer()
    description = json.loads(json.dumps(packer.pack(kernel, "k")))
    return Unpacker(packer.tensors, template).unpack(description)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_kernel_comes_back(case):
    kernel = case.make()
    assert_equal_kernels(kernel, packed_and_back(kernel))


def test_what_waits_for_the_data_and_what_is_frozen_come_back():
    kernel = Matern(nu=0.5, ard=False, fixed=("lengthscale",)) * 2.0 + RBF(active_dims=[1]) + 1.0
    kernel.kernels[0].raw_outputscale.requires_grad_(False)
    back = packed_and_back(kernel)
    assert_equal_kernels(kernel, back)
    assert back.get_params()["k1__kernel__lengthscale"] is None
    assert back.get_params()["k1__kernel__ard"] is False


def test_a_kernel_used_twice_still_has_one_set_of_hyperparameters(path):
    shared = RBF(1.0)
    model = GPRegressor(shared * Linear() + 0.5 * shared).fit(X, Y)
    loaded = reloaded(model, path)
    assert loaded.kernel_.kernels[0].kernels[0] is loaded.kernel_.kernels[1].kernel
    assert_same_model(model, loaded)


FOREIGN = {
    "plain": lambda: gp.RBFKernel(),
    "ard": lambda: gp.ScaleKernel(gp.MaternKernel(nu=1.5, ard_num_dims=2)),
    "sum": lambda: gp.RBFKernel(active_dims=(0,)) + gp.PeriodicKernel(active_dims=(1,)),
    "inside ours": lambda: RBF() + 2.0 * Sum(gp.RQKernel(), Linear()) * gp.RBFKernel(),
    "around ours": lambda: gp.ScaleKernel(RBF() + Linear()),
    "users own": lambda: Damped(1.0),
    "with a prior": lambda: gp.RBFKernel(lengthscale_prior=gpytorch_prior()),
}


def gpytorch_prior():
    from gpytorch.priors import GammaPrior

    return GammaPrior(3.0, 6.0)


class Damped(RBF):
    """A user's own kernel."""

    keyword = "damped"


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")  # without priors: no matter
@pytest.mark.parametrize("name", FOREIGN)
def test_a_gpytorch_kernel_comes_back_through_a_template(name, path):
    model = GPRegressor(FOREIGN[name]()).fit(X, Y)
    template = FOREIGN[name]()
    before = copy.deepcopy(template.state_dict())
    loaded = reloaded(model, path, template)
    assert_same_model(model, loaded)
    after = template.state_dict()
    assert all(torch.equal(after[key], before[key]) for key in before)  # the user's own object


def test_frozen_parameters_of_a_gpytorch_kernel_stay_frozen(path):
    kernel = gp.ScaleKernel(gp.RBFKernel())
    kernel.base_kernel.raw_lengthscale.requires_grad_(False)
    model = GPRegressor(kernel).fit(X, Y)
    assert len(model.theta_) == 2
    assert_same_model(model, reloaded(model, path, gp.ScaleKernel(gp.RBFKernel())))


@pytest.mark.parametrize(
    ("template", "message"),
    [
        (None, r"contains gpytorch\S*\.ScaleKernel, which only your code can build, and none was given"),
        (RBF(), "and none was given: call load"),
        (gp.RBFKernel(), r"the given one has gpytorch\S*\.RBFKernel there: call load"),
        (
            gp.ScaleKernel(gp.MaternKernel(ard_num_dims=1)),
            r"raw_lengthscale of .* shape \(1, 1\), in .* \(1, 2\)",
        ),
        (gp.ScaleKernel(gp.PeriodicKernel(ard_num_dims=2)), "in the file none"),
        (gp.ScaleKernel(gp.MaternKernel(nu=0.5, ard_num_dims=2)), r"not its covariances.*such as nu"),
        ("rbf", "kernel must be a kernel, built as the saved one was; got 'rbf'"),
    ],
    ids=["none", "ours", "class", "shape", "names", "nu", "text"],
)
def test_a_template_that_does_not_match_is_refused(template, message, path):
    GPRegressor(gp.ScaleKernel(gp.MaternKernel(nu=1.5, ard_num_dims=2))).fit(X, Y).save(path)
    with pytest.raises(InputError, match=message):
        GPRegressor.load(path, kernel=template)


# values ------------------------------------------------------------------------------------------


def without_address(value):
    """What a value looks like in every process."""
    return re.sub(r" at 0x\w+", "", repr(value))


VALUES = [
    None,
    True,
    7,
    0.1 + 0.2,
    -np.inf,
    "text \ud800",
    [1, [2.5, "a"], ()],
    (1, (2.0,), {"a": None, "float": {"array": [1]}}),
    np.arange(6.0).reshape(2, 3).T,
    np.array([], dtype=np.float32),
    np.array(3),
    np.array([True, False]),
    np.arange(3, dtype=np.uint8)[::-1],
    np.random.RandomState(3),
    np.random.RandomState(np.random.Philox(3)),
]


@pytest.mark.parametrize("value", VALUES, ids=without_address)
def test_every_value_comes_back(value, path):
    packer = Packer()
    document = packer.pack(value, "value")
    write_file(path, "thing", document, packer.tensors)
    assert_equal(value, Unpacker(read_file(path, "thing")[1]).unpack(read_file(path, "thing")[0]))


def test_not_a_number_and_foreign_byte_order_come_back():
    packer = Packer()
    assert np.isnan(Unpacker({}).unpack(packer.pack(np.nan, "a")))
    swapped = np.array([1.5, -2.0]).astype(">f8")
    assert Unpacker(packer.tensors).unpack(packer.pack(swapped, "b")).tolist() == [1.5, -2.0]


@pytest.mark.parametrize(
    "value",
    [object(), np.array(["a"]), {frozenset({1}): 2}, np.datetime64("2020"), {"a": [{1, 2}]}],
    ids=without_address,
)
def test_a_value_that_a_file_cannot_hold_is_refused(value):
    with pytest.raises(InputError, match=r"cannot save params.*=.*: expected a number, text"):
        Packer().pack(value, "params")


def test_a_model_with_such_an_argument_is_refused_and_nothing_is_written(path):
    model = GPRegressor("rbf").fit(X, Y).set_params(random_state=np.random.default_rng(0))
    with pytest.raises(InputError, match=r"cannot save params.random_state=Generator"):
        model.save(path)
    assert os.listdir(path.parent) == []


def flipped(x):
    return -x


@pytest.mark.parametrize("kernel", [Invariant, SoftInvariant])
def test_maps_of_a_users_own_are_code_that_a_pickle_names_and_a_file_cannot_hold(kernel, path):
    model = GPRegressor(RBF() + kernel(RBF(), [flipped])).fit(X, Y)
    said = (
        "group.0=<function flipped.*files hold no code; pickle the model instead, with functions and classes"
    )
    with pytest.raises(InputError, match=said):
        model.save(path)
    assert os.listdir(path.parent) == []
    assert_equal(pickle.loads(pickle.dumps(model)).predict(NEW), model.predict(NEW))


class Features(torch.nn.Module):
    """A user's own network."""

    def __init__(self, act=torch.tanh):
        super().__init__()
        self.linear, self.act = torch.nn.Linear(2, 2).double(), act

    def forward(self, x):
        return self.act(self.linear(x))


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")  # weights creep for ever
def test_a_network_of_a_users_own_comes_back_through_a_template(path):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = GPRegressor(DeepKernel(Features(), RBF())).fit(X, Y)
        assert_same_model(model, reloaded(model, path, DeepKernel(Features(), RBF())))
    said = r"contains nonparam.kernels.deep.DeepKernel, which only your code can build, and none was given"
    with pytest.raises(InputError, match=said + r": call load\(path, kernel=...\) with a kernel built as"):
        GPRegressor.load(path)
    with pytest.raises(InputError, match="but not its covariances: call load"):
        GPRegressor.load(path, DeepKernel(Features(torch.cos), RBF()))
    assert_equal(pickle.loads(pickle.dumps(model)).predict(NEW), model.predict(NEW))


# the file ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def content(tmp_path_factory):
    file = tmp_path_factory.mktemp("saved") / "model"
    GPRegressor("rbf", noise=0.1).fit(X, Y).save(file)
    return file.read_bytes()


def test_no_pickle_is_inside(content):
    size = struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8 : 8 + size])
    assert header["__metadata__"]["format"] == "nonparam" and header["__metadata__"]["kind"] == "GPRegressor"
    described = json.loads(header["__metadata__"]["document"])["fitted"]["dict"]["kernel"]["kernel"]
    assert described["class"] == "Scale" and described["components"]["kernel"]["class"] == "RBF"
    ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
    assert 8 + size + max(ends) == len(content)  # nothing besides the header and its tensors


def test_a_model_that_is_not_fitted(path):
    with pytest.raises(NotFittedError, match="not fitted"):
        save_regressor(GPRegressor(), path)


def test_a_folder_that_does_not_exist(path):
    model = GPRegressor("rbf").fit(X, Y)
    with pytest.raises(InputError, match=r"there is no folder .*missing'; make it first"):
        model.save(path.parent / "missing" / "model")
    with pytest.raises(InputError, match="it is a folder; add the name of a file"):
        model.save(path.parent)


def test_a_failed_write_leaves_the_old_file_and_nothing_else(content, path, monkeypatch):
    path.write_bytes(content)

    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"cannot save the model, No space left on device: .*model") as caught:
        GPRegressor("rbf").fit(X, Y).save(path)
    assert caught.value.errno == errno.ENOSPC
    assert path.read_bytes() == content and os.listdir(path.parent) == [path.name]


def test_a_file_has_usual_permissions_and_a_link_stays_a_link(path):
    link = path.with_name("link")
    link.symlink_to(path)
    GPRegressor("rbf").fit(X, Y).save(link)
    assert link.is_symlink() and path.is_file()
    other = path.with_name("plain")
    other.touch()
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE(other.stat().st_mode)


def test_paths_may_be_text(content, path):
    path.write_bytes(content)
    model = GPRegressor.load(str(path))
    model.save(str(path.with_name("second")))
    assert path.with_name("second").stat().st_size == len(content)
