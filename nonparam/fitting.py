"""Hyperparameters and the posterior, by the solver that the plan names."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from nonparam.checkpoint import State
from nonparam.errors import InsufficientMemoryError
from nonparam.interpolation import check_interpolable
from nonparam.newton import (
    SEARCHED,
    UNCERTIFIED,
    Watch,
    ascend,
    ascend_exactly,
    climb,
    maximise_watched,
)
from nonparam.objective import Data, Objective
from nonparam.posterior import Posterior, condition
from nonparam.processes import free_memory
from nonparam.shortage import is_out_of_memory, sparing
from nonparam.solvers.certified import CertifiedSolver
from nonparam.solvers.plan import INSTEAD, METHODS, Plan, factorises
from nonparam.solves import SolvedEvidence, solver_for
from nonparam.structured import StructuredObjective, structured_factor, with_structure
from nonparam.theta import Theta
from nonparam.training import FitReport

__all__ = ["Fitted", "Search", "fit"]

Array = NDArray[np.float64]

NUM_PROBES = 8  # for the trace: more lower the noise of the gradient, which a Newton step averages
RANK = 500  # of the preconditioner: benchmarks/scale.py
TRAINING_TOLERANCE = 1e-3  # of the residuals while hyperparameters are learnt: with 1e-2, 7 nats were lost
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
        others: points ``(p,)`` to start from besides that of the scale of the data.
    """

    n_restarts: int
    rng: np.random.RandomState
    tolerance: float
    watch: Watch
    others: Sequence[Array] = ()


def fit(objective: Objective, plan: Plan, search: Search) -> Fitted:
    """Learn the hyperparameters and condition on the data.

    Where memory runs out, conjugate gradients no longer keep tiles, and a factorisation gives way to them;
    where these cannot be certified they give way to it. One turns to the other only as the plan allows.

    Args:
        objective: of all rows.
        plan: names the solver.
        search: how the hyperparameters are looked for.

    Raises:
        ConvergenceError: the objective is finite at no start, or a solve could not be certified.
        InsufficientMemoryError: memory ran out, whatever was tried.
        NotPositiveDefiniteError: a covariance that no admissible jitter repairs.
    """
    drawn = objective.theta.starting_points(search.n_restarts, search.rng)
    starts = np.concatenate([drawn[:1], *(other[None] for other in search.others), drawn[1:]])
    failures = ""
    while True:
        try:  # a copy: what it keeps between evaluations goes with it
            return _fit(replace(objective), starts, plan, f"{plan}{failures}", search)
        except (MemoryError, RuntimeError, ArithmeticError) as error:
            turned, failure = _turned(plan, error)
            failures += failure
            if turned is None:
                if is_out_of_memory(error):
                    raise _exhausted(len(objective.data.x), failures) from error
                raise
        plan = turned


def _turned(plan: Plan, error: Exception) -> tuple[Plan | None, str]:
    """Return the plan to turn to after an error, and what to say of it."""
    if is_out_of_memory(error):
        tiles = ", without kept tiles too," if plan.solver == "cg" else ""
        turned = plan.otherwise if plan.solver != "cg" else None
        return turned, f"; {METHODS[plan.solver]}{tiles} ran out of memory"
    uncertified = isinstance(error, UNCERTIFIED) and plan.solver == "cg"
    return plan.otherwise if uncertified else None, f"; {METHODS[plan.solver]} were not certified"


def _exhausted(n: int, failures: str) -> InsufficientMemoryError:
    return InsufficientMemoryError(f"{n:,} rows are more than the memory holds{failures}: {INSTEAD}")


def _fit(objective: Objective, starts: Array, plan: Plan, said: str, search: Search) -> Fitted:
    interpolated = plan.solver == "ski"
    if interpolated:
        check_interpolable(objective.theta.kernel, objective.data.x)
    by_solves = partial(_by_solves, interpolated=interpolated)
    by = by_solves if plan.solver in ("cg", "ski") else _by_factorisation
    objective = with_structure(objective, plan.solver)
    return by(objective, starts, said, search)


def _noise(objective: Objective, theta: Array) -> float:
    return float(np.exp(theta[-1])) if objective.theta.learns_noise else 0.0


def _by_factorisation(objective: Objective, starts: Array, plan: str, search: Search) -> Fitted:
    theta = objective.theta
    state = search.watch.checkpoint.resumed or State(starts, seed=int(search.rng.randint(2**31 - 1)))
    quick = isinstance(objective, StructuredObjective) and not objective.structure.is_quadratic
    if len(objective.data.x) > SEARCHED and not quick:
        best, report = _from_subsets(objective, state, plan, search.watch)
    else:
        best, report = maximise_watched(objective, state, search.watch, plan=plan, tolerance=search.tolerance)
    theta.assign(best)
    noise, factor = _noise(objective, best), None
    if isinstance(objective, StructuredObjective):
        factor = structured_factor(objective.structure, theta.kernel, objective.data, noise)
    posterior = condition(theta.kernel, objective.data, noise, factor)
    return Fitted(best, posterior, replace(report, jitter=posterior.factor.jitter))


def _from_subsets(objective: Objective, state: State, plan: str, watch: Watch) -> tuple[Array, FitReport]:
    """Maximise on subsets, then by a few exact Newton's steps on all rows."""
    if state.newton is None:
        subsets = objective.without_structure() if isinstance(objective, StructuredObjective) else objective
        state, report = climb(subsets, state, watch, plan)
        best = state.points[0]
    if state.newton is not None:
        best, report = ascend_exactly(objective, state, watch)
    return best, replace(report, plan=plan)


def _by_solves(
    objective: Objective, starts: Array, plan: str, search: Search, *, interpolated: bool
) -> Fitted:
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
        interpolated=interpolated,
    )

    if state.newton is None:
        state, report = climb(objective, state, watch, plan)
        best = state.points[0]
    if state.newton is not None:
        at = state
        best, report = sparing(lambda keep: ascend(replace(evidence, keep=keep), at, watch))
    watch.progress.stage("what predictions need")
    theta.assign(best)
    posterior = _conditioned(theta, data, _noise(objective, best), state.seed, interpolated)
    factor, error = posterior.factor, 0.0
    if isinstance(factor, CertifiedSolver):
        error = 0.5 * data.y.shape[1] * factor.measured_determinant().standard_error
        plan = f"{plan}; {factor.matrix}" if interpolated else plan
    value = posterior.log_marginal_likelihood()
    if objective.with_prior:
        value += float(theta.log_priors(best[None])[0][0])
    jitter = posterior.factor.jitter
    report = replace(report, plan=plan, objective=value, starts=(value,), standard_error=error, jitter=jitter)
    return Fitted(best, posterior, report)


def _conditioned(theta: Theta, data: Data, noise: float, seed: int, interpolated: bool) -> Posterior:
    """Condition on the data by one factorisation where it fits, else by certified solves."""

    def by_solves(keep: bool) -> Posterior:
        solver = solver_for(
            theta.kernel,
            data,
            noise,
            dtype=torch.float64,
            tolerance=TOLERANCE,
            rank=RANK,
            seed=seed,
            interpolated=interpolated,
            keep=keep,
        )
        return condition(theta.kernel, data, noise, solver.measured())

    if not interpolated and factorises(len(data.x), free_memory(data.x.device)):
        try:
            return condition(theta.kernel, data, noise)
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
    return sparing(by_solves)
