r"""What each row adds to the log marginal likelihood, one after the other.

.. math:: \log p(y) = \sum_i \log p(y_i \mid y_{1:i-1})

With :math:`L L^\top = A` the rows of :math:`L^{-1} [y, H]` are the innovations of the outputs and of the
basis of the mean. Its coefficients have a flat prior: the rows before tell them by least squares,

.. math::

    e_i = \tilde y_i - \tilde h_i^\top \beta_{i-1}, \quad
    f_i = 1 + \tilde h_i^\top G_{i-1}^{-1} \tilde h_i, \quad
    G_i = \sum_{j \le i} \tilde h_j \tilde h_j^\top,

.. math:: \log p(y_i \mid y_{1:i-1}) = -\tfrac12 \log 2\pi L_{ii}^2 f_i - \tfrac12 e_i^2 / f_i.

The first rows, which determine the coefficients, have no density of their own. All increments come from one
factor.

Source: Dawid (1984), Statistical theory: the prequential approach, J. R. Statist. Soc. A 147, 278-292;
innovations: Rasmussen and Williams (2006), section 2.2 and A.4; recursive least squares: Harville (1976).
"""

import torch
from torch import Tensor

from nonparam.errors import NotPositiveDefiniteError
from nonparam.model_selection.evidence import LOG_2PI
from nonparam.solvers.cholesky import cholesky

__all__ = ["increments"]

UNDETERMINED = 1e-11  # of the information in a direction, relative to the largest: rounding


def increments(a: Tensor, y: Tensor, basis: Tensor) -> Tensor:
    """Return the log density of each row given those before it.

    Args:
        a: ``(n, n)``, the covariance of the observations, noise included; overwritten.
        y: ``(n, t)``, the outputs, independent given the covariance.
        basis: ``(n, q)``, the basis functions of the mean; ``q = 0`` for a mean of zero.

    Returns:
        ``(n - m, t)`` in nats, of all rows but the first ``m`` that determine the ``q`` coefficients: as many
        as these, unless rows repeat each other.

    Raises:
        NotPositiveDefiniteError: ``a`` cannot be factorised, or no rows determine the mean.

    Examples:
        >>> eye, y = torch.eye(3, dtype=torch.float64), torch.zeros(3, 1, dtype=torch.float64)
        >>> increments(eye, y, y[:, :0]).round(decimals=4).T
        tensor([[-0.9189, -0.9189, -0.9189]], dtype=torch.float64)
    """
    (n, t), q = y.shape, basis.shape[1]
    factor = cholesky(a)
    innovations = factor.half_solve(torch.cat([y, basis], 1))
    outputs, design = innovations[:, :t], innovations[:, t:]
    log_sd = torch.diagonal(factor.upper).log()[:, None]
    if q == 0:
        return -0.5 * (LOG_2PI + outputs.square()) - log_sd
    information = (design[:, :, None] * design[:, None, :]).cumsum(0)
    first = _first_determined(information)
    before, new = information[first - 1 : n - 1], design[first:]
    moments = (design[:, :, None] * outputs[:, None, :]).cumsum(0)[first - 1 : n - 1]
    solved = torch.linalg.solve(before, torch.cat([moments, new[:, :, None]], -1))
    error = outputs[first:] - (new[:, None, :] @ solved[..., :t])[:, 0]
    spread = 1.0 + (new[:, None, :] @ solved[..., t:])[:, 0]
    found: Tensor = -0.5 * (LOG_2PI + spread.log() + error.square() / spread) - log_sd[first:]
    return found


def _first_determined(information: Tensor) -> int:
    """Return after how many rows the information ``(n, q, q)`` has no direction without any."""
    scale = torch.diagonal(information[-1]).sqrt()
    if bool((scale > 0.0).all()):
        values = torch.linalg.eigvalsh(information / torch.outer(scale, scale))
        determined = values[:, 0] > UNDETERMINED * values[:, -1]
        if bool(determined[-1]):
            return int(torch.argmax(determined.int())) + 1
    raise NotPositiveDefiniteError(
        f"the {information.shape[-1]} weights of the mean cannot be told apart: expected rows that determine "
        "them; try mean='constant'"
    )
