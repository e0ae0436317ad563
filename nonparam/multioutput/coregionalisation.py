r"""The covariance between outputs: the intrinsic coregionalisation model.

.. math:: \mathrm{cov}(f_o(x), f_p(x')) = B_{op} \, k(x, x'), \qquad
          B = t \, \frac{M}{\mathrm{tr} M}, \quad M = W W^\top + \mathrm{diag}(\kappa)

with loadings :math:`W` of :math:`t \times r` numbers. The kernel has variances of its own: so that only one
of the two sets the size of the functions, the variances in :math:`B` have a mean of 1. One output has
:math:`B = 1` and nothing to learn.

Source: Goovaerts (1997), Geostatistics for natural resources evaluation, section 4.2; Bonilla, Chai and
Williams (2008), Multi-task Gaussian process prediction, NIPS 20, equation 5.
"""

import math

import gpytorch
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nonparam.scales import NOISE_FRACTION, Scales, default_priors
from nonparam.theta import Prior, Theta

__all__ = ["PanelTheta", "coregionalisation", "correlations", "loadings_of", "slopes"]

Array = NDArray[np.float64]

OWN = 0.02  # prior median of kappa, where the loadings of an output have a sum of squares of about 1
OWN_SD = 2.0  # of its logarithm
LEAST_OWN, MOST_OWN = 1e-8, 1e4
STEP = 0.2  # prior standard deviations that matter: with many outputs loadings are known far better than to 1
FARTHEST = 10.0  # prior standard deviations that a loading may reach
LEAST_START = 0.1  # of kappa
FEWEST = 3  # rows that two outputs share, for a correlation to start from


def coregionalisation(loadings: Array, own: Array) -> Array:
    """Return ``B (t, t)`` from loadings ``(t, r)`` and own variances ``(t,)``.

    Examples:
        >>> coregionalisation(np.array([[1.0], [1.0]]), np.array([1.0, 1.0]))
        array([[1. , 0.5],
               [0.5, 1. ]])
    """
    raw = loadings @ loadings.T + np.diag(own)
    b: Array = raw * (len(raw) / np.trace(raw))
    return b


def slopes(loadings: Array, own: Array, slope: Array) -> tuple[Array, Array]:
    """Return derivatives in the loadings and in the logarithms of the own variances.

    Args:
        loadings: ``(t, r)``.
        own: ``(t,)``.
        slope: ``(t, t)``, symmetric: the derivative in the entries of ``B``, each counted on its own.

    Examples:
        >>> w, own, slope = np.array([[1.0], [1.0]]), np.ones(2), np.array([[0.0, 0.5], [0.5, 0.0]])
        >>> slopes(w, own, slope)  # of the correlation
        (array([[0.25],
               [0.25]]), array([-0.125, -0.125]))
    """
    raw = loadings @ loadings.T + np.diag(own)
    size = np.trace(raw)
    inner = (len(raw) / size) * (slope - np.eye(len(raw)) * (slope * raw).sum() / size)
    return 2.0 * inner @ loadings, np.diagonal(inner) * own


def correlations(table: Array) -> Array:
    """Return correlations of the columns of ``table (n, t)``, NaN where it is missing.

    Each is that of the rows where both columns are observed, 0 where they share fewer than three.
    """
    seen = np.isfinite(table)
    found = np.eye(table.shape[1])
    for o in range(len(found)):
        for p in range(o):
            both = seen[:, o] & seen[:, p]
            if both.sum() >= FEWEST:
                found[o, p] = found[p, o] = _correlation(table[both, o], table[both, p])
    return found


def _correlation(u: Array, v: Array) -> float:
    u, v = u - u.mean(), v - v.mean()
    size = math.sqrt(float(u @ u) * float(v @ v))
    return float(u @ v) / size if size > 0.0 else 0.0


def loadings_of(correlation: Array, rank: int) -> tuple[Array, Array]:
    """Return loadings ``(t, r)`` and own variances ``(t,)`` that come near to a correlation matrix.

    Examples:
        >>> w, own = loadings_of(np.array([[1.0, 0.6], [0.6, 1.0]]), 1)
        >>> np.abs(w @ w.T).round(6), own.round(6)
        (array([[0.8, 0.8],
               [0.8, 0.8]]), array([0.2, 0.2]))
    """
    values, vectors = np.linalg.eigh(correlation)
    most = np.argsort(values)[::-1][:rank]
    loadings = vectors[:, most] * np.sqrt(np.maximum(values[most], 0.0))
    return loadings, np.maximum(1.0 - np.square(loadings).sum(1), LEAST_START)


class PanelTheta(Theta):
    """The free hyperparameters of several outputs: of the kernel, of ``B``, and the noise of each output.

    Args:
        kernel: its stored parameters are read and written.
        scales: of the data, in units in which every output has about the same variance.
        correlation: ``(t, t)``, from which ``B`` starts.
        rank: columns of the loadings.
        noise: ``(t,)`` known variances, or ``None`` where they are learnt.
        informative: whether there are priors; without, only bounds.

    Attributes:
        t: the number of outputs.
        rank: columns of the loadings; 0 for one output.
    """

    def __init__(
        self,
        kernel: gpytorch.kernels.Kernel,
        scales: Scales,
        correlation: Array,
        rank: int,
        noise: Array | None,
        *,
        informative: bool,
    ) -> None:
        self.t, self.rank, self._known = len(correlation), rank if len(correlation) > 1 else 0, noise
        sd = 1.0 / math.sqrt(max(rank, 1))
        priors = {
            **default_priors(kernel, scales, informative=informative),
            "loadings": Prior(0.0, sd if informative else np.inf, -FARTHEST * sd, FARTHEST * sd, STEP * sd),
            "own": Prior(
                math.log(OWN), OWN_SD if informative else np.inf, math.log(LEAST_OWN), math.log(MOST_OWN)
            ),
        }
        others = {}
        if self.rank:
            loadings, own = loadings_of(correlation, rank)
            others = {"loadings": loadings.reshape(-1), "own": np.log(own)}
        if noise is None:
            others["noise"] = np.full(self.t, math.log(NOISE_FRACTION * scales.y_variance))
        super().__init__(kernel, priors, None, others)

    def loadings(self, point: Array) -> tuple[Array, Array]:
        """Return the loadings ``(t, r)`` and the own variances ``(t,)`` at ``point (p,)``."""
        first, second, third = self._bounds
        return point[first:second].reshape(self.t, self.rank), np.exp(point[second:third])

    def b(self, point: Array) -> Array:
        """Return ``B (t, t)`` at ``point (p,)``."""
        return coregionalisation(*self.loadings(point)) if self.rank else np.ones((1, 1))

    def noise(self, point: Array) -> Array:
        """Return the noise variances ``(t,)`` at ``point (p,)``."""
        return np.exp(point[-self.t :]) if self._known is None else self._known

    def collect(self, point: Array, kernel: list[Tensor], b: Array, noise: Array) -> Array:
        """Return the gradient ``(p,)``.

        Args:
            point: ``(p,)``.
            kernel: derivatives in the parameters of the kernel.
            b: ``(t, t)``, the derivative in the entries of ``B``, each counted on its own.
            noise: ``(t,)``, the derivatives in the noise variances.
        """
        gradient: Array = self.gather(kernel, np.zeros(1), 1)[0]
        if self.rank:
            first, second, third = self._bounds
            loadings, own = slopes(*self.loadings(point), b)
            gradient[first:second], gradient[second:third] = loadings.reshape(-1), own
        if self._known is None:
            gradient[-self.t :] = noise * self.noise(point)
        return gradient

    def tensors(self, point: Array, like: Tensor) -> tuple[Tensor, Tensor]:
        """Write ``point (p,)`` into the kernel; return ``B`` and the noise as tensors like another one."""
        self.assign(point)
        return torch.from_numpy(self.b(point)).to(like), torch.from_numpy(self.noise(point)).to(like)

    @property
    def _bounds(self) -> tuple[int, int, int]:
        """Where the loadings begin, the own variances, and what follows."""
        first = sum(parameter.numel() for parameter in self.parameters)
        second = first + self.t * self.rank
        return first, second, second + (self.t if self.rank else 0)
