"""Rolling origins: what each forecast was made of, how it is scored, and no look into the future."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm
from sklearn.base import BaseEstimator

from nonparam import GPForecaster
from nonparam.errors import InputError
from nonparam.forecasting.backtest import LEVELS, Backtest, backtest
from nonparam.forecasting.metrics import coverage, mase, msis, scaled_crps

RNG = np.random.default_rng(0)
MIDPOINTS = (np.arange(100) + 0.5) / 100.0


class Naive(BaseEstimator):
    """The last observation, give or take; it keeps what it was given."""

    def __init__(self, sd: float = 2.0, season: object = None) -> None:
        self.sd = sd
        self.season = season

    def fit(self, y, X=None):
        self.y_, self.X_, self.fits_ = y, X, 1
        return self

    def update(self, y_new, X=None, refit=True):
        assert not refit
        self.y_ = pd.concat([self.y_, y_new])
        return self

    def predict_quantiles(self, fh, alpha, X=None):
        last = self.y_.dropna().iloc[-1]
        add = 0.0 if X is None else X.iloc[:, 0].to_numpy()[:, None]
        return pd.DataFrame(
            last + add + self.sd * norm.ppf(alpha) * np.ones((len(fh), 1)), index=fh, columns=alpha
        )


def walk(n=60, index=None):
    return pd.Series(np.cumsum(np.random.default_rng(1).normal(size=n)), index=index, name="walk")


# by a plain loop ------------------------------------------------------------------------------


def test_table_and_summary_by_a_plain_loop():
    y, sd, m = walk(), 1.5, 4
    report = backtest(Naive(sd, season=m), y, 3, initial=40, step=6)
    origins = [40, 46, 52]
    assert report.origins == 3 and report.m == m
    expected = [(o - 1, k) for o in origins for k in (1, 2, 3)]
    assert report.table.index.tolist() == expected
    scores = []
    for o in origins:
        training, actual = y[:o].to_numpy(), y[o : o + 3].to_numpy()
        table = training[-1] + sd * np.tile(norm.ppf(MIDPOINTS), (3, 1))
        bounds = training[-1] + sd * norm.ppf([0.025, 0.1, 0.9, 0.975])[:, None] * np.ones(3)
        rows = report.table.loc[o - 1]
        np.testing.assert_allclose(rows[["lower95", "lower80", "upper80", "upper95"]], bounds.T, rtol=1e-12)
        assert rows["actual"].tolist() == actual.tolist() and (rows["median"] == training[-1]).all()
        assert rows["time"].tolist() == [o, o + 1, o + 2]
        scores.append(
            [
                mase(actual, np.full(3, training[-1]), training, m),
                scaled_crps(actual, table, MIDPOINTS, training, m),
                msis(actual, bounds[0], bounds[3], training, m),
                coverage(actual, bounds[1], bounds[2]),
                coverage(actual, bounds[0], bounds[3]),
            ]
        )
    whole = report.summary().loc["all"]
    assert whole["count"] == 9
    np.testing.assert_allclose(whole.iloc[1:].astype(float), np.mean(scores, axis=0), rtol=1e-12)
    second = report.table.xs(2, level="horizon")
    assert report.by_horizon().at[2, "MASE"] == pytest.approx(second["scaled_error"].mean())
    assert report.by_horizon()["count"].tolist() == [3, 3, 3]
    assert report.summary().index.tolist() == [1, 2, 3, "all"]


def test_true_intervals_cover_as_they_say():
    rng = np.random.default_rng(2)
    y = pd.Series(rng.normal(size=2000))

    class Truth(Naive):
        def predict_quantiles(self, fh, alpha, X=None):
            return pd.DataFrame(np.tile(norm.ppf(alpha), (len(fh), 1)), index=fh, columns=alpha)

    whole = backtest(Truth(), y, 1, initial=100, step=1).summary().loc["all"]
    assert whole["count"] == 1900
    assert whole["coverage 80 %"] == pytest.approx(0.8, abs=0.028)  # 3 standard errors
    assert whole["coverage 95 %"] == pytest.approx(0.95, abs=0.015)
    scale = np.mean(np.abs(np.diff(y)))
    assert whole["scaled CRPS"] == pytest.approx(1.0 / np.sqrt(np.pi) / scale, rel=0.04)


def test_chosen_horizons_only():
    report = backtest(Naive(), walk(), [5, 2], initial=50, step=1)
    assert report.by_horizon().index.tolist() == [2, 5]
    assert report.table.xs(5, level="horizon")["time"].tolist() == [54, 55, 56, 57, 58, 59]


def test_the_method_is_the_function():
    y, forecaster = walk(24) + 10.0, GPForecaster(season=None)
    ours, function = forecaster.backtest(y, 2, 20, 2), backtest(forecaster, y, 2, 20, 2)
    pd.testing.assert_frame_equal(ours.table, function.table)
    assert not hasattr(forecaster, "members_")


# no look ahead --------------------------------------------------------------------------------


@pytest.mark.parametrize("later", ["nan", "changed"])
@pytest.mark.parametrize("forecaster", [Naive(), GPForecaster(season=4)])
def test_a_forecast_does_not_know_what_comes_later(forecaster, later):
    y = walk(30) + 10.0
    other = y.copy()
    other[24:] = np.nan if later == "nan" else 1e3
    forecasts = ["median", "lower80", "upper80", "lower95", "upper95"]
    first, second = (backtest(forecaster, s, 2, initial=20, step=2).table for s in (y, other))
    origins = [19, 21]  # the next ones are asked for what was changed
    assert first.loc[origins, forecasts].equals(second.loc[origins, forecasts])
    assert first.loc[origins].equals(second.loc[origins])


def test_each_origin_is_given_what_came_before_it():
    seen = []

    class Spy(Naive):
        def fit(self, y, X=None):
            seen.append((len(y), y.index[-1]))
            return super().fit(y, X)

    forecaster = Spy()
    backtest(forecaster, walk(20), 4, initial=10, step=3)
    assert seen == [(10, 9), (13, 12), (16, 15)]
    assert not hasattr(forecaster, "y_")  # it was cloned


def test_without_refitting_the_forecaster_is_updated():
    fits = []

    class Spy(Naive):
        def fit(self, y, X=None):
            fits.append(len(y))
            return super().fit(y, X)

    y = walk(20)
    kept, anew = (backtest(Spy(), y, 4, initial=10, step=3, refit=refit) for refit in (False, True))
    assert fits == [10, 10, 13, 16]
    pd.testing.assert_frame_equal(kept.table, anew.table)


def test_regressors_of_training_and_future():
    y = walk(20)
    X = pd.DataFrame({"x": np.arange(20.0)}).sample(frac=1.0, random_state=0)  # in any order
    table = backtest(Naive(), y, 2, initial=10, step=4, X=X).table
    plain = backtest(Naive(), y, 2, initial=10, step=4).table
    np.testing.assert_allclose(table["median"] - plain["median"], table["time"].astype(float))


# times ----------------------------------------------------------------------------------------


INDEXES = {
    "periods": pd.period_range("2000-01", periods=60, freq="M"),
    "dates": pd.date_range("2000-01-31", periods=60, freq="ME"),
    "no frequency": pd.DatetimeIndex(pd.date_range("2000-01-31", periods=60, freq="ME").to_numpy()),
    "time zone": pd.date_range("2000-01-01", periods=60, freq="h", tz="Europe/Paris"),
    "integers": pd.Index(np.arange(100, 220, 2)),
}


@pytest.mark.parametrize("name", INDEXES)
def test_any_index(name):
    index = INDEXES[name]
    report = backtest(Naive(), walk(index=index), 3, initial=40, step=6)
    origins = report.table.index.get_level_values("origin")
    assert origins.unique().tolist() == [index[39], index[45], index[51]]
    assert report.table["time"].tolist() == [index[o + k] for o in (39, 45, 51) for k in (1, 2, 3)]


def test_the_season_is_that_of_the_index():
    for index, m in (("periods", 12), ("time zone", 24)):
        assert backtest(GPNaive(), walk(index=INDEXES[index]), 3).m == m
    assert backtest(Naive(season=[24, 7.2]), walk(), 3).m == 7
    assert backtest(Naive(season=None), walk(), 3).m == 1
    assert backtest(Naive(season=12), walk(), 3, m=5).m == 5


class GPNaive(Naive):
    def __init__(self, sd: float = 2.0, season: object = "auto") -> None:
        super().__init__(sd, season)


def test_absent_stamps_keep_their_steps():
    full = walk(index=INDEXES["periods"])
    gone = full.drop(full.index[[30, 42, 47]])
    blank = full.copy()
    blank.iloc[[30, 42, 47]] = np.nan
    first, second = (backtest(Naive(season=12), y, 3, initial=41, step=6) for y in (gone, blank))
    assert first.table.reset_index(drop=True).equals(second.table.reset_index(drop=True))
    assert first.summary().equals(second.summary())
    assert first.by_horizon()["count"].tolist() == [2, 2, 3]  # steps 42 and 47: horizons 2 and 1
    assert first.table["time"].tolist() == [full.index[i] for i in (41, 43, 48, 49, 53, 54, 55)]


def test_unordered_and_irregular_times():
    times = np.sort(np.random.default_rng(3).uniform(0.0, 100.0, 40))
    y = pd.Series(np.arange(40.0), index=times)
    first, second = (
        backtest(Naive(), s, 2, initial=30, step=4) for s in (y, y.sample(frac=1.0, random_state=0))
    )
    assert first.table.equals(second.table)
    assert first.table["time"].tolist() == [times[i] for i in (30, 31, 34, 35, 38, 39)]


# defaults -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("n", "fh", "initial", "step", "expected"),
    [
        (144, 12, None, None, [84, 96, 108, 120, 132]),
        (60, 12, None, None, [32, 36, 40, 44, 48]),  # half of it for training
        (20, 8, None, None, [8, 9, 10, 11, 12]),
        (10, 7, None, None, [2, 3]),
        (30, 4, 20, None, [20, 21, 22, 23, 24, 25, 26]),
        (100, 4, 20, None, list(range(20, 97, 4))),
        (30, 4, None, 10, [6, 16, 26]),
        (30, 4, 26, 1, [26]),
    ],
)
def test_origins(n, fh, initial, step, expected):
    report = backtest(Naive(), walk(n), fh, initial, step)
    assert [last + 1 for last in report.table.index.get_level_values("origin").unique()] == expected
    assert report.origins == len(expected)


def test_levels_hold_what_the_scores_need():
    assert np.isin(MIDPOINTS, LEVELS).all() and np.isin([0.025, 0.1, 0.5, 0.9, 0.975], LEVELS).all()


# reports --------------------------------------------------------------------------------------


def test_constant_training_has_no_scale():
    y = pd.Series([3.0] * 20 + [4.0] * 4)
    whole = backtest(Naive(), y, 2, initial=18, step=2).summary().loc["all"]
    assert whole["coverage 95 %"] == 1.0  # 4 is within 3 give or take 3.9
    frozen = backtest(Naive(), y[:20], 2, initial=10, step=2)
    assert frozen.summary()["MASE"].isna().all() and "NaN" in str(frozen)


def test_print():
    text = str(backtest(Naive(season=4), walk(index=INDEXES["periods"]), 3, initial=40, step=6))
    first, *table = text.splitlines()
    assert first.startswith("3 origins from 2003-04 to 2004-04, 9 forecasts in ")
    assert first.endswith("errors are scaled by differences 4 steps apart")
    assert len(table) == 6 and "coverage 80 %" in table[0] and table[-1].startswith("all")


def test_print_of_days_has_no_hours():
    y = walk(index=pd.date_range("2020-01-01", periods=60))
    first = str(backtest(Naive(season=None), y, 3, initial=40, step=6)).splitlines()[0]
    assert first.startswith("3 origins from 2020-02-09 to 2020-02-21, ")
    assert first.endswith("errors are scaled by differences 1 step apart")


def test_report_is_frozen():
    report = backtest(Naive(), walk(), 3)
    assert isinstance(report, Backtest)
    with pytest.raises(AttributeError, match="cannot assign"):
        report.m = 2


# errors ---------------------------------------------------------------------------------------


class NoUpdate(BaseEstimator):
    def fit(self, y):
        raise AssertionError("not to be called")

    def predict_quantiles(self, fh, alpha):
        raise AssertionError("not to be called")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: backtest(Naive(), walk(10), 9),
            "at least 11 steps, 2 before the first origin and 9 to forecast",
        ),
        (lambda: backtest(Naive(), walk(10), 4, 7), "at least 11 steps, .* shorter horizon or initial"),
        (lambda: backtest(Naive(), walk(10), 0), "must be a number of steps"),
        (lambda: backtest(Naive(), walk(10), walk(3).index), "fh must be a number of steps or a list"),
        (lambda: backtest(Naive(), walk(10), 2, 1), "initial must be an integer, at least 2; got 1"),
        (lambda: backtest(Naive(), walk(10), 2, 4.0), "initial must be an integer"),
        (lambda: backtest(Naive(), walk(10), 2, 4, 0), "step must be an integer, at least 1"),
        (lambda: backtest(Naive(), walk(10), 2, m=0), "m must be an integer, at least 1"),
        (lambda: backtest(Naive(), pd.Series([1.0] * 5 + [np.nan] * 5), 5, 5), "all observations after"),
        (lambda: backtest(Naive(), "text", 2), "y must be one series"),
        (lambda: backtest(object(), walk(10), 2), "no get_params, fit, predict_quantiles"),
        (lambda: backtest(Naive, walk(10), 2), "expected a forecaster, got the class Naive: make one"),
        (lambda: backtest(Naive(), walk(10), 2, refit="no"), "refit must be one of"),
        (lambda: backtest(GPForecaster(season=[]), walk(10), 2), "season must name each cycle once, got"),
        (lambda: backtest(NoUpdate(), walk(10), 2, refit=False), "no update; with refit=True none needs"),
        (lambda: backtest(Naive(), walk(10), 2, X=np.ones((10, 1))), "X must be a table with the index of y"),
        (lambda: backtest(Naive(), walk(10), 2, X=pd.DataFrame({"x": np.ones(9)})), "got none for 9"),
        (
            lambda: backtest(Naive(), walk(10), 2, X=pd.DataFrame({"x": np.ones(11)}, index=[*range(10), 9])),
            "got several for one time",
        ),
    ],
)
def test_one_clear_error(call, message):
    with pytest.raises(InputError, match=message):
        call()


def test_the_method_hands_regressors_on():
    rng = np.random.RandomState(0)
    X = pd.DataFrame({"x": rng.standard_normal(50)})
    y = 5.0 * X["x"] + 0.1 * rng.standard_normal(50)
    forecaster = GPForecaster(None, transform="identity", components=["base"])
    ours = forecaster.backtest(y, 2, 40, 4, X).table
    pd.testing.assert_frame_equal(ours, backtest(forecaster, y, 2, 40, 4, X).table)
    blind = forecaster.backtest(y, 2, 40, 4)
    assert (
        forecaster.backtest(y, 2, 40, 4, X).summary().loc["all", "MASE"]
        < 0.2 * blind.summary().loc["all", "MASE"]
    )
