"""What `GPClassifier` maximises: the evidence of functions behind a likelihood, or of log-normal targets."""

from dataclasses import dataclass, replace

import gpytorch
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nonparam.kernels import with_amplitude
from nonparam.kernels.grammar import as_kernel
from nonparam.latent.approximation import Observations
from nonparam.latent.dirichlet import DirichletObjective, LogNormal, class_data
from nonparam.latent.model import Inference, LatentModel, LatentObjective, with_mean
from nonparam.likelihoods.base import Likelihood
from nonparam.scales import Scales, default_priors, initialise, measure, waits_for_period
from nonparam.theta import Theta
from nonparam.validation import check_kernel

__all__ = ["Labelled", "Prior", "of_functions", "of_targets"]

Array = NDArray[np.float64]

LOGISTIC, GUMBEL = np.pi**2 / 3.0, np.pi**2 / 6.0  # variances of what softmax compares with the functions


@dataclass(frozen=True)
class Labelled:
    """Rows in order of their classes.

    Attributes:
        x: ``(n, d)``.
        codes: ``(n,)``, the classes, which are 0, 1, ... in ascending order.
        weights: ``(n,)``.
        device: where the work is done.
    """

    x: Array
    codes: NDArray[np.intp]
    weights: Array
    device: torch.device

    @classmethod
    def of(cls, x: Array, codes: NDArray[np.intp], weights: Array, device: torch.device) -> "Labelled":
        """Bring rows into the order of their classes."""
        order = np.argsort(codes, kind="stable")
        return cls(x[order], codes[order], weights[order], device)

    @property
    def sizes(self) -> list[int]:
        """The numbers of rows of the classes."""
        return [int(size) for size in np.bincount(self.codes)]

    @property
    def sums(self) -> Array:
        """The sums of the weights of the classes, ``(c,)``."""
        return np.asarray(np.bincount(self.codes, self.weights))

    @property
    def log_shares(self) -> Tensor:
        """The logarithms of the shares of the classes, ``(c,)``."""
        return torch.tensor(self.sums / self.sums.sum(), device=self.device).log()

    @property
    def rows(self) -> Tensor:
        """``x``, on the device."""
        return torch.tensor(self.x, device=self.device)


@dataclass(frozen=True)
class Prior:
    """What is said of the functions before the labels are seen.

    Attributes:
        kernel: as the user gave it.
        mean: ``"zero"``, ``"constant"`` or ``"linear"``.
        informative: whether hyperparameters have priors.
    """

    kernel: str | gpytorch.kernels.Kernel
    mean: str
    informative: bool

    def scaled(self, seen: Labelled, variance: float) -> tuple[gpytorch.kernels.Kernel, Scales]:
        """Return the kernel where a search begins, for functions of this variance, and the scales."""
        kernel = with_amplitude(as_kernel(self.kernel)).double()
        columns, cyclic = np.eye(len(seen.sizes))[seen.codes], waits_for_period(kernel)
        scales = measure(seen.x, columns, seen.weights, normalize_y=False, find_periods=cyclic)
        scales = replace(scales, y_variance=variance)
        initialise(kernel, scales)
        kernel = with_mean(kernel, self.mean, scales).to(seen.device)
        check_kernel(kernel, seen.rows[:1])
        return kernel, scales


def of_functions(prior: Prior, seen: Labelled, likelihood: Likelihood, infer: Inference) -> LatentObjective:
    """Return the approximate evidence of functions behind a likelihood."""
    kernel, scales = prior.scaled(seen, LOGISTIC if likelihood.latents == 1 else GUMBEL)
    observed = Observations(
        torch.tensor(seen.codes[:, None].astype(float), device=seen.device),
        torch.tensor(seen.weights, device=seen.device),
        likelihood,
        torch.from_numpy(_levels(seen.sums, likelihood.latents, prior.mean)).to(seen.device),
    )
    model = LatentModel([kernel], likelihood)
    theta = Theta(model, model.priors([scales], informative=prior.informative), None)
    return LatentObjective(seen.rows, observed, model, theta, infer, prior.informative)


def _levels(sums: Array, latents: int, mean: str) -> Array:
    """Return the levels around which the functions vary: log shares of the classes, or 0."""
    shares = sums + 0.5
    logs = np.log(shares / shares.sum())
    level = logs[1:] - logs[0] if latents == 1 else logs - logs.mean()
    return np.asarray(0.0 * level if mean == "zero" else level)


def of_targets(prior: Prior, seen: Labelled, alpha_epsilon: float) -> DirichletObjective:
    """Return the evidence of log-normal targets, each class with a constant of its own."""
    targets = LogNormal.of(alpha_epsilon)
    kernel, scales = prior.scaled(seen, (0.5 * targets.gap) ** 2)
    theta = Theta(kernel, default_priors(kernel, scales, informative=prior.informative), None)
    weights = torch.tensor(seen.weights, device=seen.device)
    data = class_data(seen.rows, targets, seen.sizes, weights)
    return DirichletObjective(data, theta, prior.informative, seen=targets, sizes=seen.sizes)
