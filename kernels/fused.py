"""Products and derivatives of stationary kernels on a GPU, each entry evaluated where it is used."""

from collections.abc import Sequence

import gpytorch
import torch
from torch import Tensor

from nonparam.kernels.evaluate import variance
from nonparam.kernels.terms import Term, pulled_back, terms_of
from nonparam.kernels.tiles import Tiles, frozen, own_parameter

__all__ = ["FusedTiles", "is_fusable"]

MOST_COLUMNS = 64  # of mapped rows: their derivatives fill the registers


class FusedTiles(Tiles):
    """The same as `Tiles`, each entry evaluated in the registers of a GPU: float32, kernels made of terms.

    A worker has the rows of its strips with all columns: what a strip costs does not depend on its place.
    """

    @torch.no_grad()
    def product(self, across: Tensor) -> Tensor:
        """Return what these strips add to a product with the matrix, in float64; see `Tiles.product`."""
        from nonparam.kernels.fused_triton import product

        mine, v = self._rows(), across.flatten(0, -2).mT.contiguous()
        terms = self._terms()
        on_diagonal = self.variance.double() - sum(term.scale.double() for term in terms)
        found = on_diagonal[mine, None] * v[mine].double()
        for term in terms:
            some = term.z[mine], term.phase[mine]
            found += term.scale.double() * product(term.profile, term.turns, some, (term.z, term.phase), v)
        whole = torch.zeros_like(v, dtype=torch.float64)
        whole[mine] = found
        return whole.mT.reshape(across.shape)

    def gradient(self, left: Tensor, right: Tensor, parameters: Sequence[Tensor]) -> list[Tensor]:
        """Return what these strips add to the derivative, in float64; see `Tiles.gradient`."""
        from nonparam.kernels.fused_triton import slopes

        own, mine = [own_parameter(self._parameters, parameter) for parameter in parameters], self._rows()
        tall, wide = torch.cat([left, right], 1)[mine], torch.cat([right, left], 1)
        with torch.enable_grad():
            ends = [variance(self._kernel, self.x[mine])]
            weights = [(left[mine] * right[mine]).sum(1)]
            for term in self._terms():
                some = term.z[mine], term.phase[mine]
                at = (some[0].detach(), some[1].detach()), (term.z.detach(), term.phase.detach())
                values, pulled, turned = slopes(term.profile, term.turns, *at, mine, tall, wide)
                scale = term.scale.detach()
                ends += [term.scale, *some]
                weights += [values.sum().to(scale), (scale * pulled).to(scale), (scale * turned).to(scale)]
        return pulled_back(ends, weights, own)

    def _terms(self) -> list[Term]:
        terms = terms_of(self._kernel, self.x)
        assert terms is not None
        return terms

    def _rows(self) -> Tensor:
        """Return the numbers of this worker's rows."""
        pieces = [torch.arange(strip.start, strip.stop) for strip in self.strips]
        return torch.cat([torch.arange(0), *pieces]).to(self.x.device)


def is_fusable(kernel: gpytorch.kernels.Kernel, x: Tensor) -> bool:
    """Return whether the entries are made of terms that one block of registers holds.

    Args:
        kernel: at one value of its hyperparameters.
        x: ``(n, d)``.

    Examples:
        >>> from nonparam.kernels import RBF
        >>> is_fusable(2.0 * RBF(1.0), torch.zeros(3, 2)), is_fusable(2.0 * RBF(1.0), torch.zeros(3, 80))
        (True, False)
    """
    own = frozen(kernel, x)
    with torch.no_grad():
        if variance(own, x[:1]).ndim != 1:  # hyperparameters of a batch of models
            return False
        terms = terms_of(own, x[:1])
    return terms is not None and all(term.z.shape[1] <= MOST_COLUMNS for term in terms)
