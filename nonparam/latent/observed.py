"""Observations as a likelihood takes them, with their exposures."""

from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from nonparam.errors import InputError
from nonparam.likelihoods.base import ResponseLikelihood
from nonparam.validation import check_numbers, check_outputs

__all__ = ["checked_exposure", "observed_outputs"]

Array = NDArray[np.float64]


def observed_outputs(y: Any, n: int, likelihood: ResponseLikelihood) -> Array:
    """Return observations ``(n, 1)``, or ``(n, 2)`` with their exposures.

    Args:
        y: as the user gave them.
        n: rows of ``X``.
        likelihood: of the observations.

    Raises:
        InputError: another number of rows, or more columns than the likelihood takes.
    """
    table = check_outputs(y, n)
    table = table.reshape(n, -1)
    most = 2 if likelihood.takes_exposure else 1
    if table.shape[1] > most:
        also = ", or two, the second its exposure" if most == 2 else ""
        raise InputError(f"{likelihood!r} takes y of one column{also}; got {table.shape[1]}")
    return table


def checked_exposure(given: ArrayLike | None, x: Tensor, likelihood: ResponseLikelihood) -> Tensor | None:
    """Return the exposures of new observations, ``(m, 1)``; ``None`` where none were given.

    Args:
        given: one number, or one for each row.
        x: ``(m, d)``, the new rows.
        likelihood: of the observations.

    Raises:
        InputError: a likelihood without exposure, another number of rows, or numbers that no exposure has.
    """
    if given is None:
        return None
    if not likelihood.takes_exposure:
        raise InputError(f"{likelihood!r} takes no exposure: leave it out")
    values = check_numbers(given, "exposure")
    if values.ndim > 1 or (values.ndim == 1 and len(values) != len(x)):
        raise InputError(f"exposure must be one number, or one per row ({len(x)}); got shape {values.shape}")
    if not (np.isfinite(values) & (values > 0.0)).all():
        raise InputError("exposure must be positive and finite: leave out rows in which nothing can be seen")
    if likelihood.counts_exposure and (values != np.floor(values)).any():
        raise InputError("exposure is a number of trials here, and must be whole numbers")
    return torch.tensor(np.broadcast_to(values, (len(x),)).copy(), device=x.device)[:, None]
