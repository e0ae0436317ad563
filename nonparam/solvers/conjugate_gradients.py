r"""Preconditioned block conjugate gradients, each right-hand side certified.

The right-hand sides share one space of directions, in which each of them is solved for: on the elevators data
(13,000 rows, 11 right-hand sides, a preconditioner of rank 100) that takes 8 steps, with a space for each 11;
with 33 right-hand sides and a tenth of the noise (5,000 rows) 12 and 27. The residuals are kept as
:math:`R = Q C` with :math:`Q^\top P^{-1} Q = I`, so that dependent right-hand sides do no harm.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from nonparam.errors import ConvergenceError, InputError
from nonparam.solvers.operator import SymmetricOperator
from nonparam.solvers.preconditioner import Preconditioner
from nonparam.solvers.result import Solve

__all__ = ["conjugate_gradients"]

CHECK = 50  # iterations between two looks at the true residuals
TRUST = 2.0  # a true residual above so many times the recursion's: rounding has taken over
GAIN = 0.5  # a restart must have brought at least this factor for another one

OnStep = Callable[[int, float], None]


def conjugate_gradients(
    a: SymmetricOperator,
    b: Tensor,
    *,
    preconditioner: Preconditioner | None = None,
    initial: Tensor | None = None,
    tolerance: float = 0.01,
    max_steps: int = 1000,
    on_step: OnStep | None = None,
) -> Solve:
    r"""Solve ``A X = B`` for a symmetric positive definite matrix.

    .. math::

        X \leftarrow X + S M C, \quad Q' \zeta = Q - A S M, \quad S \leftarrow P^{-1} Q' + S \zeta^\top, \quad
        C \leftarrow \zeta C, \qquad M = (S^\top A S)^{-1}

    When the recursion's residuals have all reached the tolerance, they are computed anew from the solution.
    Where one is larger than the recursion's, or rounding made :math:`S^\top A S` indefinite, the block
    restarts from where it is; a column is given up once a restart did not halve its residual. The best
    iterate of each column by true residual is handed back.

    Args:
        a: ``A``, ``n x n``.
        b: ``B``, ``(n, k)``, of any size: each column is normalised.
        preconditioner: ``P``; by default the identity.
        initial: ``(n, k)``, where to start; a column that is no better than zeros is dropped.
        tolerance: of the largest relative residual.
        max_steps: products with the whole matrix; the last certificate may be one more.
        on_step: called after each iteration with the number of products so far and the largest residual by
            the recursion.

    Returns:
        The record; `Solve.certified` raises where a column missed the tolerance.

    Raises:
        InputError: ``b`` or ``initial`` of another shape, or not finite.
        ConvergenceError: the operator or the preconditioner gave NaN or infinity.

    Source: O'Leary (1980), Linear Algebra Appl. 29, 293-322; with orthonormal residuals: Dubrulle (2001),
    ETNA 12, 216-233, algorithm BCGrQ; true residuals: van der Vorst and Ye (2000), SIAM J. Sci. Comput. 22,
    835-852.

    Examples:
        >>> from nonparam.solvers.operator import Dense
        >>> a = Dense(torch.diag(torch.tensor([1.0, 2.0, 2.0])))
        >>> solve = conjugate_gradients(a, torch.tensor([[1.0], [2.0], [4.0]]), tolerance=1e-5)
        >>> solve.solution.T.round(decimals=4), solve.steps, solve.converged
        (tensor([[1., 1., 2.]]), 3, True)
    """
    if not tolerance > 0.0:
        raise InputError(f"tolerance must be positive, got {tolerance!r}")
    b = _checked(a, b, (a.shape[0], "k"), "b")
    scale = _norm(b)
    unit = torch.where(scale > 0.0, scale, 1.0).to(b)
    run = _Run(a, b / unit, preconditioner, tolerance, max_steps, on_step)
    run.iterate(None if initial is None else _checked(a, initial, tuple(b.shape), "initial") / unit)
    name = "" if preconditioner is None else f", preconditioner of {preconditioner}"
    return Solve(run.best * unit, run.residuals, run.steps, tolerance, f"conjugate gradients{name}")


@dataclass(frozen=True)
class _Block:
    """Iterates of some right-hand sides, which share one space of search directions.

    Attributes:
        index: which right-hand sides, ``(c,)``.
        x: ``(n, c)``.
        q: a basis of their residuals by the recursion, ``R = Q C``, ``(n, m)``, with ``Q' P^-1 Q = I``.
        c: ``C``, ``(m, c)``, float64.
        s: the directions, ``(n, m)``.
        size: the norms of the residuals, ``(c,)``; 0 where rounding broke the recursion.
        is_new: whether no step was made yet.
    """

    index: Tensor
    x: Tensor
    q: Tensor
    c: Tensor
    s: Tensor
    size: Tensor
    is_new: bool = False

    def at(self, keep: Tensor) -> "_Block":
        """Return the iterates of some of the columns; the directions serve them all."""
        return replace(
            self, index=self.index[keep], x=self.x[:, keep], c=self.c[:, keep], size=self.size[keep]
        )

    def __len__(self) -> int:
        return len(self.index)


class _Run:
    """A solve under way: the best iterates, their true residuals, and the products spent."""

    def __init__(
        self,
        a: SymmetricOperator,
        b: Tensor,
        preconditioner: Preconditioner | None,
        tolerance: float,
        max_steps: int,
        on_step: OnStep | None,
    ) -> None:
        self.a, self.b, self.preconditioner = a, b, preconditioner
        self.tolerance, self.max_steps, self.on_step = tolerance, max_steps, on_step
        self.best = torch.zeros_like(b)
        self.residuals = _norm(b)
        self.steps = 0

    def iterate(self, initial: Tensor | None) -> None:
        """Sweep and certify until every column is done or given up."""
        block = self.begin(initial)
        last = self.residuals.clone()  # where each column started last
        while len(block) and self.steps < self.max_steps:
            block = self.certify(self.sweep(block), last)

    def begin(self, initial: Tensor | None) -> _Block:
        """Return the columns that are not done before the first step."""
        r = self.b
        if initial is not None:
            left = self.residual(torch.arange(r.shape[1], device=r.device), initial)
            better = _norm(left) < self.residuals
            self.best, r = torch.where(better, initial, self.best), torch.where(better, left, r)
            self.residuals = _norm(r)
        index = torch.nonzero(self.residuals > self.tolerance).flatten()
        return self.start(index, self.best[:, index], r[:, index])

    def start(self, index: Tensor, x: Tensor, r: Tensor) -> _Block:
        """Return a block whose directions are the preconditioned residuals."""
        q, z, c = self.orthonormal(r)
        return _Block(index, x, q, c, z, _norm(r), is_new=True)

    def orthonormal(self, r: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return ``Q``, ``P^-1 Q`` and ``C``, where ``R = Q C`` and ``Q' P^-1 Q = I``, of full rank.

        Columns are scaled first: what is dropped depends on the others, and is not merely small.
        """
        z = r if self.preconditioner is None else self.preconditioner.solve(r)
        self.check(z, "a residual")
        gram = _inner(r, z)
        size = torch.diagonal(gram).clamp_min(0.0).sqrt()
        size = torch.where(size > 0.0, size, 1.0)
        values, vectors = torch.linalg.eigh((gram + gram.mT) / (2.0 * size * size[:, None]))
        kept = values > len(values) * torch.finfo(r.dtype).eps * values[-1:]
        roots, vectors = values[kept].sqrt(), vectors[:, kept]
        turn = (vectors / roots / size[:, None]).to(r)
        return r @ turn, z @ turn, roots[:, None] * vectors.mT * size

    def sweep(self, block: _Block) -> _Block:
        """Iterate until every column seems done, or it is time to look at the true residuals."""
        for _ in range(CHECK):
            if self.steps >= self.max_steps or bool((block.size <= self.tolerance).all()):
                break
            block = self.advance(block)
        return block

    def advance(self, block: _Block) -> _Block:
        """Make one step; where rounding has taken over, the block stays where it is."""
        w = self.multiply(block.s)
        if block.is_new:
            self.check(w, "the first directions")
        curvature = _inner(block.s, w)
        root, failed = torch.linalg.cholesky_ex((curvature + curvature.mT) / 2.0)
        if bool(failed) or not bool(torch.isfinite(root).all()):
            return replace(block, size=torch.zeros_like(block.size))
        inverse = torch.cholesky_inverse(root)
        x = torch.addmm(block.x, block.s, (inverse @ block.c).to(w))
        q, z, turn = self.orthonormal(torch.addmm(block.q, w, inverse.to(w), alpha=-1.0))
        c = turn @ block.c
        size = _norm(q @ c.to(q))
        if self.on_step is not None:
            self.on_step(self.steps, float(size.max()))
        s = torch.addmm(z, block.s, turn.mT.to(z))
        return replace(block, x=x, q=q, c=c, s=s, size=size, is_new=False)

    def certify(self, block: _Block, last: Tensor) -> _Block:
        """Compute the true residuals, keep what is better, and return the columns that go on."""
        r = self.residual(block.index, block.x)
        true = _norm(r)
        better = true < self.residuals[block.index]
        kept = block.index[better]
        self.best[:, kept], self.residuals[kept] = block.x[:, better], true[better]
        missed = true > self.tolerance
        trusted = missed & (block.size > self.tolerance) & (true <= TRUST * block.size)
        again = missed & ~trusted & (true <= GAIN * last[block.index])
        if not bool(again.any()):
            return block.at(trusted)
        anew = trusted | again
        last[block.index[again]] = true[again]
        return self.start(block.index[anew], block.x[:, anew], r[:, anew])

    def residual(self, index: Tensor, x: Tensor) -> Tensor:
        """Return ``b - A x`` of these columns."""
        r = self.b[:, index] - self.multiply(x)
        self.check(r, "an iterate")
        return r

    def multiply(self, v: Tensor) -> Tensor:
        """Count a product with the matrix."""
        self.steps += 1
        return self.a @ v

    def check(self, product: Tensor, what: str) -> None:
        """Raise where something finite was multiplied, and the product is not."""
        if not bool(torch.isfinite(product).all()):
            raise ConvergenceError(
                f"conjugate gradients: the matrix or the preconditioner times {what} is not finite (product "
                f"{self.steps}): expected finite entries; try hyperparameters nearer to the scale of the data"
            )


def _inner(u: Tensor, v: Tensor) -> Tensor:
    return u.mT.double() @ v.double()


def _norm(r: Tensor) -> Tensor:
    norm: Tensor = torch.linalg.vector_norm(r, dim=0, dtype=torch.float64)
    return norm


def _checked(a: SymmetricOperator, b: Tensor, shape: tuple[int | str, ...], name: str) -> Tensor:
    if b.ndim != 2 or any(isinstance(n, int) and n != m for n, m in zip(shape, b.shape, strict=True)):
        raise InputError(f"{name} must have shape ({shape[0]}, {shape[1]}), got {tuple(b.shape)}")
    if not bool(torch.isfinite(b).all()):
        raise InputError(f"{name} must be finite, got NaN or infinity")
    return b.to(dtype=a.dtype, device=a.device)
