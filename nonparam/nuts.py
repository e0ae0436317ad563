"""Draws of hyperparameters by Hamiltonian Monte Carlo without U-turns, through Pyro."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nonparam.laplace import Laplace, LogDensity

__all__ = ["nuts"]

Array = NDArray[np.float64]

WARMUP = 200  # steps that find the step size; the curvature at the mode has set the scales before
PYRO = "marginalise='nuts' needs Pyro: pip install 'nonparam[nuts]'; or take 'laplace', or 'grid'"


class _Potential(torch.autograd.Function):
    """Minus a log density with its own gradient."""

    @staticmethod
    def forward(ctx: Any, u: Tensor, log_density: Callable[[Array], tuple[float, Array]]) -> Tensor:
        value, gradient = log_density(u.numpy())
        ctx.save_for_backward(u.new_tensor(-gradient))
        return u.new_tensor(-value)

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor, None]:
        (gradient,) = ctx.saved_tensors
        return slopes[0] * gradient, None


def nuts(log_joint: LogDensity, at: Laplace, n_draws: int, seed: int) -> tuple[Array, float]:
    """Draw from a posterior by the No-U-Turn sampler, from its mode and in units of the curvature there.

    Args:
        log_joint: takes ``(b, p)`` points; returns ``(b,)`` log joint densities in nats and ``(b, p)``
            gradients.
        at: the mode and the curvature there.
        n_draws: number of draws, after 200 that are not kept; at least 4.
        seed: of torch's random numbers, which are left as they were.

    Returns:
        ``(n_draws, p)`` draws, and the effective sample size of the coordinate with the smallest one.

    Raises:
        ImportError: Pyro is not installed.

    Source: Hoffman and Gelman (2014), The No-U-Turn sampler, JMLR 15, algorithm 6.
    """
    try:
        from pyro.infer.mcmc import MCMC, NUTS
        from pyro.ops.stats import effective_sample_size
    except ImportError as error:
        raise ImportError(PYRO) from error

    def log_density(u: Array) -> tuple[float, Array]:
        values, gradients = log_joint((at.mode + at.root @ u)[None])
        if not np.isfinite(values[0]):
            return -np.inf, np.zeros_like(u)
        return float(values[0]), at.root.T @ gradients[0]

    start = {"u": torch.zeros(len(at.mode), dtype=torch.float64)}
    kernel = NUTS(potential_fn=lambda place: _Potential.apply(place["u"], log_density))
    chain = MCMC(kernel, num_samples=n_draws, warmup_steps=WARMUP, initial_params=start, disable_progbar=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        chain.run()
    units = chain.get_samples()["u"].detach()
    size = float(effective_sample_size(units[None]).min())
    return at.mode + units.numpy() @ at.root.T, size
