"""What training on a panel maximises, exactly: the log marginal likelihood, with priors the log posterior."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nonparam.errors import ConvergenceError, NotPositiveDefiniteError
from nonparam.kernels.strips import assemble
from nonparam.multioutput.coregionalisation import PanelTheta
from nonparam.multioutput.kronecker_panel import kronecker_evidence
from nonparam.multioutput.masked_cholesky import masked_evidence
from nonparam.multioutput.panel import Panel
from nonparam.multioutput.slope import PanelEvidence

__all__ = ["EVIDENCES", "PanelObjective"]

Array = NDArray[np.float64]

EVIDENCES: dict[str, Callable[[Panel, Tensor, Tensor, Tensor], PanelEvidence]] = {
    "cholesky": masked_evidence,
    "kronecker": kronecker_evidence,
}


@dataclass(frozen=True)
class PanelObjective:
    """The log marginal likelihood of hyperparameters, plus the log density of their prior.

    Attributes:
        panel: what is observed.
        theta: the vector of free hyperparameters.
        with_prior: whether the prior is added.
        solver: one of `EVIDENCES`.
    """

    panel: Panel
    theta: PanelTheta
    with_prior: bool
    solver: str

    @property
    def n(self) -> int:
        """The number of observed entries."""
        return self.panel.count

    def log_marginal_likelihood(self, point: Array) -> tuple[float, Array]:
        """Return the log marginal likelihood at ``point (p,)`` and its gradient.

        Returns:
            A number of nats and ``(p,)`` derivatives; minus infinity and zeros where the covariance has no
            factor, or where a number is beyond what a float holds.
        """
        nowhere = -np.inf, np.zeros_like(point)
        with np.errstate(over="ignore", invalid="ignore"):
            b, noise = self.theta.tensors(point, self.panel.x)
        if not bool(torch.isfinite(b).all() and torch.isfinite(noise).all() and (noise > 0.0).all()):
            return nowhere
        parameters = self.theta.parameters
        with torch.set_grad_enabled(bool(parameters)):
            k = assemble(self.theta.kernel, self.panel.x, self._memory)
        try:
            found = EVIDENCES[self.solver](self.panel, b, noise, k.matrix)
        except (NotPositiveDefiniteError, ConvergenceError):
            return nowhere
        in_kernel = k.pull(parameters, found.k) if parameters else []
        gradient = self.theta.collect(point, in_kernel, found.b.cpu().numpy(), found.noise.cpu().numpy())
        return (found.value, gradient) if np.isfinite([found.value, *gradient]).all() else nowhere

    def negative(self, points: Array, which: NDArray[np.intp]) -> tuple[Array, Array]:
        """Return minus the objective and its gradient, as `nonparam.lbfgs.minimise` asks for them."""
        values, gradients = zip(*(self.log_marginal_likelihood(point) for point in points), strict=True)
        value, gradient = np.array(values), np.stack(gradients)
        if self.with_prior:
            densities, slopes = self.theta.log_priors(points)
            value, gradient = value + densities, gradient + slopes
        return -value, -gradient

    @cached_property
    def _memory(self) -> Tensor:
        """One matrix for all evaluations: the system takes time to hand out new memory."""
        return self.panel.x.new_empty(self.panel.n, self.panel.n)
