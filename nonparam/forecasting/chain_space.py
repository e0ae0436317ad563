"""The chain of a structure at one value of its hyperparameters, and the derivatives in these."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nonparam.forecasting.chain_terms import Amplitudes, Term, Timing
from nonparam.solvers.innovations import Regression, regress
from nonparam.solvers.matern_process import MaternTerm

__all__ = ["Adjoint", "Filtered", "Space", "transitions"]

Array = NDArray[np.float64]

LOST = 1e-16  # of the noise: a variance that no digit of the covariance shows
CACHE = 2**17  # numbers that stay near the processor


@dataclass(frozen=True)
class Block:
    """The states of one part.

    Attributes:
        part: its place among the terms.
        states: their places.
        process: what they are.
        wanted: which of the part's waves they multiply.
    """

    part: int
    states: slice
    process: MaternTerm | Amplitudes
    wanted: NDArray[np.bool_]


@dataclass(frozen=True)
class Filtered:
    """What the filter found, with ``y`` and the features mixed as `Regression.mixed` does.

    Attributes:
        regression: on the features.
        arrays: for the adjoint pass: gains, innovations, roots, covariances, means.
        covariance: of the states behind the last row, ``(D, D)``.
        mean: of the states behind the last row, ``(1 + q, D)``.
    """

    regression: Regression
    arrays: tuple[Array, ...]
    covariance: Array
    mean: Array


@dataclass(frozen=True)
class Adjoint:
    """What the adjoint pass returns, see `structural_chain.adjoint_pass`."""

    noise: float
    first: Array
    diagonals: Array
    pairs: Array
    corners: Array
    shifts: Array
    means: Array
    variances: Array


@dataclass(frozen=True)
class Space:
    """States, transitions and noise of a chain.

    Attributes:
        timing: of the rows.
        terms: the parts.
        values: the hyperparameters of each part.
        noise: the variance of the noise.
        since: the time from where Wiener processes start to the first row.
        blocks: of the states, the smooth ones first.
        loadings: ``(n, D)``.
        prior: ``(D, D)``.
        transitions: decay, diffusion, taylor and corner as the passes take them.
    """

    timing: Timing
    terms: tuple[Term, ...]
    values: Sequence[Array]
    noise: float
    since: float
    blocks: tuple[Block, ...]
    loadings: Array
    prior: Array
    transitions: tuple[Array, ...]

    @classmethod
    def at(
        cls,
        terms: tuple[Term, ...],
        periods: Sequence[int | None],
        point: Array,
        origin: float,
        timing: Timing,
        waves: Sequence[Array],
    ) -> "Space":
        """Build the chain of the parts at the logarithms ``point (p,)`` of their hyperparameters."""
        ends = np.cumsum([term.hyperparameters for term in terms])
        values, noise = np.split(np.exp(point[:-1]), ends[:-1]), float(np.exp(point[-1]))
        first, last = timing.times[[0, -1]]
        blocks: list[Block] = []
        start = 0
        for i in sorted(range(len(terms)), key=lambda i: terms[i].kind != "trend"):
            if terms[i].is_linear:
                continue
            process, wanted = _process(
                terms[i], periods[i], values[i], LOST * noise / max(1.0, last - origin)
            )
            blocks.append(Block(i, slice(start, start + wanted.sum()), process, wanted))
            start = blocks[-1].states.stop
        loadings = [
            np.empty((len(timing.times), 0)),
            *(waves[block.part][:, block.wanted] for block in blocks),
        ]
        prior = _prior(blocks, first - origin)
        return cls(
            timing,
            terms,
            values,
            noise,
            first - origin,
            tuple(blocks),
            np.concatenate(loadings, axis=1),
            prior,
            transitions(blocks, timing.gaps),
        )

    @property
    def every(self) -> int:
        """Rows between two copies of the covariance: few are kept, and those in between fit the cache."""
        n, states = len(self.timing.times), len(self.prior)
        return min(n, max(CACHE // max(1, states**2), math.isqrt(n) // 4, 1))

    def filtered(self, y: Array, noise: Array, variances: Array) -> Filtered:
        """Filter ``y`` and the features, ``(n, 1 + q)``, and regress one on the others.

        Args:
            y: ``(n, 1 + q)``.
            noise: ``(n,)``, infinite where nothing was observed.
            variances: ``(q,)``, of the coefficients beforehand.
        """
        found = _passes().filter_pass(
            y, noise, self.loadings, self.prior, self.timing.gap, *self.transitions, self.every
        )
        gains, innovations, roots, covariances, means, covariance, mean = found
        regression = regress(innovations, roots, variances)
        covariance -= np.outer(gains[-1], gains[-1])
        mean += np.outer(innovations[-1], gains[-1])
        mixed = [regression.mixed(columns) for columns in (innovations, means.swapaxes(1, 2), mean.T)]
        mixed = [np.ascontiguousarray(columns) for columns in (mixed[0], mixed[1].swapaxes(1, 2), mixed[2].T)]
        return Filtered(regression, (gains, mixed[0], roots, covariances, mixed[1]), covariance, mixed[2])

    def adjoint(self, filtered: Filtered, groups: Array) -> Adjoint:
        """Go back over the rows; ``groups (b, D)`` of states are smoothed."""
        found = _passes().adjoint_pass(
            *filtered.arrays, self.loadings, groups, self.timing.gap, *self.transitions, self.every
        )
        return Adjoint(*found)

    def slopes(self, adjoint: Adjoint, regression: Regression) -> Array:
        """Return the derivatives of the log density in the logarithms of the hyperparameters, ``(p,)``."""
        found: list[Any] = [np.zeros(term.hyperparameters) for term in self.terms]
        for block in self.blocks:
            slopes = self._matern_slopes if isinstance(block.process, MaternTerm) else self._amplitude_slopes
            found[block.part] = slopes(block, adjoint)
        used = 0
        for i, term in enumerate(self.terms):
            if term.is_linear:
                found[i] = regression.slopes[used : used + term.columns].sum(keepdims=True)
                used += term.columns
        return np.concatenate([*found, [0.5 * self.noise * adjoint.noise]])

    def _matern_slopes(self, block: Block, adjoint: Adjoint) -> Array:
        """Return those in the logarithms of variance and lengthscale; see `state_space`."""
        term, own = block.process, block.states
        assert isinstance(term, MaternTerm)
        by_variance = np.sum(adjoint.first[own, own] * self.prior[own, own])
        by_variance += np.sum(adjoint.corners * self.transitions[3])
        by_tau = 0.5 * term.density * adjoint.corners[:, -1, -1]
        by_tau += adjoint.shifts - adjoint.pairs[:, own].sum(1)
        return np.array([0.5 * by_variance, -term.scaled(self.timing.gaps) @ by_tau])

    def _amplitude_slopes(self, block: Block, adjoint: Adjoint) -> Array:
        """Return those of processes whose covariance after a gap moves as ``dP = (2 s - 2 P) dt / L``."""
        process, own, gaps = block.process, block.states, self.timing.gaps
        assert isinstance(process, Amplitudes)
        diagonals = adjoint.diagonals[:, own]
        first = self.since if process.rate == 0.0 else 1.0
        by_variance = 0.5 * (first * np.diag(adjoint.first)[own] + process.spread(gaps) @ diagonals)
        slopes = process.slopes @ by_variance
        if process.rate > 0.0:
            by_tau = process.variance * diagonals - adjoint.pairs[:, own]
            slopes[-1] -= process.scaled(gaps) @ by_tau.sum(1)
        return np.asarray(slopes)


def transitions(blocks: Sequence[Block], gaps: Array) -> tuple[Array, Array, Array, Array]:
    """Return the transitions over ``gaps (k,)``: decay, diffusion, taylor, corner."""
    states, k = blocks[-1].states.stop if blocks else 0, len(gaps)
    decay, diffusion = np.empty((k, states)), np.zeros((k, states))
    taylor, corner = np.empty((k, 0, 0)), np.empty((k, 0, 0))
    for block in blocks:
        process, own = block.process, block.states
        if isinstance(process, MaternTerm):
            s = process.states
            written = np.empty((k, 1 + s, s, 1))
            process.write_step(process.scaled(gaps)[:, None], written)
            decay[:, own] = written[:, 0, 0]
            taylor = _upper(written[:, 0, :, 0])
            corner = np.ascontiguousarray(written[:, 1:, :, 0])
        else:
            decay[:, own] = process.decay(gaps)[:, None]
            diffusion[:, own] = process.spread(gaps)[:, None] * process.variance
    return decay, diffusion, taylor, corner


def _upper(powers: Array) -> Array:
    """Return triangles ``(k, s, s)`` with 1 on the diagonal and ``powers[:, j]`` on the ``j``-th above."""
    k, s = powers.shape
    taylor = np.zeros((k, s, s))
    for i in range(s):
        taylor[:, i, i] = 1.0
        taylor[:, i, i + 1 :] = powers[:, 1 : s - i]
    return taylor


def _prior(blocks: Sequence[Block], since: float) -> Array:
    states = blocks[-1].states.stop if blocks else 0
    prior = np.zeros((states, states))
    for block in blocks:
        process, own = block.process, block.states
        if isinstance(process, MaternTerm):
            prior[own, own] = process.stationary
        else:
            prior[own, own] = np.diag(process.variance * (since if process.rate == 0.0 else 1.0))
    return prior


def _process(
    term: Term, p: int | None, values: Array, least: float
) -> tuple[MaternTerm | Amplitudes, NDArray[np.bool_]]:
    """Return what a part's states are, and which of its waves have a variance above ``least``."""
    if term.kind == "trend":
        return MaternTerm(term.nu, *values), np.ones(round(term.nu + 0.5), dtype=np.bool_)
    process = Amplitudes.of(term, p, values)
    wanted = process.variance > least
    return process.some(wanted), wanted


def _passes() -> ModuleType:
    """Return the passes over the rows: compiled, where Numba is installed."""
    if find_spec("numba") is None:
        from nonparam.solvers import structural_chain

        return structural_chain
    from nonparam.solvers import structural_chain_compiled

    return structural_chain_compiled
