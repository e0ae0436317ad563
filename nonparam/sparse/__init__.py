"""Gaussian processes of many rows, approximated by inducing points."""

from nonparam.sparse.estimator import SparseGPRegressor

__all__ = ["SparseGPRegressor"]
