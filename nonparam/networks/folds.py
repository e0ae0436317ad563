"""Parts of the rows that networks do not see, for what is learnt of rows left out."""

import math

import numpy as np
import torch
from torch import Tensor

__all__ = ["HELD_OUT", "folds", "others"]

FOLDS = 5
HELD_OUT = 1000  # rows that tell a variance well enough: its root to 2 %


def folds(n: int, rng: np.random.RandomState) -> Tensor:
    """Return the numbers of rows that are held out together, ``(k, h)``.

    Fifths of the rows, as many of them as have a thousand together; of fewer than five rows, one at a time.

    Examples:
        >>> folds(100, np.random.RandomState(0)).shape, folds(10_000, np.random.RandomState(0)).shape
        (torch.Size([5, 20]), torch.Size([1, 2000]))
    """
    size = n // min(FOLDS, n)
    needed = min(math.ceil(HELD_OUT / size), n // size, FOLDS)
    return torch.from_numpy(rng.permutation(n)[: needed * size].reshape(needed, size))


def others(rows: Tensor, n: int) -> Tensor:
    """Return which of ``n`` rows are not among these.

    Examples:
        >>> others(torch.tensor([0, 2]), 4)
        tensor([1, 3])
    """
    out = torch.ones(n, dtype=torch.bool)
    out[rows] = False
    return out.nonzero()[:, 0]
