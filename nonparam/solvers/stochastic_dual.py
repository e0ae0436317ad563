r"""Accelerated sketch-and-project: random blocks, approximate projections, Nesterov's momentum.

.. math::

    w = z + A\text{-step of } B \text{ at } z, \qquad
    v \leftarrow \beta v + (1 - \beta) z + \gamma (w - z), \qquad
    z \leftarrow \alpha v + (1 - \alpha) w

The step of a block is :math:`d = A_{BB}^{-1} r_B` or, with a Nystrom approximation :math:`P` of the block,
:math:`d = P^{-1} r_B / \lambda_{\max}(P^{-1} A_{BB})`, which needs no factor of a block of many thousands.

Source: Rathore, Frangella, Yang, Derezinski and Udell (2025), Have ASkotch: a neat solution for large-scale
kernel ridge regression; Gower, Hanzely, Richtarik and Stich (2018), Accelerated stochastic matrix inversion,
NeurIPS (the momentum); Frangella, Tropp and Udell (2023), SIAM J. Matrix Anal. Appl. 44(2) (Nystrom).
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from nonparam.errors import InputError
from nonparam.solvers.cholesky import cholesky
from nonparam.solvers.operator import SymmetricOperator
from nonparam.solvers.result import Solve
from nonparam.solvers.strips import StripSystem, permutation

__all__ = ["Momentum", "stochastic_dual"]

SHARE = 100  # blocks in the matrix, by default
SMALLEST = 500  # rows of a block, by default: smaller ones gain nothing
CHECKS = 10  # of the residual, for each product with the whole matrix
POWER_STEPS = 10


def stochastic_dual(
    a: SymmetricOperator,
    b: Tensor,
    *,
    noise: float,
    generator: torch.Generator,
    tolerance: float = 0.01,
    max_steps: int = 200,
    block_size: int | None = None,
    rank: int | None = None,
    start: Tensor | None = None,
) -> Solve:
    r"""Solve ``A x = b`` for several right-hand sides by accelerated steps on random blocks of rows.

    The momentum starts anew when the largest residual rose over as many steps as make a product with the
    whole matrix. The best iterate is kept.

    Args:
        a: symmetric positive definite, ``n x n``.
        b: ``(n, k)``, in the precision and on the device of ``a``.
        noise: a lower bound of the eigenvalues, as the variance of the noise; it sets the momentum only.
        generator: what blocks and approximations are drawn with.
        tolerance: of the largest relative residual.
        max_steps: the most products with the whole matrix.
        block_size: rows of a block; by default a hundredth of all, and 500 at least.
        rank: of the Nystrom approximation of a block; by default its Cholesky factor serves.
        start: ``(n, k)``, an approximate solution; zeros by default.

    Returns:
        The solution, with its residuals.

    Raises:
        InputError: shapes or precisions that do not fit; ``noise`` that is not positive.
        ConvergenceError: a product is not finite.
        NotPositiveDefiniteError: a block is not positive definite.

    Examples:
        >>> from nonparam.solvers.operator import Dense
        >>> a = Dense(torch.tensor([[4.0, 1.0], [1.0, 3.0]]))
        >>> seeded = torch.Generator().manual_seed(0)
        >>> stochastic_dual(a, torch.tensor([[1.0], [2.0]]), noise=1.0, generator=seeded).solution.mT
        tensor([[0.0909, 0.6364]])
    """
    if not noise > 0.0:
        raise InputError(f"noise must be positive, got {noise}")
    system = StripSystem(a, b, tolerance, max_steps)
    size = system.block(max(system.n // SHARE, SMALLEST) if block_size is None else block_size)
    momentum = Momentum.of(noise / system.mean_diagonal(), size / system.n)
    descent = _Descent(system, size, rank, momentum, generator)
    step = "Cholesky" if rank is None else f"Nystrom rank {rank}"
    return system.solve(start, descent.rounds, f"stochastic dual, blocks of {size} rows, {step}")


@dataclass(frozen=True)
class Momentum:
    r"""The weights of Nesterov's momentum for blocks drawn at random.

    .. math:: \beta = 1 - \sqrt{\mu / \nu}, \; \gamma = 1 / \sqrt{\mu \nu}, \; \alpha = 1 / (1 + \gamma \nu)

    Attributes:
        alpha: of the momentum in the next point.
        beta: of the momentum in itself.
        gamma: of the step in the momentum.
    """

    alpha: float
    beta: float
    gamma: float

    @classmethod
    def of(cls, floor: float, share: float) -> "Momentum":
        r"""Return the weights for blocks of a share of the rows.

        The expected projection has eigenvalues of at least about :math:`\mu` = share times floor, and
        :math:`\nu` = 1 / share, so that :math:`\mu \nu \le 1 \le \nu`, as the theory asks.

        Args:
            floor: the smallest eigenvalue, relative to the mean of the diagonal; at most 1 is used.
            share: rows of a block over all rows.

        Source: Gower et al. (2018), algorithm 1.

        Examples:
            >>> Momentum.of(1.0, 1.0)
            Momentum(alpha=0.5, beta=0.0, gamma=1.0)
        """
        mu, nu = min(floor, 1.0) * share, 1.0 / share
        gamma = 1.0 / math.sqrt(mu * nu)
        return cls(1.0 / (1.0 + gamma * nu), 1.0 - math.sqrt(mu / nu), gamma)


@dataclass(frozen=True)
class _Descent:
    system: StripSystem
    size: int
    rank: int | None
    momentum: Momentum
    generator: torch.Generator

    def rounds(self, iterate: Tensor) -> Iterator[Tensor]:
        whole = round(self.system.n / self.size)  # steps in a product with the whole matrix
        w = v = z = iterate
        step, last = 0, self.system.worst(iterate)
        while True:
            w, v, z = self._advance(v, z)
            step += 1
            if step % max(1, whole // CHECKS) == 0:
                yield w
            if step % whole == 0:
                worst = self.system.worst(w)
                if worst > last:
                    v = z = w
                last = worst

    def _advance(self, v: Tensor, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Take one step; all three carry their residuals along."""
        rows = permutation(self.system.n, self.generator, z.device)[: self.size]
        strip = self.system.strip(rows)
        d = self._step(self.system.finite(strip.index_select(1, rows)), z[1][rows])
        move = torch.stack([torch.zeros_like(z[0]).index_copy_(0, rows, d), self.system.change(strip, d)])
        w = z + move
        v = torch.lerp(z, v, self.momentum.beta).add_(move, alpha=self.momentum.gamma)
        return w, v, torch.lerp(w, v, self.momentum.alpha)

    def _step(self, block: Tensor, residual: Tensor) -> Tensor:
        if self.rank is None or self.rank >= len(block):
            return cholesky(block.double()).solve(residual.double()).to(residual)
        approximation = _Nystrom.of(block.double(), self.rank, self.generator)
        step = approximation.solve(residual.double())
        return step.div_(approximation.largest(block.double(), self.generator)).to(residual)


@dataclass(frozen=True)
class _Nystrom:
    """``U diag(s) U' + s_min (I - U U')``: the leading eigenvalues of a block, the last of them beyond."""

    vectors: Tensor
    values: Tensor

    @classmethod
    def of(cls, block: Tensor, rank: int, generator: torch.Generator) -> "_Nystrom":
        """Approximate ``C ~ (C W) (W' C W)^-1 (C W)'`` from a random orthonormal ``W (m, rank)``."""
        w = torch.linalg.qr(_normal(len(block), rank, block, generator)).Q
        image = block @ w
        half = cholesky((w.mT @ image).contiguous()).half_solve(image.mT)
        values, vectors = torch.linalg.eigh(half @ half.mT)
        values.clamp_(min=float(values[-1]) * 1e-14)
        return cls(half.mT @ (vectors / values.sqrt()), values)

    def solve(self, g: Tensor) -> Tensor:
        """Return ``P^-1 g`` for ``g (m, k)``."""
        last = self.values[0]
        inside = (last / self.values - 1.0)[:, None] * (self.vectors.mT @ g)
        return torch.addmm(g, self.vectors, inside).div_(last)

    def largest(self, block: Tensor, generator: torch.Generator) -> Tensor:
        """Return the largest eigenvalue of ``P^-1 C`` by the power method, from below."""
        v = _normal(len(block), 1, block, generator)
        for _ in range(POWER_STEPS):
            image = block @ v
            following = self.solve(image)
            value = (following * image).sum() / (v * image).sum()
            v = following / torch.linalg.vector_norm(following)
        return value


def _normal(rows: int, columns: int, like: Tensor, generator: torch.Generator) -> Tensor:
    drawn = torch.randn(rows, columns, generator=generator, device=generator.device, dtype=like.dtype)
    return drawn.to(like.device)
