"""Forecasting of time series by structural Gaussian processes."""
