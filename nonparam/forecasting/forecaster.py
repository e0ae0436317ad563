"""Forecasts of a time series by an average of structural Gaussian processes."""

import time
import warnings
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import logsumexp
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from nonparam.errors import InputError
from nonparam.forecasting.member import Candidate, fit_candidates
from nonparam.forecasting.mixture import JointMixture, Mixture, check_joint
from nonparam.forecasting.report import ForecastReport, MemberReport
from nonparam.forecasting.season import Cycle, cycles
from nonparam.forecasting.structure import build_structure
from nonparam.forecasting.timeline import irregularity
from nonparam.forecasting.transforms import LINKS, LOG, Link, Standardised, standardise
from nonparam.forecasting.validation import Observed, read_horizon, read_levels, read_series
from nonparam.threads import threads_for

__all__ = ["GPForecaster"]

Array = NDArray[np.float64]

MOST_OBSERVATIONS = 3000  # a fit takes about two hundred factorisations
NEGLIGIBLE = 1e-6  # the weight below which a structure is left out of the forecast


class GPForecaster(BaseEstimator):  # type: ignore[misc]  # scikit-learn is untyped
    r"""Forecast a series by an average of structural Gaussian processes.

    A series, or its logarithm, is the sum of a base, a drift, a smooth trend, a wandering level, a season
    that may change, a short memory and noise, each with a prior that lets the data switch it off. Structures
    with and without the season, on the series and on its logarithm, are fitted at their most probable
    hyperparameters; the forecast is their average :math:`p(y) = \sum_k w_k\, p_k(y)`, weighted by their
    evidence :math:`w_k \propto p(y_{1:n} \mid k)` in Laplace's approximation.

    Args:
        season: how many observations make a cycle, which need not be a whole number; ``"auto"`` takes it from
            the frequency of the index (12 for months, 7 for days, ...) or, if it has none, looks for it in
            the numbers; ``None`` for no season. A season that the data do not support gets little weight.
        transform: ``"identity"``, ``"log"``, or ``"auto"`` for both, weighted by evidence, where no
            observation is below 5 % of the median.
        random_state: seed or generator of `sample`.

    Attributes:
        report_: what was fitted, with weights, evidences and hyperparameters.
        members_: the Gaussian processes that the forecast is made of, the heaviest first.
        weights_: ``(k,)``, their weights, which sum to 1.

    Source: the weights after MacKay (2003), chapter 28; for the structure see
    `nonparam.forecasting.structure`.

    Examples:
        >>> from nonparam.datasets import load_airline
        >>> forecaster = GPForecaster().fit(load_airline())
        >>> forecaster.report_.members[0].name
        'season of 12, log'
        >>> forecaster.predict(2).index
        PeriodIndex(['1961-01', '1961-02'], dtype='period[M]', name='month')
    """

    def __init__(self, season: Any = "auto", transform: str = "auto", *, random_state: Any = None) -> None:
        self.season = season
        self.transform = transform
        self.random_state = random_state

    def fit(self, y: Any) -> Self:
        """Fit the structures.

        Args:
            y: Series, table of one column, list or array. The index may hold dates, periods or numbers, with
                gaps or irregular; it is sorted. NaN means missing.

        Returns:
            The forecaster.

        Raises:
            InputError: a series that cannot be read, or an unknown season or transform.

        Warns:
            UserWarning: dates that keep to no calendar; steps of their median distance continue them.
        """
        began = time.perf_counter()
        observed = read_series(y)
        if len(observed.values) > MOST_OBSERVATIONS:
            raise InputError(
                f"expected at most {MOST_OBSERVATIONS} observations, got {len(observed.values)}; "
                "fit the last years only, or sum them over longer periods, as in y.resample('D').sum()"
            )
        remark = irregularity(observed.line)
        if remark is not None:
            warnings.warn(remark, UserWarning, stacklevel=2)
        links = self._links(observed.values)
        options = cycles(self.season, observed.line, observed.positions, observed.values)
        with threads_for(len(observed.values)):
            fits = [(cycle, _fit(cycle, observed, links)) for cycle in options]
            self._cycle, candidates = max(fits, key=lambda fit: _evidences(fit[1]).max())
            self._observed = observed
            self._store(candidates)
        seconds = time.perf_counter() - began
        missing = len(observed.y) - len(observed.values)
        self.report_ = ForecastReport(self._reports(candidates), len(observed.values), missing, seconds)
        return self

    def _links(self, values: Array) -> list[Link]:
        if self.transform == "auto":
            return [link for link in LINKS.values() if link.suits(values)]
        if not isinstance(self.transform, str) or self.transform not in LINKS:
            raise InputError(f"transform must be 'auto' or one of {sorted(LINKS)}, got {self.transform!r}")
        if self.transform == LOG.name and values.min() <= 0.0:
            raise InputError(
                f"transform='log' needs positive observations, got {values.min():g}; try transform='auto'"
            )
        return [LINKS[self.transform]]

    def _store(self, candidates: list[Candidate]) -> None:
        weights = _weights(candidates)
        kept = np.flatnonzero(weights > NEGLIGIBLE)
        self.members_ = tuple(candidates[i].conditioned() for i in kept)
        self.weights_ = weights[kept] / weights[kept].sum()

    def _reports(self, candidates: list[Candidate]) -> tuple[MemberReport, ...]:
        return tuple(
            MemberReport(
                season=self._cycle.length if candidate.structure.entries(["season"]).any() else None,
                transform=candidate.transform.link.name,
                weight=float(weight),
                log_evidence=candidate.log_evidence,
                hyperparameters=candidate.hyperparameters(self._cycle.length),
                steps=candidate.search.steps,
                evaluations=candidate.search.evaluations,
                converged=candidate.search.converged,
                message=candidate.search.message,
            )
            for candidate, weight in zip(candidates, _weights(candidates), strict=True)
        )

    # forecasts ---------------------------------------------------------------------------------

    def predict(self, h: Any) -> pd.Series:
        """Return the median of the forecast.

        Args:
            h: a number of steps after the end of the series; a list of steps (1 is the first); or an index
                of future times.

        Returns:
            Series with the continued index.

        Raises:
            InputError: a horizon that is none, or beyond what is sensible or what the calendar can tell.
        """
        table = self.predict_quantiles(h, 0.5)
        return pd.Series(table.to_numpy()[:, 0], index=table.index, name=self._observed.y.name)

    def predict_quantiles(self, h: Any, q: Any) -> pd.DataFrame:
        """Return quantiles of the forecast of each observation, noise included.

        Args:
            h: as for `predict`.
            q: one or several levels between 0 and 1.

        Returns:
            One row for each time, one column, named by the level, for each of ``q``.
        """
        check_is_fitted(self)
        levels = read_levels("q", q)
        positions, index = read_horizon(h, self._observed.line)
        table = self._marginals(positions).quantile(levels)
        return pd.DataFrame(table, index=index, columns=pd.Index(levels, name="quantile"))

    def predict_interval(self, h: Any, coverage: Any = 0.9) -> pd.DataFrame:
        """Return central intervals, between the quantiles ``(1 - coverage) / 2`` and ``(1 + coverage) / 2``.

        Args:
            h: as for `predict`.
            coverage: one or several probabilities.

        Returns:
            Columns ``"lower"`` and ``"upper"``; for a list of coverages, these below a first level that has
            the coverage.
        """
        wanted = read_levels("coverage", coverage)
        levels = np.stack([0.5 - 0.5 * wanted, 0.5 + 0.5 * wanted], 1)
        table = self.predict_quantiles(h, levels.ravel())
        names = pd.MultiIndex.from_product([wanted, ["lower", "upper"]], names=["coverage", "bound"])
        table.columns = pd.Index(["lower", "upper"]) if np.ndim(coverage) == 0 else names
        return table

    def sample(self, h: Any, n: int = 1) -> pd.DataFrame:
        """Draw possible futures.

        Args:
            h: as for `predict`.
            n: how many.

        Returns:
            One row for each time, one column for each draw.

        Raises:
            InsufficientMemoryError: the joint covariance of so many times does not fit.
        """
        check_is_fitted(self)
        positions, index = read_horizon(h, self._observed.line)
        draws = self._joint(positions).sample(n, check_random_state(self.random_state))
        return pd.DataFrame(draws.T, index=index)

    def log_predictive_density(self, y: Any) -> float:
        """Return the joint log density of what came after, in nats.

        Args:
            y: a Series with an index after that of the fitted series, or an array of the observations that
                follow immediately; NaN means missing.

        Returns:
            The log density, noise included.

        Raises:
            InsufficientMemoryError: the joint covariance of so many times does not fit.
        """
        check_is_fitted(self)
        came = y if isinstance(y, pd.Series | pd.DataFrame) else None
        observed = read_series(y)
        h = observed.y.index if came is not None else np.arange(1, len(observed.y) + 1)
        positions, _ = read_horizon(h, self._observed.line)
        seen = observed.y.notna().to_numpy()
        return self._joint(positions[seen]).log_density(observed.values)

    def _times(self, positions: Array) -> Array:
        times: Array = (positions - self._observed.positions[-1]) / self._cycle.length
        return times

    def _marginals(self, positions: Array) -> Mixture:
        times = self._times(positions)
        with threads_for(len(self._observed.values)):
            mean = np.stack([member.mean(times) for member in self.members_])
            sd = np.stack([member.sd(times) for member in self.members_])
        return Mixture(self.weights_, self._transforms(), mean, sd)

    def _joint(self, positions: Array) -> JointMixture:
        times = self._times(positions)
        check_joint(len(times), len(self._observed.values), len(self.members_))
        with threads_for(len(self._observed.values)):
            mean = np.stack([member.mean(times) for member in self.members_])
            covariance = np.stack([member.covariance(times) for member in self.members_])
        return JointMixture(self.weights_, self._transforms(), mean, covariance)

    def _transforms(self) -> tuple[Standardised, ...]:
        return tuple(member.transform for member in self.members_)

    # explanations ------------------------------------------------------------------------------

    def decompose(self, h: Any = None) -> pd.DataFrame:
        """Split the heaviest member's fit into its parts.

        The parts add up to the fit on the scale of that member's transform: of the logarithm of the series,
        say, which ``attrs["transform"]`` of the result tells. They are posterior means.

        Args:
            h: also split the forecast, as for `predict`.

        Returns:
            A column for each part (base, drift, trend, level, season where there is one, memory) and their
            sum, ``fit``.
        """
        check_is_fitted(self)
        line, index = self._observed.line, self._observed.y.index
        positions = line.locate(index)
        if h is not None:
            later, future = read_horizon(h, line)
            positions, index = np.concatenate([positions, later]), index.append(future)
        parts = self.members_[0].parts(self._times(positions))
        table = pd.DataFrame(parts, index=index)
        table["fit"] = table.sum(axis=1)
        table.attrs["transform"] = self.members_[0].transform.link.name
        return table

    def plot(self, h: Any = None, *, ax: Any = None) -> Any:
        """Draw the series and its forecast: median, and the central 50, 80 and 95 %.

        Args:
            h: as for `predict`; by default two cycles of the season, or a quarter of the series.
            ax: matplotlib axes to draw on; new ones by default.

        Returns:
            The axes.
        """
        from nonparam.forecasting.plot import COVERAGES, draw_forecast
        from nonparam.plotting import band_probabilities

        check_is_fitted(self)
        if h is None:
            h = self.default_horizon()
        return draw_forecast(self._observed.y, self.predict_quantiles(h, band_probabilities(COVERAGES)), ax)

    def default_horizon(self) -> int:
        """Return two seasons, or a quarter of a series without any, in steps."""
        check_is_fitted(self)
        cycle = self._cycle
        return round(2.0 * cycle.length) if cycle.seasonal else max(1, len(self._observed.y) // 4)

    def summary(self) -> str:
        """Return what was fitted: the members with their weights, and the heaviest one's hyperparameters."""
        check_is_fitted(self)
        heaviest = self.report_.members[0]
        table = [f"  {name:20} {value:.4g}" for name, value in heaviest.hyperparameters.items()]
        unit = "lengths in steps of the index, variances in squared units of the transformed series"
        return "\n".join([str(self.report_), f"{heaviest.name} ({unit}):", *table])


def _fit(cycle: Cycle, observed: Observed, links: list[Link]) -> list[Candidate]:
    """Fit with the season, where it may be, and without it; return the most evident first."""
    times = (observed.positions - observed.positions[-1]) / cycle.length
    transforms = [standardise(link, observed.values) for link in links]
    structure, omissions = build_structure(float(times[0])), [(), ("season",)]
    if not cycle.seasonal:
        structure, omissions = structure.without(["season"]), [()]
    candidates = fit_candidates(structure, omissions, times, observed.values, transforms)
    return sorted(candidates, key=lambda candidate: -candidate.log_evidence)


def _evidences(candidates: list[Candidate]) -> Array:
    return np.array([candidate.log_evidence for candidate in candidates])


def _weights(candidates: list[Candidate]) -> Array:
    evidences = _evidences(candidates)
    weights: Array = np.exp(evidences - logsumexp(evidences))
    return weights
