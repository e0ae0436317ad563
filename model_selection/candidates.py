"""One candidate of a search over kernels: trained from several starts, and judged by a criterion."""

import math
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Literal, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from nonparam.errors import NotPositiveDefiniteError
from nonparam.kernels import ChangePoint, Constant, Kernel, Sum, covariance
from nonparam.lbfgs import Minimum, descend
from nonparam.model_selection.assembly import to_kernel, with_values_of
from nonparam.model_selection.evidence_integral import laplace_at
from nonparam.model_selection.expressions import Base, Expression
from nonparam.model_selection.held_out import HeldOutRows, held_out_evidence
from nonparam.objective import Data, Objective
from nonparam.scales import NOISE_FRACTION, Scales, default_priors, initialise
from nonparam.theta import Theta
from nonparam.threads import threads_for

__all__ = ["CRITERIA", "Candidate", "Criterion", "Problem", "Start", "kernel_of", "train"]

Array = NDArray[np.float64]
Criterion: TypeAlias = Literal["bic", "laplace", "clml", "loo"]
CRITERIA: tuple[Criterion, ...] = ("bic", "laplace", "clml", "loo")

FUNNEL = ((1, 4), (3, 1))  # rounds of evaluations, and how many starts go on after them
LONGEST_PERIOD = 0.5  # of the span: a wave that is not seen twice is no period
GRADUAL = 0.03  # of the span: what changes more slowly is for other kernels
ABRUPT = 0.1  # of the distance of two rows: nothing is between them
RATES = {"period": 3.0, "location": 2.0}  # r, where a hyperparameter is known to within n^(-r/2); else 1
TOLERANCE = 1e-3  # nats gained in the last steps: criteria that differ by less are alike


@dataclass(frozen=True)
class Problem:
    """What all candidates of a search are fitted to.

    Attributes:
        data: the rows.
        scales: of the rows.
        with_prior: whether hyperparameters have their default priors.
        criterion: what candidates are judged by.
        held_out: which rows are predicted from which, where that is the criterion.
        absorbed: names of base kernels that the mean function makes superfluous as terms.
        stands_for: how many rows each one stands for: what few rows gain, many gain that many times.
    """

    data: Data
    scales: Scales
    with_prior: bool
    criterion: Criterion
    held_out: HeldOutRows | None = None
    absorbed: tuple[str, ...] = ()
    stands_for: float = 1.0

    @property
    def widths(self) -> list[float]:
        """The spread of each column."""
        widths: list[float] = self.scales.x_sd.tolist()
        return widths

    def thinned(self, most: int, rng: np.random.RandomState) -> "Problem":
        """Return the same problem with a random subset of the rows where there are more than ``most``."""
        few = sampled(self.data, most, rng)
        return (
            replace(self, data=few, stands_for=len(self.data.x) / len(few.x))
            if few is not self.data
            else self
        )


@dataclass(frozen=True)
class Start:
    """Where training starts: hyperparameters that are missing come from the scale of the data."""

    expression: Expression
    noise: float | None = None


@dataclass(frozen=True)
class Candidate:
    """A trained candidate.

    Attributes:
        expression: with its hyperparameters.
        noise: its variance; ``None`` where it is known.
        log_joint: what was maximised, in nats.
        log_marginal_likelihood: in nats.
        num_parameters: free hyperparameters.
        bic: in nats, the larger the better.
        score: by the criterion, in nats, the larger the better.
        seconds: that training took.
    """

    expression: Expression
    noise: float | None
    log_joint: float
    log_marginal_likelihood: float
    num_parameters: int
    bic: float
    score: float
    seconds: float


def sampled(data: Data, most: int, rng: np.random.RandomState) -> Data:
    """Return ``most`` of the rows in their order, chosen at random, or all where there are no more."""
    n = len(data.x)
    if n <= most:
        return data
    return data.rows(torch.from_numpy(np.sort(rng.choice(n, most, replace=False))))


def train(
    problem: Problem, starts: Sequence[Start], rounds: int, *, screening: bool, hurdle: float = -math.inf
) -> Candidate:
    """Train a candidate from every start for a few rounds, as one batch, and the best one on.

    Args:
        problem: the rows and the criterion.
        starts: of one expression.
        rounds: of evaluations, at most, of the best one.
        screening: whether BIC, which costs nothing more, stands for the criterion.
        hurdle: a BIC; a candidate that is below it after the first rounds is left there.

    Returns:
        The candidate; its score is minus infinity where the objective is finite at no start.
    """
    began = time.perf_counter()
    with threads_for(len(problem.data.x)):
        thetas = [_theta(problem, start) for start in starts]
        points, going = np.stack([theta.start for theta in thetas]), list(range(len(starts)))
        for few, most in FUNNEL:
            found = _descend(problem, [thetas[i] for i in going], points, few)
            order = sorted(range(len(going)), key=lambda k: found[k].value)[:most]
            going, points = [going[k] for k in order], np.stack([found[k].theta for k in order])
        (best,), end = going, found[order[0]]
        theta = thetas[best]
        if _likelihoods(problem, theta, end)[1] > hurdle:
            (end,) = _descend(problem, [theta], end.theta[None], rounds)
        return _judged(problem, starts[best].expression, theta, end, began, screening)


def kernel_of(problem: Problem, expression: Expression) -> Kernel:
    """Return the kernel of an expression, with what its hyperparameters lack set from the data."""
    kernel = to_kernel(expression, problem.widths)
    initialise(kernel, problem.scales)
    if isinstance(expression, Base) and expression.name in problem.absorbed:
        kernel.set_params(fixed=("variance",))  # the mean function is all of it
    for term in kernel.kernels if isinstance(kernel, Sum) else (kernel,):
        if "constant" in problem.absorbed and isinstance(term, ChangePoint):
            levels = [part for part in (term.before, term.after) if isinstance(part, Constant)]
            if len(levels) == 2:
                levels[0].set_params(fixed=("variance",))  # of two levels the mean function knows one
    return kernel


def _theta(problem: Problem, start: Start) -> Theta:
    kernel = kernel_of(problem, start.expression).to(problem.data.x.device)
    priors = default_priors(kernel, problem.scales, informative=problem.with_prior)
    span = float((problem.scales.x_high - problem.scales.x_low).max() or 1.0)
    widest, narrowest = GRADUAL * span, ABRUPT * span / len(problem.data.x)
    bounds = {"raw_period": (-math.inf, math.log(LONGEST_PERIOD * span))}
    bounds["raw_width"] = (math.log(narrowest), math.log(widest))
    for name, prior in priors.items():
        low, high = bounds.get(name.rpartition(".")[2], (-math.inf, math.inf))
        priors[name] = replace(prior, lower=np.maximum(prior.lower, low), upper=np.minimum(prior.upper, high))
    noise = NOISE_FRACTION * problem.scales.y_variance if start.noise is None else start.noise
    return Theta(kernel, priors, noise if problem.data.noise is None else None)


def _descend(problem: Problem, thetas: Sequence[Theta], points: Array, rounds: int) -> list[Minimum]:
    """Return where searches stand after some rounds of evaluations; each has a prior of its own."""
    objective = Objective(problem.data, thetas[0], with_prior=False)

    def negative(points: Array, which: NDArray[np.intp]) -> tuple[Array, Array]:
        values, gradients = objective.negative(points, which)
        if problem.with_prior:
            priors = [thetas[i].log_prior(point[None]) for i, point in zip(which, points, strict=True)]
            values -= np.concatenate([density for density, _ in priors])
            gradients -= np.concatenate([slope for _, slope in priors])
        return values, gradients

    bounds = [np.stack([getattr(theta, name) for theta in thetas]) for name in ("lower", "upper")]
    searches = descend(negative, points, *bounds, scale=thetas[0].step, value_tolerance=TOLERANCE)
    return deque(islice(searches, rounds), maxlen=1).pop()


def _likelihoods(problem: Problem, theta: Theta, end: Minimum) -> tuple[float, float]:
    """Return the log marginal likelihood, and BIC.

    Each hyperparameter costs the logarithm of how finely the data tell its values apart. Over a series twice
    as long the variance of most falls to a half, that of a period to an eighth, that of a place to a quarter.

    Source: Djuric (1996), A model selection rule for sinusoids in white Gaussian noise, IEEE Transactions on
    Signal Processing 44(7); Zhang and Siegmund (2007), A modified Bayes information criterion with
    applications to the analysis of comparative genomic hybridization data, Biometrics 63(1).
    """
    value = -end.value - (float(theta.log_prior(end.theta[None])[0][0]) if problem.with_prior else 0.0)
    rates = [RATES.get(name.rpartition(".")[2], 1.0) for name in theta.names]
    n = problem.stands_for * float(problem.data.weights.sum())
    return value, problem.stands_for * value - 0.5 * sum(rates) * math.log(n)


def _judged(
    problem: Problem, expression: Expression, theta: Theta, end: Minimum, began: float, screening: bool
) -> Candidate:
    theta.assign(end.theta)
    expression = with_values_of(expression, theta.kernel, problem.widths)
    noise = float(np.exp(end.theta[-1])) if theta.learns_noise else None
    value, bic = _likelihoods(problem, theta, end)
    score = bic if screening or not np.isfinite(bic) else _score(problem, theta, end.theta, bic)
    seconds = time.perf_counter() - began
    return Candidate(expression, noise, -end.value, value, theta.size, bic, score, seconds)


def _score(problem: Problem, theta: Theta, point: Array, bic: float) -> float:
    """Return the criterion at a point ``(p,)``, minus infinity where it has no value."""
    data = problem.data
    if problem.criterion == "bic":
        return bic
    if problem.criterion == "laplace":
        return laplace_at(Objective(data, theta, with_prior=True), point).log_evidence
    noise = data.noise_variances(float(np.exp(point[-1])) if theta.learns_noise else 0.0)
    with torch.no_grad():
        a = covariance(theta.kernel, data.x) + torch.diag(noise)
    assert problem.held_out is not None
    try:
        return held_out_evidence(a, data.y, data.basis, problem.held_out.sets(len(data.x))).value
    except NotPositiveDefiniteError:
        return -math.inf
