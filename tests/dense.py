"""Gaussian process regression by the textbook's dense formulas: inverses and determinants, nothing clever."""

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]

LOG_2PI = np.log(2 * np.pi)


def log_normal(y: Matrix, mean: Matrix, covariance: Matrix) -> float:
    residual = y - mean
    quadratic = residual @ np.linalg.inv(covariance) @ residual
    return float(-0.5 * (quadratic + np.linalg.slogdet(covariance)[1] + len(y) * LOG_2PI))


def coefficients(A: Matrix, y: Matrix, H: Matrix) -> Matrix:
    """Generalised least squares, the weights of the basis functions of the mean."""
    precision = np.linalg.inv(A)
    return np.linalg.inv(H.T @ precision @ H) @ H.T @ precision @ y


def log_marginal_likelihood(A: Matrix, y: Matrix, H: Matrix) -> float:
    return log_normal(y, H @ coefficients(A, y, H), A)


def posterior(
    A: Matrix, cross: Matrix, prior: Matrix, y: Matrix, H: Matrix, H_new: Matrix
) -> tuple[Matrix, Matrix]:
    """Mean and covariance of the function at new rows, the uncertainty of the mean's weights included.

    ``A (n, n)`` with noise, ``cross (n, m)``, ``prior (m, m)``, ``H (n, q)``, ``H_new (m, q)``.
    """
    precision = np.linalg.inv(A)
    beta = coefficients(A, y, H)
    R = H_new.T - H.T @ precision @ cross
    mean = H_new @ beta + cross.T @ precision @ (y - H @ beta)
    covariance = prior - cross.T @ precision @ cross + R.T @ np.linalg.inv(H.T @ precision @ H) @ R
    return mean, covariance


def rbf(X: Matrix, Z: Matrix, lengthscale: float = 1.0, outputscale: float = 1.0) -> Matrix:
    r2 = ((X[:, None] - Z[None]) ** 2).sum(-1)
    return outputscale * np.exp(-0.5 * r2 / lengthscale**2)


def basis(name: str, X: Matrix) -> Matrix:
    ones = np.ones((len(X), 1))
    return {"zero": ones[:, :0], "constant": ones, "linear": np.hstack([ones, X])}[name]
