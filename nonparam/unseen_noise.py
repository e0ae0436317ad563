r"""A noise that rows which were not fitted agree with.

Some rows alone may seem to have no noise, where nearly equal ones that contradict each other are rare among
them, and be certain of what all rows deny. A search that went on from there would climb out slowly, by solves
that so little noise makes hard. So the noise is raised to where rows that were left out are predicted best,

.. math:: \sigma^2 = \arg\max_{\sigma^2} \sum_i \log p(y_i \mid y_S, \sigma^2), \quad i \notin S,

if that is more than what a fit of the rows themselves may be mistaken by.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from nonparam.errors import NotPositiveDefiniteError
from nonparam.objective import Objective
from nonparam.posterior import condition

__all__ = ["raise_noise"]

Array = NDArray[np.float64]

UNSEEN = 1000  # rows: enough to tell a noise that is wrong by half its size
SURPRISED = 0.1  # nats a row: with less to be gained a search finds its own way
CLOSE = 0.1  # of the logarithm of the noise: it is only a start


@torch.no_grad()
def raise_noise(objective: Objective, point: Array, order: torch.Tensor, seen: int) -> Array:
    """Return hyperparameters whose noise is raised where rows that they were not fitted to ask for that.

    Args:
        objective: of all rows.
        point: ``(p,)``, as fitted to the first rows of the order.
        order: ``(n,)``, numbers of rows.
        seen: how many of them were fitted.
    """
    theta = objective.theta
    new = objective.data.rows(order[seen : seen + UNSEEN])
    if not theta.learns_noise or not len(new.x):
        return point
    old = objective.data.rows(order[:seen])

    def surprise(log_noise: float) -> float:
        theta.assign(np.append(point[:-1], log_noise))
        try:
            posterior = condition(theta.kernel, old, float(np.exp(log_noise)))
        except NotPositiveDefiniteError:
            return np.inf
        return -float(posterior.log_densities(new).mean())

    step = min(point[-1] + 1.0, theta.upper[-1])
    if surprise(point[-1]) - surprise(step) < SURPRISED:
        return point
    bounds = step, max(theta.start[-1], step)
    found = minimize_scalar(surprise, bounds=bounds, method="bounded", options={"xatol": CLOSE})
    return np.append(point[:-1], found.x)
