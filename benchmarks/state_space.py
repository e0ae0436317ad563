"""A Matern-3/2 series of 100,000 irregular times: value and gradient of its log likelihood, beside the peers.

tinygp's quasiseparable solver and celerite2 (its JAX interface, the only one with gradients; its Matern-3/2
is an approximation) take part where they are installed. All in float64 and in one process, runs alternate,
the first turn compiles and is not counted. ``python benchmarks/state_space.py``.
"""

import argparse
import importlib.util
import platform
import statistics
import time
from collections.abc import Callable
from importlib.metadata import version

import numpy as np
import torch

from nonparam.kernels import Matern, Scale
from nonparam.objective import Data, Objective
from nonparam.solvers.state_space import MaternTerm, log_marginal_likelihood
from nonparam.structured import with_structure
from nonparam.theta import Prior, Theta

Found = tuple[float, np.ndarray]  # in nats; in the logarithms of lengthscale, outputscale and noise
LENGTHSCALE, OUTPUTSCALE, NOISE = 3.0, 1.5, 0.1


def series(n: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    t = np.cumsum(rng.uniform(0.05, 0.15, n))
    return t, np.sin(t) + np.sqrt(NOISE) * rng.standard_normal(n)


def nonparam(t: np.ndarray, y: np.ndarray) -> Callable[[], Found]:
    x = torch.from_numpy(t[:, None])
    data = Data(x, torch.from_numpy(y[:, None]), basis=x[:, :0], weights=torch.ones_like(x[:, 0]), noise=None)
    kernel = Scale(Matern(LENGTHSCALE, nu=1.5), OUTPUTSCALE)
    theta = Theta(kernel, {"noise": Prior(0.0, np.inf, -20.0, 20.0)}, NOISE)
    objective = with_structure(Objective(data, theta, with_prior=False), "state_space")
    order = [theta.names.index(name) for name in ("kernel.lengthscale", "outputscale", "noise")]

    def evaluate() -> Found:
        value, slope = objective.evaluate(theta.start, gradient=True)
        return value, slope[order]

    return evaluate


def solver(t: np.ndarray, y: np.ndarray) -> Callable[[], Found]:
    """The solver alone: no mean to fit, and no certificate of a solve, as with the peers."""
    terms = [MaternTerm(1.5, OUTPUTSCALE, LENGTHSCALE)]

    def evaluate() -> Found:
        found = log_marginal_likelihood(terms, t, y, NOISE)
        assert found.gradient is not None
        score = found.gradient
        return found.value, np.array([score.lengthscale[0], score.outputscale[0], score.noise.sum()])

    return evaluate


def tinygp(t: np.ndarray, y: np.ndarray) -> Callable[[], Found]:
    import jax
    import jax.numpy as jnp
    from tinygp import GaussianProcess
    from tinygp.kernels import quasisep

    jax.config.update("jax_enable_x64", True)

    def log_likelihood(theta, t, y):  # type: ignore[no-untyped-def]
        kernel = jnp.exp(theta[1]) * quasisep.Matern32(jnp.exp(theta[0]))
        return GaussianProcess(kernel, t, diag=jnp.exp(theta[2])).log_probability(y)

    return _of_jax(jax, log_likelihood, t, y)


def celerite2(t: np.ndarray, y: np.ndarray) -> Callable[[], Found]:
    import celerite2.jax
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_enable_x64", True)

    def log_likelihood(theta, t, y):  # type: ignore[no-untyped-def]
        sigma = jnp.exp(0.5 * theta[1])
        kernel = celerite2.jax.terms.Matern32Term(sigma=sigma, rho=jnp.exp(theta[0]))
        gp = celerite2.jax.GaussianProcess(kernel)
        gp.compute(t, diag=jnp.exp(theta[2]) * jnp.ones_like(t), check_sorted=False)
        return gp.log_likelihood(y)

    return _of_jax(jax, log_likelihood, t, y)


def _of_jax(jax, log_likelihood, t: np.ndarray, y: np.ndarray) -> Callable[[], Found]:  # type: ignore[no-untyped-def]
    compiled = jax.jit(jax.value_and_grad(log_likelihood))
    theta = np.log([LENGTHSCALE, OUTPUTSCALE, NOISE])

    def evaluate() -> Found:
        value, slope = jax.block_until_ready(compiled(theta, t, y))
        return float(value), np.asarray(slope)

    return evaluate


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    peers = {"tinygp": tinygp, "celerite2": celerite2}
    there = [name for name in peers if importlib.util.find_spec(name) is not None]
    packages = ", ".join(f"{name} {version(name)}" for name in ("nonparam", "torch", *there))
    threads = torch.get_num_threads()
    print(f"Python {platform.python_version()}, {packages}; {threads} threads, {options.rows:,} rows\n")
    t, y = series(options.rows)
    ours = {"nonparam, what a fit evaluates": nonparam(t, y), "nonparam, solver": solver(t, y)}
    ways = ours | {name: peers[name](t, y) for name in there}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    found: dict[str, Found] = {}
    for turn in range(options.runs + 1):
        for name, way in ways.items():
            began = time.perf_counter()
            found[name] = way()
            if turn > 0:
                seconds[name].append(time.perf_counter() - began)
    print("| contestant | seconds, median [min-max] | log likelihood | gradient |")
    print("| --- | --- | --- | --- |")
    for name, (value, slope) in found.items():
        took = seconds[name]
        spread = f"{statistics.median(took):.3g} [{min(took):.3g}-{max(took):.3g}]"
        print(f"| {name} | {spread} | {value:.4f} | {np.array2string(slope, precision=3)} |")


if __name__ == "__main__":
    main()
