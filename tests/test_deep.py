"""Kernels of learnt features: values, gradients, and networks that are no function of one row."""

import pickle

import numpy as np
import pytest
import torch
from gpytorch.utils.grid import ScaleToBounds

from nonparam import GPRegressor
from nonparam.errors import InputError
from nonparam.kernels import (
    RBF,
    DeepKernel,
    Invariant,
    Kernel,
    Linear,
    Matern,
    Scale,
    covariance,
    variance,
)
from nonparam.kernels.operator import KernelOperator

RNG = np.random.default_rng(0)
X = RNG.uniform(-2.0, 2.0, (60, 3))
Y = np.sin(2.0 * X[:, 0] * X[:, 1]) + 0.05 * RNG.standard_normal(60)


def network(outputs=2, seed=0):
    torch.manual_seed(seed)
    return torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.Tanh(), torch.nn.Linear(8, outputs))


class Own(torch.nn.Module):
    """Does what it is told."""

    def __init__(self, task):
        super().__init__()
        self.task = task

    def forward(self, x):
        return self.task(x)


def test_it_is_the_base_kernel_of_the_features():
    net, base = network().double(), 1.5 * Matern([0.5, 2.0], nu=1.5)
    x, z = torch.from_numpy(X), torch.from_numpy(X[:7] + 0.1)
    k = DeepKernel(net, base)
    torch.testing.assert_close(covariance(k, x), covariance(base, net(x)))
    torch.testing.assert_close(covariance(k, z, x), covariance(base, net(z), net(x)))
    torch.testing.assert_close(variance(k, x), variance(base, net(x)))
    assert repr(k) == "deep(Sequential, 1.5 * matern32(lengthscale=[0.5, 2]))"


def test_it_combines_from_both_sides_as_other_kernels_do():
    deep, linear, x = DeepKernel(network().double(), RBF(1.0)), Linear(0.5), torch.from_numpy(X[:6])
    name = "deep(Sequential, rbf(lengthscale=1))"
    made = {
        f"{name} + linear(variance=0.5)": (deep + linear, covariance(deep, x) + covariance(linear, x)),
        f"linear(variance=0.5) + {name}": (linear + deep, covariance(deep, x) + covariance(linear, x)),
        f"{name} * linear(variance=0.5)": (deep * linear, covariance(deep, x) * covariance(linear, x)),
        f"linear(variance=0.5) * {name}": (linear * deep, covariance(deep, x) * covariance(linear, x)),
        f"2 * {name}": (deep * 2.0, 2.0 * covariance(deep, x)),
        f"3 * {name}": (3.0 * deep, 3.0 * covariance(deep, x)),
        f"{name} + constant(variance=1)": (deep + 1.0, covariance(deep, x) + 1.0),
        f"{name} + {name}": (deep + deep, 2.0 * covariance(deep, x)),
        f"invariant({name}, group='reflection', center=0)": (Invariant(deep, "reflection"), None),
    }
    for said, (kernel, expected) in made.items():
        assert repr(kernel) == said and isinstance(kernel, Kernel)
        if expected is not None:
            torch.testing.assert_close(covariance(kernel, x), expected)
    with pytest.raises(InputError, match="kernels combine with kernels and numbers, got 'rbf'"):
        deep + "rbf"


@pytest.mark.filterwarnings("ignore:the search for hyperparameters")
def test_a_sum_with_it_is_decomposed():
    model = GPRegressor(DeepKernel(torch.nn.Linear(3, 1), RBF()) + Linear()).fit(X[:20], Y[:20])
    assert model.decompose().names == ("mean", "deep", "linear")


def test_gradients_reach_the_weights():
    k, x = DeepKernel(network().double(), RBF(1.0)), torch.from_numpy(X[:5])
    weight = k.feature_extractor[0].weight

    def value(w):
        found = torch.func.functional_call(k.feature_extractor, {"0.weight": w}, (x,))
        return covariance(k.base_kernel, found).sum()

    slope = torch.autograd.grad(covariance(k, x).sum(), weight)[0]
    torch.testing.assert_close(slope, torch.autograd.functional.jacobian(value, weight))


def test_products_in_tiles_are_those_of_the_matrix():
    k, x = Scale(DeepKernel(network().double(), RBF(1.0)), 2.0), torch.from_numpy(X)
    v = torch.from_numpy(RNG.standard_normal((60, 2)))
    operator = KernelOperator(k, x, tile=(16, 32))
    torch.testing.assert_close(operator @ v, (covariance(k, x) @ v).detach())
    weight = k.kernel.feature_extractor[0].weight
    expected = torch.autograd.grad((v * (covariance(k, x) @ v)).sum(), weight)[0]
    torch.testing.assert_close(operator.gradient(v, v, [weight])[0], expected)


@pytest.mark.filterwarnings("ignore:the search for hyperparameters")  # weights creep for ever
def test_a_regressor_learns_the_features():
    model = GPRegressor(DeepKernel(network(), RBF())).fit(X, Y)
    plain = GPRegressor("rbf").fit(X, Y)
    assert model.log_marginal_likelihood_ > plain.log_marginal_likelihood_ + 10.0
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(model)).predict(X), model.predict(X))
    np.testing.assert_allclose(model.predict(X[3:4]), model.predict(X)[3:4], rtol=1e-9)


def test_it_sees_the_columns_that_it_is_given():
    net = torch.nn.Linear(1, 2)
    model = GPRegressor(DeepKernel(net, RBF(), active_dims=[2])).fit(X, X[:, 2] ** 2)
    moved = X.copy()
    moved[:, :2] += 5.0
    np.testing.assert_allclose(model.predict(moved), model.predict(X), rtol=1e-9)


@pytest.mark.filterwarnings("ignore:the search for hyperparameters")
def test_a_saved_model_needs_the_network_again(tmp_path):
    model = GPRegressor(DeepKernel(network(), RBF())).fit(X, Y)
    model.save(tmp_path / "model")
    with pytest.raises(InputError, match=r"contains nonparam\.kernels\.deep\.DeepKernel, which only your"):
        GPRegressor.load(tmp_path / "model")
    again = GPRegressor.load(tmp_path / "model", kernel=DeepKernel(network(seed=1), RBF()))
    np.testing.assert_allclose(again.predict(X), model.predict(X), rtol=1e-9)


@pytest.mark.parametrize(
    ("net", "said"),
    [
        (Own(lambda x: x * torch.nan), "returned NaN or infinity: try smaller weights"),
        (Own(lambda x: x[:, 0]), r"must return a tensor of shape \(\d+, p\) for \d+ rows, got \(\d+,\)"),
        (Own(lambda x: x[:1]), r"must return a tensor of shape \(60, p\) for 60 rows, got \(1, 3\)"),
        (Own(lambda x: "features"), r"got str"),
        (torch.nn.Linear(4, 1), r"failed on rows of shape \(1, 3\)"),
        (Own(lambda x: x / x.abs().max()), "the features of a row change with the rows beside it"),
        (Own(lambda x: (x - x.amin(0)) / (x.amax(0) - x.amin(0))), "change with the rows beside it"),
        (Own(lambda x: x[:, [5]]), r"failed on rows of shape \(1, 3\): index 5 is out of bounds"),
        (torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.Dropout(0.5)), r"call \.eval\(\) on one with"),
    ],
    ids=["nan", "flat", "fewer", "text", "columns", "batch", "one row", "index", "dropout"],
)
def test_networks_that_give_no_features(net, said):
    with pytest.raises(InputError, match=said):
        GPRegressor(DeepKernel(net, RBF(1.0))).fit(X, Y)


def between_extremes(x):
    return (x - x.min()) / (x.max() - x.min() + 1e-9)


@pytest.mark.parametrize("n", [3, 4, 60])
@pytest.mark.parametrize(
    "net", [Own(between_extremes), ScaleToBounds(-1.0, 1.0)], ids=["extremes", "ScaleToBounds"]
)
@pytest.mark.parametrize("order", ["sorted", "folded", "swapped"])
def test_scaling_by_the_extremes_of_a_batch_is_seen_wherever_they_are(n, net, order):
    x = torch.linspace(-5.0, 5.0, n, dtype=torch.float64)[:, None]
    x = {"sorted": x, "folded": torch.roll(x, n // 2, 0), "swapped": x.flip(0)}[order]
    with pytest.raises(InputError, match="the features of a row change with the rows beside it"):
        covariance(DeepKernel(net, RBF(1.0)), x)


def test_a_network_that_works_in_place_leaves_the_rows():
    net = torch.nn.Sequential(torch.nn.ReLU(inplace=True), torch.nn.Linear(3, 2)).double()
    x, z = torch.from_numpy(X.copy()), torch.from_numpy(X[:7] + 0.1)
    found = covariance(DeepKernel(net, RBF(1.0)), z, x)
    np.testing.assert_array_equal(x, X)
    torch.testing.assert_close(found, covariance(RBF(1.0), net[1](z.relu()), net[1](x.relu())))


def test_arguments_that_are_no_network_and_no_kernel():
    with pytest.raises(InputError, match=r"feature_extractor must be a torch\.nn\.Module, got 'net'"):
        DeepKernel("net", RBF())
    with pytest.raises(InputError, match="base_kernel must be a kernel, got 'rbf'"):
        DeepKernel(network(), "rbf")
