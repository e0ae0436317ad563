"""Features that a network learns: their bounds, what training maximises, how it ends."""

import numpy as np
import pytest
import torch

from nonparam import deep_training
from nonparam.deep_features import ResidualFeatures
from nonparam.deep_training import (
    Learnt,
    State,
    Training,
    follow,
    held_out_densities,
    learn,
    log_likelihood,
    noise_factor,
    predictive_densities,
    replace_noise,
    split_rows,
    train,
)
from nonparam.errors import NotPositiveDefiniteError
from nonparam.kernels import RBF, DeepKernel, Scale, covariance
from nonparam.objective import Data
from nonparam.progress import Progress

RNG = np.random.default_rng(0)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def data(n=60, outputs=1, noise=None):
    x = torch.from_numpy(RNG.uniform(-2.0, 2.0, (n, 2)))
    y = torch.sin(3.0 * x[:, :1] * x[:, 1:]).repeat(1, outputs)
    known = None if noise is None else torch.full((n,), noise, dtype=torch.float64)
    return Data(x, y - y.mean(0), x[:, :0], torch.ones(n, dtype=torch.float64), known)


def moving(x, hidden=(8, 2), seed=0):
    """Features that do move the columns."""
    features = ResidualFeatures(x, hidden, torch.ones(x.shape[1], dtype=x.dtype), seeded(seed))
    torch.nn.init.normal_(features.added, generator=seeded(seed))
    return features


def state(of, noise=0.1, hidden=(8, 2), seed=0):
    features = moving(of.x, hidden, seed)
    log_noise = torch.tensor(np.log(noise), dtype=torch.float64, requires_grad=of.noise is None)
    return State(DeepKernel(features, Scale(RBF([1.0, 0.7]), 1.5)), log_noise)


def normal(mean, k, y):
    """The joint log density, by SciPy."""
    from scipy.stats import multivariate_normal

    return multivariate_normal(mean, k).logpdf(y)


def test_features_are_columns_and_a_bounded_move():
    x = torch.from_numpy(RNG.normal(5.0, 3.0, (50, 3)))
    columns = (x - x.mean(0)) / x.std(0, correction=0)
    still = ResidualFeatures(x, (16, 2), 2.0 * torch.ones(3, dtype=torch.float64), seeded())
    torch.testing.assert_close(still(x).detach(), columns)
    features = moving(x)
    moved = features(x).detach() - columns
    learnt = torch.tanh(features.network(columns)) @ features.added.mT
    torch.testing.assert_close(moved, learnt.detach())
    far = features(1e6 * x).detach() - (1e6 * x - x.mean(0)) / x.std(0, correction=0)
    assert bool((far.abs() <= features.added.detach().abs().sum(1) + 1e-6).all())
    torch.testing.assert_close(features(x)[7:9], features(x[7:9]))


def test_moves_are_in_units_of_the_lengths():
    x, lengths = torch.from_numpy(RNG.normal(size=(20, 2))), torch.tensor([0.5, 3.0], dtype=torch.float64)
    features, scaled = moving(x), moving(x)
    scaled.lengths.copy_(lengths)
    columns = (x - x.mean(0)) / x.std(0, correction=0)
    torch.testing.assert_close(scaled(x) - columns, lengths * (features(x) - columns))


def test_constant_columns_and_equal_rows_have_features():
    x = torch.ones(5, 2, dtype=torch.float64)
    assert torch.isfinite(moving(x)(x)).all() and torch.isfinite(moving(x)(x + 1.0)).all()


@pytest.mark.parametrize("noise", [None, 0.3])
@pytest.mark.parametrize("outputs", [1, 2])
def test_likelihoods_are_those_of_a_normal_density(outputs, noise):
    some = data(40, outputs, noise)
    at = state(some)
    k = covariance(at.kernel, some.x).detach() + (0.1 if noise is None else noise) * torch.eye(
        40, dtype=torch.float64
    )
    zeros = np.zeros(40)
    total = sum(normal(zeros, k, some.y[:, j]) for j in range(outputs))
    rest = sum(normal(zeros[:30], k[:30, :30], some.y[:30, j]) for j in range(outputs))
    assert float(log_likelihood(at, some, "lml").detach()) == pytest.approx(total / (40 * outputs), rel=1e-10)
    assert float(log_likelihood(at, some, "clml").detach()) == pytest.approx(
        (total - rest) / (10 * outputs), rel=1e-9
    )


@pytest.mark.parametrize("objective", ["lml", "clml"])
def test_derivatives_are_those_of_differences(objective):
    some = data(20)
    at = state(some, hidden=(3, 1))
    parameters = [*at.kernel.parameters(), at.log_noise]
    slopes = torch.autograd.grad(log_likelihood(at, some, objective), parameters)
    for parameter, slope in zip(parameters, slopes, strict=True):
        flat, step = parameter.data.view(-1), 1e-5
        i = int(slope.abs().argmax())
        values = []
        for sign in (1.0, -2.0):
            flat[i] += sign * step
            values.append(float(log_likelihood(at, some, objective).detach()))
        flat[i] += step
        assert float(slope.view(-1)[i]) == pytest.approx((values[0] - values[1]) / (2 * step), rel=1e-5)


def test_densities_of_rows_are_conditional_ones():
    some = data(30, outputs=2)
    at, context, rows = state(some), torch.arange(25), torch.arange(25, 30)
    found = predictive_densities(at, some, context, rows)
    k = covariance(at.kernel, some.x).detach() + 0.1 * torch.eye(30, dtype=torch.float64)
    for row in range(5):
        seen = [*range(25), 25 + row]
        for j in range(2):
            y = some.y[seen, j]
            joint = normal(np.zeros(26), k[seen][:, seen], y) - normal(np.zeros(25), k[:25, :25], y[:25])
            assert float(found[row, j]) == pytest.approx(joint, rel=1e-9)


@pytest.mark.parametrize("n", [10, 41, 2000])
def test_few_rows_are_held_out_once_each(n):
    splits = split_rows(n, seeded())
    assert sorted(torch.cat([split.held_out for split in splits]).tolist()) == list(range(n))
    for split in splits:
        assert sorted([*split.training.tolist(), *split.held_out.tolist()]) == list(range(n))
        assert abs(len(split.held_out) - n / 4) < 1


@pytest.mark.parametrize(("n", "held_out"), [(2001, 200), (20_000, 1000)])
def test_a_part_of_many_rows_is_held_out(n, held_out):
    (split,) = split_rows(n, seeded())
    assert len(split.held_out) == held_out
    assert sorted([*split.training.tolist(), *split.held_out.tolist()]) == list(range(n))


@pytest.mark.parametrize("objective", ["lml", "clml"])
def test_training_keeps_the_best_and_is_deterministic(objective):
    some = data(150)
    split = split_rows(150, seeded())[0]
    runs = [train(state(some), some, split, objective, 60, seeded(1), Progress(False)) for _ in range(2)]
    assert runs[0].scores == runs[1].scores
    assert runs[0].score == max(runs[0].scores) > runs[0].scores[0]
    assert runs[0].steps == 20 * int(np.argmax(runs[0].scores))
    best = runs[0].state
    if objective == "clml":
        again = float(predictive_densities(best, some, split.context, split.held_out).mean())
    else:
        again = float(log_likelihood(best, some.rows(split.context), "lml").detach())
    assert again == pytest.approx(runs[0].score, rel=1e-12)


def test_held_out_rows_do_not_train():
    some = data(100)
    split = split_rows(100, seeded())[0]
    other = Data(some.x, some.y.clone(), some.basis, some.weights, None)
    other.y[split.held_out] += 10.0
    found = [train(state(some), each, split, "lml", 25, seeded(1), Progress(False)) for each in (some, other)]
    assert found[0].scores == found[1].scores


def test_training_ends_when_nothing_is_better(monkeypatch):
    monkeypatch.setattr(deep_training, "PATIENCE", 2)
    scores = iter([0.0, 1.0, 0.5, 0.9, 2.0])
    monkeypatch.setattr(deep_training, "_look", lambda *_: torch.tensor([next(scores)]))
    some = data(30)
    found = train(state(some), some, split_rows(30, seeded())[0], "clml", 200, seeded(), Progress(False))
    assert (found.steps, found.score) == (20, 1.0)
    assert found.message == "nothing better for 40 steps"


@pytest.mark.parametrize(
    ("error", "said"),
    [(KeyboardInterrupt(), "interrupted"), (NotPositiveDefiniteError("no"), "could not be factorised")],
)
def test_training_that_stops_early_returns_the_best(error, said, monkeypatch):
    some, steps = data(60), []
    step = deep_training._step

    def failing(*arguments):
        steps.append(1)
        if len(steps) > 30:
            raise error
        step(*arguments)

    monkeypatch.setattr(deep_training, "_step", failing)
    found = train(state(some), some, split_rows(60, seeded())[0], "lml", 100, seeded(), Progress(False))
    assert said in found.message and len(found.scores) == 2


def still(rows):
    """A start on some rows: features that move nothing yet."""
    features = ResidualFeatures(rows.x, (8, 2), torch.ones(2, dtype=torch.float64), seeded())
    log_noise = torch.tensor(np.log(0.01), dtype=torch.float64, requires_grad=True)
    return State(DeepKernel(features, Scale(RBF([1.0, 0.7]), 1.5)), log_noise)


def test_the_noise_is_what_held_out_rows_ask_for():
    """On outputs with known noise and a state that denies it, a grid of factors finds none better."""
    some = data(200)
    some.y.add_(0.3 * torch.from_numpy(RNG.standard_normal((200, 1))))
    splits = split_rows(200, seeded())
    states = [State(Scale(RBF([1.0, 0.7]), 1.5), torch.tensor(np.log(1e-4))) for _ in splits]
    factor = noise_factor(states, some, splits)

    def density(f):
        return float(held_out_densities([replace_noise(s, f * 1e-4) for s in states], some, splits).mean())

    assert density(factor) > max(density(f) for f in np.geomspace(1.0, 1e4, 40)) - 1e-3
    assert factor * 1e-4 > 0.05
    quiet = [replace_noise(state, 0.5) for state in states]
    assert noise_factor(quiet, some, splits) == 1.0


def test_a_known_noise_stays():
    some = data(60, noise=0.3)
    splits = split_rows(60, seeded())
    assert noise_factor([state(some)] * len(splits), some, splits) == 1.0


def test_a_factor_is_at_least_one_and_noise_at_most_the_variance():
    some = data(60)
    splits = split_rows(60, seeded())
    loud = [State(Scale(RBF([1.0, 0.7]), 1.5), torch.tensor(0.0))] * len(splits)
    assert noise_factor(loud, some, splits) == 1.0


def test_few_rows_train_together_for_as_long_as_was_best_apart():
    some = data(120)
    found = learn(lambda rows: still(some.rows(rows)), some, "clml", 60, seeded(), Progress(False))
    assert found.before.shape == found.after.shape == found.held_out.shape == (120,)
    assert found.training.score == float(found.after.mean()) == max(found.training.scores)
    assert found.training.scores[0] == float(found.before.mean())
    assert found.training.steps == 20 * int(np.argmax(found.training.scores))
    assert len(found.training.scores) == 4
    again = learn(lambda rows: still(some.rows(rows)), some, "clml", 60, seeded(), Progress(False))
    assert again.training.scores == found.training.scores
    torch.testing.assert_close(
        again.training.state.kernel.feature_extractor(some.x),
        found.training.state.kernel.feature_extractor(some.x),
    )


def test_noise_that_fewer_rows_ask_for_without_a_network_is_not_raised():
    """Without a step the network is none, however little noise it begins with."""
    some = data(120)
    some.y.add_(0.5 * torch.from_numpy(RNG.standard_normal((120, 1))))
    splits = split_rows(120, seeded())
    assert noise_factor([still(some)] * len(splits), some, splits) > 2.0
    found = learn(lambda rows: still(some.rows(rows)), some, "clml", 1, seeded(), Progress(False))
    assert found.training.steps == 0
    assert found.training.state.noise == pytest.approx(0.01)


def test_the_marginal_likelihood_holds_one_part_out():
    some = data(80)
    found = learn(lambda rows: still(some.rows(rows)), some, "lml", 20, seeded(), Progress(False))
    assert len(found.held_out) == 20 and len(found.context) == 60


@pytest.mark.parametrize(
    ("gains", "pays"),
    [([0.1, 0.2, 0.1, 0.2], True), ([0.0, 0.0, 0.0, 0.0], False), ([1.0, -0.9, 0.5, -0.5], False)],
)
def test_a_network_must_predict_better_beyond_chance(gains, pays):
    training, gained = Training(None, 0.0, (0.0,), (), 0, ""), torch.tensor(gains)
    found = Learnt(training, torch.zeros(4), gained, gained, torch.arange(4))
    assert found.pays is pays


@pytest.mark.parametrize("error", [KeyboardInterrupt(), NotPositiveDefiniteError("no")])
def test_following_that_is_stopped_keeps_the_last_look(error, monkeypatch):
    some, taken = data(60), []
    step = deep_training._step

    def failing(*arguments):
        taken.append(1)
        if len(taken) > 30:
            raise error
        step(*arguments)

    whole = follow(state(some), some, "clml", 20, 100, seeded())
    monkeypatch.setattr(deep_training, "_step", failing)
    found = follow(state(some), some, "clml", 40, 100, seeded())
    torch.testing.assert_close(found.log_noise, whole.log_noise)
    unmoved = follow(state(some), some, "clml", 0, 100, seeded())
    torch.testing.assert_close(unmoved.log_noise, state(some).log_noise)
