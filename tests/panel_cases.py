"""Quick forecasters for panels, in a module that workers can import."""

import os
import time
import warnings

import numpy as np
import pandas as pd
import torch
from scipy.special import ndtri
from threadpoolctl import threadpool_info

from nonparam import GPForecaster
from nonparam.forecasting.report import ForecastReport, MemberReport
from nonparam.forecasting.validation import read_horizon, read_series


class Naive(GPForecaster):
    """The last value, plus 10 times the regressor where there is one, and the deviation of the series."""

    def fit(self, y, X=None):
        self._observed, self._regressors = read_series(y), X
        member = MemberReport((), "identity", 1.0, 0.0, {}, 0, 0, True, "")
        seen = len(self._observed.values)
        self.report_ = ForecastReport((member,), seen, len(self._observed.y) - seen, 0.0)
        return self

    def predict_quantiles(self, fh, alpha=(0.1, 0.5, 0.9), X=None):
        positions, index = read_horizon(fh, self._observed.line)
        mean = np.full(len(positions), self._observed.values[-1])
        if X is not None:
            mean = mean + 10.0 * X.loc[index].to_numpy()[:, 0]
        levels = np.atleast_1d(alpha)
        table = mean[:, None] + self._observed.values.std() * ndtri(levels)
        return pd.DataFrame(table, index=index, columns=pd.Index(levels, name="quantile"))


class Slow(Naive):
    """Takes a tenth of a second."""

    def fit(self, y, X=None):
        time.sleep(0.1)
        return super().fit(y, X)


class Warning(Naive):
    """Warns, by the name of the series."""

    def fit(self, y, X=None):
        time.sleep(0.01)
        warnings.warn(f"beware of {y.name}", UserWarning, stacklevel=2)
        return super().fit(y, X)


class Threads(Naive):
    """Tells how many threads it has in each library."""

    def fit(self, y, X=None):
        counts = {pool["num_threads"] for pool in threadpool_info()} | {torch.get_num_threads()}
        warnings.warn(f"threads {sorted(counts)}", UserWarning, stacklevel=2)
        return super().fit(y, X)


class Moody(Naive):
    """Fails in ways that no forecaster should."""

    def fit(self, y, X=None):
        if y.name == "raises":
            raise ZeroDivisionError("by zero")
        if y.name == "interrupts":
            raise MemoryError
        return super().fit(y, X)

    def predict_quantiles(self, fh, alpha=(0.1, 0.5, 0.9), X=None):
        if self._observed.y.name == "predicts badly":
            raise RuntimeError("no forecast")
        return super().predict_quantiles(fh, alpha, X)


class Deadly(Naive):
    """Ends the process that fits it."""

    def fit(self, y, X=None):
        os._exit(1)


class Choosy(GPForecaster):
    """Cannot be fitted to a series whose last value is 13, alone or among others."""

    def take(self, observed, beside, fit, seconds):
        if observed.values[-1] == 13.0:
            raise ArithmeticError("thirteen")
        super().take(observed, beside, fit, seconds)


class Shy(GPForecaster):
    """Forecasts no series whose last value is 13."""

    def _lowest(self):
        if self._observed.values[-1] == 13.0:
            raise ArithmeticError("thirteen")
        return super()._lowest()
