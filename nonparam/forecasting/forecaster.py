"""Forecasts of a time series by an average of structural Gaussian processes."""

import os
import time
import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from nonparam.errors import InputError
from nonparam.forecasting.backtest import Backtest, backtest
from nonparam.forecasting.beside import Beside, read_beside
from nonparam.forecasting.explained import Explained
from nonparam.forecasting.files import load_forecaster, save_forecaster
from nonparam.forecasting.fitting import Candidate, Fit, Problem, Setting, fit_problems
from nonparam.forecasting.panel import FittedPanel
from nonparam.forecasting.panel_fit import LEVELS, PanelRequest, fit_panel
from nonparam.forecasting.panel_reading import Names
from nonparam.forecasting.parameters import check_parameters
from nonparam.forecasting.report import ForecastReport, MemberReport
from nonparam.forecasting.season import Cycle, cycles
from nonparam.forecasting.structure import build_structure
from nonparam.forecasting.timeline import irregularity
from nonparam.forecasting.transforms import LINKS, LOG, Link, standardise
from nonparam.forecasting.updating import joined, joined_beside, reweighed
from nonparam.forecasting.validation import Observed, read_series
from nonparam.threads import threads_for
from nonparam.validation import check_choice

__all__ = ["GPForecaster"]

Array = NDArray[np.float64]

MOST_OBSERVATIONS = 200_000  # a fit takes about a hundred passes, each a second for 50,000
LONGEST_SLOPE = 400  # observations: chains have no part whose slope wanders
LONG = 2000  # observations from which seasons are not left out by turns: their variances tell


class GPForecaster(Explained, BaseEstimator):  # type: ignore[misc]  # scikit-learn is untyped
    r"""Forecast a series by an average of structural Gaussian processes.

    A series, or its logarithm, is the sum of a base, a drift, a smooth trend, a wandering level, seasons that
    may change, a short memory, in months the effect of working days, and noise, each with a prior that lets
    the data switch it off. Structures with and without the seasons, on the series and on its logarithm, are
    fitted at their most probable hyperparameters; the forecast is their average :math:`p(y) = \sum_k w_k\,
    p_k(y)`, weighted by the root of their evidence, :math:`w_k \propto p(y_{1:n} \mid k)^{1/2}`, in Laplace's
    approximation. Without a season several trends are tried, and the power between these is 1/10. Short
    series tell little of the hyperparameters: the shorter the series, the more of each :math:`p_k` is an
    average over draws of them. Observations further than 2.5 standard deviations from what all others say of
    them are counted as if they lay there; steps of the level stay.

    Args:
        season: how many observations make a cycle, which need not be a whole number, or a list of such
            numbers; ``"auto"`` takes them from the frequency of the index (12 for months, 7 for days, 24 and
            168 for hours, ...) or, if it has none, looks for one in the numbers; ``None`` or 1 for no season.
            A season that the data do not support gets little weight.
        transform: ``"identity"``, ``"log"``, or ``"auto"`` for both, weighted by evidence, where no
            observation is below 5 % of the median or the logarithms lie near a straight line.
        components: ``"auto"`` for all parts, or a list of those that the series may have: ``"base"`` (a
            constant), ``"drift"`` (a line), ``"trend"`` (a smooth curve), ``"level"`` (a random walk),
            ``"slope"`` (whose steps wander; only without a season), ``"season"`` (every one of them),
            ``"memory"`` (deviations that fade within a few steps) and ``"working days"`` (what a month has of
            them; only where the index has months). Noise, regressors and holidays always stay.
        average: whether to average over structures, transforms and hyperparameters, or to take the most
            evident structure and its most probable hyperparameters.
        priors: ``"default"``, or a dictionary that replaces some of them, such as
            ``{"trend lengthscale": (5.0, 1.0)}``: the median, and the standard deviation of the logarithm.
            Times are in units of the shortest season (years for months), variances in those of the series,
            or of its logarithm, divided by its standard deviation. Names are those of
            ``report_.members[0].hyperparameters``; a name that is wrong is answered with all that there are.
            The prior of the noise stays.
        holidays: days with effects of their own: a table with the columns ``holiday`` and ``ds`` (and perhaps
            ``lower_window`` and ``upper_window``), a mapping of names to dates, or a country's code such as
            ``"AU"`` or ``"AU-VIC"``, which needs the extra ``holidays``. In series of weeks or longer steps
            the days within each are counted.
        support: ``"positive"`` keeps forecasts at or above 0, as for counts; ``"real"`` does not; ``None`` is
            ``"positive"`` where no observation is below 0.
        n_jobs: series of a panel that are fitted at once, as joblib counts them: ``None`` for 1, unless a
            backend says otherwise. The result does not depend on it.
        time_limit: seconds after which searches for hyperparameters stop where they are, which ``report_``
            tells; what is needed besides, about twice as many evaluations of the likelihood as a structure
            has hyperparameters, comes on top. ``None`` for none.
        random_state: seed or ``numpy.random.RandomState`` of `sample`.

    Attributes:
        report_: what was fitted, with weights, evidences and hyperparameters.
        ensemble_: the Gaussian processes that the forecast is made of.

    Source: the weights after MacKay (2003), chapter 28; for the structure see
    `nonparam.forecasting.structure`.

    Examples:
        >>> from nonparam.datasets import load_airline
        >>> forecaster = GPForecaster().fit(load_airline())
        >>> forecaster.report_.members[0].name
        'season of 12, log'
        >>> forecaster.predict(2).index
        PeriodIndex(['1961-01', '1961-02'], dtype='period[M]', name='month')

        What is known beforehand can be said: that a series is a random walk and no more, that trends turn
        slowly, that a day is a special one.

        >>> y = load_airline()
        >>> walk = GPForecaster(season=None, components=["base", "level"]).fit(y)
        >>> walk.decompose().columns.unique("part").tolist()
        ['base', 'level', 'fit']
        >>> slow = GPForecaster(priors={"trend lengthscale": (10.0, 0.1)}).fit(y)
        >>> round(slow.report_.members[0].hyperparameters["trend lengthscale"] / 12.0)  # years
        10
        >>> easter = ["1949-04-17", "1950-04-09", "1951-03-25", "1952-04-13", "1953-04-05", "1954-04-18"]
        >>> christian = GPForecaster(holidays={"Easter": easter}).fit(y[:72])
        >>> christian.summary().splitlines()[5].split(":")[0]
        'Effect of Easter'
        >>> GPForecaster(time_limit=1e-3).fit(y).report_.converged
        False
    """

    def __init__(
        self,
        season: Any = "auto",
        *,
        transform: str = "auto",
        components: str | Sequence[str] = "auto",
        average: bool = True,
        priors: Any = "default",
        holidays: Any = None,
        support: str | None = None,
        n_jobs: int | None = None,
        time_limit: float | None = None,
        random_state: Any = None,
    ) -> None:
        self.season = season
        self.transform = transform
        self.components = components
        self.average = average
        self.priors = priors
        self.holidays = holidays
        self.support = support
        self.n_jobs = n_jobs
        self.time_limit = time_limit
        self.random_state = random_state

    def fit(self, y: Any, X: Any = None) -> Self:
        """Fit the structures.

        Args:
            y: Series, table of one column, list or array. The index may hold dates, periods or numbers, with
                gaps or irregular; it is sorted. NaN means missing.
            X: what else is known at each time: a table, Series or array ``(n, k)`` of numbers or booleans,
                whose effects on ``g(y)`` are linear. It is matched with ``y`` by its index and may cover more
                times; an array, by its rows.

        Returns:
            The forecaster.

        Raises:
            InputError: a series, regressors or holidays that cannot be read, or an unknown season, transform
                or part.

        Warns:
            UserWarning: dates that keep to no calendar; steps of their median distance continue them.
        """
        began = time.monotonic()
        observed, beside = self.read(y, X)
        problem = self.problem(observed, beside)  # which checks the limit of time, too
        deadline = np.inf if self.time_limit is None else began + self.time_limit
        with threads_for(len(observed.values)):
            (fit,) = fit_problems([problem], average=self.average, deadline=deadline)
        self.take(observed, beside, fit, time.monotonic() - began)
        return self

    # what fits of one series and of many share -------------------------------------------------

    def read(self, y: Any, X: Any) -> tuple[Observed, Beside]:
        """Return a series and what is known beside it, as `fit` takes them; warn of irregular times."""
        observed = read_series(y)
        remark = irregularity(observed.line)
        if remark is not None:
            warnings.warn(remark, UserWarning, stacklevel=3)
        return observed, read_beside(X, self.holidays, observed)

    def problem(self, observed: Observed, beside: Beside) -> Problem:
        """Return what is to be fitted to a series, with what is known beside it."""
        check_parameters(self.get_params(deep=False))
        if len(observed.values) > MOST_OBSERVATIONS:
            raise InputError(
                f"expected at most {MOST_OBSERVATIONS:,} observations, got {len(observed.values):,}; "
                "fit the last years only, or sum them over longer periods, as in y.resample('D').sum()"
            )
        transforms = tuple(standardise(link, observed.values) for link in self.links(observed.values))
        options = cycles(self.season, observed.line, observed.positions, observed.values)
        settings = tuple(self.setting(cycle, observed, beside) for cycle in options)
        return Problem(observed.values, transforms, settings)

    def take(self, observed: Observed, beside: Beside, fit: Fit, seconds: float) -> None:
        """Take a fit of a series as this forecaster's, and report on it."""
        members = tuple(_report(candidate, fit.setting) for candidate in fit.candidates)
        n = len(observed.values)
        self.accept(observed, beside, fit, ForecastReport(members, n, len(observed.y) - n, seconds))

    def accept(self, observed: Observed, beside: Beside, fit: Fit, report: ForecastReport) -> None:
        """Take a fit of a series, and what is known of it."""
        self._observed, self._beside, self._fit = observed, beside, fit
        self.ensemble_, self.report_ = fit.ensemble, report

    def setting(
        self,
        cycle: Cycle,
        observed: Observed,
        beside: Beside,
        *,
        origin: float | None = None,
        has_slope: bool | None = None,
    ) -> Setting:
        """Return how a series is read with a choice of its seasons; from a file, as it was."""
        n = len(observed.values)
        names = {name: period / cycle.unit for name, period in cycle.names.items()}
        origin = float(observed.positions[-1]) if origin is None else origin
        has_slope = not names and n <= LONGEST_SLOPE if has_slope is None else has_slope
        first = float(observed.positions[0]) - origin
        full = build_structure(first / cycle.unit, names, beside.groups, has_slope=has_slope)
        structure = full.chosen(self.components, self.priors)
        if not structure.parts:
            raise InputError(
                f"components={self.components!r} leaves nothing of a series without a season; add 'base', say"
            )
        shortest = len(structure.seasons) if n > LONG else 0
        omissions = [structure.seasons[i:] for i in range(len(structure.seasons), shortest - 1, -1)]
        bare = Setting(
            cycle, origin, structure, np.zeros((0, 1)), tuple(omissions if names else structure.trends)
        )
        return _filled(bare, observed, beside)

    def links(self, values: Array) -> list[Link]:
        """Return the transforms that are tried on a series ``(n,)``."""
        if self.transform == "auto":
            return [link for link in LINKS.values() if link.suits(values)]
        if not isinstance(self.transform, str) or self.transform not in LINKS:
            raise InputError(f"transform must be 'auto' or one of {sorted(LINKS)}, got {self.transform!r}")
        if self.transform == LOG.name and values.min() <= 0.0:
            raise InputError(
                f"transform='log' needs positive observations, got {values.min():g}; try transform='auto'"
            )
        return [LINKS[self.transform]]

    def fit_panel(
        self,
        data: Any,
        fh: Any = None,
        *,
        alpha: Any = LEVELS,
        X: Any = None,
        id_col: str = "unique_id",
        time_col: str = "ds",
        target_col: str = "y",
        store: Any = None,
        time_limit: float | None = None,
        verbose: int = 0,
        device: str = "cpu",
    ) -> FittedPanel:
        """Fit a copy of this forecaster to each of many series.

        A series that fails is reported in ``failures``, and hinders no other. Series of about the same length
        are sent to workers by joblib, some at a time, and those that are seen at the same times are fitted
        as a batch, in one thread, at about half of the cost of single fits. A backend of your choice spreads
        them, over the cores of a machine or over many machines::

            client = dask.distributed.Client("scheduler:8786")
            with joblib.parallel_config("dask"):
                panel = GPForecaster().fit_panel(df, fh=12, store="sales")

        The tests run it on threads, on processes of one machine and on Dask's local cluster. Ray's backend
        (``ray.util.joblib.register_ray()``, then ``joblib.parallel_config("ray")``) is called in the same
        way, but hands out, and so stores, all results at the end; it has not been tested, nor has a cluster
        of several machines.

        Args:
            data: a long table with columns of ids, times and values; a wide one with the times as index and
                a series in each column; or a dict of series. Ids keep their type and order. Times may be
                dates, periods, numbers, or text with the year first, and may differ from series to series.
                Further columns of a long table are regressors. In a wide table a series begins and ends with
                its first and last number; missing values in between are gaps.
            fh: with a horizon, as for `predict`, forecasts are made at once and are all that is kept; without
                one the fitted forecasters are, about 150 kB for a series of a hundred observations.
            alpha: levels of the quantiles that are kept, with ``fh``; the median is always among them.
            X: regressors at the times of the forecast, with ``fh``: a long table of ids, times and columns.
            id_col: the column that names the series.
            time_col: the column of times.
            target_col: the column of values.
            store: a folder, new or empty, to which results are written as they come, with ``fh``. After a
                kill the same call goes on where it was, with the same result; another call is refused.
            time_limit: seconds after which no further series are begun; those that were not reached are in
                ``failures``. Some that had begun end later. With ``store`` the next call goes on.
            verbose: 1 to show how many series are done.
            device: ``"cuda"`` fits batches of series of up to 400 observations on a GPU; longer ones are for
                processors. ``"auto"`` takes the GPU if there is one and the panel is large.

        Returns:
            The fitted series: `FittedPanel`.

        Raises:
            InputError: a table that cannot be read, a folder of other results, or no series that could be
                forecast.
            FileFormatError: a damaged file in the folder.
            WorkerLostError: a process ended in the midst of its work.

        Warns:
            UserWarning: some series failed.

        Examples:
            >>> from nonparam.datasets import load_us_macro
            >>> wide = load_us_macro()[["realgdp", "unemp"]][-40:]
            >>> panel = GPForecaster().fit_panel(wide, fh=2)
            >>> panel.predict_interval(coverage=0.8).columns.tolist()
            ['unique_id', 'ds', 'lower', 'upper']
        """
        names = Names(id_col, time_col, target_col)
        request = PanelRequest(names, fh, alpha, X, self.n_jobs, store, time_limit, verbose, device)
        return fit_panel(self, data, request)

    def update(self, y_new: Any, X: Any = None, *, refit: bool = False) -> Self:
        r"""Take in what came after the series.

        Without a refit hyperparameters and transforms stay as they are, and each member is weighed by how
        well it foresaw the new observations: :math:`w_k' \propto w_k\, p_k(y_{n+1:m} \mid y_{1:n})`. That
        takes the time of two likelihoods. ``report_`` still tells of the fit. A series that was constant
        until now told nothing of its hyperparameters, and is fitted anew.

        Args:
            y_new: a Series with later times, or an array of what follows immediately; NaN means missing.
            X: the regressors at these times, if the fit had some.
            refit: whether to fit everything anew to the longer series.

        Returns:
            The forecaster.

        Raises:
            InputError: times that are not later, regressors that are missing, or without ``refit``
                observations that no member allows for.

        Examples:
            >>> from nonparam.datasets import load_airline
            >>> y = load_airline()
            >>> forecaster = GPForecaster().fit(y[:-3]).update(y[-3:])
            >>> forecaster.predict(1).index[0]
            Period('1961-01', 'M')
        """
        check_is_fitted(self)
        check_choice(refit, "refit", (True, False))
        observed = joined(self._observed, y_new)
        beside = joined_beside(self._beside, observed, X)
        if refit or np.ptp(self._observed.values) == 0.0:
            table = None if beside.regressors is None else beside.regressors.table
            return self.fit(observed.y, table)
        old, moved = self._fit.setting, observed.line.locate(self._observed.y.index[-1:])[0]
        setting = _filled(replace(old, origin=old.origin + float(moved)), observed, beside)
        with threads_for(len(observed.values)):
            ensemble = reweighed(self.ensemble_, setting.x, observed.values)
        n = len(observed.values)
        report = replace(self.report_, observations=n, missing=len(observed.y) - n)
        self.accept(observed, beside, Fit(setting, (), ensemble), report)
        return self

    def backtest(
        self, y: Any, fh: Any, initial: int | None = None, step: int | None = None, X: Any = None
    ) -> Backtest:
        """Forecast a series from several origins with a copy of this forecaster, and score what comes out.

        Args:
            y: as for `fit`.
            fh: a number of steps, or a list of steps.
            initial: how many steps are before the first origin; by default, there are about five origins.
            step: from one origin to the next; by default the horizon, or less in a short series.
            X: as for `fit`, at all times of the series.

        Returns:
            Forecasts beside what came, and their MASE, CRPS, MSIS and coverage for each horizon; see
            `nonparam.forecasting.backtest.backtest`, which also takes other forecasters and options.

        Raises:
            InputError: a series that cannot be read, or is too short.
        """
        return backtest(self, y, fh, initial, step, X)

    # pictures and files ------------------------------------------------------------------------

    def plot(self, fh: Any = None, *, X: Any = None, ax: Any = None) -> Any:
        """Draw the series and its forecast: median, and the central 50, 80 and 95 %.

        Args:
            fh: as for `predict`; by default two cycles of the season, or a quarter of the series.
            X: as for `predict`.
            ax: matplotlib axes to draw on; new ones by default.

        Returns:
            The axes.
        """
        from nonparam.forecasting.plot import COVERAGES, draw_forecast
        from nonparam.plotting import band_probabilities

        check_is_fitted(self)
        if fh is None:
            fh = self.default_horizon()
        quantiles = self.predict_quantiles(fh, band_probabilities(COVERAGES), X)
        return draw_forecast(self._observed.y, quantiles, ax)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the fitted forecaster to a file, which holds numbers and JSON only.

        Args:
            path: of the file, such as ``"passengers.safetensors"``.

        Raises:
            NotFittedError: there is no fit.
            InputError: a parameter, an index or a name that a file cannot hold, or no such folder.
        """
        save_forecaster(self, self._fitted(), path)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read what `save` wrote; no code of the file's is run.

        Args:
            path: of the file.

        Returns:
            The fitted forecaster, whose forecasts are those from before.

        Raises:
            InputError: no such file, or one of another class.
            FileFormatError: the file is damaged, was changed, or is of another program or version.
        """
        return load_forecaster(cls, path)


def _filled(setting: Setting, observed: Observed, beside: Beside) -> Setting:
    """Return a setting with the rows of a series."""
    return replace(setting, x=setting.rows(observed.positions, beside.seen()[observed.y.notna().to_numpy()]))


def _report(candidate: Candidate, setting: Setting) -> MemberReport:
    fitted, structure = candidate.fitted, setting.structure
    present = structure.without(fitted.omitted)
    names = setting.cycle.names
    return MemberReport(
        seasons=tuple(names[name] for name in present.seasons),
        transform=candidate.transform.link.name,
        weight=candidate.weight,
        log_evidence=candidate.log_evidence,
        hyperparameters=present.natural(fitted.laplace.mode, setting.cycle.unit, candidate.transform.scale),
        steps=fitted.search.steps,
        evaluations=fitted.search.evaluations,
        converged=fitted.search.converged,
        message=fitted.search.message,
        parts=tuple(part.name for part in present.parts),
    )
