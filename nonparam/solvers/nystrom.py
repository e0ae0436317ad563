"""Nystrom approximation from a Gaussian sketch."""

import torch
from torch import Tensor

from nonparam.errors import ConvergenceError
from nonparam.solvers.operator import SymmetricOperator
from nonparam.solvers.pivoted_cholesky import PartialFactor

__all__ = ["nystrom"]

SHIFTS = (1.0, 10.0, 100.0, 1e3)  # tried in turn, in units of rounding of the sketch


def nystrom(k: SymmetricOperator, rank: int, generator: torch.Generator) -> PartialFactor:
    r"""Approximate a positive semidefinite matrix by its products with random vectors.

    .. math::

        \hat K = (K \Omega) (\Omega^\top K \Omega)^+ (K \Omega)^\top, \quad \Omega \in R^{n \times k}

    One product with ``rank`` columns: dearer than a Cholesky factor of the same rank, and nearer to the best
    approximation of that rank.

    Args:
        k: ``n x n``, positive semidefinite, without the noise.
        rank: columns of the sketch and of the factor.
        generator: on the device of ``k``.

    Returns:
        The factor, its columns orthogonal and the largest first, and its residuals; no pivots.

    Raises:
        ConvergenceError: the sketch is not finite, or ``k`` is far from positive semidefinite.

    Source: Frangella, Tropp and Udell (2023), SIAM J. Matrix Anal. Appl. 44, 718-752, algorithm 2.1; Tropp,
    Yurtsever, Udell and Cevher (2017), NeurIPS, algorithm 3.

    Examples:
        >>> from nonparam.solvers.operator import Dense
        >>> a = torch.diag(torch.tensor([9.0, 0.0, 4.0]))
        >>> found = nystrom(Dense(a), 2, torch.Generator().manual_seed(0))
        >>> torch.allclose(found.factor @ found.factor.T, a, atol=1e-4)
        True
    """
    n = k.shape[0]
    omega = torch.randn(n, min(rank, n), generator=generator, dtype=k.dtype, device=k.device)
    omega = torch.linalg.qr(omega).Q  # line 2
    sketch = k @ omega
    if not bool(torch.isfinite(sketch).all()):
        raise ConvergenceError("Nystrom: the product of the matrix with a random vector is not finite")
    root, shift = _root(omega.double(), sketch.double(), torch.finfo(k.dtype).eps)
    eigenvalues, vectors = torch.linalg.eigh(root.mT @ root)  # line 7: the squares of its singular values
    kept = (eigenvalues - shift).clamp_min(0.0) / eigenvalues  # line 8
    factor = (root @ (vectors * kept.sqrt())).flip(-1)
    residual = k.diagonal().double() - factor.square().sum(1)
    none = torch.empty(0, dtype=torch.long, device=k.device)
    return PartialFactor(factor.to(k.dtype), residual.clamp_min_(0.0), none)


def _root(omega: Tensor, sketch: Tensor, eps: float) -> tuple[Tensor, float]:
    """Return ``B`` with ``B B'`` the approximation of ``K + shift I``, and the shift (lines 3 to 6)."""
    core = omega.mT @ sketch
    for units in SHIFTS:
        shift = units * eps * float(torch.linalg.vector_norm(sketch))
        shifted = (core + core.mT) / 2.0 + shift * (omega.mT @ omega)
        upper, failed = torch.linalg.cholesky_ex(shifted, upper=True)
        if not failed:
            sketch = sketch + shift * omega
            return torch.linalg.solve_triangular(upper, sketch, upper=True, left=False), shift
    raise ConvergenceError("Nystrom: the matrix is not positive semidefinite")
