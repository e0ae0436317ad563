"""Any series gets a finite and ordered forecast on the continued index, or one clear error."""

import re
import time
import warnings

import numpy as np
import pandas as pd
import pytest
from adversarial_series import CASES, Case, seasonal

from nonparam.errors import InputError
from nonparam.forecasting import GPForecaster

LEVELS = [0.025, 0.1, 0.5, 0.9, 0.975]
STEPS = 18
PATIENCE = 5.0  # seconds of a processor for a fit; most take a tenth of one
FORECASTS = [name for name, case in CASES.items() if case.error is None]
ERRORS = [name for name, case in CASES.items() if case.error is not None]


def fitted(case: Case, transform: str = "auto") -> GPForecaster:
    """Fit, with the warning that is owed and no other."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        forecaster = GPForecaster(case.season, transform=transform, random_state=0).fit(case.build())
    seen = [str(warning.message) for warning in caught if "torch.jit" not in str(warning.message)]
    assert len(seen) == (case.warns is not None), seen
    assert all(re.search(str(case.warns), text) for text in seen), seen
    return forecaster


def given(case: Case) -> pd.Series:
    """The series as it was given, as numbers in the order of time."""
    y = case.build()
    y = y.iloc[:, 0] if isinstance(y, pd.DataFrame) else y
    y = y if isinstance(y, pd.Series) else pd.Series(np.ravel(np.asarray(y)))
    return y.astype("float64").sort_index()


@pytest.fixture(scope="module", params=FORECASTS)
def case(request) -> Case:
    return CASES[request.param]


@pytest.fixture(scope="module")
def forecaster(case) -> GPForecaster:
    began = time.process_time()
    forecaster = fitted(case)
    assert time.process_time() - began < PATIENCE
    return forecaster


@pytest.fixture(scope="module")
def near(forecaster) -> pd.DataFrame:
    return forecaster.predict_quantiles(STEPS, LEVELS)


def test_there_are_a_hundred_and_more():
    assert len(FORECASTS) >= 200 and len(ERRORS) >= 30


def test_quantiles_are_finite_and_ordered(case, forecaster, near):
    far = forecaster.predict_quantiles([STEPS, case.far], LEVELS)
    for table in (near.to_numpy(), far.to_numpy()):
        assert np.isfinite(table).all()
        assert (np.diff(table, axis=1) >= 0.0).all()
    np.testing.assert_allclose(far.iloc[0], near.iloc[-1], rtol=1e-6)


def test_the_median_stays_near_the_series(case, near):
    y = given(case)
    room = case.reach * (y.max() - y.min()) + 1e-6 * y.abs().max()
    assert near[0.5].between(y.min() - room, y.max() + room).all()


def test_the_index_is_continued(case, forecaster, near):
    y, index = given(case), near.index
    assert len(index) == STEPS and index.is_monotonic_increasing and index.is_unique
    assert index[0] > y.index[-1]
    assert type(index) is type(y.index)
    assert index.inferred_type == y.index.inferred_type
    assert getattr(index, "tz", None) == getattr(y.index, "tz", None)
    assert getattr(index, "freq", None) == getattr(y.index, "freq", None) or index.freq is not None
    assert index.name == y.index.name
    one = forecaster.predict([1])
    assert (one.index[0], one.name) == (index[0], y.name)


def test_the_parts_the_density_and_the_draws_are_finite(forecaster):
    assert np.isfinite(forecaster.decompose(3).to_numpy()).all()
    draws = forecaster.sample(3, 5)
    assert np.isfinite(draws.to_numpy()).all()
    assert np.isfinite(forecaster.log_predictive_density(draws[0].to_numpy()))


@pytest.mark.parametrize("name", [name for name in FORECASTS if CASES[name].positive])
def test_a_logarithm_never_gives_a_negative_bound(name):
    table = fitted(CASES[name], "log").predict_quantiles([1, STEPS, CASES[name].far], LEVELS)
    assert (table.to_numpy() > 0.0).all() and np.isfinite(table.to_numpy()).all()


@pytest.mark.parametrize("name", ERRORS)
def test_there_is_one_clear_error(name):
    with pytest.raises(InputError, match=CASES[name].error):
        GPForecaster(CASES[name].season).fit(CASES[name].build())


@pytest.fixture(scope="module")
def plain() -> pd.DataFrame:
    return GPForecaster(4).fit(seasonal()).predict_quantiles(STEPS, LEVELS)


@pytest.mark.parametrize("scale", [1e-95, 1e-12, 1e-3, 1e3, 1e12, 1e95])
def test_the_unit_of_a_series_does_not_matter(scale, plain):
    y, expected = seasonal(), scale * plain
    got = GPForecaster(4).fit(scale * y).predict_quantiles(STEPS, LEVELS)
    np.testing.assert_allclose(got, expected, rtol=1e-3)


@pytest.mark.parametrize("offset", [-1e9, 1e6, 1e9])
def test_an_offset_does_not_matter(offset):
    y = np.round(seasonal() * 1024.0) / 1024.0  # exact also with the offset
    expected = GPForecaster(4, transform="identity").fit(y).predict_quantiles(STEPS, LEVELS)
    got = GPForecaster(4, transform="identity").fit(y + offset).predict_quantiles(STEPS, LEVELS) - offset
    np.testing.assert_allclose(got, expected, rtol=1e-3)


def test_the_sign_of_a_series_does_not_matter():
    y = seasonal()
    forward = GPForecaster(4, transform="identity").fit(y).predict_quantiles(STEPS, LEVELS)
    mirrored = GPForecaster(4, transform="identity").fit(-y).predict_quantiles(STEPS, LEVELS)
    np.testing.assert_allclose(-mirrored.to_numpy()[:, ::-1], forward, rtol=1e-6)


@pytest.mark.parametrize("season", ["auto", 4, None])
def test_missing_values_before_and_after_change_nothing(season):
    y, gap = seasonal(), np.full(5, np.nan)
    expected = GPForecaster(season).fit(y).predict_quantiles(STEPS, LEVELS).to_numpy()
    before = GPForecaster(season).fit(np.r_[gap, y]).predict_quantiles(STEPS, LEVELS)
    after = GPForecaster(season).fit(np.r_[y, gap]).predict_quantiles(STEPS - 5, LEVELS)
    np.testing.assert_allclose(before, expected, rtol=1e-6)
    np.testing.assert_allclose(after, expected[5:], rtol=1e-6)


@pytest.mark.parametrize("order", [slice(None, None, -1), np.random.RandomState(0).permutation(36)])
def test_the_order_of_the_rows_does_not_matter(order):
    y = pd.Series(seasonal(), index=pd.date_range("2015-01-01", periods=36, freq="MS"))
    pd.testing.assert_frame_equal(
        GPForecaster().fit(y.iloc[order]).predict_quantiles(STEPS, LEVELS),
        GPForecaster().fit(y).predict_quantiles(STEPS, LEVELS),
        check_freq=False,
    )


@pytest.mark.parametrize("value", [0.0, 7.3, -1e9, 1e-90])
def test_a_constant_goes_on(value):
    table = GPForecaster().fit(np.full(30, value)).predict_quantiles(STEPS, LEVELS)
    np.testing.assert_allclose(table[0.5], value, rtol=1e-9, atol=0.0)


@pytest.mark.parametrize("slope", [-2.0, 1e-6, 0.5])
def test_a_line_goes_on(slope):
    median = GPForecaster().fit(3.0 + slope * np.arange(30.0)).predict(STEPS)
    np.testing.assert_allclose(median, 3.0 + slope * np.arange(30.0, 30.0 + STEPS), atol=abs(slope) * 0.5)


@pytest.mark.parametrize("rate", [-2.0, -0.4, -0.05, 0.05, 0.4, 2.0])
def test_exact_growth_goes_on(rate):
    t = np.arange(30.0 + STEPS)
    median = GPForecaster().fit(np.exp(rate * t[:30])).predict(STEPS)
    np.testing.assert_allclose(np.log(median), rate * t[30:], atol=0.5 * abs(rate))
