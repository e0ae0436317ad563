"""What a forecaster takes besides the series, and what it says of itself: effects, parts, words, pictures."""

from dataclasses import replace

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from sklearn.exceptions import NotFittedError

from nonparam.datasets import load_airline
from nonparam.errors import InputError
from nonparam.forecasting import GPForecaster
from nonparam.forecasting.chains import Chains
from nonparam.forecasting.dense import Dense
from nonparam.forecasting.structure import build_structure

N, AHEAD = 140, 10
DAYS = pd.date_range("2021-11-01", periods=N + AHEAD)
RNG = np.random.RandomState(0)
X = pd.DataFrame(
    {"price": 10 + 2 * RNG.standard_normal(N + AHEAD), "promotion": RNG.rand(N + AHEAD) < 0.15}, DAYS
)
NOISE = RNG.standard_normal(N + AHEAD)
TRUE = 200 - 3 * X["price"] + 12 * X["promotion"] + 5 * np.sin(np.arange(N + AHEAD) * 2 * np.pi / 7)
ALL = (TRUE + NOISE).rename("sales")
CHRISTMAS = {"christmas": ["2021-12-25", "2022-12-25"], "new year": ["2022-01-01", "2022-01-02"]}
ALL[ALL.index == "2021-12-25"] -= 30.0
Y = ALL[:N]


@pytest.fixture(scope="module")
def fitted() -> GPForecaster:
    return GPForecaster(7, holidays=CHRISTMAS, random_state=0).fit(Y, X)


@pytest.fixture(scope="module")
def airline() -> GPForecaster:
    return GPForecaster().fit(load_airline())


# regressors and holidays -----------------------------------------------------------------------


def test_what_is_known_beside_the_series_sharpens_the_forecast(fitted):
    future = ALL[N:]
    plain = GPForecaster(7).fit(Y)
    error = np.abs(fitted.predict(AHEAD, X) - future).mean()
    assert error < 1.5 < 3.0 < np.abs(plain.predict(AHEAD) - future).mean()
    gain = fitted.log_predictive_density(future, X) - plain.log_predictive_density(future)
    assert gain > 5.0
    widths = [
        f.predict_interval(AHEAD, 0.8, x).diff(axis=1)["upper"] for f, x in ((fitted, X), (plain, None))
    ]
    assert (widths[0] < 0.5 * widths[1]).all()
    inside = fitted.predict_interval(AHEAD, 0.95, X)
    assert ((inside["lower"] <= future) & (future <= inside["upper"])).sum() >= AHEAD - 1


def test_effects_are_those_of_a_bayesian_linear_model():
    """With no part but the base, the posterior of the effects has a closed form."""
    columns = ["base"]
    y = 3.0 * X["price"][:40] + np.clip(NOISE[:40], -1.5, 1.5)  # no outliers
    forecaster = GPForecaster(None, transform="identity", components=columns, average=False).fit(
        y, X[["price"]]
    )
    found = forecaster.report_.members[0].hyperparameters
    z = (X["price"][:40] - X["price"][:40].mean()) / X["price"][:40].std()
    scale = y.std()
    features = np.column_stack([np.ones(40), z])
    prior = np.diag([found["base variance"], found["regressors variance"]]) / scale**2
    noise = found["noise variance"] / scale**2
    precision = np.linalg.inv(prior) + features.T @ features / noise
    mean = np.linalg.solve(precision, features.T @ ((y - y.mean()) / scale) / noise)
    sd = np.sqrt(np.linalg.inv(precision)[1, 1])
    sizes = np.array([mean[1], sd]) * scale / X["price"][:40].std()
    effect = forecaster.findings().effects["price"]
    np.testing.assert_allclose([effect.mean, effect.sd], sizes, rtol=1e-6)


def test_effects_contain_the_truth(fitted):
    effects = fitted.findings().effects
    for name, truth in (("price", -3.0), ("promotion", 12.0), ("christmas", -30.0), ("new year", 0.0)):
        low, high = effects[name].interval
        assert low < truth < high, name
    assert effects["price"].sd < 0.1


def test_a_holiday_to_come_is_in_the_forecast():
    y = ALL["2021-11-01":"2022-03-01"]
    forecaster = GPForecaster(7, holidays={"fair": ["2021-11-20", "2022-02-01", "2022-03-04"]})
    jumpy = y.copy()
    jumpy[pd.to_datetime(["2021-11-20", "2022-02-01"])] += 60.0
    forecast = forecaster.fit(jumpy, X).predict(5, X)
    without = GPForecaster(7).fit(y, X).predict(5, X)
    assert (forecast - without)["2022-03-04"] == pytest.approx(60.0, abs=8.0)
    assert np.abs(forecast - without).drop(pd.Timestamp("2022-03-04")).max() < 4.0


def test_a_holiday_that_was_never_seen_widens_the_forecast():
    known = GPForecaster(7, holidays={"fair": ["2022-03-25"]}).fit(Y, X)
    width = known.predict_interval(AHEAD, 0.8, X).diff(axis=1)["upper"]
    assert width["2022-03-25"] > 1.2 * width.drop(pd.Timestamp("2022-03-25")).max()
    days = pd.DatetimeIndex(["2022-03-24", "2022-03-25"])
    sd = known.decompose(days, X)["holidays"].diff(axis=1)["lower"][-2:].abs() / 1.959964
    found = known.report_.members[0].hyperparameters["holidays variance"]
    np.testing.assert_allclose(sd, [0.0, found**0.5], rtol=1e-6)
    assert "fair" not in known.findings().effects


def test_arrays_go_with_the_rows_of_the_series(fitted):
    table = X.to_numpy(dtype=float)
    forecaster = GPForecaster(7, holidays=CHRISTMAS).fit(Y, table[:N])
    np.testing.assert_allclose(forecaster.predict(AHEAD, table[N:]), fitted.predict(AHEAD, X), rtol=1e-10)
    shuffled = Y.sample(frac=1.0, random_state=1)
    rows = X.loc[shuffled.index].to_numpy(dtype=float)
    forecaster = GPForecaster(7, holidays=CHRISTMAS).fit(shuffled, rows)
    np.testing.assert_allclose(forecaster.predict(AHEAD, table[N:]), fitted.predict(AHEAD, X), rtol=1e-10)


def test_every_forecast_takes_regressors(fitted):
    later = X[N:]
    assert fitted.sample(AHEAD, 3, X=later).shape == (AHEAD, 3)
    assert len(fitted.predict_quantiles([1, 3], X=later)) == 2
    assert len(fitted.decompose(AHEAD, X)) == N + AHEAD
    assert fitted.plot(AHEAD, X=X, ax=Figure().add_subplot()).get_lines()
    seen = ALL[N:].where(np.arange(AHEAD) != 3)
    assert np.isfinite(fitted.log_predictive_density(seen, X))


@pytest.mark.parametrize(
    "method", ["predict", "sample", "predict_quantiles", "predict_interval", "decompose"]
)
def test_a_future_without_regressors_gets_a_clear_error(fitted, method):
    with pytest.raises(
        InputError, match=r"fitted with X \('price', 'promotion'\), so the forecast needs X at 2022-03-21"
    ):
        getattr(fitted, method)(AHEAD)


def test_regressors_that_the_fit_did_not_have_get_a_clear_error(airline):
    with pytest.raises(InputError, match="the forecaster was fitted without X, and has no use for X now"):
        airline.predict(2, X)
    with pytest.raises(InputError, match="holidays need an index of dates or periods"):
        GPForecaster(holidays=CHRISTMAS).fit([1.0, 2.0, 3.0])


def test_another_unit_of_a_regressor_changes_nothing(fitted):
    other = X.assign(price=1e6 - 1e-3 * X["price"])
    forecaster = GPForecaster(7, holidays=CHRISTMAS).fit(Y, other)
    np.testing.assert_allclose(
        forecaster.predict_quantiles(AHEAD, X=other), fitted.predict_quantiles(AHEAD, X=X), rtol=1e-4
    )


def test_missing_observations_may_lack_regressors():
    y, table = Y.copy(), X.copy().astype(float)
    y.iloc[20:25] = np.nan
    table.iloc[20:25] = np.nan
    forecaster = GPForecaster(7).fit(y, table)
    parts = forecaster.decompose()
    assert parts["fit", "mean"].isna().sum() == 5
    assert parts["season", "mean"].notna().all()
    assert forecaster.predict(AHEAD, X).notna().all()


# parts -----------------------------------------------------------------------------------------


def test_parts_with_regressors_add_up_and_have_bands(fitted):
    table = fitted.decompose(AHEAD, X, coverage=0.5)
    means = table.xs("mean", axis=1, level="bound")
    expected = ["base", "drift", "trend", "level", "season", "memory", "regressors", "holidays", "fit"]
    assert list(means.columns) == expected
    np.testing.assert_allclose(means.drop(columns="fit").sum(axis=1), means["fit"], rtol=1e-9)
    wide = fitted.decompose(AHEAD, X, coverage=0.95)
    for part in expected:
        ratio = (wide[part]["upper"] - wide[part]["mean"]) / (table[part]["upper"] - table[part]["mean"])
        np.testing.assert_allclose(ratio.dropna(), 1.959964 / 0.674490, rtol=1e-5)
        middle = 0.5 * (table[part]["upper"] + table[part]["lower"])
        np.testing.assert_allclose(middle, means[part], rtol=1e-9, atol=1e-9)
    assert means["holidays"]["2021-12-25"] < -20.0
    assert (means["holidays"][means.index.month == 2] == 0.0).all()


def test_bands_of_parts_are_those_of_the_textbook():
    """Posterior of each part from dense matrices of all parts."""
    y = pd.Series(np.sin(np.arange(20.0)) + 0.1 * np.arange(20.0))
    forecaster = GPForecaster(5, transform="identity", average=False).fit(y)
    ensemble, rows = forecaster.ensemble_, np.arange(-19.0, 4.0)[:, None] / 5.0
    table = forecaster.decompose(3)
    structure, point = ensemble.structure, ensemble.points[0]
    scale, centre = ensemble.transforms[0].scale, ensemble.transforms[0].centre
    theta = structure.theta()
    theta.assign(point)
    import torch

    with torch.no_grad():
        x = torch.from_numpy(rows)
        matrices = {
            p.name: k.matrix(x, x).numpy() for p, k in zip(structure.parts, theta.kernel.kernels, strict=True)
        }
    total = sum(matrices.values())
    a = total[:20, :20] + np.exp(point[-1]) * np.eye(20)
    matrices["fit"] = total
    for name in (*ensemble.present, "fit"):
        k = matrices[name]
        mean = scale * k[:, :20] @ np.linalg.solve(a, ensemble.z[:, 0]) + centre * (name in ("base", "fit"))
        sd = scale * np.sqrt(np.diag(k - k[:, :20] @ np.linalg.solve(a, k[:20])))
        np.testing.assert_allclose(table[name]["mean"], mean, atol=1e-7)
        np.testing.assert_allclose((table[name]["upper"] - table[name]["mean"]) / 1.959964, sd, atol=1e-5)


def test_chains_know_the_sums_of_parts_as_well_as_dense_matrices():
    times = np.arange(-59.0, 1.0) / 7.0
    columns = RNG.standard_normal((70, 2))
    x = np.column_stack([times, columns[:60]])
    y = (np.sin(2 * np.pi * times) + x[:, 1] + 0.1 * NOISE[:60])[:, None]
    structure = build_structure(times[0], regressors={"regressors": (1, 2)})
    new = np.column_stack([np.r_[times[[0, 0, 30, 59]], np.arange(1.0, 7.0) / 7.0], columns[60:]])
    groups = [
        ["trend", "level", "base", "drift"],
        ["regressors"],
        ["season", "regressors"],
        structure_names(structure),
        [],
    ]
    point = structure.theta().start
    dense, chains = (kind(structure, x, y).sums(groups, point, 0, new) for kind in (Dense, Chains))
    for (mean, variance), (other_mean, other_variance) in zip(dense, chains, strict=True):
        np.testing.assert_allclose(other_mean, mean, atol=1e-4)
        np.testing.assert_allclose(other_variance, variance, atol=1e-4)


def structure_names(structure):
    return [part.name for part in structure.parts]


def test_a_series_without_a_base_keeps_its_centre():
    y = load_airline()[-40:]
    forecaster = GPForecaster(None, transform="identity", components=["trend"]).fit(y)
    means = forecaster.decompose().xs("mean", axis=1, level="bound")
    assert list(means.columns) == ["base", "trend", "fit"]
    assert means["base"].nunique() == 1
    np.testing.assert_allclose(means["base"] + means["trend"], means["fit"])
    assert np.abs(means["fit"] - y).mean() < 0.9 * np.abs(y - y.mean()).mean()


# words -----------------------------------------------------------------------------------------


def test_the_summary_of_the_airline(airline):
    lines = airline.summary().splitlines()
    assert lines[0] == "passengers: 144 observations, a step is one month, 1949-01 to 1960-12, none missing."
    assert lines[1].startswith("Scale: the logarithm, 10^1")
    assert lines[1].endswith(" times as probable as the series as it is: its swings grow with its level.")
    assert lines[2].startswith("Season: 12 months, certain, 10^5")
    assert "over the last year." in lines[3]
    assert lines[4].startswith("Noise: ")
    assert str(airline.report_) in airline.summary()
    assert "Caution" not in airline.summary()


def test_years_are_counted_as_years_and_structures_are_told_apart_by_their_parts(tmp_path):
    y = pd.Series(100.0 + 3.0 * np.arange(25) + np.random.RandomState(0).standard_normal(25))
    yearly = GPForecaster().fit(y.set_axis(pd.period_range("1999", periods=25, freq="Y")))
    trend = next(line for line in yearly.summary().splitlines() if line.startswith("Trend: "))
    assert trend.endswith(" over the last 3 years.")
    counted = GPForecaster().fit(y).summary()
    assert " over the last 3 steps.\n" in counted
    report = yearly.report_
    assert len(report.members) > len({member.name for member in report.members})
    assert len(set(report.names)) == len(report.members)
    assert all(name in str(report) for name in report.names)
    assert any(name.endswith("identity: base + drift + level") for name in report.names)
    assert all("noise" not in member.parts for member in report.members)
    yearly.save(tmp_path / "years.safetensors")
    assert GPForecaster.load(tmp_path / "years.safetensors").report_ == report


def test_names_of_structures_stay_short_where_they_differ(airline):
    assert airline.report_.names == [member.name for member in airline.report_.members]
    assert "season" in airline.report_.members[0].parts


def test_the_change_of_the_trend_is_that_of_its_parts(airline):
    means = airline.decompose().xs("mean", axis=1, level="bound")[["drift", "trend", "level"]].sum(axis=1)
    trend = airline.findings().trend
    assert trend.mean == pytest.approx(means.iloc[-1] - means.iloc[-13], rel=1e-9)
    assert 0.0 < trend.sd < 0.1  # of each part alone it is larger
    low, high = trend.interval
    year = np.log(load_airline()).groupby(load_airline().index.year).mean().diff().iloc[-1]
    assert low < year < high


def test_the_size_of_the_season_is_that_of_its_part(airline):
    season = airline.decompose()["season", "mean"]
    findings = airline.findings()
    assert findings.swing == pytest.approx((season[-12:].min(), season[-12:].max()), rel=1e-9)
    near = airline.ensemble_.z[:, airline.ensemble_.outputs[0]] * airline.ensemble_.first_transform.scale
    assert findings.share == pytest.approx(season.var(ddof=0) / near.var(), rel=1e-9)


def test_after_an_update_the_end_of_the_longer_series_is_told():
    y = load_airline()
    forecaster = GPForecaster().fit(y[:96]).update(y[96:])
    part = forecaster.decompose().xs("mean", axis=1, level="bound")
    smooth = part[["base", *(name for name in ("drift", "trend", "level") if name in part)]].sum(axis=1)
    findings = forecaster.findings()
    assert findings.trend.mean == pytest.approx(smooth.iloc[-1] - smooth.iloc[-13], rel=1e-6)
    last = part["season"].iloc[-12:]
    assert findings.swing == pytest.approx((last.min(), last.max()), rel=1e-6)


@pytest.mark.parametrize(
    ("index", "span", "steps"),
    [
        (pd.period_range("2000-01", periods=48, freq="M"), "year", 12.0),
        (pd.date_range("2000-01-01", periods=48, freq="QE"), "year", 4.0),
        (pd.date_range("2000-01-01", periods=48, freq="D"), "week", 7.0),
        (pd.date_range("2000-01-01", periods=48, freq="h"), "day", 24.0),
        (pd.RangeIndex(48), "6 steps", 6.0),
    ],
)
def test_the_trend_is_told_over_a_span_that_suits(index, span, steps):
    y = pd.Series(100.0 + 0.5 * np.arange(48.0) + 0.01 * NOISE[:48], index=index)
    forecaster = GPForecaster(None, transform="identity").fit(y)
    findings = forecaster.findings()
    assert findings.span == span
    assert findings.trend.mean == pytest.approx(0.5 * steps, rel=0.05)


def cautions(y, **options):
    return " ".join(GPForecaster(**options).fit(y).findings().cautions)


def test_what_to_distrust_is_said():
    t = np.arange(60.0)
    wave = 10.0 + 3.0 * np.sin(2.0 * np.pi * t / 12.0) + 0.2 * NOISE[:60]
    assert cautions(wave, season=12) == ""
    assert "only 2.1 cycles of the longest season were seen" in cautions(wave[:25], season=12)
    assert "with 5 observations the priors say more than the series" in cautions(wave[:5], season=None)
    assert "40 % of the series is missing" in cautions(np.where(t % 5 < 2, np.nan, wave), season=12)
    shifted = cautions(wave + 30.0 * (t >= 40), season=12)
    assert "the level jumps between 39 and 40" in shifted
    spike = np.where(t == 33, 100.0, wave)
    assert "the observation at 33 is" in cautions(spike, season=12)
    assert "it is taken for an outlier" in cautions(spike, season=12)
    last = np.where(t == 59, 100.0, wave)
    assert "the observation at 59 (the last) is" in cautions(last, season=12)


def test_a_holiday_or_a_regressor_is_no_jump_of_the_level():
    t = np.arange(90)
    y = pd.Series(
        10.0 + np.sin(2.0 * np.pi * t / 7.0) + 0.2 * NOISE[:90], pd.date_range("2024-01-01", periods=90)
    )
    sale = pd.Series((t >= 45).astype(float), y.index, name="sale")
    assert "the level jumps" in " ".join(GPForecaster(7).fit(y + 20.0 * sale).findings().cautions)
    known = GPForecaster(7).fit(y + 20.0 * sale, sale).findings()
    assert "jumps" not in " ".join(known.cautions)
    parts = ["base", "season"]  # no level, no trend
    assert not GPForecaster(7, components=parts).fit(y).findings().cautions


def test_a_search_that_does_not_count_is_not_warned_of(fitted):
    members = fitted.report_.members
    assert members[0].weight > 0.5 > 0.05 > members[-1].weight
    for i, said in ((0, True), (-1, False)):
        lost = [m if m is not members[i] else replace(m, converged=False) for m in members]
        other = GPForecaster(7, holidays=CHRISTMAS).fit(Y, X)
        other.report_ = replace(fitted.report_, members=tuple(lost))
        assert ("not every search" in " ".join(other.findings().cautions)) == said


@pytest.mark.parametrize(
    "y", [[5.0], [5.0, 6.0], [3.0] * 20, np.arange(30.0), [0.0] * 24, [np.nan] * 5 + [2.0]]
)
@pytest.mark.parametrize("season", [None, 4])
def test_a_nasty_series_has_a_summary_and_pictures_too(y, season):
    forecaster = GPForecaster(season).fit(y)
    text = forecaster.summary()
    assert "nan" not in text and "inf" not in text.replace("infin", "")
    axes = forecaster.plot_components(3)
    assert axes[0].get_lines()
    plt.close("all")


# pictures --------------------------------------------------------------------------------------


def test_each_part_has_a_panel_with_bands(fitted):
    axes = fitted.plot_components(AHEAD, X=X)
    titles = [ax.get_title(loc="left") for ax in axes]
    assert titles == ["base + drift + trend + level", "season", "memory", "regressors", "holidays"]
    table = fitted.decompose(AHEAD, X)
    for ax, part in zip(axes[1:], titles[1:], strict=True):
        np.testing.assert_allclose(ax.get_lines()[0].get_ydata(), table[part]["mean"])
        assert len(ax.collections) == 3
        assert ax.get_ylabel() == "sales"
    smooth = table[["base", "drift", "trend", "level"]].xs("mean", axis=1, level="bound").sum(axis=1)
    np.testing.assert_allclose(axes[0].get_lines()[0].get_ydata(), smooth)
    assert axes[-1].get_xlabel() == "time"
    plt.close("all")


def test_the_scale_of_the_panels_is_told(airline):
    axes = airline.plot_components()
    assert {ax.get_ylabel() for ax in axes} == {"log passengers"}
    assert len(axes[0].get_lines()[0].get_xdata()) == 144 + 24
    given = Figure().subplots(len(axes), 1)
    assert airline.plot_components(axes=given)[0] is given[0]
    with pytest.raises(InputError, match=r"axes must be 4, one for each of .* got 2"):
        airline.plot_components(axes=Figure().subplots(2, 1))
    plt.close("all")


@pytest.mark.parametrize("method", ["decompose", "plot_components", "summary", "findings", "default_horizon"])
def test_nothing_is_explained_before_the_fit(method):
    with pytest.raises(NotFittedError, match="This GPForecaster instance is not fitted yet"):
        getattr(GPForecaster(), method)()
