"""What a fitted forecaster says of the time to come."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from nonparam.errors import InsufficientMemoryError
from nonparam.forecasting.beside import Beside
from nonparam.forecasting.ensemble import Ensemble, marginals
from nonparam.forecasting.fitting import Fit
from nonparam.forecasting.mixture import JointMixture, Mixture, check_joint
from nonparam.forecasting.parameters import check_support
from nonparam.forecasting.validation import Observed, central_levels, read_horizon, read_levels, read_series
from nonparam.solvers.plan import BYTES, CPU, free_memory, readable
from nonparam.threads import threads_for
from nonparam.validation import check_count, check_seed

__all__ = ["Predicting", "quantiles_together"]

Array = NDArray[np.float64]

QUANTILES = (0.1, 0.5, 0.9)
COPIES = 4  # of the draws, while they are made


class Predicting:
    """The forecasts of a forecaster, which fills in the attributes below.

    Examples:
        >>> from nonparam import GPForecaster
        >>> from nonparam.datasets import load_airline
        >>> forecaster = GPForecaster().fit(load_airline())
        >>> forecaster.predict_interval(2, coverage=0.8).columns.tolist()
        ['lower', 'upper']
    """

    support: str | None
    random_state: Any
    ensemble_: Ensemble
    _observed: Observed
    _beside: Beside
    _fit: Fit

    def predict(self, fh: Any, X: Any = None) -> pd.Series:
        """Return the median of the forecast.

        Args:
            fh: a number of steps after the end of the series; a list of steps (1 is the first); or an index
                of future times.
            X: the regressors at these times, if the fit had some; a table may have more rows and columns.

        Returns:
            Series with the continued index.

        Raises:
            InputError: a horizon that is none, or beyond what is sensible or what the calendar can tell, or
                regressors that are missing.
        """
        table = self.predict_quantiles(fh, 0.5, X)
        return pd.Series(table.to_numpy()[:, 0], index=table.index, name=self._observed.y.name)

    def predict_quantiles(self, fh: Any, alpha: Any = QUANTILES, X: Any = None) -> pd.DataFrame:
        """Return quantiles of the forecast of each observation, noise included.

        Args:
            fh: as for `predict`.
            alpha: one or several levels between 0 and 1.
            X: as for `predict`.

        Returns:
            One row for each time, one column, named by the level, for each of ``alpha``.
        """
        check_is_fitted(self)
        levels = read_levels("alpha", alpha)
        rows, index = self._ahead(fh, X)
        return self._quantiles(self._marginals(rows), levels, index)

    def predict_interval(self, fh: Any, coverage: Any = 0.9, X: Any = None) -> pd.DataFrame:
        """Return central intervals, between the quantiles ``(1 - coverage) / 2`` and ``(1 + coverage) / 2``.

        Args:
            fh: as for `predict`.
            coverage: one or several probabilities.
            X: as for `predict`.

        Returns:
            Columns ``"lower"`` and ``"upper"``; for a list of coverages, these below a first level that has
            the coverage.
        """
        wanted = read_levels("coverage", coverage)
        levels = central_levels(wanted)
        table = self.predict_quantiles(fh, levels.ravel(), X)
        names = pd.MultiIndex.from_product([wanted, ["lower", "upper"]], names=["coverage", "bound"])
        table.columns = pd.Index(["lower", "upper"]) if np.ndim(coverage) == 0 else names
        return table

    def predict_var(self, fh: Any, cov: bool = False, X: Any = None) -> pd.DataFrame:
        r"""Return the variances of the observations to come, or their covariances; noise included.

        With the weights, means and covariances of the members, on the scale of the series,

        .. math:: C = \sum_k w_k \big(C_k + (m_k - m)(m_k - m)^\top\big), \quad m = \sum_k w_k m_k.

        A bound at 0 is not counted. Where the logarithm has a say, a few steps of a wide forecast can have a
        variance that is ruled by its farthest tail: quantiles say more.

        Args:
            fh: as for `predict`.
            cov: whether to return the covariances between the times.
            X: as for `predict`.

        Returns:
            A column ``"variance"``; with ``cov``, a row and a column for each time.

        Raises:
            InsufficientMemoryError: the joint covariance of so many times does not fit.
        """
        check_is_fitted(self)
        rows, index = self._ahead(fh, X)
        if cov:
            covariance = self._joint(rows).moments()[1]
            symmetric = 0.5 * (covariance + covariance.T)  # of rounding
            return pd.DataFrame(symmetric, index=index, columns=index)
        return pd.DataFrame({"variance": self._marginals(rows).moments()[1]}, index=index)

    def sample(self, fh: Any, n: int = 1, X: Any = None) -> pd.DataFrame:
        """Draw possible futures.

        Args:
            fh: as for `predict`.
            n: how many.
            X: as for `predict`.

        Returns:
            One row for each time, one column for each draw.

        Raises:
            InputError: a horizon as for `predict`, or a number of draws that is none.
            InsufficientMemoryError: the joint covariance of so many times does not fit, or so many draws.
        """
        check_is_fitted(self)
        check_count(n, "n")
        rng = check_seed(self.random_state)
        rows, index = self._ahead(fh, X)
        _check_draws(int(n), len(rows))
        draws = self._joint(rows).sample(n, rng)
        return pd.DataFrame(np.maximum(draws, self._lowest()).T, index=index)

    def log_predictive_density(self, y: Any, X: Any = None) -> float:
        """Return the joint log density of what came after, in nats.

        Args:
            y: a Series with an index after that of the fitted series, or an array of the observations that
                follow immediately; NaN means missing.
            X: as for `predict`.

        Returns:
            The log density, noise included.

        Raises:
            InsufficientMemoryError: the joint covariance of so many times does not fit.
        """
        check_is_fitted(self)
        came = y if isinstance(y, pd.Series | pd.DataFrame) else None
        observed = read_series(y)
        fh = observed.y.index if came is not None else np.arange(1, len(observed.y) + 1)
        rows, _ = self._ahead(fh, X)
        seen = observed.y.notna().to_numpy()
        return self._joint(rows[seen]).log_density(observed.values)

    def _quantiles(self, mixture: Mixture, levels: Array, index: pd.Index) -> pd.DataFrame:
        table = np.maximum(mixture.quantile(levels), self._lowest())
        return pd.DataFrame(table, index=index, columns=pd.Index(levels, name="quantile"))

    def _ahead(self, fh: Any, X: Any) -> tuple[Array, pd.Index]:
        """Return rows of the ensemble, ``(m, c)``, and their times, for a horizon."""
        positions, index = read_horizon(fh, self._observed.line)
        return self._fit.setting.rows(positions, self._beside.ahead(X, index)), index

    def _lowest(self) -> float:
        """Return the least value that a forecast may have."""
        check_support(self.support)
        is_positive = self.support == "positive" or (
            self.support is None and self._observed.values.min() >= 0
        )
        return 0.0 if is_positive else -np.inf

    def _marginals(self, rows: Array) -> Mixture:
        with threads_for(len(self._observed.values)):
            return self.ensemble_.marginals(rows)

    def _joint(self, rows: Array) -> JointMixture:
        ensemble = self.ensemble_
        check_joint(len(rows), len(self._observed.values), len(ensemble.weights))
        with threads_for(len(self._observed.values)):
            return ensemble.joint(rows)


def quantiles_together(
    forecasters: Sequence[Predicting], fh: Any, alpha: Any, futures: Sequence[Any]
) -> list[pd.DataFrame]:
    """Return what `Predicting.predict_quantiles` returns for each; those that are alike share the work.

    Args:
        forecasters: fitted.
        fh: as for `Predicting.predict`.
        alpha: one or several levels between 0 and 1.
        futures: the regressors, or ``None``, for each.
    """
    levels = read_levels("alpha", alpha)
    ahead = [each._ahead(fh, X) for each, X in zip(forecasters, futures, strict=True)]
    mixtures = marginals([each.ensemble_ for each in forecasters], [rows for rows, _ in ahead])
    return [
        each._quantiles(mixture, levels, index)
        for each, mixture, (_, index) in zip(forecasters, mixtures, ahead, strict=True)
    ]


def _check_draws(n: int, m: int) -> None:
    """Raise `InsufficientMemoryError` unless ``n`` draws of ``m`` times fit."""
    needed, available = COPIES * BYTES * n * m, free_memory(CPU)
    if needed > available:
        raise InsufficientMemoryError(
            f"{n:,} draws of {m:,} times need about {readable(needed)}, and {readable(available)} are free: "
            "draw fewer at a time"
        )
