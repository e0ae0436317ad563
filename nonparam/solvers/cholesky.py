r"""Cholesky factorisation in float64, with a reported jitter where rounding asks for one.

The factor is kept as the upper triangle :math:`U` with :math:`A = U^\top U`: in the row-major memory of a
tensor that is LAPACK's lower triangle, so on a CPU every step works in place. Below a few thousand rows
SciPy's LAPACK on one thread is the fastest there is (see docs/decisions/0003-threads-and-lapack.md).
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from scipy.linalg import blas, lapack
from torch import Tensor

from nonparam.errors import NotPositiveDefiniteError

__all__ = ["JITTERS", "LARGEST", "CholeskyFactor", "cholesky", "factorise_strips", "mirror", "outer_minus"]

JITTERS = (0.0, 1e-12, 1e-10, 1e-8, 1e-6)  # tried in turn, relative to the mean of the diagonal
LARGEST = 16_000  # rows: with two threads SciPy's LAPACK ends the process from 24,000 on, or before
STRIP = 1024  # rows that are handled at a time beyond it


@dataclass(frozen=True)
class CholeskyFactor:
    """The factor of a symmetric positive definite matrix ``A + jitter I``.

    Attributes:
        upper: ``(n, n)``; its upper triangle is ``U`` with ``A = U' U``, the rest is not defined.
        jitter: what was added to the diagonal, in the units of ``A``.
    """

    upper: Tensor
    jitter: float

    @property
    def n(self) -> int:
        """The number of rows."""
        return self.upper.shape[-1]

    def log_determinant(self) -> float:
        """Return ``log |A|``."""
        return 2.0 * float(torch.diagonal(self.upper).log().sum())

    def solve(self, b: Tensor) -> Tensor:
        """Return ``A^-1 b`` for ``b`` of shape ``(n, k)``."""
        if self.upper.is_cuda:
            return torch.cholesky_solve(b, self.upper, upper=True)
        solution, _ = lapack.dpotrs(self._lower(), b.numpy(), lower=1)
        return torch.from_numpy(solution)

    def half_solve(self, b: Tensor) -> Tensor:
        """Return ``U^-T b``, whose squared columns sum to ``diag(b' A^-1 b)``, for ``b`` of ``(n, k)``."""
        if self.upper.is_cuda:
            half: Tensor = torch.linalg.solve_triangular(self.upper.triu().mT, b, upper=False)
            return half
        solution, _ = lapack.dtrtrs(self._lower(), b.numpy(), lower=1)
        return torch.from_numpy(solution)

    def gram(self, b: Tensor) -> Tensor:
        """Return ``b' A^-1 b``, ``(k, k)``, for ``b`` of shape ``(n, k)``."""
        half = self.half_solve(b)
        return half.mT @ half

    def quadratic(self, b: Tensor) -> Tensor:
        """Return the diagonal of ``b' A^-1 b``, ``(k,)``."""
        return self.half_solve(b).square().sum(0)

    def multiply(self, z: Tensor) -> Tensor:
        """Return ``U' z``: a draw with covariance ``A`` for standard normal ``z`` of shape ``(n, k)``."""
        return self._clean().mT @ z

    def extended(self, cross: Tensor, corner: Tensor) -> "CholeskyFactor":
        r"""Return the factor of the matrix with ``m`` rows more, in ``O(n^2 m)``.

        .. math::

            U_+ = \begin{pmatrix} U & U^{-\top} B \\ 0 & \mathrm{chol}(C - B^\top A^{-1} B) \end{pmatrix}

        The jitter of the old rows is given to the new ones too, and more where they need it.

        Args:
            cross: ``B``, ``(n, m)``.
            corner: ``C``, ``(m, m)``.
        """
        half = self.half_solve(cross)
        left = corner - half.mT @ half
        torch.diagonal(left).add_(self.jitter)
        block = cholesky(left, float(torch.diagonal(corner).mean()))
        upper = torch.zeros(self.n + block.n, self.n + block.n, dtype=cross.dtype, device=cross.device)
        upper[: self.n, : self.n] = self._clean()
        upper[: self.n, self.n :] = half
        upper[self.n :, self.n :] = block._clean()
        return CholeskyFactor(upper, self.jitter + block.jitter)

    def inverse_in_place(self) -> Tensor:
        """Return ``A^-1`` in the upper triangle of the memory of the factor, which is lost."""
        if self.upper.is_cuda:
            return torch.cholesky_inverse(self.upper, upper=True)
        inverse, _ = lapack.dpotri(self._lower(), lower=1, overwrite_c=1)
        return torch.from_numpy(inverse.T)

    def _lower(self) -> np.ndarray:
        lower: np.ndarray = self.upper.numpy().T  # column-major: LAPACK takes it without a copy
        return lower

    def _clean(self) -> Tensor:
        return self.upper.triu()


def cholesky(a: Tensor, scale: float | None = None) -> CholeskyFactor:
    """Factorise a symmetric positive definite matrix in its own memory.

    Where rounding makes it indefinite, a multiple of the identity is added, the smallest of `JITTERS` that
    serves; it is reported, never silent.

    Args:
        a: ``(n, n)``, float64, symmetric and contiguous; overwritten.
        scale: what the jitter is relative to; by default the mean of the diagonal.

    Returns:
        The factor, and the jitter that it needed.

    Raises:
        NotPositiveDefiniteError: even the largest jitter did not help, or an entry is not finite.

    Source: Golub and Van Loan (2013), Matrix computations, section 4.2.

    Examples:
        >>> factor = cholesky(torch.tensor([[4.0, 2.0], [2.0, 5.0]], dtype=torch.float64))
        >>> factor.upper.triu(), factor.jitter
        (tensor([[2., 1.],
                [0., 2.]], dtype=torch.float64), 0.0)
    """
    diagonal = torch.diagonal(a).clone()
    scale = float(diagonal.mean()) if scale is None else scale
    for relative in JITTERS:
        jitter = relative * scale
        if jitter > 0.0:
            torch.diagonal(a).copy_(diagonal + jitter)
        if _factorise(a):
            return CholeskyFactor(a, jitter)
        mirror(a)
    raise NotPositiveDefiniteError(_advice(a, diagonal))


def outer_minus(a: Tensor, factor: float, symmetric: Tensor) -> Tensor:
    """Return ``a a' - factor * symmetric`` in the upper triangle of the memory of ``symmetric``.

    Args:
        a: ``(n, t)``.
        factor: a number.
        symmetric: ``(n, n)``, of which the upper triangle is read; overwritten.

    Examples:
        >>> a = torch.tensor([[1.0], [2.0]], dtype=torch.float64)
        >>> outer_minus(a, 1.0, torch.eye(2, dtype=torch.float64)).triu()
        tensor([[0., 2.],
                [0., 3.]], dtype=torch.float64)
    """
    if symmetric.is_cuda:
        return torch.addmm(symmetric, a, a.mT, beta=-factor, out=symmetric)
    result = blas.dsyrk(1.0, a.numpy(), beta=-factor, c=symmetric.numpy().T, lower=1, overwrite_c=1)
    return torch.from_numpy(result.T)


def factorise_strips(a: Tensor, width: int) -> bool:
    """Factorise with matrix products in strips of rows, in the upper triangle; what is below it stays.

    Args:
        a: ``(n, n)``, symmetric; its upper triangle is overwritten.
        width: rows of a strip.

    Returns:
        Whether the matrix is positive definite.

    Source: Golub and Van Loan (2013), Matrix computations, section 4.2.5.
    """
    for low in range(0, len(a), width):
        strip, square = a[low : low + width, low:], slice(0, min(width, len(a) - low))
        strip_of_factor = a[:low, low:]
        below = strip[:, square].tril(-1)
        strip.addmm_(strip_of_factor[:, square].mT, strip_of_factor, alpha=-1.0)
        upper, status = torch.linalg.cholesky_ex(strip[:, square], upper=True)
        strip[:, square] = upper.triu() + below
        if int(status) or not bool(torch.isfinite(torch.diagonal(upper)).all()):
            return False
        right = strip[:, square.stop :]
        right.copy_(torch.linalg.solve_triangular(upper.mT, right, upper=False))
    return True


def mirror(a: Tensor) -> None:
    """Copy what is below the diagonal to the part above it, a strip at a time.

    Examples:
        >>> a = torch.tensor([[1.0, 9.0], [2.0, 3.0]])
        >>> mirror(a)
        >>> a
        tensor([[1., 2.],
                [2., 3.]])
    """
    for low, square in zip(range(0, len(a), STRIP), _squares(a), strict=True):
        high = low + STRIP
        square.copy_(square.tril() + square.tril(-1).mT)
        a[low:high, high:] = a[high:, low:high].mT


def _factorise(a: Tensor) -> bool:
    if not a.is_cuda and len(a) > LARGEST:
        return factorise_strips(a, STRIP)
    if a.is_cuda:
        upper, info = torch.linalg.cholesky_ex(a, upper=True)
        a.copy_(upper + a.tril(-1))
        status = int(info)
    else:
        _, status = lapack.dpotrf(a.numpy().T, lower=1, clean=0, overwrite_a=1)
    return status == 0 and math.isfinite(float(torch.diagonal(a).sum()))


def _squares(a: Tensor) -> list[Tensor]:
    """Return the squares along the diagonal."""
    return [a[i : i + STRIP, i : i + STRIP] for i in range(0, len(a), STRIP)]


def _advice(a: Tensor, diagonal: Tensor) -> str:
    below = all(bool(torch.isfinite(a[i : i + STRIP, :i]).all()) for i in range(0, len(a), STRIP))
    below = below and all(bool(torch.isfinite(square.tril(-1)).all()) for square in _squares(a))
    if not bool(torch.isfinite(diagonal).all()) or not below:
        return (
            "the covariance matrix has entries that are not finite: expected a kernel that is finite at "
            "every pair of rows; try lengthscales and variances nearer to the scale of the data"
        )
    return (
        f"the covariance matrix ({len(diagonal)} rows, mean variance {float(diagonal.mean()):.3g}) is not "
        f"positive definite, even with a relative jitter of {JITTERS[-1]:g}: expected a valid covariance "
        "function; try a larger noise, or a shorter lengthscale"
    )
