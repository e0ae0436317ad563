"""Solvers of linear systems with a covariance matrix, one algorithm a file."""

from nonparam.solvers.cholesky import CholeskyFactor, cholesky
from nonparam.solvers.plan import Plan, choose

__all__ = ["CholeskyFactor", "Plan", "cholesky", "choose"]
