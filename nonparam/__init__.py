"""Gaussian processes and other non-parametric models, behind scikit-learn's API."""

__version__ = "0.1.0"
