r"""SWAG: a Gaussian over the weights of a network, from where training passes at a constant rate.

With the mean of the weights, the mean of their squares, and the last :math:`K` deviations from the running
mean as the columns of :math:`D`, weights are drawn as

.. math::

    \theta = \bar\theta + \tfrac{1}{\sqrt2} \Sigma^{1/2} z_1 + \tfrac{1}{\sqrt{2 (K - 1)}} D z_2, \quad
    \Sigma = \mathrm{diag}(\overline{\theta^2} - \bar\theta^2), \quad z_1, z_2 \sim N(0, I),

so that their covariance is :math:`\tfrac12 (\Sigma + D D^\top / (K - 1))`. Here :math:`K` is the number of
columns that there are, which may be fewer than are kept at most. A mixture of one such Gaussian for each of
several networks is MultiSWAG.

Source: Maddox, Garipov, Izmailov, Vetrov and Wilson (2019), A simple baseline for Bayesian uncertainty in
deep learning, NeurIPS, equation 1 and algorithm 1; Wilson and Izmailov (2020), Bayesian deep learning and a
probabilistic perspective of generalization, NeurIPS, section 4.
"""

import math
from collections import deque

import torch
from torch import Tensor

from nonparam.errors import InputError
from nonparam.networks.members import Members

__all__ = ["WeightMoments"]

RANK = 20  # deviations that are kept at most


class WeightMoments:
    """Moments of the weights of several networks, and draws from the Gaussians that have them.

    Args:
        rank: ``K``, at most.

    Examples:
        >>> members = Members([torch.nn.Linear(1, 1)])
        >>> moments = WeightMoments()
        >>> for weights in ([[1.0, 2.0]], [[3.0, 6.0]]):
        ...     moments.collect(members.assign(torch.tensor(weights)))
        >>> moments.mean, moments.variance
        (tensor([[2., 4.]], dtype=torch.float64), tensor([[1., 4.]], dtype=torch.float64))
        >>> moments.draw(torch.Generator().manual_seed(0)).shape
        torch.Size([1, 2])
    """

    def __init__(self, rank: int = RANK) -> None:
        self.collected = 0
        self.mean = self._square = torch.zeros(())
        self._deviations: deque[Tensor] = deque(maxlen=rank)

    @property
    def variance(self) -> Tensor:
        """The variances of the weights, ``(m, p)``."""
        return (self._square - self.mean**2).clamp(min=0.0)

    @property
    def deviations(self) -> Tensor:
        """The last deviations from the running mean, ``(m, K, p)``."""
        return torch.stack(list(self._deviations), 1)

    def collect(self, members: Members) -> None:
        """Take the weights at the end of an epoch into account; algorithm 1, lines 4 to 9."""
        weights = members.flat().double()  # a variance is a small difference of squares
        share = self.collected / (self.collected + 1.0)
        self.mean = share * self.mean + (1.0 - share) * weights
        self._square = share * self._square + (1.0 - share) * weights**2
        self._deviations.append((weights - self.mean).float())
        self.collected += 1

    def draw(self, generator: torch.Generator) -> Tensor:
        """Return weights ``(m, p)`` for each network.

        Args:
            generator: on the processor.

        Raises:
            InputError: fewer than 2 epochs were collected.
        """
        if self.collected < 2:
            raise InputError(
                f"SWAG needs the weights of 2 epochs or more in the last part of training, got "
                f"{self.collected}: take more epochs"
            )
        shape, k = self.mean.shape, len(self._deviations)
        own = torch.randn(shape, generator=generator, dtype=torch.float64).to(self.mean)
        columns = self.deviations
        joint = torch.randn(shape[0], 1, k, generator=generator).to(columns)
        low_rank = (joint @ columns)[:, 0].double() / math.sqrt(2.0 * (k - 1))
        return self.mean + (self.variance / 2.0).sqrt() * own + low_rank
