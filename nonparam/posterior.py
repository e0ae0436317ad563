r"""The Gaussian process conditioned on data: means, variances and covariances at new rows.

With :math:`A = K + \mathrm{diag}(\sigma^2/w)`, basis functions :math:`h` of the mean and
:math:`\alpha = A^{-1}(Y - H\hat\beta)`,

.. math::

    m(x) = h(x)^\top \hat\beta + k(x)^\top \alpha, \quad
    v(x) = k(x, x) - k(x)^\top A^{-1} k(x) + r^\top (H^\top A^{-1} H)^{-1} r, \quad
    r = h(x) - H^\top A^{-1} k(x).

The last term is the uncertainty of the mean's own coefficients (universal kriging).

Source: Rasmussen and Williams (2006), equations 2.25, 2.26 and 2.42.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import gpytorch
import torch
from torch import Tensor

from nonparam.errors import NotPositiveDefiniteError
from nonparam.interpolation import InterpolatedKernel, InterpolatedOperator
from nonparam.kernels.evaluate import covariance, variance
from nonparam.kernels.strips import assemble
from nonparam.model_selection.evidence import LOG_2PI, MeanFit, fit_mean, log_density
from nonparam.objective import Data
from nonparam.solvers.certified import CertifiedSolver
from nonparam.solvers.cholesky import CholeskyFactor, cholesky
from nonparam.solvers.structured import StateSpaceFactor, StructuredFactor
from nonparam.solvers.variance_cache import VarianceCache
from nonparam.solves import solver_for
from nonparam.structure import Structure, structure_of
from nonparam.structured import structured_factor

__all__ = ["Posterior", "condition", "correlate"]

BLOCK = 2048  # new rows worked on at a time
SOLVED_BLOCK = 256  # the same where each is solved for: iterations hold ten numbers in place of one


@dataclass(frozen=True)
class Posterior:
    """A Gaussian process given its observations.

    Attributes:
        kernel: at its fitted hyperparameters.
        data: the observations.
        noise: the learnt noise variance; 0 where the noise is known for every row.
        factor: of the covariance of the observations, or what solves with it.
        mean: the fit of the mean function, and the solve of the residual.

    Examples:
        >>> from nonparam.kernels import RBF
        >>> x = torch.tensor([[0.0], [1.0]], dtype=torch.float64)
        >>> data = Data(x, torch.sin(x), basis=x[:, :0], weights=torch.ones_like(x[:, 0]), noise=None)
        >>> posterior = condition(RBF(1.0), data, noise=0.01)
        >>> posterior.predict_variance(x + 9.0, x[:, :0]).round(decimals=6)  # far away that of the prior
        tensor([1., 1.], dtype=torch.float64)
    """

    kernel: gpytorch.kernels.Kernel
    data: Data
    noise: float
    factor: CholeskyFactor | CertifiedSolver | StructuredFactor
    mean: MeanFit

    @torch.no_grad()
    def predict_mean(self, x: Tensor, basis: Tensor) -> Tensor:
        """Return the posterior mean at ``x (m, d)`` with basis functions ``(m, q)``: ``(m, t)``."""
        if isinstance(self.factor, StateSpaceFactor):
            residual = self.data.y - self.data.basis @ self.mean.coefficients
            return self.factor.smooth(x, residual)[0] + basis @ self.mean.coefficients
        if self.interpolated is not None:
            pulled = self.interpolated.product(x, self.data.x, self.mean.alpha)
            return pulled + basis @ self.mean.coefficients
        blocks = [
            covariance(self.kernel, rows, self.data.x) @ self.mean.alpha + h @ self.mean.coefficients
            for rows, h in _blocks(x, basis)
        ]
        return torch.cat(blocks)

    @torch.no_grad()
    def predict_variance(self, x: Tensor, basis: Tensor, tolerance: float | None = None) -> Tensor:
        """Return the posterior variance of the noise-free function at each row: ``(m,)``, never negative.

        Args:
            x: ``(m, d)``.
            basis: ``(m, q)``.
            tolerance: what a variance may be too large by, relative to the prior variance of its row, where
                `variance_cache` answers in place of certified solves; by default these.
        """
        if isinstance(self.factor, StateSpaceFactor):
            pulled, left = self.factor.smooth(x, self.data.basis)
            return left + self._mean_uncertainty(pulled.mT, basis).square().sum(0)
        size = SOLVED_BLOCK if isinstance(self.factor, CertifiedSolver) else BLOCK
        return torch.cat([self._variance(rows, h, tolerance) for rows, h in _blocks(x, basis, size)])

    @cached_property
    def variance_cache(self) -> VarianceCache | None:
        """What answers where a tolerance is given: made when it is first asked for; none beside a factor."""
        return VarianceCache.of(self.factor) if isinstance(self.factor, CertifiedSolver) else None

    def _variance(self, x: Tensor, basis: Tensor, tolerance: float | None) -> Tensor:
        cross, prior = self._covariance(self.data.x, x), self._prior_variance(x)
        if tolerance is None or self.variance_cache is None:
            explained = self.factor.quadratic(cross)
        else:
            explained = self.variance_cache.quadratic(cross, tolerance * prior)
        left = (prior - explained).clamp_min(0.0)  # rounding may leave -1e-16
        root = self._mean_uncertainty(self.mean.weighted_basis.mT @ cross, basis)
        return left + root.square().sum(0)

    @torch.no_grad()
    def predict_covariance(self, x: Tensor, basis: Tensor) -> Tensor:
        """Return the posterior covariance of the noise-free function between the rows: ``(m, m)``."""
        cross = self._covariance(self.data.x, x)
        explained = self.factor.gram(cross)
        root = self._mean_uncertainty(self.mean.weighted_basis.mT @ cross, basis)
        joint = self._covariance(x) - explained + root.mT @ root
        torch.diagonal(joint).clamp_(min=0.0)
        return 0.5 * (joint + joint.mT)

    @property
    def interpolated(self) -> InterpolatedKernel | None:
        """What stands for the kernel, where it is interpolated from a grid."""
        matrix = self.factor.matrix if isinstance(self.factor, CertifiedSolver) else None
        return matrix.kernel if isinstance(matrix, InterpolatedOperator) else None

    def _covariance(self, x1: Tensor, x2: Tensor | None = None) -> Tensor:
        if self.interpolated is None:
            return covariance(self.kernel, x1, x2)
        return self.interpolated.covariance(x1, x2)

    def _prior_variance(self, x: Tensor) -> Tensor:
        return variance(self.kernel, x) if self.interpolated is None else self.interpolated.variance(x)

    def _mean_uncertainty(self, pulled: Tensor, basis: Tensor) -> Tensor:
        """Return ``(q, m)``, whose columns' squared norms are the variance due to the coefficients.

        Args:
            pulled: ``(q, m)``, ``H' A^-1 k(x)``.
            basis: ``(m, q)``.
        """
        residual = basis.mT - pulled
        root = torch.linalg.cholesky(self.mean.information)
        half: Tensor = torch.linalg.solve_triangular(root, residual, upper=False)
        return half

    @torch.no_grad()
    def component(self, part: gpytorch.kernels.Kernel, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the posterior mean ``(m, t)`` and variance ``(m,)`` of one term of the kernel.

        Args:
            part: a term of the kernel, which is a sum.
            x: ``(m, d)``.

        Source: Duvenaud (2014), Automatic model construction with Gaussian processes, section 2.4.5; the
        uncertainty of the mean function, which a part competes with: Rasmussen and Williams (2006), 2.42.
        """
        none = x.new_zeros(len(x), self.data.basis.shape[1])
        blocks = [self._component(part, *each) for each in _blocks(x, none)]
        means, variances = zip(*blocks, strict=True)
        return torch.cat(means), torch.cat(variances)

    def log_densities(self, new: Data) -> Tensor:
        """Return the log density of each new observation on its own, ``(m, t)``, in nats."""
        variance = self.predict_variance(new.x, new.basis) + new.noise_variances(self.noise)
        variance = variance.clamp_min(torch.finfo(variance.dtype).tiny)
        error = new.y - self.predict_mean(new.x, new.basis)
        return -0.5 * (LOG_2PI + variance.log()[:, None] + error.square() / variance[:, None])

    @torch.no_grad()
    def component_mean(self, part: gpytorch.kernels.Kernel, x: Tensor) -> Tensor:
        """Return the posterior mean of one term of the kernel alone: ``(m, t)``."""
        return torch.cat([covariance(part, rows, self.data.x) @ self.mean.alpha for rows in x.split(BLOCK)])

    def _component(self, part: gpytorch.kernels.Kernel, x: Tensor, none: Tensor) -> tuple[Tensor, Tensor]:
        cross = covariance(part, self.data.x, x)
        left = (variance(part, x) - self.factor.quadratic(cross)).clamp_min(0.0)
        root = self._mean_uncertainty(self.mean.weighted_basis.mT @ cross, none)
        return cross.mT @ self.mean.alpha, left + root.square().sum(0)

    @torch.no_grad()
    def mean_component(self, basis: Tensor) -> tuple[Tensor, Tensor]:
        """Return the fitted mean function ``(m, t)`` and its variance ``(m,)``.

        Args:
            basis: ``(m, q)``, its basis functions.
        """
        root = self._mean_uncertainty(torch.zeros_like(basis.mT), basis)
        return basis @ self.mean.coefficients, root.square().sum(0)

    def log_marginal_likelihood(self) -> float:
        """Return the log density of the observations in nats, weights included."""
        value = log_density(self.mean, self.factor, *self.data.y.shape)
        return value + self.data.weight_terms(self.noise)[0]

    @property
    def solver(self) -> str:
        """The name of the algorithm behind `factor`."""
        if isinstance(self.factor, StructuredFactor):
            return self.factor.solver
        if isinstance(self.factor, CholeskyFactor):
            return "cholesky"
        return "cg" if self.interpolated is None else "ski"

    def structure(self, data: Data) -> Structure | None:
        """Return the structure that other rows have, if the algorithm for the present ones uses one."""
        if not isinstance(self.factor, StructuredFactor):
            return None
        return structure_of(self.kernel, data.x, data.noise_variances(self.noise))

    @torch.no_grad()
    def extended(self, data: Data, new: int) -> "Posterior":
        """Condition on the last ``new`` rows of ``data`` as well, whose other rows are the present ones."""
        if isinstance(self.factor, CertifiedSolver):
            return condition(
                self.kernel, data, self.noise, _again(self.factor, self.kernel, data, self.noise)
            )
        if isinstance(self.factor, StructuredFactor):
            structure = self.structure(data)
            if structure is None:
                return condition(self.kernel, data, self.noise)
            again = structured_factor(structure, self.kernel, data, self.noise)
            return condition(self.kernel, data, self.noise, again)
        old = len(data.x) - new
        cross = covariance(self.kernel, data.x[:old], data.x[old:])
        corner = covariance(self.kernel, data.x[old:])
        corner = corner + torch.diag(data.noise_variances(self.noise)[old:])
        factor = self.factor.extended(cross, corner)
        return Posterior(self.kernel, data, self.noise, factor, fit_mean(factor, data.y, data.basis))


@torch.no_grad()
def condition(
    kernel: gpytorch.kernels.Kernel,
    data: Data,
    noise: float,
    solver: CertifiedSolver | StructuredFactor | None = None,
) -> Posterior:
    """Condition a Gaussian process on observations.

    Args:
        kernel: the prior covariance.
        data: the observations.
        noise: the noise variance, used where ``data.noise`` is ``None``.
        solver: of the covariance of the observations; by default that is factorised.

    Returns:
        The posterior.

    Raises:
        NotPositiveDefiniteError: the covariance of the observations cannot be factorised.

    Source: Rasmussen and Williams (2006), algorithm 2.1, lines 2 and 3.

    Examples:
        >>> from nonparam.kernels import RBF
        >>> x = torch.tensor([[0.0], [1.0]], dtype=torch.float64)
        >>> data = Data(x, torch.sin(x), basis=x[:, :0], weights=torch.ones_like(x[:, 0]), noise=None)
        >>> posterior = condition(RBF(1.0), data, noise=0.0)
        >>> torch.allclose(posterior.predict_mean(x, x[:, :0]), data.y)  # without noise it interpolates
        True
    """
    factor = _factorised(kernel, data, noise) if solver is None else solver
    return Posterior(kernel, data, noise, factor, fit_mean(factor, data.y, data.basis))


def _factorised(kernel: gpytorch.kernels.Kernel, data: Data, noise: float) -> CholeskyFactor:
    matrix = assemble(kernel, data.x).matrix
    torch.diagonal(matrix).add_(data.noise_variances(noise))
    return cholesky(matrix)


def _again(
    solver: CertifiedSolver, kernel: gpytorch.kernels.Kernel, data: Data, noise: float
) -> CertifiedSolver:
    """Return a solver with the settings of another one, for other rows."""
    return solver_for(
        kernel,
        data,
        noise,
        dtype=solver.matrix.dtype,
        tolerance=solver.tolerance,
        rank=solver.rank,
        seed=solver.seed,
        interpolated=isinstance(solver.matrix, InterpolatedOperator),
    ).measured()


def correlate(joint: Tensor, z: Tensor, scale: float) -> Tensor:
    """Return draws with a given covariance.

    Args:
        joint: ``(m, m)``; where rounding has left it with negative eigenvalues, they count as 0.
        z: ``(m, k)``, standard normal numbers.
        scale: what the jitter is relative to.

    Returns:
        ``(m, k)``.

    Source: Golub and Van Loan (2013), Matrix computations, section 4.2.4.

    Examples:
        >>> joint = torch.tensor([[4.0, 2.0], [2.0, 1.0]], dtype=torch.float64)  # perfectly correlated
        >>> draws = correlate(joint, torch.randn(2, 3, dtype=torch.float64), 1.0)
        >>> torch.allclose(draws[0], 2.0 * draws[1], atol=1e-4)
        True
    """
    try:
        return cholesky(joint.clone(), scale).multiply(z)
    except NotPositiveDefiniteError:
        sd = torch.diagonal(joint).clamp_min(0.0).sqrt()[:, None]
        scaled = torch.where(sd * sd.mT > 0.0, joint / sd / sd.mT, 0.0)  # variances may differ by decades
        values, vectors = torch.linalg.eigh(scaled.clamp(-1.0, 1.0))
        draws: Tensor = sd * (vectors @ (values.clamp_min(0.0).sqrt()[:, None] * z))
        return draws


def _blocks(x: Tensor, basis: Tensor, size: int = BLOCK) -> Iterator[tuple[Tensor, Tensor]]:
    return zip(x.split(size), basis.split(size), strict=True)
