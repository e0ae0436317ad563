r"""Symmetric Toeplitz matrices: covariances of a stationary process on a regular grid.

The inverse has no constant diagonals, but its first column :math:`x = A^{-1} e_1` determines it (Gohberg and
Semencul), and with it the sums along its diagonals,

.. math:: s_k = \sum_i (A^{-1})_{i, i+k} = \frac{1}{x_0} \sum_{m=0}^{n-1-k} (n - k - 2m) \, x_m x_{m+k}.

Source: Gohberg and Semencul (1972), Mat. Issled. 7(2), 201-223; Golub and Van Loan (2013), section 4.7.
"""

import numpy as np
from numpy.typing import NDArray

__all__ = ["autocorrelation", "inverse_diagonal_sums"]

Array = NDArray[np.float64]


def autocorrelation(a: Array, b: Array) -> Array:
    """Return ``sum_m a_m b_(m+k)`` for ``k = 0, ..., n-1``.

    Examples:
        >>> autocorrelation(np.array([1.0, 2.0]), np.array([3.0, 5.0]))
        array([13.,  5.])
    """
    sums: Array = np.correlate(b, a, mode="full")[len(a) - 1 :]
    return sums


def inverse_diagonal_sums(first: Array) -> Array:
    """Return the sums along the diagonals of the inverse of a symmetric Toeplitz matrix.

    Args:
        first: ``(n,)``, the first column of the inverse.

    Returns:
        ``(n,)``: the trace, then the sums of the diagonals above it.

    Examples:
        >>> a = np.array([[2.0, 1.0], [1.0, 2.0]])
        >>> inverse_diagonal_sums(np.linalg.inv(a)[:, 0]).round(4)
        array([ 1.3333, -0.3333])
    """
    place = np.arange(float(len(first)))
    weighted = autocorrelation((len(first) - 2.0 * place) * first, first)
    sums: Array = (weighted - place * autocorrelation(first, first)) / first[0]
    return sums
