"""Hyperparameters and the posterior, by the solver that the plan names."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from nonparam.newton import ascend, climb
from nonparam.objective import Objective
from nonparam.posterior import Posterior, condition
from nonparam.solvers.plan import BYTES, Plan, free_memory
from nonparam.solves import SolvedEvidence, solver_for
from nonparam.training import FitReport, maximise

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
        verbose: whether the steps of an iterative search are printed.
    """

    n_restarts: int
    rng: np.random.RandomState
    tolerance: float
    verbose: bool = False


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
    by = _by_factorisation if plan.solver == "cholesky" else _by_solves
    return by(objective, starts, str(plan), search)


def _noise(objective: Objective, theta: Array) -> float:
    return float(np.exp(theta[-1])) if objective.theta.learns_noise else 0.0


def _by_factorisation(objective: Objective, starts: Array, plan: str, search: Search) -> Fitted:
    theta = objective.theta
    best, report = maximise(
        objective.negative,
        starts,
        theta.lower,
        theta.upper,
        scale=theta.step,
        plan=plan,
        tolerance=search.tolerance,
    )
    theta.assign(best)
    posterior = condition(theta.kernel, objective.data, _noise(objective, best))
    return Fitted(best, posterior, replace(report, jitter=posterior.factor.jitter))


def _print_step(step: int, promised: float, residual: float) -> None:
    print(f"step {step}: {promised:.2g} nats ahead, largest relative residual {residual:.1e}", flush=True)


def _by_solves(objective: Objective, starts: Array, plan: str, search: Search) -> Fitted:
    theta, data = objective.theta, objective.data
    seed = int(search.rng.randint(2**31 - 1))
    evidence = SolvedEvidence(
        data,
        theta,
        objective.with_prior,
        dtype=torch.float32,
        tolerance=TRAINING_TOLERANCE,
        num_probes=NUM_PROBES,
        rank=RANK,
        seed=seed,
    )
    begin = climb(objective, starts, search.rng, plan)
    best, report = ascend(evidence, begin, on_step=_print_step if search.verbose else None)
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
            seed=seed,
        ).measured()
        error = 0.5 * data.y.shape[1] * solver.measured_determinant().standard_error
    posterior = condition(theta.kernel, data, noise, solver)
    value = posterior.log_marginal_likelihood()
    if objective.with_prior:
        value += float(theta.log_priors(best[None])[0][0])
    jitter = posterior.factor.jitter
    report = replace(report, plan=plan, objective=value, starts=(value,), standard_error=error, jitter=jitter)
    return Fitted(best, posterior, report)
