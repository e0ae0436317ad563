"""The parameters of the forecaster: what each does, and what is refused."""

import numpy as np
import pandas as pd
import pytest
from adversarial_series import seasonal

from nonparam.datasets import load_airline
from nonparam.errors import InputError, InsufficientMemoryError
from nonparam.forecasting import GPForecaster

AIRLINE = load_airline()[-36:]
PARTS = ["base", "drift", "trend", "level", "season", "memory", "working days"]


def fitted(**parameters) -> GPForecaster:
    return GPForecaster(**parameters).fit(AIRLINE)


def names(forecaster: GPForecaster) -> list[str]:
    return [part.name for part in forecaster.ensemble_.structure.parts]


# time_limit ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def hours() -> pd.Series:
    n = 300
    rng = np.random.RandomState(0)
    values = np.sin(2.0 * np.pi * np.arange(n) / 24.0) + np.cumsum(0.03 * rng.standard_normal(n))
    values += 10.0 + 0.2 * rng.standard_normal(n)
    return pd.Series(values, index=pd.date_range("2020-01-01", periods=n, freq="h"))


def test_a_time_limit_ends_the_searches_and_says_so(hours, tmp_path):
    full = GPForecaster(24, transform="identity").fit(hours)
    short = GPForecaster(24, transform="identity", time_limit=1e-6).fit(hours)
    assert max(m.evaluations for m in short.report_.members) == 1
    assert min(m.evaluations for m in full.report_.members) > 5
    assert not full.report_.timed_out
    assert short.report_.timed_out and not short.report_.converged
    assert "not all searches converged: time_limit ended some" in str(short.report_)
    assert "time_limit ended some" in short.summary()
    assert {m.message for m in short.report_.members} == {"time_limit ended the search"}
    assert np.isfinite(short.predict_quantiles(24)).all(axis=None)
    short.save(tmp_path / "short.safetensors")
    assert GPForecaster.load(tmp_path / "short.safetensors").report_ == short.report_


def test_what_was_found_by_then_is_kept(monkeypatch):
    """A clock that ticks once for each look: the limit falls after some steps, not before the first."""
    evidences = []
    for limit in (1.0, 10.0, 1e6):
        ticks = iter(range(10**6))
        monkeypatch.setattr("time.monotonic", lambda ticks=ticks: float(next(ticks)))
        report = fitted(season=12, transform="log", average=False, time_limit=limit).report_
        monkeypatch.undo()
        evidences.append(max(member.log_evidence for member in report.members))
        assert report.timed_out == (limit < 1e6)
    assert evidences[0] < evidences[1] <= evidences[2] + 0.05


def test_a_search_that_ended_by_itself_is_not_blamed_on_the_limit():
    plain, limited = fitted(), fitted(time_limit=600.0)
    assert not limited.report_.timed_out and limited.report_.converged
    pd.testing.assert_series_equal(plain.predict(12), limited.predict(12))
    pd.testing.assert_series_equal(plain.predict(12), fitted(time_limit=np.inf).predict(12))


@pytest.mark.parametrize("limit", ["fast", 0, -1.0, np.nan, True, [1.0]])
def test_a_limit_that_is_no_time_is_refused(limit):
    with pytest.raises(InputError, match="time_limit must be a positive number of seconds or None, got"):
        fitted(time_limit=limit)


# components ------------------------------------------------------------------------------------


@pytest.mark.parametrize("part", PARTS)
def test_each_part_alone_and_each_left_out(part):
    alone = fitted(components=[part])
    assert names(alone) == [part]
    assert np.isfinite(alone.predict_quantiles(3)).all(axis=None)
    others = [name for name in PARTS if name != part]
    assert names(fitted(components=others)) == others


def test_a_list_of_all_parts_is_auto():
    pd.testing.assert_series_equal(fitted(components=PARTS).predict(3), fitted().predict(3))
    for given in (("level", "base"), {"base", "level"}, ["base", "level", "base"]):
        assert names(fitted(components=given)) == ["base", "level"]


def test_a_base_alone_is_the_mean():
    y = pd.Series(3.0 + np.random.RandomState(0).standard_normal(200))
    forecaster = GPForecaster(None, transform="identity", components=["base"]).fit(y)
    np.testing.assert_allclose(forecaster.predict(5), y.mean(), atol=0.01)
    np.testing.assert_allclose(np.sqrt(forecaster.predict_var(5)), y.std(), rtol=0.03)


def test_the_name_of_the_season_stands_for_all():
    y = pd.Series(seasonal(120, 7.0) + seasonal(120, 15.0, 1))
    forecaster = GPForecaster([7, 15], components=["base", "season"]).fit(y)
    assert names(forecaster) == ["base", "season 7", "season 15"]


def test_regressors_and_holidays_stay_whatever_the_parts():
    X = pd.DataFrame({"price": np.random.RandomState(0).standard_normal(36)}, index=AIRLINE.index)
    chosen = GPForecaster(components=["base"], holidays={"fair": "1959-05-05"}).fit(AIRLINE, X)
    assert names(chosen) == ["base", "regressors", "holidays"]


def test_parts_of_a_series_without_a_season():
    y = np.arange(20.0)
    assert names(GPForecaster(None, components=["slope"]).fit(y)) == ["slope"]
    with pytest.raises(InputError, match=r"some of \['base', .*'season'\], got \['slope'\]"):
        fitted(components=["slope"])
    with pytest.raises(InputError, match=r"components=\['season'\] leaves nothing of a series without a"):
        GPForecaster(None, components=["season"]).fit(y)


@pytest.mark.parametrize(
    "given",
    [
        "level",
        "all",
        [],
        None,
        7,
        ["noise"],
        ["base", 3],
        ["Base"],
        {"base": 1},
        [["base"]],
        [None],
        np.array(["base", "level"]),
    ],
)
def test_unknown_parts_name_the_choices(given):
    with pytest.raises(InputError, match=r"components must be 'auto' or a list of some of \['base', 'drift'"):
        fitted(components=given)


# priors ----------------------------------------------------------------------------------------


def test_a_prior_moves_the_hyperparameter():
    lengths = []
    for median in (0.3, 30.0):
        priors = {"trend lengthscale": (median, 0.01)}
        report = fitted(season=12, transform="log", average=False, priors=priors).report_
        lengths.append(report.members[0].hyperparameters["trend lengthscale"])
    np.testing.assert_allclose(lengths, [0.3 * 12, 30.0 * 12], rtol=0.05)  # in steps


def test_an_empty_dictionary_changes_nothing():
    pd.testing.assert_series_equal(fitted(priors={}).predict(3), fitted().predict(3))
    given = {"level variance": [0.2, 1]}
    fitted(priors=given)
    assert given == {"level variance": [0.2, 1]}


def test_a_prior_of_a_part_that_is_left_out_is_not_used():
    priors = {"trend lengthscale": (5.0, 1.0)}
    chosen = fitted(components=["base", "level"], priors=priors)
    pd.testing.assert_series_equal(chosen.predict(3), fitted(components=["base", "level"]).predict(3))


@pytest.mark.parametrize(
    "given",
    [
        5,
        None,
        (5.0,),
        (5.0, 1.0, 1.0),
        (-5.0, 1.0),
        (0.0, 1.0),
        (5.0, -1.0),
        (5.0, 0.0),
        (np.nan, 1.0),
        (np.inf, 1.0),
        ("5", 1.0),
        (None, 1.0),
        (5.0, True),
        (5.0 + 0.0j, 1.0),
        (1e300, 1.0),
        (1e-300, 1.0),
        (5.0, 1e300),
        (5.0, 1e-12),
        "wide",
        {"median": 5.0},
        np.array([5.0, 1.0]),
    ],
)
def test_a_prior_that_is_none_is_refused(given):
    with pytest.raises(InputError, match=r"the prior of trend lengthscale must be a positive median \(1e-06"):
        fitted(priors={"trend lengthscale": given})


@pytest.mark.parametrize("name", ["trend", "trend_lengthscale", "slope variance", "noise", 3, None])
def test_an_unknown_prior_names_the_choices(name):
    with pytest.raises(InputError, match=r"priors has no .*: expected some of \['base variance', 'drift"):
        fitted(priors={name: (1.0, 1.0)})


@pytest.mark.parametrize("given", [None, "wide", 3, [("trend lengthscale", (5.0, 1.0))]])
def test_priors_are_a_dictionary(given):
    with pytest.raises(InputError, match=r"priors must be 'default' or a dictionary such as"):
        fitted(priors=given)


@pytest.mark.parametrize("median", [1e-6, 1e6])
@pytest.mark.parametrize("spread", [1e-3, 10.0])
def test_the_widest_priors_still_forecast(median, spread):
    for name in ("level variance", "trend lengthscale", "season smoothness"):
        forecast = fitted(priors={name: (median, spread)}).predict_quantiles(3)
        assert np.isfinite(forecast).all(axis=None) and (np.diff(forecast, axis=1) >= 0.0).all()


# support, average, n_jobs, random_state ---------------------------------------------------------


def test_where_forecasts_may_be():
    y = np.maximum(np.random.RandomState(0).standard_normal(40) + 0.3, 0.0)
    low = {
        support: GPForecaster(None, transform="identity", support=support).fit(y).predict_quantiles(3, 0.01)
        for support in (None, "positive", "real")
    }
    assert (low["real"] < 0.0).all(axis=None)
    for support in (None, "positive"):
        np.testing.assert_array_equal(low[support], 0.0)
    below = GPForecaster(None, transform="identity").fit(y - 1.0)
    assert (below.predict_quantiles(3, 0.01) < 0.0).all(axis=None)
    forced = GPForecaster(None, transform="identity", support="positive", random_state=0).fit(y - 1.0)
    assert forced.predict_quantiles(3).min(axis=None) >= 0.0 and forced.sample(3, 50).min(axis=None) == 0.0


@pytest.mark.parametrize("support", ["Positive", "", 0, True, ["real"], np.array([1, 2])])
def test_another_support_is_refused_before_the_fit(support):
    with pytest.raises(InputError, match=r"support must be one of \(None, 'positive', 'real'\), got"):
        fitted(support=support)


@pytest.mark.parametrize("average", ["yes", None, 1, []])
def test_averages_are_wanted_or_not(average):
    with pytest.raises(InputError, match=r"average must be one of \(True, False\), got"):
        fitted(average=average)


def test_without_an_average_there_is_one_member():
    single = fitted(average=False)
    assert len(single.ensemble_.weights) == 1 < len(fitted().ensemble_.weights)
    assert sorted(member.weight for member in single.report_.members)[-1] == 1.0


@pytest.mark.parametrize("n_jobs", [0, 1.5, "two", True])
def test_the_number_of_jobs_is_checked(n_jobs):
    with pytest.raises(InputError, match="n_jobs must"):
        fitted(n_jobs=n_jobs)


def test_a_seed_repeats_the_draws():
    one = fitted(random_state=3)
    pd.testing.assert_frame_equal(one.sample(4, 5), one.sample(4, 5))
    pd.testing.assert_frame_equal(one.sample(4, 5), fitted(random_state=3).sample(4, 5))
    assert not one.sample(4, 5).equals(fitted(random_state=4).sample(4, 5))
    source = fitted(random_state=np.random.RandomState(3))
    pd.testing.assert_frame_equal(source.sample(4, 5), one.sample(4, 5))
    assert not source.sample(4, 5).equals(one.sample(4, 5))  # a source goes on
    pd.testing.assert_series_equal(one.predict(4), fitted(random_state=4).predict(4))


@pytest.mark.parametrize("seed", ["abc", -1, 1.5, np.random.default_rng(0)])
def test_what_cannot_seed_is_refused_before_the_fit(seed):
    with pytest.raises(InputError, match="random_state must be None, an integer from 0"):
        fitted(random_state=seed)


@pytest.mark.parametrize("n", [-1, 1.5, "2", True, None])
def test_the_number_of_draws_is_checked(n):
    with pytest.raises(InputError, match="n must be an integer, at least 0; got"):
        fitted().sample(2, n)


def test_no_draws_and_too_many():
    forecaster = fitted()
    none = forecaster.sample(3, 0)
    assert none.shape == (3, 0) and none.index.equals(forecaster.predict(3).index)
    with pytest.raises(InsufficientMemoryError, match="1,000,000,000,000 draws of 3 times need about"):
        forecaster.sample(3, 10**12)
