r"""Hyperparameters to average over, and their weights.

With :math:`\hat\theta` the mode of the posterior, :math:`R R^\top` its covariance by Laplace's approximation
and :math:`\theta = \hat\theta + R u`, an average over the posterior is a sum over nodes :math:`u_k`:

* draws from a multivariate Student's t, :math:`w_k \propto p(y, \theta_k) / t_\nu(u_k)`;
* a lattice along the axes of the curvature, :math:`w_k \propto p(y, \theta_k)`.

Source: Geweke (1989), Bayesian inference in econometric models using Monte Carlo integration,
Econometrica 57, for the draws; Rue, Martino and Chopin (2009), Approximate Bayesian inference for latent
Gaussian models by using integrated nested Laplace approximations, JRSS B 71, section 3.1, for the lattice.
"""

import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Generic, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.special import gamma, gammaincinv, logsumexp, ndtri
from scipy.stats import multivariate_t, qmc

from nonparam.errors import ConvergenceError
from nonparam.laplace import Laplace

__all__ = [
    "LATTICE_DIMENSIONS",
    "Evaluate",
    "Node",
    "Nodes",
    "lattice",
    "lattice_size",
    "student_draws",
    "weighted",
]

Array = NDArray[np.float64]
Model = TypeVar("Model")

FREEDOM = 5.0  # of Student's t: tails heavier than any that a normal prior leaves, and a finite variance
WIDER = 1.4  # than the curvature at the mode: of few rows the posterior leans to one side of it
STEPS = {
    1: 0.25,
    2: 0.5,
    3: 1.0,
    4: 1.0,
}  # of the lattice in standard deviations; 1 is next to exact for a Gaussian
LATTICE_DIMENSIONS = max(STEPS)
DEPTH = 7.1  # nats below the mode, 3.8 standard deviations; no node of a Gaussian is just there
BENT = 3.0  # how much larger than a Gaussian a posterior given few rows is
NEGLIGIBLE = 1e-8  # of the largest weight


@dataclass(frozen=True)
class Node(Generic[Model]):
    """Hyperparameters, and what a model is at them.

    Attributes:
        point: ``(p,)``.
        log_joint: the log density of the data and the hyperparameters, in nats.
        model: at these hyperparameters.
    """

    point: Array
    log_joint: float
    model: Model


Evaluate: TypeAlias = Callable[[Array], Node[Model] | None]


@dataclass(frozen=True)
class Nodes(Generic[Model]):
    """Nodes with their weights.

    Attributes:
        nodes: those whose weight is not negligible.
        weights: ``(k,)``, which sum to 1.
        effective_sample_size: of how many nodes of one weight an average is as precise.
        log_evidence: in nats; none where the nodes do not tell.
    """

    nodes: list[Node[Model]]
    weights: Array
    effective_sample_size: float
    log_evidence: float | None


def student_draws(evaluate: Evaluate[Model], at: Laplace, n_draws: int, seed: int) -> Nodes[Model]:
    """Draw hyperparameters round the mode, and weight each by how much more likely it is than to be drawn.

    The draws are a scrambled Halton sequence pushed through the distribution: they leave fewer gaps than
    independent ones.

    Args:
        evaluate: takes ``(p,)`` hyperparameters; returns ``None`` where their density is 0.
        at: the mode and the curvature there.
        n_draws: number of draws.
        seed: of the scrambling.

    Raises:
        ConvergenceError: no draw has a density.

    Source: Geweke (1989).

    Examples:
        >>> standard = Laplace(np.zeros(1), 0.0, np.eye(1), 0.5 * np.log(2.0 * np.pi), 0)
        >>> found = student_draws(lambda u: Node(u, -0.5 * float(u @ u), None), standard, 256, seed=0)
        >>> round(found.log_evidence, 1)  # log(2 pi) / 2 = 0.919
        0.9
    """
    p = len(at.mode)
    uniform = qmc.Halton(p + 1, seed=seed).random(n_draws)
    shrink = np.sqrt(2.0 * gammaincinv(0.5 * FREEDOM, uniform[:, p]) / FREEDOM)
    units = WIDER * ndtri(uniform[:, :p]) / shrink[:, None]
    drawn = np.atleast_1d(multivariate_t(np.zeros(p), WIDER**2 * np.eye(p), df=FREEDOM).logpdf(units))
    nodes = [evaluate(at.mode + at.root @ unit) for unit in units]
    pairs = [(node, density) for node, density in zip(nodes, drawn, strict=True) if node is not None]
    log_weights = np.array([node.log_joint - density for node, density in pairs])
    log_volume = float(np.linalg.slogdet(at.root)[1] - np.log(n_draws))
    return weighted([node for node, _ in pairs], log_weights, log_volume)


def lattice(evaluate: Evaluate[Model], at: Laplace) -> Nodes[Model]:
    """Cover the posterior by a lattice along the axes of its curvature.

    From the mode the lattice grows through neighbours as long as they are within 7.1 nats of it, so that
    it follows a bent posterior and wastes no node on corners. A second mode behind a deep valley is missed.

    Args:
        evaluate: takes ``(p,)`` hyperparameters; returns ``None`` where their density is 0.
        at: the mode and the curvature there; with at most ``LATTICE_DIMENSIONS`` hyperparameters.

    Raises:
        ConvergenceError: the mode has no density.

    Source: Rue, Martino and Chopin (2009), section 3.1 and figure 1.

    Examples:
        >>> standard = Laplace(np.zeros(1), 0.0, np.eye(1), 0.5 * np.log(2.0 * np.pi), 0)
        >>> found = lattice(lambda u: Node(u, -0.5 * float(u @ u), None), standard)
        >>> len(found.nodes), round(found.log_evidence, 4)  # log(2 pi) / 2
        (31, 0.9188)
    """
    p, step = len(at.mode), STEPS[len(at.mode)]
    origin = (0,) * p
    met, edge = {origin}, [origin]
    nodes: list[Node[Model]] = []
    while edge:
        found = [(place, evaluate(at.mode + step * at.root @ np.array(place))) for place in edge]
        inside = [(place, node) for place, node in found if node is not None and _is_deep(node, at)]
        nodes += [node for _, node in inside]
        edge = [place for place in _neighbours(place for place, _ in inside) if place not in met]
        met.update(edge)
    log_volume = float(np.linalg.slogdet(at.root)[1] + p * np.log(step))
    return weighted(nodes, np.array([node.log_joint for node in nodes]), log_volume)


def lattice_size(p: int) -> int:
    """Return how many nodes a lattice may have: three times those in the ball that a Gaussian fills.

    Examples:
        >>> [lattice_size(p) for p in (1, 2, 3, 4)]
        [90, 535, 672, 2985]
    """
    radius = np.sqrt(2.0 * DEPTH) / STEPS[p]
    return int(BENT * np.pi ** (0.5 * p) / gamma(0.5 * p + 1.0) * radius**p)


def _is_deep(node: Node[Model], at: Laplace) -> bool:
    return node.log_joint > at.log_joint - DEPTH


def _neighbours(places: Iterable[tuple[int, ...]]) -> list[tuple[int, ...]]:
    """Return what is one step away, each place once and in an order that does not change."""
    found: dict[tuple[int, ...], None] = {}
    for place, axis, way in itertools.product(places, range(LATTICE_DIMENSIONS), (-1, 1)):
        if axis < len(place):
            found[(*place[:axis], place[axis] + way, *place[axis + 1 :])] = None
    return list(found)


def weighted(nodes: list[Node[Model]], log_weights: Array, log_volume: float | None) -> Nodes[Model]:
    """Return nodes with weights that sum to 1, without those that hardly count.

    Args:
        nodes: ``k`` of them.
        log_weights: ``(k,)``, up to a constant.
        log_volume: that constant, where the sum of the weights is then the evidence; or ``None``.

    Raises:
        ConvergenceError: there is none.

    Examples:
        >>> three = [Node(np.zeros(1), 0.0, None)] * 3
        >>> found = weighted(three, np.log([1.0, 3.0, 1e-12]), 0.0)
        >>> found.weights.round(6), round(found.effective_sample_size, 6), round(found.log_evidence, 6)
        (array([0.25, 0.75]), 1.6, 1.386294)
    """
    if not nodes:
        raise ConvergenceError(
            "no hyperparameters round the fitted ones have a posterior density: try a larger noise, or a "
            "kernel with fewer hyperparameters"
        )
    kept = np.flatnonzero(log_weights >= log_weights.max() + np.log(NEGLIGIBLE))
    weights = np.exp(log_weights[kept] - logsumexp(log_weights[kept]))
    log_evidence = None if log_volume is None else float(logsumexp(log_weights)) + log_volume
    return Nodes([nodes[i] for i in kept], weights, 1.0 / float(weights @ weights), log_evidence)
