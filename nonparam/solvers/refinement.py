r"""Cholesky factorisation in float32, with solutions refined in float64.

The factor costs half the memory and half the time of one in float64, and is good for a few digits. With
:math:`M = \hat U^\top \hat U \approx A` and residuals in float64, each step corrects the solution by

.. math:: r = b - A x, \quad x \leftarrow x + \alpha p, \quad p = M^{-1} r + \beta p_{\mathrm{last}} .

With :math:`\alpha = 1, \beta = 0` this is plain iterative refinement. Here both are chosen such that the
error is smallest in the norm of :math:`A` (flexible conjugate gradients): for the same products the error is
never larger from the same point, and where a jitter was needed, the steps grow as the root of its ratio to
the smallest eigenvalue instead of as the ratio.

Sources: Higham and Pranesh (2021), SIAM J. Sci. Comput. 43(1), A258-A277, section 3; Notay (2000), SIAM J.
Sci. Comput. 22(4), 1444-1460 (FCG(1)).
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch
from scipy.linalg import lapack
from torch import Tensor

from nonparam.errors import ConvergenceError, InputError, NotPositiveDefiniteError
from nonparam.solvers.cholesky import LARGEST, cholesky, factorise_strips, mirror
from nonparam.solvers.operator import SymmetricOperator
from nonparam.solvers.result import Solve

__all__ = ["MixedSolve", "SingleFactor", "mixed_precision_solve", "refined_solve", "single_cholesky"]

JITTERS = (0.0, 1e-6, 1e-5, 1e-4, 1e-3)  # tried in turn, relative to each entry of the diagonal
STRIP = 2048  # rows that are handled at a time


class Factor(Protocol):
    """Whatever solves a system approximately."""

    def solve(self, b: Tensor) -> Tensor:
        """Return about ``A^-1 b`` for ``b (n, k)``."""


@dataclass(frozen=True)
class SingleFactor:
    """The float32 factor of a matrix near to a symmetric positive definite one.

    Attributes:
        upper: ``(n, n)``, float32; its upper triangle is ``U`` with ``M = U' U``, the rest is not defined.
        jitter: what the diagonal was multiplied by, less one.
    """

    upper: Tensor
    jitter: float

    def solve(self, b: Tensor) -> Tensor:
        """Return ``M^-1 b`` for ``b (n, k)``: computed in float32, given back in the precision of ``b``."""
        half = torch.linalg.solve_triangular(self.upper.mT, b.to(self.upper.dtype), upper=False)
        solution: Tensor = torch.linalg.solve_triangular(self.upper, half, upper=True)
        return solution.to(b.dtype)

    def log_determinant(self) -> float:
        """Return ``log |M|``, which is not that of the matrix: rounding and the jitter are in it."""
        return 2.0 * float(torch.diagonal(self.upper).double().log().sum())


@dataclass(frozen=True)
class MixedSolve(Solve):
    """A solution, and whether float32 sufficed for it.

    Attributes:
        fell_back: whether the float32 factor failed, and a float64 one was made.
    """

    fell_back: bool


def single_cholesky(a: Tensor, jitters: Sequence[float] = JITTERS) -> SingleFactor:
    """Factorise a symmetric positive definite float32 matrix in its own memory.

    Where rounding makes it indefinite, the diagonal is multiplied by one plus the smallest of ``jitters``
    that serves. The factor is only a preconditioner: a jitter costs steps, not accuracy.

    Args:
        a: ``(n, n)``, float32, symmetric and contiguous; overwritten.
        jitters: tried in turn, relative to each entry of the diagonal.

    Returns:
        The factor, and the jitter that it needed.

    Raises:
        InputError: another precision.
        NotPositiveDefiniteError: even the largest jitter did not help, or an entry is not finite.

    Source: Higham and Pranesh (2021), section 3 (a shift relative to the diagonal).

    Examples:
        >>> factor = single_cholesky(torch.tensor([[4.0, 2.0], [2.0, 5.0]]))
        >>> factor.upper.triu(), factor.jitter
        (tensor([[2., 1.],
                [0., 2.]]), 0.0)
    """
    if a.dtype != torch.float32 or not a.is_contiguous():
        raise InputError(f"expected a contiguous matrix of float32, got {a.dtype}: try a.float()")
    diagonal = torch.diagonal(a).clone()
    for jitter in jitters:
        torch.diagonal(a).copy_(diagonal * (1.0 + jitter))
        if _factorise(a):
            return SingleFactor(a, jitter)
        mirror(a)
    raise NotPositiveDefiniteError(
        f"the covariance matrix of {len(a)} rows is not positive definite in float32, even with a relative "
        f"jitter of {jitters[-1]:g}, or has entries that are not finite: try float64, or a larger noise"
    )


@torch.no_grad()
def refined_solve(
    a: SymmetricOperator, factor: Factor, b: Tensor, tolerance: float, *, max_steps: int = 100
) -> Solve:
    """Solve ``A x = b`` to float64 accuracy with an approximate factor.

    Args:
        a: the matrix, float64.
        factor: an approximate factor of it, such as that of `single_cholesky`.
        b: ``(n, k)``, float64.
        tolerance: for the relative residual of every right-hand side.
        max_steps: products with ``a`` at most.

    Returns:
        The solution with its residuals. Where the refinement stalls they are above the tolerance:
        `Solve.certified` raises then.

    Raises:
        InputError: a matrix or right-hand side of another precision.
        ConvergenceError: a product with ``a`` is not finite.

    Source: Higham and Pranesh (2021), section 3; Carson and Higham (2018), SIAM J. Sci. Comput. 40(2).

    Examples:
        >>> from nonparam.solvers.operator import Dense
        >>> a = torch.tensor([[4.0, 2.0], [2.0, 5.0]], dtype=torch.float64)
        >>> b = torch.tensor([[8.0], [9.0]], dtype=torch.float64)
        >>> factor = single_cholesky(a.float())
        >>> refined_solve(Dense(a), factor, b, 1e-12).certified().solution.round(decimals=9)
        tensor([[1.3750],
                [1.2500]], dtype=torch.float64)
    """
    _check(a, b)
    size = torch.linalg.vector_norm(b, dim=0)
    unit = b / torch.where(size > 0.0, size, 1.0)  # no residual leaves the range of float32
    x, left = torch.zeros_like(unit), unit.clone()
    residuals, steps, stalled = (size > 0.0).to(b), 0, False
    while not stalled and steps + 2 <= max_steps and bool((residuals > tolerance).any()):
        missed = torch.nonzero(residuals > tolerance)[:, 0]
        correction, used = _conjugate_gradients(a, factor, left[:, missed], tolerance, max_steps - steps - 1)
        trial = x[:, missed] + correction
        after = unit[:, missed] - _product(a, trial)
        norms = torch.linalg.vector_norm(after, dim=0)
        stalled = not bool((norms < 0.5 * residuals[missed]).any())
        better = norms < residuals[missed]
        kept = missed[better]
        x[:, kept], left[:, kept], residuals[kept] = trial[:, better], after[:, better], norms[better]
        steps += used + 1
    return Solve(x * size, residuals, steps, tolerance, f"refinement with {type(factor).__name__}")


@torch.no_grad()
def mixed_precision_solve(
    a: SymmetricOperator, b: Tensor, tolerance: float, *, max_steps: int = 100
) -> MixedSolve:
    """Solve ``A x = b`` by a float32 Cholesky factor and refinement; by a float64 one where that stalls.

    Args:
        a: the matrix, float64; it need not be in memory.
        b: ``(n, k)``, float64.
        tolerance: for the relative residual of every right-hand side.
        max_steps: products with ``a`` at most, for each factor.

    Returns:
        The solution with its residuals, all within the tolerance. The memory at the peak is one float32
        matrix and a strip of rows; a float64 matrix where ``fell_back`` says so.

    Raises:
        InputError: a matrix or right-hand side of another precision.
        NotPositiveDefiniteError: neither precision could factorise the matrix.
        ConvergenceError: the float64 factor missed the tolerance too.

    Source: Higham and Pranesh (2021), section 3.

    Examples:
        >>> from nonparam.solvers.operator import Dense
        >>> a = torch.tensor([[4.0, 2.0], [2.0, 5.0]], dtype=torch.float64)
        >>> solve = mixed_precision_solve(Dense(a), a[:, :1], 1e-12)
        >>> solve.solution.round(decimals=9).abs(), solve.fell_back
        (tensor([[1.],
                [0.]], dtype=torch.float64), False)
    """
    _check(a, b)
    steps = 0
    with suppress(NotPositiveDefiniteError):
        single = refined_solve(
            a, single_cholesky(_gather(a, torch.float32)), b, tolerance, max_steps=max_steps
        )
        if single.converged:
            return MixedSolve(**vars(single), fell_back=False)
        steps = single.steps
    double = refined_solve(a, cholesky(_gather(a, torch.float64)), b, tolerance, max_steps=max_steps)
    method = f"{double.method} after float32 failed"
    whole = replace(double.certified(), steps=steps + double.steps, method=method)
    return MixedSolve(**vars(whole), fell_back=True)


def _conjugate_gradients(
    a: SymmetricOperator, factor: Factor, b: Tensor, tolerance: float, max_steps: int
) -> tuple[Tensor, int]:
    """Return a solution that starts from zero, and the number of products with ``a`` (Notay, FCG(1))."""
    x, r, steps = torch.zeros_like(b), b, 0
    p = image = torch.zeros_like(b)
    curvature = torch.ones_like(b[0])
    while steps < max_steps and bool((torch.linalg.vector_norm(r, dim=0) > 0.5 * tolerance).any()):
        z = factor.solve(r)
        p = z - p * ((z * image).sum(0) / curvature)  # conjugate to the last direction, whatever rounding did
        image = _product(a, p)
        bend = (p * image).sum(0)
        alpha = torch.where(bend > 0.0, (p * r).sum(0) / bend, 0.0)
        curvature = torch.where(bend > 0.0, bend, 1.0)
        x, r, steps = x + alpha * p, r - alpha * image, steps + 1
        if not bool(alpha.any()):
            break
    return x, steps


def _product(a: SymmetricOperator, v: Tensor) -> Tensor:
    product = a @ v
    if not bool(torch.isfinite(product).all()):
        raise ConvergenceError(
            "a product with the covariance matrix has entries that are not finite: expected a kernel that is "
            "finite at every pair of rows, and a factor that does not overflow; try float64"
        )
    return product


def _check(a: SymmetricOperator, b: Tensor) -> None:
    if a.dtype != torch.float64 or b.dtype != torch.float64:
        raise InputError(f"residuals need float64, got a matrix of {a.dtype} and a right side of {b.dtype}")


def _gather(a: SymmetricOperator, dtype: torch.dtype) -> Tensor:
    """Return the whole matrix, a strip of rows at a time."""
    whole = _buffer(a.shape[0], dtype, a.device)
    for index in torch.arange(a.shape[0], device=a.device).split(STRIP):
        whole[index[0] : index[-1] + 1] = a.rows(index)
    return whole


def _buffer(n: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    if device.type != "cpu":
        return torch.empty(n, n, dtype=dtype, device=device)
    return torch.from_numpy(np.empty((n, n), str(dtype).removeprefix("torch.")))  # numpy asks for huge pages


def _factorise(a: Tensor) -> bool:
    """Factorise in the upper triangle and the diagonal; what is below stays."""
    if a.device.type == "cpu" and len(a) <= LARGEST:
        _, status = lapack.spotrf(a.numpy().T, lower=1, clean=0, overwrite_a=1)
        return status == 0 and bool(torch.isfinite(torch.diagonal(a)).all())
    return factorise_strips(a, STRIP)
