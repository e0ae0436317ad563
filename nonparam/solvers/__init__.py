"""Solvers of linear systems with a covariance matrix, one algorithm a file."""
