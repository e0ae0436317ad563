"""Kernels that the fused product takes, of two columns."""

from collections.abc import Callable

from nonparam.kernels import RBF, Cosine, Kernel, Matern, Periodic, WhiteNoise

FUSED: dict[str, Callable[[], Kernel]] = {
    "rbf": lambda: 2.0 * RBF([0.5, 1.0]),
    "matern12": lambda: 0.7 * Matern([0.5, 1.0], nu=0.5),
    "matern32": lambda: Matern(0.4, nu=1.5),
    "matern52": lambda: 1.5 * Matern([0.5, 1.0], nu=2.5) + WhiteNoise(0.3),
    "periodic": lambda: 2.0 * Periodic([0.7, 1.5], [0.8, 1.1]),
    "quasi_periodic": lambda: 2.0 * (RBF(1.0) * Periodic(0.7, 1.3)),
    "spectral_mixture": lambda: 1.5 * (RBF([0.9, 1.4]) * Cosine([1.1, 0.6])) + 0.4 * (RBF(0.3) * Cosine(3.0)),
    "cosine": lambda: 1.5 * Cosine([1.1, 0.6]) + 0.5 * RBF(1.0),
    "product_of_sums": lambda: (
        (2.0 * RBF(1.0, active_dims=[1]) + Cosine(1.0)) * (RBF(0.5) + 0.5 * Periodic(0.7, 1.0))
    ),
}
