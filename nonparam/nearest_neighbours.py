"""Gaussian process regression of many rows, each given its nearest neighbours (Vecchia's approximation)."""

import time
import warnings
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, Self

import gpytorch
import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, MultiOutputMixin, RegressorMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from nonparam.errors import InputError
from nonparam.files import FileMixin
from nonparam.fisher_scoring import FLAT, Ascent, ascend
from nonparam.kernels import with_amplitude
from nonparam.kernels.grammar import as_kernel
from nonparam.means import Mean
from nonparam.neighbour_posterior import NeighbourPosterior
from nonparam.objective import Data
from nonparam.prediction import MarginalsMixin
from nonparam.progress import Progress
from nonparam.scales import (
    NOISE_FRACTION,
    Scales,
    default_priors,
    initialise,
    measure,
    output_scales,
    waits_for_period,
)
from nonparam.solvers.vecchia import maximin
from nonparam.theta import Theta
from nonparam.threads import threads_for
from nonparam.training import FitReport
from nonparam.validation import (
    check_choice,
    check_count,
    check_device,
    check_kernel,
    check_noise,
    check_outputs,
    check_scale,
    check_seed,
    check_table,
    check_verbose,
)
from nonparam.vecchia import VecchiaEvidence, columns_of, neighbours_before

__all__ = ["NearestNeighbourGPRegressor"]

Array = NDArray[np.float64]

ORDERINGS = ("random", "maximin", "given")
PRIORS = ("default", None)
MOST_BY_DISTANCE = 20_000  # rows: ordering them by distance takes n^2 distances
SUBSETS = (2000, 20_000, 200_000)  # rows, where there are four times as many
ROUNDS = 2  # of finding neighbours, for as many rows
MOVED = 0.02  # of the squared distance between rows, which other columns make up: neighbours are found again
TOLERANCE = 0.001  # nats that a step promises: far below what the data tell
ROUGHLY = 0.5  # the same on subsets, and on more rows than
FEW = 20_000  # these, where other neighbours change the objective by more
REACH = 2.0  # logarithms by which lengthscales are longer than at first, at most, where more rows come in


class NearestNeighbourGPRegressor(FileMixin, MarginalsMixin, RegressorMixin, MultiOutputMixin, BaseEstimator):  # type: ignore[misc]  # sklearn is untyped
    r"""Gaussian process regression of up to millions of rows: each is given a few of those before it.

    .. math:: \log p(y) \approx \sum_i \log N(y_i \mid \mu_i, v_i), \quad
              \mu_i, v_i \text{ given } y_j, \; j \in N(i) \subset \{1, \dots, i - 1\}

    Time and memory grow like the number of rows, times :math:`m^3` and :math:`m` for :math:`m` neighbours.
    With as many neighbours as rows it is `GPRegressor`; the fewer there are, the rougher the approximation:
    lengthscales that are long beside the distance of neighbours, and little noise, ask for more.
    Hyperparameters are learnt by Fisher scoring, on subsets first, then on all rows. Neighbours are the
    nearest rows in columns divided by their lengthscales, found exactly, and again where these have changed
    much.

    Everything is in your units, as for `GPRegressor`. Matern and squared exponential kernels of all columns
    have compiled loops (extra ``fast``); any other kernel is evaluated in batches, which takes longer.

    Args:
        kernel: as for `GPRegressor`.
        num_neighbours: that each row is given; a new row has twice as many.
        ordering: ``"random"``; ``"maximin"``, in which each row is far from all before it, for up to 20,000
            rows; or ``"given"``, the order of ``X``.
        mean: ``"zero"``, ``"constant"`` or ``"linear"``; fitted by generalised least squares, its
            uncertainty counted in every prediction.
        noise: ``"learn"``, or a known variance.
        priors: ``"default"`` for weakly informative ones (maximum a posteriori), or ``None`` (maximum
            likelihood).
        normalize_y: whether starting values and priors follow the variance of ``y``; else they take it to
            be 1.
        device: where covariances are worked on: ``"cpu"``, ``"cuda"``, ... or ``"auto"``; neighbours are
            found on the processor, where the compiled loops run as well.
        random_state: of the order and the subsets.
        verbose: 1 to print the report; on a terminal a bar shows how far the search is.

    Attributes:
        kernel_: the kernel with its fitted values. With several outputs its variances are relative to those
            of the outputs.
        noise_: the noise variance, learnt or given; learnt with several outputs, relative as in ``kernel_``.
        log_marginal_likelihood_: of the data by the approximation, in nats.
        posterior_: what predicts.
        y_mean_: what was subtracted from each output.
        y_scale_: what each output was divided by; 1 for a single one, or where the noise is known.
        fit_report_: what was done, how often neighbours were found, how long it took, whether it converged.
        theta_: the fitted free hyperparameters, logarithms of the positive ones.
        theta_names_: their names.
        n_features_in_: the number of columns of ``X``.
        feature_names_in_: their names, where ``X`` had some.

    Raises:
        InputError: data or arguments that no model can be fitted to; the message says what to change.
        NotPositiveDefiniteError: a covariance that no admissible jitter repairs.
        ConvergenceError: an evidence that is not finite where the search begins.

    Source: Vecchia (1988), Estimation and model identification for continuous spatial processes, JRSS B 50;
    Datta, Banerjee, Finley and Gelfand (2016), Hierarchical nearest-neighbor Gaussian process models for
    large geostatistical datasets, JASA 111; Guinness (2021), Gaussian process learning via Fisher scoring of
    Vecchia's approximation, Statistics and Computing 31.

    Examples:
        >>> X = np.linspace(0.0, 60.0, 3000)[:, None]
        >>> model = NearestNeighbourGPRegressor("rbf", num_neighbours=15, random_state=0)
        >>> model = model.fit(X, np.sin(X[:, 0]))
        >>> mean, sd = model.predict([[30.0]], return_std=True)
        >>> bool(abs(mean[0] - np.sin(30.0)) < 0.01), bool(sd[0] < 0.05)
        (True, True)
    """

    def __init__(
        self,
        kernel: str | gpytorch.kernels.Kernel = "matern52",
        *,
        num_neighbours: int = 30,
        ordering: Literal["random", "maximin", "given"] = "random",
        mean: Literal["zero", "constant", "linear"] = "constant",
        noise: float | Literal["learn"] = "learn",
        priors: Literal["default"] | None = "default",
        normalize_y: bool = True,
        device: str = "auto",
        random_state: int | np.random.RandomState | None = None,
        verbose: int = 0,
    ) -> None:
        self.kernel = kernel
        self.num_neighbours = num_neighbours
        self.ordering = ordering
        self.mean = mean
        self.noise = noise
        self.priors = priors
        self.normalize_y = normalize_y
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X: Any, y: Any) -> Self:
        """Learn the hyperparameters.

        Args:
            X: ``(n, d)``.
            y: ``(n,)``, or ``(n, t)`` for several outputs that share the kernel.

        Returns:
            The estimator. A ``ConvergenceWarning`` says that the search ended before it met its tolerance.
        """
        began = time.perf_counter()
        noise = self._checked_arguments()
        x = check_table(self, X, reset=True)
        outputs = check_outputs(y, len(x))
        table = outputs.reshape(len(x), -1)
        check_scale(x, table)
        self._one_output = outputs.ndim == 1
        weights = np.ones(len(x))
        scaled = self.normalize_y and noise is None  # known noise is in units of y: so is all else then
        self.y_scale_ = output_scales(table, weights) if scaled else np.ones(table.shape[1])
        self.y_mean_ = np.zeros(table.shape[1]) if self.mean == "zero" else table.mean(0)
        with Progress(bool(self.verbose)) as progress, threads_for(len(x)):
            report = self._train(x, (table - self.y_mean_) / self.y_scale_, noise, progress)
        self.fit_report_ = replace(report, seconds=time.perf_counter() - began)
        if self.verbose:
            print(self.fit_report_)
        if not report.converged:
            warnings.warn(
                f"the search for hyperparameters did not converge ({report.message}): try more neighbours, a "
                "larger noise, or a kernel with fewer hyperparameters",
                ConvergenceWarning,
                stacklevel=2,
            )
        return self

    def _checked_arguments(self) -> float | None:
        """Return the known noise variance, or ``None``."""
        check_count(self.num_neighbours, "num_neighbours", least=1)
        check_choice(self.ordering, "ordering", ORDERINGS)
        check_choice(self.priors, "priors", PRIORS)
        check_choice(self.normalize_y, "normalize_y", (True, False))
        check_verbose(self.verbose)
        noise = check_noise(self.noise, 1)
        if isinstance(noise, np.ndarray):
            raise InputError(f"noise must be 'learn' or one variance for all rows, got {self.noise!r}")
        return noise

    def _train(self, x: Array, y: Array, noise: float | None, progress: Progress) -> FitReport:
        kernel = with_amplitude(as_kernel(self.kernel)).double()
        device, ones = check_device(self.device, len(x)), np.ones(len(x))
        scales = measure(x, y, ones, normalize_y=self.normalize_y, find_periods=waits_for_period(kernel))
        initialise(kernel, scales)
        self.kernel_ = kernel.to(device)
        check_kernel(self.kernel_, torch.tensor(x[:1], device=device))
        mean = Mean.from_scales(self.mean, scales).to(device)
        self._mean = mean.identified(torch.tensor(x, device=device))
        rng = check_seed(self.random_state)
        order = self._order(x / scales.x_sd, rng)
        rows = torch.tensor(x[order], device=device)
        data = _data(rows, torch.tensor(y[order], device=device), self._mean)
        priors = default_priors(self.kernel_, scales, informative=self.priors == "default")
        theta = Theta(self.kernel_, priors, NOISE_FRACTION * scales.y_variance if noise is None else None)
        problem = _Problem(data, theta, 0.0 if noise is None else noise, self._neighbours_of(len(x)), scales)
        search = problem.search(self.priors == "default", rng, progress)
        self._keep(problem, search, noise)
        return self._report(problem, search)

    def _neighbours_of(self, n: int) -> int:
        return max(min(int(self.num_neighbours), n - 1), 1)

    def _order(self, z: Array, rng: np.random.RandomState) -> NDArray[np.intp]:
        if self.ordering == "random":
            return np.asarray(rng.permutation(len(z)))
        if self.ordering == "given":
            return np.arange(len(z))
        if len(z) > MOST_BY_DISTANCE:
            raise InputError(
                f"ordering='maximin' takes the distances of all pairs of {len(z):,} rows, expected "
                f"{MOST_BY_DISTANCE:,} at most: take 'random'"
            )
        return maximin(z)

    def _keep(self, problem: "_Problem", search: "_Searched", noise: float | None) -> None:
        best, theta = search.ascent, problem.theta
        theta.assign(best.point)
        self.theta_, self.theta_names_ = best.point, theta.names
        self.noise_ = float(np.exp(best.point[-1])) if noise is None else noise
        n, data = len(problem.data.x), problem.data
        self.log_marginal_likelihood_ = best.found.value - n * float(np.log(self.y_scale_).sum())
        self.posterior_ = NeighbourPosterior(
            kernel=self.kernel_,
            data=data,
            noise=self.noise_,
            jitter=best.found.jitter,
            num_neighbours=min(2 * problem.num_neighbours, n),
            divisors=columns_of(self.kernel_, data.x, problem.scales.x_sd),
            coefficients=best.found.coefficients,
            precision=best.found.precision,
        )

    def _report(self, problem: "_Problem", search: "_Searched") -> FitReport:
        best, n = search.ascent, len(problem.data.x)
        order = "given order" if self.ordering == "given" else f"{self.ordering} order"
        times = "once" if search.rounds == 1 else f"{search.rounds} times"
        return FitReport(
            plan=(
                f"n={n:,}: Vecchia's approximation, each row given {problem.num_neighbours} before it in "
                f"{order}; neighbours of all rows were found {times}"
            ),
            seconds=0.0,
            converged=best.message == FLAT,
            message=best.message,
            steps=search.steps,
            evaluations=search.evaluations,
            objective=best.value,
            starts=(best.value,),
            gradient=float(np.abs(best.gradient).max(initial=0.0)),
            jitter=best.found.jitter,
        )

    def _learnt_state(self) -> dict[str, Any]:
        posterior = self.posterior_
        names = ("theta_", "theta_names_", "noise_", "y_mean_", "y_scale_", "log_marginal_likelihood_")
        found = {name: getattr(self, name) for name in (*names, "_one_output")}
        numbers = ("jitter", "num_neighbours", "divisors", "coefficients", "precision")
        found["posterior"] = {name: getattr(posterior, name) for name in numbers}
        found["rows"] = {"x": posterior.data.x, "y": posterior.data.y}
        return found | {"kernel": self.kernel_, "mean": asdict(self._mean)}

    def _resume(self, state: dict[str, Any]) -> None:
        mean, rows = state.pop("mean"), state.pop("rows")
        self._mean = Mean(mean["name"], *(torch.from_numpy(mean[key]) for key in ("centre", "spread")))
        self.kernel_, posterior = state.pop("kernel"), state.pop("posterior")
        for name, value in state.items():
            setattr(self, name, value)
        x, y = torch.from_numpy(rows["x"]), torch.from_numpy(rows["y"])
        self.posterior_ = NeighbourPosterior(
            kernel=self.kernel_, data=_data(x, y, self._mean), noise=state["noise_"], **posterior
        )

    def predict(self, X: Any, return_std: bool = False, *, include_noise: bool = True) -> Any:
        """Return the posterior mean, and on request the standard deviation, given the nearest observations.

        Args:
            X: ``(r, d)``.
            return_std: whether to return the standard deviations as well.
            include_noise: whether they are those of new observations, or of the function without noise.

        Returns:
            ``(r,)`` or ``(r, t)`` means; with ``return_std`` also deviations of the same shape.
        """
        check_is_fitted(self)
        x = torch.tensor(check_table(self, X, reset=False), device=self.posterior_.data.x.device)
        with threads_for(max(len(x), len(self.posterior_.data.x))):
            mean, variance = self.posterior_.predict(x, self._mean.basis(x))
        mean = self._shaped(mean * self.y_scale_ + self.y_mean_)
        if not return_std:
            return mean
        sd = np.sqrt(variance + (self.noise_ if include_noise else 0.0))
        return mean, self._shaped(sd[:, None] * self.y_scale_)

    def _shaped(self, table: Array) -> Array:
        return table[:, 0] if self._one_output else table

    def __sklearn_tags__(self) -> Any:
        """Return what scikit-learn's checks need to know."""
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags


@dataclass(frozen=True)
class _Searched:
    """Where a search is, and what it took.

    Attributes:
        point: ``(p,)``.
        steps: on all subsets.
        evaluations: on all subsets.
        rounds: how often neighbours were found, on the last subset.
        ascents: that ended there, the last one last.
    """

    point: Array
    steps: int = 0
    evaluations: int = 0
    rounds: int = 0
    ascents: tuple[Ascent, ...] = ()

    @property
    def ascent(self) -> Ascent:
        """The last one."""
        return self.ascents[-1]

    def after(self, ascent: Ascent) -> "_Searched":
        """Return where it is after another ascent."""
        steps, evaluations = self.steps + ascent.steps, self.evaluations + ascent.evaluations
        return _Searched(ascent.point, steps, evaluations, self.rounds + 1, (*self.ascents, ascent))


@dataclass(frozen=True)
class _Problem:
    """Rows in their order, and what is to be learnt from them."""

    data: Data
    theta: Theta
    noise: float
    num_neighbours: int
    scales: Scales

    def search(self, with_prior: bool, rng: np.random.RandomState, progress: Progress) -> _Searched:
        """Learn the hyperparameters on subsets of growing size, and then on all rows."""
        n, found = len(self.data.x), _Searched(self.theta.start)
        for size in [size for size in SUBSETS if 4 * size <= n]:
            rows = torch.from_numpy(np.sort(rng.choice(n, size, replace=False)))
            part = self.data.rows(rows.to(self.data.x.device))
            found = self._climb(part, self._near(found), with_prior, ROUGHLY, progress)
        last = TOLERANCE if n <= FEW else ROUGHLY
        return self._climb(self.data, self._near(found), with_prior, last, progress)

    def _near(self, found: _Searched) -> _Searched:
        """Bring lengthscales nearer: of columns that few rows say nothing of more rows may say much.

        With a lengthscale of a hundred deviations the objective is flat, whatever the rows would say.
        """
        is_length = np.array(["lengthscale" in name for name in self.theta.names], dtype=bool)
        longest = np.where(is_length, self.theta.start + REACH, np.inf)
        return replace(found, point=np.minimum(found.point, longest))

    def _climb(
        self, data: Data, found: _Searched, with_prior: bool, tolerance: float, progress: Progress
    ) -> _Searched:
        """Find neighbours and climb, again as long as what is near changes with the lengthscales."""
        found, size = replace(found, rounds=0), f"{len(data.x):,} rows"
        for _ in range(ROUNDS):
            progress.stage(f"{size}, neighbours", 0.0)
            shares, evidence = self._shares(found.point), self._evidence(data, found.point)
            progress.stage(f"{size}, given {self.num_neighbours}", tolerance)
            ascent = ascend(
                evidence, found.point, with_prior=with_prior, tolerance=tolerance, on_step=progress.step
            )
            found = found.after(ascent)
            if 0.5 * np.abs(self._shares(found.point) - shares).sum() < MOVED:
                break
        return found

    def _evidence(self, data: Data, point: Array) -> VecchiaEvidence:
        self.theta.assign(point)
        divisors = columns_of(self.theta.kernel, data.x, self.scales.x_sd)
        m = min(self.num_neighbours, max(len(data.x) - 1, 1))
        return VecchiaEvidence(data, neighbours_before(data.x, divisors, m), self.theta, self.noise)

    def _shares(self, point: Array) -> Array:
        """Return the shares of the columns in the squared distances between rows, ``(d,)``."""
        self.theta.assign(point)
        divisors = columns_of(self.theta.kernel, self.data.x, self.scales.x_sd)
        squares = np.square(self.scales.x_sd / divisors)
        total = squares.sum()
        return squares / total if total > 0.0 else squares


def _data(x: Tensor, y: Tensor, mean: Mean) -> Data:
    ones = torch.ones(len(x), dtype=torch.float64, device=x.device)
    return Data(x=x, y=y, basis=mean.basis(x), weights=ones, noise=None)
