"""Forecasting of time series by structural Gaussian processes."""

from nonparam.forecasting.backtest import Backtest
from nonparam.forecasting.forecaster import GPForecaster
from nonparam.forecasting.panel import FittedPanel
from nonparam.forecasting.report import ForecastReport, MemberReport

__all__ = ["Backtest", "FittedPanel", "ForecastReport", "GPForecaster", "MemberReport"]
