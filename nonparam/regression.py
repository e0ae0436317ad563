"""Gaussian process regression behind scikit-learn's API."""

import os
import time
import warnings
from dataclasses import replace
from typing import Any, ClassVar, Literal, Self

import gpytorch
import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, MultiOutputMixin, RegressorMixin
from sklearn.exceptions import ConvergenceWarning
from torch import Tensor

from nonparam.checkpoint import checkpoint_at
from nonparam.errors import InputError
from nonparam.fitting import Fitted, Search, fit
from nonparam.kernels import with_amplitude
from nonparam.kernels.grammar import as_kernel, parse
from nonparam.latent_regression import ResponseMixin
from nonparam.likelihoods.base import ResponseLikelihood
from nonparam.means import Mean
from nonparam.mixtures import starts_of
from nonparam.model_selection.held_out import HeldOutRows
from nonparam.newton import Watch
from nonparam.objective import Data, Objective
from nonparam.planning import TIMED_ROWS, plan_for
from nonparam.processes import is_first_process
from nonparam.progress import Progress
from nonparam.scales import (
    initialise,
    measure,
    output_scales,
    waits_for_period,
)
from nonparam.solvers.plan import SOLVERS, Plan, choose
from nonparam.threads import threads_for
from nonparam.training import FitReport
from nonparam.validation import (
    check_choice,
    check_count,
    check_device,
    check_kernel,
    check_minutes,
    check_noise,
    check_outputs,
    check_scale,
    check_seed,
    check_table,
    check_verbose,
    check_weights,
)

__all__ = ["GPRegressor"]

Array = NDArray[np.float64]

PRIORS = ("default", None)
TOLERANCE = 1e-11  # nats gained in the last steps of training
TO_CONVERGE = "try noise='learn', a larger noise, n_restarts, or a kernel with fewer hyperparameters"
TO_GO_ON = "to go on, fit again, with checkpoint= from where it stopped"
RIDGE_TOLERANCE = 1e-4  # without priors a useless column's lengthscale creeps to infinity for ever


class GPRegressor(ResponseMixin, RegressorMixin, MultiOutputMixin, BaseEstimator):  # type: ignore[misc]  # sklearn is untyped
    r"""Exact Gaussian process regression, with hyperparameters learnt from the evidence.

    .. math:: y_i = h(x_i)^\top \beta + f(x_i) + \varepsilon_i, \quad f \sim GP(0, k), \quad
              \varepsilon_i \sim N(0, \sigma^2 / w_i)

    Everything is in your units: lengthscales in those of the columns of ``X``, variances in those of ``y``
    squared, likelihoods in nats. Give ``X`` as it is; starting values and priors follow its scale.

    Args:
        kernel: a formula such as ``"matern52"`` or ``"linear + periodic(12) * rbf"``, a kernel of
            `nonparam.kernels`, or any GPyTorch kernel. A term without a variance of its own gets one.
        mean: ``"zero"``, ``"constant"`` or ``"linear"``; fitted by generalised least squares, its
            uncertainty counted in every prediction.
        noise: ``"learn"``, a known variance, or one known variance per row of ``X``.
        solver: ``"cholesky"``; ``"cg"``, conjugate gradients, each solve certified, hyperparameters to within
            the noise of the probes; ``"ski"``, the same with a stationary kernel of up to three columns
            interpolated from a grid, to within a deviation that the report states; ``"state_space"`` for
            sums of half-integer Matérn kernels of one column, ``"toeplitz"`` for stationary kernels on a
            regular grid of one column, ``"kronecker"`` for products of kernels on a product grid; or
            ``"auto"``: such a structure where it is there and faster, else Cholesky, and above 4,000 rows
            conjugate gradients where they are predicted to take less than half of its time, or where it
            does not fit the memory; see `plan`.
        objective: what is maximised: ``"lml"``, the log marginal likelihood; ``"loo"``, the log density of
            each row given all others; ``"clml"``, that of a tenth of the rows, two at least, given the
            others, a mean over 20 random orders. All in nats per row times rows, so that priors weigh the
            same. The latter two count each row once, whatever its weight, and are maximised with
            ``solver="cholesky"``.
        likelihood: of the observations given the function: ``"gaussian"``, or another by its name or from
            `nonparam.likelihoods`. The posterior is approximated then, by factorisations or, with ``"cg"``,
            by solves; the mean has broad priors, ``noise`` is of the likelihood, and ``normalize_y`` of no
            effect. Counts may have a second column in ``y``, their exposure; successes the number of trials.
        inference: how, with such a likelihood: ``"variational"``, the Gaussian that is nearest in divergence;
            ``"laplace"``, one at the mode, where there is only one; or ``"auto"``: ``"variational"``, and
            with ``"cg"``, or where matrices do not fit the memory, ``"laplace"``.
        n_restarts: searches besides the one that starts from the scale of the data.
        priors: ``"default"`` for weakly informative ones (maximum a posteriori), or ``None`` (maximum
            likelihood).
        normalize_y: whether starting values and priors follow the variance of ``y``; else they take it to
            be 1.
        device: ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ...
        random_state: seed of the restarts.
        verbose: 1 to print the plan and the report; on a terminal a bar shows how far the search is.
        checkpoint: path of a file in which a fit keeps where its search stands. After a kill, an error or
            Ctrl-C, fit again with the same data, arguments and path, and the search goes on from there, with
            the seeds of the file. The file is deleted when the fit is done.
        checkpoint_minutes: between two states that are written; one is also written between the stages.

    Attributes:
        kernel_: the kernel with its fitted values; prints as a formula. With several outputs its variances
            are relative to those of the outputs.
        noise_: the noise variance, learnt or given; learnt with several outputs, relative as in ``kernel_``.
        log_marginal_likelihood_: of the data, in nats.
        posterior_: the process given the data.
        y_mean_: what was subtracted from each output.
        y_scale_: what each output was divided by; 1 for a single one, or where the noise is known.
        fit_report_: what was done, how long it took, whether it converged.
        theta_: the fitted free hyperparameters, logarithms of the positive ones.
        theta_names_: their names.
        n_features_in_: the number of columns of ``X``.
        feature_names_in_: their names, where ``X`` had some.

    Raises:
        InputError: data or arguments that no model can be fitted to; the message says what to change.
        FileFormatError: a checkpoint that is damaged, of another program or of another version.
        InsufficientMemoryError: more rows than the memory holds, before anything is allocated; or memory that
            runs out although the plan fits, after what needs less was tried.
        NotPositiveDefiniteError: a covariance that no admissible jitter repairs.

    Source: Rasmussen and Williams (2006), Gaussian processes for machine learning, chapters 2 and 5.

    Examples:
        >>> X = np.linspace(0.0, 6.0, 25)[:, None]
        >>> y = np.sin(X[:, 0])
        >>> model = GPRegressor("rbf").fit(X, y)
        >>> mean, sd = model.predict([[3.0]], return_std=True)
        >>> bool(abs(mean[0] - np.sin(3.0)) < 0.01), bool(sd[0] < 0.05)
        (True, True)
    """

    objectives: ClassVar[tuple[str, ...]] = ("lml", "clml", "loo")
    also_saved: ClassVar[tuple[str, ...]] = ()  # fitted attributes that a subclass adds to files

    def __init__(
        self,
        kernel: str | gpytorch.kernels.Kernel = "matern52",
        *,
        mean: Literal["zero", "constant", "linear"] = "constant",
        noise: float | ArrayLike | Literal["learn"] = "learn",
        solver: str = "auto",
        objective: str = "lml",
        likelihood: str | ResponseLikelihood = "gaussian",
        inference: Literal["auto", "laplace", "variational"] = "auto",
        n_restarts: int = 0,
        priors: Literal["default"] | None = "default",
        normalize_y: bool = True,
        device: str = "auto",
        random_state: int | np.random.RandomState | None = None,
        verbose: int = 0,
        checkpoint: str | os.PathLike[str] | None = None,
        checkpoint_minutes: float = 5.0,
    ) -> None:
        self.kernel = kernel
        self.mean = mean
        self.noise = noise
        self.solver = solver
        self.objective = objective
        self.likelihood = likelihood
        self.inference = inference
        self.n_restarts = n_restarts
        self.priors = priors
        self.normalize_y = normalize_y
        self.device = device
        self.random_state = random_state
        self.verbose = verbose
        self.checkpoint = checkpoint
        self.checkpoint_minutes = checkpoint_minutes

    def fit(self, X: Any, y: Any, sample_weight: ArrayLike | None = None) -> Self:
        """Learn the hyperparameters and condition on the data.

        Args:
            X: ``(n, d)``.
            y: ``(n,)``, or ``(n, t)`` for several outputs that share the kernel.
            sample_weight: ``(n,)``; a weight of 2 is the same as the row given twice, unless the kernel has a
                `WhiteNoise` term: a row has one draw of that, which its weight does not average out.

        Returns:
            The estimator. A ``ConvergenceWarning`` says that the search ended before it met a tolerance.
        """
        self._forget_response()
        if not (isinstance(self.likelihood, str) and self.likelihood == "gaussian"):
            fitted: Self = self._fit_response(X, y, sample_weight)
            return fitted
        return self._fit(self.kernel, X, y, sample_weight)

    def _fit(
        self, given: str | gpytorch.kernels.Kernel, X: Any, y: Any, sample_weight: ArrayLike | None
    ) -> Self:
        """Fit a given kernel: an estimator that composes its own has none among its arguments."""
        began = time.perf_counter()
        self._check_arguments()
        x = check_table(self, X, reset=True)
        outputs = check_outputs(y, len(x))
        weights = check_weights(sample_weight, x)
        noise = check_noise(self.noise, len(x))
        counted = weights > 0.0
        if isinstance(noise, np.ndarray):
            noise = noise[counted]
        self._one_output = outputs.ndim == 1
        x, table, weights = x[counted], outputs.reshape(len(x), -1)[counted], weights[counted]
        check_scale(x, table)
        kernel = with_amplitude(as_kernel(given)).double()
        device = check_device(self.device, len(x))
        plan = self._plan(kernel, torch.from_numpy(x), weights, noise, device)
        verbose = bool(self.verbose) and is_first_process()
        if verbose:
            print(plan)
        scaled = self.normalize_y and noise is None  # known noise is in units of y: so is all else then
        self.y_scale_ = output_scales(table, weights) if scaled else np.ones(table.shape[1])
        centred = 0.0 if self.mean == "zero" else np.average(table, axis=0, weights=weights)
        self.y_mean_ = np.zeros(table.shape[1]) + centred  # the mean's own fit starts from here
        problem = self._problem(kernel, x, table, weights, noise)
        with (
            checkpoint_at(self.checkpoint, self.checkpoint_minutes, problem) as checkpoint,
            Progress(verbose) as progress,
            threads_for(len(x)),
        ):
            watch = Watch(checkpoint, progress)
            report = self._train(kernel, x, table, weights, noise, device, plan, watch)
            if not report.interrupted:
                checkpoint.remove()
        self.fit_report_ = replace(report, seconds=time.perf_counter() - began)
        if verbose:
            print(self.fit_report_)
        if not report.converged:
            said = f"the search for hyperparameters did not converge ({report.message}): "
            said += TO_GO_ON if report.interrupted else TO_CONVERGE
            warnings.warn(said, ConvergenceWarning, stacklevel=3)
        return self

    def _problem(
        self,
        kernel: gpytorch.kernels.Kernel,
        x: Array,
        y: Array,
        weights: Array,
        noise: float | Array | None,
    ) -> dict[str, Any]:
        """Return what must be the same for a checkpoint to be of use."""
        names = ("mean", "objective", "n_restarts", "priors", "normalize_y")
        arguments = {name: getattr(self, name) for name in names}
        data = [x, y, weights, noise]
        return {"data": data, "kernel": kernel, "arguments": arguments, "solver": self.solver}

    def _plan(
        self,
        kernel: gpytorch.kernels.Kernel,
        x: Tensor,
        weights: Array,
        noise: float | Array | None,
        device: torch.device,
    ) -> Plan:
        variances = torch.from_numpy((1.0 if noise is None else noise) / weights)
        timed = bool(self.verbose) and len(x) > TIMED_ROWS
        solver = self.solver if self._maximised == "lml" else "cholesky"
        return plan_for(solver, kernel, x, variances, device, timed=timed, searches=1 + self.n_restarts)

    def _check_arguments(self) -> None:
        check_choice(self.solver, "solver", SOLVERS)
        check_choice(self.objective, "objective", self.objectives)
        if self._maximised != "lml" and self.solver not in ("auto", "cholesky"):
            raise InputError(
                f"objective={self.objective!r} is maximised with a factor, got solver={self.solver!r}: take "
                "'cholesky', or objective='lml'"
            )
        check_choice(self.priors, "priors", PRIORS)
        check_choice(self.normalize_y, "normalize_y", (True, False))
        check_count(self.n_restarts, "n_restarts")
        check_verbose(self.verbose)
        check_minutes(self.checkpoint_minutes, "checkpoint_minutes")

    def _train(
        self,
        kernel: gpytorch.kernels.Kernel,
        x: Array,
        y: Array,
        weights: Array,
        noise: float | Array | None,
        device: torch.device,
        plan: Plan,
        watch: Watch,
    ) -> FitReport:
        cyclic = waits_for_period(kernel)
        scales = measure(x, y / self.y_scale_, weights, normalize_y=self.normalize_y, find_periods=cyclic)
        rng = check_seed(self.random_state)
        starts = starts_of(kernel, x, y / self.y_scale_, weights, rng)
        for start in starts:
            initialise(start, scales)
        self.kernel_ = starts[0].to(device)
        check_kernel(self.kernel_, torch.tensor(x[:1], device=device))
        mean = Mean.from_scales(self.mean, scales).to(device)
        self._mean = mean.identified(torch.tensor(x, device=device))
        data = self._data(x, y, weights, noise, device)
        held_out = HeldOutRows.of(self._maximised, len(x), rng)
        objective = replace(self._objective(scales, data), held_out=held_out)
        tolerance = RIDGE_TOLERANCE if self.priors is None else TOLERANCE
        others = [self._theta(start, scales, data).start for start in starts[1:]]
        self._prior_mean = objective.theta.prior_mean
        self._scales = scales
        search = Search(self.n_restarts, rng, tolerance, watch, others)
        fitted = self._search(objective, plan, search)
        self.theta_, self.posterior_ = fitted.theta, fitted.posterior
        self.theta_names_ = objective.theta.names
        self.noise_ = self.posterior_.noise if noise is None else noise
        self._likelihood()
        return fitted.report

    def _search(self, objective: Objective, plan: Plan, search: Search) -> Fitted:
        """Learn the hyperparameters and condition on the data."""
        return fit(objective, plan, search)

    def _data(
        self, x: Array, y: Array, weights: Array, noise: float | Array | None, device: torch.device
    ) -> Data:
        rows = torch.tensor(x, device=device)
        known = None if noise is None else torch.tensor(np.broadcast_to(noise, len(x)).copy(), device=device)
        return Data(
            x=rows,
            y=torch.tensor((y - self.y_mean_) / self.y_scale_, device=device),
            basis=self._mean.basis(rows),
            weights=torch.tensor(weights, device=device),
            noise=known,
        )

    def _likelihood(self) -> None:
        self.log_marginal_likelihood_ = self.posterior_.log_marginal_likelihood() - self._change_of_units

    def update(self, X: Any, y: Any, sample_weight: ArrayLike | None = None) -> Self:
        """Condition on more rows at the same hyperparameters, without training.

        Args:
            X: ``(m, d)``.
            y: ``(m,)`` or ``(m, t)``, as in `fit`.
            sample_weight: ``(m,)``.

        Returns:
            The estimator; its predictions are those of a model that saw all rows at once.

        Raises:
            InputError: a model with one known noise variance per row cannot know that of the new rows.
        """
        self._only_gaussian("update is")
        if isinstance(self.noise_, np.ndarray):
            raise InputError("update needs the noise of the new rows: fit again with noise for all rows")
        x = check_table(self, X, reset=False)
        outputs = check_outputs(y, len(x)).reshape(len(x), -1)
        old = self.posterior_.data
        if outputs.shape[1] != old.y.shape[1]:
            raise InputError(f"y must have {old.y.shape[1]} outputs as in fit, got {outputs.shape[1]}")
        weights = check_weights(sample_weight, x)
        counted = weights > 0.0
        known = None if old.noise is None else self.noise_
        new = self._data(x[counted], outputs[counted], weights[counted], known, old.x.device)
        rows = old.joined(new)
        structure = self.posterior_.structure(rows)
        solver = self.posterior_.solver if self.posterior_.solver in ("cg", "ski") else "cholesky"
        if structure is None:
            plan = choose(solver, len(rows.x), 3, old.x.device)
        else:
            plan = choose(structure.solver, len(rows.x), 3, old.x.device, structure=structure.plan)
        with threads_for(len(rows.x)):
            self.posterior_ = self.posterior_.extended(rows, len(new.x))
        self._likelihood()
        jitter = self.posterior_.factor.jitter
        self.fit_report_ = replace(self.fit_report_, plan=str(plan), jitter=jitter)
        return self

    def plot(self, ax: Any = None) -> Any:
        """Draw data, mean and bands of a fitted model with one input; return the axes."""
        from nonparam.plotting import plot_regression

        return plot_regression(self, ax)

    def plot_parts(self, most: int = 6) -> Any:
        """Draw the largest parts that depend on one or two columns, see `decompose`; return their axes."""
        from nonparam.plotting import plot_parts

        self._only_gaussian("plots of parts are")

        return plot_parts(self, most)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the fitted model to a file that holds numbers and JSON only."""
        from nonparam.files import save_learnt
        from nonparam.persistence import save_regressor

        if self._is_gaussian(None):
            save_regressor(self, path)
        else:
            save_learnt(self, path)

    @classmethod
    def load(cls, path: str | os.PathLike[str], kernel: gpytorch.kernels.Kernel | None = None) -> Self:
        """Read a model that `save` wrote.

        Args:
            path: of the file.
            kernel: for a model with a GPyTorch kernel, a kernel built the same way; its values are read.

        Returns:
            The fitted model.

        Raises:
            FileFormatError: a file that is damaged, was changed, or is of another version.
        """
        from nonparam.files import load_any

        return load_any(cls, path, kernel)

    def set_params(self, **params: Any) -> Any:
        """Set arguments by name; ``kernel__lengthscale`` is one of the kernel's, also of a formula's."""
        kernel = params.get("kernel", self.kernel)
        if isinstance(kernel, str) and any(name.startswith("kernel__") for name in params):
            params["kernel"] = parse(kernel)
        return super().set_params(**params)

    def __sklearn_tags__(self) -> Any:
        """Return what scikit-learn's checks need to know."""
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = self.likelihood == "gaussian"
        return tags
