r"""What a Gaussian process says of rows that are held out together, given all the others.

With :math:`A` the covariance of the observations, a basis :math:`H` for the mean and

.. math:: P = A^{-1} - A^{-1} H (H^\top A^{-1} H)^{-1} H^\top A^{-1}, \quad \alpha = P y,

the rows :math:`T`, given all others and with coefficients of the mean that these alone determine, are

.. math:: y_T \mid y_{-T} \sim N(y_T - S \alpha_T, \; S), \quad S = P_{TT}^{-1}.

Sets of one row are leave-one-out, the parts of the data k-fold cross-validation, and the last rows of random
orders the conditional marginal likelihood: one factorisation serves all of them, whatever their number. With
:math:`v = S \alpha_T` the derivative of the log density of a set in :math:`A` is

.. math:: G = -\tfrac12 P_{\cdot T} (S + v v^\top) P_{T \cdot}
          + \tfrac12 (P_{\cdot T} v \alpha^\top + \alpha v^\top P_{T \cdot}).

Source: Rasmussen and Williams (2006), equations 5.10 to 5.13, for sets of one row; with a basis: Dubrule
(1983), Cross validation of kriging in a unique neighborhood, Mathematical Geology 15, 687-699; for sets of
any size it is the conditional of a Gaussian in terms of its precision, Bishop (2006), equation 2.75.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nonparam.errors import InputError, NotPositiveDefiniteError
from nonparam.model_selection.evidence import LOG_2PI, Evidence, fit_mean
from nonparam.solvers.cholesky import cholesky, mirror

__all__ = [
    "Conditional",
    "HeldOutRows",
    "Precision",
    "conditional",
    "conditioned_on",
    "held_out_evidence",
    "precision_of",
]

CONDITIONED = 0.9  # of the rows, where the last of random orders are predicted
UNDETERMINED = 1e-11  # of a row's precision: what is left of it where the others do not determine the mean


@dataclass(frozen=True)
class HeldOutRows:
    """Which rows are predicted from which, for any number of rows.

    Attributes:
        objective: ``"loo"``, each row from all others, or ``"clml"``, the last rows of random orders from
            those before.
        fraction: of the rows that are conditioned on, with ``"clml"``.
        n_orderings: how many orders.
        seed: of the orders.

    Examples:
        >>> HeldOutRows("clml", fraction=0.5, n_orderings=3).sets(8).shape
        torch.Size([3, 4])
    """

    objective: str
    fraction: float = 0.9
    n_orderings: int = 20
    seed: int = 0

    @classmethod
    def of(cls, objective: str, n: int, rng: np.random.RandomState) -> "HeldOutRows | None":
        """Return those of an objective with ``n`` rows, two of them at least predicted; none of ``"lml"``."""
        if objective == "lml":
            return None
        return cls(objective, min(CONDITIONED, 1.0 - 2.0 / n), seed=int(rng.randint(2**31 - 1)))

    def sets(self, n: int) -> Tensor:
        """Return the sets of rows that are held out, ``(k, s)``, of ``n`` rows.

        Raises:
            InputError: a fraction that leaves fewer than two rows on either side.
        """
        if self.objective == "loo":
            return torch.arange(n)[:, None]
        m = conditioned_on(n, self.fraction)
        return torch.from_numpy(self.orders(n)[:, m:])

    def orders(self, n: int) -> NDArray[np.intp]:
        """Return the orders whose last rows are held out with ``"clml"``, ``(n_orderings, n)``."""
        rng = np.random.RandomState(self.seed)
        return np.stack([rng.permutation(n) for _ in range(self.n_orderings)])


def conditioned_on(n: int, fraction: float) -> int:
    """Return how many of ``n`` rows are conditioned on: the fraction of them, rounded.

    Raises:
        InputError: a fraction outside of (0, 1), or that leaves fewer than two rows on either side.

    Examples:
        >>> conditioned_on(20, 0.9)
        18
    """
    if not 0.0 < fraction < 1.0:
        raise InputError(
            f"fraction must be between 0 and 1, got {fraction}: 0.9 conditions on 90 % of the rows"
        )
    m = round(n * fraction)
    if not 2 <= m <= n - 2:
        raise InputError(
            f"fraction={fraction} of {n} rows leaves {n - m} to predict from {m}, and 2 are needed on either "
            "side: take another fraction, or more rows"
        )
    return m


@dataclass(frozen=True)
class Conditional:
    """The distribution of sets of rows, each given all rows outside of it.

    Attributes:
        rows: ``(k, s)``, the sets.
        error: ``(k, s, t)``, the outputs minus their conditional means.
        covariance: ``(k, s, s)``, of new observations.
        log_joint: ``(k, t)``, log densities of the sets, in nats.
    """

    rows: Tensor
    error: Tensor
    covariance: Tensor
    log_joint: Tensor

    @property
    def variance(self) -> Tensor:
        """The variance of each row by itself, ``(k, s)``."""
        return torch.diagonal(self.covariance, dim1=-2, dim2=-1)

    @property
    def log_densities(self) -> Tensor:
        """The log density of each row by itself, in nats: ``(k, s, t)``."""
        variance = self.variance[..., None]
        return -0.5 * (LOG_2PI + variance.log() + self.error.square() / variance)


@dataclass(frozen=True)
class Precision:
    """The precision of observations whose mean is fitted, and what it makes of the outputs.

    Attributes:
        matrix: ``P (n, n)``.
        full: ``(n,)``, the diagonal of ``A^-1``: that of ``P`` if the mean were known.
        alpha: ``P y (n, t)``.
        jitter: added to the diagonal of ``A``, in its units.

    Examples:
        >>> eye, y = torch.eye(3, dtype=torch.float64), torch.zeros(3, 1, dtype=torch.float64)
        >>> found = precision_of(eye, y, y[:, :0]).conditional(torch.arange(3)[:, None])
        >>> found.log_joint.round(decimals=4).T  # three standard normal densities at 0
        tensor([[-0.9189, -0.9189, -0.9189]], dtype=torch.float64)
    """

    matrix: Tensor
    full: Tensor
    alpha: Tensor
    jitter: float

    def conditional(self, sets: Tensor) -> Conditional:
        """Return the distribution of sets of rows ``(k, s)``, each given all the other rows.

        Raises:
            NotPositiveDefiniteError: a set without which the other rows do not determine the mean.
        """
        sets = sets.to(self.matrix.device)
        blocks = self.matrix[sets[:, :, None], sets[:, None, :]]
        return conditional(blocks, self.full[sets], self.alpha[sets], sets)

    @cached_property
    def diagonal(self) -> Tensor:
        """The diagonal of the matrix, ``(n,)``."""
        return torch.diagonal(self.matrix)


def conditional(blocks: Tensor, full: Tensor, alpha: Tensor, sets: Tensor) -> Conditional:
    """Return the distribution of sets of rows from their blocks of the precision.

    Args:
        blocks: ``P_TT (k, s, s)``.
        full: ``(k, s)``, the diagonal that it would have if the mean were known.
        alpha: ``(k, s, t)``, ``P y`` there.
        sets: ``(k, s)``, the rows.

    Raises:
        NotPositiveDefiniteError: a set without which the other rows do not determine the mean.
    """
    root, status = torch.linalg.cholesky_ex(blocks)
    pivots = torch.diagonal(root, dim1=-2, dim2=-1)
    undetermined = (status != 0) | (pivots.square() <= UNDETERMINED * full).any(-1)
    if bool(undetermined.any()):
        lost = sets[undetermined.to(sets.device)][0].tolist()
        raise NotPositiveDefiniteError(
            f"without rows {lost[:5]}{' ...' * (len(lost) > 5)} the others do not determine the mean's "
            "coefficients, so that they cannot be predicted: try mean='constant', or more rows"
        )
    covariance = torch.cholesky_inverse(root)
    error = covariance @ alpha
    log_volume = pivots.log().sum(-1) - 0.5 * sets.shape[1] * LOG_2PI
    return Conditional(sets, error, covariance, log_volume[:, None] - 0.5 * (alpha * error).sum(1))


def precision_of(a: Tensor, y: Tensor, basis: Tensor) -> Precision:
    """Return the precision of outputs with a given covariance.

    Args:
        a: ``(n, n)``, the covariance of the observations, noise included; overwritten.
        y: ``(n, t)``, the outputs, independent given the covariance.
        basis: ``(n, q)``, the basis functions of the mean; ``q = 0`` for a mean of zero.

    Raises:
        NotPositiveDefiniteError: ``a`` cannot be factorised, or does not determine the mean.
    """
    factor = cholesky(a)
    mean = fit_mean(factor, y, basis)
    inverse = factor.inverse_in_place().mT.contiguous()  # the lower triangle counts, as `mirror` takes it
    mirror(inverse)
    full = torch.diagonal(inverse).clone()
    if basis.shape[1]:
        root = torch.linalg.cholesky(mean.information)
        half = torch.linalg.solve_triangular(root, mean.weighted_basis.mT, upper=False)
        inverse.addmm_(half.mT, half, alpha=-1.0)
    return Precision(inverse, full, mean.alpha, factor.jitter)


def held_out_evidence(
    a: Tensor, y: Tensor, basis: Tensor, sets: Tensor, *, gradient: bool = False
) -> Evidence:
    """Return the log density of held-out sets in nats per row times ``n``, so that it compares with the LML.

    Args:
        a: ``(n, n)``, the covariance of the observations, noise included; overwritten.
        y: ``(n, t)``, the outputs, independent given the covariance.
        basis: ``(n, q)``, the basis functions of the mean.
        sets: ``(k, s)``, rows that are held out together.
        gradient: whether to return the derivative in ``a`` as well.

    Returns:
        The sum over sets and outputs times ``n / (k s)``, and the gradient as `evidence` has it.

    Raises:
        NotPositiveDefiniteError: ``a`` cannot be factorised, or rows outside of a set do not determine the
            mean.

    Source: Rasmussen and Williams (2006), equation 5.13, for sets of one row.

    Examples:
        >>> eye, y = torch.eye(2, dtype=torch.float64), torch.zeros(2, 1, dtype=torch.float64)
        >>> round(held_out_evidence(eye, y, y[:, :0], torch.tensor([[0], [1]])).value, 4)
        -1.8379
    """
    n = len(y)
    precision = precision_of(a, y, basis)
    found = precision.conditional(sets)
    scale = n / sets.numel()
    value = scale * float(found.log_joint.sum())
    return Evidence(value, _slope(precision, found, scale) if gradient else None, precision.jitter)


def _slope(precision: Precision, found: Conditional, scale: float) -> Tensor:
    """Return the derivative in the covariance, gathered on the upper triangle."""
    p, t = precision.matrix, precision.alpha.shape[1]
    inner, pulled = torch.zeros_like(p), torch.zeros_like(precision.alpha)
    both = t * found.covariance + found.error @ found.error.mT
    inner.index_put_((found.rows[:, :, None], found.rows[:, None, :]), both, accumulate=True)
    pulled.index_put_((found.rows,), found.error, accumulate=True)
    cross = (p @ pulled) @ precision.alpha.mT
    slope = (p @ inner @ p).neg_().add_(cross).add_(cross.mT)  # twice the sum of the sets' G
    torch.diagonal(slope).mul_(0.5)
    return slope.mul_(scale)
