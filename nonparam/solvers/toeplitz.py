r"""Symmetric Toeplitz matrices: covariances of a stationary process on a regular grid.

The inverse has no constant diagonals, but its first column :math:`x = A^{-1} e_1` determines it (Gohberg and
Semencul), and with it the sums along its diagonals,

.. math:: s_k = \sum_i (A^{-1})_{i, i+k} = \frac{1}{x_0} \sum_{m=0}^{n-1-k} (n - k - 2m) \, x_m x_{m+k}.

Source: Gohberg and Semencul (1972), Mat. Issled. 7(2), 201-223; Golub and Van Loan (2013), section 4.7.
"""

import math
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.fft import next_fast_len
from torch import Tensor

from nonparam.errors import InputError, NotPositiveDefiniteError
from nonparam.solvers.result import Solve, relative_residuals

__all__ = ["ToeplitzOperator", "ToeplitzSolve", "autocorrelation", "inverse_diagonal_sums", "levinson"]

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


@dataclass(frozen=True)
class ToeplitzOperator:
    """A symmetric Toeplitz matrix, multiplied by FFT as a corner of a circulant one.

    Attributes:
        first_row: ``(n,)``, the covariances at the lags 0, 1, ...

    Source: Golub and Van Loan (2013), section 4.8.2.

    Examples:
        >>> t = ToeplitzOperator(torch.tensor([2.0, 1.0, 0.0]))
        >>> (t @ torch.ones(3, 1)).round(decimals=4), t.rows(torch.tensor([2]))
        (tensor([[3.],
                [4.],
                [3.]]), tensor([[0., 1., 2.]]))
    """

    first_row: Tensor
    _spectrum: Tensor = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Compute the eigenvalues of the circulant matrix, which are real."""
        n = len(self.first_row)
        circulant = self.first_row.new_zeros(2 * next_fast_len(n, real=True))
        circulant[:n] = self.first_row
        circulant[len(circulant) - n + 1 :] = self.first_row[1:].flip(0)
        object.__setattr__(self, "_spectrum", torch.fft.rfft(circulant).real)

    @property
    def shape(self) -> torch.Size:
        """Return ``(n, n)``."""
        return torch.Size((len(self.first_row), len(self.first_row)))

    @property
    def dtype(self) -> torch.dtype:
        """The precision of the row."""
        return self.first_row.dtype

    @property
    def device(self) -> torch.device:
        """Where the row is."""
        return self.first_row.device

    @property
    def size(self) -> int:
        """The rows of the circulant matrix, at least ``2 n``."""
        return 2 * (len(self._spectrum) - 1)

    def __matmul__(self, v: Tensor) -> Tensor:
        """Return the product with ``v (n, k)``, in ``O(k n log n)``."""
        product = torch.fft.rfft(v.mT, n=self.size) * self._spectrum
        whole: Tensor = torch.fft.irfft(product, n=self.size)
        return whole[:, : len(v)].mT

    def diagonal(self) -> Tensor:
        """Return the diagonal, ``(n,)``."""
        return self.first_row[:1].expand(len(self.first_row))

    def rows(self, index: Tensor) -> Tensor:
        """Return the rows with these numbers, ``(b, n)``."""
        place = torch.arange(len(self.first_row), device=self.device)
        return self.first_row[(index[:, None] - place).abs()]


@dataclass(frozen=True)
class ToeplitzSolve(Solve):
    """A solution of a Toeplitz system, and what its recursion gives besides.

    Attributes:
        log_determinant: ``log |A|``.
        inverse_column: ``(n,)``, the first column of the inverse, see `inverse_diagonal_sums`.
    """

    log_determinant: float
    inverse_column: Tensor


def levinson(first_row: Tensor, b: Tensor, tolerance: float) -> ToeplitzSolve:
    r"""Solve a symmetric positive definite Toeplitz system in ``O(n^2)``, and give its determinant.

    With the predictor :math:`y` of order :math:`m`, its error variance :math:`\beta_m` and :math:`E` the
    reversal of a vector, order follows order by

    .. math::

        \mu = (b_m - r^\top E x) / \beta_m, \quad x \leftarrow (x + \mu E y, \mu), \quad
        \log|A| = \sum_m \log \beta_m .

    Args:
        first_row: ``(n,)``, the covariances at the lags, noise included.
        b: ``(n, k)``.
        tolerance: for the relative residual of every right-hand side.

    Returns:
        The solution, float64, with its residuals: they grow with the condition of the matrix a little faster
        than those of a Cholesky factor; `Solve.certified` raises above the tolerance.

    Raises:
        InputError: shapes that do not fit.
        NotPositiveDefiniteError: a prediction error that is not positive, in a matrix that is not positive
            definite to rounding.

    Source: Golub and Van Loan (2013), algorithms 4.7.1 (Durbin) and 4.7.2 (Levinson).

    Examples:
        >>> row = torch.tensor([2.0, 1.0, 0.5], dtype=torch.float64)
        >>> solve = levinson(row, torch.tensor([[2.0], [1.0], [0.5]], dtype=torch.float64), 1e-12)
        >>> solve.solution[:, 0].round(decimals=9).abs(), round(solve.log_determinant, 4)
        (tensor([1., 0., 0.], dtype=torch.float64), 1.5041)
    """
    if first_row.ndim != 1 or b.ndim != 2 or len(b) != len(first_row):
        raise InputError(f"expected (n,) and (n, k), got {tuple(first_row.shape)} and {tuple(b.shape)}")
    row, right = first_row.double(), b.double()
    x, predictor, variances = _recursion(row.cpu().numpy(), right.cpu().numpy())
    solution = torch.from_numpy(x).to(b.device)
    column = torch.from_numpy(np.append(1.0, predictor) / variances[-1]).to(b.device)
    residuals = relative_residuals(ToeplitzOperator(row), solution, right)
    determinant = float(np.log(variances).sum())
    return ToeplitzSolve(solution, residuals, 1, tolerance, "Levinson recursion", determinant, column)


def _recursion(row: Array, b: Array) -> tuple[Array, Array, Array]:
    """Return the solution ``(n, k)``, the predictor ``(n - 1,)`` and the error variances ``(n,)``.

    The predictor solves the system with the right-hand side ``-row[1:]``: it is the first row of the state.
    """
    n, k = b.shape
    backward, right = np.ascontiguousarray(row[::-1]), np.vstack([np.append(-row[1:], 0.0), b.T])
    state, variances = np.zeros((k + 1, n)), np.empty(n)
    beta = float(row[0])
    for m in range(n):
        if not 0.0 < beta < math.inf:
            raise NotPositiveDefiniteError(_advice(beta, m, n))
        variances[m] = beta
        last = (right[:, m] - state[:, :m] @ backward[n - 1 - m : n - 1]) / beta
        if m == n - 1:
            last[0] = 0.0  # the predictor is complete
        state[:, :m] += last[:, None] * state[0, :m][::-1]
        state[:, m] = last
        alpha = float(last[0])
        beta *= (1.0 - alpha) * (1.0 + alpha)
    return state[1:].T, state[0, : n - 1], variances


def _advice(variance: float, m: int, n: int) -> str:
    return (
        f"the Toeplitz covariance matrix of {n} rows is not positive definite: from {m} rows the next is "
        f"predicted with the variance {variance:.3g}; expected a valid covariance; try a larger noise"
    )
