r"""Infinitely wide networks that gradient descent has trained for some time: mean and spread of an ensemble.

Networks start as draws of a Gaussian process with covariance :math:`K`, and follow the gradient of a loss at
rate one,

.. math:: L = \frac1{2 N s^2} \sum_i w_i (f(x_i) - y_i)^2, \quad N = \sum_i w_i,

with the tangent kernel :math:`T`. With :math:`S = W^{1/2} T W^{1/2}` at the rows of the data they are, at
time :math:`t`, a Gaussian process with

.. math::

    m(x) = A y, \quad A = T_{x\cdot}\, W^{1/2} g(S)\, W^{1/2}, \quad
    g(\lambda) = \frac{1 - e^{-\lambda t / (N s^2)}}{\lambda},

.. math:: C(x, x') = K_{xx'} + A K A'^\top - A K_{\cdot x'} - K_{x\cdot} A'^\top.

Source: Lee et al. (2019), Wide neural networks of any depth evolve as linear models under gradient descent,
NeurIPS, equations 14 to 16; the weights :math:`w` count rows that occur several times.
"""

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import gpytorch
import numpy as np
import torch
from torch import Tensor

from nonparam.errors import ConvergenceError, InputError
from nonparam.kernels.evaluate import covariance, variance
from nonparam.kernels.infinite import InfiniteNetwork
from nonparam.kernels.operator import KernelOperator
from nonparam.kernels.strips import assemble
from nonparam.newton import SEARCHED
from nonparam.objective import Data
from nonparam.posterior import Posterior
from nonparam.processes import free_memory
from nonparam.solvers.lanczos import Products, apply_function
from nonparam.solvers.plan import choose, fits

__all__ = ["Eigenvectors", "Filter", "Krylov", "TrainedEnsemble", "check_time", "gain", "train"]

MATRICES = 6  # of n x n at the peak: two kernels, eigenvectors, and what LAPACK takes for these
TOLERANCE = 1e-6  # of products by Lanczos, relative
MAX_STEPS = 300
COLUMNS = 16  # of a product at a time: Lanczos keeps a basis for each
BLOCK = 2048  # new rows worked on at a time

Gain = Callable[[Tensor], Tensor]


def gain(rate: float) -> Gain:
    r"""Return the function :math:`g(\lambda) = (1 - e^{-\lambda r}) / \lambda` of eigenvalues.

    Args:
        rate: :math:`r`, not negative; with an infinite one 0 is mapped to 0, as in a pseudo-inverse.

    Examples:
        >>> gain(2.0)(torch.tensor([0.0, 1e-30, 10.0]))
        tensor([2.0000, 2.0000, 0.1000])
        >>> gain(math.inf)(torch.tensor([0.0, 4.0]))
        tensor([0.0000, 0.2500])
    """
    at_zero = rate if math.isfinite(rate) else 0.0

    def applied(values: Tensor) -> Tensor:
        is_zero = values == 0.0
        divisor = torch.where(is_zero, 1.0, values)
        return torch.where(is_zero, at_zero, -torch.expm1(-rate * divisor) / divisor)

    return applied


class Filter(Protocol):
    """A function of a positive semidefinite matrix, which multiplies."""

    def __matmul__(self, b: Tensor) -> Tensor:
        """Return the product with ``b (n, k)``."""


@dataclass(frozen=True)
class Eigenvectors:
    """A function of a matrix by its eigenvectors.

    Attributes:
        vectors: ``(n, n)``, in columns.
        gains: ``(n,)``, the function at the eigenvalues.
    """

    vectors: Tensor
    gains: Tensor

    @classmethod
    def of(cls, matrix: Tensor, function: Gain) -> "Eigenvectors":
        r"""Decompose a matrix.

        Eigenvalues within rounding of 0 count as 0 and get no gain: what is multiplied has no part along
        their eigenvectors, as :math:`|T_{x\cdot} v|^2 \le T_{xx} \lambda`.

        Args:
            matrix: ``(n, n)``, symmetric positive semidefinite.
            function: of eigenvalues.

        Source: Golub and Van Loan (2013), Matrix computations, section 9.1.

        Examples:
            >>> eye = torch.eye(2, dtype=torch.float64)
            >>> Eigenvectors.of(4.0 * eye, torch.sqrt) @ eye
            tensor([[2., 0.],
                    [0., 2.]], dtype=torch.float64)
        """
        values, vectors = torch.linalg.eigh(matrix)
        rounding = len(values) * torch.finfo(values.dtype).eps * values[-1]
        return cls(vectors, torch.where(values > rounding, function(values), 0.0))

    def __matmul__(self, b: Tensor) -> Tensor:
        """Return the product with ``b (n, k)``."""
        return self.vectors @ (self.gains[:, None] * (self.vectors.mT @ b))


@dataclass(frozen=True)
class Krylov:
    """A function of a matrix by the Lanczos process, to a certified tolerance.

    Attributes:
        matrix: ``(n, n)``.
        function: of eigenvalues.
    """

    matrix: Products
    function: Gain

    def __matmul__(self, b: Tensor) -> Tensor:
        """Return the product with ``b (n, k)``; raise `ConvergenceError` where that is not certified."""
        return torch.cat([self._product(some) for some in b.split(COLUMNS, 1)], 1)

    def _product(self, b: Tensor) -> Tensor:
        found = apply_function(self.matrix, self.function, b, tolerance=TOLERANCE, max_steps=MAX_STEPS)
        try:
            return found.certified().product
        except ConvergenceError as error:
            raise ConvergenceError(
                "the Lanczos process does not resolve networks that are trained for so long: an error of "
                f"about {float(found.errors.max()):.2g} after {found.steps} steps, with {TOLERANCE:g} asked "
                f"for; take a shorter train_time, or at most {SEARCHED:,} rows with solver='cholesky'"
            ) from error


@dataclass(frozen=True)
class _Weighted:
    """A matrix with rows and columns multiplied by the same numbers.

    Attributes:
        matrix: ``(n, n)``.
        root: ``(n,)``.
    """

    matrix: Products
    root: Tensor

    def __matmul__(self, v: Tensor) -> Tensor:
        """Return the product with ``v (n, k)``."""
        return self.root[:, None] * (self.matrix @ (self.root[:, None] * v))


@dataclass(frozen=True)
class TrainedEnsemble(Posterior):
    """What networks are after training, in place of the process that their tangent kernel is the prior of.

    That process, which `Posterior` is, has learnt the hyperparameters; its likelihood, its noise and its mean
    function stay.

    Attributes:
        time: of training.
        unit: the variance of the outputs in whose units the loss is.
        initial: the covariance function of the networks before training.
        spread: that of the rows of the data, ``(n, n)``.
        filter: ``g(S)``, ``(n, n)``.
        pull: ``(n, t)``, what the kernel's products with the rows are multiplied by to give the mean.
    """

    time: float
    unit: float
    initial: gpytorch.kernels.Kernel
    spread: Products
    filter: Filter
    pull: Tensor

    @torch.no_grad()
    def predict_mean(self, x: Tensor, basis: Tensor) -> Tensor:
        """Return the mean of the networks at ``x (m, d)`` with basis functions ``(m, q)``: ``(m, t)``."""
        parts = [covariance(self.kernel, rows, self.data.x) @ self.pull for rows in x.split(BLOCK)]
        return torch.cat(parts) + basis @ self.mean.coefficients

    @torch.no_grad()
    def predict_variance(self, x: Tensor, basis: Tensor, tolerance: float | None = None) -> Tensor:
        """Return the variance of the networks at each row: ``(m,)``, never negative.

        Args:
            x: ``(m, d)``.
            basis: ``(m, q)``, whose weights are taken as known.
            tolerance: of no use here.
        """
        return torch.cat([self._spread_at(rows) for rows in x.split(BLOCK)])

    def _spread_at(self, x: Tensor) -> Tensor:
        pulled = self._pulled(x)
        change = self.spread @ pulled - 2.0 * covariance(self.initial, self.data.x, x)
        return (variance(self.initial, x) + (pulled * change).sum(0)).clamp_min(0.0)

    @torch.no_grad()
    def predict_covariance(self, x: Tensor, basis: Tensor) -> Tensor:
        """Return the covariance of the networks between the rows: ``(m, m)``."""
        pulled = self._pulled(x)
        change = self.spread @ pulled - 2.0 * covariance(self.initial, self.data.x, x)
        joint = covariance(self.initial, x) + pulled.mT @ change
        joint = 0.5 * (joint + joint.mT)
        torch.diagonal(joint).clamp_(min=0.0)
        return joint

    def _pulled(self, x: Tensor) -> Tensor:
        """Return ``A'``, ``(n, m)``."""
        root = self.data.weights.sqrt()[:, None]
        return root * (self.filter @ (root * covariance(self.kernel, self.data.x, x)))

    def extended(self, data: Data, new: int) -> "TrainedEnsemble":
        """Train on the last ``new`` rows of ``data`` as well, for the same time."""
        return train(super().extended(data, new), self.time, self.unit)


@torch.no_grad()
def train(posterior: Posterior, time: float, unit: float = 1.0) -> TrainedEnsemble:
    """Train infinitely wide networks on the data of a process whose prior is their tangent kernel.

    Up to 4,000 rows by eigenvectors, unless the process was conditioned by conjugate gradients; else by the
    Lanczos process.

    Args:
        posterior: the process; its kernel is, or scales, an `InfiniteNetwork` of the kind ``"ntk"``.
        time: of training, with a learning rate of one; positive or infinite.
        unit: the variance of the outputs in whose units the loss is.

    Raises:
        InsufficientMemoryError: more rows than the memory holds.
        ConvergenceError: Lanczos could not be certified: the time is long.

    Source: Lee et al. (2019), equations 14 to 16.
    """
    data, root = posterior.data, posterior.data.weights.sqrt()
    n, function = len(data.x), gain(time / (unit * float(data.weights.sum())))
    initial = _before_training(posterior.kernel)
    spread: Products
    found: Filter
    if posterior.solver == "cholesky" and n <= SEARCHED:
        choose("cholesky", n, MATRICES, data.x.device)
        spread = assemble(initial, data.x).matrix
        tangent = assemble(posterior.kernel, data.x).matrix
        found = Eigenvectors.of(tangent.mul_(root).mul_(root[:, None]), function)
    else:
        keep = fits(n, 2 * data.x.element_size(), free_memory(data.x.device))
        spread = KernelOperator(initial, data.x, keep=keep)
        found = Krylov(_Weighted(KernelOperator(posterior.kernel, data.x, keep=keep), root), function)
    left = data.y - data.basis @ posterior.mean.coefficients
    pull = root[:, None] * (found @ (root[:, None] * left))
    known = {name: getattr(posterior, name) for name in ("kernel", "data", "noise", "factor", "mean")}
    return TrainedEnsemble(
        **known, time=time, unit=unit, initial=initial, spread=spread, filter=found, pull=pull
    )


def check_time(time: Any, kind: str) -> None:
    """Raise `InputError` unless networks with this kernel can be trained for this time, or not at all.

    Examples:
        >>> check_time(-1.0, "ntk")
        Traceback (most recent call last):
        nonparam.errors.InputError: train_time must be None, a positive number or math.inf, got -1.0
    """
    if time is None:
        return
    number = isinstance(time, int | float | np.integer | np.floating) and not isinstance(time, bool)
    if not number or not time > 0.0:
        raise InputError(f"train_time must be None, a positive number or math.inf, got {time!r}")
    if kind != "ntk":
        raise InputError(
            f"train_time={time!r} is of gradient descent, got kernel={kind!r}: take kernel='ntk', or "
            "train_time=None"
        )


def _before_training(kernel: gpytorch.kernels.Kernel) -> gpytorch.kernels.Kernel:
    """Return the covariance function of the networks whose tangent kernel is given."""
    initial = copy.deepcopy(kernel)
    for part in initial.modules():
        if isinstance(part, InfiniteNetwork):
            part.kind = "nngp"
    return initial
