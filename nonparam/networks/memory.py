"""What networks need in memory, said before anything is allocated."""

from itertools import pairwise

import torch

from nonparam.errors import InsufficientMemoryError
from nonparam.solvers.plan import free_memory, readable

__all__ = ["DOUBLE", "SINGLE", "check_fits", "check_training", "count_weights"]

COPIES = 6  # of the weights: gradients, two moments of Adam, the start, an average, what a step adds
SINGLE, DOUBLE = 4, 8  # bytes


def check_fits(need: int, what: str, device: torch.device, advice: str) -> None:
    """Raise `InsufficientMemoryError` where something needs more bytes than are free.

    Args:
        need: bytes.
        what: needs them.
        device: where.
        advice: what to try.

    Examples:
        >>> check_fits(1000, "a table", torch.device("cpu"), "take a smaller one")
    """
    free = free_memory(device)
    if need > free:
        raise InsufficientMemoryError(
            f"{what} needs about {readable(need)}, and {readable(free)} are free on {device}: {advice}"
        )


def count_weights(widths: list[int]) -> int:
    """Return how many weights and biases dense layers of these widths have.

    Examples:
        >>> count_weights([8, 64, 1])
        641
    """
    return sum((before + 1) * after for before, after in pairwise(widths))


def check_training(networks: int, widths: list[int], rows: int, snapshots: int, device: torch.device) -> None:
    """Raise `InsufficientMemoryError` where networks do not fit while they are trained side by side.

    Args:
        networks: how many.
        widths: of all layers, those of inputs and outputs too.
        rows: of a step.
        snapshots: vectors of weights in double precision that are kept of each network.
        device: where.

    Examples:
        >>> check_training(5, [8, 64, 1], 50, 0, torch.device("cpu"))
    """
    weights = count_weights(widths)
    numbers = COPIES * weights + 3 * rows * sum(widths)
    need = networks * (SINGLE * numbers + DOUBLE * snapshots * weights)
    what = f"training {networks} network(s) of {weights:,} weights side by side"
    check_fits(need, what, device, "take narrower layers, fewer networks, or smaller batches")
