"""Tiles of a covariance matrix on the processor by compiled loops, for kernels made of terms."""

from collections.abc import Iterator, Sequence

import gpytorch
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nonparam.kernels import compiled
from nonparam.kernels.compiled_threads import threads_of_torch
from nonparam.kernels.evaluate import variance
from nonparam.kernels.terms import Term, pulled_back, terms_of
from nonparam.kernels.tiles import Place, Tiles, frozen, own_parameter

__all__ = ["CompiledTiles", "is_compilable"]

Blocks = NDArray[np.floating]  # (m, c, BLOCK): the rows in blocks, a line for each column
Sums = NDArray[np.float64]


class CompiledTiles(Tiles):
    """The same as `Tiles`, each entry evaluated where it is used by `nonparam.kernels.compiled`.

    Strips begin with a block of rows, and are as high.

    Args:
        kernel: made of terms without cosines, at one value of its hyperparameters.
        x: ``(n, d)``, on the processor.
        strips: rows that this worker has; all by default.
        keep: whether the entries are stored, half the matrix.

    Examples:
        >>> from nonparam.kernels import RBF
        >>> x, ones = torch.tensor([[0.0], [1.0], [2.0]]), torch.ones(1, 3)
        >>> CompiledTiles(2.0 * RBF(1.0), x).product(ones).round(decimals=4)
        tensor([[3.4837, 4.4261, 3.4837]], dtype=torch.float64)
    """

    def __init__(
        self,
        kernel: gpytorch.kernels.Kernel,
        x: Tensor,
        *,
        strips: Sequence[slice] | None = None,
        keep: bool = False,
    ) -> None:
        super().__init__(kernel, x, tile=(compiled.BLOCK, len(x) + compiled.BLOCK), strips=strips)
        with torch.no_grad():
            self._mapped = [(term, in_blocks(term.z)) for term in self._terms()]
        self._entries = [self._evaluate(i) for i in self._blocks()] if keep else None

    @torch.no_grad()
    def product(self, across: Tensor) -> Tensor:
        """Return what these strips add to a product with the matrix, in float64; see `Tiles.product`."""
        flat = across.flatten(0, -2)
        v = in_blocks(torch.nn.functional.pad(flat, (0, 0, 0, len(flat) % 2)).mT)
        found = np.zeros(v.shape)
        for i, entries in self._strips_of_entries():
            with threads_of_torch():
                compiled.product(entries, i, v, found)
        rows = from_blocks(found[:, : len(flat)], across.shape[-1])
        return torch.from_numpy(rows).mT.reshape(across.shape)

    def gradient(self, left: Tensor, right: Tensor, parameters: Sequence[Tensor]) -> list[Tensor]:
        """Return what these strips add to the derivative, in float64; see `Tiles.gradient`."""
        own = [own_parameter(self._parameters, parameter) for parameter in parameters]
        tall, wide = in_blocks(torch.cat([left, right], 1)), in_blocks(torch.cat([right, left], 1))
        rows = torch.cat([torch.arange(strip.start, strip.stop) for strip in self.strips])
        with torch.enable_grad():
            ends, terms = [variance(self._kernel, self.x[rows])], self._terms()
        weights = [(left[rows] * right[rows]).sum(1)]
        for term, (_, z) in zip(terms, self._mapped, strict=True):
            pulled, kind = np.zeros(z.shape), compiled.PROFILES[term.profile]
            with threads_of_torch():
                total = sum(compiled.slopes(kind, i, z, tall, wide, pulled) for i in self._blocks())
            change = torch.from_numpy(from_blocks(pulled, len(self.x))).to(term.z)
            ends += [term.scale, term.z]
            weights += [term.scale.new_tensor(total), term.scale.detach() * change]
        return pulled_back(ends, weights, own)

    def _terms(self) -> Sequence[Term]:
        terms = terms_of(self._kernel, self.x)
        assert terms is not None
        return terms

    def _blocks(self) -> Iterator[int]:
        """Yield the numbers of the blocks that the strips are."""
        return (strip.start // compiled.BLOCK for strip in self.strips)

    def _strips_of_entries(self) -> Iterator[tuple[int, Blocks]]:
        known = map(self._evaluate, self._blocks()) if self._entries is None else self._entries
        return zip(self._blocks(), known, strict=True)

    def _evaluate(self, i: int) -> Blocks:
        """Return the entries of a block of rows with all later ones, ``(m - i, BLOCK, BLOCK)``."""
        blocks = -(-len(self.x) // compiled.BLOCK)
        entries = self.x.new_zeros(blocks - i, compiled.BLOCK, compiled.BLOCK).numpy()
        for term, z in self._mapped:
            scale = z.dtype.type(float(term.scale))
            with threads_of_torch():
                compiled.values(compiled.PROFILES[term.profile], scale, i, z, entries)
        start = i * compiled.BLOCK
        own = self.variance[start : start + compiled.BLOCK]
        np.einsum("ii->i", entries[0])[: len(own)] = own.numpy()
        return entries

    def _evaluated(self) -> Iterator[tuple[Place, Tensor]]:
        """Yield each strip; see `Tiles`."""
        for place, (_, entries) in zip(self._places(), self._strips_of_entries(), strict=True):
            strip = torch.from_numpy(entries).movedim(0, 1).flatten(1)
            yield (
                place,
                strip[: place.rows.stop - place.rows.start, : place.columns.stop - place.columns.start],
            )


def is_compilable(kernel: gpytorch.kernels.Kernel, x: Tensor, strips: Sequence[slice] | None = None) -> bool:
    """Return whether the compiled loops know the kernel, and the strips are their blocks.

    Args:
        kernel: at one value of its hyperparameters.
        x: ``(n, d)``.
        strips: rows of a worker; all by default.

    Examples:
        >>> from nonparam.kernels import RBF, Cosine
        >>> is_compilable(2.0 * RBF(1.0), torch.zeros(3, 2)), is_compilable(Cosine(1.0), torch.zeros(3, 2))
        (True, False)
    """
    own = frozen(kernel, x)
    with torch.no_grad():
        if variance(own, x[:1]).ndim != 1:  # hyperparameters of a batch of models
            return False
        terms = terms_of(own, x[:1]) or []
    ends = [strip.start + compiled.BLOCK for strip in strips or ()]
    fit = all(
        end % compiled.BLOCK == 0 and min(end, len(x)) == strip.stop
        for end, strip in zip(ends, strips or (), strict=True)
    )
    return len(terms) > 0 and not any(term.turns for term in terms) and fit


def in_blocks(rows: Tensor) -> Blocks:
    """Return rows ``(n, c)`` in blocks ``(m, c, BLOCK)``, the last one padded with zeros.

    Examples:
        >>> in_blocks(torch.ones(300, 2)).shape
        (2, 2, 256)
    """
    n, columns = rows.shape
    m = -(-n // compiled.BLOCK)
    padded = rows.new_zeros(m * compiled.BLOCK, columns)
    padded[:n] = rows
    blocks: Blocks = padded.view(m, compiled.BLOCK, columns).mT.contiguous().numpy()
    return blocks


def from_blocks(blocks: Sums, n: int) -> Sums:
    """Return the first ``n`` rows of blocks ``(m, c, BLOCK)``, ``(n, c)``."""
    rows: Sums = blocks.transpose(0, 2, 1).reshape(-1, blocks.shape[1])[:n]
    return rows
