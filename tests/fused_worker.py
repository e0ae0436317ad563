"""Fused products by Triton's interpreter, against tiles in float64: started by test_fused.py, no test itself.

``TRITON_INTERPRET=1 python fused_worker.py FILE``: the largest differences of each kernel go to the file.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from fused_cases import FUSED
from torch import Tensor

from nonparam.kernels.fused import FusedTiles
from nonparam.kernels.tiles import Tiles, deal, strips_of

N, S = 90, 19  # neither is a multiple of a block


def difference(found: Tensor, expected: Tensor, size: Tensor) -> float:
    """Return the largest difference, relative to a size."""
    return float(((found.double() - expected).abs() / size).max())


def differences(kernel) -> dict[str, float]:
    rng = np.random.default_rng(0)
    x, u, v = (torch.tensor(rng.uniform(-1.0, 1.0, (N, columns))) for columns in (2, S, S))
    x[-3:] = x[:3]
    exact, across = Tiles(kernel, x), v.float().mT.contiguous()
    product = exact.product(v.mT)
    hands = [FusedTiles(kernel, x.float(), strips=hand) for hand in deal(strips_of(N, 16), 7)]
    parameters = list(kernel.parameters())
    slopes = [hand.gradient(u.float(), v.float(), parameters) for hand in hands]
    batch = FusedTiles(kernel, x.float()).product(torch.stack([across, 2.0 * across]))
    size = (exact.dense().abs() @ v.abs()).mT
    return {
        "product": difference(sum(hand.product(across) for hand in hands), product, size),
        "batch": difference(batch[1], 2.0 * product, 2.0 * size),
        "gradient": max(
            difference(sum(found), expected, expected.abs().max())
            for *found, expected in zip(*slopes, exact.gradient(u, v, parameters), strict=True)
        ),
    }


def main(path: Path) -> None:
    path.write_text(json.dumps({name: differences(make()) for name, make in FUSED.items()}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
