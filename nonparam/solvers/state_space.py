r"""Exact inference in O(n) for sums of half-integer Matérn kernels of one input, as a Gauss-Markov chain.

The processes of the sum are independent blocks of the state of one chain, of which each row observes the sum
of their values. See `matern_process` for the chain and `kalman` for the filter.

Sources: Hartikainen and Särkkä (2010), Kalman filtering and smoothing solutions to temporal Gaussian process
regression models, MLSP; Grigorievskiy, Lawrence and Särkkä (2017), Parallelizable sparse inverse formulation
Gaussian processes (SpInGP), MLSP.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from nonparam.errors import ConvergenceError, InputError
from nonparam.solvers.associative_scan import Array
from nonparam.solvers.kalman import Chain, Filtered, causal_product, filtered, smoothed
from nonparam.solvers.matern_process import MaternTerm, Series
from nonparam.solvers.result import Solve, relative_residuals

__all__ = ["Evidence", "MaternSum", "MaternTerm", "Score", "log_marginal_likelihood", "smooth"]


@dataclass(frozen=True)
class Score:
    """Derivatives of the log marginal likelihood in the logarithms of the hyperparameters.

    Attributes:
        outputscale: ``(t,)``, one for each term.
        lengthscale: ``(t,)``.
        noise: ``(n,)``, in the log variance of each row; the sum is that of a common one.
    """

    outputscale: Array
    lengthscale: Array
    noise: Array


@dataclass(frozen=True)
class Evidence:
    """A log marginal likelihood, in nats.

    Attributes:
        value: of all rows.
        gradient: in the log hyperparameters, where it was asked for.
    """

    value: float
    gradient: Score | None


def log_marginal_likelihood(
    terms: Sequence[MaternTerm], x: ArrayLike, y: ArrayLike, noise: ArrayLike, gradient: bool = True
) -> Evidence:
    r"""Return the log density of the rows under the process, and its gradient, in ``O(n s^3)``.

    .. math:: \log N(y; 0, K + \mathrm{diag}(r)) = -\tfrac12 \sum_t (v_t^2 / f_t + \log 2 \pi f_t),

    with the surprises :math:`v_t` of the Kalman filter and their variances. The gradient comes from the
    disturbance smoother: with :math:`G_t = \lambda_t \lambda_t^\top - \Lambda_t`,

    .. math::

        \frac{\partial}{\partial \tau_t} = \tfrac12 q \, (G_{t+1})_{ss} + \lambda_{t+1}^\top N m_{t+1}
            + \mathrm{tr}(G_{t+1} N P_{t+1}), \quad
        \frac{\partial}{\partial \log \sigma^2} = \tfrac12 \mathrm{tr}(G_1 P)
            + \tfrac12 \sum_t \mathrm{tr}(G_{t+1} Q_t), \quad N = S - I.

    Args:
        terms: the kernels of the sum.
        x: ``(n,)``, in any order; places may coincide.
        y: ``(n,)``, of mean zero.
        noise: the variance of each row, ``(n,)`` or a number.
        gradient: whether to return it.

    Raises:
        InputError: shapes that do not fit, entries that are not finite, noise that is not positive.
        ConvergenceError: the value is not finite.

    Source: Hartikainen and Särkkä (2010), section 3; Koopman and Shephard (1992), Exact score for time series
    models in state space form, Biometrika 79.

    Examples:
        >>> found = log_marginal_likelihood([MaternTerm(1.5, 2.0, 1.0)], [0.0, 1.0], [1.0, -1.0], 0.5)
        >>> round(found.value, 4), found.gradient.noise.round(4)
        (-3.3254, array([-0.0112, -0.0112]))
    """
    place = _column(x, "x")
    series = Series.of(terms, place, _variances(noise, len(place)))
    folded = series.fold(_column(y, "y", len(place))[:, None])
    with np.errstate(over="ignore", invalid="ignore"):
        forward = filtered(series.chain, folded)
        value = _log_density(series.chain, folded, forward)
    if not math.isfinite(value):
        raise ConvergenceError(f"the evidence is {value}: try scales nearer to those of the data")
    if not gradient:
        return Evidence(value, None)
    return Evidence(value, _score(series, folded, forward))


def smooth(
    terms: Sequence[MaternTerm], x: ArrayLike, y: ArrayLike, noise: ArrayLike, x_new: ArrayLike
) -> tuple[Array, Array]:
    """Return the posterior mean and variance of the function at new places, in ``O((n + m) s^3)``.

    A new place is a row of infinite noise; at a place of a row it gives what the smoother gives there. The
    smoother takes what the later rows tell from the variance that the earlier ones left: where these left
    much, at the beginning, that cancels. So it runs both ways, and each place is taken from the run that
    came to it with the smaller variance.

    Args:
        terms: the kernels of the sum.
        x: ``(n,)``, in any order.
        y: ``(n,)`` or ``(n, k)``, of mean zero.
        noise: the variance of each row, ``(n,)`` or a number.
        x_new: ``(m,)``, in any order.

    Returns:
        The mean, ``(m,)`` or ``(m, k)``, and the variance without noise, ``(m,)``.

    Raises:
        InputError: shapes that do not fit, entries that are not finite, noise that is not positive.
        ConvergenceError: the posterior is not finite.

    Source: Hartikainen and Särkkä (2010), section 3; de Jong (1989), equations 10 and 11.

    Examples:
        >>> mean, variance = smooth([MaternTerm(0.5, 1.0, 1.0)], [0.0], [2.0], 1.0, [0.0, 1.0])
        >>> mean.round(4), variance.round(4)
        (array([1.    , 0.3679]), array([0.5   , 0.9323]))
    """
    old, new = _column(x, "x"), _column(x_new, "x_new")
    seen = _columns(y, "y", len(old))
    r = np.concatenate([_variances(noise, len(old)), np.full(len(new), math.inf)])
    places, rows = np.concatenate([old, new]), np.concatenate([seen, np.zeros((len(new), seen.shape[1]))])
    forth, back = (_smooth(Series.of(terms, way * places, r), rows)[len(old) :] for way in (1.0, -1.0))
    found = np.where(forth[:, :1] <= back[:, :1], forth, back)
    variance, mean = found[:, 1], found[:, 2:]
    if not np.isfinite(variance).all() or not np.isfinite(mean).all():
        raise ConvergenceError("the posterior is not finite: try scales nearer to those of the data")
    return mean.reshape(len(new), *np.shape(y)[1:]), np.maximum(variance, 0.0)


def _smooth(series: Series, y: Array) -> Array:
    """Return the variance before each row, and then the variance and the means after all: ``(n, 2 + k)``."""
    folded = series.fold(y)
    forward = filtered(series.chain, folded)
    back = smoothed(series.chain, folded, forward)
    _, predicted = series.chain.expected(forward.states[:-1])
    kept = 1.0 / (1.0 + predicted / series.chain.noise)  # r / f, and 1 where nothing was observed
    variance = kept * (predicted - kept * back.spread)
    mean = folded + kept[:, None] * back.residual
    return series.unfold(np.concatenate([predicted[:, None], variance[:, None], mean], 1))


@dataclass(frozen=True)
class MaternSum:
    """The covariance matrix of the rows, noise included, as an operator with products in ``O(n)``.

    Attributes:
        terms: the kernels of the sum.
        x: ``(n,)``, in any order.
        noise: ``(n,)``, the variance of each row.

    Raises:
        InputError: shapes that do not fit, entries that are not finite, noise that is not positive.

    Examples:
        >>> a = MaternSum([MaternTerm(0.5, 1.0, 1.0)], np.array([0.0, 1.0]), np.array([0.1, 0.2]))
        >>> a @ torch.eye(2, dtype=torch.float64)
        tensor([[1.1000, 0.3679],
                [0.3679, 1.2000]], dtype=torch.float64)
    """

    terms: Sequence[MaternTerm]
    x: Array
    noise: Array

    def __post_init__(self) -> None:
        """Refuse rows that do not fit."""
        _variances(self.noise, len(_column(self.x, "x")))

    @property
    def shape(self) -> torch.Size:
        """Return ``(n, n)``."""
        return torch.Size([len(self.x), len(self.x)])

    @property
    def dtype(self) -> torch.dtype:
        """Always float64."""
        return torch.float64

    @property
    def device(self) -> torch.device:
        """Always the CPU."""
        return torch.device("cpu")

    def __matmul__(self, v: Tensor) -> Tensor:
        """Return the product with ``v (n, k)``."""
        values = v.numpy()
        total = self.diagonal().numpy()[:, None] * values
        for way in (slice(None), slice(None, None, -1)):  # with all earlier rows, then with all later ones
            x = self.x[way] * (way.step or 1)
            series = Series.of(self.terms, x, self.noise[way])
            total[way] += series.unfold(causal_product(series.chain, series.fold(values[way])))
        return torch.from_numpy(total)

    def diagonal(self) -> Tensor:
        """Return the diagonal, ``(n,)``."""
        return torch.from_numpy(sum(term.outputscale for term in self.terms) + self.noise)

    def rows(self, index: Tensor) -> Tensor:
        """Return the rows with these numbers, ``(b, n)``."""
        chosen = index.numpy()
        distance = np.abs(self.x[chosen, None] - self.x)
        found = np.sum([term.covariance(distance) for term in self.terms], 0)
        found[np.arange(len(chosen)), chosen] += self.noise[chosen]
        return torch.from_numpy(found)

    def log_determinant(self) -> float:
        """Return the logarithm of the determinant: all that the evidence of rows of zeros consists of."""
        zeros = np.zeros(len(self.x))
        found = log_marginal_likelihood(self.terms, self.x, zeros, self.noise, gradient=False)
        return -2.0 * found.value - len(zeros) * math.log(2.0 * math.pi)

    def solve(self, b: Tensor, tolerance: float = 1e-8) -> Solve:
        r"""Solve for several right-hand sides in ``O(n s^2 (s + k))``.

        The solution is :math:`(b_t - h^\top (m_t + P_t \lambda_{f,t})) / f_t`, from the filter before row
        ``t`` and the smoother after it.

        Args:
            b: ``(n, k)``.
            tolerance: of the largest relative residual, which is computed from a product with the solution.

        Returns:
            The record; `Solve.certified` raises where a right-hand side missed the tolerance.

        Raises:
            InputError: ``b`` has another number of rows, or entries that are not finite.

        Source: de Jong (1989), equation 9.

        Examples:
            >>> a = MaternSum([MaternTerm(0.5, 1.0, 1.0)], np.array([0.0, 1.0]), np.array([0.1, 0.2]))
            >>> a.solve(torch.tensor([[1.1], [0.3679]], dtype=torch.float64)).solution.round(decimals=3).T
            tensor([[1., 0.]], dtype=torch.float64)
        """
        series = Series.of(self.terms, self.x, self.noise)
        folded = series.fold(_columns(b.numpy(), "b", series.rows))
        forward = filtered(series.chain, folded)
        residual = smoothed(series.chain, folded, forward).residual
        _, predicted = series.chain.expected(forward.states[:-1])
        solution = torch.from_numpy(series.unfold(-residual / (predicted + series.chain.noise)[:, None]))
        return Solve(solution, relative_residuals(self, solution, b), 1, tolerance, "Kalman smoother")


def _score(series: Series, y: Array, forward: Filtered) -> Score:
    chain = series.chain
    totals = np.zeros((2, len(series.terms)))

    def visit(t: int, adjoint: Array) -> None:
        for j in range(len(series.terms)):
            totals[:, j] += _in_scales(series, j, t, forward.states[t + 1], adjoint)

    back = smoothed(chain, y, forward, visit)
    _, predicted = chain.expected(forward.states[:-1])
    in_noise = (back.residual[:, 0] ** 2 - back.spread) / (predicted + chain.noise) - 1.0
    in_noise *= 0.5 / (1.0 + predicted / chain.noise)
    return Score(totals[0], totals[1], series.unfold(in_noise[:, None])[:, 0])


def _in_scales(series: Series, j: int, t: int, state: Array, adjoint: Array) -> tuple[float, float]:
    """Return what step ``t`` adds to the derivatives in the log outputscale and lengthscale of term ``j``.

    Args:
        series: the rows.
        j: the number of the term.
        t: the number of the step; -1 for the beginning of the chain.
        state: ``[P | m]`` after the step, ``(s, s + 1, m)``.
        adjoint: ``[Lambda | lambda]`` there.
    """
    term, block, s = series.terms[j], series.chain.blocks[j], series.chain.states
    slope = adjoint[block, s]
    g = slope[:, None] * slope - adjoint[block, block]
    if t < 0:
        return 0.5 * float((g[..., 0] * term.stationary).sum()), 0.0
    tau = term.scaled(series.gaps[t])
    drift = state[block].copy()  # [P | m + P lambda], and then -N times that
    drift[:, s] += np.einsum("acm,cm->am", state[block, :s], adjoint[:, s])
    drift[:-1] -= drift[1:]
    flow = np.einsum("am,am->m", drift[:, s], slope) - 0.5 * term.density * g[-1, -1]
    flow -= np.einsum("acm,acm->m", drift[:, :s], adjoint[block, :s])
    return 0.5 * float(np.einsum("abm,abm->", g, series.chain.diffusion[j][t])), float((tau * flow).sum())


def _log_density(chain: Chain, y: Array, forward: Filtered) -> float:
    expected, predicted = chain.expected(forward.states[:-1])
    f = predicted + chain.noise
    v = (expected - y)[:, 0]
    v *= v
    v /= f
    log_f = np.log(f, out=f)
    seen = np.isfinite(chain.noise)
    log_f[~seen] = 0.0
    return -0.5 * float(v.sum() + log_f.sum() + seen.sum() * math.log(2.0 * math.pi))


def _column(values: ArrayLike, name: str, n: int | None = None) -> Array:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or (n is not None and len(array) != n) or len(array) == 0:
        raise InputError(f"{name} has the shape {array.shape}: expected one number for each row")
    return _finite(array, name)


def _columns(values: ArrayLike, name: str, n: int) -> Array:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim not in (1, 2) or len(array) != n:
        raise InputError(f"{name} has the shape {array.shape}: expected ({n},) or ({n}, k)")
    return _finite(array.reshape(n, -1), name)


def _variances(noise: ArrayLike, n: int) -> Array:
    array = np.asarray(noise, dtype=np.float64)
    if array.shape not in ((), (n,)) or not (array > 0.0).all():
        raise InputError(f"noise of the shape {array.shape}: expected positive variances, one or ({n},)")
    return _finite(np.broadcast_to(array, (n,)), "noise")


def _finite(array: Array, name: str) -> Array:
    if not np.isfinite(array).all():
        raise InputError(f"{name} has entries that are not finite: expected numbers")
    return array
