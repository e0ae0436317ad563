"""What a fitted model of several outputs tells of new rows and of its gaps, in the units of the data."""

from typing import Any

import gpytorch
import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import norm
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from nonparam.errors import InputError
from nonparam.kernels import variance
from nonparam.multioutput.posterior import PanelPosterior
from nonparam.posterior import correlate
from nonparam.prediction import MarginalsMixin
from nonparam.solvers.plan import check_covariance
from nonparam.threads import threads_for
from nonparam.validation import (
    check_count,
    check_outputs,
    check_seed,
    check_table,
)

__all__ = ["PanelPredictionMixin"]

Array = NDArray[np.float64]


class PanelPredictionMixin(MarginalsMixin):
    """Means, deviations, densities and draws of several outputs, and their missing entries.

    Attributes:
        kernel_: the kernel of the rows with its fitted values.
        posterior_: the outputs given the observed entries, centred and scaled.
        y_mean_: what was subtracted from each output.
        y_scale_: what each output was divided by.
    """

    kernel_: gpytorch.kernels.Kernel
    posterior_: PanelPosterior
    y_mean_: Array
    y_scale_: Array
    _x: Array
    _table: Array
    _one_output: bool

    def predict(
        self, X: Any, return_std: bool = False, return_cov: bool = False, *, include_noise: bool = True
    ) -> Any:
        """Return the posterior means, and on request the standard deviations or covariances.

        Args:
            X: ``(m, d)``.
            return_std: whether to return the standard deviations as well.
            return_cov: whether to return each output's covariance between the rows as well.
            include_noise: whether they are those of new observations, or of the functions without noise.

        Returns:
            ``(m,)`` or ``(m, t)`` means; with ``return_std`` also deviations of the same shape; with
            ``return_cov`` also ``(m, m)`` or ``(m, m, t)`` covariances.

        Raises:
            InputError: both are asked for.
            InsufficientMemoryError: a covariance of more rows than the memory holds.
        """
        if return_std and return_cov:
            raise InputError("ask for return_std or for return_cov, not for both")
        x = self._rows(X)
        with threads_for(self.posterior_.panel.count):
            if return_std:
                means, variances = self.posterior_.predict(x)
                return self._shaped(self._in_units(means)), self._shaped(self._sd(variances, include_noise))
            mean = self._shaped(self._in_units(self.posterior_.predict_mean(x)))
            return (mean, self._covariance(x, include_noise)) if return_cov else mean

    def _rows(self, X: Any) -> Tensor:
        check_is_fitted(self)
        return torch.tensor(check_table(self, X, reset=False), device=self.posterior_.panel.x.device)

    def _in_units(self, means: Tensor) -> Array:
        return np.asarray(means.cpu().numpy() * self.y_scale_ + self.y_mean_)

    def _sd(self, variances: Tensor, include_noise: bool) -> Array:
        total = variances + self.posterior_.noise if include_noise else variances
        return np.asarray(total.sqrt().cpu().numpy() * self.y_scale_)

    def _covariance(self, x: Tensor, include_noise: bool) -> Array:
        posterior, found = self.posterior_, []
        check_covariance(len(x), posterior.panel.count, x.device)
        for o, scale in enumerate(self.y_scale_):
            joint = posterior.predict_covariance(x, [o])
            torch.diagonal(joint).add_(float(posterior.noise[o]) if include_noise else 0.0)
            found.append(joint.cpu().numpy() * scale**2)
        return found[0] if self._one_output else np.stack(found, -1)

    def _shaped(self, table: Array) -> Array:
        return table[:, 0] if self._one_output else table

    def impute(self, return_std: bool = False, *, include_noise: bool = True) -> Any:
        """Return the outputs of `fit` with the missing entries replaced by what all others say of them.

        Args:
            return_std: whether to return the standard deviations as well.
            include_noise: whether these are those of the observations that are missing, or of the functions.

        Returns:
            ``(n,)`` or ``(n, t)``: posterior means where an entry is missing, the observation elsewhere; with
            ``return_std`` also standard deviations of the same shape, 0 where there is an observation.
        """
        check_is_fitted(self)
        missing, posterior = ~np.isfinite(self._table), self.posterior_
        seen = ~missing.all(1)
        gaps = np.flatnonzero(missing[seen].any(1))
        means, sds = self._table.copy(), np.zeros(self._table.shape)
        with threads_for(posterior.panel.count):
            device = posterior.panel.x.device
            for index, found in (
                (np.flatnonzero(seen)[gaps], posterior.at_rows(torch.from_numpy(gaps).to(device))),
                (np.flatnonzero(~seen), posterior.predict(torch.from_numpy(self._x[~seen]).to(device))),
            ):
                means[index], sds[index] = self._in_units(found[0]), self._sd(found[1], include_noise)
        means, sds = np.where(missing, means, self._table), np.where(missing, sds, 0.0)
        return (self._shaped(means), self._shaped(sds)) if return_std else self._shaped(means)

    def log_predictive_density(self, X: Any, y: Any) -> Array:
        """Return the log density of each new observation on its own.

        Args:
            X: ``(m, d)``.
            y: ``(m,)`` or ``(m, t)``, with NaN where there is none.

        Returns:
            ``(m,)`` or ``(m, t)``, in nats; NaN where there is no observation.
        """
        mean, sd = self.predict(X, return_std=True)
        outputs = check_outputs(y, len(mean), allow_missing=True)
        if outputs.size != mean.size:
            raise InputError(f"y must have shape {mean.shape}, got {outputs.shape}")
        return np.asarray(norm.logpdf(outputs.reshape(mean.shape), mean, sd))

    def sample_y(
        self,
        X: Any,
        n_samples: int = 1,
        random_state: int | np.random.RandomState | None = 0,
        *,
        include_noise: bool = True,
    ) -> Array:
        """Draw jointly, over rows and outputs, from the predictive distribution.

        Args:
            X: ``(m, d)``.
            n_samples: number of draws.
            random_state: seed.
            include_noise: whether the draws are observations, or functions without noise.

        Returns:
            ``(m, n_samples)``, or ``(m, t, n_samples)`` for several outputs.

        Raises:
            InputError: a number of draws that is no integer, or negative.
            InsufficientMemoryError: more rows than the memory holds the joint covariance of.
        """
        check_count(n_samples, "n_samples")
        rng, x, posterior = check_seed(random_state), self._rows(X), self.posterior_
        m, t = len(x), posterior.panel.t
        check_covariance(m * t, posterior.panel.count, x.device)
        with threads_for(posterior.panel.count):
            mean = self._in_units(posterior.predict_mean(x))
            joint = posterior.predict_covariance(x, range(t))
            if include_noise:
                torch.diagonal(joint).add_(posterior.noise.repeat_interleave(m))
            z = torch.tensor(rng.standard_normal((m * t, n_samples)), device=x.device)
            scale = float(variance(self.kernel_, x).detach().mean())  # rounding is relative to the prior
            draws = correlate(joint, z, scale).cpu().numpy().reshape(t, m, n_samples).transpose(1, 0, 2)
        paths = mean[..., None] + draws * self.y_scale_[:, None]
        return np.asarray(paths[:, 0] if self._one_output else paths)
