"""Structures as chains against the dense Gaussian, written out with its kernels."""

import math

import numpy as np
import pytest
import torch
from scipy.special import ive
from scipy.stats import multivariate_normal

from nonparam.errors import InputError
from nonparam.forecasting import chain_space
from nonparam.forecasting.chain import Chain, Term
from nonparam.forecasting.structure import build_structure
from nonparam.objective import Data, Objective

YEAR = Term("year", "season", period=12.0)
TERMS = {
    "line": [Term("base", "base"), Term("drift", "drift")],
    "trend": [Term("trend", "trend")],
    "rough trend": [Term("memory", "memory"), Term("trend", "trend", nu=1.5)],
    "level": [Term("base", "base"), Term("level", "level")],
    "season": [YEAR],
    "two seasons": [
        Term("long", "season", period=12.5),
        Term("level", "level"),
        Term("short", "season", period=4.0),
    ],
    "whole": [
        Term("base", "base"),
        Term("holidays", "features", columns=2),
        Term("trend", "trend"),
        Term("level", "level"),
        YEAR,
        Term("drift", "drift"),
        Term("memory", "memory"),
    ],
}
MEDIANS = {
    "base": [1.0],
    "drift": [1e-3],
    "features": [0.5],
    "trend": [0.8, 20.0],
    "level": [0.02],
    "season": [0.7, 0.9, 60.0],
    "memory": [0.3, 3.0],
}
TIMES = {
    "regular": np.arange(-59.0, 1.0),
    "gaps": np.delete(np.arange(-65.0, 1.0), [3, 4, 5, 20, 41, 42]),
    "irregular": np.cumsum(np.random.default_rng(7).exponential(1.0, 60)) - 50.0,
}


@pytest.fixture(params=["compiled", "plain"])
def engine(request, monkeypatch):
    """The same passes over the rows with and without Numba."""
    if request.param == "plain":
        monkeypatch.setattr(chain_space, "find_spec", lambda name: None)
    else:
        pytest.importorskip("numba")


def data(times, terms, seed=0):
    rng = np.random.default_rng(seed)
    features = rng.standard_normal(
        (len(times), sum(term.columns for term in terms if term.kind == "features"))
    )
    y = np.sin(times / 2.0) + 0.3 * rng.standard_normal(len(times)) + 0.1 * features.sum(1)
    return y, features


def log_point(terms, noise=0.05, seed=1, spread=0.3):
    medians = np.log([*(value for term in terms for value in MEDIANS[term.kind]), noise])
    return medians + spread * np.random.default_rng(seed).standard_normal(len(medians))


def periodic(distance, period, smoothness):
    mean = ive(0, smoothness**-2.0)
    kernel = np.exp(-2.0 * np.sin(np.pi * distance / period) ** 2 / smoothness**2)
    return (kernel - mean) / (1.0 - mean)


def stationary(term, distance, values):
    if term.kind == "season":
        variance, smoothness, life = values
        return variance * periodic(distance, term.period, smoothness) * np.exp(-np.abs(distance) / life)
    variance, length = values
    r = np.abs(distance) / length
    if term.kind == "memory":
        return variance * np.exp(-r)
    r *= math.sqrt(2.0 * term.nu)
    return variance * (1.0 + r + (r**2 / 3.0 if term.nu == 2.5 else 0.0)) * np.exp(-r)


def covariances(terms, point, t1, t2, x1, x2, origin):
    """The covariance of each part between two sets of times, ``(n1, n2)``."""
    values, found, used = list(np.exp(point)), {}, 0
    for term in terms:
        own, values = values[: term.hyperparameters], values[term.hyperparameters :]
        if term.kind == "level":
            found[term.name] = own[0] * (np.minimum(t1[:, None], t2) - origin)
        elif term.kind == "base":
            found[term.name] = own[0] * np.ones((len(t1), len(t2)))
        elif term.kind == "drift":
            found[term.name] = own[0] * np.outer(t1, t2)
        elif term.kind == "features":
            columns = slice(used, used + term.columns)
            found[term.name] = own[0] * x1[:, columns] @ x2[:, columns].T
            used += term.columns
        else:
            found[term.name] = stationary(term, t1[:, None] - t2, own)
    return found


def total(found):
    return sum(found.values())


def covariance(terms, point, t, x, origin):
    return total(covariances(terms, point, t, t, x, x, origin)) + math.exp(point[-1]) * np.eye(len(t))


def log_density(terms, point, t, y, x, origin):
    return multivariate_normal(cov=covariance(terms, point, t, x, origin)).logpdf(y)


@pytest.mark.parametrize("times", TIMES.values(), ids=TIMES)
@pytest.mark.parametrize("terms", TERMS.values(), ids=TERMS)
def test_log_likelihood_is_that_of_the_dense_gaussian(terms, times, engine):
    y, x = data(times, terms)
    point = log_point(terms)
    values, _ = Chain.of(terms, times, y, x).log_likelihood(point[None])
    assert values[0] == pytest.approx(log_density(terms, point, times, y, x, times[0]), rel=1e-10, abs=1e-9)


@pytest.mark.parametrize("times", TIMES.values(), ids=TIMES)
@pytest.mark.parametrize("terms", TERMS.values(), ids=TERMS)
def test_gradient_is_that_of_differences(terms, times, engine):
    y, x = data(times, terms)
    point, h = log_point(terms), 1e-5
    _, gradients = Chain.of(terms, times, y, x).log_likelihood(point[None])
    for i, slope in enumerate(gradients[0]):
        ends = [
            log_density(terms, point + s * h * np.eye(len(point))[i], times, y, x, times[0]) for s in (1, -1)
        ]
        assert slope == pytest.approx((ends[0] - ends[1]) / (2.0 * h), rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_value_and_gradient_are_those_of_the_dense_objective(seed):
    times = np.arange(-119.0, 1.0) / 12.0
    names = ("base", "drift", "trend", "level", "season", "memory")
    terms = [
        Term(name, name, period=1.0 if name == "season" else None, nu=1.5 if name == "trend" else 2.5)
        for name in names
    ]
    y, x = data(times, terms)
    structure, t = build_structure(times[0]), torch.from_numpy(times)[:, None]
    series = Data(t, torch.from_numpy(y)[:, None], t[:, :0], torch.ones_like(t[:, 0]), None)
    point = structure.switched_off([]) + np.random.default_rng(seed).standard_normal(11)
    value, gradient = Objective(series, structure.theta(), with_prior=False).negative(
        point[None], np.array([0])
    )
    values, gradients = Chain.of(terms, times, y, x).log_likelihood(point[None])
    assert values == pytest.approx(-value, rel=1e-11)
    assert gradients == pytest.approx(-gradient, rel=1e-8, abs=1e-9)


def test_a_batch_is_its_points():
    terms, times = TERMS["whole"], TIMES["gaps"]
    chain = Chain.of(terms, times, *data(times, terms))
    points = np.stack([log_point(terms, seed=seed) for seed in range(3)])
    values, gradients = chain.log_likelihood(points)
    for i, point in enumerate(points):
        value, gradient = chain.log_likelihood(point)
        assert (value[0], *gradient[0]) == (values[i], *gradients[i])


@pytest.mark.parametrize("times", TIMES.values(), ids=TIMES)
@pytest.mark.parametrize("terms", TERMS.values(), ids=TERMS)
def test_forecast_is_the_conditional_of_the_dense_gaussian(terms, times, engine):
    y, x = data(times, terms)
    later = times[-1] + np.array([1.0, 2.0, 3.0, 7.0, 30.0])
    _, ahead = data(later, terms, seed=4)
    point = log_point(terms)
    mean, spread = Chain.of(terms, times, y, x).forecast(point, later, ahead)
    cross = total(covariances(terms, point, later, times, ahead, x, times[0]))
    prior = total(covariances(terms, point, later, later, ahead, ahead, times[0]))
    gain = np.linalg.solve(covariance(terms, point, times, x, times[0]), cross.T)
    assert mean == pytest.approx(gain.T @ y, abs=1e-9)
    assert spread == pytest.approx(prior - cross @ gain, abs=1e-9)


@pytest.mark.parametrize("times", TIMES.values(), ids=TIMES)
@pytest.mark.parametrize("terms", TERMS.values(), ids=TERMS)
def test_parts_are_the_conditionals_of_the_dense_gaussian(terms, times, engine):
    y, x = data(times, terms)
    at = np.concatenate(
        [times[[-1, 0, 7]], times[10] + np.array([0.5, 0.0]), times[-1] + np.array([12.0, 1.0])]
    )
    at = np.round(at) if times[0] == round(times[0]) else at
    _, ahead = data(at, terms, seed=4)
    point = log_point(terms)
    parts = Chain.of(terms, times, y, x).parts(point, at, ahead)
    inverse = np.linalg.inv(covariance(terms, point, times, x, times[0]))
    crosses = covariances(terms, point, at, times, ahead, x, times[0])
    priors = covariances(terms, point, at, at, ahead, ahead, times[0])
    assert list(parts) == [term.name for term in terms]
    for name, (mean, variance) in parts.items():
        assert mean == pytest.approx(crosses[name] @ inverse @ y, abs=1e-9)
        known = np.einsum("ij,jk,ik->i", crosses[name], inverse, crosses[name])
        assert variance == pytest.approx(np.diag(priors[name]) - known, abs=1e-9)


@pytest.mark.parametrize("terms", TERMS.values(), ids=TERMS)
def test_marginals_are_those_of_the_forecast_and_of_the_dense_gaussian(terms, engine):
    times = TIMES["gaps"]
    y, x = data(times, terms)
    at = np.array([3.0, 1.0, -65.0, -62.0, 0.0])
    _, ahead = data(at, terms, seed=4)
    chain, point = Chain.of(terms, times, y, x), log_point(terms)
    mean, variance = chain.marginals(point, at, ahead)
    inverse = np.linalg.inv(covariance(terms, point, times, x, times[0]))
    cross = total(covariances(terms, point, at, times, ahead, x, times[0]))
    prior = total(covariances(terms, point, at, at, ahead, ahead, times[0]))
    assert mean == pytest.approx(cross @ inverse @ y, abs=1e-9)
    assert variance == pytest.approx(np.diag(prior - cross @ inverse @ cross.T), abs=1e-9)
    later, spread = chain.forecast(point, at[[1, 0]], ahead[[1, 0]])
    assert mean[[1, 0]] == pytest.approx(later, abs=1e-12)
    assert variance[[1, 0]] == pytest.approx(np.diag(spread), abs=1e-12)


def test_parts_add_up_to_the_forecast_and_to_the_fit():
    terms, times = TERMS["whole"], TIMES["gaps"]
    y, x = data(times, terms)
    chain, point = Chain.of(terms, times, y, x), log_point(terms)
    later = times[-1] + np.arange(1.0, 19.0)
    _, ahead = data(later, terms, seed=4)
    mean, _ = chain.forecast(point, later, ahead)
    assert sum(part for part, _ in chain.parts(point, later, ahead).values()) == pytest.approx(
        mean, abs=1e-12
    )
    fit = sum(part for part, _ in chain.parts(point, times, x).values())
    noise = math.exp(point[-1]) * np.linalg.solve(covariance(terms, point, times, x, times[0]), y)
    assert fit == pytest.approx(y - noise, abs=1e-10)


def test_many_copies_of_the_covariance_change_nothing(monkeypatch):
    terms, times = TERMS["whole"], TIMES["gaps"]
    chain, points = Chain.of(terms, times, *data(times, terms)), log_point(terms)[None]
    found = []
    for every in (1, 7, 60):
        monkeypatch.setattr(chain_space.Space, "every", every)
        found.append(chain.log_likelihood(points))
    for values, gradients in found[1:]:
        assert values == pytest.approx(found[0][0], rel=1e-13)
        assert gradients == pytest.approx(found[0][1], rel=1e-9, abs=1e-10)


def test_seasons_of_a_day_and_of_a_week_by_the_hour():
    """Ninety states: the covariance is copied every few rows."""
    terms = [
        Term("base", "base"),
        Term("level", "level"),
        Term("day", "season", period=24.0),
        Term("week", "season", period=168.0, harmonics=32),
    ]
    times = np.arange(-499.0, 1.0)
    y, x = data(times, [])
    point = np.log([1.0, 1e-3, 0.5, 0.4, 500.0, 0.5, 0.6, 2000.0, 0.05])
    values, gradients = Chain.of(terms, times, y).log_likelihood(point)
    assert values[0] == pytest.approx(log_density(terms, point, times, y, x, times[0]), rel=1e-10)
    for i in range(len(point)):
        step = 1e-4 * np.eye(len(point))[i]
        ends, _ = Chain.of(terms, times, y).log_likelihood([point + step, point - step])
        assert gradients[0, i] == pytest.approx((ends[0] - ends[1]) / 2e-4, rel=1e-5, abs=1e-5)


def test_no_horizon_and_no_times():
    terms, times = TERMS["trend"], TIMES["regular"]
    chain, point = Chain.of(terms, times, data(times, terms)[0]), log_point(terms)
    mean, spread = chain.forecast(point, [])
    assert mean.shape == (0,) and spread.shape == (0, 0)
    assert chain.parts(point, [])["trend"][0].shape == (0,)
    assert chain.marginals(point, [])[1].shape == (0,)


def test_harmonics_that_are_many_are_kept_and_few_share_the_variance():
    times = TIMES["irregular"]
    point = np.log([1.0, 0.05, 40.0, 0.1])  # turns as sharp as 24 harmonics can show
    y, _ = data(times, [])
    few, many = (Chain.of([Term("s", "season", period=9.0, harmonics=j)], times, y) for j in (2, 200))
    assert many.log_likelihood(point)[0] == pytest.approx(
        log_density([Term("s", "season", period=9.0)], point, times, y, None, times[0]), rel=1e-8
    )
    variance = few.parts(point, times[-1:] + 1e4)["s"][1]
    assert variance == pytest.approx(1.0)


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 5])
def test_short_periods_on_a_grid(steps, engine):
    terms = [Term("s", "season", period=steps / 7.0), Term("level", "level")]
    times = np.arange(-29.0, 1.0) / 7.0
    y, x = data(times, [])
    point = np.log([0.7, 0.3, 2.0, 0.5, 0.05]) if steps > 1 else np.log([0.7, 0.1, 2.0, 0.5, 0.05])
    values, _ = Chain.of(terms, times, y).log_likelihood(point)
    assert values[0] == pytest.approx(log_density(terms, point, times, y, x, times[0]), rel=1e-9)


@pytest.mark.parametrize("terms", TERMS.values(), ids=TERMS)
def test_one_observation(terms, engine):
    y, x = data(np.zeros(1), terms)
    chain, point = Chain.of(terms, [0.0], y, x), log_point(terms)
    values, gradients = chain.log_likelihood(point)
    assert values[0] == pytest.approx(log_density(terms, point, np.zeros(1), y, x, 0.0), rel=1e-10)
    assert np.isfinite(gradients).all()
    mean, spread = chain.forecast(point, [1.0, 2.0], np.ones((2, x.shape[1])))
    assert np.isfinite(mean).all() and (np.diag(spread) > 0.0).all()


def test_origin_of_the_level_before_the_first_row():
    terms, times = TERMS["level"], TIMES["regular"]
    y, x = data(times, terms)
    point, h = log_point(terms), 1e-5
    value, gradient = Chain.of(terms, times, y, origin=-80.0).log_likelihood(point)
    ends = [log_density(terms, point + np.array([0.0, s * h, 0.0]), times, y, x, -80.0) for s in (1, 0, -1)]
    assert value[0] == pytest.approx(ends[1], rel=1e-10)
    assert gradient[0, 1] == pytest.approx((ends[0] - ends[2]) / (2.0 * h), rel=1e-5)


@pytest.mark.parametrize("noise", [1e-8, 1e-6])
def test_tiny_noise(noise):
    terms, times = TERMS["whole"], TIMES["regular"]
    y, x = data(times, terms)
    chain, point = Chain.of(terms, times, y, x), log_point(terms, noise, spread=0.0)
    values, gradients = chain.log_likelihood(point)
    assert values[0] == pytest.approx(log_density(terms, point, times, y, x, times[0]), rel=1e-8)
    h = 1e-4 * np.eye(len(point))
    for i in range(len(point)):
        ends = [log_density(terms, point + s * h[i], times, y, x, times[0]) for s in (1, -1)]
        assert gradients[0, i] == pytest.approx((ends[0] - ends[1]) / 2e-4, rel=1e-4, abs=1e-4)
    fit = sum(part for part, _ in chain.parts(point, times, x).values())
    assert fit == pytest.approx(y, abs=1e-4)


@pytest.mark.parametrize("size", [-30.0, -8.0, 8.0, 30.0])
def test_extreme_hyperparameters_are_finite(size):
    terms, times = TERMS["whole"], TIMES["gaps"]
    y, x = data(times, terms)
    chain, middle = Chain.of(terms, times, y, x), log_point(terms)
    for i in range(len(middle)):
        point = middle + size * np.eye(len(middle))[i]
        values, gradients = chain.log_likelihood(point)
        assert np.isfinite(values).all() and np.isfinite(gradients).all()
        later = times[-1] + np.arange(1.0, 4.0)
        mean, spread = chain.forecast(point, later, np.ones((3, 2)))
        assert np.isfinite(mean).all() and (np.diag(spread) >= 0.0).all()
        assert all(
            (variance >= 0.0).all() for _, variance in chain.parts(point, later, np.ones((3, 2))).values()
        )


def test_parts_that_are_switched_off_leave_no_trace():
    terms, times = TERMS["whole"], TIMES["gaps"]
    y, x = data(times, terms)
    point = log_point(terms)
    off = np.concatenate([point[:5], [-80.0], point[6:]])
    value, gradient = Chain.of(terms, times, y, x).log_likelihood(off)
    without = Chain.of([*terms[:4], *terms[5:]], times, y, x).log_likelihood(np.delete(point, [5, 6, 7]))
    assert value == pytest.approx(without[0], rel=1e-13)
    assert gradient[0, 5:8] == pytest.approx(0.0, abs=1e-20)


def test_numbers_out_of_range_are_impossible():
    terms, times = TERMS["season"], TIMES["regular"]
    chain = Chain.of(terms, times, data(times, terms)[0])
    for i, value in ((0, 800.0), (3, -800.0), (2, 900.0)):
        point = log_point(terms)
        point[i] = value
        values, gradients = chain.log_likelihood(point)
        assert values[0] == -np.inf and not gradients.any()


def test_a_chain_can_be_evaluated_in_any_unit_of_time():
    terms, times = TERMS["two seasons"], TIMES["gaps"]
    y, _ = data(times, terms)
    point = log_point(terms)
    days = [Term(t.name, t.kind, period=None if t.period is None else 30.4 * t.period) for t in terms]
    shift = np.log(30.4) * np.array([0, 0, 1, -1, 0, 0, 1, 0])
    first, then = (
        Chain.of(terms, times, y).log_likelihood(point),
        Chain.of(days, 30.4 * times, y).log_likelihood(point + shift),
    )
    assert then[0] == pytest.approx(first[0], rel=1e-11)
    assert then[1] == pytest.approx(first[1], rel=1e-7, abs=1e-8)


ERRORS = {
    "times and y: expected two vectors": {"y": np.zeros(3)},
    "times: expected a vector of finite numbers that increase": {"times": np.zeros(60)},
    "y: expected finite numbers": {"y": np.full(60, np.nan)},
    "features: expected shape": {"features": np.zeros((60, 1))},
    "origin: expected the first time": {"origin": 3.0},
    "names that differ": {"terms": [YEAR, YEAR]},
    "one trend at most": {"terms": [Term("a", "trend"), Term("b", "trend", nu=1.5)]},
}


@pytest.mark.parametrize("message", ERRORS)
def test_what_is_no_series_is_refused(message):
    times = TIMES["regular"]
    given = {"terms": TERMS["line"], "times": times, "y": np.zeros(60)} | ERRORS[message]
    with pytest.raises(InputError, match=message):
        Chain.of(**given)


def test_questions_that_make_no_sense_are_refused():
    terms, times = TERMS["level"], TIMES["regular"]
    chain, point = Chain.of(terms, times, np.zeros(60)), log_point(terms)
    with pytest.raises(InputError, match="expected 3 hyperparameters"):
        chain.log_likelihood(point[:-1])
    with pytest.raises(InputError, match="expected later ones than 0"):
        chain.forecast(point, [0.0, 1.0])
    with pytest.raises(InputError, match="numbers that increase"):
        chain.forecast(point, [2.0, 1.0])
    with pytest.raises(InputError, match="level starts at -59"):
        chain.parts(point, [-60.0])
    with pytest.raises(InputError, match="vector of finite numbers"):
        chain.parts(point, [np.nan])
    with pytest.raises(InputError, match="features: expected shape"):
        chain.marginals(point, [1.0], np.ones((1, 2)))


@pytest.mark.parametrize(
    ("message", "given"),
    [
        ("expected one of", {"kind": "saison"}),
        ("expected a positive number", {"kind": "season"}),
        ("expected a positive number", {"kind": "season", "period": -1.0}),
        ("at least one harmonic", {"kind": "season", "period": 1.0, "harmonics": 0}),
        ("expected 1.5 or 2.5", {"kind": "trend", "nu": 0.5}),
    ],
)
def test_what_is_no_part_is_refused(message, given):
    with pytest.raises(InputError, match=message):
        Term("x", **given)
