"""Gaussian process regression of many rows by inducing points, behind scikit-learn's API."""

import math
import time
import warnings
from collections.abc import Iterator
from dataclasses import asdict, replace
from itertools import starmap
from typing import Any, Literal, Self

import gpytorch
import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, MultiOutputMixin, RegressorMixin
from sklearn.exceptions import ConvergenceWarning
from torch import Tensor

from nonparam.errors import ConvergenceError, InputError
from nonparam.files import FileMixin
from nonparam.kernels import with_amplitude
from nonparam.kernels.grammar import as_kernel
from nonparam.processes import is_first_process
from nonparam.progress import Progress
from nonparam.scales import Scales, default_priors, initialise, measure, output_scales, waits_for_period
from nonparam.sparse.batches import Batches, BatchRows, MappedRows, Rows, TableRows
from nonparam.sparse.collapsed import CollapsedObjective
from nonparam.sparse.parameters import Parameters
from nonparam.sparse.posterior import SparsePosterior
from nonparam.sparse.prediction import SparsePredictionMixin
from nonparam.sparse.projection import BLOCK, Statistics, statistics
from nonparam.sparse.report import SparseReport
from nonparam.sparse.start import Sample, Start, begin
from nonparam.sparse.stochastic import Ascent
from nonparam.sparse.training import Schedule, ascend_batches, maximise_collapsed
from nonparam.theta import Theta
from nonparam.threads import threads_for
from nonparam.training import FitReport
from nonparam.validation import (
    check_choice,
    check_count,
    check_kernel,
    check_noise,
    check_numbers,
    check_outputs,
    check_scale,
    check_seed,
    check_table,
    check_verbose,
)

__all__ = ["SparseGPRegressor"]

Array = NDArray[np.float64]
Block = tuple[Tensor, Tensor]

METHODS = ("auto", "collapsed", "stochastic")
COLLAPSED_ROWS = 5_000  # up to here steps with all rows find the better bound in the same time
SAMPLE = 8192  # rows by which scales, points and first hyperparameters are chosen
STEPS = 800  # of stochastic training, where nothing else is said
EPOCHS = 200  # passes at most, where nothing else is said
CUT_SHORT = "a batch could not be read or learnt from"
TO_CONVERGE = "try noise='learn', a kernel with fewer hyperparameters, or inducing='fixed'"


class SparseGPRegressor(FileMixin, SparsePredictionMixin, RegressorMixin, MultiOutputMixin, BaseEstimator):  # type: ignore[misc]  # sklearn is untyped
    r"""Gaussian process regression of many rows by inducing points, and what they lose.

    .. math::

        f(x) \approx k_Z(x)^\top K_{ZZ}^{-1} u, \quad u \sim q(u), \quad
        \log p(y) \ge E_q \log p(y \mid f) - KL(q(u) \,\|\, p(u))

    The ``m`` inducing points :math:`Z` are rows that the others say least of, moved where the bound rises.
    Memory grows with ``m`` squared and not with the rows, time of a pass with :math:`n m^2`. Everything is in
    your units, as in `GPRegressor`, which is exact and the better choice where it is fast enough.

    Args:
        kernel: as for `GPRegressor`.
        m: inducing points at most; fewer where there are fewer rows, or where fewer explain all of them.
        method: ``"collapsed"``: the bound of all rows at once, maximised by L-BFGS; ``"stochastic"``:
            mini-batches, natural gradients for :math:`q`, Adam for all else, and a last pass that makes
            :math:`q` the best one there is; or ``"auto"``: the first up to 5,000 rows.
        inducing: ``"learn"`` to move the points, or ``"fixed"``.
        mean: ``"constant"``, the average of ``y`` (over 8,192 random rows, or the first batch of a stream) is
            subtracted, or ``"zero"``.
        noise: ``"learn"``, or a known positive variance.
        batch_size: rows of a step of the stochastic method.
        n_epochs: passes over the rows of the stochastic method; by default 800 steps are made, and 200
            passes at most. From the middle on the rates come down.
        learning_rate: of Adam, in changes that matter: of the logarithms of hyperparameters, and of points in
            standard deviations of their columns.
        tolerance: nats a row; where 100 steps raise the mean bound by less, the rates come down at once.
        priors: ``"default"`` for weakly informative ones, or ``None``.
        normalize_y: whether starting values and priors follow the variance of ``y``; else they take it to be
            1.
        random_state: seed of the samples and of the order of the rows.
        verbose: 1 to print the report; on a terminal a bar shows the bound.

    Attributes:
        kernel_: the kernel with its fitted values.
        noise_: the noise variance, learnt or given.
        inducing_: ``(m, d)``, the inducing points.
        lower_bound_: of the log evidence at the fitted hyperparameters, in nats.
        upper_bound_: of the same; what the approximation loses is at most their difference.
        posterior_: the process given the data.
        y_mean_: what was subtracted from each output.
        y_scale_: what each output was divided by; 1 for a single one, or where the noise is known.
        fit_report_: what was done, how long it took, and both bounds.
        theta_: the fitted free hyperparameters, logarithms of the positive ones.
        theta_names_: their names.
        n_features_in_: the number of columns of ``X``.
        feature_names_in_: their names, where ``X`` had some.

    Raises:
        InputError: data or arguments that no model can be fitted to; the message says what to change.
        NotPositiveDefiniteError: a covariance that no admissible jitter repairs.

    Source: Titsias (2009), Variational learning of inducing variables in sparse Gaussian processes, AISTATS;
    Hensman, Fusi and Lawrence (2013), Gaussian processes for big data, UAI; Burt, Rasmussen and van der Wilk
    (2020), JMLR 21(131), for the points.

    Examples:
        >>> X = np.linspace(0.0, 6.0, 500)[:, None]
        >>> y = np.sin(X[:, 0]) + 0.1 * np.random.default_rng(0).standard_normal(500)
        >>> model = SparseGPRegressor("rbf", m=10).fit(X, y)
        >>> bool(abs(model.predict([[3.0]])[0] - np.sin(3.0)) < 0.05), bool(model.fit_report_.gap < 1.0)
        (True, True)
    """

    _report_kind = SparseReport

    def __init__(
        self,
        kernel: str | gpytorch.kernels.Kernel = "matern52",
        *,
        m: int = 512,
        method: Literal["auto", "collapsed", "stochastic"] = "auto",
        inducing: Literal["learn", "fixed"] = "learn",
        mean: Literal["zero", "constant"] = "constant",
        noise: float | Literal["learn"] = "learn",
        batch_size: int = 1024,
        n_epochs: int | None = None,
        learning_rate: float = 0.03,
        tolerance: float = 1e-3,
        priors: Literal["default"] | None = "default",
        normalize_y: bool = True,
        random_state: int | np.random.RandomState | None = None,
        verbose: int = 0,
    ) -> None:
        self.kernel = kernel
        self.m = m
        self.method = method
        self.inducing = inducing
        self.mean = mean
        self.noise = noise
        self.batch_size = batch_size
        self.n_epochs = n_epochs
        self.learning_rate = learning_rate
        self.tolerance = tolerance
        self.priors = priors
        self.normalize_y = normalize_y
        self.random_state = random_state
        self.verbose = verbose

    # fitting ---------------------------------------------------------------------------------

    def fit(self, X: Any, y: Any) -> Self:
        """Learn hyperparameters and inducing points, and condition on the data.

        Args:
            X: ``(n, d)``. A `numpy.memmap` is read a batch at a time with ``method="stochastic"`` (or
                ``"auto"`` and many rows): memory does not grow with its rows.
            y: ``(n,)``, or ``(n, t)`` for several outputs that share the kernel.

        Returns:
            The estimator. A ``ConvergenceWarning`` says that the search ended before it met a tolerance.

        Raises:
            InputError: in a mapped file a value that no model can be fitted to, in mid-training: what was
                learnt before is kept, as with `fit_batches`.
        """
        self._check_arguments()
        if isinstance(X, np.memmap) and X.ndim == 2 and self._is_stochastic(len(X)):
            return self._fit_mapped(X, y)
        x = check_table(self, X, reset=True)
        outputs = check_outputs(y, len(x))
        self._one_output = outputs.ndim == 1
        rows = TableRows(x, outputs.reshape(len(x), -1))
        self._outputs = rows.y.shape[1]
        return self._fit(rows, stochastic=self._is_stochastic(len(x)))

    def fit_batches(self, batches: Batches) -> Self:
        """Learn by mini-batches from rows that need not fit the memory.

        Args:
            batches: a callable that returns a fresh iterator of pairs ``(X, y)``, or something that can be
                iterated again and again, such as a list of pairs; always the same rows. They are read once
                before training, to check and to count them, and once at the end. Pairs should hold rows in
                random order; large ones are divided.

        Returns:
            The estimator.

        Raises:
            InputError: an iterator that can be read once only, a batch that no model can be fitted to, or
                batches that end early or fail in mid-training. In the last case the estimator keeps what it
                has learnt: it can predict, and go on with `partial_fit`.
        """
        self._check_arguments()
        if self.method == "collapsed":
            raise InputError("method='collapsed' is of rows in memory: call fit, or take method='stochastic'")
        self._forget()
        return self._fit(BatchRows(batches, self._read), stochastic=True)

    def partial_fit(self, X: Any, y: Any) -> Self:
        """Learn from one more batch of rows, each given once.

        The first call chooses scales, points and hyperparameters, so that its rows should be typical of all
        and at least as many as ``m``. Later ones add what their rows say to :math:`q`, and move
        hyperparameters and points by one step. After a `fit` they add to it.

        Args:
            X: ``(b, d)``.
            y: ``(b,)`` or ``(b, t)``.
        """
        self._check_arguments()
        if not hasattr(self, "posterior_"):
            self._forget()
            x, outputs = self._read(X, y)
            self._begin(TableRows(x, outputs))
        else:
            x, outputs = self._read(X, y)
            self._add(x, outputs)
        self._conclude(self._report_of_parts())
        return self

    def _check_arguments(self) -> None:
        check_count(self.m, "m", least=1)
        check_choice(self.method, "method", METHODS)
        check_choice(self.inducing, "inducing", ("learn", "fixed"))
        check_choice(self.mean, "mean", ("zero", "constant"))
        check_count(self.batch_size, "batch_size", least=1)
        if self.n_epochs is not None:
            check_count(self.n_epochs, "n_epochs", least=1)
        for name in ("learning_rate", "tolerance"):
            value = check_numbers(getattr(self, name), name)
            if value.ndim or not 0.0 <= value < np.inf:
                raise InputError(f"{name} must be a number, at least 0; got {getattr(self, name)!r}")
        check_choice(self.priors, "priors", ("default", None))
        check_choice(self.normalize_y, "normalize_y", (True, False))
        check_verbose(self.verbose)

    def _is_stochastic(self, n: int) -> bool:
        return self.method == "stochastic" or (self.method == "auto" and n > COLLAPSED_ROWS)

    def _forget(self) -> None:
        """Let the next batch set the columns and the outputs."""
        for name in ("n_features_in_", "feature_names_in_", "posterior_", "_outputs"):
            if hasattr(self, name):
                delattr(self, name)

    def _read(self, X: Any, y: Any) -> tuple[Array, Array]:
        """Check a batch: the first one sets the columns and the number of outputs."""
        x = check_table(self, X, reset=not hasattr(self, "n_features_in_"))
        outputs = check_outputs(y, len(x))
        known = getattr(self, "_outputs", None)
        if known is None:
            self._one_output = outputs.ndim == 1
        table = outputs.reshape(len(x), -1)
        if known is not None and table.shape[1] != known:
            raise InputError(f"y must have {known} outputs as in the first batch, got {table.shape[1]}")
        self._outputs = table.shape[1]
        return x, table

    def _fit_mapped(self, X: Any, y: Any) -> Self:
        if np.shape(y)[:1] != (len(X),):
            raise InputError(
                f"X and y have inconsistent lengths: {len(X)} rows of X, y of shape {np.shape(y)}"
            )
        outputs = y if isinstance(y, np.ndarray) else check_outputs(y, len(X))
        self._forget()
        return self._fit(MappedRows(X, outputs, self._read), stochastic=True)

    def _fit(self, rows: Rows, *, stochastic: bool) -> Self:
        began = time.perf_counter()
        verbose = bool(self.verbose) and is_first_process()
        start, n = self._begin(rows)
        with threads_for(n):
            if stochastic:
                report = self._by_batches(rows, n, verbose)
            else:
                report = self._at_once(rows, start, verbose)
            if not (stochastic and report.interrupted):
                self._ascent.sums = self._last_pass(rows, n, report)
        self._conclude(report, seconds=time.perf_counter() - began)
        if verbose:
            print(self.fit_report_)
        if not report.converged:
            said = f"the search for hyperparameters did not converge ({report.message}): {TO_CONVERGE}"
            warnings.warn(said, ConvergenceWarning, stacklevel=3)
        return self

    def _begin(self, rows: Rows) -> tuple[Start, int]:
        """Choose scales, hyperparameters and points by a sample of the rows."""
        self._rng, self._added = check_seed(self.random_state), 0
        x, y, n = rows.sample(SAMPLE, self._rng)
        check_scale(x, y)
        noise = self._known_noise(n)
        ones = np.ones(len(x))
        scaled = self.normalize_y and noise is None  # known noise is in units of y: so is all else then
        self.y_scale_ = output_scales(y, ones) if scaled else np.ones(y.shape[1])
        self.y_mean_ = np.zeros(y.shape[1]) + (0.0 if self.mean == "zero" else y.mean(0))
        targets = (y - self.y_mean_) / self.y_scale_
        kernel = with_amplitude(as_kernel(self.kernel)).double()
        scales = measure(
            x, targets, ones, normalize_y=self.normalize_y, find_periods=waits_for_period(kernel)
        )
        initialise(kernel, scales)
        sample = Sample(torch.from_numpy(x), torch.from_numpy(targets), n)
        check_kernel(kernel, sample.x[:1])
        moves, informative = self.inducing == "learn", self.priors == "default"
        with threads_for(len(x)):
            start = begin(kernel, sample, scales, self.m, noise, moves=moves, informative=informative)
        self._ascent = Ascent(start.parameters, start.vector, start.sums, informative)
        return start, n

    def _known_noise(self, n: int) -> float | None:
        noise = check_noise(self.noise, n)
        if noise is None:
            return None
        if isinstance(noise, np.ndarray) or noise <= 0.0:
            raise InputError(
                f"noise must be 'learn' or one positive variance, got {self.noise!r}: the bound divides by it"
            )
        return noise

    def _in_model(self, x: Array, y: Array) -> Block:
        return torch.from_numpy(x), torch.from_numpy((y - self.y_mean_) / self.y_scale_)

    def _at_once(self, rows: Rows, start: Start, verbose: bool) -> FitReport:
        x, y = (torch.cat(parts) for parts in zip(*starmap(self._in_model, rows.in_order()), strict=True))
        objective = CollapsedObjective(x, y, start.parameters, self.priors == "default")
        plan = f"n={len(x):,}: collapsed bound with {len(start.parameters.points):,} points, all rows at once"
        with Progress(verbose) as progress:
            vector, report = maximise_collapsed(objective, start, plan, progress)
        self._ascent = Ascent(start.parameters, vector, start.sums, self.priors == "default")
        return report

    def _by_batches(self, rows: Rows, n: int, verbose: bool) -> FitReport:
        steps = -(-n // self.batch_size)
        most = min(STEPS, EPOCHS * steps) if self.n_epochs is None else self.n_epochs * steps
        schedule = Schedule(most, self.learning_rate, self.tolerance)
        points = len(self._ascent.parameters.points)
        plan = (
            f"n={n:,}: stochastic bound with {points:,} points, batches of {min(self.batch_size, n):,} rows"
        )

        def epoch() -> Iterator[Block]:
            return starmap(self._in_model, rows.epoch(self.batch_size, self._rng))

        try:
            return ascend_batches(self._ascent, epoch, n, schedule, plan, shown=verbose)
        except (InputError, ConvergenceError):
            self._conclude(FitReport(plan, 0.0, False, CUT_SHORT, 0, 0, 0.0, (), 0.0, 0.0))
            raise

    def _last_pass(self, rows: Rows, n: int, report: FitReport) -> Statistics:
        """Return the sums over all rows at the present hyperparameters; where that fails, conclude."""
        try:
            sums = self._sums(rows)
            if sums.n != n:
                raise InputError(f"the batches ended after {sums.n:,.0f} rows where {n:,} were read before")
        except Exception as error:
            self._conclude(replace(report, converged=False, message=CUT_SHORT))
            raise InputError(
                f"the last pass over the rows failed ({type(error).__name__}: {error}). What was learnt "
                "before is kept: predict works, and partial_fit goes on"
            ) from error
        return sums

    def _sums(self, rows: Rows) -> Statistics:
        projection, _ = self._ascent.present()
        pairs = starmap(self._in_model, rows.in_order())
        blocks = (block for x, y in pairs for block in zip(x.split(BLOCK), y.split(BLOCK), strict=True))
        return statistics(projection, blocks, len(self.y_mean_))

    def _add(self, x: Array, y: Array) -> None:
        """Add rows to what is known, and move hyperparameters and points by a step for each batch of them."""
        rows, outputs = self._in_model(x, y)
        for block, targets in zip(rows.split(self.batch_size), outputs.split(self.batch_size), strict=True):
            self._added += 1
            self._ascent.add(block, targets, rate=self.learning_rate / math.sqrt(1.0 + self._added))

    def _conclude(self, report: FitReport, seconds: float = 0.0) -> None:
        """Set what follows from hyperparameters, points and sums."""
        ascent, parameters = self._ascent, self._ascent.parameters
        projection, summary = ascent.present()
        self.kernel_, self.noise_, self.inducing_ = projection.kernel, summary.noise, projection.z.numpy()
        self.theta_ = ascent.vector[: parameters.theta.size]
        self.theta_names_ = parameters.theta.names
        self.posterior_ = SparsePosterior(projection, summary)
        units = summary.sums.n * float(np.log(self.y_scale_).sum())
        self.lower_bound_, self.upper_bound_ = summary.lower() - units, summary.upper() - units
        known = asdict(report) | {"seconds": seconds, "jitter": projection.factor.jitter}
        known |= {"rows": round(summary.sums.n), "points": len(projection.z)}
        self.fit_report_ = SparseReport(**(known | {"lower": self.lower_bound_, "upper": self.upper_bound_}))

    def _report_of_parts(self) -> FitReport:
        sums, points = self._ascent.sums, len(self._ascent.parameters.points)
        plan = f"n={round(sums.n):,}: {points:,} points, a batch at a time"
        value = self._ascent.present()[1].lower()
        said = "as far as the batches went"
        return FitReport(plan, 0.0, True, said, self._added, self._added, value, (value,), 0.0, 0.0)

    def _learnt_state(self) -> dict[str, Any]:
        ascent = self._ascent
        names = ("y_mean_", "y_scale_", "noise_", "_one_output", "_outputs", "_added")
        found = {name: getattr(self, name) for name in names}
        found |= {"kernel": self.kernel_, "sums": asdict(ascent.sums), "vector": ascent.vector}
        return found | {"points": ascent.parameters.points, "scales": asdict(ascent.parameters.scales)}

    def _resume(self, state: dict[str, Any]) -> None:
        for name in ("y_mean_", "y_scale_", "_one_output", "_outputs", "_added"):
            setattr(self, name, state[name])
        scales, informative = Scales(**state["scales"]), self.priors == "default"
        priors = default_priors(state["kernel"], scales, informative=informative)
        theta = Theta(state["kernel"], priors, state["noise_"] if self.noise == "learn" else None)
        parameters = Parameters(theta, state["noise_"], state["points"], scales, self.inducing == "learn")
        sums = dict(state["sums"])
        gram, moment = (torch.from_numpy(sums.pop(name)) for name in ("gram", "moment"))
        known = Statistics(gram=gram, moment=moment, **sums)
        self._ascent = Ascent(parameters, state["vector"], known, informative)
        report = self.fit_report_
        self._conclude(report, report.seconds)

    def __sklearn_tags__(self) -> Any:
        """Return what scikit-learn's checks need to know."""
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
