"""One architecture, three views; and networks that are written in torch."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from nonparam import GPRegressor
from nonparam.errors import InputError
from nonparam.kernels import InfiniteNetwork, covariance
from nonparam.kernels.phase import phase
from nonparam.networks import (
    MLP,
    Apply,
    AvgPool,
    Conv1d,
    Conv2d,
    Dense,
    Elementwise,
    Elu,
    Erf,
    Flatten,
    GlobalAvgPool,
    LayerNorm,
    LeakyRelu,
    Relu,
    Residual,
    Sequential,
    Tanh,
    Unflatten,
    from_torch,
)

X = torch.from_numpy(np.random.default_rng(0).standard_normal((6, 3)))
PLAIN = {"center": 0.0, "spread": 1.0}


def test_the_kernel_is_that_of_the_layers():
    arch = Sequential(Dense(), Relu(), Dense(), Relu(), Dense())
    for kind in ("nngp", "ntk"):
        expected = covariance(InfiniteNetwork("relu-2", kind, **PLAIN), X)
        torch.testing.assert_close(covariance(arch.kernel(kind, **PLAIN), X), expected)
        torch.testing.assert_close(covariance(MLP(2).kernel(kind, **PLAIN), X), expected)
    fixed = arch.kernel(weight_variance=1.5, active_dims=(0, 2), fixed=("weight_variance",))
    assert fixed.get_params()["active_dims"] == (0, 2)
    assert not fixed.raw_weight_variance.requires_grad


def test_activations_come_before_places_become_columns():
    """Places have variances of their own: what an activation makes of their mean is no mean of anything."""
    with pytest.raises(InputError, match=r"before it, and Flatten\(\) only after it"):
        Sequential(Unflatten(1, 4), Conv1d(1), Flatten(), Erf(), Dense()).kernel()
    lifted = from_torch(
        nn.Sequential(nn.Unflatten(1, (1, 4)), nn.Conv1d(1, 8, 1), nn.Flatten(), nn.Tanh(), nn.Linear(32, 1))
    )
    assert repr(lifted) == repr(Sequential(Unflatten(1, 4), Conv1d(1), Tanh(), Flatten(), Dense()))
    x = torch.tensor([[6.0, 0.0, 0.0, 0.0], [6.0, 0.0, 0.0, 1.0]], dtype=torch.float64)
    many = [lifted.finite(300, seed=seed, outputs=100)(x).detach() for seed in range(60)]
    drawn = torch.stack([y @ y.T / 100.0 for y in many]).mean(0)
    found = covariance(lifted.kernel(center=0.0, spread=1.0), x).detach()
    torch.testing.assert_close(found, drawn, rtol=0.06, atol=0.0)


def test_the_kernel_learns():
    x = X.numpy().repeat(5, 0) + 0.1 * np.random.default_rng(1).standard_normal((30, 3))
    model = GPRegressor(MLP(1, "erf").kernel("ntk")).fit(x, np.sin(x[:, 0]))
    assert model.score(x, np.sin(x[:, 0])) > 0.9


def test_a_user_activation_has_all_three_views():
    """A function with a kink: it is the leaky rectifier, written by hand."""
    mine = Sequential(Dense(), Elementwise(lambda z: torch.where(z > 0.0, z, 0.1 * z)), Dense())
    known = Sequential(Dense(), LeakyRelu(0.1), Dense())
    for kind in ("nngp", "ntk"):
        found, expected = (covariance(arch.kernel(kind, **PLAIN), X) for arch in (mine, known))
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)
    one, other = (arch.finite(16, inputs=3, weight_variance=2.0)(X) for arch in (mine, known))
    torch.testing.assert_close(one, other)
    assert mine.phase().chi == pytest.approx(known.phase().chi, rel=1e-6)


def test_values_that_are_not_finite_are_refused():
    arch = Sequential(Dense(), Elementwise(torch.log), Dense())
    with pytest.raises(InputError, match="the activation is not finite where the network needs it"):
        arch.kernel()


def test_activations_that_are_none_are_refused():
    for wrong, came in ((lambda z: z.sum(), r"got \(\)"), (lambda z: z.detach().numpy(), "got ndarray")):
        with pytest.raises(
            InputError, match=f"an activation takes a tensor to one of the same shape.*{came}"
        ):
            Sequential(Dense(), Elementwise(wrong), Dense()).kernel()
    with pytest.raises(InputError, match="an activation must be a function of a tensor, such as"):
        Elementwise("tanh")
    assert Apply("erf").activation is Erf().activation
    with pytest.raises(InputError, match="activation must be one of"):
        Apply("softmax")
    with pytest.raises(InputError, match="from_torch makes one of torch's"):
        InfiniteNetwork(nn.Sequential(nn.Linear(2, 1)))


def test_finite_networks_know_the_columns_of_images():
    arch = Sequential(Unflatten(1, 4, 4), Conv2d(3), Relu(), Flatten(), Dense())
    network = arch.finite(8, outputs=2, parameterization="standard", seed=3)
    assert network(torch.ones(5, 16, dtype=torch.float64)).shape == (5, 2)
    assert [tuple(weight.shape) for weight in network.weights] == [(9, 8), (32, 2)]
    with pytest.raises(InputError, match="inputs must be given: how many columns do the rows have"):
        MLP(1).finite(8)


def test_layers_have_widths_of_their_own():
    arch = MLP(3, "tanh")
    network = arch.finite((7, 5, 2), inputs=3)
    assert [tuple(weight.shape) for weight in network.weights] == [(3, 7), (7, 5), (5, 2), (2, 1)]
    for wrong in ((7, 5), (7, 5, 2, 1), "abc"):
        with pytest.raises(InputError, match="width must be"):
            arch.finite(wrong, inputs=3)
    residual = Sequential(Dense(), Residual(Sequential(Relu(), Dense(), Relu(), Dense())), Relu(), Dense())
    network = residual.finite((6, 9), inputs=3)
    assert [tuple(weight.shape) for weight in network.weights] == [(3, 6), (6, 9), (9, 6), (6, 1)]


def test_networks_without_biases_have_none():
    arch = Sequential(Dense(bias=False), Relu(), Dense(bias=False))
    for kind in ("nngp", "ntk"):
        k = arch.kernel(kind, bias_variance=5.0, **PLAIN)
        torch.testing.assert_close(covariance(k, 2.0 * X), 4.0 * covariance(k, X))
    network = arch.finite(8, inputs=3)
    torch.testing.assert_close(network(2.0 * X), 2.0 * network(X))
    assert sum(p.numel() for p in network.parameters() if p.requires_grad) == 32


# phases --------------------------------------------------------------------------------------------


def test_phases_are_those_of_the_activation():
    found, expected = MLP(4, "erf").phase(2.0, 0.1), phase("erf", 2.0, 0.1)
    assert (found.chi, found.variance) == pytest.approx((expected.chi, expected.variance), rel=1e-9)
    assert MLP(2, "relu").phase().chi == pytest.approx(1.0)
    mixed = Sequential(Dense(), Relu(), Dense(), Erf(), Dense())
    found = mixed.phase([1.0, 2.0, 1.5], 0.1)
    q, chi = found.variance, 1.0  # by hand: through the rectifier, then through erf
    chi *= 2.0 * 0.5
    r = 2.0 * q / 2.0 + 0.1
    chi *= 1.5 * 4.0 / math.pi / math.sqrt(1.0 + 4.0 * r)
    assert found.chi == pytest.approx(math.sqrt(chi))
    assert q == pytest.approx(1.5 * 2.0 / math.pi * math.asin(2.0 * r / (1.0 + 2.0 * r)) + 0.1)


def test_critical_networks_neither_order_nor_mix_up():
    for arch in (MLP(3, "tanh"), Sequential(Unflatten(1, 3, 3), Conv2d(3), Erf(), Flatten(), Dense())):
        weights = arch.critical_weight_variances(0.1)
        assert len(weights) == arch.dense
        assert arch.phase("critical", 0.1).regime == "critical"
        assert arch.kernel(weight_variance="critical", bias_variance=0.1).get_params()[
            "weight_variance"
        ] == pytest.approx(weights)
    with pytest.raises(InputError, match="weight_variance must be numbers, None or 'critical', got 'edge'"):
        MLP(1).kernel(weight_variance="edge")
    normed = Sequential(Dense(), LayerNorm(), Relu(), Dense())
    with pytest.raises(InputError, match=r"a network with LayerNorm\(\) has no phase of this kind"):
        normed.phase()
    with pytest.raises(InputError, match="has no activation, and so no phase"):
        Sequential(Dense()).phase()
    with pytest.raises(InputError, match="sign has no critical weight_variance"):
        MLP(1, "sign").kernel(weight_variance="critical")


# from torch ----------------------------------------------------------------------------------------


def test_layers_of_torch_are_taken_over():
    module = nn.Sequential(
        nn.Unflatten(1, (1, 8, 8)),
        nn.Sequential(nn.Conv2d(1, 4, 3, padding="same"), nn.LeakyReLU(0.2), nn.AvgPool2d(2)),
        nn.Conv2d(4, 4, 2, stride=2, padding=1, padding_mode="circular", bias=False),
        *(nn.GELU(), nn.Conv2d(4, 4, 1), nn.Identity(), nn.Dropout(0.0), nn.ELU()),
        *(
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(4, 3),
            nn.LayerNorm(3),
            nn.Tanh(),
            nn.Linear(3, 1),
        ),
    )
    expected = Sequential(
        *(Unflatten(1, 8, 8), Conv2d(3, padding="same"), LeakyRelu(0.2), AvgPool(2, 2)),
        *(Conv2d(2, 2, 1, "circular", bias=False), module and from_torch(nn.Sequential(nn.GELU())).layers[0]),
        *(Conv2d(1), Elu(), GlobalAvgPool(), Flatten(), Dense(), LayerNorm(), Tanh(), Dense()),
    )
    found = from_torch(module)
    assert repr(found) == repr(expected)
    rows = torch.from_numpy(np.random.default_rng(1).standard_normal((2, 64)))
    torch.testing.assert_close(
        covariance(found.kernel(**PLAIN), rows), covariance(expected.kernel(**PLAIN), rows)
    )
    assert found.finite(5)(rows).shape == module.double()(rows).shape


def test_sequences_and_plain_networks_of_torch():
    module = nn.Sequential(
        *(nn.Unflatten(1, (2, 9)), nn.Conv1d(2, 3, 3), nn.SiLU(), nn.AvgPool1d(2), nn.AdaptiveAvgPool1d(1)),
        *(nn.Flatten(), nn.Linear(3, 1)),
    )
    assert [type(layer) for layer in from_torch(module).layers][1] is Conv1d
    plain = nn.Sequential(nn.Linear(3, 9), nn.Softplus(), nn.Linear(9, 9), nn.Sigmoid(), nn.Linear(9, 1))
    assert from_torch(plain).kernel().layers.dense == 3


REFUSED = [
    (
        nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)),
        r"layer 1, BatchNorm1d.*has no infinitely wide limit",
    ),
    (nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.Hardtanh())), r"layer 1\.0, Hardtanh.*known are .*ReLU"),
    (nn.Sequential(nn.Softmax(1)), "layer 0, Softmax"),
    (nn.Sequential(nn.GELU(approximate="tanh")), "expected approximate='none', got 'tanh'"),
    (nn.Sequential(nn.ELU(0.5)), r"expected alpha=1\.0, got 0\.5"),
    (nn.Sequential(nn.Dropout(0.5)), r"expected p=0\.0, got 0\.5"),
    (nn.Sequential(nn.Conv2d(4, 4, 3, groups=2)), "expected groups=1, got 2"),
    (nn.Sequential(nn.Conv2d(4, 4, 3, dilation=2)), r"expected dilation=\(1, 1\), got \(2, 2\)"),
    (nn.Sequential(nn.Conv2d(4, 4, (3, 2))), r"the same size along both sides, got \(3, 2\)"),
    (nn.Sequential(nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect")), "padding_mode must be one of"),
    (nn.Sequential(nn.AvgPool2d(3, padding=1)), "expected padding=0, got 1"),
    (nn.Sequential(nn.AdaptiveAvgPool2d(2)), "expected output_size=1, got 2"),
    (nn.Sequential(nn.Flatten(0)), "expected start_dim=1, got 0"),
    (nn.Linear(2, 1), "from_torch takes an nn.Sequential, got Linear"),
]


@pytest.mark.parametrize(("module", "match"), REFUSED)
def test_layers_without_a_limit_are_named(module, match):
    with pytest.raises(InputError, match=match):
        from_torch(module)
