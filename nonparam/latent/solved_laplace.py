r"""Laplace's approximation for many rows: Newton's steps by certified conjugate gradients.

Functions :math:`f_1, \dots, f_c` share the covariance :math:`K`, which need not be in memory. With the
curvature :math:`W = -\nabla\nabla \log p(y \mid f)`, a :math:`c \times c` block for each row, and its root
:math:`L`,

.. math:: B = I + L\, (K \otimes I)\, L, \quad R = L B^{-1} L, \quad
          \alpha \leftarrow \alpha + (I - R K)(\nabla \log p(y \mid f) - \alpha), \quad f = K \alpha :

the steps of algorithm 3.1 for one function and of algorithm 3.3 for several, with solves in place of factors.
``B`` has no eigenvalue below 1, and few far above it where few numbers describe the functions; a partial
Cholesky factor preconditions these. Its determinant, in

.. math:: \log q(y) = -\tfrac12 \alpha^\top f + \log p(y \mid f) - \tfrac12 \log |B| ,

is estimated, with a standard error.

Source: Rasmussen and Williams (2006), Gaussian processes for machine learning, algorithms 3.1 to 3.4; the
determinant: `nonparam.solvers.quadrature`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from nonparam.errors import ConvergenceError
from nonparam.latent.approximation import Approximation, Observations
from nonparam.latent.ascent import Point
from nonparam.latent.softmax_laplace import curvature, decorrelated, left_out_by_slopes, slope_and_shares
from nonparam.solvers.certified import RANK, CertifiedSolver
from nonparam.solvers.operator import Sandwich, SymmetricOperator

__all__ = ["SolvedPosterior", "solved_laplace"]

MAX_STEPS = 100
TOLERANCE = 1e-13  # nats a row that a step promises: the determinant is off by the root of it
RESIDUAL = 1e-6  # of the solves, relative
LEFT_OUT = 1000  # rows that are left out: each asks for solves of its own


@dataclass(frozen=True)
class SolvedPosterior:
    """Functions near their mode, by solves.

    Attributes:
        covariance: ``K``, ``n x n``, of each function.
        alpha: ``K^-1 f``, ``(n, c)``.
        own: ``W``, the blocks of the rows, ``(n, c, c)``.
        sandwich: ``L (K x I) L``.
        solver: of ``B``.
    """

    covariance: SymmetricOperator
    alpha: Tensor
    own: Tensor
    sandwich: Sandwich
    solver: CertifiedSolver

    @classmethod
    def of(
        cls, covariance: SymmetricOperator, alpha: Tensor, own: Tensor, seed: int, pivots: Tensor | None
    ) -> "SolvedPosterior":
        """Precondition what a curvature ``(n, c, c)`` leads to; with pivots at hand, by these."""
        sandwich = Sandwich(covariance, _root(own))
        ones = torch.ones(sandwich.shape[0], dtype=own.dtype, device=own.device)
        solver = CertifiedSolver.of(sandwich, ones, tolerance=RESIDUAL, seed=seed, rank=RANK, pivots=pivots)
        return cls(covariance, alpha, own, sandwich, solver)

    def shrink(self, v: Tensor) -> tuple[Tensor, float]:
        """Return ``R v`` for a column of each function, ``v (n, c)``, and the relative residual."""
        found = self.solver.certificate(self.sandwich.scale(v.reshape(-1, 1)))
        return self.sandwich.scale(found.solution).reshape(v.shape), float(found.residuals.max())

    def covariances(self, cross: Tensor, prior: Tensor) -> Tensor:
        """Return the covariance of the functions at each of ``m`` rows, ``(m, c, c)`` (algorithm 3.4).

        Args:
            cross: ``(n, m)``, covariances with the rows.
            prior: ``(m,)``, variances.
        """
        n, c, _ = self.own.shape
        columns = torch.einsum("nm,nab->mnab", cross, self.sandwich.blocks).reshape(-1, n * c, c)
        eye = torch.eye(c, dtype=cross.dtype, device=cross.device)
        return prior[:, None, None] * eye - self.solver.grams(columns)

    def moments(self, crosses: Sequence[Tensor], priors: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Return means and variances of independent functions, as `SoftmaxPosterior.moments` does."""
        (cross,), (prior,) = crosses, priors
        spread = decorrelated(self.covariances(cross, prior))
        return cross.mT @ self.alpha, spread.clamp_min(torch.finfo(spread.dtype).tiny)

    def left_out(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return some of the rows, and means and variances at each given all others, as `moments` does."""
        generator = torch.Generator().manual_seed(self.solver.seed)
        rows = torch.randperm(len(self.alpha), generator=generator)[:LEFT_OUT].to(self.alpha.device)
        cross, prior = self.covariance.rows(rows).mT, self.covariance.diagonal()[rows]
        inside = self.covariances(cross, prior)
        mean, variance = left_out_by_slopes(cross.mT @ self.alpha, inside, self.alpha[rows], self.own[rows])
        return rows, mean, variance


def _root(own: Tensor) -> Tensor:
    """Return the symmetric roots of blocks ``(n, c, c)``; what rounding made negative counts as 0."""
    if own.shape[1] == 1:
        return own.clamp_min(0.0).sqrt()
    values, vectors = torch.linalg.eigh(own)
    root: Tensor = (vectors * values.clamp_min(0.0).sqrt()[:, None]) @ vectors.mT
    return root


def solved_laplace(covariance: SymmetricOperator, seen: Observations, *, seed: int) -> Approximation:
    """Find the mode of functions by Newton's steps, and the Gaussian there.

    Args:
        covariance: of each function at the rows, ``n x n``.
        seen: the observations, through a log-concave likelihood.
        seed: of the pivots of the preconditioner, and of the probes of the determinant.

    Returns:
        The approximation, without derivatives.

    Raises:
        ConvergenceError: the mode was not found, or a solve missed its tolerance.
    """
    mode, posterior, residual = _mode(covariance, seen, seed)
    posterior = replace(posterior, solver=posterior.solver.measured())
    determinant = posterior.solver.measured_determinant()
    return Approximation(
        mode.height - 0.5 * determinant.value,
        posterior,
        [],
        [],
        standard_error=0.5 * determinant.standard_error,
        residual=residual,
    )


def _mode(
    covariance: SymmetricOperator, seen: Observations, seed: int
) -> tuple[Point, SolvedPosterior, float]:
    """Take Newton's steps until one promises nothing; return the largest residual of the last solve, too."""
    zero = torch.zeros(len(seen.y), seen.likelihood.latents, dtype=seen.y.dtype, device=seen.y.device)
    at, pivots = Point.of(zero, zero, seen), None
    for _ in range(MAX_STEPS):
        slope, own = _derivatives(at.f, seen)
        posterior = SolvedPosterior.of(covariance, at.alpha, own, seed, pivots)
        pivots = posterior.solver.pivots
        apart = slope - at.alpha
        shrunk, residual = posterior.shrink(covariance @ apart)
        step = apart - shrunk
        moved = covariance @ step
        if 0.5 * float((apart * moved).sum()) <= TOLERANCE * len(step):
            return at, posterior, residual
        at = at.along(step, moved, seen)
    raise ConvergenceError(
        f"Newton's steps did not find the mode of the posterior in {MAX_STEPS} steps: expected a kernel "
        "whose variance suits the data; try other starting values"
    )


def _derivatives(f: Tensor, seen: Observations) -> tuple[Tensor, Tensor]:
    """Return slopes of the log density ``(n, c)``, and minus its curvature ``(n, c, c)``."""
    if seen.likelihood.latents > 1:
        slope, share = slope_and_shares(f, seen)
        return slope, curvature(share, seen.weights)
    slope, second, _ = seen.derivatives(f[:, 0])
    return slope[:, None], (-second).clamp_min(0.0)[:, None, None]
