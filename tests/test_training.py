"""Training of networks side by side: against each alone, against plain loops, and when it explodes."""

import math
from dataclasses import replace

import pytest
import torch

from nonparam.errors import ConvergenceError, InputError
from nonparam.kernels import InfiniteNetwork
from nonparam.kernels.activations import elementwise
from nonparam.kernels.layers import mlp
from nonparam.networks.finite import FiniteNetwork
from nonparam.networks.members import Members
from nonparam.networks.training import NetworkReport, Recipe, Rows, auto_rate, rate_factors, train
from nonparam.progress import Tally

N, SEEDS = 23, [5, 6, 7]
GENERATOR = torch.Generator().manual_seed(0)
X = torch.randn(N, 2, generator=GENERATOR)
Y = torch.stack([X[:, 0].sin() + X[:, 1], X[:, 0] * X[:, 1]], 1)
RECIPE = Recipe(6, 5, "sgd", 0.02, 0.01, [1.0] * 4)


def half_squares(outputs, targets):
    return 0.5 * (outputs - targets).square().sum(-1).mean(-1)


def networks(seeds=SEEDS, width=8, parameterization="standard", activation="relu"):
    kernel = InfiniteNetwork(mlp(activation, 1), center=0.0, spread=1.0)
    options = {"outputs": 2, "parameterization": parameterization}
    return [FiniteNetwork(kernel, 2, width, seed=seed, **options).float() for seed in seeds]


def rows(seeds=SEEDS, used=None):
    return Rows(X, Y, torch.arange(N).expand(len(seeds), N) if used is None else used, seeds)


def trained(recipe=RECIPE, seeds=SEEDS, used=None, average=lambda members: None, **options):
    members = Members(networks(seeds, **options))
    with Tally(False, recipe.epochs, "epochs") as tally:
        report, found = train(members, rows(seeds, used), half_squares, recipe, average, tally)
    return members, report, found


def alone(network, seed, used, recipe):
    """Stochastic gradients with momentum, weight by weight."""
    generator = torch.Generator().manual_seed(seed)
    weights = list(network.parameters())
    speeds = [torch.zeros_like(weight) for weight in weights]
    losses, steps = [], max(round(len(used) / recipe.batch_size), 1)
    for epoch in range(recipe.epochs):
        total = 0.0
        order = used[torch.randperm(len(used), generator=generator)]
        for batch in order.tensor_split(steps):
            loss = half_squares(network(X[batch]), Y[batch])
            slopes = torch.autograd.grad(loss, weights)
            with torch.no_grad():
                for weight, speed, slope in zip(weights, speeds, slopes, strict=True):
                    speed.mul_(0.9).add_(slope + recipe.weight_decay * weight)
                    weight -= recipe.lr * recipe.rate(epoch) * speed
            total += loss.item() * len(batch) / len(used)
        losses.append(total)
    return torch.cat([weight.detach().reshape(-1) for weight in weights]), losses


def test_members_are_trained_as_by_a_plain_loop():
    used = torch.stack([torch.randperm(N, generator=GENERATOR)[:19] for _ in SEEDS])
    members, report, _ = trained(used=used)
    oracle = [alone(*each, RECIPE) for each in zip(networks(), SEEDS, used, strict=True)]
    torch.testing.assert_close(members.flat(), torch.stack([weights for weights, _ in oracle]))
    mean = torch.tensor([losses for _, losses in oracle]).mean(0)
    torch.testing.assert_close(torch.tensor(report.losses), mean)
    assert (report.members, report.epochs, report.retries, report.lr) == (3, 6, 0, 0.02)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("batch_size", [5, None])
def test_members_end_where_they_would_alone(optimizer, batch_size):
    recipe = replace(RECIPE, optimizer=optimizer, batch_size=batch_size)
    together = trained(recipe)[0].flat()
    for i, seed in enumerate(SEEDS):
        torch.testing.assert_close(trained(recipe, [seed])[0].flat()[0], together[i], rtol=1e-4, atol=1e-6)


def test_adam_is_adam():
    recipe = replace(RECIPE, optimizer="adam", batch_size=None, weight_decay=0.0, epochs=1, lr=0.125)
    moved = trained(recipe)[0].flat() - Members(networks()).flat()
    seen = moved.abs() > 1e-6  # the first step has the size of the rate, unless a unit is dead
    torch.testing.assert_close(moved.abs()[seen], torch.full_like(moved[seen], 0.125), rtol=1e-4, atol=0.0)
    assert seen.float().mean() > 0.5


def test_more_rows_in_a_batch_than_there_are():
    assert len(trained(replace(RECIPE, batch_size=1000))[1].losses) == 6


def test_weights_shrink_with_their_decay():
    sizes = [trained(replace(RECIPE, weight_decay=wd, epochs=60))[0].flat().norm() for wd in (0.0, 1.0)]
    assert sizes[1] < 0.5 * sizes[0]


@pytest.mark.parametrize("parameterization", ["ntk", "standard", "mup"])
def test_rate_is_a_share_of_the_largest_stable_one(parameterization):
    """Against the dense Hessian of each network, whose weights are scaled as the rates are."""
    members = Members(networks(parameterization=parameterization, activation="erf"))
    factors = rate_factors(members, parameterization, "sgd")
    found = auto_rate(members, rows(), half_squares, parameterization, replace(RECIPE, factors=factors))
    largest = 0.0
    for weights in members.flat():
        hessian = torch.func.hessian(lambda flat: half_squares(members.one(flat, X), Y))(weights)
        sizes = [value[0].numel() for value in members.stacked]
        root = torch.cat([torch.full((k,), math.sqrt(f)) for k, f in zip(sizes, factors, strict=True)])
        ends = torch.linalg.eigvalsh((root[:, None] * hessian * root).double())
        largest = max(largest, float(ends.abs().max()))
    assert found == pytest.approx(0.25 * 2.0 * 1.9 / largest, rel=0.1)


def test_largest_stable_rate_is_the_border():
    """With all rows in each step a linear network swings up beyond it, and comes to rest below."""
    x, y = X[:, :1], 2.0 * X[:, :1]
    line = [torch.nn.Linear(1, 1, bias=False)]
    table = Rows(x, y, torch.arange(N)[None], [0])
    recipe = Recipe(40, None, "sgd", 1.0, 0.0, [1.0])
    stable = auto_rate(Members(line), table, half_squares, "standard", recipe) / 0.25
    for share, retries in ((0.5, 0), (1.2, 1)):
        members = Members(line)
        once = replace(recipe, lr=share * stable)
        with Tally(False, 40, "epochs") as tally:
            report, _ = train(members, table, half_squares, once, lambda members: None, tally)
        assert report.retries == retries


def test_wide_networks_with_mup_move_as_much_as_narrow_ones():
    """Functions and features after some steps do not depend on the width; with "standard" they do."""
    moved = {}
    for parameterization in ("mup", "standard"):
        for optimizer, rate in (("sgd", 0.2), ("adam", 0.2)):
            changes = []
            for width in (64, 1024):
                members = Members(networks(range(6), width, parameterization))
                start = members(X).detach()
                factors = rate_factors(members, parameterization, optimizer)
                lr = rate if parameterization == "mup" else 0.01
                recipe = Recipe(3, None, optimizer, lr, 0.0, factors)
                with Tally(False, 3, "epochs") as tally:
                    train(members, rows(range(6)), half_squares, recipe, lambda members: None, tally)
                changes.append(float((members(X) - start).detach().square().mean().sqrt()))
            moved[parameterization, optimizer] = changes[1] / changes[0]
    for optimizer in ("sgd", "adam"):
        assert 0.7 < moved["mup", optimizer] < 1.4
        assert moved["standard", optimizer] > 2.0


def test_rates_of_layers_are_those_of_the_table():
    kernel = InfiniteNetwork("relu-2", center=0.0, spread=1.0)
    network = FiniteNetwork(kernel, 3, [16, 4], outputs=2, parameterization="mup")
    members = Members([network])
    assert members.names == ("weights.0", "weights.1", "weights.2", "biases.0", "biases.1", "biases.2")
    assert rate_factors(members, "mup", "sgd") == [1.0, 1.0, 1.0, 16.0, 4.0, 1.0]
    assert rate_factors(members, "mup", "adam") == [1 / 12, 1 / 16, 1 / 2, 1.0, 1.0, 1.0]
    for other in ("ntk", "standard"):
        assert rate_factors(members, other, "adam") == [1.0] * 6


@pytest.mark.parametrize(("parameterization", "rate"), [("standard", 1 / 64), ("ntk", 1 / 8), ("mup", 1.0)])
def test_rate_of_adam_falls_with_the_width_as_the_numbers_of_a_layer_ask_for(parameterization, rate):
    members = Members(networks(width=64, parameterization=parameterization))
    recipe = replace(RECIPE, optimizer="adam")
    assert auto_rate(members, rows(), half_squares, parameterization, recipe) == 0.25 * rate


def test_explosion_is_caught_and_the_rate_lowered():
    members, report, _ = trained(replace(RECIPE, lr=50.0))
    assert report.retries >= 2 and report.lr == 50.0 / 4**report.retries
    assert report.losses[-1] < report.losses[0] and bool(members.flat().isfinite().all())
    same = trained(replace(RECIPE, lr=report.lr))
    assert same[1].retries == 0
    torch.testing.assert_close(members.flat(), same[0].flat(), rtol=0.0, atol=0.0)


def test_averages_begin_anew_after_an_explosion():
    class Count:
        def __init__(self, members):
            self.collected = 0
            made.append(self)

        def collect(self, members):
            self.collected += 1

    made = []
    recipe = replace(RECIPE, lr=50.0, averaged=True, epochs=10)
    _, report, found = trained(recipe, average=Count)
    assert found is made[-1] and found.collected == 4
    assert len(made) == report.retries + 1


def test_what_explodes_at_any_rate_is_refused():
    """The loss grows whatever the weights do."""
    calls = iter(range(10**6))

    def growing(outputs, targets):
        return half_squares(outputs, targets) * 10.0 ** (next(calls) % 50 + 1)

    members = Members(networks())
    with Tally(False, 6, "epochs") as tally, pytest.raises(ConvergenceError, match="explodes also at a lear"):
        train(members, rows(), growing, replace(RECIPE, lr=1e-3), lambda members: None, tally)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_values_that_are_not_finite_at_the_start(bad):
    activation = elementwise(lambda x: torch.where(x > 0.5, bad, x))
    kernel = InfiniteNetwork("relu-1", center=0.0, spread=1.0)
    network = FiniteNetwork(kernel, 2, 8, outputs=2).float()
    network.architecture = mlp(activation, 1)
    with (
        Tally(False, 6, "epochs") as tally,
        pytest.raises(InputError, match="not finite before its training"),
    ):
        train(Members([network]), rows([0]), half_squares, RECIPE, lambda members: None, tally)


def test_schedules():
    recipe = replace(RECIPE, epochs=101)
    assert [recipe.rate(epoch) for epoch in (0, 50)] == [1.0, 1.0]
    assert recipe.rate(75) == pytest.approx(0.505) and recipe.rate(100) == pytest.approx(0.01)
    averaged = replace(recipe, averaged=True)
    assert {averaged.rate(epoch) for epoch in range(101)} == {1.0}
    assert [averaged.averages(epoch) for epoch in (60, 61, 100)] == [False, True, True]
    assert not recipe.averages(100)
    assert replace(averaged, epochs=1).averages(0) and replace(recipe, epochs=1).rate(0) == 1.0


def test_report_tells_whether_the_loss_still_falls():
    assert trained(replace(RECIPE, epochs=300))[1].converged
    short = trained(replace(RECIPE, epochs=4, lr=1e-3))[1]
    assert not short.converged and "NOT CONVERGED" in str(short)


def test_each_epoch_is_told_once(capsys):
    recipe = replace(RECIPE, lr=50.0, epochs=10)
    with Tally(True, 10, "epochs") as tally:
        train(Members(networks()), rows(), half_squares, recipe, lambda members: None, tally)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 10 and lines[-1].startswith("10 of 10 epochs, loss ")
    assert "rate lowered" in lines[-1]


def test_report_is_frozen():
    report = NetworkReport(1, 2, 3, 0.1, 0, (1.0,), True, 0.5)
    with pytest.raises(AttributeError):
        report.lr = 1.0


def test_units_that_all_die_are_started_again():
    """A first step so large that no unit is ever active again, at a loss that is not large itself."""
    calls = iter(range(10**6))

    def kicking(outputs, targets):  # the biases of the hidden layer fall at once
        kick = 1e4 if next(calls) == 1 else 0.0
        return half_squares(outputs, targets) + kick * (outputs - outputs.detach()).sum((1, 2))

    members = Members(networks())
    with Tally(False, 6, "epochs") as tally:
        report, _ = train(members, rows(), kicking, RECIPE, lambda members: None, tally)
    assert report.retries == 1
    outputs = members.outputs(X)
    assert bool((outputs.std(1) > 0.0).all())


def test_one_unit_may_die():
    """Where that happens at any rate, training ends after some attempts with what there is."""
    x = torch.ones(4, 1)
    members = Members([torch.nn.Sequential(torch.nn.Linear(1, 1), torch.nn.ReLU())])
    members.assign(torch.tensor([[1.0, 1.0]]))
    table = Rows(x * torch.arange(4.0)[:, None], -100.0 * x, torch.arange(4)[None], [0])
    with Tally(False, 50, "epochs") as tally:
        recipe = Recipe(50, None, "sgd", 0.05, 0.0, [1.0, 1.0])
        report, _ = train(members, table, half_squares, recipe, lambda members: None, tally)
    assert report.retries == 3 and float(members.outputs(x).max()) == 0.0
