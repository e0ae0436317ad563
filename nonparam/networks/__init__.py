"""Networks of finite width, and the limits that they tend to, from one architecture."""

from nonparam.networks.architecture import (
    MLP,
    Abs,
    Apply,
    AvgPool,
    Conv1d,
    Conv2d,
    Cos,
    Dense,
    Elementwise,
    Elu,
    Erf,
    Exp,
    Flatten,
    Gaussian,
    Gelu,
    GlobalAvgPool,
    LayerNorm,
    LeakyRelu,
    Product,
    Relu,
    Residual,
    Sequential,
    Sigmoid,
    Sign,
    Silu,
    Sin,
    Softplus,
    Step,
    Tanh,
    Unflatten,
)
from nonparam.networks.bias_variance import BiasVariance, bias_variance
from nonparam.networks.descent_report import DescentReport
from nonparam.networks.double_descent import double_descent
from nonparam.networks.empirical import EmpiricalNTK
from nonparam.networks.finite import FiniteNetwork
from nonparam.networks.finite_classification import FiniteNetworkClassifier
from nonparam.networks.finite_regression import FiniteNetworkRegressor
from nonparam.networks.from_torch import from_torch
from nonparam.networks.infinite_classification import InfiniteNetworkClassifier
from nonparam.networks.infinite_regression import InfiniteNetworkRegressor
from nonparam.networks.widths import compare_widths

__all__ = [
    "MLP",
    "Abs",
    "Apply",
    "AvgPool",
    "BiasVariance",
    "Conv1d",
    "Conv2d",
    "Cos",
    "Dense",
    "DescentReport",
    "Elementwise",
    "Elu",
    "EmpiricalNTK",
    "Erf",
    "Exp",
    "FiniteNetwork",
    "FiniteNetworkClassifier",
    "FiniteNetworkRegressor",
    "Flatten",
    "Gaussian",
    "Gelu",
    "GlobalAvgPool",
    "InfiniteNetworkClassifier",
    "InfiniteNetworkRegressor",
    "LayerNorm",
    "LeakyRelu",
    "Product",
    "Relu",
    "Residual",
    "Sequential",
    "Sigmoid",
    "Sign",
    "Silu",
    "Sin",
    "Softplus",
    "Step",
    "Tanh",
    "Unflatten",
    "bias_variance",
    "compare_widths",
    "double_descent",
    "from_torch",
]
