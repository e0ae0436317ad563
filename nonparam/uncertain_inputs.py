"""Regression on inputs that are missing in part, or measured with noise."""

import warnings
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import logsumexp
from scipy.stats import norm
from sklearn.base import BaseEstimator, RegressorMixin, clone
from sklearn.exceptions import DataConversionWarning
from sklearn.utils.validation import check_is_fitted

from nonparam.errors import InputError
from nonparam.gaussian_inputs import GaussianRows, fit_rows
from nonparam.gaussian_mixture import GaussianMixture, join
from nonparam.mixture_prediction import MixturePredictionMixin
from nonparam.regression import GPRegressor
from nonparam.validation import check_count, check_numbers, check_outputs, check_seed, check_table

__all__ = ["UncertainInputsRegressor"]

Array = NDArray[np.float64]

ROUNDS = 2  # of drawing rows by what the regressor says of their outputs
CANDIDATES = 20  # of which one is taken


class UncertainInputsRegressor(MixturePredictionMixin, RegressorMixin, BaseEstimator):  # type: ignore[misc]  # sklearn is untyped
    r"""Regression that averages over what its inputs may have been.

    .. math:: p(y_* \mid z_*, z, y) \approx \frac1{K L} \sum_{k, l} p(y_* \mid x_*^{(l)}, x^{(k)}, y)

    Entries of ``X`` that are NaN were not seen; others may have been measured with noise. The true rows, and
    the outputs with them, are taken for Gaussian: their mean and covariance are fitted to what was seen, and
    true rows are drawn from what they then are. A regressor is fitted to each draw. What it says of the
    outputs tells more of the rows: of twenty draws for each row one is taken, with the odds of its output,
    and the regressor is fitted again, twice. New rows are predicted by all regressors, at draws of their own.

    It serves where some of the entries are missing by chance, or where noise is small beside the spread of a
    column; what is missing *because* of its value misleads it.

    Args:
        estimator: a regressor of ours; by default `GPRegressor`.
        input_noise: the variance of the noise in each column of ``X``, ``(d,)``, or one number for all.
        n_draws: how often training rows are drawn, and new rows for each of these; nothing is drawn where
            nothing is uncertain.
        random_state: seed of the draws.

    Attributes:
        inputs_: the Gaussian of the columns of ``X`` and of the output.
        models_: the fitted regressors.
        weights_: theirs, which are equal.
        n_features_in_: the number of columns of ``X``.
        feature_names_in_: their names, where ``X`` had some.

    Raises:
        InputError: a column of which nothing was seen, or arguments that make no model.

    Source: Rubin (1987), Multiple imputation for nonresponse in surveys, chapter 3; rows by importance
    resampling: Rubin (1988), Using the SIR algorithm to simulate posterior distributions, Bayesian
    Statistics 3.

    Examples:
        >>> rng = np.random.default_rng(0)
        >>> X = rng.normal(size=(60, 2))
        >>> X[:, 1] += X[:, 0]
        >>> y = np.sin(X[:, 1])
        >>> X[::4, 1] = np.nan
        >>> model = UncertainInputsRegressor(n_draws=3, random_state=0).fit(X, y)
        >>> mean, sd = model.predict([[1.0, 1.2], [1.0, np.nan]], return_std=True)
        >>> bool(sd[1] > 2.0 * sd[0])  # the second row has its second column missing
        True
    """

    def __init__(
        self,
        estimator: Any = None,
        *,
        input_noise: float | ArrayLike = 0.0,
        n_draws: int = 10,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.estimator = estimator
        self.input_noise = input_noise
        self.n_draws = n_draws
        self.random_state = random_state

    def fit(self, X: Any, y: Any) -> Self:
        """Fit the Gaussian of the inputs, and a regressor to each draw of the true rows.

        Args:
            X: ``(n, d)``, with NaN where an entry was not seen.
            y: ``(n,)``.

        Returns:
            The estimator.
        """
        check_count(self.n_draws, "n_draws", least=1)
        z = check_table(self, X, reset=True, allow_missing=True)
        outputs = self._outputs(y, len(z))
        noise = self._noise(z.shape[1])
        _check_seen(z)
        rng = check_seed(self.random_state)
        self._scale = np.where(np.nanstd(z, 0) > 0.0, np.nanstd(z, 0), 1.0)
        unit = outputs.std() if outputs.std() > 0.0 else 1.0
        joint = np.column_stack([z / self._scale, outputs / unit])
        self.inputs_ = fit_rows(joint, np.append(noise / self._scale**2, 0.0))
        uncertain = not np.isfinite(z).all() or noise.any()
        drawn = self.inputs_.draw(joint, self.n_draws if uncertain else 1, rng)[:, :, :-1]
        given = GPRegressor() if self.estimator is None else self.estimator
        self.models_ = [clone(given).fit(rows * self._scale, outputs) for rows in drawn]
        for _ in range(ROUNDS if uncertain else 0):
            self.models_ = [self._again(model, z, outputs, rng) for model in self.models_]
        self.weights_ = np.full(len(self.models_), 1.0 / len(self.models_))
        self._seed = int(rng.randint(2**31 - 1))
        return self

    def _again(self, model: Any, z: Array, y: Array, rng: np.random.RandomState) -> Any:
        """Fit a regressor to rows that are likely by what it said of the outputs."""
        candidates = self._inputs.draw(z / self._scale, CANDIDATES, rng) * self._scale
        mixture = _components(model, candidates, include_noise=True)
        odds = norm.logpdf(y, mixture.means, mixture.sds)
        chosen = (odds + rng.gumbel(size=odds.shape)).argmax(0)  # one of each column, with these odds
        return clone(model).fit(candidates[chosen, np.arange(len(z))], y)

    @property
    def _inputs(self) -> GaussianRows:
        """The Gaussian of the inputs alone."""
        rows = self.inputs_
        return GaussianRows(rows.mean[:-1], rows.covariance[:-1, :-1], rows.noise[:-1])

    def _outputs(self, y: Any, n: int) -> Array:
        table = check_outputs(y, n)
        if table.ndim == 2 and table.shape[1] > 1:
            raise InputError(f"y must have one column, got {table.shape[1]}: fit a model to each")
        if table.ndim == 2:
            said = "A column-vector y was passed when a 1d array was expected: y.ravel() is one"
            warnings.warn(said, DataConversionWarning, stacklevel=3)
        return table.reshape(-1)

    def _noise(self, d: int) -> Array:
        noise = check_numbers(self.input_noise, "input_noise")
        if noise.shape not in ((), (d,)) or not (np.isfinite(noise) & (noise >= 0.0)).all():
            raise InputError(
                f"input_noise must be a variance, or one for each of the {d} columns: numbers from 0; got "
                f"{self.input_noise!r}"
            )
        return np.broadcast_to(noise, (d,)).astype(np.float64)

    def predictive_mixture(self, X: Any, *, include_noise: bool = True) -> GaussianMixture:
        """Return the predictive distribution of each row by itself.

        Args:
            X: ``(m, d)``, with NaN where an entry was not seen.
            include_noise: as in `predict`.

        Returns:
            Components of shape ``(m,)``, for each model and each draw of the new rows.
        """
        check_is_fitted(self)
        parts = [
            _components(model, rows, include_noise)
            for model, rows in zip(self.models_, self._drawn(X), strict=True)
        ]
        return join(self.weights_, parts)

    def _drawn(self, X: Any) -> Array:
        """Return draws of new rows for each model, ``(k, l, m, d)``."""
        z = check_table(self, X, reset=False, allow_missing=True)
        alone, (m, d), k = self._inputs, z.shape, len(self.models_)
        uncertain = not np.isfinite(z).all() or bool(alone.noise.any())
        each = self.n_draws if uncertain else 1
        drawn = alone.draw(z / self._scale, k * each, np.random.RandomState(self._seed))
        return np.asarray((drawn * self._scale).reshape(k, each, m, d))

    def log_predictive_density(self, X: Any, y: Any) -> Array:
        """Return the log density of each new observation on its own.

        Args:
            X: ``(m, d)``, with NaN where an entry was not seen.
            y: ``(m,)``.

        Returns:
            ``(m,)``, in nats.
        """
        mixture = self.predictive_mixture(X)
        outputs = self._outputs(y, mixture.means.shape[1])
        terms = norm.logpdf(outputs, mixture.means, mixture.sds)
        return np.asarray(logsumexp(terms, axis=0, b=mixture.weights[:, None]))

    def sample_y(
        self,
        X: Any,
        n_samples: int = 1,
        random_state: int | np.random.RandomState | None = 0,
        *,
        include_noise: bool = True,
    ) -> Array:
        """Draw from the predictive distribution: a model and true rows for each draw, then a function.

        Args:
            X: ``(m, d)``, with NaN where an entry was not seen.
            n_samples: number of draws.
            random_state: seed.
            include_noise: whether the draws are observations, or functions without noise.

        Returns:
            ``(m, n_samples)``.
        """
        check_count(n_samples, "n_samples", least=1)
        check_is_fitted(self)
        rng, drawn = check_seed(random_state), self._drawn(X)
        pairs = rng.randint(drawn.shape[:2], size=(n_samples, 2))
        columns = [
            self.models_[k].sample_y(drawn[k, draw], 1, rng, include_noise=include_noise) for k, draw in pairs
        ]
        return np.concatenate(columns, 1)

    def __sklearn_tags__(self) -> Any:
        """Return what scikit-learn's checks need to know."""
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags


def _components(model: Any, draws: Array, include_noise: bool) -> GaussianMixture:
    """Return what a model predicts at several draws of the rows, ``(l, m, d)``."""
    count, m, d = draws.shape
    mean, sd = model.predict(draws.reshape(-1, d), return_std=True, include_noise=include_noise)
    return GaussianMixture(np.full(count, 1.0 / count), mean.reshape(count, m), sd.reshape(count, m))


def _check_seen(z: Array) -> None:
    """Raise `InputError` for a column of which nothing was seen."""
    empty = np.flatnonzero(~np.isfinite(z).any(0))
    if len(empty):
        raise InputError(
            f"Input X contains NaN in every row of column {empty[0]}: nothing was seen of it; leave it out"
        )
