"""What several models say together: predictions of a mixture."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import logsumexp
from sklearn.utils.validation import check_is_fitted

from nonparam.gaussian_mixture import GaussianMixture, join
from nonparam.validation import check_count, check_probabilities, check_seed, check_table

__all__ = ["MixturePredictionMixin"]

Array = NDArray[np.float64]


class MixturePredictionMixin:
    """Means, deviations, quantiles, densities and draws of a weighted mixture of fitted models.

    Attributes:
        weights_: ``(k,)``, the models' probabilities.
        models_: the fitted models.
    """

    weights_: Array
    models_: list[Any]

    def predictive_mixture(self, X: Any, *, include_noise: bool = True) -> GaussianMixture:
        """Return the predictive distribution of each row by itself.

        Args:
            X: ``(m, d)``.
            include_noise: as in `predict`.

        Returns:
            Components of shape ``(m,)``, or ``(m, t)`` for several outputs. A model that is itself an average
            gives its components, any other one a Gaussian.
        """
        check_is_fitted(self)
        x = check_table(self, X, reset=False)
        return join(self.weights_, [_mixture_of(model, x, include_noise) for model in self.models_])

    def predict(self, X: Any, return_std: bool = False, *, include_noise: bool = True) -> Any:
        """Return the mean of the mixture, and on request its standard deviation.

        Args:
            X: ``(m, d)``.
            return_std: whether to return the standard deviations as well: those of the models, and of their
                means round the common one.
            include_noise: whether they are those of new observations, or of the function without noise.

        Returns:
            ``(m,)`` or ``(m, t)`` means; with ``return_std`` also deviations of the same shape.
        """
        mixture = self.predictive_mixture(X, include_noise=include_noise)
        return (mixture.mean, mixture.sd) if return_std else mixture.mean

    def predict_quantiles(self, X: Any, q: ArrayLike, *, include_noise: bool = True) -> Array:
        """Return quantiles of the mixture, to the last bit.

        Args:
            X: ``(m, d)``.
            q: probabilities strictly between 0 and 1.
            include_noise: as in `predict`.

        Returns:
            ``(m, len(q))``, or ``(m, t, len(q))`` for several outputs.

        Raises:
            InputError: a probability outside (0, 1).
        """
        levels = check_probabilities(q)
        return self.predictive_mixture(X, include_noise=include_noise).quantile(levels)

    def log_predictive_density(self, X: Any, y: Any) -> Array:
        """Return the log density of each new observation on its own.

        Args:
            X: ``(m, d)``.
            y: ``(m,)`` or ``(m, t)``.

        Returns:
            ``(m,)`` or ``(m, t)``, in nats.
        """
        check_is_fitted(self)
        x = check_table(self, X, reset=False)
        terms = np.stack([model.log_predictive_density(x, y) for model in self.models_])
        with np.errstate(divide="ignore"):  # a weight may be 0
            logs = np.log(self.weights_).reshape(-1, *[1] * (terms.ndim - 1))
        return np.asarray(logsumexp(logs + terms, axis=0))

    def sample_y(
        self,
        X: Any,
        n_samples: int = 1,
        random_state: int | np.random.RandomState | None = 0,
        *,
        include_noise: bool = True,
    ) -> Array:
        """Draw jointly from the predictive distribution: a model for each draw, and then a function of it.

        Args:
            X: ``(m, d)``.
            n_samples: number of draws.
            random_state: seed.
            include_noise: whether the draws are observations, or functions without noise.

        Returns:
            ``(m, n_samples)``, or ``(m, t, n_samples)`` for several outputs.

        Raises:
            InputError: a number of draws that is no integer, or below 1.
        """
        check_count(n_samples, "n_samples", least=1)
        rng = check_seed(random_state)
        check_is_fitted(self)
        x = check_table(self, X, reset=False)
        chosen = rng.choice(len(self.weights_), size=n_samples, p=self.weights_)
        drawn = [
            self.models_[k].sample_y(x, int((chosen == k).sum()), rng, include_noise=include_noise)
            for k in np.unique(chosen)
        ]
        order = np.argsort(np.argsort(chosen, kind="stable"), kind="stable")
        return np.asarray(np.concatenate(drawn, -1)[..., order])


def _mixture_of(model: Any, x: Array, include_noise: bool) -> GaussianMixture:
    if isinstance(model, MixturePredictionMixin):
        return model.predictive_mixture(x, include_noise=include_noise)
    mean, sd = model.predict(x, return_std=True, include_noise=include_noise)
    return GaussianMixture(np.ones(1), mean[None], sd[None])
