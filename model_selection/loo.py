r"""Leave-one-out log densities of a Gaussian process, in closed form.

With :math:`A` the covariance of the observations, a basis :math:`H` for the mean, and

.. math:: P = A^{-1} - A^{-1} H (H^\top A^{-1} H)^{-1} H^\top A^{-1},

each observation given all others, and coefficients of the mean that are fitted without it, has

.. math:: \mu_i = y_i - [P y]_i / P_{ii}, \quad \sigma_i^2 = 1 / P_{ii}.

Source: Rasmussen and Williams (2006), equations 5.10 to 5.12; with a basis: Dubrule (1983), Cross validation
of kriging in a unique neighborhood, Mathematical Geology 15, 687-699.
"""

import torch
from torch import Tensor

from nonparam.model_selection.evidence import LOG_2PI, fit_mean
from nonparam.solvers.cholesky import cholesky

__all__ = ["leave_one_out"]


def leave_one_out(a: Tensor, y: Tensor, basis: Tensor) -> Tensor:
    """Return the log density of each output given all other rows.

    Args:
        a: ``(n, n)``, the covariance of the observations, noise included; overwritten.
        y: ``(n, t)``, the outputs, independent given the covariance.
        basis: ``(n, q)``, the basis functions of the mean; ``q = 0`` for a mean of zero.

    Returns:
        ``(n, t)``, in nats.

    Raises:
        NotPositiveDefiniteError: ``a`` cannot be factorised, or does not determine the mean.

    Source: Rasmussen and Williams (2006), equation 5.10.

    Examples:
        >>> eye, y = torch.eye(2, dtype=torch.float64), torch.zeros(2, 1, dtype=torch.float64)
        >>> leave_one_out(eye, y, y[:, :0]).round(decimals=4).T  # two standard normal densities at 0
        tensor([[-0.9189, -0.9189]], dtype=torch.float64)
    """
    factor = cholesky(a)
    mean = fit_mean(factor, y, basis)
    inverse = factor.solve(torch.eye(len(y), dtype=y.dtype, device=y.device))
    precision = inverse.diagonal().clone()
    if basis.shape[1]:
        root = torch.linalg.cholesky(mean.information)
        half = torch.linalg.solve_triangular(root, mean.weighted_basis.mT, upper=False)
        precision -= half.square().sum(0)
    precision = precision.clamp_min(torch.finfo(y.dtype).tiny)[:, None]  # a row that alone fixes the mean
    return 0.5 * (precision.log() - LOG_2PI - mean.alpha.square() / precision)
