"""Gaussian process regression of several outputs that share information, with gaps."""

import copy
import time
import warnings
from dataclasses import replace
from typing import Any, Literal, Self

import gpytorch
import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, MultiOutputMixin, RegressorMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.validation import check_is_fitted

from nonparam.errors import InputError
from nonparam.kernels import with_amplitude
from nonparam.kernels.grammar import as_kernel
from nonparam.means import Mean
from nonparam.mixtures import starts_of
from nonparam.multioutput.coregionalisation import PanelTheta, correlations
from nonparam.multioutput.fitting import PANEL_SOLVERS, PanelSearch, fit_panel, plan_panel
from nonparam.multioutput.objective import PanelObjective
from nonparam.multioutput.panel import Panel
from nonparam.multioutput.prediction import PanelPredictionMixin
from nonparam.processes import is_first_process
from nonparam.progress import Progress
from nonparam.regression import PRIORS, RIDGE_TOLERANCE, TO_CONVERGE
from nonparam.regression import TOLERANCE as GAINED
from nonparam.scales import CONSTANT, initialise, measure, waits_for_period
from nonparam.threads import threads_for
from nonparam.training import FitReport
from nonparam.validation import (
    check_choice,
    check_count,
    check_device,
    check_kernel,
    check_numbers,
    check_outputs,
    check_scale,
    check_seed,
    check_table,
    check_verbose,
)

__all__ = ["MultiOutputGPRegressor"]

Array = NDArray[np.float64]

SHARED_GAIN = 1e-8  # nats gained in the last steps: loadings of many outputs have valleys


class MultiOutputGPRegressor(PanelPredictionMixin, RegressorMixin, MultiOutputMixin, BaseEstimator):  # type: ignore[misc]  # sklearn is untyped
    r"""Exact Gaussian process regression of several outputs that share information, with gaps.

    .. math::

        y_{io} = h(x_i)^\top \beta_o + f_o(x_i) + \varepsilon_{io}, \quad
        \mathrm{cov}(f_o(x), f_p(x')) = B_{op} \, k(x, x'), \quad \varepsilon_{io} \sim N(0, \sigma_o^2)

    with :math:`B \propto W W^\top + \mathrm{diag}(\kappa)` (intrinsic coregionalisation). Entries of ``y``
    that were not observed are NaN: an output is predicted from all others as well. Outputs may have units of
    their own. `GPRegressor` with several outputs shares hyperparameters only.

    Args:
        kernel: of the rows, as for `GPRegressor`.
        rank: of :math:`W`, at most the number of outputs, which ``"full"`` stands for.
        mean: ``"zero"``, ``"constant"`` or ``"linear"``, of each output its own; fitted by generalised least
            squares, its uncertainty counted in every prediction.
        noise: ``"learn"`` for one variance of each output; a known variance, or ``(t,)`` known ones.
        solver: ``"kronecker"`` for a table without gaps: an eigen-decomposition of the rows and one of the
            outputs; ``"cholesky"``, of all observed entries; ``"cg"``, conjugate gradients whose products use
            the structure of the table in spite of its gaps, each solve certified, hyperparameters to within
            the noise of the probes; or ``"auto"``: the first where there is no gap, the second up to 4,000
            observed entries, and the third beyond.
        n_restarts: searches besides the one that starts from the scale of the data.
        priors: ``"default"`` for weakly informative ones, or ``None`` (maximum likelihood).
        normalize_y: whether starting values and priors follow the variances of the outputs; else they take
            them to be 1.
        device: ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ...
        random_state: seed of the restarts, the subsets, the pivots and the probes.
        verbose: 1 to print the plan and the report; on a terminal a bar shows how far the search is.

    Attributes:
        kernel_: the kernel of the rows with its fitted values; its variances are relative to those of the
            outputs.
        coregionalisation_: ``(t, t)``, :math:`B` in the units of the outputs: the covariance of the functions
            is ``coregionalisation_[o, p] * kernel_(x, x')``.
        noise_: ``(t,)``, the noise variances, learnt or given, in units of the outputs squared.
        log_marginal_likelihood_: of the observed entries, in nats.
        posterior_: the outputs given the observed entries, centred and scaled.
        y_mean_: ``(t,)``, what was subtracted from each output.
        y_scale_: ``(t,)``, what each output was divided by.
        fit_report_: what was done, how long it took, whether it converged.
        theta_: the fitted free hyperparameters, logarithms of the positive ones.
        theta_names_: their names.
        n_features_in_: the number of columns of ``X``.
        feature_names_in_: their names, where ``X`` had some.

    Raises:
        InputError: data or arguments that no model can be fitted to, such as an output without a single
            observation; the message says what to change.
        InsufficientMemoryError: more entries than the memory holds.
        NotPositiveDefiniteError: a covariance that no admissible jitter repairs.

    Source: Goovaerts (1997), Geostatistics for natural resources evaluation, section 4.2; Bonilla, Chai and
    Williams (2008), Multi-task Gaussian process prediction, NIPS 20.

    Examples:
        >>> X = np.linspace(0.0, 6.0, 40)[:, None]
        >>> y = np.c_[np.sin(X[:, 0]), 10.0 * np.sin(X[:, 0]) + 3.0]
        >>> y[20:, 1] = np.nan
        >>> model = MultiOutputGPRegressor("rbf").fit(X, y)
        >>> filled = model.impute()
        >>> bool(np.abs(filled[20:, 1] - 10.0 * np.sin(X[20:, 0]) - 3.0).max() < 0.2)
        True
        >>> model.correlation_.round(2)
        array([[1., 1.],
               [1., 1.]])
    """

    def __init__(
        self,
        kernel: str | gpytorch.kernels.Kernel = "matern52",
        *,
        rank: int | Literal["full"] = 1,
        mean: Literal["zero", "constant", "linear"] = "constant",
        noise: float | ArrayLike | Literal["learn"] = "learn",
        solver: str = "auto",
        n_restarts: int = 0,
        priors: Literal["default"] | None = "default",
        normalize_y: bool = True,
        device: str = "auto",
        random_state: int | np.random.RandomState | None = None,
        verbose: int = 0,
    ) -> None:
        self.kernel = kernel
        self.rank = rank
        self.mean = mean
        self.noise = noise
        self.solver = solver
        self.n_restarts = n_restarts
        self.priors = priors
        self.normalize_y = normalize_y
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X: Any, y: Any) -> Self:
        """Learn the hyperparameters and condition on the observed entries.

        Args:
            X: ``(n, d)``.
            y: ``(n,)``, or ``(n, t)`` with NaN where an entry was not observed.

        Returns:
            The estimator. A ``ConvergenceWarning`` says that the search ended before it met a tolerance.
        """
        began = time.perf_counter()
        self._check_arguments()
        x = check_table(self, X, reset=True)
        outputs = check_outputs(y, len(x), allow_missing=True)
        self._one_output = outputs.ndim == 1
        table = outputs.reshape(len(x), -1)
        _check_observed(table)
        check_scale(x, np.nan_to_num(table))
        rank = self._checked_rank(table.shape[1])
        noise = self._checked_noise(table.shape[1])
        self._x, self._table = x, table
        seen = np.isfinite(table).any(1)
        x, table = x[seen], table[seen]
        self._center(table)
        device = check_device(self.device, len(x))
        with threads_for(int(np.isfinite(table).sum())):
            report = self._train(x, (table - self.y_mean_) / self.y_scale_, rank, noise, device)
        self.fit_report_ = replace(report, seconds=time.perf_counter() - began)
        if self.verbose and is_first_process():
            print(self.fit_report_)
        if not report.converged:
            said = f"the search for hyperparameters did not converge ({report.message}): {TO_CONVERGE}"
            warnings.warn(said, ConvergenceWarning, stacklevel=2)
        return self

    def _check_arguments(self) -> None:
        check_choice(self.solver, "solver", PANEL_SOLVERS)
        check_choice(self.priors, "priors", PRIORS)
        check_choice(self.normalize_y, "normalize_y", (True, False))
        check_count(self.n_restarts, "n_restarts")
        check_verbose(self.verbose)

    def _checked_rank(self, t: int) -> int:
        if isinstance(self.rank, str):
            check_choice(self.rank, "rank", ("full",))
            return t
        check_count(self.rank, "rank", least=1)
        if self.rank > t:
            raise InputError(
                f"rank must be at most the number of outputs ({t}) or 'full', got {self.rank!r}: their "
                "covariance has no larger one"
            )
        return int(self.rank)

    def _checked_noise(self, t: int) -> Array | None:
        """Return known noise variances ``(t,)``, or ``None`` where they are to be learnt."""
        if isinstance(self.noise, str):
            check_choice(self.noise, "noise", ("learn",))
            return None
        values = check_numbers(self.noise, "noise")
        if values.shape not in ((), (t,)):
            raise InputError(
                f"noise must be 'learn', one variance, or one for each output ({t}); got an array of shape "
                f"{values.shape}"
            )
        if not (np.isfinite(values) & (values > 0.0)).all():
            raise InputError(
                f"noise variances must be finite and positive, got {self.noise!r}: for next to none give a "
                "small one"
            )
        return np.broadcast_to(values, t).astype(np.float64)

    def _center(self, table: Array) -> None:
        """Set what is subtracted from each output and what it is divided by."""
        centre = np.nanmean(table, axis=0)
        spread = np.sqrt(np.nanmean((table - centre) ** 2, axis=0))
        size = np.abs(centre)
        constant = np.where(size > 0.0, size, 1.0)  # an output without a spread: its size stands for it
        self.y_mean_ = centre if self.mean != "zero" else np.zeros_like(centre)
        many = table.shape[1] > 1 and self.normalize_y
        self.y_scale_ = np.where(spread > CONSTANT * size, spread, constant) if many else np.ones_like(centre)

    def _train(
        self, x: Array, table: Array, rank: int, noise: Array | None, device: torch.device
    ) -> FitReport:
        """Learn the hyperparameters from outputs that are centred and scaled."""
        rng = check_seed(self.random_state)
        rows, verbose = torch.tensor(x, device=device), bool(self.verbose) and is_first_process()
        thetas, mean = self._thetas(x, table, rank, noise, rng)
        theta = thetas[0]
        self.kernel_ = theta.kernel.to(device)
        check_kernel(self.kernel_, rows[:1])
        panel = Panel(rows, torch.tensor(table, device=device), mean.to(device))
        plan = plan_panel(self.solver, panel)
        if verbose:
            print(plan)
        drawn = theta.starting_points(self.n_restarts, rng)
        starts = np.concatenate([drawn[:1], *(other.start[None] for other in thetas[1:]), drawn[1:]])
        exact = "cholesky" if plan.solver == "cg" else plan.solver
        objective = PanelObjective(panel, theta, self.priors == "default", exact)
        tolerance = RIDGE_TOLERANCE if self.priors is None else SHARED_GAIN if theta.rank else GAINED
        with Progress(verbose) as progress:
            search = PanelSearch(starts, int(rng.randint(2**31 - 1)), tolerance, progress)
            found = fit_panel(objective, plan, search)
        self._objective = replace(objective)  # without the memory of the search
        self.theta_, self.theta_names_, self.posterior_ = found.point, theta.names, found.posterior
        self.noise_ = theta.noise(found.point) * self.y_scale_**2 if noise is None else noise
        self.coregionalisation_ = theta.b(found.point) * np.outer(self.y_scale_, self.y_scale_)
        self.log_marginal_likelihood_ = self.posterior_.log_marginal_likelihood() - self._change_of_units
        return found.report

    def _thetas(
        self, x: Array, table: Array, rank: int, noise: Array | None, rng: np.random.RandomState
    ) -> tuple[list[PanelTheta], Mean]:
        """Return the hyperparameters, each where a search begins, and the mean function."""
        kernel, weights = with_amplitude(as_kernel(self.kernel)).double(), np.ones(len(x))
        filled, cyclic = np.nan_to_num(table), waits_for_period(kernel)
        scales = measure(x, filled, weights, normalize_y=self.normalize_y, find_periods=cyclic)
        if table.shape[1] > 1:
            scales = replace(scales, y_variance=1.0)  # of what is observed: gaps are filled with the mean
        known = None if noise is None else noise / self.y_scale_**2
        correlation, informative, thetas = correlations(table), self.priors == "default", []
        for start in starts_of(kernel, x, filled, weights, rng):
            initialise(start, scales)
            thetas.append(PanelTheta(start, scales, correlation, rank, known, informative=informative))
        return thetas, Mean.from_scales(self.mean, scales)

    @property
    def _change_of_units(self) -> float:
        """What the log density of the observed entries loses in their own units."""
        seen = np.isfinite(self._table).sum(0)
        return float(seen @ np.log(self.y_scale_))

    @property
    def correlation_(self) -> Array:
        """The correlations of the outputs' functions at the same row, ``(t, t)``."""
        check_is_fitted(self)
        sd = np.sqrt(np.diagonal(self.coregionalisation_))
        return np.asarray(np.clip(self.coregionalisation_ / np.outer(sd, sd), -1.0, 1.0))

    @property
    def num_parameters_(self) -> int:
        """How many hyperparameters were learnt, and coefficients of the means fitted."""
        check_is_fitted(self)
        return len(self.theta_) + self.posterior_.panel.basis.shape[1]

    def log_marginal_likelihood(self, theta: ArrayLike | None = None, eval_gradient: bool = False) -> Any:
        """Return the log marginal likelihood of hyperparameters.

        Args:
            theta: ``(p,)``, in the order of ``theta_names_``; the fitted ones by default.
            eval_gradient: whether to return the gradient too.

        Returns:
            A number of nats; with ``eval_gradient`` also ``(p,)`` derivatives. Minus infinity and zeros where
            the covariance has no factor, or a number is beyond what a float holds.

        Raises:
            InputError: another number of hyperparameters, or such that are not finite.
            InsufficientMemoryError: other hyperparameters of a model that was fitted by solves, where the
                matrix that they are evaluated with, exactly, does not fit.
        """
        check_is_fitted(self)
        if theta is None and not eval_gradient:
            return self.log_marginal_likelihood_
        point = self.theta_ if theta is None else check_numbers(theta, "theta")
        if point.shape != self.theta_.shape:
            raise InputError(
                f"theta must have {len(self.theta_)} entries {self.theta_names_}, got {point.shape}"
            )
        if not np.isfinite(point).all():
            raise InputError(f"theta must be finite, got {theta!r}")
        objective = copy.deepcopy(self._objective)
        plan_panel(objective.solver, objective.panel)
        with threads_for(objective.panel.count):
            value, slope = objective.log_marginal_likelihood(point)
        value -= self._change_of_units
        return (value, slope) if eval_gradient else value

    def __sklearn_tags__(self) -> Any:
        """Return what scikit-learn's checks need to know."""
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags


def _check_observed(table: Array) -> None:
    """Raise `InputError` for an output ``(n, t)`` without a single observation."""
    empty = np.flatnonzero(~np.isfinite(table).any(0))
    if len(table) and len(empty):
        raise InputError(
            f"Input y contains NaN in every row of output {empty[0]} ({len(table)} rows), which has no "
            "observation: leave that column out, or give at least one value"
        )
