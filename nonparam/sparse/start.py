"""Where sparse training begins: an exact fit of few rows, points that it asks for, and a noise for all."""

import math
from dataclasses import dataclass

import gpytorch
import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from torch import Tensor

from nonparam.errors import NonparamError
from nonparam.objective import Data, Objective
from nonparam.scales import Scales, default_priors
from nonparam.sparse.bound import Summary
from nonparam.sparse.inducing import choose_points
from nonparam.sparse.parameters import Parameters
from nonparam.sparse.projection import BLOCK, Statistics, project, statistics
from nonparam.theta import Theta
from nonparam.threads import threads_for
from nonparam.training import maximise

__all__ = ["Sample", "Start", "begin"]

Array = NDArray[np.float64]

EXACT_ROWS = 1000  # an exact fit of so many takes a second or two
GAINED = 1e-2  # nats: a start need not be better
MAX_STEPS = 50
FIRST_NOISE = 0.2  # of the variance of y, as in `nonparam.scales`
CLOSE = 1e-2  # of the logarithm of the noise


@dataclass(frozen=True)
class Sample:
    """Some of the rows, in random order.

    Attributes:
        x: ``(s, d)``.
        y: ``(s, t)``, centred and scaled.
        n: of how many rows.
    """

    x: Tensor
    y: Tensor
    n: int


@dataclass(frozen=True)
class Start:
    """Where training begins.

    Attributes:
        parameters: what is learnt.
        vector: ``(p,)``, their values.
        sums: estimates of the sums over all rows.
    """

    parameters: Parameters
    vector: Array
    sums: Statistics


def begin(
    kernel: gpytorch.kernels.Kernel,
    sample: Sample,
    scales: Scales,
    m: int,
    noise: float | None,
    *,
    moves: bool,
    informative: bool,
) -> Start:
    """Choose hyperparameters and inducing points by a sample of the rows.

    Args:
        kernel: initialised; it is changed.
        sample: of the rows.
        scales: of the data.
        m: inducing points at most.
        noise: its variance where it is known.
        moves: whether the points will be learnt.
        informative: whether hyperparameters have priors.
    """
    priors = default_priors(kernel, scales, informative=informative)
    first = None if noise is not None else FIRST_NOISE * scales.y_variance
    theta = Theta(kernel, priors, first)
    point = _exact(theta, sample, noise, informative)
    theta.assign(point)
    points = choose_points(kernel, sample.x, m)
    at = float(np.exp(point[-1])) if noise is None else noise
    parameters = Parameters(theta, at, points.numpy(), scales, moves)
    blocks = zip(sample.x.split(BLOCK), sample.y.split(BLOCK), strict=True)
    sums = statistics(project(kernel, points), blocks, sample.y.shape[1]).scaled(sample.n / len(sample.x))
    if noise is None:
        point[-1] = _best_noise(sums, theta)
    return Start(parameters, parameters.joined(point, parameters.points), sums)


def _exact(theta: Theta, sample: Sample, noise: float | None, informative: bool) -> Array:
    """Return the hyperparameters that an exact fit of some rows learns; where it fails, those of the data."""
    x, y = sample.x[:EXACT_ROWS], sample.y[:EXACT_ROWS]
    ones = torch.ones(len(x), dtype=x.dtype)
    data = Data(x, y, x[:, :0], ones, None if noise is None else noise * ones)
    objective = Objective(data, theta, informative)
    try:
        with threads_for(len(x)):
            found, _ = maximise(
                objective.negative,
                theta.start[None],
                theta.lower,
                theta.upper,
                scale=theta.step,
                plan="",
                tolerance=GAINED,
                max_steps=MAX_STEPS,
            )
    except NonparamError:
        found = theta.start.copy()
    return np.asarray(found)


def _best_noise(sums: Statistics, theta: Theta) -> float:
    """Return the log noise with the best bound: few points explain less than few rows suggest."""
    lower, upper = theta.lower[-1], theta.upper[-1]

    def loss(log_noise: float) -> float:
        try:
            return -Summary(sums, math.exp(log_noise)).lower()
        except NonparamError:
            return math.inf

    found = minimize_scalar(loss, bounds=(lower, upper), method="bounded", options={"xatol": CLOSE})
    return float(found.x)
