"""Covariance functions: GPyTorch kernels with scikit-learn's parameters and a formula for a name."""

if __name__ != "nonparam.kernels":
    raise ImportError("this folder is part of a package: import nonparam.kernels instead")

from nonparam.kernels.additive import Additive
from nonparam.kernels.base import Hyperparameter, Kernel
from nonparam.kernels.changepoint import ChangePoint
from nonparam.kernels.composition import Product, Scale, Sum, with_amplitude
from nonparam.kernels.deep import DeepKernel
from nonparam.kernels.evaluate import covariance, variance
from nonparam.kernels.grammar import parse
from nonparam.kernels.infinite import InfiniteNetwork
from nonparam.kernels.invariance import Invariant, SoftInvariant
from nonparam.kernels.linear import Constant, Linear, Polynomial, WhiteNoise
from nonparam.kernels.orthogonal import OrthogonalRBF
from nonparam.kernels.spectral import Spectral, separable_spectral_mixture, spectral_mixture
from nonparam.kernels.stationary import RBF, Cosine, Matern, Periodic, RationalQuadratic
from nonparam.kernels.wiener import IntegratedWiener, Wiener

__all__ = [
    "RBF",
    "Additive",
    "ChangePoint",
    "Constant",
    "Cosine",
    "DeepKernel",
    "Hyperparameter",
    "InfiniteNetwork",
    "IntegratedWiener",
    "Invariant",
    "Kernel",
    "Linear",
    "Matern",
    "OrthogonalRBF",
    "Periodic",
    "Polynomial",
    "Product",
    "RationalQuadratic",
    "Scale",
    "SoftInvariant",
    "Spectral",
    "Sum",
    "WhiteNoise",
    "Wiener",
    "covariance",
    "parse",
    "separable_spectral_mixture",
    "spectral_mixture",
    "variance",
    "with_amplitude",
]
