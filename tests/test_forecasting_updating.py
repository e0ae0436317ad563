"""New observations for a fitted forecaster, and the moments of its forecasts."""

import numpy as np
import pandas as pd
import pytest
from scipy.special import logsumexp
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from nonparam.datasets import load_airline
from nonparam.errors import InputError
from nonparam.forecasting import GPForecaster

LEVELS = [0.025, 0.5, 0.975]


@pytest.fixture(scope="module")
def airline() -> pd.Series:
    return load_airline()[-72:]


@pytest.fixture(scope="module")
def early(airline) -> GPForecaster:
    return GPForecaster(random_state=0).fit(airline[:48])


def fresh(airline, **options) -> GPForecaster:
    return GPForecaster(random_state=0, **options).fit(airline[:48])


def updated_by_hand(forecaster, y_new):
    """The weights by Bayes' rule, from densities of each member by itself."""
    ensemble = forecaster.ensemble_
    rows, _ = forecaster._ahead(len(y_new), None)
    joint = ensemble.joint(rows)
    terms = []
    for k, transform in enumerate(joint.transforms):
        z = transform.forward(y_new) - joint.mean[k]
        _, log_determinant = np.linalg.slogdet(2.0 * np.pi * joint.covariance[k])
        terms.append(-0.5 * (z @ np.linalg.solve(joint.covariance[k], z) + log_determinant))
        terms[-1] += transform.log_slope(y_new).sum() + np.log(ensemble.weights[k])
    weights = np.exp(np.array(terms) - max(terms))
    return weights / weights.sum()


def test_weights_follow_bayes_rule(early, airline):
    expected = updated_by_hand(early, airline[48:54].to_numpy())
    weights = fresh(airline).update(airline[48:54]).ensemble_.weights
    assert np.sort(weights)[::-1] == pytest.approx(
        np.sort(expected[expected > 1e-9])[::-1], rel=1e-6, abs=1e-9
    )


@pytest.fixture
def calm() -> pd.Series:
    """Years without an outlier: what is brought nearer would not follow the rules of probability."""
    t = np.arange(72)
    y = 100.0 + t + 10.0 * np.sin(2.0 * np.pi * t / 12.0) + np.random.RandomState(0).uniform(-2.0, 2.0, 72)
    return pd.Series(y, index=pd.period_range("2015-01", periods=72, freq="M"))


def test_the_density_of_what_comes_is_a_product_over_updates(calm):
    whole = fresh(calm).log_predictive_density(calm[48:60])
    first = fresh(calm).log_predictive_density(calm[48:55])
    rest = fresh(calm).update(calm[48:55]).log_predictive_density(calm[55:60])
    assert first + rest == pytest.approx(whole, abs=1e-4)


@pytest.mark.parametrize("kind", ["series", "array", "list", "unsorted"])
def test_one_step_or_many_make_no_difference(kind, calm):
    new = calm[48:60]
    given = {"series": new, "array": new.to_numpy(), "list": new.tolist(), "unsorted": new[::-1]}[kind]
    at_once, step = fresh(calm).update(given), fresh(calm)
    for i in range(12):
        step.update(new[i : i + 1])
    one, other = at_once.predict_quantiles(6, LEVELS), step.predict_quantiles(6, LEVELS)
    pd.testing.assert_frame_equal(one, other, rtol=1e-5)
    assert at_once.report_.observations == 60
    assert one.index[0] == calm.index[60]


def test_missing_steps_only_move_the_end(airline):
    moved = fresh(airline).update([np.nan, np.nan])
    np.testing.assert_allclose(moved.predict(3), fresh(airline).predict(5)[2:], rtol=1e-9)
    assert (moved.report_.observations, moved.report_.missing) == (48, 2)


def test_an_update_comes_near_a_fit_of_everything(airline):
    updated, refitted = fresh(airline).update(airline[48:60]), GPForecaster().fit(airline[:60])
    np.testing.assert_allclose(updated.predict(12), refitted.predict(12), rtol=0.05)
    again = fresh(airline).update(airline[48:60], refit=True)
    np.testing.assert_array_equal(again.predict(12), refitted.predict(12))


def test_a_refuted_logarithm_gives_way():
    rng = np.random.RandomState(0)
    y = pd.Series(10.0 + rng.standard_normal(40))
    forecaster = GPForecaster(None).fit(y)
    assert {t.link.name for t in forecaster.ensemble_.transforms} == {"identity", "log"}
    below = forecaster.update([-1.0])
    assert [t.link.name for t in below.ensemble_.transforms] == ["identity"]
    assert np.isfinite(below.predict(3)).all()
    with pytest.raises(InputError, match=r"y_new goes down to -1, which the logarithm cannot tell"):
        GPForecaster(None, transform="log").fit(y).update([-1.0])


def test_regressors_are_wanted_for_the_new_times():
    rng = np.random.RandomState(1)
    x = rng.standard_normal(60)
    y = pd.Series(3.0 * x + 0.1 * rng.standard_normal(60), index=pd.date_range("2020", periods=60))
    table = pd.DataFrame({"x": x}, index=y.index)
    forecaster = GPForecaster(None).fit(y[:50], table[:50])
    with pytest.raises(InputError, match="the forecast needs X at"):
        forecaster.update(y[50:55])
    forecaster.update(y[50:55], table)
    np.testing.assert_allclose(forecaster.predict(5, table), y[55:], atol=1.0)
    with pytest.raises(InputError, match="fitted without X"):
        GPForecaster(None).fit(y[:50]).update(y[50:55], table)


def test_what_is_not_later_is_refused(early, airline):
    for wrong, message in (
        (airline[40:50], "must come after the end of the series, 1958-12"),
        ([], "y_new has no rows"),
        (pd.Series([1.0], index=[3]), "expected period"),
        (["many"], "y must be numbers"),
    ):
        with pytest.raises(InputError, match=message):
            fresh(airline).update(wrong)


def test_times_of_another_calendar_are_refused():
    y = pd.Series(np.arange(20.0), index=2.0 * np.arange(20))
    with pytest.raises(InputError, match="y_new changes the steps"):
        GPForecaster(None).fit(y).update(pd.Series([1.0, 2.0], index=[39.0, 40.0]))


def test_files_keep_an_update(airline, tmp_path):
    forecaster = fresh(airline).update(airline[48:55])
    forecaster.save(tmp_path / "f.safetensors")
    loaded = GPForecaster.load(tmp_path / "f.safetensors")
    pd.testing.assert_frame_equal(
        loaded.predict_quantiles(6, LEVELS), forecaster.predict_quantiles(6, LEVELS), rtol=0, atol=0
    )


def test_gaps_and_empty_updates(airline):
    gap = fresh(airline).update(airline[51:54])
    known = airline[48:54].where(np.arange(6) > 2)
    pd.testing.assert_series_equal(gap.predict(3), fresh(airline).update(known).predict(3))
    for refit in (True, False):
        with pytest.raises(InputError, match="y_new has no rows: expected at least one new time"):
            fresh(airline).update(airline[48:48], refit=refit)
    with pytest.raises(InputError, match="y has several values at 1959-02"):
        fresh(airline).update(pd.concat([airline[48:50], airline[49:51]]))
    with pytest.raises(InputError, match=r"refit must be one of \(True, False\), got 'yes'"):
        fresh(airline).update(airline[48:50], refit="yes")


def test_a_refused_update_leaves_the_forecaster_as_it_was(early, airline):
    before = early.predict(3)
    for wrong in (airline[40:50], [np.inf], airline[48:50].to_timestamp()):
        with pytest.raises(InputError):
            early.update(wrong)
    pd.testing.assert_series_equal(early.predict(3), before)


def test_members_are_weighed_by_their_joint_density_of_what_came(airline):
    y, new = airline[:48], airline[48:58]
    before = GPForecaster().fit(y)
    index = new.index
    rows = before._fit.setting.rows(np.arange(1.0, 11.0), before._beside.ahead(None, index))
    ensemble = before.ensemble_
    log_weights = np.log(ensemble.weights) + ensemble.joint(rows).log_densities(new.to_numpy())
    expected = np.sort(np.exp(log_weights - logsumexp(log_weights)))[::-1]
    after = before.update(new).ensemble_
    assert len(after.weights) > 5
    np.testing.assert_allclose(after.weights, expected[: len(after.weights)], rtol=1e-6)


@pytest.mark.parametrize("n", [1, 30])
def test_a_series_that_was_constant_is_fitted_anew(n):
    new = [5.0, 6.5, 5.5]
    updated, anew = (GPForecaster(None).fit(np.full(n, 5.0)) for _ in range(2))
    updated.update(new)
    anew.update(new, refit=True)
    pd.testing.assert_series_equal(updated.predict(5), anew.predict(5))
    assert updated.predict(5).between(4.0, 8.0).all()


def test_thousands_of_new_observations_are_taken_in():
    rng = np.random.default_rng(0)
    y = np.sin(2.0 * np.pi * np.arange(6300) / 12.0) + 0.3 * rng.standard_normal(6300)
    forecaster = GPForecaster(12).fit(y[:60]).update(y[60:6288])
    assert np.abs(forecaster.predict(12).to_numpy() - y[6288:]).mean() < 0.4
    assert forecaster.report_.observations == 6288


def test_a_slope_that_wanders_goes_through_a_few_thousand():
    walk = np.random.default_rng(0).standard_normal(2100).cumsum()
    forecaster = GPForecaster(None).fit(walk[:390])
    forecaster.update(walk[390:430])  # longer than the series for which chains are the faster way
    assert abs(forecaster.predict(1).iloc[0] - walk[429]) < 3.0
    with pytest.raises(InputError, match=r"has 2,100 observations now; a trend whose slope wanders"):
        forecaster.update(walk[430:])
    assert forecaster.update(walk[430:], refit=True).report_.observations == 2100


def test_a_clone_has_seen_nothing(early):
    with pytest.raises(NotFittedError):
        clone(early).update([400.0])


# moments ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("transform", ["identity", "log"])
def test_variances_are_those_of_many_draws(transform, airline):
    forecaster = GPForecaster(transform=transform, random_state=1).fit(airline)
    draws = forecaster.sample(4, 40_000)
    covariance = forecaster.predict_var(4, cov=True)
    sd = np.sqrt(np.diag(covariance))
    np.testing.assert_allclose(np.cov(draws), covariance, atol=0.05 * np.outer(sd, sd).max())
    np.testing.assert_allclose(forecaster.predict_var(4)["variance"], np.diag(covariance), rtol=1e-9)
    assert covariance.index.equals(covariance.columns)
    np.testing.assert_array_equal(covariance, covariance.T)


def test_a_wide_logarithm_has_a_finite_variance():
    y = np.exp(np.array([1.0, 9.0, 2.0, 8.0, 1.5, 9.5]))
    variance = GPForecaster(None, transform="log").fit(y).predict_var(500)
    assert np.isfinite(variance).all(axis=None) and (variance > 0).all(axis=None)


def test_covariances_are_positive_definite(early):
    covariance = early.predict_var(40, cov=True)
    assert np.linalg.eigvalsh(covariance).min() > 0.0
    np.testing.assert_array_equal(covariance, covariance.T)


@pytest.mark.parametrize(
    "changed", [{"components": ["base", "level"]}, {"priors": {"trend lengthscale": ("a", 1.0)}}]
)
def test_parameters_that_are_set_after_the_fit_do_not_change_an_update(airline, changed):
    forecaster = fresh(airline).set_params(**changed).update(airline[48:60])
    expected = fresh(airline).update(airline[48:60])
    pd.testing.assert_series_equal(forecaster.predict(6), expected.predict(6))
    assert forecaster._fit.setting.structure.is_like(forecaster.ensemble_.structure)
