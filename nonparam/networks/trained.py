"""Networks after their training, and the functions that they stand for."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from nonparam.errors import InputError
from nonparam.networks.finite_laplace import NetworkLaplace, network_laplace
from nonparam.networks.members import Members
from nonparam.networks.swag import WeightMoments
from nonparam.networks.training import NetworkReport

__all__ = ["Trained"]

DRAWS = 30  # weights of each network that SWAG averages over; Maddox et al. (2019), section 5


@dataclass(frozen=True)
class Trained:
    """Networks that were trained, and what is known of their weights.

    Attributes:
        members: the networks.
        report: what training did.
        seed: of draws.
        moments: of the weights, with SWAG.
        laplace: Gaussians over the weights, one for each network, with Laplace's approximation.
        precision: of its prior.
    """

    members: Members
    report: NetworkReport
    seed: int
    moments: WeightMoments | None = None
    laplace: Sequence[NetworkLaplace] = ()
    precision: float = 1.0

    def with_laplace(self, x: Iterable[Tensor], roots: Iterable[Tensor]) -> Self:
        """Return the networks with a Gaussian over the weights of each.

        Args:
            x: the rows ``(n, d)`` that each network was trained on.
            roots: of the curvature of its loss there, ``(n, t, t)``; see `network_laplace`.
        """
        pairs = enumerate(zip(x, roots, strict=True))
        found = [network_laplace(self.members, i, rows, root) for i, (rows, root) in pairs]
        return replace(self, laplace=tuple(found))

    def functions(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the functions that the networks stand for, at new rows.

        Args:
            x: ``(n, d)``, or rows for each network, ``(m, n, d)``.

        Returns:
            Their outputs ``(s, m, n, t)``, for ``s`` draws of the weights, and the variances of the outputs
            around them, of the same shape; both in float64.
        """
        if self.moments is None:
            means = self.members.outputs(x)[None]
        else:
            generator = torch.Generator().manual_seed(self.seed)
            draws = (self.moments.draw(generator) for _ in range(DRAWS))
            means = torch.stack([self.members.outputs(x, weights) for weights in draws])
        if not bool(torch.isfinite(means).all()):
            rows = (~torch.isfinite(means)).any(-1).any(0).any(0).nonzero()[:, 0].tolist()
            raise InputError(
                f"networks give no finite numbers at {len(rows)} of the rows, first at row {rows[0]}: "
                "expected an activation that is finite everywhere, and rows not too far from those of the fit"
            )
        if not self.laplace:
            return means, torch.zeros_like(means)
        return means, self.variances(x, [self.precision])

    def variances(self, x: Tensor, precisions: Sequence[float]) -> Tensor:
        """Return the variances of outputs by Laplace's approximation, for priors of several precisions.

        Args:
            x: ``(n, d)``, or rows for each network, ``(m, n, d)``.
            precisions: ``g`` numbers.

        Returns:
            ``(g, m, n, t)``.
        """
        each = x if x.ndim == 3 else x.expand(self.members.count, *x.shape)
        wanted = torch.tensor(precisions, dtype=torch.float64, device=x.device)
        pairs = zip(self.laplace, each, strict=True)
        return torch.stack([one.variances(self.members, rows, wanted) for one, rows in pairs], 1)
