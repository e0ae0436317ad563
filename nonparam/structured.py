"""The evidence of rows whose covariance matrix has structure: its exact value and gradient, at low cost."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import gpytorch
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nonparam.errors import ConvergenceError, InputError, NotPositiveDefiniteError
from nonparam.model_selection.evidence import fit_mean, log_density
from nonparam.objective import Data, Objective
from nonparam.solvers.structured import StructuredFactor
from nonparam.structure import Structure, structure_for

__all__ = ["StructuredObjective", "structured_factor", "with_structure"]

Array = NDArray[np.float64]


@torch.no_grad()
def structured_factor(
    structure: Structure, kernel: gpytorch.kernels.Kernel, data: Data, noise: float
) -> StructuredFactor:
    """Return the inverse of the covariance of the observations by the algorithm of a structure.

    Args:
        structure: that the kernel and the rows have.
        kernel: at one value of its hyperparameters.
        data: the observations.
        noise: the noise variance, used where ``data.noise`` is ``None``.

    Raises:
        NotPositiveDefiniteError: the matrix is no covariance.
    """
    return structure.factor(structure.parts(kernel), data.noise_variances(noise))


@dataclass(frozen=True)
class StructuredObjective(Objective):
    """The log marginal likelihood by the algorithm of a structure.

    Attributes:
        structure: that the kernel and the rows have.
    """

    structure: Structure = field(kw_only=True)

    @classmethod
    def of(cls, objective: Objective, structure: Structure) -> "StructuredObjective":
        """Return the same objective by the algorithm of a structure."""
        return cls(
            objective.data, objective.theta, objective.with_prior, objective.outputs, structure=structure
        )

    def without_structure(self) -> Objective:
        """Return the same objective, of which subsets of the rows can be taken."""
        return Objective(self.data, self.theta, self.with_prior, self.outputs)

    def log_marginal_likelihood(
        self, points: Array, *, outputs: NDArray[np.intp] | None = None, gradient: bool = True
    ) -> tuple[Array, Array, float]:
        """Evaluate the log marginal likelihood of a batch of hyperparameters, one by one.

        Args:
            points: ``(b, p)``.
            outputs: ``(b,)``, the column of ``y`` for each point; ``None`` for all columns.
            gradient: whether the gradient is needed.

        Returns:
            ``(b,)`` values in nats (minus infinity where the covariance has no factor, its solves miss their
            tolerance, or a number on the way is beyond what a float holds), ``(b, p)`` gradients, and the
            largest jitter.
        """
        data = [self.data] * len(points) if outputs is None else [self.data.output(i) for i in outputs]
        pairs = zip(points, data, strict=True)
        values, slopes, jitters = zip(*(self._at(*pair, gradient) for pair in pairs), strict=True)
        return np.array(values), np.concatenate(slopes), max(jitters)

    def _at(self, point: Array, data: Data, gradient: bool) -> tuple[float, Array, float]:
        """Return the value, its gradient and the jitter; far out an algorithm may refuse its own numbers."""
        try:
            with np.errstate(over="raise", divide="raise", invalid="raise"):
                value, slopes, jitter = self._evaluated(point, data, gradient)
        except (NotPositiveDefiniteError, ConvergenceError, InputError, ArithmeticError):
            return -np.inf, np.zeros((1, len(point))), 0.0
        if not (np.isfinite(value) and np.isfinite(slopes).all()):
            return -np.inf, np.zeros((1, len(point))), 0.0
        return value, slopes, jitter

    def _evaluated(self, point: Array, data: Data, gradient: bool) -> tuple[float, Array, float]:
        self.theta.assign(point)
        noise = math.exp(point[-1]) if self.theta.learns_noise else 0.0
        with torch.set_grad_enabled(gradient and bool(self.theta.parameters)):
            parts = self.structure.parts(self.theta.kernel)
        variances = data.noise_variances(noise)
        factor = self.structure.factor([part.detach() for part in parts], variances)
        mean = fit_mean(factor, data.y, data.basis)
        value = log_density(mean, factor, *data.y.shape) + data.weight_terms(noise)[0]
        if not gradient:
            return value, np.zeros((1, len(point))), factor.jitter
        residual = data.y - data.basis @ mean.coefficients
        slopes, noise_slope = self.structure.slopes(factor, mean.alpha, residual, variances)
        gathered = self._gather(parts, slopes, noise_slope + data.weight_terms(noise)[1])
        return value, gathered, factor.jitter

    def _gather(self, parts: Sequence[Tensor], slopes: Sequence[Tensor], noise_slope: float) -> Array:
        pairs = [(part, slope) for part, slope in zip(parts, slopes, strict=True) if part.requires_grad]
        gradients: Sequence[Tensor] = ()
        if pairs:
            outputs, pulled = zip(*pairs, strict=True)
            gradients = torch.autograd.grad(outputs, self.theta.parameters, pulled, materialize_grads=True)
        return self.theta.gather(list(gradients), np.array([noise_slope]), 1)


def with_structure(objective: Objective, solver: str) -> Objective:
    """Return the objective by the algorithm of a structure, where the solver names one; else as it is.

    Args:
        objective: of all rows.
        solver: one of `nonparam.solvers.plan.SOLVERS`, not ``"auto"``.

    Raises:
        InputError: the structure is absent; the message says what is missing.
    """
    data, theta = objective.data, objective.theta
    structure = structure_for(solver, theta.kernel, data.x, data.noise_variances(1.0))
    return objective if structure is None else StructuredObjective.of(objective, structure)
