r"""Rows in an order, each given a few of those before it: the algebra of small covariance matrices.

.. math:: p(y) \approx \prod_i N(y_i \mid k_i^\top A_i^{-1} y_{N(i)}, \; a_i - k_i^\top A_i^{-1} k_i)

The covariances of a row and its neighbours come in batches, the row itself last. With
:math:`A = L L^\top`, :math:`w = L^{-\top} e` and :math:`\alpha = A^{-1} b`, where :math:`e` is the last unit
vector, a change of the covariance moves the conditional variance :math:`v` and the white residual
:math:`\epsilon = (L^{-1} b)_e` by

.. math::

    d \log v = w^\top dA \, w, \qquad
    d \epsilon = - w^\top dA \, \alpha + \tfrac12 \epsilon \, w^\top dA \, w.

Source: Vecchia (1988), Estimation and model identification for continuous spatial processes, JRSS B 50,
297-312; Guinness (2021), Gaussian process learning via Fisher scoring of Vecchia's approximation, Statistics
and Computing 31.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["adjoint", "conditionals", "information", "maximin", "with_diagonal"]

Array = NDArray[np.float64]


def maximin(z: Array) -> NDArray[np.intp]:
    """Return an order in which each row is the one farthest from all before it, in ``O(n^2)``.

    Args:
        z: ``(n, c)``; the row nearest to the mean of all is the first.

    Source: Guinness (2018), Permutation and grouping methods for sharpening Gaussian process approximations,
    Technometrics 60, 415-429.

    Examples:
        >>> maximin(np.array([[0.0], [1.0], [2.0], [4.0]]))
        array([2, 0, 3, 1])
    """
    order = np.empty(len(z), dtype=np.intp)
    nearest = np.full(len(z), np.inf)
    following = int(np.square(z - z.mean(0)).sum(1).argmin())
    for i in range(len(z)):
        order[i] = following
        np.minimum(nearest, np.square(z - z[following]).sum(1), out=nearest)
        nearest[following] = -1.0  # rows that repeat it are 0 away, and come last
        following = int(nearest.argmax())
    return order


def with_diagonal(a: Tensor, known: Tensor, noise: float, own: float) -> Tensor:
    """Return covariances with noise on the diagonal, and without the neighbours that are missing.

    Args:
        a: ``(b, s, s)``.
        known: ``(b, s)``, whether there is such a row; what is missing has a variance of 1, unrelated.
        noise: added to the variances of the neighbours.
        own: added to that of the row itself.

    Returns:
        ``(b, s, s)``.

    Examples:
        >>> a, known = torch.ones(1, 2, 2), torch.tensor([[False, True]])
        >>> with_diagonal(a, known, 0.1, 0.5)
        tensor([[[1.0000, 0.0000],
                 [0.0000, 1.5000]]])
    """
    added = torch.full_like(a[:, 0], noise)
    added[:, -1] = own
    kept = torch.where(known[:, :, None] & known[:, None, :], a, 0.0)
    return kept + torch.diag_embed(torch.where(known, added, 1.0))


def conditionals(a: Tensor, table: Tensor) -> tuple[Tensor, Tensor]:
    """Return variances and residuals of the last rows given the others.

    Args:
        a: ``(b, s, s)``.
        table: ``(b, s, k)``, columns of the rows.

    Returns:
        ``(b,)`` variances, NaN where the others have no positive definite covariance, and ``(b, k)``: the
        columns less their means given the others.

    Examples:
        >>> a = torch.tensor([[[1.0, 0.5], [0.5, 1.0]]])
        >>> conditionals(a, torch.tensor([[[2.0], [3.0]]]))
        (tensor([0.7500]), tensor([[2.]]))
    """
    factor, status = torch.linalg.cholesky_ex(a[:, :-1, :-1])
    factor = torch.where((status > 0)[:, None, None], torch.nan, factor)
    half = torch.linalg.solve_triangular(factor, torch.cat([a[:, :-1, -1:], table[:, :-1]], 2), upper=False)
    cross = half[..., :1]
    left = a[:, -1, -1] - cross.square().sum((1, 2))
    return left, table[:, -1] - (cross * half[..., 1:]).sum(1)


def adjoint(a: Tensor, table: Tensor, log_weight: float, gram_weight: Tensor) -> Tensor:
    r"""Return the derivative of :math:`c \sum \log v + \mathrm{tr} \, C \sum \epsilon \epsilon^\top`.

    Args:
        a: ``(b, s, s)``, positive definite.
        table: ``(b, s, k)``.
        log_weight: ``c``.
        gram_weight: ``C``, ``(k, k)``, symmetric.

    Returns:
        ``(b, s, s)``, symmetric: the sum of its product with a symmetric ``dA`` is the change.

    Examples:
        >>> a, table = torch.full((1, 1, 1), 2.0), torch.ones(1, 1, 1)  # log 2 + 1 / 2
        >>> adjoint(a, table, 1.0, torch.ones(1, 1))
        tensor([[[0.2500]]])
    """
    factor = torch.linalg.cholesky(a)
    white = torch.linalg.solve_triangular(factor, table, upper=False)
    alpha = torch.linalg.solve_triangular(factor.mT, white, upper=True)
    w = _last_column(factor)
    pulled = white[:, -1] @ gram_weight  # (b, k)
    own = log_weight + (pulled * white[:, -1]).sum(1)
    cross = w @ (alpha @ pulled[..., None]).mT
    found: Tensor = own[:, None, None] * (w @ w.mT) - cross - cross.mT
    return found


def information(a: Tensor, changes: Tensor) -> Tensor:
    """Return the Fisher information of hyperparameters in the last rows given the others.

    Args:
        a: ``(b, s, s)``, positive definite.
        changes: ``(p, b, s, s)``, its derivatives in the hyperparameters.

    Returns:
        ``(p, p)``, summed over the batch, of one column of outputs.

    Source: Guinness (2021), equation 7.

    Examples:
        >>> a = torch.full((3, 1, 1), 2.0)
        >>> information(a, a[None])  # of a log variance: half of the number of rows
        tensor([[1.5000]])
    """
    factor = torch.linalg.cholesky(a)
    q = torch.linalg.solve_triangular(factor, changes @ _last_column(factor), upper=False)[..., 0]
    last = q[..., -1]
    found: Tensor = torch.einsum("pbs,qbs->pq", q, q) - 0.5 * last @ last.mT
    return found


def _last_column(factor: Tensor) -> Tensor:
    """Return the last columns of ``L^-T``, ``(b, s, 1)``."""
    unit = torch.zeros_like(factor[..., :1])
    unit[:, -1] = 1.0
    found: Tensor = torch.linalg.solve_triangular(factor.mT, unit, upper=True)
    return found
