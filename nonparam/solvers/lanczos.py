r"""Lanczos tridiagonalisation of a symmetric operator, and what follows from it.

From a start :math:`v_1`, :math:`m` products with :math:`A` give an orthonormal basis :math:`V_m` of the
Krylov space and a tridiagonal :math:`T_m` with diagonal :math:`\alpha` and off-diagonal :math:`\beta`,

.. math:: A V_m = V_m T_m + \beta_m v_{m+1} e_m^\top, \qquad f(A) b \approx \|b\| \, V_m f(T_m) e_1.

The basis is made orthogonal in full, so that :math:`T_m` keeps its meaning in floating point. What rounding
does to the products is measured: it makes :math:`V_m^\top A V_m` differ from a symmetric tridiagonal.

Source: Lanczos (1950), J. Res. Nat. Bur. Standards 45, 255-282; Golub and Van Loan (2013), Matrix
computations, chapter 10; "twice is enough": Parlett (1998), The symmetric eigenvalue problem, section 6.9.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Protocol

import torch
from torch import Tensor
from torch.nn.functional import pad

from nonparam.errors import ConvergenceError, InputError

__all__ = [
    "Applied",
    "ExtremeEigenvalues",
    "Products",
    "Tridiagonal",
    "apply_function",
    "begun",
    "extreme_eigenvalues",
    "lanczos",
    "longer",
]

FIRST_CHECK = 8  # steps before the first look at the error; later looks come after a quarter more
BREAKDOWN = 10.0  # a residual below this many roundings is zero: the space is invariant

Function = Callable[[Tensor], Tensor]


class Products(Protocol):
    """A real symmetric ``n x n`` matrix that only multiplies: any `SymmetricOperator`, a Hessian."""

    def __matmul__(self, v: Tensor) -> Tensor:
        """Return the product with ``v (n, k)``: ``(n, k)``."""


@dataclass(frozen=True)
class Tridiagonal:
    """The Lanczos relation ``A V = V T + beta_m v_(m+1) e_m'`` of each of ``k`` starts.

    Where a Krylov space became invariant, ``beta`` and the vectors are 0 from there on, and ``alpha`` repeats
    the first one, a number within the spectrum that nothing couples to.

    Attributes:
        alpha: ``(k, m)``, the diagonal of ``T``.
        beta: ``(k, m)``, the off-diagonal, and last the norm of the residual.
        basis: ``(k, m + 1, n)``, the vectors ``v``, orthonormal rows.
        size: ``(k,)``, the norm of the start.
        defect: ``(k,)``, the largest part of a product that is due to rounding.
    """

    alpha: Tensor
    beta: Tensor
    basis: Tensor
    size: Tensor
    defect: Tensor

    @property
    def steps(self) -> int:
        """The number ``m`` of products."""
        return self.alpha.shape[1]

    @property
    def n(self) -> int:
        """The number of rows of the matrix."""
        return self.basis.shape[2]

    @property
    def invariant(self) -> Tensor:
        """Whether the space of each start is invariant, so that all that follows is exact: ``(k,)``."""
        return self.beta[:, -1] == 0.0

    @property
    def rounding(self) -> Tensor:
        """How far the rounding of the products may move the eigenvalues of ``T``: ``(k, 1)``, float64."""
        least = torch.finfo(self.basis.dtype).eps * self.scale
        return torch.maximum(least, self.defect)[:, None].double()

    @property
    def scale(self) -> Tensor:
        """The largest entry of ``T``, within a factor of 3 of its norm: ``(k,)``."""
        return torch.maximum(self.alpha.abs().amax(1), self.beta.amax(1))

    def ended(self, max_steps: int) -> bool:
        """Whether no step is left to make: ``max_steps`` were made, or every space is invariant."""
        return self.steps >= min(max_steps, self.n) or bool(self.invariant.all())

    def matrices(self) -> Tensor:
        """Return ``T`` of each start in float64: ``(k, m, m)``."""
        lower = torch.diag_embed(self.beta[:, :-1].double(), -1)
        return torch.diag_embed(self.alpha.double()) + lower + lower.mT

    def ritz(self) -> tuple[Tensor, Tensor]:
        """Return the eigenvalues ``(k, m)``, ascending, and the eigenvectors ``(k, m, m)`` of ``T``."""
        return tuple(torch.linalg.eigh(self.matrices()))

    def combine(self, small: Tensor) -> Tensor:
        """Return ``V small`` for ``small (k, m)``: ``(k, n)``."""
        return (small.to(self.basis)[:, None] @ self.basis[:, :-1])[:, 0]

    def select(self, keep: Tensor) -> "Tridiagonal":
        """Return the starts where ``keep (k,)`` is true."""
        return Tridiagonal(*(getattr(self, field.name)[keep] for field in fields(self)))


@dataclass(frozen=True)
class ExtremeEigenvalues:
    """The two ends of the spectrum of a symmetric operator.

    Attributes:
        smallest: the smallest Ritz value: not below the smallest eigenvalue but for rounding.
        largest: the largest Ritz value: not above the largest eigenvalue but for rounding.
        errors: ``(smallest, largest)``: an eigenvalue lies within this distance of each.
        steps: products with the matrix.
        tolerance: what the errors were asked to reach, relative to the norm.
    """

    smallest: float
    largest: float
    errors: tuple[float, float]
    steps: int
    tolerance: float

    @property
    def converged(self) -> bool:
        """Whether both errors reached the tolerance."""
        return max(self.errors) <= self.tolerance * max(abs(self.smallest), abs(self.largest))

    def certified(self) -> "ExtremeEigenvalues":
        """Return the record itself; raise `ConvergenceError` where an end missed the tolerance."""
        if self.converged:
            return self
        raise ConvergenceError(
            f"Lanczos: the ends of the spectrum, {self.smallest:.4g} and {self.largest:.4g}, are known to "
            f"{max(self.errors):.2g} after {self.steps} steps: expected a relative error of "
            f"{self.tolerance:g}; try more steps, a larger tolerance, or float64"
        )


@dataclass(frozen=True)
class Applied:
    """A function of a symmetric operator, times several vectors.

    Attributes:
        product: ``(n, k)``, ``f(A) b``.
        errors: ``(k,)``, the estimated relative error of each column: an estimate, not a bound.
        steps: products with the whole matrix.
        tolerance: what the largest error was asked to reach.
    """

    product: Tensor
    errors: Tensor
    steps: int
    tolerance: float

    @property
    def converged(self) -> bool:
        """Whether every column reached the tolerance."""
        return bool((self.errors <= self.tolerance).all())

    def certified(self) -> "Applied":
        """Return the record itself; raise `ConvergenceError` where a column missed the tolerance."""
        if self.converged:
            return self
        missed = int((~(self.errors <= self.tolerance)).sum())
        raise ConvergenceError(
            f"Lanczos: {missed} of {len(self.errors)} columns of f(A) b missed the tolerance "
            f"{self.tolerance:g} after {self.steps} steps; the largest error is about "
            f"{float(self.errors.max()):.2g}: try more steps, a larger tolerance, float64, or a larger noise"
        )


@torch.no_grad()
def lanczos(a: Products, start: Tensor, steps: int) -> Tridiagonal:
    r"""Tridiagonalise a symmetric operator from several starts at once, with full reorthogonalisation.

    .. math:: A V_m = V_m T_m + \beta_m v_{m+1} e_m^\top, \qquad V_m^\top V_m = I

    Args:
        a: ``A``, ``n x n``.
        start: ``(n, k)``, one start a column, none of them zeros.
        steps: ``m``; at most ``n`` are made.

    Raises:
        InputError: a start of zeros.
        ConvergenceError: a product or a start is not finite.

    Source: Golub and Van Loan (2013), algorithm 10.1.1, with the Gram-Schmidt step done twice.

    Examples:
        >>> from nonparam.solvers.operator import Dense
        >>> found = lanczos(Dense(torch.diag(torch.tensor([1.0, 3.0]))), torch.ones(2, 1), 2)
        >>> found.alpha.round(decimals=4), found.beta.round(decimals=4)
        (tensor([[2., 2.]]), tensor([[1., 0.]]))
    """
    return _extended(a, begun(start), min(steps, len(start)))


@torch.no_grad()
def begun(start: Tensor) -> Tridiagonal:
    """Return the relation of 0 steps from ``start (n, k)``."""
    largest = start.abs().amax(0)
    if bool((largest == 0.0).any()):
        raise InputError("Lanczos: a start is a column of zeros, expected none: its Krylov space is empty")
    start = start / largest  # squares of small numbers underflow
    size = torch.linalg.vector_norm(start, dim=0)
    empty = start.new_zeros(len(size), 0)
    return Tridiagonal(empty, empty, (start / size).mT[:, None], largest * size, torch.zeros_like(size))


@torch.no_grad()
def longer(a: Products, relation: Tridiagonal, max_steps: int) -> Tridiagonal:
    """Return a relation with a quarter more steps, ``max_steps`` at most in all."""
    more = max(FIRST_CHECK, relation.steps // 4)
    return _extended(a, relation, min(relation.steps + more, max_steps, relation.n))


@torch.no_grad()
def extreme_eigenvalues(
    a: Products, start: Tensor, *, tolerance: float = 1e-3, max_steps: int = 200
) -> ExtremeEigenvalues:
    r"""Return both ends of the spectrum with error bounds.

    With the eigenpairs :math:`(\theta, s)` of :math:`T_m`, some eigenvalue :math:`\lambda` of :math:`A` has

    .. math:: |\lambda - \theta| \le \beta_m |s_m|,

    to which the rounding of the products is added. From a random start it is the outermost one, unless the
    start happens to be almost orthogonal to its eigenvector.

    Args:
        a: ``A``, ``n x n``.
        start: ``(n, k)``, random vectors; one serves, more make a miss less likely.
        tolerance: of the two bounds, relative to the norm of ``A``.
        max_steps: products at most.

    Raises:
        InputError: a start of zeros.
        ConvergenceError: a product is not finite.

    Source: Golub and Van Loan (2013), theorem 10.1.2; the start: Kuczynski and Wozniakowski (1992), SIAM J.
    Matrix Anal. Appl. 13(4), 1094-1122.

    Examples:
        >>> from nonparam.solvers.operator import Dense
        >>> a = Dense(torch.diag(torch.tensor([1.0, 2.0, 5.0])))
        >>> found = extreme_eigenvalues(a, torch.ones(3, 1)).certified()
        >>> round(found.smallest, 4), round(found.largest, 4), found.steps
        (1.0, 5.0, 3)
    """
    relation = begun(start)
    while True:
        relation = longer(a, relation, max_steps)
        found = _ends(relation, tolerance)
        if found.converged or relation.ended(max_steps):
            return found


@torch.no_grad()
def apply_function(
    a: Products, f: Function, b: Tensor, *, tolerance: float = 1e-6, max_steps: int = 300
) -> Applied:
    r"""Return a function of a symmetric operator times several vectors.

    .. math:: f(A) b \approx \|b\| \, V_m f(T_m) e_1

    The error of a column is estimated from successive differences, as a geometric series, and from rounding.
    A column where the first part reached the tolerance leaves the products.

    Args:
        a: ``A``, ``n x n``.
        f: takes a tensor of eigenvalues, float64, to one of the same shape: ``torch.sqrt``, ``torch.exp``.
        b: ``(n, k)``.
        tolerance: of the relative error ``|y - f(A) b| / |f(A) b|`` of each column.
        max_steps: products at most; the basis of ``k max_steps n`` numbers is kept.

    Returns:
        The products with an estimated error each; a column of zeros gives zeros with error 0.

    Raises:
        ConvergenceError: a product, ``b``, or ``f`` at an eigenvalue is not finite.

    Source: Saad (1992), SIAM J. Numer. Anal. 29(1), 209-228, equation 4; Higham (2008), Functions of
    matrices, section 13.2.

    Examples:
        >>> from nonparam.solvers.operator import Dense
        >>> a = Dense(torch.tensor([[2.0, 0.0], [0.0, 8.0]]))
        >>> apply_function(a, torch.log2, torch.ones(2, 1)).certified().product.round(decimals=4)
        tensor([[1.],
                [3.]])
    """
    product, errors = torch.zeros_like(b), b.new_zeros(b.shape[1])
    columns = b.any(0).nonzero().ravel()
    if len(columns) == 0:
        return Applied(product, errors, 0, tolerance)
    relation = begun(b[:, columns])
    small = gap = torch.zeros(len(columns), 1, dtype=torch.float64, device=b.device)
    while True:
        relation = longer(a, relation, max_steps)
        small, gap, rest, rounded = _successive(relation, f, small, gap)
        product[:, columns] = relation.combine(small).mT * relation.size
        errors[columns] = (rest + rounded)[:, 0].to(b)
        left = ~(rest[:, 0] <= tolerance)
        if relation.ended(max_steps) or not bool(left.any()):
            return Applied(product, errors, relation.steps, tolerance)
        columns, relation, small, gap = columns[left], relation.select(left), small[left], gap[left]


def _extended(a: Products, relation: Tridiagonal, steps: int) -> Tridiagonal:
    more = steps - relation.steps
    alpha, beta = pad(relation.alpha, (0, more)), pad(relation.beta, (0, more))
    basis = pad(relation.basis, (0, 0, 0, more))
    found = Tridiagonal(alpha, beta, basis, relation.size, relation.defect.clone())
    for j in range(relation.steps, steps):
        _step(a, found, j)
    if not bool((alpha.isfinite() & beta.isfinite()).all()):
        raise ConvergenceError(
            f"Lanczos: a product with the matrix is not finite within {steps} steps: expected a finite "
            "matrix and finite vectors; try float64, or lengthscales and variances nearer to the data's"
        )
    return found


def _step(a: Products, found: Tridiagonal, j: int) -> None:
    known = found.basis[:, : j + 1]
    w, first = _orthogonal((a @ known[:, j].mT).mT, known)
    w, second = _orthogonal(w, known)
    parts = first + second
    found.alpha[:, j] = parts[:, j]
    if j > 0:
        before = found.beta[:, j - 1]
        found.alpha[:, j] = torch.where(before == 0.0, found.alpha[:, 0], parts[:, j])
        parts[:, j - 1] -= before
        torch.maximum(found.defect, torch.linalg.vector_norm(parts[:, :j], dim=1), out=found.defect)
    beta = torch.linalg.vector_norm(w, dim=1)
    invariant = beta <= BREAKDOWN * found.rounding[:, 0]
    if j + 1 == w.shape[1]:
        invariant = beta.isfinite()
    found.beta[:, j] = torch.where(invariant, 0.0, beta)
    found.basis[:, j + 1] = torch.where(invariant[:, None], 0.0, w / beta[:, None])


def _orthogonal(w: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
    """Return ``w (k, n)`` without its parts along ``known (k, j, n)``, and these parts ``(k, j)``."""
    parts = known @ w[:, :, None]
    return w - (known.mT @ parts)[:, :, 0], parts[:, :, 0]


def _ends(relation: Tridiagonal, tolerance: float) -> ExtremeEigenvalues:
    values, vectors = relation.ritz()
    bounds = relation.beta[:, -1:].double() * vectors[:, -1].abs() + relation.rounding
    low, high = int(values[:, 0].argmin()), int(values[:, -1].argmax())
    errors = (float(bounds[low, 0]), float(bounds[high, -1]))
    smallest, largest = float(values[low, 0]), float(values[high, -1])
    return ExtremeEigenvalues(smallest, largest, errors, relation.steps, tolerance)


def _successive(
    relation: Tridiagonal, f: Function, before: Tensor, gap: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return ``f(T) e_1``, its distance from the one before, and its relative errors by both causes."""
    values, vectors = relation.ritz()
    values = torch.where(values < -10.0 * relation.rounding, values, values.clamp(min=0.0))
    now = _first_column(f(values), vectors)
    if not bool(now.isfinite().all()):
        raise ConvergenceError(
            f"Lanczos: the function is not finite at an eigenvalue between {float(values.min()):.4g} and "
            f"{float(values.max()):.4g}: expected one that is finite over the spectrum; try a larger noise"
        )
    step = _size(now - pad(before, (0, now.shape[1] - before.shape[1])))
    rest = torch.where(step < gap, step * gap / (gap - step), torch.inf)
    rest = torch.where(relation.invariant[:, None] | (step == 0.0), 0.0, rest)
    rounded = _size(_first_column(f(values + relation.rounding), vectors) - now)
    size = torch.where(now.any(1, keepdim=True), _size(now), 1.0)
    return now, step, rest / size, rounded / size


def _first_column(f: Tensor, vectors: Tensor) -> Tensor:
    return (vectors @ (f * vectors[:, 0])[:, :, None])[:, :, 0]


def _size(rows: Tensor) -> Tensor:
    size: Tensor = torch.linalg.vector_norm(rows, dim=1, keepdim=True)
    return size
