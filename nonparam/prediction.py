"""What a fitted Gaussian process tells of new rows, in the units of the data."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import gpytorch
import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.stats import norm
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from nonparam.decomposition import Decomposition, Part, moments, named_parts, shares
from nonparam.errors import InputError
from nonparam.kernels import variance
from nonparam.means import Mean
from nonparam.pathwise import Columns, FunctionSamples, sample_functions
from nonparam.posterior import Posterior, correlate
from nonparam.solvers.plan import check_covariance
from nonparam.threads import threads_for
from nonparam.validation import (
    check_count,
    check_numbers,
    check_outputs,
    check_probabilities,
    check_seed,
    check_table,
)

__all__ = ["MarginalsMixin", "PredictionMixin"]

Array = NDArray[np.float64]


class MarginalsMixin:
    """Quantiles and densities of single observations, from their means and deviations.

    Attributes:
        noise_: the noise variance, or that of every row.
    """

    noise_: float | Array

    def predict(self, X: Any, return_std: bool = False, *, include_noise: bool = True) -> Any:
        """Return the posterior mean, and on request the standard deviation."""
        raise NotImplementedError(f"{type(self).__name__} predicts nothing")

    def predict_quantiles(self, X: Any, q: ArrayLike, *, include_noise: bool = True) -> Array:
        """Return quantiles of the predictive distribution.

        Args:
            X: ``(m, d)``.
            q: probabilities strictly between 0 and 1.
            include_noise: as in `predict`.

        Returns:
            ``(m, len(q))``, or ``(m, t, len(q))`` for several outputs.

        Raises:
            InputError: a probability outside (0, 1).
        """
        probabilities = check_probabilities(q)
        mean, sd = self.predict(X, return_std=True, include_noise=include_noise)
        return np.asarray(mean[..., None] + sd[..., None] * norm.ppf(probabilities))

    def log_predictive_density(self, X: Any, y: Any) -> Array:
        """Return the log density of each new observation on its own.

        Args:
            X: ``(m, d)``.
            y: ``(m,)`` or ``(m, t)``.

        Returns:
            ``(m,)`` or ``(m, t)``, in nats.

        Raises:
            InputError: the noise of new rows is not known, because that of the old ones was given row by row.
        """
        check_is_fitted(self)
        if isinstance(self.noise_, np.ndarray):
            raise InputError(
                "the noise of new rows is not known: take predict, and add the variance of theirs"
            )
        mean, sd = self.predict(X, return_std=True)
        outputs = check_outputs(y, len(mean))
        if outputs.size != mean.size:
            raise InputError(f"y must have shape {mean.shape}, got {outputs.shape}")
        return np.asarray(norm.logpdf(outputs.reshape(mean.shape), mean, sd))


class PredictionMixin(MarginalsMixin):
    """Means, deviations, quantiles, densities and draws of a fitted model.

    Attributes:
        kernel_: the kernel with its fitted values.
        posterior_: the process given the data, each output centred and scaled.
        y_mean_: what was subtracted from each output.
        y_scale_: what each output was divided by.
    """

    kernel_: gpytorch.kernels.Kernel
    posterior_: Posterior
    y_mean_: Array
    y_scale_: Array
    _mean: Mean
    _one_output: bool

    def predict(
        self,
        X: Any,
        return_std: bool = False,
        return_cov: bool = False,
        *,
        include_noise: bool = True,
        variance_tolerance: float | None = None,
    ) -> Any:
        """Return the posterior mean, and on request the standard deviation or covariance.

        Args:
            X: ``(m, d)``.
            return_std: whether to return the standard deviations as well.
            return_cov: whether to return the covariance between the rows as well.
            include_noise: whether they are those of new observations, or of the function without noise.
                With one known noise variance per row the noise of new rows is not known and never included.
            variance_tolerance: with ``return_std``, what a variance may be too large by, as a share of the
                prior variance of its row, where the model predicts by conjugate gradients. The first such
                call makes a cache of low rank; rows where its error bound exceeds the tolerance are solved
                for as without one.

        Returns:
            ``(m,)`` or ``(m, t)`` means; with ``return_std`` also deviations of the same shape; with
            ``return_cov`` also ``(m, m)`` or ``(m, m, t)`` covariances.

        Raises:
            InputError: both are asked for, a tolerance that is not positive, or one without ``return_std``.
            InsufficientMemoryError: a covariance of more rows than the memory holds.
        """
        if return_std and return_cov:
            raise InputError("ask for return_std or for return_cov, not for both")
        if variance_tolerance is not None:
            _check_tolerance(variance_tolerance, return_std)
        x, basis = self._rows(X)
        with threads_for(len(self.posterior_.data.x)):
            mean = self._mean_in_units(x, basis)
            if return_std:
                predicted = self.posterior_.predict_variance(x, basis, variance_tolerance)
                predicted = predicted + self._new_noise(include_noise)
                sd = predicted.sqrt().cpu().numpy()[:, None] * self.y_scale_
                return self._shaped(mean), self._shaped(sd)
            if return_cov:
                return self._shaped(mean), self._covariance(x, basis, include_noise)
        return self._shaped(mean)

    def _mean_in_units(self, x: Tensor, basis: Tensor) -> Array:
        mean: Array = self.posterior_.predict_mean(x, basis).cpu().numpy() * self.y_scale_ + self.y_mean_
        return mean

    def _covariance(self, x: Tensor, basis: Tensor, include_noise: bool) -> Array:
        check_covariance(len(x), len(self.posterior_.data.x), x.device)
        joint = self.posterior_.predict_covariance(x, basis)
        torch.diagonal(joint).add_(self._new_noise(include_noise))
        scaled: Array = joint.cpu().numpy()[..., None] * self.y_scale_**2
        return scaled[..., 0] if self._one_output else scaled

    def _rows(self, X: Any) -> tuple[Tensor, Tensor]:
        check_is_fitted(self)
        x = torch.tensor(check_table(self, X, reset=False), device=self.posterior_.data.x.device)
        return x, self._mean.basis(x)

    def _new_noise(self, include: bool) -> float:
        return float(self.noise_) if include and not isinstance(self.noise_, np.ndarray) else 0.0

    def _shaped(self, table: Array) -> Array:
        return table[:, 0] if self._one_output else table

    def decompose(self, X: Any = None) -> Decomposition:
        """Split the function without noise into its mean and the terms of the kernel.

        A sum has its terms for parts, an additive kernel its functions of single columns, pairs and so on.

        Args:
            X: ``(m, d)``; the training rows by default.

        Returns:
            The parts' posterior means, which add up to `predict`, their standard deviations, and their shares
            of the variance over the training rows. Terms that can be one another's functions trade places;
            those of an additive kernel cannot.

        Examples:
            >>> from nonparam import GPRegressor
            >>> X = np.random.default_rng(0).uniform(size=(60, 2))
            >>> model = GPRegressor("additive").fit(X, np.sin(6.0 * X[:, 0]) + X[:, 0] * X[:, 1])
            >>> model.decompose().names
            ('mean', 'x0', 'x1', 'x0 * x1')
        """
        check_is_fitted(self)
        posterior = self.posterior_
        x, basis = (posterior.data.x, posterior.data.basis) if X is None else self._rows(X)
        parts = self._parts()
        mean, sd = self._moments(parts, x, basis)
        with threads_for(len(posterior.data.x)):
            share = shares(posterior, parts)
        names, columns = tuple(part.name for part in parts), tuple(part.columns for part in parts)
        return Decomposition(names, columns, self._shaped(mean), self._shaped(sd), share)

    def _parts(self) -> list[Part]:
        return named_parts(self.posterior_, self._column_names())

    def _moments(self, parts: Sequence[Part], x: Tensor, basis: Tensor) -> tuple[Array, Array]:
        """Return means and deviations of parts in the units of ``y``, ``(m, t, k)``."""
        with threads_for(len(self.posterior_.data.x)):
            mean, variance = moments(self.posterior_, parts, x, basis)
        means = mean.cpu().numpy() * self.y_scale_[:, None]
        for i, part in enumerate(parts):
            if part.kernel is None:
                means[..., i] += self.y_mean_
        return means, variance.sqrt().cpu().numpy()[:, None] * self.y_scale_[:, None]

    def _column_names(self) -> list[str]:
        names = getattr(self, "feature_names_in_", None)
        columns = self.posterior_.data.x.shape[1]
        return [f"x{j}" for j in range(columns)] if names is None else list(names)

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
            ``(m, n_samples)``, or ``(m, t, n_samples)`` for several outputs.

        Raises:
            InputError: a number of draws that is no integer, or negative.
            InsufficientMemoryError: more rows than the memory holds the joint covariance of.
        """
        check_count(n_samples, "n_samples")
        rng = check_seed(random_state)
        x, basis = self._rows(X)
        check_covariance(len(x), len(self.posterior_.data.x), x.device)
        with threads_for(len(self.posterior_.data.x)):
            mean = self._mean_in_units(x, basis)
            joint = self.posterior_.predict_covariance(x, basis)
            torch.diagonal(joint).add_(self._new_noise(include_noise))
            z = rng.standard_normal((len(x), mean.shape[1] * n_samples))
            scale = float(variance(self.kernel_, x).detach().mean())  # rounding is relative to the prior
            draws = correlate(joint, torch.tensor(z, device=x.device), scale).cpu().numpy()
        paths = mean[..., None] + draws.reshape(len(x), mean.shape[1], n_samples) * self.y_scale_[:, None]
        return np.asarray(paths[:, 0] if self._one_output else paths)

    def sample_functions(
        self, n_samples: int = 1, random_state: int | np.random.RandomState | None = 0
    ) -> FunctionSamples:
        r"""Draw functions from the posterior that can be evaluated anywhere, and again.

        .. math:: f(x) = \tilde f(x) + L(x) \, (y - \tilde f(X) - \tilde\varepsilon)

        The prior function is made of 2048 random frequencies for each term of the kernel: the mean of the
        functions is that of `predict`, their variance is right to about a hundredth of the prior's. Where
        next to no noise leaves less than that, take `sample_y`: it is exact, at rows given at once.

        Args:
            n_samples: number of functions.
            random_state: seed.

        Returns:
            The functions, without noise, in the units of ``y``: called with ``(m, d)`` rows they give
            ``(m, n_samples)``, or ``(m, t, n_samples)`` for several outputs.

        Raises:
            InputError: a number of functions that is no integer, or below 1; or a kernel that has no random
                features: take `sample_y`.
            InsufficientMemoryError: more functions than the memory holds.
            ConvergenceError: a solve that could not be certified.

        Source: Wilson et al. (2021), Pathwise conditioning of Gaussian processes, JMLR 22(105).
        """
        check_count(n_samples, "n_samples")
        if n_samples == 0:
            raise InputError("n_samples must be at least 1, got 0")
        rng = check_seed(random_state)
        check_is_fitted(self)
        with threads_for(len(self.posterior_.data.x)):
            drawn = sample_functions(self.posterior_, self._mean, n_samples, rng)
        columns = Columns(self.posterior_.data.x.shape[1], getattr(self, "feature_names_in_", None))
        return replace(
            drawn, columns=columns, offset=self.y_mean_, scale=self.y_scale_, one_output=self._one_output
        )


def _check_tolerance(value: Any, return_std: bool) -> None:
    number = check_numbers(value, "variance_tolerance")
    if number.ndim or not number > 0.0 or np.asarray(value).dtype.kind == "b":
        raise InputError(f"variance_tolerance must be a positive number or None, got {value!r}")
    if not return_std:
        raise InputError(
            f"variance_tolerance={value!r} is of use with return_std=True only: ask for that, or leave it out"
        )
