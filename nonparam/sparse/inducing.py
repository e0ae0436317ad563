r"""Inducing points: the rows whose function values the others say least of.

Each is the row with the largest conditional variance given those before it, which is the pivot of a Cholesky
factorisation with complete pivoting.

Source: Burt, Rasmussen and van der Wilk (2020), Convergence of sparse variational inference in Gaussian
process regression, JMLR 21(131); Fine and Scheinberg (2001), JMLR 2, for the algorithm.
"""

import gpytorch
import torch
from torch import Tensor

from nonparam.kernels.operator import KernelOperator
from nonparam.solvers.pivoted_cholesky import pivoted_cholesky

__all__ = ["choose_points"]

EXPLAINED = 1e-9  # of the variance: what is left of it then is no reason for more points


@torch.no_grad()
def choose_points(kernel: gpytorch.kernels.Kernel, x: Tensor, m: int) -> Tensor:
    """Return at most ``m`` of the rows ``x (n, d)``; fewer where they explain all others.

    Examples:
        >>> from nonparam.kernels import RBF
        >>> x = torch.tensor([[0.0], [0.1], [5.0], [0.1]], dtype=torch.float64)
        >>> choose_points(RBF(1.0), x, 2).sort(0).values
        tensor([[0.],
                [5.]], dtype=torch.float64)
    """
    found = pivoted_cholesky(KernelOperator(kernel, x), min(m, len(x)), tolerance=EXPLAINED)
    return x[found.pivots] if found.rank else x[:1].clone()
