"""PAC-Bayes bounds: their formulas, their order, and that they hold."""

import math

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from nonparam import GPClassifier
from nonparam.errors import InputError
from nonparam.gibbs import GibbsRisk, gibbs_risk
from nonparam.kernels import RBF, Scale
from nonparam.model_selection import code_nats, pac_bayes_bound

KINDS = ("catoni", "mcallester", "seeger", "countable")


def fixed_classifier(**arguments):
    kernel = Scale(RBF(20.0, ard=False, fixed=("lengthscale",)), 9.0, fixed=("outputscale",))
    return GPClassifier(kernel, mean="zero", inference="laplace", temperature=1.0, **arguments)


def kl(r, q):
    with np.errstate(divide="ignore", invalid="ignore"):
        return sum(0.0 if p == 0.0 else p * np.log(p / s) for p, s in ((r, q), (1.0 - r, 1.0 - q)))


@pytest.mark.parametrize(("risk", "nats", "n"), [(0.0, 3.0, 200), (0.1, 40.0, 500), (0.45, 0.0, 50)])
def test_seegers_bound_is_where_the_divergence_is_used_up(risk, nats, n):
    bound = pac_bayes_bound(risk, n, nats, "seeger", delta=0.02)
    assert risk <= bound < 1.0
    assert kl(risk, bound) == pytest.approx((nats + math.log(2.0 * math.sqrt(n) / 0.02)) / n)
    assert bound <= pac_bayes_bound(risk, n, nats, "mcallester", delta=0.02)  # Pinsker


def test_catonis_bound_is_the_best_of_its_grid():
    r, n, nats, delta = 0.03, 700, 25.0, 0.05
    naive = min(
        (1.0 - math.exp(-(g * r) / n - (nats + math.log(1.0 / delta) + math.log((j + 1) * (j + 2))) / n))
        / (1.0 - math.exp(-g / n))
        for j, g in ((j, 1.1**j) for j in range(150))
    )
    assert pac_bayes_bound(r, n, nats, "catoni", delta=delta) == pytest.approx(naive)


@pytest.mark.parametrize("kind", KINDS)
def test_bounds_rise_with_risk_and_divergence_and_fall_with_rows(kind):
    at = pac_bayes_bound(0.1, 300, 10.0, kind)
    assert pac_bayes_bound(0.2, 300, 10.0, kind) > at < pac_bayes_bound(0.1, 300, 30.0, kind)
    assert pac_bayes_bound(0.1, 3000, 10.0, kind) < at < pac_bayes_bound(0.1, 300, 10.0, kind, delta=0.001)
    assert pac_bayes_bound(0.9, 3, 1e9, kind) == 1.0 and pac_bayes_bound(1.0, 10, 0.0, kind) == 1.0


@pytest.mark.parametrize("kind", KINDS)
def test_bounds_of_a_coin_hold_as_often_as_they_promise(kind):
    rng, n, truth = np.random.default_rng(0), 100, 0.2
    risks = rng.binomial(n, truth, 4000) / n
    failed = np.mean([pac_bayes_bound(float(r), n, 0.0, kind, delta=0.1) < truth for r in risks])
    assert failed <= 0.1


def test_the_divergence_of_a_process_is_what_draws_say():
    x, y = np.linspace(-2.0, 2.0, 12)[:, None], np.arange(12) > 5
    kernel = Scale(RBF(1.0, fixed=("lengthscale",)), 4.0, fixed=("outputscale",))
    model = GPClassifier(kernel, mean="zero", inference="laplace", temperature=1.0).fit(x, y)
    (posterior,) = model._latent.approximation.posterior.posteriors
    jitter = 1e-9 * torch.eye(12).double()
    k = posterior.covariance + jitter
    v = k - k @ torch.linalg.solve(k + torch.diag(1.0 / posterior.sites.precision), k)
    q = torch.distributions.MultivariateNormal(posterior.mean, v + jitter)
    p = torch.distributions.MultivariateNormal(torch.zeros(12).double(), k)
    torch.manual_seed(0)
    draws = q.sample((200_000,))
    drawn = float((q.log_prob(draws) - p.log_prob(draws)).mean())
    assert gibbs_risk(model).nats == pytest.approx(drawn, rel=0.01)


def test_the_bound_of_a_process_holds_on_digits_in_20_of_20_runs():
    x, y = load_digits(return_X_y=True)
    chosen = np.isin(y, (3, 5))
    x, y, held, bounds = x[chosen], y[chosen] == 5, 0, []
    for seed in range(20):
        order = np.random.RandomState(seed).permutation(len(x))
        train, test = order[:200], order[200:]
        model = fixed_classifier().fit(x[train], y[train])
        found = gibbs_risk(model)
        mean, variance = model.latent_mean_and_variance(x[test])
        sign = np.where(y[test], 1.0, -1.0)
        risk = np.mean(torch.special.ndtr(torch.from_numpy(-sign * mean / np.sqrt(variance))).numpy())
        bounds.append(found.bound())
        held += bool(bounds[-1] >= risk)
    assert held == 20 and max(bounds) < 0.5


def test_priors_that_saw_the_labels_are_refused():
    x, y = np.linspace(-2.0, 2.0, 30)[:, None], np.arange(30) % 3
    with pytest.raises(InputError, match=r"a prior that has not seen the labels.*learnt were"):
        gibbs_risk(GPClassifier("rbf", mean="zero").fit(x, y > 0))
    with pytest.raises(InputError, match=r"a prior that has not seen the labels.*mean='constant'"):
        gibbs_risk(fixed_classifier().set_params(mean="constant").fit(x, y > 0))
    with pytest.raises(InputError, match="the bound is of two classes"):
        gibbs_risk(fixed_classifier().fit(x, y))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((1.5, 10, 1.0), "risk must be a number from 0 to 1"),
        ((0.1, 0, 1.0), "n must be an integer, at least 1; got 0"),
        ((0.1, 10, -1.0), "nats must be a number from 0 to inf"),
        ((0.1, 10, "much"), "nats must be a number"),
        ((0.1, 10, 1.0, "hoeffding"), "kind must be one of"),
    ],
)
def test_numbers_that_cannot_be_are_refused(arguments, said):
    with pytest.raises(InputError, match=said):
        pac_bayes_bound(*arguments)


def test_other_refusals_and_the_result():
    with pytest.raises(InputError, match="delta must be strictly between 0 and 1, got 0"):
        pac_bayes_bound(0.1, 10, 1.0, delta=0)
    with pytest.raises(InputError, match="bits must be a number from 1 to inf"):
        code_nats(0.5)
    assert GibbsRisk(0.1, 5.0, 100).bound() == pac_bayes_bound(0.1, 100, 5.0)
