"""What is known beside the series, as columns beside the time: working days, regressors and holidays."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from nonparam.errors import InputError
from nonparam.forecasting.holidays import Holidays, read_holidays
from nonparam.forecasting.regressors import Regressors, read_regressors
from nonparam.forecasting.structure import WORKING_DAYS
from nonparam.forecasting.timeline import Timeline
from nonparam.forecasting.validation import Observed
from nonparam.forecasting.working_days import has_working_days, working_days

__all__ = ["Beside", "read_beside"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Beside:
    """Columns of three groups, of which each has a prior of its own; months have working days.

    Attributes:
        line: the times of the series.
        regressors: a user's table; ``None`` without one.
        holidays: named days; ``None`` without any.

    Examples:
        >>> from nonparam.forecasting.validation import read_series
        >>> y = pd.Series([1.0, 2.0, 4.0], index=pd.date_range("2020-12-24", periods=3))
        >>> beside = read_beside([0.0, 1.0, 1.0], {"christmas": "2020-12-25"}, read_series(y))
        >>> beside.groups, beside.seen().tolist()
        ({'regressors': (1,), 'holidays': (2,)}, [[0.0, 0.0], [1.0, 1.0], [1.0, 0.0]])
    """

    line: Timeline
    regressors: Regressors | None
    holidays: Holidays | None

    @property
    def groups(self) -> dict[str, tuple[int, ...]]:
        """Which columns belong to each group; column 0 is the time."""
        sizes = {
            WORKING_DAYS: int(has_working_days(self.line)),
            "regressors": len(self.regressors.names) if self.regressors is not None else 0,
            "holidays": len(self.holidays.names) if self.holidays is not None else 0,
        }
        ends = np.cumsum([1, *sizes.values()])
        return {
            name: tuple(range(int(end) - size, int(end)))
            for (name, size), end in zip(sizes.items(), ends[1:], strict=True)
            if size
        }

    def effects(self) -> dict[str, tuple[str, int, float]]:
        """Return of each column its group, its number, and how much of it one unit of the user's makes."""
        found: dict[str, tuple[str, int, float]] = {}
        if has_working_days(self.line):
            found["a working day"] = (WORKING_DAYS, self.groups[WORKING_DAYS][0], 1.0)
        if self.regressors is not None:
            columns = zip(
                self.regressors.names, self.groups["regressors"], self.regressors.scale, strict=True
            )
            found |= {str(name): ("regressors", i, float(1.0 / scale)) for name, i, scale in columns}
        if self.holidays is not None:
            pairs = zip(self.holidays.names, self.groups["holidays"], strict=True)
            found |= {name: ("holidays", i, 1.0) for name, i in pairs}
        return found

    def seen(self) -> Array:
        """Return the columns at the times of the series, ``(n, k)``; NaN where ``X`` was not given."""
        own = None if self.regressors is None else self.regressors.seen()
        return self._stacked(own, self.line.index)

    def ahead(self, X: Any, index: pd.Index) -> Array:
        """Return the columns at other times, ``(m, k)``.

        Args:
            X: the regressors there.
            index: the ``m`` times.

        Raises:
            InputError: regressors that are missing, or that the fit did not have.
        """
        if self.regressors is None and X is not None:
            raise InputError("the forecaster was fitted without X, and has no use for X now: leave it out")
        own = None if self.regressors is None else self.regressors.ahead(X, index)
        return self._stacked(own, index)

    def _stacked(self, regressors: Array | None, index: pd.Index) -> Array:
        none = np.zeros((len(index), 0))
        return np.concatenate(
            [
                working_days(self.line, index) if has_working_days(self.line) else none,
                none if regressors is None else regressors,
                none if self.holidays is None else self.holidays.columns(self.line, index),
            ],
            1,
        )


def read_beside(X: Any, holidays: Any, observed: Observed) -> Beside:
    """Read regressors and holidays.

    Args:
        X: as `nonparam.forecasting.regressors.read_regressors` takes it, or ``None``.
        holidays: as `nonparam.forecasting.holidays.read_holidays` takes them, or ``None``.
        observed: the series.

    Returns:
        Both, with the working days of months; possibly without any column.
    """
    return Beside(
        observed.line,
        None if X is None else read_regressors(X, observed.y, observed.given),
        None if holidays is None else read_holidays(holidays, observed.line),
    )
