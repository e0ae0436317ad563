r"""The conditional marginal likelihood: how well a model that saw some rows predicts the others.

.. math:: \log p(y_{m+1:n} \mid y_{1:m}) = \sum_{i > m} \log p(y_i \mid y_{1:i-1})

Unlike the marginal likelihood it does not punish a prior for what it said before any data were seen. It
depends on the order of the rows, so it is averaged over some. With :math:`L L^\top = A` the rows of
:math:`L^{-1} [y, H]` beyond :math:`m` are the innovations of the outputs and of the basis of the mean, whose
coefficients have the covariance that the first :math:`m` rows leave them.

Source: Lotfi et al. (2022), Bayesian model selection, the marginal likelihood, and generalization, ICML,
section 4.3.
"""

import torch
from torch import Tensor

from nonparam.errors import InputError
from nonparam.model_selection.evidence import LOG_2PI
from nonparam.solvers.cholesky import cholesky

__all__ = ["conditional_log_likelihood"]


def conditional_log_likelihood(a: Tensor, y: Tensor, basis: Tensor, orders: Tensor, m: int) -> float:
    """Return the log density of the rows after the first ``m`` given those, averaged over orders.

    Args:
        a: ``(n, n)``, the covariance of the observations, noise included.
        y: ``(n, t)``, the outputs, independent given the covariance.
        basis: ``(n, q)``, the basis functions of the mean.
        orders: ``(k, n)``, permutations of the rows.
        m: how many rows are conditioned on: at least ``q``, so that they determine the mean.

    Returns:
        The mean over the orders, in nats, summed over outputs.

    Raises:
        InputError: ``m`` is below ``q``, or not below ``n``.
        NotPositiveDefiniteError: ``a`` cannot be factorised, or the first rows do not determine the mean.

    Examples:
        >>> eye, y = torch.eye(3, dtype=torch.float64), torch.zeros(3, 1, dtype=torch.float64)
        >>> order = torch.arange(3)[None]
        >>> round(conditional_log_likelihood(eye, y, y[:, :0], order, 2), 4)  # a standard normal number
        -0.9189
    """
    n, q = basis.shape
    if not q <= m < n:
        raise InputError(f"m must be at least the {q} coefficients of the mean and below {n} rows, got {m}")
    values = [_conditional(a[order][:, order], y[order], basis[order], m) for order in orders]
    return sum(values) / len(values)


def _conditional(a: Tensor, y: Tensor, basis: Tensor, m: int) -> float:
    (n, t), q = y.shape, basis.shape[1]
    factor = cholesky(a)
    whitened = factor.half_solve(torch.cat([y, basis], 1))
    outputs, design = whitened[:, :t], whitened[:, t:]
    seen, new = design[:m], design[m:]
    log_volume = t * (float(factor.upper.diagonal()[m:].log().sum()) + 0.5 * (n - m) * LOG_2PI)
    if q == 0:
        return -0.5 * float(outputs[m:].square().sum()) - log_volume
    information = cholesky(seen.mT @ seen)
    residual = outputs[m:] - new @ information.solve(seen.mT @ outputs[:m])
    spread = information.half_solve(new.mT.contiguous())  # (q, n - m)
    inner = cholesky(torch.eye(q, dtype=a.dtype, device=a.device) + spread @ spread.mT)
    quadratic = float(residual.square().sum() - inner.quadratic(spread @ residual).sum())  # Woodbury
    return -0.5 * (quadratic + t * inner.log_determinant()) - log_volume
