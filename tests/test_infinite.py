"""Infinitely wide networks: recursions written out, finite networks, and what solvers ask of a kernel."""

import json
import math
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.model_selection import GridSearchCV

from nonparam import GPRegressor
from nonparam.errors import InputError
from nonparam.kernels import InfiniteNetwork, covariance, parse, variance
from nonparam.kernels.activations import ACTIVATIONS, elementwise, leaky_relu
from nonparam.kernels.infinite import read_architecture
from nonparam.kernels.layers import Apply, Dense, LayerNorm, Product, Residual, Sequential, mlp

X = torch.from_numpy(np.random.default_rng(0).standard_normal((7, 3)))
PLAIN = {"center": 0.0, "spread": 1.0}
KINDS = ("nngp", "ntk")
REFERENCES = json.loads(Path(__file__).with_name("neural_tangents.json").read_text())


def relu_by_hand(x, y, weights, biases):
    """Both kernels of a rectifier network for two rows, layer by layer, with numpy alone."""
    k = {key: float(np.dot(a, b)) / len(a) for key, (a, b) in {"c": (x, y), "l": (x, x), "r": (y, y)}.items()}
    t = dict.fromkeys(k, 0.0)
    for i, (w, b) in enumerate(zip(weights, biases, strict=True)):
        if i:
            s = math.sqrt(k["l"] * k["r"])
            angle = math.acos(max(-1.0, min(1.0, k["c"] / s)))
            slope = (math.pi - angle) / (2.0 * math.pi)
            cross = s * math.sin(angle) / (2.0 * math.pi) + k["c"] * slope
            t = {"c": t["c"] * slope, "l": 0.5 * t["l"], "r": 0.5 * t["r"]}
            k = {"c": cross, "l": 0.5 * k["l"], "r": 0.5 * k["r"]}
        k = {key: w * value + b for key, value in k.items()}
        t = {key: w * t[key] + k[key] for key in k}
    return k["c"], t["c"]


def test_rectifiers_by_hand():
    weights, biases = [1.3, 2.0, 0.7, 1.9], [0.2, 0.05, 0.4, 0.1]
    nngp, ntk = (
        InfiniteNetwork("relu-3", kind, weight_variance=weights, bias_variance=biases, **PLAIN)
        for kind in KINDS
    )
    expected = [[relu_by_hand(x.numpy(), y.numpy(), weights, biases) for y in X] for x in X]
    np.testing.assert_allclose(covariance(nngp, X).detach(), np.array(expected)[..., 0], rtol=1e-7)
    np.testing.assert_allclose(covariance(ntk, X).detach(), np.array(expected)[..., 1], rtol=1e-7)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", sorted(REFERENCES["kernels"]))
def test_kernels_are_those_of_neural_tangents(name, kind):
    """Version 0.6.5, on JAX 0.4.30; `benchmarks/neural_tangents_reference.py` wrote them."""
    relu = Apply(ACTIVATIONS["relu"])
    architectures = {
        "residual": Sequential(Dense(), Residual(Sequential(relu, Dense())), relu, Dense()),
        "norm": Sequential(Dense(), LayerNorm(), relu, Dense()),
        "product": Sequential(Dense(), Product(Sequential(relu, Dense()), Sequential(Dense())), Dense()),
    }
    architecture = architectures.get(name, name)
    layers = read_architecture(architecture).dense
    names = ("weight_variance", "bias_variance")
    variances = {key: (REFERENCES[key] + REFERENCES[key][:1])[:layers] for key in names}
    k = InfiniteNetwork(architecture, kind, **variances, **PLAIN)
    found = covariance(k, torch.tensor(REFERENCES["x"], dtype=torch.float64)).detach()
    np.testing.assert_allclose(found, REFERENCES["kernels"][name][kind], rtol=1e-12)


@pytest.mark.parametrize("name", ["relu", "erf", "gelu", "tanh", "sin"])
def test_wide_networks_have_these_kernels(name):
    """Sums over the units of networks that are 1000 wide, on average over ten of them."""
    width, generator = 1000, torch.Generator().manual_seed(0)
    weight, bias = [1.2, 1.6, 0.9], [0.3, 0.2, 0.1]
    function, found = ACTIVATIONS[name].function, torch.zeros(7, 7, dtype=torch.float64)
    for _ in range(10):
        hidden, units = X, 3
        for w, b in zip(weight[:2], bias[:2], strict=True):
            draw = torch.randn(units + 1, width, dtype=torch.float64, generator=generator)
            before = math.sqrt(w / units) * hidden @ draw[:-1] + math.sqrt(b) * draw[-1]
            hidden, units = function(before), width
        found += (weight[2] * hidden @ hidden.T / width + bias[2]) / 10.0
    nngp = InfiniteNetwork(f"{name}-2", weight_variance=weight, bias_variance=bias, **PLAIN)
    expected = covariance(nngp, X).detach()
    assert float((found - expected).norm() / expected.norm()) < 0.03


@pytest.mark.parametrize("name", ["relu", "erf"])
def test_gradients_of_a_wide_network_have_the_tangent_kernel(name):
    width, generator = 4000, torch.Generator().manual_seed(1)
    w, b = [1.2, 1.6], [0.3, 0.2]
    draws = [
        torch.randn(*shape, dtype=torch.float64, generator=generator).requires_grad_(True)
        for shape in ((3, width), (width,), (width, 1), (1,))
    ]
    hidden = math.sqrt(w[0] / 3.0) * X @ draws[0] + math.sqrt(b[0]) * draws[1]
    y = math.sqrt(w[1] / width) * ACTIVATIONS[name].function(hidden) @ draws[2] + math.sqrt(b[1]) * draws[3]
    rows = [
        torch.cat([g.reshape(-1) for g in torch.autograd.grad(one, draws, retain_graph=True)])
        for one in y[:, 0]
    ]
    jacobian = torch.stack(rows)
    ntk = InfiniteNetwork(f"{name}-1", "ntk", weight_variance=w, bias_variance=b, **PLAIN)
    expected = covariance(ntk, X).detach()
    assert float((jacobian @ jacobian.T - expected).norm() / expected.norm()) < 0.05


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
def test_diagonals_are_those_of_the_matrix_and_matrices_positive_semidefinite(name, kind):
    rows = torch.cat([X, X[:3], 1e-9 + X[:1], 1e4 * X[:1], torch.zeros(1, 3, dtype=torch.float64)])
    if name == "exp":  # of variances in the thousands it is infinite
        rows = rows[:8] / 4.0
    k = InfiniteNetwork(f"{name}-2", kind, **PLAIN)
    matrix = covariance(k, rows).detach()
    assert torch.isfinite(matrix).all()
    torch.testing.assert_close(variance(k, rows).detach(), matrix.diagonal(), rtol=1e-12, atol=0.0)
    torch.testing.assert_close(matrix, matrix.mT, rtol=1e-12, atol=1e-12)
    scale = matrix.diagonal().rsqrt()
    values = torch.linalg.eigvalsh(scale[:, None] * matrix * scale)
    assert values[0] > -1e-6
    rough = name in ("sign", "step")  # each layer takes the root of what rounding left of the angle
    tolerance = 1e-3 if rough else 1e-6
    again = covariance(k, rows, rows + 0.0 * rows).detach()
    torch.testing.assert_close(again, matrix, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["relu", "erf", "gelu", "tanh"])
@pytest.mark.parametrize("weight", [0.1, 5.0])
def test_deep_networks_in_order_and_in_chaos_stay_finite(name, kind, weight):
    k = InfiniteNetwork(f"{name}-50", kind, weight_variance=weight, bias_variance=0.01, **PLAIN)
    rows = torch.cat([X, X[:2]])
    matrix = covariance(k, rows)
    assert torch.isfinite(matrix).all()
    gradients = torch.autograd.grad(matrix.sum(), [p for p in k.parameters() if p.requires_grad])
    assert all(bool(torch.isfinite(gradient).all()) for gradient in gradients)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["relu", "erf", "silu"])
def test_gradients_of_hyperparameters_are_those_of_differences(name, kind):
    k = InfiniteNetwork(f"{name}-2", kind, **PLAIN)
    weights = torch.randn(7, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    def total(w, b):
        k._parameters["raw_weight_variance"] = torch.nn.Parameter(w)
        k._parameters["raw_bias_variance"] = torch.nn.Parameter(b)
        return (covariance(k, X) * weights).sum()

    start = [k.raw_weight_variance.detach().clone(), k.raw_bias_variance.detach().clone()]
    total(*start).backward()
    for index in (0, 1):
        found = (k.raw_weight_variance, k.raw_bias_variance)[index]
        gradient = found.grad.clone() if found.grad is not None else None
        assert gradient is not None
        for layer in range(3):
            values = []
            for step in (1e-5, -1e-5):
                moved = [value.clone() for value in start]
                moved[index][0, layer] += step
                values.append(float(total(*moved).detach()))
            assert float(gradient[0, layer]) == pytest.approx((values[0] - values[1]) / 2e-5, rel=1e-5)
        total(*start).backward()


def test_a_batch_of_hyperparameters_is_as_one_by_one():
    weights = torch.tensor([[1.0, 2.0, 1.5], [0.5, 1.0, 3.0]], dtype=torch.float64)
    biases = torch.tensor([[0.1, 0.2, 0.3], [0.3, 0.1, 0.2]], dtype=torch.float64)
    for kind in KINDS:
        k = InfiniteNetwork("relu-2", kind, **PLAIN)
        k.weight_variance, k.bias_variance = weights[:, None], biases[:, None]
        together, variances = k.matrix(X, X[:4]), k.diagonal(X)
        for i in range(2):
            one = InfiniteNetwork(
                "relu-2", kind, weight_variance=weights[i].tolist(), bias_variance=biases[i].tolist(), **PLAIN
            )
            torch.testing.assert_close(together[i], one.matrix(X, X[:4]))
            torch.testing.assert_close(variances[i], one.diagonal(X))


# layers ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_residual_branch_is_added(kind):
    branch = Sequential(Apply(ACTIVATIONS["erf"]), Dense())
    whole = Sequential(Dense(), Residual(branch))
    k = InfiniteNetwork(whole, kind, weight_variance=[1.2, 0.7], bias_variance=[0.1, 0.3], **PLAIN)
    plain = InfiniteNetwork(
        Sequential(Dense(), *branch.layers),
        kind,
        weight_variance=[1.2, 0.7],
        bias_variance=[0.1, 0.3],
        **PLAIN,
    )
    short = InfiniteNetwork(Sequential(Dense()), kind, weight_variance=1.2, bias_variance=0.1, **PLAIN)
    torch.testing.assert_close(covariance(k, X), covariance(plain, X) + covariance(short, X))


def test_normed_layers_have_variance_one():
    layers = Sequential(Dense(), LayerNorm(), Apply(ACTIVATIONS["relu"]), Dense())
    k = InfiniteNetwork(layers, weight_variance=[3.0, 2.0], bias_variance=[0.1, 1e-12], **PLAIN)
    np.testing.assert_allclose(variance(k, X).detach(), 1.0, rtol=1e-9)
    plain = InfiniteNetwork("relu-1", weight_variance=[3.0, 2.0], bias_variance=[0.1, 1e-12], **PLAIN)
    matrix = covariance(plain, X).detach()
    scale = matrix.diagonal().rsqrt()
    np.testing.assert_allclose(covariance(k, X).detach(), scale[:, None] * matrix * scale, rtol=1e-6)


# as a kernel among others ------------------------------------------------------------------------


def test_weights_start_where_gradients_keep_their_size():
    assert InfiniteNetwork("relu-2").get_params()["weight_variance"] == pytest.approx([1.0, 2.0, 2.0])
    (_, erf, _) = InfiniteNetwork("erf-2").get_params()["weight_variance"]
    assert erf == pytest.approx(math.sqrt(5.0) * math.pi / 4.0)


def test_formulas_are_read_back():
    k = InfiniteNetwork("erf-1", "ntk", weight_variance=[1.5, 2.5], bias_variance=0.5, **PLAIN)
    again = parse(repr(k))
    torch.testing.assert_close(covariance(again, X), covariance(k, X), rtol=1e-3, atol=1e-3)
    assert again.get_params() == k.get_params()
    assert "infinite_network(architecture='erf-1', kind='ntk'" in repr(k)


@pytest.mark.parametrize("kind", KINDS)
def test_a_regressor_learns_the_variances_and_keeps_them_in_files(kind, tmp_path):
    rng = np.random.default_rng(0)
    x = 1000.0 + 50.0 * rng.standard_normal((80, 2))  # any units
    z = (x - 1000.0) / 50.0
    y = 7.0 + np.sin(2.0 * z[:, 0]) + 0.5 * z[:, 1] ** 2 + 0.1 * rng.standard_normal(80)
    model = GPRegressor(InfiniteNetwork("erf-2", kind)).fit(x[:60], y[:60])
    held = InfiniteNetwork("erf-2", kind, fixed=("weight_variance", "bias_variance"))
    start = GPRegressor(held).fit(x[:60], y[:60])
    assert model.log_evidence() > start.log_evidence()
    assert np.sqrt(np.mean((model.predict(x[60:]) - y[60:]) ** 2)) < 0.5 * y.std()
    model.save(tmp_path / "network.gp")
    mean, sd = GPRegressor.load(tmp_path / "network.gp").predict(x[60:], return_std=True)
    for found, expected in zip((mean, sd), model.predict(x[60:], return_std=True), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_another_architecture_can_be_set():
    k = InfiniteNetwork("relu-2", **PLAIN).set_params(architecture="erf-1", kind="ntk")
    torch.testing.assert_close(covariance(k, X), covariance(InfiniteNetwork("erf-1", "ntk", **PLAIN), X))
    kept = InfiniteNetwork("relu-1", weight_variance=[1.5, 0.5], **PLAIN).set_params(architecture="erf-1")
    assert kept.get_params()["weight_variance"] == pytest.approx([1.5, 0.5])
    search = GridSearchCV(GPRegressor(InfiniteNetwork()), {"kernel__architecture": ["relu-1", "erf-2"]}, cv=2)
    y = X[:, 0].numpy() ** 2
    assert search.fit(X.numpy(), y).best_params_["kernel__architecture"] in ("relu-1", "erf-2")


@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
def test_networks_travel_to_other_processes(name):
    k = pickle.loads(pickle.dumps(InfiniteNetwork(mlp(name, 2), **PLAIN)))
    torch.testing.assert_close(covariance(k, X), covariance(InfiniteNetwork(f"{name}-2", **PLAIN), X))


def test_files_hold_architectures_but_no_functions(tmp_path):
    layers = Sequential(Dense(), Apply(leaky_relu(0.3)), Residual(Sequential(Dense(bias=False))), Dense())
    model = GPRegressor(InfiniteNetwork(layers, "ntk")).fit(X.numpy(), X[:, 0].numpy())
    model.save(tmp_path / "network.gp")
    again = GPRegressor.load(tmp_path / "network.gp")
    np.testing.assert_allclose(again.predict(X.numpy()), model.predict(X.numpy()), rtol=1e-9)
    assert repr(again.kernel_) == repr(model.kernel_)
    mine = Sequential(Dense(), Apply(elementwise(torch.sin)), Dense())
    model = GPRegressor(InfiniteNetwork(mine)).fit(X.numpy(), X[:, 0].numpy())
    with pytest.raises(
        InputError, match=r"cannot save .*architecture=Sequential.*files hold no code, and an activ"
    ):
        model.save(tmp_path / "network.gp")


def test_what_cannot_be_is_refused():
    for wrong in ("relu", "relu-", "3-relu", 3, Sequential(LayerNorm())):
        with pytest.raises(InputError, match="architecture must be"):
            InfiniteNetwork(wrong)
    with pytest.raises(InputError, match=r"activation must be one of .*, got 'softmax'"):
        InfiniteNetwork("softmax-2")
    for depth in (0, 101, True, 2.0):
        with pytest.raises(InputError, match="depth must be a whole number from 1 to 100"):
            mlp("relu", depth)
    with pytest.raises(InputError, match="kind must be 'nngp' or 'ntk', got 'cntk'"):
        InfiniteNetwork("relu-1", "cntk")
    with pytest.raises(InputError, match="weight_variance has 2 values, and the architecture 4 dense layers"):
        InfiniteNetwork("relu-3", weight_variance=[1.0, 2.0])
    with pytest.raises(InputError, match="Sequential takes layers such as"):
        Sequential(torch.nn.ReLU())
    with pytest.raises(InputError, match=r"must be a Sequential that ends with Dense\(\) or a convolution"):
        Residual(Sequential(Apply(ACTIVATIONS["relu"])))
    normed = InfiniteNetwork(Sequential(LayerNorm(), Dense()), **PLAIN)
    with pytest.raises(InputError, match="LayerNorm has a row whose numbers are all 0"):
        covariance(normed, torch.zeros(2, 3, dtype=torch.float64))
