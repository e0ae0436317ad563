"""How well a fitted Gaussian process explains the data that it was fitted to."""

import copy
import math
from typing import Any, Literal

import gpytorch
import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.validation import check_is_fitted

from nonparam.errors import InputError
from nonparam.kernels.strips import assemble
from nonparam.laplace import Laplace
from nonparam.model_selection.evidence_integral import laplace_at
from nonparam.model_selection.joint import GaussianJoint, JointDensity, SolvedJoint, Units, log_volume
from nonparam.model_selection.prior_width import evidence_of_width
from nonparam.newton import SEARCHED
from nonparam.objective import MATRICES, Data, Objective, matrices_needed
from nonparam.posterior import Posterior
from nonparam.scales import NOISE_FRACTION, Scales, default_priors
from nonparam.solvers.cholesky import CholeskyFactor
from nonparam.solvers.plan import choose
from nonparam.structured import with_structure
from nonparam.theta import Theta
from nonparam.threads import threads_for
from nonparam.validation import check_numbers

__all__ = ["ScoringMixin"]

Array = NDArray[np.float64]


class ScoringMixin:
    """What is maximised in training, and how good the fitted model is by it.

    Attributes:
        objective: what is maximised.
        priors: ``"default"``, or ``None`` for none.
        kernel_: the kernel with its fitted values.
        theta_: the fitted free hyperparameters.
        theta_names_: their names.
        log_marginal_likelihood_: of the data, in nats.
        posterior_: the process given the data, each output centred and scaled.
        y_mean_: what was subtracted from each output.
        y_scale_: what each output was divided by.
    """

    objective: str
    priors: Literal["default"] | None
    kernel_: gpytorch.kernels.Kernel
    theta_: Array
    theta_names_: list[str]
    log_marginal_likelihood_: float
    posterior_: Posterior
    y_mean_: Array
    y_scale_: Array
    _scales: Scales
    _prior_mean: Array

    def _objective(self, scales: Scales, data: Data) -> Objective:
        theta = self._theta(self.kernel_, scales, data)
        return Objective(data, theta, with_prior=self.priors == "default")

    def _theta(self, kernel: gpytorch.kernels.Kernel, scales: Scales, data: Data) -> Theta:
        priors = default_priors(kernel, scales, informative=self.priors == "default")
        return Theta(kernel, priors, NOISE_FRACTION * scales.y_variance if data.noise is None else None)

    @property
    def _maximised(self) -> str:
        """What the hyperparameters maximise, besides their prior."""
        return self.objective

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
        point = self.theta_ if theta is None else check_numbers(theta, "theta")
        if point.shape != self.theta_.shape:
            raise InputError(
                f"theta must have {len(self.theta_)} entries {self.theta_names_}, got {point.shape}"
            )
        if not np.isfinite(point).all():
            raise InputError(f"theta must be finite, got {theta!r}")
        data = self.posterior_.data
        if theta is None and not eval_gradient:
            return self.log_marginal_likelihood_
        if self.posterior_.solver in ("cg", "ski"):
            choose("cholesky", len(data.x), matrices_needed(self.kernel_, data.x), data.x.device)
        with threads_for(len(data.x)):
            value, slope = self._own_objective().evaluate(point, gradient=eval_gradient)
        value -= self._change_of_units
        return (value, slope) if eval_gradient else value

    def log_evidence(self, prior_width: float = 1.0) -> float:
        r"""Return the log evidence of the model, :math:`\log p(y)`: all that was fitted is averaged over.

        Hyperparameters by Laplace's approximation at their fitted values, the coefficients of the mean
        exactly, under a flat prior of density 1 for a unit of ``y``. Differences between models of the same
        data and the same mean, in nats, are log Bayes factors. Without priors, and after ``solver="cg"`` or
        ``"ski"``, BIC stands for it: :math:`\log p(y \mid \hat\theta) - \tfrac12 p \log n`; compare models
        that were fitted alike.

        Args:
            prior_width: by which the standard deviations of the hyperparameters' priors are multiplied; other
                ones than 1 have a mode of their own, which is searched for from the fitted values.

        Raises:
            InputError: a model whose hyperparameters do not maximise the marginal likelihood; another width
                of priors that there are none of.

        Source: MacKay (2003), Information theory, inference, and learning algorithms, chapters 27 and 28.
        """
        check_is_fitted(self)
        if self._maximised != "lml":
            raise InputError(
                "the evidence is that of hyperparameters round the maximum of the marginal likelihood, and "
                f"this model was fitted with objective={self._maximised!r}: fit with objective='lml'"
            )
        data, mean = self.posterior_.data, self.posterior_.mean
        if not 0.0 < prior_width < math.inf or (prior_width != 1.0 and not self._by_laplace):
            raise InputError(
                "prior_width must be a positive number, and 1 where BIC stands for the evidence (without "
                f"priors, or after solver='cg' or 'ski'); got {prior_width!r}"
            )
        if not self._by_laplace:
            rows = float(data.weights.sum())
            return self.log_marginal_likelihood_ - 0.5 * len(self.theta_) * math.log(rows)
        if prior_width == 1.0:
            found = self._laplace().log_evidence + log_volume(mean, data.y.shape[1])
        else:
            found = evidence_of_width(self._own_objective(), self.theta_, prior_width)
        return float(found) - self._change_of_units + data.basis.shape[1] * float(np.log(self.y_scale_).sum())

    def _laplace(self) -> Laplace:
        """Return the Gaussian that approximates the posterior of the hyperparameters."""
        return laplace_at(self._own_objective(), self.theta_)

    def _own_objective(self) -> Objective:
        """Return what was maximised, with a copy of the kernel that may be changed."""
        other = copy.copy(self)
        other.kernel_ = copy.deepcopy(self.kernel_)
        objective = other._objective(self._scales, self.posterior_.data)
        objective.theta.prior_mean = self._prior_mean  # a period's was where the search began
        return with_structure(objective, self.posterior_.solver)

    @property
    def num_parameters_(self) -> int:
        """How many hyperparameters were learnt, and coefficients of the mean fitted."""
        check_is_fitted(self)
        data = self.posterior_.data
        return len(self.theta_) + data.basis.shape[1] * data.y.shape[1]

    def joint_density(self) -> JointDensity:
        """Return the joint density of the outputs at the fitted hyperparameters, each row counted once.

        It is exact up to 4,000 rows, and beyond where a Cholesky factor was made; after another solver solves
        answer for sets of rows that are held out.

        Raises:
            InsufficientMemoryError: a matrix that does not fit.

        Examples:
            >>> from nonparam import GPRegressor
            >>> X = np.linspace(0.0, 6.0, 30)[:, None]
            >>> model = GPRegressor("rbf", mean="zero").fit(X, np.sin(X[:, 0]) + 0.1 * np.cos(40.0 * X[:, 0]))
            >>> increments = model.joint_density().increments(np.arange(30))
            >>> bool(np.isclose(increments.sum(), model.log_marginal_likelihood_))
            True
        """
        check_is_fitted(self)
        posterior, data = self.posterior_, self.posterior_.data
        units = Units(data.y.cpu().numpy() * self.y_scale_ + self.y_mean_, self.y_scale_)
        if not isinstance(posterior.factor, CholeskyFactor) and len(data.x) > SEARCHED:
            return SolvedJoint(posterior.factor, posterior.mean, data.basis, units)
        choose("cholesky", len(data.x), MATRICES, data.x.device)
        noise = data.noise_variances(posterior.noise)
        with torch.no_grad():
            a = assemble(self.kernel_, data.x).matrix
        torch.diagonal(a).add_(noise + posterior.factor.jitter)
        return GaussianJoint(a, noise, data.y, data.basis, units)

    @property
    def _change_of_units(self) -> float:
        """What the log density of the outputs loses in their own units."""
        return float(self.posterior_.data.weights.sum()) * float(np.log(self.y_scale_).sum())

    @property
    def _by_laplace(self) -> bool:
        proper = self.priors is not None or len(self.theta_) == 0
        return proper and self.posterior_.solver not in ("cg", "ski")
