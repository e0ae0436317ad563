r"""Kernels whose matrices multiply vectors without their entries.

A kernel :math:`\phi(x)^\top \phi(x')` of very many features is such a one, where products with the features
and with their transpose cost less than the entries. With :math:`n` rows a product then takes a time and a
memory of the order of :math:`n`, and the derivative in an amplitude :math:`s`,

.. math:: \partial \sum_i u_i^\top s K v_i / \partial s = \sum_i u_i^\top K v_i,

is one more product.
"""

from collections.abc import Sequence
from typing import TypeAlias

import gpytorch
import torch
from torch import Tensor

from nonparam.kernels.base import Kernel
from nonparam.kernels.composition import Scale, Sum
from nonparam.kernels.terms import pulled_back
from nonparam.kernels.tiles import Tile, Tiles, own_parameter

__all__ = ["MatrixFree", "MatrixFreeTiles", "has_matrix_free_term"]

AnyKernel: TypeAlias = gpytorch.kernels.Kernel


class MatrixFree(Kernel):
    """A kernel without hyperparameters whose matrix multiplies vectors without its entries."""

    def product(self, x1: Tensor, x2: Tensor, across: Tensor) -> Tensor:
        """Return products with the matrix of ``x1`` and ``x2``.

        Args:
            x1: ``(n, d)``, the active columns.
            x2: ``(m, d)``.
            across: ``(k, m)``, a vector in each row.

        Returns:
            ``(k, n)``, in float64.
        """
        raise NotImplementedError(f"{type(self).__name__} implements no product")


class MatrixFreeTiles(Tiles):
    """The same as `Tiles`, where terms of the kernel multiply by themselves.

    A worker has the rows of its strips with all columns: what a strip costs does not depend on its place.
    Terms of another kind are evaluated in tiles.

    Args:
        kernel: such a kernel, perhaps with an amplitude, or a sum with such terms.
        x: ``(n, d)``, all rows.
        tile: rows and columns of the pieces in which other terms, and rows, are evaluated.
        strips: rows that this worker has; all by default.
    """

    def __init__(
        self,
        kernel: AnyKernel,
        x: Tensor,
        *,
        tile: Tile | None = None,
        strips: Sequence[slice] | None = None,
    ) -> None:
        super().__init__(kernel, x, tile=tile, strips=strips)
        others = [term for term in _terms(kernel) if _leaf(term) is None]
        self._others = Tiles(Sum(*others), x, tile=self.tile, strips=self.strips) if others else None
        self._theirs = {id(parameter) for term in others for parameter in term.parameters()}

    @torch.no_grad()
    def product(self, across: Tensor) -> Tensor:
        """Return what these strips add to a product with the matrix, in float64; see `Tiles.product`."""
        found = torch.zeros_like(across, dtype=torch.float64)
        mine, flat = self._rows(), across.flatten(0, -2)
        for scale, leaf in self._scaled():
            own = scale.double() * _product(leaf, self.x[mine], self.x, flat)
            found[..., mine] += own.reshape(*across.shape[:-1], len(mine))
        return found if self._others is None else found + self._others.product(across)

    def gradient(self, left: Tensor, right: Tensor, parameters: Sequence[Tensor]) -> list[Tensor]:
        """Return what these strips add to the derivative, in float64; see `Tiles.gradient`."""
        own, mine = [own_parameter(self._parameters, parameter) for parameter in parameters], self._rows()
        with torch.enable_grad():
            scaled = self._scaled()
        weights = []
        for scale, leaf in scaled:
            with torch.no_grad():
                product = _product(leaf, self.x[mine], self.x, right.mT.contiguous())
            weights.append((left[mine].mT * product).sum().to(scale))
        slopes = pulled_back([scale for scale, _ in scaled], weights, own)
        if self._others is not None:
            theirs = [i for i, parameter in enumerate(parameters) if id(parameter) in self._theirs]
            added = self._others.gradient(left, right, [parameters[i] for i in theirs])
            for i, slope in zip(theirs, added, strict=True):
                slopes[i] = slopes[i] + slope
        return slopes

    def _scaled(self) -> list[tuple[Tensor, MatrixFree]]:
        """Return the amplitude, with its graph, and the kernel of each term that multiplies by itself."""
        leaves = [(term, _leaf(term)) for term in _terms(self._kernel)]
        return [(_amplitude(term, self.x), leaf) for term, leaf in leaves if leaf is not None]

    def _rows(self) -> Tensor:
        """Return the numbers of this worker's rows."""
        pieces = [torch.arange(strip.start, strip.stop) for strip in self.strips]
        return torch.cat([torch.arange(0), *pieces]).to(self.x.device)


def has_matrix_free_term(kernel: AnyKernel) -> bool:
    """Return whether some term of a kernel multiplies by itself.

    Examples:
        >>> from nonparam.kernels import RBF
        >>> has_matrix_free_term(2.0 * RBF(1.0)), has_matrix_free_term(2.0 * MatrixFree({}) + RBF(1.0))
        (False, True)
    """
    return any(_leaf(term) is not None for term in _terms(kernel))


def _terms(kernel: AnyKernel) -> Sequence[AnyKernel]:
    return tuple(kernel.kernels) if type(kernel) is Sum and kernel.active_dims is None else (kernel,)


def _leaf(term: AnyKernel) -> MatrixFree | None:
    """Return the kernel below the amplitudes, if it multiplies by itself."""
    while type(term) is Scale:
        term = term.kernel
    return term if isinstance(term, MatrixFree) else None


def _amplitude(term: AnyKernel, x: Tensor) -> Tensor:
    scale = x.new_ones(())
    while type(term) is Scale:
        scale, term = scale * term.outputscale, term.kernel
    return scale


def _product(leaf: MatrixFree, x1: Tensor, x2: Tensor, across: Tensor) -> Tensor:
    if leaf.active_dims is not None:
        x1, x2 = (x.index_select(-1, leaf.active_dims) for x in (x1, x2))
    return leaf.product(x1, x2, across)
