r"""The log marginal likelihood of rows that are each given a few earlier ones, and what predictions need.

The columns of :math:`B = (Y, H)`, outputs and basis functions, are whitened by the same small factors. With
:math:`G = \sum_i \epsilon_i \epsilon_i^\top` and its blocks the generalised least-squares mean and the
likelihood follow from sums over the rows,

.. math::

    \hat\beta = G_{HH}^{-1} G_{HY}, \quad
    \log p(Y) = -\tfrac12 \mathrm{tr}(G_{YY} - G_{YH} \hat\beta) - \tfrac t2 \sum_i \log v_i
    - \tfrac{nt}2 \log 2\pi.
"""

import math
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import cached_property
from importlib.util import find_spec

import gpytorch
import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg import LinAlgError, cho_factor, cho_solve
from torch import Tensor

from nonparam.errors import NotPositiveDefiniteError
from nonparam.kernels import RBF, Matern, Scale
from nonparam.kernels.evaluate import covariance
from nonparam.kernels.terms import Term, terms_of
from nonparam.model_selection.evidence import LOG_2PI
from nonparam.objective import Data
from nonparam.solvers.cholesky import JITTERS
from nonparam.solvers.neighbours import nearest_before
from nonparam.solvers.vecchia import adjoint, conditionals, information, with_diagonal
from nonparam.theta import Theta, free_parameters

__all__ = ["Evaluation", "VecchiaEvidence", "columns_of", "compiled_threads", "neighbours_before"]

Array = NDArray[np.float64]
Rows = NDArray[np.int32]

ENTRIES = 2**20  # of covariances that are worked on at a time, without compiled loops
INFORMED = 1000  # rows that the information is taken from there
NUDGE = 1e-4  # of a stored hyperparameter, for differences of covariances
STEP = 0.1  # standard deviations of a column, over which a kernel is seen to change
PROBED = 50  # rows where


@dataclass(frozen=True)
class Evaluation:
    """The log marginal likelihood at one value of the hyperparameters.

    Attributes:
        value: in nats.
        gradient: ``(p,)``, in the order of `Theta`.
        information: ``(p, p)``, Fisher's.
        coefficients: ``(q, t)``, the weights of the mean.
        precision: ``(q, q)``, of the weights.
        jitter: added to the diagonal.
    """

    value: float
    gradient: Array
    information: Array
    coefficients: Array
    precision: Array
    jitter: float


def compiled_threads() -> AbstractContextManager[None]:
    """Return what gives compiled loops as many threads as torch has; nothing without Numba."""
    if find_spec("numba") is None:
        return nullcontext()
    from nonparam.kernels.compiled_threads import threads_of_torch

    return threads_of_torch()


@torch.no_grad()
def columns_of(kernel: gpytorch.kernels.Kernel, x: Tensor, spread: Array) -> Array:
    """Return what columns are divided by, so that rows that are near say much of one another.

    These are the lengthscales of a Matern or squared exponential kernel. For any other kernel they follow
    from how much the function changes over a tenth of a standard deviation of each column.

    Args:
        kernel: at one value of its hyperparameters.
        x: ``(n, d)``.
        spread: ``(d,)``, the standard deviations of the columns.

    Returns:
        ``(d,)``, infinite for a column that does not matter.

    Examples:
        >>> x = torch.zeros(3, 2, dtype=torch.float64)
        >>> columns_of(Scale(RBF([1.0, 5.0]), 3.0), x, np.ones(2))
        array([1., 5.])
    """
    if _is_radial(kernel):
        lengths: Array = kernel.kernel.lengthscale.detach().cpu().numpy()
        return np.resize(lengths, x.shape[1])
    rows = x[:: max(len(x) // PROBED, 1)]
    before = torch.diagonal(covariance(kernel, rows, rows.clone()))
    divisors = np.full(x.shape[1], np.inf)
    for j, step in enumerate(STEP * spread):
        moved = rows.clone()
        moved[:, j] += step
        after = torch.diagonal(covariance(kernel, moved, moved.clone()))
        change = before + after - 2.0 * torch.diagonal(covariance(kernel, rows, moved))
        size = float(change.mean())
        divisors[j] = step / math.sqrt(size) if size > 0.0 else np.inf
    return divisors


def neighbours_before(x: Tensor, divisors: Array, m: int) -> Rows:
    """Return the ``m`` rows before each of ``x (n, d)`` that are nearest in divided columns, -1 for none."""
    z = np.ascontiguousarray(x.cpu().numpy() / divisors)
    with compiled_threads():
        return nearest_before(z, m)


def _is_radial(kernel: gpytorch.kernels.Kernel) -> bool:
    """Whether it is a variance times a profile of the distance in all columns."""
    if type(kernel) is not Scale or type(kernel.kernel) not in (RBF, Matern):
        return False
    return kernel.kernel.active_dims is None


@dataclass(frozen=True)
class VecchiaEvidence:
    """The evidence of rows in a given order, with given neighbours.

    Attributes:
        data: the rows in order, all of weight 1.
        neighbours: ``(n, m)``, earlier rows, or -1 for none.
        theta: the vector of free hyperparameters.
        noise: the noise variance where it is known.
    """

    data: Data
    neighbours: Rows
    theta: Theta
    noise: float

    def evaluate(self, point: Array) -> Evaluation:
        """Return the log marginal likelihood at a point ``(p,)``, its gradient and the information.

        Raises:
            NotPositiveDefiniteError: some covariance has no factor, or the rows do not determine the mean.
        """
        self.theta.assign(point)
        noise = float(np.exp(point[-1])) if self.theta.learns_noise else self.noise
        by_loops = self._compiled is not None
        for relative in JITTERS:
            with np.errstate(all="ignore"):
                jitter = relative * self._variance()
                found = self._by_loops(noise, jitter) if by_loops else self._by_blocks(noise, jitter)
            if found is not None:
                return found
        raise NotPositiveDefiniteError(
            "the covariance of a row and its neighbours is not positive definite, even with a relative "
            f"jitter of {JITTERS[-1]:g}: expected a valid covariance function; try a larger noise"
        )

    @cached_property
    def _table(self) -> Array:
        """Outputs and basis functions, ``(n, t + q)``."""
        return np.ascontiguousarray(torch.cat([self.data.y, self.data.basis], 1).cpu().numpy())

    @property
    def _compiled(self) -> Term | None:
        """The kernel as compiled loops see it, if they know it."""
        return radial_term(self.theta.kernel, self.data.x)

    @torch.no_grad()
    def _variance(self) -> float:
        first = self.data.x[:1]
        return float(covariance(self.theta.kernel, first, first.clone())[0, 0])

    def _by_loops(self, noise: float, jitter: float) -> Evaluation | None:
        from nonparam.kernels.compiled import PROFILES
        from nonparam.kernels.compiled_vecchia import CHUNKS, slopes

        term = self._compiled
        assert term is not None
        width, p = self._table.shape[1], self.data.x.shape[1] + 2
        shapes = (1,), (width, width), (p,), (p, width, width), (p, p)
        sums = [np.zeros((CHUNKS, *shape)) for shape in shapes]
        scale, z = float(term.scale), term.z.numpy()
        with compiled_threads():
            slopes(PROFILES[term.profile], scale, noise, jitter, z, self._table, self.neighbours, *sums)
        logs, gram, log_slopes, gram_slopes, lower = (part.sum(0) for part in sums)
        fit = _least_squares(float(logs[0]), gram, *self.data.y.shape)
        if fit is None:
            return None
        t, chosen = self.data.y.shape[1], self._chosen()
        pulled = -0.5 * (t * log_slopes + np.einsum("pbc,bc->p", gram_slopes, fit.weight))
        whole = t * (lower + np.tril(lower, -1).T)
        return Evaluation(
            fit.value, chosen @ pulled, chosen @ whole @ chosen.T, fit.coefficients, fit.precision, jitter
        )

    def _chosen(self) -> Array:
        """Return which logarithms of the loops each free hyperparameter is, ``(p, d + 2)``."""
        d = self.data.x.shape[1]
        rows = [np.zeros((0, d + 2))]
        unit = np.eye(d + 2)
        for name, parameter in free_parameters(self.theta.kernel).items():
            if name.endswith("raw_outputscale"):
                rows.append(unit[d : d + 1])
            elif parameter.numel() == 1:
                rows.append(unit[:d].sum(0, keepdims=True))
            else:
                rows.append(unit[:d])
        if self.theta.learns_noise:
            rows.append(unit[d + 1 :])
        return np.concatenate(rows)

    def _by_blocks(self, noise: float, jitter: float) -> Evaluation | None:
        """Evaluate any kernel, a batch of rows with their neighbours at a time."""
        logs, gram = 0.0, self.data.x.new_zeros(self._table.shape[1], self._table.shape[1])
        with torch.no_grad():
            for x, known, table in self._blocks():
                a = with_diagonal(covariance(self.theta.kernel, x), known, noise + jitter, noise + jitter)
                variances, residuals = conditionals(a, table)
                if not bool((variances > 0.0).all()):
                    return None
                logs += float(variances.log().sum())
                gram += residuals.mT @ (residuals / variances[:, None])
        fit = _least_squares(logs, gram.cpu().numpy(), *self.data.y.shape)
        if fit is None:
            return None
        gradient = self._gradient(fit, noise, jitter)
        informed = self._information(noise, jitter)
        return Evaluation(fit.value, gradient, informed, fit.coefficients, fit.precision, jitter)

    def _gradient(self, fit: "_Fit", noise: float, jitter: float) -> Array:
        """Return the gradient by a second pass, for which the mean is known."""
        weight, t = torch.from_numpy(-0.5 * fit.weight).to(self.data.x), self.data.y.shape[1]
        parameters, noise_slope = self.theta.parameters, 0.0
        slopes = [torch.zeros_like(parameter) for parameter in parameters]
        for x, known, table in self._blocks():
            with torch.set_grad_enabled(bool(parameters)):
                k = covariance(self.theta.kernel, x)
            with torch.no_grad():
                a = with_diagonal(k, known, noise + jitter, noise + jitter)
                pull = adjoint(a, table, -0.5 * t, weight)
                pull = torch.where(known[:, :, None] & known[:, None, :], pull, 0.0)
                noise_slope += noise * float(torch.diagonal(pull, dim1=1, dim2=2).sum())
            if k.requires_grad:
                found = torch.autograd.grad(k, parameters, pull, materialize_grads=True)
                slopes = [total + each for total, each in zip(slopes, found, strict=True)]
        gathered: Array = self.theta.gather(slopes, np.array([noise_slope]), 1)[0]
        return gathered

    @torch.no_grad()
    def _information(self, noise: float, jitter: float) -> Array:
        """Return the information from some of the rows, for all of them."""
        n, size = len(self.data.x), self.theta.size
        some = np.unique(np.linspace(0, n - 1, min(n, INFORMED)).astype(np.intp))
        total = np.zeros((size, size))
        point = self._stored()
        for x, known, _ in self._blocks(some, 2 * size + 1):
            both = known[:, :, None] & known[:, None, :]
            a = with_diagonal(covariance(self.theta.kernel, x), known, noise + jitter, noise + jitter)
            changes = [torch.where(both, change, 0.0) for change in self._changes(x, point)]
            if self.theta.learns_noise:
                changes.append(noise * torch.diag_embed(known.to(a)))
            if changes:
                total += information(a, torch.stack(changes)).cpu().numpy()
        return total * (self.data.y.shape[1] * n / len(some))

    def _stored(self) -> Array:
        values = [parameter.detach().cpu().numpy().reshape(-1) for parameter in self.theta.parameters]
        return np.concatenate([np.zeros(0), *values])

    def _changes(self, x: Tensor, point: Array) -> list[Tensor]:
        """Return the derivatives of the covariances in the kernel's hyperparameters, by differences."""
        changes = []
        for nudge in NUDGE * np.eye(len(point)):
            self.theta.assign(point + nudge)
            above = covariance(self.theta.kernel, x)
            self.theta.assign(point - nudge)
            changes.append((above - covariance(self.theta.kernel, x)) / (2.0 * NUDGE))
        self.theta.assign(point)
        return changes

    def _blocks(
        self, rows: NDArray[np.intp] | None = None, copies: int = 1
    ) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Yield batches of rows with their neighbours before them: ``x``, whether they exist, the table."""
        rows = np.arange(len(self.data.x)) if rows is None else rows
        table = torch.from_numpy(self._table).to(self.data.x)
        for some in batches(rows, self.neighbours.shape[1] + 1, copies):
            sets = torch.from_numpy(np.column_stack([self.neighbours[some], some]).astype(np.int64))
            sets = sets.to(self.data.x.device)
            known, sets = sets >= 0, sets.clamp_min(0)
            yield self.data.x[sets], known, torch.where(known[..., None], table[sets], 0.0)


def batches(rows: NDArray[np.intp], size: int, copies: int = 1) -> Iterator[NDArray[np.intp]]:
    """Yield as many rows at a time as covariances of ``size (size, size)`` each may be held of."""
    each = max(ENTRIES // (size * size * copies), 1)
    yield from (rows[start : start + each] for start in range(0, len(rows), each))


def radial_term(kernel: gpytorch.kernels.Kernel, x: Tensor) -> Term | None:
    """Return the kernel as compiled loops see it; ``None`` where these do not know it, or are not there."""
    if not _is_radial(kernel) or x.device.type != "cpu" or find_spec("numba") is None:
        return None
    with torch.no_grad():
        terms = terms_of(kernel, x)
    assert terms is not None
    return replace(terms[0], z=terms[0].z.contiguous())


@dataclass(frozen=True)
class _Fit:
    """The mean by least squares: its weights, their precision, and what the sums weigh in the likelihood."""

    value: float
    coefficients: Array
    precision: Array
    weight: Array


def _least_squares(logs: float, gram: Array, n: int, t: int) -> _Fit | None:
    """Return the log density from sums; ``None`` where they are not finite or do not determine the mean."""
    if not (math.isfinite(logs) and np.isfinite(gram).all()):
        return None
    cross, precision = gram[t:, :t], gram[t:, t:]
    try:
        coefficients = cho_solve(cho_factor(precision), cross) if len(precision) else cross
    except LinAlgError:
        return None
    chosen = np.concatenate([np.eye(t), -coefficients])
    weight = chosen @ chosen.T
    quadratic = float((gram * weight).sum())
    return _Fit(-0.5 * (quadratic + t * logs + n * t * LOG_2PI), coefficients, precision, weight)
