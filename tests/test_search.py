"""The search over kernels as an estimator: what it finds, that it repeats, how it stops, what it refuses."""

import contextlib
import os
import pickle
import re
import signal
import subprocess
import sys
import warnings

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, DataConversionWarning, NotFittedError
from sklearn.model_selection import cross_val_score

from nonparam import GPRegressor, KernelSearch, SpectralMixtureRegressor
from nonparam.errors import InputError
from nonparam.kernels.composition import parts_of
from nonparam.model_selection import beam as beam_module
from nonparam.model_selection import loo
from nonparam.model_selection.candidates import CRITERIA
from nonparam.model_selection.search import BASE_KERNELS

RNG = np.random.default_rng(0)
T = np.arange(48.0)[:, None]
Y = 0.5 * T[:, 0] + 4.0 * np.sin(2 * np.pi * T[:, 0] / 12.0) + RNG.standard_normal(48)
FEW = ("linear", "periodic")
NEW = np.arange(48.0, 56.0)[:, None]


def search(estimator=None, **changes):
    """A search that takes a second."""
    return KernelSearch(
        estimator, **({"base_kernels": FEW, "max_depth": 2, "beam": 1, "random_state": 0} | changes)
    )


@pytest.fixture(scope="module")
def found():
    return search().fit(T, Y)


# what it finds --------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(6))
def test_a_wave_has_its_period_and_no_multiple_of_it(seed):
    """What repeats after 9 repeats after 18 and 27 too; among irregular rows these came first."""
    rng = np.random.default_rng(seed)
    x = np.sort(rng.uniform(0.0, 100.0, 80))[:, None]
    y = np.sin(2 * np.pi * x[:, 0] / 9.0) + 0.1 * rng.standard_normal(80)
    found = search().fit(x, y)
    assert found.best_expression_ == "periodic"
    (scaled,) = [part for part in found.best_estimator_.kernel_.modules() if hasattr(part, "period")]
    assert scaled.period.item() == pytest.approx(9.0, rel=0.01)


def test_an_abrupt_step_is_a_change_between_two_rows():
    y = np.where(T[:, 0] < 30.0, 1.0, 3.0) + 0.3 * RNG.standard_normal(48)
    found = search(base_kernels=BASE_KERNELS, max_depth=2).fit(T, y)
    assert found.best_expression_ == "changepoint(constant, constant)"
    change = found.best_estimator_.kernel_
    assert 29.0 <= change.location.item() <= 30.0
    assert change.width.item() < 0.7
    assert re.search(r"up to 29(\.\d+)?: a constant; beyond it: a constant", found.describe())


def test_a_wave_beside_a_level_is_two_terms():
    """A product with ``constant + periodic`` is a trend and a season, and not a season alone."""
    season = GPRegressor("(constant + periodic(period=12, zero_mean=True)) * rbf(40)", n_restarts=0).fit(T, Y)
    assert [repr(part).count("periodic") for part in parts_of(season.kernel_, 1)] == [0, 1]


def test_terms_of_one_name_are_told_apart_and_add_up():
    t = np.arange(80.0)
    y = np.sin(t / 2.0) + 10.0 * np.sin(t / 25.0) + 0.05 * RNG.standard_normal(80)
    found = search(base_kernels=["rbf", "rbf"]).fit(t[:, None], y)
    parts = found.components(t[:, None])
    assert list(parts) == ["rbf", "rbf (2)"]
    total = sum(mean for mean, _ in parts.values()) + y.mean()
    assert np.ptp(found.predict(t[:, None]) - total) < 1e-6
    assert len(found.plot()) == 3


@pytest.mark.parametrize("criterion", ["loo", "clml"])
def test_criteria_with_a_noise_that_is_known(criterion):
    found = search(GPRegressor(noise=1.0), criterion=criterion, max_depth=1).fit(T, Y)
    assert np.isfinite(found.best_score_)


@pytest.mark.parametrize("criterion", CRITERIA)
def test_every_criterion_finds_the_line_and_the_season(criterion):
    found = search(criterion=criterion).fit(T, Y)
    assert found.best_expression_ == "linear + periodic"
    assert found.best_score_ == found.results_["criterion"].max()
    season = 4.0 * np.sin(2 * np.pi * NEW[:, 0] / 12.0)
    np.testing.assert_allclose(found.predict(NEW), 0.5 * NEW[:, 0] + season, atol=1.5)


def test_the_table_holds_what_its_columns_say(found):
    table = found.results_
    assert list(table.columns) == [
        *(
            "formula",
            "criterion",
            "bic",
            "log_marginal_likelihood",
            "num_hyperparameters",
            "seconds",
            "depth",
        ),
    ]
    assert table["formula"].is_unique and table["formula"][0] == found.best_expression_
    periods = table["formula"].str.count("periodic")  # each counts for three
    penalty = 0.5 * (table["num_hyperparameters"] + 2 * periods) * np.log(48)
    np.testing.assert_allclose(table["bic"], table["log_marginal_likelihood"] - penalty)
    judged = table.dropna()
    np.testing.assert_allclose(judged["criterion"], judged["bic"])
    assert judged["criterion"].is_monotonic_decreasing
    assert table["depth"].min() == 0 and table["depth"].max() == 2


def test_the_score_of_loo_is_that_of_the_best_estimator():
    found = search(criterion="loo").fit(T, Y)
    best = found.best_estimator_
    value = len(Y) * (loo(best).value + np.log(best.y_scale_[0]))
    assert found.best_score_ == pytest.approx(value, abs=0.05)  # the last fit goes on to a finer tolerance


def test_the_estimators_own_arguments_count():
    estimator = GPRegressor(noise=1.0, mean="linear")
    found = search(estimator=estimator).fit(T, Y)
    assert found.best_estimator_.noise_ == 1.0 and found.best_estimator_.mean == "linear"
    assert found.best_expression_ == "periodic"  # the mean has the line
    assert estimator.kernel == "matern52" and not hasattr(estimator, "kernel_")


def test_several_columns():
    x = np.random.default_rng(1).uniform(-2.0, 2.0, (60, 2))
    y = 3.0 * x[:, 0] + np.sin(3.0 * x[:, 1]) + 0.1 * np.random.default_rng(2).standard_normal(60)
    found = search(base_kernels=("linear", "rbf"), max_depth=2).fit(x, y)
    assert found.best_expression_ == "linear(active_dims=(0,)) + rbf(active_dims=(1,))"
    text = found.describe()
    assert "a linear trend of column 0, rising by " in text and " of column 1 that changes over" in text
    with pytest.raises(InputError, match="plot draws searches with one input, and this one has 2"):
        found.plot()


def test_a_jump_is_a_change_point():
    x = np.arange(60.0)[:, None]
    y = np.where(x[:, 0] < 37.5, 0.0, 5.0) + 0.3 * np.random.default_rng(3).standard_normal(60)
    found = search(base_kernels=("constant", "linear", "changepoint"), max_depth=1).fit(x, y)
    assert found.best_expression_ == "changepoint(constant, constant)"
    assert "up to 37." in found.describe()


def test_the_place_of_a_change_counts_for_two_hyperparameters():
    table = search(base_kernels=("constant", "changepoint"), max_depth=1).fit(T, Y).results_
    changed = table[table["formula"].str.startswith("changepoint")].iloc[0]
    penalty = 0.5 * (changed["num_hyperparameters"] + 1) * np.log(48)
    assert changed["bic"] == pytest.approx(changed["log_marginal_likelihood"] - penalty)


def test_noise_alone_has_no_structure():
    y = np.random.default_rng(4).standard_normal(48)
    found = search(base_kernels=("linear", "rbf", "periodic")).fit(T, y)
    assert found.best_expression_ == "constant"
    assert found.describe().splitlines()[1] == "- a constant,"


# that it repeats ------------------------------------------------------------------------------


@pytest.mark.parametrize(("backend", "n_jobs"), [("loky", 2), ("threading", 3)])
def test_the_result_does_not_depend_on_the_number_of_jobs(found, backend, n_jobs):
    with joblib.parallel_config(backend):
        other = search(n_jobs=n_jobs).fit(T, Y)
    assert_same(found, other)


def test_on_a_cluster_of_dask(found):
    distributed = pytest.importorskip("distributed")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the cluster: ports and resources that it does not free at once
        with (
            distributed.LocalCluster(
                n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None
            ) as cluster,
            distributed.Client(cluster),
            joblib.parallel_config("dask"),
        ):
            other = search().fit(T, Y)
    assert_same(found, other)


def assert_same(one, other):
    assert one.best_kernel_ == other.best_kernel_
    columns = ["formula", "bic", "depth"]
    pd.testing.assert_frame_equal(one.results_[columns], other.results_[columns])


def test_the_seed_decides_what_is_random():
    first, again = (search(criterion="clml", max_depth=1, max_rows=30).fit(T, Y).results_ for _ in range(2))
    pd.testing.assert_frame_equal(first.drop(columns="seconds"), again.drop(columns="seconds"))
    other = search(criterion="clml", max_depth=1, max_rows=30, random_state=1).fit(T, Y).results_
    assert not first["bic"].equals(other["bic"])


def test_more_rows_than_are_compared(found):
    few = search(max_rows=40).fit(T, Y)
    assert len(few.best_estimator_.posterior_.data.x) == 48
    assert few.best_expression_ == found.best_expression_


# how it stops ---------------------------------------------------------------------------------


def test_a_spent_budget_gives_the_best_so_far(monkeypatch):
    clock = iter(np.arange(0.0, 1e4, 1.0))
    monkeypatch.setattr(beam_module.time, "monotonic", lambda: next(clock))
    with pytest.warns(ConvergenceWarning, match=r"its budget of 6 s ended the search at depth \d") as caught:
        stopped = search(budget_seconds=6.0).fit(T, Y)
    assert len(caught) == 1
    assert np.isfinite(stopped.predict(NEW)).all() and stopped.best_expression_ in caught[0].message.args[0]


def test_a_budget_that_ends_before_the_criterion_falls_back_on_bic(monkeypatch):
    clock = iter(np.arange(0.0, 1e4, 1.0))
    monkeypatch.setattr(beam_module.time, "monotonic", lambda: next(clock))
    with pytest.warns(ConvergenceWarning, match=r"ended the search at depth 1, after 2 expressions"):
        stopped = search(criterion="loo", budget_seconds=2.5).fit(T, Y)
    assert stopped.results_["criterion"].notna().sum() == 1  # of no structure
    assert stopped.best_expression_ == "linear"


def test_a_budget_that_allows_nothing_gives_a_constant():
    with pytest.warns(ConvergenceWarning, match="after 1 expressions; the best so far is constant"):
        stopped = search(budget_seconds=1e-9).fit(T, Y)
    assert stopped.best_expression_ == "constant" and stopped.best_score_ == stopped.results_["bic"][0]


def test_a_budget_that_suffices_says_nothing(found):
    assert_same(found, search(budget_seconds=1e3).fit(T, Y))


def test_ctrl_c_gives_the_best_so_far(monkeypatch):
    train, calls = beam_module.train, []

    def interrupted(*args, **keywords):
        calls.append(args)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return train(*args, **keywords)

    monkeypatch.setattr(beam_module, "train", interrupted)
    with pytest.warns(
        ConvergenceWarning, match="Ctrl-C ended the search at depth 1, after 3 expressions"
    ) as caught:
        stopped = search().fit(T, Y)
    assert len(caught) == 1
    assert stopped.best_expression_ in ("linear", "periodic")
    assert np.isfinite(stopped.predict(NEW, return_std=True)).all()


def test_ctrl_c_before_anything_was_found_is_passed_on(monkeypatch):
    monkeypatch.setattr(
        beam_module, "train", lambda *args, **keywords: (_ for _ in ()).throw(KeyboardInterrupt)
    )
    with pytest.raises(KeyboardInterrupt):
        search().fit(T, Y)


SEARCHING = """
import signal
import numpy as np
from nonparam import KernelSearch

signal.signal(signal.SIGINT, signal.default_int_handler)  # which tests in the background have ignored

t = np.arange(48.0)[:, None]
y = 0.5 * t[:, 0] + 4.0 * np.sin(2 * np.pi * t[:, 0] / 12.0) + np.random.default_rng(0).standard_normal(48)
found = KernelSearch(base_kernels=("linear", "rbf", "periodic"), n_jobs=2, verbose=1).fit(t, y)
print(found.best_expression_, np.isfinite(found.predict(t)).all())
"""


def test_ctrl_c_with_two_jobs_gives_the_best_so_far_and_leaves_no_process():
    command = [sys.executable, "-u", "-c", SEARCHING]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, text=True, start_new_session=True, **pipes) as process:
        try:
            said = []
            for line in process.stdout:  # to the end of the workers, who hold the pipe
                said.append(line)
                if line.startswith("depth"):  # again if Python dropped it, as it does in callbacks from C
                    os.killpg(process.pid, signal.SIGINT)  # to its workers too, as a terminal does
            warned = process.stderr.read()
            process.wait(timeout=60)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 0, warned
    assert said[0].startswith("depth 1: ")
    best = re.search(r"Ctrl-C ended the search at depth \d+, after \d+ .*; the best so far is (.*)", warned)
    assert said[-1] == f"{best[1]} True\n"
    assert best[1] != "constant"


# what it refuses ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"criterion": "lml"},
            "criterion='lml' is refused: the marginal likelihood of fitted hyperparameters rises",
        ),
        ({"criterion": "aic"}, r"criterion must be one of \('bic', 'laplace', 'clml', 'loo'\), got 'aic'"),
        ({"budget_seconds": 0}, "budget_seconds must be positive, or None for no limit; got 0"),
        ({"budget_seconds": -1.0}, "budget_seconds must be positive"),
        ({"budget_seconds": float("nan")}, "budget_seconds must be positive"),
        ({"budget_seconds": "1"}, "budget_seconds must be positive"),
        ({"max_depth": 0}, "max_depth must be an integer, at least 1; got 0"),
        ({"beam": 0}, "beam must be an integer, at least 1; got 0"),
        ({"max_rows": 1}, "max_rows must be an integer, at least 2; got 1"),
        ({"base_kernels": []}, r"base_kernels must be a list of names from \('linear'"),
        ({"base_kernels": "linear"}, "base_kernels must be a list of names"),
        ({"base_kernels": ["changepoint"]}, "base_kernels must be a list of names"),
        ({"base_kernels": ["linear", "rbf + * linear"]}, "'rbf [+] [*] linear' cannot be read near column 7"),
        ({"base_kernels": ["rbf + linear"]}, "got rbf [+] linear: the search composes them"),
        ({"base_kernels": ["rbff"]}, "base_kernels must be names from .*, got 'rbff': did you mean 'rbf'[?]"),
        ({"base_kernels": ["additive"]}, "must be names from .*, got 'additive': the search composes them"),
        ({"base_kernels": None}, "base_kernels must be a list of names from .*, got None"),
        ({"n_jobs": 0}, "n_jobs must not be 0: take 1 for no parallel work"),
        ({"base_kernels": [3]}, "must be names from .* got 3"),
        ({"estimator": "rbf"}, "estimator must be a GPRegressor, whose kernel is searched for; got 'rbf'"),
        ({"estimator": SpectralMixtureRegressor(2)}, "whose kernel is searched for; got SpectralMixtureReg"),
        ({"estimator": GPRegressor(priors=None), "criterion": "laplace"}, "criterion='laplace' needs priors"),
    ],
    ids=str,
)
def test_arguments_that_are_refused(changes, message):
    with pytest.raises(InputError, match=message):
        search(**changes).fit(T, Y)


def test_one_row_and_several_outputs_are_refused():
    with pytest.raises(InputError, match=r"a search needs 2 rows or more and one output, got 1 sample\(s\)"):
        search().fit(T[:1], Y[:1])
    with pytest.raises(InputError, match=r"one output, got 48 sample\(s\) and 2"):
        search().fit(T, np.c_[Y, Y])


@pytest.mark.parametrize("criterion", CRITERIA)
@pytest.mark.parametrize(
    ("x", "y"),
    [
        (T[:2], Y[:2]),
        (T[:3], Y[:3]),
        (T[:5], Y[:5]),
        (T[:20], np.full(20, 7.0)),
        (T[:20], np.zeros(20)),
        (np.repeat(T[:6], 3, 0), Y[:18]),
    ],
    ids=["two points", "three points", "five points", "a constant series", "zeros", "repeated times"],
)
def test_data_with_little_in_them(criterion, x, y):
    if criterion == "clml" and len(x) < 4:
        with pytest.raises(
            InputError, match=rf"criterion='clml' needs 4 rows or more, got {len(x)}: take 'loo'"
        ):
            search(criterion=criterion).fit(x, y)
        return
    found = search(criterion=criterion, base_kernels=BASE_KERNELS, max_depth=1).fit(x, y)
    mean, sd = found.predict(NEW, return_std=True)
    assert np.isfinite(mean).all() and np.isfinite(sd).all() and (sd >= 0.0).all()
    assert found.describe().startswith("y is\n- ")


def test_a_column_of_outputs_is_taken_as_one_output(found):
    with pytest.warns(DataConversionWarning, match="A column-vector y was passed"):
        assert_same(found, search().fit(T, Y[:, None]))


def test_before_fit():
    for call in (
        lambda s: s.predict(NEW),
        lambda s: s.describe(),
        lambda s: s.components(NEW),
        lambda s: s.plot(),
    ):
        with pytest.raises(NotFittedError):
            call(search())


# the rest of an estimator ---------------------------------------------------------------------


def test_it_does_what_its_best_estimator_does(found):
    best = found.best_estimator_
    for one, other in (
        (found.predict(NEW, return_std=True), best.predict(NEW, return_std=True)),
        (
            found.predict(NEW, False, True, include_noise=False),
            best.predict(NEW, False, True, include_noise=False),
        ),
        ([found.predict_quantiles(NEW, [0.1, 0.9])], [best.predict_quantiles(NEW, [0.1, 0.9])]),
        ([found.log_predictive_density(T, Y)], [best.log_predictive_density(T, Y)]),
        ([found.sample_y(NEW, 2)], [best.sample_y(NEW, 2)]),
        ([found.sample_functions(2)(T).shape], [(48, 2)]),
        ([found.score(T, Y)], [best.score(T, Y)]),
    ):
        for a, b in zip(one, other, strict=True):
            np.testing.assert_array_equal(a, b)


def test_components_add_up_to_the_prediction(found):
    parts = found.components(NEW)
    assert set(parts) == {"linear", "periodic"}
    best = found.best_estimator_
    level = best.y_mean_ + best.posterior_.mean.coefficients[0].item()
    np.testing.assert_allclose(sum(mean for mean, _ in parts.values()) + level, found.predict(NEW), atol=1e-8)
    assert all((sd >= 0.0).all() for _, sd in parts.values())


def test_clone_pickle_and_cross_validation(found):
    fresh = clone(found)
    assert not hasattr(fresh, "best_estimator_") and fresh.get_params() == found.get_params()
    again = pickle.loads(pickle.dumps(found))
    np.testing.assert_array_equal(again.predict(NEW), found.predict(NEW))
    assert again.describe() == found.describe()
    assert np.isfinite(cross_val_score(search(max_depth=1), T, Y, cv=2)).all()


def test_columns_have_names():
    table = pd.DataFrame({"month": T[:, 0]})
    found = search(max_depth=1).fit(table, Y)
    assert list(found.feature_names_in_) == ["month"]
    np.testing.assert_array_equal(found.predict(table), found.predict(table.copy()))


def test_verbose_prints_each_depth(capsys):
    search(max_depth=1, verbose=1).fit(T, Y)
    assert capsys.readouterr().out.startswith("depth 1: ")


def test_weights_count_as_rows_given_twice():
    whole = search(max_depth=1).fit(np.repeat(T[:40], 2, 0), np.repeat(Y[:40], 2))
    weighted = search(max_depth=1).fit(T[:40], Y[:40], sample_weight=np.full(40, 2.0))
    assert weighted.best_expression_ == whole.best_expression_
    assert weighted.best_score_ == pytest.approx(whole.best_score_, abs=1e-2)
