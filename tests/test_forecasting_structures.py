"""Named structures side by side: evidence, effective parameters, held-out density."""

import numpy as np
import pandas as pd
import pytest

from nonparam.datasets import load_airline
from nonparam.errors import InputError
from nonparam.forecasting import GPForecaster


@pytest.fixture(scope="module")
def airline() -> GPForecaster:
    return GPForecaster().fit(load_airline()[:96])


def test_the_evidence_is_that_of_the_fit(airline):
    table = airline.compare(["no season, identity", "season", "no season", "log", "identity"])
    evidence = {(bool(m.seasons), m.transform): m.log_evidence for m in airline.report_.members}
    expected = {
        "season": evidence[True, "log"],
        "no season": evidence[False, "log"],
        "log": evidence[True, "log"],
        "identity": evidence[True, "identity"],
        "no season, identity": evidence[False, "identity"],
    }
    for name, value in expected.items():
        assert table.at[name, "log_evidence"] == pytest.approx(value, abs=0.05)
    assert table["log_evidence"].is_monotonic_decreasing
    once = table.drop_duplicates(["transform", "parts"])
    assert len(table) == 5 and len(once) == 4  # "season" and "log" choose the same
    weights = np.exp(table["log_evidence"] - table["log_evidence"].max())
    np.testing.assert_allclose(table["weight"], weights / weights[once.index].sum())
    assert once["weight"].sum() == pytest.approx(1.0)
    assert table.at["no season", "parts"] == "base + drift + trend + level + memory + working days"
    assert table.at["no season", "transform"] == "log"


def test_effective_parameters_are_the_trace_of_the_smoother():
    y = np.sin(np.arange(25.0)) + 0.1 * np.random.RandomState(0).standard_normal(25)
    forecaster = GPForecaster(None, transform="identity", average=False).fit(y)
    ensemble = forecaster.ensemble_
    theta = ensemble.structure.theta()
    theta.assign(ensemble.points[0])
    import torch

    with torch.no_grad():
        x = torch.from_numpy(ensemble.x)
        k = theta.kernel.matrix(x, x).numpy()
    trace = np.trace(k @ np.linalg.inv(k + np.exp(ensemble.points[0, -1]) * np.eye(25)))
    found = forecaster.compare(["identity"])["effective_parameters"].iloc[0]
    assert found == pytest.approx(trace, rel=1e-2)


def test_all_that_can_be_left_out_is_compared_by_default(airline):
    table = airline.compare()
    expected = {
        "season",
        "no season",
        "identity",
        "log",
        "no trend",
        "no drift",
        "no level",
        "no memory",
        "no working days",
        "level only",
    }
    assert set(table.index) == expected
    assert table.at["level only", "parts"] == "base + level"
    assert table.at["level only", "log_evidence"] < table.at["season", "log_evidence"] - 20.0
    plain = GPForecaster(None, transform="identity", components=["base", "level"]).fit(np.arange(9.0))
    assert set(plain.compare().index) == {"no level", "level only"}
    slope = GPForecaster(None).fit(np.arange(30.0) ** 2 - 5.0).compare()
    assert "no slope" in slope.index and "season" not in slope.index


def test_held_out_densities_are_those_of_forecasters_fitted_before():
    y = load_airline()[:60]
    forecaster = GPForecaster(transform="log", average=False).fit(y)
    table = forecaster.compare(["season", "no season"], fh=6, origins=2)
    total = 0.0
    for cut in (54, 48):
        before = GPForecaster(transform="log", average=False).fit(y[:cut])
        assert before.report_.members[0].seasons
        total += before.log_predictive_density(y[cut : cut + 6])
    assert table.at["season", "log_density"] == pytest.approx(total / 12, abs=0.02)
    assert table.at["season", "log_density"] > table.at["no season", "log_density"] + 0.2


def test_regressors_and_holidays_can_be_left_out():
    days = pd.date_range("2021-11-01", periods=70)
    rng = np.random.RandomState(0)
    x = pd.DataFrame({"price": rng.standard_normal(70)}, index=days)
    y = 10.0 + 2.0 * x["price"] + 0.3 * rng.standard_normal(70)
    forecaster = GPForecaster(None, holidays={"christmas": "2021-12-25"}).fit(y, x)
    table = forecaster.compare(["identity", "no regressors", "no holidays"], fh=7)
    assert table.at["identity", "log_evidence"] > table.at["no regressors", "log_evidence"] + 20.0
    assert table.at["identity", "log_density"] > table.at["no regressors", "log_density"] + 0.5
    assert abs(table.at["identity", "log_evidence"] - table.at["no holidays", "log_evidence"]) < 3.0


BAD = {
    "unknown": (["seasonal"], "structures has 'seasonal'; names are 'season', 'no season', 'iden"),
    "one of two": (["no season, logs"], r"structures has 'logs'; names are"),
    "text": ("season", "structures must be a list of names, got 'season'; names are"),
    "numbers": ([1], r"structures must be a list of names, got \[1\]"),
    "none": ([], "structures is empty: expected at least one name; names are"),
    "both": (["log, identity"], "structures has 'log, identity', which contradicts itself"),
    "season and none": (["season, no season"], "which contradicts itself; names are"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_a_name_that_is_none_gets_a_clear_error(airline, name):
    names, message = BAD[name]
    with pytest.raises(InputError, match=message):
        airline.compare(names)


def test_what_a_series_cannot_have_gets_a_clear_error(airline):
    plain = GPForecaster(None).fit(np.arange(-5.0, 5.0))
    with pytest.raises(
        InputError, match="structures has 'season', and the forecaster has no season: set season="
    ):
        plain.compare(["season"])
    with pytest.raises(InputError, match="the structure 'log' needs positive observations, got -5"):
        plain.compare(["log"])
    with pytest.raises(InputError, match="expected a series longer than 3 times 40 steps, got 96 rows"):
        airline.compare(["log"], fh=40)


def test_an_outlier_leaves_every_transform_to_be_compared():
    """What is left of the series without it may be one that nobody would take the logarithm of."""
    y = np.abs(np.random.RandomState(1).normal(2.0, 1.0, 60)) + 0.01
    y[59] = 1e9
    table = GPForecaster(12).fit(y).compare(["log", "identity"], fh=6, origins=1)
    assert np.isfinite(table.select_dtypes("number")).all(axis=None)


def test_an_outlier_before_the_origin_hardly_changes_held_out_densities():
    t = np.arange(72.0)
    y = 100.0 + 0.5 * t + 10.0 * np.sin(2.0 * np.pi * t / 12.0)
    y += np.random.RandomState(8).standard_normal(72)
    clean = GPForecaster(12).fit(y).compare(["season, identity"], fh=6, origins=2)["log_density"].item()
    y[35] += 300.0
    found = GPForecaster(12).fit(y).compare(["season, identity"], fh=6, origins=2)["log_density"].item()
    assert found == pytest.approx(clean, abs=0.3)


def test_parameters_that_are_set_after_the_fit_rule_the_comparison():
    forecaster = GPForecaster().fit(load_airline()[-48:]).set_params(components=["base", "level"])
    table = forecaster.compare()
    assert set(table["parts"]) == {"base + level", "base"}
    with pytest.raises(InputError, match="the prior of level variance must be a positive median"):
        forecaster.set_params(priors={"level variance": ("a", 1.0)}).compare()
