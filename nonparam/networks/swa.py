r"""Stochastic weight averaging: the mean of the weights that training passes through at a constant rate.

.. math:: \theta_{\mathrm{SWA}} = \frac1k \sum_{i=1}^k \theta_i,

over the ends of the last epochs. Stochastic gradients move about at the rim of a flat valley of the loss;
the mean lies inside it.

Source: Izmailov, Podoprikhin, Garipov, Vetrov and Wilson (2018), Averaging weights leads to wider optima and
better generalization, UAI, algorithm 1.
"""

from typing import cast

from torch.optim.swa_utils import AveragedModel

from nonparam.networks.members import Members

__all__ = ["WeightAverage"]


class WeightAverage:
    """The running mean of the weights of several networks.

    Args:
        members: the networks, with any weights.

    Examples:
        >>> import torch
        >>> members = Members([torch.nn.Linear(1, 1)])
        >>> average = WeightAverage(members)
        >>> for weights in ([[1.0, 2.0]], [[3.0, 6.0]]):
        ...     average.collect(members.assign(torch.tensor(weights)))
        >>> average.mean().flat()
        tensor([[2., 4.]])
    """

    def __init__(self, members: Members) -> None:
        self._model = AveragedModel(members)

    def collect(self, members: Members) -> None:
        """Take the weights at the end of an epoch into account."""
        self._model.update_parameters(members)

    def mean(self) -> Members:
        """Return networks with the mean of the weights that were collected."""
        return cast(Members, self._model.module)
