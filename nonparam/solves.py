r"""The evidence of many rows by certified solves instead of a factorisation.

With :math:`A = K + D`, a preconditioner :math:`P` near :math:`A` and probes :math:`z_j \sim N(0, P)`,

.. math::

    \partial \log p = \tfrac12 \sum_t \alpha_t^\top \partial A \, \alpha_t
        - \tfrac{t}{2s} \sum_j (A^{-1} z_j)^\top \partial A \, (P^{-1} z_j),

since :math:`E \, z z^\top P^{-1} = I`: one solve for the outputs, the basis of the mean and all probes, and
one pass over the tiles of the kernel. The probes are drawn once, so that the gradient is a function.

The pathwise estimator takes :math:`z_j \sim N(0, A)` instead, draws of the prior (by random features) and of
the noise, and :math:`A^{-1} z_j` on either side; the features bias it a little. On 2000 rows of the elevators
data, 8 probes, its mean cosine with the exact gradient is 0.988 where that of the standard one is 0.989, and
from a solution nearby it takes 8.5 products in place of 8.0: it is not the default.

Source: Gardner et al. (2018), GPyTorch: blackbox matrix-matrix Gaussian process inference with GPU
acceleration, section 4; probes of the preconditioner: Wenger et al. (2022), ICML; pathwise: Lin et al.
(2024), Improving linear system solvers for hyperparameter optimisation in iterative Gaussian processes.
"""

import math
from dataclasses import dataclass, replace
from typing import Literal

import gpytorch
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nonparam.errors import ConvergenceError, NotPositiveDefiniteError
from nonparam.interpolation import InterpolatedOperator
from nonparam.kernels import variance
from nonparam.kernels.operator import KernelOperator
from nonparam.kernels.random_features import random_features, white_variance
from nonparam.kernels.sharded import ShardedOperator, local_devices, num_processes
from nonparam.objective import Data
from nonparam.processes import free_memory
from nonparam.solvers.certified import CertifiedSolver
from nonparam.solvers.cholesky import cholesky
from nonparam.solvers.factored import Factored
from nonparam.solvers.plan import factorises, fits
from nonparam.solvers.refinement import single_cholesky
from nonparam.theta import Theta

__all__ = ["Slope", "SolvedEvidence", "operator_for", "solver_for"]

Array = NDArray[np.float64]

FREQUENCIES = 2048  # of each term of the kernel, in a pathwise probe
ROUNDED = 50.0  # times the noise: by how much a product in float32 may round
HARD = 5.0  # what a preconditioner of low rank may leave out, in units of the noise
STALE = 25  # products: with more, a new factor takes less time than the old one costs


@dataclass(frozen=True)
class Slope:
    """The gradient of the log evidence, and what certifies it.

    Attributes:
        gradient: ``(p,)``, prior included.
        solution: ``(n, t + q + s)``, of all right-hand sides: where the next solve may start.
        pivots: ``(r,)``, of the preconditioner.
        residual: the largest relative residual.
        steps: products with the whole matrix.
        anchor: ``(p,)``, where the Cholesky factor was made that served as the preconditioner and may serve
            again; ``None`` where there was none, or it is too far away by now.
        factor: it; ``None`` where it has to be made again.
    """

    gradient: Array
    solution: Tensor
    pivots: Tensor
    residual: float
    steps: int
    anchor: Array | None = None
    factor: Factored | None = None


def solver_for(
    kernel: gpytorch.kernels.Kernel,
    data: Data,
    noise: float,
    *,
    dtype: torch.dtype,
    tolerance: float,
    rank: int,
    seed: int,
    pivots: Tensor | None = None,
    factor: Factored | None = None,
    interpolated: bool = False,
    keep: bool = True,
) -> CertifiedSolver:
    """Return the inverse of the covariance of the observations, by certified solves.

    Args:
        kernel: at one value of its hyperparameters.
        data: the observations.
        noise: the noise variance, used where ``data.noise`` is ``None``.
        dtype: of the products.
        tolerance: of the relative residual of every right-hand side.
        rank: of the preconditioner, at most.
        seed: of the pivots and the probes.
        pivots: of the preconditioner; drawn by default.
        factor: a preconditioner at hand, in place of one of low rank.
        interpolated: whether the kernel is interpolated from a grid.
        keep: whether the tiles are kept where they fit; else each product evaluates them.

    Raises:
        InputError: a row without noise, or a kernel or columns that cannot be interpolated.
        ConvergenceError: a kernel that interpolation deviates too far from.
    """
    matrix: InterpolatedOperator | KernelOperator | ShardedOperator
    variances = data.noise_variances(noise)
    shift = variances.to(dtype)
    if bool(((variances > 0.0) & (shift < torch.finfo(dtype).tiny)).any()):
        raise ConvergenceError(
            f"{dtype} does not hold a noise variance of {float(variances.min()):g}: take float64, or larger "
            "units of y"
        )
    if interpolated:
        matrix = InterpolatedOperator(kernel, data.x, noise=float(shift.min()), dtype=dtype, seed=seed)
    else:
        matrix = operator_for(kernel, data.x.to(dtype), keep)
    return CertifiedSolver.of(
        matrix, shift, tolerance=tolerance, seed=seed, rank=rank, pivots=pivots, factor=factor
    )


def operator_for(kernel: gpytorch.kernels.Kernel, x: Tensor, keep: bool) -> KernelOperator | ShardedOperator:
    """Return the covariance matrix of rows, shared among the processes and GPUs where there are several.

    Args:
        kernel: at one value of its hyperparameters.
        x: ``(n, d)``, in the precision of the products.
        keep: whether the tiles are kept where they fit; else each product evaluates them.
    """
    kept = keep and fits(len(x), x.element_size(), free_memory(x.device))
    devices = local_devices(x.device)
    if num_processes() > 1 or len(devices) > 1:
        return ShardedOperator(kernel, x, devices=devices, keep=kept)
    return KernelOperator(kernel, x, keep=kept)


@dataclass(frozen=True)
class SolvedEvidence:
    """The log evidence of hyperparameters given many rows, and its gradient.

    Attributes:
        data: the observations.
        theta: the vector of free hyperparameters.
        with_prior: whether the prior is added.
        dtype: of the products: float32 for speed.
        tolerance: of the relative residual of every right-hand side.
        num_probes: for the trace.
        rank: of the preconditioner, at most.
        seed: of the pivots and the probes.
        estimator: of the trace: ``"standard"``, or ``"pathwise"``.
        interpolated: whether the kernel is interpolated from a grid.
        keep: whether tiles are kept where they fit.
    """

    data: Data
    theta: Theta
    with_prior: bool
    dtype: torch.dtype
    tolerance: float
    num_probes: int
    rank: int
    seed: int
    estimator: Literal["standard", "pathwise"] = "standard"
    interpolated: bool = False
    keep: bool = True

    def solver(
        self, point: Array, pivots: Tensor | None = None, factor: Factored | None = None
    ) -> CertifiedSolver:
        """Return the inverse of the covariance at ``point (p,)``, with given pivots or a factor at hand."""
        self.theta.assign(point)
        return solver_for(
            self.theta.kernel,
            self.data,
            self._noise(point),
            dtype=self.dtype,
            tolerance=self.tolerance,
            rank=self.rank,
            seed=self.seed,
            pivots=pivots,
            factor=factor,
            interpolated=self.interpolated,
            keep=self.keep,
        )

    def factor(self, point: Array) -> Factored:
        """Return the Cholesky factor of the covariance at ``point (p,)``: in float32, in half the time.

        Raises:
            NotPositiveDefiniteError: rounding makes the matrix indefinite. Where products are of float64, so
                is the factor then, with a jitter if need be.
        """
        try:
            return Factored.of(single_cholesky(self._covariance(point, torch.float32), jitters=(0.0,)).upper)
        except NotPositiveDefiniteError:
            if self.dtype == torch.float32:
                raise
        return Factored.of(cholesky(self._covariance(point, torch.float64)).upper)

    def _covariance(self, point: Array, dtype: torch.dtype) -> Tensor:
        self.theta.assign(point)
        covariance = KernelOperator(self.theta.kernel, self.data.x.to(dtype)).to_dense()
        torch.diagonal(covariance).add_(self.data.noise_variances(self._noise(point)))
        return covariance

    def exceeds_float32(self, point: Array) -> bool:
        r"""Return whether rounding to float32 is likely to keep residuals at ``point (p,)`` above 0.01.

        A product rounds by :math:`\epsilon \, \mathrm{tr} K` at worst, and a solution is up to
        :math:`1 / \min_i \sigma_i^2` as large as the right-hand side: their product is 0.1 to 0.3 on
        elevators, protein and pol (13,000 rows), where float32 serves, 500 on kin40k and 4,000 on bike, where
        it does not.
        """
        self.theta.assign(point)
        with torch.no_grad():
            trace = float(variance(self.theta.kernel, self.data.x).sum())
        least = float(self.data.noise_variances(self._noise(point)).min())
        return trace * torch.finfo(torch.float32).eps > ROUNDED * least

    def slope(self, point: Array, near: Slope | None = None) -> Slope:
        """Return the gradient at ``point (p,)``; with the one of a point nearby it is a smooth function.

        Args:
            point: ``(p,)``.
            near: the gradient at a point nearby, whose pivots and solution are used again.

        Raises:
            ConvergenceError: a solve that misses the tolerance on every rung of the ladder.
        """
        try:
            return self._slope(point, near)
        except ConvergenceError:
            if near is None or near.anchor is None:
                raise
        return self._slope(point, replace(near, anchor=None, factor=None))  # the factor is too far away

    def _slope(self, point: Array, near: Slope | None) -> Slope:
        solver, anchor = self._solver_near(point, near)
        y, basis = self.data.y.to(self.dtype), self.data.basis.to(self.dtype)
        t, q = y.shape[1], basis.shape[1]
        standard = self.estimator == "standard"
        z = self._standard_normal(len(y), self.seed)
        probes = solver.preconditioner.multiply(z) if standard else self._prior_draws(z, self._noise(point))
        start = None if near is None else near.solution
        found = solver.certificate(torch.cat([y, basis, probes], 1), start)
        alpha = _residual_solve(y, basis, found.solution[:, : t + q])
        pulled = solver.preconditioner.solve(probes) if standard else found.solution[:, t + q :]
        left = torch.cat([0.5 * alpha, (-0.5 * t / self.num_probes) * found.solution[:, t + q :]], 1)
        right = torch.cat([alpha, pulled], 1)
        gradient = self._gather(solver, left, right, point)
        slope = Slope(gradient, found.solution, solver.pivots, float(found.residuals.max()), found.steps)
        if anchor is None or found.steps > STALE:
            return slope
        assert isinstance(solver.preconditioner, Factored)
        return replace(slope, anchor=anchor, factor=solver.preconditioner)

    def _solver_near(self, point: Array, near: Slope | None) -> tuple[CertifiedSolver, Array | None]:
        """Return the inverse, and where the factor was made that preconditions it, if one does."""
        if near is not None and near.anchor is not None and (near.factor is not None or self._factorises()):
            factor = self.factor(near.anchor) if near.factor is None else near.factor
            return self.solver(point, factor=factor), near.anchor
        solver = self.solver(point, None if near is None or not len(near.pivots) else near.pivots)
        if solver.left_out() <= HARD or not self._factorises():
            return solver, None
        return replace(solver, preconditioner=self.factor(point)), point

    def _factorises(self) -> bool:
        """Return whether a factor fits beside the tiles, on one device."""
        x = self.data.x
        if self.interpolated or not self.keep or num_processes() > 1 or len(local_devices(x.device)) > 1:
            return False
        return factorises(len(x), free_memory(x.device), self.dtype.itemsize)

    def _gather(self, solver: CertifiedSolver, left: Tensor, right: Tensor, point: Array) -> Array:
        assert isinstance(solver.matrix, KernelOperator | ShardedOperator | InterpolatedOperator)
        slopes = solver.matrix.gradient(left, right, self.theta.parameters)
        noise = self._noise(point)
        per_row = (left * right).sum(1).double()
        noise_slope = self.data.weight_terms(noise)[1] + float(per_row @ self.data.noise_variances(noise))
        gradient = self.theta.gather(slopes, np.array([noise_slope]), 1)
        if self.with_prior:
            gradient = gradient + self.theta.log_priors(point[None])[1]
        row: Array = gradient[0]
        return row

    def _noise(self, point: Array) -> float:
        return math.exp(point[-1]) if self.theta.learns_noise else 0.0

    @torch.no_grad()
    def _prior_draws(self, z: Tensor, noise: float) -> Tensor:
        """Return draws of the observations at the present hyperparameters, their noise from ``z (n, s)``."""
        kernel, x = self.theta.kernel, self.data.x
        features = random_features(kernel, x, FREQUENCIES, self.seed)
        weights = self._standard_normal(features.count, self.seed + 1).double()
        sd = (self.data.noise_variances(noise) + white_variance(kernel, x)).sqrt()[:, None]
        return torch.addcmul(features(x) @ weights, sd, z.double()).to(z)

    def _standard_normal(self, n: int, seed: int) -> Tensor:
        device = self.data.x.device
        generator = torch.Generator(device).manual_seed(seed)
        shape = (n, self.num_probes)  # the same numbers in either precision
        return torch.randn(shape, generator=generator, dtype=torch.float64, device=device).to(self.dtype)


def _residual_solve(y: Tensor, basis: Tensor, solved: Tensor) -> Tensor:
    """Return ``A^-1 (Y - H coefficients)`` from ``A^-1 [Y, H]``, the coefficients by least squares."""
    t = y.shape[1]
    if basis.shape[1] == 0:
        return solved
    information = basis.mT.double() @ solved[:, t:].double()
    coefficients = torch.linalg.solve(information, solved[:, t:].mT.double() @ y.double())
    alpha: Tensor = solved[:, :t] - solved[:, t:] @ coefficients.to(solved)
    return alpha
