"""Networks that have no limit of this kind, and numbers that no network can give: each is told."""

import numpy as np
import pytest
import torch
from torch import nn

from nonparam import (
    FiniteNetworkClassifier,
    FiniteNetworkRegressor,
    InfiniteNetworkRegressor,
    compare_widths,
)
from nonparam.errors import InputError
from nonparam.kernels import InfiniteNetwork
from nonparam.kernels.activations import elementwise, hermite
from nonparam.networks import (
    MLP,
    Conv2d,
    Dense,
    Elementwise,
    FiniteNetwork,
    LayerNorm,
    Relu,
    Sequential,
    from_torch,
)

RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 3))
Y = np.sin(2.0 * X[:, 0]) + 0.1 * RNG.normal(size=40)
LABELS = np.where(Y > 0.0, "b", "a")
NEW = RNG.normal(size=(5, 3))


def test_a_module_that_stands_in_two_places_counts_twice():
    relu = nn.ReLU()
    found = from_torch(nn.Sequential(nn.Linear(3, 8), relu, nn.Linear(8, 8), relu, nn.Linear(8, 1)))
    assert repr(found) == repr(MLP(2, "relu"))
    linear = nn.Linear(8, 8)
    with pytest.raises(InputError, match=r"layer 4, .* occurs twice: its two uses share weights"):
        from_torch(nn.Sequential(nn.Linear(3, 8), nn.ReLU(), linear, nn.ReLU(), linear))


class Own(nn.Sequential):
    def forward(self, x):
        return 2.0 * super().forward(x)


@pytest.mark.parametrize(
    ("module", "said"),
    [
        (nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.LayerNorm(8), nn.Linear(8, 1)), "directly before it"),
        (nn.Sequential(nn.LayerNorm(3), nn.Linear(3, 1)), "norm of all units of a linear layer directly"),
        (nn.Sequential(nn.Linear(3, 8), nn.LayerNorm(8, eps=10.0), nn.ReLU(), nn.Linear(8, 1)), "small eps"),
        (
            nn.Sequential(nn.Unflatten(1, (1, 4)), nn.Conv1d(1, 8, 1), nn.LayerNorm((8, 4))),
            "directly before it",
        ),
        (
            nn.Sequential(nn.Linear(3, 8), nn.Softplus(threshold=1), nn.Linear(8, 1)),
            "expected threshold=20.0",
        ),
        (nn.Sequential(nn.AvgPool2d(2, divisor_override=3)), "expected divisor_override=None, got 3"),
        (
            nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(3, 1))),
            "layer 0, .*has hooks or|known",
        ),
        (Own(nn.Linear(3, 1)), "from_torch takes an nn.Sequential, got Own"),
        (nn.Sequential(Own(nn.Linear(3, 1))), "layer 0, Own.* has no infinitely wide limit"),
    ],
)
def test_what_would_be_another_network_is_refused(module, said):
    with pytest.raises(InputError, match=f"(?s){said}"):
        from_torch(module)


def test_a_norm_behind_a_linear_layer_is_taken_over():
    found = from_torch(nn.Sequential(nn.Linear(3, 8), nn.LayerNorm(8), nn.ReLU(), nn.Linear(8, 1)))
    assert repr(found) == repr(Sequential(Dense(), LayerNorm(), Relu(), Dense()))


def test_widths_are_no_part_of_an_architecture():
    for layer in (lambda: Dense(512), lambda: Conv2d(3, bias=1)):
        with pytest.raises(InputError, match=r"bias must be True or False, got .* give it to finite"):
            layer()


def test_networks_do_not_end_with_a_norm():
    with pytest.raises(InputError, match="ends with numbers that are no Gaussian process"):
        Sequential(Dense(), Relu(), Dense(), LayerNorm()).kernel()


def test_columns_are_chosen_before():
    kernel = InfiniteNetwork("relu-1", active_dims=[0, 1], center=0.0, spread=1.0)
    for use in (lambda: FiniteNetwork(kernel, 3, 8), lambda: compare_widths(kernel, X, Y, (8, 16))):
        with pytest.raises(InputError, match="takes all columns, got a kernel with active_dims"):
            use()


@pytest.mark.parametrize("name", ["gelu", "exp"])
def test_a_jump_over_the_edge_is_not_critical(name):
    with pytest.raises(InputError, match="has no critical weight_variance"):
        MLP(2, name).phase("critical")


def test_numbers_that_are_not_finite_are_told():
    bounded = elementwise(lambda u: torch.where(u.abs() > 30.0, torch.nan, u.tanh()))
    for network in (
        FiniteNetworkClassifier((16,), activation=bounded, epochs=10, random_state=0).fit(X, LABELS),
        FiniteNetworkRegressor((16,), activation=bounded, epochs=10, random_state=0).fit(X, Y),
    ):
        assert len(network.predict(NEW)) == 5
        with pytest.raises(InputError, match=r"no finite numbers at .* of the rows, first at row"):
            network.predict(1e3 * NEW)
    with pytest.raises(InputError, match="no finite numbers"):
        FiniteNetworkRegressor((8,), epochs=10, random_state=0).fit(X, Y).predict(1e45 * NEW)
    with pytest.raises(InputError, match="rescale"):
        FiniteNetworkClassifier((8,), epochs=5).fit(1e-170 * X, LABELS)


@pytest.mark.parametrize("shift", [1e6, 1e9])
def test_columns_with_an_offset_are_compared_as_well(shift):
    plain, moved = (compare_widths("erf-1", rows, Y, (16, 64), seeds=2, steps=50) for rows in (X, X + shift))
    for left, right in zip(plain.rows, moved.rows, strict=True):
        assert left.to_linearised == pytest.approx(right.to_linearised, rel=1e-3)


@pytest.mark.parametrize("activation", ["sign", "step"])
def test_steps_can_be_trained(activation):
    found = FiniteNetworkRegressor((16,), activation=activation, epochs=30, random_state=0).fit(X, Y)
    assert np.isfinite(found.predict(NEW)).all()


def test_kernels_that_overflow_and_functions_that_torch_cannot_differentiate():
    with pytest.raises(InputError, match="is not finite at these rows: its numbers grow"):
        compare_widths("exp-3", 30.0 * X, Y, (8, 16), seeds=2)
    numpy_own = Sequential(Dense(), Elementwise(lambda u: torch.from_numpy(np.tanh(u.numpy()))), Dense())
    with pytest.raises(InputError, match=r"write it with torch functions"):
        InfiniteNetworkRegressor(numpy_own).fit(X, Y)


def test_training_has_no_evidence():
    trained = InfiniteNetworkRegressor("erf-1", kernel="ntk", train_time=5.0).fit(X, Y)
    with pytest.raises(InputError, match="the evidence is of a posterior, and this model was trained"):
        trained.log_evidence()


def test_few_epochs_do_not_tell_whether_the_loss_has_settled():
    assert not FiniteNetworkRegressor((8,), epochs=1, random_state=0).fit(X, Y).fit_report_.converged


def test_whole_numbers_of_numpy():
    assert repr(Conv2d(np.int64(3))) == repr(Conv2d(3))
    assert hermite(np.int64(2)).name == "hermite(2)"


def test_each_layer_with_weights_has_a_critical_variance():
    two = Sequential(Dense(), Dense(), Relu(), Dense())
    assert len(two.critical_weight_variances()) == 3
    two.kernel(weight_variance="critical")
    assert two.phase("critical").chi == pytest.approx(1.0, abs=1e-6)


def test_errors_of_rounding_have_no_slope():
    report = compare_widths(Sequential(Dense(bias=False)), X[:, :1], Y, (16, 64), seeds=2, steps=10)
    assert "is that of the limit at some width already" in " ".join(report.sentences())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"lr": "fast"}, r"lr must be a number, at least .* \(or 'auto'\); got 'fast'"),
        ({"activation": torch.tanh}, "becomes one by nonparam.kernels.activations.elementwise"),
    ],
)
def test_words_that_are_no_numbers(arguments, said):
    with pytest.raises(InputError, match=said):
        FiniteNetworkRegressor((8,), **arguments).fit(X, Y)
