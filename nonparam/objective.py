r"""What training maximises: the log marginal likelihood, and with priors the log posterior.

A weight :math:`w_i` raises the likelihood of row :math:`i` to a power, so that a weight of 2 is the same as
the row given twice, and a weight of 0 the same as leaving it out:

.. math:: N(y_i \mid f_i, \sigma^2)^{w_i} = N(y_i \mid f_i, \sigma^2 / w_i)\,
          (2\pi\sigma^2)^{(1 - w_i)/2}\, w_i^{-1/2}.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nonparam.errors import NotPositiveDefiniteError
from nonparam.kernels.base import Kernel
from nonparam.kernels.evaluate import covariance
from nonparam.model_selection.evidence import LOG_2PI, evidence
from nonparam.theta import Theta

__all__ = ["Data", "Objective"]

Array = NDArray[np.float64]

LARGEST_BATCH = 1000  # rows: above it a batch of matrices is slower than one after the other


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
        base = torch.full_like(self.weights, learnt) if self.noise is None else self.noise
        return base / self.weights

    def weight_terms(self, learnt: float) -> tuple[float, float]:
        """Return what the weights add to the log likelihood, and its slope in the log noise."""
        t = self.y.shape[1]
        base = torch.full_like(self.weights, learnt) if self.noise is None else self.noise
        spare = 1.0 - self.weights
        powers = torch.where((spare == 0.0) | (base == 0.0), 0.0, spare * (base.log() + LOG_2PI))
        value = 0.5 * t * float((powers - self.weights.log()).sum())
        return value, 0.5 * t * float(spare.sum())


@dataclass(frozen=True)
class Objective:
    """The log marginal likelihood of hyperparameters, plus the log density of their prior.

    Attributes:
        data: the observations.
        theta: the vector of free hyperparameters.
        with_prior: whether the prior is added.
    """

    data: Data
    theta: Theta
    with_prior: bool

    def log_marginal_likelihood(self, points: Array, *, gradient: bool = True) -> tuple[Array, Array, float]:
        """Evaluate the log marginal likelihood of a batch of hyperparameters.

        Args:
            points: ``(b, p)``.
            gradient: whether the gradient is needed.

        Returns:
            ``(b,)`` values in nats (minus infinity where no admissible jitter makes the covariance positive
            definite), ``(b, p)`` gradients, and the largest jitter.
        """
        if len(points) > 1 and not self._batches():
            parts = [self.log_marginal_likelihood(p[None], gradient=gradient) for p in points]
            values, slopes, jitters = zip(*parts, strict=True)
            return np.concatenate(values), np.concatenate(slopes), max(jitters)
        self.theta.assign(points if len(points) > 1 else points[0])
        parameters = self.theta.parameters if gradient else []
        with torch.set_grad_enabled(bool(parameters)):
            k = covariance(self.theta.kernel, self.data.x)
        batch = len(points)
        slope = torch.empty_like(k).reshape(batch, *k.shape[-2:]) if parameters else None
        values, noise_slopes, jitter = np.empty(batch), np.zeros(batch), 0.0
        for i, matrix in enumerate(k.detach().reshape(batch, *k.shape[-2:])):
            values[i], noise_slopes[i], used = self._one(
                matrix, points[i], None if slope is None else slope[i]
            )
            jitter = max(jitter, used)
        gradients = [] if slope is None else list(torch.autograd.grad(k, parameters, slope.reshape(k.shape)))
        return values, self.theta.gather(gradients, noise_slopes, batch), jitter

    def _one(self, k: Tensor, point: Array, out: Tensor | None) -> tuple[float, float, float]:
        """Return value, slope in the log noise, and jitter; write the derivative in ``k`` into ``out``."""
        noise = float(np.exp(point[-1])) if self.theta.learns_noise else 0.0
        variances = self.data.noise_variances(noise)
        matrix = k.clone(memory_format=torch.contiguous_format)
        torch.diagonal(matrix).add_(variances)
        learns = out is not None or self.theta.learns_noise
        try:
            found = evidence(matrix, self.data.y, self.data.basis, gradient=learns)
        except NotPositiveDefiniteError:
            if out is not None:
                out.zero_()
            return -np.inf, 0.0, 0.0
        extra, extra_slope = self.data.weight_terms(noise)
        noise_slope = 0.0
        if found.gradient is not None:
            noise_slope = float(torch.diagonal(found.gradient) @ variances) + extra_slope
            if out is not None:
                out.copy_(found.gradient)
        return found.value + extra, noise_slope, found.jitter

    def _batches(self) -> bool:
        ours = all(isinstance(k, Kernel) for k in [self.theta.kernel, *self.theta.kernel.sub_kernels()])
        return ours and len(self.data.x) <= LARGEST_BATCH

    def negative(self, points: Array, which: NDArray[np.intp]) -> tuple[Array, Array]:
        """Return minus the objective and its gradient, as `minimise` asks for them."""
        del which  # every start has the same objective
        values, gradients, _ = self.log_marginal_likelihood(points)
        if self.with_prior:
            densities, slopes = self.theta.log_prior(points)
            values, gradients = values + densities, gradients + slopes
        return -values, -gradients
