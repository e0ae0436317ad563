"""Many series at once: the numbers of single fits, failures by name, workers, time limits."""

import pickle
import warnings

import joblib
import numpy as np
import pandas as pd
import pytest
import torch
from panel_cases import Choosy, Deadly, Moody, Naive, Shy, Slow, Threads, Warning

from nonparam import GPForecaster
from nonparam.errors import InputError, WorkerLostError
from nonparam.forecasting import FittedPanel

MONTHS = pd.period_range("2020-01", periods=30, freq="M")


def walks(count: int = 6, n: int = 30) -> pd.DataFrame:
    """A wide table of series."""
    steps = np.random.default_rng(0).standard_normal((n, count))
    return pd.DataFrame(50.0 + steps.cumsum(0), index=MONTHS[:n], columns=[f"s{i}" for i in range(count)])


def long(wide: pd.DataFrame) -> pd.DataFrame:
    return wide.rename_axis("ds").melt(ignore_index=False, var_name="unique_id", value_name="y").reset_index()


def assert_same(one: FittedPanel, other: FittedPanel) -> None:
    """To the last bit, but for the seconds."""
    pd.testing.assert_frame_equal(one.predict_quantiles(), other.predict_quantiles(), rtol=0, atol=0)
    pd.testing.assert_frame_equal(one.failures, other.failures)
    reports = [panel.report.drop(columns="seconds") for panel in (one, other)]
    pd.testing.assert_frame_equal(*reports, rtol=0, atol=0)


# the numbers ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def real() -> FittedPanel:
    return GPForecaster().fit_panel(walks(3), fh=4)


def test_forecasts_are_those_of_single_fits(real):
    wide = walks(3)
    table = real.predict_quantiles(alpha=[0.1, 0.5])
    assert table.columns.tolist() == ["unique_id", "ds", 0.1, 0.5] and len(table) == 12
    for name in wide:
        alone = GPForecaster().fit(wide[name])
        rows = table[table["unique_id"] == name].set_index("ds")
        pd.testing.assert_frame_equal(
            rows[[0.1, 0.5]],
            alone.predict_quantiles(4, [0.1, 0.5]),
            check_names=False,
            check_column_type=False,
        )
        assert real[name].predict(4).to_numpy() == pytest.approx(alone.predict(4).to_numpy(), rel=1e-9)
    row = real.report.iloc[-1]
    heaviest = alone.report_.members[0]
    assert (row["structure"], row["weight"]) == (heaviest.name, pytest.approx(heaviest.weight))
    assert (row["observations"], row["missing"], row["structures"]) == (30, 0, len(alone.report_.members))


def mixed() -> dict[str, pd.Series]:
    """More series than a chunk has, of several lengths, frequencies and signs, with gaps, in no order."""
    wide = walks(40, 26)
    series = {name: wide[name][: (26, 17, 26, 5)[i % 4]] for i, name in enumerate(wide)}
    series["s5"] = series["s5"].set_axis(pd.period_range("2020Q1", periods=17, freq="Q"))
    series["s8"] = series["s8"].where(series["s8"].index.month != 4)
    series["s9"] = series["s9"] - 50.0
    series["s10"] = series["s10"].set_axis(pd.date_range("2024-01-01", periods=26) + pd.Timedelta("7h"))
    return series


def test_series_that_are_fitted_together_have_the_forecasts_of_single_fits():
    series = mixed()
    panel = GPForecaster().fit_panel(series, fh=3, alpha=[0.1, 0.5, 0.9])
    later = GPForecaster().fit_panel(series)
    table = panel.predict_quantiles()
    pd.testing.assert_frame_equal(later.predict_quantiles(3), table, rtol=1e-9)
    assert list(panel) == list(series)
    assert panel.report["observations"].tolist() == [y.notna().sum() for y in series.values()]
    for name, y in list(series.items())[:12]:
        alone = GPForecaster().fit(y)
        expected = alone.predict_quantiles(3).to_numpy()
        rows = table[table["unique_id"] == name]
        np.testing.assert_allclose(rows[[0.1, 0.5, 0.9]], expected, rtol=1e-6, atol=1e-6 * y.std())
        assert rows["ds"].tolist() == alone.predict(3).index.tolist()
        np.testing.assert_allclose(later[name].ensemble_.weights, alone.ensemble_.weights, rtol=1e-6)


@pytest.mark.parametrize("kind", [Choosy, Shy])
def test_only_the_guilty_one_of_a_chunk_fails(kind):
    wide, quick = walks(40, 8), {"season": None, "components": ["base", "level"], "average": False}
    wide.loc[wide.index[-1], "s21"] = 13.0
    with pytest.warns(UserWarning, match=r"1 of 40 series failed and are left out: 's21' .ArithmeticError"):
        panel = kind(**quick).fit_panel(wide, 2)
    assert panel.failures["unique_id"].tolist() == ["s21"] and len(panel) == 39
    good = GPForecaster(**quick).fit_panel(wide.drop(columns="s21"), 2)
    pd.testing.assert_frame_equal(panel.predict_quantiles(), good.predict_quantiles(), rtol=1e-6)


def test_a_time_limit_counts_for_each_series():
    wide = walks(2, 12)
    panel = GPForecaster(time_limit=1e-9).fit_panel(wide, 2)
    alone = GPForecaster(time_limit=1e-9).fit(wide["s1"]).predict(2)
    np.testing.assert_allclose(panel.predict()["y"][2:], alone, rtol=1e-9)
    assert not panel.report["converged"].any()


def test_workers_do_not_change_a_bit(real):
    wide = walks(3)
    assert_same(real, GPForecaster(n_jobs=2).fit_panel(wide, fh=4))
    with joblib.parallel_config("threading", n_jobs=3):
        assert_same(real, GPForecaster().fit_panel(wide, fh=4))
    kept = GPForecaster().fit_panel(wide)
    pd.testing.assert_frame_equal(kept.predict_quantiles(4), real.predict_quantiles(), rtol=0, atol=0)


def test_on_a_cluster_of_dask(real):
    distributed = pytest.importorskip("distributed")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the cluster: ports and resources that it does not free at once
        with (
            distributed.LocalCluster(
                n_workers=1, threads_per_worker=2, processes=False, dashboard_address=None
            ) as cluster,
            distributed.Client(cluster),
            joblib.parallel_config("dask"),
        ):
            other = GPForecaster().fit_panel(walks(3), fh=4)
    assert other.failures.empty, other.failures.to_string()
    assert_same(real, other)


# tables -----------------------------------------------------------------------------------------


def test_tables_have_the_names_and_types_of_the_data():
    data = long(walks(3)).rename(columns={"unique_id": "shop", "ds": "month", "y": "sales"})
    data["shop"] = pd.Categorical(data["shop"], categories=["s2", "s1", "s0"])
    panel = Naive().fit_panel(data, 2, id_col="shop", time_col="month", target_col="sales")
    table = panel.predict()
    assert table.columns.tolist() == ["shop", "month", "sales"]
    assert table["shop"].dtype == data["shop"].dtype and table["month"].dtype == data["month"].dtype
    assert table["shop"].tolist() == ["s0", "s0", "s1", "s1", "s2", "s2"]
    assert list(panel) == ["s0", "s1", "s2"] and panel.report["shop"].dtype == data["shop"].dtype
    assert "s1" in panel and panel["s1"].predict(1).name == "s1"


def test_integers_stay_integers():
    panel = Naive().fit_panel(walks(3).set_axis([7, 3, 5], axis=1), 1)
    assert panel.predict()["unique_id"].dtype == np.int64 and panel.predict()["unique_id"].tolist() == [
        7,
        3,
        5,
    ]
    assert panel[3].predict(1).name == 3 and 4 not in panel and "7" not in panel


def test_intervals_are_between_quantiles():
    panel = Naive().fit_panel(walks(2), 3, alpha=[0.1, 0.9, 0.25, 0.75])
    one, two = panel.predict_interval(coverage=0.8), panel.predict_interval(coverage=[0.5, 0.8])
    levels = panel.predict_quantiles(alpha=[0.1, 0.25, 0.75, 0.9])
    assert one.columns.tolist() == ["unique_id", "ds", "lower", "upper"]
    np.testing.assert_array_equal(one[["lower", "upper"]], levels[[0.1, 0.9]])
    np.testing.assert_array_equal(two[0.5], levels[[0.25, 0.75]])
    np.testing.assert_array_equal(two[0.8], one[["lower", "upper"]])
    assert list(two["unique_id"]) == list(one["unique_id"])


def test_series_of_different_lengths_and_times_continue_their_own():
    series = {
        "months": pd.Series(np.arange(9.0), pd.period_range("2024-01", periods=9, freq="M")),
        "days": pd.Series(np.arange(5.0), pd.date_range("2024-03-01", periods=5)),
        "zone": pd.Series(np.arange(5.0), pd.date_range("2024-03-01", periods=5, tz="Asia/Tokyo")),
        "numbers": pd.Series(np.arange(4.0), [10, 20, 30, 40]),
        "array": np.arange(3.0),
        "one": pd.Series([3.0], pd.DatetimeIndex(["2024-05-01"])),
    }
    panel = Naive().fit_panel(series, fh=2)
    table = panel.predict()
    expected = [Naive().fit(y).predict_quantiles(2).index for y in series.values()]
    assert table["ds"].tolist() == [time for index in expected for time in index]
    assert panel.report["observations"].tolist() == [9, 5, 5, 4, 3, 1]


def test_a_panel_without_a_horizon_forecasts_any():
    panel = Naive().fit_panel(walks(2))
    assert panel.predict(3)["ds"].tolist() == 2 * list(pd.period_range("2022-07", periods=3, freq="M"))
    assert panel.predict([2])["ds"].tolist() == 2 * [pd.Period("2022-08", "M")]
    future = pd.period_range("2023-01", periods=1, freq="M")
    assert panel.predict(future)["ds"].tolist() == 2 * list(future)
    with pytest.raises(InputError, match="fh must be given, as in predict"):
        panel.predict()
    with pytest.raises(
        InputError, match=r"none of the 2 series could be forecast; the first is 's0'.*fh must be"
    ):
        panel.predict(0)


def test_a_panel_with_a_horizon_keeps_that_one():
    panel = Naive().fit_panel(walks(2), fh=[1, 3])
    pd.testing.assert_frame_equal(panel.predict([1, 3]), panel.predict())
    with pytest.raises(InputError, match=r"forecasts were kept for fh=\[1, 3\] and its regressors, got 2"):
        panel.predict(2)
    with pytest.raises(InputError, match=r"quantiles were kept at \[0.025, .*choose among them"):
        panel.predict_quantiles(alpha=0.3)
    with pytest.raises(InputError, match="must lie strictly between 0 and 1"):
        panel.predict_quantiles(alpha=1.5)
    future = pd.period_range("2022-07", periods=2, freq="M")
    by_times = Naive().fit_panel(walks(2), fh=future)
    pd.testing.assert_frame_equal(by_times.predict(future), by_times.predict())
    with pytest.raises(InputError, match="forecasts were kept for"):
        by_times.predict([1, 2])


def test_regressors_reach_their_series():
    data = long(walks(2)).assign(price=1.0)
    X = pd.DataFrame({"unique_id": ["s1", "s0"], "ds": [pd.Period("2022-07", "M")] * 2, "price": [1.0, 2.0]})
    last = walks(2).iloc[-1]
    at_once = Naive().fit_panel(data, 1, X=X).predict()["y"]
    later = Naive().fit_panel(data).predict(1, X)["y"]
    np.testing.assert_allclose(at_once, [last["s0"] + 20.0, last["s1"] + 10.0])
    np.testing.assert_array_equal(at_once, later)
    with pytest.raises(InputError, match="X holds regressors, and the series were fitted without any"):
        Naive().fit_panel(walks(2), 1, X=X)


def test_it_can_be_pickled(real):
    assert_same(real, pickle.loads(pickle.dumps(real)))


def test_the_forecaster_stays_as_it_was():
    forecaster = GPForecaster(transform="identity", random_state=3)
    before, wide = forecaster.get_params(), walks(2, 12)
    copy = wide.copy()
    panel = forecaster.fit_panel(wide)
    assert forecaster.get_params() == before and not hasattr(forecaster, "report_")
    assert panel["s0"].get_params() == before and panel["s0"] is not panel["s1"]
    pd.testing.assert_frame_equal(wide, copy)


# failures ---------------------------------------------------------------------------------------


def test_failures_have_names_and_hinder_no_other():
    data = long(walks(4))
    data.loc[data["unique_id"] == "s1", "y"] = np.nan
    data.loc[data["unique_id"] == "s2", "ds"] = MONTHS[0]
    with pytest.warns(
        UserWarning, match=r"2 of 4 series failed and are left out: 's1' .InputError: y has no obs"
    ):
        panel = Naive().fit_panel(data, 2)
    assert panel.failures["unique_id"].tolist() == ["s1", "s2"]
    assert panel.failures["error"].tolist() == ["InputError", "InputError"]
    assert "y has several values at 2020-01" in panel.failures["message"][1]
    assert panel.predict()["unique_id"].tolist() == ["s0", "s0", "s3", "s3"]
    assert list(panel) == ["s0", "s3"] == panel.report["unique_id"].tolist()
    assert (len(panel), repr(panel)) == (2, "FittedPanel(2 series fitted, 2 failed)")
    assert "s1" not in panel and list(panel.ids) == ["s0", "s1", "s2", "s3"]
    with pytest.raises(InputError, match="the series 's1' failed, with InputError: y has no observation"):
        panel["s1"]
    for absent in ("s9", None, ["s0"], slice(None), 0, {}):
        with pytest.raises(InputError, match="there is no series"):
            panel[absent]
        assert absent not in panel


def test_nasty_series_among_good_ones():
    wide = walks(2)
    series = {
        "good": wide["s0"],
        "constant": wide["s0"] * 0.0 + 3.0,
        "one": wide["s1"][:1],
        "two": wide["s1"][:2],
    }
    series |= {"empty": wide["s0"] * np.nan, "zeros": wide["s0"] * 0.0, "infinite": wide["s0"] * np.inf}
    with pytest.warns(UserWarning, match="2 of 7 series failed"):
        panel = GPForecaster().fit_panel(series, 2)
    assert panel.failures["unique_id"].tolist() == ["empty", "infinite"]
    table = panel.predict_quantiles()
    assert np.isfinite(table[[0.1, 0.5, 0.9]].to_numpy()).all()
    assert (np.diff(table[[0.1, 0.5, 0.9]]) >= 0.0).all()


def test_any_error_of_a_fit_is_reported():
    wide = walks(4).set_axis(["good", "raises", "interrupts", "predicts badly"], axis=1)
    with pytest.warns(UserWarning, match="3 of 4 series failed"):
        at_once = Moody().fit_panel(wide, 2)
    assert at_once.failures["error"].tolist() == ["ZeroDivisionError", "MemoryError", "RuntimeError"]
    with pytest.warns(UserWarning, match="2 of 4 series failed"):
        kept = Moody().fit_panel(wide)
    with pytest.warns(
        UserWarning, match="1 of 2 series failed and are left out: 'predicts badly' .RuntimeErr"
    ):
        assert kept.predict(2)["unique_id"].tolist() == ["good", "good"]


def test_long_lists_of_failures_are_cut():
    wide = pd.concat([walks(1), walks(8).rename(columns=str.upper) * np.nan], axis=1)
    with pytest.warns(UserWarning) as caught:
        Naive().fit_panel(wide, 1)
    assert len(caught) == 1 and "'S4'" in str(caught[0].message) and "'S5'" not in str(caught[0].message)
    assert str(caught[0].message).endswith("; ...") and caught[0].filename == __file__


def test_when_all_fail_the_first_says_why():
    with pytest.raises(
        InputError, match=r"none of the 2 series could be forecast; the first is 's0' .InputErr"
    ):
        Naive().fit_panel(walks(2) * np.nan)


@pytest.mark.parametrize("backend", ["loky", "threading"])
def test_warnings_become_remarks_of_their_series(backend):
    before = warnings.showwarning, list(warnings.filters)
    with joblib.parallel_config(backend, n_jobs=2):
        panel = Warning().fit_panel(walks(40), 1)
    assert panel.report["remarks"].tolist() == [f"beware of s{i}" for i in range(40)]
    assert (warnings.showwarning, list(warnings.filters)) == before


@pytest.mark.parametrize("backend", ["loky", "threading"])
@pytest.mark.parametrize("n_jobs", [1, 2])
def test_every_series_has_one_thread_however_long_it_is(backend, n_jobs):
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with joblib.parallel_config(backend, n_jobs=n_jobs):
            panel = Threads().fit_panel({"long": np.arange(5000.0), "short": np.arange(5.0)})
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert panel.report["remarks"].tolist() == ["threads [1]"] * 2


# limits and arguments ---------------------------------------------------------------------------


def test_series_that_were_not_reached_are_named():
    wide = walks(12)
    with pytest.warns(
        UserWarning, match=r"of 12 series failed.*TimeoutError: not reached within time_limit=0.3"
    ):
        panel = Slow().fit_panel(wide, 1, time_limit=0.3)
    assert 1 <= len(panel) < 12 and len(panel) + len(panel.failures) == 12
    assert list(panel) == list(wide.columns[: len(panel)])
    assert set(panel.failures["error"]) == {"TimeoutError"}
    with pytest.raises(
        InputError, match=r"none of the 12 series .* not reached within time_limit=1e-09 seconds"
    ):
        Slow().fit_panel(wide, 1, time_limit=1e-9)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"time_limit": 0}, "time_limit must be a positive number of seconds or None, got 0"),
        ({"time_limit": "1 h"}, "time_limit must be"),
        ({"time_limit": np.nan}, "time_limit must be"),
        ({"fh": 0}, "fh must be a number of steps"),
        ({"fh": "12"}, "fh must be a number of steps"),
        ({"fh": 2, "alpha": [0.5, 1.0]}, "must lie strictly between 0 and 1"),
        ({"store": "folder"}, "store= and X= belong to a forecast: give its horizon too"),
        ({"X": 3}, "store= and X= belong to a forecast"),
        ({"verbose": "yes"}, "verbose must be an integer"),
    ],
)
def test_arguments_are_checked_before_the_work(arguments, message):
    with pytest.raises(InputError, match=message):
        Deadly().fit_panel(walks(2), **arguments)


@pytest.mark.parametrize("n_jobs", [0, 1.5, "two", True])
def test_the_number_of_jobs_is_checked(n_jobs):
    with pytest.raises(InputError, match="n_jobs must"):
        Deadly(n_jobs=n_jobs).fit_panel(walks(2))


def test_progress_is_shown_when_asked_for(capsys):
    Naive().fit_panel(walks(20), 1)
    assert capsys.readouterr().out == ""
    Naive().fit_panel(walks(20), 1, verbose=1)
    lines = capsys.readouterr().out.splitlines()
    assert lines == [f"{i} of 20 series" for i in range(2, 21, 2)]


# last, for it ends the workers


def test_a_worker_that_ends_is_told():
    with pytest.raises(WorkerLostError, match="has ended, often for lack of memory: take fewer"):
        Deadly(n_jobs=2).fit_panel(walks(2))
