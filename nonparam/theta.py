"""The free hyperparameters of a model as one vector, with names, bounds and a prior."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import gpytorch
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["Prior", "Theta", "free_parameters"]

Array = NDArray[np.float64]

FOREIGN_REACH = 1e4  # how far a GPyTorch kernel's stored parameter may move from where it stands
WIDEST_DRAW = 2.0  # standard deviation of a restart's logarithms


@dataclass(frozen=True)
class Prior:
    """A normal density of a stored hyperparameter (of the logarithm of a positive one), and its bounds.

    Attributes:
        mean: of the stored value, one or one per entry.
        sd: of the stored value; infinite for none.
        lower: what a search may not go below.
        upper: what a search may not go above.
        step: a change of the stored value that matters; searches measure their steps in it.

    Examples:
        >>> from nonparam.kernels import RBF
        >>> prior = Prior(0.0, 1.0, np.log(0.1), np.log(10.0))  # of a lengthscale of about 1, within a decade
        >>> theta = Theta(RBF(2.0), {"raw_lengthscale": prior}, noise=None)
        >>> np.exp([theta.lower[0], theta.start[0], theta.upper[0]]).round(6)
        array([ 0.1,  2. , 10. ])
    """

    mean: Array | float
    sd: Array | float
    lower: Array | float
    upper: Array | float
    step: Array | float = 1.0


def free_parameters(kernel: gpytorch.Module) -> dict[str, torch.nn.Parameter]:
    """Return what training may move, by qualified name (``kernel.raw_lengthscale``), in a fixed order.

    Examples:
        >>> from nonparam.kernels import RBF, Linear
        >>> list(free_parameters(RBF(1.0) + Linear(1.0, fixed=("variance",))))
        ['kernels.0.raw_lengthscale']
    """
    return {name: p for name, p in kernel.named_parameters() if p.requires_grad}


class Theta:
    """The free hyperparameters of a kernel, and of the noise, as a vector.

    Positive hyperparameters of our kernels stand in it as logarithms; those of a GPyTorch kernel as that
    kernel stores them.

    Args:
        kernel: its stored parameters are read and written.
        priors: by the names of `free_parameters`, and ``"noise"``; one that is missing has no prior.
        noise: the present noise variance, or ``None`` where it is not learnt.
        others: present values of numbers that are not the kernel's, by name; they stand between the two.

    Attributes:
        names: one for each entry.
        start: ``(p,)``, the present values.
        lower: ``(p,)``.
        upper: ``(p,)``.
        step: ``(p,)``, changes that matter.
        prior_mean: ``(p,)``.
        prior_precision: ``(p,)``, 0 where there is no prior.

    Examples:
        >>> from nonparam.kernels import RBF
        >>> kernel = RBF(2.0)
        >>> theta = Theta(kernel, {}, noise=0.1)
        >>> theta.names, np.exp(theta.start).round(6)
        (['lengthscale', 'noise'], array([2. , 0.1]))
        >>> theta.assign(np.log([5.0, 0.1]))
        >>> kernel
        rbf(lengthscale=5)
    """

    def __init__(
        self,
        kernel: gpytorch.Module,
        priors: Mapping[str, Prior],
        noise: float | None,
        others: Mapping[str, Array] | None = None,
    ) -> None:
        self.kernel = kernel
        self.learns_noise = noise is not None
        self._free = free_parameters(kernel)
        self._shapes = [parameter.shape for parameter in self._free.values()]
        self._sizes = [shape.numel() for shape in self._shapes]
        values = {name: p.detach().cpu().double().numpy().reshape(-1) for name, p in self._free.items()}
        values |= {} if others is None else others
        if noise is not None:
            values["noise"] = np.array([np.log(noise)])
        self.names = [label for name, value in values.items() for label in _labels(name, value.size)]
        columns = [_columns(value, priors.get(name)) for name, value in values.items()]
        table = np.concatenate([np.zeros((6, 0)), *columns], 1)
        self.start, self.prior_mean, sd, self.lower, self.upper, self.step = table
        self.prior_precision = sd**-2.0

    @property
    def size(self) -> int:
        """The number of free hyperparameters."""
        return len(self.start)

    @property
    def parameters(self) -> list[torch.nn.Parameter]:
        """The kernel's free parameters, in the order of the vector."""
        return list(self._free.values())

    def starting_points(self, n_restarts: int, rng: np.random.RandomState) -> Array:
        """Return the present hyperparameters, and draws around them: ``(1 + n_restarts, p)``."""
        with np.errstate(divide="ignore"):
            spread = np.minimum(self.prior_precision**-0.5, WIDEST_DRAW)
        draws = self.start + spread * rng.standard_normal((n_restarts, self.size))
        starts: Array = np.clip(np.concatenate([self.start[None], draws]), self.lower, self.upper)
        return starts

    def assign(self, theta: Array) -> None:
        """Write a vector ``(p,)``, or a batch ``(b, p)`` of them, into the kernel."""
        if not self._free:
            return
        stored = torch.from_numpy(np.array(theta))
        if theta.ndim == 1:
            pieces = stored[: sum(self._sizes)].split(self._sizes)
        else:
            pieces = stored[:, : sum(self._sizes)].split(self._sizes, -1)
        for parameter, shape, piece in zip(self._free.values(), self._shapes, pieces, strict=True):
            values = piece.reshape((*theta.shape[:-1], *shape)).to(parameter)
            if values.shape != parameter.shape:  # a graph of the former shape may still be alive, such as one
                parameter.data = values.half()  # in a frame that a profiler holds: another type lets go of it
            parameter.data = values

    def gather(self, gradients: list[Tensor], noise: Array, batch: int) -> Array:
        """Return the gradients of the parameters, and of the log noise ``(b,)``, as ``(b, p)``.

        Those of numbers that are not the kernel's are left at 0.
        """
        slopes = np.zeros((batch, self.size))
        if gradients:
            table = torch.cat([g.reshape(batch, -1) for g in gradients], -1)
            slopes[:, : table.shape[1]] = table.double().cpu().numpy()
        if self.learns_noise:
            slopes[:, -1] = noise
        return slopes

    def log_prior(self, theta: Array, entries: NDArray[np.bool_] | None = None) -> tuple[Array, Array]:
        """Return the log density of the prior of each row of ``(b, p)``, and its gradient.

        The density may be that of some ``entries (p,)`` only.
        """
        centred = theta - self.prior_mean
        with np.errstate(divide="ignore"):
            constant = 0.5 * np.log(self.prior_precision / (2.0 * np.pi))
        density = np.where(
            self.prior_precision > 0.0, constant - 0.5 * self.prior_precision * centred**2, 0.0
        )
        counted = True if entries is None else entries
        return density.sum(-1, where=counted), -self.prior_precision * centred * counted

    def log_priors(self, theta: Array) -> tuple[Array, Array]:
        """Return the log density of all priors of each row of ``(b, p)``, and its gradient."""
        ours, registered = self.log_prior(theta), self.registered_log_prior(theta)
        return ours[0] + registered[0], ours[1] + registered[1]

    def registered_log_prior(self, theta: Array) -> tuple[Array, Array]:
        """Return the log density of the priors that a GPyTorch kernel brings, and its gradient."""
        priors = list(self.kernel.named_priors())
        values, slopes = np.zeros(len(theta)), np.zeros_like(theta)
        for i, point in enumerate(theta if priors else theta[:0]):
            self.assign(point)
            density = sum(prior.log_prob(closure(owner)).sum() for _, owner, prior, closure, _ in priors)
            gradients: Sequence[Tensor] = ()
            if self.parameters:
                gradients = torch.autograd.grad(density, self.parameters, materialize_grads=True)
            values[i] = float(density.detach())
            slopes[i] = self.gather(list(gradients), np.zeros(1), 1)
        return values, slopes


def _labels(name: str, size: int) -> list[str]:
    label = name.replace("raw_", "")
    return [label] if size == 1 else [f"{label}[{i}]" for i in range(size)]


def _columns(value: Array, prior: Prior | None) -> Array:
    """Return start, prior mean, prior sd, lower and upper bound and step of each entry, ``(6, size)``."""
    if prior is None:
        prior = Prior(value, np.inf, value - FOREIGN_REACH, value + FOREIGN_REACH)
    rows = np.broadcast_arrays(value, prior.mean, prior.sd, prior.lower, prior.upper, prior.step)
    table: Array = np.array(rows, dtype=float)
    table[3], table[4] = np.minimum(table[3], value), np.maximum(table[4], value)
    return table
