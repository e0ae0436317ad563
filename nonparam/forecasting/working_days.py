r"""Working days of months: a month with five weekends sells, makes and carries less or more.

.. math:: \phi(t) = w_t - \tfrac57 d_t

with :math:`d_t` days, of which :math:`w_t` are Mondays to Fridays: the working days beyond those that so many
days have on average. What the length itself does belongs to the season. Quarters differ too little: on 202 of
them forecasts were none the better.

Source: Findley, Monsell, Bell, Otto and Chen (1998), New capabilities and methods of the X-12-ARIMA
seasonal-adjustment program, Journal of Business and Economic Statistics 16, section 3.1: the trading-day
regressor with one coefficient, up to a factor.
"""

import math

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from nonparam.forecasting.calendars import YEAR
from nonparam.forecasting.spans import days_of
from nonparam.forecasting.timeline import Periods, Stamps, Timeline

__all__ = ["has_working_days", "working_days"]

Array = NDArray[np.float64]

MONTH = YEAR / 12.0  # on average
SHARE = 5.0 / 7.0  # of all days


def has_working_days(line: Timeline) -> bool:
    """Whether the steps of a series are months, which differ in their working days."""
    seconds = line.seconds
    return isinstance(line, Periods | Stamps) and seconds is not None and math.isclose(seconds, MONTH)


def working_days(line: Timeline, index: pd.Index) -> Array:
    """Return the working days beyond five sevenths of all days.

    Args:
        line: of the series.
        index: ``m`` times of the same kind.

    Returns:
        ``(m, 1)``.

    Examples:
        >>> from nonparam.forecasting.timeline import timeline
        >>> line = timeline(pd.period_range("2021-01", periods=3, freq="M"))
        >>> working_days(line, line.index).ravel().round(2)  # 21 of 31, 20 of 28, 23 of 31
        array([-1.14,  0.  ,  0.86])
    """
    first, last = (days.astype("datetime64[D]") for days in days_of(line, index))
    after = last + 1
    column: Array = np.busday_count(first, after) - SHARE * (after - first).astype(np.float64)
    return column[:, None]
