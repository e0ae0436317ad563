r"""Infinitely wide networks that gradient descent has trained on labels, one output for each class.

The outputs are trained on the log-normal targets of `nonparam.latent.dirichlet` as those of a regression
are (see `nonparam.networks.gradient_flow`): the noise of the targets is unknown to training. All outputs
share their filter and their spread, so that several classes take hardly more than one.

Source: Lee et al. (2019), Wide neural networks of any depth evolve as linear models under gradient descent,
NeurIPS, equations 14 to 16; the targets: Milios et al. (2018), see `nonparam.latent.dirichlet`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import gpytorch
import numpy as np
import torch
from torch import Tensor

from nonparam.latent.dirichlet import LogNormal
from nonparam.networks.folds import HELD_OUT, folds, others
from nonparam.networks.gradient_flow import TrainedEnsemble, train
from nonparam.objective import Data
from nonparam.posterior import condition

__all__ = ["TrainedClasses", "train_classes"]


@dataclass(frozen=True)
class TrainedClasses:
    """Ensembles of networks after training on labels.

    Attributes:
        kernel: the tangent kernel.
        x: ``(n, d)``, in order of the classes.
        targets: ``(n, c)``.
        seen: the targets, and their noise.
        time: of training.
        ensemble: the networks.
        seed: of the parts of the rows that are left out.
    """

    kernel: gpytorch.kernels.Kernel
    x: Tensor
    targets: Tensor
    seen: LogNormal
    time: float
    ensemble: TrainedEnsemble
    seed: int

    @property
    def jitter(self) -> float:
        """Added to the diagonal of the covariance."""
        return self.ensemble.factor.jitter

    def moments(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return means and variances of the outputs at ``x (m, d)``: two of ``(m, c)``."""
        return _moments(self.ensemble, x)

    def left_out(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return some rows, and means and variances of outputs there of networks that did not see them.

        Rows are left out a fifth at a time, and of many rows a thousand are looked at.

        Returns:
            The numbers of the rows ``(r,)``, and two of ``(r, c)``.
        """
        n = len(self.x)
        parts = folds(n, np.random.RandomState(self.seed))
        held = parts[:, : math.ceil(HELD_OUT / len(parts))]
        pairs = [self._left_out(rows, others(part, n)) for rows, part in zip(held, parts, strict=True)]
        means, variances = zip(*pairs, strict=True)
        return held.reshape(-1), torch.cat(means), torch.cat(variances)

    def _left_out(self, held: Tensor, kept: Tensor) -> tuple[Tensor, Tensor]:
        found = _trained(self.kernel, self.x[kept], self.targets[kept], self.seen, self.time)
        return _moments(found, self.x[held])


def train_classes(
    kernel: gpytorch.kernels.Kernel, x: Tensor, seen: LogNormal, sizes: Sequence[int], time: float, seed: int
) -> TrainedClasses:
    """Train networks on labels.

    Args:
        kernel: a tangent kernel.
        x: ``(n, d)``, in order of the classes.
        seen: the targets, and their noise.
        sizes: of the classes.
        time: of gradient descent at rate one, on the mean of the squares over half the gap between targets.
        seed: of the parts of the rows that are left out.

    Raises:
        InsufficientMemoryError: more rows than the memory holds.
        ConvergenceError: Lanczos could not be certified: the time is long.

    Examples:
        >>> from nonparam.kernels import InfiniteNetwork
        >>> kernel = InfiniteNetwork("erf-1", "ntk", center=0.0, spread=1.0).double()
        >>> x = torch.tensor([[-1.0], [1.0], [2.0]], dtype=torch.float64)
        >>> networks = train_classes(kernel, x, LogNormal.of(0.01), [1, 2], math.inf, 0)
        >>> (networks.moments(x)[0] - networks.targets).abs().max() < 1e-6  # trained for ever
        tensor(True)
    """
    targets = seen.targets(sizes, x)
    return TrainedClasses(kernel, x, targets, seen, time, _trained(kernel, x, targets, seen, time), seed)


def _trained(
    kernel: gpytorch.kernels.Kernel, x: Tensor, targets: Tensor, seen: LogNormal, time: float
) -> TrainedEnsemble:
    ones = torch.ones_like(x[:, 0])
    data = Data(x, targets, ones[:, None], ones, seen.outside_noise * ones)
    return train(condition(kernel, data, 0.0), time, (0.5 * seen.gap) ** 2)


def _moments(ensemble: TrainedEnsemble, x: Tensor) -> tuple[Tensor, Tensor]:
    ones = torch.ones_like(x[:, :1])
    mean = ensemble.predict_mean(x, ones)
    return mean, ensemble.predict_variance(x, ones)[:, None].expand_as(mean)
