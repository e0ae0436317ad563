"""The tangent kernel of a given network: derivatives written out, linear models, limits, hostile modules."""

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor

import gpytorch
import numpy as np
import pytest
import torch
from sklearn.base import clone
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from nonparam import BayesianLinearRegressor, GPRegressor, compare, fitting, solves
from nonparam.errors import InputError
from nonparam.kernels import (
    RBF,
    Constant,
    InfiniteNetwork,
    Linear,
    Scale,
    Sum,
    WhiteNoise,
    covariance,
    matrix_free,
    variance,
)
from nonparam.kernels.matrix_free import MatrixFreeTiles
from nonparam.kernels.operator import KernelOperator
from nonparam.kernels.sharded import ShardedOperator
from nonparam.model_selection import clml, loo
from nonparam.networks import (
    Conv2d,
    Dense,
    EmpiricalNTK,
    FiniteNetwork,
    GlobalAvgPool,
    Relu,
    Sequential,
    Unflatten,
    empirical,
)

RNG = np.random.default_rng(0)
X = RNG.uniform(-2.0, 2.0, (23, 3))
Y = np.sin(2.0 * X[:, 0]) + 0.3 * X[:, 1] + 0.1 * RNG.standard_normal(23)
ROWS, OTHERS = torch.from_numpy(X), torch.from_numpy(RNG.uniform(-2.0, 2.0, (9, 3)))


def network(outputs=1, width=8, seed=0):
    torch.manual_seed(seed)
    layers = [nn.Linear(3, width), nn.Tanh(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, outputs)]
    return nn.Sequential(*layers)


class Own(nn.Module):
    """A line, and what a test makes of it."""

    def __init__(self, task=lambda z: z, outputs=1):
        super().__init__()
        torch.manual_seed(4)
        self.line = nn.Linear(3, outputs)
        self.task = task

    def forward(self, x):
        return self.task(self.line(x))


def jacobian(net: nn.Module, x: Tensor, output: int) -> Tensor:
    """The derivatives of an output at each row by itself."""
    net, rows = copy.deepcopy(net).double(), []
    weights = [weight for weight in net.parameters() if weight.requires_grad]
    for row in x:
        slopes = torch.autograd.grad(net(row[None].clone())[0, output], weights, materialize_grads=True)
        rows.append(torch.cat([slope.flatten() for slope in slopes]))
    return torch.stack(rows)


def features(kernel: EmpiricalNTK):
    return lambda table: kernel.features(torch.from_numpy(table)).numpy()


# entries ----------------------------------------------------------------------------------------------


def convolutional():
    torch.manual_seed(2)
    image = [nn.Unflatten(1, (1, 3)), nn.Conv1d(1, 4, 2, padding=1), nn.GELU(), nn.AvgPool1d(2), nn.Flatten()]
    return nn.Sequential(*image, nn.LayerNorm(8), nn.Linear(8, 2))


def normalised():
    net = nn.Sequential(nn.Linear(3, 6), nn.BatchNorm1d(6), nn.SiLU(), nn.Dropout(0.5), nn.Linear(6, 2))
    net(torch.randn(50, 3))
    return net.eval()


def attention():
    torch.manual_seed(3)
    layer = nn.TransformerEncoderLayer(4, 2, 8, dropout=0.0, batch_first=True)
    return nn.Sequential(nn.Unflatten(1, (3, 1)), nn.Linear(1, 4), layer, nn.Flatten(), nn.Linear(12, 2))


def tied():
    """Two layers that share their weights."""
    net = nn.Sequential(nn.Linear(3, 3), nn.Tanh(), nn.Linear(3, 3), nn.Tanh(), nn.Linear(3, 2))
    net[2].weight = net[0].weight
    return net


def partly_frozen():
    net = network(outputs=2)
    net[2].requires_grad_(False)
    return net


def finite():
    kernel = InfiniteNetwork("erf-2", center=0.3, spread=2.0)
    return FiniteNetwork(kernel, 3, 7, outputs=2, parameterization="standard")


MODULES = {
    "dense": lambda: network(outputs=2),
    "half": lambda: nn.Linear(3, 2).half(),
    "convolutional": convolutional,
    "normalised": normalised,
    "tied": tied,
    "partly_frozen": partly_frozen,
    "in_place": lambda: nn.Sequential(nn.Hardtanh(inplace=True), nn.Linear(3, 2), nn.ReLU(inplace=True)),
    "weight_norm": lambda: nn.utils.parametrizations.weight_norm(nn.Linear(3, 2)),
    "dropout of nothing": lambda: nn.Sequential(nn.Linear(3, 2), nn.Dropout(0.0)),
    "attention": attention,
    "prelu": lambda: nn.Sequential(nn.Linear(3, 4), nn.PReLU(), nn.Linear(4, 2)),
    "spectral norm": lambda: nn.utils.parametrizations.spectral_norm(nn.Linear(3, 2)),
    "finite": finite,
}


@pytest.mark.filterwarnings("ignore:There is a performance drop")  # torch's, of weight_norm
@pytest.mark.parametrize("name", MODULES)
def test_entries_are_products_of_the_derivatives_of_rows(name):
    net = MODULES[name]()
    left, right = ([jacobian(net, x, o) for o in (0, 1)] for x in (ROWS, OTHERS))
    each = [EmpiricalNTK(net, output=o) for o in (0, 1)]
    for o in (0, 1):
        torch.testing.assert_close(covariance(each[o], ROWS, OTHERS), left[o] @ right[o].mT)
    both = EmpiricalNTK(net)
    expected = (left[0] @ left[0].mT + left[1] @ left[1].mT) / 2.0
    found = covariance(both, ROWS)
    torch.testing.assert_close(found, expected)
    assert torch.equal(found, found.mT) and torch.equal(found.diagonal(), variance(both, ROWS))
    torch.testing.assert_close(both.features(ROWS) @ both.features(ROWS).mT, expected)
    v = torch.randn(2, 9, dtype=torch.float64)
    torch.testing.assert_close(both.product(ROWS, OTHERS, v), v @ covariance(both, OTHERS, ROWS))


def test_a_line_by_hand():
    """Each output has weights of its own, which are of no use to the others."""
    expected = ROWS @ OTHERS.mT + 1.0
    for output in (None, 0, 3):
        k = EmpiricalNTK(nn.Linear(3, 5), output=output)
        torch.testing.assert_close(covariance(k, ROWS, OTHERS), expected)


def test_rows_are_the_same_in_blocks_and_pieces(monkeypatch):
    k = EmpiricalNTK(network(outputs=2))
    whole, cross, diagonal = covariance(k, ROWS), covariance(k, ROWS, OTHERS), variance(k, ROWS)
    v = torch.randn(5, 9, dtype=torch.float64)
    product = k.product(ROWS, OTHERS, v)
    size = 8 * 2 * 113  # bytes of a row's derivatives
    for name, value in {"BLOCK": 7 * size, "PIECE": 2 * size, "FEWEST": 1, "VECTORS": 2 * size}.items():
        monkeypatch.setattr(empirical, name, value)
    pieces = count_calls(k, monkeypatch)
    torch.testing.assert_close(covariance(k, ROWS), whole)
    assert len(pieces) > 12 and max(pieces) <= 7 and torch.equal(covariance(k, ROWS), covariance(k, ROWS).mT)
    torch.testing.assert_close(covariance(k, ROWS, OTHERS), cross)
    torch.testing.assert_close(variance(k, ROWS), diagonal)
    torch.testing.assert_close(k.product(ROWS, OTHERS, v), product)


def count_calls(k, monkeypatch):
    """Note how many rows have their derivatives taken at once."""
    calls, original = [], EmpiricalNTK._derivatives

    def counted(self, x):
        calls.append(len(x))
        return original(self, x)

    monkeypatch.setattr(EmpiricalNTK, "_derivatives", counted)
    return calls


def test_gradients_flow_to_the_rows():
    k = EmpiricalNTK(nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)))
    few, others = ROWS[:3].clone().requires_grad_(), OTHERS[:2].clone().requires_grad_()
    torch.autograd.gradcheck(k.matrix, (few, others))
    torch.autograd.gradcheck(k.matrix, (few,))
    torch.autograd.gradcheck(k.diagonal, (few,))


def test_it_is_in_the_precision_of_the_rows_and_takes_any_number_of_them():
    k, single = EmpiricalNTK(network()), ROWS.float()
    assert covariance(k, single).dtype == variance(k, single).dtype == torch.float32
    torch.testing.assert_close(covariance(k, single).double(), covariance(k, ROWS), rtol=1e-5, atol=1e-5)
    for n in (0, 1, 2):
        assert covariance(k, ROWS[:n]).shape == (n, n) and variance(k, ROWS[:n]).shape == (n,)
        assert covariance(k, ROWS, OTHERS[:n]).shape == (23, n)
        torch.testing.assert_close(covariance(k, ROWS[:n]), covariance(k, ROWS)[:n, :n])


def test_it_sees_the_columns_that_it_is_given():
    k = EmpiricalNTK(nn.Linear(1, 1), active_dims=[2])
    torch.testing.assert_close(covariance(k, ROWS), ROWS[:, 2:] @ ROWS[:, 2:].mT + 1.0)
    v = torch.randn(23, 2, dtype=torch.float64)
    torch.testing.assert_close(KernelOperator(k, ROWS) @ v, covariance(k, ROWS) @ v)


# products without the matrix -----------------------------------------------------------------------------


KERNELS = {
    "alone": lambda k: k,
    "scaled": lambda k: Scale(3.0 * k, 0.5),
    "among others": lambda k: 2.0 * k + RBF(1.0) + WhiteNoise(0.3) + Scale(k, 0.1),
    "of some columns": lambda k: 2.0 * EmpiricalNTK(nn.Linear(2, 1), active_dims=[0, 2]) + Linear(0.5),
    "a product": lambda k: (k * RBF(1.0)) + 0.5 * k,
}


@pytest.mark.parametrize("name", KERNELS)
def test_operators_are_the_matrix(name):
    kernel = KERNELS[name](EmpiricalNTK(network(outputs=2)))
    k = KernelOperator(kernel, ROWS, tile=(4, 8))
    assert isinstance(k._tiles, MatrixFreeTiles)
    assert_operator_is_the_matrix(k, kernel)
    assert_operator_is_the_matrix(KernelOperator(kernel, ROWS, tile=(4, 8), keep=True), kernel)
    shared = ShardedOperator(kernel, ROWS, tile=(4, 8), devices=["cpu", "cpu", "cpu"])
    assert_operator_is_the_matrix(shared, kernel)


def assert_operator_is_the_matrix(k, kernel):
    u, v = torch.randn(2, 23, 4, dtype=torch.float64)
    dense = covariance(kernel, ROWS)
    torch.testing.assert_close(k @ v, (dense @ v).detach())
    torch.testing.assert_close(k.rows(torch.tensor([4, 0])), dense[[4, 0]].detach())
    torch.testing.assert_close(k.diagonal(), dense.diagonal().detach())
    if isinstance(k, KernelOperator):
        torch.testing.assert_close(k.to_dense(), dense.detach())
    learnt = [p for p in kernel.parameters() if p.requires_grad]
    if learnt:
        expected = torch.autograd.grad((u * (dense @ v)).sum(), learnt)
        torch.testing.assert_close(k.gradient(u, v, learnt), list(expected))
        torch.testing.assert_close(k.gradient(u, v, learnt[:1]), list(expected[:1]))
    assert k.gradient(u, v, []) == []


def test_other_kernels_are_evaluated_as_ever():
    for kernel in (2.0 * RBF(1.0), RBF(1.0) + Linear(1.0), EmpiricalNTK(network()) * RBF(1.0)):
        assert not isinstance(KernelOperator(kernel, ROWS)._tiles, MatrixFreeTiles)
    part = Sum(EmpiricalNTK(nn.Linear(2, 1)), Constant(1.0), active_dims=[0, 1])
    assert not isinstance(KernelOperator(part, ROWS)._tiles, MatrixFreeTiles)
    with pytest.raises(InputError, match="expected some of those that it had when the operator was made"):
        KernelOperator(2.0 * EmpiricalNTK(network()), ROWS).gradient(ROWS, ROWS, [torch.zeros(3)])
    with pytest.raises(NotImplementedError, match="MatrixFree implements no product"):
        matrix_free.MatrixFree({}).product(ROWS, ROWS, ROWS)


class Largest(TorchDispatchMode):
    """Notes how many numbers the largest tensor has that any operation makes."""

    numbers = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        made = function(*args, **(kwargs or {}))
        for each in made if isinstance(made, tuple | list) else [made]:
            if isinstance(each, Tensor):
                self.numbers = max(self.numbers, each.numel())
        return made


def test_a_product_makes_neither_the_matrix_nor_the_derivatives(monkeypatch):
    n, net = 3000, network(width=40)
    weights = sum(each.numel() for each in net.parameters())
    k = KernelOperator(2.0 * EmpiricalNTK(net), torch.randn(n, 3, dtype=torch.float64))
    calls = count_calls(k, monkeypatch)
    with Largest() as seen:
        k @ torch.randn(n, 2, dtype=torch.float64)
    assert n <= seen.numbers <= 2 * 40 * n + weights and not calls
    assert seen.numbers < 0.1 * min(n * n, n * weights)


def test_products_in_float32():
    k = 2.0 * EmpiricalNTK(network())
    v = torch.randn(23, 2)
    found = KernelOperator(k, ROWS.float()) @ v
    assert found.dtype == torch.float32
    torch.testing.assert_close(
        found, (covariance(k, ROWS) @ v.double()).float().detach(), rtol=1e-4, atol=1e-4
    )


# the linearised network ------------------------------------------------------------------------------------


@pytest.mark.parametrize("outputs", [1, 2])
def test_evidence_is_that_of_the_linear_model_of_the_derivatives(outputs):
    k, s, noise = EmpiricalNTK(network(outputs)), 0.7, 0.05
    known = Scale(k, s, fixed=("outputscale",))
    model = GPRegressor(known, mean="zero", noise=noise, priors=None).fit(X, Y)
    linear = BayesianLinearRegressor(features(k), intercept=False, prior_variance=s, noise=noise).fit(X, Y)
    cov = s * covariance(k, ROWS).numpy() + noise * np.eye(len(X))
    log_density = -0.5 * (Y @ np.linalg.solve(cov, Y) + np.linalg.slogdet(2.0 * np.pi * cov)[1])
    assert model.log_marginal_likelihood_ == pytest.approx(log_density, rel=1e-9)
    assert linear.log_marginal_likelihood_ == pytest.approx(log_density, rel=1e-9)
    mean, sd = model.predict(OTHERS.numpy(), return_std=True)
    linear_mean, linear_sd = linear.predict(OTHERS.numpy(), return_std=True)
    np.testing.assert_allclose(mean, linear_mean, rtol=1e-8)
    np.testing.assert_allclose(sd**2, linear_sd**2, rtol=1e-8)


def test_conditional_evidence_is_that_of_the_linear_model():
    k = EmpiricalNTK(network())
    known = Scale(k, 0.7, fixed=("outputscale",))
    model = GPRegressor(known, mean="zero", noise=0.05, priors=None).fit(X, Y)
    linear = BayesianLinearRegressor(features(k), intercept=False, prior_variance=0.7, noise=0.05).fit(X, Y)
    ours, theirs = (clml(each, n_orderings=8, random_state=1) for each in (model, linear))
    assert ours.value == pytest.approx(theirs.value, rel=1e-8)
    for one, other in zip(ours.held_out, theirs.held_out, strict=True):
        assert one.log_joint == pytest.approx(other.log_joint, rel=1e-8)
    assert loo(model).value == pytest.approx(loo(linear).value, rel=1e-8)


def test_learnt_variances_are_those_of_the_linear_model():
    k = EmpiricalNTK(network())
    model = GPRegressor(k, mean="zero", priors=None).fit(X, Y)
    linear = BayesianLinearRegressor(features(k), intercept=False).fit(X, Y)
    assert model.log_marginal_likelihood_ == pytest.approx(linear.log_marginal_likelihood_, abs=1e-5)
    assert model.noise_ == pytest.approx(linear.noise_, rel=1e-3)
    assert model.kernel_.value("outputscale") == pytest.approx(linear.prior_variance_, rel=1e-3)
    assert model.num_parameters_ == 2 and model.theta_names_ == ["outputscale", "noise"]


def test_predictions_without_noise_are_those_of_the_linearised_network_trained_to_the_end():
    net, x, y = network(width=20).double(), ROWS[:5], torch.from_numpy(Y[:5])
    with torch.no_grad():
        start, start_elsewhere = net(x)[:, 0], net(OTHERS)[:, 0]
    slopes, slopes_elsewhere = jacobian(net, x, 0), jacobian(net, OTHERS, 0)
    rate, change = 1.0 / float(torch.linalg.matrix_norm(slopes, 2)) ** 2, slopes.new_zeros(slopes.shape[1])
    for _ in range(5000):
        change -= rate * slopes.mT @ (start + slopes @ change - y)
    expected = start_elsewhere + slopes_elsewhere @ change
    model = GPRegressor(EmpiricalNTK(net), mean="zero", noise=0.0).fit(x.numpy(), (y - start).numpy())
    found = model.predict(OTHERS.numpy()) + start_elsewhere.numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-7)


def test_it_stands_beside_processes_in_a_comparison():
    k = EmpiricalNTK(network(width=30))
    models = {"network": GPRegressor(k), "matern": GPRegressor("matern52"), "line": GPRegressor("linear")}
    report = compare(models, X, Y, orderings=5, cv=3, random_state=0)
    table = report.table
    assert list(table.index) == list(models)
    columns = ["lml", "log_evidence", "clml", "loo", "effective_parameters", "bic"]
    assert np.isfinite(table[columns].to_numpy(float)).all()
    assert table.parameters["network"] == 3 and 2.0 < table.effective_parameters["network"] < 23.0
    assert table.clml["network"] == pytest.approx(
        clml(models["network"].fit(X, Y), n_orderings=5, random_state=0).value, rel=1e-6
    )
    assert "network" in str(report) and report.hypothesis.best in models


# the limit of width ----------------------------------------------------------------------------------------


def test_it_tends_to_the_infinite_network_as_the_root_of_the_width():
    limit = InfiniteNetwork("relu-2", "ntk", center=0.1, spread=1.3, bias_variance=0.2)
    expected = covariance(limit, OTHERS).detach()

    def error(width, seed):
        found = covariance(EmpiricalNTK(FiniteNetwork(limit, 3, width, seed=seed)), OTHERS)
        return float((found - expected).norm() / expected.norm())

    widths = (32, 128, 512)
    errors = [np.mean([error(width, seed) for seed in range(20)]) for width in widths]
    slope = np.polyfit(np.log(widths), np.log(errors), 1)[0]
    assert -0.62 < slope < -0.38
    assert error(2000, 0) < 0.08


def test_convolutions_tend_to_their_limit_too():
    layers = Sequential(Unflatten(1, 4, 4), Conv2d(3), Relu(), GlobalAvgPool(), Dense())
    x = torch.from_numpy(np.random.default_rng(0).standard_normal((6, 16)))
    expected = covariance(layers.kernel("ntk", center=0.0, spread=1.0), x).detach()
    widths, errors = (16, 64, 256), []
    for width in widths:
        found = [covariance(EmpiricalNTK(layers.finite(width, seed=seed)), x) for seed in range(20)]
        errors.append(np.mean([float((each - expected).norm() / expected.norm()) for each in found]))
    assert -0.62 < np.polyfit(np.log(widths), np.log(errors), 1)[0] < -0.38


def test_the_mean_over_outputs_tends_faster():
    limit = InfiniteNetwork("relu-2", "ntk", center=0.0, spread=1.0)
    expected = covariance(limit, OTHERS).detach()
    net = FiniteNetwork(limit, 3, 64, outputs=20)
    each = [covariance(EmpiricalNTK(net, output=o), OTHERS) for o in range(20)]
    errors = [float((found - expected).norm()) for found in each]
    mean = covariance(EmpiricalNTK(net), OTHERS)
    torch.testing.assert_close(mean, sum(each) / 20.0)
    assert float((mean - expected).norm()) < np.mean(errors)


# as a kernel -----------------------------------------------------------------------------------------------


def test_it_is_a_copy_that_stays():
    net = network()
    k = EmpiricalNTK(net)
    before = covariance(k, ROWS)
    with torch.no_grad():
        net[0].weight.mul_(2.0)
    assert torch.equal(covariance(k, ROWS), before) and not torch.equal(
        covariance(EmpiricalNTK(net), ROWS), before
    )
    assert all(each.requires_grad and each.grad is None for each in net.parameters())
    assert next(net.parameters()).dtype == torch.float32
    assert not any(each.requires_grad for each in k.parameters())


def test_inputs_stay_as_they_are():
    x = ROWS.clone()
    k = EmpiricalNTK(nn.Sequential(nn.ReLU(inplace=True), nn.Linear(3, 1)))
    covariance(k, x), k.product(x, x, x.mT)
    assert torch.equal(x, ROWS)


def test_modes_of_gpytorch_do_not_reach_the_network():
    net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 1)).eval()
    k = gpytorch.kernels.ScaleKernel(EmpiricalNTK(net))
    before = k(ROWS).to_dense().detach()
    k.train()
    torch.testing.assert_close(k(ROWS).to_dense().detach(), before)
    assert k.base_kernel.training and not k.base_kernel.network[2].training
    torch.testing.assert_close(k(ROWS, diag=True).detach(), before.diagonal())


def test_formula_parameters_copies():
    k = EmpiricalNTK(network(outputs=3), output=2, active_dims=[2, 1, 0])
    assert repr(k) == str(k) == "empirical_ntk(Sequential, output=2, active_dims=(2, 1, 0))"
    assert (
        repr(0.5 * EmpiricalNTK(nn.Linear(3, 1)) + RBF(1.0))
        == "0.5 * empirical_ntk(Linear) + rbf(lengthscale=1)"
    )
    params = k.get_params()
    assert list(params) == ["module", "output", "active_dims"]
    expected = covariance(k, ROWS)
    for other in (clone(k), copy.deepcopy(k), pickle.loads(pickle.dumps(k)), EmpiricalNTK(**params)):
        assert torch.equal(covariance(other, ROWS), expected) and repr(other) == repr(k)
    k.set_params(output=None)
    assert not torch.allclose(covariance(k, ROWS), expected)
    line = nn.Linear(3, 1)
    k.set_params(module=line, active_dims=None)
    torch.testing.assert_close(covariance(k, ROWS), ROWS @ ROWS.mT + 1.0)
    with pytest.raises(InputError, match=r"module must be a torch.nn.Module, got 'relu-2'"):
        k.set_params(module="relu-2")
    with pytest.raises(InputError, match=r"has no parameter 'width'; it has \['active_dims', 'module', 'out"):
        k.set_params(width=3)


def test_a_regressor_learns_an_amplitude_and_is_kept_in_files(tmp_path):
    net = network(outputs=2)
    model = GPRegressor(EmpiricalNTK(net) + Linear()).fit(X, Y)
    assert model.decompose().names == ("mean", "empirical_ntk", "linear")
    assert model.theta_names_ == [
        "kernels.0.outputscale",
        "kernels.1.variance[0]",
        "kernels.1.variance[1]",
        "kernels.1.variance[2]",
        "noise",
    ]
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(model)).predict(X), model.predict(X))
    path = tmp_path / "model.safetensors"
    model.save(path)
    again = GPRegressor.load(path, kernel=EmpiricalNTK(network(outputs=2, seed=9)) + Linear())
    np.testing.assert_array_equal(again.predict(X), model.predict(X))
    with pytest.raises(
        InputError, match=r"nonparam.networks.empirical.EmpiricalNTK, which only your code can"
    ):
        GPRegressor.load(path)
    with pytest.raises(InputError, match="the given kernel is not built as the saved one"):
        GPRegressor.load(path, kernel=EmpiricalNTK(network(outputs=2, width=9)) + Linear())


def test_an_amplitude_starts_where_the_kernel_is_as_large_as_the_data():
    """A network of a thousandth of the slopes is the same model."""
    small, large = Own(lambda z: 1e-3 * z), Own(lambda z: 1e3 * z)
    models = [GPRegressor(EmpiricalNTK(net)).fit(X, Y) for net in (small, large)]
    assert models[0].log_marginal_likelihood_ == pytest.approx(models[1].log_marginal_likelihood_, abs=1e-6)
    first, second = (model.kernel_.value("outputscale") for model in models)
    assert first / second == pytest.approx(1e12, rel=1e-3)
    nothing = nn.Linear(3, 1, bias=False)  # has the variance 0 at the mean of such data
    GPRegressor(EmpiricalNTK(nothing)).fit(np.repeat([[0.0, 0.0, 0.0]], 5, 0), Y[:5])


@pytest.mark.parametrize("solver", ["cholesky", "cg"])
def test_solvers_agree(solver):
    rng = np.random.default_rng(1)
    x = rng.standard_normal((300, 3))
    y = np.sin(x[:, 0]) + 0.1 * rng.standard_normal(300)
    kernel = EmpiricalNTK(network(width=30))
    model = GPRegressor(kernel, solver=solver, random_state=0).fit(x, y)
    exact = GPRegressor(kernel, solver="cholesky").fit(x, y)
    assert model.log_marginal_likelihood_ == pytest.approx(exact.log_marginal_likelihood_, abs=0.5)
    np.testing.assert_allclose(model.predict(x), exact.predict(x), atol=0.02)
    with pytest.raises(InputError, match=r"empirical_ntk\(Sequential\) has no random features"):
        model.sample_functions(2)


def test_a_fit_without_a_matrix(monkeypatch):
    """Where neither tiles nor a factor fit, training, evidence and variances come from products alone."""
    rng = np.random.default_rng(1)
    x = rng.standard_normal((300, 3))
    y = np.sin(x[:, 0]) + 0.1 * rng.standard_normal(300)
    kernel = EmpiricalNTK(network(width=30))
    exact = GPRegressor(kernel, solver="cholesky").fit(x, y)
    for place in (solves, fitting):
        for name in {"fits", "factorises"} & set(vars(place)):
            monkeypatch.setattr(place, name, lambda *sizes: False)
    monkeypatch.setattr(MatrixFreeTiles, "dense", None)
    model = GPRegressor(kernel, solver="cg", random_state=0).fit(x, y)
    assert isinstance(model.posterior_.factor.matrix._tiles, MatrixFreeTiles)
    assert model.log_marginal_likelihood_ == pytest.approx(exact.log_marginal_likelihood_, abs=0.5)
    found, expected = (each.predict(OTHERS.numpy(), return_std=True) for each in (model, exact))
    np.testing.assert_allclose(found[0], expected[0], atol=1e-3)
    np.testing.assert_allclose(found[1], expected[1], rtol=1e-2)


# hostile modules -------------------------------------------------------------------------------------------


def test_what_is_no_module():
    for wrong in (None, "relu-2", nn.Linear, lambda x: x):
        with pytest.raises(InputError, match=r"module must be a torch.nn.Module, got"):
            EmpiricalNTK(wrong)
    for wrong in (-1, 1.0, True, "0"):
        with pytest.raises(InputError, match="output must be the number of an output, from 0, or None, got"):
            EmpiricalNTK(nn.Linear(3, 1), output=wrong)
    with pytest.raises(InputError, match="active_dims must be different column numbers"):
        EmpiricalNTK(nn.Linear(3, 1), active_dims=[0, 0])


@pytest.mark.parametrize("net", [nn.ReLU(), nn.Sequential(), nn.Linear(3, 1).requires_grad_(False)])
def test_modules_without_weights_to_move(net):
    with pytest.raises(InputError, match="the module has no weights that require gradients"):
        EmpiricalNTK(net)


def test_weights_that_are_none():
    with pytest.raises(InputError, match="lazy weights without a shape: call it on a row first"):
        EmpiricalNTK(nn.LazyLinear(1))
    with pytest.raises(InputError, match="weights that are no real numbers"):
        EmpiricalNTK(nn.Linear(3, 1, dtype=torch.complex64))
    spoilt = nn.Linear(3, 1)
    spoilt.extra = spoilt.weight * 2.0
    with pytest.raises(InputError, match="the module cannot be copied"):
        EmpiricalNTK(spoilt)


STILL = nn.BatchNorm1d(3, track_running_stats=False).eval()


@pytest.mark.parametrize(
    ("layer", "said"),
    [
        (nn.Dropout(0.1), "Dropout by which the value of a row depends on chance"),
        (nn.AlphaDropout(0.1), "AlphaDropout by which the value of a row depends on chance"),
        (nn.BatchNorm1d(3), "BatchNorm1d by which the value of a row depends on the rows beside it"),
        (STILL, "BatchNorm1d by which the value of a row depends on the rows beside it"),
    ],
)
def test_layers_in_training_mode(layer, said):
    with pytest.raises(InputError, match=f"{said}: call module.eval"):
        EmpiricalNTK(nn.Sequential(layer, nn.Linear(3, 1)))


CHANGING = "the outputs of a row change with the rows beside it, or by chance"
FAILED = r"the module failed on rows of shape \(\d+, 3\)"
INFINITE = "the module or its derivatives are NaN or infinite in some rows"
MUST = r"the module must return a tensor of shape \(3, m\) for 3 rows, got"


def rough(z: Tensor) -> Tensor:
    """Has no derivative at zero."""
    return (z * 0.0).sqrt() + z


class Plain(torch.autograd.Function):
    """A function of the old style, which `torch.func` does not take."""

    @staticmethod
    def forward(ctx, z):
        return 2.0 * z

    @staticmethod
    def backward(ctx, slope):
        return 2.0 * slope


TASKS = {
    "centred": (lambda z: z - z.mean(0), CHANGING),
    "scaled by extremes": (lambda z: (z - z.amin(0)) / (z.amax(0) - z.amin(0)), CHANGING),
    "sorted": (lambda z: z.sort(0).values, CHANGING),
    "chance": (lambda z: z + torch.randn_like(z), CHANGING),
    "dropout": (lambda z: nn.functional.dropout(z, 0.5), "change with the rows|failed on rows"),
    "nan": (lambda z: z * torch.nan, INFINITE),
    "infinite": (lambda z: z / 0.0, INFINITE),
    "rough": (rough, INFINITE),
    "vector": (lambda z: z[:, 0], rf"{MUST} \(3,\)"),
    "cube": (lambda z: z[..., None], rf"{MUST} \(3, 1, 1\)"),
    "none": (lambda z: z[:, :0], rf"{MUST} \(3, 0\)"),
    "one row": (lambda z: z[:1], rf"{MUST} \(1, 1\)"),
    "pair": (lambda z: (z, z), f"{MUST} tuple"),
    "number": (lambda z: 1.0, f"{MUST} float"),
    "plain function": (Plain.apply, rf"{FAILED}: In order to use an autograd.Function with functorch"),
    "item": (lambda z: z if z[0, 0].item() > 1e9 else -z, FAILED),
    "raises": (lambda z: [][0], rf"{FAILED}: list index out of range; expected one that takes"),
}


@pytest.mark.parametrize("name", TASKS)
def test_functions_that_are_none_of_a_row(name):
    task, said = TASKS[name]
    k = EmpiricalNTK(Own(task))
    for evaluate in (k.matrix, k.diagonal, k.features, lambda x: k.matrix(x[:3], x)):
        with pytest.raises(InputError, match=said):
            evaluate(ROWS)
    with pytest.raises(InputError, match=said):
        GPRegressor(EmpiricalNTK(Own(task))).fit(X, Y)


@pytest.mark.parametrize("name", ["centred", "chance", "nan", "vector", "raises"])
def test_products_with_functions_that_are_none_of_a_row(name):
    task, said = TASKS[name]
    with pytest.raises(InputError, match=said):
        EmpiricalNTK(Own(task)).product(ROWS, ROWS, ROWS.mT)


def test_one_row_out_of_range_is_seen():
    x = ROWS.clone()
    x[5, 1] = 0.0
    k = EmpiricalNTK(nn.Sequential(Reciprocal(), nn.Linear(3, 1)))
    assert torch.isfinite(covariance(k, ROWS)).all()
    for evaluate in (k.matrix, k.diagonal, lambda z: k.matrix(z, ROWS), lambda z: k.matrix(ROWS, z)):
        with pytest.raises(InputError, match=INFINITE):
            evaluate(x)
    for pair in ((x, ROWS), (ROWS, x)):
        with pytest.raises(InputError, match=INFINITE):
            k.product(*pair, torch.ones(1, 23, dtype=torch.float64))


class Reciprocal(nn.Module):
    """One over each number."""

    def forward(self, x):
        return 1.0 / x


def test_outputs_and_columns_that_are_not_there():
    with pytest.raises(InputError, match="output is 2, but the module has only 2 outputs"):
        covariance(EmpiricalNTK(network(outputs=2), output=2), ROWS)
    with pytest.raises(
        InputError, match=r"the module failed on rows of shape \(23, 2\).*expected one that takes"
    ):
        covariance(EmpiricalNTK(network()), ROWS[:, :2])
    with pytest.raises(InputError, match=r"active_dims are .7., but X has only 3 columns"):
        covariance(EmpiricalNTK(network(), active_dims=[7]), ROWS)


def test_memory_that_runs_out_is_no_fault_of_the_module():
    k = EmpiricalNTK(Own(lambda z: z + torch.empty(10**15).sum()))
    with pytest.raises(RuntimeError, match=r"can't allocate memory|not enough memory"):
        covariance(k, ROWS)


def test_threads_do_not_meet_in_the_network():
    k = EmpiricalNTK(network(outputs=2, width=30))
    v = torch.randn(2, 23, dtype=torch.float64)
    expected, product = covariance(k, ROWS), k.product(ROWS, ROWS, v)
    with ThreadPoolExecutor(4) as pool:
        found = list(
            pool.map(lambda i: k.product(ROWS, ROWS, v) if i % 2 else covariance(k, ROWS), range(40))
        )
    for i, each in enumerate(found):
        torch.testing.assert_close(each, product if i % 2 else expected)
