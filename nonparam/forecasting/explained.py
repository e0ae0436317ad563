"""What a fitted forecaster says of itself: its parts, pictures, words."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import ndtri
from sklearn.utils.validation import check_is_fitted

from nonparam.forecasting.findings import Fitted, find
from nonparam.forecasting.predicting import Predicting
from nonparam.forecasting.report import ForecastReport
from nonparam.forecasting.structures import compare_structures
from nonparam.forecasting.validation import read_levels
from nonparam.forecasting.words import Findings, describe
from nonparam.threads import threads_for

__all__ = ["Explained"]

Array = NDArray[np.float64]


class Explained(Predicting):
    """The explanations of a forecaster, which fills in the attributes below.

    Examples:
        >>> from nonparam import GPForecaster
        >>> from nonparam.datasets import load_airline
        >>> forecaster = GPForecaster().fit(load_airline())
        >>> print(forecaster.summary().splitlines()[1])
        Scale: the logarithm, 10^12 times as probable as the series as it is: its swings grow with its level.
    """

    report_: ForecastReport

    def _fitted(self) -> Fitted:
        check_is_fitted(self)
        return Fitted(self._observed, self._beside, self._fit.setting, self.ensemble_, self.report_)

    def decompose(self, fh: Any = None, X: Any = None, coverage: float = 0.95) -> pd.DataFrame:
        """Split the most evident member's fit into its parts, each with its band; from the first observation.

        The means of the parts add up to that of the fit, on the scale of that member's transform: of the
        logarithm of the series, say, which ``attrs["transform"]`` of the result tells. Parts that look alike
        (base and level, drift and trend) are known less well than their sum.

        Args:
            fh: also split the forecast, as for `predict`.
            X: as for `predict`.
            coverage: of the bands, which do not contain the noise.

        Returns:
            Columns ``"mean"``, ``"lower"`` and ``"upper"`` below a first level: base, drift, trend, level,
            slope, seasons, memory, regressors and holidays, those that the member has, and their sum,
            ``"fit"``.
            Where ``y`` and ``X`` are missing together, the regressors' part and the fit are NaN.
        """
        present = self._fitted().ensemble.present
        (level,) = read_levels("coverage", coverage)
        groups = {name: (name,) for name in ("base", *present)}  # which has the centre, whatever else
        parts, index = self._parts(fh, X, {**groups, "fit": ("base", *present)})
        reach = ndtri(0.5 + 0.5 * level) * np.array([[0.0, -1.0, 1.0]])
        columns = pd.MultiIndex.from_product([parts, ["mean", "lower", "upper"]], names=["part", "bound"])
        tables = [mean[:, None] + sd[:, None] * reach for mean, sd in parts.values()]
        table = pd.DataFrame(np.concatenate(tables, 1), index=index, columns=columns)
        table.attrs["transform"] = self.ensemble_.first_transform.link.name
        return table

    def _parts(
        self, fh: Any, X: Any, groups: Mapping[str, Collection[str]]
    ) -> tuple[dict[str, tuple[Array, Array]], pd.Index]:
        """Return mean and standard deviation of sums of parts, from the first observation to a horizon."""
        first = int(self._observed.y.notna().argmax())
        index = self._observed.y.index[first:]
        rows = self._fit.setting.rows(self._observed.line.locate(index), self._beside.seen()[first:])
        if fh is not None:
            later, future = self._ahead(fh, X)
            rows, index = np.concatenate([rows, later]), index.append(future)
        with threads_for(len(self._observed.values)):
            return self.ensemble_.parts(rows, groups), index

    def plot_components(self, fh: Any = None, *, X: Any = None, axes: Any = None) -> Any:
        """Draw the parts of the most evident member's fit, along the series and its forecast.

        The bands are the central 50, 80 and 95 %, without noise, on the scale of the member's transform.
        Base, drift, trend and level share a panel: one by one they are known less well than their sum.

        Args:
            fh: as for `predict`; by default two cycles of the season, or a quarter of the series.
            X: as for `predict`.
            axes: matplotlib axes to draw on, one for each part; those of a new figure by default.

        Returns:
            The axes.

        Raises:
            InputError: another number of axes.
        """
        from nonparam.forecasting.plot import draw_parts, panels

        groups = panels(self._fitted().ensemble.present)
        parts, index = self._parts(self.default_horizon() if fh is None else fh, X, groups)
        return draw_parts(self._observed.y, parts, index, self.ensemble_.first_transform.link, axes)

    def default_horizon(self) -> int:
        """Return two seasons, or a quarter of a series without any, in steps."""
        check_is_fitted(self)
        cycle = self._fit.setting.cycle
        return round(2.0 * cycle.periods[0]) if cycle.periods else max(1, len(self._observed.y) // 4)

    def summary(self) -> str:
        """Return what was found, in words.

        In a line each: what was seen; on which scale and why; whether there is a season, and how large it
        is; the change of the trend, with its interval; the noise; the effects of a unit of each regressor,
        and of each holiday; what to distrust. Below, all structures with their weights and evidences.
        """
        return f"{describe(self.findings())}\n\n{self.report_}"

    def compare(
        self, structures: Sequence[str] | None = None, *, fh: int | None = None, origins: int = 3
    ) -> pd.DataFrame:
        """Fit named structures to the series, and tell which one the data support.

        Args:
            structures: names such as ``"season"``, ``"no season"``, ``"log"``, ``"identity"``, ``"no trend"``
                (neither drift, trend nor slope), ``"no level"``, ``"no memory"``, ``"level only"``, or
                several at once, as in ``"no season, log"``. What a name leaves open is chosen by evidence. By
                default, all that the forecaster can do without.
            fh: also predict the last ``fh`` steps of the series from what is before them, the ``fh`` steps
                before, and so on.
            origins: from how many origins.

        Returns:
            A row for each name, the most evident first: ``log_evidence`` in nats (hyperparameters integrated
            out, on the scale of the series, whatever the transform), ``log_density`` with ``fh`` (joint, of
            held-out observations, per observation, in nats), ``weight`` (the probability of the structure if
            one of the table is true; rows that chose the same have the same weight, which counts once),
            ``effective_parameters``, the ``transform`` and the ``parts``.

        Raises:
            InputError: a name that is unknown, or a series that is too short for ``fh``.

        Examples:
            >>> from nonparam import GPForecaster
            >>> from nonparam.datasets import load_airline
            >>> forecaster = GPForecaster().fit(load_airline())
            >>> forecaster.compare(["season", "no season"])["weight"].round(3).to_dict()
            {'season': 1.0, 'no season': 0.0}
        """
        fitted = self._fitted()
        with threads_for(len(self._observed.values)):
            return compare_structures(self, fitted, structures, fh, origins)

    def findings(self) -> Findings:
        """Return what `summary` tells, as numbers on the scale of the most evident member."""
        fitted = self._fitted()
        with threads_for(len(self._observed.values)):
            return find(fitted, self.default_horizon())
