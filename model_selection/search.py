"""Search for the structure of a kernel: sums, products and change points of base kernels."""

import time
import warnings
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from typing import Any, Self

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, MetaEstimatorMixin, RegressorMixin, clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.validation import check_is_fitted, column_or_1d

from nonparam.decomposition import numbered
from nonparam.errors import InputError
from nonparam.kernels.changepoint import ChangePoint
from nonparam.kernels.composition import parts_of
from nonparam.kernels.grammar import parse
from nonparam.model_selection.assembly import BASES, with_values_of
from nonparam.model_selection.beam import Beam
from nonparam.model_selection.candidates import CRITERIA, Criterion, Problem, kernel_of, sampled
from nonparam.model_selection.expressions import Base, Expression, terms
from nonparam.model_selection.held_out import HeldOutRows
from nonparam.model_selection.words import Component, sentence
from nonparam.pathwise import FunctionSamples
from nonparam.regression import GPRegressor
from nonparam.scales import measure
from nonparam.validation import check_choice, check_count, check_jobs, check_seed, check_table

__all__ = ["KernelSearch"]

Array = NDArray[np.float64]

BASE_KERNELS = ("linear", "constant", "rbf", "periodic", "rq", "changepoint")
BARE: Any = "lml"
SCREENED_ROWS = 200
ORDERS, CONDITIONED = 5, 0.8  # of the conditional marginal likelihood: orders, and the share of the rows
FEWEST = 4  # rows, of which two are predicted from two
ABSORBED = {"zero": (), "constant": ("constant",), "linear": ("constant", "linear")}  # by the mean function


class KernelSearch(MetaEstimatorMixin, RegressorMixin, BaseEstimator):  # type: ignore[misc]  # sklearn is untyped
    r"""Find the structure of a kernel, and with it that of the data.

    .. math:: S \to S + B, \quad S \to S \times B, \quad S \to CP(S, S), \quad \dots

    The search begins with no structure. At each depth all expressions that are one step away from the best
    few are made; equivalent ones are fitted once. Each is trained for a few steps, on 200 rows at most, from
    its parent's hyperparameters and from where a wave or a step beside its parent would gain most; the most
    likely ones by BIC are trained to the end and judged by the criterion. The search ends at ``max_depth``,
    or at a depth that gains less than a nat. Irregular rows show waves that are faster than half the mean
    distance of two rows allows, and these are looked for too.

    The marginal likelihood alone is no criterion: its hyperparameters are fitted, and so it rises with their
    number.

    Candidates are evaluated in parallel through joblib, and a backend of your choice spreads them, over the
    cores of a machine or over many machines::

        client = dask.distributed.Client("scheduler:8786")
        with joblib.parallel_config("dask"):
            search.fit(X, y)

    The tests run it on threads, on processes of one machine and on Dask's local cluster. Ray's backend
    (``ray.util.joblib.register_ray()``, then ``joblib.parallel_config("ray")``) is called in the same way and
    has not been tested, nor has a cluster of several machines.

    Args:
        estimator: a `GPRegressor` whose noise, mean, priors and so on all candidates share; its kernel does
            not count. It is cloned. By default ``GPRegressor()``.
        criterion: what candidates are judged by, in nats, the larger the better: ``"bic"``,
            :math:`\log p(y \mid \hat\theta) - \tfrac 12 \sum_i r_i \log n` with a rate :math:`r_i = 3` for
            each period, 2 for the place of each change and 1 for all other hyperparameters; ``"laplace"``,
            the evidence with hyperparameters averaged over by Laplace's approximation; ``"loo"``, the
            leave-one-out log density; ``"clml"``, the conditional marginal likelihood of a fifth of the
            rows, averaged over five orders.
        base_kernels: what expressions are made of; any of ``"linear"``, ``"constant"``, ``"rbf"``, ``"rq"``,
            ``"matern12"``, ``"matern32"``, ``"matern52"``, ``"periodic"``, ``"cosine"``, ``"white"`` and
            ``"changepoint"``. Periodic functions have no mean. With several columns of ``X`` there is one of
            each for each column.
        max_depth: of the search: the number of steps from no structure.
        beam: how many expressions of each depth are carried on.
        budget_seconds: after which the search ends with the best so far; ``None`` for no limit.
        max_rows: candidates are compared on a random subset of the rows where there are more; the best
            one is then fitted to all of them.
        n_jobs: as joblib's: ``None`` for 1, unless a backend says otherwise. The result does not depend on
            it.
        random_state: seed of the subset and of the orders of ``"clml"``.
        verbose: 1 to print the best expression of each depth.

    Attributes:
        best_estimator_: the estimator, fitted with the best kernel.
        best_kernel_: its formula, with the fitted values.
        best_expression_: its structure alone.
        best_score_: the criterion, in nats.
        results_: a table of all expressions, the best one first: ``formula``, ``criterion`` (missing where
            one was only screened), ``bic``, ``log_marginal_likelihood``, ``num_hyperparameters``,
            ``seconds`` and ``depth``.
        n_features_in_: the number of columns of ``X``.

    Raises:
        InputError: arguments or data that cannot be searched with; the message says what to change.

    Source: Duvenaud et al. (2013), Structure discovery in nonparametric regression through compositional
    kernel search, ICML; Lloyd et al. (2014), Automatic construction and natural-language description of
    nonparametric regression models, AAAI.

    Examples:
        >>> t = np.arange(60.0)[:, None]
        >>> noise = np.random.default_rng(0).standard_normal(60)
        >>> y = 0.5 * t[:, 0] + 4.0 * np.sin(2 * np.pi * t[:, 0] / 12.0) + noise
        >>> search = KernelSearch(base_kernels=["linear", "periodic"], max_depth=3).fit(t, y)
        >>> search.best_expression_
        'linear + periodic'
    """

    def __init__(
        self,
        estimator: GPRegressor | None = None,
        *,
        criterion: Criterion = "bic",
        base_kernels: Sequence[str] = BASE_KERNELS,
        max_depth: int = 8,
        beam: int = 2,
        budget_seconds: float | None = None,
        max_rows: int = 1000,
        n_jobs: int | None = None,
        random_state: int | np.random.RandomState | None = None,
        verbose: int = 0,
    ) -> None:
        self.estimator = estimator
        self.criterion = criterion
        self.base_kernels = base_kernels
        self.max_depth = max_depth
        self.beam = beam
        self.budget_seconds = budget_seconds
        self.max_rows = max_rows
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X: Any, y: Any, sample_weight: ArrayLike | None = None) -> Self:
        """Search, and fit the estimator with the best kernel.

        Args:
            X: ``(n, d)``.
            y: ``(n,)``.
            sample_weight: ``(n,)``, as for `GPRegressor.fit`; to ``"loo"`` and ``"clml"`` they say how noisy
                a row is, and each row counts once.

        Returns:
            The search. A ``ConvergenceWarning`` says that its budget or Ctrl-C ended it before its time.
        """
        began = time.monotonic()
        self._check_arguments()
        check_table(self, X, reset=True)
        y = column_or_1d(y, warn=True) if getattr(y, "shape", ())[1:] == (1,) else y
        rng = check_seed(self.random_state)
        problem = self._problem(X, y, sample_weight, rng)
        columns = [None] if self.n_features_in_ == 1 else list(range(self.n_features_in_))
        names = [name for name in dict.fromkeys(self.base_kernels) if name != "changepoint"]
        bases = [Base(name, column) for name in names for column in columns]
        changes = columns if "changepoint" in self.base_kernels else []
        deadline = began + (np.inf if self.budget_seconds is None else self.budget_seconds)
        rough = problem.thinned(SCREENED_ROWS, rng)
        beam = Beam(problem, rough, bases, changes, self.beam, deadline, self.n_jobs)
        stopped = self._searched(beam)
        self._conclude(beam, X, y, sample_weight)
        if stopped:
            said = f"{stopped} ended the search at depth {beam.depth}, after {len(beam.nodes)} expressions"
            said += f"; the best so far is {self.best_expression_}"
            warnings.warn(said, ConvergenceWarning, stacklevel=2)
        return self

    def _searched(self, beam: Beam) -> str:
        """Run the search, and return what ended it before its time."""
        try:
            for node in beam.run(self.max_depth):
                if self.verbose:
                    print(f"depth {beam.depth}: {node.candidate.expression!r}, {beam.score(node):.2f} nats")
        except KeyboardInterrupt:
            if not beam.nodes:
                raise
            return "Ctrl-C"
        return f"its budget of {self.budget_seconds:g} s" if beam.out_of_time else ""

    def _check_arguments(self) -> None:
        if self.criterion in (BARE,):
            raise InputError(
                "criterion='lml' is refused: the marginal likelihood of fitted hyperparameters rises with "
                f"their number, so the search would overfit; take one of {CRITERIA}"
            )
        check_choice(self.criterion, "criterion", CRITERIA)
        check_count(self.max_depth, "max_depth", least=1)
        check_count(self.beam, "beam", least=1)
        check_count(self.max_rows, "max_rows", least=2)
        budget = self.budget_seconds
        is_number = isinstance(budget, int | float | np.number) and not isinstance(budget, bool)
        if budget is not None and not (is_number and budget > 0.0):
            raise InputError(f"budget_seconds must be positive, or None for no limit; got {budget!r}")
        self._check_bases()
        estimator = self.estimator
        if estimator is not None and not (
            isinstance(estimator, GPRegressor) and "kernel" in estimator.get_params(deep=False)
        ):
            raise InputError(
                f"estimator must be a GPRegressor, whose kernel is searched for; got {estimator!r}"
            )
        check_jobs(self.n_jobs)
        if self.criterion == "laplace" and estimator is not None and estimator.priors is None:
            raise InputError("criterion='laplace' needs priors: take priors='default', or criterion='bic'")

    def _check_bases(self) -> None:
        known = (*BASES, "changepoint")
        listed = isinstance(self.base_kernels, Sequence | np.ndarray) and not isinstance(
            self.base_kernels, str
        )
        if not (listed and set(self.base_kernels) - {"changepoint"}):
            raise InputError(f"base_kernels must be a list of names from {known}, got {self.base_kernels!r}")
        for name in self.base_kernels:
            if name not in known:
                formula = isinstance(name, str) and not name.isidentifier()
                shown = repr(parse(name)) if formula else repr(name)  # parsing says where an error is
                near = [] if formula else get_close_matches(str(name), known, 1)
                hint = f"did you mean {near[0]!r}?" if near else "the search composes them"
                raise InputError(f"base_kernels must be names from {known}, got {shown}: {hint}")

    def _fresh(self) -> GPRegressor:
        fresh: GPRegressor = GPRegressor() if self.estimator is None else clone(self.estimator)
        return fresh

    def _problem(
        self, X: Any, y: Any, sample_weight: ArrayLike | None, rng: np.random.RandomState
    ) -> Problem:
        plain = self._fresh().set_params(kernel="constant").fit(X, y, sample_weight)
        data = plain.posterior_.data
        n, t = data.y.shape
        if n < 2 or t != 1:
            raise InputError(f"a search needs 2 rows or more and one output, got {n} sample(s) and {t}")
        data = sampled(data, self.max_rows, rng)
        n = len(data.x)
        x, outputs, weights = (table.cpu().numpy() for table in (data.x, data.y, data.weights))
        scales = measure(x, outputs + plain.y_mean_, weights, normalize_y=plain.normalize_y)
        held_out = None
        if self.criterion in ("loo", "clml"):
            if self.criterion == "clml" and n < FEWEST:
                raise InputError(
                    f"criterion='clml' needs {FEWEST} rows or more, got {n}: take 'loo' or 'bic'"
                )
            fraction = min(CONDITIONED, 1.0 - 2.0 / n)  # two rows at least are predicted
            held_out = HeldOutRows(self.criterion, fraction, ORDERS, seed=int(rng.randint(2**31 - 1)))
        with_prior = plain.priors == "default"
        return Problem(data, scales, with_prior, self.criterion, held_out, ABSORBED[plain.mean])

    def _conclude(self, beam: Beam, X: Any, y: Any, sample_weight: ArrayLike | None) -> None:
        node = beam.best()
        kernel = kernel_of(beam.problem, node.candidate.expression)
        for change in (part for part in kernel.modules() if isinstance(part, ChangePoint)):
            change.set_params(fixed=("width",))  # without the search's bound it would become a trend
        self.best_estimator_ = self._fresh().set_params(kernel=kernel).fit(X, y, sample_weight)
        widths = beam.problem.widths
        self._expression = with_values_of(node.candidate.expression, self.best_estimator_.kernel_, widths)
        self.best_kernel_, self.best_expression_ = repr(self.best_estimator_.kernel_), repr(self._expression)
        self.best_score_ = beam.score(node)
        rows = [
            {
                "formula": repr(expression),
                "criterion": found.candidate.score if found.judged else np.nan,
                "bic": found.candidate.bic,
                "log_marginal_likelihood": found.candidate.log_marginal_likelihood,
                "num_hyperparameters": found.candidate.num_parameters,
                "seconds": found.candidate.seconds,
                "depth": found.depth,
            }
            for expression, found in beam.nodes.items()
        ]
        table = pd.DataFrame(rows).sort_values(["criterion", "bic"], ascending=False, ignore_index=True)
        self.results_ = table

    # what was found ---------------------------------------------------------------------------

    def components(self, X: Any) -> dict[str, tuple[Array, Array]]:
        """Return what each additive term contributes, noise and the constant of the mean left out.

        Args:
            X: ``(m, d)``.

        Returns:
            By formula, the second of two alike with a number, the posterior mean ``(m,)`` and standard
            deviation ``(m,)``, in units of ``y``. The means add up to `predict`, less the mean function.
        """
        check_is_fitted(self)
        x = torch.tensor(
            check_table(self, X, reset=False), device=self.best_estimator_.posterior_.data.x.device
        )
        found = list(self._components(x))
        names = numbered([repr(term) for term, _ in found])
        moments = [(mean[:, 0].cpu().numpy(), variance.sqrt().cpu().numpy()) for _, (mean, variance) in found]
        return dict(zip(names, moments, strict=True))

    def _components(self, x: torch.Tensor) -> Iterator[tuple[Expression, tuple[torch.Tensor, torch.Tensor]]]:
        """Yield each term and its posterior mean ``(m, 1)`` and variance ``(m,)``."""
        posterior = self.best_estimator_.posterior_
        kernels = parts_of(posterior.kernel, self.n_features_in_)
        for term, kernel in zip(terms(self._expression), kernels, strict=True):
            yield term, posterior.component(kernel, x)

    def describe(self, x_unit: str = "", y_unit: str = "") -> str:
        """Describe the structure in plain words, the largest part first.

        Args:
            x_unit: of the columns of ``X``, such as ``"months"``.
            y_unit: of ``y``.

        Returns:
            A line for each part, with what share of the variance of ``y`` its mean has.
        """
        check_is_fitted(self)
        data = self.best_estimator_.posterior_.data
        total = float(data.y.var(correction=0)) or 1.0
        parts = [
            Component(term, mean[:, 0].cpu().numpy(), float(mean.var(correction=0)) / total)
            for term, (mean, _) in self._components(data.x)
        ]
        noise = self.best_estimator_.noise_
        sd = None if isinstance(noise, np.ndarray) else float(noise) ** 0.5
        return sentence(parts, sd, data.x.cpu().numpy(), x_unit, y_unit)

    def plot(self, axes: Any = None) -> Any:
        """Draw the data with the fit, and each additive term with its band; return the axes.

        Raises:
            InputError: several columns of ``X``, or another number of axes than there are terms and one more.
        """
        from nonparam.plotting import plot_components

        return plot_components(self, axes)

    # what the best estimator does -------------------------------------------------------------

    def predict(
        self, X: Any, return_std: bool = False, return_cov: bool = False, *, include_noise: bool = True
    ) -> Any:
        """Predict with the best estimator; see `GPRegressor.predict`."""
        check_is_fitted(self)
        return self.best_estimator_.predict(X, return_std, return_cov, include_noise=include_noise)

    def predict_quantiles(self, X: Any, q: ArrayLike, *, include_noise: bool = True) -> Array:
        """Return quantiles of the best estimator; see `GPRegressor.predict_quantiles`."""
        check_is_fitted(self)
        quantiles: Array = self.best_estimator_.predict_quantiles(X, q, include_noise=include_noise)
        return quantiles

    def log_predictive_density(self, X: Any, y: Any) -> Array:
        """Return log densities under the best estimator; see `GPRegressor.log_predictive_density`."""
        check_is_fitted(self)
        densities: Array = self.best_estimator_.log_predictive_density(X, y)
        return densities

    def sample_y(
        self,
        X: Any,
        n_samples: int = 1,
        random_state: int | np.random.RandomState | None = 0,
        *,
        include_noise: bool = True,
    ) -> Array:
        """Draw from the best estimator; see `GPRegressor.sample_y`."""
        check_is_fitted(self)
        draws: Array = self.best_estimator_.sample_y(X, n_samples, random_state, include_noise=include_noise)
        return draws

    def sample_functions(
        self, n_samples: int = 1, random_state: int | np.random.RandomState | None = 0
    ) -> FunctionSamples:
        """Draw functions from the best estimator; see `GPRegressor.sample_functions`."""
        check_is_fitted(self)
        functions: FunctionSamples = self.best_estimator_.sample_functions(n_samples, random_state)
        return functions
