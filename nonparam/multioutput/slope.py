"""What every solver of a panel hands back: the log marginal likelihood, and its derivatives."""

from dataclasses import dataclass

from torch import Tensor

__all__ = ["PanelEvidence", "on_upper"]


@dataclass(frozen=True)
class PanelEvidence:
    """The log marginal likelihood of the observed entries, and where it leads.

    Attributes:
        value: in nats.
        k: ``(n, n)``, the derivative in the covariance of the rows, gathered on the upper triangle.
        b: ``(t, t)``, that in the covariance of the outputs, each entry counted on its own.
        noise: ``(t,)``, that in the noise variances.
        jitter: added to the diagonal.
    """

    value: float
    k: Tensor
    b: Tensor
    noise: Tensor
    jitter: float


def on_upper(gradient: Tensor) -> Tensor:
    """Return a derivative in a symmetric matrix, each entry counted on its own, on the upper triangle.

    Examples:
        >>> import torch
        >>> on_upper(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
        tensor([[1., 5.],
                [0., 4.]])
    """
    return gradient.triu() + gradient.tril(-1).mT
