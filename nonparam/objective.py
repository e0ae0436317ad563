r"""What training maximises: the log marginal likelihood, and with priors the log posterior.

Or, in its place, the log density of rows that are held out: of each given all others, or of the last ones of
random orders given the first (`nonparam.model_selection.held_out`). It counts each row once.

A weight :math:`w_i` raises the likelihood of row :math:`i` to a power, so that a weight of 2 is the same as
the row given twice, and a weight of 0 the same as leaving it out:

.. math:: N(y_i \mid f_i, \sigma^2)^{w_i} = N(y_i \mid f_i, \sigma^2 / w_i)\,
          (2\pi\sigma^2)^{(1 - w_i)/2}\, w_i^{-1/2}.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import gpytorch
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nonparam.errors import NotPositiveDefiniteError
from nonparam.kernels.base import Kernel
from nonparam.kernels.evaluate import covariance, is_grid, spread
from nonparam.kernels.strips import assemble
from nonparam.model_selection.evidence import LOG_2PI, Evidence, evidence
from nonparam.model_selection.held_out import HeldOutRows, held_out_evidence
from nonparam.theta import Theta

__all__ = ["MATRICES", "Data", "Objective", "matrices_needed"]

Array = NDArray[np.float64]

MATRICES = 5  # of n x n at the peak, in strips of rows
BATCHED = 512  # rows; up to here several points are evaluated at once
LARGEST_LOG = 700.0  # of a noise that a float holds, and whose inverse it holds
FAR = 100.0  # beyond it numbers may overflow, which shows in the gradient first
MATRICES_ON_GRID = 14  # where terms that are not functions of the lag keep their graphs


@dataclass(frozen=True)
class Data:
    """What a model is fitted to.

    Attributes:
        x: ``(n, d)``.
        y: ``(n, t)``.
        basis: ``(n, q)``, the basis functions of the mean.
        weights: ``(n,)``, positive powers of the rows' likelihoods.
        noise: ``(n,)``, known noise variances, or ``None`` where one variance is learnt.
    """

    x: Tensor
    y: Tensor
    basis: Tensor
    weights: Tensor
    noise: Tensor | None

    def noise_variances(self, learnt: float) -> Tensor:
        """Return the variance of every row's noise, ``(n,)``."""
        return learnt / self.weights if self.noise is None else self.noise / self.weights

    def rows(self, index: Tensor) -> "Data":
        """Return some of the rows, by their numbers ``(m,)``."""
        noise = None if self.noise is None else self.noise[index]
        return Data(self.x[index], self.y[index], self.basis[index], self.weights[index], noise)

    def output(self, column: int) -> "Data":
        """Return the same rows with one output only."""
        return replace(self, y=self.y[:, column : column + 1])

    def joined(self, new: "Data") -> "Data":
        """Return these rows and then the new ones."""
        noise = None if self.noise is None or new.noise is None else torch.cat([self.noise, new.noise])
        names = ("x", "y", "basis", "weights")
        x, y, basis, weights = (torch.cat([getattr(self, name), getattr(new, name)]) for name in names)
        return Data(x, y, basis, weights, noise)

    @cached_property
    def _weight_sums(self) -> tuple[float, float]:
        """The sums of ``1 - w`` (times ``log 2 pi noise`` where that is known) and of ``log w``."""
        spare = 1.0 - self.weights
        if self.noise is not None:
            counted = (spare != 0.0) & (self.noise > 0.0)
            spare = torch.where(counted, spare * (self.noise.clamp_min(1e-300).log() + LOG_2PI), 0.0)
        return float(spare.sum()), float(self.weights.log().sum())

    def weight_terms(self, learnt: float) -> tuple[float, float]:
        """Return what the weights add to the log likelihood, and its slope in the log noise."""
        t = self.y.shape[1]
        spare, logs = self._weight_sums
        powers = spare if self.noise is not None or spare == 0.0 else spare * (math.log(learnt) + LOG_2PI)
        slope = 0.0 if self.noise is not None else spare
        return 0.5 * t * (powers - logs), 0.5 * t * slope


def matrices_needed(kernel: gpytorch.kernels.Kernel, x: Tensor) -> int:
    """Return how many ``n x n`` matrices are alive at the peak of training, an upper estimate."""
    dense_on_grid = is_grid(x) and not (isinstance(kernel, Kernel) and kernel.is_stationary)
    return MATRICES_ON_GRID if dense_on_grid else MATRICES


@dataclass(frozen=True)
class Objective:
    """The log marginal likelihood of hyperparameters, plus the log density of their prior.

    Attributes:
        data: the observations.
        theta: the vector of free hyperparameters.
        with_prior: whether the prior is added.
        outputs: ``(s,)``, the column of ``y`` that each of ``s`` searches explains, where they differ.
        held_out: which rows are predicted from which, where that is maximised and not the likelihood.
    """

    data: Data
    theta: Theta
    with_prior: bool
    outputs: NDArray[np.intp] | None = None
    held_out: HeldOutRows | None = None

    @property
    def n(self) -> int:
        """The number of rows."""
        return len(self.data.x)

    def log_marginal_likelihood(
        self, points: Array, *, outputs: NDArray[np.intp] | None = None, gradient: bool = True
    ) -> tuple[Array, Array, float]:
        """Evaluate the log marginal likelihood of a batch of hyperparameters.

        Args:
            points: ``(b, p)``.
            outputs: ``(b,)``, the column of ``y`` for each point; ``None`` for all columns.
            gradient: whether the gradient is needed.

        Returns:
            ``(b,)`` values in nats (minus infinity where no admissible jitter makes the covariance positive
            definite), ``(b, p)`` gradients, and the largest jitter.
        """
        if len(points) > 1 and not self._batches():
            chosen = [None] * len(points) if outputs is None else list(outputs[:, None])
            parts = [
                self.log_marginal_likelihood(p[None], outputs=output, gradient=gradient)
                for p, output in zip(points, chosen, strict=True)
            ]
            values, slopes, jitters = zip(*parts, strict=True)
            return np.concatenate(values), np.concatenate(slopes), max(jitters)
        data = [self.data] * len(points) if outputs is None else [self.data.output(i) for i in outputs]
        if len(points) == 1 and not self._is_toeplitz:
            return self._single(points[0], data[0], gradient)
        self.theta.assign(points if len(points) > 1 else points[0])
        parameters = self.theta.parameters if gradient else []
        with torch.set_grad_enabled(bool(parameters)):
            k = self._lags() if self._is_toeplitz else covariance(self.theta.kernel, self.data.x)
        entries = k.detach().expand(len(points), *k.shape[-2:])  # no batch where the kernel has nothing free
        matrices = spread(entries[:, 0]) if self._is_toeplitz else entries.contiguous().clone()
        found = [self._one(*each, gradient) for each in zip(matrices, data, points, strict=True)]
        values, noise_slopes, slopes, jitters = zip(*found, strict=True)
        gradients: Sequence[Tensor] = ()
        if parameters and k.requires_grad:
            pulled = torch.stack(slopes) if self._is_toeplitz else torch.stack(slopes).triu_()
            gradients = torch.autograd.grad(k, parameters, pulled.reshape(k.shape), materialize_grads=True)
        gathered = self.theta.gather(list(gradients), np.array(noise_slopes), len(points))
        return np.array(values), gathered, max(jitters)

    def evaluate(self, point: Array, *, gradient: bool) -> tuple[float, Array]:
        """Evaluate the log marginal likelihood of hyperparameters that may be of any size.

        Args:
            point: ``(p,)``.
            gradient: whether the gradient is needed.

        Returns:
            The value in nats and the ``(p,)`` gradient; minus infinity and zeros where the covariance has no
            factor, or where some number on the way is beyond what a float holds.
        """
        nowhere = -np.inf, np.zeros_like(point)
        if self.theta.learns_noise and abs(point[-1]) > LARGEST_LOG:
            return nowhere
        far = bool((np.abs(point) > FAR).any())
        values, slopes, _ = self.log_marginal_likelihood(point[None], gradient=gradient or far)
        usable = np.isfinite(values).all() and (np.isfinite(slopes).all() or not (gradient or far))
        return (float(values[0]), slopes[0]) if usable else nowhere

    def _lags(self) -> Tensor:
        """Return the covariance of the first row with every row, ``(*batch, 1, n)``: all that there is."""
        return covariance(self.theta.kernel, self.data.x[:1], self.data.x)

    @cached_property
    def _memory(self) -> Tensor:
        """One matrix for all evaluations: the system takes time to hand out new memory."""
        n = len(self.data.x)
        return self.data.x.new_empty(n, n)

    def _single(self, point: Array, data: Data, gradient: bool) -> tuple[Array, Array, float]:
        """Evaluate one point, the kernel in pieces that fit the cache."""
        self.theta.assign(point)
        parameters = self.theta.parameters if gradient else []
        with torch.set_grad_enabled(bool(parameters)):
            k = assemble(self.theta.kernel, data.x, self._memory)
        value, noise_slope, slope, jitter = self._one(k.matrix, data, point, gradient)
        gradients = [] if slope is None else k.pull(parameters, slope)
        return np.array([value]), self.theta.gather(gradients, np.array([noise_slope]), 1), jitter

    @cached_property
    def _is_toeplitz(self) -> bool:
        """Whether the covariance of the observations is constant along its diagonals."""
        variances = self.data.noise_variances(1.0)
        kernel = self.theta.kernel
        uniform = bool((variances == variances[0]).all()) and self.held_out is None
        return uniform and isinstance(kernel, Kernel) and kernel.is_stationary and is_grid(self.data.x)

    def _one(
        self, matrix: Tensor, data: Data, point: Array, gradient: bool
    ) -> tuple[float, float, Tensor | None, float]:
        """Return the value, its slope in the log noise, its derivative in ``k``, and the jitter.

        The covariance of the functions, ``matrix``, is overwritten.
        """
        noise = math.exp(point[-1]) if self.theta.learns_noise else 0.0
        variances = data.noise_variances(noise)
        torch.diagonal(matrix).add_(variances)
        try:
            found = self._found(matrix, data, gradient)
        except NotPositiveDefiniteError:
            return -np.inf, 0.0, torch.zeros_like(matrix[0] if self._is_toeplitz else matrix), 0.0
        extra, noise_slope = data.weight_terms(noise) if self.held_out is None else (0.0, 0.0)
        if found.gradient is not None:
            per_row = torch.diagonal(found.gradient) if found.gradient.ndim == 2 else found.gradient[:1]
            noise_slope += float(per_row @ variances[: len(per_row)])
        return found.value + extra, noise_slope, found.gradient, found.jitter

    def _found(self, a: Tensor, data: Data, gradient: bool) -> Evidence:
        """Evaluate what is maximised for a covariance of the observations, which is overwritten."""
        if self.held_out is None:
            return evidence(a, data.y, data.basis, gradient=gradient, is_toeplitz=self._is_toeplitz)
        return held_out_evidence(a, data.y, data.basis, self.held_out.sets(len(data.y)), gradient=gradient)

    def _batches(self) -> bool:
        ours = all(isinstance(k, Kernel) for k in [self.theta.kernel, *self.theta.kernel.sub_kernels()])
        return ours and len(self.data.x) <= BATCHED

    def negative(self, points: Array, which: NDArray[np.intp]) -> tuple[Array, Array]:
        """Return minus the objective and its gradient, as `minimise` asks for them."""
        outputs = None if self.outputs is None else self.outputs[which]
        values, gradients, _ = self.log_marginal_likelihood(points, outputs=outputs)
        if self.with_prior:
            densities, slopes = self.theta.log_priors(points)
            values, gradients = values + densities, gradients + slopes
        values[~np.isfinite(gradients).all(1)] = -np.inf  # beyond what the kernel can be evaluated at
        return -values, -gradients
