r"""Stochastic dual descent: gradient steps in random coordinates, with momentum and a running average.

.. math::

    m \leftarrow \rho m + \tfrac{\eta}{b} E_B (b - A (x + \rho m))_B, \qquad x \leftarrow x + m, \qquad
    \bar x \leftarrow r x + (1 - r) \bar x

No block is factorised: a step costs one strip. The price is a learning rate, and slow progress where the
noise is small.

Source: Lin, Padhy, Antoran, Tripp, Terenin, Szepesvari, Hernandez-Lobato and Janz (2024), Stochastic gradient
descent for Gaussian processes done right, ICLR, algorithm 1.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from nonparam.errors import InputError
from nonparam.solvers.operator import SymmetricOperator
from nonparam.solvers.result import Solve
from nonparam.solvers.strips import StripSystem, permutation

__all__ = ["stochastic_dual_descent"]

MOMENTUM = 0.9
AVERAGE = 100.0  # the running average remembers this part of the steps


def stochastic_dual_descent(
    a: SymmetricOperator,
    b: Tensor,
    *,
    generator: torch.Generator,
    learning_rate: float = 1.0,
    tolerance: float = 0.01,
    max_steps: int = 200,
    block_size: int = 512,
    start: Tensor | None = None,
) -> Solve:
    r"""Solve ``A x = b`` for several right-hand sides by stochastic dual descent.

    Args:
        a: symmetric positive definite, ``n x n``.
        b: ``(n, k)``, in the precision and on the device of ``a``.
        generator: what the blocks are drawn with.
        learning_rate: :math:`\eta`, relative to the mean of the diagonal; too large a one diverges, and the
            best iterate is returned with its residuals.
        tolerance: of the largest relative residual.
        max_steps: the most products with the whole matrix.
        block_size: rows of a step.
        start: ``(n, k)``, an approximate solution; zeros by default. The momentum starts at zero.

    Returns:
        The better of the iterate and the average of iterates, with its residuals.

    Raises:
        InputError: shapes or precisions that do not fit; a ``learning_rate`` that is not positive.
        ConvergenceError: a product is not finite.

    Examples:
        >>> from nonparam.solvers.operator import Dense
        >>> a = Dense(torch.tensor([[4.0, 1.0], [1.0, 3.0]]))
        >>> seeded = torch.Generator().manual_seed(0)
        >>> found = stochastic_dual_descent(a, torch.tensor([[1.0], [2.0]]), generator=seeded)
        >>> found.converged
        True
    """
    if not learning_rate > 0.0:
        raise InputError(f"learning_rate must be positive, got {learning_rate}")
    system = StripSystem(a, b, tolerance, max_steps)
    size = system.block(block_size)
    descent = _Descent(system, size, learning_rate / system.mean_diagonal(), generator)
    return system.solve(start, descent.rounds, f"stochastic dual descent, learning rate {learning_rate:g}")


@dataclass(frozen=True)
class _Descent:
    system: StripSystem
    size: int
    rate: float
    generator: torch.Generator

    def rounds(self, iterate: Tensor) -> Iterator[Tensor]:
        """Follow iterate, velocity and average, each with its (change of the) residual."""
        x, average, velocity = iterate, iterate.clone(), torch.zeros_like(iterate)
        forget = min(1.0, AVERAGE * self.size / (self.system.n * self.system.max_steps))
        while True:
            rows = permutation(self.system.n, self.generator, x.device)[: self.size]
            ahead = x[1][rows] + MOMENTUM * velocity[1][rows]
            d = ahead.mul_(self.rate / self.size)
            velocity.mul_(MOMENTUM)
            velocity[0].index_add_(0, rows, d)
            velocity[1].add_(self.system.change(self.system.strip(rows), d))
            x = x + velocity
            average.lerp_(x, forget)
            yield self.system.better(x, average)
