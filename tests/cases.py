"""The table of kernel cases that the tests cross with every property."""

from collections.abc import Sequence

import gpytorch.kernels as gp
import oracles as o
import sklearn.gaussian_process.kernels as sk
import torch
from case import Case
from cases_structure import SYMMETRIC
from torch import Tensor

from nonparam.kernels import (
    RBF,
    ChangePoint,
    Constant,
    Cosine,
    IntegratedWiener,
    Linear,
    Matern,
    Periodic,
    Polynomial,
    Product,
    RationalQuadratic,
    Scale,
    Spectral,
    Sum,
    WhiteNoise,
    Wiener,
)

__all__ = ["CASES", "Case"]


def double(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def gp_scaled(outputscale: float, kernel: gp.Kernel) -> gp.Kernel:
    return gp.ScaleKernel(kernel).double().initialize(outputscale=double(outputscale)[0])


def gp_rbf(*lengthscale: float) -> gp.Kernel:
    kernel = gp.RBFKernel(ard_num_dims=len(lengthscale)).double()
    return kernel.initialize(lengthscale=double(*lengthscale))


def gp_on_column(column: int, kernel: gp.Kernel) -> gp.Kernel:
    kernel.active_dims = torch.tensor([column])
    return kernel


def gp_matern(nu: float, *lengthscale: float) -> gp.Kernel:
    kernel = gp.MaternKernel(nu=nu, ard_num_dims=len(lengthscale)).double()
    return kernel.initialize(lengthscale=double(*lengthscale))


def gp_rq(alpha: float, *lengthscale: float) -> gp.Kernel:
    kernel = gp.RQKernel(ard_num_dims=len(lengthscale)).double()
    return kernel.initialize(lengthscale=double(*lengthscale), alpha=double(alpha)[0])


def gp_periodic(period: list[float], lengthscale: list[float]) -> gp.Kernel:
    """GPyTorch divides by the lengthscale where the textbooks divide by its square."""
    kernel = gp.PeriodicKernel(ard_num_dims=len(period)).double()
    return kernel.initialize(period_length=double(*period), lengthscale=double(*lengthscale).square())


def gp_cosine(period: float) -> gp.Kernel:
    """GPyTorch's period is the half of a cycle."""
    return gp.CosineKernel().double().initialize(period_length=double(period / 2))


def gp_spectral(weight: Sequence[float], frequency: Sequence[float], bandwidth: Sequence[float]) -> gp.Kernel:
    kernel = gp.SpectralMixtureKernel(num_mixtures=len(weight)).double()
    columns = {"mixture_means": double(*frequency), "mixture_scales": double(*bandwidth)}
    shaped = {name: value[:, None, None] for name, value in columns.items()}
    return kernel.initialize(mixture_weights=double(*weight), **shaped)


def gp_linear(*variance: float) -> gp.Kernel:
    kernel = gp.LinearKernel(ard_num_dims=len(variance)).double()
    return kernel.initialize(variance=double(*variance))


def gp_constant(value: float) -> gp.Kernel:
    return gp.ConstantKernel().double().initialize(constant=double(value)[0])


def gp_polynomial(power: int, offset: float) -> gp.Kernel:
    return gp.PolynomialKernel(power).double().initialize(offset=double(offset))


STATIONARY = [
    Case("rbf", lambda: RBF(0.7), o.rbf(0.7), sklearn=lambda: sk.RBF(0.7), gpytorch=lambda: gp_rbf(0.7)),
    Case(
        "rbf_shared",
        lambda: RBF(1.3),
        o.rbf(1.3),
        columns=5,
        sklearn=lambda: sk.RBF(1.3),
        gpytorch=lambda: gp.RBFKernel().double().initialize(lengthscale=double(1.3)),
    ),
    Case(
        "rbf_ard",
        lambda: RBF([0.5, 2.0]),
        o.rbf([0.5, 2.0]),
        columns=2,
        sklearn=lambda: sk.RBF([0.5, 2.0]),
        gpytorch=lambda: gp_rbf(0.5, 2.0),
    ),
    Case(
        "rbf_ard5",
        lambda: RBF([0.5, 2.0, 1.0, 3.0, 1.5]),
        o.rbf([0.5, 2.0, 1.0, 3.0, 1.5]),
        columns=5,
        sklearn=lambda: sk.RBF([0.5, 2.0, 1.0, 3.0, 1.5]),
        gpytorch=lambda: gp_rbf(0.5, 2.0, 1.0, 3.0, 1.5),
    ),
    Case(
        "matern12",
        lambda: Matern(0.8, nu=0.5),
        o.matern12(0.8),
        sklearn=lambda: sk.Matern(0.8, nu=0.5),
        gpytorch=lambda: gp_matern(0.5, 0.8),
    ),
    Case(
        "matern12_ard",
        lambda: Matern([1.0, 0.6, 2.0, 1.4], nu=0.5),
        o.matern12([1.0, 0.6, 2.0, 1.4]),
        columns=4,
        sklearn=lambda: sk.Matern([1.0, 0.6, 2.0, 1.4], nu=0.5),
        gpytorch=lambda: gp_matern(0.5, 1.0, 0.6, 2.0, 1.4),
    ),
    Case(
        "matern32",
        lambda: Matern(0.8, nu=1.5),
        o.matern32(0.8),
        sklearn=lambda: sk.Matern(0.8, nu=1.5),
        gpytorch=lambda: gp_matern(1.5, 0.8),
    ),
    Case(
        "matern32_ard",
        lambda: Matern([1.0, 0.6], nu=1.5),
        o.matern32([1.0, 0.6]),
        columns=2,
        sklearn=lambda: sk.Matern([1.0, 0.6], nu=1.5),
        gpytorch=lambda: gp_matern(1.5, 1.0, 0.6),
    ),
    Case(
        "matern52",
        lambda: Matern(0.8),
        o.matern52(0.8),
        sklearn=lambda: sk.Matern(0.8, nu=2.5),
        gpytorch=lambda: gp_matern(2.5, 0.8),
    ),
    Case(
        "matern52_ard",
        lambda: Matern([1.0, 0.6, 2.0, 1.4]),
        o.matern52([1.0, 0.6, 2.0, 1.4]),
        columns=4,
        sklearn=lambda: sk.Matern([1.0, 0.6, 2.0, 1.4], nu=2.5),
        gpytorch=lambda: gp_matern(2.5, 1.0, 0.6, 2.0, 1.4),
    ),
    Case(
        "rq",
        lambda: RationalQuadratic(0.9, 0.4),
        o.rational_quadratic(0.9, 0.4),
        sklearn=lambda: sk.RationalQuadratic(0.9, alpha=0.4),
        gpytorch=lambda: gp_rq(0.4, 0.9),
    ),
    Case(
        "rq_shared",
        lambda: RationalQuadratic(0.9, 3.0),
        o.rational_quadratic(0.9, 3.0),
        columns=2,
        sklearn=lambda: sk.RationalQuadratic(0.9, alpha=3.0),
    ),
    Case(
        "rq_ard",
        lambda: RationalQuadratic([0.9, 2.0, 1.1, 0.8], 3.0),
        o.rational_quadratic([0.9, 2.0, 1.1, 0.8], 3.0),
        columns=4,
        gpytorch=lambda: gp_rq(3.0, 0.9, 2.0, 1.1, 0.8),
    ),
    Case(
        "periodic",
        lambda: Periodic(1.2, 0.7),
        o.periodic(1.2, 0.7),
        sklearn=lambda: sk.ExpSineSquared(length_scale=0.7, periodicity=1.2),
        gpytorch=lambda: gp_periodic([1.2], [0.7]),
    ),
    Case(
        "periodic_ard",
        lambda: Periodic([1.2, 3.0], [0.7, 1.5]),
        o.periodic([1.2, 3.0], [0.7, 1.5]),
        columns=2,
        gpytorch=lambda: gp_periodic([1.2, 3.0], [0.7, 1.5]),
    ),
    Case(
        "periodic_zero_mean",
        lambda: Periodic(1.2, 0.7, zero_mean=True),
        o.zero_mean_periodic([1.2], [0.7]),
    ),
    Case(
        "periodic_zero_mean_shared",
        lambda: Periodic([1.2, 3.0], 0.7, zero_mean=True),
        o.zero_mean_periodic([1.2, 3.0], [0.7, 0.7]),
        columns=2,
    ),
    Case("cosine", lambda: Cosine(1.7), o.cosine(1.7), gpytorch=lambda: gp_cosine(1.7)),
    Case("cosine_ard", lambda: Cosine([1.7, 4.0]), o.cosine([1.7, 4.0]), columns=2),
    Case(
        "spectral",
        lambda: Spectral(0.7, 0.2),
        o.spectral(0.7, 0.2),
        gpytorch=lambda: gp_spectral([1.0], [0.7], [0.2]),
    ),
    Case(
        "spectral_shared",
        lambda: Spectral(0.7, 0.2),
        o.spectral(0.7, 0.2),
        columns=2,
    ),
    Case(
        "spectral_ard",
        lambda: Spectral([0.7, -0.3], [0.2, 0.4]),
        o.spectral([0.7, -0.3], [0.2, 0.4]),
        columns=2,
    ),
    Case(
        "spectral_plane",
        lambda: Spectral([0.7, -0.3], [0.2, 0.4], plane=True),
        o.spectral([0.7, -0.3], [0.2, 0.4], plane=True),
        columns=2,
    ),
    Case(
        "spectral_mixture",
        lambda: 0.5 * Spectral(0.7, 0.2) + 2.0 * Spectral(0.1, 0.05),
        o.total(o.scaled(0.5, o.spectral(0.7, 0.2)), o.scaled(2.0, o.spectral(0.1, 0.05))),
        gpytorch=lambda: gp_spectral([0.5, 2.0], [0.7, 0.1], [0.2, 0.05]),
    ),
    Case(
        "constant",
        lambda: Constant(2.5),
        o.constant(2.5),
        columns=2,
        sklearn=lambda: sk.ConstantKernel(2.5),
        gpytorch=lambda: gp_constant(2.5),
    ),
]

NOT_STATIONARY = [
    Case(
        "white",
        lambda: WhiteNoise(0.3),
        o.white(0.3),
        stationary=False,
        sklearn=lambda: sk.WhiteKernel(0.3),
    ),
    Case(
        "linear",
        lambda: Linear(0.6, center=0.0),
        o.linear(0.6, 0.0),
        columns=2,
        stationary=False,
        gpytorch=lambda: gp.LinearKernel().double().initialize(variance=double(0.6)),
    ),
    Case(
        "linear_ard",
        lambda: Linear([0.6, 2.0], center=0.0),
        o.linear([0.6, 2.0], 0.0),
        columns=2,
        stationary=False,
        gpytorch=lambda: gp_linear(0.6, 2.0),
    ),
    Case(
        "linear_centred",
        lambda: Linear([0.6, 2.0], center=[0.4, -1.0]),
        o.linear([0.6, 2.0], [0.4, -1.0]),
        columns=2,
        stationary=False,
    ),
    Case(
        "dot_product",
        lambda: Linear(1.0, center=0.0) + 0.49,
        o.total(o.linear(1.0, 0.0), o.constant(0.49)),
        columns=2,
        stationary=False,
        sklearn=lambda: sk.DotProduct(sigma_0=0.7),
    ),
    Case(
        "polynomial",
        lambda: Polynomial(3, offset=0.5, lengthscale=1.0, center=0.0),
        o.polynomial(3, 0.5, [1.0, 1.0], 0.0),
        columns=2,
        stationary=False,
        sklearn=lambda: sk.DotProduct(sigma_0=0.5**0.5) ** 3,
        gpytorch=lambda: gp_polynomial(3, 0.5),
    ),
    Case(
        "polynomial_ard",
        lambda: Polynomial(2, offset=0.5, lengthscale=[0.8, 1.6], center=[0.2, 0.1]),
        o.polynomial(2, 0.5, [0.8, 1.6], [0.2, 0.1]),
        columns=2,
        stationary=False,
    ),
    Case(
        "integrated_wiener",
        lambda: IntegratedWiener(0.8, origin=-0.1),
        o.integrated_wiener(0.8, -0.1),
        stationary=False,
    ),
    Case("wiener", lambda: Wiener(0.8, origin=-0.1), o.wiener(0.8, -0.1), stationary=False),
    Case(
        "wiener_late",
        lambda: Wiener(0.8, origin=0.43, active_dims=[1]),
        o.on_columns([1], o.wiener(0.8, 0.43)),
        columns=2,
        stationary=False,
    ),
    Case(
        "changepoint",
        lambda: ChangePoint(RBF(0.5), Linear(2.0, center=0.0), location=0.6, width=0.2),
        o.changepoint(o.rbf(0.5), o.linear(2.0, 0.0), 0.6, 0.2),
        stationary=False,
    ),
    Case(
        "changepoint_column",
        lambda: ChangePoint(Matern(0.5, nu=1.5), 2.0 * RBF(1.5), location=0.6, width=0.2, column=1),
        o.changepoint(o.matern32(0.5), o.scaled(2.0, o.rbf(1.5)), 0.6, 0.2, column=1),
        columns=2,
        stationary=False,
    ),
    Case(
        "changepoint_nested",
        lambda: ChangePoint(
            Constant(1.5),
            ChangePoint(RBF(0.5), Linear(2.0, center=0.0), location=1.1, width=0.3),
            location=0.4,
            width=0.2,
        ),
        o.changepoint(o.constant(1.5), o.changepoint(o.rbf(0.5), o.linear(2.0, 0.0), 1.1, 0.3), 0.4, 0.2),
        stationary=False,
    ),
]

COMPOSED = [
    Case(
        "scale",
        lambda: 3.0 * RBF(0.7),
        o.scaled(3.0, o.rbf(0.7)),
        sklearn=lambda: 3.0 * sk.RBF(0.7),
        gpytorch=lambda: gp_scaled(3.0, gp_rbf(0.7)),
    ),
    Case(
        "scale_fixed",
        lambda: Scale(RBF(0.7, fixed=("lengthscale",)), 3.0, fixed=("outputscale",)) * Cosine(2.0),
        o.product(o.scaled(3.0, o.rbf(0.7)), o.cosine(2.0)),
    ),
    Case(
        "sum",
        lambda: RBF(0.7) + Matern(2.0, nu=1.5) + 0.5,
        o.total(o.rbf(0.7), o.matern32(2.0), o.constant(0.5)),
        sklearn=lambda: sk.RBF(0.7) + sk.Matern(2.0, nu=1.5) + sk.ConstantKernel(0.5),
        gpytorch=lambda: gp_rbf(0.7) + gp_matern(1.5, 2.0) + gp_constant(0.5),
    ),
    Case(
        "product",
        lambda: RBF(2.0) * Periodic(0.9, 1.2),
        o.product(o.rbf(2.0), o.periodic(0.9, 1.2)),
        sklearn=lambda: sk.RBF(2.0) * sk.ExpSineSquared(1.2, 0.9),
        gpytorch=lambda: gp_rbf(2.0) * gp_periodic([0.9], [1.2]),
    ),
    Case(
        "product_of_sums",
        lambda: 2.0 * (RBF([0.7, 1.0]) + 1.0) * (RationalQuadratic(1.0, 2.0) + Constant(0.2)),
        o.product(
            o.scaled(2.0, o.total(o.rbf([0.7, 1.0]), o.constant(1.0))),
            o.total(o.rational_quadratic(1.0, 2.0), o.constant(0.2)),
        ),
        columns=2,
        sklearn=lambda: 2.0 * (sk.RBF([0.7, 1.0]) + 1.0) * (sk.RationalQuadratic(1.0, alpha=2.0) + 0.2),
    ),
    Case(
        "season_and_trend",
        lambda: (
            2.0 * Linear(0.5, center=0.3)
            + 1.5 * Periodic(0.9, 1.2, zero_mean=True) * RBF(2.0)
            + 0.3 * Matern(0.4)
            + WhiteNoise(0.1)
        ),
        o.total(
            o.scaled(2.0, o.linear(0.5, 0.3)),
            o.scaled(1.5, o.product(o.zero_mean_periodic([0.9], [1.2]), o.rbf(2.0))),
            o.scaled(0.3, o.matern52(0.4)),
            o.white(0.1),
        ),
        stationary=False,
    ),
    Case(
        "noise_in_composition",
        lambda: (RBF(0.7) + WhiteNoise(0.5)) * Matern(2.0),
        o.product(o.total(o.rbf(0.7), o.white(0.5)), o.matern52(2.0)),
        stationary=False,
        sklearn=lambda: (sk.RBF(0.7) + sk.WhiteKernel(0.5)) * sk.Matern(2.0, nu=2.5),
    ),
    Case(
        "wandering_amplitude",
        lambda: Wiener(0.8, origin=-0.1) * Cosine(1.3) + Linear(0.5, center=0.2) * RBF(1.0),
        o.total(o.product(o.wiener(0.8, -0.1), o.cosine(1.3)), o.product(o.linear(0.5, 0.2), o.rbf(1.0))),
        stationary=False,
    ),
    Case(
        "active_dims",
        lambda: RBF(0.7, active_dims=(0,)) + 2.0 * Periodic(1.1, 0.8, active_dims=[2]),
        o.total(o.on_columns([0], o.rbf(0.7)), o.scaled(2.0, o.on_columns([2], o.periodic(1.1, 0.8)))),
        columns=3,
        gpytorch=lambda: (
            gp_on_column(0, gp_rbf(0.7)) + gp_scaled(2.0, gp_on_column(2, gp_periodic([1.1], [0.8])))
        ),
    ),
    Case(
        "active_dims_nested",
        lambda: 2.0 * Sum(RBF(0.7, active_dims=(1,)), Matern([0.5, 1.5]), active_dims=(2, 0)),
        o.scaled(
            2.0,
            o.on_columns([2, 0], o.total(o.on_columns([1], o.rbf(0.7)), o.matern52([0.5, 1.5]))),
        ),
        columns=3,
    ),
    Case(
        "active_dims_product",
        lambda: Product(RBF(0.7), Linear(2.0, center=0.1), active_dims=(1,)) + Constant(0.2),
        o.total(o.on_columns([1], o.product(o.rbf(0.7), o.linear(2.0, 0.1))), o.constant(0.2)),
        columns=2,
        stationary=False,
    ),
]

CASES = [*STATIONARY, *NOT_STATIONARY, *SYMMETRIC, *COMPOSED]
