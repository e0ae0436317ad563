"""Hyperparameters of a panel and its posterior, by the solver that the plan names."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from nonparam.checkpoint import NewtonState, State, checkpoint_at
from nonparam.kernels.strips import assemble
from nonparam.multioutput.kronecker_panel import KroneckerPanel
from nonparam.multioutput.latent_kronecker import SolvedPanel, latent_solver
from nonparam.multioutput.masked_cholesky import masked_factor
from nonparam.multioutput.objective import PanelObjective
from nonparam.multioutput.panel import Panel
from nonparam.multioutput.posterior import PanelFactor, PanelPosterior, condition_panel
from nonparam.newton import (
    SEARCHED,
    UNCERTIFIED,
    Watch,
    ascend,
    ascend_exactly,
    inverse_hessian,
    maximise_watched,
)
from nonparam.objective import MATRICES
from nonparam.processes import free_memory
from nonparam.progress import Progress
from nonparam.solvers.plan import BYTES, METHODS, Plan, choose, factorises
from nonparam.threads import threads_for
from nonparam.training import FitReport

__all__ = ["PANEL_SOLVERS", "PanelFit", "PanelSearch", "factorised", "fit_panel", "plan_panel"]

Array = NDArray[np.float64]

PANEL_SOLVERS = ("auto", "cholesky", "kronecker", "cg")
SUBSET = 1500  # entries that the search of a larger panel with gaps begins with
SUBSET_ROWS, WHOLE_ROWS = 500, 1000  # rows, the same of complete panels of more than the second
SUBSET_TOLERANCE = 1e-3  # nats
LEAST_STEPS, STEPS = 200, 3  # of an exact search at most, and the same for each hyperparameter
NUM_PROBES = 8  # as in `nonparam.fitting`, like the three that follow
RANK = 500
TRAINING_TOLERANCE = 1e-3
TOLERANCE = 1e-6
EIGEN_MATRICES = 8  # of n x n at the peak of an eigen-decomposition and its derivatives


@dataclass(frozen=True)
class PanelFit:
    """What training found.

    Attributes:
        point: ``(p,)``, the free hyperparameters.
        posterior: the outputs given the observed entries.
        report: what was done.
    """

    point: Array
    posterior: PanelPosterior
    report: FitReport


@dataclass(frozen=True)
class PanelSearch:
    """How hyperparameters are looked for.

    Attributes:
        starts: ``(b, p)``.
        seed: of the subset, the pivots and the probes.
        tolerance: nats gained in the last steps of an exact search.
        progress: is told of every step.
    """

    starts: Array
    seed: int
    tolerance: float
    progress: Progress


def plan_panel(solver: str, panel: Panel) -> Plan:
    """Choose a solver for a panel, or say why there is none.

    Args:
        solver: one of `PANEL_SOLVERS`.
        panel: what is observed.

    Returns:
        The plan; its rows are the observed entries.

    Raises:
        InputError: ``"kronecker"`` for a panel with gaps.
        InsufficientMemoryError: what does not fit.
    """
    n, count, device = panel.n, panel.count, panel.x.device
    if panel.is_complete and (solver == "kronecker" or (solver == "auto" and panel.t > 1)):
        memory = BYTES * (EIGEN_MATRICES * n * n + 4 * panel.basis.numel())
        if solver == "kronecker" or memory <= free_memory(device):
            structure = Plan("kronecker", count, memory)
            return choose("kronecker", count, MATRICES, device, structure=structure)
    quicker = "cg" if count > SEARCHED else "cholesky"
    return choose(solver, count, MATRICES, device, quicker=quicker)


def fit_panel(objective: PanelObjective, plan: Plan, search: PanelSearch) -> PanelFit:
    """Learn the hyperparameters and condition on the observed entries.

    Args:
        objective: of the whole panel, exactly.
        plan: names the solver.
        search: how the hyperparameters are looked for.

    Raises:
        ConvergenceError: the objective is finite at no start, or a solve could not be certified.
        NotPositiveDefiniteError: a covariance that no admissible jitter repairs.
    """
    with checkpoint_at(None, 0.0, {}) as nowhere:
        watch, said = Watch(nowhere, search.progress), str(plan)
        if not _begins_small(plan, objective.panel):
            return _conditioned(objective, *_searched(objective, search, search.tolerance, watch, said))
        subset = _subset(objective, search.seed)
        with threads_for(subset.n):
            point, report = _searched(subset, search, SUBSET_TOLERANCE, watch, said)
            if report.interrupted:
                return _conditioned(objective, point, report)
            inverse = inverse_hessian(subset, point) * (subset.n / objective.n)
        state = State(point[None], search.seed, NewtonState(point, inverse))
        if plan.solver == "cg":
            try:
                return _by_solves(objective, state, watch, said)
            except UNCERTIFIED:
                if plan.otherwise is None:
                    raise
            said = f"{plan.otherwise}; {METHODS['cg']} were not certified"
        point, report = ascend_exactly(objective, state, watch)
        return _conditioned(objective, point, replace(report, plan=said))


def _begins_small(plan: Plan, panel: Panel) -> bool:
    if plan.solver == "kronecker":
        return panel.n > WHOLE_ROWS
    return plan.solver == "cg" or panel.count > SEARCHED


def _subset(objective: PanelObjective, seed: int) -> PanelObjective:
    """Return the objective of some rows, which are as few as an exact search takes little time for."""
    panel = objective.panel
    rows = SUBSET_ROWS if objective.solver == "kronecker" else SUBSET * panel.n // panel.count
    order = np.random.RandomState(seed).permutation(panel.n)[: max(rows, 2)]
    return replace(objective, panel=panel.rows(torch.from_numpy(order).to(panel.x.device)))


def _searched(
    objective: PanelObjective, search: PanelSearch, tolerance: float, watch: Watch, plan: str
) -> tuple[Array, FitReport]:
    """Maximise from every start at once."""
    most = max(LEAST_STEPS, STEPS * objective.theta.size)
    state = State(search.starts, search.seed)
    return maximise_watched(objective, state, watch, plan=plan, tolerance=tolerance, max_steps=most)


def _conditioned(objective: PanelObjective, point: Array, report: FitReport) -> PanelFit:
    """Return the fit, conditioned by one factorisation."""
    posterior = factorised(objective, point)
    return PanelFit(point, posterior, replace(report, jitter=posterior.factor.jitter))


def factorised(objective: PanelObjective, point: Array) -> PanelPosterior:
    """Condition on the observed entries at ``point (p,)`` by one factorisation."""
    panel, theta = objective.panel, objective.theta
    b, noise = theta.tensors(point, panel.x)
    with torch.no_grad():
        k = assemble(theta.kernel, panel.x).matrix
    factor: PanelFactor
    if objective.solver == "kronecker":
        factor = KroneckerPanel.of(b, noise, k)
    else:
        factor = masked_factor(panel, b, noise, k)
    return condition_panel(theta.kernel, panel, b, noise, factor)


def _by_solves(objective: PanelObjective, state: State, watch: Watch, plan: str) -> PanelFit:
    """Take Newton's steps with gradients by certified solves, from the maximum on a subset."""
    evidence = SolvedPanel.of(
        objective.panel,
        objective.theta,
        with_prior=objective.with_prior,
        dtype=torch.float32,
        tolerance=TRAINING_TOLERANCE,
        num_probes=NUM_PROBES,
        rank=RANK,
        seed=state.seed,
    )
    best, report = ascend(evidence, state, watch)
    watch.progress.stage("what predictions need")
    posterior, error = _after_solves(objective, best, state.seed)
    value = posterior.log_marginal_likelihood()
    if objective.with_prior:
        value += float(objective.theta.log_priors(best[None])[0][0])
    jitter = posterior.factor.jitter
    report = replace(report, plan=plan, objective=value, starts=(value,), standard_error=error, jitter=jitter)
    return PanelFit(best, posterior, report)


def _after_solves(objective: PanelObjective, point: Array, seed: int) -> tuple[PanelPosterior, float]:
    """Condition by one factorisation where it fits, else by certified solves; return the LML's error too."""
    panel, theta = objective.panel, objective.theta
    if factorises(panel.count, free_memory(panel.x.device)):
        return factorised(objective, point), 0.0
    b, noise = theta.tensors(point, panel.x)
    solver = latent_solver(
        panel,
        theta.kernel,
        b,
        noise,
        dtype=torch.float64,
        tolerance=TOLERANCE,
        rank=RANK,
        seed=seed,
    ).measured()
    error = 0.5 * solver.measured_determinant().standard_error
    return condition_panel(theta.kernel, panel, b, noise, solver), error
