"""`GPForecaster` as a model of statsforecast."""

from copy import copy
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from nonparam.errors import InputError
from nonparam.forecasting import GPForecaster
from nonparam.integrations.in_sample import smoothed
from nonparam.validation import check_numbers

try:
    from statsforecast.models import _TS
except ImportError as error:
    raise ImportError(
        "nonparam.integrations.statsforecast needs statsforecast: "
        "python -m pip install 'nonparam[statsforecast]'"
    ) from error

__all__ = ["AutoGP"]

Array = NDArray[np.float64]
Forecast = dict[str, Array]


class AutoGP(_TS):  # type: ignore[misc]  # statsforecast is optional
    """Forecast in statsforecast by an average of structural Gaussian processes.

    What statsforecast calls the mean is the median of the forecast: it errs least in absolute value, and it
    is far below the mean where growth is uncertain. The intervals hold the central part of the probability.

    Args:
        season_length: how many observations make a cycle, which need not be a whole number; 1 for no season;
            ``"auto"`` looks for it in the numbers, as a model here is not told the frequency; ``None`` for
            the season of ``forecaster``.
        forecaster: with all other parameters; ``None`` for ``GPForecaster()``.
        alias: name of the columns of the forecast.
        prediction_intervals: ``ConformalIntervals``, to use in place of the intervals of the model.

    Attributes:
        forecaster_: fitted.

    Examples:
        >>> from nonparam.datasets import load_airline
        >>> from nonparam.integrations.statsforecast import AutoGP
        >>> model = AutoGP(season_length=12).fit(load_airline().to_numpy())
        >>> sorted(model.predict(2, level=[80, 95]))
        ['hi-80', 'hi-95', 'lo-80', 'lo-95', 'mean']
    """

    uses_exog = True

    def __init__(
        self,
        season_length: float | str | None = "auto",
        forecaster: GPForecaster | None = None,
        alias: str = "AutoGP",
        prediction_intervals: Any = None,
    ) -> None:
        self.season_length = season_length
        self.forecaster = forecaster
        self.alias = alias
        self.prediction_intervals = prediction_intervals

    def fit(self, y: Array, X: Any = None) -> Self:
        """Fit the structures.

        Args:
            y: ``(n,)``, with NaN where one is missing.
            X: ``(n, k)``, regressors at these times.

        Returns:
            The model.
        """
        self._fit(y, X)
        self._store_cs(y=y, X=X)
        return self

    def _fit(self, y: Array, X: Any) -> Self:
        self.forecaster_ = self._new_forecaster().fit(y, X)
        self._y = np.asarray(y, dtype=np.float64)
        return self

    def _new_forecaster(self) -> GPForecaster:
        forecaster: GPForecaster = clone(GPForecaster() if self.forecaster is None else self.forecaster)
        if self.season_length is not None:
            forecaster.set_params(season=None if self.season_length == 1 else self.season_length)
        return forecaster

    @property
    def _fitted(self) -> GPForecaster:
        if not hasattr(self, "forecaster_"):
            raise NotFittedError("this AutoGP is not fitted yet: call fit(y) first")
        return self.forecaster_

    def predict(self, h: int, X: Any = None, level: list[float] | None = None) -> Forecast:
        """Forecast the fitted series.

        Args:
            h: number of steps.
            X: ``(h, k)``, the regressors to come, if the fit had some.
            level: probabilities of the intervals, in percent.

        Returns:
            Arrays ``(h,)``: ``"mean"``, the median; ``"lo-80"``, ``"hi-80"``, ...

        Raises:
            InputError: a horizon that is no number of steps, regressors that are missing, or a level that is
                not between 0 and 100.
            NotFittedError: there is no fit.
        """
        return self._forecast(h, X, level, None, None)

    def _forecast(
        self, h: int, X_future: Any, level: list[float] | None, y: Array | None, X: Any
    ) -> Forecast:
        """Forecast; conformal intervals take their errors from ``y``, by default those that `fit` stored."""
        levels = _ascending(level)
        median = {"mean": self._fitted.predict(h, X_future).to_numpy()}
        if levels and self.prediction_intervals is not None:
            conformal: Forecast = self._add_conformal_intervals(median, y, X, levels)
            return conformal
        return median | (self._intervals(h, X_future, levels) if levels else {})

    def _intervals(self, h: int, X_future: Any, level: list[float]) -> Forecast:
        coverage = [percent / 100.0 for percent in level]
        table = self.forecaster_.predict_interval(h, coverage, X_future).to_numpy()
        lower, upper = table[:, ::2].T, table[:, 1::2].T
        return _named("lo-", level, lower) | _named("hi-", level, upper)

    def predict_in_sample(self, level: list[float] | None = None) -> Forecast:
        r"""Return the smoothed fit, which at each time sees the whole series.

        The bands are :math:`g^{-1}(g(\hat y_t) \pm z s)`, where :math:`s` is the standard deviation of the
        residuals after the transform :math:`g`.

        Args:
            level: probabilities of the bands, in percent.

        Returns:
            Arrays ``(n,)``: ``"fitted"``, ``"fitted-lo-80"``, ``"fitted-hi-80"``, ...

        Raises:
            InputError: a level that is not between 0 and 100.
            NotFittedError: there is no fit.
        """
        link, sums = smoothed(self._fitted)
        fit, levels = sums.to_numpy(), _ascending(level)
        spread = float(np.sqrt(np.nanmean((link.forward(self._y) - fit) ** 2)))
        widths = spread * ndtri(0.5 + np.array(levels)[:, None] / 200.0)
        lower, upper = link.inverse(fit - widths), link.inverse(fit + widths)
        bands = _named("fitted-lo-", levels, lower) | _named("fitted-hi-", levels, upper)
        return {"fitted": link.inverse(fit)} | bands

    def forecast(
        self,
        y: Array,
        h: int,
        X: Any = None,
        X_future: Any = None,
        level: list[float] | None = None,
        fitted: bool = False,
    ) -> Forecast:
        """Fit and forecast a series, without keeping anything.

        Args:
            y: ``(n,)``, with NaN where one is missing.
            h: number of steps.
            X: ``(n, k)``, regressors at these times.
            X_future: ``(h, k)``, those to come.
            level: probabilities of the intervals, in percent.
            fitted: whether the smoothed fit is wanted too.

        Returns:
            As `predict`, and as `predict_in_sample` where ``fitted``.
        """
        model: Self = self.new()._fit(y, X)
        return model._answer(y, h, X, X_future, level, fitted)

    def _answer(
        self, y: Array, h: int, X: Any, X_future: Any, level: list[float] | None, fitted: bool
    ) -> Forecast:
        forecast = self._forecast(h, X_future, level, y, X)
        return forecast | (self.predict_in_sample(level) if fitted else {})

    def forward(
        self,
        y: Array,
        h: int,
        X: Any = None,
        X_future: Any = None,
        level: list[float] | None = None,
        fitted: bool = False,
    ) -> Forecast:
        """Forecast a series that goes on from the fitted one, at the hyperparameters of the fit.

        Members are weighed by how well they foresaw what came, see `GPForecaster.update`. A series that does
        not begin with the fitted one, such as a window that moves, is fitted anew. Arguments and result are
        those of `forecast`.
        """
        return self._moved_to(np.asarray(y, dtype=np.float64), X)._answer(y, h, X, X_future, level, fitted)

    def _moved_to(self, y: Array, X: Any) -> Self:
        """Return the model of another series; that of the fitted one stays as it is."""
        known = copy(self._fitted)
        model: Self = self.new()
        n = len(self._y)
        if not np.array_equal(y[:n], self._y, equal_nan=True):
            return model._fit(y, X)
        model.forecaster_, model._y = known, y
        if len(y) > n:
            model.forecaster_.update(y[n:], None if X is None else X[n:])
        return model

    def simulate(
        self,
        h: int,
        n_paths: int,
        y: Array | None = None,
        X: Any = None,
        X_future: Any = None,
        seed: int | None = None,
        error_distribution: str = "normal",
        error_params: Any = None,
    ) -> Array:
        """Draw possible futures.

        Args:
            h: number of steps.
            n_paths: how many.
            y: a series to fit first; ``None`` for the fitted one.
            X: ``(n, k)``, regressors at these times.
            X_future: ``(h, k)``, those to come.
            seed: of the draws.
            error_distribution: only ``"normal"``; the noise is part of the model.
            error_params: only ``None``.

        Returns:
            ``(n_paths, h)`` draws.

        Raises:
            InputError: another distribution of the errors.
        """
        if error_distribution != "normal" or error_params is not None:
            raise InputError(
                "expected error_distribution='normal' and error_params=None, the noise of the model, "
                f"got {error_distribution!r} and {error_params!r}"
            )
        model = self if y is None else self.new()._fit(y, X)
        draws = copy(model._fitted).set_params(random_state=seed).sample(h, n_paths, X_future)
        paths: Array = draws.to_numpy().T
        return paths


def _ascending(level: list[float] | None) -> list[float]:
    """Return levels in percent, as they were written, in ascending order."""
    percents = check_numbers([] if level is None else level, "level")
    if percents.ndim != 1 or not ((percents > 0.0) & (percents < 100.0)).all():
        raise InputError(
            f"level must be a list of percents above 0 and below 100, as [80, 95], got {level!r}"
        )
    return [] if level is None else sorted(level)


def _named(prefix: str, levels: list[float], rows: Array) -> Forecast:
    return {f"{prefix}{percent}": row for percent, row in zip(levels, rows, strict=True)}
