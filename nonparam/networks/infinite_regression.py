"""Regression with infinitely wide networks."""

import os
from typing import Any, ClassVar, Literal, Self

import gpytorch
import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils.validation import check_is_fitted

from nonparam.decomposition import Decomposition
from nonparam.errors import InputError
from nonparam.fitting import Fitted, Search
from nonparam.kernels.infinite import KINDS, InfiniteNetwork
from nonparam.kernels.layers import Sequential
from nonparam.model_selection.joint import JointDensity
from nonparam.networks.gradient_flow import check_time, train
from nonparam.objective import Objective
from nonparam.pathwise import FunctionSamples
from nonparam.posterior import Posterior
from nonparam.regression import GPRegressor
from nonparam.solvers.plan import Plan
from nonparam.validation import check_choice

__all__ = ["InfiniteNetworkRegressor"]


class InfiniteNetworkRegressor(GPRegressor):
    r"""Networks whose layers are infinitely wide, with variances of weights learnt from the evidence.

    With ``kernel="nngp"`` it is Bayesian inference: random networks, conditioned on the data. With
    ``kernel="ntk"`` the prior covariance is the tangent kernel.

    With a ``train_time`` :math:`t` it is an ensemble of networks that gradient descent has trained, without
    weight decay and without momentum, at a learning rate of one,

    .. math:: m_t(x) = T_{x\cdot}\, T^{-1} (1 - e^{-t T / (N s^2)})\, y,

    on the loss :math:`\sum_i (f(x_i) - y_i)^2 / (2 N s^2)`. Here :math:`s^2` is the variance of ``y``, or 1
    with ``normalize_y=False``, so that a time has no unit. Hyperparameters, the mean function and the noise
    are those of the process that has the tangent kernel as its prior, fitted as without a time. Deviations
    are the spread of the ensemble, and with ``include_noise`` the noise too: training does not know of noise,
    and stopping early is what keeps it out of the mean. The spread says where the networks started, not what
    the data leave open: it is no interval of the function.

    Args:
        arch: such as ``"relu-3"``, three hidden layers of rectifiers, or a `nonparam.networks.Sequential`.
        kernel: ``"nngp"`` or ``"ntk"``.
        train_time: of gradient descent with ``kernel="ntk"``, a positive number or ``math.inf``; ``None`` for
            the posterior of a Gaussian process.
        mean: as for `GPRegressor`, as all that follow.
        noise: see there.
        solver: see there; with a ``train_time`` up to 4,000 rows are trained on by eigenvectors, more, or any
            with ``"cg"``, by the Lanczos process. The deviation of each new row then takes a solve of its
            own, about half a second.
        objective: see there.
        n_restarts: see there.
        priors: see there.
        normalize_y: see there.
        device: see there.
        random_state: see there.
        verbose: see there.
        checkpoint: see there.
        checkpoint_minutes: see there.

    Attributes:
        train_time_: how long the networks were trained; ``None`` for a posterior.

    Raises:
        InputError: data or arguments that no model can be fitted to.
        InsufficientMemoryError: more rows than the memory holds.
        ConvergenceError: with many rows, a ``train_time`` too long for the Lanczos process.

    Source: Lee et al. (2018), Deep neural networks as Gaussian processes, ICLR; training: Lee et al. (2019),
    see `nonparam.networks.gradient_flow`.

    Examples:
        >>> X = np.linspace(-2.0, 2.0, 30)[:, None]
        >>> model = InfiniteNetworkRegressor("erf-2").fit(X, np.sin(3.0 * X[:, 0]))
        >>> mean, sd = model.predict([[0.5]], return_std=True)
        >>> bool(abs(mean[0] - np.sin(1.5)) < 0.01), bool(sd[0] < 0.05)
        (True, True)
        >>> early = InfiniteNetworkRegressor("erf-2", kernel="ntk", train_time=5.0)
        >>> early = early.fit(X, np.sin(3.0 * X[:, 0]))
        >>> bool(abs(early.predict([[0.5]])[0]) < abs(mean[0]))
        True
    """

    also_saved: ClassVar[tuple[str, ...]] = ("train_time_",)

    def __init__(
        self,
        arch: str | Sequential = "relu-3",
        *,
        kernel: Literal["nngp", "ntk"] = "nngp",
        train_time: float | None = None,
        mean: Literal["zero", "constant", "linear"] = "constant",
        noise: float | ArrayLike | Literal["learn"] = "learn",
        solver: str = "auto",
        objective: str = "lml",
        n_restarts: int = 0,
        priors: Literal["default"] | None = "default",
        normalize_y: bool = True,
        device: str = "auto",
        random_state: int | np.random.RandomState | None = None,
        verbose: int = 0,
        checkpoint: str | os.PathLike[str] | None = None,
        checkpoint_minutes: float = 5.0,
    ) -> None:
        super().__init__(
            kernel,
            mean=mean,
            noise=noise,
            solver=solver,
            objective=objective,
            n_restarts=n_restarts,
            priors=priors,
            normalize_y=normalize_y,
            device=device,
            random_state=random_state,
            verbose=verbose,
            checkpoint=checkpoint,
            checkpoint_minutes=checkpoint_minutes,
        )
        self.arch = arch
        self.train_time = train_time

    def fit(self, X: Any, y: Any, sample_weight: ArrayLike | None = None) -> Self:
        """Learn the hyperparameters, and condition or train on the data; see `GPRegressor.fit`."""
        check_choice(self.kernel, "kernel", KINDS)
        check_time(self.train_time, self.kernel)
        return self._fit(InfiniteNetwork(self.arch, self.kernel), X, y, sample_weight)  # type: ignore[arg-type]

    def _search(self, objective: Objective, plan: Plan, search: Search) -> Fitted:
        """Learn the hyperparameters, and condition or train on the data."""
        found = super()._search(objective, plan, search)
        self.train_time_ = None if self.train_time is None else float(self.train_time)
        return Fitted(found.theta, self._trained(found.posterior), found.report)

    def _trained(self, posterior: Posterior) -> Posterior:
        if self.train_time_ is None:
            return posterior
        return train(posterior, self.train_time_, self._scales.y_variance)

    @classmethod
    def load(cls, path: str | os.PathLike[str], kernel: gpytorch.kernels.Kernel | None = None) -> Self:
        """Read a model that `save` wrote, and train it again; see `GPRegressor.load`."""
        model = super().load(path, kernel)
        model.posterior_ = model._trained(model.posterior_)
        return model

    def decompose(self, X: Any = None) -> Decomposition:
        """Split the function into its mean and the terms of the kernel; see `GPRegressor.decompose`.

        Raises:
            InputError: a model with a ``train_time``.
        """
        self._refuse_time("a decomposition is")
        return super().decompose(X)

    def sample_functions(
        self, n_samples: int = 1, random_state: int | np.random.RandomState | None = 0
    ) -> FunctionSamples:
        """Draw functions from the posterior; see `GPRegressor.sample_functions`.

        Raises:
            InputError: a model with a ``train_time``: take `sample_y`.
        """
        self._refuse_time("functions are drawn")
        return super().sample_functions(n_samples, random_state)

    def log_evidence(self, prior_width: float = 1.0) -> float:
        """Return the log evidence of the model; see `GPRegressor.log_evidence`.

        Raises:
            InputError: a model with a ``train_time``: training is no conditioning, and has no evidence.
        """
        self._refuse_time("the evidence is")
        return super().log_evidence(prior_width)

    def joint_density(self) -> JointDensity:
        """Return the joint density of the outputs; see `GPRegressor.joint_density`.

        Raises:
            InputError: a model with a ``train_time``.
        """
        self._refuse_time("the joint density is")
        return super().joint_density()

    def _refuse_time(self, what: str) -> None:
        check_is_fitted(self)
        if self.train_time_ is not None:
            raise InputError(
                f"{what} of a posterior, and this model was trained for train_time={self.train_time_!r}: fit "
                "with train_time=None, or take predict and sample_y"
            )
