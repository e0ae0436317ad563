"""Which loops evaluate the entries of a covariance matrix."""

import importlib.util
from collections.abc import Sequence

import gpytorch
import torch
from torch import Tensor

from nonparam.kernels.fused import FusedTiles, is_fusable
from nonparam.kernels.matrix_free import MatrixFreeTiles, has_matrix_free_term
from nonparam.kernels.tiles import Tile, Tiles, checked

__all__ = ["tiles_for"]

COMPILED_ROWS = 2000  # from here on compiled loops repay the second that it takes to load them


def tiles_for(
    kernel: gpytorch.kernels.Kernel,
    x: Tensor,
    *,
    tile: Tile | None = None,
    strips: Sequence[slice] | None = None,
    keep: bool = False,
) -> Tiles:
    """Return the strips of one worker, see `Tiles`, evaluated by what is fastest here.

    That is Triton on a GPU, in float32, and loops compiled by Numba on the processor, where these are
    installed and know the kernel; elsewhere torch evaluates tiles. Entries differ by rounding only. Unless
    tiles are kept, terms that multiply by themselves do.
    """
    checked(tile, x)
    if not keep and has_matrix_free_term(kernel):
        return MatrixFreeTiles(kernel, x, tile=tile, strips=strips)
    if x.dtype == torch.float32 and x.is_cuda and _has("triton") and not keep and is_fusable(kernel, x):
        return FusedTiles(kernel, x, tile=tile, strips=strips)
    if x.device.type == "cpu" and len(x) >= COMPILED_ROWS and _has("numba"):
        from nonparam.kernels.compiled_tiles import CompiledTiles, is_compilable

        if is_compilable(kernel, x, strips):
            return CompiledTiles(kernel, x, strips=strips, keep=keep)
    return Tiles(kernel, x, tile=tile, strips=strips, keep=keep)


def _has(module: str) -> bool:
    return importlib.util.find_spec(module) is not None
