"""Hyperparameters and the posterior, by the solver that the plan names."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from nonparam.checkpoint import State
from nonparam.newton import Watch, ascend, climb, maximise_watched
from nonparam.objective import Objective
from nonparam.posterior import Posterior, condition
from nonparam.solvers.plan import BYTES, Plan, free_memory
from nonparam.solves import SolvedEvidence, solver_for
from nonparam.structured import StructuredObjective, structured_factor, with_structure
from nonparam.training import FitReport

__all__ = ["Fitted", "Search", "fit"]

Array = NDArray[np.float64]

NUM_PROBES = 8  # for the trace: more lower the noise of the gradient, which a Newton step averages
RANK = 500  # of the preconditioner: benchmarks/scale.py
TRAINING_TOLERANCE = 1e-3  # of the residuals while hyperparameters are learnt
MATRICES = 1.5  # of n x n that factorising once for the predictions needs, with what is temporary
TOLERANCE = 1e-6  # of those of predictions, in float64


@dataclass(frozen=True)
class Fitted:
    """What training found.

    Attributes:
        theta: ``(p,)``, the free hyperparameters.
        posterior: the process given the data.
        report: what was done.
    """

    theta: Array
    posterior: Posterior
    report: FitReport


@dataclass(frozen=True)
class Search:
    """How hyperparameters are looked for.

    Attributes:
        n_restarts: searches besides the one that starts from the scale of the data.
        rng: of the restarts, the subsets, the pivots and the probes.
        tolerance: nats gained in the last steps of an exact search.
        watch: is told of every step, and knows where a killed search stood.
    """

    n_restarts: int
    rng: np.random.RandomState
    tolerance: float
    watch: Watch


def fit(objective: Objective, plan: Plan, search: Search) -> Fitted:
    """Learn the hyperparameters and condition on the data.

    Args:
        objective: of all rows.
        plan: names the solver.
        search: how the hyperparameters are looked for.

    Raises:
        ConvergenceError: the objective is finite at no start, or a solve could not be certified.
        NotPositiveDefiniteError: a covariance that no admissible jitter repairs.
    """
    starts = objective.theta.starting_points(search.n_restarts, search.rng)
    by = _by_solves if plan.solver == "cg" else _by_factorisation
    objective = with_structure(objective, plan.solver)
    return by(objective, starts, str(plan), search)


def _noise(objective: Objective, theta: Array) -> float:
    return float(np.exp(theta[-1])) if objective.theta.learns_noise else 0.0


def _by_factorisation(objective: Objective, starts: Array, plan: str, search: Search) -> Fitted:
    theta = objective.theta
    state = search.watch.checkpoint.resumed or State(starts)
    best, report = maximise_watched(objective, state, search.watch, plan=plan, tolerance=search.tolerance)
    theta.assign(best)
    noise, factor = _noise(objective, best), None
    if isinstance(objective, StructuredObjective):
        factor = structured_factor(objective.structure, theta.kernel, objective.data, noise)
    posterior = condition(theta.kernel, objective.data, noise, factor)
    return Fitted(best, posterior, replace(report, jitter=posterior.factor.jitter))


def _by_solves(objective: Objective, starts: Array, plan: str, search: Search) -> Fitted:
    theta, data, watch = objective.theta, objective.data, search.watch
    state = watch.checkpoint.resumed or State(starts, seed=int(search.rng.randint(2**31 - 1)))
    evidence = SolvedEvidence(
        data,
        theta,
        objective.with_prior,
        dtype=torch.float32,
        tolerance=TRAINING_TOLERANCE,
        num_probes=NUM_PROBES,
        rank=RANK,
        seed=state.seed,
    )
    if state.newton is None:
        state, report = climb(objective, state, watch, plan)
        best = state.points[0]
    if state.newton is not None:
        best, report = ascend(evidence, state, watch)
    watch.progress.stage("what predictions need")
    theta.assign(best)
    noise, solver, error = _noise(objective, best), None, 0.0
    if MATRICES * BYTES * len(data.x) ** 2 > free_memory(data.x.device):
        solver = solver_for(
            theta.kernel,
            data,
            noise,
            dtype=torch.float64,
            tolerance=TOLERANCE,
            rank=RANK,
            seed=state.seed,
        ).measured()
        error = 0.5 * data.y.shape[1] * solver.measured_determinant().standard_error
    posterior = condition(theta.kernel, data, noise, solver)
    value = posterior.log_marginal_likelihood()
    if objective.with_prior:
        value += float(theta.log_priors(best[None])[0][0])
    jitter = posterior.factor.jitter
    report = replace(report, plan=plan, objective=value, starts=(value,), standard_error=error, jitter=jitter)
    return Fitted(best, posterior, report)
