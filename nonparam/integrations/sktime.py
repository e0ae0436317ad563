"""`GPForecaster` as a forecaster of sktime."""

from typing import Any, ClassVar, Self

import pandas as pd
from sklearn.base import clone

from nonparam.errors import InputError
from nonparam.forecasting import GPForecaster
from nonparam.integrations.in_sample import smoothed

try:
    from sktime.forecasting.base import BaseForecaster
except ImportError as error:
    raise ImportError(
        "nonparam.integrations.sktime needs sktime: python -m pip install 'nonparam[sktime]'"
    ) from error

__all__ = ["NonparamForecaster"]


class NonparamForecaster(BaseForecaster):  # type: ignore[misc]  # sktime is untyped
    """Forecast in sktime by an average of structural Gaussian processes.

    What is forecast is the median, with exact quantiles of the average. Times within the series get the
    smoothed fit, which has no intervals. Several series, or a table, are fitted one by one. Variances are
    those of the average. ``X`` holds regressors, and a forecast needs them at its times too. ``update`` fits
    everything anew; with ``update_params=False`` it keeps the hyperparameters, takes in what is later than
    the series, and leaves what was seen before as it was.

    Args:
        forecaster: with the parameters to use, which sktime's searches reach by names such as
            ``"forecaster__season"``; ``None`` for ``GPForecaster()``.

    Attributes:
        forecaster_: fitted.

    Examples:
        >>> from nonparam.datasets import load_airline
        >>> from nonparam.forecasting import GPForecaster
        >>> from nonparam.integrations.sktime import NonparamForecaster
        >>> model = NonparamForecaster(GPForecaster(season=12)).fit(load_airline(), fh=[1, 12])
        >>> model.predict().index
        PeriodIndex(['1961-01', '1961-12'], dtype='period[M]')
        >>> model.predict_quantiles(alpha=[0.1, 0.9]).shape
        (2, 2)
    """

    _tags: ClassVar[dict[str, Any]] = {
        "authors": "nonparam",
        "maintainers": "nonparam",
        "python_dependencies": "nonparam",
        "y_inner_mtype": "pd.Series",
        "X_inner_mtype": "pd.DataFrame",
        "capability:multivariate": False,
        "capability:exogenous": True,
        "capability:insample": True,
        "capability:pred_int": True,
        "capability:pred_int:insample": False,
        "capability:missing_values": True,
        "capability:categorical_in_X": False,
        "capability:update": True,
        "requires-fh-in-fit": False,
    }
    _config: ClassVar[dict[str, Any]] = {"remember_data": False}  # the fitted forecaster holds them

    def __init__(self, forecaster: GPForecaster | None = None) -> None:
        self.forecaster = forecaster
        super().__init__()
        self._y = self._X = None  # what sktime fills in, should a user make it remember the data

    def _fit(self, y: pd.Series, X: pd.DataFrame | None, fh: Any) -> Self:
        self._seen, self._seen_X = y, X
        self.forecaster_ = clone(GPForecaster() if self.forecaster is None else self.forecaster).fit(y, X)
        return self

    def _update(self, y: pd.Series, X: pd.DataFrame | None = None, update_params: bool = True) -> Self:
        later = y[y.index > self._seen.index.max()]
        self._seen, self._seen_X = _joined(self._seen, y), _joined(self._seen_X, X)
        if update_params:
            self._fit(self._seen, self._seen_X, None)
        elif len(later):
            self.forecaster_.update(later, X)
        return self

    def _predict(self, fh: Any, X: pd.DataFrame | None) -> pd.Series:
        index = fh.to_absolute_index(self.cutoff)
        later = index > self._seen.index.max()
        pieces = [] if later.all() else [self._smoothed(index[~later])]
        pieces += [self.forecaster_.predict(index[later], X)] if later.any() else []
        forecast: pd.Series = pd.concat(pieces).rename(self._seen.name)
        return forecast

    def _smoothed(self, index: pd.Index) -> pd.Series:
        link, fit = smoothed(self.forecaster_)
        if not index.isin(fit.index).all():
            raise InputError(
                f"expected times of the series or after it, got {index.difference(fit.index)!r}; "
                "leave these out of fh"
            )
        return pd.Series(link.inverse(fit.loc[index].to_numpy()), index=index)

    def _predict_quantiles(self, fh: Any, X: pd.DataFrame | None, alpha: list[float]) -> pd.DataFrame:
        table: pd.DataFrame = self.forecaster_.predict_quantiles(fh.to_absolute_index(self.cutoff), alpha, X)
        table.columns = pd.MultiIndex.from_product([self._get_varnames(), alpha])
        return table

    def _predict_var(self, fh: Any, X: pd.DataFrame | None, cov: bool = False) -> pd.DataFrame:
        index, names = fh.to_absolute_index(self.cutoff), self._get_varnames()
        table: pd.DataFrame = self.forecaster_.predict_var(index, cov, X)
        table.columns = pd.MultiIndex.from_product([names, index]) if cov else pd.Index(names)
        return table

    @classmethod
    def get_test_params(cls, parameter_set: str = "default") -> list[dict[str, Any]]:
        """Return the parameters that sktime's checks are run with.

        Args:
            parameter_set: not used, there is one set of parameters for all checks.

        Returns:
            Parameters for the constructor.

        Examples:
            >>> [sorted(parameters) for parameters in NonparamForecaster.get_test_params()]
            [['forecaster'], ['forecaster']]
        """
        quick = GPForecaster(season=None, transform="identity", components=["base", "level"], average=False)
        return [{"forecaster": quick}, {"forecaster": clone(quick).set_params(components=["base", "drift"])}]


def _joined(before: Any, new: Any) -> Any:
    """Return rows seen before and new ones, which replace those of the same times; ``None`` for no rows."""
    if before is None or new is None:
        return before if new is None else new
    return pd.concat([before[~before.index.isin(new.index)], new]).sort_index()
