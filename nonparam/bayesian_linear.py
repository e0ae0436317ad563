"""Bayesian linear regression on features, with the exact evidence."""

import math
from typing import Any, Literal, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy import stats
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.utils import column_or_1d
from sklearn.utils.validation import check_is_fitted

from nonparam.errors import InputError
from nonparam.feature_maps import Features, features_at, fit_features
from nonparam.linear_evidence import rotate
from nonparam.model_selection.adaptive_quadrature import IMPROPER
from nonparam.model_selection.joint import GaussianJoint, JointDensity, Units
from nonparam.model_selection.student_joint import StudentJoint
from nonparam.objective import MATRICES
from nonparam.solvers.plan import check_covariance, choose
from nonparam.validation import (
    check_choice,
    check_count,
    check_numbers,
    check_outputs,
    check_probabilities,
    check_scale,
    check_seed,
    check_table,
)

__all__ = ["BayesianLinearRegressor"]

Array = NDArray[np.float64]

ROUNDING = 1e-10  # of a correlation
MOST_WIDER = 1e11  # a prior variance in units of the noise: with more, log densities lose the third digit


class BayesianLinearRegressor(RegressorMixin, BaseEstimator):  # type: ignore[misc]  # sklearn is untyped
    r"""Bayesian linear regression: a linear model on features, its coefficients integrated out exactly.

    .. math::

        y_i = b + \phi(x_i)^\top \beta + \varepsilon_i, \quad \varepsilon_i \sim N(0, \sigma^2)

    with :math:`\beta \sim N(m_0, V_0)`; or, with ``noise="marginalise"``, the conjugate prior

    .. math::

        \beta \mid \sigma^2 \sim N(m_0, \sigma^2 V_0), \quad \sigma^2 \sim \mathrm{InvGamma}(a_0, b_0),

    under which the outputs have a multivariate Student-t density. Everything is in your units; as one prior
    variance is shared by all features, features in unlike units need scales of their own, such as a
    ``StandardScaler`` among the ``features``.

    Args:
        features: ``None`` for the columns of ``X``; a function that makes ``(n, p)`` features of ``(n, d)``
            rows; or a scikit-learn transformer, which is fitted to ``X`` without ``y``.
        intercept: whether a constant :math:`b` with a flat prior is added, as the mean of `GPRegressor`. That
            prior is improper: compare the evidence with that of models that have an intercept too. For a
            proper prior leave it out, and make a feature that is 1.
        prior_mean: :math:`m_0`, one number or ``(p,)``.
        prior_variance: :math:`V_0`: ``"learn"`` for one variance of all coefficients, that of largest
            evidence; a number for all; ``(p,)`` variances; or a ``(p, p)`` covariance. With
            ``noise="marginalise"`` in units of the noise variance.
        noise: the noise variance; ``"learn"`` for that of largest evidence, at least a millionth of the
            variance of ``y``; or ``"marginalise"`` for an inverse gamma prior.
        noise_shape: :math:`a_0`, with ``noise="marginalise"``.
        noise_rate: :math:`b_0`, with ``noise="marginalise"``, in units of ``y`` squared.

    Attributes:
        coef_: ``(p,)``, the posterior mean of the coefficients.
        intercept_: that of the intercept, 0 without one.
        prior_variance_: learnt or given.
        noise_: the noise variance, learnt or given, or its posterior mean.
        noise_shape_: of the posterior of the noise variance, with ``noise="marginalise"``.
        noise_rate_: of the posterior of the noise variance, with ``noise="marginalise"``.
        log_marginal_likelihood_: of the data, in nats, at the variances that were learnt or given.
        theta_: the logarithms of the variances that were learnt.
        theta_names_: their names.
        n_features_in_: the number of columns of ``X``.
        feature_names_in_: their names, where ``X`` had some.

    Raises:
        InputError: data or arguments that no model can be fitted to; the message says what to change.

    Source: Bishop (2006), Pattern recognition and machine learning, sections 3.3 and 3.5; O'Hagan and Forster
    (2004), Kendall's advanced theory of statistics, volume 2B, chapter 11, for the conjugate prior.

    Examples:
        >>> X = np.linspace(0.0, 1.0, 20)[:, None]
        >>> model = BayesianLinearRegressor(noise=0.01, prior_variance=100.0).fit(X, 1.0 + 2.0 * X[:, 0])
        >>> model.coef_.round(2), round(model.intercept_, 2)
        (array([2.]), 1.0)
    """

    def __init__(
        self,
        features: Features = None,
        *,
        intercept: bool = True,
        prior_mean: float | ArrayLike = 0.0,
        prior_variance: float | ArrayLike | Literal["learn"] = "learn",
        noise: float | Literal["learn", "marginalise"] = "learn",
        noise_shape: float | None = None,
        noise_rate: float | None = None,
    ) -> None:
        self.features = features
        self.intercept = intercept
        self.prior_mean = prior_mean
        self.prior_variance = prior_variance
        self.noise = noise
        self.noise_shape = noise_shape
        self.noise_rate = noise_rate

    def fit(self, X: Any, y: Any) -> Self:
        """Learn the variances that are to be learnt, and condition on the data.

        Args:
            X: ``(n, d)``.
            y: ``(n,)``.

        Returns:
            The estimator.
        """
        check_choice(self.intercept, "intercept", (True, False))
        noise = self._checked_noise()
        self._noise_prior = self._checked_noise_prior()
        x = check_table(self, X, reset=True)
        check_outputs(y, len(x))
        outputs = check_outputs(column_or_1d(y, warn=True), len(x))
        check_scale(x, outputs[:, None])
        if len(x) <= self.intercept:
            raise InputError("1 sample determines the intercept and tells nothing else: expected 2 or more")
        self._function = fit_features(self.features, x)
        phi = features_at(self._function, x)
        self._root = _root_of(self.prior_variance, phi.shape[1])
        self._prior_mean = _checked_mean(self.prior_mean, phi.shape[1])
        self._rotate(phi, outputs, bool(self.intercept))
        self._learn(noise)
        self._condition()
        return self

    def update(self, X: Any, y: Any) -> Self:
        """Condition on more rows at the same variances, without learning them again.

        Args:
            X: ``(m, d)``.
            y: ``(m,)``.

        Returns:
            The estimator; its predictions are those of a model that saw all rows at once.
        """
        phi = self._features(X)
        outputs = check_outputs(y, len(phi), multi_output=False)
        outputs = np.concatenate([self._outputs, outputs])
        self._rotate(np.concatenate([self._phi, phi]), outputs, self._rotated.intercept)
        self._condition()
        return self

    def _rotate(self, phi: Array, outputs: Array, intercept: bool) -> None:
        self._phi, self._outputs = phi, outputs
        self._residual = outputs - phi @ self._prior_mean
        self._rotated = rotate(_times(phi, self._root), self._residual, intercept=intercept)

    def _checked_noise(self) -> float | None:
        """Return a known noise variance, or ``None``."""
        if isinstance(self.noise, str):
            check_choice(self.noise, "noise", ("learn", "marginalise"))
            return None
        return _positive(self.noise, "noise", "or take 'learn' or 'marginalise'")

    def _checked_noise_prior(self) -> tuple[float, float] | None:
        """Return the shape and rate of the prior of the noise variance where it has one."""
        given = {"noise_shape": self.noise_shape, "noise_rate": self.noise_rate}
        if isinstance(self.noise, str) and self.noise == "marginalise":
            advice = "without it the prior of the noise variance is improper"
            shape, rate = (_positive(value, name, advice) for name, value in given.items())
            return shape, rate
        for name, value in given.items():
            if value is not None:
                raise InputError(f"{name} is of use with noise='marginalise', got noise={self.noise!r}")
        return None

    def _learn(self, noise: float | None) -> None:
        """Find the variances of largest evidence."""
        model = self._rotated
        learns = isinstance(self.prior_variance, str) and bool(model.singular.any())
        if self._noise_prior:
            self._ratio = model.best_ratio_student(*self._noise_prior) if learns else 1.0
            variance, learnt = self._ratio, {}
        else:
            self._ratio, self.noise_ = model.best(learns, noise)
            variance, learnt = self._ratio * self.noise_, {} if noise is not None else {"noise": self.noise_}
        self.prior_variance_ = variance if isinstance(self.prior_variance, str) else self.prior_variance
        learnt = {"prior_variance": variance, **learnt} if learns else learnt
        self.theta_names_, self.theta_ = list(learnt), np.log(np.array(list(learnt.values())))

    def _condition(self) -> None:
        """Set what follows from the rows and the variances."""
        model, ratio = self._rotated, self._ratio
        if self._noise_prior:
            shape, rate = self._noise_prior
            self.log_marginal_likelihood_ = float(model.log_density_student(ratio, shape, rate))
            self.noise_shape_ = shape + 0.5 * model.free
            self.noise_rate_ = rate + 0.5 * float(model.quadratic(ratio))
            self._freedom, self._scale = 2.0 * self.noise_shape_, self.noise_rate_ / self.noise_shape_
            self.noise_ = (
                self.noise_rate_ / (self.noise_shape_ - 1.0) if self.noise_shape_ > 1.0 else math.inf
            )
        else:
            self.log_marginal_likelihood_ = float(model.log_density(ratio, self.noise_))
            self._freedom, self._scale = math.inf, self.noise_
        weights = ratio * model.singular * model.shrinkage(ratio) * model.scores
        self.coef_ = self._prior_mean + _times((model.right @ weights)[None], self._root.T)[0]
        self._centre = self._phi.mean(0) if model.intercept else np.zeros(len(self.coef_))
        self._level = float(self._outputs.mean()) if model.intercept else 0.0
        self.intercept_ = self._level - float(self._centre @ self.coef_)

    @property
    def num_parameters_(self) -> int:
        """How many variances were learnt; coefficients and intercept are integrated out."""
        check_is_fitted(self)
        return len(self.theta_)

    @property
    def coef_covariance_(self) -> Array:
        """The posterior covariance of the coefficients, ``(p, p)``."""
        check_is_fitted(self)
        self._check_variance()
        check_covariance(len(self.coef_), 0)
        w, kept = self._rotated.right, self._rotated.shrinkage(self._ratio)
        inner = np.eye(len(w)) - w @ w.T + (w * kept) @ w.T
        outer = _times(_times(inner, self._root.T).T, self._root.T)
        return np.asarray(self._ratio * self.noise_ * outer)

    def predict(
        self, X: Any, return_std: bool = False, return_cov: bool = False, *, include_noise: bool = True
    ) -> Any:
        """Return the posterior mean, and on request the standard deviation or covariance.

        Args:
            X: ``(m, d)``.
            return_std: whether to return the standard deviations as well.
            return_cov: whether to return the covariance between the rows as well.
            include_noise: whether they are those of new observations, or of the function without noise.

        Returns:
            ``(m,)`` means; with ``return_std`` also ``(m,)`` deviations; with ``return_cov`` also ``(m, m)``
            covariances.

        Raises:
            InputError: both are asked for; or a Student-t density of two degrees of freedom or fewer, which
                has no variance.
            InsufficientMemoryError: a covariance of more rows than the memory holds.
        """
        if return_std and return_cov:
            raise InputError("ask for return_std or for return_cov, not for both")
        mean, root = self._predicted(X)
        if not (return_std or return_cov):
            return mean
        self._check_variance()
        if return_std:
            return mean, np.sqrt(self.noise_ * (np.square(root).sum(1) + include_noise))
        check_covariance(len(mean), self._rotated.n)
        return mean, self.noise_ * (root @ root.T + include_noise * np.eye(len(mean)))

    def _check_variance(self) -> None:
        if self._freedom <= 2.0:
            raise InputError(
                f"a Student-t density of {self._freedom:g} degrees of freedom has no variance: give more "
                "rows or a larger noise_shape, or ask for predict_quantiles"
            )

    def _predicted(self, X: Any) -> tuple[Array, Array]:
        """Return means ``(m,)``, and a root of the function's covariance in units of the noise."""
        phi = self._features(X)
        model, ratio = self._rotated, self._ratio
        moved = phi - self._centre
        rows = _times(moved, self._root)
        known = rows @ model.right
        unknown = rows - known @ model.right.T  # directions that the data say nothing of
        level = np.full((len(phi), 1), math.sqrt(model.intercept / model.n))
        parts = [known * np.sqrt(ratio * model.shrinkage(ratio)), unknown * math.sqrt(ratio), level]
        return self._level + moved @ self.coef_, np.concatenate(parts, 1)

    def _features(self, X: Any) -> Array:
        check_is_fitted(self)
        phi = features_at(self._function, check_table(self, X, reset=False))
        if phi.shape[1] != len(self.coef_):
            raise InputError(f"features must make {len(self.coef_)} columns as in fit, got {phi.shape[1]}")
        return phi

    def _scales(self, X: Any, include_noise: bool = True) -> tuple[Array, Array]:
        """Return locations and scales of the predictive densities, both ``(m,)``."""
        mean, root = self._predicted(X)
        return mean, np.sqrt(self._scale * (np.square(root).sum(1) + include_noise))

    def predict_quantiles(self, X: Any, q: ArrayLike, *, include_noise: bool = True) -> Array:
        """Return quantiles of the predictive distribution.

        Args:
            X: ``(m, d)``.
            q: probabilities strictly between 0 and 1.
            include_noise: as in `predict`.

        Returns:
            ``(m, len(q))``.

        Raises:
            InputError: a probability outside (0, 1).
        """
        probabilities = check_probabilities(q)
        mean, scale = self._scales(X, include_noise)
        return np.asarray(mean[:, None] + scale[:, None] * stats.t.ppf(probabilities, self._freedom))

    def log_predictive_density(self, X: Any, y: Any) -> Array:
        """Return the log density of each new observation on its own, ``(m,)``, in nats.

        Args:
            X: ``(m, d)``.
            y: ``(m,)``.
        """
        mean, scale = self._scales(X)
        outputs = check_outputs(y, len(mean), multi_output=False)
        return np.asarray(stats.t.logpdf(outputs, self._freedom, mean, scale))

    def sample_y(
        self,
        X: Any,
        n_samples: int = 1,
        random_state: int | np.random.RandomState | None = 0,
        *,
        include_noise: bool = True,
    ) -> Array:
        """Draw jointly from the predictive distribution.

        Args:
            X: ``(m, d)``.
            n_samples: number of draws.
            random_state: seed.
            include_noise: whether the draws are observations, or functions without noise.

        Returns:
            ``(m, n_samples)``.

        Raises:
            InputError: a number of draws that is no integer, or negative.
        """
        check_count(n_samples, "n_samples")
        rng = check_seed(random_state)
        mean, root = self._predicted(X)
        draws = root @ rng.standard_normal((root.shape[1], n_samples))
        if include_noise:
            draws += rng.standard_normal(draws.shape)
        noise = np.full(n_samples, self._scale)
        if self._noise_prior:
            noise = self.noise_rate_ / rng.standard_gamma(self.noise_shape_, n_samples)
        return np.asarray(mean[:, None] + np.sqrt(noise) * draws)

    def log_evidence(self) -> float:
        r"""Return the log evidence of the model in nats, what was learnt counted.

        It is ``log_marginal_likelihood_`` where nothing was learnt, and exact; else the evidence at the
        variances that maximise it, less what BIC asks for each, :math:`\tfrac12 \log n`.

        Source: Schwarz (1978), Estimating the dimension of a model, Annals of Statistics 6, 461-464.
        """
        check_is_fitted(self)
        return self.log_marginal_likelihood_ - 0.5 * self.num_parameters_ * math.log(self._rotated.n)

    def joint_density(self) -> JointDensity:
        """Return the joint density of the outputs at the variances that were learnt or given.

        Raises:
            InputError: a prior so much wider than the noise that their sum has too few digits of the noise.
            InsufficientMemoryError: a matrix that does not fit.

        Examples:
            >>> X = np.linspace(0.0, 1.0, 20)[:, None]
            >>> model = BayesianLinearRegressor(intercept=False).fit(X, X[:, 0] ** 2)
            >>> increments = model.joint_density().increments(np.arange(20))
            >>> bool(np.isclose(increments.sum(), model.log_marginal_likelihood_))
            True
        """
        check_is_fitted(self)
        model, scale = self._rotated, 1.0 if self._noise_prior else self.noise_
        n, widest = model.n, self._ratio * float(model.singular.max(initial=0.0)) ** 2
        if widest > MOST_WIDER:
            raise InputError(
                f"along one direction the prior variance is {widest:.0e} times that of the noise, and beyond "
                f"{MOST_WIDER:.0e} a covariance of both keeps too few digits: take a narrower prior, or "
                "features of one scale; log_evidence() and predictions are exact all the same"
            )
        choose("cholesky", n, MATRICES)
        half = model.left * (math.sqrt(self._ratio * scale) * model.singular)
        covariance = torch.from_numpy(half @ half.T + scale * np.eye(n))
        y, basis = torch.from_numpy(self._residual[:, None]), torch.ones(n, int(model.intercept)).double()
        units = Units(self._outputs[:, None], np.ones(1))
        if self._noise_prior:
            return StudentJoint(covariance, y, basis, units, *self._noise_prior)
        noise = torch.full((n,), self.noise_, dtype=torch.float64)
        return GaussianJoint(covariance, noise, y, basis, units)


def _positive(value: Any, name: str, advice: str) -> float:
    number = check_numbers(value, name) if value is not None else np.array(np.nan)
    if number.ndim or isinstance(value, bool | np.bool_) or not 0.0 < number < np.inf:
        raise InputError(f"{name} must be a positive number, got {value!r}: {advice}")
    return float(number)


def _checked_mean(value: Any, p: int) -> Array:
    mean = check_numbers(value, "prior_mean")
    if mean.shape not in ((), (p,)) or not np.isfinite(mean).all():
        raise InputError(
            f"prior_mean must be one finite number or one for each of {p} features, got {value!r}"
        )
    return np.broadcast_to(mean, p).copy()


def _root_of(variance: Any, p: int) -> Array:
    """Return ``L`` with ``L L'`` the shape of the prior covariance: a number, ``(p,)`` or ``(p, p)``."""
    if isinstance(variance, str):
        check_choice(variance, "prior_variance", ("learn",))
        return np.ones(())
    given = check_numbers(variance, "prior_variance")
    if given.shape not in ((), (p,), (p, p)) or isinstance(variance, bool | np.bool_):
        raise InputError(
            f"prior_variance must be 'learn', a number, ({p},) variances or a ({p}, {p}) covariance, for {p} "
            f"features; got an array of shape {given.shape}"
        )
    if np.isinf(given).any():
        raise InputError(f"an infinite variance in prior_variance is no prior: {IMPROPER}; or take 'learn'")
    if np.isnan(given).any() or (np.diagonal(given) if given.ndim == 2 else given).min(initial=0.0) < 0.0:
        raise InputError(f"variances in prior_variance must not be negative or NaN, got {variance!r}")
    return np.sqrt(given) if given.ndim < 2 else _root_of_matrix(given)


def _root_of_matrix(covariance: Array) -> Array:
    scale = np.sqrt(np.diagonal(covariance))
    scale = np.where(scale > 0.0, scale, 1.0)
    correlation = covariance / np.outer(scale, scale)
    if not np.allclose(correlation, correlation.T, rtol=0.0, atol=ROUNDING):
        raise InputError("prior_variance must be symmetric: a covariance, or (p,) variances")
    values, vectors = np.linalg.eigh(correlation)
    if values.min(initial=0.0) < -ROUNDING * len(values):
        raise InputError(
            f"prior_variance is no covariance: a combination of coefficients has variance {values.min():.2g} "
            "in units of theirs"
        )
    return np.asarray(scale[:, None] * vectors * np.sqrt(np.maximum(values, 0.0)))


def _times(table: Array, root: Array) -> Array:
    """Return ``table (n, p)`` times a root of a covariance."""
    return np.asarray(table @ root if root.ndim == 2 else table * root)
