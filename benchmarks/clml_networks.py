"""Networks in ``benchmarks/clml.py``: on the airline series, and on labels at random.

Infinite ones come as kernels, NNGP and NTK; finite ones as the tangent kernel of one at its start, whose
evidence is that of the linearised network, and as an ensemble, which has no evidence.
"""

from collections.abc import Callable

import numpy as np
from clml_models import ONE_YEAR, Features, cycles
from scipy.stats import norm

from nonparam import FiniteNetworkRegressor
from nonparam.kernels import InfiniteNetwork, Kernel
from nonparam.networks import MLP, EmpiricalNTK

Array = np.ndarray

DEPTH, WIDTH = 3, 64  # of the finite network that has a tangent kernel
MEMBERS = 5
HARMONICS = 3


def tangent_kernel(inputs: int, seed: int) -> EmpiricalNTK:
    """Return the kernel of the derivatives of a finite network in its weights, as they are drawn."""
    return EmpiricalNTK(MLP(DEPTH).finite(WIDTH, inputs=inputs, seed=seed))


# Airline


def season(t: Array, n: int) -> Array:
    """Return time, and harmonics of the year, as networks see them: of order 1 in the first n months."""
    return np.hstack([2.0 * t / (n - 1) - 1.0, cycles(t, np.arange(1, HARMONICS + 1) / ONE_YEAR)])


def nngp(t: Array, y: Array, n: int) -> Features:
    return Features(season(t, n), InfiniteNetwork(f"relu-{DEPTH}"), weights="infinitely many")


def ntk(t: Array, y: Array, n: int) -> Features:
    return Features(season(t, n), InfiniteNetwork(f"relu-{DEPTH}", "ntk"), weights="infinitely many")


def tangent(t: Array, y: Array, n: int, seed: int = 0) -> Features:
    table = season(t, n)
    kernel = tangent_kernel(table.shape[1], seed)
    weights = sum(each.numel() for each in kernel.module.parameters())
    return Features(table, kernel, weights=f"{weights:,}")


AIRLINE = {"NNGP relu-3": nngp, "NTK relu-3": ntk, "tangent kernel of a network": tangent}


def ensemble(t: Array, y: Array, n: int, seed: int) -> tuple[Array, float]:
    """Return the means of the months behind the first n, and the sum of their log densities, one by one."""
    table = season(t, n)
    model = FiniteNetworkRegressor(ensemble=MEMBERS, random_state=seed).fit(table[:n], y[:n])
    mean, sd = model.predict(table[n:], return_std=True)
    return mean, float(norm.logpdf(y[n:], mean, sd).sum())


# Labels


def label_ensemble(x: Array, y: Array, seed: int) -> FiniteNetworkRegressor:
    return FiniteNetworkRegressor(ensemble=MEMBERS, random_state=seed).fit(x, y)


LABELS: dict[str, Callable[[int, int], Kernel]] = {  # kernels for a number of inputs and a seed
    "NNGP relu-3": lambda inputs, seed: InfiniteNetwork(f"relu-{DEPTH}"),
    "NTK relu-3": lambda inputs, seed: InfiniteNetwork(f"relu-{DEPTH}", "ntk"),
    "tangent kernel of a network": tangent_kernel,
}
