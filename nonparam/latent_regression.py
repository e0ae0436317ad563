"""Regression whose observations are counts, shares, censored or otherwise not Gaussian, given a function."""

import copy
import time
import warnings
from dataclasses import replace
from typing import Any

import gpytorch
import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import r2_score
from sklearn.utils.validation import check_is_fitted

from nonparam.checkpoint import checkpoint_at
from nonparam.decomposition import Decomposition
from nonparam.errors import InputError
from nonparam.kernels import with_amplitude
from nonparam.kernels.grammar import as_kernel
from nonparam.laplace import laplace
from nonparam.latent.approximation import Observations
from nonparam.latent.laplace import laplace_mode
from nonparam.latent.model import (
    Inference,
    LatentFit,
    LatentModel,
    LatentObjective,
    fitted,
    log_joint,
    search,
    with_mean,
)
from nonparam.latent.observed import checked_exposure, observed_outputs
from nonparam.latent.plan import LATENT_SOLVERS, plan_functions
from nonparam.latent.variational import variational
from nonparam.likelihoods.base import ResponseLikelihood
from nonparam.likelihoods.prediction import Predictive
from nonparam.likelihoods.registry import as_likelihood
from nonparam.model_selection.joint import JointDensity
from nonparam.newton import Watch
from nonparam.pathwise import FunctionSamples
from nonparam.prediction import PredictionMixin
from nonparam.progress import Progress
from nonparam.scales import Scales, initialise, measure, waits_for_period
from nonparam.scoring import ScoringMixin
from nonparam.solvers.plan import Plan
from nonparam.theta import Theta
from nonparam.threads import threads_for
from nonparam.training import FitReport
from nonparam.validation import (
    check_choice,
    check_count,
    check_device,
    check_kernel,
    check_numbers,
    check_probabilities,
    check_scale,
    check_seed,
    check_table,
    check_weights,
)

__all__ = ["ResponseMixin"]

Array = NDArray[np.float64]

INFERENCES = ("auto", "laplace", "variational")
SEARCHED = 2000  # rows by which hyperparameters are learnt
STAGED = 300  # rows from which on a part of them is looked at first
FIRST = 0.4  # of the rows


class ResponseMixin(PredictionMixin, ScoringMixin):
    """What a regressor with another likelihood than the Gaussian does in other ways.

    Attributes:
        likelihood: its name, or the likelihood itself.
        inference: how the posterior of the functions is approximated.
        likelihood_: with its fitted parameters; only where it is not Gaussian.
    """

    likelihood: Any
    inference: str
    likelihood_: ResponseLikelihood
    _response: LatentFit | None = None

    def _fit_response(self: Any, X: Any, y: Any, sample_weight: ArrayLike | None) -> Any:
        """Learn the hyperparameters, and approximate the posterior of the functions."""
        began = time.perf_counter()
        likelihood = copy.deepcopy(as_likelihood(self.likelihood))
        check_choice(self.inference, "inference", INFERENCES)
        self._check_arguments()
        self._check_for_response()
        x = check_table(self, X, reset=True)
        outputs = observed_outputs(y, len(x), likelihood)
        weights = check_weights(sample_weight, x)
        counted = weights > 0.0
        x, outputs, weights = x[counted], outputs[counted], weights[counted]
        check_scale(x, outputs)
        likelihood.check(outputs)
        report = self._learn_response(x, outputs, weights, likelihood.initialised(outputs, weights))
        self.fit_report_ = replace(report, seconds=time.perf_counter() - began)
        if self.verbose:
            print(self.fit_report_)
        if not report.converged:
            said = f"the search for hyperparameters did not converge ({report.message}): try n_restarts"
            warnings.warn(said, ConvergenceWarning, stacklevel=3)
        return self

    def _forget_response(self) -> None:
        """Drop what a fit with another likelihood has left."""
        for name in ("_response", "_objective_of_response", "likelihood_"):
            vars(self).pop(name, None)

    def _check_for_response(self: Any) -> None:
        for name, only in (("solver", LATENT_SOLVERS), ("objective", ("lml",)), ("noise", ("learn",))):
            value = getattr(self, name)
            if not (isinstance(value, str) and value in only):
                raise InputError(
                    f"with likelihood={self.likelihood!r} {name} must be one of {only}, got {value!r}: "
                    "others are of likelihood='gaussian'"
                )

    def _learn_response(
        self: Any, x: Array, y: Array, weights: Array, likelihood: ResponseLikelihood
    ) -> FitReport:
        device, rng = check_device(self.device, len(x)), check_seed(self.random_state)
        inference, plan = self._planned_response(len(x), likelihood, device)
        if self.verbose:
            print(plan)
        infer = laplace_mode if inference == "laplace" else variational
        objective = self._response_objective(x, y, weights, likelihood.to(device), infer, device)
        said = f"{plan}; hyperparameters by {SEARCHED:,} rows" if len(x) > SEARCHED else str(plan)
        starts = objective.theta.starting_points(self.n_restarts, rng)
        order = torch.from_numpy(rng.permutation(len(x))).to(device)
        with (
            checkpoint_at(None, 0.0, {}) as checkpoint,
            Progress(bool(self.verbose)) as progress,
        ):
            parts = [order[:size] for size in _sizes(len(x))]
            some = [objective.rows(part) if len(part) < len(x) else objective for part in parts]
            best, report = search(some, starts, Watch(checkpoint, progress), plan=said)
        self._take_response(objective.solved_by(plan.solver), best)
        certified: FitReport = self._response.certified(report)
        return certified

    def _take_response(self: Any, objective: LatentObjective, theta: Array) -> None:
        """Find the functions given the observations, at hyperparameters ``theta (p,)``."""
        self._response, self._objective_of_response = fitted(objective, theta), objective.fresh()
        self.likelihood_, self.kernel_ = objective.seen.likelihood, objective.model.kernels[0]
        self.theta_, self.theta_names_ = theta, objective.theta.names
        self.log_marginal_likelihood_ = self._response.approximation.value

    def _learnt_state(self: Any) -> dict[str, Any]:
        """Return what a file holds, from which `_resume` finds everything else."""
        fit: LatentFit = self._response
        return {"theta": self.theta_, "x": fit.x, "y": fit.seen.y, "weights": fit.seen.weights}

    def _resume(self: Any, state: dict[str, Any]) -> None:
        """Take over what `_learnt_state` has returned."""
        x, y, weights, cpu = state["x"], state["y"], state["weights"], torch.device("cpu")
        likelihood = copy.deepcopy(as_likelihood(self.likelihood)).initialised(y, weights)
        inference, plan = self._planned_response(len(x), likelihood, cpu)
        infer = laplace_mode if inference == "laplace" else variational
        objective = self._response_objective(x, y, weights, likelihood, infer, cpu)
        self._take_response(objective.solved_by(plan.solver), state["theta"])

    def _response_objective(
        self: Any,
        x: Array,
        y: Array,
        weights: Array,
        likelihood: ResponseLikelihood,
        infer: Inference,
        device: torch.device,
    ) -> LatentObjective:
        rows, typical = torch.tensor(x, device=device), likelihood.typical(y, weights)
        levels = [0.0 if self.mean == "zero" else level for level, _ in typical]
        seen = Observations(
            torch.tensor(y, device=device),
            torch.tensor(weights, device=device),
            likelihood,
            torch.tensor(levels, dtype=torch.float64, device=device),
        )
        given = with_amplitude(as_kernel(self.kernel)).double()
        pairs = [self._of_function(given, x, y, weights, variance) for _, variance in typical]
        kernels, scales = zip(*pairs, strict=True)
        model = LatentModel([kernel.to(device) for kernel in kernels], likelihood)
        check_kernel(model.kernels[0], rows[:1])
        informative = self.priors == "default"
        theta = Theta(model, model.priors(scales, informative=informative), None)
        return LatentObjective(rows, seen, model, theta, infer, informative)

    def _of_function(
        self: Any,
        given: gpytorch.kernels.Kernel,
        x: Array,
        y: Array,
        weights: Array,
        variance: float,
    ) -> tuple[gpytorch.kernels.Kernel, Scales]:
        """Return the kernel of a function with its mean, and the scales of the data."""
        kernel = copy.deepcopy(given)
        find = waits_for_period(kernel)
        scales = measure(x, y[:, :1], weights, normalize_y=False, find_periods=find)
        scales = replace(scales, y_variance=variance)
        initialise(kernel, scales)
        return with_mean(kernel, self.mean, scales), scales

    def _planned_response(
        self: Any, n: int, likelihood: ResponseLikelihood, device: torch.device
    ) -> tuple[str, Plan]:
        """Return the inference and the plan."""
        unimodal = likelihood.is_log_concave and likelihood.latents == 1
        if self.inference == "laplace" and not unimodal:
            raise InputError(
                f"inference='laplace' is of one function and a posterior with one mode, and {likelihood!r} "
                "does not warrant that: take 'variational', or 'auto'"
            )
        return plan_functions(self.inference, self.solver, n, likelihood.latents, unimodal, device)

    def _predictive(self, X: Any, exposure: ArrayLike | None) -> Predictive:
        fit, likelihood = self._response, self.likelihood_
        assert fit is not None
        x = torch.tensor(check_table(self, X, reset=False), device=fit.x.device)
        with threads_for(len(fit.x)):
            mean, variance = fit.moments(x)
        return Predictive(likelihood, mean, variance, checked_exposure(exposure, x, likelihood))

    def predict(
        self,
        X: Any,
        return_std: bool = False,
        return_cov: bool = False,
        *,
        include_noise: bool = True,
        variance_tolerance: float | None = None,
        exposure: ArrayLike | None = None,
    ) -> Any:
        """Return the posterior mean, and on request the standard deviation or covariance.

        Args:
            X: ``(m, d)``.
            return_std: whether to return the standard deviations as well.
            return_cov: whether to return the covariance between the rows as well; with a Gaussian likelihood.
            include_noise: whether they are those of new observations, or of what is expected of these given
                the function. With one known noise variance per row the noise of new rows is not known and
                never included.
            variance_tolerance: with ``return_std``, what a variance may be too large by, as a share of the
                prior variance of its row, where the model predicts by conjugate gradients. The first such
                call makes a cache of low rank; rows where its error bound exceeds the tolerance are solved
                for as without one.
            exposure: ``(m,)``, of the new observations, where the likelihood takes one; 1 by default, so that
                rates and shares are returned.

        Returns:
            ``(m,)`` or ``(m, t)`` means; with ``return_std`` also deviations of the same shape; with
            ``return_cov`` also ``(m, m)`` or ``(m, m, t)`` covariances.

        Raises:
            InputError: both are asked for, a tolerance that is not positive, or one without ``return_std``.
            InsufficientMemoryError: a covariance of more rows than the memory holds.
        """
        if self._is_gaussian(exposure):
            return super().predict(
                X,
                return_std,
                return_cov,
                include_noise=include_noise,
                variance_tolerance=variance_tolerance,
            )
        if return_cov or variance_tolerance is not None:
            raise self._refused("return_cov and variance_tolerance are")
        with torch.no_grad():
            mean, variance, doubt = self._predictive(X, exposure).moments()
        if not return_std:
            return mean.cpu().numpy()
        return mean.cpu().numpy(), (variance if include_noise else doubt).sqrt().cpu().numpy()

    def predict_quantiles(
        self, X: Any, q: ArrayLike, *, include_noise: bool = True, exposure: ArrayLike | None = None
    ) -> Array:
        """Return quantiles of the predictive distribution.

        Args:
            X: ``(m, d)``.
            q: probabilities strictly between 0 and 1.
            include_noise: as in `predict`; without it only with a Gaussian likelihood.
            exposure: as in `predict`.

        Returns:
            ``(m, len(q))``, or ``(m, t, len(q))`` for several outputs. Of counts the smallest that has at
            least the probability.

        Raises:
            InputError: a probability outside (0, 1).
        """
        if self._is_gaussian(exposure):
            return super().predict_quantiles(X, q, include_noise=include_noise)
        if not include_noise:
            raise self._refused("quantiles without noise are")
        probabilities = check_probabilities(q)
        with torch.no_grad():
            return self._predictive(X, exposure).quantiles(probabilities)

    def log_predictive_density(self, X: Any, y: Any) -> Array:
        """Return the log density of each new observation on its own.

        Args:
            X: ``(m, d)``.
            y: ``(m,)`` or ``(m, t)``, as in `fit`.

        Returns:
            ``(m,)`` or ``(m, t)``, in nats; of counts and events the log probability.

        Raises:
            InputError: the noise of new rows is not known, because that of the old ones was given row by row;
                or observations that cannot be.
        """
        if self._is_gaussian(None):
            return super().log_predictive_density(X, y)
        found = self._predictive(X, None)
        outputs = observed_outputs(y, len(found.mean), found.likelihood)
        found.likelihood.check(outputs)
        with torch.no_grad():
            density = found.log_density(torch.tensor(outputs, device=found.mean.device))
        return np.asarray(density.cpu().numpy())

    def sample_y(
        self,
        X: Any,
        n_samples: int = 1,
        random_state: int | np.random.RandomState | None = 0,
        *,
        include_noise: bool = True,
        exposure: ArrayLike | None = None,
    ) -> Array:
        """Draw from the predictive distribution: jointly with a Gaussian likelihood, else row by row.

        Args:
            X: ``(m, d)``.
            n_samples: number of draws.
            random_state: seed.
            include_noise: whether the draws are observations, or functions without noise; the latter only
                with a Gaussian likelihood.
            exposure: as in `predict`.

        Returns:
            ``(m, n_samples)``, or ``(m, t, n_samples)`` for several outputs.

        Raises:
            InputError: a number of draws that is no integer, or negative.
            InsufficientMemoryError: more rows than the memory holds the joint covariance of.
        """
        if self._is_gaussian(exposure):
            return super().sample_y(X, n_samples, random_state, include_noise=include_noise)
        if not include_noise:
            raise self._refused("draws without noise are")
        check_count(n_samples, "n_samples")
        seed = int(check_seed(random_state).randint(2**31 - 1))
        found = self._predictive(X, exposure)
        generator = torch.Generator(found.mean.device).manual_seed(seed)
        with torch.no_grad():
            return np.asarray(found.sample(n_samples, generator).cpu().numpy())

    def score(self: Any, X: Any, y: Any, sample_weight: ArrayLike | None = None) -> float:
        """Return the share of the variance that is explained; of rates where ``y`` has exposures."""
        outputs = np.asarray(y)
        if self._response is None or outputs.ndim == 1 or outputs.shape[1] == 1:
            return float(r2_score(y, self.predict(X), sample_weight=sample_weight))
        weights = outputs[:, 1] * (1.0 if sample_weight is None else np.asarray(sample_weight))
        return float(r2_score(outputs[:, 0] / outputs[:, 1], self.predict(X), sample_weight=weights))

    def log_marginal_likelihood(self, theta: ArrayLike | None = None, eval_gradient: bool = False) -> Any:
        """Return the log marginal likelihood of hyperparameters, or what approximates it.

        Args:
            theta: ``(p,)``, in the order of ``theta_names_``; the fitted ones by default.
            eval_gradient: whether to return the gradient too.

        Returns:
            A number of nats; with ``eval_gradient`` also ``(p,)`` derivatives. With a Gaussian likelihood
            minus infinity and zeros where the covariance has no factor, or a number is beyond what a float
            holds.

        Raises:
            InputError: another number of hyperparameters, or such that are not finite.
            InsufficientMemoryError: other hyperparameters of a model that was fitted by solves, where the
                matrix that they are evaluated with, exactly, does not fit.
        """
        if self._is_gaussian(None):
            return super().log_marginal_likelihood(theta, eval_gradient)
        point = self.theta_ if theta is None else check_numbers(theta, "theta")
        if point.shape != self.theta_.shape or not np.isfinite(point).all():
            raise InputError(
                f"theta must be {len(self.theta_)} finite numbers {self.theta_names_}, got {theta!r}"
            )
        objective: LatentObjective = self._objective_of_response
        with threads_for(len(objective.x)):
            value, slope = objective.evaluate(point, gradient=eval_gradient)
            objective.theta.assign(self.theta_)
        return (value, slope) if eval_gradient else value

    def log_evidence(self, prior_width: float = 1.0) -> float:
        r"""Return the log evidence of the model, :math:`\log p(y)`: all that was fitted is averaged over.

        Hyperparameters by Laplace's approximation at their fitted values; with a Gaussian likelihood the
        coefficients of the mean exactly, under a flat prior of density 1 for a unit of ``y``. Differences
        between models of the same data and the same mean, in nats, are log Bayes factors. Without priors, and
        after ``solver="cg"`` or ``"ski"``, BIC stands for it: :math:`\log p(y \mid \hat\theta) - \tfrac12 p
        \log n`; compare models that were fitted alike.

        Args:
            prior_width: by which the standard deviations of the hyperparameters' priors are multiplied, with
                a Gaussian likelihood; other ones than 1 have a mode of their own, which is searched for from
                the fitted values.

        Raises:
            InputError: a model whose hyperparameters do not maximise the marginal likelihood; another width
                of priors that there are none of.

        Source: MacKay (2003), Information theory, inference, and learning algorithms, chapters 27 and 28.
        """
        if self._is_gaussian(None):
            return super().log_evidence(prior_width)
        if prior_width != 1.0 or self.priors is None:
            raise self._refused("another prior_width, and evidence without priors, are")
        objective: LatentObjective = self._objective_of_response
        with threads_for(len(objective.x)):
            found = laplace(
                log_joint(objective),
                self.theta_,
                objective.theta.prior_precision**-0.5,
                step=objective.theta.step,
            )
            objective.theta.assign(self.theta_)
        return found.log_evidence

    def decompose(self, X: Any = None) -> Decomposition:
        """Split the function into its mean and the terms of the kernel; see `PredictionMixin.decompose`."""
        self._only_gaussian("a decomposition is")
        return super().decompose(X)

    def sample_functions(
        self, n_samples: int = 1, random_state: int | np.random.RandomState | None = 0
    ) -> FunctionSamples:
        """Draw functions from the posterior; see `PredictionMixin.sample_functions`."""
        self._only_gaussian("functions are drawn")
        return super().sample_functions(n_samples, random_state)

    def joint_density(self) -> JointDensity:
        """Return the joint density of the outputs; see `ScoringMixin.joint_density`."""
        self._only_gaussian("the joint density is")
        return super().joint_density()

    def observed(self: Any) -> tuple[Array, Array]:
        """Return the rows and the outputs that were learnt from, ``(n, d)`` and ``(n, t)``, in their units.

        Counts and successes with an exposure are divided by it, as `predict` returns them.
        """
        if self._is_gaussian(None):
            data = self.posterior_.data
            return data.x.cpu().numpy(), data.y.cpu().numpy() * self.y_scale_ + self.y_mean_
        y = self._response.seen.y.cpu().numpy()
        return self._response.x.cpu().numpy(), y[:, :1] / y[:, 1:] if y.shape[1] > 1 else y

    def _is_gaussian(self, exposure: ArrayLike | None) -> bool:
        check_is_fitted(self)
        if self._response is None and exposure is not None:
            raise InputError("a Gaussian likelihood takes no exposure: leave it out, or take 'poisson'")
        return self._response is None

    def _refused(self, what: str) -> InputError:
        return InputError(
            f"{what} of likelihood='gaussian', and this model has {self.likelihood!r}: leave them out"
        )

    def _only_gaussian(self, what: str) -> None:
        """Raise `InputError` for what is known of Gaussian observations only."""
        check_is_fitted(self)
        if self._response is not None:
            raise InputError(
                f"{what} of likelihood='gaussian', and this model has {self.likelihood!r}: take predict, "
                "predict_quantiles, log_predictive_density or sample_y"
            )


def _sizes(n: int) -> list[int]:
    """Return by how many rows hyperparameters are learnt: by some first, which are a start for more."""
    last = min(n, SEARCHED)
    return [round(FIRST * last), last] if last >= STAGED else [last]
