"""Stochastic variational inference against the collapsed optimum, naive formulas and differences."""

import numpy as np
import pytest
import torch

from nonparam.errors import ConvergenceError, InputError
from nonparam.kernels import RBF, Matern, covariance, variance
from nonparam.lbfgs import minimise
from nonparam.scales import default_priors, measure
from nonparam.sparse.bound import Summary
from nonparam.sparse.collapsed import CollapsedObjective
from nonparam.sparse.parameters import Parameters
from nonparam.sparse.projection import Statistics, project, statistics
from nonparam.sparse.stochastic import Ascent
from nonparam.sparse.training import Schedule, ascend_batches
from nonparam.theta import Theta

RNG = np.random.default_rng(1)
NOISE = 0.05
X = RNG.uniform(-2.0, 2.0, (80, 2))
ROWS = torch.from_numpy(X)
with torch.no_grad():  # drawn from the process
    JOINT = covariance(1.3 * Matern([1.0, 2.0]), ROWS).numpy() + NOISE * np.eye(80)
Y = np.linalg.cholesky(JOINT) @ RNG.standard_normal((80, 1))
OUTPUTS = torch.from_numpy(Y)
Z = X[:15]


def parts(moves=True):
    kernel = 1.3 * Matern([1.0, 2.0])
    scales = measure(X, Y, np.ones(len(X)), normalize_y=True, find_periods=False)
    theta = Theta(kernel, default_priors(kernel, scales, informative=True), NOISE)
    parameters = Parameters(theta, NOISE, Z, scales, moves)
    return parameters, parameters.joined(theta.start, Z)


def sums_at(parameters, vector):
    points, noise = parameters.assign(vector)
    found = statistics(project(parameters.theta.kernel, points), [(ROWS, OUTPUTS)], 1)
    return found, noise


def ascent(start=None, with_prior=False, moves=True):
    parameters, vector = parts(moves)
    nothing = Statistics.none(torch.from_numpy(Z), 1)
    return Ascent(parameters, vector, nothing if start is None else start, with_prior), vector


def test_one_natural_step_with_all_rows_is_the_collapsed_optimum():
    """Hensman et al. (2013), section 3: with a Gaussian likelihood a step of length 1 ends the search."""
    found, vector = ascent()
    found.step(ROWS, OUTPUTS, 80, length=1.0, rate=0.0)
    best, noise = sums_at(found.parameters, vector)
    summary = found.present()[1]
    np.testing.assert_allclose(summary.mean.numpy(), Summary(best, noise).mean.numpy(), rtol=1e-11)
    np.testing.assert_allclose(summary.covariance.numpy(), Summary(best, noise).covariance.numpy(), rtol=1e-9)
    zz, xz = (
        covariance(found.parameters.theta.kernel, rows, torch.from_numpy(Z))
        for rows in (torch.from_numpy(Z), ROWS)
    )
    zz, xz = zz.detach().numpy(), xz.detach().numpy()
    posterior = (
        zz @ np.linalg.solve(zz + xz.T @ xz / NOISE, xz.T @ Y) / NOISE
    )  # of u = L v, Titsias's equation 10
    root = np.linalg.cholesky(zz)
    np.testing.assert_allclose(root @ summary.mean.numpy(), posterior, rtol=1e-8)
    value = found.step(ROWS, OUTPUTS, 80, length=1.0, rate=0.0)
    assert 80 * value == pytest.approx(Summary(best, noise).lower(), rel=1e-11)


def test_a_natural_step_moves_natural_parameters_by_its_length():
    first, _ = sums_at(*parts())
    found, _ = ascent(first.scaled(0.5))
    before = found.present()[1]
    some = torch.arange(10)
    batch, _ = ascent()
    batch.step(ROWS[some], OUTPUTS[some], 80, length=1.0, rate=0.0)
    alone = batch.present()[1]
    found.step(ROWS[some], OUTPUTS[some], 80, length=0.3, rate=0.0)
    after = found.present()[1]

    def precision(summary):
        return np.linalg.inv(summary.covariance.numpy())

    np.testing.assert_allclose(precision(after), 0.7 * precision(before) + 0.3 * precision(alone), rtol=1e-8)
    natural = [precision(each) @ each.mean.numpy() for each in (before, alone, after)]
    np.testing.assert_allclose(natural[2], 0.7 * natural[0] + 0.3 * natural[1], rtol=1e-8)


def naive_bound(kernel, z, noise, mean, spread, rows, outputs, weight):
    """Hensman et al. (2013), equation 4, of whitened inducing variables, with a graph."""
    root = torch.linalg.cholesky(covariance(kernel, z, z))
    a = torch.linalg.solve_triangular(root, covariance(kernel, rows, z).mT, upper=False)
    middle = a.mT @ mean
    spread_at = variance(kernel, rows) - a.square().sum(0) + (a * (spread @ a)).sum(0)
    density = torch.distributions.Normal(middle[:, 0], noise.sqrt()).log_prob(outputs[:, 0])
    expected = weight * (density - 0.5 * spread_at / noise).sum()
    q = torch.distributions.MultivariateNormal(mean[:, 0], spread)
    p = torch.distributions.MultivariateNormal(torch.zeros_like(mean[:, 0]), torch.eye(len(z)).to(mean))
    return expected - torch.distributions.kl_divergence(q, p)


def test_the_gradient_of_a_batch_is_that_of_the_naive_bound(monkeypatch):
    parameters, vector = parts()
    sums, _ = sums_at(parameters, vector)
    found = Ascent(parameters, vector, sums.scaled(0.8), False)
    q, some = found.present()[1], torch.arange(0, 80, 3)
    caught = []
    monkeypatch.setattr(found, "_climb", lambda at, gradient, rate: caught.append(gradient))
    value = found.step(ROWS[some], OUTPUTS[some], 80, length=0.1, rate=0.1)
    z = torch.from_numpy(Z).requires_grad_()
    log_noise = torch.tensor(np.log(NOISE), dtype=torch.float64, requires_grad=True)
    expected = naive_bound(
        parameters.theta.kernel, z, log_noise.exp(), q.mean, q.covariance, ROWS[some], OUTPUTS[some], 80 / 27
    )
    assert 80 * value == pytest.approx(float(expected.detach()), rel=1e-10)
    slopes = torch.autograd.grad(expected, [*parameters.theta.parameters, log_noise, z])
    np.testing.assert_allclose(caught[0], np.concatenate([s.reshape(-1).numpy() for s in slopes]), rtol=1e-7)


def test_batches_are_unbiased():
    parameters, vector = parts()
    sums, _ = sums_at(parameters, vector)
    gradients = []
    for rows in [torch.arange(80), *torch.randperm(80, generator=torch.Generator().manual_seed(0)).split(16)]:
        found = Ascent(parameters, vector, sums, False)
        found._climb = lambda at, gradient, rate: gradients.append(gradient)
        found.step(ROWS[rows], OUTPUTS[rows], 80, length=0.1, rate=0.0)
    np.testing.assert_allclose(np.mean(gradients[1:], 0), gradients[0], rtol=1e-9, atol=1e-9)
    objective = CollapsedObjective(ROWS, OUTPUTS, parameters, False)
    np.testing.assert_allclose(gradients[0], objective.evaluate(vector)[1], rtol=1e-9)


@pytest.fixture(scope="module")
def optimum():
    """The collapsed optimum with points that stay, its value, and the function that it maximises."""
    parameters, vector = parts(moves=False)
    objective = CollapsedObjective(ROWS, OUTPUTS, parameters, True)
    bounds = parameters.bounds
    found = minimise(objective.negative, vector[None], *bounds, scale=parameters.step)[0]
    assert found.converged
    return parameters, found.theta, -found.value, objective


def test_training_ends_near_the_collapsed_optimum(optimum):
    parameters, best, value, objective = optimum
    vector = best + np.array([0.5, -0.5, 0.5, 1.0])
    found = Ascent(parameters, vector, sums_at(parameters, vector)[0], True)
    generator = torch.Generator().manual_seed(0)

    def epoch():
        for some in torch.randperm(80, generator=generator).split(20):
            yield ROWS[some], OUTPUTS[some]

    report = ascend_batches(found, epoch, 80, Schedule(600, 0.03, 0.0), "by hand", shown=False)
    assert report.steps == 600 and "come down" in report.message
    started, reached = (
        -objective.negative(each[None], np.zeros(1, int))[0][0] for each in (vector, found.vector)
    )
    assert started < value - 10.0
    assert value - 0.5 < reached <= value + 1e-9


def test_rows_that_are_added_count_once():
    """With hyperparameters and points that stay, adding is exact, in whatever pieces."""
    parameters, vector = parts(moves=False)
    whole, _ = sums_at(parameters, vector)
    points, _ = parameters.assign(vector)
    first = statistics(project(parameters.theta.kernel, points), [(ROWS[:30], OUTPUTS[:30])], 1)
    found = Ascent(parameters, vector, first, False)
    for rows in (slice(30, 31), slice(31, 60), slice(60, 80)):
        found.add(ROWS[rows], OUTPUTS[rows], rate=0.0)
    assert found.sums.n == pytest.approx(80.0)
    np.testing.assert_allclose(found.sums.gram.numpy(), whole.gram.numpy(), rtol=1e-9, atol=1e-10)
    np.testing.assert_allclose(found.sums.moment.numpy(), whole.moment.numpy(), rtol=1e-9, atol=1e-10)
    assert found.sums.rest == pytest.approx(whole.rest) and found.sums.squares == pytest.approx(whole.squares)


def test_a_step_that_cannot_be_taken_leaves_all_as_it_was():
    parameters, vector = parts()
    sums, _ = sums_at(parameters, vector)
    found = Ascent(parameters, vector, sums, False)
    beyond = torch.full((3, 1), 1e200, dtype=torch.float64)
    with pytest.raises(ConvergenceError, match="smaller learning_rate"):
        found.add(ROWS[:3], beyond, rate=0.1)
    assert found.sums is sums
    np.testing.assert_allclose(found.vector, vector, rtol=1e-15)


def test_rates_rise_stay_and_come_down():
    schedule = Schedule(400, 0.03, 0.0)
    lengths, rates = zip(*(schedule.rates(step, 200, 400) for step in range(400)), strict=True)
    assert rates[0] < rates[10] < rates[19] == rates[199] == 0.03 and rates[399] < 0.001
    assert lengths[0] == 0.5 and lengths[100] == 0.1 and lengths[399] == 0.01
    assert (np.diff(rates[200:]) < 0.0).all() and (np.diff(lengths) <= 0.0).all()


def test_training_stops_early_where_the_bound_no_longer_rises(optimum):
    parameters, best, _, _ = optimum
    found = Ascent(parameters, best, sums_at(parameters, best)[0], True)
    epoch = [(ROWS, OUTPUTS)]
    report = ascend_batches(found, lambda: epoch, 80, Schedule(5000, 0.03, 0.01), "", shown=False)
    assert report.steps == 600  # three windows, and as many in which the rates come down


def test_an_epoch_with_fewer_rows_is_refused():
    parameters, vector = parts()
    sums, _ = sums_at(parameters, vector)
    found = Ascent(parameters, vector, sums, False)
    with pytest.raises(InputError, match=r"after 30 of 80 rows .* ended after 30 rows where 80"):
        ascend_batches(
            found, lambda: [(ROWS[:30], OUTPUTS[:30])], 80, Schedule(9, 0.03, 0.0), "", shown=False
        )
    assert found.sums.n == pytest.approx(30.0)


def test_an_interrupt_keeps_what_was_learnt():
    parameters, vector = parts()
    sums, _ = sums_at(parameters, vector)
    found = Ascent(parameters, vector, sums, False)

    def epoch():
        yield ROWS[:40], OUTPUTS[:40]
        raise KeyboardInterrupt

    report = ascend_batches(found, epoch, 80, Schedule(9, 0.03, 0.0), "", shown=False)
    assert report.interrupted and not report.converged and report.steps == 1
    assert not np.allclose(found.vector, vector)


def test_kernels_without_anything_to_learn_can_be_trained():
    kernel = 2.0 * RBF(1.0, fixed=("lengthscale",))
    kernel.raw_outputscale.requires_grad_(False)
    scales = measure(X, Y, np.ones(80), normalize_y=True, find_periods=False)
    parameters = Parameters(Theta(kernel, {}, None), NOISE, Z, scales, False)
    found = Ascent(parameters, np.zeros(0), sums_at(parameters, np.zeros(0))[0], False)
    assert np.isfinite(found.step(ROWS, OUTPUTS, 80, length=1.0, rate=0.1)) and found.vector.size == 0
