r"""Kalman filter and smoother of a Gauss-Markov chain, parallel over chunks of the series.

The chain has states :math:`z_t` of :math:`s` numbers and rows :math:`y_t`,

.. math::

    z_{t+1} &= A_t z_t + q_t, & q_t &\sim N(0, Q_t), \\
    y_t &= h^\top z_t + e_t, & e_t &\sim N(0, r_t).

The series is folded into ``m`` chunks of ``L`` rows, filtered side by side: every array has the chunks along
its last axis, and the loop over the ``L`` steps is the only one in Python. Three passes give all:

1. each chunk from an unknown first state, which makes of it one `Element`;
2. each chunk again from its true first state, which a scan of the elements gave;
3. backwards, the derivatives of the evidence in the state and its covariance (the disturbance smoother), from
   those at the end of each chunk, which a scan of the filter of pass 2 gave.

No covariance is inverted, so a singular :math:`Q_t` (two rows at one place) is like any other; and pass 3
goes back by the very gains of pass 2, so that a solution keeps a small residual when the noise is small.

Sources: Särkkä and García-Fernández (2021), see `associative_scan`; de Jong (1989), Smoothing and
interpolation with the state-space model, JASA 84; Koopman (1993), Disturbance smoother for state space
models, Biometrika 80.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add

import numpy as np

from nonparam.solvers.associative_scan import Array, Element, before, empty, start

__all__ = ["Chain", "Filtered", "Smoothed", "Visitor", "causal_product", "filtered", "smoothed"]

Visitor = Callable[[int, Array], None]


@dataclass(frozen=True)
class Chain:
    r"""A Gauss-Markov chain, folded into ``m`` chunks of ``L`` rows; its states are independent blocks.

    Each block is a Jordan chain, :math:`A_t = e^{-\tau} \sum_k \tau^k S^k / k!` with the shift
    :math:`S e_{i+1} = e_i`, and each row observes the sum of the first states of all blocks, plus noise.

    Attributes:
        prior: ``(s, s)``, the stationary covariance of the states, which is that of the first one.
        blocks: the states of each block.
        taylor: for each block ``(L, s_j, m)``: ``exp(-tau)`` from each row to the next, and then
            ``tau^k / k!`` for ``k = 1, ..., s_j - 1``.
        diffusion: for each block ``Q_t``, ``(L, s_j, s_j, m)``.
        noise: ``r_t``, ``(L, m)``; infinite where nothing was observed.
    """

    prior: Array
    blocks: Sequence[slice]
    taylor: Sequence[Array]
    diffusion: Sequence[Array]
    noise: Array

    @property
    def states(self) -> int:
        """The number of states, ``s``."""
        return len(self.prior)

    @property
    def first(self) -> list[int]:
        """The states whose sum is observed."""
        return [block.start for block in self.blocks]

    def observe(self, z: Array) -> Array:
        """Return ``h' z``: the sum of the first rows of the blocks, for ``z (s, ...)``."""
        total: Array = reduce(add, [z[i] for i in self.first])
        return total

    def expected(self, states: Array) -> tuple[Array, Array]:
        """Return the mean ``(L, k, m)`` and variance ``(L, m)`` of ``h' z``.

        Args:
            states: ``[P | m]``, ``(L, s, s + k, m)``.
        """
        observed = self.observe(states.swapaxes(0, 1))
        return observed[:, self.states :], self.observe(observed.swapaxes(0, 1))

    def advance(self, t: int, z: Array) -> None:
        """Multiply ``z (s, c, m)`` by ``A_t`` from the left, in place."""
        for block, taylor in zip(self.blocks, self.taylor, strict=True):
            for i in range(block.start, block.stop):
                for j in range(i + 1, block.stop):
                    z[i] += taylor[t, j - i] * z[j]
            z[block] *= taylor[t, 0]

    def retreat(self, t: int, z: Array) -> None:
        """Multiply ``z (s, c, m)`` by ``A_t'`` from the left, in place."""
        for block, taylor in zip(self.blocks, self.taylor, strict=True):
            for i in range(block.stop - 1, block.start, -1):
                for j in range(block.start, i):
                    z[i] += taylor[t, i - j] * z[j]
            z[block] *= taylor[t, 0]

    def diffuse(self, t: int, covariance: Array) -> None:
        """Add ``Q_t`` to ``covariance (s, s, m)`` in place."""
        for block, q in zip(self.blocks, self.diffusion, strict=True):
            covariance[block, block] += q[t]


@dataclass(frozen=True)
class Filtered:
    """The filter of all chunks.

    Attributes:
        states: ``[P | m]`` before each row and after the last one, ``(L + 1, s, s + k, m)``.
        closed: of each chunk, with the gains of the filter: its moments end in ``Phi``, the derivative of its
            last state in its first one; its information is the sum of ``Phi' h [h' m - y | h' Phi] / f``.
    """

    states: Array
    closed: Element


@dataclass(frozen=True)
class Smoothed:
    r"""What all other rows say of each row.

    Attributes:
        residual: ``h' (m + P lambda_f) - y``, with the derivative just after the row, ``(L, k, m)``.
        spread: ``h' P Lambda_f P h``, likewise, ``(L, m)``.
    """

    residual: Array
    spread: Array


def filtered(chain: Chain, y: Array) -> Filtered:
    """Filter every chunk from its true first state.

    Args:
        chain: of ``n`` rows.
        y: ``(L, k, m)``, ``k`` series with the same covariance.

    Source: de Jong (1989), equations 2 to 5.

    Examples:
        >>> rows, q = np.ones((1, 1)), np.ones((1, 1, 1, 1))
        >>> walk = Chain(np.eye(1), [slice(0, 1)], [q[0]], [q], rows)
        >>> filtered(walk, np.array([[[3.0]]])).states[1].ravel()  # N(1.5, 0.5), and one step more
        array([1.5, 1.5])
    """
    s, (length, k, chunks) = chain.states, y.shape
    elements, closed = empty(s, k, chunks), empty(s, k, chunks)
    for _ in _pass(chain, y, elements):
        pass
    closed.moments[:, : s + k] = before(elements, start(chain.prior, k)).moments[:, : s + k]
    states = np.empty((length + 1, s, s + k, chunks))
    for t in _pass(chain, y, closed):
        states[t] = closed.moments[:, : s + k]
    return Filtered(states, closed)


def smoothed(chain: Chain, y: Array, forward: Filtered, visit: Visitor | None = None) -> Smoothed:
    r"""Run the disturbance smoother backwards through every chunk.

    With the gain :math:`K = P h / f` of each row, from after the row to before it,

    .. math::

        \Lambda_f &= A^\top \Lambda A, \qquad \lambda_f = A^\top \lambda, \\
        D &= 1 / f + K^\top \Lambda_f K, \\
        \Lambda &\leftarrow \Lambda_f - h K^\top \Lambda_f - \Lambda_f K h^\top + D h h^\top, \\
        \lambda &\leftarrow \lambda_f - h \, ((h^\top m - y) / f + K^\top \lambda_f).

    Args:
        chain: of ``n`` rows.
        y: ``(L, k, m)``.
        forward: of the same rows.
        visit: called with ``t`` and ``[Lambda | lambda]``, ``(s, s + k, m)``, after row ``t`` of each chunk,
            from the last row to -1: minus the second derivative, and the first, of the evidence of all the
            rows to come in the mean of the state there.

    Source: Koopman (1993), equations 2.4 to 2.6, with ``r`` for lambda and ``N`` for Lambda.

    Examples:
        >>> rows, q = np.ones((1, 1)), np.ones((1, 1, 1, 1))
        >>> walk = Chain(np.eye(1), [slice(0, 1)], [q[0]], [q], rows)
        >>> y = np.array([[[3.0]]])
        >>> smoothed(walk, y, filtered(walk, y)).residual  # no other row: 0 - 3
        array([[[-3.]]])
    """
    s, (length, _, chunks) = chain.states, y.shape
    residual, spread = np.empty_like(y), np.empty((length, chunks))
    z = _last_adjoint(forward.closed)
    for t in reversed(range(length)):
        if visit is not None:
            visit(t, z)
        chain.retreat(t, z)
        chain.retreat(t, z[:, :s].swapaxes(0, 1))
        surprise, g = _surprise(chain, t, y[t], forward.states[t])
        c = np.einsum("im,ijm->jm", surprise[:s], z)
        np.einsum("im,im->m", surprise[:s], c[:s], out=spread[t])
        np.add(c[s:], surprise[s:], out=residual[t])
        c[s:] = residual[t]
        c *= g
        d = g * (1.0 + g * spread[t])
        for i in chain.first:
            z[i] -= c
            z[:, i] -= c[:s]
            for j in chain.first:
                z[i, j] += d
    if visit is not None:
        visit(-1, z)
    return Smoothed(residual, spread)


def causal_product(chain: Chain, v: Array) -> Array:
    """Return for each row the covariance with all earlier rows times ``v``: ``(L, k, m)`` for the same ``v``.

    The state carries ``z_{t+1} = A_t (z_t + P h v_t)`` with the stationary covariance ``P``.

    Examples:
        >>> rows, q = np.ones((2, 1)), np.ones((2, 1, 1, 1))
        >>> fading = Chain(np.eye(1), [slice(0, 1)], [0.5 * q[:, 0]], [q], rows)
        >>> causal_product(fading, np.array([[[3.0]], [[1.0]]])).ravel()
        array([0. , 1.5])
    """
    s, k = chain.states, v.shape[1]
    elements = empty(s, k, v.shape[2])
    for _ in _sums(chain, v, elements.moments):
        pass
    starts = before(elements, start(np.zeros((s, s)), k)).moments
    return np.stack(list(_sums(chain, v, starts)))


def _sums(chain: Chain, v: Array, z: Array) -> Iterator[Array]:
    """Carry the sums in the middle of ``z = [0 | sum | Phi]``; yield what they add to each row."""
    s, k = chain.states, v.shape[1]
    weight = chain.observe(chain.prior)[:, None, None]
    for t in range(len(v)):
        yield chain.observe(z)[s : s + k].copy()
        z[:, s : s + k] += weight * v[t]
        chain.advance(t, z)


def _pass(chain: Chain, y: Array, element: Element) -> Iterator[int]:
    """Filter row after row into elements that begin before the first; yield the row that they are before."""
    s, k = chain.states, y.shape[1]
    z, information = element
    outer, scaled = np.empty_like(z), np.empty_like(z[0])
    for t in range(len(y)):
        yield t
        surprise, g = _surprise(chain, t, y[t], z)
        np.multiply(surprise, g, out=scaled)
        information += np.multiply(surprise[s + k :, None], scaled[s:], out=outer[:, s:])
        z -= np.multiply(scaled[:s, None], surprise, out=outer)
        chain.advance(t, z)
        chain.advance(t, z[:, :s].swapaxes(0, 1))
        chain.diffuse(t, z[:, :s])
    yield len(y)


def _surprise(chain: Chain, t: int, y: Array, z: Array) -> tuple[Array, Array]:
    """Return ``[h' P | h' m - y | ...]`` and ``1 / f`` for ``z = [P | m | ...]``."""
    surprise = chain.observe(z).copy()
    surprise[chain.states : chain.states + len(y)] -= y
    return surprise, 1.0 / (chain.observe(surprise) + chain.noise[t])


def _last_adjoint(closed: Element) -> Array:
    """Return ``[Lambda | lambda]`` after the last row of each chunk, from all the chunks that follow.

    With the gains known it is affine, ``Phi' Lambda Phi + J`` and ``Phi' lambda + eta``: going back over the
    chunks, that is how a covariance and a mean move.
    """
    s = len(closed.moments)
    k = closed.moments.shape[1] - 2 * s
    minus_eta, j = closed.information[:, :k], closed.information[:, k:]
    moments = np.concatenate([j, -minus_eta, closed.moments[:, s + k :].swapaxes(0, 1)], 1)[..., ::-1]
    reverse = Element(moments, np.zeros_like(closed.information))
    return before(reverse, start(np.zeros((s, s)), k)).moments[:, : s + k, ::-1].copy()
