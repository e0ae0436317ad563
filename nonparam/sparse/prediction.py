"""What a sparse process tells of new rows, in the units of the data."""

from typing import Any

import gpytorch
import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from nonparam.errors import InputError
from nonparam.kernels import variance
from nonparam.posterior import correlate
from nonparam.prediction import MarginalsMixin
from nonparam.solvers.plan import check_covariance
from nonparam.sparse.posterior import SparsePosterior
from nonparam.threads import threads_for
from nonparam.validation import check_count, check_seed, check_table

__all__ = ["SparsePredictionMixin"]

Array = NDArray[np.float64]


class SparsePredictionMixin(MarginalsMixin):
    """Means, deviations and draws; quantiles and densities follow from these.

    Attributes:
        kernel_: the kernel with its fitted values.
        posterior_: the process given the data, each output centred and scaled.
        y_mean_: what was subtracted from each output.
        y_scale_: what each output was divided by.
    """

    kernel_: gpytorch.kernels.Kernel
    posterior_: SparsePosterior
    y_mean_: Array
    y_scale_: Array
    _one_output: bool

    def predict(
        self, X: Any, return_std: bool = False, return_cov: bool = False, *, include_noise: bool = True
    ) -> Any:
        """Return the posterior mean, and on request the standard deviation or covariance.

        Args:
            X: ``(q, d)``.
            return_std: whether to return the standard deviations as well.
            return_cov: whether to return the covariance between the rows as well.
            include_noise: whether they are those of new observations, or of the function without noise.

        Returns:
            ``(q,)`` or ``(q, t)`` means; with ``return_std`` also deviations of the same shape; with
            ``return_cov`` also ``(q, q)`` or ``(q, q, t)`` covariances.

        Raises:
            InputError: both are asked for.
            InsufficientMemoryError: a covariance of more rows than the memory holds.
        """
        if return_std and return_cov:
            raise InputError("ask for return_std or for return_cov, not for both")
        x = self._rows(X)
        with threads_for(len(x)):
            mean = self._mean_in_units(x)
            if return_std:
                spread = self.posterior_.predict_variance(x) + self._new_noise(include_noise)
                return self._shaped(mean), self._shaped(spread.sqrt().numpy()[:, None] * self.y_scale_)
            if return_cov:
                scaled = self._joint(x, include_noise).numpy()[..., None] * self.y_scale_**2
                return self._shaped(mean), scaled[..., 0] if self._one_output else scaled
        return self._shaped(mean)

    def _rows(self, X: Any) -> Tensor:
        check_is_fitted(self)
        return torch.from_numpy(check_table(self, X, reset=False))

    def _mean_in_units(self, x: Tensor) -> Array:
        return np.asarray(self.posterior_.predict_mean(x).numpy() * self.y_scale_ + self.y_mean_)

    def _joint(self, x: Tensor, include_noise: bool) -> Tensor:
        check_covariance(len(x), len(self.posterior_.projection.z))
        joint = self.posterior_.predict_covariance(x)
        torch.diagonal(joint).add_(self._new_noise(include_noise))
        return joint

    def _new_noise(self, include: bool) -> float:
        return float(self.noise_) if include else 0.0

    def _shaped(self, table: Array) -> Array:
        return table[:, 0] if self._one_output else table

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
            X: ``(q, d)``.
            n_samples: number of draws.
            random_state: seed.
            include_noise: whether the draws are observations, or functions without noise.

        Returns:
            ``(q, n_samples)``, or ``(q, t, n_samples)`` for several outputs.

        Raises:
            InputError: a number of draws that is no integer, or negative.
            InsufficientMemoryError: more rows than the memory holds the joint covariance of.
        """
        check_count(n_samples, "n_samples")
        rng, x = check_seed(random_state), self._rows(X)
        with threads_for(len(x)):
            mean, joint = self._mean_in_units(x), self._joint(x, include_noise)
            z = torch.from_numpy(rng.standard_normal((len(x), mean.shape[1] * n_samples)))
            scale = float(variance(self.kernel_, x).detach().mean())  # rounding is relative to the prior
            draws = correlate(joint, z, scale).numpy().reshape(len(x), mean.shape[1], n_samples)
        paths = mean[..., None] + draws * self.y_scale_[:, None]
        return np.asarray(paths[:, 0] if self._one_output else paths)
