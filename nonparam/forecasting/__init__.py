"""Forecasting of time series by structural Gaussian processes."""

from nonparam.forecasting.forecaster import GPForecaster
from nonparam.forecasting.report import ForecastReport, MemberReport

__all__ = ["ForecastReport", "GPForecaster", "MemberReport"]
