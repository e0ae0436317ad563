r"""Kronecker products of covariance matrices: a product kernel on a product grid.

.. math:: A = K_1 \otimes K_2 \otimes \dots + \sigma^2 I, \qquad K_i = Q_i \Lambda_i Q_i^\top

has the eigenvectors :math:`Q_1 \otimes Q_2 \otimes \dots` and the eigenvalues
:math:`\Lambda_1 \otimes \Lambda_2 \otimes \dots + \sigma^2`, found in :math:`O(\sum n_i^3)`. The rows are
those of the grid with the last factor varying fastest.

Sources: Van Loan (2000), J. Comput. Appl. Math. 123, 85-100; Saatci (2011), Scalable inference for structured
Gaussian process models, chapter 5.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import scipy.linalg
import torch
from torch import Tensor

from nonparam.errors import InputError, NotPositiveDefiniteError
from nonparam.solvers.cholesky import LARGEST
from nonparam.solvers.operator import Shifted
from nonparam.solvers.result import Solve, relative_residuals

__all__ = ["KroneckerFactor", "KroneckerOperator", "kronecker_eigen"]


@dataclass(frozen=True)
class KroneckerOperator:
    """The Kronecker product of symmetric matrices, multiplied one factor at a time.

    Attributes:
        factors: matrices ``(n_i, n_i)`` of one precision on one device; the operator has ``prod n_i`` rows.

    Source: Van Loan (2000), section 2.

    Examples:
        >>> k = KroneckerOperator((torch.tensor([[2.0, 1.0], [1.0, 2.0]]), torch.eye(2)))
        >>> k @ torch.arange(4.0)[:, None], k.diagonal(), k.rows(torch.tensor([1]))
        (tensor([[2.],
                [5.],
                [4.],
                [7.]]), tensor([2., 2., 2., 2.]), tensor([[0., 2., 0., 1.]]))
    """

    factors: tuple[Tensor, ...]

    @property
    def shape(self) -> torch.Size:
        """Return ``(n, n)``."""
        n = math.prod(len(factor) for factor in self.factors)
        return torch.Size((n, n))

    @property
    def dtype(self) -> torch.dtype:
        """The precision of the factors."""
        return self.factors[0].dtype

    @property
    def device(self) -> torch.device:
        """Where the factors are."""
        return self.factors[0].device

    def __matmul__(self, v: Tensor) -> Tensor:
        """Return the product with ``v (n, k)``, in ``O(n k sum n_i)``."""
        return _multiply(self.factors, v)

    def diagonal(self) -> Tensor:
        """Return the diagonal, ``(n,)``."""
        return _outer([torch.diagonal(factor) for factor in self.factors])

    def rows(self, index: Tensor) -> Tensor:
        """Return the rows with these numbers, ``(b, n)``."""
        places = torch.unravel_index(index, tuple(len(factor) for factor in self.factors))
        return _outer([factor[place] for factor, place in zip(self.factors, places, strict=True)])


@dataclass(frozen=True)
class KroneckerFactor:
    """The eigen-decomposition of a Kronecker product plus a multiple of the identity.

    Attributes:
        operator: the product ``K``.
        noise: what is added to its diagonal.
        values: the eigenvalues ``(n_i,)`` of each factor.
        vectors: their eigenvectors ``(n_i, n_i)``.
        eigenvalues: ``(n,)``, those of ``K + noise I``, in the order of the grid.
    """

    operator: KroneckerOperator
    noise: float
    values: tuple[Tensor, ...]
    vectors: tuple[Tensor, ...]
    eigenvalues: Tensor

    def log_determinant(self) -> float:
        """Return ``log |K + noise I|``."""
        return float(self.eigenvalues.double().log().sum())

    @torch.no_grad()
    def solve(self, b: Tensor, tolerance: float) -> Solve:
        """Solve ``(K + noise I) x = b``, with the residuals of the solution.

        Args:
            b: ``(n, k)``.
            tolerance: for the relative residual of every right-hand side; `Solve.certified` raises above it.
        """
        turned = _multiply([q.mT for q in self.vectors], b) / self.eigenvalues[:, None]
        x = _multiply(self.vectors, turned)
        return Solve(x, relative_residuals(self.whole, x, b), 1, tolerance, "Kronecker eigen-decomposition")

    @property
    def whole(self) -> Shifted:
        """``K + noise I``."""
        return Shifted(self.operator, torch.full_like(self.eigenvalues, self.noise))

    def slopes(self, alpha: Tensor) -> tuple[Tensor, ...]:
        r"""Return the derivative of the log evidence in each factor, ``(n_i, n_i)``.

        With :math:`K = K_1 \otimes K_2 \otimes \dots` it is, all else held, that of

        .. math:: \tfrac12 \sum_t \alpha_t^\top K \alpha_t - \tfrac t2 \sum_j \lambda_j^{-1} q_j^\top K q_j.

        Args:
            alpha: ``(n, t)``, the solves of the outputs.
        """
        with torch.enable_grad():
            factors = [factor.detach().requires_grad_() for factor in self.operator.factors]
            fit = torch.autograd.grad((alpha * _multiply(factors, alpha)).sum(), factors)
        weights = [self._weights(i) for i in range(len(factors))]
        traces = [(q * w) @ q.mT for q, w in zip(self.vectors, weights, strict=True)]
        return tuple(0.5 * (f - alpha.shape[1] * trace) for f, trace in zip(fit, traces, strict=True))

    def _weights(self, i: int) -> Tensor:
        """Return how the trace of the inverse depends on the eigenvalues of factor ``i``, ``(n_i,)``."""
        others = [torch.ones_like(values) if i == j else values for j, values in enumerate(self.values)]
        sizes = [len(values) for values in self.values]
        shares = (_outer(others) / self.eigenvalues).reshape(math.prod(sizes[:i]), sizes[i], -1)
        return shares.sum((0, 2))


def kronecker_eigen(factors: Sequence[Tensor], noise: float) -> KroneckerFactor:
    """Decompose ``K_1 x K_2 x ... + noise I`` (Kronecker products), one factor at a time.

    Args:
        factors: symmetric positive semi-definite matrices ``(n_i, n_i)``.
        noise: the variance of the noise, in the units of the product.

    Returns:
        The decomposition, which solves and gives the determinant.

    Raises:
        InputError: no factors, or one that is not square.
        NotPositiveDefiniteError: a factor with a negative eigenvalue beyond rounding, or an entry that is not
            finite, or a sum that is singular.

    Source: Saatci (2011), chapter 5.

    Examples:
        >>> k = torch.tensor([[2.0, 1.0], [1.0, 2.0]], dtype=torch.float64)
        >>> dense = torch.kron(k, k) + 0.5 * torch.eye(4)
        >>> round(kronecker_eigen((k, k), 0.5).log_determinant(), 4), round(float(torch.logdet(dense)), 4)
        (5.1623, 5.1623)
    """
    if not factors or any(factor.ndim != 2 or len(factor) != factor.shape[1] for factor in factors):
        raise InputError(f"expected square matrices, got {[tuple(factor.shape) for factor in factors]}")
    values, vectors = zip(*(_eigen(factor) for factor in factors), strict=True)
    eigenvalues = _outer(values) + noise
    if not bool((eigenvalues > 0.0).all()):
        raise NotPositiveDefiniteError(
            f"the Kronecker product plus a noise of {noise:g} is singular: expected a positive noise, or "
            "kernels without repeated rows; try a larger noise"
        )
    return KroneckerFactor(KroneckerOperator(tuple(factors)), noise, values, vectors, eigenvalues)


def _eigen(factor: Tensor) -> tuple[Tensor, Tensor]:
    if not bool(torch.isfinite(factor).all()):
        raise NotPositiveDefiniteError("a factor of the Kronecker product has entries that are not finite")
    values, vectors = _decomposed(factor)
    rounding = len(values) * torch.finfo(values.dtype).eps * float(values.abs().max())
    if float(values[0]) < -rounding:
        raise NotPositiveDefiniteError(
            f"a factor of the Kronecker product ({len(values)} rows) has the eigenvalue "
            f"{float(values[0]):.3g}: expected a valid covariance function"
        )
    return values.clamp_(min=0.0), vectors


def _decomposed(factor: Tensor) -> tuple[Tensor, Tensor]:
    if factor.is_cuda or len(factor) > LARGEST:
        values, vectors = torch.linalg.eigh(factor)
        return values, vectors
    found = scipy.linalg.eigh(
        factor.numpy(), driver="evd", check_finite=False
    )  # in three quarters of the time of torch
    return torch.from_numpy(found[0]), torch.from_numpy(found[1])


def _multiply(factors: Sequence[Tensor], v: Tensor) -> Tensor:
    """Turn each axis of the grid in its turn; after the last, they are in their order again."""
    n, k = v.shape
    grid = v.mT
    for factor in factors:
        grid = grid.reshape(k, len(factor), -1).mT @ factor.mT
    return grid.reshape(k, n).mT


def _outer(parts: Sequence[Tensor]) -> Tensor:
    """Return the Kronecker product of the last axes: ``(..., prod n_i)``."""
    return reduce(lambda left, right: (left[..., :, None] * right[..., None, :]).flatten(-2), parts)
