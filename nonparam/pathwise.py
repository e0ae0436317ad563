r"""Functions drawn from the posterior, evaluable anywhere: pathwise conditioning.

With a draw :math:`\tilde f` of the prior, a draw :math:`\tilde\varepsilon` of the noise, and the linear map
:math:`L` from observations to the posterior mean,

.. math::

    f(x) = \tilde f(x) + L(x)\,(y - \tilde f(X) - \tilde\varepsilon), \quad
    L(x)\, e = h(x)^\top b + k(x)^\top A^{-1} (e - H b), \quad
    b = (H^\top A^{-1} H)^{-1} H^\top A^{-1} e

is a draw of the posterior (Matheron's rule). It needs no draw of the mean's own coefficients: :math:`L(x) H =
h(x)^\top`, so that whatever coefficients the prior function had would cancel, and :math:`b` is a draw from
their posterior :math:`N(\hat\beta, (H^\top A^{-1} H)^{-1})`. The error
:math:`\tilde f(x) - L(x)(\tilde f(X) + \tilde\varepsilon)` of the prediction is that of universal
kriging, with its variance.

The prior is drawn by random features, whose frequencies all functions of a call share: the posterior mean of
the draws is right, and the covariance of the prior part is that of the features.

Source: Wilson et al. (2021), Pathwise conditioning of Gaussian processes, JMLR 22(105), equations 6 and 19;
Chiles and Delfiner (2012), Geostatistics, section 7.3.1, for the mean.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import gpytorch
import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from torch import Tensor

from nonparam.errors import InsufficientMemoryError
from nonparam.interpolation import InterpolatedKernel
from nonparam.kernels.evaluate import covariance
from nonparam.kernels.random_features import RandomFeatures, random_features, white_variance
from nonparam.means import Mean
from nonparam.model_selection.evidence import fit_mean
from nonparam.posterior import Posterior
from nonparam.processes import free_memory
from nonparam.solvers.plan import BYTES, readable
from nonparam.threads import threads_for
from nonparam.validation import check_table

__all__ = ["FREQUENCIES", "Columns", "FunctionSamples", "sample_functions"]

Array = NDArray[np.float64]

FREQUENCIES = 2048  # of each term of the kernel: 4096 features
BLOCK = 1024  # rows worked on at a time
COPIES = 3  # of what is drawn for each feature and each row, at the peak


class Columns(BaseEstimator):  # type: ignore[misc]
    """The columns of the training data, with which those of new rows are compared.

    Args:
        count: how many there are.
        names: ``(count,)``, where they have some.
    """

    def __init__(self, count: int, names: NDArray[np.object_] | None = None) -> None:
        self.count, self.names = count, names
        self.n_features_in_ = count
        if names is not None:
            self.feature_names_in_ = names


@dataclass(frozen=True, eq=False)
class FunctionSamples:
    """Functions drawn from a posterior, in the units of the data.

    A call evaluates them at the rows of a table; the values do not depend, but for rounding, on which other
    rows there are. Iteration gives them one at a time, each as a `FunctionSamples` of one.

    Attributes:
        kernel: at its fitted hyperparameters; interpolated, where the posterior is that of such a one.
        x: ``(n, d)``, the rows of the training data.
        columns: what the columns of new rows must be.
        mean: the mean function.
        prior: the features that the prior is drawn with.
        weights: ``(p, t, s)``, of the features.
        update: ``(n, t, s)``, of the covariances with the training rows.
        coefficients: ``(q, t, s)``, of the basis functions of the mean.
        offset: ``(t,)``, added to each output.
        scale: ``(t,)``, by which each output is multiplied.
        one_output: whether ``y`` was a vector.

    Examples:
        >>> from nonparam import GPRegressor
        >>> X = np.linspace(0.0, 6.0, 25)[:, None]
        >>> functions = GPRegressor("rbf").fit(X, np.sin(X[:, 0])).sample_functions(3)
        >>> len(functions), functions([[0.5], [9.0]]).shape
        (3, (2, 3))
    """

    kernel: gpytorch.kernels.Kernel | InterpolatedKernel
    x: Tensor
    columns: Columns
    mean: Mean
    prior: RandomFeatures
    weights: Tensor
    update: Tensor
    coefficients: Tensor
    offset: Array
    scale: Array
    one_output: bool

    def __len__(self) -> int:
        """Return how many functions there are."""
        return self.weights.shape[-1]

    def __iter__(self) -> Iterator["FunctionSamples"]:
        """Yield the functions one at a time."""
        for j in range(len(self)):
            some = slice(j, j + 1)
            parts = (self.weights[..., some], self.update[..., some], self.coefficients[..., some])
            yield replace(self, weights=parts[0], update=parts[1], coefficients=parts[2])

    @torch.no_grad()
    def __call__(self, X: Any) -> Array:
        """Return the values at the rows of ``X``.

        Args:
            X: ``(m, d)``.

        Returns:
            ``(m, s)``, or ``(m, t, s)`` for several outputs.

        Raises:
            InputError: anything but a table of finite numbers of a usual size.
            ValueError: other columns than those of the training data, or no row at all.
            InsufficientMemoryError: rows too far away for the grid of an interpolated kernel.
        """
        table = torch.tensor(check_table(self.columns, X, reset=False), device=self.x.device)
        with threads_for(len(self.x)):
            values = torch.cat([self._values(rows) for rows in table.split(BLOCK)]).cpu().numpy()
        paths: Array = values * self.scale[:, None] + self.offset[:, None]
        return paths[:, 0] if self.one_output else paths

    def _values(self, rows: Tensor) -> Tensor:
        values = self.prior(rows) @ self.weights.flatten(1) + self._pulled(rows, self.update.flatten(1))
        values += self.mean.basis(rows) @ self.coefficients.flatten(1)
        return values.reshape(len(rows), *self.weights.shape[1:])

    def _pulled(self, rows: Tensor, update: Tensor) -> Tensor:
        if isinstance(self.kernel, InterpolatedKernel):  # what the update was solved for
            return self.kernel.product(rows, self.x, update)
        return covariance(self.kernel, rows, self.x) @ update


@torch.no_grad()
def sample_functions(
    posterior: Posterior, mean: Mean, n_samples: int, rng: np.random.RandomState, num: int = FREQUENCIES
) -> FunctionSamples:
    """Draw functions from a posterior, in its own units.

    Args:
        posterior: whose factor solves for all functions at once.
        mean: gives the basis functions anywhere.
        n_samples: how many functions for each output.
        rng: of the frequencies, the weights and the noise.
        num: frequencies of each term of the kernel.

    Raises:
        InputError: a kernel that has no random features.
        InsufficientMemoryError: more functions than the memory holds.
        ConvergenceError: a solve that could not be certified.

    Source: Wilson et al. (2021), Pathwise conditioning of Gaussian processes, equation 19.
    """
    data, (n, t) = posterior.data, posterior.data.y.shape
    prior = random_features(posterior.kernel, data.x, num, int(rng.randint(2**31 - 1)))
    _check_memory(n_samples, t * (n + prior.count), data.x.device)
    weights = _normal(rng, (prior.count, t, n_samples), data.x)
    variances = data.noise_variances(posterior.noise) + white_variance(posterior.kernel, data.x)
    sd = (variances + posterior.factor.jitter).sqrt()[:, None, None]
    seen = (prior(data.x) @ weights.flatten(1)).reshape(n, t, n_samples)
    left = data.y[:, :, None] - seen - sd * _normal(rng, (n, t, n_samples), data.x)
    fit = fit_mean(posterior.factor, left.flatten(1), data.basis)
    return FunctionSamples(
        kernel=posterior.interpolated or posterior.kernel,
        x=data.x,
        columns=Columns(data.x.shape[1]),
        mean=mean,
        prior=prior,
        weights=weights,
        update=fit.alpha.reshape(n, t, n_samples),
        coefficients=fit.coefficients.reshape(-1, t, n_samples),
        offset=np.zeros(t),
        scale=np.ones(t),
        one_output=False,
    )


def _check_memory(n_samples: int, numbers: int, device: torch.device) -> None:
    """Raise `InsufficientMemoryError` unless so many functions fit, of so many numbers each."""
    available, each = free_memory(device), COPIES * BYTES * numbers
    if int(n_samples) * each > available:
        raise InsufficientMemoryError(
            f"{n_samples:,} functions need about {readable(int(n_samples) * each)}, and "
            f"{readable(available)} are free: at most about {available // each:,} fit; draw fewer at a time"
        )


def _normal(rng: np.random.RandomState, shape: tuple[int, ...], like: Tensor) -> Tensor:
    return torch.tensor(rng.standard_normal(shape), device=like.device)
