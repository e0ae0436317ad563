r"""Laplace's approximation of a network: a Gaussian over its weights, and the functions that it implies.

Near where training ended the network is linear in its weights, :math:`f(x) + J(x) (\theta - \hat\theta)`.
With the curvature :math:`R_i R_i^\top` of the loss in the outputs of row :math:`i`, and a prior of precision
:math:`\delta`, the generalised Gauss-Newton matrix gives the covariances of the weights and of the outputs

.. math:: (A^\top A + \delta I)^{-1}, \quad A_i = R_i^\top J(x_i), \qquad
    J(x) (A^\top A + \delta I)^{-1} J(x)^\top.

One factorisation of the smaller of :math:`A^\top A` and :math:`A A^\top` serves all :math:`\delta`; which
one is taken, held-out rows tell. (The evidence would count the distance of the weights
from 0, most of which is that of their start, and find a prior that is far too wide.)

Source: MacKay (1992), A practical Bayesian framework for backpropagation networks, Neural Computation 4,
448-472; Khan, Immer, Abedi and Korzepa (2019), Approximate inference turns deep networks into Gaussian
processes, NeurIPS; Immer, Korzepa and Bauer (2021), Improving predictions of Bayesian neural nets via local
linearization, AISTATS.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.func import jacrev, vmap

from nonparam.networks.members import Members
from nonparam.networks.memory import DOUBLE, SINGLE, check_fits

__all__ = ["NetworkLaplace", "check_laplace", "network_laplace"]

CHUNK = 2**25  # entries of Jacobians at once in predictions


@dataclass(frozen=True)
class NetworkLaplace:
    """A Gaussian over the weights of one network, for any precision of its prior.

    Attributes:
        weights: ``(p,)``, its mean.
        directions: ``(k, p)``, orthonormal: eigenvectors of ``A' A`` with curvature.
        curvatures: ``(k,)``, their eigenvalues.
    """

    weights: Tensor
    directions: Tensor
    curvatures: Tensor

    def variances(self, members: Members, x: Tensor, precisions: Tensor) -> Tensor:
        r"""Return the variances of the outputs for several precisions of the prior.

        .. math:: \frac1\delta \left(|J|^2 - \sum_k \frac{\lambda_k}{\lambda_k + \delta} (J u_k)^2\right)

        Args:
            members: the networks, for their form.
            x: ``(n, d)``.
            precisions: ``(g,)``.

        Returns:
            ``(g, n, t)``.
        """
        outputs = members.one(self.weights, x[:1]).shape[1]
        rows = max(CHUNK // (outputs * len(self.weights)), 1)
        known = self.curvatures[:, None] / (self.curvatures[:, None] + precisions)
        found = []
        for part in x.split(rows):
            slopes = jacobian(members, self.weights, part)
            along = (slopes @ self.directions.mT).double()
            found.append(slopes.double().square().sum(-1)[..., None] - along.square() @ known)
        return (torch.cat(found).clamp(min=0.0) / precisions).movedim(-1, 0)


def network_laplace(members: Members, member: int, x: Tensor, roots: Tensor) -> NetworkLaplace:
    """Approximate the posterior of the weights of a network by a Gaussian.

    Args:
        members: networks that are trained.
        member: which of them.
        x: ``(n, d)``, the rows it was trained on.
        roots: ``(n, t, t)``, ``R`` with the curvature ``R R'`` of the sum of losses in the outputs of a row.

    Raises:
        InsufficientMemoryError: the Jacobian, or the smaller of the two matrices, does not fit.

    Examples:
        >>> members = Members([torch.nn.Linear(1, 1, bias=False)])
        >>> x = torch.tensor([[1.0], [2.0]])
        >>> found = network_laplace(members, 0, x, torch.ones(2, 1, 1))
        >>> found.curvatures  # the sum of squares of x
        tensor([5.], dtype=torch.float64)
    """
    weights = members.flat()[member]
    check_laplace(1, len(weights), len(x), roots.shape[-1], x.device)
    a = (roots.mT.double() @ jacobian(members, weights, x).double()).reshape(-1, len(weights))
    curvatures, directions = _eigenpairs(a)
    return NetworkLaplace(weights, directions.to(weights), curvatures)


def check_laplace(networks: int, weights: int, rows: int, outputs: int, device: torch.device) -> None:
    """Raise `InsufficientMemoryError` where the approximation of several networks does not fit.

    Args:
        networks: how many.
        weights: of each.
        rows: that they are trained on.
        outputs: of each row.
        device: where.

    Examples:
        >>> check_laplace(1, 100, 50, 1, torch.device("cpu"))
    """
    size = rows * outputs
    least = min(size, weights)
    kept = networks * (SINGLE * least * weights + DOUBLE * rows * outputs**2)
    need = DOUBLE * (3 * size * weights + 4 * least**2) + kept
    what = f"Laplace's approximation of {weights:,} weights from {size:,} outputs"
    check_fits(need, what, device, "take fewer rows, narrower layers, or average='swag'")


def jacobian(members: Members, weights: Tensor, x: Tensor) -> Tensor:
    """Return the derivatives of the outputs of rows ``(n, d)`` by the weights ``(p,)``: ``(n, t, p)``."""

    def one(row: Tensor) -> Tensor:
        found: Tensor = jacrev(lambda flat: members.one(flat, row[None])[0])(weights)
        return found

    found: Tensor = vmap(one)(x.to(weights))
    return found.detach()


def _eigenpairs(a: Tensor) -> tuple[Tensor, Tensor]:
    """Return the positive eigenvalues ``(k,)`` of ``A' A`` and their vectors ``(k, p)``."""
    wide = a.shape[0] < a.shape[1]
    values, vectors = torch.linalg.eigh(a @ a.mT if wide else a.mT @ a)
    kept = values > len(values) * torch.finfo(a.dtype).eps * values[-1]
    values, vectors = values[kept], vectors[:, kept]
    if wide:  # those of A A', turned into right singular vectors
        return values, (vectors / values.sqrt()).mT @ a
    return values, vectors.mT
