"""Gaussian processes and other non-parametric models, behind scikit-learn's API."""

from nonparam.regression import GPRegressor

__all__ = ["GPRegressor"]
__version__ = "0.1.0"
