"""Inputs that are missing or noisy: the plain model where none is, honest intervals where some are."""

import pickle

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.utils.estimator_checks import parametrize_with_checks

from nonparam import GPRegressor, UncertainInputsRegressor
from nonparam.errors import InputError


def problem(seed, share=0.25, noise=0.0, n=240):
    """Correlated columns of which some entries are missing, or noisy; half of the rows are new."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, 2))
    x[:, 1] = 0.9 * x[:, 0] + 0.45 * x[:, 1]
    y = np.sin(1.5 * x[:, 1]) + 0.3 * x[:, 0] + 0.1 * rng.standard_normal(n)
    z = x + np.sqrt(noise) * rng.standard_normal(x.shape)
    z[:, 1][rng.random(n) < share] = np.nan
    half = n // 2
    return z[:half], y[:half], z[half:], y[half:]


def model(**arguments):
    return UncertainInputsRegressor(**{"n_draws": 4, "random_state": 0, **arguments})


@parametrize_with_checks([UncertainInputsRegressor(n_draws=2, random_state=0)])
def test_scikit_learn_checks(estimator, check):
    check(estimator)


def test_where_nothing_is_uncertain_it_is_the_regressor():
    x, y, new, _ = problem(0, share=0.0)
    found, plain = model().fit(x, y), GPRegressor().fit(x, y)
    assert len(found.models_) == 1
    for left, right in zip(found.predict(new, True), plain.predict(new, True), strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-9)
    np.testing.assert_allclose(
        found.predict_quantiles(new, [0.1, 0.9]), plain.predict_quantiles(new, [0.1, 0.9])
    )
    np.testing.assert_allclose(
        found.log_predictive_density(new, plain.predict(new)),
        plain.log_predictive_density(new, plain.predict(new)),
    )


def test_intervals_cover_and_beat_filled_in_means():
    """Where an entry is missing, its mean in its place is too sure."""
    z, held, plain_density, density = [], [], [], []
    for seed in range(4):
        x, y, new, y_new = problem(seed)
        found = model().fit(x, y)
        quantiles = found.predict_quantiles(new, [0.05, 0.95])
        inside = (y_new >= quantiles[:, 0]) & (y_new <= quantiles[:, 1])
        gone = np.isnan(new).any(1)
        z.append(inside)
        held.append(inside[gone])
        density.append(found.log_predictive_density(new, y_new).mean())
        centre = np.nanmean(x, 0)
        filled = GPRegressor().fit(np.where(np.isnan(x), centre, x), y)
        rows = np.where(np.isnan(new), centre, new)
        plain_density.append(filled.log_predictive_density(rows, y_new).mean())
    assert abs(np.concatenate(z).mean() - 0.9) < 0.04
    assert abs(np.concatenate(held).mean() - 0.9) < 0.08
    assert np.mean(density) > np.mean(plain_density) + 0.2


def test_noisy_inputs_are_told_from_noisy_outputs():
    """The curve is steep in places: known input noise gives wide intervals there, and better densities."""
    rng = np.random.default_rng(0)
    x = rng.uniform(-2.0, 2.0, 300)
    y = np.tanh(4.0 * x) + 0.05 * rng.standard_normal(300)
    z = (x + 0.15 * rng.standard_normal(300))[:, None]
    found = model(input_noise=0.15**2, n_draws=6).fit(z[:150], y[:150])
    plain = GPRegressor().fit(z[:150], y[:150])
    _, sd = found.predict([[0.0], [1.5]], return_std=True)
    assert sd[0] > 2.0 * sd[1]
    better = found.log_predictive_density(z[150:], y[150:]).mean()
    assert better > plain.log_predictive_density(z[150:], y[150:]).mean() + 0.1


def test_draws_seeds_frames_and_pickles():
    x, y, new, _ = problem(1)
    found = model().fit(x, y)
    mean, sd = found.predict(new[:8], return_std=True)
    draws = found.sample_y(new[:8], 400, random_state=1)
    np.testing.assert_allclose(draws.mean(1), mean, atol=0.25)
    np.testing.assert_allclose(draws.std(1), sd, rtol=0.5, atol=0.05)
    np.testing.assert_array_equal(clone(found).fit(x, y).predict(new), found.predict(new))
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(found)).predict(new), found.predict(new))
    frame = clone(found).fit(pd.DataFrame(x, columns=["a", "b"]), y)
    np.testing.assert_array_equal(frame.predict(pd.DataFrame(new, columns=["a", "b"])), found.predict(new))
    scaled = clone(found).fit(x * [1e4, 1e-4], y)
    np.testing.assert_allclose(scaled.predict(new * [1e4, 1e-4]), found.predict(new), atol=0.02)


def test_another_regressor_and_no_noise():
    x, y, new, _ = problem(2)
    found = model(estimator=GPRegressor("rbf")).fit(x, y)
    assert all(each.kernel == "rbf" for each in found.models_)
    _, sd = found.predict(new, return_std=True)
    _, less = found.predict(new, return_std=True, include_noise=False)
    assert (less < sd).all()


def test_what_makes_no_model():
    x, y, new, _ = problem(0)
    for wrong in (-1.0, np.ones(3), np.nan):
        with pytest.raises(
            InputError, match="input_noise must be a variance, or one for each of the 2 columns"
        ):
            model(input_noise=wrong).fit(x, y)
    with pytest.raises(InputError, match="n_draws must be an integer, at least 1"):
        model(n_draws=0).fit(x, y)
    with pytest.raises(InputError, match="NaN in every row of column 1: nothing was seen of it"):
        model().fit(np.column_stack([x[:, 0], np.full(len(x), np.nan)]), y)
    with pytest.raises(InputError, match="infinity"):
        model().fit(np.where(np.isnan(x), np.inf, x), y)
    with pytest.raises(NotFittedError, match="not fitted yet"):
        model().predict(new)
    with pytest.raises(InputError, match="average over what they may be with UncertainInputsRegressor"):
        GPRegressor().fit(x, y)
