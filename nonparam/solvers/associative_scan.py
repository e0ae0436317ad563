r"""The associative scan of stretches of a Gauss-Markov chain: what the filter is at many places at once.

A stretch of the chain, the states inside it summed out, is an element of a semigroup: two of them, one after
the other, make a third. A scan over ``2^i`` stretches takes ``2 i`` vectorised combinations, on levels of
half as many stretches each. Every array has the stretches along its last axis.

Sources: Särkkä and García-Fernández (2021), Temporal parallelization of Bayesian smoothers, IEEE Transactions
on Automatic Control 66; Blelloch (1990), Prefix sums and their applications, CMU-CS-90-190.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Array", "Element", "before", "combine", "empty", "product", "start"]

Array = NDArray[np.float64]


class Element(NamedTuple):
    """What a stretch of the chain, its states summed out, says of its first and its last state.

    Attributes:
        moments: ``[C | b | A]``, ``(s, s + k + s, m)``: the last state given the first one, ``z``, has the
            mean ``A z + b`` and the covariance ``C``; ``k`` series at once.
        information: ``[-eta | J]``, ``(s, k + s, m)``: the rows have, as a function of the first state, the
            likelihood ``exp(eta' z - z' J z / 2)``.
    """

    moments: Array
    information: Array

    def every(self, start: int) -> "Element":
        """Return each second stretch."""
        return Element(self.moments[..., start::2], self.information[..., start::2])


def product(a: Array, z: Array) -> Array:
    """Return the matrix products of ``a (p, q, m)`` with ``z (q, c, m)``, along the last axis.

    Examples:
        >>> product(np.full((1, 1, 2), 3.0), np.array([[[1.0, 2.0]]]))
        array([[[3., 6.]]])
    """
    products: Array = np.einsum("pqm,qcm->pcm", a, z)
    return products


def empty(s: int, k: int, chunks: int) -> Element:
    """Return stretches without rows: the last state is the first one.

    Args:
        s: states.
        k: series.
        chunks: stretches.

    Examples:
        >>> empty(1, 1, 1).moments
        array([[[0.],
                [0.],
                [1.]]])
    """
    moments = np.zeros((s, s + k + s, chunks))
    moments[:, s + k :] = np.eye(s)[:, :, None]
    return Element(moments, np.zeros((s, k + s, chunks)))


def start(covariance: Array, k: int) -> Element:
    """Return the element that ends in a state of this covariance, whatever its first state.

    Args:
        covariance: ``(s, s)``.
        k: series.

    Examples:
        >>> start(np.eye(1), 1).moments
        array([[[1.],
                [0.],
                [0.]]])
    """
    s = len(covariance)
    return Element(np.pad(covariance, ((0, 0), (0, k + s)))[:, :, None], np.zeros((s, k + s, 1)))


def combine(left: Element, right: Element) -> Element:
    r"""Return the element of two stretches, one after the other.

    With :math:`X = (I + C_l J_r)^{-1} [C_l \mid b_l + C_l \eta_r \mid A_l]`,

    .. math::

        [C \mid b \mid A] = [A_r X_C A_r^\top + C_r \mid A_r X_b + b_r \mid A_r X_A], \qquad
        [-\eta \mid J] = [-\eta_l \mid J_l] + A_l^\top [J_r X_b - \eta_r \mid J_r X_A].

    Source: Särkkä and García-Fernández (2021), lemma 8.

    Examples:
        >>> walk = Element(np.array([[[1.0], [0.0], [1.0]]]), np.array([[[-3.0], [1.0]]]))
        >>> combine(walk, walk).moments.ravel()  # rows of 3: the last state is N(1.5 + 0.5 z, 1.5)
        array([1.5, 1.5, 0.5])
    """
    s = len(left.moments)
    k = left.moments.shape[1] - 2 * s
    minus_eta, j = right.information[:, :k], right.information[:, k:]
    x, information = left.moments, left.information
    if right.information.any():
        x = x.copy()
        x[:, s : s + k] -= product(x[:, :s], minus_eta)
        x = _solve_shifted(product(x[:, :s], j), x)
        seen = product(j, x[:, s:])
        seen[:, :k] += minus_eta
        information = information + product(left.moments[:, s + k :].swapaxes(0, 1), seen)
    a = right.moments[:, s + k :]
    x = product(a, x)
    x[:, :s] = product(a, x[:, :s].swapaxes(0, 1))
    x[:, : s + k] += right.moments[:, : s + k]
    return Element(x, information)


def before(elements: Element, first: Element) -> Element:
    """Return the element of all that comes before each of ``2^i`` elements, by Blelloch's scan.

    Args:
        elements: of the stretches, one after the other.
        first: what comes before all of them.

    Examples:
        >>> step = np.array([[[1.0], [0.0], [1.0]]])  # a random walk
        >>> steps = Element(np.repeat(step, 4, -1), np.zeros((1, 2, 4)))
        >>> before(steps, start(np.eye(1), 1)).moments[0, 0]
        array([1., 2., 3., 4.])
    """
    if elements.moments.shape[-1] == 1:
        return first
    left, right = elements.every(0), elements.every(1)
    earlier = before(combine(left, right), first)
    both = zip(earlier, combine(earlier, left), strict=True)
    return Element(*[np.stack(pair, -1).reshape(*pair[0].shape[:-1], -1) for pair in both])


def _solve_shifted(a: Array, b: Array) -> Array:
    """Return ``(I + a)^-1 b`` for ``a (s, s, m)`` and ``b (s, c, m)``, by Householder's reflections.

    Source: Golub and Van Loan (2013), algorithms 5.1.1 and 5.2.1.
    """
    s = len(a)
    x = np.concatenate([a + np.eye(s)[:, :, None], b], 1)
    for i in range(s - 1):
        v = x[i:, i].copy()
        v[0] += np.copysign(np.sqrt(np.einsum("am,am->m", v, v)), v[0])
        v *= np.sqrt(2.0 / np.einsum("am,am->m", v, v))
        x[i:, i:] -= v[:, None] * np.einsum("am,acm->cm", v, x[i:, i:])
    for i in reversed(range(s)):
        for j in range(i + 1, s):
            x[i, s:] -= x[i, j] * x[j, s:]
        x[i, s:] /= x[i, i]
    return x[:, s:]
