"""Classification with Gaussian processes."""

import time
import warnings
from dataclasses import replace
from typing import Any, Literal, Self

import gpytorch
import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from nonparam.checkpoint import checkpoint_at
from nonparam.errors import InputError
from nonparam.files import FileMixin, class_state, take_classes
from nonparam.labels import check_labels
from nonparam.laplace import laplace
from nonparam.latent.calibration import Calibration, calibrate
from nonparam.latent.class_objectives import Labelled, Prior, of_functions, of_targets
from nonparam.latent.class_posterior import ClassPosterior, condition_classes
from nonparam.latent.concentration import Learnt, check_concentration, clearest, concentrations
from nonparam.latent.dirichlet import DirichletObjective
from nonparam.latent.laplace import laplace_mode
from nonparam.latent.model import TOLERANCE, LatentFit, LatentObjective, fitted, log_joint, search
from nonparam.latent.plan import LATENT_SOLVERS, plan_labels
from nonparam.latent.softmax_laplace import softmax_laplace
from nonparam.latent.variational import variational
from nonparam.likelihoods import Bernoulli, Likelihood, Softmax
from nonparam.means import MEANS
from nonparam.newton import Watch
from nonparam.progress import Progress
from nonparam.solvers.plan import Plan
from nonparam.threads import threads_for
from nonparam.training import FitReport
from nonparam.validation import (
    check_choice,
    check_count,
    check_device,
    check_numbers,
    check_scale,
    check_seed,
    check_table,
    check_temperature,
    check_verbose,
    check_weights,
)

__all__ = ["GPClassifier"]

Array = NDArray[np.float64]

LIKELIHOODS = ("auto", "bernoulli", "softmax")
INFERENCES = ("auto", "laplace", "variational", "dirichlet")
SEARCHED = 2000  # rows times functions by which hyperparameters are learnt
FEWEST = 1000  # rows among them
STAGED = 300  # rows from which on a part of them is looked at first
FIRST = 0.25  # of the rows
TARGETS_TOLERANCE = 1e-6  # nats: steps by log-normal targets take little


class GPClassifier(FileMixin, ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # sklearn is untyped
    r"""Classes by Gaussian processes behind a logistic function, or behind a softmax.

    .. math:: P(y = c \mid f) = \mathrm{softmax}(f(x))_c, \quad f_c \sim GP(\log \pi_c, k)

    with one function for two classes, and one for each class where there are more; :math:`\pi` are the shares
    of the classes. All classes are in one model: what is said of one counts for the others.

    Approximate posteriors of the functions, with moments ``m`` and ``v``, are mostly too wide. Probabilities
    of new rows are

    .. math:: E\, \mathrm{softmax}((m(x) + \kappa \sqrt{v(x)}\, z) / \tau + \rho \log \pi), \quad
              z \sim N(0, I),

    with the numbers that have the smallest log loss of rows left out one at a time, in closed form.

    Args:
        kernel: a formula such as ``"rbf"``, a kernel of `nonparam.kernels`, or any GPyTorch kernel; all
            functions have the same. A term without a variance of its own gets one.
        likelihood: ``"bernoulli"`` for two classes, ``"softmax"`` for any number, or ``"auto"``: the first
            where there are two.
        inference: ``"laplace"``, a Gaussian at the mode of the functions; ``"variational"``, the nearest one
            in divergence, independent for each class, which takes longer; ``"dirichlet"``, regression on
            log-normal targets (see `nonparam.latent.dirichlet`), at the price of about one class for all; or
            ``"auto"``: ``"laplace"`` for two classes, for a mean of zero and for more rows than matrices fit
            of, else ``"dirichlet"``.
        solver: ``"cholesky"``; ``"cg"``, certified conjugate gradients, for Laplace's approximation of many
            rows; or ``"auto"``: the second where matrices of the first do not fit the memory. With ``"cg"``
            the evidence is an estimate with a standard error (``fit_report_``), and has no derivatives.
        alpha_epsilon: with ``"dirichlet"``, the prior concentration of each class, between 0 and 1: small
            where labels are clear, larger where they are doubtful; or ``"learn"`` for that of four with the
            smallest log loss of rows left out.
        mean: ``"zero"``, ``"constant"`` or ``"linear"``, with broad priors; functions vary around the log
            shares of the classes, and with ``"zero"`` around 0.
        temperature: :math:`\tau`, a positive number, with :math:`\kappa = 1` and :math:`\rho = 0`; 1 is what
            the posterior says; or ``"learn"`` for all three.
        n_restarts: searches besides the one that starts from the scale of the data.
        priors: ``"default"`` for weakly informative ones (maximum a posteriori), or ``None``.
        device: ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ...
        random_state: seed of the restarts, and of the rows that hyperparameters are learnt by.
        verbose: 1 to print the plan and the report.

    Attributes:
        classes_: the labels, in ascending order.
        kernel_: the kernel with its fitted values, and the mean's broad priors as terms.
        inference_: what ``"auto"`` has chosen.
        alpha_epsilon_: the concentration; only with ``"dirichlet"``.
        log_marginal_likelihood_: approximate, in nats; with ``"variational"`` a lower bound, and with
            ``"dirichlet"`` the density of the targets of all classes, which compares with others of its kind.
        calibration_: the three numbers, and the log loss of rows given all others.
        fit_report_: what was done, how long it took, whether it converged.
        theta_: the fitted free hyperparameters, logarithms of the positive ones.
        theta_names_: their names.
        n_features_in_: the number of columns of ``X``.
        feature_names_in_: their names, where ``X`` had some.

    Raises:
        InputError: data or arguments that no model can be fitted to; the message says what to change.
        InsufficientMemoryError: more rows than the memory holds, before anything is allocated.

    Source: Rasmussen and Williams (2006), Gaussian processes for machine learning, chapter 3.

    Examples:
        >>> X = np.linspace(-2.0, 2.0, 40)[:, None]
        >>> model = GPClassifier("rbf").fit(X, np.where(X[:, 0] > 0.0, "right", "left"))
        >>> model.predict([[-1.5], [1.5]])
        array(['left', 'right'], dtype='<U5')
        >>> bool(model.predict_proba([[1.5]])[0, 1] > 0.9)
        True
    """

    def __init__(
        self,
        kernel: str | gpytorch.kernels.Kernel = "matern52",
        *,
        likelihood: Literal["auto", "bernoulli", "softmax"] = "auto",
        inference: Literal["auto", "laplace", "variational", "dirichlet"] = "auto",
        solver: Literal["auto", "cholesky", "cg"] = "auto",
        alpha_epsilon: float | Literal["learn"] = "learn",
        mean: Literal["zero", "constant", "linear"] = "constant",
        temperature: float | Literal["learn"] = "learn",
        n_restarts: int = 0,
        priors: Literal["default"] | None = "default",
        device: str = "auto",
        random_state: int | np.random.RandomState | None = None,
        verbose: int = 0,
    ) -> None:
        self.kernel = kernel
        self.likelihood = likelihood
        self.inference = inference
        self.solver = solver
        self.alpha_epsilon = alpha_epsilon
        self.mean = mean
        self.temperature = temperature
        self.n_restarts = n_restarts
        self.priors = priors
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X: Any, y: Any, sample_weight: ArrayLike | None = None) -> Self:
        """Learn the hyperparameters, and condition on the labels.

        Args:
            X: ``(n, d)``.
            y: ``(n,)`` labels of two or more classes.
            sample_weight: ``(n,)``; a weight of 2 is the same as the row given twice, but for the
                calibration, which leaves out each row once, whatever its weight.

        Returns:
            The estimator. A ``ConvergenceWarning`` says that the search ended before it met a tolerance.
        """
        began = time.perf_counter()
        self._check_arguments()
        x = check_table(self, X, reset=True)
        self.classes_, codes = check_labels(y, len(x))
        weights = check_weights(sample_weight, x)
        counted = weights > 0.0
        x, codes, weights = x[counted], codes[counted], weights[counted]
        _check_counted(self.classes_, codes)
        check_scale(x, codes[:, None].astype(float))
        device = check_device(self.device, len(x))
        likelihood = self._likelihood(len(self.classes_))
        self.inference_, plan = plan_labels(
            self.inference, self.solver, len(x), likelihood.latents, self.mean, device
        )
        if self.verbose:
            print(plan)
        seen = Labelled.of(x, codes, weights, device)
        report = self._learn(seen, likelihood, plan)
        self.fit_report_ = replace(report, seconds=time.perf_counter() - began)
        if self.verbose:
            print(self.fit_report_)
        if not report.converged:
            said = f"the search for hyperparameters did not converge ({report.message}): try n_restarts"
            warnings.warn(said, ConvergenceWarning, stacklevel=2)
        return self

    def _check_arguments(self) -> None:
        check_choice(self.likelihood, "likelihood", LIKELIHOODS)
        check_choice(self.inference, "inference", INFERENCES)
        check_choice(self.solver, "solver", LATENT_SOLVERS)
        check_concentration(self.alpha_epsilon)
        check_choice(self.mean, "mean", MEANS)
        check_choice(self.priors, "priors", ("default", None))
        check_count(self.n_restarts, "n_restarts")
        check_temperature(self.temperature)
        check_verbose(self.verbose)

    def _likelihood(self, classes: int) -> Likelihood:
        if self.likelihood == "bernoulli" and classes > 2:
            raise InputError(
                f"likelihood='bernoulli' is of two classes, got {classes}: take 'softmax', or 'auto'"
            )
        two = classes == 2 and self.likelihood != "softmax"
        return Bernoulli() if two else Softmax(classes)

    def _learn(self, seen: Labelled, likelihood: Likelihood, plan: Plan) -> FitReport:
        rng = check_seed(self.random_state)
        n, most = len(seen.x), max(FEWEST, SEARCHED // likelihood.latents)
        parts = [torch.from_numpy(_some(seen.codes, size, rng)).to(seen.device) for size in _sizes(n, most)]
        said = f"{plan}; hyperparameters by {most:,} rows" if n > most else str(plan)
        with checkpoint_at(None, 0.0, {}) as checkpoint, Progress(bool(self.verbose)) as progress:
            watch = Watch(checkpoint, progress)
            objective: LatentObjective | DirichletObjective
            if self.inference_ == "dirichlet":
                objective, theta, report = self._by_targets(seen, parts, rng, watch, said)
            else:
                objective = self._functions(seen, likelihood)
                theta, report, _ = self._search(objective, parts, rng, watch, said, TOLERANCE)
                objective = objective.solved_by(plan.solver)
        self._take(seen, objective, theta)
        with threads_for(n):
            self.calibration_ = self._calibrated(torch.from_numpy(seen.codes), rng)
        return self._latent.certified(report) if isinstance(self._latent, LatentFit) else report

    def _by_targets(
        self, seen: Labelled, parts: list[Tensor], rng: np.random.RandomState, watch: Watch, said: str
    ) -> tuple[DirichletObjective, Array, FitReport]:
        """Learn from the evidence of log-normal targets, and how clear the labels are."""
        values, found = concentrations(self.alpha_epsilon), []
        objectives = [self._targets(seen, value) for value in values]
        for objective in objectives:
            theta, report, part = self._search(objective, parts, rng, watch, said, TARGETS_TOLERANCE)
            found.append(Learnt(part, theta, report))
        with threads_for(len(seen.x)):
            best = clearest(found, int(rng.randint(2**31 - 1)))
        self.alpha_epsilon_ = values[best]
        return objectives[best], found[best].theta, found[best].report

    def _functions(self, seen: Labelled, likelihood: Likelihood) -> LatentObjective:
        by_laplace = softmax_laplace if likelihood.latents > 1 else laplace_mode
        infer = variational if self.inference_ == "variational" else by_laplace
        prior = Prior(self.kernel, self.mean, self.priors == "default")
        return of_functions(prior, seen, likelihood, infer)

    def _targets(self, seen: Labelled, alpha_epsilon: float) -> DirichletObjective:
        prior = Prior(self.kernel, _slopes(self.mean), self.priors == "default")
        return of_targets(prior, seen, alpha_epsilon)

    def _take(self, seen: Labelled, objective: LatentObjective | DirichletObjective, theta: Array) -> None:
        """Find the functions given the labels, at hyperparameters ``theta (p,)``."""
        self._seen, self.theta_, self.theta_names_ = seen, theta, list(objective.theta.names)
        self._latent: LatentFit | ClassPosterior
        self._objective: LatentObjective | DirichletObjective
        if isinstance(objective, LatentObjective):
            self._latent, self._objective = fitted(objective, theta), objective.fresh()
            self.kernel_ = objective.model.kernels[0]
            self.log_marginal_likelihood_ = self._latent.approximation.value
            return
        self._objective, data, self.kernel_ = objective, objective.data, objective.theta.kernel
        with threads_for(len(data.x)):
            self.log_marginal_likelihood_ = objective.evaluate(theta, gradient=False)[0]
            self._latent = condition_classes(
                self.kernel_, data.x, objective.seen, objective.sizes, data.weights
            )

    def _learnt_state(self) -> dict[str, Any]:
        names = ("inference_", "theta_")
        found = {name: getattr(self, name) for name in names}
        found["alpha_epsilon_"] = getattr(self, "alpha_epsilon_", None)
        found |= class_state(self)
        return found | {name: getattr(self._seen, name) for name in ("x", "codes", "weights")}

    def _resume(self, state: dict[str, Any]) -> None:
        take_classes(self, state)
        self.inference_ = state["inference_"]
        seen = Labelled(state["x"], state["codes"], state["weights"], torch.device("cpu"))
        likelihood = self._likelihood(len(self.classes_))
        _, plan = plan_labels(
            self.inference_, self.solver, len(seen.x), likelihood.latents, self.mean, seen.device
        )
        objective: LatentObjective | DirichletObjective
        if self.inference_ == "dirichlet":
            self.alpha_epsilon_ = state["alpha_epsilon_"]
            objective = self._targets(seen, self.alpha_epsilon_)
        else:
            objective = self._functions(seen, likelihood).solved_by(plan.solver)
        self._take(seen, objective, state["theta_"])

    def _search(
        self,
        objective: Any,
        parts: list[Tensor],
        rng: np.random.RandomState,
        watch: Watch,
        said: str,
        tolerance: float,
    ) -> tuple[Array, FitReport, Any]:
        """Learn hyperparameters by some of the rows first; return the objective of the last part, too."""
        starts = objective.theta.starting_points(self.n_restarts, rng)
        some = [objective.rows(part) if len(part) < objective.n else objective for part in parts]
        best, report = search(some, starts, watch, plan=said, tolerance=tolerance)
        return best, report, some[-1]

    def _calibrated(self, codes: Tensor, rng: np.random.RandomState) -> Calibration:
        if not isinstance(self.temperature, str):
            return Calibration(float(self.temperature), 1.0, 0.0, np.nan)
        rows, mean, variance = self._latent.left_out()
        generator = torch.Generator().manual_seed(int(rng.randint(2**31 - 1)))
        pair = _of_classes(mean, variance)
        return calibrate(*pair, codes.to(rows.device)[rows], self._seen.log_shares, generator)

    def predict_proba(self, X: Any) -> Array:
        """Return the probabilities of the classes, in the order of ``classes_``: ``(m, c)`` for ``X (m, d)``.

        They are averages over the posterior of the functions, by a rule that draws nothing.

        Raises:
            InputError: rows that are no numbers.
        """
        mean, variance = _of_classes(*self._moments(X))
        with threads_for(len(self._latent.x)):
            shares = self.calibration_.probabilities(mean, variance, self._seen.log_shares)
        return np.asarray(shares.cpu().numpy())

    def _moments(self, X: Any) -> tuple[Tensor, Tensor]:
        check_is_fitted(self)
        x = torch.tensor(check_table(self, X, reset=False), device=self._latent.x.device)
        with threads_for(len(self._latent.x)):
            return self._latent.moments(x)

    def predict_log_proba(self, X: Any) -> Array:
        """Return the logarithms of the probabilities of the classes: ``(m, c)`` for ``X (m, d)``."""
        with np.errstate(divide="ignore"):
            return np.log(self.predict_proba(X))

    def predict(self, X: Any) -> NDArray[Any]:
        """Return the label with the largest probability for each row: ``(m,)`` for ``X (m, d)``."""
        most = self.predict_proba(X).argmax(1)
        found: NDArray[Any] = self.classes_[most]
        return found

    def latent_mean_and_variance(self, X: Any) -> tuple[Array, Array]:
        """Return means and variances of the functions: two of ``(m,)``, or ``(m, c)`` with a softmax.

        With a softmax and ``inference="laplace"`` the variances are those of independent functions whose
        differences vary about as those of the dependent ones do.
        """
        mean, variance = (found.cpu().numpy() for found in self._moments(X))
        return (mean[:, 0], variance[:, 0]) if mean.shape[1] == 1 else (mean, variance)

    def log_marginal_likelihood(self, theta: ArrayLike | None = None, eval_gradient: bool = False) -> Any:
        """Return the approximate log marginal likelihood of hyperparameters, of all rows.

        Args:
            theta: ``(p,)``, in the order of ``theta_names_``; the fitted ones by default.
            eval_gradient: whether to return the gradient too.

        Returns:
            A number of nats; with ``eval_gradient`` also ``(p,)`` derivatives.

        Raises:
            InputError: another number of hyperparameters, or such that are not finite.
        """
        check_is_fitted(self)
        point = self.theta_ if theta is None else check_numbers(theta, "theta")
        if point.shape != self.theta_.shape or not np.isfinite(point).all():
            raise InputError(
                f"theta must be {len(self.theta_)} finite numbers {self.theta_names_}, got {theta!r}"
            )
        with threads_for(self._objective.n):
            value, slope = self._objective.evaluate(point, gradient=eval_gradient)
            self._objective.theta.assign(self.theta_)
        return (value, slope) if eval_gradient else value

    def conditional_log_marginal_likelihood(
        self, fraction: float = 0.9, n_orderings: int = 5, random_state: int = 0
    ) -> float:
        r"""Return the conditional marginal likelihood at the fitted hyperparameters, in nats per row.

        .. math:: \log q(y_{m+1:n} \mid y_{1:m}) = \log q(y_{1:n}) - \log q(y_{1:m}) ,

        divided by the number of rows that are held out, a mean over random orders.

        Args:
            fraction: of the rows that are conditioned on.
            n_orderings: how many orders.
            random_state: seed of the orders: models with the same see the same.

        Raises:
            InputError: a fraction that leaves no row on either side.

        Source: Lotfi et al. (2022), Bayesian model selection, the marginal likelihood, and generalization,
        ICML.
        """
        check_is_fitted(self)
        n = self._objective.n
        m = round(n * fraction)
        if not 0 < m < n:
            raise InputError(f"fraction must leave rows on both sides, got {fraction} of {n} rows")
        rng, device, values = np.random.RandomState(random_state), self._latent.x.device, []
        with threads_for(n):
            for _ in range(n_orderings):
                some = torch.from_numpy(np.sort(rng.permutation(n)[:m])).to(device)
                values.append(self._objective.rows(some).evaluate(self.theta_, gradient=False)[0])
        return (self.log_marginal_likelihood_ - float(np.mean(values))) / (n - m)

    def log_evidence(self) -> float:
        r"""Return the log evidence of the model: hyperparameters are averaged over as well.

        By Laplace's approximation at their fitted values. Differences between models of the same labels, in
        nats, are log Bayes factors.

        Raises:
            InputError: a model without priors.

        Source: MacKay (2003), Information theory, inference, and learning algorithms, chapters 27 and 28.
        """
        check_is_fitted(self)
        if self.priors is None:
            raise InputError("the evidence averages over a prior, got priors=None: fit with priors='default'")
        theta = self._objective.theta
        with threads_for(self._objective.n):
            scale = theta.prior_precision**-0.5
            found = laplace(log_joint(self._objective), self.theta_, scale, step=theta.step)
            theta.assign(self.theta_)
        return found.log_evidence


def _of_classes(mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
    """Return a function for each class: of two classes the first has one that is 0."""
    if mean.shape[1] > 1:
        return mean, variance
    zero = torch.zeros_like(mean)
    return torch.cat([zero, mean], 1), torch.cat([zero, variance], 1)


def _slopes(mean: str) -> str:
    """Return which broad terms the kernel gets where each class has a constant of its own anyway."""
    return "linear" if mean == "linear" else "zero"


def _check_counted(classes: NDArray[Any], codes: NDArray[np.intp]) -> None:
    counts = np.bincount(codes, minlength=len(classes))
    if not counts.all():
        missing = classes[counts == 0].tolist()
        raise InputError(f"all rows of the classes {missing} have a weight of 0: leave them out")


def _sizes(n: int, most: int) -> list[int]:
    """Return by how many rows hyperparameters are learnt: by some first, which are a start for more."""
    last = min(n, most)
    return [round(FIRST * last), last] if last >= STAGED else [last]


def _some(codes: NDArray[np.intp], size: int, rng: np.random.RandomState) -> NDArray[np.intp]:
    """Return some of the rows, in order, of each class its share."""
    order = rng.permutation(len(codes))
    ranks = np.empty(len(codes))
    for code in range(codes.max() + 1):  # every class from its first row on, evenly
        own = order[codes[order] == code]
        ranks[own] = np.arange(len(own)) / len(own)
    return np.sort(np.argsort(ranks, kind="stable")[:size])
