r"""The log marginal likelihood of a Gaussian process and its gradient in the covariance matrix.

With :math:`A = K + \mathrm{diag}(\sigma^2 / w)`, a basis :math:`H` for the mean and :math:`t` outputs,

.. math::

    \hat\beta = (H^\top A^{-1} H)^{-1} H^\top A^{-1} Y, \quad \alpha = A^{-1}(Y - H \hat\beta), \quad
    \log p(Y) = -\tfrac12 \mathrm{tr}(Y - H\hat\beta)^\top \alpha - \tfrac t2 \log|A| - \tfrac{nt}2 \log 2\pi,

.. math:: \partial \log p / \partial A = \tfrac12 (\alpha \alpha^\top - t A^{-1}).

The coefficients maximise the likelihood, so by the envelope theorem they add nothing to the gradient.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from nonparam.errors import NotPositiveDefiniteError
from nonparam.solvers.cholesky import cholesky, outer_minus
from nonparam.solvers.operator import Inverse
from nonparam.solvers.toeplitz import autocorrelation, inverse_diagonal_sums

__all__ = ["Evidence", "MeanFit", "evidence", "fit_mean", "log_density", "slope_in_lags"]

LOG_2PI = math.log(2.0 * math.pi)


@dataclass(frozen=True)
class MeanFit:
    """The generalised least-squares fit of the mean, and what is left of the outputs.

    Attributes:
        coefficients: ``(q, t)``, the weights of the basis functions.
        alpha: ``(n, t)``, ``A^-1 (Y - H coefficients)``.
        weighted_basis: ``(n, q)``, ``A^-1 H``.
        information: ``(q, q)``, ``H' A^-1 H``, the inverse covariance of the coefficients.
        quadratic: ``tr (Y - H coefficients)' alpha``.

    Examples:
        >>> eye, ones = torch.eye(4, dtype=torch.float64), torch.ones(4, 1, dtype=torch.float64)
        >>> fit = fit_mean(cholesky(eye), 3.0 * ones, ones)
        >>> fit.coefficients.item(), fit.information.item(), fit.quadratic
        (3.0, 4.0, 0.0)
    """

    coefficients: Tensor
    alpha: Tensor
    weighted_basis: Tensor
    information: Tensor
    quadratic: float


@dataclass(frozen=True)
class Evidence:
    """A log marginal likelihood, its gradient and the jitter of its factorisation.

    Attributes:
        value: in nats.
        gradient: for a Toeplitz matrix ``(n,)``, the derivative in its lags; else ``(n, n)``, the derivative
            in the covariance matrix gathered on the upper triangle, so that the sum of its product with the
            upper triangle of any symmetric ``dA`` is the change of the value; what is below is not defined.
        jitter: added to the diagonal, in the units of the matrix.

    Examples:
        >>> eye, y = torch.eye(2, dtype=torch.float64), torch.ones(2, 1, dtype=torch.float64)
        >>> evidence(eye, y, y[:, :0], gradient=True).gradient.triu()  # doubled off the diagonal
        tensor([[0., 1.],
                [0., 0.]], dtype=torch.float64)
    """

    value: float
    gradient: Tensor | None
    jitter: float


def log_density(mean: MeanFit, factor: Inverse, n: int, t: int) -> float:
    """Return the log density of ``t`` outputs at ``n`` rows (algorithm 2.1, line 7), in nats.

    Examples:
        >>> eye, y = torch.eye(2, dtype=torch.float64), torch.zeros(2, 1, dtype=torch.float64)
        >>> factor = cholesky(eye)
        >>> round(log_density(fit_mean(factor, y, y[:, :0]), factor, 2, 1), 4)  # two standard normal numbers
        -1.8379
    """
    return -0.5 * (mean.quadratic + t * factor.log_determinant() + n * t * LOG_2PI)


def fit_mean(factor: Inverse, y: Tensor, basis: Tensor) -> MeanFit:
    """Fit the mean by generalised least squares.

    Args:
        factor: of the covariance of the observations.
        y: ``(n, t)``.
        basis: ``(n, q)``, the basis functions at the rows; ``q`` may be 0.

    Returns:
        The coefficients and the solve of the residual.

    Raises:
        NotPositiveDefiniteError: basis functions that the rows do not tell apart.

    Source: Rasmussen and Williams (2006), section 2.7.

    Examples:
        >>> noise = torch.diag(torch.tensor([1.0, 3.0], dtype=torch.float64))
        >>> y, ones = torch.tensor([[0.0], [4.0]], dtype=torch.float64), torch.ones(2, 1, dtype=torch.float64)
        >>> fit_mean(cholesky(noise), y, ones).coefficients  # the mean, weighted by 1 / variance
        tensor([[1.]], dtype=torch.float64)
    """
    if basis.shape[1] == 0:
        alpha = factor.solve(y)
        return MeanFit(y[:0], alpha, basis, basis[:0], float((y * alpha).sum()))
    solved = factor.solve(torch.cat([y, basis], -1))
    alpha, weighted_basis = solved[:, : y.shape[1]], solved[:, y.shape[1] :]
    information = basis.mT @ weighted_basis
    root, status = torch.linalg.cholesky_ex(information)
    if int(status):
        raise NotPositiveDefiniteError(
            f"the {len(information)} weights of the mean cannot be told apart under this covariance: expected"
            " rows that determine them; try mean='constant', or a larger noise"
        )
    coefficients = torch.cholesky_solve(weighted_basis.mT @ y, root)
    alpha = alpha - weighted_basis @ coefficients
    quadratic = float(((y - basis @ coefficients) * alpha).sum())
    return MeanFit(coefficients, alpha, weighted_basis, information, quadratic)


def evidence(
    a: Tensor, y: Tensor, basis: Tensor, *, gradient: bool = False, is_toeplitz: bool = False
) -> Evidence:
    """Return the log marginal likelihood of outputs with a given covariance.

    Args:
        a: ``(n, n)``, the covariance of the observations, noise included; overwritten.
        y: ``(n, t)``, the outputs, independent given the covariance.
        basis: ``(n, q)``, the basis functions of the mean; ``q = 0`` for a mean of zero.
        gradient: whether to return the derivative in ``a`` as well.
        is_toeplitz: whether ``a`` is constant along its diagonals, and to stay so; spares the inverse.

    Returns:
        The value in nats, summed over outputs, and the gradient.

    Raises:
        NotPositiveDefiniteError: ``a`` cannot be factorised, or does not determine the mean.

    Source: Rasmussen and Williams (2006), algorithm 2.1 and equation 5.9.

    Examples:
        >>> eye, y = torch.eye(2, dtype=torch.float64), torch.zeros(2, 1, dtype=torch.float64)
        >>> round(evidence(eye, y, y[:, :0]).value, 4)  # two standard normal densities at 0
        -1.8379
    """
    n, t = y.shape
    factor = cholesky(a)  # algorithm 2.1, line 2
    mean = fit_mean(factor, y, basis)  # line 3
    value = log_density(mean, factor, n, t)
    if not gradient:
        return Evidence(value, None, factor.jitter)
    if is_toeplitz:
        first = factor.solve(torch.eye(n, 1, dtype=a.dtype, device=a.device))[:, 0]
        return Evidence(value, slope_in_lags(first, mean.alpha), factor.jitter)
    slope = outer_minus(mean.alpha, t, factor.inverse_in_place())  # equation 5.9, on the upper triangle
    torch.diagonal(slope).mul_(0.5)
    return Evidence(value, slope, factor.jitter)


def slope_in_lags(first: Tensor, alpha: Tensor) -> Tensor:
    """Return the sums of equation 5.9 along the diagonals, the derivative in the lags of a Toeplitz matrix.

    Args:
        first: ``(n,)``, the first column of the inverse.
        alpha: ``(n, t)``, the solves of the outputs.

    Examples:
        >>> first, alpha = torch.tensor([0.5, 0.0]), torch.ones(2, 1)  # the inverse of twice the identity
        >>> slope_in_lags(first, alpha)
        tensor([0.5000, 1.0000])
    """
    sums = -alpha.shape[1] * inverse_diagonal_sums(first.cpu().numpy())
    for column in alpha.cpu().numpy().T:
        sums += autocorrelation(column, column)
    sums[0] *= 0.5
    return torch.from_numpy(sums).to(alpha)
