"""Hyperparameters of a panel and its posterior, by the solver that the plan names."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from nonparam.checkpoint import NewtonState, State, checkpoint_at
from nonparam.kernels.strips import assemble
from nonparam.lbfgs import Minimum
from nonparam.multioutput.kronecker_panel import KroneckerPanel
from nonparam.multioutput.latent_kronecker import SolvedPanel, latent_solver
from nonparam.multioutput.masked_cholesky import masked_factor
from nonparam.multioutput.objective import PanelObjective
from nonparam.multioutput.panel import Panel
from nonparam.multioutput.posterior import PanelFactor, PanelPosterior, condition_panel
from nonparam.newton import SEARCHED, UNCERTIFIED, Watch, ascend, inverse_hessian
from nonparam.objective import MATRICES
from nonparam.processes import free_memory
from nonparam.progress import Progress
from nonparam.solvers.plan import BYTES, METHODS, Plan, choose, factorises
from nonparam.threads import threads_for
from nonparam.training import FitReport, maximise

__all__ = ["PANEL_SOLVERS", "PanelFit", "PanelSearch", "fit_panel", "plan_panel"]

Array = NDArray[np.float64]

PANEL_SOLVERS = ("auto", "cholesky", "kronecker", "cg")
SUBSET = 1500  # entries, or rows of a complete panel, that the search of a larger one begins with
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
    said = str(plan)
    if _begins_small(plan, objective.panel):
        subset = _subset(objective, search.seed)
        with threads_for(SUBSET):
            point, report = _searched(subset, search.starts, SUBSET_TOLERANCE, said, search.progress)
        search = replace(search, starts=point[None])
        if plan.solver == "cg" and not report.interrupted:
            try:
                return _by_solves(objective, subset, said, search)
            except UNCERTIFIED:
                if plan.otherwise is None:
                    raise
            said = f"{plan.otherwise}; {METHODS['cg']} were not certified"
        if report.interrupted:
            return PanelFit(point, _conditioned(objective, point), report)
    point, report = _searched(objective, search.starts, search.tolerance, said, search.progress)
    posterior = _conditioned(objective, point)
    return PanelFit(point, posterior, replace(report, jitter=posterior.factor.jitter))


def _begins_small(plan: Plan, panel: Panel) -> bool:
    if plan.solver == "kronecker":
        return panel.n > SUBSET
    return plan.solver == "cg" or panel.count > SEARCHED


def _subset(objective: PanelObjective, seed: int) -> PanelObjective:
    """Return the objective of some rows, which are as few as an exact search takes little time for."""
    panel = objective.panel
    rows = SUBSET if objective.solver == "kronecker" else SUBSET * panel.n // panel.count
    order = np.random.RandomState(seed).permutation(panel.n)[: max(rows, 2)]
    return replace(objective, panel=panel.rows(torch.from_numpy(order).to(panel.x.device)))


def _searched(
    objective: PanelObjective, starts: Array, tolerance: float, plan: str, progress: Progress
) -> tuple[Array, FitReport]:
    """Maximise from every start at once."""
    theta, best = objective.theta, np.inf
    progress.stage(f"{objective.panel.count:,} entries, exactly", tolerance)

    def tell(found: list[Minimum]) -> None:
        nonlocal best
        value = min(minimum.value for minimum in found)
        progress.step(max(minimum.steps for minimum in found), best - value)
        best = value

    return maximise(
        objective.negative,
        starts,
        theta.lower,
        theta.upper,
        scale=theta.step,
        plan=plan,
        tolerance=tolerance,
        on_step=tell,
        max_steps=max(LEAST_STEPS, STEPS * theta.size),
    )


def _conditioned(objective: PanelObjective, point: Array) -> PanelPosterior:
    """Condition by one factorisation at ``point (p,)``."""
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


def _by_solves(objective: PanelObjective, subset: PanelObjective, plan: str, search: PanelSearch) -> PanelFit:
    """Take Newton's steps with gradients by certified solves, from the maximum on a subset."""
    panel, theta, point = objective.panel, objective.theta, search.starts[0]
    count = subset.panel.count
    inverse = inverse_hessian(subset.negative, theta, point, count) * (count / panel.count)
    evidence = SolvedPanel.of(
        panel,
        theta,
        with_prior=objective.with_prior,
        dtype=torch.float32,
        tolerance=TRAINING_TOLERANCE,
        num_probes=NUM_PROBES,
        rank=RANK,
        seed=search.seed,
    )
    state = State(point[None], search.seed, NewtonState(point, inverse))
    with checkpoint_at(None, 0.0, {}) as nowhere:
        best, report = ascend(evidence, state, Watch(nowhere, search.progress))
    search.progress.stage("what predictions need")
    posterior, error = _after_solves(objective, best, search.seed)
    value = posterior.log_marginal_likelihood()
    if objective.with_prior:
        value += float(theta.log_priors(best[None])[0][0])
    jitter = posterior.factor.jitter
    report = replace(report, plan=plan, objective=value, starts=(value,), standard_error=error, jitter=jitter)
    return PanelFit(best, posterior, report)


def _after_solves(objective: PanelObjective, point: Array, seed: int) -> tuple[PanelPosterior, float]:
    """Condition by one factorisation where it fits, else by certified solves; return the LML's error too."""
    panel, theta = objective.panel, objective.theta
    if factorises(panel.count, free_memory(panel.x.device)):
        return _conditioned(objective, point), 0.0
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
