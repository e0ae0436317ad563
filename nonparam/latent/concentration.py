r"""How clear labels are: the prior concentration of log-normal targets, by rows that are left out.

The smaller the concentration :math:`\epsilon`, the more a label says of the function of its class, next to
what it says of the others (see `nonparam.latent.dirichlet`). Evidences of several concentrations are of
different targets, and do not compare; the log loss of labels left out, calibrated for each, does.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from nonparam.errors import InputError
from nonparam.latent.calibration import calibrate
from nonparam.latent.class_posterior import condition_classes
from nonparam.latent.dirichlet import DirichletObjective
from nonparam.training import FitReport
from nonparam.validation import check_numbers

__all__ = ["CONCENTRATIONS", "Learnt", "check_concentration", "clearest", "concentrations"]

CONCENTRATIONS = (0.001, 0.01, 0.1, 0.5)  # that are looked at, from clear labels to doubtful ones


class Learnt(NamedTuple):
    """Hyperparameters that were learnt for one concentration.

    Attributes:
        objective: of the rows that they were learnt by.
        theta: ``(p,)``.
        report: how.
    """

    objective: DirichletObjective
    theta: NDArray[np.float64]
    report: FitReport


def check_concentration(value: Any) -> None:
    """Raise `InputError` unless it is a number between 0 and 1, or ``"learn"``."""
    if isinstance(value, str) and value == "learn":
        return
    number = check_numbers(value, "alpha_epsilon")
    if number.ndim or not 0.0 < number < 1.0:
        raise InputError(f"alpha_epsilon must be 'learn', or lie between 0 and 1; got {value!r}")


def concentrations(value: Any) -> tuple[float, ...]:
    """Return those that are looked at.

    Examples:
        >>> concentrations(0.05), concentrations("learn")
        ((0.05,), (0.001, 0.01, 0.1, 0.5))
    """
    return CONCENTRATIONS if isinstance(value, str) else (float(value),)


def clearest(found: Sequence[Learnt], seed: int) -> int:
    """Return which of several has the smallest log loss of labels left out one at a time."""
    return 0 if len(found) == 1 else int(np.argmin([_loss(each, seed) for each in found]))


def _loss(learnt: Learnt, seed: int) -> float:
    objective = learnt.objective
    objective.theta.assign(learnt.theta)
    data, kernel = objective.data, objective.theta.kernel
    posterior = condition_classes(kernel, data.x, objective.seen, objective.sizes, data.weights)
    _, mean, variance = posterior.left_out()
    own = posterior.targets.argmax(1)
    sums = data.weights.new_zeros(len(objective.sizes)).index_add_(0, own, data.weights)
    generator = torch.Generator().manual_seed(seed)
    return calibrate(mean, variance, own, (sums / sums.sum()).log(), generator).log_loss
